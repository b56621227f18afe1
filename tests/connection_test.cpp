// Room [10]: one connection's life, driven without a socket. Bytes go in by hand, answers come out.
#include "uds_http.hpp"

#include <memory>

#include <doctest/doctest.h>

using namespace uds_http;
using namespace std::literals;
using namespace uds_http::detail;

namespace {

/// A connection and everything around it that a loop would lend.
struct driver {
    ref<site> owned{new site};
    site& shared = *owned;
    desk lent;
    conn c{};
    ref<mailbox> home{new mailbox};
    std::vector<ref<route>> routes;
    std::string socket; // sent by the peer, not read yet
    std::string out;
    std::vector<std::string> log;
    bool reads = true; // false: a large body waits for the peer

    explicit driver(const server_options& options = {}) {
        shared.options = options;
        shared.limits = {options.max_head_bytes, options.max_target_bytes,
                         options.max_fields_count};
        shared.on_log = [this](string_view line) { log.emplace_back(line); };
        std::memcpy(lent.date, "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n", 38);
        this_loop() = home.get(); // as in a turn: no wake-ups are written
    }
    ~driver() {
        if (c.work()) dialog::abandon(shared, *c.work(), failed(errc::stopped, "test"));
        ref<flow> flows; // they own their mailbox, and it them
        detail::row<mailbox::task> tasks;
        home->open = false;
        home->take(flows, tasks);
        this_loop() = nullptr;
    }
    driver(const driver&) = delete;

    route& add(string_view method, string_view pattern, handler h) {
        routes.emplace_back(new route_entry(method, pattern, std::move(h)));
        REQUIRE_FALSE(shared.routes.add(*routes.back()));
        return *routes.back();
    }
    dialog talk() { return dialog(shared, lent, c, 0, home); }

