#!/usr/bin/env bash
# differential.sh: what our server takes raw bytes for, against Go's net/http, Node, nginx and h11:
# the rows of parser_test.cpp and DIFFERENTIAL_CASES (100000) mutations. Last line `N passed, N failed`.
set -u
cd "$(dirname "$0")/.." || exit 1
tests/need.sh golang-go:go nodejs:node nginx-light:/usr/sbin/nginx python3-h11:python:h11 || exit 1
tests/need.sh 'doctest-dev:<doctest/doctest.h>' || exit 1
. tests/lib.sh
build=build/differential
mkdir -p "$build"
for program in rows echo; do
    "${CXX:-g++}" -std=c++17 -O1 -I. -pthread -o "$build/$program" \
        "tests/differential/$program.cpp" || exit 1
done
export GOCACHE=$PWD/build/go-cache GO111MODULE=off GOFLAGS=
go build -o "$build/echo_go" tests/differential/echo.go || exit 1
"$build/rows" >"$folder/rows" || exit 1
sed "s,FOLDER,$folder,g" tests/differential/nginx.conf >"$folder/nginx.conf"

start ours "$build/echo" "$folder/ours.sock"
start go "$build/echo_go" "$folder/go.sock"
start node node tests/differential/echo.js "$folder/node.sock"
start nginx /usr/sbin/nginx -c "$folder/nginx.conf" -e /dev/null
for name in ours go node nginx; do
    until_true 20 accepts "$folder/$name.sock" || { cat "$folder/$name.log"; echo "$name doesn't serve"; exit 1; }
done
/usr/bin/python3 tests/differential/compare.py "$folder" "$folder/rows" tests/differential/decisions.tsv \
    "${DIFFERENTIAL_CASES:-100000}" "${DIFFERENTIAL_SEED:-1}"
