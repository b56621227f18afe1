// SPDX-License-Identifier: MIT
// The floor: what the kernel alone costs. One thread, one epoll loop, a canned answer per blank
// line, no HTTP. Whatever a server does beyond this is its own cost.
//
//     floor [--answer FILE] SOCKET       canned: FILE's bytes for every blank line of a read
//     floor --threads N [...] SOCKET     the same with N loops, which get connections in turn
//     floor --echo HEAD_BYTES SOCKET     sends the body back below a head of that size
//     floor --write BYTES SOCKET         answers with BYTES from memory: a blocking write loop
//     floor --sendfile FILE SOCKET       answers with FILE: a blocking sendfile loop
//     floor --read SOCKET                reads a body of Content-Length and drops it
//     floor --spin SOCKET                canned, one connection at a time, asking until bytes come
//     floor --client [--spin] SOCKET ... the other side: send, recv, nothing else (see client.hpp)
//
// SOCKET is a path or tcp:PORT on the loopback. --sndbuf N sets SO_SNDBUF of what is accepted.

#include "client.hpp"
#include "common.hpp"

#include <array>
#include <csignal>
#include <thread>
#include <unordered_map>

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>

namespace {

using std::string_view;

constexpr string_view blank_line = "\r\n\r\n";
constexpr std::size_t read_bytes = 256 * 1024;

// The same bytes as most servers send for "/": see --answer for exactly those of one of them.
const char default_answer[] = "HTTP/1.1 200 OK\r\n"
                              "Content-Type: text/plain; charset=utf-8\r\n"
                              "Content-Length: 15\r\n"
                              "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n"
                              "Hello Anonymous";

std::string read_file(const std::string& path) {
    std::FILE* file = std::fopen(path.c_str(), "rbe");
    if (!file) bench::die(path);
    std::string bytes(1 << 20, '\0');
    bytes.resize(std::fread(bytes.data(), 1, bytes.size(), file));
    std::fclose(file);
    return bytes;
}

// "Content-Length" by the simplest scan there is: the digits after its first mention.
std::size_t content_length(string_view head) {
    constexpr string_view name = "Content-Length:";
    const std::size_t at = head.find(name);
    if (at == string_view::npos) return 0;
    return std::strtoull(head.data() + at + name.size(), nullptr, 10);
}

// A head of exactly `size` bytes, or as close as its own need allows.
std::string head_of(std::size_t length, std::size_t size) {
    std::string head = "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(length) + "\r\n";
    constexpr string_view filler = "X: ";
    if (head.size() + filler.size() + 4 <= size)
        head.append(filler).append(size - head.size() - 4, 'x').append("\r\n");
    return head += "\r\n";
}

// [loop] Readiness, accept and close; `Service` says what a readable connection means. ------------

template <class Service> class loop {
public:
    explicit loop(Service service) : service_(std::move(service)) {}

    // Its connections go to all loops in turn.
    void accepts(int listener, std::vector<loop>& all) {
        fcntl(listener, F_SETFL, O_NONBLOCK);
        listener_ = listener, all_ = &all;
        watch(listener);
    }
    [[noreturn]] void run() {
        std::array<epoll_event, 512> events;
        for (;;) {
            const int ready =
                epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), -1);
            for (int i = 0; i < ready; i++) serve(events[static_cast<std::size_t>(i)].data.fd);
        }
    }

private:
    void watch(int fd) {
        epoll_event event{};
        event.events = EPOLLIN;
        event.data.fd = fd;
        if (epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) != 0) bench::die("epoll_ctl");
    }
    void serve(int fd) {
        if (fd == listener_) return accept_all();
        if (service_.readable(fd)) return;
        service_.closed(fd);
        close(fd);
    }
    void accept_all() {
        for (int fd;
             (fd = accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;)
            (*all_)[next_++ % all_->size()].watch(fd);
    }

    int epoll_ = epoll_create1(EPOLL_CLOEXEC);
    int listener_ = -1;
    std::vector<loop>* all_ = nullptr;
    std::size_t next_ = 0;
    Service service_;
};

template <class Service>
[[noreturn]] void run_loop(const std::string& where, Service service, std::size_t threads = 1) {
    std::vector<loop<Service>> all;
    for (std::size_t i = 0; i < threads; i++) all.emplace_back(service);
    all[0].accepts(bench::listen_on(where), all);
    for (std::size_t i = 1; i < threads; i++) std::thread([&all, i] { all[i].run(); }).detach();
    all[0].run();
}

// A send to a client that always reads; anything else ends the connection.
bool send_whole(int fd, const char* bytes, std::size_t size) {
    return send(fd, bytes, size, MSG_NOSIGNAL) == static_cast<ssize_t>(size);
}

