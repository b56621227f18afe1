#!/usr/bin/env bash
# nginx in front of ours, by examples/nginx.conf; and with files of its own, on a Unix socket.
. "$(dirname "$0")/lib.sh"
needs nginx-light:/usr/sbin/nginx curl:curl python3:/usr/bin/python3

version=$(/usr/sbin/nginx -v 2>&1 | sed 's,.*/,,')
port=$(free_port)
as_root=() # its workers would be another user, who may not connect to ours
[ "$(id -u)" -ne 0 ] || as_root=(-g 'user root;')
front_socket=$folder/front.sock
front() { # SOCKET: the example as it is but for paths and port
    sed -e "s,unix:/tmp/hello.sock,unix:$1," -e "s,listen 8080;,listen 127.0.0.1:$port; listen unix:$front_socket;," \
        examples/nginx.conf >"$folder/front.conf"
    rm -f "$front_socket"
    restart nginx /usr/sbin/nginx -p "$folder" -c "$folder/front.conf" -e stderr "${as_root[@]}"
    ready nginx port_accepts "$port"
}
program nginx "$version" front
drive_front
drive_refusal
drive_descriptors

program nginx "$version" server
socket=$folder/files.sock
mkdir "$folder/files"
cat >"$folder/files.conf" <<CONF
daemon off;
pid files.pid;
error_log stderr;
events {}
http {
    access_log off;
    client_body_temp_path bodies;
    client_max_body_size 0;
    server {
        listen unix:$socket;
        root files;
        location /put/ { alias $folder/files/; dav_methods PUT DELETE; }
        location /included { ssi on; ssi_types *; } # of no known length: in chunks
        location /moved { return 301 /numbers; }
    }
}
CONF
echo '<!--#echo var="request_method" --> by SSI' >"$folder/files/included"
start files /usr/sbin/nginx -p "$folder" -c "$folder/files.conf" -e stderr "${as_root[@]}"
ready files accepts "$socket"
drive_files "$folder/files"
check chunked 'GET by SSI' "$(get /included)"
check '301 is an answer' '301 169' "$(head_of /moved)"
check 'PUT of 5 MB' "$(cksum <"$(random_file 5000000)")" \
    "$("$fetch" -X PUT -d "@$(random_file 5000000)" "$(url "$socket" /put/body)"; get /body | cksum)"
check DELETE '204 404' "$(head_of /put/body -X DELETE) $(head_of /body | cut -d' ' -f1)"
finish
