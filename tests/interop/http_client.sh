#!/usr/bin/env bash
# Python's http.client, with a connection over AF_UNIX, asks hello.
. "$(dirname "$0")/lib.sh"
needs python3:/usr/bin/python3

program 'Python http.client' "$(/usr/bin/python3 -c 'import platform; print(platform.python_version())')" client
serve hello
checks_of /usr/bin/python3 $peers/http_client.py "$socket"
finish
