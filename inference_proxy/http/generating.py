"""`generate` and `generate_stream`: answers go on as they come, the receipt on the first that is not an error.

Server-sent events do not say which is the last, and holding one back until the next comes would delay every token. So
the figures are in the headers and on the first event, once per request.
"""

import aiohttp
from aiohttp.web import BaseRequest, StreamResponse

from inference_proxy.http.answers import begin, pass_answer, pump
from inference_proxy.http.bodies import Body
from inference_proxy.http.json_outline import generate_outline, inserted, members_spot
from inference_proxy.http.places import Place
from inference_proxy.http.serving import Asked, Passage, Serving
from inference_proxy.http.upstream import Headers, passed_on
from inference_proxy.inferring import Route
from inference_proxy.routes import Receipt

_EVENT, _EVENT_END, _ERROR = b"data: ", b"\n\n", b'{"error":'


class Generating:
    """Answers `generate` and `generate_stream` for names with a route."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving

    async def generate(self, request: BaseRequest, place: Place, route: Route) -> StreamResponse:
        """One request for one answer."""
        body = Body(request)
        outline = generate_outline(await body.whole())
        return await self._serving.serve(Asked(request, place, body, outline), route, self._finish)

    async def generate_stream(self, request: BaseRequest, place: Place, route: Route) -> StreamResponse:
        """One request for any number of answers."""
        body = Body(request)
        outline = generate_outline(await body.whole())
        return await self._serving.serve(Asked(request, place, body, outline), route, self._finish_stream)

    async def _finish(self, passage: Passage, answer: aiohttp.ClientResponse) -> StreamResponse:
        if answer.status != 200:
            return await pass_answer(passage.asked.request, answer)
        data = await answer.content.readany()
        while len(data) < len(_ERROR) and (piece := await answer.content.readany()):
            data += piece
        if data.startswith(_ERROR):
            # Triton has said 200 by the time it sees that the model gave more than one answer, or none.
            streamed = await begin(passage.asked.request, answer, passed_on(answer.headers), answer.content_length)
        else:
            passage.attempt.answered()
            receipt = self._serving.book(passage)
            length, whole = answer.content_length, len(data)
            data = self._on(data, receipt)
            streamed = await begin(
                passage.asked.request,
                answer,
                self._headers(answer, receipt),
                None if length is None else length + len(data) - whole,
            )
        await streamed.write(data)
        await pump(answer, streamed)
        return streamed

    async def _finish_stream(self, passage: Passage, answer: aiohttp.ClientResponse) -> StreamResponse:
        if not answer.headers.get("Content-Type", "").startswith("text/event-stream"):
            return await pass_answer(passage.asked.request, answer)
        held, streamed = b"", None
        while piece := await answer.content.readany():
            held += piece
            while (end := held.find(_EVENT_END)) >= 0 and held.startswith(_EVENT + _ERROR):
                if streamed is None:
                    streamed = await begin(passage.asked.request, answer, passed_on(answer.headers), None)
                await streamed.write(held[: end + len(_EVENT_END)])
                held = held[end + len(_EVENT_END) :]
            if end >= 0:
                break
        # Nothing but errors is no inference; no event at all is one, of a model that had nothing to say.
        receipt = self._serving.book(passage) if held or streamed is None else None
        passage.attempt.answered()
        if streamed is None:
            streamed = await begin(passage.asked.request, answer, self._headers(answer, receipt), None)
        if receipt is not None and held.startswith(_EVENT):
            held = _EVENT + self._on(held[len(_EVENT) :], receipt)
        if held:
            await streamed.write(held)
        await pump(answer, streamed)
        return streamed

    def _headers(self, answer: aiohttp.ClientResponse, receipt: Receipt | None) -> Headers:
        headers = passed_on(answer.headers)
        if receipt is not None and self._serving.receipts:
            headers.extend(receipt.metadata)
        return headers

    def _on(self, data: bytes, receipt: Receipt) -> bytes:
        """The answer with the receipt among its members, where Triton has a generate answer's parameters."""
        spot = members_spot(data) if self._serving.receipts else None
        return data if spot is None else inserted(data, spot, receipt.members)
