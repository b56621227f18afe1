// files: serves a folder: ranges, conditional requests, sendfile, and nothing outside of it.
//
//     $ build/examples/files /tmp/files.sock /usr/share/common-licenses &
//     $ curl --unix-socket /tmp/files.sock -r 0-20 http://localhost/MPL-2.0
//     $ curl --unix-socket /tmp/files.sock --path-as-is http://localhost/../../etc/passwd  # 404

#include "uds_http.hpp"

int main(int argc, char** argv) {
    if (argc != 3 || argv[1][0] == '-') return std::fputs("usage: files SOCKET DIR\n", stderr), 1;

    uds_http::server app;
    app.files("/", argv[2]);
    app.stop_on({SIGINT, SIGTERM});
    if (const auto error = app.run(argv[1]))
        return std::fprintf(stderr, "files: %s\n", error.message().c_str()), 1;
    return 0;
}
