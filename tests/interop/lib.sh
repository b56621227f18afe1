# Sourced by the scripts here, one script per program. Each prints its checks that fail and, last,
# `N passed, N failed`; run.sh runs whatever *.sh stands here, and adds the lines up.
#
#   needs PACKAGE:TEST...                 as tests/need.sh
#   program NAME VERSION ROLE             begins a row of the table: client, front or server
#   check BEHAVIOUR EXPECTED ACTUAL       one check of it
#   checks_of COMMAND...                  the lines `ok WHAT`, `FAILED WHAT: WHY` of a peer's script, then `end`
#   absent NAME ROLE WHY                  a program that this machine can't run: neither passed nor failed
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
. tests/lib.sh
peers=tests/interop
examples=${BUILD:-build}/examples
fetch=$examples/fetch
kept=$PWD/build/interop # what a second run needn't install or build again
mkdir -p "$kept/rows"
title='' behaviours=() row_passed=0 row_failed=0

needs() { # without what they bring there is nothing to show: that is a failure
    tests/need.sh "$@" && return
    echo '0 passed, 1 failed'
    exit 1
}

# Rows: `ROLE<tab>NAME<tab>VERSION<tab>EXERCISED<tab>RESULT`, one file each; table.sh reads them.
row_file() { echo "$kept/rows/$1-$(tr -c 'A-Za-z0-9\n' _ <<<"$2")"; }
end_row() {
    [ -n "$title" ] || return 0
    local all=$((passed + failed - row_passed - row_failed)) bad=$((failed - row_failed)) exercised
    exercised=$(printf '%s, ' "${behaviours[@]}")
    printf '%s\t%s\t%s\t%s\t%s\n' "$role" "$title" "$version" "${exercised%, }" \
        "$([ $bad -eq 0 ] && echo "$all of $all" || echo "$bad of $all failed")" >"$(row_file "$role" "$title")"
    title=''
}
program() {
    end_row
    title=$1 version=$2 role=$3 behaviours=() row_passed=$passed row_failed=$failed
}
exercised() { # once each, in order
    local known
    for known in "${behaviours[@]}"; do [ "$known" != "$1" ] || return 0; done
    behaviours+=("$1")
}
check() {
    exercised "$1"
    same "$title: $1" "$2" "$3"
}
checks_of() {
    local word rest ended=no
    while read -r word rest; do
        case $word in
        ok) check "$rest" ok ok ;;
        FAILED) check "${rest%%:*}" ok "$rest" ;;
        end) ended=yes ;;
        *) echo "$word $rest" ;;
        esac
    done < <(timeout 120 "$@" 2>&1)
    [ $ended = yes ] || same "$title: $(basename "$1") comes to its end" yes no
}
absent() {
    printf '%s\t%s\t-\t-\tmissing: %s\n' "$2" "$1" "$3" >"$(row_file "$2" "$1")"
    echo "missing: $1: $3"
}
finish() {
    end_row
    verdict
}

# Ours. -------------------------------------------------------------------------------------------
serve() { # EXAMPLE [ARGUMENT...]: on $socket, until it accepts
    socket=$folder/$1.sock
    start "$1" "$examples/$1" "$socket" "${@:2}"
    ready "$1" accepts "$socket"
}
ready() { # NAME COMMAND...: waits until what was started as NAME is there
    until_true 30 "${@:2}" && return
    cat "$folder/$1.log"
    same "$1 starts" yes no
    finish
    exit 1
}
counter() { # NAME: of the example metrics, on $socket
    curl -sS --unix-socket "$socket" http://localhost/metrics | sed -n "s/^uds_http_$1 //p"
}

