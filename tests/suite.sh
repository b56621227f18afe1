#!/usr/bin/env bash
# suite.sh [FILTER]: runs the test binary and the build-only tests; last line `N passed, N failed`.
#
# Most of the time cases wait: so each file's have a process of their own, up to PROCESSES (4) of them
# beside each other; 1 is one for all, as it is with a filter.
set -u
cd "$(dirname "$0")/.." || exit 1
build=${BUILD:-build} most=${PROCESSES:-4}
[ -z "${1:-}" ] || most=1

# The thread sanitizer of gcc 12 doesn't know the address space of newer kernels.
read -ra run <<<"${RUNNER:-}" # an emulator
[ "$build" != build/tsan ] || run=(setarch "$(uname -m)" -R)
run+=("$build/tests/all" ${1:+--test-case="$1"} ${EXCLUDE:+--test-case-exclude="$EXCLUDE"})
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_stack_use_after_return=1}

start() { # NAME [OPTION]: in the background; to its log, then its status to NAME.status
    { "${run[@]}" "${@:2}" </dev/null >"$build/tests/suite.$1.log" 2>&1 # tests take 0 for a descriptor
        echo $? >"$build/tests/suite.$1.status"; } &
}
rm -f "$build"/tests/suite.* "$build/tests/build_only.log"
if [ "$build" = build ] && [ -z "${1:-}" ]; then
    { tests/build_only.sh || echo 'build_only.sh: FAILED'; } >build/tests/build_only.log &
fi
parts=() count=0
if [ "$most" -gt 1 ]; then
    count=$("${run[@]}" --count </dev/null | sed -n 's/.*passing the current filters: *//p')
    for file in async_client server client streams socket_file; do parts+=("$file"); done # those that wait longest
    for file in tests/*_test.cpp; do
        file=${file#tests/} file=${file%_test.cpp}
        [[ " ${parts[*]} " == *" $file "* ]] || parts+=("$file")
    done
    for part in "${parts[@]}"; do
        while [ "$(jobs -pr | wc -l)" -ge "$most" ]; do wait -n; done
        start "$part" --source-file="tests/${part}_test.cpp"
    done
else
    parts=(all)
    start all
fi
wait

# [doctest] test cases: 12 | 11 passed | 1 failed | 0 skipped
passed=0 failed=0
for part in "${parts[@]}"; do
    log=$build/tests/suite.$part.log good=0 bad=0
    read -r good bad < <(sed -n 's/^\[doctest\] test cases: .*| *\([0-9]*\) passed *| *\([0-9]*\) failed.*/\1 \2/p' \
        "$log" | tail -n 1)
    : "${good:=0}" "${bad:=0}"
    passed=$((passed + good)) failed=$((failed + bad))
    [ $((good + bad)) -eq 0 ] || cat "$log"
    status=$(cat "$build/tests/suite.$part.status")
    if [ "$status" != 0 ] && [ "$bad" -eq 0 ]; then # a crash, a sanitizer's report, a leak
        [ "$good" -gt 0 ] || cat "$log"
        echo "the test binary ended with status $status"
        failed=$((failed + 1))
    fi
done
if [ -z "$count" ] || [ $((passed + failed)) -lt "$count" ]; then # nobody said how many, or some ended early
    echo "of ${count:-?} cases $((passed + failed)) have run"
    failed=$((failed + 1))
fi

log=$build/tests/build_only.log
if [ -e "$log" ]; then
    cat "$log"
    passed=$((passed + $(grep -c ': ok$' "$log")))
    failed=$((failed + $(grep -c ': FAILED$' "$log")))
fi
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
