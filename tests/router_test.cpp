// Room [9]: which route a method and a path lead to. Pure: rows.
#include "uds_http.hpp"

#include <memory>

#include <doctest/doctest.h>

#include <algorithm>
#include <random>

using namespace uds_http;
using namespace uds_http::detail;

namespace {

response nothing(const request&) { return response(); }

struct known {
    std::string method, pattern;
};

/// A router whose routes are known by where they stand in `table`.
struct routes {
    std::vector<ref<route>> owned;
    router all;
    std::vector<error> errors;

    explicit routes(const std::vector<known>& table) {
        for (const known& k : table) {
            owned.emplace_back(new route_entry(k.method, k.pattern, nothing));
            if (error bad = all.add(*owned.back())) errors.push_back(bad);
        }
    }
    /// "GET /pattern a=1 b=2" for a match; "404", "405 GET, HEAD", ... else.
    std::string match(string_view method, string_view target) const {
        request r(method, target);
        request_state& state = state_of(r);
        route* to = all.match(state);
        if (!to) {
            std::string allow;
            int status = all.refuse(state, allow);
            CHECK(state.method == method);
            CHECK(state.params.empty());
            return std::to_string(status) + (allow.empty() ? "" : " " + allow);
        }
        std::string said = access::of(*to).method + " " + access::of(*to).pattern;
        for (const auto& p : state.params)
            said.append(" ").append(p.name).append("=").append(r.param(p.name));
        return said;
    }
};

struct row {
    std::string method, target, leads_to;
};

void check(const std::vector<known>& table, const std::vector<row>& rows) {
    routes r(table);
    REQUIRE(r.errors.empty());
    for (const row& each : rows) {
        CAPTURE(each.method);
        CAPTURE(each.target);
        CHECK(r.match(each.method, each.target) == each.leads_to);
    }
}

} // namespace

TEST_CASE("router: a literal beats {x} beats {x...}, segment by segment from the left") {
    check({{"GET", "/"},
           {"GET", "/{name}"},
           {"GET", "/{rest...}"},
           {"GET", "/a"},
           {"GET", "/a/{x}"},
           {"GET", "/a/b"},
           {"GET", "/{x}/b"},
           {"GET", "/a/{rest...}"},
           {"GET", "/a/{x}/c"}},
          {
              {"GET", "/", "GET /"},
              {"GET", "/a", "GET /a"},
              {"GET", "/b", "GET /{name} name=b"},
              {"GET", "/a/b", "GET /a/b"},
              {"GET", "/a/c", "GET /a/{x} x=c"},
              {"GET", "/z/b", "GET /{x}/b x=z"},
              {"GET", "/z/c", "GET /{rest...} rest=z/c"},
              {"GET", "/a/b/c", "GET /a/{x}/c x=b"},
              {"GET", "/a/b/d", "GET /a/{rest...} rest=b/d"},
              {"GET", "/a/", "GET /a/{rest...} rest="},
              {"GET", "/b/", "GET /{rest...} rest=b/"},
              {"GET", "//", "GET /{rest...} rest=/"},
              {"GET", "/a?b=c", "GET /a"},
              {"GET", "/?x", "GET /"},
          });
}

TEST_CASE("router: the order of registration makes no difference") {
    std::vector<known> table = {{"GET", "/a/{x}"},  {"GET", "/{y}/b"},  {"GET", "/a/b"},
                                {"GET", "/{z...}"}, {"POST", "/a/{q}"}, {"*", "/a/b"}};
    const char* targets[] = {"/a/b", "/a/c", "/c/b", "/c/d", "/a", "/a/b/c", "/"};
    std::vector<std::string> first;
    std::vector<std::size_t> order = {0, 1, 2, 3, 4, 5};
    int permutations = 0;
    do {
        std::vector<known> shuffled;
        for (std::size_t i : order) shuffled.push_back(table[i]);
        routes r(shuffled);
        REQUIRE(r.errors.empty());
        std::vector<std::string> all;
        for (const char* method : {"GET", "POST", "PUT"})
            for (const char* target : targets)
                all.push_back(r.match(method, target).substr(0, 3) == "405"
                                  ? "405"
                                  : r.match(method, target));
        if (first.empty()) first = all;
        CHECK((all == first));
        ++permutations;
    } while (std::next_permutation(order.begin(), order.end()));
    CHECK(permutations == 720);
}

