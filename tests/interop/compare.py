"""compare.py REFERENCE_SOCKET OUR_SOCKET: sends valid requests, as raw bytes, to aiohttp and to hello.

Status and body have to be equal; of other than 2xx, the status alone.
"""
import socket, sys

HOST = b"Host: localhost\r\n"


def get(target, *fields, method=b"GET", version=b"1.1"):
    return b"%s %s HTTP/%s\r\n%s%s\r\n" % (method, target, version, HOST, b"".join(f + b"\r\n" for f in fields))


def post(body, *fields, target=b"/echo"):
    return get(target, *fields, b"Content-Length: %d" % len(body), method=b"POST") + body


def chunked(chunks, *fields, trailers=b""):
    return get(b"/echo", *fields, b"Transfer-Encoding: chunked", method=b"POST") + chunks + trailers + b"\r\n"


ROWS = [
    ("the root", get(b"/")),
    ("a name", get(b"/world")),
    ("GET of a path that has a POST", get(b"/echo")),
    ("a name of all unreserved characters", get(b"/AZaz09-._~")),
    ("sub-delimiters in a path", get(b"/!$&'()*+,;=:@")),
    ("plus is no space", get(b"/a+b")),
    ("a percent-encoded letter", get(b"/%77orld")),
    ("a percent-encoded space", get(b"/a%20b")),
    ("a percent-encoded percent", get(b"/100%25")),
    ("percent-encoded twice", get(b"/%2541")),
    ("an encoded slash", get(b"/a%2Fb")),
    ("an encoded slash in small letters", get(b"/a%2fb")),
    ("an encoded question mark", get(b"/a%3Fb")),
    ("an encoded number sign", get(b"/a%23b")),
    ("UTF-8", get(b"/w%C3%B6rld")),
    ("UTF-8 of four bytes", get(b"/%F0%9F%98%80")),
    ("an encoded brace", get(b"/%7Bname%7D")),
    ("an encoded dot", get(b"/%2E")),
    ("two encoded dots in a longer name", get(b"/a%2E%2Eb")),
    ("a colon", get(b"/a:b")),
    ("a long name", get(b"/" + b"n" * 4000)),
    ("two segments", get(b"/a/b")),
    ("a trailing slash", get(b"/world/")),
    ("a doubled slash", get(b"/a//b")),
    ("an empty query", get(b"/world?")),
    ("a query", get(b"/world?a=1&b=2")),
    ("a query of the root", get(b"/?a=1")),
    ("a query with a slash", get(b"/world?a/b")),
    ("a query with a question mark", get(b"/world?a?b")),
    ("a query with an encoded slash", get(b"/world?a=%2F")),
    ("HEAD of the root", get(b"/", method=b"HEAD")),
    ("HEAD of a name", get(b"/world", method=b"HEAD")),
    ("HEAD of what isn't there", get(b"/a/b", method=b"HEAD")),
    ("POST of the root", get(b"/", b"Content-Length: 0", method=b"POST")),
    ("POST of a name", post(b"abc", target=b"/world")),
    ("PUT", get(b"/world", b"Content-Length: 0", method=b"PUT")),
    ("DELETE", get(b"/world", method=b"DELETE")),
    ("PATCH", get(b"/world", b"Content-Length: 0", method=b"PATCH")),
    ("DELETE of the echo", get(b"/echo", method=b"DELETE")),
    ("POST of what isn't there", post(b"abc", target=b"/a/b")),
    ("absolute form", get(b"http://localhost/world")),
    ("absolute form with a query", get(b"http://localhost/world?a=1")),
    ("absolute form of the root", get(b"http://localhost/")),
    ("absolute form with a port", get(b"http://localhost:80/world")),
    ("HTTP/1.0", get(b"/world", version=b"1.0")),
    ("HTTP/1.0 without Host", b"GET /world HTTP/1.0\r\n\r\n"),
    ("HTTP/1.0 keep-alive", get(b"/world", b"Connection: keep-alive", version=b"1.0")),
    ("HTTP/1.0 POST", b"POST /echo HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc"),
    ("HTTP/1.0 HEAD", get(b"/world", method=b"HEAD", version=b"1.0")),
    ("Connection: close", get(b"/world", b"Connection: close")),
    ("Connection: keep-alive", get(b"/world", b"Connection: keep-alive")),
    ("Connection in capitals", get(b"/world", b"CONNECTION: CLOSE")),
    ("a host with a port", b"GET /world HTTP/1.1\r\nHost: localhost:8080\r\n\r\n"),
    ("a host with a dot", b"GET /world HTTP/1.1\r\nHost: example.com.\r\n\r\n"),
    ("an IPv6 host", b"GET /world HTTP/1.1\r\nHost: [::1]:80\r\n\r\n"),
    ("a field name in small letters", b"GET /world HTTP/1.1\r\nhost: localhost\r\n\r\n"),
    ("a field without blanks", b"GET /world HTTP/1.1\r\nHost:localhost\r\n\r\n"),
    ("a field with blanks and tabs", b"GET /world HTTP/1.1\r\nHost:  \t localhost \t \r\n\r\n"),
    ("an empty field value", get(b"/world", b"X-Empty:")),
    ("bytes above 127 in a field value", get(b"/world", b"X-Name: \xe4\xf6\xfc")),
    ("a tab inside of a field value", get(b"/world", b"X-Tab: a\tb")),
    ("the same field twice", get(b"/world", b"X-Twice: 1", b"X-Twice: 2")),
    ("token characters in a field name", get(b"/world", b"!#$%&'*+-.^_`|~09aZ: 1")),
    ("80 fields", get(b"/world", *(b"X-%d: %d" % (n, n) for n in range(80)))),
    ("a browser's fields", get(
        b"/world", b"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36", b"Accept: text/html,*/*;q=0.8",
        b"Accept-Language: en-US,en;q=0.5", b"Accept-Encoding: gzip, deflate, br", b"Cookie: a=b; c=d",
        b"Upgrade-Insecure-Requests: 1", b"Sec-Fetch-Dest: document")),
    ("a Range that nobody serves", get(b"/world", b"Range: bytes=0-1")),
    ("If-None-Match", get(b"/world", b'If-None-Match: "x"')),
    ("Accept of something else", get(b"/world", b"Accept: image/png")),
    ("TE: trailers", get(b"/world", b"TE: trailers", b"Connection: TE")),
    ("GET with a body", get(b"/world", b"Content-Length: 3") + b"abc"),
    ("GET with Content-Length: 0", get(b"/world", b"Content-Length: 0")),
    ("POST", post(b"abc")),
    ("POST of nothing", post(b"")),
    ("POST without a length", get(b"/echo", method=b"POST")),
    ("POST of every byte", post(bytes(range(256)))),
    ("POST of what looks like a request", post(get(b"/evil"))),
    ("POST of 1 MiB", post(b"0123456789abcdef" * 65536)),
    ("POST of form fields", post(b"a=1&b=2", b"Content-Type: application/x-www-form-urlencoded")),
    ("POST with a query", post(b"abc", target=b"/echo?a=1")),
    ("POST with Content-Length in small letters", get(b"/echo", b"content-length: 3", method=b"POST") + b"abc"),
    ("POST and close", post(b"abc", b"Connection: close")),
    ("chunked", chunked(b"3\r\nabc\r\n0\r\n")),
    ("several chunks", chunked(b"3\r\nabc\r\n1\r\nd\r\n0\r\n")),
    ("no chunk but the last", chunked(b"0\r\n")),
    ("a chunk size with leading zeros", chunked(b"0003\r\nabc\r\n000\r\n")),
    ("a chunk size in capitals", chunked(b"A\r\n0123456789\r\n0\r\n")),
    ("a chunk size in small letters", chunked(b"a\r\n0123456789\r\n0\r\n")),
    ("a chunk extension", chunked(b"3;name=value\r\nabc\r\n0\r\n")),
    ("a quoted chunk extension", chunked(b'3;name="a b"\r\nabc\r\n0\r\n')),
    ("a chunk that looks like the last", chunked(b"5\r\n0\r\n\r\n\r\n0\r\n")),
    ("many chunks", chunked(b"1\r\nx\r\n" * 5000 + b"0\r\n")),
    ("a large chunk", chunked(b"40000\r\n" + b"y" * 0x40000 + b"\r\n0\r\n")),
    ("Chunked in capitals", get(b"/echo", b"Transfer-Encoding: CHUNKED", method=b"POST") + b"1\r\nx\r\n0\r\n\r\n"),
    ("Expect: 100-continue", post(b"abc", b"Expect: 100-continue")),
    ("Expect in capitals", post(b"abc", b"EXPECT: 100-CONTINUE")),
    ("chunked with Expect", chunked(b"3\r\nabc\r\n0\r\n", b"Expect: 100-continue")),
    ("OPTIONS of what isn't there", get(b"/a/b", method=b"OPTIONS")),
    ("two pipelined", get(b"/a") + get(b"/b")),
    ("POST and GET pipelined", post(b"abc") + get(b"/b")),
    ("chunked and GET pipelined", chunked(b"3\r\nabc\r\n0\r\n") + get(b"/b")),
    ("HEAD and GET pipelined", get(b"/a", method=b"HEAD") + get(b"/b")),
    ("404 and GET pipelined", get(b"/a/b") + get(b"/b")),
    ("POST with an encoded letter in its path", post(b"abc", target=b"/%65cho")),
    ("a method outside of the registry", get(b"/world", method=b"PURGE")),
    ("another one, where nothing is", get(b"/a/b", method=b"M-SEARCH")),
    ("20 pipelined", b"".join(get(b"/%d" % n) for n in range(20))),
    ("an empty line before a request", b"\r\n" + get(b"/world")),
    ("an empty line between requests", get(b"/a") + b"\r\n" + get(b"/b")),
]

