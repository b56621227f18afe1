// proxy: an access policy in front of another service's socket; streams and upgrades pass, too.
//
//     $ build/examples/proxy /run/readonly.sock /var/run/docker.sock --allow 'GET /**' --uid 1000 &
//     $ curl --unix-socket /run/readonly.sock http://localhost/v1.41/info
//     $ curl --unix-socket /run/readonly.sock -X POST http://localhost/containers/prune     # 403
#include "path_pattern.hpp"
#include "uds_http.hpp"

#include <charconv>
#include <memory>
#include <getopt.h>

namespace http = uds_http;
namespace {
constexpr const char* usage =
    "usage: proxy LISTEN UPSTREAM [--allow 'METHOD PATTERN']... [--uid N]...\n"
    "  --allow  as 'GET /v*/containers/*': `*` is one or more characters but `/`, a final `**`\n"
    "           the rest; GET includes HEAD, the query is ignored, upgrades are to tcp or\n"
    "           websocket. Without --allow all is allowed\n"
    "  --uid    let this user in, and nobody else but those of other --uid flags\n";

int fail(const std::string& why) { return std::fprintf(stderr, "proxy: %s\n", why.c_str()), 1; }

struct rule {
    std::string method, pattern;
};

struct arguments {
    const char *listen = nullptr, *upstream = nullptr;
    std::vector<rule> rules;
    http::peer_rule users;
};

bool add_rule(const std::string& text, arguments& given) {
    const auto space = text.find(' ');
    if (space == 0 || space == text.npos || text.compare(space + 1, 1, "/") ||
        text.find(' ', space + 1) != text.npos)
        return fail("--allow wants 'METHOD /PATTERN', not '" + text + "'"), false;
    given.rules.push_back({text.substr(0, space), text.substr(space + 1)});
    return true;
}

bool add_user(std::string_view text, arguments& given) {
    uid_t uid = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), uid);
    if (error != std::errc() || end != text.data() + text.size())
        return fail("--uid wants a number, not '" + std::string(text) + "'"), false;
    given.users.uids.push_back(uid);
    return true;
}

bool parse(int argc, char** argv, arguments& given) {
    constexpr option flags[] = {
        {"allow", 1, nullptr, 'a'}, {"uid", 1, nullptr, 'u'}, {nullptr, 0, nullptr, 0}};
    for (int flag; (flag = getopt_long(argc, argv, "", flags, nullptr)) != -1;)
        if (flag == '?') return std::fputs(usage, stderr), false;
        else if (!(flag == 'a' ? add_rule(optarg, given) : add_user(optarg, given))) return false;
    if (argc - optind != 2) return std::fputs(usage, stderr), false;
    given.listen = argv[optind], given.upstream = argv[optind + 1];
    return true;
}

// The policy ----------------------------------------------------------------------------------

// In lower case, without blanks.
std::string plain(std::string_view text) {
    std::string out;
    for (const char c : text)
        if (c != ' ' && c != '\t') out += static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
    return out;
}

// The protocol that the client would switch to; RFC 9110 7.8: Connection has to name the field.
std::string offered(const http::request& req) {
    for (const auto& [name, value] : req.headers())
        if (plain(name) == "connection" &&
            ("," + plain(value) + ",").find(",upgrade,") != std::string::npos)
            return std::string(req.header("Upgrade"));
    return "";
}

// What of it is passed on: docker's are a POST, or websocket. An offer may be ignored, one in
// HTTP/1.0 has to be (RFC 9110 7.8); else `curl --http2` would get no stream.
std::string wanted(const http::request& req) {
    const std::string protocol = offered(req);
    const bool can_be = req.method() == "POST" || plain(protocol) == "websocket";
    return can_be && req.version() > 10 ? protocol : "";
}

std::optional<http::response> judge(const std::vector<rule>& rules, const http::request& req) {
    if (rules.empty()) return {};
    const std::string path(req.path()), protocol = offered(req);
    // Behind others, as h2c, come requests that nobody would judge.
    if (!protocol.empty() && plain(protocol) != "tcp" && plain(protocol) != "websocket")
        return http::text("proxy: not allowed: Upgrade: " + protocol).status(403);
    if (!is_ambiguous(path))
        for (const rule& one : rules)
            if ((req.method() == one.method || (req.method() == "HEAD" && one.method == "GET")) &&
                matches(one.pattern, path))
                return {};
    return http::text("proxy: not allowed: " + std::string(req.method()) + " " + path).status(403);
}

// Passing on ----------------------------------------------------------------------------------

http::response gateway_error(const http::error& error) {
    const std::string why = "proxy: " + error.message();
    const bool is_clients = why.find(": request body: ") != why.npos; // cut on its way here
    const int late_or_not = error == std::errc::timed_out ? 504 : 502;
    return http::text(why).status(is_clients ? 400 : late_or_not);
}

