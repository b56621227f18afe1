#!/usr/bin/env bash
# Go's net/http, both ways.
. "$(dirname "$0")/lib.sh"
needs golang-go:go
go_program client
go_program server

program 'Go net/http' "$(version_of_go)" client
serve hello
checks_of "$kept/go_client" "$socket"

program 'Go net/http' "$(version_of_go)" server
socket=$folder/go.sock
start go "$kept/go_server" "$socket"
ready go accepts "$socket"
drive_greeter
finish
