#!/usr/bin/env bash
# run.sh [SCRIPT...]: other people's programs against ours, both ways, each by its script here; with
# names (`run.sh curl nginx`) those alone. Prints a table, which build/interop/table.md keeps, and
# compares it with the README's. Last line `N passed, N failed`.
set -u
cd "$(dirname "$0")/../.." || exit 1
kept=build/interop
rm -rf $kept/rows
mkdir -p $kept/rows $kept/logs
names=("$@")
if [ $# -eq 0 ]; then
    for script in tests/interop/*.sh; do
        case $script in */run.sh | */lib.sh | */table.sh | */packages.sh) ;; *) names+=("$(basename "$script" .sh)") ;; esac
    done
    tests/interop/packages.sh || exit 1
fi

passed=0 failed=0
count() { # NAME: the last line of its log
    local good bad
    read -r good bad < <(tail -n 1 "$kept/logs/$1" | sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p')
    : "${good:=0}" "${bad:=1}" # no such line: it broke off
    sed '$d' "$kept/logs/$1"
    echo "$1: $good passed, $bad failed, $2 s"
    passed=$((passed + good)) failed=$((failed + bad))
}
for name in "${names[@]}"; do
    began=$SECONDS
    timeout 300 "tests/interop/$name.sh" >"$kept/logs/$name" 2>&1
    count "$name" $((SECONDS - began))
done

tests/interop/table.sh | tee $kept/table.md
if [ $# -eq 0 ]; then
    if tests/interop/table.sh --compare; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
fi
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
