#!/usr/bin/env bash
# autocannon (npm) loads hello: pipelined and not, GET and POST.
. "$(dirname "$0")/lib.sh"
needs nodejs:node npm:npm
npm_module autocannon@8.0.0 || exit 1

load() { # ARGUMENT...: answers of 2xx, others, errors, timeouts, mismatched bodies
    node "$module/autocannon.js" --socketPath "$socket" --json --no-progress "$@" http://localhost/echo 2>/dev/null |
        node -p 'const r = JSON.parse(require("fs").readFileSync(0)); [r["2xx"], r.non2xx, r.errors, r.timeouts, r.mismatches].join(" ")'
}
program autocannon "$(version_of_node "$module")" client
serve hello
check '20000 GETs of 10 connections' '20000 0 0 0 0' "$(load -c 10 -a 20000 -E 'Hello echo')"
# It leaves the last 9 of each pipeline uncounted, with Node's own server, too.
check '20000 pipelined GETs' '19910 0 0 0 0' "$(load -c 10 -p 10 -a 20000 -E 'Hello echo')"
check '2000 POSTs' '2000 0 0 0 0' "$(load -c 4 -a 2000 -m POST -b 'some bytes' -E 'some bytes')"
finish
