"""ModelStreamInfer: every message is decided for itself, and its receipt comes once, on its final answer.

A stream has a leg to every Triton that one of its messages went to. Each Triton keeps the order of its own messages;
what another one answers too early waits for its turn, but for decoupled models, whose answers have no order to keep. A
request is booked before its first answer goes out. Decoupled models may end a request with a final flag alone: it is
asked for, so that the end of every request is known, and kept from clients that did not ask for it themselves.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc

from inference_proxy.accounting import Unrecorded
from inference_proxy.attempts import Attempt
from inference_proxy.endpoints import Endpoint, least_loaded
from inference_proxy.inferring import Route, Rules
from inference_proxy.refusals import Refusal, no_server, too_much, unsatisfiable
from inference_proxy.relaying import END_OF_STREAM, Context, Leg, abort_like, end_like, error_text, refuse
from inference_proxy.routes import Lane, Receipt
from inference_proxy.wire import (
    InferRequest,
    InferResponse,
    Malformed,
    as_triton_reads,
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


@dataclass(slots=True, eq=False)
class Asked:
    """One request of a stream that is not answered to its end, or that was refused and waits for its turn."""

    id: bytes
    model: bytes
    lane: Lane | None
    leg: Leg | None = None
    inferences: int = 1
    attempt: Attempt | None = None
    wants_empty_final: bool = False
    receipt: Receipt | None = None
    held: list[bytes] = field(default_factory=list)
    """Answers that wait for their turn."""
    over: bool = False
    """Whether nothing more will come."""

    @property
    def keeps_order(self) -> bool:
        """Whether later answers wait for its own."""
        return self.lane is None or not self.lane.target.decoupled


class Streaming:
    """Answers ModelStreamInfer."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules

    async def infer(self, requests: AsyncIterator[bytes], context: Context) -> None:
        """One stream, until both sides have ended it."""
        stream = _Stream(self._rules, context, self._rules.tenants.of(context.invocation_metadata()))
        try:
            await stream.serve(requests)
        except grpc.aio.AioRpcError as error:
            await abort_like(error, context)
        except Unrecorded as error:
            await refuse(Refusal(grpc.StatusCode.UNAVAILABLE, str(error)), context)
        finally:
            # Leaving, for whatever reason, ends the Tritons' work on the stream at once.
            stream.abandon()


_Happened = Leg | BaseException | None
"""A leg that ended, what went wrong, or None: the client has asked all it wants to."""


