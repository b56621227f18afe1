"""aiohttp_client.py SOCKET: prints `ok`, or what is wrong."""
import asyncio, sys
import aiohttp


async def pieces(data):
    for at in range(0, len(data), 100_000):
        yield data[at:at + 100_000]


async def expect(what, call, status, body=None):
    async with call as response:
        got = await response.read()
        if response.status != status or (body is not None and got != body):
            sys.exit(f"{what}: {response.status}, {len(got)} bytes")


async def main():
    connector = aiohttp.UnixConnector(path=sys.argv[1])
    large = b"0123456789abcdef" * (1 << 18)
    async with aiohttp.ClientSession("http://localhost", connector=connector) as api:
        for _ in range(100):
            await expect("GET", api.get("/world"), 200, b"Hello world")
        await asyncio.gather(*(expect("GET", api.get(f"/{n}"), 200, b"Hello %d" % n) for n in range(200)))
        await expect("HEAD", api.head("/world"), 200, b"")
        await expect("404", api.get("/a/b/c"), 404)
        await expect("405", api.delete("/world"), 405)
        await expect("POST", api.post("/echo", data=large), 200, large)
        await expect("chunked POST", api.post("/echo", data=pieces(large)), 200, large)
        await expect("Expect", api.post("/echo", data=b"later", expect100=True), 200, b"later")
    print("ok")


asyncio.run(main())
