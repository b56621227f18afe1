#!/usr/bin/env bash
# faults.sh [NAME...]: the examples (hello, threads, upload, files, websocket, proxy, tunnel, fetch, clock) with a
# preloaded library that makes their system calls fail or do less; see
# tests/faults/shim.c and run.py. Last line `N passed, N failed`.
set -u
cd "$(dirname "$0")/.." || exit 1
tests/need.sh python3:/usr/bin/python3 || exit 1
build=build/faults
mkdir -p $build
"${CC:-cc}" -shared -fPIC -O2 -Wall -Wextra -Werror -o $build/shim.so tests/faults/shim.c -ldl || exit 1
examples=${EXAMPLES:-build/examples}
[ -n "${EXAMPLES:-}" ] || make --no-print-directory -s $examples/{hello,files,upload,proxy,websocket,fetch} || exit 1
folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT
PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 tests/faults/run.py "$PWD/$build/shim.so" "$examples" "$folder" "$@"
