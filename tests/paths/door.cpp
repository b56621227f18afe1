// door SOCKET MODE OWNER GROUP COUNT: listens COUNT times in a row, each time with these
// listen_options ("-": not set), and once more until standard input ends.
// door: serves what LISTEN_FDS passes; GET / answers the name of the listener.
#include "uds_http.hpp"

namespace {

int fail(const uds_http::error& e) {
    std::fprintf(stderr, "door: %s\n", e.message().c_str());
    return 1;
}

int serve_inherited() {
    uds_http::server app;
    app.get("/", [](const uds_http::request& req) {
        return uds_http::text(std::string(req.listener()));
    });
    app.stop_on({SIGTERM});
    if (auto e = app.listen_inherited({})) return fail(e);
    if (auto e = app.run()) return fail(e);
    return 0;
}

} // namespace

int main(int argc, char** argv) {
    if (argc != 6) return serve_inherited();
    uds_http::listen_options options;
    options.mode = static_cast<mode_t>(std::strtoul(argv[2], nullptr, 8));
    if (*argv[3] != '-') options.owner = static_cast<uid_t>(std::atoi(argv[3]));
    if (*argv[4] != '-') options.group = static_cast<gid_t>(std::atoi(argv[4]));
    for (int left = std::atoi(argv[5]); left >= 0; --left) {
        uds_http::server app;
        if (auto e = app.listen(argv[1], options)) return fail(e);
        if (left > 0) continue;
        std::fprintf(stderr, "listening on %s\n", argv[1]);
        char byte;
        while (::read(0, &byte, 1) > 0) continue;
    }
    return 0;
}
