#!/usr/bin/env bash
# suite.sh [FILTER]: runs the test binary and the build-only tests; last line `N passed, N failed`.
set -u
cd "$(dirname "$0")/.." || exit 1
build=${BUILD:-build}
log=$build/tests/suite.log

# The thread sanitizer of gcc 12 doesn't know the address space of newer kernels.
read -ra run <<<"${RUNNER:-}" # an emulator
[ "$build" != build/tsan ] || run=(setarch "$(uname -m)" -R)
ASAN_OPTIONS=${ASAN_OPTIONS:-detect_stack_use_after_return=1} \
    "${run[@]}" "$build/tests/all" ${1:+--test-case="$1"} \
    ${EXCLUDE:+--test-case-exclude="$EXCLUDE"} </dev/null 2>&1 | tee "$log" # tests take 0 for a descriptor
status=${PIPESTATUS[0]}

# [doctest] test cases: 12 | 11 passed | 1 failed | 0 skipped
read -r passed failed < <(sed -n 's/^\[doctest\] test cases: .*| *\([0-9]*\) passed *| *\([0-9]*\) failed.*/\1 \2/p' \
    "$log" | tail -n 1)
: "${passed:=0}" "${failed:=0}"
if [ "$status" -ne 0 ] && [ "$failed" -eq 0 ]; then # a crash, a sanitizer's report, a leak
    echo "the test binary ended with status $status"
    failed=1
fi

if [ "$build" = build ] && [ -z "${1:-}" ]; then
    tests/build_only.sh | tee "$log"
    passed=$((passed + $(grep -c ': ok$' "$log")))
    failed=$((failed + $(grep -c ': FAILED$' "$log")))
fi
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
