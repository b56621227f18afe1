// hello: greets, and sends a body back.
//
//     $ make build/examples/hello
//     $ build/examples/hello /tmp/hello.sock &
//     $ curl --unix-socket /tmp/hello.sock http://localhost/world
//     Hello world
//     $ curl --unix-socket /tmp/hello.sock -d 'some bytes' http://localhost/echo
//     some bytes

#include "uds_http.hpp"

#include <charconv>
#include <getopt.h>

namespace {

constexpr const char* usage =
    "usage: hello [flags] [SOCKET]\n"
    "  SOCKET           a path or @NAME; without it those of LISTEN_FDS (systemd)\n"
    "  --threads N      event loops (1)\n"
    "  --workers N      threads for handlers, besides the loops (0)\n"
    "  --busy-poll US   spin so many microseconds before sleeping (0)\n"
    "  --mode OCTAL     permissions of the socket (0600)\n"
    "  --take-over      replace a server that is alive on SOCKET\n"
    "  -h, --help\n";

struct arguments {
    uds_http::server_options server;
    uds_http::listen_options listen;
    const char* socket = nullptr;
};

// The whole text has to be a number between `low` and `high`.
unsigned number(const char* text, unsigned low, unsigned high, int base = 10) {
    unsigned value = 0;
    const char* end = text + std::strlen(text);
    const auto [stop, failed] = std::from_chars(text, end, value, base);
    if (failed == std::errc() && stop == end && value >= low && value <= high) return value;
    std::fprintf(stderr, "hello: not a number that fits here: '%s'\n", text);
    std::exit(1);
}

bool take(int flag, arguments& given) {
    switch (flag) {
    case 't': return given.server.threads = number(optarg, 1, 1024), true;
    case 'w': return given.server.workers = number(optarg, 0, 1024), true;
    case 'b':
        return given.server.busy_poll = std::chrono::microseconds(number(optarg, 0, 1'000'000)),
               true;
    case 'm': return given.listen.mode = number(optarg, 0, 0777, 8), true;
    case 'o': return given.listen.take_over = true;
    case 'h': std::exit(std::fputs(usage, stdout) < 0 || std::fflush(stdout));
    default: return false; // getopt_long has said why
    }
}

bool parse(int argc, char** argv, arguments& given) {
    constexpr option flags[] = {{"threads", required_argument, nullptr, 't'},
                                {"workers", required_argument, nullptr, 'w'},
                                {"busy-poll", required_argument, nullptr, 'b'},
                                {"mode", required_argument, nullptr, 'm'},
                                {"take-over", no_argument, nullptr, 'o'},
                                {"help", no_argument, nullptr, 'h'},
                                {nullptr, 0, nullptr, 0}};
    for (int flag; (flag = getopt_long(argc, argv, "h", flags, nullptr)) != -1;)
        if (!take(flag, given)) return false;
    if (argc - optind > 1) return false;
    given.socket = argv[optind]; // argv[argc] is a null pointer
    return given.socket || std::getenv("LISTEN_FDS");
}

// Tells systemd that the socket is live, where the unit asks for it by Type=notify (sd_notify(3)).
void notify_ready() {
    const char* path = std::getenv("NOTIFY_SOCKET");
    sockaddr_un to{};
    to.sun_family = AF_UNIX;
    if (!path || !*path || std::strlen(path) > sizeof to.sun_path) return;
    std::memcpy(to.sun_path, path, std::strlen(path));
    const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + std::strlen(path));
    if (*path == '@') to.sun_path[0] = '\0';
    const uds_http::unique_fd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    if (::sendto(fd.get(), "READY=1", 7, MSG_NOSIGNAL, reinterpret_cast<sockaddr*>(&to), length) <
        0)
        std::fprintf(stderr, "hello: %s: %s\n", path, std::strerror(errno));
}

int fail(const uds_http::error& error) {
    std::fprintf(stderr, "hello: %s\n", error.message().c_str());
    return 1;
}

} // namespace

int main(int argc, char** argv) {
    arguments given;
    if (!parse(argc, argv, given)) return std::fputs(usage, stderr), 1;

    uds_http::server app(given.server);
    app.get("/", [](const uds_http::request&) { return uds_http::text("Hello Anonymous"); });
    app.get("/{name}", [](const uds_http::request& req) {
        return uds_http::text("Hello " + std::string(req.param("name")));
    });
    app.post("/echo", [](const uds_http::request& req) {
        return uds_http::bytes(uds_http::content::lent(req.body()));
    });

    app.stop_on({SIGINT, SIGTERM}); // before the socket is live: no signal is missed
    const auto listening =
        given.socket ? app.listen(given.socket, given.listen) : app.listen_inherited(given.listen);
    if (listening) return fail(listening);
    if (app.pollable_fd() >= 0) { // it has started; else run() says why not
        std::fprintf(stderr, "listening on %s\n",
                     given.socket ? given.socket : "inherited sockets");
        notify_ready();
    }
    if (const auto error = app.run()) return fail(error);
    return 0;
}
