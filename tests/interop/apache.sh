#!/usr/bin/env bash
# Apache's mod_proxy in front of ours.
. "$(dirname "$0")/lib.sh"
needs apache2-bin:/usr/sbin/apache2 curl:curl python3:/usr/bin/python3

port=$(free_port)
modules=/usr/lib/apache2/modules
front() { # SOCKET
    cat >"$folder/apache.conf" <<CONF
ServerRoot $folder
ServerName localhost
PidFile $folder/apache.pid
DefaultRuntimeDir $folder
Listen 127.0.0.1:$port
ErrorLog /dev/stderr
LoadModule mpm_event_module $modules/mod_mpm_event.so
LoadModule authz_core_module $modules/mod_authz_core.so
LoadModule proxy_module $modules/mod_proxy.so
LoadModule proxy_http_module $modules/mod_proxy_http.so
User www-data
Group www-data
ProxyPass / unix:$1|http://localhost/ flushpackets=on
CONF
    chmod 755 "$folder" # as root it insists on another user for its workers
    chmod 666 "$1"
    restart apache /usr/sbin/apache2 -X -f "$folder/apache.conf"
    ready apache port_accepts "$port"
}
program Apache "$(/usr/sbin/apache2 -v | sed -n 's,.*Apache/\([0-9.]*\).*,\1,p')" front
drive_front
finish
