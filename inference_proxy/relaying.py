"""Passes calls to Triton as they are: bytes, metadata, deadline and cancellation in, status and metadata out."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine, Iterable
from typing import Any, NoReturn, cast

import grpc

from inference_proxy.refusals import Refusal

SERVICE = "inference.GRPCInferenceService"

CHANNEL_OPTIONS: tuple[tuple[str, Any], ...] = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # A Triton that comes back is used again within seconds, not after minutes of backoff.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)

_HOP_BY_HOP = frozenset({"user-agent", "te", "content-type", "host", "accept-encoding"})
_NOT_CONNECTED = ("failed to connect to all addresses", "connections to all backends failing")
_FAILED_WRITE, _ENDING_S = "Internal error from Core", 1.0
_TOO_LATE = (grpc.aio.AioRpcError, asyncio.InvalidStateError, grpc.aio.UsageError)
_NO_CONNECTION = (*_NOT_CONNECTED, "Socket closed", "recvmsg:")

# Stubs type metadata and end-of-stream narrower than the library is: on raw bytes both are Any.
Context = Any
END_OF_STREAM: Any = cast("Any", grpc.aio).EOF
Metadata = Iterable[tuple[str, str | bytes]]


def forwarded(metadata: Metadata | None) -> tuple[tuple[str, str | bytes], ...] | None:
    """Metadata without what belongs to one hop alone."""
    if not metadata:
        return None
    return tuple([(key, value) for key, value in metadata if key not in _HOP_BY_HOP and not key.startswith("grpc-")])


async def relay_unary(call: Any, request: bytes, context: Context) -> bytes:
    """One request, one answer; `call` is a channel's unary callable without serializers."""
    outgoing = call(request, timeout=context.time_remaining(), metadata=forwarded(context.invocation_metadata()))
    try:
        response: bytes = await outgoing
    except grpc.aio.AioRpcError as error:
        await abort_like(error, context)
    await pass_metadata(outgoing, context)
    return response


async def pass_metadata(outgoing: Any, context: Context) -> None:
    """Triton's initial and trailing metadata, where there are any."""
    initial = await outgoing.initial_metadata()
    if initial:
        await context.send_initial_metadata(tuple(initial))
    trailing = await outgoing.trailing_metadata()
    if trailing:
        context.set_trailing_metadata(tuple(trailing))


async def refuse(refusal: Refusal, context: Context) -> NoReturn:
    """Ends the call with a refusal of our own."""
    await context.abort(refusal.code, refusal.text)
    raise AssertionError("abort raises")


async def abort_like(error: grpc.aio.AioRpcError, context: Context) -> NoReturn:
    """Ends the call as Triton ended it."""
    if initial := forwarded(cast("Any", error.initial_metadata())):
        await context.send_initial_metadata(initial)
    # An answer that is all trailers has HTTP's own headers among them.
    trailing = forwarded(cast("Any", error.trailing_metadata())) or ()
    await context.abort(error.code(), error_text(error.code(), error.details()), trailing)
    raise AssertionError("abort raises")


def error_text(code: grpc.StatusCode, details: str | None) -> str:
    """Triton's own text; gRPC's account of a failed connection is put in words for a caller."""
    text = details or ""
    if code is grpc.StatusCode.UNAVAILABLE and any(part in text for part in _NO_CONNECTION):
        return "the inference server does not answer: try again when it is back"
    return text


def never_reached(error: grpc.aio.AioRpcError) -> bool:
    """Whether a request certainly was not executed: no connection was made, or no version of the model was there."""
    text = error.details() or ""
    if error.code() is grpc.StatusCode.UNAVAILABLE:
        return any(part in text for part in _NOT_CONNECTED)
    return error.code() is grpc.StatusCode.NOT_FOUND and text.endswith("has no available versions")


