"""The HTTP front: which of its parts answers a request, and how it begins and ends."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import quote

from aiohttp.web import BaseRequest, RequestHandler, Server, StreamResponse

from inference_proxy.endpoints import Endpoint
from inference_proxy.http.answers import error_answer, refusal_answer
from inference_proxy.http.generating import Generating
from inference_proxy.http.inferring import Inferring
from inference_proxy.http.places import Place, place_of
from inference_proxy.http.serving import Serving
from inference_proxy.http.tritons import Tritons
from inference_proxy.http.upstream import READ_AT_ONCE, Away, Upstream
from inference_proxy.http.virtual_models import VirtualModels
from inference_proxy.inferring import Route, Rules
from inference_proxy.refusals import no_server
from inference_proxy.routes import FamilyRoute
from tradewind.access import Access
from tradewind.errors import StartupError
from tradewind.logs import get_logger
from tradewind.serving import warn_if_exposed

log = get_logger(__name__)

_IDLE_S = 3600.0
"""Triton hangs up on nobody; a client that finds its connection closed as it writes would have to try again."""
_LINGER_S = 1.0
_OPEN_PATHS = frozenset({"/v2/health/live", "/v2/health/ready"})

Routed = Callable[[BaseRequest, Place, Route], Awaitable[StreamResponse]]


class _Connection(RequestHandler):
    """What is no HTTP, or breaks its limits, is told so in Triton's form and fills no log."""

    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,  # noqa: ARG002 -- it quotes the request
        message: str | None = None,  # noqa: ARG002 -- as does this
    ) -> StreamResponse:
        """The answer to a request that could not be read; the connection ends with it."""
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun")
        text = "the request is not HTTP/1.1 as this server reads it" if status < 500 else "the proxy failed"
        answer = error_answer(status, text)
        answer.force_close()
        return answer


class _Server(Server):
    def __call__(self) -> RequestHandler:
        return _Connection(
            self,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type] # the way to have none
            auto_decompress=False,
            keepalive_timeout=_IDLE_S,
            lingering_time=_LINGER_S,
            read_bufsize=READ_AT_ONCE,
        )


class HttpFront:
    """Serves Triton's HTTP routes; build and start it inside a running event loop."""

    def __init__(
        self, rules: Rules, families: Mapping[str, FamilyRoute], endpoints: tuple[Endpoint, ...], access: Access
    ) -> None:
        self._access = access
        self._upstream = Upstream(endpoints[0].way)
        self._families = dict(families)
        # Triton decodes nothing in a path, but its clients encode names: a family answers to both.
        self._by_name = dict(families) | {quote(name, safe=""): family for name, family in families.items()}
        self._routes: dict[str, Route] = {name.decode(): route for name, route in rules.routes.items()}
        self._routes.update(self._by_name)
        # Where none has HTTP, the refusal is the same as where none answers.
        over_http = tuple(each for each in endpoints if each.http_address) or endpoints
        self._tritons = Tritons(self._upstream, over_http, rules.tritons.places)
        self._models = VirtualModels(self._tritons)
        serving = Serving(self._upstream, rules, endpoints)
        inferring, generating = Inferring(serving), Generating(serving)
        self._routed: dict[str, Routed] = {
            "infer": inferring.infer,
            "generate": generating.generate,
            "generate_stream": generating.generate_stream,
        }
        self._server: Server | None = None
        self._listener: asyncio.Server | None = None
        self.port = 0

    async def start(self, listen: str) -> int:
        """Listens on `host:port` (port 0: any free one) and says so on stdout; the port it got."""
        host, _, port = listen.rpartition(":")
        self._upstream.open()
        tls = self._access.ssl_context()
        warn_if_exposed(listen, tls=tls is not None)
        answer = self._answer_the_known if self._access.tokens_demanded else self._answer
        self._server = _Server(answer, handler_cancellation=True)
        try:
            self._listener = await asyncio.get_running_loop().create_server(
                self._server, host.strip("[]"), int(port), ssl=tls
            )
        except (OSError, ValueError, OverflowError) as error:
            raise StartupError(
                f"inference_proxy cannot listen for HTTP on {listen}: the port is in use or not ours"
            ) from error
        self.port = self._listener.sockets[0].getsockname()[1]
        print(f"inference_proxy HTTP listening on {host}:{self.port}", flush=True)
        return self.port

    async def drain(self, grace_s: float) -> None:
        """No new connections; requests in flight may end within the grace."""
        if self._listener is not None:
            self._listener.close()
        if self._server is not None:
            self._server.pre_shutdown()
            await self._server.shutdown(grace_s)
        await self._upstream.close()

    async def _answer_the_known(self, request: BaseRequest) -> StreamResponse:
        """Where tokens are demanded: without one a load balancer may ask after the server's health, and no more."""
        # The path as it came: what is let in by one reading of it must not be served by another.
        if request.raw_path.partition("?")[0] not in _OPEN_PATHS:
            refusal = self._access.refusal(request.headers.getall("Authorization", []))
            if refusal is not None:
                answer = error_answer(401, str(refusal))
                answer.headers["WWW-Authenticate"] = "Bearer"
                return answer
        return await self._answer(request)

    async def _answer(self, request: BaseRequest) -> StreamResponse:
        try:
            return await self._dispatch(request, place_of(request.raw_path))
        except Away:
            return refusal_answer(no_server())
        except ConnectionError:
            raise  # Nobody is left to be told.
        except Exception:
            log.exception("a request over HTTP failed")
            return error_answer(500, "the proxy failed on this request; its log says why")

    async def _dispatch(self, request: BaseRequest, place: Place) -> StreamResponse:
        method = request.method
        if method == "POST" and (routed := self._routed.get(place.action)) is not None:
            route = self._routes.get(place.name)
            if route is not None:
                return await routed(request, place, route)
        elif place.name:
            family = self._by_name.get(place.name)
            call = self._models.calls.get((method, place.action))
            if family is not None and call is not None:
                return await call(request, place, family)
        elif place.action == "index" and method == "POST":
            return await self._models.index(request, place, self._families)
        elif place.action == "all stats" and method == "GET":
            return await self._models.statistics_of_all(request, place, self._families)
        return await self._tritons.relay(request, place)
