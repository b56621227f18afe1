// Room [13]: the blocking client, against servers that play what each test tells them.
#include "uds_http.hpp"

#include <algorithm>
#include <memory>

#include "../examples/event_source.hpp"
#include "allocations.hpp"
#include "raw_client.hpp"

#include <doctest/doctest.h>
#include <functional>
#include <iterator>
#include <new>
#include <string>
#include <sys/syscall.h>
#include <thread>
#include <unistd.h>

using namespace uds_http;
using namespace std::chrono_literals;

namespace {

/// A server's end of a connection.
struct end_point {
    int fd;
    int nth; // connection of this server, from 0
    std::string in{};

    /// The next head, "" at the end of the stream; what follows it stays in `in`.
    std::string head() {
        for (;;) {
            if (std::size_t at = in.find("\r\n\r\n"); at != std::string::npos) {
                std::string got = in.substr(0, at + 4);
                in.erase(0, at + 4);
                return got;
            }
            if (!more()) return {};
        }
    }
    std::string bytes(std::size_t count) {
        while (in.size() < count && more()) {
        }
        std::string got = in.substr(0, count);
        in.erase(0, got.size());
        return got;
    }
    std::string rest() {
        while (more()) {
        }
        return std::exchange(in, {});
    }
    bool more() {
        char piece[4096];
        ssize_t n = ::recv(fd, piece, sizeof piece, 0);
        if (n > 0) in.append(piece, static_cast<std::size_t>(n));
        return n > 0;
    }
    bool say(string_view text) {
        while (!text.empty()) {
            ssize_t n = ::send(fd, text.data(), text.size(), MSG_NOSIGNAL);
            if (n <= 0) return false;
            text.remove_prefix(static_cast<std::size_t>(n));
        }
        return true;
    }
    bool answer(string_view body) {
        return say("HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(body.size()) +
                   "\r\n\r\n" + std::string(body));
    }
    void wait_for_hang_up() { // reading nothing
        pollfd gone{fd, 0, 0};
        ::poll(&gone, 1, 10'000);
    }
    bool is_gone() { // waits for it
        char byte;
        return ::recv(fd, &byte, 1, 0) <= 0;
    }
};

using play = std::function<void(end_point&)>;

/// A folder of its own, a listener, a thread for each connection.
class fake {
public:
    explicit fake(play script, int backlog = 64) : script_(std::move(script)) {
        folder_ = "/tmp/uds_client." + std::string(6, 'X'); // mkdtemp(3) fills them in
        REQUIRE(::mkdtemp(&folder_[0]));
        path = folder_ + "/a.sock";
        result<detail::endpoint> to = detail::endpoint_of(path);
        REQUIRE(to);
        fd_ = unique_fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
        REQUIRE(::bind(fd_.get(), to->get(), to->size) == 0);
        REQUIRE(::listen(fd_.get(), backlog) == 0);
        if (script_) accepting_ = std::thread([this] { accept_all(); });
    }
    ~fake() {
        stopping_ = true;
        ::shutdown(fd_.get(), SHUT_RDWR);
        if (accepting_.joinable()) accepting_.join();
        {
            detail::hold lock(guard_);
            for (int fd : live_) ::shutdown(fd, SHUT_RDWR);
        }
        for (std::thread& t : threads_) t.join();
        ::unlink(path.c_str());
        ::rmdir(folder_.c_str());
    }
    int accepted() const { return accepted_; }
    std::string path;

private:
    void accept_all() {
        for (;;) {
            int fd = ::accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC);
            if (fd < 0) return;
            int nth = accepted_++;
            {
                detail::hold lock(guard_);
                live_.push_back(fd);
            }
            threads_.emplace_back([this, fd, nth] {
                end_point at{fd, nth};
                script_(at);
                detail::hold lock(guard_);
                std::swap(*std::find(live_.begin(), live_.end(), fd), live_.back());
                live_.pop_back();
                ::close(fd);
            });
            if (stopping_) return;
        }
    }

