"""The examples while system calls fail, or do less than they were asked to.

run.py SHIM EXAMPLES FOLDER [NAME...]: the preloaded library, where the programs are, an empty folder; only
the programs of these names.

exact:  EINTR, EAGAIN, short counts, accept(2) without descriptors: every answer is what it is without.
errors: one call fails, at its first, second, third, ... time until the conversation doesn't get
        there any more. The request ends in the right answer, an error, or a closed connection, never
        in a wrong or short answer that looks whole.
After each the program serves others, and holds as many descriptors as before. Last line `N passed, N failed`.
"""
import errno
import os
import re
import socket
import subprocess
import sys
import time

from faults import (PATIENCE, Program, Shim, Talk, files_talks, get, hello_talks, pattern, put, chunked, upgrade_talks,
                    upload_talks, wait_until, wrong)

passed = failed = 0
INTERRUPTIBLE = ("send", "recv", "accept", "wait", "file_out", "connect")


def check(what, fault):
    global passed, failed
    passed, failed = passed + (not fault), failed + bool(fault)
    if os.environ.get("VERBOSE") and not fault:
        print("%s: ok" % what)
    if fault:
        print("%s: FAILED\n  %s" % (what, fault), flush=True)
    return not fault


# What is done to every k-th call without changing what comes out: name, rules of Shim.set, largest body.

def exact_plans():
    for every in (2, 3, 5, 7):
        yield "EINTR, every %d" % every, [(k, errno.EINTR, 1, every, False) for k in INTERRUPTIBLE], 102_400
    for every in (2, 3, 5, 7):
        yield "EAGAIN, every %d" % every, [(k, errno.EAGAIN, 1, every, False)
                                           for k in ("send", "recv", "accept", "file_out")], 102_400
    for most in [*range(1, 18), 64, 1000, 4096, -100, -5000, -50_000]:
        body = 102_400 if most >= 64 or most < -100 else 5000 if most > 8 or most < 0 else 1000
        name = "%d bytes" % most if most > 0 else "up to %d bytes" % -most
        yield "short writes: " + name, [("send", most, 1, 1, True), ("file_out", most, 1, 1, True)], body
        yield "short reads: " + name, [("recv", most, 1, 1, True), ("read", most, 1, 1, True)], body
    yield "one event at a time", [("wait", 1, 1, 1, True)], 102_400
    for error in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ECONNABORTED):
        yield "accept, %s" % errno.errorcode[error], [("accept", error, 2, 2, False)], 1000
    for seed in (1, 2, 3):
        yield "all at once, seed %d" % seed, [
            ("send", errno.EAGAIN, 3, 3, False), ("send", -3000, 1, 1, True), ("recv", errno.EINTR, 3, 3, False),
            ("recv", -3000, 1, 1, True), ("wait", errno.EINTR, 4, 4, False), ("wait", 1, 1, 1, True),
            ("accept", errno.EINTR, 2, 2, False), ("file_out", errno.EAGAIN, 3, 3, False),
            ("file_out", -3000, 1, 1, True)], 102_400, seed


def apply(shim, rules, seed=1):
    for kind, value, first, every, cut in rules:
        shim.set(kind, value, first, every, cut, seed)


def attempt(talk, path):
    """What it brought, and what went wrong with it."""
    try:
        return talk.run(path), ""
    except (ValueError, OSError) as fault:
        return [], "%s: %s" % (type(fault).__name__, fault)


def exact(program, talks_of, usual):
    baselines = {}
    for name, rules, most, *seed in exact_plans():
        for talk in talks_of(most):
            if (talk.name, most) not in baselines:
                baselines[talk.name, most] = talk.run(program.socket)
        apply(program.shim, rules, *seed)
        faults = []
        for talk in talks_of(most):
            got, fault = attempt(talk, program.socket)
            fault = fault or wrong(baselines[talk.name, most], got, True)
            if fault:
                faults.append("%s: %s" % (talk.name, fault))
        struck = program.shim.struck()
        reached = {kind for kind, *_ in rules} & usual
        program.shim.off()
        if reached and not struck:
            faults.append("the shim never struck")
        after(program, faults)
        if reached and not check("%s, %s" % (program.name, name), "\n  ".join(faults)) and not program.alive():
            return


def after(program, faults):
    """It serves the next one, and has no descriptors more than before."""
    if not program.alive():
        faults.append("it has ended with status %d" % program.process.returncode)
        return
    got, fault = attempt(program.probe, program.socket)
    if fault or wrong(program.good, got, True):
        faults.append("afterwards: %s" % (fault or wrong(program.good, got, True)))
    held = program.settled(program.held + program.spare)
    if held > program.held + program.spare:
        faults.append("%d descriptors, before it were %d" % (held, program.held))


