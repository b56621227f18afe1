// SPDX-License-Identifier: MIT
// examples/coroutine.hpp, where the compiler has coroutines: how a coroutine ends.
#ifdef __cpp_impl_coroutine
#include "../examples/coroutine.hpp"
#include "raw_client.hpp"

using namespace raw;

namespace {

/// What a coroutine saw of its end, and that it got there.
struct seen {
    std::string what;
    bool unwound = false;
};
struct at_end {
    seen& to;
    ~at_end() { to.unwound = true; }
};

task<response> sleeps(server& app, seen& saw, request) {
    at_end last{saw};
    saw.what = "sleeps";
    saw.what = co_await async_sleep(app, std::chrono::hours(1)) ? "slept" : "stopped";
    co_return text("too late");
}
task<response> asks(client& api, seen& saw, request) {
    at_end last{saw};
    auto got = co_await async_get(api, "/sleeps");
    saw.what = got ? std::to_string(got->status()) : "failed";
    auto again = co_await async_get(api, "/sleeps"); // fails, too: nothing waits for ever
    saw.what += again ? ", answered" : ", failed";
    co_return text("too late");
}
task<void> reads(seen& saw, request, body_reader in, responder) {
    at_end last{saw};
    async_body body(std::move(in));
    for (auto piece = co_await body.read();; piece = co_await body.read()) {
        saw.what += piece ? *piece + "," : "cut";
        if (!piece || piece->empty()) co_return;
    }
}

} // namespace

TEST_CASE("coroutine: whatever waits is resumed when the server stops, and unwinds") {
    fd_watch watch;
    folder at;
    seen sleep, ask, read;
    {
        server app;
        client api(at("s"), {}, app);
        app.get("/sleeps", coroutine([&](request r) { return sleeps(app, sleep, std::move(r)); }));
        app.get("/asks", coroutine([&](request r) { return asks(api, ask, std::move(r)); }));
        app.put("/reads", coroutine([&](request r, body_reader in, responder out) {
                    return reads(read, std::move(r), std::move(in), std::move(out));
                }));
        REQUIRE_FALSE(app.listen(at("s")));
        wire_client asking(at("s")), reading(at("s"));
        asking.send("GET /asks HTTP/1.1\r\nHost: a\r\n\r\n");
        reading.send("PUT /reads HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\npart");
        const auto until = steady_clock::now() + patience;
        while ((sleep.what.empty() || read.what.empty()) && steady_clock::now() < until)
            CHECK(app.run_once(milliseconds(10)));
        CHECK(sleep.what == "sleeps");
        CHECK(read.what == "part,");
        app.stop(), app.stop();
        CHECK_FALSE(app.run());
    }
    CHECK(sleep.what == "stopped");
    CHECK(read.what == "part,cut");
    CHECK(ask.what == "failed, failed");
    CHECK(sleep.unwound);
    CHECK(read.unwound);
    CHECK(ask.unwound);
}

TEST_CASE("coroutine: a body's end is there for every read behind it; an upgrade is awaited") {
    folder at;
    server app;
    client api(at("s"), {}, app);
    app.put("/", coroutine([](request, body_reader in, responder out) -> task<void> {
                std::string said;
                async_body body(std::move(in));
                for (int i = 0; i < 3; ++i) {
                    auto piece = co_await body.read();
                    said += piece ? *piece + "," : "cut,";
                }
                out.send(text(said));
            }));
    app.get("/far", [](request&, responder out) { out.upgrade("x", [](upgraded) {}); });
    app.get("/near", coroutine([&api](request) -> task<response> {
                request to("GET", "/far");
                to.header("Upgrade", "x");
                auto got = co_await async_upgrade(api, std::move(to));
                co_return text(got ? std::to_string(got->head.status()) : got.error().message());
            }));
    REQUIRE_FALSE(app.listen(at("s")));
    wire_client put(at("s")), get(at("s"));
    put.send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nwhole");
    get.send("GET /near HTTP/1.1\r\nHost: a\r\n\r\n");
    for (int turns = 0; turns < 30; ++turns) CHECK(app.run_once(milliseconds(10)));
    CHECK(put.read().body == "whole,,,");
    CHECK(get.read().body == "101");
}

TEST_CASE("coroutine: a body by descriptor is whole, though its request is answered first") {
    folder at;
    server_options o;
    o.max_body_fd_bytes = 8 << 20;
    server app(o);
    std::atomic<std::size_t> sum{0};
    app.get("/", [](const request&) { return bytes(*sealed_memory::copy_of("page")); });
    app.put("/", coroutine([&](request, body_reader in, responder out) -> task<void> {
                async_body body(std::move(in));
                out.send(text("early"));
                for (auto piece = co_await body.read(); piece && !piece->empty();
                     piece = co_await body.read()) {
                    sum += piece->size();
                    co_await async_sleep(app, milliseconds(0)); // more comes meanwhile
                }
                app.stop();
            }));
    REQUIRE_FALSE(app.listen(at("s")));
    std::thread asks([&] {
        client_options takes;
        takes.max_body_fd_bytes = 8 << 20;
        client api(at("s"), takes);
        CHECK(api.get("/")); // and it knows that this server takes them
        CHECK(api.put("/", *sealed_memory::copy_of(std::string(1 << 20, 'x')), "a/b"));
    });
    CHECK_FALSE(app.run());
    asks.join();
    CHECK(sum == 1 << 20);
}

