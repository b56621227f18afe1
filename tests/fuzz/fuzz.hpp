// What the fuzz targets share. A target ends in abort() where a claim doesn't hold; reading beyond
// an input is the address sanitizer's to find, so inputs are copied to blocks of exactly their
// size.
#pragma once

#include "uds_http.hpp"

#include <memory>

#include <cstdio>
#include <cstdlib>
#include <vector>

namespace fuzz {

using namespace uds_http;
using namespace uds_http::detail;

inline void claim(bool holds, const char* what) {
    if (holds) return;
    std::fprintf(stderr, "does not hold: %s\n", what);
    std::abort();
}

/// A copy of some bytes, alone in its block.
class exact {
public:
    explicit exact(string_view bytes) : bytes_(new char[bytes.size()]), size_(bytes.size()) {
        if (size_) std::memcpy(bytes_.get(), bytes.data(), size_);
    }
    string_view view() const { return {bytes_.get(), size_}; }

private:
    std::unique_ptr<char[]> bytes_;
    std::size_t size_;
};

/// Where to cut an input: decided by the input itself, so that a crash can be repeated.
class cutter {
public:
    explicit cutter(string_view input) : state_(14695981039346656037u) {
        for (char c : input) state_ = (state_ ^ static_cast<unsigned char>(c)) * 1099511628211u;
    }
    /// From 1 to `bound`.
    std::size_t next(std::size_t bound) {
        state_ = state_ * 6364136223846793005u + 1442695040888963407u;
        return bound < 2 ? bound : 1 + static_cast<std::size_t>(state_ >> 33) % bound;
    }

private:
    std::uint64_t state_;
};

inline bool is_name(string_view text) {
    for (char c : text)
        if (!is(c, token_byte)) return false;
    return !text.empty();
}

/// No control but the tab, no white space around it.
inline bool is_value(string_view text) {
    for (char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (byte == 0x7f || (byte < 0x20 && c != '\t')) return false;
    }
    const auto is_blank = [](char c) { return c == ' ' || c == '\t'; };
    return text.empty() || (!is_blank(text.front()) && !is_blank(text.back()));
}

/// Lines of the input, without their ends.
inline std::vector<string_view> lines_of(string_view input) {
    std::vector<string_view> lines;
    for (;;) {
        const std::size_t end = input.find('\n');
        lines.push_back(input.substr(0, end));
        if (end == string_view::npos) return lines;
        input.remove_prefix(end + 1);
    }
}

/// A head that was accepted, written down again from what the parser says of it, has to be what the
/// input began with, but for white space around values: no byte went unseen. `host`: what Host says
/// instead, since the target has an authority (RFC 9112 3.2.2).
inline void check_fields(string_view head, const field* fields, std::size_t count,
                         string_view host = {}) {
    for (std::size_t n = 0; n < count; ++n) {
        claim(is_name(fields[n].name), "a field's name is a token");
        claim(is_value(fields[n].value), "a field's value is one");
        if (head == "\r\n" && n + 1 == count && !host.empty()) { // 1.0 without one: it is added
            claim(fields[n].name == "Host" && fields[n].value == host, "the target's authority");
            break;
        }
        claim(head.substr(0, fields[n].name.size()) == fields[n].name, "fields in their order");
        head.remove_prefix(fields[n].name.size());
        claim(!head.empty() && head[0] == ':', "a colon right behind the name");
        const std::size_t end = head.find("\r\n");
        claim(end != string_view::npos, "a line ends");
        string_view value = head.substr(1, end - 1);
        if (!host.empty() && equal_nocase(fields[n].name, "host")) {
            claim(fields[n].value == host, "the target's authority");
            head.remove_prefix(end + 2);
            continue;
        }
        while (!value.empty() && (value[0] == ' ' || value[0] == '\t')) value.remove_prefix(1);
        claim(value.substr(0, fields[n].value.size()) == fields[n].value, "the line's value");
        claim(value.find_first_not_of(" \t", fields[n].value.size()) == string_view::npos,
              "nothing but white space behind it");
        head.remove_prefix(end + 2);
    }
    claim(head == "\r\n", "an empty line ends the head");
}

/// What the framing fields of an accepted head have to say (RFC 9112 6).
inline void check_framing(const head& h, const field* fields) {
    unsigned lengths = 0, codings = 0;
    for (std::size_t n = 0; n < h.fields_count; ++n) {
        lengths += equal_nocase(fields[n].name, "content-length");
        codings += equal_nocase(fields[n].name, "transfer-encoding");
    }
    claim(lengths + codings < 2, "one framing field at most");
    claim(h.how != framing::chunked || codings == 1, "chunked was said");
    claim(h.how != framing::length || (lengths == 1 && h.length > 0), "a length was said");
    claim(codings == 0 || h.version == 11, "no coding in 1.0");
}

} // namespace fuzz
