#!/usr/bin/env bash
# A page of events in headless Chromium, through nginx.
. "$(dirname "$0")/lib.sh"
needs chromium:chromium nginx-light:/usr/sbin/nginx python3:/usr/bin/python3

program Chromium "$(chromium --version 2>/dev/null | awk '{ print $2 }')" client
serve files "$PWD/$peers/page"
serve events
serve hello
port=$(free_port)
as_root=() # its workers would be another user, who may not connect to ours
[ "$(id -u)" -ne 0 ] || as_root=(-g 'user root;')
sed -e "s,FOLDER,$folder,g" -e "s,PORT,$port," $peers/chromium.conf >"$folder/nginx.conf"
start nginx /usr/sbin/nginx -p "$folder" -c "$folder/nginx.conf" -e stderr "${as_root[@]}"
nginx=$pid
ready nginx port_accepts "$port"
checks_of /usr/bin/python3 $peers/chromium_client.py "http://127.0.0.1:$port/" "$nginx" "$kept/events.png"
check 'a screenshot' image/png "$(/usr/bin/python3 -c 'import sys
head = open(sys.argv[1], "rb").read(24)
print("image/png" if head[:8] == b"\x89PNG\r\n\x1a\n" and int.from_bytes(head[16:20], "big") == 800 else head)' "$kept/events.png")"
finish
