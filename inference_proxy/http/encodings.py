"""Compression as Triton does it over HTTP: which encoding an answer gets, and what a compressed request begins with."""

import asyncio
import re
import zlib
from collections.abc import Callable

_WINDOW_BITS = {"gzip": 31, "deflate": 15}
_EITHER = 47
"""zlib's word for gzip or zlib, whichever the data is; Triton does not hold requests to the name either."""
_QUALITY = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)")
_QUICK = 65_536
"""So much is compressed at once; more would keep other requests waiting."""

# Up to here a request's JSON is looked at: what small data may inflate to has to end somewhere.
LARGEST_INFLATED = 64 * 1024 * 1024


def chosen_encoding(accept: str | None) -> str | None:
    """The encoding of an answer by the request's Accept-Encoding; None: as it is.

    Triton's own rule, measured: the highest quality wins, the first of equals, `identity` competes; names are exact,
    and a `q` that does not follow its semicolon at once is not understood.
    """
    if not accept:
        return None
    chosen, best = None, 0.0
    for item in accept.split(","):
        name, separator, rest = item.lstrip(" ").partition(";q=")
        if name not in {"gzip", "deflate", "identity"}:
            continue
        quality = _QUALITY.match(rest)
        value = (float(quality[0]) if quality else 0.0) if separator else 1.0
        if value > best:
            chosen, best = name, value
    return None if chosen == "identity" else chosen


class Compressor:
    """Compresses an answer in pieces."""

    def __init__(self, encoding: str) -> None:
        self._zlib = zlib.compressobj(wbits=_WINDOW_BITS[encoding])

    async def compress(self, data: bytes) -> bytes:
        """What there is to send after this piece."""
        return await _unhurried(self._zlib.compress, data)

    async def finish(self) -> bytes:
        """What there is to send at the end."""
        return self._zlib.flush()


class Inflater:
    """Shows what a compressed request says; the request itself goes on as it came."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(wbits=_EITHER)
        self._pieces: list[bytes] = []
        self.length = 0

    async def feed(self, data: bytes, at_most: int) -> None:
        """Takes compressed bytes in; what is beyond `at_most` inflated bytes in all is not looked at."""
        if self.length >= at_most or self._zlib.eof:
            return
        room = at_most - self.length
        try:
            piece = await _unhurried(lambda each: self._zlib.decompress(each, room), self._zlib.unconsumed_tail + data)
        except zlib.error:
            return  # Triton is the one to refuse it.
        self._pieces.append(piece)
        self.length += len(piece)

    @property
    def text(self) -> bytes:
        """All that was inflated."""
        return b"".join(self._pieces)


async def _unhurried(work: Callable[[bytes], bytes], data: bytes) -> bytes:
    # zlib lets go of the interpreter, so a thread really runs beside the loop.
    return work(data) if len(data) <= _QUICK else await asyncio.to_thread(work, data)
