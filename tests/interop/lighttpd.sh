#!/usr/bin/env bash
# lighttpd's files and CGI, on a Unix socket.
. "$(dirname "$0")/lib.sh"
needs lighttpd:/usr/sbin/lighttpd python3:/usr/bin/python3

socket=$folder/lighttpd.sock
mkdir "$folder/files"
cat >"$folder/lighttpd.conf" <<CONF
server.bind = "$socket"
server.document-root = "$folder/files"
server.upload-dirs = ( "$folder" )
server.stream-response-body = 1
mimetype.assign = ( "" => "text/plain" )
server.modules = ( "mod_cgi" )
cgi.assign = ( ".sh" => "/bin/sh" )
CONF
printf 'printf "Content-Type: text/plain\\r\\n\\r\\n"\n%s\n' 'seq 0 999' >"$folder/files/pieces.sh"
printf 'printf "Content-Type: text/plain\\r\\n\\r\\n"\n%s\n' 'exec cat' >"$folder/files/echo.sh"
program lighttpd "$(/usr/sbin/lighttpd -v | sed -n 's,^lighttpd/\([^ ]*\).*,\1,p')" server
start lighttpd /usr/sbin/lighttpd -D -f "$folder/lighttpd.conf"
ready lighttpd accepts "$socket"
drive_files "$folder/files"
check chunked "$(seq 0 999 | cksum)" "$(get /pieces.sh | cksum)"
check 'POST echo' 'some bytes' "$("$fetch" -d 'some bytes' "$(url "$socket" /echo.sh)")"
check 'POST of 5 MB' "$(cksum <"$(random_file 5000000)")" "$("$fetch" -d "@$(random_file 5000000)" "$(url "$socket" /echo.sh)" | cksum)"
finish
