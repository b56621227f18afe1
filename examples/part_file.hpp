// Where -o writes until all is there: a file beside the one that it becomes, gone if it doesn't.
#pragma once
#include <cstdio>
#include <fcntl.h>
#include <limits.h>
#include <string>
#include <sys/stat.h>
#include <unistd.h>

inline std::string part;                        // its name, while it is there
inline std::string followed(const char* name) { // a rename would replace a link
    char real[PATH_MAX];
    return ::realpath(name, real) ? real : name;
}

inline void drop_part() { part.empty() || ::unlink(part.c_str()); }
inline std::string interrupted; // the line that a signal's end says
inline void end_by_signal(int) {
    drop_part();
    (void)!::write(2, interrupted.data(), interrupted.size());
    ::_exit(1);
}
inline void end_without_memory() { // a new-handler: -d @/dev/zero has no end
    drop_part();
    (void)!::write(2, "fetch: out of memory\n", 21);
    ::_exit(1);
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
