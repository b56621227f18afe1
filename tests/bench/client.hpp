// SPDX-License-Identifier: MIT
// How every client is measured: sequential GETs of "/" on one kept connection. First a phase for
// CPU time without a clock call, then one for latency.
//
//     PROGRAM [--requests N] [--busy-poll US] SOCKET

#ifndef UDS_HTTP_BENCH_CLIENT_HPP
#define UDS_HTTP_BENCH_CLIENT_HPP

#include "common.hpp"

namespace bench {

inline double seconds_of(const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
}

struct client_figures {
    std::size_t requests = 0, errors = 0;
    std::uint64_t wall_ns = 0, cpu_ns = 0;
    double user_s = 0, system_s = 0;
    histogram latency;
};

template <class Get> void measure_cpu(Get& get, client_figures& figures) {
    rusage before{}, after{};
    getrusage(RUSAGE_SELF, &before);
    const std::uint64_t wall = now_ns(), cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    for (std::size_t i = 0; i < figures.requests; i++)
        if (!get()) figures.errors++;
    figures.cpu_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    figures.wall_ns = now_ns() - wall;
    getrusage(RUSAGE_SELF, &after);
    figures.user_s = seconds_of(after.ru_utime) - seconds_of(before.ru_utime);
    figures.system_s = seconds_of(after.ru_stime) - seconds_of(before.ru_stime);
}

template <class Get> void measure_latency(Get& get, client_figures& figures) {
    for (std::size_t i = 0; i < figures.requests / 4; i++) {
        const std::uint64_t start = now_ns();
        if (!get()) figures.errors++;
        figures.latency.add(now_ns() - start);
    }
}

// `connect(where)` gives a callable that does one GET and says whether it went well.
template <class Connect> int run_client(arguments& arguments, Connect connect) {
    client_figures figures;
    figures.requests = arguments.size("--requests", 20'000);
    const std::string where = arguments.operands(1, "PROGRAM [--requests N] SOCKET")[0];
    auto get = connect(where);
    for (std::size_t i = 0; i < 1'000; i++)
        if (!get()) figures.errors++;
    measure_cpu(get, figures);
    measure_latency(get, figures);
    const auto count = static_cast<double>(figures.requests);
    json()
        .add("requests", std::uint64_t{figures.requests})
        .add("errors", std::uint64_t{figures.errors})
        .add("seconds", static_cast<double>(figures.wall_ns) / 1e9)
        .add("cpu_us", static_cast<double>(figures.cpu_ns) / 1e3 / count)
        .add("user_us", figures.user_s * 1e6 / count)
        .add("system_us", figures.system_s * 1e6 / count)
        .add(figures.latency)
        .print();
    return figures.errors == 0 ? 0 : 1;
}

} // namespace bench

#endif
