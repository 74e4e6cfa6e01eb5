"""Decisions on the bus: one retained message per zone and family, again after every outage of the broker."""

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

from selector_service.selector import Pair
from tradewind import topics
from tradewind.bus import Bus
from tradewind.decisions import Decision, decision_to_json
from tradewind.errors import NotPermitted, NotReady

LONGEST_PAUSE_S = 0.5

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
                # A tenth of the time at most: what changes again meanwhile is announced once.
                await asyncio.sleep(min(LONGEST_PAUSE_S, 9 * (time.monotonic() - started)))
            else:
                await self._until_changed()

    async def _announce(self) -> None:
        waiting = list(self._waiting)
        for first in range(0, len(waiting), AT_ONCE):
            await asyncio.gather(*(self._publish(pair) for pair in waiting[first : first + AT_ONCE]))

    async def _publish(self, pair: Pair) -> None:
        decision = self._waiting[pair]
        with suppress(NotReady, NotPermitted):  # It waits, also where the broker refuses it.
            await self._bus.publish(topics.decision(*pair), decision_to_json(decision), retain=True)
            if self._waiting.get(pair) is decision:
                del self._waiting[pair]

    async def _until_changed(self) -> None:
        """Until there is a decision to announce, or the broker went away."""
        self._changed.clear()
        waits = [asyncio.ensure_future(self._changed.wait()), asyncio.ensure_future(self._bus.disconnected.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
