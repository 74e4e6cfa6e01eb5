"""What is still to be stored: decisions never wait long for a database, and nothing is lost while it is away."""

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from sqlalchemy.exc import SQLAlchemyError

from selector_service.deciding import PolicyState
from selector_service.selector import Pair, Proposal
from selector_service.store import Round, Store, Stored
from tradewind.decisions import Decision
from tradewind.logs import get_logger
from tradewind.readings import Reading, ReadingKey

log = get_logger(__name__)

PATIENCE_S = 1.0
"""How long a decision waits for its transaction before it is announced without."""

RETRY_S = 0.5
"""How soon a database that failed is tried again."""

MOST_WAITING = 200_000
"""Readings, and decisions, that may wait for a database; beyond it the oldest are given up, and the log says so."""


@dataclass(slots=True)
class Storekeeper:
    """One transaction at a time, off the event loop."""

    store: Store
    seen: int = 0
    """The newest change that is known here."""
    away: bool = False
    _readings: dict[ReadingKey, Reading] = field(default_factory=dict)
    _sent_readings: dict[ReadingKey, Reading] = field(default_factory=dict)
    """Those of the transaction that is under way."""
    _backlog: list[Decision] = field(default_factory=list)
    """Decisions that were announced and are not stored."""
    _states: dict[Pair, PolicyState] = field(default_factory=dict)
    _running: asyncio.Task[tuple[bool, Stored]] | None = None
    _sent: Round = field(default_factory=Round)
    _gave_up: bool = False
    _retry_at: float = 0.0

    @property
    def waiting(self) -> int:
        """How many readings and decisions are not stored yet."""
        return len(self._readings) + len(self._sent_readings) + len(self._backlog)

    def keep(self, readings: Iterable[Reading]) -> None:
        """Takes readings to store with the next round."""
        for reading in readings:
            self._readings[reading.key] = reading
        while self._readings and len(self._readings) + len(self._sent_readings) > MOST_WAITING:
            self._readings.pop(next(iter(self._readings)))
            self._give_up()

    async def save(self, proposals: Sequence[Proposal]) -> Stored | None:
        """Stores what waits and the proposals; None when that is done or must wait for the database.

        Otherwise what others wrote meanwhile: merge it, `reconcile`, propose again and save again.
        """
        if self._running is not None:
            stored = await self._end_of(self._running)
            if stored is not None:
                return stored
        if self._running is None and time.monotonic() >= self._retry_at:
            writes = self._round(proposals)
            if not (writes.readings or writes.decisions or writes.states):
                return None
            self._sent = writes
            self._sent_readings, self._readings = self._readings, {}
            self._running = asyncio.create_task(asyncio.to_thread(self.store.commit, self.seen, writes))
            stored = await self._end_of(self._running)
            if stored is not None:
                return stored
        if self.away:
            self._remember(proposals)
        return None

    def _round(self, proposals: Sequence[Proposal]) -> Round:
        states = {_pair(proposal.decision): proposal.state for proposal in proposals if proposal.state is not None}
        return Round(
            list(self._readings.values()),
            [*self._backlog, *(proposal.decision for proposal in proposals)],
            list({**self._states, **states}.values()),
        )

    async def _end_of(self, running: asyncio.Task[tuple[bool, Stored]]) -> Stored | None:
        await asyncio.wait({running}, timeout=PATIENCE_S if not self.away else 0.05)
        if not running.done():
            self._went_away("it is slow")
            return None
        self._running = None
        try:
            alone, stored = running.result()
        except Exception as error:
            # What came meanwhile is newer.
            self._readings, self._sent_readings = {**self._sent_readings, **self._readings}, {}
            if not isinstance(error, SQLAlchemyError):
                raise
            self._went_away(type(error).__name__)
            self._retry_at = time.monotonic() + RETRY_S
            return None
        if self.away:
            log.info("database is back", readings=self.waiting - len(self._backlog), decisions=len(self._backlog))
        self.away, self._gave_up = False, False
        self.seen = stored.change
        self._forget_sent(with_decisions=alone)
        return None if alone else stored

    def _went_away(self, why: str) -> None:
        if not self.away:
            log.warning("database is away: decisions go on from memory", why=why)
        self.away = True

    def _forget_sent(self, *, with_decisions: bool) -> None:
        self._sent_readings = {}
        if with_decisions:
            written = {id(decision) for decision in self._sent.decisions}
            self._backlog = [decision for decision in self._backlog if id(decision) not in written]
            for state in self._sent.states:
                if self._states.get((state.zone, state.family)) is state:
                    del self._states[state.zone, state.family]

    def _remember(self, proposals: Iterable[Proposal]) -> None:
        for proposal in proposals:
            self._backlog.append(proposal.decision)
            if proposal.state is not None:
                self._states[_pair(proposal.decision)] = proposal.state
        if len(self._backlog) > MOST_WAITING:
            del self._backlog[: len(self._backlog) - MOST_WAITING]
            self._give_up()

    def _give_up(self) -> None:
        if not self._gave_up:
            log.error("the database is away for too long: the oldest of what waits is given up", most=MOST_WAITING)
        self._gave_up = True

    def reconcile(self, foreign: Sequence[Decision]) -> list[Decision]:
        """Numbers what was announced here after what others stored meanwhile; the newest of it is in force last."""
        renumbered: list[Decision] = []
        for pair in dict.fromkeys(_pair(decision) for decision in self._backlog):
            own = [decision for decision in self._backlog if _pair(decision) == pair]
            others = [decision for decision in foreign if _pair(decision) == pair]
            if not others:
                continue
            known = {decision.id for decision in others}
            top = max(decision.revision for decision in others)
            unknown = [decision for decision in own if decision.id not in known]
            if not unknown and own[-1].revision > top:
                unknown = own[-1:]  # Watchers have seen a higher number: there must be one above it.
            first = max(top, own[-1].revision) + 1
            numbered = [replace(decision, revision=first + index) for index, decision in enumerate(unknown)]
            self._backlog = [decision for decision in self._backlog if _pair(decision) != pair] + numbered
            renumbered += numbered
        return renumbered

    async def close(self) -> None:
        """Waits for the transaction that is under way."""
        if self._running is not None:
            await asyncio.wait({self._running}, timeout=PATIENCE_S)


def _pair(decision: Decision) -> Pair:
    return decision.zone, decision.family
