#!/usr/bin/env bash
# cross.sh [CONFIGURATION...]: the whole test suite by other compilers, standards, standard libraries,
# architectures and flags; `make test` has run it by g++ as C++17. Each row prints its counts, what
# was left out and why; a row that can't run is missing, and failed. Last line `N passed, N failed`.
#
# QUICK=1 is what .ci/run has time for, two minutes: a look at all sources by g++ as C++20 and clang++
# as C++17, and hello and fetch talking to each other as 32-bit, aarch64 and s390x (big endian) programs,
# the last two under qemu. The suite by clang++ as C++20 is what tests/coverage.sh runs.
set -u
cd "$(dirname "$0")/.." || exit 1
. tests/lib.sh
cross=build/cross
here=$PWD
warnings='-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror'
mkdir -p $cross/include
ln -sfn /usr/include/doctest $cross/include/doctest # cross compilers don't look below /usr/include

# 64-bit times and files on 32 bits: as Debian builds everything since 2024.
m32='-m32 -idirafter /usr/include/x86_64-linux-gnu -D_FILE_OFFSET_BITS=64 -D_TIME_BITS=64'
multilib=g++-$(g++ -dumpversion | cut -d. -f1)-multilib
need_m32="$multilib:$(dirname "$(g++ -print-libgcc-file-name)")/32/libstdc++.a"
qemu() { echo "qemu-$1 -L /usr/$1-linux-gnu"; }
need_qemu() { echo "g++-$1-linux-gnu:$1-linux-gnu-g++ qemu-user:qemu-$1"; }

