// The server's side of a connection, fed the same bytes whole, byte by byte and in segments. Its
// answers have to be the same, and as many as there are requests in these bytes.
//
// One thing may depend on the cuts (RFC 9110 10.1.1, RFC 9112 9.3): a request that is answered
// before its body has come. If the body is there already it is passed over; else the connection may
// end with that answer, which says so.
#include "driver.hpp"

namespace {

using namespace fuzz;

struct answer {
    int status = 0;
    bool closes = false;
    std::string fields, body;
    bool is_whole = false;
};

/// Routes of every shape; what they answer depends on the request alone.
struct all_shapes : shared_site {
    static server_options limits_of_ours() {
        server_options o;
        o.max_head_bytes = 512, o.max_target_bytes = 128, o.max_fields_count = 12;
        o.max_body_bytes = 300, o.max_write_buffer_bytes = 64 << 10;
        return o;
    }
    all_shapes() : shared_site(limits_of_ours()) {
        add("GET", "/", [](const request&) { return text("Hello Anonymous"); });
        add("GET", "/{name}", [](const request& r) { return text(std::string(r.param("name"))); });
        add("POST", "/echo", [](const request& r) { return bytes(r.body()); });
        add("GET", "/none", [](const request&) { return response(204); });
        add("GET", "/large", [](const request&) { return text(std::string(20'000, 'x')); });
        add("GET", "/throw", [](const request&) -> response { throw 1; });
        add("GET", "/bad", [](const request&) { return response(200).header("X", "a\r\nb"); });
        add("POST", "/later", [](request& r, responder out) { out.send(bytes(r.take_body())); });
        add("POST", "/drop", [](request&, responder) {});
        add("GET", "/pieces", [](request&, responder out) {
            body_writer to = out.stream(response(200));
            to.write("one"), to.write(" and two");
            to.end(headers{{"T", "v"}});
        });
        add("GET", "/cut",
            [](request&, responder out) { out.stream(response(200)).write("half"); });
        add("POST", "/early",
            [](request&, body_reader, responder out) { out.send(text("early")); });
        add("POST", "/relay", [](request&, body_reader in, responder out) {
            out.send(response(200).body(std::move(in), "text/plain"));
        });
        add("GET", "/raw", [](request&, responder out) { out.upgrade("x", echo_raw); });
        add("POST", "/stream", collect);
    }

private:
    static void echo_raw(upgraded peer) {
        auto both = std::make_shared<upgraded>(std::move(peer));
        both->in.on_data([both](string_view piece) { both->out.write(piece); },
                         [both](const error&) { both->out.end(), both->in = body_reader(); });
    }
    static void collect(request&, body_reader in, responder out) {
        struct state {
            body_reader in;
            responder out;
            std::string got;
        };
        auto s = std::make_shared<state>(state{std::move(in), std::move(out), {}});
        s->in.on_data([s](string_view piece) { s->got.append(piece); },
                      [s](const error& why) {
                          s->out.send(why ? text("cut").status(400) : text(s->got));
                          s->in = body_reader();
                      });
    }
};

std::string run(string_view bytes, std::size_t most) {
    static all_shapes shapes;
    driver server(shapes);
    cutter cuts(bytes);
    while (!bytes.empty() && !server.is_over()) {
        const std::size_t size = most == 0 ? bytes.size() : cuts.next(most);
        server.feed(bytes.substr(0, size));
        bytes.remove_prefix(size < bytes.size() ? size : bytes.size());
    }
    server.end();
    return std::move(server.out);
}

/// What is sent has to be good HTTP itself: it is read by the parser of responses.
struct answer_reader {
    string_view out;
    std::string raw; // behind a 101

    bool next(string_view method, answer& got) {
        std::vector<field> fields(100);
        head h;
        do {
            if (out.empty()) return false;
            claim(parse_response_head(out, {16 << 10, 0, 100}, method, fields.data(), h) ==
                      parsed::done,
                  "an answer is a whole head");
            out.remove_prefix(h.size);
        } while (h.status == 100);
        got = answer();
        got.status = h.status;
        for (std::size_t n = 0; n < h.fields_count; ++n) {
            if (equal_nocase(fields[n].name, "connection"))
                got.closes |= list_has(fields[n].value, "close");
            else got.fields.append(fields[n].name).append("=").append(fields[n].value).append("|");
        }
        if (h.status == 101) raw = std::exchange(out, {});
        read_body(h, got);
        return true;
    }

private:
    void read_body(const head& h, answer& got) {
        body_decoder decoder;
        decoder.start(h.how, h.length);
        parsed at = parsed::more;
        do {
            string_view piece;
            at = decoder.next(out, piece);
            got.body += piece;
        } while (at == parsed::more && !out.empty());
        claim(at != parsed::bad, "an answer's body is one");
        got.is_whole = at == parsed::done || decoder.ends_at_eof();
        got.fields.append(decoder.trailers());
    }
};

/// The methods of the requests in `bytes`, a refused one included.
std::vector<std::string> methods_in(string_view bytes) {
    const server_options o = all_shapes::limits_of_ours();
    std::vector<std::string> methods;
    std::vector<field> fields(o.max_fields_count);
    for (head h; !bytes.empty();) {
        const parsed got = parse_request_head(
            bytes, {o.max_head_bytes, o.max_target_bytes, o.max_fields_count}, fields.data(), h);
        if (got != parsed::more) methods.emplace_back(got == parsed::done ? h.method : "GET");
        if (got != parsed::done) break;
        bytes.remove_prefix(h.size);
        body_decoder decoder;
        decoder.start(h.how, h.length, {o.max_head_bytes, 0, o.max_fields_count});
        parsed at = parsed::more;
        for (string_view piece; at == parsed::more;)
            if ((at = decoder.next(bytes, piece)) == parsed::more && bytes.empty()) break;
        if (at != parsed::done || !h.persistent) break;
    }
    return methods;
}

void compare(string_view bytes, const std::vector<std::string>& methods, std::size_t most,
             const std::string& whole) {
    const std::string cut = run(bytes, most);
    answer_reader left{whole, {}}, right{cut, {}};
    answer a, b;
    for (const std::string& method : methods) {
        const bool more = left.next(method, a), also = right.next(method, b);
        claim(more == also, "as many answers");
        if (!more) break;
        claim(a.status == b.status && a.fields == b.fields, "the same answers");
        claim(a.body == b.body && a.is_whole == b.is_whole, "the same bodies");
        if (a.closes != b.closes) { // see above
            claim(a.status != 200 && a.status != 101, "answered before its body");
            return;
        }
        if (a.closes) break;
    }
    claim(left.out.empty() && right.out.empty(), "no answer without a request");
    claim(left.raw == right.raw, "the same bytes behind a 101");
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
    const string_view bytes(reinterpret_cast<const char*>(data), size);
    const std::vector<std::string> methods = methods_in(bytes);
    const std::string whole = run(bytes, 0);
    compare(bytes, methods, 1, whole);
    compare(bytes, methods, 40, whole);
    return 0;
}