TEST_CASE("router: a branch that leads nowhere gives way to the next one") {
    check({{"GET", "/a/b/c"},
           {"GET", "/a/{x}/d"},
           {"GET", "/{y}/b/e"},
           {"GET", "/{r...}"},
           {"POST", "/a/b/c"}},
          {
              {"GET", "/a/b/c", "GET /a/b/c"},
              {"GET", "/a/b/d", "GET /a/{x}/d x=b"},
              {"GET", "/a/b/e", "GET /{y}/b/e y=a"},
              {"GET", "/a/b/f", "GET /{r...} r=a/b/f"},
              {"POST", "/a/b/c", "POST /a/b/c"},
              {"POST", "/a/b/d", "405 GET, HEAD, OPTIONS"},
          });
}

TEST_CASE("router: the method is part of the match") {
    check({{"GET", "/"},
           {"GET", "/{name}"},
           {"POST", "/echo"},
           {"PUT", "/only"},
           {"DELETE", "/only"}},
          {
              {"GET", "/echo", "GET /{name} name=echo"}, // as in aiohttp
              {"POST", "/echo", "POST /echo"},
              {"HEAD", "/", "GET /"},
              {"HEAD", "/echo", "GET /{name} name=echo"},
              {"HEAD", "/only", "GET /{name} name=only"},
              {"PUT", "/", "405 GET, HEAD, OPTIONS"},
              {"PATCH", "/", "405 GET, HEAD, OPTIONS"},
              {"PUT", "/echo", "405 GET, HEAD, POST, OPTIONS"},
              {"POST", "/only", "405 GET, HEAD, PUT, DELETE, OPTIONS"},
              {"BREW", "/", "501 GET, HEAD, OPTIONS"},
              {"get", "/", "501 GET, HEAD, OPTIONS"}, // methods are case-sensitive, RFC 9110 9.1
              {"GET", "/a/b", "404"},
              {"PUT", "/a/b", "404"},
              {"BREW", "/a/b", "501"},
              {"OPTIONS", "/", "204 GET, HEAD, OPTIONS"},
              {"OPTIONS", "/only", "204 GET, HEAD, PUT, DELETE, OPTIONS"},
              {"OPTIONS", "/a/b", "404"},
              {"OPTIONS", "*", "204 OPTIONS, GET, HEAD, POST, PUT, DELETE"},
          });
}

TEST_CASE("router: own HEAD, own OPTIONS and any") {
    check({{"GET", "/a"},
           {"HEAD", "/a"},
           {"OPTIONS", "/a"},
           {"*", "/any"},
           {"POST", "/any"},
           {"*", "/both"},
           {"GET", "/both"},
           {"*", "/{x}"}},
          {
              {"HEAD", "/a", "HEAD /a"},
              {"OPTIONS", "/a", "OPTIONS /a"},
              {"POST", "/any", "POST /any"},
              {"PUT", "/any", "* /any"},
              {"BREW", "/any", "* /any"},
              {"OPTIONS", "/any", "* /any"},
              {"HEAD", "/both", "GET /both"},
              {"PUT", "/a", "* /{x} x=a"},
          });
    check(
        {{"HEAD", "/{x}"}, {"GET", "/a"}, {"POST", "/b"}, {"OPTIONS", "/{x}/c"}, {"PUT", "/{x}/c"}},
        {
            {"HEAD", "/a", "GET /a"}, // the more specific one, although by GET
            {"HEAD", "/b", "HEAD /{x} x=b"},
            {"GET", "/b", "405 HEAD, POST, OPTIONS"},
            {"GET", "/z/c", "405 OPTIONS, PUT"}, // a pattern's own OPTIONS is listed once
            {"OPTIONS", "/z/c", "OPTIONS /{x}/c x=z"},
            {"OPTIONS", "/z", "204 HEAD, OPTIONS"},
            {"OPTIONS", "*", "204 OPTIONS, HEAD, GET, POST, PUT"}, // once, too
        });
    check({{"*", "/{x...}"}}, {{"OPTIONS", "*", "204 OPTIONS"}, {"BREW", "/a", "* /{x...} x=a"}});
    check({}, {{"GET", "/", "404"}, {"OPTIONS", "/", "404"}, {"OPTIONS", "*", "204 OPTIONS"}});
}

