"""How every service serves gRPC: health, reflection, rich errors, one listening line, a graceful drain."""

from __future__ import annotations

import asyncio
import inspect
import ipaddress
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection
from grpc_status import rpc_status
from prometheus_client import CollectorRegistry, start_http_server

from tradewind.errors import (
    InvalidInput,
    NotAuthenticated,
    NotFound,
    NotPermitted,
    NotReady,
    StartupError,
    TradewindError,
)
from tradewind.logs import get_logger

if TYPE_CHECKING:
    _ServerInterceptor = grpc.aio.ServerInterceptor[Any, Any]
else:
    _ServerInterceptor = grpc.aio.ServerInterceptor  # Generic in its type stubs only.

log = get_logger(__name__)

ERROR_DOMAIN = "tradewind"
MAX_MESSAGE_BYTES = 2**31 - 1
_UNBOUNDED = 2**31 - 1

SERVER_OPTIONS: tuple[tuple[str, Any], ...] = (
    ("grpc.so_reuseport", 0),  # Otherwise a port in use is shared in silence.
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
    ("grpc.http2.max_ping_strikes", 0),  # Clients that ping often are served, not hung up on.
    # gRPC cancels at random what waits for this process beyond 1000 calls, and all that waits for 30 s. What is to be
    # refused is the service's to say, with a status that tells a client so.
    ("grpc.server.max_pending_requests", _UNBOUNDED),
    ("grpc.server.max_pending_requests_hard_limit", _UNBOUNDED),
    ("grpc.server_max_unrequested_time_in_server", _UNBOUNDED),
)

_CODES: dict[type[TradewindError], int] = {
    InvalidInput: code_pb2.INVALID_ARGUMENT,
    NotFound: code_pb2.NOT_FOUND,
    NotReady: code_pb2.UNAVAILABLE,
    NotPermitted: code_pb2.PERMISSION_DENIED,
    NotAuthenticated: code_pb2.UNAUTHENTICATED,
}


def rich_status(error: TradewindError) -> grpc.Status:
    """The error as a gRPC status with an ErrorInfo: a reason for machines beside the sentence for people."""
    info = any_pb2.Any()
    info.Pack(error_details_pb2.ErrorInfo(reason=error.reason, domain=ERROR_DOMAIN))
    code = next((code for kind, code in _CODES.items() if isinstance(error, kind)), code_pb2.INTERNAL)
    return rpc_status.to_status(status_pb2.Status(code=code, message=str(error), details=[info]))


class ErrorInterceptor(_ServerInterceptor):
    """Maps our errors to statuses in one place; anything else becomes INTERNAL without its text."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Wraps the handler of one call."""
        return _guarded(await continuation(handler_call_details), handler_call_details.method)


class ErrorsMapped:
    """Stands for a server while servicers are added: maps errors per method, once, where per call costs too much."""

    def __init__(self, server: grpc.aio.Server) -> None:
        self._server = server

    def add_generic_rpc_handlers(self, handlers: Sequence[Any]) -> None:
        """Adds handlers whose errors are mapped."""
        self._server.add_generic_rpc_handlers(tuple(_MappedHandler(handler) for handler in handlers))

    def add_registered_method_handlers(self, _service: str, _handlers: Any) -> None:
        """Generated code offers methods a second time for servers that look them up by name; this one does not."""


class _MappedHandler(grpc.GenericRpcHandler):  # type: ignore[type-arg] # generic in the stubs alone
    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return _guarded(self._inner.service(handler_call_details), handler_call_details.method)


def _guarded(handler: Any, method: str) -> Any:
    if handler is None:
        return handler
    if handler.unary_unary is not None:
        return grpc.unary_unary_rpc_method_handler(
            _guard_unary(handler.unary_unary, method), handler.request_deserializer, handler.response_serializer
        )
    if handler.unary_stream is not None:
        return grpc.unary_stream_rpc_method_handler(
            _guard_stream(handler.unary_stream, method), handler.request_deserializer, handler.response_serializer
        )
    return handler


