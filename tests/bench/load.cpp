// SPDX-License-Identifier: MIT
// The load generator: one thread, one epoll loop, HTTP/1.1 over a Unix socket or the loopback.
//
//     load --request 'GET|/|0|text:Hello Anonymous' --connections 64 --seconds 1 SOCKET
//
// A request is METHOD|TARGET|BODY_BYTES|EXPECTED. The body is that many 'x'. EXPECTED is text:T,
// fill:N (N times 'x') or empty (any 200 of one length). Several --request are sent in turn; with
// --variants N, {} in TARGET and T counts from 0 to N - 1.
//
// Closed loop: every connection sends --pipeline N requests in one write, reads all N answers,
// sends the next N. --new-connection: one request per connection. --rate R: open loop, R requests
// per second whether or not answers come; latency counts from when a request was due, not from when
// a connection was free for it (coordinated omission). --hold: one request on each connection, then
// keeps them until standard input ends.
//
// Every answer is checked for status 200 and its exact length, the first of each connection byte by
// byte. --watch PID,PID: their CPU time over the measured span. Prints one JSON object.

#include "common.hpp"

#include <deque>
#include <utility>

#include <sys/epoll.h>
#include <sys/uio.h>

namespace {

using std::string_view;

const std::string& fill_block() {
    static const std::string block(1 << 20, 'x');
    return block;
}

// [plan] What to send and what to expect ----------------------------------------------------------

struct expectation {
    std::string text;         // exact, unless `fill`
    std::uint64_t length = 0; // of the body
    bool fill = false, any = false;

    bool matches(std::uint64_t offset, string_view piece) const {
        if (any) return true;
        if (offset + piece.size() > length) return false;
        if (!fill) return piece == string_view(text).substr(offset, piece.size());
        for (; !piece.empty(); piece.remove_prefix(std::min(piece.size(), fill_block().size())))
            if (piece.compare(0, fill_block().size(),
                              string_view(fill_block()).substr(0, piece.size())) != 0)
                return false;
        return true;
    }
};

// Where the parts of an answer stood when it was parsed in full: answers to the same request that
// look alike there need no second parse.
struct layout {
    std::size_t head_bytes = 0, total_bytes = 0, length_at = 0;
    std::string length_line; // "15\r\n"

