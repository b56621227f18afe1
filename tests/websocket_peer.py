"""websocket_peer.py SOCKET: asks the echo of examples/websocket.cpp, by hand (RFC 6455)."""
import os, socket, struct, sys


def frame(first, payload, masked=True):
    size = len(payload)
    mask = os.urandom(4)
    head = bytes([first]) + (bytes([size]) if size < 126 else b"\x7e" + struct.pack(">H", size)
                             if size < 65536 else b"\x7f" + struct.pack(">Q", size))
    if not masked:
        return head + payload
    return head[:1] + bytes([head[1] | 128]) + head[2:] + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(payload))


def expect(stream, first, payload):
    head = stream.read(2)
    size = head[1]
    if size == 126:
        size = struct.unpack(">H", stream.read(2))[0]
    elif size == 127:
        size = struct.unpack(">Q", stream.read(8))[0]
    got = stream.read(size)
    assert (head[0], got) == (first, payload), (head, got[:20], len(got))


def connect(behind=b"", status=b" 101 ", fields=(b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")):
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(20)
    sock.connect(sys.argv[1])
    sock.sendall(b"\r\n".join([b"GET / HTTP/1.1", b"Host: localhost", b"Connection: Upgrade", b"Upgrade: websocket",
                               *fields, b"", behind]))
    stream = sock.makefile("rb")
    line = stream.readline()
    assert status in line, line
    while stream.readline().strip():
        pass
    return sock, stream


sock, stream = connect(frame(0x81, b"with the request"))
expect(stream, 0x81, b"with the request")
for size in (0, 1, 125, 126, 65535, 65536, 300000):
    payload = os.urandom(size)
    sock.sendall(frame(0x82, payload))
    expect(stream, 0x82, payload)
for byte in frame(0x81, b"byte by byte"):
    sock.sendall(bytes([byte]))
expect(stream, 0x81, b"byte by byte")
sock.sendall(frame(0x01, b"two ") + frame(0x89, b"between") + frame(0x80, b"parts"))
expect(stream, 0x01, b"two ")
expect(stream, 0x8A, b"between")
expect(stream, 0x80, b"parts")
text = "\u00e4\u0800\ud7ff\ue000\uffff\U00010000\U0010ffff".encode()
for at, byte in enumerate(text): # 8.1: a text is what all parts are; its characters may be cut
    first = (at == 0) | (at == len(text) - 1) << 7
    sock.sendall(frame(first, bytes([byte])))
    expect(stream, first, bytes([byte]))
for code in (1000, 1003, 1007, 1014, 3000, 4999):
    other, answers = connect()
    other.sendall(frame(0x88, struct.pack(">H", code) + "ä".encode()))
    expect(answers, 0x88, struct.pack(">H", code) + "ä".encode())
    other.close()
sock.sendall(frame(0x81, b"small") * 20_000)
for _ in range(20_000):
    expect(stream, 0x81, b"small")
sock.sendall(frame(0x88, b"\x03\xe8"))
expect(stream, 0x88, b"\x03\xe8")
assert stream.read() == b"", "the server has to end the stream after a close"
sock.close()

BAD_TEXTS = (b"\xff", b"\x80", b"\xc1\x81", b"\xe0\x9f\x80", b"\xed\xa0\x80", b"\xf0\x8f\x80\x80", b"\xf4\x90\x80\x80",
             b"\xf5\x80\x80\x80", b"\xe2\x82", b"\xe2\x82a", b"a\xc3")
# 1002: not masked, a reserved bit or opcode, a control frame that is large or in parts, parts out of order, a
# length in a longer form than it needs, a close that nobody may send; 1007: a text that is none; 1009: too big.
for wrong, code in (*((frame(0x81, text), 1007) for text in BAD_TEXTS), (frame(0x80, b"x"), 1002), (frame(0, b"x"), 1002),
                    (b"\x82\xfe\0\x7dmask", 1002), (b"\x82\xff" + struct.pack(">Q", 65535) + b"mask", 1002),
                    *((frame(0x88, close), 1002) for close in (b"\x03", b"\x03\xe7", b"\x03\xec", b"\x03\xed", b"\x03\xee",
                                                               b"\x03\xf7", b"\x0b\xb7", b"\x13\x88", b"\x03\xe8\xff")),
                    (frame(0x81, b"x", masked=False), 1002), (frame(0xC1, b"x"), 1002), (frame(0x83, b"x"), 1002),
                    (frame(0x89, b"x" * 126), 1002), (frame(0x09, b"x"), 1002), (b"\x82\xff" + struct.pack(">Q", 1 << 40), None),
                    (b"\x82\xff" + struct.pack(">Q", 1 << 40) + b"mask", 1009)):
    sock, stream = connect()
    sock.sendall(wrong)
    if code is None: # only a part of its head: nothing is said yet
        sock.close()
        continue
    expect(stream, 0x88, struct.pack(">H", code))
    for _ in range(500): # what still comes is read, and not kept: whoever runs this looks at the memory
        sock.sendall(b"x" * 65536)
    assert stream.read() == b"", "the server has to end the stream after a close"
    sock.close()

for wrong, code in ((frame(0x81, b"x"), 1002), (frame(0x02, b"x"), 1002), (frame(0x80, b"\xff"), 1007)): # inside a text
    sock, stream = connect()
    sock.sendall(frame(0x01, b"\xc3") + wrong)
    expect(stream, 0x01, b"\xc3")
    expect(stream, 0x88, struct.pack(">H", code))
    sock.close()
for _ in range(3): # nothing is read, until all is full, both ways: whoever runs this looks at what is left of them
    sock, stream = connect()
    sock.settimeout(0.5)
    try:
        while True:
            sock.sendall(frame(0x82, b"x" * 65536))
    except TimeoutError:
        stream.close(), sock.close()
connect(status=b" 426 ", fields=(b"Sec-WebSocket-Version: 8", b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="))
connect(status=b" 400 ", fields=(b"Sec-WebSocket-Version: 13",))
connect(status=b" 400 ", fields=(b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: eHg=")) # 4.2.1: of 16 bytes
print("echoes: ok")
