// SPDX-License-Identifier: MIT
// memory: a server whose loop can't allocate, at its first, second, third, ... call of operator
// new, until a whole conversation gets by without that: at that one alone, and from that one on
// until the conversation has ended. For each, a fresh server in a process of its own (what one that
// is warm has already got would hide the rest). The request ends in the right answer, a 503, or a
// closed connection; where the allocation was the handler's own, also in the 500 of a handler that
// throws. The next request, on a new connection, is answered, and so is the same one again.
//
// Then what no conversation shows: timers, the start and the end, and what a listen() leaves.
//
//     memory [NAME]      all of them, or one; the last line is `N passed, N failed`

#include "uds_http.hpp"

#include <cinttypes>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <thread>

namespace http = uds_http;
using std::string_view;

namespace {

/// Shared by the server's process and the one that asks.
struct shared {
    std::atomic<std::uint32_t> at, count;               // fails when count gets there; 0: never
    std::atomic<bool> lasts, failed, in_handler, ready; // lasts: all that follow fail, too
    std::atomic<bool> is_wrong, adds_none;              // of a handler; of epoll_ctl(2)
};
shared* told = nullptr;
thread_local bool is_loop = false; // only the loop's allocations fail
thread_local bool runs_handler = false;

bool is_to_fail() noexcept {
    if (!is_loop || told->at == 0) return false;
    const std::uint32_t count = ++told->count;
    if (told->lasts ? count < told->at : count != told->at) return false;
    told->failed = true, told->in_handler = told->in_handler || runs_handler;
    return true;
}

void* allocate(std::size_t size) noexcept {
    return told && is_to_fail() ? nullptr : std::malloc(size ? size : 1);
}

} // namespace

[[gnu::noinline]] void* operator new(std::size_t size) {
    if (void* made = allocate(size)) return made;
    throw std::bad_alloc();
}
[[gnu::noinline]] void* operator new[](std::size_t size) { return operator new(size); }
[[gnu::noinline]] void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
    return allocate(size);
}
[[gnu::noinline]] void* operator new[](std::size_t size, const std::nothrow_t&) noexcept {
    return allocate(size);
}
extern "C" int epoll_ctl(int epoll, int what, int fd, epoll_event* event) noexcept {
    if (what == EPOLL_CTL_ADD && told && told->adds_none) return errno = ENOMEM, -1;
    return static_cast<int>(::syscall(SYS_epoll_ctl, epoll, what, fd, event));
}
[[gnu::noinline]] void operator delete(void* gone) noexcept { std::free(gone); }
[[gnu::noinline]] void operator delete[](void* gone) noexcept { std::free(gone); }
[[gnu::noinline]] void operator delete(void* gone, std::size_t) noexcept { std::free(gone); }
[[gnu::noinline]] void operator delete[](void* gone, std::size_t) noexcept { std::free(gone); }