    bool fits(string_view in) const {
        return total_bytes != 0 && in.size() >= total_bytes &&
               std::memcmp(in.data(), "HTTP/1.1 200", 12) == 0 &&
               std::memcmp(in.data() + length_at, length_line.data(), length_line.size()) == 0 &&
               std::memcmp(in.data() + head_bytes - 4, "\r\n\r\n", 4) == 0;
    }
};

struct target {
    std::string wire;             // head, and the body if it is small
    std::uint64_t fill_bytes = 0; // of a large body, after `wire`
    expectation expected;
    layout known;
};

struct plan {
    std::vector<target> targets;
    std::size_t connections = 64, pipeline = 1, requests = SIZE_MAX;
    double seconds = 1, warmup = 0.2, rate = 0;
    bool new_connection = false, hold = false;
    int sndbuf = 0;
    std::vector<pid_t> watch;
};

constexpr std::uint64_t small_body_bytes = 64 * 1024;

std::vector<std::string> split(const std::string& text, char at, std::size_t parts) {
    std::vector<std::string> out;
    std::size_t from = 0;
    for (std::size_t to; out.size() + 1 < parts && (to = text.find(at, from)) != text.npos;
         from = to + 1)
        out.push_back(text.substr(from, to - from));
    out.push_back(text.substr(from));
    return out;
}

std::string numbered(std::string text, std::size_t number) {
    if (const std::size_t at = text.find("{}"); at != text.npos)
        text.replace(at, 2, std::to_string(number));
    return text;
}

expectation expectation_of(const std::string& text) {
    expectation expected;
    if (text.rfind("text:", 0) == 0) {
        expected.text = text.substr(5);
        expected.length = expected.text.size();
    } else if (text.rfind("fill:", 0) == 0) {
        expected.fill = true;
        expected.length = std::strtoull(text.c_str() + 5, nullptr, 10);
    } else {
        expected.any = true;
    }
    return expected;
}

target target_of(const std::string& spec, std::size_t number, const std::string& fields) {
    const std::vector<std::string> parts = split(spec, '|', 4);
    errno = EINVAL;
    if (parts.size() != 4) bench::die(spec);
    target made;
    made.wire = parts[0] + ' ' + numbered(parts[1], number) + " HTTP/1.1\r\nHost: localhost\r\n";
    made.fill_bytes = std::strtoull(parts[2].c_str(), nullptr, 10);
    if (made.fill_bytes != 0 || parts[0] == "POST" || parts[0] == "PUT")
        made.wire += "Content-Length: " + std::to_string(made.fill_bytes) + "\r\n";
    made.wire += fields + "\r\n";
    if (made.fill_bytes <= small_body_bytes)
        made.wire.append(std::exchange(made.fill_bytes, 0), 'x');
    made.expected = expectation_of(numbered(parts[3], number));
    return made;
}

std::string extra_fields(std::size_t count, bool close) {
    std::string fields;
    char line[80];
    for (std::size_t i = 0; i < count; i++) {
        std::snprintf(line, sizeof line, "X-Field-%03zu: a value of field %03zu\r\n", i, i);
        fields += line;
    }
    return close ? fields + "Connection: close\r\n" : fields;
}

plan plan_of(bench::arguments& arguments) {
    plan made;
    const std::size_t variants = arguments.size("--variants", 1);
    const std::size_t count = arguments.size("--fields", 0);
    const std::string fields = extra_fields(count, arguments.flag("--close"));
    for (std::string spec; !(spec = arguments.text("--request")).empty();)
        for (std::size_t i = 0; i < variants; i++)
            made.targets.push_back(target_of(spec, i, fields));
    if (made.targets.empty()) made.targets.push_back(target_of("GET|/|0|", 0, fields));
    made.connections = arguments.size("--connections", made.connections);
    made.pipeline = arguments.size("--pipeline", 1);
    made.requests = arguments.size("--requests", SIZE_MAX);
    made.seconds = arguments.number("--seconds", made.seconds);
    made.warmup = arguments.number("--warmup", made.warmup);
    made.rate = arguments.number("--rate", 0);
    made.sndbuf = static_cast<int>(arguments.size("--sndbuf", 0));
    made.new_connection = arguments.flag("--new-connection");
    made.hold = arguments.flag("--hold");
    for (const std::string& pid : split(arguments.text("--watch"), ',', SIZE_MAX))
        if (!pid.empty()) made.watch.push_back(std::atoi(pid.c_str()));
    return made;
}

// [reader] One answer out of bytes that come in any pieces ----------------------------------------

string_view value_of(string_view head, string_view name) {
    for (std::size_t at = 0; (at = head.find("\r\n", at)) != head.npos;) {
        at += 2;
        if (head.size() - at <= name.size() || head[at + name.size()] != ':' ||
            strncasecmp(head.data() + at, name.data(), name.size()) != 0)
            continue;
        string_view value = head.substr(at + name.size() + 1);
        value = value.substr(0, value.find('\r'));
        return value.substr(std::min(value.find_first_not_of(' '), value.size()));
    }
    return {};
}

class reader {
public:
    enum class step { more, done, bad };

    void start(target& asked) {
        asked_ = &asked;
        state_ = state::head;
        offset_ = 0;
        line_.clear();
    }
    bool fresh() const { return state_ == state::head && line_.empty(); }
    const char* why() const { return why_; }
    std::uint64_t body_bytes() const { return offset_; }

