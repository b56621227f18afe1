#!/usr/bin/env bash
# examples/proxy under load: bodies of 2 GiB both ways in little memory, by curl and examples/upload;
# a side that stops; a thousand streams on its one thread. Last line `N passed, N failed`.
set -u
cd "$(dirname "$0")/../.." || exit 1
tests/need.sh curl:curl python3:/usr/bin/python3 || exit 1
. tests/lib.sh
build=${BUILD:-build}/examples
make -s "$build/proxy" "$build/upload" || exit 1
ulimit -n "$(ulimit -Hn)" 2>/dev/null

start upload "$build/upload" "$folder/upload.sock"
start proxy "$build/proxy" "$folder/proxy.sock" "$folder/upload.sock"
proxy=$pid
until_true 20 accepts "$folder/upload.sock" && until_true 20 accepts "$folder/proxy.sock" ||
    { cat "$folder/upload.log" "$folder/proxy.log"; exit 1; }
ask() { curl -sS --max-time 250 --unix-socket "$folder/proxy.sock" "$@"; }

# No two MiB of it are equal, none of it needs the disk.
large() { /usr/bin/python3 -c '
import random, sys, zlib
block, crc = random.Random(4).randbytes(1 << 20), 0
for i in range(2048):
    piece = i.to_bytes(8, "little") + block[8:]
    if sys.argv[1] == "crc":
        crc = zlib.crc32(piece, crc)
    else:
        sys.stdout.buffer.write(piece)
if crc:
    print("2147483648 %08x" % crc)' "$1"; }
small_memory() { # the most that there ever was, in KiB
    local most
    most=$(awk '/^VmHWM/ { print $2 }' "/proc/$proxy/status")
    [ "$most" -lt 32768 ] && echo 'below 32 MiB' || echo "$most KiB"
}
wanted=$(large crc)
same 'an upload of 2 GiB, in chunks' "$wanted" "$(large bytes | ask -T - http://localhost/large)"
same 'memory after it' 'below 32 MiB' "$(small_memory)"
truncate -s 2G "$folder/sparse"
printf 'the end' | dd of="$folder/sparse" bs=1 seek=2147483641 conv=notrunc status=none
wanted=$(/usr/bin/python3 -c '
import sys, zlib
crc, zeros = 0, bytes(1 << 20)
for i in range(2047):
    crc = zlib.crc32(zeros, crc)
print("2147483648 %08x" % zlib.crc32(zeros[7:] + b"the end", crc))')
same 'an upload of 2 GiB, of known length' "$wanted" "$(ask -T "$folder/sparse" http://localhost/sparse)"
same 'memory after it, too' 'below 32 MiB' "$(small_memory)"
same 'a download of 2 GiB' '2147483648 0' "$(ask http://localhost/bytes/2147483648 | /usr/bin/python3 -c '
import sys
size = wrong = 0
while piece := sys.stdin.buffer.read(1 << 20):
    size, wrong = size + len(piece), wrong + len(piece) - piece.count(b"x")
print(size, wrong)')"
same 'memory after it as well' 'below 32 MiB' "$(small_memory)"
stop "$proxy"
same 'the proxy ends' 0 $?

mkdir "$folder/peers"
timeout 120 /usr/bin/python3 tests/proxy_peer.py "$build/proxy" "$folder/peers" slow streams >"$folder/peers.log" 2>&1
sed '$d' "$folder/peers.log"
read -r good bad < <(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p' "$folder/peers.log")
passed=$((passed + ${good:-0})) failed=$((failed + ${bad:-1}))
verdict
