// fetch: an HTTP client for Unix sockets, small and strict.
//
//     $ build/examples/fetch http+unix://%2Ftmp%2Fhello.sock/world
//     Hello world
//     $ curl --unix-socket /tmp/hello.sock http://localhost/world    # the same by curl
#include "input.hpp"
#include "part_file.hpp"
#include "progress.hpp"
#include "uds_http.hpp"

#include <algorithm>
#include <charconv>
#include <getopt.h>

namespace http = uds_http;
namespace {
constexpr const char* usage =
    "usage: fetch [flags] URL\n"
    "  URL              http+unix://%2Frun%2Fa.sock/path, or /run/a.sock, or @name,\n"
    "                   or http://unix:/run/a.sock:/path\n"
    "  -X METHOD        else GET, or POST with -d\n"
    "  -H 'Name: value' a field of the request; again for more\n"
    "  -d TEXT|@FILE    a body; @- is standard input\n"
    "  -i               print the head of the response, too\n"
    "  -f               exit with 22 at 400 and above, a line instead of the body\n"
    "  -o FILE          write to FILE, which appears when it is whole, or not at all\n"
    "  --timeout MS     for each request, from connecting to its last byte\n"
    "  --repeat N       N times on one connection; prints figures only\n"
    "  --busy-poll US   spin so many microseconds for an answer before sleeping (10)\n"
    "  --body-fd        take the body as a descriptor, without a copy, if offered\n"
    "  --version, -h, --help\n"
    "Exit status: 0 for any whole answer, a 404 too but for -f; 1 when there is none.\n";

struct arguments {
    const char* flags[128] = {}; // by letter: what follows the flag, "" if nothing does
    std::vector<std::string> fields;
    const char* url = nullptr;
    http::milliseconds timeout{0};
    unsigned repeat = 0;
    const char* operator[](int letter) const { return flags[letter]; }
};

int fail(const std::string& why) {
    return std::fprintf(stderr, "fetch: %s\n", one_line(why).c_str()), 1;
}
[[noreturn]] void wrong(const std::string& why) { std::exit(fail(why + "; see fetch --help")); }
http::error failed(const arguments& given, const std::string& place) {
    const std::string at = given.url ? given.url + std::string(": ") : ""; // none: --help
    return {std::error_code(errno, std::generic_category()), at + place};
}

// All of what follows the flag, between `low` and `high`; without a flag 0.
unsigned number(const char* flag, const char* text, unsigned low, unsigned high) {
    unsigned value = 0;
    const char* end = text ? text + std::strlen(text) : text;
    const auto [stop, error] = std::from_chars(text, end, value);
    if (!text || (error == std::errc() && stop == end && value >= low && value <= high))
        return value;
    wrong(std::string(flag) + ": no number that it takes: '" + text + "'");
}

void parse(int argc, char** argv, arguments& given) {
    constexpr int is_long = 256; // getopt(3) leaves it in optopt, too; -t isn't --timeout
    constexpr option flags[] = {{"timeout", 1, nullptr, 't' | is_long},
                                {"repeat", 1, nullptr, 'r' | is_long},
                                {"busy-poll", 1, nullptr, 'b' | is_long},
                                {"version", 0, nullptr, 'v' | is_long},
                                {"help", 0, nullptr, 'h' | is_long},
                                {"body-fd", 0, nullptr, 'm' | is_long},
                                {nullptr, 0, nullptr, 0}};
    opterr = 0; // one line of our own
    for (int flag; (flag = getopt_long(argc, argv, "X:H:d:io:fh", flags, nullptr)) != -1;) {
        const bool is_letter = optopt != 0 && optopt < is_long;
        const std::string bad = is_letter ? std::string{'-', char(optopt)} : argv[optind - 1];
        if (flag == '?') wrong(bad + ": no flag, or lacks its value");
        if (flag == 'o' && !*optarg) wrong("-o: lacks a name");
        if (flag == 'd' && given['d']) wrong("-d: one body is what it takes");
        if (flag == 'H') given.fields.emplace_back(optarg);
        given.flags[flag & ~is_long] = optarg ? optarg : "";
    }
    given.url = argv[optind]; // argv[argc] is a null pointer
    given.timeout = http::milliseconds(number("--timeout", given['t'], 1, INT_MAX));
    given.repeat = number("--repeat", given['r'], 1, 100'000'000);
    if (!given['v'] && !given['h'] && argc - optind != 1) wrong("one URL is what it takes");
}

http::result<http::request> request_of(const arguments& given) {
    const char* method = given['X'] ? given['X'] : given['d'] ? "POST" : "GET";
    const std::string target(http::address(given.url).target());
    http::request req(method, target.empty() ? "/" : target);
    if (given.timeout.count()) req.timeout(given.timeout);
    if (given['d']) {
        auto body = given['d'][0] == '@' ? content_of(given['d'] + 1, given.repeat > 0)
                                         : http::content(std::string(given['d']));
        if (!body) return body.error();
        req.body(*std::move(body), "application/x-www-form-urlencoded"); // as curl
    }
    for (const auto& text : given.fields) req.headers().remove(text.substr(0, text.find(':')));
    for (const auto& text : given.fields) {
        const auto colon = text.find(':'), value = text.find_first_not_of(" \t", colon + 1);
        if (colon >= text.size()) return http::error(http::errc::bad_field, "no colon: " + text);
        if (auto error = req.headers().add(text.substr(0, colon),
                                           value < text.size() ? text.substr(value) : ""))
            return {http::error(error.code(), "-H (a bad name, or a control in the value)")};
    }
    return req;
}

// -f: an error whose code is the answer's status; exit 22, as curl's.
struct : std::error_category {
    const char* name() const noexcept override { return "HTTP status"; }
    std::string message(int status) const override {
        return std::to_string(status).append(" ").append(http::response(status).reason());
    }
} const statuses;
http::error refused(const http::response& head, const arguments& given) {
    if (!given['f'] || head.status() < 400) return {};
    return {std::error_code(head.status(), statuses), given.url};
}

http::error once(http::client& api, http::request req, const arguments& given) {
    const std::string name = given['o'] ? followed(given['o']) : "standard output";
    std::FILE* to = given['o'] ? open_part(name.c_str()) : stdout;
    if (!to) return failed(given, "writing " + name);
    auto reply = api.stream(std::move(req));
    if (!reply) return reply.error();
    if (auto error = refused(reply->head, given)) return error;
    std::string head = "HTTP/1.1 " + statuses.message(reply->head.status()) + "\r\n";
    for (const auto& [field, value] : reply->head.headers())
        head.append(field).append(": ").append(value).append("\r\n");
    std::string_view bytes = given['i'] ? std::string_view(head += "\r\n") : "";
    progress bar(std::atof(std::string(reply->head.header("Content-Length")).c_str()), to);
    for (static char piece[1 << 18];;) {
        if (std::fwrite(bytes.data(), 1, bytes.size(), to) != bytes.size() || std::fflush(to))
            return failed(given, "writing " + name);
        const auto got = reply->body.read(piece, sizeof piece);
        if (!got) return got.error();
        if (*got == 0) break;
        bytes = {piece, *got};
        bar.add(*got);
    }
    const bool whole = !std::fclose(to) && keep_part(name.c_str());
    return whole ? part.clear(), http::error() : failed(given, "writing " + name);
}

http::error repeat(http::client& api, http::request req, const arguments& given) {
    http::error last;
    http::response res;           // reused
    std::vector<std::int64_t> us; // how long each took
    for (auto left = given.repeat; left > 0; --left) {
        const auto start = std::chrono::steady_clock::now();
        auto error = api.send(req, res);
        if (!error) error = refused(res, given);
        if (error) last = std::move(error);
        else us.push_back((std::chrono::steady_clock::now() - start) / http::microseconds(1));
    }
    std::sort(us.begin(), us.end());
    const auto at = [&us](std::size_t percent) -> long long { // nearest rank
        return us.empty() ? 0 : us[(us.size() * percent + 99) / 100 - 1];
    };
    std::printf("%zu ok, %zu failed, p50 %lld us, p99 %lld us\n", us.size(),
                given.repeat - us.size(), at(50), at(99));
    return std::fflush(stdout) ? failed(given, "standard output") : last;
}
} // namespace

