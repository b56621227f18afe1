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

// Whether bytes that come in pieces are UTF-8 (RFC 3629 4).
struct utf8_check {
    int missing = 0;
    unsigned char low = 0x80, high = 0xbf; // of the next one

    bool takes(unsigned char c) {
        if (missing == 0) {
            missing = c < 0x80 ? 0 : c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
            low = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;  // no longer form than it needs
            high = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf; // no surrogate, nothing too large
            return c < 0x80 || (c > 0xc1 && c < 0xf5);
        }
        const bool fits = c >= low && c <= high;
        return low = 0x80, high = 0xbf, --missing, fits;
    }
    bool takes(std::string_view bytes, bool is_end) {
        for (const char c : bytes)
            if (!takes(static_cast<unsigned char>(c))) return false;
        return !is_end || missing == 0;
    }
};

// What came of one connection, and what it is answered: each frame's echo, unmasked.
struct websocket_echo {
    std::string unread;
    utf8_check text;
    bool in_message = false, in_text = false, is_closed = false;

    std::string take(std::string_view piece) {
        std::string echoes, one;
        std::string_view rest = unread.append(piece);
        while (!is_closed && !(one = echo(rest)).empty())
            echoes += one, is_closed = one[0] == '\x88';
        return unread.erase(0, unread.size() - rest.size()), echoes;
    }

private:
    static constexpr const char *wrong = "\x88\x02\x03\xea", *no_text = "\x88\x02\x03\xef",
                                *too_big = "\x88\x02\x03\xf1"; // closes: 1002, 1007, 1009

    // Takes a frame off `in`. Empty: no whole one is there.
    std::string echo(std::string_view& in) {
        const auto byte = [in](std::size_t i) { return static_cast<unsigned char>(in[i]); };
        if (in.size() < 2) return "";
        const std::size_t small = byte(1) & 127;
        const int type = byte(0) & 15;
        const bool is_last = byte(0) & 128, control = type & 8; // RFC 6455 5.5: whole and small
        if ((byte(0) & 0x77) > 2 || byte(1) < 128 || (control && (!is_last || small > 125)))
            return wrong;
        if (!control && (type == 0) != in_message) return wrong; // 5.4: parts stand together
        const std::size_t mask = small < 126 ? 2 : small == 126 ? 4 : 10, body = mask + 4;
        std::uint64_t stated = mask == 2 ? small : 0;
        if (in.size() < body) return "";
        for (std::size_t i = 2; i < mask; ++i) stated = stated << 8 | byte(i);
        if (stated > 1 << 20) return too_big;
        const auto size = static_cast<std::size_t>(stated);
        if (size < (mask == 2 ? 0U : mask == 4 ? 126U : 65536U)) return wrong; // 5.2: the shortest
        if (in.size() < body + size) return "";
        std::string out(in.substr(0, mask));
        if (out[0] == '\x89') out[0] = '\x8a'; // ping, pong
        out[1] = static_cast<char>(small);
        for (std::size_t i = 0; i < size; ++i)
            out += static_cast<char>(in[body + i] ^ in[mask + i % 4]);
        in.remove_prefix(body + size);
        const std::string_view payload = std::string_view(out).substr(mask);
        if (type == 8 && !may_close(payload)) return wrong;
        if (control) return out;
        if (type != 0) in_text = type == 1;
        in_message = !is_last;
        if (in_text && !text.takes(payload, is_last)) return no_text;
        return out;
    }

    // RFC 6455 5.5.1, 7.4: nothing, or a code that an endpoint may send, and text.
    static bool may_close(std::string_view payload) {
        if (payload.size() < 2) return payload.empty();
        const int code =
            static_cast<unsigned char>(payload[0]) << 8 | static_cast<unsigned char>(payload[1]);
        const bool known = code >= 1000 && code < 1015 && (code < 1004 || code > 1006);
        return (known || (code >= 3000 && code < 5000)) &&
               utf8_check().takes(payload.substr(2), true);
    }
};
