#!/usr/bin/env bash
# Varnish in front of ours: .path of a backend; it passes everything on, and caches nothing.
. "$(dirname "$0")/lib.sh"
needs varnish:/usr/sbin/varnishd curl:curl python3:/usr/bin/python3

port=$(free_port)
front_socket=$folder/front.sock
front() { # SOCKET
    cat >"$folder/front.vcl" <<CONF
vcl 4.1;
backend default { .path = "$1"; }
sub vcl_recv { return (pass); }
CONF
    rm -f "$front_socket"
    restart varnish /usr/sbin/varnishd -F -j none -n "$folder/varnish" -f "$folder/front.vcl" -s malloc,64m \
        -a "127.0.0.1:$port" -a "$front_socket" -p http_resp_hdr_len=8k
    ready varnish port_accepts "$port"
}
program Varnish "$(/usr/sbin/varnishd -V 2>&1 | sed -n 's/.*varnish-\([0-9.]*\).*/\1/p;q')" front
drive_front
drive_refusal
drive_descriptors
finish
