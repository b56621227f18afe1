#!/usr/bin/env bash
# paths.sh: the life of a socket's path under many processes and several users, and systemd's part in
# it. ROUNDS=5 of each; 50 for all that is promised.
# ONLY="part..." of tests/paths/paths.py. Last line `N passed, N failed`.
set -u
cd "$(dirname "$0")/.." || exit 1
tests/need.sh python3:/usr/bin/python3 systemd:systemd-socket-activate strace:strace || exit 1
. tests/lib.sh
build=${BUILD:-build}

# Copies, because other users have to reach them.
chmod 755 "$folder"
mkdir "$folder/bin" && cp "$build"/examples/{hello,fetch} "$folder/bin" || exit 1
for program in door together; do
    "${CXX:-g++}" -std="${CXXSTD:-c++17}" -O1 -pthread -I. -o "$folder/bin/$program" "tests/paths/$program.cpp" || exit 1
done
# shellcheck disable=SC2086 # parts are words
/usr/bin/python3 tests/paths/paths.py "${ROUNDS:-5}" "$folder" examples ${ONLY:-}
