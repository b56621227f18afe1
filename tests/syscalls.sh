#!/usr/bin/env bash
# What a batch of requests costs in system calls: one receive, one send, one epoll_wait, no epoll_ctl.
# Two runs that differ only in the number of batches; what one more batch costs is the difference.
set -u
cd "$(dirname "$0")/.." || exit 1
tests/need.sh strace:strace curl:curl python3:/usr/bin/python3 || exit 1
. tests/lib.sh

talk() { # SOCKET BATCHES DEPTH [PAUSE]: in seconds, after each
    /usr/bin/python3 - "$@" <<'PYTHON'
import socket, sys, time
path, batches, depth = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
pause = float(sys.argv[4]) if len(sys.argv) > 4 else 0
sock = socket.socket(socket.AF_UNIX)
sock.settimeout(20)
sock.connect(path)
request = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * depth
for _ in range(batches):
    sock.sendall(request)
    got = 0
    while got < depth:
        got += sock.recv(65536).count(b"Hello Anonymous")
    time.sleep(pause)
PYTHON
}

log=$folder/strace
ended() { grep -q 'exited with 0' "$folder/strace"; }

# Each look at the clock is a system call with it.
"${CC:-cc}" -shared -fPIC -O2 -o "$folder/shim.so" tests/faults/shim.c -ldl || exit 1
head -c 4096 /dev/zero >"$folder/faults"
preloaded=(-E LD_PRELOAD="$folder/shim.so" -E FAULTS_FILE="$folder/faults")

talker=talk environment=()
trace() { # "FLAGS" BATCHES DEPTH [PAUSE]: the system calls of hello, started with FLAGS, in $log
    local socket=$folder/s
    read -ra flags <<<"$1"
    shift
    rm -f "$log"
    # -D: what is started is hello itself, and strace beside it
    start hello strace -D -f -q -o "$log" "${environment[@]}" \
        -e trace=recvfrom,recvmsg,sendto,sendmsg,epoll_wait,epoll_pwait,epoll_ctl \
        build/examples/hello "${flags[@]}" "$socket"
    until_true 10 accepts "$socket" && $talker "$socket" "$@"
    stop "$pid"
    until_true 10 ended
}
count() { # BATCHES DEPTH: receives sends waits controls
    local calls
    # With a slow clock: a batch that takes 15 ms gives others their turn, and leaves in two sends. Where
    # the machine stops the server for so long, that isn't what is counted here.
    environment=("${preloaded[@]}" -E FAULTS_SLOWER=1000)
    trace '' "$@" || return
    # From the first answer to the last: how often it wakes at its start and end is as it comes.
    sed -n '/ send/,$p' "$log" | tac | sed -n '/ send/,$p' >"$log.between"
    for calls in 'recvfrom|recvmsg' 'sendto|sendmsg' 'epoll_wait|epoll_pwait' epoll_ctl; do
        grep -cE "^[0-9]+ +($calls)\(" "$log.between"
    done | tr '\n' ' '
}

# Two batches may meet in one wake-up while a run begins, hence the margin of 2 in 1,000.
about() { # WHAT EXPECTED ACTUAL
    [ "$3" -ge $(($2 - 2)) ] && [ "$3" -le $(($2 + 2)) ]
    same "$1: about $2, got $3" 0 $?
}

for depth in 1 16; do
    read -r receives sends waits controls < <(count 100 $depth)
    read -r more_receives more_sends more_waits more_controls < <(count 1100 $depth)
    about "$depth at a time: 1000 more batches, receives" 1000 $((more_receives - receives))
    about "$depth at a time: 1000 more batches, sends" 1000 $((more_sends - sends))
    about "$depth at a time: 1000 more batches, waits" 1000 $((more_waits - waits))
    same "$depth at a time: 1000 more batches, epoll_ctl" 0 $((more_controls - controls))
done

# A connection is entered, and leaves epoll(7) by its close(2) alone.
talk_anew() { # SOCKET REQUESTS: each on a connection of its own
    curl -sS -o "$folder/answers" --unix-socket "$1" -H 'Connection: close' "http://localhost/[1-$2]"
}
talker=talk_anew
read -r _ _ _ controls < <(count 10)
read -r _ _ _ more_controls < <(count 210)
same "200 more connections, epoll_ctl" 200 $((more_controls - controls))
talker=talk

