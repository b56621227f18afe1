// Where -o writes until all is there: a file beside the one that it becomes, gone if it doesn't.
#pragma once
#include "progress.hpp"

#include <cctype>
#include <cstdio>
#include <fcntl.h>
#include <limits.h>
#include <string>
#include <string_view>
#include <sys/stat.h>
#include <unistd.h>

inline std::string part;                        // its name, while it is there
inline std::string followed(const char* name) { // a rename would replace a link
    char real[PATH_MAX];
    return ::realpath(name, real) ? real : name;
}

inline void drop_part() { part.empty() || ::unlink(part.c_str()); }
inline std::string interrupted; // the line that a signal's end says
inline void end_saying(std::string_view line) {
    drop_part();
    if (line_is_open) (void)!::write(2, "\n", 1);
    (void)!::write(2, line.data(), line.size());
    ::_exit(1);
}
inline void end_by_signal(int) { end_saying(interrupted); }
inline void end_without_memory() { end_saying("fetch: out of memory\n"); } // -d @/dev/zero
inline std::string one_line(std::string text) { // whatever was given or said
    for (char& c : text)
        if (std::iscntrl(static_cast<unsigned char>(c))) c = '?';
    return text;
}
inline std::FILE* open_part(const char* name) {
    struct stat is = {};
    const bool is_there = ::stat(name, &is) == 0;
    if (is_there && !S_ISREG(is.st_mode)) return std::fopen(name, "we"); // a device
    part = std::string(name) + "." + std::to_string(::getpid());
    // As private as the file that it replaces, also before that one's mode is set.
    constexpr int flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC;
    const int fd = ::open(part.c_str(), flags, is_there ? 0600 : 0666);
    if (fd < 0) return part.clear(), nullptr;
    if (is_there && ::fchmod(fd, is.st_mode & 0777)) return ::close(fd), nullptr;
    return ::fdopen(fd, "w");
}
