#!/usr/bin/env bash
# soak.sh: SOAK_SECONDS (60) of good and hostile load on hello, files, upload and proxy at once.
# Last line `N passed, N failed`.
set -u
cd "$(dirname "$0")/.." || exit 1
tests/need.sh python3:/usr/bin/python3 || exit 1
. tests/lib.sh
build=${BUILD:-build}/examples
make --no-print-directory -s "$build"/{hello,files,upload,proxy} || exit 1
mkdir "$folder/site"
/usr/bin/python3 -c 'import sys; sys.stdout.buffer.write(bytes(range(256)) * 2000)' >"$folder/site/site.bin"

pids=() pairs=()
# Freed blocks from this size on, and the end of the heap, go back to the system at once, so that what stays
# resident is what is held. Without it glibc keeps up to 64 MiB, depending on the order in which large bodies
# came and went.
export MALLOC_MMAP_THRESHOLD_=16384 MALLOC_TRIM_THRESHOLD_=16384

serve() { # NAME ARGUMENT...
    start "$1" "$build/$1" "$folder/$1.sock" "${@:2}"
    until_true 10 accepts "$folder/$1.sock" || { cat "$folder/$1.log"; same "$1 serves" yes no; }
    pids+=("$pid") pairs+=("$1=$pid")
}
serve hello
serve files "$folder/site"
serve upload
serve proxy "$folder/upload.sock"

/usr/bin/python3 tests/soak.py "${SOAK_SECONDS:-60}" "$folder" "${pairs[@]}" | tee "$folder/told"
read -r passed failed < <(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p' "$folder/told" | tail -n 1)
: "${passed:=0}" "${failed:=1}"
for ((n = 0; n < ${#pids[@]}; ++n)); do
    stop "${pids[n]}"
    same "${pairs[n]%=*} ends with 0" 0 $?
done
for name in hello files upload proxy; do
    same "$name wrote nothing but that it listens" '' "$(grep -v '^listening on' "$folder/$name.log")"
done
verdict
