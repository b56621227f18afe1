// child: HTTP between parent and child over socketpair(2): no path that others could connect to, so
// no `curl --unix-socket` either; the program asks itself.
//     $ build/examples/child
//     Hello from 4712
#include "uds_http.hpp"
#include <sys/wait.h>

static int fail(const std::string& why) {
    return std::fprintf(stderr, "child: %s\n", why.c_str()), 1;
}

static int serve(uds_http::unique_fd parent) {
    uds_http::server app;
    app.get("/", [](const uds_http::request&) {
        return uds_http::text("Hello from " + std::to_string(::getpid()));
    });
    app.post("/stop",
             [&app](const uds_http::request&) { return app.stop(), uds_http::response(204); });
    if (const auto error = app.adopt(std::move(parent))) return fail(error.message());
    const auto error = app.run();
    return error ? fail(error.message()) : 0;
}

int main(int argc, char**) {
    int ends[2], status = 1;
    if (argc != 1) return std::fputs("usage: child\n", stderr), 1;
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
        return fail(std::strerror(errno));
    uds_http::unique_fd ours(ends[0]), theirs(ends[1]);
    const pid_t pid = ::fork();
    if (pid < 0) return fail(std::strerror(errno));
    if (pid == 0) return ours = uds_http::unique_fd(), serve(std::move(theirs));
    uds_http::client api("@child"); // only a name for messages: the connection is there already
    if (const auto error = api.adopt(std::move(ours))) return fail(error.message());
    const auto res = api.get("/"), stopped = api.post("/stop", "", "text/plain");
    if (!res || !stopped) return fail((res ? stopped : res).error().message());
    if (::waitpid(pid, &status, 0) < 0 || status != 0) return 1;
    std::puts(std::string(res->body()).c_str());
    return std::fflush(stdout) ? fail(std::strerror(errno)) : 0;
}
