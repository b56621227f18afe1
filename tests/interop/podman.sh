#!/usr/bin/env bash
# docker's own command-line client, podman's service, and examples/proxy between the two. Each command
# is given to podman first and then to the proxy: exit status and output have to be the same. What
# podman itself does not manage on this machine is printed as `not here: ...`, and not counted.
# Last line `N passed, N failed`.
set -u
cd "$(dirname "$0")/../.." || exit 1
tests/need.sh python3:/usr/bin/python3 || exit 1
. tests/lib.sh
absent() { echo "not here: podman: $1"; verdict; exit; }
[ "$(id -u)" = 0 ] || absent 'its service has to run as root here'
client=docker.io
apt-cache show docker-cli >/dev/null 2>&1 && client=docker-cli # where Debian has them apart
tests/need.sh podman:podman crun:crun "$client:docker" busybox-static:busybox curl:curl 2>"$folder/need" ||
    absent "$(tail -n 1 "$folder/need")"
proxy=${BUILD:-build}/examples/proxy
[ -x "$proxy" ] || make -s "$proxy" || exit 1

# Podman's service, with a storage and a control group of its own. -----------------------------------
podman=(podman --log-level info --root "$folder/root" --runroot "$folder/run" --storage-driver vfs
    --events-backend file --cgroup-manager cgroupfs system service --time=0)
group=/uds_http_$$
cat >"$folder/containers.conf" <<'CONF'
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"] # its own defaults want CAP_SYS_RESOURCE
netns = "none"
CONF
export CONTAINERS_CONF=$folder/containers.conf DOCKER_CONFIG=$folder/docker LC_ALL=C

