"""Decisions on the bus: one retained message per zone and family, again after every outage of the broker."""

import asyncio
import time
from collections.abc import Callable, Iterable

from selector_service.selector import Pair
from tradewind import topics
from tradewind.bus import Bus
from tradewind.decisions import Decision, decision_to_json
from tradewind.errors import NotReady

LONGEST_PAUSE_S = 0.1

AT_ONCE = 100
"""Messages under way to the broker."""


class Announcements:
    """Only the newest decision of a zone and family waits, however long the broker is away."""

    def __init__(self, bus: Bus, in_force: Callable[[], Iterable[Decision]]) -> None:
        self._bus = bus
        self._in_force = in_force
        self._waiting: dict[Pair, Decision] = {}
        self._changed = asyncio.Event()

    def put(self, decision: Decision) -> None:
        """Takes a decision to announce."""
        self._waiting[decision.zone, decision.family] = decision
        self._changed.set()

    async def run(self) -> None:
        """Announces until cancelled."""
        connection = 0
        while True:
            await self._bus.connected.wait()
            if self._bus.reconnections != connection:
                # A broker that restarted may have lost what it retained.
                connection = self._bus.reconnections
                self._waiting = {(decision.zone, decision.family): decision for decision in self._in_force()}
            if self._waiting:
                started = time.monotonic()
                await self._announce()
                # Half of the time at most: what changes meanwhile is announced once.
                await asyncio.sleep(min(LONGEST_PAUSE_S, time.monotonic() - started))
            else:
                await self._until_changed()

    async def _announce(self) -> None:
        batch = list(self._waiting.items())[:AT_ONCE]
        outcomes = await asyncio.gather(*(self._publish(decision) for _, decision in batch))
        for (pair, decision), announced in zip(batch, outcomes, strict=True):
            if announced and self._waiting.get(pair) is decision:
                del self._waiting[pair]

    async def _publish(self, decision: Decision) -> bool:
        topic = topics.decision(decision.zone, decision.family)
        try:
            await self._bus.publish(topic, decision_to_json(decision), retain=True)
        except NotReady:
            return False
        return True

    async def _until_changed(self) -> None:
        """Until there is a decision to announce, or the broker went away."""
        self._changed.clear()
        waits = [asyncio.ensure_future(self._changed.wait()), asyncio.ensure_future(self._bus.disconnected.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
