// embed_loop: a server inside a loop that the program has already, here poll(2) and a timer.
//
//     $ build/examples/embed_loop /tmp/embed.sock &
//     $ curl --unix-socket /tmp/embed.sock http://localhost/
//     17 ticks

#include "uds_http.hpp"

static int fail(const std::string& why) {
    return std::fprintf(stderr, "embed_loop: %s\n", why.c_str()), 1;
}

int main(int argc, char** argv) {
    if (argc != 2 || argv[1][0] == '-') return std::fputs("usage: embed_loop SOCKET\n", stderr), 1;

    std::uint64_t ticks = 0;
    uds_http::server app;
    app.get("/", [&ticks](const uds_http::request&) { // the loop's thread: nothing to guard
        return uds_http::text(std::to_string(ticks) + " ticks");
    });
    app.stop_on({SIGINT, SIGTERM});
    if (const auto error = app.listen(argv[1])) return fail(error.message());

    const uds_http::unique_fd timer(::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
    const itimerspec tenth = {{0, 100'000'000}, {0, 100'000'000}};
    if (::timerfd_settime(timer.get(), 0, &tenth, nullptr)) return fail(std::strerror(errno));

    for (;;) {
        pollfd ready[] = {{app.pollable_fd(), POLLIN, 0}, {timer.get(), POLLIN, 0}};
        if (::poll(ready, 2, -1) < 0 && errno != EINTR) return fail(std::strerror(errno));
        std::uint64_t passed = 0;
        if (::read(timer.get(), &passed, sizeof passed) == sizeof passed) ticks += passed;
        const auto goes_on = app.run_once(std::chrono::milliseconds(0));
        if (!goes_on) return fail(goes_on.error().message());
        if (!*goes_on) return 0; // stopped and drained
    }
}
