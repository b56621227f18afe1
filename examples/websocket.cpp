// websocket: an RFC 6455 echo on top of upgrade(); browsers come through nginx (nginx.conf).
//     $ build/examples/websocket /tmp/ws.sock &
//     $ curl -i --unix-socket /tmp/ws.sock -H 'Connection: Upgrade' -H 'Upgrade: websocket' -H
//       'Sec-WebSocket-Version: 13' -H 'Sec-WebSocket-Key: MTYgYnl0ZXMgb2YgaXQhIQ==' localhost
#include "uds_http.hpp"
#include "websocket.hpp"
#include <memory>

static void serve(uds_http::upgraded peer) {
    using connection = std::pair<uds_http::upgraded, websocket_echo>;
    auto ws = std::make_shared<connection>(std::move(peer), websocket_echo());
    ws->first.out.on_drain([ws] { ws->first.in.resume(); });
    ws->first.out.on_close([ws] { ws->first.in.resume(); }); // to its end, which ends all of this
    const auto take = [ws](std::string_view piece) {
        auto& [wire, frames] = *ws;
        if (wire.out.write(frames.take(piece)) == uds_http::written::full) wire.in.pause();
        if (!frames.is_closed) return;
        wire.out.end(); // RFC 6455 7.1.1: what still comes is read and not kept
        wire.in.on_data([ws](std::string_view) {}, [](const uds_http::error&) {});
    };
    ws->first.in.on_data(take, [ws](const uds_http::error&) { ws->first.out.end(); });
}

static void greet(uds_http::request& req, uds_http::responder out) { // RFC 6455 4.2
    const std::string key(req.header("Sec-WebSocket-Key"));
    if (key.size() != 24) return void(out.send(uds_http::response(400))); // 16 bytes in base64
    auto other = uds_http::response(426).header("Sec-WebSocket-Version", "13");
    other.header("Upgrade", "websocket").header("Connection", "Upgrade"); // RFC 9110 15.5.22
    if (req.header("Sec-WebSocket-Version") != "13") return void(out.send(std::move(other)));
    out.upgrade("websocket", serve, {{"Sec-WebSocket-Accept", websocket_accept(key)}});
}

int main(int argc, char** argv) {
    if (argc != 2 || argv[1][0] == '-') return std::fputs("usage: websocket SOCKET\n", stderr), 1;
    uds_http::server app;
    app.get("/", greet), app.stop_on({SIGINT, SIGTERM});
    const auto error = app.run(argv[1]);
    return error ? std::fprintf(stderr, "websocket: %s\n", error.message().c_str()), 1 : 0;
}
