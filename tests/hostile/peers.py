"""Peers that are slow, silent, stopped, killed, or too many, from both sides.

peers.py BUILD EXAMPLES FOLDER [WORD]: where server and caller are, where the examples are, an empty
folder; only the tests whose name has WORD in it. Nothing is measured by the clock: what has to stay
idle is asked how often it woke up and how much of the processor it had. Last line `N passed, N failed`.
"""
import contextlib
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "faults"))
from faults import PATIENCE, Cut, Wire, chunked, get, put, wait_until  # noqa: E402

passed = failed = 0
GIB = 1 << 30
SHORT = ["head_timeout=300", "body_timeout=300", "write_timeout=300", "idle_timeout=300"]


def check(what, good, why=""):
    global passed, failed
    passed, failed = passed + bool(good), failed + (not good)
    if not good:
        print("%s: FAILED %s" % (what, why), flush=True)
    elif os.environ.get("VERBOSE"):
        print("%s: ok" % what, flush=True)


def same(what, wanted, got):
    check(what, wanted == got, "\n  expected %r\n  got      %r" % (wanted, got))


def comes(claim):
    try:
        wait_until(claim, "")
        return True
    except TimeoutError:
        return False


class Server:
    """A program that serves, and what it has used and said so far."""
    count = 0

    def __init__(self, *options, program=None, path=None, files=None):
        Server.count += 1
        self.path = path or "%s/s%d.sock" % (FOLDER, Server.count)
        self.log = "%s/s%d.log" % (FOLDER, Server.count)
        command = [program or BUILD + "/server", self.path, *options]
        if files:  # as many descriptors, no more
            command = ["prlimit", "--nofile=%d" % files, *command]
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        self.pid = self.process.pid
        wait_until(lambda: self.process.poll() is not None or self.says("listening") or (program and reachable(self.path)),
                   "it serves")
        comes(lambda: self.asleep())
        self.bare = self.descriptors()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if self.process.poll() is None:
            self.process.terminate()
        try:
            status = self.process.wait(PATIENCE * 2)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        if not kind:
            same("%s ends with 0" % " ".join(self.process.args[:5]), 0, status)

    def says(self, text, times=1):
        with open(self.log, encoding="utf-8", errors="replace") as log:
            return log.read().count(text) >= times

    def alive(self):
        return self.process.poll() is None

    def asleep(self):
        with open("/proc/%d/stat" % self.pid, encoding="ascii") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] == "S"

    def descriptors(self):
        return len(os.listdir("/proc/%d/fd" % self.pid)) if self.alive() else -1

    def settles(self):
        """All connections are gone, and their descriptors too."""
        return comes(lambda: self.descriptors() == self.bare)

    def wire(self):
        return Wire(self.path)

    def status(self, request):
        with self.wire() as wire:
            wire.send(request)
            return status_of(wire)

    def serves(self):
        return self.status(get(b"/")) == 200

    def used(self):
        """Wake-ups and ticks of the processor, of all threads."""
        switches = ticks = 0
        for task in os.listdir("/proc/%d/task" % self.pid):
            at = "/proc/%d/task/%s/" % (self.pid, task)
            with open(at + "status", encoding="ascii") as status:
                switches += int(re.search(r"\nvoluntary_ctxt_switches:\s+(\d+)", status.read())[1])
            with open(at + "stat", encoding="ascii") as stat:
                ticks += sum(map(int, stat.read().rsplit(")", 1)[1].split()[11:13]))
        return switches, ticks

    def stays_idle(self, what, wakes=6):
        """Over a second; the rest of the machine can't make it busy."""
        before = self.used()
        time.sleep(1)
        after = self.used()
        woken, ticks = after[0] - before[0], after[1] - before[1]
        check("%s: it stays idle" % what, woken <= wakes and ticks <= 3, "%d wake-ups, %d ticks" % (woken, ticks))

    def signals(self):
        with open("/proc/%d/status" % self.pid, encoding="ascii") as status:
            text = status.read()
        return [int(re.search(name + r":\s+(\w+)", text)[1], 16) >> (signal.SIGPIPE - 1) & 1
                for name in ("SigBlk", "SigIgn", "SigCgt")]


