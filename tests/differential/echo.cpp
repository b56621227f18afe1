// Says what it took a request for: `X-Seen: METHOD TARGET LENGTH`, the target in hex.
#include "uds_http.hpp"

#include <memory>

namespace {

std::string hex(std::string_view text) {
    std::string out;
    for (char c : text) {
        out += "0123456789abcdef"[static_cast<unsigned char>(c) >> 4];
        out += "0123456789abcdef"[c & 15];
    }
    return out;
}

uds_http::response echo(const uds_http::request& req) {
    const std::string seen = std::string(req.method()) + " " + hex(req.target()) + " " +
                             std::to_string(req.body().size());
    return uds_http::response(200).header("X-Seen", seen);
}

} // namespace

int main(int argc, char** argv) {
    if (argc != 2) return 1;
    uds_http::server app;
    app.any("/", echo);
    app.any("/{rest...}", echo);
    app.stop_on({SIGTERM});
    if (auto error = app.run(argv[1]))
        return std::fprintf(stderr, "%s\n", error.message().c_str()), 1;
}