TEST_CASE("router: every registered method is known, others are 501") {
    routes r(std::vector<known>{{"GET", "/"}});
    for (const char* method : {"ACL",
                               "BASELINE-CONTROL",
                               "BIND",
                               "CHECKIN",
                               "CHECKOUT",
                               "COPY",
                               "DELETE",
                               "LABEL",
                               "LINK",
                               "LOCK",
                               "MERGE",
                               "MKACTIVITY",
                               "MKCALENDAR",
                               "MKCOL",
                               "MKREDIRECTREF",
                               "MKWORKSPACE",
                               "MOVE",
                               "ORDERPATCH",
                               "PATCH",
                               "POST",
                               "PROPFIND",
                               "PROPPATCH",
                               "PUT",
                               "QUERY",
                               "REBIND",
                               "REPORT",
                               "SEARCH",
                               "TRACE",
                               "UNBIND",
                               "UNCHECKOUT",
                               "UNLINK",
                               "UNLOCK",
                               "UPDATE",
                               "UPDATEREDIRECTREF",
                               "VERSION-CONTROL"}) {
        CAPTURE(std::string(method));
        CHECK(r.match(method, "/") == "405 GET, HEAD, OPTIONS");
    }
    for (const char* method :
         {"BREW", "CONTROL", "CHECK", "OUT", "P", "GETS", "XGET", "VERSION", "A"}) {
        CAPTURE(std::string(method));
        CHECK(r.match(method, "/").substr(0, 3) == "501");
    }
}

TEST_CASE("router: split first, then decode") {
    check({{"GET", "/a b/{x}"}, {"GET", "/f/{rest...}"}, {"GET", "/{x}"}, {"GET", "/\xc3\xb6"}},
          {
              {"GET", "/a%20b/c", "GET /a b/{x} x=c"},
              {"GET", "/a%20b/c%2Fd", "GET /a b/{x} x=c/d"},
              {"GET", "/%61%20b/c", "404"}, // literals are compared as sent
              {"GET", "/a%2Fb", "GET /{x} x=a/b"},
              {"GET", "/a+b", "GET /{x} x=a+b"},
              {"GET", "/%C3%B6", "GET /\xc3\xb6"},
              {"GET", "/f/x%2Fy/z%20", "GET /f/{rest...} rest=x/y/z "},
              {"GET", "/%2e%2e", "GET /{x} x=.."},
              {"GET", "/%zz", "400"},
              {"GET", "/%", "400"},
              {"GET", "/%4", "400"},
              {"GET", "/%g1", "400"},
              {"GET", "/%1g", "400"},
              {"GET", "/f/a%", "400"},
              {"GET", "/a%2", "400"},
              {"GET", "/a%2fb", "GET /{x} x=a/b"},
              {"GET", "/%252F", "GET /{x} x=%2F"},       // decoded once
              {"GET", "/%ff%C3", "GET /{x} x=\xff\xc3"}, // no UTF-8; whatever it is, as it was sent
              {"GET", "/\xff", "GET /{x} x=\xff"},
              {"GET", "/%00", "GET /{x} x=" + std::string(1, '\0')},
              {"GET", "/%c3%b6", "GET /{x} x=\xc3\xb6"},
              {"GET", "/f/%2F", "GET /f/{rest...} rest=/"},
              {"GET", "/none/%zz/x", "400"},
              {"POST", "/%zz", "400"},
          });
}

