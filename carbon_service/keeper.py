"""The one writer of the store: judges claims, keeps what passes and what does not, and says who has to hear of it.

Everything here runs in one thread. What a zone remembers in memory (its gate, what holds now) is rebuilt from the
store whenever a transaction fails, so memory never runs ahead of what is stored.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection, Engine, func, select

from carbon_service import queries, writes
from carbon_service.announcements import (
    Announcement,
    current_announcement,
    forecast_announcement,
    revision_announcement,
)
from carbon_service.observations import Claim, Reason, claim_of
from carbon_service.present import Present, forecast_of
from carbon_service.queries import Interval, interval_of
from carbon_service.rules import Rules
from carbon_service.store import outbox, quarantine
from tradewind.plausibility import Gate, Verdict, held_in_order, judge_alone
from tradewind.readings import Reading, ReadingKey, ReadingKind, Signal, best_first, from_json, supersedes


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a claim."""

    accepted: bool
    verdict: str
    explanation: str


@dataclass(frozen=True, slots=True)
class Change:
    """A reading that those who watch a zone have to hear of."""

    reading: Reading
    restates: bool
    """True when its interval was announced before, or is not the current one."""


@dataclass(slots=True)
class Taken:
    """What a batch of claims, or the passing of time, has led to."""

    outcomes: list[Outcome] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    announcements: list[Announcement] = field(default_factory=list)
    settled: list[Reading] = field(default_factory=list)
    """The best reading of each interval that changed, of the signal that its zone announces."""
    quarantined: list[str] = field(default_factory=list)
    """The reason of each claim that was put in quarantine."""


@dataclass(slots=True)
class _Zone:
    """What is remembered of a zone."""

    present: Present
    gates: dict[Signal, Gate]
    announced: Reading | None = None
    """The reading that the zone's retained topic holds, or will once the outbox is empty."""


@dataclass(slots=True)
class _Batch:
    """What a batch of claims amounts to before it is written."""

    accepted: list[Reading] = field(default_factory=list)
    quarantined: list[tuple[Claim, str, str]] = field(default_factory=list)
    released: list[Reading] = field(default_factory=list)
    ended: dict[str, int] = field(default_factory=dict)