    // Takes the front of `in`. `exact`: compares the body with what is expected.
    step take(string_view& in, bool exact) {
        while (!in.empty() || state_ == state::done) {
            if (state_ == state::done) return finish();
            if (!advance(in, exact)) return step::bad;
        }
        return state_ == state::done ? finish() : step::more;
    }

private:
    enum class state { head, body, chunk_size, chunk, chunk_end, trailer, done };

    bool advance(string_view& in, bool exact) {
        switch (state_) {
        case state::head: return take_head(in);
        case state::body: return take_body(in, exact, state::done);
        case state::chunk_size: return take_chunk_size(in);
        case state::chunk: return take_body(in, exact, state::chunk_end);
        case state::chunk_end: return take_line(in, state::chunk_size);
        case state::trailer: return take_line(in, state::done);
        case state::done: return true;
        }
        return true;
    }
    bool fail(const char* why) { return why_ = why, false; }
    step finish() {
        const bool right = asked_->expected.any || offset_ == asked_->expected.length;
        return right || fail("length of the body") ? step::done : step::bad;
    }

    // Moves bytes up to and with `end` from `in` to line_; false: it hasn't come yet.
    bool collect(string_view& in, string_view end) {
        const std::size_t before = line_.size();
        line_ += in;
        const std::size_t from = before < end.size() ? 0 : before - end.size() + 1;
        const std::size_t at = line_.find(end, from);
        const std::size_t size = at == line_.npos ? line_.size() : at + end.size();
        in.remove_prefix(size - before);
        line_.resize(size);
        return at != line_.npos;
    }
    bool take_head(string_view& in) {
        if (!collect(in, "\r\n\r\n")) return true;
        const std::string head = std::exchange(line_, {});
        if (head.compare(0, 12, "HTTP/1.1 200") != 0) return fail("status");
        const string_view coding = value_of(head, "Transfer-Encoding");
        if (coding.size() == 7 && strncasecmp(coding.data(), "chunked", 7) == 0)
            return state_ = state::chunk_size, true;
        const string_view length = value_of(head, "Content-Length");
        if (length.empty()) return fail("no length");
        left_ = std::strtoull(length.data(), nullptr, 10);
        state_ = left_ == 0 ? state::done : state::body;
        learn(head, length);
        return true;
    }
    void learn(const std::string& head, string_view length) {
        layout& known = asked_->known;
        if (left_ > small_body_bytes) return;
        if (!asked_->expected.any && left_ != asked_->expected.length) return;
        known.length_at = static_cast<std::size_t>(length.data() - head.data());
        known.length_line = head.substr(known.length_at, length.size() + 2);
        known.head_bytes = head.size();
        known.total_bytes = head.size() + left_;
    }
    bool take_body(string_view& in, bool exact, state next) {
        const string_view piece = in.substr(0, std::min<std::uint64_t>(left_, in.size()));
        if (exact && !asked_->expected.matches(offset_, piece)) return fail("bytes of the body");
        offset_ += piece.size();
        left_ -= piece.size();
        in.remove_prefix(piece.size());
        if (left_ == 0) state_ = next;
        return true;
    }
    bool take_chunk_size(string_view& in) {
        if (!collect(in, "\r\n")) return true;
        left_ = std::strtoull(line_.c_str(), nullptr, 16);
        state_ = left_ == 0 ? state::trailer : state::chunk;
        line_.clear();
        return true;
    }
    bool take_line(string_view& in, state next) {
        if (!collect(in, "\r\n")) return true;
        if (line_ != "\r\n") return fail("end of a chunk");
        state_ = next;
        line_.clear();
        return true;
    }