    play script_;
    std::string folder_;
    unique_fd fd_;
    detail::mutex guard_;
    std::vector<int> live_;
    std::vector<std::thread> threads_;
    std::thread accepting_;
    std::atomic<int> accepted_{0};
    std::atomic<bool> stopping_{false};
};

/// Answers each request with its target, for ever.
void echo_targets(end_point& at) {
    for (std::string head; !(head = at.head()).empty();) {
        std::size_t from = head.find(' ') + 1;
        at.answer(head.substr(from, head.find(' ', from) - from));
    }
}

play says(std::string text) {
    return [text = std::move(text)](end_point& at) {
        if (!at.head().empty()) at.say(text);
    };
}

client_options quick(milliseconds read = 200ms, milliseconds total = milliseconds::max()) {
    client_options options;
    options.read_timeout = read, options.total_timeout = total;
    return options;
}

bool contains(const error& e, string_view part) {
    return e.message().find(part) != std::string::npos;
}

struct answer_row {
    const char* name;
    const char* method;
    const char* bytes;
    int status; // 0: `code`
    const char* body;
    errc code;
};

const answer_row answer_rows[] = {
    {"with a length", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "ok", {}},
    {"chunked",
     "GET",
     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: "
     "1\r\n\r\n",
     200,
     "abcde",
     {}},
    {"until the end of the stream",
     "GET",
     "HTTP/1.1 200 OK\r\n\r\nall of it",
     200,
     "all of it",
     {}},
    {"HTTP/1.0", "GET", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "ok", {}},
    {"HEAD has a length but no body",
     "HEAD",
     "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
     200,
     "",
     {}},
    {"HEAD of what would be too large",
     "HEAD",
     "HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n",
     200,
     "",
     {}},
    {"204", "GET", "HTTP/1.1 204 No Content\r\n\r\n", 204, "", {}},
    {"304 with the length of what it doesn't send",
     "GET",
     "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
     304,
     "",
     {}},
    {"404 is a response",
     "GET",
     "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
     404,
     "",
     {}},
    {"interim responses are passed over",
     "GET",
     "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 "
     "OK\r\nContent-Length: 2\r\n\r\nok",
     200,
     "ok",
     {}},
    {"nothing at all", "GET", "", 0, "", errc::cut_off},
    {"a head cut", "GET", "HTTP/1.1 200 OK\r\nContent-", 0, "", errc::cut_off},
    {"a body cut", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", 0, "", errc::cut_off},
    {"chunks cut", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", 0,
     "", errc::cut_off},
    {"the last chunk's trailers cut", "GET",
     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", 0, "", errc::cut_off},
    {"only interim responses", "GET", "HTTP/1.1 100 Continue\r\n\r\n", 0, "", errc::cut_off},
    {"garbage", "GET", "SSH-2.0-OpenSSH_9.2\r\n", 0, "", errc::bad_message},
    {"a bad chunk", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 0, "",
     errc::bad_message},
    {"two lengths", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 0,
     "", errc::bad_message},
    {"101 unasked", "GET",
     "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", 0, "",
     errc::bad_message},
    {"a body over the limit, announced", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n",
     0, "", errc::too_large},
};

} // namespace

TEST_CASE("client: what a server may answer, whole and byte by byte") {
    for (const answer_row& r : answer_rows) {
        for (bool drips : {false, true}) {
            CAPTURE(r.name);
            CAPTURE(drips);
            fake server([&](end_point& at) {
                if (at.head().empty()) return;
                string_view rest = r.bytes;
                if (!drips) return void(at.say(rest));
                for (char c : rest)
                    if (!at.say(string_view(&c, 1))) return;
            });
            client_options options = quick(5s);
            options.max_body_bytes = 1000;
            client api(server.path, options);
            result<response> got = api.send(request(r.method, "/x"));
            if (r.status) {
                REQUIRE_MESSAGE(got, got.error().message());
                CHECK(got->status() == r.status);
                CHECK(got->body() == r.body);
            } else {
                REQUIRE(!got);
                CHECK_MESSAGE(got.error() == r.code, got.error().message());
                CHECK(contains(got.error(), server.path + ": " + r.method + " /x: "));
                CHECK(got.error().sent());
            }
        }
    }
}

TEST_CASE("client: more than the limits is too_large, however it comes") {
    std::string wide = "HTTP/1.1 200 OK\r\nX: " + std::string(3000, 'x') + "\r\n\r\n";
    std::string chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (int i = 0; i < 101; ++i) chunks += "a\r\n0123456789\r\n";
    std::string endless = "HTTP/1.1 200 OK\r\n\r\n" + std::string(1001, 'x');
    std::string fits = "HTTP/1.1 200 OK\r\n\r\n" + std::string(1000, 'x');
    client_options options = quick(5s);
    options.max_head_bytes = 2000, options.max_body_bytes = 1000;
    for (const std::string* bytes : {&wide, &chunks, &endless}) {
        fake server(says(*bytes));
        CHECK(client(server.path, options).get("/").error() == errc::too_large);
    }
    fake server(says(fits));
    result<response> got = client(server.path, options).get("/");
    CHECK((got && got->body().size() == 1000));
    options.max_body_bytes = SIZE_MAX;
    fake again(says(fits));
    got = client(again.path, options).get("/");
    CHECK((got && got->body().size() == 1000));
}

TEST_CASE("client: heads and bodies one under, at, and one over their limits") {
    client_options options = quick(10s);
    options.max_head_bytes = 2000, options.max_body_bytes = 1000;
    const string_view line = "HTTP/1.1 200 OK\r\n", empty = "Content-Length: 0\r\n\r\n";
    for (std::size_t size : {1999u, 2000u, 2001u}) {
        CAPTURE(size);
        std::string head = std::string(line) + "X: ";
        head.append(size - head.size() - 2 - empty.size(), 'x').append("\r\n").append(empty);
        REQUIRE(head.size() == size);
        fake server(says(head));
        result<response> got = client(server.path, options).get("/");
        if (size <= 2000) CHECK_MESSAGE(got, got.error().message());
        else CHECK(got.error() == errc::too_large);
    }
    for (std::size_t size : {1999u, 2000u, 2001u}) {
        CAPTURE(size);
        fake server(says(std::string(line) + "Transfer-Encoding: chunked\r\n\r\n0\r\nX: " +
                         std::string(size - 7, 'x') + "\r\n\r\n"));
        result<response> got = client(server.path, options).get("/");
        if (size <= 2000) CHECK_MESSAGE(got, got.error().message());
        else CHECK(got.error() == errc::bad_message);
    }
    for (const char* how : {"length", "chunks", "close"}) {
        for (std::size_t size : {999u, 1000u, 1001u}) {
            CAPTURE(std::string(how));
            CAPTURE(size);
            const std::string body(size, 'b'), number = std::to_string(size);
            std::string bytes(line), rest = body;
            if (*how == 'l') bytes += "Content-Length: " + number + "\r\n";
            if (*how == 'c' && how[1] == 'h') {
                char coded[18];
                bytes += "Transfer-Encoding: chunked\r\n";
                rest.insert(0, coded, detail::put_chunk_size(coded, size)).append("\r\n0\r\n\r\n");
            }
            fake server(says(bytes + "\r\n" + rest));
            result<response> got = client(server.path, options).get("/");
            if (size <= 1000) CHECK((got && got->body() == body));
            else CHECK(got.error() == errc::too_large);
        }
    }
    const client_options usual; // as the README has them
    CHECK(usual.max_head_bytes == 64u << 10);
    CHECK(usual.max_body_bytes == 64u << 20);
    CHECK(usual.max_connections_count == 16);
}

TEST_CASE("client: sixteen interim responses are enough") {
    for (int count : {15, 16, 17}) {
        CAPTURE(count);
        std::string many;
        for (int i = 0; i < count; ++i) many += "HTTP/1.1 102 Processing\r\n\r\n";
        fake server(says(many + "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
        result<response> got = client(server.path).get("/");
        if (count <= 16) CHECK((got && got->body() == "ok"));
        else CHECK(got.error() == errc::bad_message);
    }
}

TEST_CASE("client: what gets onto the wire") {
    std::string seen;
    fake server([&](end_point& at) {
        std::string head;
        while (!(head = at.head()).empty()) {
            seen = head;
            std::size_t size = head.find("Content-Length: ");
            if (size != std::string::npos) seen += at.bytes(std::stoul(head.substr(size + 16)));
            if (head.find("chunked") != std::string::npos)
                while (seen.find("0\r\n\r\n") == std::string::npos) seen += at.bytes(1);
            at.answer("");
        }
    });
    client api(server.path);
    REQUIRE(api.get("/x?y=1"));
    CHECK(seen == "GET /x?y=1 HTTP/1.1\r\nHost: localhost\r\n\r\n");
    REQUIRE(api.post("/", "abc", "text/plain"));
    CHECK(seen == "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n"
                  "Content-Length: 3\r\n\r\nabc");
    // RFC 9112 3.2: Host is the target's authority; RFC 9110 10.1.1: no expectation without content
    REQUIRE(api.get("http://b:8/c"));
    CHECK(seen == "GET http://b:8/c HTTP/1.1\r\nHost: b:8\r\n\r\n");
    REQUIRE(api.send(request("GET", "http://b/").header("Host", "b")));
    CHECK(seen == "GET http://b/ HTTP/1.1\r\nHost: b\r\n\r\n");
    REQUIRE(api.send(request("GET", "/").header("Expect", "100-continue")));
    CHECK(seen == "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    int calls = 0;
    auto fill = [&](char* into, std::size_t) -> result<std::size_t> {
        *into = static_cast<char>('a' + calls);
        return std::size_t(calls++ < 2);
    };
    REQUIRE(api.send(request("PUT", "/").body(content::pulled(fill), "")));
    CHECK(seen == "PUT / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
                  "1\r\na\r\n1\r\nb\r\n0\r\n\r\n");
    calls = 0;
    REQUIRE(api.send(request("PUT", "/").body(content::pulled(fill, 2), "")));
    CHECK(seen == "PUT / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nab");
    unique_fd file(::memfd_create("t", MFD_CLOEXEC));
    REQUIRE(::write(file.get(), "0123456789", 10) == 10);
    REQUIRE(api.send(request("PUT", "/").body(content::file(std::move(file), 2, 5), "")));
    CHECK(seen == "PUT / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n23456");
    CHECK(server.accepted() == 1);
}

TEST_CASE("client: an answer that is there counts, though the server reads no further") {
    fake server([](end_point& at) {
        at.head();
        at.answer("no");
        at.wait_for_hang_up();
    });
    client api(server.path, quick(1s));
    const std::string large(8 << 20, 'x');
    auto got = api.post("/", large, "text/plain");
    REQUIRE_MESSAGE(got, got.error().message());
    CHECK(got->body() == "no");
    got = api.post("/", large, "text/plain"); // on a new connection
    REQUIRE_MESSAGE(got, got.error().message());
    CHECK(server.accepted() == 2);
    fake hints([](end_point& at) { // which are no answer
        at.head();
        at.say("HTTP/1.1 103 Early Hints\r\n\r\n");
        at.wait_for_hang_up();
    });
    client other(hints.path, quick(300ms));
    got = other.post("/", large, "text/plain");
    REQUIRE(!got);
    CHECK(got.error() == std::errc::timed_out);
    CHECK(contains(got.error(), "sending the request"));
}

TEST_CASE("client: what the program got wrong is refused and never sent") {
    fake server(echo_targets);
    client api(server.path);
    std::vector<request> bad;
    bad.push_back(request("GE T", "/"));
    bad.push_back(request("GET", "/a b"));
    bad.push_back(request("GET", "x"));
    bad.push_back(request("GET", "*"));
    bad.push_back(request("CONNECT", "a:1"));
    bad.push_back(request("GET", "/").header("X", "a\r\nb: c"));
    bad.push_back(request("GET", "/").header("Transfer-Encoding", "chunked"));
    bad.push_back(request("PUT", "/").body("abc", "").header("Content-Length", "4"));
    bad.push_back(request("TRACE", "/").body("abc", "")); // RFC 9110 9.3.8
    bad.push_back(request("PUT", "/").body(content::file(unique_fd(::dup(0)), 0, UINT64_MAX), ""));
    bad.push_back(request("PUT", "/").body(content::pulled({}, 1ull << 63), ""));
    bad.push_back(request("GET", "/").header("Host", "a b"));
    bad.push_back(request("GET", "http://b/").header("Host", "c")); // RFC 9112 3.2
    bad.push_back(request("GET", "/"));
    bad.back().headers() = headers{{"X", "a\r\nb: c"}};
    bad.push_back(request("GET", "/"));
    for (const char* host : {"a", "a"}) REQUIRE_FALSE(bad.back().headers().add("Host", host));
    for (request& r : bad) {
        result<response> got = api.send(r);
        REQUIRE(!got);
        CHECK((got.error() == errc::bad_field || got.error() == errc::bad_target));
        CHECK(contains(got.error(), server.path));
        CHECK(!got.error().sent());
    }
    CHECK(server.accepted() == 0);
    CHECK(client("http+unix://nope%zz/").get("/").error() == errc::bad_address);
}

TEST_CASE("client: errors name the socket and the cause") {
    result<response> got = client("/nowhere/a.sock").get("/");
    REQUIRE(!got);
    CHECK(got.error() == std::errc::no_such_file_or_directory);
    CHECK(contains(got.error(), "/nowhere/a.sock: connect"));
    CHECK(!got.error().sent());
    fake silent([](end_point& at) { at.rest(); });
    got = client(silent.path, quick(30ms)).get("/x");
    REQUIRE(!got);
    CHECK(got.error() == std::errc::timed_out);
    CHECK(
        contains(got.error(), silent.path + ": GET /x: waiting for the response (limit 30 ms): "));
    CHECK(got.error().sent());
}

TEST_CASE("client: a connection is kept and used again, the last one first") {
    fake server(echo_targets);
    client api(server.path);
    for (int i = 0; i < 5; ++i) {
        result<response> got = api.get("/" + std::to_string(i));
        REQUIRE(got);
        CHECK(got->body() == "/" + std::to_string(i));
    }
    CHECK(server.accepted() == 1);
}

TEST_CASE("client: a connection isn't kept after a close, bytes too many, or a limit") {
    for (const char* bytes :
         {"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
          "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
          "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 smuggled\r\n"}) {
        CAPTURE(bytes);
        fake server([&](end_point& at) {
            while (!at.head().empty()) at.say(bytes);
        });
        client api(server.path);
        for (int i = 0; i < 2; ++i) {
            result<response> got = api.get("/");
            CHECK((got && got->body().empty()));
        }
        CHECK(server.accepted() == 2);
    }
    fake server(echo_targets);
    client api(server.path);
    for (int i = 0; i < 2; ++i) CHECK(api.send(request("GET", "/").header("Connection", "close")));
    CHECK(server.accepted() == 2);
    for (int i = 0; i < 2; ++i) { // RFC 9112 9.6: in whichever of the fields
        request two("GET", "/");
        for (const char* option : {"x", "y, Close"})
            REQUIRE_FALSE(two.headers().add("Connection", option));
        CHECK(api.send(two));
    }
    CHECK(server.accepted() == 4);
}

TEST_CASE("client: what came behind an answer is never taken for the next one") {
    const char* const first[] = {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
                                 "HTTP/1.1 204 No Content\r\n\r\n"};
    for (const char* answer : first) { // RFC 9112 6.3
        CAPTURE(answer);
        std::atomic<bool> asked{false}, is_there{false};
        fake server([&](end_point& at) {
            for (bool is_first = at.nth == 0; !at.head().empty(); is_first = false) {
                at.say(answer);
                if (!is_first) continue;
                while (!asked) ::usleep(100);
                at.say("HTTP/1.1 299 Smuggled\r\nContent-Length: 0\r\n\r\n");
                is_there = true;
            }
        });
        client api(server.path);
        CHECK(api.get("/"));
        asked = true;
        while (!is_there) ::usleep(100);
        ::usleep(100);
        result<response> got = api.get("/");
        REQUIRE(got);
        CHECK(got->status() != 299);
        CHECK(server.accepted() == 2);
    }
}

TEST_CASE("client: a kept connection that the server has closed costs nothing but a connect") {
    // Answers once, then closes: before the next request, or instead of answering it.
    for (bool reads_second : {false, true}) {
        fake server([&](end_point& at) {
            at.head();
            at.answer("x");
            if (reads_second) at.head();
        });
        client api(server.path);
        for (int i = 0; i < 3; ++i) {
            result<response> got = api.get("/");
            REQUIRE_MESSAGE(got, got.error().message());
        }
        if (reads_second) CHECK(server.accepted() == 3);
    }
}

TEST_CASE("client: a POST that was accepted is not sent again, one that wasn't is") {
    fake server([](end_point& at) {
        at.head();
        at.answer("x");
        at.head();
    });
    client api(server.path);
    REQUIRE(api.get("/"));
    result<response> got = api.post("/", "abc", "text/plain");
    REQUIRE(!got);
    CHECK(got.error() == errc::cut_off);
    CHECK(got.error().sent());
    CHECK(server.accepted() == 1);
    REQUIRE(api.get("/"));
    got = api.send(request("get", "/")); // RFC 9110 9.1: another method, of which nothing is known
    REQUIRE(!got);
    CHECK(got.error() == errc::cut_off);
    CHECK(server.accepted() == 2);

    // SHUT_RD of the server's side refuses the first byte, though the kept connection looks quiet.
    detail::condition shut;
    detail::mutex guard;
    bool is_shut = false;
    fake draining([&](end_point& at) {
        at.head();
        at.answer("x");
        if (at.nth == 0) {
            detail::hold lock(guard);
            ::shutdown(at.fd, SHUT_RD);
            is_shut = true;
            shut.notify_all();
            return;
        }
        at.head();
    });
    client other(draining.path);
    REQUIRE(other.get("/"));
    {
        detail::hold lock(guard);
        while (!is_shut) shut.wait(guard, detail::deadline());
    }
    got = other.post("/", "abc", "text/plain");
    CHECK_MESSAGE(got, got.error().message());
    CHECK(draining.accepted() == 2);
}

TEST_CASE("client: a body that can be read once is sent again until it was asked for bytes") {
    for (bool is_held : {true, false}) {
        CAPTURE(is_held);
        fake server([](end_point& at) {
            at.head();
            if (at.nth == 0) {
                at.answer("x");
                if (at.head().find("Expect") == std::string::npos) at.bytes(11);
                return;
            }
            at.say("HTTP/1.1 100 Continue\r\n\r\n");
            if (at.bytes(11) == "1\r\nx\r\n0\r\n\r\n") at.answer("whole");
        });
        client api(server.path);
        REQUIRE(api.get("/"));
        int asked = 0;
        request put("PUT", "/");
        if (is_held) put.header("Expect", "100-continue");
        put.body(content::pulled([&](char* to, std::size_t) -> result<std::size_t> {
                     return asked++ == 0 ? (*to = 'x', 1u) : 0u;
                 }),
                 "");
        result<response> got = api.send(put);
        CHECK(server.accepted() == (is_held ? 2 : 1));
        if (is_held) CHECK_MESSAGE(got, got.error().message());
        else CHECK(got.error() == errc::cut_off);
        CHECK(asked == 2);
    }
}

TEST_CASE("client: a fresh connection is not tried twice") {
    fake server([](end_point& at) { at.head(); });
    CHECK(client(server.path).get("/").error() == errc::cut_off);
    CHECK(server.accepted() == 1);
}

TEST_CASE("client: a server that drips meets the total deadline, a silent one read_timeout") {
    fake drips([](end_point& at) {
        at.head();
        at.say("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
        while (at.say("x")) ::usleep(2000);
    });
    for (bool cancellable : {false, true}) {
        auto begin = std::chrono::steady_clock::now();
        request req("GET", "/");
        req.timeout(150ms);
        if (cancellable) req.cancel_with(canceller());
        result<response> got = client(drips.path, quick(5s)).send(req);
        REQUIRE(!got);
        CHECK(got.error() == std::errc::timed_out);
        CHECK(contains(got.error(), "limit 150 ms"));
        auto took = std::chrono::steady_clock::now() - begin;
        CHECK(took >= 150ms);
        // Dripping is progress: read_timeout alone doesn't end it. Where the machine is so busy
        // that what drips is silent for that long, once more with twice the time.
        error late;
        bool is_total = false;
        for (auto read = 50ms; read < 10s && !is_total; read *= 2) {
            late = client(drips.path, quick(read, read * 20)).get("/").error();
            is_total = contains(late, "limit " + std::to_string(read.count() * 20) + " ms");
        }
        CHECK(late == std::errc::timed_out);
        CHECK_MESSAGE(is_total, late.message());
    }
}

TEST_CASE("client: signals don't stretch a deadline") {
    fake silent([](end_point& at) { at.rest(); });
    struct sigaction act {
    }, before{};
    act.sa_handler = [](int) {};
    ::sigaction(SIGUSR1, &act, &before);
    std::atomic<bool> over{false};
    std::thread pesters([&, whom = ::pthread_self()] {
        for (int i = 0; i < 2'000 && !over; ++i) ::pthread_kill(whom, SIGUSR1), ::usleep(2000);
    });
    for (std::size_t fds : {0u, 1u}) {
        client_options silence = quick(100ms), all = quick(5s, 100ms), spins = quick(100ms);
        silence.max_fds_count = all.max_fds_count = spins.max_fds_count = fds;
        spins.busy_poll = 50ms;
        for (const client_options& o : {silence, all, spins}) {
            auto begin = std::chrono::steady_clock::now();
            CHECK(client(silent.path, o).get("/").error() == std::errc::timed_out);
            auto took = std::chrono::steady_clock::now() - begin;
            CHECK(took >= 100ms);
            CHECK(took < 2s);
        }
    }
    over = true;
    pesters.join();
    ::sigaction(SIGUSR1, &before, nullptr);
}

TEST_CASE("fact: sendfile to a closed peer raises SIGPIPE, hence pread") {
    int fds[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    unique_fd near(fds[0]), file(::memfd_create("t", MFD_CLOEXEC));
    ::close(fds[1]);
    REQUIRE(::ftruncate(file.get(), 100) == 0);
    static volatile sig_atomic_t raised;
    raised = 0;
    struct sigaction act {
    }, before{};
    act.sa_handler = [](int) { raised = 1; };
    ::sigaction(SIGPIPE, &act, &before);
    CHECK(::sendfile(near.get(), file.get(), nullptr, 100) == -1);
    CHECK(raised == 1);
    raised = 0;
    fake closes([](end_point& at) { at.bytes(1); });
    result<response> got =
        client(closes.path)
            .send(request("PUT", "/").body(content::file(std::move(file), 0, 100), ""));
    CHECK(!got);
    std::string large(4 << 20, 'x');
    CHECK(!client(closes.path).put("/", large, ""));
    CHECK(raised == 0);
    ::sigaction(SIGPIPE, &before, nullptr);
}

TEST_CASE("client: a body that nobody reads meets the deadline") {
    fake stuck([](end_point& at) {
        at.head();
        at.wait_for_hang_up();
    });
    std::string large(8 << 20, 'x');
    result<response> got = client(stuck.path, quick(5s, 200ms)).post("/", large, "text/plain");
    REQUIRE(!got);
    CHECK(got.error() == std::errc::timed_out);
    CHECK(contains(got.error(), "sending the request (limit 200 ms)"));
}

TEST_CASE("client: a full backlog meets connect_timeout") {
    fake full(nullptr, 0);
    client_options options;
    options.connect_timeout = 60ms;
    client fills(full.path, quick(30ms));
    CHECK(fills.get("/").error() == std::errc::timed_out); // it stands in the queue
    std::vector<unique_fd> queued;
    for (;;) {
        result<unique_fd> one = detail::try_connect(full.path);
        if (!one) break;
        queued.push_back(*std::move(one));
    }
    for (bool cancellable : {false, true}) {
        request req("GET", "/");
        if (cancellable) req.cancel_with(canceller());
        result<response> got = client(full.path, options).send(req);
        REQUIRE(!got);
        CHECK(got.error() == std::errc::timed_out);
        CHECK(contains(got.error(), full.path));
        CHECK(!got.error().sent());
    }
}

TEST_CASE("client: a canceller ends a call from another thread, and every later one") {
    canceller stop;
    fake silent([&](end_point& at) {
        at.head();
        stop.cancel();
        at.rest();
    });
    client api(silent.path);
    request req("GET", "/");
    req.cancel_with(stop);
    for (int i = 0; i < 2; ++i) CHECK(api.send(req).error() == std::errc::operation_canceled);
    CHECK(silent.accepted() == 1);
}

TEST_CASE("client: eight threads share two connections") {
    fake server(echo_targets);
    client_options options;
    options.max_connections_count = 2;
    client api(server.path, options);
    std::atomic<int> right{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 8; ++t)
        threads.emplace_back([&, t] {
            for (int i = 0; i < 50; ++i) {
                std::string target = "/" + std::to_string(t * 1000 + i);
                result<response> got = api.get(target);
                right += got && got->body() == target;
            }
        });
    for (std::thread& t : threads) t.join();
    CHECK(right == 400);
    CHECK(server.accepted() <= 2);
}

TEST_CASE("client: waiting for a connection is bounded, and can be cancelled") {
    fake server([](end_point& at) {
        at.head();
        at.say("HTTP/1.1 200 OK\r\n\r\n");
        at.rest();
    });
    client_options options = quick(5s);
    options.max_connections_count = 1;
    client api(server.path, options);
    result<reply> held = api.stream(request("GET", "/"));
    REQUIRE(held);
    request req("GET", "/");
    req.timeout(40ms);
    result<response> got = api.send(req);
    CHECK(got.error() == std::errc::timed_out);
    CHECK(contains(got.error(), server.path));
    CHECK(!got.error().sent());
    canceller stop;
    std::thread later([&] { stop.cancel(); });
    CHECK(api.send(request("GET", "/").cancel_with(stop)).error() == std::errc::operation_canceled);
    later.join();
}

TEST_CASE("client: a refusal that comes during the upload is returned") {
    constexpr const char* refusal =
        "HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig";
    std::string large(8 << 20, 'x');
    for (bool closes : {true, false}) {
        fake server([&](end_point& at) {
            at.head();
            at.say(refusal);
            if (closes) return;
            at.wait_for_hang_up();
        });
        client api(server.path, quick(3s));
        for (int i = 0; i < 2; ++i) {
            std::size_t left = large.size();
            auto fill = [&](char* into, std::size_t room) -> result<std::size_t> {
                std::size_t n = room < left ? room : left;
                std::memset(into, 'x', n);
                left -= n;
                return n;
            };
            request req("POST", "/");
            if (i == 0) req.body(large, "text/plain");
            else req.body(content::pulled(fill), "");
            result<response> got = api.send(req);
            REQUIRE_MESSAGE(got, got.error().message());
            CHECK(got->status() == 413);
            CHECK(got->body() == "big");
            CHECK(server.accepted() == i + 1); // never used again
        }
    }
}

TEST_CASE("client: an echo that answers early gets the rest of the body") {
    fake server([](end_point& at) {
        at.head();
        at.say("HTTP/1.1 200 OK\r\n");
        ::usleep(20'000);
        std::size_t size = at.bytes(8 << 20).size();
        at.say("Content-Length: 7\r\n\r\n" + std::to_string(size));
    });
    result<response> got = client(server.path).post("/", std::string(8 << 20, 'x'), "text/plain");
    REQUIRE_MESSAGE(got, got.error().message());
    CHECK(got->body() == "8388608");
}

TEST_CASE("client: an answer that is larger than what is being sent is read meanwhile") {
    const std::string large(1 << 20, 'y');
    fake server([&](end_point& at) {
        at.head();
        // All of it, while nothing of the request's body is read: it fits nowhere but in the
        // client.
        if (!at.answer(large)) return;
        at.bytes(8 << 20);
        echo_targets(at);
    });
    client api(server.path);
    result<response> got = api.post("/", std::string(8 << 20, 'x'), "text/plain");
    REQUIRE_MESSAGE(got, got.error().message());
    CHECK((got->body() == large));
    got = api.get("/next"); // on the same connection, whose buffer is small again
    CHECK((got && got->body() == "/next"));
    CHECK(server.accepted() == 1);
}

TEST_CASE("client: an answer over max_body_bytes ends the upload that it comes in") {
    const std::string large(8 << 20, 'y');
    fake server([&](end_point& at) {
        at.head();
        at.say("HTTP/1.1 200 OK\r\n\r\n" + large);
        at.wait_for_hang_up();
    });
    client_options o = quick(5s);
    o.max_body_bytes = 1 << 20;
    const auto get = [&](bool whole) {
        client api(server.path, o);
        request req("POST", "/");
        req.body(large, "text/plain");
        return whole ? api.send(req).error() : api.stream(std::move(req)).error();
    };
    for (bool whole : {true, false}) CHECK(get(whole) == errc::too_large);
}

TEST_CASE("client: Expect: 100-continue waits for the word, or a second, or a refusal") {
    struct row {
        const char* says;
        int status;
        bool sends;
    };
    for (const row& r :
         {row{"HTTP/1.1 100 Continue\r\n\r\n", 200, true}, row{"", 200, true},
          row{"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n", 200, true},
          row{"HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n", 417, false}}) {
        CAPTURE(r.says);
        std::string body;
        {
            fake server([&](end_point& at) {
                at.head();
                at.say(r.says);
                body = r.sends ? at.bytes(3) : at.rest();
                at.answer("");
            });
            client api(server.path);
            request req("POST", "/");
            req.body("abc", "text/plain").header("Expect", "100-continue");
            result<response> got = api.send(req);
            REQUIRE_MESSAGE(got, got.error().message());
            CHECK(got->status() == r.status);
        }
        CHECK(body == (r.sends ? "abc" : ""));
    }
}

TEST_CASE("client: content that ends early or fails cuts the request") {
    fake server([](end_point& at) { at.rest(); });
    client api(server.path, quick(5s));
    auto none = [](char*, std::size_t) -> result<std::size_t> { return std::size_t(0); };
    result<response> got = api.send(request("PUT", "/").body(content::pulled(none, 2), ""));
    CHECK(got.error() == errc::bad_field);
    auto fails = [](char*, std::size_t) -> result<std::size_t> {
        return error(std::make_error_code(std::errc::io_error), "disk");
    };
    got = api.send(request("PUT", "/").body(content::pulled(fails), ""));
    CHECK(got.error() == std::errc::io_error);
    CHECK(contains(got.error(), "disk"));
    CHECK(got.error().sent());
    got = api.send(request("PUT", "/").body(content::pulled({}), ""));
    CHECK(contains(got.error(), "pulled"));
}

TEST_CASE("client: a stream is read as it comes, and its connection kept") {
    fake server([](end_point& at) {
        for (; !at.head().empty();)
            at.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: hop\r\n\r\n"
                   "3\r\nabc\r\n2\r\nde\r\n0\r\nHop: 1\r\nSum: 5\r\n\r\n");
    });
    auto api = std::make_unique<client>(server.path);
    for (int i = 0; i < 2; ++i) {
        result<reply> got = api->stream(request("GET", "/"));
        REQUIRE(got);
        CHECK(got->head.status() == 200);
        if (i == 1) api.reset(); // the stream outlives it
        std::string all;
        char piece[2];
        for (;;) {
            result<std::size_t> n = got->body.read(piece, sizeof piece);
            REQUIRE_MESSAGE(n, n.error().message());
            if (*n == 0) break;
            all.append(piece, *n);
        }
        CHECK(all == "abcde");
        CHECK(got->body.trailers().get("sum") == "5");
        CHECK_FALSE(got->body.trailers().contains("hop")); // RFC 9110 7.6.1
        CHECK(*got->body.read(piece, 2) == 0);
        CHECK(server.accepted() == 1);
    }
}

TEST_CASE("client: a stream may be silent for longer than read_timeout, not than its own timeout") {
    fake server([](end_point& at) {
        at.head();
        at.say("HTTP/1.1 200 OK\r\n\r\na");
        ::usleep(350'000);
        at.say("b");
        at.rest();
    });
    client api(server.path, quick(300ms));
    result<reply> got = api.stream(request("GET", "/").timeout(1s));
    REQUIRE(got);
    char byte;
    CHECK(*got->body.read(&byte, 1) == 1);
    CHECK(*got->body.read(&byte, 1) == 1);
    CHECK(byte == 'b');
    result<std::size_t> n = got->body.read(&byte, 1);
    REQUIRE(!n);
    CHECK(n.error() == std::errc::timed_out);
    CHECK(contains(n.error(), server.path));
}

TEST_CASE("client: a stream dropped early closes its connection, a cut one says so") {
    std::atomic<int> gone{0};
    fake server([&](end_point& at) {
        at.head();
        at.say("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
        if (at.nth == 0) gone += at.is_gone();
    });
    client api(server.path);
    {
        result<reply> got = api.stream(request("GET", "/"));
        REQUIRE(got);
    }
    result<reply> got = api.stream(request("GET", "/"));
    REQUIRE(got);
    char piece[10];
    CHECK(*got->body.read(piece, 10) == 3);
    CHECK(got->body.read(piece, 10).error() == errc::cut_off);
    CHECK(got->body.read(piece, 10).error() == errc::cut_off);
    CHECK(server.accepted() == 2);
    while (gone == 0) std::this_thread::yield();
}

TEST_CASE("client: a stream is passed on as a body") {
    fake from(
        says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nT: 1\r\n\r\n"));
    fake cut(says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"));
    std::string seen;
    {
        fake to([&](end_point& at) {
            at.head();
            for (std::string more; seen.find("\r\n\r\n") == std::string::npos; seen += more)
                if ((more = at.bytes(1)).empty()) return;
            at.answer("");
        });
        result<reply> got = client(from.path).stream(request("GET", "/"));
        REQUIRE(got);
        client api(to.path);
        CHECK(api.send(request("PUT", "/").body(std::move(got->body), "")));
    }
    CHECK(seen == "3\r\nabc\r\n0\r\nT: 1\r\n\r\n");
    fake to([&](end_point& at) { seen = at.rest(); });
    result<reply> got = client(cut.path).stream(request("GET", "/"));
    REQUIRE(got);
    client api(to.path);
    CHECK(api.send(request("PUT", "/").body(std::move(got->body), "")).error() == errc::cut_off);
}

TEST_CASE("client: a received request is passed on with its body") {
    fake server([](end_point& at) {
        if (at.head().find("Content-Length: 3\r\n") != std::string::npos) at.answer(at.bytes(3));
    });
    request req("POST", "/");
    detail::request_state& s = detail::state_of(req);
    s.body = content("abc"); // as a server makes them
    result<response> got = client(server.path).send(req);
    REQUIRE_MESSAGE(got, got.error().message());
    CHECK(got->body() == "abc");
}

TEST_CASE("client: on_data of a blocking client's stream says that there is no loop") {
    fake server(says("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"));
    result<reply> got = client(server.path).stream(request("GET", "/"));
    REQUIRE(got);
    error why;
    got->body.on_data([](string_view) {}, [&](const error& e) { why = e; });
    CHECK(why == std::errc::operation_not_supported);
    CHECK_NOTHROW(got->body.on_data({}, [](const error&) { throw 1; })); // there is no log
}

TEST_CASE("client: a canceller ends an upload that nobody reads") {
    canceller stop;
    fake stuck([&](end_point& at) {
        at.head();
        stop.cancel();
        at.wait_for_hang_up();
    });
    request req("PUT", "/");
    req.body(std::string(8 << 20, 'x'), "").cancel_with(stop);
    CHECK(client(stuck.path).send(req).error() == std::errc::operation_canceled);
}

TEST_CASE("client: upgrade gives both directions, and a refusal whole") {
    std::string head;
    {
        fake server([&](end_point& at) {
            head = at.head();
            if (head.find("Connection: Upgrade\r\n") == std::string::npos)
                return void(at.say("HTTP/1.1 400 No\r\nContent-Length: 0\r\n\r\n"));
            if (head.find("Upgrade: tcp") == std::string::npos)
                return void(at.say("HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno"));
            at.say("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "
                   "tcp\r\n\r\nhello");
            at.say(at.rest());
        });
        client api(server.path);
        result<upgraded> got = api.upgrade(request("POST", "/").header("Upgrade", "tcp"));
        REQUIRE_MESSAGE(got, got.error().message());
        REQUIRE(*got);
        CHECK(got->out.write("abc") == written::ok);
        CHECK(got->out.end()); // half of it: `in` goes on
        CHECK(got->out.write("d") == written::closed);
        std::string all;
        char piece[4];
        for (result<std::size_t> n = got->in.read(piece, 4); n && *n; n = got->in.read(piece, 4))
            all.append(piece, *n);
        CHECK(all == "helloabc");

        result<upgraded> raw = api.upgrade(request("GET", "/").header("Upgrade", "tcp"));
        REQUIRE((raw && *raw));
        raw_stream out = std::move(*raw).release();
        raw = result<upgraded>(upgraded{response(), {}, {}}); // what is left of it cuts nothing
        CHECK(out.already_read == "hello");
        CHECK((::fcntl(out.fd.get(), F_GETFL) & O_NONBLOCK) != 0);
        for (int limit : {SO_RCVTIMEO, SO_SNDTIMEO}) {
            timeval time{1, 0};
            socklen_t size = sizeof time;
            CHECK(::getsockopt(out.fd.get(), SOL_SOCKET, limit, &time, &size) == 0);
            CHECK((time.tv_sec == 0 && time.tv_usec == 0)); // the other protocol's to set
        }
        CHECK(::send(out.fd.get(), "x", 1, MSG_NOSIGNAL) == 1);

        result<upgraded> no = api.upgrade(request("GET", "/").header("Upgrade", "x"));
        REQUIRE(no);
        CHECK(!*no);
        CHECK(no->head.status() == 403);
        CHECK(no->head.body() == "no");
        CHECK(api.upgrade(request("GET", "/")).error() == errc::bad_field);
    }
}

TEST_CASE("client: a call that is cancelled or late before it begins sends nothing") {
    std::atomic<int> heads{0};
    fake server([&](end_point& at) {
        while (!at.head().empty()) ++heads, at.answer("x");
    });
    for (microseconds spin : {0us, 1000us}) {
        CAPTURE(spin.count());
        client_options o;
        o.busy_poll = spin;
        client api(server.path, o);
        REQUIRE(api.get("/"));
        const int before = heads;
        canceller stop;
        stop.cancel();
        for (bool late : {false, true}) {
            request req("POST", "/");
            late ? req.timeout(0ms) : req.cancel_with(stop);
            const error why = api.send(req).error();
            CHECK(why == (late ? std::errc::timed_out : std::errc::operation_canceled));
            CHECK_FALSE(why.sent());
        }
        REQUIRE(api.get("/")); // the connection has been kept
        CHECK(heads == before + 1);
        CHECK(server.accepted() == (spin == 0us ? 1 : 2));
    }
}

TEST_CASE("client: between the pieces of a body that is pulled, time and a canceller count") {
    fake server([](end_point& at) { at.rest(); });
    for (bool late : {false, true}) {
        CAPTURE(late);
        canceller stop;
        int pieces = 0;
        request req("POST", "/");
        late ? req.timeout(50ms) : req.cancel_with(stop);
        req.body(content::pulled([&](char* to, std::size_t) -> result<std::size_t> {
                     if (++pieces == 3) stop.cancel();
                     ::usleep(1'000);
                     return *to = 'x', pieces < 5'000 ? std::size_t{1} : std::size_t{0};
                 }),
                 "text/plain");
        const error why = client(server.path).send(req).error();
        CHECK(why == (late ? std::errc::timed_out : std::errc::operation_canceled));
        CHECK(pieces < (late ? 5'000 : 4));
    }
}

TEST_CASE("client: a refusal behind interim answers ends an upload that nobody reads") {
    for (const char* interim : {"103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 102 P", "100 C"}) {
        fake server([&](end_point& at) {
            at.head();
            at.say(std::string("HTTP/1.1 ") + interim +
                   "\r\n\r\nHTTP/1.1 413 Large\r\nContent-Length: 2\r\n\r\nno");
            at.wait_for_hang_up();
        });
        client_options o;
        o.read_timeout = 5s;
        result<response> got =
            client(server.path, o).post("/", std::string(8 << 20, 'x'), "text/plain");
        REQUIRE_MESSAGE(got, got.error().message());
        CHECK(got->status() == 413);
        CHECK(got->body() == "no");
    }
}

TEST_CASE("client: interim answers without an end, or a head, end an upload that nobody reads") {
    const std::string interim = "HTTP/1.1 103 Early Hints\r\n\r\n";
    std::string many;
    for (int i = 0; i < 17; ++i) many += interim;
    const struct {
        const char* name;
        std::string said;
        errc why;
    } rows[] = {{"one too many", many, errc::bad_message},
                {"one without an end", interim.substr(0, 26) + "X: " + std::string(1 << 20, 'x'),
                 errc::too_large}};
    for (const auto& r : rows) {
        CAPTURE(r.name);
        fake server([&](end_point& at) {
            at.head();
            for (std::size_t from = 0; from < r.said.size() && at.say(r.said.substr(from, 4096));)
                from += 4096;
            at.wait_for_hang_up();
        });
        client_options o;
        o.read_timeout = 5s;
        const auto got = client(server.path, o).post("/", std::string(8 << 20, 'x'), "text/plain");
        CHECK_MESSAGE(got.error() == r.why, got.error().message());
    }
}

TEST_CASE("client: interim answers that come byte by byte are looked through once") {
    // What a server can say while a request's body waits for room; each byte brings a look at it.
    const std::string early = "HTTP/1.1 103 Early\r\nA: b\r\n\r\n", last = "HTTP/1.1 413 ";
    const std::string rows[] = {early + early + last,
                                early + "HTTP/1.1 100 " + std::string(60'000, '\r')};
    for (const std::string& said : rows) {
        const client_options usual;
        detail::wire on{unique_fd(), usual};
        on.start({});
        std::size_t found = 0;
        timespec before{}, after{};
        ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &before);
        for (const char c : said) {
            on.in[on.end++] = c;
            found += !on.final_answer().empty();
        }
        ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &after);
        CHECK(found == (&said == rows ? 2 : 0)); // once its status is there
        CHECK(after.tv_sec - before.tv_sec < 2); // a look at all of it each time takes several
    }
}

TEST_CASE("client: a server that reads slowly is not a dead one") {
    // A Unix socket is writable again when three quarters of its buffer were read: at this pace
    // that takes longer than the limit.
    fake server([](end_point& at) {
        at.head();
        char piece[32 << 10];
        for (std::size_t size = at.in.size(); size < (4 << 20); ::usleep(20'000)) {
            const ssize_t n = ::recv(at.fd, piece, sizeof piece, 0);
            if (n <= 0) return;
            size += static_cast<std::size_t>(n);
        }
        at.answer("read");
    });
    client_options o;
    o.read_timeout = 600ms;
    result<response> got =
        client(server.path, o).post("/", std::string(4 << 20, 'x'), "text/plain");
    REQUIRE_MESSAGE(got, got.error().message());
    CHECK(got->body() == "read");
}

TEST_CASE("client: a 101 in the place of 100 Continue is refused") {
    fake server([](end_point& at) {
        at.head();
        at.say("HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n");
        at.rest();
    });
    request req("POST", "/");
    req.header("Upgrade", "tcp").header("Expect", "100-continue").body("body", "text/plain");
    CHECK(client(server.path).upgrade(std::move(req)).error() == errc::bad_message);
}

TEST_CASE("client: a 101 before the request has been sent is refused") {
    for (bool reads_on : {true, false}) {
        CAPTURE(reads_on);
        fake server([&](end_point& at) {
            at.head();
            at.say("HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n");
            pollfd gone{at.fd, 0, 0};
            if (!reads_on) ::shutdown(at.fd, SHUT_RD), at.wait_for_hang_up();
            else if (::poll(&gone, 1, 200) == 0) at.rest();
        });
        request req("POST", "/");
        req.header("Upgrade", "tcp").body(std::string(8 << 20, 'x'), "text/plain");
        CHECK(client(server.path).upgrade(std::move(req)).error() == errc::bad_message);
    }
}

TEST_CASE("client: a head limit beyond all memory is as much as there is for one") {
    fake server([](end_point& at) {
        while (!at.head().empty()) at.answer("x");
    });
    client_options o;
    o.max_head_bytes = SIZE_MAX;
    CHECK(client(server.path, o).get("/"));
}

TEST_CASE("client: a 101 switches to what was offered, else it is refused") {
    struct row {
        const char *offered, *taken;
        bool fits;
    };
    const row rows[] = {{"tcp", "tcp", true},        {"a, tcp/2", "TCP/2", true},
                        {"a, b", "b, a", true},      {"tcp", "tcp, ws", false},
                        {"websocket", "tcp", false}, {"tcp", "tc", false},
                        {"tcp/1", "tcp", false},     {"tcp", nullptr, false}};
    for (const row& r : rows) {
        CAPTURE(r.offered);
        CAPTURE(r.taken);
        fake server([&](end_point& at) {
            if (at.head().empty()) return;
            std::string taken = r.taken ? std::string("Upgrade: ") + r.taken + "\r\n" : "";
            at.say("HTTP/1.1 101 X\r\nConnection: Upgrade\r\n" + taken + "\r\n");
        });
        result<upgraded> got =
            client(server.path).upgrade(request("GET", "/").header("Upgrade", r.offered));
        CHECK(static_cast<bool>(got) == r.fits);
        if (!got) CHECK(got.error() == errc::bad_message);
    }
}

TEST_CASE("client: the writer of an upgrade blocks, so it is never full and calls nobody back") {
    std::atomic<int> ended{0};
    fake server([&](end_point& at) {
        if (at.head().empty()) return;
        at.say("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n");
        at.rest();
        ++ended;
    });
    client api(server.path);
    auto open = [&] { return api.upgrade(request("GET", "/").header("Upgrade", "tcp")); };
    result<upgraded> up = open();
    REQUIRE((up && *up));
    int calls = 0;
    up->out.on_drain([&] { ++calls; });
    up->out.on_close([&] { ++calls; });
    CHECK(up->out.is_open());
    CHECK(up->out.wait(0ms) == written::ok);
    const std::string large(1 << 20, 'x');
    int released = 0;
    CHECK(up->out.write(large, [&] { ++released; }) == written::ok);
    CHECK(released == 1);
    CHECK(up->in.trailers().begin() == up->in.trailers().end());
    up->out.cut(); // both directions
    CHECK_FALSE(up->out.is_open());
    CHECK(up->out.wait(0ms) == written::closed);
    CHECK(up->out.write("x", [&] { ++released; }) == written::closed);
    CHECK(released == 2); // not needed any more either
    CHECK_FALSE(up->out.end());
    char byte;
    result<std::size_t> none = up->in.read(&byte, 1);
    CHECK((none && *none == 0));
    CHECK(calls == 0);
    {
        result<upgraded> dropped = open();
        REQUIRE((dropped && *dropped));
    }
    for (int i = 0; i < 10'000 && ended < 2; ++i) ::usleep(1000);
    CHECK(ended == 2); // dropped, its server sees the end
    raw_stream nothing = std::move(*std::make_unique<upgraded>()).release();
    CHECK_FALSE(static_cast<bool>(nothing.fd));
}

TEST_CASE("client: a stream that is no upgrade releases nothing") {
    fake server(echo_targets);
    client api(server.path);
    result<upgraded> refused = api.upgrade(request("GET", "/refused").header("Upgrade", "tcp"));
    REQUIRE(refused);
    CHECK_FALSE(static_cast<bool>(*refused));
    CHECK(refused->head.body() == "/refused");
    CHECK_FALSE(static_cast<bool>(std::move(*refused).release().fd));
    result<reply> got = api.stream(request("GET", "/a"));
    REQUIRE(got);
    got->body.pause(), got->body.resume(); // read() decides how fast it comes
    char piece[8];
    result<std::size_t> n = got->body.read(piece, sizeof piece);
    CHECK((n && string_view(piece, *n) == "/a"));
}

TEST_CASE("client: events, whatever ends their lines") {
    struct row {
        const char* bytes;
        const char* seen; // type=data@id| each
    };
    for (const row& r : {
             row{"data: a\n\n", "message=a@|"},
             row{"data:a\r\rdata: b\r\n\r\n", "message=a@|message=b@|"},
             row{"\xef\xbb\xbf"
                 "data: a\n\n",
                 "message=a@|"},
             row{"event: x\ndata: a\ndata: b\nid: 7\n\ndata:  c\n\n", "x=a\nb@7|message= c@7|"},
             row{": comment\nid: 1\n\ndata\n\n", "message=@1|"},
             row{"event: lost\n\ndata: a\n\ndata: unfinished\n", "message=a@|"},
         }) {
        for (std::size_t step : {std::size_t(1), std::size_t(1000)}) {
            CAPTURE(r.bytes);
            event_parser parser;
            std::string seen;
            for (string_view rest = r.bytes; !rest.empty();
                 rest.remove_prefix(std::min(step, rest.size())))
                parser.feed(rest.substr(0, step), [&](const event& e) {
                    seen.append(e.type).append("=").append(e.data).append("@").append(e.id).append(
                        "|");
                    return true;
                });
            CHECK(seen == r.seen);
        }
    }
}

TEST_CASE("client: events reconnect with the last id, until somebody has had enough") {
    std::vector<std::string> heads;
    detail::mutex guard;
    const char* stream =
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\r\n";
    fake server([&](end_point& at) {
        std::string head = at.head();
        {
            detail::hold lock(guard);
            heads.push_back(head);
        }
        if (at.nth == 2) return void(at.say("HTTP/1.1 204 No Content\r\n\r\n"));
        at.say(stream);
        at.say("retry: 1\nid: " + std::to_string(at.nth + 5) + "\ndata: x\n\n");
    });
    client api(server.path);
    int count = 0;
    auto take = [&](const event& e) {
        ++count;
        return e.data == "x";
    };
    error e = event_source(api, "/e").run(take);
    CHECK_MESSAGE(!e, e.message());
    CHECK(count == 2);
    REQUIRE(heads.size() == 3);
    CHECK(heads[0].find("Accept: text/event-stream\r\n") != std::string::npos);
    CHECK(heads[0].find("Last-Event-ID") == std::string::npos);
    CHECK(heads[1].find("Last-Event-ID: 5\r\n") != std::string::npos);
    CHECK(heads[2].find("Last-Event-ID: 6\r\n") != std::string::npos);
    CHECK(!event_source(api, "/e").run([](const event&) { return false; }));

    canceller stop;
    auto stops = [&](const event&) { return stop.cancel(), true; };
    CHECK(event_source(api, "/e", stop).run(stops) == std::errc::operation_canceled);
    fake refuses(says("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"));
    client to_refuses(refuses.path), to_nowhere("/nowhere");
    e = event_source(to_refuses, "/e").run(take);
    CHECK(e == std::errc::protocol_error);
    CHECK(e.message() == "events /e: no event stream, but 500 '': Protocol error");
    CHECK(event_source(to_nowhere, "/e").run(take) == std::errc::no_such_file_or_directory);
    const std::string head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream";
    fake other(says(head + "ful\r\n\r\ndata: x\n\n")); // another type
    client to_other(other.path);
    e = event_source(to_other, "/e").run([](const event&) { return false; });
    CHECK(e.message() ==
          "events /e: no event stream, but 200 'text/event-streamful': Protocol error");
    fake odd(says(head + "\r\n\r\nretry: 1\nid: a\x01\ndata: x\n\n")); // an id that can't go back
    client to_odd(odd.path);
    int seen = 0;
    CHECK(event_source(to_odd, "/e").run([&](const event&) { return ++seen < 3; }) ==
          errc::bad_field);
    CHECK(seen == 1);
}

TEST_CASE("client: an adopted connection is the only one") {
    int fds[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) == 0);
    unique_fd far(fds[1]);
    ::fcntl(far.get(), F_SETFL, O_RDWR);
    std::thread server([&] {
        end_point at{far.get(), 0};
        for (int i = 0; i < 2; ++i) at.head(), at.answer("x");
        far = unique_fd();
    });
    client api("/nowhere");
    REQUIRE(!api.adopt(unique_fd(fds[0])));
    CHECK(api.get("/"));
    CHECK(api.get("/"));
    server.join();
    CHECK(api.get("/").error() == std::errc::not_connected);
    CHECK(api.adopt(unique_fd()));
}

TEST_CASE("client: what can't be adopted is closed: a second one, another user's, no stream") {
    int fds[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    unique_fd far(fds[1]);
    client_options options;
    options.expect_uid = ::geteuid() + 1;
    {
        client api("/nowhere", options);
        CHECK(api.adopt(unique_fd(fds[0])) == errc::wrong_peer);
    }
    char byte;
    CHECK(::recv(far.get(), &byte, 1, 0) == 0); // closed
    fake server(echo_targets);
    client busy(server.path);
    CHECK(busy.get("/"));
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    far = unique_fd(fds[1]);
    CHECK(busy.adopt(unique_fd(fds[0])) == std::errc::already_connected);
    CHECK(::recv(far.get(), &byte, 1, 0) == 0);
    result<response> got = busy.get("/still");
    CHECK((got && got->body() == "/still"));
    CHECK(busy.adopt(unique_fd(::open("/dev/null", O_RDONLY | O_CLOEXEC))) == errc::bad_descriptor);
    client none("unconnected");
    CHECK(none.adopt(unique_fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0))) ==
          errc::bad_descriptor); // not connected
}

TEST_CASE("client: expect_uid refuses another user's server before a byte is sent") {
    fake server(echo_targets);
    client_options options;
    options.expect_uid = ::geteuid();
    CHECK(client(server.path, options).get("/"));
    options.expect_uid = ::geteuid() + 1;
    error e = client(server.path, options).get("/").error();
    CHECK(e == errc::wrong_peer);
    CHECK(!e.sent());
}

TEST_CASE("client: one shot over a URL") {
    fake server(echo_targets);
    address at(server.path);
    result<response> got = get(at.url("/world?x=%20"));
    REQUIRE(got);
    CHECK(got->body() == "/world?x=%20");
    got = send(at.url("/a"), request("PUT", "/"));
    CHECK((got && got->body() == "/a"));
    got = send("unix:" + server.path, request("PUT", "/own"));
    CHECK((got && got->body() == "/own"));
    CHECK(get("ftp://x/").error() == errc::bad_address);
}

TEST_CASE("client: on a loop every blocking call fails at once") {
    fake server(echo_targets);
    client api(server.path);
    const detail::ref<detail::mailbox> here(new detail::mailbox);
    detail::this_loop() = here.get();
    CHECK(api.get("/").error() == errc::would_block_loop);
    CHECK(api.stream(request("GET", "/")).error() == errc::would_block_loop);
    CHECK(event_source(api, "/").run([](const event&) { return true; }) == errc::would_block_loop);
    detail::this_loop() = nullptr;
    CHECK(server.accepted() == 0);
    CHECK(api.get("/"));
}

TEST_CASE("client: spinning ends at a deadline, and when it is cancelled") {
    fake silent([](end_point& at) { at.rest(); });
    for (bool late : {false, true}) {
        CAPTURE(late);
        client_options o = quick(late ? 100ms : 10s);
        o.busy_poll = 5s;
        canceller stop;
        request req("GET", "/");
        req.cancel_with(stop);
        auto begin = std::chrono::steady_clock::now();
        std::thread other([&] {
            ::usleep(100'000);
            if (!late) stop.cancel();
        });
        const error why = client(silent.path, o).send(req).error();
        other.join();
        CHECK(why == (late ? std::errc::timed_out : std::errc::operation_canceled));
        CHECK(std::chrono::steady_clock::now() - begin < 3s);
    }
}

TEST_CASE("client: spinning gives the same answers") {
    fake server(echo_targets);
    client_options options;
    options.busy_poll = microseconds(20);
    client api(server.path, options);
    for (int i = 0; i < 200; ++i) CHECK(api.get("/x"));
}

/// What so many requests cost this thread, in ms of the processor.
int burned_by(client& api, int count) {
    const int before = raw::burned_ms();
    for (int i = 0; i < count; ++i) {
        auto res = api.get("/");
        CHECK((res && res->body() == "whole"));
    }
    return raw::burned_ms() - before;
}

TEST_CASE("client: spinning that doesn't pay is given up, and tried again where it does") {
    std::atomic<useconds_t> pause{5'000};
    fake server([&](end_point& at) {
        while (!at.head().empty() && ::usleep(pause) == 0 && at.answer("whole")) {
        }
    });
    client_options options = quick(5s);
    options.busy_poll = 3ms;
    client api(server.path, options);
    CHECK(raw::comes_true([&] { return burned_by(api, 20) < 30; })); // 3 ms each would be 60
    pause = 500;
    CHECK(raw::comes_true([&] { return burned_by(api, 200) > 50; })); // who sleeps needs 10
}

TEST_CASE("client: what is there at the first look is no reason to spin the next time") {
    enum { wanted, there, awaited, over };
    std::atomic<int> turn{wanted};
    fake server([&](end_point& at) {
        at.head();
        at.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        auto chunk = [&](int when) {
            return raw::comes_true([&] { return turn == when || turn == over; }) && turn == when;
        };
        while (chunk(wanted) && at.say("1\r\na\r\n")) {
            turn = there;
            if (!chunk(awaited)) break;
            ::usleep(5'000); // longer than it spins
            at.say("1\r\nb\r\n");
        }
    });
    client_options options = quick(5s);
    options.busy_poll = 3ms;
    client api(server.path, options);
    auto reply = api.stream(request("GET", "/"));
    REQUIRE(reply);
    auto is_next = [&](char expected, int then) {
        char byte = 0;
        auto got = reply->body.read(&byte, 1);
        turn = then;
        return got && *got == 1 && byte == expected;
    };
    auto burned_by_rounds = [&] {
        const int before = raw::burned_ms();
        for (int i = 0; i < 40; ++i) {
            CHECK(raw::comes_true([&] { return turn == there; }));
            CHECK(is_next('a', awaited));
            CHECK(is_next('b', wanted));
        }
        return raw::burned_ms() - before;
    };
    // 3 ms each would be 120. Again where it is more: all else costs too, on a busy machine much.
    CHECK(raw::comes_true([&] { return burned_by_rounds() < 80; }));
    turn = over;
}

TEST_CASE("client: spinning is for what may come at any time, not for the rest of a body") {
    const std::string task = "/proc/self/task/" + std::to_string(::syscall(SYS_gettid)) + "/stat";
    auto is_asleep = [&] { // proc_pid_stat(5)
        const std::string words = raw::proc_text(task);
        return words.compare(words.rfind(')'), 3, ") S") == 0;
    };
    std::atomic<int> naps{0};
    fake server([&](end_point& at) {
        while (!at.head().empty() && at.say("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwh")) {
            naps += raw::comes_true(is_asleep, 2s);
            at.say("ole");
        }
    });
    client_options options = quick(10s);
    options.busy_poll = 10s;
    client api(server.path, options);
    burned_by(api, 2); // the second on a kept connection
    CHECK(naps == 2);
}

TEST_CASE("client: a reused response costs no allocation") {
    char bytes[] = "HTTP/1.1 200 OK\r\nServer: x\r\nContent-Type: text/plain\r\n"
                   "Content-Length: 26\r\n\r\nabcdefghijklmnopqrstuvwxyz";
    fake server([&](end_point& at) {
        char in[1024]; // allocates nothing either
        while (::recv(at.fd, in, sizeof in, 0) > 0) at.say(string_view(bytes, sizeof bytes - 1));
    });
    client api(server.path);
    request req("GET", "/");
    response res;
    for (int i = 0; i < 3; ++i) REQUIRE(!api.send(req, res));
    std::size_t before = allocations;
    bool fine = true;
    for (int i = 0; i < 1000; ++i) fine &= !api.send(req, res) && res.body().size() == 26;
    CHECK(fine);
    CHECK(allocations == before);
    CHECK(res.header("server") == "x");
    CHECK(server.accepted() == 1);
}

namespace {

/// Waits until the client has read all that was said to it.
void wait_until_read(const end_point& at) {
    int unread = 1;
    (void)raw::comes_true([&] { return ::ioctl(at.fd, SIOCOUTQ, &unread) == 0 && unread == 0; });
}

constexpr string_view switched =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";

} // namespace

TEST_CASE("client: a head whose beginning came with an interim answer is whole") {
    fake server([](end_point& at) {
        at.head();
        at.say("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 20");
        wait_until_read(at);
        at.say("2 Accepted\r\nContent-Length: 2\r\n\r\nok");
    });
    result<response> got = client(server.path, quick(5s)).get("/");
    REQUIRE_MESSAGE(got, got.error().message());
    CHECK(got->status() == 202);
    CHECK(got->body() == "ok");
}

TEST_CASE("client: a call that fails gives its place in the pool back") {
    fake server([](end_point& at) {
        at.head();
        if (at.nth == 0) return void(at.say("what?\r\n\r\n"));
        at.answer("x");
    });
    client_options options = quick(5s, 5s);
    options.max_connections_count = 1;
    client api(server.path, options);
    CHECK(api.get("/").error() == errc::bad_message);
    result<response> got = api.get("/");
    CHECK_MESSAGE(got, got.error().message());
}

TEST_CASE("client: only silence is tried again, and what the last try did to the request is told") {
    // An answer that is wrong has been an answer: no second try, though GET would allow one.
    fake wrong([](end_point& at) {
        at.head();
        at.answer("x");
        at.head();
        at.say("what?\r\n\r\n");
    });
    client api(wrong.path, quick(5s));
    REQUIRE(api.get("/"));
    CHECK(api.get("/").error() == errc::bad_message);
    CHECK(wrong.accepted() == 1);

    // The first try has left, the second finds no server.
    fake leaving([](end_point& at) {
        at.head();
        at.answer("x");
        at.head();
        sockaddr_un here{};
        socklen_t size = sizeof here;
        REQUIRE(::getsockname(at.fd, reinterpret_cast<sockaddr*>(&here), &size) == 0);
        ::unlink(here.sun_path);
    });
    client other(leaving.path, quick(5s));
    REQUIRE(other.get("/"));
    result<response> got = other.get("/");
    REQUIRE(!got);
    CHECK(got.error() == std::errc::no_such_file_or_directory);
    CHECK(got.error().sent());

    // A second try's silence is bounded like the first one's.
    fake silent([](end_point& at) {
        at.head();
        if (at.nth > 0) {
            pollfd gone{at.fd, POLLIN, 0};
            ::poll(&gone, 1, 3'000);
            return;
        }
        at.answer("x");
        at.head();
    });
    client third(silent.path, quick(50ms));
    REQUIRE(third.get("/"));
    CHECK(third.get("/").error() == std::errc::timed_out);
    CHECK(silent.accepted() == 2);

    // There is no second connection where one was adopted.
    int fds[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    client adopted("/nowhere", quick(5s));
    REQUIRE_FALSE(adopted.adopt(unique_fd(fds[0])));
    std::thread peer([far = fds[1]] {
        end_point at{far, 0};
        at.head(), at.answer("x"), at.head();
        ::close(far);
    });
    CHECK(adopted.get("/"));
    got = adopted.get("/");
    peer.join();
    CHECK(got.error() == errc::cut_off);
    CHECK(got.error().sent());
}

TEST_CASE("client: a refusal counts on a kept connection, and on one that took nothing") {
    fake server([](end_point& at) {
        at.head();
        at.answer("x");
        at.head();
        at.say("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig");
    });
    client api(server.path, quick(5s));
    REQUIRE(api.get("/"));
    result<response> got = api.post("/", std::string(8 << 20, 'x'), "text/plain");
    REQUIRE_MESSAGE(got, got.error().message());
    CHECK(got->status() == 413);

    // A server that has no room for one more says so before it has read a byte.
    detail::client_core& core = *detail::access::of(api);
    request req("POST", "/");
    detail::client_exchange one(core, req);
    REQUIRE_FALSE(core.pick(one.on, {}));
    int fds[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    one.on->fd = unique_fd(fds[0]);
    end_point far{fds[1], 0};
    far.say("HTTP/1.1 503 Full\r\nContent-Length: 0\r\n\r\n");
    ::close(fds[1]);
    const error bad = one.attempt();
    CHECK_MESSAGE(!bad, bad.message());
    CHECK(one.got.status == 503);
}

TEST_CASE("client: what a kept connection's end refused to the first byte is sent again") {
    std::atomic<bool> is_kept{false};
    fake server([&](end_point& at) {
        at.head();
        at.answer("x");
        if (at.nth > 0) return void(at.head());
        (void)raw::comes_true([&] { return is_kept.load(); });
        at.say("HTTP/1.1 408 Too Late\r\nContent-Length: 0\r\n\r\n"); // to no request
    });
    client api(server.path, quick(5s));
    REQUIRE(api.get("/"));
    detail::client_core& core = *detail::access::of(api);
    REQUIRE(core.idle.size() == 1);
    is_kept = true;
    detail::wire& kept = *core.idle.back();
    REQUIRE(detail::wait_ready(kept.fd.get(), POLLRDHUP, detail::deadline::after(10s), nullptr) ==
            0);
    kept.last_used = INT64_MAX / 2; // so lately that nobody looks
    result<response> got = api.post("/", "abc", "text/plain");
    REQUIRE_MESSAGE(got, got.error().message());
    CHECK(got->status() == 200);
    CHECK(server.accepted() == 2);
}

TEST_CASE("client: a refusal behind an interim answer keeps a body that waits for 100 back") {
    const auto refuse = [](end_point& at, std::string early) {
        at.say(early.append("HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n"));
        ::shutdown(at.fd, SHUT_WR);
        return at.rest();
    };
    for (bool together : {true, false}) {
        CAPTURE(together);
        std::string body;
        {
            fake server([&](end_point& at) {
                at.head();
                const char* const early = "HTTP/1.1 103 Early Hints\r\n\r\n";
                if (together) return void(body = refuse(at, early));
                at.say(early);
                wait_until_read(at);
                body = refuse(at, "");
            });
            client api(server.path, quick(5s));
            request req("POST", "/");
            req.body("abc", "text/plain").header("Expect", "100-continue");
            result<response> got = api.send(req);
            REQUIRE_MESSAGE(got, got.error().message());
            CHECK(got->status() == 417);
        }
        CHECK(body == "");
    }
    // What comes behind the 100 is the answer, to the body as well.
    fake eager([](end_point& at) {
        at.head();
        at.say("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n");
        if (at.bytes(3) == "abc") at.say("Content-Length: 0\r\n\r\n");
    });
    client to_eager(eager.path, quick(5s));
    result<response> whole = to_eager.send(
        request("POST", "/").body("abc", "text/plain").header("Expect", "100-continue"));
    CHECK_MESSAGE(whole, whole.error().message());
    // Nor does it leave where the time for all is up before that second.
    std::string body;
    {
        fake server([&](end_point& at) { at.head(), body = at.rest(); });
        client api(server.path, quick(5s));
        request req("POST", "/");
        req.body("abc", "text/plain").header("Expect", "100-continue").timeout(30ms);
        CHECK(api.send(req).error() == std::errc::timed_out);
    }
    CHECK(body == "");
}

TEST_CASE("client: who is deaf to an upload and says no more costs no processor time") {
    fake server([](end_point& at) {
        at.head();
        ::shutdown(at.fd, SHUT_WR);
        at.wait_for_hang_up();
    });
    client api(server.path, quick(200ms));
    const std::string large(8 << 20, 'x');
    CHECK(raw::comes_true([&] { // again where what else there is to do cost as much
        const int before = raw::burned_ms();
        CHECK(api.post("/", large, "text/plain").error() == std::errc::timed_out);
        return raw::burned_ms() - before < 100;
    }));
}

TEST_CASE("client: TRACE has no content, and its Connection is what the program says") {
    std::string head;
    {
        fake server([&](end_point& at) {
            head = at.head();
            at.answer("");
        });
        client api(server.path, quick(5s));
        CHECK(api.send(request("TRACE", "/")));
        CHECK(api.send(request("TRACE", "/").body("x", "a/b")).error() == errc::bad_field);
    }
    {
        fake server([&](end_point& at) {
            head = at.head();
            at.say(switched);
        });
        client api(server.path, quick(5s));
        request req("GET", "/");
        req.header("Upgrade", "tcp").header("Connection", "x-hop, upgrade").header("X-Hop", "1");
        CHECK(api.upgrade(std::move(req)));
    }
    CHECK(head.find("Connection: x-hop, upgrade\r\n") != std::string::npos);
}

TEST_CASE("client: a response that is used again has nothing of what it was, a failed call's too") {
    fake server([](end_point& at) {
        at.head();
        at.answer("new");
        at.head();
        at.say("HTTP/1.1 200 OK\r\nX: y\r\nContent-Length: 5\r\n\r\nha");
    });
    client api(server.path, quick(5s));
    response reuse = text(content::literal("old"));
    request req("POST", "/");
    REQUIRE_FALSE(api.send(req, reuse));
    CHECK(reuse.body() == "new");
    CHECK(api.send(req, reuse) == errc::cut_off);
    CHECK(reuse.status() == 0);
    CHECK(reuse.body() == "");
    CHECK_FALSE(reuse.headers().contains("X"));
}

TEST_CASE("client: a stream without a body, or that has failed, leaves the pool to others") {
    fake server([](end_point& at) {
        at.head();
        if (at.nth > 0) return void(at.answer("x"));
        at.say("HTTP/1.1 204 No Content\r\n\r\n");
        at.head();
        at.say("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab");
    });
    client_options options = quick(5s, 5s);
    options.max_connections_count = 1;
    client api(server.path, options);
    result<reply> none = api.stream(request("GET", "/")); // lives on, unread
    REQUIRE(none);
    result<reply> cut = api.stream(request("POST", "/"));
    REQUIRE_MESSAGE(cut, cut.error().message());
    CHECK(server.accepted() == 1);
    char piece[8];
    result<std::size_t> n = cut->body.read(piece, 0);
    CHECK((n && *n == 0));
    n = cut->body.read(piece, 1);
    CHECK((n && *n == 1));
    n = cut->body.read(piece, 0); // where more is there
    CHECK((n && *n == 0));
    n = cut->body.read(piece, sizeof piece);
    CHECK((n && string_view(piece, *n) == "b"));
    n = cut->body.read(piece, sizeof piece);
    CHECK(n.error() == errc::cut_off);
    CHECK(n.error().sent());
    result<response> got = api.get("/"); // both streams live
    CHECK_MESSAGE(got, got.error().message());
}

TEST_CASE("client: each half of an upgraded connection outlives the other") {
    struct row {
        const char* name;
        milliseconds timeout;
        bool drops, ends; // the reader; the peer's half
    };
    for (const row& r : {row{"its time is up", 50ms, false, false}, row{"dropped", 5s, true, false},
                         row{"the peer's has ended", 5s, false, true}}) {
        CAPTURE(r.name);
        std::string heard;
        {
            fake server([&](end_point& at) {
                at.head();
                at.say(switched);
                if (r.ends) ::shutdown(at.fd, SHUT_WR);
                heard = at.rest();
            });
            client api(server.path, quick(5s));
            result<upgraded> up =
                api.upgrade(request("GET", "/").header("Upgrade", "tcp").timeout(r.timeout));
            REQUIRE((up && *up));
            char byte;
            if (r.drops) up->in = body_reader();
            else if (result<std::size_t> n = up->in.read(&byte, 1); r.ends) CHECK((n && *n == 0));
            else CHECK(n.error() == std::errc::timed_out);
            CHECK(up->out.write("on and on") == written::ok);
            CHECK(up->out.end());
        }
        CHECK(heard == "on and on");
    }
}

TEST_CASE("client: what an upgraded peer says meanwhile never ends a large write") {
    const std::string large(4 << 20, 'x');
    std::size_t heard = 0;
    {
        fake server([&](end_point& at) {
            at.head();
            at.say(switched);
            at.say("HTTP/1.1 413 is what I say");
            int there = 0; // more than what is sent at once
            (void)raw::comes_true(
                [&] { return ::ioctl(at.fd, FIONREAD, &there) == 0 && there > 50'000; });
            heard = at.rest().size();
        });
        client api(server.path, quick(5s));
        result<upgraded> up = api.upgrade(request("GET", "/").header("Upgrade", "tcp"));
        REQUIRE((up && *up));
        CHECK(up->out.write(large) == written::ok);
        CHECK(up->out.end());
        char piece[64];
        result<std::size_t> n = up->in.read(piece, sizeof piece);
        CHECK((n && string_view(piece, *n) == "HTTP/1.1 413 is what I say"));
    }
    CHECK(heard == large.size());
}

TEST_CASE("client: what was released is the program's, and the handles that are left are closed") {
    fake server([](end_point& at) {
        at.head();
        at.say(switched);
        at.rest();
    });
    client api(server.path, quick(5s));
    result<upgraded> up = api.upgrade(request("GET", "/").header("Upgrade", "tcp"));
    REQUIRE((up && *up));
    raw_stream mine = std::move(*up).release();
    CHECK(static_cast<bool>(mine.fd));
    CHECK_FALSE(static_cast<bool>(std::move(*up).release().fd));
    CHECK(up->out.write("x") == written::closed);
    CHECK_FALSE(up->out.end());

    // A stream that came without an upgrade stays what it is.
    fake other(echo_targets);
    client plain(other.path, quick(5s));
    result<reply> got = plain.stream(request("GET", "/abc"));
    REQUIRE(got);
    upgraded none{response(), std::move(got->body), {}};
    CHECK_FALSE(static_cast<bool>(std::move(none).release().fd));
    char piece[8];
    result<std::size_t> n = none.in.read(piece, sizeof piece);
    CHECK((n && string_view(piece, *n) == "/abc"));
}

TEST_CASE("client: on a loop a stream that another thread began neither reads nor writes") {
    fake server([](end_point& at) {
        at.head();
        at.say(switched);
        at.say("abc");
        at.rest();
    });
    client api(server.path, quick(5s));
    result<upgraded> up = api.upgrade(request("GET", "/").header("Upgrade", "tcp").timeout(5s));
    REQUIRE((up && *up));
    const detail::ref<detail::mailbox> here(new detail::mailbox);
    detail::this_loop() = here.get();
    char piece[3];
    CHECK(up->in.read(piece, 3).error() == errc::would_block_loop);
    CHECK(up->out.write("x") == written::closed);
    detail::this_loop() = nullptr;
    CHECK(up->out.write("x") == written::ok); // nothing was lost by that
    result<std::size_t> n = up->in.read(piece, 3);
    CHECK((n && string_view(piece, *n) == "abc"));
}
