#!/usr/bin/env bash
# packages.sh: all packages that the scripts here need, in one go, which takes half the time.
set -u
cd "$(dirname "$0")/../.." || exit 1
# The lists after `needs` may go on for lines; each word is package:test.
mapfile -t pairs < <(sed -n -e ':more' -e '/^needs .*\\$/ { N; b more' -e '}' -e 's/\\\n */ /g' -e 's/^needs //p' tests/interop/*.sh | tr ' ' '\n' | sort -u)
tests/need.sh "${pairs[@]}"
