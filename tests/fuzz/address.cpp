// What an address may be written as: paths, abstract names and four kinds of URLs.
#include "fuzz.hpp"

namespace {

using namespace fuzz;

void check_usable(const address& where) {
    const std::string& name = access::of(where)->name;
    claim(!name.empty(), "an address has a name");
    claim(access::of(where)->is_abstract() || name.find('\0') == std::string::npos,
          "a path has no NUL");
    const std::string& target = access::of(where)->target;
    claim(target.empty() || target[0] == '/', "a target in origin-form");
    const std::string url = where.url("/x?y");
    const address again{string_view(url)};
    claim(!again.error(), "its URL is an address");
    claim(access::of(again)->name == name &&
              access::of(again)->is_abstract() == access::of(where)->is_abstract(),
          "its URL means the same");
    claim(access::of(again)->target == "/x?y", "its URL names the target");
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
    const exact input(string_view(reinterpret_cast<const char*>(data), size));
    const address where(input.view());
    for (char c : display(where) + where.error().message())
        claim(static_cast<unsigned char>(c) >= 0x20, "messages hold no controls");
    if (!where.error()) check_usable(where);
    std::string decoded(size + 1, '\0');
    for (bool plus : {false, true}) {
        const std::size_t count = percent_decode(input.view(), &decoded[0], plus);
        claim(count == string_view::npos || count <= size, "decoding never grows");
    }
    const string_view authority = authority_of(input.view());
    claim(authority.size() <= size, "an authority lies in its target");
    (void)is_authority(input.view());
    for (const char* method : {"GET", "OPTIONS", "CONNECT"})
        if (is_target_of(method, input.view())) {
            request_state state;
            state.split(input.view());
            claim(state.path.size() + state.query.size() <= size + 1, "both lie in the target");
        }
    return 0;
}
