// SPDX-License-Identifier: MIT
// shim.c: LD_PRELOAD library that makes system calls fail, or do less than they were asked to.
//
// FAULTS_FILE names a file of 4096 bytes, which is mapped: what is to happen is written there by
// the test (faults.py), what has happened is counted there. For each kind of call there are two
// rules: one that fails calls with an errno, one that cuts the bytes (or events) a call may take. A
// rule strikes once, at its call number `first`, or from there on at every `every`-th.
//
// Only what the kernel may do is done:
//   - EINTR to calls that a signal may interrupt. A connect(2) that doesn't block is none of them:
//     unix_stream_connect() looks at signals only after it has waited.
//   - EAGAIN only to descriptors that don't block (O_NONBLOCK or MSG_DONTWAIT).
//   - EPIPE and ECONNRESET are for good: both directions are shut behind them.
//   - Edge-triggered epoll tells of bytes once. A receive that says EAGAIN, or takes less than
//   there
//     is, would be followed by silence, and a correct server would wait for ever. What may happen
//     is that the bytes come a moment later. So after each such fault the descriptor is armed
//     again: EPOLL_CTL_MOD with what was asked for last makes the kernel look anew, and report what
//     is ready once more (ep_modify() in fs/eventpoll.c). The same for sends: after a short one, or
//     EAGAIN, there is room again a moment later. epoll(7) lets a program take a short read or
//     write for an EAGAIN.
//   - Short counts on sockets, pipes and files only: an eventfd has no halves.
//   - ENOMEM of epoll_ctl to EPOLL_CTL_ADD only: nothing else allocates there.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum kind {
    SEND,
    RECV,
    ACCEPT,
    WAIT,
    CONTROL,
    FILE_OUT,
    CONNECT,
    SOCKET,
    EVENT,
    READ,
    KINDS
};

// As faults.py packs it.
struct rule {
    uint32_t on;
    int32_t value; // errno, or the most that may be taken; negative: a random part of so much
    uint32_t first, every;
    uint32_t calls, struck;
    uint32_t state; // of the random numbers
    uint32_t unused;
};
struct plan {
    struct rule fail, cut;
};

static struct plan nothing[KINDS], *plans = nothing;
static struct {
    int epoll;
    struct epoll_event asked;
} armed[65536]; // by descriptor

__attribute__((constructor)) static void map_plans(void) {
    const char* name = getenv("FAULTS_FILE");
    int fd = name ? open(name, O_RDWR | O_CLOEXEC) : -1;
    void* at = fd < 0 ? MAP_FAILED : mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd >= 0) close(fd);
    if (at == MAP_FAILED) {
        fprintf(stderr, "shim: FAULTS_FILE can't be mapped\n");
        _exit(99);
    }
    plans = at;
}

#define REAL(name)                                                                                 \
    static __typeof__(&name) real;                                                                 \
    if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

