"""What the shim (shim.c) is told, and conversations that are the same whatever it does.

Conversations are with the example programs, over raw sockets, so that no mistake of the header's own
client hides one of the server.
"""
import mmap
import os
import re
import socket
import struct
import subprocess
import time

KINDS = ["send", "recv", "accept", "wait", "control", "file_out", "connect", "socket", "event", "read"]
PATIENCE = 10


class Shim:
    """The rules of one preloaded process: two of 32 bytes for each kind of call."""

    def __init__(self, path):
        self.path = path
        with open(path, "wb") as made:
            made.write(bytes(4096))
        with open(path, "r+b") as made:
            self.map = mmap.mmap(made.fileno(), 4096)

    def environment(self, library):
        return {**os.environ, "LD_PRELOAD": library, "FAULTS_FILE": self.path}

    @staticmethod
    def place(kind, cut):
        return KINDS.index(kind) * 64 + (32 if cut else 0)

    def set(self, kind, value, first=1, every=0, cut=False, seed=1):
        """`cut`: at most `value` bytes per call (negative: a random number up to it); else an errno."""
        at = self.place(kind, cut)
        self.map[at + 4:at + 32] = struct.pack("<iIIIIII", value, first, every, 0, 0, seed * 2654435761 & 0xffffffff, 0)
        self.map[at:at + 4] = struct.pack("<I", 1)  # last: now it counts

    def off(self):
        for at in range(0, len(KINDS) * 64, 32):
            self.map[at:at + 4] = bytes(4)
        self.map[:len(KINDS) * 64] = bytes(len(KINDS) * 64)

    def struck(self, kind=None, cut=None):
        return sum(struct.unpack_from("<I", self.map, self.place(k, c) + 20)[0]
                   for k in KINDS if kind in (None, k) for c in (False, True) if cut in (None, c))


