#!/usr/bin/env bash
# check.sh WORD...: makes targets in this order, adds up what they report; last line `N passed, N failed`.
# A word is a target, or lanes that run beside each other: asan,tsan/lint,examples is two lanes of two.
# A target without a line of that kind counts as one.
set -u
export QUICK=${QUICK-1} # `make cross`, coverage and valgrind: by themselves they run as a whole
cd "$(dirname "$0")/.." || exit 1
mkdir -p build
rm -f build/check_*.sum
# The long ones in a form that CI has time for; by themselves they run for longer.
export FUZZ_SECONDS=${FUZZ_SECONDS:-8} DIFFERENTIAL_CASES=${DIFFERENTIAL_CASES:-5000} SOAK_SECONDS=${SOAK_SECONDS:-10}

check() { # TARGET: its output to stdout and to build/check_TARGET.log, its sums to build/check_TARGET.sum
    local start=$SECONDS status good=0 bad=0
    echo "== make $1"
    timeout "${CHECK_SECONDS:-900}" make --no-print-directory "$1" 2>&1 | tee "build/check_$1.log"
    status=${PIPESTATUS[0]}
    read -r good bad < <(sed -n 's/^\([0-9]\+\) passed, \([0-9]\+\) failed$/\1 \2/p' "build/check_$1.log" |
        tail -n 1)
    : "${good:=0}" "${bad:=0}"
    if [ "$status" -eq 0 ] && [ "$good" -eq 0 ]; then good=1; fi
    if [ "$status" -ne 0 ] && [ "$bad" -eq 0 ]; then bad=1; fi
    echo "$good $bad $((SECONDS - start))" >"build/check_$1.sum"
}

lane() { # TARGET...: each target's output at once, when it has ended
    local target
    for target; do
        check "$target" >"build/check_$target.out"
        flock build/check.lock cat "build/check_$target.out"
    done
}

targets=()
for word; do
    IFS=/ read -ra lanes <<<"$word"
    for one in "${lanes[@]}"; do
        IFS=, read -ra names <<<"$one"
        targets+=("${names[@]}")
        if [ ${#lanes[@]} -eq 1 ]; then
            for target in "${names[@]}"; do check "$target"; done
        else
            lane "${names[@]}" &
        fi
    done
    wait
done

# What failed, once more: whoever has only the end of this output needs no other run to know.
for target in "${targets[@]}"; do
    read -r _ bad _ 2>/dev/null <"build/check_$target.sum" || bad=1
    if [ "$bad" -ne 0 ]; then
        printf '\n== failed in make %s\n' "$target"
        grep -n -i -A 3 -E '\bFAILED\b|\bERROR:|\*\*\*|not here:|missing:|[^0-9]0 passed, 1 failed' "build/check_$target.log" |
            grep -v -E ' 0 failed\b' | head -n 40 | cut -c 1-300
    fi
done

echo
passed=0 failed=0
for target in "${targets[@]}"; do
    good=0 bad=1 took=0
    if [ -e "build/check_$target.sum" ]; then read -r good bad took <"build/check_$target.sum"; fi
    printf '%-12s %5d passed %5d failed %5d s\n' "$target" "$good" "$bad" "$took"
    passed=$((passed + good)) failed=$((failed + bad))
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
