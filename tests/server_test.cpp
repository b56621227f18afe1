// Room [12] and, below it, [11]: a server with real sockets. Its life, its limits, its deadlines.
#include "raw_client.hpp"

#include <algorithm>
#include <functional>

using namespace raw;

namespace {

milliseconds since(steady_clock::time_point start) {
    return std::chrono::duration_cast<milliseconds>(steady_clock::now() - start);
}

server* stopped_by_signal = nullptr;

bool exists(const std::string& path) {
    struct stat about {};
    return ::lstat(path.c_str(), &about) == 0;
}

struct pair_of_sockets {
    unique_fd a, b;
    pair_of_sockets() {
        int fds[2] = {-1, -1};
        REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
        a = unique_fd(fds[0]), b = unique_fd(fds[1]);
    }
};

} // namespace

// -- one life

TEST_CASE("server: a sandbox without timers is an error at start, not a server without limits") {
    const int got = in_child_without(SYS_timerfd_settime, EPERM, [] {
        server app; // 32 bits may set timers by another call
        const error why = app.listen("@never");
        return why == std::errc::operation_not_permitted || sizeof(void*) < 8 ? 0 : 1;
    });
    CHECK((got == 0 || got == -1));
}

TEST_CASE("server: it greets, keeps the connection, and leaves no path behind") {
    running s;
    s.app.get("/", hello);
    s.app.get("/{name}", hello);
    s.start();
    wire_client c = s.connect();
    CHECK(c.ask("/").body == "Hello Anonymous");
    answer named = c.ask("/W%C3%B6rld");
    CHECK(named.body == "Hello W\xc3\xb6rld");
    CHECK(named.field("Content-Type") == "text/plain; charset=utf-8");
    CHECK(named.field("Date").size() == 29);
    CHECK(named.field("Connection") == "");
    CHECK(comes_true(
        [&] { return s.app.stats().requests == 2; })); // counted after the answer has left
    server_stats now = s.app.stats();
    CHECK(now.accepted == 1);
    CHECK(now.connections == 1);
    CHECK(now.bytes_in > 0);
    CHECK(now.bytes_out > now.bytes_in);
    s.app.stop();
    CHECK(c.at_end());
    CHECK(comes_true([&] { return s.ended.load(); }));
    CHECK_FALSE(exists(s.path));
}

