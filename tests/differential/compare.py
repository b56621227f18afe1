"""Asks several servers the same raw bytes and compares what they took them for.

compare.py FOLDER ROWS DECISIONS [MUTATIONS [SEED]]

FOLDER holds the sockets ours.sock, go.sock, node.sock and nginx.sock; h11 is asked in this process.
Each case is sent on a connection of its own, followed by two requests that tell where the case's
last message ended. Rules:
  1. We never accept a case's first request that all others refuse.
  2. As long as we and another one both accept, we mean the same: method, target, length of the body.
What breaks a rule is a failure unless a line of DECISIONS names it. The last line of output is
`N passed, N failed`.
"""
import collections
import multiprocessing
import random
import re
import socket
import sys

import h11

SERVERS = ["ours", "go", "node", "nginx"]
PEERS = ["go", "node", "nginx", "h11"]
PADDING = b"X-Padding: " + b"p" * 180 + b"\r\n"
NEXT = b"GET /next HTTP/1.1\r\nHost: a\r\n" + PADDING + b"\r\n"
LAST = b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + PADDING + b"\r\n"

GET = b"GET /a HTTP/1.1\r\nHost: a\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: a\r\n"
BASES = [
    GET + b"\r\n",
    GET + b"Connection: keep-alive\r\nAccept: */*\r\nX: y z\r\n\r\n",
    b"GET /a?b=c HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"GET http://b:80/c HTTP/1.1\r\nHost: b:80\r\n\r\n",
    b"OPTIONS /a HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
    b"DELETE /a HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    POST + b"Content-Length: 5\r\n\r\nhello",
    POST + b"Content-Length: 23\r\nConnection: close, x\r\n\r\nGET /b HTTP/1.1\r\nA: b\r\n",
    POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    POST + b"Transfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n00a\r\n0123456789\r\n0\r\nT: v\r\n\r\n",
    POST + b'TE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n1;a="b;c"\r\nx\r\n0;z\r\n\r\n',
    POST + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
]
TOKENS = [b"\r\n", b"\n", b"\r", b" ", b"\t", b"\x0b", b"\0", b"\x7f", b"\x80", b"\xff", b":", b";", b",",
          b'"', b"\\", b"=", b"+", b"-", b"0", b"1", b"5", b"a", b"x", b"0x", b"/", b"?", b"#", b"%", b"*",
          b"@", b"[", b"]", b"_", b"\r\n ", b"\r\n\t", b"\r\n\r\n", b"0\r\n\r\n", b"chunked", b"gzip, ",
          b"identity", b", chunked", b"Content-Length: 5\r\n", b"Content-Length: 0\r\n",
          b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip\r\n", b"Host: b\r\n",
          b"Connection: close\r\n", b"Upgrade: x\r\n", b"HTTP/1.0", b"HTTP/1.1", b"HTTP/2.0", b"HTTP/0.9"]


def mutated(rng, bases):
    case = bytearray(rng.choice(bases))
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3))):
        at, what = rng.randrange(len(case) + 1), rng.randrange(8)
        if what < 3:
            case[at:at] = rng.choice(TOKENS)
        elif what == 3:
            case[at:at + rng.randrange(1, 4)] = rng.choice(TOKENS)
        elif what == 4:
            del case[at:at + rng.randrange(1, 4)]
        elif what == 5 and at < len(case):
            case[at] = rng.choice((case[at] ^ 0x20, rng.randrange(256)))
        else:  # a line twice, or two in another order
            lines = bytes(case).split(b"\r\n")
            one, two = rng.randrange(len(lines)), rng.randrange(len(lines))
            if what == 6:
                lines.insert(two, lines[one])
            else:
                lines[one], lines[two] = lines[two], lines[one]
            case = bytearray(b"\r\n".join(lines))
    return bytes(case)


def path_of(target):
    """Absolute-form and origin-form of the same are told apart by some only."""
    return re.sub(rb"^https?://[^/?]*", b"", target, flags=re.I) or b"/"


class Server:
    """One of the servers: a case in, what it took the case for out."""

    def __init__(self, folder, name):
        self.path = "%s/%s.sock" % (folder, name)

    def ask(self, case):
        with socket.socket(socket.AF_UNIX) as peer:
            peer.settimeout(10)
            peer.connect(self.path)
            answer = []
            try:
                peer.sendall(case + NEXT + LAST)
                peer.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # refused already; what it said can still be read
            try:
                while piece := peer.recv(65536):
                    answer.append(piece)
            except ConnectionError:
                pass
            except TimeoutError:
                return ["hangs"]
        return self.read(b"".join(answer))

    @staticmethod
    def read(answer):
        seen = []
        while answer:
            head, _, rest = answer.partition(b"\r\n\r\n")
            status = re.match(rb"HTTP/1\.[01] (\d\d\d)", head)
            if not status:
                return seen + ["garbage"]
            if status[1] == b"100":
                answer = rest
                continue
            echo = re.search(rb"\r\nX-Seen: (\S+) (\S+) (\S+)", head)
            if not echo:
                return seen + [int(status[1])]
            target = echo[2]
            target = target[4:] if target.startswith(b"raw:") else bytes.fromhex(target.decode())
            seen.append((echo[1], path_of(target), None if echo[3] == b"?" else int(echo[3])))
            size = re.search(rb"\r\nContent-Length: (\d+)", head, re.I)
            answer = rest[int(size[1]):] if size else rest
        return seen


