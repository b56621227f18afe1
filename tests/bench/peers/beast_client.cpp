// SPDX-License-Identifier: MIT
// Boost.Beast's synchronous client on one kept connection.

#include "../client.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>

#include <memory>

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;

struct caller {
    asio::io_context context;
    asio::local::stream_protocol::socket socket{context};
    beast::flat_buffer buffer;
    http::request<http::empty_body> request{http::verb::get, "/", 11};

    bool get() {
        beast::error_code failed;
        http::write(socket, request, failed);
        if (failed) return false;
        http::response<http::string_body> response;
        http::read(socket, buffer, response, failed);
        return !failed && response.result() == http::status::ok &&
               response.body() == "Hello Anonymous";
    }
};

int main(int argc, char** argv) {
    bench::arguments arguments(argc, argv);
    return bench::run_client(arguments, [](const std::string& where) {
        auto one = std::make_shared<caller>();
        one->socket.connect(where);
        one->request.set(http::field::host, "localhost");
        return [one] { return one->get(); };
    });
}
