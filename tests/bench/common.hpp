// SPDX-License-Identifier: MIT
// What the programs of the benchmark share: addresses, clocks, a histogram, JSON. None of it needs
// uds_http.hpp, so that the floor and the load generator can't profit from what they measure.

#ifndef UDS_HTTP_BENCH_COMMON_HPP
#define UDS_HTTP_BENCH_COMMON_HPP

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

namespace bench {

[[noreturn]] inline void die(const std::string& what) {
    std::fprintf(stderr, "%s: %s\n", what.c_str(), std::strerror(errno));
    std::exit(1);
}

inline std::uint64_t clock_ns(clockid_t clock) {
    timespec t{};
    clock_gettime(clock, &t);
    return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000u +
           static_cast<std::uint64_t>(t.tv_nsec);
}

inline std::uint64_t now_ns() { return clock_ns(CLOCK_MONOTONIC); }

// Arguments: "--name value" pairs and bare "--name" flags, then what is left over.
class arguments {
public:
    arguments(int argc, char** argv) : left_(argv + 1, argv + argc) {}

    bool flag(std::string_view name) {
        auto at = std::find(left_.begin(), left_.end(), name);
        if (at == left_.end()) return false;
        left_.erase(at);
        return true;
    }
    std::string text(std::string_view name, std::string fallback = {}) {
        auto at = std::find(left_.begin(), left_.end(), name);
        if (at == left_.end() || at + 1 == left_.end()) return fallback;
        fallback = *(at + 1);
        left_.erase(at, at + 2);
        return fallback;
    }
    std::size_t size(std::string_view name, std::size_t fallback) {
        const std::string value = text(name);
        return value.empty() ? fallback : std::strtoull(value.c_str(), nullptr, 10);
    }
    double number(std::string_view name, double fallback) {
        const std::string value = text(name);
        return value.empty() ? fallback : std::strtod(value.c_str(), nullptr);
    }
    // Call last: exactly the operands that the program wants may be left.
    const std::vector<std::string>& operands(std::size_t count, const char* usage) const {
        if (left_.size() == count) return left_;
        std::fprintf(stderr, "usage: %s\n", usage);
        std::exit(1);
    }

private:
    std::vector<std::string> left_;
};

// Where a subject listens: a path, or "tcp:PORT" on the loopback for the comparison with TCP.
struct endpoint {
    sockaddr_storage address{};
    socklen_t size = 0;
    bool tcp = false;

