// Room [5]: deadlines, waiting, descriptors that cross, and who is at the other end.
#include "uds_http.hpp"

#include <dirent.h>
#include <doctest/doctest.h>
#include <grp.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>

using namespace uds_http;
using namespace uds_http::detail;

namespace {

struct pair_of_sockets {
    unique_fd a, b;
    explicit pair_of_sockets(int flags = 0) {
        int fds[2] = {-1, -1};
        REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0, fds) == 0);
        a = unique_fd(fds[0]), b = unique_fd(fds[1]);
    }
};

/// Runs `act` in a forked child; what it returns (0: fine, else where it failed) is the answer.
template <class F> int in_child(F act) {
    pid_t child = ::fork();
    if (child == 0) ::_exit(act());
    int status = -1;
    ::waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + status;
}

int open_fds() {
    int count = 0;
    DIR* folder = ::opendir("/proc/self/fd");
    while (folder && ::readdir(folder)) ++count;
    if (folder) ::closedir(folder);
    return count;
}

bool is_open(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }

ssize_t send_text(int fd, string_view text, const std::vector<int>& fds = {}) {
    iovec part{const_cast<char*>(text.data()), text.size()};
    row<int> passed;
    for (int one : fds) passed.push_back(one);
    return transmit_fds(fd, &part, 1, passed);
}

std::atomic<int> alarms{0};

/// SIGALRM every few milliseconds on this thread, without SA_RESTART.
struct interruptions {
    interruptions() {
        struct sigaction act {};
        act.sa_handler = [](int) { ++alarms; };
        ::sigaction(SIGALRM, &act, nullptr);
        itimerval every{{0, 3000}, {0, 3000}};
        alarms = 0;
        ::setitimer(ITIMER_REAL, &every, nullptr);
    }
    ~interruptions() {
        itimerval never{};
        ::setitimer(ITIMER_REAL, &never, nullptr);
        ::signal(SIGALRM, SIG_DFL);
    }
};

/// A second thread that takes no signals.
template <class F> struct thread {
    F act;
    pthread_t id{};
    explicit thread(F f) : act(std::move(f)) {
        sigset_t all, old;
        ::sigfillset(&all);
        ::pthread_sigmask(SIG_SETMASK, &all, &old);
        auto start = [](void* self) -> void* { return static_cast<thread*>(self)->act(), nullptr; };
        REQUIRE(::pthread_create(&id, nullptr, start, this) == 0);
        ::pthread_sigmask(SIG_SETMASK, &old, nullptr);
    }
    ~thread() { ::pthread_join(id, nullptr); }
};

milliseconds since(std::chrono::steady_clock::time_point start) {
    return std::chrono::duration_cast<milliseconds>(std::chrono::steady_clock::now() - start);
}

} // namespace

TEST_CASE("fd: unique_fd closes once, moves, and leaves errno alone") {
    int fds[2];
    REQUIRE(::pipe2(fds, O_CLOEXEC) == 0);
    unique_fd reader(fds[0]);
    {
        unique_fd writer(fds[1]), other(std::move(writer));
        CHECK(!writer);
        CHECK(other.get() == fds[1]);
        unique_fd& same = other;
        other = std::move(same);
        CHECK(is_open(fds[1]));
        errno = ENOENT;
    }
    CHECK(errno == ENOENT);
    CHECK(!is_open(fds[1]));
    reader = unique_fd();
    CHECK(!is_open(fds[0]));
    unique_fd bad(9999); // close fails with EBADF
    errno = EAGAIN;
    bad = unique_fd();
    CHECK(errno == EAGAIN);
}