# A file is asked for its status once; sendfile(2) has two calls beside it, which keep its SIGPIPE away.
mkdir "$folder/www"
head -c 1000 /dev/zero >"$folder/www/small"
head -c 10000 /dev/zero >"$folder/www/large"
per_file() { # NAME CALLS: how many of these calls one more request makes
    local files=$folder/files calls=()
    for n in 100 1100; do
        start files strace -D -f -q -o "$log" -e trace="$2" build/examples/files "$files" "$folder/www"
        until_true 10 accepts "$files"
        curl -sS -o /dev/null --unix-socket "$files" "http://localhost/$1?[1-$n]"
        stop "$pid"
        until_true 10 ended
        calls+=("$(grep -c '(' "$log")")
    done
    echo $(((calls[1] - calls[0]) / 1000))
}
same "a small file: calls of fstat" 1 "$(per_file small fstat,newfstatat)"
same "a large file: calls beside sendfile, fstat and the socket's" 4 \
    "$(per_file large rt_sigprocmask,rt_sigpending,openat2,close)"

# Stopping looks at each connection once or twice, not at all of them for each that waits at the door:
# while nobody accepts its queue grows.
crowd() { # SOCKET PID: 200 that are served and 200 in the queue when SIGTERM comes
    /usr/bin/python3 - "$@" <<'PYTHON'
import os, signal, socket, sys
path, pid = sys.argv[1], int(sys.argv[2])
served, queued = ([socket.socket(socket.AF_UNIX) for _ in range(200)] for _ in range(2))
for one in served:
    one.connect(path)
    one.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    one.recv(65536)
os.kill(pid, signal.SIGSTOP)
for one in queued:
    one.connect(path)
os.kill(pid, signal.SIGTERM)
os.kill(pid, signal.SIGCONT)
for one in served + queued:
    while one.recv(65536):
        pass
PYTHON
}
start hello strace -D -f -q -o "$log" -e trace=clock_gettime "${preloaded[@]}" \
    build/examples/hello --threads 2 "$folder/c"
until_true 10 accepts "$folder/c"
crowd "$folder/c" "$pid"
until_true 15 ended
looks=$(grep -c clock_gettime "$log")
[ "$looks" -gt 400 ] && [ "$looks" -lt 8000 ] # fewer: without the shim
same "400 connections, 200 of them queued at the end: $looks looks at the clock" 0 $?

# A server that spins reads from who spoke last without an event: three looks of four. Without that
# every request has one.
trace '--busy-poll 5000' 1000 1
unasked=$(awk '/recv/ && / = [1-9][0-9]*$/ { all++; if (last !~ /epoll/) n++ } { last = $0 }
    END { print (all >= 1000 && n > all / 5) ? "many" : n + 0 " of " all + 0 }' "$log")
same 'spinning: requests that are read without an event' many "$unasked" # on a busy machine fewer

# Where spinning doesn't pay it is given up: 5 ms of it, before each of requests 30 ms apart, would be
# dozens of calls each time.
looks() { # BATCHES
    trace '--busy-poll 5000' "$1" 1 0.03 && grep -cE 'recv|epoll_wait' "$log"
}
few=$(looks 20)
many=$(looks 220)
[ "${few:-0}" -ge 20 ] && [ "${many:-0}" -ge 220 ] && [ "$((many - few))" -lt 8000 ] # both have run
same "spinning in vain: 200 more requests, $((many - few)) more looks" 0 $?

# A stream that a proxy passes on is looked at 20 times a second, for whoever cancels it: no call each time.
start events build/examples/events "$folder/events"
until_true 10 accepts "$folder/events"
start proxy strace -D -f -q -o "$log" -e trace=ioctl build/examples/proxy "$folder/p" "$folder/events"
until_true 10 accepts "$folder/p"
start reader curl -sN --unix-socket "$folder/p" http://localhost/
until_true 10 grep -qs 'id: 2$' "$folder/reader.log"
before=$(wc -l <"$log")
until_true 10 grep -q 'id: 12$' "$folder/reader.log" # one comes each tenth of a second
same 'a stream through a proxy: calls of ioctl' 0 $(($(wc -l <"$log") - before))
verdict
