#!/usr/bin/env bash
# h2o's files and mruby, on a Unix socket.
. "$(dirname "$0")/lib.sh"
needs h2o:/usr/bin/h2o python3:/usr/bin/python3

socket=$folder/h2o.sock
mkdir "$folder/files"
cat >"$folder/h2o.conf" <<CONF
pid-file: $folder/h2o.pid
$([ "$(id -u)" -ne 0 ] || echo 'user: root')
listen:
  type: unix
  port: $socket
hosts:
  default:
    paths:
      /:
        file.dir: $folder/files
      /echo:
        mruby.handler: |
          Proc.new do |env|
            body = env["rack.input"]
            [200, {}, [body ? body.read : ""]]
          end
      /pieces:
        mruby.handler: |
          class Pieces
            def each
              1000.times { |n| yield n.to_s + "\n" }
            end
          end
          Proc.new do |env|
            [200, {}, Pieces.new]
          end
CONF
program h2o "$(h2o --version | awk '{ print $3; exit }')" server
start h2o h2o -c "$folder/h2o.conf"
ready h2o accepts "$socket"
drive_files "$folder/files"
check chunked "$(seq 0 999 | cksum)" "$(get /pieces | cksum)"
check 'POST echo' 'some bytes' "$("$fetch" -d 'some bytes' "$(url "$socket" /echo)")"
check 'POST of 5 MB' "$(cksum <"$(random_file 5000000)")" "$("$fetch" -d "@$(random_file 5000000)" "$(url "$socket" /echo)" | cksum)"
finish
