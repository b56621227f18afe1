// Rooms [2] and [3]: errors, callbacks, header fields, requests, responses, contents, sealed
// memory.
#include "uds_http.hpp"

#include <memory>

#include <doctest/doctest.h>

using namespace uds_http;

namespace {

/// Counts its own copies that live.
struct counted {
    int* alive;
    explicit counted(int& count) : alive(&count) { ++*alive; }
    counted(const counted& other) : alive(other.alive) { ++*alive; }
    counted(counted&& other) noexcept : alive(other.alive) { ++*alive; }
    ~counted() { --*alive; }
};

std::string all(const headers& h) {
    std::string out;
    for (const field& f : h) out.append(f.name).append("=").append(f.value).append(";");
    return out;
}

} // namespace

// -- errors

TEST_CASE("values: an error is true when something failed, and says where and why") {
    error none;
    CHECK_FALSE(static_cast<bool>(none));
    error e(std::make_error_code(std::errc::connection_refused), "/run/a.sock: connect");
    CHECK(static_cast<bool>(e));
    CHECK(e == std::errc::connection_refused);
    CHECK_FALSE(e == errc::cut_off);
    CHECK(e.message() == "/run/a.sock: connect: Connection refused");
    CHECK_FALSE(e.sent());
    error ours(errc::cut_off, "");
    CHECK(ours == errc::cut_off);
    CHECK(ours.message() == "connection ended inside a message");
    for (int i = 1; i <= 11; ++i) {
        CHECK(std::string(make_error_code(static_cast<errc>(i)).message()) != "unknown error");
        CHECK(std::string(make_error_code(static_cast<errc>(i)).category().name()) == "uds_http");
    }
}

TEST_CASE("values: a result has a value or an error") {
    result<std::string> whole = std::string("a value that is longer than it is short"),
                        same = whole;
    CHECK(*same == *whole);
    same = detail::failed(errc::cut_off, "here");
    CHECK(same.error() == errc::cut_off);
    same = whole;
    CHECK((same && *same == *whole && !same.error()));
    result<std::string> good(std::string("x"));
    CHECK(static_cast<bool>(good));
    CHECK(*good == "x");
    CHECK(good->size() == 1);
    CHECK_FALSE(static_cast<bool>(good.error()));
    std::string taken = *std::move(good);
    CHECK(taken == "x");
    result<std::string> bad(error(errc::stopped, "test"));
    CHECK_FALSE(static_cast<bool>(bad));
    CHECK(bad.error() == errc::stopped);
}

// -- callback

TEST_CASE("values: a callback moves, calls, and destroys what it holds once") {
    int alive = 0;
    {
        callback<int(int)> none;
        CHECK_FALSE(static_cast<bool>(none));
        callback<int(int)> small(
            [c = counted(alive), n = 1](int x) mutable { return (void)c, n++ + x; });
        CHECK(alive == 1);
        CHECK(small(10) == 11);
        CHECK(small(10) == 12);
        callback<int(int)> moved(std::move(small));
        CHECK_FALSE(static_cast<bool>(small));
        CHECK(moved(10) == 13);
        CHECK(alive == 1);
        char much[200] = {7};
        callback<int(int)> large(
            [c = counted(alive), much](int x) { return (void)c, much[0] + x; });
        CHECK(alive == 2);
        none = std::move(large);
        CHECK(none(1) == 8);
        none = std::move(moved);
        CHECK(alive == 1);
        CHECK(none(10) == 14);
        callback<int(int)>& self = none;
        none = std::move(self);
        CHECK(static_cast<bool>(none));
        none = {};
        CHECK(alive == 0);
        struct alignas(32) wide {
            ~wide() {} // passed by reference, not on a stack of another alignment
            double four[4];
        };
        callback<std::uintptr_t()> aligned( // captures of a type that wants more than malloc gives
            [w = wide{}] { return reinterpret_cast<std::uintptr_t>(&w) % alignof(wide); });
        callback<std::uintptr_t()> elsewhere[3];
        for (auto& to : elsewhere) {
            to = std::move(aligned);
            CHECK(to() == 0);
            aligned = std::move(to);
        }
    }
    CHECK(alive == 0);
    callback<std::unique_ptr<int>(std::unique_ptr<int>)> through(
        [](std::unique_ptr<int> p) { return std::make_unique<int>(*p + 1); });
    CHECK(*through(std::make_unique<int>(4)) == 5);
}

