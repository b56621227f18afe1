// Range, the dates and the conditional fields. The first line is a file's size, the others are
// field lines of the request.
#include "fuzz.hpp"

namespace {

using namespace fuzz;

constexpr std::time_t now = 1'700'000'000;

void check_date(string_view text) {
    const exact copy(text);
    const auto when = parse_date(copy.view(), now);
    if (!when) return;
    char again[29];
    put_date(again, *when);
    claim(parse_date({again, sizeof again}, now) == when, "a date is the same written again");
    claim(text.size() != sizeof again || text == string_view(again, sizeof again),
          "there is one IMF-fixdate of a time");
}

void check_range(string_view value, std::uint64_t size) {
    const exact copy(value);
    const byte_range part = parse_range(copy.view(), size);
    claim(part.status == 200 || part.status == 206 || part.status == 416, "one of three answers");
    if (part.status == 200) claim(part.first == 0 && part.length == size, "all of it");
    if (part.status != 206) return;
    claim(part.length > 0 && part.first < size && part.length <= size - part.first,
          "a part lies in the whole and isn't empty");
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
    const auto lines = lines_of({reinterpret_cast<const char*>(data), size});
    string_view number = lines[0];
    const std::uint64_t bytes = take_number(number).value_or(1000);
    const validators known{"\"3e8-6553f100-1\"", now - 1000, now};
    request req("GET", "/");
    for (std::size_t n = 1; n < lines.size(); ++n) {
        const std::size_t colon = lines[n].find(':');
        check_date(lines[n]);
        check_range(lines[n], bytes);
        if (colon == string_view::npos) continue;
        const string_view value = lines[n].substr(colon + 1);
        check_date(value.substr(value.find(' ') == 0));
        (void)state_of(req).fields.add(lines[n].substr(0, colon), value);
    }
    for (const field& f : req.headers()) check_date(f.value), check_range(f.value, bytes);
    for (const char* method : {"GET", "PUT"}) {
        const int status = judge(method, req.headers(), known);
        claim(status == 200 || status == 304 || status == 412, "one of three verdicts");
        claim(status != 304 || method[0] == 'G', "304 is for reading");
    }
    const byte_range part = range_of(req, known, bytes);
    claim(part.status == 416 || (part.first <= bytes && part.length <= bytes - part.first),
          "a part of the file");
    return 0;
}
