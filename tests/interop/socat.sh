#!/usr/bin/env bash
# Requests typed by hand, through socat.
. "$(dirname "$0")/lib.sh"
needs socat:socat

by_hand() { # BYTES [ADDRESS]: as printf's format; the answer's status lines and bodies
    # shellcheck disable=SC2059 # a format is what is meant
    printf "$1" | timeout 20 socat -t 20 - "${2:-UNIX-CONNECT:$socket}" | tr -d '\r'
}
line() { by_hand "$@" | head -n 1; }
host='Host: localhost\r\n'

program socat "$(socat -V | sed -n 's/^socat version \([^ ]*\) .*/\1/p')" client
serve hello
check 'GET half-closed behind it' $'HTTP/1.1 200 OK\nHello world' "$(by_hand "GET /world HTTP/1.1\r\n$host\r\n" | sed -n '1p; $p')"
check HTTP/1.0 'Hello world' "$(by_hand 'GET /world HTTP/1.0\r\n\r\n' | tail -n 1)"
check 'three pipelined' $'Hello a\nHello b\nHello c' \
    "$(by_hand "GET /a HTTP/1.1\r\n$host\r\nGET /b HTTP/1.1\r\n$host\r\nGET /c HTTP/1.1\r\n$host\r\n" | grep -o 'Hello .')"
check 'chunks by hand' 'some bytes' \
    "$(by_hand "POST /echo HTTP/1.1\r\n${host}Transfer-Encoding: chunked\r\n\r\n5\r\nsome \r\n5;x=y\r\nbytes\r\n0\r\nA: b\r\n\r\n" | tail -n 1)"
check 'no Host' 'HTTP/1.1 400 Bad Request' "$(line 'GET /world HTTP/1.1\r\n\r\n')"
check nonsense 'HTTP/1.1 400 Bad Request' "$(line 'What is this?\r\n\r\n')"
check 'lines that end in LF alone' 'HTTP/1.1 400 Bad Request' "$(line 'GET / HTTP/1.1\nHost: a\n\n')"
check 'HTTP/2 preface' 'HTTP/1.1 400' "$(line 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n' | cut -c 1-12)"
check 'TLS by mistake' 'HTTP/1.1 400 Bad Request' "$(line '\026\003\001\002\000\001\000\001\374\003\003')"
name=uds_http.socat.$$
start abstract "$examples/hello" "@$name"
ready abstract by_hand 'GET / HTTP/1.0\r\n\r\n' "ABSTRACT-CONNECT:$name" >/dev/null
check ABSTRACT-CONNECT 'Hello world' "$(by_hand 'GET /world HTTP/1.0\r\n\r\n' "ABSTRACT-CONNECT:$name" | tail -n 1)"
finish
