"""A WSGI application, for gunicorn: what hello answers, /pieces/{n} in chunks, /large/{n} in one."""
import urllib.parse


def app(environ, start_response):
    words = environ["PATH_INFO"].encode("latin-1").decode().split("/")[1:]
    if environ["REQUEST_METHOD"] not in ("GET", "HEAD") and words != ["echo"]:
        start_response("405 Method Not Allowed", [("Content-Length", "0")])
        return []
    if words == ["echo"] and environ["REQUEST_METHOD"] == "POST":
        body = environ["wsgi.input"].read()
    elif words[0] == "pieces":
        start_response("200 OK", [("Content-Type", "text/plain")])  # without a length: in chunks
        return (b"%d\n" % number for number in range(int(words[1])))
    elif words[0] == "large":
        body = b"x" * int(words[1])
    else:
        body = f"Hello {words[0] or 'Anonymous'}".encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
