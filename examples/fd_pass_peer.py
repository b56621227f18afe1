#!/usr/bin/env python3
"""fd_pass_peer.py SOCKET TARGET: fetches a body that comes as a descriptor, by the standard library.
    $ examples/fd_pass_peer.py /tmp/fd.sock /big/1000000
    1000000 bytes by descriptor
"""
import fcntl, mmap, os, socket, sys

SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


def head_and_fds(sock):
    data, fds = b"", []
    while b"\r\n\r\n" not in data:
        piece, more, flags, _ = socket.recv_fds(sock, 65536, 2)
        fds += more
        if not piece or flags & socket.MSG_CTRUNC:
            sys.exit("cut off")
        data += piece
    head, _, rest = data.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    return lines[0], {k.lower(): v.strip() for k, v in (f.split(":", 1) for f in lines[1:])}, rest, fds


def main(path, target):
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(path)
    ask = f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAccept-Body-Fd: 1\r\n\r\n"
    socket.send_fds(sock, [ask.encode()], [0])  # any one: no proxy is between, it would not pass it on
    status, fields, body, fds = head_and_fds(sock)
    print(status, file=sys.stderr)
    if "body-fd" not in fields:
        return print(len(body) + sum(iter(lambda: len(sock.recv(1 << 20)), 0)), "bytes on the stream")
    length = int(fields["body-fd"].removeprefix("length="))
    if len(fds) != 1 or fcntl.fcntl(fds[0], fcntl.F_GET_SEALS) & SEALS != SEALS or os.fstat(fds[0]).st_size != length:
        sys.exit("that is not the sealed memory that was promised")
    body = mmap.mmap(fds[0], length, mmap.MAP_PRIVATE, mmap.PROT_READ) if length else b""  # mmap(2): never of 0
    print(len(body), "bytes by descriptor")


main(*sys.argv[1:3]) if len(sys.argv) == 3 else sys.exit(__doc__)
