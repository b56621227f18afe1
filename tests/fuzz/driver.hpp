// A connection without a socket, and a loop's part in its life: bytes go in by hand, in segments of
// any size, answers come out.
#pragma once

#include "fuzz.hpp"

namespace fuzz {

/// Routes and limits, for all connections of a target.
struct shared_site : site {
    std::vector<ref<route>> all;

    explicit shared_site(const server_options& given) {
        options = given;
        limits = {given.max_head_bytes, given.max_target_bytes, given.max_fields_count};
    }
    void add(string_view method, string_view pattern, handler h) {
        all.emplace_back(new detail::route_entry(method, pattern, std::move(h)));
        claim(!routes.add(*all.back()), "a good pattern");
    }
};

struct driver {
    site& shared;
    desk lent;
    conn c{};
    ref<mailbox> home{new mailbox};
    std::string socket; // sent by the peer, not read yet
    std::string out;

    explicit driver(site& s) : shared(s) {
        std::memcpy(lent.date, "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n", 38);
        this_loop() = home.get(); // as in a turn: no wake-ups are written
    }
    ~driver() {
        if (c.work()) dialog::abandon(shared, *c.work(), failed(errc::stopped, "fuzz"));
        settle();
        if (c.more && c.more->counted) shared.buffered.fetch_sub(c.more->counted);
        claim(shared.buffered == 0, "no byte stays counted");
        this_loop() = nullptr;
    }
    driver(const driver&) = delete;

    dialog talk() { return dialog(shared, lent, c, 0, home); }
    bool is_over() const { return c.gone || (c.ends && !c.has_output()); }

    /// What a loop does with bytes that arrive, to the point where it would sleep.
    void feed(string_view bytes) {
        socket.append(bytes);
        for (bool busy = true; busy && !is_over();) {
            busy = !socket.empty() && c.wants_bytes();
            if (busy) take(std::exchange(socket, {}));
            if (settle()) busy = true;
        }
    }
    /// The peer's side ends. What it sent before and nobody wanted is read first.
    void end() {
        feed({});
        if (is_over() || !socket.empty()) return;
        if (talk().at_eof()) c.ends = c.gone = true;
        collect();
        feed({});
    }
    bool settle() {
        ref<flow> flows;
        row<mailbox::task> tasks;
        home->take(flows, tasks);
        const bool any = static_cast<bool>(flows);
        while (ref<flow> f = next_of(flows)) {
            f->posted = false;
            if (!c.more || !(c.more->at_work == f))
                dialog::abandon(shared, *f, failed(errc::cut_off, "fuzz"));
            else talk().settle(*f, [this] { collect(); });
            collect();
            if (c.more && !c.more->in.empty() && c.wants_bytes()) take({});
        }
        return any;
    }

    /// All that a socket with endless room would take.
    void collect() {
        out.append(lent.out.view());
        lent.out.clear();
        if (!c.more || !c.more->has_tail) return;
        out.append(bytes_of(c.more->tail).substr(static_cast<std::size_t>(c.more->tail_at)));
        talk().end_tail();
    }

private:
    void take(std::string bytes) {
        for (bool again = true; again && !is_over();) {
            if (c.more) bytes.insert(0, std::exchange(c.more->in, {}));
            const exact segment(bytes); // as a loop's buffer: gone when the call is over
            again = talk().take(segment.view());
            bytes.clear();
            collect();
        }
    }
};

} // namespace fuzz
