// Part I [4a] on real sockets: bodies in pieces, in both directions, upgrades, events, contents.
#include "raw_client.hpp"

using namespace raw;

namespace {

std::string get_of(const std::string& target, const char* version = "1.1",
                   const std::string& fields = "") {
    return "GET " + target + " HTTP/" + version + "\r\nHost: a\r\n" + fields + "\r\n";
}
std::string post_of(const std::string& target, std::size_t size, const std::string& fields = "") {
    return "POST " + target + " HTTP/1.1\r\nHost: a\r\n" + fields +
           "Content-Length: " + std::to_string(size) + "\r\n\r\n";
}

/// Bytes in which a piece that is lost, doubled or moved shows.
std::string pattern(std::size_t size) {
    std::string made(size, '\0');
    std::uint32_t state = 12345;
    for (char& c : made)
        c = static_cast<char>('a' + ((state = state * 1664525 + 1013904223) >> 24) % 26);
    return made;
}

std::size_t resident_kib() {
    long pages = 0, unused = 0;
    if (FILE* f = std::fopen("/proc/self/statm", "re")) {
        if (std::fscanf(f, "%ld %ld", &unused, &pages) != 2) pages = 0;
        std::fclose(f);
    }
    return static_cast<std::size_t>(pages) * 4;
}

unique_fd file_of(string_view bytes) {
    unique_fd fd(::memfd_create("test", MFD_CLOEXEC));
    REQUIRE(::write(fd.get(), bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
    return fd;
}

std::size_t smallest(std::size_t a, std::size_t b, std::size_t c) {
    std::size_t less = a < b ? a : b;
    return less < c ? less : c;
}

/// What a streaming handler got, kept for the test's thread.
struct streamed {
    body_reader in;
    responder res;
};

} // namespace

// -- out

TEST_CASE("streams: pieces from another thread arrive in their order, framed as the head says") {
    running s;
    handed<body_writer> writers;
    s.app.get("/{length}", [&](request& r, responder res) {
        response head;
        if (r.param("length") != "0") head.header("Content-Length", r.param("length"));
        writers.put(res.stream(std::move(head)));
    });
    s.start();
    struct row {
        std::string name, target;
        const char* version;
        bool kept;
    };
    const row rows[] = {{"chunked", "/0", "1.1", true},
                        {"of a length", "/300000", "1.1", true},
                        {"until close", "/0", "1.0", false},
                        {"of a length, 1.0", "/300000", "1.0", false}};
    const std::string body = pattern(300'000);
    for (const row& r : rows) {
        CAPTURE(r.name);
        wire_client c = s.connect();
        CHECK(c.send(get_of(r.target, r.version)));
        body_writer out = writers.take();
        std::thread writer([&] {
            for (std::size_t at = 0; at < body.size(); at += 1000)
                if (out.write(string_view(body).substr(at, 1000)) == written::full)
                    out.wait(patience);
            CHECK(out.end({{"X-Sum", "1"}}));
        });
        answer got = c.read();
        writer.join();
        CHECK(got.whole);
        CHECK((got.body == body));
        CHECK(c.trailers == (r.name == "chunked" ? "X-Sum: 1\n" : ""));
        if (!r.kept) CHECK(c.at_end());
    }
}

TEST_CASE("streams: what is written leaves at once, not at the end") {
    running s;
    handed<body_writer> writers;
    s.app.get("/", [&](request&, responder res) { writers.put(res.stream(response())); });
    s.start();
    wire_client c = s.connect();
    CHECK(c.send(get_of("/")));
    body_writer out = writers.take();
    CHECK(c.until("\r\n\r\n"));
    for (const char* piece : {"one", "two", "three"}) {
        CHECK(out.write(piece) == written::ok);
        CHECK(c.until(piece));
    }
    CHECK(out.end());
    CHECK(c.until("0\r\n\r\n"));
}

TEST_CASE("streams: a writer that is dropped, cut or wrong is a cut that the client sees") {
    running s;
    handed<body_writer> kept;
    s.app.get("/{how}", [&](request& r, responder res) {
        string_view how = r.param("how");
        response head;
        if (how == "short" || how == "long") head.header("Content-Length", "10");
        body_writer out = res.stream(std::move(head));
        out.write("12345");
        if (how == "cut") out.cut();
        if (how == "short") CHECK_FALSE(out.end());
        if (how == "long") CHECK(out.write("678901") == written::closed);
        if (how == "kept") kept.put(std::move(out)); // nobody knows whether it will be ended
        if (how == "throws" || how == "kept") throw std::runtime_error("on purpose");
    });
    s.start();
    for (const char* how : {"dropped", "cut", "short", "long", "throws", "kept"}) {
        CAPTURE(std::string(how));
        wire_client c = s.connect();
        CHECK(c.send(get_of("/" + std::string(how)) + get_of("/" + std::string(how))));
        answer got = c.read();
        CHECK(got.status == 200);
        CHECK(got.body == "12345");
        CHECK_FALSE(got.whole);
        CHECK(c.at_end());
    }
}

TEST_CASE("streams: a slow reader makes the writer full; it may wait, or be told") {
    server_options o;
    o.max_write_buffer_bytes = 100'000;
    running s(o);
    handed<std::shared_ptr<body_writer>> writers;
    std::atomic<int> drained{0};
    s.app.get("/", [&](request&, responder res) {
        auto out = std::make_shared<body_writer>(
            res.stream(response().header("Content-Length", "100000000")));
        out->on_drain([&] { ++drained; });
        writers.put(out);
    });
    s.start();
    wire_client c = s.connect();
    CHECK(c.send(get_of("/")));
    auto out = writers.take();
    const std::string piece = pattern(50'000);
    std::size_t sent = 0;
    written how = written::ok;
    // The socket takes some of it; what it doesn't take counts. A loop that is late makes it full
    // for a moment, too.
    for (int i = 0; i < 1000 && how == written::ok; ++i) {
        how = out->write(piece), sent += piece.size();
        if (how == written::full) how = out->wait(milliseconds(200));
    }
    CHECK(how == written::full);
    CHECK(sent < 10'000'000);
    const int before = drained;
    while (c.got.size() < sent && out->wait(milliseconds(0)) == written::full) REQUIRE(c.more());
    CHECK(out->wait(patience) == written::ok);
    CHECK(comes_true([&] { return drained == before + 1; }));
    CHECK(out->write("x") == written::ok);
    do how = out->write(piece);
    while (how == written::ok ||
           (how == written::full && out->wait(milliseconds(100)) == written::ok));
    CHECK(how == written::full);
    CHECK(out->write("one more in spite of it") == written::closed);
    CHECK_FALSE(out->is_open());
    c.rest();
    CHECK(c.at_end());
}

TEST_CASE("streams: on_close tells once that nobody listens any more") {
    running s;
    handed<std::shared_ptr<body_writer>> writers;
    std::atomic<int> closed{0};
    s.app.get("/", [&](request&, responder res) {
        auto out = std::make_shared<body_writer>(res.stream(response()));
        out->on_close([&, out] { ++closed; }); // owns what it listens to
        writers.put(out);
    });
    s.start();
    wire_client c = s.connect();
    CHECK(c.send(get_of("/")));
    CHECK(c.until("\r\n\r\n"));
    auto out = writers.take();
    c.close();
    CHECK(comes_true([&] { return closed == 1; }));
    CHECK_FALSE(out->is_open());
    CHECK(out->write("x") == written::closed);
    // A writer that is kept keeps no bytes.
    CHECK(static_cast<detail::flow&>(*detail::access::of(*out)).queued.empty());
    CHECK_FALSE(out->end());
    CHECK(comes_true([&] { return out.use_count() == 1; }));
    CHECK(closed == 1);
}

TEST_CASE("streams: who waits to write hears that its client has gone") {
    running s;
    handed<std::shared_ptr<body_writer>> writers;
    s.app.get("/", [&](request&, responder res) {
        writers.put(std::make_shared<body_writer>(res.stream(response())));
    });
    s.start();
    wire_client c = s.connect();
    CHECK(c.send(get_of("/")));
    auto out = writers.take();
    CHECK(out->write(std::string(16 << 20, 'x')) == written::full);
    const auto began = steady_clock::now();
    std::atomic<bool> waits{false};
    std::thread waiting([&] {
        waits = true;
        CHECK(out->wait(patience * 3) == written::closed);
    });
    CHECK(comes_true([&] { return waits.load(); }));
    c.close();
    waiting.join();
    CHECK(steady_clock::now() - began < patience);
}

TEST_CASE("streams: what is written behind the end is refused, and not sent") {
    running s;
    s.app.get("/", [](request&, responder res) {
        body_writer out = res.stream(response());
        CHECK(out.write("all") == written::ok);
        CHECK(out.end());
        CHECK(out.write(" and more") == written::closed); // nothing of it has left yet
    });
    s.start();
    wire_client c = s.connect();
    for (int i = 0; i < 2; ++i) {
        const answer got = c.ask("/");
        CHECK(got.whole);
        CHECK(got.body == "all");
    }
}

TEST_CASE("streams: on the loop, wait() and read() would stop everybody, and say so") {
    running s;
    s.app.post("/", [&](request&, body_reader in, responder res) {
        char byte;
        bool refused = in.read(&byte, 1).error() == errc::would_block_loop;
        body_writer out = res.stream(response());
        out.write(refused && out.wait(milliseconds(1)) == written::closed ? "refused" : "blocked");
        out.end();
    });
    s.start();
    wire_client c = s.connect();
    CHECK(c.ask("/", "POST").body == "refused");
}

TEST_CASE("streams: the writer of HEAD, 204 and 304 finds itself closed") {
    running s;
    handed<body_writer> writers;
    s.app.get("/{status}", [&](request& r, responder res) {
        writers.put(res.stream(response(std::stoi(std::string(r.param("status"))))));
    });
    s.start();
    wire_client c = s.connect();
    CHECK(c.ask("/200", "HEAD").status == 200);
    CHECK(c.ask("/204").status == 204);
    CHECK(c.ask("/304").status == 304);
    for (int i = 0; i < 3; ++i) {
        body_writer out = writers.take();
        CHECK(comes_true([&] { return !out.is_open(); }));
        CHECK(out.write("x") == written::closed);
    }
    CHECK(c.ask("/200", "HEAD").status == 200); // the connection was kept
}

// -- in

TEST_CASE("streams: a body as it comes, by length and in chunks, with its trailers") {
    running s;
    s.app.post("/", [](request&, body_reader in, responder res) {
        auto st = std::make_shared<streamed>(streamed{std::move(in), std::move(res)});
        auto got = std::make_shared<std::string>();
        st->in.on_data([got](string_view piece) { got->append(piece); },
                       [st, got](const error& why) {
                           response r = why ? text(why.message()).status(400) : text(*got);
                           r.header("X-Trailer", st->in.trailers().get("x-sum"));
                           st->res.send(std::move(r));
                       });
    });
    s.start();
    wire_client c = s.connect();
    const std::string body = pattern(3'000'000);
    CHECK((c.ask("/", "POST", "", body).body == body));
    CHECK(c.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"));
    for (std::size_t at = 0; at < 90'000; at += 30'000)
        CHECK(c.send("7530\r\n" + body.substr(at, 30'000) + "\r\n"));
    CHECK(c.send("0\r\nX-Sum: 42\r\n\r\n"));
    answer got = c.read();
    CHECK((got.body == body.substr(0, 90'000)));
    CHECK(got.field("X-Trailer") == "42");
    CHECK(c.ask("/", "POST", "", "again").body == "again");
}

TEST_CASE("streams: a blocking read gives what came before a cut, then the cut") {
    running s;
    handed<std::shared_ptr<streamed>> bodies;
    s.app.post("/", [&](request&, body_reader in, responder res) {
        bodies.put(std::make_shared<streamed>(streamed{std::move(in), std::move(res)}));
    });
    s.start();
    wire_client c = s.connect();
    CHECK(c.send(post_of("/", 6) + "abc"));
    auto st = bodies.take();
    char room[10];
    result<std::size_t> count = st->in.read(room, sizeof room);
    CHECK((count && string_view(room, *count) == "abc"));
    CHECK(c.send("de"));
    c.close();
    CHECK(comes_true([&] { return s.app.stats().connections == 0; }));
    count = st->in.read(room, sizeof room);
    CHECK((count && string_view(room, *count) == "de"));
    CHECK(st->in.read(room, sizeof room).error() == errc::cut_off);
}

TEST_CASE("streams: another thread may read a body, blocking") {
    running s;
    handed<std::shared_ptr<streamed>> bodies;
    s.app.post("/", [&](request&, body_reader in, responder res) {
        bodies.put(std::make_shared<streamed>(streamed{std::move(in), std::move(res)}));
    });
    s.start();
    const std::string body = pattern(2'000'000);
    for (const char* fields : {"", "Expect: 100-continue\r\n"}) {
        wire_client c = s.connect();
        CHECK(c.send(post_of("/", body.size(), fields)));
        auto st = bodies.take();
        std::thread reader([&] {
            std::string got;
            char room[10'000];
            for (;;) {
                result<std::size_t> count = st->in.read(room, sizeof room);
                REQUIRE(count);
                if (*count == 0) break;
                got.append(room, *count);
            }
            st->res.send(text(got == body ? "same" : "different"));
        });
        if (*fields) CHECK(c.read().status == 100);
        CHECK(c.send(body));
        CHECK(c.read().body == "same");
        reader.join();
    }
}

TEST_CASE(
    "streams: what small reads have left is there for callbacks, or who takes the descriptor") {
    running s;
    handed<std::shared_ptr<streamed>> bodies;
    handed<std::shared_ptr<upgraded>> opened;
    s.app.post("/", [&](request&, body_reader in, responder res) {
        bodies.put(std::make_shared<streamed>(streamed{std::move(in), std::move(res)}));
    });
    s.app.get("/raw", [&](request&, responder res) {
        res.upgrade("chat",
                    [&](upgraded up) { opened.put(std::make_shared<upgraded>(std::move(up))); });
    });
    s.start();
    auto few = [](body_reader& in) {
        std::string got;
        for (char one; got.size() < 5;) {
            const result<std::size_t> count = in.read(&one, 1);
            if (!count || *count == 0) break;
            got += one;
        }
        return got;
    };
    const std::string body = pattern(100'000);
    wire_client c = s.connect();
    CHECK(c.send(post_of("/", body.size()) + body));
    auto st = bodies.take();
    std::string got = few(st->in);
    handed<std::string> whole;
    st->in.on_data([&](string_view piece) { got.append(piece); },
                   [&](const error& why) { whole.put(why.message()); });
    CHECK(whole.take() == error().message());
    CHECK((got == body));
    st->res.send(text("read"));
    CHECK(c.read().body == "read");

    CHECK(c.send(get_of("/raw", "1.1", "Connection: Upgrade\r\nUpgrade: chat\r\n")));
    CHECK(c.read().status == 101);
    auto up = opened.take();
    CHECK(c.send("0123456789"));
    CHECK(few(up->in) == "01234");
    CHECK(comes_true([&] { // what was sent is there or still in the socket
        int unread = 1;
        return ::ioctl(c.fd.get(), SIOCOUTQ, &unread) == 0 && unread == 0;
    }));
    raw_stream left = std::move(*up).release();
    CHECK(left.already_read == "56789");
}

TEST_CASE("streams: a blocking read gives what is there, and waits for no more") {
    running s;
    handed<std::shared_ptr<streamed>> bodies;
    s.app.post("/", [&](request&, body_reader in, responder res) {
        bodies.put(std::make_shared<streamed>(streamed{std::move(in), std::move(res)}));
    });
    s.start();
    wire_client c = s.connect();
    CHECK(c.send(post_of("/", 6)));
    auto st = bodies.take();
    std::atomic<int> pieces{0};
    std::thread sender([&] { // the second one only once the first was read
        c.send("abc");
        if (comes_true([&] { return pieces == 1; })) c.send("def");
        else c.close();
    });
    std::string got;
    char room[10];
    for (;;) {
        const result<std::size_t> count = st->in.read(room, sizeof room);
        REQUIRE(count);
        if (*count == 0) break;
        got.append(room, *count);
        if (got == "abc") pieces = 1;
    }
    sender.join();
    CHECK(got == "abcdef");
    st->res.send(text("ok"));
    CHECK(c.read().body == "ok");
}

TEST_CASE("streams: a body that is cut is cut_off, never whole") {
    running s;
    handed<std::shared_ptr<streamed>> bodies;
    handed<error> ends;
    s.app.post("/", [&](request&, body_reader in, responder res) {
        auto st = std::make_shared<streamed>(streamed{std::move(in), std::move(res)});
        st->in.on_data([](string_view) {}, [&, st](const error& why) { ends.put(why); });
    });
    s.app.post("/read", [&](request&, body_reader in, responder res) {
        bodies.put(std::make_shared<streamed>(streamed{std::move(in), std::move(res)}));
    });
    s.start();
    for (bool closes : {false, true}) {
        for (const char* sent : {"5\r\nabcde\r\n", "5\r\nabc", "5\r\nabcde\r\n0\r\n", ""}) {
            CAPTURE(std::string(sent));
            wire_client c = s.connect();
            CHECK(c.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" +
                         std::string(sent)));
            if (closes) c.close();
            else c.shut();
            CHECK(ends.take() == errc::cut_off);
        }
        wire_client c = s.connect();
        CHECK(c.send(post_of("/read", 10) + "abc"));
        auto st = bodies.take();
        char room[100];
        std::size_t sum = 0;
        result<std::size_t> count = st->in.read(room, sizeof room);
        for (closes ? c.close() : c.shut(); count && *count; count = st->in.read(room, sizeof room))
            sum += *count;
        CHECK(count.error() == errc::cut_off);
        CHECK(sum == 3);
    }
}

TEST_CASE("streams: a paused body has no deadline, wherever pause() was called") {
    server_options o;
    o.body_timeout = milliseconds(300);
    running s(o);
    handed<std::shared_ptr<streamed>> bodies;
    s.app.post("/", [&](request&, body_reader in, responder res) {
        auto st = std::make_shared<streamed>(streamed{std::move(in), std::move(res)});
        st->in.on_data([](string_view) {},
                       [st](const error& why) { st->res.send(text(why ? "cut" : "whole")); });
        bodies.put(st);
    });
    s.start();
    wire_client paused = s.connect();
    CHECK(paused.send(post_of("/", 6) + "abc"));
    auto st = bodies.take();
    st->in.pause();               // here, not in its callback
    for (int i = 0; i < 2; ++i) { // the deadline of others passes meanwhile
        wire_client slow = s.connect();
        CHECK(slow.send(post_of("/", 6) + "abc"));
        CHECK(slow.read().status == 408);
    }
    st->in.resume();
    CHECK(paused.send("def"));
    CHECK(paused.read().body == "whole");
}

TEST_CASE("streams: a reader that pauses stops the sender; memory stays bounded") {
    running s;
    handed<std::shared_ptr<streamed>> bodies;
    std::atomic<std::size_t> got{0};
    std::atomic<bool> done{false};
    s.app.post("/paused", [&](request&, body_reader in, responder res) {
        auto st = std::make_shared<streamed>(streamed{std::move(in), std::move(res)});
        st->in.on_data(
            [&, st](string_view piece) {
                if (got.fetch_add(piece.size()) == 0) st->in.pause();
            },
            [&](const error& why) { done = !why; });
        bodies.put(st);
    });
    s.app.post("/unasked", [&](request&, body_reader in, responder res) {
        bodies.put(std::make_shared<streamed>(streamed{std::move(in), std::move(res)}));
    });
    s.start();
    constexpr std::size_t size = 64 << 20;
    const std::string piece = pattern(64 << 10);
    for (const char* target : {"/unasked", "/paused"}) {
        CAPTURE(std::string(target));
        wire_client c = s.connect();
        CHECK(c.send(post_of(target, size)));
        auto st = bodies.take();
        std::size_t before = resident_kib();
        std::size_t sent = c.flood(piece, size);
        CHECK(sent < (4 << 20));
        CHECK(resident_kib() < before + (16 << 10));
        if (std::string(target) == "/unasked") {
            st->in.on_data([&](string_view bytes) { got += bytes.size(); },
                           [&](const error& why) { done = !why; });
        } else {
            st->in.resume();
        }
        while (sent < size) {
            std::size_t count = size - sent < piece.size() ? size - sent : piece.size();
            REQUIRE(c.send(string_view(piece).substr(0, count)));
            sent += count;
        }
        CHECK(comes_true([&] { return done.load(); }));
        CHECK(got == size);
        CHECK(resident_kib() < before + (16 << 10));
        CHECK(st->res.send(text("ok")));
        CHECK(c.read().body == "ok");
        got = 0, done = false;
    }
}

TEST_CASE("streams: an early answer is heard, and the connection is not used again") {
    running s;
    handed<error> ends;
    s.app.post("/", [&](request&, body_reader in, responder res) {
        auto kept = std::make_shared<body_reader>(std::move(in));
        kept->on_data([](string_view) {}, [&, kept](const error& why) { ends.put(why); });
        res.send(text("no, thanks").status(409));
    });
    s.app.post("/dropped", [&](request&, body_reader, responder res) {
        res.send(text("no, thanks").status(409));
    });
    s.start();
    for (const char* target : {"/", "/dropped"}) {
        wire_client c = s.connect();
        CHECK(c.send(post_of(target, 100'000'000)));
        c.flood(pattern(64 << 10), 1 << 20, 50);
        answer got = c.read();
        CHECK(got.status == 409);
        CHECK(got.body == "no, thanks");
        CHECK(got.field("Connection") == "close");
        CHECK(c.at_end());
        CHECK(c.send(pattern(1 << 20))); // else a proxy that sends says 502, and doesn't look
    }
    CHECK(static_cast<bool>(ends.take()));
}

TEST_CASE("streams: both directions at once, on one connection") {
    running s;
    s.app.post("/", [](request& r, body_reader in, responder res) {
        relay(std::move(in),
              res.stream(response().header("Content-Length", r.header("Content-Length"))));
    });
    s.start();
    wire_client c = s.connect();
    const std::string body = pattern(5'000'000);
    CHECK(c.send(post_of("/", body.size())));
    std::thread sender([&] { c.send(body); });
    answer got = c.read();
    sender.join();
    CHECK(got.whole);
    CHECK((got.body == body));
}

TEST_CASE(
    "streams: a relay passes trailers on, a cut stays a cut, a slow side stops the fast one") {
    server_options o;
    o.max_write_buffer_bytes = 256 << 10;
    running s(o);
    handed<error> ends;
    s.app.post("/", [&](request&, body_reader in, responder res) {
        relay(std::move(in), res.stream(response()), [&](const error& why) { ends.put(why); });
    });
    s.start();
    {
        wire_client c = s.connect();
        CHECK(c.send("POST / HTTP/1.1\r\nHost: a\r\nConnection: TE, hop\r\nTransfer-Encoding: "
                     "chunked\r\n\r\n3\r\nabc\r\n0\r\nHop: 1\r\nT: v\r\nHOP: 2\r\n\r\n"));
        answer got = c.read();
        CHECK(got.body == "abc");
        CHECK(c.trailers == "T: v\n"); // RFC 9110 7.6.1: nor what Connection names
        CHECK_FALSE(static_cast<bool>(ends.take()));
    }
    {
        wire_client c = s.connect();
        CHECK(
            c.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"));
        CHECK(c.until("abc\r\n"));
        c.shut();
        CHECK_FALSE(c.read().whole);
        CHECK(ends.take() == errc::cut_off);
    }
    wire_client c = s.connect();
    CHECK(c.send(post_of("/", 64 << 20)));
    std::size_t before = resident_kib();
    CHECK(c.flood(pattern(64 << 10), 64 << 20) < (8 << 20));
    CHECK(resident_kib() < before + (16 << 10));
    c.close();
    CHECK(static_cast<bool>(ends.take()));
}

TEST_CASE("streams: a relay between two loops is whole, or told its end once") {
    server_options o;
    o.max_write_buffer_bytes = 1000; // full again and again
    running s;
    handed<std::shared_ptr<streamed>> uploads;
    std::atomic<int> ends{0};
    s.app.post("/", [&](request&, body_reader in, responder res) {
        uploads.put(std::make_shared<streamed>(streamed{std::move(in), std::move(res)}));
    });
    s.start();
    running t(o);
    t.app.get("/", [&](request&, responder res) {
        const auto from = uploads.take(); // answered once it has been passed on
        relay(std::move(from->in), res.stream(response()), [&, from](const error&) { ++ends; });
    });
    t.start();
    const std::string body = pattern(4'000'000);
    const auto begin = [&](wire_client& from, wire_client& to) {
        CHECK(from.send(post_of("/", body.size())));
        REQUIRE(comes_true([&] { return uploads.count() == 1; }));
        CHECK(to.send(get_of("/")));
    };
    for (int i = 0; i < 300; ++i) { // few of them meet: it is the sanitizers that see it
        wire_client from = s.connect(), to = t.connect();
        begin(from, to);
        CHECK(from.send(body.substr(0, 20'000)));
        CHECK(to.until("\r\n\r\n"));
        if (i % 2) to.close(), from.close();
        else from.close(), to.close();
        CHECK(comes_true([&] { return ends == i + 1; }));
    }
    wire_client from = s.connect(), to = t.connect();
    begin(from, to);
    std::thread sends([&] { from.send(body); });
    answer got = to.read();
    from.close(), sends.join();
    CHECK(got.whole);
    CHECK((got.body == body));
    CHECK(comes_true([&] { return ends == 301; })); // told behind the last chunk
}

TEST_CASE("streams: a relay into a blocking client's writer, which has no loop, ends at once") {
    running s;
    handed<std::shared_ptr<streamed>> uploads;
    handed<upgraded> tunnels;
    handed<error> ends;
    s.app.post("/", [&](request&, body_reader in, responder res) {
        uploads.put(std::make_shared<streamed>(streamed{std::move(in), std::move(res)}));
    });
    s.app.get("/", [&](request&, responder res) {
        res.upgrade("x", [&](upgraded up) { tunnels.put(std::move(up)); });
    });
    s.start();
    wire_client c = s.connect();
    CHECK(c.send(post_of("/", 3))); // and nothing of its body
    result<upgraded> got = client(s.path).upgrade(request("GET", "/").header("Upgrade", "x"));
    REQUIRE(got);
    const upgraded far = tunnels.take();
    relay(std::move(uploads.take()->in), std::move(got->out),
          [&](const error& why) { ends.put(why); });
    CHECK(ends.take() == std::errc::broken_pipe);
    CHECK_FALSE(got->out.is_open());
}

TEST_CASE("streams: a relay goes on with a body that was paused, and into a writer that is full") {
    server_options o;
    o.max_write_buffer_bytes = 1000;
    running s(o);
    handed<error> ends;
    const std::string before(4 << 20, 'x');
    s.app.post("/full", [&](request&, body_reader in, responder res) {
        body_writer out = res.stream(response());
        CHECK(out.write(before) == written::full);
        relay(std::move(in), std::move(out), [&](const error& why) { ends.put(why); });
    });
    s.app.post("/paused", [&](request&, body_reader in, responder res) {
        in.pause(); // until it is known where it goes to
        relay(std::move(in), res.stream(response()), [&](const error& why) { ends.put(why); });
    });
    s.start();
    for (const char* target : {"/full", "/paused"}) {
        CAPTURE(std::string(target));
        wire_client c = s.connect();
        CHECK(c.send(post_of(target, 3) + "abc"));
        const std::string body = c.read().body;
        CHECK((body == "abc" || body == before + "abc"));
        CHECK_FALSE(ends.take());
    }
}

TEST_CASE("streams: a relay of a body by descriptor is whole, though its request is answered") {
    server_options o;
    o.max_body_fd_bytes = 8 << 20;
    o.max_write_buffer_bytes = 1000; // full with the first of its pieces
    running s(o);
    handed<responder> takers;
    handed<error> ends;
    s.app.get("/page", [](const request&) { return bytes(*sealed_memory::copy_of("page")); });
    s.app.get("/", [&](request&, responder res) { takers.put(std::move(res)); });
    s.app.post("/", [&](request& req, body_reader in, responder res) {
        const bool is_passed = !req.header("Body-Fd").empty();
        relay(std::move(in), takers.take().stream(response()),
              [&](const error& why) { ends.put(why); });
        res.send(text(is_passed ? "by descriptor" : "as bytes"));
    });
    s.start();
    wire_client c = s.connect();
    CHECK(c.send(get_of("/")));
    REQUIRE(comes_true([&] { return takers.count() == 1; }));
    client_options asks;
    asks.max_body_fd_bytes = 8 << 20;
    client api(s.path, asks);
    CHECK(api.get("/page")); // and it knows that this server takes them
    const std::string body = pattern(4'000'000);
    const auto got = api.post("/", *sealed_memory::copy_of(body), "a/b");
    REQUIRE(got);
    CHECK(got->body() == "by descriptor");
    CHECK((c.read().body == body));
    CHECK_FALSE(ends.take());
}

TEST_CASE("streams: a relay that falls short of the stated length says so") {
    running s;
    handed<error> told;
    s.app.post("/", [&](request&, body_reader in, responder res) {
        relay(std::move(in), res.stream(response().header("Content-Length", "10")),
              [&](const error& why) { told.put(why); });
    });
    s.start();
    wire_client c = s.connect();
    CHECK(c.send(post_of("/", 3) + "abc"));
    CHECK_FALSE(c.read().whole);
    CHECK(told.take() == std::errc::broken_pipe);
    wire_client d = s.connect();
    CHECK(d.send(post_of("/", 10) + "0123456789"));
    CHECK(d.read().body == "0123456789");
    CHECK_FALSE(told.take());
}

TEST_CASE("streams: a content that is a reader is passed on") {
    running s;
    handed<std::shared_ptr<body_reader>> readers;
    s.app.post("/echo", [](request&, body_reader in, responder res) {
        res.send(bytes(content(std::move(in))));
    });
    s.start();
    wire_client c = s.connect();
    const std::string body = pattern(1'000'000);
    CHECK(c.send(post_of("/echo", body.size())));
    std::thread sender([&] { c.send(body); });
    answer got = c.read();
    sender.join();
    CHECK(got.whole);
    CHECK((got.body == body));
}

TEST_CASE("streams: a plain handler may pass a reader on too, to HEAD none of it") {
    running s;
    handed<std::shared_ptr<streamed>> uploads;
    s.app.post("/in", [&](request&, body_reader in, responder res) {
        uploads.put(std::make_shared<streamed>(streamed{std::move(in), std::move(res)}));
    });
    s.app.get("/out", [&](const request&) {
        auto from = uploads.take();
        from->res.send(text("taken"));
        return bytes(content(std::move(from->in)));
    });
    s.start();
    const std::string body = pattern(100'000);
    for (const char* method : {"GET", "HEAD"}) {
        CAPTURE(std::string(method));
        wire_client up = s.connect(), down = s.connect();
        // Its answer ends it for its sender; what has come by then is passed on, and the cut.
        CHECK(up.send(post_of("/in", 200'000) + body));
        REQUIRE(comes_true([&] { return uploads.count() == 1; }));
        answer got = down.ask("/out", method);
        CHECK(got.status == 200);
        CHECK(body.compare(0, got.body.size(), got.body) == 0);
        CHECK(got.whole == (std::string(method) == "HEAD"));
        CHECK(up.read().body == "taken");
    }
}

TEST_CASE("streams: a blocking client's reader as an answer is a 500 that the log explains") {
    running upstream;
    upstream.app.get("/", [](const request&) { return text(std::string(100'000, 'x')); });
    upstream.start();
    server_options o;
    o.workers = 1;
    running s(o);
    handed<std::string> logged;
    client api(upstream.path);
    s.app.on_log([&](string_view line) { logged.put(std::string(line)); });
    s.app.get("/plain", [&](const request&) { // on the worker, where it may block
        return bytes(content(std::move((*api.stream(request("GET", "/"))).body)));
    });
    s.app.get("/later", [&](request&, responder out) {
        std::thread([&api, out = std::move(out)]() mutable {
            out.send(bytes(content(std::move((*api.stream(request("GET", "/"))).body))));
        }).join();
    });
    s.start();
    wire_client c = s.connect();
    for (const char* target : {"/plain", "/later"}) {
        CHECK(c.ask(target).status == 500);
        CHECK(logged.take().find("blocking client's reader") != std::string::npos);
    }
}

TEST_CASE("streams: bytes that a writer was lent are given back once, taken or not") {
    running s;
    handed<body_writer> writers;
    std::atomic<int> released{0};
    s.app.get("/", [&](request&, responder res) { writers.put(res.stream(response())); });
    s.start();
    wire_client c = s.connect();
    CHECK(c.send(get_of("/")));
    body_writer out = writers.take();
    std::string lent = "lent";
    CHECK(out.write(lent, [&] {
        ++released;
        lent = "gone";
    }) == written::ok);
    CHECK(out.write("more", [] { throw std::runtime_error("its own fault"); }) == written::ok);
    CHECK(out.write("end", {}) == written::ok);
    CHECK(out.end());
    CHECK(c.read().body == "lentmoreend");
    CHECK(out.write("late", [&] { ++released; }) == written::closed);
    CHECK(released == 2);
    CHECK(body_writer().write("nowhere", [&] { ++released; }) == written::closed);
    CHECK(released == 3);
}

TEST_CASE("streams: a handle isn't open once it has said all that it may") {
    running s;
    handed<std::string> told;
    auto is = [](auto& handle) { return handle.is_open() ? "open " : "shut "; };
    s.app.get("/send", [&](request&, responder r) {
        std::string all = is(r);
        r.send(text("x"));
        told.put(all + is(r));
    });
    s.app.get("/stream", [&](request&, responder r) {
        body_writer out = r.stream(response());
        std::string all = std::string(is(r)) + is(out);
        out.end();
        told.put(all + is(out));
    });
    s.app.get("/events", [&](request&, responder r) {
        event_writer out = r.events();
        std::string all = std::string(is(r)) + is(out);
        out.end();
        told.put(all + is(out));
    });
    s.app.get("/upgrade", [&](request&, responder r) {
        std::string all = is(r);
        r.upgrade("x", [](upgraded) {});
        told.put(all + is(r));
    });
    s.start();
    wire_client c = s.connect();
    CHECK(c.ask("/send").status == 200);
    CHECK(told.take() == "open shut ");
    CHECK(c.ask("/stream").whole);
    CHECK(told.take() == "shut open shut ");
    CHECK(c.ask("/events").whole);
    CHECK(told.take() == "shut open shut ");
    CHECK(c.ask("/upgrade", "GET", "Connection: upgrade\r\nUpgrade: x\r\n").status == 101);
    CHECK(told.take() == "open shut ");
}

TEST_CASE("streams: what has no stream behind it is closed, and harmless") {
    body_writer out;
    int calls = 0;
    out.on_drain([&] { ++calls; });
    out.on_close([&] { ++calls; });
    CHECK(out.write("x") == written::closed);
    CHECK(out.wait(milliseconds(0)) == written::closed);
    CHECK_FALSE(out.end());
    CHECK_FALSE(out.is_open());
    out.cut();
    body_reader in;
    in.on_data([&](string_view) { ++calls; }, [&](const error&) { ++calls; });
    in.pause(), in.resume();
    char byte;
    CHECK(in.read(&byte, 1).error() == errc::stopped);
    CHECK(in.trailers().begin() == in.trailers().end());
    responder nobody;
    nobody.on_close([&] { ++calls; });
    nobody.upgrade("x", [&](upgraded) { ++calls; });
    CHECK_FALSE(nobody.send(text("x")));
    CHECK_FALSE(nobody.stream(response()).is_open());
    event_writer events = nobody.events();
    CHECK_FALSE(events.is_open());
    CHECK(events.send({"x"}) == written::closed);
    events.end();
    CHECK(calls == 0);
}

// -- contents

TEST_CASE(
    "streams: every kind of content arrives whole, small and large, and HEAD knows its length") {
    running s;
    const std::string large = pattern(3'000'000);
    std::atomic<int> released{0};
    struct row {
        std::string name;
        bool has_length;
    };
    const row rows[] = {{"text", true}, {"literal", true}, {"borrowed", true}, {"sealed", true},
                        {"file", true}, {"pulled", true},  {"chunked", false}};
    auto make = [&](string_view kind, std::size_t size) -> content {
        string_view view = string_view(large).substr(0, size);
        if (kind == "literal") return content::literal(view);
        if (kind == "borrowed") return content::borrowed(view, [&] { ++released; });
        if (kind == "sealed") return content(*sealed_memory::copy_of(view));
        if (kind == "file")
            return content::file(file_of("xyz" + std::string(view) + "more"), 3, size);
        if (kind == "text") return content(view);
        auto fill = [view, at = std::size_t{0}](char* into,
                                                std::size_t room) mutable -> result<std::size_t> {
            std::size_t count = smallest(room, view.size() - at, 100'000);
            std::memcpy(into, view.data() + at, count);
            at += count;
            return count;
        };
        if (kind == "pulled") return content::pulled(fill, size);
        return content::pulled(fill);
    };
    s.app.get("/{kind}/{size}", [&](const request& r) {
        return bytes(make(r.param("kind"), std::stoul(std::string(r.param("size")))));
    });
    s.app.get("/later/{kind}/{size}", [&](request& r, responder res) {
        res.send(bytes(make(r.param("kind"), std::stoul(std::string(r.param("size"))))));
    });
    s.start();
    wire_client c = s.connect();
    int sent = 0;
    for (const row& r : rows)
        for (const char* prefix : {"/", "/later/"})
            for (std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{16'384},
                                     std::size_t{16'385}, large.size()}) {
                CAPTURE(r.name);
                CAPTURE(size);
                std::string target = prefix + r.name + "/" + std::to_string(size);
                answer got = c.ask(target);
                CHECK(got.status == 200);
                CHECK(got.whole);
                CHECK((got.body == large.substr(0, size)));
                CHECK(got.field("Content-Length") == (r.has_length ? std::to_string(size) : ""));
                answer head = c.ask(target, "HEAD");
                CHECK(head.status == 200);
                CHECK(head.field("Content-Length") == (r.has_length ? std::to_string(size) : ""));
                sent += r.name == "borrowed" ? 2 : 0;
                if (r.name == "borrowed") CHECK(comes_true([&] { return released == sent; }));
            }
    CHECK(released == sent);
    CHECK(sent > 0);
}

struct lends : running {
    explicit lends(server_options o = {}) : running(o) {
        auto echo = [](const request& r) { return bytes(content::lent(r.body())); };
        app.post("/now", echo).on_loop();
        app.post("/worker", echo);
        app.post("/later", [](request& r, responder res) {
            res.send(bytes(content::lent(r.body())));
            (void)r.take_body();
        });
        start();
    }
};

TEST_CASE("streams: a bad field in a list is an error where it is sent, and no end of the server") {
    running s;
    const char* const bad = "a\r\nb: c";
    handed<bool> done;
    handed<std::string> logged;
    s.app.on_log([&](string_view line) { logged.put(std::string(line)); });
    s.app.get("/plain", [&](const request&) {
        response res = text("x");
        res.headers() = headers{{"A", "b"}, {"X", bad}};
        return res;
    });
    s.app.get("/trailers", [&](request&, responder out) {
        body_writer w = out.stream(response(200));
        w.write("abc");
        done.put(w.end(headers{{"X", bad}}));
    });
    s.app.get("/upgrade", [&](request&, responder out) {
        out.upgrade(
            "x", [](upgraded) {}, headers{{"X", bad}});
    });
    s.app.get("/inform", [&](request&, responder out) {
        done.put(out.inform(response(103).header("X", bad)));
        response length(103);
        length.header("Content-Length", "1");
        done.put(out.inform(std::move(length)));
        done.put(out.inform(response(103).header("Link", "</a>")));
        out.send(text("x"));
    });
    s.start();
    CHECK(s.connect().ask("/plain").status == 500);
    CHECK(logged.take().find("a bad field") != std::string::npos);
    answer cut = s.connect().ask("/trailers");
    CHECK_FALSE(cut.whole);
    CHECK_FALSE(done.take());
    CHECK(s.connect().ask("/upgrade", "GET", "Connection: Upgrade\r\nUpgrade: x\r\n").status ==
          500);
    CHECK(logged.take().find("a bad field") != std::string::npos);
    wire_client c = s.connect();
    c.send(get_of("/inform"));
    CHECK(c.read().field("Link") == "</a>");
    CHECK(c.read().body == "x");
    CHECK_FALSE(done.take());
    CHECK_FALSE(done.take());
    CHECK(done.take());
    CHECK(headers{{"X", bad}}.get("X") == "");
}

TEST_CASE("streams: lent bytes are those of the request, whoever answers it") {
    server_options o;
    o.workers = 1;
    lends s(o);
    const std::string all = pattern(1'100'000);
    for (const char* target : {"/now", "/worker", "/later"})
        for (std::size_t size : {1u, 4'096u, 4'097u, 16'384u, 16'385u, 50'000u, 1'000'000u}) {
            CAPTURE(target);
            CAPTURE(size);
            wire_client c = s.connect();
            std::string asked;
            const std::size_t count = 1'000'000 / (size + 20'000) + 1;
            for (std::size_t i = 0; i < count; ++i)
                asked += post_of(target, size) + all.substr(i, size);
            std::thread sender([&] { CHECK(c.send(asked)); }); // more than the sockets hold
            for (std::size_t i = 0; i < count; ++i) {
                answer got = c.read();
                CHECK(got.status == 200);
                CHECK((got.body == all.substr(i, size)));
            }
            sender.join();
        }
}

TEST_CASE("streams: lent bytes stay when the socket takes no more, and others are served") {
    lends s;
    constexpr std::size_t size = 50'000;
    const std::string all = pattern(2 * size);
    wire_client c = s.connect();
    std::size_t count = 0;
    while (s.app.stats().bytes_out >= count * size) { // the last one has left as a whole
        REQUIRE(count < 100);
        REQUIRE(c.send(post_of("/now", size) + all.substr(count, size)));
        ++count;
        REQUIRE(comes_true([&] { return s.app.stats().requests == count; }));
    }
    wire_client other = s.connect();
    CHECK(other.send(post_of("/now", 200'000) + std::string(200'000, 'z'))); // where they were
    CHECK(other.read().body == std::string(200'000, 'z'));
    for (std::size_t i = 0; i < count; ++i) CHECK((c.read().body == all.substr(i, size)));
}

TEST_CASE("streams: borrowed bytes are released once, also when nobody reads them") {
    std::atomic<int> released{0};
    const std::string large = pattern(8 << 20);
    {
        running s;
        s.app.get("/", [&](const request&) {
            return text(content::borrowed(large, [&] { ++released; }));
        });
        s.app.get("/later", [&](request&, responder res) {
            res.send(text(content::borrowed(large, [&] { ++released; })));
        });
        s.start();
        wire_client c = s.connect();
        CHECK(c.send(get_of("/")));
        CHECK(c.more(1));
        c.close();
        CHECK(comes_true([&] { return released == 1; }));
        wire_client d = s.connect();
        CHECK(d.send(get_of("/later")));
        CHECK(d.more(1));
        s.app.stop();
        s.app.stop();
        CHECK(comes_true([&] { return s.ended.load(); }));
        CHECK(released == 2);
    }
    CHECK(released == 2);
    {
        response never = text(content::borrowed(large, [&] { ++released; }));
    }
    CHECK(released == 3);
}

TEST_CASE("streams: content that fails, ends early or lies is a cut") {
    running s;
    const std::string bytes_of = pattern(1'000'000);
    s.app.get("/error", [](const request&) {
        return text(
            content::pulled([n = 0](char* into, std::size_t) mutable -> result<std::size_t> {
                if (n++) return error(std::make_error_code(std::errc::io_error), "test");
                return *into = 'x', 1;
            }));
    });
    s.app.get("/throws", [](const request&) {
        return text(content::pulled(
            [](char*, std::size_t) -> result<std::size_t> { throw std::runtime_error("x"); }));
    });
    s.app.get("/short", [](const request&) {
        return text(content::pulled(
            [n = 0](char* into, std::size_t) mutable -> result<std::size_t> {
                *into = 'x';
                return std::size_t{n++ == 0};
            },
            10));
    });
    s.app.get("/lies", [](const request&) {
        return text(content::pulled(
            [](char*, std::size_t room) -> result<std::size_t> { return room + 1; }, 10));
    });
    s.app.get("/lies-later", [](const request&) {
        return text(
            content::pulled([n = 0](char* into, std::size_t room) mutable -> result<std::size_t> {
                return *into = 'x', n++ ? room + 1 : 1;
            }));
    });
    s.app.get("/file",
              [&](const request&) { return text(content::file(file_of(bytes_of), 0, 2'000'000)); });
    s.app.get("/bad-fd", [&](const request&) { return text(content::file(unique_fd(), 0, 10)); });
    s.app.get("/empty", [](const request&) { return text(content::pulled({})); });
    s.start();
    for (const char* target :
         {"/error", "/throws", "/short", "/lies", "/lies-later", "/file", "/bad-fd", "/empty"}) {
        CAPTURE(std::string(target));
        wire_client c = s.connect();
        answer got = c.ask(target);
        CHECK_FALSE(got.whole);
        CHECK(c.at_end());
        const string_view late = " /error /short /lies-later ";
        if (late.find(target + std::string(" ")) != late.npos)
            CHECK(got.body == "x"); // what came before the fault
    }
}

TEST_CASE("streams: small pieces that are pulled leave together") {
    running s;
    s.app.get("/", [](const request&) {
        return text(
            content::pulled([n = 0](char* into, std::size_t) mutable -> result<std::size_t> {
                return *into = 'x', std::size_t{n++ < 1000};
            }));
    });
    s.start();
    wire_client c = s.connect();
    REQUIRE(c.send(get_of("/")));
    c.shut();
    const std::string all = c.rest();
    CHECK(all.substr(all.size() - 10) == std::string(3, 'x') + "\r\n0\r\n\r\n");
    CHECK(all.size() < 2000); // a chunk for each would be 6000
}

TEST_CASE("streams: a client that goes away under sendfile kills nobody (SIGPIPE)") {
    CHECK(in_child([] {
              ::signal(SIGPIPE, SIG_DFL);
              folder at;
              server app;
              const std::string large = pattern(8 << 20);
              app.get("/", [&](const request&) {
                  return text(content::file(file_of(large), 0, large.size()));
              });
              if (app.listen(at("s"))) return 1;
              wire_client c(at("s"));
              c.send(get_of("/"));
              while (app.stats().bytes_out < 1000)
                  if (!app.run_once(milliseconds(100))) return 2;
              c.close();
              while (app.stats().connections > 0)
                  if (!app.run_once(milliseconds(100))) return 3;
              wire_client again(at("s"));
              again.send(get_of("/"));
              again.shut();
              ::shutdown(again.fd.get(), SHUT_RDWR); // gone before the first byte
              for (int i = 0; i < 10; ++i)
                  if (!app.run_once(milliseconds(10))) return 4;
              sigset_t blocked, pending;
              ::sigprocmask(SIG_BLOCK, nullptr, &blocked);
              ::sigpending(&pending);
              return ::sigismember(&blocked, SIGPIPE) == 0 && ::sigismember(&pending, SIGPIPE) == 0
                         ? 0
                         : 5;
          }) == 0);
}

TEST_CASE("streams: where sendfile is not to be had a file leaves by reading it") {
    const std::string bytes_of = pattern(300'000);
    for (const int why : {ENOSYS, EPERM, EINVAL}) { // a sandbox's, and a file system's
        CAPTURE(why);
        const int got = in_child_without(SYS_sendfile, why, [&] {
            running s;
            s.app.get("/", [&](const request&) {
                return text(content::file(file_of("xyz" + bytes_of + "more"), 3, bytes_of.size()));
            });
            s.start();
            wire_client c = s.connect();
            c.send(get_of("/"));
            c.shut();
            const std::string all = c.rest();
            return all.size() > bytes_of.size() &&
                           all.compare(all.size() - bytes_of.size(), bytes_of.size(), bytes_of) == 0
                       ? 0
                       : 1;
        });
        CHECK((got == 0 || got == -1));
    }
}

// -- upgrades

TEST_CASE("streams: what a peer sent is whole, though it left without reading what it was sent") {
    running s;
    std::atomic<bool> is_open{false};
    upgraded up;
    s.app.get("/", [&](request&, responder res) {
        res.upgrade("chat", [&](upgraded opened) {
            up = std::move(opened);
            is_open = true;
        });
    });
    s.start();
    wire_client c = s.connect();
    CHECK(c.send(get_of("/", "1.1", "Connection: Upgrade\r\nUpgrade: chat\r\n")));
    REQUIRE(comes_true([&] { return is_open.load(); }));
    CHECK(c.send("the last word"));
    c.close(); // with the 101 unread: the socket says ECONNRESET behind the bytes
    std::string got;
    char piece[64];
    for (;;) {
        auto bytes = up.in.read(piece, sizeof piece);
        CHECK(bytes);
        if (!bytes || *bytes == 0) break;
        got.append(piece, *bytes);
    }
    CHECK(got == "the last word");
}

TEST_CASE("streams: an upgraded connection carries bytes both ways, half-closed too") {
    running s;
    std::atomic<int> closed{0};
    s.app.get("/", [&](request&, responder res) {
        res.upgrade("chat", [&](upgraded opened) {
            CHECK(static_cast<bool>(opened));
            auto up = std::make_shared<upgraded>(std::move(opened));
            up->out.on_close([&, up] { ++closed; });
            up->in.on_data(
                [up](string_view piece) { up->out.write("<" + std::string(piece) + ">"); },
                [up](const error& why) {
                    up->out.write(why ? "cut" : "bye");
                    up->out.end();
                });
        });
    });
    s.start();
    const std::string fields = "Connection: Upgrade\r\nUpgrade: tcp, chat\r\n";
    wire_client c = s.connect();
    CHECK(c.send(get_of("/", "1.1", fields) + "early"));
    answer got = c.read();
    CHECK(got.status == 101);
    CHECK(got.field("Upgrade") == "chat");
    CHECK(got.field("Connection") == "Upgrade");
    CHECK(c.until("<early>"));
    CHECK(c.send("GET / HTTP/1.1\r\n\r\n"));
    CHECK(c.until("<GET / HTTP/1.1\r\n\r\n>"));
    c.shut();
    CHECK(c.until("bye"));
    c.got.clear();
    CHECK(c.at_end());
    CHECK(comes_true([&] { return s.app.stats().connections == 0; }));
    CHECK(comes_true([&] { return closed == 1; }));

    wire_client plain = s.connect();
    CHECK(plain.ask("/").status == 426);
    CHECK(plain.ask("/", "GET", "Connection: Upgrade\r\nUpgrade: other\r\n").status == 426);
    for (const char* lines :
         {"Upgrade: tcp\r\nUpgrade: chat\r\n", "Upgrade: chat\r\nUpgrade: tcp\r\n",
          "Upgrade: chat\r\nUpgrade:\r\n"}) // one list: RFC 9110 5.3
        CHECK(s.connect().ask("/", "GET", std::string("Connection: Upgrade\r\n") + lines).status ==
              101);
}

TEST_CASE("streams: the other half of an upgraded connection lives on") {
    running s;
    handed<std::shared_ptr<upgraded>> opened;
    handed<std::string> got;
    s.app.get("/", [&](request&, responder res) {
        res.upgrade("chat",
                    [&](upgraded up) { opened.put(std::make_shared<upgraded>(std::move(up))); });
    });
    s.start();
    wire_client c = s.connect();
    CHECK(c.send(get_of("/", "1.1", "Connection: Upgrade\r\nUpgrade: chat\r\n")));
    CHECK(c.read().status == 101);
    auto up = opened.take();
    CHECK(up->out.write("first") == written::ok);
    CHECK(up->out.end()); // SHUT_WR
    CHECK(c.until("first"));
    c.got.clear();
    CHECK(c.at_end());
    up->in.on_data([&](string_view piece) { got.put(std::string(piece)); },
                   [&](const error& why) { got.put(why ? "cut" : "end"); });
    CHECK(c.send("still here"));
    CHECK(got.take() == "still here");
    c.shut();
    CHECK(got.take() == "end");
    CHECK(comes_true([&] { return s.app.stats().connections == 0; }));
}

TEST_CASE("streams: an upgraded peer that reads no more is heard to its end") {
    running s;
    handed<std::shared_ptr<upgraded>> opened;
    handed<std::string> got;
    std::atomic<int> closed{0}, drained{0};
    s.app.get("/", [&](request&, responder res) {
        res.upgrade("chat", [&](upgraded up) {
            auto kept = std::make_shared<upgraded>(std::move(up));
            kept->in.on_data([&](string_view piece) { got.put(std::string(piece)); },
                             [&](const error& why) { got.put(why ? "cut" : "end"); });
            kept->out.on_close([&] { ++closed; });
            opened.put(kept);
        });
    });
    s.start();
    for (bool drops : {false, true}) { // its reader, too: nothing is left then
        CAPTURE(drops);
        closed = 0;
        wire_client c = s.connect();
        CHECK(c.send(get_of("/", "1.1", "Connection: Upgrade\r\nUpgrade: chat\r\n")));
        CHECK(c.read().status == 101);
        auto up = opened.take();
        ::shutdown(c.fd.get(), SHUT_RD); // the next byte to it is EPIPE
        CHECK(up->out.write(std::string(2 << 20, 'x')) == written::full);
        CHECK(comes_true([&] { return closed == 1; }));
        CHECK(up->out.write("x") == written::closed);
        up->out.on_drain([&] { ++drained; }); // there is no room, nor will there be
        CHECK(c.send("still here"));
        CHECK(got.take() == "still here");
        if (drops) up->in = body_reader();
        else c.shut();
        CHECK((drops || got.take() == "end"));
        CHECK(comes_true([&] { return s.app.stats().connections == 0; }));
        CHECK(drained == 0);
    }
}

TEST_CASE("streams: what an upgraded peer sends to a dropped reader is dropped, whatever it was") {
    running s;
    handed<std::shared_ptr<upgraded>> opened;
    s.app.get("/", [&](request&, responder res) {
        res.upgrade("chat",
                    [&](upgraded up) { opened.put(std::make_shared<upgraded>(std::move(up))); });
    });
    s.start();
    for (bool is_paused : {false, true}) { // or never asked for anything
        CAPTURE(is_paused);
        wire_client c = s.connect();
        CHECK(c.send(get_of("/", "1.1", "Connection: Upgrade\r\nUpgrade: chat\r\n")));
        CHECK(c.read().status == 101);
        auto up = opened.take();
        if (is_paused) up->in.on_data([](string_view) {}, [](const error&) {}), up->in.pause();
        const std::string piece(1 << 16, 'x');
        auto sent = [&] { return ::send(c.fd.get(), &piece[0], piece.size(), MSG_DONTWAIT) > 0; };
        while (sent()) {
        }
        up->in = body_reader();
        std::size_t count = 0;
        CHECK(comes_true([&] { return (count += sent()) > 100; }));
        CHECK(up->out.write("it goes on") == written::ok);
        CHECK(c.until("it goes on"));
        c.shut();
        up->out.end();
        CHECK(comes_true([&] { return s.app.stats().connections == 0; }));
    }
}

TEST_CASE("streams: an upgraded connection that is dropped, or left by its peer, ends") {
    running s;
    handed<std::shared_ptr<upgraded>> opened;
    std::atomic<int> closed{0};
    s.app.get("/", [&](request&, responder res) {
        res.upgrade("chat", [&](upgraded up) {
            auto kept = std::make_shared<upgraded>(std::move(up));
            kept->out.on_close([&] { ++closed; });
            opened.put(kept);
        });
    });
    s.start();
    const std::string request_text = get_of("/", "1.1", "Connection: Upgrade\r\nUpgrade: chat\r\n");
    {
        wire_client c = s.connect();
        CHECK(c.send(request_text));
        CHECK(c.read().status == 101);
        opened.take().reset();
        CHECK(c.at_end());
    }
    wire_client c = s.connect();
    CHECK(c.send(request_text));
    CHECK(c.read().status == 101);
    auto up = opened.take();
    std::atomic<int> ended{0};
    up->in.on_data([](string_view) {}, [&](const error&) { ++ended; });
    c.close();
    CHECK(comes_true([&] { return ended == 1 && s.app.stats().connections == 0; }));
    CHECK(comes_true([&] { return !up->out.is_open(); }));
    CHECK(up->out.write("x") == written::closed);
}

TEST_CASE("streams: release() gives the descriptor away, with what was read already") {
    running s;
    handed<std::shared_ptr<raw_stream>> released;
    s.app.get("/", [&](request&, responder res) {
        res.upgrade("chat", [&](upgraded up) {
            released.put(std::make_shared<raw_stream>(std::move(up).release()));
        });
    });
    s.start();
    wire_client c = s.connect();
    CHECK(c.send(get_of("/", "1.1", "Connection: Upgrade\r\nUpgrade: chat\r\n") + "early"));
    auto raw = released.take();
    CHECK(c.read().status == 101);
    CHECK(raw->already_read == "early");
    REQUIRE(raw->fd);
    CHECK((::fcntl(raw->fd.get(), F_GETFL) & O_NONBLOCK) != 0);
    CHECK((::fcntl(raw->fd.get(), F_GETFD) & FD_CLOEXEC) != 0);
    CHECK(comes_true([&] { return s.app.stats().connections == 0; }));
    CHECK(c.send("direct"));
    char room[100];
    CHECK(comes_true([&] { return ::recv(raw->fd.get(), room, sizeof room, MSG_PEEK) == 6; }));
    CHECK(::send(raw->fd.get(), "back", 4, MSG_NOSIGNAL) == 4);
    CHECK(c.until("back"));
    raw->fd = unique_fd();
    c.got.clear();
    CHECK(c.at_end());
}

TEST_CASE("streams: release() says the end that was said before, and gives nothing of a cut one") {
    running s;
    handed<std::shared_ptr<raw_stream>> released;
    s.app.get("/{how}", [&](request& r, responder res) {
        const bool cuts = r.param("how") == "cut";
        res.upgrade("chat", [&, cuts](upgraded up) {
            CHECK(up.out.write("bye") == written::ok);
            if (cuts) up.out.cut();
            else CHECK(up.out.end());
            released.put(std::make_shared<raw_stream>(std::move(up).release()));
        });
    });
    s.start();
    for (const char* how : {"/end", "/cut"}) {
        CAPTURE(std::string(how));
        wire_client c = s.connect();
        CHECK(c.send(get_of(how, "1.1", "Connection: Upgrade\r\nUpgrade: chat\r\n")));
        auto raw = released.take();
        CHECK(c.read().status == 101);
        CHECK(static_cast<bool>(raw->fd) == (how == std::string("/end")));
        if (raw->fd) {
            CHECK(c.rest() == "bye"); // the other half is open still
            CHECK(c.send("direct"));
            char room[100];
            CHECK(comes_true([&] { return ::recv(raw->fd.get(), room, sizeof room, 0) == 6; }));
        } else CHECK((c.rest(), c.at_end()));
    }
}

TEST_CASE("streams: an upgrade on a request with a body comes after the body") {
    running s;
    handed<std::string> got;
    s.app.post("/", [&](request& r, responder res) {
        got.put(std::string(r.body()));
        res.upgrade("tcp", [&](upgraded opened) {
            auto up = std::make_shared<upgraded>(std::move(opened));
            up->in.on_data([&, up](string_view piece) { got.put(std::string(piece)); },
                           [](const error&) {});
        });
    });
    s.start();
    wire_client c = s.connect();
    CHECK(c.send("POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: "
                 "tcp\r\nContent-Length: 4\r\n\r\nbody"));
    CHECK(c.read().status == 101);
    CHECK(got.take() == "body");
    CHECK(c.send("raw"));
    CHECK(got.take() == "raw");
}

TEST_CASE("streams: an upgrade tells the reader of the request's body its end, once") {
    running s;
    handed<std::string> got;
    auto seen = std::make_shared<int>(0);
    s.app.any("/", [&got, seen](request&, body_reader in, responder res) {
        auto own = std::make_shared<body_reader>(std::move(in)); // as long as its callbacks live
        own->on_data([&got](string_view piece) { got.put(std::string(piece)); },
                     [&got, own, seen](const error& why) { got.put(why ? "cut" : "end"); });
        res.upgrade("tcp", [&got](upgraded) { got.put("upgraded"); });
    });
    s.start();
    for (const std::string& request :
         {get_of("/", "1.1", "Connection: Upgrade\r\nUpgrade: tcp\r\n"),
          post_of("/", 4, "Connection: Upgrade\r\nUpgrade: tcp\r\n") + "body"}) {
        wire_client c = s.connect();
        CHECK(c.send(request));
        CHECK(c.read().status == 101);
        if (request[0] == 'P') CHECK(got.take() == "body");
        CHECK(got.take() == "end");
        CHECK(got.take() == "upgraded");
    }
    CHECK(comes_true([&] { return seen.use_count() == 2; })); // the route's, and ours
    CHECK(got.count() == 0);
}

// -- events

TEST_CASE("streams: server-sent events, whatever is in their data; stop() ends them whole") {
    running s;
    handed<std::shared_ptr<event_writer>> writers;
    std::atomic<int> closed{0};
    s.app.get("/", [&](request& r, responder res) {
        auto e = std::make_shared<event_writer>(res.events(std::chrono::hours(1)));
        e->on_close([&] { ++closed; });
        e->send({r.header("Last-Event-ID")});
        writers.put(e);
    });
    s.start();
    wire_client c = s.connect();
    CHECK(c.send(get_of("/", "1.1", "Last-Event-ID: 41\r\n")));
    CHECK(c.until("data: 41\n\n"));
    CHECK(c.got.find("Content-Type: text/event-stream\r\n") != std::string::npos);
    auto e = writers.take();
    CHECK(e->send({"one\ntwo\r\nthree\rfour", "tick", "42"}) == written::ok);
    CHECK(c.until("id: 42\nevent: tick\ndata: one\ndata: two\ndata: three\ndata: four\n\n"));
    CHECK(e->send({"x", "a\nb", "1\n2"}) == written::ok); // neither may have a line break: left out
    CHECK(c.until("\r\ndata: x\n\n"));
    CHECK(e->send({""}) == written::ok);
    CHECK(c.until("data: \n\n"));
    s.app.stop();
    CHECK(c.until("\r\n0\r\n\r\n"));
    CHECK(comes_true([&] { return s.ended.load(); }));
    CHECK_FALSE(e->is_open());
    CHECK(e->send({"x"}) == written::closed);
    CHECK(closed == 1); // whoever waits for on_drain, or on_close, waits no more
}

TEST_CASE("streams: a log of more events than fit is replayed over one connection") {
    server_options o;
    o.max_write_buffer_bytes = 4'000;
    running s(o);
    s.app.get("/", [](request&, responder res) {
        auto e = std::make_shared<event_writer>(res.events(milliseconds(1)));
        auto replay = [e, next = 0]() mutable {
            auto how = written::ok; // 2 MB in all: also more than the socket takes
            for (; next < 2'000 && how == written::ok; ++next)
                how = e->send({std::string(1'000, 'x'), "line", std::to_string(next)});
            if (how == written::ok) e->end();
        };
        e->on_drain(std::move(replay));
        e->send({std::string(5'000, 'x'), "first"});
    });
    s.start();
    wire_client c = s.connect();
    CHECK(c.send(get_of("/")));
    CHECK(c.until("\r\n0\r\n\r\n"));
    CHECK(c.got.find("id: 1999\n") != std::string::npos);
}

TEST_CASE("streams: a silent event stream has a heartbeat, and sees that its client has gone") {
    running s;
    handed<std::shared_ptr<event_writer>> writers;
    std::atomic<int> closed{0};
    s.app.get("/", [&](request&, responder res) {
        auto e = std::make_shared<event_writer>(res.events(milliseconds(50)));
        e->on_close([&] { ++closed; });
        writers.put(e);
    });
    s.start();
    wire_client c = s.connect();
    CHECK(c.send(get_of("/")));
    CHECK(c.until(":\n\n"));
    c.got.clear();
    CHECK(c.until(":\n\n"));
    c.close();
    CHECK(comes_true([&] { return closed == 1; }));
    CHECK_FALSE(writers.take()->is_open());
}

// Events with a heartbeat each 10 ms, and their reader, who has read nothing yet.
struct beating {
    running s;
    handed<std::shared_ptr<event_writer>> writers;
    std::shared_ptr<event_writer> e;

    explicit beating(std::size_t most)
        : s([most] {
              server_options o;
              o.max_write_buffer_bytes = most;
              return o;
          }()) {
        s.app.get("/", [&](request&, responder res) {
            writers.put(std::make_shared<event_writer>(res.events(milliseconds(10))));
        });
        s.start();
    }
    wire_client connect() {
        wire_client c = s.connect();
        CHECK(c.send(get_of("/")));
        e = writers.take();
        return c;
    }
    void ten_are_due() {
        std::atomic<bool> later{false};
        s.app.post([&] { later = true; }, milliseconds(100));
        REQUIRE(comes_true([&] { return later.load(); }));
    }
};

TEST_CASE("streams: a heartbeat doesn't cut an event stream whose reader is slow") {
    beating b(10'000);
    wire_client c = b.connect();
    const std::string data = pattern(5'000);
    std::size_t events = 0;
    body_writer& below = detail::access::of(*b.e); // can wait, to see that it is full for long
    written how = written::ok;
    for (; how == written::ok; how = below.wait(milliseconds(how == written::full ? 100 : 0)))
        how = b.e->send({data}), ++events;
    REQUIRE(how == written::full);
    b.ten_are_due();
    CHECK(b.e->is_open());
    const std::string line = "data: " + data + "\n\n";
    std::size_t got = 0;
    while (got < events && c.until(line)) c.got.erase(0, c.got.find(line) + line.size()), ++got;
    CHECK(got == events);
    CHECK(below.wait(patience) == written::ok);
    CHECK(b.e->send({"and on"}) == written::ok);
    CHECK(c.until("data: and on\n\n"));
    b.e->end();
    CHECK(c.until("\r\n0\r\n\r\n"));
}

TEST_CASE("streams: heartbeats don't pile up for a reader that is behind") {
    beating b(16'000'000);
    wire_client c = b.connect();
    CHECK(b.e->send({pattern(8'000'000)}) == written::ok); // for any SO_SNDBUF; it isn't full
    b.ten_are_due();
    CHECK(b.e->send({"last"}) == written::ok);
    REQUIRE(c.until("data: last\n\n"));
    const std::string& got = c.got;
    std::size_t beats = 0, at = got.find("data: "), end = got.find("data: last\n\n");
    while ((at = got.find("\n:\n\n", at)) < end) ++beats, ++at; // between the two
    CHECK(beats <= 1);
    b.e->end();
}

TEST_CASE("streams: callbacks that throw cost their own stream, and are logged") {
    running s;
    handed<std::string> log;
    s.app.on_log([&](string_view line) { log.put(std::string(line)); });
    s.app.get("/", hello);
    s.app.post("/data", [](request&, body_reader in, responder res) {
        auto st = std::make_shared<streamed>(streamed{std::move(in), std::move(res)});
        st->in.on_data([st](string_view) { throw std::runtime_error("mine"); },
                       [](const error&) {});
    });
    s.app.post("/done", [](request&, body_reader in, responder res) {
        auto st = std::make_shared<streamed>(streamed{std::move(in), std::move(res)});
        st->in.on_data([st](string_view) {},
                       [](const error&) { throw std::runtime_error("mine"); });
    });
    s.app.get("/take", [](request&, responder res) {
        res.upgrade("chat", [](upgraded) { throw std::runtime_error("mine"); });
    });
    s.app.get("/relay", [](request&, responder res) { // told inside of the call: there is no source
        relay(body_reader(), res.stream(response()),
              [](const error&) { throw std::runtime_error("mine"); });
    });
    s.start();
    for (const char* input :
         {"POST /data HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx",
          "POST /done HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx",
          "GET /relay HTTP/1.1\r\nHost: a\r\n\r\n",
          "GET /take HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n"}) {
        CAPTURE(std::string(input));
        wire_client c = s.connect();
        CHECK(c.send(input));
        c.rest();
        CHECK(c.at_end());
        CHECK(log.take().find("mine") != std::string::npos);
        CHECK(s.connect().ask("/").status == 200);
    }
}

TEST_CASE("streams: behind a piece whose callback throws comes none, and no end that looks whole") {
    running s;
    handed<error> ends;
    std::atomic<int> pieces{0};
    s.app.post("/{how}", [&](request& r, body_reader in, responder res) {
        auto st = std::make_shared<streamed>(streamed{std::move(in), std::move(res)});
        st->in.on_data([&, st](string_view) { throw ++pieces; }, // what has arrived, or comes
                       [&, st](const error& why) { ends.put(why), st->in = body_reader(); });
        if (r.param("how") == "paused") st->in.pause(), s.app.post([st] { st->in.resume(); });
    });
    s.start();
    for (const char* target : {"/at-once", "/paused"})
        for (std::size_t size : {std::size_t(1), std::size_t(700'000)}) {
            CAPTURE(std::string(target));
            CAPTURE(size);
            pieces = 0;
            wire_client c = s.connect();
            c.send(post_of(target, size) + std::string(size, 'x'));
            CHECK(ends.take() == errc::cut_off);
            c.rest();
            CHECK(c.at_end());
            CHECK(pieces == 1);
            CHECK(ends.count() == 0);
        }
}

TEST_CASE("streams: one may be destroyed inside of its own callback") {
    running s;
    std::atomic<int> seen{0};
    s.app.post("/", [&](request&, body_reader in, responder res) {
        auto st = std::make_shared<streamed>(streamed{std::move(in), std::move(res)});
        st->in.on_data(
            [&, st](string_view) {
                ++seen;
                st->res.send(text("enough"));
                st->in = body_reader();
            },
            [](const error&) {});
    });
    s.app.get("/", [&](request&, responder res) {
        auto out = std::make_shared<body_writer>(res.stream(response()));
        out->on_close([&, out] {
            ++seen;
            *out = body_writer();
        });
    });
    s.start();
    wire_client c = s.connect();
    CHECK(c.send(post_of("/", 100) + "some"));
    CHECK(c.read().body == "enough");
    c.shut(); // else the rest of its body is waited for
    CHECK(c.at_end());
    CHECK(seen == 1);
    wire_client d = s.connect();
    CHECK(d.send(get_of("/")));
    CHECK(d.until("\r\n\r\n"));
    d.close();
    CHECK(comes_true([&] { return seen == 2 && s.app.stats().connections == 0; }));
}

TEST_CASE("streams: an on_drain() that comes after the drain is told, and once per full only") {
    running s;
    handed<body_writer> writers;
    s.app.get("/", [&](request&, responder res) { writers.put(res.stream(response())); });
    s.start();
    wire_client c = s.connect();
    CHECK(c.send(get_of("/")));
    body_writer out = writers.take();
    std::atomic<int> told{0};
    CHECK(out.write(std::string(2 << 20, 'x')) == written::full);
    for (std::size_t sum = 0; sum < 2 << 20; c.got.clear()) {
        REQUIRE(c.more());
        sum += c.got.size();
    }
    CHECK(out.wait(patience) == written::ok); // it has drained, and nobody was told
    out.on_drain([&] { ++told; });
    CHECK(comes_true([&] { return told == 1; }));
    CHECK(out.write("a little") == written::ok);
    out.on_drain([&] { told = 100; }); // nothing has been full since
    CHECK(out.end());
    CHECK(comes_true([&] { return !out.is_open(); }));
    CHECK(told == 1);
}

TEST_CASE("streams: an on_drain() that is taken away while it runs doesn't come back") {
    running s;
    handed<std::shared_ptr<body_writer>> writers;
    s.app.get("/", [&](request&, responder res) {
        writers.put(std::make_shared<body_writer>(res.stream(response())));
    });
    s.start();
    const std::string much(4 << 20, 'x');
    for (const char* where : {"inside", "elsewhere", "nowhere"}) {
        CAPTURE(std::string(where));
        const bool is_inside = where[0] == 'i', stays = where[0] == 'n';
        wire_client c = s.connect();
        CHECK(c.send(get_of("/")));
        auto out = writers.take();
        std::atomic<int> told{0};
        handed<int> begun, may_end;
        out->on_drain([&] {
            if (++told > 1) return;
            if (is_inside) out->on_drain({});
            begun.put(1), may_end.take();
        });
        std::thread reads([&] { CHECK(c.read().whole); });
        CHECK(out->write(much) == written::full);
        begun.take();
        if (!is_inside && !stays) out->on_drain({});
        may_end.put(1);
        CHECK(out->write(much) == written::full);
        CHECK(out->wait(patience) == written::ok);
        if (stays) CHECK(comes_true([&] { return told == 2; }));
        CHECK(out->end());
        reads.join();
        CHECK(told == (stays ? 2 : 1));
    }
}

TEST_CASE("streams: a heartbeat doesn't cut the reader who is behind") {
    server_options o;
    o.max_write_buffer_bytes = 64 << 10;
    running s(o);
    handed<event_writer> writers;
    s.app.get("/", [&](request&, responder res) { writers.put(res.events(milliseconds(20))); });
    s.start();
    wire_client c = s.connect();
    CHECK(c.send(get_of("/")));
    event_writer out = writers.take();
    const std::string data(1'000, 'x');
    for (written how = written::ok; how == written::ok;) { // turn by turn: full is no moment's
        handed<written> said;
        s.app.post([&] { said.put(out.send({data})); });
        how = said.take();
    }
    std::atomic<int> beats{0}; // as many as will have come, on the same loop
    for (int i = 1; i <= 5; ++i) s.app.post([&] { ++beats; }, milliseconds(20 * i));
    CHECK(comes_true([&] { return beats == 5; }));
    CHECK(out.is_open());
    CHECK(c.until(":\n\n")); // once it has caught up,
    out.end();
    CHECK(c.until("\r\n0\r\n\r\n"));
    CHECK(c.got.find(":\n\n:\n\n") == std::string::npos); // and none for each that was due
}

TEST_CASE("streams: a client that vanishes is seen by who doesn't read its body") {
    for (bool pauses : {false, true}) {
        CAPTURE(pauses);
        running s;
        handed<streamed> all;
        std::atomic<int> closed{0};
        s.app.post("/", [&](request&, body_reader in, responder res) {
            res.on_close([&] { ++closed; });
            if (pauses) in.on_data([](string_view) {}, [](const error&) {}), in.pause();
            all.put({std::move(in), std::move(res)});
        });
        s.start();
        wire_client c = s.connect();
        CHECK(c.send(post_of("/", 1 << 24) + "part"));
        streamed kept = all.take();
        CHECK(kept.res.is_open());
        c.close();
        CHECK(comes_true([&] { return closed == 1; }));
        CHECK_FALSE(kept.res.is_open());
        char byte;
        if (!pauses) CHECK(kept.in.read(&byte, 1).error() == errc::cut_off);
    }
}

TEST_CASE("streams: inform() sends interim responses only, and only before the answer") {
    running s;
    handed<responder> waiting;
    s.app.get("/", [&](request&, responder res) { waiting.put(std::move(res)); });
    s.start();
    wire_client c = s.connect();
    CHECK(c.send(get_of("/") + get_of("/")));
    for (bool streams : {false, true}) {
        CAPTURE(streams);
        responder res = waiting.take();
        for (int status : {99, 101, 200, 404}) CHECK_FALSE(res.inform(response(status)));
        CHECK(res.inform(response(102)));
        CHECK(c.until("\r\n\r\n"));
        CHECK(c.got == "HTTP/1.1 102 \r\n\r\n");
        c.got.clear();
        CHECK(res.inform(text("no body of it").status(199).header("A", "b")));
        if (streams) res.stream(response()).end();
        else res.send(response());
        CHECK_FALSE(res.inform(response(102)));
        CHECK(c.until("\r\n\r\nHTTP/1.1 200 OK\r\n"));
        CHECK(c.got.rfind("HTTP/1.1 199 \r\n", 0) == 0);
        CHECK(c.got.find("A: b\r\n") != std::string::npos);
        c.got.erase(0, c.got.find("HTTP/1.1 200"));
        CHECK(c.read().whole);
    }
    CHECK_FALSE(responder().inform(response(102)));
}

TEST_CASE("streams: 100 Continue comes before the head of an answer that begins early") {
    raw::running s;
    s.app.post("/relayed", [](request&, body_reader in, responder out) {
        relay(std::move(in), out.stream(response(200)));
    });
    s.app.post("/passed", [](request&, body_reader in, responder out) {
        out.send(response(200).body(std::move(in), "a/b"));
    });
    s.start();
    for (const char* target : {"/relayed", "/passed"}) {
        CAPTURE(target);
        raw::wire_client c = s.connect();
        REQUIRE(c.send(std::string("POST ") + target +
                       " HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n"
                       "Content-Length: 5\r\nConnection: close\r\n\r\n"));
        CHECK(c.read().status == 100); // 9110 10.1.1: behind a final one Go sends no body
        REQUIRE(c.until("chunked\r\n\r\n"));
        REQUIRE(c.send("hello"));
        const std::string all = c.rest();
        CHECK(all.find("chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n") != std::string::npos);
    }
}

TEST_CASE("streams: what passes on a reader of nothing is cut, and waits for nothing") {
    raw::running s;
    raw::handed<error> ended;
    s.app.get("/relayed", [&](request&, responder out) {
        relay(body_reader(), out.stream(response(200)), [&](const error& e) { ended.put(e); });
    });
    s.app.get("/passed",
              [](const request&) { return response(200).body(content(body_reader()), "a/b"); });
    s.start();
    for (const char* target : {"/relayed", "/passed"}) {
        CAPTURE(target);
        raw::wire_client c = s.connect();
        REQUIRE(c.send(std::string("GET ") + target + " HTTP/1.1\r\nHost: a\r\n\r\n"));
        CHECK(c.rest().find("0\r\n\r\n") == std::string::npos);
        CHECK(c.at_end());
    }
    CHECK(ended.take());
}

// -- what a flow holds on to

namespace {

/// A server in the test's own thread, whose one client has sent all it will before it is heard.
struct turned {
    fd_watch watch;
    folder at;
    std::string path = at("s");
    server app;
    wire_client c{unique_fd()};

    turned() { CHECK_FALSE(app.listen(path)); }
    void ask(const std::string& text, bool stays) {
        c = wire_client(path);
        CHECK(c.send(text));
        if (!stays) c.close();
        turn();
    }
    void turn(int times = 10) {
        while (times-- > 0) CHECK(app.run_once(milliseconds(0)));
    }
};

} // namespace

TEST_CASE("streams: what a lost exchange was to be answered with is let go") {
    turned s;
    auto token = std::make_shared<int>();
    std::shared_ptr<responder> kept;
    s.app.post("/echo", [](request&, body_reader in, responder res) {
        res.send(bytes(std::move(in))); // a reader of its own flow: shown by the leak sanitizer
    });
    s.app.post("/pulled", [token](request&, body_reader, responder res) {
        auto own = std::make_shared<responder>(std::move(res));
        own->send(bytes(content::pulled(
            [own, token](char*, std::size_t) { return result<std::size_t>(std::size_t(0)); })));
    });
    s.app.post("/piece", [token](request&, body_reader in, responder res) {
        auto own = std::make_shared<streamed>(streamed{std::move(in), std::move(res)});
        own->in.on_data([own, token](string_view) { own->res.send(text("ok")); }, {});
    });
    s.app.get("/late",
              [&](request&, responder res) { kept = std::make_shared<responder>(std::move(res)); });
    s.app.get("/up", [token](request&, responder res) {
        auto own = std::make_shared<responder>(std::move(res));
        own->on_close([own, token] {});
        own->upgrade("x", [](upgraded) {});
    });
    const long held = token.use_count();
    s.ask(post_of("/echo", 10) + "abc", false);
    s.ask(post_of("/pulled", 10) + "abc", false);
    CHECK(token.use_count() == held);
    s.ask(post_of("/piece", 3) + "abc", true);
    CHECK(s.c.read().body == "ok");
    CHECK(token.use_count() == held);
    const std::string fields = "Connection: Upgrade\r\nUpgrade: x\r\n";
    s.ask(get_of("/late", "1.1", fields), false);
    kept->upgrade("x", [kept, token](upgraded) {});
    kept.reset(), s.turn();
    CHECK(token.use_count() == held);
    s.ask(get_of("/up", "1.1", fields), true);
    CHECK(s.c.read().status == 101);
    CHECK(token.use_count() == held);
    s.c.close(), s.turn();
}

TEST_CASE("streams: what is answered to nobody is let go at once, whoever keeps the responder") {
    turned s;
    std::shared_ptr<responder> kept;
    s.app.get("/",
              [&](request&, responder res) { kept = std::make_shared<responder>(std::move(res)); });
    s.ask(get_of("/"), false);
    REQUIRE(static_cast<bool>(kept));
    int released = 0;
    CHECK_FALSE(kept->send(bytes(content::borrowed("x", [&] { ++released; }))));
    CHECK(released == 1);
}

TEST_CASE("streams: whose client has gone is told that, and of no drain") {
    turned s;
    std::shared_ptr<body_writer> kept;
    int drained = 0, closed = 0;
    s.app.get("/", [&](request&, responder res) {
        kept = std::make_shared<body_writer>(res.stream(response()));
        kept->on_drain([&] { ++drained; });
        kept->on_close([&] { ++closed; });
    });
    unique_fd* peer = nullptr;
    s.app.get("/go", [&](const request&) { // what is written leaves before the loop hears of that
        CHECK(kept->write(std::string(4 << 20, 'x')) == written::full);
        *peer = unique_fd();
        return text("gone");
    });
    s.ask(get_of("/"), true);
    REQUIRE(static_cast<bool>(kept));
    wire_client first = std::move(s.c);
    peer = &first.fd;
    s.ask(get_of("/go"), true);
    CHECK(s.c.read().status == 200);
    CHECK(drained == 0); // it was lost, not sent
    CHECK(closed == 1);
    kept.reset();
}

TEST_CASE("streams: release() neither loses nor overtakes a byte") {
    turned s;
    std::shared_ptr<upgraded> up;
    raw_stream raw;
    s.app.get("/{how}", [&](request& r, responder res) {
        const std::string how(r.param("how"));
        res.upgrade("x", [&, how](upgraded opened) {
            if (how == "written") CHECK(opened.out.write("written, ") == written::ok);
            if (how == "kept") return void(up = std::make_shared<upgraded>(std::move(opened)));
            raw = std::move(opened).release();
            CHECK(::send(raw.fd.get(), "direct", 6, MSG_NOSIGNAL) == 6);
        });
    });
    const std::string fields = "Connection: Upgrade\r\nUpgrade: x\r\n";
    s.ask(get_of("/first", "1.1", fields), true);
    CHECK(s.c.read().status == 101); // and not "direct"
    CHECK(s.c.got == "direct");
    s.ask(get_of("/written", "1.1", fields), true);
    CHECK(s.c.read().status == 101);
    CHECK(s.c.got == "written, direct");

    const std::string body = pattern(1'000'000);
    std::string got;
    s.ask(get_of("/kept", "1.1", fields) + "early", true);
    CHECK(s.c.read().status == 101);
    REQUIRE(up.get() != nullptr);
    const string_view first = string_view(body).substr(0, 1000);
    CHECK(s.c.send(first)); // waits in the socket, and is read before the news of on_data()
    std::thread sender([&] { CHECK(s.c.send(string_view(body).substr(first.size()))); });
    up->in.on_data(
        [&](string_view piece) { // "early", then nothing more
            got.append(piece);
            raw = std::move(*up).release();
            got.append(raw.already_read);
        },
        {});
    s.turn();
    CHECK(got.size() >= 5 + first.size());
    wire_client owner(std::move(raw.fd));
    for (pollfd readable{owner.fd.get(), POLLIN, 0};
         got.size() + owner.got.size() < body.size() + 5;)
        if (::poll(&readable, 1, 10'000) != 1 || !owner.more()) break;
    sender.join();
    got += owner.got;
    CHECK((got == "early" + body));
    up.reset();

    s.ask(get_of("/kept", "1.1", fields), true);
    CHECK(s.c.read().status == 101);
    const std::string much = pattern(8'000'000); // for any SO_SNDBUF
    CHECK(up->out.write(much) != written::closed);
    CHECK_FALSE(std::move(*up).release().fd); // what was written waits for room
    s.turn();
    CHECK_FALSE(std::move(*up).release().fd); // outside of the flow, too
    while (s.c.got.size() < much.size() && s.c.more()) s.turn();
    CHECK((s.c.got == much));
    CHECK(s.c.send("later")); // to who owns it then, though its reader goes
    rlimit all{};
    REQUIRE(::getrlimit(RLIMIT_NOFILE, &all) == 0);
    const rlimit none{0, all.rlim_max};
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &none) == 0);
    raw = std::move(*up).release();
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &all) == 0);
    CHECK_FALSE(raw.fd); // there is none for it: the stream goes on
    CHECK(up->out.is_open());
    raw = std::move(*up).release();
    REQUIRE(raw.fd);
    up.reset(), s.turn();
    char later[5];
    CHECK(::recv(raw.fd.get(), later, sizeof later, MSG_DONTWAIT) == 5);
    raw = raw_stream();
    s.c.got.clear();
    CHECK(s.c.at_end());
}

TEST_CASE("streams: another thread may have an exchange from its first moment on") { // tsan's
    running s;
    std::atomic<int> ended{0};
    s.app.on_exchange([&](const exchange&) { ++ended; });
    struct threads {
        std::vector<std::thread> all;
        ~threads() {
            for (std::thread& t : all) t.join();
        }
    } others; // the loop's
    s.app.get("/{how}", [&](request& r, responder res) {
        others.all.emplace_back(
            [how = std::string(r.param("how")), out = std::move(res)]() mutable {
                out.on_close([] {});
                out.inform(response(103));
                if (how == "whole") out.send(text("whole"));
                if (how == "streamed") out.stream(response()).end();
                if (how == "events") out.events().send({"x"});
            });
    });
    s.app.get("/up", [&](request&, responder res) {
        res.upgrade("x", [&](upgraded up) {
            others.all.emplace_back([own = std::move(up)]() mutable {
                own.out.write("abc");
                (void)std::move(own).release();
            });
        });
    });
    s.start();
    int count = 0;
    for (int i = 0; i < 25; ++i)
        for (const char* target : {"/whole", "/streamed", "/events", "/up"}) {
            wire_client c = s.connect();
            CHECK(c.send(get_of(target, "1.1", "Connection: Upgrade\r\nUpgrade: x\r\n")));
            if (i % 2) CHECK(c.until("\r\n\r\n"));
            ++count;
        }
    CHECK(comes_true([&] { return ended == count; }));
}

TEST_CASE("streams: an event stream whose client has gone holds nothing until its heartbeat") {
    turned s;
    detail::ref<detail::flow> held;
    event_writer out;
    s.app.get("/", [&](request&, responder res) {
        held = detail::access::of(res);
        out = res.events();
        CHECK(out.send({std::string(500'000, 'x')}) == written::ok); // more than a socket takes
        CHECK(out.send({std::string(500'000, 'x')}) == written::ok);
    });
    s.ask(get_of("/"), true);
    CHECK(out.send({std::string(500'000, 'x')}) == written::ok);
    s.c.close(), s.turn();
    CHECK_FALSE(out.is_open());
    CHECK(held->queued.capacity() < 100);
    out = event_writer();
    CHECK(held->owners == 1);
}

TEST_CASE("streams: an on_close() that is set after a whole answer is never told") {
    turned s;
    responder kept;
    body_writer out;
    int told = 0;
    s.app.get("/whole", [&](request&, responder res) {
        res.send(text("ok"));
        kept = std::move(res);
    });
    s.app.get("/streamed", [&](request&, responder res) {
        out = res.stream(response());
        out.end();
    });
    s.app.get("/up", [&](request&, responder res) {
        res.upgrade("x", [](upgraded) {});
        kept = std::move(res);
    });
    s.app.get("/unended", [&](request&, responder res) {
        out = res.stream(response());
        kept = std::move(res);
    });
    s.app.get("/open", [&](request&, responder res) { kept = std::move(res); });
    for (const char* target : {"/whole", "/streamed", "/up"}) {
        CAPTURE(std::string(target));
        s.ask(get_of(target, "1.1", "Connection: Upgrade\r\nUpgrade: x\r\n"), true);
        kept.on_close([&] { ++told; });
        out.on_close([&] { ++told; });
        s.turn();
        s.c.close(), s.turn();
        CHECK(told == 0);
    }
    s.ask(get_of("/open"), false); // and left
    kept.on_close([&] { ++told; });
    s.turn();
    CHECK(told == 1);
    s.ask("HEAD" + get_of("/unended").substr(3), true); // a relay() would wait for ever
    out.on_close([&] { ++told; });
    kept.on_close([&] { told += 10; }); // who has answered whole
    s.turn();
    CHECK(told == 2);
}

TEST_CASE("streams: whose answer is all in its head learns that nobody listens, a relay() too") {
    turned s;
    streamed up, kept;
    int told = 0;
    error why;
    const auto head = [](request& r) {
        response res(r.param("how") == "204" ? 204 : 200);
        if (r.param("how") == "bad") res.header("A\n", "b");
        return res;
    };
    s.app.post("/in", [&](request&, body_reader in, responder res) {
        up = {std::move(in), std::move(res)};
    });
    s.app.get("/written/{how}", [&](request& r, responder res) {
        res.on_close([&] { told += 10; }); // the answer was whole
        auto own = std::make_shared<body_writer>(res.stream(head(r)));
        own->on_close([&, own] { ++told; });
    });
    s.app.get("/events/{how}", [&](request&, responder res) {
        auto own = std::make_shared<event_writer>(res.events());
        own->on_close([&, own] { ++told; });
    });
    s.app.get("/relayed/{how}", [&](request& r, responder res) {
        relay(std::move(up.in), res.stream(head(r)), [&](const error& e) { ++told, why = e; });
    });
    s.app.get("/passed/{how}", [&](request&, responder res) {
        res.on_close([&] { told += 10; });
        res.send(bytes(content(std::move(up.in))));
    });
    for (const std::string request :
         {"GET /written/204", "GET /written/bad", "HEAD /written/x", "HEAD /events/x",
          "GET /relayed/204", "GET /relayed/bad", "HEAD /relayed/x", "HEAD /passed/x"}) {
        CAPTURE(request);
        s.ask("POST /in HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n", true);
        const wire_client sends = std::exchange(s.c, wire_client{unique_fd()});
        const detail::ref<detail::flow> brings = detail::access::of(up.res);
        told = 0, why = error();
        s.ask(request + " HTTP/1.1\r\nHost: a\r\n\r\n", true); // and stays
        CHECK(told == (request.find("/passed") == std::string::npos));
        CHECK(brings->reader_dropped == (request.find("ed/") != std::string::npos));
        CHECK(static_cast<bool>(why) == (request.find("/relayed") != std::string::npos));
        up = {}, s.turn();
    }
}

TEST_CASE("streams: who passes a stream on and who brings it are both told that nobody listens") {
    for (bool late : {false, true}) {
        CAPTURE(late);
        turned s;
        std::shared_ptr<streamed> from;
        responder kept;
        int told = 0;
        s.app.post("/in", [&](request&, body_reader in, responder res) {
            from = std::make_shared<streamed>(streamed{std::move(in), std::move(res)});
        });
        s.app.get("/out", [&](request&, responder res) {
            if (!late) res.on_close([&] { ++told; });
            res.send(bytes(content(std::move(from->in))));
            kept = std::move(res);
        });
        s.ask("POST /in HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc", true);
        const wire_client up = std::exchange(s.c, wire_client{unique_fd()});
        const detail::ref<detail::flow> brings = detail::access::of(from->res);
        s.ask(get_of("/out"), true);
        if (late) kept.on_close([&] { ++told; });
        s.turn();
        CHECK_FALSE(brings->reader_dropped);
        s.c.close(), s.turn();
        CHECK(told == 1);
        CHECK(brings->reader_dropped);
        kept = responder();
        from.reset(), s.turn();
    }
}

TEST_CASE("streams: on_close() is told though the reader's end throws") {
    turned s;
    streamed kept;
    int told = 0, logged = 0;
    s.app.on_log([&](string_view) { ++logged; });
    s.app.post("/", [&](request&, body_reader in, responder res) {
        res.on_close([&] { ++told; });
        in.on_data([](string_view) {},
                   [](const error&) { throw std::runtime_error("on purpose"); });
        in.pause(); // its end is told where the connection's is
        kept = {std::move(in), std::move(res)};
    });
    s.ask(post_of("/", 10) + "abc", false);
    CHECK(logged == 1);
    CHECK(told == 1);
}

TEST_CASE(
    "streams: whoever reads nothing of an upgraded connection learns that its peer has gone") {
    turned s;
    std::shared_ptr<upgraded> up;
    int told = 0;
    s.app.get("/", [&](request&, responder res) {
        res.upgrade("x", [&](upgraded opened) {
            up = std::make_shared<upgraded>(std::move(opened));
            up->out.on_close([&] { ++told; });
        });
    });
    for (const char* how : {"dropped", "read", "left"}) {
        CAPTURE(std::string(how));
        told = 0;
        s.ask(get_of("/", "1.1", "Connection: Upgrade\r\nUpgrade: x\r\n"), true);
        CHECK(s.c.until("\r\n\r\n"));
        CHECK(s.c.send("last words"));
        s.c.close(), s.turn();
        CHECK(told == 1);
        CHECK_FALSE(up->out.is_open());
        CHECK(up->out.write("x") == written::closed);
        CHECK(s.app.stats().connections == 1);
        if (how == std::string("read")) {
            std::string got;
            up->in.on_data([&](string_view piece) { got.append(piece); },
                           [&](const error& why) { got.append(why ? " cut" : " end"); });
            s.turn();
            CHECK(got == "last words end");
        } else if (how == std::string("left")) {
            std::string got;
            up->in.on_data([&](string_view piece) { got.append(piece), up->in.pause(); }, {});
            s.turn();
            CHECK(got == "last words");
            up.reset(), s.turn();
        } else {
            up.reset(), s.turn();
        }
        CHECK(s.app.stats().connections == 0);
        CHECK(told == 1);
    }
}

TEST_CASE("streams: what a piece becomes leaves before the next one is read") {
    turned s;
    body_reader up;
    body_writer down;
    std::vector<std::uint64_t> sent; // in all, as each piece came
    s.app.post("/", [&](request&, body_reader in, responder res) {
        up = std::move(in), down = res.stream(response());
        up.on_data(
            [&](string_view piece) {
                sent.push_back(s.app.stats().bytes_out);
                CHECK(down.write(piece) == written::ok);
            },
            [&](const error& why) { CHECK(down.end() == !why); });
    });
    const std::string body = pattern(300'000); // of which one read takes 256 KiB at most
    const int room = 1 << 20;
    s.c = wire_client(s.path);
    REQUIRE(::setsockopt(s.c.fd.get(), SOL_SOCKET, SO_SNDBUF, &room, sizeof room) == 0);
    REQUIRE(s.c.send(post_of("/", body.size()) + body));
    s.turn();
    REQUIRE(sent.size() >= 2);
    for (std::size_t i = 1; i < sent.size(); ++i) CHECK(sent[i] > sent[i - 1]);
    while (s.c.got.find("\r\n0\r\n\r\n") == std::string::npos && s.c.more()) s.turn(1);
    CHECK(s.c.read().body == body);
}

TEST_CASE("streams: a handle that is moved onto itself stays what it was") {
    turned s;
    streamed kept;
    body_writer out;
    event_writer events;
    s.app.post("/", [&](request&, body_reader in, responder res) {
        kept = {std::move(in), std::move(res)};
    });
    s.app.get("/events", [&](request&, responder res) { events = res.events(); });
    const auto onto_itself = [](auto& it, auto& same) { it = std::move(same); };
    s.ask(post_of("/", 3), true);
    onto_itself(kept.in, kept.in);
    onto_itself(kept.res, kept.res);
    CHECK(kept.res.is_open());
    out = kept.res.stream(response());
    onto_itself(out, out);
    CHECK(out.write("out") == written::ok);
    kept.in.on_data([&](string_view piece) { out.write(piece); }, [&](const error&) { out.end(); });
    s.turn();
    CHECK(s.c.send("in!"));
    s.turn();
    CHECK(s.c.read().body == "outin!");
    s.ask(get_of("/events"), true);
    onto_itself(events, events);
    CHECK(events.is_open());
    s.ask(post_of("/", 3), true);
    kept.res = responder(); // still: what it was is dropped
    s.turn();
    CHECK(s.c.read().status == 500);
}

TEST_CASE("streams: end() is true once, and false where nobody is left to hear it") {
    running s;
    handed<body_writer> writers;
    s.app.get("/", [&](request&, responder res) { writers.put(res.stream(response())); });
    s.start();
    wire_client c = s.connect();
    CHECK(c.send(get_of("/")));
    body_writer out = writers.take();
    CHECK(out.end());
    CHECK_FALSE(out.end());
    CHECK(c.read().whole);
    CHECK(c.send(get_of("/")));
    out = writers.take();
    c.close();
    CHECK(comes_true([&] { return !out.is_open(); }));
    CHECK_FALSE(out.end());
}

TEST_CASE("streams: who waits to write to an upgraded peer hears that it reads no more") {
    running s;
    handed<std::shared_ptr<upgraded>> opened;
    s.app.get("/", [&](request&, responder res) {
        res.upgrade("chat",
                    [&](upgraded up) { opened.put(std::make_shared<upgraded>(std::move(up))); });
    });
    s.start();
    wire_client c = s.connect();
    CHECK(c.send(get_of("/", "1.1", "Connection: Upgrade\r\nUpgrade: chat\r\n")));
    CHECK(c.read().status == 101);
    auto up = opened.take();
    CHECK(up->out.write(std::string(16 << 20, 'x')) == written::full);
    const auto began = steady_clock::now();
    std::atomic<bool> waits{false};
    written how = written::ok;
    std::thread waiting([&] {
        waits = true;
        how = up->out.wait(patience * 3);
    });
    CHECK(comes_true([&] { return waits.load(); }));
    ::shutdown(c.fd.get(), SHUT_RD);
    c.rest(); // a socket that is full says so only once it isn't: before that, write_timeout does
    waiting.join();
    CHECK(how == written::closed);
    CHECK(steady_clock::now() - began < patience);
}

TEST_CASE("streams: a 1.0 answer of unknown length ends with the connection, kept or not") {
    running s;
    s.app.get("/", [](const request&) {
        return text(content::pulled([n = 0](char* to, std::size_t) mutable -> result<std::size_t> {
            if (n == 3) return std::size_t(0);
            *to = static_cast<char>('a' + n++);
            return std::size_t(1);
        }));
    });
    s.start();
    wire_client c = s.connect();
    CHECK(c.send(get_of("/", "1.0", "Connection: keep-alive\r\n")));
    answer got = c.read();
    CHECK(got.status == 200);
    CHECK(got.body == "abc");
    CHECK(got.field("Connection") == "close");
}

TEST_CASE("streams: events that begin in a drain end at once, whole") {
    running s;
    handed<responder> waiting;
    s.app.get("/", [&](request&, responder res) { waiting.put(std::move(res)); });
    s.start();
    wire_client c = s.connect();
    CHECK(c.send(get_of("/")));
    responder later = waiting.take();
    s.app.stop();
    CHECK(comes_true([&] { return s.app.stopping(); }));
    event_writer out = later.events();
    CHECK(c.read().whole);
    CHECK(comes_true([&] { return s.ended.load(); }, patience));
}

TEST_CASE("streams: who reads a body later holds no more of it meanwhile than a stream may") {
    running s;
    handed<std::shared_ptr<streamed>> bodies;
    s.app.post("/", [&](request&, body_reader in, responder res) {
        bodies.put(std::make_shared<streamed>(streamed{std::move(in), std::move(res)}));
    });
    s.start();
    wire_client c = s.connect();
    CHECK(c.send(post_of("/", 64 << 20)));
    auto st = bodies.take();
    char room[1];
    CHECK(c.send("x"));
    result<std::size_t> first = st->in.read(room, 1);
    CHECK((first && *first == 1));
    CHECK(c.flood(std::string(64 << 10, 'x'), 32 << 20) < 8 << 20);
}

TEST_CASE("streams: what a hook adds to a 101 of a body that there is none of goes") {
    running s;
    s.app.use([](request&) -> std::optional<response> { return {}; },
              [](const exchange&, response& res) { res.header("Transfer-Encoding", "chunked"); });
    s.app.get("/", [&](request&, responder res) { res.upgrade("x", [](upgraded) {}); });
    s.start();
    wire_client c = s.connect();
    answer got = c.ask("/", "GET", "Connection: upgrade, close\r\nUpgrade: x\r\n");
    CHECK(got.status == 101);
    CHECK(got.field("Transfer-Encoding").empty());
    CHECK(got.field("Connection") == "Upgrade");
}

TEST_CASE("streams: a hook's own answer in the place of a 101 is that, and no upgrade") {
    running s;
    std::atomic<int> answers{0};
    handed<int> told;
    s.app.use({}, [&](const exchange& e, response& res) {
        ++answers;
        if (e.target == "/denied") res = text("no").status(403);
        if (e.target == "/empty") res.status(204);
        if (e.target == "/wrong") res.status(0);
    });
    s.app.on_exchange([&](const exchange& e) { told.put(e.status); });
    s.app.any("/{name}",
              [](request&, responder r) { r.upgrade("x", [](upgraded) { FAIL("up"); }); });
    s.app.get("/", hello);
    s.start();
    struct row {
        const char *target, *method;
        int status;
    };
    for (const row& r : {row{"/denied", "GET", 403}, row{"/denied", "HEAD", 403},
                         row{"/empty", "GET", 204}, row{"/wrong", "GET", 500}}) {
        CAPTURE(std::string(r.target));
        wire_client c = s.connect();
        const int before = answers;
        answer got = c.ask(r.target, r.method, "Connection: upgrade\r\nUpgrade: x\r\n");
        CHECK(got.status == r.status);
        CHECK(answers == before + 1);
        CHECK(told.take() == r.status);
        CHECK(c.ask("/").status == 200); // it is HTTP still
        CHECK(told.take() == 200);
    }
}

TEST_CASE("streams: a client's connection that is released, or dropped, makes room in the pool") {
    running s;
    s.app.get("/", hello);
    s.app.get("/up", [](request&, responder res) {
        res.upgrade("x", [](upgraded up) { relay(std::move(up.in), std::move(up.out)); });
    });
    s.start();
    client_options o;
    o.max_connections_count = 1, o.total_timeout = patience;
    client api(s.path, o);
    for (bool releases : {true, false}) {
        CAPTURE(releases);
        result<upgraded> up = api.upgrade(request("GET", "/up").header("Upgrade", "x"));
        REQUIRE(up);
        raw_stream raw;
        if (releases) raw = std::move(*up).release();
        else up = upgraded();
        auto got = api.get("/");
        CHECK(got);
    }
}

TEST_CASE("streams: what a client has still to send isn't asked for once the answer has come") {
    running s;
    s.app.post("/",
               [](request&, body_reader, responder res) { res.send(text("enough").status(413)); });
    s.start();
    client api(s.path);
    std::size_t asked = 0;
    auto endless = content::pulled([&](char* to, std::size_t room) -> result<std::size_t> {
        std::memset(to, 'x', room);
        return (asked += room) < (1u << 30) ? room : std::size_t(0);
    });
    auto got = api.post("/", std::move(endless), "");
    REQUIRE(got);
    CHECK(got->status() == 413);
    CHECK(asked < 64u << 20);
}

TEST_CASE("streams: the end of an upgraded connection comes behind all that was written") {
    running s;
    s.app.get("/", [&](request&, responder res) {
        res.upgrade("chat", [&](upgraded up) {
            auto both = std::make_shared<upgraded>(std::move(up));
            CHECK(both->out.write(std::string(8'000'000, 'x')) == written::full);
            CHECK(both->out.end());
            both->in.on_data([](string_view) {}, [both](const error&) {});
        });
    });
    s.start();
    wire_client c = s.connect();
    CHECK(c.send(get_of("/", "1.1", "Connection: Upgrade\r\nUpgrade: chat\r\n")));
    CHECK(c.read().status == 101);
    CHECK(c.rest().size() == 8'000'000);
}

TEST_CASE("streams: an upgraded connection ends with its writer where nobody reads") {
    running s;
    s.app.get("/", [&](request&, responder res) {
        res.upgrade("chat", [&](upgraded up) {
            up.in = body_reader();
            CHECK(up.out.write("bye") == written::ok);
            CHECK(up.out.end());
        });
    });
    s.start();
    wire_client c = s.connect(); // which says nothing, and stays
    CHECK(c.send(get_of("/", "1.1", "Connection: Upgrade\r\nUpgrade: chat\r\n")));
    CHECK(c.read().status == 101);
    CHECK(c.rest() == "bye");
    CHECK(comes_true([&] { return s.app.stats().connections == 0; }));
}

TEST_CASE("streams: what fails of a content is told as it is, and no room is never asked for") {
    running s;
    handed<std::string> log;
    handed<int> whys;
    std::atomic<int> without_room{0};
    s.app.on_log([&](string_view line) { log.put(std::string(line)); });
    s.app.on_exchange([&](const exchange& e) { whys.put(e.why ? e.why.code().value() : 0); });
    s.app.get("/throws", [](const request&) {
        return text(content::pulled(
            [](char*, std::size_t) -> result<std::size_t> { throw std::runtime_error("mine"); }));
    });
    s.app.get("/error", [](const request&) {
        return text(content::pulled(
            [](char*, std::size_t) -> result<std::size_t> {
                return error(std::make_error_code(std::errc::io_error), "test");
            },
            10));
    });
    s.app.get("/whole", [&](const request&) {
        return text(content::pulled(
            [&](char* into, std::size_t room) -> result<std::size_t> {
                if (room == 0) ++without_room;
                return room ? *into = 'x', 1u : 0u;
            },
            10));
    });
    s.start();
    CHECK_FALSE(s.connect().ask("/throws").whole);
    CHECK(log.take().find("content: threw mine") == 0);
    CHECK(whys.take() == ECANCELED);
    CHECK_FALSE(s.connect().ask("/error").whole);
    CHECK(whys.take() == EIO);
    CHECK(s.connect().ask("/whole").body == std::string(10, 'x'));
    CHECK(whys.take() == 0);
    CHECK(without_room == 0);
    for (std::size_t left = log.count(); left > 0; --left)
        CHECK(log.take().find("content:") == std::string::npos);
}

TEST_CASE("streams: a heartbeat is its own stream's, and ends with it") {
    running s;
    std::shared_ptr<event_writer> out;
    s.app.get("/{ms}", [&](request& r, responder res) {
        out = std::make_shared<event_writer>(
            res.events(milliseconds(std::atoi(std::string(r.param("ms")).c_str()))));
    });
    s.start();
    wire_client c = s.connect(), leaves = s.connect();
    CHECK(leaves.send(get_of("/20")));
    CHECK(leaves.until("\r\n\r\n"));
    leaves.close();
    CHECK(comes_true([&] { return s.app.stats().connections == 1; }));
    CHECK(c.send(get_of("/30")));
    CHECK(c.until("\r\n\r\n"));
    s.app.post([&] { out->end(); });
    CHECK(c.until("0\r\n\r\n"));
    c.got.clear();
    CHECK(c.send(get_of("/100000"))); // over the same connection
    CHECK(c.until("\r\n\r\n"));
    handed<bool> later;
    s.app.post([&] { later.put(true); }, milliseconds(80));
    CHECK(later.take());
    s.app.post([&] { out->end(); });
    CHECK(c.until("0\r\n\r\n"));
    CHECK(c.got.find(":\n\n") == std::string::npos);
}

TEST_CASE("streams: an event that has no type, no id, or the usual type is its data alone") {
    running s;
    s.app.get("/", [](request&, responder res) {
        event_writer out = res.events(std::chrono::hours(1));
        for (const event& e : {event{"a"}, event{"b", ""}, event{"c", "message", ""}}) out.send(e);
        out.end();
    });
    s.start();
    CHECK(s.connect().ask("/").body == "data: a\n\ndata: b\n\ndata: c\n\n");
}

TEST_CASE("streams: the first answer counts, whatever kind the second one is of") {
    running s;
    std::atomic<int> first{0}, second{0};
    s.app.get("/text", [](request&, responder res) {
        CHECK(res.send(text("first")));
        body_writer out = res.stream(response());
        CHECK_FALSE(out.is_open());
        CHECK(out.write("second") == written::closed);
    });
    s.app.get("/up", [&](request&, responder res) {
        res.upgrade("a", [&](upgraded) { ++first; });
        res.upgrade("a", [&](upgraded) { ++second; });
    });
    s.start();
    wire_client c = s.connect();
    CHECK(c.ask("/text").body == "first");
    CHECK(c.ask("/up", "GET", "Connection: upgrade\r\nUpgrade: a\r\n").status == 101);
    CHECK(c.at_end()); // what was taken has been dropped
    CHECK(first == 1);
    CHECK(second == 0);
}

TEST_CASE("streams: a 101 that is passed on leaves its own hop's fields behind") {
    running s;
    s.app.get("/", [](request&, responder res) {
        const std::string bytes = "HTTP/1.1 101 X\r\nConnection: upgrade, x-hop\r\nUpgrade: b\r\n"
                                  "X-Hop: 1\r\nX: 2\r\nContent-Length: 5\r\n\r\n";
        headers received;
        field* room = detail::open_fields(received, 10);
        detail::head head;
        (void)detail::parse_response_head(bytes, {1000, 1000, 10}, "GET", room, head);
        detail::close_fields(received, head.fields_count, true);
        res.upgrade(
            "a", [](upgraded) {}, received);
    });
    s.start();
    const answer got = s.connect().ask("/", "GET", "Connection: upgrade\r\nUpgrade: a\r\n");
    CHECK(got.status == 101);
    CHECK(got.field("Upgrade") == "a");
    CHECK(got.field("X") == "2");
    CHECK(got.field("X-Hop") == "");
    CHECK(got.field("Content-Length") == "");
}
