"""Tells the selector what was served, for policies that learn from it; a selector that is away is told later."""

import asyncio
import time
from typing import Any

import grpc

from inference_proxy.tallies import Tallies
from tradewind.rpc.v1 import selector_pb2, selector_pb2_grpc

_TIMEOUT_S = 5.0


class Reporting:
    """Sends counts under growing numbers; one that was not acknowledged is sent again under its own."""

    def __init__(self, zone: str, reporter: str, tallies: Tallies) -> None:
        """`reporter` outlives the process."""
        self._zone, self._reporter, self._tallies = zone, reporter, tallies
        self._unacknowledged: selector_pb2.ReportServedRequest | None = None

    async def report_for_ever(self, address: str, interval_s: float) -> None:
        """Reports at every interval in which something was served."""
        async with grpc.aio.insecure_channel(address) as channel:
            stub: Any = selector_pb2_grpc.SelectorStub(channel)
            while True:
                await asyncio.sleep(interval_s)
                await self.report(stub)

    async def report(self, stub: Any) -> bool:
        """Sends what there is once; whether it was acknowledged."""
        if self._unacknowledged is None:
            self._unacknowledged = self._next()
        if self._unacknowledged is None:
            return True
        try:
            await stub.ReportServed(self._unacknowledged, timeout=_TIMEOUT_S)
        except grpc.aio.AioRpcError:
            return False  # That the selector is away is said where its decisions are followed.
        self._unacknowledged = None
        return True

    def _next(self) -> selector_pb2.ReportServedRequest | None:
        counts, self._tallies.followed = self._tallies.followed, type(self._tallies.followed)()
        if not counts:
            return None
        # The clock numbers reports, so that they go on growing after a restart.
        return selector_pb2.ReportServedRequest(
            reporter=self._reporter,
            sequence=time.time_ns(),
            counts=[
                selector_pb2.ServedCount(
                    zone=self._zone, family=family, variant=variant, decision=decision, inferences=inferences
                )
                for (family, variant, decision), inferences in counts.items()
            ],
        )
