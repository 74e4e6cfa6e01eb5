"""What an inference request over HTTP says before its tensors, in whatever encoding it comes."""

import re

from aiohttp.web import BaseRequest

from inference_proxy.http.bodies import Body
from inference_proxy.http.encodings import LARGEST_INFLATED, Inflater
from inference_proxy.http.json_outline import Outline, infer_outline

HEADER_LENGTH = "Inference-Header-Content-Length"

_NUMBER = re.compile(r"[ \t]*([+-]?\d{1,18})")


async def outline_of(request: BaseRequest, body: Body) -> Outline:
    """What an inference request says before its tensors; nothing where there is no JSON, as in raw binary requests."""
    given = request.headers.get(HEADER_LENGTH)
    length = LARGEST_INFLATED if given is None else min(header_length(given), LARGEST_INFLATED)
    encoding = request.headers.get("Content-Encoding", "identity")
    if length <= 0 or encoding not in {"identity", "gzip", "deflate"}:
        return Outline()
    if encoding == "identity":
        return infer_outline(await body.whole() if given is None else (await body.beginning(length))[:length])
    inflater = Inflater()
    await inflater.feed(await body.beginning(1), length)
    while inflater.length < length and (piece := await body.more()):
        await inflater.feed(piece, length)
    return infer_outline(inflater.text)


def header_length(value: str) -> int:
    """The JSON's length as Triton reads the header: the number that it begins with, 0 where it begins with none."""
    number = _NUMBER.match(value)
    return int(number[1]) if number is not None else 0
