"""websocket_peer.py SOCKET: asks the echo of examples/websocket.cpp, by hand (RFC 6455)."""
import os, socket, struct, sys


def frame(first, payload, masked=True):
    size = len(payload)
    head = bytes([first]) + (bytes([size | 128]) if size < 126 else b"\xfe" + struct.pack(">H", size)
                             if size < 65536 else b"\xff" + struct.pack(">Q", size))
    mask = os.urandom(4)
    return head + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(payload))


def expect(stream, first, payload):
    head = stream.read(2)
    size = head[1]
    if size == 126:
        size = struct.unpack(">H", stream.read(2))[0]
    elif size == 127:
        size = struct.unpack(">Q", stream.read(8))[0]
    got = stream.read(size)
    assert (head[0], got) == (first, payload), (head, got[:20], len(got))


sock = socket.socket(socket.AF_UNIX)
sock.settimeout(20)
sock.connect(sys.argv[1])
hello = frame(0x81, b"with the request")
sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
             b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n" + hello)
stream = sock.makefile("rb")
status = stream.readline()
assert b" 101 " in status, status
while stream.readline().strip():
    pass
expect(stream, 0x81, b"with the request")
for size in (0, 1, 125, 126, 65535, 65536, 300000):
    payload = os.urandom(size)
    sock.sendall(frame(0x82, payload))
    expect(stream, 0x82, payload)
sock.sendall(frame(0x89, b"ping")[:3])
sock.sendall(frame(0x89, b"")[0:0])
sock.close()

sock = socket.socket(socket.AF_UNIX)
sock.settimeout(20)
sock.connect(sys.argv[1])
sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
             b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
stream = sock.makefile("rb")
while stream.readline().strip():
    pass
sock.sendall(frame(0x89, b"ping"))
expect(stream, 0x8A, b"ping")
sock.sendall(frame(0x88, b"\x03\xe8"))
expect(stream, 0x88, b"\x03\xe8")
assert stream.read() == b"", "the server has to end the stream after a close"
print("echoes: ok")