TEST_CASE("fd: deadline arithmetic") {
    CHECK(deadline().is_never());
    CHECK(!deadline().passed());
    CHECK(deadline().left() == milliseconds::max());
    CHECK(deadline().poll_timeout() == -1);
    for (milliseconds wait : {milliseconds::max(), milliseconds::max() - milliseconds(1),
                              milliseconds(INT64_MAX / 1'000'000)}) {
        CAPTURE(wait.count());
        CHECK(deadline::after(wait).poll_timeout() == -1);
    }
    for (milliseconds wait : {milliseconds(0), milliseconds(-1), milliseconds::min()}) {
        CAPTURE(wait.count());
        deadline now = deadline::after(wait);
        CHECK(now.passed());
        CHECK(now.left().count() == 0);
        CHECK(now.poll_timeout() == 0);
    }
    CHECK(spins_until(microseconds::max()) > now_ns()); // not a sum that has wrapped
    deadline minute = deadline::after(milliseconds(60'000)),
             hour = deadline::after(milliseconds(3'600'000));
    CHECK(!minute.passed());
    CHECK(minute.left() <= milliseconds(60'000));
    CHECK(minute.left() > milliseconds(59'000));
    CHECK(minute.poll_timeout() > 59'000);
    CHECK(hour.sooner(minute).left() < milliseconds(60'001));
    CHECK(minute.sooner(hour).left() < milliseconds(60'001));
    CHECK(minute.sooner(deadline()).left() < milliseconds(60'001));
    CHECK(deadline().sooner(deadline()).is_never());
    CHECK(deadline::after(std::chrono::hours(24 * 365)).poll_timeout() == 1 << 30);
    deadline soon = deadline::after(milliseconds(5));
    while (soon.poll_timeout() > 0) continue;
    CHECK(soon.passed()); // never 0 too early: that would spin
}

TEST_CASE("fd: a spin in vain is tried more and more seldom, one that pays every time") {
    spin_thrift thrift;
    auto tries_of = [&](int waits, bool found, unsigned looks = 2) {
        int tries = 0;
        for (int i = 0; i < waits; ++i)
            if (thrift.is_worth_a_try()) ++tries, thrift.looks += looks, thrift.tell(found);
        return tries;
    };
    CHECK(tries_of(100, true) == 100);
    CHECK(tries_of(5, false) == 5); // 2, 4, 8 ... waits without one follow
    CHECK(tries_of(2 + 1 + 4 + 1, false) == 2);
    CHECK(tries_of(8 + 1, false) == 1);
    CHECK(tries_of(10'000, false) < 50);
    CHECK(tries_of(257, true) >= 1);
    CHECK(tries_of(100, true) == 100);
    int in_vain = 0; // what is there at the first look would have been there for a sleeper, too
    for (int i = 0; i < 100; ++i) tries_of(1, true, 1), in_vain += tries_of(1, false);
    CHECK(in_vain < 20);
}

TEST_CASE("fd: wait_ready: readable, hung up, too late, cancelled, no descriptor") {
    pair_of_sockets s;
    auto now = deadline::after(milliseconds(0));
    CHECK(wait_ready(s.a.get(), POLLIN, now, nullptr) == ETIMEDOUT);
    CHECK(wait_ready(s.a.get(), POLLOUT, now, nullptr) == 0); // ready counts, even so late
    CHECK(wait_ready(-1, 0, deadline::after(milliseconds(3)), nullptr) == ETIMEDOUT);
    CHECK(wait_ready(9999, POLLIN, deadline(), nullptr) == EBADF);
    canceller c;
    CHECK(wait_ready(s.a.get(), POLLOUT, deadline(), access::of(c).get()) == 0);
    c.cancel();
    CHECK(wait_ready(s.a.get(), POLLOUT, deadline(), access::of(c).get()) == ECANCELED);
    CHECK(wait_ready(-1, 0, now, access::of(c).get()) == ECANCELED);
    s.b = unique_fd();
    CHECK(wait_ready(s.a.get(), 0, deadline(), nullptr) == 0); // POLLHUP: the next call will tell
}

TEST_CASE("fd: a canceller's copies share one sticky state; cancel() keeps errno") {
    canceller one, two = one, other;
    CHECK(!two.cancelled());
    errno = ERANGE;
    for (int i = 0; i < 3; ++i) one.cancel();
    CHECK(errno == ERANGE);
    CHECK(two.cancelled());
    CHECK(!other.cancelled());
    CHECK(access::of(one)->event < 0); // nobody has waited: it costs no descriptor
    canceller moved = std::move(one);
    one.cancel(); // NOLINT: moved from, and harmless
    CHECK(!one.cancelled());
    CHECK(moved.cancelled());
}

TEST_CASE("fd: another thread, or a signal handler, ends a wait") {
    canceller c;
    thread waker([&] { c.cancel(); });
    CHECK(wait_ready(-1, 0, deadline(), access::of(c).get()) == ECANCELED);
    static canceller from_signal;
    struct sigaction act {};
    act.sa_handler = [](int) { from_signal.cancel(); };
    ::sigaction(SIGALRM, &act, nullptr);
    itimerval once{{0, 0}, {0, 3000}};
    ::setitimer(ITIMER_REAL, &once, nullptr);
    CHECK(wait_ready(-1, 0, deadline(), access::of(from_signal).get()) == ECANCELED);
    ::signal(SIGALRM, SIG_DFL);
}

TEST_CASE("fd: a canceller works without a descriptor for its eventfd") {
    CHECK(in_child([] {
              rlimit none{3, 3}; // standard input, output, error
              ::setrlimit(RLIMIT_NOFILE, &none);
              canceller c;
              if (access::of(c)->awaited() >= 0) return 1;
              thread waker([&] { c.cancel(); });
              return wait_ready(-1, 0, deadline(), access::of(c).get()) == ECANCELED ? 0 : 2;
          }) == 0);
}

TEST_CASE("fd: without that descriptor, too, a wait that has begun is cancelled") {
    CHECK(in_child([] {
              rlimit none{3, 3};
              ::setrlimit(RLIMIT_NOFILE, &none);
              canceller c;
              thread waker([&] { // most likely behind the beginning of the wait
                  wait_ready(-1, 0, deadline::after(milliseconds(20)), nullptr);
                  c.cancel();
              });
              const deadline end = deadline::after(milliseconds(10'000));
              return wait_ready(-1, 0, end, access::of(c).get()) == ECANCELED ? 0 : 1;
          }) == 0);
}

TEST_CASE("fd: where poll() is refused, a wait is an error, and no loop") {
    CHECK(in_child([] {
              const rlimit none{0, 0}; // as some sandboxes have it: then poll(2) is EINVAL
              ::alarm(10);
              ::setrlimit(RLIMIT_NOFILE, &none);
              return wait_ready(0, POLLIN, deadline(), nullptr) == EINVAL ? 0 : 1;
          }) == 0);
}

TEST_CASE("fd: a bell that can ring no louder leaves errno alone") {
    unique_fd bell(::eventfd(UINT_MAX, EFD_CLOEXEC | EFD_NONBLOCK));
    const std::uint64_t rest = UINT64_MAX - 1 - UINT_MAX;
    REQUIRE(::write(bell.get(), &rest, sizeof rest) == sizeof rest);
    errno = ERANGE;
    ring(bell.get());
    CHECK(errno == ERANGE);
    CHECK(wait_ready(bell.get(), POLLIN, deadline(), nullptr) == 0);
}

TEST_CASE("fd: signals interrupt neither receive nor wait_ready nor their deadlines") {
    pair_of_sockets s;
    interruptions on;
    thread writer([&] {
        while (alarms < 3) ::sched_yield();
        iovec part{const_cast<char*>("x"), 1};
        transmit(s.b.get(), &part, 1);
    });
    char byte = 0;
    CHECK(receive(s.a.get(), &byte, 1) == 1);
    CHECK(byte == 'x');
    CHECK(alarms >= 3);
    auto start = std::chrono::steady_clock::now();
    CHECK(wait_ready(s.a.get(), POLLIN, deadline::after(milliseconds(40)), nullptr) == ETIMEDOUT);
    CHECK(since(start) >= milliseconds(40));
}

TEST_CASE("fd: set_timeout bounds a blocking call, and never makes a passed deadline endless") {
    pair_of_sockets s;
    char byte;
    CHECK(set_timeout(s.a.get(), SO_RCVTIMEO, deadline::after(milliseconds(5))) == 0);
    CHECK(receive(s.a.get(), &byte, 1) == -1);
    CHECK(errno == EAGAIN);
    CHECK(set_timeout(s.a.get(), SO_RCVTIMEO, deadline::after(milliseconds(0))) == ETIMEDOUT);
    CHECK(set_timeout(s.a.get(), SO_RCVTIMEO, deadline()) == 0);
    timeval left{9, 9};
    socklen_t size = sizeof left;
    ::getsockopt(s.a.get(), SOL_SOCKET, SO_RCVTIMEO, &left, &size);
    CHECK(left.tv_sec == 0);
    CHECK(left.tv_usec == 0);
    CHECK(set_timeout(9999, SO_RCVTIMEO, deadline()) == EBADF);
}

TEST_CASE("fd: transmit joins its parts, and a closed peer is EPIPE without a signal") {
    pair_of_sockets s;
    iovec parts[2] = {{const_cast<char*>("ab"), 2}, {const_cast<char*>("cd"), 2}};
    CHECK(transmit(s.a.get(), parts, 2) == 4);
    char in[8];
    CHECK(receive(s.b.get(), in, sizeof in) == 4);
    CHECK(string_view(in, 4) == "abcd");
    s.b = unique_fd();
    CHECK(transmit(s.a.get(), parts, 2) == -1);
    CHECK(errno == EPIPE);
    CHECK(send_text(s.a.get(), "x", {0}) == -1);
    CHECK(errno == EPIPE);
}

TEST_CASE("fd: sendfile to a closed peer takes its own SIGPIPE back, and no other") {
    pair_of_sockets s;
    s.b = unique_fd();
    unique_fd file(::memfd_create("test", MFD_CLOEXEC));
    REQUIRE(::ftruncate(file.get(), 100) == 0);
    sigset_t pipe, before, waiting;
    ::sigemptyset(&pipe), ::sigaddset(&pipe, SIGPIPE);
    ::pthread_sigmask(SIG_BLOCK, &pipe, &before);
    for (bool is_waiting : {false, true}) {
        CAPTURE(is_waiting);
        if (is_waiting) ::raise(SIGPIPE);
        CHECK(transmit_file(s.a.get(), file.get(), 0, 100) == -1);
        CHECK(errno == EPIPE);
        ::sigpending(&waiting);
        CHECK((::sigismember(&waiting, SIGPIPE) == 1) == is_waiting);
    }
    const timespec now{};
    CHECK(::sigtimedwait(&pipe, nullptr, &now) == SIGPIPE);
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

TEST_CASE("fd: up to 253 descriptors cross, close-on-exec; 254, or no byte, are EINVAL") {
    pair_of_sockets s;
    int before = open_fds();
    for (std::size_t count : {1u, 2u, 253u}) {
        CAPTURE(count);
        CHECK(send_text(s.a.get(), "x", std::vector<int>(count, s.a.get())) == 1);
        row<unique_fd> fds;
        char in[4];
        received got = receive_fds(s.b.get(), {in, sizeof in}, fds);
        CHECK(got.size == 1);
        REQUIRE(fds.size() == count);
        for (const unique_fd& fd : fds) CHECK((::fcntl(fd.get(), F_GETFD) & FD_CLOEXEC) != 0);
    }
    CHECK(send_text(s.a.get(), "x", std::vector<int>(254, 0)) == -1);
    CHECK(errno == EINVAL);
    CHECK(send_text(s.a.get(), "x", std::vector<int>(9'999, 0)) == -1); // no room for so many
    CHECK(errno == EINVAL);
    CHECK(send_text(s.a.get(), "", {0}) == -1);
    CHECK(errno == EINVAL);
    CHECK(send_text(s.a.get(), "plain") == 5);
    CHECK(open_fds() == before);
}

TEST_CASE("fd: fact: 254 descriptors are refused; those of a message without bytes vanish") {
    pair_of_sockets s(SOCK_NONBLOCK);
    std::vector<int> many(254, 0);
    std::vector<char> control(CMSG_SPACE(254 * sizeof(int)));
    auto raw_send = [&](std::size_t count, std::size_t bytes) {
        iovec part{const_cast<char*>("x"), bytes};
        msghdr message{};
        message.msg_iov = &part, message.msg_iovlen = 1;
        message.msg_control = control.data(),
        message.msg_controllen = CMSG_SPACE(count * sizeof(int));
        cmsghdr* header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET, header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(count * sizeof(int));
        std::memcpy(CMSG_DATA(header), many.data(), count * sizeof(int));
        return ::sendmsg(s.a.get(), &message, MSG_NOSIGNAL);
    };
    CHECK(raw_send(254, 1) == -1);
    CHECK(errno == EINVAL);
    CHECK(raw_send(1, 0) == 0);
    CHECK(send_text(s.a.get(), "y") == 1);
    row<unique_fd> fds;
    char in[4];
    CHECK(receive_fds(s.b.get(), {in, sizeof in}, fds).size == 1);
    CHECK(fds.empty());
}

TEST_CASE("fd: fact: earlier bytes are glued to the message that carries a descriptor") {
    pair_of_sockets s;
    CHECK(send_text(s.a.get(), "AAAA") == 4);
    CHECK(send_text(s.a.get(), "BBBB", {s.a.get()}) == 4);
    CHECK(send_text(s.a.get(), "CCCC") == 4);
    row<unique_fd> fds;
    char in[64];
    CHECK(receive_fds(s.b.get(), {in, sizeof in}, fds).size == 8);
    CHECK(string_view(in, 8) == "AAAABBBB");
    CHECK(fds.size() == 1);
    CHECK(receive_fds(s.b.get(), {in, sizeof in}, fds).size == 4);
    CHECK(fds.size() == 1);
}

TEST_CASE("fd: fact: a plain read drops descriptors, and the kernel closes them") {
    pair_of_sockets s;
    int fds[2];
    REQUIRE(::pipe2(fds, O_CLOEXEC | O_NONBLOCK) == 0);
    unique_fd reader(fds[0]);
    CHECK(send_text(s.a.get(), "x", {fds[1]}) == 1);
    ::close(fds[1]);
    char in[4];
    CHECK(::read(reader.get(), in, 1) == -1); // a writer is still on its way
    CHECK(errno == EAGAIN);
    CHECK(receive(s.b.get(), in, sizeof in) == 1);
    CHECK(::read(reader.get(), in, 1) == 0);
}

TEST_CASE("fd: after EAGAIN no descriptor has left") {
    pair_of_sockets s(SOCK_NONBLOCK);
    char block[4096] = {};
    while (send_text(s.a.get(), string_view(block, sizeof block)) > 0) continue;
    while (send_text(s.a.get(), "x") > 0) continue;
    REQUIRE(errno == EAGAIN);
    CHECK(send_text(s.a.get(), "y", {s.a.get()}) == -1);
    CHECK(errno == EAGAIN);
    row<unique_fd> fds;
    while (receive_fds(s.b.get(), {block, sizeof block}, fds).size > 0) continue;
    CHECK(errno == EAGAIN);
    CHECK(fds.empty());
    CHECK(send_text(s.a.get(), "y", {s.a.get()}) == 1);
    CHECK(receive_fds(s.b.get(), {block, sizeof block}, fds).size == 1);
    CHECK(fds.size() == 1);
}

TEST_CASE("fd: descriptors that don't all fit are all closed; earlier ones stay") {
    CHECK(in_child([] {
              pair_of_sockets s;
              row<unique_fd> fds;
              fds.push_back(unique_fd(::dup(0)));
              char in[4];
              if (send_text(s.a.get(), "x", {0, 1, 2}) != 1) return 1;
              int before = open_fds();
              unique_fd next(::dup(0));
              rlimit one_more{static_cast<rlim_t>(next.get()) + 1,
                              static_cast<rlim_t>(next.get()) + 1};
              next = unique_fd();
              ::setrlimit(RLIMIT_NOFILE, &one_more);
              received got = receive_fds(s.b.get(), {in, sizeof in}, fds);
              if (got.size != -1 || errno != EBADFD) return 2;
              return fds.size() == 1 && open_fds() == before ? 0 : 3;
          }) == 0);
}

TEST_CASE("fd: what an adopted socket asks for besides costs neither descriptors nor room") {
    pair_of_sockets s;
    int on = 1;
    CHECK(::setsockopt(s.b.get(), SOL_SOCKET, SO_PASSCRED, &on, sizeof on) == 0);
    (void)::setsockopt(s.b.get(), SOL_SOCKET, 76 /* SO_PASSPIDFD, Linux 6.5 */, &on, sizeof on);
    int before = open_fds();
    char in[4];
    {
        row<unique_fd> fds;
        CHECK(send_text(s.a.get(), "x") == 1);
        received got = receive_fds(s.b.get(), {in, sizeof in}, fds);
        CHECK(got.size == 1);
        CHECK(fds.empty());
        CHECK(open_fds() == before); // the pidfd that came unasked
        CHECK(send_text(s.a.get(), "x", std::vector<int>(253, 0)) == 1);
        CHECK(receive_fds(s.b.get(), {in, sizeof in}, fds).size == 1);
        CHECK(fds.size() == 253);
    }
    CHECK(open_fds() == before);
}

TEST_CASE("fd: receive_fds says what recv says: end, EAGAIN, no socket") {
    pair_of_sockets s(SOCK_NONBLOCK);
    row<unique_fd> fds;
    char in[4];
    CHECK(receive_fds(s.a.get(), {in, sizeof in}, fds).size == -1);
    CHECK(errno == EAGAIN);
    s.b = unique_fd();
    CHECK(receive_fds(s.a.get(), {in, sizeof in}, fds).size == 0);
    CHECK(receive_fds(9999, {in, sizeof in}, fds).size == -1);
    CHECK(errno == EBADF);
}

TEST_CASE("fd: peer_of: us, over a pair") {
    pair_of_sockets s;
    peer who = peer_of(s.a.get());
    CHECK(who.pid == ::getpid());
    CHECK(who.uid == ::geteuid());
    CHECK(who.gid == ::getegid());
    CHECK(static_cast<int>(who.groups.size()) == ::getgroups(0, nullptr));
}

TEST_CASE("fd: peer_of: nobody over TCP, a file, nothing, and a socket that isn't connected") {
    unique_fd tcp(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    unique_fd file(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    unique_fd fresh(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    for (int fd : {tcp.get(), file.get(), fresh.get(), -1}) {
        CAPTURE(fd);
        peer who = peer_of(fd);
        CHECK(who.pid == 0);
        CHECK(who.uid == static_cast<uid_t>(-1));
        CHECK(who.gid == static_cast<gid_t>(-1));
        CHECK(who.groups.empty());
    }
}

TEST_CASE("fd: fact: over TCP SO_PEERCRED succeeds and knows nothing") {
    unique_fd tcp(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ucred who{1, 1, 1};
    socklen_t size = sizeof who;
    CHECK(::getsockopt(tcp.get(), SOL_SOCKET, SO_PEERCRED, &who, &size) == 0);
    CHECK(who.pid == 0);
    CHECK(who.uid == static_cast<uid_t>(-1));
}

namespace {

/// An abstract listener of this process's, so that no file is needed.
struct test_listener {
    sockaddr_un at{};
    socklen_t size = sizeof(sa_family_t);
    unique_fd fd{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    explicit test_listener(int backlog) {
        at.sun_family = AF_UNIX; // autobind, unix(7)
        REQUIRE(::bind(fd.get(), reinterpret_cast<sockaddr*>(&at), size) == 0);
        size = sizeof at;
        REQUIRE(::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&at), &size) == 0);
        REQUIRE(::listen(fd.get(), backlog) == 0);
    }
    int connect(int with) const {
        return ::connect(with, reinterpret_cast<const sockaddr*>(&at), size);
    }
};

unique_fd fresh_socket(int flags = 0) {
    return unique_fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0));
}

} // namespace

TEST_CASE("fd: peer_of: as of connect(), other groups too, and after the peer has died") {
    test_listener door(8);
    pid_t child = ::fork();
    if (child == 0) {
        gid_t groups[2] = {4711, 4712};
        if (::geteuid() == 0 && (::setgroups(2, groups) || ::setgid(65534) || ::setuid(65534)))
            ::_exit(1);
        unique_fd fd = fresh_socket();
        ::_exit(door.connect(fd.get()) == 0 ? 0 : 2);
    }
    int status = -1;
    ::waitpid(child, &status, 0);
    REQUIRE(status == 0);
    unique_fd conn(::accept4(door.fd.get(), nullptr, nullptr, SOCK_CLOEXEC));
    peer who = peer_of(conn.get());
    CHECK(who.pid == child);
    if (::geteuid() == 0) {
        CHECK(who.uid == 65534);
        CHECK(who.gid == 65534);
        CHECK(who.groups == std::vector<gid_t>{4711, 4712});
    }
}

TEST_CASE("fd: fact: a client sees who called listen() last, not who accepts") {
    test_listener door(8);
    unique_fd first = fresh_socket(), second = fresh_socket();
    CHECK(door.connect(first.get()) == 0);
    CHECK(peer_of(first.get()).pid == ::getpid());
    pid_t child = ::fork();
    if (child == 0) ::_exit(::listen(door.fd.get(), 8) == 0 ? 0 : 1);
    int status = -1;
    ::waitpid(child, &status, 0);
    REQUIRE(status == 0);
    CHECK(door.connect(second.get()) == 0);
    CHECK(peer_of(second.get()).pid == child);
}

TEST_CASE("fd: peer_pidfd: a handle, or the reason why there is none") {
    pair_of_sockets s;
    request received("GET", "/");
    state_of(received).fd = s.a.get();
    auto handle = received.peer_pidfd();
    if (handle) CHECK((::fcntl(handle->get(), F_GETFD) & FD_CLOEXEC) != 0);
    else CHECK(handle.error() == std::errc::no_protocol_option);
    auto none = request("GET", "/").peer_pidfd();
    CHECK(none.error() == std::errc::bad_file_descriptor);
    CHECK(none.error().message().find("peer_pidfd") == 0);
}

TEST_CASE("fd: is_unix_stream") {
    pair_of_sockets s;
    unique_fd tcp(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    unique_fd dgram(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    CHECK(is_unix_stream(s.a.get()));
    CHECK(!is_unix_stream(tcp.get()));
    CHECK(!is_unix_stream(dgram.get()));
    CHECK(!is_unix_stream(0));
    CHECK(!is_unix_stream(-1));
    CHECK(socket_option(s.a.get(), SO_ACCEPTCONN) == 0);
    int packets[2] = {-1, -1};
    REQUIRE(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, packets) == 0);
    const unique_fd one(packets[0]), other(packets[1]);
    CHECK(is_connected_stream(s.a.get()));
    CHECK(!is_connected_stream(one.get())); // a short read would lose the rest of a message
    CHECK(!is_connected_stream(unique_fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)).get()));
}

TEST_CASE("fd: fact: the queue holds backlog + 1; a full one is EAGAIN, yet polls ready") {
    test_listener door(2);
    unique_fd in[3];
    for (unique_fd& fd : in) {
        fd = fresh_socket(SOCK_NONBLOCK);
        CHECK(door.connect(fd.get()) == 0);
    }
    unique_fd late = fresh_socket(SOCK_NONBLOCK);
    CHECK(door.connect(late.get()) == -1);
    CHECK(errno == EAGAIN);
    pollfd p{late.get(), POLLOUT, 0};
    CHECK(::poll(&p, 1, 0) == 1);
    CHECK((p.revents & POLLOUT) != 0);
    CHECK(socket_option(late.get(), SO_ERROR) == 0);
    CHECK(::send(late.get(), "x", 1, MSG_NOSIGNAL) == -1);
    CHECK(errno == ENOTCONN);
}

TEST_CASE("fd: connect_to: bounded in spite of signals, let in when there is room") {
    test_listener door(0);
    const string_view name(door.at.sun_path + 1, door.size - offsetof(sockaddr_un, sun_path) - 1);
    const address where = address::abstract_name(name);
    auto connect = [&](deadline end) { return connect_to(where, end, nullptr); };
    auto first = connect(deadline::after(milliseconds(1000)));
    CHECK(first);
    CHECK(connect(deadline::after(milliseconds(0))).error() == std::errc::timed_out);
    interruptions on;
    auto start = std::chrono::steady_clock::now();
    CHECK(connect(deadline::after(milliseconds(50))).error() == std::errc::timed_out);
    CHECK(since(start) >= milliseconds(50));
    CHECK(alarms >= 3);
    alarms = 0;
    thread taker([&] {
        while (alarms < 3) ::sched_yield();
        ::close(::accept4(door.fd.get(), nullptr, nullptr, SOCK_CLOEXEC));
    });
    CHECK(connect(deadline()));
}

TEST_CASE("fd: memory is sealed though a child was forked while it was filled") {
    result<memory_builder> builder = memory_builder::create(10);
    REQUIRE(builder);
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    const pid_t child = ::fork();
    if (child == 0) { // has all that is mapped, until the parent is done
        char byte;
        ::close(ends[1]);
        ::_exit(::read(ends[0], &byte, 1) == 0 ? 0 : 1);
    }
    std::memcpy(builder->data(), "0123456789", 10);
    result<sealed_memory> sealed = std::move(*builder).seal();
    CHECK((sealed && sealed->view() == "0123456789"));
    ::close(ends[0]), ::close(ends[1]);
    int status = -1;
    CHECK(::waitpid(child, &status, 0) == child);
    CHECK(status == 0);
}
