// The client's side of a connection: one call, answered by the input, whole and in segments. What
// the caller is told doesn't depend on the cuts.
#include "driver.hpp"

namespace {

using namespace fuzz;

struct no_pool final : call_pool {
    int kept = 0;
    void freed(std::uint64_t) override { ++kept; }
    void lost(std::uint64_t) override {}
    bool turn() override { return true; }
    bool retries(const ref<flow>&) override { return false; }
    void shut() override {}
};

/// The body of a request, given piece by piece.
struct canned final : stream_base {
    callback<void(string_view)> piece;
    callback<void(const error&)> done;
    bool paused = false, dropped = false;

    void on_data(callback<void(string_view)> p, callback<void(const error&)> d) override {
        piece = std::move(p), done = std::move(d);
    }
    void pause(bool stop) override { paused = stop; }
    result<std::size_t> read(char*, std::size_t) override { return failed(EINVAL, "fuzz"); }
    void drop_reader() override { dropped = true; }
    raw_stream release() override { return raw_stream(); }
    written write(string_view) override { return written::closed; }
    written wait(milliseconds) override { return written::closed; }
    void on_drain(callback<void()>) override {}
    void on_close(callback<void()>) override {}
    bool end(headers) override { return false; }
    void cut() override {}
    bool is_open() override { return false; }

    void give(string_view bytes) {
        if (piece && !dropped) piece(bytes);
    }
    void end() {
        if (auto tell = std::exchange(done, {}); tell && !dropped) tell(error());
    }
};

struct heard {
    std::string head, body, end;
    int heads = 0, ends = 0, kept = 0;

    bool operator==(const heard& other) const {
        return head == other.head && body == other.body && end == other.end &&
               heads == other.heads && ends == other.ends && kept == other.kept;
    }
};

struct caller {
    heard seen;
    body_reader in;
    body_writer out;
};

void hear(caller& me, const ref<flow>& f, result<response> res) {
    ++me.seen.heads;
    if (!res) {
        me.seen.head = res.error().message();
        return;
    }
    me.seen.head = std::to_string(res->status());
    for (const field& h : res->headers())
        me.seen.head.append("|").append(h.name).append("=").append(h.value);
    me.in = access::make<body_reader>(ref<stream_base>(f.get()));
    if (res->status() == 101) me.out = access::make<body_writer>(ref<stream_base>(f.get()));
    me.in.on_data([&me](string_view piece) { me.seen.body += piece; },
                  [&me](const error& why) { ++me.seen.ends, me.seen.end = why.message(); });
}

server_options limits_of_ours() {
    server_options options;
    options.max_fields_count = 12;
    return options;
}

/// One request and nothing behind it: what is behind would be the next one's beginning.
void check_sent(string_view out, string_view method) {
    field fields[20];
    head h;
    claim(parse_request_head(out, {4096, 4096, 20}, fields, h) == parsed::done, "a whole head");
    claim(h.method == method, "of that method");
    out.remove_prefix(h.size);
    body_decoder decoder;
    decoder.start(h.how, h.length);
    std::string body;
    parsed got = parsed::more;
    do {
        string_view piece;
        got = decoder.next(out, piece);
        body += piece;
    } while (got == parsed::more && !out.empty());
    claim(got == parsed::done, "a whole body");
    claim(body == (method == "PUT" ? "one two" : ""), "the body that was given");
    claim(out.empty(), "nothing behind a request");
}

heard run(string_view bytes, const char* method, std::size_t most) {
    static shared_site none{limits_of_ours()};
    driver loop(none);
    auto pool = ref<no_pool>(new no_pool);
    caller me;
    auto f = ref<flow>(new flow(loop.home, 0, std::size_t{1} << 20));
    f->req = request(method, "/");
    f->may_upgrade = method[0] == 'G', f->max_head_bytes = 512;
    f->on_head = [&me, at = f.get()](result<response> res) { hear(me, at, std::move(res)); };
    auto body = ref<canned>(new canned);
    if (method[0] == 'P') {
        body_reader source;
        access::of(source) = body;
        f->req.body(content(std::move(source)), "");
    }
    loop.c.calls = true, loop.c.at = phase::kept;
    loop.c.kept().pool = pool;
    loop.talk().ask(f);
    loop.collect();
    cutter cuts(bytes);
    const bool ends_first = cuts.next(2) == 1; // the body is whole before the answer comes
    body->give("one ");
    loop.feed({});
    body->give("two");
    if (ends_first) body->end();
    loop.feed({});
    while (!bytes.empty() && !loop.is_over() && !pool->kept) {
        const std::size_t size = most == 0 ? bytes.size() : cuts.next(most);
        loop.feed(bytes.substr(0, size));
        bytes.remove_prefix(size < bytes.size() ? size : bytes.size());
    }
    body->end();
    if (!pool->kept) loop.end();
    if (pool->kept || ends_first) check_sent(loop.out, method);
    dialog::abandon(loop.shared, *f, failed(errc::cut_off, "connection"));
    claim(me.seen.heads == 1, "a call is told of once");
    claim(me.seen.ends <= 1, "and so is the end of its body");
    me.seen.kept = pool->kept;
    return me.seen;
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
    const string_view bytes(reinterpret_cast<const char*>(data), size);
    static constexpr const char* methods[] = {"GET", "HEAD", "PUT"};
    const char* method = methods[size % 3];
    heard whole = run(bytes, method, 0), one = run(bytes, method, 1), cut = run(bytes, method, 40);
    // Bytes behind the answer are seen, and the connection closed, only where they came with it.
    whole.kept = one.kept = cut.kept = 0;
    claim(whole == one, "the same, byte by byte");
    claim(whole == cut, "the same, in segments");
    return 0;
}
