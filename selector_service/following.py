"""The selector's loop: what the bus brings and what time brings, decided, stored and announced in turn."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol

from selector_service.selector import Merged, Pair, Selector
from selector_service.store import Stored
from selector_service.storekeeping import Storekeeper
from tradewind.bus import Message
from tradewind.decisions import Decision
from tradewind.logs import get_logger
from tradewind.readings import Reading

log = get_logger(__name__)

RETRY_S = 0.5
"""How soon a database that is away is tried again when nothing else happens."""

LONGEST_LINGER_S = 0.02

LONGEST_POSTPONEMENT_S = 0.5
"""Deciding takes a tenth of the time at most, unless what holds now has changed; history waits this long for it."""

LONGEST_SLEEP_S = 60.0
"""A clock that is set while we sleep is noticed within this time."""


class Inbox(Protocol):
    """Where messages come from; the bus."""

    async def messages(self, at_most: int = 1_000, *, expected: int = 1, within_s: float = 0.0) -> list[Message]:
        """At least one message; for as many as are expected it waits so long."""
        ...

    def done(self, messages: Sequence[Message]) -> None:
        """They need not come again."""
        ...


class Outbox(Protocol):
    """Who is told; all at once, in order."""

    def decided(self, decision: Decision) -> None:
        """A decision came into force."""
        ...

    def restated(self, reading: Reading) -> None:
        """A reading restates an interval."""
        ...


def utc_now() -> datetime:
    """The real clock."""
    return datetime.now(UTC)


ServedTotals = Callable[[], Awaitable[Mapping[Pair, Mapping[str, int]] | None]]
"""Inferences ever reported, per zone and family, per variant; None when they cannot be had now."""


async def nobody_reports() -> None:
    """No totals: policies take it that what they decided was served."""


class Follower:
    """One task that owns the selector's memory: everything that changes it goes through here, in turn."""

    def __init__(
        self,
        selector: Selector,
        keeper: Storekeeper,
        outbox: Outbox,
        read: Callable[[Iterable[Message]], list[Reading]],
        clock: Callable[[], datetime] = utc_now,
        served_totals: ServedTotals = nobody_reports,
    ) -> None:
        self._selector = selector
        self._keeper = keeper
        self._outbox = outbox
        self._read = read
        self._clock = clock
        self._served_totals = served_totals
        self._turn = asyncio.Lock()
        self._undecided: set[str] = set()
        self._restated: list[Reading] = []
        self._decide_at = 0.0
        self._announced: dict[tuple[str, str], tuple[int, str]] = {}

    async def run(self, inbox: Inbox) -> None:
        """Follows until cancelled."""
        arriving: asyncio.Task[list[Message]] | None = None
        expected, within_s = 1, 0.0
        try:
            while True:
                # As many as last time share the next transaction: under load the rounds grow, not their number.
                arriving = arriving or asyncio.create_task(inbox.messages(expected=expected, within_s=within_s))
                await asyncio.wait({arriving}, timeout=self._sleep_s())
                messages: list[Message] = []
                if arriving.done():
                    messages, arriving = arriving.result(), None
                began = time.monotonic()
                await self._hear_safely(messages)
                inbox.done(messages)
                expected, within_s = len(messages), min(LONGEST_LINGER_S, time.monotonic() - began)
        finally:
            if arriving is not None:
                arriving.cancel()

    async def _hear_safely(self, messages: Sequence[Message]) -> None:
        try:
            await self.hear(self._read(messages))
        except Exception:
            # Whatever this was, the next readings must still be decided on.
            log.exception("a round of readings failed", messages=len(messages))
            self._decide_at = time.monotonic() + RETRY_S

    def _sleep_s(self) -> float:
        if self._undecided:
            return max(0.0, self._decide_at - time.monotonic())
        if self._keeper.away or self._keeper.waiting:
            return RETRY_S
        following = self._selector.next_change()
        if following is None:
            return LONGEST_SLEEP_S
        # A zone that fell due while its database answered is decided at once.
        return min(LONGEST_SLEEP_S, max(0.0, (following - self._clock()) / timedelta(seconds=1)))

    async def hear(self, readings: Iterable[Reading]) -> None:
        """Settles readings and whatever is due; a flood of history is decided now and then, not one by one."""
        async with self._turn:
            now = self._clock()
            urgent = self._merge(readings, now) or self._selector.due(now)
            if urgent or time.monotonic() >= self._decide_at:
                await self._decide(now)
            elif (stored := await self._keeper.save(())) is not None:
                self._merge_stored(stored, now)

    async def take(self, readings: Iterable[Reading], also: Iterable[str] = ()) -> None:
        """Settles readings and whatever is due: decides, stores, then tells."""
        async with self._turn:
            now = self._clock()
            self._merge(readings, now)
            self._undecided.update(also)
            await self._decide(now)

    def _merge(self, readings: Iterable[Reading], now: datetime) -> bool:
        """True when what holds now may have changed."""
        merged = self._selector.merge(readings)
        self._keeper.keep(merged.news)
        self._note(merged, now)
        return any(settlement.now.holds_at(now) for settlement in merged.settlements)

    def _merge_stored(self, stored: Stored, now: datetime) -> None:
        """What another replica wrote."""
        self._note(self._selector.merge(stored.readings), now)
        self._adopt_foreign(stored.decisions)
        for state in stored.states:
            self._selector.states[state.zone, state.family] = state
        self._undecided.update(decision.zone for decision in stored.decisions)

    def _note(self, merged: Merged, now: datetime) -> None:
        self._undecided |= merged.zones
        self._restated += self._selector.restatements(merged.settlements, now)

    async def _decide(self, now: datetime) -> None:
        started = time.monotonic()
        self._undecided |= self._selector.due(now)
        if self._selector.learns and (totals := await self._served_totals()) is not None:
            self._selector.served_totals = totals
        proposals = self._selector.propose(self._undecided, now)
        while (stored := await self._keeper.save(proposals)) is not None:
            # Another replica wrote in between: what it knows first, then our own conclusion.
            self._merge_stored(stored, now)
            proposals = self._selector.propose(self._undecided, now)
        for proposal in proposals:
            self._selector.adopt(proposal.decision, proposal.state)
        zones, restated = self._undecided, self._restated
        self._undecided, self._restated = set(), []
        self._selector.note_changes(zones, now)
        self._tell(restated, zones)
        taken = time.monotonic() - started
        self._decide_at = started + taken + min(LONGEST_POSTPONEMENT_S, 9 * taken)

    def _adopt_foreign(self, decisions: Sequence[Decision]) -> None:
        for decision in [*decisions, *self._keeper.reconcile(decisions)]:
            known = self._selector.in_force.get((decision.zone, decision.family))
            if known is None or decision.revision > known.revision:
                self._selector.adopt(decision)

    def _tell(self, restated: Iterable[Reading], zones: Iterable[str]) -> None:
        for reading in restated:
            self._outbox.restated(reading)
        for zone in zones:
            for family in self._selector.desks:
                decision = self._selector.in_force.get((zone, family))
                if decision is None or self._announced.get((zone, family)) == (decision.revision, decision.id):
                    continue
                self._announced[zone, family] = (decision.revision, decision.id)
                self._outbox.decided(decision)