    target* asked_ = nullptr;
    state state_ = state::head;
    std::uint64_t left_ = 0, offset_ = 0;
    std::string line_;
    const char* why_ = "";
};

// [generator] -------------------------------------------------------------------------------------

struct connection {
    int fd = -1;
    std::size_t next_sent = 0, next_read = 0; // indices of targets
    std::size_t in_flight = 0;
    std::uint64_t started_ns = 0;
    string_view out; // of the wire, still to be sent
    std::uint64_t fill_left = 0;
    bool wants_out = false, proven = false; // proven: an answer was compared byte by byte
    reader answers;
};

class generator {
public:
    generator(plan& plan, const bench::endpoint& where)
        : plan_(plan), where_(where), all_(plan.connections), in_(256 * 1024) {
        for (const target& each : plan_.targets)
            for (std::size_t i = 0; i < plan_.pipeline; i++)
                if (plan_.targets.size() == 1) batch_ += each.wire;
    }
    void run();

private:
    using mark = std::uint64_t;

    void open(connection& c);
    void issue(connection& c, mark due);
    void flush(connection& c);
    void want_out(connection& c, bool wanted);
    void readable(connection& c);
    bool take(connection& c, string_view in);
    bool take_one(connection& c, string_view& in);
    void completed(connection& c);
    void idle(connection& c);
    void failed(connection& c, const char* why);
    void release_due(mark now);
    void turn();
    void begin(mark now);
    void report(mark now) const;

