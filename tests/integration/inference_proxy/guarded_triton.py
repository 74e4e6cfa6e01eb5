"""What stands in front of a Triton that is not everybody's: TLS, a token, and Triton itself behind it."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import grpc
from aiohttp import web

from inference_proxy.relaying import CHANNEL_OPTIONS, relay_stream
from local_stack.triton import Triton
from tradewind.access import Access, values_of


@dataclass
class Guarded:
    """Where it listens, and what was shown to it."""

    grpc_port: int = 0
    http_port: int = 0
    shown: Counter[str] = field(default_factory=Counter)
    """The `authorization` of each call."""
    certificates: int = 0
    """Calls that carried somebody else's certificate on."""


class _Gate(grpc.GenericRpcHandler):  # type: ignore[type-arg] # generic in the stubs alone
    def __init__(self, guarded: Guarded, channel: Any) -> None:
        self._guarded, self._channel = guarded, channel

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        metadata = handler_call_details.invocation_metadata
        self._guarded.shown.update(values_of(metadata, "authorization") or [""])
        self._guarded.certificates += len(values_of(metadata, "x-forwarded-client-cert"))
        call = self._channel.stream_stream(handler_call_details.method)

        async def relay(requests: Any, context: Any) -> None:
            await relay_stream(call, requests, context)

        return grpc.stream_stream_rpc_method_handler(relay)


@asynccontextmanager
async def guarded(triton: Triton, access: Access) -> AsyncIterator[Guarded]:
    """A Triton behind a gate with these rights."""
    made = Guarded()
    async with (
        grpc.aio.insecure_channel(triton.grpc, options=CHANNEL_OPTIONS) as channel,
        aiohttp.ClientSession() as session,
    ):
        server = grpc.aio.server(interceptors=access.interceptors)
        server.add_generic_rpc_handlers((_Gate(made, channel),))
        credentials = access.grpc_credentials()
        assert credentials is not None
        made.grpc_port = server.add_secure_port("127.0.0.1:0", credentials)
        await server.start()

        async def relay(request: web.BaseRequest) -> web.Response:
            refused = access.refusal(request.headers.getall("Authorization", []))
            if refused is not None:
                return web.json_response({"error": str(refused)}, status=401)
            made.shown.update(request.headers.getall("Authorization"))
            kept = {
                key: value for key, value in request.headers.items() if key.startswith(("Inference", "Content-Type"))
            }
            url, body = f"http://{triton.http}{request.raw_path}", await request.read()
            async with session.request(request.method, url, data=body, headers=kept) as answer:
                headers = {key: value for key, value in answer.headers.items() if key.startswith("Inference")}
                return web.Response(status=answer.status, body=await answer.read(), headers=headers)

        runner = web.ServerRunner(web.Server(relay))
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=access.ssl_context())
        await site.start()
        made.http_port = runner.addresses[0][1]
        try:
            yield made
        finally:
            await runner.cleanup()
            await server.stop(None)