# Where hello differs on purpose: name, bytes, its status, why.
DIFFERENT = [
    ("a method that nobody knows", get(b"/world", method=b"BREW"), 501, "RFC 9110 15.6.2"),
]


def one_response(stream, method):
    """(status, body, the connection goes on), interim responses skipped; None at the end."""
    while True:
        line = stream.readline()
        if not line:
            return None
        status = int(line.split()[1])
        fields = {}
        while (field := stream.readline().rstrip(b"\r\n")):
            name, _, value = field.partition(b":")
            fields[name.lower()] = value.strip()
        if status >= 200:
            break
    connection = fields.get(b"connection", b"").lower()
    goes_on = b"close" not in connection and (line.startswith(b"HTTP/1.1") or b"keep-alive" in connection)
    if method == b"HEAD" or status in (204, 304):
        body = b""
    elif fields.get(b"transfer-encoding", b"").lower() == b"chunked":
        body = b""
        while (size := int(stream.readline().split(b";")[0], 16)):
            body += stream.read(size)
            stream.readline()
        while stream.readline().strip():
            pass
    elif b"content-length" in fields:
        body = stream.read(int(fields[b"content-length"]))
    else:
        body, goes_on = stream.read(), False
    return status, body, goes_on


def methods_of(request):
    """Of the requests in these bytes: lines that look like the first one of a request."""
    lines = (line.split(b" ") for line in request.split(b"\r\n"))
    return [words[0] for words in lines if len(words) == 3 and words[2].startswith(b"HTTP/1.")]


