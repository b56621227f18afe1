// websocket: an RFC 6455 echo on top of upgrade(); browsers come through nginx (nginx.conf).
//     $ build/examples/websocket /tmp/ws.sock &
//     $ curl -i --unix-socket /tmp/ws.sock -H 'Connection: Upgrade' -H 'Upgrade: websocket'
//           -H 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==' http://localhost/    # 101
#include "uds_http.hpp"

#include <memory>
#include "websocket.hpp"

static void serve(uds_http::upgraded peer) {
    auto ws = std::make_shared<std::pair<uds_http::upgraded, std::string>>(std::move(peer), "");
    ws->first.out.on_drain([ws] { ws->first.in.resume(); });
    const auto take = [ws](std::string_view piece) {
        auto& [wire, unread] = *ws;
        std::string echoes, one;
        unread += piece;
        while (one[0] != '\x88' && !(one = echo(unread)).empty()) echoes += one;
        if (wire.out.write(echoes) == uds_http::written::full) wire.in.pause();
        if (one[0] == '\x88') wire.out.end(); // closed; what still comes is ignored
    };
    ws->first.in.on_data(take, [ws](const uds_http::error&) { ws->first.out.end(); });
}

int main(int argc, char** argv) {
    if (argc != 2 || argv[1][0] == '-') return std::fputs("usage: websocket SOCKET\n", stderr), 1;
    uds_http::server app;
    app.get("/", [](uds_http::request& req, uds_http::responder out) {
        const std::string key(req.header("Sec-WebSocket-Key"));
        out.upgrade("websocket", serve, {{"Sec-WebSocket-Accept", websocket_accept(key)}});
    });
    app.stop_on({SIGINT, SIGTERM});
    const auto error = app.run(argv[1]);
    return error ? std::fprintf(stderr, "websocket: %s\n", error.message().c_str()), 1 : 0;
}
