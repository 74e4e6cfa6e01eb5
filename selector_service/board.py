"""The decisions in force, ready to send: answers for Decide, and events for those who watch."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence

from selector_service.selector import Pair
from tradewind.decisions import Decision
from tradewind.messages import decision_to_wire, reading_to_wire
from tradewind.readings import Reading
from tradewind.rpc.v1 import selector_pb2

MOST_PENDING = 1_000
"""Events that a watcher may lag behind; beyond it they are dropped for a new snapshot."""

WindowReadings = Callable[[Sequence[str]], Iterable[Reading]]
"""The readings of the window of some zones; of every zone where none is named."""


class Watcher:
    """One call of WatchDecisions."""

    def __init__(self, zones: Sequence[str], families: Sequence[str]) -> None:
        self._zones = frozenset(zones)
        self._families = frozenset(families)
        self.pending: deque[bytes] = deque()
        self.lagging = False
        self.ready = asyncio.Event()

    def wants(self, zone: str, family: str | None = None) -> bool:
        """True when the call asked for this zone and family, or for every one."""
        return (not self._zones or zone in self._zones) and (
            family is None or not self._families or family in self._families
        )

    def push(self, event: bytes) -> None:
        """Adds an event; one too many drops them all for a new snapshot."""
        if self.lagging:
            return
        if len(self.pending) >= MOST_PENDING:
            self.pending.clear()
            self.lagging = True
        else:
            self.pending.append(event)
        self.ready.set()


class Board:
    """What is in force, serialised once however many ask."""

    def __init__(
        self,
        window_readings: WindowReadings,
        without_reading: Callable[[str, str], Decision],
        families: Sequence[str],
    ) -> None:
        self.answers: dict[bytes, bytes] = {}
        """Serialised DecideRequest to serialised DecideResponse."""
        self.in_force: dict[Pair, Decision] = {}
        self._window_readings = window_readings
        self._without_reading = without_reading
        self._families = families
        self._watchers: set[Watcher] = set()

    def put(self, decision: Decision) -> None:
        """Puts a decision in force and tells those who watch it."""
        pair = (decision.zone, decision.family)
        self.in_force[pair] = decision
        wire = decision_to_wire(decision)
        request = selector_pb2.DecideRequest(zone=decision.zone, family=decision.family)
        self.answers[request.SerializeToString()] = selector_pb2.DecideResponse(decision=wire).SerializeToString()
        event = selector_pb2.WatchDecisionsResponse(decision=wire).SerializeToString()
        for watcher in self._watchers:
            if watcher.wants(*pair):
                watcher.push(event)

    def restate(self, reading: Reading) -> None:
        """Tells those who watch the zone that a reading restates an interval."""
        if not self._watchers:
            return
        event = selector_pb2.WatchDecisionsResponse(restated=reading_to_wire(reading)).SerializeToString()
        for watcher in self._watchers:
            if watcher.wants(reading.zone):
                watcher.push(event)

    def unheard(self, zone: str, family: str) -> bytes:
        """The answer for a zone nobody has heard of: the fallback, unnumbered."""
        wire = decision_to_wire(self._without_reading(zone, family))
        return selector_pb2.DecideResponse(decision=wire).SerializeToString()

    async def watch(self, zones: Sequence[str], families: Sequence[str]) -> AsyncIterator[bytes]:
        """A snapshot, then every change in order; a snapshot again after lagging behind."""
        watcher = Watcher(zones, families)
        self._watchers.add(watcher)
        try:
            yield self._snapshot(watcher, zones, families)
            while True:
                await watcher.ready.wait()
                while watcher.pending:
                    yield watcher.pending.popleft()
                watcher.ready.clear()
                if watcher.lagging:
                    watcher.lagging = False
                    yield self._snapshot(watcher, zones, families)
        finally:
            self._watchers.discard(watcher)

    def _snapshot(self, watcher: Watcher, zones: Sequence[str], families: Sequence[str]) -> bytes:
        known = [decision for pair, decision in self.in_force.items() if watcher.wants(*pair)]
        asked = ((zone, family) for zone in dict.fromkeys(zones) for family in families or self._families)
        unheard = [self._without_reading(*pair) for pair in asked if pair not in self.in_force]
        snapshot = selector_pb2.DecisionSnapshot(
            decisions=[decision_to_wire(decision) for decision in [*known, *unheard]],
            readings=[reading_to_wire(reading) for reading in self._window_readings(zones)],
        )
        return selector_pb2.WatchDecisionsResponse(snapshot=snapshot).SerializeToString()
