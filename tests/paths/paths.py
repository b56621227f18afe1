"""The life of a socket's path, from outside: hello and door are started, many at once, by several users, in
folders of every kind.

paths.py ROUNDS FOLDER UNITS [PART...]: FOLDER/bin has hello, fetch, door and together; UNITS has hello.socket and
hello.service. What needs another user or a file system of its own needs root, and is named where it
can't be. Last line `N passed, N failed`.
"""
import collections
import contextlib
import errno
import json
import os
import select
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import time

PATIENCE = 20
NOBODY, SOMEBODY, TEAM = 65534, 65533, 4711  # a user without rights, another, and a group
ROUNDS = int(sys.argv[1])
FOLDER, UNITS = os.path.realpath(sys.argv[2]), sys.argv[3]
HELLO, FETCH, DOOR, TOGETHER = (os.path.join(FOLDER, "bin", name) for name in ("hello", "fetch", "door", "together"))
IS_ROOT = os.geteuid() == 0
STARTED = []
passed = failed = 0


def same(what, expected, got):
    global passed, failed
    if expected == got:
        passed += 1
        return
    failed += 1
    print("%s: FAILED\n  expected: %r\n  got:      %r" % (what, expected, got), flush=True)


def note(text):
    print(text, flush=True)


def new_folder(name, mode=0o755):
    path = os.path.join(FOLDER, name)
    os.mkdir(path)
    os.chmod(path, mode)
    return path


def until(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True


def connect(path):
    """By a descriptor of the folder, so that the length of the path doesn't matter."""
    peer = socket.socket(socket.AF_UNIX)
    peer.settimeout(PATIENCE)
    try:
        if len(path) < 100:
            peer.connect(path)
        else:
            folder = os.open(path, os.O_PATH)
            try:
                peer.connect("/proc/self/fd/%d" % folder)
            finally:
                os.close(folder)
    except BaseException:
        peer.close()
        raise
    return peer


def server_pid(path):
    with connect(path) as peer:
        return struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]


def ask(path, target="/x"):
    """One request over a connection of its own: the body, or what went wrong."""
    with connect(path) as peer:
        peer.sendall(b"GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" % target.encode())
        got = b""
        while piece := peer.recv(65536):
            got += piece
    head, _, body = got.partition(b"\r\n\r\n")
    return body.decode() if head.startswith(b"HTTP/1.1 200 ") else "not 200: %r" % got


def is_answered(path):
    try:
        return ask(path) == "Hello x"
    except OSError as e:
        return errno.errorcode[e.errno] if e.errno else str(e)


def become(user, groups=()):
    os.setgroups(list(groups))
    os.setgid(user)
    os.setuid(user)


class Program:
    """A started program; what it says first, and how it ends."""

    def __init__(self, *command, user=None, cwd=FOLDER, env=None, stdin=subprocess.DEVNULL):
        enter = (lambda: become(user)) if user else None
        self.process = subprocess.Popen(command, stdin=stdin, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                        cwd=cwd, env=env, preexec_fn=enter)
        self.pid = self.process.pid
        STARTED.append(self.process)

    def line(self):
        ready, _, _ = select.select([self.process.stderr], [], [], PATIENCE)
        return self.process.stderr.readline().decode().strip() if ready else "silent for %d s" % PATIENCE

    def is_live(self):
        return self.line().startswith("listening on ")

    def tell_stop(self):
        self.process.terminate()

    def status(self):
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            return "still there"
        finally:
            self.process.stderr.close()
            STARTED.remove(self.process)

    def stop(self):
        self.tell_stop()
        return self.status()

    def kill(self):
        self.process.kill()
        return self.status()

    def refusal(self):
        """What it says and its exit status, if it ends by itself."""
        said = self.line()
        if said.startswith("listening on "):
            self.stop()
            return said
        return "%s, exit %s" % (said, self.status())


class Lines:
    """The lines of a pipe, as they come."""

    def __init__(self, pipe):
        self.pipe, self.rest = pipe, b""

    def next(self):
        while b"\n" not in self.rest:
            if not select.select([self.pipe], [], [], PATIENCE)[0]:
                return "silent for %d s" % PATIENCE
            piece = os.read(self.pipe.fileno(), 65536)
            if not piece:
                return "no more"
            self.rest += piece
        line, _, self.rest = self.rest.partition(b"\n")
        return line.decode()


