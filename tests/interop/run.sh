#!/usr/bin/env bash
# Other people's programs against ours, both ways. Prints a table; last line `N passed, N failed`.
set -u
cd "$(dirname "$0")/../.." || exit 1
tests/need.sh curl:curl python3:/usr/bin/python3 python3-aiohttp:python:aiohttp nodejs:node golang-go:go || exit 1
. tests/lib.sh
peers=tests/interop
examples=${BUILD:-build}/examples
fetch=$examples/fetch
rows=()

row() { # PROGRAM VERSION EXERCISED FAILED_BEFORE
    rows+=("$(printf '| %s | %s | %s | %s |' "$1" "$2" "$3" "$([ "$failed" -eq "$4" ] && echo ok || echo "$((failed - $4)) failed")")")
}

version_of_python() { /usr/bin/python3 -c "import $1; print($1.__version__)"; }
go_version=$(go version | sed 's/.*go\([0-9.]*\) .*/\1/')
export GOCACHE=$PWD/build/go-cache GO111MODULE=off GOFLAGS=
mkdir -p build/interop
go build -o build/interop/go_server $peers/server.go && go build -o build/interop/go_client $peers/client.go || exit 1

# Servers of others, our client. -------------------------------------------------------------------
drive() { # NAME SOCKET: what each of them is asked
    local name=$1 socket=$2
    until_true 20 accepts "$socket" || { cat "$folder/$name.log"; same "$name serves" yes no; return; }
    same "$name: GET /" 'Hello Anonymous' "$("$fetch" "$(url "$socket" /)")"
    same "$name: GET /name" 'Hello wörld' "$("$fetch" "$(url "$socket" /w%C3%B6rld)")"
    same "$name: POST" 'some bytes' "$("$fetch" -d 'some bytes' "$(url "$socket" /echo)")"
    same "$name: HEAD" '' "$("$fetch" -X HEAD "$(url "$socket" /world)")"
    same "$name: HEAD keeps the length" 'HTTP/1.1 200 Content-Length: 11' \
        "$("$fetch" -i -X HEAD "$(url "$socket" /world)" | tr -d '\r' | sed -n '1s/ OK$//; 1p; s/^content-length/Content-Length/Ip' | paste -sd' ')"
    same "$name: kept connection" '1000 ok, 0 failed' "$("$fetch" --repeat 1000 "$(url "$socket" /world)" | cut -d, -f1,2)"
    same "$name: chunked" "$(seq 0 999 | cksum)" "$("$fetch" "$(url "$socket" /pieces/1000)" | cksum)"
    same "$name: 10 MB" 10000000 "$("$fetch" "$(url "$socket" /large/10000000)" | tr -d -c x | wc -c)"
    head -c 5000000 /dev/urandom >"$folder/body"
    same "$name: upload of 5 MB" "$(cksum <"$folder/body")" "$("$fetch" -d "@$folder/body" "$(url "$socket" /echo)" | cksum)"
    head -c 50000 "$folder/body" >"$folder/small"
    [ "$name" != node ] || same "$name: an answer that comes while the body goes" "$(cksum <"$folder/small")" \
        "$("$fetch" -d "@$folder/small" "$(url "$socket" /mirror)" | cksum)"
    same "$name: 404 or 405 is an answer" 0 "$("$fetch" -X DELETE -d x "$(url "$socket" /a/b/c)" >/dev/null; echo $?)"
}
serve() { # NAME VERSION COMMAND...: the socket is the last argument
    local name=$1 version=$2 before=$failed
    shift 2
    start "$name" "$@" "$folder/$name.sock"
    drive "$name" "$folder/$name.sock"
    row "$name, serving fetch" "$version" 'GET, HEAD, POST, keep-alive, chunked, 10 MB down, 5 MB up' "$before"
}
serve aiohttp "$(version_of_python aiohttp)" /usr/bin/python3 $peers/aiohttp_server.py
serve node "$(node --version)" node $peers/node_server.js
serve go "$go_version" build/interop/go_server

# Clients of others, our server. -------------------------------------------------------------------
start hello "$examples/hello" "$folder/hello.sock"
hello=$pid
until_true 20 accepts "$folder/hello.sock" || { cat "$folder/hello.log"; exit 1; }
ask() { curl -sS --max-time 30 --unix-socket "$folder/hello.sock" "$@"; }

before=$failed
same 'curl: GET' 'Hello world' "$(ask http://localhost/world)"
same 'curl: HTTP/1.0' 'Hello world' "$(ask --http1.0 http://localhost/world)"
same 'curl: HEAD' 200 "$(ask -I -o /dev/null -w '%{http_code}' http://localhost/world)"
same 'curl: POST' 'some bytes' "$(ask -d 'some bytes' http://localhost/echo)"
same 'curl: POST of 5 MB, with Expect' "$(cksum <"$folder/body")" "$(ask -H 'Expect: 100-continue' --data-binary "@$folder/body" http://localhost/echo | cksum)"
same 'curl: chunked POST' "$(cksum <"$folder/body")" "$(ask -X POST -H 'Transfer-Encoding: chunked' --data-binary "@$folder/body" http://localhost/echo | cksum)"
same 'curl: one connection' 1 "$(ask -w '%{num_connects}\n' -o /dev/null -o /dev/null -o /dev/null http://localhost/{a,b,c} | awk '{ n += $1 } END { print n }')"
same 'curl: 404' 404 "$(ask -o /dev/null -w '%{http_code}' http://localhost/a/b)"
same 'curl: 405' 405 "$(ask -o /dev/null -w '%{http_code}' -X DELETE http://localhost/world)"
same 'curl: 413' 413 "$(head -c 9000000 /dev/zero | ask -o /dev/null -w '%{http_code}' --data-binary @- http://localhost/echo)"
row 'curl, asking hello' "$(curl --version | awk '{ print $2; exit }')" 'GET, HTTP/1.0, HEAD, POST, Expect, chunked, keep-alive, 404, 405, 413' "$before"

client() { # NAME VERSION COMMAND...
    local name=$1 version=$2 before=$failed
    shift 2
    same "$name asks hello" ok "$(timeout 60 "$@" "$folder/hello.sock" 2>&1 | tail -n 1)"
    row "$name, asking hello" "$version" 'GET, HEAD, keep-alive, 404, POST of 4 MB, chunked, Expect' "$before"
}
client "aiohttp's UnixConnector" "$(version_of_python aiohttp)" /usr/bin/python3 $peers/aiohttp_client.py
client "Node's socketPath" "$(node --version)" node $peers/client.js
client "Go's DialContext" "$go_version" build/interop/go_client

# The point of comparison. -------------------------------------------------------------------------
start reference /usr/bin/python3 $peers/aiohttp_server.py "$folder/reference.sock" --plain
until_true 20 accepts "$folder/reference.sock" || { cat "$folder/reference.log"; exit 1; }
before=$failed
/usr/bin/python3 $peers/compare.py "$folder/reference.sock" "${OURS:-$folder/hello.sock}" >"$folder/compare.log"
sed '$d' "$folder/compare.log"
read -r good bad < <(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p' "$folder/compare.log")
passed=$((passed + ${good:-0})) failed=$((failed + ${bad:-1}))
row 'hello, compared with aiohttp' "$(version_of_python aiohttp)" 'status and body of every valid request of a table' "$before"

stop "$hello"
same 'hello ends' 0 $?

echo '| program | version | exercised | result |'
echo '| --- | --- | --- | --- |'
printf '%s\n' "${rows[@]}"
verdict
