// A chunked body, against a second reading of RFC 9112 7.1 that is written as plainly as possible
// and sees the whole input at once.
#include "fuzz.hpp"

namespace {

using namespace fuzz;

struct reading {
    parsed got = parsed::more;
    std::string body, trailers;
    std::size_t rest = 0; // bytes behind the body

    bool operator==(const reading& other) const {
        const bool same = got == other.got && body == other.body;
        return same && (got != parsed::done || (trailers == other.trailers && rest == other.rest));
    }
};

/// The decoder, fed in segments of at most `most` bytes; 0: all at once.
reading decode(string_view wire, framing how, std::uint64_t length, std::size_t most) {
    body_decoder decoder;
    decoder.start(how, length);
    reading out;
    cutter cuts(wire);
    while (out.got == parsed::more && !wire.empty()) {
        const exact segment(wire.substr(0, most == 0 ? wire.size() : cuts.next(most)));
        string_view in = segment.view(), piece;
        do {
            const std::size_t before = in.size();
            out.got = decoder.next(in, piece);
            out.body += piece;
            claim(in.size() < before || out.got != parsed::more, "it goes on");
        } while (out.got == parsed::more && !in.empty());
        wire.remove_prefix(segment.view().size() - in.size());
    }
    out.rest = wire.size();
    out.trailers = decoder.trailers();
    claim((out.got == parsed::bad) == (decoder.why() != nullptr), "a refusal says why");
    return out;
}

/// Bytes of the line and its CRLF; nothing where it isn't whole or holds a control.
std::optional<string_view> line_at(string_view wire) {
    const std::size_t end = wire.find("\r\n");
    if (end == string_view::npos) return {};
    for (char c : wire.substr(0, end))
        if (!is(c, value_byte)) return {};
    return wire.substr(0, end);
}

/// True: `wire` begins with a whole chunked body, which is put into `out`.
bool read_plainly(string_view wire, reading& out) {
    for (;;) {
        const auto line = line_at(wire);
        if (!line) return false;
        const std::size_t digits = line->find_first_not_of("0123456789abcdefABCDEF");
        const std::string number(line->substr(0, digits));
        if (number.empty() || number.size() > 16) return false;
        const std::uint64_t size = std::strtoull(number.c_str(), nullptr, 16);
        wire.remove_prefix(line->size() + 2);
        if (size == 0) break;
        if (size > wire.size() || wire.size() - size < 2) return false;
        out.body += wire.substr(0, static_cast<std::size_t>(size));
        wire.remove_prefix(static_cast<std::size_t>(size));
        if (wire.substr(0, 2) != "\r\n") return false;
        wire.remove_prefix(2);
    }
    for (;;) {
        const auto line = line_at(wire);
        if (!line) return false;
        wire.remove_prefix(line->size() + 2);
        if (line->empty()) break;
        out.trailers.append(*line).append("\r\n");
    }
    out.got = parsed::done, out.rest = wire.size();
    return true;
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
    const string_view wire(reinterpret_cast<const char*>(data), size);
    const reading whole = decode(wire, framing::chunked, 0, 0);
    claim(whole == decode(wire, framing::chunked, 0, 1), "the same, byte by byte");
    claim(whole == decode(wire, framing::chunked, 0, 16), "the same, in segments");
    reading plainly;
    if (whole.got == parsed::done) {
        claim(read_plainly(wire, plainly) && plainly == whole, "what is accepted is a body");
        headers fields;
        claim(parse_trailers(whole.trailers, fields), "trailers were checked");
        for (const field& f : fields)
            claim(is_name(f.name) && is_value(f.value) && may_trail(f.name), "a trailer field");
    }
    const std::uint64_t length = size ? data[0] : 0;
    const reading counted = decode(wire, framing::length, length, 0);
    claim(counted == decode(wire, framing::length, length, 7), "a length, in segments");
    claim(counted.body == wire.substr(0, static_cast<std::size_t>(length)), "a length's bytes");
    claim(decode(wire, framing::until_close, 0, 7).body == wire, "until the stream ends");
    return 0;
}