class H11:
    def ask(self, case):
        peer, seen, request, size = h11.Connection(h11.SERVER, 16 << 10), [], None, 0
        try:
            peer.receive_data(case + NEXT + LAST)
            while True:
                event = peer.next_event()
                if isinstance(event, h11.Request):
                    request, size = event, 0
                elif isinstance(event, h11.Data):
                    size += len(event.data)
                elif isinstance(event, h11.EndOfMessage):
                    seen.append((request.method, path_of(request.target), size))
                    peer.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
                    peer.send(h11.EndOfMessage())
                    if peer.our_state is not h11.DONE or peer.their_state is not h11.DONE:
                        return seen
                    peer.start_next_cycle()
                else:
                    return seen + ["waits"]
        except h11.RemoteProtocolError as error:
            return seen + [error.error_status_hint]
        except h11.LocalProtocolError:
            return seen


def accepts(seen):
    return bool(seen) and isinstance(seen[0], tuple)


def differs(ours, theirs):
    """Where both accept, and mean something else."""
    for mine, other in zip(ours, theirs):
        if not isinstance(mine, tuple) or not isinstance(other, tuple):
            return False
        if mine[:2] != other[:2] or (other[2] is not None and mine[2] != other[2]):
            return True
        if mine[1] == b"/last":
            return False
    return False


def judge(seen):
    """The rules that are broken: [(rule, who)]."""
    ours = seen["ours"]
    if "hangs" in ours or "garbage" in ours:
        return [("ours " + ours[-1], "ours")]
    if not accepts(ours):
        return []
    broken = [("means something else than " + peer, peer) for peer in PEERS
              if accepts(seen[peer]) and differs(ours, seen[peer])]
    if not any(accepts(seen[peer]) for peer in PEERS):
        broken.append(("accepts what all refuse", "all"))
    return broken


def run(job):
    folder, cases = job
    asked = {name: Server(folder, name) for name in SERVERS}
    asked["h11"] = H11()
    counts, broken = collections.Counter(), []
    for name, case in cases:
        seen = {who: asked[who].ask(case) for who in asked}
        counts["cases"] += 1
        counts.update(who for who in asked if accepts(seen[who]))
        broken += [(rule, name, case, seen) for rule, _ in judge(seen)]
    return counts, broken


def read_decisions(path):
    """Lines of: rule <tab> pattern of the bytes <tab> what the RFC allows <tab> what we do <tab> why."""
    with open(path, encoding="utf-8") as lines:
        rows = [line.rstrip("\n").split("\t") for line in lines if line.strip() and line[0] != "#"]
    return [(rule, re.compile(pattern.encode("latin1"), re.S), rest) for rule, pattern, *rest in rows]


def main():
    folder, rows, decisions = sys.argv[1:4]
    count = int(sys.argv[4]) if len(sys.argv) > 4 else 100_000
    rng = random.Random(int(sys.argv[5]) if len(sys.argv) > 5 else 1)
    cases = []
    with open(rows, encoding="utf-8") as lines:
        for line in lines:
            table, name, data = line.rstrip("\n").split("\t")
            cases.append(("%s: %s" % (table, name), bytes.fromhex(data)))
    bases = BASES * 60 + [case for _, case in cases if 20 < len(case) < 400]
    cases += [("mutation %d" % n, mutated(rng, bases)) for n in range(count)]
    jobs = [(folder, cases[n:n + 500]) for n in range(0, len(cases), 500)]
    counts, broken = collections.Counter(), []
    with multiprocessing.Pool(2) as pool:
        for some, more in pool.imap(run, jobs):
            counts += some
            broken += more
    known = read_decisions(decisions)
    used, failed = collections.Counter(), []
    for rule, name, case, seen in broken:
        row = next((n for n, (which, pattern, _) in enumerate(known)
                    if re.fullmatch(which, rule) and pattern.search(case)), None)
        if row is None:
            failed.append((rule, name, case, seen))
        used[row] += 1
    for rule, name, case, seen in sorted(failed, key=lambda f: len(f[2]))[:10]:
        print("FAILED: ours %s: %s\n  %r" % (rule, name, case))
        for who in ["ours"] + PEERS:
            print("  %-6s %s" % (who, seen[who]))
    print("accepted: " + ", ".join("%s %d" % (who, counts[who]) for who in ["ours"] + PEERS) +
          " of %d" % counts["cases"])
    for n, (_, pattern, rest) in enumerate(known):
        print("decision %r: %d cases" % (rest[1], used[n]))
    bad = len({name for _, name, _, _ in failed})
    print("%d passed, %d failed" % (counts["cases"] - bad, bad))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