def pause(program):
    """Accepting goes on after a pause, also where the listener could not be watched again at once."""
    faults = []
    program.shim.set("accept", errno.EMFILE, every=1)
    program.shim.set("control", errno.ENOSPC, every=1)
    with socket.socket(socket.AF_UNIX) as waiting:
        waiting.connect(program.socket)
        try:
            wait_until(lambda: program.shim.struck("control") > 1, "tries to watch its listener again")
        except TimeoutError as fault:
            faults.append(str(fault))
    program.shim.off()
    after(program, faults)
    check("%s, EMFILE and then ENOSPC: it accepts again" % program.name, "\n  ".join(faults))


ERRORS = {
    "send": (errno.ENOBUFS, errno.ENOMEM, errno.EPIPE),
    "recv": (errno.ENOMEM, errno.ECONNRESET),
    "file_out": (errno.ENOMEM, errno.EIO, errno.EPIPE),
    "control": (errno.ENOMEM, errno.ENOSPC),
    "connect": (errno.ECONNREFUSED, errno.EAGAIN, errno.ENOMEM),
    "socket": (errno.EMFILE, errno.ENFILE, errno.ENOBUFS),
    "event": (errno.EMFILE, errno.ENOMEM),
    "read": (errno.EIO,),
}


def errors(program, talks, usual):
    for talk in talks:
        expected = talk.run(program.socket)
        for kind in ERRORS:
            if kind in usual:
                for error in ERRORS[kind]:
                    sweep(program, talk, expected, kind, error)
        if not program.alive():
            return


def sweep(program, talk, expected, kind, error):
    faults, number = [], 0
    if program.spare:
        program.restart()  # no connection is kept: all that happens to a new one is seen
    while not faults and number < 400:
        number += 1
        program.shim.set(kind, error, first=number)
        got, fault = attempt(talk, program.socket)
        struck = program.shim.struck(kind, False)
        program.shim.off()
        fault = fault or wrong(expected, got, not struck)
        if fault:
            faults.append(fault)
        after(program, faults)
        if not struck:
            break
    what = "%s, %s: %s at each of %d %s calls" % (program.name, talk.name, errno.errorcode[error], number - 1, kind)
    if number > 1 or faults:
        check(what, "at call %d: " % number + "\n  ".join(faults) if faults else "")


# fetch

