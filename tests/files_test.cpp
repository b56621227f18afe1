// SPDX-License-Identifier: MIT
// [14] FILES: dates, ranges and conditions in rows; then a folder with everything in it that could
// lead out of it or block.
#include "raw_client.hpp"
#include "uds_http.hpp"

#include <doctest/doctest.h>

#include <random>
#include <sys/resource.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <thread>

using namespace uds_http::detail;
using namespace std::literals;
using std::string_view;
using uds_http::field;
using uds_http::headers;
using uds_http::request;
using uds_http::response;
using uds_http::unique_fd;

namespace {

constexpr std::time_t now_2026 = 1'790'000'000; // 21 September 2026
constexpr std::time_t example = 784'111'777;    // that of RFC 9110 5.6.7
constexpr std::time_t no_date = -1;

/// A folder of its own, gone with its content at the end.
class scratch {
public:
    scratch() {
        path_ = "/tmp/files_test." + std::string(6, 'X'); // mkdtemp(3) fills them in
        REQUIRE(::mkdtemp(&path_[0]) != nullptr);
    }
    scratch(const scratch&) = delete;
    scratch& operator=(const scratch&) = delete;
    ~scratch() {
        ::setenv("FILES_TEST_SCRATCH", path_.c_str(), 1);
        if (std::system("rm -rf -- \"$FILES_TEST_SCRATCH\"") != 0) std::perror("rm");
    }
    std::string at(string_view name) const { return path_ + "/" + std::string(name); }
    void folder(string_view name) const { REQUIRE(::mkdir(at(name).c_str(), 0755) == 0); }
    void link(const std::string& to, string_view name) const {
        REQUIRE(::symlink(to.c_str(), at(name).c_str()) == 0);
    }
    void file(string_view name, string_view bytes) const {
        unique_fd fd(::open(at(name).c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
        REQUIRE(fd);
        REQUIRE(::write(fd.get(), bytes.data(), bytes.size()) ==
                static_cast<ssize_t>(bytes.size()));
    }
    void touch(string_view name, std::time_t seconds, long nanoseconds = 0) const {
        const timespec times[2] = {{seconds, nanoseconds}, {seconds, nanoseconds}};
        REQUIRE(::utimensat(AT_FDCWD, at(name).c_str(), times, 0) == 0);
    }
    unique_fd root(string_view name = ".") const {
        auto opened = open_root(at(name));
        REQUIRE(opened);
        return std::move(*opened);
    }

private:
    std::string path_;
};

request asking(string_view method, std::initializer_list<field> fields = {}) {
    request req(method, "/");
    for (const field& f : fields) REQUIRE_FALSE(req.headers().add(f.name, f.value));
    return req;
}

/// The bytes that would go out.
std::string sent(const response& res) {
    const uds_http::content& body = access::of(res).body;
    if (access::of(body).kind != access::kind::file) return std::string(bytes_of(body));
    const source& from = *access::of(body).from;
    std::string bytes(from.length.value(), '\0');
    CHECK(::pread(from.file.get(), &bytes[0], bytes.size(), static_cast<off_t>(from.offset)) ==
          static_cast<ssize_t>(bytes.size()));
    return bytes;
}

} // namespace

// Dates -------------------------------------------------------------------------------------------

namespace {

struct date_row {
    string_view text;
    std::time_t is; // no_date: none
};

constexpr date_row date_rows[] = {
    {"Sun, 06 Nov 1994 08:49:37 GMT", example},
    {"Sunday, 06-Nov-94 08:49:37 GMT", example},
    {"Sun Nov  6 08:49:37 1994", example},
    {"Sun Nov 06 08:49:37 1994", example}, // date3 = month SP (2DIGIT / SP DIGIT)
    {"Wed Nov 16 08:49:37 1994", example + 10 * 86'400},
    {"Wednesday, 16-Nov-94 08:49:37 GMT", example + 10 * 86'400},
    {"Thu, 01 Jan 1970 00:00:00 GMT", 0},
    {"Thu Jan  1 00:00:00 1970", 0},
    {"Wed, 31 Dec 1969 23:59:58 GMT", -2},
    {"Thu, 29 Feb 2024 00:00:00 GMT", 1'709'164'800},
    {"Tue, 29 Feb 2000 23:59:59 GMT", 951'868'799},
    {"Fri, 31 Dec 9999 23:59:59 GMT", 253'402'300'799},
    // Two digits of a year: at most 50 years ahead, else the last such year.
    {"Tuesday, 01-Sep-26 00:00:00 GMT", 1'788'220'800},
    {"Wednesday, 01-Jan-76 00:00:00 GMT", 3'345'062'400}, // 2076
    {"Saturday, 01-Jan-77 00:00:00 GMT", 220'924'800},    // 1977
    {"Tuesday, 01-Sep-76 00:00:00 GMT", 3'366'144'000},   // now in 2076
    {"Wednesday, 22-Sep-76 00:00:00 GMT", 212'198'400},   // in 1976: a day too far ahead
    {"Tuesday, 22-Sep-76 00:00:00 GMT", no_date},         // so it would be in 2076
    {"Friday, 01-Jan-77 00:00:00 GMT", no_date},          // so it would be in 2077
    {"Saturday, 01-Jan-00 00:00:00 GMT", 946'684'800},
    // Not dates:
    {"", no_date},
    {"0", no_date},
    {"784111777", no_date},
    {"Sun, 06 Nov 1994 08:49:37 UTC", no_date},
    {"Sun, 06 Nov 1994 08:49:37 gmt", no_date},
    {"Sun, 06 Nov 1994 08:49:37 GMT ", no_date},
    {" Sun, 06 Nov 1994 08:49:37 GMT", no_date},
    {"Sun, 06 Nov 1994 08:49:37 +0000", no_date},
    {"Sun, 06 Nov 1994 08:49:37", no_date},
    {"Sun, 6 Nov 1994 08:49:37 GMT", no_date},
    {"Sun,  6 Nov 1994 08:49:37 GMT", no_date},
    {"sun, 06 Nov 1994 08:49:37 GMT", no_date}, // case counts
    {"Sun, 06 NOV 1994 08:49:37 GMT", no_date},
    {"Mon, 06 Nov 1994 08:49:37 GMT", no_date}, // it was a Sunday
    {"Sun, 06-Nov-1994 08:49:37 GMT", no_date},
    {"Sun, 06 Nov 94 08:49:37 GMT", no_date},
    {"Sun, 00 Nov 1994 08:49:37 GMT", no_date},
    {"Wed, 31 Feb 2024 00:00:00 GMT", no_date},
    {"Sat, 02 Mar 2024 24:00:00 GMT", no_date},
    {"Thu, 29 Feb 2023 00:00:00 GMT", no_date},
    {"Sun, 06 Nov 1994 08:60:37 GMT", no_date},
    {"Sun, 06 Nov 1994 08:49:61 GMT", no_date},
    {"Sun, 06 Nov 1994 08:49:-7 GMT", no_date},
    {"Sun, 06 Nov 1994 08:49: 7 GMT", no_date},
    {"Sun, 06 Nov :994 08:49:37 GMT", no_date},
    {"Sun, 06 Nov -994 08:49:37 GMT", no_date},
    {"Sun, 06 Nvo 1994 08:49:37 GMT", no_date},
    {"Sun, 06 anF 1994 08:49:37 GMT", no_date},
    {"Sun, 06 Nov 1994 08-49-37 GMT", no_date},
    {"Sun, 06 Nov 1994 8:49:37 GMT", no_date},
    {"Sun; 06 Nov 1994 08:49:37 GMT", no_date},
    {"Sunday, 06-nov-94 08:49:37 GMT", no_date},
    {"Sunday, 06 Nov 94 08:49:37 GMT", no_date},
    {"Sunda, 06-Nov-94 08:49:37 GMT", no_date},
    {"Sun, 06-Nov-94 08:49:37 GMT", no_date},
    {"Sunday, 06-Nov-94 08:49:37 UTC", no_date},
    {"Sunday, 06-Nov-1994 08:49:37 GMT", no_date},
    {"Sun Nov 6 08:49:37 1994", no_date},
    {"Sun Nov  6 08:49:37 94  ", no_date},
    {"Sun Nov  6 08:49:37 1994 GMT", no_date},
    {"Sun  Nov 6 08:49:37 1994", no_date},
    {"Sun Nov 31 08:49:37 1994", no_date},
    {"Thu, 01 Jan 0000 00:00:00 GMT", no_date}, // a Saturday
    {"Mon, 01 Jan 1900 00:00:00 GMT", -2'208'988'800},
    {"Sun, 31 Dec 1899 23:59:59 GMT", no_date}, // too early for put_date
    {"Mon, 30 Nov 1615 00:00:00 GMT", no_date},
    {"Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT", no_date},
    {"Sun, 06 Nov 1994\00008:49:37 GMT"sv, no_date},
    {"\xff\xff\xff, \xff\xff Nov 1994 08:49:37 GMT", no_date},
};

} // namespace

TEST_CASE("files: HTTP dates") {
    for (const date_row& r : date_rows) {
        CAPTURE(r.text);
        CHECK(parse_date(r.text, now_2026).value_or(no_date) == r.is);
    }
}

TEST_CASE("files: what put_date writes, parse_date reads") {
    std::mt19937_64 random(1);
    for (int i = 0; i < 20'000; ++i) {
        auto when = static_cast<std::time_t>(random() % 253'402'300'800u);
        char text[29];
        put_date(text, when);
        REQUIRE(parse_date({text, sizeof text}, now_2026) == when);
    }
}

TEST_CASE("files: one byte changed makes another date or none") {
    std::mt19937 random(2);
    for (string_view original : {date_rows[0].text, date_rows[1].text, date_rows[2].text}) {
        for (int i = 0; i < 20'000; ++i) {
            std::string text(original);
            std::size_t at = random() % text.size();
            text[at] = static_cast<char>(random());
            if (text[at] == original[at]) continue;
            auto got = parse_date(text, now_2026);
            REQUIRE((!got || *got != example || text == date_rows[3].text));
        }
    }
}

// Ranges ------------------------------------------------------------------------------------------

namespace {

struct range_row {
    string_view value;
    std::uint64_t size;
    int status;
    std::uint64_t first = 0, length = 0; // of a 206
};

constexpr range_row range_rows[] = {
    {"bytes=0-0", 10, 206, 0, 1},
    {"bytes=0-9", 10, 206, 0, 10},
    {"bytes=0-10", 10, 206, 0, 10},
    {"bytes=9-9", 10, 206, 9, 1},
    {"bytes=9-", 10, 206, 9, 1},
    {"bytes=0-", 10, 206, 0, 10},
    {"bytes=3-5", 10, 206, 3, 3},
    {"bytes=003-0005", 10, 206, 3, 3}, // 1*DIGIT
    {"BYTES=3-5", 10, 206, 3, 3},      // RFC 9110 14.1: units without case
    {"bytes=-1", 10, 206, 9, 1},
    {"bytes=-9", 10, 206, 1, 9},
    {"bytes=-10", 10, 206, 0, 10},
    {"bytes=-11", 10, 206, 0, 10},
    {"bytes=10-", 10, 416},
    {"bytes=10-10", 10, 416},
    {"bytes=11-", 10, 416},
    {"bytes=-0", 10, 416},
    {"bytes=-000", 10, 416},
    {"bytes=0-", 0, 416},
    {"bytes=0-0", 0, 416},
    {"bytes=0-5", 0, 416},
    {"bytes=-0", 0, 416},
    {"bytes=-1", 0, 200}, // satisfiable, and no Content-Range can say it
    {"bytes=0-", 1, 206, 0, 1},
    {"bytes=1-", 1, 416},
    // Beyond 64 bits
    {"bytes=18446744073709551615-", 10, 416},
    {"bytes=18446744073709551616-", 10, 416},
    {"bytes=99999999999999999999999-99999999999999999999999", 10, 416},
    {"bytes=0-18446744073709551614", 10, 206, 0, 10},
    {"bytes=0-18446744073709551615", 10, 206, 0, 10},
    {"bytes=1-18446744073709551616", 10, 206, 1, 9},
    {"bytes=2-99999999999999999999999", 10, 206, 2, 8},
    {"bytes=-18446744073709551615", 10, 206, 0, 10},
    {"bytes=-99999999999999999999999", 10, 206, 0, 10},
    {"bytes=9223372036854775806-", INT64_MAX, 206, INT64_MAX - 1, 1},
    {"bytes=0-9223372036854775807", INT64_MAX, 206, 0, INT64_MAX},
    {"bytes=9223372036854775807-", INT64_MAX, 416},
    // Malformed, several, or another unit: RFC 9110 14.2 lets us send all of it
    {"", 10, 200},
    {"bytes", 10, 200},
    {"bytes=", 10, 200},
    {"bytes=-", 10, 200},
    {"bytes=5", 10, 200},
    {"bytes=5-3", 10, 200},
    {"bytes=--5", 10, 200},
    {"bytes=5--", 10, 200},
    {"bytes=3-5-7", 10, 200},
    {"bytes=+3-5", 10, 200},
    {"bytes=3-+5", 10, 200},
    {"bytes= 3-5", 10, 200},
    {"bytes =3-5", 10, 200},
    {"bytes=3 -5", 10, 200},
    {"bytes=3- 5", 10, 200},
    {"bytes=3-5 ", 10, 200},
    {"bytes=0x3-5", 10, 200},
    {"bytes=a-b", 10, 200},
    {"bytes:3-5", 10, 200},
    {"bytes3-5", 10, 200},
    {"items=3-5", 10, 200},
    {"none=3-5", 10, 200},
    {"=3-5", 10, 200},
    {"3-5", 10, 200},
    {"bytes=0-1,3-4", 10, 200},
    {"bytes=0-1, 3-4", 10, 200},
    {"bytes=3-5,", 10, 200},
    {"bytes=,3-5", 10, 200},
    {"bytes=20-30,40-50", 10, 200},
    {"bytes=3-5\0"sv, 10, 200},
    {"bytes=\xb2-\xb3", 10, 200},
};

} // namespace

TEST_CASE("files: ranges") {
    for (const range_row& r : range_rows) {
        CAPTURE(r.value);
        CAPTURE(r.size);
        byte_range got = parse_range(r.value, r.size);
        CHECK(got.status == r.status);
        if (r.status != 206) continue;
        CHECK(got.first == r.first);
        CHECK(got.length == r.length);
    }
}

TEST_CASE("files: no Range leads out of the file") {
    static constexpr string_view pieces[] = {"bytes=",
                                             "bytes=",
                                             "bytes=",
                                             "-",
                                             "-",
                                             ",",
                                             "0",
                                             "1",
                                             "9",
                                             "10",
                                             " ",
                                             "18446744073709551615",
                                             "9223372036854775807",
                                             "99999999999999999999",
                                             "x",
                                             "=",
                                             "+"};
    std::mt19937_64 random(3);
    const std::uint64_t sizes[] = {0, 1, 2, 10, 4096, 1u << 31, INT64_MAX, UINT64_MAX};
    for (int i = 0; i < 200'000; ++i) {
        std::string value(i % 2 ? "bytes=" : "");
        for (auto count = random() % 6; count > 0; --count)
            value += pieces[random() % std::size(pieces)];
        std::uint64_t size = sizes[random() % std::size(sizes)];
        CAPTURE(value);
        CAPTURE(size);
        byte_range got = parse_range(value, size);
        REQUIRE((got.status == 200 || got.status == 206 || got.status == 416));
        if (got.status == 200) REQUIRE((got.first == 0 && got.length == size));
        if (got.status != 206) continue;
        REQUIRE(got.length > 0);
        REQUIRE(got.first < size);
        REQUIRE(got.length <= size - got.first);
    }
}

// Conditions --------------------------------------------------------------------------------------

namespace {

struct tag_row {
    string_view list;
    bool strongly, weakly; // is "a" in it?
};

constexpr tag_row tag_rows[] = {
    {R"("a")", true, true},
    {R"(W/"a")", false, true},
    {R"(w/"a")", false, false}, // case counts
    {R"("A")", false, false},
    {R"(*)", true, true},
    {R"("x", "a")", true, true},
    {R"("x","a")", true, true},
    {R"("x" ,	"a" , "y")", true, true},
    {R"(,, "a",)", true, true},
    {R"("x", W/"a", "y")", false, true},
    {R"(W/"x", W/"y")", false, false},
    {R"("x,y", "a")", true, true},
    {R"("x,a,y")", false, false},
    {R"("W/"a"")", false, false},
    {R"(a)", false, false},
    {R"('a')", false, false},
    {R"("a)", false, false},
    {R"(a")", false, false},
    {R"("")", false, false},
    {R"()", false, false},
    {R"("a" "b")", false, false},
    {R"("*")", false, false},
    {R"("x", *)", false, false}, // "*" stands alone
    {R"(W/*)", false, false},
    {R"(W/ "a")", false, false},
};

struct condition_row {
    const char* name;
    string_view method;
    std::initializer_list<field> fields;
    int status;
};

// The file has the tag "a", and is of `example`; it is the second after the first of these.
constexpr const char* before = "Sun, 06 Nov 1994 08:49:36 GMT";
constexpr const char* same = "Sun, 06 Nov 1994 08:49:37 GMT";
constexpr const char* after = "Sun, 06 Nov 1994 08:49:38 GMT";
constexpr const char *tag = "\"a\"", *weak = "W/\"a\"", *other = "\"b\"";

const condition_row condition_rows[] = {
    {"no condition", "GET", {}, 200},
    // 13.1.1
    {"If-Match with the tag", "GET", {{"If-Match", tag}}, 200},
    {"If-Match with another", "GET", {{"If-Match", other}}, 412},
    {"If-Match compares strongly", "GET", {{"If-Match", weak}}, 412},
    {"If-Match: *", "GET", {{"If-Match", "*"}}, 200},
    {"If-Match in two fields", "GET", {{"If-Match", other}, {"if-match", tag}}, 200},
    {"If-Match that is empty", "GET", {{"If-Match", ""}}, 412},
    {"If-Match holds for every method", "PUT", {{"If-Match", other}}, 412},
    {"If-Match silences If-Unmodified-Since",
     "GET",
     {{"If-Match", tag}, {"If-Unmodified-Since", before}},
     200},
    // 13.1.4
    {"unmodified since the second before", "GET", {{"If-Unmodified-Since", before}}, 412},
    {"unmodified since its second", "GET", {{"If-Unmodified-Since", same}}, 200},
    {"unmodified since later", "GET", {{"If-Unmodified-Since", after}}, 200},
    {"unmodified since no date", "GET", {{"If-Unmodified-Since", "yesterday"}}, 200},
    {"unmodified since two dates",
     "GET",
     {{"If-Unmodified-Since", before}, {"If-Unmodified-Since", before}},
     200},
    {"unmodified since, in asctime's form",
     "GET",
     {{"If-Unmodified-Since", "Sun Nov  6 08:49:36 1994"}},
     412},
    {"unmodified since, for every method", "DELETE", {{"If-Unmodified-Since", before}}, 412},
    // 13.1.2
    {"If-None-Match with the tag", "GET", {{"If-None-Match", tag}}, 304},
    {"If-None-Match compares weakly", "GET", {{"If-None-Match", weak}}, 304},
    {"If-None-Match with another", "GET", {{"If-None-Match", other}}, 200},
    {"If-None-Match: *", "GET", {{"If-None-Match", "*"}}, 304},
    {"If-None-Match in two fields", "GET", {{"If-None-Match", other}, {"If-None-Match", tag}}, 304},
    {"If-None-Match that is empty", "GET", {{"If-None-Match", ""}}, 200},
    {"If-None-Match with HEAD", "HEAD", {{"If-None-Match", tag}}, 304},
    {"If-None-Match with another method", "POST", {{"If-None-Match", tag}}, 412},
    {"If-None-Match silences If-Modified-Since",
     "GET",
     {{"If-None-Match", other}, {"If-Modified-Since", after}},
     200},
    {"If-None-Match decides, not If-Modified-Since",
     "GET",
     {{"If-None-Match", tag}, {"If-Modified-Since", before}},
     304},
    // 13.1.3
    {"modified since the second before", "GET", {{"If-Modified-Since", before}}, 200},
    {"modified since its second", "GET", {{"If-Modified-Since", same}}, 304},
    {"modified since later", "GET", {{"If-Modified-Since", after}}, 304},
    {"modified since, in rfc850's form",
     "GET",
     {{"If-Modified-Since", "Sunday, 06-Nov-94 08:49:37 GMT"}},
     304},
    {"modified since, HEAD", "HEAD", {{"If-Modified-Since", same}}, 304},
    {"modified since, another method", "POST", {{"If-Modified-Since", same}}, 200},
    {"modified since no date", "GET", {{"If-Modified-Since", "Sun, 06 Nov 1994"}}, 200},
    {"modified since two dates",
     "GET",
     {{"If-Modified-Since", same}, {"If-Modified-Since", same}},
     200},
    // 13.2.2: the order
    {"a failed If-Match goes before If-None-Match",
     "GET",
     {{"If-None-Match", tag}, {"If-Match", other}},
     412},
    {"a held If-Match, then If-None-Match",
     "GET",
     {{"If-Match", tag}, {"If-None-Match", tag}},
     304},
    {"a failed If-Unmodified-Since goes before If-Modified-Since",
     "GET",
     {{"If-Modified-Since", same}, {"If-Unmodified-Since", before}},
     412},
};

} // namespace

TEST_CASE("files: lists of entity tags") {
    for (const tag_row& r : tag_rows) {
        CAPTURE(r.list);
        headers fields{{"X", "\"a\""}, {"If-Match", r.list}};
        CHECK(names_tag(fields, "if-match", "\"a\"", false) == r.strongly);
        CHECK(names_tag(fields, "If-Match", "\"a\"", true) == r.weakly);
        CHECK_FALSE(names_tag(fields, "If-None-Match", "\"a\"", true));
    }
}

TEST_CASE("files: conditions") {
    const validators v{"\"a\"", example, now_2026};
    for (const condition_row& r : condition_rows) {
        CAPTURE(r.name);
        CHECK(judge(r.method, asking(r.method, r.fields).headers(), v) == r.status);
    }
}

TEST_CASE("files: If-Range decides whether Range counts") {
    const validators v{"\"a\"", example, now_2026};
    struct row {
        const char* name;
        string_view method;
        std::initializer_list<field> fields;
        int status;
    };
    const field range{"Range", "bytes=3-5"}, beyond{"Range", "bytes=10-"};
    const row rows[] = {
        {"no If-Range", "GET", {range}, 206},
        {"HEAD has no ranges", "HEAD", {range}, 200},
        {"POST neither", "POST", {range}, 200},
        {"two Ranges are none", "GET", {range, range}, 200},
        {"the tag", "GET", {range, {"If-Range", tag}}, 206},
        {"another tag", "GET", {range, {"If-Range", other}}, 200},
        {"a weak tag", "GET", {range, {"If-Range", weak}}, 200},
        {"no list", "GET", {range, {"If-Range", "\"a\", \"b\""}}, 200},
        {"no star", "GET", {range, {"If-Range", "*"}}, 200},
        {"the date", "GET", {range, {"If-Range", same}}, 206},
        {"the date in an old form", "GET", {range, {"If-Range", "Sun Nov  6 08:49:37 1994"}}, 206},
        {"an earlier date", "GET", {range, {"If-Range", before}}, 200},
        {"a later date: exact, not since", "GET", {range, {"If-Range", after}}, 200},
        {"nonsense", "GET", {range, {"If-Range", "a"}}, 200},
        {"empty", "GET", {range, {"If-Range", ""}}, 200},
        {"twice", "GET", {range, {"If-Range", tag}, {"If-Range", tag}}, 200},
        {"out of reach", "GET", {beyond}, 416},
        {"out of reach of what has changed", "GET", {beyond, {"If-Range", other}}, 200},
        {"If-Range alone", "GET", {{"If-Range", tag}}, 200},
    };
    for (const row& r : rows) {
        CAPTURE(r.name);
        CHECK(range_of(asking(r.method, r.fields), v, 10).status == r.status);
    }
}

TEST_CASE("files: a date is no strong validator before its second is over") { // RFC 9110 8.8.2.2
    const request req = asking("GET", {{"Range", "bytes=3-5"}, {"If-Range", same}});
    CHECK(range_of(req, {"\"a\"", example, example}, 10).status == 200);
    CHECK(range_of(req, {"\"a\"", example, example - 1}, 10).status == 200);
    CHECK(range_of(req, {"\"a\"", example, example + 1}, 10).status == 206);
}

TEST_CASE("files: media types") {
    struct row {
        string_view name, type;
    };
    const row rows[] = {
        {"index.html", "text/html; charset=utf-8"},
        {"a.css", "text/css; charset=utf-8"},
        {"a.csv", "text/csv; charset=utf-8"},
        {"a.js", "text/javascript; charset=utf-8"},
        {"a.mjs", "text/javascript; charset=utf-8"},
        {"a.json", "application/json"},
        {"a.txt", "text/plain; charset=utf-8"},
        {"README.MD", "text/markdown; charset=utf-8"},
        {"a.svg", "image/svg+xml"},
        {"a.png", "image/png"},
        {"a.jpg", "image/jpeg"},
        {"a.jpeg", "image/jpeg"},
        {"a.gif", "image/gif"},
        {"a.webp", "image/webp"},
        {"a.ico", "image/vnd.microsoft.icon"},
        {"a.pdf", "application/pdf"},
        {"a.xml", "application/xml"},
        {"a.wasm", "application/wasm"},
        {"a.mp4", "video/mp4"},
        {"a.webm", "video/webm"},
        {"a.mp3", "audio/mpeg"},
        {"a.woff2", "font/woff2"},
        {"a.tar.gz", "application/gzip"},
        {"a.tar", "application/x-tar"},
        {"x/y.z/a.zip", "application/zip"},
        {".html", "text/html; charset=utf-8"},
        {"html", "application/octet-stream"},
        {"folder.html/a", "application/octet-stream"},
        {"a.", "application/octet-stream"},
        {"a.htm", "application/octet-stream"},
        {"a.html ", "application/octet-stream"},
        {"a.css text/css; charset=utf-8|csv", "application/octet-stream"},
        {"", "application/octet-stream"},
    };
    for (const row& r : rows) {
        CAPTURE(r.name);
        CHECK(media_type_of(r.name) == r.type);
    }
}

// One file ----------------------------------------------------------------------------------------

TEST_CASE("files: a whole file, a part of it, none of it") {
    scratch here;
    here.file("a.txt", "0123456789");
    here.touch("a.txt", example, 5);
    unique_fd root = here.root();

    response whole = serve_beneath(root.get(), asking("GET"), "a.txt");
    CHECK(whole.status() == 200);
    CHECK(whole.header("Content-Type") == "text/plain; charset=utf-8");
    CHECK(whole.header("Last-Modified") == same);
    CHECK(whole.header("Accept-Ranges") == "bytes");
    CHECK_FALSE(whole.headers().contains("Content-Range"));
    CHECK(access::of(access::of(whole).body).kind == access::kind::text); // read already: small
    CHECK(sent(whole) == "0123456789");
    std::string etag(whole.header("ETag"));
    CHECK(etag.substr(0, 3) == "\"a-");
    CHECK(etag.find("-2ebc98a100000005-") != std::string::npos);

    response part = serve_beneath(root.get(), asking("GET", {{"Range", "bytes=-3"}}), "a.txt");
    CHECK(part.status() == 206);
    CHECK(part.header("Content-Range") == "bytes 7-9/10");
    CHECK(part.header("ETag") == etag);
    CHECK(part.header("Last-Modified") == same);
    CHECK(part.header("Content-Type") == "text/plain; charset=utf-8");
    CHECK(sent(part) == "789");

    response beyond = serve_beneath(root.get(), asking("GET", {{"Range", "bytes=10-"}}), "a.txt");
    CHECK(beyond.status() == 416);
    CHECK(beyond.header("Content-Range") == "bytes */10");
    CHECK(access::of(access::of(beyond).body).kind != access::kind::file);

    response known = serve_beneath(root.get(), asking("GET", {{"If-None-Match", etag}}), "a.txt");
    CHECK(known.status() == 304);
    CHECK(known.header("ETag") == etag);
    CHECK(sent(known).empty());
    CHECK_FALSE(known.headers().contains("Content-Type"));
    CHECK(framing_fault(known.headers(), known_size(access::of(known).body), 304) == nullptr);

    request resumed = asking("GET", {{"Range", "bytes=4-5"}, {"If-Range", etag}});
    CHECK(sent(serve_beneath(root.get(), resumed, "a.txt")) == "45");
    request failing = asking("GET", {{"If-Match", "\"x\""}, {"Range", "bytes=4-5"}});
    CHECK(serve_beneath(root.get(), failing, "a.txt").status() == 412);

    response head = serve_beneath(root.get(), asking("HEAD", {{"Range", "bytes=4-5"}}), "a.txt");
    CHECK(head.status() == 200);
    CHECK(access::of(access::of(head).body).kind == access::kind::file); // not read for nothing
    CHECK(known_size(access::of(head).body) == 10); // Content-Length as of GET, RFC 9110 9.3.2
}

TEST_CASE("files: an empty file has an empty body") {
    scratch here;
    here.file("empty.json", "");
    unique_fd root = here.root();
    response res = serve_beneath(root.get(), asking("GET"), "empty.json");
    CHECK(res.status() == 200);
    CHECK(known_size(access::of(res).body) == 0);
    CHECK(access::of(access::of(res).body).kind == access::kind::text);
    CHECK(res.header("Content-Type") == "application/json");
    response part = serve_beneath(root.get(), asking("GET", {{"Range", "bytes=0-"}}), "empty.json");
    CHECK(part.status() == 416);
    CHECK(part.header("Content-Range") == "bytes */0");
}

TEST_CASE("files: a file beyond 4 GiB") {
    scratch here;
    here.file("big", "");
    constexpr off_t size = (off_t(1) << 32) + 2;
    REQUIRE(::truncate(here.at("big").c_str(), size) == 0);
    response res = serve_beneath(here.root().get(), asking("GET", {{"Range", "bytes=-3"}}), "big");
    CHECK(res.header("Content-Range") == "bytes 4294967295-4294967297/4294967298");
    CHECK(sent(res) == "\0\0\0"sv);
    res = serve_beneath(here.root().get(), asking("GET", {{"Range", "bytes=4294962201-"}}), "big");
    CHECK(access::of(access::of(res).body).from->offset == 4'294'962'201u);
    CHECK(sent(res) == std::string(5097, '\0'));
}

TEST_CASE("files: Last-Modified is never later than now, and always a date") {
    scratch here;
    here.file("a", "x");
    for (std::time_t when : {std::time_t(4'000'000'000), std::time_t(-5'000'000'000)}) {
        here.touch("a", when);
        std::time_t start = ::time(nullptr);
        response res = serve_beneath(here.root().get(), asking("GET"), "a");
        CHECK(!extra_of(res).failed);
        auto shown = parse_date(res.header("Last-Modified"), start);
        REQUIRE(shown);
        CHECK(*shown <= ::time(nullptr));
        CHECK(*shown >= (when < 0 ? 0 : start - 1));
    }
}

TEST_CASE("files: Last-Modified is no later than a Date that lags") {
    scratch here;
    here.file("a", "x");
    raw::running s;
    s.app.files("/", here.at(""));
    s.start();
    raw::wire_client c = s.connect();
    auto clock = [] {
        timespec now{};
        ::clock_gettime(CLOCK_REALTIME, &now);
        return now;
    };
    for (int i = 0; i < 3; ++i) {
        while (clock().tv_nsec < 970'000'000) ::usleep(1000);
        CHECK(c.ask("/a").status == 200); // this Date is kept for a while
        const std::time_t second = clock().tv_sec;
        while (clock().tv_sec <= second || clock().tv_nsec < 12'000'000) ::usleep(1000);
        here.file("a", "y");
        raw::answer got = c.ask("/a");
        const std::time_t now = clock().tv_sec;
        const auto date = parse_date(got.field("Date"), now),
                   modified = parse_date(got.field("Last-Modified"), now);
        REQUIRE(date);
        REQUIRE(modified);
        CHECK(*modified <= *date);
    }
}

TEST_CASE("files: the tag changes with content, time and file") {
    scratch here;
    unique_fd root = here.root();
    auto etag = [&] {
        return std::string(serve_beneath(root.get(), asking("GET"), "a").header("ETag"));
    };
    here.file("a", "one");
    here.touch("a", example, 1);
    std::string first = etag();
    CHECK(etag() == first);
    here.touch("a", example, 2);
    CHECK(etag() != first);
    here.file("a", "longer");
    here.touch("a", example, 1);
    CHECK(etag() != first);
    here.file("b", "two"); // of the same size and time, renamed onto it
    here.touch("b", example, 1);
    REQUIRE(::rename(here.at("b").c_str(), here.at("a").c_str()) == 0);
    CHECK(etag() != first);
}

TEST_CASE("files: the tag changes with content that has its time set back") { // cp -p, tar, rsync
    scratch here;
    unique_fd root = here.root();
    auto etag = [&] {
        return std::string(serve_beneath(root.get(), asking("GET"), "a").header("ETag"));
    };
    auto changed_at = [&] {
        struct stat is {};
        REQUIRE(::stat(here.at("a").c_str(), &is) == 0);
        return is.st_ctim.tv_sec * 1'000'000'000LL + is.st_ctim.tv_nsec;
    };
    auto write = [&](const char* bytes) { // in place: the inode stays
        here.file("a", bytes);
        here.touch("a", example, 1);
        return changed_at();
    };
    const auto start = write("one");
    const std::string first = etag();
    const auto end = std::chrono::steady_clock::now() + 10s;
    while (write("two") == start && std::chrono::steady_clock::now() < end) continue; // one tick
    CHECK(etag() != first);
}

TEST_CASE("files: one file by its path") {
    scratch here;
    here.file("a.html", "<p>");
    here.link("a.html", "link");
    CHECK(sent(uds_http::file(asking("GET"), here.at("a.html"))) == "<p>");
    CHECK(sent(uds_http::file(asking("GET"), here.at("link"))) == "<p>"); // the program's own path
    CHECK(uds_http::file(asking("GET"), here.at("none")).status() == 404);
    CHECK(uds_http::file(asking("GET"), here.at(".")).status() == 404);
    CHECK(uds_http::file(asking("GET"), here.at("a.html") + "\0x"s).status() == 404);
    CHECK(uds_http::file(asking("GET"), "/dev/null").status() == 404);
    CHECK(uds_http::file(asking("GET"), "").status() == 404);
}

// A folder ----------------------------------------------------------------------------------------

TEST_CASE("files: nothing leads out of the folder, and nothing but files is served") {
    scratch here;
    here.folder("in");
    here.folder("in/sub");
    here.folder("in/bare");
    here.folder("in/odd");
    here.folder("in/odd/index.html");
    here.file("secret", "secret");
    here.file("in/a", "a");
    here.file("in/index.html", "index");
    here.file("in/sub/b", "b");
    here.file("in/sub/index.html", "sub index");
    here.file("in/a b%2F", "odd name");
    here.file("in/...", "dots");
    here.file("in/..a", "dots a");
    here.file("in/.hidden", "hidden");
    here.folder("in/.git");
    here.file("in/.git/index.html", "git");
    here.file("in/\xc3\xb6.txt", "UTF-8");
    here.file("in/\xff\xff", "no UTF-8");
    here.file("in/ \t\n", "blanks");
    here.file("in/%2e%2e", "percent");
    here.link("../secret", "in/up");
    here.link("sub/../../secret", "in/down_up");
    here.link("..", "in/parent");
    here.link(here.at("secret"), "in/absolute");
    here.link(here.at("in/a"), "in/absolute_inside");
    here.link("/", "in/slash");
    here.link("/dev/null", "in/null");
    here.link("/proc/self/fd", "in/fds");
    here.link("sub/b", "in/inside");
    here.link("../a", "in/sub/inside_up");
    here.link("sub", "in/sub_link");
    here.link("loop", "in/loop");
    here.link("nowhere", "in/dangling");
    here.folder("in/led");
    here.link("../../secret", "in/led/index.html");
    REQUIRE(::mkfifo(here.at("in/fifo").c_str(), 0644) == 0);
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    std::snprintf(name.sun_path, sizeof name.sun_path, "%s", here.at("in/socket").c_str());
    unique_fd bound(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    REQUIRE(::bind(bound.get(), reinterpret_cast<sockaddr*>(&name), sizeof name) == 0);
    (void)!::mknod(here.at("in/device").c_str(), S_IFCHR | 0666, makedev(1, 3)); // root only

    struct row {
        string_view name;
        const char* bytes; // nullptr: 404
    };
    const std::string longest(255, 'x'), too_long(256, 'x'), far_too_long(8'000, 'x');
    const row rows[] = {
        {"a", "a"},
        {"", "index"},
        {"index.html", "index"},
        {"sub", "sub index"},
        {"sub/", "sub index"},
        {"sub/b", "b"},
        {"a b%2F", "odd name"}, // decoded already
        {"...", "dots"},
        {"..a", "dots a"},
        {".hidden", "hidden"}, // a name like any other
        {".git", "git"},
        {"\xc3\xb6.txt", "UTF-8"},
        {"\xc3\xb6.TXT", nullptr},
        {"o\xcc\x88.txt", nullptr}, // the kernel compares bytes; so do we
        {"\xff\xff", "no UTF-8"},
        {" \t\n", "blanks"},
        {"%2e%2e", "percent"},
        {"%2e%2e/secret", nullptr},
        {"inside", "b"},
        {"sub/inside_up", "a"},
        {"sub_link/b", "b"},
        {"sub_link", "sub index"},
        {"none", nullptr},
        {"a/", nullptr},
        {"a/b", nullptr},
        {"bare", nullptr},
        {"bare/", nullptr},
        {"odd", nullptr},
        {"..", nullptr},
        {".", nullptr},
        {"./a", nullptr},
        {"a/.", nullptr},
        {"../secret", nullptr},
        {"../in/a", nullptr},
        {"sub/../a", nullptr},
        {"sub/../../secret", nullptr},
        {"sub/..", nullptr},
        {"/", nullptr},
        {"//", nullptr},
        {"/a", nullptr},
        {"/etc/passwd", nullptr},
        {"sub//b", nullptr},
        {"sub//", nullptr},
        {"up", nullptr},
        {"down_up", nullptr},
        {"parent/secret", nullptr},
        {"parent/in/a", nullptr},
        {"absolute", nullptr},
        {"absolute_inside", nullptr},
        {"slash/etc/passwd", nullptr},
        {"null", nullptr},
        {"device", nullptr},
        {"fds/0", nullptr},
        {"loop", nullptr},
        {"dangling", nullptr},
        {"led", nullptr},
        {"fifo", nullptr},
        {"socket", nullptr},
        {"a\0"sv, nullptr},
        {"a\0.html"sv, nullptr},
        {"\0"sv, nullptr},
        {longest, nullptr},
        {too_long, nullptr},
        {far_too_long, nullptr},
        {"\xff\xfe", nullptr},
        {"..\\secret", nullptr},
    };
    unique_fd root = here.root("in");
    for (const row& r : rows) {
        CAPTURE(r.name);
        response res = serve_beneath(root.get(), asking("GET"), r.name);
        CHECK(res.status() == (r.bytes ? 200 : 404));
        if (r.bytes) CHECK(sent(res) == r.bytes);
        else CHECK(access::of(access::of(res).body).kind == access::kind::text);
    }
}

TEST_CASE("files: magic links lead nowhere") {
    auto proc = open_root("/proc/self");
    REQUIRE(proc);
    for (const char* name : {"fd/0", "exe", "cwd", "cwd/Makefile", "root/etc/passwd"}) {
        CAPTURE(name);
        CHECK(serve_beneath(proc->get(), asking("GET"), name).status() == 404);
    }
}

TEST_CASE("files: neither type comes from an index nor from the name of a folder") {
    scratch here;
    here.folder("a.json");
    here.file("a.json/index.html", "<p>");
    response res = serve_beneath(here.root().get(), asking("GET"), "a.json");
    CHECK(res.header("Content-Type") == "text/html; charset=utf-8");
}

TEST_CASE("files: a folder that is renamed or removed stays the folder that was opened") {
    scratch here;
    here.folder("in");
    here.file("in/a", "a");
    unique_fd root = here.root("in");
    REQUIRE(::rename(here.at("in").c_str(), here.at("moved").c_str()) == 0);
    here.folder("in");
    here.file("in/a", "other");
    CHECK(sent(serve_beneath(root.get(), asking("GET"), "a")) == "a");
}

TEST_CASE("files: a rename in flight leads out of nothing") {
    scratch here;
    here.folder("in");
    here.folder("in/d");
    here.folder("in/d/e");
    here.folder("out");
    here.file("secret", "secret");
    here.file("in/secret", "public");
    here.file("out/secret", "secret");
    here.link("../../secret", "in/d/e/link"); // of "in", unless d is elsewhere
    unique_fd root = here.root("in");
    std::atomic<bool> stop{false};
    std::thread mover([&] {
        const std::string inside = here.at("in/d"), outside = here.at("out/d");
        while (!stop) {
            if (::rename(inside.c_str(), outside.c_str()) != 0) break;
            if (::rename(outside.c_str(), inside.c_str()) != 0) break;
        }
    });
    int found = 0, other_answers = 0;
    auto start = std::chrono::steady_clock::now();
    auto passed = [&] { return std::chrono::steady_clock::now() - start; };
    while (passed() < 300ms || (found == 0 && passed() < 10s)) { // found: on a busy machine, later
        response res = serve_beneath(root.get(), asking("GET"), "d/e/link");
        bool is_public = res.status() == 200 && sent(res) == "public";
        bool is_none = res.status() == 404 || res.status() == 503;
        if (!is_public && !is_none) FAIL("served what is outside");
        ++(is_public ? found : other_answers);
    }
    stop = true;
    mover.join();
    CHECK(found > 0);
    MESSAGE(found << " found, " << other_answers << " not");
}

TEST_CASE("files: exhausted descriptors are a 503, not a 404") {
    scratch here;
    here.file("a", "a");
    unique_fd root = here.root();
    rlimit before_that{};
    REQUIRE(::getrlimit(RLIMIT_NOFILE, &before_that) == 0);
    rlimit few{0, before_that.rlim_max};
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &few) == 0);
    int beneath = serve_beneath(root.get(), asking("GET"), "a").status();
    int by_path = uds_http::file(asking("GET"), here.at("a")).status();
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &before_that) == 0);
    CHECK(beneath == 503);
    CHECK(by_path == 503);
}

TEST_CASE("files: what may not be read isn't there") {
    scratch here;
    here.folder("in");
    here.folder("in/shut");
    here.file("in/a", "a");
    here.file("in/shut/b", "b");
    here.file("in/c", "c");
    here.folder("in/listless");
    here.file("in/listless/index.html", "d");
    for (string_view open : {"in", "in/c", "in/listless/index.html"}) // whatever the umask
        REQUIRE(::chmod(here.at(open).c_str(), 0755) == 0);
    REQUIRE(::chmod(here.at("in/listless").c_str(), 0311) == 0);
    REQUIRE(::chmod(here.at("in/a").c_str(), 0) == 0);
    REQUIRE(::chmod(here.at("in/shut").c_str(), 0) == 0);
    unique_fd root = here.root("in");
    int outcome = raw::in_child([&] { // root reads everything, so nobody asks
        if (::geteuid() == 0 && (::setgid(65534) != 0 || ::setuid(65534) != 0)) return 1;
        auto status = [&](string_view name) {
            return serve_beneath(root.get(), asking("GET"), name).status();
        };
        if (status("a") != 404 || status("shut/b") != 404 || status("shut") != 404) return 2;
        if (status("listless/") != 200) return 4; // it may be searched
        return ::geteuid() == 65534 && status("c") != 200 ? 3 : 0;
    });
    REQUIRE(::chmod(here.at("in/shut").c_str(), 0755) == 0);
    CHECK(outcome == 0);
}

TEST_CASE("files: no descriptor is left behind") {
    scratch here;
    here.folder("bare");
    here.file("a", "a");
    unique_fd root = here.root();
    unique_fd first(::dup(0)); // the lowest number that is free
    int lowest = first.get();
    first = unique_fd();
    for (const char* name : {"a", "bare", "", "none", "..", "a/"})
        for (const char* range : {"bytes=0-0", "bytes=9-", "x"})
            (void)serve_beneath(root.get(), asking("GET", {{"Range", range}}), name);
    (void)serve_beneath(root.get(), asking("GET", {{"If-None-Match", "*"}}), "a");
    unique_fd last(::dup(0));
    CHECK(last.get() == lowest);
}

TEST_CASE("files: a folder that can't be served is an error that names it") {
    scratch here;
    here.file("a", "a");
    CHECK(open_root(here.at("none")).error() == std::errc::no_such_file_or_directory);
    CHECK(open_root(here.at("none")).error().message().find("none") != std::string::npos);
    CHECK(open_root(here.at("a")).error() == std::errc::not_a_directory);
    here.folder("f");
    here.link("f", "link");
    CHECK(open_root(here.at("link"))); // the program's own path may lead where it likes
    CHECK(open_root("").error() == std::errc::no_such_file_or_directory);
    CHECK(open_root(here.at(".") + "\0x"s).error() == std::errc::invalid_argument);
}

namespace {

/// What a server makes of a target, without a connection.
response answer(uds_http::server& app, string_view method, string_view target) {
    request req(method, target);
    server_core& core = *access::of(app);
    uds_http::route* to = core.routes.match(state_of(req));
    std::string allow;
    if (!to) return response(core.routes.refuse(state_of(req), allow));
    std::optional<response> answer;
    run_plain(core, *to, req, answer);
    return std::move(*answer);
}

} // namespace

TEST_CASE("files: a kernel without openat2 is an error at start, never a weaker open") {
    scratch here;
    int got = raw::in_child_without(SYS_openat2, ENOSYS, [&] {
        auto root = open_root(here.at("."));
        bool is_known = !root && root.error() == std::errc::function_not_supported &&
                        root.error().message().find("openat2") != std::string::npos;
        return is_known ? 0 : 1;
    });
    CHECK((got == 0 || got == -1));
}

TEST_CASE("files: a storm of renames is a 503, and doesn't keep the loop") {
    scratch here;
    here.file("a", "a");
    unique_fd root = here.root();
    int got = raw::in_child_without(SYS_openat2, EAGAIN, [&] {
        return serve_beneath(root.get(), asking("GET"), "a").status() == 503 ? 0 : 1;
    });
    CHECK((got == 0 || got == -1));
}

TEST_CASE("files: routes of a folder") {
    scratch here;
    here.folder("in");
    here.folder("in/sub");
    here.file("secret", "secret");
    here.file("in/index.html", "index");
    here.file("in/a b", "a b");
    here.file("in/sub/b", "b");
    here.file("in/100%", "percent");
    here.file("in/%2F", "escape");
    struct row {
        string_view target; // below the prefix
        int status;
        string_view bytes;
    };
    const row rows[] = {
        {"/", 200, "index"},
        {"/?x=/../", 200, "index"},
        {"/index.html?v=1", 200, "index"},
        {"/a%20b", 200, "a b"},
        {"/sub/b", 200, "b"},
        {"/%73ub/%62", 200, "b"},
        {"/100%25", 200, "percent"},
        {"/%252F", 200, "escape"}, // decoded once
        {"/none", 404, {}},
        {"/a+b", 404, {}},
        {"/sub%2Fb", 404, {}},
        {"/sub%2fb", 404, {}},
        {"/sub/%2Fb", 404, {}},
        {"/%2F", 404, {}},
        {"/../secret", 404, {}},
        {"/..%2Fsecret", 404, {}},
        {"/%2e%2e/secret", 404, {}},
        {"/%2E%2E%2Fsecret", 404, {}},
        {"/sub/../../secret", 404, {}},
        {"/..;/secret", 404, {}},
        {"/..%5Csecret", 404, {}},
        {"/%252e%252e/secret", 404, {}},   // so it stays the name "%2e%2e"
        {"/%c0%ae%c0%ae/secret", 404, {}}, // overlong UTF-8 is no dot
        {"/sub/b%00", 404, {}},
        {"/sub/b%00.html", 404, {}},
        {"/%00", 404, {}},
        {"//", 404, {}},
        {"//sub/b", 404, {}},
        {"/sub//b", 404, {}},
        {"/sub", 404, {}},
        {"/sub/", 404, {}},
        {"/%", 400, {}},
        {"/%2", 400, {}},
    };
    for (string_view prefix : {"", "/", "/static", "/static/", "/a/b"}) {
        CAPTURE(prefix);
        uds_http::server app;
        app.files(prefix, here.at("in"));
        CHECK_FALSE(access::of(app)->remembered);
        std::string first(prefix.substr(0, prefix.find_last_not_of('/') + 1));
        for (const row& r : rows) {
            CAPTURE(r.target);
            response res = answer(app, "GET", first + std::string(r.target));
            CHECK(res.status() == r.status);
            if (r.status == 200) CHECK(sent(res) == r.bytes);
        }
        CHECK(answer(app, "HEAD", first + "/sub/b").status() == 200);
        CHECK(answer(app, "POST", first + "/sub/b").status() == 405);
    }
}

TEST_CASE("files: a server remembers that a folder can't be served") {
    scratch here;
    uds_http::server app;
    app.files("/static", here.at("none"));
    CHECK(app.run() == std::errc::no_such_file_or_directory);
}

// On a socket -------------------------------------------------------------------------------------

namespace {

struct served {
    scratch here;
    raw::running server;
    served() {
        server.app.files("/", here.at("."));
        server.start();
    }
};

} // namespace

TEST_CASE("files: on the wire every answer ends where its head says") {
    served s;
    s.here.file("a.txt", "0123456789");
    s.here.file("empty", "");
    s.here.touch("a.txt", example);
    raw::wire_client c = s.server.connect();
    const std::string etag = c.ask("/a.txt").field("ETag");
    struct row {
        std::string target, method, fields;
        int status;
        std::string length, body;
    };
    const std::string date(same);
    const row rows[] = {
        {"/a.txt", "GET", "", 200, "10", "0123456789"},
        {"/a.txt", "HEAD", "", 200, "10", ""},
        {"/a.txt", "HEAD", "Range: bytes=2-3\r\n", 200, "10", ""},
        {"/a.txt", "GET", "Range: bytes=2-3\r\n", 206, "2", "23"},
        {"/a.txt", "GET", "Range: bytes=-4\r\n", 206, "4", "6789"},
        {"/a.txt", "GET", "Range: bytes=8-\r\n", 206, "2", "89"},
        {"/a.txt", "GET", "Range: bytes=0-0,2-3\r\n", 200, "10", "0123456789"},
        {"/a.txt", "GET", "Range: bytes=2-3\r\nIf-Range: " + etag + "\r\n", 206, "2", "23"},
        {"/a.txt", "GET", "Range: bytes=2-3\r\nIf-Range: " + date + "\r\n", 206, "2", "23"},
        {"/a.txt", "GET", "Range: bytes=2-3\r\nIf-Range: \"x\"\r\n", 200, "10", "0123456789"},
        {"/a.txt", "GET", "If-None-Match: " + etag + "\r\n", 304, "", ""},
        {"/a.txt", "HEAD", "If-None-Match: W/" + etag + "\r\n", 304, "", ""},
        {"/a.txt", "GET", "If-Modified-Since: " + date + "\r\n", 304, "", ""},
        {"/a.txt", "GET", "If-None-Match: " + etag + "\r\nRange: bytes=2-3\r\n", 304, "", ""},
        {"/a.txt", "GET", "Range: bytes=10-\r\n", 416, "26", "416: Range Not Satisfiable"},
        {"/a.txt", "GET", "If-Match: \"x\"\r\n", 412, "24", "412: Precondition Failed"},
        {"/none", "GET", "If-Match: \"x\"\r\n", 404, "14", "404: Not Found"}, // RFC 9110 13.2.1
        {"/none", "GET", "If-None-Match: *\r\n", 404, "14", "404: Not Found"},
        {"/none", "HEAD", "", 404, "14", ""},
        {"/empty", "GET", "", 200, "0", ""},
        {"/empty", "GET", "Range: bytes=0-\r\n", 416, "26", "416: Range Not Satisfiable"},
        {"/a.txt", "GET", "", 200, "10", "0123456789"},
    };
    for (const row& r : rows) {
        CAPTURE(r.target);
        CAPTURE(r.method);
        CAPTURE(r.fields);
        raw::answer a = c.ask(r.target, r.method, r.fields); // all on one connection
        CHECK(a.status == r.status);
        CHECK(a.field("Content-Length") == r.length);
        CHECK(a.whole);
        CHECK(a.body == r.body);
        CHECK(c.got.empty());
    }
}

TEST_CASE("files: a file that shrinks while it is sent is a cut, and nobody else's") {
    served s;
    s.here.file("big", "");
    constexpr off_t size = 32 << 20; // more than any socket's buffer
    REQUIRE(::truncate(s.here.at("big").c_str(), size) == 0);
    raw::wire_client c = s.server.connect();
    REQUIRE(c.send("GET /big HTTP/1.1\r\nHost: a\r\n\r\n"));
    REQUIRE(c.until("\r\n\r\n"));
    REQUIRE(::truncate(s.here.at("big").c_str(), 100) == 0);
    std::string rest = c.rest();
    CHECK(rest.size() < static_cast<std::size_t>(size));
    CHECK(c.at_end());
    CHECK(s.server.connect().ask("/big").body.size() == 100);
}

TEST_CASE("files: a file that grows or is replaced while it is sent stays what it was") {
    served s;
    constexpr std::size_t size = 32 << 20;
    s.here.file("big", std::string(size, 'x'));
    raw::wire_client c = s.server.connect();
    REQUIRE(c.send("GET /big HTTP/1.1\r\nHost: a\r\n\r\n"));
    REQUIRE(c.until("\r\n\r\n"));
    unique_fd end(::open(s.here.at("big").c_str(), O_WRONLY | O_APPEND | O_CLOEXEC));
    REQUIRE(::write(end.get(), "more", 4) == 4);
    s.here.file("new", "new");
    REQUIRE(::rename(s.here.at("new").c_str(), s.here.at("big").c_str()) == 0);
    raw::answer a = c.read();
    CHECK(a.whole);
    CHECK(a.body.size() == size);
    CHECK(a.body.find_first_not_of('x') == std::string::npos);
    CHECK(c.ask("/big").body == "new"); // on the same connection: not a byte too many was sent
}

TEST_CASE("files: what is shorter than it says is cut, and not filled up with zeros") {
    const char* const path = "/sys/kernel/profiling"; // a page, says stat(2)
    struct stat says {};
    if (::stat(path, &says) == 0 && says.st_size > 0)
        CHECK(uds_http::file(asking("GET"), path).body() == "");
    else MESSAGE("no sysfs here");
}
