#!/usr/bin/env bash
# Runs every example and checks what it says; compiles the blocks of the README.
set -u
cd "$(dirname "$0")/.." || exit 1
tests/need.sh curl:curl python3:/usr/bin/python3 python3-aiohttp:python:aiohttp || exit 1
. tests/lib.sh
build=${BUILD:-build}/examples
fetch=$build/fetch
[ -x "$fetch" ] || { echo "examples.sh: no $fetch; make examples builds it"; exit 1; }

serve() { # NAME ARGUMENT...: an example on $socket, until its path accepts
    local name=$1
    shift
    socket=$folder/$name.sock
    start "$name" "$build/$name" "$socket" "$@"
    until_true 10 accepts "$socket" || { cat "$folder/$name.log"; same "$name serves" yes no; }
}
get() { curl -sS --max-time 20 --unix-socket "$@"; }
ends_well() { stop "$pid"; same "$1 ends" 0 $?; same "$1 takes its socket along" no "$([ -e "$socket" ] && echo yes || echo no)"; }

binds() { # PID: the paths on which it listens, and whether it has any socket of a network
    /usr/bin/python3 -c '
import glob, os, sys
mine = {os.readlink(fd)[8:-1] for fd in glob.glob(f"/proc/{sys.argv[1]}/fd/*") if os.readlink(fd).startswith("socket:")}
for line in open("/proc/net/unix").readlines()[1:]:
    words = line.split()
    if words[6] in mine and int(words[3], 16) & 0x10000: # __SO_ACCEPTCON
        print(*words[7:])
for table in ("tcp", "tcp6", "udp", "udp6", "raw"):
    lines = open(f"/proc/net/{table}").readlines()[1:] if os.path.exists(f"/proc/net/{table}") else []
    print(*(f"a socket of {table}" for line in lines if line.split()[9] in mine), end="")' "$1"
}

# make run
tests/run.sh >"$folder/run.log" 2>&1
same 'make run' 0 $?
same 'make run: commands that can be pasted, and their answers' '2 2' \
    "$(grep -c '^\$ .* -d some\\ bytes ' "$folder/run.log") $(grep -cx 'some bytes' "$folder/run.log")"

# hello
serve hello
same 'hello: listens where it was told to' "$socket" "$(binds "$pid")"
same 'hello /' 'Hello Anonymous' "$(get "$socket" http://localhost/)"
same 'hello /{name}' 'Hello wörld' "$(get "$socket" http://localhost/w%C3%B6rld)"
same 'hello GET /echo' 'Hello echo' "$(get "$socket" http://localhost/echo)"
same 'hello POST /echo' 'some bytes' "$(get "$socket" -d 'some bytes' http://localhost/echo)"
same 'hello: 405' '405 GET' "$(get "$socket" -o /dev/null -w '%{http_code} %header{allow}' -X DELETE http://localhost/ | cut -d, -f1)"
same 'hello: no second server' 1 "$("$build/hello" "$socket" 2>"$folder/second"; echo $?)"
same 'hello: one line says why' 1 "$(grep -c "$socket" "$folder/second")"
same 'hello: without a socket, from nobody: usage' '1 usage' "$(env -u LISTEN_FDS "$build/hello" 2>"$folder/err"; echo $? "$(head -c 5 "$folder/err")")"
same 'hello --help' '0 usage' "$("$build/hello" --help 2>&1 >"$folder/help"; echo $? "$(head -c 5 "$folder/help")")"
same 'hello: -h, and a screen of 24 lines of 80' '' "$("$build/hello" -h | diff - "$folder/help" | head -n 1)$(awk 'NR > 23 || length > 80' "$folder/help")"
same 'hello: mode' 600 "$(stat -c %a "$socket")"

