#!/usr/bin/env bash
# memory.sh: operator new fails at its first, second, third, ... call on a server's loop; see
# tests/faults/memory.cpp. Last line `N passed, N failed`.
set -u
cd "$(dirname "$0")/.." || exit 1
build=${BUILD:-build}/faults
mkdir -p "$build"
read -ra flags <<<"${CXXFLAGS:-}"
"${CXX:-g++}" -std="${CXXSTD:-c++17}" -O1 -g -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror -I. -pthread \
    "${flags[@]}" -o "$build/memory" tests/faults/memory.cpp || exit 1
"$build/memory" "$@"
