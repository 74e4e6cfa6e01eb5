"""How a routed request reaches its variant: chosen, counted in, sent, and tried once more where that is safe."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import aiohttp
from aiohttp.web import BaseRequest, Response, StreamResponse

from inference_proxy.accounting import Unrecorded
from inference_proxy.attempts import Attempt
from inference_proxy.endpoints import Endpoint, least_loaded
from inference_proxy.http.answers import error_answer, refusal_answer
from inference_proxy.http.bodies import Body
from inference_proxy.http.json_outline import Outline
from inference_proxy.http.places import Place, model_path
from inference_proxy.http.upstream import ALSO_PLAIN, HOP_BY_HOP, Away, Upstream, passed_on
from inference_proxy.inferring import Route, Rules
from inference_proxy.refusals import Refusal, no_server, too_much, unsatisfiable
from inference_proxy.routes import Lane, Receipt
from inference_proxy.wishes import Wishes, read_wishes
from tradewind.errors import InvalidInput


@dataclass(slots=True)
class Asked:
    """One request and what was read of it."""

    request: BaseRequest
    place: Place
    body: Body
    outline: Outline


@dataclass(slots=True)
class Passage:
    """One request on its way to one variant."""

    asked: Asked
    lane: Lane
    endpoint: Endpoint
    attempt: Attempt

    @property
    def inferences(self) -> int:
        """How many it asks for."""
        first = self.asked.outline.first_dimension
        return first if first is not None and self.lane.target.batches else 1

    @property
    def target(self) -> str:
        """Path and query at Triton."""
        place = self.asked.place
        if not self.lane.model:
            return place.path + place.query
        target = self.lane.target
        return model_path(target.model, target.version, place.action) + place.query


Finish = Callable[[Passage, aiohttp.ClientResponse], Awaitable[StreamResponse]]
"""Turns Triton's answer into the client's."""


class Serving:
    """Sends requests with a route."""

    def __init__(self, upstream: Upstream, rules: Rules, endpoints: tuple[Endpoint, ...]) -> None:
        self.receipts = rules.receipts
        self._everywhere = all(each.http_address for each in endpoints)
        self._upstream, self._accounting = upstream, rules.accounting
        self._tenants, self._at_most, self._places = rules.tenants, rules.at_most, rules.tritons.places

    async def serve(self, asked: Asked, route: Route, finish: Finish) -> StreamResponse:
        """The answer to a request whose name has a route."""
        tallies = self._accounting.tallies
        if self._at_most is not None and tallies.in_flight >= self._at_most:
            tallies.refused += 1
            return refusal_answer(too_much(self._at_most))
        try:
            wishes = read_wishes(asked.outline.parameters) if asked.outline.parameters else None
        except InvalidInput as error:
            return refusal_answer(unsatisfiable(str(error)))
        tenant = self._tenants.of((name.lower(), value) for name, value in asked.request.headers.items())
        lane = route.lane(tenant, asked.place.version.encode(), _now_us(), wishes)
        if isinstance(lane, Refusal):
            return refusal_answer(lane)
        endpoint = self._places.endpoint(lane.target.model, self._over_http(lane), wishes)
        if endpoint is None:
            return refusal_answer(no_server())
        answer, unserved = await self._try(asked, lane, endpoint, finish)
        other = self._another(route, lane, endpoint, tenant, wishes) if unserved else None
        if other is not None:
            answer, _ = await self._try(asked, *other, finish)
        return answer

    def book(self, passage: Passage) -> Receipt:
        """Books a request that Triton has executed; Unrecorded when the disk does not take it."""
        return self._accounting.book(passage.lane, passage.inferences)

    async def _try(self, asked: Asked, lane: Lane, endpoint: Endpoint, finish: Finish) -> tuple[StreamResponse, bool]:
        """An answer, and whether the request certainly was not executed and may still go elsewhere."""
        try:
            answer = await self._attempt(asked, lane, endpoint, finish)
        except Away as away:
            return refusal_answer(no_server()), not away.connected
        return answer, bool(lane.model) and asked.body.complete and _unloaded(answer)

    async def _attempt(self, asked: Asked, lane: Lane, endpoint: Endpoint, finish: Finish) -> StreamResponse:
        headers = passed_on(asked.request.headers, ALSO_PLAIN if self.receipts else HOP_BY_HOP)
        payload = asked.body.payload()
        if asked.body.known_length is not None and not isinstance(payload, bytes):
            headers.append(("Content-Length", str(asked.body.known_length)))
        with Attempt(lane, endpoint, self._accounting.tallies) as attempt:
            passage = Passage(asked, lane, endpoint, attempt)
            async with await self._upstream.send(
                endpoint.http_address, asked.request.method, passage.target, headers, payload
            ) as answer:
                try:
                    return await finish(passage, answer)
                except Unrecorded as error:
                    return error_answer(503, str(error))

    def _another(
        self, route: Route, lane: Lane, endpoint: Endpoint, tenant: str, wishes: Wishes | None
    ) -> tuple[Lane, Endpoint] | None:
        """Where a request may be tried once more that reached nobody: elsewhere, or on another variant."""
        if wishes is not None and wishes.sequence_id is not None:
            return None
        elsewhere = least_loaded(tuple(each for each in self._over_http(lane) if each is not endpoint))
        if elsewhere is not None:
            return lane, elsewhere
        second = route.lane(tenant, b"", _now_us(), wishes, (lane.target,))
        if isinstance(second, Refusal):
            return None
        found = least_loaded(self._over_http(second))
        return (second, found) if found is not None else None

    def _over_http(self, lane: Lane) -> tuple[Endpoint, ...]:
        endpoints = lane.target.endpoints
        return endpoints if self._everywhere else tuple(each for each in endpoints if each.http_address)


def _unloaded(answer: StreamResponse) -> bool:
    """Whether nothing was executed because the model went away after it was last seen ready."""
    if answer.status != 404 or not isinstance(answer, Response) or not isinstance(answer.body, bytes):
        return False
    return answer.body.endswith(b'has no available versions"}')


def _now_us() -> int:
    return time.time_ns() // 1_000
