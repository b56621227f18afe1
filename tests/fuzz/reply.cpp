// The client's side of a connection: one call, answered by the input, whole and in segments. What
// the caller is told doesn't depend on the cuts.
#include "driver.hpp"

namespace {

using namespace fuzz;

struct no_pool final : call_pool {
    int kept = 0;
    void freed(std::uint64_t) override { ++kept; }
    void lost(std::uint64_t) override {}
    bool retries(const std::shared_ptr<flow>&) override { return false; }
    void shut() override {}
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

void hear(caller& me, const std::shared_ptr<flow>& f, result<response> res) {
    ++me.seen.heads;
    if (!res) {
        me.seen.head = res.error().message();
        return;
    }
    me.seen.head = std::to_string(res->status());
    for (const field& h : res->headers())
        me.seen.head.append("|").append(h.name).append("=").append(h.value);
    me.in = access::make_stream<body_reader>(f);
    if (res->status() == 101) me.out = access::make_stream<body_writer>(f);
    me.in.on_data([&me](string_view piece) { me.seen.body += piece; },
                  [&me](const error& why) { ++me.seen.ends, me.seen.end = why.message(); });
}

server_options limits_of_ours() {
    server_options options;
    options.max_fields_count = 12;
    return options;
}

heard run(string_view bytes, const char* method, std::size_t most) {
    static shared_site none{limits_of_ours()};
    driver loop(none);
    auto pool = std::make_shared<no_pool>();
    caller me;
    auto f = std::make_shared<flow>(loop.home, 0, std::size_t{1} << 20);
    f->req = request(method, "/");
    f->may_upgrade = method[0] == 'G', f->max_head_bytes = 512;
    f->on_head = [&me, weak = std::weak_ptr<flow>(f)](result<response> res) {
        hear(me, weak.lock(), std::move(res));
    };
    loop.c.calls = true, loop.c.at = phase::kept;
    loop.c.kept().pool = pool;
    loop.talk().ask(f);
    cutter cuts(bytes);
    while (!bytes.empty() && !loop.is_over() && !pool->kept) {
        const std::size_t size = most == 0 ? bytes.size() : cuts.next(most);
        loop.feed(bytes.substr(0, size));
        bytes.remove_prefix(size < bytes.size() ? size : bytes.size());
    }
    if (!pool->kept) loop.end();
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
