// metrics: the server's own counters as text for Prometheus.
//
//     $ build/examples/metrics /tmp/metrics.sock &
//     $ curl -s --unix-socket /tmp/metrics.sock http://localhost/metrics | grep requests
//     # TYPE uds_http_requests_total counter
//     uds_http_requests_total 0        those before this one

#include "uds_http.hpp"

int main(int argc, char** argv) {
    if (argc != 2 || argv[1][0] == '-') return std::fputs("usage: metrics SOCKET\n", stderr), 1;

    uds_http::server app;
    app.get("/metrics", [&app](const uds_http::request&) {
        const auto is = app.stats();
        std::string text;
        const auto line = [&text](const std::string& name, const char* type, std::uint64_t value) {
            text += "# TYPE uds_http_" + name + " " + type + "\nuds_http_" + name + " " +
                    std::to_string(value) + "\n";
        };
        line("connections", "gauge", is.connections);
        line("accepted_total", "counter", is.accepted);
        line("requests_total", "counter", is.requests);
        line("refused_total", "counter", is.refused);
        line("received_bytes_total", "counter", is.bytes_in);
        line("sent_bytes_total", "counter", is.bytes_out);
        return uds_http::text(text).header("Content-Type", "text/plain; version=0.0.4");
    });
    app.stop_on({SIGINT, SIGTERM});
    if (const auto error = app.run(argv[1]))
        return std::fprintf(stderr, "metrics: %s\n", error.message().c_str()), 1;
    return 0;
}
