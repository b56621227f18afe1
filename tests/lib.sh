# Sourced by the scripts that start programs. They wait for conditions with a deadline, end only what
# they started, and leave nothing behind.

folder=$(mktemp -d) || exit 1
started=()
declare -A program_of=() # of each pid
passed=0 failed=0

end_started() { # one of ours that crashes at its end has failed; how somebody else's ends is its own affair
    local pid status
    for pid in "${started[@]}"; do kill "$pid" 2>/dev/null; done
    for pid in "${started[@]}"; do
        until_true 5 gone "$pid" || kill -9 "$pid" 2>/dev/null
        wait "$pid"
        status=$?
        case ${program_of[$pid]:-}:$status in
        */examples/*:13[24569]) same "${program_of[$pid]} ends" 'without a crash' "status $status" ;;
        esac
    done 2>/dev/null # bash says "Killed" of what was, at times after the verdict
    started=()
}
cleanup() {
    end_started
    until_true 5 rm -rf "$folder" 2>/dev/null || rm -rf "$folder" # who was killed may have left children that write
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
    program_of[$pid]=$1
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

verdict() { # the last line: what is to end has ended before it
    end_started
    echo "$passed passed, $failed failed"
    [ "$failed" -eq 0 ]
}