def reachable(path):
    with socket.socket(socket.AF_UNIX) as peer:
        return peer.connect_ex(path) == 0


def status_of(wire):
    """Of the next answer; "end" or "cut" if there is none."""
    try:
        answer = wire.answer()
    except Cut:
        return "cut"
    return int(answer[0][9:12]) if answer else "end"


@contextlib.contextmanager
def forked(act):
    """A process that runs `act(tell)`, up to its `tell()`; yields its id. It is killed in the end."""
    ready, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(ready)
            signal.alarm(6 * PATIENCE)
            act(lambda: os.write(told, b"x"))
        finally:
            os._exit(0)
    os.close(told)
    try:
        os.read(ready, 1)
        yield pid
    finally:
        os.close(ready)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)


# -- too many ---------------------------------------------------------------------------------------

def test_exhausted_descriptors():
    for threads in (1, 2):
        what = "64 descriptors, 500 clients, %d loops" % threads
        with Server("threads=%d" % threads, files=64) as server:
            waiting = [server.wire() for _ in range(500)]
            for wire in waiting:
                wire.peer.setblocking(False)
                wire.peer.send(get(b"/"))
            inside = answered(waiting, 40)
            check("%s: some are in" % what, 40 <= len(inside) < 64, str(len(inside)))
            server.stays_idle(what, 30 * threads)  # it looks ten times a second for room
            again = 0
            for wire in inside:
                wire.peer.settimeout(PATIENCE)
                wire.send(get(b"/"))
                again += status_of(wire) == 200
            same("%s: nobody who is in is dropped" % what, len(inside), again)
            done = 0
            while inside:
                done += len(inside)
                for wire in inside:
                    waiting.remove(wire)
                    wire.peer.close()
                inside = answered(waiting, min(20, len(waiting)))
            same("%s: all are answered" % what, 500, done)
            check("%s: no descriptor is left over" % what, server.settles(), str(server.descriptors()))
            check("%s: it serves on" % what, server.serves())


def answered(waiting, least):
    """Those who have an answer, once they are `least` and no more of them come."""
    inside, until, quiet = [], time.monotonic() + PATIENCE, 0
    while time.monotonic() < until and (len(inside) < least or quiet < 5):
        before = len(inside)
        for wire in waiting:
            if wire in inside:
                continue
            with contextlib.suppress(BlockingIOError):
                wire.got += wire.peer.recv(4096)
                if wire.got.startswith(b"HTTP/1.1 200") and wire.got.endswith(b"hello"):
                    wire.got = b""
                    inside.append(wire)
        quiet = quiet + 1 if len(inside) == before else 0
        time.sleep(0.01)
    return inside


def test_idle_states():
    with Server() as server:
        with server.wire() as wire:
            wire.send(get(b"/later/1500"))
            wire.peer.shutdown(socket.SHUT_WR)
            server.stays_idle("a half-closed client that waits")
            same("a half-closed client gets its answer", (200, "end"), (status_of(wire), status_of(wire)))
        with server.wire() as wire:
            wire.send(get(b"/later/1500") + get(b"/") * 100)  # unread while the first is pending
            server.stays_idle("requests behind a pending one")
            same("they are answered in their order", [200] * 101, [status_of(wire) for _ in range(101)])
        with server.wire() as wire:
            wire.send(get(b"/bytes/%d" % GIB))
            wire.peer.recv(1000)
            comes(server.asleep)
            server.stays_idle("a client that doesn't read")
        check("no descriptor is left over", server.settles())


def test_superseded():
    with Server() as old:
        with old.wire() as kept:
            kept.send(get(b"/"))
            same("before a take-over", 200, status_of(kept))
            with Server("take_over=1", path=old.path) as new:
                old.stays_idle("a superseded listener")
                new.stays_idle("its successor")
                kept.send(get(b"/"))
                same("a superseded server goes on with whom it has", 200, status_of(kept))
                with new.wire() as wire:
                    wire.send(get(b"/stats"))
                    body = wire.answer()[2]
                check("new ones go to the successor", int(body.split()[1]) >= 1, str(body))
                old.process.terminate()
                same("a superseded server ends with 0", 0, old.process.wait(PATIENCE))
                check("the path is its successor's", new.serves())


