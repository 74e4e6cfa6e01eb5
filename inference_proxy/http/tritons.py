"""Which Triton answers a request over HTTP that is about no family: one that has the model, every one, or all."""

import asyncio
import json
import re
from collections.abc import Callable
from typing import Any

from aiohttp.web import BaseRequest, Response, StreamResponse

from inference_proxy.endpoints import Endpoint, having, least_loaded
from inference_proxy.http.answers import bytes_of, json_answer, pass_answer, refusal_answer, whole
from inference_proxy.http.bodies import Body
from inference_proxy.http.outlines import outline_of
from inference_proxy.http.places import Place
from inference_proxy.http.summed_statistics import summed_statistics
from inference_proxy.http.upstream import ALSO_PLAIN, Away, Upstream, passed_on, read_whole
from inference_proxy.refusals import no_server
from inference_proxy.sequences import SequencePlaces
from inference_proxy.wishes import sequence_of

_EVERYWHERE = re.compile(
    r"/v2/(?:trace/setting|logging|(?:system|cuda)sharedmemory(?:/region/[^/]+)?/(?:un)?register"
    r"|models/[^/]+/trace/setting|repository/(?:[^/]+/)?models/[^/]+/(?P<loading>(?:un)?load))"
)
"""What is set on one Triton is set on all: a request may go to any of them."""

Rows = list[dict[str, Any]]