TEST_CASE("values: a callback that has no function, or no longer, does nothing when it is called") {
    int alive = 0, calls = 0;
    char much[200] = {7};
    callback<void()> small([c = counted(alive), &calls] { ++calls; });
    callback<void()> large([c = counted(alive), much, &calls] { calls += much[0]; }), none;
    for (callback<void()>* from : {&small, &large, &none}) {
        callback<void()> act = std::move(*from), again = std::move(*from);
        again(), (*from)(); // what was moved is not theirs to call
        CHECK(calls == (from == &none ? 8 : from == &small ? 0 : 1));
        act();
        *from = {};
        (*from)();
        CHECK(calls == (from == &small ? 1 : 8));
    }
    CHECK(alive == 0);
}

// -- headers

TEST_CASE("values: header fields keep their order, and are found without case") {
    headers h{{"Accept", "a"}, {"X-Y", "1"}, {"accept", "b"}};
    CHECK(h.get("ACCEPT") == "a");
    CHECK(h.get("x-y") == "1");
    CHECK(h.get("none") == "");
    CHECK(h.contains("X-y"));
    CHECK_FALSE(h.contains("X"));
    CHECK_FALSE(static_cast<bool>(h.add("Accept", "c")));
    CHECK(all(h) == "Accept=a;X-Y=1;accept=b;Accept=c;");
    CHECK_FALSE(static_cast<bool>(h.set("ACCEPT", " d\t")));
    CHECK(all(h) == "X-Y=1;ACCEPT=d;");
    h.remove("x-y");
    CHECK(all(h) == "ACCEPT=d;");
    CHECK_FALSE(static_cast<bool>(h.set("Accept", h.get("Accept")))); // a view of what goes
    CHECK(all(h) == "Accept=d;");
    h.remove(h.begin()->name);
    CHECK(all(h) == "");
}

TEST_CASE("values: fields that would break a message are refused, and change nothing") {
    struct row {
        std::string name, value;
        bool good;
    };
    const row rows[] = {
        {"A", "b", true},
        {"A", "", true},
        {"!#$%&'*+-.^_`|~09azAZ", "x", true},
        {"A", "tab\tinside", true},
        {"A", "obs-text \xe4\xff", true},
        {"", "b", false},
        {"A ", "b", false},
        {" A", "b", false},
        {"A:", "b", false},
        {"A\r\n", "b", false},
        {"\xc3\xa4", "b", false},
        {"A(", "b", false},
        {std::string("A\0", 2), "b", false},
        {"A", "b\rc", false},
        {"A", "b\nc", false},
        {"A", "b\r\n c", false},
        {"A", std::string("b\0c", 3), false},
        {"A", "b\x7f", false},
        {"A", "b\x1f", false},
        {"A", "b\n", false},
    };
    for (const row& r : rows) {
        CAPTURE(r.name);
        CAPTURE(r.value);
        headers h{{"Keep", "me"}, {"A", "old"}};
        error added = h.add(r.name, r.value);
        CHECK(static_cast<bool>(added) == !r.good);
        if (r.good) continue;
        CHECK(added == errc::bad_field);
        CHECK(h.set(r.name, r.value) == errc::bad_field);
        CHECK(all(h) == "Keep=me;A=old;");
    }
}