def fetch_cases(at, folder, most):
    file = "site.bin" if most > 50_000 else "small"

    def url(name, target):
        return "http+unix://%s%s" % (at[name].replace("/", "%2F"), target)
    return [
        ("GET", [url("hello", "/world")], None),
        ("POST", ["-d", pattern(most * 2 // 3).decode(), url("hello", "/echo")], None),
        ("POST of a file", ["-d", "@%s/site/%s" % (folder, file), url("hello", "/echo")], None),
        ("POST of a pipe", ["-d", "@-", url("hello", "/echo")], pattern(most // 3)),
        ("HEAD", ["-X", "HEAD", url("hello", "/")], None),
        ("a stream", ["-o", folder + "/out", url("proxy", "/bytes/%d" % most)], None),
        ("a file", ["-o", folder + "/out", url("files", "/" + file)], None),
        ("404", [url("files", "/none")], None),
    ]


class Fetch:
    def __init__(self, library, program, folder):
        self.command, self.folder, self.shim = [program, "--timeout", "5000"], folder, Shim(folder + "/fetch.faults")
        self.environment = self.shim.environment(library)

    def run(self, arguments, data):
        """Its status, what it wrote, the lines of its complaint, the files it left."""
        out = self.folder + "/out"
        if os.path.exists(out):
            os.unlink(out)
        done = subprocess.run(self.command + arguments, input=data, env=self.environment, timeout=4 * PATIENCE,
                              stdin=subprocess.DEVNULL if data is None else None, capture_output=True, check=False)
        left = sorted(name for name in os.listdir(self.folder) if name.startswith("out"))
        told = done.stdout
        if "-o" in arguments and left == ["out"]:
            with open(out, "rb") as file:
                told += file.read()
        return done.returncode, told, done.stderr, left

    def judge(self, expected, got, may_fail):
        if got == expected:
            return ""
        status, told, complaint, left = got
        if not may_fail or status != 1:
            return "status %d, %d bytes, %r, files %s" % (status, len(told), complaint[:200], left)
        if complaint.count(b"\n") != 1 or not re.match(rb"fetch: .*\.sock\b.*: .", complaint):
            return "a failure is one line that names the socket: %r" % complaint
        if left:
            return "a failure leaves a file: %s" % left
        return "" if expected[1].startswith(told) else "wrong bytes before a failure"


def fetch_exact(fetch, cases_of):
    baselines = {}
    for name, rules, most, *seed in exact_plans():
        faults, struck = [], 0
        for case, arguments, data in cases_of(most):
            expected = baselines.get((case, most)) or fetch.run(arguments, data)
            baselines[case, most] = expected
            apply(fetch.shim, rules, *seed)
            fault = fetch.judge(expected, fetch.run(arguments, data), False)
            struck += fetch.shim.struck()
            fetch.shim.off()
            if fault or expected[0]:
                faults.append("%s: %s" % (case, fault or expected[2]))
        if struck or faults:
            check("fetch, " + name, "\n  ".join(faults))


def fetch_errors(fetch, cases):
    for case, arguments, data in cases:
        expected = fetch.run(arguments, data)
        for kind in ("send", "recv", "file_out", "connect", "socket", "read"):
            for error in ERRORS[kind]:
                for number in range(1, 100):
                    fetch.shim.set(kind, error, first=number)
                    got = fetch.run(arguments, data)
                    struck = fetch.shim.struck()
                    fetch.shim.off()
                    fault = fetch.judge(expected, got, struck)
                    if fault or not struck:
                        break
                if number > 1 or fault:
                    check("fetch, %s: %s at each of %d %s calls" % (case, errno.errorcode[error], number - 1, kind),
                          fault and "at call %d: %s" % (number, fault))


def status_fault(program):
    status = program.stop()
    return status and "status %d" % status


SWEPT = {"hello": ("kept alive", "pipelined", "echo", "chunked echo", "half-closed"),
         "upload": ("upload", "download"), "files": ("file", "ranges"), "websocket": ("upgraded",),
         "proxy": ("upload", "download", "upload in chunks"), "tunnel": ("upgraded",)}


def first_second(hello):
    """A machine without a clock, just started: it is the first second of 1970."""
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(PATIENCE)
        peer.connect(hello.socket)
        peer.sendall(get(b"/", b"Connection: close\r\n"))
        with peer.makefile("rb") as answer:
            got = answer.read()
    wanted = b"\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
    check("hello, the first second of 1970", "" if wanted in got else repr(got))


def main():
    library, examples, folder, *names = sys.argv[1:]
    os.mkdir(folder + "/site")
    for name, size in (("site.bin", 100_000), ("small", 300), ("empty", 0)):
        with open("%s/site/%s" % (folder, name), "wb") as file:
            file.write(pattern(size))
    at = {name: "%s/%s.sock" % (folder, name) for name in
          ("hello", "threads", "upload", "files", "websocket", "proxy", "tunnel")}
    io = {"send", "recv", "accept", "wait", "control"}
    rows = [
        ("hello", ["hello", at["hello"]], hello_talks, io),
        ("threads", ["hello", at["threads"], "--threads", "2", "--workers", "2"], hello_talks, io),
        ("upload", ["upload", at["upload"]], upload_talks, io),
        ("files", ["files", at["files"], folder + "/site"], files_talks, io | {"file_out"}),
        ("websocket", ["websocket", at["websocket"]], upgrade_talks, io),
        ("proxy", ["proxy", at["proxy"], at["upload"]], upload_talks, io | {"connect", "socket", "event"}),
        ("tunnel", ["proxy", at["tunnel"], at["websocket"]], upgrade_talks, io | {"connect", "socket", "event"}),
    ]
    programs = {}
    try:
        for name, command, talks, usual in rows:
            begun = time.monotonic()
            program = Program(folder, library, name, [examples + "/" + command[0], *command[1:]])
            programs[name] = program
            program.probe = talks(1000)[0]
            program.good = program.probe.run(program.socket)
            time.sleep(0.05)
            # A proxy keeps connections: one of each of two requests of a conversation, and of the one before.
            program.held, program.spare = program.descriptors(), 2 if command[0] == "proxy" else 0
            if names and name not in names:
                continue
            exact(program, talks, usual)
            if command[0] == "hello":
                pause(program)
            errors(program, [talk for talk in talks(5000) if talk.name in SWEPT.get(name, ())], usual - {"accept", "wait"})
            print("%-10s %5.1f s" % (name, time.monotonic() - begun), flush=True)
        if not names or "fetch" in names:
            begun = time.monotonic()
            fetch = Fetch(library, examples + "/fetch", folder)
            fetch_exact(fetch, lambda most: fetch_cases(at, folder, most))
            fetch_errors(fetch, fetch_cases(at, folder, 5000) + fetch_cases(at, folder, 102_400)[-2:])
            print("%-10s %5.1f s" % ("fetch", time.monotonic() - begun), flush=True)
        if not names or "clock" in names:
            command = [examples + "/hello", folder + "/clock.sock"]
            programs["clock"] = Program(folder, library, "clock", command, FAULTS_TIME="0")
            first_second(programs["clock"])
        for last, first in (("proxy", "upload"), ("tunnel", "websocket")):
            check("%s ends with 0" % first, status_fault(programs.pop(first)))
            held = programs[last].settled(programs[last].bare)
            check("%s keeps no connection that its upstream has ended" % last,
                  held != programs[last].bare and "%d descriptors, at first %d" % (held, programs[last].bare))
    finally:
        for name in reversed(list(programs)):
            check("%s ends with 0" % name, status_fault(programs[name]))
    print("%d passed, %d failed" % (passed, failed))
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