class Program:
    """An example under the shim, until its path accepts."""

    def __init__(self, folder, library, name, command, preload=True, **environment):
        self.name, self.socket, self.command = name, command[1], command
        self.log = "%s/%s.log" % (folder, name)
        self.shim = Shim("%s/%s.faults" % (folder, name))
        self.environment = {**self.shim.environment(library), **environment} if preload else None
        self.start()

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log, env=self.environment)
        wait_until(lambda: self.process.poll() is not None or accepts(self.socket), "%s serves" % self.name)
        time.sleep(0.01)
        self.bare = self.descriptors()  # without a connection

    def restart(self):
        self.stop()
        self.start()

    def descriptors(self):
        return len(os.listdir("/proc/%d/fd" % self.process.pid))

    def alive(self):
        return self.process.poll() is None

    def settled(self, wanted):
        """The descriptors, once they are as few as `wanted`; or what they stay at."""
        until = time.monotonic() + PATIENCE
        while self.alive() and self.descriptors() > wanted and time.monotonic() < until:
            time.sleep(0.001)
        return self.descriptors() if self.alive() else -1

    def stop(self):
        self.shim.off()
        self.process.terminate()
        try:
            return self.process.wait(2 * PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


def accepts(path):
    with socket.socket(socket.AF_UNIX) as peer:
        return peer.connect_ex(path) == 0


def wait_until(claim, what):
    until = time.monotonic() + PATIENCE
    while not claim():
        if time.monotonic() > until:
            raise TimeoutError("never came true: " + what)
        time.sleep(0.002)


class Cut(Exception):
    """The connection ended inside an answer: what of it came."""

    def __init__(self, head, body):
        super().__init__()
        self.head, self.body = head, body


class Wire:
    """Answers off a stream, read strictly."""

    def __init__(self, path):
        self.peer, self.got, self.ended = socket.socket(socket.AF_UNIX), b"", False
        self.peer.settimeout(PATIENCE)
        self.peer.connect(path)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.peer.close()

    def send(self, data):
        """What isn't taken any more has been refused; the answer says why, or the end does."""
        try:
            self.peer.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def more(self):
        try:
            piece = b"" if self.ended else self.peer.recv(1 << 18)
        except ConnectionResetError:
            piece = b""
        self.ended = self.ended or not piece
        self.got += piece
        return not self.ended

    def take(self, size):
        if size > len(self.got):
            pieces, have = [self.got], len(self.got)
            while have < size:
                self.got = b""
                if not self.more():
                    self.got = b"".join(pieces)
                    return None
                pieces.append(self.got)
                have += len(self.got)
            self.got = b"".join(pieces)
        taken, self.got = self.got[:size], self.got[size:]
        return taken

    def line(self, end=b"\r\n"):
        while end not in self.got:
            if not self.more():
                return None
        taken, _, self.got = self.got.partition(end)
        return taken

    def answer(self, to_head=False):
        """(status line, fields, body, trailers), without Date; None at the end; Cut inside of one."""
        head = self.line(b"\r\n\r\n")
        if head is None:
            if self.got:
                raise Cut(self.got, b"")
            return None
        status, *fields = head.split(b"\r\n")
        if not re.fullmatch(rb"HTTP/1\.1 \d\d\d [ -~]*", status):
            raise ValueError("no status line: %r" % status[:80])
        fields = tuple(field for field in fields if not field.lower().startswith(b"date: "))
        code = int(status[9:12])
        if to_head or code < 200 or code in (204, 304):
            return status, fields, b"", ()
        named = dict(field.lower().split(b": ", 1) for field in fields)
        if named.get(b"transfer-encoding") == b"chunked":
            return (status, fields, *self.chunks(status))
        if b"content-length" not in named:
            raise ValueError("a body that only the end ends: %r" % head[:200])
        body = self.take(int(named[b"content-length"]))
        if body is None:
            raise Cut(status, self.got)
        return status, fields, body, ()

    def chunks(self, status):
        body = []
        while True:
            size = self.line()
            if size is None:
                raise Cut(status, b"".join(body))
            piece = self.take(int(size, 16))
            if piece is None:
                raise Cut(status, b"".join(body) + self.got)
            if not piece:
                break
            body.append(piece)
            end = self.take(2)
            if end is None:
                raise Cut(status, b"".join(body))
            if end != b"\r\n":
                raise ValueError("no line end behind a chunk: %r" % end)
        trailers = []
        while (line := self.line()) != b"":
            if line is None:
                raise Cut(status, b"".join(body))
            trailers.append(line)
        return b"".join(body), tuple(trailers)


def get(target, fields=b"", method=b"GET"):
    return b"%s %s HTTP/1.1\r\nHost: a\r\n%s\r\n" % (method, target, fields)


def put(method, target, body, fields=b""):
    return b"%s %s HTTP/1.1\r\nHost: a\r\n%sContent-Length: %d\r\n\r\n" % (method, target, fields, len(body)) + body


def chunked(method, target, body, size, trailers=b""):
    pieces = [b"%x\r\n%s\r\n" % (len(body[n:n + size]), body[n:n + size]) for n in range(0, len(body), size)]
    return (b"%s %s HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" % (method, target) + b"".join(pieces) +
            b"0\r\n" + trailers + b"\r\n")


def pattern(size):
    return (b"0123456789abcdefghijklmnopqrstuvwxyz+" * (size // 37 + 1))[:size]


class Talk:
    """Pieces to send and, after each, how many answers to wait for; `to_head`: all are to HEAD."""

    def __init__(self, name, *steps, to_head=False, ends=False):
        self.name, self.steps, self.to_head, self.ends = name, steps, to_head, ends

    def run(self, path):
        """The answers in their order; a Cut, or None for the end, may be the last one."""
        got = []
        with Wire(path) as wire:
            for data, count in self.steps:
                wire.send(data)
                if self.ends:
                    wire.peer.shutdown(socket.SHUT_WR)
                for _ in range(count):
                    try:
                        got.append(wire.answer(self.to_head))
                    except Cut as cut:
                        got.append(cut)
                    if got[-1] is None or isinstance(got[-1], Cut):
                        return got
        return got


def frame(first, payload):
    """A masked WebSocket frame (RFC 6455 5.2)."""
    size = len(payload)
    head = bytes([first, 128 | size]) if size < 126 else bytes([first, 254]) + struct.pack(">H", size & 0xffff)
    if size > 65535:
        head = bytes([first, 255]) + struct.pack(">Q", size)
    mask = b"\x01\x20\x33\x44"
    return head + mask + bytes(byte ^ mask[n % 4] for n, byte in enumerate(payload))


class Upgrade:
    """An echo over an upgraded connection: all that comes behind the 101, up to the end."""

    ASK = get(b"/", b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n")

    def __init__(self, name, sizes, at_once):
        frames = [frame(0x82, pattern(size)) for size in sizes] + [frame(0x88, b"\x03\xe8")]
        self.name, self.steps = name, [self.ASK + frames[0], *frames[1:]]
        if at_once:
            self.steps = [b"".join(self.steps)]

    def run(self, path):
        with Wire(path) as wire:
            wire.send(self.steps[0])
            try:
                head = wire.answer()
            except Cut as cut:
                return [cut]
            if head is None or not head[0].startswith(b"HTTP/1.1 101"):
                return [head]
            for data in self.steps[1:]:
                wire.send(data)
            while wire.more():
                pass
            return [(*head[:2], wire.got, ())]


def hello_talks(most):
    sizes = [size for size in (0, 1, 2, 17, 100, 1000, 4095, 4096, 16384, 65536, 102_400) if size <= most]
    echoes = [put(b"POST", b"/echo", pattern(size)) for size in sizes]
    mixed = [get(b"/p%d" % n) for n in range(15)] + echoes[:4] + [get(b"/none/at/all"), get(b"/", method=b"DELETE")]
    return [
        Talk("kept alive", *[(get(b"/n%d" % n), 1) for n in range(8)]),
        Talk("pipelined", (b"".join(mixed), len(mixed))),
        Talk("split heads", (get(b"/split")[:9], 0), (get(b"/split")[9:] + get(b"/x")[:20], 1), (get(b"/x")[20:], 1)),
        Talk("echo", *[(echo, 1) for echo in echoes]),
        Talk("echo, pipelined", (b"".join(echoes), len(echoes))),
        Talk("chunked echo", *[(chunked(b"POST", b"/echo", pattern(size), 1 + size // 7, b"T: v\r\n"), 1)
                               for size in sizes]),
        Talk("continue", (b"POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n", 1),
             (b"hello", 1)),
        Talk("HEAD", (get(b"/", method=b"HEAD") + get(b"/x", method=b"HEAD"), 2), to_head=True),
        Talk("refused", (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 2)),
        Talk("half-closed", (get(b"/half") + put(b"POST", b"/echo", pattern(300)), 3), ends=True),
    ]


def upload_talks(most):
    body = pattern(most)
    return [
        Talk("upload", (put(b"PUT", b"/x", body), 1), (put(b"PUT", b"/x", b""), 1)),
        Talk("upload in chunks", (chunked(b"PUT", b"/x", body, 7000) + chunked(b"PUT", b"/x", body[:90], 9), 2)),
        Talk("download", (get(b"/bytes/%d" % most) + get(b"/bytes/17") + get(b"/bytes/0"), 3)),
        Talk("upload, HEAD", (get(b"/bytes/1000", method=b"HEAD"), 1), to_head=True),
        Talk("upload, 404", (get(b"/bytes/x"), 1)),
    ]


def files_talks(most):
    large = b"/site.bin" if most > 50_000 else b"/small"
    return [
        Talk("file", (get(large), 1), (get(b"/small"), 1), (get(b"/empty"), 1)),
        Talk("ranges", *[(get(large, b"Range: bytes=%s\r\n" % part), 1)
                         for part in (b"0-0", b"5-104", b"-100", b"100-", b"999999999-")]),
        Talk("files, pipelined", ((get(b"/small") + get(large, b"Range: bytes=3-30000\r\n") + get(b"/none")) * 2, 6)),
        Talk("file, HEAD", (get(b"/site.bin", method=b"HEAD"), 1), to_head=True),
        Talk("file, not modified", (get(b"/small", b"If-None-Match: *\r\n"), 1)),
    ]


def upgrade_talks(most):
    sizes = [size for size in (0, 1, 125, 126, 5000, 65536, 70_000) if size <= most]
    return [Upgrade("upgraded", sizes, False), Upgrade("upgraded, all at once", sizes, True)]


ERRORS = (b"500", b"502", b"503", b"504", b"408")


def wrong(expected, got, exact):
    """What is wrong with these answers; "" if nothing is. Unless `exact`, they may be errors or end early."""
    if got == expected:
        return ""
    if exact:
        for n, (one, other) in enumerate(zip(expected, got)):
            if one != other:
                return "answer %d is %s where %s was due" % (n, shown(other), shown(one))
        return "%d answers where %d were due" % (len(got), len(expected))
    at = 0
    for answer in got:
        due = expected[at] if at < len(expected) else None
        if answer is None or answer == due:
            at += 1
            continue
        if isinstance(answer, Cut):
            if due is None or not is_begin(answer, due):
                return "%s before the cut where %s was due" % (shown(answer), shown(due))
            continue
        if due and b"101" == due[0][9:12] == answer[0][9:12] and due[2].startswith(answer[2]):
            at += 1  # an upgraded stream that was cut
            continue
        if answer[0][9:12] not in ERRORS:
            return "answer %d is %s where %s was due" % (at, shown(answer), shown(due))
        at += 1
    return ""


def is_begin(cut, due):
    code = cut.head[9:12]
    if code in ERRORS or len(code) < 3:
        return True
    return (due[0] + b"\r\n").startswith(cut.head[:len(due[0])]) and due[2].startswith(cut.body)


def shown(answer):
    if answer is None:
        return "the end"
    if isinstance(answer, Cut):
        return "cut %r + %d bytes" % (answer.head[:40], len(answer.body))
    return "%r + %d bytes" % (answer[0], len(answer[2]))
