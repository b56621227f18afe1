// SPDX-License-Identifier: MIT
// uds_http's client, as anybody would use it; with --reuse, one response that keeps its capacity.

#include "uds_http.hpp"

#include "client.hpp"

#include <memory>

namespace {

int run(bench::arguments& arguments, uds_http::client_options options) {
    return bench::run_client(arguments, [&](const std::string& where) {
        auto api = std::make_shared<uds_http::client>(where, options);
        return [api] {
            const auto res = api->get("/");
            return res && res->status() == 200 && res->body() == "Hello Anonymous";
        };
    });
}

int run_reusing(bench::arguments& arguments, uds_http::client_options options) {
    return bench::run_client(arguments, [&](const std::string& where) {
        auto api = std::make_shared<uds_http::client>(where, options);
        auto req = std::make_shared<uds_http::request>("GET", "/");
        auto res = std::make_shared<uds_http::response>();
        return [api, req, res] {
            return !api->send(*req, *res) && res->status() == 200 &&
                   res->body() == "Hello Anonymous";
        };
    });
}

} // namespace

int main(int argc, char** argv) {
    bench::arguments arguments(argc, argv);
    uds_http::client_options options;
    const auto usual = static_cast<std::size_t>(options.busy_poll.count());
    options.busy_poll = std::chrono::microseconds(arguments.size("--busy-poll", usual));
    if (arguments.flag("--reuse")) return run_reusing(arguments, options);
    return run(arguments, options);
}