// FAULTS_TIME: the second that it is, for ever. A machine without a clock begins at 0.
// FAULTS_SLOWER: so many times slower the monotonic ones go from the first look on, for what must not
// depend on a busy machine.
int clock_gettime(clockid_t clock, struct timespec* now) {
    static const char *second, *slower;
    static int64_t first;
    if (!slower && !(slower = getenv("FAULTS_SLOWER"))) slower = "";
    if (!second && !(second = getenv("FAULTS_TIME"))) second = "";
    int done = (int)syscall(SYS_clock_gettime, clock, now);
    if (*second && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec = atol(second);
    if (*slower && (clock == CLOCK_MONOTONIC || clock == CLOCK_MONOTONIC_COARSE)) {
        int64_t all = now->tv_sec * INT64_C(1000000000) + now->tv_nsec;
        if (!first) first = all; // one for both: they are compared
        all = first + (all - first) / atol(slower);
        now->tv_sec = all / 1000000000, now->tv_nsec = all % 1000000000;
    }
    return done;
}

static int strikes(struct rule* r) {
    if (!__atomic_load_n(&r->on, __ATOMIC_ACQUIRE)) return 0;
    uint32_t number = __atomic_add_fetch(&r->calls, 1, __ATOMIC_RELAXED);
    int hit =
        r->every ? number >= r->first && (number - r->first) % r->every == 0 : number == r->first;
    if (hit) __atomic_add_fetch(&r->struck, 1, __ATOMIC_RELAXED);
    return hit;
}

static int never_blocks(int fd, int flags) {
    return (flags & MSG_DONTWAIT) || (fcntl(fd, F_GETFL) & O_NONBLOCK);
}

// The kernel looks at this descriptor anew, and reports what is ready. errno stays as it was.
static void arm_again(int fd) {
    int kept = errno;
    REAL(epoll_ctl);
    if (fd >= 0 && fd < 65536 && (armed[fd].asked.events & EPOLLET)) {
        struct epoll_event asked = armed[fd].asked;
        real(armed[fd].epoll, EPOLL_CTL_MOD, fd, &asked);
    }
    errno = kept;
}

// Whether this call fails; then errno says why.
static int fails(enum kind of, int fd, int flags) {
    struct rule* r = &plans[of].fail;
    if (!r->on || (r->value == EAGAIN && of != CONNECT && !never_blocks(fd, flags))) return 0;
    if (of == CONNECT && r->value == EINTR && never_blocks(fd, flags)) return 0;
    if (!strikes(r)) return 0;
    if (r->value == EAGAIN) arm_again(fd);
    if (r->value == EPIPE || r->value == ECONNRESET) shutdown(fd, SHUT_RDWR);
    errno = r->value;
    return 1;
}

static size_t at_most(struct rule* r, size_t size) {
    uint32_t most = (uint32_t)(r->value < 0 ? -r->value : r->value);
    if (r->value < 0) { // xorshift32
        r->state ^= r->state << 13, r->state ^= r->state >> 17, r->state ^= r->state << 5;
        most = 1 + r->state % most;
    }
    return size < most ? size : most;
}

// How many of `size` this call may take.
static size_t allowed(enum kind of, size_t size) {
    struct rule* r = &plans[of].cut;
    return size && r->on && strikes(r) ? at_most(r, size) : size;
}

static int has_halves(int fd) {
    struct stat is;
    return fstat(fd, &is) == 0 &&
           (S_ISSOCK(is.st_mode) || S_ISFIFO(is.st_mode) || S_ISREG(is.st_mode));
}

// A copy of `from` with at most `left` bytes, in `to`; how many parts it has.
static size_t cut_parts(struct iovec* to, const struct iovec* from, size_t count, size_t left) {
    size_t n = 0;
    for (; n < count && n < 64 && left; ++n) {
        to[n] = from[n];
        if (to[n].iov_len > left) to[n].iov_len = left;
        left -= to[n].iov_len;
    }
    return n;
}
static size_t sum(const struct iovec* parts, size_t count) {
    size_t all = 0;
    for (size_t n = 0; n < count; ++n) all += parts[n].iov_len;
    return all;
}

ssize_t sendmsg(int fd, const struct msghdr* message, int flags) {
    REAL(sendmsg);
    size_t size = sum(message->msg_iov, message->msg_iovlen);
    if (fails(SEND, fd, flags)) return -1;
    size_t most = allowed(SEND, size);
    if (most == size) return real(fd, message, flags);
    struct iovec parts[64];
    struct msghdr less = *message;
    less.msg_iov = parts,
    less.msg_iovlen = cut_parts(parts, message->msg_iov, message->msg_iovlen, most);
    ssize_t done = real(fd, &less, flags);
    arm_again(fd);
    return done;
}

ssize_t sendto(int fd, const void* from, size_t size, int flags, const struct sockaddr* to,
               socklen_t length) {
    REAL(sendto);
    if (to) return real(fd, from, size, flags, to, length);
    struct iovec part = {(void*)from, size};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    return sendmsg(fd, &message, flags);
}
ssize_t send(int fd, const void* from, size_t size, int flags) {
    return sendto(fd, from, size, flags, NULL, 0);
}

ssize_t recvmsg(int fd, struct msghdr* message, int flags) {
    REAL(recvmsg);
    size_t size = sum(message->msg_iov, message->msg_iovlen);
    if (fails(RECV, fd, flags)) return -1;
    size_t most = allowed(RECV, size);
    if (most == size) return real(fd, message, flags);
    struct iovec parts[64], *whole = message->msg_iov;
    size_t count = message->msg_iovlen;
    message->msg_iov = parts, message->msg_iovlen = cut_parts(parts, whole, count, most);
    ssize_t done = real(fd, message, flags);
    message->msg_iov = whole, message->msg_iovlen = count;
    arm_again(fd);
    return done;
}

ssize_t recvfrom(int fd, void* into, size_t size, int flags, struct sockaddr* from,
                 socklen_t* length) {
    REAL(recvfrom);
    if (fails(RECV, fd, flags)) return -1;
    size_t most = allowed(RECV, size);
    ssize_t done = real(fd, into, most, flags, from, length);
    if (most != size) arm_again(fd);
    return done;
}
ssize_t recv(int fd, void* into, size_t size, int flags) {
    return recvfrom(fd, into, size, flags, NULL, NULL);
}

ssize_t read(int fd, void* into, size_t size) {
    REAL(read);
    int of = READ;
    struct stat is;
    if (!has_halves(fd)) return real(fd, into, size);
    if (fstat(fd, &is) == 0 && S_ISSOCK(is.st_mode)) of = RECV;
    if (fails(of, fd, 0)) return -1;
    size_t most = allowed(of, size);
    ssize_t done = real(fd, into, most);
    if (most != size) arm_again(fd);
    return done;
}
ssize_t pread(int fd, void* into, size_t size, off_t at) {
    REAL(pread);
    return fails(READ, fd, 0) ? -1 : real(fd, into, allowed(READ, size), at);
}
ssize_t pread64(int fd, void* into, size_t size, off64_t at) {
    REAL(pread64);
    return fails(READ, fd, 0) ? -1 : real(fd, into, allowed(READ, size), at);
}

ssize_t sendfile(int to, int from, off_t* at, size_t size) {
    REAL(sendfile);
    if (fails(FILE_OUT, to, 0)) return -1;
    size_t most = allowed(FILE_OUT, size);
    ssize_t done = real(to, from, at, most);
    if (most != size) arm_again(to);
    return done;
}
ssize_t sendfile64(int to, int from, off64_t* at, size_t size) {
    return sendfile(to, from, at, size);
}

ssize_t writev(int fd, const struct iovec* parts, int count) {
    REAL(writev);
    struct stat is;
    if (fstat(fd, &is) != 0 || !S_ISSOCK(is.st_mode)) return real(fd, parts, count);
    struct msghdr message = {.msg_iov = (struct iovec*)parts, .msg_iovlen = (size_t)count};
    return sendmsg(fd, &message, 0);
}
ssize_t write(int fd, const void* from, size_t size) {
    REAL(write);
    struct stat is;
    if (fstat(fd, &is) != 0 || !S_ISSOCK(is.st_mode)) return real(fd, from, size);
    struct iovec part = {(void*)from, size};
    return writev(fd, &part, 1);
}
ssize_t readv(int fd, const struct iovec* parts, int count) {
    REAL(readv);
    struct stat is;
    if (fstat(fd, &is) != 0 || !S_ISSOCK(is.st_mode)) return real(fd, parts, count);
    struct msghdr message = {.msg_iov = (struct iovec*)parts, .msg_iovlen = (size_t)count};
    return recvmsg(fd, &message, 0);
}

int accept4(int fd, struct sockaddr* from, socklen_t* length, int flags) {
    REAL(accept4);
    return fails(ACCEPT, fd, 0) ? -1 : real(fd, from, length, flags);
}
int accept(int fd, struct sockaddr* from, socklen_t* length) {
    return accept4(fd, from, length, 0);
}

int epoll_ctl(int epoll, int what, int fd, struct epoll_event* event) {
    REAL(epoll_ctl);
    if (what == EPOLL_CTL_ADD && fails(CONTROL, fd, MSG_DONTWAIT)) return -1;
    int done = real(epoll, what, fd, event);
    if (done == 0 && fd >= 0 && fd < 65536) {
        if (what == EPOLL_CTL_DEL) armed[fd].asked.events = 0;
        else armed[fd].epoll = epoll, armed[fd].asked = *event;
    }
    return done;
}
int epoll_pwait(int epoll, struct epoll_event* events, int most, int timeout,
                const sigset_t* mask) {
    REAL(epoll_pwait);
    if (fails(WAIT, epoll, 0)) return -1;
    return real(epoll, events, (int)allowed(WAIT, (size_t)most), timeout, mask);
}
int epoll_wait(int epoll, struct epoll_event* events, int most, int timeout) {
    return epoll_pwait(epoll, events, most, timeout, NULL);
}
int ppoll(struct pollfd* fds, nfds_t count, const struct timespec* timeout, const sigset_t* mask) {
    REAL(ppoll);
    return fails(WAIT, -1, 0) ? -1 : real(fds, count, timeout, mask);
}
int poll(struct pollfd* fds, nfds_t count, int timeout) {
    REAL(poll);
    return fails(WAIT, -1, 0) ? -1 : real(fds, count, timeout);
}

int connect(int fd, const struct sockaddr* to, socklen_t size) {
    REAL(connect);
    return fails(CONNECT, fd, 0) ? -1 : real(fd, to, size);
}
int socket(int domain, int type, int protocol) {
    REAL(socket);
    return fails(SOCKET, -1, 0) ? -1 : real(domain, type, protocol);
}
int eventfd(unsigned count, int flags) {
    REAL(eventfd);
    return fails(EVENT, -1, 0) ? -1 : real(count, flags);
}
