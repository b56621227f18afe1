// Field lists and what a program may do with them: whatever strings it passes as fields, what gets
// onto the wire is one message with exactly these fields.
#include "fuzz.hpp"

namespace {

using namespace fuzz;

void check_list(string_view list) {
    std::string joined;
    for (string_view rest = list; !rest.empty();) {
        const std::size_t before = rest.size();
        const string_view item = next_element(rest);
        claim(rest.size() < before, "a list comes to its end");
        claim(item.find(',') == string_view::npos, "an element has no comma");
        claim(item.empty() || list_has(list, item), "an element is in its list");
    }
}

void check_hop_by_hop(const headers& fields) {
    headers passed(fields);
    passed.remove_hop_by_hop();
    std::vector<std::string> named;
    for (const field& f : fields) {
        if (!equal_nocase(f.name, "connection")) continue;
        for (string_view rest = f.value; !rest.empty();) named.emplace_back(next_element(rest));
    }
    claim(!passed.contains("Connection") && !passed.contains("Transfer-Encoding"), "hop by hop");
    for (const std::string& name : named)
        claim(name.empty() || !passed.contains(name), "what Connection names is not passed on");
}

/// Serialised, then parsed: the same message, and nothing behind it.
void check_response(const headers& fields, int status, std::uint64_t size) {
    response res(status);
    res.headers() = headers(fields);
    if (framing_fault(access::of(res).fields, size, status)) return; // the caller is told
    const body_plan plan = plan_response(res, size, false, 11);
    buffer out;
    head_writer{"Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n", true, 11}.write(out, res, plan);
    std::vector<field> read(300);
    head h;
    const exact wire(out.view());
    claim(parse_response_head(wire.view(), {1 << 20, 0, 300}, "GET", read.data(), h) ==
              parsed::done,
          "what is written can be read");
    claim(h.size == out.size() && h.status == status, "one head, of that status");
    if (plan.how == framing::length && status / 100 == 2 && status != 204)
        claim(h.length == size && h.how != framing::chunked, "of that length");
    std::size_t at = 0;
    for (const field& f : fields) {
        if (equal_nocase(f.name, "content-length") || equal_nocase(f.name, "connection")) continue;
        while (at < h.fields_count && !(read[at].name == f.name && read[at].value == f.value)) ++at;
        claim(at++ < h.fields_count, "every field is there, in order");
    }
}

void check_request(const headers& fields, string_view method, string_view target) {
    request req(method, target);
    request_state& state = state_of(req);
    state.fields = headers(fields);
    if (state.failed || !is_target_of(method, target) || method == "CONNECT") return;
    if (framing_fault(state.fields, 0, 0)) return;
    buffer out;
    write_request_head(out, state, plan_request(state));
    std::vector<field> read(300);
    head h;
    const exact wire(out.view());
    const parsed got = parse_request_head(wire.view(), {1 << 20, 1 << 20, 300}, read.data(), h);
    // Host and Expect are the program's own, and may be what a server refuses: never what it
    // misreads.
    if (got == parsed::bad) return;
    claim(got == parsed::done && h.size == out.size(), "one request");
    claim(h.method == method && h.target == target, "the one that was meant");
    claim(h.how == framing::none, "without a body");
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
    const auto lines = lines_of({reinterpret_cast<const char*>(data), size});
    if (lines.size() > 250) return 0;
    headers fields;
    for (std::size_t n = 1; n < lines.size(); ++n) {
        check_list(lines[n]);
        const std::size_t colon = lines[n].find(':');
        if (colon == string_view::npos) continue;
        const string_view name = lines[n].substr(0, colon), value = lines[n].substr(colon + 1);
        if (n % 5 == 4) (void)fields.set(name, value);
        else (void)fields.add(name, value);
        claim(is_name(name) || !fields.contains(name), "a bad name is refused");
    }
    for (const field& f : fields) claim(is_name(f.name) && is_value(f.value), "a good field");
    check_hop_by_hop(fields);
    const std::size_t space = lines[0].find(' ');
    check_request(fields, lines[0].substr(0, space),
                  space == string_view::npos ? "/" : lines[0].substr(space + 1));
    check_response(fields, 200 + static_cast<int>(size % 120), size % 7);
    return 0;
}
