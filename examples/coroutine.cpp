// coroutine: handlers that wait without blocking the loop, written from top to bottom (C++20).
//     $ build/examples/coroutine /tmp/coroutine.sock &
//     $ curl --unix-socket /tmp/coroutine.sock http://localhost/twice/100    # asks itself
#include "coroutine.hpp"
using namespace uds_http;
static task<response> nap(server& app, request req) {
    const std::string time(req.param("ms"));
    const bool slept = co_await async_sleep(app, milliseconds(std::atoi(time.c_str())));
    co_return text(slept ? "slept " + time : "stopped").status(slept ? 200 : 503);
}

static task<response> twice(client& api, request req) {
    std::string said;
    for (int i = 0; i < 2; ++i) {
        auto got = co_await async_get(api, "/sleep/" + percent_encode(req.param("ms")));
        said += (got ? got->take_body() : got.error().message()) + "\n";
    }
    co_return text(said);
}

static task<void> size(request, body_reader in, responder out) {
    async_body body(std::move(in));
    for (std::size_t size = 0;;) {
        auto piece = co_await body.read();
        if (!piece) co_return; // the client is gone
        size += piece->size();
        if (piece->empty()) co_return void(out.send(text(std::to_string(size))));
    }
}

int main(int argc, char** argv) {
    if (argc != 2 || argv[1][0] == '-') return std::fputs("usage: coroutine SOCKET\n", stderr), 1;
    server app;
    client api(argv[1], {}, app);
    app.get("/sleep/{ms}", coroutine([&](request r) { return nap(app, std::move(r)); }));
    app.get("/twice/{ms}", coroutine([&](request r) { return twice(api, std::move(r)); }));
    app.put("/size", coroutine(size)), app.stop_on({SIGINT, SIGTERM});
    const auto error = app.run(argv[1]);
    return error ? std::fprintf(stderr, "coroutine: %s\n", error.message().c_str()), 1 : 0;
}
