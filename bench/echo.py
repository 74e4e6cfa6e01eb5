"""A bare grpc.aio unary echo: the plainest server there is, to compare `Decide` with."""

import asyncio

import grpc


async def _echo(request: bytes, _context: object) -> bytes:
    return request


async def main() -> None:
    """Serves on a free port until it is ended."""
    server = grpc.aio.server()
    handlers = {"Echo": grpc.unary_unary_rpc_method_handler(_echo)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Echo", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"echo listening on 127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main())
