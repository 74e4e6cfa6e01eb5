"""A request's body: small ones are read whole, large ones are looked at in front and streamed on."""

from collections.abc import AsyncIterator

from aiohttp import HttpVersion11
from aiohttp.web import BaseRequest

from inference_proxy.http.upstream import Payload

SMALL = 64 * 1024
"""Up to here a body is passed on in one piece; beyond, to join its pieces costs more than to stream them."""
_SLICE = 256 * 1024


class Body:
    """The body of one request, held only as far as it was asked for."""

    def __init__(self, request: BaseRequest) -> None:
        self._content = request.content
        self._pieces: list[bytes] = []
        self._held = 0
        self.length = request.content_length
        """None: it comes in chunks and nobody knows, or there is none."""
        self.complete = not request.body_exists
        if "Expect" in request.headers and request.version >= HttpVersion11 and request.transport is not None:
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    async def beginning(self, at_least: int) -> bytes:
        """The first bytes, at least so many unless the body has less; a small body is all there."""
        if self.length is not None and self.length <= SMALL:
            at_least = SMALL
        while self._held < at_least and not self.complete:
            await self._read()
        return self._together()

    async def more(self) -> bytes:
        """The next piece; empty at the end. It stays part of the body."""
        return b"" if self.complete else await self._read()

    def payload(self) -> Payload:
        """The whole body to send: in one piece where it is here already and small."""
        if not self.complete:
            return self._stream()
        return self._together() if self._held <= SMALL else self._slices()

    @property
    def known_length(self) -> int | None:
        """How long it is; None while nobody knows."""
        return self._held if self.complete else self.length

    async def whole(self) -> bytes:
        """All of it."""
        while not self.complete:
            await self._read()
        return self._together()

    async def _read(self) -> bytes:
        piece = await self._content.readany()
        if piece:
            self._pieces.append(piece)
            self._held += len(piece)
        self.complete = self._content.at_eof()
        return piece

    def _together(self) -> bytes:
        if len(self._pieces) != 1:
            self._pieces = [b"".join(self._pieces)]
        return self._pieces[0]

    async def _slices(self) -> AsyncIterator[bytes]:
        view = memoryview(self._together())
        for position in range(0, len(view), _SLICE):
            yield bytes(view[position : position + _SLICE])

    async def _stream(self) -> AsyncIterator[bytes]:
        pieces, self._pieces = self._pieces, []
        for piece in pieces:
            yield piece
        del pieces
        while not self._content.at_eof():
            piece = await self._content.readany()
            if piece:
                yield piece
