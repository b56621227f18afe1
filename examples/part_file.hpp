// Where -o writes until all is there: a file beside the one that it becomes, gone if it doesn't.
#pragma once
#include "progress.hpp"

#include <cctype>
#include <cerrno>
#include <cstdio>
#include <fcntl.h>
#include <limits.h>
#include <string>
#include <string_view>
#include <sys/stat.h>
#include <unistd.h>

inline std::string part;                        // its name, while it is there
inline std::string followed(std::string name) { // a rename would replace a link
    char to[PATH_MAX];
    if (::realpath(name.c_str(), to)) return to;
    struct stat is = {};
    for (int hops = 0; hops < 40 && ::stat(name.c_str(), &is) != 0;
         ++hops) { // it leads nowhere yet
        const ssize_t size = ::readlink(name.c_str(), to, sizeof to);
        if (size <= 0) break;
        name.erase(*to == '/' ? 0 : name.find_last_of('/') + 1); // npos + 1 is 0
        name.append(to, static_cast<std::size_t>(size));
    }
    return name;
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
// Once the file is there a signal comes too late: one that failed leaves none.
inline bool keep_part(const char* name) {
    for (const int end : {SIGINT, SIGTERM, SIGHUP, SIGQUIT}) ::signal(end, SIG_IGN);
    return part.empty() || !::rename(part.c_str(), name);
}
inline std::string one_line(std::string text) { // whatever was given or said
    for (char& c : text)
        if (std::iscntrl(static_cast<unsigned char>(c))) c = '?';
    return text;
}
inline std::FILE* open_part(const char* name) {
    struct stat is = {};
    const bool is_there = ::stat(name, &is) == 0;
    if (!is_there && errno != ENOENT) return nullptr; // links in a circle are no place
    if (is_there && !S_ISREG(is.st_mode)) return std::fopen(name, "we"); // a device
    part = name;
    if (const auto dir = part.rfind('/') + 1; part.size() - dir > 240) part.resize(dir + 240);
    part += "." + std::to_string(::getpid()); // 255 bytes are the most (NAME_MAX)
    // As private as the file that it replaces, also before that one's mode is set.
    constexpr int flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC;
    const int fd = ::open(part.c_str(), flags, is_there ? 0600 : 0666);
    if (fd < 0) return part.clear(), nullptr;
    if (is_there && ::fchmod(fd, is.st_mode & 0777)) return ::close(fd), nullptr;
    return ::fdopen(fd, "w");
}