def test_full_backlog():
    with Server() as server:
        os.kill(server.pid, signal.SIGSTOP)
        with open("/proc/sys/net/core/somaxconn", encoding="ascii") as file:
            room = min(int(file.read()), 4096) + 1
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(8192, resource.getrlimit(resource.RLIMIT_NOFILE)[1]),) * 2)
        wires = []
        try:
            for _ in range(room):
                peer = socket.socket(socket.AF_UNIX)
                peer.setblocking(False)
                peer.connect(server.path)
                peer.send(get(b"/", b"Connection: close\r\n"))
                wires.append(peer)
        except BlockingIOError:
            peer.close()
        for how in ("get", "async_get"):
            done = call(server.path, how)
            same("a full backlog, %s" % how, "failed timed_out, 0 left over", done.told)
            check("a full backlog, %s: it waits, it doesn't spin" % how, done.ticks < 0.3, str(done.ticks))
        os.kill(server.pid, signal.SIGCONT)
        good = 0
        for peer in wires:
            peer.settimeout(PATIENCE)
            good += peer.recv(100).startswith(b"HTTP/1.1 200")
            peer.close()
        same("everybody in a full backlog is answered", len(wires), good)
        check("no descriptor is left over", server.settles())


# -- clients that die -------------------------------------------------------------------------------

CLIENT_STATES = [
    ("connected", b"", None),
    ("half a head", b"GET / HTTP/1.1\r\nHo", None),
    ("half a body", put(b"POST", b"/echo", b"x" * 5000)[:3000], None),
    ("half a large body", put(b"POST", b"/echo", b"x" * 2_000_000)[:1_000_000], None),
    ("half a streamed body", put(b"PUT", b"/body", b"x" * 5000)[:3000], "cut: "),
    ("half a chunk", chunked(b"PUT", b"/body", b"x" * 5000, 1000)[:2500], "cut: "),
    ("a large answer", get(b"/memory/50000000"), None),
    ("a pulled answer", get(b"/bytes/%d" % GIB), None),
    ("a streamed answer", get(b"/stream/%d" % GIB), "closed"),
    ("a pending answer", get(b"/later/100000"), "closed"),
    ("many requests", get(b"/bytes/100000") * 500, None),
    ("an upgraded stream", get(b"/upgrade", b"Connection: Upgrade\r\nUpgrade: echo\r\n") + b"x" * 5000, "upgraded: ended"),
]


def in_state(path, data, reads=True):
    def act(tell):
        wire = Wire(path)
        wire.peer.setblocking(False)
        try:
            while data and (sent := wire.peer.send(data[act.sent:])):
                act.sent += sent
        except BlockingIOError:
            pass
        wire.peer.settimeout(0.05)
        if reads:
            with contextlib.suppress(OSError):
                wire.got = wire.peer.recv(1000)
        tell()
        act.then(wire)
    act.sent, act.then = 0, lambda wire: time.sleep(5 * PATIENCE)
    return act


def test_killed_clients():
    with Server() as server:
        grown = []
        for turn in range(12): # a loop's memory grows to its largest use, whichever turn that is in
            if turn >= 6 and grown[-1] <= grown[-4] * 1.05:
                break
            for what, data, line in CLIENT_STATES:
                times = log_count(server, line)
                with forked(in_state(server.path, data)) as pid:
                    comes(lambda: server.descriptors() > server.bare)
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)
                    gone = server.settles()
                if turn == 0 or not gone:
                    check("client killed: %s: no descriptor is left over" % what, gone, str(server.descriptors()))
                    check("client killed: %s: its handler hears of it" % what, not line or
                          comes(lambda: log_count(server, line) == times + 1))
                    check("client killed: %s: it serves on" % what, server.serves())
            grown.append(memory_of(server.pid))
        check("clients killed again and again: no memory is left over", grown[-1] <= grown[-4] * 1.05, str(grown))
        same("SIGPIPE is neither blocked, ignored nor caught", [0, 0, 0], server.signals())


def log_count(server, line):
    if not line:
        return 0
    with open(server.log, encoding="utf-8", errors="replace") as log:
        return log.read().count(line)


def memory_of(pid):
    with open("/proc/%d/status" % pid, encoding="ascii") as status:
        return int(re.search(r"VmRSS:\s+(\d+)", status.read())[1])


