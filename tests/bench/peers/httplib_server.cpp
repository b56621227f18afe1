// SPDX-License-Identifier: MIT
// cpp-httplib: a thread per connection, so the pool is as large as the test needs.

#include <httplib.h>

#include <cstdio>
#include <unistd.h>

int main(int argc, char** argv) {
    if (argc != 2) return std::fprintf(stderr, "usage: httplib_server SOCKET\n"), 1;
    unlink(argv[1]);
    httplib::Server server;
    server.new_task_queue = [] { return new httplib::ThreadPool(128); };
    server.set_keep_alive_max_count(1'000'000'000);
    server.set_keep_alive_timeout(60);
    server.Get("/", [](const httplib::Request&, httplib::Response& res) {
        res.set_content("Hello Anonymous", "text/plain");
    });
    server.Post("/echo", [](const httplib::Request& req, httplib::Response& res) {
        res.set_content(req.body, "application/octet-stream");
    });
    server.Get(R"(/memory/(\d+))", [](const httplib::Request& req, httplib::Response& res) {
        static std::string bytes;
        bytes.resize(std::stoul(req.matches[1]), 'x');
        res.set_content_provider(
            bytes.size(), "application/octet-stream",
            [](std::size_t offset, std::size_t length, httplib::DataSink& sink) {
                return sink.write(bytes.data() + offset, length);
            });
    });
    server.Get(R"(/([^/]+))", [](const httplib::Request& req, httplib::Response& res) {
        res.set_content("Hello " + req.matches[1].str(), "text/plain");
    });
    server.set_address_family(AF_UNIX);
    return server.listen(argv[1], 80) ? 0 : 1;
}
