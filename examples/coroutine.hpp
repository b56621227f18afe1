// SPDX-License-Identifier: MIT
// coroutine.hpp: handlers and calls that are awaited (C++20), on top of the library's callbacks. On
// a server with one loop (server_options::threads = 1): all of it runs there.
// Whatever waits is resumed, at the latest when run() returns: a sleep says false, a call or a body
// its error. Then co_return: there is no loop any more to wait on.
#pragma once
#include "uds_http.hpp"

#include <coroutine>
#include <exception>

template <class T> struct promised {
    std::optional<T> value;
    void return_value(T result) { value.emplace(std::move(result)); }
};
template <> struct promised<void> {
    void return_void() {}
};

/// One who waits, and what they wait for: the second to get here goes on. Resumed inside of what
/// began the wait, loops would pile up on the stack, and handing over takes an optimizer that calls
/// in tail position (g++ at -O0 doesn't).
class meeting {
public:
    bool second() noexcept { return met_.exchange(true); }

private:
    std::atomic<bool> met_{false};
};

/// What a coroutine returns that others await. It starts when it is awaited; one that nobody awaits
/// never runs. What it throws comes out of co_await.
template <class T> class [[nodiscard]] task : uds_http::detail::move_only {
public:
    struct promise_type;
    using handle = std::coroutine_handle<promise_type>;
    struct promise_type : promised<T> {
        std::coroutine_handle<> next;
        std::exception_ptr thrown;
        meeting end;
        struct to_next : std::suspend_always {
            void await_suspend(handle h) noexcept {
                if (h.promise().end.second()) h.promise().next.resume();
            }
        };
        task get_return_object() { return task(handle::from_promise(*this)); }
        std::suspend_always initial_suspend() noexcept { return {}; }
        to_next final_suspend() noexcept { return {}; }
        void unhandled_exception() { thrown = std::current_exception(); }
    };
    task(task&& other) noexcept : at_(std::exchange(other.at_, {})) {}
    ~task() { at_ ? at_.destroy() : void(); }
    bool await_ready() const noexcept { return false; }
    bool await_suspend(std::coroutine_handle<> next) {
        at_.promise().next = next;
        at_.resume();
        return !at_.promise().end.second();
    }
    T await_resume() {
        if (at_.promise().thrown) std::rethrow_exception(at_.promise().thrown);
        if constexpr (!std::is_void_v<T>) return std::move(*at_.promise().value);
    }

private:
    explicit task(handle at) noexcept : at_(at) {}
    handle at_;
};

/// A coroutine that belongs to nobody: it runs until its first wait, and ends by itself. What it
/// throws is lost; a responder inside of it answers 500.
struct detached {
    struct promise_type : promised<void> {
        detached get_return_object() noexcept { return {}; }
        std::suspend_never initial_suspend() noexcept { return {}; }
        std::suspend_never final_suspend() noexcept { return {}; }
        void unhandled_exception() noexcept {}
    };
};

/// Waits for what calls back once. Whoever is resumed may destroy this: nothing of it is touched
/// after that, and `begin` runs on the stack. Name it before co_await if it captures what has an
/// owner: g++ 12 destroys a lambda that is written inside of the expression twice.
template <class T, class F> auto make_call(F begin) {
    struct call : std::suspend_always {
        F begin;
        std::optional<T> got{};
        meeting end{};
        bool await_suspend(std::coroutine_handle<> h) {
            auto act = std::move(begin);
            act([this, h](T result) {
                got.emplace(std::move(result));
                if (end.second()) h.resume();
            });
            return !end.second();
        }
        T await_resume() { return std::move(*got); }
    };
    return call{{}, std::move(begin)};
}