    plan& plan_;
    const bench::endpoint& where_;
    std::vector<connection> all_;
    std::vector<char> in_;
    std::string batch_;
    int epoll_ = epoll_create1(EPOLL_CLOEXEC);
    mark now_ = 0, began_ = 0;
    std::uint64_t next_due_ = 0;
    double due_step_ns_ = 0, due_exact_ns_ = 0;
    std::deque<mark> waiting_; // due, without a free connection
    std::vector<connection*> free_;
    std::size_t done_ = 0, errors_ = 0, reopened_ = 0;
    std::uint64_t bytes_in_ = 0, bytes_out_ = 0, own_cpu_ns_ = 0;
    bench::histogram latency_;
    bench::cpu_time cpu_;
    std::string first_error_;
    bool over_ = false;
};

void generator::open(connection& c) {
    c.fd = bench::connect_to(where_);
    if (c.fd < 0) bench::die("connect");
    if (plan_.sndbuf > 0) bench::set_option(c.fd, SOL_SOCKET, SO_SNDBUF, plan_.sndbuf);
    c.proven = c.wants_out = false;
    c.in_flight = 0;
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.ptr = &c;
    if (epoll_ctl(epoll_, EPOLL_CTL_ADD, c.fd, &event) != 0) bench::die("epoll_ctl");
}

void generator::issue(connection& c, mark due) {
    target& asked = plan_.targets[c.next_sent];
    c.started_ns = due;
    c.in_flight = plan_.pipeline;
    c.out = batch_.empty() ? string_view(asked.wire) : string_view(batch_);
    c.fill_left = asked.fill_bytes;
    c.next_read = c.next_sent;
    c.next_sent = (c.next_sent + 1) % plan_.targets.size();
    c.answers.start(asked);
    flush(c);
}

void generator::flush(connection& c) {
    while (!c.out.empty() || c.fill_left != 0) {
        const std::string& block = fill_block();
        iovec parts[] = {
            {const_cast<char*>(c.out.data()), c.out.size()},
            {const_cast<char*>(block.data()), std::min<std::uint64_t>(c.fill_left, block.size())}};
        msghdr message{};
        message.msg_iov = parts;
        message.msg_iovlen = c.fill_left == 0 ? 1 : 2;
        const ssize_t sent = sendmsg(c.fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN) return want_out(c, true);
        if (sent < 0) return failed(c, std::strerror(errno));
        bytes_out_ += static_cast<std::uint64_t>(sent);
        const std::size_t head = std::min(static_cast<std::size_t>(sent), c.out.size());
        c.out.remove_prefix(head);
        c.fill_left -= static_cast<std::size_t>(sent) - head;
    }
    want_out(c, false);
}

void generator::want_out(connection& c, bool wanted) {
    if (c.wants_out == wanted) return;
    c.wants_out = wanted;
    epoll_event event{};
    event.events = wanted ? EPOLLIN | EPOLLOUT : EPOLLIN;
    event.data.ptr = &c;
    epoll_ctl(epoll_, EPOLL_CTL_MOD, c.fd, &event);
}

void generator::readable(connection& c) {
    const ssize_t size = recv(c.fd, in_.data(), in_.size(), MSG_DONTWAIT);
    if (size < 0 && errno == EAGAIN) return;
    if (size > 0) {
        bytes_in_ += static_cast<std::uint64_t>(size);
        if (!take(c, {in_.data(), static_cast<std::size_t>(size)}))
            failed(c, c.in_flight == 0 ? "bytes after the answer" : c.answers.why());
        return;
    }
    if (c.in_flight != 0) return failed(c, size == 0 ? "closed early" : std::strerror(errno));
    // A server may close a kept connection between two requests: that is no error.
    reopened_++;
    close(c.fd);
    open(c);
}

bool generator::take(connection& c, string_view in) {
    while (!in.empty()) {
        if (c.in_flight == 0) return false;
        if (take_one(c, in)) completed(c);
        else if (!in.empty()) return false;
    }
    if (c.in_flight == 0) idle(c);
    return true;
}

// True: one more answer is whole. False with bytes left in `in`: it was a wrong one.
bool generator::take_one(connection& c, string_view& in) {
    const layout& known = plan_.targets[c.next_read].known;
    if (c.proven && c.answers.fresh() && known.fits(in)) {
        in.remove_prefix(known.total_bytes);
        return true;
    }
    const string_view all = in;
    const reader::step step = c.answers.take(in, !c.proven);
    if (step == reader::step::bad) in = all;
    if (step == reader::step::done) c.proven = true;
    return step == reader::step::done;
}

void generator::completed(connection& c) {
    latency_.add(now_ - c.started_ns);
    done_++;
    if (--c.in_flight != 0) c.answers.start(plan_.targets[c.next_read]);
}

void generator::idle(connection& c) {
    if (over_) return;
    if (plan_.new_connection) {
        close(c.fd);
        const mark started = bench::now_ns();
        open(c);
        return issue(c, started);
    }
    if (plan_.rate == 0) return issue(c, now_);
    if (waiting_.empty()) return free_.push_back(&c);
    const mark due = waiting_.front();
    waiting_.pop_front();
    issue(c, due);
}

void generator::failed(connection& c, const char* why) {
    if (first_error_.empty()) first_error_ = why;
    if (++errors_ > 1'000) over_ = true;
    close(c.fd);
    open(c);
    idle(c);
}

// Open loop: everything that is due by now goes to a free connection, or waits for one.
void generator::release_due(mark now) {
    while (next_due_ <= now) {
        if (free_.empty()) {
            waiting_.push_back(next_due_);
        } else {
            connection& c = *free_.back();
            free_.pop_back();
            issue(c, next_due_);
        }
        due_exact_ns_ += due_step_ns_;
        next_due_ = static_cast<std::uint64_t>(due_exact_ns_);
    }
}

void generator::turn() {
    epoll_event events[256];
    const int timeout = plan_.rate > 0 ? 0 : 10; // an open loop spins: a timer would come late
    const int ready = epoll_wait(epoll_, events, 256, timeout);
    for (int i = 0; i < ready; i++) {
        connection& c = *static_cast<connection*>(events[i].data.ptr);
        now_ = bench::now_ns();
        if ((events[i].events & EPOLLOUT) != 0) flush(c);
        if ((events[i].events & ~static_cast<std::uint32_t>(EPOLLOUT)) != 0) readable(c);
    }
    now_ = bench::now_ns();
    if (plan_.rate > 0) release_due(now_);
}

void generator::begin(mark now) {
    began_ = now;
    done_ = errors_ = reopened_ = 0;
    bytes_in_ = bytes_out_ = 0;
    latency_.clear();
    cpu_ = bench::cpu_time_of(plan_.watch);
    own_cpu_ns_ = bench::clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}

void generator::run() {
    for (connection& c : all_) open(c);
    now_ = began_ = bench::now_ns();
    if (plan_.rate > 0) due_step_ns_ = 1e9 / plan_.rate;
    due_exact_ns_ = static_cast<double>(now_);
    next_due_ = now_;
    for (std::size_t i = 0; i < all_.size(); i++) {
        all_[i].next_sent = i * plan_.targets.size() / all_.size();
        idle(all_[i]);
    }
    const mark warm = now_ + static_cast<mark>(plan_.warmup * 1e9);
    while (now_ < warm && !over_) turn();
    if (errors_ == 0) begin(now_);
    const mark end = now_ + static_cast<mark>(plan_.seconds * 1e9);
    while (now_ < end && done_ < plan_.requests && !over_) turn();
    report(now_);
}

void generator::report(mark now) const {
    const bench::cpu_time cpu = bench::cpu_time_of(plan_.watch);
    const double seconds = static_cast<double>(now - began_) / 1e9;
    const double count = static_cast<double>(std::max<std::size_t>(done_, 1));
    const std::uint64_t own = bench::clock_ns(CLOCK_PROCESS_CPUTIME_ID) - own_cpu_ns_;
    bench::json()
        .add("requests", std::uint64_t{done_})
        .add("errors", std::uint64_t{errors_})
        .add("first_error", first_error_)
        .add("reopened", std::uint64_t{reopened_})
        .add("seconds", seconds)
        .add("rps", static_cast<double>(done_) / seconds)
        .add("bytes_in", bytes_in_)
        .add("bytes_out", bytes_out_)
        .add("late", std::uint64_t{waiting_.size()})
        .add(latency_)
        .add("cpu_us", static_cast<double>(cpu.total_ns - cpu_.total_ns) / 1e3 / count)
        .add("user_us", (cpu.user_s - cpu_.user_s) * 1e6 / count)
        .add("system_us", (cpu.system_s - cpu_.system_s) * 1e6 / count)
        .add("generator_cpu_us", static_cast<double>(own) / 1e3 / count)
        .print();
}

// [hold] Kept connections that do nothing ---------------------------------------------------------

bool one_exchange(int fd, target& asked) {
    if (!bench::send_all(fd, asked.wire.data(), asked.wire.size())) return false;
    reader answer;
    answer.start(asked);
    for (char piece[4096];;) {
        const ssize_t size = recv(fd, piece, sizeof piece, 0);
        if (size <= 0) return false;
        string_view in(piece, static_cast<std::size_t>(size));
        const reader::step step = answer.take(in, true);
        if (step != reader::step::more) return step == reader::step::done;
    }
}

int hold(plan& plan, const bench::endpoint& where) {
    std::uint64_t errors = 0;
    for (std::size_t i = 0; i < plan.connections; i++) {
        const int fd = bench::connect_to(where);
        if (fd < 0 || !one_exchange(fd, plan.targets[0])) errors++;
    }
    bench::json().add("held", std::uint64_t{plan.connections}).add("errors", errors).print();
    while (std::getchar() != EOF) {
    }
    return errors == 0 ? 0 : 1;
}

} // namespace

int main(int argc, char** argv) {
    bench::arguments arguments(argc, argv);
    bench::raise_descriptor_limit();
    plan plan = plan_of(arguments);
    const bench::endpoint where(arguments.operands(1, "load [--request M|T|N|E] ... SOCKET")[0]);
    errno = EINVAL;
    if (plan.pipeline > 1 && plan.targets.size() > 1) bench::die("--pipeline: one --request");
    if (plan.hold) return hold(plan, where);
    generator(plan, where).run();
    return 0;
}
