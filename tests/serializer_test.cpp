// Room [8]: heads, chunks, dates, and how a body is framed. Pure: rows.
#include "uds_http.hpp"

#include <memory>

#include <doctest/doctest.h>

using namespace uds_http;
using namespace uds_http::detail;

namespace {

constexpr string_view date = "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n", // as D below
    short_date = "Date: D\r\n";

std::string head_of(const response& r, std::optional<std::uint64_t> size, bool persistent = true,
                    int version = 11, bool head_only = false) {
    buffer out;
    head_writer{date.data(), persistent, version}.write(out, r,
                                                        plan_response(r, size, head_only, version));
    std::string head(out.view());
    const std::size_t at = head.find(date);
    return at == std::string::npos ? head : head.replace(at, date.size(), short_date);
}

std::string date_of(std::time_t when) {
    char room[40];
    return std::string(room, put_date(room, when));
}

} // namespace

TEST_CASE("serializer: a date is 29 bytes of GMT") {
    struct row {
        std::time_t when;
        std::string text;
    };
    const row rows[] = {
        {0, "Thu, 01 Jan 1970 00:00:00 GMT"},
        {784111777, "Sun, 06 Nov 1994 08:49:37 GMT"}, // RFC 9110 5.6.7
        {951782400, "Tue, 29 Feb 2000 00:00:00 GMT"},
        {1735689599, "Tue, 31 Dec 2024 23:59:59 GMT"},
        {4102444800, "Fri, 01 Jan 2100 00:00:00 GMT"},
        {2147483648, "Tue, 19 Jan 2038 03:14:08 GMT"},
    };
    for (const row& r : rows) CHECK(date_of(r.when) == r.text);
}

TEST_CASE("serializer: numbers and chunk sizes") {
    auto digits = [](std::uint64_t value) {
        char room[20];
        return std::string(room, put_number(room, value));
    };
    CHECK(digits(0) == "0");
    CHECK(digits(1234567890) == "1234567890");
    CHECK(digits(UINT64_MAX) == "18446744073709551615");
    struct row {
        std::uint64_t size;
        std::string line;
    };
    const row rows[] = {{1, "1\r\n"},
                        {10, "a\r\n"},
                        {16, "10\r\n"},
                        {0xdeadbeef, "deadbeef\r\n"},
                        {UINT64_MAX, "ffffffffffffffff\r\n"}};
    for (const row& r : rows) {
        char room[18];
        CHECK(std::string(room, put_chunk_size(room, r.size)) == r.line);
    }
}

TEST_CASE("serializer: an empty chunk is never written, it would end the body") {
    buffer out;
    add_chunk(out, "abc");
    add_chunk(out, "");
    add_chunk(out, "de");
    add_last_chunk(out, {{"T", "v"}, {"U", ""}});
    CHECK(out.view() == "3\r\nabc\r\n2\r\nde\r\n0\r\nT: v\r\nU: \r\n\r\n");
}

TEST_CASE("serializer: a buffer keeps what is in it while it grows") {
    buffer out;
    std::string all;
    for (int i = 0; i < 2000; ++i) {
        std::string piece(static_cast<std::size_t>(i % 97), static_cast<char>('a' + i % 26));
        out.add(piece), all += piece;
    }
    CHECK(out.view() == all);
    std::size_t room = out.capacity();
    out.clear();
    CHECK(out.view() == "");
    CHECK(out.capacity() == room);
}

TEST_CASE("serializer: the head of a response") {
    CHECK(head_of(text("abc"), 3) == "HTTP/1.1 200 OK\r\nDate: D\r\nContent-Type: text/plain; "
                                     "charset=utf-8\r\nContent-Length: 3\r\n\r\n");
    CHECK(head_of(response(404), 0) ==
          "HTTP/1.1 404 Not Found\r\nDate: D\r\nContent-Length: 0\r\n\r\n");
    CHECK(head_of(response(299), 0) == "HTTP/1.1 299 \r\nDate: D\r\nContent-Length: 0\r\n\r\n");
    CHECK(head_of(response(204), 0) == "HTTP/1.1 204 No Content\r\nDate: D\r\n\r\n");
    CHECK(head_of(response(304), 0) == "HTTP/1.1 304 Not Modified\r\nDate: D\r\n\r\n");
    CHECK(head_of(response(205), 0) ==
          "HTTP/1.1 205 Reset Content\r\nDate: D\r\nContent-Length: 0\r\n\r\n");
    CHECK(head_of(response().header("A", "b").header("Date", "mine"), 0) ==
          "HTTP/1.1 200 OK\r\nA: b\r\nDate: mine\r\nContent-Length: 0\r\n\r\n");
}