def _guard_unary(behaviour: Any, method: str) -> Any:
    async def guarded(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        try:
            return await behaviour(request, context)
        except Exception as error:
            await _abort(error, context, method)

    return guarded


def _guard_stream(behaviour: Any, method: str) -> Any:
    async def guarded(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        try:
            answer = behaviour(request, context)
            if inspect.iscoroutine(answer):
                await answer  # It writes to the context itself, as the health service's Watch does.
                return
            async for response in answer:
                yield response
        except Exception as error:
            await _abort(error, context, method)

    return guarded


async def _abort(error: Exception, context: grpc.aio.ServicerContext[Any, Any], method: str) -> None:
    if isinstance(error, grpc.aio.AbortError):
        raise error
    if isinstance(error, TradewindError):
        status = rich_status(error)
        # abort_with_status is not there in every grpc.aio release; abort carries the same three parts.
        await context.abort(status.code, status.details, status.trailing_metadata)
    log.error("a call failed", method=method, exc_info=error)
    await context.abort(grpc.StatusCode.INTERNAL, "the service failed on this call; its log says why")


class Server:
    """A grpc.aio server that knows how to begin and how to end."""

    def __init__(
        self,
        service: str,
        *,
        interceptors: Sequence[_ServerInterceptor] = (),
        options: Sequence[tuple[str, Any]] = SERVER_OPTIONS,
        map_errors: bool = True,
    ) -> None:
        """`map_errors` off: for a hot path; add the other servicers through `ErrorsMapped`."""
        self.service = service
        ours = [ErrorInterceptor()] if map_errors else []
        self.grpc = grpc.aio.server(interceptors=[*ours, *interceptors], options=list(options))
        self.health = HealthServicer()
        self.port = 0
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self.grpc)

    async def start(
        self,
        listen: str,
        service_names: Sequence[str],
        *,
        credentials: grpc.ServerCredentials | None = None,
        announce: bool = True,
    ) -> int:
        """Binds `host:port` (port 0: any free one), serves, and announces it on stdout; the port it got.

        With credentials the port takes TLS alone.
        """
        warn_if_exposed(listen, tls=credentials is not None)
        names = [*service_names, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME]
        reflection.enable_server_reflection(names, self.grpc)
        try:
            if credentials is None:
                self.port = self.grpc.add_insecure_port(listen)
            else:
                self.port = self.grpc.add_secure_port(listen, credentials)
        except RuntimeError as error:
            raise StartupError(f"{self.service} cannot listen on {listen}: the port is in use or not ours") from error
        await self.grpc.start()
        await self._set_health(service_names, health_pb2.HealthCheckResponse.SERVING)
        if announce:
            print(f"{self.service} listening on {listen.rpartition(':')[0]}:{self.port}", flush=True)
        return self.port

    async def drain(self, service_names: Sequence[str], grace_s: float) -> None:
        """NOT_SERVING, then the calls in flight may end within the grace."""
        await self._set_health(service_names, health_pb2.HealthCheckResponse.NOT_SERVING)
        await self.grpc.stop(grace_s)

    async def _set_health(self, service_names: Sequence[str], status: int) -> None:
        for name in ["", *service_names]:
            await self.health.set(name, status)


def is_loopback(address: str) -> bool:
    """Whether nobody but this machine reaches `host:port`; a host that is not known is taken for the world."""
    if address.startswith("unix:"):
        return True
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def warn_if_exposed(listen: str, *, tls: bool) -> None:
    """Says once, at start, that a port beyond this machine takes requests in the clear."""
    if not tls and not is_loopback(listen):
        log.warning(
            "requests and tokens can be read on their way here: set TRADEWIND_TLS_CERTIFICATE_FILE and "
            "TRADEWIND_TLS_KEY_FILE, or listen on 127.0.0.1",
            listen=listen,
        )


def serve_metrics(registry: CollectorRegistry, host: str, port: int, setting: str) -> int:
    """Serves `/metrics` for Prometheus from a thread; the port it got. `setting` names the variable to change."""
    try:
        server, _ = start_http_server(port, addr=host, registry=registry)
    except OSError as error:
        raise StartupError(f"{setting}: metrics cannot listen on {host}:{port}: it is in use or not ours") from error
    return int(server.server_port)


async def stop_requested() -> None:
    """Returns at the first SIGTERM or SIGINT."""
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked.set)
    await asked.wait()


def run_service(
    service: str,
    main: Callable[[], Awaitable[None]],
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> None:
    """Runs a service's main; a StartupError or InvalidInput is one sentence on stderr and exit code 2."""
    try:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(_as_coroutine(main))
    except TradewindError as error:
        print(f"{service}: {error}", file=sys.stderr, flush=True)
        sys.exit(2)


async def _as_coroutine(main: Callable[[], Awaitable[None]]) -> None:
    await main()
