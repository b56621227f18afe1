#!/usr/bin/env bash
# fuzz.sh [TARGET...]: builds the libFuzzer targets of tests/fuzz and runs each for its share of
# FUZZ_SECONDS (60). What they learn stays in build/fuzz/corpus, what they find in build/fuzz/found.
# Last line `N passed, N failed`, in targets.
set -u
cd "$(dirname "$0")/.." || exit 1
clang=${FUZZ_CXX:-clang++}
tests/need.sh "clang:$clang" || exit 1
version=$("$clang" -dumpversion)
runtime=$("$clang" -print-runtime-dir)/libclang_rt.fuzzer-$(uname -m).a
tests/need.sh "libclang-rt-${version%%.*}-dev:$runtime" || exit 1
seconds=${FUZZ_SECONDS:-60}
targets=("$@")
[ $# -gt 0 ] || targets=(request response chunks address ranges fields reply connection)
build=build/fuzz
mkdir -p "$build/found"

# A whole connection does more per input than a parser.
share() { case $1 in connection) echo 4 ;; reply) echo 2 ;; *) echo 1 ;; esac; }

compile() { # TARGET
    local at=$build/$1 from
    for from in "tests/fuzz/$1.cpp" tests/fuzz/*.hpp uds_http.hpp; do
        [ "$at" -nt "$from" ] || {
            "$clang" -std=c++17 -g -O1 -Wall -Wextra -Werror -I. -pthread \
                -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
                -o "$at" "tests/fuzz/$1.cpp"
            return
        }
    done
}
export -f compile
export clang build
printf '%s\n' "${targets[@]}" | xargs -P 2 -I{} bash -c 'compile {} || rm -f "$build/{}"'

shares=0
for target in "${targets[@]}"; do shares=$((shares + $(share "$target"))); done
passed=0 failed=0
for target in "${targets[@]}"; do
    log=$build/$target.log corpus=$build/corpus/$target
    mkdir -p "$corpus"
    time=$((seconds * $(share "$target") / shares))
    ASAN_OPTIONS=quarantine_size_mb=16 "$build/$target" -max_total_time=$((time > 0 ? time : 1)) \
        -max_len=4096 -timeout=10 -rss_limit_mb=1024 -dict=tests/fuzz/http.dict \
        -artifact_prefix="$build/found/$target-" -print_final_stats=1 \
        "$corpus" "tests/fuzz/seeds/$target" >"$log" 2>&1
    status=$?
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    printf '%-10s %10s executions in %d s, %s edges\n' "$target" "${runs:-0}" "$time" \
        "$(sed -n 's/.*cov: \([0-9]*\).*/\1/p' "$log" | tail -n 1)"
    if [ "$status" -eq 0 ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        grep -E 'does not hold|ERROR:|runtime error|SUMMARY|Test unit written|^Base64' "$log"
        echo "  again: $build/$target $build/found/$target-..."
    fi
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
