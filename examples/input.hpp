// The body that -d @FILE sends; "-" is standard input.
#pragma once
#include "uds_http.hpp"

inline uds_http::error unreadable(const std::string& name) {
    return {std::error_code(errno, std::generic_category()), "-d @" + name};
}

// A large file goes from its descriptor, unless it has to go out again. A small one is read: what
// st_size says of files in /proc and /sys isn't what they hold (proc(5)).
inline uds_http::result<uds_http::content> content_of(const std::string& name, bool again) {
    uds_http::unique_fd fd(name == "-" ? ::dup(0) : ::open(name.c_str(), O_RDONLY | O_CLOEXEC));
    struct stat is = {};
    if (!fd || ::fstat(fd.get(), &is)) return unreadable(name);
    const off_t at = S_ISREG(is.st_mode) && !again ? ::lseek(fd.get(), 0, SEEK_CUR) : -1;
    if (at >= 0 && is.st_size - at > 1 << 20)
        return uds_http::content::file(std::move(fd), static_cast<std::uint64_t>(at),
                                       static_cast<std::uint64_t>(is.st_size - at));
    std::string whole;
    for (char piece[65536];;) {
        const ssize_t got = ::read(fd.get(), piece, sizeof piece);
        if (got < 0) return unreadable(name);
        if (got == 0) return uds_http::content(std::move(whole));
        whole.append(piece, static_cast<std::size_t>(got));
    }
}
