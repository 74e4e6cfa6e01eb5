"""What is decided for every zone and family: the selector's memory, without clock, bus or database."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from selector_service.deciding import Desk, PolicyState
from selector_service.zone_history import Outlook, RangeRule, Settlement, ZoneHistory
from tradewind.decisions import Decision
from tradewind.logs import get_logger
from tradewind.readings import Reading

log = get_logger(__name__)

CLOCK_SKEW = timedelta(seconds=30)
"""By how much the clocks of two replicas may differ."""

Pair = tuple[str, str]
"""A zone and a family."""


@dataclass(frozen=True, slots=True)
class Merged:
    """What a number of readings changed."""

    news: tuple[Reading, ...] = ()
    """Those that were not known, or that replace what was."""
    settlements: tuple[Settlement, ...] = ()
    """Those that now count for their interval."""

    @property
    def zones(self) -> set[str]:
        """The zones that may need another decision."""
        return {settlement.now.zone for settlement in self.settlements}


@dataclass(frozen=True, slots=True)
class Proposal:
    """A decision that is to come into force, and what its policy remembers then."""

    decision: Decision
    state: PolicyState | None


class Selector:
    """Histories, policies and the decisions in force."""

    def __init__(self, desks: Sequence[Desk], rule: RangeRule, zones: Sequence[str] = ()) -> None:
        self.rule = rule
        self.desks = {desk.name: desk for desk in desks}
        self.in_force: dict[Pair, Decision] = {}
        self.states: dict[Pair, PolicyState] = {}
        self.served_totals: Mapping[Pair, Mapping[str, int]] = {}
        self.needed_since: dict[str, datetime] = {}
        """Per zone the beginning of what windows may still need."""
        self._only = frozenset(zones)
        self._histories: dict[str, ZoneHistory] = {}
        self._next_change: dict[str, datetime] = {}
        self._failing: set[Pair] = set()
        for zone in zones:
            self._history(zone)

    def follows(self, zone: str) -> bool:
        """True for the zones that the settings name; for every one when they name none."""
        return not self._only or zone in self._only

    @property
    def learns(self) -> bool:
        """True when a policy remembers, and so may look at what was served."""
        desks = [each for desk in self.desks.values() for each in (desk, *desk.zones.values())]
        return any(desk.policy.initial_state() for desk in desks)

    @property
    def zones(self) -> tuple[str, ...]:
        """Every zone named or heard of."""
        return tuple(self._histories)

    def _history(self, zone: str) -> ZoneHistory:
        history = self._histories.get(zone)
        if history is None:
            history = self._histories[zone] = ZoneHistory(zone, self.rule)
        return history

    def merge(self, readings: Iterable[Reading]) -> Merged:
        """Takes readings in any order, known ones included."""
        news: list[Reading] = []
        settlements: list[Settlement] = []
        for reading in readings:
            if not self.follows(reading.zone) or reading.signal is not self.rule.signal:
                continue
            new, settlement = self._history(reading.zone).put(reading)
            if new:
                news.append(reading)
            if settlement is not None:
                settlements.append(settlement)
        return Merged(tuple(news), tuple(settlements))

    def propose(self, zones: Iterable[str], now: datetime) -> list[Proposal]:
        """The decisions of these zones that differ from those in force."""
        proposals: list[Proposal] = []
        for zone in zones:
            for desk in (each.of(zone) for each in self.desks.values()):
                try:
                    proposal = self._propose(self._history(zone), desk, now)
                except Exception:
                    # One family's policy must not stop the others.
                    if (zone, desk.name) not in self._failing:
                        log.exception("a policy failed: its last decision stays", family=desk.name)
                    self._failing.add((zone, desk.name))
                    continue
                self._failing.discard((zone, desk.name))
                if proposal is not None:
                    proposals.append(proposal)
        return proposals

    def _propose(self, history: ZoneHistory, desk: Desk, now: datetime) -> Proposal | None:
        latest = self.in_force.get((history.zone, desk.name))
        moment = now
        if latest is not None and now < latest.valid_from < now + CLOCK_SKEW:
            # A replica whose clock is ahead has decided for the next interval already: never go back.
            moment = latest.valid_from
        outlook = history.outlook(moment)
        if outlook is None:
            if latest is not None:
                return None
            decision, state = desk.without_reading(history.zone, now, self.rule.window), None
        else:
            decision, state = self._select(desk, outlook, moment)
        if latest is not None and decision.id == latest.id:
            return None
        revision = 1 if latest is None else latest.revision + 1
        return Proposal(replace(decision, revision=revision, decided_at=now), state)

    def _select(self, desk: Desk, outlook: Outlook, moment: datetime) -> tuple[Decision, PolicyState | None]:
        zone, current = outlook.current.zone, outlook.current
        pair = (zone, desk.name)
        known = self.states.get(pair)
        totals = self.served_totals.get(pair, {})
        before: Mapping[str, Any]
        served: Mapping[str, float] = {}
        served_until: Mapping[str, int] = totals
        if known is None or known.policy != desk.policy_key:
            before = desk.policy.initial_state()
        elif current.valid_from > known.interval_from and not outlook.stale:
            before = known.after
            served = {name: total - known.served_until.get(name, 0) for name, total in totals.items()}
        else:
            before, served, served_until = known.before, known.served, known.served_until
        decision, after = desk.select(outlook, moment, before, served)
        if outlook.stale or not (before or after):
            return decision, None
        return decision, PolicyState(
            zone, desk.name, desk.policy_key, current.valid_from, before, after, served, served_until
        )

    def adopt(self, decision: Decision, state: PolicyState | None = None) -> None:
        """Puts a decision in force."""
        self.in_force[decision.zone, decision.family] = decision
        if state is not None:
            self.states[decision.zone, decision.family] = state

    def note_changes(self, zones: Iterable[str], now: datetime) -> None:
        """Notes when these zones may change by the passing of time alone, and forgets what no window needs."""
        for zone in zones:
            history = self._history(zone)
            following = history.next_change(now)
            if following is None:
                self._next_change.pop(zone, None)
            else:
                self._next_change[zone] = following
            outlook = history.outlook(now)
            if outlook is not None:
                self.needed_since[zone] = outlook.current.valid_from - 2 * self.rule.window
                history.forget(self.needed_since[zone])

    def next_change(self) -> datetime | None:
        """The next time at which another reading may hold somewhere."""
        return min(self._next_change.values(), default=None)

    def due(self, now: datetime) -> set[str]:
        """The zones whose next change has come."""
        return {zone for zone, moment in self._next_change.items() if moment <= now}

    def without_reading(self, zone: str, family: str, now: datetime) -> Decision:
        """The answer for a zone nobody has heard of: the fallback, unnumbered."""
        return self.desks[family].of(zone).without_reading(zone, now, self.rule.window)

    def window_readings(self, zones: Iterable[str], now: datetime) -> list[Reading]:
        """The readings that count in the window up to now, zone by zone in order of time."""
        return [
            reading
            for zone in zones
            if zone in self._histories
            for reading in self._histories[zone].settled(now - self.rule.window, now)
        ]

    def restatements(self, settlements: Iterable[Settlement], now: datetime) -> list[Reading]:
        """Readings of intervals that have begun and were announced otherwise, or not at all, before."""
        restated: dict[tuple[str, datetime], Reading] = {}
        for settlement in settlements:
            reading = settlement.now
            begun = reading.valid_from <= now
            # A new current reading travels with the decision made for it.
            if begun and (settlement.before is not None or not reading.holds_at(now)):
                restated[reading.zone, reading.valid_from] = reading
        return list(restated.values())
