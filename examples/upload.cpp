// upload: bodies larger than memory; PUT answers `BYTES CRC32`, GET /bytes/{n} sends so many.
//     $ build/examples/upload /tmp/upload.sock &
//     $ curl --unix-socket /tmp/upload.sock -T image.iso http://localhost/image
#include "uds_http.hpp"
#include <memory>
static std::uint32_t table[256]; // of the CRC of zip and PNG
static void put(uds_http::request&, uds_http::body_reader body, uds_http::responder out) {
    auto in = std::make_shared<uds_http::body_reader>(std::move(body)); // lives until its end
    auto sum = std::make_shared<std::pair<std::uintmax_t, std::uint32_t>>(0, ~0U);
    const auto take = [sum](std::string_view piece) {
        auto& [size, crc] = *sum;
        size += piece.size();
        for (const char c : piece) crc = table[std::uint8_t(crc) ^ std::uint8_t(c)] ^ crc >> 8;
    };
    in->on_data(take, [in, sum, out = std::move(out)](const uds_http::error& cut) mutable {
        char text[40];
        std::snprintf(text, sizeof text, "%ju %08x", sum->first, ~sum->second);
        out.send(cut ? uds_http::response(400) : uds_http::text(text));
    });
}

static uds_http::response bytes(const uds_http::request& req) {
    const std::string n(req.param("n"));
    if (n.size() > 18 || n.find_first_not_of("0123456789") < 18) return uds_http::response(404);
    const auto fill = [](char* into, std::size_t room) -> uds_http::result<std::size_t> {
        return std::memset(into, 'x', room), room;
    };
    return uds_http::bytes(uds_http::content::pulled(fill, std::strtoull(n.c_str(), nullptr, 10)));
}

int main(int argc, char** argv) {
    if (argc != 2 || argv[1][0] == '-') return std::fputs("usage: upload SOCKET\n", stderr), 1;
    for (std::uint32_t i = 0, crc = 0; i < 256; table[i++] = crc)
        for (int bit = (crc = i, 0); bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1) * 0xedb88320;
    uds_http::server app;
    app.put("/{name}", put), app.get("/bytes/{n}", bytes);
    app.stop_on({SIGINT, SIGTERM});
    const auto error = app.run(argv[1]);
    return error ? std::fprintf(stderr, "upload: %s\n", error.message().c_str()), 1 : 0;
}
