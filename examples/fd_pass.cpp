// fd_pass: a body that crosses as a sealed memfd, without a copy; as bytes to who can't ask for it.
//     $ build/examples/fd_pass /tmp/fd.sock &
//     $ examples/fd_pass_peer.py /tmp/fd.sock /big/1000000000
//     $ curl --unix-socket /tmp/fd.sock http://localhost/big/1000000000 | wc -c
#include "uds_http.hpp"

constexpr std::size_t most = std::size_t{1} << (sizeof(std::size_t) > 4 ? 32 : 30);

// Building a body costs much more than passing it on: the last one is kept.
static uds_http::result<uds_http::sealed_memory> body_of(std::size_t size) {
    static std::optional<uds_http::sealed_memory> kept;
    if (kept && kept->view().size() == size) return *kept;
    auto made = uds_http::memory_builder::create(size);
    if (!made) return made.error();
    if (size > 0) std::memset(made->data(), 'x', size); // nothing has no place
    auto sealed = (*std::move(made)).seal();
    if (sealed) kept = *sealed;
    return sealed;
}

static uds_http::response big(const uds_http::request& req) {
    const std::string n(req.param("n"));
    const auto size = std::strtoull(n.c_str(), nullptr, 10);
    if (n.find_first_not_of("0123456789") != n.npos) return uds_http::response(404);
    auto body = size > most ? uds_http::error(uds_http::errc::too_large, n)
                            : body_of(static_cast<std::size_t>(size));
    if (!body) return uds_http::text(body.error().message()).status(503);
    return uds_http::bytes(*std::move(body));
}

int main(int argc, char** argv) {
    if (argc != 2 || argv[1][0] == '-') return std::fputs("usage: fd_pass SOCKET\n", stderr), 1;
    uds_http::server_options options;
    options.max_body_fd_bytes = most;
    uds_http::server app(options);
    app.get("/big/{n}", big);
    app.stop_on({SIGINT, SIGTERM});
    const auto error = app.run(argv[1]);
    return error ? std::fprintf(stderr, "fd_pass: %s\n", error.message().c_str()), 1 : 0;
}
