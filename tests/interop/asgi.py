"""An ASGI application, for uvicorn: what hello answers, /pieces/{n} in chunks, /large/{n} in one."""


async def whole(receive):
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    return body


async def answer(send, status, body):
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    words = scope["path"].split("/")[1:]
    if scope["method"] == "POST" and words == ["echo"]:
        return await answer(send, 200, await whole(receive))
    if scope["method"] not in ("GET", "HEAD"):
        return await answer(send, 405, b"")
    if words[0] == "pieces":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for number in range(int(words[1])):
            await send({"type": "http.response.body", "body": b"%d\n" % number, "more_body": True})
        return await send({"type": "http.response.body", "body": b""})
    body = b"x" * int(words[1]) if words[0] == "large" else f"Hello {words[0] or 'Anonymous'}".encode()
    await answer(send, 200, body)