TEST_CASE("coroutine: a write waits for its reader, and ends when that one leaves, or the server") {
    fd_watch watch;
    folder at;
    constexpr int pieces = 200; // of 64 KiB: much more than what is buffered between the two
    seen whole, left, stopped;
    std::atomic<int> written{0};
    {
        server_options o;
        o.max_write_buffer_bytes = 100'000;
        server app(o);
        const auto writes = [&written](seen& saw, responder out) -> task<void> {
            at_end last{saw};
            async_writer to(out.stream(response()));
            for (int i = 0; i < pieces; ++i, ++written)
                if (!co_await to.write(std::string(64 << 10, 'x'))) co_return void(saw.what = "no");
            saw.what = to.end() ? "all" : "not the end";
            if (co_await to.write("behind it")) saw.what = "no end";
        };
        for (auto [target, saw] : {std::pair("/whole", &whole), {"/left", &left}, {"/", &stopped}})
            app.get(target, coroutine([&writes, s = saw](request, body_reader, responder out) {
                        return writes(*s, std::move(out));
                    }));
        REQUIRE_FALSE(app.listen(at("s")));
        wire_client reads(at("s")), leaves(at("s")), stays(at("s"));
        reads.send("GET /whole HTTP/1.1\r\nHost: a\r\n\r\n");
        for (int turns = 0; turns < 20; ++turns) CHECK(app.run_once(milliseconds(1)));
        CHECK(written > 0);
        CHECK(written < pieces); // it waits
        std::thread reading([&] {
            const answer got = reads.read();
            CHECK(got.whole);
            CHECK(got.body.size() == pieces * (64 << 10));
        });
        const auto until = steady_clock::now() + patience;
        while (whole.what.empty() && steady_clock::now() < until)
            CHECK(app.run_once(milliseconds(10)));
        CHECK(whole.what == "all");
        for (wire_client* c : {&leaves, &stays})
            c->send(std::string("GET ") + (c == &leaves ? "/left" : "/") +
                    " HTTP/1.1\r\nHost: a\r\n\r\n");
        for (int turns = 0; turns < 20; ++turns) CHECK(app.run_once(milliseconds(1)));
        leaves.close();
        while (!left.unwound && steady_clock::now() < until) CHECK(app.run_once(milliseconds(10)));
        reading.join();
        CHECK_FALSE(stopped.unwound);
        app.stop(), app.stop();
        CHECK_FALSE(app.run());
    }
    CHECK(whole.unwound);
    CHECK(left.what == "no");
    CHECK(stopped.what == "no");
    CHECK(stopped.unwound);
}

TEST_CASE("coroutine: one that throws answers 500") {
    folder at;
    server app;
    app.get("/", coroutine([](request) -> task<response> { co_return throw 1, text("never"); }));
    REQUIRE_FALSE(app.listen(at("s")));
    wire_client peer(at("s"));
    peer.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    for (int turns = 0; turns < 10; ++turns) CHECK(app.run_once(milliseconds(10)));
    CHECK(peer.until("\r\n\r\n"));
    CHECK(peer.got.rfind("HTTP/1.1 500 ", 0) == 0);
}

namespace {

/// How much of the stack lies between the first and the deepest of several places.
struct stack_span {
    std::uintptr_t first = 0, deepest = UINTPTR_MAX;
    [[gnu::noinline]] void here() {
        const auto at = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
        first = first ? first : at, deepest = std::min(deepest, at);
    }
    std::uintptr_t bytes() const { return first - std::min(first, deepest); }
};
task<int> at_once(stack_span& stack) {
    stack.here();
    co_return 1;
}

} // namespace

TEST_CASE("coroutine: a loop of awaits that end at once takes no stack, nor one that stop() ends") {
    folder at;
    server app;
    client api(at("s"), {}, app);
    constexpr int rounds = 1000;
    stack_span quick, failing;
    int sum = 0, failures = 0;
    responder kept;
    app.get("/kept", [&](request&, responder out) { kept = std::move(out); });
    app.get("/", coroutine([&](request) -> task<response> {
                for (int i = 0; i < rounds; ++i) sum += co_await at_once(quick);
                for (int i = 0; i < rounds; ++i) { // the first waits, the others have no loop
                    auto got = co_await async_get(api, "/kept");
                    failures += !got;
                    failing.here();
                }
                co_return text("too late");
            }));
    REQUIRE_FALSE(app.listen(at("s")));
    wire_client peer(at("s"));
    peer.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    const auto until = steady_clock::now() + patience;
    while (!kept.is_open() && steady_clock::now() < until) CHECK(app.run_once(milliseconds(10)));
    app.stop(), app.stop();
    CHECK_FALSE(app.run());
    CHECK(sum == rounds);
    CHECK(failures == rounds);
    CHECK(quick.bytes() < 16 << 10);
    CHECK(failing.bytes() < 16 << 10);
}
#endif
