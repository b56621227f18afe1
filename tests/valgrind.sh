#!/usr/bin/env bash
# valgrind.sh [FILTER]: the test binary under valgrind's memcheck: no wrong access, no use of what was never
# set, nothing lost. Last line `N passed, N failed`, in test cases; a report of valgrind's is one failure more.
#
# QUICK=1 is what .ci/run has time for: without the slowest cases, on the program that tests/coverage.sh builds.
set -u
cd "$(dirname "$0")/.." || exit 1
tests/need.sh valgrind:valgrind || exit 1
build=build/valgrind program=build/valgrind/tests/all
mkdir -p $build
if [ -n "${QUICK:-}" ]; then
    tests/coverage.sh build || exit 1
    program=$build/all
    # clang's records of what it counts lie where functions do, and valgrind would go by their names.
    objcopy --wildcard --strip-symbol='__covrec_*' build/coverage/tests/all $program || exit 1
    export LLVM_PROFILE_FILE=/dev/null
else
    # Without optimization: at -O1 gcc asks both halves of `size && *size != stated` at once, which is a use of
    # what was never set to valgrind.
    make --no-print-directory -j2 BUILD=$build OPTIMIZE=-O0 UNITY=1 CXXFLAGS=-g $program >$build/make.log 2>&1 ||
        { tail -n 20 $build/make.log; exit 1; }
fi

# Cases that are left out, each with its reason.
without=()
skip() { without+=("$1"); } # NAME, as a pattern of doctest's: a comma would end it
# Processes short of descriptors: valgrind needs some of its own, and counts otherwise.
skip 'fd: a canceller works without a descriptor for its eventfd'
skip 'fd: descriptors that don?t all fit*'
skip 'descriptors: a client that has no room*'
skip 'descriptors: a server that has no room*'
skip 'descriptors: a server that has none*'
skip 'descriptors: who leaves them unread*'
skip 'descriptors: a client that may have no more*'
skip 'server: without descriptors *'
skip 'server: descriptors that run out*'
skip 'server: however often accepting*'
skip 'server: stopped without descriptors*'
skip 'socket file: descriptors exhausted at any point*'
skip 'socket file: with no descriptor left*'
skip 'socket file: without a descriptor left*'
skip 'fd: where poll() is refused*'
skip 'server: hand_over() without a listener*'
# The child has what the parent's threads held, which is lost there.
skip 'server: a forked child?s copy ends*'
# It takes a path that fills sun_path for a string with a NUL behind it (unix(7): there is none).
skip 'socket file: paths of every length*'
# They count calls of operator new, which is valgrind's here.
skip 'allocation: *'
skip 'client: a reused response costs no allocation'
# Signals by a timer, faster than valgrind delivers them.
skip 'client: signals don?t stretch a deadline'
skip 'fd: signals interrupt neither*'
skip 'fd: connect_to: bounded in spite of signals*'
# A deadline of some hundred milliseconds that a program thirty times as slow can't keep.
skip 'async: an upload that takes longer than read_timeout is no silence'
# They count the processor's time, which is thirty times as much here.
skip '*: what is there at the first look is no reason to spin the next time'
skip "client: spinning that doesn't pay*"
# openat2(2), which valgrind 3.19 doesn't know: what opens a folder fails. The others of files are run.
for name in 'Last-Modified' 'a file beyond' 'a folder that' 'a rename in' 'a storm of' 'a whole file' \
    'an empty file' 'exhausted' 'magic links' 'neither type' 'no descriptor' 'nothing leads' 'routes of' 'the tag' \
    'media types' 'one file by' 'what may not' 'on the wire' 'a file that'; do
    skip "files: $name*"
done
skip 'streams: a client that goes away under sendfile*'
# Half a minute each of pure functions on millions of inputs; `make fuzz` and `make asan` see the same code.
if [ -z "${VALGRIND_ALL:-}" ]; then
    skip 'parser: sixteen bytes at once*'
    skip 'parser: mutated*'
    skip 'parser: limits*'
    skip 'socket file: forty processes at once*'
fi
if [ -n "${QUICK:-}" ]; then # three quarters of the time
    skip 'router: the route is the one*'
    skip 'router: the order of registration*'
    skip 'connection: a conversation is the same*'
    skip 'parser: names of every length'
    skip 'files: no Range leads out*'
    skip 'files: one byte changed*'
    skip 'socket file: inherited: what LISTEN_PID*'
    skip 'streams: every kind of content*'
    skip 'client: spinning gives the same answers'
    skip 'client: a server that drips*'
    skip 'async: a slow reader stops the sender*'
    skip 'async: calls from many threads*'
    skip 'async: many calls fail one after the other*'
    skip 'socket file: a lock that another process holds*'
    skip 'socket file: whoever waits for the lock in vain*'
    skip 'server: a client that reads slowly*'
    skip 'server: on_exchange tells of bodies from memory*'
    skip 'values: a field that is set again*'
    skip 'streams: borrowed bytes are released once*'
    skip 'files: what put_date writes*'
fi

filter=$(IFS=,; echo "${without[*]-}")
valgrind -q --error-exitcode=99 --leak-check=full --show-leak-kinds=definite,indirect --errors-for-leak-kinds=definite,indirect --fair-sched=yes \
    --child-silent-after-fork=yes --log-file=$build/report "$program" -d=true \
    ${1:+--test-case="$1"} ${filter:+--test-case-exclude="$filter"} >$build/suite.log 2>&1
status=$?
awk '/^TEST CASE:/ { name = $0 } / ERROR: / && !seen[name]++ { print name; print "  " $0 }' $build/suite.log
read -r passed failed < <(sed -n 's/^\[doctest\] test cases: .*| *\([0-9]*\) passed *| *\([0-9]*\) failed.*/\1 \2/p' \
    $build/suite.log | tail -n 1)
: "${passed:=0}" "${failed:=0}"
if grep -v '^--' $build/report; then # those are warnings
    failed=$((failed + 1))
elif [ "$status" -ne 0 ] && [ "$failed" -eq 0 ]; then
    echo "the test binary ended with status $status"
    failed=1
fi
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