namespace {

struct in_handler {
    in_handler() { runs_handler = true; }
    in_handler(const in_handler&) = delete;
    ~in_handler() { runs_handler = false; }
};

const std::string large(100 << 10, 'x');

// -- the server -----------------------------------------------------------------------------------

void answer_later(http::server& app, http::responder out) {
    in_handler here;
    auto kept = std::make_shared<http::responder>(std::move(out));
    app.post([kept] { kept->send(http::text("later")); }, http::milliseconds(1));
}

void stream(http::request&, http::responder out) {
    in_handler here;
    auto to = std::make_shared<http::body_writer>(out.stream(http::response()));
    auto left = std::make_shared<int>(20);
    auto more = [to, left] {
        while (*left > 0) {
            --*left;
            if (to->write(string_view(large).substr(0, 10'000)) != http::written::ok) return;
        }
        to->end();
    };
    to->on_drain(more);
    more();
}

void take_stream(http::request&, http::body_reader body, http::responder out) {
    in_handler here;
    auto in = std::make_shared<http::body_reader>(std::move(body));
    auto size = std::make_shared<std::size_t>(0);
    auto to = std::make_shared<http::responder>(std::move(out));
    in->on_data([size](string_view piece) { *size += piece.size(); },
                [in, size, to](const http::error& cut) {
                    in_handler again;
                    if (!cut) to->send(http::text(std::to_string(*size)));
                });
}

void pass_on(http::client& upstream, http::request& req, http::responder out) {
    in_handler here;
    auto to = std::make_shared<http::responder>(std::move(out));
    http::request asked("POST", "/echo");
    asked.body(std::string(req.body()), "text/plain");
    upstream.async_send(std::move(asked), [to](http::result<http::response> got) {
        in_handler again;
        to->send(got ? std::move(*got) : http::response(502));
    });
}

void inform(http::request&, http::responder out) {
    in_handler here;
    http::response early(103);
    early.header("Link", string_view(large).substr(0, 300));
    for (int i = 0; i < 6; ++i) {
        try {
            http::response one(103);
            one.headers() = early.headers();
            out.inform(std::move(one));
        } catch (const std::bad_alloc&) { // what is only a hint may be left out
        }
    }
    out.send(http::text("informed"));
}

/// A write that threw has taken nothing: it can be made again.
void write_again(http::request&, http::responder out) {
    in_handler here;
    const std::string length = std::to_string(large.size());
    http::body_writer to = out.stream(http::response().header("Content-Length", length));
    for (string_view rest = large; !rest.empty(); rest.remove_prefix(rest.size() / 2 + 1)) {
        const string_view piece = rest.substr(0, rest.size() / 2 + 1);
        bool is_closed = false;
        try {
            is_closed = to.write(piece) == http::written::closed;
        } catch (const std::bad_alloc&) {
            is_closed = to.write(piece) == http::written::closed;
        }
        if (is_closed) told->is_wrong = true;
    }
    to.end();
}

int serve(const std::string& path, const std::string& folder, const std::string& upstream,
          bool fails) {
    http::server_options options;
    if (fails) options.max_per_uid_count = 1; // a place that isn't given back is the last one
    http::server app(options);
    http::client_options one;
    one.max_connections_count = 1; // as above
    http::client far(upstream, one, app);
    app.get("/", [](const http::request&) { return http::text("Hello Anonymous"); });
    app.get("/{name}", [](const http::request& req) {
        in_handler here;
        return http::text("Hello " + std::string(req.param("name")));
    });
    app.post("/echo", [](const http::request& req) {
        in_handler here;
        return http::bytes(req.body());
    });
    app.get("/a/later",
            [&](http::request&, http::responder out) { answer_later(app, std::move(out)); });
    app.get("/a/stream", stream);
    app.put("/a/stream", take_stream);
    app.get("/a/inform", inform);
    app.get("/a/write", write_again);
    app.post("/a/proxy",
             [&](http::request& req, http::responder out) { pass_on(far, req, std::move(out)); });
    app.files("/files", folder);
    if (const auto bad = app.listen(path))
        return std::fprintf(stderr, "%s\n", bad.message().c_str()), 3;
    if (!app.run_once(http::milliseconds(0))) return 3; // what is made once, at the start
    is_loop = fails;
    told->ready = true;
    const auto bad = app.run();
    is_loop = false;
    return bad ? std::fprintf(stderr, "run: %s\n", bad.message().c_str()), 2 : 0;
}

// -- who asks -------------------------------------------------------------------------------------

struct answer {
    int status = 0; // 0: none
    std::string body;
    bool whole = false;
};

class wire {
public:
    wire() {
        timeval limit{3, 0};
        ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        ::setsockopt(fd_.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    }
    explicit wire(const std::string& path) : wire() { (void)reaches(path); }
    bool reaches(const std::string& path) {
        sockaddr_un to{};
        to.sun_family = AF_UNIX;
        std::memcpy(to.sun_path, path.c_str(), path.size() + 1);
        return ::connect(fd_.get(), reinterpret_cast<sockaddr*>(&to), sizeof to) == 0;
    }
    void send(string_view bytes) {
        while (!bytes.empty()) {
            const ssize_t sent = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
            if (sent <= 0) return; // refused: the answer says why, or the end does
            bytes.remove_prefix(static_cast<std::size_t>(sent));
        }
    }
    answer read() {
        answer got;
        while (in_.find("\r\n\r\n") == in_.npos)
            if (!more()) return got;
        const std::string head = in_.substr(0, in_.find("\r\n\r\n") + 4);
        in_.erase(0, head.size());
        got.status = std::atoi(head.c_str() + 9);
        if (head.find("\r\nHTTP/") != head.npos) return got.status = 1, got.whole = true, got;
        if (got.status / 100 == 1) return read();
        const auto length = head.find("\r\nContent-Length: ");
        if (length == head.npos) return got.whole = chunks(got.body), got;
        const std::size_t size = std::strtoul(head.c_str() + length + 18, nullptr, 10);
        got.whole = take(got.body, size);
        return got;
    }
    bool hangs() const { return hangs_; }
    bool has_come() const { // an answer; the end isn't one
        char byte;
        return ::recv(fd_.get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 1;
    }
    /// Until `what` has come so often.
    bool reads(string_view what, int count) {
        for (std::size_t from = 0; count > 0; --count) {
            std::size_t at = 0;
            while ((at = in_.find(what, from)) == in_.npos)
                if (!more()) return false;
            from = at + what.size();
        }
        return true;
    }

private:
    bool more() {
        char piece[64 << 10];
        const ssize_t got = ::recv(fd_.get(), piece, sizeof piece, 0);
        hangs_ = got < 0 && errno == EAGAIN;
        if (got > 0) in_.append(piece, static_cast<std::size_t>(got));
        return got > 0;
    }
    bool take(std::string& to, std::size_t size) {
        while (in_.size() < size)
            if (!more()) return false;
        to.append(in_, 0, size);
        in_.erase(0, size);
        return true;
    }
    bool chunks(std::string& body) {
        for (;;) {
            while (in_.find("\r\n") == in_.npos)
                if (!more()) return false;
            const std::size_t size = std::strtoul(in_.c_str(), nullptr, 16);
            in_.erase(0, in_.find("\r\n") + 2);
            std::string end;
            if (!take(body, size) || !take(end, 2)) return false;
            if (size == 0) return true;
        }
    }
    http::unique_fd fd_{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    std::string in_;
    bool hangs_ = false;
};

struct conversation {
    const char* name;
    std::string input, body;               // of the answer that is due
    int also = 503;                        // another status that may come
    std::size_t split = std::string::npos; // where the input is cut in two
};

std::string chunked(string_view body) {
    char size[32];
    std::snprintf(size, sizeof size, "%zx\r\n", body.size());
    return size + std::string(body) + "\r\n0\r\n\r\n";
}

std::vector<conversation> conversations() {
    const std::string host = " HTTP/1.1\r\nHost: a\r\n", length = std::to_string(large.size());
    const std::string post = host + "Content-Length: " + length + "\r\n\r\n" + large;
    const std::string chunks = host + "Transfer-Encoding: chunked\r\n\r\n" + chunked(large);
    std::string streamed;
    for (int i = 0; i < 20; ++i) streamed += large.substr(0, 10'000);
    return {
        {"GET", "GET /" + host + "\r\n", "Hello Anonymous"},
        {"half a head, then the rest", "GET /" + host + "\r\n", "Hello Anonymous", 503, 9},
        {"a parameter", "GET /w%6Frld" + host + "\r\n", "Hello world"},
        {"POST of 100 KiB", "POST /echo" + post, large},
        {"POST of 100 KiB in two", "POST /echo" + post, large, 503, 50'000},
        {"chunked POST", "POST /echo" + chunks, large},
        {"streamed response", "GET /a/stream" + host + "\r\n", streamed},
        {"streamed request", "PUT /a/stream" + post, length},
        {"streamed request, chunked", "PUT /a/stream" + chunks, length, 503, 60'000},
        {"later answer", "GET /a/later" + host + "\r\n", "later", 500}, // its responder was dropped
        {"file", "GET /files/file" + host + "\r\n", large},
        {"file, a range", "GET /files/file" + host + "Range: bytes=5-9\r\n\r\n",
         large.substr(5, 5)},
        {"through a client", "POST /a/proxy" + host + "Content-Length: 5\r\n\r\nhello", "hello",
         502},
        {"interim answers", "GET /a/inform" + host + "\r\n", "informed"},
        {"a write, made again", "GET /a/write" + host + "\r\n", large},
    };
}

// -- one attempt ----------------------------------------------------------------------------------

struct child {
    pid_t pid;
    int status = -1;
    explicit child(pid_t made) : pid(made) {}
    child(const child&) = delete;
    ~child() {
        if (status < 0) ::kill(pid, SIGKILL), ::waitpid(pid, &status, 0);
    }
    bool alive() { return status < 0 && ::waitpid(pid, &status, WNOHANG) == 0; }
    std::string end() const {
        if (WIFSIGNALED(status)) return "died of signal " + std::to_string(WTERMSIG(status));
        return "ended with " + std::to_string(WEXITSTATUS(status));
    }
};

template <class F> pid_t start(F act) {
    std::fflush(stdout);
    const pid_t made = ::fork();
    if (made != 0) return made;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::prctl(PR_SET_DUMPABLE, 0); // no core: writing it takes longer than all the rest
    if (!std::freopen("/dev/null", "w", stderr)) ::_exit(4); // terminate() says what is known here
    ::_exit(act());
}

bool wait_for(const std::atomic<bool>& flag, child& in) {
    for (int i = 0; i < 5'000 && in.alive(); ++i, ::usleep(1000))
        if (flag) return true;
    return flag;
}

answer ask(const std::string& path, const conversation& c, bool& hangs) {
    wire to(path);
    to.send(string_view(c.input).substr(0, c.split));
    if (c.split != std::string::npos) {
        ::usleep(2'000); // for the first part to be read alone; if it isn't, nothing goes wrong
        to.send(string_view(c.input).substr(c.split));
    }
    answer got = to.read();
    hangs = to.hangs();
    return got;
}

bool is_right(const conversation& c, const answer& got) {
    return (got.status == 200 || got.status == 206) && got.body == c.body;
}

std::string judge(const conversation& c, const answer& got, bool hangs) {
    if (hangs) return "no answer and no end";
    if (got.status == 0 || !got.whole) return {}; // closed
    if (is_right(c, got)) return {};
    if (got.status == 503 || got.status == c.also || (got.status == 500 && told->in_handler))
        return {};
    return "answered " + std::to_string(got.status) + " with " + std::to_string(got.body.size()) +
           " bytes";
}

struct place {
    std::string folder, path, upstream;
};

/// What went wrong with the k-th allocation failing; `reached`: it was.
std::string attempt(const conversation& c, const place& at, std::uint32_t k, bool& reached) {
    told->at = 0, told->count = 0, told->failed = told->in_handler = told->ready = false;
    told->is_wrong = false;
    child server(start([&] { return serve(at.path, at.folder, at.upstream, true); }));
    if (!wait_for(told->ready, server)) return "the server doesn't start: " + server.end();
    told->at = k;
    bool hangs = false;
    const answer got = ask(at.path, c, hangs);
    reached = told->failed;
    told->at = 0;
    std::string fault = judge(c, got, hangs);
    if (!reached && !is_right(c, got)) fault = "wrong without a failure";
    if (told->is_wrong && !told->lasts) fault = "a write was closed that only lacked memory";
    const conversation greeting{"", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "Hello Anonymous"};
    for (const conversation* then : {&greeting, &c}) {
        answer next;
        for (int tries = 0; tries < 1'000 && (tries == 0 || next.status == 503); ++tries) {
            if (tries > 0) ::usleep(1'000); // the first connection may not be closed yet
            next = ask(at.path, *then, hangs);
        }
        if (is_right(*then, next)) continue;
        ::usleep(server.alive() ? 20'000 : 0); // it may be about to end
        fault = server.alive() ? "the next request isn't answered" : "the server " + server.end();
    }
    return fault;
}

bool check(const conversation& c, const place& at, bool lasts) {
    told->lasts = lasts;
    std::uint32_t k = 1, bad = 0;
    std::string first;
    for (bool reached = true; k < 2'000; ++k) {
        const std::string fault = attempt(c, at, k, reached);
        if (!fault.empty() && bad++ == 0) first = "allocation " + std::to_string(k) + ": " + fault;
        if (!reached) break;
    }
    std::printf("%-28s %4" PRIu32 " allocations, %4" PRIu32 " failures%s got over: %s\n", c.name,
                k - 1, k - 1 - (bad < k ? bad : k - 1), lasts ? " that last" : "",
                bad ? "FAILED" : "ok");
    if (bad) std::printf("  %s\n", first.c_str());
    return bad == 0;
}

/// The blocking client, here: a call without memory takes no place of its pool with it.
bool check_client(const place& at, bool is_kept) {
    http::client_options one;
    one.max_connections_count = 1, one.total_timeout = http::milliseconds(2'000);
    std::uint32_t k = 1, bad = 0;
    for (bool reached = true; reached && k < 2'000; ++k) {
        http::client api(at.upstream, one);
        if (is_kept && !api.get("/")) ++bad;
        http::request req("POST", "/echo");
        req.body(large, "text/plain");
        told->count = 0, told->failed = told->lasts = false, told->at = k;
        is_loop = true;
        try {
            const auto got = api.send(req);
            is_loop = false;
            if (got && got->body() != large) ++bad;
        } catch (const std::bad_alloc&) {
            is_loop = false;
        }
        reached = told->failed, told->at = 0;
        const auto next = api.get("/");
        if (!next || next->body() != "Hello Anonymous") ++bad;
    }
    std::printf("%-28s %4" PRIu32 " allocations: %s\n",
                is_kept ? "a client, kept connection" : "a client, new connection", k - 2,
                bad ? "FAILED" : "ok");
    return bad == 0;
}

// -- what no conversation shows: each in a process of its own, 0 if it is right ------------------

template <class F> bool comes_true(F claim) {
    for (int i = 0; i < 3'000 && !claim(); ++i) ::usleep(1'000);
    return claim();
}
void fail_from_here(bool lasts) {
    told->count = 0, told->failed = false, told->lasts = lasts, told->at = 1;
}

struct running {
    http::server& app;
    std::atomic<bool> has_ended{false};
    std::thread on{[this] {
        is_loop = true;
        (void)app.run();
        has_ended = true;
    }};
    explicit running(http::server& one) : app(one) {}
    running(const running&) = delete;
    ~running() { told->at = 0, app.stop(), app.stop(), on.join(); }
};

int ends(const place& at) {
    http::server app;
    if (app.listen(at.path) || !app.run_once(http::milliseconds(0))) return 3;
    app.stop();
    is_loop = true, fail_from_here(true);
    return app.run() ? 2 : 0;
}

/// All threads, or none.
int starts(const place& at) {
    bool reached = true;
    for (std::uint32_t k = 1; reached; ++k) {
        http::server_options three;
        three.threads = 3, three.workers = 2;
        http::server app(three);
        app.get("/", [](const http::request&) { return http::text("hello"); }).on_loop();
        if (app.listen(at.path)) return 3;
        is_loop = true, fail_from_here(false), told->at = k;
        try {
            (void)app.pollable_fd(); // starts it
        } catch (const std::bad_alloc&) {
        }
        is_loop = false, reached = told->failed, told->at = 0;
        running again(app);
        std::optional<wire> peers[9];
        for (auto& peer : peers) {
            peer.emplace(at.path);
            peer->send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            if (!comes_true([&] { return again.has_ended || peer->has_come(); })) return 2;
        }
    }
    return 0;
}

/// Without memory its path may stay: from then on it is for others, who may have the same inode.
int leaves_path(const place& at) {
    const std::string same = at.path + ".same";
    bool starts = false;
    {
        http::server_options three;
        three.threads = 3; // these need memory
        http::server app(three);
        if (app.listen(at.path) || ::link(at.path.c_str(), same.c_str())) return 3;
        is_loop = true, fail_from_here(true);
        try {
            starts = app.pollable_fd() >= 0;
        } catch (const std::bad_alloc&) {
        }
        is_loop = false, told->at = 0;
        (void)::unlink(at.path.c_str());
        if (::rename(same.c_str(), at.path.c_str())) return 3;
    }
    return starts ? 3 : ::access(at.path.c_str(), F_OK) ? 2 : 0;
}

/// The one that is there serves on, unless the other can.
int takes_over(const place& at) {
    http::server old;
    old.get("/", [](const http::request&) { return http::text("old"); });
    if (old.listen(at.path)) return 3;
    running serving(old);
    http::listen_options how;
    how.take_over = true, how.name = "a name that needs memory of its own", how.allow.emplace();
    how.allow->uids.push_back(::getuid());
    for (std::uint32_t k = 1;; ++k) {
        http::server next;
        is_loop = true, fail_from_here(false), told->at = k;
        try {
            (void)next.listen(at.path, how);
        } catch (const std::bad_alloc&) {
        }
        is_loop = false, told->at = 0;
        if (!told->failed) return 0;
        bool hangs = false;
        if (ask(at.path, {"", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", ""}, hangs).body != "old")
            return 2;
    }
}

/// Comments need no memory.
int beats(const place& at) {
    http::server app;
    std::optional<http::event_writer> events;
    app.get("/", [&](http::request&, http::responder out) {
        events.emplace(out.events(http::milliseconds(5)));
        app.post([] { fail_from_here(true); });
    });
    if (app.listen(at.path)) return 3;
    running serving(app);
    wire peer(at.path);
    peer.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    if (!comes_true([] { return told->at == 1; })) return 3;
    return peer.reads(":\n\n", 20) ? 0 : 2;
}

/// Timers stand again without memory, also while the loop's own have taken the room that was left.
int stands_again(const place& at, bool is_call) {
    const http::unique_fd silent(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un to{};
    to.sun_family = AF_UNIX;
    std::strcpy(to.sun_path + 1, (at.path + std::to_string(::getpid())).c_str());
    if (::bind(silent.get(), reinterpret_cast<sockaddr*>(&to), sizeof to) ||
        ::listen(silent.get(), 9))
        return 3;
    http::server app;
    http::client_options soon;
    soon.read_timeout = http::milliseconds(60);
    http::client far(http::address::abstract_name({to.sun_path + 1, sizeof to.sun_path - 1}), soon,
                     app);
    std::optional<http::event_writer> events;
    std::atomic<bool> has_failed{false}, is_paused{false};
    app.on_log([&](string_view) { is_paused = true, fail_from_here(true); });
    app.get("/", [&](http::request&, http::responder out) {
        if (is_call) far.async_get("/", [&](http::result<http::response>) { has_failed = true; });
        events.emplace(out.events(http::milliseconds(is_call ? 0 : 5)));
        for (int i = 0; i < 2; ++i) app.post([] {}, std::chrono::hours(1));
    });
    if (app.listen(at.path)) return 3;
    running serving(app);
    wire peer(at.path), other;
    peer.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    if (!peer.reads("\r\n\r\n", 1)) return 3;
    pollfd asked{silent.get(), POLLIN, 0};
    if (is_call && ::poll(&asked, 1, 3'000) != 1) return 3;
    rlimit none{};
    ::getrlimit(RLIMIT_NOFILE, &none);
    none.rlim_cur = 3; // accepting pauses, which takes a timer of the loop's own
    ::setrlimit(RLIMIT_NOFILE, &none);
    if (!other.reaches(at.path) || !comes_true([&] { return is_paused.load(); })) return 3;
    if (is_call) return comes_true([&] { return has_failed.load(); }) ? 0 : 2;
    return peer.reads(":\n\n", 40) ? 0 : 2;
}

/// Whoever waits behind a call that found no memory has its turn.
int dials_again(const place& at, std::uint32_t k, bool& reached) {
    const http::unique_fd full(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const std::string path = at.path + std::to_string(k);
    sockaddr_un to{};
    to.sun_family = AF_UNIX;
    std::strcpy(to.sun_path, path.c_str());
    if (::bind(full.get(), reinterpret_cast<sockaddr*>(&to), sizeof to) || ::listen(full.get(), 0))
        return 3;
    const wire first(path); // takes the one place
    http::server app;
    http::client far(path, {}, app);
    std::atomic<bool> is_settled{false};
    app.get("/", [&](http::request&, http::responder out) {
        for (int i = 0; i < 2; ++i) app.post([] {}, std::chrono::hours(1));
        app.post([&] {
            for (int i = 0; i < 2; ++i) far.async_get("/", [](http::result<http::response>) {});
            app.post([&] { // behind both, and before they are dialled
                app.post([&] { is_settled = true, told->at = 0; });
                fail_from_here(false), told->at = k;
            });
        });
        out.send(http::text("begun"));
    });
    if (app.listen(at.path)) return 3;
    running serving(app);
    bool hangs = false;
    if (ask(at.path, {"", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", ""}, hangs).body != "begun")
        return 3;
    if (!comes_true([&] { return is_settled.load(); })) return 3;
    reached = told->failed;
    const http::unique_fd taken(::accept4(full.get(), nullptr, nullptr, SOCK_CLOEXEC));
    pollfd more{full.get(), POLLIN, 0}; // there is room: one of them at least connects
    const int came = ::poll(&more, 1, 3'000);
    ::unlink(path.c_str());
    return came == 1 ? 0 : 2;
}

/// A call is told its end, wherever in a head with much to keep memory ends.
int tells(const place& at) {
    const http::unique_fd door(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un to{};
    to.sun_family = AF_UNIX;
    std::strcpy(to.sun_path, at.path.c_str());
    if (::bind(door.get(), reinterpret_cast<sockaddr*>(&to), sizeof to) || ::listen(door.get(), 9))
        return 3;
    bool reached = true;
    for (std::uint32_t k = 1; reached; ++k) {
        http::server app;
        http::client far(at.path, {}, app);
        std::atomic<int> ended{0};
        app.post([&] { far.async_get("/", [&](http::result<http::response>) { ++ended; }); });
        int pair[2];
        if (::socketpair(AF_UNIX, SOCK_STREAM, 0, pair)) return 3;
        const http::unique_fd keeps(pair[1]); // a server without a door runs as long as it is there
        if (app.adopt(http::unique_fd(pair[0]))) return 3;
        running serving(app);
        const http::unique_fd peer(::accept4(door.get(), nullptr, nullptr, SOCK_CLOEXEC));
        char asked[1024];
        if (::recv(peer.get(), asked, sizeof asked, 0) <= 0) return 3;
        fail_from_here(false), told->at = k;
        constexpr string_view reply =
            "HTTP/1.1 200 OK\r\nConnection: keep-alive, x-longer-than-a-word\r\n"
            "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n";
        if (::send(peer.get(), reply.data(), reply.size(), MSG_NOSIGNAL) < 0) return 3;
        if (!comes_true([&] { return ended == 1; })) return 2;
        reached = told->failed;
    }
    return 0;
}

/// A mapping that finds no memory for what owns it doesn't stay.
int unmaps(const place&) {
    bool reached = true;
    for (std::uint32_t k = 1; reached; ++k) {
        is_loop = true, fail_from_here(false), told->at = k;
        try {
            (void)http::sealed_memory::copy_of("sealed");
        } catch (const std::bad_alloc&) {
        }
        is_loop = false, reached = told->failed, told->at = 0;
    }
    std::FILE* const maps = std::fopen("/proc/self/maps", "r");
    bool is_left = !maps;
    for (char line[512]; maps && std::fgets(line, sizeof line, maps);)
        is_left = is_left || std::strstr(line, "memfd:uds_http");
    if (maps) std::fclose(maps);
    return is_left ? 2 : 0;
}

/// Nobody is left without a word for whom the kernel has no memory.
int says_why(const place& at) {
    http::server app;
    std::atomic<int> lines{0};
    app.on_log([&](string_view) { ++lines; });
    if (app.listen(at.path) || !app.run_once(http::milliseconds(0))) return 3;
    running serving(app);
    told->adds_none = true;
    bool hangs = false;
    const answer got = ask(at.path, {"", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", ""}, hangs);
    told->adds_none = false;
    return got.status == 503 && comes_true([&] { return lines == 1; }) ? 0 : 2;
}

struct single {
    const char* name;
    int (*act)(const place&);
};
constexpr single singles[] = {
    {"the end", ends},
    {"the start", starts},
    {"a start, and its path", leaves_path},
    {"take-over", takes_over},
    {"heartbeats", beats},
    {"heartbeats, no room", [](const place& at) { return stands_again(at, false); }},
    {"deadlines, no room", [](const place& at) { return stands_again(at, true); }},
    {"a full backlog",
     [](const place& at) {
         int bad = 0;
         bool reached = true;
         for (std::uint32_t k = 1; reached && bad == 0; ++k) bad = dials_again(at, k, reached);
         return bad;
     }},
    {"a call", tells},
    {"sealed memory", unmaps},
    {"a connection", says_why},
};

bool check(const single& one, const place& at) {
    told->at = 0;
    child done(start([&] { return one.act(at); }));
    for (int i = 0; i < 60'000 && done.alive(); ++i) ::usleep(1'000);
    const bool is_good = done.status == 0;
    std::printf("%-28s %s\n", one.name, is_good ? "ok" : ("FAILED: " + done.end()).c_str());
    ::unlink(at.path.c_str());
    return is_good;
}

} // namespace

int main(int argc, char** argv) {
    void* memory = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return 1;
    told = new (memory) shared();
    std::string made = "/tmp/uds_http." + std::string(6, 'X'); // mkdtemp(3) fills them in
    if (!::mkdtemp(&made[0])) return 1;
    const place at{made, made + "/s", made + "/upstream"};
    std::FILE* file = std::fopen((at.folder + "/file").c_str(), "w");
    if (!file || std::fwrite(large.data(), 1, large.size(), file) != large.size()) return 1;
    std::fclose(file);
    int passed = 0, failed = 0;
    {
        child upstream(start([&] { return serve(at.upstream, at.folder, "@none", false); }));
        if (!wait_for(told->ready, upstream)) return 1;
        for (const conversation& c : conversations())
            for (bool lasts : {false, true})
                if (argc < 2 || !std::strcmp(argv[1], c.name))
                    ++(check(c, at, lasts) ? passed : failed);
        for (const single& one : singles)
            if (argc < 2 || !std::strcmp(argv[1], one.name)) ++(check(one, at) ? passed : failed);
        told->at = 0, told->lasts = false;
        for (bool is_kept : {false, true})
            if (argc < 2) ++(check_client(at, is_kept) ? passed : failed);
    }
    for (const char* name : {"/file", "/s", "/s.lock", "/upstream", "/upstream.lock"})
        ::unlink((at.folder + name).c_str());
    ::rmdir(at.folder.c_str());
    std::printf("%d passed, %d failed\n", passed, failed);
    return failed > 0;
}
