// SPDX-License-Identifier: MIT
// server: the library with short deadlines and small limits, for tests/hostile/peers.py.
//
//     server SOCKET [OPTION=NUMBER]...       server_options by name; deadlines in ms; take_over=1
//
// Says `listening` once it does, then a line for each thing that a test has to know: what on_log is
// told, `closed` when somebody who waits for a later answer goes, `cut` when a body is.

#include "uds_http.hpp"

namespace http = uds_http;

namespace {

http::server_options options;
http::listen_options door;

struct number {
    const char* name;
    std::size_t* size;
    http::milliseconds* time;
};
unsigned long threads_count = 1, workers_count = 0, take_over = 0;

const number numbers[] = {
    {"threads", &threads_count, nullptr},
    {"workers", &workers_count, nullptr},
    {"take_over", &take_over, nullptr},
    {"max_head_bytes", &options.max_head_bytes, nullptr},
    {"max_target_bytes", &options.max_target_bytes, nullptr},
    {"max_fields_count", &options.max_fields_count, nullptr},
    {"max_body_bytes", &options.max_body_bytes, nullptr},
    {"max_write_buffer_bytes", &options.max_write_buffer_bytes, nullptr},
    {"max_buffered_bytes", &options.max_buffered_bytes, nullptr},
    {"max_connections_count", &options.max_connections_count, nullptr},
    {"max_per_uid_count", &options.max_per_uid_count, nullptr},
    {"max_queued_count", &options.max_queued_count, nullptr},
    {"head_timeout", nullptr, &options.head_timeout},
    {"body_timeout", nullptr, &options.body_timeout},
    {"write_timeout", nullptr, &options.write_timeout},
    {"idle_timeout", nullptr, &options.idle_timeout},
    {"drain_timeout", nullptr, &options.drain_timeout},
};

bool set(const char* text) {
    const char* value = std::strchr(text, '=');
    for (const number& n : numbers) {
        if (!value || std::string(text, value) != n.name) continue;
        const unsigned long given = std::strtoul(value + 1, nullptr, 10);
        if (n.size) *n.size = given;
        else *n.time = http::milliseconds(given);
        return true;
    }
    return std::fprintf(stderr, "server: what is %s?\n", text), false;
}

void say(const std::string& line) {
    const std::string whole = line + "\n"; // in one write: threads don't mix
    (void)!::write(1, whole.data(), whole.size());
}

std::size_t size_of(const http::request& req) {
    return std::strtoul(std::string(req.param("n")).c_str(), nullptr, 10);
}

http::response pulled(const http::request& req) {
    const auto fill = [](char* into, std::size_t room) -> http::result<std::size_t> {
        return std::memset(into, 'x', room), room;
    };
    return http::bytes(http::content::pulled(fill, size_of(req)));
}

/// The same by a writer that never waits for a drain: it is full, writes once more, and is cut.
void stream(http::request& req, http::responder out) {
    const auto to = std::make_shared<http::body_writer>(out.stream(http::response()));
    const auto left = std::make_shared<std::size_t>(size_of(req));
    const auto more = [to, left] {
        static const std::string piece(64 << 10, 'x');
        while (*left > 0) {
            const std::size_t size = *left < piece.size() ? *left : piece.size();
            *left -= size;
            if (to->write(std::string_view(piece).substr(0, size)) != http::written::ok) return;
        }
        to->end();
    };
    to->on_close([] { say("closed"); });
    to->on_drain(more);
    more();
}

void answer_later(http::server& app, http::request& req, http::responder out) {
    const auto kept = std::make_shared<http::responder>(std::move(out));
    kept->on_close([] { say("closed"); });
    app.post([kept] { kept->send(http::text("later")); }, http::milliseconds(size_of(req)));
}

void take_body(http::request&, http::body_reader body, http::responder out) {
    const auto in = std::make_shared<http::body_reader>(std::move(body));
    const auto to = std::make_shared<http::responder>(std::move(out));
    const auto size = std::make_shared<std::size_t>(0);
    in->on_data([size](std::string_view piece) { *size += piece.size(); },
                [in, to, size](const http::error& cut) {
                    if (cut) say("cut: " + cut.message());
                    else to->send(http::text(std::to_string(*size)));
                });
}

void echo(http::upgraded peer) {
    const auto both = std::make_shared<http::upgraded>(std::move(peer));
    both->in.on_data(
        [both](std::string_view piece) {
            if (both->out.write(piece) == http::written::full) both->in.pause();
        },
        [both](const http::error&) { both->out.end(), say("upgraded: ended"); });
    both->out.on_drain([both] { both->in.resume(); });
}

http::response block(const http::request& req) {
    say("blocks");
    ::usleep(static_cast<unsigned>(size_of(req)) * 1000);
    return http::text("unblocked");
}

void add_routes(http::server& app) {
    app.get("/", [](const http::request&) { return http::text("hello"); });
    app.post("/echo", [](const http::request& req) { return http::bytes(req.body()); });
    app.get("/bytes/{n}", pulled);
    app.get("/memory/{n}",
            [](const http::request& req) { return http::bytes(std::string(size_of(req), 'x')); });
    app.get("/stream/{n}", stream);
    app.get("/later/{n}", [&app](http::request& req, http::responder out) {
        answer_later(app, req, std::move(out));
    });
    app.get("/block/{n}", block); // on a worker
    app.put("/body", take_body);
    app.get("/upgrade", [](http::request&, http::responder out) { out.upgrade("echo", echo); });
    app.get("/stats",
            [&app](const http::request&) {
                const auto now = app.stats();
                return http::text(std::to_string(now.connections) + " " +
                                  std::to_string(now.accepted) + " " +
                                  std::to_string(now.requests) + " " + std::to_string(now.refused));
            })
        .on_loop();
    app.on_log([](std::string_view line) { say("log: " + std::string(line)); });
}

} // namespace

int main(int argc, char** argv) {
    if (argc < 2) return std::fputs("usage: server SOCKET [OPTION=NUMBER]...\n", stderr), 1;
    for (int i = 2; i < argc; ++i)
        if (!set(argv[i])) return 1;
    options.threads = static_cast<unsigned>(threads_count);
    options.workers = static_cast<unsigned>(workers_count);
    door.take_over = take_over != 0;
    http::server app(options);
    add_routes(app);
    app.stop_on({SIGTERM});
    if (const auto error = app.listen(argv[1], door))
        return std::fprintf(stderr, "server: %s\n", error.message().c_str()), 1;
    say("listening");
    const auto error = app.run();
    if (error) std::fprintf(stderr, "server: %s\n", error.message().c_str());
    return error ? 1 : 0;
}
