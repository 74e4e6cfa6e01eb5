"""Tells the selector what was served, for policies that learn from it; a selector that is away is told later."""

import asyncio
import time
from collections import Counter, deque
from typing import Any

import grpc

from inference_proxy.following import CHANNEL_OPTIONS
from inference_proxy.tallies import Tallies
from tradewind.calling import PLAIN, Way
from tradewind.logs import get_logger
from tradewind.rpc.v1 import selector_pb2, selector_pb2_grpc

log = get_logger(__name__)

_TIMEOUT_S = 5.0
_LAST_TIMEOUT_S = 1.0

MOST_DECISIONS = 1_000
"""How many decisions are told apart while reports wait; the inferences themselves are always counted."""

_REFUSALS = (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT)


class Reporting:
    """Sends counts under growing numbers, family by family; what was not acknowledged is sent again under its own."""

    def __init__(self, zone: str, reporter: str, tallies: Tallies) -> None:
        """`reporter` outlives the process."""
        self._zone, self._reporter, self._tallies = zone, reporter, tallies
        self._waiting: deque[selector_pb2.ReportServedRequest] = deque()
        self._told: Counter[tuple[str, str]] = Counter()
        """Inferences by (family, variant) that were put into reports."""
        self._sequence = 0
        self._away = False
        self._refused: set[str] = set()

    async def report_for_ever(self, address: str, interval_s: float, way: Way = PLAIN) -> None:
        """Reports at every interval in which something was served, and a last time when it is cancelled."""
        async with way.channel(address, CHANNEL_OPTIONS) as channel:
            stub: Any = selector_pb2_grpc.SelectorStub(channel)
            try:
                while True:
                    await asyncio.sleep(interval_s)
                    await self.report(stub)
            except asyncio.CancelledError:
                # What waited with a request under way first: its number may have been counted.
                if await self.report(stub, timeout_s=_LAST_TIMEOUT_S):
                    await self.report(stub, timeout_s=_LAST_TIMEOUT_S)
                raise

    async def report(self, stub: Any, *, timeout_s: float = _TIMEOUT_S) -> bool:
        """Sends what there is once; whether all of it was acknowledged."""
        if not self._waiting:
            self._waiting.extend(self._next())
        elif len(self._tallies.followed) > MOST_DECISIONS:
            self._tallies.followed.clear()
        while self._waiting:
            try:
                await stub.ReportServed(self._waiting[0], timeout=timeout_s)
            except grpc.aio.AioRpcError as error:
                if error.code() not in _REFUSALS:
                    self._say_away(error.code())
                    return False
                self._say_refused(self._waiting[0].counts[0].family, error.details() or "")
            self._waiting.popleft()
            self._say_back()
        return True

    def _next(self) -> list[selector_pb2.ReportServedRequest]:
        """One report per family with what was served since the last; one that is refused stops no other."""
        counts, self._tallies.followed = self._tallies.followed, Counter()
        new = Counter(
            {
                (family, variant): tally.inferences - self._told[family, variant]
                for (family, variant), tally in list(self._tallies.served.items())
                if family
            }
        )
        self._told += new
        for (family, variant, _), inferences in counts.items():
            new[family, variant] -= inferences
        # What followed no decision, or one that nobody noted, was served all the same.
        counts.update({(family, variant, ""): inferences for (family, variant), inferences in (+new).items()})
        families = sorted({family for family, _, _ in counts})
        return [self._report_of(family, counts) for family in families]

    def _report_of(self, family: str, counts: Counter[tuple[str, str, str]]) -> selector_pb2.ReportServedRequest:
        # The clock numbers reports, so that they go on growing after a restart.
        self._sequence = max(time.time_ns(), self._sequence + 1)
        return selector_pb2.ReportServedRequest(
            reporter=self._reporter,
            sequence=self._sequence,
            counts=[
                selector_pb2.ServedCount(
                    zone=self._zone, family=family, variant=variant, decision=decision, inferences=inferences
                )
                for (name, variant, decision), inferences in counts.items()
                if name == family
            ],
        )

    def _say_away(self, code: grpc.StatusCode) -> None:
        if not self._away:
            log.warning("the selector takes no reports of what was served; they are sent later", code=code.name)
        self._away = True

    def _say_back(self) -> None:
        if self._away:
            log.info("the selector takes reports of what was served again")
        self._away = False

    def _say_refused(self, family: str, why: str) -> None:
        if family not in self._refused:
            log.error("the selector refuses reports of a family: give both the same catalogue", family=family, why=why)
        self._refused.add(family)
