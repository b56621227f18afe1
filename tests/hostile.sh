#!/usr/bin/env bash
# hostile.sh [WORD]: peers that are slow, silent, stopped, killed, or too many (tests/hostile/peers.py; only
# tests with WORD in their names), and 2,000 slow ones beside 64 fast ones (slow.py; WORD `slow` alone).
# Last line `N passed, N failed`.
set -u
cd "$(dirname "$0")/.." || exit 1
tests/need.sh python3:/usr/bin/python3 util-linux:prlimit || exit 1
. tests/lib.sh
export PYTHONDONTWRITEBYTECODE=1
build=build/hostile
mkdir -p $build
make --no-print-directory -s build/examples/{hello,files,proxy,fetch} || exit 1
for program in hostile/server hostile/caller bench/load; do
    echo "tests/$program.cpp $build/${program#*/}"
done | xargs -P 2 -L 1 sh -c '${CXX:-g++} -std=${CXXSTD:-c++17} -O2 -Wall -Wextra -Wpedantic -Wconversion -Wshadow \
    -Werror -I. -Itests/bench -pthread -o "$1" "$0"' || exit 1

add() { # COMMAND...: its output, and its last line to our sums
    "$@" | tee "$folder/told"
    read -r good bad < <(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p' "$folder/told" | tail -n 1)
    passed=$((passed + ${good:-0})) failed=$((failed + ${bad:-1}))
}
mkdir "$folder/peers"
[ "${1:-}" = slow ] || add /usr/bin/python3 tests/hostile/peers.py $build build/examples "$folder/peers" "${1:-}"
ulimit -n 8192 2>/dev/null
case ${1:-slow} in
slow) add /usr/bin/python3 tests/hostile/slow.py build/examples/hello $build/load "${SLOW_ROUNDS:-3}" 1 ;;
esac
verdict
