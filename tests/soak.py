"""Good and hostile load on the example servers from many processes.

soak.py SECONDS FOLDER NAME=PID...: NAME's socket is FOLDER/NAME.sock. After the first sixth (5 s at least, at most
a minute), and at the end, the load pauses until the connections are closed; resident memory is
compared between the two, and where it grew once more behind the same load again; open descriptors with what
they were before any load: they are equal, but for the connections that proxy keeps to upload. Those are as
many at both ends, and gone from proxy when upload has been ended, last of all. Last line `N passed, N failed`.
"""
import collections
import multiprocessing
import os
import random
import re
import signal
import socket
import struct
import sys
import threading
import time
import zlib

PATIENCE = 30
SITE = bytes(range(256)) * 2000  # the file that `files` serves


def connect(path):
    peer = socket.socket(socket.AF_UNIX)
    peer.settimeout(PATIENCE)
    peer.connect(path)
    return peer


class Wire:
    """Answers, read from a stream as strictly as this test needs."""

    def __init__(self, path, peer=None):
        self.peer, self.got = peer or connect(path), b""

    @classmethod
    def of(cls, peer):
        return cls("", peer)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.peer.close()

    def more(self):
        piece = self.peer.recv(1 << 18)
        if not piece:
            raise EOFError("cut off behind %r" % self.got[:60])
        self.got += piece

    def until(self, end):
        while end not in self.got:
            self.more()
        line, _, self.got = self.got.partition(end)
        return line

    def exactly(self, size):
        pieces, left = [], size
        while left > len(self.got):
            left -= len(self.got)
            pieces.append(self.got)
            self.got = b""
            self.more()
        pieces.append(self.got[:left])
        self.got = self.got[left:]
        return b"".join(pieces)

    def answer(self):
        while True:
            head = self.until(b"\r\n\r\n")
            status = int(head.split(b" ", 2)[1])
            if status != 100:
                break
        size = re.search(rb"\r\nContent-Length: (\d+)", head, re.I)
        if size:
            return status, self.exactly(int(size[1]))
        body = b""
        if re.search(rb"\r\nTransfer-Encoding: chunked", head, re.I):
            while count := int(self.until(b"\r\n"), 16):
                body += self.exactly(count)
                self.exactly(2)
            self.until(b"\r\n")
        return status, body

    def ask(self, request):
        self.peer.sendall(request)
        return self.answer()


def get(target, extra=b""):
    return b"GET %s HTTP/1.1\r\nHost: a\r\n%s\r\n" % (target, extra)


def send(method, target, body, chunked=False):
    head = b"%s %s HTTP/1.1\r\nHost: a\r\n" % (method, target)
    if not chunked:
        return head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    pieces = [body[n:n + 7000] for n in range(0, len(body), 7000)]
    framed = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    return head + b"Transfer-Encoding: chunked\r\n\r\n" + framed + b"0\r\n\r\n"


# Good requests: every answer has to be right. Each function is one round, and says how many.

def same(got, wanted):
    if got != wanted:
        raise ValueError("%r where %r was due" % (str(got)[:80], str(wanted)[:80]))
    return 1


def good_kept(at, rng):
    with Wire(at["hello"]) as wire:
        return sum(same(wire.ask(get(b"/n%d" % n)), (200, b"Hello n%d" % n)) for n in range(200))


def good_new(at, rng):
    count = 0
    for n in range(20):
        with Wire(at["hello"]) as wire:
            count += same(wire.ask(get(b"/", b"Connection: close\r\n")), (200, b"Hello Anonymous"))
            count += same(wire.peer.recv(1), b"")
    return count


def good_pipeline(at, rng):
    with Wire(at["hello"]) as wire:
        wire.peer.sendall(b"".join(get(b"/p%d" % n) for n in range(100)))
        return sum(same(wire.answer(), (200, b"Hello p%d" % n)) for n in range(100))


def good_echo(at, rng):
    count = 0
    with Wire(at["hello"]) as wire:
        for size in (0, 1, 1000, 70_000, 1 << 20):
            body = rng.randbytes(size)
            count += same(wire.ask(send(b"POST", b"/echo", body, size % 3 == 1)), (200, body))
    return count


def good_half_closed(at, rng):
    with Wire(at["hello"]) as wire:
        wire.peer.sendall(get(b"/half"))
        wire.peer.shutdown(socket.SHUT_WR)
        return same(wire.answer(), (200, b"Hello half")) + same(wire.peer.recv(1), b"")


def good_files(at, rng):
    first = rng.randrange(len(SITE))
    last = rng.randrange(first, len(SITE))
    with Wire(at["files"]) as wire:
        count = same(wire.ask(get(b"/site.bin")), (200, SITE))
        part = wire.ask(get(b"/site.bin", b"Range: bytes=%d-%d\r\n" % (first, last)))
        return count + same(part, (206, SITE[first:last + 1])) + same(wire.ask(get(b"/none"))[0], 404)


