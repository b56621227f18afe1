"""requests_client.py SOCKET: asks hello, by requests over requests-unixsocket."""
import sys, urllib.parse
import requests_unixsocket

base = "http+unix://" + urllib.parse.quote(sys.argv[1], safe="")
api = requests_unixsocket.Session()
LARGE = b"0123456789abcdef" * (1 << 18)


def expect(what, response, status, body=None):
    good = response.status_code == status and (body is None or response.content == body)
    print(f"ok {what}" if good else f"FAILED {what}: {response.status_code}, {len(response.content)} bytes")


expect("GET", api.get(base + "/"), 200, b"Hello Anonymous")
expect("parameter", api.get(base + "/w%C3%B6rld"), 200, "Hello wörld".encode())
good = [api.get(base + "/world").content == b"Hello world" for _ in range(100)]
print("ok keep-alive" if all(good) else "FAILED keep-alive: a body is wrong")
expect("HEAD", api.head(base + "/world"), 200, b"")
expect("404", api.get(base + "/a/b/c"), 404)
expect("405", api.delete(base + "/world"), 405)
expect("POST echo", api.post(base + "/echo", data=b"some bytes"), 200, b"some bytes")
expect("POST of 4 MB", api.post(base + "/echo", data=LARGE), 200, LARGE)
expect("chunked POST", api.post(base + "/echo", data=iter([LARGE[:1000], LARGE[1000:]])), 200, LARGE)
with api.get(base + "/world", stream=True) as response:
    got = b"".join(response.iter_content(3))
print("ok stream" if got == b"Hello world" else f"FAILED stream: {got}")
print("end")