class Keeper:
    """Keeps the store of one service."""

    def __init__(self, engine: Engine, rules: Rules) -> None:
        self._engine = engine
        self._rules = rules
        self._zones: dict[str, _Zone] = {}
        self._known: set[str] | None = None
        self._unheard: dict[tuple[str, str], Announcement] | None = None
        self._next_id = 1

    def load(self, now: datetime) -> list[Reading]:
        """Remembers every zone of the store; what holds now or held last in each."""
        with self._engine.begin() as connection:
            self._load_outbox(connection)
            zones = [self._zone(connection, zone, now) for zone in sorted(self._known or ())]
        lasts = [zone.present.last(now) for zone in zones]
        return [reading for reading in lasts if reading is not None] + [
            reading for zone in zones for reading in zone.present.ahead(now)
        ]

    def take(self, claims: Sequence[Claim], now: datetime) -> Taken:
        """Judges and stores claims in one transaction; when it fails, nothing has happened."""
        taken = Taken()
        touched = {claim.zone for claim in claims}
        try:
            with self._engine.begin() as connection:
                self._load_outbox(connection)
                batch = self._judge(connection, claims, now, taken)
                self._write_quarantine(connection, batch, now)
                changed = self._write_readings(connection, batch.accepted)
                self._settle(connection, {reading.zone for reading, _ in changed}, changed, now, taken)
        except BaseException:
            self._forget(touched)
            raise
        return taken

    def refresh(self, zones: Iterable[str], now: datetime) -> Taken:
        """Announces what has become current by the passing of time."""
        taken = Taken()
        names = list(zones)
        try:
            with self._engine.begin() as connection:
                self._load_outbox(connection)
                self._settle(connection, names, [], now, taken)
        except BaseException:
            self._forget(names)
            raise
        return taken

    def retained(self, now: datetime) -> list[Announcement]:
        """What the broker's retained topics should hold, for a broker that may have lost it; unheard things first."""
        with self._engine.begin() as connection:
            self._load_outbox(connection)
            for zone in sorted(self._known or ()):
                self._zone(connection, zone, now)
        repeated = [each for name, zone in self._zones.items() for each in self._retained_of(name, zone, now)]
        unheard = self._unheard or {}
        return [*unheard.values(), *(each for each in repeated if each.slot not in unheard)]

    def heard(self, announcements: Sequence[Announcement]) -> None:
        """Forgets announcements that the broker has acknowledged."""
        stored = [each for each in announcements if each.id]
        if not stored:
            return
        with self._engine.begin() as connection:
            writes.remove_heard(connection, [each.id for each in stored])
        unheard = self._unheard or {}
        for each in stored:
            if (waiting := unheard.get(each.slot)) is not None and waiting.id == each.id:
                del unheard[each.slot]

    def forget_older(self, oldest: datetime, most_quarantined: int) -> None:
        """Applies the retention."""
        with self._engine.begin() as connection:
            writes.forget_older(connection, oldest, most_quarantined)

    def begin_replay(self, zone: str, fingerprint: str, source: str, now: datetime, first: datetime) -> None:
        """Notes that a replay begins now; what an earlier one said of the time from `first` on goes."""
        with self._engine.begin() as connection:
            writes.begin_replay(connection, zone, fingerprint, now, source, first)
        self._forget([zone])

    def replay_start(self, zone: str, fingerprint: str) -> datetime | None:
        """When this very replay began; None when it never did."""
        with self._engine.connect() as connection:
            return writes.replay_start(connection, zone, fingerprint)

    # Judging.

    def _judge(self, connection: Connection, claims: Sequence[Claim], now: datetime, taken: Taken) -> _Batch:
        batch = _Batch()
        for claim in claims:
            outcome = self._judge_one(connection, claim, now, batch)
            taken.outcomes.append(outcome)
            if not outcome.accepted:
                batch.quarantined.append((claim, outcome.verdict, outcome.explanation))
                taken.quarantined.append(outcome.verdict)
        return batch

    def _judge_one(self, connection: Connection, claim: Claim, now: datetime, batch: _Batch) -> Outcome:
        reading = claim.reading
        if reading is None:
            return Outcome(False, claim.reason, claim.explanation)
        if claim.publisher is not None and not self._rules.may_publish(claim.publisher, claim.zone):
            why = f"publisher {claim.publisher} may not speak for zone {claim.zone}: name it in the zones file"
            return Outcome(False, Reason.NOT_PERMITTED, why)
        if claim.zone not in self._zones and len(self._zones) >= self._rules.max_zones:
            return Outcome(False, Reason.TOO_MANY_ZONES, f"there are {self._rules.max_zones} zones already")
        # A zone is remembered once it has a reading: names alone must not fill the memory.
        judgement = judge_alone(reading, now, self._rules.gate_limits(claim.zone))
        if judgement.accepted:
            judgement = self._gate(connection, claim.zone, reading.signal, now).judge(reading, now)
        batch.accepted.extend(judgement.released)
        batch.released.extend(judgement.released)
        lasted = len({held.valid_from for held in judgement.dropped})
        batch.ended.update({claim_of(held, now).digest: lasted for held in judgement.dropped})
        if judgement.accepted:
            batch.accepted.append(reading)
        return Outcome(judgement.accepted, judgement.verdict.value, judgement.explanation)

    def _write_quarantine(self, connection: Connection, batch: _Batch, now: datetime) -> None:
        writes.put_in_quarantine(connection, batch.quarantined, now)
        writes.release(connection, [claim_of(reading, now).digest for reading in batch.released], now)
        writes.note_end(connection, batch.ended)

    # Storing.

    def _write_readings(self, connection: Connection, accepted: list[Reading]) -> list[tuple[Reading, bool]]:
        """Stores readings; the best reading of each interval that changed, and whether it had one before."""
        intervals = list(dict.fromkeys(interval_of(reading) for reading in accepted))
        stored = queries.readings_of_intervals(connection, intervals)
        before = _best_by_interval(stored.values())
        written, replaced = _newest_versions(accepted, stored)
        writes.keep_versions(connection, replaced)
        if replaced:
            counts = queries.revisions_of(connection, list({reading.key for reading in replaced}))
            for key, count in counts.items():
                written[key] = stored[key] = stored[key].with_revision(count)
        writes.upsert_readings(connection, written.values())
        after = _best_by_interval(stored.values())
        return [(reading, interval in before) for interval, reading in after.items() if before.get(interval) != reading]

    def _settle(
        self,
        connection: Connection,
        zones: Iterable[str],
        changed: Sequence[tuple[Reading, bool]],
        now: datetime,
        taken: Taken,
    ) -> None:
        """Works out what the changed intervals, or the passing of time, make current, and who has to hear what."""
        by_zone: dict[str, list[tuple[Reading, bool]]] = {zone: [] for zone in zones}
        for reading, known in changed:
            if reading.signal is self._rules.signal(reading.zone):
                by_zone[reading.zone].append((reading, known))
                taken.settled.append(reading)
        announcements: list[Announcement] = []
        for name, readings in by_zone.items():
            zone = self._zone(connection, name, now)
            announcements += self._settle_zone(name, zone, readings, now, taken)
        self._put_in_outbox(connection, announcements, taken)

    def _settle_zone(
        self, name: str, zone: _Zone, changed: list[tuple[Reading, bool]], now: datetime, taken: Taken
    ) -> list[Announcement]:
        for reading, _ in changed:
            zone.present.put(reading, now)
        announcements: list[Announcement] = []
        current = zone.present.current(now)
        displaced = None
        if current is not None and current != zone.announced:
            displaced = self._displaced(zone.announced, current)
            restates = any(known and reading == current for reading, known in changed)
            taken.changes.append(Change(current, restates))
            announcements.append(current_announcement(current, self._rules.grace))
            zone.announced = current
        others = [reading for reading, _ in changed if reading != current and reading.valid_from <= now]
        taken.changes += [Change(reading, True) for reading in others]
        if displaced is not None and all(reading.valid_from != displaced.valid_from for reading in others):
            others.append(displaced)
        announcements += [revision_announcement(reading) for reading in sorted(others, key=lambda r: r.valid_from)]
        if any(reading.valid_to > now and reading.kind is ReadingKind.FORECAST for reading, _ in changed):
            forecast = forecast_of(zone.present, now)
            announcements.append(forecast_announcement(name, forecast, self._rules.grace))
        return announcements

    def _displaced(self, announced: Reading | None, current: Reading) -> Reading | None:
        """A reading whose announcement the new one overtakes before the bus has heard it: it is heard as history."""
        if announced is None or announced.valid_from == current.valid_from:
            return None
        unheard = self._unheard or {}
        slot = current_announcement(announced, self._rules.grace).slot
        return announced if slot in unheard else None

    def _put_in_outbox(self, connection: Connection, announcements: list[Announcement], taken: Taken) -> None:
        numbered = []
        for each in {each.slot: each for each in announcements}.values():
            numbered.append(each.numbered(self._next_id))
            self._next_id += 1
        writes.put_in_outbox(connection, numbered)
        if self._unheard is not None:
            for each in numbered:
                self._unheard.pop(each.slot, None)
                self._unheard[each.slot] = each
        taken.announcements += numbered

    # Remembering.

    def _load_outbox(self, connection: Connection) -> None:
        if self._unheard is not None:
            return
        self._known = {zone for zone, _ in queries.known_zones(connection)}
        waiting = writes.unheard(connection)
        newest = connection.execute(select(func.max(outbox.c.id))).scalar_one_or_none()
        self._next_id = max(self._next_id, (newest or 0) + 1)
        self._unheard = {each.slot: each for each in waiting}

    def _forget(self, zones: Iterable[str]) -> None:
        """After a failed transaction: memory is rebuilt from the store when it is needed next."""
        for zone in zones:
            self._zones.pop(zone, None)
        self._unheard = None

    def _zone(self, connection: Connection, name: str, now: datetime) -> _Zone:
        zone = self._zones.get(name)
        if zone is None:
            zone = self._zones[name] = _Zone(self._load_present(connection, name, now), {})
            zone.announced = zone.present.last(now)
        return zone

    def _load_present(self, connection: Connection, name: str, now: datetime) -> Present:
        signal, present = self._rules.signal(name), Present()
        newest = queries.newest_start(connection, name, signal, now)
        longest = self._rules.gate_limits(name).longest_interval
        since = now if newest is None else min(newest, now - longest)
        for reading in queries.best_since(connection, name, signal, since):
            present.put(reading, now)
        return present

    def _gate(self, connection: Connection, name: str, signal: Signal, now: datetime) -> Gate:
        if self._known is not None:
            self._known.add(name)
        zone = self._zone(connection, name, now)
        gate = zone.gates.get(signal)
        if gate is None:
            gate = zone.gates[signal] = self._load_gate(connection, name, signal, now)
        return gate

    def _load_gate(self, connection: Connection, name: str, signal: Signal, now: datetime) -> Gate:
        limits = self._rules.gate_limits(name)
        gate = Gate(limits)
        newest = queries.newest_start(connection, name, signal, now + limits.forecast_horizon)
        if newest is None:
            return gate
        for reading in queries.best_since(connection, name, signal, newest - limits.history):
            gate.remember(reading)
        for reading in self._still_held(connection, name, signal, newest):
            gate.hold(reading)
        return gate

    def _still_held(self, connection: Connection, name: str, signal: Signal, newest: datetime) -> list[Reading]:
        """Jumps that no value has ended: a forecast ends only a forecast's."""
        measured = queries.newest_start(connection, name, signal, newest, forecasts=False)
        q = quarantine.c
        held = select(q.reading).where(q.zone == name, q.reason == Verdict.JUMP.value, q.released_at.is_(None))
        if measured is not None:
            held = held.where(q.valid_from > measured)
        readings = [from_json(text) for text in connection.execute(held).scalars() if text is not None]
        return held_in_order(
            [
                reading
                for reading in readings
                if reading.signal is signal
                and (reading.kind is not ReadingKind.FORECAST or reading.valid_from > newest)
            ]
        )

    def _retained_of(self, name: str, zone: _Zone, now: datetime) -> list[Announcement]:
        announcements = []
        last = zone.present.last(now)
        if last is not None and last.valid_to + self._rules.grace > now:
            announcements.append(current_announcement(last, self._rules.grace))
        if forecast := forecast_of(zone.present, now):
            announcements.append(forecast_announcement(name, forecast, self._rules.grace))
        return announcements


def _best_by_interval(readings: Iterable[Reading]) -> dict[Interval, Reading]:
    best: dict[Interval, Reading] = {}
    for reading in readings:
        known = best.get(interval_of(reading))
        if known is None or best_first(reading) < best_first(known):
            best[interval_of(reading)] = reading
    return best


def _newest_versions(
    accepted: Iterable[Reading], stored: dict[ReadingKey, Reading]
) -> tuple[dict[ReadingKey, Reading], list[Reading]]:
    """What is to be written per key, and the versions that were replaced; `stored` is brought up to date."""
    written: dict[ReadingKey, Reading] = {}
    replaced: list[Reading] = []
    for reading in accepted:
        old = stored.get(reading.key)
        if old is None:
            written[reading.key] = stored[reading.key] = reading.with_revision(0)
        elif supersedes(reading, old):
            replaced.append(old)
            written[reading.key] = stored[reading.key] = reading.with_revision(old.revision)
        elif supersedes(old, reading):
            replaced.append(reading)
    return written, replaced
