// Bodies and descriptors that cross as themselves: both sides, each against the other and against
// raw bytes (README, "Descriptors").
#include "raw_client.hpp"

#include <sys/mman.h>

using namespace uds_http;

namespace {

server_options willing(std::uint64_t body = 1 << 20, std::size_t fds = 4) {
    server_options options;
    options.max_body_fd_bytes = body, options.max_fds_count = fds;
    return options;
}
client_options asking(std::uint64_t body = 1 << 20, std::size_t fds = 4) {
    client_options options;
    options.max_body_fd_bytes = body, options.max_fds_count = fds;
    return options;
}

/// A memfd of these bytes; `seals` as fcntl(2) names them.
unique_fd memory(string_view bytes, int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) {
    unique_fd fd(::memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    REQUIRE(::write(fd.get(), bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
    REQUIRE(::fcntl(fd.get(), F_ADD_SEALS, seals) == 0);
    return fd;
}
std::string contents(int fd) {
    char bytes[64] = {};
    ssize_t size = ::pread(fd, bytes, sizeof bytes, 0);
    return std::string(bytes, size > 0 ? static_cast<std::size_t>(size) : 0);
}

bool send_with(int to, string_view bytes, std::initializer_list<int> fds) {
    detail::row<int> list;
    for (int fd : fds) list.push_back(fd);
    iovec part{const_cast<char*>(bytes.data()), bytes.size()};
    return detail::transmit_fds(to, &part, 1, list) == static_cast<ssize_t>(bytes.size());
}

/// Serves one page in sealed memory, takes and gives descriptors.
struct exchanging : raw::running {
    explicit exchanging(const server_options& options = willing()) : running(options) {
        const sealed_memory page = *sealed_memory::copy_of("sealed page");
        app.get("/page", [page](const request&) { return html(page); });
        app.get("/stated", [page](const request&) {
            return text(page).header("Content-Length", "11"); // as it is for who takes bytes
        });
        app.get("/log", [](const request&) {
            return text("here").fd("log", memory("log")).fd("control", memory("control"));
        });
        app.get("/withdrawn", [](const request&) {
            response res = text("here").fd("log", memory("log")).fd("control", memory("control"));
            const unique_fd taken = res.take_fd("log");
            return res;
        });
        app.get("/bodiless/{status}", [page](const request& r) {
            return html(page).status(std::atoi(std::string(r.param("status")).c_str()));
        });
        app.get("/big", [](const request&) { return text(std::string(1 << 20, 'x')); });
        app.post("/later", [this](request&, responder out) {
            auto kept = std::make_shared<responder>(std::move(out));
            app.post([kept] { kept->send(text("later")); }, milliseconds(20));
        });
        app.post("/echo", [](const request& r) { return bytes(r.body()); });
        app.post("/taken", [](const request& r) {
            request& mine = const_cast<request&>(r);
            const unique_fd one = mine.take_fd("a"), again = mine.take_fd("a"),
                            none = mine.take_fd("no");
            return text(contents(one.get()) + (again || none || mine.fd("a") >= 0 ? "?" : "."));
        });
        app.post("/named", [](const request& r) {
            return text(contents(r.fd("a")) + "+" + contents(r.fd("b")) + "+" +
                        std::string(r.body()));
        });
        start();
    }
};

/// A server of raw bytes for one connection: reads a head, answers with these descriptors.
struct scripted {
    raw::folder at;
    std::string path = at("s");
    unique_fd listener{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    std::thread thread;
    std::string asked; // the request, once the thread has ended
    std::size_t passed = 0;
    bool says_more = false;

    scripted(std::string answer, std::vector<unique_fd> fds) {
        const detail::endpoint to = *detail::endpoint_of(path);
        REQUIRE(::bind(listener.get(), to.get(), to.size) == 0);
        REQUIRE(::listen(listener.get(), 5) == 0);
        thread = std::thread([this, answer = std::move(answer), fds = std::move(fds)] {
            unique_fd peer(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
            char in[4096];
            detail::row<unique_fd> came;
            detail::received got = detail::receive_fds(peer.get(), {in, sizeof in}, came);
            if (got.size > 0) asked.assign(in, static_cast<std::size_t>(got.size));
            passed = came.size();
            detail::row<int> raw;
            for (const unique_fd& fd : fds) raw.push_back(fd.get());
            iovec part{const_cast<char*>(answer.data()), answer.size()};
            (void)detail::transmit_fds(peer.get(), &part, 1, raw);
            char byte;
            says_more = ::recv(peer.get(), &byte, 1, 0) > 0; // until the client has gone
        });
    }
    void join() {
        if (thread.joinable()) thread.join();
    }
    ~scripted() { join(); }
};

response ask(client& api, const char* target, const char* method = "GET") {
    auto res = api.send(request(method, target));
    return res ? std::move(*res) : text(res.error().message()).status(0);
}

/// Reads byte by byte until the sealed page is announced. How many there were when it came.
std::size_t read_to_body_fd(raw::wire_client& c, std::string& all, detail::row<unique_fd>& came) {
    char in;
    std::size_t at = 0;
    while (all.find("Body-Fd: length=11\r\n") == std::string::npos) {
        detail::received got = detail::receive_fds(c.fd.get(), {&in, 1}, came);
        REQUIRE(got.size > 0);
        all += in;
        if (!came.empty() && !at) at = all.size();
    }
    return at;
}

std::vector<unique_fd> list(unique_fd one = unique_fd(), unique_fd other = unique_fd()) {
    std::vector<unique_fd> made;
    if (one) made.push_back(std::move(one));
    if (other) made.push_back(std::move(other));
    return made;
}

} // namespace

TEST_CASE(
    "descriptors: a body in sealed memory crosses as itself to who asks, as bytes to others") {
    exchanging s;
    client api(s.path, asking()), plain(s.path);
    for (int i = 0; i < 3; ++i) { // the first request asks, the others find it done
        auto res = api.get("/page");
        REQUIRE_MESSAGE(res, res.error().message());
        CHECK(res->body() == "sealed page");
        CHECK(res->header("Body-Fd") == "length=11");
        CHECK(res->header("Cache-Control") == "no-store");
    }
    auto res = plain.get("/page");
    REQUIRE(res);
    CHECK(res->body() == "sealed page");
    CHECK(res->header("Body-Fd").empty());
    CHECK(res->header("Content-Length") == "11");
    for (client* each : {&api, &plain}) CHECK(ask(*each, "/stated").body() == "sealed page");
    CHECK(ask(api, "/page", "HEAD").header("Body-Fd").empty());   // there is no body to pass
    for (const char* target : {"/bodiless/204", "/bodiless/304"}) // it would be one, as bytes are
        CHECK(ask(api, target).status() == 500);
}

TEST_CASE("descriptors: a stream reads such a body too") {
    exchanging s;
    client api(s.path, asking());
    auto got = api.stream(request("GET", "/page"));
    REQUIRE(got);
    CHECK(got->head.body() == "sealed page");
    char piece[8];
    std::string all;
    for (;;) {
        auto n = got->body.read(piece, sizeof piece);
        REQUIRE(n);
        if (*n == 0) break;
        all.append(piece, *n);
    }
    CHECK(all == "sealed page");
}

TEST_CASE("descriptors: named ones come with a response, and close with it") {
    raw::fd_watch watch;
    exchanging s;
    client api(s.path, asking());
    {
        auto res = api.get("/log");
        REQUIRE_MESSAGE(res, res.error().message());
        CHECK(res->body() == "here");
        CHECK(contents(res->fd("log")) == "log");
        unique_fd taken = res->take_fd("control");
        CHECK(contents(taken.get()) == "control");
        CHECK(res->fd("control") == -1);
        CHECK(res->fd("none") == -1);
        res = api.get("/withdrawn");
        REQUIRE_MESSAGE(res, res.error().message());
        CHECK(res->header("Fds") == "control");
        CHECK(contents(res->fd("control")) == "control");
        request req("POST", "/named");
        req.fd("a", memory("one")).fd("none", memory("none")).fd("b", memory("two"));
        CHECK(contents(req.take_fd("none").get()) == "none");
        res = api.send(req);
        REQUIRE_MESSAGE(res, res.error().message());
        CHECK(res->body() == "one+two+");
    }
    client plain(s.path);
    CHECK(ask(plain, "/log").status() == 500); // who didn't ask gets none, and not half an answer
    client few(s.path, asking(0, 1));
    CHECK(ask(few, "/log").status() == 500);
}

TEST_CASE(
    "descriptors: a request carries named ones; its body goes so once the server has said so") {
    exchanging s;
    client api(s.path, asking());
    request req("POST", "/named");
    req.fd("a", memory("one")).fd("b", memory("two")).body("body", "text/plain");
    auto res = api.send(req);
    REQUIRE_MESSAGE(res, res.error().message());
    CHECK(res->body() == "one+two+body");
    REQUIRE(api.get("/page")); // Accept-Body-Fd in its answer
    res = api.post("/echo", *sealed_memory::copy_of("by descriptor"), "text/plain");
    REQUIRE_MESSAGE(res, res.error().message());
    CHECK(res->body() == "by descriptor");
}

TEST_CASE("descriptors: a server that wants none gets none, and refuses what comes") {
    exchanging s((server_options()));
    client api(s.path, asking());
    for (int i = 0; i < 2; ++i) // the proof is refused by the kernel, or dropped: bytes then
        CHECK(ask(api, "/page").body() == "sealed page");
    request req("POST", "/named");
    req.fd("a", memory("one"));
    if (auto res = api.send(req)) CHECK(res->body() == "++");
    else CHECK(res.error() == std::errc::operation_not_permitted);
    client plain(s.path);
    CHECK(ask(plain, "/page").body() == "sealed page");
}

TEST_CASE("descriptors: what a server may answer with them") {
    const struct {
        const char* name;
        const char* fields;
        std::vector<unique_fd> fds;
        const char* body; // nullptr: bad_descriptor
    } rows[] = {
        {"as it should be", "Body-Fd: length=4\r\n", list(memory("abcd")), "abcd"},
        {"a body and a named one", "Body-Fd: length=4\r\nFds: x\r\n",
         list(memory("abcd"), memory("x")), "abcd"},
        {"announced, but not there", "Body-Fd: length=4\r\n", list(), nullptr},
        {"there, but not announced", "", list(memory("abcd")), nullptr},
        {"one too many", "Body-Fd: length=4\r\n", list(memory("abcd"), memory("x")), nullptr},
        {"one too few", "Body-Fd: length=4\r\nFds: x\r\n", list(memory("abcd")), nullptr},
        {"shorter than said", "Body-Fd: length=5\r\n", list(memory("abcd")), nullptr},
        {"longer than said", "Body-Fd: length=3\r\n", list(memory("abcd")), nullptr},
        {"no length", "Body-Fd: 4\r\n", list(memory("abcd")), nullptr},
        {"a length of no number", "Body-Fd: length=4x\r\n", list(memory("abcd")), nullptr},
        {"no length, and nothing", "Body-Fd: length=\r\n", list(memory("")), nullptr},
        {"it could shrink", "Body-Fd: length=4\r\n",
         list(memory("abcd", F_SEAL_GROW | F_SEAL_WRITE)), nullptr},
        {"it could change", "Body-Fd: length=4\r\n",
         list(memory("abcd", F_SEAL_GROW | F_SEAL_SHRINK)), nullptr},
        {"its sender could change it", "Body-Fd: length=4\r\n",
         list(memory("abcd", F_SEAL_GROW | F_SEAL_SHRINK | 0x10 /* F_SEAL_FUTURE_WRITE */)),
         nullptr},
        {"no memory at all", "Body-Fd: length=4\r\n", list(unique_fd(::dup(0))), nullptr},
        {"a name twice", "Fds: x, x\r\n", list(memory("a"), memory("b")), nullptr},
        {"a name that is no token", "Fds: a b\r\n", list(memory("a")), nullptr},
    };
    for (auto& r : rows) {
        CAPTURE(r.name);
        raw::fd_watch watch;
        std::vector<unique_fd> copies;
        for (const unique_fd& fd : r.fds) copies.emplace_back(::dup(fd.get()));
        const std::string head = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n";
        scripted s(head + r.fields + "\r\n", std::move(copies));
        {
            client api(s.path, asking());
            auto res = api.get("/");
            if (r.body) CHECK((res && res->body() == r.body));
            else CHECK((!res && res.error() == errc::bad_descriptor));
        }
        s.join();
        CHECK(s.asked.find("Accept-Body-Fd: 1\r\n") != std::string::npos);
        CHECK(s.passed == 1); // the proof that no proxy is between
    }
}

TEST_CASE("descriptors: a response's come with its own first byte") {
    const struct {
        const char* name;
        const char* before; // read by the client before the rest comes with a descriptor
        const char* rest;
        bool is_good;
        bool is_first = false; // the descriptor comes with `before`, not with the rest
    } rows[] = {
        {"in the middle of its head", "HTTP/1.1 200 OK\r\nFds:", " a\r\nContent-Length: 0\r\n\r\n",
         false},
        {"in the middle of its body", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na", "b", false},
        {"with an interim one", "",
         "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nFds: a\r\nContent-Length: 0\r\n\r\n",
         true},
        {"behind an interim one", "HTTP/1.1 103 Early Hints\r\n\r",
         "\nHTTP/1.1 200 OK\r\nFds: a\r\nContent-Length: 0\r\n\r\n", true},
        {"with nothing but an interim one", "", "HTTP/1.1 103 Early Hints\r\n\r\n", false},
        {"with the first half of an interim one", "HTTP/1.1 103 E\r\n",
         "\r\nHTTP/1.1 200 OK\r\nFds: a\r\nContent-Length: 0\r\n\r\n", false, true},
        {"with all but the last byte of an interim one", "HTTP/1.1 103 E\r\n\r",
         "\nHTTP/1.1 200 OK\r\nFds: a\r\nContent-Length: 0\r\n\r\n", false, true},
        {"with an interim one and its own first byte", "HTTP/1.1 103 E\r\n\r\nH",
         "TTP/1.1 200 OK\r\nFds: a\r\nContent-Length: 0\r\n\r\n", true, true},
        {"with its first half", "HTTP/1.1 200 OK\r\nFds:", " a\r\nContent-Length: 0\r\n\r\n", true,
         true},
    };
    for (auto& r : rows) {
        CAPTURE(r.name);
        raw::fd_watch watch;
        int ends[2];
        REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
        unique_fd peer(ends[1]);
        client api("@adopted", asking());
        REQUIRE_FALSE(api.adopt(unique_fd(ends[0])));
        std::thread serves([&] {
            char in[4096];
            detail::row<unique_fd> came;
            (void)detail::receive_fds(peer.get(), {in, sizeof in}, came);
            const string_view before = r.before;
            bool sent = r.is_first
                            ? send_with(peer.get(), before, {memory("A").get()})
                            : ::send(peer.get(), before.data(), before.size(), MSG_NOSIGNAL) >= 0;
            sent = sent && raw::comes_true([&] { // it was read
                       int unread = 1;
                       return ::ioctl(peer.get(), SIOCOUTQ, &unread) == 0 && unread == 0;
                   });
            if (sent && r.is_first)
                (void)::send(peer.get(), r.rest, std::strlen(r.rest), MSG_NOSIGNAL);
            else if (sent) (void)send_with(peer.get(), r.rest, {memory("A").get()});
            ::shutdown(peer.get(), SHUT_WR);
        });
        auto res = api.get("/");
        serves.join();
        if (r.is_good) CHECK((res && contents(res->fd("a")) == "A"));
        else CHECK((!res && res.error() == errc::bad_descriptor));
    }
}

/// No descriptor more than there are.
bool crowd() {
    const int next = ::dup(0);
    const rlimit none{static_cast<rlim_t>(next), static_cast<rlim_t>(next)};
    return ::close(next) == 0 && ::setrlimit(RLIMIT_NOFILE, &none) == 0;
}

TEST_CASE("descriptors: a long list of names for nothing is refused at once") {
    server_options o = willing();
    o.max_head_bytes = 1 << 20;
    exchanging s(o);
    std::string names;
    for (int i = 0; names.size() < 900'000; ++i) names += std::to_string(i) + ",";
    raw::wire_client c = s.connect(); // compared with each other they would take half a minute
    CHECK(c.send("POST /named HTTP/1.1\r\nHost: a\r\nFds: " + names + "x\r\n\r\n"));
    CHECK(c.read().status == 400);
}

TEST_CASE("descriptors: a client that has no room for them says so, not that the peer was wrong") {
    CHECK(raw::in_child([] {
              int ends[2];
              if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return 1;
              unique_fd peer(ends[1]), passed = memory("A");
              client api("@adopted", asking());
              if (api.adopt(unique_fd(ends[0]))) return 2;
              const pid_t serves = ::fork(); // no thread: the limit would be its own, too
              if (serves == 0) {
                  char in[4096];
                  const char* answer = "HTTP/1.1 200 OK\r\nFds: a\r\nContent-Length: 0\r\n\r\n";
                  if (::recv(peer.get(), in, sizeof in, 0) > 0)
                      (void)send_with(peer.get(), answer, {passed.get()});
                  ::_exit(0);
              }
              if (!crowd()) return 3;
              auto res = api.get("/");
              ::waitpid(serves, nullptr, 0);
              return !res && res.error() == errc::bad_descriptor ? 0 : 4;
          }) == 0);
}

TEST_CASE("descriptors: memory over the limit for files is an error, not the end by SIGXFSZ") {
    CHECK(raw::in_child([] {
              const rlimit few{4096, 4096};
              if (::setrlimit(RLIMIT_FSIZE, &few) != 0) return 1;
              if (!sealed_memory::copy_of(std::string(4096, 'x'))) return 2;
              return memory_builder::create(4097).error() == std::errc::file_too_large ? 0 : 3;
          }) == 0);
}

TEST_CASE("descriptors: a server that has no room for them answers 400, and logs it") {
    CHECK(raw::in_child([] {
              int ends[2];
              if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return 1;
              unique_fd peer(ends[1]), passed = memory("A");
              server_options options;
              options.max_fds_count = 1;
              server app(options);
              int ran = 0, told = 0;
              app.post("/", [&](const request&) { return ++ran, text("x"); });
              app.on_log([&](string_view) { ++told; });
              if (app.adopt(unique_fd(ends[0])) || !app.run_once(milliseconds(0))) return 2;
              if (!crowd()) return 3;
              const char* head =
                  "POST / HTTP/1.1\r\nHost: a\r\nFds: a\r\nContent-Length: 0\r\n\r\n";
              (void)send_with(peer.get(), head, {passed.get()});
              for (int i = 0; i < 100 && told == 0; ++i) (void)app.run_once(milliseconds(100));
              char in[4096];
              const ssize_t size = ::recv(peer.get(), in, sizeof in, MSG_DONTWAIT);
              if (size <= 0) return 4;
              const string_view answer(in, static_cast<std::size_t>(size));
              return answer.find("HTTP/1.1 400 ") == 0 && ran == 0 ? 0 : 5;
          }) == 0);
}

TEST_CASE(
    "descriptors: a server that has no room for them tells of no other connection's request") {
    CHECK(raw::in_child([] {
              int ends[2], others[2];
              if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0 ||
                  ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, others) != 0)
                  return 1;
              unique_fd peer(ends[1]), other(others[1]), passed = memory("A");
              server_options options;
              options.max_fds_count = 1;
              server app(options);
              std::string told;
              app.get("/secret", [](const request&) { return text("x"); });
              app.on_exchange([&](const exchange& e) {
                  told += std::string(e.target) + " " + std::to_string(e.status) + ";";
              });
              if (app.adopt(unique_fd(ends[0])) || app.adopt(unique_fd(others[0]))) return 2;
              const string_view head = "GET /secret HTTP/1.1\r\nHost: a\r\nFds: a\r\n\r\n";
              if (!send_with(other.get(), head, {passed.get()})) return 3;
              for (int i = 0; i < 100 && told.empty(); ++i) (void)app.run_once(milliseconds(100));
              if (!crowd()) return 4;
              for (int more = 0; more < 2; ++more) { // the second one lingers, and has its answer
                  (void)send_with(peer.get(), head, {passed.get()});
                  for (int i = 0; i < 100 && told.size() < 17; ++i)
                      (void)app.run_once(milliseconds(100));
              }
              for (int i = 0; i < 100 && app.stats().connections > 1; ++i)
                  (void)app.run_once(milliseconds(100));
              return told == "/secret 200; 400;" ? 0 : 5;
          }) == 0);
}

TEST_CASE("descriptors: what a handler doesn't take is closed when it is done") {
    exchanging s;
    raw::wire_client c = s.connect();
    for (const char* target : {"/named", "/none"}) {
        CAPTURE(target);
        int ends[2];
        REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
        unique_fd out(ends[0]), in(ends[1]);
        const std::string head =
            std::string("POST ") + target + " HTTP/1.1\r\nHost: a\r\nFds: a\r\n\r\n";
        REQUIRE(send_with(c.fd.get(), head, {in.get()}));
        in = unique_fd();
        CHECK(c.read().whole);
        pollfd end{out.get(), POLLIN, 0};
        CHECK(::poll(&end, 1, static_cast<int>(raw::patience.count())) ==
              1); // the connection is open
        CHECK((end.revents & POLLHUP) != 0);
    }
}

TEST_CASE("descriptors: a server that has none to spare answers with bytes") {
    CHECK(raw::in_child([] {
              int ends[2];
              if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return 1;
              raw::wire_client c{unique_fd(ends[1])};
              server app(willing());
              const sealed_memory page = *sealed_memory::copy_of("sealed page");
              app.get("/", [page](const request&) { return text(page); });
              app.get("/log", [page](const request&) {
                  return text(page).fd("log", unique_fd(::dup(0))); // no name for none
              });
              if (app.adopt(unique_fd(ends[0])) || !app.run_once(milliseconds(0))) return 2;
              const std::string ask = " HTTP/1.1\r\nHost: a\r\nAccept-Body-Fd: 1\r\n\r\n";
              auto serve = [&](std::uint64_t requests) {
                  for (int i = 0; i < 100 && app.stats().requests < requests; ++i)
                      (void)app.run_once(milliseconds(100));
              };
              if (!send_with(c.fd.get(), "GET /" + ask, {0})) return 3;
              serve(1);
              if (c.read().field("Body-Fd") != "length=11") return 4; // it shows that none is lost
              if (!crowd()) return 5;
              if (!c.send("GET /" + ask)) return 6;
              serve(2);
              const raw::answer got = c.read();
              if (got.body != "sealed page" || got.field("Body-Fd") != "") return 7;
              if (!c.send("GET /log" + ask)) return 8;
              serve(3);
              return c.read().status == 500 ? 0 : 9;
          }) == 0);
}

/// A user without privileges, who may have 40 descriptors on the way (ETOOMANYREFS, unix(7)). All
/// of his processes count, so each test has one of its own, where it may choose.
bool few_on_the_way() {
    const rlimit few{40, 40};
    const uid_t alone = static_cast<uid_t>(40'000 + ::getpid() % 20'000);
    return (::geteuid() != 0 || ::setuid(alone) == 0) && ::setrlimit(RLIMIT_NOFILE, &few) == 0;
}

TEST_CASE("descriptors: who leaves them unread keeps nobody else from his") {
    CHECK(raw::in_child([] {
              int ends[2], others[2];
              if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return 1;
              if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, others) != 0) return 2;
              raw::wire_client greedy{unique_fd(ends[1])}, c{unique_fd(others[1])};
              server app(willing());
              const sealed_memory page = *sealed_memory::copy_of("sealed page");
              std::string told;
              app.on_log([&](string_view line) { told = line; });
              app.get("/", [page](const request&) { return text(page); });
              app.get("/log",
                      [page](const request&) { return text(page).fd("log", unique_fd(::dup(0))); });
              if (app.adopt(unique_fd(ends[0])) || app.adopt(unique_fd(others[0]))) return 3;
              if (!few_on_the_way()) return 4;
              auto serve = [&](std::uint64_t requests) {
                  for (int i = 0; i < 100 && app.stats().requests < requests; ++i)
                      (void)app.run_once(milliseconds(100));
              };
              const std::string asks =
                  " HTTP/1.1\r\nHost: a\r\nAccept-Body-Fd: 1\r\nAccept-Fds: 1\r\n\r\n";
              if (!send_with(greedy.fd.get(), "GET /" + asks, {0})) return 5;
              for (int i = 1; i < 60; ++i) greedy.send("GET /" + asks);
              serve(60);
              if (!send_with(c.fd.get(), "GET /" + asks, {0})) return 6;
              serve(61);
              if (c.read().field("Body-Fd") != "length=11") return 7; // what follows is 0
              if (greedy.read().field("Body-Fd") != "length=11") return 8;
              if (greedy.read().body != "sealed page") return 9;           // the others unread
              for (int i = 0; i < 60; ++i) greedy.send("GET /log" + asks); // bytes are none
              for (int i = 0; i < 100 && told.empty(); ++i) (void)app.run_once(milliseconds(100));
              const std::string why = std::system_category().message(ETOOMANYREFS);
              return told.find("cut: descriptors: " + why) == 0 ? 0 : 10;
          }) == 0);
}

TEST_CASE("descriptors: a client that may have no more on the way asks in vain, and goes on") {
    CHECK(raw::in_child([] {
              int ends[2];
              if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return 1;
              const unique_fd from(ends[0]), to(ends[1]);
              if (!few_on_the_way()) return 2;
              exchanging s;
              client api(s.at("s"), asking());
              while (send_with(from.get(), "x", {0})) continue;
              if (errno != ETOOMANYREFS) return 3;
              return ask(api, "/page").body() == "sealed page" ? 0 : 4;
          }) == 0);
}

TEST_CASE("descriptors: what is the library's to say a program can't say, nor a proxy pass on") {
    for (const char* ours : {"Fds", "Body-Fd", "Accept-Body-Fd", "Accept-Fds"}) {
        CAPTURE(ours);
        raw::folder at;
        server app;
        app.get("/", [&](const request&) { return text("x").header(ours, "1"); });
        app.get("/passed", [&](const request&) {
            response res = text("x").header(ours, "1");
            return res.headers().remove_hop_by_hop(), std::move(res);
        });
        REQUIRE_FALSE(app.listen(at("s")));
        std::thread serving([&] { (void)app.run(); });
        client api(at("s"));
        CHECK(ask(api, "/").status() == 500);
        CHECK(ask(api, "/").header(ours).empty());
        CHECK(ask(api, "/passed").status() == 200);
        CHECK(ask(api, "/passed").header(ours).empty());
        CHECK(api.send(request("GET", "/").header(ours, "1")).error() == errc::bad_field);
        app.stop();
        serving.join();
    }
}

TEST_CASE("descriptors: Body-Fd to who never asked is an error, not an empty body") {
    scripted s("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nBody-Fd: length=4\r\n\r\n",
               list(memory("abcd")));
    client api(s.path);
    auto res = api.get("/");
    CHECK((!res && res.error() == errc::bad_descriptor));
}

TEST_CASE("descriptors: a body one under, at, and one over the limit of who receives it") {
    for (std::uint64_t limit : {3u, 4u, 5u}) {
        CAPTURE(limit);
        {
            scripted s("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nBody-Fd: length=4\r\n\r\n",
                       list(memory("abcd")));
            client api(s.path, asking(limit));
            auto res = api.get("/");
            if (limit >= 4) CHECK((res && res->body() == "abcd"));
            else CHECK((!res && res.error() == errc::too_large));
        }
        exchanging server(willing(limit));
        raw::wire_client c = server.connect();
        REQUIRE(send_with(c.fd.get(), "POST /echo HTTP/1.1\r\nHost: a\r\nBody-Fd: length=4\r\n\r\n",
                          {memory("abcd").get()}));
        raw::answer got = c.read();
        CHECK(got.status == (limit >= 4 ? 200 : 413));
        if (limit >= 4) CHECK(got.body == "abcd");
    }
}

TEST_CASE("descriptors: one fewer, as many, and one more than a message may carry") {
    for (std::size_t limit : {1u, 2u, 3u}) {
        CAPTURE(limit);
        {
            scripted s("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nFds: a, b\r\n\r\n",
                       list(memory("one"), memory("two")));
            client api(s.path, asking(0, limit));
            auto res = api.get("/");
            if (limit >= 2)
                CHECK((res && contents(res->fd("a")) + contents(res->fd("b")) == "onetwo"));
            else CHECK((!res && res.error() == errc::bad_descriptor));
        }
        exchanging server(willing(0, limit));
        raw::wire_client c = server.connect();
        REQUIRE(send_with(c.fd.get(), "POST /named HTTP/1.1\r\nHost: a\r\nFds: a, b\r\n\r\n",
                          {memory("one").get(), memory("two").get()}));
        raw::answer got = c.read();
        CHECK(got.status == (limit >= 2 ? 200 : 400));
        if (limit >= 2) CHECK(got.body == "one+two+");
        client few(server.path, asking(0, limit)); // and what a server gives to who asked for few
        CHECK(ask(few, "/log").status() == (limit >= 2 ? 200 : 500));
    }
}

TEST_CASE("descriptors: a message whose fields don't fit what came is an error") {
    const struct {
        const char* name;
        std::string fields;
        int count;
    } rows[] = {
        {"no length", "Content-Length: 0\r\nBody-Fd: 4\r\n\r\n", 1},
        {"a length that is no number", "Content-Length: 0\r\nBody-Fd: length=4x\r\n\r\n", 1},
        {"no number at all", "Content-Length: 0\r\nBody-Fd: length=\r\n\r\n", 1},
        {"another length", "Content-Length: 0\r\nBody-Fd: length=3\r\n\r\n", 1},
        {"bytes besides", "Content-Length: 1\r\nBody-Fd: length=4\r\n\r\nx", 1},
        {"a name twice", "Content-Length: 0\r\nFds: a, a\r\n\r\n", 2},
        {"a bad name", "Content-Length: 0\r\nFds: a b\r\n\r\n", 1},
        {"one too few", "Content-Length: 0\r\nFds: a, b\r\n\r\n", 1},
        {"one too many", "Content-Length: 0\r\nFds: a\r\n\r\n", 2},
        {"the field twice", "Content-Length: 0\r\nFds: a\r\nFds: b\r\n\r\n", 1},
        {"two bodies", "Content-Length: 0\r\nBody-Fd: length=4\r\nBody-Fd: length=4\r\n\r\n", 1},
    };
    for (const auto& r : rows) {
        CAPTURE(r.name);
        raw::fd_watch watch;
        {
            scripted s("HTTP/1.1 200 OK\r\n" + r.fields,
                       r.count == 1 ? list(memory("abcd")) : list(memory("abcd"), memory("ef")));
            client api(s.path, asking());
            auto res = api.get("/");
            CHECK((!res && res.error() == errc::bad_descriptor));
        }
        exchanging server;
        raw::wire_client c = server.connect();
        const std::string head = "POST /echo HTTP/1.1\r\nHost: a\r\n" + r.fields;
        unique_fd one = memory("abcd"), other = memory("ef");
        if (r.count == 1) REQUIRE(send_with(c.fd.get(), head, {one.get()}));
        else REQUIRE(send_with(c.fd.get(), head, {one.get(), other.get()}));
        CHECK(c.read().status == 400);
        CHECK(c.at_end());
    }
}

TEST_CASE("descriptors: memory that was not filled is zeroes for who receives it") {
    raw::running s(willing());
    const sealed_memory zeroes = *(*memory_builder::create(100'000)).seal();
    s.app.get("/", [zeroes](const request&) { return bytes(zeroes); });
    s.start();
    client api(s.path, asking());
    auto res = api.get("/");
    REQUIRE(res);
    CHECK(res->header("Body-Fd") == "length=100000");
    CHECK(res->body() == std::string(100'000, '\0'));
}

TEST_CASE("descriptors: too many of them behind a large answer are refused, not inside of it") {
    raw::running s(willing(1 << 20, 1));
    s.app.get("/", [](const request&) { return bytes(std::string(100'000, 'a')); });
    s.start();
    raw::wire_client c = s.connect();
    std::string two = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    two += two;
    CHECK(send_with(c.fd.get(), two, {0, 0, 0, 0}));
    CHECK(c.read().body == std::string(100'000, 'a'));
    CHECK(c.at_end());
}

TEST_CASE("descriptors: half a head has no more of them than it may announce") {
    for (const std::size_t count : {4u, 5u}) { // two with names, a body, the proof; and one more
        CAPTURE(count);
        exchanging s(willing(1 << 20, 2));
        const int before = raw::open_fds();
        const unique_fd body = memory("abcd"), other = memory("x");
        raw::wire_client c = s.connect();
        const std::string head = "POST /named HTTP/1.1\r\nHost: a\r\nBody-Fd: length=4\r\n"
                                 "Fds: a, b\r\nAccept-Fds: 1\r\n\r\n";
        detail::row<int> list;
        while (list.size() < count) list.push_back(list.empty() ? body.get() : other.get());
        iovec part{const_cast<char*>(head.data()), 9};
        REQUIRE(detail::transmit_fds(c.fd.get(), &part, 1, list) == 9);
        if (count > 4) {
            CHECK(c.read().status == 400); // no head had to come
            CHECK(c.at_end());
            continue;
        }
        const int waiting = before + 4 + 4; // our body, other and both ends of the connection
        CHECK(raw::comes_true([&] { return raw::open_fds() == waiting; }));
        CHECK(c.send(head.substr(9)));
        CHECK(c.read().body == "x+x+abcd");
    }
}

TEST_CASE("descriptors: who has left keeps none, nor a place, in the workers' queue") {
    raw::fd_watch watch;
    server_options o = willing();
    o.workers = 1, o.max_queued_count = 2, o.max_per_uid_count = 3;
    raw::running s(o);
    detail::mutex gate;
    std::atomic<int> begun{0};
    s.app.post("/block", [&](const request& r) {
        ++begun;
        detail::hold wait(gate);
        return text(std::string(r.body()));
    });
    responder kept;
    s.app.post("/later", [&](request&, responder out) { kept = std::move(out); });
    s.start();
    const std::string fields = " HTTP/1.1\r\nHost: a\r\nFds: a\r\nContent-Length: 1\r\n\r\nx";
    const auto passes_one = [&](raw::wire_client& c, const char* to) { // whose other end is ours
        int ends[2];
        REQUIRE(::pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
        const unique_fd passed(ends[1]);
        REQUIRE(send_with(c.fd.get(), to + fields, {ends[1]}));
        return unique_fd(ends[0]);
    };
    const auto is_closed = [](const unique_fd& pipe) {
        char byte;
        return ::read(pipe.get(), &byte, 1) == 0;
    };
    std::vector<raw::wire_client> stay;
    const auto asks = [&] {
        stay.push_back(s.connect());
        CHECK(stay.back().send("POST /block HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx"));
    };
    {
        detail::hold closed(gate);
        asks(); // the worker is at work
        REQUIRE(raw::comes_true([&] { return begun == 1; }));
        for (unsigned i = 0; i < 100; ++i) {
            raw::wire_client c = s.connect();
            const unique_fd pipe = passes_one(c, i < 99 ? "POST /block" : "POST /later");
            REQUIRE(raw::comes_true([&] { return s.app.stats().requests == i + 2; }));
            CHECK_FALSE(is_closed(pipe));
            c.close();
            CHECK(raw::comes_true([&] { return is_closed(pipe); }));
            CHECK(raw::comes_true([&] { return s.app.stats().connections == 1; }));
        }
        asks(), asks();
        REQUIRE(raw::comes_true([&] { return s.app.stats().requests == 103; }));
        CHECK(s.app.stats().refused == 0);
        CHECK_FALSE(kept.is_open());
    }
    for (raw::wire_client& c : stay) CHECK(c.read().body == "x");
    CHECK(begun == 3);
}

TEST_CASE("descriptors: a handler may take one, and then it is no more there") {
    raw::fd_watch watch;
    exchanging s;
    client api(s.path, asking());
    auto res = api.send(request("POST", "/taken").fd("a", memory("mine")));
    REQUIRE_MESSAGE(res, res.error().message());
    CHECK(res->body() == "mine.");
}

TEST_CASE("descriptors: a bad name, or none to pass, is never sent") {
    client api("/nowhere", asking());
    CHECK(api.send(request("GET", "/").fd("a b", memory("x"))).error() == errc::bad_descriptor);
    CHECK(api.send(request("GET", "/").fd("a", unique_fd())).error() == errc::bad_descriptor);
    response bad = text("x").fd("a", unique_fd());
    CHECK(detail::extra_of(bad).failed == errc::bad_descriptor);
    bad = text("x").fd("a\r\nb", memory("x"));
    CHECK(detail::extra_of(bad).failed == errc::bad_descriptor);
}

TEST_CASE("descriptors: a name twice is never sent: an error, and a 500 with a line in the log") {
    client nobody("/nowhere", asking());
    request twice("GET", "/");
    twice.fd("a", memory("x")).fd("b", memory("y")).fd("a", memory("z"));
    CHECK(nobody.send(std::move(twice)).error() == errc::bad_descriptor);
    raw::running s(willing());
    raw::handed<std::string> log;
    s.app.on_log([&](string_view line) { log.put(std::string(line)); });
    s.app.get("/", [](const request&) {
        return text("x").fd("log", memory("x")).fd("log", memory("y"));
    });
    s.start();
    client api(s.path, asking());
    response got = ask(api, "/");
    CHECK(got.status() == 500);
    CHECK(got.fd("log") == -1);
    CHECK(log.take().find("fd log") != std::string::npos);
}

TEST_CASE(
    "descriptors: those of a head that isn't whole yet wait for it; a chunked body may follow") {
    exchanging s;
    const string_view head = "POST /named HTTP/1.1\r\nHost: a\r\nFds: a\r\n";
    raw::wire_client c = s.connect();
    REQUIRE(send_with(c.fd.get(), head, {memory("early").get()}));
    REQUIRE(raw::comes_true([&] { // it was read
        int unread = 1;
        return ::ioctl(c.fd.get(), SIOCOUTQ, &unread) == 0 && unread == 0;
    }));
    REQUIRE(c.send("\r\n"));
    CHECK(c.read().body == "early++");
    const std::string chunked = std::string(head) + "Transfer-Encoding: chunked\r\n\r\n";
    REQUIRE(send_with(c.fd.get(), chunked + "2\r\nhi\r\n0\r\n\r\n", {memory("one").get()}));
    CHECK(c.read().body == "one++hi");
    REQUIRE(send_with(c.fd.get(), chunked + "2\r\nh", {memory("one").get()})); // the rest follows
    REQUIRE(c.send("i\r\n0\r\n\r\n"));
    CHECK(c.read().body == "one++hi");
    REQUIRE(send_with(c.fd.get(), chunked + "0\r\n\r\nGET /page", {memory("whose").get()}));
    CHECK(c.read().status == 400); // of the second request's bytes, which announces none
    CHECK(c.at_end());
}

TEST_CASE("descriptors: what a client may send with a request") {
    const struct {
        const char* name;
        const char* request;
        std::vector<unique_fd> fds;
        int status;
    } rows[] = {
        {"a body",
         "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nBody-Fd: length=4\r\n\r\n",
         list(memory("abcd")), 200},
        {"a body beside a body",
         "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nBody-Fd: length=4\r\n\r\nx",
         list(memory("abcd")), 400},
        {"not sealed", "POST /echo HTTP/1.1\r\nHost: a\r\nBody-Fd: length=4\r\n\r\n",
         list(memory("abcd", F_SEAL_GROW)), 400},
        {"not there", "POST /echo HTTP/1.1\r\nHost: a\r\nBody-Fd: length=4\r\n\r\n", list(), 400},
        {"not announced", "GET /page HTTP/1.1\r\nHost: a\r\n\r\n", list(memory("abcd")), 400},
        {"the proof", "GET /page HTTP/1.1\r\nHost: a\r\nAccept-Body-Fd: 1\r\n\r\n",
         list(unique_fd(::dup(0))), 200},
        {"two proofs", "GET /page HTTP/1.1\r\nHost: a\r\nAccept-Body-Fd: 1\r\n\r\n",
         list(unique_fd(::dup(0)), unique_fd(::dup(0))), 400},
        {"over the limit", "POST /echo HTTP/1.1\r\nHost: a\r\nBody-Fd: length=99999999\r\n\r\n",
         list(memory("abcd")), 413},
    };
    for (auto& r : rows) {
        CAPTURE(r.name);
        exchanging s;
        raw::wire_client c = s.connect();
        if (r.fds.empty()) REQUIRE(c.send(r.request));
        else if (r.fds.size() == 1) REQUIRE(send_with(c.fd.get(), r.request, {r.fds[0].get()}));
        else REQUIRE(send_with(c.fd.get(), r.request, {r.fds[0].get(), r.fds[1].get()}));
        CHECK(c.read().status == r.status);
    }
}

TEST_CASE("descriptors: a connection that idles holds none of what it has answered") {
    exchanging s;
    raw::wire_client c = s.connect();
    const std::string named = "POST /named HTTP/1.1\r\nHost: a\r\nFds: a\r\n\r\n";
    const std::string echo = "POST /echo HTTP/1.1\r\nHost: a\r\nBody-Fd: length=4\r\n\r\n";
    CHECK(c.ask("/page").status == 200);
    const int before = raw::open_fds();
    for (const std::string& request : {named, echo}) {
        CAPTURE(request);
        REQUIRE(send_with(c.fd.get(), request, {memory("abcd").get()}));
        CHECK(c.read().status == 200);
        CHECK(raw::comes_true([&] { return raw::open_fds() == before; }));
    }
}

TEST_CASE("descriptors: those of one pipelined request never become another's") {
    const std::string get = "GET /page HTTP/1.1\r\nHost: a\r\n\r\n";
    const std::string named = "POST /named HTTP/1.1\r\nHost: a\r\nFds: a\r\n\r\n";
    unique_fd stranger = memory("stranger");
    exchanging s;
    raw::wire_client c = s.connect();
    SUBCASE("with the first, while the second announces one") {
        REQUIRE(send_with(c.fd.get(), get, {stranger.get()}));
        (void)c.send(named);
    }
    SUBCASE("with the second, while the first announces one") {
        REQUIRE(c.send(named));
        (void)send_with(c.fd.get(), get, {stranger.get()});
    }
    SUBCASE("in the middle of a request that began before") {
        REQUIRE(c.send(named.substr(0, 10)));
        REQUIRE(raw::comes_true([&] { // it was read
            int unread = 1;
            return ::ioctl(c.fd.get(), SIOCOUTQ, &unread) == 0 && unread == 0;
        }));
        REQUIRE(send_with(c.fd.get(), named.substr(10), {stranger.get()}));
    }
    CHECK(c.read().status == 400);
    CHECK(c.at_end());
}

TEST_CASE("descriptors: those of a pipelined request wait with it, and stay its own") {
    const std::string get = "GET /page HTTP/1.1\r\nHost: a\r\n\r\n",
                      big = "GET /big HTTP/1.1\r\nHost: a\r\n\r\n",
                      later = "POST /later HTTP/1.1\r\nHost: a\r\n\r\n",
                      named = "POST /named HTTP/1.1\r\nHost: a\r\nFds: a\r\n\r\n";
    const struct {
        const char* name;
        std::string before; // sent together with the one that announces a descriptor
        int count;
    } rows[] = {
        {"behind one", get, 1},
        {"behind one that is answered later", later, 1},
        {"behind two, of which the first is answered later", later + get, 2},
        {"behind answers that make more than a batch", big + big + get, 3},
    };
    for (unsigned workers : {0u, 1u})
        for (auto& r : rows) {
            CAPTURE(r.name);
            CAPTURE(workers);
            server_options options = willing();
            options.workers = workers;
            exchanging s(options);
            raw::wire_client c = s.connect();
            unique_fd mine = memory("mine");
            REQUIRE(send_with(c.fd.get(), r.before + named, {mine.get()}));
            for (int i = 0; i < r.count; ++i) CHECK(c.read().status == 200);
            CHECK(c.read().body == "mine++");
        }
}

TEST_CASE("descriptors: those behind a streamed body wait until that has found its reader") {
    std::optional<std::pair<body_reader, responder>> up; // of the loop, while it runs
    raw::running s(willing());
    s.app.post("/up", [&](request&, body_reader in, responder out) {
        up.emplace(std::move(in), std::move(out));
        s.app.post(
            [&] {
                up->first.on_data([](string_view) {},
                                  [&](const error&) { up->second.send(text("came")), up.reset(); });
            },
            milliseconds(20)); // later than all of it has come
    });
    s.app.post("/fd", [](const request& r) { return text(contents(r.fd("a"))); });
    s.start();
    for (const char* cut : {"", "3\r\nabc\r\n0"}) { // or a chunk's size, without its end
        raw::wire_client c = s.connect();
        std::atomic<bool> blocked{false}, sent{false};
        s.app.post([&] { blocked = true, raw::comes_true([&] { return sent.load(); }); });
        REQUIRE(raw::comes_true([&] { return blocked.load(); }));
        const std::string head = "POST /up HTTP/1.1\r\nHost: a\r\n";
        REQUIRE(c.send(
            head + (*cut ? "Transfer-Encoding: chunked\r\n\r\n" : "Content-Length: 3\r\n\r\nabc")));
        const unique_fd mine = memory("mine");
        REQUIRE(send_with(c.fd.get(), *cut ? cut : "POST /fd HTTP/1.1\r\nHost: a\r\nFds: a\r\n\r\n",
                          {mine.get()}));
        sent = true;
        CHECK(c.read().status == (*cut ? 400 : 200));
        if (*cut) CHECK(c.at_end());
        else CHECK(c.read().body == "mine");
    }
}

TEST_CASE("descriptors: those that come just as a paused reader goes on are their own message's") {
    std::optional<std::pair<body_reader, responder>> up; // of the loop, while it runs
    int pieces = 0, peer = -1;
    raw::running s(willing());
    s.app.post("/up", [&](request&, body_reader in, responder out) {
        up.emplace(std::move(in), std::move(out));
        up->first.on_data(
            [&](string_view) {
                if (++pieces > 2) return;
                up->first.pause();
                s.app.post([&] {
                    const unique_fd mine = memory("mine");
                    if (pieces == 1)
                        CHECK(send_with(peer, "POST /fd HTTP/1.1\r\nHost: a\r\nFds: a\r\n\r\n",
                                        {mine.get()}));
                    up->first.resume();
                });
            },
            [&](const error& why) {
                up->second.send(text(why ? why.message() : "whole"));
                up.reset();
            });
    });
    s.app.post("/fd", [](const request& r) { return text(contents(r.fd("a"))); });
    s.start();
    raw::wire_client c = s.connect();
    peer = c.fd.get(); // before the first request
    CHECK(c.send("POST /up HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                 "1\r\na\r\n1\r\nb\r\n1\r\nc\r\n0\r\n\r\n"));
    CHECK(c.read().body == "whole");
    CHECK(c.read().body == "mine");
}

TEST_CASE("descriptors: who has passed one with a name may ask with one more later, once") {
    exchanging s;
    raw::wire_client c = s.connect();
    const unique_fd mine = memory("mine");
    const string_view asks = "GET /page HTTP/1.1\r\nHost: a\r\nAccept-Body-Fd: 1\r\n\r\n";
    REQUIRE(
        send_with(c.fd.get(), "POST /named HTTP/1.1\r\nHost: a\r\nFds: a\r\n\r\n", {mine.get()}));
    CHECK(c.read().body == "mine++");
    REQUIRE(send_with(c.fd.get(), asks, {mine.get()}));
    CHECK(c.read().field("Body-Fd") == "length=11");
    REQUIRE(send_with(c.fd.get(), asks, {mine.get()}));
    CHECK(c.read().status == 400);
}

TEST_CASE("descriptors: as many as fit leave no room for a body's, or for the proof") {
    constexpr std::size_t most = detail::max_fds_per_message;
    raw::running s(willing(1 << 20, most));
    const sealed_memory page = *sealed_memory::copy_of("sealed page");
    auto crowded = [&](auto message) {
        for (std::size_t i = 0; i < most; ++i) message.fd("f" + std::to_string(i), memory("f"));
        return message;
    };
    s.app.get("/", [&](const request&) { return crowded(text(page)); });
    s.app.put("/", [](const request& r) {
        return text(std::to_string(r.body().size()) + contents(r.fd("f252")));
    });
    s.start();
    client api(s.path, asking(1 << 20, most));
    for (int i = 0; i < 3; ++i) { // the first one asks for nothing yet, the third knows the server
        auto res = api.send(crowded(request("PUT", "/")).body(page, "text/plain"));
        REQUIRE_MESSAGE(res, res.error().message());
        CHECK(res->body() == "11f");
        res = api.get("/");
        REQUIRE_MESSAGE(res, res.error().message());
        CHECK(res->body() == "sealed page");
        CHECK(res->header("Body-Fd").empty());
        CHECK(contents(res->fd("f252")) == "f");
    }
}

TEST_CASE("descriptors: a response that can have no body has none by descriptor") {
    const struct {
        const char *method, *status;
    } rows[] = {{"HEAD", "200 OK"}, {"GET", "204 No Content"}, {"GET", "304 Not Modified"}};
    for (const auto& r : rows) {
        CAPTURE(std::string(r.status));
        scripted s("HTTP/1.1 " + std::string(r.status) + "\r\nBody-Fd: length=4\r\n\r\n",
                   list(memory("abcd")));
        client api(s.path, asking());
        const auto res = api.send(request(r.method, "/"));
        CHECK((!res && res.error() == errc::bad_descriptor)); // RFC 9112 6.3
    }
}

TEST_CASE(
    "descriptors: asking without passing one is not believed: a proxy may have forwarded it") {
    exchanging s;
    raw::wire_client c = s.connect();
    raw::answer a = c.ask("/page", "GET", "Accept-Body-Fd: 1\r\nAccept-Fds: 4\r\n");
    CHECK(a.status == 200);
    CHECK(a.body == "sealed page");
    CHECK(a.field("Body-Fd").empty());
}

TEST_CASE("descriptors: one that belongs to the second of two answers rides on that one") {
    exchanging s;
    raw::wire_client c = s.connect();
    const std::string asks = "GET /page HTTP/1.1\r\nHost: a\r\nAccept-Body-Fd: 1\r\n\r\n";
    const unique_fd any(::dup(0));
    REQUIRE(send_with(c.fd.get(), "POST /echo HTTP/1.1\r\nHost: a\r\nAccept-Body-Fd: 1\r\n\r\n",
                      {any.get()}));
    CHECK(c.read().status == 200);
    REQUIRE(c.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi" + asks));
    std::string all;
    detail::row<unique_fd> came;
    const std::size_t first_of_second = read_to_body_fd(c, all, came);
    REQUIRE(came.size() == 1);
    CHECK(contents(came[0].get()) == "sealed page");
    const std::size_t second = all.find("HTTP/1.1", 1);
    CHECK(all.substr(second - 2, 2) == "hi");
    CHECK(first_of_second == second + 1); // it came with the first byte of its own message
}

TEST_CASE("descriptors: one comes with its answer where half of what stood before has left") {
    raw::folder at;
    server app(willing());
    responder kept;
    app.get("/", [&](request&, responder out) {
        for (int n = 0; n < 4'000; ++n) // more than three sockets take
            CHECK(out.inform(response(103).header("Link", std::string(2'000, 'x'))));
        kept = std::move(out);
    });
    REQUIRE_FALSE(app.listen(at("s")));
    raw::wire_client c(at("s"));
    CHECK(send_with(c.fd.get(), "GET / HTTP/1.1\r\nHost: a\r\nAccept-Fds: 4\r\n\r\n",
                    {memory("proof").get()}));
    std::string all;
    char in[64];
    detail::row<unique_fd> came;
    const string_view head = "HTTP/1.1 200 OK\r\n";
    for (int turns = 0; came.empty() && turns < 10'000; ++turns) {
        REQUIRE(app.run_once(milliseconds(1)));
        for (ssize_t got = 1; got > 0 && came.empty();) {
            got = detail::receive_fds(c.fd.get(), {in, sizeof in}, came, MSG_DONTWAIT).size;
            if (!came.empty()) CHECK(all.find(head) == std::string::npos); // nor before it
            if (got > 0) all.append(in, static_cast<std::size_t>(got));
        }
        if (turns > 0 && all.size() > (600 << 10) && kept.is_open())
            CHECK(kept.send(text("").fd("a", memory("A"))));
    }
    REQUIRE(came.size() == 1);
    CHECK(contents(came[0].get()) == "A");
    CHECK(all.size() > 4'000 * 2'000);
    CHECK(all.find(head) != std::string::npos);
}

TEST_CASE("descriptors: one that belongs to the second answer of a batch waits for the first") {
    exchanging s;
    raw::wire_client c = s.connect();
    const unique_fd any(::dup(0));
    const std::string asks = "GET /page HTTP/1.1\r\nHost: a\r\nAccept-Body-Fd: 1\r\n\r\n";
    REQUIRE(send_with(c.fd.get(), asks, {any.get()}));
    CHECK(c.read(true).status == 200); // its descriptor is dropped
    REQUIRE(c.send("GET /page HTTP/1.1\r\nHost: a\r\n\r\n" + asks));
    std::string all;
    detail::row<unique_fd> came;
    const std::size_t first_of_second = read_to_body_fd(c, all, came);
    CHECK(first_of_second == all.find("HTTP/1.1", 1) + 1);
}

TEST_CASE("descriptors: who spins for an answer gets them too") {
    exchanging s;
    client_options options = asking();
    options.busy_poll = microseconds(100);
    client api(s.path, options);
    for (int i = 0; i < 3; ++i) {
        CHECK(ask(api, "/page").body() == "sealed page");
        CHECK(contents(ask(api, "/log").fd("log")) == "log");
    }
}

TEST_CASE("descriptors: half a head that has some gets no others in their place") {
    exchanging s(willing(1 << 20, 2));
    const unique_fd one = memory("one"), other = memory("other");
    raw::wire_client c = s.connect();
    CHECK(send_with(c.fd.get(), "POST /na", {one.get()}));
    REQUIRE(raw::comes_true([&] { return s.app.stats().bytes_in == 8; }));
    CHECK(send_with(c.fd.get(), "med HTTP/1.1\r\n", {other.get()}));
    CHECK(c.read().status == 400);
    CHECK(c.at_end());
}

TEST_CASE("descriptors: an answer names what comes with it, and what its server takes") {
    for (const bool body : {false, true}) {
        CAPTURE(body);
        exchanging s(willing(body ? 1 << 20 : 0));
        raw::wire_client c = s.connect();
        const unique_fd proof(::dup(0));
        const std::string head =
            std::string("GET ") + (body ? "/page" : "/log") +
            " HTTP/1.1\r\nHost: a\r\nAccept-Body-Fd: 1\r\nAccept-Fds: 4\r\n\r\n";
        REQUIRE(send_with(c.fd.get(), head, {proof.get()}));
        const raw::answer got = c.read();
        CHECK(got.status == 200);
        CHECK(got.field("Body-Fd") == (body ? "length=11" : ""));
        CHECK((got.head.find("\r\nFds:") == std::string::npos) == body);
        CHECK(got.field("Accept-Body-Fd") == (body ? "1" : ""));
    }
}

TEST_CASE("descriptors: unasked ones end a client's connection, without a word to its server") {
    raw::running s(willing());
    s.start();
    raw::folder at;
    const std::string path = at("up");
    const unique_fd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)),
        stranger = memory("stranger");
    const detail::endpoint to = *detail::endpoint_of(path);
    REQUIRE(::bind(listener.get(), to.get(), to.size) == 0);
    REQUIRE(::listen(listener.get(), 5) == 0);
    client api(path, {}, s.app);
    raw::handed<error> ended;
    const auto accepted = [&] {
        raw::wire_client peer(unique_fd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC)));
        CHECK(peer.until("\r\n\r\n"));
        peer.got.clear();
        return peer;
    };
    const auto get = [&] {
        api.async_get("/", [&](result<response> got) { ended.put(got ? error() : got.error()); });
    };
    SUBCASE("between calls") {
        get();
        raw::wire_client peer = accepted();
        peer.send("HTTP/1.1 204 No Content\r\n\r\n");
        CHECK_FALSE(ended.take());
        CHECK(send_with(peer.fd.get(), "x", {stranger.get()}));
        CHECK(peer.at_end());
    }
    SUBCASE("while it waits for an answer") {
        get();
        raw::wire_client peer = accepted();
        CHECK(send_with(peer.fd.get(), "HTTP/1.1 ", {stranger.get()}));
        CHECK(ended.take() == errc::bad_descriptor);
        CHECK(peer.at_end());
    }
    SUBCASE("behind an upgrade") {
        raw::handed<upgraded> opened;
        api.async_upgrade(request("GET", "/").header("Upgrade", "x"), [&](result<upgraded> got) {
            REQUIRE(got);
            got->in.on_data([](string_view) {}, [&](const error& why) { ended.put(why); });
            opened.put(std::move(*got));
        });
        raw::wire_client peer = accepted();
        peer.send("HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n");
        const upgraded up = opened.take();
        CHECK(send_with(peer.fd.get(), "x", {stranger.get()}));
        CHECK(ended.take());
        CHECK(peer.at_end());
    }
}

TEST_CASE("descriptors: unasked ones never put an answer into one that has begun") {
    raw::running s(willing());
    s.app.any("/back", [](request&, body_reader in, responder out) {
        relay(std::move(in), out.stream(response(200)));
    });
    s.app.any("/raw", [](request&, responder out) {
        out.upgrade("raw", [](upgraded with) { relay(std::move(with.in), std::move(with.out)); });
    });
    s.start();
    const unique_fd stranger = memory("stranger");
    raw::wire_client c = s.connect();
    SUBCASE("in the middle of its request") {
        REQUIRE(c.send("POST /back HTTP/1.0\r\nContent-Length: 9\r\n\r\nabc"));
    }
    SUBCASE("at the end of its request") {
        REQUIRE(c.send("POST /back HTTP/1.0\r\nContent-Length: 6\r\n\r\nabc"));
    }
    SUBCASE("behind an upgrade") {
        REQUIRE(c.send("GET /raw HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\n"
                       "Upgrade: raw\r\n\r\nabc"));
    }
    REQUIRE(c.until("abc"));
    REQUIRE(send_with(c.fd.get(), "def", {stranger.get()}));
    CHECK_FALSE(c.until("400")); // the end comes
    c.got.clear();
    CHECK(c.at_end());
}

TEST_CASE("descriptors: unasked ones end an upgraded connection, whatever its user does") {
    raw::running s(willing());
    raw::handed<upgraded> opened;
    s.app.get("/", [&](request&, responder out) {
        out.upgrade("x", [&](upgraded with) {
            with.in.on_data([](string_view) {}, {}); // nor is it told the end
            opened.put(std::move(with));
        });
    });
    s.start();
    const unique_fd stranger = memory("stranger");
    raw::wire_client c = s.connect();
    CHECK(c.ask("/", "GET", "Connection: upgrade\r\nUpgrade: x\r\n").status == 101);
    const upgraded up = opened.take();
    CHECK(send_with(c.fd.get(), "x", {stranger.get()}));
    CHECK(c.at_end());
}

TEST_CASE("descriptors: those that wait behind an upgrade end it, and are not left open") {
    raw::running s(willing());
    raw::handed<responder> waiting;
    s.app.get("/up", [&](request&, responder out) { waiting.put(std::move(out)); });
    s.start();
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    unique_fd reads(ends[0]), writes(ends[1]);
    raw::wire_client c = s.connect();
    REQUIRE(send_with(
        c.fd.get(), "GET /up HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nearly",
        {writes.get()}));
    writes = unique_fd();
    waiting.take().upgrade("x",
                           [](upgraded with) { relay(std::move(with.in), std::move(with.out)); });
    CHECK_FALSE(c.until("early"));
    pollfd end{reads.get(), POLLIN, 0};
    CHECK(::poll(&end, 1, 10'000) == 1);
    CHECK((end.revents & POLLHUP) != 0);
}

TEST_CASE("descriptors: unasked ones behind a request's first byte: one answer, a 400 or its own") {
    exchanging s;
    const unique_fd stranger = memory("stranger");
    raw::wire_client c = s.connect();
    std::string first, rest;
    int status = 400;
    SUBCASE("with the rest of a head") {
        first = "GET /big HT", rest = "TP/1.1\r\nHost: a\r\n\r\n";
    }
    SUBCASE("with the rest of a head that names nothing here") {
        first = "GET /nothing HT", rest = "TP/1.1\r\nHost: a\r\n\r\n";
    }
    SUBCASE("with the end of a body") {
        first = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc", rest = "def";
    }
    SUBCASE("with a body that was answered before it came") {
        first = "POST /none HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc", rest = "def";
        status = 404;
    }
    SUBCASE("with a piece of such a body") {
        first = "POST /none HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc", rest = "de";
        status = 404;
    }
    REQUIRE(c.send(first));
    REQUIRE(raw::comes_true([&] { // it was read
        int unread = 1;
        return ::ioctl(c.fd.get(), SIOCOUTQ, &unread) == 0 && unread == 0;
    }));
    REQUIRE(send_with(c.fd.get(), rest, {stranger.get()}));
    CHECK(c.read().status == status);
    CHECK(c.at_end());
}

TEST_CASE("descriptors: one with any piece of a streamed body is refused, the last one too") {
    raw::running s(willing());
    raw::handed<error> ended;
    s.app.post("/", [&](request&, body_reader in, responder out) {
        auto both =
            std::make_shared<std::pair<body_reader, responder>>(std::move(in), std::move(out));
        both->first.on_data([](string_view) {},
                            [&, both](const error& why) {
                                ended.put(why);
                                both->second.send(text("taken"));
                            });
    });
    s.start();
    const unique_fd stranger = memory("stranger");
    const struct {
        const char *framing, *first, *last;
    } rows[] = {{"Content-Length: 6", "ab", "cd"}, // not the last piece
                {"Content-Length: 4", "ab", "cd"},
                {"Transfer-Encoding: chunked", "4\r\nab", "cd\r\n0\r\n\r\n"},
                {"Transfer-Encoding: chunked", "2\r\nab\r\n", "0\r\n\r\n"}};
    for (const auto& r : rows) {
        CAPTURE(std::string(r.last));
        raw::wire_client c = s.connect();
        REQUIRE(c.send(std::string("POST / HTTP/1.1\r\nHost: a\r\n") + r.framing + "\r\n\r\n" +
                       r.first));
        REQUIRE(raw::comes_true([&] { // it was read
            int unread = 1;
            return ::ioctl(c.fd.get(), SIOCOUTQ, &unread) == 0 && unread == 0;
        }));
        REQUIRE(send_with(c.fd.get(), r.last, {stranger.get()}));
        CHECK(c.read().status == 400);
        CHECK(c.at_end());
        CHECK(ended.take() == errc::bad_descriptor);
    }
}

TEST_CASE("descriptors: Body-Fd where it isn't taken is refused, never an empty body") {
    exchanging s((server_options()));
    raw::wire_client c = s.connect();
    REQUIRE(
        c.send("POST /echo HTTP/1.1\r\nHost: a\r\nBody-Fd: length=4\r\nContent-Length: 0\r\n\r\n"));
    CHECK(c.read().status == 400);
    CHECK(c.at_end());

    scripted up("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nBody-Fd: length=4\r\n\r\n",
                list(memory("abcd")));
    client api(up.path, {}, s.app);
    raw::handed<error> refused;
    api.async_get("/", [&](result<response> got) { refused.put(got ? error() : got.error()); });
    CHECK(refused.take() == errc::bad_descriptor);
}

TEST_CASE("descriptors: both clients say the same of what is announced to who takes none") {
    const std::string good = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n";
    const struct {
        const char* name;
        std::string answer;
        bool is_good;
    } rows[] = {
        {"a named one", good + "Fds: log\r\n\r\n", false},
        {"two named ones", good + "Fds: log\r\nfds: control\r\n\r\n", false},
        {"a body", good + "Body-Fd: length=4\r\n\r\n", false},
        {"none", good + "Fds:\r\n\r\n", true},
        {"in an interim response", "HTTP/1.1 103 E\r\nFds: log\r\n\r\n" + good + "\r\n", true},
        {"a body in one", "HTTP/1.1 103 E\r\nBody-Fd: length=4\r\n\r\n" + good + "\r\n", true},
    };
    for (auto& r : rows) {
        CAPTURE(r.name);
        raw::running s; // its loop
        s.start();
        scripted one(r.answer, list()), other(r.answer, list());
        auto blocked = client(one.path).get("/");
        client api(other.path, {}, s.app);
        raw::handed<error> ended;
        api.async_get("/", [&](result<response> got) { ended.put(got ? error() : got.error()); });
        const error why = ended.take();
        CHECK(static_cast<bool>(blocked) == r.is_good);
        CHECK(static_cast<bool>(why) == !r.is_good);
        if (!r.is_good) CHECK((blocked.error() == errc::bad_descriptor));
        if (!r.is_good) CHECK(why == errc::bad_descriptor);
    }
}

TEST_CASE("descriptors: a server that takes none refuses named ones that are announced") {
    const struct {
        const char* name;
        const char* field;
        int status;
    } rows[] = {
        {"one", "Fds: log", 400},
        {"two, in small letters", "fds: log, control", 400},
        {"none", "Fds:", 200},
        {"another field of three letters", "DNT: 1", 200},
    };
    for (auto& r : rows) {
        CAPTURE(r.name);
        exchanging s((server_options()));
        raw::wire_client c = s.connect();
        REQUIRE(c.send(std::string("GET /page HTTP/1.1\r\nHost: a\r\n") + r.field + "\r\n\r\n"));
        CHECK(c.read().status == r.status);
        if (r.status == 400) CHECK(c.at_end());
    }
}

TEST_CASE("descriptors: a route's own limit holds for a body that comes as one") {
    raw::running s(willing());
    s.app.post("/plain", [](const request& r) { return text(r.body()); }).max_body_bytes(4);
    auto streamed = [](request&, body_reader, responder out) { out.send(text("taken")); };
    s.app.post("/streamed", streamed).max_body_bytes(4);
    s.start();
    for (const char* target : {"/plain", "/streamed"})
        for (const char* body : {"1234", "12345"}) {
            CAPTURE(target);
            const std::string size = std::to_string(std::strlen(body));
            raw::wire_client c = s.connect();
            const unique_fd memory_fd = memory(body);
            REQUIRE(send_with(c.fd.get(),
                              std::string("POST ") + target +
                                  " HTTP/1.1\r\nHost: a\r\nBody-Fd: length=" + size + "\r\n\r\n",
                              {memory_fd.get()}));
            CHECK(c.read().status == (size == "4" ? 200 : 413));
        }
}

/// KiB of memory that no file stands behind.
long anonymous_kib() {
    const std::string status = raw::proc_text("/proc/self/status");
    const std::size_t at = status.find("RssAnon:");
    return at == std::string::npos ? -1 : std::atol(status.c_str() + at + 8);
}

TEST_CASE("descriptors: a body that comes as one is never copied as a whole") {
    constexpr std::size_t size = 64 << 20;
#if defined(__SANITIZE_ADDRESS__) // it keeps what is freed, piece by piece, for a while
    const long allowed = 96 << 10;
#else
    const long allowed = 24 << 10;
#endif
    server_options o = willing(size, SIZE_MAX); // any number of descriptors
    raw::running s(o);
    std::atomic<long> before{0}, most{0};
    std::atomic<std::size_t> seen{0};
    const auto look = [&] {
        const long more = anonymous_kib() - before;
        if (more > most) most = more;
    };
    s.app.get("/", [](const request&) { return text("x").fd("any", memory("x")); });
    s.app.post("/plain",
               [&](const request& r) { return look(), seen = r.body().size(), text("x"); });
    s.app.post("/later", [&](request& r, responder out) {
        const request mine = std::move(r);
        look(), seen = mine.body().size();
        out.send(text(mine.header("Body-Fd")));
    });
    s.app.post("/streamed", [&](request&, body_reader in, responder out) {
        auto reader = std::make_shared<body_reader>(std::move(in));
        auto later = std::make_shared<responder>(std::move(out));
        reader->on_data([&](string_view piece) { look(), seen += piece.size(); },
                        [later, reader](const error& why) {
                            later->send(why ? text(why.message()).status(500) : text("x"));
                        });
    });
    s.start();
    client api(s.path, asking(size, SIZE_MAX));
    auto filled = memory_builder::create(size);
    REQUIRE(filled);
    auto body = std::move(*filled).seal();
    REQUIRE(body);
    CHECK(ask(api, "/").fd("any") >= 0); // from here on the client knows that they are taken
    for (const char* target : {"/plain", "/later", "/streamed"}) {
        CAPTURE(std::string(target));
        seen = 0, before = anonymous_kib(), most = 0;
        auto got = api.post(target, content(*body), "");
        REQUIRE(got);
        CHECK(got->status() == 200);
        CHECK(seen == size);
        CHECK(most < allowed);
    }
}

TEST_CASE("descriptors: who answers early gets all of a body that came as one, paused or not") {
    constexpr std::size_t size = 1 << 20; // pieces of it
    raw::running s(willing(size));
    std::atomic<std::size_t> seen{0};
    raw::handed<error> ended;
    s.app.get("/", [](const request&) { return text("x").fd("any", memory("x")); });
    s.app.post("/early", [&](request&, body_reader in, responder out) {
        auto reader = std::make_shared<body_reader>(std::move(in));
        reader->on_data([&, reader](string_view piece) { seen += piece.size(), reader->pause(); },
                        [&](const error& why) { ended.put(why); });
        out.send(response(202));
    });
    s.start();
    client api(s.path, asking(size));
    CHECK(ask(api, "/").fd("any") >= 0); // from here on the client knows that they are taken
    const auto got = api.post("/early", *sealed_memory::copy_of(std::string(size, 'x')), "");
    REQUIRE_MESSAGE(got, got.error().message());
    CHECK(got->status() == 202);
    CHECK_FALSE(ended.take());
    CHECK(seen == size);
}

TEST_CASE("descriptors: who writes to a client that left isn't kept by a body that came as one") {
    constexpr std::size_t size = 4 << 20; // 16 pieces of it
    server_options o = willing(size);
    o.max_write_buffer_bytes = 1;
    raw::running s(o);
    raw::handed<error> ended;
    std::atomic<std::size_t> seen{0};
    std::atomic<bool> is_told{false}; // the writer
    std::thread writer;
    s.app.post("/", [&](request&, body_reader in, responder out) {
        auto reader = std::make_shared<body_reader>(std::move(in));
        writer = std::thread([&, to = out.stream(response())]() mutable {
            while (to.write(std::string(1 << 20, 'x')) != written::closed)
                if (to.wait(2 * raw::patience) == written::closed) break;
            is_told = true;
        });
        reader->on_data(
            [&, reader](string_view piece) {
                ::usleep(20'000); // others have their turn between this one and the next
                if (s.app.stats().connections == 0)
                    CHECK(raw::comes_true([&] { return is_told.load(); }));
                seen += piece.size();
            },
            [&](const error& why) { ended.put(why); });
    });
    s.start();
    {
        raw::wire_client c = s.connect();
        const unique_fd body = memory(std::string(size, 'x'));
        const std::string head = "POST / HTTP/1.1\r\nHost: a\r\nBody-Fd: length=";
        REQUIRE(send_with(c.fd.get(), head + std::to_string(size) + "\r\n\r\n", {body.get()}));
        REQUIRE(raw::comes_true([&] { return seen > 0; }));
    }
    CHECK_FALSE(ended.take());
    CHECK(seen == size);
    writer.join();
}

TEST_CASE("descriptors: a streamed answer that came as one is streamed on with its bytes") {
    exchanging up;
    server_options o = willing();
    o.workers = 1;
    raw::running s(o);
    std::thread passing;
    s.app.get("/", [&](request&, responder out) {
        passing = std::thread([&, out = std::move(out)]() mutable {
            client api(up.path, asking());
            auto got = api.stream(request("GET", "/page"));
            if (!got) return;
            body_writer to = out.stream(std::move(got->head));
            char bytes[64];
            for (;;) {
                const auto n = got->body.read(bytes, sizeof bytes);
                if (!n || *n == 0) break;
                if (to.write(string_view(bytes, *n)) == written::closed) return;
            }
            to.end();
        });
    });
    s.start();
    raw::wire_client c = s.connect();
    CHECK(c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
    CHECK(c.read().body == "sealed page");
    passing.join();
    const auto got = client(s.path, asking()).get("/"); // also to who would take a descriptor
    passing.join();
    REQUIRE_MESSAGE(got, got.error().message());
    CHECK(got->body() == "sealed page");
    CHECK_FALSE(got->headers().contains("Body-Fd"));
}

TEST_CASE("descriptors: a client on a loop that takes some answers nobody that passes one") {
    raw::running s(willing());
    s.start();
    scripted up("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", list(memory("stranger")));
    {
        client api(up.path, {}, s.app);
        raw::handed<int> ended;
        api.async_get("/", [&](result<response> got) { ended.put(got ? got->status() : 0); });
        CHECK(ended.take() == 200); // as the blocking one: what it didn't ask for is closed
    }
    up.join();
    CHECK_FALSE(up.says_more);
}

TEST_CASE("descriptors: none is left open by a storm of wrong ones") {
    raw::fd_watch watch;
    exchanging s;
    unique_fd one = memory("abcd");
    unsigned seed = 7;
    for (int i = 0; i < 300; ++i) {
        raw::wire_client c = s.connect();
        seed = seed * 1103515245 + 12345;
        std::string head = "POST /named HTTP/1.1\r\nHost: a\r\n";
        if (seed & 0x10000) head += "Fds: a\r\n";
        if (seed & 0x20000) head += "Body-Fd: length=4\r\n";
        if (seed & 0x40000) head += "Accept-Fds: 2\r\n";
        head += "\r\n";
        const std::size_t cut = (seed >> 8) % head.size();
        if (cut && !c.send(string_view(head).substr(0, cut))) continue;
        const string_view rest = string_view(head).substr(cut);
        if (seed & 0x80000) (void)send_with(c.fd.get(), rest, {one.get(), one.get()});
        else (void)send_with(c.fd.get(), rest, {one.get()});
        if (seed & 0x100000) (void)c.read();
    }
    client api(s.path, asking());
    CHECK(ask(api, "/page").body() == "sealed page");
}

TEST_CASE("descriptors: whoever passes none to prove that they arrive gets none") {
    exchanging s;
    raw::wire_client c = s.connect();
    const std::string asks = "Accept-Body-Fd: 1\r\nAccept-Fds: 4\r\n";
    CHECK(c.ask("/page", "GET", asks).body == "sealed page");
    CHECK(c.ask("/log", "GET", asks).status == 500);
}

TEST_CASE("descriptors: those of an answer that can't be sent don't go with the 500") {
    raw::running s(willing());
    s.app.get("/", [](const request&) {
        return text("here").fd("a", memory("A")).header("Bad Name", "x");
    });
    s.start();
    raw::wire_client c = s.connect();
    const unique_fd any(::dup(0));
    REQUIRE(
        send_with(c.fd.get(), "GET / HTTP/1.1\r\nHost: a\r\nAccept-Fds: 4\r\n\r\n", {any.get()}));
    char in[4096];
    detail::row<unique_fd> came;
    const detail::received got = detail::receive_fds(c.fd.get(), {in, sizeof in}, came);
    REQUIRE(got.size > 12);
    CHECK(string_view(in, 12) == "HTTP/1.1 500");
    CHECK(came.empty());
}

TEST_CASE("descriptors: a client announces what it passes, and asks for what it takes, no more") {
    const struct {
        std::uint64_t body;
        std::size_t count;
        bool gives;
        std::size_t passed; // the proof that one arrives is among them
    } rows[] = {{0, 0, true, 1}, {1 << 20, 0, false, 1}, {0, 4, false, 1}, {0, 4, true, 2}};
    for (const auto& r : rows) {
        CAPTURE(r.body);
        CAPTURE(r.count);
        CAPTURE(r.gives);
        scripted s("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", {});
        {
            client api(s.path, asking(r.body, r.count));
            request req("POST", "/");
            if (r.gives) req.fd("a", memory("abcd"));
            CHECK(api.send(req));
        }
        s.join();
        CHECK(s.passed == r.passed);
        const auto says = [&](const char* line) { return s.asked.find(line) != std::string::npos; };
        CHECK(says("\r\nFds:") == r.gives);
        CHECK(says("\r\nAccept-Body-Fd: 1\r\n") == (r.body > 0));
        CHECK(says("\r\nAccept-Fds: 4\r\n") == (r.count > 0));
        CHECK(says("\r\nAccept-Fds:") == (r.count > 0));
    }
}

TEST_CASE("descriptors: a body goes as one only to a server that has said that it takes them") {
    exchanging s(willing(0, 4)); // others, no bodies
    client api(s.path, asking());
    REQUIRE(api.get("/page"));
    const auto res = api.post("/echo", *sealed_memory::copy_of("sealed"), "text/plain");
    REQUIRE_MESSAGE(res, res.error().message());
    CHECK(res->status() == 200);
    CHECK(res->body() == "sealed");
}

TEST_CASE("descriptors: a 101 has no body, neither as one nor in front of what follows") {
    scripted s("HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: x\r\nBody-Fd: length=4\r\n\r\n",
               list(memory("abcd")));
    client api(s.path, asking());
    const auto up = api.upgrade(request("GET", "/").header("Upgrade", "x"));
    CHECK((!up && up.error() == errc::bad_descriptor));
}

TEST_CASE("descriptors: an interim response passes none, and inform() says so") {
    raw::running s;
    s.app.get("/", [](request&, responder out) {
        const bool is_sent = out.inform(response(103).fd("a", memory("abcd")));
        out.send(text(is_sent ? "sent" : "refused"));
    });
    s.start();
    const auto res = client(s.path).get("/");
    CHECK((res && res->body() == "refused"));
}
