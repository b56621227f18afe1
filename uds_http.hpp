// SPDX-License-Identifier: MIT
// uds_http.hpp: HTTP/1.1 over Unix domain sockets, server and client, in one C++17 header.
//
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
//     [10] CONNECTION [11] LOOP [12] SERVER [13] CLIENT [14] FILES [15] COROUTINES [16] LICENSE
//
// Words used throughout. "Loop": a thread inside run() or run_once(). An object is used by one
// thread at a time; where several may use it at once, its comment says "concurrently". A function
// that returns `error` or `result` never throws, and nothing else here throws but std::bad_alloc.

#ifndef UDS_HTTP_HPP
#define UDS_HTTP_HPP

#if !defined(__linux__)
#error "uds_http needs Linux: epoll, eventfd, SO_PEERCRED, /proc/self/fd"
#endif

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <map>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/types.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#ifdef __cpp_impl_coroutine
#include <coroutine>
#endif
#if defined(__SSE2__)
#include <emmintrin.h>
#elif defined(__aarch64__) && defined(__ARM_NEON)
#include <arm_neon.h>
#endif

// [1] CONFIG --------------------------------------------------------------------------------------
// Run-time values are fields of server_options, listen_options and client_options. The macros left
// are the version and the check of the caller's own mistakes.

#define UDS_HTTP_VERSION_MAJOR 0
#define UDS_HTTP_VERSION_MINOR 1
#define UDS_HTTP_VERSION_PATCH 0

#ifndef UDS_HTTP_ASSERT
#include <cassert>
#define UDS_HTTP_ASSERT(claim) assert(claim)
#endif

