"""http_client.py SOCKET: asks hello, by the standard library's http.client over AF_UNIX."""
import http.client, socket, sys

LARGE = b"0123456789abcdef" * (1 << 18)
connects = 0


class UnixConnection(http.client.HTTPConnection):
    def connect(self):
        global connects
        connects += 1
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(sys.argv[1])


api = UnixConnection("localhost", timeout=60)


def ask(method, target, **more):
    api.request(method, target, **more)
    response = api.getresponse()
    return response.status, response.read()


def expect(what, got, status, body=None):
    good = got[0] == status and (body is None or got[1] == body)
    print(f"ok {what}" if good else f"FAILED {what}: {got[0]}, {len(got[1])} bytes")


expect("GET", ask("GET", "/"), 200, b"Hello Anonymous")
expect("parameter", ask("GET", "/w%C3%B6rld"), 200, "Hello wörld".encode())
good = [ask("GET", "/world") == (200, b"Hello world") for _ in range(100)]
print("ok keep-alive" if all(good) and connects == 1 else f"FAILED keep-alive: {connects} connections")
expect("HEAD", ask("HEAD", "/world"), 200, b"")
expect("404", ask("GET", "/a/b/c"), 404)
expect("405", ask("DELETE", "/world"), 405)
expect("POST echo", ask("POST", "/echo", body=b"some bytes"), 200, b"some bytes")
expect("POST of 4 MB", ask("POST", "/echo", body=LARGE), 200, LARGE)
expect("chunked POST", ask("POST", "/echo", body=iter([LARGE[:1000], LARGE[1000:]]), encode_chunked=True), 200, LARGE)
api.close()
http.client.HTTPConnection._http_vsn, http.client.HTTPConnection._http_vsn_str = 10, "HTTP/1.0"
expect("HTTP/1.0", ask("GET", "/world"), 200, b"Hello world")
print("end")
