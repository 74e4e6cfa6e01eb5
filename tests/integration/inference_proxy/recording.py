"""A Triton that remembers what it is told beside the messages: relays in front of the real one, for gRPC and HTTP."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import grpc
from aiohttp import web

from local_stack.triton import Triton


@dataclass
class Recording:
    """Where it is asked, and the metadata or headers of every inference."""

    grpc: str = ""
    http: str = ""
    told: list[dict[str, str]] = field(default_factory=list)


class _Relay(grpc.GenericRpcHandler):  # type: ignore[type-arg] # generic in the stubs alone
    def __init__(self, triton: Triton, told: list[dict[str, str]]) -> None:
        self.channel: Any = grpc.aio.insecure_channel(triton.grpc)
        self._told = told

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        method = handler_call_details.method
        call = self.channel.stream_stream(method)

        async def relay(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
            if method.endswith(("ModelInfer", "ModelStreamInfer")):
                self._told.append(dict(context.invocation_metadata()))
            async for answer in call(requests):
                yield answer

        return grpc.stream_stream_rpc_method_handler(relay)


@asynccontextmanager
async def recording(triton: Triton) -> AsyncIterator[Recording]:
    """Both relays, for as long as the block runs."""
    made = Recording()
    relay, server = _Relay(triton, made.told), grpc.aio.server()
    server.add_generic_rpc_handlers((relay,))
    made.grpc = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    async with aiohttp.ClientSession(auto_decompress=False) as session:

        async def pass_on(request: web.BaseRequest) -> web.Response:
            if request.path.endswith(("/infer", "/generate")):
                made.told.append({name.lower(): value for name, value in request.headers.items()})
            body = await request.read()
            headers = {name: value for name, value in request.headers.items() if name.lower() != "host"}
            async with session.request(
                request.method, f"http://{triton.http}{request.raw_path}", headers=headers, data=body
            ) as answer:
                kept = {name: value for name, value in answer.headers.items() if name.lower() != "content-length"}
                return web.Response(status=answer.status, body=await answer.read(), headers=kept)

        runner = web.ServerRunner(web.Server(pass_on))
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        made.http = f"127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield made
        finally:
            await runner.cleanup()
            await server.stop(None)
            await relay.channel.close()