@dataclass(slots=True, eq=False)
class _Stream:
    rules: Rules
    context: Context
    tenant: str
    asked: deque[Asked] = field(default_factory=deque)
    _legs: dict[Endpoint, Leg] = field(default_factory=dict)
    _unaccounted: set[Leg] = field(default_factory=set)
    """Legs that carry messages which nothing is remembered of."""
    _said_all: bool = False
    """Whether the client has asked all it wants to."""
    _waits: bool = False
    """Whether anything waits for its turn."""
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _happened: asyncio.Queue[_Happened] = field(default_factory=asyncio.Queue)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Answers of several Tritons and refusals go out one after the other."""
    _begun: bool = False

    async def serve(self, requests: AsyncIterator[bytes]) -> None:
        """Carries both ways until the client and every Triton have ended; AioRpcError as a Triton ended it."""
        if len(self.rules.tritons.endpoints) == 1:
            self._open(self.rules.tritons.endpoints[0])  # The stream ends as Triton's does, asked or not.
        self._begin(self._pump, requests)
        while not self._said_all or self._legs:
            happened = await self._happened.get()
            if isinstance(happened, BaseException):
                raise happened
            if happened is None:
                continue
            ending = await happened.ending()
            if self._survives(happened, ending):
                await self._fail(happened, ending)
                continue
            self._forget(happened)
            if not self._said_all or not self._legs or ending.code() is not grpc.StatusCode.OK:
                await end_like(ending, self.context)
                return

    def abandon(self) -> None:
        """Nothing of the stream is in flight any more."""
        for task in self._tasks:
            task.cancel()
        for leg in self._legs.values():
            leg.cancel()
        while self.asked:
            self._over(self.asked.popleft())

    def _begin(self, work: Callable[[Any], Awaitable[_Happened]], about: Any) -> None:
        async def carried() -> None:
            try:
                self._happened.put_nowait(await work(about))
            except Exception as error:
                self._happened.put_nowait(error)

        self._tasks.append(asyncio.create_task(carried()))

    def _open(self, endpoint: Endpoint) -> Leg:
        leg = self._legs[endpoint] = Leg(endpoint.calls["ModelStreamInfer"], self.context)
        self._begin(self._carry, leg)
        return leg

    async def _pump(self, requests: AsyncIterator[bytes]) -> None:
        """Carries requests to the Tritons."""
        async for request in requests:
            await self._send(request)
        self._said_all = True
        for leg in tuple(self._legs.values()):
            await leg.done_writing()

    async def _carry(self, leg: Leg) -> Leg:
        """Carries a Triton's answers to the client."""
        try:
            while (message := await leg.read()) is not END_OF_STREAM:
                async with self._turn:
                    if not self._begun and (initial := await leg.initial_metadata()):
                        await self.context.send_initial_metadata(initial)
                    await self._receive(message, leg)
        except grpc.aio.AioRpcError:
            if len(self.rules.tritons.endpoints) == 1:
                raise
        return leg

    async def _send(self, request: bytes) -> None:
        """One message to its Triton; what is refused is answered in its turn."""
        try:
            read = read_request(request)
        except Malformed:
            return await self._pass_on(request, None)
        routes = self.rules.routes
        route = routes.get(read.model_name) or routes.get(as_triton_reads(read.model_name))
        if route is None:
            return await self._pass_on(request, read)
        parameters = parameters_of(read)
        found = await self._way(route, read, parameters)
        if isinstance(found, Refusal):
            await self._refuse(found, read.id)
            return None
        lane, endpoint, leg = found
        target = lane.target
        asked = Asked(read.id, target.model.encode(), lane, leg)
        asked.inferences = first_dimension(read.first_input) if target.batches else 1
        asked.wants_empty_final = parameters.get(_EMPTY_FINAL) is True
        asked.attempt = self.rules.accounting.attempt(lane, endpoint).__enter__()
        self.asked.append(asked)
        message = request + (lane.model_and_version if read.model_version else lane.model)
        if target.decoupled and not asked.wants_empty_final:
            message += boolean_parameter(_EMPTY_FINAL, True)
        await leg.write(message)
        return None

    async def _pass_on(self, request: bytes, read: InferRequest | None) -> None:
        """A message whose name has no route, or that has none: nothing is remembered of it."""
        endpoint = self.rules.tritons.place(read)
        leg = await self._leg(endpoint) if endpoint is not None else None
        if leg is None:
            await self._refuse(no_server(), read.id if read is not None else b"")
            return
        self._unaccounted.add(leg)
        await leg.write(request)

    async def _way(
        self, route: Route, read: InferRequest, parameters: Mapping[str, Any]
    ) -> tuple[Lane, Endpoint, Leg] | Refusal:
        """The lane of a message and the Triton that takes it; another one where the first is not there."""
        rules = self.rules
        if rules.at_most is not None and rules.accounting.tallies.in_flight >= rules.at_most:
            rules.accounting.tallies.refused += 1
            return too_much(rules.at_most)
        try:
            wishes = read_wishes(parameters) if parameters else None
        except InvalidInput as error:
            return unsatisfiable(str(error))
        lane = route.lane(self.tenant, read.model_version, time.time_ns() // 1_000, wishes)
        if isinstance(lane, Refusal):
            return lane
        target = lane.target
        untried = target.endpoints
        endpoint = rules.tritons.places.endpoint(target.model, untried, wishes)
        while endpoint is not None:
            leg = await self._leg(endpoint)
            if leg is not None:
                return lane, endpoint, leg
            endpoint.failed()
            in_sequence = wishes is not None and wishes.sequence_id is not None
            untried = () if in_sequence else tuple(each for each in untried if each is not endpoint)
            endpoint = least_loaded(untried)
        return no_server()

    async def _leg(self, endpoint: Endpoint) -> Leg | None:
        """The leg to a Triton; None where it takes no connection. A single Triton's own end tells that itself."""
        leg = self._legs.get(endpoint)
        if leg is None and await endpoint.takes_connections():
            leg = self._open(endpoint)
        return leg

    async def _receive(self, message: bytes, leg: Leg) -> None:
        """Writes an answer as the client is to see it, or holds it until its turn comes."""
        try:
            outer = read_stream_response(message)
            response = read_response(outer.infer_response or b"")
        except Malformed:
            return await self._write(message)
        asked = self._whose(response, leg, failed=bool(outer.error))
        if asked is None or asked.lane is None:
            return await self._write(message)
        seen: bytes | None = message
        if outer.error:
            self._over(asked)
        else:
            if asked.receipt is None:
                asked.receipt = self._book(asked, asked.lane)
            if response.parameters.get(_FINAL) is not False:
                self._over(asked)
                seen = self._final(message, outer.infer_response or b"", response, asked, asked.receipt)
        return await self._deliver(asked, seen)

    async def _deliver(self, asked: Asked, message: bytes | None) -> None:
        """An answer in its turn: now, or when all that was asked of others before it is answered."""
        if self._is_early(asked):
            self._waits = True
            if message is not None:
                asked.held.append(message)
            return
        if message is not None:
            await self._write(message)
        if asked.over:
            self.asked.remove(asked)
            if self._waits:
                await self._release()

    def _is_early(self, asked: Asked) -> bool:
        if not asked.keeps_order:
            return False
        for before in self.asked:
            if before is asked:
                return False
            # One Triton's own answers come in their turn; a refusal is nobody's and waits for all.
            if before.keeps_order and before.leg is not asked.leg:
                return True
        return False

    def _final(
        self, message: bytes, inner: bytes, response: InferResponse, asked: Asked, receipt: Receipt
    ) -> bytes | None:
        """The last answer; None for a final flag that the client did not ask for."""
        asked_for = asked.wants_empty_final or asked.lane is None or not asked.lane.target.decoupled
        if not response.outputs and not asked_for:
            return None
        return stream_response(inner + receipt.parameters) if self.rules.receipts else message

    def _book(self, asked: Asked, lane: Lane) -> Receipt:
        if asked.attempt is not None:
            asked.attempt.answered()
        return self.rules.accounting.book(lane, asked.inferences, asked.attempt)

    def _whose(self, response: InferResponse, leg: Leg, *, failed: bool) -> Asked | None:
        """The oldest request that an answer can belong to: the same id, and the same model where it names one."""
        for asked in self.asked:
            if (
                asked.leg is leg
                and not asked.over
                and asked.id == response.id
                and (failed or asked.model == response.model_name)
            ):
                return asked
        return None

    @staticmethod
    def _over(asked: Asked) -> None:
        asked.over = True
        if asked.attempt is not None:
            asked.attempt.__exit__(None, None, None)
            asked.attempt = None

    async def _refuse(self, refusal: Refusal, request_id: bytes) -> None:
        """Refusals keep their place: they go out once everything asked before them is answered."""
        refused = Asked(request_id, b"", None, over=True)
        self.asked.append(refused)
        async with self._turn:
            await self._deliver(refused, stream_error(refusal.text, request_id))

    async def _release(self) -> None:
        """Writes every answer whose turn has come."""
        self._waits = False
        for asked in tuple(self.asked):
            if self._is_early(asked):
                self._waits = True
                continue
            held, asked.held = asked.held, []
            for message in held:
                await self._write(message)
            if asked.over:
                self.asked.remove(asked)

    async def _write(self, message: bytes) -> None:
        self._begun = True
        await self.context.write(message)

    def _survives(self, leg: Leg, ending: grpc.aio.AioRpcError) -> bool:
        """Whether the stream goes on without a Triton that went away: others are there, and nothing unknown is lost."""
        several = len(self.rules.tritons.endpoints) > 1
        return several and ending.code() is grpc.StatusCode.UNAVAILABLE and leg not in self._unaccounted

    def _forget(self, leg: Leg) -> list[Endpoint]:
        """Where it led."""
        gone = [endpoint for endpoint, own in self._legs.items() if own is leg]
        for endpoint in gone:
            del self._legs[endpoint]
        return gone

    async def _fail(self, leg: Leg, ending: grpc.aio.AioRpcError) -> None:
        """Says of each request that a Triton took along that it failed."""
        for endpoint in self._forget(leg):
            endpoint.failed()
        text = error_text(ending.code(), ending.details())
        async with self._turn:
            for asked in self.asked:
                if asked.leg is leg and not asked.over:
                    self._over(asked)
                    asked.held.append(stream_error(text, asked.id))
            await self._release()