# fetch, against the same server
u=$(url "$socket" /world)
same 'fetch: body' 'Hello world' "$("$fetch" "$u")"
same 'fetch: a URL as nginx has them' 'Hello world' "$("$fetch" "http://unix:$socket:/world")"
same 'fetch: no newline is added' 11 "$("$fetch" "$u" | wc -c)"
same 'fetch -i' 'HTTP/1.1 200' "$("$fetch" -i "$u" | head -n 1 | cut -c 1-12)"
same 'fetch -i: blank line' 1 "$("$fetch" -i "$u" | grep -c $'^\r$')"
same 'fetch -d' 'a=b' "$("$fetch" -d a=b "$(url "$socket" /echo)")"
printf 'from\nfile' >"$folder/in"
same 'fetch -d @FILE' $'from\nfile' "$("$fetch" -d "@$folder/in" "$(url "$socket" /echo)")"
same 'fetch -d @-' $'from\nfile' "$("$fetch" -d @- "$(url "$socket" /echo)" <"$folder/in")"
same 'fetch -d @FILE: in /proc a file has no size' "$(cat /proc/version)" "$("$fetch" -d @/proc/version "$(url "$socket" /echo)")"
[ ! -r /sys/kernel/uevent_seqnum ] || same 'fetch -d @FILE: in /sys it has too much' "$(cat /sys/kernel/uevent_seqnum)" "$("$fetch" -d @/sys/kernel/uevent_seqnum "$(url "$socket" /echo)")"
same 'fetch -d @- goes on where others stopped' file "$( (read -r _; "$fetch" -d @- "$(url "$socket" /echo)") <"$folder/in")"
same 'fetch -d @- of a pipe' $'from\nfile' "$(cat "$folder/in" | "$fetch" -d @- "$(url "$socket" /echo)")"
same 'fetch -X HEAD' '' "$("$fetch" -X HEAD "$u")"
same 'fetch: 404 is an answer' 0 "$("$fetch" "$(url "$socket" /a/b)" >/dev/null; echo $?)"
refused() { # ARGUMENT...: fetch -f with them: status, lines said, whether they name socket and cause, what was printed
    local said
    said=$("$fetch" -f "$@" 2>"$folder/err")
    echo "$? $(wc -l <"$folder/err") $(grep -cF "$(url "$socket" /a/b): 404 Not Found" "$folder/err")$said"
}
same 'fetch -f: 404 is 22, as with curl' '22 1 1' "$(refused "$(url "$socket" /a/b)")"
same 'fetch -f: so is it with curl' 22 "$(get "$socket" -f http://localhost/a/b 2>/dev/null; echo $?)"
same 'fetch -fi: no head either' '22 1 1' "$(refused -i "$(url "$socket" /a/b)")"
same 'fetch -f -o: no file' '22 1 1' "$(refused -o "$folder/none" "$(url "$socket" /a/b)")$(ls "$folder" | grep '^none')"
same 'fetch -f --repeat: counted as failed' '22 1 1' "$(refused --repeat 3 "$(url "$socket" /a/b)" | sed 's/0 ok, 3 failed, p50 0 us, p99 0 us$//')"
same 'fetch -f: 200 as ever' '0 0 0Hello world' "$(refused "$u")"
same 'fetch -f: no answer is 1' 1 "$("$fetch" -f "$(url "$folder/absent.sock" /)" 2>/dev/null; echo $?)"
"$fetch" -o "$folder/out" "$u"
same 'fetch -o' 'Hello world' "$(cat "$folder/out")"
for mode in 600 640 755; do # not what umask makes of a new one
    chmod "$mode" "$folder/out" && "$fetch" -o "$folder/out" "$u"
    same "fetch -o: a file of mode $mode keeps it" "$mode" "$(stat -c %a "$folder/out")"
done
long=$(printf 'o%.0s' {1..255}) # what it writes to meanwhile can't be longer
same 'fetch -o: the longest name' '0 Hello world' "$("$fetch" -o "$folder/$long" "$u"; echo $? "$(cat "$folder/$long")")"
same 'fetch -o: needs no standard output' '0 Hello world' "$("$fetch" -o "$folder/out" "$u" >&-; echo $? "$(cat "$folder/out")")"
same 'fetch: nobody to print to is an error' 1 "$("$fetch" "$u" 2>/dev/null >&-; echo $?)"
# A signal that comes with the last byte: exit 0 and the file, or 1 and none, never 1 and the file.
same 'fetch -o: as it ends, a signal' '' "$(/usr/bin/python3 -c '
import os, subprocess, sys
fetch, url, out = sys.argv[1:]
for _ in range(60):
    program = subprocess.Popen([fetch, "-o", out, url], stderr=subprocess.DEVNULL)
    while program.poll() is None and not os.path.exists(out):
        pass
    program.terminate()
    status = program.wait(20)
    if (status == 0) != os.path.exists(out):
        sys.exit("status %d, and the file is there: %s" % (status, os.path.exists(out)))
    os.unlink(out)' "$fetch" "$u" "$folder/late" 2>&1)"