TEST_CASE("values: a field that is set again and again takes no more memory") {
    headers h{{"A", "first"}, {"B", "0"}};
    for (int i = 0; i < 100'000; ++i) REQUIRE_FALSE(h.set("B", std::to_string(i)));
    CHECK(h.get("A") == "first");
    CHECK(h.get("B") == "99999");
    std::size_t held = 0;
    for (auto* b = detail::access::of(h)->bytes.newest; b; b = b->older) held += b->size;
    CHECK(held < 32'768);
}

TEST_CASE("values: copies of headers own their bytes, also of borrowed ones") {
    headers h;
    for (int i = 0; i < 100; ++i)
        CHECK_FALSE(static_cast<bool>(
            h.add("N" + std::to_string(i), std::string(static_cast<std::size_t>(i), 'v'))));
    headers copy(h), assigned;
    assigned = h;
    std::string text = all(h);
    headers moved(std::move(h));
    CHECK(all(moved) == text);
    CHECK(all(copy) == text);
    CHECK(all(assigned) == text);
    const headers& self = assigned;
    assigned = self;
    CHECK(all(assigned) == text);

    std::string buffer = "name: value";
    headers borrowed;
    field* room = detail::open_fields(borrowed, 4);
    room[0] = {string_view(buffer).substr(0, 4), string_view(buffer).substr(6)};
    detail::close_fields(borrowed, 1);
    headers taken(std::move(borrowed));
    buffer.assign(buffer.size(), '#');
    CHECK(all(taken) == "name=value;");
}

namespace program { // whose names are its own
std::string display(const address& a) { return "mine:" + a.url(); }
template <class T> std::string spelled(const T&) { return "mine"; }
template <class T> std::string state_of(const T&) { return "mine"; }
template <class T> std::string duplicate(const T&) { return "mine"; }
} // namespace program

TEST_CASE("values: the classes' names for themselves stay out of a program's way") {
    using namespace program;
    CHECK(display(address("/a")) == "mine:http+unix://%2Fa/");
    CHECK(spelled(address("/a")) == "mine");
    CHECK(state_of(request("GET", "/")) == "mine");
    CHECK(duplicate(unique_fd()) == "mine");
    static_assert(!std::is_aggregate_v<sealed_memory> && !std::is_aggregate_v<memory_builder> &&
                  !std::is_aggregate_v<body_writer> && !std::is_aggregate_v<body_reader> &&
                  !std::is_aggregate_v<responder> && !std::is_aggregate_v<event_writer>);
    static_assert(std::is_abstract_v<route> && !std::is_copy_constructible_v<memory_builder> &&
                  !std::is_copy_constructible_v<body_writer> &&
                  !std::is_copy_constructible_v<responder> &&
                  !std::is_move_constructible_v<server>);
}

TEST_CASE("values: a result is copied where its value can be, and moved into a vector otherwise") {
    static_assert(std::is_copy_constructible_v<result<std::string>>);
    static_assert(!std::is_copy_constructible_v<result<response>>);
    static_assert(!std::is_copy_assignable_v<result<reply>>);
    std::vector<result<response>> all;
    for (int i = 0; i < 5; ++i) all.push_back(text(std::to_string(i)));
    all.push_back(error(make_error_code(errc::cut_off), "x"));
    CHECK(all[4]->body() == "4");
    CHECK(all[5].error() == errc::cut_off);
}

TEST_CASE("values: what is hop-by-hop goes, with all that Connection names (RFC 9110 7.6.1)") {
    headers h{{"Host", "a"},      {"Connection", "close, X-Private"},
              {"X-Private", "1"}, {"connection", "x-other"},
              {"X-Other", "2"},   {"Keep-Alive", "5"},
              {"TE", "trailers"}, {"Transfer-Encoding", "chunked"},
              {"Upgrade", "tcp"}, {"Trailer", "X"},
              {"Accept", "b"},    {"Proxy-Connection", "x"}};
    h.remove_hop_by_hop();
    CHECK(all(h) == "Host=a;Accept=b;");
    headers twisted{
        {"Connection", "Connection, a"}, {"Connection", "b"}, {"A", "1"}, {"B", "2"}, {"C", "3"}};
    twisted.remove_hop_by_hop();
    CHECK(all(twisted) == "C=3;");
    headers lost{{"Host", "a"}, {"Connection", "Host"}};
    lost.remove_hop_by_hop();
    CHECK(all(lost) == "Host=a;"); // it is every recipient's
    headers bad{{"no token", "x"}, {"Connection", ", close"}};
    bad.remove_hop_by_hop();
    CHECK(all(bad) == "=;"); // as bad as before
    // Each name is looked for in all fields: more than there can be are not looked for one by one.
    std::string names = "a";
    for (int i = 0; i < 240; ++i) names += ",a";
    headers many{{"A", "1"}, {"B", "2"}, {"Connection", names}};
    headers more{{"A", "1"}, {"B", "2"}, {"Connection", names}, {"Connection", names}};
    headers hosted{{"Connection", names + ",Host," + names}, {"A", "1"}, {"host", "a"}, {"B", "2"}};
    many.remove_hop_by_hop(), more.remove_hop_by_hop(), hosted.remove_hop_by_hop();
    CHECK(all(many) == "B=2;");
    CHECK(all(more) == "");
    CHECK(all(hosted) == "Host=a;"); // behind a proxy it must not become another one
}

TEST_CASE("values: a 101 names what was offered, and not without end") {
    const headers offered{{"Upgrade", "a, b"}, {"Upgrade", "c"}};
    std::string all = "a";
    for (int i = 0; i < 14; ++i) all += ", c";
    CHECK(detail::is_offered(offered, {{"Upgrade", all}}));
    CHECK_FALSE(detail::is_offered(offered, {{"Upgrade", all + ", d"}}));
    // Through a proxy both lists may be long: one times the other would take seconds.
    CHECK_FALSE(detail::is_offered(offered, {{"Upgrade", all + ", c"}}));
}

TEST_CASE("values: an element of a list is empty where it is all blanks, whatever is around it") {
    const string_view text = "  , \t,a";
    for (std::size_t from : {0u, 1u, 3u, 4u})
        for (std::size_t size : {1u, 3u}) {
            CAPTURE(from);
            CAPTURE(size);
            string_view list = text.substr(from, size);
            CHECK(detail::next_element(list).empty());
        }
    string_view none;
    CHECK(detail::next_element(none).empty());
}

TEST_CASE("values: what begins behind bytes, or ends there, is not within them") {
    const string_view all = "abcdef", some = all.substr(1, 3);
    CHECK(detail::is_within(some, some));
    CHECK(detail::is_within(some, all.substr(4, 0)));
    CHECK_FALSE(detail::is_within(some, all.substr(3, 2)));
    CHECK_FALSE(detail::is_within(some, all.substr(4, 1)));
    CHECK_FALSE(detail::is_within(some, all.substr(0, 2)));
}

// -- requests

TEST_CASE("values: the query is decoded, the first of a name counts") {
    struct row {
        std::string query, name, value;
    };
    const row rows[] = {
        {"a=1&b=2", "a", "1"},
        {"a=1&b=2", "b", "2"},
        {"a=1&a=2", "a", "1"},
        {"a=1", "b", "fallback"},
        {"", "a", "fallback"},
        {"a", "a", ""},
        {"a=", "a", ""},
        {"a+b=c+d%21", "a b", "c d!"},
        {"%61=%62", "a", "b"},
        {"a=b=c", "a", "b=c"},
        {"&&a=1&", "a", "1"},
        {"a=%zz", "a", ""},
        {"a=%", "a", ""},
        {"=x", "", "x"},
        {"aa=1&a=2", "a", "2"},
        {"a=%00b", "a", std::string("\0b", 2)},
        {"a=1&b", "b", ""},
        {"A=1", "a", "fallback"},
        {"a=%C3%B6", "a", "\xc3\xb6"},
    };
    for (const row& r : rows) {
        CAPTURE(r.query);
        request q("GET", "/path?" + r.query);
        CHECK(q.path() == "/path");
        CHECK(q.query() == r.query);
        CHECK(q.query(r.name, "fallback") == r.value);
    }
    CHECK(request("GET", "/a").query() == "");
}

TEST_CASE("values: a request remembers its first mistake") {
    struct row {
        std::string method, target;
        bool good;
    };
    const row rows[] = {{"GET", "/", true},
                        {"BREW", "/a?b", true},
                        {"", "/", false},
                        {"G ET", "/", false},
                        {"GET", "", false},
                        {"GET", "/a b", false},
                        {"GET", "/a\r\nX: y", false},
                        {"GET", "/\xc3", false},
                        {"GET", "/a#b", false},
                        {"GET\r\n", "/", false},
                        {"GET", std::string("/\0", 2), false}};
    for (const row& r : rows) {
        CAPTURE(r.target);
        request q(r.method, r.target);
        CHECK(static_cast<bool>(detail::state_of(q).failed) == !r.good);
    }
    request q("GET", "/");
    q.header("A", "b\r\n").header("B", "c");
    CHECK(detail::state_of(q).failed == errc::bad_field);
    CHECK(q.header("b") == "c");
    request twice("GET", "/a b");
    twice.header("A", "b\r\n");
    CHECK(detail::state_of(twice).failed == errc::bad_target);
}

TEST_CASE("values: a built request has its parts, moved too") {
    request q("POST", "/a/b?c=d");
    q.header("X", "1").body("the body", "text/plain");
    request moved(std::move(q));
    CHECK(moved.method() == "POST");
    CHECK(moved.target() == "/a/b?c=d");
    CHECK(moved.path() == "/a/b");
    CHECK(moved.body() == "the body");
    CHECK(moved.header("content-type") == "text/plain");
    CHECK(moved.version() == 11);
    moved.tag() = 9;
    request assigned("GET", "/");
    assigned = std::move(moved);
    CHECK(assigned.tag() == 9);
    CHECK(assigned.take_body() == "the body");
}

TEST_CASE("values: a received request that is moved out owns its bytes") {
    std::string bytes = "POST /x/a%20b?q=%21 HTTP/1.1\r\nHost: h\r\nX: y\r\n\r\nbody";
    request lent = detail::access::make_request();
    detail::request_state& s = detail::state_of(lent);
    field* room = detail::open_fields(s.fields, 10);
    detail::head h;
    REQUIRE(detail::parse_request_head(bytes, {1000, 1000, 10}, room, h) == detail::parsed::done);
    detail::close_fields(s.fields, h.fields_count);
    s.method = h.method;
    s.split(h.target);
    s.params.push_back({"name", s.path.substr(3)});
    s.body = content::lent(string_view(bytes).substr(bytes.size() - 4));
    s.borrowed = true;
    request mine(std::move(lent));
    bytes.assign(bytes.size(), '#');
    CHECK(mine.method() == "POST");
    CHECK(mine.target() == "/x/a%20b?q=%21");
    CHECK(mine.path() == "/x/a%20b");
    CHECK(mine.param("name") == "a b");
    CHECK(mine.param("other", "none") == "none");
    CHECK(mine.query("q") == "!");
    CHECK(mine.header("host") == "h");
    CHECK(mine.body() == "body");
    request again(std::move(mine));
    CHECK(again.param("name") == "a b");
    CHECK_FALSE(detail::check_sendable(detail::state_of(again), false)); // sent on as it is
    CHECK(again.take_body() == "body");
    CHECK(again.body() == "");
}

TEST_CASE("values: a received request can be given another body, and takes another's place") {
    request lent = detail::access::make_request();
    auto receive = [&](string_view body) {
        detail::request_state& s = detail::state_of(lent);
        s.method = "POST", s.target = s.path = "/x", s.body = content::lent(body),
        s.borrowed = true;
        REQUIRE_FALSE(s.fields.set("Content-Length", std::to_string(body.size())));
        detail::access::of(s.fields)->received = true;
    };
    receive("old");
    request mine(std::move(lent));
    mine.body("newer", "text/plain");
    CHECK(mine.body() == "newer");
    CHECK_FALSE(detail::check_sendable(detail::state_of(mine), false)); // its length went, too
    receive("old");
    request edited(std::move(lent));
    edited.header("Cookie", std::string(5000, 'c')).header("Content-Type", "text/x");
    edited.headers().remove("Cookie");
    CHECK(edited.take_body() == "old");
    edited.body("newer", edited.header("Content-Type"));
    CHECK(edited.header("Content-Type") == "text/x");
    CHECK_FALSE(detail::check_sendable(detail::state_of(edited), false));
    receive("old");
    request built("GET", "/built");
    built.body("built", "text/plain").timeout(milliseconds(1)).header("no token", "");
    built = std::move(lent);
    CHECK(built.body() == "old");
    CHECK_FALSE(detail::check_sendable(detail::state_of(built), false));
    CHECK(detail::state_of(built).timeout == milliseconds::max());
    CHECK(built.take_body() == "old");
    CHECK(built.body() == "");
}

// -- responses

TEST_CASE("values: responses are built by chains that never dangle") {
    response r = text("body").status(201).header("A", "b");
    CHECK(r.status() == 201);
    CHECK(r.header("a") == "b");
    CHECK(r.body() == "body");
    CHECK(r.header("content-type") == "text/plain; charset=utf-8");
    r.header("A", "c").status(202).body("other", "a/b");
    CHECK(r.header("A") == "c");
    CHECK(r.header("Content-Type") == "a/b");
    CHECK(r.body() == "other");
    CHECK(r.take_body() == "other");
    CHECK(r.body() == "");
    CHECK(r.take_body() == "");
    r.body(content::literal("not owned"), "a/b");
    CHECK(r.take_body() == "not owned");
    CHECK(r.body() == "");
    CHECK(r.fd("none") == -1);
    CHECK_FALSE(static_cast<bool>(r.take_fd("none")));
    r.fd("one", unique_fd(::dup(0)));
    CHECK(r.fd("none") == -1);
    CHECK_FALSE(static_cast<bool>(r.take_fd("none")));
    CHECK(static_cast<bool>(r.take_fd("one")));
    CHECK(r.fd("one") == -1);
    CHECK(html("").header("Content-Type") == "text/html; charset=utf-8");
    CHECK(json("{}").header("Content-Type") == "application/json");
    CHECK(bytes("").header("Content-Type") == "application/octet-stream");
    response to = redirect("/there");
    CHECK(to.status() == 302);
    CHECK(to.header("Location") == "/there");
    CHECK(redirect("/x", 308).status() == 308);
    CHECK(response(404).reason() == "Not Found");
    CHECK(response(799).reason() == "");
    const response fixed = text("x").header("Content-Type", "text/csv");
    CHECK(fixed.headers().get("Content-Type") == "text/csv");
    CHECK(all(text("x").headers()) == "Content-Type=text/plain; charset=utf-8;");
    response bad = text("x").header("A", "\r\n").header("B", "fine");
    CHECK(detail::extra_of(bad).failed == errc::bad_field);
}

TEST_CASE("values: percent_encode leaves unreserved characters alone") {
    CHECK(percent_encode("azAZ09-._~") == "azAZ09-._~");
    CHECK(percent_encode("a b/c?d%e") == "a%20b%2Fc%3Fd%25e");
    CHECK(percent_encode("\xc3\xb6") == "%C3%B6");
    CHECK(percent_encode(string_view("\0", 1)) == "%00");
    CHECK(percent_encode("") == "");
    std::string every;
    for (int c = 0; c < 256; ++c) every += static_cast<char>(c);
    std::string encoded = percent_encode(every), decoded(encoded.size(), '\0');
    decoded.resize(detail::percent_decode(encoded, &decoded[0], false));
    CHECK((decoded == every));
}

// -- contents and memory

TEST_CASE("values: borrowed content is released once, however it moves") {
    int released = 0;
    {
        content c = content::borrowed("bytes", [&] { ++released; });
        content moved(std::move(c));
        content assigned;
        assigned = std::move(moved);
        response r = text(std::move(assigned));
        CHECK(r.body() == "bytes");
        response other = std::move(r);
        CHECK(released == 0);
        other.body("something else", "");
        CHECK(released == 1);
    }
    CHECK(released == 1);
    {
        content thrown = content::borrowed("x", [] { throw 1; });
    } // costs nobody anything
}

TEST_CASE("values: content that was moved from is empty, whatever it was") {
    const auto fill = [](char*, std::size_t) -> result<std::size_t> { return std::size_t{0}; };
    std::optional<content> all[] = {content::literal("bytes"),        content::lent("bytes"),
                                    content::borrowed("bytes", {}),   content::pulled(fill),
                                    content::file(unique_fd(), 0, 5), body_reader(),
                                    *sealed_memory::copy_of("bytes")};
    for (auto& one : all) {
        response first = text(std::move(*one));
        response second = std::move(first);
        CHECK(first.take_body().empty()); // of memory, it would be unmapped with the second
        CHECK(detail::known_size(*one) == std::uint64_t{0});
        content back;
        back = std::move(*one);
        CHECK(detail::known_size(back) == std::uint64_t{0});
        back = std::move(detail::access::of(second).body);
        CHECK(detail::known_size(detail::access::of(second).body) == std::uint64_t{0});
    }
}

TEST_CASE("values: sealed memory can be read, shared, and never written again") {
    result<sealed_memory> made = sealed_memory::copy_of("the bytes");
    REQUIRE(made);
    sealed_memory copy = *made;
    CHECK(copy.view() == "the bytes");
    CHECK(copy.view().data() == made->view().data());
    made = sealed_memory();
    CHECK(copy.view() == "the bytes");
    int fd = detail::access::of(copy)->fd.get();
    CHECK(::fcntl(fd, F_GET_SEALS) == (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL));
    CHECK(::pwrite(fd, "x", 1, 0) == -1);
    CHECK(::ftruncate(fd, 0) == -1);
    CHECK((::fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);

    result<memory_builder> builder = memory_builder::create(1 << 20);
    REQUIRE(builder);
    std::memset(builder->data(), 'z', 1 << 20);
    result<sealed_memory> sealed = std::move(*builder).seal();
    REQUIRE(sealed);
    CHECK(sealed->view().size() == 1 << 20);
    CHECK(sealed->view().back() == 'z');
    CHECK(std::move(*builder).seal().error() == std::errc::invalid_argument);

    result<sealed_memory> empty = sealed_memory::copy_of("");
    REQUIRE(empty);
    CHECK(empty->view() == "");
    CHECK(sealed_memory().view() == "");
}

// -- addresses, peers, cancelling, descriptors

TEST_CASE("values: a bad address is remembered, a good one goes to a URL and back") {
    CHECK_FALSE(static_cast<bool>(address("/run/a.sock").error()));
    CHECK(address("").error() == errc::bad_address);
    CHECK(address("/run/a b.sock").url("/x?y") == "http+unix://%2Frun%2Fa%20b.sock/x?y");
    CHECK(address("@name").url("x") == "http+unix://%40name/x");
    CHECK(address("@name").url("") == "http+unix://%40name/");
    address back(address("/run/a b.sock").url("/x"));
    CHECK(back.url("/x") == "http+unix://%2Frun%2Fa%20b.sock/x");
    CHECK(address::abstract_name(string_view("a\0b", 3)).url() == "http+unix://%40a%00b/");
}

TEST_CASE("values: a rule admits its users and groups, an empty one nobody") {
    peer who;
    who.uid = 10, who.gid = 20, who.groups = {30, 31};
    CHECK(peer_rule{{10}, {}}.admits(who));
    CHECK(peer_rule{{9, 10}, {}}.admits(who));
    CHECK(peer_rule{{}, {20}}.admits(who));
    CHECK(peer_rule{{}, {31}}.admits(who));
    CHECK(peer_rule{{9}, {30}}.admits(who));
    CHECK_FALSE(peer_rule{}.admits(who));
    CHECK_FALSE(peer_rule{{9}, {29}}.admits(who));
    CHECK_FALSE(peer_rule{{0}, {0}}.admits(peer()));
}

TEST_CASE("values: a canceller is sticky, and its copies are one") {
    canceller c;
    canceller copy = c;
    CHECK_FALSE(copy.cancelled());
    c.cancel();
    c.cancel();
    CHECK(copy.cancelled());
    CHECK_FALSE(canceller().cancelled());
}

TEST_CASE("values: a unique_fd closes once, keeps errno, and survives moving onto itself") {
    unique_fd fd(::dup(0));
    int raw = fd.get();
    unique_fd& self = fd;
    fd = std::move(self);
    CHECK(fd.get() == raw);
    CHECK(::fcntl(raw, F_GETFD) >= 0);
    unique_fd other(std::move(fd));
    CHECK_FALSE(static_cast<bool>(fd));
    errno = 77;
    other = unique_fd();
    CHECK(errno == 77);
    CHECK(::fcntl(raw, F_GETFD) == -1);
    unique_fd released(::dup(0));
    raw = released.release();
    CHECK_FALSE(static_cast<bool>(released));
    CHECK(::close(raw) == 0);
}

TEST_CASE("values: an arena keeps addresses until it is cleared") {
    detail::arena a;
    std::vector<string_view> kept;
    for (std::size_t i = 0; i < 200; ++i)
        kept.push_back(a.keep(std::string(i * 7, static_cast<char>('a' + i % 26))));
    for (std::size_t i = 0; i < 200; ++i)
        CHECK((kept[i] == std::string(i * 7, static_cast<char>('a' + i % 26))));
    a.clear();
    CHECK(a.keep("again") == "again");
    CHECK(a.keep("fresh") == "fresh");
}

TEST_CASE("values: no code is no error, and a copied error makes no value") {
    CHECK_FALSE(static_cast<bool>(error(std::error_code(), "here")));
    struct copies {
        int made = 0;
        copies() = default;
        copies(const copies& other) : made(other.made + 1) { ++all(); }
        static int& all() {
            static int count = 0;
            return count;
        }
    };
    const result<copies> bad(error(errc::stopped, "test"));
    const result<copies> same = bad;
    CHECK(same.error() == errc::stopped);
    CHECK(copies::all() == 0);
}

TEST_CASE("values: what concerns no field changes none") {
    headers none;
    none.remove("A"), none.remove_hop_by_hop();
    CHECK(all(headers(none)) == "");
    CHECK(all({{"A", "1"}, {"no token", "2"}, {"B", "3"}}) == "A=1;=;B=3;");
    headers h{{"Connection", "close"}, {"Vary", "Accept"}, {"Accept", "b"}};
    h.remove_hop_by_hop(); // what the others say are no names
    CHECK(all(h) == "Vary=Accept;Accept=b;");

    // A received Connection stays until somebody says something about connections.
    const std::string bytes = "HTTP/1.1 200 OK\r\nConnection: x-hop\r\nX-Hop: 1\r\nX: 2\r\n\r\n";
    headers received;
    field* room = detail::open_fields(received, 10);
    detail::head head;
    REQUIRE(detail::parse_response_head(bytes, {1000, 1000, 10}, "GET", room, head) ==
            detail::parsed::done);
    detail::close_fields(received, head.fields_count, true);
    headers mine = received;
    REQUIRE_FALSE(mine.add("Y", "3"));
    mine.remove("X");
    CHECK(all(mine) == "Connection=x-hop;X-Hop=1;Y=3;");
    REQUIRE_FALSE(mine.add("Connection", "close"));
    CHECK(all(mine) == "Y=3;Connection=close;");
}

TEST_CASE("values: a received request is replaced by another one, and stays when it is its own") {
    request lent = detail::access::make_request();
    detail::request_state& s = detail::state_of(lent);
    s.method = "POST", s.target = s.path = "/x", s.borrowed = true;
    REQUIRE_FALSE(s.fields.set("Content-Length", "3"));
    detail::access::of(s.fields)->received = true;
    s.body = content::lent("old");
    request& same = lent;
    lent = std::move(same);
    CHECK(lent.target() == "/x");
    CHECK(lent.body() == "old");
    auto none = [](char*, std::size_t) -> result<std::size_t> { return std::size_t(0); };
    lent.body(content::pulled(none), ""); // may be as long as it was
    CHECK(lent.header("Content-Length") == "3");
    lent = request("GET", "/new");
    CHECK(lent.method() == "GET");
    CHECK(lent.target() == "/new");
    CHECK_FALSE(detail::state_of(lent).borrowed);
}

TEST_CASE("values: a response remembers its first mistake") {
    response bad = text("x").header("A", "\r\n").header("B", "\r\n");
    CHECK(detail::extra_of(bad).failed.message().find("field A") != std::string::npos);
}

TEST_CASE("values: memory that can't be had, or that others can write, is an error") {
    if constexpr (sizeof(std::size_t) == 8)
        CHECK_FALSE(memory_builder::create(std::size_t{1} << 52)); // no address space has it
    result<memory_builder> made = memory_builder::create(4096);
    REQUIRE(made);
    const int fd = detail::access::of(*made)->fd.get();
    void* const other = ::mmap(nullptr, 4096, PROT_WRITE, MAP_SHARED, fd, 0);
    REQUIRE(other != MAP_FAILED);
    CHECK(std::move(*made).seal().error() == std::errc::device_or_resource_busy);
    ::munmap(other, 4096);
}
