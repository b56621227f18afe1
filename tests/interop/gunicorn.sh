#!/usr/bin/env bash
# gunicorn, on a path of its own, and on a socket that systemd-socket-activate passes to it.
. "$(dirname "$0")/lib.sh"
needs gunicorn:gunicorn systemd:/usr/bin/systemd-socket-activate

flags=(--chdir $peers --worker-class gthread --threads 2 wsgi:app)
program gunicorn "$(version_of_python gunicorn)" server
socket=$folder/gunicorn.sock
start gunicorn gunicorn --bind "unix:$socket" "${flags[@]}"
ready gunicorn accepts "$socket"
drive_greeter

program 'systemd-socket-activate' "$(systemd-socket-activate --version | awk '{ print $2; exit }')" server
socket=$folder/activated.sock
start activated systemd-socket-activate --listen="$socket" gunicorn "${flags[@]}"
ready activated test -S "$socket"
drive_greeter # the first of them starts it
finish
