// Room [9]: which route a method and a path lead to. Pure: rows.
#include "uds_http.hpp"

#include <memory>

#include <doctest/doctest.h>

#include <algorithm>

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
            owned.emplace_back(access::make_route(k.method, k.pattern, nothing));
            if (error bad = all.add(*owned.back())) errors.push_back(bad);
        }
    }
    /// "GET /pattern a=1 b=2" for a match; "404", "405 GET, HEAD", ... else.
    std::string match(string_view method, string_view target) const {
        request r(method, target);
        request_state& state = state_of(r);
        route_match found = all.match(state);
        if (!found.to)
            return std::to_string(found.status) + (found.allow.empty() ? "" : " " + found.allow);
        std::string said = access::of(*found.to).method + " " + access::of(*found.to).pattern;
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
              {"PUT", "/echo", "405 POST, GET, HEAD, OPTIONS"},
              {"POST", "/only", "405 PUT, DELETE, GET, HEAD, OPTIONS"},
              {"BREW", "/", "501 GET, HEAD, OPTIONS"},
              {"get", "/", "501 GET, HEAD, OPTIONS"}, // methods are case-sensitive, RFC 9110 9.1
              {"GET", "/a/b", "404"},
              {"PUT", "/a/b", "404"},
              {"BREW", "/a/b", "501"},
              {"OPTIONS", "/", "204 GET, HEAD, OPTIONS"},
              {"OPTIONS", "/only", "204 PUT, DELETE, GET, HEAD, OPTIONS"},
              {"OPTIONS", "/a/b", "404"},
              {"OPTIONS", "*", "204 GET, HEAD, POST, PUT, DELETE"},
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
              {"GET", "/f/a%", "400"},
              {"GET", "/a%2", "400"},
          });
}

TEST_CASE("router: patterns that can't be are refused, and say why") {
    struct bad {
        std::string pattern, why;
    };
    const bad rows[] = {
        {"", "starts with no /"},  {"/a?b", "query"},         {"/a#b", "fragment"},
        {"a", "starts with no /"}, {"/{", "braces"},          {"/}", "braces"},
        {"/{}", "braces"},         {"/{a", "braces"},         {"/a}", "braces"},
        {"/x{a}", "braces"},       {"/{a}x", "braces"},       {"/{a b}", "proper name"},
        {"/{...}", "proper name"}, {"/{a}/{a}", "twice"},     {"/{a...}/b", "after"},
        {"/{a...}/", "after"},     {"/{{a}}", "proper name"},
    };
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