template <class T> using on_result = uds_http::callback<void(uds_http::result<T>)>;
template <class T>
auto make_call(void (uds_http::client::*start)(uds_http::request&&, on_result<T>),
               uds_http::client& api, uds_http::request req) {
    return make_call<uds_http::result<T>>([start, &api, r = std::move(req)](auto done) mutable {
        (api.*start)(std::move(r), std::move(done));
    });
}
inline auto async_send(uds_http::client& api, uds_http::request req) {
    return make_call(&uds_http::client::async_send, api, std::move(req));
}
inline auto async_stream(uds_http::client& api, uds_http::request req) {
    return make_call(&uds_http::client::async_stream, api, std::move(req));
}
inline auto async_upgrade(uds_http::client& api, uds_http::request req) {
    return make_call(&uds_http::client::async_upgrade, api, std::move(req));
}
inline auto async_get(uds_http::client& api, std::string_view target) {
    return async_send(api, uds_http::request("GET", target));
}

/// False: the server has stopped, time is not over.
inline auto async_sleep(uds_http::server& app, uds_http::milliseconds time) {
    return make_call<bool>([&app, time](auto done) {
        auto tell = [done](bool* over) { done(*over), delete over; }; // also where it is dropped
        app.post([it = std::shared_ptr<bool>(new bool(false), tell)] { *it = true; }, time);
    });
}

/// A body, piece by piece; its sender is stopped meanwhile. Dropped early: as body_reader.
class async_body {
    using piece = uds_http::result<std::string>;

public:
    explicit async_body(uds_http::body_reader in) : in_(std::move(in)) {}
    async_body(async_body&&) = delete; // its callbacks know where it is
    /// The next piece; "" is the end.
    auto read() {
        return make_call<piece>([this](auto done) {
            if (!came_.empty()) return done(std::exchange(came_, {}));
            if (why_) return done(why_);
            tell_ = std::move(done);
            in_.on_data([this](std::string_view got) { in_.pause(), take(got); },
                        [this](const uds_http::error& e) {
                            why_ = e, tell(e ? piece(e) : piece(std::string()));
                        });
            in_.resume();
        });
    }

private:
    void take(std::string_view got) { // whoever was answered has the rest at once, pause() or not
        came_.append(got);
        if (tell_) tell(std::exchange(came_, {}));
    }
    void tell(piece got) { tell_ ? std::exchange(tell_, {})(std::move(got)) : void(); }
    uds_http::body_reader in_;
    std::string came_;
    uds_http::error why_;
    on_result<std::string> tell_;
};

/// A body on its way out, as fast as its reader takes it. Dropped before end(): as body_writer.
class async_writer {
    using waiter = std::shared_ptr<std::coroutine_handle<>>; // callbacks may outlive this

public:
    explicit async_writer(uds_http::body_writer out) : out_(std::move(out)) {
        const auto go_on = [w = waits_] { *w ? std::exchange(*w, {}).resume() : void(); };
        out_.on_drain(go_on), out_.on_close(go_on);
    }
    async_writer(async_writer&&) = delete;
    ~async_writer() { *waits_ = {}; }
    /// Waits where there was no room. False: nobody listens any more.
    auto write(std::string_view copied) {
        struct room {
            async_writer& to;
            uds_http::written how;
            bool await_ready() const noexcept { return how != uds_http::written::full; }
            void await_suspend(std::coroutine_handle<> h) const noexcept { *to.waits_ = h; }
            bool await_resume() const {
                return how != uds_http::written::closed && to.out_.is_open();
            }
        };
        return room{*this, out_.write(copied)};
    }
    bool end() { return out_.end(); }

private:
    uds_http::body_writer out_;
    waiter waits_ = std::make_shared<std::coroutine_handle<>>();
};

/// A handler of `task<response>(request)` or `task<void>(request, body_reader, responder)`.
template <class F> auto coroutine(F make) {
    using namespace uds_http;
    // A coroutine's captures live in its lambda: `act` stays in the frame that awaits it.
    auto run = [](F act, auto r, auto... rest) -> detached {
        if constexpr (sizeof...(rest) == 1) (rest.send(co_await act(std::move(r))), ...);
        else co_await act(std::move(r), std::move(rest)...);
    };
    if constexpr (std::is_invocable_v<F&, request>)
        return [=](request& r, responder o) { run(make, std::move(r), std::move(o)); };
    else
        return [=](request& r, body_reader i, responder o) {
            run(make, std::move(r), std::move(i), std::move(o));
        };
}
