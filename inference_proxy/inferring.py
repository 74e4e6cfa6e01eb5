"""ModelInfer: sends each request to its variant, books it, and writes the receipt on the answer.

This is the hot path. Tensors are never parsed, and nothing here leaves the process but the inference itself.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import grpc

from inference_proxy.accounting import Accounting, Unrecorded
from inference_proxy.attempts import Attempt
from inference_proxy.endpoints import Endpoint, least_loaded
from inference_proxy.refusals import Refusal, no_server, too_much, unsatisfiable
from inference_proxy.relaying import Context, abort_like, forwarded, never_reached, refuse
from inference_proxy.routes import Lane
from inference_proxy.targets import Target
from inference_proxy.tenants import Tenants
from inference_proxy.tritons import Tritons
from inference_proxy.wire import InferRequest, Malformed, as_triton_reads, first_dimension, parameters_of, read_request
from inference_proxy.wishes import Wishes, read_wishes
from tradewind.errors import InvalidInput


class Route(Protocol):
    """Knows how the next request for its name goes."""

    def lane(
        self,
        tenant: str,
        version: bytes,
        now_us: int,
        wishes: Wishes | None = None,
        avoid: tuple[Target, ...] = (),
    ) -> Lane | Refusal:
        """The lane, or why there is none; `avoid` are targets that a first attempt found away."""
        ...


@dataclass(frozen=True, slots=True)
class Rules:
    """What every request is treated by."""

    tritons: Tritons
    """Where names without a route go, and whom a stream may go to."""
    routes: Mapping[bytes, Route]
    accounting: Accounting
    tenants: Tenants
    receipts: bool
    """Whether answers carry receipts."""
    at_most: int | None = None
    """The most requests in flight."""


class Inferring:
    """Answers ModelInfer for every name: routed and metered where there is a route, passed on otherwise."""

    def __init__(self, rules: Rules) -> None:
        self._tritons, self._routes, self._accounting = rules.tritons, rules.routes, rules.accounting
        self._tenants, self._receipts, self._at_most = rules.tenants, rules.receipts, rules.at_most

    async def infer(self, request: bytes, context: Context) -> bytes:
        """One ModelInfer."""
        try:
            read = read_request(request)
        except Malformed:
            return await self._tritons.infer(request, None, context)
        route = self._routes.get(read.model_name) or self._routes.get(as_triton_reads(read.model_name))
        if route is None:
            return await self._tritons.infer(request, read, context)
        tallies = self._accounting.tallies
        if self._at_most is not None and tallies.in_flight >= self._at_most:
            tallies.refused += 1
            await refuse(too_much(self._at_most), context)
        wishes = await _wishes(read, context) if read.parameters is not None else None
        metadata = context.invocation_metadata()
        tenant = self._tenants.of(metadata)
        lane = route.lane(tenant, read.model_version, time.time_ns() // 1_000, wishes)
        if isinstance(lane, Refusal):
            await refuse(lane, context)
        endpoint = self._tritons.places.endpoint(lane.target.model, lane.target.endpoints, wishes)
        if endpoint is None:
            await refuse(no_server(), context)
        try:
            return await self._attempt(request, read, lane, endpoint, metadata, context)
        except grpc.aio.AioRpcError as error:
            other = None
            if never_reached(error):
                other = self._another(route, lane, endpoint, error, tenant, wishes)
            if other is None:
                await abort_like(error, context)
        try:
            return await self._attempt(request, read, *other, metadata, context)
        except grpc.aio.AioRpcError as error:
            await abort_like(error, context)

    async def _attempt(
        self, request: bytes, read: InferRequest, lane: Lane, endpoint: Endpoint, metadata: Any, context: Context
    ) -> bytes:
        suffix = lane.model_and_version if read.model_version else lane.model
        with Attempt(lane, endpoint, self._accounting.tallies) as attempt:
            response, initial, trailing = await endpoint.infer(
                request + suffix if suffix else request, context.time_remaining(), forwarded(metadata)
            )
            attempt.answered()
        if initial:
            await context.send_initial_metadata(initial)
        try:
            receipt = self._accounting.book(lane, first_dimension(read.first_input) if lane.target.batches else 1)
        except Unrecorded as error:
            await refuse(Refusal(grpc.StatusCode.UNAVAILABLE, str(error)), context)
        if not self._receipts:
            context.set_trailing_metadata(trailing)
            return response
        context.set_trailing_metadata((*trailing, *receipt.metadata) if trailing else receipt.metadata)
        return response + receipt.parameters

    @staticmethod
    def _another(
        route: Route,
        lane: Lane,
        endpoint: Endpoint,
        error: grpc.aio.AioRpcError,
        tenant: str,
        wishes: Wishes | None,
    ) -> tuple[Lane, Endpoint] | None:
        """Where a request may be tried once more that never was executed: elsewhere, or on another variant."""
        away = error.code() is grpc.StatusCode.UNAVAILABLE
        if away:
            endpoint.failed()
        if wishes is not None and wishes.sequence_id is not None:
            return None
        elsewhere = least_loaded(tuple(each for each in lane.target.endpoints if each is not endpoint))
        if elsewhere is not None:
            return lane, elsewhere
        second = route.lane(tenant, b"", time.time_ns() // 1_000, wishes, (lane.target,))
        if isinstance(second, Refusal):
            return None
        found = least_loaded(tuple(each for each in second.target.endpoints if not (away and each is endpoint)))
        return (second, found) if found is not None else None


async def _wishes(read: InferRequest, context: Context) -> Wishes | None:
    try:
        return read_wishes(parameters_of(read))
    except InvalidInput as error:
        await refuse(unsatisfiable(str(error)), context)
