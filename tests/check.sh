#!/usr/bin/env bash
# check.sh TARGET...: makes each target, adds up what they report; last line `N passed, N failed`.
# A target without a line of that kind counts as one.
set -u
export QUICK=${QUICK-1} # `make cross`, coverage and valgrind: by themselves they run as a whole
cd "$(dirname "$0")/.." || exit 1
mkdir -p build
# The long ones in a form that CI has time for; by themselves they run for longer.
export FUZZ_SECONDS=${FUZZ_SECONDS:-8} DIFFERENTIAL_CASES=${DIFFERENTIAL_CASES:-5000} SOAK_SECONDS=${SOAK_SECONDS:-10}
passed=0 failed=0 summary=()
for target; do
    echo "== make $target"
    start=$SECONDS
    timeout "${CHECK_SECONDS:-900}" make --no-print-directory "$target" 2>&1 | tee "build/check_$target.log"
    status=${PIPESTATUS[0]}
    good=0 bad=0
    read -r good bad < <(sed -n 's/^\([0-9]\+\) passed, \([0-9]\+\) failed$/\1 \2/p' "build/check_$target.log" |
        tail -n 1)
    : "${good:=0}" "${bad:=0}"
    if [ "$status" -eq 0 ] && [ "$good" -eq 0 ]; then good=1; fi
    if [ "$status" -ne 0 ] && [ "$bad" -eq 0 ]; then bad=1; fi
    passed=$((passed + good)) failed=$((failed + bad))
    summary+=("$(printf '%-10s %5d passed %5d failed %5d s' "$target" "$good" "$bad" $((SECONDS - start)))")
done
echo
printf '%s\n' "${summary[@]}"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