# The pieces. -------------------------------------------------------------------------------------
count() { # WHAT LOG: adds the log's last line up
    local good bad left_out
    read -r good bad < <(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p' "$2" | tail -n 1)
    if [ -z "${bad:-}" ]; then
        good=0 bad=1
        grep -E 'error|warning|undefined' "$2" | head -n 10
        tail -n 5 "$2"
    elif [ "$bad" -gt 0 ]; then
        grep -E '^TEST CASE|ERROR|FAILED' "$2" | head -n 20
    elif [ "$good" -eq 0 ]; then # nothing ran
        bad=1
    fi
    left_out=$(sed -n 's/^\[doctest\] test cases: .*| *\([0-9]*\) skipped.*/\1/p' "$2" | tail -n 1)
    [ "${left_out:-0}" -eq 0 ] && left_out='' || left_out=", $left_out left out"
    echo "$1: $good passed, $bad failed$left_out"
    passed=$((passed + good)) failed=$((failed + bad))
}
missing() { # WHAT: a row that doesn't run is no row that passed
    echo "missing: $1, so what needs it was not run"
    failed=$((failed + 1))
}
suite() { # NAME DESCRIPTION VARIABLE=VALUE...: of the Makefile; OPTIMIZE, CXX, CXXSTD, CXXFLAGS, LDFLAGS
    local name=$1 what=$2
    shift 2
    make --no-print-directory -j2 BUILD="$cross/$name" OPTIMIZE=-O0 "$@" test >"$folder/$name.log" 2>&1
    count "$what, the suite" "$folder/$name.log"
}
syntax() { # COMPILER STANDARD: warnings are errors. Most tests are one file, as with UNITY=1.
    local without=^$ tests
    [ "$2" != c++17 ] || without=^examples/coroutine.cpp$ # which needs C++20
    mapfile -t tests < <(cd tests && printf '%s\n' *_test.cpp | sed 's/_test.cpp//' | grep -vxE 'allocation|coroutine')
    tests/unity.sh "${tests[@]}" >$cross/unity.cpp
    # shellcheck disable=SC2086 # the warnings are words
    printf '%s\n' $cross/unity.cpp tests/{allocation,coroutine}_test.cpp examples/*.cpp | grep -v "$without" |
        xargs -P 2 -n 3 "$1" -std="$2" $warnings -I. -Itests -fsyntax-only >"$folder/syntax" 2>&1
    same "$1 as ${2#c++}: examples and tests have no warning" 0 $?
    grep -E 'error|warning' "$folder/syntax"
}
build_only() { # COMPILER STANDARD
    CXX=$1 CXXSTD=$2 tests/build_only.sh >"$folder/only" 2>&1
    echo "$(grep -c ': ok$' "$folder/only") passed, $(grep -c ': FAILED$' "$folder/only") failed" >>"$folder/only"
    count "$1 as $2, what has to compile and link" "$folder/only"
}
exchange() { # DESCRIPTION FOLDER [RUNNER]: hello and fetch of that folder, with each other and with curl
    local what=$1 at=$2 runner=${3:-} socket body=$folder/body before=$((passed + failed))
    socket=$folder/$(basename "$at").sock
    [ -e "$body" ] || head -c 5000000 /dev/urandom >"$body"
    # shellcheck disable=SC2086 # the runner is words
    start exchange $runner "$at/hello" "$socket"
    if ! until_true 30 accepts "$socket"; then
        cat "$folder/exchange.log"
        same "$what: hello serves" yes no
        return
    fi
    ask() { $runner "$at/fetch" "$@" 2>&1; }
    same "$what: GET" 'Hello wörld' "$(ask "$(url "$socket" /w%C3%B6rld)")"
    same "$what: POST of 5 MB" "$(cksum <"$body")" "$(ask -d "@$body" "$(url "$socket" /echo)" | cksum)"
    same "$what: HEAD" 200 "$(ask -i -X HEAD "$(url "$socket" /)" | sed -n '1s/HTTP.1.1 \([0-9]*\).*/\1/p')"
    same "$what: one connection" '200 ok, 0 failed' "$(ask --repeat 200 "$(url "$socket" /world)" | cut -d, -f1,2)"
    same "$what: curl" 'Hello world' "$(curl -sS --max-time 30 --unix-socket "$socket" http://localhost/world)"
    stop "$pid"
    same "$what: SIGTERM" 0 $?
    same "$what: --version" "$(tests/version.sh)" "$(ask --version)"
    echo "$what, hello and fetch: $((passed + failed - before)) checks"
}
programs() { # NAME VARIABLE=VALUE...: builds hello and fetch
    make --no-print-directory -j2 BUILD="$cross/$1" OPTIMIZE=-O1 "${@:2}" "$cross/$1/examples/hello" "$cross/$1/examples/fetch" \
        >"$folder/programs" 2>&1 && return
    same "$1: hello and fetch compile" '' "$(grep -E 'error|undefined' "$folder/programs" | head -n 5)"
    return 1
}

# Other machines. ---------------------------------------------------------------------------------
# Not every kernel of 64 bits runs programs of 32.
runner_m32() { echo 'int main() {}' | g++ -m32 -static -o $cross/probe -x c++ - && $cross/probe 2>/dev/null || echo qemu-i386; }
quick_m32() {
    local runner
    runner=$(runner_m32)
    programs m32 CXXFLAGS="$m32" WERROR= && exchange "32 bits (-m32${runner:+, under qemu})" $cross/m32/examples "$runner"
}
warnings_m32() { # std::size_t is narrower than std::uint64_t there
    # shellcheck disable=SC2086 # words
    same '32 bits: hello, fetch, upload, fd_pass have no warning' '' "$(for file in hello fetch upload fd_pass; do
        g++ -std=c++17 $warnings $m32 -I. -fsyntax-only "examples/$file.cpp" 2>&1 | grep -E 'error'; done | sort -u)"
}
quick_other() { # ARCHITECTURE
    programs "$1" CXX="$1-linux-gnu-g++" && exchange "$1 under qemu" "$cross/$1/examples" "$(qemu "$1")"
}
# What qemu 7.2 lacks, and the test cases that need it. Nothing is left out where a probe finds it there.
declare -A needs=(
    [openat2]='files: a whole file*,files: an empty file*,files: a file beyond*,files: Last-Modified*,files: the tag*'
    # Options that it doesn't know it takes for four bytes: the groups of SO_PEERGROUPS, and with 32 bits times.
    [options]='fd: peer_of: as of*'
    ['m32 options']='fd: peer_of: as of*,fd: set_timeout bounds*'
    # It gives a forked child what MADV_DONTFORK keeps from it.
    [dontfork]='fd: memory is sealed though a child*'
    [seccomp]='server: a sandbox without*,streams: where sendfile is not*'
    # In qemu-i386 pthread_join(3) says EDEADLK once a signal has met a thread, and std::thread then throws.
    [signals]='client: signals*,fact: sendfile to*,fd: another thread*,fd: signals*,fd: connect_to: bounded*'
)
needs[openat2]+=',files: nothing leads*,files: magic links*,files: neither type*,files: a folder that*,files: a rename in*'
needs[openat2]+=',files: exhausted*,files: what may not*,files: no descriptor*,files: a storm*,files: routes*'
needs[openat2]+=',files: on the wire*,files: a file that*'
needs[signals]+=',server: stop() is safe*,server: stop_on() takes*'
lacks() { # RUNNER COMPILER FLAGS: words
    # shellcheck disable=SC2086 # words
    "$2" $3 -static -pthread -o "$cross/probe" -x c++ - <<'PROBE' && { $1 "$cross/probe" || echo signals; }
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
void* nap(void* whom) {
    pthread_kill(*static_cast<pthread_t*>(whom), SIGUSR1);
    usleep(50000);
    return nullptr;
}
int main() {
    int pair[2];
    long long left[2];
    socklen_t size = sizeof left;
    if (syscall(SYS_openat2, -1, "", nullptr, 0) < 0 && errno == ENOSYS) std::puts("openat2");
    // SO_RCVTIMEO_NEW: sixteen bytes everywhere
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) || getsockopt(pair[0], SOL_SOCKET, 66, left, &size) || size != 16)
        std::puts("options");
    if (prctl(PR_GET_SECCOMP) < 0) std::puts("seccomp");
    volatile char* const page = static_cast<char*>(mmap(nullptr, 1, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    madvise(const_cast<char*>(page), 1, MADV_DONTFORK);
    std::fflush(stdout);
    const pid_t child = fork();
    if (child == 0) _exit(*page);
    int status = 0;
    if (waitpid(child, &status, 0) == child && !WIFSIGNALED(status)) std::puts("dontfork");
    std::fflush(stdout);
    signal(SIGUSR1, [](int) {});
    for (int i = 0; i < 3; ++i) {
        pthread_t thread, self = pthread_self();
        if (pthread_create(&thread, nullptr, nap, &self) || pthread_join(thread, nullptr)) return 1;
    }
}
PROBE
}
emulated() { # NAME RUNNER COMPILER FLAGS VARIABLE=VALUE...
    local name=$1 runner=$2 left_out='' lack pattern
    for lack in $([ -z "$runner" ] || lacks "$runner" "$3" "$4"); do
        pattern=${needs[$name $lack]:-${needs[$lack]}}
        echo "$name: left out, as ${runner%% *} fails with $lack: $pattern"
        left_out+=$pattern,
    done
    PROCESSES=2 RUNNER=$runner EXCLUDE=${left_out%,} suite "$name" "$name${runner:+ under qemu}" CXX="$3" CXXFLAGS="$4" \
        OPTIMIZE=-O1 "${@:5}"
}
other() { # ARCHITECTURE
    emulated "$1" "$(qemu "$1")" "$1-linux-gnu-g++" "-isystem $here/$cross/include"
    quick_other "$1"
}
suite_m32() { emulated m32 "$(runner_m32)" g++ "$m32" WERROR=; }

