#!/usr/bin/env bash
# aiohttp, both ways, and as the reference that hello is compared with.
. "$(dirname "$0")/lib.sh"
needs python3-aiohttp:python:aiohttp

version=$(version_of_python aiohttp)
program 'Python aiohttp' "$version" client
serve hello
hello=$socket
checks_of /usr/bin/python3 $peers/aiohttp_client.py "$socket"

program 'Python aiohttp' "$version" server
socket=$folder/aiohttp.sock
start aiohttp /usr/bin/python3 $peers/aiohttp_server.py "$socket"
ready aiohttp accepts "$socket"
drive_greeter

# The same bytes to both; OURS=SOCKET compares another server.
program 'aiohttp and hello, compared' "$version" client
start reference /usr/bin/python3 $peers/aiohttp_server.py "$folder/reference.sock" --plain
ready reference accepts "$folder/reference.sock"
/usr/bin/python3 $peers/compare.py "$folder/reference.sock" "${OURS:-$hello}" >"$folder/compare.log"
grep -v ' passed, ' "$folder/compare.log"
exercised 'status and body of each request of a list'
read -r good bad < <(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p' "$folder/compare.log")
passed=$((passed + ${good:-0})) failed=$((failed + ${bad:-1}))
finish
