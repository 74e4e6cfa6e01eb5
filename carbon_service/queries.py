"""What the store answers: readings by zone and interval, the quarantine, and the counts of both."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Connection, Row, Select, func, or_, select, tuple_

from carbon_service.store import quarantine, readings, versions
from tradewind.readings import Reading, ReadingKey, ReadingKind, Signal, best_first

CHUNK = 500
"""Keys per statement, well below any engine's limit of parameters."""

T = TypeVar("T")

Interval = tuple[str, str, datetime]
"""Zone, signal and beginning of an interval."""


def reading_of(row: Row[Any]) -> Reading:
    """A stored row as a reading."""
    return Reading(
        zone=row.zone,
        valid_from=row.valid_from,
        valid_to=row.valid_to,
        intensity_g_per_kwh=row.intensity_g_per_kwh,
        kind=ReadingKind(row.kind),
        signal=Signal(row.signal),
        source=row.source,
        published_at=row.published_at,
        revision=row.revision,
        recorded_at=row.recorded_at,
    )


def interval_of(reading: Reading) -> Interval:
    """What readings of several sources and kinds have in common."""
    return reading.zone, reading.signal.value, reading.valid_from


def readings_of_intervals(connection: Connection, intervals: Sequence[Interval]) -> dict[ReadingKey, Reading]:
    """Every stored reading of the intervals."""
    found: dict[ReadingKey, Reading] = {}
    columns = tuple_(readings.c.zone, readings.c.signal, readings.c.valid_from)
    for chunk in chunks(intervals):
        for row in connection.execute(select(readings).where(columns.in_(chunk))):
            reading = reading_of(row)
            found[reading.key] = reading
    return found


def revisions_of(connection: Connection, keys: Sequence[ReadingKey]) -> dict[ReadingKey, int]:
    """How many earlier versions each reading has had."""
    c = versions.c
    found: dict[ReadingKey, int] = {}
    for chunk in chunks(keys):
        wanted = [(key.zone, key.signal.value, key.valid_from, key.kind.value, key.source) for key in chunk]
        columns = (c.zone, c.signal, c.valid_from, c.kind, c.source)
        query = select(*columns, func.count()).where(tuple_(*columns).in_(wanted)).group_by(*columns)
        for zone, signal, valid_from, kind, source, count in connection.execute(query):
            found[ReadingKey(zone, source, Signal(signal), ReadingKind(kind), valid_from)] = count
    return found


def best_per_interval(rows: Iterable[Reading]) -> list[Reading]:
    """One reading per interval, in order of time."""
    best: dict[Interval, Reading] = {}
    for reading in rows:
        interval = interval_of(reading)
        known = best.get(interval)
        if known is None or best_first(reading) < best_first(known):
            best[interval] = reading
    return sorted(best.values(), key=lambda reading: reading.valid_from)


def best_since(connection: Connection, zone: str, signal: Signal, since: datetime | None) -> list[Reading]:
    """The best reading of each interval that begins at or after `since`."""
    query = _of_zone(zone, signal)
    if since is not None:
        query = query.where(readings.c.valid_from >= since)
    return best_per_interval(reading_of(row) for row in connection.execute(query))


def newest_start(
    connection: Connection, zone: str, signal: Signal, until: datetime, *, forecasts: bool = True
) -> datetime | None:
    """The beginning of the zone's newest interval that began by `until`; without `forecasts`, of what is none."""
    c = readings.c
    query = select(c.valid_from).where(c.zone == zone, c.signal == signal.value, c.valid_from <= until)
    if not forecasts:
        query = query.where(c.kind != ReadingKind.FORECAST.value)
    return connection.execute(query.order_by(c.valid_from.desc()).limit(1)).scalar_one_or_none()


