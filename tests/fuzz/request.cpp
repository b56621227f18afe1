// The head of a request: no answer depends on how its bytes were cut, and what is accepted is said
// in full by what the parser makes of it.
#include "fuzz.hpp"

namespace {

using namespace fuzz;

constexpr head_limits tight{96, 24, 4}, usual{16 << 10, 8 << 10, 100};

parsed parse(string_view in, const head_limits& limits, field* fields, head& out) {
    return parse_request_head(in, limits, fields, out);
}

void check_accepted(string_view in, const head_limits& limits, const field* fields, const head& h) {
    claim(h.size <= in.size() && h.size <= limits.max_head_bytes, "a head inside of its limit");
    claim(h.fields_count <= limits.max_fields_count, "no more fields than allowed");
    claim(h.target.size() <= limits.max_target_bytes, "no longer target than allowed");
    string_view head = in.substr(0, h.size);
    while (head.substr(0, 2) == "\r\n") head.remove_prefix(2);
    const std::string line = std::string(h.method) + " " + std::string(h.target) + " HTTP/1.";
    claim(head.substr(0, line.size()) == line, "the request line");
    claim(is_digit(head[line.size()]), "a minor version");
    claim(head.substr(line.size() + 1, 2) == "\r\n", "the request line's end");
    check_fields(head.substr(line.size() + 3), fields, h.fields_count, authority_of(h.target));
    check_framing(h, fields);
    claim(is_name(h.method), "a method");
    unsigned hosts = 0;
    for (std::size_t n = 0; n < h.fields_count; ++n)
        if (equal_nocase(fields[n].name, "host"))
            ++hosts, claim(is_authority(fields[n].value), "a host");
    claim(hosts == 1 || (hosts == 0 && h.version == 10), "one Host");
    request_state state;
    state.split(h.target);
    claim(state.path.size() + state.query.size() <= h.target.size() + 1,
          "path and query lie in the target");
    std::string decoded(h.target.size(), '\0');
    const std::size_t size = percent_decode(h.target, &decoded[0], true);
    claim(size == std::size_t(-1) || size <= decoded.size(), "decoding never grows");
}

void check(string_view bytes, const head_limits& limits) {
    const exact input(bytes);
    std::vector<field> fields(limits.max_fields_count), others(fields);
    head whole, part;
    const parsed got = parse(input.view(), limits, fields.data(), whole);
    claim((got == parsed::bad) == (whole.why != nullptr), "a refusal says why");
    if (got == parsed::bad) claim(whole.status >= 400 && whole.status <= 505, "a refusal's status");
    if (got == parsed::done) check_accepted(input.view(), limits, fields.data(), whole);
    cutter cuts(bytes);
    for (int n = 0; n < 8 && !bytes.empty(); ++n) {
        const exact begun(bytes.substr(0, cuts.next(bytes.size()) - 1));
        const parsed early = parse(begun.view(), limits, others.data(), part);
        if (got == parsed::done && begun.view().size() < whole.size)
            claim(early == parsed::more, "a part of a good head is no more than a part");
        else if (got == parsed::done)
            claim(early == got && part.size == whole.size && part.how == whole.how &&
                      part.length == whole.length,
                  "what follows a head doesn't matter");
        else if (early != parsed::more)
            claim(early == got && part.status == whole.status, "a refusal doesn't change");
    }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
    const string_view bytes(reinterpret_cast<const char*>(data), size);
    check(bytes, usual);
    check(bytes, tight);
    return 0;
}
