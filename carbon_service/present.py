"""What holds now in a zone, what held last, and when that changes; pure, without a clock."""

from collections.abc import Iterable
from datetime import datetime

from tradewind.readings import Reading, ReadingKind


class Present:
    """The best reading of each interval of one zone that has not ended, and the last that has."""

    def __init__(self) -> None:
        self._by_start: dict[datetime, Reading] = {}
        self._last: Reading | None = None

    def put(self, reading: Reading, now: datetime) -> None:
        """Takes the best reading of an interval; what ended before the last one is history, and not kept."""
        if reading.valid_to <= now:
            self._end(reading)
            # A revision may have cut the interval short.
            self._by_start.pop(reading.valid_from, None)
        else:
            self._by_start[reading.valid_from] = reading

    def current(self, now: datetime) -> Reading | None:
        """The best reading whose interval holds now: best kind, then the interval that began last."""
        self._move_to(now)
        holding = [reading for reading in self._by_start.values() if reading.valid_from <= now]
        return min(holding, key=_best_then_latest, default=None)

    def last(self, now: datetime) -> Reading | None:
        """The current reading, or the last one that held."""
        return self.current(now) or self._last

    def ahead(self, now: datetime) -> list[Reading]:
        """The readings that have not ended, in order of time."""
        self._move_to(now)
        return [self._by_start[start] for start in sorted(self._by_start)]

    def next_change(self, now: datetime) -> datetime | None:
        """When another reading may become current; None when nothing is ahead."""
        self._move_to(now)
        moments = [reading.valid_from for reading in self._by_start.values() if reading.valid_from > now]
        moments += [reading.valid_to for reading in self._by_start.values()]
        return min(moments, default=None)

    def _move_to(self, now: datetime) -> None:
        for ended in [reading for reading in self._by_start.values() if reading.valid_to <= now]:
            del self._by_start[ended.valid_from]
            self._end(ended)

    def _end(self, reading: Reading) -> None:
        if self._last is None or reading.valid_from >= self._last.valid_from:
            self._last = reading


class Board:
    """What holds now in every zone, as the store has it."""

    def __init__(self) -> None:
        self._zones: dict[str, Present] = {}

    def put(self, readings: Iterable[Reading], now: datetime) -> None:
        """Takes the best readings of intervals, once they are stored."""
        for reading in readings:
            self._zones.setdefault(reading.zone, Present()).put(reading, now)

    def zones(self) -> list[str]:
        """Every zone with a reading."""
        return sorted(self._zones)

    def current(self, zone: str, now: datetime) -> Reading | None:
        """The zone's current reading."""
        present = self._zones.get(zone)
        return None if present is None else present.current(now)

    def last(self, zone: str, now: datetime) -> Reading | None:
        """The zone's current reading, or the last that was."""
        present = self._zones.get(zone)
        return None if present is None else present.last(now)

    def forecast(self, zone: str, now: datetime) -> list[Reading]:
        """The zone's forecast, in order of time."""
        present = self._zones.get(zone)
        return [] if present is None else forecast_of(present, now)

    def next_change(self, zone: str, now: datetime) -> datetime | None:
        """When another reading of the zone may become current."""
        present = self._zones.get(zone)
        return None if present is None else present.next_change(now)


def forecast_of(present: Present, now: datetime) -> list[Reading]:
    """The forecast readings that have not ended, in order of time."""
    return [reading for reading in present.ahead(now) if reading.kind is ReadingKind.FORECAST]


def _best_then_latest(reading: Reading) -> tuple[int, float]:
    return reading.kind.rank, -reading.valid_from.timestamp()
