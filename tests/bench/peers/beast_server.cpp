// SPDX-License-Identifier: MIT
// Boost.Beast, asynchronous, one thread, after its own example http_server_async.

#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>

#include <cstdio>
#include <memory>
#include <string>
#include <unistd.h>

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using stream_protocol = asio::local::stream_protocol;

class session : public std::enable_shared_from_this<session> {
public:
    explicit session(stream_protocol::socket socket) : stream_(std::move(socket)) {}

    void read() {
        request_ = {};
        http::async_read(stream_, buffer_, request_,
                         [self = shared_from_this()](beast::error_code failed, std::size_t) {
                             if (!failed) self->answer();
                         });
    }

private:
    void answer() {
        response_ = {http::status::ok, request_.version()};
        response_.set(http::field::content_type, "text/plain");
        response_.keep_alive(request_.keep_alive());
        response_.body() = body();
        response_.prepare_payload();
        http::async_write(stream_, response_,
                          [self = shared_from_this()](beast::error_code failed, std::size_t) {
                              if (!failed && self->response_.keep_alive()) self->read();
                          });
    }
    std::string body() {
        if (request_.method() == http::verb::post) return std::move(request_.body());
        if (request_.target() == "/") return "Hello Anonymous";
        return "Hello " + std::string(request_.target().substr(1));
    }

    beast::basic_stream<stream_protocol> stream_;
    beast::flat_buffer buffer_;
    http::request<http::string_body> request_;
    http::response<http::string_body> response_;
};

void accept(stream_protocol::acceptor& acceptor) {
    acceptor.async_accept([&acceptor](beast::error_code failed, stream_protocol::socket socket) {
        if (!failed) std::make_shared<session>(std::move(socket))->read();
        accept(acceptor);
    });
}

int main(int argc, char** argv) {
    if (argc != 2) return std::fprintf(stderr, "usage: beast_server SOCKET\n"), 1;
    unlink(argv[1]);
    asio::io_context context(1);
    stream_protocol::acceptor acceptor(context, stream_protocol::endpoint(argv[1]));
    accept(acceptor);
    context.run();
}
