#!/usr/bin/env bash
# requests over requests-unixsocket asks hello.
. "$(dirname "$0")/lib.sh"
needs python3-requests-unixsocket:python:requests_unixsocket curl:curl

program 'Python requests-unixsocket' "$(version_of_python requests-unixsocket)" client
serve hello
checks_of /usr/bin/python3 $peers/requests_client.py "$socket"
finish