    explicit endpoint(const std::string& where) : tcp(where.rfind("tcp:", 0) == 0) {
        if (tcp) set_port(static_cast<std::uint16_t>(std::atoi(where.c_str() + 4)));
        else set_path(where);
    }
    const sockaddr* raw() const { return reinterpret_cast<const sockaddr*>(&address); }

private:
    void set_port(std::uint16_t port) {
        sockaddr_in in{};
        in.sin_family = AF_INET;
        in.sin_port = htons(port);
        in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        std::memcpy(&address, &in, size = sizeof in);
    }
    void set_path(const std::string& path) {
        sockaddr_un un{};
        un.sun_family = AF_UNIX;
        errno = ENAMETOOLONG;
        if (path.size() >= sizeof un.sun_path) die(path);
        std::memcpy(un.sun_path, path.data(), path.size());
        std::memcpy(&address, &un, size = sizeof un);
    }
};

inline void set_option(int fd, int level, int name, int value) {
    setsockopt(fd, level, name, &value, sizeof value);
}

// Blocking; -1 with errno when nobody is there.
inline int connect_to(const endpoint& where) {
    const int fd = socket(where.address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    if (where.tcp) set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    if (connect(fd, where.raw(), where.size) == 0) return fd;
    const int why = errno;
    close(fd);
    errno = why;
    return -1;
}

inline int listen_on(const std::string& name) {
    const endpoint where(name);
    const int fd = socket(where.address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) die("socket");
    if (where.tcp) set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    else unlink(name.c_str());
    if (bind(fd, where.raw(), where.size) != 0 || listen(fd, 4096) != 0) die(name);
    return fd;
}

inline bool send_all(int fd, const char* bytes, std::size_t size) {
    while (size != 0) {
        const ssize_t sent = send(fd, bytes, size, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent <= 0) return false;
        bytes += sent;
        size -= static_cast<std::size_t>(sent);
    }
    return true;
}

// Room for as many connections as the hard limit allows.
inline void raise_descriptor_limit() {
    rlimit limit{};
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

// Log-linear: 32 steps per power of two, so that a quantile is off by at most 1.6 %.
class histogram {
public:
    void add(std::uint64_t ns) {
        counts_[index_of(ns)]++;
        total_++;
        sum_ += ns;
        max_ = std::max(max_, ns);
    }
    void clear() { *this = histogram(); }
    double quantile_us(double q) const {
        const auto rank = static_cast<std::uint64_t>(q * static_cast<double>(total_));
        std::uint64_t seen = 0;
        for (std::size_t i = 0; i < counts_.size(); i++)
            if ((seen += counts_[i]) > rank)
                return static_cast<double>(std::min(value_of(i), max_)) / 1e3;
        return max_us();
    }
    double mean_us() const {
        return static_cast<double>(sum_) / 1e3 /
               static_cast<double>(std::max(total_, std::uint64_t{1}));
    }
    double max_us() const { return static_cast<double>(max_) / 1e3; }

private:
    static constexpr std::size_t steps = 64;
    static std::size_t index_of(std::uint64_t ns) {
        if (ns < steps) return ns;
        const auto exponent = static_cast<std::size_t>(63 - __builtin_clzll(ns)) - 5;
        return exponent * (steps / 2) + (ns >> exponent);
    }
    static std::uint64_t value_of(std::size_t index) {
        if (index < steps) return index;
        const std::size_t exponent = index / (steps / 2) - 1;
        const std::uint64_t low = (index % (steps / 2) + steps / 2) << exponent;
        return low + ((std::uint64_t{1} << exponent) >> 1);
    }

    std::array<std::uint64_t, steps / 2 * 62> counts_{};
    std::uint64_t total_ = 0, sum_ = 0, max_ = 0;
};

// One flat JSON object, in the order of the calls.
class json {
public:
    json& add(const char* name, double value) {
        char text[64];
        std::snprintf(text, sizeof text, "%.6g", value);
        return put(name, text);
    }
    json& add(const char* name, std::uint64_t value) { return put(name, std::to_string(value)); }
    json& add(const char* name, const std::string& value) {
        std::string quoted = "\"";
        for (const char c : value)
            if (c == '"' || c == '\\') (quoted += '\\') += c;
            else quoted += c >= ' ' && c < 127 ? c : '?';
        return put(name, quoted + '"');
    }
    json& add(const histogram& h) {
        return add("mean_us", h.mean_us())
            .add("p50_us", h.quantile_us(0.5))
            .add("p99_us", h.quantile_us(0.99))
            .add("p999_us", h.quantile_us(0.999))
            .add("max_us", h.max_us());
    }
    void print() const {
        std::printf("{%s}\n", text_.c_str());
        std::fflush(stdout);
    }

private:
    json& put(const char* name, const std::string& value) {
        if (!text_.empty()) text_ += ", ";
        text_ += '"' + std::string(name) + "\": " + value;
        return *this;
    }
    std::string text_;
};

// CPU time of a set of processes. The total comes from their CPU clocks, which count in ns and
// include threads that have ended; the split into user and system time from /proc/PID/stat
// (proc(5)), which counts in ticks.
struct cpu_time {
    std::uint64_t total_ns = 0;
    double user_s = 0, system_s = 0;
};

inline void add_ticks(pid_t pid, cpu_time& sum) {
    const std::string path = "/proc/" + std::to_string(pid) + "/stat";
    std::FILE* file = std::fopen(path.c_str(), "re");
    if (!file) return;
    char line[1024] = {};
    const std::size_t size = std::fread(line, 1, sizeof line - 1, file);
    std::fclose(file);
    // The name may hold blanks and parentheses: fields are counted from the last ')'.
    const std::size_t name_end = std::string_view(line, size).rfind(')');
    if (name_end == std::string_view::npos) return;
    unsigned long long user = 0, system = 0;
    std::sscanf(line + name_end + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &user,
                &system);
    const auto hz = static_cast<double>(sysconf(_SC_CLK_TCK));
    sum.user_s += static_cast<double>(user) / hz;
    sum.system_s += static_cast<double>(system) / hz;
}

inline cpu_time cpu_time_of(const std::vector<pid_t>& processes) {
    cpu_time sum;
    for (const pid_t pid : processes) {
        clockid_t clock{};
        if (clock_getcpuclockid(pid, &clock) == 0) sum.total_ns += clock_ns(clock);
        add_ticks(pid, sum);
    }
    return sum;
}

} // namespace bench

#endif
