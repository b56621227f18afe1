// SPDX-License-Identifier: MIT
// Large bodies and nothing else: GET /memory/{n} answers with n bytes that lie in memory, PUT /sink
// reads a body as it comes, drops it and answers its length.
//
//     bulk SOCKET

#include "uds_http.hpp"

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

namespace {

struct upload {
    uds_http::body_reader body;
    uds_http::responder out;
    std::size_t bytes = 0;
};

void sink(uds_http::request&, uds_http::body_reader body, uds_http::responder out) {
    auto state = std::make_shared<upload>();
    state->body = std::move(body);
    state->out = std::move(out);
    state->body.on_data([state](std::string_view piece) { state->bytes += piece.size(); },
                        [state](const uds_http::error& failed) {
                            const std::string answer = std::to_string(state->bytes);
                            if (!failed) state->out.send(uds_http::text(answer));
                            state->body = {}; // or the callbacks would keep themselves alive
                        });
}

} // namespace

int main(int argc, char** argv) {
    if (argc != 2) return std::fprintf(stderr, "usage: bulk SOCKET\n"), 1;
    static const std::string memory(100 << 20, 'x');
    uds_http::server app;
    app.stop_on({SIGINT, SIGTERM});
    app.get("/memory/{bytes}", [](const uds_http::request& req) {
        const auto size = std::strtoull(std::string(req.param("bytes")).c_str(), nullptr, 10);
        const auto body = std::string_view(memory).substr(0, size);
        return uds_http::bytes(uds_http::content::literal(body));
    });
    app.put("/sink", sink);
    if (auto error = app.run(argv[1]))
        return std::fprintf(stderr, "%s\n", error.message().c_str()), 1;
}