// [canned] ----------------------------------------------------------------------------------------

class canned {
public:
    explicit canned(std::string answer) : answer_(std::move(answer)) { grow(64); }

    bool readable(int fd) {
        const ssize_t size = recv(fd, in_.data(), in_.size(), 0);
        if (size <= 0) return size < 0 && errno == EAGAIN;
        const std::size_t count = blank_lines(fd, {in_.data(), static_cast<std::size_t>(size)});
        if (count == 0) return true;
        grow(count);
        return send_whole(fd, out_.data(), count * answer_.size());
    }
    void closed(int fd) { tails_.erase(fd); }

private:
    // How many blank lines end in this read, one that began in the read before included.
    std::size_t blank_lines(int fd, string_view in) {
        if (!tails_.empty()) return blank_lines_after(fd, in);
        std::size_t count = 0;
        const char* at = in.data();
        const char* const end = at + in.size();
        while (const void* hit = memmem(at, static_cast<std::size_t>(end - at), "\r\n\r\n", 4)) {
            at = static_cast<const char*>(hit) + blank_line.size();
            count++;
        }
        if (at != end) keep_tail(fd, {at, static_cast<std::size_t>(end - at)});
        return count;
    }
    // The start of a blank line may be among the last three bytes.
    void keep_tail(int fd, string_view rest) {
        tails_[fd] = rest.substr(rest.size() - std::min<std::size_t>(rest.size(), 3));
    }
    std::size_t blank_lines_after(int fd, string_view in) {
        std::string joined;
        if (auto tail = tails_.find(fd); tail != tails_.end()) {
            joined = std::move(tail->second);
            tails_.erase(tail);
        }
        joined += in;
        std::size_t count = 0, at = 0;
        for (std::size_t hit; (hit = joined.find(blank_line, at)) != std::string::npos; count++)
            at = hit + blank_line.size();
        if (at != joined.size()) keep_tail(fd, string_view(joined).substr(at));
        return count;
    }
    void grow(std::size_t count) {
        while (out_.size() < count * answer_.size()) out_ += answer_;
    }

    std::string answer_, out_;
    std::vector<char> in_ = std::vector<char>(read_bytes);
    std::unordered_map<int, std::string> tails_;
};

// [echo] ------------------------------------------------------------------------------------------

class echo {
public:
    explicit echo(std::size_t head_bytes) : head_bytes_(head_bytes) {}

    bool readable(int fd) {
        const ssize_t size = recv(fd, in_.data(), in_.size(), 0);
        if (size <= 0) return size < 0 && errno == EAGAIN;
        const string_view in(in_.data(), static_cast<std::size_t>(size));
        auto kept = waiting_.empty() ? waiting_.end() : waiting_.find(fd);
        if (kept == waiting_.end()) return answer(fd, in);
        const std::string whole = std::move(kept->second.append(in));
        waiting_.erase(kept);
        return answer(fd, whole);
    }
    void closed(int fd) { waiting_.erase(fd); }

private:
    bool answer(int fd, string_view in) {
        while (!in.empty()) {
            const std::size_t end = in.find(blank_line);
            const std::size_t start = end + blank_line.size();
            const std::size_t length = end == in.npos ? 0 : content_length(in.substr(0, end));
            if (end == in.npos || in.size() - start < length) {
                waiting_[fd] = in;
                return true;
            }
            if (!send_back(fd, in.substr(start, length))) return false;
            in.remove_prefix(start + length);
        }
        return true;
    }
    bool send_back(int fd, string_view body) {
        if (body.size() != head_length_) head_ = head_of(head_length_ = body.size(), head_bytes_);
        iovec parts[] = {{head_.data(), head_.size()},
                         {const_cast<char*>(body.data()), body.size()}};
        msghdr message{};
        message.msg_iov = parts;
        message.msg_iovlen = 2;
        return sendmsg(fd, &message, MSG_NOSIGNAL) ==
               static_cast<ssize_t>(head_.size() + body.size());
    }

    std::size_t head_bytes_, head_length_ = SIZE_MAX;
    std::string head_;
    std::vector<char> in_ = std::vector<char>(read_bytes);
    std::unordered_map<int, std::string> waiting_;
};

// [bulk] Blocking, one connection at a time: nothing but the system call that moves the bytes. ----

// The head of the next request, and what came of its body; "" at the end.
std::string next_head(int fd) {
    std::string in;
    for (char piece[4096]; in.find(blank_line) == in.npos;) {
        const ssize_t size = recv(fd, piece, sizeof piece, 0);
        if (size <= 0) return {};
        in.append(piece, static_cast<std::size_t>(size));
    }
    return in;
}

