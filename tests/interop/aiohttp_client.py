"""aiohttp_client.py SOCKET: asks hello, by aiohttp's UnixConnector. `ok WHAT` or `FAILED WHAT: WHY`, then `end`."""
import asyncio, sys
import aiohttp

LARGE = b"0123456789abcdef" * (1 << 18)


async def pieces(data):
    for at in range(0, len(data), 100_000):
        yield data[at:at + 100_000]


async def expect(what, call, status, body=None):
    async with call as response:
        got = await response.read()
        good = response.status == status and (body is None or got == body)
        print(f"ok {what}" if good else f"FAILED {what}: {response.status}, {len(got)} bytes")


async def quiet(call, body):
    async with call as response:
        return (response.status, await response.read()) == (200, body)


async def main():
    connector = aiohttp.UnixConnector(path=sys.argv[1], limit=8)
    connections = []
    tracing = aiohttp.TraceConfig()

    async def made(*_):
        connections.append(1)
    tracing.on_connection_create_end.append(made)
    async with aiohttp.ClientSession("http://localhost", connector=connector, trace_configs=[tracing]) as api:
        await expect("GET", api.get("/"), 200, b"Hello Anonymous")
        await expect("parameter", api.get("/wörld"), 200, "Hello wörld".encode())
        good = [await quiet(api.get("/world"), b"Hello world") for _ in range(100)]
        print("ok keep-alive" if all(good) and len(connections) == 1 else f"FAILED keep-alive: {len(connections)} connections")
        good = await asyncio.gather(*(quiet(api.get(f"/{n}"), b"Hello %d" % n) for n in range(200)))
        print("ok 200 at once" if all(good) else f"FAILED 200 at once: {sum(good)}")
        await expect("HEAD", api.head("/world"), 200, b"")
        await expect("404", api.get("/a/b/c"), 404)
        await expect("405", api.delete("/world"), 405)
        await expect("POST echo", api.post("/echo", data=b"some bytes"), 200, b"some bytes")
        await expect("POST of 4 MB", api.post("/echo", data=LARGE), 200, LARGE)
        await expect("chunked POST", api.post("/echo", data=pieces(LARGE)), 200, LARGE)
        await expect("Expect", api.post("/echo", data=b"later", expect100=True), 200, b"later")
    print("end")


asyncio.run(main())
