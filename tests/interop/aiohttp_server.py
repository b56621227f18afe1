"""aiohttp_server.py SOCKET: the service that hello is compared with, and more to fetch from."""
import sys
from aiohttp import web


async def greet(request):
    return web.Response(text="Hello " + request.match_info.get("name", "Anonymous"))


async def echo(request):
    return web.Response(body=await request.read())


async def pieces(request):
    """A chunked response of n pieces."""
    response = web.StreamResponse()
    response.enable_chunked_encoding()
    await response.prepare(request)
    for number in range(int(request.match_info["n"])):
        await response.write(b"%d\n" % number)
    return response


async def large(request):
    return web.Response(body=b"x" * int(request.match_info["n"]))


app = web.Application(client_max_size=64 << 20)
app.add_routes([web.get("/", greet), web.get("/{name}", greet), web.post("/echo", echo)])
if "--plain" not in sys.argv:
    app.add_routes([web.get("/pieces/{n}", pieces), web.get("/large/{n}", large)])
web.run_app(app, path=sys.argv[1], print=None)
