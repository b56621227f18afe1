// What the tests with real sockets share: a folder that goes away, a server on a thread, and a
// client that knows bytes only, so that no mistake of the header's own client hides one of the
// server.
#pragma once

#include "uds_http.hpp"

#include <dirent.h>
#include <memory>

#include <doctest/doctest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <thread>

namespace raw {

using namespace uds_http;
using std::chrono::steady_clock;

constexpr milliseconds patience{30'000}; // what takes longer will never come, on whatever machine

inline int open_fds() {
    int count = 0;
    DIR* folder = ::opendir("/proc/self/fd");
    while (folder && ::readdir(folder)) ++count;
    if (folder) ::closedir(folder);
    return count;
}

/// Waits for something that another thread brings about.
template <class F> bool comes_true(F claim, milliseconds within = patience) {
    for (auto until = steady_clock::now() + within; steady_clock::now() < until; ::usleep(500))
        if (claim()) return true;
    return claim();
}

/// What this thread has cost so far, in ms of the processor.
inline int burned_ms() {
    timespec spent{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &spent);
    return static_cast<int>(spent.tv_sec * 1'000 + spent.tv_nsec / 1'000'000);
}

/// At the end of a test every descriptor is closed that was opened in it, by a peer's thread
/// perhaps a moment later.
struct fd_watch {
    int before = open_fds();
    bool ends_later = false; // something outlives the scope on purpose
    ~fd_watch() {
        if (!ends_later) CHECK(comes_true([&] { return open_fds() == before; }));
    }
};

/// At most 4 KiB of one of proc(5)'s files; by no stream, which the musl suite can't have.
inline std::string proc_text(const std::string& path) {
    char in[4096];
    std::FILE* file = std::fopen(path.c_str(), "re");
    const std::size_t size = file ? std::fread(in, 1, sizeof in, file) : 0;
    if (file) std::fclose(file);
    return std::string(in, size);
}

struct folder {
    std::string path = "/tmp/uds_http." + std::string(6, 'X'); // mkdtemp(3) fills them in
    folder() { REQUIRE(::mkdtemp(&path[0]) != nullptr); }
    folder(const folder&) = delete;
    ~folder() {
        DIR* open = ::opendir(path.c_str());
        while (dirent* entry = open ? ::readdir(open) : nullptr)
            ::unlink((path + "/" + entry->d_name).c_str());
        if (open) ::closedir(open);
        ::rmdir(path.c_str());
    }
    std::string operator()(const char* name) const { return path + "/" + name; }
};

struct answer {
    int status = 0; // 0: none came
    std::string head, body;
    bool whole = false; // its body ended as its head says

    std::string field(string_view name) const {
        for (std::size_t at = head.find("\r\n"); at != std::string::npos;
             at = head.find("\r\n", at + 2)) {
            string_view line = string_view(head).substr(at + 2, head.find("\r\n", at + 2) - at - 2);
            if (line.size() > name.size() + 1 && line[name.size()] == ':' &&
                detail::equal_nocase(line.substr(0, name.size()), name))
                return std::string(line.substr(name.size() + 2));
        }
        return {};
    }
};

class wire_client {
public:
    unique_fd fd;
    std::string got; // read, and not used yet

    explicit wire_client(unique_fd stream) : fd(std::move(stream)) { set_timeouts(); }
    explicit wire_client(const std::string& path)
        : fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        sockaddr_un to{};
        to.sun_family = AF_UNIX;
        REQUIRE(path.size() < sizeof to.sun_path);
        std::memcpy(to.sun_path, path.c_str(), path.size() + 1);
        set_timeouts();
        connected = ::connect(fd.get(), reinterpret_cast<sockaddr*>(&to), sizeof to) == 0;
    }
    bool connected = true;

    bool send(string_view bytes) {
        while (!bytes.empty()) {
            ssize_t sent = ::send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
            if (sent <= 0) return false;
            bytes.remove_prefix(static_cast<std::size_t>(sent));
        }
        return true;
    }
    /// Sends what the other side takes until it takes no more for `quiet`. The number of bytes.
    std::size_t flood(string_view piece, std::size_t most, int quiet = 300) {
        std::size_t sum = 0;
        while (sum < most) {
            pollfd writable{fd.get(), POLLOUT, 0};
            if (::poll(&writable, 1, quiet) != 1) break;
            ssize_t sent =
                ::send(fd.get(), piece.data(), piece.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
            if (sent < 0 && errno == EAGAIN) continue;
            if (sent <= 0) break;
            sum += static_cast<std::size_t>(sent);
        }
        return sum;
    }
    void shut() { ::shutdown(fd.get(), SHUT_WR); }
    void close() { fd = unique_fd(); }

    /// More bytes. False: the end, an error, or nothing for too long.
    bool more(std::size_t most = 64 << 10) {
        std::size_t before = got.size();
        got.resize(before + most);
        ssize_t count = ::recv(fd.get(), &got[before], most, 0);
        got.resize(before + (count > 0 ? static_cast<std::size_t>(count) : 0));
        return count > 0;
    }
    bool until(string_view mark) {
        while (got.find(mark) == std::string::npos)
            if (!more()) return false;
        return true;
    }
    /// The connection has ended, and nothing was left on it.
    bool at_end() {
        char byte;
        if (!got.empty()) return false;
        ssize_t count = ::recv(fd.get(), &byte, 1, 0);
        return count == 0 || (count < 0 && errno == ECONNRESET);
    }
    std::string rest() {
        while (more()) {
        }
        return std::exchange(got, {});
    }

    answer read(bool to_head = false) {
        answer a;
        if (!until("\r\n\r\n") || got.compare(0, 9, "HTTP/1.1 ") != 0) return a;
        std::size_t end = got.find("\r\n\r\n");
        a.head = got.substr(0, end + 2);
        got.erase(0, end + 4);
        a.status = std::atoi(a.head.substr(9, 3).c_str());
        std::string length = a.field("Content-Length");
        if (to_head || a.status < 200 || a.status == 204 || a.status == 304) a.whole = true;
        else if (a.field("Transfer-Encoding") == "chunked") a.whole = read_chunks(a.body);
        else if (!length.empty()) a.whole = take(a.body, std::stoull(length));
        else a.body = rest(), a.whole = true;
        return a;
    }
    answer ask(const std::string& target, const std::string& method = "GET",
               const std::string& fields = "", const std::string& body = "") {
        std::string head = method + " " + target + " HTTP/1.1\r\nHost: a\r\n" + fields;
        if (!body.empty()) head += "Content-Length: " + std::to_string(body.size()) + "\r\n";
        if (!send(head + "\r\n" + body)) return {};
        return read(method == "HEAD");
    }

private:
    void set_timeouts() {
        timeval limit{patience.count() / 1'000, 0};
        ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        ::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    }
    bool take(std::string& to, std::size_t size) {
        while (got.size() < size)
            if (!more()) return to = std::exchange(got, {}), false;
        to.append(got, 0, size);
        got.erase(0, size);
        return true;
    }
    bool read_chunks(std::string& to) {
        for (;;) {
            if (!until("\r\n")) return false;
            std::size_t size = std::stoul(got, nullptr, 16);
            got.erase(0, got.find("\r\n") + 2);
            if (size == 0) break;
            std::string piece, end;
            bool whole = take(piece, size) && take(end, 2) && end == "\r\n";
            to += piece;
            if (!whole) return false;
        }
        for (;;) { // trailers stay in `trailers`
            if (!until("\r\n")) return false;
            std::size_t end = got.find("\r\n");
            std::string line = got.substr(0, end);
            got.erase(0, end + 2);
            if (line.empty()) return true;
            trailers += line + "\n";
        }
    }

public:
    std::string trailers;
};

/// A server with a thread of its own, in a folder of its own.
struct running {
    fd_watch watch;
    folder at;
    std::string path = at("s");
    server app;
    std::thread thread;
    error outcome;
    std::atomic<bool> ended{false};

    explicit running(const server_options& options = {}) : app(options) {}
    ~running() {
        app.stop();
        app.stop();
        if (thread.joinable()) thread.join();
        CHECK_FALSE(outcome);
    }
    void start(const listen_options& options = {}) {
        error bad = app.listen(path, options);
        CAPTURE(bad.message());
        REQUIRE_FALSE(bad);
        serve();
    }
    void serve() {
        thread = std::thread([this] {
            outcome = app.run();
            ended = true;
        });
    }
    wire_client connect() const {
        wire_client made(path);
        CHECK(made.connected);
        return made;
    }
};

/// Keeps a loop from looking at anything until it goes out of scope.
struct busy_loop {
    std::shared_ptr<std::atomic<int>> step{std::make_shared<std::atomic<int>>(0)};
    explicit busy_loop(server& app) {
        app.post([at = step] {
            *at = 1;
            CHECK(comes_true([&] { return *at == 2; }));
        });
        REQUIRE(comes_true([this] { return *step == 1; }));
    }
    busy_loop(const busy_loop&) = delete;
    ~busy_loop() { *step = 2; }
};

/// What handlers hand over to the test's thread.
template <class T> class handed {
public:
    void put(T value) {
        detail::hold lock(guard_);
        values_.push_back(std::move(value));
    }
    std::size_t count() {
        detail::hold lock(guard_);
        return values_.size();
    }
    T take() {
        REQUIRE(comes_true([this] { return count() > 0; }));
        detail::hold lock(guard_);
        T value = std::move(values_.front());
        values_.erase(values_.begin());
        return value;
    }

private:
    detail::mutex guard_;
    std::vector<T> values_;
};

inline response hello(const request& r) {
    return text("Hello " + std::string(r.param("name", "Anonymous")));
}

/// Runs `act` in a forked child; what it returns is the answer, or 1000 + the status of its death.
template <class F> int in_child(F act) {
    pid_t child = ::fork();
    if (child == 0) {
        ::alarm(100);
        ::_exit(act());
    }
    int status = -1;
    ::waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + status;
}

/// The same where this system call fails with `why`; -1 without seccomp.
template <class F> int in_child_without(long call, int why, F act) {
    const int got = in_child([&] {
        sock_filter steps[] = {
            BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
            BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<unsigned>(call), 0, 1),
            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<unsigned>(why)),
            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };
        sock_fprog program{static_cast<unsigned short>(std::size(steps)), steps};
        bool is_set = ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
                      ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
        // An emulator without seccomp is, at times, such a kernel itself.
        is_set = is_set || (::syscall(call, -1, "", nullptr, 0) < 0 && errno == why);
        return is_set ? act() : 99;
    });
    if (got == 99) MESSAGE("no seccomp here");
    return got == 99 ? -1 : got;
}

} // namespace raw
