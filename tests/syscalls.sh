#!/usr/bin/env bash
# What a batch of requests costs in system calls: one receive, one send, one epoll_wait, no epoll_ctl.
# Two runs that differ only in the number of batches; what one more batch costs is the difference.
set -u
cd "$(dirname "$0")/.." || exit 1
tests/need.sh strace:strace || exit 1
. tests/lib.sh

talk() { # SOCKET BATCHES DEPTH
    /usr/bin/python3 - "$@" <<'PYTHON'
import socket, sys
path, batches, depth = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
sock = socket.socket(socket.AF_UNIX)
sock.settimeout(20)
sock.connect(path)
request = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * depth
for _ in range(batches):
    sock.sendall(request)
    got = 0
    while got < depth:
        got += sock.recv(65536).count(b"Hello Anonymous")
PYTHON
}

ended() { grep -q 'exited with 0' "$folder/strace"; }

count() { # BATCHES DEPTH: receives sends waits controls
    local calls socket=$folder/s log=$folder/strace
    rm -f "$log"
    # -D: what is started is hello itself, and strace beside it
    start hello strace -D -f -q -o "$log" \
        -e trace=recvfrom,recvmsg,sendto,sendmsg,epoll_wait,epoll_pwait,epoll_ctl \
        build/examples/hello "$socket"
    until_true 10 accepts "$socket" && talk "$socket" "$1" "$2"
    stop "$pid"
    until_true 10 ended || return
    for calls in 'recvfrom|recvmsg' 'sendto|sendmsg' 'epoll_wait|epoll_pwait' epoll_ctl; do
        grep -cE "^[0-9]+ +($calls)\(" "$log"
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
verdict
