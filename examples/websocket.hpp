// SHA-1 and base64, which the library has none of, and frames (RFC 6455).
#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <string_view>

inline std::uint32_t rotate(std::uint32_t x, int by) { return x << by | x >> (32 - by); }

inline std::string sha1(std::string text) { // RFC 3174
    std::array<std::uint32_t, 5> h{0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
    const std::uint64_t bits = text.size() * 8;
    text += '\x80';
    while (text.size() % 64 != 56) text += '\0';
    for (int shift = 56; shift >= 0; shift -= 8) text += static_cast<char>(bits >> shift & 255);
    for (std::size_t at = 0; at < text.size(); at += 64) {
        std::array<std::uint32_t, 80> w{};
        for (std::size_t i = 0; i < 64; ++i)
            w[i / 4] = w[i / 4] << 8 | static_cast<unsigned char>(text[at + i]);
        for (std::size_t i = 16; i < 80; ++i)
            w[i] = rotate(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
        auto [a, b, c, d, e] = h;
        for (std::size_t i = 0; i < 80; ++i) {
            const std::uint32_t f = i < 20   ? ((b & c) | (~b & d)) + 0x5a827999
                                    : i < 40 ? (b ^ c ^ d) + 0x6ed9eba1
                                    : i < 60 ? ((b & c) | (b & d) | (c & d)) + 0x8f1bbcdc
                                             : (b ^ c ^ d) + 0xca62c1d6;
            const std::uint32_t next = rotate(a, 5) + f + e + w[i];
            e = d, d = c, c = rotate(b, 30), b = a, a = next;
        }
        h = {h[0] + a, h[1] + b, h[2] + c, h[3] + d, h[4] + e};
    }
    std::string digest;
    for (const std::uint32_t word : h)
        for (int shift = 24; shift >= 0; shift -= 8)
            digest += static_cast<char>(word >> shift & 255);
    return digest;
}

inline std::string base64(const std::string& bytes) { // RFC 4648 4
    static const char* const digits =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::string text;
    for (std::size_t i = 0; i < bytes.size(); i += 3) {
        std::uint32_t group = 0;
        for (std::size_t j = i; j < i + 3; ++j)
            group = group << 8 | (j < bytes.size() ? static_cast<unsigned char>(bytes[j]) : 0U);
        for (std::size_t j = 0; j < 4; ++j)
            text += i + j > bytes.size() ? '=' : digits[group >> (18 - 6 * j) & 63];
    }
    return text;
}

// RFC 6455 4.2.2: what proves that the server read the key.
inline std::string websocket_accept(const std::string& key) {
    return base64(sha1(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"));
}

// Takes a frame off `in`; its echo has the same head, unmasked. Empty: no whole frame is there.
inline std::string echo(std::string_view& in) {
    const auto byte = [in](std::size_t i) { return static_cast<unsigned char>(in[i]); };
    if (in.size() < 2) return "";
    const std::size_t small = byte(1) & 127;
    const bool control = byte(0) & 8; // RFC 6455 5.5: these come whole and small
    const bool wrong = (byte(0) & 0x77) > 2 || byte(1) < 128;
    if (wrong || (control && (byte(0) < 128 || small > 125)))
        return "\x88\x02\x03\xea"; // 1002, protocol error
    const std::size_t mask = small < 126 ? 2 : small == 126 ? 4 : 10, body = mask + 4;
    std::size_t size = mask == 2 ? small : 0;
    if (in.size() < body) return "";
    for (std::size_t i = 2; i < mask; ++i) size = size << 8 | byte(i);
    if (size > 1 << 20) return "\x88\x02\x03\xf1"; // 1009, too big
    if (in.size() < body + size) return "";
    std::string out(in.substr(0, mask));
    if (out[0] == '\x89') out[0] = '\x8a'; // ping, pong
    out[1] = static_cast<char>(small);
    for (std::size_t i = 0; i < size; ++i)
        out += static_cast<char>(in[body + i] ^ in[mask + i % 4]);
    return in.remove_prefix(body + size), out;
}
