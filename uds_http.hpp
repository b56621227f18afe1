// SPDX-License-Identifier: MIT
// uds_http.hpp: HTTP/1.1 over Unix domain sockets, server and client, in one C++17 header.

// [0] SYNOPSIS ------------------------------------------------------------------------------------
//
//     #include "uds_http.hpp"
//
//     int main() {
//         uds_http::server app;
//         app.get("/{name}", [](const uds_http::request& req) {
//             return uds_http::text("Hello " + std::string(req.param("name")));
//         });
//         if (auto error = app.run("/tmp/myapp.sock"))
//             return std::fprintf(stderr, "%s\n", error.message().c_str()), 1;
//     }
//
//     $ curl --unix-socket /tmp/myapp.sock http://localhost/world
//     Hello world
//
//     uds_http::client api("/tmp/myapp.sock");
//     if (auto res = api.get("/world")) std::puts(std::string(res->body()).c_str());
//     else std::fprintf(stderr, "%s\n", res.error().message().c_str());
//
// PART I, what you use: [1] CONFIG [2] ERRORS [3] MESSAGES [4a] STREAMS [4b] SERVER [4c] CLIENT
// PART II, how it works: [5] FD [6] SOCKET FILE [7] PARSER [8] SERIALIZER [9] ROUTER
//     [10] CONNECTION [11] LOOP [12] SERVER [13] CLIENT [14] FILES [15] MEMBERS [16] LICENSE
//
// Words used throughout. "Loop": a thread inside run() or run_once(). An object is used by one
// thread at a time; where several may use it at once, its comment says "concurrently". What
// can fail returns `error` or `result`, and nothing here throws but std::bad_alloc.

#ifndef UDS_HTTP_HPP
#define UDS_HTTP_HPP

#if !defined(__linux__) || __cplusplus < 201703L
#error "uds_http needs Linux (epoll, eventfd, SO_PEERCRED, /proc/self/fd) and -std=c++17"
#endif

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <memory> // for users: what their callbacks share
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>
#include <sys/types.h>

// [1] CONFIG --------------------------------------------------------------------------------------
// Run-time values are fields of the options. Macros: the version, the check of your own mistakes.

#define UDS_HTTP_VERSION_MAJOR 0
#define UDS_HTTP_VERSION_MINOR 1
#define UDS_HTTP_VERSION_PATCH 0

#ifndef UDS_HTTP_ASSERT
#include <cassert>
#define UDS_HTTP_ASSERT(claim) assert(claim) // yours: before the include, the same in all files
#endif

namespace uds_http {
inline namespace v1 { // in every symbol: two versions in one program don't mix

using std::string_view, std::chrono::microseconds, std::chrono::milliseconds;

class body_reader;
class response;

// What the classes of Part I are made of; nothing in here is for users.
namespace detail {
struct access; // the one friend: `access::of(object)` is what a class keeps private
struct address_state;
struct call;
struct cancel_state;
struct client_core;
struct failure;
struct field_block;
struct flow;
struct mapping;
struct nobody; // there is none
struct request_state;
struct response_extra;
struct server_core;
struct source;
struct stream_base;

namespace bases { // of their own: where a base class is, calls without `::` look for functions, too
struct move_only {
    move_only() = default;
    move_only(move_only&&) = default;
    move_only& operator=(move_only&&) = default;
};

/// What a `ref` owns. std::shared_ptr takes longer to compile than all of this header.
struct counted {
    std::atomic<unsigned> owners{0}; // copies of a handle may die on any thread
    virtual ~counted() = default;
};

class any_ref {
public:
    any_ref(counted* at = nullptr) noexcept : at_(at) { at_ ? take() : void(); }
    any_ref(const any_ref& other) noexcept : any_ref(other.at_) {}
    any_ref(any_ref&& other) noexcept : at_(std::exchange(other.at_, nullptr)) {}
    any_ref& operator=(any_ref other) noexcept { return std::swap(at_, other.at_), *this; }
    ~any_ref() { at_ ? drop() : void(); }
    explicit operator bool() const noexcept { return at_ != nullptr; }
    friend bool operator==(const any_ref& a, const any_ref& b) noexcept { return a.at_ == b.at_; }

protected:
    void take() noexcept;
    void drop() noexcept;
    counted* at_;
};

template <class T> class ref : public any_ref {
public:
    ref() noexcept = default;
    ref(T* made) noexcept : any_ref(made) {}
    template <class U> ref(const ref<U>& derived) noexcept : ref(static_cast<T*>(derived.get())) {}
    T* get() const noexcept { return static_cast<T*>(at_); }
    T& operator*() const noexcept { return static_cast<T&>(*at_); }
    T* operator->() const noexcept { return static_cast<T*>(at_); }
};

/// What a class of Part I is made of, in Part II; its copies share that.
template <class T> class handle {
public:
    handle() noexcept = default;

protected:
    friend struct detail::access;
    explicit handle(ref<T> made) noexcept : s_(std::move(made)) {}
    ref<T> s_;
};

/// A callback's function, whatever its signature; [2] [3] has the members.
class any_callback {
public:
    static constexpr std::size_t room_bytes = 48;
    any_callback() noexcept = default;
    any_callback(any_callback&& other) noexcept;
    any_callback& operator=(any_callback&& other) noexcept;
    ~any_callback();

protected:
    void (*move_)(void* from, void* to) noexcept = nullptr; // to nowhere: ends it
    void (*invoke_)() = nullptr; // of the type that the signature gives it
    alignas(std::max_align_t) unsigned char room_[room_bytes];
};
} // namespace bases
using namespace bases;
} // namespace detail

// [2] ERRORS --------------------------------------------------------------------------------------
/// What can fail besides the system's own errors. What POSIX names is a std::errc: timed_out,
/// address_in_use, permission_denied, operation_canceled, too_many_files_open, ...
enum class errc {
    bad_address = 1,  // not a socket path, name or http+unix:// URL
    bad_pattern,      // a route that can't be, or two that are equal
    bad_field,        // a method, field, status or length of content that would break the message
    bad_target,       // a request target that has bytes or a form that it may not have
    bad_message,      // the peer's bytes are no HTTP/1.1
    too_large,        // head or body over the limit
    cut_off,          // the connection ended inside a message
    wrong_peer,       // expect_uid: another user serves there
    bad_descriptor,   // descriptors missing, unsealed, of another kind, or not asked for
    stopped,          // the server that carried this has stopped
    would_block_loop, // a blocking call made on a loop
};
std::error_code make_error_code(errc) noexcept;

/// An error code that knows its place. True when something failed.
/// Lifetime: a value, copied by sharing; allocates only when something failed.
class [[nodiscard]] error : public detail::handle<detail::failure> {
public:
    error() noexcept = default;
    error(std::error_code code, std::string place); // a code of zero is no error
    explicit operator bool() const noexcept { return static_cast<bool>(s_); }
    const std::error_code& code() const noexcept; // valid while this error is; zero: no failure
    /// "/run/a.sock: connect: Connection refused": the socket, what was tried, the cause.
    std::string message() const;
    bool sent() const noexcept; // client: the server may have seen (part of) the request
    friend bool operator==(const error& e, std::errc c) noexcept { return e.code() == c; }
    friend bool operator==(const error& e, errc c) noexcept;
};

/// A value, or the error that kept it from being. Reading a value that isn't there aborts, with
/// NDEBUG too: it costs one branch. Copied where T can be.
template <class T> class [[nodiscard]] result {
    using copied = std::conditional_t<std::is_copy_constructible_v<T>, result, detail::nobody>;

public:
    result(T value) : value_(std::move(value)), has_value_(true) {}
    result(uds_http::error failed) : none_(), error_(std::move(failed)) { UDS_HTTP_ASSERT(error_); }
    result(const copied& other);
    result(result&& other);
    result& operator=(result other);
    ~result() { has_value_ ? value_.~T() : void(); }
    explicit operator bool() const noexcept { return has_value_; }
    const uds_http::error& error() const noexcept { return error_; }
    T& operator*() & { return has_value_ ? value_ : (std::abort(), value_); }
    const T& operator*() const& { return has_value_ ? value_ : (std::abort(), value_); }
    T&& operator*() && { return std::move(**this); }
    T* operator->() & { return &**this; }
    const T* operator->() const& { return &**this; }
    T* operator->() && = delete; // get(url)->body() would dangle

private:
    union { // std::optional takes five times as long to compile
        char none_;
        T value_;
    };
    bool has_value_ = false;
    uds_http::error error_;
};

/// A function that is moved, not copied; captures up to 48 bytes don't allocate. One that throws
/// costs its own request or stream (500, or cut) and is reported to on_log, nothing more.
template <class> class callback;
template <class R, class... A> class callback<R(A...)> : detail::any_callback {
public:
    callback() noexcept = default;
    template <class F, class = decltype(std::declval<F&>()(std::declval<A>()...))>
    callback(F function);
    /// One that has no function, or no longer, may be called where there is no result: it does
    /// nothing.
    R operator()(A... arguments);
    explicit operator bool() const noexcept { return move_ != nullptr; }
};

/// The one owner of a descriptor; a bare int elsewhere is a borrow.
class unique_fd : detail::move_only {
public:
    explicit unique_fd(int fd = -1) noexcept : fd_(fd) {}
    unique_fd(unique_fd&& other) noexcept : fd_(other.release()) {}
    unique_fd& operator=(unique_fd&& other) noexcept;
    ~unique_fd();
    int get() const noexcept { return fd_; }
    int release() noexcept { return std::exchange(fd_, -1); }
    explicit operator bool() const noexcept { return fd_ >= 0; }

private:
    int fd_;
};

/// Where a socket is: "/run/a.sock", "./relative", "@abstract" (as on Linux everywhere; a file of
/// that name is "./@abstract"), "unix:///run/a.sock", "http+unix://%2Frun%2Fa.sock" (a first %00 or
/// %40 is abstract) or "http://unix:/run/a.sock:/path".
/// Errors:   a bad one is remembered; whoever uses it returns it, and error() shows it.
/// Lifetime: a value. A relative path means the working directory of the moment of use.
class address : public detail::handle<detail::address_state> {
public:
    address(const char* text) : address(string_view(text)) {}
    address(const std::string& text) : address(string_view(text)) {}
    address(string_view text);
    address(const address&) = default; // moved too: there is always one
    /// An abstract name, exactly these bytes (unix(7)), NULs kept. It has no file permissions: who
    /// may connect is for listen_options::allow to say.
    static address abstract_name(string_view exact);
    /// The http+unix:// URL of `target` at this address.
    std::string url(string_view target = "/") const;
    /// What a URL names besides the socket: path and query, "/" without them; "" for no URL.
    string_view target() const noexcept;
    const uds_http::error& error() const noexcept;

private:
    explicit address(detail::ref<detail::address_state> made) noexcept;
};

/// A process at the other end, as it was at connect() (SO_PEERCRED, unix(7)). Trust uid, gid and
/// groups: the kernel vouches for them. pid is for logs: by now it may be another process's.
struct peer {
    pid_t pid = 0;
    uid_t uid = static_cast<uid_t>(-1); // not known; no user can have this number
    gid_t gid = static_cast<gid_t>(-1);
    std::vector<gid_t> groups{}; // supplementary, SO_PEERGROUPS
};

/// Who may come in: any of these users, or anyone with one of these groups. Both empty: nobody, so
/// that an empty list in a configuration opens no door. Numbers only: names would need NSS.
struct peer_rule {
    std::vector<uid_t> uids{};
    std::vector<gid_t> gids{};
    bool admits(const peer& who) const noexcept;
};

/// A way to give up calls from elsewhere; they end with operation_canceled.
/// Threads:  concurrently; cancel() from any thread or signal handler, before or during the call.
/// Lifetime: copies share one state. Sticky: once cancelled, every later call fails at once.
class canceller : public detail::handle<detail::cancel_state> {
public:
    canceller();
    void cancel() const noexcept;
    bool cancelled() const noexcept;
};

// [3] MESSAGES ------------------------------------------------------------------------------------
// Views into a message live as long as the message does and is not changed.

struct field {
    string_view name, value;
};

/// Header fields in their order; names are compared without case (RFC 9110 5.1).
class headers : public detail::handle<detail::field_block> {
public:
    headers() noexcept = default;
    headers(std::initializer_list<field> fields); // a bad one fails what they are sent with
    headers(const headers& other);
    headers(headers&& other);
    headers& operator=(headers other) noexcept;
    /// The first field of that name, until the fields change; "" if there is none.
    string_view get(string_view name) const noexcept;
    bool contains(string_view name) const noexcept;
    const field* begin() const noexcept;
    const field* end() const noexcept;
    /// Replaces all fields of that name by one; adds another one.
    /// Errors: bad_field (name is no token, or value has CR, LF, NUL or another control).
    error set(string_view name, string_view value);
    error add(string_view name, string_view value);
    void remove(string_view name);
    /// What a proxy must not pass on: Connection, what it names, and the others (RFC 9110 7.6.1);
    /// also what is about descriptors, which go along with their own message object alone.
    void remove_hop_by_hop();
};

/// Read-only bytes in a sealed memfd, which cross to another process without a copy.
/// Threads: concurrently; copies share the bytes, which live as long as any of them.
class sealed_memory : public detail::handle<detail::mapping> {
public:
    sealed_memory() noexcept {} // not `= default`: no aggregate, which a memory_builder could begin
    static result<sealed_memory> copy_of(string_view bytes); // errors: memfd_create(2), mmap(2)
    string_view view() const noexcept;
};

/// Memory to fill and then seal (memfd_create(2), F_SEAL_WRITE).
class memory_builder : public detail::handle<detail::mapping>, detail::move_only {
public:
    static result<memory_builder> create(std::size_t bytes); // zeroed; errors as above
    char* data() noexcept;                                   // writable, until seal()
    result<sealed_memory> seal() &&;                         // what data() gave is unmapped then
};

/// What a message carries. Everything but `literal`, `lent` and `borrowed` owns its bytes.
class content : detail::move_only {
public:
    /// Fills `into` with up to `room` bytes; 0: the end; an error: the message is cut.
    using fill = callback<result<std::size_t>(char* into, std::size_t room)>;

    content() noexcept = default;
    content(content&& other) noexcept : s_(std::move(other.s_)) { other.s_.kind = kind::text; }
    content& operator=(content&& other) noexcept;
    content(std::string bytes) noexcept : s_{std::move(bytes), {}, {}, kind::text} {}
    content(string_view copied) : content(std::string(copied)) {}
    content(const char* copied) : content(std::string(copied)) {}
    content(sealed_memory bytes);
    /// Passed on as it comes; a cut stays a cut. A server answers 500 for a blocking client's.
    content(body_reader source);
    /// Bytes as old as the process; or of the request that a handler answers, copied if they wait.
    static content literal(string_view lasting) noexcept, lent(string_view by_request) noexcept;
    /// `released` runs once, when the bytes were sent or dropped, on any thread; it can't throw.
    static content borrowed(string_view bytes, callback<void()> released);
    /// `length` bytes of a regular file from `offset`, by sendfile(2).
    static content file(unique_fd fd, std::uint64_t offset, std::uint64_t length);
    /// Asks for bytes when there is room, on the loop: never block. Without a length: chunked.
    static content pulled(fill, std::optional<std::uint64_t> length = {});

private:
    friend struct detail::access;
    enum class kind : unsigned char { text, view, lent, file, pulled, reader };
    struct state {
        std::string text{};
        string_view view{};
        detail::ref<detail::source> from{};
        content::kind kind = content::kind::text;
    } s_;
};

/// A request: received by a handler, or built for a client.
/// Lifetime: views of a received one end with the handler, and with whatever changes it. MOVING one
/// out copies its bytes: the moved object is yours, and so are its views.
class request : public detail::handle<detail::request_state> {
public:
    request(string_view method, string_view target); // a bad one, or field, fails what sends it
    request(request&&);
    request& operator=(request&&);

    string_view method() const noexcept, target() const noexcept, path() const noexcept,
        query() const noexcept; // as on the wire, not decoded
    /// The first query value of that name, decoded ('+' is a space, %XX a byte).
    string_view query(string_view name, string_view fallback = {}) const;
    /// What `{name}` of the route matched, decoded after splitting at '/'.
    string_view param(string_view name, string_view fallback = {}) const;
    string_view header(string_view name) const noexcept;
    string_view body() const noexcept;
    std::string take_body();      // it is empty then
    int version() const noexcept; // 10 or 11
    const uds_http::headers& headers() const noexcept;
    uds_http::headers& headers() noexcept;

    const uds_http::peer& peer() const; // who sent it; the kernel is asked once per connection
    /// A handle on that process which can't be reused for another one (SO_PEERPIDFD, Linux 6.5).
    /// Errors: protocol_not_available (older kernels).
    result<unique_fd> peer_pidfd() const;
    string_view listener() const noexcept; // listen_options::name
    std::uint64_t& tag() noexcept; // a number of yours, set on the loop; on_exchange shows it
    int fd(string_view name) const noexcept; // a borrow; -1 if there is none
    unique_fd take_fd(string_view name);     // what nobody takes is closed

    request& header(string_view name, string_view value) &;
    request& body(content, string_view type) &;
    request& fd(string_view name, unique_fd) &; // goes along, as README's "Descriptors" says
    request& timeout(milliseconds total) &;     // from the call to the last byte, of streams too
    request& cancel_with(canceller) &;
    request& on_interim(callback<void(response&)>) &; // async_ calls: each 1xx but 100 and 101
    request header(string_view name, string_view text) && { return std::move(header(name, text)); }
    request body(content c, string_view type) && { return std::move(body(std::move(c), type)); }
    request fd(string_view name, unique_fd one) && { return std::move(fd(name, std::move(one))); }
    request timeout(milliseconds total) && { return std::move(timeout(total)); }
    request cancel_with(canceller by) && { return std::move(cancel_with(std::move(by))); }
    request on_interim(callback<void(response&)> f) && {
        return std::move(on_interim(std::move(f)));
    }

private:
    friend struct detail::access;
    request();
};

/// A response: returned by a handler, or received by a client. `Connection: close` closes.
/// Errors: a bad field or status is remembered: a server answers 500 instead and logs it.
class response : detail::move_only {
public:
    explicit response(int status = 200) noexcept { s_.status = status; }
    int status() const noexcept { return s_.status; }
    string_view reason() const noexcept; // the usual one of the status; the wire's is not kept
    string_view header(string_view name) const noexcept;
    string_view body() const noexcept;
    std::string take_body();
    const uds_http::headers& headers() const; // not concurrently: it makes Content-Type a field
    uds_http::headers& headers();
    int fd(string_view name) const noexcept; // a borrow; -1 if there is none
    unique_fd take_fd(string_view name);     // what nobody takes is closed

    response& status(int status) & { return s_.status = status, *this; }
    response& header(string_view name, string_view value) &; // replaces; headers().add() adds
    response& body(content, string_view type) &;
    response& fd(string_view name, unique_fd) &;
    // By value: nothing dangles in `auto r = text("x").status(201)`.
    response status(int code) && { return std::move(status(code)); }
    response header(string_view name, string_view text) && { return std::move(header(name, text)); }
    response body(content c, string_view type) && { return std::move(body(std::move(c), type)); }
    response fd(string_view name, unique_fd one) && { return std::move(fd(name, std::move(one))); }

private:
    friend struct detail::access;
    response(string_view type, content&& body) noexcept : s_(type, std::move(body)) {}
    struct state {
        int status = 200;
        mutable string_view type{}; // Content-Type, a literal, until headers() is asked for
        mutable uds_http::headers fields{};
        content body{};
        detail::ref<detail::response_extra> extra{}; // descriptors, a remembered error
        state() noexcept {}
        state(string_view t, content&& b) noexcept : type(t), body(std::move(b)) {}
    } s_;
};

response text(content), html(content), bytes(content); // 200; text and html say UTF-8
response json(content);                                // already serialized
/// The file, or what the If- fields and Range make of it (RFC 9110 13, 14): 304, 412, 206, 416.
/// Regular files only; 404 if there is none or it may not be read.
response file(const request&, const std::string& path);
response redirect(string_view to, int status = 302); // `to` as it is: RFC 9110 10.2.2
std::string percent_encode(string_view segment); // all but unreserved bytes (RFC 3986 2.3) as %XX

// [4a] STREAMS ------------------------------------------------------------------------------------
// Callbacks run on the loop, never inside your call, never twice at once for one object, and never
// after its on_close or done; one set after the loop's end is dropped. An object may be destroyed
// inside its own callback. Destroying it from another thread can meet one that is running: capture
// values or a std::shared_ptr, never `this`. A blocking client's have no loop: `done` is at once.

/// full: taken, but wait for on_drain, or on_close; one more write in spite of it is a cut.
enum class written { ok, full, closed };
struct raw_stream {
    unique_fd fd;             // non-blocking, close-on-exec
    std::string already_read; // what came behind the 101: the first bytes of the new protocol
};

/// Bytes on their way out. Dropped before end(): cut, never a short body that looks whole (in 1.1).
/// Threads: any, one at a time. Lifetime: may outlive client and server; then everything is closed.
class body_writer : public detail::handle<detail::stream_base> {
public:
    body_writer() noexcept {} // not `= default`: no aggregate, which a body_reader could begin
    body_writer(body_writer&&) noexcept = default;
    body_writer& operator=(body_writer other) noexcept { return std::swap(s_, other.s_), *this; }
    ~body_writer() { cut(); }
    written write(string_view copied);
    written write(string_view bytes, callback<void()> released); // it runs inside: they are copied
    written wait(milliseconds timeout); // for room; on a loop it is `closed` at once
    void on_drain(callback<void()>);
    void on_close(callback<void()>); // cut, or left by the peer; a blocking client's: never
    /// False and a cut: fewer bytes than stated, or a trailer that may not be one (RFC 9110 6.5.1).
    bool end(headers trailers = {});
    void cut();
    bool is_open() const;
};

/// Bytes on their way in. Dropped early: the connection is closed, not reused.
/// Threads: any, one at a time. Lifetime: as body_writer's.
class body_reader : public detail::handle<detail::stream_base> {
public:
    body_reader() noexcept {}
    body_reader(body_reader&&) noexcept = default;
    body_reader& operator=(body_reader other) noexcept { return std::swap(s_, other.s_), *this; }
    ~body_reader();
    /// Pieces as they come, then `done` once: no error (whole), cut_off, timed_out, too_large.
    void on_data(callback<void(string_view)> piece, callback<void(const error&)> done);
    void pause(); // stops the sender: bounded memory. Of one that leaves meanwhile, cut_off at once
    void resume();
    const headers& trailers() const; // once it has ended
    /// Blocks for the next bytes. 0: whole. Errors: cut_off and as above; would_block_loop.
    result<std::size_t> read(char* into, std::size_t room);
};

/// Passes everything on; a cut stays a cut, trailers stay trailers, a slow side stops the fast one.
void relay(body_reader from, body_writer to, callback<void(const error&)> done = {});

/// A connection that left HTTP; stop() gives it drain_timeout. Without a 101, `head` is a refusal.
struct upgraded {
    response head;
    body_reader in;
    body_writer out; // out.end() is shutdown(SHUT_WR); `in` goes on
    explicit operator bool() const noexcept { return head.status() == 101; }
    /// -1: ended, EMFILE, or what was written waits. Outside its callbacks, what comes may be lost.
    raw_stream release() &&; // the descriptor is yours
};

struct event {
    string_view data, type = "message", id = {}; // an id or type with a line break is left out
};

/// Server-sent events, threads as body_writer's. stop() ends, and closes: clients reconnect.
class event_writer : detail::move_only {
public:
    written send(const event&);
    void on_drain(callback<void()> act) { s_.on_drain(std::move(act)); }
    void on_close(callback<void()> act) { s_.on_close(std::move(act)); }
    bool is_open() const { return s_.is_open(); }
    void end() { s_.end(); }

private:
    friend struct detail::access;
    body_writer s_;
};

/// The right to answer one request, once, later. Dropped unanswered: 500.
/// Threads: any, one at a time. Lifetime: may outlive the server; then it is harmless.
class responder : public detail::handle<detail::flow> {
public:
    responder() noexcept {} // answers nobody
    responder(responder&&) noexcept = default;
    responder& operator=(responder other) noexcept { return std::swap(s_, other.s_), *this; }
    ~responder();
    bool send(response);           // false: nobody is there any more, or it was answered already
    bool inform(response interim); // before it, any number of 1xx but 101: status and fields
    /// Head now, body as you write it: chunked, or of the Content-Length you set. To HEAD: closed.
    body_writer stream(response head);
    event_writer events(milliseconds heartbeat = std::chrono::seconds(15)); // 0: no heartbeat
    /// 101 with `Upgrade: protocol`, then `take` gets the connection, on the loop. Unasked: 426.
    void upgrade(string_view protocol, callback<void(upgraded)> take, headers extra = {});
    bool is_open() const;            // false: it is answered, or nobody waits
    void on_close(callback<void()>); // the client went before the answer had ended
};

// [4b] SERVER -------------------------------------------------------------------------------------
/// Each limit with the status that a peer sees when it is exceeded. Loops have memory for a whole
/// head. Bad options: over 16 Mi bytes or fields, no threads, over 65,535 threads or workers.
/// Timeouts, a client's too: 0 is at once, milliseconds::max() never.
struct server_options {
    unsigned threads = 1;                         // loops
    unsigned workers = 0;                         // threads for plain handlers that block
    std::size_t max_head_bytes = 16 << 10;        // request line and fields: 431
    std::size_t max_target_bytes = 8 << 10;       // 414
    std::size_t max_fields_count = 100;           // 431
    std::size_t max_body_bytes = 8 << 20;         // 413; routes that take it as it comes: none
    std::size_t max_write_buffer_bytes = 1 << 20; // of one stream: written::full
    std::size_t max_buffered_bytes = 256 << 20;   // of requests, all together: 503
    std::size_t max_connections_count = 16'384;   // 503 with Retry-After
    std::size_t max_per_uid_count = SIZE_MAX;     // connections of one user: 503
    std::size_t max_queued_count = 1'024;         // requests waiting for a worker: 503
    milliseconds head_timeout{5'000};             // first byte to end of head: 408
    milliseconds body_timeout{30'000};            // without progress: 408
    milliseconds write_timeout{30'000};           // without progress: cut
    milliseconds idle_timeout{75'000};            // before and between requests; 0: none is kept
    milliseconds drain_timeout{10'000};           // after stop(): cut
    microseconds busy_poll{0};                    // spin so long, while it pays: burns a core
    std::uint64_t max_body_fd_bytes = 0;          // of a body by descriptor: 413; 0: none, 400
    std::size_t max_fds_count = 0;                // descriptors per message: 400; 0: none
};

struct listen_options {
    mode_t mode = 0600;               // of the socket file, whatever the umask
    std::optional<uid_t> owner{};     // as bind(2) makes it; another: CAP_CHOWN and CAP_FOWNER
    std::optional<gid_t> group{};     // a group of this process needs no privilege
    int backlog = 4096;               // the kernel caps it at net.core.somaxconn
    bool take_over = false;           // replace a live server's path instead of address_in_use
    std::optional<peer_rule> allow{}; // others: 403
    std::string name{};               // request::listener()
};

/// One request and its answer, for logs. Views and references end with the callback.
struct exchange {
    string_view method, target, listener;
    const uds_http::peer& peer;
    int status;                             // 0: cut before an answer
    std::uint64_t bytes_in, bytes_out, tag; // of bodies; tag is request::tag()
    microseconds time;                      // head complete to answer handed to the kernel
    const uds_http::error& why;
};

struct server_stats {
    std::uint64_t connections = 0, accepted = 0, requests = 0, refused = 0, bytes_in = 0,
                  bytes_out = 0; // heads, too. `connections` is now, all others since the start
};

/// A callable of one of these shapes:
///     response(const request&)                  on a worker if there are workers, else on the loop
///     void(request&, responder)                 loop; take `request` by value to keep it
///     void(request&, body_reader, responder)    loop; the body as it comes, no body limit
/// One that throws answers 500; what() goes to on_log only.
class handler : detail::move_only {
public:
    template <class F, class = std::enable_if_t<!std::is_same_v<std::decay_t<F>, handler>>>
    handler(F function);

private:
    friend struct detail::access;
    enum class shape : unsigned char { plain, later, streamed };
    struct state {
        callback<void(detail::call&)> run{};
        handler::shape shape = handler::shape::plain;
    } s_;
};

/// What a route may have besides its handler. Set before run().
class route : public detail::counted {
public:
    route& allow(peer_rule); // narrows what the listener allows: 403
    /// Instead of the server's; a streamed one has none unless it is set here: 413.
    route& max_body_bytes(std::size_t limit);
    route& on_loop();      // a plain handler that doesn't block: not on a worker
    ~route() override = 0; // only a server makes one
};

/// An HTTP server on Unix sockets. One life: routes, listen, run, stop.
///
/// Patterns: "/", "/jobs", "/{name}", "/files/{path...}". A literal beats {x} beats {x...}, segment
/// by segment from the left, whatever the order of registration; {x} is never empty. The method is
/// part of the match: 405 only if no pattern takes it. GET serves HEAD; OPTIONS is answered.
///
/// Threads:  stop(), stopping(), post(callback), stats(): concurrently; stop() in signal handlers
///           too. Everything else: before run(), or on its thread; listen() before it.
/// Lifetime: handlers and what they capture live until ~server, which must not meet a run(). A
///           forked child's copy must be left alone; it never unlinks the socket.
class server : public detail::handle<detail::server_core> {
public:
    explicit server(server_options = {}); // a bad option is remembered: run() returns it
    ~server();
    server(server&&) = delete; // nor copied

    /// Errors: a bad pattern, or two equal ones, is remembered; listen() and run() return it.
    route& get(string_view pattern, handler h) { return add("GET", pattern, std::move(h)); }
    route& head(string_view pattern, handler h) { return add("HEAD", pattern, std::move(h)); }
    route& post(string_view pattern, handler h) { return add("POST", pattern, std::move(h)); }
    route& put(string_view pattern, handler h) { return add("PUT", pattern, std::move(h)); }
    route& patch(string_view pattern, handler h) { return add("PATCH", pattern, std::move(h)); }
    route& del(string_view pattern, handler h) { return add("DELETE", pattern, std::move(h)); }
    route& options(string_view pattern, handler h) { return add("OPTIONS", pattern, std::move(h)); }
    /// Every method, after those that name theirs.
    route& any(string_view pattern, handler h) { return add("*", pattern, std::move(h)); }
    /// Serves the folder that is there now below `prefix`; nothing outside, by any path or link.
    /// Errors: function_not_supported from run() where the kernel has no openat2 (before 5.6).
    void files(string_view prefix, const std::string& folder);

    /// `before` runs at the head, before any body is read, and may answer; `after` before the head
    /// of the answer leaves. On the loop. In the order of registration.
    void use(callback<std::optional<response>(request&)> before,
             callback<void(const exchange&, response&)> after = {});
    void on_exchange(callback<void(const exchange&)>); // any loop or worker: guard what is shared
    void on_log(callback<void(string_view)>); // so too; refusals and failures, with the peer

    /// Binds and starts listening; nobody can connect before mode and owner are right.
    /// Errors: address_in_use (a server is alive there), permission_denied, not_a_socket,
    ///         filename_too_long, bad_address, ...; never unlinks what is not a dead socket.
    error listen(const address&, const listen_options& = {});
    /// The sockets of LISTEN_FDS (sd_listen_fds(3)), which are never unlinked.
    error listen_inherited(const listen_options& = {});
    error adopt(unique_fd connected); // serve one connected stream, e.g. of socketpair(2)
    result<unique_fd> hand_over(string_view listener); // the descriptor, no more ours to unlink

    /// Serves on this thread until stopped and drained.
    /// Errors: what listen() and the routes remembered; no listener; threads that can't start.
    error run();
    error run(const address&, const listen_options& = {}); // listen(), then run()
    /// One turn for somebody else's loop: waits at most `timeout`. False once drained.
    result<bool> run_once(milliseconds timeout);
    int pollable_fd() const; // readable while run_once has work (no EPOLLET); -1: it says why
    /// Stops accepting, unlinks, drains, ends. A second stop() drains no longer. Sticky: also
    /// before run(). Async-signal-safe.
    void stop() noexcept;
    bool stopping() const noexcept;
    /// These signals call stop(), until the end of run(), or ~server, puts back what was there. Of
    /// several servers that take one, the last to say so stops.
    void stop_on(std::initializer_list<int> numbers);

    void post(callback<void()>, milliseconds delay = milliseconds(0)); // on the loop, while it runs
    server_stats stats() const;

private:
    route& add(string_view method, string_view pattern, handler);
};

// [4c] CLIENT -------------------------------------------------------------------------------------
struct client_options {
    milliseconds connect_timeout{5'000};             // a full backlog makes connect(2) wait
    milliseconds read_timeout{30'000};               // between two pieces of a response
    milliseconds total_timeout{milliseconds::max()}; // of all; a stream's: until its head
    std::size_t max_head_bytes = 64 << 10;           // too_large, as are more than 256 fields
    std::size_t max_body_bytes = 64 << 20;           // too_large; streams: none
    std::size_t max_connections_count = 16;          // then callers wait; 0 is 1; each loop's, too
    std::optional<uid_t> expect_uid{};   // who must have called listen(); else wrong_peer
    microseconds busy_poll{10};          // spin so long for an answer, while it pays; 0: don't
    std::uint64_t max_body_fd_bytes = 0; // ask for bodies by descriptor; more: too_large; 0: don't
    std::size_t max_fds_count = 0;       // ask for descriptors, so many per response; 0: don't
};

struct reply {
    response head;
    body_reader body; // read it to its end, or the connection is closed
};

/// A client of one socket, with a pool of kept connections.
///
/// A request on a kept connection that the server closed meanwhile is sent again, if nothing of it
/// was accepted, or its method is idempotent (RFC 9110 9.2.2) and no byte of an answer came.
/// Redirects are returned, never followed: one could not change the socket.
///
/// Threads:  concurrently. On a loop the blocking calls fail at once with would_block_loop.
/// Lifetime: streams may outlive it. A forked child needs one of its own.
class client : public detail::handle<detail::client_core> {
public:
    explicit client(const address&, client_options = {}); // connects at the first call, not here
    /// For the async_ calls; `loop` may die first: they fail with errc::stopped.
    client(const address&, client_options, server& loop);
    ~client();                 // after the blocking calls; async_ ones still complete
    client(client&&) = delete; // nor copied

    /// Errors: connection_refused, no_such_file_or_directory, permission_denied, timed_out,
    ///         operation_canceled, cut_off, bad_message, too_large, bad_field, wrong_peer,
    ///         bad_target, bad_descriptor, bad_address, ... A response, also a 500, is a success.
    result<response> get(string_view target) { return send(request("GET", target)); }
    result<response> head(string_view target) { return send(request("HEAD", target)); }
    result<response> del(string_view target) { return send(request("DELETE", target)); }
    result<response> post(string_view target, content body, string_view type);
    result<response> put(string_view target, content body, string_view type);
    result<response> patch(string_view target, content body, string_view type);
    result<response> send(request&);
    result<response> send(request&& req) { return send(req); }
    error send(request&, response& reuse); // keeps its capacity: no allocation per call
    /// The head now, the body as it comes. read_timeout holds for the head only.
    result<reply> stream(request&&);
    result<upgraded> upgrade(request&&);
    error adopt(unique_fd connected); // for blocking calls from then on, e.g. of socketpair(2)

    // Complete once, on the loop they were called on (else the server's first), never inside; but
    // where that has ended, or is none, at once, with errc::stopped or invalid_argument:
    void async_get(string_view target, callback<void(result<response>)> done);
    void async_send(request&&, callback<void(result<response>)>);
    void async_stream(request&&, callback<void(result<reply>)>);
    void async_upgrade(request&&, callback<void(result<upgraded>)>);
};

result<response> get(string_view url); // http+unix://, one shot: for many calls take a client
result<response> send(string_view url, request&&); // a target in the URL replaces the request's

} // namespace v1
} // namespace uds_http

// END OF PART I: the rest is how it works. ========================================================

// PART II =========================================================================================
//
// read() -> [7] parser -> request -> [9] router -> handler -> response -> [8] serializer -> write()
//           \____________________ [10] connection decides when ___________________/
//
// A room uses only rooms above it, and there are no forward declarations below this line. Rooms 7
// to 10 are pure: no syscall, no errno, no clock; time comes in as an argument.

#include <arpa/inet.h> // inet_pton: a Host may be an IPv6 address
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/sockios.h> // SIOCOUTQ: what a slow reader has left unread
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h> // openat2(2), which has no wrapper
#include <sys/timerfd.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

// What belongs to the user may throw: across a loop that would end every connection. Without memory
// there is no answer to make: where CATCH_OTHERS stands, std::bad_alloc goes on to the loop.
#ifdef __cpp_exceptions
#define UDS_HTTP_TRY try
#define UDS_HTTP_CATCH catch (...)
#define UDS_HTTP_CATCH_OTHERS                                                                      \
    catch (const std::bad_alloc&) {                                                                \
        throw;                                                                                     \
    }                                                                                              \
    catch (...)
#else
#define UDS_HTTP_TRY if (true)
#define UDS_HTTP_CATCH else
#define UDS_HTTP_CATCH_OTHERS else
#endif

// g++ warns of casts that 32 bits need, of pthread.h's own 0, and of null where it isn't.
#pragma GCC diagnostic push
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wuseless-cast"
#pragma GCC diagnostic ignored "-Wzero-as-null-pointer-constant"
#pragma GCC diagnostic ignored "-Wnull-dereference"
#endif
namespace uds_http {
inline namespace v1 {
namespace detail {

// [2] [3] VALUES ----------------------------------------------------------------------------------
// What errors, headers, contents and messages are made of, and the members of their classes.

/// For branches on the way of every request: what seldom runs stands apart, so that the rest needs
/// fewer lines of the instruction cache, of which a system call leaves little. Where it counts both
/// sides of && are marked, each for itself: g++ may lose sight of what stands around both.
[[gnu::always_inline]] constexpr bool seldom(bool is) noexcept {
    return __builtin_expect(is, 0) != 0;
}
[[gnu::always_inline]] constexpr bool usually(bool is) noexcept { return !seldom(!is); }

inline void any_ref::take() noexcept { // relaxed: whoever copies holds one
    at_->owners.fetch_add(1, std::memory_order_relaxed);
}
[[gnu::noinline]] inline void any_ref::drop() noexcept { // acq_rel: whoever deletes sees all writes
    if (at_->owners.fetch_sub(1, std::memory_order_acq_rel) == 1) delete at_;
}

/// A growing array: std::vector, which costs more to compile than a type of element is worth.
template <class T> class row {
public:
    row() noexcept = default;
    row(row&& other) noexcept { swap(other); }
    row& operator=(row&& other) noexcept { return swap(other), *this; } // it ends what was
    ~row() { shrink(0), ::operator delete(static_cast<void*>(at_)); }
    void swap(row& other) noexcept {
        at_ = std::exchange(other.at_, at_), size_ = std::exchange(other.size_, size_);
        room_ = std::exchange(other.room_, room_);
    }
    T* begin() const noexcept { return at_; }
    T* end() const noexcept { return at_ + size_; }
    T& operator[](std::size_t index) const noexcept { return at_[index]; }
    T& back() const noexcept { return at_[size_ - 1]; }
    std::size_t size() const noexcept { return size_; }
    bool empty() const noexcept { return size_ == 0; }
    void push_back(T value) { // by value: it may be an element of this row
        if (size_ == room_) grow(room_ ? room_ * 2 : 4);
        new (static_cast<void*>(end())) T(static_cast<T&&>(value));
        ++size_;
    }
    void clear() noexcept { seldom(size_ > 0) ? shrink(0) : void(); }
    void shrink(std::size_t size) noexcept {
        while (size_ > size) at_[--size_].~T();
    }
    void erase(std::size_t index, std::size_t count = 1) noexcept { // keeps the order
        for (; index + count < size_; ++index) at_[index] = static_cast<T&&>(at_[index + count]);
        shrink(size_ - count);
    }
    /// Room for so many; what is not there yet has no value.
    T* reserve(std::size_t room) {
        if (room > room_) grow(room);
        return at_;
    }
    void assume(std::size_t size) noexcept { size_ = size; } // written through reserve()'s pointer

protected: // for buffer, which writes first and counts then
    [[gnu::cold, gnu::noinline]] void grow(std::size_t room) {
        T* const to = static_cast<T*>(::operator new(room * sizeof(T))); // NOLINT: a pointer, too
        for (std::size_t i = 0; i < size_; ++i) {
            new (static_cast<void*>(to + i)) T(static_cast<T&&>(at_[i]));
            at_[i].~T();
        }
        ::operator delete(static_cast<void*>(at_));
        at_ = to, room_ = room;
    }

    T* at_ = nullptr; // raw memory: only the first size_ elements live
    std::size_t size_ = 0, room_ = 0;
};

inline any_callback::any_callback(any_callback&& other) noexcept { *this = std::move(other); }
inline any_callback& any_callback::operator=(any_callback&& other) noexcept {
    if (this == &other) return *this;
    if (const auto end = move_) move_ = nullptr, end(room_, nullptr); // what ends may look at this
    if (other.move_) other.move_(other.room_, room_);
    invoke_ = other.invoke_, move_ = other.move_, other.move_ = nullptr;
    return *this;
}
inline any_callback::~any_callback() {
    if (move_) move_(room_, nullptr);
}

/// How a callback holds, moves and calls its function: in its own room, or through a pointer.
template <class F> struct held {
    static constexpr bool is_here = // else on the heap: moves must not throw
        sizeof(F) <= any_callback::room_bytes && alignof(F) <= alignof(std::max_align_t) &&
        std::is_nothrow_move_constructible_v<F>;
    static F& at(void* room) noexcept {
        if constexpr (is_here) return *static_cast<F*>(room);
        else return **static_cast<F**>(room);
    }
    static void move(void* from, void* to) noexcept {
        if constexpr (is_here) {
            if (to) new (to) F(static_cast<F&&>(at(from)));
            at(from).~F();
        } else if (to) new (to) F*(&at(from));
        else delete &at(from);
    }
    template <class R, class... A> static R invoke(void* room, A... arguments) {
        return static_cast<R>(at(room)(std::forward<A>(arguments)...)); // void: of any result
    }
};

class error_names final : public std::error_category {
public:
    const char* name() const noexcept override { return "uds_http"; }
    std::string message(int value) const override {
        static constexpr const char* texts[] = {
            "unknown error",
            "not a socket path, @name or http+unix:// URL",
            "bad route pattern",
            "bad method, field, status or content",
            "bad request target",
            "the peer sent bytes that are no HTTP/1.1",
            "message too large",
            "connection ended inside a message",
            "another user serves this socket",
            "file descriptors missing, unsealed, of another kind or not asked for",
            "the server has stopped",
            "a blocking call on a loop would stop all connections"};
        return texts[value > 0 && value <= static_cast<int>(errc::would_block_loop) ? value : 0];
    }
};

/// What an error has, so that one that isn't is a null pointer.
struct failure : counted {
    std::error_code code;
    std::string place;
    bool sent = false;
    failure(std::error_code what, std::string where) : code(what), place(std::move(where)) {}
};

/// Every error for which there was no memory: what ends connections can't fail.
inline failure& out_of_memory() noexcept {
    static struct eternal : failure {
        eternal() : failure({ENOMEM, std::system_category()}, "memory") { owners = 1, sent = true; }
    } one;
    return one;
}

// Cold: the compiler keeps what leads here out of the way, and small.
[[gnu::cold, gnu::noinline]] inline error placed(std::error_code code, string_view at) noexcept {
    UDS_HTTP_TRY { return error(code, std::string(at)); }
    UDS_HTTP_CATCH { return error(code, {}); }
}
[[gnu::cold, gnu::noinline]] inline error failed(int errno_value, string_view place) noexcept {
    return placed({errno_value, std::system_category()}, place);
}
[[gnu::cold, gnu::noinline]] inline error failed(errc code, string_view place) noexcept {
    return placed(make_error_code(code), place);
}

[[gnu::cold]] inline error too_short() {
    return failed(errc::bad_field, "the content is shorter than stated");
}

constexpr char lower(char c) noexcept { // ASCII alone: tolower(3) asks the locale
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 32) : c;
}

inline bool equal_nocase(string_view a, string_view b) noexcept {
    if (a.size() != b.size()) return false;
    for (std::size_t i = 0; i < a.size(); ++i)
        if (lower(a[i]) != lower(b[i])) return false;
    return true;
}

// What a byte may be part of. VCHAR and obs-text: RFC 9110 5.5; tchar: 5.6.2; a target is visible
// ASCII without a fragment (RFC 9112 3.2); reg-name: RFC 3986. reg-name allows a comma too;
// refused, because joined Host fields would look like one. Plain and unreserved (RFC 3986 2.3)
// bytes are what messages and URLs show as they are.
constexpr unsigned char token_byte = 1, value_byte = 2, target_byte = 4, host_byte = 8,
                        unreserved_byte = 16, plain_byte = 32;

constexpr bool is_digit(char c) { return c >= '0' && c <= '9'; }
constexpr bool is_blank(char c) { return c == ' ' || c == '\t'; } // OWS, RFC 9110 5.6.3

struct byte_classes {
    unsigned char of[256] = {};
    constexpr byte_classes() {
        for (int n = 0; n < 256; ++n) {
            const char c = static_cast<char>(n);
            const bool is_visible = n > 0x20 && n < 0x7f;
            const bool is_word = is_digit(c) || (lower(c) >= 'a' && lower(c) <= 'z');
            if (is_word || string_view("!#$%&'*+-.^_`|~").find(c) < 15) of[n] |= token_byte;
            if (is_word || string_view("!$&'()*+-.;=_~").find(c) < 14) of[n] |= host_byte;
            if (is_word || string_view("-._~").find(c) < 4) of[n] |= unreserved_byte;
            if (is_visible || c == ' ') of[n] |= plain_byte;
            if (is_visible && c != '#') of[n] |= target_byte;
            if (is_visible || is_blank(c) || n >= 0x80) of[n] |= value_byte;
        }
    }
};
inline constexpr byte_classes classes; // 256 bytes, filled by the compiler

constexpr bool is(char c, unsigned char wanted) noexcept {
    return (classes.of[static_cast<unsigned char>(c)] & wanted) != 0;
}

inline bool all_are(string_view text, unsigned char wanted) noexcept {
    for (char c : text)
        if (!is(c, wanted)) return false;
    return true;
}

inline bool is_token(string_view text) noexcept {
    return !text.empty() && all_are(text, token_byte);
}

inline string_view view(const char* from, const char* to) {
    return {from, static_cast<std::size_t>(to - from)};
}

/// Takes the digits off the front of `text`. What no 64 bits can hold is the greatest number.
inline std::optional<std::uint64_t> take_number(string_view& text) noexcept {
    if (text.empty() || !is_digit(text.front())) return {}; // 1*DIGIT: no sign, no blank
    std::uint64_t value = 0;
    for (; !text.empty() && is_digit(text.front()); text.remove_prefix(1)) {
        std::uint64_t digit = static_cast<std::uint64_t>(text.front() - '0');
        value = value >= UINT64_MAX / 10 ? UINT64_MAX : value * 10 + digit;
    }
    return value;
}

/// Takes the next element of a comma list (RFC 9110 5.6.1) off `list`, without white space.
inline string_view next_element(string_view& list) noexcept {
    std::size_t comma = list.find(',');
    string_view item = list.substr(0, comma);
    list = comma == string_view::npos ? string_view() : list.substr(comma + 1);
    while (!item.empty() && is_blank(item.front())) item.remove_prefix(1);
    while (!item.empty() && is_blank(item.back())) item.remove_suffix(1);
    return item;
}

inline bool list_has(string_view list, string_view token) noexcept {
    while (!list.empty())
        if (equal_nocase(next_element(list), token)) return true;
    return false;
}

/// RFC 9110 7.8: a 101 says what it switches to, and that is among what the request offered.
inline bool is_offered(const headers& offered, const headers& taken) noexcept {
    int left = 16; // through a proxy both lists are peers', and each may be long
    for (string_view list = taken.get("Upgrade"); !list.empty();) {
        const string_view protocol = next_element(list);
        bool found = protocol.empty();
        for (const field& f : offered)
            found |= equal_nocase(f.name, "Upgrade") && list_has(f.value, protocol);
        if (!found || --left == 0) return false;
    }
    return taken.contains("Upgrade");
}

inline int hex_digit(char c) noexcept {
    if (is_digit(c)) return c - '0';
    if (lower(c) >= 'a' && lower(c) <= 'f') return lower(c) - 'a' + 10;
    return -1;
}

/// RFC 3986 2.1, once. `plus`: '+' is a space, as in query strings of forms. Into `out` (room for
/// in.size()); the size, or npos for a % without two digits.
inline std::size_t percent_decode(string_view in, char* out, bool plus) noexcept {
    std::size_t size = 0;
    for (std::size_t i = 0; i < in.size(); ++i) {
        char c = plus && in[i] == '+' ? ' ' : in[i];
        if (c == '%') {
            const int high = i + 2 < in.size() ? hex_digit(in[i + 1]) : -1;
            const int low = high >= 0 ? hex_digit(in[i += 2]) : -1;
            if (low < 0) return string_view::npos;
            c = static_cast<char>(high * 16 + low);
        }
        out[size++] = c;
    }
    return size;
}

/// What is not `kept` as two digits of `hex` behind a mark.
[[gnu::cold]] inline std::string escaped(string_view text, const char* mark, const char* hex,
                                         unsigned char kept) {
    std::string out;
    for (char c : text) {
        const unsigned byte = static_cast<unsigned char>(c);
        if (is(c, kept)) out += c;
        else out.append(mark) += hex[byte >> 4], out += hex[byte & 15];
    }
    return out;
}
/// For messages: what is not visible ASCII as \xNN. Every path is whole (PATH_MAX, limits.h).
[[gnu::cold]] inline std::string printable(string_view text) {
    return escaped(text.substr(0, 4096), "\\x", "0123456789abcdef", plain_byte);
}

/// Inside of UDS_HTTP_CATCH: what was thrown.
[[gnu::cold]] inline std::string thrown() {
#ifdef __cpp_exceptions
    try {
        throw;
    } catch (const std::exception& e) {
        return printable(e.what()); // a peer's line break begins no line of the log
    } catch (...) {
    }
#endif
    return "unknown exception";
}

/// Bytes that keep their address until clear(). It keeps the largest block: reuse doesn't allocate.
struct arena {
    struct block {
        block* older;
        std::size_t size;
    };
    block* newest = nullptr;
    char* at = first; // what is free of the newest block
    std::size_t room = sizeof first;
    char first[192]; // what most messages need: no allocation

    arena() noexcept {} // NOLINT: `first` has no value yet
    arena(const arena&) = delete;
    ~arena() { clear(), ::operator delete(static_cast<void*>(newest)); }
    char* take(std::size_t size) { // not aligned: for characters only
        if (room < size) {
            const std::size_t more =
                newest && newest->size * 2 > size ? newest->size * 2 : size + 512;
            block* made = static_cast<block*>(::operator new(sizeof(block) + more)); // may throw
            *made = {newest, more};
            newest = made, at = reinterpret_cast<char*>(made + 1), room = more;
        }
        room -= size;
        return std::exchange(at, at + size);
    }
    string_view keep(string_view bytes) {
        if (bytes.empty()) return ""; // memcpy() takes no null pointer
        return {static_cast<char*>(std::memcpy(take(bytes.size()), bytes.data(), bytes.size())),
                bytes.size()};
    }
    void clear() noexcept {
        if (seldom(newest != nullptr)) return clear_blocks();
        at = first, room = sizeof first;
    }
    [[gnu::noinline]] void clear_blocks() noexcept {
        at = reinterpret_cast<char*>(newest + 1), room = newest->size;
        block* gone = std::exchange(newest->older, nullptr);
        while (gone) ::operator delete(static_cast<void*>(std::exchange(gone, gone->older)));
    }
};

/// What a route is.
struct route_entry final : route {
    std::string method, pattern;
    handler run;
    std::optional<peer_rule> allowed{};
    std::optional<std::size_t> body_limit{};
    bool stays_on_loop = false;
    route_entry(string_view method_, string_view pattern_, handler run_)
        : method(method_), pattern(pattern_), run(std::move(run_)) {}
};

/// How Part II reaches what the classes of Part I keep private.
struct access {
    template <class T> static auto& of(T& object) noexcept { return object.s_; }
    template <class T> static const auto& of(const T& object) noexcept { return object.s_; }
    static route_entry& of(route& r) noexcept { return static_cast<route_entry&>(r); }
    template <class T, class S> static T make(S state) {
        T made;
        made.s_ = std::move(state);
        return made;
    }
    static request make_request() { return request(); }
    static response make_response(string_view literal_type, content&& body) noexcept {
        return response(literal_type, std::move(body));
    }
    using kind = content::kind;
    using shape = handler::shape;
};

inline string_view place_of(const error& e) noexcept {
    return access::of(e) ? string_view(access::of(e)->place) : string_view();
}
inline error& mark_sent(error& e, bool sent) noexcept {
    failure* const f = access::of(e).get();
    if (f && f != &out_of_memory()) f->sent = sent; // that one is everybody's
    return e;
}

struct field_block : counted {
    row<field> list; // views into `bytes`, unless borrowed
    arena bytes;
    std::size_t waste = 0; // of `bytes`, by fields that are gone
    bool received = false; // from a peer
    bool hops = false;     // of a response: what is hop-by-hop is still that of the peer
    bool borrowed = false; // the views point into somebody else's buffer
};

/// Empties `h` and gives room for the parser to write fields into.
[[gnu::always_inline]] inline field* open_fields(headers& h, std::size_t room) {
    ref<field_block>& block = access::of(h);
    if (seldom(!block)) block = new field_block;
    block->bytes.clear(), block->waste = 0, block->list.assume(0); // fields have no destructor
    return block->list.reserve(room);
}
inline void close_fields(headers& h, std::size_t count, bool hops = false) noexcept {
    access::of(h)->list.assume(count), access::of(h)->borrowed = true; // views of the read buffer
    access::of(h)->received = true, access::of(h)->hops = hops;
}
/// A copy into what `to` has already: without an allocation once it is large enough.
/// `is_one_piece`: as a parser has left them, views of one head.
inline void copy_fields(const headers& from, headers& to, bool is_one_piece = false) {
    const std::size_t count = static_cast<std::size_t>(from.end() - from.begin());
    field* at = open_fields(to, count);
    field_block& block = *access::of(to);
    const field_block* of = access::of(from).get();
    block.borrowed = false, block.received = of && of->received, block.hops = of && of->hops;
    if (count > 0 && is_one_piece) {
        const char* const first = from.begin()->name.data();
        const char* const to_first =
            block.bytes.keep(view(first, from.end()[-1].value.end())).data();
        for (const field& f : from)
            *at++ = {{to_first + (f.name.data() - first), f.name.size()},
                     {to_first + (f.value.data() - first), f.value.size()}};
    } else {
        for (const field& f : from) *at++ = {block.bytes.keep(f.name), block.bytes.keep(f.value)};
    }
    block.list.assume(count);
}

struct named_fd {
    std::string name;
    unique_fd fd; // closed with the message, unless somebody takes it
};
inline named_fd* find_fd(const row<named_fd>& fds, string_view name) noexcept {
    for (named_fd& f : fds)
        if (f.name == name) return &f;
    return nullptr;
}
inline unique_fd take_fd(row<named_fd>& fds, string_view name) noexcept {
    named_fd* found = find_fd(fds, name);
    if (!found) return unique_fd();
    unique_fd taken = std::move(found->fd);
    fds.erase(static_cast<std::size_t>(found - fds.begin())); // its name isn't sent either
    return taken;
}

struct response_extra : counted {
    row<named_fd> fds;
    error failed; // what a chained call can't return; the answer becomes a 500
};
inline response_extra& extra_of(response& res) {
    ref<response_extra>& extra = access::of(res).extra;
    if (!extra) extra = new response_extra;
    return *extra;
}

/// What readers and writers stand on: an exchange on a loop, or a blocking client's connection.
struct stream_base : counted {
    sealed_memory memory;      // of a body that came by Body-Fd: read from here,
    std::size_t memory_at = 0; // piece by piece
    headers trailers_in;
    virtual written write(string_view) = 0; // copies; the blocking client's sends, and may wait
    virtual written wait(milliseconds) = 0;
    virtual void on_drain(callback<void()>) {} // the blocking client's is never full,
    virtual void on_close(callback<void()>) {} // and its write() says it
    virtual bool end(headers) = 0;
    virtual void cut() = 0;
    virtual bool is_open() = 0;
    virtual void on_data(callback<void(string_view)>, callback<void(const error&)>) = 0;
    virtual void pause(bool) {}
    virtual result<std::size_t> read(char* into, std::size_t room) = 0;
    virtual void drop_reader() = 0;
    virtual raw_stream release() = 0; // upgraded ones only; fd -1 if it has ended
    virtual bool is_on_loop() const noexcept { return true; }
};

/// A sealed memfd and its bytes, unmapped with the last view of them.
struct mapping : counted {
    unique_fd fd;
    char* data = nullptr; // if it is empty, too: mmap(2) maps no 0 bytes
    std::size_t size;

    mapping(unique_fd memory, std::size_t count, int use, int flags) noexcept // errno, or data
        : fd(std::move(memory)), size(count) {
        void* at = count ? ::mmap(nullptr, count, use, flags, fd.get(), 0) : nullptr;
        if (at != MAP_FAILED) data = static_cast<char*>(at);
    }
    ~mapping() override {
        if (data) ::munmap(data, size);
    }
};

/// The parts of a content that are no plain bytes.
struct source : counted {
    sealed_memory memory{};      // a view of it; kept mapped
    callback<void()> released{}; // of borrowed()
    unique_fd file{};            // its own offset is never used: the same one may be sent again
    std::uint64_t offset = 0;
    std::optional<std::uint64_t> length{}; // none: chunked
    content::fill fill{};                  // runs on the loop, or in the blocking client's call
    body_reader reader{};
    decltype(&relay) relays = nullptr; // the reader: by pointer, as box::reply

    ~source() override {
        if (!released) return;
        UDS_HTTP_TRY { released(); }
        UDS_HTTP_CATCH {}
    }
};

inline bool is_in_memory(const content& body) noexcept {
    return access::of(body).kind <= access::kind::lent;
}
inline string_view bytes_of(const content& body) noexcept {
    const auto& s = access::of(body);
    return s.kind == access::kind::text ? string_view(s.text) : s.view;
}
inline bool is_within(string_view all, string_view part) noexcept {
    const auto at = reinterpret_cast<std::uintptr_t>(part.data()) - // of different objects, perhaps
                    reinterpret_cast<std::uintptr_t>(all.data());
    return at <= all.size() && part.size() <= all.size() - at;
}
/// What is lent is gone when the loop reads again.
[[gnu::noinline]] inline void own(content& body) {
    auto& s = access::of(body);
    if (s.kind == access::kind::lent) s.text.assign(s.view), s.kind = access::kind::text;
}
[[gnu::noinline]] inline content take(content& body) noexcept { return std::exchange(body, {}); }
inline std::string take_bytes(content& body) {
    content taken = take(body);
    std::string& owned = access::of(taken).text;
    return owned.empty() ? std::string(bytes_of(taken)) : std::move(owned);
}
/// Where the bytes lie in a sealed memfd.
inline mapping* memory_of(const content& body) noexcept {
    source* from = access::of(body).from.get();
    return from ? access::of(from->memory).get() : nullptr;
}

/// What a request is made of. The loop keeps one and lends its buffer's bytes to it (`borrowed`);
/// moving a request out copies them into `bytes`.
struct request_state : counted {
    struct param {
        string_view name, raw; // of the pattern; of the target, not decoded
    };
    string_view method, target, path, query, listener;
    uds_http::headers fields;
    row<param> params;
    content body;           // received (lent where it is in the loop's buffer), or to send
    arena bytes;            // what the views point into once they are ours, and decoded ones
    row<named_fd> fds;      // received, or to pass on
    uds_http::error failed; // the first mistake in building it
    ref<struct card> from;  // one for all requests of a connection, made when it is asked for
    ref<cancel_state> cancel;
    callback<void(response&)> on_interim;
    std::uint64_t tag = 0;
    std::uint64_t* tag_slot = &tag; // or the card's, where on_exchange finds it after a move
    milliseconds timeout = milliseconds::max();
    int fd = -1; // borrowed: the connection's
    int version = 11;
    bool borrowed = false; // views into a loop's buffer: take_copy_of() before the turn ends

    /// For the next request on the loop.
    [[gnu::always_inline]] void reset() { params.clear(), bytes.clear(), drop_passed(), tag = 0; }
    void drop_body() noexcept { // keeps its capacity
        auto& s = access::of(body);
        s.text.clear(), s.view = {}, s.kind = access::kind::text;
        if (seldom(bool(s.from))) s.from = {};
    }
    void drop_passed() noexcept { fds.clear(), drop_body(); }
    void split(string_view text) noexcept; // the target
    void set_target(string_view text);
    void fail(error why) {
        if (!failed) failed = std::move(why);
    }
    /// What a loop lent becomes the new owner's: every view is copied or moved along.
    void take_copy_of(request_state& lent) {
        bytes.clear();
        method = bytes.keep(lent.method), target = bytes.keep(lent.target);
        auto moved = [&](string_view part) { // into the copy of the target; a literal stays
            if (!is_within(lent.target, part)) return part;
            return target.substr(static_cast<std::size_t>(part.data() - lent.target.data()),
                                 part.size());
        };
        path = moved(lent.path), query = moved(lent.query);
        params.clear();
        for (const param& p : lent.params) params.push_back({bytes.keep(p.name), moved(p.raw)});
        fields = lent.fields;
        body = take(lent.body), fds = std::move(lent.fds), own(body);
        failed = {}, cancel = {}, on_interim = {}, timeout = milliseconds::max();
        listener = bytes.keep(lent.listener), version = lent.version, from = lent.from,
        tag = lent.tag;
        tag_slot = &tag, fd = -1, borrowed = false; // the connection may end first
    }
    /// The view itself where there is nothing to decode; "" for a broken escape.
    string_view decoded(string_view raw, bool plus) {
        if (raw.find('%') == string_view::npos && (!plus || raw.find('+') == string_view::npos))
            return raw;
        char* to = bytes.take(raw.size()); // decoded is never longer
        std::size_t size = percent_decode(raw, to, plus);
        return size == string_view::npos ? string_view() : string_view(to, size);
    }
};
inline request_state& state_of(const request& req) noexcept { return *access::of(req); }

/// Maps a sealed memfd for reading. MAP_PRIVATE: before Linux 6.7 a shared mapping of a
/// write-sealed memfd is EPERM.
inline result<sealed_memory> map_sealed(unique_fd fd, std::size_t size) {
    ref<mapping> made(new mapping(std::move(fd), size, PROT_READ, MAP_PRIVATE));
    if (size && !made->data) return failed(errno, "mmap");
    return access::make<sealed_memory>(std::move(made));
}

inline response typed(content&& body, string_view literal_type) {
    return access::make_response(literal_type, std::move(body));
}

// [5] FD ------------------------------------------------------------------------------------------
// Descriptors: reading, writing, passing them, waiting with a deadline, asking who is at the other
// end. Nothing here keeps state. EINTR ends here, but where a wait is to notice a signal. Errors
// are the system's, -1 and errno: the callers know the name of the socket, and we don't.

/// Nanoseconds on CLOCK_MONOTONIC. Plain numbers from here on: each sum or comparison of chrono's
/// types is a template of its own.
inline std::int64_t now_ns() noexcept {
    timespec now;
    ::clock_gettime(CLOCK_MONOTONIC, &now); // no system call: vdso(7)
    return std::int64_t(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

/// When a spin ends, of now_ns(): for any number of microseconds, and sums of it are numbers.
inline std::int64_t spins_until(microseconds most) noexcept {
    const std::int64_t limit = INT64_MAX / 4'000;
    return now_ns() + (most.count() < limit ? most.count() : limit) * 1'000;
}

/// Whether a spin pays: after some in vain it is tried more and more seldom, every 256th time.
struct spin_thrift {
    unsigned in_vain = 0, pause = 0, looks = 0, first = 0; // `looks` is for the spin to count
    bool is_worth_a_try() noexcept { return first = looks + 1, pause == 0 || (--pause, false); }
    void tell(bool found) noexcept {
        if (found && looks == first) return; // no gain: so it is where both peers share one core
        in_vain = found ? 0 : in_vain + (in_vain < 12);
        pause = in_vain > 4 ? 1u << (in_vain - 4) : 0;
    }
};

/// A moment after which something is given up. By default: never.
struct deadline {
    std::int64_t at = INT64_MAX; // ns, of now_ns()
    /// Never for milliseconds::max() and half of what the clock can count to; now for zero.
    static deadline after(milliseconds wait) noexcept {
        if (wait.count() >= INT64_MAX / 2'000'000) return {}; // without a look at the clock
        return {now_ns() + (wait.count() < 0 ? 0 : wait.count() * 1'000'000)};
    }
    bool is_never() const noexcept { return at == INT64_MAX; }
    bool passed() const noexcept { return !is_never() && now_ns() >= at; }
    milliseconds left() const noexcept { // rounded up: zero only when the moment has come
        const std::int64_t rest = at - now_ns();
        return is_never() ? milliseconds::max()
                          : milliseconds(rest < 0 ? 0 : rest / 1'000'000 + (rest % 1'000'000 > 0));
    }
    int poll_timeout() const noexcept { // twelve days at most: whoever waits looks again
        const auto rest = left().count();
        return is_never() ? -1 : rest < 1 << 30 ? static_cast<int>(rest) : 1 << 30;
    }
    deadline sooner(deadline other) const noexcept { return other.at < at ? other : *this; }
};

/// What a canceller's copies share. Without an eventfd (none left) waits look from time to time.
struct cancel_state : counted {
    std::atomic<bool> set{false};       // the truth; the event only wakes
    mutable std::atomic<int> event{-1}; // never read, so it stays readable
    int awaited() const noexcept {      // made for the first that waits: on a loop nobody does
        unique_fd made(event < 0 ? ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) : -1);
        int none = -1;
        if (made && event.compare_exchange_strong(none, made.get())) made.release();
        return event;
    }
    ~cancel_state() override { unique_fd(event.load()); }
};

inline std::int64_t ticks() noexcept { // ms, monotonic: cheaper, and a tick (10 ms at most) behind
    timespec t{};
    ::clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
    return std::int64_t(t.tv_sec) * 1000 + t.tv_nsec / 1'000'000;
}

/// A signal handler installed without SA_RESTART may interrupt any call.
template <class F> [[gnu::always_inline]] inline auto uninterrupted(F&& call) noexcept {
    auto outcome = call();
    while (outcome == -1 && errno == EINTR) outcome = call();
    return outcome;
}

/// recv(2). Descriptors that ride on these bytes are dropped, and the kernel closes them.
inline ssize_t receive(int fd, char* into, std::size_t room, int flags = 0) noexcept {
    return uninterrupted([&] { return ::recv(fd, into, room, flags); });
}

inline msghdr message_of(const iovec* parts, int count) noexcept {
    msghdr message{};
    message.msg_iov = const_cast<iovec*>(parts); // sendmsg(2) only reads them
    message.msg_iovlen = static_cast<std::size_t>(count);
    return message;
}

/// MSG_NOSIGNAL always: a library must neither die of SIGPIPE nor change its disposition.
inline ssize_t transmit(int fd, const iovec* parts, int count, int flags = 0) noexcept {
    if (count == 1) // cheaper in the kernel
        return uninterrupted(
            [&] { return ::send(fd, parts->iov_base, parts->iov_len, flags | MSG_NOSIGNAL); });
    const msghdr message = message_of(parts, count);
    return uninterrupted([&] { return ::sendmsg(fd, &message, flags | MSG_NOSIGNAL); });
}

constexpr std::size_t max_fds_per_message = 253; // the kernel's SCM_MAX_FD, unix(7)
struct control_data { // 256 bytes more: credentials and labels that an adopted socket may ask for
    alignas(cmsghdr) char bytes[CMSG_SPACE(max_fds_per_message * sizeof(int)) + 256] = {};
};

/// The descriptors ride on the first byte. After a failure, EAGAIN too, nothing of it has left;
/// after a short send they all have, and the rest is for transmit().
inline ssize_t transmit_fds(int fd, const iovec* parts, int count, const row<int>& fds) noexcept {
    std::size_t bytes = 0, size = fds.size() * sizeof(int);
    for (int i = 0; i < count; ++i) bytes += parts[i].iov_len;
    if (fds.empty()) return transmit(fd, parts, count, MSG_DONTWAIT);
    // sendmsg() of no bytes succeeds and attaches nothing.
    if (fds.size() > max_fds_per_message || bytes == 0) return errno = EINVAL, -1;
    control_data control;
    msghdr message = message_of(parts, count);
    message.msg_control = control.bytes,
    message.msg_controllen = static_cast<socklen_t>(CMSG_SPACE(size));
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET, header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = static_cast<socklen_t>(CMSG_LEN(size)); // musl has it so
    std::memcpy(CMSG_DATA(header), fds.begin(), size);
    return uninterrupted([&] { return ::sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT); });
}

struct received {
    ssize_t size; // as recv(2); EBADFD: descriptors were lost, and those that came with them closed
    bool stopped; // behind descriptors or credentials, whatever else is there
};

/// Adds the descriptors to `fds`, close-on-exec. The kernel glues earlier bytes to a message with
/// descriptors and stops after it: they belong to the message of the last byte.
inline received receive_fds(int fd, iovec part, row<unique_fd>& fds, int flags = 0) {
    const std::size_t before = fds.size();
    fds.reserve(before + max_fds_per_message); // now: a bad_alloc later would leak them
    control_data control;
    msghdr message = message_of(&part, 1);
    message.msg_control = control.bytes, message.msg_controllen = sizeof control.bytes;
    auto read = [&] { return ::recvmsg(fd, &message, flags | MSG_CMSG_CLOEXEC); };
    const ssize_t size = flags ? uninterrupted(read) : read(); // see wire::receive_some()
    if (size < 0) return {size, false};
    for (cmsghdr* at = CMSG_FIRSTHDR(&message); at; at = CMSG_NXTHDR(&message, at)) {
        const bool is_fds = at->cmsg_type == SCM_RIGHTS;
        // 4: SCM_PIDFD comes unasked where somebody has set SO_PASSPIDFD (Linux 6.5).
        if (at->cmsg_level != SOL_SOCKET || (!is_fds && at->cmsg_type != 4)) continue;
        for (std::size_t n = CMSG_LEN(0); n < at->cmsg_len; n += sizeof fd) {
            std::memcpy(&fd, reinterpret_cast<char*>(at) + n, sizeof fd);
            unique_fd came(fd); // a pidfd is closed: nobody asked for it
            if (is_fds) fds.push_back(std::move(came));
        }
    }
    if ((message.msg_flags & MSG_CTRUNC) == 0) return {size, message.msg_controllen > 0};
    fds.shrink(before); // a part of them is of no use
    return errno = EBADFD, received{-1, true};
}

/// Waits until `fd` has one of `events`, an error or a hang-up: 0, ETIMEDOUT, ECANCELED or errno.
/// With fd -1 it is a sleep that can be cancelled.
inline int wait_ready(int fd, short events, deadline end, const cancel_state* cancel) noexcept {
    pollfd watched[2] = {{fd, events, 0}, {cancel ? cancel->awaited() : -1, POLLIN, 0}};
    for (;;) {
        if (cancel && cancel->set) return ECANCELED;
        int timeout = end.poll_timeout();
        if (cancel && watched[1].fd < 0 && (timeout < 0 || timeout > 50)) timeout = 50;
        const int count = ::poll(watched, 2, timeout);
        if (count < 0 && errno != EINTR) return errno; // EINTR: by a cancel, perhaps
        if (count > 0 && watched[0].revents) return watched[0].revents & POLLNVAL ? EBADF : 0;
        if (count == 0 && end.passed()) return ETIMEDOUT;
    }
}
inline bool is_shut(int fd) noexcept { return wait_ready(fd, POLLRDHUP, {0}, nullptr) == 0; }

/// Bounds blocking calls on `fd` by SO_RCVTIMEO or SO_SNDTIMEO (socket(7)): 0, ETIMEDOUT if it is
/// too late already (a zero would mean for ever), or errno. A call cut so fails with EAGAIN.
inline int set_timeout(int fd, int option, deadline end) noexcept {
    const auto left = end.is_never() ? 0 : end.left().count();
    if (left == 0 && !end.is_never()) return ETIMEDOUT;
    timeval limit{static_cast<time_t>(left / 1000), static_cast<suseconds_t>(left % 1000 * 1000)};
    return ::setsockopt(fd, SOL_SOCKET, option, &limit, sizeof limit) == 0 ? 0 : errno;
}

inline int socket_option(int fd, int option) noexcept { // of type int, or -1
    int value = -1;
    socklen_t size = sizeof value;
    return ::getsockopt(fd, SOL_SOCKET, option, &value, &size) == 0 ? value : -1;
}
inline bool is_unix_stream(int fd) noexcept {
    return socket_option(fd, SO_DOMAIN) == AF_UNIX && socket_option(fd, SO_TYPE) == SOCK_STREAM;
}
inline bool is_connected_stream(int fd) noexcept {
    sockaddr_un to;
    socklen_t size = sizeof to;
    return is_unix_stream(fd) && ::getpeername(fd, reinterpret_cast<sockaddr*>(&to), &size) == 0;
}

/// Who was there at connect(), or nobody: uid and gid -1, which no rule admits.
inline peer peer_of(int fd) {
    peer who;
    ucred from{};
    socklen_t size = sizeof from;
    if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &from, &size) != 0) return who;
    who.pid = from.pid, who.uid = from.uid, who.gid = from.gid;
    size = 0; // too short: ERANGE, and the kernel says how much it is
    (void)::getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, nullptr, &size); // since Linux 4.13
    who.groups.resize(size / sizeof(gid_t));
    if (::getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, who.groups.data(), &size)) who.groups.clear();
    return who;
}

/// sendfile(2) has no MSG_NOSIGNAL: the SIGPIPE of a peer that is gone is kept from this thread,
/// and taken off its queue unless one was waiting there already.
inline ssize_t transmit_file(int fd, int file, std::uint64_t offset, std::size_t size) noexcept {
    sigset_t pipe, before, waiting;
    ::sigemptyset(&pipe), ::sigaddset(&pipe, SIGPIPE), ::sigemptyset(&waiting);
    ::pthread_sigmask(SIG_BLOCK, &pipe, &before);
    if (::sigismember(&before, SIGPIPE)) ::sigpending(&waiting); // else none could wait
    off_t at = static_cast<off_t>(offset); // with one given, the file's own offset stays
    const ssize_t sent = uninterrupted([&] { return ::sendfile(fd, file, &at, size); });
    const int why = errno;
    timespec now{}; // zero: sigtimedwait(2) looks, and doesn't wait
    if (sent < static_cast<ssize_t>(size) && !::sigismember(&waiting, SIGPIPE))
        (void)uninterrupted([&] { return ::sigtimedwait(&pipe, nullptr, &now); });
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    if (sent >= 0 || (why != EINVAL && why != ENOSYS && why != EPERM)) return errno = why, sent;
    char bytes[16 << 10]; // a file system without splice, or a sandbox without sendfile(2)
    iovec part{bytes, size < sizeof bytes ? size : sizeof bytes};
    const ssize_t got = uninterrupted([&] { return ::pread(file, bytes, part.iov_len, at); });
    return part.iov_len = static_cast<std::size_t>(got), got > 0 ? transmit(fd, &part, 1) : got;
}

/// Wakes whoever polls an eventfd. Async-signal-safe; errno stays as it was.
inline void ring(int event) noexcept {
    const int kept = errno;
    const std::uint64_t one = 1;
    if (::write(event, &one, sizeof one) < 0) errno = kept; // full: then it is readable already
}

/// Whether the peer has read since `unread` was noted (SIOCOUTQ, unix(7)), which is noted anew. A
/// slow one is told from a dead one by that: POLLOUT comes only once most of the buffer is free.
inline bool is_read_on(int fd, int& unread) noexcept {
    const int before = unread;
    return ::ioctl(fd, SIOCOUTQ, &unread) == 0 && unread < before;
}
inline int duplicate(int fd) noexcept { return ::fcntl(fd, F_DUPFD_CLOEXEC, 0); }

struct mutex : move_only { // <mutex> would take longer to compile
    pthread_mutex_t raw = PTHREAD_MUTEX_INITIALIZER;
};
struct hold { // a mutex for as long as a block runs, or until release()
    mutex* of;
    explicit hold(mutex& m) noexcept : of(&m) { ::pthread_mutex_lock(&of->raw); }
    hold(const hold&) = delete;
    ~hold() { of ? release() : void(); }
    void release() noexcept { ::pthread_mutex_unlock(&std::exchange(of, nullptr)->raw); }
};

struct condition { // on the monotonic clock
    pthread_cond_t raw;
    condition() noexcept {
        pthread_condattr_t monotonic;
        ::pthread_condattr_init(&monotonic);
        ::pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
        ::pthread_cond_init(&raw, &monotonic), ::pthread_condattr_destroy(&monotonic);
    }
    condition(const condition&) = delete;
    ~condition() { ::pthread_cond_destroy(&raw); }
    void notify_all() noexcept { ::pthread_cond_broadcast(&raw); }
    void notify_one() noexcept { ::pthread_cond_signal(&raw); }
    /// Gives the mutex up while it sleeps. False: the deadline has passed.
    bool wait(mutex& m, deadline until) noexcept {
        if (until.is_never()) return ::pthread_cond_wait(&raw, &m.raw) == 0;
        const timespec at{static_cast<time_t>(until.at / 1'000'000'000),
                          static_cast<long>(until.at % 1'000'000'000)};
        return ::pthread_cond_timedwait(&raw, &m.raw, &at) == 0; // or for no reason: look again
    }
};

/// Who is at the other end of a connection. Requests that were moved out share it, and may outlive
/// the connection: its descriptor is taken out, under the guard, before it is closed.
struct card : counted {
    uds_http::peer who;
    mutex guard;           // of fd and of what is asked of it
    int fd;                // a borrow; -1 once the connection is closed
    std::uint64_t tag = 0; // of the exchange that was moved out
    explicit card(int connection) : who(peer_of(connection)), fd(connection) {}
};

// [6] SOCKET FILE ---------------------------------------------------------------------------------
// What an address means, and the life of a socket's path: lock, probe, bind, connect, unlink.
// `<path>.lock` is held while the path changes, and only then: a lock held for life could not pass
// to a successor, and forked children would keep it. Whether a server is alive is for a probe to
// say. Names are looked at and removed through a descriptor of their folder, so that neither
// chdir(2) nor a renamed parent leads us elsewhere (in the moment of bind(2) it is an error, see
// bind_name()). Nothing is unlinked but a dead socket or our own; the umask stays as it is.

/// References only, so that nothing runs between the failure and the reading of errno.
[[gnu::cold, gnu::noinline]] inline error path_failed(const std::string& path, const char* what,
                                                      int why = errno) {
    return failed(why, printable(path) + ": " + what);
}

/// proc(5): a name for what a descriptor refers to, always short, and never diverted.
[[gnu::cold]] inline std::string fd_path(const unique_fd& fd) {
    return "/proc/self/fd/" + std::to_string(fd.get());
}

struct address_state : counted {
    std::string name{}; // as in a sockaddr_un: a path, or a NUL and what is abstract
    std::string target{};
    error failed{};
    bool is_abstract() const noexcept { return !name.empty() && name[0] == '\0'; }
};
inline std::string spelled(const address& where) {
    std::string name = access::of(where)->name;
    if (access::of(where)->is_abstract()) name[0] = '@';
    return name;
}
inline std::string display(const address& where) { return printable(spelled(where)); }

constexpr std::size_t max_sun_path = sizeof(sockaddr_un::sun_path); // 108; no NUL needs to fit

/// An address that no one can use, and the reason for whoever tries to.
[[gnu::cold, gnu::noinline]] inline ref<address_state> bad_address(string_view text,
                                                                   const char* why) {
    ref<address_state> made(new address_state);
    made->failed = failed(errc::bad_address, printable(text) + ": " + why);
    return made;
}

/// A path or "@name" without what stood around it in `text`.
[[gnu::cold]] inline ref<address_state> named_address(std::string name, std::string target,
                                                      string_view text) {
    const bool is_abstract = !name.empty() && name.front() == '@';
    if (name.size() == is_abstract) return bad_address(text, "names no socket");
    if (!is_abstract && name.find('\0') != name.npos) return bad_address(text, "a path has no NUL");
    ref<address_state> made(new address_state);
    if (name.size() > (is_abstract ? max_sun_path : PATH_MAX - 1)) // bind_path() could, no client
        made->failed = path_failed(name, "107 bytes is the longest, of a path 4095", ENAMETOOLONG);
    if (is_abstract) name[0] = '\0';
    made->name = std::move(name), made->target = std::move(target);
    return made;
}

inline bool drop_prefix(string_view& text, string_view prefix) noexcept {
    if (!equal_nocase(text.substr(0, prefix.size()), prefix)) return false; // RFC 3986 3.1
    return text.remove_prefix(prefix.size()), true;
}

/// http+unix://: the authority is the name, percent-encoded; never lower-cased, '+' is no space.
/// http://unix:/path:/target: of nginx and got; nothing in it is encoded.
[[gnu::cold]] inline ref<address_state> parse_address(string_view text) {
    string_view rest = text;
    const bool is_encoded = drop_prefix(rest, "http+unix://");
    if (!is_encoded && !drop_prefix(rest, "http://unix:")) {
        const std::size_t scheme = text.find("://");
        if (!drop_prefix(rest, "unix://") && !drop_prefix(rest, "unix:") && scheme != 0 &&
            scheme != string_view::npos && scheme + 1 == text.find('/'))
            return bad_address(text, "neither /path, @name, unix:///path, http+unix://%2Fpath/"
                                     "target nor http://unix:/path:/target");
        return named_address(std::string(rest), {}, text);
    }
    std::string name(rest.substr(0, rest.find_first_of(is_encoded ? "/?#" : ":")));
    rest.remove_prefix(name.size());
    if (!is_encoded && !rest.empty()) rest.remove_prefix(1); // the second colon
    // RFC 9112 3.2.1: origin-form; an empty path is "/", a fragment never leaves the client.
    std::string target(rest.substr(0, rest.find('#')));
    if (target.empty() || target[0] == '?') target.insert(0, 1, '/');
    if (target[0] != '/') return bad_address(text, "after the second colon stands /target");
    if (is_encoded) {
        const std::size_t size = percent_decode(name, name.data(), false);
        if (size == string_view::npos) return bad_address(text, "a % without two hex digits");
        name.resize(size);
        if (size > 0 && name[0] == '\0') name[0] = '@'; // %00: an abstract name
    }
    return named_address(std::move(name), std::move(target), text);
}

/// What bind(2) and connect(2) take, and the descriptor that it may lead through.
struct endpoint {
    sockaddr_un raw{};  // without a NUL where the path fills it
    socklen_t size = 0; // exact: names are as long as it says
    unique_fd via{};    // open until the call is over: `raw` may lead through it
    const sockaddr* get() const noexcept { return reinterpret_cast<const sockaddr*>(&raw); }
};

/// The one place that makes a sockaddr_un. Exactly these bytes count: a NUL after them would be
/// part of an abstract name, and of a path of 108 bytes none may be cut off (unix(7)).
inline endpoint make_endpoint(string_view name) noexcept {
    UDS_HTTP_ASSERT(name.size() <= max_sun_path); // longer ones come by way of /proc/self/fd
    endpoint made;
    made.raw.sun_family = AF_UNIX;
    std::memcpy(made.raw.sun_path, name.data(), name.size());
    made.size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
    return made;
}

inline unique_fd stream_socket(int flags) noexcept {
    return unique_fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0));
}

[[gnu::cold, gnu::noinline]] inline error connect_failed(const address& where, int why = errno) {
    const char* what = "connect";
    if (why == ENOENT) what = "connect (is the server running?)";
    if (why == ECONNREFUSED) what = "connect (nobody is listening: is it a socket, with a server?)";
    if (why == EACCES) what = "connect (no write permission on it, or no way through its folders)";
    if (why == EPROTOTYPE) what = "connect (not a stream socket)";
    if (why == EAGAIN || why == ETIMEDOUT) what = "connect (backlog full, or no time left)";
    return path_failed(spelled(where), what, why);
}

/// A path that is too long for a sockaddr_un goes through an O_PATH descriptor of the socket
/// itself, whatever its length. Symbolic links are followed, as connect(2) does.
[[gnu::cold]] inline result<endpoint> endpoint_of(const address& where) {
    const std::string& name = access::of(where)->name;
    if (where.error()) return where.error();
    if (name.size() <= max_sun_path) return make_endpoint(name);
    unique_fd via(::open(name.c_str(), O_PATH | O_CLOEXEC)); // needs no right on the socket
    if (!via) return connect_failed(where);
    endpoint made = make_endpoint(fd_path(via));
    made.via = std::move(via);
    return made;
}

/// One try; the descriptor is non-blocking. With a full backlog Linux says EAGAIN, and then nothing
/// is in progress: waiting for POLLOUT would report a success that never was.
inline result<unique_fd> try_connect(const address& where) {
    result<endpoint> to = endpoint_of(where);
    if (!to) return to.error();
    unique_fd fd = stream_socket(SOCK_NONBLOCK);
    if (!fd || ::connect(fd.get(), to->get(), to->size) != 0) return connect_failed(where);
    return fd;
}

/// A connected blocking descriptor, whose SO_SNDTIMEO is for its user to set. connect(2) waits
/// while the backlog is full. Nothing wakes a thread inside it but a signal, with SA_RESTART too,
/// so that a call that may be cancelled waits in slices; the same socket may try again.
inline result<unique_fd> connect_to(const address& where, deadline end,
                                    const cancel_state* cancel) {
    result<endpoint> to = endpoint_of(where);
    if (!to) return to.error();
    unique_fd fd = stream_socket(0);
    if (!fd) return connect_failed(where);
    for (;;) {
        const deadline slice = cancel ? deadline::after(milliseconds(10)).sooner(end) : end;
        int why = cancel && cancel->set ? ECANCELED : set_timeout(fd.get(), SO_SNDTIMEO, slice);
        if (!why && ::connect(fd.get(), to->get(), to->size) == 0) return fd;
        if (!why) why = errno; // EAGAIN: SO_SNDTIMEO ended a wait
        const bool again = why == EAGAIN || why == EINTR || (why == ETIMEDOUT && !end.passed());
        if (!again) return connect_failed(where, why);
    }
}

/// A listening socket and what it takes to remove its path, and no other's.
struct listener {
    unique_fd fd;        // shut last: see remove_path()
    std::string path;    // as given
    struct stat file {}; // what bind(2) made, whatever stands at the path later
    pid_t owner = 0;     // who unlinks it, no forked child; 0: abstract, inherited or handed over
    unique_fd folder{};  // of the path, whatever the working directory is later
    unique_fd spare{};   // closed for the lock's sake: the end may come when there are none left
};

// For the *at() calls, which take a folder's descriptor and a name in it.
inline const char* base_of(const std::string& path) {
    return path.c_str() + (path.rfind('/') + 1); // npos + 1 is 0
}
inline unique_fd look_at(const unique_fd& folder, const std::string& path) { // of a link: itself
    return unique_fd(::openat(folder.get(), base_of(path), O_PATH | O_NOFOLLOW | O_CLOEXEC));
}
inline bool is_at(const unique_fd& folder, const std::string& path, const struct stat& file) {
    struct stat is;
    constexpr int flags = AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH; // "": the descriptor itself
    return ::fstatat(folder.get(), base_of(path), &is, flags) == 0 && is.st_dev == file.st_dev &&
           is.st_ino == file.st_ino;
}

/// The right to change what a path is. Its file stays for ever, so that all mean the same one.
struct path_lock : move_only {
    unique_fd fd;
    ino_t inode; // names the staging file of this path alone
    path_lock(unique_fd held, ino_t number) noexcept : fd(std::move(held)), inode(number) {}
    path_lock(path_lock&&) noexcept = default;
    ~path_lock() { ::flock(fd.get(), LOCK_UN); } // a child forked meanwhile has the descriptor too
};

/// The file is private, because whoever can open it can hold it for ever; and ours alone, because
/// in a folder that others may write it may be a link to a file of which we must not change the
/// mode. Waits for 2 s at most: the lock is held across a dozen syscalls, so longer means a stopped
/// or hostile holder. Where somebody else removed the file, what we hold is nothing: once more.
[[gnu::cold]] inline result<path_lock> lock_path(const unique_fd& folder, const std::string& path) {
    constexpr int flags = O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
    const std::string lock = path + ".lock";
    const deadline end = deadline::after(milliseconds(2'000));
    for (int pause = 1;; pause *= pause < 16 ? 2 : 1) { // ms
        struct stat is;
        unique_fd fd(::openat(folder.get(), base_of(lock), flags, 0600));
        if (!fd || ::fstat(fd.get(), &is) != 0) return path_failed(lock, "open");
        if (!S_ISREG(is.st_mode) || is.st_uid != ::geteuid() || is.st_nlink > 1)
            return path_failed(lock, "not a plain file of this user's", EPERM);
        bool held = ::fchmod(fd.get(), 0600) == 0 && ::flock(fd.get(), LOCK_EX | LOCK_NB) == 0;
        if (!held && errno != EWOULDBLOCK) return path_failed(lock, "lock");
        if (held && is_at(folder, lock, is)) return path_lock(std::move(fd), is.st_ino);
        if (end.passed()) return path_failed(lock, "held by another process", EADDRINUSE);
        (void)wait_ready(-1, 0, deadline::after(milliseconds(pause)).sooner(end), nullptr);
    }
}

/// `file` is of fd_path(). EAGAIN: a server is alive there, ECONNREFUSED: nobody listens.
[[gnu::cold]] inline int ask_at(const std::string& file) noexcept {
    const endpoint to = make_endpoint(file);
    const unique_fd fd = stream_socket(SOCK_NONBLOCK);
    return fd && ::connect(fd.get(), to.get(), to.size) == 0 ? EAGAIN : errno;
}

/// Refuses what is at the path unless it is a socket, and if it `asks`, one that nobody serves.
/// `removes`: then it goes. The descriptor leads to the very one that was looked at.
[[gnu::cold]] inline error clear_path(const unique_fd& folder, const std::string& path, bool asks,
                                      bool removes) {
    struct stat is;
    const unique_fd at = look_at(folder, path);
    if (!at && errno == ENOENT) return {};
    if (!at || ::fstat(at.get(), &is) != 0) return path_failed(path, "open");
    if (!S_ISSOCK(is.st_mode)) return path_failed(path, "in the way, left alone", ENOTSOCK);
    if (asks) {
        const std::string file = fd_path(at);
        int why = ask_at(file);
        if (why == EACCES && is.st_uid == ::geteuid()) { // its mode keeps us out, too
            if (!removes) return {};                     // under the lock nobody else changes it
            if (::chmod(file.c_str(), (is.st_mode & 07777) | S_IWUSR) == 0) why = ask_at(file);
            (void)::chmod(file.c_str(), is.st_mode & 07777);
        }
        if (why == EAGAIN) return path_failed(path, "a server is alive there", EADDRINUSE);
        if (why == EPROTOTYPE) return path_failed(path, "a socket of another type", EADDRINUSE);
        if (why != ECONNREFUSED) return path_failed(path, "asking whether a server is alive", why);
    }
    if (!removes || !is_at(folder, path, is)) return {}; // replaced: bind(2) says
    return ::unlinkat(folder.get(), base_of(path), 0) == 0 ? error() : path_failed(path, "unlink");
}

/// The path itself where it fits: ss(8) and getsockname(2) show it for ever.
inline std::string bind_name(const unique_fd& folder, const std::string& path) {
    return path.size() <= max_sun_path ? path : fd_path(folder) + "/" + base_of(path);
}

/// Binds and remembers what the path has become; owner, mode; then listens. Until then connect(2)
/// is refused, but it looks at the permissions first, and may be slow: so they never are wider than
/// at the end. fchmod(2) before bind(2): its owner's alone, or nobody's if it is to have another.
[[gnu::cold]] inline error bind_path(listener& made, const std::string& path,
                                     const listen_options& options) {
    const int fd = made.fd.get();
    const mode_t mode = options.mode & 07777;
    const endpoint to = make_endpoint(bind_name(made.folder, path));
    struct stat& is = made.file;
    if (::fchmod(fd, options.owner ? 0 : mode & 0700) != 0 || ::bind(fd, to.get(), to.size) != 0)
        return path_failed(path, "bind");
    if (::fstatat(made.folder.get(), base_of(path), &is, AT_SYMLINK_NOFOLLOW) != 0)
        return path_failed(path, "stat after bind");
    const bool is_ours = S_ISSOCK(is.st_mode) && is.st_uid == ::geteuid() && is.st_nlink == 1;
    made.owner = is_ours ? ::getpid() : 0;
    // Whoever may write the folder may have put another one there, to have us chmod that: also one
    // of this user's, which answers; ours doesn't. /proc/self/fd/N can't be diverted.
    const unique_fd at = look_at(made.folder, path);
    if (!at) return path_failed(path, "open");
    const std::string file = fd_path(at);
    const int why = is_ours && is_at(at, "", is) ? ask_at(file) : EAGAIN;
    if (why == EAGAIN || why == EPROTOTYPE)
        return made.owner = 0, path_failed(path, "replaced by somebody else", EADDRINUSE);
    const uid_t owner = options.owner.value_or(static_cast<uid_t>(-1)); // as it is, chown(2)
    const gid_t group = options.group.value_or(static_cast<gid_t>(-1));
    if (::chown(file.c_str(), owner, group) != 0) return path_failed(path, "chown");
    if (::chmod(file.c_str(), mode) != 0) return path_failed(path, "chmod"); // last: see above
    return ::listen(fd, options.backlog) == 0 ? error() : path_failed(path, "listen");
}

/// The name may be another's by now: of a successor, or of whoever removed ours.
inline void unlink_ours(listener& made, const std::string& path) {
    if (std::exchange(made.owner, 0) && is_at(made.folder, path, made.file))
        ::unlinkat(made.folder.get(), base_of(path), 0); // else the next one finds it dead
}

[[gnu::cold]] inline error open_path(listener& made, const listen_options& options) {
    const std::string &path = made.path, base = base_of(path);
    const std::string parent = path.substr(0, path.size() - base.size());
    if (base.empty() || base == "." || base == "..")
        return path_failed(path, "names no socket", EISDIR);
    made.folder = unique_fd(::open((parent + ".").c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!made.folder) return path_failed(path, "open its folder");
    if (::access("/proc/self/fd", F_OK) != 0) return path_failed("/proc/self/fd", "no proc(5)");
    const bool asks = !options.take_over; // a take-over replaces whoever is there
    // First without the lock: a refusal neither waits for it nor leaves its file behind. And again
    // where it was not to be had: in a crowd somebody has won meanwhile.
    if (error e = clear_path(made.folder, path, asks, false)) return e;
    result<path_lock> lock = lock_path(made.folder, path);
    error e = clear_path(made.folder, path, asks, asks && lock); // removes under the lock only
    if (!e) e = lock.error();
    if (e) return e;
    // Bound at `<path>.new`, it replaces what is at the path in one step. A file name too long for
    // bind(2) is staged too, under a short name: the inode number of our lock makes it its own.
    std::string staging = options.take_over ? path + ".new" : path;
    if (bind_name(made.folder, staging).size() > max_sun_path)
        staging = parent + "." + std::to_string(lock->inode) + ".new";
    if (staging != path) e = clear_path(made.folder, staging, true, true); // a killed one left it
    if (!e) e = bind_path(made, staging, options);
    const int at = made.folder.get();
    if (!e && staging != path && ::renameat(at, base_of(staging), at, base.c_str()) != 0)
        e = path_failed(path, "rename");
    if (e) unlink_ours(made, staging); // while our descriptor still keeps the inode from others
    else made.spare = unique_fd(duplicate(at));
    return e;
}

constexpr int pass_rights = 83; // SO_PASSRIGHTS, since Linux 6.16
/// Where no descriptors are wanted the kernel keeps them out: senders get EPERM. Sockets have it
/// from their listener as it was at connect(2), so this comes before listen(2).
inline void let_fds_in(int listener, int whether) noexcept {
    (void)::setsockopt(listener, SOL_SOCKET, pass_rights, &whether, sizeof whether);
}

/// Non-blocking. Errors: address_in_use (a server is alive there), not_a_socket (what else is there
/// stays), permission_denied, filename_too_long, timed_out (of the lock), ...
[[gnu::cold]] inline result<listener>
open_listener(const address& where, const listen_options& options, bool takes_fds = true) {
    if (where.error()) return where.error();
    listener made{stream_socket(SOCK_NONBLOCK), spelled(where)};
    if (!made.fd) return path_failed(made.path, "socket");
    if (!takes_fds) let_fds_in(made.fd.get(), false);
    error e;
    if (!access::of(where)->is_abstract()) e = open_path(made, options);
    else { // no lock and no probe: the kernel knows the name, which dies with its server
        const endpoint to = make_endpoint(access::of(where)->name);
        const int fd = made.fd.get();
        if (::bind(fd, to.get(), to.size) != 0 || ::listen(fd, options.backlog) != 0)
            e = path_failed(made.path, "bind");
    }
    if (e) return e;
    return made;
}

/// Call it while the descriptor is open: until then nobody else's file can get our inode number.
/// Without the lock the path stays, and the next server finds it dead.
[[gnu::cold]] inline void remove_path(listener& ours) {
    if (ours.owner != ::getpid()) return;
    ours.spare = unique_fd();
    UDS_HTTP_TRY {
        result<path_lock> lock = lock_path(ours.folder, ours.path);
        if (lock) unlink_ours(ours, ours.path);
    }
    UDS_HTTP_CATCH { return; } // no memory: finish() tries again
    ours.owner = 0;            // once is enough: a second call would wait for the lock again
}

/// Reads a variable and removes it, so that no child takes it for its own.
[[gnu::cold]] inline std::string take_variable(const char* name, const char* otherwise) {
    const char* value = ::getenv(name);
    std::string text = value ? value : otherwise;
    return ::unsetenv(name), text;
}

/// sd_listen_fds(3), named by LISTEN_FDNAMES, else "". Empty if there are none for this process. If
/// one is no listening Unix socket, none is touched.
/// Threads: changes the environment, so before others read it.
[[gnu::cold]] inline result<row<named_fd>>
inherited_listeners(int backlog = listen_options().backlog) {
    const std::string pid = take_variable("LISTEN_PID", ""), fds = take_variable("LISTEN_FDS", "0"),
                      names = take_variable("LISTEN_FDNAMES", "");
    string_view rest = fds;
    const std::uint64_t count = take_number(rest).value_or(UINT64_MAX);
    if (pid != std::to_string(::getpid())) return row<named_fd>(); // meant for another process
    if (count >= 1u << 30 || !rest.empty())                        // so that 3 + count is an int
        return path_failed("LISTEN_FDS=" + fds, "not a number of descriptors", EINVAL);
    int fd = 3; // SD_LISTEN_FDS_START
    for (const int end = fd + static_cast<int>(count); fd < end; ++fd)
        if (!is_unix_stream(fd) || socket_option(fd, SO_ACCEPTCONN) != 1)
            return failed(errc::bad_descriptor, "LISTEN_FDS: descriptor " + std::to_string(fd) +
                                                    " is no listening Unix stream socket");
    row<named_fd> taken;
    rest = names, fd = 3;
    for (std::uint64_t n = 0; n < count; ++n) {
        const string_view name = rest.substr(0, rest.find(':'));
        taken.push_back({std::string(name), unique_fd(fd)}); // ours: closed if a call below fails
        rest.remove_prefix(name.size() + (name.size() < rest.size()));
        // O_NONBLOCK belongs to the socket, not to the descriptor: who holds a duplicate sees it.
        // listen() once more shows clients our credentials instead of the service manager's.
        if (::fcntl(fd, F_SETFD, FD_CLOEXEC) != 0 || ::listen(fd, backlog) != 0 ||
            ::fcntl(fd++, F_SETFL, O_RDWR | O_NONBLOCK) != 0)
            return path_failed("LISTEN_FDS", "listen");
    }
    return taken;
}

// [7] PARSER --------------------------------------------------------------------------------------
// Bytes to head, bytes to body. Pure: no syscalls, no errno, no clock, and nothing is copied.
//
// A head is parsed from its first byte each time more has come, so that the answer can't depend on
// how the input was cut: bytes are judged in their order, and one that can't stand there is `bad`,
// whatever follows; what the fields mean is judged at the end. Nothing is read beyond the input.
// What RFC 9112 leaves to a recipient's leniency is refused: two parties that guess differently are
// how requests are smuggled. It refuses to decode: targets and values stay as they were sent.

enum class parsed : unsigned char { done, more, bad };
enum class framing : unsigned char { none, length, chunked, until_close };
struct head_limits {
    std::size_t max_head_bytes, max_target_bytes, max_fields_count; // 431, 414, 431
};

/// A head; the views point into the input. Bad: only why and status mean something.
struct head {
    string_view method, target; // request; the target is as sent
    const char* why = nullptr;  // bad: a literal
    std::size_t size = 0;       // bytes of the head, empty lines before and after it included
    std::size_t fields_count = 0;
    std::uint64_t length = 0;    // with framing::length
    int status = 0;              // response: its own; bad: what to answer, also 431 for a response
    int version = 11;            // 10 or 11
    framing how = framing::none; // of the body that follows; none if that is empty
    bool persistent = false;     // RFC 9112 9.3
    bool expect_continue = false;
    bool names_fds = false; // names Fds or Body-Fd
    bool upgrade = false;   // request: Upgrade, named by Connection
};

constexpr std::uint64_t max_length = INT64_MAX;   // so that it fits an off_t
constexpr std::size_t max_head_memory = 16 << 20; // whoever reads heads has room for a whole one
// Apache takes 100 from a client; a service's own answers have fewer, a proxy adds some.
constexpr std::size_t max_response_fields = 256;

/// Bit n: at[n] is of the class. Some that seldom occur are left out; whoever asks has a second
/// look at those. No -m flags, which would break the one-definition rule: every x86-64 has SSE2,
/// elsewhere the compiler takes what there is.
template <unsigned char wanted> inline unsigned usual_bytes(const char* at) {
    using bytes [[gnu::vector_size(16)]] = unsigned char;
    using signed_bytes [[gnu::vector_size(16)]] = signed char; // obs-text is below zero
    bytes x;
    std::memcpy(&x, at, sizeof x); // one load, whatever the alignment
    signed_bytes usual;
    // One more, and DEL is below zero. Left out of values: tabs, obs-text.
    if constexpr (wanted == value_byte) usual = signed_bytes(x + 1) > 0x20;
    else if constexpr (wanted == target_byte) usual = (signed_bytes(x + 1) > 0x21) & (x != '#');
    // Names and hosts: letters, "a" to "z" becoming 102 to 127, the greatest number, and "-".
    else usual = (signed_bytes((x | 0x20) + 5) > 101) | (x == '-');
#if defined(__SSE2__)
    using plain_bytes [[gnu::vector_size(16)]] = char;
    return static_cast<unsigned>(__builtin_ia32_pmovmskb128(plain_bytes(usual)));
#else
    usual &= signed_bytes{1, 2, 4, 8, 16, 32, 64, -128, 1, 2, 4, 8, 16, 32, 64, -128};
    std::uint64_t half[2];
    std::memcpy(half, &usual, sizeof half);
    constexpr std::uint64_t ones = 0x0101010101010101; // times this: the sum of all eight, on top
    return static_cast<unsigned>(half[0] * ones >> 56 | half[1] * ones >> 56 << 8);
#endif
}

/// The first byte from `at` that is not of the class, or `end`.
template <unsigned char wanted> inline const char* first_not(const char* at, const char* end) {
    while (end - at >= 16) { // never beyond the input, whose last byte may end a page
        const unsigned odd = usual_bytes<wanted>(at) ^ 0xffff;
        if (odd == 0) at += 16;
        else if (at += __builtin_ctz(odd); usually(!is(*at, wanted))) return at;
        else ++at; // one that usual_bytes() leaves out
    }
    while (at != end && is(*at, wanted)) ++at;
    return at;
}

/// Compares a checked name or value, without case, with lower-case letters, digits and "-", four at
/// least. No other bytes that may stand there become one of those by |0x20, so words are compared.
inline bool equals(string_view text, string_view lower) {
    std::size_t left = text.size();
    if (left != lower.size()) return false;
    for (; left > 0; left = left < 8 && left > 4 ? 4 : left - 4) { // the last words may overlap
        std::uint32_t a, b;
        std::memcpy(&a, text.data() + left - 4, 4);
        std::memcpy(&b, lower.data() + left - 4, 4);
        if ((a | 0x20202020) != b) return false;
    }
    return true;
}

/// "[IPv6]" in front, without a zone, which means nothing to others. Its size; 0: it is none.
[[gnu::cold, gnu::noinline]] inline std::size_t ipv6_size(string_view text) {
    const std::size_t last = text.find(']');
    in6_addr address;
    const bool is_one =
        last <= INET6_ADDRSTRLEN &&
        ::inet_pton(AF_INET6, std::string(text, 1, last - 1).c_str(), &address) == 1;
    return is_one ? last + 1 : 0;
}
/// What nearly all clients of a Unix socket say.
inline bool is_usual_host(string_view text) {
    return text.size() == 9 && std::memcmp(text.data(), "localhos", 8) == 0 && text[8] == 't';
}
/// uri-host [":" port] (RFC 9110 7.2). Empty is a valid Host: the target had no authority.
inline bool is_authority(string_view text) {
    const char *at = text.data(), *const end = at + text.size();
    if (at != end && *at == '[') {
        at += ipv6_size(text); // if it is none, its "[" is no ":"
    } else {
        for (; (at = first_not<host_byte>(at, end)) != end && *at == '%'; at += 3)
            if (end - at < 3 || hex_digit(at[1]) < 0 || hex_digit(at[2]) < 0) return false;
    }
    if (at != end && (*at++ != ':' || end - at > 5)) return false; // a port has five digits
    while (at != end && is_digit(*at)) ++at;
    return at == end;
}

/// The authority of an absolute-form target, from behind "://"; empty for other forms.
[[gnu::noinline]] inline string_view authority_of(string_view target) {
    if (target.empty() || target[0] == '/') return {}; // nearly all are
    const string_view scheme = target.substr(0, target.find(':') + 3);
    if (!equal_nocase(scheme, "http://") && !equal_nocase(scheme, "https://")) return {};
    target.remove_prefix(scheme.size());
    return target.substr(0, target.find_first_of("/?"));
}

/// RFC 9112 3.2: the four forms, each only with its methods.
[[gnu::noinline]] inline bool is_target_of(string_view method, string_view target) {
    if (target.empty()) return false;
    if (method == "CONNECT") // 3.2.3: host and port, neither empty
        return is_authority(target) && target[0] != ':' && target.find(':') != string_view::npos &&
               is_digit(target.back());
    if (target[0] == '/') return true;             // 3.2.1: origin-form
    if (target == "*") return method == "OPTIONS"; // 3.2.4
    // RFC 9110 4.2.1: an empty host is invalid; 4.2.4: so is userinfo, whose @ is no host_byte.
    const string_view authority = authority_of(target);
    return !authority.empty() && authority[0] != ':' && is_authority(authority);
}

/// Path and query, as sent; "/" for an absolute-form without a path (RFC 9110 4.2.3).
inline void request_state::split(string_view text) noexcept {
    target = text;
    const bool is_origin = usually(!text.empty()) && usually(text[0] == '/'); // nearly all are
    const string_view authority = is_origin ? string_view() : authority_of(text);
    if (seldom(!authority.empty())) text = view(authority.end(), text.end());
    path = {text.data(), std::min(text.find('?'), text.size())};
    query = view(path.end(), text.end());
    if (seldom(!query.empty())) query.remove_prefix(1);
    if (seldom(path.empty() && !authority.empty())) path = "/";
}
inline void request_state::set_target(string_view text) {
    split(text);
    if (text.empty() || !all_are(text, target_byte))
        fail(detail::failed(errc::bad_target, "target " + printable(text)));
}

/// Reads the lines of heads, trailers and chunked framing. A function takes what it is named after
/// and returns what is behind it; or null, because of `why`, or without one for want of bytes.
struct line_reader {
    const char* end;
    const char* why = nullptr;
    int answer = 400; // to what is refused
    explicit line_reader(string_view in, std::size_t most = SIZE_MAX)
        : end(in.data() + (in.size() < most ? in.size() : most)) {}

    [[gnu::cold, gnu::noinline]] const char* refuse(const char* reason, int status = 400) {
        why = reason, answer = status;
        return nullptr;
    }

    /// RFC 9112 2.2 lets a recipient take a bare LF; refused, as is a bare CR.
    [[gnu::always_inline]] const char* line_end(const char* at) {
        if (usually(end - at >= 2) && usually(std::memcmp(at, "\r\n", 2) == 0)) return at + 2;
        if (at == end || (*at == '\r' && end - at == 1)) return nullptr; // the LF may be to come
        return refuse("a bare CR or LF, or a byte that may not stand there");
    }

    /// RFC 9112 5: name ":" OWS value OWS CRLF. No space before the colon (5.1), no folding (5.2).
    [[gnu::always_inline]] const char* field_line(const char* at, field& out) {
        // Both from the start, so that neither search waits for the other: names are value bytes.
        const char* const stop = first_not<value_byte>(at, end);
        const char* const colon = first_not<token_byte>(at, end);
        if (colon == end) return nullptr; // more of the name may be to come
        if (*colon != ':' || colon == at) return refuse("a field name empty, bad or folded");
        const char *from = colon + 1, *to = stop;
        // Of bytes up to the space only blanks are left; backwards they end at the colon, at last.
        while (static_cast<unsigned char>(to[-1]) <= ' ') --to;
        while (from < to && static_cast<unsigned char>(*from) <= ' ') ++from;
        out = {view(at, colon), view(from, to)};
        return line_end(stop);
    }
};

/// One parse of a head. What the fields say is judged when all are known.
struct head_parser : line_reader {
    enum deciding { host, expect, upgrade, connection, length, coding, deciding_count };
    const head_limits& limits;
    head& out;
    field* seen[deciding_count] = {};                     // the last of each
    unsigned doubled = 0;                                 // bit n: seen[n] wasn't the first
    bool closes = false, keeps = false, upgrades = false; // what Connection says

    head_parser(string_view in, const head_limits& bounds, head& result)
        : line_reader(in, bounds.max_head_bytes), limits(bounds), out(result) {
        static constexpr head blank;
        out = blank;
    }

    bool is_doubled(deciding what) const { return (doubled >> what & 1) != 0; }
    string_view value(deciding what) const {
        return seen[what] ? seen[what]->value : string_view();
    }

    /// RFC 9112 2.3. A higher minor version is handled as 1.1 (RFC 9110 6.2), another major is 505.
    const char* version(const char* at) {
        if (usually(end - at >= 8) && usually(std::memcmp(at, "HTTP/1.1", 8) == 0)) return at + 8;
        return other_version(at);
    }
    [[gnu::noinline]] const char* other_version(const char* at) {
        for (int n = 0; n < 8; ++n, ++at) {
            if (at == end) return nullptr;
            if (n == 5 || n == 7 ? !is_digit(*at) : *at != "HTTP/ ."[n])
                return refuse("no HTTP version");
        }
        if (at[-3] != '1') return refuse("not HTTP/1.0 or HTTP/1.1", 505);
        out.version = at[-1] == '0' ? 10 : 11;
        return at;
    }

    /// RFC 9112 3: one space each, nothing else.
    [[gnu::always_inline]] const char* request_line(const char* at) {
        // RFC 9112 2.2: empty lines before it are skipped; no client sends more than eight.
        for (int count = 0; seldom(at != end && *at == '\r'); ++count) {
            if (count == 8) return refuse("too many empty lines before the request");
            if (!(at = line_end(at))) return nullptr;
        }
        const bool is_get = end - at >= 4 && std::memcmp(at, "GET ", 4) == 0; // most are
        const char* stop = is_get ? at + 3 : first_not<token_byte>(at, end);
        out.method = view(at, stop);
        // RFC 9112 3: longer than any that is implemented (registered ones have up to 17 bytes) is
        // 501. A first byte that can't begin a method (TLS: 0x16) is refused at once.
        if (out.method.size() > 32) return refuse("a method too long", 501);
        if (seldom(stop == end)) return nullptr;
        if (*stop != ' ' || stop == at) return refuse("no method");
        at = stop + 1;
        stop = first_not<target_byte>(at, end);
        out.target = view(at, stop);
        if (out.target.size() > limits.max_target_bytes) return refuse("a target too long", 414);
        if (seldom(stop == end)) return nullptr;
        const bool is_usual = is_get && *at == '/'; // is_target_of() would compare the method
        if (*stop != ' ' || (seldom(!is_usual) && !is_target_of(out.method, out.target)))
            return refuse("a bad target");
        at = version(stop + 1);
        return at ? line_end(at) : nullptr;
    }

    /// RFC 9112 4. The space before an empty reason is missing in practice.
    const char* status_line(const char* at) {
        if (end - at >= 17 && std::memcmp(at, "HTTP/1.1 200 OK\r\n", 17) == 0) // most are
            return out.status = 200, at + 17;
        if (!(at = version(at))) return nullptr;
        for (int n = 0; n < 4; ++n, ++at) {
            if (at == end) return nullptr;
            if (n == 0 ? *at != ' ' : !is_digit(*at) || (n == 1 && *at == '0'))
                return refuse("a status that isn't 100 to 999");
            out.status = out.status * 10 + (*at & 15); // a space counts as a zero
        }
        if (at == end || *at != ' ') return line_end(at);
        return line_end(first_not<value_byte>(at, end));
    }

    /// All field lines and the empty line that ends them.
    [[gnu::always_inline]] const char* field_lines(const char* at, field* fields) {
        std::size_t count = 0;
        for (; usually(at != end) && *at != '\r'; ++count) {
            if (count == limits.max_fields_count) return refuse("too many fields", 431);
            if (seldom(!(at = field_line(at, fields[count])))) return nullptr;
            note(fields[count]);
        }
        out.fields_count = count;
        out.persistent = !closes && (out.version == 11 || keeps); // RFC 9112 9.3
        return line_end(at);
    }

    /// The length of a name says which of the deciding ones it may be.
    [[gnu::always_inline]] void note(field& f) {
        static constexpr string_view by_size = "---00-12--3---4--5"; // [size]: index in names
        static constexpr string_view names[] = {
            "host", "expect", "upgrade", "connection", "content-length", "transfer-encoding"};
        const std::size_t size = f.name.size();
        if (size >= by_size.size() || by_size[size] == '-') return; // most fields end here
        const int which = by_size[size] - '0';
        if (!equals(f.name, names[which]))
            return void(out.names_fds |= equals(f.name, "body-fd") || equal_nocase(f.name, "fds"));
        if (seldom(seen[which] != nullptr)) doubled |= 1u << which;
        seen[which] = &f;
        if (seldom(which == connection)) note_options(f.value);
    }
    [[gnu::noinline]] void note_options(string_view list) {
        while (!list.empty()) { // RFC 9110 7.6.1: options that say nothing to us are passed over
            const string_view option = next_element(list);
            closes |= equals(option, "close");
            keeps |= equals(option, "keep-alive");
            upgrades |= equals(option, "upgrade");
        }
    }

    /// RFC 9112 6.3, as far as both kinds agree; but equal lengths are refused, not made one.
    bool read_framing() {
        if (seen[length]) {
            string_view digits = value(length);
            const auto stated = take_number(digits);
            if (is_doubled(length) || !stated || !digits.empty() || *stated > max_length)
                return refuse("a Content-Length that isn't one number below 2^63");
            out.length = *stated;
            out.how = out.length > 0 ? framing::length : framing::none;
        }
        string_view list = value(coding), item;
        if (!seen[coding]) return true;
        if (is_doubled(coding) || seen[length] || out.version == 10) // RFC 9112 6.1, 6.3, 11.2
            return refuse("Transfer-Encoding twice, with Content-Length or in HTTP/1.0");
        out.how = framing::chunked;
        if (equals(list, "chunked")) return true;
        // 6.1: only that is understood. Other codings are 501 where the end of the body would still
        // be known, because chunked comes last and once; else 400 (6.3).
        bool is_last = !list.empty() && list.back() == ','; // an empty one is behind it
        while (!list.empty() && !is_last && is_token(item = next_element(list)))
            is_last = equals(item, "chunked");
        if (is_last && list.empty()) return refuse("an unknown transfer coding", 501);
        return refuse("a Transfer-Encoding that doesn't end in chunked, once");
    }

    [[gnu::noinline]] bool name_host(field* fields) {
        const string_view named = authority_of(out.target);
        if (!named.empty() && seen[host]) seen[host]->value = named;
        else if (!named.empty() && out.fields_count == limits.max_fields_count) // of 1.0
            return refuse("too many fields", 431), false;
        else if (!named.empty()) fields[out.fields_count++] = {"Host", named};
        return true;
    }

    [[gnu::always_inline]] bool finish_request(field* fields) {
        // RFC 9112 3.2: exactly one, and a valid one.
        if (is_doubled(host) || (!seen[host] && out.version == 11))
            return refuse("no Host, or two of them");
        if (!is_usual_host(value(host)) && !is_authority(value(host))) return refuse("a bad Host");
        if (seldom(seen[length] || seen[coding]) && !read_framing()) return false;
        if (seldom(seen[expect] != nullptr) &&
            (is_doubled(expect) || !equals(value(expect), "100-continue")))
            return refuse("an unknown expectation", 417); // RFC 9110 10.1.1
        // RFC 9112 3.2.2: the target's authority counts, and is what whoever reads Host gets.
        if (seldom(out.target[0] != '/') && !name_host(fields)) return false;
        // RFC 9110 10.1.1, 7.8: neither means anything in 1.0, nor an expectation without a body.
        out.expect_continue = seen[expect] && out.version == 11 && out.how != framing::none;
        out.upgrade =
            upgrades && out.version == 11 && (is_doubled(upgrade) || !value(upgrade).empty());
        return true;
    }

    /// RFC 9112 6.3, in its order: framing depends on the method of the request, never CONNECT.
    bool finish_response(string_view method) {
        if (!read_framing()) return false;
        const int status = out.status;
        if (method == "HEAD" || status < 200 || status == 204 || status == 304)
            out.how = framing::none; // whatever the fields say
        else if (!seen[coding] && !seen[length]) out.how = framing::until_close;
        out.persistent &= out.how != framing::until_close && status != 101;
        return true;
    }

    /// The last word: a head that fills its limit and isn't complete is refused by `over`.
    parsed finish(string_view in, const char* at, int over) {
        if (!at && !why && in.size() >= limits.max_head_bytes) refuse("a head too long", over);
        if (at) out.size = view(in.data(), at).size();
        else out.status = answer, out.why = why;
        return at ? parsed::done : why ? parsed::bad : parsed::more;
    }
};

/// A head that comes byte by byte would be parsed as often. Again only where a line has ended since
/// there were `before` bytes, or there is twice as much, or too much.
inline bool is_worth_parsing(string_view in, std::size_t before, std::size_t most) noexcept {
    return !in.empty() && (before == 0 || in.size() >= before * 2 || in.size() >= most ||
                           in.find('\n', before) != string_view::npos);
}

/// `fields` has room for limits.max_fields_count.
inline parsed parse_request_head(string_view in, const head_limits& limits, field* fields,
                                 head& out) {
    head_parser parser(in, limits, out);
    const char* const line = parser.request_line(in.data());
    const char* const at = line ? parser.field_lines(line, fields) : nullptr;
    return parser.finish(in, at && parser.finish_request(fields) ? at : nullptr, line ? 431 : 414);
}

/// Interim responses come out like others.
/// NOLINTNEXTLINE(readability-function-size): five parameters, not four
inline parsed parse_response_head(string_view in, const head_limits& limits,
                                  string_view request_method, field* fields, head& out) {
    head_parser parser(in, limits, out);
    const char* const line = parser.status_line(in.data());
    const char* const at = line ? parser.field_lines(line, fields) : nullptr;
    return parser.finish(in, at && parser.finish_response(request_method) ? at : nullptr, 431);
}

/// RFC 9110 6.5.1: what a trailer may not say: framing, routing, rights, conditions and the kind of
/// content were decided by the head. Refused, since somebody else may have believed it.
inline bool may_trail(string_view name) {
    return !name.empty() &&
           !list_has(
               "age,authorization,body-fd,cache-control,connection,content-encoding,content-length,"
               "content-range,content-type,cookie,date,expect,expires,fds,host,if-match,"
               "if-modified-since,if-none-match,if-range,if-unmodified-since,keep-alive,location,"
               "max-forwards,pragma,proxy-authenticate,proxy-authorization,proxy-connection,range,"
               "retry-after,set-cookie,te,trailer,transfer-encoding,upgrade,vary,www-authenticate",
               name);
}

/// RFC 9112 7.1.2: a line like a head's.
inline const char* trailer_line(line_reader& line, const char* at, field& out) {
    at = line.field_line(at, out);
    return !at || may_trail(out.name) ? at : line.refuse("a forbidden trailer");
}

/// The fields of body_decoder::trailers().
inline bool parse_trailers(string_view raw, headers& out) {
    line_reader line(raw);
    field got;
    for (const char* at = raw.data(); at != line.end;)
        if (!(at = trailer_line(line, at, got)) || out.add(got.name, got.value)) return false;
    return true;
}

/// Bytes to the body's bytes. Holds nothing but trailers and half a line of chunked framing.
class body_decoder {
public:
    /// `bounds` are the head's; the trailers, by themselves, are held to them, too.
    void start(framing how, std::uint64_t length, const head_limits& bounds = unbounded,
               const headers* fields = nullptr) {
        why_ = nullptr, lines_.clear(), line_ = 0, extension_left_ = max_extension_bytes;
        if (how == framing::chunked) note_hops(fields);
        how_ = how, fields_left_ = bounds.max_fields_count;
        trailers_bytes_ = std::min(bounds.max_head_bytes, max_lines_bytes);
        left_ = how == framing::until_close ? UINT64_MAX : how == framing::length ? length : 0;
        step_ = how == framing::chunked ? step::size : left_ > 0 ? step::data : step::end;
    }

    /// Takes from `in`, moving its front; `piece` is what of it belongs to the body, "" if nothing.
    /// To be called until `in` is empty, or it says done (perhaps with a last piece) or bad.
    parsed next(string_view& in, string_view& piece) {
        piece = {};
        while (!in.empty() && piece.empty() && step_ < step::end)
            step_ = step_ == step::data ? data(in, piece) : line(in);
        return step_ == step::end ? parsed::done : step_ == step::bad ? parsed::bad : parsed::more;
    }

    bool ends_at_eof() const { return how_ == framing::until_close; }      // else it is a cut
    const char* why() const { return why_; }                               // bad: a literal
    std::uint64_t left() const { return step_ == step::data ? left_ : 0; } // of it, or the chunk
    string_view trailers() const { return lines_; } // done: the lines, checked, for parse_trailers

private:
    enum class step { data, data_end, size, trailer, end, bad };
    // nginx and Go bound a trailer section by their limits for heads; 8 KiB is more than any use.
    static constexpr std::size_t max_lines_bytes = 8 << 10;
    static constexpr head_limits unbounded{SIZE_MAX, SIZE_MAX, SIZE_MAX};
    // Go's answer to CVE-2023-39326: extensions may not outweigh the data. Each chunk earns as many
    // bytes as it carries; this much comes first and is also the most that can be saved up.
    static constexpr unsigned max_extension_bytes = 4 << 10;

    step data(string_view& in, string_view& piece) {
        piece = in.substr(0, static_cast<std::size_t>(left_ < in.size() ? left_ : in.size()));
        in.remove_prefix(piece.size());
        left_ -= piece.size();
        if (left_ > 0) return step::data;
        return how_ == framing::chunked ? step::data_end : step::end;
    }

    [[gnu::noinline]] void note_hops(const headers* of) {
        hops_.clear();
        if (!of) return;
        for (const field& f : *of)
            if (equal_nocase(f.name, "Connection")) hops_.append(f.value) += ',';
    }

    /// RFC 9112 7.1: between the data stand lines, which are parsed anew when more has come, too.
    step line(string_view& in) {
        const std::size_t most = step_ == step::trailer ? trailers_bytes_ : max_lines_bytes;
        const std::size_t lf = in.find('\n'), room = most - lines_.size();
        const string_view part = in.substr(0, lf < room ? lf + 1 : room);
        in.remove_prefix(part.size());
        line_reader line(lines_.append(part));
        const char* const at = lines_.data() + line_;
        const bool is_field = step_ == step::trailer && *at != '\r';
        field got;
        const char* const end = step_ == step::size ? size_line(line, at)
                                : is_field          ? trailer_line(line, at, got)
                                                    : line.line_end(at);
        why_ = line.why;
        if (!end && !why_ && part.size() == room) why_ = "chunk extensions or trailers too long";
        if (!end) return why_ ? step::bad : step_; // no reason: the line isn't whole yet
        if (is_field && fields_left_-- == 0) return why_ = "too many trailers", step::bad;
        if (is_field && hops_.size() <= 256 && !list_has(hops_, got.name)) line_ = lines_.size();
        lines_.resize(line_);
        if (step_ == step::data_end) return step::size;
        if (step_ == step::size) return left_ > 0 ? step::data : step::trailer;
        return is_field ? step::trailer : step::end;
    }

    const char* size_line(line_reader& line, const char* at) {
        const char* const digits = at;
        for (left_ = 0; at != line.end && hex_digit(*at) >= 0; ++at) {
            if (at - digits == 16 || left_ > max_length >> 4) return line.refuse("a huge chunk");
            left_ = left_ << 4 | static_cast<unsigned>(hex_digit(*at));
        }
        const char* const extension = at;
        at = at == digits ? nullptr : extension_end(at, line.end);
        const std::uint64_t spent = at ? view(extension, at).size() : UINT64_MAX;
        if (spent > extension_left_) return line.refuse("a bad chunk size or extension");
        if (!(at = line.line_end(at))) return nullptr;
        const std::uint64_t saved = extension_left_ - spent + left_; // left_ is below 2^63
        extension_left_ = saved < max_extension_bytes ? unsigned(saved) : max_extension_bytes;
        return at;
    }

    /// RFC 9112 7.1.1: *( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] ). Up to the
    /// CR, or to the end of what has come; null where it can't become one.
    static const char* extension_end(const char* at, const char* end) {
        for (bool is_value = true; at != end && *at != '\r';) { // "=" stands behind a name only
            while (at != end && is_blank(*at)) ++at;
            if (at == end) break;
            if (*at != ';' && (is_value || *at != '=')) return nullptr;
            is_value = *at++ == '=';
            while (at != end && is_blank(*at)) ++at;
            const char* const word = at;
            at = is_value && at != end && *at == '"' ? quoted_end(at, end)
                                                     : first_not<token_byte>(at, end);
            if (!at || (at == word && at != end)) return nullptr;
        }
        return at;
    }
    static const char* quoted_end(const char* at, const char* end) {
        for (bool is_escaped = true; at != end && (*at != '"' || is_escaped); ++at) {
            if (!is(*at, value_byte)) return nullptr;
            is_escaped = !is_escaped && *at == '\\';
        }
        return at == end ? end : at + 1;
    }

    std::uint64_t left_ = 0; // of the body, or of the chunk
    std::size_t trailers_bytes_ = max_lines_bytes, fields_left_ = 0;
    const char* why_ = nullptr;
    std::string lines_;    // whole trailers, then the line that is being read
    std::string hops_;     // what Connection names ends here (RFC 9110 7.6.1); if so much, all
    std::size_t line_ = 0; // where in lines_ the line begins that isn't complete
    unsigned extension_left_ = max_extension_bytes;
    framing how_ = framing::none;
    step step_ = step::end;
};

// [8] SERIALIZER ----------------------------------------------------------------------------------
// A head and a plan for its body become bytes. Pure. What could break the framing of a message is
// refused here, so that nothing a program passes gets onto the wire malformed.

inline char* put(char* at, string_view text) noexcept {
    if (text.empty()) return at; // memcpy takes no nullptr
    std::memcpy(at, text.data(), text.size());
    return at + text.size();
}

/// Bytes on their way out; grows, never shrinks by itself.
class buffer : public row<char> {
public:
    const char* data() const noexcept { return begin(); }
    std::size_t capacity() const noexcept { return room_; }
    string_view view() const noexcept { return {begin(), size()}; }
    void clear() noexcept { assume(0); }
    /// Room for `count` more bytes; commit() says how many were written.
    char* room(std::size_t count) {
        if (seldom(room_ - size_ < count)) {
            std::size_t wanted = room_ ? room_ * 2 : 4096;
            while (wanted - size_ < count) wanted *= 2;
            reserve(wanted);
        }
        return end();
    }
    void commit(std::size_t count) noexcept { size_ += count; }
    void add(string_view text) {
        put(room(text.size()), text);
        commit(text.size());
    }
};

/// RFC 9110 15; the reason phrase is for people, an empty one is valid.
inline string_view reason_of(int status) noexcept {
    static constexpr string_view known =
        "100 Continue|101 Switching Protocols|200 OK|201 Created|202 Accepted|204 No Content|"
        "205 Reset Content|206 Partial Content|301 Moved Permanently|302 Found|303 See Other|"
        "304 Not Modified|307 Temporary Redirect|308 Permanent Redirect|400 Bad Request|"
        "401 Unauthorized|403 Forbidden|404 Not Found|405 Method Not Allowed|408 Request Timeout|"
        "409 Conflict|410 Gone|411 Length Required|412 Precondition Failed|413 Content Too Large|"
        "414 URI Too Long|415 Unsupported Media Type|416 Range Not Satisfiable|"
        "417 Expectation Failed|422 Unprocessable Content|426 Upgrade Required|"
        "428 Precondition Required|429 Too Many Requests|431 Request Header Fields Too Large|"
        "500 Internal Server Error|501 Not Implemented|502 Bad Gateway|503 Service Unavailable|"
        "504 Gateway Timeout|505 HTTP Version Not Supported|";
    for (string_view rest = known; !rest.empty(); rest.remove_prefix(rest.find('|') + 1))
        if (status == (rest[0] - '0') * 100 + (rest[1] - '0') * 10 + (rest[2] - '0'))
            return rest.substr(4, rest.find('|') - 4);
    return "";
}

inline char* put_number(char* at, std::uint64_t value) noexcept {
    for (std::uint64_t rest = value; rest >= 10; rest /= 10) ++at;
    char* to = at;
    do *to-- = static_cast<char>('0' + value % 10);
    while (value /= 10);
    return at + 1;
}

constexpr const char* day_names[] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                     "Thursday", "Friday", "Saturday"};
constexpr char month_names[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

/// RFC 9110 5.6.7: 29 bytes, always GMT, never the locale's words.
inline char* put_date(char* at, std::time_t when) noexcept {
    std::tm t{};
    ::gmtime_r(&when, &t);
    char text[96]; // room for the greatest numbers
    std::snprintf(text, sizeof text, "%.3s, %02d %.3s %04d %02d:%02d:%02d GMT",
                  day_names[t.tm_wday], t.tm_mday, month_names + 3 * t.tm_mon, t.tm_year + 1900,
                  t.tm_hour, t.tm_min, t.tm_sec);
    return put(at, {text, 29});
}

/// How the body of an outgoing message is delimited (RFC 9112 6).
struct body_plan {
    framing how = framing::none;
    std::uint64_t length = 0;
    bool sends = false; // the body itself goes out: not for HEAD, 204, 304, nor an empty request's
};

inline bool is_named(const field& f, string_view name) noexcept {
    return f.name.size() == name.size() && equal_nocase(f.name, name);
}

/// RFC 9112 9.6: who says so must not go on.
inline bool says_close(const headers& fields) noexcept {
    for (const field& f : fields)
        if (is_named(f, "Connection") && list_has(f.value, "close")) return true;
    return false;
}

/// Content-Length as somebody's code set it; `absent` without one, UINT64_MAX if it is no number.
inline std::uint64_t stated_length(const headers& fields, std::uint64_t absent) noexcept {
    bool is_there = false;
    for (const field& f : fields) {
        if (!is_named(f, "Content-Length")) continue;
        string_view digits = f.value;
        auto value = take_number(digits);
        if (std::exchange(is_there, true) || !value || !digits.empty() || *value > max_length)
            return UINT64_MAX;
        absent = *value;
    }
    return absent;
}

/// The size of a content, where it is known before it is sent.
inline std::optional<std::uint64_t> known_size(const content& body) noexcept {
    if (usually(is_in_memory(body))) return bytes_of(body).size();
    return access::of(body).from->length;
}

/// RFC 9110 9.2.2.
inline bool is_idempotent(string_view method) noexcept {
    return method == "GET" || method == "HEAD" || method == "PUT" || method == "DELETE" ||
           method == "OPTIONS" || method == "TRACE";
}

inline bool is_bodiless(int status) noexcept {
    return status == 204 || status == 205 || status == 304; // RFC 9110 15.3.5, 15.3.6, 15.4.5
}

/// What would make a message ambiguous, as a literal; nullptr where nothing does.
inline const char* framing_fault(const headers& fields, std::optional<std::uint64_t> size,
                                 int status) noexcept {
    constexpr std::uint64_t absent = UINT64_MAX - 1; // greater than any length: max_length
    if (is_bodiless(status) && size.value_or(1) > 0) return "a body on 204, 205 or 304";
    if (size && *size > max_length) return "a length of 2^63 or more";
    if (fields.begin() == fields.end()) return nullptr;
    if (fields.contains("")) return "a bad field";
    if (fields.contains("Transfer-Encoding")) return "Transfer-Encoding is the library's to set";
    const std::uint64_t stated = stated_length(fields, absent);
    if (stated == UINT64_MAX) return "Content-Length is not one number";
    if (status == 204 && stated != absent) return "Content-Length on 204"; // RFC 9110 8.6
    if (stated != absent && status != 304 && size && *size != stated) // 304: a 200's length (8.6)
        return "Content-Length disagrees with the body";
    return nullptr;
}

/// Of a message that a client has received and a handler passes on: its connection has its own.
inline bool is_received(const headers& fields) noexcept {
    return access::of(fields) && access::of(fields)->received;
}
[[gnu::cold]] inline void drop_framing(headers& fields, bool drops_length) {
    if (access::of(fields)->hops) fields.remove_hop_by_hop();
    if (drops_length) fields.remove("Content-Length");
}

/// RFC 9112 6.3, seen from the sender; framing_fault() has been asked.
inline body_plan plan_response(const response& res, std::optional<std::uint64_t> size,
                               bool head_only, int version) noexcept {
    if (res.status() == 204 || res.status() == 304) return {}; // 205 says 0: RFC 9110 15.3.6
    const std::uint64_t length =
        usually(size.has_value()) ? *size : stated_length(access::of(res).fields, UINT64_MAX);
    if (usually(length != UINT64_MAX)) return {framing::length, length, !head_only};
    return {version == 10 ? framing::until_close : framing::chunked, 0, !head_only}; // 9112 6.1
}

/// A request without a body says so only where its method expects one (RFC 9110 8.6).
inline body_plan plan_request(const request_state& req) noexcept {
    const auto size = known_size(req.body);
    const std::uint64_t length = size ? *size : stated_length(req.fields, UINT64_MAX);
    if (length == UINT64_MAX) return {framing::chunked, 0, true};
    if (length > 0) return {framing::length, length, true};
    const bool says_so = req.method == "POST" || req.method == "PUT" || req.method == "PATCH";
    return {says_so ? framing::length : framing::none, 0, false};
}

inline char* put_field(char* at, string_view name, string_view value) noexcept {
    return put(put(put(put(at, name), ": "), value), "\r\n");
}
inline char* put_framing(char* at, const body_plan& plan) noexcept {
    if (seldom(plan.how == framing::chunked)) return put(at, "Transfer-Encoding: chunked\r\n");
    if (seldom(plan.how != framing::length)) return at;
    return put(put_number(put(at, "Content-Length: "), plan.length), "\r\n");
}
inline std::size_t size_of(const headers& fields) noexcept {
    std::size_t size = 0;
    for (const field& f : fields) size += f.name.size() + f.value.size() + 4;
    return size;
}

/// All of a response before its body. Date is a whole line, made once a second by the loop.
struct head_writer {
    const char* date; // 37 bytes, or none
    bool persistent;
    int version;

    void write(buffer& out, const response& res, const body_plan& plan) const {
        const auto& r = access::of(res);
        char* const first = out.room(256 + r.type.size() + size_of(r.fields));
        char* at = put_status(first, r.status);
        bool is_dated = !date;
        if (seldom(bool(access::of(r.fields)))) at = put_fields(at, r.fields, r.status, is_dated);
        if (usually(!is_dated)) at = put(at, {date, 37});
        if (!r.type.empty()) at = put_field(at, "Content-Type", r.type);
        if (seldom(!persistent)) at = put(at, "Connection: close\r\n"); // RFC 9112 9.6
        else if (seldom(version == 10)) at = put(at, "Connection: keep-alive\r\n");
        out.commit(static_cast<std::size_t>(put(put_framing(at, plan), "\r\n") - first));
    }

private:
    static char* put_status(char* at, int status) noexcept {
        if (usually(status == 200)) return put(at, "HTTP/1.1 200 OK\r\n");
        return put_other(at, status);
    }
    [[gnu::noinline]] static char* put_other(char* at, int status) noexcept {
        at = put_number(put(at, "HTTP/1.1 "), static_cast<std::uint64_t>(status));
        return put(put(put(at, " "), reason_of(status)), "\r\n");
    }
    [[gnu::noinline]] static char* put_fields(char* at, const headers& fields, int status,
                                              bool& is_dated) noexcept {
        for (const field& f : fields) at = put_if_ours(at, f, status, is_dated);
        return at;
    }
    /// Content-Length and Connection are what the plan says, whatever the fields say; but a 304 may
    /// state the length, and Upgrade needs its Connection (RFC 9110 7.8).
    static char* put_if_ours(char* at, const field& f, int status, bool& is_dated) noexcept {
        if (status != 304 && is_named(f, "Content-Length")) return at;
        if (is_named(f, "Connection") && !list_has(f.value, "upgrade")) return at;
        is_dated |= is_named(f, "Date");
        return put_field(at, f.name, f.value);
    }
};

/// The head of a client's request. Host is the target's authority (RFC 9112 3.2) or "localhost",
/// unless the caller set one: a path in it gets 400s from many servers, and an empty one is refused
/// by nginx. No expectation without content (RFC 9110 10.1.1). `more` are whole field lines.
inline void write_request_head(buffer& out, const request_state& req, const body_plan& plan,
                               string_view more = {}) {
    char* const first = out.room(128 + req.method.size() + req.target.size() * 2 +
                                 size_of(req.fields) + more.size()); // twice: Host may be of it
    char* at = put(put(put(put(first, req.method), " "), req.target), " HTTP/1.1\r\n");
    const string_view host = authority_of(req.target);
    if (!req.fields.contains("Host")) at = put_field(at, "Host", host.empty() ? "localhost" : host);
    for (const field& f : req.fields)
        if (!is_named(f, "Content-Length") && (plan.sends || !is_named(f, "Expect")))
            at = put_field(at, f.name, f.value);
    at = put(put(put_framing(at, plan), more), "\r\n");
    out.commit(static_cast<std::size_t>(at - first));
}

/// The line before a chunk's data (RFC 9112 7.1); its CRLF goes before the next one.
inline std::size_t put_chunk_size(char* at, std::uint64_t size) noexcept {
    static constexpr char hex[] = "0123456789abcdef";
    std::size_t count = 1;
    while (count < 16 && size >> 4 * count) ++count;
    for (std::size_t n = count; n-- > 0; size >>= 4) at[n] = hex[size & 15];
    at[count] = '\r', at[count + 1] = '\n';
    return count + 2;
}

inline void add_chunk(buffer& out, string_view data) {
    if (data.empty()) return;                              // an empty chunk would end the body
    out.commit(put_chunk_size(out.room(18), data.size())); // 16 digits and CRLF
    out.add(data);
    out.add("\r\n");
}

inline void add_last_chunk(buffer& out, const headers& trailers) {
    char* const first = out.room(5 + size_of(trailers)); // "0" and two line ends
    char* at = put(first, "0\r\n");
    for (const field& f : trailers) at = put_field(at, f.name, f.value);
    out.commit(static_cast<std::size_t>(put(at, "\r\n") - first));
}

// [9] ROUTER --------------------------------------------------------------------------------------
// A method and a path lead to a route, by one walk through a tree of segments: literals (all in one
// hash table), {x}, {x...}. Split first, then decode, so that %2F never makes a segment. Why there
// is no route is asked separately: a hit pays nothing for it. Pure; constant once running.

/// Passes over a segment; its hash goes on from that of what stood before it. FNV-1a: segments are
/// short, and which ones are in the table is up to the program, not to a peer.
inline std::uint32_t pass_segment(const char*& at, const char* end, std::uint32_t hash) noexcept {
    for (; at != end && *at != '/'; ++at)
        hash = (hash ^ static_cast<unsigned char>(*at)) * 16777619; // FNV's prime
    return hash;
}

struct route_node : counted {
    struct entry {
        string_view method; // "*": any
        route* to;
        row<string_view> names; // of the parameters, from the left
    };
    route_node* parent = nullptr;    // "b" of "/a/b" isn't "b" of "/c/b"; none: the root
    std::uint32_t hash = 2166136261; // FNV's offset basis
    std::string text;
    ref<route_node> next, open[2]; // the same bucket's; {x}, {x...}
    row<entry> entries;            // one for each method
};

class router {
public:
    /// `to` stays where it is. Errors: bad_pattern, naming the pattern and what is wrong with it.
    [[gnu::cold]] error add(route& to) {
        const string_view pattern = access::of(to).pattern, method = access::of(to).method;
        const char* fault = nullptr;
        if (pattern.empty() || pattern.front() != '/') fault = "starts with no /";
        else if (pattern.find_first_of("?#") != string_view::npos)
            fault = "has a query or fragment";
        else if (!is_decodable(pattern)) fault = "has a % without two hexadecimal digits";
        route_node* at = &root_;
        row<string_view> names;
        for (string_view rest = pattern; !fault && !rest.empty();) {
            rest.remove_prefix(1);
            string_view segment = rest.substr(0, rest.find('/'));
            rest.remove_prefix(segment.size());
            fault = descend(at, segment, rest.empty(), names);
        }
        for (const route_node::entry& e : at->entries)
            if (!fault && e.method == method) fault = "stands twice for one method";
        if (fault)
            return failed(errc::bad_pattern, std::string("route ").append(pattern) + " " + fault);
        at->entries.push_back({method, &to, std::move(names)});
        for (string_view served : {method, method == "GET" ? "HEAD" : method})
            if (served != "*" && !list_has(methods_, served)) list(served, methods_);
        return {};
    }

    /// Fills req.params with views of target and pattern. nullptr: refuse() says why.
    route* match(request_state& req) const {
        req.params.clear();
        if (req.path.front() != '/') return nullptr; // asterisk-form
        route* to = branch(root_, req.path.data() + 1, req);
        if (req.params.empty() || is_decodable(req.path)) return to; // refuse() makes that 400
        return req.params.clear(), nullptr;
    }

    /// The status where there is no route: 400, 404, 501; 405 and, for OPTIONS, 204 with `allow`.
    [[gnu::cold]] int refuse(request_state& req, std::string& allow) const {
        if (req.path == "*") return allow = methods_, 204; // RFC 9110 9.3.7: the server as a whole
        if (!is_decodable(req.path)) return 400;
        const string_view asked = req.method;
        for (string_view rest = methods_; !rest.empty();) {
            req.method = next_element(rest);
            if (match(req)) list(req.method, allow);
        }
        req.method = asked, req.params.clear();
        if (!allow.empty() && !list_has(allow, "OPTIONS")) list("OPTIONS", allow);
        if (!is_known_method(asked)) return 501;
        return allow.empty() ? 404 : asked == "OPTIONS" ? 204 : 405;
    }

    /// Known: 404 or 405, not 501 (RFC 9110 9.1). IANA's registry, and what Node's parser adds.
    static bool is_known_method(string_view method) {
        static constexpr string_view names =
            " ACL BASELINE-CONTROL BIND CHECKIN CHECKOUT COPY DELETE GET HEAD LABEL LINK LOCK "
            "M-SEARCH MERGE MKACTIVITY MKCALENDAR MKCOL MKREDIRECTREF MKWORKSPACE MOVE NOTIFY "
            "OPTIONS ORDERPATCH PATCH POST PROPFIND PROPPATCH PURGE PUT QUERY REBIND REPORT SEARCH "
            "SOURCE SUBSCRIBE TRACE UNBIND UNCHECKOUT UNLINK UNLOCK UNSUBSCRIBE UPDATE "
            "UPDATEREDIRECTREF VERSION-CONTROL ";
        std::string word(" ");
        return names.find(word.append(method) += ' ') != string_view::npos;
    }

private:
    static void list(string_view method, std::string& in) {
        in.append(in.empty() ? "" : ", ").append(method);
    }
    [[gnu::noinline]] static bool is_decodable(string_view path) noexcept {
        for (std::size_t at = path.find('%'); at != string_view::npos; at = path.find('%', at + 1))
            if (at + 2 >= path.size() || hex_digit(path[at + 1]) < 0 || hex_digit(path[at + 2]) < 0)
                return false;
        return true;
    }

    /// One segment of a pattern: finds or makes its node. Returns what is wrong with it.
    [[gnu::cold]] const char* descend(route_node*& at, string_view segment, bool last,
                                      row<string_view>& names) {
        const bool is_literal = segment.find_first_of("{}") == string_view::npos;
        const bool is_tail = segment.size() > 4 && segment.substr(segment.size() - 4) == "...}";
        if (!is_literal) {
            const bool is_whole = segment.front() == '{' && segment.back() == '}';
            const string_view name = segment.substr(1, segment.size() - (is_tail ? 5 : 2));
            if (!is_whole || !is_token(name) || name.find('.') != string_view::npos)
                return "has braces that are no whole {segment} with a proper name";
            for (string_view known : names)
                if (known == name) return "names a parameter twice";
            if (is_tail && !last) return "goes on after a {tail...}";
            names.push_back(name);
        }
        // Literals are compared as clients send them, like aiohttp's: /%65cho is not /echo, for
        // routes and for whoever filters paths in front. What no target may hold is %XX there.
        std::string sent;
        for (char c : segment)
            sent += is(c, target_byte) ? std::string(1, c) : percent_encode({&c, 1});
        const char* text = sent.data();
        const std::uint32_t hash = pass_segment(text, text + sent.size(), at->hash);
        ref<route_node>& to = is_literal ? literal(*at, sent, hash) : at->open[is_tail];
        if (!to) {
            to = new route_node;
            to->parent = at, to->hash = hash, to->text = std::move(sent);
        }
        at = to.get();
        return nullptr;
    }

    /// Where the node of a literal is, or would be.
    ref<route_node>& literal(const route_node& parent, string_view text, std::uint32_t hash) const {
        ref<route_node>* at = &buckets_[hash % std::size(buckets_)];
        while (*at && ((*at)->hash != hash || (*at)->parent != &parent || (*at)->text != text))
            at = &(*at)->next;
        return *at;
    }

    /// A literal that leads nowhere gives way to {x}, that to {x...}; no path enters a node twice.
    route* branch(const route_node& at, const char* first, request_state& req) const {
        const char *const end = req.path.data() + req.path.size(), *next = first;
        auto go_on = [&](const route_node& to) { // no deeper than the longest pattern
            return next == end ? arrive(to, req) : branch(to, next + 1, req);
        };
        const std::uint32_t hash = pass_segment(next, end, at.hash);
        if (const route_node* to = literal(at, view(first, next), hash).get())
            if (route* found = go_on(*to)) return found;
        for (bool is_tail : {false, true}) {
            if (!at.open[is_tail] || (!is_tail && next == first)) continue; // {x} is not empty
            if (is_tail) next = end;
            req.params.push_back({{}, view(first, next)});
            if (route* found = go_on(*at.open[is_tail])) return found;
            req.params.shrink(req.params.size() - 1);
        }
        return nullptr;
    }

    /// The path fits; does a route take the method? HEAD is served by GET (RFC 9110 9.3.2).
    static route* arrive(const route_node& at, request_state& req) {
        const route_node::entry* found = nullptr;
        int rank = 0, fits = 0;
        for (const route_node::entry& e : at.entries) {
            if (e.method == req.method) fits = 3;
            else fits = e.method == "*" ? 1 : e.method == "GET" && req.method == "HEAD" ? 2 : 0;
            if (fits > rank) found = &e, rank = fits;
        }
        if (!found) return nullptr;
        for (std::size_t i = 0; i < found->names.size(); ++i) req.params[i].name = found->names[i];
        return found->to;
    }

    route_node root_;
    mutable ref<route_node> buckets_[1024]; // of literals; chains of one among a thousand
    std::string methods_ = "OPTIONS";       // all of them, for the Allow of "*"
};

// Descriptors that ride on a message: a body as one sealed memfd (`Body-Fd: length=N`, with
// Content-Length: 0), then those that `Fds` names, in its order. The count must be exact. The
// README has the wire format.

/// Maps what a peer passed, if it can neither shrink nor change under us: a truncated file would be
/// a SIGBUS, and a memfd sealed with FUTURE_WRITE stays writable by its sender (fcntl(2)).
[[gnu::cold]] inline result<sealed_memory> map_received(unique_fd fd, std::uint64_t length) {
    constexpr int needed = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
    struct stat is {};
    int seals = ::fcntl(fd.get(), F_GET_SEALS); // -1, EINVAL: no memfd at all
    bool fits = seals >= 0 && (seals & needed) == needed && ::fstat(fd.get(), &is) == 0 &&
                static_cast<std::uint64_t>(is.st_size) == length;
    if (!fits) return failed(errc::bad_descriptor, "Body-Fd: no sealed memory of that length");
    return map_sealed(std::move(fd), static_cast<std::size_t>(length));
}

/// What a message announces against what came with it.
struct fd_claim {
    std::uint64_t max_body_bytes; // both limits are this side's options
    std::size_t max_count;
    sealed_memory body{};
    bool has_body = false;
    row<named_fd> named{}; // in the order of `Fds`

    static std::size_t announced(const headers& fields) noexcept {
        std::size_t count = 0;
        for (const field& f : fields) {
            if (is_named(f, "Body-Fd")) ++count; // a second one too: then the counts differ
            if (!is_named(f, "Fds")) continue;
            for (string_view rest = f.value; !rest.empty(); ++count) next_element(rest);
        }
        return count;
    }

    /// Takes all of `came`. Errors: bad_descriptor, too_large; then everything is closed.
    [[gnu::cold]] error take(const headers& fields, row<unique_fd> came) {
        has_body = fields.contains("Body-Fd");
        // First: each name is compared with all before it.
        if (announced(fields) != came.size() || came.size() - has_body > max_count)
            return failed(errc::bad_descriptor, "descriptors: not as many as announced or allowed");
        string_view rest = fields.get("Fds");
        for (std::size_t i = has_body; i < came.size(); ++i) { // too few: there are two such lines
            string_view name = next_element(rest);
            if (!is_token(name) || find_fd(named, name))
                return failed(errc::bad_descriptor, "Fds: a bad name");
            named.push_back({std::string(name), std::move(came[i])});
        }
        return has_body ? take_body(fields.get("Body-Fd"), std::move(came[0])) : error();
    }

private:
    [[gnu::cold]] error take_body(string_view value, unique_fd came) {
        const bool is_stated = drop_prefix(value, "length=");
        const auto length = take_number(value);
        if (!is_stated || !length || !value.empty())
            return failed(errc::bad_descriptor, "Body-Fd: no length");
        if (*length > max_body_bytes) return failed(errc::too_large, "Body-Fd");
        result<sealed_memory> mapped = map_received(std::move(came), *length);
        if (!mapped) return mapped.error();
        return body = *std::move(mapped), error();
    }
};

/// A field about descriptors, as a literal, where a program has set one: the library's to set.
inline const char* fds_field(const headers& fields) noexcept {
    static constexpr const char* names[] = {"Fds", "Body-Fd", "Accept-Body-Fd", "Accept-Fds"};
    for (const field& f : fields) // most messages have none
        for (const char* ours : names)
            if (is_named(f, ours)) return ours;
    return nullptr;
}
/// The names of `fds` as a field value.
inline std::string fd_names(const row<named_fd>& fds) {
    std::string names;
    for (const named_fd& f : fds) names.append(names.empty() ? "" : ", ").append(f.name);
    return names;
}

// [10] CONNECTION ---------------------------------------------------------------------------------
// One peer's life as a state machine: bytes in, bytes out, and the time as an argument. No syscall,
// but for the one write that wakes a loop when another thread has something for it, and release().
//
// A connection that idles owns nothing but its `conn`. What it needs for longer than one turn of
// the loop (half a message, an answer that found no room, an exchange answered later) is in its
// `box`. One exchange at a time: pipelined bytes wait unparsed, so answers keep their order.

/// How other threads reach a loop. Outlives it, so that posting is always harmless.
struct mailbox : counted {
    struct task {
        callback<void()> run;
        bool is_users; // never runs where no loop has run
    };
    void* at = nullptr;       // the loop; for tasks that run on it
    const void* of = nullptr; // its server
    mutex guard;              // of first, last, tasks and open
    ref<flow> first; // of the exchanges that have something for the loop, linked by flow::next:
    flow* last = nullptr;          // to post one allocates nothing, and can't fail
    row<task> tasks;               // run in order, after the exchanges
    unique_fd wake;                // eventfd, in the loop's epoll
    std::atomic<bool> full{false}; // so that a loop at work needs no lock to see that nothing came
    bool open = true;              // false: the loop has ended, nothing is taken
    bool is_ours = false;          // the loop's: something came from its own thread
    std::string spare;             // the loop's: memory for the next large piece of a stream

    /// Allocated anew, such memory is a page fault for every 4 KiB, again and again.
    void give_back(std::string& used) noexcept {
        used.clear();
        if (used.capacity() > spare.capacity() && used.capacity() <= (512 << 10)) spare.swap(used);
    }

    bool post(flow& from) noexcept;
    bool post(callback<void()> run, bool is_users = false) {
        hold lock(guard);
        if (open) tasks.push_back({std::move(run), is_users}), wake_up();
        return open;
    }
    bool is_open() noexcept { return hold(guard), open; } // held until that was read
    void take(ref<flow>& flows, row<task>& work) noexcept {
        hold lock(guard);
        flows = std::move(first), last = nullptr;
        work.swap(tasks);
        full.store(false, std::memory_order_release);
    }

private:
    void wake_up() noexcept;
};

/// The mailbox of the loop that this thread runs, while it runs user code.
inline mailbox*& this_loop() noexcept {
    static thread_local mailbox* current = nullptr;
    return current; // none: this thread may block
}

/// What hooks and on_exchange want to know of a request that may be gone by then.
struct about : counted {
    std::string method, target;
    std::uint64_t bytes_in = 0;
    std::int64_t started = 0; // us
    int status = 0;           // once there is an answer
};

/// What the users of an exchange want to hear of it. Set by any thread, run by the loop.
struct flow_callbacks {
    callback<void()> drained, closed, left; // left: the responder's
    callback<void(upgraded)> take_over;
    callback<void(string_view)> on_piece;
    callback<void(const error&)> on_done;
    callback<void(result<response>)> on_head; // a client's: the head, or the failure, once
};

/// An exchange that isn't over when its handler returns. User code of any thread writes into it and
/// posts it; its loop takes from it. What isn't marked as the loop's is guarded; callbacks leave
/// the flow while they run, and are destroyed without the guard: captures may own the flow's ends.
struct flow final : stream_base, flow_callbacks {
    enum class mode : unsigned char { none, whole, streamed, raw }; // none: not answered yet
    static constexpr std::size_t max_arrived = 256 << 10;           // then the sender is stopped

    const ref<mailbox> home;
    std::uint64_t id;                     // of the connection; the loop's
    const std::size_t max_queued;         // bytes; more is written::full
    mutex guard;                          // never held while user code runs
    condition changed;                    // for wait() and read(), on threads that are no loop
    request req = access::make_request(); // the loop's and the handler's
    std::uint64_t bytes_out = 0;          // the loop's
    bool finished = false; // the loop's: answered whole, so nobody can leave before that
    bool handled = false, in_queue = false; // no handler reads req any more; nor a worker, yet
    route* to = nullptr;                    // a worker's, while it is in the queue
    int fd = -1;                            // the connection's, while it is there
    std::string offered;                    // protocols that the client would switch to

    // out
    std::optional<response> answer;
    std::string interims_out;             // whole heads
    std::string queued;                   // not framed yet
    std::uint64_t may_write = UINT64_MAX; // else what is left of a Content-Length
    headers trailers_out;
    milliseconds heartbeat{0};
    std::int64_t beats_at = 0; // ms; the loop's. A call's: its body is held, at most so long
    mode how = mode::none;     // set once: a second answer is refused
    ref<flow> next;            // the mailbox's
    bool open = true, full = false, ended = false, is_cut = false, posted = false,
         is_events = false, end_sent = false, owes_drain = false, leaving = false,
         waits = false;         // the loop is sending some of it; some has no room
    bool is_nobodys = false;    // the answer: its responder was dropped
    bool is_stopped = false;    // events that stop() has ended: their writer hears it
    bool is_relays = false;     // the writer: it has paused its source; what comes then is taken
    bool keeps_drained = false; // on_drain() wasn't called in the one that runs

    // in
    std::string arrived;     // waits for a reader; little more than max_arrived
    std::string reading;     // what read() has taken of it,
    std::size_t read_at = 0; // and given up to here
    error why_in;            // once in_done: none, if it came whole
    std::string place; // of a body handed on by a client: which socket and request its errors name
    bool in_done = false, paused = false, wanted = false, reader_dropped = false, released = false;

    // the client's role
    std::size_t max_head_bytes = 0;
    std::int64_t progress = 0;           // ms, of the last bytes
    std::int64_t full_until = INT64_MAX; // ms: waits so long for a place in a full backlog
    unsigned interims = 0;               // more than 16 end the call
    bool may_upgrade = false, heard = false, reused = false, retried = false, refused = false;
    bool parted = false; // from its connection, whole: pause() has no sender to stop
    bool timed = false, used_up = false; // by its async_call, to the end; no body for a retry

    flow(ref<mailbox> loop, std::uint64_t connection, std::size_t limit)
        : home(std::move(loop)), id(connection), max_queued(limit) {}

    /// With the guard held.
    void post() {
        if (!std::exchange(posted, true) && !home->post(*this)) open = false;
    }
    /// With the guard held. Never look whole: a hole, an end too early, a writer that was dropped.
    void cut_off() {
        is_cut = true, open = false;
        post();
    }
    /// With the guard held. Its writer waits for more, though the answer may be whole: to a HEAD.
    bool is_unended() const noexcept { return how == mode::streamed && (!ended || is_stopped); }
    /// All of a stated length is on the wire; that it has ended is about to be said, elsewhere.
    bool lacks_end() noexcept { return hold(guard), !may_write && !end_sent && queued.empty(); }
    written state() const noexcept {
        return !open ? written::closed : full ? written::full : written::ok;
    }

    bool send(response res, mode kind, bool dropped = false) {
        content& body = access::of(res).body;
        own(body); // first: without memory there is no answer yet
        if (access::of(body).kind == access::kind::reader) {
            const ref<stream_base>& from = access::of(access::of(body).from->reader);
            if (from && !from->is_on_loop()) { // it would have to wait in read()
                body = content();
                extra_of(res).failed = failed(errc::bad_field, "a blocking client's reader");
            } else kind = mode::streamed;
        }
        hold lock(guard);
        if (!open || how != mode::none) return false;
        how = kind, is_nobodys = dropped;
        const headers& fields = access::of(res).fields; // Body-Fd: received, and dropped
        if (how == mode::streamed && !fields.contains("Body-Fd"))
            may_write = stated_length(fields, UINT64_MAX);
        answer.emplace(std::move(res));
        post();
        return open; // false: the loop has ended
    }

    written write(string_view bytes) override {
        hold lock(guard);
        if (!open || ended) return written::closed;
        if ((full && !is_relays) || bytes.size() > may_write) return cut_off(), written::closed;
        const bool is_large = queued.empty() && bytes.size() >= (64 << 10);
        if (is_large && this_loop() == home.get()) queued.swap(home->spare);
        queued.append(bytes); // first: it may throw
        if (may_write != UINT64_MAX) may_write -= bytes.size();
        full = queued.size() > max_queued, owes_drain = false;
        if (!bytes.empty()) post();
        return state();
    }
    /// Nothing for a reader who is behind: he has enough to see that the stream lives.
    void beat() {
        hold lock(guard);
        if (open && !ended && queued.empty()) queued.append(":\n\n"), post();
    }
    written wait(milliseconds timeout) override {
        if (this_loop()) return written::closed; // the loop would wait for itself
        deadline until = deadline::after(timeout);
        hold lock(guard);
        while (open && full && changed.wait(guard, until)) {
        }
        return state();
    }
    bool end(headers trailers) override {
        hold lock(guard);
        if (!open || ended) return false;
        bool is_good = may_write == 0 || may_write == UINT64_MAX; // else short of its length
        for (const field& f : trailers) is_good = is_good && may_trail(f.name);
        if (!is_good) return cut_off(), false;
        trailers_out = std::move(trailers);
        ended = true;
        post();
        return open;
    }
    void cut() override {
        hold lock(guard);
        if (open && !ended) cut_off(); // after end() there is nothing to cut
    }
    bool is_open() override { return hold(guard), open && !ended; } // held until that was read
    bool end_events() { // stopping: such clients come again. False: it has none
        const bool has_them = (hold(guard), is_events);
        return is_stopped = (has_them && end({})) || is_stopped, has_them;
    }
    void let_relay() noexcept { (void)hold(guard), is_relays = true; }
    bool leave_queue() noexcept { return hold(guard), std::exchange(in_queue, false); }
    void on_drain(callback<void()> act) override { install(drained, act); }
    void on_close(callback<void()> act) override { install(closed, act); }
    void install(callback<void()>& slot, callback<void()>& act) {
        hold lock(guard);
        if (&slot == &drained) keeps_drained = false;
        std::swap(slot, act);
        post(); // it may be drained, or closed, already. Without a loop a callback that is kept
        if (!home->is_open()) std::swap(slot, act); // could keep us, for ever
    }

    void on_data(callback<void(string_view)> piece, callback<void(const error&)> done) override {
        if (!piece) piece = [](string_view) {}; // it goes on to its end all the same
        hold lock(guard);
        unread();
        std::swap(on_piece, piece), std::swap(on_done, done);
        wanted = true;
        post();
        if (!home->is_open()) std::swap(on_piece, piece), std::swap(on_done, done);
    }
    void pause(bool stop) override {
        hold lock(guard);
        paused = stop;
        post(); // also for a pause: its deadline goes
    }
    result<std::size_t> read(char* into, std::size_t room) override {
        if (this_loop()) return failed(errc::would_block_loop, "body_reader::read");
        hold lock(guard);
        if (!std::exchange(wanted, true)) post();
        if (read_at == reading.size()) {
            while (arrive(), arrived.empty() && !in_done)
                changed.wait(guard, deadline());          // the loop has timers
            if (arrived.empty() && why_in) return why_in; // first what came before the cut
            reading.swap(arrived), arrived.clear(), read_at = 0;
            if (!reading.empty() && !in_done) post(); // there is room: the loop may read on
        }
        const std::size_t count = reading.copy(into, room, read_at);
        return read_at += count, count;
    }
    /// With the guard held: what read() has left is for others.
    void unread() {
        arrived.insert(0, reading, read_at, std::string::npos);
        reading.clear(), read_at = 0;
    }
    /// With the guard held.
    bool has_arrived() const noexcept {
        return !arrived.empty() || memory_at < memory.view().size();
    }
    bool is_held() const noexcept { return paused && !finished && !parted; }
    bool is_due() const noexcept { // all of it is here, and somebody waits for it
        return in_done && !why_in && on_piece && !is_held() && has_arrived();
    }
    void arrive() {
        if (arrived.empty() && has_arrived())
            arrived = memory.view().substr(memory_at, max_arrived), memory_at += arrived.size();
    }
    void drop_reader() override {
        hold lock(guard);
        reader_dropped = true;
        if (!in_done || !open || on_done) post();       // on_done: its call awaits that
        const auto piece = std::exchange(on_piece, {}); // what they capture may call us
        const auto done = std::exchange(on_done, {});
        lock.release();
    }
    raw_stream release() override {
        hold lock(guard);
        while (leaving && fd >= 0 && this_loop() != home.get()) changed.wait(guard, deadline());
        if (!open || fd < 0 || waits) return {unique_fd(), {}};
        iovec part{&queued[0], queued.size()};
        const ssize_t sent = queued.empty() ? 0 : transmit(fd, &part, 1);
        queued.erase(0, sent > 0 ? static_cast<std::size_t>(sent) : 0);
        if (!queued.empty()) return {unique_fd(), {}}; // it waits for room in the socket
        raw_stream out{unique_fd(duplicate(fd)), {}};  // the loop closes its own
        if (!out.fd) return out;
        unread(), out.already_read = std::move(arrived);
        if (ended) ::shutdown(fd, SHUT_WR);
        released = true, open = false;
        post();
        return out;
    }
    /// The loop's: the peer's bytes have ended, whole or not. The first end counts.
    void end_in(error why) {
        hold lock(guard);
        if (in_done) return;
        note_end(std::move(why));
        changed.notify_all();
        post();
    }
    /// With the guard held.
    void note_end(error why) noexcept {
        UDS_HTTP_TRY {
            if (why && !place.empty()) // it has a head: all was sent
                why = error(why.code(), place + std::string(place_of(why))), mark_sent(why, true);
        }
        UDS_HTTP_CATCH {} // no memory: it names no request
        why_in = std::move(why), in_done = true;
    }
    /// With the guard held. Pieces are lost: it isn't whole, whatever had come.
    void lose_in(error why) noexcept {
        note_end(std::move(why)), arrived.clear(), memory = {}, memory_at = 0;
    }
};

/// Written once however much is posted, and not by the loop itself, which looks before it sleeps.
inline void mailbox::wake_up() noexcept {
    if (this_loop() == this) is_ours = full = true;
    else if (!full.exchange(true)) ring(wake.get());
}
/// False: the loop has ended.
inline bool mailbox::post(flow& from) noexcept {
    hold lock(guard);
    if (!open) return false;
    (last ? last->next : first) = &from; // the list owns it, too
    last = &from;
    return wake_up(), true;
}
/// Takes the first off a list.
inline ref<flow> next_of(ref<flow>& list) noexcept {
    ref<flow> f = std::move(list);
    if (f) list = std::move(f->next);
    return f;
}

/// Where a client's connections of one loop come from and go back to.
struct call_pool : counted {
    const void* of = nullptr;                 // the client_core, for telling them apart
    virtual void freed(std::uint64_t id) = 0; // kept for the next call
    virtual bool turn() = 0; // at the end of each of the loop's; false: it leaves the list
    virtual void lost(std::uint64_t id) = 0;         // closed
    virtual bool retries(const ref<flow>& call) = 0; // sends it again elsewhere
    virtual void shut() = 0;                         // the loop ends
};

/// What a connection needs for longer than one turn of its loop.
struct box : counted {
    std::string in;  // not parsed yet: half a head, or requests behind the one at work
    std::string out; // waits for room in the socket, from out_at on
    content tail;    // a large body that follows `out`, from tail_at
    std::uint64_t tail_at = 0, tail_size = 0; // UINT64_MAX: until its source ends
    bool has_tail = false;
    ref<about> note;        // of the request that outlives its turn, where somebody listens
    row<unique_fd> fds;     // to pass on,
    std::size_t fds_at = 0; // with this byte of `out` or of the batch
    row<unique_fd> fds_in;  // came with the last byte of `in`
    body_decoder decoder;
    std::optional<request> req; // whose body is being collected
    route* to = nullptr;
    ref<flow> at_work;                   // the exchange that isn't over
    ref<call_pool> pool;                 // the client's role, and what takes
    bool (*reply)(void*) = nullptr;      // a dialog's bytes: who only serves links none of that
    body_plan plan;                      // of the tail, or of at_work's answer
    std::size_t parsed_bytes = 0;        // of `in`, when that was half a head
    std::uint64_t may_come = UINT64_MAX; // of a streamed body
    std::size_t out_at = 0, counted = 0; // in site::buffered
    int unread = 0;                      // by the peer, when that was looked at last

    bool has_output() const noexcept { return has_tail || !fds.empty(); }
    std::uint64_t tail_left() const noexcept { return tail_size - tail_at; }
    bool is_empty() const noexcept {
        return in.empty() && out.empty() && !has_output() && !at_work && !pool && !counted;
    }
};

enum class phase : unsigned char {
    head,    // between requests, or inside a head
    body,    // collecting a body
    discard, // of a request that is answered already
    stream,  // a body goes to its reader as it comes
    waiting, // for an answer
    raw,     // upgraded
    linger,  // of a refused request: whoever is still sending has to see the answer, then the end
    kept,    // the client's role: between calls
    reply,   // the head of an answer is awaited; its body is a `stream`
};

enum class timer : unsigned char { none, head, body, write, idle, count };

/// A connection: 56 bytes, all that it owns while it idles.
struct conn {
    ref<box> more;
    ref<card> who;                    // made at first use
    std::int64_t due = 0;             // of `clock`, in ms
    std::uint32_t index = 0;          // in the slab
    std::uint32_t prev = 0, next = 0; // in the list of that timer
    int fd = -1;                      // owned; -1: a free place
    std::uint32_t generation = 0;     // in its id: events meant for an earlier one find nobody
    uid_t uid = 0;                    // where connections per user are counted
    std::uint16_t door = 0;           // index in site::doors, or no_door
    phase at = phase::head;
    timer clock = timer::none;
    bool readable : 1;   // an edge was seen and not read to its end
    bool blocked : 1;    // the socket has no room: EPOLLOUT is asked for
    bool half : 1;       // the peer has shut its side: read on to the end of file
    bool retired : 1;    // or we have: inside of its send, perhaps
    bool hung_up : 1;    // both sides
    bool peer_done : 1;  // the end of file was read
    bool ends : 1;       // close once everything is sent
    bool shuts : 1;      // shutdown(SHUT_WR) once everything is sent
    bool gone : 1;       // close without sending
    bool persistent : 1; // RFC 9112 9.3, as of the exchange at work
    bool expects : 1;    // 100-continue has not been answered
    bool upgrades : 1;   // Connection: upgrade, of the request at work
    bool large : 1;      // SO_SNDBUF was raised
    bool forbidden : 1;  // by its door's rule: 403, whatever it asks
    bool head_only : 1;  // HEAD: its answer has no body
    bool old_version : 1;
    bool calls : 1;          // the client's role
    bool lingers : 1;        // once it ends
    bool is_mute : 1;        // nothing more is sent: a send has failed
    bool queued : 1;         // among those that go on after the others' turn
    bool served : 1;         // a request has come over it
    bool passed : 1;         // the client has passed a descriptor itself: no proxy stands between
    bool proved : 1;         // and one more than announced, as who asks does once
    bool wants_body_fd : 1;  // Accept-Body-Fd of the request at work
    unsigned char wants_fds; // Accept-Fds of it

    box& kept() {
        if (!more) more = new box;
        return *more;
    }
    flow* work() const noexcept { return more ? more->at_work.get() : nullptr; }
    bool has_output() const noexcept { return blocked || (more && more->has_output()); }
    /// Idles, and nothing is known against that.
    bool is_calm() const noexcept {
        return !more && at == phase::head &&
               !(blocked || hung_up || peer_done || ends || shuts || gone || lingers);
    }
    bool is_unused() const noexcept { // a CRLF behind a body, of old clients, begins no head
        return at == phase::head && (!more || more->in.empty() || more->in == "\r\n");
    }

    /// Bytes are kept, and not half a head; or the sender of a body waits for 100 Continue.
    bool has_unread() const noexcept {
        if (!more) return false;
        return (!more->in.empty() && more->parsed_bytes == 0) || (expects && at == phase::stream);
    }
    bool wants_body() const noexcept { // of the exchange at work
        flow& f = *work();
        hold lock(f.guard);
        if (f.reader_dropped && at == phase::raw) return !f.released; // who can't write won't read
        return f.wanted && !f.paused && !f.released && f.arrived.size() < flow::max_arrived;
    }
    /// Whether the peer's bytes could be used now; else the socket's full buffer stops the sender.
    bool wants_bytes() const noexcept {
        switch (at) {
        case phase::head: return !ends && !has_output(); // who reads no answers gets nothing done
        case phase::waiting: return false;               // what is pipelined stays in the socket
        case phase::stream:
        case phase::raw: return wants_body();
        default: return !ends;
        }
    }
    /// Which deadline it is under now.
    timer due_timer() const noexcept {
        const bool is_timed = at == phase::reply || (at == phase::stream && calls && work()->timed);
        if (has_output()) return is_timed ? timer::none : timer::write; // by async_call
        switch (at) {
        case phase::head: return is_unused() ? timer::idle : timer::head;
        case phase::linger: return timer::head;
        case phase::body:
        case phase::discard: return timer::body;
        case phase::stream: return !calls && wants_body() ? timer::body : timer::none;
        default: return timer::none; // waiting: handlers take their time; calls: async_call
        }
    }
};

/// What a loop lends to the connection it serves. Nothing in it outlives the turn.
struct desk {
    buffer out;                           // one batch of one connection's answers
    request req = access::make_request(); // lent to handlers: views of `in`
    std::optional<response> res;
    body_decoder decoder;
    head parsed;                    // the last one; views of `in`
    string_view in;                 // what of the read is not taken yet
    string_view room;               // what is read into: it stays until out has left
    row<unique_fd> fds;             // came with the last byte of `in`,
    const char* fds_from = nullptr; // in a read that began here
    std::int64_t now = 0, turn = 0; // ms, monotonic; when this turn began
    ref<about> note;                // of req, where somebody listens
    char date[40] = {};             // "Date: ...\r\n"
    std::int64_t (*micros)() = [] { return std::int64_t{0}; }; // a clock: read for who logs times
    std::int64_t (*ticks)() = [] { return std::int64_t{0}; };  // as `now`
    std::size_t whole = 0;                   // bytes of `out` that are whole answers
    std::uint64_t requests = 0, refused = 0; // since the start

    /// This turn has taken so long that the others should have theirs; it lags by 10 ms at most.
    bool is_late() const { return ticks() - turn >= 15; }
};

/// A listener's policy and name.
struct door : counted {
    listener at;
    std::optional<peer_rule> allow; // none: whoever may open the socket
    std::string name;
    bool is_ours = true; // not inherited or handed over
};

struct hook {
    callback<std::optional<response>(request&)> before;
    callback<void(const uds_http::exchange&, response&)> after;
};

/// What all connections of a server share. Constant while it runs, but for the counters.
struct site : counted {
    server_options options;
    head_limits limits{};
    router routes;
    row<hook> hooks;
    bool has_after = false;               // some hook has one: else no clock is asked
    std::atomic<bool> fds_blocked{false}; // by the kernel, for all connections of listeners
    callback<void(const uds_http::exchange&)> on_exchange;
    callback<void(string_view)> on_log;
    row<ref<door>> doors;
    callback<bool(ref<flow>, route&)> to_worker; // none: no workers; false: their queue is full
    std::atomic<std::size_t> buffered{0};        // bytes of bodies, of all loops
    std::atomic<std::size_t> left_jobs{0};       // in the workers' queue: nobody waits for them
    std::atomic<std::size_t> places{0};          // taken by connections, on their way to a loop too
    std::atomic<int> stops{0};                   // calls of stop(): one drains, a second cuts

    bool takes_fds() const noexcept {
        return seldom(options.max_body_fd_bytes > 0) || seldom(options.max_fds_count > 0);
    }
    bool is_observed() const noexcept { return seldom(bool(on_exchange)) || seldom(has_after); }
    bool stopping() const noexcept { return stops.load(std::memory_order_relaxed) > 0; }
    bool keeps_none() const noexcept {
        return seldom(stopping()) || seldom(options.idle_timeout.count() <= 0);
    }
    string_view name_of(std::size_t door) const noexcept { // adopted connections came by none
        return door < doors.size() ? string_view(doors[door]->name) : string_view();
    }
    [[gnu::cold]] void log(std::string line, const uds_http::peer& who) {
        line.append(" pid=").append(std::to_string(who.pid));
        log(line.append(" uid=").append(std::to_string(who.uid)));
    }
    void log(string_view line) {
        UDS_HTTP_TRY { on_log(line); }
        UDS_HTTP_CATCH {}
    }
    [[gnu::cold]] void log_thrown(const char* by) noexcept {
        UDS_HTTP_TRY {
            if (on_log) log(std::string(by) + ": " + thrown());
        }
        UDS_HTTP_CATCH {}
    }
};

/// A response of ours, worded as aiohttp words them.
[[gnu::cold]] inline response plain_status(int status, string_view why = {}) {
    std::string line = std::to_string(status);
    line.append(": ").append(reason_of(status));
    if (!why.empty()) line.append(" (").append(why).append(")");
    return text(std::move(line)).status(status);
}

/// Arguments of a handler, whatever its shape.
struct call {
    request& req;
    std::optional<response>* answer; // plain
    responder* later;
    body_reader* body; // streamed
};

/// Runs a handler that returns its answer, into `out`; 500 where it throws.
inline void run_plain(site& s, route& to, request& req, std::optional<response>& out) {
    call arguments{req, &out, nullptr, nullptr};
    UDS_HTTP_TRY { access::of(access::of(to).run).run(arguments); }
    UDS_HTTP_CATCH_OTHERS {
        s.log(access::of(to).pattern + ": handler threw: " + thrown(), req.peer());
    }
    if (!out) out.emplace(plain_status(500));
}

/// One connection, for as long as one call: takes bytes, runs handlers, leaves the answers in
/// desk::out and box::tail. In the client's role: takes a call, leaves its request there.
class dialog {
public:
    static constexpr std::size_t max_inline_body = 16 << 10;  // larger ones leave without a copy,
    static constexpr std::size_t max_last_body = 4 << 10;     // and the last one of a batch
    static constexpr std::size_t max_batch_bytes = 256 << 10; // of answers, before they are sent
    static constexpr std::size_t max_discarded_bytes = 64 << 10; // of a refused request's body

    dialog(site& s, desk& d, conn& c, std::uint64_t id, const ref<mailbox>& home) noexcept
        : s_(s), d_(d), c_(c), id_(id), home_(home) {}

    /// Answers every complete request in `in`; what remains is kept. True: there is more to do once
    /// the answers have left. What waited is taken again with the descriptors of its last byte.
    bool take(string_view in, bool waited = false) {
        d_.in = in;
        if (seldom(waited)) d_.fds.swap(c_.more->fds_in), d_.fds_from = in.data();
        bool goes_on = true;
        unsigned steps = 0; // 32: so seldom that the clock is free
        for (; goes_on && !c_.ends && d_.out.size() < max_batch_bytes; d_.whole = d_.out.size()) {
            ++steps; // 2, 4, 8, 16, 32, 64, 96, ...: a slow handler shows soon
            const bool looks = steps > 1 && ((steps & (steps - 1)) == 0 || steps % 32 == 0);
            if (looks && !d_.in.empty() && d_.is_late()) break;
            goes_on = usually(c_.at == phase::head) ? step_head() : step();
        }
        const bool again = goes_on && !c_.ends;
        if (c_.ends) d_.in = {};                            // what stands behind the last request
        if (s_.takes_fds()) state_of(d_.req).drop_passed(); // a pipe's reader waits for its end
        if (seldom(!d_.fds.empty()) && !keep_fds()) refuse_stray_fds();
        if (usually(!c_.more) && usually(d_.in.empty())) return again;
        c_.kept().in.assign(d_.in.data(), d_.in.size()); // the loop's buffer serves others now
        if (c_.at == phase::head && c_.more->is_empty()) c_.more = {};
        return again || (c_.more && c_.more->has_output() && !d_.in.empty());
    }

    /// A head or body was too slow: answers where an answer is due. Closing is the loop's.
    [[gnu::cold]] void time_out() {
        if (c_.at == phase::head) {
            forget_request(c_.more && c_.more->in.compare(0, 5, "HEAD ") == 0);
            refuse(408, "head too slow");
        } else if (c_.at == phase::body) refuse(408, "body too slow");
        else if (c_.at == phase::stream) fail_stream(failed(ETIMEDOUT, "body too slow"), 408);
        c_.ends = true;
    }

    /// The peer will send no more. True: close now.
    bool at_eof() {
        c_.peer_done = true;
        switch (c_.at) {
        case phase::head: return take_last(), !c_.ends; // cut short without a fault: no answer
        case phase::reply: take_last(), fail_call(failed(errc::cut_off, "response")); break;
        case phase::stream:
            if (c_.more->decoder.ends_at_eof()) finish_body({});
            else if (c_.retired) fail_stream(failed(errc::cut_off, "closing"), 503);
            else finish_body(failed(errc::cut_off, c_.calls ? "response body" : "request body"));
            break;
        case phase::raw: c_.more->at_work->end_in({}); break;
        case phase::waiting: break; // half-closed, and waits for its answer
        case phase::body: // nothing has been done; what is idempotent is sent again by itself
            if (c_.retired && (s_.stopping() || !is_idempotent(state_of(*c_.more->req).method)))
                return refuse(503, "closing"), false;
            [[fallthrough]];
        default: return !(c_.ends = c_.has_output()); // nobody waits but for earlier answers
        }
        return false;
    }

    /// What dripped in and was not worth parsing: its faults are those of what comes at once.
    void take_last() {
        if (!c_.more) return;
        const std::string last = std::move(c_.more->in);
        c_.more->parsed_bytes = 0;
        take(last);
    }

    /// The exchange at work has news from its user: sends and delivers what can be. `f` is held by
    /// the caller; c_ stays valid, since nothing that a callback can call closes a connection.
    template <class F> void settle(flow& f, F flush) {
        push_out(f);
        flush(); // first: whoever takes the connection over finds that all of it has left
        if (c_.at == phase::raw && !c_.has_output()) open_raw(*c_.work());
        if (c_.work() == &f) hand_in(f); // push_out() may have ended it
        tell_drained(f);
        if (c_.calls && c_.work() == &f) end_call(f);
    }
    /// Its connection has gone, or serves others: who waits for a body that is here has it first.
    void part_with(flow& f) { hand_in(f), abandon(s_, f, failed(errc::cut_off, "connection")); }

    /// The peer of an upgraded connection reads no more; what came of it still may be read.
    void close_out(flow& f) {
        hold lock(f.guard);
        f.open = false;
        callback<void()> closed = std::exchange(f.closed, {});
        f.changed.notify_all();
        lock.release();
        UDS_HTTP_TRY { closed(); }
        UDS_HTTP_CATCH { fail_user(f); }
    }

    /// The connection ends under its exchange. An upgraded one does so in order. `ours`: why, where
    /// it isn't the peer who ends it.
    [[gnu::cold]] void tell_cut(const error& ours) {
        const error why = ours ? ours : failed(errc::cut_off, "connection");
        UDS_HTTP_TRY {
            if (ours && (c_.has_output() || c_.work() || c_.at == phase::body))
                s_.log("cut: " + ours.message(), who().who);
        }
        UDS_HTTP_CATCH {}
        tell_tail(why);
        if (c_.at == phase::body) tell(0, ours ? ours : failed(errc::cut_off, "request body"));
        if (!c_.work()) return;
        flow& f = *c_.work();
        const bool is_released = (hold(f.guard), f.released);
        const bool is_over = is_released || (f.end_sent && f.in_done && !f.why_in);
        tell(f.bytes_out, is_over ? error() : why);
    }

    /// A body that is a tail has left, or never will: only now it's known how much of it did.
    void tell_tail(const error& why) {
        if (c_.more && c_.more->has_tail && c_.more->note) tell(c_.more->tail_at, why);
    }
    void end_tail() { // it has left
        tell_tail(error());
        c_.more->has_tail = false, c_.more->tail = content();
        count(0);
    }

    /// The connection is gone under its exchange, or the exchange was never at work.
    [[gnu::cold]] static void abandon(site& s, flow& f, error why) {
        hold lock(f.guard);
        f.fd = -1, f.open = false, f.changed.notify_all();    // who wakes waits for the guard
        if (f.is_due() && f.home->is_open()) return f.post(); // since hand_in(): once more
        const bool tells_closed = !f.finished || f.is_unended();
        if (!f.in_done || (f.on_piece && f.has_arrived())) f.lose_in(why);
        why = f.why_in ? f.why_in : why;
        flow_callbacks all = std::exchange(static_cast<flow_callbacks&>(f), {});
        const std::optional<response> answer = std::exchange(f.answer, {}); // may own what owns `f`
        content body;                                                       // as well
        std::string().swap(f.queued);  // a writer that is kept keeps no bytes
        if (f.handled || f.in_queue) { // no handler reads it; it is counted no more
            state_of(f.req).fds.clear(), body = detail::take(state_of(f.req).body);
            s.left_jobs += std::exchange(f.in_queue, false);
        }
        lock.release();
        const auto tell = [&s](auto& act, const auto&... what) { // each, though another one throws
            UDS_HTTP_TRY { act(what...); }
            UDS_HTTP_CATCH { s.log_thrown("callback"); }
        };
        if (all.on_head) tell(all.on_head, why);
        if (all.on_done) tell(all.on_done, f.why_in);
        if (all.closed && tells_closed) tell(all.closed);
        if (all.left && !f.finished) tell(all.left);
    }

    // -- the client's role

    /// Sends a request, whose answer settles `f`.
    void ask(const ref<flow>& f) {
        request_state& r = state_of(f->req);
        box& b = c_.kept();
        b.plan = plan_request(r), b.at_work = f;
        b.reply = [](void* at) { return static_cast<dialog*>(at)->step_reply(); };
        c_.at = phase::reply, c_.head_only = r.method == "HEAD",
        c_.persistent = !says_close(r.fields);
        f->fd = c_.fd; // for release()
        write_request_head(d_.out, r, b.plan);
        c_.expects = b.plan.sends && equal_nocase(r.fields.get("Expect"), "100-continue");
        if (b.plan.sends && !c_.expects) send_request_body();
    }

    /// At once, or after 100 Continue, or a second (RFC 9110 10.1.1: not indefinitely).
    void send_request_body() {
        flow& f = *c_.work();
        request_state& r = state_of(f.req);
        const body_plan plan = c_.more->plan;
        const auto& s = access::of(r.body);
        c_.expects = false, f.beats_at = 0;
        if (s.kind == access::kind::reader) {
            f.how = flow::mode::streamed, f.used_up = true; // read once: no retry
            if (plan.how == framing::length) f.may_write = plan.length;
            return pass_on(f, r.body);
        }
        content body = content::literal(bytes_of(r.body)); // the request keeps its own, for a retry
        if (!is_in_memory(r.body)) access::of(body).from = s.from, access::of(body).kind = s.kind;
        send_body(body, plan);
    }

    /// Ends a call, and its connection, with an error.
    [[gnu::cold]] void fail_call(error why) {
        c_.gone = c_.ends = true; // what may still come would answer the next call
        flow& f = *c_.work();
        hold lock(f.guard);
        if (!f.in_done) f.lose_in(std::move(why));
    }

    // -- answers

    /// A whole answer: a small body goes into the batch, a large one is the tail that follows it.
    void answer(response&& res, bool is_hooked = false) {
        body_plan plan;
        if (s_.keeps_none() && d_.in.empty() && !c_.work()) c_.persistent = false; // RFC 9112 9.6
        open_answer(res, false, plan, is_hooked);
        if (seldom(!c_.persistent)) c_.ends = true, c_.lingers |= c_.at == phase::discard;
        if (plan.sends) send_body(access::of(res).body, plan);
        if (!s_.is_observed()) return;
        if (c_.more && c_.more->has_tail) return keep_note();
        tell(plan.sends ? plan.length : 0, error());
    }

    /// Never inside an answer that has begun, nor where nobody waits for one.
    [[gnu::cold]] void refuse_fds() {
        const error bad = failed(errc::bad_descriptor, "descriptors that no message asked for");
        if (c_.calls && c_.work()) return fail_call(bad);
        if (c_.calls || c_.at == phase::raw) return void(c_.gone = c_.ends = true);
        if (c_.at == phase::discard || c_.at == phase::linger) // it has its answer
            return void(c_.ends = true);
        if (!c_.work()) return refuse(400, place_of(bad));
        fail_stream(bad, 400);
    }

    /// They came with no request that is known, and its bytes may be lost.
    [[gnu::cold]] void refuse_stray_fds() {
        if (c_.at == phase::head && c_.has_output()) return void(c_.ends = true); // behind it
        if (c_.at == phase::head) forget_request();
        refuse_fds();
    }

    [[gnu::cold]] void refuse(int status, string_view why) {
        c_.persistent = false, c_.lingers = true; // its other bytes would be taken for requests
        note(status, why);
        answer(plain_status(status, why));
        if (c_.at == phase::body) c_.at = phase::discard;    // it has its answer
        (void)detail::take(state_of(d_.req).body), count(0); // megabytes, perhaps
    }

private:
    bool step() {
        switch (c_.at) {
        case phase::body: return unpark(), collect(*c_.more->to);
        case phase::discard: return step_discard();
        case phase::linger: return d_.in = {}, false;
        case phase::stream: return step_stream();
        case phase::raw:
            if (d_.in.empty()) return false;
            return hand_in(*c_.more->at_work, std::exchange(d_.in, {})), false;
        case phase::reply: return c_.more->reply(this);
        case phase::kept: return c_.ends = !d_.in.empty(), false; // nobody asked for anything
        default: return false;
        }
    }

    bool step_reply() {
        if (d_.in.empty()) return false;
        flow& f = *c_.work();
        f.heard = true, f.progress = d_.now;
        if (!is_worth_parsing(d_.in, c_.more->parsed_bytes, f.max_head_bytes)) return false;
        const head_limits limits{f.max_head_bytes, 0, max_response_fields}; // 0: there is no target
        response res;
        headers& fields = access::of(res).fields;
        field* room = open_fields(fields, limits.max_fields_count);
        const head& h = d_.parsed;
        parsed at = parse_response_head(d_.in, limits, f.req.method(), room, d_.parsed);
        c_.more->parsed_bytes = at == parsed::more ? d_.in.size() : 0;
        if (at == parsed::more) return false;
        if (at == parsed::done && h.status == 101 && !c_.has_output() && f.lacks_end())
            return c_.at = phase::waiting, false; // for finish(): nothing is read meanwhile
        const errc fault = h.status == 431 ? errc::too_large : errc::bad_message;
        if (at == parsed::bad) return fail_call(failed(fault, h.why)), false;
        close_fields(fields, h.fields_count, true);
        d_.in.remove_prefix(h.size);
        if (h.status / 100 == 1 && h.status != 101) { // RFC 9110 15.2: not for ever
            auto& act = state_of(f.req).on_interim;
            if (h.status == 100 && c_.expects) send_request_body();
            UDS_HTTP_TRY { h.status != 100 ? act(res.status(h.status)) : void(); }
            UDS_HTTP_CATCH { fail_user(f); }
            return ++f.interims <= 16 ||
                   (fail_call(failed(errc::bad_message, "too many 1xx")), false);
        }
        if (fd_claim::announced(fields)) // never an empty body for one
            return fail_call(failed(errc::bad_descriptor, "descriptors, unasked")), false;
        if (h.status == 101 && !(f.may_upgrade && is_offered(state_of(f.req).fields, fields)))
            return fail_call(failed(errc::bad_message, "101 that nobody asked for")), false;
        const bool is_streamed = f.how == flow::mode::streamed;
        if (h.status == 101 && (c_.expects || c_.has_output() || (is_streamed && !f.end_sent)))
            return fail_call(failed(errc::bad_message, "101 inside of a request")), false;
        res.status(h.status).headers() = fields; // a copy, out of the loop's buffer
        c_.persistent = c_.persistent && h.persistent && !c_.expects; // its body is due
        c_.expects = false, f.beats_at = 0, f.refused = h.status >= 400;
        tell_head(f, std::move(res));
        return true;
    }

    void tell_head(flow& f, response res) {
        const head h = d_.parsed;
        c_.at = h.status == 101 ? phase::raw : phase::stream;
        c_.more->decoder.start(h.how, h.length, {f.max_head_bytes, 0, max_response_fields},
                               &res.headers()); // first: whoever is told is taken out below
        hold lock(f.guard);
        if (h.status == 101) { // writing begins anew, as the other protocol
            f.how = flow::mode::raw, f.ended = f.end_sent = false, f.may_write = UINT64_MAX;
            f.arrived.append(std::exchange(d_.in, {})); // release() passes it on
        }
        callback<void(result<response>)> act = std::exchange(f.on_head, {});
        lock.release();
        if (c_.more->has_tail) // of the request, which drops it now
            c_.more->tail = std::move(state_of(f.req).body);
        UDS_HTTP_TRY { act(std::move(res)); }
        UDS_HTTP_CATCH { fail_user(f); }
        if (c_.at == phase::stream && h.how == framing::none) finish_body({});
    }

    /// The answer has been read and handed on: the connection goes back, if it is fit for it.
    void end_call(flow& f) {
        hold lock(f.guard);
        if (c_.at == phase::raw || (!f.reader_dropped && (!f.in_done || f.on_done))) return;
        const bool is_whole = f.in_done && !f.why_in; // and since settle() another loop may end it:
        const bool has_output = c_.has_output() || (f.ended && !f.end_sent && !c_.is_mute);
        const bool is_open = f.how == flow::mode::streamed && !f.ended; // for more to send
        // Who answers early may read on, unless it refuses. The user's code is asked no more.
        const bool goes_on = is_whole && has_output && !is_open && !f.refused;
        if (goes_on && access::of(c_.more->tail).kind <= access::kind::file) return;
        if (!is_whole) c_.persistent = false; // more of it may come
        f.open = false, f.fd = -1, f.parted = is_whole;
        lock.release();
        if (!c_.persistent || has_output || is_open || c_.peer_done || !c_.more->in.empty())
            return void(c_.ends = c_.gone = true);
        c_.at = phase::kept;
        c_.more->at_work = {}, (void)detail::take(c_.more->tail); // with its memory
        c_.more->pool->freed(id_);
    }

    // -- requests

    [[gnu::always_inline]] bool step_head() {
        if (seldom(d_.in.empty()) || c_.has_output()) return false;
        if (seldom(bool(c_.more))) { // half of it has been looked at, perhaps
            const std::size_t before = c_.more->parsed_bytes;
            if (!is_worth_parsing(d_.in, before, s_.limits.max_head_bytes)) return false;
            c_.more->parsed_bytes = 0;
        }
        request_state& req = state_of(d_.req);
        field* fields = open_fields(req.fields, s_.limits.max_fields_count);
        const parsed at = parse_request_head(d_.in, s_.limits, fields, d_.parsed);
        if (seldom(at == parsed::more)) return c_.kept().parsed_bytes = d_.in.size(), false;
        if (at == parsed::bad) {
            forget_request(d_.parsed.method == "HEAD");
            return refuse(d_.parsed.status, d_.parsed.why), false;
        }
        const char* first = d_.in.data();
        d_.in.remove_prefix(d_.parsed.size);
        close_fields(req.fields, d_.parsed.fields_count);
        begin(req, first);
        return c_.at != phase::head || !d_.in.empty();
    }

    /// For those who are told of a refusal: no request is certain. The last one on this desk may
    /// have been another connection's, and its bytes are gone.
    [[gnu::cold]] void forget_request(bool is_head = false) {
        request_state& r = state_of(d_.req);
        r.reset(), r.method = r.target = {};
        c_.head_only = is_head, c_.old_version = false;
        if (s_.is_observed()) take_note();
    }

    [[gnu::always_inline]] void begin(request_state& req, const char* first) {
        const head& h = d_.parsed;
        ++d_.requests;
        c_.served = true;
        req.reset();
        req.method = h.method, req.version = h.version;
        req.split(h.target);
        req.borrowed = true, req.fd = c_.fd;                  // views of the read buffer
        if (seldom(!(req.from == c_.who))) req.from = c_.who; // comparing spares two atomics
        req.listener = s_.name_of(c_.door);
        c_.head_only = h.method == "HEAD", c_.old_version = h.version == 10;
        c_.persistent = h.persistent;
        c_.expects = h.expect_continue, c_.upgrades = h.upgrade;
        if (s_.is_observed()) take_note();
        // No tunnels (RFC 9110 9.3.6): what follows a CONNECT would be parsed as requests.
        if (h.method == "CONNECT" && !c_.forbidden) return refuse(501, "CONNECT");
        c_.wants_body_fd = false, c_.wants_fds = 0;
        if ((s_.takes_fds() || seldom(h.names_fds)) && !claim_fds(req, first)) return;
        if (seldom(h.how != framing::none))
            d_.decoder.start(h.how, h.length, s_.limits, &req.fields);
        route* const to = s_.routes.match(req);
        const bool is_early = screen(to);
        keep_card(); // a hook may keep the request, and ask later
        if (seldom(is_early)) {
            if (!skip_body()) c_.persistent = false, c_.lingers = true;
            return answer_plain();
        }
        const bool is_streamed = access::of(access::of(*to).run).shape == access::shape::streamed;
        if (usually(h.how == framing::none) && usually(!is_streamed)) return dispatch(*to);
        if (h.how != framing::none) state_of(d_.req).drop_body(); // a hook's
        else d_.decoder.start(h.how, 0);
        if (is_streamed) return start_stream(*to);
        collect(*to);
    }

    /// The kernel is asked once who it is; the card is told when the connection ends.
    void keep_card() noexcept {
        const auto& from = state_of(d_.req).from; // not of a request that a hook has replaced
        if (seldom(bool(from)) && !(c_.who == from)) c_.who = from;
    }
    [[gnu::always_inline]] void answer_plain() {
        keep_card();
        if (access::of(access::of(*d_.res).body).kind == access::kind::reader) answer_passed();
        else answer(std::move(*d_.res));
        d_.res.reset();
    }

    /// Everything that can answer before a body is read. True: d_.res is the answer.
    [[gnu::always_inline]] bool screen(route* to) {
        if (c_.forbidden) {
            c_.persistent = false;
            return refuse_early(403, "not on the listener's list");
        }
        if (seldom(!s_.hooks.empty()) && run_hooks())
            return true; // they see what becomes a 404, too
        if (!to) return answer_no_route();
        const auto& r = access::of(*to);
        if (r.allowed && !r.allowed->admits(d_.req.peer()))
            return refuse_early(403, "not on the route's list");
        bool is_over = d_.parsed.how == framing::length && d_.parsed.length > limit_of(*to);
        is_over |= r.body_limit && d_.req.body().size() > *r.body_limit; // of Body-Fd
        return is_over && refuse_early(413, "body over the limit");      // and no 100 Continue
    }
    [[gnu::noinline]] bool run_hooks() {
        for (hook& h : s_.hooks)
            if (h.before && run_before(h)) return true;
        return false;
    }
    std::uint64_t limit_of(route& to) const noexcept {
        const auto& r = access::of(to);
        if (r.body_limit) return *r.body_limit;
        return access::of(r.run).shape == access::shape::streamed ? UINT64_MAX
                                                                  : s_.options.max_body_bytes;
    }
    bool run_before(hook& h) {
        UDS_HTTP_TRY { d_.res = h.before(d_.req); }
        UDS_HTTP_CATCH_OTHERS {
            s_.log_thrown("hook");
            d_.res = plain_status(500);
        }
        return d_.res.has_value();
    }
    [[gnu::cold]] bool refuse_early(int status, string_view why) {
        note(status, why);
        return d_.res = plain_status(status), true;
    }
    [[gnu::cold]] bool answer_no_route() {
        std::string allow;
        const int status = s_.routes.refuse(state_of(d_.req), allow);
        d_.res = status == 204 ? response(204) : plain_status(status);
        if (status == 400) note(400, "a bad target"), c_.persistent = false, c_.lingers = true;
        if (status == 204 || status == 405) d_.res->header("Allow", allow); // RFC 9110 15.5.6
        return true;
    }

    /// Answered before its body came. False: the rest can't be passed over, so the connection ends.
    bool skip_body() {
        const head& h = d_.parsed;
        if (h.how == framing::none) return true;
        parsed at = pass_over(d_.decoder, d_.in);
        if (at == parsed::done) return true;
        // Whoever waits for 100 may never send the body, or send it at once: RFC 9110 10.1.1.
        if (at == parsed::bad || c_.expects || h.how != framing::length ||
            h.length > max_discarded_bytes) // a new connection costs less
            return false;
        c_.kept().decoder = d_.decoder;
        c_.at = phase::discard;
        return true;
    }
    static parsed pass_over(body_decoder& decoder, string_view& in) {
        string_view piece;
        parsed at = parsed::more;
        do at = decoder.next(in, piece);
        while (at == parsed::more && !piece.empty());
        return at;
    }
    bool step_discard() {
        parsed at = pass_over(c_.more->decoder, d_.in);
        if (at == parsed::more) return false;
        c_.at = phase::head;
        if (at == parsed::bad || (!d_.fds.empty() && d_.in.empty())) c_.ends = true;
        return true;
    }

    /// Reads a body to its end and calls the handler. One that came whole is not copied.
    bool collect(route& to) {
        request_state& r = state_of(d_.req);
        const std::uint64_t limit = limit_of(to);
        for (;;) {
            string_view piece;
            parsed at = d_.decoder.next(d_.in, piece);
            if (at == parsed::bad) return refuse(400, d_.decoder.why()), false;
            if (!add_piece(r, piece, at == parsed::done)) return refuse(503, "memory"), false;
            const std::size_t size = bytes_of(r.body).size();
            if (d_.note) d_.note->bytes_in = size;
            if (size > limit || d_.decoder.left() > limit - size) // also what is to come
                return refuse(413, "body over the limit"), false;
            if (at == parsed::done) break;
            if (piece.empty()) return count(size) ? park(to) : refuse(503, "memory"), false;
        }
        c_.at = phase::head;
        if (c_.more) c_.more->req.reset();
        return dispatch(to), true;
    }

    /// A view while the body is one piece of the loop's buffer, a string of ours after that.
    bool add_piece(request_state& r, string_view piece, bool is_last) {
        if (piece.empty()) return true;
        auto& body = access::of(r.body);
        const bool is_first = body.text.empty() && r.borrowed;
        if (is_first && is_last) return body.view = piece, body.kind = access::kind::lent, true;
        const std::uint64_t stated = d_.decoder.left() + piece.size();
        if (is_first) // believed for 1 MiB ahead
            body.text.reserve(static_cast<std::size_t>(std::min<std::uint64_t>(stated, 1 << 20)));
        body.text.append(piece);
        return body.text.size() <= (64 << 10) || count(body.text.size()); // less: when it waits
    }

    /// The body goes on in a later turn: the request moves to memory of its own.
    void park(route& to) {
        if (c_.expects) d_.out.add("HTTP/1.1 100 Continue\r\n\r\n");
        c_.expects = false;
        box& b = c_.kept();
        keep_note();
        if (c_.at == phase::body) std::swap(access::of(d_.req), access::of(*b.req)); // back again
        else b.req = std::move(d_.req);
        state_of(*b.req).fd = c_.fd; // still this connection's, for who asks for its peer
        b.decoder = std::move(d_.decoder), b.to = &to;
        c_.at = phase::body;
    }
    void unpark() { // `req` has the desk's own meanwhile
        std::swap(access::of(d_.req), access::of(*c_.more->req));
        d_.decoder = std::move(c_.more->decoder), d_.note = std::move(c_.more->note);
    }

    /// Keeps the sum of all bodies in memory under its limit. False: over it.
    bool count(std::size_t now) {
        const std::size_t before = c_.more ? c_.more->counted : 0;
        if (now == before) return true;
        const std::size_t total = s_.buffered.fetch_add(now - before) + now - before;
        c_.kept().counted = now;
        return now < before || total <= s_.options.max_buffered_bytes;
    }

    [[gnu::always_inline]] void dispatch(route& to) {
        if (!d_.fds.empty() && d_.in.empty()) return refuse_fds(); // came with its body
        const auto& r = access::of(to);
        const bool is_plain = access::of(r.run).shape == access::shape::plain;
        if (seldom(!is_plain) || (seldom(bool(s_.to_worker)) && !r.stays_on_loop))
            return start_later(to, is_plain);
        const std::size_t size = d_.req.body().size(); // the answer may take it
        run_plain(s_, to, d_.req, d_.res);
        answer_plain();
        if (usually(!c_.more)) return;
        (void)detail::take(state_of(d_.req).body); // megabytes, perhaps
        hold_for_tail(size);
    }
    /// The body is held no more, but for what an answer may have of it that waits for its reader.
    void hold_for_tail(std::size_t size) {
        const content& tail = c_.more->tail; // empty where there is none
        const bool holds = access::of(tail).kind != access::kind::view || access::of(tail).from;
        count(holds ? std::min(size, bytes_of(tail).size()) : 0);
    }

    ref<flow> make_flow() {
        ref<flow> f(new flow(home_, id_, s_.options.max_write_buffer_bytes));
        (void)d_.req.peer(); // the connection may be gone when it is asked for
        c_.who = state_of(d_.req).from;
        keep_note();
        f->req = std::move(d_.req); // copies what is the loop's
        request_state& r = state_of(f->req);
        c_.who->tag = r.tag, r.tag_slot = &c_.who->tag;
        for (const field& one : r.fields) // RFC 9110 5.3
            if (c_.upgrades && is_named(one, "Upgrade")) f->offered.append(one.value) += ',';
        f->fd = c_.fd;
        return c_.kept().at_work = f, f;
    }

    void start_later(route& to, bool is_plain) {
        const request_state& r = state_of(d_.req); // whose body is to be held meanwhile
        if (!count(memory_of(r.body) ? 0 : bytes_of(r.body).size())) return refuse(503, "memory");
        ref<flow> f = make_flow();
        c_.at = phase::waiting;
        if (!is_plain) return run_with(f, to, nullptr);
        if (s_.to_worker(f, to)) return;
        note(503, "too many requests wait for a worker");
        f->send(plain_status(503).header("Retry-After", "1"), flow::mode::whole);
    }
    void start_stream(route& to) {
        ref<flow> f = make_flow();
        c_.more->decoder = d_.decoder, c_.more->may_come = limit_of(to);
        c_.at = phase::stream;
        const auto& passed = access::of(state_of(f->req).body).from;
        if (passed) f->memory = passed->memory; // Body-Fd, to who reads a stream
        if (d_.parsed.how == framing::none) finish_body({});
        body_reader body = access::make<body_reader>(ref<stream_base>(f.get()));
        run_with(f, to, &body);
    }
    /// What the handler does not move away is dropped here: unanswered, that is a 500.
    void run_with(const ref<flow>& f, route& to, body_reader* body) {
        responder later = access::make<responder>(f);
        call arguments{f->req, nullptr, &later, body};
        UDS_HTTP_TRY { access::of(access::of(to).run).run(arguments); }
        UDS_HTTP_CATCH_OTHERS {
            s_.log(access::of(to).pattern + ": handler threw: " + thrown(), who().who);
            f->send(plain_status(500), flow::mode::whole); // its responder may live on elsewhere
            hold lock(f->guard);                           // or was dropped by that; or its writer
            f->is_nobodys = false;
            if (f->open && f->is_unended()) f->cut_off();
        }
        f->handled = true;
    }

    // -- descriptors

    /// Descriptors belong to the message of the last byte that came with them, and it must have
    /// begun in that read. False: refused.
    bool claim_fds(request_state& req, const char* first) {
        row<unique_fd> came;
        if (c_.more && !c_.more->fds_in.empty()) came.swap(c_.more->fds_in);
        else if (!d_.fds.empty() && first >= d_.fds_from && is_last()) came.swap(d_.fds);
        if (!d_.fds.empty() && is_last()) return refuse_fds(), false; // behind its first byte
        const std::size_t announced = fd_claim::announced(req.fields);
        if (came.empty() && announced == 0 && !c_.passed) return true;
        string_view wished = req.fields.get("Accept-Fds");
        const std::uint64_t number = take_number(wished).value_or(0);
        c_.wants_fds = static_cast<unsigned char>(number > 253 ? 253 : number); // SCM_MAX_FD
        c_.wants_body_fd = req.fields.get("Accept-Body-Fd") == "1";
        const bool is_proof =
            (c_.wants_fds || c_.wants_body_fd) && !c_.proved && came.size() == announced + 1;
        c_.proved = c_.proved || is_proof;
        c_.passed = c_.passed || !came.empty();     // for good: no proxy forwards a descriptor
        if (is_proof) came.shrink(came.size() - 1); // any descriptor: only that it came counts
        if (!c_.passed) c_.wants_fds = 0, c_.wants_body_fd = false; // a proxy would lose them
        fd_claim claim{s_.options.max_body_fd_bytes, s_.options.max_fds_count};
        error bad = claim.take(req.fields, std::move(came));
        if (!bad && claim.has_body && d_.parsed.how != framing::none)
            bad = failed(errc::bad_descriptor, "Body-Fd beside a body");
        if (bad) return refuse(bad == errc::too_large ? 413 : 400, place_of(bad)), false;
        req.fds = std::move(claim.named);
        if (claim.has_body) req.body = content(std::move(claim.body));
        return true;
    }
    /// Whether the message just parsed holds the last byte of `in`.
    bool is_last() const {
        if (d_.parsed.how != framing::chunked) return d_.in.size() <= d_.parsed.length;
        body_decoder probe;
        probe.start(framing::chunked, 0);
        string_view rest = d_.in;
        (void)pass_over(probe, rest);
        return rest.empty();
    }
    /// Those of a head that is not whole yet wait for it, or behind the request at work; no more of
    /// them than it may announce, with a body's and the proof.
    bool keep_fds() {
        row<unique_fd> came = std::exchange(d_.fds, {});
        const bool waits = c_.at == phase::head || c_.at == phase::waiting ||
                           (c_.at == phase::stream && !c_.calls); // perhaps behind its body
        bool fits = waits && !c_.ends && !d_.in.empty() && d_.in.data() >= d_.fds_from &&
                    (came.size() <= 2 || came.size() - 2 <= s_.options.max_fds_count);
        if (fits && c_.kept().fds_in.empty()) return c_.more->fds_in = std::move(came), true;
        return c_.ends || c_.at == phase::linger; // what is closed anyway needs no other answer
    }

    /// A body in sealed memory goes as itself to who asked for that, as bytes to all others. The
    /// descriptors ride on the first byte of the head, which nothing else shares a send with.
    /// Content-Length: 0 keeps the framing right for who knows nothing of Body-Fd.
    void attach_fds(response& res, bool is_streamed) {
        content& body = access::of(res).body;
        const bool has_body = !is_streamed && !c_.head_only && !is_bodiless(res.status());
        const bool has_room = // beside those with names
            !access::of(res).extra || access::of(res).extra->fds.size() < max_fds_per_message;
        mapping* memory = c_.wants_body_fd && has_body && has_room ? memory_of(body) : nullptr;
        int unread = 1; // nothing: a user has so many on the way to all (ETOOMANYREFS, sendmsg(2))
        const bool goes = memory && is_read_on(c_.fd, unread); // else, or with none left, as bytes
        unique_fd copy(goes ? duplicate(memory->fd.get()) : -1); // its owner may go first
        if (!copy) memory = nullptr;
        if (!access::of(res).extra && !memory) return;
        response_extra& extra = extra_of(res);
        if (extra.failed || (extra.fds.empty() && !memory)) return;
        if (extra.fds.size() > c_.wants_fds)
            return void(extra.failed = failed(errc::bad_descriptor, "the client asked for fewer"));
        box& b = c_.kept();
        if (memory) {
            b.fds.push_back(std::move(copy));
            res.header("Body-Fd", "length=" + std::to_string(memory->size));
            res.header("Cache-Control", "no-store"); // a cache would keep an empty body
            res.headers().remove("Content-Length");  // a handler's own: what follows is 0
            body = content();
        }
        if (!extra.fds.empty()) res.header("Fds", fd_names(extra.fds));
        for (named_fd& f : extra.fds) b.fds.push_back(std::move(f.fd));
        if (s_.options.max_body_fd_bytes) res.header("Accept-Body-Fd", "1");
        b.fds_at = d_.out.size() + (c_.blocked ? b.out.size() - b.out_at : 0); // the head begins
    }

    // -- bodies in

    /// A body on its way to its reader.
    bool step_stream() {
        box& b = *c_.more;
        flow& f = *b.at_work;
        if (!c_.wants_body()) return false; // asked each time: a callback may pause it
        if (c_.expects && d_.in.empty()) d_.out.add("HTTP/1.1 100 Continue\r\n\r\n");
        c_.expects = false;
        string_view piece;
        parsed at = b.decoder.next(d_.in, piece);
        if (!c_.calls && !d_.fds.empty() && d_.in.empty()) // came with a piece of it
            return d_.fds.clear(), refuse_fds(), false;
        if (const char* why = b.decoder.why())
            return fail_stream(failed(errc::bad_message, why), 400), false;
        if (piece.size() > b.may_come)
            return fail_stream(failed(errc::too_large, "body too long"), 413), false;
        b.may_come -= piece.size(), f.progress = d_.now;
        if (b.note) b.note->bytes_in += piece.size();
        if (!piece.empty()) hand_in(f, piece);
        // The end with the last piece: passed on, they leave together, and what answers them
        // (with 101) finds both sent.
        if (at == parsed::done) return finish_body({}), hand_in(f), false;
        return !piece.empty();
    }

    /// What has arrived goes to its reader, then `piece`, then the end, once. Without a reader that
    /// takes them, bytes wait in the flow.
    void hand_in(flow& f, string_view piece = {}) {
        while (hand_on(f, piece)) {
        }
    }
    /// One call of a callback. False: there is nothing to tell, or others have their turn first. To
    /// one that is finished all is told at once, whatever its callbacks say: nobody is there later.
    bool hand_on(flow& f, string_view& piece) {
        hold lock(f.guard);
        f.waits = c_.has_output();
        if (std::exchange(f.leaving, false)) f.changed.notify_all(); // release(), elsewhere
        if (f.reader_dropped && !f.in_done) c_.persistent = false;
        if (f.reader_dropped || !f.on_piece || f.is_held()) {
            if (!f.reader_dropped) f.arrived.append(piece);
            return f.changed.notify_all(), false;
        }
        f.arrive();
        std::string waited;
        waited.swap(f.arrived); // before `piece`, which release() finds here
        if (!waited.empty()) f.arrived.append(std::exchange(piece, {}));
        const bool is_end = waited.empty() && piece.empty();
        if (is_end && !f.in_done) return false;
        callback<void(string_view)> act = std::exchange(f.on_piece, {}); // it may set another one
        callback<void(const error&)> done;
        if (is_end) std::swap(done, f.on_done);
        lock.release();
        UDS_HTTP_TRY {
            if (done) done(f.why_in);
            else if (!is_end) act(waited.empty() ? std::exchange(piece, {}) : string_view(waited));
        }
        UDS_HTTP_CATCH {
            fail_user(f);
            hold again(f.guard); // nothing may follow a hole but `done`, which hears of it
            if (!is_end) f.lose_in(failed(errc::cut_off, "callback")), f.post(); // a call ends
        }
        if (is_end) return false;
        hold again(f.guard);
        if (!f.on_piece && !f.reader_dropped) f.on_piece = std::move(act);
        if (f.finished || f.memory_at == f.memory.view().size() || !d_.is_late()) return true;
        return f.post(), false;
    }

    void fail_user(flow& f) {
        s_.log_thrown("callback");
        f.cut();
    }

    /// The body of the exchange at work has ended, whole or not.
    void finish_body(error why) {
        flow& f = *c_.more->at_work;
        c_.at = phase::waiting;
        if (why) c_.persistent = false;
        else (void)parse_trailers(c_.more->decoder.trailers(), f.trailers_in);
        f.end_in(std::move(why));
    }

    [[gnu::cold]] void fail_stream(const error& bad, int status) {
        const ref<flow> f = c_.more->at_work; // finish() lets it go
        finish_body(bad);
        hold lock(f->guard);
        if (c_.calls || f->how != flow::mode::none) return;
        f->open = false; // this is the answer
        lock.release();
        refuse(status, place_of(bad));
        finish(*f);
    }

    // -- bodies out

    [[gnu::always_inline]] void send_body(content& body, const body_plan& plan) {
        const std::size_t most = c_.calls || !d_.in.empty() ? max_inline_body : max_last_body;
        if (usually(is_in_memory(body)) && usually(bytes_of(body).size() <= most))
            return d_.out.add(bytes_of(body));
        send_large(body, plan);
    }
    [[gnu::noinline]] void send_large(content& body, const body_plan& plan) {
        auto& s = access::of(body);
        std::string& held = access::of(state_of(d_.req).body).text;
        const bool is_echo = s.kind == access::kind::lent && s.view.data() == held.data() &&
                             s.view.size() == held.size();
        if (is_echo) s.text.swap(held), s.kind = access::kind::text;
        else if (!is_within(d_.room, s.view)) own(body);
        box& b = c_.kept();
        b.tail = std::move(body), b.has_tail = true, b.plan = plan;
        b.tail_at = 0, b.tail_size = plan.how == framing::length ? plan.length : UINT64_MAX;
    }

    /// A head onto the wire, and how its body will be delimited. What would break framing, or was
    /// remembered as wrong, becomes a whole 500: false.
    bool open_answer(response& res, bool is_streamed, body_plan& plan, bool is_hooked = false) {
        if (seldom(s_.has_after) && !is_hooked)
            run_after(res, is_streamed); // first: it may change it
        const auto& r = access::of(res);
        // RFC 9110 9.3.2: its length is that of what a GET would answer, where it is known.
        const bool is_head = seldom(c_.head_only) && !is_streamed && !is_bodiless(r.status) &&
                             known_size(r.body) == 0u;
        if (seldom(bool(access::of(r.fields)))) screen_fields(res, is_streamed, is_head);
        if (seldom(bool(r.extra)) || seldom(c_.wants_body_fd)) attach_fds(res, is_streamed);
        std::optional<std::uint64_t> size;
        if (usually(!is_streamed)) size = known_size(r.body);
        else if (is_bodiless(r.status)) size = 0;
        if (is_head && (is_received(r.fields) || r.fields.contains("Content-Length"))) size = {};
        const bool is_plain = usually(r.status == 200) && usually(!access::of(r.fields)) &&
                              usually(!r.extra) && usually(size.value_or(0) <= max_length);
        const bool is_good = is_plain || check(res, size);
        plan = plan_response(res, size, c_.head_only, version());
        if (seldom(plan.how == framing::until_close)) c_.persistent = false;
        if (s_.is_observed()) note_now().status = res.status();
        c_.expects = false; // no 1xx behind it: RFC 9110 15.2
        head_writer{d_.date, c_.persistent, version()}.write(d_.out, res, plan);
        return is_good;
    }

    /// What only this connection may say.
    [[gnu::noinline]] static void screen_fields(response& res, bool is_streamed, bool is_head) {
        const auto& r = access::of(res);
        if (is_received(r.fields))
            drop_framing(res.headers(),
                         is_bodiless(r.status) ? r.status != 304 : !is_streamed && !is_head);
        if (const char* ours = fds_field(r.fields))
            extra_of(res).failed = failed(errc::bad_field, ours);
    }

    bool check(response& res, std::optional<std::uint64_t>& size) {
        const auto& r = access::of(res);
        if (says_close(r.fields)) c_.persistent = false;
        const char* fault = res.status() < 200 || res.status() > 999
                                ? "a status that can't be final"
                                : framing_fault(r.fields, size, res.status());
        const bool is_remembered = r.extra && r.extra->failed;
        if (!fault && !is_remembered) return true;
        s_.log("response: " + (is_remembered ? r.extra->failed.message() : std::string(fault)),
               who().who);
        if (c_.more) c_.more->fds.clear(); // they belonged to what isn't sent
        res = plain_status(500), size = known_size(r.body);
        return false;
    }

    /// What the user wrote, onto the wire.
    void push_out(flow& f) {
        hold lock(f.guard);
        const bool is_cut = f.is_cut, is_answered = f.how != flow::mode::none;
        if (f.released || (is_cut && (c_.calls || c_.has_output())))
            return void(c_.gone = c_.ends = true);
        std::optional<response> res = std::exchange(f.answer, {});
        const std::string interims = std::exchange(f.interims_out, {});
        std::string bytes;
        bool is_ended = false;
        if (!c_.has_output()) bytes.swap(f.queued), is_ended = f.ended;
        f.leaving = !bytes.empty();
        lock.release();
        if (!c_.old_version) d_.out.add(interims); // RFC 9110 15.2
        if (is_cut) c_.persistent = false; // what there is goes out: no answer at all is retried
        if (res && s_.keeps_none() && c_.more->in.empty()) c_.persistent = false;
        if (res && !start_answer(f, std::move(*res))) return;
        if (is_cut) c_.ends = true;
        if (!is_answered || c_.is_mute) return;
        f.bytes_out += bytes.size();
        const bool is_raw = f.how == flow::mode::raw;
        const bool is_chunked = !is_raw && c_.more->plan.how == framing::chunked;
        if (is_chunked) add_chunk(d_.out, bytes);
        else d_.out.add(bytes);
        home_->give_back(bytes);
        if (!is_ended || std::exchange(f.end_sent, true)) return;
        if (is_chunked) add_last_chunk(d_.out, f.trailers_out);
        if (is_raw) return void(c_.shuts = true);
        finish(f);
    }

    /// False: that was all of it.
    bool start_answer(flow& f, response res) {
        if (f.is_nobodys) s_.log("500 a responder was dropped", who().who);
        content& body = access::of(res).body;
        if (access::of(body).kind == access::kind::reader) pass_on(f, body);
        if (c_.expects && f.how == flow::mode::streamed && c_.wants_body())
            d_.out.add("HTTP/1.1 100 Continue\r\n\r\n"), c_.expects = false; // not later
        // The rest of a body would be taken for the other protocol's first bytes, none of which can
        // come behind retire(); descriptors that came with those are refused as if they came later.
        const bool is_in_the_way = c_.at == phase::stream || c_.retired || !c_.more->fds_in.empty();
        if (f.how == flow::mode::raw && is_in_the_way) return c_.gone = true, false;
        if (f.how == flow::mode::raw) return switch_protocol(f, res), false;
        if (f.how == flow::mode::whole) {
            if (c_.at == phase::stream) c_.persistent = false; // in the way
            return answer(std::move(res)), finish(f), false;
        }
        if (!open_answer(res, true, c_.more->plan) && std::exchange(c_.more->plan.sends, false))
            send_body(body, c_.more->plan), f.bytes_out = c_.more->plan.length;
        return (c_.more->plan.sends && !is_bodiless(res.status())) || (finish(f), false);
    }

    /// A body that another stream brings.
    void pass_on(flow& f, content& body) {
        body_reader from = std::move(access::of(body).from->reader);
        const auto relays = access::of(body).from->relays;
        body = content();
        relays(std::move(from), access::make<body_writer>(ref<stream_base>(&f)),
               [to = ref<flow>(c_.calls ? &f : nullptr)](const error& why) { // EPIPE: its own end
                   if (!to || why == std::errc::broken_pipe || this_loop() != to->home.get())
                       return;
                   hold lock(to->guard); // no other loop: this one reads `in_done` unguarded
                   if (why && !to->in_done) to->note_end(why); // a call fails as its body does
               });
    }
    void answer_passed() {
        state_of(d_.req).drop_body(); // nobody reads it any more
        const ref<flow> f = make_flow();
        if (c_.at == phase::discard) c_.persistent = false, c_.lingers = true; // as in begin()
        c_.at = phase::waiting;
        f->send(std::move(*d_.res), flow::mode::whole);
    }

    /// The exchange is over, but for bytes that may still wait for room.
    void finish(flow& f) {
        if (c_.calls) return void(c_.at = f.on_head ? phase::reply : c_.at); // its answer ends it
        if (f.how == flow::mode::streamed) tell(f.bytes_out, error());
        hold lock(f.guard);
        f.open = false, f.fd = -1, f.finished = true;
        callback<void()> drop_drained, drop_closed, drop_left;
        std::swap(drop_drained, f.drained), std::swap(drop_left, f.left);
        if (f.is_unended()) f.post(); // abandon() tells it
        else std::swap(drop_closed, f.closed);
        f.changed.notify_all();
        lock.release();
        if (c_.at == phase::stream) {                 // answered before the body was there
            c_.persistent = false, c_.lingers = true; // as in begin()
            f.end_in(failed(errc::cut_off, "answered"));
        }
        if (f.in_done) hand_in(f); // all that is here, and always an end
        if (!c_.persistent) c_.ends = true;
        c_.at = phase::head;
        c_.more->at_work = {};
        hold_for_tail(c_.more->counted);
    }

    /// From here on another exchange is at work: what was held of the request's body is its own.
    [[gnu::cold]] void switch_protocol(flow& f, response& res) {
        if (s_.has_after) run_after(res, false);
        if (const auto& r = access::of(res); r.status != 101 || (r.extra && r.extra->failed))
            return answer(std::move(res), true), finish(f); // a hook's own answer, or a 500
        for (const char* ours : {"", "Transfer-Encoding"})  // it has no body (RFC 9110 15.2.2)
            res.headers().remove(ours);
        res.header("Connection", "Upgrade");
        c_.persistent = true;
        if (s_.is_observed()) note_now().status = 101;
        head_writer{{}, true, 11}.write(d_.out, res, {});
        ref<flow> raw(new flow(home_, id_, s_.options.max_write_buffer_bytes));
        raw->how = flow::mode::raw, raw->fd = c_.fd;
        raw->arrived.swap(c_.more->in); // what came behind the request is the other protocol's
        hold(f.guard), std::swap(raw->take_over, f.take_over);
        finish(f);
        c_.at = phase::raw, c_.more->at_work = raw;
    }
    /// Its 101 has left. A client's has told its head.
    void open_raw(flow& raw) {
        callback<void(upgraded)> take = std::exchange(raw.take_over, {});
        if (!take) return;
        upgraded opened{response(101), access::make<body_reader>(ref<stream_base>(&raw)),
                        access::make<body_writer>(ref<stream_base>(&raw))};
        UDS_HTTP_TRY { take(std::move(opened)); }
        UDS_HTTP_CATCH { fail_user(raw); }
    }

    void tell_drained(flow& f) {
        hold lock(f.guard);
        // on_drain() may come behind the write() and what it is to tell of.
        const bool is_due = f.open && (f.full || (f.owes_drain && f.drained));
        const bool is_lost = c_.gone || (c_.is_mute && c_.at == phase::raw); // uploads: as if read
        if (!is_due || is_lost || !f.queued.empty() || c_.has_output()) return;
        f.full = false, f.keeps_drained = true, f.owes_drain = !f.drained; // for one set later
        callback<void()> act = std::exchange(f.drained, {});
        f.changed.notify_all();
        lock.release();
        UDS_HTTP_TRY { act(); }
        UDS_HTTP_CATCH { fail_user(f); }
        hold again(f.guard);
        if (f.keeps_drained && f.open) f.drained = std::move(act);
    }

    // -- telling others

    [[gnu::noinline]] card& who() {
        if (!c_.who) c_.who = new card(c_.fd);
        return *c_.who;
    }
    int version() const noexcept { return c_.old_version ? 10 : 11; }

    void take_note() { // bytes of its body count as they come
        if (!d_.note) d_.note = new about;
        const request_state& r = state_of(d_.req);
        d_.note->method = r.method, d_.note->target = r.target;
        d_.note->bytes_in = 0, d_.note->started = d_.micros(), d_.note->status = 0;
    }
    /// The desk serves others before this exchange is told of.
    void keep_note() {
        if (!d_.note || has_kept_note()) return;
        who().tag = state_of(d_.req).tag;
        c_.kept().note = std::move(d_.note);
    }
    bool has_kept_note() const noexcept { return c_.more && c_.more->note; }
    about& note_now() const noexcept { return has_kept_note() ? *c_.more->note : *d_.note; }
    /// The exchange that is being answered. Views and references: for the one who is told.
    uds_http::exchange exchange_now(std::uint64_t bytes_out, const error& why) {
        const about& a = note_now();
        const peer& by = who().who;
        const string_view door = s_.name_of(c_.door);
        const std::uint64_t tag = has_kept_note() ? who().tag : state_of(d_.req).tag;
        const microseconds time(d_.micros() - a.started);
        return {a.method, a.target, door, by, a.status, a.bytes_in, bytes_out, tag, time, why};
    }
    /// A stream was promised its length, and a reader its own way out, before any hook was asked.
    void run_after(response& res, bool is_streamed) {
        const auto& r = access::of(res);
        const std::uint64_t stated = stated_length(r.fields, UINT64_MAX);
        for (hook& h : s_.hooks) {
            UDS_HTTP_TRY {
                note_now().status = res.status();
                if (h.after) h.after(exchange_now(0, error()), res);
            }
            UDS_HTTP_CATCH {
                s_.log_thrown("hook");
                extra_of(res).failed = failed(errc::bad_field, "a hook threw");
            }
        }
        if (is_streamed ? stated_length(r.fields, stated) != stated
                        : access::of(r.body).kind == access::kind::reader)
            extra_of(res).failed = failed(errc::bad_field, "a hook's Content-Length or reader");
    }
    void tell(std::uint64_t bytes_out, const error& why) {
        UDS_HTTP_TRY {
            if (s_.on_exchange) s_.on_exchange(exchange_now(bytes_out, why));
        }
        UDS_HTTP_CATCH { s_.log_thrown("hook"); }
        if (c_.more) c_.more->note = {}; // told once
    }
    [[gnu::cold]] void note(int status, string_view why) {
        ++d_.refused;
        if (!s_.on_log) return;
        std::string line = std::to_string(status);
        s_.log(line.append(" ").append(why), who().who);
    }

    site& s_;
    desk& d_; // the loop's: others use it before and after
    conn& c_; // stays where it is, in the slab
    std::uint64_t id_;
    const ref<mailbox>& home_; // for exchanges that other threads write into
};

// [11] LOOP ---------------------------------------------------------------------------------------
// epoll, the connections' slab, deadlines, wake-ups. Connections are edge-triggered: no epoll_ctl
// but for the first, and for EPOLLOUT after an EAGAIN. What an edge announced and nobody wanted yet
// is remembered in conn::readable. Events carry an index and a generation, never a pointer.

/// A timeout of milliseconds::max() is never; so is half of that, so that sums of it are numbers.
inline std::int64_t later(std::int64_t now, milliseconds wait) noexcept {
    return wait.count() < INT64_MAX / 2 ? now + wait.count() : INT64_MAX;
}

/// Connections in blocks that never move; free ones are a list through `next`.
class slab {
public:
    static constexpr std::uint32_t none = UINT32_MAX;

    slab() noexcept = default;
    slab(const slab&) = delete;
    ~slab() {
        for (conn* block : blocks_) delete[] block;
    }
    conn* at(std::uint32_t index) const noexcept {
        return &blocks_[index / per_block][index % per_block];
    }
    /// nullptr for a connection that is gone, or whose place belongs to another one.
    conn* find(std::uint64_t id) const noexcept {
        if (static_cast<std::uint32_t>(id) >= end()) return nullptr;
        conn* c = at(static_cast<std::uint32_t>(id));
        return c->fd >= 0 && c->generation == id >> 32 ? c : nullptr;
    }
    static std::uint64_t id_of(const conn& c) noexcept {
        return static_cast<std::uint64_t>(c.generation) << 32 | c.index;
    }
    conn& add() {
        if (free_ == none) {
            blocks_.reserve(blocks_.size() + 1); // first: what follows can't fail halfway
            blocks_.push_back(new conn[per_block]());
            for (std::uint32_t i = per_block; i-- > 0;) {
                conn& made = blocks_.back()[i];
                made.index = end() - per_block + i, made.next = std::exchange(free_, made.index);
            }
        }
        conn& c = *at(free_);
        free_ = c.next;
        return tell_count(1), c;
    }
    void remove(conn& c) noexcept {
        const std::uint32_t index = c.index, generation = c.generation + 1;
        c = conn{};
        c.index = index, c.generation = generation & 0x7fffffff; // no id becomes UINT64_MAX
        c.next = std::exchange(free_, index);
        tell_count(-1);
    }
    std::size_t count() const noexcept { return count_.load(std::memory_order_relaxed); }
    std::uint32_t end() const noexcept {
        return static_cast<std::uint32_t>(blocks_.size()) * per_block;
    }

private:
    void tell_count(int more) noexcept { // one writer
        count_.store(count() + static_cast<std::size_t>(more), std::memory_order_relaxed);
    }
    static constexpr std::uint32_t per_block = 256; // 14 KiB at a time
    row<conn*> blocks_;                             // only grows: places are used again
    std::uint32_t free_ = none;                     // the first of the free ones
    std::atomic<std::size_t> count_{0};             // other threads look at it
};

/// Deadlines of connections: a list per kind, in order of expiry, since each kind has one duration.
/// A list is left as it is while a deadline moves by less than a 64th: so much early it may fire.
class deadlines {
public:
    explicit deadlines(slab& conns) : conns_(conns) {
        for (list& l : lists_) l.first = l.last = slab::none;
    }
    void set_duration(timer kind, milliseconds length) { // half of what there is: never
        of(kind).length = std::min<std::int64_t>(length.count(), INT64_MAX / 2);
    }

    [[gnu::always_inline]] void set(conn& c, timer kind, std::int64_t now, bool restarts) noexcept {
        if (c.clock == kind && (!restarts || kind == timer::none)) return;
        const std::int64_t due = now + of(kind).length;
        if (c.clock != kind || due - c.due > of(kind).length / 64) move(c, kind, due);
    }
    [[gnu::noinline]] void move(conn& c, timer kind, std::int64_t due) noexcept {
        clear(c);
        if (kind == timer::none) return;
        list& l = of(kind);
        is_sooner |= l.first == slab::none; // first of its list, so perhaps of all
        c.clock = kind, c.due = due, c.prev = l.last, c.next = slab::none;
        (l.last == slab::none ? l.first : conns_.at(l.last)->next) = c.index;
        l.last = c.index;
    }
    void clear(conn& c) noexcept {
        if (c.clock == timer::none) return;
        list& l = of(c.clock);
        (c.prev == slab::none ? l.first : conns_.at(c.prev)->next) = c.next;
        (c.next == slab::none ? l.last : conns_.at(c.next)->prev) = c.prev;
        c.clock = timer::none;
    }
    /// Whose deadline is the next; none: nullptr.
    conn* first() const noexcept {
        conn* soonest = nullptr;
        for (const list& l : lists_) {
            conn* const c = l.first == slab::none ? nullptr : conns_.at(l.first);
            if (c && (!soonest || c->due < soonest->due)) soonest = c;
        }
        return soonest;
    }
    bool is_sooner = false; // than what next() said before, perhaps

private:
    struct list {
        std::uint32_t first, last; // indices; conn::prev and next link the rest
        std::int64_t length = 0;   // ms
    };
    list& of(timer kind) noexcept { return lists_[static_cast<std::size_t>(kind)]; }
    slab& conns_;
    list lists_[static_cast<std::size_t>(timer::count)];
};

/// What is to run at a time: a binary heap, the soonest first.
class task_heap {
public:
    std::int64_t next() const noexcept { return tasks_.empty() ? INT64_MAX : tasks_[0].at; }
    void clear() noexcept { tasks_.clear(); }
    /// The loop's own, of which there are five at most, and one that begins anew have room.
    void make_room() {
        if (tasks_.size() + 6 < room_) return;
        const std::size_t room = tasks_.size() * 2 + 8;
        tasks_.reserve(room), room_ = room;
    }
    void add(std::int64_t at, callback<void()> run) {
        tasks_.push_back({at, std::move(run)});
        for (std::size_t i = tasks_.size() - 1; i && tasks_[i].at < tasks_[(i - 1) / 2].at;
             i = (i - 1) / 2)
            std::swap(tasks_[i], tasks_[(i - 1) / 2]);
    }
    callback<void()> take() {
        callback<void()> first = std::move(tasks_[0].run);
        if (tasks_.size() > 1) tasks_[0] = std::move(tasks_.back());
        tasks_.shrink(tasks_.size() - 1);
        for (std::size_t i = 0, child; (child = 2 * i + 1) < tasks_.size(); i = child) {
            if (child + 1 < tasks_.size() && tasks_[child + 1].at < tasks_[child].at) ++child;
            if (tasks_[i].at <= tasks_[child].at) break;
            std::swap(tasks_[i], tasks_[child]);
        }
        return first;
    }

private:
    struct task {
        std::int64_t at; // ms, of loop::now()
        callback<void()> run;
    };
    row<task> tasks_;
    std::size_t room_ = 0; // of it
};

/// What is said to whom there is no room for, behind what was said already.
inline void say_busy(int fd, string_view before = {}) noexcept {
    static constexpr char busy[] = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n"
                                   "Connection: close\r\nContent-Length: 0\r\n\r\n";
    iovec parts[2] = {{const_cast<char*>(before.data()), before.size()},
                      {const_cast<char*>(busy), sizeof busy - 1}};
    (void)transmit(fd, parts, 2, MSG_DONTWAIT); // whoever has no room for it only sees the end
}

/// For large bodies; the kernel caps it.
inline void enlarge_sndbuf(int fd) noexcept {
    constexpr int bytes = 1 << 20;
    ::setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
}

/// Between two exchanges a server has nothing to say: bytes are an old 408, the end a farewell.
inline bool is_quiet(int fd) noexcept {
    char byte;
    return receive(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

/// The next bytes of a content that a callback fills; what it throws is an error like others.
inline result<std::size_t> pull(source& from, char* into, std::size_t room) {
    UDS_HTTP_TRY {
        result<std::size_t> got = from.fill(into, room);
        return got && *got > room ? failed(errc::bad_field, "content over its room") : got;
    }
    UDS_HTTP_CATCH { return failed(ECANCELED, "threw " + thrown()); }
}
/// Makes a chunk of them, or the last one. Room for its size is before `first`, for CRLF behind.
constexpr std::size_t chunk_lead = 18, piece_room = 128 << 10;
inline string_view frame_piece(char* first, std::size_t size) noexcept {
    char line[chunk_lead];
    const std::size_t length = put_chunk_size(line, size);
    std::memcpy(first - length, line, length);
    std::memcpy(first + size, "\r\n", 2);
    return {first - length, length + size + 2};
}

class loop : public counted {
public:
    enum : std::uint64_t {         // no connection has an index that high
        wake_id = UINT32_MAX,      // mailbox::wake
        stop_id = UINT32_MAX - 1,  // server_core::stop_event
        alarm_id = UINT32_MAX - 2, // the timerfd
        door_id = 0x80000000       // with the listener's number
    };
    static constexpr std::uint16_t no_door = UINT16_MAX; // adopted
    static constexpr std::size_t in_room = 256 << 10;    // more than SO_SNDBUF lets in: 208 KiB
    static constexpr std::size_t most_at_once = 8 << 20; // of one call: the others wait for 2 ms

    explicit loop(site& s) : s_(s), deadlines_(conns_), mail_(new mailbox) {
        mail_->at = this, mail_->of = &s;
    }

    [[gnu::cold]] error open() {
        epoll_ = unique_fd(::epoll_create1(EPOLL_CLOEXEC));
        alarm_ = unique_fd(::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
        mail_->wake = unique_fd(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
        const itimerspec none{}; // where a sandbox knows no timers there would be no limits
        if (!epoll_ || !alarm_ || !mail_->wake ||
            !watch(mail_->wake.get(), EPOLLIN | EPOLLET, wake_id) ||
            !watch(alarm_.get(), EPOLLIN | EPOLLET, alarm_id) ||
            ::timerfd_settime(alarm_.get(), 0, &none, nullptr) != 0)
            return failed(errno, "epoll, timerfd or eventfd");
        in_size_ = std::max(in_room, s_.limits.max_head_bytes * 2); // a kept head leaves room
        in_ = in_bytes_.reserve(in_size_);
        d_.room = {in_, in_size_};
        d_.micros = []() -> std::int64_t { return now_ns() / 1'000; };
        d_.ticks = ticks;
        const server_options& o = s_.options;
        deadlines_.set_duration(timer::head, o.head_timeout);
        deadlines_.set_duration(timer::body, o.body_timeout);
        deadlines_.set_duration(timer::write, o.write_timeout);
        const bool keeps = o.idle_timeout.count() > 0; // else what is new has the time of a head
        deadlines_.set_duration(timer::idle, keeps ? o.idle_timeout : o.head_timeout);
        tasks_.make_room();
        read_clock(), d_.turn = d_.now;
        return {};
    }

    int descriptor() const noexcept { return epoll_.get(); }
    const ref<mailbox>& mail() const noexcept { return mail_; }
    std::size_t count() const noexcept { return conns_.count(); }
    std::int64_t now() const noexcept { return d_.now; } // ms, of this wake-up

    bool watch(int fd, std::uint32_t events, std::uint64_t id) noexcept {
        return control(EPOLL_CTL_ADD, fd, events, id);
    }
    void unwatch(int fd) noexcept { (void)control(EPOLL_CTL_DEL, fd, 0, 0); }

    /// Waits for at most `timeout` ms (-1: for ever), then does everything there is to do.
    error turn(int timeout) {
        if (has_rest()) timeout = 0;
        set_alarm(); // here: a drain, or a connection taken in before the first turn, set deadlines
        epoll_event events[256]; // 3 or 4 KiB; what is more comes next time
        int count = wait(events, 256, timeout);
        if (count < 0) return failed(errno, "epoll_wait");
        if (!std::exchange(has_looked_, false)) read_clock(), d_.turn = d_.now;
        else if (d_.now >= alarm_at_) // others may have waited long
            count = ::epoll_wait(epoll_.get(), events, 256, 0);
        for (std::size_t seen = 256;; seen += 256) { // of what is no connection's, too
            for (int i = 0; i < count; ++i) on_event(events[i]);
            const bool ends = deadlines_.is_sooner || d_.now >= alarm_at_; // all: no hurry
            if (count < 256 || seen >= (ends ? conns_.count() + 256 : 0)) break;
            count = ::epoll_wait(epoll_.get(), events, 256, 0);
        }
        if (!again_.empty()) revisit();
        if (deadlines_.is_sooner || d_.now >= alarm_at_) expire(); // what has come was read by now
        if (mail_->full.load(std::memory_order_acquire)) read_mail(); // and here the clock goes on
        turn_pools();
        return {};
    }
    bool has_rest() const noexcept {
        return mail_->full.load(std::memory_order_acquire) || !again_.empty();
    }
    /// Before a foreign loop sleeps: descriptor() is readable once there is something to do.
    void show_rest() noexcept {
        if (has_rest()) ring(mail_->wake.get());
        set_alarm();
    }
    /// The last thing before a loop ends. False: something came in meanwhile.
    bool shuts_empty_mail() noexcept {
        hold lock(mail_->guard);
        if (mail_->tasks.empty() && !mail_->first) mail_->open = false;
        return !mail_->open;
    }

    /// Runs `task` at `when` (ms, of now()).
    void at(std::int64_t when, callback<void()> task) {
        make_room();
        at_surely(when, std::move(task));
    }
    void make_room() { tasks_.make_room(); } // for one at_surely()
    void at_surely(std::int64_t when, callback<void()> task) noexcept {
        tasks_.add(when, std::move(task));
        deadlines_.is_sooner = true;
    }

    /// Takes a connected socket in. nullptr: no memory for it in the kernel; `fd` is the caller's.
    conn* adopt(unique_fd& fd, std::uint16_t door, bool forbidden) {
        conn& c = conns_.add();
        c.fd = fd.get(), c.door = door, c.forbidden = forbidden;
        if (!watch(c.fd, EPOLLIN | EPOLLRDHUP | EPOLLET, conns_.id_of(c))) // ENOMEM, ENOSPC
            return conns_.remove(c), nullptr;
        (void)fd.release(), read_clock(); // as in rest()
        deadlines_.set(c, timer::idle, d_.now, true);
        return &c;
    }
    /// The client's role: a connection that has just been made. UINT64_MAX: no memory for it.
    std::uint64_t adopt_call(unique_fd fd, ref<call_pool> pool) {
        ref<box> more(new box); // first: without memory there is no connection
        more->pool = std::move(pool);
        conn* const c = adopt(fd, no_door, false);
        if (!c) return UINT64_MAX;
        c->calls = true, c->at = phase::kept, c->more = std::move(more);
        return conns_.id_of(*c);
    }
    /// False: the connection is gone, or was no good any more and is closed now.
    bool ask(std::uint64_t id, const ref<flow>& call) {
        conn* c = conns_.find(id);
        if (!c) return false;
        const bool is_stale = c->ends || c->gone || c->readable; // nothing may have come unasked
        if (is_stale || (call->reused && !is_quiet(c->fd))) return close(*c), false;
        call->id = id, call->progress = d_.now;
        if (call->max_head_bytes > in_size_ / 2) call->max_head_bytes = in_size_ / 2; // has to fit
        UDS_HTTP_TRY {
            talk(*c).ask(call);
            if (c->expects) wait_for_word(*call);
            flush(*c);
            rest(*c, true);
        }
        UDS_HTTP_CATCH { lose_memory(id); }
        return true;
    }
    /// No 100 Continue within a second: the body goes (RFC 9110 10.1.1).
    [[gnu::cold]] void wait_for_word(flow& call) {
        const std::int64_t due = call.beats_at = later(d_.now, milliseconds(1'000));
        at(due, [this, id = call.id, due] {
            conn* c = conns_.find(id);
            if (c && c->expects && c->work() && c->work()->beats_at == due)
                visit(*c, &loop::stop_waiting);
        });
    }
    void stop_waiting(conn& c) {
        c.work()->progress = d_.now;
        talk(c).send_request_body();
        flush(c);
        rest(c, true);
    }
    [[gnu::cold]] void fail_call(flow& call, error why) {
        conn* c = conns_.find(call.id);
        if (!c || c->work() != &call) return abandon(call, std::move(why));
        talk(*c).fail_call(std::move(why));
        close(*c);
    }
    bool is_read_on(const flow& call) noexcept {
        conn* c = conns_.find(call.id);
        return c && c->work() == &call && is_read_on(*c);
    }
    /// A kept connection that nobody will use.
    void drop(std::uint64_t id) {
        if (conn* c = conns_.find(id)) close(*c);
    }

    /// A client's connection is at work.
    bool has_calls() const noexcept {
        for (std::uint32_t i = 0; i < conns_.end(); ++i)
            if (conns_.at(i)->work()) return true;
        return false;
    }
    void close_all(const error& why = {}) {
        mailbox* const outer = std::exchange(this_loop(), mail_.get()); // what runs may not block
        for (std::uint32_t i = 0; i < conns_.end(); ++i) {
            conn& c = *conns_.at(i);
            if (c.fd < 0) continue;
            if (c.calls && c.work()) talk(c).fail_call(failed(errc::stopped, "server"));
            close(c, why);
        }
        this_loop() = outer;
    }
    /// Ends what waits for nothing; what is at work goes on.
    void drain_connections() {
        for (std::uint32_t i = 0; i < conns_.end(); ++i)
            if (conns_.at(i)->fd >= 0) drain(*conns_.at(i));
    }
    void drain(conn& c) {
        if (!c.work() || !c.work()->end_events()) rest(c, false);
    }

    bool takes_mail() noexcept { return mail_->is_open(); }
    /// User code reaches the loop no more.
    [[gnu::cold]] void shut_mail(bool has_run) {
        mailbox* const outer = std::exchange(this_loop(), mail_.get()); // none of it may block
        ref<flow> flows;
        row<mailbox::task> work;
        {
            hold lock(mail_->guard);
            mail_->open = false;
        }
        mail_->take(flows, work);
        while (ref<flow> f = next_of(flows)) abandon(*f, failed(errc::stopped, "server"));
        for (auto& pool : pools_) pool->shut();
        for (auto& task : work)
            if (has_run || !task.is_users) run(task.run); // calls among them fail
        tasks_.clear();                                   // delayed ones never run
        this_loop() = outer;
    }
    void abandon(flow& f, error why) { dialog::abandon(s_, f, std::move(why)); }
    static void log_thrown() noexcept { // inside a user's call: elsewhere there is no log
        if (mailbox* here = this_loop()) static_cast<loop*>(here->at)->s_.log_thrown("callback");
    }

    /// The pool of a client; nullptr where it has none.
    call_pool* pool_of(const void* client) const noexcept {
        for (auto& pool : pools_)
            if (pool->of == client) return pool.get();
        return nullptr;
    }
    void add_pool(ref<call_pool> pool) { pools_.push_back(std::move(pool)); }

    std::atomic<std::uint64_t> requests{0}, refused{0}, bytes_in{0}, bytes_out{0}; // written here
    std::int64_t spares_until = INT64_MAX; // stopping: who has connected only just may still ask
    std::int64_t keeps_until = INT64_MAX;  // and who was served, where a successor is there

protected:
    virtual void on_special(std::uint64_t id) = 0;
    virtual void on_closed(const conn& gone) = 0; // after all others were told

    void read_clock() noexcept {
        d_.now = std::max(d_.now, ticks());
        if (d_.now - dated_at_ < 100) return; // Date lags by so much at most
        dated_at_ = d_.now;
        timespec t{};
        ::clock_gettime(CLOCK_REALTIME_COARSE, &t);
        if (t.tv_sec == dated_) return;
        dated_ = t.tv_sec;
        put(put_date(put(d_.date, "Date: "), dated_), "\r\n");
    }

    site& s_;
    desk d_;
    slab conns_;

private:
    dialog talk(conn& c) noexcept { return dialog(s_, d_, c, slab::id_of(c), mail_); }
    bool control(int what, int fd, std::uint32_t events, std::uint64_t id) noexcept {
        epoll_event e{};
        e.events = events, e.data.u64 = id;
        return ::epoll_ctl(epoll_.get(), what, fd, &e) == 0;
    }

    [[gnu::always_inline]] int wait(epoll_event* events, int room, int timeout) noexcept {
        if (seldom(timeout != 0 && s_.options.busy_poll.count() > 0)) {
            const deadline end = timeout < 0 ? deadline() : deadline::after(milliseconds(timeout));
            if (int count = spin(events, room, end); count >= 0) return count;
            timeout = end.poll_timeout();
        }
        int count = ::epoll_wait(epoll_.get(), events, room, timeout);
        if (count < 0 && errno == EINTR) // stop(), or SIGCONT: what came meanwhile isn't late
            count = ::epoll_wait(epoll_.get(), events, room, 0);
        return count < 0 && errno == EINTR ? 0 : count;
    }
    /// Burns the core for a while instead of sleeping: a wake-up costs more than many polls. Who
    /// spoke last is the likeliest to speak next, and to read from it is one call where an event
    /// takes two; every fourth look is at all others. -1: in vain.
    int spin(epoll_event* events, int room, deadline end) {
        if (!thrift_.is_worth_a_try()) return -1;
        const std::int64_t until = end.sooner({spins_until(s_.options.busy_poll)}).at;
        int count = -1;
        bool is_called = false; // by another thread
        do {
            if (++thrift_.looks % 4 != 0) count = look_at_last() ? 0 : -1;
            else if (count = ::epoll_wait(epoll_.get(), events, room, 0); count == 0) count = -1;
            is_called = mail_->full.load(std::memory_order_acquire);
        } while (count < 0 && !is_called && now_ns() < until);
        thrift_.tell(count >= 0 || is_called);
        return count;
    }
    /// True: something came, or it has ended, which may be what the loop waits for.
    bool look_at_last() {
        conn* c = conns_.find(last_event_);
        if (!c || !c->is_unused() || !c->wants_bytes()) return false;
        const std::uint64_t before = bytes_in.load(std::memory_order_relaxed);
        read_clock(), d_.turn = d_.now;
        c->readable = true;
        visit(*c, &loop::read);
        // Its clock is the turn's: what has come to others since then is read before they are late.
        return has_looked_ =
                   bytes_in.load(std::memory_order_relaxed) != before || !conns_.find(last_event_);
    }

    [[gnu::always_inline]] void on_event(const epoll_event& e) {
        const std::uint64_t id = e.data.u64;
        if (seldom(id & door_id)) { // no connection's: indices are smaller
            if (seldom(id == alarm_id)) {
                if (alarm_at_ < INT64_MAX)
                    d_.turn = d_.now = std::max(d_.now, alarm_at_); // ours lags
                alarm_at_ = INT64_MAX, deadlines_.is_sooner = true;
            } else if (id != wake_id) on_special(id), d_.now = d_.turn; // as in visit()
            return;
        }
        conn* c = conns_.find(last_event_ = id);
        if (seldom(!c)) return; // closed earlier in this turn
        if (e.events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) c->readable = true;
        if (seldom(e.events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))) c->half = true;
        if (seldom(e.events & (EPOLLHUP | EPOLLERR))) c->hung_up = true; // nobody reads answers
        if (seldom((e.events & EPOLLOUT) && c->blocked)) visit(*c, &loop::on_writable);
        else visit(*c, &loop::read);
    }
    /// std::bad_alloc, somewhere on the way: this connection ends, the others go on.
    [[gnu::always_inline]] void visit(conn& c, void (loop::*act)(conn&)) noexcept {
        const std::uint64_t id = conns_.id_of(c);
        UDS_HTTP_TRY { (this->*act)(c); }
        UDS_HTTP_CATCH { lose_memory(id); }
        if (mail_->is_ours) read_mail();
        d_.now = d_.turn; // what came meanwhile is not read yet: nobody is late by that
    }
    [[gnu::cold]] void lose_memory(std::uint64_t id) noexcept {
        const string_view answers = d_.out.view().substr(0, std::exchange(d_.whole, 0)); // earlier
        d_.out.clear(), d_.fds.clear(), d_.res.reset();
        state_of(d_.req).fds.clear(), detail::take(state_of(d_.req).body);
        conn* c = conns_.find(id);
        if (!c) return;
        const bool is_due = c->at == phase::head || c->at == phase::body;
        if (is_due && !c->gone && !c->has_output() && !c->calls) say_busy(c->fd, answers);
        close(*c);
    }

    /// Serves what was kept, and what there is to read, while somebody wants it.
    void read(conn& c) {
        bool progress = false;
        if (seldom(c.calls)) read_clock(); // as in rest()
        for (int rounds = 0; !c.queued && !c.gone; ++rounds) {
            const bool has_kept = c.has_unread();
            if ((!has_kept && !c.readable) || !c.wants_bytes()) break;
            // Others have their turn first; and what a stream brings leaves before more is read.
            if (seldom(rounds == 4 || (rounds == 1 && c.work()))) {
                queue(c);
                break;
            }
            if (seldom(has_kept)) { // first: descriptors that are to come aren't theirs
                const std::string kept = std::move(c.more->in); // take() keeps what remains
                serve(c, kept, true);
                continue;
            }
            const std::size_t kept = c.more ? c.more->in.size() : 0;
            if (kept) std::memcpy(in_, c.more->in.data(), kept); // a head is parsed in one piece
            bool stopped = false;
            ssize_t got = usually(s_.fds_blocked && c.door != no_door)
                              ? receive(c.fd, in_ + kept, in_size_ - kept)
                              : receive_with_fds(c.fd, kept, stopped);
            if (seldom(got <= 0)) {
                if (!ends_reading(c, got)) break;
                return close(c);
            }
            if (static_cast<std::size_t>(got) < in_size_ - kept && !c.half && !stopped)
                c.readable = false; // a short read empties it: epoll(7)
            add(bytes_in, static_cast<std::uint64_t>(got));
            progress = true;
            serve(c, {in_, kept + static_cast<std::size_t>(got)});
        }
        rest(c, progress);
    }

    /// There is nothing to read, or there won't be. True: close now.
    [[gnu::noinline]] bool ends_reading(conn& c, ssize_t got) {
        const int why = got < 0 ? errno : 0;
        if (why == EBADFD) { // what they were to, and its bytes, are lost
            talk(c).refuse_stray_fds();
            return flush(c), false;
        }
        c.readable = false;
        if (why == EAGAIN) return false;
        if (why && why != ECONNRESET) return true; // that one: it left bytes of ours unread
        if (talk(c).at_eof()) return true;
        return flush(c), false;
    }

    /// recv(2) that drops descriptors, as it does, and tells of them.
    ssize_t receive_with_fds(int fd, std::size_t kept, bool& stopped) {
        d_.fds.clear(), d_.fds_from = in_ + kept;
        received got = receive_fds(fd, {in_ + kept, in_size_ - kept}, d_.fds, MSG_DONTWAIT);
        stopped = got.stopped;
        if (!s_.takes_fds()) d_.fds.clear();
        return got.size;
    }

    /// Answers what is in `bytes`, or a batch of it, and sends; the rest has to wait for its turn.
    [[gnu::always_inline]] void serve(conn& c, string_view bytes, bool waited = false) {
        const std::uint64_t before = d_.requests;
        const bool again = talk(c).take(bytes, waited);
        if (flush(c) && seldom(again)) queue(c);
        if (d_.requests == before) return;
        add(requests, d_.requests - before);
        if (c.clock == timer::head) deadlines_.clear(c); // the next head has its own time
    }

    static void add(std::atomic<std::uint64_t>& to, std::uint64_t count) noexcept { // one writer
        to.store(to.load(std::memory_order_relaxed) + count, std::memory_order_relaxed);
    }

    /// After anything happened to a connection: closes it, ends its sending, or sets its deadline.
    [[gnu::always_inline]] void rest(conn& c, bool progress) {
        read_clock(); // a handler may have had the loop for long
        if (seldom(!c.is_calm() || s_.stopping())) end_or_rest(c, progress);
        else deadlines_.set(c, timer::idle, d_.now, progress); // as most, most of the time
    }
    [[gnu::noinline]] void end_or_rest(conn& c, bool progress) {
        const bool has_output = c.has_output();
        if (c.gone || (c.ends && !has_output && !starts_to_linger(c))) return close(c);
        const bool is_with_user = !c.calls && (c.at == phase::waiting || c.at == phase::stream);
        if (c.hung_up && is_with_user && !c.wants_bytes()) return close(c); // nobody listens
        if (c.shuts && !has_output) {
            ::shutdown(c.fd, SHUT_WR); // the peer reads its end, and may go on
            c.shuts = false;
        }
        if (c.at == phase::raw && is_spent(c)) return close(c);
        if (c.at == phase::raw && (c.hung_up || c.is_mute)) talk(c).close_out(*c.work());
        if ((c.at == phase::kept || c.at == phase::linger) && s_.stopping()) return close(c);
        if (!has_output && c.is_unused()) {
            if (s_.stopping() && d_.now >= (c.served ? keeps_until : spares_until)) retire(c);
            if (c.more && c.more->is_empty()) c.more = {};
        }
        const timer which = c.due_timer();
        // A head has its time from its first byte on: one that drips is as slow as one that stops.
        // Nor is what comes a sign that what waits is read: on_writable() sees that.
        const bool restarts = progress && which != timer::head && which != timer::write;
        deadlines_.set(c, which, d_.now, restarts);
    }

    /// A proxy that finds our end closed while it sends gives up without a look at the answer. Our
    /// half is shut; what comes is dropped until the peer ends, or for as long as a head may take.
    bool starts_to_linger(conn& c) noexcept {
        const bool lingers = c.lingers && !c.peer_done && !c.hung_up && !s_.stopping();
        c.lingers = false;
        if (!lingers) return false;
        ::shutdown(c.fd, SHUT_WR);
        c.at = phase::linger, c.ends = false;
        return true;
    }

    /// An upgraded connection that has nothing left to read, and nothing to write or nobody to.
    static bool is_spent(const conn& c) noexcept {
        flow& f = *c.work();
        hold lock(f.guard);
        bool read = f.reader_dropped || (f.in_done && f.arrived.empty() && !f.on_done);
        return read && (c.hung_up || c.is_mute || (f.end_sent && !c.shuts && !c.has_output()));
    }

    /// Closes an idle connection so that no request is lost: nothing can be sent to it any more,
    /// and what was sent before is answered.
    void retire(conn& c) {
        if (c.half) return;        // read() gets to its end by itself
        c.half = c.retired = true; // shutdown(2) is an edge, too: it will be read to its end
        ::shutdown(c.fd, SHUT_RD); // the peer's next send is EPIPE; what is queued stays
    }

    void revisit() {
        const std::size_t count = again_.size(); // what is added meanwhile has its turn later
        for (std::size_t i = 0; i < count; ++i) {
            conn* const c = conns_.find(again_[i]);
            if (!c) continue;
            c->queued = false;
            visit(*c, &loop::read);
        }
        again_.erase(0, count);
    }

    void close(conn& c, const error& ours = {}) {
        const std::uint64_t id = conns_.id_of(c);
        deadlines_.clear(c);
        if ((s_.on_exchange || ours) && !c.calls) talk(c).tell_cut(ours);
        ref<box> more = std::move(c.more);
        if (more && more->counted) s_.buffered.fetch_sub(more->counted);
        if (more && more->at_work) {
            hold lock(more->at_work->guard);
            more->at_work->fd = -1; // nobody asks a descriptor that is somebody else's by now
        }
        conn gone{};
        gone.who = std::move(c.who), gone.calls = c.calls, gone.uid = c.uid;
        if (gone.who) {
            hold lock(gone.who->guard);
            gone.who->fd = -1; // as above
        }
        if (more) unwatch(c.fd); // a duplicate may live on after release(); else close(2) does it
        ::close(c.fd);
        conns_.remove(c); // first: callbacks find nobody there
        if (!gone.calls) s_.places.fetch_sub(1);
        if (more && more->pool) more->pool->lost(id);
        if (more && more->at_work && !(more->pool && more->pool->retries(more->at_work)))
            abandon(*more->at_work, failed(errc::cut_off, "connection"));
        on_closed(gone);
    }

    // -- sending

    /// Sends the batch, then the tail. False: it waits for room, or the connection is lost.
    bool flush(conn& c) {
        string_view batch = d_.out.view();
        bool all = false;
        if (seldom(c.gone)) all = false;
        else if (seldom(c.blocked)) c.more->out.append(batch); // behind what waits already
        else all = (batch.empty() && !c.has_output()) || push(c, batch);
        d_.out.capacity() < (4 << 20) ? d_.out.clear() : void(d_.out = buffer()); // of large writes
        d_.whole = 0, refused.store(d_.refused, std::memory_order_relaxed);
        return all;
    }

    bool push(conn& c, string_view batch) {
        for (;;) {
            const string_view body = memory_tail(c);
            const bool is_file = batch.empty() && has_file(c);
            if (batch.empty() && body.empty() && !is_file) {
                if (!c.more || !c.more->has_tail) return true;
                if (!pull_piece(c, batch)) return false;
                continue;
            }
            const ssize_t sent = is_file ? send_file(c) : send_parts(c, batch, body);
            if (seldom(sent <= 0)) {
                if (sent < 0 && errno == EAGAIN) return block(c, batch), false;
                if (is_file && sent == 0) return fail_tail(c, too_short()), false; // it got shorter
                if (is_file && sent < 0 && errno != EPIPE && errno != ECONNRESET)
                    return fail_tail(c, failed(errno, "file")), false;
                if (sent < 0) return lose(c), false;
            }
            add(bytes_out, static_cast<std::uint64_t>(sent));
            if (seldom(c.calls)) note_upload(c, sent);
            const std::size_t count = static_cast<std::size_t>(sent);
            const std::size_t of_batch = std::min(count, batch.size());
            batch.remove_prefix(of_batch);
            if (count > of_batch) c.more->tail_at += count - of_batch;
            // A slow source, or a reader as fast as this: EAGAIN may never come.
            if (c.more && c.more->has_tail && !(batch.empty() && c.more->tail_left() == 0) &&
                d_.is_late())
                return block(c, batch), false;
        }
    }

    /// Both in one call, but what descriptors belong to begins a call of its own (unix(7)).
    ssize_t send_parts(conn& c, string_view batch, string_view body) {
        if (seldom(batch.size() + body.size() > (64 << 10))) enlarge(c);
        iovec parts[2] = {{const_cast<char*>(batch.data()), batch.size()},
                          {const_cast<char*>(body.data()), body.size()}};
        if (!c.more || c.more->fds.empty()) return transmit(c.fd, parts, body.empty() ? 1 : 2);
        std::size_t& before = c.more->fds_at;
        if (before > 0) {
            parts[0].iov_len = before; // what stands before them leaves alone
            ssize_t sent = transmit(c.fd, parts, 1);
            if (sent > 0) before -= static_cast<std::size_t>(sent);
            return sent;
        }
        row<int> raw;
        for (const unique_fd& fd : c.more->fds) raw.push_back(fd.get());
        ssize_t sent = transmit_fds(c.fd, parts, body.empty() ? 1 : 2, raw);
        if (sent >= 0) c.more->fds.clear(); // all left with the first byte: ours are closed
        return sent;
    }

    void note_upload(conn& c, ssize_t sent) noexcept {
        if (!c.work()) return;
        if (sent > (64 << 10)) (void)is_read_on(c); // notes where the peer is
        c.work()->progress = d_.now;
        c.work()->bytes_out += static_cast<std::uint64_t>(sent);
    }

    static string_view memory_tail(const conn& c) noexcept {
        if (usually(!c.more || !c.more->has_tail || !is_in_memory(c.more->tail))) return {};
        return bytes_of(c.more->tail)
            .substr(static_cast<std::size_t>(c.more->tail_at), most_at_once);
    }

    static bool has_file(const conn& c) noexcept {
        return c.more && c.more->has_tail && access::of(c.more->tail).kind == access::kind::file &&
               c.more->tail_left() > 0;
    }
    ssize_t send_file(conn& c) noexcept {
        const source& from = *access::of(c.more->tail).from;
        const std::uint64_t size = std::min<std::uint64_t>(c.more->tail_left(), most_at_once);
        enlarge(c);
        return transmit_file(c.fd, from.file.get(), from.offset + c.more->tail_at,
                             static_cast<std::size_t>(size));
    }

    /// What a callback fills becomes the next batch; without one the tail has ended. False: it
    /// failed.
    bool pull_piece(conn& c, string_view& batch) {
        box& b = *c.more;
        if (access::of(b.tail).kind != access::kind::pulled || b.tail_left() == 0)
            return talk(c).end_tail(), true;
        if (c.calls && b.at_work) b.at_work->used_up = true;
        // The loop's: what one send leaves over is copied.
        char* const first = piece_.room(chunk_lead + piece_room + 2) + chunk_lead;
        const auto room =
            static_cast<std::size_t>(std::min<std::uint64_t>(b.tail_left(), piece_room));
        std::size_t size = 0;
        error why = pull_small(*access::of(b.tail).from, first, room, size);
        if (why == std::errc::operation_canceled) s_.log("content: " + why.message());
        if (!why && size == 0 && b.plan.how == framing::length) why = too_short();
        if (why) return fail_tail(c, why), false;
        b.tail_at += size;
        if (size == 0) b.tail_size = b.tail_at; // it has ended
        batch =
            b.plan.how == framing::chunked ? frame_piece(first, size) : string_view(first, size);
        return true;
    }
    /// Small ones leave together.
    error pull_small(source& from, char* first, std::size_t room, std::size_t& size) {
        while (size < room && size < 4096 && (size == 0 || !d_.is_late())) {
            result<std::size_t> got = pull(from, first + size, room - size);
            if (got && *got > 0) {
                size += *got;
                continue;
            }
            if (size == 0) return got.error();
            from.fill = [got](auto...) { return got; }; // once these have left
            break;
        }
        return {};
    }
    /// Not the peer's fault: they hear why. A cut, never a short body.
    [[gnu::cold]] void fail_tail(conn& c, const error& why) {
        if (c.calls) talk(c).fail_call(why);
        talk(c).tell_tail(why);
        c.gone = true;
    }

    static void enlarge(conn& c) noexcept {
        if (!c.large) enlarge_sndbuf(c.fd);
        c.large = true;
    }

    /// EAGAIN: what is left of the batch is kept, and EPOLLOUT asked for.
    void block(conn& c, string_view rest) {
        c.gone = true; // without memory for that: nothing may follow half an answer
        std::string& out = c.kept().out; // copied once it is half: each time would be n times n
        if (!is_within(out, rest) || rest.size() <= out.size() / 2) std::string(rest).swap(out);
        c.more->out_at = out.size() - rest.size();
        own(c.more->tail);
        c.gone = false, c.blocked = true;
        (void)is_read_on(c); // notes where the peer is
        ask_for(c, EPOLLOUT);
    }
    /// Nobody hears an answer. What an upgraded peer says, or answered to a client's request, is
    /// read, but nothing is sent: what follows a hole would be taken for another request.
    [[gnu::cold]] void lose(conn& c) {
        if (errno == ETOOMANYREFS) // all that this user's peers leave unread counts
            s_.log("cut: " + failed(errno, "descriptors").message(), peer_of(c.fd));
        const bool may_speak = c.calls || c.at == phase::raw;
        if (!may_speak || (errno != EPIPE && errno != ECONNRESET)) return void(c.gone = true);
        // What a kept one still says is not about a request of which it took nothing.
        if (c.work() && c.work()->reused && c.work()->bytes_out == 0) return void(c.gone = true);
        c.persistent = c.blocked = c.more->has_tail = false;
        c.more->out.clear(), (void)detail::take(c.more->tail);
        c.is_mute = c.readable = true; // no edge is to come for what came before
        queue(c);
        if (c.work()) hold(c.work()->guard), c.work()->post(); // it may have waited for this alone
    }
    void queue(conn& c) {
        if (!c.queued) again_.push_back(conns_.id_of(c));
        c.queued = true;
    }
    void ask_for(conn& c, std::uint32_t extra) noexcept {
        (void)control(EPOLL_CTL_MOD, c.fd, EPOLLIN | EPOLLRDHUP | EPOLLET | extra, conns_.id_of(c));
    }

    void on_writable(conn& c) {
        const std::uint64_t before = bytes_out.load(std::memory_order_relaxed);
        c.blocked = false;
        bool all = push(c, string_view(c.more->out).substr(c.more->out_at));
        if (!c.blocked) std::string().swap(c.more->out), c.more->out_at = 0;
        bool progress = bytes_out.load(std::memory_order_relaxed) != before;
        if (progress && c.clock == timer::write) deadlines_.clear(c); // measured anew
        if (!all) return rest(c, progress);
        ask_for(c, 0);
        resume(c);
    }

    /// There is room again, or an exchange has ended: its news first, then requests that waited.
    void resume(conn& c) {
        if (c.work()) {
            ref<flow> f = c.more->at_work; // settle() may let it go
            talk(c).settle(*f, [&] { flush(c); });
        }
        read(c);
    }

    /// At the end of the turn: never from inside of a connection's work.
    void turn_pools() {
        if (usually(pools_.empty())) return;
        read_clock();
        for (std::size_t i = pools_.size(); i-- > 0;) {
            bool stays = true;
            UDS_HTTP_TRY { stays = pools_[i]->turn(); }
            UDS_HTTP_CATCH { s_.log_thrown("pool"); }
            if (!stays) pools_.erase(i);
        }
    }

    // -- wake-ups and deadlines

    void run(callback<void()>& task) {
        UDS_HTTP_TRY { task(); }
        UDS_HTTP_CATCH { s_.log_thrown("callback"); }
    }
    void read_mail() {
        ref<flow> flows;
        row<mailbox::task> work; // not work_ itself: another server's loop may run inside, and this
        work.swap(work_);        // one inside of that
        mail_->is_ours = false;
        mail_->take(flows, work), read_clock();
        while (ref<flow> f = next_of(flows)) {
            UDS_HTTP_TRY { settle(f); }
            UDS_HTTP_CATCH { lose_memory(f->id); }
        }
        for (auto& task : work) read_clock(), run(task.run); // its delays begin now, however late
        if (work.size() < 64) work.clear(), work_.swap(work);
    }

    void settle(const ref<flow>& f) {
        milliseconds heartbeat{0};
        {
            hold lock(f->guard);
            f->posted = false; // first: what comes from here on posts it again
            std::swap(heartbeat, f->heartbeat);
        }
        conn* c = conns_.find(f->id);
        if (conn gone{}; !c || c->work() != f.get()) return talk(gone).part_with(*f);
        if (heartbeat.count() > 0 && heartbeat.count() < INT64_MAX / 2)
            make_room(), beat(*f, heartbeat);
        if (s_.stopping()) (void)f->end_events();
        resume(*c);
    }

    /// A comment line now and then: proxies and clients see that the stream lives. The timer owns
    /// nothing: whoever has gone is not held in memory until then. The next one has its room.
    void beat(flow& f, milliseconds every) noexcept {
        const std::int64_t due = f.beats_at = later(d_.now, every);
        at_surely(due, [this, id = f.id, due, every] {
            conn* c = conns_.find(id);
            const ref<flow> now = c ? c->work() : nullptr; // another one, perhaps
            if (now && now->beats_at == due && now->is_open()) beat(*now, every), now->beat();
        });
    }

    void expire() {
        for (conn* c; (c = deadlines_.first()) && c->due <= d_.now;) visit(*c, &loop::time_out);
        while (tasks_.next() <= d_.now) {
            callback<void()> task = tasks_.take();
            run(task);
        }
    }
    [[gnu::cold]] void time_out(conn& c) {
        const timer which = c.clock;
        deadlines_.clear(c);                        // else it stays the first that is due
        if (which == timer::idle) return retire(c); // a request may be on its way
        if (which == timer::write && is_read_on(c))
            return deadlines_.set(c, timer::write, d_.now, true);
        const error slow = which == timer::write ? failed(ETIMEDOUT, "write_timeout") : error();
        if (!slow) talk(c).time_out(), flush(c);
        else if (c.calls && c.work()) talk(c).fail_call(slow);
        close(c, slow);
    }

    static bool is_read_on(conn& c) noexcept {
        return c.more && detail::is_read_on(c.fd, c.more->unread);
    }

    /// A timerfd, so that pollable_fd() shows deadlines too; set when the next one gets earlier.
    void set_alarm() noexcept {
        if (usually(!std::exchange(deadlines_.is_sooner, false))) return;
        std::int64_t next = tasks_.next();
        const conn* c = deadlines_.first(); // set by the coarse clock, which lags by up to a tick
        if (c && c->due < next - 4) next = c->due + 4;
        if (next >= alarm_at_) return;
        alarm_at_ = next;
        itimerspec at{};
        at.it_value.tv_sec = static_cast<std::time_t>(next / 1000);
        at.it_value.tv_nsec = static_cast<long>(next % 1000) * 1'000'000;
        ::timerfd_settime(alarm_.get(), TFD_TIMER_ABSTIME, &at, nullptr);
    }

    deadlines deadlines_;
    ref<mailbox> mail_; // may outlive the loop
    unique_fd epoll_, alarm_;
    row<char> in_bytes_;
    char* in_ = nullptr; // all connections are read into this
    std::size_t in_size_ = 0;
    buffer piece_;
    row<std::uint64_t> again_;  // connections to read on, after the others' turn
    row<mailbox::task> work_;   // empty: memory for a few, in turn with the mailbox's
    row<ref<call_pool>> pools_; // one per client
    task_heap tasks_;           // post()'s, heartbeats, what is tried again
    std::int64_t alarm_at_ = INT64_MAX, dated_at_ = -100;
    std::time_t dated_ = -1;                // s, of desk::date
    std::uint64_t last_event_ = UINT64_MAX; // whom spin() looks at
    bool has_looked_ = false;               // and found something, in this turn
    spin_thrift thrift_;
};

// [12] SERVER -------------------------------------------------------------------------------------
// Accepting, threads, workers, draining. Whoever accepts gives the connection to the loop with the
// fewest; it stays there. Stopping: no more accepting, the path goes, idle connections end, what is
// at work goes on until the drain deadline, then everything is cut.

/// A thread of the library blocks all signals: they are the program's. 0, or errno's value.
inline int start_thread(row<pthread_t>& threads, void* (*run)(void*), void* argument) {
    sigset_t all, before;
    pthread_t thread;
    threads.reserve(threads.size() + 1); // first: a running thread must be known
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before); // a new thread inherits it: pthread_create(3)
    int why = ::pthread_create(&thread, nullptr, run, argument);
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    if (why == 0) threads.push_back(thread);
    return why;
}
inline void join(row<pthread_t>& threads) noexcept {
    for (pthread_t thread : threads) ::pthread_join(thread, nullptr);
    threads.clear();
}

/// Threads for handlers that block. Their queue is bounded: what doesn't fit is a 503.
class worker_pool : public counted {
public:
    explicit worker_pool(site& s) : s_(s) {}
    worker_pool(const worker_pool&) = delete;
    ~worker_pool() { stop(); }

    error start(unsigned count) {
        auto run = [](void* self) -> void* {
            return static_cast<worker_pool*>(self)->work(), nullptr;
        };
        while (threads_.size() < count)
            if (int why = start_thread(threads_, run, this)) return failed(why, "pthread_create");
        return {};
    }
    void stop() noexcept {
        {
            hold lock(guard_);
            stopping_ = true;
            changed_.notify_all();
        }
        join(threads_); // they finish the queue first
    }
    bool add(ref<flow> f, route& to) {
        hold lock(guard_);
        if (s_.left_jobs.exchange(0)) // who has left has no place
            for (std::size_t i = jobs_.size(); i-- > first_;)
                if (!jobs_[i]->is_open()) jobs_.erase(i);
        const std::size_t count = jobs_.size() - first_, idle = s_.options.workers - at_work_;
        if (count >= idle && count - idle >= s_.options.max_queued_count) return false;
        f->to = &to, f->in_queue = true;
        jobs_.push_back(std::move(f));
        return changed_.notify_one(), true;
    }

private:
    ref<flow> next() {
        hold lock(guard_);
        while (jobs_.size() == first_ && !stopping_) changed_.wait(guard_, deadline());
        if (jobs_.size() == first_) return {};
        ref<flow> first = std::move(jobs_[first_++]);
        if (first_ > jobs_.size() / 2) jobs_.erase(0, std::exchange(first_, 0)); // seldom
        return ++at_work_, first;
    }
    void work() {
        while (const ref<flow> f = next()) {
            std::optional<response> res;
            UDS_HTTP_TRY {
                if (f->leave_queue()) run_plain(s_, *f->to, f->req, res); // else nobody waits
            }
            UDS_HTTP_CATCH { f->cut(); } // no memory for an answer
            --at_work_;                  // first: whoever has it may ask for the next
            UDS_HTTP_TRY {
                if (res) f->send(std::move(*res), flow::mode::whole);
            }
            UDS_HTTP_CATCH { f->cut(); }
        }
    }

    site& s_;
    mutex guard_; // of all below but threads_
    condition changed_;
    row<ref<flow>> jobs_; // from `first_` on
    std::size_t first_ = 0;
    std::atomic<std::size_t> at_work_{0}; // of threads_; raised under the guard
    bool stopping_ = false;
    row<pthread_t> threads_;
};

/// Whose connections there are, known only where there is a limit per user.
class user_counts {
public:
    bool add(uid_t uid, std::size_t limit) {
        hold lock(guard_);
        for (auto& [user, count] : users_)
            if (user == uid) return count < limit && ++count > 0;
        return limit > 0 && (users_.push_back({uid, 1}), true);
    }
    void remove(uid_t uid) noexcept {
        hold lock(guard_);
        for (std::size_t i = 0; i < users_.size(); ++i)
            if (users_[i].first == uid && --users_[i].second == 0) return users_.erase(i);
    }

private:
    mutex guard_; // every loop accepts and closes
    row<std::pair<uid_t, std::size_t>> users_;
};

struct server_core final : site {
    /// A loop of this server; the first one also owns the listeners' end.
    class server_loop final : public loop {
    public:
        server_loop(server_core& core, bool is_first) : loop(core), core_(core), first_(is_first) {}

        error begin() {
            if (watch(core_.stop_event.get(), EPOLLIN | EPOLLET, stop_id) && watch_doors())
                return {};
            return failed(errno, "epoll_ctl");
        }
        /// Serves until drained.
        error serve() {
            error bad;
            mailbox* const outer = std::exchange(this_loop(), mail().get()); // blocking calls fail
            while (!bad && !has_ended()) bad = turn(-1);
            this_loop() = outer; // in a handler of another server
            if (!first_) core_.ended.fetch_add(1), ring(core_.stop_event.get());
            return bad;
        }
        bool turn_once(int timeout, error& bad) {
            mailbox* const outer = std::exchange(this_loop(), mail().get());
            if (!has_ended()) bad = turn(timeout);
            const bool done = has_ended();
            if (!done) show_rest();
            this_loop() = outer;
            return !done;
        }
        /// A connection that has a place.
        void take(unique_fd fd, std::uint16_t number, bool forbidden, uid_t uid) {
            conn* made = nullptr;
            UDS_HTTP_TRY { made = adopt(fd, number, forbidden); }
            UDS_HTTP_CATCH {}
            if (made) made->uid = uid;
            if (made) return core_.stopping() ? drain(*made) : void(); // nobody looks at it again
            core_.leave(uid);
            turn_away(fd.get(), "503 no memory for a connection");
        }
        /// The same, by any thread. False: no memory, or it has ended; `fd` is still the caller's.
        bool take_later(unique_fd& fd, std::uint16_t number, bool forbidden, uid_t uid) {
            bool is_posted = false;
            UDS_HTTP_TRY {
                is_posted = mail()->post([this, raw = fd.get(), number, forbidden, uid] {
                    take(unique_fd(raw), number, forbidden, uid);
                });
            }
            UDS_HTTP_CATCH {}
            if (is_posted) (void)fd.release();
            return is_posted;
        }

    private:
        /// A callback that posts itself again and again is cut as a connection is: finish() runs
        /// what waits then, and refuses the rest.
        bool has_ended() { return is_done() && (shuts_empty_mail() || is_cut()); }
        bool is_cut() const noexcept {
            return draining_ && (core_.stops.load() > 1 || now() >= drained_by_);
        }
        bool is_done() {
            if (core_.stopping() && !draining_) begin_drain();
            if (is_cut())
                close_all(core_.stops.load() > 1 ? failed(errc::stopped, "server")
                                                 : failed(ETIMEDOUT, "drain_timeout"));
            if (!draining_) // adopted only
                return core_.doors.empty() && first_ && core_.places == 0 && !has_calls();
            // The first loop shuts the doors for all, once all have left the queue.
            const bool is_last =
                doors_shut_ && (!paused_ || is_cut()) && core_.ended >= core_.threads.size();
            return count() == 0 && (!first_ || is_last);
        }
        /// One per event: an accept that finds nobody costs as much as another.
        void on_special(std::uint64_t id) override {
            if (id != stop_id) (void)accept_one(static_cast<std::uint16_t>(id & 0xffff));
        }

        bool watch_doors() {
            std::uint32_t events = EPOLLIN | (core_.loops.size() > 1 ? EPOLLEXCLUSIVE : 0u);
            for (std::size_t i = 0; i < core_.doors.size(); ++i)
                if (!watch(core_.doors[i]->at.fd.get(), events, door_id | i)) return false;
            return true;
        }
        void unwatch_doors() noexcept {
            for (auto& d : core_.doors) unwatch(d->at.fd.get());
        }

        bool accept_one(std::uint16_t number) {
            const int door = core_.doors[number]->at.fd.get();
            unique_fd fd(uninterrupted(
                [&] { return ::accept4(door, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC); }));
            if (!fd) {
                const int why = errno; // ECONNABORTED, accept(2): that one has gone, the next waits
                if (why == EMFILE || why == ENFILE || why == ENOBUFS || why == ENOMEM)
                    pause_accepting("out of descriptors: accepting pauses");
                else if (why != EAGAIN && why != ECONNABORTED && !core_.stopping())
                    pause_accepting("accept(2) failed: accepting pauses");
                else if (why == EAGAIN && !core_.stopping() && is_shut(door))
                    unwatch(door), core_.log("a listener was shut by another that holds it");
                return why == ECONNABORTED;
            }
            core_.accepted.fetch_add(1, std::memory_order_relaxed);
            UDS_HTTP_TRY { admit(std::move(fd), number); }
            UDS_HTTP_CATCH {} // no memory: it is closed
            return true;
        }
        void admit(unique_fd fd, std::uint16_t number) {
            const door& d = *core_.doors[number];
            const peer who = d.allow || core_.counts_users() ? peer_of(fd.get()) : peer();
            const bool forbidden = d.allow && !d.allow->admits(who);
            if (const char* why = core_.enter(who.uid)) return turn_away(fd.get(), why);
            give(std::move(fd), number, forbidden, who.uid);
        }

        /// To the loop with the fewest connections; from one that has ended to this one.
        void give(unique_fd fd, std::uint16_t number, bool forbidden, uid_t uid) {
            server_loop* to = this;
            for (auto& other : core_.loops)
                if (other->count() < to->count()) to = other.get();
            if (to == this || !to->take_later(fd, number, forbidden, uid))
                take(std::move(fd), number, forbidden, uid);
        }

        /// Too many connections: says so without becoming one.
        [[gnu::cold]] void turn_away(int fd, const char* why) {
            say_busy(fd);
            refused.store(++d_.refused, std::memory_order_relaxed);
            if (core_.on_log) core_.log(why, peer_of(fd));
        }

        /// Out of descriptors: nobody is dropped, the queue waits in the kernel, nothing spins.
        [[gnu::cold]] void pause_accepting(const char* why) {
            if (std::exchange(paused_, true)) return;
            const std::uint64_t count = core_.accepted; // while it lasts, nobody hears it again
            if (core_.told_at.exchange(count) != count) core_.log(why);
            unwatch_doors();
            if (std::exchange(will_retry_, true)) return;
            at_surely(now() + (doors_shut_ ? 10 : 100),
                      [this] { will_retry_ = false, resume_accepting(); }); // or others close
        }
        void resume_accepting() {
            if (!std::exchange(paused_, false)) return;
            if (doors_shut_) close_doors();
            else if ((!draining_ || first_) && !watch_doors()) // whoever waits is an event
                pause_accepting("epoll_ctl(2) failed: accepting pauses");
        }
        void on_closed(const conn& gone) override {
            if (!doors_shut_) resume_accepting(); // else in a moment: we may be in close_doors()
            if (core_.counts_users() && !gone.calls) core_.users.remove(gone.uid);
        }

        [[gnu::cold]] void begin_drain() {
            draining_ = true, read_clock();
            drained_by_ = later(now(), core_.options.drain_timeout);
            spares_until = now() + patience;
            at_surely(drained_by_, [] {}); // a turn, then
            at_surely(spares_until, [this] { drain_connections(); });
            // A proxy sends no POST again, but heeds Connection: close.
            keeps_until = is_superseded() ? now() + grace : 0;
            if (keeps_until) at_surely(keeps_until, [this] { drain_connections(); });
            if (first_) leave_paths();
            else unwatch_doors();
            drain_connections();
        }
        bool is_superseded() const { // reads only what remove_path(), on the first loop, leaves
            for (auto& d : core_.doors)
                if (const listener& l = d->at;
                    !is_at(l.folder, l.path, l.file) && look_at(l.folder, l.path))
                    return true;
            return false;
        }
        /// Our paths go. Where a successor has taken one over, some have looked our socket up
        /// already: they are served for a moment more.
        [[gnu::cold]] void leave_paths() {
            for (auto& d : core_.doors) remove_path(d->at);
            if (keeps_until != 0 && core_.stops.load() < 2)
                at_surely(now() + grace, [this] { close_doors(); });
            else close_doors();
        }
        /// Whoever is in the queue already is served; a plain close would reset them. Not for a
        /// listener that others hold too: shutdown hits every duplicate.
        [[gnu::cold]] void close_doors() {
            doors_shut_ = true;
            if (paused_) return; // not before there are descriptors
            unwatch_doors();
            for (std::size_t i = 0; i < core_.doors.size(); ++i) {
                door& d = *core_.doors[i];
                if (!d.is_ours) continue;
                ::shutdown(d.at.fd.get(), SHUT_RD); // connects fail from here on; the queue stays
                while (accept_one(static_cast<std::uint16_t>(i))) {
                }
            }
            drain_connections();
        }

        // ms, when the server stops: for who is on the way, for who is in and has asked nothing yet
        static constexpr std::int64_t grace = 100, patience = 1'000;
        server_core& core_;
        std::int64_t drained_by_ = 0; // ms, of now()
        bool first_, draining_ = false, paused_ = false, will_retry_ = false, doors_shut_ = false;
    };

    row<ref<route>> owned_routes; // the router points at these
    row<ref<server_loop>> loops;  // the first runs in run(), the others in threads
    row<pthread_t> threads;
    ref<worker_pool> workers; // none: all handlers are on loops
    user_counts users;
    unique_fd stop_event;
    error remembered, unheard; // of routes; of a listen() that failed, for run() without a door
    std::atomic<std::uint64_t> accepted{0}, told_at{UINT64_MAX}; // "out of ..."
    std::atomic<unsigned> ended{0}; // of `threads`; the first loop ends last: it has post()'s work
    bool started = false, finished = false;
    const pid_t owner = ::getpid(); // a forked child's copy touches nothing

    [[gnu::cold]] explicit server_core(const server_options& o) {
        options = o;
        limits = {o.max_head_bytes, o.max_target_bytes, o.max_fields_count};
        stop_event = unique_fd(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
        if (!stop_event) remember(failed(errno, "eventfd"));
        if (o.threads - 1 >= UINT16_MAX || o.workers > UINT16_MAX)
            remember(failed(EINVAL, "server_options: threads or workers"));
        if (o.max_head_bytes > max_head_memory || o.max_fields_count > max_head_memory)
            remember(failed(EINVAL, "server_options: max_head_bytes or max_fields_count"));
        do loops.push_back(new server_loop(*this, loops.empty())); // all: stats() looks at any time
        while (!remembered && loops.size() < o.threads);
        if (!remembered) remember(loops[0]->open());
    }

    void remember(error bad) {
        if (bad && !remembered) remembered = std::move(bad);
    }
    bool counts_users() const noexcept { return options.max_per_uid_count != SIZE_MAX; }
    /// A place for one more connection, or why there is none.
    const char* enter(uid_t uid) {
        if (counts_users() && !users.add(uid, options.max_per_uid_count))
            return "503 too many connections of one user";
        if (places.fetch_add(1) < options.max_connections_count) return nullptr;
        return leave(uid), "503 too many connections";
    }
    void leave(uid_t uid) noexcept {
        places.fetch_sub(1);
        if (counts_users()) users.remove(uid);
    }

    [[gnu::cold]] error start() {
        if (finished) return failed(errc::stopped, "server");
        if (started) return remembered;
        block_fds();
        if (!remembered && doors.empty() && places == 0 && !stopping())
            return unheard ? unheard : failed(EDESTADDRREQ, "server: nothing to listen on");
        UDS_HTTP_TRY { start_all(); }
        UDS_HTTP_CATCH { remember(failed(ENOMEM, "server::run")); }
        if (remembered) end_all(); // all threads, or none, and nobody waits at a door
        return remembered;
    }

    [[gnu::cold]] void start_all() {
        for (std::size_t i = 0; i < loops.size() && !remembered; ++i) {
            if (i > 0) remember(loops[i]->open());
            if (!remembered) remember(loops[i]->begin());
        }
        if (!remembered && options.workers) remember(start_workers());
        started = !remembered;
        for (std::size_t i = 1; i < loops.size() && !remembered; ++i) start_loop(*loops[i]);
    }

    /// Ours alone: others may have peers already, and SO_PASSCRED, at which recv(2) stops unseen.
    void block_fds() noexcept {
        fds_blocked = !takes_fds();
        for (auto& d : doors) {
            if (!d->is_ours || socket_option(d->at.fd.get(), pass_rights) != 0) fds_blocked = false;
            let_fds_in(d->at.fd.get(), takes_fds()); // one handed to us may have it otherwise
        }
    }

    [[gnu::cold]] error start_workers() {
        workers = new worker_pool(*this);
        to_worker = [this](ref<flow> f, route& to) { return workers->add(std::move(f), to); };
        return workers->start(options.workers);
    }
    [[gnu::cold]] void start_loop(server_loop& l) {
        auto run = [](void* at) -> void* {
            server_loop* self = static_cast<server_loop*>(at);
            if (error bad = self->serve()) self->close_all(); // epoll failed: nobody serves them
            return nullptr;
        };
        if (int why = start_thread(threads, run, &l)) remember(failed(why, "pthread_create"));
    }

    /// Drained: the other threads end, and whoever holds a stream learns of it.
    [[gnu::cold]] void finish() {
        if (!std::exchange(finished, true)) end_all(), restore_signals();
    }
    [[gnu::cold]] void end_all() {
        for (auto& d : doors) remove_path(d->at);    // first: a worker may take its time
        if (!threads.empty() && !stopping()) stop(); // once: a second one would cut what drains
        join(threads);
        // A worker that waits for a callback, or for a body, learns that there will be none.
        for (auto& l : loops) l->close_all(), l->shut_mail(started);
        if (workers) workers->stop();
        for (auto& l : loops) l->close_all(); // what came with the last mail
        for (auto& d : doors) d->at.fd = unique_fd(), d->at.owner = 0; // its inode may be reused
    }

    /// Not inside one of its own callbacks: their bytes are being parsed.
    error enter() {
        if (this_loop() && this_loop()->of == loops[0]->mail()->of)
            return failed(EALREADY, "server: it runs already");
        return start();
    }
    error run() {
        if (error bad = enter()) return bad;
        error bad = loops[0]->serve();
        return finish(), bad;
    }
    void stop() noexcept {
        stops.fetch_add(1);                     // lock-free
        if (stop_event) ring(stop_event.get()); // write(2) is in signal-safety(7)
    }

    /// Who has taken which signals. A handler does what stop() may do in one, nothing else.
    struct signal_table {
        struct user {
            int number;
            server_core* server;
            struct sigaction was; // before it
        };
        std::atomic<server_core*> targets[_NSIG]{}; // a handler gets a number and nothing else
        std::atomic<int> inside{0}; // handlers that may hold a target; a fork() leaves one for ever
        mutex guard;                // of users
        row<user> users;            // of all servers, the last one behind
        struct sigaction left[_NSIG] {}; // for who has ours to put back, though its server ended
    };
    static signal_table& takers() noexcept { // servers may end after statics do
        alignas(signal_table) static char room[sizeof(signal_table)]; // or without memory
        static signal_table& one = *new (room) signal_table;
        return one;
    }
    static void on_signal(int caught) {
        signal_table& all = takers();
        struct sigaction is {};
        all.inside.fetch_add(1); // first: ~server, on another thread, waits for it
        if (server_core* core = all.targets[caught].load()) core->stop();
        else if (!::sigaction(caught, nullptr, &is) && is.sa_handler == on_signal) // put back late
            (void)::sigaction(caught, &all.left[caught], nullptr), ::raise(caught);
        all.inside.fetch_sub(1);
    }
    [[gnu::cold]] void install_signal(int number) {
        if (number <= 0 || number >= _NSIG) return; // there is no such signal
        struct sigaction act {};
        act.sa_handler = on_signal, act.sa_flags = SA_RESTART; // the program's calls go on
        signal_table& all = takers();
        hold lock(all.guard);
        all.users.push_back({number, this, {}}); // first: it may throw
        struct sigaction& was = all.users.back().was;
        const bool is_first = !all.targets[number].exchange(this);
        if (!::sigaction(number, &act, &was) && is_first && was.sa_handler == on_signal)
            was = all.left[number];
    }
    /// Puts back what was there, which for one that is beneath another the other has to do.
    [[gnu::cold]] void restore_signals() noexcept {
        signal_table& all = takers();
        hold lock(all.guard);
        for (std::size_t i = all.users.size(); i-- > 0;) {
            const signal_table::user mine = all.users[i];
            if (mine.server != this) continue;
            all.users.erase(i);
            signal_table::user* above = nullptr;
            server_core* below = nullptr;
            for (signal_table::user& u : all.users) {
                if (u.number != mine.number) continue;
                if (&u < all.users.begin() + i) below = u.server;
                else if (!above) above = &u;
            }
            struct sigaction is {}; // perhaps another's, who came later: that stays
            (void)::sigaction(mine.number, nullptr, &is);
            if ((above ? above->was : is).sa_handler != on_signal) all.left[mine.number] = mine.was;
            else if (above) above->was = mine.was;
            else (void)::sigaction(mine.number, &mine.was, nullptr);
            if (!above) all.targets[mine.number] = below;
        }
        for (int ms = 0; ms < 1'000 && all.inside; ++ms) ::poll(nullptr, 0, 1);
    }

    /// First: without memory for it nothing is bound, taken over, or open to all.
    [[gnu::cold]] ref<door> make_door(const listen_options& o) {
        doors.reserve(doors.size() + 1);
        ref<door> made(new door);
        made->name = o.name;
        if (o.allow) made->allow.emplace(*o.allow); // what assigns vectors takes long to compile
        return made;
    }
    [[gnu::cold]] error listen(const address& where, const listen_options& o) {
        if (remembered) return remembered;
        if (started) return failed(EALREADY, "server::listen: it was started before");
        ref<door> made = make_door(o);
        result<listener> opened = open_listener(where, o, takes_fds());
        if (!opened) return unheard = opened.error();
        made->at = *std::move(opened);
        return doors.push_back(std::move(made)), error();
    }
    [[gnu::cold]] error listen_inherited(const listen_options& o) {
        if (remembered) return remembered;
        if (started) return failed(EALREADY, "server::listen_inherited: it was started before");
        result<row<named_fd>> got = inherited_listeners(o.backlog);
        if (!got) return got.error();
        for (named_fd& from : *got) {
            ref<door> d = make_door(o);
            d->at = listener{std::move(from.fd), "LISTEN_FDS"};
            d->is_ours = false; // shutdown(2) would hit all who hold it
            if (d->name.empty()) d->name = from.name;
            doors.push_back(std::move(d));
        }
        return {};
    }

    error adopt(unique_fd fd) {
        if (!is_connected_stream(fd.get())) return failed(errc::bad_descriptor, "server::adopt");
        ::fcntl(fd.get(), F_SETFL, ::fcntl(fd.get(), F_GETFL) | O_NONBLOCK);
        ::fcntl(fd.get(), F_SETFD, FD_CLOEXEC);
        const uid_t uid = counts_users() ? peer_of(fd.get()).uid : 0;
        if (counts_users()) users.add(uid, SIZE_MAX); // counted, never refused
        places.fetch_add(1);
        if (loops[0]->take_later(fd, loop::no_door, false, uid)) return {};
        leave(uid);
        if (loops[0]->takes_mail()) return failed(ENOMEM, "server::adopt");
        return failed(errc::stopped, "server::adopt");
    }

    /// Without a run() to its end: everything is cut.
    [[gnu::cold]] void destroy() {
        if (finished) return restore_signals(); // those taken since
        stop(), stop();                         // no drain
        finish();
    }
};

// [13] CLIENT -------------------------------------------------------------------------------------
// The blocking client: a pool of connections, and on each of them one exchange after the other.
//
// Descriptors are blocking. recv(2) is bounded by SO_RCVTIMEO, set anew only when what is left of a
// deadline differs noticeably, so that in the steady state a request is a peek, one send and one
// recv. A send doesn't block: sendmsg(2) waits anew for every 32 KiB of a large body, which no
// SO_SNDTIMEO bounds as a whole; after EAGAIN it is poll(2) that waits.
//
// A connection is used again only if both messages ended where they said they would, and nothing
// came behind. It refuses to follow redirects, to take 101 unasked, to send a program's mistakes.

// Inside this room failures travel as errno values; what is negative means an errc.
constexpr int cut_short = -static_cast<int>(errc::cut_off);
constexpr int malformed = -static_cast<int>(errc::bad_message);
constexpr int foreign_fds = -static_cast<int>(errc::bad_descriptor);

inline error told(int why, string_view place) {
    return why < 0 ? failed(static_cast<errc>(-why), place) : failed(why, place);
}
/// Of a wait: says how long it was to be.
inline error waited(int why, string_view place, milliseconds limit) noexcept {
    UDS_HTTP_TRY {
        const std::string ms = " (limit " + std::to_string(limit.count()) + " ms)";
        if (why == ETIMEDOUT) return told(why, std::string(place) + ms);
    }
    UDS_HTTP_CATCH {}
    return told(why, place);
}

/// What bounds the waits of an exchange.
struct bounds {
    deadline end{};                          // of all of it
    milliseconds step = milliseconds::max(); // without progress
    ref<cancel_state> cancel{};

    deadline next() const noexcept { return deadline::after(step).sooner(end); }
};

/// One connection: its descriptor, what was read ahead, and the body that is being read.
struct wire : counted {
    unique_fd fd; // none: it is still to be connected
    const client_options& options;
    std::size_t room = usual_room(); // of `in`; only refused() makes it larger
    row<char> in_bytes;
    char* in = in_bytes.reserve(room);
    std::size_t begin = 0, end = 0; // of what is unread in it
    buffer out;                     // the head of a request, or a last chunk
    headers fields;                 // of the last head; views into `in`
    bounds within;
    body_decoder body;
    milliseconds armed{-1}; // SO_RCVTIMEO
    spin_thrift thrift;
    row<int> fds;                          // to pass on with the next byte; borrowed
    row<unique_fd> came;                   // with the last byte read,
    std::size_t came_at = 0, came_end = 0; // in a read from here to there
    std::size_t interims = 0, passed = 0, searched = 0;
    bool reused = false, watches = false, large = false;
    int unread_there = 0;       // once sending had to wait: what the peer had not read yet
    bool ended = true;          // the body
    std::int64_t last_used = 0; // ns
    bool asked = false;         // for descriptors, by passing one
    bool proves = false;        // that one is all there is in `fds`
    bool takes_body_fd = false; // the server has said Accept-Body-Fd

    wire(unique_fd connected, const client_options& how) : fd(std::move(connected)), options(how) {}

    /// Pages that nothing was read into cost nothing.
    std::size_t usual_room() const noexcept {
        return std::max(options.max_head_bytes, std::size_t{128} << 10);
    }
    /// For an answer that comes while its request is still being sent.
    std::size_t most_room() const noexcept {
        return usual_room() + std::min(options.max_body_bytes, SIZE_MAX / 2);
    }
    bool takes_fds() const noexcept { return options.max_body_fd_bytes || options.max_fds_count; }
    string_view unread() const noexcept { return {in + begin, end - begin}; }

    /// A look costs a sixth of a call; one right behind the other does without, as bytes that come
    /// then are in time for the look or too late for any. A closed one makes the send fail.
    bool was_just_used() const noexcept { return now_ns() - last_used < 20'000; }

    void start(const bounds& limits) {
        within = limits, unread_there = 0, ended = watches = true;
        begin = end = interims = passed = searched = 0, came.clear();
        if (room > usual_room()) { // an early answer has needed more
            in_bytes = {};
            in = in_bytes.reserve(room = usual_room());
        }
    }

    /// SO_RCVTIMEO for the next recv(2): 0 or errno. Too early by a sixteenth saves most calls, and
    /// fill() waits for the rest.
    int arm(deadline until) noexcept {
        milliseconds rest = until.left();
        if (armed.count() > 0 && armed <= rest && armed >= rest - rest / 16) return 0;
        armed = rest;
        return set_timeout(fd.get(), SO_RCVTIMEO, until);
    }

    /// 0, errno, or cut_short at the end. ECONNRESET is an end too: the peer closed with bytes of
    /// ours unread, and all of its own came before. After EINTR it must not wait again: where a
    /// timer interrupts it more often than SO_RCVTIMEO ends it, that would be for ever.
    int receive_some(int flags) {
        ssize_t n =
            takes_fds() ? receive_with_fds(flags) : ::recv(fd.get(), in + end, room - end, flags);
        if (n > 0) return end += static_cast<std::size_t>(n), 0;
        return n == 0 || errno == ECONNRESET ? cut_short : errno;
    }
    ssize_t receive_with_fds(int flags) {
        row<unique_fd> with;
        received got = receive_fds(fd.get(), {in + end, room - end}, with, flags);
        if (!with.empty())
            came.swap(with), came_at = end, came_end = end + static_cast<std::size_t>(got.size);
        if (got.size < 0 && errno == EBADFD) errno = foreign_fds;
        return got.size;
    }

    /// Where the peer reads on, a wait that timed out does, too. Nobody says when it has read: the
    /// sooner that is seen, the less too long is the wait.
    template <class F> int wait_while_read(F wait) {
        for (deadline until = within.next();;) {
            // A stream has no step; its reader leaves alone what its writer, another thread, notes.
            const bool looks = within.step != milliseconds::max() && unread_there > 0;
            const int why = wait(looks ? deadline::after(within.step / 4).sooner(until) : until);
            if (why != ETIMEDOUT || !looks) return why;
            const bool goes_on = is_read_on(fd.get(), unread_there) && !within.end.passed();
            if (goes_on) until = within.next();
            else if (until.passed()) return why;
        }
    }

    /// Waits for bytes, within the bounds, and puts them behind what is unread. 0, cut_short or
    /// errno. A head that fills `in` was refused before.
    int fill() {
        if (begin > 0) std::memmove(in, in + begin, end - begin);
        end -= begin, came_end -= begin, came_at -= came_at < begin ? came_at : begin, begin = 0;
        return wait_while_read([this](deadline until) { return fill_until(until); });
    }
    int fill_until(deadline until) {
        int why = EAGAIN;
        const bool is_bulk = body.left() > 0 && !body.ends_at_eof(); // early looks: smaller reads
        if (options.busy_poll.count() > 0 && !is_bulk && thrift.is_worth_a_try()) {
            for (const auto last = until.sooner({spins_until(options.busy_poll)}).at;
                 why == EAGAIN && now_ns() < last && !(within.cancel && within.cancel->set);)
                why = receive_some(MSG_DONTWAIT), ++thrift.looks;
            thrift.tell(why != EAGAIN);
        }
        if (why == EAGAIN && !within.cancel) // a canceller is another descriptor: poll(2)
            if (why = arm(until); why == 0) why = receive_some(0);
        while (why == EAGAIN || why == EINTR)
            if (why = wait_ready(fd.get(), POLLIN, until, within.cancel.get()); why == 0)
                why = receive_some(MSG_DONTWAIT);
        return why;
    }

    /// A 4xx or 5xx that came before the body had left, the server may not read on, or a 101, too
    /// early. Another answer (of an echo) is read meanwhile, or both would wait for each other, as
    /// they do once it fills all the room for one.
    bool refused() {
        if (end == room && final_answer().empty())
            return true; // so much, and no answer: next_head()
        if (end == room && room < most_room()) {
            room = std::min(room * 2, most_room());
            in_bytes.assume(end);
            in = in_bytes.reserve(room);
            in_bytes.assume(0);
        }
        if (receive_some(MSG_DONTWAIT) == cut_short) watches = false;
        if (end == most_room()) return true;
        const string_view at = final_answer();
        return !at.empty() && (at[9] >= '4' || at[9] == '1'); // "HTTP/1.1 413"
    }
    /// What is there behind the `interims`, once there is a status. No byte is `searched` twice.
    string_view final_answer() {
        string_view at = unread().substr(passed);
        while (interims < 16 && at.size() > 11 && at[9] == '1' && at.substr(10, 2) != "01") {
            const std::size_t stop = at.find("\r\n\r\n", searched);
            searched = at.size() - 3;
            if (stop == string_view::npos) return {};
            at.remove_prefix(stop + 4), passed += stop + 4, searched = 0, ++interims;
        }
        return at.size() > 11 ? at : string_view();
    }

    /// EPIPE: more is of no use, or was not read in time, and an answer is there.
    int wait_for_room() {
        const short events = static_cast<short>(watches ? POLLOUT | POLLIN : POLLOUT);
        (void)is_read_on(fd.get(), unread_there); // notes where the peer is
        const int why = wait_while_read([&](deadline until) {
            return wait_ready(fd.get(), events, until, within.cancel.get());
        });
        if (why) return why == ETIMEDOUT && watches && !final_answer().empty() ? EPIPE : why;
        return watches && refused() ? EPIPE : 0;
    }

    /// All of `parts`, which it uses up: 0, EPIPE (nobody reads on), or errno.
    int send(iovec* parts, int count, std::uint64_t& sent) {
        while (count > 0) {
            ssize_t n = transmit_fds(fd.get(), parts, count, fds);
            // SO_PASSRIGHTS, or too many unread ones of this user. Asking in vain is no failure.
            const bool in_vain = n < 0 && (errno == EPERM || errno == ETOOMANYREFS);
            if (in_vain && std::exchange(proves, false)) n = 0;
            if (n < 0) {
                if (errno != EAGAIN) return errno == ECONNRESET ? EPIPE : errno;
                if (int why = wait_for_room()) return why;
                continue;
            }
            fds.clear(); // gone with the first byte
            sent += static_cast<std::uint64_t>(n);
            std::size_t gone = static_cast<std::size_t>(n);
            for (; count > 0 && gone >= parts->iov_len; ++parts, --count) gone -= parts->iov_len;
            if (count == 0) break;
            parts->iov_base = static_cast<char*>(parts->iov_base) + gone, parts->iov_len -= gone;
        }
        return 0;
    }

    /// The next bytes of the body, at most `most`; views into `in`, none at its end. 0 or why not.
    int next_piece(string_view& piece, std::size_t most = string_view::npos) {
        for (piece = {}; !ended && piece.empty();) {
            string_view rest = unread().substr(0, most);
            const std::size_t given = rest.size();
            parsed step = body.next(rest, piece);
            begin += given - rest.size();
            if (step == parsed::bad) return malformed;
            ended = step == parsed::done;
            if (ended || !piece.empty() || begin != end) continue;
            int why = fill();
            if (why == cut_short && body.ends_at_eof()) why = 0, ended = true; // RFC 9112 6.3, 8
            if (why) return why;
            if (!came.empty()) return foreign_fds; // only heads bring descriptors
        }
        return 0;
    }
};

/// What the copies of a client's streams share with it: the pool.
struct client_core : counted {
    const address where;
    const client_options options;
    const std::string name = display(where); // for messages
    mutex guard;                             // of idle, count and loops
    condition freed;
    row<ref<wire>> idle;              // the one used last is the first to be used again
    std::size_t count = 0;            // idle, in use, or being connected
    std::atomic<bool> adopted{false}; // then there is no other than that one
    ref<mailbox> home;                // async_ calls: the server's first loop,
    row<ref<mailbox>> loops;          // and all those that have a pool
    std::atomic<bool> is_gone{false}; // the client: nothing is kept any more

    client_core(const address& to, client_options how) : where(to), options(bounded(how)) {}
    /// Connections have memory for a whole head.
    static const client_options& bounded(client_options& how) noexcept {
        if (how.max_head_bytes > max_head_memory) how.max_head_bytes = max_head_memory;
        if (how.max_connections_count == 0) how.max_connections_count = 1;
        return how;
    }

    std::string place_of(const request_state& req) const {
        return name + ": " + printable(req.method) + " " + printable(req.target) + ": ";
    }

    /// The connection that was used last, or a new one that is still to be connected. Whoever has
    /// it has a place in the pool, until give().
    error pick(ref<wire>& on, const bounds& within) {
        hold lock(guard);
        while (idle.empty() && count > 0 && (adopted || count >= options.max_connections_count)) {
            bool given_up = within.cancel && within.cancel->set.load();
            if (given_up || within.end.passed())
                return failed(given_up ? ECANCELED : ETIMEDOUT, name + ": all connections in use");
            // A canceller is an eventfd, and can't wake a condition.
            deadline slice = within.cancel ? deadline::after(milliseconds(20)) : deadline();
            freed.wait(guard, slice.sooner(within.end));
        }
        idle.reserve(count + 1); // so that give() can't fail
        if (idle.empty()) return on = new wire(unique_fd(), options), ++count, error();
        on = std::move(idle.back());
        idle.shrink(idle.size() - 1);
        return {};
    }
    error take(ref<wire>& on, const bounds& within) {
        for (;;) {
            if (error e = pick(on, within)) return e;
            if (!on->fd) return connect(*on, within);
            if ((!adopted && on->was_just_used()) || is_quiet(on->fd.get())) return {};
            give(std::move(on), false); // stale: closed, and its place is free
        }
    }

    /// connect(2) has its own limit: it waits for a place in the backlog (listen(2)).
    error connect(wire& on, const bounds& within) {
        if (adopted) return failed(ENOTCONN, name + ": the adopted connection has ended");
        const deadline end = deadline::after(options.connect_timeout).sooner(within.end);
        result<unique_fd> fd = connect_to(where, end, within.cancel.get());
        if (!fd) return fd.error();
        on.fd = *std::move(fd);
        return check_peer(on.fd.get());
    }

    /// A client sees who called listen(2), as of then: unix(7), SO_PEERCRED.
    error check_peer(int fd) const {
        if (!options.expect_uid || peer_of(fd).uid == *options.expect_uid) return {};
        return failed(errc::wrong_peer,
                      name + ": not of uid " + std::to_string(*options.expect_uid));
    }

    /// What isn't kept is closed when the lock is gone. Bytes behind the end of a message belong to
    /// none, and would be taken for the next answer: RFC 9112 6.3.
    void give(ref<wire> on, bool keep) {
        hold lock(guard);
        if (keep && on->ended && on->unread().empty()) {
            on->reused = true, on->last_used = now_ns();
            idle.push_back(std::move(on));
        } else {
            --count;
        }
        freed.notify_one();
    }

    error adopt(unique_fd connected) {
        int fd = connected.get();
        if (!is_connected_stream(fd)) return failed(errc::bad_descriptor, name + ": adopt");
        if (error e = check_peer(fd)) return e;                   // then it is closed
        ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) & ~O_NONBLOCK); // duplicates see that, too
        ref<wire> on(new wire(std::move(connected), options));
        hold lock(guard);
        if (count > 0) return failed(EISCONN, name + ": adopt"); // `on` closes it
        idle.push_back(std::move(on));
        adopted = true, count = 1;
        return {};
    }
};

/// What must not get onto the wire.
inline error check_sendable(request_state& req, bool upgrades) {
    if (req.failed) return req.failed;
    if (req.method == "CONNECT" || !is_target_of(req.method, req.target))
        return failed(errc::bad_target, "not for this method");
    if (req.method == "TRACE" && known_size(req.body) != std::uint64_t(0)) // RFC 9110 9.3.8
        return failed(errc::bad_field, "content on TRACE");
    bool is_hosted = false;
    const string_view named = authority_of(req.target);
    for (const field& f : req.fields)
        if (is_named(f, "Host") && (std::exchange(is_hosted, true) || !is_authority(f.value) ||
                                    (!named.empty() && f.value != named))) // RFC 9112 3.2
            return failed(errc::bad_field, "Host");
    if (const char* ours = fds_field(req.fields)) return failed(errc::bad_field, ours);
    if (const char* fault = framing_fault(req.fields, known_size(req.body), 0))
        return failed(errc::bad_field, fault);
    if (!upgrades) return {};
    if (!req.fields.contains("Upgrade")) return failed(errc::bad_field, "no Upgrade field");
    // RFC 9110 7.8: a proxy that doesn't know the protocol has to drop it.
    if (list_has(req.fields.get("Connection"), "upgrade")) return {};
    return req.fields.set("Connection", "Upgrade");
}

/// One request and the head of its answer. Its connection goes with it, unless somebody takes that.
struct client_exchange {
    client_core& core;
    request_state& req; // the caller's: outlives this
    const bool upgrades;
    const deadline request_end{deadline::after(req.timeout)}; // a stream's only one
    ref<wire> on;                                             // from the pool and back, or closed
    bounds within{};
    body_plan plan{};
    head got{}; // the last head; views into on->in
    fd_claim claim{core.options.max_body_fd_bytes, core.options.max_fds_count};
    std::uint64_t sent = 0; // bytes that the kernel took
    unsigned interim = 0;
    bool seen = false;    // something of it left, in this try or the one before
    bool stopped = false; // the peer didn't take all of it
    bool silent = false;  // the connection ended without a byte of an answer
    bool answered = false, used_up = false;

    client_exchange(client_core& by, request& what, bool wants_upgrade = false)
        : core(by), req(state_of(what)), upgrades(wants_upgrade) {}
    client_exchange(const client_exchange&) = delete;
    ~client_exchange() {
        if (on) core.give(std::move(on), false); // not read to its end: closed
    }

    error fail(const error& bad) const {
        error e(bad.code(), core.place_of(req).append(detail::place_of(bad)));
        return mark_sent(e, seen || sent > 0);
    }
    error fail(errc code, const char* what) const { return fail(failed(code, what)); }
    error fail(int why, string_view what) const {
        const milliseconds most = std::min(req.timeout, core.options.total_timeout);
        return fail(waited(why, what, within.end.passed() ? most : within.step));
    }

    int given_up() const noexcept {
        if (within.cancel && within.cancel->set) return ECANCELED;
        return within.end.passed() ? ETIMEDOUT : 0;
    }
    /// Until the head of the answer is there.
    error start() {
        if (this_loop()) return fail(errc::would_block_loop, "blocking call");
        if (error bad = check_sendable(req, upgrades)) return fail(bad);
        within = {request_end.sooner(deadline::after(core.options.total_timeout)),
                  core.options.read_timeout, req.cancel};
        if (int why = given_up()) return fail(why, "not begun");
        if (error e = core.take(on, within)) return e;
        error e = attempt();
        if (!e || !may_retry()) return e;
        seen = sent > 0;
        on = new wire(unique_fd(), core.options); // the old one is closed, and this has its place
        if (error none = core.connect(*on, within)) return mark_sent(none, seen);
        return attempt();
    }

    /// A kept connection that was closed meanwhile. RFC 9112 9.3.1: again if nothing of the request
    /// was accepted, or if it makes no difference.
    bool may_retry() const noexcept {
        if (!silent || core.adopted) return false;
        return sent == 0 || (on->reused && is_idempotent(req.method) && !used_up);
    }

    error attempt() {
        sent = 0, interim = 0, stopped = silent = answered = false;
        on->start(within);
        if (error e = send_request()) return e;
        if (stopped && sent == 0 && on->reused) { // what it may still say is not about this request
            silent = true;
            return fail(errc::cut_off, "the kept connection had ended");
        }
        if (stopped && on->end == on->most_room()) return fail(errc::too_large, "the response");
        while (!answered)
            if (error e = next_head()) return e;
        return {};
    }

    /// All of it, unless the peer stops reading: then a refusal may be waiting, and that counts.
    error push(string_view head, string_view body = {}) {
        iovec parts[2] = {{const_cast<char*>(head.data()), head.size()},
                          {const_cast<char*>(body.data()), body.size()}};
        int why = on->send(parts, body.empty() ? 1 : 2, sent);
        stopped = why == EPIPE;
        return why && !stopped ? fail(why, "sending the request") : error();
    }

    /// Field lines about descriptors, and in `on->fds` those that go along: a body, those that have
    /// names, and once per connection any one, which tells the server that no proxy is between.
    std::string announce_fds(unique_fd& proof) {
        std::string lines;
        const bool has_room = req.fds.size() < max_fds_per_message; // for one without a name
        mapping* memory = on->takes_body_fd && has_room ? memory_of(req.body) : nullptr;
        if (memory) {
            on->fds.push_back(memory->fd.get());
            lines += "Body-Fd: length=" + std::to_string(memory->size) + "\r\n";
            plan = {framing::length, 0, false}; // Content-Length: 0 for who knows no Body-Fd
        }
        for (const named_fd& f : req.fds) on->fds.push_back(f.fd.get());
        if (!req.fds.empty()) lines += "Fds: " + fd_names(req.fds) + "\r\n";
        if (!on->takes_fds() || (!on->asked && !has_room)) return lines; // or it asks next time
        if (core.options.max_body_fd_bytes) lines += "Accept-Body-Fd: 1\r\n";
        if (core.options.max_fds_count)
            lines += "Accept-Fds: " + std::to_string(core.options.max_fds_count) + "\r\n";
        if (std::exchange(on->asked, true)) return lines;
        proof = unique_fd(::eventfd(0, EFD_CLOEXEC)); // any descriptor proves it
        on->proves = on->fds.empty();
        if (proof) on->fds.push_back(proof.get());
        return lines;
    }

    error send_request() {
        unique_fd proof;
        plan = plan_request(req);
        on->out.clear(), on->fds.clear();
        if (on->takes_fds() || !req.fds.empty())
            write_request_head(on->out, req, plan, announce_fds(proof));
        else write_request_head(on->out, req, plan);
        const string_view head = on->out.view(), body = bytes_of(req.body);
        if (!plan.sends) return push(head);
        if (plan.length > (64 << 10) && !std::exchange(on->large, true))
            enlarge_sndbuf(on->fd.get());
        bool expects = equal_nocase(req.fields.get("Expect"), "100-continue");
        if (is_in_memory(req.body) && !expects) return push(head, body); // one sendmsg(2)
        if (error e = push(head); e || stopped) return e;
        if (expects)
            if (error e = await_continue(); e || answered) return e;
        return is_in_memory(req.body) ? push(body) : send_pieces();
    }

    /// RFC 9110 10.1.1: not indefinitely; curl waits for one second too.
    error await_continue() {
        deadline until = deadline::after(milliseconds(1'000)).sooner(within.end);
        for (;;) {
            int why = 0;
            if (on->unread().empty())
                why = wait_ready(on->fd.get(), POLLIN, until, within.cancel.get());
            if (why == ETIMEDOUT && !within.end.passed()) return {}; // no word: the body goes
            if (why) return fail(why, "waiting for 100 Continue");
            stopped = true; // for a 101
            if (error e = next_head()) return e;
            stopped = answered;
            if (answered || got.status == 100) return {};
        }
    }

    /// What isn't in memory. No sendfile(2): it raises SIGPIPE, and waits as sendmsg(2) does.
    error send_pieces() {
        row<char> bytes;
        char* const piece = bytes.reserve(chunk_lead + piece_room + 2) + chunk_lead;
        const bool is_chunked = plan.how == framing::chunked;
        std::uint64_t left = is_chunked ? UINT64_MAX : plan.length;
        for (std::size_t size = 0; left > 0; left -= size) {
            size = static_cast<std::size_t>(std::min<std::uint64_t>(left, piece_room));
            result<std::size_t> n = next_piece(piece, size, plan.length - left);
            if (!n) return fail(n.error());
            if (int why = given_up()) return fail(why, "sending the request");
            if (*n == 0) return is_chunked ? send_last_chunk() : fail(too_short());
            size = *n;
            error e = push(is_chunked ? frame_piece(piece, size) : string_view(piece, size));
            if (e || stopped) return e;
        }
        return {};
    }
    error send_last_chunk() {
        const auto& s = access::of(req.body);
        on->out.clear();
        add_last_chunk(on->out,
                       s.kind == access::kind::reader ? s.from->reader.trailers() : headers());
        return push(on->out.view());
    }
    result<std::size_t> next_piece(char* into, std::size_t size, std::uint64_t done) {
        const auto kind = access::of(req.body).kind;
        source& from = *access::of(req.body).from;
        used_up = kind > access::kind::file; // read once: no retry
        if (kind == access::kind::reader) return from.reader.read(into, size);
        if (kind == access::kind::pulled) return pull(from, into, size);
        off_t at = static_cast<off_t>(from.offset + done); // no seek: it may be sent again
        ssize_t n = uninterrupted([&] { return ::pread(from.file.get(), into, size, at); });
        if (n < 0) return failed(errno, "file");
        return static_cast<std::size_t>(n);
    }

    /// One more head; `answered` if it is the final one. RFC 9110 15.2: any number of interim ones
    /// may come first; Go's client takes five.
    error next_head() {
        const head_limits limits{core.options.max_head_bytes, 0, max_response_fields};
        field* fields = open_fields(on->fields, limits.max_fields_count);
        int why = 0;
        for (std::size_t before = 0;;) { // bytes of it at the last parse
            parsed step = parsed::more;
            if (why || is_worth_parsing(on->unread(), before, limits.max_head_bytes)) {
                step = parse_response_head(on->unread(), limits, req.method, fields, got);
                before = on->unread().size();
            }
            if (step == parsed::done) break;
            if (step == parsed::bad)
                return fail(got.status == 431 ? errc::too_large : errc::bad_message, got.why);
            if (why) return fail(why, "waiting for the response");
            why = on->fill();
            silent = why == cut_short && interim == 0 && on->unread().empty(); // may be retried
        }
        close_fields(on->fields, got.fields_count, true);
        on->begin += got.size, on->interims = on->passed = on->searched = 0;
        answered = got.status >= 200 || got.status == 101;
        if (!on->came.empty() &&
            (answered ? on->begin - got.size < on->came_at : on->begin >= on->came_end))
            return fail(foreign_fds, "descriptors in the middle of a message");
        if (got.status == 101 && !(upgrades && is_offered(req.fields, on->fields)))
            return fail(errc::bad_message, "101 that nobody asked for");
        if (got.status == 101 && stopped) return fail(errc::bad_message, "101 inside of a request");
        if (!answered && ++interim > 16)
            return fail(errc::bad_message, "too many interim responses");
        on->body.start(got.how, got.length, limits, &on->fields);
        on->ended = got.how == framing::none;
        return answered ? claim_fds() : error();
    }
    /// Body-Fd without its descriptor is an error, never an empty body.
    error claim_fds() {
        if (on->takes_fds() && on->fields.get("Accept-Body-Fd") == "1") on->takes_body_fd = true;
        if (on->came.empty() && fd_claim::announced(on->fields) == 0) return {};
        error bad = claim.take(on->fields, std::exchange(on->came, {}));
        const bool has_none = // RFC 9112 6.3, 1 and 2
            req.method == "HEAD" || got.status == 101 || is_bodiless(got.status);
        if (!bad && claim.has_body && (has_none || !on->ended))
            bad = failed(errc::bad_descriptor, "Body-Fd beside a body, or where there is none");
        return bad ? fail(bad) : bad;
    }

    /// A copy, before the next read overwrites it.
    void keep_head(response& res) {
        auto& r = access::of(res);
        r.status = got.status, r.type = {}, r.extra = {};
        copy_fields(on->fields, r.fields, true);
        if (!claim.named.empty()) extra_of(res).fds = std::move(claim.named);
        if (claim.has_body) r.body = content(claim.body); // a stream reads it, too
    }

    /// The whole answer. A Content-Length is not believed for more than 1 MiB ahead.
    error read_whole(response& res) {
        const std::size_t max = core.options.max_body_bytes;
        if (got.how == framing::length && got.length > max)
            return fail(errc::too_large, "the response");
        auto& r = access::of(res);
        if (access::of(r.body).kind != access::kind::text) r.body = content();
        std::string& text = access::of(r.body).text;
        text.clear();
        keep_head(res);
        if (got.how == framing::length)
            text.reserve(static_cast<std::size_t>(got.length < (1 << 20) ? got.length : 1 << 20));
        for (string_view piece; !on->ended; text.append(piece)) {
            if (int why = on->next_piece(piece)) return fail(why, "reading the response's body");
            if (piece.size() > max - text.size()) return fail(errc::too_large, "the response");
        }
        core.give(std::move(on), may_keep());
        return {};
    }

    /// RFC 9112 9.3, 9.6: nor after a close that was ours.
    bool may_keep() const noexcept { return got.persistent && !stopped && !says_close(req.fields); }
};

/// A response's body, or an upgraded connection: then the two directions may have a thread each.
/// Only the request's own timeout bounds it: a stream may be silent for days.
struct client_stream final : stream_base {
    const ref<client_core> core;
    const std::string place;
    ref<wire> on;         // until the body has ended
    const bool raw, keep; // raw: upgraded; keep: fit for the pool
    bool open;            // for writing
    error why;

    client_stream(ref<client_core> of, client_exchange& from)
        : core(std::move(of)), place(core->place_of(from.req)), on(std::move(from.on)),
          raw(from.got.status == 101), keep(from.may_keep()), open(raw) {
        memory = std::move(from.claim.body);
        on->within = {from.request_end, milliseconds::max(), from.req.cancel};
        on->watches = false;
        if (raw) on->body.start(framing::until_close, 0), on->ended = false;
        else if (on->ended) finish();
    }
    ~client_stream() override { give(false); } // not read to its end

    void give(bool whole) {
        if (on) core->give(std::move(on), whole);
    }
    void finish() {
        if (!parse_trailers(on->body.trailers(), trailers_in)) trailers_in = headers();
        give(keep);
    }

    result<std::size_t> read(char* into, std::size_t size) override {
        if (this_loop()) return failed(errc::would_block_loop, place + "read");
        if (why) return why;
        string_view piece = memory.view().substr(memory_at, size);
        memory_at += piece.size();
        if (piece.empty() && on && size > 0) {
            if (int failure = on->next_piece(piece, size)) {
                why = told(failure, place + "reading the body");
                mark_sent(why, true);
                if (!raw) give(false); // the other direction may go on
                return why;
            }
        }
        if (!piece.empty()) std::memcpy(into, piece.data(), piece.size());
        if (!raw && on && on->ended) finish();
        return piece.size();
    }
    void on_data(callback<void(string_view)>, callback<void(const error&)> done) override {
        UDS_HTTP_TRY { done(failed(EOPNOTSUPP, place + "a blocking client's body is for read()")); }
        UDS_HTTP_CATCH_OTHERS { loop::log_thrown(); } // no loop delivers: it ran inside this call
    }
    bool is_on_loop() const noexcept override { return false; }
    void drop_reader() override {
        if (raw && on) ::shutdown(on->fd.get(), SHUT_RD); // the writer may go on
        else give(false);
    }
    raw_stream release() override {
        raw_stream out;
        if (!raw || !on) return out;
        ::fcntl(on->fd.get(), F_SETFL, ::fcntl(on->fd.get(), F_GETFL) | O_NONBLOCK);
        for (int ours : {SO_RCVTIMEO, SO_SNDTIMEO}) (void)set_timeout(on->fd.get(), ours, {});
        out.already_read = on->unread();
        out.fd = std::move(on->fd);
        open = false;
        give(false);
        return out;
    }

    written write(string_view bytes) override {
        if (!open || this_loop()) return written::closed;
        iovec part{const_cast<char*>(bytes.data()), bytes.size()};
        std::uint64_t sent = 0;
        open = on->send(&part, 1, sent) == 0; // half of it may have left: nothing may follow
        return open ? written::ok : written::closed;
    }
    written wait(milliseconds) override { return open ? written::ok : written::closed; }
    bool end(headers) override {
        return std::exchange(open, false) && ::shutdown(on->fd.get(), SHUT_WR) == 0;
    }
    void cut() override {
        if (std::exchange(open, false)) ::shutdown(on->fd.get(), SHUT_RDWR); // wakes read()
    }
    bool is_open() override { return open; }
};

// The same client on a loop. Its connections are the loop's own, told apart by conn::calls; what
// the blocking client does by waiting is done here by a pool for each client and loop, which that
// loop alone touches. No call ends inside of the function that started it.

/// A call on a loop: its deadlines, and the body of its answer for who wants that whole.
struct async_call final : counted {
    enum class wants : unsigned char { stream, whole, upgrade };

    const ref<client_core> core;
    ref<flow> f;       // its on_head owns this call until it is told
    std::string place; // which socket and request an error is about
    callback<void(result<reply>)> told;
    reply got{response(0), body_reader()}; // the body is collected in its head
    std::int64_t request_end = 0, end = 0; // ms; `request_end` bounds a stream as well

    explicit async_call(ref<client_core> by) : core(std::move(by)) {}

    /// `told` runs once, with the head (the body in it, if that was wanted) or what kept it away.
    static void start(const ref<client_core>& core, request&& req, wants what,
                      callback<void(result<reply>)> told) {
        mailbox* here = this_loop();
        const bool is_ours = here && core->home && here->of == core->home->of;
        ref<mailbox> to = is_ours ? ref<mailbox>(here) : core->home;
        ref<async_call> call(new async_call(core));
        ref<flow> f = call->f = new flow(to, UINT64_MAX, std::size_t{1} << 20); // no connection yet
        f->req = std::move(req);
        f->may_upgrade = what == wants::upgrade, f->timed = what != wants::stream;
        f->max_head_bytes = core->options.max_head_bytes;
        call->place = core->place_of(state_of(f->req));
        call->told = std::move(told);
        auto task = [call, at = to.get()] {
            loop& l = *static_cast<loop*>(at->at); // owned by itself from here on, not before
            call->f->on_head = [call](result<response> res) { call->on_head(std::move(res)); };
            UDS_HTTP_TRY { call->begin(l); }
            UDS_HTTP_CATCH { l.fail_call(*call->f, failed(ENOMEM, "async call")); }
        };
        if (to && to->post(task)) return;
        error why = failed(errc::stopped, "server");
        if (!to) why = failed(EINVAL, core->name + ": a client without a loop");
        UDS_HTTP_TRY { call->on_head(std::move(why)); }
        UDS_HTTP_CATCH {} // there is no loop to say it on, nor a log for what it throws
    }

    void begin(loop& l);

    /// Fails what is late; when to look again, or -1 once it is over. A silent answer is slow, a
    /// silent stream isn't. No canceller wakes this loop: it is asked; and so is the kernel, as in
    /// wire::wait_while_read().
    std::int64_t look(loop& l) {
        if (f->in_done) return -1;
        bool awaits = f->on_head || (f->timed && f->how != flow::mode::raw);
        const bool rests = !awaits || f->fd < 0 || f->beats_at > 0 || is_silent_upload();
        if (rests || l.is_read_on(*f)) f->progress = l.now();
        const client_options& o = core->options;
        const std::int64_t last = awaits ? std::min(request_end, end) : request_end;
        const std::int64_t due = awaits ? std::min(last, later(f->progress, o.read_timeout)) : last;
        const ref<cancel_state>& cancel = state_of(f->req).cancel;
        const int why = cancel && cancel->set ? ECANCELED : l.now() >= due ? ETIMEDOUT : 0;
        if (why) {
            const ref<flow> kept = f;                     // fail_call() may end its holder
            milliseconds most = state_of(f->req).timeout; // and a stream's only one
            if (awaits && o.total_timeout < most) most = o.total_timeout;
            const char* what = f->on_head ? "waiting for the response" : "response body";
            l.fail_call(*kept, waited(why, what, l.now() < last ? o.read_timeout : most));
            return -1;
        }
        milliseconds pause(cancel ? 50 : 7'500); // no timer stays for long behind its call
        if (awaits) pause = std::min(pause, o.read_timeout / 4 + milliseconds(1));
        return due < INT64_MAX || cancel ? std::min(due, later(l.now(), pause)) : due;
    }

private:
    void tell(const error& why) {
        error e = why;
        UDS_HTTP_TRY {
            const std::string at(place_of(why)); // of a connect, it names the socket already
            e = error(why.code(), at.find(core->name) ? place + at : at);
        }
        UDS_HTTP_CATCH {} // no memory: it is told all the same
        mark_sent(e, f->bytes_out > 0);
        std::exchange(told, {})(std::move(e));
    }
    void on_head(result<response> res) {
        const content sent = std::move(state_of(f->req).body); // this object stays for a while
        const callback<void(response&)> on_interim = std::move(state_of(f->req).on_interim);
        if (!res) return tell(res.error());
        got = {*std::move(res), access::make<body_reader>(ref<stream_base>(f.get()))};
        if (!f->timed || got.head.status() == 101)
            return f->place = std::move(place), std::exchange(told, {})(std::move(got));
        const bool is_none = f->req.method() == "HEAD" || is_bodiless(got.head.status());
        string_view size = is_none ? "" : got.head.header("Content-Length");
        const std::uint64_t stated = take_number(size).value_or(0);
        if (stated > core->options.max_body_bytes)
            return finish(failed(errc::too_large, "the response"));
        got.body.on_data([self = ref<async_call>(this)](string_view piece) { self->add(piece); },
                         [self = ref<async_call>(this)](const error& why) { self->finish(why); });
        access::of(access::of(got.head).body)
            .text.reserve(static_cast<std::size_t>(std::min<std::uint64_t>(stated, 1 << 20)));
    }
    void add(string_view piece) {
        if (!told) return; // it was too much already
        std::string& body = access::of(access::of(got.head).body).text;
        if (piece.size() <= core->options.max_body_bytes - body.size()) body.append(piece);
        else finish(failed(errc::too_large, "the response"));
    }
    void finish(const error& why) {
        if (!told) return;
        const ref<async_call> kept(this);       // what is told may drop all others
        body_reader gone = std::move(got.body); // this object lives in its callbacks
        if (why) tell(why);
        else std::exchange(told, {})(std::move(got));
    }

    /// A body that is passed on, and whose sender has sent nothing for now.
    bool is_silent_upload() {
        hold lock(f->guard);
        return f->open && f->how == flow::mode::streamed && !f->ended && f->queued.empty();
    }
};

/// Calls wait here while no connection is free; a new one serves whoever is the first then.
class loop_pool final : public call_pool {
public:
    loop_pool(loop& on, const ref<client_core>& core) : loop_(on), core_(core) {
        of = core.get();
        hold lock(core_->guard);
        core_->loops.push_back(on.mail());
    }

    void start(const ref<async_call>& call) {
        loop_.make_room();                      // for look_at()
        if (watched_.size() >= most_watched_) { // those that are over, before there are too many
            look();
            most_watched_ = watched_.size() * 2 + 16;
        }
        watched_.push_back(call);
        look_at(call->look(loop_));
        waiting_.push_back(call->f); // for turn()
    }

    // Cold: a server without a client holds nothing of this room.
    [[gnu::cold]] bool turn() override {
        serve();
        if (!core_->is_gone) return true; // else what is at work goes on
        const row<std::uint64_t> all = std::move(idle_);
        for (std::uint64_t id : all) loop_.drop(id);
        return open_ > 0 || !waiting_.empty();
    }
    // Called while the connection is at work: what follows from them waits for turn().
    [[gnu::cold]] void freed(std::uint64_t id) override { idle_.push_back(id); }
    [[gnu::cold]] void lost(std::uint64_t id) override {
        --open_;
        for (std::size_t i = idle_.size(); i-- > 0;)
            if (idle_[i] == id) idle_.erase(i);
    }
    /// As client_exchange::may_retry(), for a kept connection that was closed meanwhile.
    [[gnu::cold]] bool retries(const ref<flow>& call) override {
        bool is_cut = !call->why_in || call->why_in == errc::cut_off;
        const bool is_unseen =
            call->bytes_out == 0 && (call->reused || !std::exchange(call->retried, true));
        bool may = !call->heard && !call->used_up && is_cut && !is_shut_;
        may = may && (is_unseen || (call->reused && is_idempotent(call->req.method())));
        if (!may) return false;
        call->reused = call->in_done = false, call->why_in = error();
        call->full_until = INT64_MAX;
        UDS_HTTP_TRY { waiting_.push_back(call); }
        UDS_HTTP_CATCH { return false; }
        return true;
    }
    [[gnu::cold]] void shut() override {
        is_shut_ = true; // serve() begins nothing any more
        while (!waiting_.empty()) loop_.abandon(*next(), failed(errc::stopped, "server"));
    }

private:
    ref<flow> next() {
        ref<flow> call = std::move(waiting_[first_++]);
        if (first_ > waiting_.size() / 2) waiting_.erase(0, std::exchange(first_, 0)); // seldom
        return call;
    }

    std::int64_t look() { // when to look again
        std::int64_t next = INT64_MAX;
        std::size_t left = 0;
        for (ref<async_call>& one : watched_) {
            const std::int64_t due = one->look(loop_);
            if (due >= 0) std::swap(watched_[left++], one);
            if (due >= 0 && due < next) next = due;
        }
        watched_.shrink(left);
        if (waiting_.size() <= left * 2 + 16) return next;
        left = 0; // of those that wait, behind one that may wait for ever
        for (; first_ < waiting_.size(); ++first_)
            if (waiting_[first_]->is_open()) std::swap(waiting_[left++], waiting_[first_]);
        return waiting_.shrink(left), first_ = 0, next;
    }
    void look_at(std::int64_t due) noexcept { // once it has been, its room is the next one's
        if (due < 0 || due >= next_look_) return;
        // What has come was read by then; the clock that `due` is of may have been a tick behind.
        loop_.at_surely(due + 4, [&on = loop_, core = core_] {
            const auto self = static_cast<loop_pool*>(on.pool_of(core.get())); // none: it has gone
            if (!self || on.now() < self->next_look_) return;
            self->next_look_ = INT64_MAX, self->look_at(self->look());
        });
        next_look_ = due;
    }

    void serve() {
        while (!is_shut_ && !waiting_.empty()) {
            const ref<flow> call = waiting_[first_];
            call->reused = !idle_.empty();
            if (!call->is_open()) { // it has timed out meanwhile
                next();
            } else if (call->reused) { // the one used last is the least likely to be stale
                const std::uint64_t id = idle_.back();
                idle_.shrink(idle_.size() - 1);
                if (loop_.ask(id, call)) next();
            } else if (open_ >= core_->options.max_connections_count ||
                       loop_.now() < std::min(next_dial_, call->full_until) || !dial(call)) {
                return;
            }
        }
    }
    /// False: the backlog is full, and the call waits for its time to be up.
    bool dial(const ref<flow>& call) {
        error why;
        std::uint64_t id = UINT64_MAX;
        UDS_HTTP_TRY {
            idle_.reserve(open_ + 1); // freed() must not fail
            result<unique_fd> fd = try_connect(core_->where);
            why = fd ? core_->check_peer(fd->get()) : fd.error();
            if (why == std::errc::resource_unavailable_try_again) {
                if (pause_ == 1 || loop_.now() < call->full_until) return wait_for_backlog(), false;
                why = failed(ETIMEDOUT, core_->name + ": connect: the backlog stays full");
            }
            if (!why) id = loop_.adopt_call(*std::move(fd), this);
            if (!why && id == UINT64_MAX) why = failed(ENOMEM, core_->name + ": epoll_ctl");
        }
        UDS_HTTP_CATCH { why = failed(ENOMEM, "connect"); } // no memory is an end like others
        next();
        if (why) return loop_.abandon(*call, std::move(why)), true;
        ++open_, pause_ = 1;
        return loop_.ask(id, call), true;
    }
    /// A full backlog says EAGAIN and nothing is in progress (unix(7)). All who wait for a new
    /// connection do so together, since one was made last.
    void wait_for_backlog() {
        for (std::size_t i = first_; i < waiting_.size(); ++i)
            if (std::int64_t& until = waiting_[i]->full_until; pause_ == 1 || until == INT64_MAX)
                until = later(loop_.now(), core_->options.connect_timeout);
        loop_.at(loop_.now() + pause_, [] {}); // a turn is enough; first: it may throw
        next_dial_ = loop_.now() + pause_, pause_ = std::min<std::int64_t>(pause_ * 2, 64);
    }

    loop& loop_; // the only thread here
    const ref<client_core> core_;
    row<std::uint64_t> idle_;                // ids; the one used last is the last
    row<ref<flow>> waiting_;                 // without a connection, in order,
    std::size_t first_ = 0;                  // from here on; never empty but for those before
    row<ref<async_call>> watched_;           // all that is not over, and perhaps some that is
    std::size_t most_watched_ = 16;          // beyond that look() drops what is over
    std::int64_t next_look_ = INT64_MAX;     // ms, of the timer that is set
    std::int64_t next_dial_ = 0, pause_ = 1; // ms, while the backlog is full
    std::size_t open_ = 0;                   // of the connections; calls are on the others
    bool is_shut_ = false;
};

inline void async_call::begin(loop& l) {
    request_state& r = state_of(f->req);
    error bad = check_sendable(r, f->may_upgrade);
    if (!bad && !r.fds.empty())
        bad = failed(errc::bad_descriptor, "a client on a loop passes none");
    if (core->adopted) bad = failed(EOPNOTSUPP, core->name + ": adopted: blocking calls");
    if (!l.takes_mail()) bad = failed(errc::stopped, "server"); // posted just before the end
    if (bad) return l.abandon(*f, std::move(bad));
    f->progress = l.now();
    request_end = later(l.now(), r.timeout), end = later(l.now(), core->options.total_timeout);
    if (!l.pool_of(core.get())) l.add_pool(new loop_pool(l, core));
    static_cast<loop_pool*>(l.pool_of(core.get()))->start(this);
}

// [14] FILES --------------------------------------------------------------------------------------
// A regular file as a response: what the conditions make of it, which part was asked for, and how
// not to leave a folder. The kernel resolves names (openat2(2), RESOLVE_BENEATH): checking a path
// first and opening it later is a race that whoever may rename in the folder wins. The body is the
// descriptor. Several ranges at once are not served.

/// No charset where the type has none to state (JSON: RFC 8259 11) or the bytes say it (XML).
inline string_view media_type_of(string_view name) noexcept {
    static constexpr string_view known = // sorted
        "css text/css; charset=utf-8,csv text/csv; charset=utf-8,gif image/gif,gz application/gzip,"
        "html text/html; charset=utf-8,ico image/vnd.microsoft.icon,jpeg image/jpeg,jpg image/jpeg,"
        "js text/javascript; charset=utf-8,json application/json,md text/markdown; charset=utf-8,"
        "mjs text/javascript; charset=utf-8,mp3 audio/mpeg,mp4 video/mp4,pdf application/pdf,"
        "png image/png,svg image/svg+xml,tar application/x-tar,txt text/plain; charset=utf-8,"
        "wasm application/wasm,webm video/webm,webp image/webp,woff2 font/woff2,"
        "xml application/xml,zip application/zip";
    const std::size_t dot = name.rfind('.');
    for (string_view rest = dot == string_view::npos ? "" : known; !rest.empty();) {
        const string_view type = next_element(rest), ending = type.substr(0, type.find(' '));
        if (equal_nocase(ending, name.substr(dot + 1))) return type.substr(ending.size() + 1);
    }
    return "application/octet-stream";
}

/// The three forms of RFC 9110 5.6.7. A date is one if it would be written like this again: that
/// settles widths, names, weekdays and 31 February. (Leap seconds are lost.)
inline std::optional<std::time_t> parse_date(string_view text, std::time_t now) noexcept {
    if (text.size() < 24) return {}; // asctime's form, the shortest
    const bool is_rfc850 = text.size() > 29, is_asctime = text.size() < 29; // IMF-fixdate: 29
    string_view rest = text;
    int numbers[5]; // day, year, time; in asctime's form the year is the last
    for (int& n : numbers) {
        rest.remove_prefix(std::min(rest.find_first_of("0123456789"), rest.size()));
        n = static_cast<int>(take_number(rest).value_or(0) % 10'000);
    }
    const int* const time = numbers + (is_asctime ? 1 : 2);
    int year = numbers[is_asctime ? 4 : 1], month = 0;
    while (month < 11 && text.find(month_names + 3 * month, 0, 3) == string_view::npos) ++month;
    std::tm t{};
    ::gmtime_r(&now, &t);
    // Two digits: at most 50 years ahead, else the last such year (RFC 9110 5.6.7).
    if (is_rfc850) year += (t.tm_year + 1950 - year) / 100 * 100;
    t.tm_year += 50;
    const std::time_t latest = ::timegm(&t);
    std::time_t when = 0;
    for (;; year -= 100) {
        t.tm_year = year - 1900, t.tm_mon = month, t.tm_mday = numbers[0];
        t.tm_hour = time[0], t.tm_min = time[1], t.tm_sec = time[2];
        when = ::timegm(&t); // fills in the weekday
        if (!is_rfc850 || when <= latest) break;
    }
    char date[30] = {}, again[64]; // a Wednesday of RFC 850's form has 33
    put_date(date, when);
    if (is_rfc850)
        std::snprintf(again, sizeof again, "%s, %.2s-%.3s-%.2s %.8s GMT", day_names[t.tm_wday],
                      date + 5, date + 8, date + 14, date + 17);
    else if (is_asctime)
        std::snprintf(again, sizeof again, "%.3s %.3s %.2s %.8s %.4s", date, date + 8, date + 5,
                      date + 17, date + 12);
    else std::memcpy(again, date, sizeof date);
    if (is_asctime && again[8] == '0' && text[8] == ' ') again[8] = ' '; // it has either
    if (t.tm_year < 0 || text != again) return {};                       // 1900 on
    return when;
}

/// What a client may know a file's bytes by (RFC 9110 8.8).
struct validators {
    std::string etag;          // quoted, strong
    std::time_t modified, now; // s; now: for 13.1.5 and two-digit years
};

/// The value of a field that is no list; "" where it stands twice.
inline string_view sole(const headers& fields, string_view name) noexcept {
    string_view value;
    int count = 0;
    for (const field& f : fields)
        if (equal_nocase(f.name, name)) value = f.value, ++count;
    return count == 1 ? value : string_view();
}

/// If-Match (strongly) and If-None-Match. Cutting at commas is right although tags may hold some:
/// ours holds none, and what looks like ours can't lie inside another, which its quote would end.
inline bool names_tag(const headers& fields, string_view name, string_view etag, bool weakly) {
    for (const field& f : fields) {
        if (!equal_nocase(f.name, name)) continue;
        if (f.value == "*") return true; // there is a file
        for (string_view list = f.value; !list.empty();) {
            string_view tag = next_element(list);
            if (weakly && tag.substr(0, 2) == "W/") tag.remove_prefix(2); // RFC 9110 8.8.3.2
            if (tag == etag) return true;
        }
    }
    return false;
}

/// RFC 9110 13.2.2, in its order: 412, 304, or 200 for going on.
inline int judge(string_view method, const headers& fields, const validators& v) noexcept {
    bool is_read = method == "GET" || method == "HEAD";
    auto date = [&](string_view name) { return parse_date(sole(fields, name), v.now); };
    if (fields.contains("If-Match")) {
        if (!names_tag(fields, "If-Match", v.etag, false)) return 412;
    } else if (auto since = date("If-Unmodified-Since"); since && v.modified > *since) {
        return 412;
    }
    if (fields.contains("If-None-Match"))
        return !names_tag(fields, "If-None-Match", v.etag, true) ? 200 : is_read ? 304 : 412;
    if (!is_read) return 200; // RFC 9110 13.1.3
    auto since = date("If-Modified-Since");
    return since && v.modified <= *since ? 304 : 200;
}

struct byte_range {
    int status; // 200: all of it; 206; 416
    std::uint64_t first, length;
};

/// RFC 9110 14.1.2, 14.2: what is malformed, of another unit or several ranges, is as if not there.
inline byte_range parse_range(string_view value, std::uint64_t size) noexcept {
    const byte_range all{200, 0, size};
    if (!drop_prefix(value, "bytes=")) return all;
    const auto first = take_number(value);
    if (!drop_prefix(value, "-")) return all;
    const auto last = take_number(value);
    if (!value.empty() || (!first && !last) || (first && last && *last < *first)) return all;
    if (!first && *last > 0 && size == 0) return all; // of no bytes no Content-Range can tell
    const std::uint64_t from = first ? *first : size - std::min(*last, size);
    if (from >= size) return {416, 0, 0}; // RFC 9110 15.5.17
    return {206, from, (first && last && *last < size ? *last + 1 : size) - from};
}

inline byte_range range_of(const request& req, const validators& v, std::uint64_t size) noexcept {
    const headers& fields = req.headers();
    string_view range = req.method() == "GET" ? sole(fields, "Range") : ""; // RFC 9110 14.2
    if (fields.contains("If-Range")) {
        // 13.1.5: a strong tag, or exactly the date, which is strong once its second is over.
        const string_view known = sole(fields, "If-Range");
        const bool is_date = parse_date(known, v.now) == v.modified && v.modified < v.now;
        if (known != v.etag && !is_date) range = {};
    }
    return parse_range(range, size);
}

/// O_NONBLOCK: a FIFO would wait for its writer. O_NOCTTY: a terminal would become ours.
constexpr int read_flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;

/// openat2(2), which no libc wraps: no ".." and no link leads out of the folder, in no race either.
inline int open_beneath(int folder, const char* name, int flags) noexcept {
    struct {
        std::uint64_t flags, mode, resolve; // struct open_how of <linux/openat2.h>, Linux 5.6
    } how{static_cast<std::uint64_t>(flags), 0, 0x08 | 0x02}; // RESOLVE_BENEATH, _NO_MAGICLINKS
    // EAGAIN: a rename anywhere met a ".." of a link. A storm of them must not keep the loop.
    for (int tries = 32;; --tries) {
        auto open = [&] { return ::syscall(SYS_openat2, folder, name, &how, sizeof how); };
        int fd = static_cast<int>(uninterrupted(open));
        if (fd >= 0 || errno != EAGAIN || tries == 0) return fd;
    }
}

/// Errors: function_not_supported (no openat2); nothing weaker takes its place.
inline result<unique_fd> open_root(const std::string& folder) {
    if (folder.find('\0') != std::string::npos) return failed(EINVAL, printable(folder));
    unique_fd fd(::open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!fd) return path_failed(folder, "open");
    if (!unique_fd(open_beneath(fd.get(), ".", O_PATH | O_CLOEXEC)))
        return path_failed(folder, "openat2");
    return fd;
}

/// What conditions and Range of the request make of an opened file, or of errno. One that may not
/// be read is as if it weren't there: 404, not 403.
inline response serve_opened(unique_fd file, const request& req, string_view name,
                             struct stat info = {}) {
    if (!file || (!info.st_mode && ::fstat(file.get(), &info) != 0)) { // 0: not asked for yet
        bool is_short = errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == EAGAIN;
        return plain_status(is_short ? 503 : 404);
    }
    if (!S_ISREG(info.st_mode)) return plain_status(404); // a FIFO or device has no size to send
    // Strong, although nobody reads the bytes: ctime changes with every write (cp -p sets mtime
    // back; some file systems have nothing else), the inode where a file is replaced. Two writes in
    // place of one size in one tick of the clock (10 ms) share a tag: against that, rename(2).
    char tag[96], range[72], date[29]; // room for the greatest numbers
    std::snprintf(tag, sizeof tag, "\"%jx-%jx%08jx-%jx%08jx-%jx\"", std::uintmax_t(info.st_size),
                  std::uintmax_t(info.st_mtim.tv_sec), std::uintmax_t(info.st_mtim.tv_nsec),
                  std::uintmax_t(info.st_ctim.tv_sec), std::uintmax_t(info.st_ctim.tv_nsec),
                  std::uintmax_t(info.st_ino));
    timespec clock{}; // no later than Date will be, which lags by a tick and a tenth of a second
    ::clock_gettime(CLOCK_REALTIME_COARSE, &clock);
    const validators v{tag, info.st_mtim.tv_sec, clock.tv_sec - (clock.tv_nsec < 110'000'000)};
    int status = judge(req.method(), req.headers(), v);
    if (status == 412) return plain_status(412);
    if (status == 304) return response(304).header("ETag", tag); // 15.4.5: with its tag
    const std::uint64_t size = static_cast<std::uint64_t>(info.st_size);
    const byte_range part = range_of(req, v, size);
    if (part.status == 416)
        return plain_status(416).header("Content-Range", "bytes */" + std::to_string(size));
    std::snprintf(range, sizeof range, "bytes %ju-%ju/%ju", std::uintmax_t(part.first),
                  std::uintmax_t(part.first + part.length - 1), std::uintmax_t(size));
    // RFC 9110 8.8.2.1: never later than Date. Before 1970 lie years that the form can't hold.
    put_date(date, v.modified < 0 ? 0 : v.modified < v.now ? v.modified : v.now);
    response res(part.status);
    res.header("Accept-Ranges", "bytes").header("ETag", tag);
    res.header("Last-Modified", {date, sizeof date});
    if (part.status == 206) res.header("Content-Range", range);
    const auto from = static_cast<off_t>(part.first), all = static_cast<off_t>(part.length);
    std::string whole; // leaves with the head, by one call instead of five
    if (all <= 4096 && req.method() != "HEAD") whole.resize(static_cast<std::size_t>(all));
    if (!whole.empty() && ::pread(file.get(), &whole[0], whole.size(), from) == all)
        access::of(res).body = std::move(whole);
    else if (part.length > 0)
        access::of(res).body = content::file(std::move(file), part.first, part.length);
    access::of(res).type = media_type_of(name);
    return res;
}

/// `name` is decoded, without a first slash. A folder is its index.html.
inline response serve_beneath(int folder, const request& req, string_view name) {
    std::string path = "./" + std::string(name), below = path.back() == '/' ? path : path + '/';
    // Other spellings: nobody needs them who asks in good faith. One slash at the end is a
    // folder's; the kernel refuses it after a file (ENOTDIR).
    for (string_view odd : std::initializer_list<string_view>{"//", "/./", "/../", {"\0", 1}})
        if (below.find(odd) != std::string::npos) return plain_status(404);
    unique_fd file(open_beneath(folder, path.c_str(), read_flags));
    struct stat info {};
    const bool is_hidden = !file && errno == EACCES; // a folder to search, but not to list?
    if (is_hidden || (file && ::fstat(file.get(), &info) == 0 && S_ISDIR(info.st_mode))) {
        path = below + "index.html", info = {};
        file = unique_fd(open_beneath(folder, path.c_str(), read_flags));
    }
    return serve_opened(std::move(file), req, path, info);
}

} // namespace detail

// [15] MEMBERS ------------------------------------------------------------------------------------
// What Part I declares, on top of the rooms above.

// Members: errors and small values.

template <class T>
result<T>::result(const copied& other)
    : none_(), has_value_(other.has_value_), error_(other.error_) {
    if (has_value_) new (static_cast<void*>(&value_)) T(other.value_);
}
template <class T>
result<T>::result(result&& other)
    : none_(), has_value_(other.has_value_), error_(std::move(other.error_)) {
    if (has_value_) new (static_cast<void*>(&value_)) T(std::move(other.value_));
}
template <class T> result<T>& result<T>::operator=(result other) { // by value: what could fail has
    this->~result();                                               // been done
    return *new (static_cast<void*>(this)) result(std::move(other));
}
template <class R, class... A> R callback<R(A...)>::operator()(A... arguments) {
    if constexpr (std::is_void_v<R>)
        if (!move_) return;
    return reinterpret_cast<R (*)(void*, A...)>(invoke_)(room_, std::forward<A>(arguments)...);
}
template <class R, class... A> template <class F, class> callback<R(A...)>::callback(F function) {
    using held = detail::held<F>;
    if constexpr (held::is_here) new (static_cast<void*>(room_)) F(std::move(function));
    else new (static_cast<void*>(room_)) F*(new F(std::move(function)));
    invoke_ = reinterpret_cast<void (*)()>(&held::template invoke<R, A...>);
    move_ = &held::move;
}

inline std::error_code make_error_code(errc code) noexcept {
    static const detail::error_names category; // one: std::error_code compares addresses
    return {static_cast<int>(code), category};
}
inline error::error(std::error_code code, std::string place) {
    UDS_HTTP_TRY {
        if (code) s_ = new detail::failure(code, std::move(place));
    }
    UDS_HTTP_CATCH { s_ = &detail::out_of_memory(); }
}
inline bool operator==(const error& e, errc c) noexcept { return e.code() == make_error_code(c); }
inline const std::error_code& error::code() const noexcept {
    static const std::error_code none;
    return s_ ? s_->code : none;
}
[[gnu::cold]] inline std::string error::message() const {
    const std::string place(detail::place_of(*this));
    return place.empty() ? code().message() : place + ": " + code().message();
}
inline bool error::sent() const noexcept { return s_ && s_->sent; }

inline unique_fd& unique_fd::operator=(unique_fd&& other) noexcept {
    unique_fd old(std::exchange(fd_, other.release())); // onto itself: no change
    return *this;
}
inline unique_fd::~unique_fd() {
    if (fd_ < 0) return;
    int kept = errno; // of the call that failed before
    ::close(fd_);     // not again after EINTR: on Linux it is closed, the number may be another's
    errno = kept;
}

inline bool peer_rule::admits(const peer& who) const noexcept {
    for (uid_t uid : uids)
        if (uid == who.uid) return true;
    for (gid_t gid : gids) {
        if (gid == who.gid) return true;
        for (gid_t group : who.groups)
            if (gid == group) return true;
    }
    return false;
}

[[gnu::cold]] inline std::string percent_encode(string_view segment) {
    return detail::escaped(segment, "%", "0123456789ABCDEF", detail::unreserved_byte);
}

// Members: headers.

[[gnu::cold]] inline headers::headers(std::initializer_list<field> fields) {
    for (const field& f : fields) {
        if (!add(f.name, f.value)) continue;
        if (!s_) s_ = new detail::field_block;
        s_->list.push_back({"", ""}); // no field has that name: framing_fault() finds it
    }
}
inline headers::headers(const headers& other) : headers() {
    if (other.s_) detail::copy_fields(other, *this);
}
inline headers::headers(headers&& other) {
    if (other.s_ && other.s_->borrowed) *this = headers(std::as_const(other)); // not its to give
    else s_ = std::move(other.s_);
}
inline headers& headers::operator=(headers other) noexcept {
    return s_ = std::move(other.s_), *this;
}
inline const field* headers::begin() const noexcept { return s_ ? s_->list.begin() : nullptr; }
inline const field* headers::end() const noexcept { return s_ ? s_->list.end() : nullptr; }

inline string_view headers::get(string_view name) const noexcept {
    for (const field& f : *this)
        if (detail::equal_nocase(f.name, name)) return f.value;
    return {};
}
inline bool headers::contains(string_view name) const noexcept {
    return get(name).data() != nullptr; // an empty value has an address
}
inline error headers::add(string_view name, string_view value) {
    if (s_ && s_->hops && detail::list_has("connection,upgrade", name)) { // now it is ours
        const std::string ours(name), kept(value); // they may be views of what goes
        remove_hop_by_hop();
        return add(ours, kept);
    }
    while (!value.empty() && detail::is_blank(value.front())) value.remove_prefix(1);
    while (!value.empty() && detail::is_blank(value.back())) value.remove_suffix(1); // RFC 9110 5.5
    if (!detail::is_token(name)) return detail::failed(errc::bad_field, "field name");
    if (!detail::all_are(value, detail::value_byte))
        return detail::failed(errc::bad_field, std::string("field ").append(name));
    if (!s_) s_ = new detail::field_block;
    s_->list.push_back({s_->bytes.keep(name), s_->bytes.keep(value)});
    return {};
}
inline error headers::set(string_view name, string_view value) {
    if (!contains(name)) return add(name, value);
    headers made; // name and value may be views of what goes
    if (error bad = made.add(name, value)) return bad;
    remove(made.begin()->name);
    return add(made.begin()->name, made.begin()->value);
}
inline void headers::remove(string_view name) {
    if (!s_ || !(s_->hops || contains(name))) return;
    const std::string kept(name); // it may be a view of what goes
    // RFC 9110 7.6.1: what the peer's Connection names goes while that is known.
    if (s_->hops && detail::equal_nocase(kept, "Connection")) remove_hop_by_hop();
    std::size_t to = 0;
    for (const field& f : *this)
        if (!detail::equal_nocase(f.name, kept)) s_->list[to++] = f;
        else s_->waste += f.name.size() + f.value.size();
    s_->list.shrink(to);
    if (s_->waste > 4096) *this = headers(std::as_const(*this)); // one that is set again and again
}
inline void headers::remove_hop_by_hop() {
    if (s_) s_->hops = false;
    if (contains("Body-Fd")) remove("Content-Length"); // 0, for who knows nothing of the descriptor
    std::string named; // what Connection names goes too, with all its fields
    for (const field& f : *this)
        if (detail::equal_nocase(f.name, "Connection")) named.append(f.value).append(",");
    named += "Connection,Keep-Alive,Proxy-Connection,TE,Trailer,Transfer-Encoding,Upgrade,"
             "Proxy-Authenticate,Proxy-Authorization,Fds,Body-Fd,Accept-Body-Fd,Accept-Fds";
    std::size_t left = detail::max_response_fields + 1;
    for (string_view rest = named; !rest.empty() && left > 0; --left) {
        const string_view name = detail::next_element(rest);
        if (!name.empty() && !detail::equal_nocase(name, "Host")) remove(name); // it is everybody's
    }
    if (left > 0) return; // whoever names so many has named all there are
    const string_view host = get("Host");
    s_->list.shrink(0);
    if (host.data()) s_->list.push_back({"Host", host});
}

// Members: sealed memory and content.

inline string_view sealed_memory::view() const noexcept {
    return s_ ? string_view(s_->data, s_->size) : string_view();
}
inline result<memory_builder> memory_builder::create(std::size_t bytes) {
    rlimit most{}; // beyond it ftruncate(2) raises SIGXFSZ
    if (::getrlimit(RLIMIT_FSIZE, &most) == 0 && bytes > most.rlim_cur)
        return detail::failed(EFBIG, "memfd_create");
    unique_fd fd(::memfd_create("uds_http", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (!fd || ::ftruncate(fd.get(), static_cast<off_t>(bytes)) != 0)
        return detail::failed(errno, "memfd_create");
    memory_builder made;
    made.s_ = new detail::mapping(std::move(fd), bytes, PROT_READ | PROT_WRITE, MAP_SHARED);
    if (bytes && !made.data()) return detail::failed(errno, "mmap");
    (void)::madvise(made.data(), bytes, MADV_DONTFORK); // else a forked child's keeps seal() out
    return made;
}
inline char* memory_builder::data() noexcept { return s_ ? s_->data : nullptr; }
inline result<sealed_memory> memory_builder::seal() && {
    if (!s_) return detail::failed(EINVAL, "memory_builder::seal");
    std::size_t size = s_->size;
    unique_fd fd = std::move(s_->fd);
    s_ = {}; // a writable mapping would keep F_SEAL_WRITE from being set (fcntl(2))
    constexpr int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL;
    if (::fcntl(fd.get(), F_ADD_SEALS, seals) != 0) return detail::failed(errno, "F_ADD_SEALS");
    return detail::map_sealed(std::move(fd), size);
}
inline result<sealed_memory> sealed_memory::copy_of(string_view bytes) {
    result<memory_builder> made = memory_builder::create(bytes.size());
    if (!made) return made.error();
    if (!bytes.empty()) std::memcpy(made->data(), bytes.data(), bytes.size());
    return std::move(*made).seal();
}

inline content::content(sealed_memory bytes)
    : s_{{}, bytes.view(), new detail::source, kind::view} {
    s_.from->memory = std::move(bytes);
}
inline content& content::operator=(content&& other) noexcept {
    return s_ = std::move(other.s_), other.s_.kind = kind::text, *this;
}
inline content::content(body_reader from) : s_{{}, {}, new detail::source, kind::reader} {
    s_.from->reader = std::move(from), s_.from->relays = &relay;
}
inline content content::literal(string_view lasting) noexcept {
    content made;
    made.s_.view = lasting, made.s_.kind = kind::view;
    return made;
}
inline content content::lent(string_view by_request) noexcept {
    content made = literal(by_request);
    made.s_.kind = kind::lent;
    return made;
}
inline content content::borrowed(string_view bytes, callback<void()> released) {
    content made = literal(bytes);
    made.s_.from = new detail::source;
    made.s_.from->released = std::move(released);
    return made;
}
inline content content::file(unique_fd fd, std::uint64_t offset, std::uint64_t length) {
    content made = pulled({}, length);
    made.s_.kind = kind::file;
    made.s_.from->file = std::move(fd), made.s_.from->offset = offset;
    return made;
}
inline content content::pulled(fill act, std::optional<std::uint64_t> length) {
    content made;
    made.s_.from = new detail::source, made.s_.kind = kind::pulled;
    if (!act) act = [](auto...) -> result<std::size_t> { return detail::failed(EINVAL, "pulled"); };
    made.s_.from->fill = std::move(act), made.s_.from->length = length;
    return made;
}

// Members: request.

inline request::request() : handle(new detail::request_state) {}
inline request::request(string_view method, string_view target) : request() {
    s_->method = s_->bytes.keep(method);
    if (!detail::is_token(method)) s_->fail(detail::failed(errc::bad_field, "method"));
    s_->set_target(s_->bytes.keep(target));
}
inline request::request(request&& other) : request() { *this = std::move(other); }
inline request& request::operator=(request&& other) { // the loop keeps its own
    if (this == &other) return *this;
    if (other.s_->borrowed) (void)other.peer(), s_->take_copy_of(*other.s_); // it may end before
    else if (s_->borrowed) {
        (void)peer(); // of the connection, as its listener: whatever takes this one's place
        other.s_->from = s_->from, other.s_->listener = s_->listener;
        s_ = std::exchange(other.s_, new detail::request_state);
    } else std::swap(s_, other.s_);
    return *this;
}
inline string_view request::method() const noexcept { return s_->method; }
inline string_view request::target() const noexcept { return s_->target; }
inline string_view request::path() const noexcept { return s_->path; }
inline string_view request::query() const noexcept { return s_->query; }
inline int request::version() const noexcept { return s_->version; }
inline const uds_http::headers& request::headers() const noexcept { return s_->fields; }
inline uds_http::headers& request::headers() noexcept { return s_->fields; }
inline string_view request::listener() const noexcept { return s_->listener; }
inline std::uint64_t& request::tag() noexcept { return *s_->tag_slot; }
inline string_view request::header(string_view name) const noexcept { return s_->fields.get(name); }

inline string_view request::query(string_view name, string_view fallback) const {
    for (string_view rest = s_->query; !rest.empty();) {
        string_view pair = rest.substr(0, rest.find('&')); // before decoding: %26 is no '&'
        rest.remove_prefix(pair.size() + (pair.size() < rest.size()));
        std::size_t equal = pair.find('=');
        if (s_->decoded(pair.substr(0, equal), true) != name) continue;
        return equal == string_view::npos ? string_view()
                                          : s_->decoded(pair.substr(equal + 1), true);
    }
    return fallback;
}
inline string_view request::param(string_view name, string_view fallback) const {
    for (const auto& p : s_->params)
        if (p.name == name) return s_->decoded(p.raw, false); // '+' is itself in a path
    return fallback;
}
inline string_view request::body() const noexcept { return detail::bytes_of(s_->body); }
inline std::string request::take_body() { return detail::take_bytes(s_->body); }
inline int request::fd(string_view name) const noexcept {
    const detail::named_fd* found = detail::find_fd(s_->fds, name);
    return found ? found->fd.get() : -1;
}
inline unique_fd request::take_fd(string_view name) { return detail::take_fd(s_->fds, name); }
inline request& request::header(string_view name, string_view value) & {
    if (error bad = s_->fields.set(name, value)) s_->fail(std::move(bad));
    return *this;
}
inline request& request::body(content body, string_view type) & {
    detail::own(body);
    if (!type.empty()) header("Content-Type", type); // first: it may be a view of what goes
    s_->body = std::move(body);
    if (detail::is_received(s_->fields) && detail::known_size(s_->body))
        s_->fields.remove("Content-Length"); // a received one's
    return *this;
}
inline request& request::fd(string_view name, unique_fd passed) & {
    if (!detail::is_token(name) || !passed || detail::find_fd(s_->fds, name))
        s_->fail(detail::failed(errc::bad_descriptor, "fd " + detail::printable(name)));
    s_->fds.push_back({std::string(name), std::move(passed)});
    return *this;
}
inline request& request::timeout(milliseconds total) & { return s_->timeout = total, *this; }
inline request& request::on_interim(callback<void(response&)> act) & {
    return s_->on_interim = std::move(act), *this;
}
inline request& request::cancel_with(canceller by) & {
    return s_->cancel = detail::access::of(by), *this;
}

// Members: response.

inline uds_http::headers& response::headers() {
    if (!s_.type.empty()) {
        error bad = s_.fields.set("Content-Type", std::exchange(s_.type, {}));
        UDS_HTTP_ASSERT(!bad);
    }
    return s_.fields;
}
inline const uds_http::headers& response::headers() const {
    return const_cast<response*>(this)->headers(); // type and fields are mutable for this
}
inline string_view response::header(string_view name) const noexcept {
    if (!s_.type.empty() && detail::equal_nocase(name, "Content-Type")) return s_.type;
    return s_.fields.get(name);
}
inline string_view response::body() const noexcept { return detail::bytes_of(s_.body); }
inline std::string response::take_body() { return detail::take_bytes(s_.body); }
inline int response::fd(string_view name) const noexcept {
    const detail::named_fd* found = s_.extra ? detail::find_fd(s_.extra->fds, name) : nullptr;
    return found ? found->fd.get() : -1;
}
inline unique_fd response::take_fd(string_view name) {
    return s_.extra ? detail::take_fd(s_.extra->fds, name) : unique_fd();
}
inline response& response::header(string_view name, string_view value) & {
    error bad = headers().set(name, value);
    if (bad && !detail::extra_of(*this).failed) s_.extra->failed = std::move(bad);
    return *this;
}
inline response& response::body(content body, string_view type) & {
    s_.body = std::move(body);
    return type.empty() ? *this : header("Content-Type", type);
}
inline response& response::fd(string_view name, unique_fd passed) & {
    detail::response_extra& extra = detail::extra_of(*this);
    if (!detail::is_token(name) || !passed || detail::find_fd(extra.fds, name))
        extra.failed = detail::failed(errc::bad_descriptor, "fd " + detail::printable(name));
    extra.fds.push_back({std::string(name), std::move(passed)});
    return *this;
}

inline response text(content body) {
    return detail::typed(std::move(body), "text/plain; charset=utf-8");
}
inline response html(content body) {
    return detail::typed(std::move(body), "text/html; charset=utf-8");
}
inline response json(content body) { return detail::typed(std::move(body), "application/json"); }
inline response bytes(content body) {
    return detail::typed(std::move(body), "application/octet-stream");
}
inline response redirect(string_view to, int status) {
    return response(status).header("Location", to);
}
// Members: streams.

inline written body_writer::write(string_view copied) {
    return s_ ? s_->write(copied) : written::closed;
}
inline written body_writer::write(string_view bytes, callback<void()> released) {
    written how = write(bytes); // copies: `bytes` may go at once
    UDS_HTTP_TRY {
        if (released) released();
    }
    UDS_HTTP_CATCH {}
    return how;
}
inline written body_writer::wait(milliseconds timeout) {
    return s_ ? s_->wait(timeout) : written::closed;
}
inline void body_writer::on_drain(callback<void()> act) {
    if (s_) s_->on_drain(std::move(act));
}
inline void body_writer::on_close(callback<void()> act) {
    if (s_) s_->on_close(std::move(act));
}
inline bool body_writer::end(headers trailers) { return s_ && s_->end(std::move(trailers)); }
inline void body_writer::cut() { s_ ? s_->cut() : void(); }
inline bool body_writer::is_open() const { return s_ && s_->is_open(); }

inline body_reader::~body_reader() { s_ ? s_->drop_reader() : void(); }
inline void body_reader::on_data(callback<void(string_view)> piece,
                                 callback<void(const error&)> done) {
    if (s_) s_->on_data(std::move(piece), std::move(done));
}
inline void body_reader::pause() { s_ ? s_->pause(true) : void(); }
inline void body_reader::resume() { s_ ? s_->pause(false) : void(); }
inline const headers& body_reader::trailers() const {
    static const headers none;
    return s_ ? s_->trailers_in : none;
}
inline result<std::size_t> body_reader::read(char* into, std::size_t room) {
    if (!s_) return detail::failed(errc::stopped, "body_reader");
    return s_->read(into, room);
}

inline void relay(body_reader from, body_writer to, callback<void(const error&)> done) {
    struct pipe : detail::counted { // lives in the callbacks below, until one of them tells the end
        detail::mutex guard; // the two sides may have a loop each; never held while user code runs
        body_reader from;
        body_writer to;
        callback<void(const error&)> done;
        void end(const error& why) { // the first one counts
            body_reader in;          // dropped: its sender learns of it
            body_writer out;
            callback<void(const error&)> tell;
            {
                detail::hold lock(guard);
                std::swap(in, from), std::swap(out, to), std::swap(tell, done);
            }
            const bool is_whole = !why && out.end(in.trailers());      // not short of its length
            is_whole ? void(detail::access::of(out) = {}) : out.cut(); // a 101 makes it another's
            if (tell) tell(why || is_whole ? why : detail::failed(EPIPE, "relay"));
        }
        void leave() { end(detail::failed(EPIPE, "relay")); }
    };
    detail::ref<pipe> p(new pipe);
    const auto in = detail::access::of(from), out = detail::access::of(to); // `p` may end meanwhile
    p->from = std::move(from), p->to = std::move(to), p->done = std::move(done);
    callback<void(string_view)> piece = [p](string_view bytes) {
        written how = written::closed;
        {
            detail::hold lock(p->guard); // pause() comes before the resume() of its on_drain
            how = p->to.write(bytes);
            if (how == written::full) p->from.pause();
        }
        if (how == written::closed) p->leave(); // also one that never was open
    };
    UDS_HTTP_TRY {
        if (out && out->is_on_loop()) static_cast<detail::flow&>(*out).let_relay();
        if (in && (!out || out->is_on_loop())) // nobody else can resume it
            in->pause(false), in->on_data(std::move(piece), [p](const error& why) { p->end(why); });
        if (piece = {}, p->owners == 1) return p->leave(); // no source, or a side without a loop
    }
    UDS_HTTP_CATCH_OTHERS { return detail::loop::log_thrown(); }
    if (out) out->on_drain([p] { detail::hold(p->guard), p->from.resume(); });
    if (out && (out->on_close([p] { p->leave(); }), out->is_open())) return;
    static_cast<detail::flow&>(*in).home->post([p] { p->leave(); }); // a source may stay silent
}

inline raw_stream upgraded::release() && {
    auto& stream = detail::access::of(in);
    return stream ? stream->release() : raw_stream{unique_fd(), {}};
}

inline written event_writer::send(const event& e) {
    std::string out;
    auto line = [&out](const char* name, string_view value) {
        out.append(name).append(": ").append(value).append("\n");
    };
    if (!e.id.empty() && e.id.find_first_of(string_view("\r\n\0", 3)) == string_view::npos)
        line("id", e.id);
    if (!e.type.empty() && e.type != "message" && e.type.find_first_of("\r\n") == string_view::npos)
        line("event", e.type);
    string_view rest = e.data; // a line of data for each of its lines, whatever ends them
    for (;;) {
        std::size_t end = rest.find_first_of("\r\n");
        line("data", rest.substr(0, end));
        if (end == string_view::npos) break;
        rest.remove_prefix(end + (rest.substr(end, 2) == "\r\n" ? 2 : 1));
    }
    out += '\n'; // the empty line that sends it off
    return s_.write(out);
}

inline responder::~responder() {
    if (!is_open()) return;
    UDS_HTTP_TRY { s_->send(detail::plain_status(500), detail::flow::mode::whole, true); }
    UDS_HTTP_CATCH { s_->cut(); }
}
inline bool responder::send(response res) {
    return s_ && s_->send(std::move(res), detail::flow::mode::whole);
}
inline bool responder::inform(response interim) {
    if (!s_ || interim.status() / 100 != 1 || interim.status() == 101) return false;
    std::string head = "HTTP/1.1 " + std::to_string(interim.status()) + " \r\n";
    const auto& r = detail::access::of(interim);
    if (r.extra) return false; // a mistake, or descriptors: they go with answers
    if (detail::is_received(interim.headers())) detail::drop_framing(interim.headers(), true);
    for (const char* no : {"", "Content-Length", "Transfer-Encoding"}) // RFC 9110 8.6, 9112 6.1
        if (interim.headers().contains(no)) return false;
    for (const field& f : interim.headers())
        head.append(f.name).append(": ").append(f.value).append("\r\n");
    detail::hold lock(s_->guard);
    if (!s_->open || s_->how != detail::flow::mode::none) return false;
    s_->interims_out.append(head.append("\r\n")); // whole, or without memory not at all
    return s_->post(), s_->open;
}
inline body_writer responder::stream(response head) {
    if (!s_ || !s_->send(std::move(head), detail::flow::mode::streamed)) return {};
    return detail::access::make<body_writer>(detail::ref<detail::stream_base>(s_.get()));
}
inline event_writer responder::events(milliseconds heartbeat) {
    if (s_) {
        detail::hold lock(s_->guard);
        s_->is_events = true, s_->heartbeat = heartbeat;
    }
    response head;
    head.header("Content-Type", "text/event-stream").header("Cache-Control", "no-store");
    return detail::access::make<event_writer>(stream(std::move(head)));
}
inline void responder::upgrade(string_view protocol, callback<void(upgraded)> take, headers extra) {
    if (!s_) return;
    if (!detail::list_has(s_->offered, protocol)) {   // RFC 9110 7.8: only to what was offered
        response refusal = detail::plain_status(426); // RFC 9110 15.5.22
        refusal.header("Upgrade", protocol).header("Connection", "Upgrade");
        return void(send(std::move(refusal)));
    }
    response head(101);
    head.headers() = std::move(extra);
    if (head.headers().contains("")) return void(send(std::move(head.status(200)))); // a 500
    if (detail::is_received(head.headers())) detail::drop_framing(head.headers(), true);
    head.header("Upgrade", protocol);
    {
        detail::hold lock(s_->guard);
        if (s_->how != detail::flow::mode::none) return; // answered already: `take` is dropped
        s_->take_over = take ? std::move(take) : callback<void(upgraded)>([](upgraded) {});
    }
    if (s_->send(std::move(head), detail::flow::mode::raw)) return;
    detail::hold lock(s_->guard);
    std::swap(s_->take_over, take); // nobody is there: it may own us
}
inline bool responder::is_open() const {
    return s_ && (detail::hold(s_->guard), s_->open && s_->how == detail::flow::mode::none);
}
inline void responder::on_close(callback<void()> act) {
    if (s_) s_->install(s_->left, act); // beside the writer's own, or the relay()'s of a content
}

// Members: server.

template <class F, class> handler::handler(F function) {
    using detail::call;
    // One that takes `request` by value is given what it moves out.
    constexpr bool borrows = std::is_invocable_v<F&, request&, responder> ||
                             std::is_invocable_v<F&, request&, body_reader, responder>;
    using given = std::conditional_t<borrows, request&, request>;
    if constexpr (std::is_invocable_r_v<response, F&, const request&>) {
        // emplace() makes the response from this: the handler's is moved nowhere.
        struct made {
            F& function;
            const request& req;
            operator response() const { return function(req); }
        };
        s_.run = [f = std::move(function)](call& c) mutable { c.answer->emplace(made{f, c.req}); };
        s_.shape = shape::plain;
    } else if constexpr (std::is_invocable_v<F&, given, responder>) {
        s_.run = [f = std::move(function)](call& c) mutable {
            f(static_cast<given&&>(c.req), std::move(*c.later));
        };
        s_.shape = shape::later;
    } else {
        static_assert(std::is_invocable_v<F&, given, body_reader, responder>,
                      "a handler is response(const request&), void(request&, responder) or "
                      "void(request&, body_reader, responder)");
        s_.run = [f = std::move(function)](call& c) mutable {
            f(static_cast<given&&>(c.req), std::move(*c.body), std::move(*c.later));
        };
        s_.shape = shape::streamed;
    }
}

[[gnu::cold]] inline server::server(server_options options)
    : handle(new detail::server_core(options)) {}
[[gnu::cold]] inline server::~server() {
    // A forked child's copy: its paths, threads and epoll are the parent's. It is leaked.
    if (s_->owner != ::getpid()) s_->owners.fetch_add(1);
    else s_->destroy();
}
[[gnu::cold]] inline route& server::add(string_view method, string_view pattern, handler h) {
    s_->owned_routes.push_back(new detail::route_entry(method, pattern, std::move(h)));
    route& made = *s_->owned_routes.back();
    return s_->remember(s_->routes.add(made)), made;
}
inline void server::use(callback<std::optional<response>(request&)> before,
                        callback<void(const exchange&, response&)> after) {
    s_->has_after |= static_cast<bool>(after);
    s_->hooks.push_back({std::move(before), std::move(after)});
}
inline void server::on_exchange(callback<void(const exchange&)> act) {
    s_->on_exchange = std::move(act);
}
inline void server::on_log(callback<void(string_view)> act) { s_->on_log = std::move(act); }
[[gnu::cold]] inline error server::listen(const address& where, const listen_options& options) {
    return s_->listen(where, options);
}
[[gnu::cold]] inline error server::listen_inherited(const listen_options& options) {
    return s_->listen_inherited(options);
}
inline route::~route() = default;
inline route& route::allow(peer_rule rule) {
    return detail::access::of(*this).allowed = std::move(rule), *this;
}
inline route& route::max_body_bytes(std::size_t limit) {
    return detail::access::of(*this).body_limit = limit, *this;
}
inline route& route::on_loop() { return detail::access::of(*this).stays_on_loop = true, *this; }
inline error server::adopt(unique_fd connected) { return s_->adopt(std::move(connected)); }
inline result<unique_fd> server::hand_over(string_view name) {
    for (auto& d : s_->doors) {
        if (d->name != name || !d->at.fd || detail::is_shut(d->at.fd.get())) continue;
        unique_fd copy(detail::duplicate(d->at.fd.get())); // ours serves on until stop()
        if (!copy) return detail::failed(errno, "server::hand_over");
        d->is_ours = s_->fds_blocked = false, d->at.owner = 0; // path and options: not ours alone
        return copy;
    }
    return detail::failed(ENOENT, "server::hand_over: no listener of that name");
}
[[gnu::cold]] inline error server::run() { return s_->run(); }
[[gnu::cold]] inline error server::run(const address& where, const listen_options& how) {
    error bad = listen(where, how);
    return bad && !s_->remembered ? bad : run(); // what is remembered shuts the other doors, too
}
inline result<bool> server::run_once(milliseconds timeout) {
    if (s_->finished) return false;
    if (error bad = s_->enter()) return bad;
    error bad;
    const auto ms = timeout.count();
    const int wait = ms < 0 ? 0 : ms > INT_MAX ? INT_MAX : static_cast<int>(ms); // late: no wait
    bool goes_on = s_->loops[0]->turn_once(wait, bad);
    if (bad) return bad;
    if (!goes_on) s_->finish();
    return goes_on;
}
inline int server::pollable_fd() const {
    if (!s_->finished && s_->start()) return -1; // run_once() says why
    return s_->loops[0]->descriptor();
}
inline void server::stop() noexcept { s_->stop(); }
inline bool server::stopping() const noexcept { return s_->stopping(); }
[[gnu::cold]] inline void server::stop_on(std::initializer_list<int> numbers) {
    for (int number : numbers) s_->install_signal(number);
}
inline void server::post(callback<void()> task, milliseconds delay) {
    detail::loop* l = s_->loops[0].get();
    if (delay.count() <= 0) return void(l->mail()->post(std::move(task), true));
    // Of the exact time: the loop's is a tick behind, and it would be early by that.
    const std::int64_t when = detail::later(detail::now_ns() / 1'000'000 + 1, delay);
    auto timed = [=, task = std::move(task)]() mutable { l->at(when, std::move(task)); }; // there
    l->mail()->post(std::move(timed), true);
}
inline server_stats server::stats() const {
    server_stats sum; // of no single moment: loops go on
    sum.connections = s_->places;
    sum.accepted = s_->accepted.load(std::memory_order_relaxed);
    for (const auto& l : s_->loops) {
        sum.requests += l->requests.load(std::memory_order_relaxed);
        sum.refused += l->refused.load(std::memory_order_relaxed);
        sum.bytes_in += l->bytes_in.load(std::memory_order_relaxed);
        sum.bytes_out += l->bytes_out.load(std::memory_order_relaxed);
    }
    return sum;
}

// Members: client.

inline client::client(const address& where, client_options options)
    : handle(new detail::client_core(where, options)) {}
inline client::client(const address& where, client_options options, server& loop)
    : client(where, options) {
    s_->home = detail::access::of(loop)->loops[0]->mail();
}
inline client::~client() {
    detail::hold lock(s_->guard);
    s_->is_gone = true;
    for (auto& one : s_->loops) detail::ring(one->wake.get()); // a turn is enough
}

inline result<response> client::post(string_view target, content body, string_view type) {
    return send(request("POST", target).body(std::move(body), type));
}
inline result<response> client::put(string_view target, content body, string_view type) {
    return send(request("PUT", target).body(std::move(body), type));
}
inline result<response> client::patch(string_view target, content body, string_view type) {
    return send(request("PATCH", target).body(std::move(body), type));
}
inline result<response> client::send(request& req) {
    result<response> got = response(0);
    if (error e = send(req, *got)) got = std::move(e);
    return got;
}
inline error client::send(request& req, response& reuse) {
    detail::client_exchange one(*s_, req);
    error e = one.start();
    if (!e) e = one.read_whole(reuse);
    if (e) reuse = response(0); // nobody takes half an answer for one
    return e;
}
inline result<reply> client::stream(request&& req) {
    detail::client_exchange one(*s_, req);
    if (error e = one.start()) return e;
    reply made{response(0), body_reader()};
    one.keep_head(made.head);
    detail::access::of(made.body) = new detail::client_stream(s_, one);
    return made;
}
/// RFC 9110 7.8: a server may ignore Upgrade. Then its response is like others, and not an error.
inline result<upgraded> client::upgrade(request&& req) {
    detail::client_exchange one(*s_, req, true);
    if (error e = one.start()) return e;
    upgraded made{response(0), body_reader(), body_writer()};
    if (one.got.status != 101) {
        if (error e = one.read_whole(made.head)) return e;
        return made;
    }
    one.keep_head(made.head);
    detail::ref<detail::stream_base> both(new detail::client_stream(s_, one));
    detail::access::of(made.in) = both, detail::access::of(made.out) = both;
    return made;
}
inline error client::adopt(unique_fd connected) { return s_->adopt(std::move(connected)); }

inline void client::async_stream(request&& req, callback<void(result<reply>)> done) {
    using call = detail::async_call;
    call::start(s_, std::move(req), call::wants::stream, std::move(done));
}
inline void client::async_send(request&& req, callback<void(result<response>)> done) {
    using call = detail::async_call;
    auto told = [done = std::move(done)](result<reply> got) mutable {
        if (!got) return done(got.error());
        done(std::move(got->head));
    };
    call::start(s_, std::move(req), call::wants::whole, std::move(told));
}
inline void client::async_get(string_view target, callback<void(result<response>)> done) {
    async_send(request("GET", target), std::move(done));
}
inline void client::async_upgrade(request&& req, callback<void(result<upgraded>)> done) {
    using call = detail::async_call;
    auto told = [done = std::move(done)](result<reply> got) mutable {
        if (!got) return done(got.error());
        upgraded made{std::move(got->head), std::move(got->body), {}};
        if (made) detail::access::of(made.out) = detail::access::of(made.in);
        done(std::move(made));
    };
    call::start(s_, std::move(req), call::wants::upgrade, std::move(told));
}

inline result<response> get(string_view url) { return send(url, request("GET", "/")); }

/// The target is the URL's, unless that names none but "/": then the request's own stays.
inline result<response> send(string_view url, request&& req) {
    address where(url);
    if (where.error()) return where.error();
    detail::request_state& r = detail::state_of(req);
    if (where.target().size() > 1) r.set_target(r.bytes.keep(where.target()));
    return client(where).send(std::move(req));
}

// Members: files, and what stands on the rooms above.

inline response file(const request& req, const std::string& path) {
    if (path.find('\0') != std::string::npos) return detail::plain_status(404);
    int fd = detail::uninterrupted([&] { return ::open(path.c_str(), detail::read_flags); });
    return detail::serve_opened(unique_fd(fd), req, path);
}
inline void server::files(string_view prefix, const std::string& folder) {
    result<unique_fd> opened = detail::open_root(folder);
    if (!opened) return s_->remember(opened.error());
    if (!prefix.empty() && prefix.back() == '/') prefix.remove_suffix(1);
    get(std::string(prefix) + "/{path...}", [below = std::move(*opened)](const request& req) {
        // An escaped slash is part of a name, which no file has; decoded it would be a separator.
        bool has_slash = req.path().find("%2F") != string_view::npos ||
                         req.path().find("%2f") != string_view::npos;
        if (has_slash) return detail::plain_status(404);
        return detail::serve_beneath(below.get(), req, req.param("path"));
    });
}

[[gnu::cold]] inline address::address(string_view text) : address(detail::parse_address(text)) {}
inline address::address(detail::ref<detail::address_state> made) noexcept
    : handle(std::move(made)) {}
inline address address::abstract_name(string_view exact) {
    return address(detail::named_address("@" + std::string(exact), {}, "@"));
}
inline string_view address::target() const noexcept { return s_->target; }
inline const uds_http::error& address::error() const noexcept { return s_->failed; }
inline std::string address::url(string_view target) const {
    std::string made = "http+unix://" + percent_encode(detail::spelled(*this));
    if (target.empty() || target.front() != '/') made += '/';
    return made.append(target);
}
inline canceller::canceller() : handle(new detail::cancel_state) {}
inline void canceller::cancel() const noexcept {
    if (!s_) return; // moved from
    s_->set = true;  // before it looks for who waits, who look for it the other way round
    if (const int event = s_->event; event >= 0) detail::ring(event);
}
inline bool canceller::cancelled() const noexcept {
    return s_ && s_->set.load(std::memory_order_acquire);
}
inline const uds_http::peer& request::peer() const {
    if (!s_->from) s_->from = new detail::card(s_->fd);
    return s_->from->who;
}
inline result<unique_fd> request::peer_pidfd() const {
    (void)peer();
    detail::hold lock(s_->from->guard); // close() takes the descriptor out under it
    // Never pidfd_open(peer.pid): that may be another process by now.
    unique_fd process(detail::socket_option(s_->from->fd, 77)); // SO_PEERPIDFD; older: ENOPROTOOPT
    if (!process) return detail::failed(errno, "peer_pidfd");
    return process;
}
inline string_view response::reason() const noexcept { return detail::reason_of(s_.status); }

} // namespace v1
} // namespace uds_http

#pragma GCC diagnostic pop
#undef UDS_HTTP_TRY
#undef UDS_HTTP_CATCH
#undef UDS_HTTP_CATCH_OTHERS

template <> struct std::is_error_code_enum<uds_http::errc> : std::true_type {};

// [16] LICENSE ------------------------------------------------------------------------------------
//
// MIT License
//
// Copyright (c) 2026 the uds_http authors
//
// Permission is hereby granted, free of charge, to any person obtaining a copy of this software and
// associated documentation files (the "Software"), to deal in the Software without restriction,
// including without limitation the rights to use, copy, modify, merge, publish, distribute,
// sublicense, and/or sell copies of the Software, and to permit persons to whom the Software is
// furnished to do so, subject to the following conditions:
//
// The above copyright notice and this permission notice shall be included in all copies or
// substantial portions of the Software.
//
// THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT
// NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND
// NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM,
// DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
// OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.

#endif // UDS_HTTP_HPP