template <class Answer>
[[noreturn]] void run_blocking(const std::string& where, int sndbuf, Answer answer) {
    const int listener = bench::listen_on(where);
    for (;;) {
        const int fd = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
        if (fd < 0) continue;
        if (sndbuf > 0) bench::set_option(fd, SOL_SOCKET, SO_SNDBUF, sndbuf);
        for (std::string in; !(in = next_head(fd)).empty();)
            if (!answer(fd, in)) break;
        close(fd);
    }
}

[[noreturn]] void run_write(const std::string& where, std::size_t size, int sndbuf) {
    const std::string body(size, 'x'), head = head_of(size, 0);
    run_blocking(where, sndbuf, [&](int fd, const std::string&) {
        return bench::send_all(fd, head.data(), head.size()) &&
               bench::send_all(fd, body.data(), body.size());
    });
}

[[noreturn]] void run_sendfile(const std::string& where, const std::string& path, int sndbuf) {
    const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    struct stat about {};
    if (file < 0 || fstat(file, &about) != 0) bench::die(path);
    const std::string head = head_of(static_cast<std::size_t>(about.st_size), 0);
    run_blocking(where, sndbuf, [&](int fd, const std::string&) {
        if (!bench::send_all(fd, head.data(), head.size())) return false;
        for (off_t at = 0; at < about.st_size;)
            if (sendfile(fd, file, &at, static_cast<std::size_t>(about.st_size - at)) <= 0)
                return false;
        return true;
    });
}

[[noreturn]] void run_read(const std::string& where) {
    std::vector<char> room(read_bytes);
    run_blocking(where, 0, [&](int fd, const std::string& in) {
        const std::size_t start = in.find(blank_line) + blank_line.size();
        for (std::size_t left = content_length(in) - (in.size() - start); left != 0;) {
            const ssize_t size = recv(fd, room.data(), std::min(left, room.size()), 0);
            if (size <= 0) return false;
            left -= static_cast<std::size_t>(size);
        }
        const std::string answer = head_of(0, 0);
        return bench::send_all(fd, answer.data(), answer.size());
    });
}

// A recv that burns the core instead of sleeping.
ssize_t spin_for(int fd, char* into, std::size_t room) {
    for (;;) {
        const ssize_t size = recv(fd, into, room, MSG_DONTWAIT);
        if (size >= 0 || errno != EAGAIN) return size;
    }
}

[[noreturn]] void run_spin(const std::string& where, const std::string& answer) {
    const int listener = bench::listen_on(where);
    std::vector<char> room(read_bytes);
    for (;;) {
        const int fd = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
        if (fd < 0) continue;
        while (spin_for(fd, room.data(), room.size()) > 0)
            if (!send_whole(fd, answer.data(), answer.size())) break;
        close(fd);
    }
}

// [client] ----------------------------------------------------------------------------------------

int run_client(bench::arguments& arguments) {
    const bool spins = arguments.flag("--spin");
    return bench::run_client(arguments, [spins](const std::string& where) {
        const int fd = bench::connect_to(bench::endpoint(where));
        if (fd < 0) bench::die(where);
        return [fd, spins] {
            constexpr string_view request = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
            static char in[16 * 1024];
            return send(fd, request.data(), request.size(), MSG_NOSIGNAL) > 0 &&
                   (spins ? spin_for(fd, in, sizeof in) : recv(fd, in, sizeof in, 0)) > 0;
        };
    });
}

} // namespace

int main(int argc, char** argv) {
    bench::arguments arguments(argc, argv);
    bench::raise_descriptor_limit();
    std::signal(SIGPIPE, SIG_IGN); // sendfile(2) has no MSG_NOSIGNAL
    if (arguments.flag("--client")) return run_client(arguments);
    const std::string answer = arguments.text("--answer"), file = arguments.text("--sendfile");
    const std::size_t echo_head = arguments.size("--echo", SIZE_MAX);
    const std::size_t write = arguments.size("--write", SIZE_MAX);
    const int sndbuf = static_cast<int>(arguments.size("--sndbuf", 0));
    const bool read = arguments.flag("--read"), spins = arguments.flag("--spin");
    const std::size_t threads = arguments.size("--threads", 1);
    const std::string where = arguments.operands(1, "floor [--MODE ...] SOCKET")[0];
    if (write != SIZE_MAX) run_write(where, write, sndbuf);
    if (!file.empty()) run_sendfile(where, file, sndbuf);
    if (read) run_read(where);
    if (echo_head != SIZE_MAX) run_loop(where, echo(echo_head));
    const std::string bytes = answer.empty() ? default_answer : read_file(answer);
    if (spins) run_spin(where, bytes);
    run_loop(where, canned(bytes), threads);
}
