// SPDX-License-Identifier: MIT
// coroutine.hpp: handlers and calls that are awaited (C++20), on top of the library's callbacks. On
// a server with one loop (server_options::threads = 1): all of it runs there.
//
// Whatever waits is resumed, at the latest when run() returns: a sleep says false, a call or a body
// its error. Then co_return: there is no loop any more to wait on.
#pragma once
#include "uds_http.hpp"

#include <coroutine>
#include <exception>
#include <memory>

template <class T> struct promised {
    std::optional<T> value;
    void return_value(T result) { value.emplace(std::move(result)); }
    T take() { return std::move(*value); }
};
template <> struct promised<void> {
    void return_void() {}
    void take() {}
};

/// What a coroutine returns that others await. It starts when it is awaited; one that nobody awaits
/// never runs. What it throws comes out of co_await.
template <class T> class [[nodiscard]] task : uds_http::detail::move_only {
public:
    struct promise_type : promised<T> {
        std::coroutine_handle<> next;
        std::exception_ptr thrown;
        struct to_next : std::suspend_always {
            auto await_suspend(std::coroutine_handle<promise_type> h) noexcept {
                return h.promise().next;
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
    std::coroutine_handle<> await_suspend(std::coroutine_handle<> next) noexcept {
        at_.promise().next = next;
        return at_;
    }
    T await_resume() {
        if (at_.promise().thrown) std::rethrow_exception(at_.promise().thrown);
        return at_.promise().take();
    }

private:
    using handle = std::coroutine_handle<promise_type>;
    explicit task(handle at) noexcept : at_(at) {}
    handle at_;
};

/// A coroutine that belongs to nobody: it runs until its first wait, and ends by itself. What it
/// throws is lost; a responder inside of it answers 500.
struct detached {
    struct promise_type {
        detached get_return_object() noexcept { return {}; }
        std::suspend_never initial_suspend() noexcept { return {}; }
        std::suspend_never final_suspend() noexcept { return {}; }
        void return_void() noexcept {}
        void unhandled_exception() noexcept {}
    };
};

/// Resumes once, also when it is dropped: that is how what can't be waited for any more ends.
struct resumption {
    std::coroutine_handle<> waiting;
    explicit resumption(std::coroutine_handle<> h) noexcept : waiting(h) {}
    resumption(resumption&& other) noexcept : waiting(std::exchange(other.waiting, {})) {}
    ~resumption() { (*this)(); }
    void operator()() {
        if (auto h = std::exchange(waiting, {})) h.resume();
    }
};

/// One of the library's calls with a callback. Whoever is resumed may destroy this: nothing of it
/// is touched after that, and `begin` runs on the stack.
template <class T, class F> struct call : std::suspend_always {
    explicit call(F act) : begin(std::move(act)) {}
    void await_suspend(std::coroutine_handle<> h) {
        auto act = std::move(begin);
        act([this, h](T result) {
            got.emplace(std::move(result));
            h.resume();
        });
    }
    T await_resume() { return std::move(*got); }
    F begin;
    std::optional<T> got;
};
template <class T, class F> call<T, F> make_call(F begin) { return call<T, F>(std::move(begin)); }

inline auto async_send(uds_http::client& api, uds_http::request req) {
    return make_call<uds_http::result<uds_http::response>>(
        [&api, r = std::move(req)](auto done) mutable {
            api.async_send(std::move(r), std::move(done));
        });
}
inline auto async_get(uds_http::client& api, std::string_view target) {
    return async_send(api, uds_http::request("GET", target));
}
inline auto async_stream(uds_http::client& api, uds_http::request req) {
    return make_call<uds_http::result<uds_http::reply>>(
        [&api, r = std::move(req)](auto done) mutable {
            api.async_stream(std::move(r), std::move(done));
        });
}

/// False: the server has stopped, time is not over.
inline auto async_sleep(uds_http::server& app, uds_http::milliseconds time) {
    struct sleep : std::suspend_always {
        void await_suspend(std::coroutine_handle<> h) {
            app.post([this, wake = resumption(h)]() mutable { over = true, wake(); }, time);
        }
        bool await_resume() const noexcept { return over; }
        uds_http::server& app;
        uds_http::milliseconds time;
        bool over = false;
    };
    return sleep{{}, app, time};
}

/// A body to be read piece by piece; the sender is stopped meanwhile. Dropped early: as
/// body_reader.
class async_body : uds_http::detail::move_only {
    struct state {
        uds_http::body_reader in;
        std::string bytes;
        uds_http::error why;
        bool over = false;
        std::coroutine_handle<> waiting;
        void wake() { resumption{std::exchange(waiting, {})}(); }
    };
    std::shared_ptr<state> s_ = std::make_shared<state>();

public:
    explicit async_body(uds_http::body_reader in) {
        s_->in = std::move(in);
        s_->in.on_data(
            [s = s_](std::string_view piece) { s->bytes += piece, s->in.pause(), s->wake(); },
            [s = s_](const uds_http::error& e) { s->over = true, s->why = e, s->wake(); });
    }
    async_body(async_body&&) = default;
    ~async_body() { s_ ? void(s_->in = {}) : void(); }
    /// The next piece; "" is the end.
    auto read() {
        struct reading : std::suspend_always {
            bool await_ready() const noexcept { return !s.bytes.empty() || s.over; }
            void await_suspend(std::coroutine_handle<> h) noexcept { s.waiting = h; }
            uds_http::result<std::string> await_resume() {
                if (s.bytes.empty() && s.why) return s.why;
                std::string piece = std::exchange(s.bytes, {});
                return s.in.resume(), piece;
            }
            state& s;
        };
        return reading{{}, *s_};
    }
};

/// A handler of `task<response>(request)` or `task<void>(request, body_reader, responder)`.
template <class F> auto coroutine(F make) {
    using namespace uds_http;
    if constexpr (std::is_invocable_v<F&, request>) {
        // A coroutine's captures live in its lambda: `make` stays in the frame that awaits it.
        return [make](request& req, responder out) {
            [](F act, request r, responder o) -> detached {
                o.send(co_await act(std::move(r)));
            }(make, std::move(req), std::move(out));
        };
    } else {
        return [make](request& req, body_reader in, responder out) {
            [](F act, request r, body_reader i, responder o) -> detached {
                co_await act(std::move(r), std::move(i), std::move(o));
            }(make, std::move(req), std::move(in), std::move(out));
        };
    }
}