TEST_CASE("router: empty segments and a slash at the end are segments") {
    check({{"GET", "/{a}/{b}"},
           {"GET", "/c"},
           {"GET", "/d/"},
           {"GET", "/e//f"},
           {"GET", "/g/{t...}"}},
          {
              {"GET", "/c/", "404"},
              {"GET", "/d", "404"},
              {"GET", "/d/", "GET /d/"},
              {"GET", "//", "404"}, // {x} is not empty
              {"GET", "/x/", "404"},
              {"GET", "//x", "404"},
              {"GET", "/x//y", "404"},
              {"GET", "/x/y/", "404"},
              {"GET", "/e//f", "GET /e//f"},
              {"GET", "/e/f", "GET /{a}/{b} a=e b=f"},
              {"GET", "/g", "404"},
              {"GET", "/g/", "GET /g/{t...} t="},
              {"GET", "/g//", "GET /g/{t...} t=/"},
              {"GET", "http://host", "404"},
              {"GET", "http://host/c?x", "GET /c"},
          });
}

TEST_CASE("router: segments of one hash are told apart") {
    auto hash = [](string_view text) {
        const char* at = text.data();
        return pass_segment(at, at + text.size(), route_node().hash);
    };
    REQUIRE(hash("costarring") == hash("liquid"));
    REQUIRE(hash("declinate") == hash("macallums"));
    check(
        {{"GET", "/costarring"}, {"GET", "/declinate"}, {"GET", "/macallums/x"}, {"GET", "/ab/c"}},
        {
            {"GET", "/costarring", "GET /costarring"},
            {"GET", "/liquid", "404"},
            {"GET", "/declinate", "GET /declinate"},
            {"GET", "/macallums", "404"},
            {"GET", "/macallums/x", "GET /macallums/x"},
            {"GET", "/declinate/x", "404"},
            {"GET", "/a/bc", "404"},
            {"GET", "/ab/c", "GET /ab/c"},
        });
}

namespace {

/// The segments of a path, or of a pattern.
std::vector<std::string> split(string_view path) {
    std::vector<std::string> parts;
    while (!path.empty()) {
        path.remove_prefix(1);
        parts.emplace_back(path.substr(0, path.find('/')));
        path.remove_prefix(parts.back().size());
    }
    return parts;
}

/// How a path fits a pattern, a letter a segment: literal, parameter, tail. "": not at all.
std::string fit(const std::string& pattern, const std::string& path) {
    const std::vector<std::string> wanted = split(pattern), got = split(path);
    std::string how;
    for (std::size_t i = 0; i < wanted.size(); ++i) {
        if (i >= got.size()) return "";
        if (wanted[i] == "{t...}") return how + "t";
        bool is_param = !wanted[i].empty() && wanted[i][0] == '{';
        if (is_param ? got[i].empty() : wanted[i] != got[i]) return "";
        how += is_param ? 'p' : 'l'; // in this order in ASCII: l p t
    }
    return wanted.size() == got.size() ? how : "";
}

} // namespace

TEST_CASE("router: the route is the one that a search through all of them finds") {
    std::mt19937 random(4);
    const char* const segments[] = {"a", "b", "ab", "", "{p}", "{t...}"};
    const char* const methods[] = {"GET", "POST", "HEAD", "*"};
    for (int round = 0; round < 3000; ++round) {
        std::vector<known> table;
        for (auto count = random() % 8 + 1; count > 0; --count) {
            std::string pattern;
            for (auto depth = random() % 4 + 1; depth > 0; --depth) {
                std::string segment = segments[random() % 6];
                if (segment == "{p}") segment = "{p" + std::to_string(depth) + "}";
                pattern += "/" + segment;
                if (segment == "{t...}") break;
            }
            table.push_back({methods[random() % 4], pattern});
        }
        routes r(table);
        for (int probe = 0; probe < 8; ++probe) {
            std::string path, best, best_fit, method = methods[random() % 3];
            for (auto depth = random() % 4 + 1; depth > 0; --depth)
                path += std::string("/") + segments[random() % 4];
            bool fits_any = false;
            for (const known& k : table) {
                std::string how = fit(k.pattern, path);
                if (how.empty()) continue;
                fits_any = true;
                int rank = k.method == method                      ? 1
                           : k.method == "GET" && method == "HEAD" ? 2
                           : k.method == "*"                       ? 3
                                                                   : 0;
                if (rank == 0) continue;
                how += std::to_string(rank); // after the segments: the method decides last
                if (!best.empty() && best_fit <= how) continue;
                best = k.method + " " + k.pattern, best_fit = how;
            }
            CAPTURE(path);
            std::string got = r.match(method, path);
            if (best.empty()) REQUIRE(got.substr(0, 3) == (fits_any ? "405" : "404"));
            else REQUIRE((got + " ").compare(0, best.size() + 1, best + " ") == 0);
        }
    }
}