def ask(path, request, name):
    """The responses: [(status, body of a 2xx)], and whether the connection goes on after the last."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(path)
        sock.sendall(request)
        stream, answers, goes_on = sock.makefile("rb"), [], True
        methods = methods_of(request) if name != "POST of what looks like a request" else [b"POST"]
        for method in methods:
            answer = one_response(stream, method)
            if answer is None:
                break
            status, body, goes_on = answer
            answers.append((status, body if 200 <= status < 300 else None))
            if not goes_on:
                break
        return answers


def asked(path, request, name):
    try:
        return ask(path, request, name)
    except (OSError, ValueError, IndexError) as error:
        return [repr(error)]


def main(reference, ours):
    failed = 0
    for name, request in ROWS:
        expected, got = asked(reference, request, name), asked(ours, request, name)
        if expected != got:
            failed += 1
            print(f"compare: {name}: FAILED\n  {request[:100]!r}\n  aiohttp: {str(expected)[:200]}\n  hello:   {str(got)[:200]}")
    for name, request, status, why in DIFFERENT:
        expected, got = asked(reference, request, name), asked(ours, request, name)
        print(f"compare: {name}: aiohttp {expected[0][0]}, hello {got[0][0]}: {why}")
        failed += got[0][0] != status
    rows = len(ROWS) + len(DIFFERENT)
    print(f"{len(ROWS)} rows of the same answers, {len(DIFFERENT)} of others on purpose")
    print(f"{rows - failed} passed, {failed} failed")
    return failed != 0


sys.exit(main(*sys.argv[1:3]))
