// events: server-sent events, and a reader that goes on where it was after a reconnect.
//     $ build/examples/events /tmp/events.sock &
//     $ curl -N --unix-socket /tmp/events.sock -H 'Last-Event-ID: 41' http://localhost/
//     $ build/examples/events --read /tmp/events.sock
#include "event_source.hpp"
#include <memory>

// Sends event `id` now, and the next one a tenth of a second later.
static void send(uds_http::server& app, std::shared_ptr<uds_http::event_writer> to, unsigned id) {
    const std::string name = std::to_string(id), data = "event " + name;
    if (to->send({data, "tick", name}) != uds_http::written::ok) return; // gone, or too slow
    app.post([&app, to, id] { send(app, to, id + 1); }, std::chrono::milliseconds(100));
}

static uds_http::error serve(const char* socket) {
    uds_http::server app;
    app.get("/", [&app](uds_http::request& req, uds_http::responder out) {
        const std::string last(req.header("Last-Event-ID"));
        const auto id = static_cast<unsigned>(std::strtoul(last.c_str(), nullptr, 10));
        send(app, std::make_shared<uds_http::event_writer>(out.events()), id + 1);
    });
    app.stop_on({SIGINT, SIGTERM});
    return app.run(socket);
}

static bool print(const uds_http::event& got) { // false: the output is gone, stop reading
    const std::string line = std::string(got.id).append(": ").append(got.data) + "\n"; // NULs, too
    if (std::fwrite(line.data(), line.size(), 1, stdout) && !std::fflush(stdout)) return true;
    return std::perror("events: standard output"), false;
}

int main(int argc, char** argv) {
    const bool reads = argc == 3 && !std::strcmp(argv[1], "--read");
    if (!reads && (argc != 2 || argv[1][0] == '-'))
        return std::fputs("usage: events [--read] SOCKET\n", stderr), 1;
    uds_http::client api(argv[argc - 1]);
    const auto error = reads ? event_source(api, "/").run(print) : serve(argv[1]);
    if (error) std::fprintf(stderr, "events: %s\n", error.message().c_str());
    return error || std::ferror(stdout);
}