# Without exceptions doctest can't catch: test cases that throw are left out, the rest runs from a copy.
without_throw() { # FILE: its text, with those test cases renamed
    awk '/^TEST_CASE/ { inside = 1; text = ""; throws = 0 }
        { line = $0; if (line ~ /(^|[^a-z_."])throw [^;]*;/) { throws = 1; gsub(/throw [^;]*;/, "std::abort();", line) } }
        !inside { print line; next }
        { text = text line "\n" }
        /^}/ { if (throws) sub(/"/, "\"throws: ", text); printf "%s", text; inside = 0 }' "$1"
}
no_exceptions() {
    local copy=$cross/noexcept file
    mkdir -p "$copy"
    cp -rpu Makefile uds_http.hpp examples tests "$copy"
    for file in tests/*_test.cpp; do
        without_throw "$file" >"$folder/copy"
        cmp -s "$folder/copy" "$copy/$file" || cp "$folder/copy" "$copy/$file"
    done
    mkdir -p "$copy/build" && touch "$copy/build/doctest"
    (cd "$copy" && EXCLUDE='throws: *' make --no-print-directory -j2 BUILD=build/suite OPTIMIZE=-O0 WERROR= test \
        CXXFLAGS='-fno-exceptions -fno-rtti -include cstdlib -DDOCTEST_CONFIG_NO_EXCEPTIONS_BUT_WITH_ALL_ASSERTS') \
        >"$folder/noexcept.log" 2>&1
    echo "-fno-exceptions: left out, as they throw: $(sed -n 's/^TEST_CASE("throws: \([^"]*\)".*/\1/p' "$copy"/tests/*_test.cpp | paste -sd';' | sed 's/;/; /g')"
    count '-fno-exceptions -fno-rtti, the suite' "$folder/noexcept.log"
}

# musl with Debian's musl-tools, which know C alone: libstdc++ of the glibc system, its headers told
# what they ask glibc for, its archive given the three functions that it misses, all static. Its locales
# read glibc's tables, so no program may use a stream: in tests/plain is a doctest.h that doesn't.
musl_compiler() { # $musl/g++, as musl-gcc is one for C
    local gcc version lib=/usr/lib/x86_64-linux-musl flags before after bit=0 class
    gcc=$(dirname "$(g++ -print-libgcc-file-name)")
    version=$(basename "$gcc")
    mkdir -p "$musl/kernel"
    ln -sfn /usr/include/linux "$musl/kernel/linux"
    ln -sfn /usr/include/asm-generic "$musl/kernel/asm-generic"
    ln -sfn /usr/include/x86_64-linux-gnu/asm "$musl/kernel/asm"
    flags=(-nostdinc -isystem "/usr/include/c++/$version" -isystem "/usr/include/x86_64-linux-gnu/c++/$version"
        -isystem /usr/include/x86_64-linux-musl -isystem "$gcc/include" -isystem "$musl/kernel"
        -D__locale_t=locale_t '-D__GLIBC_PREREQ(a,b)=0' -include "$musl/config.hpp")
    printf '%s\n' '#include <bits/c++config.h>' '#undef _GLIBCXX_USE_PTHREAD_COND_CLOCKWAIT' \
        '#undef _GLIBCXX_USE_PTHREAD_MUTEX_CLOCKLOCK' >"$musl/config.hpp" # not in musl 1.2.3
    for class in upper lower alpha digit xdigit space print graph blank cntrl punct alnum; do
        flags+=("-D_IS$class=$((bit < 8 ? 256 << bit : 1 << (bit - 8)))") # glibc's <ctype.h>, little endian
        bit=$((bit + 1))
    done
    before=(-static -nostdlib "$lib/crt1.o" "$lib/crti.o" "$gcc/crtbeginT.o")
    after=("$musl/missing.o" "-L$lib" "-L$gcc" -Xlinker --start-group -lstdc++ -lgcc -lgcc_eh -lc -Xlinker --end-group
        "$gcc/crtend.o" "$lib/crtn.o")
    # shellcheck disable=SC2016 # the words of the compiler, not of this script
    printf '#!/bin/sh\ncase " $* " in\n*" -c "*) exec g++ %s "$@" ;;\n*) exec g++ %s "$@" %s ;;\nesac\n' \
        "${flags[*]@Q}" "${flags[*]@Q} ${before[*]@Q}" "${after[*]@Q}" >"$musl/g++"
    chmod +x "$musl/g++"
    musl-gcc -O1 -c -o "$musl/missing.o" -x c - <<'SHIM'
#include <stdint.h>
#include <sys/random.h>
char __libc_single_threaded = 0;
int _dl_find_object(void *at, void *result) { return -1; } /* libgcc then asks dl_iterate_phdr(3) */
uint32_t arc4random(void) { uint32_t made = 0; getrandom(&made, sizeof made, 0); return made; }
SHIM
}
musl() {
    local musl=$here/$cross/musl left_out='fd: up to 253*,fd: fact: 254*,fd: what an adopted*,descriptors: as many as fit leave*'
    musl_compiler || return
    programs musl CXX="$musl/g++" && exchange 'musl, static' "$musl/examples"
    echo "musl: left out, as its sendmsg(3) takes no more than 252 descriptors: $left_out"
    EXCLUDE=$left_out PROCESSES=1 suite musl 'musl, static' CXX="$musl/g++" CXXFLAGS='-I tests/plain' WERROR=
}

# Two versions of libc++ can't be installed at once: the newer one is only unpacked.
libcxx19() { # its folder in $unpacked
    unpacked=$here/$cross/libc++-19
    [ -d "$unpacked/usr" ] && return
    mkdir -p "$unpacked"
    (cd "$unpacked" && apt-get -qq download libc++-19-dev libc++1-19 libc++abi-19-dev libc++abi1-19 libunwind-19 &&
        for deb in *.deb; do dpkg -x "$deb" .; done) >/dev/null 2>&1
}
clang19() {
    local flags
    if ! tests/need.sh clang-19:clang++-19; then
        missing 'clang++ 19'
        return
    fi
    suite clang19 'clang++ 19, C++20, libstdc++' CXX=clang++-19 CXXSTD=c++20
    build_only clang++-19 c++17
    if ! libcxx19; then
        missing 'libc++ 19'
        return
    fi
    flags="-L$unpacked/usr/lib/llvm-19/lib -Wl,-rpath,$unpacked/usr/lib/llvm-19/lib:$unpacked/usr/lib/x86_64-linux-gnu"
    suite clang19-libc++ 'clang++ 19, C++23, libc++ 19' CXX=clang++-19 CXXSTD=c++2b \
        CXXFLAGS="-nostdinc++ -isystem $unpacked/usr/lib/llvm-19/include/c++/v1 -stdlib=libc++ -Wno-unused-command-line-argument" \
        LDFLAGS="$flags"
}
not_linux() {
    same 'where the system is not Linux: a clear #error' 1 \
        "$(g++ -std=c++17 -U__linux__ -I. -fsyntax-only -x c++ uds_http.hpp 2>&1 | grep -c 'error: #error "uds_http needs Linux')"
    same 'where the standard is older: the same, first' 1 \
        "$(g++ -std=c++14 -I. -fsyntax-only -x c++ uds_http.hpp 2>&1 | head -n 1 | grep -c 'error: #error .* -std=c++17')"
}

# The matrix. -------------------------------------------------------------------------------------
rows='syntax clang lto os libc++ clang19 noexcept m32 aarch64 s390x musl'
only=("$@")
for name; do [[ " $rows " == *" $name "* ]] || { echo "no configuration $name; there are: $rows" >&2; exit 1; }; done
want() { [ ${#only[@]} -eq 0 ] || [[ " ${only[*]} " == *" $1 "* ]]; }
quick() {
    # shellcheck disable=SC2046 # words
    tests/need.sh clang:clang++ curl:curl "$need_m32" qemu-user:qemu-i386 $(need_qemu aarch64) $(need_qemu s390x) \
        python3:/usr/bin/python3 || exit 1
    syntax g++ c++20
    syntax clang++ c++17
    not_linux
    quick_m32
    warnings_m32
    quick_other aarch64
    quick_other s390x
}
all() {
    # shellcheck disable=SC2046 # words
    tests/need.sh clang:clang++ libc++-dev:/usr/lib/llvm-14/include/c++ libc++abi-dev:/usr/lib/llvm-14/lib/libc++abi.so curl:curl python3:/usr/bin/python3 \
        musl-tools:musl-gcc "$need_m32" qemu-user:qemu-i386 $(need_qemu aarch64) $(need_qemu s390x) || exit 1
    want syntax && { syntax g++ c++20; syntax clang++ c++17; not_linux; build_only g++ c++20; build_only clang++ c++17; }
    want clang && suite clang 'clang++ 14, C++20' CXX=clang++ CXXSTD=c++20
    want lto && suite lto 'g++, C++20, -O2 -flto' CXXSTD=c++20 OPTIMIZE=-O2 CXXFLAGS=-flto=auto
    want os && suite os 'g++, C++23, -Os -funsigned-char' CXXSTD=c++2b OPTIMIZE=-Os CXXFLAGS=-funsigned-char
    want libc++ && suite libc++ 'clang++ 14, C++17, libc++ 14' CXX=clang++ CXXFLAGS=-stdlib=libc++
    want clang19 && clang19
    want noexcept && no_exceptions
    want m32 && { suite_m32; quick_m32; warnings_m32; }
    want aarch64 && other aarch64
    want s390x && other s390x
    want musl && musl
}
if [ -n "${QUICK:-}" ]; then quick; else all; fi
for tool in g++ clang++ clang++-19 qemu-s390x; do # the rows name versions: what they really were
    command -v "$tool" >/dev/null && "$tool" --version | head -n 1
done
verdict
