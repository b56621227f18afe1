#!/usr/bin/env bash
# undici (npm), which is below Node's fetch, asks hello.
. "$(dirname "$0")/lib.sh"
needs nodejs:node npm:npm
npm_module undici@6.29.1 || exit 1

program undici "$(version_of_node "$module")" client
serve hello
checks_of node $peers/undici_client.js "$module" "$socket"
finish
