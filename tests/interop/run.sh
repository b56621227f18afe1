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
count() { # NAME SECONDS STATUS: the last line of its log that has numbers
    local good bad numbers='^\([0-9]*\) passed, \([0-9]*\) failed$'
    read -r good bad < <(sed -n "s/$numbers/\1 \2/p" "$kept/logs/$1" | tail -n 1)
    : "${good:=0}" "${bad:=1}" # no such line: it broke off
    sed "/$numbers/d" "$kept/logs/$1"
    [ "$bad" -ne 0 ] || [ "$3" -eq 0 ] || bad=1
    echo "$1: $good passed, $bad failed, $2 s, status $3"
    passed=$((passed + good)) failed=$((failed + bad))
}
for name in "${names[@]}"; do
    began=$SECONDS
    timeout 300 "tests/interop/$name.sh" >"$kept/logs/$name" 2>&1
    status=$?
    count "$name" $((SECONDS - began)) $status
done

tests/interop/table.sh | tee $kept/table.md
if [ $# -eq 0 ]; then
    if tests/interop/table.sh --compare; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
fi
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
