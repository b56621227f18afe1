#!/usr/bin/env bash
# examples/websocket, asked by the npm package ws on its socket, and through nginx (examples/nginx.conf)
# by ws, by Node's own WebSocket and by Chromium's, on a page. Last line `N passed, N failed`.
set -u
cd "$(dirname "$0")/../.." || exit 1
tests/need.sh python3:/usr/bin/python3 nodejs:node npm:npm nginx-light:/usr/sbin/nginx chromium:chromium || exit 1
. tests/lib.sh
build=${BUILD:-build}/examples
peers=$PWD/tests/interop
make -s "$build/websocket" "$build/proxy" || exit 1

modules=$PWD/build/interop/npm
ws=$modules/node_modules/ws
[ -d "$ws" ] || npm install --silent --no-fund --no-audit --prefix "$modules" ws@8.18.0 >"$folder/npm.log" 2>&1 ||
    { cat "$folder/npm.log"; echo 'the npm package ws is missing'; exit 1; }

start websocket "$build/websocket" "$folder/ws.sock"
websocket=$pid
start proxy "$build/proxy" "$folder/proxy.sock" "$folder/ws.sock" --allow 'GET /'
until_true 20 accepts "$folder/ws.sock" && until_true 20 accepts "$folder/proxy.sock" ||
    { cat "$folder/websocket.log" "$folder/proxy.log"; exit 1; }

# nginx as the example has it, but on a free port of loopback, with the page, and with a log of what the
# page says.
port=$(/usr/bin/python3 -c 'import socket
with socket.socket() as s: s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
sed -e "s,listen 8080,listen 127.0.0.1:$port," -e "s,/tmp/ws.sock,$folder/ws.sock," \
    -e 's,access_log off;,&\n    log_format said "$args";,' \
    -e "s,^ *location /ws {,location = /seen { access_log $folder/said said; return 204; }\n\
        location ~ ^/(websocket.html|websocket.js)\$ { root $peers; types { text/html html; text/javascript js; } }\n&," \
    examples/nginx.conf >"$folder/nginx.conf"
as_root=() # its workers would be another user, who may not connect to ours
[ "$(id -u)" -ne 0 ] || as_root=(-g 'user root;')
start nginx /usr/sbin/nginx -p "$folder" -c "$folder/nginx.conf" -e stderr "${as_root[@]}"
nginx=$pid
port_accepts() { /usr/bin/python3 -c 'import socket, sys
socket.create_connection(("127.0.0.1", int(sys.argv[1])), 1)' "$port" 2>/dev/null; }
until_true 20 port_accepts || { cat "$folder/nginx.log"; exit 1; }

node() { timeout 100 node "$@" 2>&1 | grep -v -e ExperimentalWarning -e trace-warnings; }
same 'ws on the socket' 'ok 17' "$(node "$peers/websocket.js" "ws+unix://$folder/ws.sock:/" "$ws")"
same 'ws on the proxy' 'ok 17' "$(node "$peers/websocket.js" "ws+unix://$folder/proxy.sock:/" "$ws")"
same 'ws through nginx' 'ok 17' "$(node "$peers/websocket.js" "ws://127.0.0.1:$port/ws" "$ws")"
own=()
for flag in '' --experimental-websocket; do # by default since Node 22, behind a flag in 20.10
    own=(${flag:+"$flag"})
    [ "$(command node "${own[@]}" -p 'typeof WebSocket' 2>/dev/null)" = function ] && break
    own=(none)
done
if [ "${own[0]:-}" = none ]; then
    echo "not here: Node's own WebSocket: $(command node --version) has none"
else
    same "Node's own WebSocket through nginx" 'ok 17' "$(node "${own[@]}" "$peers/websocket.js" "ws://127.0.0.1:$port/ws")"
fi

mkfifo "$folder/commands" # of the pipe that keeps it running; nothing is said
start chromium chromium --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking \
    --disable-component-update --disable-sync --disable-dev-shm-usage --user-data-dir="$folder/profile" \
    --host-resolver-rules='MAP * ~NOTFOUND, EXCLUDE 127.0.0.1' --remote-debugging-pipe 3<>"$folder/commands" 4>/dev/null \
    "http://127.0.0.1:$port/websocket.html"
until_true 90 test -s "$folder/said" || tail -n 5 "$folder/chromium.log"
same "Chromium's WebSocket through nginx" 'ok%2017' "$(cat "$folder/said" 2>/dev/null)"
stop "$pid" >/dev/null
stop "$nginx"
stop "$websocket"
same 'websocket ends' 0 $?
verdict
