// The head of a response, for each kind of request that it may answer.
#include "fuzz.hpp"

namespace {

using namespace fuzz;

void check_accepted(string_view in, string_view method, const field* fields, const head& h) {
    claim(h.size <= in.size(), "a head inside of its input");
    claim(h.status >= 100 && h.status <= 999, "a status of three digits");
    const string_view head = in.substr(0, h.size);
    claim(std::atoi(std::string(head.substr(9, 3)).c_str()) == h.status, "the status");
    claim(head.substr(0, 7) == "HTTP/1.", "a version");
    check_fields(head.substr(head.find("\r\n") + 2), fields, h.fields_count);
    check_framing(h, fields);
    const bool is_bodiless =
        method == "HEAD" || h.status < 200 || h.status == 204 || h.status == 304;
    claim(!is_bodiless || h.how == framing::none, "no body (RFC 9112 6.3)");
    claim(h.how != framing::until_close || !h.persistent, "what ends with the stream ends it");
}

void check(string_view bytes, string_view method, const head_limits& limits) {
    const exact input(bytes);
    std::vector<field> fields(limits.max_fields_count), others(fields);
    head whole, part;
    const parsed got = parse_response_head(input.view(), limits, method, fields.data(), whole);
    claim((got == parsed::bad) == (whole.why != nullptr), "a refusal says why");
    if (got == parsed::done) check_accepted(input.view(), method, fields.data(), whole);
    cutter cuts(bytes);
    for (int n = 0; n < 6 && !bytes.empty(); ++n) {
        const exact begun(bytes.substr(0, cuts.next(bytes.size()) - 1));
        const parsed early = parse_response_head(begun.view(), limits, method, others.data(), part);
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
    check(bytes, "GET", {16 << 10, 0, 100});
    check(bytes, "HEAD", {96, 0, 4});
    return 0;
}
