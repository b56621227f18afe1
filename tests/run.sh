#!/usr/bin/env bash
# The exchange of the README for real: hello serves a socket, fetch and curl ask it.
set -u
cd "$(dirname "$0")/.." || exit 1
. tests/lib.sh
build=${BUILD:-build}
socket=$folder/hello.sock

show() { # EXPECTED COMMAND...: prints the command and what it answers
    local expected=$1 got
    shift
    printf '$%s\n' "$(printf ' %q' "$@")" # can be pasted
    got=$("$@")
    printf '%s\n' "$got"
    same "$*" "$expected" "$got"
}

printf '$ %s &\n' "$build/examples/hello $socket"
start hello "$build/examples/hello" "$socket"
hello=$pid
until_true 10 grep -qs "^listening on $socket\$" "$folder/hello.log" || { cat "$folder/hello.log"; exit 1; }
cat "$folder/hello.log"
show 'Hello Anonymous' "$build/examples/fetch" "$(url "$socket" /)"
show 'Hello world' "$build/examples/fetch" "$(url "$socket" /world)"
show 'some bytes' "$build/examples/fetch" -d 'some bytes' "$(url "$socket" /echo)"
if command -v curl >/dev/null; then
    show 'Hello world' curl -sS --unix-socket "$socket" http://localhost/world
    show 'some bytes' curl -sS --unix-socket "$socket" -d 'some bytes' http://localhost/echo
fi
printf '$ kill %s\n' "$hello"
stop "$hello"
same 'exit status of hello' 0 $?
same 'the socket is gone' '' "$(ls "$folder" | grep 'sock$')"
[ "$failed" -eq 0 ]
