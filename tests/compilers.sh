#!/usr/bin/env bash
# The whole test build by g++ and clang++, as C++17 and C++20, warnings as errors; the tests run once
# by clang++ (as C++20; `make test` has run them by g++ as C++17). The other two are only looked at.
set -u
cd "$(dirname "$0")/.." || exit 1
tests/need.sh clang:clang++ || exit 1
. tests/lib.sh
warnings='-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror'

syntax() { # COMPILER STANDARD
    local file
    for file in examples/*.cpp tests/*_test.cpp; do
        [ "$file" != examples/coroutine.cpp ] || [ "$2" = c++20 ] || continue
        # shellcheck disable=SC2086 # the warnings are words
        "$1" -std="$2" $warnings -I. -fsyntax-only "$file" || return 1
    done
}
same 'g++ as C++20' 0 "$(syntax g++ c++20 >&2; echo $?)"
same 'clang++ as C++17' 0 "$(syntax clang++ c++17 >&2; echo $?)"
make CXX=clang++ CXXSTD=c++20 BUILD=build/clang OPTIMIZE=-O1 test >"$folder/clang.log" 2>&1
same 'clang++ as C++20: the tests' 0 $?
tail -n 3 "$folder/clang.log"
verdict
