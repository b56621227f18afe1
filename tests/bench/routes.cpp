// SPDX-License-Identifier: MIT
// hello among many routes: what a request costs as the table grows.
//
//     routes SOCKET [COUNT]
//
// GET / and, with COUNT, GET /{name} beside COUNT routes /fixed0/{x}, /fixed1, /fixed2/{x}, ...

#include "uds_http.hpp"

#include <cstdio>
#include <cstdlib>
#include <string>

int main(int argc, char** argv) {
    if (argc < 2) return std::fprintf(stderr, "usage: routes SOCKET [COUNT]\n"), 1;
    const long count = argc > 2 ? std::atol(argv[2]) : 0;
    uds_http::server app;
    app.stop_on({SIGINT, SIGTERM});
    app.get("/", [](const uds_http::request&) { return uds_http::text("Hello Anonymous"); });
    if (count > 0)
        app.get("/{name}", [](const uds_http::request& req) {
            return uds_http::text("Hello " + std::string(req.param("name")));
        });
    for (long i = 0; i + 1 < count; i++) {
        const std::string pattern = "/fixed" + std::to_string(i) + (i % 2 == 0 ? "/{x}" : "");
        app.get(pattern, [i](const uds_http::request&) {
            return uds_http::text("Fixed " + std::to_string(i));
        });
    }
    if (auto error = app.run(argv[1]))
        return std::fprintf(stderr, "%s\n", error.message().c_str()), 1;
}