# Loopback, for those that stand between a network and a socket. ------------------------------------
free_port() { /usr/bin/python3 -c 'import socket
with socket.socket() as s: s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
port_accepts() { /usr/bin/python3 -c 'import socket, sys
socket.create_connection(("127.0.0.1", int(sys.argv[1])), 1)' "$1" 2>/dev/null; }

version_of_python() { /usr/bin/python3 -c "import importlib.metadata as m; print(m.version('$1'))"; }

random_file() { # BYTES: $folder/BYTES
    [ -e "$folder/$1" ] || head -c "$1" /dev/urandom >"$folder/$1"
    echo "$folder/$1"
}
bytes_and_crc() { # FILE: what `upload` answers
    /usr/bin/python3 -c 'import sys, zlib
size = crc = 0
with open(sys.argv[1], "rb") as f:
    while piece := f.read(1 << 20): size, crc = size + len(piece), zlib.crc32(piece, crc)
print("%d %08x" % (size, crc))' "$1"
}

npm_module() { # NAME@VERSION: installs it, where it isn't yet; its folder in $module
    local name=${1%@*} log=$kept/logs/npm-${1%@*}
    module=$kept/npm/node_modules/$name
    [ -d "$module" ] && [ "$(version_of_node "$module")" = "${1#*@}" ] && return
    mkdir -p "$kept/npm" "$kept/logs"
    npm install --silent --no-fund --no-audit --prefix "$kept/npm" "$1" >"$log" 2>&1 && return
    cat "$log"
    echo '0 passed, 1 failed'
    exit 1
}
version_of_node() { node -p 'require(process.argv[1] + "/package.json").version' "$1"; }

go_program() { # NAME: builds $kept/go_NAME from NAME.go
    GOCACHE=$PWD/build/go-cache GO111MODULE=off GOFLAGS='' go build -o "$kept/go_$1" "$peers/$1.go" && return
    echo '0 passed, 1 failed'
    exit 1
}
version_of_go() { go version | sed 's/.*go\([0-9.]*\) .*/\1/'; }

# What fetch asks a server of somebody else. --------------------------------------------------------
get() { "$fetch" "$(url "$socket" "$1")"; }
head_of() { # TARGET [FLAG...]: status and length
    "$fetch" -i "${@:2}" "$(url "$socket" "$1")" | tr -d '\r' |
        awk 'NR == 1 { status = $2 } /^$/ { body = 1 } !body && tolower($1) == "content-length:" { size = " " $2 }
            END { print status size }'
}
drive_greeter() { # /, /{name}, POST /echo, /pieces/{n}, /large/{n}
    local body
    body=$(random_file 5000000)
    check GET 'Hello Anonymous' "$(get /)"
    check parameter 'Hello wörld' "$(get /w%C3%B6rld)"
    check HEAD '200 11' "$(head_of /world -X HEAD)"
    check -i 'HTTP/1.1 200 OK' "$("$fetch" -i "$(url "$socket" /world)" | tr -d '\r' | sed -n 1p)"
    check -i 1 "$("$fetch" -i "$(url "$socket" /world)" | grep -c '^Hello world$')"
    check 'POST echo' 'some bytes' "$("$fetch" -d 'some bytes' "$(url "$socket" /echo)")"
    check 'POST of 5 MB' "$(cksum <"$body")" "$("$fetch" -d "@$body" "$(url "$socket" /echo)" | cksum)"
    check '1000 GETs on one connection' '1000 ok, 0 failed' "$("$fetch" --repeat 1000 "$(url "$socket" /world)" | cut -d, -f1,2)"
    check chunked "$(seq 0 999 | cksum)" "$(get /pieces/1000 | cksum)"
    check '10 MB' 10000000 "$(get /large/10000000 | tr -d -c x | wc -c)"
    check '404 or 405' '40x 0' "$(head_of /a/b/c -X DELETE | sed 's/^40[45]\>.*/40x/') $("$fetch" -X DELETE "$(url "$socket" /a/b/c)" >/dev/null; echo $?)"
}
drive_files() { # FOLDER: makes the files there, asks for them
    seq 1 100000 >"$1/numbers"
    head -c 10000000 /dev/zero | tr '\0' x >"$1/large"
    local since
    since=$(LC_ALL=C date -u -r "$1/numbers" '+%a, %d %b %Y %H:%M:%S GMT')
    check GET "$(cksum <"$1/numbers")" "$(get /numbers | cksum)"
    check HEAD '200 588895' "$(head_of /numbers -X HEAD)"
    check -i 'HTTP/1.1 200 OK' "$("$fetch" -i "$(url "$socket" /numbers)" | tr -d '\r' | sed -n 1p)"
    check '10 MB' 10000000 "$(get /large | tr -d -c x | wc -c)"
    check '1000 GETs on one connection' '1000 ok, 0 failed' "$("$fetch" --repeat 1000 "$(url "$socket" /numbers)" | cut -d, -f1,2)"
    check range "206 10 $(head -c 100 "$1/numbers" | tail -c 10 | cksum)" \
        "$(head_of /numbers -H 'Range: bytes=90-99') $("$fetch" -H 'Range: bytes=90-99' "$(url "$socket" /numbers)" | cksum)"
    check 416 416 "$(head_of /numbers -H 'Range: bytes=9999999-' | cut -d' ' -f1)"
    check 304 304 "$(head_of /numbers -H "If-Modified-Since: $since" | cut -d' ' -f1)"
    check 404 404 "$(head_of /none | cut -d' ' -f1)"
}

# What curl asks hello, metrics, upload, events and fd_pass through somebody in front of them, on
# 127.0.0.1:$port. `front SOCKET` (of the script) (re)starts the front with that socket behind it.
through() { curl -sS --max-time 60 "$@"; }
status_of() { through -o /dev/null -w '%{http_code}' "$@"; }
drive_front() {
    local at=http://127.0.0.1:$port body before # curl alone reuses its connection to the front
    body=$(random_file 5000000)
    serve hello
    front "$socket"
    check GET 'Hello Anonymous' "$(through $at/)"
    check parameter 'Hello wörld' "$(through $at/w%C3%B6rld)"
    check HEAD '200 11' "$(through -I -o /dev/null -w '%{http_code} %header{content-length}' $at/world)"
    check 'POST echo' 'some bytes' "$(through -d 'some bytes' $at/echo)"
    check 'POST of 5 MB' "$(cksum <"$body")" "$(through -H Expect: --data-binary "@$body" $at/echo | cksum)"
    check Expect "$(cksum <"$body")" "$(through -H 'Expect: 100-continue' --data-binary "@$body" $at/echo | cksum)"
    check 'chunked POST' "$(cksum <"$body")" "$(through -H 'Transfer-Encoding: chunked' --data-binary "@$body" $at/echo | cksum)"
    check HTTP/1.0 'Hello world' "$(through --http1.0 $at/world)"
    check 404 404 "$(status_of $at/a/b)"
    check 405 405 "$(status_of -X DELETE $at/world)"

    serve metrics
    front "$socket"
    before=$(counter accepted_total)
    through -o /dev/null "$at/metrics?[1-100]"
    check 'keep-alive to the socket' '101 requests, few connections' "$(counter requests_total) requests, $(
        [ $(($(counter accepted_total) - before)) -le 10 ] && echo few || echo many) connections"

    serve upload
    front "$socket"
    check '-T' "$(bytes_and_crc "$body")" "$(through -T "$body" $at/body)"
    check 'chunked -T' "$(bytes_and_crc "$body")" "$(through -T - $at/body <"$body")"
    check '100 MB down' 100000000 "$(through $at/bytes/100000000 | tr -d -c x | wc -c)"

    serve events
    front "$socket"
    check 'events as they come' $'id: 42\nid: 43' \
        "$(through -N -H 'Last-Event-ID: 41' $at/ 2>/dev/null | grep -m 2 '^id' | tr -d '\r')"
}
# A body over the limit is refused while it is still coming; the refusal has to arrive, each time.
drive_refusal() {
    local again
    serve hello
    front "$socket"
    check '413 while the body is coming' '413 413 413 413 413' "$(for again in 1 2 3 4 5; do
        head -c 9000000 /dev/zero | status_of -H Expect: --data-binary @- "http://127.0.0.1:$port/echo" 2>&1; echo; done | paste -sd' ')"
}
# A client behind a front that asks for descriptors must get bytes: fronts pass the fields on, but
# drop the descriptor. $front_socket is the front's own Unix socket; to it a client can pass one.
drive_descriptors() {
    local at=http://127.0.0.1:$port
    serve fd_pass
    check 'descriptors (without a front)' '1000000 bytes by descriptor' \
        "$(/usr/bin/python3 examples/fd_pass_peer.py "$socket" /big/1000000 2>/dev/null)"
    front "$socket"
    check 'bytes to who asks for descriptors' 1000000 "$(through -H 'Accept-Body-Fd: 1' $at/big/1000000 | tr -d -c x | wc -c)"
    check 'bytes to who asks for descriptors' 1000000 \
        "$(through -H 'Accept-Body-Fd: 1' -H 'Accept-Fds: 4' -H 'Connection: Accept-Body-Fd' $at/big/1000000 | tr -d -c x | wc -c)"
    check 'bytes to who passes a descriptor' '1000000 bytes on the stream' \
        "$(/usr/bin/python3 examples/fd_pass_peer.py "$front_socket" /big/1000000 2>/dev/null)"
    # Also once the kept connection behind the front has served the direct kind of request.
    check 'bytes to who asks for descriptors' 1000000 "$(through -H 'Accept-Body-Fd: 1' $at/big/1000000 | tr -d -c x | wc -c)"
}
restart() { # NAME COMMAND...: stops what was started as $front, starts it anew
    [ -z "${front:-}" ] || stop "$front"
    start "$@"
    front=$pid
}