TEST_CASE("router: patterns that can't be are refused, and say why") {
    struct bad {
        std::string pattern, why;
    };
    const bad rows[] = {
        {"", "starts with no /"},
        {"/a?b", "query"},
        {"/a#b", "fragment"},
        {"a", "starts with no /"},
        {"/{", "braces"},
        {"/}", "braces"},
        {"/{}", "braces"},
        {"/{a", "braces"},
        {"/a}", "braces"},
        {"/x{a}", "braces"},
        {"/{a}x", "braces"},
        {"/{a b}", "proper name"},
        {"/{...}", "proper name"},
        {"/{a}/{a}", "twice"},
        {"/{a...}/b", "after"},
        {"/{a...}/", "after"},
        {"/{{a}}", "proper name"},
        {"/100%", "hexadecimal"},
        {"/{a...b}", "proper name"},
        {"/{a....}", "proper name"},
        {"/a...}", "braces"},
    };
    // The first fault is told, also where there is a route already on the way to it.
    CHECK(routes(std::vector<known>{{"GET", "/a"}, {"GET", "/a/{b"}})
              .errors.at(0)
              .message()
              .find("braces") != std::string::npos);
    for (const bad& b : rows) {
        CAPTURE(b.pattern);
        routes r(std::vector<known>{{"GET", b.pattern}});
        REQUIRE(r.errors.size() == 1);
        CHECK(r.errors[0] == errc::bad_pattern);
        CHECK(r.errors[0].message().find(b.why) != std::string::npos);
        CHECK(r.errors[0].message().find(b.pattern) != std::string::npos);
    }
}

TEST_CASE("router: two equal patterns for one method are refused, whatever their names") {
    CHECK(routes(std::vector<known>{{"GET", "/a"}, {"GET", "/a"}}).errors.size() == 1);
    CHECK(routes(std::vector<known>{{"GET", "/{a}"}, {"GET", "/{b}"}}).errors.size() == 1);
    CHECK(routes(std::vector<known>{{"GET", "/{a...}"}, {"GET", "/{b...}"}}).errors.size() == 1);
    CHECK(routes(std::vector<known>{{"*", "/a"}, {"*", "/a"}}).errors.size() == 1);
    CHECK(routes(std::vector<known>{
                     {"GET", "/{a}"}, {"POST", "/{b}"}, {"GET", "/{c...}"}, {"*", "/{d}"}})
              .errors.empty());
    routes r(std::vector<known>{{"GET", "/{a}"}, {"POST", "/{b}"}});
    CHECK(r.match("GET", "/x") == "GET /{a} a=x");
    CHECK(r.match("POST", "/x") == "POST /{b} b=x");
}

TEST_CASE("router: thousands of routes are all found") {
    std::vector<known> table;
    for (int i = 0; i < 3000; ++i) table.push_back({"GET", "/route-" + std::to_string(i) + "/{x}"});
    routes r(table);
    REQUIRE(r.errors.empty());
    for (int i = 0; i < 3000; i += 7) {
        std::string name = "/route-" + std::to_string(i);
        CHECK(r.match("GET", name + "/v") == "GET " + name + "/{x} x=v");
    }
    CHECK(r.match("GET", "/route-3000/v") == "404");
}
