"""What goes back to the client: Triton's answers as they came, and refusals in Triton's form."""

import json

import aiohttp
import grpc
from aiohttp.web import BaseRequest, Response, StreamResponse

from inference_proxy.http.bodies import SMALL
from inference_proxy.http.upstream import Headers, passed_on, read_whole
from inference_proxy.refusals import Refusal

_PLAIN, _JSON = "text/plain", "application/json"
_SERVER = ("Server", "tradewind")
_STATUS = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
}


def error_answer(status: int, text: str, *, content_type: str = _PLAIN) -> Response:
    """An error as Triton writes one."""
    return Response(
        status=status,
        body=json.dumps({"error": text}, separators=(",", ":"), ensure_ascii=False).encode(errors="replace"),
        headers=[("Content-Type", content_type), _SERVER],
    )


def refusal_answer(refusal: Refusal) -> Response:
    """A refusal with the status that Triton gives its code."""
    return error_answer(_STATUS.get(refusal.code, 500), refusal.text)


def json_answer(content: object) -> Response:
    """An answer of the proxy's own, in Triton's compact form."""
    return bytes_answer(json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode())


def bytes_answer(body: bytes) -> Response:
    """JSON that is written already."""
    return Response(body=body, headers=[("Content-Type", _JSON), _SERVER])


def empty_answer() -> Response:
    """Yes, as Triton's readiness says it."""
    return Response(body=b"", headers=[("Content-Type", _PLAIN), _SERVER])


def whole(answer: aiohttp.ClientResponse, body: bytes, headers: Headers) -> Response:
    """An answer in one piece."""
    headers.append(_SERVER)
    return Response(status=answer.status, reason=answer.reason, body=body, headers=headers)


def bytes_of(answer: Response) -> bytes:
    """The body of an answer in one piece."""
    return answer.body if isinstance(answer.body, bytes) else b""


async def begin(
    request: BaseRequest, answer: aiohttp.ClientResponse, headers: Headers, length: int | None
) -> StreamResponse:
    """An answer that is streamed; in chunks where its length is not known."""
    headers.append(_SERVER)
    if length is not None:
        headers.append(("Content-Length", str(length)))
    streamed = StreamResponse(status=answer.status, reason=answer.reason, headers=headers)
    await streamed.prepare(request)
    return streamed


async def pass_answer(
    request: BaseRequest, answer: aiohttp.ClientResponse, extra: Headers | None = None
) -> StreamResponse:
    """Triton's answer as it is: in one piece where it is small, else as it comes."""
    headers = passed_on(answer.headers)
    if extra:
        headers += extra
    length = answer.content_length
    if length is not None and length <= SMALL:
        return whole(answer, await read_whole(answer), headers)
    streamed = await begin(request, answer, headers, length)
    await pump(answer, streamed)
    return streamed


async def pump(answer: aiohttp.ClientResponse, streamed: StreamResponse) -> None:
    """The rest of an answer, as it comes."""
    while piece := await answer.content.readany():
        await streamed.write(piece)
    await streamed.write_eof()
