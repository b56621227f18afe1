# Sourced by the scripts that start programs. They wait for conditions with a deadline, end only what
# they started, and leave nothing behind.

folder=$(mktemp -d) || exit 1
started=()
passed=0 failed=0

cleanup() {
    local pid
    for pid in "${started[@]}"; do kill "$pid" 2>/dev/null; done
    for pid in "${started[@]}"; do
        until_true 5 gone "$pid" || kill -9 "$pid" 2>/dev/null
        wait "$pid" 2>/dev/null
    done
    rm -rf "$folder"
}
trap cleanup EXIT
trap 'exit 1' INT TERM HUP

gone() { ! kill -0 "$1" 2>/dev/null || grep -q '^State:.Z' "/proc/$1/status" 2>/dev/null; }

until_true() { # SECONDS COMMAND...: runs it until it succeeds
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.05
    done
}

accepts() { # SOCKET
    [ -S "$1" ] && /usr/bin/python3 -c '
import socket, sys
socket.socket(socket.AF_UNIX).connect(sys.argv[1])' "$1" 2>/dev/null
}

start() { # NAME COMMAND...: in the background; $pid, output in $folder/NAME.log
    local name=$1
    shift
    "$@" >"$folder/$name.log" 2>&1 &
    pid=$!
    started+=("$pid")
}

stop() { # PID: by SIGTERM; its exit status
    kill "$1" 2>/dev/null
    until_true 15 gone "$1" || return 99
    wait "$1"
}

url() { # SOCKET TARGET: the http+unix:// URL
    local path=$1
    path=${path//%/%25}
    printf 'http+unix://%s%s' "${path//\//%2F}" "$2"
}

same() { # WHAT EXPECTED ACTUAL
    if [ "$2" = "$3" ]; then
        passed=$((passed + 1))
        [ -z "${VERBOSE:-}" ] || echo "$1: ok"
    else
        failed=$((failed + 1))
        printf '%s: FAILED\n  expected: %q\n  got:      %q\n' "$1" "$2" "$3"
    fi
}

verdict() {
    echo "$passed passed, $failed failed"
    [ "$failed" -eq 0 ]
}