forget() { # conmon stays for minutes after an exec; then groups are empty, and mounts may be left
    local line
    for line in $(cat /dev/null $(find /sys/fs/cgroup -path "*$group*" -name cgroup.procs 2>/dev/null) 2>/dev/null | sort -u); do
        kill -9 "$line" 2>/dev/null
    done
    while read -r _ line _; do
        case $line in "$folder"/*) umount -l "$line" 2>/dev/null ;; esac
    done <<<"$(sort -r /proc/mounts)"
    until_true 5 no_groups
}
no_groups() {
    find /sys/fs/cgroup -depth -type d -path "*$group*" -exec rmdir {} + 2>/dev/null
    [ -z "$(find /sys/fs/cgroup -type d -path "*$group*" 2>/dev/null)" ]
}
remove_all() { DOCKER_HOST=unix://$folder/podman.sock timeout 60 docker rm -f a b c >/dev/null 2>&1; }
end_all() {
    remove_all
    cleanup
    forget
    rm -rf "$folder"
}
trap end_all EXIT

image() { # a docker-archive of one layer: a static busybox and the names that it answers to
    local name diff
    mkdir -p "$folder/layer/bin" "$folder/image"
    cp "$(command -v busybox)" "$folder/layer/bin/busybox"
    for name in sh cat echo sleep touch true; do ln -s busybox "$folder/layer/bin/$name"; done
    tar -C "$folder/layer" --owner=0 --group=0 -cf "$folder/image/layer.tar" .
    diff=$(sha256sum <"$folder/image/layer.tar" | cut -c 1-64)
    printf '{"architecture":"%s","os":"linux","config":{"Cmd":["sh"],"Env":["PATH=/bin"]},
        "rootfs":{"type":"layers","diff_ids":["sha256:%s"]},"history":[{"created_by":"tests"}]}' \
        "$(dpkg --print-architecture)" "$diff" >"$folder/image/config.json"
    echo '[{"Config":"config.json","RepoTags":["localhost/tiny:1"],"Layers":["layer.tar"]}]' >"$folder/image/manifest.json"
    tar -C "$folder/image" -cf "$folder/tiny.tar" manifest.json config.json layer.tar
}

docker_() { timeout 60 docker "$@"; }
create() { docker_ create --network none --cgroup-parent "$group" "$@"; }

# crun refuses two hierarchies of control groups at once. A view without the second one is made in a
# mount namespace of the service's own, which nobody else sees.
serve_podman() { # as_it_is | one_hierarchy
    local view=()
    [ "$1" = as_it_is ] || view=(unshare --mount --propagation private sh -c 'umount /sys/fs/cgroup/unified && exec "$@"' sh)
    start "podman_$1" "${view[@]}" "${podman[@]}" "unix://$folder/podman.sock"
    service=$pid service_log=$folder/podman_$1.log
    until_true 30 accepts "$folder/podman.sock"
}
runs_containers() {
    docker_ load -q -i "$folder/tiny.tar" >/dev/null && create --name a localhost/tiny:1 true >/dev/null &&
        docker_ start a >/dev/null && docker_ wait a >/dev/null
    local status=$?
    docker_ rm -f a >/dev/null
    return "$status"
}

image
export DOCKER_HOST=unix://$folder/podman.sock
can_run=
for view in as_it_is one_hierarchy; do
    serve_podman "$view" || absent "$(tail -n 1 "$service_log")"
    runs_containers 2>"$folder/why" && can_run=$view && break
    why=$(head -n 1 "$folder/why")
    [ "$view" = as_it_is ] && mountpoint -q /sys/fs/cgroup/unified || break
    stop "$service"
    rm -f "$folder/podman.sock"
done
if [ -n "$can_run" ]; then echo "podman runs containers: $can_run"; else echo "not here: containers: $why"; fi

# What is asked. Each prints what it saw; `status N` are exit codes. ----------------------------------
status() { "$@"; echo "status $?"; }
ask_version() { docker_ version; }
ask_info() { docker_ info -f '{{.ServerVersion}} {{.Driver}} {{.Containers}} {{.Images}} {{.CgroupDriver}}'; }
ask_load() { docker_ load -i "$folder/tiny.tar"; }
ask_images() { docker_ images -a --no-trunc --format '{{.Repository}}:{{.Tag}} {{.ID}} {{.Size}}'; }
ask_inspect() { docker_ image inspect localhost/tiny:1; }
ask_save() { docker_ save localhost/tiny:1 | tar -xO manifest.json; }
ask_ps() {
    create --name a localhost/tiny:1 sleep 1000
    docker_ ps -a --format '{{.Names}} {{.Image}} {{.Command}} {{.State}}'
    docker_ rm a
}
ask_absent() { status docker_ inspect nobody; status docker_ rm nobody; status docker_ start nobody; }

has() { grep -q "$2" "$1" 2>/dev/null; } # FILE PATTERN

ask_start() {
    create --name a localhost/tiny:1 sh -c 'echo out; echo err >&2; exit 7'
    status docker_ start a
    status docker_ wait a
    status docker_ logs a
    docker_ inspect -f '{{.State.Status}} {{.State.ExitCode}}' a
    status docker_ rm a
}

ask_events() { # they come while things happen, not when all is over
    local reader seen=$folder/events
    rm -f "$seen" # podman's own answer was there
    timeout 60 docker events --format '{{.Action}}' >"$seen" 2>&1 &
    reader=$!
    # Podman answers with the first event only; until one is seen, nobody listens for sure.
    until has "$seen" create || gone "$reader"; do
        create --name b localhost/tiny:1 true >/dev/null && docker_ rm b >/dev/null
        until_true 1 has "$seen" create
    done
    create --name a localhost/tiny:1 sh -c 'until [ -e /go ]; do sleep 0.1; done' >/dev/null
    docker_ start a >/dev/null
    until_true 20 has "$seen" start && echo 'start is seen while it runs'
    docker_ exec a touch /go
    until_true 20 has "$seen" died && echo 'its end is seen'
    docker_ rm a >/dev/null
    until_true 20 sh -c "sed '1,/died/d' '$seen' | grep -q remove" && echo 'its removal is seen'
    kill "$reader"
    wait "$reader" 2>/dev/null
}

ask_logs() { # -f shows a line while the container runs, and ends with it
    local reader seen=$folder/logs
    rm -f "$seen"
    create --name a localhost/tiny:1 sh -c 'echo one; until [ -e /go ]; do sleep 0.1; done; echo two; echo three >&2'
    docker_ start a
    timeout 60 docker logs -f a >"$seen" 2>&1 &
    reader=$!
    until_true 20 has "$seen" one && echo "while it runs: $(cat "$seen")"
    docker_ exec a touch /go
    wait "$reader"
    echo "status $?"
    sort "$seen" # two streams have no order between them
    docker_ rm a
}

ask_attach() { # both directions, the end of input, the exit status
    local to from
    create -i --name a localhost/tiny:1 sh -c 'while read x; do echo "got $x"; done; echo over; exit 4'
    coproc PEER { timeout 60 docker start -ai a 2>&1; echo "status $?"; }
    from=${PEER[0]} to=${PEER[1]}
    for word in one two; do
        echo "$word" >&"$to"
        read -r -t 30 -u "$from" line && echo "$line"
    done
    exec {to}>&-
    cat <&"$from"
    docker_ inspect -f '{{.State.ExitCode}}' a
    docker_ rm a
}
ask_attach_later() {
    create -i --name a localhost/tiny:1 sh -c 'read x; echo "got $x"; exit 4'
    docker_ start a
    echo word | status docker_ attach a
    docker_ rm a
}

with_sleeper() { # COMMAND...: while a container `a` runs
    create --name a localhost/tiny:1 sleep 1000 >/dev/null
    docker_ start a >/dev/null
    "$@"
    docker_ rm -f a
}
exec_output() { status docker_ exec a sh -c 'echo out; exit 5' && status docker_ exec a sh -c 'echo err >&2'; }
ask_exec() { with_sleeper exec_output; }
exec_input() { printf 'a\nb' | status docker_ exec -i a sh -c 'cat; echo " and the end"; exit 6'; }
ask_exec_stdin() { with_sleeper exec_input; }
exec_large() { docker_ exec -i a cat <"$folder/tiny.tar" | cksum; }
ask_exec_large() { with_sleeper exec_large; }
exec_talk() {
    local to from
    coproc PEER { timeout 60 docker exec -i a sh -c 'while read x; do echo "got $x"; done; exit 8' 2>&1; echo "status $?"; }
    from=${PEER[0]} to=${PEER[1]}
    for word in one two three; do
        echo "$word" >&"$to"
        read -r -t 30 -u "$from" line && echo "$line"
    done
    exec {to}>&-
    cat <&"$from"
}
ask_exec_talk() { with_sleeper exec_talk; }
exec_top() { docker_ top a | tail -n +2 | awk '{ print $NF }'; }
ask_top() { with_sleeper exec_top; }
exec_copy() { echo content >"$folder/copied" && docker_ cp "$folder/copied" a:/there && docker_ cp a:/there - | tar -xO; }
ask_cp() { with_sleeper exec_copy; }
stop_it() { status docker_ stop -t 0 a; docker_ inspect -f '{{.State.Status}} {{.State.ExitCode}}' a; }
ask_stop() { with_sleeper stop_it; }
ask_run() {
    echo word | status docker_ run -i --network none --cgroup-parent "$group" --name a localhost/tiny:1 \
        sh -c 'read x; echo "got $x"; exit 9'
    docker_ rm a
}

# What each says where it works: standard error, then standard output, ids as ID; a pattern of bash. ---
declare -A says=(
    [version]='Client:*Server:*Engine:*'
    [info]='* vfs 0 * cgroupfs'
    [load]='Loaded image: localhost/tiny:1'
    [images]='localhost/tiny:1 sha256:ID *'
    [inspect]='\[*localhost/tiny:1*'
    [save]='*localhost/tiny:1*'
    [ps]='ID|a localhost/tiny:1 "sleep 1000" [Cc]reated|a'
    [absent]='*nobody*|*status 1|status 1|status 1'
    [start]='err|ID|a|status 0|7|status 0|out|status 0|exited 7|a|status 0'
    [events]='start is seen while it runs|its end is seen|its removal is seen'
    [logs]='ID|a|while it runs: one|status 0|one|three|two|a'
    [attach]='ID|got one|got two|over|status 4|4|a'
    [attach_later]='ID|a|got word|status 4|a'
    [exec]='err|out|status 5|status 0|a'
    [exec_stdin]='a|b and the end|status 6|a'
    [exec_large]="$(cksum <"$folder/tiny.tar")|a"
    [exec_talk]='got one|got two|got three|status 8|a'
    [top]='1000|a'
    [cp]='*content|a'
    [stop]='a|status 0|exited *|a'
    [run]='got word|status 9|a'
)
images='version info load images inspect save ps absent'
containers='start events logs attach attach_later exec exec_stdin exec_large exec_talk top cp stop run'
# Not compared: where the client found the service, and what changes from call to call.
plain() { sed -E "s/[0-9a-f]{64}/ID/g; s#unix://[^ ]*#SOCKET#g" | paste -sd'|'; }
ask() { # SOCKET NAME
    DOCKER_HOST=unix://$1
    "ask_$2" >"$folder/out" 2>"$folder/err" </dev/null
    cat "$folder/err" "$folder/out" | plain
    docker_ rm -f a b >/dev/null 2>&1
}
compare() { # NAME...: podman alone, then through the proxy
    local name direct
    for name; do
        direct=$(ask "$folder/podman.sock" "$name")
        # shellcheck disable=SC2053
        if [[ $direct == ${says[$name]} ]]; then
            same "docker $name, through the proxy" "$direct" "$(ask "$folder/proxy.sock" "$name")"
        else
            echo "not here: docker $name: podman alone says: ${direct:0:300}"
        fi
    done
}

start proxy "$proxy" "$folder/proxy.sock" "$folder/podman.sock"
open_proxy=$pid
until_true 20 accepts "$folder/proxy.sock" || { cat "$folder/proxy.log"; exit 1; }
compare $images
[ -z "$can_run" ] || compare $containers

# Policies. -------------------------------------------------------------------------------------------
start policy "$proxy" "$folder/policy.sock" "$folder/podman.sock" --allow 'GET /_ping' --allow 'GET /v*/version' \
    --allow 'GET /v*/containers/json' --allow 'POST /v*/containers/*/wait'
policy=$pid
until_true 20 accepts "$folder/policy.sock" || { cat "$folder/policy.log"; exit 1; }
compare_allowed() {
    same 'policy: version' "$(ask "$folder/podman.sock" version)" "$(ask "$folder/policy.sock" version)"
    DOCKER_HOST=unix://$folder/podman.sock create --name c localhost/tiny:1 true >/dev/null
    same 'policy: ps' 'c' "$(DOCKER_HOST=unix://$folder/policy.sock docker_ ps -a --format '{{.Names}}')"
}
deletes() { grep -c 'DELETE' "$service_log"; } # in podman's own log, which may come after its answer
more_deletes() { [ "$(deletes)" -gt "$before" ]; }
compare_allowed
before=$(deletes)
DOCKER_HOST=unix://$folder/policy.sock
same 'policy: what is not allowed fails' 'status 1' "$(status docker_ rm c 2>"$folder/why")"
same 'policy: and says why' 1 "$(grep -c 'proxy: not allowed: DELETE /v.*/containers/c' "$folder/why")"
same 'policy: 403' 403 "$(curl -sS -o /dev/null -w '%{http_code}' -X DELETE --unix-socket "$folder/policy.sock" http://localhost/v1.41/containers/c)"
same 'policy: it reaches nobody' "$before" "$(deletes)"
DOCKER_HOST=unix://$folder/podman.sock
same 'policy: the container is still there' c "$(docker_ ps -a --format '{{.Names}}')"
same 'without the policy it is removed' 'c' "$(DOCKER_HOST=unix://$folder/proxy.sock docker_ rm c)"
same 'and that is in the log' yes "$(until_true 20 more_deletes && echo yes || cat "$service_log")"

stop "$policy"
same 'the proxy with a policy ends' 0 $?
stop "$open_proxy"
same 'the proxy ends' 0 $?
remove_all
verdict