class Leg:
    """One stream to one Triton; it ends as Triton ended it, whatever was written too late.

    grpc.aio puts a status of its own before or over Triton's when a write finds that the call has ended.
    """

    def __init__(self, call: Any, context: Context) -> None:
        """`call` is a channel's stream callable without serializers."""
        self._outgoing = call(timeout=context.time_remaining(), metadata=forwarded(context.invocation_metadata()))
        self._ending: asyncio.Future[grpc.aio.AioRpcError] = asyncio.get_running_loop().create_future()
        self._outgoing.add_done_callback(self._note_ending)
        self._begun = False

    async def write(self, message: bytes) -> None:
        """Sends a message; one that comes after the end is lost, and the end is read beside this."""
        with contextlib.suppress(*_TOO_LATE):
            await self._outgoing.write(message)

    async def done_writing(self) -> None:
        """Says that no more will be sent."""
        with contextlib.suppress(*_TOO_LATE):
            await self._outgoing.done_writing()

    async def read(self) -> Any:
        """The next message, or END_OF_STREAM; AioRpcError as Triton ended it."""
        try:
            message = await self._outgoing.read()
        except grpc.aio.AioRpcError as error:
            said = await self._as_triton_said(error)
            # Initial metadata go to the client with the first answer, and only once.
            raise _without_initial_metadata(said) if self._begun else said from None
        self._begun = True
        return message

    async def initial_metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        """Triton's."""
        return tuple(await self._outgoing.initial_metadata() or ())

    async def ending(self) -> grpc.aio.AioRpcError:
        """How it ended, once it has: code, details and trailing metadata, also where the code is OK."""
        outgoing = self._outgoing
        code, details, trailing = await outgoing.code(), await outgoing.details(), await outgoing.trailing_metadata()
        return await self._as_triton_said(grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailing, details, None))

    def cancel(self) -> None:
        """Ends Triton's work on it at once; nothing where it has ended."""
        self._outgoing.cancel()

    def _note_ending(self, call: Any) -> None:
        code, details, trailing = map(_at_once, (call.code(), call.details(), call.trailing_metadata()))
        if details != _FAILED_WRITE and not self._ending.done():
            self._ending.set_result(grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailing, details, None))

    async def _as_triton_said(self, error: grpc.aio.AioRpcError) -> grpc.aio.AioRpcError:
        if error.details() == _FAILED_WRITE:
            with contextlib.suppress(TimeoutError):
                return await asyncio.wait_for(asyncio.shield(self._ending), _ENDING_S)
        return error


def _without_initial_metadata(error: grpc.aio.AioRpcError) -> grpc.aio.AioRpcError:
    trailing = cast("Any", error.trailing_metadata())
    return grpc.aio.AioRpcError(error.code(), grpc.aio.Metadata(), trailing, error.details(), None)


def _at_once(answer: Coroutine[Any, Any, Any]) -> Any:
    """What a coroutine returns that has nothing to wait for."""
    try:
        answer.send(None)
    except StopIteration as returned:
        return returned.value
    raise AssertionError("an ended call knows its status")


async def relay_stream(call: Any, requests: AsyncIterator[bytes], context: Context) -> None:
    """Any number of requests and answers in any order; serves unary methods that are not known as well."""
    leg = Leg(call, context)
    pump = asyncio.ensure_future(_pump(requests, leg))
    try:
        first = True
        while (response := await leg.read()) is not END_OF_STREAM:
            if first and (initial := await leg.initial_metadata()):
                await context.send_initial_metadata(initial)
            first = False
            await context.write(response)
        await end_like(await leg.ending(), context)
    except grpc.aio.AioRpcError as error:
        await abort_like(error, context)
    finally:
        pump.cancel()
        leg.cancel()


async def end_like(ending: grpc.aio.AioRpcError, context: Context) -> None:
    """Ends a stream as Triton ended it."""
    if ending.code() is not grpc.StatusCode.OK:
        await abort_like(ending, context)
    if trailing := forwarded(cast("Any", ending.trailing_metadata())):
        context.set_trailing_metadata(trailing)


async def _pump(requests: AsyncIterator[bytes], leg: Leg) -> None:
    async for request in requests:
        await leg.write(request)
    await leg.done_writing()
