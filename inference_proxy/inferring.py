"""ModelInfer: sends each request to its variant, books it, and writes the receipt on the answer.

This is the hot path. Tensors are never parsed, and nothing here leaves the process but the inference itself.
"""

import time
from collections.abc import Mapping
from typing import Any, Protocol

import grpc

from inference_proxy.accounting import Accounting, Unrecorded
from inference_proxy.refusals import Refusal
from inference_proxy.relaying import Context, abort_like, forwarded, refuse, relay_unary
from inference_proxy.routes import Lane
from inference_proxy.tenants import Tenants
from inference_proxy.wire import Malformed, first_dimension, read_request


class Route(Protocol):
    """Knows how the next request for its name goes."""

    def lane(self, tenant: str, version: bytes, now_us: int) -> Lane | Refusal:
        """The lane, or why there is none."""
        ...


class Inferring:
    """Answers ModelInfer for every name: routed and metered where there is a route, passed on otherwise."""

    def __init__(
        self,
        call: Any,
        routes: Mapping[bytes, Route],
        accounting: Accounting,
        tenants: Tenants,
        *,
        receipts: bool,
    ) -> None:
        """`call` is the unary callable of Triton's ModelInfer, without serializers."""
        self._call, self._routes, self._accounting, self._tenants = call, routes, accounting, tenants
        self._receipts = receipts

    async def infer(self, request: bytes, context: Context) -> bytes:
        """One ModelInfer."""
        try:
            read = read_request(request)
        except Malformed:
            return await relay_unary(self._call, request, context)
        route = self._routes.get(read.model_name)
        if route is None:
            return await relay_unary(self._call, request, context)
        metadata = context.invocation_metadata()
        lane = route.lane(self._tenants.of(metadata), read.model_version, time.time_ns() // 1_000)
        if isinstance(lane, Refusal):
            await refuse(lane, context)
        outgoing = self._call(
            request + (lane.model_and_version if read.model_version else lane.model) if lane.model else request,
            timeout=context.time_remaining(),
            metadata=forwarded(metadata),
        )
        try:
            response: bytes = await outgoing
        except grpc.aio.AioRpcError as error:
            await abort_like(error, context)
        if initial := await outgoing.initial_metadata():
            await context.send_initial_metadata(tuple(initial))
        trailing = tuple(await outgoing.trailing_metadata() or ())
        inferences = first_dimension(read.first_input) if lane.target.batches else 1
        try:
            receipt = self._accounting.book(lane, inferences)
        except Unrecorded as error:
            await refuse(Refusal(grpc.StatusCode.UNAVAILABLE, str(error)), context)
        if not self._receipts:
            context.set_trailing_metadata(trailing)
            return response
        context.set_trailing_metadata((*trailing, *receipt.metadata) if trailing else receipt.metadata)
        return response + receipt.parameters