TEST_CASE("server: what is there at the first look is no reason to spin the next time") {
    server_options spins;
    spins.busy_poll = milliseconds(3);
    running s(spins);
    std::atomic<int> sent{0}; // requests that have come while an answer was waited for
    int answered = 0;
    s.app.get("/first", [&](const request&) {
        return comes_true([&] { return sent > answered; }), ++answered, text("first");
    });
    s.app.get("/burned", [](const request&) { return text(std::to_string(burned_ms())); });
    s.start();
    wire_client c = s.connect();
    auto burned_by_rounds = [&] { // ms of the processor, of the loop's thread
        const int before = std::atoi(c.ask("/burned").body.c_str());
        for (int i = 0; i < 40; ++i) {
            CHECK(c.send("GET /first HTTP/1.1\r\nHost: a\r\n\r\n"));
            // Not in the same read: this one is for a spin to find.
            REQUIRE(comes_true([&] {
                int left = 0;
                return ::ioctl(c.fd.get(), SIOCOUTQ, &left) == 0 && left == 0;
            }));
            CHECK(c.send("GET /burned HTTP/1.1\r\nHost: a\r\n\r\n"));
            ++sent;
            CHECK(c.read().body == "first");
            CHECK(c.read().status == 200);
            ::usleep(5'000); // longer than it spins
        }
        return std::atoi(c.ask("/burned").body.c_str()) - before;
    };
    // 3 ms each would be 120. Again where it is more: all else costs too, on a busy machine much.
    CHECK(comes_true([&] { return burned_by_rounds() < 80; }));
}

TEST_CASE("server: a stop before run() makes it return at once, and the path goes") {
    running s;
    s.app.stop();
    CHECK(s.app.stopping());
    REQUIRE_FALSE(s.app.listen(s.path));
    CHECK_FALSE(s.app.run());
    CHECK_FALSE(exists(s.path));
    CHECK(s.app.run() == errc::stopped); // one life
}

TEST_CASE("server: run() with an address listens there, or says why it can't") {
    running s;
    s.app.get("/", hello);
    listen_options door;
    door.mode = 0640;
    s.thread = std::thread([&] {
        s.outcome = s.app.run(s.path, door);
        s.ended = true;
    });
    REQUIRE(comes_true([&] { return exists(s.path) && wire_client(s.path).connected; }));
    CHECK(s.connect().ask("/").body == "Hello Anonymous");
    struct stat is = {};
    CHECK(::stat(s.path.c_str(), &is) == 0);
    CHECK((is.st_mode & 0777) == 0640);
    server second;
    CHECK(second.run(s.path) == std::errc::address_in_use);
    CHECK(s.connect().ask("/").status == 200);
}

TEST_CASE("server: whoever was in the queue when it stopped is answered") {
    running s;
    s.app.get("/", hello);
    REQUIRE_FALSE(s.app.listen(s.path));
    wire_client c(s.path);
    CHECK(c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
    s.app.stop();
    CHECK_FALSE(s.app.run());
    answer got = c.read();
    CHECK(got.body == "Hello Anonymous");
    CHECK(got.field("Connection") == "close");
    CHECK(c.at_end());
}

TEST_CASE("server: the last answer before its end says close, whatever came with the request") {
    const std::string get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
                      post = "POST / HTTP/1.1\r\nHost: a\r\n",
                      known = post + "Content-Length: 2\r\n\r\nhi",
                      chunked = post + "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n";
    const struct {
        std::string asked;
        int answers;
    } rows[] = {{known, 1}, {chunked, 1}, {known + get, 2}, {chunked + get, 2}, {get + chunked, 2}};
    for (auto& r : rows) {
        CAPTURE(r.asked);
        running s;
        s.app.get("/", hello);
        s.app.post("/", [](const request& asked) { return text(asked.body()); });
        REQUIRE_FALSE(s.app.listen(s.path));
        wire_client c(s.path);
        CHECK(c.send(r.asked));
        s.app.stop();
        CHECK_FALSE(s.app.run());
        for (int i = 1; i <= r.answers; ++i) {
            answer got = c.read();
            CHECK(got.status == 200);
            CHECK(got.field("Connection") == (i == r.answers ? "close" : ""));
        }
        CHECK(c.at_end());
    }
}

TEST_CASE("server: without a listener run() says so; a bad route is remembered") {
    server nothing;
    CHECK(nothing.run() == std::errc::destination_address_required);
    server deaf;
    CHECK(deaf.listen("/nowhere/at/all.sock") == std::errc::no_such_file_or_directory);
    CHECK(deaf.run() == std::errc::no_such_file_or_directory); // who didn't look hears it here
    folder at;
    server bad;
    bad.get("/{x", hello);
    CHECK(bad.listen(at("s")) == errc::bad_pattern);
    CHECK(bad.run() == errc::bad_pattern);
    CHECK_FALSE(exists(at("s")));
}

TEST_CASE("server: a head's limits that no loop could have memory for are bad options") {
    for (std::size_t server_options::*limit :
         {&server_options::max_head_bytes, &server_options::max_fields_count})
        for (std::size_t size : {std::size_t{16} << 20, (std::size_t{16} << 20) + 1, SIZE_MAX}) {
            CAPTURE(size);
            folder at;
            server_options o;
            o.*limit = size;
            server app(o);
            app.stop(); // before run(): it returns at once
            CHECK((app.run(at("s")) == std::errc::invalid_argument) == (size > 16 << 20));
        }
}

TEST_CASE("server: more loops than memory could hold are a bad option, and so are none") {
    for (unsigned count : {0u, 65'536u, UINT_MAX}) {
        server_options o;
        o.threads = count;
        server app(o);
        CHECK(app.run() == std::errc::invalid_argument);
        if (count == 0) continue;
        o.threads = 1, o.workers = count;
        server other(o);
        CHECK(other.run() == std::errc::invalid_argument); // before one of them has started
    }
}

TEST_CASE("server: a route that is wrong, though added late, leaves no door either") {
    folder at;
    server app;
    REQUIRE_FALSE(app.listen(at("s")));
    app.get("/{", hello);
    for (int again = 0; again < 2; ++again) {
        CHECK(app.run() == errc::bad_pattern);
        CHECK_FALSE(exists(at("s")));
    }
    CHECK_FALSE(server().listen(at("s")));
}

TEST_CASE("server: nor does it where run() was to add another one") {
    folder at;
    server app;
    REQUIRE_FALSE(app.listen(at("s")));
    app.get("/{", hello);
    CHECK(app.run(at("t")) == errc::bad_pattern);
    CHECK_FALSE(exists(at("s")));
    CHECK_FALSE(exists(at("t")));
}

TEST_CASE("server: a listener that can't be added by run() leaves the others be") {
    folder at;
    server app;
    REQUIRE_FALSE(app.listen(at("s")));
    CHECK(app.run(at("s")) == std::errc::address_in_use);
    CHECK(exists(at("s")));
}

TEST_CASE("server: once it runs it takes no listener, whose clients nobody would hear") {
    folder at;
    server app;
    REQUIRE_FALSE(app.listen(at("s")));
    REQUIRE(app.run_once(milliseconds(0)));
    CHECK(app.listen(at("t")) == std::errc::connection_already_in_progress);
    CHECK_FALSE(exists(at("t")));
    CHECK(app.listen_inherited() == std::errc::connection_already_in_progress);
}

TEST_CASE("server: stop() is safe in a signal handler and from any thread") {
    running s;
    s.app.get("/", hello);
    stopped_by_signal = &s.app;
    struct sigaction act {
    }, old{};
    act.sa_handler = [](int) { stopped_by_signal->stop(); };
    REQUIRE(::sigaction(SIGUSR1, &act, &old) == 0);
    s.start();
    wire_client c = s.connect();
    CHECK(c.ask("/").status == 200);
    errno = 12345;
    ::raise(SIGUSR1);
    CHECK(errno == 12345);
    CHECK(comes_true([&] { return s.ended.load(); }));
    ::sigaction(SIGUSR1, &old, nullptr);
}

TEST_CASE("server: run() and run_once() inside a handler say so, and it goes on") {
    folder at;
    server app;
    app.get("/{how}", [&app](const request& req) {
        if (req.param("how") == "run")
            return text(app.run() == std::errc(EALREADY) ? "refused" : "ran");
        auto turn = app.run_once(milliseconds(0));
        return text(!turn && turn.error() == std::errc(EALREADY) ? "refused" : "ran");
    });
    REQUIRE_FALSE(app.listen(at("s")));
    wire_client peer(at("s"));
    for (const char* how : {"run", "once"}) {
        peer.send("GET /" + std::string(how) + " HTTP/1.1\r\nHost: a\r\n\r\n");
        pollfd there{peer.fd.get(), POLLIN, 0};
        for (int i = 0; i < 200 && ::poll(&there, 1, 0) == 0; ++i)
            REQUIRE(app.run_once(milliseconds(50)));
        CHECK(peer.read().body == "refused");
    }
    app.stop();
}

TEST_CASE("server: a body whose reader is as fast as its source leaves the others their turn") {
    running s;
    std::atomic<bool> served{false}, gave_up{false};
    const auto limit = detail::deadline::after(patience / 2);
    s.app.get("/", [&](const request&) { return served = true, text("beside it"); });
    s.app.get("/made", [&](const request&) { // which takes longer than to read it
        return bytes(content::pulled([&](char* into, std::size_t) -> result<std::size_t> {
            const std::int64_t done = detail::now_ns() + 300'000;
            while (detail::now_ns() < done) {
            }
            if (limit.passed()) gave_up = true;
            std::memset(into, 'x', 8192);
            return served || gave_up ? std::size_t{0} : std::size_t{8192};
        }));
    });
    s.start();
    wire_client reads = s.connect(), asks = s.connect();
    reads.send("GET /made HTTP/1.1\r\nHost: a\r\n\r\n");
    std::thread reader([&] {
        std::string piece(1 << 16, '\0'), last;
        while (last != "0\r\n\r\n") {
            const ssize_t got = ::recv(reads.fd.get(), piece.data(), piece.size(), 0);
            if (got <= 0) break;
            last.append(piece, 0, static_cast<std::size_t>(got));
            last.erase(0, last.size() < 5 ? 0 : last.size() - 5);
        }
    });
    CHECK(asks.ask("/").body == "beside it");
    reader.join();
    CHECK_FALSE(gave_up);
}

TEST_CASE("server: an answer that has left whole waits for nobody, however late it was") {
    server_options o;
    o.write_timeout = milliseconds(200);
    pair_of_sockets
        probe; // of what it takes, two fifths: all of it leaves, but there's no EPOLLOUT
    int most = 1 << 20;
    socklen_t length = sizeof most;
    CHECK(::setsockopt(probe.a.get(), SOL_SOCKET, SO_SNDBUF, &most, sizeof most) == 0);
    CHECK(::getsockopt(probe.a.get(), SOL_SOCKET, SO_SNDBUF, &most, &length) == 0);
    const std::size_t size = static_cast<std::size_t>(most) / 5 * 2;
    running s(o);
    handed<std::string> told;
    s.app.on_exchange(
        [&](const exchange& e) { told.put(std::string(e.target) + " " + e.why.message()); });
    s.app.get("/", [size](const request&) {
        const std::int64_t done = detail::now_ns() + 25'000'000; // a turn that is too long
        while (detail::now_ns() < done) {
        }
        return text(std::string(size, 'x'));
    });
    s.app.get("/next", hello);
    s.start();
    wire_client c = s.connect(); // it reads nothing
    const std::string rest = " HTTP/1.1\r\nHost: a\r\n\r\n";
    CHECK(c.send("GET /" + rest + "GET /next" + rest));
    CHECK(told.take() == "/ " + error().message());
    CHECK(told.take() == "/next " + error().message());
}

TEST_CASE("server: a handler that runs another server is on its own loop still") {
    running s;
    for (bool once : {false, true})
        s.app.get(once ? "/once" : "/run", [once](const request&) {
            pair_of_sockets p;
            server inner;
            bool runs = !inner.adopt(std::move(p.a));
            p.b = unique_fd(); // it ends at once
            runs = runs && (once ? bool(inner.run_once(milliseconds(0))) : !inner.run());
            const auto res = client("@nobody").get("/");
            return text(runs && res.error() == errc::would_block_loop ? "fails at once" : "blocks");
        });
    s.start();
    wire_client c = s.connect();
    CHECK(c.ask("/once").body == "fails at once");
    CHECK(c.ask("/run").body == "fails at once");
}

TEST_CASE("server: posts wait behind one that runs a turn of theirs inside of another server") {
    pair_of_sockets one, two; // so that both have something to run for
    server outer, inner;
    REQUIRE_FALSE(outer.adopt(std::move(one.a)));
    REQUIRE_FALSE(inner.adopt(std::move(two.a)));
    std::string order;
    outer.post([&] {
        inner.post([&] { CHECK(outer.run_once(milliseconds(0))); });
        outer.post([&] { order += "c"; });
        CHECK(inner.run_once(milliseconds(0)));
        order += "a";
    });
    outer.post([&] { order += "b"; });
    for (int i = 0; i < 2; ++i) REQUIRE(outer.run_once(milliseconds(0)));
    CHECK(order == "cab");
}

TEST_CASE("server: stop_on() takes signals while it runs and puts back what was there") {
    struct sigaction mine {
    }, now{}, old{};
    mine.sa_handler = [](int) {};
    REQUIRE(::sigaction(SIGUSR2, &mine, &old) == 0);
    {
        running s;
        s.app.get("/", hello);
        s.app.stop_on({SIGUSR2});
        s.start();
        wire_client c = s.connect();
        CHECK(c.ask("/").status == 200);
        ::kill(::getpid(), SIGUSR2);
        CHECK(comes_true([&] { return s.ended.load(); }));
    }
    ::sigaction(SIGUSR2, &old, &now);
    CHECK((now.sa_handler == mine.sa_handler));
}

TEST_CASE("server: stop_on() gives a signal back to the server that had it before") {
    struct sigaction was {
    }, now{};
    CHECK(::sigaction(SIGUSR2, nullptr, &was) == 0);
    for (const std::string ends : {"first", "middle", "last"}) {
        CAPTURE(ends);
        std::unique_ptr<server> all[3];
        for (auto& one : all) one.reset(new server), one->stop_on({SIGUSR2, 1'000});
        all[ends == "first" ? 0 : ends == "middle" ? 1 : 2].reset();
        server& heir = ends == "last" ? *all[1] : *all[2];
        ::raise(SIGUSR2);
        CHECK(heir.stopping());
        CHECK_FALSE((all[0] && all[0]->stopping()));
        for (auto& one : all) one.reset();
        CHECK(::sigaction(SIGUSR2, nullptr, &now) == 0);
        CHECK((now.sa_handler == was.sa_handler));
    }
}

TEST_CASE("server: what takes a signal after stop_on() keeps it") {
    struct sigaction later {
    }, was{}, now{};
    later.sa_handler = [](int) {};
    {
        server app;
        app.stop_on({SIGUSR2});
        REQUIRE(::sigaction(SIGUSR2, &later, &was) == 0);
    }
    CHECK(::sigaction(SIGUSR2, nullptr, &now) == 0);
    CHECK((now.sa_handler == later.sa_handler));
    ::raise(SIGUSR2); // whose handler was ours before, and may be called by the other
    REQUIRE((was.sa_handler != SIG_DFL));
    was.sa_handler(SIGUSR2); // the server has gone
    now.sa_handler = SIG_DFL;
    CHECK(::sigaction(SIGUSR2, &now, nullptr) == 0);
}

TEST_CASE("server: what took a signal may put ours back late: it means what was there before") {
    struct sigaction first {
    }, later{}, ours{}, was{}, now{};
    static std::atomic<int> caught; // by the first: what there was before all servers
    caught = 0;
    first.sa_handler = [](int) { ++caught; };
    later.sa_handler = [](int) {};
    REQUIRE(::sigaction(SIGUSR2, &first, &was) == 0);
    for (int round = 1; round <= 2; ++round) {
        CAPTURE(round);
        {
            server app; // the second finds what the first has left
            app.stop_on({SIGUSR2});
            REQUIRE(::sigaction(SIGUSR2, &later, &ours) == 0);
        }
        CHECK(::sigaction(SIGUSR2, &ours, nullptr) == 0);
    }
    {
        server app;
        app.stop_on({SIGUSR2});
        ::raise(SIGUSR2);
        CHECK(app.stopping());
        CHECK(caught == 0);
    }
    CHECK(::sigaction(SIGUSR2, nullptr, &now) == 0);
    CHECK((now.sa_handler == first.sa_handler));
    CHECK(::sigaction(SIGUSR2, &ours, nullptr) == 0); // once more, and nobody puts it right
    ::raise(SIGUSR2);
    CHECK(caught == 1);
    CHECK(::sigaction(SIGUSR2, &was, &now) == 0);
    CHECK((now.sa_handler == first.sa_handler));
}

TEST_CASE("server: ~server waits for a signal handler that another thread is inside of") {
    auto& inside = detail::server_core::takers().inside; // as one that was not given the core
    std::atomic<bool> ended{false};
    inside.fetch_add(1);
    std::thread ends([&] {
        { // its stop() would write to what is another's descriptor by now
            server app;
            app.stop_on({SIGUSR2});
        }
        ended = true;
    });
    CHECK_FALSE(comes_true([&] { return ended.load(); }, milliseconds(100)));
    inside.fetch_sub(1);
    CHECK(comes_true([&] { return ended.load(); }));
    ends.join();
}

TEST_CASE(
    "server: what takes a signal between two stop_on() keeps it, whichever server goes first") {
    struct sigaction between {
    }, now{};
    between.sa_handler = [](int) {};
    for (bool older_first : {true, false}) {
        auto older = std::make_unique<server>(), newer = std::make_unique<server>();
        older->stop_on({SIGUSR2});
        REQUIRE(::sigaction(SIGUSR2, &between, nullptr) == 0);
        newer->stop_on({SIGUSR2});
        (older_first ? older : newer).reset();
        older.reset(), newer.reset();
        CHECK(::sigaction(SIGUSR2, nullptr, &now) == 0);
        CHECK((now.sa_handler == between.sa_handler));
        now.sa_handler = SIG_DFL;
        CHECK(::sigaction(SIGUSR2, &now, nullptr) == 0);
    }
}

TEST_CASE("server: who puts ours back late isn't called for what comes then") {
    struct sigaction first {
    }, other{}, ours{}, was{};
    static std::atomic<int> caught, late;
    caught = late = 0;
    first.sa_handler = [](int) { ++caught; };
    other.sa_handler = [](int) { ++late; };
    REQUIRE(::sigaction(SIGUSR2, &first, &was) == 0);
    for (bool both : {true, false}) { // servers at once, or one after the other
        CAPTURE(both);
        caught = 0;
        auto older = std::make_unique<server>(), newer = std::make_unique<server>();
        older->stop_on({SIGUSR2});
        REQUIRE(::sigaction(SIGUSR2, &other, &ours) == 0);
        if (!both) older.reset();
        newer->stop_on({SIGUSR2});
        older.reset(), newer.reset();
        CHECK(::sigaction(SIGUSR2, &ours, nullptr) == 0); // the other leaves
        ::raise(SIGUSR2);
        CHECK(caught == 1);
        CHECK(late == 0);
        CHECK(::sigaction(SIGUSR2, &first, nullptr) == 0);
    }
    CHECK(::sigaction(SIGUSR2, &was, nullptr) == 0);
}

TEST_CASE("server: stop_on() puts back what was there however often it was called") {
    struct sigaction mine {
    }, was{}, now{};
    mine.sa_handler = [](int) {};
    REQUIRE(::sigaction(SIGUSR2, &mine, &was) == 0);
    {
        server app;
        app.stop_on({SIGUSR2, SIGUSR2});
        app.stop_on({SIGUSR2});
        ::raise(SIGUSR2);
        CHECK(app.stopping());
    }
    CHECK(::sigaction(SIGUSR2, &was, &now) == 0);
    CHECK((now.sa_handler == mine.sa_handler));
    {
        server first, last;
        first.stop_on({SIGUSR2});
        last.stop_on({SIGUSR2});
        ::raise(SIGUSR2);
        CHECK(last.stopping());
        CHECK_FALSE(first.stopping()); // as the comment says
    }
    CHECK(::sigaction(SIGUSR2, &was, &now) == 0);
    CHECK((now.sa_handler == was.sa_handler));
    {
        server over;
        over.stop();
        CHECK_FALSE(over.run());
        over.stop_on({SIGUSR2}); // too late for run() to put it back
    }
    CHECK(::sigaction(SIGUSR2, &was, &now) == 0);
    CHECK((now.sa_handler == was.sa_handler));
}

TEST_CASE("server: draining lets a running exchange finish, and closes the idle ones") {
    running s;
    handed<responder> waiting;
    s.app.get("/", hello);
    s.app.get("/wait", [&](request&, responder r) { waiting.put(std::move(r)); });
    s.start();
    wire_client idle = s.connect(), busy = s.connect();
    CHECK(idle.ask("/").status == 200);
    CHECK(busy.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n"));
    responder r = waiting.take();
    s.app.stop();
    CHECK(idle.at_end());
    CHECK(comes_true([&] { return !exists(s.path); }));
    CHECK_FALSE(s.ended);
    CHECK(r.is_open());
    CHECK(r.send(text("at last")));
    CHECK(busy.read().body == "at last");
    CHECK(busy.at_end());
    CHECK(comes_true([&] { return s.ended.load(); }));
}

TEST_CASE("server: the drain has a deadline, then the rest is cut") {
    server_options o;
    o.drain_timeout = milliseconds(150);
    running s(o);
    handed<responder> waiting;
    std::atomic<int> closed{0};
    s.app.get("/wait", [&](request&, responder r) {
        r.on_close([&] { ++closed; });
        waiting.put(std::move(r));
    });
    s.start();
    wire_client c = s.connect();
    CHECK(c.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n"));
    responder r = waiting.take();
    auto start = steady_clock::now();
    s.app.stop();
    CHECK(c.at_end());
    CHECK(since(start) >= milliseconds(100));
    CHECK(comes_true([&] { return s.ended.load(); }));
    CHECK(closed == 1);
    CHECK_FALSE(r.is_open());
    CHECK_FALSE(r.send(text("too late")));
}

TEST_CASE("server: what is adopted late in a drain is answered or closed at once") {
    server_options o;
    o.drain_timeout = std::chrono::minutes(10);
    running s(o);
    handed<responder> waiting;
    s.app.get("/", hello);
    s.app.get("/wait", [&](request&, responder r) { waiting.put(std::move(r)); });
    s.start();
    wire_client c = s.connect(), spare = s.connect();
    CHECK(c.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n"));
    responder r = waiting.take();
    s.app.stop();
    CHECK(spare.at_end()); // so long does it spare who has asked nothing
    pair_of_sockets silent, asking;
    wire_client mute(std::move(silent.b)), asks(std::move(asking.b));
    CHECK(asks.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
    REQUIRE_FALSE(s.app.adopt(std::move(silent.a)));
    REQUIRE_FALSE(s.app.adopt(std::move(asking.a)));
    CHECK(mute.at_end());
    CHECK(asks.read().body == "Hello Anonymous");
    CHECK(asks.at_end());
    CHECK(r.send(text("done")));
    CHECK(comes_true([&] { return s.ended.load(); }));
}

TEST_CASE("server: a second stop() drains no longer") {
    running s;
    handed<responder> waiting;
    s.app.get("/wait", [&](request&, responder r) { waiting.put(std::move(r)); });
    s.start();
    wire_client c = s.connect();
    CHECK(c.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n"));
    responder r = waiting.take();
    s.app.stop();
    CHECK(comes_true([&] { return !exists(s.path); }));
    CHECK_FALSE(s.ended);
    s.app.stop();
    CHECK(comes_true([&] { return s.ended.load(); }, milliseconds(3000)));
    CHECK(c.at_end());
}

TEST_CASE("server: what outlives it is harmless") {
    fd_watch watch; // the streams keep a loop's mailbox, and that its eventfd, until they go
    handed<responder> waiting;
    handed<body_writer> writers;
    handed<body_reader> readers;
    {
        running s;
        s.watch.ends_later = true;
        s.app.get("/wait", [&](request&, responder r) { waiting.put(std::move(r)); });
        s.app.get("/stream", [&](request&, responder r) { writers.put(r.stream(response())); });
        s.app.put("/stream", [&](request&, body_reader in, responder r) {
            r.send(response(204)), readers.put(std::move(in));
        });
        s.start();
        wire_client a = s.connect(), b = s.connect(), c = s.connect();
        CHECK(a.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n"));
        CHECK(c.send("PUT /stream HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf"));
        CHECK(c.until("204"));
        CHECK(b.send("GET /stream HTTP/1.1\r\nHost: a\r\n\r\n"));
        CHECK(b.until("\r\n\r\n"));
        CHECK(comes_true([&] { return waiting.count() == 1; }));
        s.app.stop();
        s.app.stop();
        CHECK(comes_true([&] { return s.ended.load(); }));
    }
    CHECK_FALSE(waiting.take().send(text("x")));
    body_writer w = writers.take();
    CHECK(w.write("x") == written::closed);
    CHECK(w.wait(milliseconds(5000)) == written::closed);
    CHECK_FALSE(w.end());
    int ran = 0;
    auto held = std::make_shared<int>(); // as a callback holds the stream that it listens to
    w.on_close([&ran, held] { ++ran; });
    w.on_drain([&ran, held] { ++ran; });
    body_reader in = readers.take();
    in.on_data([held](string_view) {}, [&ran, held](const error&) { ++ran; });
    CHECK(ran == 0);
    CHECK(held.use_count() == 1); // what can't be called any more isn't kept
}

TEST_CASE("server: the next one on the same path starts where the last one stopped") {
    folder at;
    for (int life = 0; life < 3; ++life) {
        server s;
        s.get("/", [&](const request&) { return text(std::to_string(life)); });
        REQUIRE_FALSE(s.listen(at("s")));
        std::thread thread([&] { CHECK_FALSE(s.run()); });
        wire_client c(at("s"));
        CHECK(c.ask("/").body == std::to_string(life));
        s.stop();
        thread.join();
    }
}

// nginx, Caddy and Varnish keep connections, and don't send a POST again whose send failed.
TEST_CASE("server: where a successor is there, who was served may ask once more after stop()") {
    for (unsigned threads : {1u, 2u}) {
        CAPTURE(threads);
        server_options options;
        options.threads = threads;
        running s(options);
        s.app.get("/", hello);
        REQUIRE_FALSE(s.app.listen(s.path));
        s.thread = std::thread([&] { s.outcome = s.app.run(), s.ended = true; });
        std::vector<std::unique_ptr<wire_client>> kept; // of either loop
        for (int i = 0; i < 8; ++i) {
            kept.push_back(std::make_unique<wire_client>(s.path));
            CHECK(kept.back()->ask("/").status == 200);
        }
        wire_client silent(s.path);
        CHECK(silent.ask("/").status == 200);
        server next;
        listen_options door;
        door.take_over = true;
        REQUIRE_FALSE(next.listen(s.path, door));
        s.app.stop();
        int last = 0;
        for (auto& c : kept) last += c->ask("/").field("Connection") == "close" && c->at_end();
        CHECK(last == 8);
        CHECK(silent.at_end()); // no longer than those on the way to the path
        CHECK(comes_true([&] { return s.ended.load(); }));
        s.thread.join();
    }
}

TEST_CASE("server: destroyed without a run(), it closes and unlinks") {
    fd_watch watch;
    folder at;
    {
        server s;
        REQUIRE_FALSE(s.listen(at("s")));
        CHECK(exists(at("s")));
    }
    CHECK_FALSE(exists(at("s")));
}

TEST_CASE("server: what was posted to one that never ran is let go, and never runs") {
    int ran = 0;
    auto held = std::make_shared<int>(0);
    {
        server app;
        app.post([&ran, held] { ++ran; });
        app.post([&ran, held] { ++ran; }, milliseconds(1));
        CHECK(held.use_count() == 3);
    }
    CHECK(ran == 0); // on which thread?
    CHECK(held.use_count() == 1);
    {
        server app;
        folder at;
        REQUIRE_FALSE(app.listen(at("s")));
        CHECK(app.run_once(milliseconds(0)));
        app.post([&ran, held] { ++ran; });
    }
    CHECK(ran == 1); // on this one, its loop's
    CHECK(held.use_count() == 1);
}

TEST_CASE("server: a live path is refused, and goes on being served") {
    running s;
    s.app.get("/", hello);
    s.start();
    server second;
    error bad = second.listen(s.path);
    CHECK(bad == std::errc::address_in_use);
    CHECK(bad.message().find(s.path) != std::string::npos);
    CHECK(s.connect().ask("/").status == 200);
}

TEST_CASE("server: several listeners, each with its name") {
    running s;
    s.app.get("/", [](const request& r) { return text(r.listener()); });
    listen_options second;
    second.name = "control";
    REQUIRE_FALSE(s.app.listen(s.at("c"), second));
    s.start();
    CHECK(s.connect().ask("/").body == "");
    CHECK(wire_client(s.at("c")).ask("/").body == "control");
}

// -- handlers

TEST_CASE("server: each method has its own route, HEAD and OPTIONS too") {
    running s;
    auto tell = [](const char* which) {
        return [which](const request& r) {
            return text(r.body()).header("X-Route", which).header("X-Method", r.method());
        };
    };
    s.app.get("/", tell("get"));
    s.app.head("/", tell("head"));
    s.app.post("/", tell("post"));
    s.app.put("/", tell("put"));
    s.app.patch("/", tell("patch"));
    s.app.del("/", tell("del"));
    s.app.options("/", tell("options"));
    s.app.any("/", tell("any"));
    s.start();
    wire_client c = s.connect();
    const struct {
        const char *method, *route;
    } rows[] = {{"GET", "get"},     {"HEAD", "head"},  {"POST", "post"},       {"PUT", "put"},
                {"PATCH", "patch"}, {"DELETE", "del"}, {"OPTIONS", "options"}, {"BREW", "any"}};
    for (const auto& r : rows) {
        CAPTURE(std::string(r.method));
        answer got = c.ask("/", r.method);
        CHECK(got.status == 200);
        CHECK(got.field("X-Route") == r.route);
        CHECK(got.field("X-Method") == r.method);
    }
    client api(s.path);
    auto res = api.head("/");
    REQUIRE(res);
    CHECK(res->header("X-Route") == "head");
    res = api.del("/");
    REQUIRE(res);
    CHECK(res->header("X-Route") == "del");
    res = api.patch("/", "a change", "text/plain");
    REQUIRE(res);
    CHECK(res->header("X-Route") == "patch");
    CHECK(res->body() == "a change");
}

TEST_CASE("server: a handle on the peer's process, or the reason why there is none") {
    running s;
    s.app.get("/", [](const request& r) {
        auto handle = r.peer_pidfd();
        if (!handle) return text(handle.error().message()).status(501);
        char line[64];
        std::snprintf(line, sizeof line, "/proc/self/fdinfo/%d", handle->get());
        std::string told(4096, '\0');
        unique_fd info(::open(line, O_RDONLY | O_CLOEXEC));
        ssize_t size = ::read(info.get(), &told[0], told.size());
        return text(told.substr(0, size > 0 ? static_cast<std::size_t>(size) : 0));
    });
    s.start();
    answer got = s.connect().ask("/");
    const std::string pid = "Pid:\t" + std::to_string(::getpid()) + "\n";
    const std::string why = "peer_pidfd: Protocol not available"; // before Linux 6.5
    CHECK((got.status == 200 ? got.body.find(pid) != got.body.npos : got.body == why));
}

TEST_CASE(
    "server: a request that a hook has taken forgets the descriptor of a connection that ends") {
    running s;
    handed<request> kept;
    s.app.post("/", [](const request&) { return text(""); });
    s.app.use([&kept](request& r) -> std::optional<response> {
        CHECK(r.peer().pid == ::getpid());
        kept.put(std::move(r));
        return {};
    });
    s.start();
    {
        wire_client c = s.connect();
        CHECK(c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf"));
        CHECK(comes_true([&] { return kept.count() == 1; }));
    }
    CHECK(comes_true([&] { return s.app.stats().connections == 0; }));
    CHECK(detail::state_of(kept.take()).from->fd == -1); // else it would be asked about another's
}

TEST_CASE("server: one that spins before it sleeps answers, hears, and stops as any other") {
    server_options o;
    o.busy_poll = microseconds(200);
    running s(o);
    handed<responder> waiting;
    s.app.get("/", hello);
    s.app.get("/later", [&](request&, responder res) { waiting.put(std::move(res)); });
    s.start();
    wire_client c = s.connect();
    for (int i = 0; i < 50; ++i) CHECK(c.ask("/").body == "Hello Anonymous");
    CHECK(c.send("GET /later HTTP/1.1\r\nHost: a\r\n\r\n"));
    responder res = waiting.take();
    res.send(text("from another thread"));
    CHECK(c.read().body == "from another thread");
    auto slept = [&] { // it spun in vain often enough to sleep
        timespec before{}, after{};
        clockid_t clock{};
        ::pthread_getcpuclockid(s.thread.native_handle(), &clock);
        ::clock_gettime(clock, &before);
        ::usleep(50'000);
        ::clock_gettime(clock, &after);
        return (after.tv_sec - before.tv_sec) * 1'000'000'000 + after.tv_nsec - before.tv_nsec <
               10'000'000;
    };
    CHECK(comes_true(slept));
    CHECK(c.ask("/").body == "Hello Anonymous");
}

TEST_CASE("server: one that spins reads what has come in time behind a slow handler") {
    server_options o;
    o.busy_poll = milliseconds(100);
    o.head_timeout = milliseconds(400);
    running s(o);
    std::atomic<int> half{-1};          // the descriptor of who has sent half a head
    std::atomic<std::int64_t> since{0}; // ms
    std::atomic<bool> in_time{false}, is_next_there{false};
    std::atomic<int> last{-1}; // of who spoke last: it has asked again when the handler is back
    const std::string next = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    const auto now = [] { return detail::now_ns() / 1'000'000; };
    s.app.get("/", hello);
    s.app.get("/slow", [&](const request&) {
        in_time = now() - since < 350;
        ::send(half, "\r\n", 2, MSG_NOSIGNAL);
        if (is_next_there) ::send(last, next.data(), next.size(), MSG_NOSIGNAL);
        comes_true([&] { return now() - since > 450; });
        return text("slow");
    });
    s.start();
    wire_client slow = s.connect();
    last = slow.fd.get();
    int good = 0;
    for (int tries = 0; good < 4 && tries < 40; ++tries) {
        wire_client other = s.connect();
        const std::uint64_t before = s.app.stats().bytes_in;
        since = now();
        const std::string begun = "GET / HTTP/1.1\r\nHost: a\r\n";
        CHECK(other.send(begun));
        CHECK(comes_true([&] { return s.app.stats().bytes_in == before + begun.size(); }));
        half = other.fd.get(), is_next_there = tries % 2 != 0;
        CHECK(slow.ask("/").status == 200); // it spoke last: the spin looks at it first
        CHECK(slow.ask("/slow").status == 200);
        if (is_next_there) CHECK(slow.read().status == 200);
        const int status = other.read().status;
        if (!in_time) continue; // a busy machine
        CHECK(status == 200);
        ++good;
    }
    CHECK(good == 4);
}

TEST_CASE("server: run_once() doesn't wait for a time that is over") {
    folder at;
    server app;
    REQUIRE_FALSE(app.listen(at("s")));
    for (milliseconds late : {milliseconds(-1), milliseconds::min()}) {
        app.post([] {}, std::chrono::seconds(2)); // so that a wait for ever ends
        REQUIRE(app.run_once(milliseconds(0)));
        const auto start = steady_clock::now();
        CHECK(app.run_once(late));
        CHECK(since(start) < milliseconds(1'000));
    }
}

TEST_CASE("server: one that spins is back from run_once() in its time") {
    server_options o;
    o.busy_poll = std::chrono::hours(1); // a turn that ends at all doesn't end because of it
    folder at;
    server app(o);
    REQUIRE_FALSE(app.listen(at("s")));
    for (int ms : {0, 1, 5}) CHECK(app.run_once(milliseconds(ms)));
}

TEST_CASE("server: inherited listeners are served under their names, and never unlinked") {
    folder at;
    // A child, since descriptor 3 is somebody else's here; without a thread of its own, since
    // sanitizers allow none behind a fork.
    const int outcome = in_child([&] {
        unique_fd bound[2];
        for (int i = 0; i < 2; ++i) {
            auto made = detail::open_listener(at(i ? "b" : "a"), {}, i == 0); // b's takes none
            if (!made) return 10 + i;
            bound[i] = std::move(made->fd);
        }
        unique_fd high[2];
        for (int i = 0; i < 2; ++i) high[i] = unique_fd(::fcntl(bound[i].get(), F_DUPFD, 10));
        for (int i = 0; i < 2; ++i) ::dup2(high[i].get(), 3 + i);
        for (unique_fd& fd : bound)
            if (fd.get() == 3 || fd.get() == 4) (void)fd.release();
        ::setenv("LISTEN_PID", std::to_string(::getpid()).c_str(), 1);
        ::setenv("LISTEN_FDS", "2", 1);
        ::setenv("LISTEN_FDNAMES", "first:second", 1);
        server_options options;
        options.max_fds_count = 1;
        server app(options);
        app.get("/", [](const request& r) { return text(r.listener()); });
        listen_options named;
        if (app.listen_inherited(named)) return 20;
        if (::getenv("LISTEN_FDS")) return 21; // no child is to take it for its own
        for (const char* name : {"a", "b"}) {
            wire_client c(at(name));
            if (!c.connected || !c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")) return 30;
            pollfd answered{c.fd.get(), POLLIN, 0};
            while (::poll(&answered, 1, 0) == 0) {
                auto more = app.run_once(milliseconds(1000));
                if (!more || !*more) return 31;
            }
            if (c.read().body != (*name == 'a' ? "first" : "second")) return 32;
        }
        for (int fd : {3, 4}) // where the kernel has that option, it is on: this server takes some
            if (detail::socket_option(fd, detail::pass_rights) == 0) return 33;
        app.stop();
        for (auto more = app.run_once(milliseconds(0)); *more;)
            more = app.run_once(milliseconds(1000));
        return exists(at("a")) && exists(at("b")) ? 0 : 40;
    });
    CHECK(outcome == 0);
}

TEST_CASE("server: an inherited listener that tells two writers apart hears both of them") {
    folder at;
    const int outcome = in_child([&] { // as systemd's PassCredentials=, AcceptFileDescriptors=no
        auto made = detail::open_listener(at("s"), {}, false);
        if (!made) return 10;
        const int one = 1;
        ::setsockopt(made->fd.get(), SOL_SOCKET, SO_PASSCRED, &one, sizeof one);
        unique_fd high(::fcntl(made->fd.get(), F_DUPFD, 10));
        ::dup2(high.get(), 3);
        if (made->fd.get() == 3) (void)made->fd.release();
        wire_client c(at("s"));
        if (!c.send("GET / HTTP/1.1\r\nHo")) return 20;
        if (in_child([&] { return c.send("st: a\r\n\r\n") ? 0 : 1; }) != 0) return 21;
        ::setenv("LISTEN_PID", std::to_string(::getpid()).c_str(), 1);
        ::setenv("LISTEN_FDS", "1", 1);
        server app;
        app.get("/", hello);
        if (app.listen_inherited()) return 30;
        pollfd answered{c.fd.get(), POLLIN, 0};
        while (::poll(&answered, 1, 0) == 0)
            if (!app.run_once(milliseconds(1000))) return 31;
        return c.read().status == 200 ? 0 : 32;
    });
    CHECK(outcome == 0);
}

TEST_CASE("server: LISTEN_FDS with what is no listener fails, and serves nobody") {
    const int outcome = in_child([] {
        unique_fd file(::open("/dev/null", O_RDONLY));
        unique_fd high(::fcntl(file.get(), F_DUPFD, 10));
        ::dup2(high.get(), 3);
        if (file.get() == 3) (void)file.release();
        ::setenv("LISTEN_PID", std::to_string(::getpid()).c_str(), 1);
        ::setenv("LISTEN_FDS", "1", 1);
        server app;
        app.get("/", hello);
        if (!(app.listen_inherited() == errc::bad_descriptor)) return 1;
        server bad;
        bad.get("/{x", hello);
        if (!(bad.listen_inherited() == errc::bad_pattern)) return 2;
        return app.run() == std::errc::destination_address_required ? 0 : 3;
    });
    CHECK(outcome == 0);
}

TEST_CASE("server: a handler that throws is a 500, and the server goes on") {
    running s;
    handed<std::string> log;
    s.app.get("/", hello);
    s.app.get("/throws", [](const request&) -> response { throw std::runtime_error("secret"); });
    s.app.get("/later", [](request&, responder) { throw std::runtime_error("secret"); });
    s.app.post("/said", [](const request& r) -> response {
        throw std::runtime_error(std::string(r.body()));
    });
    s.app.get("/int", [](const request&) -> response { throw 42; });
    s.app.on_log([&](string_view line) { log.put(std::string(line)); });
    s.start();
    wire_client c = s.connect();
    for (const char* target : {"/throws", "/later", "/int"}) {
        answer got = c.ask(target);
        CHECK(got.status == 500);
        CHECK(got.body.find("secret") == std::string::npos);
        CHECK(log.take().find(std::string(target) == "/int" ? "unknown" : "secret") !=
              std::string::npos);
        CHECK(log.count() == 0);
        CHECK(c.ask("/").status == 200);
    }
    CHECK(c.ask("/said", "POST", "", "x pid=1 uid=0\r\n\x1b[2J403").status == 500);
    CHECK(log.take().find("/said: handler threw: x pid=1 uid=0\\x0d\\x0a\\x1b[2J403 pid=") == 0);
}

TEST_CASE("server: a handler that throws is a 500, wherever its responder is by then") {
    running s;
    handed<responder> kept;
    s.app.get("/", [&](request&, responder r) {
        kept.put(std::move(r));
        throw 42;
    });
    s.app.post("/", [&](request&, body_reader, responder r) {
        kept.put(std::move(r));
        throw 42;
    });
    s.start();
    for (const char* method : {"GET", "POST"}) {
        wire_client c = s.connect();
        CHECK(c.ask("/", method).status == 500);
        CHECK_FALSE(kept.take().send(text("too late")));
    }
}

TEST_CASE(
    "server: pipelined requests keep their order, however late and from where they are answered") {
    running s;
    handed<responder> waiting;
    s.app.get("/{name}", hello);
    s.app.get("/later/{n}", [&](request& r, responder later) {
        std::thread([n = std::string(r.param("n")), later = std::move(later)]() mutable {
            ::usleep(n == "1" ? 20'000 : 0); // only so that a mistake has a chance to show
            later.send(text("later " + n));
        }).detach();
    });
    s.start();
    wire_client c = s.connect();
    std::string batch;
    for (const char* target : {"/a", "/later/1", "/later/2", "/b", "/later/3", "/c"})
        batch += "GET " + std::string(target) + " HTTP/1.1\r\nHost: a\r\n\r\n";
    CHECK(c.send(batch));
    for (const char* body : {"Hello a", "later 1", "later 2", "Hello b", "later 3", "Hello c"})
        CHECK(c.read().body == body);
}

TEST_CASE("server: answers of several connections may be given in any order") {
    running s;
    handed<responder> waiting;
    s.app.get("/", [&](request&, responder r) { waiting.put(std::move(r)); });
    s.start();
    std::vector<wire_client> clients;
    std::vector<responder> responders;
    for (int i = 0; i < 8; ++i) {
        clients.push_back(s.connect());
        CHECK(clients.back().send("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
        responders.push_back(waiting.take());
    }
    for (std::size_t i = responders.size(); i-- > 0;)
        CHECK(responders[i].send(text(std::to_string(i))));
    for (std::size_t i = 0; i < clients.size(); ++i)
        CHECK(clients[i].read().body == std::to_string(i));
}

TEST_CASE("server: a responder that nobody answers is a 500") {
    running s;
    handed<std::string> log;
    s.app.on_log([&](string_view line) { log.put(std::string(line)); });
    s.app.get("/", [](request&, responder) {});
    s.app.get("/answered", [](request&, responder r) { r.send(text("x").status(500)); });
    s.start();
    wire_client c = s.connect();
    CHECK(c.ask("/").status == 500);
    CHECK(c.ask("/answered").status == 500);
    CHECK(c.ask("/").status == 500);
    for (int i = 0; i < 2; ++i) CHECK(log.take().find("500 a responder was dropped pid=") == 0);
    CHECK(log.count() == 0);
}

TEST_CASE("server: a client that has gone is seen by who would answer it") {
    running s;
    handed<std::shared_ptr<responder>> waiting;
    std::atomic<int> closed{0};
    s.app.get("/", [&](request&, responder r) {
        auto kept = std::make_shared<responder>(std::move(r));
        kept->on_close([&] { ++closed; });
        waiting.put(kept);
    });
    s.start();
    wire_client c = s.connect();
    CHECK(c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
    auto r = waiting.take();
    CHECK(r->is_open());
    c.close();
    CHECK(comes_true([&] { return closed == 1; }));
    CHECK_FALSE(r->is_open());
    CHECK_FALSE(r->send(text("nobody")));
    CHECK(s.app.stats().connections == 0);
}

TEST_CASE("server: a request that was moved out is its owner's, with its peer") {
    running s;
    handed<std::pair<std::shared_ptr<request>, std::shared_ptr<responder>>> kept;
    s.app.post("/{name}", [&](request r, responder later) {
        kept.put({std::make_shared<request>(std::move(r)),
                  std::make_shared<responder>(std::move(later))});
    });
    s.start();
    wire_client c = s.connect();
    std::string body(100'000, 'b');
    CHECK(c.send("POST /a%20b?q=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + body));
    auto [r, later] = kept.take();
    c.close();
    CHECK(comes_true([&, open = later] { return !open->is_open(); }));
    CHECK(r->param("name") == "a b");
    CHECK(r->query("q") == "1");
    CHECK(r->header("host") == "a");
    CHECK(r->body() == body);
    CHECK(r->peer().uid == ::getuid());
    CHECK(r->peer().pid == ::getpid());
}

TEST_CASE("server: workers run what blocks, the loop goes on; their queue has an end") {
    for (std::size_t room : {0u, 1u, 3u}) {
        CAPTURE(room);
        server_options o;
        o.workers = 2, o.max_queued_count = room;
        running s(o);
        handed<std::string> log;
        s.app.on_log([&](string_view line) { log.put(std::string(line)); });
        detail::mutex gate;
        std::atomic<std::size_t> inside{0};
        s.app.get("/block", [&](const request& r) {
            ++inside;
            detail::hold wait(gate);
            return text(r.peer().uid == ::getuid() ? "done" : "who?");
        });
        s.app.get("/quick", hello).on_loop();
        s.start();
        std::vector<wire_client> blocked;
        {
            detail::hold closed(gate);
            for (std::size_t i = 0; i < 2 + room + 1; ++i) { // two at work, a full queue, one more
                blocked.push_back(s.connect());
                CHECK(blocked.back().send("GET /block HTTP/1.1\r\nHost: a\r\n\r\n"));
                if (i < 2) CHECK(comes_true([&] { return inside == i + 1; }));
                CHECK(s.connect().ask("/quick").status == 200); // i is queued, or refused, by now
                const std::uint64_t over = i < 2 + room ? 0 : 1;
                CHECK(comes_true([&] { return s.app.stats().refused == over; }));
            }
            answer refused = blocked.back().read();
            CHECK(refused.status == 503);
            CHECK(refused.field("Retry-After") == "1");
            CHECK(log.take().find("503 too many requests wait for a worker pid=") == 0);
        }
        for (std::size_t i = 0; i < 2 + room; ++i) CHECK(blocked[i].read().body == "done");
        CHECK(blocked.back().ask("/block").body == "done"); // refused once, and kept
    }
}

TEST_CASE("server: a queue that is never empty keeps its order, and its limit") {
    server_options o;
    o.workers = 1, o.max_queued_count = 2;
    running s(o);
    std::atomic<int> begun{0}, allowed{0};
    s.app.get("/{n}", [&](const request& r) {
        const int mine = begun++;
        return comes_true([&] { return allowed > mine; }) ? text(r.param("n")) : response(500);
    });
    s.app.get("/a/quick", hello).on_loop();
    s.start();
    std::vector<wire_client> waiting;
    auto ask = [&](std::size_t n) {
        waiting.push_back(s.connect());
        CHECK(waiting.back().send("GET /" + std::to_string(n) + " HTTP/1.1\r\nHost: a\r\n\r\n"));
        CHECK(s.connect().ask("/a/quick").status == 200); // it is in the queue, or at work
    };
    ask(0);
    REQUIRE(comes_true([&] { return begun == 1; }));
    ask(1);
    for (std::size_t n = 2; n < 12; ++n) {
        ask(n); // at work is n - 2, in the queue n - 1 and this one: full
        CHECK(s.app.stats().refused == 0);
        ++allowed;
        CHECK(waiting[n - 2].read().body == std::to_string(n - 2));
        REQUIRE(comes_true([&] { return begun == static_cast<int>(n); }));
    }
    allowed = 100;
    CHECK(waiting[10].read().body == "10");
    CHECK(waiting[11].read().body == "11");
}

TEST_CASE("server: stop() waits for a worker's handler, which can see it") {
    server_options o;
    o.workers = 1;
    running s(o);
    std::atomic<bool> inside{false};
    s.app.get("/", [&](const request&) {
        inside = true;
        comes_true([&] { return s.app.stopping(); });
        return text("saw it");
    });
    s.start();
    wire_client c = s.connect();
    CHECK(c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
    CHECK(comes_true([&] { return inside.load(); }));
    s.app.stop();
    CHECK(c.read().body == "saw it");
    CHECK(comes_true([&] { return s.ended.load(); }));
}

TEST_CASE("server: a worker that waits for what it has posted doesn't keep the end away") {
    for (const bool runs : {true, false}) {
        CAPTURE(runs);
        folder at;
        server_options o;
        o.workers = 1, o.drain_timeout = milliseconds(50);
        auto app = std::make_unique<server>(o);
        std::atomic<bool> inside{false}, gone{false};
        app->get("/", [&, all = app.get()](const request&) {
            inside = true;
            comes_true([&] { return all->stopping(); });
            ::usleep(150'000); // beyond the drain
            auto told = std::make_shared<int>(0);
            const std::weak_ptr<int> task = told;
            all->post([told = std::move(told)] {});
            gone = comes_true([&] { return task.expired(); }, milliseconds(5'000));
            return text("late");
        });
        REQUIRE_FALSE(app->listen(at("s")));
        std::function<void()> again = [&] { app->post([&] { again(); }); }; // never an empty mail
        wire_client c(at("s"));
        CHECK(c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
        if (runs) {
            std::thread stops([&] {
                comes_true([&] { return inside.load(); });
                again();
                app->stop();
            });
            CHECK_FALSE(app->run());
            stops.join();
        } else {
            CHECK(comes_true([&] { return *app->run_once(milliseconds(1)) && inside; }));
        }
        app.reset();
        CHECK(gone); // run, or dropped: it waits for nobody
    }
}

TEST_CASE("server: what runs at the end of a loop may not block either") {
    folder at;
    server_options o;
    o.drain_timeout = milliseconds(20);
    server app(o);
    client api(at("nobody"));
    std::size_t calls = 0, others = 0;
    std::function<void()> again = [&] {
        ++calls;
        if (!(api.get("/").error() == errc::would_block_loop)) ++others;
        app.post([&] { again(); });
    };
    app.post([&] { again(); });
    REQUIRE_FALSE(app.listen(at("s")));
    app.stop();
    CHECK_FALSE(app.run());
    CHECK(calls > 0);
    CHECK(others == 0);
}

TEST_CASE("server: a handler that stops the server has its answer say that it is the last") {
    running s;
    s.app.get("/", [&](const request&) { return s.app.stop(), text("bye"); });
    s.start();
    wire_client c = s.connect();
    CHECK(c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
    const answer got = c.read();
    CHECK(got.body == "bye");
    CHECK(got.field("Connection") == "close");
    CHECK(c.at_end());
}

TEST_CASE("server: what ~server calls back may not block either") {
    folder at;
    auto app = std::make_unique<server>();
    client api(at("nobody"));
    std::atomic<bool> inside{false}, refused{false};
    app->get("/", [&](request&, responder out) {
        auto kept = std::make_shared<body_writer>(out.stream(response()));
        kept->on_close([&, kept] { refused = api.get("/").error() == errc::would_block_loop; });
        inside = true;
    });
    REQUIRE_FALSE(app->listen(at("s")));
    wire_client c(at("s"));
    CHECK(c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
    CHECK(comes_true([&] { return *app->run_once(milliseconds(1)) && inside; }));
    app.reset();
    CHECK(refused);
}

TEST_CASE("server: a body that ends after stop() has its answer say that it is the last") {
    for (string_view rest :
         {"Content-Length: 5\r\n\r\nhe", "Transfer-Encoding: chunked\r\n\r\n5\r\nhe",
          "Content-Length: 5\r\nExpect: 100-continue\r\n\r\n"}) {
        running s;
        s.app.post("/", [](const request& r) { return text(r.body()); });
        s.start();
        wire_client c = s.connect();
        CHECK(c.send("POST / HTTP/1.1\r\nHost: a\r\n" + std::string(rest)));
        const bool expects = rest.find("100") != rest.npos;
        if (expects) CHECK(c.read().status == 100);
        else CHECK(comes_true([&] { return s.app.stats().requests == 1; }));
        s.app.stop();
        CHECK(comes_true([&] { return ::access(s.path.c_str(), F_OK) != 0; }));
        CHECK(c.send(expects                             ? "hello"
                     : rest.find("chunked") != rest.npos ? "llo\r\n0\r\n\r\n"
                                                         : "llo"));
        const answer got = c.read();
        CHECK(got.body == "hello");
        CHECK(got.field("Connection") == "close");
        CHECK(c.at_end());
    }
}

TEST_CASE("server: threads of the library block the program's signals, and only they") {
    auto blocks = [] {
        sigset_t now;
        ::pthread_sigmask(SIG_SETMASK, nullptr, &now);
        return ::sigismember(&now, SIGUSR1) == 1 && ::sigismember(&now, SIGTERM) == 1;
    };
    server_options o;
    o.workers = 1;
    folder at;
    server app(o); // run() is on this thread, its worker on one of the library's
    app.get("/", [&](const request&) {
        app.stop();
        return text(blocks() ? "yes" : "no");
    });
    REQUIRE_FALSE(app.listen(at("s")));
    wire_client c(at("s"));
    CHECK(c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
    CHECK_FALSE(app.run());
    CHECK(c.read().body == "yes");
    CHECK_FALSE(blocks());
}

TEST_CASE("server: several loops share the connections, and drain together") {
    server_options o;
    o.threads = 2;
    running s(o);
    handed<pthread_t> threads;
    s.app.get("/", [&](const request&) {
        threads.put(::pthread_self());
        return text("x");
    });
    s.start();
    std::vector<wire_client> clients;
    for (int i = 0; i < 8; ++i) {
        clients.push_back(s.connect());
        CHECK(clients.back().ask("/").status == 200);
    }
    int first = 0;
    pthread_t one = threads.take();
    for (int i = 1; i < 8; ++i) first += ::pthread_equal(threads.take(), one) ? 1 : 0;
    CHECK(first == 3); // 4 of 8
    for (wire_client& c : clients) CHECK(c.ask("/").status == 200);
    s.app.stop();
    for (wire_client& c : clients) CHECK(c.at_end());
    CHECK(comes_true([&] { return s.ended.load(); }));
}

TEST_CASE(
    "server: what was posted for an answer runs in a drain, whichever loop has its connection") {
    for (int last : {0, 1}) { // one of the two connections is not on the loop that post() means
        CAPTURE(last);
        server_options o;
        o.threads = 2;
        running s(o);
        s.app.get("/{ms}", [&](request& req, responder r) {
            auto keep = std::make_shared<responder>(std::move(r));
            s.app.post([keep] { keep->send(text("posted")); },
                       milliseconds(std::atoi(std::string(req.param("ms")).c_str())));
        });
        s.start();
        wire_client clients[] = {s.connect(), s.connect()};
        for (int i : {0, 1})
            CHECK(clients[i].send(i == last ? "GET /200 HTTP/1.1\r\nHost: a\r\n\r\n"
                                            : "GET /50 HTTP/1.1\r\nHost: a\r\n\r\n"));
        CHECK(comes_true([&] { return s.app.stats().requests == 2; }));
        s.app.stop();
        for (wire_client& c : clients) CHECK(c.read().body == "posted");
        CHECK(comes_true([&] { return s.ended.load(); }));
    }
}

TEST_CASE("server: with several loops too, nobody in the queue is lost to a stop") {
    for (int round = 0; round < 20; ++round) {
        server_options o;
        o.threads = 2;
        running s(o);
        s.app.get("/", hello);
        s.start();
        std::vector<wire_client> clients;
        for (int i = 0; i < 4; ++i) {
            clients.push_back(s.connect());
            REQUIRE(clients.back().send("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
        }
        s.app.stop();
        for (wire_client& c : clients) REQUIRE(c.read().status == 200);
    }
}

// -- who may come in, and how many

TEST_CASE("server: who is not on the list gets 403 before any body is read") {
    struct row {
        std::string name;
        std::optional<peer_rule> door, route;
        int status;
    };
    const uid_t me = ::getuid();
    const row rows[] = {
        {"no rules", {}, {}, 200},
        {"on the door's list", peer_rule{{me}, {}}, {}, 200},
        {"by group", peer_rule{{}, {::getgid()}}, {}, 200},
        {"an empty list is nobody", peer_rule{}, {}, 403},
        {"somebody else's door", peer_rule{{me + 1}, {}}, {}, 403},
        {"on the route's list", {}, peer_rule{{me}, {}}, 200},
        {"somebody else's route", {}, peer_rule{{me + 1}, {}}, 403},
        {"a route never widens", peer_rule{{me + 1}, {}}, peer_rule{{me}, {}}, 403},
    };
    for (const row& r : rows) {
        CAPTURE(r.name);
        running s;
        std::atomic<int> ran{0};
        route& to = s.app.post("/", [&](const request&) { return ++ran, text("in"); });
        if (r.route) to.allow(*r.route);
        listen_options door;
        door.allow = r.door;
        s.start(door);
        wire_client c = s.connect();
        if (r.status == 403)
            CHECK(c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"));
        else CHECK(c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx"));
        CHECK(c.read().status == r.status);
        CHECK(ran == (r.status == 200 ? 1 : 0));
        wire_client other = s.connect();
        CHECK(other.send("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n"));
        CHECK(other.read().status == (r.door && r.status == 403 ? 403 : 501));
        CHECK(other.at_end());
    }
}

TEST_CASE("server: a path that can't be decoded is a refusal, logged and counted") {
    running s;
    handed<std::string> log;
    s.app.on_log([&](string_view line) { log.put(std::string(line)); });
    s.app.get("/{name}", hello);
    s.start();
    wire_client c = s.connect();
    CHECK(c.ask("/%zz").status == 400);
    CHECK(c.at_end());
    CHECK(comes_true([&] { return s.app.stats().refused == 1; }));
    REQUIRE(log.count() == 1);
    CHECK(log.take().find("400 a bad target pid=") == 0);
}

TEST_CASE("server: over max_connections_count comes a 503 with Retry-After, and room comes back") {
    server_options o;
    o.max_connections_count = 2;
    running s(o);
    handed<std::string> log;
    s.app.on_log([&](string_view line) { log.put(std::string(line)); });
    s.app.get("/", hello);
    s.start();
    wire_client a = s.connect(), b = s.connect();
    CHECK(a.ask("/").status == 200);
    CHECK(b.ask("/").status == 200);
    wire_client c = s.connect();
    answer refused = c.read();
    CHECK(refused.status == 503);
    CHECK(refused.field("Retry-After") == "1");
    CHECK(c.at_end());
    CHECK(s.app.stats().refused == 1);
    CHECK(log.take().find("503 too many connections pid=") == 0);
    a.close();
    CHECK(comes_true([&] { return s.connect().ask("/").status == 200; }));
    CHECK(b.ask("/").status == 200);
}

TEST_CASE("server: max_connections_count holds for all loops together") {
    server_options o;
    o.threads = 4;
    o.max_connections_count = 8;
    running s(o);
    s.app.get("/", hello);
    REQUIRE_FALSE(s.app.listen(s.path));
    std::vector<wire_client> clients;
    for (int i = 0; i < 100; ++i) { // all of them wait before the first is let in
        clients.emplace_back(s.path);
        CHECK(clients.back().send("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
    }
    s.serve();
    int in = 0, out = 0;
    for (wire_client& c : clients) {
        const int status = c.read().status;
        in += status == 200, out += status == 503;
    }
    CHECK(in == 8);
    CHECK(out == 92);
    CHECK(s.app.stats().connections == 8);
    clients.clear();
    CHECK(comes_true([&] { return s.app.stats().connections == 0; }));
    CHECK(s.connect().ask("/").status == 200);
}

TEST_CASE("server: one user has a share of the connections, counted up and down") {
    server_options o;
    o.max_per_uid_count = 2;
    running s(o);
    s.app.get("/", hello);
    s.start();
    for (int i = 0; i < 6; ++i) {
        wire_client c = s.connect();
        CHECK(c.ask("/").status == 200);
        c.close();
        CHECK(comes_true([&] { return s.app.stats().connections == 0; }));
    }
    wire_client a = s.connect(), b = s.connect(), c = s.connect();
    CHECK(a.ask("/").status == 200);
    CHECK(b.ask("/").status == 200);
    answer refused = c.read();
    CHECK(refused.status == 503);
    CHECK(refused.field("Retry-After") == "1");
    CHECK(c.at_end());
    a.close(); // and there is room again, for one
    CHECK(comes_true([&] { return s.app.stats().connections == 1; }));
    wire_client d = s.connect(), e = s.connect();
    CHECK(d.ask("/").status == 200);
    CHECK(e.read().status == 503);
    CHECK(b.ask("/").status == 200);
}

TEST_CASE("server: a share of no connection admits nobody") {
    server_options o;
    o.max_per_uid_count = 0;
    running s(o);
    handed<std::string> log;
    s.app.on_log([&](string_view line) { log.put(std::string(line)); });
    s.app.get("/", hello);
    s.start();
    wire_client c = s.connect();
    CHECK(c.read().status == 503);
    CHECK(c.at_end());
    CHECK(log.take().find("503 too many connections of one user pid=") == 0);
}

TEST_CASE("server: the last answer may come early, whoever said that it is the last") {
    running s;
    s.app.get("/", [](const request& r) { return hello(r); });
    s.app.use([](request& r) -> std::optional<response> {
        if (r.path() != "/secret") return {};
        return response(401).header("Connection", "close");
    });
    s.start();
    for (const char* head : {"POST /none HTTP/1.1\r\nHost: a\r\nConnection: close\r\n",
                             "POST /none HTTP/1.0\r\n", "POST /secret HTTP/1.1\r\nHost: a\r\n"}) {
        CAPTURE(std::string(head));
        wire_client c = s.connect();
        CHECK(c.send(std::string(head) + "Content-Length: 10\r\n\r\nabc"));
        CHECK(c.read().status >= 400);
        CHECK(c.at_end());        // its side, not ours (RFC 9112 9.6)
        CHECK(c.send("0123456")); // and who is still sending meets no error
    }
}

TEST_CASE("server: without descriptors accepting pauses, nobody is dropped, nothing spins") {
    CHECK(in_child([] {
              folder at;
              server app;
              app.get("/", hello);
              int logged = 0;
              app.on_log([&](string_view line) {
                  logged += line.find("out of descriptors") != line.npos;
              });
              if (app.listen(at("s"))) return 1;
              std::vector<wire_client> clients;
              for (int i = 0; i < 3; ++i) clients.emplace_back(at("s"));
              int first = ::dup(0);
              rlimit few{static_cast<rlim_t>(first) + 1, static_cast<rlim_t>(first) + 64};
              ::close(first);
              if (::setrlimit(RLIMIT_NOFILE, &few) != 0) return 2; // one more, then EMFILE
              auto turn = [&](int times) {
                  for (int i = 0; i < times; ++i)
                      if (!app.run_once(milliseconds(50))) return false;
                  return true;
              };
              clients[0].send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
              if (!turn(4)) return 3;
              if (clients[0].read().status != 200) return 4;
              clients[1].send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
              rusage before{}, after{};
              ::getrusage(RUSAGE_SELF, &before);
              auto start = steady_clock::now();
              int turns = 0;
              for (; since(start) < milliseconds(500); ++turns)
                  if (!app.run_once(milliseconds(500))) return 5;
              ::getrusage(RUSAGE_SELF, &after);
              if (turns > 40) return 6;
              if (app.stats().connections != 1) return 7;
              if (logged != 1) return 13;                 // however often it was tried
              ::shutdown(clients[0].fd.get(), SHUT_RDWR); // room for one: this end's stays
              start = steady_clock::now();
              while (app.stats().accepted < 2 && since(start) < patience)
                  if (!app.run_once(milliseconds(50))) return 8;
              if (!turn(3) || clients[1].read().status != 200) return 9;
              for (start = steady_clock::now(); logged < 2 && since(start) < patience;)
                  if (!app.run_once(milliseconds(50))) return 14;
              if (logged != 2) return 15; // somebody came in between
              clients[2].send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
              few.rlim_cur = few.rlim_max;
              if (::setrlimit(RLIMIT_NOFILE, &few) != 0) return 10;
              start = steady_clock::now();
              while (app.stats().accepted < 3 && since(start) < patience)
                  if (!app.run_once(milliseconds(50))) return 11;
              return turn(3) && clients[2].read().status == 200 ? 0 : 12;
          }) == 0);
}

TEST_CASE("server: a listener that another holder shuts is left alone, and nothing spins") {
    folder at;
    server app;
    app.get("/", hello);
    int logged = 0;
    app.on_log([&](string_view) { ++logged; });
    REQUIRE(!app.listen(at("a")));
    REQUIRE(!app.listen(at("b")));
    int held = -1; // what a predecessor, or whoever passed it to us, has another descriptor of
    for (int fd = 3; fd < 1024 && held < 0; ++fd) {
        sockaddr_un name{};
        socklen_t size = sizeof name;
        const bool is_socket = ::getsockname(fd, reinterpret_cast<sockaddr*>(&name), &size) == 0;
        if (is_socket && at("a") == name.sun_path) held = fd;
    }
    REQUIRE(held >= 0);
    wire_client kept(at("a"));
    for (auto start = steady_clock::now(); app.stats().accepted < 1 && since(start) < patience;)
        REQUIRE(app.run_once(milliseconds(50)));
    REQUIRE(::shutdown(held, SHUT_RD) == 0);
    for (auto start = steady_clock::now(); logged < 1 && since(start) < patience;)
        REQUIRE(app.run_once(milliseconds(50)));
    CHECK(logged == 1);
    for (int turns = 0; turns < 3; ++turns) REQUIRE(app.run_once(milliseconds(0)));
    pollfd rests{app.pollable_fd(), POLLIN, 0};
    CHECK(::poll(&rests, 1, 100) == 0); // it was readable for ever
    wire_client other(at("b"));
    for (wire_client* c : {&kept, &other}) {
        REQUIRE(c->send("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
        pollfd answered{c->fd.get(), POLLIN, 0};
        for (auto start = steady_clock::now(); !::poll(&answered, 1, 0) && since(start) < patience;)
            REQUIRE(app.run_once(milliseconds(50)));
        CHECK(c->read().status == 200);
    }
}

TEST_CASE("server: what came while the process was stopped is read before a deadline counts") {
    folder at;
    const pid_t child = ::fork();
    if (child == 0) {
        server_options options;
        options.head_timeout = milliseconds(700);
        server app(options);
        app.get("/", hello);
        ::_exit(app.run(at("s")) ? 1 : 0);
    }
    REQUIRE(comes_true([&] { return wire_client(at("s")).connected; }));
    wire_client idle(at("s"));    // else the first that is answered would set an alarm
    std::vector<wire_client> all; // with the alarm, more than two calls of epoll_wait(2) tell of
    for (int i = 0; i < 512; ++i) all.emplace_back(at("s"));
    for (wire_client& c : all) CHECK(c.send("GET / HTTP/1.1\r\nHo"));
    for (wire_client& c : all) {
        int unread = 1;
        CHECK(comes_true([&] { return ::ioctl(c.fd.get(), SIOCOUTQ, &unread) == 0 && !unread; }));
    }
    ::kill(child, SIGSTOP); // or a debugger, or the cgroup's freezer
    int status = 0;
    CHECK(::waitpid(child, &status, WUNTRACED) == child);
    for (std::size_t i = 0; i < 512; ++i) { // some of them behind the alarm
        if (i == 256) std::this_thread::sleep_for(milliseconds(800)); // longer than a head may take
        CHECK(all[i].send("st: a\r\n\r\n"));
    }
    ::kill(child, SIGCONT);
    int served = 0;
    for (wire_client& c : all) served += c.read().status == 200;
    CHECK(served == 512);
    ::kill(child, SIGKILL);
    CHECK(::waitpid(child, &status, 0) == child);
}

TEST_CASE("server: however often accepting has paused, one retry is on its way") {
    CHECK(in_child([] {
              folder at;
              server app;
              int pauses = 0;
              app.on_log([&](string_view) { ++pauses; });
              if (app.listen(at("s"))) return 1;
              std::vector<wire_client> clients;
              for (int i = 0; i < 12; ++i) clients.emplace_back(at("s"));
              int first = ::dup(0);
              rlimit few{static_cast<rlim_t>(first) + 1, static_cast<rlim_t>(first) + 64};
              ::close(first);
              if (::setrlimit(RLIMIT_NOFILE, &few) != 0) return 2; // one more, then EMFILE
              auto turn_until = [&](auto claim) {
                  for (auto start = steady_clock::now(); !claim();)
                      if (since(start) > patience || !app.run_once(milliseconds(7))) return false;
                  return true;
              };
              for (std::size_t i = 0; i < 8; ++i) { // room for the next one, then none again
                  const int before = pauses;
                  if (!turn_until([&] { return app.stats().accepted > i; })) return 3;
                  ::shutdown(clients[i].fd.get(), SHUT_RDWR); // this end's descriptor stays
                  const auto closed = steady_clock::now();    // retries would come at other times
                  auto spread = [&] { return pauses > before && since(closed) > milliseconds(11); };
                  if (!turn_until(spread)) return 4;
              }
              const auto start = steady_clock::now();
              for (int turns = 0; turns < 10; ++turns) // two per retry, which says nothing more
                  if (!app.run_once(patience)) return 5;
              return since(start) > milliseconds(250) ? 0 : 6; // 100 each, but for the first
          }) == 0);
}

TEST_CASE("server: stopped without descriptors its path goes, and the spare one serves the queue") {
    CHECK(in_child([&] {
              folder at;
              server app;
              app.get("/", hello);
              if (app.listen(at("s"))) return 1;
              wire_client clients[] = {wire_client(at("s")), wire_client(at("s"))};
              for (wire_client& c : clients) c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
              int next = ::dup(0);
              rlimit none{static_cast<rlim_t>(next), static_cast<rlim_t>(next)};
              ::close(next);
              if (::setrlimit(RLIMIT_NOFILE, &none) != 0) return 2;
              (void)app.run_once(milliseconds(50));
              app.stop();
              auto start = steady_clock::now();
              while (*app.run_once(patience))
                  if (since(start) > patience) return 3;
              if (::access(at("s").c_str(), F_OK) == 0) return 4;
              for (wire_client& c : clients)
                  if (c.read().status != 200 || !c.at_end()) return 5;
              return 0;
          }) == 0);
}

TEST_CASE("server: without descriptors it stops once the queue is served, or at its deadline") {
    for (bool comes_back : {true, false}) {
        CAPTURE(comes_back);
        folder at; // the child has no descriptor left to empty it with
        CHECK(in_child([&] {
                  server_options o;
                  if (!comes_back) o.drain_timeout = milliseconds(200);
                  server app(o);
                  app.get("/", hello);
                  if (app.listen(at("s"))) return 1;
                  wire_client clients[] = {wire_client(at("s")), wire_client(at("s"))};
                  for (wire_client& c : clients) c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
                  int next = ::dup(0);
                  rlimit few{3, static_cast<rlim_t>(next) + 64}; // not the spare one either
                  ::close(next);
                  if (::setrlimit(RLIMIT_NOFILE, &few) != 0) return 2;
                  (void)app.run_once(milliseconds(50));
                  app.stop();
                  if (comes_back)
                      for (int i = 0; i < 5; ++i)
                          if (!*app.run_once(milliseconds(20))) return 3;
                  few.rlim_cur = few.rlim_max;
                  if (comes_back && ::setrlimit(RLIMIT_NOFILE, &few) != 0) return 4;
                  auto start = steady_clock::now();
                  while (*app.run_once(patience))
                      if (since(start) > patience) return 5;
                  for (wire_client& c : clients)
                      if (c.read().status != (comes_back ? 200 : 0) || !c.at_end()) return 6;
                  return 0;
              }) == 0);
    }
}

// -- deadlines

TEST_CASE("server: descriptors that run out at any point of its start are an error that says so") {
    folder at;
    bool starts = false;
    for (rlim_t spare = 0; spare < 16; ++spare) {
        CAPTURE(spare);
        const int outcome = in_child([&] {
            rlimit limit{};
            ::getrlimit(RLIMIT_NOFILE, &limit);
            unique_fd next(::dup(0));
            limit.rlim_cur = static_cast<rlim_t>(next.get()) + spare;
            next = unique_fd();
            ::setrlimit(RLIMIT_NOFILE, &limit);
            server app;
            app.get("/", hello);
            error bad = app.listen(at("s"));
            if (!bad) bad = app.run_once(milliseconds(0)).error();
            if (bad) return bad == std::errc::too_many_files_open ? 1 : 2;
            return app.pollable_fd() >= 0 ? 0 : 3;
        });
        const bool is_enough = outcome == 0;
        CHECK((is_enough || outcome == 1));
        CHECK((is_enough || !starts)); // with more it starts as well
        CHECK((spare > 0 || !is_enough));
        starts = is_enough;
        CHECK_FALSE(exists(at("s")));
    }
    CHECK(starts);
    CHECK(in_child([] {
              rlimit none{3, 3}; // standard input, output, error
              ::setrlimit(RLIMIT_NOFILE, &none);
              return sealed_memory::copy_of("x").error() == std::errc::too_many_files_open ? 0 : 1;
          }) == 0);
}

TEST_CASE("server: a run() that can't start leaves no door at which somebody would wait") {
    folder at;
    bool is_seen = false;
    for (std::size_t spare = 0; spare < 16; ++spare) {
        const int outcome = in_child([&] {
            const rlimit few{64, 64};
            ::setrlimit(RLIMIT_NOFILE, &few);
            server_options o;
            o.threads = 2;
            server app(o);
            app.get("/", hello);
            if (app.listen(at("s"))) return 3;
            std::vector<unique_fd> all;
            for (unique_fd one; (one = unique_fd(::dup(0)));) all.push_back(std::move(one));
            all.resize(all.size() - spare);
            if (!app.run_once(milliseconds(0)).error()) return 0;
            if (!(app.run() == std::errc::too_many_files_open)) return 4; // still
            all.clear();
            if (exists(at("s"))) return 5;
            return server().listen(at("s")) ? 6 : 1;
        });
        CAPTURE(spare);
        CAPTURE(outcome);
        CHECK((outcome == 0 || outcome == 1));
        is_seen = is_seen || outcome == 1;
    }
    CHECK(is_seen);
}

TEST_CASE("server: a head that stops is 408, one that drips too") {
    server_options o;
    o.head_timeout = milliseconds(200);
    running s(o);
    s.app.get("/", hello);
    s.start();
    wire_client still = s.connect(), drip = s.connect(), good = s.connect();
    CHECK(still.send("GET / HTTP/1.1\r\n"));
    auto start = steady_clock::now();
    bool open = true;
    for (int i = 0; open && since(start) < patience; ++i) {
        open = drip.send(i ? "x" : "GET /");
        pollfd readable{drip.fd.get(), POLLIN, 0};
        if (::poll(&readable, 1, 20) == 1) break;
    }
    for (wire_client* c : {&still, &drip}) {
        answer got = c->read();
        CHECK(got.status == 408);
        CHECK(got.field("Connection") == "close");
        CHECK(c->at_end());
    }
    CHECK(good.ask("/").status == 200); // kept, though it was there all the time
}

TEST_CASE("server: a head that came while a slow handler posted is not late") {
    server_options o;
    o.head_timeout = milliseconds(400);
    running s(o);
    std::atomic<bool> begun{false}, sent{false};
    s.app.get("/slow", [&](const request&) {
        const auto until = steady_clock::now() + milliseconds(450);
        begun = true;
        comes_true([&] { return sent.load(); });
        std::this_thread::sleep_until(until); // the other's deadline passes
        s.app.post([] {});
        return text("slow");
    });
    s.app.get("/", hello);
    s.start();
    wire_client slow = s.connect(), other = s.connect();
    CHECK(slow.ask("/").status == 200);
    const std::uint64_t before = s.app.stats().bytes_in;
    other.send("GET / HTTP/1.1\r\n");
    CHECK(comes_true([&] { return s.app.stats().bytes_in > before; }));
    slow.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    CHECK(comes_true([&] { return begun.load(); }));
    other.send("Host: a\r\n\r\n");
    sent = true;
    CHECK(other.read().status == 200);
    CHECK(slow.read().status == 200);
}

TEST_CASE("server: a body without progress is 408") {
    server_options o;
    o.body_timeout = milliseconds(200);
    running s(o);
    s.app.post("/", [](const request& r) { return text(r.body()); });
    s.app.post("/stream", [](request&, body_reader in, responder res) {
        auto both =
            std::make_shared<std::pair<body_reader, responder>>(std::move(in), std::move(res));
        both->first.on_data([both](string_view) {},
                            [both](const error&) { both->second = responder(); });
    });
    s.start();
    for (const char* target : {"/", "/stream"}) {
        CAPTURE(std::string(target));
        wire_client still = s.connect();
        CHECK(still.send("POST " + std::string(target) +
                         " HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab"));
        CHECK(still.read().status == 408);
        CHECK(still.at_end());
    }
}

TEST_CASE("server: a body that goes on is no slow one, however long it takes") {
    // This sender may be stopped for longer than the deadline where the machine is busy: then once
    // more, with twice the time.
    answer got;
    for (int timeout = 200; timeout < 10'000 && got.status != 200; timeout *= 2) {
        server_options o;
        o.body_timeout = milliseconds(timeout);
        running s(o);
        s.app.post("/", [](const request& r) { return text(r.body()); });
        s.start();
        wire_client slow = s.connect();
        CHECK(slow.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\n"));
        for (int i = 0; i < 8; ++i) { // twice the deadline in all
            ::usleep(static_cast<unsigned>(timeout) * 250);
            if (!slow.send("x")) break;
        }
        got = slow.read();
    }
    CHECK(got.body == std::string(8, 'x'));
}

TEST_CASE("server: a body that goes on is no slow one, whoever had the loop for long") {
    answer got; // as above, with a handler that takes twice the deadline
    for (int timeout = 200; timeout < 3'000 && got.status != 200; timeout *= 2) {
        server_options o;
        o.body_timeout = milliseconds(timeout);
        running s(o);
        const auto quarter = static_cast<unsigned>(timeout) * 250;
        s.app.post("/", [](const request& r) { return text(r.body()); });
        s.app.get("/busy", [&](const request&) {
            for (int i = 0; i < 17; ++i) ::usleep(quarter / 2); // between two pieces
            return text("");
        });
        s.start();
        wire_client busy = s.connect(), slow = s.connect(), last = s.connect();
        CHECK(slow.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\nx"));
        for (wire_client* one : {&busy, &last}) CHECK(one->ask("/none").status == 404);
        std::atomic<bool> begun{false}, sent{false}; // both come to the loop at once, in order
        s.app.post([&] { begun = true, comes_true([&] { return sent.load(); }); });
        CHECK(comes_true([&] { return begun.load(); }));
        CHECK(busy.send("GET /busy HTTP/1.1\r\nHost: a\r\n\r\n"));
        bool goes_on = slow.send("x");
        sent = true;
        for (int i = 0; i < 10 && goes_on; ++i) ::usleep(quarter), goes_on = slow.send("x");
        got = slow.read();
    }
    CHECK(got.body == std::string(12, 'x'));
}

TEST_CASE("server: idle time and a drain begin when they do, whoever had the loop for long") {
    enum { its_own, kept, accepted, drain };
    for (int what : {its_own, kept, accepted, drain}) {
        CAPTURE(what);
        answer got; // a client may be late on a busy machine: then once more, with twice the time
        for (int limit = 200; limit < 3'000 && got.status != 200; limit *= 2) {
            server_options o;
            o.idle_timeout = o.head_timeout = o.drain_timeout = milliseconds(limit);
            running s(o);
            handed<responder> later;
            s.app.get("/", hello);
            s.app.get("/later", [&](request&, responder out) { later.put(std::move(out)); });
            wire_client slow(unique_fd(-1)), other(unique_fd(-1));
            s.app.get("/busy", [&](const request&) {
                if (what == accepted) CHECK(slow.send("st: a\r\n\r\n")); // in time, not read yet
                ::usleep(static_cast<unsigned>(limit) * 2'000);
                if (what == drain) s.app.stop();
                return text("");
            });
            s.start();
            wire_client busy = s.connect();
            if (what == kept || what == drain) other = s.connect();
            if (what == drain) CHECK(other.send("GET /later HTTP/1.1\r\nHost: a\r\n\r\n"));
            if (what == drain) REQUIRE(comes_true([&] { return later.count() == 1; }));
            if (what == kept) CHECK(other.ask("/").status == 200);
            if (what == accepted) slow = s.connect();
            if (what == accepted) CHECK(slow.send("GET / HTTP/1.1\r\nHo"));
            for (int i = 0; i < 2; ++i) // twice: then no door stands in epoll's list any more
                CHECK(busy.ask("/none").status == 404);
            std::atomic<bool> begun{false}, sent{false}; // all comes to the loop at once, in order
            s.app.post([&] { begun = true, comes_true([&] { return sent.load(); }); });
            CHECK(comes_true([&] { return begun.load(); }));
            CHECK(busy.send("GET /busy HTTP/1.1\r\nHost: a\r\n"));
            CHECK(busy.send(what == its_own ? "\r\n" : "Connection: close\r\n\r\n"));
            if (what == kept) CHECK(other.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
            if (what == accepted) other = s.connect();
            sent = true;
            CHECK(busy.read().status == 200);
            if (what == kept) CHECK(other.read().status == 200);
            ::usleep(static_cast<unsigned>(limit) * 300);
            if (what == drain) later.take().send(text(""));
            got = what == drain ? other.read() : (what == its_own ? busy : other).ask("/");
            if (what == accepted && slow.read().status != 200) got.status = 0;
        }
        CHECK(got.status == 200);
    }
}

TEST_CASE("server: without idle time each answer is a connection's last, and says so") {
    server_options o;
    o.idle_timeout = milliseconds(0), o.head_timeout = milliseconds(500);
    running s(o);
    s.app.get("/", hello);
    s.app.get("/later", [](const request&, responder res) { res.send(text("later")); });
    s.start();
    wire_client silent = s.connect();
    for (const char* target : {"/", "/later"}) {
        wire_client asks = s.connect();
        answer got = asks.ask(target);
        CHECK(got.status == 200);
        CHECK(got.field("Connection") == "close");
        CHECK(asks.at_end());
    }
    wire_client pipelines = s.connect(); // what is there already is answered on it
    const std::string one = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    CHECK(pipelines.send(one + one));
    CHECK(pipelines.read().field("Connection").empty());
    CHECK(pipelines.read().field("Connection") == "close");
    CHECK(silent.at_end()); // as if it were slow with its head
    const auto fresh = client(s.path).get("/");
    CHECK((fresh && fresh->body() == "Hello Anonymous"));
}

TEST_CASE("server: what idle_timeout cuts of a body is a 503, what its sender cuts is nothing") {
    const auto limit = milliseconds(100);
    server_options o;
    o.idle_timeout = limit;
    folder at;
    server app(o);
    const std::string head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ";
    REQUIRE_FALSE(app.listen(at("s")));
    wire_client other(at("s")), retired(at("s")), streams(at("s")), cut(at("s"));
    app.post("/", [](const request&) { return text("done"); });
    error ended;
    app.post("/stream", [&](const request&, body_reader in, responder out) {
        auto both =
            std::make_shared<std::pair<body_reader, responder>>(std::move(in), std::move(out));
        both->first.on_data({}, [&, both](const error& why) {
            ended = why;
            CHECK_FALSE(both->second.send(text("cut").status(400))); // it was answered
        });
    });
    app.get("/", [&](const request&) { // in the turn that finds `retired` idle, but too late for it
        retired.send(head + "9\r\n\r\n1234");
        streams.send("POST /stream" + head.substr(6) + "9\r\n\r\n1234");
        return text("sent");
    });
    for (wire_client* c : {&retired, &streams, &cut}) c->send(head + "0\r\n\r\n");
    while (app.stats().requests < 3) REQUIRE(app.run_once(patience));
    const auto served = steady_clock::now();
    other.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    cut.send(head + "9\r\n\r\n1234");
    REQUIRE(::shutdown(cut.fd.get(), SHUT_WR) == 0);
    while (since(served) < 2 * limit) ::poll(nullptr, 0, 10); // time itself: the turn comes then
    while (app.stats().connections > 0 && since(served) < patience) CHECK(app.run_once(limit));
    CHECK(other.read().body == "sent");
    for (wire_client* c : {&retired, &streams, &cut}) CHECK(c->read().body == "done");
    for (wire_client* c : {&retired, &streams}) CHECK(c->read().status == 503);
    CHECK(ended == errc::cut_off);
    CHECK(cut.at_end());
}

TEST_CASE("server: what idle_timeout has closed is upgraded no more, so that it is asked again") {
    const auto limit = milliseconds(100);
    server_options o;
    o.idle_timeout = limit;
    folder at;
    server app(o);
    REQUIRE_FALSE(app.listen(at("s")));
    wire_client other(at("s")), retired(at("s"));
    bool is_upgraded = false;
    app.get("/first", hello);
    app.get("/up", [&](const request&, responder out) {
        out.upgrade("echo", [&](const upgraded&) { is_upgraded = true; });
    });
    app.get("/", [&](const request&) { // in the turn that finds `retired` idle, but too late for it
        retired.send("GET /up HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n");
        return text("sent");
    });
    retired.send("GET /first HTTP/1.1\r\nHost: a\r\n\r\n");
    while (app.stats().requests < 1) REQUIRE(app.run_once(patience));
    const auto served = steady_clock::now();
    other.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    while (since(served) < 2 * limit) ::poll(nullptr, 0, 10); // time itself: the turn comes then
    while (app.stats().connections > 0 && since(served) < patience) CHECK(app.run_once(limit));
    CHECK(other.read().body == "sent");
    CHECK(retired.read().status == 200);
    CHECK(retired.at_end()); // no 101, behind which nothing could be said
    CHECK_FALSE(is_upgraded);
}

TEST_CASE("server: an idle connection is closed in its time, without a word") {
    bool served = false; // else this thread was stopped for so long that `kept` has idled too
    for (milliseconds limit{200}; !served; limit *= 2) {
        REQUIRE(limit < patience);
        server_options o;
        o.idle_timeout = limit;
        running s(o);
        s.app.get("/", hello);
        s.start();
        auto start = steady_clock::now();
        wire_client silent = s.connect(), kept = s.connect();
        served = kept.ask("/").status == 200;
        CHECK(silent.at_end());
        CHECK(kept.at_end());
        CHECK(since(start) >= limit - milliseconds(10)); // the coarse clock lags
    }
}

namespace {

/// Answers 8 MiB at once, or in pieces.
struct serving_large : running {
    std::string large = std::string(8 << 20, 'x');
    explicit serving_large(const server_options& o) : running(o) {
        app.get("/", [this](const request&) { return text(large); });
        app.get("/stream", [this](request&, responder r) {
            auto out = std::make_shared<body_writer>(
                r.stream(response().header("Content-Length", "8388608")));
            auto sent = std::make_shared<std::size_t>(0);
            auto more = [out, sent, this] {
                while (*sent < large.size()) {
                    *sent += 64 << 10;
                    if (out->write(string_view(large).substr(0, 64 << 10)) != written::ok) return;
                }
                out->end();
            };
            out->on_drain(more);
            more();
        });
        start();
    }
};

} // namespace

TEST_CASE("server: a client that doesn't read is cut") {
    server_options o;
    o.write_timeout = milliseconds(300);
    for (const char* target : {"/", "/stream"}) {
        CAPTURE(std::string(target));
        serving_large s(o);
        wire_client deaf = s.connect();
        CHECK(deaf.send("GET " + std::string(target) + " HTTP/1.1\r\nHost: a\r\n\r\n"));
        CHECK(deaf.more(1));
        CHECK(comes_true([&] { return s.app.stats().connections == 0; }));
        CHECK(deaf.rest().size() < s.large.size());
    }
}

TEST_CASE("server: a client that sends, but doesn't read, is cut too") {
    server_options o;
    o.write_timeout = milliseconds(300);
    running s(o);
    s.app.get("/up", [](request&, responder out) {
        out.upgrade("x", [](upgraded u) {
            auto kept = std::make_shared<upgraded>(std::move(u));
            kept->out.write(std::string(4 << 20, 'x'));
            kept->in.on_data([](string_view) {}, [kept](const error&) {});
        });
    });
    s.start();
    wire_client c = s.connect();
    CHECK(c.send("GET /up HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"));
    CHECK(c.more(1));
    CHECK(
        comes_true([&] { return ::usleep(20'000), c.send("p"), s.app.stats().connections == 0; }));
}

TEST_CASE("server: a client that reads slowly is not cut, however long it takes") {
    for (const char* target : {"/", "/stream"}) {
        CAPTURE(std::string(target));
        std::size_t got = 0;
        // This reader may be stopped for longer than the deadline where the machine is busy: then
        // once more, with twice the time.
        for (milliseconds limit{300}; limit < patience && got < 8 << 20; limit *= 2) {
            server_options o;
            o.write_timeout = limit;
            serving_large s(o);
            wire_client slow = s.connect();
            CHECK(slow.send("GET " + std::string(target) + " HTTP/1.1\r\nHost: a\r\n\r\n"));
            CHECK(slow.until("\r\n\r\n"));
            auto pace = static_cast<unsigned>(limit.count() * 1000 / 16); // twice the limit in all
            while (slow.got.size() < s.large.size() && slow.more(256 << 10)) ::usleep(pace);
            got = slow.got.size();
        }
        CHECK(got >= 8 << 20);
    }
}

TEST_CASE("server: answers that wait for room are not cut where the peer ends inside a body") {
    for (const char* target : {"/echo", "/none"}) { // collected, and passed over
        CAPTURE(std::string(target));
        folder at;
        server app;
        app.get("/", [](const request&) { return text(std::string(15'000, 'x')); });
        app.post("/echo", [](const request& r) { return text(r.body()); });
        REQUIRE_FALSE(app.listen(at("s")));
        wire_client c(at("s"));
        std::string all;
        for (int i = 0; i < 16; ++i) all += "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        CHECK(c.send(all + "POST " + target +
                     " HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc"));
        c.shut();
        while (app.stats().bytes_out == 0) REQUIRE(app.run_once(patience));
        std::string got; // only now: until here there was no room for all
        std::thread reader([&] { got = c.rest(); });
        while (app.stats().connections) CHECK(app.run_once(patience));
        reader.join();
        CHECK(got.size() > 16 * 15'000);
    }
}

// -- wake-ups

TEST_CASE("server: a half-closed client that waits for its answer costs no wake-ups") {
    fd_watch watch;
    folder at;
    server app;
    responder kept;
    app.get("/", [&](request&, responder r) { kept = std::move(r); });
    REQUIRE_FALSE(app.listen(at("s")));
    wire_client c(at("s"));
    CHECK(c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
    c.shut();
    while (!kept.is_open()) REQUIRE(app.run_once(milliseconds(1000)));
    int turns = 0;
    for (auto start = steady_clock::now(); since(start) < milliseconds(300); ++turns)
        REQUIRE(app.run_once(milliseconds(300)));
    CHECK(turns <= 4);
    CHECK(kept.send(text("patience")));
    for (auto start = steady_clock::now(); app.stats().connections > 0 && since(start) < patience;)
        REQUIRE(app.run_once(milliseconds(100)));
    CHECK(c.read().body == "patience");
    CHECK(c.at_end());
}

TEST_CASE("server: what has nothing to do sleeps") {
    fd_watch watch;
    folder at;
    server app;
    app.get("/", hello);
    REQUIRE_FALSE(app.listen(at("s")));
    wire_client c(at("s"));
    CHECK(c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HT"));
    for (int i = 0; app.stats().requests == 0 && i < 10; ++i)
        REQUIRE(app.run_once(milliseconds(1000)));
    CHECK(c.read().status == 200);
    int turns = 0;
    for (auto start = steady_clock::now(); since(start) < milliseconds(300); ++turns)
        REQUIRE(app.run_once(milliseconds(300)));
    CHECK(turns <= 3);
}

// -- in somebody else's loop

namespace {

/// Somebody else's loop, which sleeps in poll() alone.
struct foreign_loop {
    fd_watch watch;
    folder at;
    server app;
    explicit foreign_loop(const server_options& o = {}) : app(o) {}
    template <class F> bool serve_until(F claim) {
        const int pollable = app.pollable_fd();
        for (auto start = steady_clock::now(); since(start) < patience;) {
            if (claim()) return true;
            pollfd ready{pollable, POLLIN, 0};
            if (::poll(&ready, 1, 3000) != 1) return false;
            result<bool> turn = app.run_once(milliseconds(0));
            if (!turn || !*turn) return false;
        }
        return false;
    }
};

/// What a peer saw of a server with that idle_timeout in such a loop.
std::string seen_of_foreign_loop(milliseconds idle) {
    server_options o;
    o.idle_timeout = idle;
    foreign_loop f(o);
    f.app.post("/", [](const request& r) { return text(std::to_string(r.body().size())); });
    f.app.post("/stream", [](request&, body_reader in, responder res) {
        auto both =
            std::make_shared<std::pair<body_reader, responder>>(std::move(in), std::move(res));
        auto size = std::make_shared<std::size_t>(0);
        both->first.on_data(
            [size](string_view piece) { *size += piece.size(); },
            [both, size](const error&) { both->second.send(text(std::to_string(*size))); });
    });
    REQUIRE_FALSE(f.app.listen(f.at("s")));
    REQUIRE(f.app.pollable_fd() >= 0);
    std::string got;
    std::atomic<bool> done{false};
    std::thread peer([&] {
        wire_client c(f.at("s"));
        got += c.ask("/", "POST", "", std::string(3 << 20, 'b')).body + " ";
        got += c.ask("/stream", "POST", "", std::string(3 << 20, 'b')).body + " ";
        got += c.at_end() ? "closed" : "open"; // by idle_timeout
        done = true;
        f.app.post([] {}); // the loop looks at `done`
    });
    CHECK(f.serve_until([&] { return done.load(); }));
    peer.join();
    return got;
}

} // namespace

TEST_CASE("server: a foreign loop sees connections, answers and deadlines by poll()") {
    std::string got; // where the peer is stopped for so long that it has idled: once more
    for (milliseconds idle{150}; idle < milliseconds(2'000) && got != "3145728 3145728 closed";
         idle *= 3)
        got = seen_of_foreign_loop(idle);
    CHECK(got == "3145728 3145728 closed");
}

TEST_CASE("server: a foreign loop sees posts and their delays by poll(), and the end") {
    foreign_loop f;
    REQUIRE_FALSE(f.app.listen(f.at("s")));
    bool now = false, later = false;
    auto start = steady_clock::now();
    f.app.post([&] { now = true; });
    f.app.post([&] { later = true; }, milliseconds(100));
    CHECK(f.serve_until([&] { return now; }));
    CHECK(f.serve_until([&] { return later; }));
    CHECK(since(start) >= milliseconds(90));
    f.app.stop();
    CHECK_FALSE(f.serve_until([] { return false; }));
    result<bool> last = f.app.run_once(milliseconds(0));
    REQUIRE(last);
    CHECK_FALSE(*last);
}

TEST_CASE("server: a delay is never cut short, and its end is one turn, not a spin") {
    foreign_loop f;
    REQUIRE_FALSE(f.app.listen(f.at("s")));
    int turns = 0, early = 0;
    for (int i = 0; i < 50; ++i) {
        bool over = false;
        const auto posted = steady_clock::now();
        f.app.post([&] { over = true; }, milliseconds(8));
        REQUIRE(f.serve_until([&] { return ++turns, over; }));
        if (steady_clock::now() - posted < milliseconds(8)) ++early;
    }
    CHECK(early == 0);
    CHECK(turns <= 50 * 8); // asked, told of the post, of its time; and some to spare
}

TEST_CASE("server: post() from any thread, in order, and after a delay") {
    running s;
    s.start();
    handed<int> ran;
    auto start = steady_clock::now();
    for (int i = 0; i < 3; ++i) s.app.post([&ran, i] { ran.put(i); });
    s.app.post([&] { // both at one time of the loop's
        s.app.post([&ran] { ran.put(100); }, milliseconds(120));
        s.app.post([&ran] { ran.put(50); }, milliseconds(30));
    });
    for (int expected : {0, 1, 2, 50, 100}) CHECK(ran.take() == expected);
    CHECK(since(start) >= milliseconds(100));
    s.app.post([] { throw std::runtime_error("mine"); });
    s.app.post([&ran] { ran.put(7); });
    CHECK(ran.take() == 7);
}

TEST_CASE("server: a delay begins when it is posted, not when the loop last looked at the clock") {
    running s;
    handed<milliseconds> took;
    s.app.get("/", [&](const request&) {
        const auto looked = steady_clock::now();
        while (since(looked) < milliseconds(150)) ::usleep(1'000); // a handler that blocks
        const auto posted = steady_clock::now();
        s.app.post([&took, posted] { took.put(since(posted)); }, milliseconds(100));
        return text("ok");
    });
    s.start();
    CHECK(s.connect().ask("/").status == 200);
    CHECK(took.take() >= milliseconds(80)); // its clock ticks
}

TEST_CASE("server: tasks leave the heap in the order of their times") {
    for (std::size_t count : {1u, 2u, 3u, 7u, 100u, 1'000u}) {
        CAPTURE(count);
        detail::task_heap tasks;
        std::vector<std::int64_t> ran;
        for (std::size_t i = 0; i < count; ++i) {
            const auto at = static_cast<std::int64_t>(i * 7'919 % 997);
            tasks.add(at, [&ran, at] { ran.push_back(at); });
        }
        bool names_the_next = true;
        while (tasks.next() < INT64_MAX) {
            const std::int64_t next = tasks.next();
            tasks.take()();
            names_the_next = names_the_next && ran.back() == next;
        }
        CHECK(names_the_next);
        CHECK(ran.size() == count);
        CHECK(std::is_sorted(ran.begin(), ran.end()));
    }
}

TEST_CASE("server: a callback that posts itself keeps it until the deadline, not for ever") {
    struct again {
        server* app;
        std::atomic<int>* left;
        void operator()() const {
            if (--*left > 0) app->post(*this);
        }
    };
    for (int stops : {1, 2}) {
        CAPTURE(stops);
        server_options o;
        o.drain_timeout = stops == 1 ? milliseconds(100) : patience * 10;
        std::atomic<int> left{INT_MAX};
        running s(o);
        s.start();
        s.app.post(again{&s.app, &left});
        CHECK(comes_true([&] { return left < INT_MAX - 10; }));
        for (int i = 0; i < stops; ++i) s.app.stop();
        CHECK(comes_true([&] { return s.ended.load(); }));
        left = 0; // or it would never end
    }
}

TEST_CASE("server: what is posted when nothing is left to do keeps run_once() no longer") {
    folder at;
    server app;
    REQUIRE_FALSE(app.listen(at("s")));
    CHECK(*app.run_once(milliseconds(0)));
    bool ran = false;
    app.stop();
    app.post([&] { ran = true; });
    int turns = 0;
    while (*app.run_once(milliseconds(0)) && ++turns < 100) {
    }
    CHECK(ran);
    CHECK(turns < 100);
}

TEST_CASE("server: durations of max() are never, and stop nobody else") {
    server_options o;
    o.drain_timeout = milliseconds::max();
    o.busy_poll = microseconds::max();
    running s(o);
    handed<responder> waiting;
    handed<event_writer> streams;
    std::atomic<bool> ran{false};
    s.app.get("/", hello);
    s.app.get("/wait", [&](request&, responder r) { waiting.put(std::move(r)); });
    s.app.get("/events",
              [&](request&, responder r) { streams.put(r.events(milliseconds::max())); });
    s.start();
    wire_client c = s.connect(), d = s.connect();
    CHECK(d.send("GET /events HTTP/1.1\r\nHost: a\r\n\r\n"));
    event_writer events = streams.take();
    s.app.post([&] { ran = true; }, milliseconds::max());
    CHECK(c.ask("/").body == "Hello Anonymous");
    CHECK(c.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n"));
    responder r = waiting.take();
    s.app.stop();
    CHECK(d.until("\r\n0\r\n\r\n"));
    CHECK(r.is_open());
    CHECK(r.send(text("in time")));
    CHECK(c.read().body == "in time");
    CHECK(comes_true([&] { return s.ended.load(); }));
    CHECK_FALSE(ran);
}

// -- connections from elsewhere

TEST_CASE("server: it serves an adopted pair and ends when that does") {
    fd_watch watch;
    pair_of_sockets p;
    server app;
    app.get("/", hello);
    REQUIRE_FALSE(app.adopt(std::move(p.a)));
    wire_client c(std::move(p.b));
    std::thread thread([&] { CHECK_FALSE(app.run()); });
    CHECK(c.ask("/").body == "Hello Anonymous");
    c.close();
    thread.join();
}

TEST_CASE("server: it ends with an adopted pair that it was just looking at, too") {
    for (int round = 0; round < 16; ++round) { // three looks out of four are at the last peer
        pair_of_sockets p;
        server_options o;
        o.busy_poll = milliseconds(20);
        server app(o);
        app.get("/", hello);
        REQUIRE_FALSE(app.adopt(std::move(p.a)));
        wire_client c(std::move(p.b));
        std::atomic<bool> ended{false};
        std::thread thread([&] { ended = !app.run(); });
        CHECK(c.ask("/").body == "Hello Anonymous");
        c.close();
        const bool in_time = comes_true([&] { return ended.load(); });
        app.stop();
        thread.join();
        REQUIRE(in_time);
    }
}

TEST_CASE("server: an adopted connection has its idle time from when it was adopted") {
    fd_watch watch;
    pair_of_sockets early, late;
    server_options o;
    o.idle_timeout = milliseconds(300);
    server app(o);
    app.get("/", hello);
    CHECK(comes_true(
        [start = steady_clock::now()] { return since(start) > milliseconds(400); })); // built early
    auto start = steady_clock::now();
    REQUIRE_FALSE(app.adopt(std::move(early.a)));
    wire_client c(std::move(early.b));
    std::thread thread([&] { CHECK_FALSE(app.run()); });
    CHECK(c.at_end());
    CHECK(since(start) >= milliseconds(250));
    thread.join();
    CHECK(app.adopt(std::move(late.a)) == errc::stopped);
}

TEST_CASE("server: adopting while it runs, and only what is a connected stream") {
    running s;
    s.app.get("/", [](const request& r) { return text(r.listener()); });
    listen_options door;
    door.name = "door";
    s.start(door);
    CHECK(s.connect().ask("/").body == "door");
    pair_of_sockets p;
    const int adopted = p.a.get();
    ::fcntl(adopted, F_SETFD, 0);
    ::fcntl(adopted, F_SETFL, 0);
    REQUIRE_FALSE(s.app.adopt(std::move(p.a)));
    wire_client c(std::move(p.b));
    answer got = c.ask("/");
    CHECK(got.status == 200);
    CHECK(got.body == ""); // it came by no door
    CHECK(::fcntl(adopted, F_GETFD) == FD_CLOEXEC);
    CHECK((::fcntl(adopted, F_GETFL) & O_NONBLOCK) != 0);
    CHECK(s.app.adopt(unique_fd(::open("/dev/null", O_RDONLY | O_CLOEXEC))) ==
          errc::bad_descriptor);
    CHECK(s.app.adopt(unique_fd()) == errc::bad_descriptor);
    unique_fd door_of_its_own(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    CHECK(s.app.adopt(unique_fd(::dup(door_of_its_own.get()))) == errc::bad_descriptor);
    const sockaddr any{AF_UNIX, {}};
    REQUIRE(::bind(door_of_its_own.get(), &any, sizeof any.sa_family) == 0); // autobind, unix(7)
    REQUIRE(::listen(door_of_its_own.get(), 1) == 0);
    CHECK(s.app.adopt(std::move(door_of_its_own)) == errc::bad_descriptor);
}

TEST_CASE("server: what was adopted, but not taken in when the server dies, is closed") {
    fd_watch watch;
    folder at;
    pair_of_sockets p;
    {
        server app;
        REQUIRE_FALSE(app.listen(at("s")));
        CHECK(app.run_once(milliseconds(0)));
        REQUIRE_FALSE(app.adopt(std::move(p.a))); // waits in the mail
    }
    CHECK(wire_client(std::move(p.b)).at_end());
}

TEST_CASE("server: a listener that was handed over lives on") {
    fd_watch watch;
    folder at;
    unique_fd heir;
    {
        server app;
        listen_options named;
        named.name = "main";
        REQUIRE_FALSE(app.listen(at("s"), named));
        CHECK(app.hand_over("other").error() == std::errc::no_such_file_or_directory);
        auto got = app.hand_over("main");
        REQUIRE(got);
        heir = *std::move(got);
        app.stop();
        CHECK_FALSE(app.run());
    }
    CHECK(exists(at("s")));
    wire_client c(at("s"));
    CHECK(c.connected);
    unique_fd accepted(::accept4(heir.get(), nullptr, nullptr, SOCK_CLOEXEC));
    CHECK(accepted);
}

TEST_CASE("server: a listener that stop() has shut already is not handed over") {
    folder at;
    server app;
    responder waits;
    app.get("/", [&](request&, responder out) { waits = std::move(out); });
    REQUIRE_FALSE(app.listen(at("s")));
    wire_client c(at("s"));
    CHECK(c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
    for (int turns = 0; turns < 100 && !waits.is_open(); ++turns)
        CHECK(app.run_once(milliseconds(10)));
    REQUIRE(waits.is_open());
    app.stop();
    CHECK(app.run_once(milliseconds(0))); // it drains, and its path has gone
    CHECK_FALSE(exists(at("s")));
    CHECK(app.hand_over("").error() == std::errc::no_such_file_or_directory);
    waits.send(text("x"));
    CHECK_FALSE(app.run());
    CHECK(c.read().status == 200);
}

// -- hooks

TEST_CASE("server: before runs at the head and may answer; after sees and may change the answer") {
    running s;
    handed<std::string> order;
    std::atomic<int> ran{0};
    s.app.use(
        [&](request& r) -> std::optional<response> {
            order.put("before 1");
            r.tag() = 77;
            if (r.path() == "/closed") return response(403);
            return {};
        },
        [&](const exchange& e, response& r) {
            order.put("after 1 " + std::to_string(e.status));
            r.header("X-Tag", std::to_string(e.tag));
            if (e.status == 101) r.header("Connection", "close").header("Content-Length", "3");
        });
    s.app.use(
        [&](request&) -> std::optional<response> {
            order.put("before 2");
            return {};
        },
        [&](const exchange&, response&) { order.put("after 2"); });
    s.app.get("/", [&](const request&) { return ++ran, text("x"); });
    s.app.post("/closed", [&](const request&) { return ++ran, text("x"); });
    s.app.get("/raw", [](request&, responder out) {
        out.upgrade("x", [](upgraded with) { relay(std::move(with.in), std::move(with.out)); });
    });
    s.start();
    wire_client c = s.connect();
    answer got = c.ask("/");
    CHECK(got.field("X-Tag") == "77");
    for (const char* step : {"before 1", "before 2", "after 1 200", "after 2"})
        CHECK(order.take() == step);
    CHECK(c.send("POST /closed HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n"));
    CHECK(c.read().status == 403); // before the body came
    for (const char* step : {"before 1", "after 1 403", "after 2"}) CHECK(order.take() == step);
    CHECK(ran == 1);
    wire_client raw = s.connect();
    got = raw.ask("/raw", "GET", "Connection: Upgrade\r\nUpgrade: x\r\n");
    CHECK(got.status == 101);
    CHECK(got.field("X-Tag") == "77");
    CHECK(got.field("Connection") == "Upgrade"); // whatever a hook adds
    CHECK(got.head.find("Content-Length") == std::string::npos);
    for (const char* step : {"before 1", "before 2", "after 1 101", "after 2"})
        CHECK(order.take() == step);
}

TEST_CASE("server: the rest of a body is passed over behind a large answer to its head") {
    running s;
    s.app.use([](request& r) -> std::optional<response> {
        if (r.method() != "POST") return {};
        return text(std::string(20'000, 'x')); // too large for the batch: the box's tail
    });
    s.app.get("/", [](const request&) { return text("x"); });
    s.start();
    wire_client c = s.connect();
    CHECK(c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc"));
    CHECK(c.read().body.size() == 20'000);
    CHECK(c.send("def"));
    CHECK(c.ask("/").body == "x");
}

TEST_CASE("server: what a hook does to its request is that request's") {
    running s;
    handed<request> kept;
    s.app.use([&](request& r) -> std::optional<response> {
        if (r.path() == "/body") r.body("secret", "");
        if (r.path() == "/assign") r = request("GET", "/other");
        if (r.path() == "/swap") {
            request mine("GET", "/other");
            std::swap(r, mine);
            kept.put(std::move(mine));
        }
        if (r.path() != "/move") return {};
        request mine(std::move(r));
        return text(std::to_string(mine.peer().uid));
    });
    s.app.get("/{name}", [](const request& r) {
        return text(std::string(r.param("name")) + std::string(r.body()));
    });
    s.start();
    wire_client c = s.connect(), other = s.connect();
    CHECK(c.ask("/body").body == "bodysecret");
    CHECK(other.ask("/next").body == "next");
    for (const char* target : {"/assign", "/swap"}) { // what the handler then sees is a new one
        CHECK(c.ask(target).status == 200);
        CHECK(other.ask("/next").body == "next");
        CHECK(c.ask("/again").body == "again");
    }
    CHECK(c.ask("/move").body == std::to_string(::geteuid()));
    CHECK(kept.take().target() == "/swap");
}

TEST_CASE(
    "server: a request that a hook puts in another's place has that one's peer and listener") {
    running s;
    s.app.use([](request& r) -> std::optional<response> {
        if (r.path() == "/assign") r = request("GET", "/other");
        return {};
    });
    const auto who = [](const request& r) {
        return std::to_string(r.peer().uid) + std::string(r.listener());
    };
    s.app.get("/{name}", [who](const request& r) { return text(who(r)); });
    s.app.post("/{name}", [who](request& r, responder res) { res.send(text(who(r))); });
    listen_options second;
    second.name = "control";
    REQUIRE_FALSE(s.app.listen(s.at("c"), second));
    s.start();
    for (const char* method : {"GET", "POST"}) {
        wire_client c(s.at("c"));
        for (const char* target : {"/assign", "/next", "/assign"})
            CHECK(c.ask(target, method).body == std::to_string(::geteuid()) + "control");
    }
}

TEST_CASE(
    "server: a body that comes in several turns keeps its peer and listener, and later ones") {
    running s;
    const auto who = [](const request& r) {
        return text(std::to_string(r.peer().pid) + std::string(r.listener()) +
                    std::string(r.body()));
    };
    s.app.post("/", who);
    s.app.get("/", who);
    listen_options second;
    second.name = "control";
    REQUIRE_FALSE(s.app.listen(s.at("c"), second));
    s.start();
    wire_client other(s.at("c")), slow(unique_fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)));
    sockaddr_un to{};
    to.sun_family = AF_UNIX;
    s.path.copy(to.sun_path, sizeof to.sun_path - 1);
    const pid_t child = ::fork(); // the peer is whoever has called connect()
    if (child == 0)
        ::_exit(::connect(slow.fd.get(), reinterpret_cast<sockaddr*>(&to), sizeof to) != 0);
    REQUIRE(::waitpid(child, nullptr, 0) == child); // its status is valgrind's own; send() shows
    const std::string mine = std::to_string(::getpid()) + "control";
    std::uint64_t sent = 0;
    for (const char* piece :
         {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n", "a", "b"}) {
        REQUIRE(slow.send(piece));
        sent += std::strlen(piece);
        CHECK(comes_true([&] { return s.app.stats().bytes_in >= sent; }));
        CHECK(other.ask("/").body == mine); // served meanwhile
        sent = s.app.stats().bytes_in;
    }
    REQUIRE(slow.send("c"));
    CHECK(slow.read().body == std::to_string(child) + "abc");
    CHECK(slow.ask("/").body == std::to_string(child));
}

TEST_CASE("server: a hook that throws is a 500, not the end") {
    running s;
    s.app.use(
        [](request& r) -> std::optional<response> {
            if (r.path() == "/bad") throw std::runtime_error("hook");
            return {};
        },
        [](const exchange& e, response& res) {
            res.header("X-Half", "1");
            if (e.target == "/worse" || e.status == 101) throw std::runtime_error("hook");
        });
    s.app.get("/", hello);
    s.app.get("/worse", hello);
    s.app.get("/worst",
              [](request&, responder r) { r.upgrade("x", [](upgraded) { FAIL("up"); }); });
    s.start();
    wire_client c = s.connect();
    CHECK(c.ask("/bad").status == 500);
    CHECK(c.ask("/worst", "GET", "Connection: upgrade\r\nUpgrade: x\r\n").status == 500);
    answer worse = c.ask("/worse"); // what the hook was to add may matter: a policy for a browser
    CHECK(worse.status == 500);
    CHECK(worse.field("X-Half").empty());
    CHECK(c.ask("/").status == 200);
}

TEST_CASE("server: on_exchange tells of every exchange, once") {
    struct seen {
        std::string method, target, listener;
        int status;
        std::uint64_t in, out, tag;
        uid_t uid;
        bool failed, timed;
    };
    handed<seen> all;
    running s;
    handed<responder> waiting;
    s.app.on_exchange([&](const exchange& e) {
        all.put({std::string(e.method), std::string(e.target), std::string(e.listener), e.status,
                 e.bytes_in, e.bytes_out, e.tag, e.peer.uid, static_cast<bool>(e.why),
                 e.time.count() >= 0});
    });
    s.app.use([](request& r) -> std::optional<response> {
        r.tag() = 5;
        return {};
    });
    s.app.get("/", hello);
    s.app.post("/echo", [](const request& r) { return text(r.body()); });
    s.app.get("/later", [&](request&, responder r) { waiting.put(std::move(r)); });
    s.app.get("/stream", [](request&, responder r) {
        body_writer out = r.stream(response());
        out.write("12345");
        out.end();
    });
    listen_options o;
    o.name = "main";
    s.start(o);
    struct row {
        std::string name, input, method, target;
        int status;
        std::uint64_t in, out;
    };
    const row rows[] = {
        {"plain", "GET /?q HTTP/1.1\r\nHost: a\r\n\r\n", "GET", "/?q", 200, 0, 15},
        {"a body", "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", "POST",
         "/echo", 200, 3, 3},
        {"chunks",
         "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: "
         "chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
         "POST", "/echo", 200, 3, 3},
        {"a stream", "GET /stream HTTP/1.1\r\nHost: a\r\n\r\n", "GET", "/stream", 200, 0, 5},
        {"no route", "GET /a/b HTTP/1.1\r\nHost: a\r\n\r\n", "GET", "/a/b", 404, 0, 14},
        {"HEAD", "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", "HEAD", "/", 200, 0, 0},
    };
    auto check = [&](const row& r) {
        CAPTURE(r.name);
        seen got = all.take();
        CHECK(got.method == r.method);
        CHECK(got.target == r.target);
        CHECK(got.listener == "main");
        CHECK(got.status == r.status);
        CHECK(got.in == r.in);
        CHECK(got.out == r.out);
        CHECK(got.tag == 5);
        CHECK(got.uid == ::getuid());
        CHECK(got.failed == (r.status == 0));
        CHECK(got.timed);
    };
    wire_client c = s.connect();
    for (const row& r : rows) {
        CHECK(c.send(r.input));
        CHECK(c.read(r.method == "HEAD").status == r.status);
        check(r);
    }
    CHECK(c.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc"));
    CHECK(comes_true([&] { return s.app.stats().requests == 7; }));
    CHECK(c.send("def"));
    CHECK(c.read().status == 200);
    check({"a body in pieces", "", "POST", "/echo", 200, 6, 6});
    CHECK(c.send("GET /later HTTP/1.1\r\nHost: a\r\n\r\n"));
    CHECK(waiting.take().send(text("late")));
    CHECK(c.read().status == 200);
    check({"later", "", "GET", "/later", 200, 0, 4});
    wire_client large = s.connect(); // what was only stated is no byte that came
    CHECK(large.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 987654321\r\n\r\nabc"));
    CHECK(large.read().status == 413);
    large.close();
    check({"refused", "", "POST", "/echo", 413, 0, 22});
    CHECK(c.send("GET /later HTTP/1.1\r\nHost: a\r\n\r\n"));
    responder kept = waiting.take();
    c.close();
    check({"cut", "", "GET", "/later", 0, 0, 0});
    for (bool refused : {false, true}) { // that is its one answer
        wire_client cut = s.connect();
        CHECK(cut.send(
            "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab"));
        CHECK(comes_true([&] { return s.app.stats().requests == (refused ? 12 : 11); }));
        answer got;
        if (refused && cut.send("c\r\n")) got = cut.read();
        CHECK(got.status == (refused ? 400 : 0));
        cut.close();
        check({"cut in a body", "", "POST", "/echo", got.status, 2, got.body.size()});
        CHECK(comes_true([&] { return s.app.stats().connections == 0; }));
    }
    CHECK(all.count() == 0);
}

TEST_CASE("server: on_exchange knows what of an answer had left, and how an upgrade ended") {
    running s;
    handed<std::string> all;
    s.app.on_exchange([&](const exchange& e) {
        all.put(std::to_string(e.status) + " " + std::to_string(e.bytes_out) +
                (e.why ? " cut" : ""));
    });
    s.app.get("/cut", [](request&, responder r) { r.stream(response()).write("12345"); });
    handed<upgraded> opened;
    s.app.get("/up", [&](request&, responder r) {
        r.upgrade("x", [&](upgraded u) { opened.put(std::move(u)); });
    });
    s.start();
    wire_client cut = s.connect();
    CHECK(cut.send("GET /cut HTTP/1.1\r\nHost: a\r\n\r\n"));
    cut.rest();
    CHECK(all.take() == "200 5 cut");
    const string_view asks =
        "GET /up HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
    for (bool releases : {false, true}) {
        CAPTURE(releases);
        wire_client c = s.connect();
        CHECK(c.send(asks));
        upgraded both = opened.take();
        both.out.write("bye");
        CHECK(c.until("bye"));
        if (releases) {
            CHECK(std::move(both).release().fd);
        } else {
            both.out.end();
            c.shut();
            char byte;
            CHECK(both.in.read(&byte, 1));
        }
        CHECK(all.take() == "101 3");
    }
    wire_client c = s.connect();
    CHECK(c.send(asks));
    { upgraded dropped = opened.take(); }
    CHECK(all.take() == "101 0 cut");
}

TEST_CASE("server: on_exchange counts bodies of files and callbacks once they have left") {
    running s;
    handed<std::string> all;
    s.app.on_exchange([&](const exchange& e) {
        all.put(std::string(e.method) + " " + std::string(e.target) + " " +
                std::to_string(e.status) + " " + std::to_string(e.bytes_out) + " " +
                std::to_string(e.tag) + (e.why ? " " + e.why.message() : ""));
    });
    s.app.use([](request& r) -> std::optional<response> { return r.tag() = 7, std::nullopt; });
    // "x" as often as `{n}` says; of {size} bytes that were promised, if any were.
    auto fill = [](const request& r) {
        const int count = std::atoi(std::string(r.param("n")).c_str());
        std::optional<std::uint64_t> size;
        if (r.query() != "") size = std::strtoull(std::string(r.query()).c_str(), nullptr, 10);
        auto act = [left = count](char* into, std::size_t) mutable -> result<std::size_t> {
            return *into = 'x', std::size_t(left-- > 0);
        };
        return response().body(content::pulled(act, size), "");
    };
    s.app.get("/plain/{n}", fill);
    s.app.get("/later/{n}", [fill](request& r, responder out) { out.send(fill(r)); });
    s.app.get("/file/{n}", [](const request& r) {
        unique_fd file(::memfd_create("test", MFD_CLOEXEC));
        CHECK(::ftruncate(file.get(), std::atoi(std::string(r.param("n")).c_str())) == 0);
        return response().body(content::file(std::move(file), 0, 5), "");
    });
    const unique_fd large(::memfd_create("test", MFD_CLOEXEC));
    REQUIRE(::ftruncate(large.get(), 32 << 20) == 0); // more than any socket's buffer
    s.app.get("/large", [&](const request&) {
        return response().body(content::file(unique_fd(::dup(large.get())), 0, 32 << 20), "");
    });
    s.start();
    for (string_view target : {"/plain/5", "/later/5", "/plain/5?5", "/later/5?5", "/file/5"}) {
        CAPTURE(target);
        wire_client c = s.connect();
        const std::string asks = "GET " + std::string(target) + " HTTP/1.1\r\nHost: a\r\n\r\n";
        CHECK(c.send(asks + asks));
        for (int i = 0; i < 2; ++i) {
            CHECK(c.read().whole);
            CHECK(all.take() == "GET " + std::string(target) + " 200 5 7");
        }
    }
    for (string_view target : {"/plain/3?5", "/later/3?5", "/file/3"}) {
        CAPTURE(target);
        wire_client c = s.connect();
        CHECK(c.send("GET " + std::string(target) + " HTTP/1.1\r\nHost: a\r\n\r\n"));
        CHECK_FALSE(c.read().whole);
        const std::string told = all.take(), // whose fault it was: not the peer's
            most = "GET " + std::string(target) + " 200 3 7 ";
        CHECK(told.find(most) == 0);
        CHECK(told.find("the content is shorter than stated", most.size()) != std::string::npos);
    }
    for (int left : {0, 32 << 20}) { // of a file that gets shorter while it is sent; or a peer
        CAPTURE(left);               // that is gone before the end
        wire_client c = s.connect();
        CHECK(c.send("GET /large HTTP/1.1\r\nHost: a\r\n\r\n"));
        CHECK(c.until("\r\n\r\n"));
        CHECK(::ftruncate(large.get(), left) == 0);
        if (left == 0) c.rest();
        else c.close();
        const bool is_ours = all.take().find("shorter than stated") != std::string::npos;
        CHECK(is_ours == (left == 0));
        CHECK(::ftruncate(large.get(), 32 << 20) == 0);
    }
    wire_client c = s.connect();
    CHECK(c.send("HEAD /file/5 HTTP/1.1\r\nHost: a\r\n\r\n"));
    CHECK(c.read(true).status == 200);
    CHECK(all.take() == "HEAD /file/5 200 0 7");
    CHECK(all.count() == 0);
}

TEST_CASE("server: on_exchange tells of bodies from memory once they have left, or not") {
    running s;
    handed<std::string> all;
    const std::string large(8 << 20, 'x'); // more than any socket's buffer
    s.app.on_exchange([&](const exchange& e) {
        const bool is_all = e.bytes_out == large.size();
        all.put(std::string(e.target) + " " + std::to_string(e.status) + " " +
                (is_all ? "all" : std::to_string(e.bytes_out)) + (e.why ? " cut" : ""));
    });
    result<sealed_memory> sealed = sealed_memory::copy_of(large);
    REQUIRE(sealed);
    s.app.get("/string", [&](const request&) { return bytes(std::string(large)); });
    s.app.get("/borrowed", [&](const request&) { return bytes(content::borrowed(large, [] {})); });
    s.app.get("/sealed", [&](const request&) { return bytes(*sealed); });
    s.app.get("/later", [&](request&, responder r) { r.send(bytes(std::string(large))); });
    s.app.get("/bad", [](request&, responder r) { r.stream(response().header("a\n", "b")); });
    s.start();
    for (const char* target : {"/string", "/borrowed", "/sealed", "/later"}) {
        CAPTURE(std::string(target));
        wire_client c = s.connect();
        CHECK(c.ask(target).whole);
        CHECK(all.take() == std::string(target) + " 200 all");
        CHECK(c.send("GET " + std::string(target) + " HTTP/1.1\r\nHost: a\r\n\r\n"));
        CHECK(c.more(1));
        CHECK(all.count() == 0); // it is on its way
        c.close();
        const std::string told = all.take();
        CHECK(told.find("all") == std::string::npos);
        CHECK(told.find(" cut") != std::string::npos);
    }
    wire_client c = s.connect();
    answer bad = c.ask("/bad");
    CHECK(bad.status == 500);
    CHECK(all.take() == "/bad 500 " + std::to_string(bad.body.size()));
    CHECK(all.count() == 0);
}

TEST_CASE("server: stats() counts a refusal at once, also of what is no request") {
    server_options o;
    o.head_timeout = milliseconds(400);
    running s(o);
    s.start();
    wire_client bad = s.connect(), slow = s.connect();
    CHECK(bad.send("GET  / HTTP/1.1\r\n\r\n"));
    CHECK(bad.read().status == 400);
    CHECK(comes_true([&] { return s.app.stats().refused == 1; }));
    CHECK(slow.send("GET "));
    CHECK(slow.read().status == 408);
    CHECK(comes_true([&] { return s.app.stats().refused == 2; }));
}

TEST_CASE("server: on_exchange doesn't mistake a refusal for the request before it") {
    running s;
    handed<std::string> all;
    s.app.on_exchange([&](const exchange& e) {
        all.put(std::string(e.method) + " " + std::string(e.target) + " " +
                std::to_string(e.status));
    });
    s.app.get("/", hello);
    s.start();
    wire_client c = s.connect();
    CHECK(c.send("GET /?1 HTTP/1.1\r\nHost: a\r\n\r\nGET /?2 HTTP/1.1\r\nHost : a\r\n\r\n"));
    CHECK(c.read().status == 200);
    CHECK(c.read().status == 400);
    CHECK(all.take() == "GET /?1 200");
    CHECK(all.take() == "  400");
    CHECK(c.at_end());
    CHECK(all.count() == 0);
}

TEST_CASE("server: refusals are logged with their peer") {
    running s;
    handed<std::string> log;
    s.app.on_log([&](string_view line) { log.put(std::string(line)); });
    s.app.get("/", hello);
    s.start();
    wire_client c = s.connect();
    CHECK(c.send("GET / HTTP/1.1\r\nHost : a\r\n\r\n"));
    CHECK(c.read().status == 400);
    std::string line = log.take();
    CHECK(line.find("400") == 0);
    CHECK(line.find("pid=" + std::to_string(::getpid())) != std::string::npos);
    CHECK(line.find("uid=" + std::to_string(::getuid())) != std::string::npos);
}

TEST_CASE("server: a cut that isn't the peer's is logged, and on_exchange says whose it is") {
    const std::string large(8 << 20, 'x'); // more than any socket's buffer
    for (int stops : {1, 2}) {
        CAPTURE(stops);
        server_options o;
        o.write_timeout = milliseconds(300);
        if (stops == 1) o.drain_timeout = milliseconds(150);
        running s(o);
        handed<responder> waiting;
        handed<body_writer> writers;
        handed<std::string> log, told;
        s.app.on_log([&](string_view line) { log.put(std::string(line)); });
        s.app.on_exchange([&](const exchange& e) { told.put(e.why.message()); });
        s.app.get("/memory", [&](const request&) { return bytes(std::string(large)); });
        s.app.get("/stream", [&](request&, responder r) {
            body_writer out = r.stream(response());
            out.write(large);
            writers.put(std::move(out));
        });
        s.app.get("/wait", [&](request&, responder r) { waiting.put(std::move(r)); });
        s.start();
        auto check = [&](const std::string& why) {
            CHECK(log.take().find("cut: " + why) == 0);
            CHECK(told.take().find(why) == 0);
        };
        for (const char* target : {"/memory", "/stream"}) {
            CAPTURE(std::string(target));
            wire_client deaf = s.connect();
            CHECK(deaf.send("GET " + std::string(target) + " HTTP/1.1\r\nHost: a\r\n\r\n"));
            check("write_timeout: ");
        }
        wire_client c = s.connect(), idle = s.connect();
        CHECK(c.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n"));
        responder r = waiting.take();
        for (int i = 0; i < stops; ++i) s.app.stop();
        check(stops == 1 ? "drain_timeout: " : "server: the server has stopped");
        CHECK(comes_true([&] { return s.ended.load(); }));
        CHECK(log.count() + told.count() == 0);
    }
}

// -- peers that do as they like

TEST_CASE("server: it survives clients that vanish in every state") {
    running s;
    handed<std::shared_ptr<responder>> kept;
    std::string large(1 << 20, 'x');
    s.app.get("/", hello);
    s.app.get("/large", [&](const request&) { return text(large); });
    s.app.get("/wait",
              [&](request&, responder r) { kept.put(std::make_shared<responder>(std::move(r))); });
    s.app.post("/stream", [](request&, body_reader in, responder res) {
        auto both =
            std::make_shared<std::pair<body_reader, responder>>(std::move(in), std::move(res));
        both->first.on_data(
            [](string_view) {},
            [both](const error& why) { both->second.send(why ? response(500) : text("whole")); });
    });
    s.start();
    for (const char* input :
         {"", "G", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET /large HTTP/1.1\r\nHost: a\r\n\r\n",
          "GET /wait HTTP/1.1\r\nHost: a\r\n\r\n", "garbage\r\n\r\n",
          "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc",
          "POST /stream HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc",
          "POST /stream HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
          "GET /large HTTP/1.1\r\nHost: a\r\n\r\nGET /large HTTP/1.1\r\nHost: a\r\n\r\n"}) {
        CAPTURE(std::string(input));
        for (int i = 0; i < 4; ++i) {
            wire_client c = s.connect();
            CHECK(c.send(input));
            if (i & 1) c.shut();
        }
        CHECK(s.connect().ask("/").status == 200);
        CHECK(comes_true([&] { return s.app.stats().connections == 0; }));
    }
    while (kept.count() > 0) CHECK_FALSE(kept.take()->is_open());
}

TEST_CASE("server: bytes that follow a descriptor are read too") {
    fd_watch watch;
    pair_of_sockets p;
    server app;
    app.get("/", hello);
    REQUIRE_FALSE(app.adopt(std::move(p.a)));
    wire_client c(std::move(p.b));
    // recvmsg(2) stops after a message with descriptors, however much room there is.
    iovec part{const_cast<char*>("GET / HTTP/1.1\r\nHo"), 18};
    detail::row<int> passed;
    passed.push_back(0);
    REQUIRE(detail::transmit_fds(c.fd.get(), &part, 1, passed) == 18);
    CHECK(c.send("st: a\r\n\r\n"));
    for (auto start = steady_clock::now(); app.stats().requests == 0 && since(start) < patience;)
        REQUIRE(app.run_once(milliseconds(200)));
    REQUIRE(app.stats().requests == 1);
    CHECK(c.read().status == 200);
    c.close();
    for (auto start = steady_clock::now(); app.stats().connections > 0 && since(start) < patience;)
        REQUIRE(app.run_once(milliseconds(100)));
}

namespace {

/// Sends the first bytes with a descriptor; without it where the kernel refuses that.
bool send_with_fd(int to, string_view bytes) {
    iovec part{const_cast<char*>(bytes.data()), bytes.size()};
    detail::row<int> passed;
    passed.push_back(0);
    if (detail::transmit_fds(to, &part, 1, passed) == static_cast<ssize_t>(bytes.size()))
        return true;
    return errno == EPERM && detail::transmit(to, &part, 1) == static_cast<ssize_t>(bytes.size());
}

} // namespace

TEST_CASE("server: a short read is no empty socket where the kernel can't keep descriptors out") {
    server_options o;
    o.head_timeout = milliseconds(1'000); // what is never read is a 408
    running s(o);
    s.app.get("/", hello);
    REQUIRE_FALSE(s.app.listen(s.path));
    {
        wire_client early = s.connect(); // before run()
        CHECK(send_with_fd(early.fd.get(), "GET / HT"));
        CHECK(early.send("TP/1.1\r\nHost: a\r\n\r\n"));
        s.serve();
        CHECK(early.read().status == 200);
    }
    pair_of_sockets p;
    REQUIRE_FALSE(s.app.adopt(std::move(p.a)));
    wire_client adopted(std::move(p.b));
    CHECK(send_with_fd(adopted.fd.get(), "GET / HT"));
    CHECK(adopted.send("TP/1.1\r\nHost: a\r\n\r\n"));
    CHECK(adopted.read().status == 200);
}

TEST_CASE("server: a short read is no empty socket where two processes write") {
    pair_of_sockets p;
    const int on = 1; // the kernel never glues messages of different writers then, unix(7)
    REQUIRE(::setsockopt(p.a.get(), SOL_SOCKET, SO_PASSCRED, &on, sizeof on) == 0);
    const int to = p.b.get();
    REQUIRE(in_child([to] { return ::send(to, "GET / HT", 8, 0) == 8 ? 0 : 1; }) == 0);
    wire_client c(std::move(p.b));
    CHECK(c.send("TP/1.1\r\nHost: a\r\n\r\n"));
    server_options o;
    o.head_timeout = milliseconds(1'000);
    server app(o);
    app.get("/", hello);
    REQUIRE_FALSE(app.adopt(std::move(p.a)));
    std::thread runs([&] { CHECK_FALSE(app.run()); });
    CHECK(c.read().status == 200);
    c.close();
    runs.join();
}

TEST_CASE("server: what another holder lets into a listener is no end of what is there to read") {
    folder at;
    server_options o;
    o.head_timeout = milliseconds(1'000);
    server app(o); // wants no descriptors, and leaves it to the kernel to keep them out
    app.get("/", hello);
    REQUIRE_FALSE(app.listen(at("s")));
    CHECK(app.run_once(milliseconds(0)));
    for (int option : {detail::pass_rights, SO_PASSCRED}) {
        const auto heir = app.hand_over("");
        REQUIRE(heir);
        const int on = 1;
        (void)::setsockopt(heir->get(), SOL_SOCKET, option, &on, sizeof on);
        wire_client c(at("s"));
        const int to = c.fd.get();
        if (option == SO_PASSCRED) // what comes of two processes isn't read at once
            REQUIRE(in_child([to] { return ::send(to, "GET / HT", 8, 0) == 8 ? 0 : 1; }) == 0);
        else CHECK(send_with_fd(to, "GET / HT"));
        CHECK(c.send("TP/1.1\r\nHost: a\r\n\r\n"));
        std::atomic<bool> is_answered{false};
        std::thread reads([&] {
            CHECK(c.read().status == 200);
            is_answered = true;
        });
        const auto until = steady_clock::now() + patience;
        while (!is_answered && steady_clock::now() < until) CHECK(app.run_once(milliseconds(10)));
        reads.join();
    }
}

TEST_CASE("server: what a path takes is in Allow, and a wrong method is no end") {
    running s;
    s.app.get("/a/{x}", hello);
    s.start();
    wire_client c = s.connect();
    answer wrong = c.ask("/a/b", "PUT");
    CHECK(wrong.status == 405);
    CHECK(wrong.field("Allow") == "GET, HEAD, OPTIONS");
    wrong = c.ask("/a/b", "OPTIONS");
    CHECK(wrong.status == 204);
    CHECK(wrong.field("Allow") == "GET, HEAD, OPTIONS");
    wrong = c.ask("/b");
    CHECK(wrong.status == 404);
    CHECK(wrong.field("Allow").empty());
    CHECK(c.ask("/a/b").status == 200);
}

TEST_CASE("server: a user's share is of those who came, not what its own client connects") {
    server_options o;
    o.max_per_uid_count = 1;
    running up;
    up.app.get("/", hello);
    up.start();
    running s(o);
    s.app.get("/", hello);
    s.start();
    handed<int> statuses;
    client api(up.path, {}, s.app);
    wire_client one = s.connect();
    CHECK(one.ask("/").status == 200);
    for (int i = 0; i < 2; ++i) {
        api.async_send(request("GET", "/").header("Connection", "close"),
                       [&](result<response> got) { statuses.put(got ? got->status() : 0); });
        CHECK(statuses.take() == 200);
        CHECK(comes_true([&] { return up.app.stats().connections == 0; }));
        wire_client two = s.connect();
        CHECK(two.read().status == 503);
    }
    one.close();
    CHECK(comes_true([&] { return s.app.stats().connections == 0; }));
    int ends[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    wire_client mine{unique_fd(ends[1])}; // adopted: counted, too
    REQUIRE_FALSE(s.app.adopt(unique_fd(ends[0])));
    CHECK(mine.ask("/").status == 200);
    wire_client three = s.connect();
    CHECK(three.read().status == 503);
    mine.close();
    CHECK(comes_true([&] { return s.app.stats().connections == 0; }));
    CHECK(s.connect().ask("/").status == 200);
}

TEST_CASE("server: on_exchange counts what a streamed body brought") {
    running s;
    handed<std::uint64_t> counts;
    s.app.on_exchange([&](const exchange& e) { counts.put(e.bytes_in); });
    s.app.post("/", [](request&, body_reader in, responder out) {
        auto kept = std::make_shared<std::pair<body_reader, responder>>();
        kept->first = std::move(in), kept->second = std::move(out);
        kept->first.on_data([kept](string_view) {},
                            [kept](const error&) { kept->second.send(text("x")); });
    });
    s.start();
    wire_client c = s.connect();
    CHECK(c.ask("/", "POST", "", std::string(300'000, 'x')).status == 200);
    CHECK(counts.take() == 300'000);
}

TEST_CASE("server: what a peer that has gone had sent counts no more in max_buffered_bytes") {
    server_options o;
    o.max_buffered_bytes = 1 << 20;
    running s(o);
    s.app.post("/", [](const request& r) { return text(std::to_string(r.body().size())); });
    s.start();
    const std::string most(900'000, 'x');
    for (int i = 0; i < 3; ++i) {
        wire_client c = s.connect();
        CHECK(c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n" + most));
        CHECK(
            comes_true([&] { return s.app.stats().bytes_in > most.size() * std::size_t(i + 1); }));
        c.close();
        CHECK(comes_true([&] { return s.app.stats().connections == 0; }));
    }
    wire_client c = s.connect();
    CHECK(c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\n\r\n"));
    for (std::size_t at = 0; at < most.size(); at += 10'000) // in pieces: it is kept
        CHECK(c.send(string_view(most).substr(at, 10'000)));
    CHECK(c.read().body == "900000");
}

TEST_CASE("server: a foreign loop is told by poll() of what waits behind a large answer") {
    server_options o;
    folder at;
    server app(o);
    app.get("/", [](const request&) { return text(std::string(100'000, 'x')); });
    REQUIRE_FALSE(app.listen(at("s")));
    wire_client c(at("s"));
    std::string all;
    const int count = 100;
    for (int i = 0; i < count; ++i) all += "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    CHECK(c.send(all));
    int ends = 0;
    std::thread reads([&] {
        for (; ends < count; ++ends)
            if (!c.read().whole) break;
    });
    std::atomic<bool> done{false};
    std::thread waits([&] {
        reads.join();
        done = true;
        app.post([] {});
    });
    bool late = false;
    while (!done && !late) {
        pollfd one{app.pollable_fd(), POLLIN, 0};
        late = ::poll(&one, 1, 10'000) == 0;
        CHECK(app.run_once(milliseconds(0)));
    }
    CHECK_FALSE(late);
    c.close();
    waits.join();
    CHECK(ends == count);
    app.stop();
    while (*app.run_once(milliseconds(10))) {
    }
}

// -- order and ends, where several things come at once

namespace {

const std::string get_root = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

} // namespace

TEST_CASE("server: delays that are over at one time run in the order of their ends") {
    running s;
    s.start();
    std::vector<int> ran;
    std::int64_t began = 0, begun = 0; // ms: each delay began in between, most times in one
    handed<bool> over;
    s.app.post([&] {
        began = detail::now_ns() / 1'000'000; // as post() reads it
        for (int i = 0; i < 31; ++i) {
            const int ms = 1 + i * 13 % 31;
            s.app.post([&ran, ms] { ran.push_back(ms); }, milliseconds(ms));
        }
        s.app.post([&, start = steady_clock::now()] {
            begun = detail::now_ns() / 1'000'000;
            CHECK(comes_true([&] { return since(start) > milliseconds(60); }));
        });
        s.app.post([&] { over.put(true); }, milliseconds(50));
    });
    over.take();
    REQUIRE(ran.size() == 31);
    for (std::size_t later = 1; later < ran.size(); ++later)
        CHECK(*std::max_element(ran.begin(), ran.begin() + std::ptrdiff_t(later)) - ran[later] <=
              begun - began);
}

TEST_CASE("server: a drain ends events only; other streams go on to their end") {
    running s;
    handed<std::shared_ptr<body_writer>> writers;
    s.app.get("/", [&](request&, responder res) {
        writers.put(std::make_shared<body_writer>(res.stream(response())));
    });
    s.start();
    wire_client c = s.connect(), idle = s.connect();
    CHECK(c.send(get_root));
    CHECK(c.until("\r\n\r\n"));
    auto out = writers.take();
    CHECK(idle.send("GET /none HTTP/1.1\r\nHost: a\r\n\r\n"));
    CHECK(idle.read().status == 404);
    s.app.stop();
    CHECK(idle.at_end()); // the drain has begun
    CHECK(out->write("first") == written::ok);
    CHECK(c.until("first"));
    CHECK(out->write("last") == written::ok);
    CHECK(out->end());
    CHECK(c.until("last\r\n0\r\n\r\n"));
}

TEST_CASE("server: what comes of a connection that was cut in the same turn finds nobody") {
    running s;
    std::shared_ptr<body_writer> held;
    s.app.get("/hold", [&](request&, responder res) {
        held = std::make_shared<body_writer>(res.stream(response()));
    });
    s.app.get("/cut", [&](const request&) { return held->cut(), text("done"); });
    s.start();
    wire_client first = s.connect(), second = s.connect();
    CHECK(second.send("GET /hold HTTP/1.1\r\nHost: a\r\n\r\n"));
    CHECK(second.until("\r\n\r\n"));
    {
        busy_loop busy(s.app);
        CHECK(first.send("GET /cut HTTP/1.1\r\nHost: a\r\n\r\n"));
        CHECK(second.send("more"));
    }
    CHECK(first.read().body == "done");
    second.got.clear();
    CHECK(second.at_end());
    CHECK(first.ask("/none").status == 404);
}

TEST_CASE("server: a head has its own time, also one that began with the end of another") {
    int second = 0;
    for (int ms = 150; ms < 3'000 && second != 200; ms *= 3) { // who was late is no witness
        server_options o;
        o.head_timeout = milliseconds(ms);
        running s(o);
        s.app.get("/", hello);
        s.start();
        wire_client c = s.connect();
        const auto pause = static_cast<useconds_t>(ms * 600);
        CHECK(c.send("GET / HTTP/1.1\r\nHo"));
        ::usleep(pause);
        CHECK(c.send("st: a\r\n\r\nGET / HT"));
        if (c.read().status != 200) continue;
        ::usleep(pause);
        (void)c.send("TP/1.1\r\nHost: a\r\n\r\n");
        second = c.read().status;
    }
    CHECK(second == 200);
}

TEST_CASE("server: who lingers keeps no drain waiting") {
    server_options o;
    o.max_body_bytes = 10;
    o.head_timeout = milliseconds(9'000); // of the lingering, too
    running s(o);
    s.app.post("/", hello);
    s.start();
    wire_client c = s.connect();
    CHECK(c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nx"));
    CHECK(c.read().status == 413);
    CHECK(c.at_end());
    CHECK(s.app.stats().connections == 1);
    const auto start = steady_clock::now();
    s.app.stop();
    CHECK(comes_true([&] { return s.ended.load(); }));
    CHECK(since(start) < milliseconds(5'000));
}

TEST_CASE("server: a batch of answers that had to wait for its turn leaves nothing to do behind") {
    foreign_loop f;
    f.app.get("/", [](const request&) { return text(std::string(60'000, 'x')); });
    REQUIRE_FALSE(f.app.listen(f.at("s")));
    wire_client c(f.at("s"));
    std::string all;
    for (int i = 0; i < 40; ++i) all += get_root;
    CHECK(c.send(all));
    std::atomic<int> whole{0};
    std::thread reads([&] {
        for (; whole < 40 && c.read().whole; ++whole) {
        }
        f.app.post([] {});
    });
    CHECK(f.serve_until([&] { return whole == 40; }));
    reads.join();
    pollfd rests{f.app.pollable_fd(), POLLIN, 0};
    int turns = 0;
    for (; turns < 20 && ::poll(&rests, 1, 50) == 1; ++turns)
        REQUIRE(f.app.run_once(milliseconds(0)));
    CHECK(turns < 20);
}

TEST_CASE("server: a client that reads in bursts is not cut between them") {
    bool whole = false;
    for (int ms = 200; ms < 4'000 && !whole; ms *= 3) { // who was late is no witness
        server_options o;
        o.write_timeout = milliseconds(ms);
        running s(o);
        s.app.get("/", [](const request&) {
            return text(content::pulled(
                [](char* into, std::size_t) -> result<std::size_t> {
                    return std::memset(into, 'x', 4'000), 4'000u; // small: an ordinary SO_SNDBUF
                },
                2'000'000));
        });
        s.start();
        wire_client c = s.connect();
        CHECK(c.send(get_root));
        CHECK(c.until("\r\n\r\n"));
        for (int i = 0; i < 5; ++i) { // all there is, at once: so there is room, and it is filled
            ::usleep(static_cast<useconds_t>(ms * 350));
            c.more(2'000'000);
        }
        whole = c.read().whole;
    }
    CHECK(whole);
}

TEST_CASE("server: threads of the library take no signals, the program's own goes on to") {
    server_options o;
    o.workers = 1;
    running s(o);
    auto blocked = [](const request&) {
        sigset_t now;
        ::sigemptyset(&now);
        ::pthread_sigmask(SIG_SETMASK, nullptr, &now);
        return text(::sigismember(&now, SIGUSR1) && ::sigismember(&now, SIGTERM) ? "yes" : "no");
    };
    s.app.get("/worker", blocked);
    s.app.get("/loop", blocked).on_loop();
    s.start();
    wire_client c = s.connect();
    CHECK(c.ask("/worker").body == "yes");
    CHECK(c.ask("/loop").body == "no");
}

TEST_CASE("server: who leaves the workers' queue takes nobody with him, and is not worked for") {
    server_options o;
    o.workers = 1, o.max_queued_count = 3;
    running s(o);
    std::atomic<int> begun{0}, allowed{0};
    std::atomic<bool> in_vain{false};
    s.app.get("/{n}", [&](const request& r) {
        const int mine = begun++;
        if (r.param("n") == "left" || r.param("n") == "leaves") in_vain = true;
        return comes_true([&] { return allowed > mine; }) ? text(r.param("n")) : response(500);
    });
    s.app.get("/a/quick", hello).on_loop();
    s.start();
    std::vector<wire_client> waiting;
    auto ask = [&](const std::string& name) {
        waiting.push_back(s.connect());
        CHECK(waiting.back().send("GET /" + name + " HTTP/1.1\r\nHost: a\r\n\r\n"));
        CHECK(s.connect().ask("/a/quick").status == 200); // it is in the queue, or at work
        REQUIRE(comes_true([&] { return begun == 1; }));
    };
    auto leave = [&](wire_client& c) {
        const auto before = s.app.stats().connections;
        c.close();
        REQUIRE(comes_true([&] { return s.app.stats().connections == before - 1; }));
    };
    ask("busy"), ask("left"), ask("stays");
    REQUIRE(comes_true([&] { return s.app.stats().connections == 3; }));
    leave(waiting[1]);
    ask("new"); // who comes next finds out that somebody has left
    ask("leaves");
    REQUIRE(comes_true([&] { return s.app.stats().connections == 4; }));
    leave(waiting[4]); // and nobody comes any more
    allowed = 100;
    CHECK(waiting[0].read().body == "busy");
    CHECK(waiting[2].read().body == "stays");
    CHECK(waiting[3].read().body == "new");
    CHECK_FALSE(in_vain);
}

TEST_CASE("server: who is given to another loop ends nothing there") {
    server_options o;
    o.threads = 2;
    running s(o);
    handed<std::shared_ptr<event_writer>> writers;
    s.app.get("/", [&](request&, responder res) {
        writers.put(std::make_shared<event_writer>(res.events(milliseconds(0))));
    });
    s.start();
    std::vector<wire_client> all;
    std::vector<std::shared_ptr<event_writer>> streams;
    for (int i = 0; i < 6; ++i) {
        all.push_back(s.connect());
        CHECK(all.back().send(get_root));
        CHECK(all.back().until("\r\n\r\n"));
        streams.push_back(writers.take());
    }
    for (auto& one : streams) CHECK(one->is_open());
}

TEST_CASE("server: who was accepted by another holder of the listener is no end of it") {
    folder at;
    server app;
    std::atomic<int> logged{0};
    app.on_log([&](string_view) { ++logged; });
    REQUIRE_FALSE(app.listen(at("s")));
    int door = -1;
    for (int fd = 3; fd < 1024 && door < 0; ++fd) {
        sockaddr_un name{};
        socklen_t size = sizeof name;
        const bool is_socket = ::getsockname(fd, reinterpret_cast<sockaddr*>(&name), &size) == 0;
        if (is_socket && at("s") == name.sun_path) door = fd;
    }
    REQUIRE(door >= 0);
    unique_fd taken;
    app.get("/take", [&](const request&) { // what the turn's next event was to be about
        taken = unique_fd(::accept4(door, nullptr, nullptr, SOCK_CLOEXEC));
        return text(taken ? "taken" : "nobody");
    });
    auto turns_until = [&](wire_client& c) {
        pollfd answered{c.fd.get(), POLLIN, 0};
        for (auto start = steady_clock::now(); !::poll(&answered, 1, 0) && since(start) < patience;)
            REQUIRE(app.run_once(milliseconds(10)));
        return c.read();
    };
    wire_client c(at("s"));
    REQUIRE(c.send("GET /none HTTP/1.1\r\nHost: a\r\n\r\n"));
    CHECK(turns_until(c).status == 404);
    REQUIRE(c.send("GET /take HTTP/1.1\r\nHost: a\r\n\r\n"));
    wire_client other(at("s"));
    CHECK(turns_until(c).body == "taken");
    wire_client late(at("s"));
    REQUIRE(late.send("GET /none HTTP/1.1\r\nHost: a\r\n\r\n"));
    CHECK(turns_until(late).status == 404);
    CHECK(logged == 0);
}

TEST_CASE("server: who finds no place at all costs his user none of its share") {
    server_options o;
    o.max_per_uid_count = 3, o.max_connections_count = 1;
    running s(o);
    handed<std::string> log;
    s.app.on_log([&](string_view line) { log.put(std::string(line)); });
    s.app.get("/", hello);
    s.start();
    wire_client first = s.connect();
    CHECK(first.ask("/").status == 200);
    for (int i = 0; i < 5; ++i) {
        CHECK(s.connect().read().status == 503);
        CHECK(log.take().find("503 too many connections pid=") == 0); // not "of one user"
    }
}

TEST_CASE("server: each signal is its own: one that ends gives back what it took alone") {
    struct sigaction first {
    }, second{}, now{};
    CHECK(::sigaction(SIGUSR1, nullptr, &first) == 0);
    CHECK(::sigaction(SIGUSR2, nullptr, &second) == 0);
    {
        auto one = std::make_unique<server>();
        server other;
        one->stop_on({SIGUSR1});
        other.stop_on({SIGUSR2});
        one->stop_on({SIGUSR1}); // once more
        CHECK(::sigaction(SIGUSR1, nullptr, &now) == 0);
        CHECK((now.sa_flags & SA_RESTART) != 0); // the program's calls go on
        one.reset();
        CHECK(::sigaction(SIGUSR1, nullptr, &now) == 0);
        CHECK((now.sa_handler == first.sa_handler));
        ::raise(SIGUSR2);
        CHECK(other.stopping());
    }
    CHECK(::sigaction(SIGUSR2, nullptr, &now) == 0);
    CHECK((now.sa_handler == second.sa_handler));
}

TEST_CASE("server: a blocking descriptor that it adopts blocks nobody, nor outlives an exec") {
    running s;
    const off_t size = 20'000'000; // more than there is room for
    s.app.get("/file", [&](const request&) {
        unique_fd fd(::memfd_create("test", MFD_CLOEXEC));
        REQUIRE(::ftruncate(fd.get(), size) == 0);
        return text(content::file(std::move(fd), 0, static_cast<std::uint64_t>(size)));
    });
    s.app.get("/", hello);
    s.start();
    pair_of_sockets p;
    const int raw = p.a.get();
    REQUIRE(::fcntl(raw, F_SETFD, 0) == 0);
    REQUIRE_FALSE(s.app.adopt(std::move(p.a)));
    CHECK((::fcntl(raw, F_GETFD) & FD_CLOEXEC) != 0);
    wire_client c(std::move(p.b));
    CHECK(c.send("GET /file HTTP/1.1\r\nHost: a\r\n\r\n"));
    CHECK(c.until("\r\n\r\n"));
    CHECK(s.connect().ask("/").status == 200);
    CHECK(c.read().whole);
}

TEST_CASE("server: a forked child's copy ends without the parent's threads, and harms nothing") {
    server_options two;
    two.threads = 2;
    running s(two);
    handed<responder> waiting;
    s.app.get("/", hello);
    s.app.get("/later", [&](request&, responder res) { waiting.put(std::move(res)); });
    s.start();
    wire_client idle = s.connect(), asks = s.connect();
    CHECK(idle.ask("/").status == 200);
    CHECK(asks.send("GET /later HTTP/1.1\r\nHost: a\r\n\r\n"));
    responder later = waiting.take();
    CHECK(in_child([&] { return s.app.~server(), 0; }) == 0);
    CHECK(later.send(text("later")));
    CHECK(asks.read().body == "later");
    for (wire_client* each : {&idle, &asks}) CHECK(each->ask("/").status == 200);
    CHECK(s.connect().ask("/").status == 200);
}

TEST_CASE("server: hand_over() without a listener, or a descriptor for it, says so") {
    folder at;
    server app;
    app.get("/", hello);
    REQUIRE_FALSE(app.listen(at("s")));
    const int limited = in_child([&] {
        const unique_fd next(::dup(0));
        const rlimit full{static_cast<rlim_t>(next.get()) + 1, 1 << 10};
        ::setrlimit(RLIMIT_NOFILE, &full);
        return app.hand_over("").error() == std::errc::too_many_files_open ? 0 : 1;
    });
    CHECK(limited == 0);
    const int loop = app.pollable_fd(); // it starts the server
    pollfd one{loop, POLLIN, 0};
    wire_client c(at("s"));
    CHECK(c.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
    CHECK(::poll(&one, 1, 10'000) == 1);
    app.stop();
    CHECK_FALSE(app.run());
    CHECK(app.hand_over("").error() == std::errc::no_such_file_or_directory);
    CHECK(app.pollable_fd() == loop); // whoever has it in a loop finds it again
}