def good_upload(at, rng, name="upload"):
    body = rng.randbytes(rng.randrange(1 << 21))
    told = b"%d %08x" % (len(body), zlib.crc32(body))
    with Wire(at[name]) as wire:
        count = same(wire.ask(send(b"PUT", b"/x", body)), (200, told))
        count += same(wire.ask(send(b"PUT", b"/x", body, True)), (200, told))
        return count + same(wire.ask(get(b"/bytes/300000")), (200, b"x" * 300_000))


def good_proxy(at, rng):
    return good_upload(at, rng, "proxy")


# Hostile ones: what they are told doesn't matter; whether the server gets over it does.

def bad_slow_heads(at, rng):
    peers = [connect(at["hello"]) for _ in range(30)]
    begun = time.monotonic()
    try:
        for byte in get(b"/slow"):
            for peer in peers:
                peer.send(bytes([byte]))
            time.sleep(0.2 + rng.random() / 5)
        raise ValueError("a slow head was never refused")
    except BrokenPipeError:
        if time.monotonic() - begun < 4:
            raise ValueError("a slow head was refused too soon") from None
    return sum(same(Wire.of(peer).answer()[0], 408) for peer in peers)


def bad_slow_readers(at, rng):
    peers = [connect(at[name]) for name in ("upload", "proxy", "upload")]
    for peer in peers:
        peer.sendall(get(b"/bytes/100000000"))
    peers.append(connect(at["files"]))
    peers[-1].sendall(get(b"/site.bin") * 20)
    for _ in range(20):
        for peer in peers:
            peer.recv(1000)
        time.sleep(0.05)
    return len(peers)


def bad_killed(at, rng):
    """A client that is killed in whatever it does."""
    ready, told = os.pipe()
    child = os.fork()
    if child == 0:
        states = [b"", b"GET / HT", get(b"/"), get(b"/") * 50, send(b"POST", b"/echo", b"x" * 9000)[:5000],
                  b"PUT /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
                  get(b"/bytes/50000000")]
        kept = []
        try:
            for name in at:
                for state in states:
                    kept.append(connect(at[name]))
                    kept[-1].sendall(state)
            os.write(told, b"x")
            time.sleep(PATIENCE)
        finally:
            os._exit(0)
    os.close(told)
    os.read(ready, 1)
    os.close(ready)
    time.sleep(rng.random() / 20)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return 1


