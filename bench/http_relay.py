"""The reference of the HTTP front's CPU: the plainest aiohttp relay, which does nothing else."""

import asyncio
import sys

import aiohttp
from aiohttp import web

HOP_BY_HOP = {"host", "connection", "content-length", "transfer-encoding"}


async def main(target: str) -> None:
    """Serves until it is killed."""
    session = aiohttp.ClientSession(f"http://{target}", auto_decompress=False)

    async def relay(request: web.Request) -> web.Response:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP}
        async with session.request(
            request.method, request.rel_url, data=await request.read(), headers=headers
        ) as answer:
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in HOP_BY_HOP}
            return web.Response(body=await answer.read(), status=answer.status, headers=kept)

    application = web.Application(client_max_size=2**31)
    application.router.add_route("*", "/{path:.*}", relay)
    runner = web.AppRunner(application, access_log=None, auto_decompress=False)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(f"relay listening on 127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
