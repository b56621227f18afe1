// Paths and the patterns of --allow: `*` is one or more characters but `/`, a final `**` the rest.
#pragma once
#include <string>
#include <string_view>

// A star that fails to match takes one character more; it is never necessary to go back further
// than the last one, because none crosses a slash.
inline bool matches(std::string_view pattern, std::string_view path) {
    std::size_t at = 0, star = pattern.npos, taken = 0; // what the last star has, up to there
    for (std::size_t i = 0; i < path.size();) {
        const std::string_view rest = pattern.substr(at);
        if (rest == "**") return true;
        if (!rest.empty() && rest[0] == '*' && path[i] != '/') star = at++, taken = ++i;
        else if (!rest.empty() && rest[0] != '*' && rest[0] == path[i]) ++at, ++i;
        else if (star != pattern.npos && path[taken] != '/') at = star + 1, i = ++taken;
        else return false;
    }
    return at == pattern.size() || pattern.substr(at) == "**";
}

// Paths that two programs could read differently.
inline bool is_ambiguous(const std::string& path) {
    const std::string closed = path + "/";
    return path.find('%') != path.npos || path.find("//") != path.npos ||
           closed.find("/./") != path.npos || closed.find("/../") != path.npos;
}