def newest_of_source(
    connection: Connection, zone: str, signal: Signal, source: str, until: datetime
) -> datetime | None:
    """The beginning of the source's newest interval that began by `until`."""
    c = readings.c
    query = select(func.max(c.valid_from)).where(
        c.zone == zone, c.signal == signal.value, c.source == source, c.valid_from <= until
    )
    return connection.execute(query).scalar_one_or_none()


@dataclass(frozen=True, slots=True)
class PageStart:
    """Where a page of readings begins: after this row."""

    valid_from: datetime
    kind: str
    source: str


def list_readings(
    connection: Connection,
    zone: str,
    signal: Signal,
    between: tuple[datetime | None, datetime | None],
    after: PageStart | None,
    limit: int,
) -> list[Reading]:
    """Stored readings of every source and kind, oldest first."""
    c = readings.c
    query = _of_zone(zone, signal)
    start, end = between
    if start is not None:
        query = query.where(c.valid_from >= start)
    if end is not None:
        query = query.where(c.valid_from < end)
    if after is not None:
        later = tuple_(c.kind, c.source) > tuple_(after.kind, after.source)
        query = query.where(or_(c.valid_from > after.valid_from, (c.valid_from == after.valid_from) & later))
    query = query.order_by(c.valid_from, c.kind, c.source).limit(limit)
    return [reading_of(row) for row in connection.execute(query)]


def known_zones(connection: Connection) -> set[tuple[str, Signal]]:
    """Every zone and signal that has a reading."""
    rows = connection.execute(select(readings.c.zone, readings.c.signal).distinct())
    return {(row.zone, Signal(row.signal)) for row in rows}


@dataclass(frozen=True, slots=True)
class ZoneCounts:
    """How much a zone has of what."""

    readings: int
    quarantined: int
    sources: tuple[str, ...]


def zone_counts(connection: Connection) -> dict[str, ZoneCounts]:
    """The counts of every zone that has a reading or something in quarantine."""
    c, q = readings.c, quarantine.c
    counted: dict[str, int] = {}
    sources: dict[str, set[str]] = {}
    for row in connection.execute(select(c.zone, c.source, func.count().label("rows")).group_by(c.zone, c.source)):
        counted[row.zone] = counted.get(row.zone, 0) + row.rows
        sources.setdefault(row.zone, set()).add(row.source)
    held = select(q.zone, func.count().label("rows")).where(q.released_at.is_(None)).group_by(q.zone)
    quarantined = {row.zone: row.rows for row in connection.execute(held)}
    return {
        zone: ZoneCounts(counted.get(zone, 0), quarantined.get(zone, 0), tuple(sorted(sources.get(zone, set()))))
        for zone in sorted({*counted, *quarantined})
    }


@dataclass(frozen=True, slots=True)
class Quarantined:
    """One thing that somebody said and nobody was asked to believe."""

    id: int
    zone: str
    source: str
    reason: str
    explanation: str
    excerpt: str
    first_at: datetime
    last_at: datetime
    times: int
    released_at: datetime | None


def list_quarantined(connection: Connection, zone: str, before: int | None, limit: int) -> list[Quarantined]:
    """What is in quarantine, newest first; every zone's when none is named."""
    q = quarantine.c
    query = select(quarantine).order_by(q.id.desc()).limit(limit)
    if zone:
        query = query.where(q.zone == zone)
    if before is not None:
        query = query.where(q.id < before)
    return [
        Quarantined(
            row.id,
            row.zone,
            row.source,
            row.reason,
            row.explanation,
            row.excerpt,
            row.first_at,
            row.last_at,
            row.times,
            row.released_at,
        )
        for row in connection.execute(query)
    ]


def chunks(items: Sequence[T]) -> Iterable[Sequence[T]]:
    """The items in portions that fit one statement."""
    return (items[start : start + CHUNK] for start in range(0, len(items), CHUNK))


def _of_zone(zone: str, signal: Signal) -> Select[Any]:
    return select(readings).where(readings.c.zone == zone, readings.c.signal == signal.value)
