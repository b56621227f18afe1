// SPDX-License-Identifier: MIT
// libevent's evhttp, one thread.

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/listener.h>

#include <csignal>
#include <cstdio>
#include <cstring>
#include <string>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

void answer(evhttp_request* req, void*) {
    evbuffer* out = evbuffer_new();
    const char* target = evhttp_request_get_uri(req);
    if (evhttp_request_get_command(req) == EVHTTP_REQ_POST)
        evbuffer_add_buffer(out, evhttp_request_get_input_buffer(req));
    else evbuffer_add_printf(out, "Hello %s", target[1] ? target + 1 : "Anonymous");
    evhttp_add_header(evhttp_request_get_output_headers(req), "Content-Type", "text/plain");
    evhttp_send_reply(req, HTTP_OK, "OK", out);
    evbuffer_free(out);
}

int main(int argc, char** argv) {
    sockaddr_un where{};
    where.sun_family = AF_UNIX;
    if (argc != 2 || std::strlen(argv[1]) >= sizeof where.sun_path)
        return std::fprintf(stderr, "usage: libevent_server SOCKET\n"), 1;
    std::strcpy(where.sun_path, argv[1]);
    unlink(argv[1]);
    std::signal(SIGPIPE, SIG_IGN);
    event_base* base = event_base_new();
    evconnlistener* listener = evconnlistener_new_bind(
        base, nullptr, nullptr, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 4096,
        reinterpret_cast<sockaddr*>(&where), static_cast<int>(sizeof where));
    if (!listener) return std::perror(argv[1]), 1;
    evhttp* http = evhttp_new(base);
    evhttp_set_allowed_methods(http, EVHTTP_REQ_GET | EVHTTP_REQ_POST);
    evhttp_set_gencb(http, answer, nullptr);
    evhttp_bind_listener(http, listener);
    return event_base_dispatch(base);
}
