#!/usr/bin/env bash
# uvicorn --uds.
. "$(dirname "$0")/lib.sh"
needs python3-uvicorn:python:uvicorn

program uvicorn "$(version_of_python uvicorn)" server
socket=$folder/uvicorn.sock
start uvicorn /usr/bin/python3 -m uvicorn --app-dir $peers --uds "$socket" --log-level warning asgi:app
ready uvicorn accepts "$socket"
drive_greeter
finish
