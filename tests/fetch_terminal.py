"""fetch on a terminal: a bar for a body over 1 MiB that goes elsewhere, and nothing else on it.

fetch_terminal.py FETCH FOLDER: serves on a socket in FOLDER, runs FETCH on a pseudo-terminal, prints
what is wrong and `N passed, N failed`."""
import contextlib
import os
import pty
import re
import socket
import subprocess
import sys
import threading

fetch, folder = sys.argv[1:]
path = os.path.join(folder, "terminal.sock")
url = "http+unix://" + path.replace("%", "%25").replace("/", "%2F")
counts = {True: 0, False: 0}


def answer(peer):
    target = peer.recv(65536).split(b" ")[1].decode()  # /SIZE, /SIZE/cut, /SIZE/chunked, /SIZE/stops
    size = int(target.split("/")[1])
    if target.endswith("/chunked"):
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (size, b"x" * size)
    else:
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size
        body = b"x" * (size // 2 if target.endswith(("/cut", "/stops")) else size)
    with peer, contextlib.suppress(OSError):  # fetch has left: what it printed tells
        peer.sendall(head + body)
        if target.endswith("/stops"):
            peer.recv(1)  # until fetch has ended


def serve(listener):
    while True:
        answer(listener.accept()[0])


def run(*arguments, out_is_terminal=False, until=None):
    """Exit status, and what came to the terminal; SIGTERM once that has `until` in it."""
    ours, theirs = pty.openpty()
    out = theirs if out_is_terminal else subprocess.DEVNULL
    program = subprocess.Popen([fetch, "--timeout", "20000", *arguments], stdout=out, stderr=theirs)
    os.close(theirs)
    seen = b""
    # EIO: the last writer has closed it. The kernel (n_tty_read) looks whether something has come before it
    # looks whether the other side has left, so the last words can be behind one EIO, never behind two.
    ends = 0
    while ends < 2:
        try:
            piece = os.read(ours, 65536)
        except OSError:
            piece = b""
        seen += piece
        ends = 0 if piece else ends + 1
        if until and until in seen:
            program.terminate()
            until = None
    os.close(ours)
    return program.wait(), seen.decode()


def check(what, good, got):
    counts[bool(good)] += 1
    if not good:
        print(f"fetch on a terminal: {what}: FAILED\n  got: {got!r}")


with socket.socket(socket.AF_UNIX) as listener:
    listener.bind(path)
    listener.listen()
    threading.Thread(target=serve, args=(listener,), daemon=True).start()
    bar = re.compile(r"(\r\[[# ]{25}\] +\d+ % of 2\.9 MiB)+\r\n")
    file = os.path.join(folder, "terminal.out")

    for where in ([], ["-o", file]):
        status, seen = run(*where, url + "/3000000")
        check("a bar, one line, ended", status == 0 and bar.fullmatch(seen), seen)
        check("it ends at 100 %", seen.endswith("[" + 25 * "#" + "] 100 % of 2.9 MiB\r\n"), seen)
        percents = [int(text) for text in re.findall(r"(\d+) %", seen)]
        check("it only grows", percents == sorted(set(percents)), percents)
    check("the body is whole", os.path.getsize(file) == 3000000, os.path.getsize(file))
    for what, target in (("1 MiB", "/1048576"), ("unknown length", "/3000000/chunked")):
        status, seen = run("-o", file, url + target)
        check(what + ": no bar", (status, seen) == (0, ""), seen)
    status, seen = run(url + "/3000000", out_is_terminal=True)
    check("the body alone goes to a terminal", (status, seen) == (0, "x" * 3000000), seen[:200])
    os.unlink(file)
    status, seen = run("-o", file, url + "/3000000/cut")
    line = seen[seen.find("\r\n") + 2:]
    check("an error has a line of its own", status == 1 and line.startswith("fetch: ") and line.count("\n") == 1, (status, seen))
    status, seen = run("-o", file, url + "/3000000/stops", until=b" 50 % ")
    line = seen[seen.find("\r\n") + 2:]
    check("a signal's too", status == 1 and line == "fetch: " + url + "/3000000/stops: ended by a signal\r\n", (status, seen))
    check("a cut body leaves no file", not os.path.exists(file), os.listdir(folder))
os.unlink(path)
print(f"{counts[True]} passed, {counts[False]} failed")
