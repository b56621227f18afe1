// Where -o writes until all is there: a file beside the one that it becomes, gone if it doesn't.
#pragma once
#include <cstdio>
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
inline std::FILE* open_part(const char* name) {
    struct stat is = {};
    if (::stat(name, &is) == 0 && !S_ISREG(is.st_mode)) return std::fopen(name, "we"); // a device
    part = std::string(name) + "." + std::to_string(::getpid());
    std::FILE* made = std::fopen(part.c_str(), "wxe");
    return made ? made : (part.clear(), made);
}