// RFC 9110 7.6.2: the last one that it may reach answers it; for another one there is one less.
bool ends_here(http::request& req) {
    const std::string left(req.header("Max-Forwards"));
    const bool is_number = !left.empty() && left.find_first_not_of("0123456789") == left.npos;
    if (!is_number || (req.method() != "OPTIONS" && req.method() != "TRACE")) return false;
    const auto count = std::strtoul(left.c_str(), nullptr, 10);
    if (count > 0) req.header("Max-Forwards", std::to_string(count - 1));
    return count == 0;
}

// What goes upstream; an `Upgrade` is hop by hop and has to be asked for again.
http::request passed_on(http::request& req, http::body_reader body) {
    std::string target(req.path());
    const auto mark = req.target().find('?'); // RFC 3986 6.2.3: "/x?" isn't "/x"
    if (mark != target.npos) target.append(req.target().substr(mark));
    else if (req.method() == "OPTIONS" && target == "/" && req.target().back() != '/')
        target = "*"; // RFC 9112 3.2.4: of absolute-form without a path
    http::request to(req.method(), target);
    const auto& fields = req.headers();
    const bool has_body = fields.contains("Content-Length") || fields.contains("Transfer-Encoding");
    to.headers() = fields;
    to.headers().remove_hop_by_hop();
    (void)to.headers().add("Via", req.version() > 10 ? "1.1 proxy" : "1.0 proxy"); // RFC 9110 7.6.3
    if (req.version() == 10) to.headers().remove("Expect"); // RFC 9110 10.1.1: it is ignored
    if (has_body) to.body(std::move(body), "");
    return to;
}

void answer(http::responder& out, http::result<http::reply> got) {
    if (!got) return void(out.send(gateway_error(got.error())));
    http::relay(std::move(got->body), out.stream(std::move(got->head)));
}

void connect(http::responder& out, http::result<http::upgraded> got) {
    if (!got) return void(out.send(gateway_error(got.error())));
    if (!*got) return void(out.send(std::move(got->head)));
    http::headers fields = got->head.headers();
    auto join = [far = *std::move(got)](http::upgraded near) mutable {
        http::relay(std::move(near.in), std::move(far.out));
        http::relay(std::move(far.in), std::move(near.out));
    };
    out.upgrade(fields.get("Upgrade"), std::move(join), fields);
}

void forward(http::client& upstream, http::client& upgrades, http::request& req,
             http::body_reader body, http::responder out) {
    if (ends_here(req)) return void(out.send(http::response(req.method() == "TRACE" ? 501 : 204)));
    const std::string protocol = wanted(req);
    http::request to = passed_on(req, std::move(body));
    const http::canceller gone; // a client that leaves takes its request along
    to.cancel_with(gone);
    out.on_close([gone] { gone.cancel(); });
    auto shared = std::make_shared<http::responder>(std::move(out));
    to.on_interim([shared](http::response& head) { shared->inform(std::move(head)); }); // not 100
    if (protocol.empty())
        return upstream.async_stream(std::move(to), [shared](http::result<http::reply> got) {
            answer(*shared, std::move(got));
        });
    to.header("Upgrade", protocol);
    // Not on a kept connection: that may just be closing, and a POST isn't sent again.
    upgrades.async_upgrade(std::move(to), [shared](http::result<http::upgraded> got) {
        connect(*shared, std::move(got));
    });
}
} // namespace

int main(int argc, char** argv) {
    arguments given;
    if (!parse(argc, argv, given)) return 1;
    if (auto bad = http::address(given.upstream).error()) return fail(bad.message());
    http::client_options patient;
    patient.read_timeout = http::milliseconds::max(); // `docker wait` answers in its own time
    patient.max_connections_count = 16'384;
    patient.max_body_bytes = 1 << 20; // without a 101 an upgrade's answer is collected
    http::listen_options door;
    if (!given.users.uids.empty()) door.mode = 0666, door.allow = given.users; // uids decide
    http::server_options lasting; // a pause is upstream's to end, or the client's
    lasting.body_timeout = lasting.write_timeout = http::milliseconds::max();
    http::server app(lasting);
    http::client upstream(given.upstream, patient, app), upgrades(given.upstream, patient, app);
    app.use([&given](http::request& req) { return judge(given.rules, req); });
    app.any("/{path...}", [&](http::request& req, http::body_reader body, http::responder out) {
        forward(upstream, upgrades, req, std::move(body), std::move(out));
    });
    app.stop_on({SIGINT, SIGTERM});
    const auto error = app.run(given.listen, door);
    return error ? fail(error.message()) : 0;
}
