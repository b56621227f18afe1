// SPDX-License-Identifier: MIT
// A 703-byte request of a browser, parsed again and again: http_parser against the header's own
// parser. Both end up with method, target and every field as views; prints ns per request.
//
//     parser [--rounds N]

#include "uds_http.hpp"

#include "common.hpp"

#include <http_parser.h>

#include <array>

namespace {

// As a browser sends it: long values, short names, a cookie.
constexpr std::string_view browser_request =
    "GET /reports/2026/november/overview.html?range=month&sort=date HTTP/1.1\r\n"
    "Host: console.example.test\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n"
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8\r\n"
    "Accept-Language: de-DE,de;q=0.8,en-US;q=0.5,en;q=0.3\r\n"
    "Accept-Encoding: gzip, deflate\r\n"
    "Referer: http://console.example.test/reports/index.html\r\n"
    "Upgrade-Insecure-Requests: 1\r\n"
    "Connection: keep-alive\r\n"
    "Cookie: theme=dark; columns=name%2Cowner%2Cstate; session=7f3a9c15e80b42d67f3a9c"
    "15e80b42d67f3a9c15e80b42d67f3a9c15e80b42d67f3a9c15e80b42d67f3a9c15e80b42d67f3a9c"
    "15e80b42d67f3a9c15e80b42d67f3a9c15e80b42d67f3a9c15e80b42d67f3a9c15e80b42d\r\n"
    "\r\n";
static_assert(browser_request.size() == 703);

struct view_list {
    std::array<uds_http::field, 100> fields;
    std::size_t count = 0;
    std::string_view target;
};

view_list& list_of(http_parser* parser) { return *static_cast<view_list*>(parser->data); }

http_parser_settings collecting() {
    http_parser_settings settings;
    http_parser_settings_init(&settings);
    settings.on_url = [](http_parser* parser, const char* at, std::size_t size) {
        list_of(parser).target = {at, size};
        return 0;
    };
    settings.on_header_field = [](http_parser* parser, const char* at, std::size_t size) {
        list_of(parser).fields[list_of(parser).count++].name = {at, size};
        return 0;
    };
    settings.on_header_value = [](http_parser* parser, const char* at, std::size_t size) {
        list_of(parser).fields[list_of(parser).count - 1].value = {at, size};
        return 0;
    };
    return settings;
}

std::size_t with_http_parser(std::string_view in) {
    static const http_parser_settings settings = collecting();
    static view_list views; // kept by a server from request to request, so not part of the cost
    views.count = 0;
    http_parser parser;
    http_parser_init(&parser, HTTP_REQUEST);
    parser.data = &views;
    http_parser_execute(&parser, &settings, in.data(), in.size());
    return views.count;
}

std::size_t with_uds_http(std::string_view in) {
    static const uds_http::detail::head_limits limits{16 << 10, 8 << 10, 100};
    static std::array<uds_http::field, 100> fields;
    uds_http::detail::head head;
    const auto answer = uds_http::detail::parse_request_head(in, limits, fields.data(), head);
    return answer == uds_http::detail::parsed::done ? head.fields_count : 0;
}

// The compiler may not know the bytes, nor drop the answer.
template <class Parse> double ns_per_parse(Parse parse, std::size_t rounds) {
    const std::string bytes(browser_request);
    std::size_t fields = 0;
    const std::uint64_t start = bench::clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    for (std::size_t i = 0; i < rounds; i++) {
        std::string_view in = bytes;
        asm volatile("" : "+m"(in) : : "memory");
        fields += parse(in);
    }
    const std::uint64_t end = bench::clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    errno = EINVAL;
    if (fields != rounds * 9) bench::die("a parser lost fields");
    return static_cast<double>(end - start) / static_cast<double>(rounds);
}

} // namespace

int main(int argc, char** argv) {
    bench::arguments arguments(argc, argv);
    const std::size_t rounds = arguments.size("--rounds", 200'000);
    ns_per_parse(with_uds_http, rounds / 10); // warm
    const double theirs = ns_per_parse(with_http_parser, rounds);
    const double ours = ns_per_parse(with_uds_http, rounds);
    bench::json().add("http_parser_ns", theirs).add("uds_http_ns", ours).print();
}
