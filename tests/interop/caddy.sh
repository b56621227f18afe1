#!/usr/bin/env bash
# Caddy's reverse_proxy in front of ours, and its own files and echo for fetch, on Unix sockets.
. "$(dirname "$0")/lib.sh"
needs caddy:caddy curl:curl python3:/usr/bin/python3

export XDG_DATA_HOME=$folder/caddy XDG_CONFIG_HOME=$folder/caddy # not in the home of who tests
port=$(free_port)
front_socket=$folder/front.sock
front() { # SOCKET
    cat >"$folder/Caddyfile" <<CONF
{
	admin off
}
http://:$port {
	bind 127.0.0.1 unix/$front_socket
	reverse_proxy unix/$1
}
CONF
    restart caddy caddy run --config "$folder/Caddyfile" --adapter caddyfile
    ready caddy port_accepts "$port"
}
program Caddy "$(caddy version | tr -d v | cut -d' ' -f1)" front
drive_front
drive_refusal
drive_descriptors
finish