def bad_stopped(at, rng):
    """The proxy is stopped for a moment, so that as much as there is room for waits on both its sides: what
    its loop reads and writes at once, and keeps the room for, is as large in the first minute as ever."""
    body = b"x" * 3_000_000
    with Wire(at["proxy"]) as down, Wire(at["proxy"]) as up:
        pid = struct.unpack("3i", down.peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
        down.peer.sendall(get(b"/bytes/%d" % len(body)))
        down.more()
        sender = threading.Thread(target=up.peer.sendall, args=(send(b"PUT", b"/x", body),))
        os.kill(pid, signal.SIGSTOP)
        try:
            sender.start()
            time.sleep(0.1)
        finally:
            os.kill(pid, signal.SIGCONT)
        count = same(down.answer(), (200, body)) + same(up.answer()[0], 200)
        sender.join()
    return count


def bad_half_closes(at, rng):
    whole = send(b"POST", b"/echo", b"x" * 300)
    for name in at:
        for _ in range(10):
            with connect(at[name]) as peer:
                peer.sendall(whole[:rng.randrange(len(whole))])
                peer.shutdown(rng.choice((socket.SHUT_WR, socket.SHUT_RD, socket.SHUT_RDWR)))
                if rng.random() < 0.5:
                    peer.recv(100)
    return 10


def bad_garbage(at, rng):
    bases = [get(b"/x"), send(b"POST", b"/echo", b"abc"), send(b"PUT", b"/x", b"a" * 99, True), rng.randbytes(300)]
    for name in at:
        for _ in range(20):
            case = bytearray(rng.choice(bases))
            for _ in range(rng.randrange(5)):
                case[rng.randrange(len(case))] = rng.randrange(256)
            with connect(at[name]) as peer:
                peer.sendall(case)
                peer.shutdown(socket.SHUT_WR)
                while peer.recv(65536):
                    pass
    return 20


def bad_floods(at, rng):
    """Requests whose answers nobody reads, then many connections at once."""
    with connect(at["hello"]) as peer:
        peer.settimeout(0.5)
        try:
            peer.sendall(get(b"/flood") * 20_000)
        except TimeoutError:
            pass  # it reads no more while its answers find no room
    peers = [connect(at[rng.choice(list(at))]) for _ in range(200)]
    for peer in peers:
        peer.close()
    return 1


def bad_bodies(at, rng):
    """More than the limit, by length and in chunks, and one that is cut short."""
    for head in (b"Content-Length: 99999999999\r\n\r\n", b"Content-Length: 8388609\r\n\r\n",
                 b"Transfer-Encoding: chunked\r\n\r\n", b"Content-Length: 8000000\r\n\r\n"):
        with connect(at["hello"]) as peer:
            peer.sendall(b"POST /echo HTTP/1.1\r\nHost: a\r\n" + head)
            piece = b"10000\r\n" + b"x" * 65536 + b"\r\n"
            try:
                for _ in range(100 if b"8000000" in head else 140):
                    peer.sendall(piece)
                peer.shutdown(socket.SHUT_WR)
            except (BrokenPipeError, ConnectionResetError):
                pass  # refused
            peer.recv(65536)
    return 4


def worker(act, at, seed, until, results):
    rng, count, faults, rounds = random.Random(seed), 0, [], 0
    while time.monotonic() < until:
        rounds += 1
        try:
            count += act(at, rng)
        except (BrokenPipeError, ConnectionResetError, TimeoutError, EOFError) as fault:
            if act.__name__.startswith("good"):
                faults.append(repr(fault))
        except (ValueError, OSError) as fault:
            faults.append(repr(fault))
        if act.__name__.startswith("bad"):
            time.sleep(0.02)  # the good ones are to get a word in
    results.put((act.__name__, count, faults, rounds))


def load(at, seconds, seed):
    acts = [act for name, act in globals().items() if name.startswith(("good_", "bad_"))]
    results, until = multiprocessing.Queue(), time.monotonic() + seconds
    started = [multiprocessing.Process(target=worker, args=(act, at, seed * 100 + n, until, results))
               for n, act in enumerate(acts)]
    for process in started:
        process.start()
    told = [results.get(timeout=seconds + 4 * PATIENCE) for _ in started]
    for process in started:
        process.join()
    return told


def resident(pid):
    with open("/proc/%d/status" % pid, encoding="ascii") as lines:
        return int(re.search(r"VmRSS:\s+(\d+)", lines.read())[1])


def descriptors(pids):
    return {name: len(os.listdir("/proc/%d/fd" % pid)) for name, pid in pids.items()}


POOL = 16  # connections that proxy keeps to upload, until upload's idle timeout (75 s) ends them


def with_kept(before, now):
    """What there was before, and the connections that proxy keeps now: one descriptor at either end."""
    count = min(POOL, max(0, now["proxy"] - before["proxy"]))
    return {name: before[name] + (count if name in ("proxy", "upload") else 0) for name in before}


def settle(pids, before):
    """Until all connections are closed, but for those that proxy keeps: resident memory, descriptors."""
    until = time.monotonic() + 90
    while (now := descriptors(pids)) != with_kept(before, now) and time.monotonic() < until:
        time.sleep(0.1)
    return {name: resident(pid) for name, pid in pids.items()}, now


def grew(early, late):
    return {name: late[name] > 1.05 * early[name] for name in early}


def without_upload(pids, before):
    """Ends upload; the proxy's descriptors, once they are as before or that takes too long."""
    os.kill(pids["upload"], signal.SIGTERM)
    until = time.monotonic() + PATIENCE
    while (now := descriptors({"proxy": pids["proxy"]})["proxy"]) != before["proxy"] and time.monotonic() < until:
        time.sleep(0.1)
    return now


def main():
    seconds, folder = float(sys.argv[1]), sys.argv[2]
    pids = {name: int(pid) for name, pid in (pair.split("=") for pair in sys.argv[3:])}
    at = {name: "%s/%s.sock" % (folder, name) for name in pids}
    before = descriptors(pids)
    first = min(60, max(seconds / 6, min(5, seconds / 2)))  # all that is kept for good has to be needed once
    told = load(at, first, 1)
    early, _ = settle(pids, before)
    told += load(at, seconds - first, 2)
    late, now = settle(pids, before)
    if any(grew(early, late).values()):  # what was needed for the first time only now isn't needed twice
        early, told = late, told + load(at, seconds - first, 3)
        late, now = settle(pids, before)
    grown = grew(early, late)
    due, alone = with_kept(before, now), without_upload(pids, before)
    counts, faults, rounds = collections.Counter(), collections.defaultdict(list), collections.Counter()
    for name, count, more, turns in told:
        counts[name] += count
        rounds[name] += turns
        faults[name] += more
    passed = failed = 0

    def check(good, what):
        nonlocal passed, failed
        passed, failed = passed + bool(good), failed + (not good)
        print("%-60s %s" % (what, "ok" if good else "FAILED"))

    for name in counts:
        kind, what = name.split("_", 1)
        check(not faults[name] and rounds[name],
              "%s: %s: %d in %d rounds" % (kind, what, counts[name], rounds[name]))
        for fault, times in collections.Counter(faults[name]).most_common(3):
            print("    %d times %s" % (times, fault))
    for name in pids:
        check(now[name] == due[name], "%s: descriptors %d, then %d, of which %d are kept" % (
            name, before[name], now[name], due[name] - before[name]))
        check(not grown[name], "%s: resident %d KiB, then %d KiB: %+.1f %%" % (
            name, early[name], late[name], 100 * (late[name] / early[name] - 1)))
    check(alone == before["proxy"], "proxy: descriptors %d once upload has ended" % alone)
    print("%d passed, %d failed" % (passed, failed))
    return failed > 0


if __name__ == "__main__":
    multiprocessing.set_start_method("fork")
    sys.exit(main())
