#!/usr/bin/env bash
# unity.sh NAME...: tests/NAME_test.cpp as one source file. Each has a namespace of its own, as each has an
# unnamed one that others' names don't concern; so what they include comes first, for all of them.
set -eu
cd "$(dirname "$0")"
grep -h '^#include' "${@/%/_test.cpp}" | sort -u
for name; do
    printf 'namespace %s_tests {\n#include "%s_test.cpp"\n}\n' "$name" "$name"
done
