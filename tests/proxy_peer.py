"""proxy_peer.py PROXY FOLDER [GROUP]...: both neighbours of examples/proxy, by hand: a client that sends
what it likes, an upstream that answers by the path it is asked for and keeps what it was sent.
GROUP is one of `messages hostile patterns cuts` (all of them without one), or `slow` with a side that stops, or
`streams` with a thousand at a time.
Last line `N passed, N failed`."""
import atexit, os, re, signal, socket, subprocess, sys, threading, time, zlib

passed = failed = 0


def same(what, expected, got):
    global passed, failed
    if expected == got:
        passed += 1
    else:
        failed += 1
        print(f"proxy, {what}: FAILED\n  expected: {expected!r}\n  got:      {got!r}")


def until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not (value := condition()) and time.monotonic() < end:
        time.sleep(0.01)
    return value


# The upstream -----------------------------------------------------------------------------------------
class Upstream:
    """One thread per connection. Keeps (request line, fields, body, whole?) of each request in `seen`."""

    def __init__(self, path):
        self.path, self.seen, self.open, self.lock = path, [], 0, threading.Lock()
        self.sent, self.goes_on = 0, threading.Event()  # of /endless; for /waits
        self.listen()

    def listen(self):
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(4096)
        self.connections = []
        threading.Thread(target=self.accept, args=(self.listener,), daemon=True).start()

    def accept(self, listener):
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            with self.lock:
                self.open += 1
                self.connections.append(peer)
            threading.Thread(target=self.serve, args=(peer,), daemon=True).start()

    def restart(self):
        """As a service that is killed: kept connections end, the path is new."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for one in list(self.connections):
            one.shutdown(socket.SHUT_RDWR)
        os.unlink(self.path)
        until(lambda: self.open == 0)
        self.listen()

    def serve(self, peer):
        stream = peer.makefile("rb")
        try:
            while (record := self.read_head(stream)) and self.answers(peer, stream, record):
                pass
        except (OSError, ValueError):
            pass
        stream.close()
        peer.close()
        with self.lock:
            self.open -= 1
            if peer in self.connections:
                self.connections.remove(peer)

    def answers(self, peer, stream, record):
        record["by"] = peer.fileno()
        try:
            return self.answer(peer, stream, record)
        finally:
            record["over"] = True

    def is_busy(self):
        return any(not one["over"] for one in list(self.seen))

    def read_head(self, stream):
        line = stream.readline()
        if not line:
            return None
        fields = []
        while (field := stream.readline()) not in (b"\r\n", b""):
            name, _, value = field.partition(b":")
            fields.append((name.decode().lower(), value.strip().decode("latin-1")))
        record = {"line": line.strip().decode("latin-1"), "fields": fields, "body": b"", "whole": False, "over": False}
        with self.lock:
            self.seen.append(record)
        return record

    def read_body(self, stream, record):
        fields = dict(record["fields"])
        if fields.get("transfer-encoding") == "chunked":
            while size := int(stream.readline().split(b";")[0], 16):
                record["body"] += self.exactly(stream, size)
                self.exactly(stream, 2)
            while (line := stream.readline()) != b"\r\n":
                if not line:
                    raise ValueError("cut")
                record["fields"].append(("trailer of it", line.strip().decode()))
        else:
            record["body"] = self.exactly(stream, int(fields.get("content-length", 0)))
        record["whole"] = True

    @staticmethod
    def exactly(stream, size):
        data = stream.read(size)
        if len(data) < size:
            raise ValueError("cut")
        return data

    def answer(self, peer, stream, record):
        path = record["line"].split(" ")[1].split("?")[0]
        word = path.rsplit("/", 1)[-1].replace("-", "_")
        act = getattr(self, "do_" + word, None)
        if act:
            return act(peer, stream, record)
        self.read_body(stream, record)
        if record["line"].startswith("HEAD"):
            peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n")
        else:
            send(peer, path.encode())
        return True

    # By the last word of the path; True: the connection goes on.
    def do_echo(self, peer, stream, record):
        self.read_body(stream, record)
        send(peer, record["body"])
        return True

    def do_asks(self, peer, stream, record):  # for its body, once it may
        self.goes_on.wait(20)
        peer.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        return self.do_echo(peer, stream, record)

    def do_interim(self, peer, stream, record):
        peer.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n")
        return send(peer, b"after interims")

    def do_chunks(self, peer, stream, record):
        peer.sendall(CHUNKED + b"3\r\nabc\r\n4;ext=1\r\ndefg\r\n0\r\nX-Sum: 7\r\n\r\n")
        return True

    def do_hops(self, peer, stream, record):
        peer.sendall(b"HTTP/1.1 200 OK\r\nConnection: X-Inner\r\nX-Inner: 1\r\nKeep-Alive: timeout=5\r\n"
                     b"X-Outer: 1\r\nContent-Length: 2\r\n\r\nok")
        return True

    def do_not_modified(self, peer, stream, record):
        peer.sendall(b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\nContent-Length: 99\r\n\r\n')
        return True

    def do_early(self, peer, stream, record):  # says no, reads no body
        peer.sendall(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 4\r\nConnection: close\r\n\r\nlate")
        return False

    def do_until_close(self, peer, stream, record):
        peer.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nas long as it lasts")
        return False

    def do_nothing(self, peer, stream, record):
        return False

    def do_garbage(self, peer, stream, record):
        peer.sendall(b"220 smtp.example.org\r\n\r\n")
        return False

    def do_both(self, peer, stream, record):
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
        return False

    def do_two_lengths(self, peer, stream, record):
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\nabcde")
        return False

    def do_two_answers(self, peer, stream, record):
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
        return True

    def do_unasked(self, peer, stream, record):
        peer.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
        return False

    def do_large_head(self, peer, stream, record):
        peer.sendall(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\nContent-Length: 0\r\n\r\n")
        return False

    def do_cut_chunks(self, peer, stream, record):
        peer.sendall(CHUNKED + b"5\r\nwhole\r\n5\r\nbr")
        return False

    def do_cut_between(self, peer, stream, record):
        peer.sendall(CHUNKED + b"5\r\nwhole\r\n")
        return False

    def do_cut_length(self, peer, stream, record):
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nwhole")
        return False

    def do_bad_chunk(self, peer, stream, record):
        peer.sendall(CHUNKED + b"5\r\nwhole\r\nxyz\r\n")
        return False

    def do_endless(self, peer, stream, record):  # until nobody listens
        peer.sendall(CHUNKED)
        self.sent = 0
        while True:
            peer.sendall(b"1000\r\n" + b"x" * 4096 + b"\r\n")
            self.sent += 4096

    def do_slow(self, peer, stream, record):  # the head, then nothing until the peer leaves
        peer.sendall(CHUNKED)
        stream.read(1)
        return False

    def do_waits(self, peer, stream, record):  # reads its body when it is told to
        self.goes_on.wait(60)
        self.read_body(stream, record)
        return send(peer, b"%d %08x" % (len(record["body"]), zlib.crc32(record["body"])))

    def do_silent(self, peer, stream, record):  # not even a head
        stream.read(1)
        return False

    def do_talk(self, peer, stream, record):  # echoes after a 101, says so at the end
        self.read_body(stream, record)
        peer.sendall(b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nX-Far: 1\r\n\r\nfirst;")
        while data := stream.read1(65536):
            peer.sendall(data)
        peer.sendall(b";last")
        return False

    def do_refuses(self, peer, stream, record):  # an upgrade
        self.read_body(stream, record)
        return send(peer, b"no upgrade")

    def do_stream(self, peer, stream, record):  # an answer to each word of the body, as it comes
        number, words = record["line"].split(" ")[1].split("?")[1].encode(), b""
        peer.sendall(CHUNKED)
        while size := int(stream.readline(), 16):
            words += self.exactly(stream, size + 2)[:-2]
            *whole, words = words.split(b";")
            for word in whole:
                piece = (number + b":" + word + b",") * 20
                peer.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
        stream.readline()
        peer.sendall(b"0\r\n\r\n")
        return True


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def send(peer, body):
    peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    return True


# The client -------------------------------------------------------------------------------------------
class Cut(Exception):
    pass


class Client:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20)
        self.socket.connect(path)
        self.stream = self.socket.makefile("rb")

    def send(self, data):
        self.socket.sendall(data)
        return self

    def line(self):
        line = self.stream.readline()
        if not line.endswith(b"\n"):
            raise Cut
        return line.strip()

    def head(self):
        status = int(self.line().split(b" ")[1])
        fields = {}
        while line := self.line():
            name, _, value = line.decode("latin-1").partition(":")
            fields[name.lower()] = value.strip()
        return status, fields

    def take(self, size):
        data = self.stream.read(size)
        if len(data) < size:
            raise Cut
        return data

    def body(self, fields, has_body=True):
        if not has_body:
            return b""
        if fields.get("transfer-encoding") == "chunked":
            whole = b""
            while size := int(self.line().split(b";")[0], 16):
                whole += self.take(size)
                self.take(2)
            while line := self.line():
                fields["trailer " + line.decode().split(":")[0].lower()] = line.decode().split(": ")[1]
            return whole
        if "content-length" in fields:
            return self.take(int(fields["content-length"]))
        return self.stream.read()

    def answer(self, has_body=True):
        """(status, fields, body), or "cut"; interim ones are passed over."""
        try:
            status, fields = self.head()
            while status // 100 == 1 and status != 101:
                status, fields = self.head()
            return status, fields, self.body(fields, has_body and status not in (204, 304, 101))
        except (Cut, ConnectionError, IndexError):
            return "cut", {}, b""

    def is_closed(self):
        try:
            return self.stream.read(1) == b""
        except ConnectionError:
            return True

    def close(self):
        self.stream.close()
        self.socket.close()


class Proxy:
    def __init__(self, program, folder, name, upstream, *flags):
        self.path = f"{folder}/{name}.sock"
        self.process = subprocess.Popen([program, self.path, upstream, *flags])
        atexit.register(self.process.kill)
        until(self.accepts)
        self.rest = self.fds()

    def accepts(self):
        try:
            Client(self.path).close()
            return True
        except OSError:
            return False

    def fds(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def memory(self):  # KiB, the most there ever was
        with open(f"/proc/{self.process.pid}/status") as file:
            return int(re.search(r"VmHWM:\s*(\d+)", file.read())[1])

    def ask(self, data, has_body=True):
        client = Client(self.path)
        try:
            client.send(data)
        except ConnectionError:
            pass  # it has said why
        got = client.answer(has_body)
        client.close()
        return got

    def end(self):
        self.process.terminate()
        return self.process.wait(20)


def get(path, *fields, method="GET"):
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: localhost", *fields, "", ""]).encode()


def chunks(*pieces):
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces if piece) + b"0\r\n\r\n"


# What passes, and how ---------------------------------------------------------------------------------
def messages(proxy, policy, upstream):
    def seen(data, has_body=True):  # the answer's status and body, and what upstream was asked
        upstream.seen.clear()
        status, fields, body = proxy.ask(data, has_body)
        return status, fields, body, upstream.seen[-1] if upstream.seen else None

    status, fields, body, asked = seen(get("/a/b?c=d%20e", "X-One: 1", "x-one: 2"))
    same("GET", (200, b"/a/b", "GET /a/b?c=d%20e HTTP/1.1"), (status, body, asked["line"]))
    same("fields pass", ["1", "2"], [v for k, v in asked["fields"] if k == "x-one"])
    same("Host passes", "localhost", dict(asked["fields"]).get("host"))
    _, _, _, asked = seen(get("/a", "Connection: close, X-Mine", "X-Mine: 1", "Keep-Alive: timeout=9",
                              "TE: trailers", "Proxy-Connection: close", "X-Other: 1"))
    same("hop-by-hop fields don't pass", ["x-other"],
         [k for k, _ in asked["fields"] if k in ("x-mine", "keep-alive", "te", "proxy-connection", "x-other")])
    _, _, _, asked = seen(get("/a", "Via: 1.1 before"))
    same("Via says who was there, in their order", ["1.1 before", "1.1 proxy"],
         [v for k, v in asked["fields"] if k == "via"])
    _, fields, body, _ = seen(get("/hops"))
    same("hop-by-hop fields of an answer don't pass", (b"ok", ["x-outer"]),
         (body, [k for k in fields if k in ("x-inner", "keep-alive", "x-outer")]))
    status, fields, body, asked = seen(get("/a", method="HEAD"), False)
    same("HEAD keeps the length", (200, "12345", b"", "HEAD /a HTTP/1.1"),
         (status, fields.get("content-length"), body, asked["line"]))
    status, fields, body, _ = seen(get("/not-modified"))
    same("304", (304, '"a"', b""), (status, fields.get("etag"), body))
    client = Client(proxy.path).send(get("/interim"))
    (first, fields), (second, _) = client.head(), client.head()
    same("interim answers pass", (103, "</a>", 102), (first, fields.get("link"), second))
    same("and the one behind them", (200, b"after interims"), client.answer()[0:3:2])
    same("HTTP/1.0 gets no interim ones", 200, Client(proxy.path).send(b"GET /interim HTTP/1.0\r\n\r\n").head()[0])
    status, fields, body, _ = seen(get("/chunks"))
    same("chunks and trailers", (200, b"abcdefg", "7"), (status, body, fields.get("trailer x-sum")))
    same("an answer that ends with its connection", (200, b"as long as it lasts"), seen(get("/until-close"))[0:3:2])

    body = bytes(range(256)) * 400
    status, _, back, asked = seen(get("/echo", f"Content-Length: {len(body)}", method="PUT") + body)
    same("a body of known length", (200, True, str(len(body))),
         (status, back == body, dict(asked["fields"]).get("content-length")))
    status, _, back, asked = seen(get("/echo", "Transfer-Encoding: chunked", method="PUT") +
                                  chunks(body[:7], body[7:9000], body[9000:]).replace(b"0\r\n\r\n", b"0\r\nX-End: 1\r\n\r\n"))
    same("a body in chunks, trailers", (200, True, "X-End: 1"),
         (status, back == body, dict(asked["fields"]).get("trailer of it")))
    status, _, back, asked = seen(get("/echo", "Content-Length: 0", method="POST"))
    same("an empty body", (200, b"", "0"), (status, back, dict(asked["fields"]).get("content-length")))

    client = Client(proxy.path)
    client.send(get("/echo", "Content-Length: 4", "Expect: 100-continue", method="PUT"))
    same("Expect: the body is asked for, though upstream never does", 100, client.head()[0])
    same("Expect: and passes", (200, b"body"), client.send(b"body").answer()[0:3:2])
    upstream.goes_on.clear()
    client.send(get("/asks", "Content-Length: 4", "Expect: 100-continue", method="PUT"))
    until(lambda: upstream.seen[-1]["line"].startswith("PUT /asks"))
    same("Expect: upstream is asked (RFC 9110 10.1.1)", "100-continue", dict(upstream.seen[-1]["fields"]).get("expect"))
    upstream.goes_on.set()
    same("Expect: its word passes", 100, client.head()[0])
    same("Expect: then the body", (200, b"body"), client.send(b"body").answer()[0:3:2])
    upstream.goes_on.clear()
    refused = Client(proxy.path).send(get("/early", "Content-Length: 4", "Expect: 100-continue", method="PUT"))
    same("Expect: and so does a refusal, without a body", (413, b"late"), refused.answer()[0:3:2])
    same("Expect: another one", 417, proxy.ask(get("/a", "Expect: tea"))[0])
    old = b"PUT /echo HTTP/1.0\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\nbody"
    same("Expect: HTTP/1.0's is ignored", (200, b"body"), Client(proxy.path).send(old).answer()[0:3:2])
    same("Expect: and upstream not asked", None, dict(upstream.seen[-1]["fields"]).get("expect"))

    client.send(get("/one") + get("/echo", "Content-Length: 3", method="POST") + b"two" + get("/three"))
    same("pipelined requests keep their order", [b"/one", b"two", b"/three"], [client.answer()[2] for _ in range(3)])
    client.send(get("/early", "Content-Length: 1000000", method="PUT") + b"x" * 100)
    same("an answer before the body has ended", (413, b"late"), client.answer()[0:3:2])
    same("and then the connection ends", True, client.is_closed())

    old = Client(proxy.path).send(b"GET /chunks HTTP/1.0\r\n\r\n")
    status, fields, body = old.answer()
    same("HTTP/1.0 gets no chunks", (200, None, b"abcdefg"), (status, fields.get("transfer-encoding"), body))
    old = Client(proxy.path).send(b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    same("HTTP/1.0", (200, b"/a"), old.answer()[0:3:2])
    same("a long target", 200, proxy.ask(get("/a?" + "q" * 8000))[0])
    same("a target that is too long", 414, proxy.ask(get("/a?" + "q" * 9000))[0])
    same("absolute form", "GET /a?b HTTP/1.1", seen(get("http://localhost/a?b"))[3]["line"])
    same("an empty query stays one", "GET /a? HTTP/1.1", seen(get("/a?"))[3]["line"])
    same("and none is none, in absolute form, too", ["GET / HTTP/1.1", "GET /? HTTP/1.1"],
         [seen(get("http://localhost" + end))[3]["line"] for end in ("", "?")])
    same("OPTIONS in absolute form without a path is about the server (RFC 9112 3.2.4)",
         ["OPTIONS * HTTP/1.1", "OPTIONS / HTTP/1.1", "OPTIONS /? HTTP/1.1", "OPTIONS / HTTP/1.1"],
         [seen(get(of, method="OPTIONS"))[3]["line"] for of in ("http://localhost", "http://localhost/", "http://localhost?", "/")])
    for method, end in ("OPTIONS", 204), ("TRACE", 501):  # RFC 9110 7.6.2
        same(f"{method} with Max-Forwards: one less passes", ["6", "0"],
             [dict(seen(get("/a", f"Max-Forwards: {left}", method=method))[3]["fields"]).get("max-forwards") for left in (7, 1)])
        same(f"{method} that may go no further", (end, None), seen(get("/a", "Max-Forwards: 0", method=method))[::3])
    for left in ("-1", "junk", "0x1", "3, 2"):  # is none: whoever answers may say so
        same(f"Max-Forwards: {left}", left,
             dict(seen(get("/a", f"Max-Forwards: {left}", method="OPTIONS"))[3]["fields"]).get("max-forwards"))
    same("GET with Max-Forwards", "0", dict(seen(get("/a", "Max-Forwards: 0"))[3]["fields"]).get("max-forwards"))

    before = proxy.ask(get("/a"))[0]
    upstream.restart()
    same("upstream was started again", (200, 200), (before, proxy.ask(get("/a"))[0]))
    upstream.restart()
    same("also for a POST: nothing of it was taken", (200, b"abc"),
         proxy.ask(get("/echo", "Content-Length: 3", method="POST") + b"abc")[0:3:2])

    for body in (b"", b'{"Detach":false}'): # docker's exec has one
        kept = seen(get("/a"))[3]
        client = Client(proxy.path)
        client.send(get("/talk", "Connection: Upgrade", "Upgrade: tcp", f"Content-Length: {len(body)}", method="POST") + body)
        status, fields, _ = client.answer()
        same("an upgrade is not on a kept connection, which may be closed just now", False, kept["by"] == upstream.seen[-1]["by"])
        same("upgrade", (101, "tcp", "1"), (status, fields.get("upgrade"), fields.get("x-far")))
        large = os.urandom(3_000_000)

        def write():
            client.send(large)
            client.socket.shutdown(socket.SHUT_WR)
        threading.Thread(target=write, daemon=True).start()
        try:
            got = client.stream.read()
        except OSError as why:
            got = repr(why).encode()
        same(f"upgrade with a body of {len(body)}: both directions, each with its end", (True, len(large) + 11),
             (got == b"first;" + large + b";last", len(got)))
        client.close()
    _, _, _, asked = seen(get("/a", "Upgrade: tcp"))
    same("an Upgrade that Connection doesn't name doesn't pass", None, dict(asked["fields"]).get("upgrade"))
    client = Client(proxy.path)
    client.send(get("/refuses", "Connection: keep-alive, upgrade", "Upgrade: tcp", method="POST"))
    same("a refused upgrade", (200, b"no upgrade"), client.answer()[0:3:2])
    same("is followed by requests", (200, b"/a"), client.send(get("/a")).answer()[0:3:2])
    for method, protocol, passed_on in (("POST", "tcp", "tcp"), ("POST", "h2c", "h2c"), ("GET", "websocket", "websocket"),
                                        ("GET", "tcp", None), ("GET", "h2c", None), ("HEAD", "tcp", None)):
        _, _, _, asked = seen(get("/a", "Connection: Upgrade", f"Upgrade: {protocol}", method=method), method != "HEAD")
        same(f"{method} with Upgrade: {protocol}", passed_on, dict(asked["fields"]).get("upgrade"))
    _, _, _, asked = seen(b"POST /a HTTP/1.0\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n")
    same("an Upgrade in HTTP/1.0 doesn't pass", None, dict(asked["fields"]).get("upgrade"))
    client = Client(proxy.path).send(get("/endless", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c"))
    status, _ = client.head()
    same("an offer that can't be taken streams", (200, 3 << 20), (status, len(client.take(3 << 20))))
    client.close()
    same("a refusal of an upgrade that has no end", 502,
         proxy.ask(get("/endless", "Connection: Upgrade", "Upgrade: tcp", method="POST"))[0])
    until(lambda: not upstream.is_busy())
    same("isn't kept in memory", True, proxy.memory() < 32 * 1024 or proxy.memory())


# What must not pass -----------------------------------------------------------------------------------
SMUGGLED = get("/secret").decode("latin-1")
REFUSED = {  # by whoever: no byte of it may reach upstream
    "both framings": ["Transfer-Encoding: chunked", "Content-Length: 5"],
    "both, the other way": ["Content-Length: 5", "Transfer-Encoding: chunked"],
    "two lengths": ["Content-Length: 0", "Content-Length: 5"],
    "a length with a sign": ["Content-Length: +5"],
    "a length in hex": ["Content-Length: 0x5"],
    "a length and more": ["Content-Length: 5 5"],
    "a length out of bounds": ["Content-Length: 99999999999999999999"],
    "an unknown coding": ["Transfer-Encoding: xchunked"],
    "chunked twice": ["Transfer-Encoding: chunked, chunked"],
    "chunked, and something behind it": ["Transfer-Encoding: chunked, identity"],
    "space before the colon": ["Transfer-Encoding : chunked"],
    "a tab that is none": ["Transfer-Encoding: \x0bchunked"],
    "a folded line": ["X: 1", " Transfer-Encoding: chunked"],
    "a bare CR": ["X: 1\rTransfer-Encoding: chunked"],
    "a NUL": ["X: 1\0"],
    "no colon": ["Transfer-Encoding chunked"],
    "a name with a space": ["X Y: 1"],
}
DOUBTFUL = ["/ok/%31", "/ok/%2e%2e/secret", "/ok/../secret", "/ok/./a", "/ok//secret", "//ok/a", "/ok/..", "/ok/.",
            "/ok/%", "/secret", "/ok", "/okay/a", "/", "*"]


def hostile(proxy, policy, upstream):
    upstream.seen.clear()
    for door in (proxy, policy):
        for name, fields in REFUSED.items():
            status = door.ask(get("/ok/a", *fields, method="POST") + b"0\r\n\r\n" + SMUGGLED.encode())[0]
            same(f"{name} is refused", True, status in (400, 413, 501))
        for line in (b"GET /ok/a HTTP/1.1\r\n\r\n", b"GET  /ok/a HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /ok/a HTTP/2.0\r\nHost: a\r\n\r\n",
                     b"GET /ok/a\r\n\r\n", b"GET ok/a HTTP/1.1\r\nHost: a\r\n\r\n", b"G\x01T /ok/a HTTP/1.1\r\nHost: a\r\n\r\n"):
            same(f"{line!r} is refused", True, door.ask(line)[0] in (400, 501, 505))
    same("nothing of it reaches upstream", [], upstream.seen)

    for path in DOUBTFUL:
        same(f"policy: {path}", 403 if path != "*" else True,
             policy.ask(get(path))[0] if path != "*" else policy.ask(get(path))[0] in (400, 403))
    for method in ("POST", "get", "OPTIONS", "TRACE", "DELETE", "GETS", "GE"):
        same(f"policy: {method}", True, policy.ask(get("/ok/a", method=method))[0] in (400, 403, 501))
    same("policy: CONNECT", True, policy.ask(get("localhost:1", method="CONNECT"))[0] in (400, 403, 501))
    same("policy: absolute form", 403, policy.ask(get("http://localhost/secret"))[0])
    same("policy: Upgrade", 403, policy.ask(get("/secret", "Connection: Upgrade", "Upgrade: tcp"))[0])
    same("policy: another HTTP inside", 403, policy.ask(get("/ok/a", "Connection: Upgrade, HTTP2-Settings",
                                                           "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"))[0])
    same("policy: and beside an allowed one", 403, policy.ask(get("/ok/a", "Connection: Upgrade", "Upgrade: tcp, H2C"))[0])
    same("policy: the reason is the body", b"proxy: not allowed: GET /secret", policy.ask(get("/secret"))[2])
    body = SMUGGLED.encode()
    status = policy.ask(get("/put", f"Content-Length: {len(body)}", method="DELETE") + body)[0]
    same("policy: a body isn't a request", 403, status)
    same("policy: nothing of it reaches upstream", [], upstream.seen)
    client = Client(policy.path).send(get("/secret", f"Content-Length: {len(body)}") + body + get("/secret"))
    same("policy: behind a refused one with a body", True,
         [client.answer()[0] for _ in range(2)] in ([403, 403], [403, "cut"]))
    client.close()
    same("policy: nor then", [], upstream.seen)

    client = Client(policy.path).send(get("/ok/a") + get("/secret") + get("/ok/b"))
    same("policy: pipelined, the second is forbidden", [200, 403, 200], [client.answer()[0] for _ in range(3)])
    same("policy: and it alone is kept back", ["/ok/a", "/ok/b"], [one["line"].split()[1] for one in upstream.seen])
    client.send(get("/ok/refuses", "Connection: Upgrade", "Upgrade: websocket") + get("/secret"))
    same("policy: an upgrade that upstream refuses opens nothing", [200, 403], [client.answer()[0] for _ in range(2)])
    client.close()
    upstream.seen.clear()
    client = Client(policy.path).send(get("/ok/echo", f"Content-Length: {len(body)}") + body + get("/ok/c"))
    same("policy: a request inside a body stays a body", (body, b"/ok/c"), (client.answer()[2], client.answer()[2]))
    same("policy: upstream saw two", 2, len(upstream.seen))
    same("policy: HEAD goes with GET", 200, policy.ask(get("/ok/a", method="HEAD"), False)[0])
    same("policy: the query is ignored", 200, policy.ask(get("/ok/a?b=/../%2f"))[0])
    same("no policy: such a path passes", "GET /a/%2e%2e//b HTTP/1.1",
         (proxy.ask(get("/a/%2e%2e//b")), upstream.seen[-1]["line"])[1])

    for path in ("/nothing", "/garbage", "/both", "/two-lengths", "/unasked", "/large-head"):
        same(f"upstream: {path[1:]} is a 502", 502, proxy.ask(get(path))[0])
    client = Client(proxy.path)
    same("upstream: two answers to one request", (200, b"ok"), client.send(get("/two-answers")).answer()[0:3:2])
    for one in [client] + [Client(proxy.path) for _ in range(8)]:
        same("upstream: nobody gets the other", (200, b"/a"), one.send(get("/a")).answer()[0:3:2])
        one.close()


# What --allow lets through ------------------------------------------------------------------------------
PATTERNS = ["GET /exact", "GET /one/*", "GET /in/a*b", "GET /mid/*/end", "GET /two/*x*y", "GET /rest/**", "GET /stars/**/end",
            "GET /v*/containers/*/json", "HEAD /head", "PUT /put/*", "GET /", "ANY /any"]
ROWS = """GET /exact 200, GET /exact/ 403, GET /exac 403, GET /exactly 403, GET /Exact 403, HEAD /exact 200, PUT /exact 403,
    GET /one/a 200, GET /one/abc 200, GET /one/ 403, GET /one/a/ 403, GET /one/a/b 403, GET /one/* 200, GET /one/a?b=c/d 200,
    GET /in/ab 403, GET /in/axb 200, GET /in/axxbxb 200, GET /in/axbx 403, GET /in/a/b 403, GET /in/abb 200,
    GET /mid/a/end 200, GET /mid//end 403, GET /mid/a/b/end 403, GET /mid/end 403,
    GET /two/axby 200, GET /two/xy 403, GET /two/axy 403, GET /two/axxy 200, GET /two/axbyyz 403,
    GET /rest/ 200, GET /rest/a 200, GET /rest/a/b/c 200, GET /rest 403, GET /rest/a//b 403, GET /rest/%61 403, GET /rest/./a 403,
    GET /stars/ab/end 200, GET /stars/a/b/end 403, GET /v1.41/containers/a/json 200, GET /containers/a/json 403,
    GET /v1/containers/a/b/json 403, HEAD /head 200, GET /head 403, PUT /put/a 200, POST /put/a 403, GET /put/a 403, GET / 200,
    ANY /any 200, GET /any 403"""


def patterns(proxy, policy, upstream):
    flags = [flag for pattern in PATTERNS for flag in ("--allow", pattern)]
    strict = Proxy(sys.argv[1], sys.argv[2], "strict", upstream.path, *flags)
    client = Client(strict.path)
    for row in ROWS.split(","):
        method, path, status = row.split()
        client.send(get(path, method=method))
        same(f"pattern: {method} {path}", int(status), client.answer(method != "HEAD")[0])
    client.close()
    same("the strict proxy ends", 0, strict.end())


# Streams that end early ---------------------------------------------------------------------------------
def cuts(proxy, policy, upstream):
    for path in ("/cut-chunks", "/cut-between", "/cut-length", "/bad-chunk"):
        client = Client(proxy.path).send(get(path))
        status, fields = client.head()
        try:
            got = client.body(fields)
        except Cut:
            got = "cut"
        same(f"{path[1:]}: the client sees a cut", (200, "cut"), (status, got))
        client.close()
    same("cut-length: HTTP/1.0", "cut", proxy.ask(b"GET /cut-length HTTP/1.0\r\n\r\n")[0]) # of chunks it has no sign
    for framing, part in (("Content-Length: 10", b"part"), ("Transfer-Encoding: chunked", b"4\r\npart\r\n"),
                          ("Transfer-Encoding: chunked", b"a\r\npart")):
        upstream.seen.clear()
        client = Client(proxy.path).send(get("/echo", framing, method="PUT") + part)
        until(lambda: upstream.seen)
        client.close()
        until(lambda: not upstream.is_busy())
        same(f"a client that leaves in its body ({part!r})", [(True, False)],
             [(one["over"], one["whole"]) for one in upstream.seen])
    upstream.seen.clear()
    client = Client(proxy.path).send(get("/echo", "Content-Length: 10", method="PUT") + b"part")
    until(lambda: upstream.seen)
    client.socket.shutdown(socket.SHUT_WR)
    status, _, body = client.answer()
    same("a client that ends in its body and listens: its mistake", (400, True), (status, b": request body: " in body))
    client.close()
    upstream.seen.clear()
    client = Client(proxy.path).send(get("/echo", "Transfer-Encoding: chunked", method="PUT") + b"4\r\npart\r\n")
    until(lambda: upstream.seen)
    client.send(b"xyz\r\n")
    same("a bad chunk", True, client.answer()[0] in (400, 502, "cut"))
    until(lambda: not upstream.is_busy())
    same("a bad chunk is never a whole body", [(True, False)], [(one["over"], one["whole"]) for one in upstream.seen])
    client.close()
    for path in ("/endless", "/slow", "/silent", "/talk"):
        upstream.seen.clear()
        upgrade = ("Connection: Upgrade", "Upgrade: tcp") if path == "/talk" else ()
        client = Client(proxy.path).send(get(path, *upgrade, method="POST" if upgrade else "GET"))
        if path == "/endless":
            client.head(), client.take(100_000)
        elif path == "/talk":
            client.head(), client.take(6)
        until(upstream.is_busy)
        client.close()
        until(lambda: not upstream.is_busy())
        same(f"a client that leaves in {path[1:]}: upstream's connection ends", [True], [one["over"] for one in upstream.seen])
    client = Client(proxy.path).send(get("/talk", "Connection: Upgrade", "Upgrade: tcp", method="POST"))
    client.head(), client.socket.settimeout(0.5)
    try: # until all buffers are full, both ways
        while True:
            client.socket.send(b"x" * 65536)
    except TimeoutError:
        client.close()
    until(lambda: not upstream.is_busy())
    same("a client that leaves a full tunnel: upstream's connection ends", False, upstream.is_busy())
    client = Client(proxy.path).send(get("/slow"))
    client.head()
    upstream.restart()
    try:
        got = client.body({"transfer-encoding": "chunked"})
    except Cut:
        got = "cut"
    same("upstream is killed under a stream", "cut", got)
    client.close()
    until(lambda: proxy.fds() <= proxy.rest)  # fewer: then a connection was still closing when it was started
    same("all descriptors are closed", True, proxy.fds() <= proxy.rest)


# A slow side ------------------------------------------------------------------------------------------
IN_FLIGHT = 8 << 20  # two sockets' buffers and what the proxy may hold of one stream, generously


def comes_to_rest(count):
    """Waits until the count stays what it is for half a second; that count."""
    last, since = count(), time.monotonic()

    def rests():
        nonlocal last, since
        if count() != last:
            last, since = count(), time.monotonic()
        return time.monotonic() - since > 0.5
    return last if until(rests, 30) else None


def slow(proxy, policy, upstream):
    client = Client(proxy.path).send(get("/endless"))
    client.head()
    client.take(1 << 20)
    sent = comes_to_rest(lambda: upstream.sent)
    same("a slow reader stops a fast sender", True, sent is not None and sent < (1 << 20) + IN_FLIGHT or sent)
    client.take(20 << 20)
    same("and lets it go on", True, until(lambda: upstream.sent > sent))
    client.close()

    body, count = os.urandom(1 << 20) * 64, 0
    client = Client(proxy.path).send(get("/waits", f"Content-Length: {len(body)}", method="PUT"))

    def write():
        nonlocal count
        while count < len(body):
            count += client.socket.send(body[count:count + 65536])
    threading.Thread(target=write, daemon=True).start()
    sent = comes_to_rest(lambda: count)
    same("a slow upstream stops a fast client", True, sent is not None and sent < IN_FLIGHT or sent)
    upstream.goes_on.set()
    same("and gets it all", b"%d %08x" % (len(body), zlib.crc32(body)), client.answer()[2])
    client.close()
    same("memory stays below 32 MiB", True, proxy.memory() < 32 * 1024 or proxy.memory())


# A thousand at a time -------------------------------------------------------------------------------------
def streams(proxy, policy, upstream, count=1000, rounds=5):
    clients = [Client(proxy.path) for _ in range(count)]
    for number, client in enumerate(clients):
        client.send(get(f"/stream?{number}", "Transfer-Encoding: chunked", method="POST"))
    heads = [client.head() for client in clients]
    same(f"{count} streams are open at once", (count, count), (sum(one[0] == 200 for one in heads), upstream.open))
    for step in range(rounds):
        for number, client in enumerate(clients):
            word = b"%d-%d;" % (step, number * 7)
            client.send(b"%x\r\n%s\r\n" % (len(word), word))
    right = 0
    for client in clients:
        client.send(b"0\r\n\r\n")
    for number, client in enumerate(clients):
        wanted = b"".join((b"%d:%d-%d," % (number, step, number * 7)) * 20 for step in range(rounds))
        right += client.body(heads[number][1]) == wanted
    same("each has its own content", count, right)
    threads = len(os.listdir(f"/proc/{proxy.process.pid}/task"))
    same("one thread did it", 1, threads)
    same("memory stays below 32 MiB", True, proxy.memory() < 32 * 1024 or proxy.memory())
    for client in clients:
        client.close()
    until(lambda: proxy.fds() <= proxy.rest + upstream.open)
    same("their descriptors are closed", True, proxy.fds() <= proxy.rest + upstream.open)


GROUPS = {"messages": messages, "hostile": hostile, "patterns": patterns, "cuts": cuts, "slow": slow, "streams": streams}


def main():
    program, folder, *groups = sys.argv[1:]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to end"))
    upstream = Upstream(folder + "/upstream.sock")
    proxy = Proxy(program, folder, "open", upstream.path)
    policy = Proxy(program, folder, "policy", upstream.path, "--allow", "GET /ok/**", "--allow", "PUT /put")
    for group in groups or ("messages", "hostile", "patterns", "cuts"):
        try:
            GROUPS[group](proxy, policy, upstream)
        except Exception as why: # a check that breaks off is a failed one; the others go on
            same(f"{group} comes to its end", "", repr(why))
    same("the proxy ends", 0, proxy.end())
    same("the proxy with a policy ends", 0, policy.end())
    print(f"{passed} passed, {failed} failed")
    return failed != 0


sys.exit(main())
