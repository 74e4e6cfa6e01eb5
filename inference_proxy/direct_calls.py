"""A unary call that runs in the caller's own task.

The public call object of grpc.aio starts a task per call and wakes the caller through it, which is a tenth of all a
relay does. What lies beneath it is the same for every release since 1.64; where it is not there, the public way is
taken, at its price.
"""

import asyncio
import time
from typing import Any

import grpc

from tradewind.calling import Dress

_CODES = {code.value[0]: code for code in grpc.StatusCode}
_LEFT = "the caller has left"

Pairs = tuple[tuple[str, str | bytes], ...]


Answer = tuple[bytes, Pairs, Pairs]
"""The message, the initial and the trailing metadata."""


class UnaryCall:
    """One method of one channel, for raw bytes."""

    def __init__(self, channel: grpc.aio.Channel, method: str) -> None:
        raw: Any = channel  # The stubs demand the serializers that raw bytes do without.
        self._public = raw.unary_unary(method)
        self._open = _opener(self._public)

    @property
    def direct(self) -> bool:
        """Whether the short way is there."""
        return self._open is not None

    async def __call__(self, request: bytes, timeout_s: float | None, metadata: Any) -> Answer:
        """The answer; AioRpcError as the public call would raise it. Cancelling the caller ends the call."""
        if self._open is None:
            return await self._publicly(request, timeout_s, metadata)
        call = self._open(None if timeout_s is None else time.time() + timeout_s)
        try:
            message = await call.unary_unary(request, metadata or (), None)
        except asyncio.CancelledError:
            call.cancel(_LEFT)
            raise
        status = await call.status()
        initial = await call.initial_metadata() or ()
        if call.is_ok():
            return message, initial, status.trailing_metadata() or ()
        raise grpc.aio.AioRpcError(
            _CODES.get(status.code(), grpc.StatusCode.UNKNOWN),
            grpc.aio.Metadata(*initial),
            grpc.aio.Metadata(*(status.trailing_metadata() or ())),
            details=status.details(),
            debug_error_string=status.debug_error_string(),
        )

    async def _publicly(self, request: bytes, timeout_s: float | None, metadata: Any) -> Answer:
        call = self._public(request, timeout=timeout_s, metadata=metadata)
        message = await call
        return message, tuple(await call.initial_metadata()), tuple(await call.trailing_metadata() or ())


def _opener(public: Any) -> Any:
    """How to begin a call on the channel beneath a public callable; None where that is not as it is known."""
    try:
        channel, method, handle = public._channel, public._method, public._registered_call_handle  # noqa: SLF001
        begin = channel.call
    except AttributeError:
        return None

    def begin_call(deadline: float | None) -> Any:
        return begin(method, deadline, None, None, handle)

    return begin_call


def unary_call(channel: grpc.aio.Channel, method: str, dress: Dress | None) -> UnaryCall:
    """The call, with its metadata dressed where there is something to do."""
    return UnaryCall(channel, method) if dress is None else _DressedUnaryCall(channel, method, dress)


class _DressedUnaryCall(UnaryCall):
    def __init__(self, channel: grpc.aio.Channel, method: str, dress: Dress) -> None:
        super().__init__(channel, method)
        self._dress = dress

    async def __call__(self, request: bytes, timeout_s: float | None, metadata: Any) -> Answer:
        return await super().__call__(request, timeout_s, self._dress(metadata))
