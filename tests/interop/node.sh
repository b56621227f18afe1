#!/usr/bin/env bash
# Node's http, both ways.
. "$(dirname "$0")/lib.sh"
needs nodejs:node

program 'Node http' "$(node --version)" client
serve hello
checks_of node $peers/client.js "$socket"

program 'Node http' "$(node --version)" server
socket=$folder/node.sock
start node node $peers/node_server.js "$socket"
ready node accepts "$socket"
drive_greeter
check 'an answer that comes while the body goes' "$(cksum <"$(random_file 50000)")" \
    "$("$fetch" -d "@$(random_file 50000)" "$(url "$socket" /mirror)" | cksum)"
finish
