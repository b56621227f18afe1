// SPDX-License-Identifier: MIT
// caller: one call of the client, with short deadlines, against a server that is up to something;
// for tests/hostile/peers.py.
//
//     caller SOCKET get|post|stream|upload|upgrade|async_get|async_stream|async_upgrade
//
// Prints `ok STATUS BYTES` or `failed CAUSE`, and how many descriptors were left over; 0 in both
// cases.

#include "uds_http.hpp"

#include <dirent.h>

namespace http = uds_http;

namespace {

constexpr http::milliseconds patience(400);

int open_fds() {
    int count = 0;
    DIR* folder = ::opendir("/proc/self/fd");
    while (folder && ::readdir(folder)) ++count;
    if (folder) ::closedir(folder);
    return count;
}

std::string cause(const http::error& error) {
    struct row {
        std::error_code code;
        const char* name;
    };
    const row rows[] = {
        {make_error_code(http::errc::cut_off), "cut_off"},
        {make_error_code(http::errc::bad_message), "bad_message"},
        {make_error_code(http::errc::stopped), "stopped"},
    };
    for (const row& r : rows)
        if (error.code() == r.code) return r.name;
    if (error == std::errc::timed_out) return "timed_out";
    if (error == std::errc::connection_refused) return "connection_refused";
    if (error == std::errc::broken_pipe) return "broken_pipe";
    return error.message();
}

std::string told(int status, std::size_t bytes) {
    return "ok " + std::to_string(status) + " " + std::to_string(bytes);
}
std::string told(const http::error& error) { return "failed " + cause(error); }
std::string told(const http::result<http::response>& got) {
    return got ? told(got->status(), got->body().size()) : told(got.error());
}

http::request upgrade_request() {
    http::request req("GET", "/upgrade");
    req.header("Upgrade", "echo");
    return req;
}

std::string drain(http::body_reader& body, int status) {
    static char piece[64 << 10];
    for (std::size_t sum = 0;;) {
        const auto got = body.read(piece, sizeof piece);
        if (!got) return told(got.error());
        if (*got == 0) return told(status, sum);
        sum += *got;
    }
}

std::string blocking(const std::string& how, http::client& api) {
    const std::string large(8 << 20, 'x');
    if (how == "get") return told(api.get("/"));
    if (how == "post") return told(api.post("/", std::string("hello"), "text/plain"));
    if (how == "upload") return told(api.post("/", large, "text/plain"));
    if (how == "stream") {
        http::request req("GET", "/");
        req.timeout(patience);
        auto got = api.stream(std::move(req));
        return got ? drain(got->body, got->head.status()) : told(got.error());
    }
    auto got = api.upgrade(upgrade_request());
    return got ? drain(got->in, got->head.status()) : told(got.error());
}

/// What an asynchronous body brings, told once it has ended.
void collect(http::body_reader from, int status, std::string& outcome) {
    const auto in = std::make_shared<http::body_reader>(std::move(from));
    const auto sum = std::make_shared<std::size_t>(0);
    in->on_data([sum](std::string_view piece) { *sum += piece.size(); },
                [in, sum, status, &outcome](const http::error& cut) {
                    outcome = cut ? told(cut) : told(status, *sum);
                });
}

std::string on_loop(const std::string& path, const std::string& how, http::client_options options) {
    http::server loop;
    http::client api(path, options, loop);
    std::string outcome;
    if (const auto bad = loop.listen(path + ".caller")) return bad.message();
    if (how == "async_get")
        api.async_get("/", [&](http::result<http::response> got) { outcome = told(got); });
    if (how == "async_stream") {
        http::request req("GET", "/");
        req.timeout(patience);
        api.async_stream(std::move(req), [&](http::result<http::reply> got) {
            if (got) collect(std::move(got->body), got->head.status(), outcome);
            else outcome = told(got.error());
        });
    }
    http::body_writer kept;
    if (how == "async_upgrade")
        api.async_upgrade(upgrade_request(), [&](http::result<http::upgraded> got) {
            if (!got) return void(outcome = told(got.error()));
            kept = std::move(got->out); // else it ends, and the other side may leave
            collect(std::move(got->in), got->head.status(), outcome);
        });
    while (outcome.empty())
        if (const auto turn = loop.run_once(http::milliseconds(1000)); !turn)
            return told(turn.error());
    return outcome;
}

} // namespace

int main(int argc, char** argv) {
    if (argc != 3) return std::fputs("usage: caller SOCKET CALL\n", stderr), 1;
    const std::string path = argv[1], how = argv[2];
    std::string outcome;
    (void)open_fds();
    const int before = open_fds();
    {
        http::client_options options;
        options.connect_timeout = options.read_timeout = patience;
        if (how.compare(0, 6, "async_") == 0) {
            outcome = on_loop(path, how, options);
        } else {
            http::client api(path, options);
            outcome = blocking(how, api);
        }
    }
    std::printf("%s, %d left over\n", outcome.c_str(), open_fds() - before);
    return 0;
}
