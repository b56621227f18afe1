#!/usr/bin/env bash
# The header's figures: one line each, `what: figure (limits): ok|FAILED`. Where one is not yet what
# STYLE asks for, the limit is what it was when last looked at, so that it only gets better, and the goal
# stands beside it.
set -u
cd "$(dirname "$0")/.." || exit 1
folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT
status=0

# What doesn't compile has no figures.
if g++ -std=c++17 -fsyntax-only -x c++ uds_http.hpp 2>&1 | grep -q 'error:'; then
    echo 'figure: the header compiles: FAILED'
    exit 1
fi

figure() { # WHAT FIGURE LOW HIGH: any of them may have decimals
    if awk -v x="$2" -v low="$3" -v high="$4" 'BEGIN { exit !(x >= low && x <= high) }'; then
        echo "figure: $1: $2 ($3 to $4): ok"
    else
        echo "figure: $1: $2 ($3 to $4): FAILED"
        status=1
    fi
}

figure 'lines of the header (goal 4500)' "$(wc -l <uds_http.hpp)" 1 8517
figure 'lines of Part I (goal 800)' "$(sed '/^\/\/ END OF PART I/q' uds_http.hpp | wc -l)" 1 800
comments=$(awk '/^[ \t]*$/ { next } { n++ } /\/\// { c++ } END { printf "%.1f", 100 * c / n }' uds_http.hpp)
figure 'lines with comments, in percent' "$comments" 20 35
echo '#include "uds_http.hpp"' >"$folder/ours.cpp"
figure 'preprocessed lines' "$(g++ -std=c++17 -I. -E -P "$folder/ours.cpp" | wc -l)" 1 45000
figure 'lines of the Makefile' "$(wc -l <Makefile)" 1 150
for header in iostream sstream regex functional thread mutex algorithm; do
    grep -q "^#include <$header>" uds_http.hpp && figure "<$header> is included" 1 0 0
done

# Functions, where Universal Ctags is at hand: lengths in lines.
if ctags --version 2>/dev/null | grep -q Universal; then
    ctags -x --c++-kinds=f --_xformat='%{line} %{end}' uds_http.hpp | awk '$2 ~ /^[0-9]+$/ { print $2 - $1 + 1 }' |
        sort -n >"$folder/lengths"
    count=$(wc -l <"$folder/lengths")
    figure 'median function, in lines' "$(sed -n "$(((count + 1) / 2))p" "$folder/lengths")" 1 12
    figure '95th percentile' "$(sed -n "$(((count * 95 + 99) / 100))p" "$folder/lengths")" 1 40
    figure 'longest function' "$(tail -n 1 "$folder/lengths")" 1 60
fi

# Parse time, against cpp-httplib as its authors publish it: all in one header. Debian's package splits
# it into a header of declarations and a library, so its source package is what counts.
upstream=build/cpp-httplib
if [ ! -e $upstream/httplib.h ] && command -v apt-get >/dev/null; then
    mkdir -p $upstream/lists/partial
    apt-get indextargets --format 'deb-src $(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
        sort -u >$upstream/sources.list # where this machine has its packages from
    (
        cd $upstream || exit
        apt=(apt-get -qq -o "Dir::Etc::sourcelist=$PWD/sources.list" -o Dir::Etc::sourceparts=/dev/null
            -o "Dir::State::lists=$PWD/lists" -o APT::Sandbox::User=root)
        "${apt[@]}" update && "${apt[@]}" --download-only source cpp-httplib &&
            tar --strip-components=1 -xf cpp-httplib_*.orig.tar.* && rm -rf lists
    ) >"$folder/apt.log" 2>&1
fi
if [ -e $upstream/httplib.h ]; then
    echo '#include "httplib.h"' >"$folder/theirs.cpp"
    seconds() { # FILE FOLDER: user and system time of one parse
        local TIMEFORMAT='%U %S'
        { time g++ -std=c++17 -I"$2" -fsyntax-only "$1"; } 2>&1 | awk '{ print $1 + $2 }'
    }
    for _ in 1 2 3 4 5 6 7; do # interleaved, so that a noisy moment hits both
        seconds "$folder/ours.cpp" . >>"$folder/ours"
        seconds "$folder/theirs.cpp" $upstream >>"$folder/theirs"
    done
    median() { sort -n "$1" | sed -n 4p; }
    figure "parse time, as a part of cpp-httplib's (goal 0.2)" \
        "$(awk -v a="$(median "$folder/ours")" -v b="$(median "$folder/theirs")" 'BEGIN { printf "%.3f", a / b }')" 0 0.75
else
    echo "figure: parse time: not measured, the source package of cpp-httplib could not be had"
fi
exit $status
