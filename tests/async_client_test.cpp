// SPDX-License-Identifier: MIT
// Room [13]: the client on a loop. Its peer is a second server, or plays what a test tells it.
#include "raw_client.hpp"
#include "uds_http.hpp"

#include <algorithm>
#include <memory>

#include <doctest/doctest.h>

using namespace raw;
using namespace std::chrono_literals;

namespace {

/// Listens, and gives the connections to the test, which plays the server on them.
struct scripted {
    folder at;
    std::string path = at("up");
    unique_fd fd{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};

    explicit scripted(int backlog = 64) {
        sockaddr_un to{};
        to.sun_family = AF_UNIX;
        std::memcpy(to.sun_path, path.c_str(), path.size() + 1);
        REQUIRE(::bind(fd.get(), reinterpret_cast<sockaddr*>(&to), sizeof to) == 0);
        REQUIRE(::listen(fd.get(), backlog) == 0);
    }
    wire_client accept() {
        REQUIRE(waits(10'000));
        return wire_client(unique_fd(::accept4(fd.get(), nullptr, nullptr, SOCK_CLOEXEC)));
    }
    /// Connections until there is no room for another one.
    std::vector<unique_fd> filled() const {
        std::vector<unique_fd> queue;
        for (;;) {
            result<unique_fd> one = detail::try_connect(path);
            if (!one) return queue;
            queue.push_back(*std::move(one));
        }
    }
    bool waits(int timeout) {
        pollfd one{fd.get(), POLLIN, 0};
        return ::poll(&one, 1, timeout) == 1;
    }
};

/// A request's head; what follows it stays in `got`.
std::string head_of(wire_client& peer) {
    if (!peer.until("\r\n\r\n")) return {};
    std::size_t end = peer.got.find("\r\n\r\n") + 4;
    std::string head = peer.got.substr(0, end);
    peer.got.erase(0, end);
    return head;
}

constexpr string_view ok_reply = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// What became of one call.
struct outcome {
    error why;
    int status = 0;
    std::string body;
};

/// A loop with a client on it. Calls are made there unless a test makes them itself.
struct fixture {
    fd_watch watch;
    folder at;
    server app;
    std::unique_ptr<client> api;
    std::thread thread;
    handed<outcome> ended;
    error failure;

    explicit fixture(const std::string& upstream, client_options options = {},
                     const server_options& how = {})
        : app(how), api(std::make_unique<client>(upstream, options, app)) {}
    ~fixture() { stop(); }
    void start() {
        REQUIRE_FALSE(app.listen(at("s")));
        thread = std::thread([this] { failure = app.run(); });
    }
    void stop() {
        app.stop();
        app.stop();
        if (thread.joinable()) thread.join();
        CHECK_FALSE(failure);
    }
    callback<void(result<response>)> tell() {
        return [this](result<response> got) {
            if (got) ended.put({error(), got->status(), std::string(got->body())});
            else ended.put({got.error(), 0, ""});
        };
    }
    /// From another thread than the loop's.
    void call(request req) { api->async_send(std::move(req), tell()); }
    void call() { call(request("GET", "/x")); }
    template <class F> void on_loop(F act) { app.post(std::move(act)); }
};

client_options quick(milliseconds read, milliseconds total = milliseconds::max()) {
    client_options o;
    o.read_timeout = read, o.total_timeout = total;
    return o;
}

/// The peer's end of a connection that has carried one call and is kept.
wire_client kept_of(scripted& up, fixture& f) {
    f.call();
    wire_client peer = up.accept();
    CHECK_FALSE(head_of(peer).empty());
    CHECK(peer.send(ok_reply));
    CHECK(f.ended.take().body == "ok");
    return peer;
}

bool contains(const error& e, string_view part) {
    return e.message().find(part) != std::string::npos;
}

struct row {
    const char* name;
    const char* method;
    const char* bytes; // then the end of the stream
    int status;        // 0: `code`
    const char* body;
    errc code;
};

const row rows[] = {
    {"a length", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "ok", {}},
    {"chunks",
     "GET",
     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nT: "
     "1\r\n\r\n",
     200,
     "abcde",
     {}},
    {"until the end", "GET", "HTTP/1.1 200 OK\r\n\r\nall of it", 200, "all of it", {}},
    {"HTTP/1.0", "GET", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "ok", {}},
    {"HEAD", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", 200, "", {}},
    {"204", "GET", "HTTP/1.1 204 No Content\r\n\r\n", 204, "", {}},
    {"304", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", 304, "", {}},
    {"404", "GET", "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", 404, "", {}},
    {"interim responses",
     "GET",
     "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
     "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
     200,
     "ok",
     {}},
    {"nothing", "GET", "", 0, "", errc::cut_off},
    {"a head cut", "GET", "HTTP/1.1 200 OK\r\nContent-", 0, "", errc::cut_off},
    {"a body cut", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", 0, "", errc::cut_off},
    {"chunks cut", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", 0,
     "", errc::cut_off},
    {"trailers cut", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", 0, "",
     errc::cut_off},
    {"only 1xx", "GET", "HTTP/1.1 100 Continue\r\n\r\n", 0, "", errc::cut_off},
    {"garbage", "GET", "SSH-2.0-OpenSSH_9.2\r\n", 0, "", errc::bad_message},
    {"a bad chunk", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 0, "",
     errc::bad_message},
    {"two lengths", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 0,
     "", errc::bad_message},
    {"101 unasked", "GET", "HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", 0, "",
     errc::bad_message},
    {"too large", "GET", "HTTP/1.1 200 OK\r\n\r\n0123456789abcdefg", 0, "", errc::too_large},
    {"too large, it says", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\nab", 0, "",
     errc::too_large},
    {"HEAD of it", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n", 200, "", {}},
    {"304 of it", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 17\r\n\r\n", 304, "", {}},
};

std::size_t resident_kib() {
    std::FILE* f = std::fopen("/proc/self/statm", "r");
    unsigned long all = 0, resident = 0;
    if (!f || std::fscanf(f, "%lu %lu", &all, &resident) != 2) resident = 0;
    if (f) std::fclose(f);
    return resident * 4;
}

/// Forwards everything, both ways as it comes.
void forward(client& to, request req, body_reader body, responder out) {
    request next(req.method(), req.target());
    next.body(std::move(body), "");
    if (req.headers().contains("Content-Length"))
        next.header("Content-Length", req.header("Content-Length"));
    if (req.headers().contains("Expect")) next.header("Expect", req.header("Expect"));
    auto shared = std::make_shared<responder>(std::move(out));
    to.async_stream(std::move(next), [shared](result<reply> got) {
        if (!got) return void(shared->send(response(502)));
        response head(got->head.status());
        if (got->head.headers().contains("Content-Length"))
            head.header("Content-Length", got->head.header("Content-Length"));
        relay(std::move(got->body), shared->stream(std::move(head)));
    });
}

} // namespace

TEST_CASE("async: what a server may answer, whole and byte by byte") {
    for (const row& r : rows) {
        for (bool drips : {false, true}) {
            CAPTURE(r.name);
            CAPTURE(drips);
            fd_watch watch;
            scripted up;
            client_options o;
            o.max_body_bytes = 16;
            fixture f(up.path, o);
            f.start();
            f.call(request(r.method, "/x"));
            {
                wire_client peer = up.accept();
                CHECK(head_of(peer).find(std::string(r.method) + " /x HTTP/1.1\r\n") == 0);
                for (const char* c = r.bytes; drips && *c; ++c) peer.send(string_view(c, 1));
                if (!drips) peer.send(r.bytes);
            }
            outcome got = f.ended.take();
            CHECK(got.status == r.status);
            CHECK(got.body == r.body);
            if (r.status) continue;
            CHECK_MESSAGE(got.why == r.code, got.why.message());
            CHECK(contains(got.why, up.path));
            CHECK(got.why.sent());
        }
    }
}

TEST_CASE("async: heads and bodies one under, at, and one over their limits") {
    const string_view line = "HTTP/1.1 200 OK\r\n", empty = "Content-Length: 0\r\n\r\n";
    auto check = [](const std::string& bytes, bool fits, errc over = errc::too_large) {
        scripted up;
        client_options o;
        o.max_head_bytes = 2000, o.max_body_bytes = 1000;
        fixture f(up.path, o);
        f.start();
        f.call();
        {
            wire_client peer = up.accept();
            head_of(peer);
            peer.send(bytes);
        }
        outcome got = f.ended.take();
        CHECK(got.status == (fits ? 200 : 0));
        if (!fits) CHECK_MESSAGE(got.why == over, got.why.message());
    };
    for (std::size_t size : {1999u, 2000u, 2001u}) {
        CAPTURE(size);
        std::string head = std::string(line) + "X: ";
        head.append(size - head.size() - 2 - empty.size(), 'x').append("\r\n").append(empty);
        REQUIRE(head.size() == size);
        check(head, size <= 2000);
        check(std::string(line) + "Transfer-Encoding: chunked\r\n\r\n0\r\nX: " +
                  std::string(size - 7, 'x') + "\r\n\r\n",
              size <= 2000, errc::bad_message);
    }
    for (int count : {256, 257}) {
        CAPTURE(count);
        std::string trailers;
        for (int i = 0; i < count; ++i) trailers += "X:\r\n";
        check(std::string(line) + "Transfer-Encoding: chunked\r\n\r\n0\r\n" + trailers + "\r\n",
              count <= 256, errc::bad_message);
    }
    for (std::size_t size : {999u, 1000u, 1001u}) {
        CAPTURE(size);
        const std::string body(size, 'b');
        char coded[18];
        const std::string chunk(coded, detail::put_chunk_size(coded, size));
        check(std::string(line) + "Content-Length: " + std::to_string(size) + "\r\n\r\n" + body,
              size <= 1000);
        check(std::string(line) + "Transfer-Encoding: chunked\r\n\r\n" + chunk + body +
                  "\r\n0\r\n\r\n",
              size <= 1000);
        check(std::string(line) + "\r\n" + body, size <= 1000);
    }
}

TEST_CASE("async: sixteen interim responses are enough") {
    for (int count : {15, 16, 17}) {
        CAPTURE(count);
        scripted up;
        fixture f(up.path);
        f.start();
        f.call();
        wire_client peer = up.accept();
        head_of(peer);
        std::string many;
        for (int i = 0; i < count; ++i) many += "HTTP/1.1 103 Early Hints\r\n\r\n";
        peer.send(many.append(ok_reply));
        outcome got = f.ended.take();
        CHECK(got.body == (count <= 16 ? "ok" : ""));
        if (count > 16) CHECK(got.why == errc::bad_message);
    }
}

TEST_CASE("async: a 101 while the request is still being sent is refused") {
    scripted up;
    fixture f(up.path);
    f.start();
    handed<error> refused;
    auto taken = [&](result<upgraded> got) { refused.put(got ? error() : got.error()); };
    request req("POST", "/");
    req.header("Upgrade", "x").body(std::string(16 << 20, 'b'), "text/plain");
    f.api->async_upgrade(std::move(req), taken);
    wire_client peer = up.accept();
    head_of(peer); // and no more of it
    peer.send("HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n");
    CHECK(refused.take() == errc::bad_message);
    peer.rest();
    CHECK(peer.at_end());
}

TEST_CASE("async: what a kept connection took nothing of is sent on another one, each time") {
    scripted up;
    fixture f(up.path);
    f.start();
    std::vector<wire_client> kept; // two of them, for two calls at once
    f.call(), f.call();
    for (int i = 0; i < 2; ++i) {
        kept.push_back(up.accept());
        head_of(kept.back());
    }
    for (wire_client& peer : kept) {
        peer.send(ok_reply);
        ::shutdown(peer.fd.get(), SHUT_RD); // it drains: nothing more is taken
    }
    for (int i = 0; i < 2; ++i) CHECK(f.ended.take().body == "ok");
    // Nor was anything taken of a body that is pulled: it is asked for once the head has left.
    const auto pulled = [n = 0](char* to, std::size_t) mutable -> result<std::size_t> {
        return n++ == 0 ? (*to = 'x', 1u) : 0u;
    };
    f.call(request("POST", "/x").body(content::pulled(pulled), ""));
    wire_client peer = up.accept();
    CHECK(head_of(peer).find("POST /x ") == 0);
    CHECK(peer.until("1\r\nx\r\n0\r\n\r\n"));
    peer.send(ok_reply);
    outcome got = f.ended.take();
    CHECK_MESSAGE(got.body == "ok", got.why.message());
}

TEST_CASE("async: a kept connection that takes nothing more is given up at once") {
    scripted up;
    fixture f(up.path, quick(20'000ms));
    f.start();
    f.call();
    wire_client old = up.accept();
    head_of(old);
    ::shutdown(old.fd.get(), SHUT_RD);
    old.send(ok_reply); // and stays open
    CHECK(f.ended.take().body == "ok");
    f.call(request("POST", "/x"));
    wire_client peer = up.accept();
    CHECK(head_of(peer).find("POST /x ") == 0);
    peer.send(ok_reply);
    CHECK(f.ended.take().body == "ok");
}

TEST_CASE("async: what no server took anything of was not sent") {
    scripted up;
    fixture f(up.path);
    f.start();
    f.call();
    wire_client old = up.accept();
    head_of(old);
    ::unlink(up.path.c_str()); // its server ends: nothing more is taken, and nobody else is there
    ::shutdown(old.fd.get(), SHUT_RD);
    old.send(ok_reply);
    CHECK(f.ended.take().body == "ok");
    f.call(request("POST", "/x"));
    const outcome got = f.ended.take();
    CHECK(got.why == std::errc::no_such_file_or_directory);
    CHECK_FALSE(got.why.sent()); // a POST, too, may be made again
}

TEST_CASE("async: an answer that ends with the connection is whole, whatever was left unread") {
    scripted up;
    fixture f(up.path);
    f.start();
    for (int i = 0; i < 20; ++i) {
        request req("POST", "/x");
        req.body(std::string(100'000, 'b'), "text/plain");
        f.call(std::move(req));
        wire_client peer = up.accept();
        char head[16]; // no more of it
        REQUIRE(::recv(peer.fd.get(), head, sizeof head, MSG_WAITALL) == sizeof head);
        peer.send("HTTP/1.0 413 Too\r\n\r\nbig");
        peer.fd = unique_fd(); // with bytes unread: the client gets ECONNRESET, then the end
        outcome got = f.ended.take();
        CHECK_MESSAGE(got.status == 413, got.why.message());
        CHECK(got.body == "big");
    }
}

TEST_CASE("async: a client that has adopted a connection makes blocking calls alone") {
    scripted up;
    fixture f(up.path);
    int ends[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    const unique_fd other(ends[1]);
    REQUIRE_FALSE(f.api->adopt(unique_fd(ends[0])));
    f.call();
    CHECK(f.ended.count() == 0); // never inside
    f.start();
    const error why = f.ended.take().why;
    CHECK(why == std::errc::operation_not_supported);
    CHECK(why.message().find(up.path + ": adopted") == 0);
    CHECK_FALSE(up.waits(0));
}

TEST_CASE("async: a head that no loop has room for is too large, whatever the options say") {
    scripted up;
    for (std::size_t limit : {std::size_t{1} << 20, SIZE_MAX}) {
        client_options options = quick(20'000ms);
        options.max_head_bytes = limit;
        fixture f(up.path, options);
        f.start();
        f.call();
        wire_client peer = up.accept();
        head_of(peer);
        std::thread sends(
            [&] { peer.send("HTTP/1.1 200 OK\r\nX: " + std::string(600'000, 'x') + "\r\n\r\n"); });
        CHECK(f.ended.take().why == errc::too_large);
        sends.join();
    }
}

TEST_CASE("async: a 101 to what was not offered is refused") {
    scripted up;
    fixture f(up.path);
    f.start();
    handed<error> refused;
    auto taken = [&](result<upgraded> got) { refused.put(got ? error() : got.error()); };
    for (const char* protocol : {"Upgrade: y\r\n", "Upgrade: x, y\r\n", ""}) {
        f.api->async_upgrade(request("GET", "/").header("Upgrade", "x"), taken);
        wire_client peer = up.accept();
        head_of(peer);
        peer.send(std::string("HTTP/1.1 101 X\r\nConnection: Upgrade\r\n") + protocol + "\r\n");
        CHECK(refused.take() == errc::bad_message);
        CHECK(peer.at_end());
    }
}

TEST_CASE("async: a client on a loop passes no descriptors, and says so before it connects") {
    scripted up;
    fixture f(up.path);
    f.start();
    f.call(request("GET", "/").fd("a", unique_fd(::dup(0))));
    outcome got = f.ended.take();
    CHECK(got.why == errc::bad_descriptor);
    CHECK_FALSE(got.why.sent());
    CHECK_FALSE(up.waits(0));
}

TEST_CASE("async: bytes that follow a descriptor which nobody asked for are read too") {
    running s;
    s.start();
    folder at;
    auto up = detail::open_listener(at("up"), {});
    REQUIRE(up);
    client_options o;
    o.read_timeout = milliseconds(1'000);
    handed<int> ended;
    {
        client api(at("up"), o, s.app);
        api.async_get("/", [&](result<response> got) { ended.put(got ? got->status() : 0); });
        pollfd comes{up->fd.get(), POLLIN, 0};
        REQUIRE(::poll(&comes, 1, 10'000) == 1);
        wire_client peer(unique_fd(::accept4(up->fd.get(), nullptr, nullptr, SOCK_CLOEXEC)));
        CHECK(peer.until("\r\n\r\n"));
        iovec part{const_cast<char*>("HTTP/1.1 200 OK\r\nContent-Le"), 27};
        detail::row<int> passed;
        passed.push_back(0);
        CHECK(detail::transmit_fds(peer.fd.get(), &part, 1, passed) == 27);
        CHECK(peer.send("ngth: 2\r\n\r\nok"));
        CHECK(ended.take() == 200);
    }
}

TEST_CASE("async: a server of adopted connections ends with them and its calls, takes no places") {
    fd_watch watch;
    running up;
    handed<responder> last;
    up.app.get("/", [](const request&) { return text("up"); });
    up.app.get("/last", [&](request&, responder out) { last.put(std::move(out)); });
    up.start();
    int pair[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    wire_client c{unique_fd(pair[0])};
    server app;
    client api(up.path, {}, app);
    handed<int> ended;
    app.get("/{name}", [&](request& r, responder out) {
        auto kept = std::make_shared<responder>(std::move(out));
        if (r.param("name") == "last")
            api.async_get("/last",
                          [&](result<response> got) { ended.put(got ? got->status() : 0); });
        api.async_get("/", [kept](result<response> got) {
            kept->send(got ? std::move(*got) : response(502));
        });
    });
    REQUIRE_FALSE(app.adopt(unique_fd(pair[1])));
    std::thread runs([&] { CHECK_FALSE(app.run()); });
    CHECK(c.ask("/first").body == "up");
    CHECK(app.stats().connections == 1); // the client's own is none of the server's
    CHECK(c.ask("/last").body == "up");
    responder out = last.take();
    c.close();
    CHECK(comes_true([&] { return app.stats().connections == 0; }));
    CHECK(out.send(text("bye"))); // what is at work is waited for
    CHECK(ended.take() == 200);
    runs.join(); // though the client keeps a connection
}

TEST_CASE("async: a client's connections take no place of the server's") {
    running up;
    up.app.get("/", [](const request&) { return text("up"); });
    up.start();
    server_options o;
    o.max_connections_count = 2;
    running s(o);
    handed<int> ended;
    s.start();
    client api(up.path, {}, s.app);
    api.async_get("/", [&](result<response> got) { ended.put(got ? got->status() : 0); });
    CHECK(ended.take() == 200);
    wire_client one = s.connect(), two = s.connect();
    CHECK(one.ask("/").status == 404);
    CHECK(two.ask("/").status == 404);
}

TEST_CASE("async: a connection is kept and used again, and closed with its client") {
    scripted up;
    fixture f(up.path);
    f.start();
    f.call();
    wire_client peer = up.accept();
    for (int i = 0; i < 3; ++i) {
        CHECK_FALSE(head_of(peer).empty());
        peer.send(ok_reply);
        CHECK(f.ended.take().body == "ok");
        if (i < 2) f.call();
    }
    CHECK_FALSE(up.waits(0));
    f.api.reset();
    CHECK(peer.at_end());
}

TEST_CASE("async: half a request to its server doesn't cost a client its connection") {
    scripted up;
    fixture f(up.path);
    body_reader body;
    f.start();
    f.api->async_stream(request("GET", "/x"), [&](result<reply> got) {
        body = std::move(got->body);
        body.on_data([&](string_view) { body.pause(); },
                     [&](const error& why) {
                         f.ended.put({why, 0, ""});
                     });
    });
    wire_client peer = up.accept();
    CHECK_FALSE(head_of(peer).empty());
    peer.send(ok_reply);
    wire_client other(f.at("s"));
    CHECK(comes_true([&] { return f.app.stats().bytes_in == ok_reply.size(); }));
    CHECK(other.send("GET /"));
    CHECK(comes_true([&] { return f.app.stats().bytes_in == ok_reply.size() + 5; }));
    f.on_loop([&] { body.resume(); }); // the end is told only now
    CHECK_FALSE(f.ended.take().why);
    f.call();
    CHECK_FALSE(head_of(peer).empty());
    peer.send(ok_reply);
    CHECK(f.ended.take().body == "ok");
    CHECK_FALSE(up.waits(0));
}

TEST_CASE("async: a call outlives its client, and its connection goes with it") {
    scripted up;
    fixture f(up.path);
    f.start();
    f.call();
    wire_client peer = up.accept();
    CHECK_FALSE(head_of(peer).empty());
    f.api.reset();
    peer.send(ok_reply);
    CHECK(f.ended.take().body == "ok");
    CHECK(peer.at_end());
}

TEST_CASE("async: a kept connection that was closed meanwhile is replaced") {
    struct kind {
        const char* method;
        bool reads_second;
        bool comes_through;
    };
    for (const kind& k :
         {kind{"GET", false, true}, kind{"POST", false, true}, kind{"GET", true, true},
          kind{"PUT", true, true}, kind{"POST", true, false}}) {
        CAPTURE(k.method);
        CAPTURE(k.reads_second);
        scripted up;
        fixture f(up.path);
        f.start();
        f.call();
        {
            wire_client peer = up.accept();
            head_of(peer);
            peer.send(ok_reply);
            CHECK(f.ended.take().status == 200);
            if (k.reads_second) {
                f.call(request(k.method, "/2").body("abc", ""));
                CHECK_FALSE(head_of(peer).empty());
            }
        }
        if (!k.reads_second) f.call(request(k.method, "/2").body("abc", ""));
        if (k.comes_through) {
            wire_client peer = up.accept();
            CHECK(head_of(peer).find("Content-Length: 3\r\n") != std::string::npos);
            CHECK(peer.until("abc"));
            peer.send(ok_reply);
            CHECK(f.ended.take().body == "ok");
        } else {
            CHECK(f.ended.take().why == errc::cut_off);
        }
    }
}

TEST_CASE("async: a large body is sent again whole, or never") {
    std::string large(4 << 20, 'x');
    large.back() = 'z';
    unique_fd file(::memfd_create("large", MFD_CLOEXEC));
    REQUIRE(::write(file.get(), large.data(), large.size()) == 4 << 20);
    const auto pulled = [](char* to, std::size_t room) -> result<std::size_t> {
        return std::memset(to, 'x', room), room;
    };
    for (int kind = 0; kind < 3; ++kind) {
        CAPTURE(kind);
        scripted up;
        fixture f(up.path);
        f.start();
        f.call();
        {
            wire_client peer = up.accept();
            head_of(peer);
            peer.send(ok_reply);
            f.ended.take();
            content body(large);
            if (kind == 1) body = content::file(unique_fd(::dup(file.get())), 0, large.size());
            if (kind == 2) body = content::pulled(pulled, large.size());
            f.call(request("PUT", "/").body(std::move(body), ""));
            head_of(peer);
        }
        if (kind == 2) {
            CHECK(f.ended.take().why == errc::cut_off);
            CHECK_FALSE(up.waits(0));
            continue;
        }
        wire_client peer = up.accept();
        CHECK(head_of(peer).find("Content-Length: 4194304\r\n") != std::string::npos);
        CHECK(peer.until("z"));
        CHECK((peer.got == large));
        peer.send(ok_reply);
        CHECK(f.ended.take().body == "ok");
    }
}

TEST_CASE("async: a body goes on after the head of its answer") {
    std::string large(8 << 20, 'x');
    large.back() = 'z';
    scripted up;
    fixture f(up.path);
    f.start();
    handed<reply> heads;
    f.api->async_stream(request("PUT", "/").body(large, ""),
                        [&](result<reply> got) { heads.put(std::move(*got)); });
    wire_client peer = up.accept();
    head_of(peer);
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n");
    reply got = heads.take();
    CHECK(peer.until("z"));
    CHECK((peer.got == large));
    peer.send("ok");
    char ok[9];
    const result<std::size_t> size = got.body.read(ok, sizeof ok);
    CHECK((size && string_view(ok, *size) == "ok"));
}

TEST_CASE("async: a body that read() has begun goes on in on_data(), also when the call is over") {
    for (bool is_paused : {false, true}) { // there is no sender to stop
        CAPTURE(is_paused);
        client_options one;
        one.max_connections_count = 1;
        scripted up;
        fixture f(up.path, one);
        f.start();
        handed<reply> heads;
        f.api->async_stream(request("GET", "/"),
                            [&](result<reply> got) { heads.put(std::move(*got)); });
        wire_client peer = up.accept();
        head_of(peer);
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc");
        reply got = heads.take();
        char first;
        CHECK_FALSE(got.body.read(&first, 1).error());
        f.call(); // on the same connection, once the other call is over
        head_of(peer);
        peer.send(ok_reply);
        CHECK(f.ended.take().body == "ok");
        std::string rest;
        handed<error> ends;
        if (is_paused) got.body.pause();
        got.body.on_data([&](string_view piece) { rest += piece; },
                         [&](const error& why) { ends.put(why); });
        CHECK_FALSE(ends.take());
        CHECK(rest == "bc");
    }
}

TEST_CASE("async: a paused body that is here and is dropped gives its place back") {
    client_options one;
    one.max_connections_count = 1;
    scripted up;
    fixture f(up.path, one);
    f.start();
    handed<bool> drops;
    f.api->async_stream(request("GET", "/"), [&](result<reply> got) {
        auto held = std::make_shared<reply>(std::move(*got));
        held->body.on_data(
            [&, held](string_view) {
                held->body.pause();
                f.app.post([held, &drops] { held->body = body_reader(), drops.put(true); });
            },
            [](const error&) {});
    });
    wire_client peer = up.accept();
    head_of(peer);
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc");
    CHECK(drops.take());
    f.call();
    head_of(peer);
    peer.send(ok_reply);
    CHECK(f.ended.take().body == "ok");
}

TEST_CASE("async: a body that read() has begun goes on in on_data(), just when the call ends") {
    for (int i = 0; i < 400; ++i) {
        CAPTURE(i);
        scripted up;
        fixture f(up.path);
        f.start();
        handed<reply> heads;
        f.api->async_stream(request("GET", "/"),
                            [&](result<reply> got) { heads.put(std::move(*got)); });
        wire_client peer = up.accept();
        head_of(peer);
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\na");
        reply got = heads.take();
        char first;
        CHECK_FALSE(got.body.read(&first, 1).error());
        std::string rest;
        handed<error> ends;
        peer.send("bc");
        const auto until = detail::now_ns() + i * 500; // while the loop reads that
        while (detail::now_ns() < until) {
        }
        got.body.on_data([&](string_view piece) { rest += piece; },
                         [&](const error& why) { ends.put(why); });
        CHECK_FALSE(ends.take());
        CHECK(rest == "bc");
    }
}

TEST_CASE("async: an upload goes on behind a whole answer, unless that refuses it") {
    std::string large(8 << 20, 'x');
    large.back() = 'z';
    unique_fd file(::memfd_create("large", MFD_CLOEXEC));
    REQUIRE(::write(file.get(), large.data(), large.size()) == 8 << 20);
    server_options how;
    for (int i = 0; i < 15; ++i) {
        const int kind = i % 3;
        const bool refuses = i / 3 == 1, closes = i / 3 == 2, is_stream = i / 3 == 3;
        const bool is_deaf = i / 3 == 4;
        if (is_deaf) how.write_timeout = 50ms;
        CAPTURE(i);
        scripted up;
        fixture f(up.path, {}, how);
        f.start();
        std::atomic<int> released{0};
        content body(large);
        if (kind == 1) body = content::file(unique_fd(::dup(file.get())), 0, large.size());
        if (kind == 2) body = content::borrowed(large, [&] { ++released; });
        handed<reply> heads;
        request req = request("PUT", "/").body(std::move(body), "");
        if (is_stream)
            f.api->async_stream(std::move(req),
                                [&](result<reply> got) { heads.put(std::move(*got)); });
        else f.call(std::move(req));
        wire_client peer = up.accept();
        head_of(peer);
        peer.send(refuses ? "HTTP/1.1 413 X\r\nContent-Length: 2\r\n\r\nok" : ok_reply);
        if (is_stream) {
            reply got = heads.take();
            char ok[9];
            CHECK_FALSE(got.body.read(ok, sizeof ok).error());
        } else CHECK(f.ended.take().body == "ok"); // long before all of it has left
        if (is_deaf) {
            pollfd ended{peer.fd.get(), POLLRDHUP, 0};
            CHECK(::poll(&ended, 1, 10'000) == 1);
            continue;
        }
        if (closes) {
            peer.close();
            f.call(); // its connection is gone, and holds no place
            peer = up.accept();
        } else if (refuses) {
            CHECK(peer.rest().size() < large.size());
            continue;
        } else {
            CHECK(peer.until("z"));
            CHECK((peer.got == large));
            peer.got.clear();
            if (kind == 2) CHECK(comes_true([&] { return released == 1; }));
            if (is_stream) continue;
            f.on_loop([&] { f.call(); }); // behind the end of the other
        }
        if (closes || peer.until("\r\n\r\n")) peer.send(ok_reply);
        CHECK(f.ended.take().body == "ok");
    }
}

TEST_CASE("async: a body's end that another loop brings as its answer is told is sent") {
    scripted up;
    fixture f(up.path);
    f.start();
    fixture near(up.path);
    handed<reply> heads;
    handed<error> ends;
    responder last;
    near.app.get("/", [](const request&) { return text("behind"); });
    near.app.post("/", [&](request&, body_reader in, responder out) {
        auto passed = std::make_shared<request>("POST", "/");
        passed->body(content(std::move(in)), "");
        last = std::move(out); // an answer would end the body
        f.on_loop([&, passed] {
            f.api->async_stream(std::move(*passed), [&](result<reply> got) {
                if (got) heads.put(std::move(*got));
            });
        });
    });
    near.start();
    wire_client sender(near.at("s")), other(near.at("s"));
    sender.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc");
    wire_client peer = up.accept();
    head_of(peer);
    CHECK(peer.until("abc\r\n"));
    peer.got.clear();
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n");
    reply got = heads.take();
    handed<bool> pauses;
    f.on_loop([&] {
        got.body.on_data([&](string_view) { got.body.pause(), pauses.put(true); },
                         [&](const error& why) {
                             sender.send("def");
                             other.ask("/"); // its loop has read the end, and has passed it on
                             ends.put(why);
                         });
    });
    peer.send("ok");
    CHECK(pauses.take());
    got.body.resume(); // its end is told by the loop after a look at what there is to send
    CHECK_FALSE(ends.take());
    f.call(); // never between the two parts
    CHECK(peer.until("GET /x"));
    CHECK(peer.got.substr(0, 19) == "3\r\ndef\r\n0\r\n\r\nGET /x");
    peer.send(ok_reply);
    CHECK(f.ended.take().body == "ok");
}

TEST_CASE("async: a fresh connection is not tried twice") {
    scripted up;
    fixture f(up.path);
    f.start();
    f.call();
    {
        wire_client peer = up.accept();
        head_of(peer);
    }
    CHECK(f.ended.take().why == errc::cut_off);
    CHECK_FALSE(up.waits(20));
}

TEST_CASE("async: a fresh connection is not tried twice behind a stale one either") {
    scripted up;
    fixture f(up.path);
    f.start();
    wire_client stale = kept_of(up, f);
    // The connection ends between what epoll tells and the call, in one turn of the loop.
    std::atomic<int> at{0};
    auto wait = [&at](int said, int heard) {
        at = said;
        comes_true([&] { return at == heard; });
    };
    f.on_loop([&] { wait(1, 2); });
    REQUIRE(comes_true([&] { return at == 1; }));
    f.on_loop([&] { wait(3, 4); });
    f.call();
    at = 2;
    REQUIRE(comes_true([&] { return at == 3; }));
    stale.close();
    at = 4;
    {
        wire_client fresh = up.accept();
        head_of(fresh);
    }
    CHECK(f.ended.take().why == errc::cut_off);
    CHECK_FALSE(up.waits(20));
}

TEST_CASE("async: a 101 that comes as soon as the request's body has is not too early") {
    scripted up;
    fixture f(up.path);
    std::atomic<bool> arrived{false}, answered{false};
    handed<std::string> came;
    auto join = [&](result<upgraded> got) { came.put(got ? "101" : got.error().message()); };
    // In each of the next turns: once the body has left, nothing more is done before the answer.
    struct turns {
        server& app;
        std::atomic<bool>&arrived, &answered;
        int left;
        void operator()() {
            comes_true([this] { return arrived.load(); }, milliseconds(50));
            if (arrived) comes_true([this] { return answered.load(); });
            else if (left > 0) app.post(turns{app, arrived, answered, left - 1});
        }
    };
    handed<responder> kept;
    f.app.post("/", [&](request& req, body_reader in, responder out) {
        request to("POST", "/exec");
        to.header("Upgrade", "tcp").header("Content-Length", req.header("Content-Length"));
        f.api->async_upgrade(std::move(to.body(std::move(in), "")), join);
        kept.put(std::move(out));
        f.app.post(turns{f.app, arrived, answered, 20});
    });
    f.start();
    wire_client c(f.at("s"));
    CHECK(c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}"));
    wire_client peer = up.accept();
    CHECK(peer.until("{}"));
    arrived = true;
    peer.send("HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n");
    answered = true;
    CHECK(came.take() == "101");
}

TEST_CASE("async: content that fails or is too short has the error of the blocking client") {
    running up;
    up.app.post("/", [](const request&) { return text("whole"); });
    up.start();
    fixture f(up.path);
    f.start();
    client blocking(up.path);
    struct content_row {
        const char* name;
        content (*make)();
    };
    const content_row content_rows[] = {
        {"throws",
         [] {
             return content::pulled([](char*, std::size_t) -> result<std::size_t> { throw 1; });
         }},
        {"fails at once",
         [] {
             return content::pulled([](char*, std::size_t) -> result<std::size_t> {
                 return error(std::make_error_code(std::errc::io_error), "src");
             });
         }},
        {"fails later, as a socket would",
         [] {
             return content::pulled(
                 [n = 0](char* into, std::size_t) mutable -> result<std::size_t> {
                     if (n++) return error(std::make_error_code(std::errc::broken_pipe), "src");
                     return *into = 'x', std::size_t{1};
                 });
         }},
        {"shorter than stated",
         [] {
             return content::pulled(
                 [](char*, std::size_t) -> result<std::size_t> { return std::size_t{0}; }, 2);
         }},
        {"more than there was room for",
         [] {
             return content::pulled(
                 [](char*, std::size_t room) -> result<std::size_t> { return room + 1; });
         }},
        {"a file that is shorter than stated",
         [] { return content::file(unique_fd(::memfd_create("short", MFD_CLOEXEC)), 0, 9); }},
        {"a file that can't be read",
         [] { return content::file(unique_fd(::open("/dev/null", O_WRONLY | O_CLOEXEC)), 0, 9); }},
    };
    for (const content_row& r : content_rows) {
        CAPTURE(r.name);
        const result<response> got = blocking.send(request("POST", "/").body(r.make(), ""));
        f.call(request("POST", "/").body(r.make(), ""));
        const error why = f.ended.take().why;
        CHECK((why.code() == got.error().code()));
        CHECK(why.message() == got.error().message());
    }
}

TEST_CASE("async: relay() into a writer that nobody listens to gives its source up") {
    running up;
    std::vector<event_writer> silent;
    up.app.get("/endless", [](const request&) {
        return response().body(content::pulled([](char* into, std::size_t room) {
                                   std::memset(into, 'x', room);
                                   return result<std::size_t>(room); // for ever
                               }),
                               "");
    });
    up.app.get("/silent", [&](request&, responder out) { silent.push_back(out.events(0ms)); });
    up.start();
    fixture f(up.path);
    f.start();
    for (const char* target : {"/endless", "/silent"}) {
        CAPTURE(target);
        handed<error> ended;
        std::atomic<bool> inside{false};
        f.api->async_stream(request("GET", target), [&](result<reply> got) {
            REQUIRE(got);
            inside = true;
            relay(std::move(got->body), body_writer(), [&](const error& why) {
                CHECK(!inside);
                ended.put(why);
            });
            inside = false;
        });
        CHECK(ended.take() == std::errc::broken_pipe);
        CHECK(comes_true([&] { return up.app.stats().connections == 0; }));
    }
}

TEST_CASE("async: interim responses are told and may be passed on, but for 100") {
    scripted up;
    fixture f(up.path);
    std::atomic<int> told{0};
    handed<bool> late;
    f.app.get("/", [&](request&, responder out) {
        auto shared = std::make_shared<responder>(std::move(out));
        request to("GET", "/");
        to.on_interim([&told, shared](response& head) {
            ++told;
            CHECK(shared->inform(std::move(head)));
        });
        f.api->async_send(std::move(to), [&late, shared](result<response> got) {
            shared->send(std::move(*got));
            late.put(shared->inform(response(103)));
        });
    });
    f.start();
    for (bool is_old : {false, true}) {
        CAPTURE(is_old);
        wire_client c(f.at("s"));
        c.send(is_old ? "GET / HTTP/1.0\r\n\r\n" : "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        wire_client peer = up.accept();
        head_of(peer);
        peer.send("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n"
                  "Content-Length: 7\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n");
        if (!is_old) { // each as it comes
            CHECK(c.until("HTTP/1.1 102 \r\n\r\n"));
            CHECK(c.got == "HTTP/1.1 103 \r\nLink: </x>\r\n\r\nHTTP/1.1 102 \r\n\r\n");
            c.got.clear();
        }
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
        CHECK(c.read().body == "ok");
        CHECK_FALSE(late.take());
        CHECK(told == (is_old ? 4 : 2));
    }
}

TEST_CASE("async: who throws at an interim response costs that call only") {
    scripted up;
    fixture f(up.path);
    f.start();
    f.call(request("GET", "/").on_interim([](response&) { throw 1; }));
    wire_client peer = up.accept();
    head_of(peer);
    peer.send("HTTP/1.1 103 Early Hints\r\n\r\n");
    CHECK(f.ended.take().why == errc::cut_off);
    wire_client again = kept_of(up, f);
}

TEST_CASE("async: bytes behind an answer, or a close, end the connection") {
    for (string_view bytes :
         {string_view("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 X\r\n"),
          string_view("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"),
          string_view("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n")}) {
        CAPTURE(bytes);
        scripted up;
        fixture f(up.path);
        f.start();
        f.call();
        wire_client peer = up.accept();
        head_of(peer);
        peer.send(bytes);
        CHECK(f.ended.take().status == 200);
        CHECK(peer.at_end());
    }
}

TEST_CASE("async: what stands behind an answer answers no other call") {
    scripted up;
    client_options one;
    one.max_connections_count = 1;
    fixture f(up.path, one);
    f.start();
    f.on_loop([&] { f.call(), f.call(); });
    wire_client peer = up.accept();
    head_of(peer);
    peer.send(std::string(ok_reply) + "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
    CHECK(f.ended.take().body == "ok");
    peer = up.accept(); // the one that waited has a new connection
    head_of(peer);
    peer.send(ok_reply);
    CHECK(f.ended.take().body == "ok");
}

TEST_CASE("async: an answer that is whole before its upload is the last of its connection") {
    scripted up;
    fixture f(up.path);
    f.app.post("/", [&](request&, body_reader in, responder out) {
        auto later = std::make_shared<responder>(std::move(out));
        f.api->async_send(request("POST", "/").body(std::move(in), ""),
                          [later](result<response> got) {
                              later->send(text(got ? "whole" : got.error().message()));
                          });
    });
    f.start();
    wire_client c(f.at("s"));
    CHECK(c.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"));
    wire_client peer = up.accept();
    CHECK(peer.until("3\r\nabc\r\n"));
    peer.send(ok_reply);
    CHECK(c.read().body == "whole");
    peer.got.clear();
    CHECK(peer.at_end()); // another request would be a piece of that body
}

TEST_CASE("async: a body that a stream brings is never longer than was stated") {
    scripted up;
    fixture f(up.path);
    f.app.post("/", [&](request&, body_reader in, responder out) {
        auto later = std::make_shared<responder>(std::move(out));
        f.api->async_send(
            request("POST", "/").header("Content-Length", "3").body(std::move(in), ""),
            [later](result<response> got) { later->send(text(got ? "sent" : "failed")); });
    });
    f.start();
    wire_client c(f.at("s"));
    CHECK(c.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"));
    wire_client peer = up.accept();
    CHECK(head_of(peer).find("Content-Length: 3\r\n") != std::string::npos);
    CHECK(peer.until("abc"));
    CHECK(c.send("3\r\ndef\r\n0\r\n\r\n"));
    CHECK(peer.rest() == "abc");
    CHECK(c.read().body == "failed");
}

TEST_CASE("async: a body is sent once, whatever interim responses come") {
    for (const bool expects : {false, true}) {
        CAPTURE(expects);
        scripted up;
        fixture f(up.path);
        f.start();
        request req = request("PUT", "/").body(content(std::string("body!")), "");
        if (expects) req.header("Expect", "100-continue");
        f.call(std::move(req));
        wire_client peer = up.accept();
        CHECK_FALSE(head_of(peer).empty());
        if (!expects) CHECK(peer.until("body!"));
        const std::string word =
            expects ? "HTTP/1.1 103 X\r\n\r\n" : "HTTP/1.1 100 Continue\r\n\r\n";
        peer.send(word + word +
                  "HTTP/1.1 417 X\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno");
        CHECK(f.ended.take().status == 417);
        CHECK(peer.rest() == (expects ? "" : "body!"));
    }
}

TEST_CASE("async: a bad answer is an error, and no word to its server") {
    scripted up;
    fixture f(up.path);
    f.start();
    f.call();
    wire_client peer = up.accept();
    head_of(peer);
    peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nno size\r\n");
    CHECK(f.ended.take().why == errc::bad_message);
    CHECK(peer.rest() == "");
}

TEST_CASE("async: an answer without a body gives its place back, read or not") {
    scripted up;
    client_options one;
    one.max_connections_count = 1;
    fixture f(up.path, one);
    f.start();
    handed<reply> kept;
    f.api->async_stream(request("GET", "/x"), [&](result<reply> got) {
        REQUIRE(got);
        kept.put(std::move(*got));
    });
    wire_client peer = up.accept();
    head_of(peer);
    peer.send("HTTP/1.1 204 No Content\r\n\r\n");
    const reply unread = kept.take();
    f.call();
    CHECK_FALSE(head_of(peer).empty());
    peer.send(ok_reply);
    CHECK(f.ended.take().body == "ok");
}

TEST_CASE("async: who drops the reader of an upgraded connection may write on") {
    scripted up;
    fixture f(up.path);
    f.start();
    handed<body_writer> opened;
    f.api->async_upgrade(request("GET", "/").header("Upgrade", "x"), [&](result<upgraded> got) {
        REQUIRE(got);
        opened.put(std::move(got->out)); // and no reader is left
    });
    wire_client peer = up.accept();
    head_of(peer);
    peer.send("HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n");
    body_writer out = opened.take();
    CHECK(out.write("one") == written::ok);
    CHECK(peer.until("one"));
    CHECK(out.write("two") == written::ok);
    CHECK(peer.until("onetwo"));
}

TEST_CASE("async: a request that says close is the last of its connection (RFC 9112 9.6)") {
    scripted up;
    fixture f(up.path);
    f.start();
    request req("GET", "/x");
    for (const char* option : {"x", "y, Close"})
        REQUIRE_FALSE(req.headers().add("Connection", option));
    f.call(std::move(req));
    wire_client peer = up.accept();
    head_of(peer);
    peer.send(ok_reply);
    CHECK(f.ended.take().status == 200);
    CHECK(peer.at_end());
}

TEST_CASE("async: an answer may have 256 fields, whatever the server of its loop takes") {
    for (int count : {256, 257}) {
        scripted up;
        fixture f(up.path);
        f.start();
        f.call();
        wire_client peer = up.accept();
        head_of(peer);
        std::string head = "HTTP/1.1 204 No Content\r\n";
        for (int i = 0; i < count; ++i) head += "X: y\r\n";
        peer.send(head + "\r\n");
        const outcome got = f.ended.take();
        CHECK(got.status == (count == 256 ? 204 : 0));
        CHECK((count == 256 || got.why == errc::too_large));
    }
}

TEST_CASE("async: bytes that nobody asked for end a kept connection") {
    scripted up;
    fixture f(up.path);
    f.start();
    wire_client first = kept_of(up, f);
    first.send("HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n");
    CHECK(first.at_end()); // not taken for the next call's answer
    wire_client second = kept_of(up, f);
}

TEST_CASE("async: the pool has a limit, and calls wait for it in order") {
    scripted up;
    client_options o;
    o.max_connections_count = 2;
    fixture f(up.path, o);
    f.start();
    for (int i = 0; i < 6; ++i) f.call(request("GET", "/" + std::to_string(i)));
    wire_client a = up.accept(), b = up.accept();
    CHECK_FALSE(up.waits(20));
    for (int i = 0; i < 3; ++i)
        for (wire_client* peer : {&a, &b}) {
            head_of(*peer);
            peer->send(ok_reply);
            CHECK(f.ended.take().body == "ok");
        }
    CHECK_FALSE(up.waits(0));
}

TEST_CASE("async: no connection at all is one, as for the blocking client") {
    running up;
    up.app.get("/", [](const request&) { return text("ok"); });
    up.start();
    client_options o = quick(2s);
    o.max_connections_count = 0;
    fixture f(up.path, o);
    f.start();
    f.call(request("GET", "/"));
    CHECK(f.ended.take().body == "ok");
    CHECK(client(up.path, o).get("/"));
}

TEST_CASE("async: a call that waits for the pool meets its deadline, once") {
    scripted up;
    client_options o;
    o.max_connections_count = 1;
    fixture f(up.path, o);
    f.start();
    f.call();
    wire_client peer = up.accept();
    f.call(request("GET", "/2").timeout(30ms));
    outcome got = f.ended.take();
    CHECK(got.why == std::errc::timed_out);
    CHECK_FALSE(got.why.sent());
    head_of(peer);
    peer.send(ok_reply);
    CHECK(f.ended.take().status == 200);
    f.call();
    CHECK(head_of(peer).find("GET /x ") == 0); // and not /2
    peer.send(ok_reply);
    CHECK(f.ended.take().status == 200);
    CHECK(f.ended.count() == 0);
}

TEST_CASE("async: silence meets read_timeout, dripping the total one") {
    scripted up;
    {
        fixture f(up.path, quick(50ms));
        f.start();
        f.call();
        wire_client silent = up.accept();
        outcome got = f.ended.take();
        CHECK(got.why == std::errc::timed_out);
        CHECK(contains(got.why, up.path + ": GET /x: waiting for the response (limit 50 ms): "));
        CHECK(got.why.sent());
        head_of(silent);
        CHECK(silent.at_end());
    }
    fixture f(up.path, quick(patience, 200ms));
    f.start();
    f.call();
    wire_client drips = up.accept();
    drips.send("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
    while (f.ended.count() == 0 && drips.send("x")) ::usleep(5000);
    const error late = f.ended.take().why;
    CHECK(late == std::errc::timed_out);
    CHECK(contains(late, "response body (limit 200 ms)"));
}

/// Of an answer whose pieces take more than twice the deadline in all. Its sender may be stopped
/// for longer than that where the machine is busy: then once more, with twice the time.
outcome of_dripping(std::initializer_list<const char*> pieces) {
    outcome got;
    for (milliseconds limit = 100ms; limit < 10s && got.status != 200; limit *= 2) {
        scripted up;
        fixture f(up.path, quick(limit));
        f.start();
        f.call();
        wire_client drips = up.accept();
        for (const char* piece : pieces) {
            ::usleep(static_cast<unsigned>(limit.count()) * 250);
            if (!drips.send(piece)) break;
        }
        got = f.ended.take();
    }
    return got;
}

TEST_CASE("async: an answer that drips is not silent, however long it takes") {
    const char* const head = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n";
    CHECK(of_dripping({head, "d", "r", "i", "p", "d", "r", "o", "p"}).body == "dripdrop");
}

TEST_CASE("async: a head that drips is not silent either, as for the blocking client") {
    CHECK(of_dripping(
              {"HTTP/1.1 ", "200 ", "OK\r\n", "Content", "-Length", ": 2", "\r\n", "\r", "\nok"})
              .body == "ok");
}

TEST_CASE("async: timeouts of any size, never included") {
    scripted up;
    client_options o = quick(milliseconds::max());
    o.connect_timeout = milliseconds::max();
    fixture f(up.path, o);
    f.start();
    f.call(request("GET", "/").timeout(milliseconds::max() - 1ms));
    wire_client peer = up.accept();
    head_of(peer);
    peer.send(ok_reply);
    CHECK(f.ended.take().status == 200);
}

TEST_CASE("async: a canceller ends a call, and every later one") {
    scripted up;
    fixture f(up.path);
    f.start();
    canceller stop;
    f.call(request("GET", "/").cancel_with(stop));
    wire_client peer = up.accept();
    head_of(peer);
    stop.cancel();
    CHECK(f.ended.take().why == std::errc::operation_canceled);
    CHECK(peer.at_end());
    f.call(request("GET", "/").cancel_with(stop));
    CHECK(f.ended.take().why == std::errc::operation_canceled);
}

TEST_CASE("async: a full backlog is tried again until connect_timeout") {
    for (bool drains : {false, true}) {
        CAPTURE(drains);
        scripted up(0);
        const std::vector<unique_fd> queue = up.filled();
        client_options o;
        o.connect_timeout = drains ? 10'000ms : 100ms;
        fixture f(up.path, o);
        f.start();
        f.call();
        if (!drains) {
            outcome got = f.ended.take();
            CHECK(got.why == std::errc::timed_out);
            CHECK(contains(got.why, up.path + ": connect"));
            CHECK_FALSE(got.why.sent());
            continue;
        }
        ::usleep(20'000);
        f.api.reset(); // what waits for a connection outlives the client, too
        for (std::size_t i = 0; i < queue.size(); ++i) up.accept();
        wire_client peer = up.accept();
        head_of(peer);
        peer.send(ok_reply);
        CHECK(f.ended.take().status == 200);
        CHECK(peer.at_end()); // nothing is kept behind it
    }
}

TEST_CASE("async: all who wait for a full backlog meet connect_timeout, not one after the other") {
    scripted up(0);
    const std::vector<unique_fd> queue = up.filled();
    client_options o;
    o.connect_timeout = 100ms;
    constexpr unsigned count = 100;
    unsigned late = 0;
    handed<unsigned> together;
    fixture f(up.path, o);
    f.start();
    f.on_loop([&] {
        for (unsigned i = 0; i < count; ++i)
            f.api->async_get("/", [&](result<response> res) {
                CHECK(res.error() == std::errc::timed_out);
                if (late++ == 0) f.app.post([&] { together.put(late); }, 30ms);
            });
    });
    CHECK(together.take() == count); // with a pause of 64 ms behind each, one
}

TEST_CASE("async: a backlog that is full once more has the whole connect_timeout again") {
    scripted up(0);
    std::vector<unique_fd> queue = up.filled();
    client_options o;
    o.connect_timeout = 500ms, o.max_connections_count = 1;
    fixture f(up.path, o);
    f.start();
    f.call(), f.call();
    handed<bool> turned;
    for (int turn = 0; turn < 2; ++turn) // at the end of the first both have met the full backlog
        f.on_loop([&] { turned.put(true); }), turned.take();
    for (std::size_t i = 0; i < queue.size(); ++i) up.accept();
    wire_client first = up.accept(); // the second call waits for its place
    head_of(first);
    f.app.post([&] { turned.put(true); }, o.connect_timeout + 1ms);
    turned.take(); // its time from then would be up
    queue = up.filled();
    first.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    CHECK(f.ended.take().status == 200);
    CHECK(first.at_end());
    for (std::size_t i = 0; i < queue.size(); ++i) up.accept();
    REQUIRE(up.waits(5'000));
    wire_client second = up.accept();
    head_of(second);
    second.send(ok_reply);
    CHECK(f.ended.take().status == 200);
}

TEST_CASE("async: read_timeout begins with the connection, not in a queue for one") {
    for (bool is_pool : {true, false}) {
        CAPTURE(is_pool);
        scripted up(is_pool ? 64 : 0), silent;
        std::vector<unique_fd> queue;
        if (!is_pool) queue = up.filled();
        client_options o = quick(200ms);
        o.max_connections_count = 1;
        fixture f(up.path, o);
        client other(silent.path, o, f.app);
        f.start();
        handed<result<reply>> first; // its body has no timeout: it holds the one connection
        std::optional<wire_client> peer;
        std::optional<result<reply>> holds;
        if (is_pool) {
            f.api->async_stream(request("GET", "/held"),
                                [&](result<reply> got) { first.put(std::move(got)); });
            peer = up.accept();
            head_of(*peer);
            peer->send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n");
            holds = first.take();
            REQUIRE(*holds);
        }
        f.call();
        for (int i = 0; i < 2; ++i) { // by then it would have ended
            handed<error> slow;
            other.async_get("/", [&](result<response> got) { slow.put(got.error()); });
            CHECK(slow.take() == std::errc::timed_out);
        }
        CHECK(f.ended.count() == 0);
        for (std::size_t i = 0; i < queue.size(); ++i) up.accept();
        if (!is_pool) peer = up.accept();
        else peer->send("ok"), (*holds)->body.on_data([](string_view) {}, [](const error&) {});
        CHECK(head_of(*peer).find("GET /x ") == 0);
        peer->send(ok_reply);
        const outcome got = f.ended.take();
        CHECK_MESSAGE(got.status == 200, got.why.message());
    }
}

TEST_CASE("async: a call that was given up while it waited to connect leaves nothing behind") {
    scripted up(0);
    const std::vector<unique_fd> queue = up.filled();
    fixture f(up.path);
    f.start();
    f.call(request("POST", "/late").timeout(30ms)); // waits for a place in the backlog
    outcome late = f.ended.take();
    CHECK(late.why == std::errc::timed_out);
    CHECK_FALSE(late.why.sent()); // and it never is
    for (std::size_t i = 0; i < queue.size(); ++i) up.accept();
    f.call();
    wire_client peer = up.accept();
    CHECK(head_of(peer).find("GET /x ") == 0); // nothing of the one that was given up
    peer.send(ok_reply);
    CHECK(f.ended.take().status == 200);
    CHECK_FALSE(up.waits(0));
}

TEST_CASE("async: errors of connecting, and what the program got wrong") {
    folder at;
    fixture f(at("nobody"));
    f.start();
    f.call();
    outcome got = f.ended.take();
    CHECK(got.why == std::errc::no_such_file_or_directory);
    CHECK(got.why.message().find(at("nobody") + ": connect") == 0); // named once, as by others
    CHECK_FALSE(got.why.sent());
    f.call(request("GE T", "/"));
    CHECK(f.ended.take().why == errc::bad_field);
    f.call(request("CONNECT", "/"));
    CHECK(f.ended.take().why == errc::bad_target);
    for (std::uint64_t length : {std::uint64_t(1) << 63, UINT64_MAX}) {
        f.call(request("PUT", "/").body(content::file(unique_fd(::dup(0)), 0, length), ""));
        CHECK(f.ended.take().why == errc::bad_field);
    }
    handed<outcome> refused;
    f.api->async_upgrade(request("GET", "/"), [&](result<upgraded> res) {
        refused.put({res.error(), 0, ""});
    });
    CHECK(refused.take().why == errc::bad_field);
}

TEST_CASE("async: many calls fail one after the other, not inside of each other") {
    folder at;
    client_options o;
    o.max_connections_count = 1;
    fixture f(at("nobody"), o);
    f.start();
    for (int i = 0; i < 2000; ++i) f.call();
    for (int i = 0; i < 2000; ++i)
        REQUIRE(f.ended.take().why == std::errc::no_such_file_or_directory);
}

TEST_CASE("async: expect_uid refuses another user's server before a byte is sent") {
    scripted up;
    client_options o;
    o.expect_uid = ::geteuid() + 1;
    fixture f(up.path, o);
    f.start();
    f.call();
    outcome got = f.ended.take();
    CHECK(got.why == errc::wrong_peer);
    CHECK_FALSE(got.why.sent());
    wire_client peer = up.accept();
    CHECK(peer.at_end());
}

TEST_CASE("async: blocking calls made on a loop fail at once") {
    scripted up;
    fixture f(up.path);
    f.start();
    handed<error> got;
    f.on_loop([&] {
        got.put(f.api->get("/").error());
        got.put(f.api->stream(request("GET", "/")).error());
    });
    CHECK(got.take() == errc::would_block_loop);
    CHECK(got.take() == errc::would_block_loop);
    CHECK_FALSE(up.waits(0));
}

TEST_CASE("async: a client without a loop says so") {
    client api("/nowhere");
    error why;
    api.async_get("/", [&](result<response> got) { why = got.error(); });
    CHECK(why == std::errc::invalid_argument);
}

TEST_CASE("async: a refusal that comes before the upload has ended is not lost") {
    for (int i = 0; i < 4; ++i) {
        const bool closes = i % 2 == 0, is_file = i / 2 == 0;
        CAPTURE(closes);
        CAPTURE(is_file);
        scripted up;
        std::atomic<bool> waits{false}, goes_on{false}; // the loop finds answer and end at once
        fixture f(up.path);
        f.start();
        unique_fd file(::memfd_create("large", MFD_CLOEXEC));
        REQUIRE(::ftruncate(file.get(), 8 << 20) == 0);
        content large(std::string(8 << 20, 'x'));
        if (is_file) large = content::file(std::move(file), 0, 8 << 20);
        f.call(request("POST", "/").body(std::move(large), ""));
        wire_client peer = up.accept();
        head_of(peer);
        f.on_loop([&] { waits = true, comes_true([&] { return goes_on.load(); }); });
        REQUIRE(comes_true([&] { return waits.load(); }));
        peer.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig");
        if (closes) peer.close();
        goes_on = true;
        outcome got = f.ended.take();
        CHECK_MESSAGE(got.status == 413, got.why.message());
        CHECK(got.body == "big");
        if (!closes) CHECK(comes_true([&] { return !peer.more(); })); // never used again
    }
}

TEST_CASE("async: Expect: 100-continue waits for the word, or a second, or a refusal") {
    struct row {
        const char* says;
        int status;
        bool sends;
    };
    const std::string large(1 << 20, 'x');
    unique_fd file(::memfd_create("large", MFD_CLOEXEC));
    REQUIRE(::write(file.get(), large.data(), large.size()) == 1 << 20);
    for (const row& r :
         {row{"HTTP/1.1 100 Continue\r\n\r\n", 200, true}, row{"", 200, true},
          row{"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n", 200, true},
          row{"HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n", 417, false},
          row{"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, false}})
        for (int kind = 0; kind < 4; ++kind) {
            CAPTURE(r.says);
            CAPTURE(kind);
            scripted up;
            fixture f(up.path);
            f.start();
            content body(large);
            if (kind == 0) body = content(std::string("xyz"));
            if (kind == 2) body = content::file(unique_fd(::dup(file.get())), 0, large.size());
            if (kind == 3)
                body = content::pulled([left = large.size()](char* to, std::size_t n) mutable {
                    n = std::min(n, left), left -= n;
                    std::memset(to, 'x', n);
                    return result<std::size_t>(n);
                });
            f.call(request("PUT", "/").body(std::move(body), "").header("Expect", "100-continue"));
            wire_client peer = up.accept();
            const std::string head = head_of(peer);
            if (*r.says) { // a second call shows that the loop has done what it had to
                f.call();
                wire_client other = up.accept();
                head_of(other);
                other.send("HTTP/1.1 204 X\r\n\r\n");
                CHECK(f.ended.take().status == 204);
                char byte;
                CHECK(::recv(peer.fd.get(), &byte, 1, MSG_DONTWAIT | MSG_PEEK) < 0);
            }
            CHECK(peer.got.empty());
            peer.send(r.says);
            if (!r.sends) CHECK(peer.at_end()); // not a byte of it, nor another request
            else if (kind == 0) CHECK(peer.until("xyz"));
            else if (kind == 3) CHECK(peer.until("\r\n0\r\n\r\n"));
            else {
                while (peer.got.size() < large.size() && peer.more()) {
                }
                CHECK((peer.got == large));
            }
            if (r.sends) peer.send(ok_reply);
            outcome got = f.ended.take();
            CHECK_MESSAGE(got.status == r.status, got.why.message());
            if (!r.sends) continue;
            peer.got.clear();
            f.call(); // the connection is as good as before
            head_of(peer);
            peer.send(ok_reply);
            CHECK(f.ended.take().body == "ok");
        }
    outcome got; // the second isn't the peer's silence; a busy machine may need another try
    for (int tries = 0; tries < 5 && got.status != 200; ++tries) {
        scripted up;
        fixture f(up.path, quick(800ms));
        f.start();
        f.call(request("PUT", "/").body("xyz", "").header("Expect", "100-continue"));
        wire_client peer = up.accept();
        if (peer.until("xyz")) peer.send(ok_reply);
        got = f.ended.take();
    }
    CHECK_MESSAGE(got.status == 200, got.why.message());
}

TEST_CASE("async: each body that is held back has a second of its own") {
    bool is_in_time = false; // a busy machine may be late now and then
    for (int tries = 0; tries < 5 && !is_in_time; ++tries) {
        scripted up;
        fixture f(up.path);
        f.start();
        const auto start = steady_clock::now();
        auto put = [] { return request("PUT", "/").body("xyz", ""); };
        f.call(put().header("Expect", "100-continue"));
        wire_client peer = up.accept();
        head_of(peer);
        ::usleep(700'000);
        peer.send("HTTP/1.1 100 Continue\r\n\r\n");
        CHECK(peer.until("xyz"));
        peer.got.clear();
        peer.send(ok_reply);
        CHECK(f.ended.take().status == 200);
        const auto again = steady_clock::now();
        f.call(put().header("Expect", "100-continue")); // on the same connection
        head_of(peer);
        std::this_thread::sleep_until(start + 1'200ms); // the first one's is over
        char byte;
        const bool has_come = ::recv(peer.fd.get(), &byte, 1, MSG_DONTWAIT | MSG_PEEK) > 0;
        is_in_time = steady_clock::now() < again + 900ms;
        if (is_in_time) CHECK_FALSE(has_come);
        CHECK(peer.until("xyz"));
        peer.send(ok_reply);
        CHECK(f.ended.take().status == 200);
    }
    CHECK(is_in_time);
}

TEST_CASE("async: nothing goes out behind a refusal whose own body is late") {
    scripted up;
    fixture f(up.path);
    f.start();
    f.call(request("PUT", "/").body("xyz", "").header("Expect", "100-continue"));
    wire_client peer = up.accept();
    head_of(peer);
    peer.send("HTTP/1.1 417 No\r\nContent-Length: 2\r\n\r\n");
    f.call(); // a second call shows that the loop has read that
    wire_client other = up.accept();
    head_of(other);
    other.send("HTTP/1.1 204 X\r\n\r\n");
    CHECK(f.ended.take().status == 204);
    char byte;
    CHECK(::recv(peer.fd.get(), &byte, 1, MSG_DONTWAIT | MSG_PEEK) < 0);
    peer.send("no");
    CHECK(f.ended.take().body == "no");
    CHECK(peer.at_end());
}

TEST_CASE("async: a 101 comes behind a body that was held back, or is none") {
    for (bool asks : {true, false}) {
        CAPTURE(asks);
        scripted up;
        fixture f(up.path);
        f.start();
        handed<error> ended;
        request req("POST", "/");
        req.body("xyz", "").header("Expect", "100-continue").header("Upgrade", "x");
        f.api->async_upgrade(std::move(req),
                             [&](result<upgraded> got) { ended.put(got ? error() : got.error()); });
        wire_client peer = up.accept();
        head_of(peer);
        if (asks) peer.send("HTTP/1.1 100 Continue\r\n\r\n");
        if (asks) CHECK(peer.until("xyz"));
        peer.send("HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n");
        const error why = ended.take();
        if (asks) CHECK_FALSE(why);
        else CHECK((why == errc::bad_message && contains(why, "101 inside of a request")));
    }
}

TEST_CASE("async: read_timeout goes on once a body that was held back goes, and not before") {
    auto put = [] { return request("PUT", "/").body("xyz", "").header("Expect", "100-continue"); };
    for (const char* says :
         {"HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 417 No\r\nContent-Length: 5\r\n\r\n",
          "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"}) {
        CAPTURE(says);
        bool is_in_time = false; // a busy machine may be late now and then
        for (int tries = 0; tries < 5 && !is_in_time; ++tries) {
            scripted up;
            fixture f(up.path, quick(50ms, 900ms)); // before the second is over
            f.start();
            f.call(put());
            wire_client peer = up.accept();
            head_of(peer);
            peer.send(says); // and then nothing
            is_in_time = contains(f.ended.take().why, "(limit 50 ms)");
        }
        CHECK(is_in_time);
    }
    scripted up;
    fixture f(up.path, quick(2s));
    f.start();
    f.call(put());
    wire_client peer = up.accept();
    head_of(peer);
    f.app.post([] { ::usleep(2'400'000); }, 800ms); // the loop is busy beyond the second
    CHECK(peer.until("xyz"));
    peer.send(ok_reply);
    CHECK(f.ended.take().body == "ok");
}

TEST_CASE("async: who had the loop for long takes no time from a call's peer") {
    for (int kind = 0; kind < 3; ++kind) { // the call begins behind that, or is at work already
        CAPTURE(kind);
        scripted up;
        fixture f(up.path, quick(2s));
        f.app.get("/busy", [&](const request&) {
            ::usleep(2'200'000);
            if (kind == 0) f.call();
            if (kind == 1)
                f.call(request("PUT", "/").body("xyz", "").header("Expect", "100-continue"));
            return text("");
        });
        f.start();
        wire_client near(f.at("s"));
        CHECK(near.ask("/").status == 404); // accepted
        if (kind > 0) f.call();
        wire_client early = kind > 0 ? up.accept() : wire_client(unique_fd());
        if (kind > 0) head_of(early);
        if (kind == 1) early.send(ok_reply);
        if (kind == 1) CHECK(f.ended.take().body == "ok"); // and the connection is kept
        handed<int> begun; // then both come to the loop at once, in this order
        f.on_loop([&] { begun.put(1), ::usleep(100'000); });
        begun.take();
        const auto body_at = steady_clock::now() + 3'100ms; // that of kind 1, or later
        near.send("GET /busy HTTP/1.1\r\nHost: a\r\n\r\n");
        if (kind == 2) early.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no");
        CHECK(near.read().status == 200);
        wire_client peer = kind > 0 ? std::move(early) : up.accept();
        if (kind != 2) head_of(peer);
        ::usleep(300'000); // a time to think, far from two seconds
        char byte;
        const bool has_come = !peer.got.empty() || // with the head
                              ::recv(peer.fd.get(), &byte, 1, MSG_DONTWAIT | MSG_PEEK) > 0;
        if (steady_clock::now() < body_at) CHECK_FALSE(has_come); // else this thread is late
        peer.send(kind == 2 ? string_view("k") : ok_reply);
        CHECK(f.ended.take().body == "ok");
    }
}

TEST_CASE("async: a call that was posted behind a slow task has its whole time") {
    outcome got;
    for (unsigned limit = 400; limit < 7'000 && got.status != 200; limit *= 2) { // a busy machine
        scripted up;
        fixture f(up.path);
        f.start();
        handed<int> begun; // then both are taken out of the mail at once
        f.on_loop([&] { begun.put(1), ::usleep(100'000); });
        begun.take();
        f.on_loop([=] { ::usleep(limit * 1'500); });
        f.call(request("GET", "/").timeout(milliseconds(limit)));
        wire_client peer = up.accept();
        if (head_of(peer).empty()) continue;
        ::usleep(limit * 250);
        peer.send(ok_reply);
        got = f.ended.take();
    }
    CHECK_MESSAGE(got.body == "ok", got.why.message());
}

TEST_CASE("async: a proxy asks for a body once its upstream has, and passes a refusal on") {
    for (bool refuses : {false, true}) {
        CAPTURE(refuses);
        scripted up;
        fixture f(up.path);
        f.app.any("/{path...}", [&](request& req, body_reader body, responder out) {
            forward(*f.api, std::move(req), std::move(body), std::move(out));
        });
        f.start();
        wire_client near(f.at("s"));
        near.send("PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n"
                  "Expect: 100-continue\r\n\r\n");
        wire_client peer = up.accept();
        CHECK(head_of(peer).find("Expect: 100-continue") != std::string::npos);
        wire_client other(f.at("s")); // the loop has done what it had to
        other.send("GET /y HTTP/1.1\r\nHost: a\r\n\r\n");
        wire_client second = up.accept();
        head_of(second);
        second.send(ok_reply);
        CHECK(other.read().status == 200);
        char byte;
        CHECK(::recv(near.fd.get(), &byte, 1, MSG_DONTWAIT | MSG_PEEK) < 0);
        peer.send(refuses ? "HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n"
                          : "HTTP/1.1 100 Continue\r\n\r\n");
        if (!refuses) {
            CHECK(near.until("HTTP/1.1 100 Continue\r\n\r\n"));
            near.got.clear();
            near.send("xyz");
            CHECK(peer.until("xyz"));
            peer.send(ok_reply);
        }
        CHECK(near.read().status == (refuses ? 413 : 200));
    }
}

TEST_CASE("async: an upload that takes longer than read_timeout is no silence") {
    // Of what the kernel holds three quarters have to leave before there is room again. First that
    // is a sleep or ten, far from a second, and all of it at least 128 sleeps; then it takes twice
    // the deadline, and what the peer has read meanwhile is all the progress there is.
    struct pace {
        std::size_t size, piece;
        unsigned pause; // us
    };
    for (const pace& p : {pace{64 << 20, 512 << 10, 10'000}, pace{2 << 20, 40 << 10, 100'000}}) {
        CAPTURE(p.size);
        scripted up;
        fixture f(up.path, quick(1s));
        f.start();
        f.call(request("POST", "/").body(std::string(p.size, 'x'), ""));
        wire_client peer = up.accept();
        head_of(peer);
        for (std::size_t got = peer.got.size(); got < p.size; got += peer.got.size()) {
            peer.got.clear();
            ::usleep(p.pause);
            REQUIRE(peer.more(p.piece));
        }
        peer.got.clear();
        peer.send(ok_reply);
        CHECK(f.ended.take().status == 200);
    }
}

TEST_CASE("async: silence begins once the request has been read, for the blocking client, too") {
    const std::string large(4 << 20, 'x');
    bool in_time = false; // a busy machine may need more: then once more, with twice the limit
    for (milliseconds limit = 1500ms; limit < patience && !in_time; limit *= 2) {
        scripted up;
        const client_options o = quick(limit);
        fixture f(up.path, o);
        f.start();
        const auto begin = steady_clock::now();
        const auto reads = [&] {
            wire_client peer = up.accept();
            ::usleep(50'000);
            while (peer.more()) peer.got.clear();
        };
        f.call(request("PUT", "/").body(large, ""));
        std::thread one(reads), other(reads);
        CHECK(client(up.path, o).put("/", large, "").error() == std::errc::timed_out);
        CHECK(f.ended.take().why == std::errc::timed_out);
        const auto took = steady_clock::now() - begin;
        CHECK(took >= limit);
        in_time = took < limit * 7 / 4; // twice, if what was read counted when it timed out
        one.join(), other.join();
    }
    CHECK(in_time);
}

TEST_CASE("async: an upload that nobody reads meets read_timeout, and is not sent again") {
    scripted up;
    server_options how;
    how.write_timeout = milliseconds(50); // of the server's own answers
    fixture f(up.path, quick(1s), how);
    f.start();
    f.call();
    wire_client peer = up.accept();
    head_of(peer);
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    CHECK(f.ended.take().status == 200);
    f.call(request("PUT", "/").body(std::string(4 << 20, 'x'), "")); // on the kept connection
    const error why = f.ended.take().why;
    CHECK_MESSAGE(why == std::errc::timed_out, why.message());
    CHECK_FALSE(up.waits(0));
}

TEST_CASE("async: an upload is no silence while it is read, whatever else asks how far that is") {
    bool whole = false;
    // This reader may be stopped for longer than the limit where the machine is busy: then once
    // more, with twice the time.
    for (milliseconds limit{400}; limit < patience && !whole; limit *= 2) {
        scripted up;
        server_options how;
        how.write_timeout = limit; // as long as read_timeout
        fixture f(up.path, quick(limit), how);
        f.start();
        f.call(request("PUT", "/").body(std::string(2 << 20, 'x'), ""));
        wire_client peer = up.accept();
        head_of(peer);
        const auto pace = static_cast<unsigned>(limit.count() * 600);
        std::size_t read = peer.got.size(); // slower than EPOLLOUT comes, faster than the limit
        while (read < 2 << 20 && (::usleep(pace / (read < 512 << 10 ? 1 : 16)), peer.got.clear(),
                                  peer.more(64 << 10)))
            read += peer.got.size();
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        whole = f.ended.take().status == 200;
    }
    CHECK(whole);
}

TEST_CASE("async: a stopped server ends every call exactly once") {
    scripted up;
    handed<outcome> late;
    {
        client_options o;
        o.max_connections_count = 1;
        fixture f(up.path, o);
        f.start();
        f.call(); // on a connection
        wire_client peer = up.accept();
        head_of(peer);
        f.call(); // waits for one
        f.call();
        CHECK(f.ended.count() == 0);
        f.stop();
        CHECK(f.ended.count() == 3);
        for (int i = 0; i < 3; ++i) {
            error why = f.ended.take().why;
            CHECK_MESSAGE(why == errc::stopped, why.message()); // not cut_off: no peer did it
        }
        f.call();
        CHECK(f.ended.take().why == errc::stopped);
        CHECK(f.ended.count() == 0);
    }
}

TEST_CASE("async: what a call would have sent is released when it ends") {
    scripted up;
    std::atomic<int> released{0}; // long before the deadlines, which know the call until then
    fixture f(up.path);
    client nobody(f.at("none"), {}, f.app);
    f.start();
    auto post = [&] {
        return request("POST", "/").body(content::borrowed("x", [&] { ++released; }), "a/b");
    };
    nobody.async_send(post(), f.tell());
    CHECK(f.ended.take().why == std::errc::no_such_file_or_directory);
    CHECK(comes_true([&] { return released == 1; }));
    canceller given_up;
    given_up.cancel();
    f.call(post().cancel_with(given_up));
    CHECK(f.ended.take().why == std::errc::operation_canceled);
    CHECK(comes_true([&] { return released == 2; }));
    f.call(post());
    wire_client peer = up.accept();
    head_of(peer);
    peer.send(ok_reply);
    CHECK(f.ended.take().status == 200);
    CHECK(comes_true([&] { return released == 3; }));
}

TEST_CASE("async: a server that never runs ends the calls that wait for it") {
    fd_watch watch;
    scripted up;
    handed<outcome> ended;
    {
        server app;
        client api(up.path, {}, app);
        for (int i = 0; i < 2; ++i)
            api.async_get("/", [&](result<response> got) { ended.put({got.error(), 0, ""}); });
        CHECK(ended.count() == 0);
    }
    {
        auto app = std::make_unique<server>();
        client api(up.path, {}, *app);
        api.async_get("/", [&](result<response> got) { ended.put({got.error(), 0, ""}); });
        app.reset();
        CHECK(ended.count() == 3);
    }
    for (int i = 0; i < 3; ++i) CHECK(ended.take().why == errc::stopped);
}

TEST_CASE("async: the server dies first, then the client") {
    fd_watch watch;
    scripted up;
    std::unique_ptr<client> api;
    handed<outcome> ended;
    {
        running s;
        api = std::make_unique<client>(up.path, client_options(), s.app);
        s.start();
        s.watch.ends_later = true;
    }
    api->async_get("/", [&](result<response> got) { ended.put({got.error(), 0, ""}); });
    CHECK(ended.take().why == errc::stopped);
}

TEST_CASE("async: calls from many threads, on several loops, each answered once") {
    running up;
    up.app.get("/{n}", [](const request& r) { return text(std::string(r.param("n"))); });
    up.start();
    server_options how;
    how.threads = 3;
    client_options o;
    o.max_connections_count = 4;
    fixture f(up.path, o, how);
    std::atomic<int> right{0}, all{0};
    auto ask = [&](int n, callback<void()> then) {
        std::string want = std::to_string(n);
        f.api->async_get("/" + want,
                         [&, want, then = std::move(then)](result<response> got) mutable {
                             right += got && got->body() == want;
                             ++all;
                             if (then) then();
                         });
    };
    f.app.get("/ask", [&](request&, responder out) {
        auto shared = std::make_shared<responder>(std::move(out));
        ask(7, [shared] { shared->send(text("asked")); });
    });
    f.start();
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t)
        threads.emplace_back([&, t] {
            client own(f.at("s"));
            for (int i = 0; i < 50; ++i) {
                ask(t * 100 + i, {});
                result<response> got = own.get("/ask");
                CHECK((got && got->body() == "asked"));
            }
        });
    for (std::thread& t : threads) t.join();
    CHECK(comes_true([&] { return all == 400; }));
    CHECK(right == 400);
    f.api.reset(); // its connections on all loops go
    CHECK(comes_true([&] { return up.app.stats().connections == 0; }));
}

TEST_CASE("async: a stream is read as it comes, with trailers, and may be silent") {
    scripted up;
    fixture f(up.path, quick(1s));
    f.start();
    handed<std::string> events;
    auto body = std::make_shared<body_reader>();
    f.api->async_stream(request("GET", "/"), [&, body](result<reply> got) {
        events.put(got ? "head" : got.error().message());
        if (!got) return;
        *body = std::move(got->body);
        body->on_data([&](string_view piece) { events.put(std::string(piece)); },
                      [&, body](const error& why) {
                          events.put(why ? why.message()
                                         : "T=" + std::string(body->trailers().get("T")) +
                                               std::string(body->trailers().get("Hop")));
                          *body = body_reader();
                      });
    });
    wire_client peer = up.accept();
    head_of(peer);
    peer.send("HTTP/1.1 200 OK\r\nConnection: hop\r\nTransfer-Encoding: chunked\r\n\r\n");
    CHECK(events.take() == "head");
    ::usleep(1'500'000);
    peer.send("3\r\nabc\r\n");
    CHECK(events.take() == "abc");
    peer.send("0\r\nT: 1\r\nHop: 2\r\n\r\n"); // RFC 9110 7.6.1: that one ends here
    CHECK(events.take() == "T=1");
    f.call(); // on the same connection
    CHECK_FALSE(head_of(peer).empty());
    peer.send(ok_reply);
    CHECK(f.ended.take().status == 200);
}

TEST_CASE("async: a stream's own timeout holds for its body, and a cut says so") {
    for (bool cut : {false, true}) {
        scripted up;
        fixture f(up.path, quick(30s, 1900ms)); // that holds until the head
        f.start();
        handed<error> ended;
        auto body = std::make_shared<body_reader>();
        auto head = [&, body](result<reply> got) {
            REQUIRE(got);
            *body = std::move(got->body);
            body->on_data([](string_view) {},
                          [&, body](const error& why) {
                              ended.put(why);
                              *body = body_reader();
                          });
        };
        f.api->async_stream(request("GET", "/").timeout(cut ? 10s : 2000ms), head);
        wire_client peer = up.accept();
        head_of(peer);
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc");
        if (cut) peer.close();
        error why = ended.take();
        if (cut) CHECK(why == errc::cut_off);
        else CHECK((why == std::errc::timed_out && contains(why, "(limit 2000 ms)")));
        CHECK(why.message().compare(0, up.path.size() + 7, up.path + ": GET /") == 0);
        CHECK(why.sent());
    }
}

TEST_CASE("async: a stream dropped early closes its connection") {
    scripted up;
    fixture f(up.path);
    f.start();
    handed<int> heads;
    f.api->async_stream(request("GET", "/"), [&](result<reply> got) { heads.put(got ? 1 : 0); });
    wire_client peer = up.accept();
    head_of(peer);
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc");
    CHECK(heads.take() == 1);
    CHECK(peer.at_end());
}

TEST_CASE("async: a slow reader stops the sender, with bounded memory") {
    running up;
    up.app.get("/big", [](const request&) {
        std::size_t left = 64 << 20;
        auto fill = [left](char* into, std::size_t room) mutable -> result<std::size_t> {
            std::size_t n = room < left ? room : left;
            std::memset(into, 'x', n);
            left -= n;
            return n;
        };
        return bytes(content::pulled(fill, left));
    });
    up.start();
    fixture f(up.path);
    f.app.any("/{path...}", [&](request& req, body_reader body, responder out) {
        forward(*f.api, std::move(req), std::move(body), std::move(out));
    });
    f.start();
    std::size_t before = resident_kib();
    wire_client slow(f.at("s"));
    slow.send("GET /big HTTP/1.1\r\nHost: a\r\n\r\n");
    ::usleep(300'000);
    CHECK(resident_kib() < before + (24 << 10));
    answer a = slow.read();
    CHECK(a.whole);
    CHECK(a.body.size() == 64 << 20);
}

TEST_CASE("async: a proxy streams uploads, echoes them, and passes cuts on") {
    running up;
    up.app.post("/echo", [](request&, body_reader body, responder out) {
        relay(std::move(body), out.stream(response(200)));
    });
    up.app.get("/cut", [](request&, responder out) {
        body_writer w = out.stream(response(200));
        w.write("abc"); // dropped before end()
    });
    up.start();
    fixture f(up.path);
    f.app.any("/{path...}", [&](request& req, body_reader body, responder out) {
        forward(*f.api, std::move(req), std::move(body), std::move(out));
    });
    f.start();
    std::string large(8 << 20, 'a');
    for (std::size_t i = 0; i < large.size(); i += 4096)
        large[i] = static_cast<char>('b' + i / 4096 % 20);
    wire_client one(f.at("s"));
    std::thread reads;
    answer a;
    {
        std::string head =
            "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: " + std::to_string(large.size()) +
            "\r\n\r\n";
        reads = std::thread([&] { a = one.read(); });
        wire_client writes{unique_fd(::dup(one.fd.get()))};
        CHECK(writes.send(head + large));
        reads.join();
    }
    CHECK(a.whole);
    CHECK((a.body == large));
    wire_client two(f.at("s"));
    a = two.ask("/cut");
    CHECK(a.status == 200);
    CHECK_FALSE(a.whole);
    // An upload that is cut reaches nobody as a whole one.
    wire_client three(f.at("s"));
    three.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc");
    three.shut();
    a = three.read(); // a 502, or an echo that is cut
    CHECK_FALSE((a.status == 200 && a.whole));
}

TEST_CASE("async: an upload whose peer reads no more is read to its end all the same") {
    for (bool answers : {true, false}) { // else read_timeout is met
        CAPTURE(answers);
        scripted up;
        fixture f(up.path, quick(answers ? patience : 1s));
        f.app.post("/", [&](request&, body_reader in, responder out) {
            auto later = std::make_shared<responder>(std::move(out));
            f.api->async_send(request("POST", "/").body(std::move(in), ""),
                              [&f, later](result<response> got) {
                                  f.ended.put({got.error(), got ? got->status() : 0, ""});
                                  later->send(got ? std::move(*got) : response(504));
                              });
        });
        f.start();
        wire_client c(f.at("s"));
        const std::string large(8 << 20, 'x'); // more than all on its way hold
        c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8388608\r\n\r\n");
        wire_client peer = up.accept();
        head_of(peer);
        const std::size_t sent = c.flood(large, large.size(), 100);
        CHECK(sent < large.size());
        ::shutdown(peer.fd.get(), SHUT_RD);
        peer.rest();
        CHECK(c.send(string_view(large).substr(sent)));
        if (answers) peer.send(ok_reply);
        const outcome got = f.ended.take();
        CHECK(got.status == (answers ? 200 : 0));
        if (!answers) CHECK(got.why == std::errc::timed_out);
        CHECK(c.read().status == (answers ? 200 : 504));
    }
}

TEST_CASE("async: a call whose body is cut on its way to it names that, not its own connection") {
    scripted up;
    fixture f(up.path);
    handed<error> ended;
    f.app.post("/", [&](request&, body_reader body, responder out) {
        auto later = std::make_shared<responder>(std::move(out));
        f.api->async_stream(request("POST", "/").body(std::move(body), ""),
                            [&, later](result<reply> got) {
                                ended.put(got.error());
                                later->send(text("over"));
                            });
    });
    f.start();
    wire_client c(f.at("s"));
    CHECK(c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc"));
    wire_client peer = up.accept();
    head_of(peer);
    c.shut();
    const error why = ended.take();
    CHECK(why == errc::cut_off);
    CHECK_MESSAGE(why.message().find(": request body: ") != std::string::npos, why.message());
    CHECK(c.read().body == "over");
}

TEST_CASE("async: a body that another server's loop brings is cut while its call goes on") {
    scripted up;
    fixture far(up.path); // whose loop carries the calls
    running near;
    near.watch.ends_later = true; // that other loop, whose watch looks at both
    handed<error> ended;
    near.app.post("/", [&](request&, body_reader body, responder out) {
        auto later = std::make_shared<responder>(std::move(out));
        request to("POST", "/");
        to.cancel_with(canceller()); // looked at all the time
        to.body(std::move(body), "");
        far.api->async_stream(std::move(to), [&, later](result<reply> got) {
            auto over = [&ended](const error& why) { ended.put(why); };
            if (!got) return over(got.error());
            relay(std::move(got->body), later->stream(response()), over);
        });
    });
    far.start(), near.start();
    for (int i = 0; i < 100; ++i) {
        wire_client c = near.connect();
        CHECK(c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc"));
        wire_client peer = up.accept();
        head_of(peer);
        if (i % 2) CHECK(peer.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"));
        c.shut();
        const error why = ended.take();
        CHECK(why == errc::cut_off);
        // Only the call's own loop may note why: it looks there without a lock.
        CHECK_FALSE(contains(why, ": request body: "));
    }
}

TEST_CASE("async: bytes that a handler's request has lent to a call stay when it has to wait") {
    scripted up;
    client_options one_at_a_time;
    one_at_a_time.max_connections_count = 1;
    fixture f(up.path, one_at_a_time);
    f.app.post("/pass", [&](const request& r) {
        f.call();
        f.call(request("POST", "/x").body(content::lent(r.body()), "text/plain"));
        return text("");
    });
    f.app.post("/drop", [](const request&) { return text(""); });
    f.start();
    const std::string body(10'000, 'a');
    wire_client c(f.at("s"));
    c.send("POST /pass HTTP/1.1\r\nHost: a\r\nContent-Length: 10000\r\n\r\n" + body);
    CHECK(c.read().status == 200);
    wire_client peer = up.accept();
    CHECK(head_of(peer).compare(0, 6, "GET /x") == 0);
    c.send("POST /drop HTTP/1.1\r\nHost: a\r\nContent-Length: 20000\r\n\r\n" +
           std::string(20'000, 'z')); // where the bytes were
    CHECK(c.read().status == 200);
    peer.send(ok_reply);
    CHECK(head_of(peer).compare(0, 7, "POST /x") == 0);
    while (peer.got.size() < body.size() && peer.more()) {
    }
    CHECK((peer.got == body));
    peer.send(ok_reply);
    for (int i = 0; i < 2; ++i) CHECK(f.ended.take().status == 200);
}

TEST_CASE("async: a handler can answer with what its client has received") {
    struct row {
        const char *method, *bytes;
        int status;
        const char *length, *body;
    };
    const row passed_on[] = {
        {"GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n", 200,
         "2", "ab"},
        {"GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nKeep-Alive: timeout=5\r\n\r\nab", 200, "2",
         "ab"},
        {"GET", "HTTP/1.1 200 OK\r\nConnection: X-Hop\r\nX-Hop: 1\r\nContent-Length: 0\r\n\r\n",
         200, "0", ""},
        {"HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", 200, "2", ""},
        {"GET", "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", 204, "", ""},
        {"GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", 304, "7", ""},
        {"GET", "HTTP/1.1 200 OK\r\nAccept-Body-Fd: 1\r\nContent-Length: 2\r\n\r\nab", 200, "2",
         "ab"},
    };
    scripted up;
    fixture f(up.path);
    f.app.any("/", [&](request& r, responder out) {
        f.api->async_send(std::move(r), [out = std::make_shared<responder>(std::move(out))](
                                            result<response> got) { out->send(*std::move(got)); });
    });
    f.start();
    wire_client c(f.at("s"));
    for (const row& r : passed_on) {
        CAPTURE(r.bytes);
        c.send(std::string(r.method) + " / HTTP/1.1\r\nHost: a\r\n\r\n");
        wire_client peer = up.accept();
        CHECK_FALSE(head_of(peer).empty());
        peer.send(r.bytes);
        peer.shut();
        const answer got = c.read(string_view(r.method) == "HEAD");
        CHECK(got.status == r.status);
        CHECK(got.field("Content-Length") == r.length);
        CHECK(got.body == r.body);
        for (const char* gone : {"Transfer-Encoding", "Keep-Alive", "X-Hop", "Accept-Body-Fd"})
            CHECK(got.field(gone) == "");
        CHECK(c.ask("/none").status == 404); // it is in step
    }
}

TEST_CASE("async: what a handler sets on a received response is its own") {
    scripted up;
    fixture f(up.path);
    f.app.get("/{what}", [&](request& r, responder out) {
        const std::string what(r.param("what"));
        f.api->async_get(
            "/", [what, out = std::make_shared<responder>(std::move(out))](result<response> got) {
                if (what == "close") got->header("Connection", "close");
                if (what == "alter") got->body("longer than that", "text/plain");
                out->send(*std::move(got));
            });
    });
    f.start();
    struct row {
        const char *method, *target, *bytes, *length, *connection;
    };
    const char* const two =
        "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nab";
    const row changed[] = {
        {"GET", "/same", two, "2", ""},
        {"HEAD", "/same", two, "2", ""},
        {"GET", "/alter", two, "16", ""},
        {"HEAD", "/alter", two, "16", ""},
        {"HEAD", "/same", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "", ""},
        {"GET", "/close", two, "2", "close"},
        {"HEAD", "/close", two, "2", "close"},
    };
    for (const row& r : changed) {
        CAPTURE(r.method);
        CAPTURE(r.target);
        wire_client c(f.at("s"));
        c.send(std::string(r.method) + " " + r.target + " HTTP/1.1\r\nHost: a\r\n\r\n");
        wire_client peer = up.accept();
        CHECK_FALSE(head_of(peer).empty());
        peer.send(r.bytes);
        peer.shut();
        const answer got = c.read(string_view(r.method) == "HEAD");
        CHECK(got.status == 200);
        CHECK(got.field("Content-Length") == r.length);
        CHECK(got.field("Connection") == r.connection);
    }
}

TEST_CASE("async: an interim response may be changed, copied and passed on") {
    scripted up;
    fixture f(up.path);
    handed<std::string> seen;
    f.start();
    request req("GET", "/");
    req.on_interim([&](response& interim) {
        CHECK_FALSE(interim.headers().add("X-More", std::string(300, 'm')));
        interim.headers().remove("X-Gone");
        const headers copy = interim.headers();
        const response moved = std::move(interim);
        for (const headers* h : {&copy, &moved.headers()})
            seen.put(std::string(h->get("Link")) + " " + std::string(h->get("X-More").substr(299)) +
                     std::string(h->get("X-Gone")));
    });
    f.call(std::move(req));
    wire_client peer = up.accept();
    head_of(peer);
    peer.send("HTTP/1.1 103 Early Hints\r\nX-Gone: 1\r\nLink: here\r\n\r\n"
              "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    CHECK(f.ended.take().body == "ok");
    CHECK(seen.take() == "here m");
    CHECK(seen.take() == "here m");
}

TEST_CASE("async: what Connection names stays behind, whatever a handler does to it") {
    const char* acts[] = {"set", "add", "remove", "upgrade", "own"};
    for (string_view what : acts) {
        CAPTURE(std::string(what));
        scripted up;
        fixture f(up.path);
        f.app.get("/", [&](request&, responder out) {
            auto later = std::make_shared<responder>(std::move(out));
            f.api->async_get("/", [later, what](result<response> got) {
                REQUIRE(got);
                headers& h = got->headers();
                if (what == "set") got->header("Connection", "close");
                if (what == "add") CHECK_FALSE(h.add("Connection", "close"));
                if (what == "remove") h.remove("Connection");
                if (what == "own") // in this order: it is not the peer's that goes then
                    got->header("Upgrade", "tcp").header("Connection", "Upgrade");
                if (what == "upgrade")
                    later->upgrade(
                        "x", [](upgraded) {}, h);
                else later->send(*std::move(got));
            });
        });
        f.start();
        wire_client c(f.at("s"));
        CHECK(c.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"));
        wire_client peer = up.accept();
        head_of(peer);
        CHECK(peer.send("HTTP/1.1 200 OK\r\nConnection: close, X-Hop\r\nX-Hop: secret\r\n"
                        "Keep-Alive: timeout=3\r\nX-End: kept\r\nContent-Length: 2\r\n\r\nok"));
        const answer got = c.read(true);
        CHECK(got.status == (what == "upgrade" ? 101 : 200));
        CHECK(got.field("X-End") == "kept");
        CHECK(got.field("X-Hop") == "");
        CHECK(got.field("Keep-Alive") == "");
        if (what == "own") CHECK(got.field("Upgrade") + got.field("Connection") == "tcpUpgrade");
    }
}

TEST_CASE("async: an upgrade gives both directions, silent for as long as they like") {
    scripted up;
    fixture f(up.path, quick(500ms));
    f.start();
    handed<std::string> events;
    auto both = std::make_shared<upgraded>(upgraded{response(), {}, {}});
    auto taken = [&, both](result<upgraded> got) {
        REQUIRE(got);
        *both = *std::move(got);
        events.put(std::to_string(both->head.status()));
        both->in.on_data(
            [&, both](string_view piece) {
                events.put(std::string(piece));
                both->out.write(std::string("re:").append(piece));
            },
            [&, both](const error& why) {
                events.put(why ? why.message() : "end");
                both->out.end();
            });
    };
    f.api->async_upgrade(request("POST", "/").header("Upgrade", "tcp"), taken);
    wire_client peer = up.accept();
    CHECK(head_of(peer).find("Connection: Upgrade\r\n") != std::string::npos);
    peer.send("HTTP/1.1 101 X\r\nUpgrade: tcp\r\nConnection: Upgrade\r\n\r\nhello");
    CHECK(events.take() == "101");
    CHECK(events.take() == "hello");
    CHECK(peer.until("re:hello"));
    peer.got.clear();
    ::usleep(600'000);
    peer.send("again");
    CHECK(events.take() == "again");
    CHECK(peer.until("re:again"));
    peer.got.clear();
    peer.shut();
    CHECK(events.take() == "end");
    CHECK(peer.at_end());
    *both = upgraded{response(), {}, {}};
}

TEST_CASE("async: a 101 waits for the end of the body that it answers, and its peer's for both") {
    scripted up;
    fixture f(up.path);
    handed<std::string> events;
    auto both = std::make_shared<upgraded>(upgraded{response(), {}, {}});
    f.app.post("/", [&](request&, body_reader in, responder out) { // which knows its length
        request to("POST", "/");
        to.header("Upgrade", "tcp").header("Content-Length", "6").body(std::move(in), "");
        auto kept = std::make_shared<responder>(std::move(out));
        f.api->async_upgrade(std::move(to), [&, kept](result<upgraded> got) {
            if (!got) return events.put(got.error().message());
            *both = *std::move(got);
            events.put("opened");
            both->in.on_data([&](string_view piece) { events.put(std::string(piece)); },
                             [&](const error& why) { events.put(why ? why.message() : "end"); });
        });
    });
    f.start();
    wire_client client(f.at("s"));
    CHECK(client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"));
    CHECK(client.send("6\r\n123456\r\n"));
    wire_client peer = up.accept();
    CHECK(peer.until("\r\n\r\n123456")); // all of it, as far as the peer can know
    peer.got.clear();
    CHECK(peer.send("HTTP/1.1 101 X\r\nUpgrade: tcp\r\nConnection: Upgrade\r\n\r\nhello"));
    int unread = -1;
    CHECK(comes_true([&] { return !::ioctl(peer.fd.get(), SIOCOUTQ, &unread) && unread == 0; }));
    peer.shut();
    for (const char* turn : {"one turn", "and the next"}) {
        f.on_loop([&events, turn] { events.put(turn); });
        CHECK(events.take() == turn);
    }
    CHECK(client.send("0\r\n\r\n"));
    CHECK(events.take() == "opened");
    CHECK(events.take() == "hello");
    CHECK(events.take() == "end");
    CHECK(both->out.write("back") == written::ok);
    CHECK(peer.until("back"));
    peer.got.clear();
    CHECK(both->out.end());
    CHECK(peer.at_end());
    *both = upgraded{response(), {}, {}};
}

TEST_CASE("async: the writer of an upgrade hears that its peer reads no more, the reader goes on") {
    scripted up;
    fixture f(up.path);
    f.start();
    handed<std::string> events;
    auto both = std::make_shared<upgraded>(upgraded{response(), {}, {}});
    f.api->async_upgrade(request("POST", "/").header("Upgrade", "tcp"), [&](result<upgraded> got) {
        REQUIRE(got);
        *both = *std::move(got);
        both->in.on_data([&](string_view piece) { events.put(std::string(piece)); },
                         [&](const error& why) { events.put(why ? why.message() : "end"); });
        both->out.on_close([&] { events.put("closed"); });
        events.put("opened");
    });
    wire_client peer = up.accept();
    head_of(peer);
    ::shutdown(peer.fd.get(), SHUT_RD);
    peer.send("HTTP/1.1 101 X\r\nUpgrade: tcp\r\nConnection: Upgrade\r\n\r\n");
    CHECK(events.take() == "opened");
    CHECK(both->out.write("lost") == written::ok);
    CHECK(events.take() == "closed");
    CHECK(both->out.write("lost") == written::closed);
    peer.send("still here");
    CHECK(events.take() == "still here");
    peer.shut();
    CHECK(events.take() == "end");
    *both = upgraded{response(), {}, {}};
}

TEST_CASE("async: an upgraded connection is released with what was read, a refusal comes whole") {
    scripted up;
    fixture f(up.path);
    f.start();
    handed<raw_stream> raw;
    handed<outcome> refused;
    auto taken = [&](result<upgraded> got) {
        REQUIRE(got);
        if (*got) raw.put(std::move(*got).release());
        else refused.put({error(), got->head.status(), std::string(got->head.body())});
    };
    f.api->async_upgrade(request("GET", "/").header("Upgrade", "x"), taken);
    {
        wire_client peer = up.accept();
        head_of(peer);
        peer.send("HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\nhello");
        raw_stream out = raw.take();
        REQUIRE(out.fd);
        CHECK(out.already_read == "hello");
        CHECK(::send(out.fd.get(), "back", 4, MSG_NOSIGNAL) == 4);
        CHECK(peer.until("back"));
    }
    f.api->async_upgrade(request("GET", "/").header("Upgrade", "x"), taken);
    wire_client peer = up.accept();
    head_of(peer);
    peer.send("HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno");
    outcome got = refused.take();
    CHECK(got.status == 403);
    CHECK(got.body == "no");
}

TEST_CASE("async: a callback may be none where nobody wants to hear") {
    running up;
    up.app.post("/", [](request&, body_reader in, responder out) {
        const auto kept =
            std::make_shared<std::pair<body_reader, responder>>(std::move(in), std::move(out));
        kept->first.on_data({}, [kept](const error& why) {
            kept->second.send(text(why ? "cut" : "whole"));
            kept->first = body_reader();
        });
    });
    up.app.get("/up", [](request&, responder out) { out.upgrade("x", {}); });
    up.start();
    fixture f(up.path);
    f.start();
    f.api->async_get("/", {});
    f.api->async_stream(request("GET", "/"), {});
    f.api->async_upgrade(request("GET", "/").header("Upgrade", "x"), {});
    f.app.post({}), f.app.post({}, 1ms);
    f.call(request("POST", "/").body(std::string(1 << 20, 'x'), ""));
    CHECK(f.ended.take().body == "whole");
    wire_client switched = up.connect(); // nobody takes it: it ends
    switched.send("GET /up HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
    switched.rest();
    CHECK(switched.at_end());
}

TEST_CASE("async: a piece whose callback throws is the last, and its stream is not whole") {
    scripted up;
    fixture f(up.path);
    f.start();
    handed<error> ends;
    std::atomic<int> pieces{0};
    f.api->async_stream(request("GET", "/"), [&](result<reply> got) {
        auto body = std::make_shared<body_reader>(std::move(got->body));
        body->on_data([&, body](string_view) { throw ++pieces; },
                      [&, body](const error& why) { ends.put(why), *body = body_reader(); });
    });
    wire_client peer = up.accept();
    head_of(peer);
    peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
              "1\r\na\r\n1\r\nb\r\n0\r\n\r\n"); // all in one read
    CHECK(ends.take() == errc::cut_off);
    CHECK(pieces == 1);
}

TEST_CASE("async: what throws where no loop is left to tell it on stays inside of the call") {
    std::optional<server> app;
    client none("@nobody"), orphan("@nobody", {}, app.emplace());
    app.reset();
    std::vector<error> told;
    const auto tell = [&](result<response> got) { told.push_back(got.error()), throw 1; };
    for (client* one : {&none, &orphan}) CHECK_NOTHROW(one->async_get("/", tell));
    REQUIRE(told.size() == 2);
    CHECK(told[0] == std::errc::invalid_argument);
    CHECK(told[1] == errc::stopped);
    const auto end = [&](const error& why) { told.push_back(why), throw 1; };
    CHECK_NOTHROW(relay({}, {}, end));
    running up;
    up.app.get("/", [](const request&) { return text("ok"); });
    up.start();
    client blocking(up.path); // whose reader is for read()
    auto got = blocking.stream(request("GET", "/"));
    REQUIRE(got);
    CHECK_NOTHROW(relay(std::move(got->body), {}, end));
    REQUIRE(told.size() == 4);
    CHECK(told[2] == std::errc::broken_pipe);
    CHECK(told[3] == std::errc::operation_not_supported);
}

TEST_CASE("async: a call that has its head lets go of who hears interim responses") {
    scripted up;
    fixture f(up.path); // its read_timeout is when the call would be looked at again
    f.start();
    const auto kept = std::make_shared<int>(0);
    f.call(request("GET", "/").on_interim([kept](response&) { ++*kept; }));
    wire_client peer = up.accept();
    head_of(peer);
    peer.send("HTTP/1.1 103 Early Hints\r\n\r\n" + std::string(ok_reply));
    CHECK(f.ended.take().status == 200);
    CHECK(comes_true([&] { return kept.use_count() == 1; }, 3s));
    CHECK(*kept == 1);
}

TEST_CASE("async: so does its connection, whose upload was passed on whole before") {
    scripted up;
    handed<error> ends;
    handed<int> first;
    responder kept;
    int pieces = 0;
    fixture f(up.path);
    f.app.post("/", [&](request&, body_reader in, responder res) {
        request passed("POST", "/");
        kept = std::move(res);
        passed.body(content(std::move(in)), "");
        f.api->async_stream(std::move(passed), [&](result<reply> got) {
            auto body = std::make_shared<body_reader>(std::move(got->body));
            body->on_data([&](string_view) { ++pieces == 1 ? first.put(1) : throw pieces; },
                          [&, body](const error& why) { ends.put(why), *body = body_reader(); });
        });
    });
    f.start();
    wire_client sender(f.at("s"));
    sender.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
    wire_client peer = up.accept();
    CHECK(peer.until("\r\n0\r\n\r\n"));
    peer.got.clear();
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc");
    CHECK(first.take() == 1);
    peer.send("def"); // by itself: the loop has no other news of the call
    CHECK(ends.take() == errc::cut_off);
    CHECK(peer.at_end());
    kept = responder();
}

TEST_CASE("async: a call's time begins when it is made, however long the loop was busy before") {
    scripted up;
    fixture f(up.path);
    f.app.get("/", [&](const request&) {
        f.call(request("GET", "/").timeout(1s)); // begins in this turn
        const auto begin = steady_clock::now();
        while (steady_clock::now() - begin < 1200ms) ::usleep(1'000);
        return text("ok");
    });
    f.start();
    std::thread asks([&] { (void)client(f.at("s")).get("/"); });
    wire_client peer = up.accept();
    head_of(peer);
    CHECK_FALSE(comes_true([&] { return f.ended.count() > 0; }, 100ms));
    peer.send(ok_reply);
    CHECK(f.ended.take().status == 200);
    asks.join();
}

TEST_CASE("async: an answer that came while the loop was busy is read before its time is up") {
    scripted up;
    fixture f(up.path, quick(1s));
    f.start();
    f.call();
    wire_client peer = up.accept();
    head_of(peer);
    f.on_loop([&] {
        f.on_loop([&] {
            peer.send(ok_reply);
            const auto begin = steady_clock::now();
            while (steady_clock::now() - begin < 1200ms) ::usleep(1'000);
        });
        f.on_loop([] {}); // in the same turn, which sees how late it is by now
    });
    CHECK(f.ended.take().status == 200);
}

TEST_CASE("async: calls that begin in one turn share the time that a peer has of it") {
    scripted up;
    fixture f(up.path);
    f.start();
    handed<int> filled;
    int fills = 0;
    const auto slow = [&](char* into, std::size_t) -> result<std::size_t> {
        const auto begin = steady_clock::now();
        while (steady_clock::now() - begin < 2ms) {
        }
        return *into = 'x', ++fills, 1;
    };
    f.on_loop([&] {
        for (int i = 0; i < 16; ++i) f.call(request("PUT", "/").body(content::pulled(slow), ""));
        f.on_loop([&] { filled.put(fills); }); // in the turn of all of them
    });
    CHECK(filled.take() <= 32); // 15 ms of the first one, and one of each other
    f.stop();
}

TEST_CASE("async: an answer that begins early leaves its upload to read_timeout") {
    scripted up;
    server_options how;
    how.write_timeout = milliseconds(50); // of the server's own answers
    fixture f(up.path, {}, how);
    f.start();
    f.call(request("PUT", "/").body(std::string(4 << 20, 'x'), ""));
    wire_client peer = up.accept();
    head_of(peer);
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no");
    CHECK_FALSE(comes_true([&] { return f.ended.count() > 0; }, 300ms));
    for (std::size_t read = peer.got.size(); read < 4 << 20; read += peer.got.size())
        if (peer.got.clear(), !peer.more(64 << 10)) break;
    peer.send("k");
    CHECK(f.ended.take().body == "ok");
}

TEST_CASE("async: a body whose loop has ended is a cut for whom it is relayed to") {
    scripted up;
    handed<body_reader> orphans;
    handed<error> ends;
    running s;
    s.app.get("/relayed", [&](request&, responder out) {
        relay(orphans.take(), out.stream(response(200)), [&](const error& e) { ends.put(e); });
    });
    s.app.get("/passed", [&](request&, responder out) {
        out.send(response(200).body(content(orphans.take()), ""));
    });
    s.start();
    for (const char* target : {"/relayed", "/passed"}) {
        CAPTURE(std::string(target));
        {
            server loop; // no fixture: its wake-up lives as long as the body
            client api(up.path, {}, loop);
            REQUIRE_FALSE(loop.listen(s.at("loop")));
            std::thread serves([&] { (void)loop.run(); });
            api.async_stream(request("GET", "/"),
                             [&](result<reply> got) { orphans.put(std::move(got->body)); });
            wire_client peer = up.accept();
            head_of(peer);
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab");
            CHECK(comes_true([&] { return orphans.count() == 1; }));
            loop.stop(), loop.stop();
            serves.join();
        }
        wire_client reader = s.connect();
        reader.send(std::string("GET ") + target + " HTTP/1.1\r\nHost: a\r\n\r\n");
        reader.rest();
        CHECK(reader.at_end());
        CHECK(reader.got.find("\r\n\r\n0\r\n") == std::string::npos); // no last chunk
    }
    CHECK(ends.take() == std::errc::broken_pipe);
}

TEST_CASE("async: however many wait, each is told once, in order, and a stop tells the rest") {
    client_options o;
    o.max_connections_count = 1;
    running up;
    up.app.get("/{n}", [](const request& r) { return text(r.param("n")); });
    up.start();
    std::vector<int> told, late;
    handed<int> ends;
    constexpr int count = 1'200;
    {
        fixture f(up.path, o);
        f.start();
        f.on_loop([&] { // all of them wait before the first one is sent
            for (int i = 0; i < count; ++i) {
                request one("GET", "/" + std::to_string(i));
                if (i % 3 == 1) one.timeout(0ms); // between those that wait
                f.api->async_send(std::move(one), [&, i](result<response> got) {
                    if (got && got->body() == std::to_string(i)) told.push_back(i);
                    else late.push_back(i);
                    if (i == count / 2) f.app.stop(), f.app.stop();
                    if (told.size() + late.size() == count) ends.put(0);
                });
            }
        });
        ends.take();
    }
    std::vector<bool> seen(count);
    for (int i : told) seen[std::size_t(i)] = true;
    for (int i : late) seen[std::size_t(i)] = true;
    CHECK(std::count(seen.begin(), seen.end(), true) == count);
    CHECK(std::is_sorted(told.begin(), told.end()));
    CHECK(told.size() > 360);
}

TEST_CASE("async: calls that are over leave no timer behind each") {
    running up;
    up.app.get("/", [](const request&) { return text("ok"); });
    up.start();
    fixture f(up.path, quick(1h));
    f.start();
    handed<unsigned> held;
    int left = 1'000;
    callback<void(result<response>)> done;
    const auto next = [&] {
        f.api->async_get("/", [&](result<response> r) { done(std::move(r)); });
    };
    done = [&](result<response>) {
        if (--left > 0) return next();
        const auto* key = detail::access::of(*f.api).get();
        held.put(key->owners); // each timer owns it, as the calls do that are not forgotten yet
    };
    f.on_loop([&] { next(); });
    CHECK(held.take() < 100);
}

TEST_CASE("async: a client that has gone leaves nothing but a timer on its loop") {
    running up;
    up.app.get("/", [](const request&) { return text("ok"); });
    up.start();
    for (const milliseconds read : {milliseconds(1h), milliseconds::max()}) {
        CAPTURE(read.count());
        fixture f(up.path, quick(read));
        f.start();
        f.call(request("GET", "/"));
        CHECK(f.ended.take().status == 200);
        handed<detail::ref<detail::call_pool>> found;
        const auto* key = detail::access::of(*f.api).get();
        f.on_loop(
            [&] { found.put(static_cast<detail::loop*>(detail::this_loop()->at)->pool_of(key)); });
        auto pool = found.take();
        f.api.reset();
        CHECK(comes_true([&] { return pool.get()->owners == 1; }, 3s));
        f.stop();
    }
}

TEST_CASE("async: the next look at a call is soon, so that its timer goes soon, however long it "
          "may take") {
    fixture f("/none", quick(1h));
    f.start();
    handed<std::int64_t> waits;
    for (const bool awaits : {true, false}) {
        f.on_loop([&, awaits] {
            auto& l = *static_cast<detail::loop*>(detail::this_loop()->at);
            detail::async_call one(detail::access::of(*f.api));
            one.f = new detail::flow(l.mail(), UINT64_MAX, 1);
            one.f->timed = awaits;
            one.end = one.request_end = l.now() + 3'600'000;
            waits.put(one.look(l) - l.now());
        });
        CHECK(waits.take() <= 10'000);
    }
}

TEST_CASE("async: callbacks that throw cost their own call only") {
    scripted up;
    fixture f(up.path);
    f.start();
    f.api->async_get("/", [](result<response>) { throw 1; });
    wire_client peer = up.accept();
    head_of(peer);
    peer.send(ok_reply);
    f.call();
    wire_client other = std::move(peer);
    if (head_of(other).empty()) other = up.accept(), head_of(other);
    other.send(ok_reply);
    CHECK(f.ended.take().status == 200);
}

TEST_CASE("async: what came unasked while the loop was busy answers no call") {
    scripted up;
    fixture f(up.path);
    f.start();
    wire_client old = kept_of(up, f);
    {
        busy_loop busy(f.app);
        f.call();
        f.on_loop([&] { // behind the call in one turn, but before it is sent
            CHECK(old.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstale"));
        });
    }
    wire_client peer = up.accept();
    CHECK(head_of(peer).find("GET /x ") == 0);
    peer.send(ok_reply);
    CHECK(f.ended.take().body == "ok");
    CHECK(old.at_end());
}

TEST_CASE("async: a kept connection keeps no drain waiting") {
    scripted up;
    fixture f(up.path);
    f.start();
    wire_client peer = kept_of(up, f);
    const auto start = steady_clock::now();
    f.app.stop();
    CHECK(peer.at_end());
    CHECK(steady_clock::now() - start < 5s);
}

TEST_CASE("async: an answer that comes together with the word for its body is not lost") {
    for (const bool leaves : {false, true}) {
        CAPTURE(leaves);
        scripted up;
        fixture f(up.path);
        f.start();
        f.call(request("PUT", "/").body("xyz", "").header("Expect", "100-continue"));
        wire_client peer = up.accept();
        head_of(peer);
        {
            busy_loop busy(f.app);
            peer.send("HTTP/1.1 100 Continue\r\n\r\n" + std::string(ok_reply));
            if (leaves) peer.close();
        }
        CHECK(f.ended.take().body == "ok");
        if (!leaves) CHECK(peer.until("xyz"));
        f.call(); // whichever connection: the other one has its whole request
        if (leaves) peer = up.accept();
        if (!leaves) peer.got.clear();
        CHECK(head_of(peer).find("GET /x ") == 0);
        peer.send(ok_reply);
        CHECK(f.ended.take().body == "ok");
    }
}

TEST_CASE("async: an upload over a kept connection is refused in words, too") {
    scripted up;
    fixture f(up.path);
    f.start();
    wire_client peer = kept_of(up, f);
    f.call(request("POST", "/").body(std::string(4'000'000, 'x'), ""));
    head_of(peer);
    {
        busy_loop busy(f.app);
        for (int left = 1; ::ioctl(peer.fd.get(), SIOCINQ, &left) == 0 && left > 0;)
            CHECK(peer.more()); // now there is room: the loop finds out by sending
        peer.send("HTTP/1.1 413 X\r\nContent-Length: 2\r\n\r\nno");
        ::shutdown(peer.fd.get(), SHUT_RDWR);
    }
    CHECK(f.ended.take().status == 413);
}

TEST_CASE("async: an upgraded peer that reads nothing is a timeout, not a cut") {
    scripted up;
    server_options how;
    how.write_timeout = 50ms;
    fixture f(up.path, {}, how);
    f.start();
    handed<error> ends;
    auto both = std::make_shared<upgraded>(upgraded{response(), {}, {}});
    f.api->async_upgrade(request("GET", "/").header("Upgrade", "tcp"), [&](result<upgraded> got) {
        REQUIRE(got);
        *both = *std::move(got);
        both->in.on_data([](string_view) {}, [&](const error& why) { ends.put(why); });
        CHECK(both->out.write(std::string(8'000'000, 'x')) == written::full);
    });
    wire_client peer = up.accept();
    head_of(peer);
    peer.send("HTTP/1.1 101 X\r\nUpgrade: tcp\r\nConnection: Upgrade\r\n\r\n");
    CHECK(ends.take() == std::errc::timed_out);
    f.on_loop([both] { *both = upgraded{response(), {}, {}}; });
}

TEST_CASE("async: a time that is up names the limit that was the shorter one") {
    scripted up;
    for (bool own : {true, false}) {
        CAPTURE(own);
        fixture f(up.path, quick(1h, own ? milliseconds(1h) : milliseconds(30)));
        f.start();
        f.call(request("GET", "/").timeout(own ? milliseconds(30) : milliseconds(1h)));
        wire_client peer = up.accept();
        const error why = f.ended.take().why;
        CHECK(why == std::errc::timed_out);
        CHECK_MESSAGE(why.message().find("(limit 30 ms)") != std::string::npos, why.message());
    }
}

TEST_CASE("async: an idle connection that is lost is no other one's loss") {
    scripted up;
    fixture f(up.path);
    f.start();
    f.call();
    wire_client one = up.accept();
    f.call();
    wire_client two = up.accept();
    for (wire_client* peer : {&one, &two}) {
        head_of(*peer);
        peer->send(ok_reply);
        CHECK(f.ended.take().status == 200);
    }
    two.close();
    for (int turns = 0; turns < 2; ++turns) { // it has seen that by then
        handed<int> turn;
        f.on_loop([&] { turn.put(1); });
        turn.take();
    }
    f.call();
    CHECK_FALSE(head_of(one).empty());
    one.send(ok_reply);
    CHECK(f.ended.take().status == 200);
    CHECK_FALSE(up.waits(0));
}

TEST_CASE("async: of many deadlines the next one counts, whichever call was made last") {
    scripted up;
    fixture f(up.path, quick(1h));
    f.start();
    const auto begun = steady_clock::now();
    for (const milliseconds limit : {milliseconds(60), milliseconds(1h), milliseconds(20)})
        f.call(request("GET", "/").timeout(limit));
    for (int i = 0; i < 2; ++i) CHECK(f.ended.take().why == std::errc::timed_out);
    CHECK(steady_clock::now() - begun < 5s); // else at the next look, which would be later
}

TEST_CASE("async: the timer of a client that has gone finds nobody") {
    running up;
    up.app.get("/", [](const request&) { return text("ok"); });
    up.start();
    fixture f(up.path);
    f.start();
    f.call(request("GET", "/").timeout(20ms));
    CHECK(f.ended.take().status == 200);
    f.api.reset();
    handed<int> later;
    f.app.post([&] { later.put(1); }, 60ms);
    CHECK(later.take() == 1);
}

TEST_CASE("async: a sender that is done, or whose bytes wait, is no reason for a silent answer") {
    for (bool is_read : {true, false}) {
        CAPTURE(is_read);
        scripted up;
        server_options how;
        how.drain_timeout = milliseconds(0);
        fixture f(up.path, quick(50ms), how);
        f.app.post("/", [&](request&, body_reader in, responder res) {
            forward(*f.api, request("POST", "/x").header("Content-Length", "6"), std::move(in),
                    std::move(res));
        });
        f.app.post("/large", [&](request&, body_reader in, responder res) {
            forward(*f.api, request("POST", "/x"), std::move(in), std::move(res));
        });
        f.start();
        wire_client down(f.at("s"));
        if (is_read) down.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabcdef");
        else {
            down.send("POST /large HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
            down.send("1000000\r\n" + std::string(0x1000000, 'x')); // fills all that lies between
        }
        wire_client peer = up.accept();
        if (is_read) CHECK(peer.until("abcdef"));
        CHECK(down.read().status == 502);
    }
}

TEST_CASE("async: a refused upgrade has nothing to write to") {
    scripted up;
    fixture f(up.path);
    f.start();
    handed<bool> is_open;
    f.api->async_upgrade(request("GET", "/").header("Upgrade", "x"), [&](result<upgraded> got) {
        is_open.put(!got || *got || got->out.is_open() || got->out.write("x") != written::closed ||
                    static_cast<bool>(detail::access::of(got->out)));
    });
    wire_client peer = up.accept();
    head_of(peer);
    peer.send("HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno");
    CHECK_FALSE(is_open.take());
}
