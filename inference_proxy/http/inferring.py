"""`infer` over HTTP: JSON, binary tensors and raw binary requests, each answered with its receipt."""

import aiohttp
from aiohttp.web import BaseRequest, StreamResponse

from inference_proxy.http.answers import begin, pass_answer, pump, whole
from inference_proxy.http.bodies import SMALL, Body
from inference_proxy.http.encodings import Compressor, chosen_encoding
from inference_proxy.http.json_outline import inserted, parameters_spot
from inference_proxy.http.outlines import HEADER_LENGTH, header_length, outline_of
from inference_proxy.http.places import Place
from inference_proxy.http.serving import Asked, Passage, Serving
from inference_proxy.http.upstream import HOP_BY_HOP, Headers, passed_on, read_whole
from inference_proxy.inferring import Route
from inference_proxy.routes import Receipt

_REWRITTEN = HOP_BY_HOP | {HEADER_LENGTH.lower()}


class Inferring:
    """Answers `infer` for names with a route."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving

    async def infer(self, request: BaseRequest, place: Place, route: Route) -> StreamResponse:
        """One inference request."""
        body = Body(request)
        asked = Asked(request, place, body, await outline_of(request, body))
        return await self._serving.serve(asked, route, self._finish)

    async def _finish(self, passage: Passage, answer: aiohttp.ClientResponse) -> StreamResponse:
        if answer.status != 200:
            return await pass_answer(passage.asked.request, answer)
        if answer.content_length is not None and answer.content_length <= SMALL:
            data = await read_whole(answer)
            passage.attempt.answered()
            return await self._answer_whole(passage, answer, data, self._serving.book(passage))
        passage.attempt.answered()
        return await self._answer_streamed(passage, answer, self._serving.book(passage))

    async def _answer_whole(
        self, passage: Passage, answer: aiohttp.ClientResponse, data: bytes, receipt: Receipt
    ) -> StreamResponse:
        if not self._serving.receipts:
            return whole(answer, data, passed_on(answer.headers))
        edited = with_receipt(data, receipt)
        headers = receipted(answer, receipt, len(edited) - len(data))
        encoding = chosen_encoding(passage.asked.request.headers.get("Accept-Encoding"))
        if encoding is not None:
            headers.append(("Content-Encoding", encoding))
            compressor = Compressor(encoding)
            edited = await compressor.compress(edited) + await compressor.finish()
        return whole(answer, edited, headers)

    async def _answer_streamed(
        self, passage: Passage, answer: aiohttp.ClientResponse, receipt: Receipt
    ) -> StreamResponse:
        if not self._serving.receipts:
            return await pass_answer(passage.asked.request, answer)
        data = await answer.content.readany()
        # Triton writes all that stands before the outputs at once; the loop is for one that does not.
        while parameters_spot(data) is None and (piece := await answer.content.readany()):
            data += piece
        edited = with_receipt(data, receipt)
        headers = receipted(answer, receipt, len(edited) - len(data))
        encoding = chosen_encoding(passage.asked.request.headers.get("Accept-Encoding"))
        if encoding is not None:
            headers.append(("Content-Encoding", encoding))
            streamed = await begin(passage.asked.request, answer, headers, None)
            await _pump_compressed(answer, streamed, edited, Compressor(encoding))
            return streamed
        length = answer.content_length
        streamed = await begin(
            passage.asked.request, answer, headers, None if length is None else length + len(edited) - len(data)
        )
        await streamed.write(edited)
        await pump(answer, streamed)
        return streamed


def with_receipt(data: bytes, receipt: Receipt) -> bytes:
    """An answer with the receipt among its parameters; as it is where it is not the JSON of an answer."""
    spot = parameters_spot(data)
    return data if spot is None else inserted(data, spot, receipt.members)


def receipted(answer: aiohttp.ClientResponse, receipt: Receipt, grown: int) -> Headers:
    """The answer's headers with the receipt's; its JSON is longer by so much."""
    headers = passed_on(answer.headers, _REWRITTEN)
    length = answer.headers.get(HEADER_LENGTH)
    if length is not None:
        headers.append((HEADER_LENGTH, str(header_length(length) + grown)))
    headers.extend(receipt.metadata)
    return headers


async def _pump_compressed(
    answer: aiohttp.ClientResponse, streamed: StreamResponse, first: bytes, compressor: Compressor
) -> None:
    piece = first
    while piece:
        await streamed.write(await compressor.compress(piece))
        piece = await answer.content.readany()
    await streamed.write(await compressor.finish())
    await streamed.write_eof()