    /// What a loop does with bytes that arrive, to the point where it would sleep.
    void feed(string_view bytes) {
        socket.append(bytes);
        for (bool busy = true; busy && !is_over();) {
            busy = !socket.empty() && c.wants_bytes();
            if (busy) take(std::exchange(socket, {}));
            if (settle()) busy = true;
        }
    }
    void take(std::string bytes) {
        for (bool again = true; again && !is_over();) {
            if (c.more) bytes.insert(0, std::exchange(c.more->in, {}));
            again = talk().take(bytes);
            bytes.clear();
            collect();
        }
    }
    bool settle() {
        ref<flow> flows;
        detail::row<mailbox::task> tasks;
        home->take(flows, tasks);
        const bool any = static_cast<bool>(flows);
        while (ref<flow> f = next_of(flows)) {
            f->posted = false;
            if (!c.more || !(c.more->at_work == f))
                dialog::abandon(shared, *f, failed(errc::cut_off, "test"));
            else talk().settle(*f, [this] { collect(); });
            collect();
            if (c.more && !c.more->in.empty() && c.wants_bytes()) take({});
        }
        return any;
    }
    /// All that a socket with endless room would take.
    void collect() {
        out.append(lent.out.view());
        lent.out.clear();
        if (!reads || !c.more || !c.more->has_tail) return;
        out.append(bytes_of(c.more->tail).substr(static_cast<std::size_t>(c.more->tail_at)));
        talk().end_tail();
    }
    bool is_over() const { return c.gone || (c.ends && !c.has_output()); }
};

struct answered {
    std::vector<int> statuses; // 100 included
    std::vector<std::string> bodies;
    std::string rest; // what is no whole answer
};

string_view field_of(string_view head, string_view name) {
    for (std::size_t at = head.find("\r\n"); at != string_view::npos;
         at = head.find("\r\n", at + 2)) {
        string_view line = head.substr(at + 2, head.find("\r\n", at + 2) - at - 2);
        if (line.size() > name.size() && line[name.size()] == ':' &&
            equal_nocase(line.substr(0, name.size()), name))
            return line.substr(name.size() + 2);
    }
    return {};
}

/// Reads answers that have a Content-Length or no body at all.
answered read_answers(string_view out, bool to_head = false) {
    answered all;
    for (;;) {
        std::size_t end = out.find("\r\n\r\n");
        if (end == string_view::npos || out.substr(0, 9) != "HTTP/1.1 ") break;
        string_view head = out.substr(0, end + 2);
        int status = std::atoi(std::string(head.substr(9, 3)).c_str());
        string_view stated = field_of(head, "Content-Length");
        std::size_t size = stated.empty() || to_head ? 0 : std::stoul(std::string(stated));
        if (out.size() < end + 4 + size) break;
        all.statuses.push_back(status);
        all.bodies.emplace_back(out.substr(end + 4, size));
        out.remove_prefix(end + 4 + size);
    }
    all.rest = out;
    return all;
}

std::string without_continue(std::string out) {
    static constexpr string_view interim = "HTTP/1.1 100 Continue\r\n\r\n";
    for (std::size_t at; (at = out.find(interim)) != std::string::npos;)
        out.erase(at, interim.size());
    return out;
}

/// A body that is passed on, and where to.
struct passing {
    driver other, d;
    body_reader from;
    responder kept;
    passing() {
        other.add("POST", "/", [&](request&, body_reader in, responder res) {
            from = std::move(in), kept = std::move(res);
        });
        other.feed("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n");
    }
};

/// Routes of every shape; what they answer depends on the request alone.
struct usual : driver {
    explicit usual(const server_options& options = {}) : driver(options) {
        add("GET", "/", [](const request&) { return text("Hello Anonymous"); });
        add("GET", "/{name}",
            [](const request& r) { return text("Hello " + std::string(r.param("name"))); });
        add("POST", "/echo", [](const request& r) { return bytes(r.body()); });
        add("POST", "/later", [](request& r, responder res) { res.send(bytes(r.take_body())); });
        add("GET", "/large", [](const request&) { return text(std::string(100'000, 'x')); });
        add("GET", "/none", [](const request&) { return response(204); });
        add("POST", "/early",
            [](request&, body_reader, responder res) { res.send(text("early")); });
        add("POST", "/stream", [](request&, body_reader in, responder res) {
            struct state {
                body_reader in;
                responder res;
                std::string got;
            };
            auto s = std::make_shared<state>(state{std::move(in), std::move(res), {}});
            s->in.on_data([s](string_view piece) { s->got.append(piece); },
                          [s](const error& why) {
                              s->res.send(why ? text(why.message()).status(400) : text(s->got));
                              s->in = body_reader();
                          });
        });
    }
};

struct conversation {
    std::string name;
    const char* input;
    std::vector<int> statuses;
    std::vector<std::string> bodies; // "*": whatever
    bool ends;
};

const conversation conversations[] = {
    {"one request", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", {200}, {"Hello Anonymous"}, false},
    {"empty lines before a request",
     "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
     {200},
     {"Hello Anonymous"},
     false},
    {"nine empty lines before a request",
     "\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
     {400},
     {"*"},
     true},
    {"a parameter is decoded",
     "GET /a%20b HTTP/1.1\r\nHost: a\r\n\r\n",
     {200},
     {"Hello a b"},
     false},
    {"three pipelined, in order",
     "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\nGET /3 HTTP/1.1\r\nHost: "
     "a\r\n\r\n",
     {200, 200, 200},
     {"Hello 1", "Hello 2", "Hello 3"},
     false},
    {"a body by length",
     "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
     {200},
     {"hello"},
     false},
    {"an empty body",
     "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
     {200},
     {""},
     false},
    {"no body at all", "POST /echo HTTP/1.1\r\nHost: a\r\n\r\n", {200}, {""}, false},
    {"a body in chunks",
     "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: "
     "chunked\r\n\r\n3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\nT: v\r\n\r\n",
     {200},
     {"abcdefg"},
     false},
    {"bodies and requests behind them",
     "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcPOST /later HTTP/1.1\r\nHost: "
     "a\r\n"
     "Transfer-Encoding: chunked\r\n\r\n2\r\nde\r\n0\r\n\r\nPOST /stream HTTP/1.1\r\nHost: a\r\n"
     "Content-Length: 4\r\n\r\nfghiGET /j HTTP/1.1\r\nHost: a\r\n\r\n",
     {200, 200, 200, 200},
     {"abc", "de", "fghi", "Hello j"},
     false},
    {"a streamed body in chunks",
     "POST /stream HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: "
     "chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n",
     {200},
     {"abcd"},
     false},
    {"an error in the middle ends everything behind it",
     "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost : a\r\n\r\nGET /3 "
     "HTTP/1.1\r\nHost: a\r\n\r\n",
     {200, 400},
     {"Hello 1", "*"},
     true},
    {"a bad chunk after a good request",
     "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nPOST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: "
     "chunked\r\n\r\n"
     "3\r\nabcX\r\n0\r\n\r\nGET /3 HTTP/1.1\r\nHost: a\r\n\r\n",
     {200, 400},
     {"Hello 1", "*"},
     true},
    {"length and chunked together",
     "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: "
     "chunked\r\n\r\n0\r\n\r\n",
     {400},
     {"*"},
     true},
    {"a missing Host",
     "GET / HTTP/1.1\r\n\r\n",
     {400},
     {"400: Bad Request (no Host, or two of them)"},
     true},
    {"Connection: close ends it",
     "GET /1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
     {200},
     {"Hello 1"},
     true},
    {"HTTP/1.0 ends it",
     "GET /1 HTTP/1.0\r\n\r\nGET /2 HTTP/1.0\r\n\r\n",
     {200},
     {"Hello 1"},
     true},
    {"HTTP/1.0 with keep-alive doesn't",
     "GET /1 HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /2 HTTP/1.0\r\n\r\n",
     {200, 200},
     {"Hello 1", "Hello 2"},
     true},
    {"nobody there is 404",
     "GET /a/b HTTP/1.1\r\nHost: a\r\n\r\n",
     {404},
     {"404: Not Found"},
     false},
    {"another method is 405",
     "DELETE / HTTP/1.1\r\nHost: a\r\n\r\n",
     {405},
     {"405: Method Not Allowed"},
     false},
    {"PATCH is a known method",
     "PATCH / HTTP/1.1\r\nHost: a\r\n\r\n",
     {405},
     {"405: Method Not Allowed"},
     false},
    {"an unheard-of method is 501", "BREW / HTTP/1.1\r\nHost: a\r\n\r\n", {501}, {"*"}, false},
    {"OPTIONS is answered", "OPTIONS / HTTP/1.1\r\nHost: a\r\n\r\n", {204}, {""}, false},
    {"OPTIONS * is answered", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", {204}, {""}, false},
    {"the body of a 404 is passed over",
     "POST /a/b HTTP/1.1\r\nHost: a\r\nContent-Length: 26\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\nGET "
     "/2 HTTP/1.1\r\nHost: a\r\n\r\n",
     {404, 200},
     {"*", "Hello 2"},
     false},
    {"a body with Expect, sent anyway",
     "POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabcGET /2 "
     "HTTP/1.1\r\nHost: a\r\n\r\n",
     {200, 200},
     {"abc", "Hello 2"},
     false},
    {"a streamed body with Expect",
     "POST /stream HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
     {200},
     {"abc"},
     false},
    {"another expectation is 417",
     "POST /echo HTTP/1.1\r\nHost: a\r\nExpect: a-miracle\r\nContent-Length: 3\r\n\r\nabc",
     {417},
     {"*"},
     true},
    {"an early answer ends the connection",
     "POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc",
     {200},
     {"early"},
     true},
    {"204 has no body and no length",
     "GET /none HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
     {204, 200},
     {"", "Hello 2"},
     false},
    {"a large answer keeps its place",
     "GET /large HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
     {200, 200},
     {"*", "Hello 2"},
     false},
};

void check_answers(const conversation& row, const driver& d) {
    answered got = read_answers(without_continue(d.out));
    CHECK(got.statuses == row.statuses);
    CHECK(got.rest == "");
    CHECK(d.is_over() == row.ends);
    REQUIRE(got.bodies.size() == row.bodies.size());
    for (std::size_t i = 0; i < row.bodies.size(); ++i)
        if (row.bodies[i] != "*") CHECK(got.bodies[i] == row.bodies[i]);
}

} // namespace

TEST_CASE("connection: a conversation is the same however its bytes are cut") {
    for (const conversation& row : conversations) {
        CAPTURE(row.name);
        string_view input = row.input;
        usual whole;
        whole.feed(input);
        check_answers(row, whole);

        usual bytewise;
        for (std::size_t i = 0; i < input.size(); ++i) bytewise.feed(input.substr(i, 1));
        CHECK(without_continue(bytewise.out) == without_continue(whole.out));
        CHECK(bytewise.is_over() == whole.is_over());

        for (std::size_t cut = 1; cut < input.size(); ++cut) {
            CAPTURE(cut);
            usual halves;
            halves.feed(input.substr(0, cut));
            halves.feed(input.substr(cut));
            REQUIRE(without_continue(halves.out) == without_continue(whole.out));
            REQUIRE(halves.is_over() == whole.is_over());
        }
    }
}

TEST_CASE("connection: many pipelined requests are answered in order, whatever their number") {
    usual d;
    std::string input;
    for (int i = 0; i < 3000; ++i)
        input += "GET /" + std::to_string(i) + " HTTP/1.1\r\nHost: a\r\n\r\n";
    d.feed(input);
    answered got = read_answers(d.out);
    REQUIRE(got.bodies.size() == 3000);
    for (int i = 0; i < 3000; ++i)
        REQUIRE(got.bodies[static_cast<std::size_t>(i)] == "Hello " + std::to_string(i));
    CHECK(d.lent.requests == 3000);
}

TEST_CASE("connection: requests behind one that is answered later wait for it") {
    usual d;
    std::vector<responder> waiting;
    d.add("GET", "/wait/{n}", [&](request&, responder res) { waiting.push_back(std::move(res)); });
    d.feed("GET /wait/1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
    CHECK(waiting.size() == 1);
    CHECK(d.out == "");
    CHECK(waiting[0].is_open());
    CHECK(waiting[0].send(text("first")));
    CHECK_FALSE(waiting[0].send(text("again")));
    d.feed("");
    answered got = read_answers(d.out);
    CHECK(got.bodies == std::vector<std::string>{"first", "Hello 2"});
    CHECK_FALSE(waiting[0].is_open());
}

TEST_CASE("connection: requests behind one that is answered later are served in a drain, too") {
    usual d;
    responder kept;
    d.add("GET", "/wait/it", [&](request&, responder res) { kept = std::move(res); });
    d.feed("GET /wait/it HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
    conn waits = std::exchange(d.c, conn{});
    d.feed("GET / HTTP/1.1\r\nHost: a\r\n\r\n"); // of the same loop
    d.c = std::move(waits), d.out.clear();
    d.shared.stops = 1;
    kept.send(text("first"));
    d.feed("");
    CHECK(read_answers(d.out).bodies == std::vector<std::string>{"first", "Hello 2"});
    const std::size_t last = d.out.find("Connection: close");
    CHECK(last != std::string::npos);
    CHECK(last > d.out.find("first"));
}

TEST_CASE("connection: requests behind one whose answer another stream brings wait for it") {
    passing p;
    p.d.add("GET", "/pass", [&](const request&) { return bytes(content(std::move(p.from))); });
    p.d.add("GET", "/", [](const request&) { return text("next"); });
    p.d.feed("GET /pass HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    CHECK(p.d.out.find("next") == std::string::npos);
    this_loop() = p.other.home.get();
    p.other.feed("abcdef");
    this_loop() = p.d.home.get();
    p.d.feed("");
    CHECK(p.d.out.find("abcdef") < p.d.out.find("next"));
    CHECK(p.d.out.find("next") != std::string::npos); // on the same connection
}

TEST_CASE("connection: the body of a 404 that came whole is passed over, and nothing else") {
    usual d;
    const std::string next = "GET /2 HTTP/1.1\r\nHost: a\r\n\r\n";
    d.feed("POST /a/b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
           "3\r\nabc\r\n0\r\n\r\n" +
           next);
    CHECK(read_answers(d.out).statuses == std::vector<int>{404, 200});
    CHECK(d.out.find("Allow") == std::string::npos);
    d.shared.options.max_body_bytes = 2;
    d.feed("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nabc");
    CHECK(d.is_over());          // 413, inside of a chunk
    d.c = conn{}, d.out.clear(); // another connection of that loop
    d.feed("GET /a/b HTTP/1.1\r\nHost: a\r\n\r\n" + next);
    CHECK(read_answers(d.out).statuses == std::vector<int>{404, 200});
}

TEST_CASE("connection: a responder that is dropped answers 500") {
    usual d;
    d.add("GET", "/drop/it", [](request&, responder) {});
    d.feed("GET /drop/it HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
    CHECK(read_answers(d.out).statuses == std::vector<int>{500, 200});
}

TEST_CASE("connection: an idle connection owns no buffer") {
    usual d;
    for (const conversation& row : conversations) {
        if (row.ends) continue;
        CAPTURE(row.name);
        d.out.clear();
        d.feed(row.input);
        d.feed("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        CHECK(!d.c.more);
    }
}

// -- Expect

TEST_CASE("connection: 100 Continue comes when the body is wanted, and only then") {
    struct row {
        std::string name;
        const char* head;
        const char* interim;
    };
    static const row rows[] = {
        {"collected",
         "POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n",
         "HTTP/1.1 100 Continue\r\n\r\n"},
        {"answered later",
         "POST /later HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 3\r\n\r\n",
         "HTTP/1.1 100 Continue\r\n\r\n"},
        {"streamed",
         "POST /stream HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n",
         "HTTP/1.1 100 Continue\r\n\r\n"},
        {"chunked",
         "POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nTransfer-Encoding: "
         "chunked\r\n\r\n",
         "HTTP/1.1 100 Continue\r\n\r\n"},
        {"no body announced", "POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n",
         nullptr},
        {"a stream that is there",
         "POST /stream HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
         nullptr},
        {"HTTP/1.0", "POST /echo HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n",
         ""},
        {"not expected", "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n", ""},
    };
    for (const row& r : rows) {
        CAPTURE(r.name);
        usual d;
        d.feed(r.head);
        if (r.interim) CHECK(d.out == r.interim);
        else CHECK(read_answers(d.out).statuses == std::vector<int>{200});
    }
}

TEST_CASE("connection: no 100 Continue for what is refused; the connection ends") {
    server_options small;
    small.max_body_bytes = 2;
    for (const std::string target : {"/echo", "/a/b"}) {
        CAPTURE(target);
        usual d(small);
        d.feed("POST " + target +
               " HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
        answered got = read_answers(d.out);
        REQUIRE(got.statuses.size() == 1);
        CHECK(got.statuses[0] == (target == "/echo" ? 413 : 404));
        CHECK(field_of(d.out, "Connection") == "close");
        CHECK(d.is_over());
    }
}

// -- limits

TEST_CASE("connection: a head at its limit passes, one byte over it is 431") {
    server_options o;
    o.max_head_bytes = 300;
    static constexpr string_view fixed = "GET / HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n";
    for (std::size_t size : {299u, 300u, 301u}) {
        CAPTURE(size);
        std::string input(fixed);
        input.insert(fixed.size() - 4, size - fixed.size(), 'x');
        REQUIRE(input.size() == size);
        const std::vector<int> expected{size <= 300 ? 200 : 431};
        usual whole(o), bytewise(o);
        whole.feed(input);
        for (char c : input) bytewise.feed({&c, 1});
        CHECK(read_answers(whole.out).statuses == expected);
        CHECK(read_answers(bytewise.out).statuses == expected);
        CHECK(whole.is_over() == (size > 300));
    }
}

TEST_CASE("connection: a head that never ends is 431, not memory") {
    usual d;
    d.feed("GET / HTTP/1.1\r\nHost: a\r\n");
    for (int i = 0; i < 10'000 && !d.is_over(); ++i)
        d.feed("X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n");
    CHECK(read_answers(d.out).statuses == std::vector<int>{431});
    CHECK(d.lent.refused == 1);
}

TEST_CASE("connection: a head that drips is parsed by the line, not by the byte") {
    usual d;
    d.feed("GET / HT");
    REQUIRE(d.c.more);
    CHECK(d.c.more->parsed_bytes == 8);
    d.feed("TP/1.");
    CHECK(d.c.more->parsed_bytes == 8); // no line has ended, and it isn't twice as much
    d.feed("1\r\n");
    CHECK(d.c.more->parsed_bytes == 16);
    d.feed("Host: a\r\n\r\n");
    CHECK(read_answers(d.out).bodies == std::vector<std::string>{"Hello Anonymous"});
    d.out.clear();
    d.feed("GET / HTTP/1.1\r\nHost: ");
    d.feed("a\1b"); // what may not stand there, in a line that never ends
    CHECK(d.out.empty());
    CHECK_FALSE(d.talk().at_eof());
    d.collect();
    CHECK(read_answers(d.out).statuses == std::vector<int>{400});
}

TEST_CASE("connection: targets and fields at and over their limits") {
    server_options o;
    o.max_target_bytes = 20, o.max_fields_count = 4;
    struct row {
        std::size_t target, fields;
        int status;
    };
    static const row rows[] = {{19, 1, 200}, {20, 1, 200}, {21, 1, 414},
                               {1, 3, 200},  {1, 4, 200},  {1, 5, 431}};
    for (const row& r : rows) {
        CAPTURE(r.target);
        CAPTURE(r.fields);
        std::string input = "GET /" + std::string(r.target - 1, 'a') + " HTTP/1.1\r\nHost: a\r\n";
        for (std::size_t i = 1; i < r.fields; ++i) input += "X: y\r\n";
        usual d(o);
        d.feed(input + "\r\n");
        CHECK(read_answers(d.out).statuses == std::vector<int>{r.status});
    }
}

TEST_CASE("connection: trailers are held to the limits of fields, at and over them") {
    server_options o;
    o.max_head_bytes = 300, o.max_fields_count = 4;
    struct row {
        std::size_t fields, bytes; // the empty line behind them included
        int status;
    };
    static const row rows[] = {{4, 30, 200},  {5, 30, 400},  {1, 299, 200},
                               {1, 300, 200}, {1, 301, 400}, {2, 301, 400}};
    for (const char* target : {"/echo", "/up"}) {
        for (const row& r : rows) {
            CAPTURE(std::string(target));
            CAPTURE(r.fields);
            CAPTURE(r.bytes);
            std::string trailers;
            for (std::size_t i = 1; i < r.fields; ++i) trailers += "X: \r\n";
            trailers += "Y: " + std::string(r.bytes - trailers.size() - 7, 'y') + "\r\n\r\n";
            REQUIRE(trailers.size() == r.bytes);
            const std::string input = "POST " + std::string(target) +
                                      " HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: "
                                      "chunked\r\n\r\n1\r\nz\r\n0\r\n" +
                                      trailers;
            usual whole(o), bytewise(o);
            for (usual* d : {&whole, &bytewise})
                d->add("POST", "/up", [](request&, body_reader in, responder out) {
                    auto both = std::make_shared<std::pair<body_reader, responder>>(std::move(in),
                                                                                    std::move(out));
                    both->first.on_data([](string_view) {},
                                        [both](const error&) { both->second.send(text("z")); });
                });
            whole.feed(input);
            for (char c : input) bytewise.feed({&c, 1});
            CHECK(read_answers(whole.out).statuses == std::vector<int>{r.status});
            CHECK(read_answers(bytewise.out).statuses == std::vector<int>{r.status});
        }
    }
}

TEST_CASE("connection: bodies under, at and over the limit, of the server and of a route") {
    struct row {
        std::string name;
        std::string target;
        std::size_t size;
        bool chunked;
        int status;
    };
    static const row rows[] = {
        {"under", "/echo", 9, false, 200},
        {"at", "/echo", 10, false, 200},
        {"over", "/echo", 11, false, 413},
        {"under, chunked", "/echo", 9, true, 200},
        {"at, chunked", "/echo", 10, true, 200},
        {"over, chunked", "/echo", 11, true, 413},
        {"route, at", "/wide", 20, false, 200},
        {"route, over", "/wide", 21, false, 413},
        {"route, at, chunked", "/wide", 20, true, 200},
        {"route, over, chunked", "/wide", 21, true, 413},
        {"streams have none", "/stream", 5000, false, 200},
        {"streams have none, chunked", "/stream", 5000, true, 200},
        {"a stream's own", "/bounded", 20, false, 200},
        {"over a stream's own", "/bounded", 21, false, 413},
        {"a stream's own, chunked", "/read", 20, true, 200},
        {"over a stream's own, chunked", "/read", 21, true, 413},
    };
    server_options o;
    o.max_body_bytes = 10;
    for (const row& r : rows) {
        CAPTURE(r.name);
        usual d(o);
        d.add("POST", "/wide", [](const request& q) { return bytes(q.body()); }).max_body_bytes(20);
        d.add("POST", "/bounded", [](request&, body_reader, responder s) {
             s.send(text(""));
         }).max_body_bytes(20);
        auto read = [](request&, body_reader body, responder out) {
            auto in = std::make_shared<body_reader>(std::move(body));
            auto done = [in, out = std::move(out)](const error& bad) mutable {
                if (!bad) out.send(text(""));
            };
            in->on_data([](string_view) {}, std::move(done));
        };
        d.add("POST", "/read", read).max_body_bytes(20);
        std::string body(r.size, 'b'), input = "POST " + r.target + " HTTP/1.1\r\nHost: a\r\n";
        char line[18];
        if (r.chunked) {
            input += "Transfer-Encoding: chunked\r\n\r\n";
            input.append(line, put_chunk_size(line, r.size)).append(body).append("\r\n0\r\n\r\n");
        } else {
            input += "Content-Length: " + std::to_string(r.size) + "\r\n\r\n" + body;
        }
        d.feed(input);
        CHECK(read_answers(d.out).statuses == std::vector<int>{r.status});
    }
}

TEST_CASE("connection: 413 is said before the body is sent") {
    usual chunked;
    chunked.feed(
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n7FFFFFFFFFFFFFFF\r\n");
    CHECK(read_answers(chunked.out).statuses == std::vector<int>{413});
    CHECK(chunked.is_over());
    usual half; // of a size that isn't one: it is as bad when it comes at once
    half.feed("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n7FFFFFFF");
    CHECK(half.out.empty());
    half.feed("\xff\r\n");
    CHECK(read_answers(half.out).statuses == std::vector<int>{400});
    usual d;
    d.feed("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n");
    CHECK(read_answers(d.out).statuses == std::vector<int>{413});
    CHECK(d.is_over());
}

TEST_CASE("connection: all bodies in memory together have a limit, 503, and are counted down") {
    server_options o;
    o.max_buffered_bytes = 1'000'000;
    usual d(o);
    std::string body(600'000, 'b');
    std::string head = "POST /later HTTP/1.1\r\nHost: a\r\nContent-Length: 600000\r\n\r\n";
    for (const std::string target : {"/later", "/echo"}) {
        CAPTURE(target);
        head.replace(5, head.find(' ', 5) - 5, target);
        d.out.clear();
        d.feed(head + body.substr(0, 300'000));
        CHECK(d.shared.buffered > 0);
        d.feed(string_view(body).substr(300'000));
        CHECK(read_answers(d.out).statuses == std::vector<int>{200});
        CHECK(d.shared.buffered == 0);
    }
    d.shared.buffered = 999'000; // others' bodies
    d.out.clear();
    d.feed(head + body.substr(0, 300'000)); // as it comes off a socket: in pieces
    CHECK(read_answers(d.out).statuses == std::vector<int>{503});
}

TEST_CASE("connection: all bodies in memory together, exactly at the limit and one byte over it") {
    struct row {
        std::string name;
        std::size_t others, size;
        bool chunked;
        int status; // 0: it may go on
    };
    static const row rows[] = {
        {"under", 800'000, 199'999, false, 0},
        {"at", 800'000, 200'000, false, 0},
        {"over", 800'000, 200'001, false, 503},
        {"at, chunked", 800'000, 200'000, true, 0},
        {"over, chunked", 800'000, 200'001, true, 503},
        {"a small one, at", 999'000, 1000, false, 0},
        {"a small one, over", 999'000, 1001, false, 503},
        {"a small one, at, chunked", 999'000, 1000, true, 0},
        {"a small one, over, chunked", 999'000, 1001, true, 503},
    };
    server_options o;
    o.max_buffered_bytes = 1'000'000;
    for (const row& r : rows) {
        CAPTURE(r.name);
        const std::string body(r.size, 'b');
        usual d(o);
        d.shared.buffered = r.others;
        std::string head = "POST /echo HTTP/1.1\r\nHost: a\r\n", end = "c";
        char line[18];
        if (r.chunked) {
            head += "Transfer-Encoding: chunked\r\n\r\n";
            head.append(line, put_chunk_size(line, r.size)), end = "\r\n0\r\n\r\n";
        } else {
            head += "Content-Length: " + std::to_string(r.size + 1) + "\r\n\r\n";
        }
        d.feed(head + body); // what is in memory while its end is missing
        CHECK(d.out.empty() == (r.status == 0));
        if (r.status) {
            CHECK(read_answers(d.out).statuses == std::vector<int>{r.status});
            CHECK(d.is_over());
            continue;
        }
        CHECK(d.shared.buffered == r.others + r.size);
        d.shared.buffered -= r.others; // room for the rest, which is a byte or framing
        d.feed(end);
        CHECK(read_answers(d.out).bodies ==
              std::vector<std::string>{body + (r.chunked ? "" : "c")});
        CHECK(d.shared.buffered == 0);
    }
}

TEST_CASE("connection: a refused body counts no more, though its peer lingers") {
    server_options o;
    o.max_buffered_bytes = 100'000;
    usual d(o);
    d.feed("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n" +
           std::string(150'000, 'b'));
    CHECK(read_answers(d.out).statuses == std::vector<int>{503});
    CHECK(bool(d.c.lingers));
    CHECK(d.shared.buffered == 0);
}

TEST_CASE("connection: a body that came at once counts too while its answer is awaited") {
    server_options o;
    o.max_buffered_bytes = 100'000;
    for (std::size_t size : {99'999u, 100'000u, 100'001u}) {
        CAPTURE(size);
        usual d(o);
        responder kept;
        d.add("POST", "/wait", [&](request&, responder res) { kept = std::move(res); });
        d.feed("POST /wait HTTP/1.1\r\nHost: a\r\nContent-Length: " + std::to_string(size) +
               "\r\n\r\n" + std::string(size, 'b'));
        if (size > 100'000) {
            CHECK(read_answers(d.out).statuses == std::vector<int>{503});
            CHECK(d.is_over());
            continue;
        }
        CHECK(d.shared.buffered == size);
        kept.send(text("at last"));
        d.feed("");
        CHECK(read_answers(d.out).bodies == std::vector<std::string>{"at last"});
        CHECK(d.shared.buffered == 0);
    }
}

TEST_CASE("connection: a body counts until the answer that has its bytes has left") {
    struct row {
        std::string name, target;
        std::size_t size, held; // of the body; while the answer waits
    };
    static const row rows[] = {
        {"in pieces, copied", "/echo", 600'000, 600'000},
        {"in pieces, moved to who answers later", "/later", 600'000, 600'000},
        {"at once", "/echo", 20'000, 20'000},
        {"lent", "/lent", 600'000, 600'000},
        {"borrowed from a request that was kept", "/borrowed", 600'000, 600'000},
        {"a larger answer", "/twice", 600'000, 600'000},
        {"a smaller one", "/half", 600'000, 300'000},
        {"one of bytes that are not ours", "/literal", 600'000, 0},
        {"one that leaves with its head", "/small", 600'000, 0},
    };
    static const std::string forever(300'000, 'l');
    server_options o;
    o.max_buffered_bytes = 1'000'000;
    for (const row& r : rows) {
        CAPTURE(r.name);
        usual d(o);
        d.add("POST", "/lent", [](const request& q) { return bytes(content::lent(q.body())); });
        d.add("POST", "/borrowed", [](request& q, responder out) {
            auto kept = std::make_shared<request>(std::move(q));
            out.send(bytes(content::borrowed(kept->body(), [kept] {})));
        });
        d.add("POST", "/twice",
              [](const request& q) { return bytes(std::string(q.body()) + "x"); });
        d.add("POST", "/half", [](const request& q) { return bytes(q.body().substr(300'000)); });
        d.add("POST", "/small", [](const request&) { return text("small"); });
        d.add("POST", "/literal", [](const request&) { return bytes(content::literal(forever)); });
        const std::string head = "POST " + r.target + " HTTP/1.1\r\nHost: a\r\nContent-Length: ";
        d.reads = false;
        d.feed(head + std::to_string(r.size) + "\r\n\r\n");
        if (r.size > 100'000) d.feed(std::string(100'000, 'b'));
        d.feed(std::string(r.size > 100'000 ? r.size - 100'000 : r.size, 'b'));
        CHECK(d.shared.buffered == r.held);
        d.reads = true;
        d.collect();
        CHECK(read_answers(d.out).statuses == std::vector<int>{200});
        CHECK(d.shared.buffered == 0);
        d.feed("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        CHECK(read_answers(d.out).bodies.back() == "Hello Anonymous");
    }
}

TEST_CASE("connection: it is let go of where the answer passes a stream on") {
    passing p;
    driver &other = p.other, &d = p.d;
    d.add("POST", "/", [&](const request&) { return bytes(content(std::move(p.from))); });
    d.feed("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 600000\r\n\r\n");
    d.feed(std::string(100'000, 'b'));
    d.feed(std::string(500'000, 'b'));
    REQUIRE(d.c.work());
    CHECK(d.c.work()->req.body().empty()); // its handler has returned
    CHECK(d.shared.buffered == 0);
    other.feed("passed");
    d.feed("");
    CHECK(d.out.find("passed") != std::string::npos);
    CHECK(d.shared.buffered == 0);
}

TEST_CASE("connection: the limits of the defaults are those that are documented") {
    usual d;
    struct row {
        std::string name, input;
        std::vector<int> statuses;
    };
    const std::string host = " HTTP/1.1\r\nHost: a\r\n", post = "POST /echo" + host;
    auto fields = [&](int count) {
        std::string input = "GET /" + host;
        for (int i = 1; i < count; ++i) input += "X: y\r\n";
        return input + "\r\n";
    };
    auto head_of = [&](std::size_t size) {
        std::string input = "GET /" + host + "X: ";
        return input + std::string(size - input.size() - 4, 'x') + "\r\n\r\n";
    };
    const std::vector<int> ok{200}, none{}, large_head{431}, large_body{413}, large_target{414};
    const row rows[] = {
        {"a head of 16 KiB", head_of(16'384), ok},
        {"one byte more", head_of(16'385), large_head},
        {"a target of 8 KiB", "GET /" + std::string(8191, 'a') + host + "\r\n", ok},
        {"one byte more", "GET /" + std::string(8192, 'a') + host + "\r\n", large_target},
        {"99 fields", fields(99), ok},
        {"100 fields", fields(100), ok},
        {"101 fields", fields(101), large_head},
        {"a body of 8 MiB", post + "Content-Length: 8388608\r\n\r\n", none},
        {"one byte more", post + "Content-Length: 8388609\r\n\r\n", large_body},
        {"chunks of one byte more",
         post + "Transfer-Encoding: chunked\r\n\r\n800001\r\n" + std::string(8'388'609, 'b'),
         large_body},
    };
    for (const row& r : rows) {
        CAPTURE(r.name);
        usual one;
        one.feed(r.input);
        CHECK(read_answers(one.out).statuses == r.statuses);
    }
    const server_options o;
    CHECK(o.max_buffered_bytes == 256u << 20);
    CHECK(o.max_connections_count == 16'384);
    CHECK(o.head_timeout == milliseconds(5'000));
    CHECK(o.body_timeout == milliseconds(30'000));
    CHECK(o.write_timeout == milliseconds(30'000));
    CHECK(o.idle_timeout == milliseconds(75'000));
    CHECK(o.drain_timeout == milliseconds(10'000));
}

TEST_CASE("connection: what a writer has waiting makes it full one byte over its limit") {
    server_options o;
    o.max_write_buffer_bytes = 1000;
    for (std::size_t size : {999u, 1000u, 1001u}) {
        CAPTURE(size);
        usual d(o);
        body_writer out;
        d.add("GET", "/a/stream", [&](request&, responder res) { out = res.stream(response()); });
        d.feed("GET /a/stream HTTP/1.1\r\nHost: a\r\n\r\n");
        CHECK(out.write(std::string(size, 'x')) == (size <= 1000 ? written::ok : written::full));
        if (size == 1000) CHECK(out.write("x") == written::full);
        d.feed("");
        CHECK(out.write("y") == written::ok); // the socket has taken it
        out.end();
        d.feed("");
        CHECK(d.out.find("y\r\n0\r\n\r\n") == d.out.size() - 8);
    }
}

TEST_CASE("connection: the rest of a refused body is passed over up to 64 KiB, then it ends") {
    for (std::size_t size : {65'535u, 65'536u, 65'537u}) {
        CAPTURE(size);
        usual d;
        d.feed("POST /no/where HTTP/1.1\r\nHost: a\r\nContent-Length: " + std::to_string(size) +
               "\r\n\r\n");
        CHECK(read_answers(d.out).statuses == std::vector<int>{404});
        CHECK(d.is_over() == (size > 65'536));
        d.out.clear();
        if (size > 65'536) continue;
        d.feed(std::string(size, 'b') + "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        CHECK(read_answers(d.out).statuses == std::vector<int>{200});
    }
}

TEST_CASE("connection: a hook that passes a stream on makes no request of the body it refused") {
    passing p;
    driver &other = p.other, &d = p.d;
    d.add("GET", "/", [](const request&) { return text("smuggled"); });
    d.shared.hooks.push_back({[&](request& r) {
                                  std::optional<response> out;
                                  if (r.path() == "/hook") out = bytes(content(std::move(p.from)));
                                  return out;
                              },
                              {}});
    d.feed("POST /hook HTTP/1.1\r\nHost: a\r\nContent-Length: 27\r\n\r\n");
    d.feed("");
    other.feed("passed");
    d.feed("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    CHECK(d.out.find("passed") != std::string::npos);
    CHECK(d.out.find("smuggled") == std::string::npos);
    CHECK(d.is_over());
}

TEST_CASE("connection: a collected body is not kept by the loop once it is answered") {
    usual d;
    std::string body(1'000'000, 'b');
    d.feed("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n" +
           body.substr(0, 500'000));
    d.feed(string_view(body).substr(500'000));
    CHECK((read_answers(d.out).bodies == std::vector<std::string>{body}));
    CHECK(access::of(state_of(d.lent.req).body).text.capacity() < 1000);
    CHECK(d.shared.buffered == 0);
}

// -- deadlines

TEST_CASE("connection: each state is under its own deadline") {
    struct row {
        std::string name;
        const char* input;
        timer clock;
    };
    static const row rows[] = {
        {"nothing yet", "", timer::idle},
        {"between requests", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", timer::idle},
        {"an empty line behind a request", "GET / HTTP/1.1\r\nHost: a\r\n\r\n\r\n", timer::idle},
        {"half a head", "GET / HT", timer::head},
        {"half a head behind a request", "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET", timer::head},
        {"half a body", "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na",
         timer::body},
        {"half a body that is passed over",
         "POST /a/b HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na", timer::body},
        {"half a streamed body", "POST /stream HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na",
         timer::body},
        {"a handler that takes its time", "GET /wait HTTP/1.1\r\nHost: a\r\n\r\n", timer::none},
    };
    for (const row& r : rows) {
        CAPTURE(r.name);
        usual d;
        responder kept;
        d.add("GET", "/wait", [&](request&, responder res) { kept = std::move(res); });
        d.feed(r.input);
        CHECK(d.c.due_timer() == r.clock);
    }
}

TEST_CASE("connection: a deadline that passes is 408 where an answer is due") {
    struct row {
        std::string name;
        const char* input;
        std::vector<int> statuses;
    };
    const row rows[] = {
        {"half a head", "GET / HT", {408}},
        {"half a body", "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na", {408}},
        {"half a streamed body",
         "POST /stream HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na",
         {408}},
        {"answered already", "POST /a/b HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na", {404}},
    };
    for (const row& r : rows) {
        CAPTURE(r.name);
        usual d;
        d.feed(r.input);
        d.talk().time_out();
        d.collect();
        CHECK(read_answers(d.out).statuses == r.statuses);
        CHECK(d.is_over());
    }
}

// -- the end of the peer's bytes

TEST_CASE(
    "connection: an end of file inside a request gets no answer, behind one it waits for it") {
    usual d;
    d.feed("GET / HTTP/1.1\r\nHo");
    CHECK(d.talk().at_eof());
    CHECK(d.out == "");

    usual body;
    body.feed("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na");
    CHECK(body.talk().at_eof());
    CHECK(body.out == "");

    body.c.retired = true; // shut by this side, inside of the peer's send, perhaps
    CHECK_FALSE(body.talk().at_eof());
    body.collect();
    CHECK(read_answers(body.out).statuses == std::vector<int>{503});
    CHECK(body.is_over());

    usual again; // its client sends it again where no answer says that it need not
    again.add("PUT", "/", [](const request&) { return text("done"); });
    again.feed("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na");
    again.c.retired = true;
    CHECK(again.talk().at_eof());
    CHECK(again.out == "");
    again.shared.stops = 1; // then there may be nobody to send it to
    CHECK_FALSE(again.talk().at_eof());
    again.collect();
    CHECK(read_answers(again.out).statuses == std::vector<int>{503});

    usual waiting;
    responder kept;
    waiting.add("GET", "/wait", [&](request&, responder res) { kept = std::move(res); });
    waiting.feed("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n");
    CHECK_FALSE(waiting.talk().at_eof());
    CHECK(kept.send(text("x")));
    waiting.feed("");
    CHECK(read_answers(waiting.out).statuses == std::vector<int>{200});
}

TEST_CASE("connection: a streamed body that is cut is cut_off to its reader") {
    usual d;
    d.feed("POST /stream HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab");
    CHECK_FALSE(d.talk().at_eof());
    d.feed("");
    CHECK(read_answers(d.out).statuses == std::vector<int>{400});
    CHECK(read_answers(d.out).bodies[0].find("ended inside a message") != std::string::npos);
    CHECK(d.is_over());
}

// -- what a program passes

TEST_CASE("connection: nothing that a program passes breaks framing") {
    struct row {
        std::string name;
        response (*make)();
        bool only_whole = false; // a stream may: its body comes later, or not at all
    };
    static const row rows[] = {
        {"CR LF in a value", [] { return text("body").header("A", "b\r\nC: d"); }},
        {"LF in a value", [] { return text("body").header("A", "b\nC: d"); }},
        {"CR in a value", [] { return text("body").header("A", "b\rC: d"); }},
        {"NUL in a value", [] { return text("body").header("A", string_view("b\0c", 3)); }},
        {"a control in a value", [] { return text("body").header("A", "b\x01"); }},
        {"CR LF in a redirect", [] { return redirect("/x\r\nSet-Cookie: a=b"); }},
        {"an empty name", [] { return text("body").header("", "b"); }},
        {"a colon in a name", [] { return text("body").header("A:", "b"); }},
        {"a space in a name", [] { return text("body").header("A B", "b"); }},
        {"CR LF in a name", [] { return text("body").header("A\r\nB", "b"); }},
        {"CR LF in a type", [] { return response().body("body", "text/plain\r\nA: b"); }},
        {"a body on 204", [] { return text("body").status(204); }, true},
        {"a body on 205", [] { return text("body").status(205); }, true},
        {"a body on 304", [] { return text("body").status(304); }, true},
        {"Content-Length on 204", [] { return response(204).header("Content-Length", "4"); }},
        {"Content-Length that is less", [] { return text("body").header("Content-Length", "3"); },
         true},
        {"Content-Length that is more", [] { return text("body").header("content-length", "5"); },
         true},
        {"Content-Length that is no number",
         [] { return text("body").header("Content-Length", "4, 4"); }},
        {"Content-Length with a sign", [] { return text("body").header("Content-Length", "+4"); }},
        {"Content-Length out of range",
         [] { return text("body").header("Content-Length", "18446744073709551620"); }},
        {"Transfer-Encoding", [] { return text("body").header("Transfer-Encoding", "chunked"); }},
        {"status 0", [] { return text("body").status(0); }},
        {"status 100", [] { return response(100); }},
        {"status 101", [] { return response(101); }},
        {"status 1000", [] { return text("body").status(1000); }},
        {"a negative status", [] { return text("body").status(-200); }},
        {"a file of 2^64 - 1", [] { return text(content::file(unique_fd(), 0, UINT64_MAX)); },
         true},
        {"content of 2^63", [] { return text(content::pulled({}, 1ull << 63)); }, true},
        {"created, a file of 2^63",
         [] { return text(content::file(unique_fd(), 0, 1ull << 63)).status(201); }, true},
        {"content of 2^64 - 1 beside a field",
         [] { return text(content::pulled({}, UINT64_MAX)).header("A", "b"); }, true},
    };
    for (const row& r : rows) {
        for (const std::string target : {"/plain", "/later", "/stream"}) {
            if (r.only_whole && target == "/stream") continue;
            CAPTURE(r.name);
            CAPTURE(target);
            driver d;
            d.add("GET", "/plain", [&](const request&) { return r.make(); });
            d.add("GET", "/later", [&](request&, responder res) { res.send(r.make()); });
            d.add("GET", "/stream", [&](request&, responder res) {
                response head = r.make();
                access::of(head).body = content();
                body_writer out = res.stream(std::move(head));
                out.write("body");
                out.end();
            });
            d.add("GET", "/2", [](const request&) { return text("next"); });
            d.feed("GET " + target +
                   " HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
            answered got = read_answers(d.out);
            CHECK(got.statuses == std::vector<int>{500, 200});
            CHECK(got.rest == "");
            REQUIRE_FALSE(got.bodies.empty());
            CHECK(got.bodies.back() == "next");
            CHECK(got.bodies.front() != "body");
            CHECK(d.log.size() == 1); // the cause, for whoever runs it
            d.out.clear();
            d.feed("HEAD " + target + " HTTP/1.1\r\nHost: a\r\n\r\n");
            got = read_answers(d.out, true);
            CHECK(got.statuses == std::vector<int>{500});
            CHECK(got.rest == ""); // it would be taken for the next answer
        }
    }
}

TEST_CASE("connection: nothing that an after hook changes breaks framing") {
    struct row {
        std::string name;
        string_view target;
        void (*change)(response&);
        int status;
    };
    static const row rows[] = {
        {"less than a stream writes", "/stream",
         [](response& r) { r.header("Content-Length", "3"); }, 500},
        {"more than a stream writes", "/stream",
         [](response& r) { r.header("Content-Length", "9"); }, 500},
        {"another length than the one that was stated", "/stated",
         [](response& r) { r.header("Content-Length", "9"); }, 500},
        {"the length that was stated", "/stated",
         [](response& r) { r.header("Content-Length", "4"); }, 200},
        {"no length", "/stated", [](response& r) { r.headers().remove("Content-Length"); }, 200},
        {"no body in a stream", "/stream", [](response& r) { r.status(205); }, 205},
        {"a body in a stream of none", "/none", [](response& r) { r.status(200); }, 200},
        {"a reader", "/plain", [](response& r) { r.body(content(body_reader()), "a/b"); }, 500},
        {"a reader, later", "/later", [](response& r) { r.body(content(body_reader()), "a/b"); },
         500},
    };
    for (const row& r : rows) {
        CAPTURE(r.name);
        driver d;
        d.lent.micros = []() -> std::int64_t { return 0; };
        d.shared.has_after = true;
        d.shared.hooks.push_back({{}, [&](const exchange& e, response& res) {
                                      if (e.target == r.target) r.change(res);
                                  }});
        auto stream = [](responder res, response head) {
            body_writer out = res.stream(std::move(head));
            out.write("body");
            out.end();
        };
        d.add("GET", "/plain", [](const request&) { return text("x"); });
        d.add("GET", "/later", [](request&, responder res) { res.send(text("x")); });
        d.add("GET", "/stream",
              [&](request&, responder res) { stream(std::move(res), response()); });
        d.add("GET", "/none",
              [&](request&, responder res) { stream(std::move(res), response(204)); });
        d.add("GET", "/stated", [&](request&, responder res) {
            stream(std::move(res), response().header("Content-Length", "4"));
        });
        d.add("GET", "/2", [](const request&) { return text("next"); });
        d.feed("GET " + std::string(r.target) +
               " HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
        CHECK(std::atoi(d.out.substr(9).c_str()) == r.status);
        CHECK(d.log.size() == (r.status == 500));
        const std::size_t second = d.out.rfind("HTTP/1.1 200 ");
        REQUIRE(second != std::string::npos);
        CHECK(read_answers(string_view(d.out).substr(second)).bodies ==
              std::vector<std::string>{"next"});
        std::string first = d.out.substr(0, second);
        CAPTURE(first);
        if (first.find("chunked") == std::string::npos) CHECK(read_answers(first).rest == "");
        else CHECK(first.substr(first.find("\r\n\r\n")) == "\r\n\r\n4\r\nbody\r\n0\r\n\r\n");
    }
}

TEST_CASE("connection: two fields of one length, added by hand, are refused too") {
    driver d;
    d.add("GET", "/", [](const request&) {
        response r = text("body");
        CHECK_FALSE(r.headers().add("Content-Length", "4"));
        CHECK_FALSE(r.headers().add("Content-Length", "4"));
        return r;
    });
    d.feed("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    CHECK(read_answers(d.out).statuses == std::vector<int>{500});
}

TEST_CASE("connection: what is right is passed on as it is") {
    driver d;
    d.add("GET", "/length",
          [](const request&) { return text("body").header("Content-Length", "4"); });
    d.add("GET", "/date",
          [](const request&) { return text("x").header("Date", "Fri, 02 Jan 1970 00:00:00 GMT"); });
    d.add("GET", "/close", [](const request&) { return text("x").header("Connection", "Close"); });
    d.add("GET", "/304", [](const request&) {
        return response(304).header("Content-Length", "77").header("ETag", "\"a\"");
    });
    d.add("GET", "/most",
          [](const request&) { return text(content::file(unique_fd(), 0, INT64_MAX)); });
    d.feed("HEAD /most HTTP/1.1\r\nHost: a\r\n\r\n");
    CHECK(field_of(d.out, "Content-Length") == "9223372036854775807");
    d.out.clear();
    d.feed("GET /length HTTP/1.1\r\nHost: a\r\n\r\n");
    CHECK(d.out.find("Content-Length: 4\r\n") == d.out.rfind("Content-Length: 4\r\n"));
    d.out.clear();
    d.feed("GET /date HTTP/1.1\r\nHost: a\r\n\r\n");
    CHECK(field_of(d.out, "Date") == "Fri, 02 Jan 1970 00:00:00 GMT");
    CHECK(d.out.find("Date") == d.out.rfind("Date"));
    d.out.clear();
    d.feed("GET /304 HTTP/1.1\r\nHost: a\r\n\r\n"); // RFC 9110 8.6: the length it would have had
    CHECK(field_of(d.out, "Content-Length") == "77");
    CHECK(d.out.substr(d.out.size() - 4) == "\r\n\r\n");
    d.out.clear();
    d.feed("GET /close HTTP/1.1\r\nHost: a\r\n\r\n");
    CHECK(field_of(d.out, "Connection") == "close");
    CHECK(d.is_over());
}

TEST_CASE("connection: HEAD has the head of GET and no body, in every shape") {
    usual d;
    d.add("GET", "/streamed", [](request&, responder res) {
        body_writer out = res.stream(text("").header("Content-Length", "10"));
        out.write("0123456789");
        out.end();
    });
    d.add("GET", "/chunked", [](request&, responder res) {
        body_writer out = res.stream(response());
        out.write("0123456789");
        out.end();
    });
    struct row {
        std::string target;
        const char* length;
    };
    static const row rows[] = {
        {"/", "15"}, {"/large", "100000"}, {"/streamed", "10"}, {"/chunked", ""}};
    for (const row& r : rows) {
        CAPTURE(r.target);
        d.out.clear();
        d.feed("HEAD " + r.target + " HTTP/1.1\r\nHost: a\r\n\r\n");
        CHECK(read_answers(d.out, true).statuses == std::vector<int>{200});
        CHECK(read_answers(d.out, true).rest == "");
        CHECK(field_of(d.out, "Content-Length") == r.length);
    }
    CHECK_FALSE(d.is_over());
}

TEST_CASE("connection: a streamed body with bad chunks is 400, though its handler says nothing") {
    for (const bool says : {false, true}) {
        error seen;
        driver d;
        d.add("PUT", "/", [&](request&, body_reader body, responder out) {
            auto in = std::make_shared<body_reader>(std::move(body));
            auto done = [&, in, out = std::move(out)](const error& why) mutable {
                seen = why;
                if (says) out.send(text("late").status(422));
            };
            in->on_data([](string_view) {}, std::move(done));
        });
        d.feed("PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabX");
        CHECK(read_answers(d.out).statuses == std::vector<int>{400});
        CHECK(seen == errc::bad_message);
        CHECK(d.is_over());
        CHECK_FALSE(d.c.work()); // answered: nobody is told that the client has left
    }
}

TEST_CASE("connection: a refused HEAD has no body, what follows an answered one has") {
    const std::string host = "Host: a\r\n";
    std::string fields;
    for (int i = 0; i < 101; ++i) fields += "X: y\r\n";
    for (const std::string& rest :
         {" / HTTP/1.1\r\n\r\n"s, " / HTTP/2.0\r\n"s + host + "\r\n",
          " * HTTP/1.1\r\n"s + host + "\r\n", " / HTTP/1.1\r\n"s + host + "X : y\r\n\r\n",
          " / HTTP/1.1\r\n"s + host + "Expect: x\r\n\r\n",
          " / HTTP/1.1\r\n"s + host + "Transfer-Encoding: gzip, chunked\r\n\r\n",
          " / HTTP/1.1\r\n"s + fields + "\r\n", " /" + std::string(9000, 'x'),
          " / HTTP/1.1\r\n"s + host + "Transfer-Encoding: chunked\r\n\r\nx\r\n"}) {
        CAPTURE(rest.substr(0, 80));
        usual head, get; // RFC 9110 9.3.2
        head.feed("HEAD" + rest);
        get.feed("GET" + rest);
        const answered got = read_answers(head.out, true);
        CHECK(got.statuses == read_answers(get.out).statuses);
        CHECK(got.rest == "");
        CHECK(head.is_over());
    }
    for (const std::string half : {"GET / HT", "HEAD / HT"}) {
        usual d;
        d.feed("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
        d.out.clear();
        d.feed(half);
        d.talk().time_out();
        d.collect();
        const answered got = read_answers(d.out, half[0] == 'H');
        CHECK(got.statuses == std::vector<int>{408});
        CHECK(got.rest == "");
        CHECK(got.bodies[0].empty() == (half[0] == 'H'));
    }
    usual d; // what nobody knows the method of has one
    d.feed("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    d.out.clear();
    const string_view half = "GET / HT";
    d.lent.fds.push_back(unique_fd(::dup(0))), d.lent.fds_from = half.data() + 4;
    d.talk().take(half);
    d.collect();
    const answered got = read_answers(d.out);
    CHECK(got.statuses == std::vector<int>{400});
    CHECK(got.rest == "");
}

TEST_CASE("connection: a stream has the framing that its head and the version allow") {
    struct row {
        std::string name;
        const char* version;
        const char* length;
        const char* ending;
        bool ends;
    };
    static const row rows[] = {
        {"chunked", "HTTP/1.1", nullptr, "\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nT: v\r\n\r\n", false},
        {"of a length", "HTTP/1.1", "5", "\r\n\r\nabcde", false},
        {"until the connection closes", "HTTP/1.0", nullptr, "\r\n\r\nabcde", true},
        {"of a length, 1.0", "HTTP/1.0", "5", "\r\n\r\nabcde", true},
    };
    for (const row& r : rows) {
        CAPTURE(r.name);
        driver d;
        body_writer out;
        d.add("GET", "/", [&](request&, responder res) {
            response head;
            if (r.length) head.header("Content-Length", r.length);
            out = res.stream(std::move(head));
        });
        d.feed("GET / " + std::string(r.version) + "\r\nHost: a\r\n\r\n");
        CHECK(out.write("abc") == written::ok);
        d.feed("");
        CHECK(out.write("de") == written::ok);
        CHECK(out.write("") == written::ok);
        CHECK(out.end({{"T", "v"}}));
        d.feed("");
        string_view tail = r.ending;
        REQUIRE(d.out.size() > tail.size());
        CHECK(string_view(d.out).substr(d.out.size() - tail.size()) == tail);
        CHECK(d.is_over() == r.ends);
        CHECK(out.write("more") == written::closed);
    }
}

TEST_CASE("connection: a stream of a stated length never sends more, and less is a cut") {
    for (bool more : {true, false}) {
        CAPTURE(more);
        driver d;
        d.add("GET", "/", [&](request&, responder res) {
            body_writer out = res.stream(response().header("Content-Length", "4"));
            CHECK(out.write("abc") == written::ok);
            if (more) CHECK(out.write("de") == written::closed);
            else CHECK_FALSE(out.end());
        });
        d.feed("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
        CHECK(d.is_over());
        CHECK(read_answers(d.out).statuses.empty());
        CHECK(d.out.find("abcd") == std::string::npos);
    }
}

TEST_CASE("connection: a writer dropped before its end is a cut that the client can see") {
    driver d;
    d.add("GET", "/", [](request&, responder res) { res.stream(response()).write("abc"); });
    d.feed("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    CHECK(d.is_over());
    CHECK(d.out.find("0\r\n\r\n") == std::string::npos);
    // The head has to be there: no answer at all is what clients repeat a request for.
    CHECK(d.out.find("HTTP/1.1 200 OK\r\n") == 0);
    CHECK(d.out.find("3\r\nabc\r\n") != std::string::npos);
}

TEST_CASE("connection: a trailer that may not be one is a cut, and never on the wire") {
    for (const char* name : {"Content-Length", "transfer-encoding", "Host", "Set-Cookie", "X"}) {
        CAPTURE(name);
        driver d;
        bool is_taken = false;
        d.add("GET", "/", [&](request&, responder res) { // RFC 9110 6.5.1
            headers trailers;
            REQUIRE_FALSE(trailers.add(name, "5"));
            is_taken = res.stream(response()).end(std::move(trailers));
        });
        d.feed("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        CHECK(is_taken == (name[0] == 'X'));
        CHECK(d.is_over() != is_taken);
        CHECK((d.out.find("\r\n0\r\n") != std::string::npos) == is_taken);
    }
}

TEST_CASE("connection: a streamed body is delivered whole though it was answered first") {
    driver d;
    std::string got;
    int dones = 0;
    body_reader kept;
    d.add("POST", "/", [&](request&, body_reader in, responder res) {
        in.on_data([&](string_view piece) { got.append(piece); },
                   [&](const error& why) { dones += why ? 100 : 1; });
        kept = std::move(in);
        res.send(text("first"));
    });
    d.feed("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
    CHECK(read_answers(d.out).bodies == std::vector<std::string>{"first"});
    CHECK(got == "abc");
    CHECK(dones == 1);
}

TEST_CASE("connection: Expect is answered when a reader starts later") {
    driver d;
    body_reader in;
    responder res;
    std::string got;
    d.add("POST", "/", [&](request&, body_reader body, responder later) {
        in = std::move(body), res = std::move(later);
    });
    d.feed("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    CHECK(d.out == "");
    in.on_data([&](string_view piece) { got.append(piece); },
               [&](const error&) { res.send(text("done")); });
    CHECK(d.c.due_timer() == timer::body);
    d.feed("abc");
    CHECK(got == "abc");
}

TEST_CASE("connection: a refusal names its own peer, not the one before") {
    driver d;
    d.add("GET", "/", [](const request& r) { return text(std::to_string(r.peer().uid)); });
    int fds[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    unique_fd one(fds[0]), other(fds[1]);
    d.c.fd = one.get();
    d.feed("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    CHECK(read_answers(d.out).bodies[0] == std::to_string(::getuid()));
    d.c.fd = -1, d.c.who = {}; // another connection of the same loop
    d.feed("GET / HTTP/9\r\n\r\n");
    REQUIRE(d.log.size() == 1);
    CHECK(d.log[0].find("uid=" + std::to_string(static_cast<uid_t>(-1))) != std::string::npos);
}

TEST_CASE("connection: slow handlers of one connection leave the others their turn") {
    static std::int64_t clock; // us
    clock = 0;
    driver d;
    d.lent.ticks = [] { return clock / 1'000; };
    int ran = 0;
    d.add("GET", "/", [&](const request&) { return ++ran, clock += 1'000, text("done"); });
    std::string many;
    for (int i = 0; i < 100; ++i) many += "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    CHECK(d.talk().take(many)); // there is more to do
    CHECK(ran < 40);
    d.collect();
    d.take({}); // its next turns
    CHECK(ran == 100);
    CHECK(read_answers(d.out).statuses == std::vector<int>(100, 200));

    d.lent.turn = clock / 1'000;
    d.add("GET", "/fast", [&](const request&) { return text("done"); });
    for (std::size_t at; (at = many.find(" / ")) != std::string::npos;) many.insert(at + 2, "fast");
    CHECK_FALSE(d.talk().take(many)); // all in one batch
    d.collect();
}

TEST_CASE("connection: so do the pieces of one streamed body") {
    static std::int64_t clock; // us
    clock = 0;
    driver d;
    d.lent.ticks = [] { return clock / 1'000; };
    std::optional<std::pair<body_reader, responder>> up;
    std::string got;
    d.add("POST", "/", [&](request&, body_reader in, responder out) {
        up.emplace(std::move(in), std::move(out));
        up->first.on_data([&](string_view piece) { got.append(piece), clock += 1'000; },
                          [&](const error&) { up->second.send(text("all")); });
    });
    d.feed("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    std::string chunks;
    for (int i = 0; i < 100; ++i) chunks += "1\r\nx\r\n";
    CHECK(d.talk().take(chunks));
    CHECK(got.size() < 40);
    d.take("0\r\n\r\n");
    CHECK(got == std::string(100, 'x'));
    d.feed("");
    CHECK(read_answers(d.out).bodies == std::vector<std::string>{"all"});
}

TEST_CASE("connection: so do those of a body that came by descriptor") {
    static std::int64_t clock; // us
    clock = 0;
    const std::size_t size = 4 << 20;
    unique_fd body(::memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    REQUIRE(::ftruncate(body.get(), size) == 0);
    REQUIRE(::fcntl(body.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) == 0);
    server_options o;
    o.max_body_fd_bytes = size, o.max_fds_count = 1;
    driver d(o);
    d.lent.ticks = [] { return clock / 1'000; };
    std::size_t seen = 0;
    std::optional<std::pair<body_reader, responder>> up;
    d.add("POST", "/", [&](request&, body_reader in, responder out) {
        up.emplace(std::move(in), std::move(out));
        up->first.on_data([&](string_view piece) { seen += piece.size(), clock += 10'000; },
                          [&](const error& why) { up->second.send(text(why ? "cut" : "all")); });
    });
    const char head[] = "POST / HTTP/1.1\r\nHost: a\r\nBody-Fd: length=4194304\r\n\r\n";
    d.lent.fds.push_back(std::move(body)), d.lent.fds_from = head;
    d.talk().take(head);
    d.settle();
    CHECK(seen > 0);
    CHECK(seen < size / 2);
    for (int turns = 0; turns < 16; ++turns) d.lent.turn = clock / 1'000, d.settle();
    CHECK(seen == size);
    CHECK(read_answers(d.out).bodies == std::vector<std::string>{"all"});
}

TEST_CASE("connection: a body that came by descriptor is whole to its reader, or cut") {
    static std::int64_t clock; // us
    clock = 0;
    const std::size_t size = 4 << 20;
    unique_fd body(::memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    REQUIRE(::ftruncate(body.get(), size) == 0);
    REQUIRE(::fcntl(body.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) == 0);
    server_options o;
    o.max_body_fd_bytes = size, o.max_fds_count = 1;
    driver d(o);
    d.lent.micros = [] { return clock; };
    std::size_t seen = 0;
    std::vector<error> ends;
    body_reader in;
    responder out;
    bool pauses = false;
    d.add("POST", "/", [&](request&, body_reader from, responder to) {
        in = std::move(from), out = std::move(to);
        in.on_data(
            [&](string_view piece) {
                seen += piece.size(), clock += 20'000; // the others' turn has come
                if (pauses) in.pause();
            },
            [&](const error& why) { ends.push_back(why); });
        if (!pauses) out.send(response(202));
    });
    const char head[] = "POST / HTTP/1.1\r\nHost: a\r\nBody-Fd: length=4194304\r\n\r\n";
    d.lent.fds.push_back(std::move(body)), d.lent.fds_from = head;
    SUBCASE("answered early: nobody is there later") {
        d.talk().take(head);
        while (d.settle()) d.lent.turn = clock / 1'000;
        CHECK(seen == size);
        REQUIRE(ends.size() == 1);
        CHECK_FALSE(ends[0]);
    }
    SUBCASE("paused, and its client leaves") {
        pauses = true;
        d.talk().take(head);
        d.settle();
        CHECK(seen < size);
        CHECK(ends.empty());
        const ref<flow> f = std::move(d.c.more->at_work);
        d.c.more = {};
        dialog::abandon(d.shared, *f, failed(errc::cut_off, "test"));
        REQUIRE(ends.size() == 1);
        CHECK(ends[0] == errc::cut_off);
    }
}

TEST_CASE("connection: a refused body is told of once, whatever ends its connection") {
    for (const bool refused : {false, true}) {
        CAPTURE(refused);
        usual d;
        int told = 0;
        d.shared.on_exchange = [&](const exchange&) { ++told; };
        d.feed("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n");
        if (refused) d.feed("no size\r\n");
        CHECK(told == int(refused));
        CHECK(d.log.size() == std::size_t(refused));
        d.talk().tell_cut(error()); // by the peer: nothing to log
        CHECK(told == 1);
        CHECK(d.log.size() == std::size_t(refused));
    }
}

TEST_CASE("connection: what is refused early, and a hook that throws, are logged") {
    server_options o;
    o.max_body_bytes = 2;
    usual d(o);
    d.feed("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
    CHECK(read_answers(d.out).statuses == std::vector<int>{413});
    CHECK(d.lent.refused == 1);
    REQUIRE(d.log.size() == 1);
    CHECK(d.log[0].rfind("413 body over the limit", 0) == 0);
    for (const bool after : {false, true}) {
        CAPTURE(after);
        d.out.clear(), d.log.clear(), d.shared.hooks.clear();
        hook throws;
        if (after) throws.after = [](const exchange&, response&) { throw 1; };
        else throws.before = [](request&) -> std::optional<response> { throw 1; };
        d.shared.hooks.push_back(std::move(throws));
        d.shared.has_after = after;
        d.feed("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        CHECK(read_answers(d.out).statuses == std::vector<int>{500});
        REQUIRE(d.log.size() >= 1);
        CHECK(d.log[0].rfind("hook: ", 0) == 0);
    }
}

TEST_CASE("connection: on_exchange tells of no other connection's request") {
    const std::string head = "POST /later HTTP/1.1\r\nHost: a\r\nContent-Length: 150\r\n\r\n";
    server_options o;
    o.max_buffered_bytes = 100, o.max_fds_count = 2;
    usual d(o);
    static std::int64_t clock; // us
    clock = 0;
    d.lent.micros = [] { return clock; };
    std::string told;
    d.shared.on_exchange = [&](const exchange& e) {
        told = std::string(e.method) + " " + std::string(e.target) + " " +
               std::to_string(e.status) + " " + std::to_string(e.bytes_in) + " " +
               std::to_string(e.tag) + " " + std::to_string(e.time.count());
    };
    d.shared.hooks.push_back({[](request& r) -> std::optional<response> {
                                  if (r.path() == "/other") r.tag() = 7;
                                  return {};
                              },
                              {}});
    auto other = [&] { // of the same loop, while this one waits for more
        conn waits = std::exchange(d.c, conn{});
        clock += 10;
        d.feed("GET /other HTTP/1.1\r\nHost: a\r\n\r\n");
        d.c = std::move(waits);
        clock += 10;
    };
    auto pass = [&](string_view bytes, std::size_t from) {
        d.lent.fds.push_back(unique_fd(::dup(0))), d.lent.fds_from = bytes.data() + from;
        d.talk().take(bytes);
        d.collect();
    };
    std::string wanted;
    SUBCASE("a head that is too slow") {
        d.feed("GET /slow");
        other();
        d.talk().time_out();
        wanted = "  408 0 0 0";
    }
    SUBCASE("a body that is too slow") {
        d.feed(head + std::string(50, 'b'));
        other();
        d.talk().time_out();
        wanted = "POST /later 408 50 0 20";
    }
    SUBCASE("a body there is no memory for, once it has come") {
        d.feed(head + std::string(50, 'b'));
        other();
        d.feed(std::string(100, 'b'));
        wanted = "POST /later 503 150 0 20";
    }
    SUBCASE("descriptors in a body that came in pieces") {
        d.feed(head + std::string(50, 'b'));
        other();
        pass(std::string(100, 'b'), 0);
        wanted = "POST /later 400 150 0 20";
    }
    SUBCASE("a body over the limit, and a page that leaves later") {
        d.shared.options.max_body_bytes = 1000, d.shared.has_after = true;
        d.shared.hooks.push_back({{}, [](const exchange& e, response& r) {
                                      if (e.status == 413)
                                          r.body(std::string(200'000, 'p'), "text/html");
                                  }});
        d.feed("POST /later HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
        other();
        told.clear();
        d.reads = false;
        d.feed("FFFF\r\nabc");
        CHECK(told == ""); // not yet
        other();
        d.reads = true;
        d.collect();
        wanted = "POST /later 413 6 0 40";
    }
    SUBCASE("a page that is given, and leaves, later") {
        responder kept;
        d.add("GET", "/kept/it", [&](request&, responder out) { kept = std::move(out); });
        d.feed("GET /kept/it HTTP/1.1\r\nHost: a\r\n\r\n");
        other();
        d.reads = false;
        CHECK(kept.send(text(std::string(200'000, 'p'))));
        d.settle();
        other();
        d.reads = true;
        d.collect();
        wanted = "GET /kept/it 200 0 0 40";
    }
    SUBCASE("descriptors inside of a head") {
        other();
        pass("GET /slow", 4);
        wanted = "  400 0 0 0";
    }
    SUBCASE("descriptors behind a refusal") {
        d.feed("BAD\r\n\r\n");
        d.c.at = phase::linger, d.c.ends = false; // as the loop does
        other();
        d.out.clear();
        pass("more", 0);
        CHECK(d.out == "");
        wanted = "GET /other 200 0 7 0";
    }
    CHECK(told == wanted);
}

TEST_CASE("connection: a body that came in pieces still knows its peer") {
    for (bool later : {false, true}) {
        CAPTURE(later);
        driver d;
        if (later)
            d.add("POST", "/",
                  [](request& r, responder res) { res.send(text(std::to_string(r.peer().uid))); });
        else
            d.add("POST", "/", [](const request& r) { return text(std::to_string(r.peer().uid)); });
        int fds[2];
        REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
        unique_fd one(fds[0]), other(fds[1]);
        d.c.fd = one.get();
        d.feed("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab");
        d.feed("cd");
        CHECK(read_answers(d.out).bodies == std::vector<std::string>{std::to_string(::getuid())});
    }
}

TEST_CASE("connection: captures that own the stream they listen to are dropped without a lock-up") {
    driver d;
    auto out = std::make_shared<body_writer>();
    auto in = std::make_shared<body_reader>();
    d.add("POST", "/", [&](request&, body_reader body, responder res) {
        *in = std::move(body);
        *out = res.stream(response());
        out->on_drain([out] {}); // the last owner of what it listens to
        in->on_data([in](string_view) {}, {});
    });
    d.feed("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab");
    std::weak_ptr<body_writer> writer = out;
    std::weak_ptr<body_reader> reader = in;
    out.reset(), in.reset();
    ref<flow> f = d.c.more->at_work;
    d.c.more = {};
    dialog::abandon(d.shared, *f, failed(errc::cut_off, "test"));
    CHECK(writer.expired());
    CHECK(reader.expired());
}

TEST_CASE("connection: who upgrades without being asked to is told so") {
    driver d;
    d.add("GET", "/",
          [](request&, responder res) { res.upgrade("chat", [](upgraded) { CHECK(false); }); });
    d.feed("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    CHECK(read_answers(d.out).statuses == std::vector<int>{426});
    CHECK(field_of(d.out, "Upgrade") == "chat");
    CHECK(field_of(d.out, "Connection") == "Upgrade"); // RFC 9110 7.8
    d.out.clear();
    d.feed("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\nY: chat\r\n\r\n");
    CHECK(read_answers(d.out).statuses == std::vector<int>{426});
}

TEST_CASE("connection: an upgrade is not the last of a server that keeps no connection") {
    server_options o;
    o.idle_timeout = milliseconds(0);
    driver d(o);
    std::string got;
    upgraded up{response(), {}, {}};
    d.add("GET", "/", [&](request&, responder res) {
        res.upgrade("chat", [&](upgraded opened) {
            up = std::move(opened);
            up.in.on_data([&](string_view piece) { got.append(piece); }, {});
        });
    });
    d.feed("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n");
    CHECK(read_answers(d.out).statuses == std::vector<int>{101});
    d.feed("hello");
    CHECK(got == "hello");
}

TEST_CASE("connection: an upgrade is told once its 101 has left, not before") {
    driver d;
    responder kept;
    bool told = false;
    d.add("GET", "/", [&](request&, responder res) { kept = std::move(res); });
    d.feed("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n");
    kept.upgrade("chat", [&](upgraded) { told = true; });
    ref<flow> f = d.c.more->at_work;
    d.talk().settle(*f, [&] { d.c.blocked = true; }); // the socket takes no more
    CHECK_FALSE(told);
    d.c.blocked = false;
    f = d.c.more->at_work;
    d.talk().settle(*f, [&] { d.collect(); });
    CHECK(told);
}

TEST_CASE("connection: what has to wait for room is not drained, and is cut at once") {
    server_options o;
    o.max_write_buffer_bytes = 4;
    driver d(o);
    body_writer out;
    int first = 0, second = 0;
    d.add("GET", "/", [&](request&, responder res) { out = res.stream(response()); });
    d.feed("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    out.on_drain([&] { ++first, out.on_drain([&] { ++second; }); });
    const ref<flow> f = d.c.more->at_work;
    for (const int round : {1, 2}) {
        CHECK(out.write("12345") == written::full);
        d.talk().settle(*f, [&] { d.c.blocked = true; });
        CHECK(first + second == round - 1);
        d.c.blocked = false;
        d.talk().settle(*f, [] {});
        CHECK(first == 1);
        CHECK(second == round - 1); // the one that it has set itself
    }
    d.c.blocked = true;
    out.cut();
    d.talk().settle(*f, [] {});
    CHECK(bool(d.c.gone));
    d.c.blocked = false;
}

TEST_CASE("connection: what waits for room outlives the refusal behind it") {
    driver d;
    responder kept;
    d.add("POST", "/", [&](request&, body_reader in, responder out) {
        in.on_data([](string_view) {}, {});
        kept = std::move(out);
    });
    d.feed("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n");
    d.c.more->out = "HTTP/1.1 103 \r\n\r\n", d.c.blocked = true; // many of those, as it were
    d.talk().take("no size\r\n");
    REQUIRE(d.c.more);
    CHECK(d.c.more->out == "HTTP/1.1 103 \r\n\r\n");
    d.c.blocked = false, d.c.more->out.clear();
    d.collect();
    CHECK(read_answers(d.out).statuses == std::vector<int>{400});
}

TEST_CASE("connection: a reader that pauses hears nothing, the end neither, until it goes on") {
    driver d;
    body_reader in;
    std::string got;
    bool ended = false;
    d.add("POST", "/", [&](request&, body_reader body, responder out) {
        in = std::move(body);
        in.on_data(
            [&](string_view piece) { got.append(piece), in.pause(); },
            [&, out = std::move(out)](const error&) mutable { ended = true, out.send(text(got)); });
    });
    d.feed("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab");
    CHECK(got == "ab");
    CHECK_FALSE(ended);
    in.resume();
    d.feed("");
    CHECK(ended);
    CHECK(read_answers(d.out).bodies == std::vector<std::string>{"ab"});
}

TEST_CASE("connection: a reader that changes inside of its own callback") {
    driver d;
    body_reader in;
    responder kept;
    std::string first, second;
    std::weak_ptr<int> captured;
    d.add("POST", "/{how}", [&](request& r, body_reader body, responder out) {
        in = std::move(body), kept = std::move(out);
        const bool drops = r.param("how") == "drop";
        auto held = std::make_shared<int>(1);
        captured = held;
        in.on_data(
            [&, drops, held](string_view piece) {
                first.append(piece.empty() ? "!" : piece);
                if (drops) in = body_reader();
                else if (piece == "b")
                    in.on_data([&](string_view more) { second.append(more); }, {});
            },
            {});
    });
    std::string body = "a";
    SUBCASE("another one gets the rest") {
        d.feed("POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
               "1\r\na\r\n1\r\nb\r\n1\r\nc\r\n0\r\n\r\n");
        CHECK(first == "ab");
        CHECK(second == "c");
    }
    SUBCASE("dropped, it lets go of what it had captured") {
        d.feed("POST /drop HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na");
        CHECK(first == "a");
    }
    SUBCASE("no piece is empty, also where nobody is told the end") {
        d.feed("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\na");
        CHECK(first == "a");
        return;
    }
    CHECK(captured.expired());
}

TEST_CASE("connection: whose callback throws at the last piece says that it closes") {
    driver d;
    responder kept;
    d.add("POST", "/", [&](request&, body_reader in, responder out) {
        auto mine = std::make_shared<body_reader>(std::move(in));
        kept = std::move(out);
        mine->on_data(
            [&, mine](string_view) {
                kept.send(text("taken"));
                throw 1;
            },
            {});
    });
    d.feed("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\na");
    CHECK(read_answers(d.out).statuses == std::vector<int>{200});
    CHECK(field_of(d.out, "Connection") == "close");
    CHECK(d.is_over());
}

TEST_CASE("connection: no 100 Continue comes before a whole answer") {
    driver d;
    body_reader in;
    responder out;
    d.add("POST", "/", [&](request&, body_reader body, responder res) {
        in = std::move(body), out = std::move(res);
    });
    d.feed("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n");
    in.on_data([](string_view) {}, {});
    out.send(text("no need"));
    d.feed("");
    CHECK(read_answers(d.out).statuses == std::vector<int>{200});
}

TEST_CASE("connection: whether an upgrade is offered is the request's own, not another's") {
    for (bool offers : {true, false}) {
        CAPTURE(offers);
        usual d;
        d.add("POST", "/up", [](request&, responder res) { res.upgrade("chat", [](upgraded) {}); });
        const std::string fields[] = {"Upgrade: chat\r\n",
                                      "Upgrade: chat\r\nConnection: upgrade\r\n"};
        d.feed("POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n" + fields[offers] + "\r\n");
        conn waits = std::exchange(d.c, conn{});
        d.feed("GET / HTTP/1.1\r\nHost: a\r\n" + fields[!offers] + "\r\n");
        d.c = std::move(waits), d.out.clear();
        d.feed("abc");
        CHECK(read_answers(d.out).statuses == std::vector<int>{offers ? 101 : 426});
    }
}

TEST_CASE("connection: the body of a request that was upgraded is counted no more") {
    usual d;
    d.add("POST", "/up", [](request&, responder res) { res.upgrade("chat", [](upgraded) {}); });
    d.feed("POST /up HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: chat\r\n"
           "Content-Length: 3\r\n\r\nabc");
    CHECK(read_answers(d.out).statuses == std::vector<int>{101});
    CHECK(d.shared.buffered == 0);
}

TEST_CASE("connection: an upgraded connection carries bytes, the early ones too") {
    driver d;
    std::string got;
    auto up = std::make_shared<upgraded>();
    d.add("GET", "/", [&](request&, responder res) {
        res.upgrade("chat",
                    [&, up](upgraded opened) {
                        *up = std::move(opened);
                        up->in.on_data([&](string_view piece) { got.append(piece); },
                                       [](const error&) {});
                    },
                    {{"X-Extra", "1"}});
    });
    d.feed("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\nearly");
    CHECK(d.out.find("HTTP/1.1 101 Switching Protocols\r\n") == 0);
    CHECK(field_of(d.out, "Upgrade") == "chat");
    CHECK(field_of(d.out, "X-Extra") == "1");
    CHECK(got == "early");
    d.feed(" late GET / HTTP/1.1\r\n\r\n");
    CHECK(got == "early late GET / HTTP/1.1\r\n\r\n");
    d.out.clear();
    CHECK(up->out.write("back") == written::ok);
    d.feed("");
    CHECK(d.out == "back");
    CHECK(up->out.end());
    d.feed("");
    CHECK(bool(d.c.shuts));
    CHECK_FALSE(d.is_over());
}

TEST_CASE("connection: who has passed on the body of a call has no part in what its 101 opens") {
    passing p;
    static driver* far;
    far = &p.d, p.d.c.calls = true;
    const ref<flow> f(new flow(p.d.home, 0, 1 << 20));
    f->may_upgrade = true, f->max_head_bytes = 1000;
    f->req = request("POST", "/").header("Upgrade", "chat").header("Connection", "upgrade");
    f->req.body(std::move(p.from), "");
    access::of(state_of(f->req).body).from->relays = [](body_reader from, body_writer to,
                                                        callback<void(const error&)>) {
        relay(std::move(from), std::move(to), [](const error&) { // inside: as quick as can be
            far->settle();
            far->feed("HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\n");
        });
    };
    p.d.talk().ask(f);
    p.d.collect();
    p.other.feed("123456");
    CHECK(p.d.out.find("123456\r\n0\r\n\r\n") != std::string::npos);
    REQUIRE(p.d.c.at == phase::raw);
    p.d.out.clear();
    CHECK(f->write("hello") == written::ok);
    p.d.feed("");
    CHECK(p.d.out == "hello");
    CHECK_FALSE(p.d.is_over());
}

TEST_CASE("connection: of a refused body nothing stays with those who come after it") {
    driver d;
    d.add("POST", "/", [](const request&) { return text(""); });
    const std::string head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    d.feed(head + "100000\r\n");
    d.feed(std::string(1 << 20, 'x') + "\r\n");
    d.feed("no size\r\n");
    CHECK(read_answers(d.out).statuses == std::vector<int>{400});
    CHECK(access::of(state_of(d.lent.req).body).text.capacity() < 1024);
}
