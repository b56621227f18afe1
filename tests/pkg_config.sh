#!/bin/sh
# pkg_config.sh PREFIX: the pkg-config file, with the version of the header's macros.
version=$(sed -n 's/^#define UDS_HTTP_VERSION_[A-Z]* //p' "$(dirname "$0")/../uds_http.hpp" | paste -sd.)
cat <<END
prefix=$1
includedir=\${prefix}/include

Name: uds_http
Description: HTTP/1.1 over Unix domain sockets, server and client, in one C++17 header
Version: $version
Cflags: -I\${includedir} -pthread
Libs: -pthread
END