def test_unread_data():
    """A close with bytes unread is a reset to the other side (unix(7)); and EPIPE, by every way out."""
    with Server() as server:
        for what, data, _ in CLIENT_STATES:
            for how in (socket.SHUT_RD, socket.SHUT_WR, socket.SHUT_RDWR, None):
                for _ in range(3):
                    with server.wire() as wire:
                        wire.peer.settimeout(0.02)
                        with contextlib.suppress(OSError):
                            wire.peer.send(data)
                        if how is not None:
                            with contextlib.suppress(OSError):
                                wire.peer.shutdown(how)
            check("closed unread: %s" % what, server.settles() and server.serves(), str(server.descriptors()))
        same("SIGPIPE is neither blocked, ignored nor caught", [0, 0, 0], server.signals())
    site = FOLDER + "/site"
    os.makedirs(site, exist_ok=True)
    with open(site + "/large", "wb") as file:
        file.truncate(300 << 20)
    with Server(site, program=EXAMPLES + "/files") as server:
        for how in (socket.SHUT_RD, None):
            for _ in range(10):
                with server.wire() as wire:
                    wire.send(get(b"/large"))
                    wire.peer.recv(1000)
                    if how is not None:
                        wire.peer.shutdown(how)
            check("sendfile to nobody", server.settles() and server.status(get(b"/none")) == 404)
        same("SIGPIPE is neither blocked, ignored nor caught", [0, 0, 0], server.signals())


def test_stopped_clients():
    with Server(*SHORT) as server:
        for what, data, _ in CLIENT_STATES:
            if what in ("a pending answer", "an upgraded stream"):
                continue  # may take as long as they like
            act = in_state(server.path, data)
            told, tells = os.pipe()
            act.then = lambda wire, tells=tells: os.write(tells, rest_of(wire).encode())
            with forked(act) as pid:
                os.kill(pid, signal.SIGSTOP)
                check("stopped: %s: its connection ends" % what, server.settles(), str(server.descriptors()))
                os.kill(pid, signal.SIGCONT)
                got = os.read(told, 100).decode()
                wanted = "408" if what.startswith("half") else "end" if what == "connected" else "cut"
                if what == "many requests":
                    wanted = got if got in ("cut", "end") else "cut or end"
                same("stopped: %s: what it sees" % what, wanted, got)
            os.close(told)
            os.close(tells)
        check("it serves on", server.serves())


def rest_of(wire):
    """The last of what a client sees: a status, "cut", "end", or what is wrong with it."""
    wire.peer.settimeout(PATIENCE)
    last = 200
    try:
        while last == 200:
            last = status_of(wire)
    except (ValueError, OSError) as fault:
        return repr(fault)
    return str(last)


# -- servers that die -------------------------------------------------------------------------------