class Crowd:
    """Processes that run a command all at the same moment. Each says one line: that it is live, or why not."""

    def __init__(self, count, *command):
        self.starter = subprocess.Popen([TOGETHER, str(count), *command], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        STARTED.append(self.starter)
        self.told, said = Lines(self.starter.stdout), Lines(self.starter.stderr)
        self.live = list(map(int, self.told.next().split()))
        lines = [said.next() for _ in range(count)]
        refused = [line for line in lines if not line.startswith("listening on ")]
        ended = [self.ended() for _ in refused]
        self.refused = dict(collections.Counter("%s, exit %s" % pair for pair in zip(refused, ended)))

    def ended(self):
        pid, status = self.told.next().split()
        self.live.remove(int(pid))
        return int(status)

    def end(self, how, but=()):
        """The exit statuses of those that are ended, all but some."""
        chosen = [pid for pid in self.live if pid not in but]
        for pid in chosen:
            os.kill(pid, how)
        codes = [self.ended() for _ in chosen]
        if not self.live:
            self.close()
        return codes

    def close(self):
        self.starter.wait(PATIENCE)
        self.starter.stdout.close()
        self.starter.stderr.close()
        STARTED.remove(self.starter)


class Worker:
    """A forked process that does something until it is stopped; its counts are the answer."""

    def __init__(self, act, *arguments):
        parent = os.getpid()
        halt, self.halt = os.pipe()
        self.told, told = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            code = 1
            try:
                watch = select.poll()
                watch.register(halt, select.POLLIN)
                counts = act(lambda: watch.poll(0) or os.getppid() != parent, *arguments)
                os.write(told, json.dumps(counts).encode())
                code = 0
            finally:
                os._exit(code)
        os.close(halt)
        os.close(told)

    def stop(self):
        with contextlib.suppress(BrokenPipeError):
            os.write(self.halt, b"x")
        with open(self.told, "rb") as told:
            text = told.read()
        os.close(self.halt)
        os.waitpid(self.pid, 0)
        return collections.Counter(json.loads(text) if text else {"the worker died": 1})


def watch_path(stopped, path):
    """Connects all the time; what fails after the first success is a gap."""
    counts = collections.Counter()
    while not stopped():
        try:
            connect(path).close()
            counts["served"] += 1
        except OSError as e:
            if counts["served"]:
                counts["gap: " + errno.errorcode.get(e.errno, str(e))] += 1
        time.sleep(0.0003)
    return counts


def gaps(counts):
    return {what: count for what, count in counts.items() if what != "served"}


# -- one owner of a path

def causes(refused):
    """How often each reason was given, whatever it was that failed."""
    counts = collections.Counter()
    for line, count in refused.items():
        counts[line.rsplit(": ", 1)[-1]] += count
    return dict(counts)


def start_together(size=200):
    path = os.path.join(new_folder("together"), "a.sock")
    # The cause alone: on a busy machine the last ones may wait 2 s for the lock, and say that.
    refusal = "Address already in use, exit 1"
    for n in range(ROUNDS):
        is_stale, what = os.path.exists(path), "together, round %d" % (n + 1)
        same(what + ": a stale socket is there", n % 2 == 1, is_stale)
        watcher = Worker(watch_path, path)
        crowd = Crowd(size, HELLO, path)
        same(what + ": one serves", 1, len(crowd.live))
        same(what + ": all others are told so", {refusal: size - 1}, causes(crowd.refused))
        same(what + ": it is answered", (True, crowd.live), (is_answered(path), [server_pid(path)]))
        counts = watcher.stop()
        same(what + ": never absent", {}, gaps(counts))
        same(what + ": watched", True, counts["served"] > 0)
        same(what + ": no strays", ["a.sock", "a.sock.lock"], sorted(os.listdir(os.path.dirname(path))))
        stops = n % 2 == 1
        same(what + ": its end", [0] if stops else [-9], crowd.end(signal.SIGTERM if stops else signal.SIGKILL))
        left = ["a.sock.lock"] if stops else ["a.sock", "a.sock.lock"]
        same(what + ": what it leaves", left, sorted(os.listdir(os.path.dirname(path))))


# -- who may connect

def try_at(path):
    try:
        connect(path).close()
        return "let in"
    except OSError as e:
        return errno.errorcode.get(e.errno, str(e))


def hammer(stopped, path, user, groups):
    become(user, groups)
    counts = collections.Counter()
    while not stopped():
        counts[try_at(path)] += 1
        counts[try_at(path + ".new")] += 1
    return counts


def knock(_, path, user, groups):
    become(user, groups)
    return {try_at(path): 1}


def starts(path, count, *flags):
    """Every third server is replaced while it lives, the others stop first."""
    old, ends = None, collections.Counter()
    for n in range(count):
        takes_over = old is not None
        new = Program(HELLO, *flags, *(["--take-over"] if takes_over else []), path)
        ends["live"] += new.is_live()
        if old:
            ends[old.stop()] += 1
        old = new
        if n % 3:
            ends[old.stop()] += 1
            old = None
    if old:
        ends[old.stop()] += 1
    return dict(ends)


def strangers():
    if not IS_ROOT:
        return note("strangers: not tested, becoming another user needs root")
    path = os.path.join(new_folder("strangers"), "a.sock")
    count = 20 * ROUNDS
    before = os.umask(0)
    for mode, may in (("600", False), ("660", False), ("666", True)):
        what = "a stranger and mode 0%s" % mode
        worker = Worker(hammer, path, NOBODY, [])
        total = count if mode == "600" else 20
        same(what + ": starts", {"live": total, 0: total}, starts(path, total, "--mode", mode))
        counts = worker.stop()
        same(what + ": let in", may, counts["let in"] > 0)
        same(what + ": came to it", True, counts["let in"] + counts["EACCES"] > 0)
        note("%s: %d starts, %s" % (what, total, dict(counts)))
    os.umask(before)


DOORS = [  # mode, owner, group; user and groups of who hammers; may they
    ("600", str(NOBODY), "-", NOBODY, [], True),
    ("600", str(NOBODY), "-", SOMEBODY, [], False),
    ("600", str(SOMEBODY), "-", NOBODY, [], False),
    ("660", "-", str(TEAM), NOBODY, [TEAM], True),
    ("660", "-", str(TEAM), NOBODY, [], False),
    ("660", "-", "-", NOBODY, [TEAM], False),
    ("620", "-", str(TEAM), NOBODY, [TEAM], True),
    ("640", "-", str(TEAM), NOBODY, [TEAM], False),
    ("606", "-", str(TEAM), NOBODY, [TEAM], False),
    ("606", "-", str(TEAM), NOBODY, [], True),
    ("060", str(NOBODY), str(TEAM), NOBODY, [TEAM], False),
    ("000", "-", "-", NOBODY, [], False),
]


def doors():
    if not IS_ROOT:
        return note("doors: not tested, owners and groups need root")
    folder = new_folder("doors")
    for number, (mode, owner, group, user, groups, may) in enumerate(DOORS):
        for mask in (0, 0o77):
            path = os.path.join(folder, "%d-%o.sock" % (number, mask))
            what = "mode %s owner %s group %s umask %03o, user %d %s" % (mode, owner, group, mask, user, groups)
            worker = Worker(hammer, path, user, groups)
            before = os.umask(mask)
            door = Program(DOOR, path, mode, owner, group, str(10 * ROUNDS), stdin=subprocess.PIPE)
            os.umask(before)
            same(what + ": live", True, door.is_live())
            found = os.stat(path)
            wanted = (int(mode, 8), int(owner) if owner != "-" else 0, int(group) if group != "-" else 0)
            same(what + ": file", wanted, (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid))
            same(what + ": then", {"let in" if may else "EACCES": 1}, dict(Worker(knock, path, user, groups).stop()))
            counts = worker.stop()
            same(what + ": let in before", 0, 0 if may else counts["let in"])
            door.process.stdin.close()
            same(what + ": ends", 0, door.status())


def narrowing():
    """What connect(2) may find while a server starts, held before each step: never more than at the end. A client
    that was let through the permissions early may find the socket listening late."""
    if not IS_ROOT:
        return note("narrowing: not tested, owners and groups need root")
    path = os.path.join(new_folder("narrowing"), "a.sock")
    calls = "/^(chmod|fchmodat|chown|fchownat|listen)$"
    held = ["strace", "-f", "-q", "-o", os.devnull, "-e", "trace=" + calls,
            "-e", "inject=%s:delay_enter=100ms" % calls, DOOR, path]
    for mode, owner, group, wanted in (
            ("666", "-", "-", [(0o600, 0, 0), (0o666, 0, 0)]),
            ("606", "-", str(TEAM), [(0o600, 0, 0), (0o600, 0, TEAM), (0o606, 0, TEAM)]),
            ("660", str(NOBODY), str(TEAM), [(0, 0, 0), (0, NOBODY, TEAM), (0o660, NOBODY, TEAM)])):
        before = os.umask(0)
        door = Program(*held, mode, owner, group, "0", stdin=subprocess.PIPE)
        os.umask(before)
        seen = []
        while not select.select([door.process.stderr], [], [], 0.001)[0]:
            with contextlib.suppress(OSError):
                found = os.lstat(path)
                seen.append((stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid))
        same("mode %s owner %s group %s: live" % (mode, owner, group), True, door.is_live())
        same("mode %s owner %s group %s: steps" % (mode, owner, group), wanted, list(dict.fromkeys(seen)))
        door.process.stdin.close()
        same("mode %s owner %s group %s: ends" % (mode, owner, group), 0, door.status())


# -- taking over

def fresh_requests(stopped, path):
    """A connection per request, as curl has it."""
    counts = collections.Counter()
    while not stopped():
        try:
            got = ask(path)
        except OSError as e:
            got = "%s: %s" % (errno.errorcode.get(e.errno, "?"), e)
        counts["answered" if got == "Hello x" else got] += 1
    return counts


def read_answer(peer):
    got = b""
    while b"Hello x" not in got:
        piece = peer.recv(65536)
        if not piece:
            raise EOFError("cut off behind %r" % got)
        got += piece
    return got


def kept_requests(stopped, path):
    """One connection, as long as it lasts. Only if nothing of a request could be sent (EPIPE, its first byte) is
    it sent again, over another: everything else must be answered."""
    counts, peer = collections.Counter(), None
    while not stopped():
        try:
            is_new = peer is None
            peer = peer or connect(path)
            try:
                peer.sendall(b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n")
            except BrokenPipeError:
                peer.close()
                peer = None
                counts["EPIPE on a new connection" if is_new else "sent again"] += 1
                continue
            got = read_answer(peer)
            counts["answered"] += 1
            if b"\r\nConnection: close\r\n" in got:
                peer.close()
                peer = None
        except (OSError, EOFError) as e:
            counts["lost: %r" % e] += 1
            peer = None
    return counts


def fetch_requests(stopped, path):
    counts = collections.Counter()
    url = "http+unix://%s/x" % path.replace("/", "%2F")
    while not stopped():
        ran = subprocess.run([FETCH, "--repeat", "200", url], capture_output=True, text=True)
        words = ran.stdout.split()
        counts["answered"] += int(words[0]) if words else 0
        if ran.returncode or words[2:4] != ["0", "failed,"]:
            counts["%s%s" % (ran.stdout, ran.stderr)] += 1
    return counts


LOADS = [("new connections", fresh_requests), ("new connections too", fresh_requests),
         ("a kept connection", kept_requests), ("another kept one", kept_requests), ("fetch", fetch_requests)]


def take_over():
    restart("taking over", 100)
    restart("taking over with threads", 20, "--threads", "2", "--workers", "2")


def restart(what, restarts, *flags):
    folder = new_folder(what.replace(" ", "-"))
    path = os.path.join(folder, "a.sock")
    server, ends, live = Program(HELLO, *flags, path), [], 0
    same(what + ": the first is live", True, server.is_live())
    workers = [(name, Worker(act, path)) for name, act in LOADS]
    for n in range(restarts):
        successor = Program(HELLO, "--take-over", *flags, path)
        live += successor.is_live()
        server.tell_stop()
        ends.append(server)
        if n % 2:  # every other time the next one comes while the old one drains
            ends[-1].process.wait(PATIENCE)
        server = successor
    same(what + ": all came up", restarts, live)
    same(what + ": all predecessors ended", [0] * restarts, [old.status() for old in ends])
    for name, worker in workers:
        counts = worker.stop()
        again, answered = counts.pop("sent again", 0), counts.pop("answered", 0)
        same("%s, %s: nothing refused or lost" % (what, name), {}, {k: v for k, v in counts.items() if v})
        same("%s, %s: asked all the time" % (what, name), True, answered > restarts)
        note("%s, %s: %d restarts, %d answered, %d sent again" % (what, name, restarts, answered, again))
    same(what + ": no strays", ["a.sock", "a.sock.lock"], sorted(os.listdir(folder)))
    same(what + ": the last one's end", 0, server.stop())
    same(what + ": what it leaves", ["a.sock.lock"], os.listdir(folder))


def slow_clients():
    """Who has connected to the old server and sends its first request only when that one drains already: it can't
    know of a restart, and a client like curl doesn't try again. It has a second."""
    path = os.path.join(new_folder("slow"), "a.sock")
    for pause in (0, 0.005, 0.02, 0.05, 0.3):
        server = Program(HELLO, path)
        server.is_live()
        with connect(path) as peer:
            successor = Program(HELLO, "--take-over", path)
            same("slow client, %g s: the successor is live" % pause, True, successor.is_live())
            server.tell_stop()
            time.sleep(pause)
            try:
                peer.sendall(b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n")
                got = read_answer(peer)[:12]
            except (OSError, EOFError) as e:
                got = repr(e)
            same("slow client, %g s: answered" % pause, b"HTTP/1.1 200", got)
        same("slow client, %g s: ends" % pause, [0, 0], [server.status(), successor.stop()])


def successors(size=10):
    folder = new_folder("successors")
    path = os.path.join(folder, "a.sock")
    first = Program(HELLO, path)
    first.is_live()
    watcher = Worker(watch_path, path)
    crowds = []
    for n in range(ROUNDS):
        what = "successors, round %d" % (n + 1)
        crowd = Crowd(size, HELLO, "--take-over", path)
        same(what + ": all come up", size, len(crowd.live))
        winner = server_pid(path)
        same(what + ": one of them has the path", True, winner in crowd.live)
        same(what + ": no strays", ["a.sock", "a.sock.lock"], sorted(os.listdir(folder)))
        for old in crowds:
            same(what + ": the round before ends", [0] * len(old.live), old.end(signal.SIGTERM))
        same(what + ": and leaves the path", (True, winner), (is_answered(path), server_pid(path)))
        same(what + ": so do the overtaken", [0] * (size - 1), crowd.end(signal.SIGTERM, but=[winner]))
        same(what + ": which leave the path too", (True, winner), (is_answered(path), server_pid(path)))
        crowds = [crowd]
    last = Program(HELLO, "--take-over", path)
    same("successors: the last one is live", True, last.is_live())
    same("successors: the last one wins", last.pid, server_pid(path))
    same("successors: the one before ends", [0], crowds[0].end(signal.SIGTERM))
    same("successors: the first ends", 0, first.stop())
    same("successors: never absent", {}, gaps(watcher.stop()))
    same("successors: the last one's end", 0, last.stop())
    same("successors: what they leave", ["a.sock.lock"], os.listdir(folder))


# -- folders and names of every kind

def round_trip(what, path, cwd=FOLDER, given=None):
    """A life, a crash and a take-over at this path; fetch has to find it too."""
    folder = os.path.dirname(path)
    for flags in ([], [], ["--take-over"]):
        server = Program(HELLO, *flags, given or path, cwd=cwd)
        same("%s %s: live" % (what, flags), True, server.is_live())
        url = "http+unix://%s/x" % (given or path).replace("/", "%2F")
        got = subprocess.run([FETCH, url], capture_output=True, text=True, cwd=cwd)
        same("%s %s: fetched" % (what, flags), ("Hello x", ""), (got.stdout, got.stderr))
        same("%s: a second one" % what, True, "Address already in use, exit 1" in Program(
            HELLO, given or path, cwd=cwd).refusal())
        server.kill()
    server = Program(HELLO, given or path, cwd=cwd)
    same("%s: live again" % what, True, server.is_live())
    same("%s: ends" % what, 0, server.stop())
    same("%s: leaves" % what, [os.path.basename(path) + ".lock"], os.listdir(folder))


def names():
    top = new_folder("names")
    deep = os.path.join(top, "d" * 100, "e" * 100)
    for name, base in (("long folder", "a.sock"), ("long folder and name", "n" * 200)):
        os.makedirs(deep)
        round_trip(name, os.path.join(deep, base))
        shutil.rmtree(os.path.join(top, "d" * 100))
    for size in (107, 108, 109):
        one = new_folder("names/%d" % size)
        round_trip("%d bytes" % size, os.path.join(one, "n" * (size - len(one) - 1)))
    for given in ("a.sock", "./a.sock", "../relative/a.sock"):
        one = new_folder("names/relative")
        round_trip("relative " + given, os.path.join(one, "a.sock"), one, given)
        shutil.rmtree(one)
    one = new_folder("names/real")
    os.symlink("real", os.path.join(top, "linked"))
    round_trip("folder by a link", os.path.join(one, "a.sock"), top, "linked/a.sock")
    for given, why in (("/" + "x" * 5000, "File name too long"), (top + "/" + "x" * 256, "File name too long"),
                       (top + "/absent/a.sock", "No such file or directory"), (top, "Is a directory"),
                       (top + "/", "Is a directory"), (HELLO + "/a.sock", "Not a directory")):
        why = "Socket operation on non-socket" if given == top else why
        said = Program(HELLO, given).refusal()
        same("%.40s: %s" % (given, why), True, said.startswith("hello: " + given[:50]) and why + ", exit 1" in said)


def links():
    """At the path itself no link is followed: nothing is replaced but a socket."""
    folder = new_folder("links")
    live = Program(HELLO, os.path.join(folder, "live"))
    live.is_live()
    dead = Program(HELLO, os.path.join(folder, "dead"))
    dead.is_live()
    dead.kill()
    open(os.path.join(folder, "file"), "w").close()
    for target in ("live", "dead", "file", "nothing"):
        path = os.path.join(folder, "to-" + target)
        os.symlink(target, path)
        for flags in ([], ["--take-over"]):
            same("link to %s %s" % (target, flags),
                 "hello: %s: in the way, left alone: Socket operation on non-socket, exit 1" % path,
                 Program(HELLO, *flags, path).refusal())
        same("link to %s: still there" % target, target, os.readlink(path))
    same("link to a live one: clients follow it", True, is_answered(os.path.join(folder, "to-live")))
    same("links: no strays", ["dead", "dead.lock", "file", "live", "live.lock", "to-dead", "to-file", "to-live",
                              "to-nothing"], sorted(os.listdir(folder)))
    live.stop()


def shared_folders():
    """Folders that others may write."""
    if not IS_ROOT:
        return note("shared folders: not tested, that takes several users")
    for mode in (0o777, 0o1777):
        folder = new_folder("shared-%o" % mode, mode)
        what = "folder of mode %o" % mode
        round_trip(what, os.path.join(new_folder("shared-%o/own" % mode), "a.sock"))
        victim = os.path.join(FOLDER, "victim-%o" % mode)
        open(victim, "w").close()
        os.chmod(victim, 0o640)
        path = os.path.join(folder, "planted")
        os.symlink(victim, path + ".lock")
        same(what + ": a link planted as lock", True,
             Program(HELLO, path).refusal().startswith("hello: %s.lock: open: " % path))
        os.unlink(path + ".lock")
        open(path + ".lock", "w").close()
        os.chown(path + ".lock", NOBODY, NOBODY)
        same(what + ": another's file as lock", "hello: %s.lock: not a plain file of this user's: Operation not "
             "permitted, exit 1" % path, Program(HELLO, path).refusal())
        os.unlink(path + ".lock")
        for user in (NOBODY, None):  # the dead socket of another user: root may replace it, others may not
            stale = os.path.join(folder, "stale-%s" % user)
            server = Program(HELLO, stale, user=user)
            same(what + ": a server of %s" % user, True, server.is_live())
            server.kill()
            os.path.exists(stale + ".lock") and os.unlink(stale + ".lock")
            said = Program(HELLO, stale, user=SOMEBODY).refusal()
            same(what + ": not another's socket: " + said, True, "Permission denied, exit 1" in said)
            same(what + ": it stays", True, stat.S_ISSOCK(os.lstat(stale).st_mode))
        same(what + ": the victim", 0o640, stat.S_IMODE(os.stat(victim).st_mode))


def disturb(stopped, path, victim):
    """Somebody who may write the folder swaps the path for links while a server starts there."""
    become(NOBODY)
    counts = collections.Counter()
    decoy = path + ".decoy"
    while not stopped():
        for name in (path, path + ".new"):
            with contextlib.suppress(OSError):
                os.symlink(victim, decoy)
            with contextlib.suppress(OSError):
                os.rename(decoy, name)
                counts["swapped"] += 1
            with contextlib.suppress(OSError):
                os.unlink(name)
    return counts


def swapped_paths():
    if not IS_ROOT:
        return note("swapped paths: not tested, that takes several users")
    folder = new_folder("swapped", 0o777)
    path, victim = os.path.join(folder, "a.sock"), os.path.join(FOLDER, "victim")
    open(victim, "w").close()
    os.chmod(victim, 0o640)
    worker, ends = Worker(disturb, path, victim), collections.Counter()
    for n in range(10 * ROUNDS):
        server = Program(HELLO, "--mode", "666", *(["--take-over"] if n % 2 else []), path)
        if server.is_live():
            ends[server.stop()] += 1
        else:
            ends[server.status()] += 1
    counts = worker.stop()
    same("swapped paths: live or refused, every time", {}, {k: v for k, v in ends.items() if k not in (0, 1)})
    same("swapped paths: swapped", True, counts["swapped"] > 0)
    found = os.stat(victim)
    same("swapped paths: the victim", (0o640, 0, 0), (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid))
    note("swapped paths: %d served, %d refused, %d swaps" % (ends[0], ends[1], counts["swapped"]))


# -- file systems that refuse

def read_only():
    folder = new_folder("read-only", 0o555)
    path = os.path.join(folder, "a.sock")
    said = Program(HELLO, path, user=NOBODY if IS_ROOT else None).refusal()
    same("read-only folder", "hello: %s.lock: open: Permission denied, exit 1" % path, said)
    same("read-only folder: left empty", [], os.listdir(folder))


@contextlib.contextmanager
def tiny_disk(options):
    disk = new_folder("disk")
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", disk], capture_output=True, text=True)
    if made.returncode:
        note("a full disk, a read-only one: not tested: " + made.stderr.strip())
    try:
        yield disk if made.returncode == 0 else None
    finally:
        if made.returncode == 0:
            until(lambda: subprocess.run(["umount", disk], capture_output=True).returncode == 0)
        os.rmdir(disk)


def fill(disk):
    count = 0
    with contextlib.suppress(OSError):
        while True:
            open(os.path.join(disk, "full%d" % count), "x").close()
            count += 1
    return count


def full_disk():
    with tiny_disk("size=64k,nr_inodes=8") as disk:
        if not disk:
            return
        path = os.path.join(disk, "a.sock")
        room = fill(disk)
        same("full disk: there was room", True, room > 4)
        same("full disk", "hello: %s.lock: open: No space left on device, exit 1" % path,
             Program(HELLO, path).refusal())
        same("full disk: no strays", room, len(os.listdir(disk)))
        os.unlink(os.path.join(disk, "full0"))
        same("room for the lock alone", "hello: %s: bind: No space left on device, exit 1" % path,
             Program(HELLO, path).refusal())
        same("room for the lock alone: no strays", room, len(os.listdir(disk)))
        os.unlink(os.path.join(disk, "full1"))
        server = Program(HELLO, path)
        same("room for both: live", True, server.is_live())
        said = Program(HELLO, "--take-over", path).refusal()
        same("no room to take over", "hello: %s.new: bind: No space left on device, exit 1" % path, said)
        same("no room to take over: the old one serves", (True, server.pid), (is_answered(path), server_pid(path)))
        same("full disk: ends", 0, server.stop())
        same("full disk: its socket is gone", False, os.path.exists(path))


def read_only_disk():
    with tiny_disk("size=64k") as disk:
        if not disk:
            return
        path = os.path.join(disk, "a.sock")
        server = Program(HELLO, path)
        same("read-only disk: live before it became so", True, server.is_live())
        made = subprocess.run(["mount", "-o", "remount,ro", disk], capture_output=True, text=True)
        same("read-only disk: made", (0, ""), (made.returncode, made.stderr))
        same("read-only disk: served still", True, is_answered(path))
        same("read-only disk: another path", "hello: %s2.lock: open: Read-only file system, exit 1" % path,
             Program(HELLO, path + "2").refusal())
        same("read-only disk: ends", 0, server.stop())
        same("read-only disk: its socket stays", True, os.path.exists(path))


# -- systemd

def is_listening(path):
    """The path is there from bind(2) on. Asked without a connection, which would start the program."""
    with open("/proc/net/unix") as table:
        return any(line.split()[3] == "00010000" and line.split()[-1] == path for line in table)  # __SO_ACCEPTCON


def activate(paths, names, program):
    flags = [flag for path in paths for flag in ("-l", path)]
    if names:
        flags.append("--fdname=" + ":".join(names))
    server = Program("systemd-socket-activate", *flags, program)
    until(lambda: all(map(is_listening, paths)))
    return server


def activation():
    folder = new_folder("activation")
    paths = [os.path.join(folder, name) for name in ("web.sock", "admin.sock")]
    rows = [(["web", "admin"], ["web", "admin"]), (["only"], ["only", "only"]), ([], ["", ""])]
    for given, wanted in rows:
        if len(given) == 1:
            server, asked = activate(paths[:1], given, DOOR), paths[:1]
        else:
            server, asked = activate(paths, given, DOOR), paths
        got = [ask(path, "/") for path in asked]
        if not given:  # systemd's own names: the paths' units, or "unknown"
            got = ["" if name in ("", "unknown") else name for name in got]
        same("LISTEN_FDS, names %s" % given, wanted[:len(asked)], got)
        same("LISTEN_FDS, names %s: clients see the service, not systemd" % given, [server.pid] * len(asked),
             [server_pid(path) for path in asked])
        same("LISTEN_FDS, names %s: ends" % given, 0, server.stop())
        same("LISTEN_FDS, names %s: the sockets stay" % given, [True] * len(asked), list(map(os.path.exists, asked)))
        for path in asked:
            os.unlink(path)
    server = activate(paths[:1], [], HELLO)
    same("LISTEN_FDS: hello", [True] * 3, [is_answered(paths[0]) for _ in range(3)])
    same("LISTEN_FDS: hello ends", 0, server.stop())
    same("LISTEN_FDS: no lock", ["web.sock"], os.listdir(folder))
    same("LISTEN_FDS: none", 1, Program(HELLO).status())


def readiness():
    folder = new_folder("notify")
    for name in (os.path.join(folder, "notify"), "@uds-http-test-%d" % os.getpid()):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
            listener.settimeout(PATIENCE)
            listener.bind(name.replace("@", "\0") if name[0] == "@" else name)
            path = os.path.join(folder, "a.sock")
            server = Program(HELLO, path, env=dict(os.environ, NOTIFY_SOCKET=name))
            same("NOTIFY_SOCKET %.1s: said" % name, b"READY=1", listener.recv(4096))
            same("NOTIFY_SOCKET %.1s: ready then" % name, True, is_answered(path))
            same("NOTIFY_SOCKET %.1s: ends" % name, 0, server.stop())
    server = Program(HELLO, path, env=dict(os.environ, NOTIFY_SOCKET=os.path.join(folder, "absent")))
    same("NOTIFY_SOCKET without a listener: live all the same", True, server.is_live() and is_answered(path))
    same("NOTIFY_SOCKET without a listener: ends", 0, server.stop())


def verify(folder):
    ran = subprocess.run(["systemd-analyze", "verify", os.path.join(folder, "hello.socket"),
                          os.path.join(folder, "hello.service")], capture_output=True, text=True)
    # It looks at the machine's other units, too, and tells of their faults.
    return ran.returncode, [line for line in (ran.stdout + ran.stderr).splitlines() if "hello" in line]


def units():
    folder = new_folder("units")
    for name in ("hello.socket", "hello.service"):
        with open(os.path.join(UNITS, name)) as unit:
            text = unit.read()
        with open(os.path.join(folder, name), "w") as unit:  # verify looks whether the program is there
            unit.write(text.replace("/usr/local/bin/hello", HELLO))
    same("systemd-analyze verify", (0, []), verify(folder))
    with open(os.path.join(folder, "hello.service"), "a") as unit:
        unit.write("[Service]\nNonsense=yes\n")
    same("systemd-analyze verify: finds nonsense", True, "Nonsense" in "".join(verify(folder)[1]))


PARTS = [start_together, slow_clients, strangers, doors, narrowing, take_over, successors, names, links, shared_folders, swapped_paths,
         read_only, full_disk, read_only_disk, activation, readiness, units]


def main():
    wanted = sys.argv[4:]
    for part in PARTS:
        if wanted and part.__name__ not in wanted:
            continue
        began, before = time.monotonic(), passed
        part()
        note("%s: %d checks passed, %.1f s" % (part.__name__, passed - before, time.monotonic() - began))
    print("%d passed, %d failed" % (passed, failed))
    return failed > 0 or passed == 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    finally:
        for process in STARTED:
            process.kill()
