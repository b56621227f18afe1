# SPDX-License-Identifier: MIT
"""aiohttp, as in its own documentation; a path, or tcp:PORT for the comparison with TCP."""

import sys

from aiohttp import web


async def hello(request):
    return web.Response(text="Hello " + request.match_info.get("name", "Anonymous"))


async def echo(request):
    return web.Response(body=await request.read())


app = web.Application()
app.add_routes([web.get("/", hello), web.get("/{name}", hello), web.post("/echo", echo)])
where = sys.argv[1]
listen = {"path": where}
if where.startswith("tcp:"):
    listen = {"host": "127.0.0.1", "port": int(where[4:])}
web.run_app(app, print=None, access_log=None, keepalive_timeout=3600, backlog=4096, **listen)