class Tritons:
    """All the Tritons that have HTTP as one; with a single one behind it, it passes everything on as it is."""

    def __init__(self, upstream: Upstream, endpoints: tuple[Endpoint, ...], places: SequencePlaces) -> None:
        self._upstream, self._endpoints, self._places = upstream, endpoints, places

    async def relay(self, request: BaseRequest, place: Place) -> StreamResponse:
        """To a Triton and back as it is; what is set, on every one."""
        if len(self._endpoints) > 1:
            everywhere = _EVERYWHERE.fullmatch(place.path) if request.method == "POST" else None
            if everywhere is not None:
                return await self._tell(request, place, any_will_do=everywhere["loading"] is not None)
            if request.method == "GET" and place.action == "stats":
                rows = await self.statistics(request, place.path + place.query)
                return rows if isinstance(rows, Response) else statistics_answer(rows)
        body = Body(request)
        where = await self._where(request, place, body)
        if not where:
            return refusal_answer(no_server())
        for endpoint in where[:-1]:
            try:
                return await self._relay(request, place, body, endpoint)
            except Away as away:
                if away.connected:
                    raise
                endpoint.failed()
        return await self._relay(request, place, body, where[-1])

    async def ask(
        self, request: BaseRequest, method: str, target: str, body: bytes = b"", where: tuple[Endpoint, ...] = ()
    ) -> Response:
        """The answer of the first that is there; `where` says who comes into question, best first."""
        candidates = tuple(each for each in where if each.http_address) or having(self._endpoints, "")
        for endpoint in candidates[:-1]:
            try:
                return await self._ask(request, method, target, body, endpoint)
            except Away:
                continue  # A question may be asked twice.
        return await self._ask(request, method, target, body, candidates[-1])

    async def ask_all(self, request: BaseRequest, method: str, target: str, body: bytes = b"") -> list[Response]:
        """The answers of all that answer; Away where nobody does."""
        asked = tuple(each for each in self._endpoints if each.closed) or self._endpoints
        found = await asyncio.gather(
            *(self._ask(request, method, target, body, each) for each in asked), return_exceptions=True
        )
        answers = [each for each in found if isinstance(each, Response)]
        if not answers:
            raise Away(connected=False)
        return answers

    async def rows(
        self, request: BaseRequest, method: str, target: str, body: bytes, read: Callable[[Any], Rows]
    ) -> list[Rows] | Response:
        """The rows that each Triton answers with; its refusal where none has any."""
        answers = await self.ask_all(request, method, target, body)
        found = [read(json.loads(bytes_of(each))) for each in answers if each.status == 200]
        return found or answers[0]

    async def statistics(self, request: BaseRequest, target: str) -> Rows | Response:
        """The statistics of all, summed by model and version."""
        found = await self.rows(request, "GET", target, b"", lambda answer: list(answer["model_stats"]))
        if isinstance(found, Response):
            return found
        by_model: dict[tuple[str, str], Rows] = {}
        for row in (row for rows in found for row in rows):
            by_model.setdefault((row["name"], row["version"]), []).append(row)
        return [each[0] if len(each) == 1 else summed_statistics(*about, each) for about, each in by_model.items()]

    async def index(self, request: BaseRequest, target: str, body: bytes) -> Rows | Response:
        """The repository indexes as one; a model that is ready anywhere is ready."""
        found = await self.rows(request, "POST", target, body, list)
        if isinstance(found, Response) or len(found) == 1:
            return found if isinstance(found, Response) else found[0]
        models: dict[tuple[str, str], dict[str, Any]] = {}
        for row in (row for rows in found for row in rows):
            about = (str(row.get("name", "")), str(row.get("version", "")))
            known = models.get(about)
            if known is None or (known.get("state") != "READY" and row.get("state") == "READY"):
                models[about] = row
        ready = {name for (name, _), row in models.items() if row.get("state") == "READY"}
        return [row for (name, version), row in models.items() if version or name not in ready]

    async def _where(self, request: BaseRequest, place: Place, body: Body) -> tuple[Endpoint, ...]:
        """Who comes into question, best first; one alone for a sequence."""
        ranked = having(self._endpoints, place.name)
        if len(ranked) == 1 or request.method != "POST" or place.action != "infer":
            return ranked
        outline = await outline_of(request, body)
        sequence = sequence_of(outline.parameters) if outline.parameters else None
        there = tuple(each for each in ranked if each.closed) or ranked
        ready = tuple(each for each in there if each.models is None or place.name in each.models)
        chosen = self._places.endpoint(place.name, ready or there, sequence)
        if chosen is None or sequence is not None:
            return (chosen,) if chosen is not None else ()
        other = least_loaded(tuple(each for each in ranked if each is not chosen))
        return (chosen,) if other is None else (chosen, other)

    async def _relay(self, request: BaseRequest, place: Place, body: Body, endpoint: Endpoint) -> StreamResponse:
        await body.beginning(1)
        headers, payload = passed_on(request.headers), body.payload()
        if body.known_length is not None and not isinstance(payload, bytes):
            headers.append(("Content-Length", str(body.known_length)))
        # Triton answers both alike, but sends a body after HEAD that no client expects.
        method = "OPTIONS" if request.method == "HEAD" else request.method
        endpoint.in_flight += 1
        endpoint.served += 1
        try:
            async with await self._upstream.send(
                endpoint.http_address, method, place.path + place.query, headers, payload
            ) as answer:
                return await pass_answer(request, answer)
        finally:
            endpoint.in_flight -= 1

    async def _tell(self, request: BaseRequest, place: Place, *, any_will_do: bool) -> StreamResponse:
        body = await Body(request).whole()
        answers = await self.ask_all(request, request.method, place.path + place.query, body)
        done = [each for each in answers if each.status == 200]
        refused = [each for each in answers if each.status != 200]
        return done[0] if done and (any_will_do or not refused) else refused[0]

    async def _ask(self, request: BaseRequest, method: str, target: str, body: bytes, endpoint: Endpoint) -> Response:
        headers = passed_on(request.headers, ALSO_PLAIN)
        async with await self._upstream.send(endpoint.http_address, method, target, headers, body) as answer:
            return whole(answer, await read_whole(answer), passed_on(answer.headers))


def statistics_answer(rows: Rows) -> Response:
    """Statistics in Triton's form."""
    return json_answer({"model_stats": rows})