TEST_CASE("serializer: framing follows from version, method and what is known (RFC 9112 6.3)") {
    struct row {
        std::string name;
        std::optional<std::uint64_t> size;
        int version;
        bool head_only;
        framing how;
        bool sends;
    };
    const row rows[] = {
        {"known", 5, 11, false, framing::length, true},
        {"known, 1.0", 5, 10, false, framing::length, true},
        {"unknown", {}, 11, false, framing::chunked, true},
        {"unknown, 1.0", {}, 10, false, framing::until_close, true},
        {"HEAD, known", 5, 11, true, framing::length, false},
        {"HEAD, unknown", {}, 11, true, framing::chunked, false},
    };
    for (const row& r : rows) {
        CAPTURE(r.name);
        body_plan plan = plan_response(response(), r.size, r.head_only, r.version);
        CHECK((plan.how == r.how));
        CHECK(plan.sends == r.sends);
    }
    body_plan stated = plan_response(response().header("Content-Length", "7"), {}, false, 11);
    CHECK((stated.how == framing::length));
    CHECK(stated.length == 7);
    CHECK_FALSE(plan_response(response(204), 0, false, 11).sends);
    CHECK_FALSE(plan_response(response(304), 0, false, 11).sends);
}

TEST_CASE("serializer: persistence is said where the version doesn't say it") {
    CHECK(head_of(response(), 0, true, 11).find("Connection") == std::string::npos);
    CHECK(head_of(response(), 0, false, 11).find("Connection: close\r\n") != std::string::npos);
    CHECK(head_of(response(), 0, true, 10).find("Connection: keep-alive\r\n") != std::string::npos);
    CHECK(head_of(response(), 0, false, 10).find("Connection: close\r\n") != std::string::npos);
    CHECK(head_of(response().header("Connection", "keep-alive"), 0, false, 11).find("keep-alive") ==
          std::string::npos);
}

TEST_CASE("serializer: what would make framing ambiguous is found") {
    struct row {
        std::string name;
        headers fields;
        std::optional<std::uint64_t> size;
        int status;
        bool fault;
    };
    const row rows[] = {
        {"nothing stated", {}, 5, 200, false},
        {"right", {{"Content-Length", "5"}}, 5, 200, false},
        {"unknown size", {{"Content-Length", "5"}}, {}, 200, false},
        {"wrong", {{"Content-Length", "6"}}, 5, 200, true},
        {"twice", {{"Content-Length", "5"}, {"content-length", "5"}}, 5, 200, true},
        {"a list", {{"Content-Length", "5,5"}}, 5, 200, true},
        {"a sign", {{"Content-Length", "+5"}}, 5, 200, true},
        {"empty", {{"Content-Length", ""}}, 0, 200, true},
        {"overflow", {{"Content-Length", "99999999999999999999"}}, 5, 200, true},
        {"the greatest", {{"Content-Length", "9223372036854775807"}}, {}, 200, false},
        {"more than a file can have", {{"Content-Length", "9223372036854775808"}}, {}, 200, true},
        {"its own coding", {{"Transfer-Encoding", "gzip, chunked"}}, 5, 200, true},
        {"204 with a body", {}, 1, 204, true},
        {"204 without", {}, 0, 204, false},
        {"204 with a length", {{"Content-Length", "0"}}, 0, 204, true},
        {"204 of unknown size", {}, {}, 204, true},
        {"304 with a body", {}, 1, 304, true},
        {"304 with the length it would have", {{"Content-Length", "99"}}, 0, 304, false},
        {"205 with a body", {}, 1, 205, true},
    };
    for (const row& r : rows) {
        CAPTURE(r.name);
        CHECK((framing_fault(r.fields, r.size, r.status) != nullptr) == r.fault);
    }
}

TEST_CASE("serializer: the head of a request") {
    struct row {
        std::string name;
        const char* method;
        std::optional<std::string> body;
        headers fields;
        std::string head;
    };
    const row rows[] = {
        {"GET", "GET", {}, {}, "GET /t HTTP/1.1\r\nHost: localhost\r\n\r\n"},
        {"a Host of its own", "GET", {}, {{"Host", "x"}}, "GET /t HTTP/1.1\r\nHost: x\r\n\r\n"},
        {"POST without a body says so",
         "POST",
         {},
         {},
         "POST /t HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"},
        {"a body",
         "PUT",
         "abc",
         {},
         "PUT /t HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\n"},
        {"DELETE without a body",
         "DELETE",
         {},
         {},
         "DELETE /t HTTP/1.1\r\nHost: localhost\r\n\r\n"},
        {"its length is said once",
         "PUT",
         "abc",
         {{"Content-Length", "3"}},
         "PUT /t HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\n"},
    };
    for (const row& r : rows) {
        CAPTURE(r.name);
        request q(r.method, "/t");
        for (const field& f : r.fields) q.header(f.name, f.value);
        if (r.body) q.body(*r.body, "");
        buffer out;
        write_request_head(out, state_of(q), plan_request(state_of(q)));
        CHECK(out.view() == r.head);
    }
    request chunked("PUT", "/t");
    chunked.body(
        content::pulled([](char*, std::size_t) -> result<std::size_t> { return std::size_t{0}; }),
        "");
    buffer out;
    write_request_head(out, state_of(chunked), plan_request(state_of(chunked)));
    CHECK(out.view() == "PUT /t HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
}