namespace uds_http {
inline namespace v1 {

using std::string_view;
using std::chrono::microseconds;
using std::chrono::milliseconds;

class body_reader;
class body_writer;
class request;
class responder;
class response;
class server;
template <class T> class awaitable; // [15], with C++20
template <class T> class task;

// What the classes of Part I are made of; nothing in here is for users.
namespace detail {

struct access; // the one friend: how Part II reaches private members
struct call;
struct cancel_state;
struct card;
struct client_core;
struct flow;
struct inflow;
struct mapping;
struct outflow;
struct request_state;
struct server_core;
struct source;

struct named_fd;

struct move_only {
    move_only() = default;
    move_only(move_only&&) = default;
    move_only& operator=(move_only&&) = default;
};

/// Bytes that keep their address until clear(), also when the arena moves.
class arena : move_only {
public:
    char* take(std::size_t size);
    string_view keep(string_view bytes);
    void clear() noexcept; // keeps the first block, so that a reused arena doesn't allocate
    arena() = default;
    arena(arena&& other) noexcept;
    arena& operator=(arena&& other) noexcept;

private:
    std::vector<std::unique_ptr<char[]>> blocks_;
    char* at_ = nullptr;
    std::size_t room_ = 0, first_ = 0;
};

} // namespace detail

// [2] ERRORS --------------------------------------------------------------------------------------

/// What can fail besides the system's own errors. What POSIX names is a std::errc: timed_out,
/// address_in_use, permission_denied, operation_canceled, too_many_files_open, ...
enum class errc {
    bad_address = 1,  // not a socket path, name or http+unix:// URL
    bad_pattern,      // a route that can't be, or two that are equal
    bad_field,        // a header name or value that would break the message; a bad status
    bad_target,       // a request target with bytes that may not stand there
    bad_message,      // the peer's bytes are no HTTP/1.1
    too_large,        // head or body over the limit
    cut_off,          // the connection ended inside a message
    wrong_peer,       // expect_uid: another user serves there
    bad_descriptor,   // descriptors missing, unsealed, or not asked for
    stopped,          // the server that carried this has stopped
    would_block_loop, // a blocking call made on a loop
};
std::error_code make_error_code(errc) noexcept;

/// An error code that knows its place. True when something failed.
/// Lifetime: a value; allocates only when something failed.
class [[nodiscard]] error {
public:
    error() noexcept = default;
    error(std::error_code code, std::string place) : code_(code), place_(std::move(place)) {}
    explicit operator bool() const noexcept { return static_cast<bool>(code_); }
    const std::error_code& code() const noexcept { return code_; }
    /// "/run/a.sock: connect: Connection refused": the socket, what was tried, the cause.
    std::string message() const;
    /// Client: the server may have seen (part of) the request.
    bool sent() const noexcept { return sent_; }
    friend bool operator==(const error& e, std::errc c) noexcept { return e.code_ == c; }
    friend bool operator==(const error& e, errc c) noexcept { return e.code_ == make_error_code(c); }

private:
    friend struct detail::access;
    std::error_code code_;
    std::string place_;
    bool sent_ = false;
};

/// A value, or the error that kept it from being. Reading a value that isn't there aborts, with
/// NDEBUG too: it costs one branch.
template <class T> class [[nodiscard]] result {
public:
    result(T value) : value_(std::move(value)) {}
    result(uds_http::error failed) : error_(std::move(failed)) { UDS_HTTP_ASSERT(error_); }
    explicit operator bool() const noexcept { return value_.has_value(); }
    const uds_http::error& error() const noexcept { return error_; }
    T& operator*() & { return value_ ? *value_ : (std::abort(), *value_); }
    const T& operator*() const& { return value_ ? *value_ : (std::abort(), *value_); }
    T&& operator*() && { return std::move(**this); }
    T* operator->() & { return &**this; }
    const T* operator->() const& { return &**this; }
    T* operator->() && = delete; // get(url)->body() would dangle

private:
    std::optional<T> value_;
    uds_http::error error_;
};

/// A function that is moved, not copied; captures up to 48 bytes don't allocate. One that throws
/// costs its own request or stream (500, or cut) and is reported to on_log, nothing more.
template <class> class callback;
template <class R, class... A> class callback<R(A...)> : detail::move_only {
public:
    callback() noexcept = default;
    template <class F, class = std::enable_if_t<std::is_invocable_r_v<R, F&, A...> &&
                                                !std::is_same_v<std::decay_t<F>, callback>>>
    callback(F function) {
        if constexpr (fits<F>) new (room_) F(std::move(function));
        else *reinterpret_cast<F**>(room_) = new F(std::move(function));
        act_ = [](action what, void* self, void* other) { manage<F>(what, self, other); };
        invoke_ = [](void* self, A... args) -> R { return (*held<F>(self))(std::forward<A>(args)...); };
    }
    callback(callback&& other) noexcept { take(other); }
    callback& operator=(callback&& other) noexcept {
        if (this != &other) reset(), take(other);
        return *this;
    }
    ~callback() { reset(); }
    R operator()(A... args) { return invoke_(room_, std::forward<A>(args)...); }
    explicit operator bool() const noexcept { return act_ != nullptr; }

private:
    enum class action { move, destroy };
    template <class F>
    static constexpr bool fits = sizeof(F) <= 48 && alignof(F) <= alignof(std::max_align_t) &&
                                 std::is_nothrow_move_constructible_v<F>;
    template <class F> static F* held(void* self) noexcept {
        if constexpr (fits<F>) return static_cast<F*>(self);
        else return *static_cast<F**>(self);
    }
    template <class F> static void manage(action what, void* self, void* other) noexcept {
        if constexpr (fits<F>) {
            if (what == action::move) new (other) F(std::move(*held<F>(self)));
            held<F>(self)->~F();
        } else {
            if (what == action::move) *static_cast<F**>(other) = held<F>(self);
            else delete held<F>(self);
        }
    }
    void reset() noexcept {
        if (act_) act_(action::destroy, room_, nullptr);
        act_ = nullptr;
    }
    void take(callback& other) noexcept {
        if (other.act_) other.act_(action::move, other.room_, room_);
        act_ = std::exchange(other.act_, nullptr);
        invoke_ = other.invoke_;
    }

    void (*act_)(action, void*, void*) = nullptr;
    R (*invoke_)(void*, A...) = nullptr;
    alignas(std::max_align_t) unsigned char room_[48];
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

struct detail::named_fd {
    std::string name;
    unique_fd fd;
};

/// Where a socket is: "/run/a.sock", "./relative", "@abstract" (as on Linux everywhere; a file of
/// that name is "./@abstract"), "unix:///run/a.sock", "http+unix://%2Frun%2Fa.sock" (a first %00 or
/// %40 is abstract) or "http://unix:/run/a.sock:/path".
/// Errors:   a bad one is remembered; whoever uses it returns it, and error() shows it.
/// Lifetime: a value. A relative path means the working directory of the moment of use.
class address {
public:
    address(const char* text) : address(string_view(text)) {}
    address(const std::string& text) : address(string_view(text)) {}
    address(string_view text);
    /// An abstract name, exactly these bytes (unix(7)), NULs kept. It has no file permissions: who
    /// may connect is for listen_options::allow to say.
    static address abstract_name(string_view exact);
    /// The http+unix:// URL of `target` at this address.
    std::string url(string_view target = "/") const;
    const uds_http::error& error() const noexcept { return error_; }

private:
    friend struct detail::access;
    address() = default;
    std::string name_; // path, or abstract name without its leading NUL
    bool abstract_ = false;
    std::string target_; // what a URL named besides the socket; else empty
    uds_http::error error_;
};

/// A process at the other end, as it was at connect() (SO_PEERCRED, unix(7)). Trust uid, gid and
/// groups: the kernel vouches for them. pid is for logs: by now it may be another process's.
struct peer {
    pid_t pid = 0;
    uid_t uid = static_cast<uid_t>(-1);
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
class canceller {
public:
    canceller();
    void cancel() const noexcept;
    bool cancelled() const noexcept;

private:
    friend struct detail::access;
    friend struct detail::request_state;
    explicit canceller(std::shared_ptr<detail::cancel_state> none) : state_(std::move(none)) {}
    std::shared_ptr<detail::cancel_state> state_;
};

// [3] MESSAGES ------------------------------------------------------------------------------------
// Views into a message live as long as the message does and is not changed.

struct field {
    string_view name, value;
};

/// Header fields in their order; names are compared without case (RFC 9110 5.1).
class headers {
public:
    headers(std::initializer_list<field> fields = {});
    headers(const headers& other);
    headers(headers&& other);
    headers& operator=(const headers& other);
    headers& operator=(headers&& other);
    ~headers() = default;
    /// The first field of that name; "" if there is none.
    string_view get(string_view name) const noexcept;
    bool contains(string_view name) const noexcept;
    const field* begin() const noexcept { return fields_.get(); }
    const field* end() const noexcept { return fields_.get() + count_; }
    /// Replaces all fields of that name by one; adds another one.
    /// Errors: bad_field (name is no token, or value has CR, LF, NUL or another control).
    error set(string_view name, string_view value);
    error add(string_view name, string_view value);
    void remove(string_view name);
    /// What a proxy must not pass on: Connection, what it names, and the others (RFC 9110 7.6.1).
    void remove_hop_by_hop();

private:
    friend struct detail::access;
    std::unique_ptr<field[]> fields_;
    std::size_t count_ = 0, room_ = 0;
    detail::arena bytes_;
    bool borrowed_ = false; // the views point into somebody else's buffer
};

/// Read-only bytes in a sealed memfd, which cross to another process without a copy.
/// Threads: concurrently; copies share the bytes, which live as long as any of them.
class sealed_memory {
public:
    static result<sealed_memory> copy_of(string_view bytes);
    string_view view() const noexcept;

private:
    friend struct detail::access;
    std::shared_ptr<detail::mapping> map_;
};

/// Memory to fill and then seal (memfd_create(2), F_SEAL_WRITE).
class memory_builder : detail::move_only {
public:
    static result<memory_builder> create(std::size_t bytes);
    char* data() noexcept;
    result<sealed_memory> seal() &&;

private:
    std::unique_ptr<detail::mapping, void (*)(detail::mapping*)> map_{nullptr, nullptr};
};

/// What a message carries. Everything but `literal` and `borrowed` owns its bytes.
class content : detail::move_only {
public:
    /// Fills `into` with up to `room` bytes; 0: the end; an error: the message is cut.
    using fill = callback<result<std::size_t>(char* into, std::size_t room)>;

    content() noexcept;
    content(std::string bytes) noexcept;
    content(string_view copied);
    content(const char* copied);
    content(sealed_memory bytes);
    content(body_reader source); // passed on as it comes; a cut stays a cut
    static content literal(string_view forever); // bytes as old as the process
    /// `released` runs once, when the bytes were sent or dropped, on whatever thread that happens.
    static content borrowed(string_view bytes, callback<void()> released);
    /// `length` bytes of a regular file from `offset`, by sendfile(2).
    static content file(unique_fd fd, std::uint64_t offset, std::uint64_t length);
    /// Asks for bytes when there is room for them, on the loop: never block in it. Without a length
    /// it goes out chunked.
    static content pulled(fill, std::optional<std::uint64_t> length = {});
    content(content&&) noexcept;
    content& operator=(content&&) noexcept;
    ~content();

private:
    friend struct detail::access;
    enum class kind : unsigned char { text, view, file, pulled, reader };
    std::string text_;
    string_view view_;
    std::unique_ptr<detail::source> source_;
    kind kind_ = kind::text;
};

/// A request: received by a handler, or built for a client.
/// Lifetime: views of a received one end with the handler, and with whatever changes it. MOVING one
/// out copies its bytes: the moved object is yours, and so are its views.
class request {
public:
    /// Errors: a bad method, target or field is remembered; send() returns it.
    request(string_view method, string_view target);
    request(request&&);
    request& operator=(request&&);
    ~request();

    // As on the wire, not decoded:
    string_view method() const noexcept, target() const noexcept, path() const noexcept,
        query() const noexcept;
    /// The first query value of that name, decoded ('+' is a space, %XX a byte).
    string_view query(string_view name, string_view fallback = {}) const;
    /// What `{name}` of the route matched, decoded after splitting at '/'.
    string_view param(string_view name, string_view fallback = {}) const;
    string_view header(string_view name) const noexcept;
    string_view body() const noexcept;
    std::string take_body();
    int version() const noexcept; // 10 or 11
    const uds_http::headers& headers() const noexcept;
    uds_http::headers& headers() noexcept;

    /// Who sent it; asked of the kernel at first use, once per connection.
    const uds_http::peer& peer() const;
    /// A handle on that process which can't be reused for another one (SO_PEERPIDFD, Linux 6.5).
    /// Errors: protocol_not_available (older kernels).
    result<unique_fd> peer_pidfd() const;
    string_view listener() const noexcept; // listen_options::name
    std::uint64_t& tag() noexcept;         // a number of yours; on_exchange shows it
    int fd(string_view name) const noexcept; // a borrow; -1 if there is none
    unique_fd take_fd(string_view name);     // what nobody takes is closed

    request& header(string_view name, string_view value);
    request& body(content, string_view type);
    request& fd(string_view name, unique_fd);
    request& timeout(milliseconds total);
    request& cancel_with(canceller);

private:
    friend struct detail::access;
    request() noexcept;
    std::unique_ptr<detail::request_state> state_;
};

/// A response: returned by a handler, or received by a client.
/// Errors: a bad field or status is remembered: a server answers 500 instead and logs it.
class response : detail::move_only {
public:
    explicit response(int status = 200) noexcept : status_(status) {}
    response(response&&) noexcept = default;
    response& operator=(response&&) noexcept = default;

    int status() const noexcept { return status_; }
    string_view header(string_view name) const noexcept;
    string_view body() const noexcept;
    std::string take_body();
    const uds_http::headers& headers() const;
    uds_http::headers& headers();
    int fd(string_view name) const noexcept;
    unique_fd take_fd(string_view name);

    response& status(int) &;
    response& header(string_view name, string_view value) &; // replaces; headers().add() adds
    response& body(content, string_view type) &;
    response& fd(string_view name, unique_fd) &;
    response status(int) &&; // by value: nothing dangles in `auto r = text("x").status(201)`
    response header(string_view name, string_view value) &&;
    response body(content, string_view type) &&;
    response fd(string_view name, unique_fd) &&;

private:
    friend struct detail::access;
    int status_;
    mutable string_view type_; // Content-Type of a literal, until headers() is asked for
    mutable uds_http::headers fields_;
    content content_;
    detail::arena bytes_; // a received head
    std::vector<detail::named_fd> fds_;
    std::unique_ptr<uds_http::error> failed_;
};

response text(content), html(content), bytes(content);
response json(content); // already serialized
/// The file, or what If-None-Match, If-Modified-Since, If-Range and Range make of it (RFC 9110 13,
/// 14). Regular files only; 404 if there is none or it may not be read.
response file(const request&, const std::string& path);
response redirect(string_view to, int status = 302);
/// Everything but unreserved characters as %XX (RFC 3986 2.3): one path segment or query value.
std::string percent_encode(string_view segment);

// [4a] STREAMS ------------------------------------------------------------------------------------
// Callbacks run on the loop, never inside your call, never twice at once for one object, and never
// after its on_close or done. An object may be destroyed inside its own callback. Destroying it from
// another thread can meet one that is running: capture values or a shared_ptr, never `this`.

/// full: taken, but wait for on_drain; one more write in spite of it cuts the stream.
enum class written { ok, full, closed };

/// Bytes on their way out. Dropped before end(): cut, never a short body that looks whole.
/// Threads: any, one at a time. Lifetime: may outlive client and server; then everything is closed.
class body_writer : detail::move_only {
public:
    body_writer() = default;
    body_writer(body_writer&&) noexcept = default;
    body_writer& operator=(body_writer&&) noexcept;
    ~body_writer();
    written write(string_view copied);
    written write(string_view bytes, callback<void()> released);
    /// Blocks until there is room. Errors: would_block_loop shows as closed.
    written wait(milliseconds);
    void on_drain(callback<void()>); // after each full
    void on_close(callback<void()>); // once, when nobody listens any more
    bool end(headers trailers = {});
    void cut();
    bool is_open() const;
    awaitable<written> async_write(string_view copied); // waits for room

private:
    friend struct detail::access;
    std::shared_ptr<detail::outflow> flow_;
};

/// Bytes on their way in. Dropped early: the connection is closed, not reused.
/// Threads: any, one at a time. Lifetime: as body_writer's.
class body_reader : detail::move_only {
public:
    body_reader() = default;
    body_reader(body_reader&&) noexcept = default;
    body_reader& operator=(body_reader&&) noexcept;
    ~body_reader();
    /// Pieces as they come, then `done` once: no error (whole), cut_off, timed_out, too_large.
    void on_data(callback<void(string_view)>, callback<void(const error&)> done);
    void pause(); // the sender is stopped; memory stays bounded
    void resume();
    const headers& trailers() const;
    /// Blocks for the next bytes. 0: whole. Errors: cut_off and as above; would_block_loop.
    result<std::size_t> read(char* into, std::size_t room);
    awaitable<result<string_view>> async_read(); // "": whole; the view lives until the next call

private:
    friend struct detail::access;
    std::shared_ptr<detail::inflow> flow_;
};

/// Passes everything on; a cut stays a cut, trailers stay trailers, a slow side stops the fast one.
void relay(body_reader from, body_writer to, callback<void(const error&)> done = {});

struct raw_stream {
    unique_fd fd; // non-blocking, close-on-exec
    std::string already_read;
};

/// A connection that speaks HTTP no more. Without a 101, `head` is the whole refusal.
struct upgraded {
    response head;
    body_reader in;
    body_writer out; // out.end() is shutdown(SHUT_WR); `in` goes on
    explicit operator bool() const noexcept { return head.status() == 101; }
    raw_stream release() &&;
};

struct event {
    string_view data, type = "message", id = {};
};

/// Server-sent events. stop() ends the stream in order, so that clients reconnect elsewhere.
class event_writer : detail::move_only {
public:
    written send(const event&);
    void on_close(callback<void()>);
    bool is_open() const;
    void end();

private:
    friend struct detail::access;
    body_writer out_;
};

/// The right to answer one request, once, later. Dropped unanswered: 500.
/// Threads: any, one at a time. Lifetime: may outlive the server; then it is harmless.
class responder : detail::move_only {
public:
    responder() = default; // answers nobody
    responder(responder&&) noexcept = default;
    responder& operator=(responder&&) noexcept;
    ~responder();
    bool send(response); // false: nobody is there any more, or it was answered already
    /// Head now, body as you write it: chunked, or of the Content-Length that you set.
    body_writer stream(response head);
    event_writer events(milliseconds heartbeat = std::chrono::seconds(15));
    /// 101 with `Upgrade: protocol`, then `take` gets the connection, on the loop.
    void upgrade(string_view protocol, callback<void(upgraded)> take, headers extra = {});
    bool is_open() const;
    void on_close(callback<void()>);

private:
    friend struct detail::access;
    std::shared_ptr<detail::flow> flow_;
};

// [4b] SERVER -------------------------------------------------------------------------------------

/// Each limit with the status that a peer sees when it is exceeded. nginx, Apache and Go allow heads
/// of 8 KiB to 1 MiB; a local API needs less.
struct server_options {
    unsigned threads = 1;                          // loops
    unsigned workers = 0;                          // threads for plain handlers that block
    std::size_t max_head_bytes = 16 << 10;         // request line and fields: 431
    std::size_t max_target_bytes = 8 << 10;        // 414
    std::size_t max_fields_count = 100;            // 431
    std::size_t max_body_bytes = 8 << 20;          // 413; routes that take it as it comes: none
    std::size_t max_write_buffer_bytes = 1 << 20;  // of one stream: written::full
    std::size_t max_buffered_bytes = 256 << 20;    // of all connections together: 503
    std::size_t max_connections_count = 16'384;    // 503 with Retry-After
    std::size_t max_per_uid_count = SIZE_MAX;      // connections of one user: 503
    std::size_t max_queued_count = 1'024;          // requests waiting for a worker: 503
    milliseconds head_timeout{5'000};              // first byte to end of head: 408
    milliseconds body_timeout{30'000};             // without progress: 408
    milliseconds write_timeout{30'000};            // without progress: cut
    milliseconds idle_timeout{75'000};             // between requests: closed
    milliseconds drain_timeout{10'000};            // after stop(): cut
    microseconds busy_poll{0};                     // spin this long before sleeping: burns a core
    std::uint64_t max_body_fd_bytes = 0;           // bodies by descriptor; 0: refused
    std::size_t max_fds_count = 0;                 // descriptors per message; 0: refused
};

struct listen_options {
    mode_t mode = 0600; // of the socket file, whatever the umask
    std::optional<uid_t> owner{};
    std::optional<gid_t> group{};
    int backlog = 4096;             // the kernel caps it at net.core.somaxconn
    bool take_over = false;         // replace a live server's path instead of address_in_use
    std::optional<peer_rule> allow{}; // others: 403
    std::string name{};             // request::listener()
};

/// One request and its answer, for logs. Views and references end with the callback.
struct exchange {
    string_view method, target, listener;
    const uds_http::peer& peer;
    int status; // 0: cut before an answer
    std::uint64_t bytes_in, bytes_out, tag;
    microseconds time; // head complete to answer handed to the kernel
    const uds_http::error& why;
};

struct server_stats {
    std::uint64_t connections = 0, accepted = 0, requests = 0, refused = 0, bytes_in = 0, bytes_out = 0;
};

/// A callable of one of these shapes:
///     response(const request&)                  on a worker if there are workers, else on the loop
///     void(request&, responder)                 loop; take `request` by value to keep it
///     void(request&, body_reader, responder)    loop; the body as it comes, no body limit
///     task<response>(request&), task<void>(request&, body_reader, responder)    C++20, loop
/// One that throws answers 500; what() goes to on_log only.
class handler : detail::move_only {
public:
    template <class F, class = std::enable_if_t<!std::is_same_v<std::decay_t<F>, handler>>>
    handler(F function);

private:
    friend struct detail::access;
    enum class shape : unsigned char { plain, later, streamed };
    callback<void(detail::call&)> run_;
    shape shape_ = shape::plain;
};

/// What a route may have besides its handler. Set before run().
class route {
public:
    route& allow(peer_rule);            // narrows what the listener allows: 403
    route& max_body_bytes(std::size_t); // instead of the server's: 413
    route& on_loop();                   // a plain handler that doesn't block: no worker

private:
    friend struct detail::access;
    std::string method_, pattern_;
    std::optional<uds_http::handler> handler_;
    std::optional<peer_rule> allow_;
    std::optional<std::size_t> max_body_bytes_;
    bool on_loop_ = false;
};

/// An HTTP server on Unix sockets. One life: routes, listen, run, stop.
///
/// Patterns: "/", "/jobs", "/{name}", "/files/{path...}". A literal beats {x} beats {x...}, segment
/// by segment from the left, whatever the order of registration; {x} is never empty. The method is
/// part of the match: 405 only if no pattern takes it. GET serves HEAD; OPTIONS is answered.
///
/// Threads:  stop(), stopping(), post(callback), stats(): concurrently; stop() in signal handlers
///           too. Everything else: before run(), or on its thread.
/// Lifetime: handlers and what they capture live until ~server, which must not meet a run(). A
///           forked child's copy must be left alone; it never unlinks the socket.
class server {
public:
    explicit server(server_options = {});
    ~server();
    server(const server&) = delete;
    server& operator=(const server&) = delete;

    /// Errors: a bad pattern, or two equal ones, is remembered; listen() and run() return it.
    route& get(string_view pattern, handler);
    route& head(string_view pattern, handler);
    route& post(string_view pattern, handler);
    route& put(string_view pattern, handler);
    route& patch(string_view pattern, handler);
    route& del(string_view pattern, handler);
    route& options(string_view pattern, handler);
    route& any(string_view pattern, handler); // every method, after those that name theirs
    /// Serves a folder below `prefix`; nothing outside of it, whatever the path or the links in it.
    /// Errors: function_not_supported from run() where the kernel has no openat2 (before 5.6).
    void files(string_view prefix, const std::string& folder);

    /// `before` runs at the head, before any body is read, and may answer; `after` before the head
    /// of the answer leaves. On the loop. In the order of registration.
    void use(callback<std::optional<response>(request&)> before,
             callback<void(const exchange&, response&)> after = {});
    void on_exchange(callback<void(const exchange&)>); // any loop or worker: guard what is shared
    void on_log(callback<void(string_view)>);          // refusals and failures, with the peer

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
    error run(const address&);
    /// One turn for somebody else's loop: waits at most `timeout`. False once drained.
    result<bool> run_once(milliseconds timeout);
    int pollable_fd() const; // readable when run_once has work, deadlines included
    /// Stops accepting, unlinks, drains, ends. A second stop() drains no longer. Sticky: also
    /// before run(). Async-signal-safe.
    void stop() noexcept;
    bool stopping() const noexcept;
    /// These signals call stop(); run() puts back what was there.
    void stop_on(std::initializer_list<int> signals);

    void post(callback<void()>, milliseconds delay = milliseconds(0)); // run it on the loop
    server_stats stats() const;
    awaitable<bool> async_sleep(milliseconds); // false: stopping

private:
    friend struct detail::access;
    route& add(string_view method, string_view pattern, handler);
    std::unique_ptr<detail::server_core> core_;
};

// [4c] CLIENT -------------------------------------------------------------------------------------

struct client_options {
    milliseconds connect_timeout{5'000}; // a full backlog makes connect(2) wait
    milliseconds read_timeout{30'000};   // between two pieces of a response
    milliseconds total_timeout{milliseconds::max()};
    std::size_t max_head_bytes = 64 << 10;  // too_large
    std::size_t max_body_bytes = 64 << 20;  // too_large; streams: none
    std::size_t max_connections_count = 16; // then callers wait
    std::optional<uid_t> expect_uid{};      // who must have called listen(); else wrong_peer
    microseconds busy_poll{0};              // spin this long for an answer before sleeping
    std::uint64_t max_body_fd_bytes = 0;    // bodies by descriptor; 0: not asked for
    std::size_t max_fds_count = 0;
};

struct reply {
    response head;
    body_reader body;
};

/// A client of one socket, with a pool of kept connections.
///
/// A request on a kept connection that the server closed meanwhile is sent again, if nothing of it
/// was accepted, or its method is idempotent (RFC 9110 9.2.2) and no byte of an answer came.
/// Redirects are returned, never followed: one could not change the socket.
///
/// Threads:  concurrently. On a loop the blocking calls fail at once with would_block_loop.
/// Lifetime: streams may outlive it.
class client {
public:
    explicit client(address, client_options = {});
    /// For the async_ calls; `loop` may die first: they fail with errc::stopped.
    client(address, client_options, server& loop);
    ~client();
    client(const client&) = delete;
    client& operator=(const client&) = delete;

    /// Errors: connection_refused, no_such_file_or_directory, permission_denied, timed_out,
    ///         operation_canceled, cut_off, bad_message, too_large, bad_field, wrong_peer. Any
    ///         complete response is a success, whatever its status.
    result<response> get(string_view target);
    result<response> head(string_view target);
    result<response> del(string_view target);
    result<response> post(string_view target, content, string_view type);
    result<response> put(string_view target, content, string_view type);
    result<response> patch(string_view target, content, string_view type);
    result<response> send(request&);
    result<response> send(request&&);
    error send(request&, response& reuse); // keeps its capacity: no allocation per call
    /// The head now, the body as it comes. read_timeout holds for the head only.
    result<reply> stream(request&&);
    result<upgraded> upgrade(request&&);
    error adopt(unique_fd connected); // talk over a connected stream, e.g. of socketpair(2)
    /// Reads server-sent events until `take` says false; reconnects with Last-Event-ID.
    error events(string_view target, callback<bool(const event&)> take, canceller = {});

    // Complete once, on the loop they were called on (else the server's first), never inside:
    void async_get(string_view target, callback<void(result<response>)>);
    void async_send(request&&, callback<void(result<response>)>);
    void async_stream(request&&, callback<void(result<reply>)>);
    void async_upgrade(request&&, callback<void(result<upgraded>)>);
    awaitable<result<response>> async_get(string_view target);
    awaitable<result<response>> async_send(request&&);
    awaitable<result<reply>> async_stream(request&&);
    awaitable<result<upgraded>> async_upgrade(request&&);

private:
    friend struct detail::access;
    std::shared_ptr<detail::client_core> core_;
};

/// One shot over an http+unix:// URL.
result<response> get(string_view url);
result<response> send(string_view url, request&&);

// END OF PART I: the rest is how it works. ========================================================

} // namespace v1
} // namespace uds_http

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
// DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT
// OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.

#endif // UDS_HTTP_HPP
