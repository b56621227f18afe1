// How far a body has come: one line on a terminal, written over at each new percent.
#pragma once
#include <csignal>
#include <cstdio>
#include <string>
#include <unistd.h>

inline volatile std::sig_atomic_t line_is_open = 0; // also for who is called by a signal

struct progress {
    double size; // 0: unknown, or not worth a line
    double done = 0;
    int shown = -1;

    // Only while a terminal watches, and `to` is another place: it would go into the body.
    progress(double bytes, std::FILE* to)
        : size(bytes > 1 << 20 && ::isatty(2) && !::isatty(::fileno(to)) ? bytes : 0) {}
    ~progress() { // whatever happened: an error has a line of its own
        if (line_is_open) std::fputc('\n', stderr);
        line_is_open = 0;
    }
    void add(std::size_t bytes) {
        if (size <= 0) return;
        done += static_cast<double>(bytes);
        const auto percent = static_cast<int>(done / size * 100);
        if (percent == shown) return;
        line_is_open = 1;
        const std::string bar(static_cast<std::size_t>(shown = percent) / 4, '#');
        std::fprintf(stderr, "\r[%-25s] %3d %% of %.1f MiB", bar.c_str(), percent,
                     size / (1 << 20));
    }
};
