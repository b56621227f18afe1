"""What 2,000 slow connections cost 64 fast ones, on one loop.

slow.py HELLO LOAD [ROUNDS [SECONDS]]: measures in turn without and with them, and compares medians.
Half of the slow ones drip a head, a byte every two seconds, until the server has had enough (408) and
they come again; half drip a body. What is printed last, `N passed, N failed`, is about what doesn't
depend on the machine: every fast request was answered right, the slow ones were there, and the
server's time on the processor for a fast request, all that the slow ones cost it included, grew by less
than half. The throughput (at least 80 % is wanted) is shown, not judged: who else is at work here decides it.
"""
import json
import os
import select
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

COUNT = 2000
HEAD = b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: " + b"x" * 1000
BODY = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"


def drip(path, tell):
    """Keeps COUNT slow connections, for as long as it lives; each has a byte to send every two seconds."""
    peers, polled, at = {}, select.epoll(), 0

    def connect(number):
        peer = socket.socket(socket.AF_UNIX)
        peer.connect(path)
        peer.setblocking(False)
        if number % 2:
            peer.send(BODY)
        peers[peer.fileno()] = (peer, number, [0])
        polled.register(peer, select.EPOLLIN)
    for number in range(COUNT):
        connect(number)
    os.write(tell, b"x")
    while True:
        for fd, _ in polled.poll(0):
            peer, number, _ = peers.pop(fd)
            polled.unregister(fd)
            peer.close()
            connect(number)
        for _ in range(COUNT // 100):
            fds = list(peers)
            at = (at + 1) % len(fds)
            peer, number, sent = peers[fds[at]]
            with_byte = b"x" if number % 2 else HEAD[sent[0]:sent[0] + 1]
            sent[0] += 1
            try:
                peer.send(with_byte)
            except OSError:
                pass  # it is told at the next poll
        time.sleep(0.02)


def measure(load, path, pid, seconds):
    done = subprocess.run([load, "--request", "GET|/|0|text:Hello Anonymous", "--connections", "64", "--seconds",
                           str(seconds), "--watch", str(pid), path], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def descriptors(pid):
    return len(os.listdir("/proc/%d/fd" % pid))


def started_drip(path):
    ready, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            drip(path, told)
        finally:
            os._exit(1)
    os.close(told)
    os.read(ready, 1)
    os.close(ready)
    return pid


def main():
    hello, load = sys.argv[1:3]
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 5
    seconds = float(sys.argv[4]) if len(sys.argv) > 4 else 1
    results, there, ended = {False: [], True: []}, [], []
    with tempfile.TemporaryDirectory() as folder:
        path = folder + "/s"
        with subprocess.Popen([hello, path], stderr=subprocess.PIPE) as server:
            server.stderr.readline()
            for _ in range(rounds):
                for slow in (False, True):
                    pid = started_drip(path) if slow else 0
                    results[slow].append(measure(load, path, server.pid, seconds))
                    if slow:
                        there.append(descriptors(server.pid))
                        os.kill(pid, signal.SIGKILL)
                        ended.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
                        while descriptors(server.pid) > 100:
                            time.sleep(0.01)
            server.terminate()
            status = server.wait()
    return verdict(results, there, ended, status)


def verdict(results, there, ended, status):
    def median(slow, what):
        return statistics.median(r[what] for r in results[slow])
    passed = failed = 0
    for what in ("rps", "p99_us", "cpu_us"):
        print("%-8s %10.1f without, %10.1f with %d slow ones: %.2f" % (
            what, median(False, what), median(True, what), COUNT, median(True, what) / median(False, what)))
    errors = sum(r["errors"] for rows in results.values() for r in rows)
    grown = median(True, "cpu_us") / median(False, "cpu_us")
    for what, good in (("every fast request is answered right", errors == 0),
                       ("the slow ones were there", min(there) >= 0.9 * COUNT and set(ended) == {-signal.SIGKILL}),
                       ("the server's processor time for a fast request grew by less than half", grown < 1.5),
                       ("the server ends with 0", status == 0)):
        print("%s: %s" % (what, "ok" if good else "FAILED"))
        passed, failed = passed + good, failed + (not good)
    print("%d passed, %d failed" % (passed, failed))
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