HEAD = b"HTTP/1.1 200 OK\r\n"
SERVER_STATES = [  # name, bytes to read before, bytes to send, whether it is a whole answer
    ("not accepted", None, b""),
    ("accepted", 0, b""),
    ("the request is read", 10, b""),
    ("100 Continue", 10, b"HTTP/1.1 100 Continue\r\n\r\n"),
    ("half a status line", 10, b"HTTP/1.1 20"),
    ("half a head", 10, HEAD + b"Content-Le"),
    ("a head", 10, HEAD + b"Content-Length: 100\r\n\r\n"),
    ("half a body", 10, HEAD + b"Content-Length: 100\r\n\r\nhello"),
    ("half a chunk size", 10, HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1"),
    ("half a chunk", 10, HEAD + b"Transfer-Encoding: chunked\r\n\r\n100\r\nhello"),
    ("no last chunk", 10, HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"),
    ("half a trailer", 10, HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: "),
]
UPGRADED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhello"


def raw_server(path, reads, sends):
    """Gets so far with one client, and stays there."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(5)

    def act(tell):
        if reads is None:
            tell()
            time.sleep(5 * PATIENCE)
        os.write(act.started, b"x")
        peer, _ = listener.accept()
        if reads:
            peer.recv(65536)
        peer.sendall(sends)
        tell()
        time.sleep(5 * PATIENCE)
    return listener, act


class call:
    """caller, or fetch: what it told, and how much of the processor it had, in seconds."""

    def __init__(self, path, how, during=None):
        command = [BUILD + "/caller", path, how]
        if how == "fetch":
            command = [EXAMPLES + "/fetch", "--timeout", "400", "-o", FOLDER + "/fetched",
                       "http+unix://%s/" % path.replace("/", "%2F")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            if during:
                during()
            self.told = process.stdout.read().decode().strip()
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = self.status = os.waitstatus_to_exitcode(status)
        self.ticks = used.ru_utime + used.ru_stime


def peer_fails(state, how, signal_number):
    """What `how` tells when its server is sent a signal in this state."""
    path = FOLDER + "/raw.sock"
    listener, act = raw_server(path, *state)
    started, act.started = os.pipe()
    ready, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            signal.alarm(6 * PATIENCE)
            act(lambda: os.write(told, b"x"))
        finally:
            os._exit(0)
    listener.close()

    def strike():
        os.read(ready, 1)
        if state[0] is None:
            wait_until(lambda: queued(path), "somebody waits")
        os.kill(pid, signal_number)
    try:
        return call(path, how, strike)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        for fd in (started, act.started, ready, told):
            os.close(fd)


def queued(path):
    """Somebody has connected, and is not accepted yet: two sockets bear the path besides the listener's."""
    with open("/proc/net/unix", encoding="utf-8") as table:
        return sum(line.rstrip().endswith(path) for line in table) >= 2


def test_killed_servers():
    for what, *state in SERVER_STATES:
        for how in ("get", "stream", "upload", "async_get", "async_stream", "fetch"):
            causes, words = ["cut_off"], ["ended inside"]
            if how == "upload":
                causes.append("broken_pipe")
            if "accepted" in what:  # nothing was: it is sent once more, and nobody is there
                causes.append("connection_refused"), words.append("refused")
            judge_call("server killed: %s: %s" % (what, how), peer_fails(state, how, signal.SIGKILL), how,
                       causes, *words)
    for how in ("upgrade", "async_upgrade"):
        done = peer_fails((10, UPGRADED), how, signal.SIGKILL)
        check("server killed: an upgraded stream: %s" % how,
              done.status == 0 and done.told in ("ok 101 5, 0 left over", "failed cut_off, 0 left over"), done.told)
    path = FOLDER + "/raw.sock"  # nobody listens there any more
    for how in ("get", "async_get", "fetch"):
        judge_call("server killed before: " + how, call(path, how), how, ("connection_refused",), "refused")


def test_stopped_servers():
    for what, *state in SERVER_STATES:
        calls = ("get",)  # each waits for its deadline: all of them in two states only
        if what in ("the request is read", "half a body"):
            calls = ("get", "post", "stream", "upload", "async_get", "async_stream", "fetch")
        for how in calls:
            judge_call("server stopped: %s: %s" % (what, how), peer_fails(state, how, signal.SIGSTOP), how,
                       ("timed_out",), "timed out")


def judge_call(what, done, how, causes, *words):
    if how == "fetch":
        line = done.told
        check(what, done.status == 1 and "\n" not in line and ".sock" in line and any(one in line.lower() for one in words), line)
        same(what + ": no file is left", [], [name for name in os.listdir(FOLDER) if name.startswith("fetched")])
    else:
        check(what, done.status == 0 and done.told in ["failed %s, 0 left over" % cause for cause in causes], done.told)
    check(what + ": it doesn't spin", done.ticks < 0.3, "%.2f s of the processor" % done.ticks)


def test_proxied():
    """An upstream that dies: 502, or a cut behind the head; and the proxy serves on."""
    for what, *state in SERVER_STATES[2:]:
        path = FOLDER + "/raw.sock"
        listener, act = raw_server(path, *state)
        _, act.started = os.pipe()
        with Server(path, program=EXAMPLES + "/proxy") as proxy:
            with proxy.wire() as wire:
                wire.send(get(b"/"))
                with forked(act) as pid:
                    listener.close()
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)
                    wanted = "cut" if b"\r\n\r\n" in state[1] and b" 100 " not in state[1] else 502
                    same("upstream killed: " + what, wanted, status_of(wire))
            check("upstream killed: %s: no descriptor is left over" % what, proxy.settles(), str(proxy.descriptors()))
            same("upstream killed: %s: it serves on" % what, 502, proxy.status(get(b"/")))
        os.close(act.started)


# -- deadlines and limits ---------------------------------------------------------------------------

def test_deadlines():
    with Server(*SHORT) as server:
        for what, data, statuses in (
                ("nothing", b"", ["end"]),
                ("a request, then nothing", get(b"/"), [200, "end"]),
                ("a slow head", b"GET / HT", [408, "end"]),
                ("a slow head behind a request", get(b"/") + b"GET", [200, 408, "end"]),
                ("a slow body", put(b"POST", b"/echo", b"hello")[:-2], [408, "end"]),
                ("a slow streamed body", put(b"PUT", b"/body", b"hello")[:-2], [408, "end"]),
                ("a slow chunk", chunked(b"POST", b"/echo", b"hello", 5)[:-9], [408, "end"])):
            with server.wire() as wire:
                wire.send(data)
                same(what, statuses, [status_of(wire) for _ in statuses])
        with server.wire() as wire:
            for byte in get(b"/", b"X: %s\r\n" % (b"x" * 1000)):
                wire.send(bytes([byte]))
                if select_in(wire, 0.01):
                    break
            same("a head that drips", 408, status_of(wire))
        with server.wire() as wire:
            wire.send(put(b"POST", b"/echo", b"x" * 10)[:-10])
            for _ in range(10):
                time.sleep(0.1)  # the pace of this sender: a second in all
                wire.send(b"x")
            same("a slow body that goes on is no slow body", 200, status_of(wire))
        check("the reader of a slow streamed body heard of it", server.says("cut: "))
        for target in (b"/bytes/%d" % GIB, b"/memory/50000000", b"/stream/%d" % GIB):
            with server.wire() as wire:
                wire.send(get(target))
                check("never read: %s: begins" % target.decode(), select_in(wire, PATIENCE))
                check("never read: %s: cut" % target.decode(), server.settles(), str(server.descriptors()))
                same("never read: %s: what it sees" % target.decode(), "cut", rest_of(wire))
        check("it serves on", server.serves())
        check("memory is bounded", memory_of(server.pid) < 150_000, str(memory_of(server.pid)))


def select_in(wire, seconds):
    wire.peer.settimeout(seconds)
    try:
        return bool(wire.peer.recv(1, socket.MSG_PEEK)) or True
    except (TimeoutError, BlockingIOError):
        return False
    finally:
        wire.peer.settimeout(PATIENCE)


def head_of(size):
    head = get(b"/", b"X: \r\n")
    return head[:-4] + b"x" * (size - len(head)) + b"\r\n\r\n"


def target_of(size):
    return get(b"/?" + b"q" * (size - 2))


def fields_of(count):
    return get(b"/", b"X: y\r\n" * (count - 1))  # and Host


def body_of(size):
    return put(b"POST", b"/echo", b"x" * size)


def chunks_of(size):
    return chunked(b"POST", b"/echo", b"x" * size, 700 if size < 10_000 else 70_000)


def limit(what, server, make, at, status):
    for size, wanted in ((at - 1, 200), (at, 200), (at + 1, status)):
        same("%s, %d where %d may be" % (what, size, at), wanted, server.status(make(size)))


def test_limits():
    with Server("max_head_bytes=1000", "max_target_bytes=100", "max_fields_count=10", "max_body_bytes=1000") as server:
        limit("head", server, head_of, 1000, 431)
        limit("target", server, target_of, 100, 414)
        limit("fields", server, fields_of, 10, 431)
        limit("body", server, body_of, 1000, 413)
        limit("chunks", server, chunks_of, 1000, 413)
        check("no descriptor is left over", server.settles())
        for status, count in ((413, 2), (414, 1), (431, 2)):
            same("each %d is logged" % status, count, log_count(server, "log: %d" % status))
    with Server(program=EXAMPLES + "/hello") as server:
        limit("head", server, head_of, 16 << 10, 431)
        limit("target", server, target_of, 8 << 10, 414)
        limit("fields", server, fields_of, 100, 431)
        limit("body", server, body_of, 8 << 20, 413)
        limit("chunks", server, chunks_of, 8 << 20, 413)


def test_connection_limits():
    for option in ("max_connections_count", "max_per_uid_count"):
        with Server("%s=8" % option) as server:
            wires = [server.wire() for _ in range(8)]
            for wire in wires:
                wire.send(get(b"/"))
            same("%s: eight of eight" % option, [200] * 8, [status_of(wire) for wire in wires])
            with server.wire() as wire:
                wire.send(get(b"/"))
                answer = wire.answer()
                same("%s: the ninth" % option, (b"503", True), (answer[0][9:12], b"Retry-After: 1" in answer[1]))
                same("%s: the ninth is closed" % option, "end", status_of(wire))
            wires.pop().peer.close()
            check("%s: there is room again" % option, comes(server.serves))
            for wire in wires:
                wire.send(get(b"/"))
            same("%s: the others are still in" % option, [200] * 7, [status_of(wire) for wire in wires])
            for wire in wires:
                wire.peer.close()
            check("no descriptor is left over", server.settles())


def test_queue_limit():
    with Server("workers=1", "max_queued_count=2") as server:
        wires = [server.wire() for _ in range(4)]
        wires[0].send(get(b"/block/700"))
        wait_until(lambda: server.says("blocks"), "the worker is busy")
        for wire in wires[1:]:
            wire.send(get(b"/block/0"))
            comes(server.asleep)
            time.sleep(0.02)  # in their order
        same("queue: one runs, two wait, one is too many", [200, 200, 200, 503], [status_of(wire) for wire in wires])
        check("queue: it serves on", server.serves())


def test_buffer_limit():
    with Server("max_buffered_bytes=1000000", "max_body_bytes=8000000") as server:
        def in_pieces(size):  # as it comes off a socket; a body in one piece is never kept
            with server.wire() as wire:
                data = put(b"POST", b"/echo", b"x" * size)
                for at in range(0, len(data), 100_000):
                    wire.send(data[at:at + 100_000])
                    time.sleep(0.002)
                return status_of(wire)
        same("buffers: all for one", 200, in_pieces(900_000))
        with server.wire() as held:
            held.send(put(b"POST", b"/echo", b"x" * 600_000)[:500_000])
            comes(server.asleep)
            time.sleep(0.05)
            same("buffers: under the limit", 200, in_pieces(300_000))
            same("buffers: over the limit", 503, in_pieces(700_000))
            held.send(b"x" * 200_000)
            same("buffers: who was there first goes on", 200, status_of(held))
        same("buffers: there is room again", 200, in_pieces(900_000))
        check("no descriptor is left over", server.settles())


def test_buffer_limit_of_answers():
    size = 7 << 20  # more than a socket takes
    with Server("max_buffered_bytes=%d" % (size + 1000)) as server:
        def post(wire):  # and read no answer
            wire.send(put(b"POST", b"/echo", b"x" * size))
            comes(server.asleep)
        with server.wire() as first:
            post(first)
            with server.wire() as second:
                post(second)
                same("buffers: over the limit by an answer that nobody reads", 503, status_of(second))
            same("buffers: which is whole", 200, status_of(first))
            post(first)
            same("buffers: it has left, and counts no more", 200, status_of(first))
            post(first)
        comes(server.asleep)
        with server.wire() as third:
            post(third)
            same("buffers: nor does one whose reader has gone", 200, status_of(third))
        check("no descriptor is left over", server.settles())


def main():
    tests = [(name, act) for name, act in globals().items() if name.startswith("test_") and WORD in name]
    for name, act in tests:
        begun = time.monotonic()
        try:
            act()
        except Exception as fault:  # pylint: disable=broad-except
            check(name, False, "%s: %s" % (type(fault).__name__, fault))
            if os.environ.get("VERBOSE"):
                raise
        print("%-24s %5.1f s" % (name[5:], time.monotonic() - begun), flush=True)
    print("%d passed, %d failed" % (passed, failed))
    return failed > 0


if __name__ == "__main__":
    BUILD, EXAMPLES, FOLDER = sys.argv[1:4]
    WORD = sys.argv[4] if len(sys.argv) > 4 else ""
    sys.exit(main())
