"""The reference of the proxy's CPU: a bare grpc.aio relay of raw bytes that does nothing else."""

import asyncio
import sys
from typing import Any

import grpc

METHOD = "/inference.GRPCInferenceService/ModelInfer"
UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


class Relay(grpc.GenericRpcHandler):  # type: ignore[type-arg] # generic in the stubs alone
    """Hands one unary method to the server behind."""

    def __init__(self, target: str, method: str) -> None:
        channel: Any = grpc.aio.insecure_channel(target, options=UNLIMITED)
        call = channel.unary_unary(method)

        async def relay(request: bytes, _context: Any) -> bytes:
            response: bytes = await call(request)
            return response

        self._handler = grpc.unary_unary_rpc_method_handler(relay)

    def service(self, _handler_call_details: grpc.HandlerCallDetails) -> Any:
        """The handler."""
        return self._handler


async def main(target: str) -> None:
    """Serves until it is killed."""
    server = grpc.aio.server(options=UNLIMITED)
    server.add_generic_rpc_handlers((Relay(target, METHOD),))
    print(f"relay listening on 127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}", flush=True)
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
