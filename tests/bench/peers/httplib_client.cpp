// SPDX-License-Identifier: MIT
// cpp-httplib's client on one kept connection.

#include "../client.hpp"

#include <httplib.h>

#include <memory>

int main(int argc, char** argv) {
    bench::arguments arguments(argc, argv);
    return bench::run_client(arguments, [](const std::string& where) {
        auto client = std::make_shared<httplib::Client>(where, 80);
        client->set_address_family(AF_UNIX);
        client->set_keep_alive(true);
        client->set_default_headers({{"Host", "localhost"}});
        return [client] {
            auto res = client->Get("/");
            return res && res->status == 200 && res->body == "Hello Anonymous";
        };
    });
}
