// What a request costs: no allocation once the loop is warm; and what is lost without memory: one
// connection, never the server. Counts this thread's calls of operator new, which it replaces for
// the whole test program, and fails them; the server's loop runs on this thread.
#include "allocations.hpp"
#include "raw_client.hpp"

#include <malloc.h>

thread_local std::size_t allocations = 0;

namespace {

thread_local void (*at_next)() = nullptr; // what another thread might do at this very moment

thread_local std::size_t fails_in = 0;  // 0: never
thread_local std::size_t allocated = 0; // bytes, in all
thread_local std::size_t held = 0;      // of them, and not given back by this thread

void* counted_new(std::size_t size) {
    ++allocations, allocated += size;
    if (auto act = std::exchange(at_next, nullptr)) act();
    if (fails_in == 1) throw std::bad_alloc(); // and all that follow
    if (fails_in > 1) --fails_in;
    void* const made = std::malloc(size ? size : 1);
    if (!made) throw std::bad_alloc();
    held += ::malloc_usable_size(made);
    return made;
}
void counted_delete(void* gone) noexcept {
    if (gone) held -= ::malloc_usable_size(gone);
    std::free(gone);
}

} // namespace

[[gnu::noinline]] void* operator new(std::size_t size) { return counted_new(size); }
[[gnu::noinline]] void* operator new[](std::size_t size) { return counted_new(size); }
[[gnu::noinline]] void operator delete(void* gone) noexcept { counted_delete(gone); }
[[gnu::noinline]] void operator delete[](void* gone) noexcept { counted_delete(gone); }
[[gnu::noinline]] void operator delete(void* gone, std::size_t) noexcept { counted_delete(gone); }
[[gnu::noinline]] void operator delete[](void* gone, std::size_t) noexcept { counted_delete(gone); }

using namespace raw;

