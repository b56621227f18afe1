#!/usr/bin/env bash
# table.sh: the rows of the last run as Markdown. --write puts them into the README, between its two
# marks; --compare fails where the README shows other programs, or other behaviours, than the run:
# versions differ from machine to machine, and what a machine can't run isn't in its table.
set -u
cd "$(dirname "$0")/../.." || exit 1
rows=build/interop/rows
export LC_ALL=C # the order of the rows

role() { # TITLE OF_ROLE
    local file role name version exercised result
    for file in "$rows/$2"-*; do
        [ -e "$file" ] || continue
        IFS=$'\t' read -r role name version exercised result <"$file"
        printf '| %s | %s | %s | %s | %s |\n' "$name" "$version" "$1" "$exercised" "$result"
    done
}
table() {
    printf '| program | version | role | exercised | checks passed |\n| --- | --- | --- | --- | --- |\n'
    role 'client of ours' client
    role 'in front of ours' front
    role 'server for `fetch`' server
}
in_readme() { sed -n '/^<!-- interop -->$/,/^<!-- end of interop -->$/p' README.md | grep '^|'; }
compared() { # program, role, exercised; without the programs that are missing here
    local gone
    gone=$(grep -l 'missing: ' "$rows"/* 2>/dev/null | xargs -r cut -f2)
    awk -F ' *[|] *' -v gone="$gone" 'BEGIN { n = split(gone, names, "\n"); for (i = 1; i <= n; ++i) skip[names[i]] = 1 }
        !($2 in skip) { print $2 " | " $4 " | " $5 }'
}
write() {
    local to=README.md.new
    table >build/interop/table.md
    awk '/^<!-- end of interop -->$/ { inside = 0 }
        !inside { print }
        /^<!-- interop -->$/ { inside = 1; while ((getline line < "build/interop/table.md") > 0) print line }' README.md >$to &&
        mv $to README.md
}
case ${1:-} in
--write) write ;;
--compare)
    diff <(in_readme | compared) <(table | compared) >build/interop/readme.diff && exit
    echo "README's table is another one (tests/interop/table.sh --write after a full run mends it):"
    cat build/interop/readme.diff
    exit 1
    ;;
*) table ;;
esac
