// SPDX-License-Identifier: MIT
// event_source.hpp: a reader of server-sent events on top of client::stream. It reconnects and goes
// on after the last event that it saw. Not in the library: most daemons have no use for it.
#ifndef EVENT_SOURCE_HPP
#define EVENT_SOURCE_HPP

#include "uds_http.hpp"

#include <algorithm>

/// Bytes to events (WHATWG HTML 9.2.6).
struct event_parser {
    std::string line, data, type, id, last_id;
    std::chrono::milliseconds retry{
        1'000}; // browsers wait for 3 to 5 s; here no network has to recover
    bool after_cr = false, at_start = true;

    void restart() {
        line.clear(), data.clear(), type.clear();
        id = last_id, after_cr = false, at_start = true;
    }

    /// False: `take` has had enough.
    template <class F> bool feed(std::string_view in, F&& take) {
        while (!in.empty()) {
            if (std::exchange(after_cr, false) && in[0] == '\n') in.remove_prefix(1);
            std::size_t stop = in.find_first_of("\r\n");
            line.append(in.substr(0, stop));
            if (stop == std::string_view::npos) return true;
            after_cr = in[stop] == '\r';
            in.remove_prefix(stop + 1);
            if (std::exchange(at_start, false) && line.compare(0, 3, "\xef\xbb\xbf") == 0)
                line.erase(0, 3);
            if (line.empty() && !dispatch(take)) return false;
            read_line();
            line.clear();
        }
        return true;
    }

private:
    template <class F> bool dispatch(F& take) {
        bool goes_on = true;
        last_id = id;
        if (!data.empty()) {
            data.pop_back(); // the last LF
            goes_on = take(uds_http::event{
                data, type.empty() ? std::string_view("message") : std::string_view(type), id});
        }
        data.clear(), type.clear();
        return goes_on;
    }

    void read_line() {
        std::size_t colon = line.find(':');
        std::string_view name = std::string_view(line).substr(0, colon), value;
        if (colon != std::string::npos) value = std::string_view(line).substr(colon + 1);
        if (!value.empty() && value[0] == ' ') value.remove_prefix(1);
        if (name == "data") data.append(value).append("\n");
        else if (name == "event") type = value;
        else if (name == "id" && value.find('\0') == std::string_view::npos) id = value;
        else if (name == "retry" && !value.empty() && value.size() < 10) set_retry(value);
    }
    void set_retry(std::string_view digits) {
        long number = 0;
        for (char c : digits) {
            if (c < '0' || c > '9') return;
            number = number * 10 + (c - '0');
        }
        retry = std::chrono::milliseconds(number);
    }
};

/// One subscription after the other, on whatever connection, until `take` says false.
/// Errors:   that of the first attempt (a mistyped path must not look like a silent server);
///           operation_canceled; protocol_error for what is no event stream; bad_field for a last
///           id with controls, which can't go back. 204 ends it without one.
/// Threads:  blocks its thread; not on a loop.
class event_source {
public:
    event_source(uds_http::client& api, std::string target, uds_http::canceller by = {})
        : api_(api), target_(std::move(target)), by_(std::move(by)) {}

    template <class F> uds_http::error run(F take) {
        using std::chrono::milliseconds;
        constexpr milliseconds longest(15'000);
        for (milliseconds pause = first_pause();; pause = pause < longest ? 2 * pause : pause) {
            uds_http::error e = subscribe(take);
            if (is_over_ || !was_open_ || by_.cancelled() || e == uds_http::errc::bad_field)
                return e; // an id that no field may hold can't be sent, however often
            if (std::exchange(is_open_, false)) pause = first_pause();
            if (!wait(pause))
                return fail(std::make_error_code(std::errc::operation_canceled), "waiting");
        }
    }

private:
    static constexpr std::size_t max_event_bytes = 64 << 20;

    /// What the server asked for; without a floor a `retry: 0` would make this spin.
    std::chrono::milliseconds first_pause() const {
        return std::max(parser_.retry, std::chrono::milliseconds(100));
    }

    template <class F> uds_http::error subscribe(F& take) {
        uds_http::request req("GET", target_);
        req.header("Accept", "text/event-stream")
            .header("Cache-Control", "no-store")
            .cancel_with(by_);
        if (!parser_.last_id.empty()) req.header("Last-Event-ID", parser_.last_id);
        auto got = api_.stream(std::move(req));
        if (!got) return got.error();
        const int status = got->head.status();
        const bool fits = status == 200 && is_event_stream(got->head.header("Content-Type"));
        is_over_ = !fits;
        if (status == 204) return {}; // the server's way to say: don't come back
        const std::string type(got->head.header("Content-Type"));
        if (!fits)
            return fail(std::make_error_code(std::errc::protocol_error), // it is HTTP all the same
                        "no event stream, but " + std::to_string(status) + " '" + type + "'");
        was_open_ = is_open_ = true;
        parser_.restart();
        return read_all(got->body, take);
    }

    template <class F> uds_http::error read_all(uds_http::body_reader& body, F& take) {
        char bytes[4096];
        for (;;) {
            auto n = body.read(bytes, sizeof bytes);
            if (!n) return n.error();
            if (*n == 0) return {};
            is_over_ = !parser_.feed({bytes, *n}, take);
            if (is_over_) return {};
            is_over_ = parser_.line.size() + parser_.data.size() > max_event_bytes;
            if (is_over_) return fail(uds_http::errc::too_large, "one event");
        }
    }

    static bool is_event_stream(std::string_view type) {
        std::string lower(type.substr(0, type.find_first_of("; \t")));
        for (char& c : lower) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c | 32 : c);
        return lower == "text/event-stream";
    }

    /// In short steps: a canceller can be asked, not waited for. False: cancelled.
    bool wait(std::chrono::milliseconds pause) const {
        for (; pause.count() > 0 && !by_.cancelled(); pause -= std::chrono::milliseconds(20))
            ::poll(nullptr, 0, pause.count() < 20 ? static_cast<int>(pause.count()) : 20);
        return !by_.cancelled();
    }

    uds_http::error fail(std::error_code why, const std::string& what) const {
        return uds_http::error(why, "events " + target_ + ": " + what);
    }

    uds_http::client& api_;
    const std::string target_;
    uds_http::canceller by_;
    event_parser parser_;
    bool was_open_ = false, is_open_ = false, is_over_ = false;
};

#endif