namespace {

/// One round trip without any allocation of its own. False: not answered.
bool exchange_once(server& app, int fd, string_view input, std::size_t answers) {
    if (::send(fd, input.data(), input.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(input.size()))
        return false;
    const std::uint64_t before = app.stats().requests;
    while (app.stats().requests < before + answers)
        if (!app.run_once(milliseconds(1000))) return false;
    char room[16 << 10];
    std::size_t seen = 0;
    while (seen < answers) {
        ssize_t got = ::recv(fd, room, sizeof room, 0);
        if (got <= 0) return false;
        string_view text(room, static_cast<std::size_t>(got));
        for (std::size_t at = 0; (at = text.find("HTTP/1.1 200 OK\r\n", at)) != string_view::npos;
             ++at)
            ++seen;
    }
    return true;
}

} // namespace

TEST_CASE("allocation: 10,000 kept-alive requests cost none after warm-up") {
    struct row {
        std::string name, input;
        std::size_t answers;
    };
    const std::string get =
        "GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: test\r\nAccept: */*\r\n\r\n";
    const row rows[] = {
        {"one at a time", get, 1},
        {"pipelined", get + get + get + get, 4},
        {"a parameter", "GET /world HTTP/1.1\r\nHost: localhost\r\n\r\n", 1},
        {"a small body", "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello",
         1},
        {"HEAD", "HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n", 1},
    };
    folder at;
    server app;
    app.get("/", [](const request&) { return text("Hello Anonymous"); });
    app.get("/{name}",
            [](const request& r) { return text("Hello " + std::string(r.param("name"))); });
    app.post("/echo", [](const request& r) { return bytes(r.body()); });
    REQUIRE_FALSE(app.listen(at("s")));
    wire_client c(at("s"));
    for (const row& r : rows) {
        CAPTURE(r.name);
        for (int i = 0; i < 100; ++i) REQUIRE(exchange_once(app, c.fd.get(), r.input, r.answers));
        std::size_t before = allocations, in_time = 0;
        bool good = true;
        for (std::size_t i = 0; i < 10'000 && good; i += r.answers) {
            const std::size_t until_now = allocations;
            const auto start = std::chrono::steady_clock::now();
            good = exchange_once(app, c.fd.get(), r.input, r.answers);
            // A long turn leaves the rest of a batch for the next one, and keeps it meanwhile: here
            // that's a machine that had no time for us. The loop's clock lags by 10 ms at most.
            if (std::chrono::steady_clock::now() - start < milliseconds(5)) in_time += r.answers;
            else before += allocations - until_now;
        }
        CHECK(in_time > 9'000);
        CHECK(good);
        CHECK(allocations - before == 0);
    }
}

TEST_CASE("allocation: a large body that is its own answer is in memory once") {
    folder at;
    server app;
    app.post("/echo", [](const request& r) { return bytes(content::lent(r.body())); });
    REQUIRE_FALSE(app.listen(at("s")));
    const std::string body(1'000'000, 'x'); // comes in several pieces
    std::string got;
    std::thread peer([&] {
        wire_client c(at("s"));
        c.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n" + body);
        got = c.read().body;
    });
    const std::size_t before = allocated;
    while (app.stats().bytes_out < body.size() && app.run_once(milliseconds(1'000))) {
    }
    CHECK(allocated - before < body.size() * 3 / 2); // of this thread: the loop's
    peer.join();
    CHECK((got == body));
}

TEST_CASE("allocation: a whole answer of an async call is in memory once") {
    folder at;
    const std::string body(1'000'000, 'x'); // comes in several pieces
    server far, app;
    far.get("/", [&](const request&) { return bytes(content::lent(body)); });
    REQUIRE_FALSE(far.listen(at("s")));
    REQUIRE_FALSE(app.listen(at("app")));
    std::thread upstream([&] { CHECK_FALSE(far.run()); });
    client api(at("s"), {}, app);
    std::string got;
    api.async_get("/", [&](result<response> res) { got = res ? res->take_body() : ""; });
    const std::size_t before = allocated;
    for (int turns = 0; got.empty() && turns < 10'000; ++turns)
        REQUIRE(app.run_once(milliseconds(10)));
    CHECK(allocated - before < body.size() * 3 / 2); // of this thread: the caller's
    CHECK((got == body));
    far.stop();
    upstream.join();
}

TEST_CASE("allocation: a kept connection holds nothing of an upload that ended behind its answer") {
    folder at;
    server app;
    REQUIRE_FALSE(app.listen(at("app")));
    auto up = detail::open_listener(at("up"), {}, false);
    REQUIRE(up);
    client api(at("up"), {}, app);
    constexpr std::size_t size = 4 << 20;
    const std::size_t before = held;
    bool is_told = false, is_whole = false;
    api.async_send(request("PUT", "/").body(std::string(size, 'x') + 'z', ""),
                   [&](result<response> res) { is_told = static_cast<bool>(res); });
    REQUIRE(app.run_once(milliseconds(0)));
    unique_fd peer(::accept4(up->fd.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    REQUIRE(peer);
    CHECK(::send(peer.get(), "HTTP/1.1 204 No\r\n\r\n", 19, MSG_NOSIGNAL) == 19);
    for (int turns = 0; !is_whole && turns < 10'000; ++turns) {
        REQUIRE(app.run_once(milliseconds(1)));
        char room[64 << 10]; // before it is told, nothing is read
        const ssize_t got = is_told ? ::recv(peer.get(), room, sizeof room, 0) : 0;
        is_whole = got > 0 && room[got - 1] == 'z';
    }
    CHECK(is_whole);
    for (int turns = 0; held - before > size / 4 && turns < 100; ++turns)
        REQUIRE(app.run_once(milliseconds(1)));
    CHECK(held - before < size / 4);
    char byte;
    CHECK((::recv(peer.get(), &byte, 1, 0) < 0 && errno == EAGAIN)); // it is kept
}

TEST_CASE("allocation: large pieces of a stream go through the same memory") {
    folder at;
    server app;
    body_writer out;
    app.get("/", [&](request&, responder res) { out = res.stream(response()); });
    REQUIRE_FALSE(app.listen(at("s")));
    wire_client c(at("s"));
    CHECK(c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
    const std::string piece(100'000, 'x'); // less than the socket takes at once
    std::size_t before = 0;
    for (int n = 0; n < 10; ++n) {
        if (n == 2) before = allocated; // it is warm
        app.post([&] { out.write(piece); });
        c.got.clear(), c.got.reserve(2 * piece.size());
        for (int turns = 0; c.got.size() < piece.size() && turns < 1'000; ++turns) {
            CHECK(app.run_once(milliseconds(1)));
            char room[4096];
            for (ssize_t got = 1; got > 0; c.got.append(room, got > 0 ? std::size_t(got) : 0))
                got = ::recv(c.fd.get(), room, sizeof room, MSG_DONTWAIT);
        }
    }
    CHECK(out.is_open());
    CHECK(allocated - before < piece.size());
}

static void writes_into_a_stream(server& app, std::size_t size) { // at once
    app.get("/", [size](request&, responder res) {
        body_writer out = res.stream(response());
        out.write(std::string(size, 'x'));
        out.end();
    });
}

TEST_CASE("allocation: a large write into a stream leaves its loop no larger") {
    const std::size_t size = 20 << 20;
    folder at;
    server app;
    writes_into_a_stream(app, size);
    REQUIRE_FALSE(app.listen(at("s")));
    wire_client c(at("s"));
    CHECK(c.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
    std::thread reader([&] { (void)c.rest(); }); // what it holds is its own thread's
    const std::size_t before = held;
    while (app.stats().accepted == 0 || app.stats().connections > 0)
        REQUIRE(app.run_once(milliseconds(1000)));
    reader.join();
    CHECK(app.stats().bytes_out > size);
    CHECK(held - before < (8 << 20));
}

TEST_CASE("allocation: a large write is not copied again each time its reader has made room") {
    const std::size_t size = 32 << 20; // a socket takes a hundredth of it
    folder at;
    server app;
    writes_into_a_stream(app, size);
    REQUIRE_FALSE(app.listen(at("s")));
    wire_client c(at("s"));
    CHECK(c.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
    const std::size_t before = allocated;
    std::size_t came = 0;
    std::vector<char> room(1 << 20);
    for (int turns = 0; came < size && turns < 100'000; ++turns) {
        REQUIRE(app.run_once(milliseconds(1)));
        ssize_t got = ::recv(c.fd.get(), room.data(), room.size(), MSG_DONTWAIT);
        for (; got > 0; got = ::recv(c.fd.get(), room.data(), room.size(), MSG_DONTWAIT))
            came += static_cast<std::size_t>(got);
    }
    CHECK(came > size);
    CHECK(allocated - before < 8 * size); // the handler's, the stream's, the batch as it grows
}

TEST_CASE("allocation: calls that are over are not kept behind one that waits for a connection") {
    folder at;
    server app;
    unique_fd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un to{};
    to.sun_family = AF_UNIX;
    at("s").copy(to.sun_path, sizeof to.sun_path - 1);
    REQUIRE(::bind(listener.get(), reinterpret_cast<sockaddr*>(&to), sizeof to) == 0);
    REQUIRE(::listen(listener.get(), 1) == 0);
    REQUIRE_FALSE(app.listen(at("own")));
    client_options one;
    one.max_connections_count = 1;
    client api(at("s"), one, app);
    for (int n = 0; n < 2; ++n) // one has the connection, the other waits for it
        api.async_stream(request("GET", "/"), [](result<reply>) {});
    std::size_t started = 0, failed = 0, after_some = 0;
    for (int turns = 0; failed < 2'000 && turns < 100'000; ++turns) {
        for (; started - failed < 20 && started < 2'000; ++started)
            api.async_send(request("GET", "/").timeout(milliseconds(1)),
                           [&](result<response> got) { failed += !got; });
        REQUIRE(app.run_once(milliseconds(10)));
        if (failed < 200) after_some = held;
    }
    CHECK(failed == 2'000);
    CHECK(static_cast<std::ptrdiff_t>(held - after_some) < (100 << 10)); // of 1.8 KB each
}

TEST_CASE("allocation: a stream that never beats leaves no timer behind it") {
    folder at;
    server app;
    app.get("/", [](request&, responder res) { res.events(milliseconds::max()).end(); });
    REQUIRE_FALSE(app.listen(at("s")));
    std::size_t after_some = 0;
    for (std::uint64_t i = 1; i <= 1000; ++i) {
        wire_client c(at("s"));
        CHECK(c.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
        while (app.stats().accepted < i || app.stats().connections > 0)
            REQUIRE(app.run_once(patience));
        if (i == 100) after_some = held;
    }
    CHECK(held < after_some + 4096);
}

TEST_CASE("allocation: a connection that comes and goes leaves nothing allocated behind it") {
    folder at;
    server app;
    app.get("/", [](const request&) { return text("Hello Anonymous"); });
    REQUIRE_FALSE(app.listen(at("s")));
    auto visit = [&] {
        wire_client c(at("s"));
        bool good = exchange_once(app, c.fd.get(), "GET / HTTP/1.1\r\nHost: a\r\n\r\n", 1);
        c.close();
        while (app.stats().connections > 0)
            if (!app.run_once(milliseconds(1000))) return false;
        return good;
    };
    for (int i = 0; i < 10; ++i) REQUIRE(visit());
    const std::size_t before = allocations;
    ::operator delete(::operator new(1));         // a call, which no compiler may leave out
    const std::size_t own = allocations - before; // that the count counts
    CHECK(own == 1);
    for (int i = 0; i < 100; ++i) REQUIRE(visit());
    CHECK(allocations - before <= 1 + 100 * 4); // the client's strings among them
}

TEST_CASE("allocation: the end doesn't overtake bytes whose reader goes on while they are kept") {
    static body_reader in;
    folder at;
    server app;
    std::string got;
    error why;
    app.post("/", [&](request&, body_reader body, responder out) {
        in = std::move(body);
        in.pause();
        in.on_data([&](string_view piece) { got.append(piece); },
                   [&, kept = std::make_shared<responder>(std::move(out))](const error& end) {
                       why = end;
                       kept->send(text("read"));
                   });
        at_next = [] { in.resume(); }; // for the bytes that are kept, since it has paused
    });
    REQUIRE_FALSE(app.listen(at("s")));
    wire_client c(at("s"));
    const std::string body(100, 'x');
    REQUIRE(c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n" + body));
    c.shut();
    while (app.stats().bytes_out == 0) REQUIRE(app.run_once(milliseconds(1000)));
    in = body_reader();
    CHECK(c.read().body == "read");
    CHECK_FALSE(why);
    CHECK(got == body);
}

#ifdef __cpp_exceptions // else the process ends

TEST_CASE("allocation: what could not grow keeps its bounds") {
    detail::arena a;
    CHECK(a.take(100) != nullptr);
    const std::size_t room = a.room;
    fails_in = 1;
    bool failed = false;
    try {
        a.take(room + 1);
    } catch (const std::bad_alloc&) {
        failed = true;
    }
    fails_in = 0;
    CHECK(failed);
    CHECK(a.room == room);
}

namespace {

/// Turns of the loop, of whose allocations the k-th fails and all that follow, until `claim` holds.
template <class F> bool comes_true_without_memory(server& app, std::size_t k, F claim) {
    fails_in = k;
    bool goes_on = true;
    for (auto until = steady_clock::now() + patience; goes_on && !claim();)
        goes_on = app.run_once(milliseconds(10)) && steady_clock::now() < until;
    fails_in = 0;
    return claim();
}

/// A server that has exchanges at work, of each kind, when its memory ends.
struct visited {
    folder at;
    server app;
    std::vector<responder> waiting;
    std::vector<body_reader> bodies;
    int closed = 0;

    explicit visited(const server_options& o) : app(o) {
        app.on_exchange([](const exchange& e) { CHECK((!e.why || e.status != 200)); });
        app.get("/", [](const request&) { return text("Hello Anonymous"); });
        app.get("/wait", [this](request&, responder out) {
            out.on_close([this] { ++closed; });
            waiting.push_back(std::move(out));
        });
        app.post("/", [this](request&, body_reader in, responder out) {
            out.on_close([this] { ++closed; });
            waiting.push_back(std::move(out)), bodies.push_back(std::move(in));
        });
        REQUIRE_FALSE(app.listen(at("s")));
    }
    std::size_t count() const { return app.stats().connections; }
    void turns_until(std::size_t requests) {
        while (app.stats().requests < requests) REQUIRE(app.run_once(milliseconds(1000)));
    }
    bool greets() {
        wire_client c(at("s"));
        return exchange_once(app, c.fd.get(), "GET / HTTP/1.1\r\nHost: a\r\n\r\n", 1);
    }
};

server_options one_at_a_time() {
    server_options o;
    o.max_per_uid_count = 1; // a place that isn't given back is the last one
    o.idle_timeout = milliseconds(20);
    return o;
}

} // namespace

TEST_CASE("allocation: without memory idle connections end, and the next one is served") {
    visited s(one_at_a_time());
    wire_client c(s.at("s"));
    REQUIRE(exchange_once(s.app, c.fd.get(), "GET / HTTP/1.1\r\nHost: a\r\n\r\n", 1));
    CHECK(comes_true_without_memory(s.app, 1, [&] { return s.count() == 0; }));
    CHECK(s.greets());
}

TEST_CASE("allocation: without memory who is left by his client hears of it") {
    for (std::size_t k = 1; k < 8; ++k) {
        CAPTURE(k);
        visited s(one_at_a_time());
        {
            wire_client c(s.at("s"));
            CHECK(c.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n"));
            s.turns_until(1);
        }
        CHECK(comes_true_without_memory(s.app, k, [&] { return s.count() == 0; }));
        CHECK(s.closed == 1);
        CHECK_FALSE(s.waiting[0].is_open());
        CHECK(s.greets());
    }
}

TEST_CASE("allocation: without memory for what an answer was lent it can still be answered") {
    visited s(one_at_a_time());
    wire_client c(s.at("s"));
    CHECK(c.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n"));
    s.turns_until(1);
    const std::string large(10'000, 'x');
    response lent = bytes(content::lent(large));
    bool threw = false;
    fails_in = 1;
    try {
        s.waiting[0].send(std::move(lent));
    } catch (const std::bad_alloc&) {
        threw = true;
    }
    fails_in = 0;
    CHECK(threw);
    REQUIRE(s.waiting[0].is_open());
    CHECK(s.waiting[0].send(text("later")));
    CHECK(s.app.run_once(milliseconds(0)));
    CHECK(c.read().body == "later");
}

TEST_CASE("allocation: without memory a body is cut, and its reader hears of it") {
    for (std::size_t k = 1; k < 8; ++k) {
        CAPTURE(k);
        visited s(one_at_a_time());
        wire_client c(s.at("s"));
        CHECK(c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 500000\r\n\r\nab"));
        s.turns_until(1);
        std::vector<char> room(64 << 10);
        std::atomic<bool> has_read{false};
        std::thread reader([&] { has_read = s.bodies[0].read(room.data(), 2) && true; });
        while (!has_read) CHECK(s.app.run_once(milliseconds(10)));
        reader.join();
        CHECK(c.send(std::string(100'000, 'x'))); // waits for the next read()
        fails_in = k;
        for (int i = 0; i < 5; ++i) (void)s.app.run_once(milliseconds(0));
        fails_in = 0;
        c.close();
        while (s.count() > 0) CHECK(s.app.run_once(milliseconds(10)));
        result<std::size_t> got = std::size_t{1};
        while (got && *got > 0) got = s.bodies[0].read(room.data(), room.size());
        CHECK_FALSE(got);
        CHECK(s.closed == 1);
        CHECK(s.greets());
    }
}

TEST_CASE("allocation: without memory nothing is said of an answer that has only begun") {
    visited s(server_options{});
    s.app.get("/large", [](const request&) {
        static const std::string large(20'000, 'x');
        response res = bytes(content::literal(large));
        return fails_in = 1, std::move(res); // none for what follows its head
    });
    std::uint64_t accepted = 0;
    for (const std::string earlier : {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", ""}) {
        CAPTURE(earlier);
        wire_client c(s.at("s"));
        CHECK(c.send(earlier + "GET /large HTTP/1.1\r\nHost: a\r\n\r\n"));
        for (++accepted; s.app.stats().accepted < accepted || s.count() > 0;) {
            const bool goes_on = s.app.run_once(patience) && true;
            fails_in = 0;
            REQUIRE(goes_on);
        }
        if (!earlier.empty()) CHECK(c.read().body == "Hello Anonymous");
        CHECK(c.read().status == 503);
    }
}

TEST_CASE("allocation: without memory what was passed with a request is closed with it") {
    server_options o;
    o.max_fds_count = 1;
    visited s(o);
    s.app.get("/lost", [](const request&) -> response { throw std::bad_alloc(); });
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
    unique_fd reads(ends[0]), writes(ends[1]);
    wire_client c(s.at("s"));
    const string_view head = "GET /lost HTTP/1.1\r\nHost: a\r\nFds: a\r\n\r\n";
    iovec part{const_cast<char*>(head.data()), head.size()};
    detail::row<int> passed;
    passed.push_back(writes.get());
    CHECK(detail::transmit_fds(c.fd.get(), &part, 1, passed) == static_cast<ssize_t>(head.size()));
    writes = unique_fd();
    while (s.app.stats().accepted == 0 || s.count() > 0) REQUIRE(s.app.run_once(patience));
    CHECK(c.read().status == 503);
    char byte;
    CHECK(::read(reads.get(), &byte, 1) == 0); // else EAGAIN
}

TEST_CASE("allocation: without memory it stops, and its path goes once there is some") {
    for (std::size_t k = 1; k < 8; ++k) {
        CAPTURE(k);
        visited s(one_at_a_time());
        wire_client c(s.at("s"));
        CHECK(c.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n"));
        s.turns_until(1);
        s.app.stop();
        fails_in = k;
        for (int i = 0; i < 5; ++i) CHECK(s.app.run_once(milliseconds(0)));
        fails_in = 0;
        CHECK(s.waiting[0].send(text("late")));
        while (*s.app.run_once(milliseconds(100))) {
        }
        CHECK(c.read().body == "late");
        CHECK(::access(s.at("s").c_str(), F_OK) != 0);
    }
}

TEST_CASE("allocation: without memory what is adopted is closed, and takes no place") {
    fd_watch watch;
    visited s(one_at_a_time());
    CHECK(s.app.run_once(milliseconds(0)));
    int taken = 0;
    for (std::size_t k = 1; k < 8 && !taken; ++k) {
        CAPTURE(k);
        int ends[2];
        REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
        unique_fd one(ends[0]);
        wire_client other{unique_fd(ends[1])};
        bool threw = false;
        error bad;
        fails_in = k;
        try {
            bad = s.app.adopt(std::move(one));
        } catch (const std::bad_alloc&) {
            threw = true;
        }
        fails_in = 0;
        taken += !bad && !threw;
        one = unique_fd();
        CHECK(s.count() == static_cast<std::size_t>(taken));
        if (!taken) CHECK(other.at_end());
        if (bad) CHECK(bad == std::errc::not_enough_memory);
    }
    CHECK(taken == 1);
}

TEST_CASE("allocation: an async call that finds no memory keeps nothing of its callback") {
    server app;
    client api("@nobody", {}, app);
    bool begun = false;
    for (std::size_t k = 1; k < 40 && !begun; ++k) {
        CAPTURE(k);
        const auto owned = std::make_shared<int>(0);
        auto told = [owned](result<response>) { ++*owned; };
        fails_in = k;
        try {
            api.async_get("/", told);
            begun = true;
        } catch (const std::bad_alloc&) {
        }
        fails_in = 0;
        if (!begun) CHECK(owned.use_count() == 2); // ours, and `told`'s
    }
    CHECK(begun);
}

TEST_CASE("allocation: at a stop without memory idle connections end") {
    visited s(one_at_a_time());
    wire_client c(s.at("s"));
    REQUIRE(exchange_once(s.app, c.fd.get(), "GET / HTTP/1.1\r\nHost: a\r\n\r\n", 1));
    s.app.stop();
    CHECK(comes_true_without_memory(s.app, 1, [&] { return s.count() == 0; }));
    CHECK(c.at_end());
}

#endif

TEST_CASE("allocation: header() makes room for nothing but the field") {
    response set, added;
    REQUIRE_FALSE(set.headers().add("Cache-Control", "no-store"));
    REQUIRE_FALSE(added.headers().add("Cache-Control", "no-store"));
    std::size_t before = allocations;
    REQUIRE_FALSE(added.headers().add("X-A-Name-Of-Some-Length", "no-referrer"));
    const std::size_t least = allocations - before;
    before = allocations;
    set.header("X-A-Name-Of-Some-Length", "no-referrer");
    CHECK(allocations - before == least);
    before = allocations;
    set.headers().remove("A-Field-That-Is-Not-There");
    CHECK(allocations - before == 0);
}

TEST_CASE("allocation: a limit per user holds nothing for each connection") {
    const auto held_by = [](std::size_t most) {
        server_options o;
        o.max_per_uid_count = most;
        server app(o);
        unique_fd ends[300];
        const std::size_t before = held;
        for (unique_fd& end : ends) {
            int two[2];
            REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, two) == 0);
            end = unique_fd(two[0]);
            REQUIRE_FALSE(app.adopt(unique_fd(two[1])));
            REQUIRE(app.run_once(milliseconds(0)));
        }
        return held - before;
    };
    const std::size_t without = held_by(SIZE_MAX), with = held_by(1'000);
    CHECK(with < without + 512);
}

TEST_CASE("allocation: a posted callback costs none after warm-up") {
    server app;
    int two[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, two) == 0);
    const unique_fd peer(two[0]); // so that it has something to run for
    REQUIRE_FALSE(app.adopt(unique_fd(two[1])));
    int ran = 0;
    const auto turn = [&] {
        for (int i = 0; i < 3; ++i) app.post([&ran] { ++ran; });
        REQUIRE(app.run_once(milliseconds(0)));
    };
    for (int i = 0; i < 10; ++i) turn();
    const std::size_t before = allocations;
    for (int i = 0; i < 1'000; ++i) turn();
    CHECK(allocations - before == 0);
    CHECK(ran == 3'030);
    const std::size_t usual = held; // of many at once nothing is kept
    for (int i = 0; i < 1'000; ++i) app.post([&ran] { ++ran; });
    for (int i = 0; i < 3; ++i) turn();
    CHECK(ran == 4'039);
    CHECK(held <= usual);
}
