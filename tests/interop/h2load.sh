#!/usr/bin/env bash
# h2load (nghttp2), as a client of HTTP/1.1, loads hello.
. "$(dirname "$0")/lib.sh"
needs nghttp2-client:h2load

load() { # ARGUMENT...: how many requests it says succeeded, and failed
    h2load --h1 -B "unix:$socket" "$@" 2>&1 |
        sed -n 's/^requests: .* \([0-9]*\) done, \([0-9]*\) succeeded, \([0-9]*\) failed, .*/\2 \3/p'
}
program h2load "$(h2load --version | sed 's/.*\///')" client
serve hello
check '20000 GETs of 10 connections' '20000 0' "$(load -n 20000 -c 10 http://localhost/world)"
check '20000 pipelined GETs' '20000 0' "$(load -n 20000 -c 10 -m 10 http://localhost/world)"
check '200 connections' '2000 0' "$(load -n 2000 -c 200 http://localhost/world)"
check '2000 POSTs of 100 kB' '2000 0' "$(load -n 2000 -c 4 -d "$(random_file 100000)" http://localhost/echo)"
check 404 '0 100' "$(load -n 100 -c 1 http://localhost/a/b)"
finish
