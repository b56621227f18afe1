#!/usr/bin/env bash
# Podman's API service, asked by fetch and by examples/docker_ps.
. "$(dirname "$0")/lib.sh"
needs podman:podman python3:/usr/bin/python3

field() { /usr/bin/python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }
socket=$folder/podman.sock
# Everything of it in our folder: the machine's containers are none of our business.
start podman podman --root "$folder/root" --runroot "$folder/run" --storage-driver vfs --cgroup-manager cgroupfs \
    system service --time=0 "unix://$socket"
if ! until_true 20 accepts "$socket"; then
    absent Podman server "its service doesn't start here: $(tail -n 1 "$folder/podman.log")"
    verdict
    exit
fi
program Podman "$(podman --version | awk '{ print $3 }')" server
check 'GET /_ping' OK "$(get /_ping)"
check HEAD 200 "$(head_of /_ping -X HEAD | cut -d' ' -f1)"
check -i 'HTTP/1.1 200 OK' "$("$fetch" -i "$(url "$socket" /_ping)" | tr -d '\r' | sed -n 1p)"
check 'JSON of /version' "$version" "$(get /version | field Version)"
check 'JSON of /info' vfs "$(get /v4.0.0/libpod/info | field store | sed "s/.*'graphDriverName': '\([a-z]*\)'.*/\1/")"
check '100 GETs on one connection' '100 ok, 0 failed' "$("$fetch" --repeat 100 "$(url "$socket" /_ping)" | cut -d, -f1,2)"
check 'an empty list' '[]' "$(get /v1.40/containers/json?all=true | tr -d '\n')"
check 'POST of JSON' 'interop' "$("$fetch" -H 'Content-Type: application/json' -d '{"Name": "interop"}' "$(url "$socket" /v1.40/volumes/create)" | field Name)"
check DELETE '204 404' "$(head_of /v1.40/volumes/interop -X DELETE | cut -d' ' -f1) $(head_of /v1.40/volumes/interop -X DELETE | cut -d' ' -f1)"
check 'POST of no JSON' 500 "$(head_of /v1.40/volumes/create -d '{' | cut -d' ' -f1)"
check 404 404 "$(head_of /v1.40/containers/none/json | cut -d' ' -f1)"
check 'docker_ps' '' "$("$examples/docker_ps" "$socket" | tail -n +2)"
finish