mkdir "$folder/links" && ln -s ../out "$folder/links/there" && ln -s new "$folder/links/two" && ln -s two "$folder/links/one"
for link in there one; do
    "$fetch" -o "$folder/links/$link" "$u"
    same "fetch -o: a link to ${link/one/nothing yet} is followed" 'Hello world 1' "$(cat "$folder/links/$link") $(test -L "$folder/links/$link" && echo 1)"
done
ln -s circle "$folder/links/circle"
same 'fetch -o: a link to itself is an error, and stays' '1 1 1' "$("$fetch" -o "$folder/links/circle" "$u" 2>"$folder/err"; \
    echo $? "$(grep -c 'Too many levels' "$folder/err")" "$(test -L "$folder/links/circle" && echo 1)")"
same 'fetch -o: a link may lead to a pipe' 'Hello world' "$("$fetch" -o /dev/stdout "$u" | cat)"
"$fetch" -o "$folder/none" "$(url "$folder/absent.sock" /)" 2>"$folder/err"
same 'fetch: a failure is 1' 1 $?
same 'fetch: a failure leaves no file' '' "$(ls "$folder" | grep '^none')"
same 'fetch: a failure is one line' 1 "$(wc -l <"$folder/err")"
same 'fetch: it names the socket' 1 "$(grep -c "$folder/absent.sock.*No such file" "$folder/err")"
same 'fetch: unknown flag' 1 "$("$fetch" --what "$u" 2>"$folder/err"; echo $?)"
same 'fetch: an unknown flag is one line, and names --help' '1 1' "$(grep -c 'see fetch --help' "$folder/err") $(wc -l <"$folder/err")"
says() { # WORDS ARGUMENT...: fetch fails with one line that has the words
    "$fetch" "${@:2}" >/dev/null 2>"$folder/err" </dev/null
    same "fetch ${*:2}: says $1" '1 1 1' "$? $(grep -cF -e "$1" "$folder/err") $(wc -l <"$folder/err")"
}
mkdir "$folder/a"
says 'is it a socket' "$(url "$folder/in" /)"
says 'is it a socket' "$(url "$folder/a" /)"
says 'is that a URL' "$socket/world"
says '-x: no flag' -ix "$u"
says '-z: no flag' --body-fd -zi "$u"
says '-z: no flag' '' -zi
says '-t: no flag' --body-fd -ti "$u"
says '-o: no flag, or lacks' "$u" -o
says '-o: lacks a name' "$u" -o ''
says '-d: one body' -d a -d b "$u"
says '--version=3: no flag' --version=3 "$u"
says '--timeout: no flag, or lacks' --timeout
says '--repeat: no number' --repeat 0 "$u"
says 'names no socket' ''
says 'http://localhost/: neither' http://localhost/
says 'https://localhost/: neither' https://localhost/
says "$u: no colon: Name" -H Name "$u"
says 'no colon: no?co?lön?' -H $'no\nco\elön\177' "$u"
says "'1?2'" --repeat $'1\n2' "$u"
says 'a control in the value' -H $'A: b\rc' "$u"
says "$u: -d @$folder/absent: No such file" -d "@$folder/absent" "$u"
says "-d @$folder/a: Is a directory" -d "@$folder/a" "$u"
says "$u: writing $folder/a: Is a directory" -o "$folder/a" "$u"
same 'fetch: only who connects is asked for a URL' '0 0' "$("$fetch" -o "$folder/in/x" "$u" 2>&1 | grep -c 'a URL') $("$fetch" -d "@$folder/in/x" "$u" 2>&1 | grep -c 'a URL')"
if [ "$(id -u)" = 0 ]; then # another user, who can reach fetch and the socket but for its mode
    chmod 755 "$folder" && cp "$fetch" "$folder/fetch"
    setpriv --reuid 65534 --regid 65534 --clear-groups "$folder/fetch" "$u" 2>"$folder/err"
    same 'fetch: no permission: it says on what' '1 1' "$? $(grep -c "$socket.*no write permission on it" "$folder/err")"
