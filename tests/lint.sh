#!/usr/bin/env bash
# Format, clang-tidy, shell scripts, and the figures of tests/figures.sh.
set -u
cd "$(dirname "$0")/.." || exit 1
tests/need.sh clang-format:clang-format clang-tidy:clang-tidy || exit 1
. tests/lib.sh

mapfile -t sources < <(ls uds_http.hpp examples/*.[ch]pp; find tests -name '*.[ch]pp' | sort)
for file in "${sources[@]}"; do
    same "format: $file" '' "$(clang-format --dry-run "$file" 2>&1 | head -n 3)"
done
for file in .ci/run $(find tests -name '*.sh'); do
    same "bash -n $file" '' "$(bash -n "$file" 2>&1)"
done
echo '#include "uds_http.hpp"' >"$folder/header.cpp"
clang-tidy --quiet --config-file=.clang-tidy "$folder/header.cpp" -- -std=c++17 -I. >"$folder/tidy.log" 2>/dev/null
same 'clang-tidy' 0 $?
grep -E 'warning:|error:' "$folder/tidy.log" | sort | uniq -c | sort -rn | head -n 40

while IFS= read -r line; do
    echo "$line"
    case $line in *': ok') passed=$((passed + 1)) ;; *': FAILED') failed=$((failed + 1)) ;; esac
done < <(tests/figures.sh)
verdict
