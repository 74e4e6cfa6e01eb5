"""The `Operations` service: an operator's switches."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import grpc

from inference_proxy.forces import Forces, Operation
from inference_proxy.routes import FamilyRoute
from tradewind import messages
from tradewind.access import Access
from tradewind.database import from_microseconds
from tradewind.errors import InvalidInput
from tradewind.rpc.v1 import operations_pb2, operations_pb2_grpc

_USUAL, _MOST = 100, 1_000

Context = grpc.aio.ServicerContext[Any, Any]


class OperationsServicer(operations_pb2_grpc.OperationsServicer):
    """Forces, releases and shows families."""

    def __init__(self, forces: Forces, families: Mapping[str, FamilyRoute], access: Access) -> None:
        self._forces, self._families, self._access = forces, families, access

    async def ForceVariant(  # noqa: N802 -- the proto's name
        self,
        request: operations_pb2.ForceVariantRequest,
        context: Context,
    ) -> operations_pb2.ForceVariantResponse:
        """Serves a family by one variant until a time."""
        proven = self._access.operator(context)
        if not request.HasField("until"):
            raise InvalidInput("until is missing: say when the force ends")
        until = messages.moment(request.until)
        self._forces.force(request.family, request.variant, until, _signed(request.operator, proven), request.why)
        return operations_pb2.ForceVariantResponse()

    async def ReleaseVariant(  # noqa: N802 -- the proto's name
        self,
        request: operations_pb2.ReleaseVariantRequest,
        context: Context,
    ) -> operations_pb2.ReleaseVariantResponse:
        """Ends a force before its time."""
        proven = self._access.operator(context)
        released = self._forces.release(request.family, _signed(request.operator, proven), request.why)
        return operations_pb2.ReleaseVariantResponse(released=released)

    async def ListStates(  # noqa: N802 -- the proto's name
        self,
        request: operations_pb2.ListStatesRequest,  # noqa: ARG002
        context: Context,
    ) -> operations_pb2.ListStatesResponse:
        """How each family stands now."""
        self._access.operator(context)
        return operations_pb2.ListStatesResponse(states=[_state(each) for each in self._families.values()])

    async def ListOperations(  # noqa: N802 -- the proto's name
        self,
        request: operations_pb2.ListOperationsRequest,
        context: Context,
    ) -> operations_pb2.ListOperationsResponse:
        """What operators did, newest first."""
        self._access.operator(context)
        if not 0 <= request.at_most <= _MOST:
            raise InvalidInput(f"at_most {request.at_most} is out of range: use 1 to {_MOST}, or 0 for {_USUAL}")
        found = await asyncio.to_thread(self._forces.operations, request.at_most or _USUAL)
        return operations_pb2.ListOperationsResponse(operations=[_operation(each) for each in found])


def _signed(said: str, proven: str) -> str:
    """Who is written down: what the operator says, and the name that was proven where it is another."""
    return said if proven in {"", said} else f"{said} ({proven})" if said else proven


def _state(family: FamilyRoute) -> operations_pb2.FamilyState:
    force = family.force
    if force is not None and force.until_us <= time.time_ns() // 1_000:
        force = None
    return operations_pb2.FamilyState(
        family=family.name,
        decision=family.decision.id if family.decision is not None else "",
        ready=[target.variant for target in family.targets if target.serves],
        forced_variant=force.variant if force is not None else None,
        observes=family.switches.observe,
        rollout_pct=family.switches.rollout_pct,
        forced_until=messages.timestamp(from_microseconds(force.until_us)) if force is not None else None,
    )


def _operation(operation: Operation) -> operations_pb2.Operation:
    return operations_pb2.Operation(
        at=messages.timestamp(operation.at),
        action=operation.action,
        family=operation.family,
        variant=operation.variant,
        until=messages.timestamp(operation.until) if operation.until is not None else None,
        operator=operation.operator,
        why=operation.why,
    )