fi
same 'fetch --help fits a screen of 24 lines of 80' '' "$("$fetch" --help | awk 'NR > 23 || length > 80')"
same 'fetch --help: what --timeout is for' 1 "$("$fetch" --help | grep -c '^  --timeout MS  *for each request')"
same 'fetch -h' "$("$fetch" --help)" "$("$fetch" -h)"
timeout 120 /usr/bin/python3 tests/fetch_terminal.py "$fetch" "$folder/a" >"$folder/peers.log" 2>&1
sed '$d' "$folder/peers.log"
read -r good bad < <(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p' "$folder/peers.log")
passed=$((passed + ${good:-0})) failed=$((failed + ${bad:-1}))
same 'fetch: no URL' 1 "$("$fetch" 2>/dev/null; echo $?)"
same 'fetch: full disk' 1 "$("$fetch" "$u" 2>"$folder/err" >/dev/full; echo $?)"
same 'fetch: full disk is said' 1 "$(grep -c 'No space left' "$folder/err")"
for flag in --version -h --help; do
    same "fetch $flag: full disk" '1 1' "$("$fetch" "$flag" 2>"$folder/err" >/dev/full; echo $? "$(grep -c 'No space left' "$folder/err")")"
done
same 'hello --help: full disk' 1 "$("$build/hello" --help >/dev/full; echo $?)"
# More than a pipe holds (pipe(7): 64 KiB): fetch can't have written it before its reader left.
head -c 1000000 /dev/zero >"$folder/zeros"
same 'fetch: closed pipe' '1 1' "$( (trap '' PIPE; "$fetch" -d "@$folder/zeros" "$(url "$socket" /echo)" 2>"$folder/err"; echo "$? $(grep -c 'Broken pipe' "$folder/err")" >"$folder/status") | true; until_true 5 test -s "$folder/status"; cat "$folder/status")"
same 'fetch --repeat' 1 "$("$fetch" --repeat 100 "$u" | grep -cE '^100 ok, 0 failed, p50 [0-9]+ us, p99 [0-9]+ us$')"
same 'fetch --version' "fetch $(sed -n 's/^#define UDS_HTTP_VERSION_[A-Z]* //p' uds_http.hpp | paste -sd.)" "$("$fetch" --version)"
pid=${started[0]} socket=$folder/hello.sock
ends_well hello

# files
mkdir "$folder/site" "$folder/site/sub" && seq 1 100000 >"$folder/site/numbers.txt"
echo '<p>index</p>' >"$folder/site/index.html" && ln -s /etc/passwd "$folder/site/link" && ln -s .. "$folder/site/up"
mkfifo "$folder/site/pipe"
serve files "$folder/site"
same 'files: whole' "$(cksum <"$folder/site/numbers.txt")" "$(get "$socket" http://localhost/numbers.txt | cksum)"
same 'files: range' $'1\n2\n3' "$(get "$socket" -r 0-4 http://localhost/numbers.txt)"
same 'files: range has 206' 206 "$(get "$socket" -r 0-4 -o /dev/null -w '%{http_code}' http://localhost/numbers.txt)"
tag=$(get "$socket" -o /dev/null -w '%header{etag}' http://localhost/numbers.txt)
same 'files: condition' 304 "$(get "$socket" -H "If-None-Match: $tag" -o /dev/null -w '%{http_code}' http://localhost/numbers.txt)"
same 'files: HEAD' "200 $(stat -c %s "$folder/site/numbers.txt")" "$(get "$socket" -I -o /dev/null -w '%{http_code} %header{content-length}' http://localhost/numbers.txt)"
same 'files: the end of it' $'999\n100000' "$(get "$socket" -r -11 http://localhost/numbers.txt)"
same 'files: no such range' 416 "$(get "$socket" -r 9999999- -o /dev/null -w '%{http_code}' http://localhost/numbers.txt)"
same 'files: listens where it was told to' "$socket" "$(binds "$pid")"
same 'files: a folder is its index' '<p>index</p>' "$(get "$socket" http://localhost/)"
for path in /sub/ /sub /pipe /link /up/hello.log /absent /../site/numbers.txt /%2e%2e/hello.log /sub%2f..%2f..%2fhello.log; do
    same "files: $path is 404" 404 "$(get "$socket" --path-as-is -o /dev/null -w '%{http_code}' "http://localhost$path")"
done
ends_well files

# upload
serve upload
head -c 3000000 /dev/urandom >"$folder/big"
crc=$(/usr/bin/python3 -c 'import sys, zlib; print("3000000 %08x" % zlib.crc32(open(sys.argv[1], "rb").read()))' "$folder/big")
same 'upload by curl' "$crc" "$(get "$socket" -T "$folder/big" http://localhost/big)"
same 'upload in chunks' "$crc" "$(get "$socket" -H 'Transfer-Encoding: chunked' -T "$folder/big" http://localhost/big)"
same 'upload by fetch' "$crc" "$("$fetch" -X PUT -d "@$folder/big" "$(url "$socket" /big)")"
same 'upload of nothing' '0 00000000' "$(get "$socket" -T /dev/null http://localhost/big)"
same 'upload: download' 12345678 "$(get "$socket" http://localhost/bytes/12345678 | tr -d -c x | wc -c)"
same 'upload: download of nothing' '200 0' "$(get "$socket" -o /dev/null -w '%{http_code} %{size_download}' http://localhost/bytes/0)"
same 'upload: a body that is cut has no sum, and is the sender'\''s mistake' 400 "$(printf 'PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\npart' | /usr/bin/python3 -c '
import socket, sys
peer = socket.socket(socket.AF_UNIX)
peer.settimeout(20)
peer.connect(sys.argv[1])
peer.sendall(sys.stdin.buffer.read())
peer.shutdown(socket.SHUT_WR)
print(peer.recv(1000).split()[1].decode())' "$socket")"
same 'upload: listens where it was told to' "$socket" "$(binds "$pid")"
same 'upload: no number' 404 "$(get "$socket" -o /dev/null -w '%{http_code}' http://localhost/bytes/1x)"
same 'upload: a number that nothing holds' 404 "$(get "$socket" -I -o /dev/null -w '%{http_code}' http://localhost/bytes/99999999999999999999)"
ends_well upload

# fd_pass
serve fd_pass
same 'fd_pass: bytes' 1000000 "$(get "$socket" http://localhost/big/1000000 | tr -d -c x | wc -c)"
same 'fd_pass: nothing, as bytes' '200 0' "$(get "$socket" -o /dev/null -w '%{http_code} %{size_download}' http://localhost/big/0)"
same 'fd_pass: nothing, to who takes descriptors' '0 bytes by descriptor' "$(/usr/bin/python3 examples/fd_pass_peer.py "$socket" /big/0 2>/dev/null)"
same 'fd_pass: fetch -f --body-fd of nothing' '0 0' "$("$fetch" -f --body-fd -o "$folder/nothing" "$(url "$socket" /big/0)"; echo $? "$(stat -c %s "$folder/nothing")")"
same 'fd_pass: no number' 404 "$(get "$socket" -o /dev/null -w '%{http_code}' http://localhost/big/0x)"
same 'fd_pass: fetch' 1000000 "$("$fetch" "$(url "$socket" /big/1000000)" | tr -d -c x | wc -c)"
same 'fd_pass: Python' '1000000 bytes by descriptor' "$(/usr/bin/python3 examples/fd_pass_peer.py "$socket" /big/1000000 2>/dev/null)"
ends_well fd_pass

# whoami
serve whoami
me=$(id -u)
same 'whoami' "\"uid\":$me,\"gid\":$(id -g)" "$(get "$socket" http://localhost/ | grep -o '"uid":[0-9]*,"gid":[0-9]*')"
same 'whoami: root alone' "$([ "$me" = 0 ] && echo 200 || echo 403)" "$(get "$socket" -o /dev/null -w '%{http_code}' http://localhost/root)"
ends_well whoami

# events
serve events
same 'events: resumes' $'id: 42' "$(get "$socket" -N --max-time 2 -H 'Last-Event-ID: 41' http://localhost/ 2>/dev/null | tr -d '\r' | grep -m 1 '^id')"
start reader "$build/events" --read "$socket"
until_true 10 grep -q '^3: event 3$' "$folder/reader.log" || cat "$folder/reader.log"
same 'events: reader' $'1: event 1\n2: event 2\n3: event 3' "$(head -n 3 "$folder/reader.log")"
reader=$pid server=${started[-2]}
# fetch -o of what has no end: a signal leaves no file, beside it neither
for signal in INT TERM HUP QUIT; do
    start fetch env --default-signal "$fetch" -o "$folder/endless" "$(url "$socket" /)" # bash ignores two of them for it
    until_true 10 test -s "$folder/endless.$pid" && kill -s "$signal" "$pid"
    until_true 10 gone "$pid"
    wait "$pid"
    same "fetch -o: SIG$signal leaves no file" 1 "$?$(find "$folder" -name 'endless*')"
    same "fetch -o: SIG$signal is told" "fetch: $(url "$socket" /): ended by a signal" "$(cat "$folder/fetch.log")"
done
mkfifo "$folder/no_writer" # fetch waits for its writer
start fetch "$fetch" -d "@$folder/no_writer" $'/nobody\e[31m\nfetch: false'
exec 9>"$folder/no_writer"
stop "$pid"
same 'fetch: what a signal ends is one line' '1 fetch: /nobody?[31m?fetch: false: ended by a signal' "$? $(cat "$folder/fetch.log")"
exec 9>&-
said=$( (ulimit -f 1 && exec "$fetch" -o "$folder/endless" "$(url "$socket" /)") 2>&1)
same 'fetch -o: a file over its limit leaves none' '1 File too large' "$? ${said##*: }$(find "$folder" -name 'endless*')"
said=$( (ulimit -v 500000 && exec "$fetch" -d @/dev/zero "$(url "$socket" /)") 2>&1)
same 'fetch -d: what has no end' '1 fetch: out of memory' "$? $said"
start fetch env --ignore-signal=HUP "$fetch" -o "$folder/endless" "$(url "$socket" /)"
until_true 10 test -s "$folder/endless.$pid"
same 'fetch -o: SIGHUP stays ignored below nohup' 1 "$(awk '/^SigIgn/ { print substr($2, length($2)) % 2 }' "/proc/$pid/status")"
stop "$pid"
pid=$server
ends_well events
seen=$(wc -l <"$folder/reader.log")
serve events # again: the reader comes back, and goes on where it was
longer() { [ "$(wc -l <"$folder/reader.log")" -ge $((seen + 3)) ]; }
until_true 20 longer
same 'events: the reader goes on after a restart' "$(seq $((seen + 3)) | sed 's/.*/&: event &/')" "$(head -n $((seen + 3)) "$folder/reader.log")"
same 'events: a reader on a full disk' '1 1' "$(timeout 20 "$build/events" --read "$socket" 2>"$folder/err" >/dev/full; echo $? "$(grep -c 'No space left' "$folder/err")")"
same 'events: listens where it was told to' "$socket" "$(binds "$pid")"
kill "$reader"
ends_well events
same 'events: a NUL in an event is printed' 2e3a206100620a "$(timeout 20 /usr/bin/python3 -c '
import socket, subprocess, sys
program, path = sys.argv[1:]
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen()
reader = subprocess.Popen([program, "--read", path], stdout=subprocess.PIPE)
for answer in (b"200 OK\r\nContent-Type: text/event-stream", b"204 No Content"):
    peer, _ = listener.accept()
    peer.recv(65536)
    peer.sendall(b"HTTP/1.1 " + answer + b"\r\nConnection: close\r\n\r\n" + b"id: .\ndata: a\0b\n\n" * (b"200" in answer))
    peer.close()
print(reader.stdout.read().hex())' "$build/events" "$folder/nul.sock" 2>&1)"
same 'events: a reader of nobody says so' '1 1' "$("$build/events" --read "$folder/absent.sock" 2>"$folder/err"; echo $? "$(grep -c "$folder/absent.sock" "$folder/err")")"
# A pause is never shorter than it should be, however busy the machine: this is no race with a clock.
same 'events: a retry of 0 makes no reader spin' '1 paused' "$(timeout 60 /usr/bin/python3 -c '
import socket, subprocess, sys, time
program, path = sys.argv[1:]
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen()
reader = subprocess.Popen([program, "--read", path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
closed, pauses = None, []
for status in (b"200 OK",) * 4 + (b"404 Not Found",):
    peer, _ = listener.accept()
    if closed:
        pauses.append(time.monotonic() - closed)
    peer.recv(65536)
    closed = time.monotonic()
    peer.sendall(b"HTTP/1.1 %s\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\nretry: 0\ndata: a\n\n" % status)
    peer.close()
print(reader.wait(20), "paused" if min(pauses) >= 0.1 else pauses)' "$build/events" "$folder/retry.sock" 2>&1)"

# metrics
serve metrics
get "$socket" -o /dev/null http://localhost/metrics
same 'metrics' 1 "$(get "$socket" http://localhost/metrics | grep -c '^uds_http_requests_total 1$')"
same 'metrics: the format' 0 "$(get "$socket" http://localhost/metrics | grep -cvE '^(# TYPE uds_http_[a-z_]+ (counter|gauge)|uds_http_[a-z_]+ [0-9]+)$')"
same 'metrics: its type' 'text/plain; version=0.0.4' "$(get "$socket" -o /dev/null -w '%{content_type}' http://localhost/metrics)"
ends_well metrics

# embed_loop
serve embed_loop
same 'embed_loop' 1 "$(get "$socket" http://localhost/ | grep -cE '^[0-9]+ ticks$')"
ticks() { [ "$(get "$socket" http://localhost/ | sed -n 's/ ticks$//p')" -ge 3 ]; }
same 'embed_loop: the timer of the program goes on' yes "$(until_true 10 ticks && echo yes)"
ends_well embed_loop

# coroutine
serve coroutine
same 'coroutine: sleeps' 'slept 20' "$(get "$socket" http://localhost/sleep/20)"
same 'coroutine: asks itself' $'slept 5\nslept 5' "$(get "$socket" http://localhost/twice/5)"
same 'coroutine: a body as it comes' 3000000 "$(get "$socket" -T "$folder/big" http://localhost/size)"
same 'coroutine: an empty one' 0 "$(get "$socket" -T /dev/null http://localhost/size)"
hour() { curl -sS --unix-socket "$socket" http://localhost/sleep/3600000; } # the loop serves others meanwhile
start hour hour
hour=$pid pid=${started[-2]}
connected() { [ "$(find "/proc/$pid/fd" -lname 'socket:*' | wc -l)" -gt "$idle" ]; }
idle=$(find "/proc/$pid/fd" -lname 'socket:*' | wc -l)
until_true 10 connected
same 'coroutine: others are served' 'slept 1' "$(get "$socket" http://localhost/sleep/1)"
kill "$pid" && kill "$pid" # the second one doesn't wait for it
ends_well coroutine
same 'coroutine: who waited learns of it' no "$(stop "$hour" && echo yes || echo no)"

# child
same 'child' 1 "$("$build/child" | grep -cE '^Hello from [0-9]+$')"
same 'child: full disk' '1 1' "$("$build/child" 2>"$folder/err" >/dev/full; echo $? "$(grep -c 'No space left' "$folder/err")")"

# websocket
serve websocket
idle=$(find "/proc/$pid/fd" -lname 'socket:*' | wc -l) # or one more: who asked whether it serves
same 'websocket: key' 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=' "$(get "$socket" -i --max-time 1 -H 'Connection: Upgrade' -H 'Upgrade: websocket' \
    -H 'Sec-WebSocket-Version: 13' -H 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==' http://localhost/ 2>/dev/null | tr -d '\r' | sed -n 's/^Sec-WebSocket-Accept: //p')"
same 'websocket: another version' '426 websocket 13' "$(get "$socket" -i -H 'Connection: Upgrade' -H 'Upgrade: websocket' \
    -H 'Sec-WebSocket-Version: 8' -H 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==' http://localhost/ | tr -d '\r' |
    awk '/^HTTP/ { status = $2 } /^Upgrade:/ { to = $2 } /^Sec-WebSocket-Version:/ { version = $2 } END { print status, to, version }')" # RFC 9110 15.5.22
same 'websocket: frames' 'echoes: ok' "$(/usr/bin/python3 tests/websocket_peer.py "$socket")"
sockets() { find "/proc/$pid/fd" -lname 'socket:*' | wc -l; }
few() { [ "$(sockets)" -le "$idle" ]; }
same 'websocket: nobody is left' yes "$(until_true 10 few && echo yes || sockets)"
same 'websocket: keeps nothing' yes "$(awk '/^VmHWM/ { print ($2 < 32768 ? "yes" : $0) }' "/proc/$pid/status")"
ends_well websocket

# docker_ps, with a service that answers as Docker's
cat >"$folder/docker.py" <<'END'
import http.server, socketserver, sys
class Docker(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b'[{"Id":"0123456789abcdef","Names":["/a"],"Image":"alpine","State":"running"}]'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def address_string(self):
        return "unix"
socketserver.UnixStreamServer(sys.argv[1], Docker).serve_forever()
END
start docker /usr/bin/python3 "$folder/docker.py" "$folder/docker.sock"
until_true 10 accepts "$folder/docker.sock"
same 'docker_ps' '0123456789ab  running     alpine' "$("$build/docker_ps" "$folder/docker.sock" | tail -n 1)"
stop "$pid"
same 'docker_ps: nobody there' '1 1' "$("$build/docker_ps" "$folder/absent.sock" 2>"$folder/err"; echo $? "$(grep -c "^docker_ps: .*$folder/absent.sock" "$folder/err")")"

# proxy, in front of upload and websocket
start upload "$build/upload" "$folder/upload.sock"
until_true 10 accepts "$folder/upload.sock"
start websocket "$build/websocket" "$folder/websocket.sock"
until_true 10 accepts "$folder/websocket.sock"
for flag in "--allow GET" "--allow /v*/info" "--allow GET/a" "--allow GET a" "--allow  /a" "--allow GET /a b" "--uid x" "--uid -1" "--uid 1x" "--uid"; do
    same "proxy $flag" '1 said' "$(timeout 20 "$build/proxy" "$folder/p" "$folder/q" "${flag%% *}" "${flag#* }" 2>"$folder/err" </dev/null; echo $? "$([ -s "$folder/err" ] && echo said)")"
done
for upstream in '' http://x/ http+unix:///; do
    same "proxy, upstream '$upstream': one line" '1 1' "$(timeout 20 "$build/proxy" "$folder/p" "$upstream" 2>"$folder/err"; echo $? "$(grep -c '^proxy: ' "$folder/err")")"
done
same 'proxy without an upstream' 1 "$("$build/proxy" "$folder/p" 2>/dev/null; echo $?)"
serve proxy "$folder/upload.sock" --allow 'GET /bytes/*' --allow 'PUT /b**'
same 'proxy: listens where it was told to' "$socket" "$(binds "$pid")"
same 'proxy: download' 12345678 "$(get "$socket" http://localhost/bytes/12345678 | wc -c)"
same 'proxy: upload' "$crc" "$(get "$socket" -T "$folder/big" 'http://localhost/big?query=1')"
same 'proxy: upload in chunks' "$crc" "$(get "$socket" -H 'Transfer-Encoding: chunked' -T "$folder/big" http://localhost/big)"
same 'proxy: HEAD' 200 "$(get "$socket" -I -o /dev/null -w '%{http_code}' http://localhost/bytes/10)"
for path in /bytes/ /bytes/1/2 /bytes/%31 /bytes//1 /bytes/. /bytes/.. /bytes/../bytes/1 /other /; do
    same "proxy: $path is 403" 403 "$(get "$socket" --path-as-is -o /dev/null -w '%{http_code}' "http://localhost$path")"
done
same 'proxy: method is 403' 403 "$(get "$socket" -X POST -o /dev/null -w '%{http_code}' http://localhost/bytes/1)"
same 'proxy: says why' 'proxy: not allowed: GET /other' "$(get "$socket" http://localhost/other)"
ends_well proxy
serve proxy "$folder/websocket.sock"
same 'proxy: upgrade' 'echoes: ok' "$(/usr/bin/python3 tests/websocket_peer.py "$socket")"
ends_well proxy
serve proxy "$folder/absent.sock" --uid "$me"
same 'proxy: nobody upstream' 502 "$(get "$socket" -o /dev/null -w '%{http_code}' http://localhost/)"
ends_well proxy
serve proxy "$folder/upload.sock" --uid 12345
same 'proxy --uid' 403 "$(get "$socket" -o /dev/null -w '%{http_code}' http://localhost/bytes/1)"
ends_well proxy
same 'proxy: an unknown flag shows its flags' '1 yes' "$("$build/proxy" --help 2>"$folder/err"; echo $? "$(grep -q -- --uid "$folder/err" && echo yes)")"
# proxy, between a client and an upstream that play foul
mkdir "$folder/peers"
timeout 120 /usr/bin/python3 tests/proxy_peer.py "$build/proxy" "$folder/peers" >"$folder/peers.log" 2>&1
sed '$d' "$folder/peers.log"
read -r good bad < <(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p' "$folder/peers.log")
passed=$((passed + ${good:-0})) failed=$((failed + ${bad:-1}))

# every program: an unknown flag is 1 and says so, and curl's line stands in its head
for source in examples/*.cpp; do
    name=$(basename "$source" .cpp)
    same "$name --nonsense" '1 said' "$("$build/$name" --nonsense 2>"$folder/err"; echo $? "$([ -s "$folder/err" ] && echo said)")"
    same "$name: its curl line" yes "$(head -n 9 "$source" | grep -q 'curl .*--unix-socket' && echo yes || echo no)"
    case $name in hello | fetch | files | proxy) limit=200 ;; *) limit=40 ;; esac
    same "$name: lines" yes "$([ "$(wc -l <"$source")" -le $limit ] && echo yes || wc -l <"$source")"
done
same 'fd_pass_peer.py: lines' yes "$([ "$(wc -l <examples/fd_pass_peer.py)" -le 40 ] && echo yes)"

. tests/readme.sh
verdict
