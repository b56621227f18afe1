#!/usr/bin/env bash
# Programs that only have to compile and link; each prints `what: ok` or `what: FAILED`.
set -u
cd "$(dirname "$0")/.." || exit 1
folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT
warnings='-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror'

check() { # WHAT FLAGS FILE...
    local what=$1 flags=$2
    shift 2
    # shellcheck disable=SC2086 # the flags are words
    if "${CXX:-g++}" -std="${CXXSTD:-c++17}" $warnings -I. $flags -pthread -o "$folder/out" "$@"; then
        echo "build: $what: ok"
    else
        echo "build: $what: FAILED"
    fi
}

cat > "$folder/one.cpp" <<'END'
#include "uds_http.hpp"
#include "uds_http.hpp"
int other(uds_http::server& app);
int main() {
    uds_http::server app;
    app.get("/", [](const uds_http::request&) { return uds_http::text("one"); });
    app.stop();
    return other(app);
}
END
cat > "$folder/two.cpp" <<'END'
#include "uds_http.hpp"
int other(uds_http::server& app);
int other(uds_http::server& app) {
    app.post("/", [](uds_http::request&, uds_http::responder out) { out.send(uds_http::text("two")); });
    uds_http::client api("@none");
    return app.stopping() && !api.get("/") ? 0 : 1;
}
END
cat > "$folder/polluted.cpp" <<'END'
// What <windows.h>, <X.h>, Qt and others leave behind.
#define min(a, b) ((a) < (b) ? (a) : (b))
#define max(a, b) ((a) > (b) ? (a) : (b))
#define DELETE 0x00010000L
#define ERROR 0
#define IN
#define OUT
#define OPTIONAL
#define CONST const
#define TRUE 1
#define FALSE 0
#define BOOL int
#define None 0L
#define Success 0
#define Status int
#define Bool int
#define Always 2
#define interface struct
#define near
#define far
#define small char
#define signals public
#define slots
#define emit
#define foreach(item, list) for (item : list)
#define forever for (;;)
#define GetMessage GetMessageA
#define SendMessage SendMessageA
#include "uds_http.hpp"
int main() {}
END

check 'two files that include the header link' '' "$folder/one.cpp" "$folder/two.cpp"
check 'the same without exceptions and RTTI' '-fno-exceptions -fno-rtti' "$folder/one.cpp" "$folder/two.cpp"
check 'the same with NDEBUG and -Os' '-DNDEBUG -Os' "$folder/one.cpp" "$folder/two.cpp"
check 'after the macros of other headers' '' "$folder/polluted.cpp"
strict='-Wno-unknown-warning-option -Wuseless-cast -Wsign-conversion -Wold-style-cast -Wnull-dereference
    -Wzero-as-null-pointer-constant' # clang++ doesn't know the first
check 'with the warnings of strict projects' "-O2 $strict -c" "$folder/two.cpp"
check 'with -funsigned-char' '-funsigned-char -fsyntax-only' "$folder/one.cpp"
