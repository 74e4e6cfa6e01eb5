"""ModelStreamInfer: every message is decided for itself, and its receipt comes once, on its final answer.

All messages of a stream go through one stream to one Triton, which keeps their order. A request is booked before its
first answer goes out. Decoupled models may end a request with a final flag alone: it is asked for, so that the end of
every request is known, and kept from clients that did not ask for it themselves.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc

from inference_proxy.accounting import Unrecorded
from inference_proxy.attempts import Attempt
from inference_proxy.inferring import Route, Rules
from inference_proxy.refusals import Refusal, too_much, unsatisfiable
from inference_proxy.relaying import END_OF_STREAM, Context, abort_like, finish_like, forwarded, refuse
from inference_proxy.routes import Lane, Receipt
from inference_proxy.wire import (
    InferResponse,
    Malformed,
    boolean_parameter,
    first_dimension,
    parameters_of,
    read_request,
    read_response,
    read_stream_response,
    stream_error,
    stream_response,
)
from inference_proxy.wishes import read_wishes
from tradewind.errors import InvalidInput

_EMPTY_FINAL, _FINAL = "triton_enable_empty_final_response", "triton_final_response"


@dataclass(slots=True)
class Asked:
    """One request of a stream that is not answered yet, or that was refused and waits for its turn."""

    id: bytes
    model: bytes
    lane: Lane | None
    inferences: int = 1
    attempt: Attempt | None = None
    wants_empty_final: bool = False
    refusal: bytes | None = None
    receipt: Receipt | None = None


class Streaming:
    """Answers ModelStreamInfer."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules

    async def infer(self, requests: AsyncIterator[bytes], context: Context) -> None:
        """One stream, until both sides have ended it."""
        metadata = context.invocation_metadata()
        rules = self._rules
        outgoing = rules.home.calls["ModelStreamInfer"](timeout=context.time_remaining(), metadata=forwarded(metadata))
        stream = _Stream(rules, outgoing, context, rules.tenants.of(metadata))
        pump = asyncio.ensure_future(stream.pump(requests))
        try:
            await stream.answer()
            await finish_like(outgoing, context)
        except grpc.aio.AioRpcError as error:
            await abort_like(error, context)
        finally:
            # Leaving, for whatever reason, ends Triton's work on the stream at once.
            pump.cancel()
            outgoing.cancel()
            stream.abandon()


@dataclass(slots=True)
class _Stream:
    rules: Rules
    outgoing: Any
    context: Context
    tenant: str
    asked: deque[Asked] = field(default_factory=deque)
    _writing: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Refusals are written beside Triton's answers, and gRPC takes one write at a time."""

    async def pump(self, requests: AsyncIterator[bytes]) -> None:
        """Carries requests to Triton."""
        try:
            async for request in requests:
                message = await self._route(request)
                if message is not None:
                    await self.outgoing.write(message)
            await self.outgoing.done_writing()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError, grpc.aio.UsageError):
            return  # Triton ended the stream first; its status is read beside this.

    async def answer(self) -> None:
        """Carries answers to the client."""
        first = True
        while (message := await self.outgoing.read()) is not END_OF_STREAM:
            if first and (initial := await self.outgoing.initial_metadata()):
                await self.context.send_initial_metadata(tuple(initial))
            first = False
            passed_on = await self._receive(message)
            if passed_on is not None:
                await self._write(passed_on)
            await self._write_refusals()

    def abandon(self) -> None:
        """Nothing of the stream is in flight any more."""
        while self.asked:
            self._over(self.asked.popleft())

    async def _route(self, request: bytes) -> bytes | None:
        """The request as Triton is to see it; None when it is refused here."""
        try:
            read = read_request(request)
        except Malformed:
            return request
        route = self.rules.routes.get(read.model_name)
        if route is None:
            return request
        asked = Asked(read.id, read.model_name, None)
        parameters = parameters_of(read)
        lane = self._lane(route, read.model_version, parameters)
        if isinstance(lane, Refusal):
            asked.refusal = stream_error(lane.text, read.id)
            self.asked.append(asked)
            await self._write_refusals()
            return None
        target = lane.target
        asked.lane, asked.model = lane, target.model.encode()
        asked.inferences = first_dimension(read.first_input) if target.batches else 1
        asked.wants_empty_final = parameters.get(_EMPTY_FINAL) is True
        asked.attempt = self.rules.accounting.attempt(lane, self.rules.home).__enter__()
        self.asked.append(asked)
        message = request + (lane.model_and_version if read.model_version else lane.model)
        if target.decoupled and not asked.wants_empty_final:
            message += boolean_parameter(_EMPTY_FINAL, True)
        return message

    def _lane(self, route: Route, version: bytes, parameters: Mapping[str, Any]) -> Lane | Refusal:
        rules = self.rules
        if rules.at_most is not None and rules.accounting.tallies.in_flight >= rules.at_most:
            rules.accounting.tallies.refused += 1
            return too_much(rules.at_most)
        try:
            wishes = read_wishes(parameters) if parameters else None
        except InvalidInput as error:
            return unsatisfiable(str(error))
        return route.lane(self.tenant, version, time.time_ns() // 1_000, wishes)

    async def _receive(self, message: bytes) -> bytes | None:
        """The answer as the client is to see it; None for a final flag that it did not ask for."""
        try:
            outer = read_stream_response(message)
            response = read_response(outer.infer_response or b"")
        except Malformed:
            return message
        asked = self._whose(response, failed=bool(outer.error))
        if asked is None or asked.lane is None:
            return message
        if outer.error:
            self._forget(asked)
            return message
        if asked.receipt is None:
            asked.receipt = await self._book(asked, asked.lane)
        if response.parameters.get(_FINAL) is False:
            return message
        self._forget(asked)
        return self._final(message, outer.infer_response or b"", response, asked, asked.receipt)

    def _final(
        self, message: bytes, inner: bytes, response: InferResponse, asked: Asked, receipt: Receipt
    ) -> bytes | None:
        asked_for = asked.wants_empty_final or asked.lane is None or not asked.lane.target.decoupled
        if not response.outputs and not asked_for:
            return None
        return stream_response(inner + receipt.parameters) if self.rules.receipts else message

    async def _book(self, asked: Asked, lane: Lane) -> Receipt:
        if asked.attempt is not None:
            asked.attempt.answered()
        try:
            return self.rules.accounting.book(lane, asked.inferences, asked.attempt)
        except Unrecorded as error:
            await refuse(Refusal(grpc.StatusCode.UNAVAILABLE, str(error)), self.context)

    def _whose(self, response: InferResponse, *, failed: bool) -> Asked | None:
        """The oldest request that an answer can belong to: the same id, and the same model where it names one."""
        for asked in self.asked:
            if asked.refusal is None and asked.id == response.id and (failed or asked.model == response.model_name):
                return asked
        return None

    def _forget(self, asked: Asked) -> None:
        self.asked.remove(asked)
        self._over(asked)

    @staticmethod
    def _over(asked: Asked) -> None:
        if asked.attempt is not None:
            asked.attempt.__exit__(None, None, None)
            asked.attempt = None

    async def _write_refusals(self) -> None:
        """Refusals keep their place: they go out once everything asked before them is answered."""
        while self.asked and (refusal := self.asked[0].refusal) is not None:
            self.asked.popleft()
            await self._write(refusal)

    async def _write(self, message: bytes) -> None:
        async with self._writing:
            await self.context.write(message)