int main(int argc, char** argv) {
    arguments given;
    parse(argc, argv, given);
    if (given['h']) std::fputs(usage, stdout);
    constexpr int version[] = {UDS_HTTP_VERSION_MAJOR, UDS_HTTP_VERSION_MINOR,
                               UDS_HTTP_VERSION_PATCH};
    if (given['v']) std::printf("fetch %d.%d.%d\n", version[0], version[1], version[2]);
    const bool prints = !given['o'] || given.repeat || given['h'] || given['v'];
    if (prints && (::fcntl(1, F_GETFD) < 0 || std::fflush(stdout) || std::ferror(stdout)))
        return fail(failed(given, "standard output").message());
    if (given['h'] || given['v']) return 0;
    std::set_new_handler(end_without_memory);
    ::signal(SIGPIPE, SIG_IGN); // a reader that left is an error to print
    ::signal(SIGXFSZ, SIG_IGN); // and so is a file over its limit (setrlimit(2))
    interrupted = "fetch: " + one_line(given.url) + ": ended by a signal\n";
    for (const int end : {SIGINT, SIGTERM, SIGHUP, SIGQUIT}) // nohup's SIGHUP stays ignored
        if (::signal(end, SIG_IGN) != SIG_IGN || end == SIGINT || end == SIGTERM)
            ::signal(end, end_by_signal);
    http::client_options options;
    if (given['b'])
        options.busy_poll = http::microseconds(number("--busy-poll", given['b'], 0, 1'000'000));
    options.max_body_bytes = SIZE_MAX; // the user of a tool knows what is too much
    if (given['m']) options.max_body_fd_bytes = INT64_MAX;
    if (given.timeout.count()) options.connect_timeout = options.read_timeout = given.timeout;
    http::client api(given.url, options);
    auto req = request_of(given);
    const auto error = !req           ? req.error()
                       : given.repeat ? repeat(api, *std::move(req), given)
                                      : once(api, *std::move(req), given);
    drop_part();
    const std::string at = req ? "" : given.url + std::string(": "), why = at + error.message();
    if (why.find(": connect: Not a directory") != why.npos) wrong(why + " (is that a URL?)");
    return !error ? 0 : (fail(why), error.code().category() == statuses ? 22 : 1);
}
