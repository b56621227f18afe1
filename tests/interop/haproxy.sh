#!/usr/bin/env bash
# HAProxy in front of ours, by examples/haproxy.cfg: unix@, then abns@.
. "$(dirname "$0")/lib.sh"
needs haproxy:/usr/sbin/haproxy curl:curl python3:/usr/bin/python3

port=$(free_port)
front_socket=$folder/front.sock
front() { # SOCKET: the example as it is but for paths and port
    front_at "unix@$1"
}
front_at() {
    sed -e "s,unix@/tmp/hello.sock,$1," -e "s,bind :8080,bind 127.0.0.1:$port\n    bind unix@$front_socket," \
        examples/haproxy.cfg >"$folder/front.cfg"
    restart haproxy /usr/sbin/haproxy -q -f "$folder/front.cfg"
    ready haproxy port_accepts "$port"
}
program HAProxy "$(/usr/sbin/haproxy -v | awk '{ sub(/-.*/, "", $3); print $3; exit }')" front
drive_front
drive_refusal
drive_descriptors
# HAProxy 2.6 fills an abstract name with NULs up to the end of sun_path, 107 bytes; unix(7): they count.
name=uds_http.haproxy.$$
nuls=$(printf '%%00%.0s' $(seq $((107 - ${#name}))))
start abstract "$examples/hello" "http+unix://%00$name$nuls"
ready abstract grep -q '^listening on' "$folder/abstract.log"
front_at "abns@$name"
check 'abns@ with its NULs' 'Hello world' "$(through "http://127.0.0.1:$port/world")"
check 'abns@ with its NULs' 'some bytes' "$(through -d 'some bytes' "http://127.0.0.1:$port/echo")"
finish
