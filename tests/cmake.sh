#!/usr/bin/env bash
# cmake.sh: `make install`, then a program by pkg-config and by each ```cmake block of the README, as
# pasted; and that everybody says the same version.
set -u
cd "$(dirname "$0")/.." || exit 1
tests/need.sh cmake:cmake pkg-config:pkg-config python3:/usr/bin/python3 || exit 1
. tests/lib.sh
fetch=${BUILD:-build}/examples/fetch
version=$(tests/version.sh | cut -d' ' -f2)
prefix=$folder/prefix

works() { # WHAT PROGRAM: it is hello, and serves
    local socket=$folder/serves.sock
    start serves "$2" "$socket"
    until_true 20 accepts "$socket"
    same "$1: it serves" 'Hello world' "$("$fetch" "$(url "$socket" /world)")"
    stop "$pid"
}
block() { # COMMAND: the ```cmake block that has it, of uds_http
    awk -v word="$1" '/^```cmake/ { on = 1; text = ""; next } /^```/ && on { on = 0; if (index(text, "\n" word "(uds_http")) printf "%s", text }
        on { text = text $0 "\n" }' README.md
}
project() { # COMMAND_OF_CMAKE [CMAKE ARGUMENT...]: the block's project, configured, built and run
    local at=$folder/$1
    mkdir -p "$at"
    block "$1" >"$at/CMakeLists.txt"
    same "README has a block with $1" yes "$([ -s "$at/CMakeLists.txt" ] && echo yes || echo no)"
    cp examples/hello.cpp "$at"
    if [ "$1" = FetchContent_Declare ]; then # the checkout that the block expects
        mkdir -p "$at/third_party"
        ln -s "$PWD" "$at/third_party/uds_http"
    fi
    cmake -S "$at" -B "$at/build" "${@:2}" >"$folder/cmake.log" 2>&1 && cmake --build "$at/build" >>"$folder/cmake.log" 2>&1
    local status=$?
    same "cmake, $1: configures and builds" 0 $status
    [ $status -eq 0 ] || cat "$folder/cmake.log"
    [ -x "$at/build/hello" ] && works "cmake, $1" "$at/build/hello"
}

make --no-print-directory install PREFIX="$prefix" >"$folder/install.log" 2>&1
same 'make install' 0 $?
same 'what it installs' 'include/uds_http.hpp lib/cmake/uds_http/uds_httpConfig.cmake lib/cmake/uds_http/uds_httpConfigVersion.cmake lib/pkgconfig/uds_http.pc' \
    "$(cd "$prefix" && find . -type f -printf '%P\n' | LC_ALL=C sort | paste -sd' ')"

export PKG_CONFIG_PATH=$prefix/lib/pkgconfig
# shellcheck disable=SC2046 # words
"${CXX:-g++}" -std=c++17 -O1 examples/hello.cpp -o "$folder/hello" $(pkg-config --cflags --libs uds_http)
same 'pkg-config: compiles and links' 0 $?
works pkg-config "$folder/hello"
project find_package -DCMAKE_PREFIX_PATH="$prefix"
project FetchContent_Declare

mkdir "$folder/newer"
printf 'cmake_minimum_required(VERSION 3.16)\nproject(newer CXX)\nfind_package(uds_http 99 REQUIRED)\n' >"$folder/newer/CMakeLists.txt"
same 'cmake: refuses a version that is too old' 1 \
    "$(cmake -S "$folder/newer" -B "$folder/newer/build" -DCMAKE_PREFIX_PATH="$prefix" 2>&1 | grep -c 'requested version "99"')"
same 'fetch --version' "fetch $version" "$("$fetch" --version)"
same 'pkg-config --modversion' "$version" "$(pkg-config --modversion uds_http)"
same 'cmake: version' "$version" "$(sed -n 's/^set(PACKAGE_VERSION \(.*\))/\1/p' "$prefix/lib/cmake/uds_http/uds_httpConfigVersion.cmake")"
same 'the newest line of the changelog' "$version" "$(sed -n '/^## Changelog/,$ s/^\([0-9][0-9.]*\): .*/\1/p' README.md | head -n 1)"
verdict
