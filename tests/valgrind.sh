#!/usr/bin/env bash
# valgrind.sh [FILTER]: the test binary under valgrind's memcheck: no wrong access, no use of what was never
# set, nothing lost. Last line `N passed, N failed`, in test cases; a report of valgrind's is one failure more.
set -u
cd "$(dirname "$0")/.." || exit 1
tests/need.sh valgrind:valgrind || exit 1
build=build/valgrind
mkdir -p $build
# Without optimization: at -O1 gcc asks both halves of `size && *size != stated` at once, which is a use of
# what was never set to valgrind.
make --no-print-directory -j2 BUILD=$build OPTIMIZE=-O0 CXXFLAGS=-g $build/tests/all >$build/make.log 2>&1 ||
    { tail -n 20 $build/make.log; exit 1; }

# Cases that are left out, each with its reason.
without=()
skip() { without+=("$1"); } # NAME, as a pattern of doctest's
# A process without any descriptor: valgrind needs some of its own, and gets stuck.
skip 'fd: a canceller works without a descriptor for its eventfd'
# They count calls of operator new, which is valgrind's here.
skip 'allocation: *'
skip 'client: a reused response costs no allocation'
# Signals by a timer, faster than valgrind delivers them.
skip 'client: signals don?t stretch a deadline'
skip 'fd: signals interrupt neither*'
skip 'fd: connect_until: bounded in spite of signals*'
# Deadlines of some hundred milliseconds that a peer thirty times as slow can't keep.
skip 'async: an upload that takes longer than read_timeout is no silence'
skip 'client: a server that drips meets the total deadline, a silent one read_timeout'

filter=$(IFS=,; echo "${without[*]-}")
valgrind -q --error-exitcode=99 --leak-check=full --show-leak-kinds=definite,indirect --errors-for-leak-kinds=definite,indirect --fair-sched=yes \
    --child-silent-after-fork=yes --log-file=$build/report "$build/tests/all" -d=true \
    ${1:+--test-case="$1"} ${filter:+--test-case-exclude="$filter"} >$build/suite.log 2>&1
status=$?
grep -E 'ERROR:|FAILED|^[0-9.]+ s: ' $build/suite.log | grep -B 1 -E 'ERROR:|FAILED' | head -n 40
read -r passed failed < <(sed -n 's/^\[doctest\] test cases: .*| *\([0-9]*\) passed *| *\([0-9]*\) failed.*/\1 \2/p' \
    $build/suite.log | tail -n 1)
: "${passed:=0}" "${failed:=0}"
if [ -s $build/report ]; then
    cat $build/report
    failed=$((failed + 1))
elif [ "$status" -ne 0 ] && [ "$failed" -eq 0 ]; then
    echo "the test binary ended with status $status"
    failed=1
fi
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
