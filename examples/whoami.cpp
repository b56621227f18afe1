// whoami: tells callers who they are; the kernel vouches for it.
//
//     $ build/examples/whoami /tmp/whoami.sock &
//     $ curl --unix-socket /tmp/whoami.sock http://localhost/
//     {"pid":4711,"uid":1000,"gid":1000,"groups":[27,1000]}

#include "uds_http.hpp"

static uds_http::response answer(const uds_http::request& req) {
    const uds_http::peer& who = req.peer();
    std::string groups;
    for (const gid_t group : who.groups)
        groups += (groups.empty() ? "" : ",") + std::to_string(group);
    return uds_http::json("{\"pid\":" + std::to_string(who.pid) + // for logs: may be reused by now
                          ",\"uid\":" + std::to_string(who.uid) + // these can be trusted
                          ",\"gid\":" + std::to_string(who.gid) + ",\"groups\":[" + groups + "]}");
}

int main(int argc, char** argv) {
    if (argc != 2 || argv[1][0] == '-') return std::fputs("usage: whoami SOCKET\n", stderr), 1;

    uds_http::server app;
    app.get("/", answer);
    app.get("/root", answer).allow({{0}, {}}); // uid 0 alone; others get 403
    app.stop_on({SIGINT, SIGTERM});
    uds_http::listen_options door;
    door.mode = 0666; // everybody may ask
    const auto error = app.run(argv[1], door);
    return error ? std::fprintf(stderr, "whoami: %s\n", error.message().c_str()), 1 : 0;
}
