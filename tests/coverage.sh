#!/usr/bin/env bash
# coverage.sh [LINES [BRANCHES]]: how much of uds_http.hpp the tests run: the suite, the examples by
# tests/examples.sh, the examples while their system calls fail (tests/faults), and a server that can't
# allocate (tests/memory.sh). By clang's source coverage: its branches are the conditions of the source,
# so exception edges aren't among them.
# Fails under LINES (97) and BRANCHES (90) percent, and where the suite does, which is the one by clang++ as
# C++20. What isn't run is listed in build/coverage. Last line `N passed, N failed`.
#
# QUICK=1 is what .ci/run has time for: the suite alone has to run that much.
# coverage.sh build: only the suite's program, build/coverage/tests/all.
set -u
cd "$(dirname "$0")/.." || exit 1
tests/need.sh clang:clang++ llvm:llvm-cov python3:/usr/bin/python3 || exit 1
version=$(clang++ -dumpversion)
runtime=$(clang++ -print-runtime-dir)/libclang_rt.profile-$(uname -m).a
tests/need.sh "libclang-rt-${version%%.*}-dev:$runtime" || exit 1
build=build/coverage
mkdir -p "$build" && rm -f "$build"/*.profraw
# The lines are for valgrind (QUICK=1 make valgrind), which reads version 4.
counted=(-gline-tables-only -gdwarf-4 -fprofile-instr-generate -fcoverage-mapping -mllvm -runtime-counter-relocation
    -Wno-unused-command-line-argument)
# What a program doesn't use it would report as empty functions, which don't match those of the programs
# that use them: one of them, the suite, is enough to see what nobody uses.
used_only=(-mllvm -limited-coverage-experimental)
instrumented() { # FLAGS TARGET...
    make --no-print-directory -j2 BUILD="$build" CXX=clang++ CXXSTD=c++20 OPTIMIZE=-O0 UNITY=1 CXXFLAGS="$1" "${@:2}" \
        >"$build/make.log" 2>&1 && return
    grep -E ' error: |undefined reference' "$build/make.log" | head -n 10
    tail -n 5 "$build/make.log"
    exit 1
}
instrumented "${counted[*]}" "$build/tests/all"
[ "${1:-}" != build ] || exit 0
lines=${1:-97} branches=${2:-90}

# %c: the counters are the file, so that a child counts too that leaves by _exit() or is killed.
LLVM_PROFILE_FILE="$build/%p%c.profraw" BUILD=$build tests/suite.sh >"$build/suite.log" 2>&1
read -r passed failed < <(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p' "$build/suite.log" | tail -n 1)
: "${passed:=0}" "${failed:=1}"
[ "$failed" -eq 0 ] || { grep -E '^TEST CASE|ERROR|FAILED' "$build/suite.log" | head -n 20; tail -n 5 "$build/suite.log"; }
echo "clang++, C++20, the suite: $passed passed, $failed failed"

objects=()
everything_else() {
    local examples=() file program
    for file in examples/*.cpp; do examples+=("$build/${file%.cpp}"); done
    instrumented "${counted[*]} ${used_only[*]}" "${examples[@]}"
    # %m: all processes of a program count in one file. Whether these pass is for their own targets to say.
    export LLVM_PROFILE_FILE="$PWD/$build/%m%c.profraw"
    BUILD=$build tests/examples.sh >"$build/examples.log" 2>&1
    tail -n 1 "$build/examples.log"
    EXAMPLES=$build/examples tests/faults.sh >"$build/faults.log" 2>&1
    tail -n 1 "$build/faults.log"
    BUILD=$build CXX=clang++ CXXSTD=c++20 CXXFLAGS="${counted[*]} ${used_only[*]}" tests/memory.sh >"$build/memory.log" 2>&1
    tail -n 1 "$build/memory.log"
    unset LLVM_PROFILE_FILE
    for program in "${examples[@]}" "$build/faults/memory"; do objects+=(-object "$program"); done
}
[ -n "${QUICK:-}" ] || everything_else

llvm-profdata merge -sparse -o "$build/all.profdata" "$build"/*.profraw || exit 1
cover() { llvm-cov "$@" "$build/tests/all" "${objects[@]}" -instr-profile="$build/all.profdata" uds_http.hpp; }
rm -f "$build"/*.profraw
cover show -show-branches=count -show-instantiations=false >"$build/uds_http.txt"
# Lines that never ran, with their numbers.
grep -E '^ *[0-9]+\| +0\|' "$build/uds_http.txt" >"$build/missed_lines.txt"
cover export -summary-only -format=text >"$build/summary.json" || exit 1
/usr/bin/python3 - "$build/summary.json" "$lines" "$branches" "$passed" "$failed" <<'END_OF_PYTHON'
import json, sys
total = json.load(open(sys.argv[1]))["data"][0]["totals"]
passed, failed = int(sys.argv[4]), int(sys.argv[5])
for what, least in (("lines", float(sys.argv[2])), ("branches", float(sys.argv[3]))):
    part = total[what]
    good = part["percent"] >= least
    passed, failed = passed + good, failed + (not good)
    print("%-8s %6.2f %% (%d of %d), at least %g wanted: %s" % (
        what, part["percent"], part["covered"], part["count"], least, "ok" if good else "FAILED"))
print("what isn't run: build/coverage/missed_lines.txt, uds_http.txt")
print("%d passed, %d failed" % (passed, failed))
sys.exit(failed > 0)
END_OF_PYTHON
