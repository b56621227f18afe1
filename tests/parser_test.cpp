// SPDX-License-Identifier: MIT
// [7] PARSER in rows. Each row is run whole, byte by byte and cut at every point, and each time the
// input ends against a page that can't be read.
#include "uds_http.hpp"

#include <doctest/doctest.h>

#include <random>
#include <sys/mman.h>

namespace parser_test { // its names hide the header's

using namespace uds_http::detail;
using namespace std::literals;
using std::string_view;
using uds_http::field;

namespace {

constexpr int done = 200, more = 0; // besides the status of a refusal

/// A copy of some bytes; the next one behind them can't be read.
class guarded {
public:
    explicit guarded(std::size_t room) : size_((room / 4096 + 2) * 4096) {
        void* memory =
            ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        REQUIRE(memory != MAP_FAILED);
        start_ = static_cast<char*>(memory);
        REQUIRE(::mprotect(start_ + size_ - 4096, 4096, PROT_NONE) == 0);
    }
    guarded(const guarded&) = delete;
    guarded& operator=(const guarded&) = delete;
    ~guarded() { ::munmap(start_, size_); }
    string_view operator()(string_view bytes) {
        char* at = start_ + size_ - 4096 - bytes.size();
        if (!bytes.empty()) std::memcpy(at, bytes.data(), bytes.size());
        return {at, bytes.size()};
    }

private:
    std::size_t size_;
    char* start_;
};

constexpr head_limits usual{16 << 10, 8 << 10, 100};

struct outcome {
    int status = more;
    std::size_t size = 0;
    friend bool operator==(const outcome& a, const outcome& b) {
        return a.status == b.status && a.size == b.size;
    }
};

struct request_kind {
    static parsed parse(string_view in, const head_limits& limits, field* fields, head& out) {
        return parse_request_head(in, limits, fields, out);
    }
};

struct response_kind {
    static parsed parse(string_view in, const head_limits& limits, field* fields, head& out) {
        return parse_response_head(in, limits, "GET", fields, out);
    }
};

template <class Kind> outcome run(string_view in, const head_limits& limits) {
    std::vector<field> fields(limits.max_fields_count);
    head out;
    switch (Kind::parse(in, limits, fields.data(), out)) {
    case parsed::more: return {more, 0};
    case parsed::done: return {done, out.size};
    case parsed::bad: break;
    }
    CHECK(out.why != nullptr);
    return {out.status, 0};
}

/// What the whole input gives. However it grows, no other answer may come, and none too early.
template <class Kind> int answer(string_view input, const head_limits& limits = usual) {
    guarded memory(input.size());
    const outcome whole = run<Kind>(memory(input), limits);
    for (std::size_t n = 0; n < input.size(); ++n) {
        const outcome part = run<Kind>(memory(input.substr(0, n)), limits);
        const bool is_early = whole.status == done && n < whole.size;
        const bool is_late = whole.status == done && n >= whole.size;
        CAPTURE(n);
        if (is_early) CHECK(part.status == more);
        else if (is_late) CHECK(part == whole);
        else if (part.status != more) CHECK(part.status == whole.status);
    }
    return whole.status;
}

struct row {
    const char* name;
    string_view input;
    int status;
};

#define GET "GET / HTTP/1.1\r\nHost: a\r\n"
#define POST "POST / HTTP/1.1\r\nHost: a\r\n"
#define OLD "GET / HTTP/1.0\r\n"
#define HOSTED " HTTP/1.1\r\nHost: a\r\n\r\n"
#define END "\r\n\r\n"

const row request_line_rows[] = {
    {"the least request of 1.1", GET "\r\n"sv, done},
    {"the least request of 1.0", OLD "\r\n"sv, done},
    {"nothing yet", ""sv, more},
    {"an empty line is nothing yet", "\r\n"sv, more},
    {"9112 2.2: an empty line before a request is skipped", "\r\n" GET "\r\n"sv, done},
    {"9112 2.2: eight of them", "\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n" GET "\r\n"sv, done},
    {"nine empty lines are 400", "\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n" GET "\r\n"sv, 400},
    {"an empty line of a bare LF is 400", "\n" GET "\r\n"sv, 400},
    {"an empty line of a bare CR is 400", "\r" GET "\r\n"sv, 400},
    {"a space before the method is 400", " " GET "\r\n"sv, 400},
    {"a tab before the method is 400", "\t" GET "\r\n"sv, 400},
    {"white space alone is 400", " "sv, 400},
    {"9112 2.2: CR LF but no request is more", "\r\n\r\n"sv, more},
    {"TLS is 400 at its first byte", "\x16"sv, 400},
    {"a TLS hello is 400", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"sv, 400},
    {"a NUL is 400 at once", "\0"sv, 400},
    {"obs-text is 400 at once", "\x80"sv, 400},
    {"the PROXY protocol's v2 signature is 400", "\r\n\r\n\0\r\nQUIT\n"sv, 400},
    {"the PROXY protocol's v1 line is 400", "PROXY UNKNOWN\r\n"sv, 400},
    {"the preface of HTTP/2 is refused", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"sv, 400},
    {"a colon in the method is 400", "GE:T / HTTP/1.1" END ""sv, 400},
    {"a slash in the method is 400", "GE/T" HOSTED ""sv, 400},
    {"a NUL in the method is 400", "GE\0T /" HOSTED ""sv, 400},
    {"DEL in the method is 400", "GE\x7fT /" HOSTED ""sv, 400},
    {"obs-text in the method is 400", "GE\xe9T /" HOSTED ""sv, 400},
    {"a method in brackets is 400", "(GET) /" HOSTED ""sv, 400},
    {"a quoted method is 400", "\"GET\" /" HOSTED ""sv, 400},
    {"9110 9.1: methods are tokens", "!#$%&'*+-.^_`|~aZ9 /" HOSTED ""sv, done},
    {"9110 9.1: a method in small letters is another method", "get /" HOSTED ""sv, done},
    {"a method of one byte", "X /" HOSTED ""sv, done},
    {"an unknown method is for the router", "BREW /" HOSTED ""sv, done},
    {"a method of 32 bytes", "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEF /" HOSTED ""sv, done},
    {"9112 3: a method of 33 bytes is 501", "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFG /" HOSTED ""sv, 501},
    {"9112 3: a method without end is 501", "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHIJK"sv, 501},
    {"a method alone is 400", "GET\r\n\r\n"sv, 400},
    {"9112 3: HTTP/0.9 had no version: 400", "GET /\r\n"sv, 400},
    {"a method and LF is 400", "GET\n"sv, 400},
    {"two spaces before the target are 400", "GET  /" HOSTED ""sv, 400},
    {"a tab before the target is 400", "GET\t/" HOSTED ""sv, 400},
    {"a vertical tab before the target is 400", "GET\v/" HOSTED ""sv, 400},
    {"two spaces before the version are 400", "GET / " HOSTED ""sv, 400},
    {"a tab before the version is 400", "GET /\tHTTP/1.1" END ""sv, 400},
    {"a form feed before the version is 400", "GET /\fHTTP/1.1" END ""sv, 400},
    {"a space behind the version is 400", "GET / HTTP/1.1 \r\nHost: a" END ""sv, 400},
    {"a tab behind the version is 400", "GET / HTTP/1.1\t\r\nHost: a" END ""sv, 400},
    {"a bare LF behind the version is 400", "GET / HTTP/1.1\nHost: a" END ""sv, 400},
    {"a bare CR behind the version is 400", "GET / HTTP/1.1\rHost: a" END ""sv, 400},
    {"CR CR LF behind the version is 400", "GET / HTTP/1.1\r\r\nHost: a" END ""sv, 400},
    {"a version in small letters is 400", "GET / http/1.1" END ""sv, 400},
    {"HTTPS is no version", "GET / HTTPS/1.1" END ""sv, 400},
    {"HTTP alone is no version", "GET / HTTP" END ""sv, 400},
    {"a major version alone is 400", "GET / HTTP/1" END ""sv, 400},
    {"a version without minor is 400", "GET / HTTP/1." END ""sv, 400},
    {"a version with a comma is 400", "GET / HTTP/1,1" END ""sv, 400},
    {"a version with a space is 400", "GET / HTTP /1.1" END ""sv, 400},
    {"a major version of two digits is 400", "GET / HTTP/11.1" END ""sv, 400},
    {"a minor version of two digits is 400", "GET / HTTP/1.10" END ""sv, 400},
    {"a leading zero in the version is 400", "GET / HTTP/01.1" END ""sv, 400},
    {"a sign in the version is 400", "GET / HTTP/+1.1" END ""sv, 400},
    {"a letter as version is 400", "GET / HTTP/x.1" END ""sv, 400},
    {"ICY is no HTTP", "GET / ICY/1.1" END ""sv, 400},
    {"9110 6.2: 1.2 is handled as 1.1", "GET / HTTP/1.2\r\nHost: a" END ""sv, done},
    {"9110 6.2: 1.9 is handled as 1.1", "GET / HTTP/1.9\r\nHost: a" END ""sv, done},
    {"9110 15.6.6: 0.9 is 505", "GET / HTTP/0.9" END ""sv, 505},
    {"9110 15.6.6: 2.0 is 505", "GET / HTTP/2.0" END ""sv, 505},
    {"9110 15.6.6: 3.0 is 505", "GET / HTTP/3.0" END ""sv, 505},
    {"9110 15.6.6: 9.9 is 505", "GET / HTTP/9.9" END ""sv, 505},
    {"a fourth word is 400", "GET / HTTP/1.1 HTTP/1.1" END ""sv, 400},
    {"a target of two words is 400", "GET /a b HTTP/1.1" END ""sv, 400},
    {"a response is no request", "HTTP/1.1 200 OK" END ""sv, 400},
    {"9110 9.1: a bare CR in the method is 400", "GE\rT /" HOSTED ""sv, 400},
    {"9110 9.1: a bare LF in the method is 400", "GE\nT /" HOSTED ""sv, 400},
    {"9112 2.3: NUL behind the version is 400", "GET / HTTP/1.1\0\r\nHost: a" END ""sv, 400},
    {"9112 2.3: a comma behind the version is 400", "GET / HTTP/1.1,\r\nHost: a" END ""sv, 400},
    {"9112 3: nothing but the target's place is 400", "GET  HTTP/1.1\r\nHost: a" END ""sv, 400},
    {"9112 2.2: an empty line before a request of 1.0", "\r\n" OLD "\r\n"sv, done},
    {"a TLS alert is 400 at its first byte", "\x15"sv, 400},
    {"a request of SSH is 400", "SSH-2.0-OpenSSH_9.2\r\n"sv, 400},
    {"9113 3.4: the preface of HTTP/2 is refused by its target", "PRI * HTTP/2.0\r\n"sv, 400},
};

const row target_rows[] = {
    {"9112 3.2.1: origin-form", "GET /a/b?c=d&e=%20" HOSTED ""sv, done},
    {"every visible byte but # may stand in a target",
     "GET /!\"$%&'()*+,-./09:;<=>?@AZ[\\]^_`az{|}~" HOSTED ""sv, done},
    {"a bad percent-encoding is for the router", "GET /%zz%" HOSTED ""sv, done},
    {"two slashes are a path", "GET //a//b" HOSTED ""sv, done},
    {"an empty query", "GET /?" HOSTED ""sv, done},
    {"a fragment is 400", "GET /a#b" HOSTED ""sv, 400},
    {"a # is no space", "GET /a#HTTP/1.1\r\nHost: a" END ""sv, 400},
    {"a tab is no space", "GET /a\tHTTP/1.1\r\nHost: a" END ""sv, 400},
    {"a NUL in the target is 400", "GET /a\0b" HOSTED ""sv, 400},
    {"a tab in the target is 400", "GET /a\tb" HOSTED ""sv, 400},
    {"DEL in the target is 400", "GET /a\x7f" HOSTED ""sv, 400},
    {"UTF-8 in the target is 400", "GET /\xc3\xa9" HOSTED ""sv, 400},
    {"0xff in the target is 400", "GET /\xff" HOSTED ""sv, 400},
    {"a bare CR in the target is 400", "GET /a\rb" HOSTED ""sv, 400},
    {"a bare LF in the target is 400", "GET /a\nb" HOSTED ""sv, 400},
    {"a bad byte behind sixteen good ones is 400", "GET /0123456789abcdefg\x01" HOSTED ""sv, 400},
    {"no slash is 400", "GET a" HOSTED ""sv, 400},
    {"a query alone is 400", "GET ?a" HOSTED ""sv, 400},
    {"a backslash is 400", "GET \\a" HOSTED ""sv, 400},
    {"9112 3.2.2: absolute-form", "GET http://b/c?d" HOSTED ""sv, done},
    {"9112 3.2.2: https too", "GET https://b/" HOSTED ""sv, done},
    {"9110 4.2.3: schemes have no case", "GET HtTp://b/" HOSTED ""sv, done},
    {"absolute-form without a path", "GET http://b" HOSTED ""sv, done},
    {"absolute-form with a query alone", "GET http://b?c" HOSTED ""sv, done},
    {"absolute-form with a port", "GET http://b:80/" HOSTED ""sv, done},
    {"absolute-form with an empty port", "GET http://b:/" HOSTED ""sv, done},
    {"absolute-form with IPv6", "GET http://[::1]:80/" HOSTED ""sv, done},
    {"9112 3.2: absolute-form needs a Host too", "GET http://b/ HTTP/1.1" END ""sv, 400},
    {"9110 4.2.1: an empty authority is 400", "GET http:///a" HOSTED ""sv, 400},
    {"nothing behind the scheme is 400", "GET http://" HOSTED ""sv, 400},
    {"9110 4.2.1: an empty host is 400", "GET http://:80/" HOSTED ""sv, 400},
    {"9110 4.2.4: userinfo is 400", "GET http://me@b/" HOSTED ""sv, 400},
    {"9110 4.2.4: a password is 400", "GET http://me:secret@b/" HOSTED ""sv, 400},
    {"letters as port are 400", "GET http://b:http/" HOSTED ""sv, 400},
    {"a backslash in the authority is 400", "GET http://b\\c/" HOSTED ""sv, 400},
    {"an open bracket in the authority is 400", "GET http://[::1/" HOSTED ""sv, 400},
    {"one slash behind the scheme is 400", "GET http:/b/" HOSTED ""sv, 400},
    {"ftp is 400", "GET ftp://b/" HOSTED ""sv, 400},
    {"http+unix is the client's affair: 400", "GET http+unix://%2Fa/" HOSTED ""sv, 400},
    {"OPTIONS of a path", "OPTIONS /" HOSTED ""sv, done},
    {"9112 3.2.4: asterisk-form with OPTIONS", "OPTIONS *" HOSTED ""sv, done},
    {"9112 3.2.4: asterisk-form with GET is 400", "GET *" HOSTED ""sv, 400},
    {"two asterisks are 400", "OPTIONS **" HOSTED ""sv, 400},
    {"an asterisk with a path is 400", "OPTIONS */" HOSTED ""sv, 400},
    {"9112 3.2.3: authority-form with CONNECT", "CONNECT b:443" HOSTED ""sv, done},
    {"9112 3.2.3: authority-form with IPv6", "CONNECT [::1]:443" HOSTED ""sv, done},
    {"9112 3.2.3: authority-form with GET is 400", "GET b:443" HOSTED ""sv, 400},
    {"9110 9.3.6: CONNECT without a port is 400", "CONNECT b" HOSTED ""sv, 400},
    {"9110 9.3.6: CONNECT with an empty port is 400", "CONNECT b:" HOSTED ""sv, 400},
    {"CONNECT with IPv6 and no port is 400", "CONNECT [::1]" HOSTED ""sv, 400},
    {"CONNECT without a host is 400", "CONNECT :443" HOSTED ""sv, 400},
    {"CONNECT to letters as port is 400", "CONNECT b:x" HOSTED ""sv, 400},
    {"CONNECT with a path is 400", "CONNECT /" HOSTED ""sv, 400},
    {"CONNECT with absolute-form is 400", "CONNECT http://b:443/" HOSTED ""sv, 400},
    {"CONNECT with an asterisk is 400", "CONNECT *" HOSTED ""sv, 400},
    {"9112 3.2.3: CONNECT with userinfo is 400", "CONNECT me@b:443" HOSTED ""sv, 400},
    {"9112 3.2.3: CONNECT with a query is 400", "CONNECT b:443?c" HOSTED ""sv, 400},
    {"9112 3.2.3: CONNECT to a port of six digits is 400", "CONNECT b:655350" HOSTED ""sv, 400},
    {"9112 3.2.4: absolute-form of OPTIONS without a path", "OPTIONS http://b" HOSTED ""sv, done},
    {"9112 3.2.2: absolute-form in 1.0 needs no Host", "GET http://b/ HTTP/1.0" END ""sv, done},
    {"9112 3.2.2: absolute-form and an empty Host", "GET http://b/ HTTP/1.1\r\nHost:" END ""sv,
     done},
    {"9112 3.2: absolute-form doesn't mend a bad Host",
     "GET http://b/ HTTP/1.1\r\nHost: a b" END ""sv, 400},
    {"9112 3.2: nor two of them", "GET http://b/ HTTP/1.1\r\nHost: b\r\nHost: b" END ""sv, 400},
    {"3986 3.2.2: absolute-form with a percent-encoded host", "GET http://%2Fa/" HOSTED ""sv, done},
    {"3986 2.1: half a percent-encoding in a host is 400", "GET http://a%2/" HOSTED ""sv, 400},
    {"6874 2: a zone in absolute-form is 400", "GET http://[fe80::1%25e]/" HOSTED ""sv, 400},
    {"a port of six digits in absolute-form is 400", "GET http://b:655350/" HOSTED ""sv, 400},
    {"a fragment in absolute-form is 400", "GET http://b/#c" HOSTED ""sv, 400},
    {"9112 3.2.1: an asterisk below the root is a path", "GET /*" HOSTED ""sv, done},
};

const row field_rows[] = {
    {"a field", GET "X: y" END ""sv, done},
    {"9112 5: no space behind the colon", GET "X:y" END ""sv, done},
    {"9112 5: white space around the value", GET "X: \t y \t " END ""sv, done},
    {"an empty value", GET "X:" END ""sv, done},
    {"a value of white space", GET "X: \t " END ""sv, done},
    {"9110 5.6.2: every token byte may stand in a name", GET "!#$%&'*+-.^_`|~09azAZ: y" END ""sv,
     done},
    {"a name longer than two strides", GET "abcdefghijklmnopqrstuvwxyz-0123456789_x: y" END ""sv,
     done},
    {"9110 5.5: tabs in a value", GET "X: a\tb\tc" END ""sv, done},
    {"9110 5.5: obs-text in a value", GET "X: \x80\xff\xc3\xa9" END ""sv, done},
    {"every visible byte may stand in a value",
     GET "X: !\"#$%&'()*+,-./09:;<=>?@AZ[\\]^_`az{|}~" END ""sv, done},
    {"a value longer than the map of control bytes",
     GET "X: 0123456789012345678901234567890123456789012345678901234567890123456789012345678901"
         "2345678901234567890123456789012345678901234567890123456789" END ""sv,
     done},
    {"tabs on both sides of the map's border",
     GET "X: 01234567890123456789\t12345678901234567890123\t567890123456789012345678" END ""sv,
     done},
    {"9112 5.1: a space before the colon is 400", GET "X : y" END ""sv, 400},
    {"9112 5.1: a tab before the colon is 400", GET "X\t: y" END ""sv, 400},
    {"an empty name is 400", GET ": y" END ""sv, 400},
    {"no colon is 400", GET "X" END ""sv, 400},
    {"no colon but a space is 400", GET "X y" END ""sv, 400},
    {"9112 5.2: a folded line is 400", GET "X: y\r\n z" END ""sv, 400},
    {"9112 5.2: a line folded by a tab is 400", GET "X: y\r\n\tz" END ""sv, 400},
    {"9112 5.2: a folded empty line is 400", GET "X: y\r\n \r\n\r\n"sv, 400},
    {"9112 2.2: white space before the first field is 400", "GET / HTTP/1.1\r\n Host: a" END ""sv,
     400},
    {"9112 2.2: a tab before the first field is 400", "GET / HTTP/1.1\r\n\tHost: a" END ""sv, 400},
    {"a bare LF behind a field is 400", GET "X: y\n\r\n"sv, 400},
    {"a bare LF as the empty line is 400", GET "\n"sv, 400},
    {"two bare LF are 400", GET "X: y\n\n"sv, 400},
    {"a bare LF in a value is 400", GET "X: y\nContent-Length: 5" END ""sv, 400},
    {"a bare CR in a value is 400", GET "X: y\rz" END ""sv, 400},
    {"a bare CR before CR LF is 400", GET "X: y\r\r\n\r\n"sv, 400},
    {"a bare CR as the empty line is 400", GET "\rX"sv, 400},
    {"a bare CR in a name is 400", GET "X\rY: z" END ""sv, 400},
    {"a bare LF in a name is 400", GET "X\nY: z" END ""sv, 400},
    {"LF CR is 400", GET "X: y\n\r"sv, 400},
    {"NUL in a value is 400", GET "X: a\0b" END ""sv, 400},
    {"NUL at the end of a value is 400", GET "X: a\0" END ""sv, 400},
    {"0x01 in a value is 400", GET "X: a\x01" END ""sv, 400},
    {"0x08 in a value is 400", GET "X: a\x08" END ""sv, 400},
    {"vertical tab in a value is 400", GET "X: a\x0b" END ""sv, 400},
    {"form feed in a value is 400", GET "X: a\x0c" END ""sv, 400},
    {"0x1f in a value is 400", GET "X: a\x1f" END ""sv, 400},
    {"DEL in a value is 400", GET "X: a\x7f" END ""sv, 400},
    {"a control behind a tab is 400", GET "X: a\tb\x01" END ""sv, 400},
    {"a control behind sixty-four bytes is 400",
     GET "X: 0123456789012345678901234567890123456789012345678901234567890123456789\x02" END ""sv,
     400},
    {"NUL in a name is 400", GET "X\0Y: z" END ""sv, 400},
    {"DEL in a name is 400", GET "X\x7f: z" END ""sv, 400},
    {"obs-text in a name is 400", GET "X\xe9: z" END ""sv, 400},
    {"a slash in a name is 400", GET "X/Y: z" END ""sv, 400},
    {"brackets in a name are 400", GET "X[0]: z" END ""sv, 400},
    {"parentheses in a name are 400", GET "X(0): z" END ""sv, 400},
    {"an at sign in a name is 400", GET "X@Y: z" END ""sv, 400},
    {"a comma in a name is 400", GET "X,Y: z" END ""sv, 400},
    {"a semicolon in a name is 400", GET "X;Y: z" END ""sv, 400},
    {"an equals sign in a name is 400", GET "X=Y: z" END ""sv, 400},
    {"a quote in a name is 400", GET "\"X\": z" END ""sv, 400},
    {"a backslash in a name is 400", GET "X\\Y: z" END ""sv, 400},
    {"a brace in a name is 400", GET "{X}: z" END ""sv, 400},
    {"no field and no end is more", "GET / HTTP/1.1\r\n"sv, more},
    {"a field without its end is more", GET "X: y"sv, more},
    {"a field without its LF is more", GET "X: y\r"sv, more},
    {"a head without its last LF is more", GET "X: y\r\n\r"sv, more},
    {"9110 5.5: colons in a value", GET "X: a:b::" END ""sv, done},
    {"9110 5.5: obs-text at both ends of a value",
     GET "X:\xe9"
         "a\xe9" END ""sv,
     done},
    {"9112 5: two colons are a name and a value", GET "X::" END ""sv, done},
    {"9112 5: a line of one colon is 400", GET ":" END ""sv, 400},
    {"9112 2.2: a bare LF behind blanks is 400", GET "X: y \t\nZ: z" END ""sv, 400},
    {"9112 2.2: CR CR LF behind blanks is 400", GET "X: y \r\r\n\r\n"sv, 400},
    {"9112 5.2: a folded line behind an empty value is 400", GET "X:\r\n y" END ""sv, 400},
    {"9110 5.5: NUL alone is no value", GET "X:\0" END ""sv, 400},
};

const row host_rows[] = {
    {"9112 3.2: a request of 1.1 without Host is 400", "GET / HTTP/1.1" END ""sv, 400},
    {"9112 3.2: 1.2 needs it as well", "GET / HTTP/1.2" END ""sv, 400},
    {"1.0 needs none", OLD "X: y" END ""sv, done},
    {"1.0 may have one", OLD "Host: a" END ""sv, done},
    {"9112 3.2: two are 400", GET "Host: b" END ""sv, 400},
    {"9112 3.2: two equal ones are 400", GET "Host: a" END ""sv, 400},
    {"9112 3.2: two in other letters are 400", GET "hOST: a" END ""sv, 400},
    {"two in 1.0 are 400", OLD "Host: a\r\nHost: a" END ""sv, 400},
    {"9112 3.2: an empty one is valid", "GET / HTTP/1.1\r\nHost:" END ""sv, done},
    {"an empty one and another are 400", "GET / HTTP/1.1\r\nHost:\r\nHost: a" END ""sv, 400},
    {"a space before its colon is 400", "GET / HTTP/1.1\r\nHost : a" END ""sv, 400},
    {"a port", "GET / HTTP/1.1\r\nHost: a:80" END ""sv, done},
    {"3986 3.2.3: an empty port", "GET / HTTP/1.1\r\nHost: a:" END ""sv, done},
    {"a port of five digits", "GET / HTTP/1.1\r\nHost: a:65535" END ""sv, done},
    {"a port of six digits is 400", "GET / HTTP/1.1\r\nHost: a:655350" END ""sv, 400},
    {"a port with a sign is 400", "GET / HTTP/1.1\r\nHost: a:-1" END ""sv, 400},
    {"a port of letters is 400", "GET / HTTP/1.1\r\nHost: a:b" END ""sv, 400},
    {"two ports are 400", "GET / HTTP/1.1\r\nHost: a:1:2" END ""sv, 400},
    {"a % without two digits is 400", "GET / HTTP/1.1\r\nHost: a%g1b" END ""sv, 400},
    {"a % with one digit is 400", "GET / HTTP/1.1\r\nHost: a%1gb" END ""sv, 400},
    {"IPv4", "GET / HTTP/1.1\r\nHost: 127.0.0.1:80" END ""sv, done},
    {"IPv6", "GET / HTTP/1.1\r\nHost: [::1]" END ""sv, done},
    {"IPv6 with IPv4 at its end",
     "GET / HTTP/1.1\r\nHost: [ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255]:65535" END ""sv,
     done},
    {"an IPv6 address that is none: [1::2::3]", "GET / HTTP/1.1\r\nHost: [1::2::3]" END ""sv, 400},
    {"an IPv6 address that is none: [:::]", "GET / HTTP/1.1\r\nHost: [:::]" END ""sv, 400},
    {"an IPv6 address that is none: [1:2:3]", "GET / HTTP/1.1\r\nHost: [1:2:3]" END ""sv, 400},
    {"an IPv6 address that is none: [12345::]", "GET / HTTP/1.1\r\nHost: [12345::]" END ""sv, 400},
    {"an IPv6 address that is none: [1.2.3.4]", "GET / HTTP/1.1\r\nHost: [1.2.3.4]" END ""sv, 400},
    {"an IPv6 address that is none: [1:2:3:4:5:6:7:8:9]",
     "GET / HTTP/1.1\r\nHost: [1:2:3:4:5:6:7:8:9]" END ""sv, 400},
    {"an IPv6 address that is none: [::1.2.3.256]",
     "GET / HTTP/1.1\r\nHost: [::1.2.3.256]" END ""sv, 400},
    {"an IPv6 address that is none: [::", "GET / HTTP/1.1\r\nHost: [::" END ""sv, 400},
    {"an IPv6 address that is none: []", "GET / HTTP/1.1\r\nHost: []" END ""sv, 400},
    {"an IPv6 address that is none: [::1%lo]", "GET / HTTP/1.1\r\nHost: [::1%lo]" END ""sv, 400},
    {"IPv6 with a port", "GET / HTTP/1.1\r\nHost: [2001:db8::192.0.2.1]:80" END ""sv, done},
    {"IPv6 without brackets is 400", "GET / HTTP/1.1\r\nHost: ::1" END ""sv, 400},
    {"empty brackets are 400", "GET / HTTP/1.1\r\nHost: []" END ""sv, 400},
    {"an open bracket is 400", "GET / HTTP/1.1\r\nHost: [::1" END ""sv, 400},
    {"a closing bracket is 400", "GET / HTTP/1.1\r\nHost: ::1]" END ""sv, 400},
    {"letters behind a bracket are 400", "GET / HTTP/1.1\r\nHost: [::1]a" END ""sv, 400},
    {"letters in brackets are 400", "GET / HTTP/1.1\r\nHost: [::g]" END ""sv, 400},
    {"a zone is 400", "GET / HTTP/1.1\r\nHost: [fe80::1%25eth0]" END ""sv, 400},
    {"3986 3.2.2: reg-name", "GET / HTTP/1.1\r\nHost: a-b_c.d~e!$&'()*+;=" END ""sv, done},
    {"a name longer than a stride",
     "GET / HTTP/1.1\r\nHost: a-host.with.a.long.name.example:80" END ""sv, done},
    {"a percent-encoded path, as clients of sockets send",
     "GET / HTTP/1.1\r\nHost: %2Frun%2fa.sock" END ""sv, done},
    {"half a percent-encoding is 400", "GET / HTTP/1.1\r\nHost: a%2" END ""sv, 400},
    {"a bad percent-encoding is 400", "GET / HTTP/1.1\r\nHost: a%zz" END ""sv, 400},
    {"a path, as old Docker clients sent, is 400",
     "GET / HTTP/1.1\r\nHost: /run/docker.sock" END ""sv, 400},
    {"a slash is 400", "GET / HTTP/1.1\r\nHost: a/b" END ""sv, 400},
    {"a space is 400", "GET / HTTP/1.1\r\nHost: a b" END ""sv, 400},
    {"a tab is 400", "GET / HTTP/1.1\r\nHost: a\tb" END ""sv, 400},
    {"a comma is 400: two fields joined", "GET / HTTP/1.1\r\nHost: a,b" END ""sv, 400},
    {"userinfo is 400", "GET / HTTP/1.1\r\nHost: me@a" END ""sv, 400},
    {"a query is 400", "GET / HTTP/1.1\r\nHost: a?b" END ""sv, 400},
    {"a fragment is 400", "GET / HTTP/1.1\r\nHost: a#b" END ""sv, 400},
    {"a quote is 400", "GET / HTTP/1.1\r\nHost: \"a\"" END ""sv, 400},
    {"a backslash is 400", "GET / HTTP/1.1\r\nHost: a\\b" END ""sv, 400},
    {"obs-text is 400", "GET / HTTP/1.1\r\nHost: \xc3\xa9" END ""sv, 400},
    {"a whole URL is 400", "GET / HTTP/1.1\r\nHost: http://a" END ""sv, 400},
    {"9112 5: blanks around it", "GET / HTTP/1.1\r\nHost:\t a \t" END ""sv, done},
    {"9112 3.2: a bad one in 1.0 is 400", OLD "Host: a b" END ""sv, 400},
    {"3986 3.2.2: an address of the future is 400", "GET / HTTP/1.1\r\nHost: [v1.a]" END ""sv, 400},
    {"6874 2: a bare zone is 400", "GET / HTTP/1.1\r\nHost: [fe80::1%e]" END ""sv, 400},
    {"a letter behind a port is 400", "GET / HTTP/1.1\r\nHost: a:80b" END ""sv, 400},
    {"9112 3.2: two with others between are 400", GET "X: y\r\nZ: z\r\nHost: a" END ""sv, 400},
};

const row framing_rows[] = {
    {"Content-Length", POST "Content-Length: 5" END ""sv, done},
    {"9110 8.6: leading zeros are digits", POST "Content-Length: 007" END ""sv, done},
    {"a length of zero", POST "Content-Length: 0" END ""sv, done},
    {"the greatest length", POST "Content-Length: 9223372036854775807" END ""sv, done},
    {"one more is 400", POST "Content-Length: 9223372036854775808" END ""sv, 400},
    {"2^64 is 400", POST "Content-Length: 18446744073709551616" END ""sv, 400},
    {"2^64 + 5 is 400", POST "Content-Length: 18446744073709551621" END ""sv, 400},
    {"a length of 40 digits is 400",
     POST "Content-Length: 1234567890123456789012345678901234567890" END ""sv, 400},
    {"an empty length is 400", POST "Content-Length:" END ""sv, 400},
    {"a length of white space is 400", POST "Content-Length: \t" END ""sv, 400},
    {"a plus sign is 400", POST "Content-Length: +5" END ""sv, 400},
    {"a minus sign is 400", POST "Content-Length: -5" END ""sv, 400},
    {"minus zero is 400", POST "Content-Length: -0" END ""sv, 400},
    {"hexadecimal is 400", POST "Content-Length: 0x5" END ""sv, 400},
    {"an exponent is 400", POST "Content-Length: 5e1" END ""sv, 400},
    {"a point is 400", POST "Content-Length: 5.0" END ""sv, 400},
    {"a space inside is 400", POST "Content-Length: 5 5" END ""sv, 400},
    {"a tab inside is 400", POST "Content-Length: 5\t5" END ""sv, 400},
    {"quotes are 400", POST "Content-Length: \"5\"" END ""sv, 400},
    {"an underscore is 400", POST "Content-Length: 1_0" END ""sv, 400},
    {"digits of other scripts are 400", POST "Content-Length: \xd9\xa5" END ""sv, 400},
    {"9112 6.3: a list is 400", POST "Content-Length: 5, 6" END ""sv, 400},
    {"9112 6.3: a list of equals is 400 here", POST "Content-Length: 5, 5" END ""sv, 400},
    {"a trailing comma is 400", POST "Content-Length: 5," END ""sv, 400},
    {"9112 6.3: two lengths are 400", POST "Content-Length: 5\r\nContent-Length: 6" END ""sv, 400},
    {"9112 6.3: two equal lengths are 400 here",
     POST "Content-Length: 5\r\nContent-Length: 5" END ""sv, 400},
    {"two in other letters are 400", POST "Content-Length: 5\r\ncONTENT-lENGTH: 5" END ""sv, 400},
    {"two zeros are 400", POST "Content-Length: 0\r\nContent-Length: 0" END ""sv, 400},
    {"a space before its colon is 400", POST "Content-Length : 5" END ""sv, 400},
    {"another field of that length", POST "Content_Length: x" END ""sv, done},
    {"chunked", POST "Transfer-Encoding: chunked" END ""sv, done},
    {"9110 10.1.4: codings have no case", POST "tRANSFER-eNCODING: CHUNKED" END ""sv, done},
    {"white space around chunked", POST "Transfer-Encoding:\t chunked \t" END ""sv, done},
    {"9112 6.1: unknown codings before chunked are 501",
     POST "Transfer-Encoding: gzip, chunked" END ""sv, 501},
    {"9112 6.1: several of them are 501", POST "Transfer-Encoding: br,gzip ,chunked" END ""sv, 501},
    {"identity before chunked is 501", POST "Transfer-Encoding: identity, chunked" END ""sv, 501},
    {"9112 6.3: chunked not last is 400", POST "Transfer-Encoding: chunked, gzip" END ""sv, 400},
    {"9112 6.3: chunked missing is 400", POST "Transfer-Encoding: gzip" END ""sv, 400},
    {"identity is 400", POST "Transfer-Encoding: identity" END ""sv, 400},
    {"9112 6.1: chunked twice is 400", POST "Transfer-Encoding: chunked, chunked" END ""sv, 400},
    {"two fields are 400", POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked" END ""sv,
     400},
    {"two fields of different codings are 400",
     POST "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked" END ""sv, 400},
    {"chunked and an empty one are 400",
     POST "Transfer-Encoding: chunked\r\nTransfer-Encoding:" END ""sv, 400},
    {"an empty coding is 400", POST "Transfer-Encoding:" END ""sv, 400},
    {"xchunked is 400", POST "Transfer-Encoding: xchunked" END ""sv, 400},
    {"chunkedx is 400", POST "Transfer-Encoding: chunkedx" END ""sv, 400},
    {"chunked behind a space is 400", POST "Transfer-Encoding: x chunked" END ""sv, 400},
    {"chunked in quotes is 400", POST "Transfer-Encoding: \"chunked\"" END ""sv, 400},
    {"chunked in single quotes is 400", POST "Transfer-Encoding: 'chunked'" END ""sv, 400},
    {"9112 7: chunked with a parameter is 400", POST "Transfer-Encoding: chunked;a=b" END ""sv,
     400},
    {"chunked with a quality is 400", POST "Transfer-Encoding: chunked;q=1.0" END ""sv, 400},
    {"a trailing comma is 400", POST "Transfer-Encoding: chunked," END ""sv, 400},
    {"a leading comma is 400", POST "Transfer-Encoding: , chunked" END ""sv, 400},
    {"a vertical tab before chunked is 400", POST "Transfer-Encoding: \vchunked" END ""sv, 400},
    {"a tab in chunked is 400", POST "Transfer-Encoding: chun\tked" END ""sv, 400},
    {"obs-text behind chunked is 400", POST "Transfer-Encoding: chunked\x85" END ""sv, 400},
    {"a no-break space before chunked is 400",
     POST "Transfer-Encoding: \xa0"
          "chunked" END ""sv,
     400},
    {"a folded coding is 400", POST "Transfer-Encoding:\r\n chunked" END ""sv, 400},
    {"a space before its colon is 400", POST "Transfer-Encoding : chunked" END ""sv, 400},
    {"an underscore is another field", POST "Transfer_Encoding: x" END ""sv, done},
    {"9112 6.1: in 1.0 it is 400", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked" END ""sv, 400},
    {"9112 6.1: beside Content-Length it is 400",
     POST "Content-Length: 5\r\nTransfer-Encoding: chunked" END ""sv, 400},
    {"9112 6.1: in either order", POST "Transfer-Encoding: chunked\r\nContent-Length: 5" END ""sv,
     400},
    {"9112 6.1: beside a length of zero too",
     POST "Transfer-Encoding: chunked\r\nContent-Length: 0" END ""sv, 400},
    {"an unknown coding beside Content-Length is 400",
     POST "Transfer-Encoding: gzip, chunked\r\nContent-Length: 5" END ""sv, 400},
    {"9110 10.1.1: an expectation", POST "Expect: 100-continue\r\nContent-Length: 5" END ""sv,
     done},
    {"9110 10.1.1: it has no case", POST "expect: 100-Continue\r\nContent-Length: 5" END ""sv,
     done},
    {"9110 10.1.1: another is 417", POST "Expect: 200-ok" END ""sv, 417},
    {"an empty one is 417", POST "Expect:" END ""sv, 417},
    {"a list is 417", POST "Expect: 100-continue, x" END ""sv, 417},
    {"two are 417", POST "Expect: 100-continue\r\nExpect: 100-continue" END ""sv, 417},
    {"9110 10.1.1: 1.0 can't expect", OLD "Expect: 100-continue" END ""sv, done},
    {"bad framing is told before an unknown expectation",
     POST "Expect: x\r\nContent-Length: x" END ""sv, 400},
    {"9110 8.6: GET may have a length", GET "Content-Length: 5" END ""sv, done},
    {"9110 8.6: so may 1.0", "POST / HTTP/1.0\r\nContent-Length: 5" END ""sv, done},
    {"9110 8.6: more zeros than a number has digits",
     POST "Content-Length: 0000000000000000000000000000005" END ""sv, done},
    {"9110 8.6: a semicolon behind it is 400", POST "Content-Length: 5;" END ""sv, 400},
    {"9110 8.6: a vertical tab behind it is 400", POST "Content-Length: 5\v" END ""sv, 400},
    {"9110 8.6: an empty one and another are 400",
     POST "Content-Length:\r\nContent-Length: 5" END ""sv, 400},
    {"9112 6.3: two with others between are 400",
     POST "Content-Length: 5\r\nX: y\r\nContent-Length: 5" END ""sv, 400},
    {"9112 6.1: in 1.2 as in 1.1",
     "POST / HTTP/1.2\r\nHost: a\r\nTransfer-Encoding: chunked" END ""sv, done},
    {"9112 6.1: in 1.0 beside a length it is 400",
     "POST / HTTP/1.0\r\nContent-Length: 5\r\nTransfer-Encoding: chunked" END ""sv, 400},
    {"9112 6.1: beside an empty length it is 400",
     POST "Transfer-Encoding: chunked\r\nContent-Length:" END ""sv, 400},
    {"9110 5.6.1: an empty element before chunked is 400 here",
     POST "Transfer-Encoding: gzip, , chunked" END ""sv, 400},
    {"9112 7: an unknown coding with a parameter is 400 here",
     POST "Transfer-Encoding: gzip;q=1, chunked" END ""sv, 400},
    {"9112 6.1: chunked, another, chunked is 400",
     POST "Transfer-Encoding: chunked, gzip, chunked" END ""sv, 400},
    {"9112 6.1: chunked in two fields with others between is 400",
     POST "Transfer-Encoding: chunked\r\nX: y\r\nTransfer-Encoding: chunked" END ""sv, 400},
    {"9112 6.1: two fields that join to a good list are 400 here",
     POST "Transfer-Encoding: gzip\r\nX: y\r\nTransfer-Encoding: chunked" END ""sv, 400},
    {"9110 10.1.1: a parameter is 417", POST "Expect: 100-continue;a=b" END ""sv, 417},
    {"9110 10.1.1: an unknown one in 1.0 is 417 too", OLD "Expect: x" END ""sv, 417},
};

const row response_rows[] = {
    {"the least response", "HTTP/1.1 200 OK" END ""sv, done},
    {"nothing yet", ""sv, more},
    {"half a version", "HTTP/1"sv, more},
    {"half a status", "HTTP/1.1 20"sv, more},
    {"no reason and no end yet", "HTTP/1.1 200"sv, more},
    {"9112 4: an empty reason", "HTTP/1.1 200 " END ""sv, done},
    {"the space before it may be missing", "HTTP/1.1 200" END ""sv, done},
    {"a long reason", "HTTP/1.1 200 All is well, \tnothing to see here \xe9" END ""sv, done},
    {"1.0", "HTTP/1.0 200 OK" END ""sv, done},
    {"1.2 is handled as 1.1", "HTTP/1.2 200 OK" END ""sv, done},
    {"2.0 is bad", "HTTP/2.0 200 OK" END ""sv, 505},
    {"0.9 is bad", "HTTP/0.9 200 OK" END ""sv, 505},
    {"ICY is bad", "ICY 200 OK" END ""sv, 400},
    {"small letters are bad", "http/1.1 200 OK" END ""sv, 400},
    {"an empty line before it is bad", "\r\nHTTP/1.1 200 OK" END ""sv, 400},
    {"a space before it is bad", " HTTP/1.1 200 OK" END ""sv, 400},
    {"a request is bad", "GET / HTTP/1.1" END ""sv, 400},
    {"two spaces before the status are bad", "HTTP/1.1  200 OK" END ""sv, 400},
    {"a tab before the status is bad", "HTTP/1.1\t200 OK" END ""sv, 400},
    {"a status of two digits is bad", "HTTP/1.1 20 OK" END ""sv, 400},
    {"a status of four digits is bad", "HTTP/1.1 2000 OK" END ""sv, 400},
    {"a status of letters is bad", "HTTP/1.1 2xx OK" END ""sv, 400},
    {"a negative status is bad", "HTTP/1.1 -20 OK" END ""sv, 400},
    {"a status below 100 is bad", "HTTP/1.1 099 OK" END ""sv, 400},
    {"000 is bad", "HTTP/1.1 000 OK" END ""sv, 400},
    {"9110 15: a status above 599 is another server error", "HTTP/1.1 999 No" END ""sv, done},
    {"no status is bad", "HTTP/1.1" END ""sv, 400},
    {"a reason without its space is bad", "HTTP/1.1 200OK" END ""sv, 400},
    {"a tab before the reason is bad", "HTTP/1.1 200\tOK" END ""sv, 400},
    {"NUL in the reason is bad", "HTTP/1.1 200 O\0K" END ""sv, 400},
    {"DEL in the reason is bad", "HTTP/1.1 200 O\x7fK" END ""sv, 400},
    {"a bare CR in the reason is bad", "HTTP/1.1 200 O\rK" END ""sv, 400},
    {"a bare LF behind the reason is bad", "HTTP/1.1 200 OK\n\r\n"sv, 400},
    {"a bare LF behind the status is bad", "HTTP/1.1 200\n\r\n"sv, 400},
    {"a field", "HTTP/1.1 200 OK\r\nX: y" END ""sv, done},
    {"a folded field is bad", "HTTP/1.1 200 OK\r\nX: y\r\n z" END ""sv, 400},
    {"a space before the colon is bad", "HTTP/1.1 200 OK\r\nX : y" END ""sv, 400},
    {"an empty name is bad", "HTTP/1.1 200 OK\r\n: y" END ""sv, 400},
    {"a bare LF behind a field is bad", "HTTP/1.1 200 OK\r\nX: y\n\r\n"sv, 400},
    {"a control in a value is bad", "HTTP/1.1 200 OK\r\nX: \x01" END ""sv, 400},
    {"a 404 with a bad field is no 404", "HTTP/1.1 404 Not Found\r\nX : y" END ""sv, 400},
    {"a 431 with a bad field is not too large", "HTTP/1.1 431 X\r\nX: y\r\n z" END ""sv, 400},
    {"nor are two Hosts", "HTTP/1.1 200 OK\r\nHost: a/b\r\nHost: c" END ""sv, done},
    {"Host means nothing here", "HTTP/1.1 200 OK\r\nHost: a" END ""sv, done},
    {"Expect means nothing here", "HTTP/1.1 200 OK\r\nExpect: x" END ""sv, done},
    {"two lengths are bad", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6" END ""sv,
     400},
    {"two equal lengths are bad",
     "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5" END ""sv, 400},
    {"a bad length is bad", "HTTP/1.1 200 OK\r\nContent-Length: 5x" END ""sv, 400},
    {"an empty length is bad", "HTTP/1.1 200 OK\r\nContent-Length:" END ""sv, 400},
    {"a huge length is bad", "HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775808" END ""sv,
     400},
    {"a coding and a length are bad",
     "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked" END ""sv, 400},
    {"a coding in 1.0 is bad", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked" END ""sv, 400},
    {"another coding is bad", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip" END ""sv, 400},
    {"an unknown coding before chunked is bad",
     "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked" END ""sv, 501},
    {"chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked" END ""sv, done},
    {"a bad length of a 304 is bad too", "HTTP/1.1 304 Not Modified\r\nContent-Length: x" END ""sv,
     400},
    {"9112 6.3: a bad coding of a 204 is bad too",
     "HTTP/1.1 204 No Content\r\nTransfer-Encoding: gzip" END ""sv, 400},
    {"9112 6.3: two lengths of a 304 are bad too",
     "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nContent-Length: 5" END ""sv, 400},
    {"9112 4: NUL behind the status is bad", "HTTP/1.1 200\0 OK" END ""sv, 400},
    {"9112 4: an empty reason and a bare LF are bad", "HTTP/1.1 200 \n\r\n"sv, 400},
    {"9112 2.2: a bare LF as the empty line is bad", "HTTP/1.1 200 OK\r\nX: y\r\n\n"sv, 400},
    {"bytes of another protocol are bad at the first", "-ERR unknown command\r\n"sv, 400},
};

template <class Kind, std::size_t N> void check(const row (&rows)[N]) {
    for (const row& r : rows) {
        CAPTURE(std::string(r.name));
        CHECK(answer<Kind>(r.input) == r.status);
    }
}

/// What was understood, in one line.
string_view framing_name(framing how) {
    switch (how) {
    case framing::none: return "none";
    case framing::length: return "length";
    case framing::chunked: return "chunked";
    case framing::until_close: return "until_close";
    }
    return "?";
}

std::string told(const head& h, const std::vector<field>& fields) {
    std::string out(framing_name(h.how));
    if (h.how == framing::length) out += " " + std::to_string(h.length);
    out += " " + std::to_string(h.version) + (h.persistent ? " kept" : " closed");
    if (h.expect_continue) out += " expects";
    if (h.upgrade) out += " upgrade";
    for (std::size_t n = 0; n < h.fields_count; ++n)
        out += "|" + std::string(fields[n].name) + "=" + std::string(fields[n].value);
    return out;
}

struct meaning_row {
    const char* name;
    string_view method, input, expected;
};

/// From the first byte to the last: how the views of the row's input are cut.
const meaning_row request_meanings[] = {
    {"the least request", "", GET "\r\n", "GET / a: none 11 kept|Host=a"},
    {"names and values as sent, without the white space around", "",
     "PUT /%41?b=%zz HTTP/1.1\r\nhOsT:a:80\r\nX-Y:  \ta  b\t \r\nEmpty: \r\nVoid:\r\nT: "
     "a\tb\r\n\r\n",
     "PUT /%41?b=%zz a:80: none 11 kept|hOsT=a:80|X-Y=a  b|Empty=|Void=|T=a\tb"},
    {"the same field twice stays two", "", GET "A: 1\r\nB: 2\r\nA: 3" END,
     "GET / a: none 11 kept|Host=a|A=1|B=2|A=3"},
    {"9112 3.2.2: the target's authority is the host", "",
     "GET http://b:8/c HTTP/1.1\r\nHost: a" END, "GET http://b:8/c b:8: none 11 kept|Host=b:8"},
    {"https with a query alone", "", "GET HTTPS://[::1]?c HTTP/1.1\r\nHost: a" END,
     "GET HTTPS://[::1]?c [::1]: none 11 kept|Host=[::1]"},
    {"asterisk-form leaves the Host", "", "OPTIONS * HTTP/1.1\r\nHost: a" END,
     "OPTIONS * a: none 11 kept|Host=a"},
    {"authority-form leaves the Host", "", "CONNECT b:1 HTTP/1.1\r\nHost: a" END,
     "CONNECT b:1 a: none 11 kept|Host=a"},
    {"an empty Host", "", "GET / HTTP/1.1\r\nHost:" END, "GET / : none 11 kept|Host="},
    {"9112 3.2.2: the target's authority, the Host empty", "",
     "GET http://b/ HTTP/1.1\r\nHost:" END, "GET http://b/ b: none 11 kept|Host=b"},
    {"9112 3.2.2: the target's authority in 1.0", "", "GET http://b/ HTTP/1.0" END,
     "GET http://b/ b: none 10 closed|Host=b"},
    {"9110 8.6: GET with a body", "", GET "Content-Length: 5" END,
     "GET / a: length 5 11 kept|Host=a|Content-Length=5"},
    {"9112 9.3: in 1.0 a length alone keeps nothing", "",
     "POST / HTTP/1.0\r\nContent-Length: 5" END, "POST / : length 5 10 closed|Content-Length=5"},
    {"a length", "", POST "Content-Length: 0012" END,
     "POST / a: length 12 11 kept|Host=a|Content-Length=0012"},
    {"a length of zero is no body", "", POST "Content-Length: 0" END,
     "POST / a: none 11 kept|Host=a|Content-Length=0"},
    {"the greatest length", "", POST "Content-Length: 9223372036854775807" END,
     "POST / a: length 9223372036854775807 11 kept|Host=a|Content-Length=9223372036854775807"},
    {"chunked", "", POST "Transfer-Encoding: Chunked" END,
     "POST / a: chunked 11 kept|Host=a|Transfer-Encoding=Chunked"},
    {"9112 9.3: close", "", GET "Connection: close" END,
     "GET / a: none 11 closed|Host=a|Connection=close"},
    {"9112 9.3: close in a list, without case", "", GET "Connection: x ,\tCLOSE" END,
     "GET / a: none 11 closed|Host=a|Connection=x ,\tCLOSE"},
    {"9112 9.3: close in a second field", "", GET "Connection: x\r\nconnection: close" END,
     "GET / a: none 11 closed|Host=a|Connection=x|connection=close"},
    {"9112 9.3: close wins over keep-alive", "", GET "Connection: close, keep-alive" END,
     "GET / a: none 11 closed|Host=a|Connection=close, keep-alive"},
    {"closed is another word", "", GET "Connection: closed, xclose, clos e" END,
     "GET / a: none 11 kept|Host=a|Connection=closed, xclose, clos e"},
    {"an empty Connection", "", GET "Connection: ,, ," END,
     "GET / a: none 11 kept|Host=a|Connection=,, ,"},
    {"9112 9.3: 1.0 closes", "", OLD "\r\n", "GET / : none 10 closed"},
    {"9112 9.3: 1.0 with keep-alive", "", OLD "Connection: Keep-Alive" END,
     "GET / : none 10 kept|Connection=Keep-Alive"},
    {"9112 9.3: 1.0 with both closes", "", OLD "Connection: Keep-Alive\r\nConnection: close" END,
     "GET / : none 10 closed|Connection=Keep-Alive|Connection=close"},
    {"a Keep-Alive field alone keeps nothing", "", OLD "Keep-Alive: 5" END,
     "GET / : none 10 closed|Keep-Alive=5"},
    {"1.9 is 1.1", "", "GET / HTTP/1.9\r\nHost: a" END, "GET / a: none 11 kept|Host=a"},
    {"9110 10.1.1: an expectation with a body", "",
     POST "Expect: 100-continue\r\nContent-Length: 1" END,
     "POST / a: length 1 11 kept expects|Host=a|Expect=100-continue|Content-Length=1"},
    {"9110 10.1.1: an expectation with chunks", "",
     POST "Expect: 100-Continue\r\nTransfer-Encoding: chunked" END,
     "POST / a: chunked 11 kept expects|Host=a|Expect=100-Continue|Transfer-Encoding=chunked"},
    {"9110 10.1.1: an expectation without a body", "", POST "Expect: 100-continue" END,
     "POST / a: none 11 kept|Host=a|Expect=100-continue"},
    {"9110 10.1.1: an expectation in 1.0 is ignored", "",
     "POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1" END,
     "POST / : length 1 10 closed|Expect=100-continue|Content-Length=1"},
    {"9110 7.8: an upgrade", "", GET "Connection: keep-alive, Upgrade\r\nUpgrade: websocket" END,
     "GET / a: none 11 kept upgrade|Host=a|Connection=keep-alive, Upgrade|Upgrade=websocket"},
    {"9110 7.8: without Connection it is none", "", GET "Upgrade: websocket" END,
     "GET / a: none 11 kept|Host=a|Upgrade=websocket"},
    {"9110 7.8: Connection alone is none", "", GET "Connection: upgrade" END,
     "GET / a: none 11 kept|Host=a|Connection=upgrade"},
    {"an empty Upgrade is none", "", GET "Connection: upgrade\r\nUpgrade:" END,
     "GET / a: none 11 kept|Host=a|Connection=upgrade|Upgrade="},
    {"9110 7.8: in 1.0 it is none", "", OLD "Connection: upgrade\r\nUpgrade: x" END,
     "GET / : none 10 closed|Connection=upgrade|Upgrade=x"},
    {"other names of the same lengths", "",
     GET "Hest: b\r\nAccept: x\r\nUpgrads: x\r\nUser-Agent: close\r\nAccept-Charset: "
         "9\r\nTransfer+Encoding: y" END,
     "GET / a: none 11 kept|Host=a|Hest=b|Accept=x|Upgrads=x|User-Agent=close|Accept-Charset=9|"
     "Transfer+Encoding=y"},
};

const meaning_row response_meanings[] = {
    {"until the end of the stream", "GET", "HTTP/1.1 200 OK" END, "200: until_close 11 closed"},
    {"no reason", "GET", "HTTP/1.1 200" END, "200: until_close 11 closed"},
    {"an empty reason", "GET", "HTTP/1.1 404 " END, "404: until_close 11 closed"},
    {"a reason as sent", "GET", "HTTP/1.1 404  a b\t" END, "404: until_close 11 closed"},
    {"a length", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 5" END,
     "200: length 5 11 kept|Content-Length=5"},
    {"a length of zero", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 0" END,
     "200: none 11 kept|Content-Length=0"},
    {"chunked", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked" END,
     "200: chunked 11 kept|Transfer-Encoding=chunked"},
    {"9112 9.3: close", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close" END,
     "200: length 5 11 closed|Content-Length=5|Connection=close"},
    {"9112 9.3: 1.0 closes", "GET", "HTTP/1.0 200 OK\r\nContent-Length: 5" END,
     "200: length 5 10 closed|Content-Length=5"},
    {"9112 9.3: 1.0 with keep-alive", "GET",
     "HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive" END,
     "200: length 5 10 kept|Content-Length=5|Connection=keep-alive"},
    {"keep-alive can't keep what ends with the stream", "GET",
     "HTTP/1.0 200 OK\r\nConnection: keep-alive" END,
     "200: until_close 10 closed|Connection=keep-alive"},
    {"9112 6.3 (1): HEAD", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5" END,
     "200: none 11 kept|Content-Length=5"},
    {"9112 6.3 (1): HEAD with a coding", "HEAD",
     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked" END,
     "200: none 11 kept|Transfer-Encoding=chunked"},
    {"9112 6.3 (1): HEAD without either", "HEAD", "HTTP/1.1 200 OK" END, "200: none 11 kept"},
    {"9110 9.1: head is not HEAD", "head", "HTTP/1.1 200 OK\r\nContent-Length: 5" END,
     "200: length 5 11 kept|Content-Length=5"},
    {"9112 6.3 (1): 204", "GET", "HTTP/1.1 204 No Content\r\nContent-Length: 5" END,
     "204: none 11 kept|Content-Length=5"},
    {"9112 6.3 (1): 304", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5" END,
     "304: none 11 kept|Content-Length=5"},
    {"9112 6.3 (1): 100", "GET", "HTTP/1.1 100 Continue" END, "100: none 11 kept"},
    {"9112 6.3 (1): 103", "GET", "HTTP/1.1 103 Early Hints\r\nLink: x" END,
     "103: none 11 kept|Link=x"},
    {"205 has a length like others", "GET", "HTTP/1.1 205 Reset\r\nContent-Length: 0" END,
     "205: none 11 kept|Content-Length=0"},
    {"9112 6.3: 205 may end by chunks", "GET",
     "HTTP/1.1 205 Reset\r\nTransfer-Encoding: chunked" END,
     "205: chunked 11 kept|Transfer-Encoding=chunked"},
    {"9112 6.3: 205 without either ends with the stream", "GET", "HTTP/1.1 205 Reset" END,
     "205: until_close 11 closed"},
    {"9112 6.3 (1): 100 with a length", "GET", "HTTP/1.1 100 Continue\r\nContent-Length: 5" END,
     "100: none 11 kept|Content-Length=5"},
    {"9112 6.3 (1): 102 with chunks", "GET", "HTTP/1.1 102 X\r\nTransfer-Encoding: chunked" END,
     "102: none 11 kept|Transfer-Encoding=chunked"},
    {"9112 6.3 (1): 204 with chunks", "GET", "HTTP/1.1 204 X\r\nTransfer-Encoding: chunked" END,
     "204: none 11 kept|Transfer-Encoding=chunked"},
    {"9112 6.3 (1): 304 with chunks", "GET", "HTTP/1.1 304 X\r\nTransfer-Encoding: chunked" END,
     "304: none 11 kept|Transfer-Encoding=chunked"},
    {"9112 6.3 (1): 304 without either stays", "GET", "HTTP/1.1 304 X" END, "304: none 11 kept"},
    {"9110 7.8: 101 with a length has none", "GET", "HTTP/1.1 101 Go\r\nContent-Length: 5" END,
     "101: none 11 closed|Content-Length=5"},
    {"9112 6.3 (8): keep-alive without a length", "GET",
     "HTTP/1.1 200 OK\r\nConnection: keep-alive" END,
     "200: until_close 11 closed|Connection=keep-alive"},
    {"9112 9.3: HEAD in 1.0", "HEAD", "HTTP/1.0 200 OK" END, "200: none 10 closed"},
    {"9110 7.8: 101", "GET", "HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: x" END,
     "101: none 11 closed|Connection=upgrade|Upgrade=x"},
    {"an Upgrade offered by 200 is none", "GET",
     "HTTP/1.1 200 OK\r\nConnection: upgrade\r\nUpgrade: x\r\nContent-Length: 1" END,
     "200: length 1 11 kept|Connection=upgrade|Upgrade=x|Content-Length=1"},
    {"a status above 599", "GET", "HTTP/1.1 799 X\r\nContent-Length: 5" END,
     "799: length 5 11 kept|Content-Length=5"},
    {"1.2 is 1.1", "GET", "HTTP/1.2 200 OK\r\nContent-Length: 5" END,
     "200: length 5 11 kept|Content-Length=5"},
};

} // namespace

TEST_CASE("parser: request line") { check<request_kind>(request_line_rows); }
TEST_CASE("parser: request target") { check<request_kind>(target_rows); }
TEST_CASE("parser: field lines") { check<request_kind>(field_rows); }
TEST_CASE("parser: Host") { check<request_kind>(host_rows); }
TEST_CASE("parser: framing and expectations of a request") { check<request_kind>(framing_rows); }
TEST_CASE("parser: response head") { check<response_kind>(response_rows); }

TEST_CASE("parser: what a request says") {
    for (const meaning_row& r : request_meanings) {
        CAPTURE(std::string(r.name));
        CHECK(answer<request_kind>(r.input) == done);
        const std::string input = std::string(r.input) + "GET /next";
        std::vector<field> fields(100);
        head h;
        REQUIRE(parse_request_head(input, usual, fields.data(), h) == parsed::done);
        CHECK(h.size == r.input.size());
        std::string first = std::string(h.method) + " " + std::string(h.target) + " ";
        for (std::size_t n = 0; n < h.fields_count; ++n)
            if (equal_nocase(fields[n].name, "Host")) first += fields[n].value;
        CHECK(first + ": " + told(h, fields) == r.expected);
    }
}

TEST_CASE("parser: what a response says") {
    for (const meaning_row& r : response_meanings) {
        CAPTURE(std::string(r.name));
        CHECK(answer<response_kind>(r.input) == done);
        const std::string input = std::string(r.input) + "HTTP/1.1";
        std::vector<field> fields(100);
        head h;
        REQUIRE(parse_response_head(input, usual, r.method, fields.data(), h) == parsed::done);
        CHECK(h.size == r.input.size());
        CHECK(std::to_string(h.status) + ": " + told(h, fields) == r.expected);
    }
}

TEST_CASE("parser: names of every length") {
    std::string input = OLD;
    for (std::size_t size = 1; size < 80; ++size)
        for (const char c : {'c', 'T', 'x'}) input += std::string(size, c) + ":\r\n";
    CHECK(answer<request_kind>(input + "\r\n", {99'999, 99, 237}) == done);
}

TEST_CASE("parser: path and query of a target") {
    struct {
        string_view target, path, query;
    } const rows[] = {
        {"/", "/", ""},
        {"/a/b", "/a/b", ""},
        {"/a?b", "/a", "b"},
        {"/a?", "/a", ""},
        {"/a?b?c=/d", "/a", "b?c=/d"},
        {"/?a", "/", "a"},
        {"*", "*", ""},
        {"http://a", "/", ""},
        {"http://a?b", "/", "b"},
        {"http://a/", "/", ""},
        {"HTTPS://a:1/b?c", "/b", "c"},
        {"http://[::1]/b", "/b", ""},
        {"//a/b", "//a/b", ""},
        {"/http://a", "/http://a", ""},
        {"/%2F?%3F", "/%2F", "%3F"},
        {"http://a?b/c", "/", "b/c"},
    };
    for (const auto& r : rows) {
        CAPTURE(std::string(r.target));
        const uds_http::request req("GET", r.target);
        CHECK(req.path() == r.path);
        CHECK(req.query() == r.query);
    }
}

TEST_CASE("parser: limits, one under, at, one over") {
    const auto request = [](const std::string& input, const head_limits& limits) {
        return answer<request_kind>(input, limits);
    };
    const auto response = [](const std::string& input, const head_limits& limits) {
        return answer<response_kind>(input, limits);
    };
    SUBCASE("bytes of a request head: 431") {
        const std::string input = std::string(GET) + "X: 0123456789\r\n\r\n";
        for (std::size_t over = 0; over < input.size() - 16; ++over) {
            const int expected = over == 0 ? done : input.size() - over < 17 ? 414 : 431;
            CHECK(request(input, {input.size() - over, 99, 9}) == expected);
        }
        CHECK(request(input, {input.size() + 1, 99, 9}) == done);
    }
    SUBCASE("a body behind the head doesn't count") {
        const std::string input = std::string(GET) + "\r\n";
        CHECK(request(input + std::string(100, 'x'), {input.size(), 99, 9}) == done);
    }
    SUBCASE("empty lines before the request count") {
        const std::string input = std::string(GET) + "\r\n";
        CHECK(request("\r\n" + input, {input.size() + 2, 99, 9}) == done);
        CHECK(request("\r\n" + input, {input.size() + 1, 99, 9}) == 431);
    }
    SUBCASE("a request line that fills the head: 414") {
        CHECK(request("GET /0123456789", {15, 99, 9}) == 414);
        CHECK(request("GET /0123456789", {16, 99, 9}) == more);
        CHECK(request("GET / HTTP/1.1\r", {15, 99, 9}) == 414);
        CHECK(request("GET / HTTP/1.1\r\n", {16, 99, 9}) == 431);
    }
    SUBCASE("what is bad within the limit stays so, however much follows") {
        CHECK(request("GET / HTTP/1.1\r\nX : y" END, {99, 99, 9}) == 400);
        CHECK(request("GET / HTTP/1.1\r\nX : y" END, {20, 99, 9}) == 400);
        CHECK(request("\x16\x03\x01 / HTTP/1.1", {10, 99, 9}) == 400);
        CHECK(request("GET / HTTP/2.0" END, {15, 99, 9}) == 505);
        CHECK(response("HTTP/1.1 99 " + std::string(99, 'a'), {20, 0, 9}) == 400);
    }
    SUBCASE("bytes of a target: 414") {
        CHECK(request("GET /23456789" HOSTED, {999, 10, 9}) == done);
        CHECK(request("GET /234567890" HOSTED, {999, 10, 9}) == done);
        CHECK(request("GET /2345678901" HOSTED, {999, 10, 9}) == 414);
        CHECK(request("GET /2345678901", {999, 10, 9}) == 414);
        CHECK(request("GET /234567890", {999, 10, 9}) == more);
    }
    SUBCASE("the target of the defaults") {
        const std::string rest = HOSTED;
        CHECK(request("GET /" + std::string(usual.max_target_bytes - 1, 'a') + rest, usual) ==
              done);
        CHECK(request("GET /" + std::string(usual.max_target_bytes, 'a') + rest, usual) == 414);
    }
    SUBCASE("the head of the defaults") {
        const std::size_t room = usual.max_head_bytes - std::strlen(GET "X: \r\n\r\n");
        for (std::size_t size : {room - 1, room, room + 1}) {
            const std::string input = GET "X: " + std::string(size, 'a') + "\r\n\r\n";
            CHECK(request(input, usual) == (size > room ? 431 : done));
        }
        CHECK(request(GET "X: " + std::string(room + 999, 'a'), usual) == 431);
        CHECK(request(GET + std::string(room + 999, 'a'), usual) == 431);
    }
    SUBCASE("fields: 431") {
        for (std::size_t count : {1u, 9u, 10u, 11u}) {
            std::string input = GET;
            for (std::size_t n = 1; n < count; ++n) input += "X: y\r\n";
            CHECK(request(input + "\r\n", {999, 99, 10}) == (count > 10 ? 431 : done));
        }
        CHECK(request(GET "X", {999, 99, 1}) == 431);
        CHECK(request(GET, {999, 99, 1}) == more);
        CHECK(request(OLD "\r\n", {999, 99, 0}) == done);
        CHECK(request(OLD "X: y" END, {999, 99, 0}) == 431);
        // Its Host is one more (9112 3.2.2): without it others would be asked than were meant.
        CHECK(request("GET http://b/ HTTP/1.0\r\nX: y" END, {999, 99, 2}) == done);
        CHECK(request("GET http://b/ HTTP/1.0\r\nX: y" END, {999, 99, 1}) == 431);
    }
    SUBCASE("a response: 431 tells that it was too large") {
        const std::string input = "HTTP/1.1 200 OK\r\nX: y\r\n\r\n";
        CHECK(response(input, {input.size(), 0, 1}) == done);
        CHECK(response(input, {input.size() - 1, 0, 1}) == 431);
        CHECK(response(input, {input.size(), 0, 0}) == 431);
        CHECK(response("HTTP/1.1 200 " + std::string(99, 'a'), {99, 0, 1}) == 431);
    }
}

TEST_CASE("parser: mutated heads get the same answer however they are cut") {
    std::mt19937 random(1);
    const auto below = [&](std::size_t bound) { return std::size_t(random()) % bound; };
    const std::string seeds[] = {
        std::string(POST) +
            "Transfer-Encoding: chunked\r\nConnection: close\r\nX:  a\tb \r\n\r\nrest",
        std::string(GET) + "Content-Length: 5\r\nExpect: 100-continue\r\n\r\nhello",
        "\r\nOPTIONS http://a:80/b?c HTTP/1.0\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    };
    const string_view tokens[] = {"\r\n", "\r",   "\n",   " ", "\t", ":",       "\0"sv,
                                  ",",    "\x7f", "\xff", "a", "0",  "\r\n\r\n"};
    for (int round = 0; round < 3000; ++round) {
        std::string input = seeds[below(3)];
        for (std::size_t n = below(3) + 1; n > 0; --n) {
            const string_view token = tokens[below(std::size(tokens))];
            input.replace(below(input.size()), below(3), token);
        }
        answer<request_kind>(input, {200, 40, 6});
    }
}

/// The twin of usual_bytes.
unsigned usual_bytes_scalar(const char* at, unsigned char wanted) {
    unsigned bits = 0;
    for (unsigned n = 0; n < 16; ++n) bits |= static_cast<unsigned>(is(at[n], wanted)) << n;
    return bits;
}

TEST_CASE("parser: sixteen bytes at once and one at a time agree") {
    std::mt19937 random(2);
    std::string bytes(80, ' ');
    const auto compare = [&](auto wanted_constant) {
        constexpr unsigned char wanted = decltype(wanted_constant)::value;
        for (int round = 0; round < 20'000; ++round) {
            // few other bytes in a round, so that runs of every length occur
            for (char& c : bytes)
                c = random() % 24 ? "abcXYZ0189-_. /;\t"[random() % 17]
                                  : static_cast<char>(random());
            const char* const end = bytes.data() + bytes.size();
            for (const char* at = bytes.data(); at + 16 <= end; ++at) {
                const unsigned fast = usual_bytes<wanted>(at);
                const unsigned exact = usual_bytes_scalar(at, wanted);
                REQUIRE((fast & ~exact) == 0); // fewer may be usual: the others are looked at again
            }
            const char* one = bytes.data();
            while (one != end && is(*one, wanted)) ++one;
            REQUIRE(first_not<wanted>(bytes.data(), end) == one);
        }
    };
    compare(std::integral_constant<unsigned char, token_byte>());
    compare(std::integral_constant<unsigned char, value_byte>());
    compare(std::integral_constant<unsigned char, target_byte>());
    compare(std::integral_constant<unsigned char, host_byte>());
    // every byte alone, so that none of the 256 depends on luck
    for (int c = 0; c < 256; ++c) {
        const char byte = static_cast<char>(c);
        const std::string same(16, byte);
        CAPTURE(c);
        CHECK(is(byte, value_byte) == ((c >= 0x20 && c != 0x7f) || c == '\t'));
        CHECK(is(byte, target_byte) == (c > 0x20 && c < 0x7f && c != '#'));
        CHECK(is(byte, token_byte) == uds_http::detail::is_token(string_view(&byte, 1)));
        CHECK(usual_bytes<target_byte>(same.data()) == (is(byte, target_byte) ? 0xffff : 0));
        if (is(byte, value_byte) && c < 0x80 && c != '\t')
            CHECK(usual_bytes<value_byte>(same.data()) == 0xffff);
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-')
            CHECK(usual_bytes<token_byte>(same.data()) == 0xffff);
        if (!is(byte, value_byte)) CHECK(usual_bytes<value_byte>(same.data()) == 0);
        if (!is(byte, token_byte)) CHECK(usual_bytes<token_byte>(same.data()) == 0);
    }
}

namespace {

struct body_row {
    const char* name;
    string_view wire, body;
    int status; // done, more, or 400 for bad
    string_view rest = {}, trailers = {};
};

struct decoded {
    std::string body, rest, trailers;
    int status = more;
};

/// Feeds `wire` in segments that end behind the bytes `cut` and behind the last one; 0: after each.
decoded decode(framing how, std::uint64_t length, string_view wire, std::size_t cut) {
    guarded memory(wire.size());
    body_decoder decoder;
    decoder.start(how, length);
    decoded out;
    parsed got = parsed::more;
    std::size_t at = 0;
    do {
        const std::size_t size = cut == 0 ? 1 : at < cut ? cut - at : wire.size() - at;
        string_view in = memory(wire.substr(at, size)), piece;
        at += in.size();
        do {
            const std::size_t before = in.size();
            got = decoder.next(in, piece);
            out.body += piece;
            const bool is_moving = in.size() < before || before == 0 || got != parsed::more;
            REQUIRE(is_moving);
        } while (got == parsed::more && !in.empty());
        out.rest = in;
    } while (got == parsed::more && at < wire.size());
    out.rest += wire.substr(at);
    out.trailers = decoder.trailers();
    out.status = got == parsed::done ? done : got == parsed::more ? more : 400;
    CHECK((out.status == 400) == (decoder.why() != nullptr));
    if (out.status == done) {
        string_view in = "more", piece;
        CHECK(decoder.next(in, piece) == parsed::done);
        CHECK(in == "more");
        CHECK(piece.empty());
    }
    return out;
}

void check_body(framing how, std::uint64_t length, const body_row& r) {
    CAPTURE(std::string(r.name));
    for (std::size_t cut = 0; cut <= r.wire.size(); ++cut) {
        CAPTURE(cut);
        const decoded got = decode(how, length, r.wire, cut);
        CHECK(got.status == r.status);
        CHECK(got.body == r.body);
        if (got.status == done) CHECK(got.rest == r.rest);
        if (got.status == done) CHECK(got.trailers == r.trailers);
    }
}

#define LAST "0\r\n\r\n"

const body_row chunk_rows[] = {
    {"9112 7.1: no chunk but the last", LAST ""sv, "", done},
    {"nothing yet", ""sv, "", more},
    {"one chunk", "5\r\nhello\r\n" LAST ""sv, "hello", done},
    {"several chunks", "5\r\nhello\r\n1\r\n \r\n5\r\nworld\r\n" LAST ""sv, "hello world", done},
    {"what follows is left", "1\r\na\r\n" LAST "GET /"sv, "a", done, "GET /"},
    {"a chunk may hold what looks like another", "7\r\n0\r\n\r\n\r\n\r\n" LAST ""sv,
     "0\r\n\r\n\r\n", done},
    {"small hex digits", "a\r\n0123456789\r\n" LAST ""sv, "0123456789", done},
    {"capital hex digits", "A\r\n0123456789\r\n" LAST ""sv, "0123456789", done},
    {"two digits", "10\r\n0123456789abcdef\r\n" LAST ""sv, "0123456789abcdef", done},
    {"leading zeros", "005\r\nhello\r\n" LAST ""sv, "hello", done},
    {"a last chunk of several zeros", "000\r\n\r\n"sv, "", done},
    {"sixteen digits", "0000000000000005\r\nhello\r\n" LAST ""sv, "hello", done},
    {"seventeen digits are bad", "00000000000000005\r\nhello\r\n" LAST ""sv, "", 400},
    {"the greatest size", "7fffffffffffffff\r\nabc"sv, "abc", more},
    {"one more is bad", "8000000000000000\r\nabc"sv, "", 400},
    {"2^64 - 1 is bad", "ffffffffffffffff\r\nabc"sv, "", 400},
    {"2^64 + 5 is bad", "10000000000000005\r\nhello"sv, "", 400},
    {"an empty size is bad", "\r\nhello\r\n" LAST ""sv, "", 400},
    {"an extension without a size is bad", ";a\r\nhello\r\n"sv, "", 400},
    {"a plus sign is bad", "+5\r\nhello\r\n" LAST ""sv, "", 400},
    {"a minus sign is bad", "-5\r\nhello\r\n" LAST ""sv, "", 400},
    {"0x is bad", "0x5\r\nhello\r\n" LAST ""sv, "", 400},
    {"a letter beyond f is bad", "g\r\nhello\r\n" LAST ""sv, "", 400},
    {"a letter behind the size is bad", "5h\r\nhello\r\n" LAST ""sv, "", 400},
    {"a space before the size is bad", " 5\r\nhello\r\n" LAST ""sv, "", 400},
    {"a space behind the size is bad", "5 \r\nhello\r\n" LAST ""sv, "", 400},
    {"a tab behind the size is bad", "5\t\r\nhello\r\n" LAST ""sv, "", 400},
    {"two sizes are bad", "5 5\r\nhello\r\n" LAST ""sv, "", 400},
    {"an underscore is bad", "1_0\r\nhello\r\n" LAST ""sv, "", 400},
    {"a comma is bad", "5,5\r\nhello\r\n" LAST ""sv, "", 400},
    {"NUL behind the size is bad", "5\0\r\nhello\r\n" LAST ""sv, "", 400},
    {"obs-text behind the size is bad", "5\xa0\r\nhello\r\n" LAST ""sv, "", 400},
    {"a bare LF behind the size is bad", "5\nhello\r\n" LAST ""sv, "", 400},
    {"a bare CR behind the size is bad", "5\rhello\r\n" LAST ""sv, "", 400},
    {"CR CR LF behind the size is bad", "5\r\r\nhello\r\n" LAST ""sv, "", 400},
    {"no CR LF behind the data is bad", "5\r\nhello5\r\nworld\r\n" LAST ""sv, "hello", 400},
    {"data longer than its size is bad", "5\r\nhello!\r\n" LAST ""sv, "hello", 400},
    {"data shorter than its size is bad", "5\r\nhell\r\n" LAST ""sv, "hell\r", 400},
    {"a bare LF behind the data is bad", "5\r\nhello\n" LAST ""sv, "hello", 400},
    {"a bare CR behind the data is bad", "5\r\nhello\r" LAST ""sv, "hello", 400},
    {"two bytes behind the data that aren't CR LF are bad", "5\r\nhelloXX" LAST ""sv, "hello", 400},
    {"a bare LF behind the last chunk is bad", "0\n\r\n"sv, "", 400},
    {"a bare LF as its empty line is bad", "0\r\n\n"sv, "", 400},
    {"a bare CR as its empty line is bad", "0\r\n\rX\n"sv, "", 400},
    {"data cut off is more", "5\r\nhel"sv, "hel", more},
    {"a missing last chunk is more", "5\r\nhello\r\n"sv, "hello", more},
    {"a missing empty line is more", "5\r\nhello\r\n0\r\n"sv, "hello", more},
    {"half of it is more", "0\r\n\r"sv, "", more},
    {"9112 7.1.1: an extension", "5;a\r\nhello\r\n" LAST ""sv, "hello", done},
    {"with a value", "5;a=b\r\nhello\r\n" LAST ""sv, "hello", done},
    {"with white space", "5 ; a\t= b\r\nhello\r\n" LAST ""sv, "hello", done},
    {"several", "5;a;b=c;d=\"e\"\r\nhello\r\n" LAST ""sv, "hello", done},
    {"of the last chunk", "0;a=b\r\n\r\n"sv, "", done},
    {"a semicolon and a CR in quotes is bad", "5;a=\";\r\"\r\nhello\r\n" LAST ""sv, "", 400},
    {"a semicolon in quotes", "5;a=\";b;\"\r\nhello\r\n" LAST ""sv, "hello", done},
    {"an escaped quote", "5;a=\"\\\"\"\r\nhello\r\n" LAST ""sv, "hello", done},
    {"an escaped backslash", "5;a=\"\\\\\"\r\nhello\r\n" LAST ""sv, "hello", done},
    {"obs-text and a tab in quotes", "5;a=\"\xe9\t\"\r\nhello\r\n" LAST ""sv, "hello", done},
    {"CR LF in quotes is bad", "5;a=\"\r\n\"\r\nhello\r\n" LAST ""sv, "", 400},
    {"LF in quotes is bad", "5;a=\"\n\"\r\nhello\r\n" LAST ""sv, "", 400},
    {"an escaped CR is bad", "5;a=\"\\\r\"\r\nhello\r\n" LAST ""sv, "", 400},
    {"an escaped LF is bad", "5;a=\"\\\n\"\r\nhello\r\n" LAST ""sv, "", 400},
    {"NUL in quotes is bad", "5;a=\"\0\"\r\nhello\r\n" LAST ""sv, "", 400},
    {"DEL in quotes is bad", "5;a=\"\x7f\"\r\nhello\r\n" LAST ""sv, "", 400},
    {"quotes left open are bad", "5;a=\"b\r\nhello\r\n" LAST ""sv, "", 400},
    {"a bare LF behind an extension is bad", "5;a\nhello\r\n" LAST ""sv, "", 400},
    {"a bare CR behind an extension is bad", "5;a\rhello\r\n" LAST ""sv, "", 400},
    {"NUL in an extension is bad", "5;a\0\r\nhello\r\n" LAST ""sv, "", 400},
    {"a vertical tab in an extension is bad", "5;a\v\r\nhello\r\n" LAST ""sv, "", 400},
    {"DEL in an extension is bad", "5;a\x7f\r\nhello\r\n" LAST ""sv, "", 400},
    {"obs-text outside of quotes is bad", "5;a=\xe9\r\nhello\r\n" LAST ""sv, "", 400},
    {"a slash outside of quotes is bad", "5;a=b/c\r\nhello\r\n" LAST ""sv, "", 400},
    {"9112 7.1.1: an extension without a name is bad", "5;\r\nhello\r\n" LAST ""sv, "", 400},
    {"one of a blank is bad", "5; \r\nhello\r\n" LAST ""sv, "", 400},
    {"a second one without a name is bad", "5;a;\r\nhello\r\n" LAST ""sv, "", 400},
    {"a first one without a name is bad", "5;;a\r\nhello\r\n" LAST ""sv, "", 400},
    {"a value without a name is bad", "5;=b\r\nhello\r\n" LAST ""sv, "", 400},
    {"an empty value is bad", "5;a=\r\nhello\r\n" LAST ""sv, "", 400},
    {"an empty value before another is bad", "5;a=;b\r\nhello\r\n" LAST ""sv, "", 400},
    {"an empty quoted value", "5;a=\"\"\r\nhello\r\n" LAST ""sv, "hello", done},
    {"two values are bad", "5;a=b=c\r\nhello\r\n" LAST ""sv, "", 400},
    {"two signs are bad", "5;a==b\r\nhello\r\n" LAST ""sv, "", 400},
    {"two names are bad", "5;a b\r\nhello\r\n" LAST ""sv, "", 400},
    {"a value of two words is bad", "5;a=b c\r\nhello\r\n" LAST ""sv, "", 400},
    {"a quoted name is bad", "5;\"a\"\r\nhello\r\n" LAST ""sv, "", 400},
    {"letters behind quotes are bad", "5;a=\"b\"c\r\nhello\r\n" LAST ""sv, "", 400},
    {"letters before quotes are bad", "5;a=b\"c\"\r\nhello\r\n" LAST ""sv, "", 400},
    {"a sign behind the size is bad", "5=a\r\nhello\r\n" LAST ""sv, "", 400},
    {"white space behind a name is bad", "5;a \r\nhello\r\n" LAST ""sv, "", 400},
    {"white space behind a value is bad", "5;a=b\t\r\nhello\r\n" LAST ""sv, "", 400},
    {"white space behind quotes is bad", "5;a=\"b\" \r\nhello\r\n" LAST ""sv, "", 400},
    {"white space and another behind quotes", "5;a=\"b\" ; c\r\nhello\r\n" LAST ""sv, "hello",
     done},
    {"of the last chunk it needs a name too", "0;\r\n\r\n"sv, "", 400},
    {"an extension without semicolon is bad", "5 a=b\r\nhello\r\n" LAST ""sv, "", 400},
    {"9112 7.1.2: trailers", "0\r\nA: b\r\nC:d\r\n\r\nrest"sv, "", done, "rest", "A: b\r\nC:d\r\n"},
    {"trailers behind data", "1\r\na\r\n0\r\nA: b\r\n\r\n"sv, "a", done, "", "A: b\r\n"},
    {"an empty trailer value", "0\r\nA:\r\n\r\n"sv, "", done, "", "A:\r\n"},
    {"tabs and obs-text in a trailer", "0\r\nA: b\tc\xe9\r\n\r\n"sv, "", done, "",
     "A: b\tc\xe9\r\n"},
    {"an incomplete trailer is more", "0\r\nA: b"sv, "", more},
    {"a trailer without the end is more", "0\r\nA: b\r\n"sv, "", more},
    {"a trailer with a bare LF is bad", "0\r\nA: b\n\r\n"sv, "", 400},
    {"a trailer with a bare CR is bad", "0\r\nA: b\rc\r\n\r\n"sv, "", 400},
    {"a trailer without a colon is bad", "0\r\nA\r\n\r\n"sv, "", 400},
    {"a trailer with an empty name is bad", "0\r\n: b\r\n\r\n"sv, "", 400},
    {"a trailer with a space before the colon is bad", "0\r\nA : b\r\n\r\n"sv, "", 400},
    {"a folded trailer is bad", "0\r\nA: b\r\n c\r\n\r\n"sv, "", 400},
    {"a trailer with NUL is bad", "0\r\nA: \0\r\n\r\n"sv, "", 400},
    {"a request instead of a trailer is bad", "0\r\nGET / HTTP/1.1\r\n\r\n"sv, "", 400},
    {"9110 6.5.1: Content-Length may not trail", "0\r\nContent-Length: 5\r\n\r\n"sv, "", 400},
    {"9110 6.5.1: Transfer-Encoding may not trail", "0\r\ntransfer-encoding: chunked\r\n\r\n"sv, "",
     400},
    {"9110 6.5.1: Host may not trail", "0\r\nHOST: a\r\n\r\n"sv, "", 400},
    {"9110 6.5.1: Connection may not trail", "0\r\nConnection: close\r\n\r\n"sv, "", 400},
    {"9110 6.5.1: Trailer may not trail", "0\r\nTrailer: a\r\n\r\n"sv, "", 400},
    {"9110 6.5.1: Authorization may not trail", "0\r\nAuthorization: a\r\n\r\n"sv, "", 400},
    {"9110 6.5.1: Set-Cookie may not trail", "0\r\nSet-Cookie: a\r\n\r\n"sv, "", 400},
    {"9110 6.5.1: Content-Type may not trail", "0\r\nContent-Type: a\r\n\r\n"sv, "", 400},
    {"9110 6.5.1: Upgrade may not trail", "0\r\nUpgrade: a\r\n\r\n"sv, "", 400},
    {"a forbidden trailer behind a good one is bad", "0\r\nA: b\r\nTE: x\r\n\r\n"sv, "", 400},
    {"9112 7.1: the data may hold every byte", "4\r\n\0\r\n\xff\r\n" LAST ""sv, "\0\r\n\xff"sv,
     done},
    {"9112 7.1: a chunk size of zeros and a digit", "0000001\r\na\r\n" LAST ""sv, "a", done},
    {"9112 7.1.1: NUL before an extension is bad", "5\0;a\r\nhello\r\n" LAST ""sv, "", 400},
    {"9112 7.1.1: an escape at the end of quotes is bad", "5;a=\"\\\r\nhello\r\n" LAST ""sv, "",
     400},
    {"9112 7.1.2: a folded first trailer is bad", "0\r\n A: b\r\n\r\n"sv, "", 400},
    {"9112 7.1.2: a trailer may not end the stream", "0\r\nA: b\r\n\r"sv, "", more},
    {"9110 6.5.1: Content-Range may not trail", "0\r\nContent-Range: a\r\n\r\n"sv, "", 400},
    {"9110 6.5.1: Expect may not trail", "0\r\nexpect: a\r\n\r\n"sv, "", 400},
    {"9110 6.5.1: conditions may not trail", "0\r\nIf-None-Match: *\r\n\r\n"sv, "", 400},
    {"9110 6.5.1: control of the response may not", "0\r\nLocation: /\r\n\r\n"sv, "", 400},
    {"nor may a body's descriptor", "0\r\nBody-Fd: length=1\r\n\r\n"sv, "", 400},
    {"9110 6.5: what is computed on the way may", "0\r\nETag: a\r\n\r\n"sv, "", done, "",
     "ETag: a\r\n"},
};

std::string extension(std::size_t size) { return ";" + std::string(size - 1, 'a'); }

int chunk_status(const std::string& wire) {
    const int whole = decode(framing::chunked, 0, wire, wire.size()).status;
    CHECK(decode(framing::chunked, 0, wire, 0).status == whole);
    return whole;
}

} // namespace

TEST_CASE("parser: chunks") {
    for (const body_row& r : chunk_rows) check_body(framing::chunked, 0, r);
}

TEST_CASE("parser: bodies that aren't chunked") {
    check_body(framing::none, 0, {"no body", "GET /"sv, "", done, "GET /"});
    check_body(framing::length, 0, {"a length of zero", "GET /"sv, "", done, "GET /"});
    check_body(framing::length, 5, {"a length", "helloGET /"sv, "hello", done, "GET /"});
    check_body(framing::length, 5, {"cut off", "hell"sv, "hell", more});
    check_body(framing::length, 5, {"exactly", "hello"sv, "hello", done});
    check_body(framing::until_close, 0, {"until the end", "hello"sv, "hello", more});
    body_decoder decoder;
    decoder.start(framing::until_close, 0);
    CHECK(decoder.ends_at_eof());
    decoder.start(framing::length, 5);
    CHECK_FALSE(decoder.ends_at_eof());
    decoder.start(framing::chunked, 0);
    CHECK_FALSE(decoder.ends_at_eof());
}

TEST_CASE("parser: a decoder is used again") {
    body_decoder decoder;
    string_view in = "0\r\nA: b\r\n\r\n", piece;
    decoder.start(framing::chunked, 0);
    CHECK(decoder.next(in, piece) == parsed::done);
    decoder.start(framing::chunked, 0);
    CHECK(decoder.trailers().empty());
    in = "x";
    CHECK(decoder.next(in, piece) == parsed::bad);
    CHECK(decoder.next(in, piece) == parsed::bad);
    decoder.start(framing::length, 1);
    CHECK(decoder.why() == nullptr);
    in = "ab";
    CHECK(decoder.next(in, piece) == parsed::done);
    CHECK(piece == "a");
    CHECK(in == "b");
}

TEST_CASE("parser: a trailer goes where Connection names it, in this message") {
    using uds_http::headers;
    const headers named{{"Trailer", "x-sum"}, {"connection", "x-hop"}}, plain{{"Trailer", "x-hop"}};
    body_decoder decoder;
    for (const headers* of : {&named, &plain, static_cast<const headers*>(nullptr)}) {
        string_view in = "0\r\nX-Sum: 1\r\nX-Hop: 2\r\n\r\n", piece;
        decoder.start(framing::chunked, 0, usual, of);
        CHECK(decoder.next(in, piece) == parsed::done);
        CHECK(decoder.trailers() == (of == &named ? "X-Sum: 1\r\n" : "X-Sum: 1\r\nX-Hop: 2\r\n"));
    }
}

TEST_CASE("parser: each of many trailers is looked for among few that Connection names") {
    for (std::size_t size : {255u, 256u}) { // and a comma
        CAPTURE(size);
        const uds_http::headers named{{"Connection", std::string(size, 'x')}};
        string_view in = "0\r\nX-Sum: 1\r\n\r\n", piece;
        body_decoder decoder;
        decoder.start(framing::chunked, 0, usual, &named);
        CHECK(decoder.next(in, piece) == parsed::done);
        CHECK(decoder.trailers() == (size < 256 ? "X-Sum: 1\r\n" : ""));
    }
}

TEST_CASE("parser: an escape in a host is read no further than the host") {
    guarded memory(9);
    for (string_view text : {"a%41", "%4f:1", "%ffff"}) {
        CAPTURE(text);
        CHECK(is_authority(text.substr(0, text.find('%') + 3)));
        CHECK_FALSE(is_authority(memory(text.substr(0, text.find('%') + 2))));
        CHECK_FALSE(is_authority(memory(text.substr(0, text.find('%') + 1))));
    }
}

TEST_CASE("parser: limits of chunked bodies, one under, at, one over") {
    for (std::size_t size : {4095u, 4096u, 4097u}) {
        const int expected = size > 4096 ? 400 : done;
        CHECK(chunk_status("1" + extension(size) + "\r\na\r\n" LAST) == expected);
        CHECK(chunk_status("0" + extension(size) + "\r\n\r\n") == expected);
    }
    // RFC 9112 7.1.1 asks for a bound on all extensions together; a chunk earns what it carries
    std::string earned, spent;
    for (int n = 0; n < 400; ++n) {
        earned += "10" + extension(16) + "\r\n0123456789abcdef\r\n";
        spent += "10" + extension(32) + "\r\n0123456789abcdef\r\n";
    }
    CHECK(chunk_status(earned + LAST) == done);
    CHECK(chunk_status(spent + LAST) == 400);
    for (std::size_t size : {8191u, 8192u, 8193u}) {
        const std::string trailer = "A: " + std::string(size - 7, 'b') + "\r\n";
        CHECK(chunk_status("0\r\n" + trailer + "\r\n") == (size > 8192 ? 400 : done));
    }
    CHECK(chunk_status("0\r\n" + std::string(8193, 'b')) == 400);
}

TEST_CASE("parser: trailers beyond the bounds of a head have the same fault however they are cut") {
    const std::string x(60, 'x'), last = "0\r\n";
    struct {
        const char* name;
        std::string wire;
        const char* why; // a part of it; null: whole
    } const bound_rows[] = {
        {"at the bound", last + "A: " + x.substr(3) + "\r\n\r\n", nullptr},
        {"over it", last + "A: " + x.substr(2) + "\r\n\r\n", "too long"},
        {"over it in the first line", last + "A: " + x + "\r\n\r\n", "too long"},
        {"full before the last", last + "A: " + x.substr(5) + "\r\nB:\r\n\r\n", "too long"},
        {"forbidden and over", last + "Host: " + x + "\r\n\r\n", "too long"},
        {"a bad byte before it", last + "A: \1" + x + "\r\n\r\n", "may not stand"},
        {"a bad byte behind it", last + "AB: " + x + "\1\r\n\r\n", "too long"},
        {"as many as may be", last + "A:\r\nB:\r\nC:\r\n\r\n", nullptr},
        {"one more", last + "A:\r\nB:\r\nC:\r\nD:\r\n\r\n", "too many"},
        {"one more, forbidden", last + "A:\r\nB:\r\nC:\r\nHost:\r\n\r\n", "forbidden"},
    };
    for (const auto& r : bound_rows) {
        CAPTURE(std::string(r.name));
        for (std::size_t step = 1; step <= r.wire.size(); ++step) {
            CAPTURE(step);
            body_decoder decoder;
            decoder.start(framing::chunked, 0, {64, 0, 3});
            parsed got = parsed::more;
            for (std::size_t at = 0; got == parsed::more && at < r.wire.size(); at += step) {
                string_view in = string_view(r.wire).substr(at, step), piece;
                while (got == parsed::more && !in.empty()) got = decoder.next(in, piece);
            }
            CHECK(got == (r.why ? parsed::bad : parsed::done));
            const string_view why = decoder.why() ? decoder.why() : "";
            CHECK_MESSAGE(why.find(r.why ? r.why : "") != why.npos, std::string(why));
        }
    }
}

TEST_CASE("parser: mutated chunks get the same answer however they are cut") {
    std::mt19937 random(3);
    const auto below = [&](std::size_t bound) { return std::size_t(random()) % bound; };
    const string_view tokens[] = {"\r\n", "\r", "\n", ";", "\"", "0", "f", "\0"sv, "\\", " "};
    for (int round = 0; round < 3000; ++round) {
        std::string wire = "5;a=\"b\"\r\nhello\r\n3\r\nabc\r\n0\r\nA: b\r\n\r\nrest";
        wire.replace(below(wire.size()), below(3), tokens[below(std::size(tokens))]);
        const decoded whole = decode(framing::chunked, 0, wire, wire.size());
        for (std::size_t cut = 0; cut < wire.size(); ++cut) {
            const decoded part = decode(framing::chunked, 0, wire, cut);
            REQUIRE(part.status == whole.status);
            REQUIRE(part.body == whole.body);
            REQUIRE((part.status != done || part.rest == whole.rest));
        }
    }
}

TEST_CASE("parser: the fields of trailers") {
    uds_http::headers out;
    CHECK(parse_trailers("A: b\r\nC:d \r\nE:\r\n", out));
    CHECK(out.get("a") == "b");
    CHECK(out.get("c") == "d");
    CHECK(out.contains("e"));
    uds_http::headers none;
    CHECK(parse_trailers("", none));
    CHECK(none.begin() == none.end());
    CHECK_FALSE(parse_trailers("A: b", none));
    CHECK_FALSE(parse_trailers("A b\r\n", none));
}

} // namespace parser_test
