#!/usr/bin/env bash
# systemd-socket-activate starts hello at the first connect and passes the listener on.
. "$(dirname "$0")/lib.sh"
needs systemd:/usr/bin/systemd-socket-activate curl:curl

ask() { curl -sS --max-time 30 --unix-socket "$socket" "$@"; }
program 'systemd-socket-activate' "$(systemd-socket-activate --version | awk '{ print $2; exit }')" front
socket=$folder/activated.sock
start activated systemd-socket-activate --listen="$socket" "$examples/hello"
ready activated test -S "$socket"
check 'the first GET starts hello' 'Hello world' "$(ask http://localhost/world)"
check 'hello says that it inherited' 1 "$(grep -c '^listening on inherited sockets$' "$folder/activated.log")"
check 'POST echo' 'some bytes' "$(ask -d 'some bytes' http://localhost/echo)"
stop "$pid"
check 'SIGTERM drains' 0 $?
check 'the path stays: it is not ours' yes "$([ -S "$socket" ] && echo yes || echo no)"
finish
