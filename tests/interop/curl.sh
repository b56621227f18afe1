#!/usr/bin/env bash
# curl asks hello, upload, events and files.
. "$(dirname "$0")/lib.sh"
needs curl:curl python3:/usr/bin/python3

ask() { curl -sS --max-time 120 --unix-socket "$socket" "$@"; }
status() { ask -o "$folder/answer" -w '%{http_code}' "$@"; }
body=$(random_file 5000000)

program curl "$(curl --version | awk '{ print $2; exit }')" client
serve hello
check GET 'Hello Anonymous' "$(ask http://localhost/)"
check parameter 'Hello wörld' "$(ask http://localhost/w%C3%B6rld)"
check HTTP/1.0 'Hello world' "$(ask --http1.0 http://localhost/world)"
check HTTP/1.0 1.1 "$(status --http1.0 -o /dev/null -w '%{http_version}' http://localhost/world)"
check HEAD '200 11' "$(ask -I -o /dev/null -w '%{http_code} %header{content-length}' http://localhost/world)"
check 'POST echo' 'some bytes' "$(ask -d 'some bytes' http://localhost/echo)"
check 'POST echo' '' "$(ask -d '' http://localhost/echo)"
check Expect "$(cksum <"$body")" "$(ask -H 'Expect: 100-continue' --data-binary "@$body" http://localhost/echo | cksum)"
check Expect 1 "$(ask -v -H 'Expect: 100-continue' -d x http://localhost/echo 2>&1 | grep -c '^< HTTP/1.1 100 ')"
check 'chunked POST' "$(cksum <"$body")" "$(ask -X POST -H 'Transfer-Encoding: chunked' --data-binary "@$body" http://localhost/echo | cksum)"
check keep-alive 1 "$(ask -w '%{num_connects}\n' -o /dev/null -o /dev/null -o /dev/null http://localhost/{a,b,c} | awk '{ n += $1 } END { print n }')"
check 'Connection: close' 1 "$(ask -i -H 'Connection: close' http://localhost/a | tr -d '\r' | grep -ic '^connection: close$')"
check 'offer of HTTP/2' 'Hello world1.1' "$(ask --http2 -w '%{http_version}' http://localhost/world)"
check 404 404 "$(status http://localhost/a/b)"
check '405 with Allow' '405 POST' "$(ask -o /dev/null -w '%{http_code} %header{allow}' -X DELETE http://localhost/echo | sed 's/ .*POST.*/ POST/')"
check 413 413 "$(head -c 9000000 /dev/zero | status --data-binary @- http://localhost/echo)"
check 431 431 "$(status -H "Long: $(head -c 20000 /dev/zero | tr '\0' x)" http://localhost/)"
start abstract "$examples/hello" "@uds_http.interop.$$"
abstract() { curl -sS --max-time 30 --abstract-unix-socket "uds_http.interop.$$" "$@"; }
ready abstract abstract -o /dev/null http://localhost/
check '--abstract-unix-socket' 'Hello world' "$(abstract http://localhost/world)"

serve upload
check '-T' "$(bytes_and_crc "$body")" "$(ask -T "$body" http://localhost/body)"
check 'chunked -T' "$(bytes_and_crc "$body")" "$(cat "$body" | ask -T - http://localhost/body)"
truncate -s 1G "$folder/gigabyte"
check '-T of 1 GiB' "$(bytes_and_crc "$folder/gigabyte")" "$(ask -T "$folder/gigabyte" http://localhost/body)"
truncate -s 1023M "$folder/gigabyte" # curl's own limit for what it takes into memory is just below 1 GiB
check '--data-binary of 1023 MiB' "$(bytes_and_crc "$folder/gigabyte")" \
    "$(ask -X PUT --data-binary "@$folder/gigabyte" http://localhost/body)"
rm "$folder/gigabyte"
check '1 GiB down' 1073741824 "$(ask http://localhost/bytes/1073741824 | tr -d -c x | wc -c)"
check 'download left halfway' '1000 1234' \
    "$(ask http://localhost/bytes/1000000000 2>/dev/null | head -c 1000 | wc -c) $(ask http://localhost/bytes/1234 | wc -c)"

serve events
check '-N of events' $'id: 42\nid: 43\nid: 44' \
    "$(ask -N -H 'Last-Event-ID: 41' http://localhost/ 2>/dev/null | grep -m 3 '^id' | tr -d '\r')"

mkdir "$folder/site"
seq 1 100000 >"$folder/site/numbers"
serve files "$folder/site"
check range "206 $(head -c 100 "$folder/site/numbers" | tail -c 10 | cksum)" "$(status -r 90-99 http://localhost/numbers) $(cksum <"$folder/answer")"
ask -o /dev/null --etag-save "$folder/etag" http://localhost/numbers
check ETag 304 "$(status --etag-compare "$folder/etag" http://localhost/numbers)"
check '-z' 304 "$(status -z "$folder/site/numbers" http://localhost/numbers)"
head -c 1000 "$folder/site/numbers" >"$folder/part"
check '-C to go on' "$(cksum <"$folder/site/numbers")" "$(ask -C - -o "$folder/part" http://localhost/numbers; cksum <"$folder/part")"
finish
