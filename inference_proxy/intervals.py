"""Which intensity holds now, as far as this proxy has heard: never a guess, so there may be none."""

from bisect import bisect_right, insort
from dataclasses import dataclass

from tradewind.database import microseconds
from tradewind.readings import Reading, best_first

_KEPT = 2_000
"""Old intervals are the database's to remember."""

_OVERLAPPING = 8
"""How many intervals may lie over one moment."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A reading with its ends in microseconds, as the hot path compares them."""

    reading: Reading
    from_us: int
    to_us: int

    @property
    def intensity_g_per_kwh(self) -> float:
        """The intensity that inferences in this interval are charged by."""
        return self.reading.intensity_g_per_kwh


class Intervals:
    """The intervals of one zone."""

    def __init__(self, zone: str) -> None:
        self.zone = zone
        self._starts: list[int] = []
        self._by_start: dict[int, Interval] = {}
        self._last: Interval | None = None

    def learn(self, reading: Reading) -> bool:
        """Takes a reading in; False when it is of another zone or no better than what is known of its interval."""
        if reading.zone != self.zone:
            return False
        start = microseconds(reading.valid_from)
        known = self._by_start.get(start)
        if known is not None and best_first(known.reading) <= best_first(reading):
            return False
        if known is None:
            insort(self._starts, start)
        self._by_start[start] = Interval(reading, start, microseconds(reading.valid_to))
        self._last = None
        self._forget_old()
        return True

    def at(self, now_us: int) -> Interval | None:
        """The interval that holds; of two that overlap the one that began later."""
        last = self._last
        if last is not None and last.from_us <= now_us < last.to_us:
            return last
        position = bisect_right(self._starts, now_us)
        for index in range(position - 1, max(position - 1 - _OVERLAPPING, -1), -1):
            interval = self._by_start[self._starts[index]]
            if now_us < interval.to_us:
                self._last = interval if self._is_sole(index, interval) else None
                return interval
        return None

    def ahead(self, now_us: int) -> list[Interval]:
        """The intervals that have not ended, by their beginning."""
        return [interval for start in self._starts if now_us < (interval := self._by_start[start]).to_us]

    def _is_sole(self, index: int, interval: Interval) -> bool:
        # Where a later interval begins before this one ends, the answer is not remembered past that beginning.
        return index + 1 >= len(self._starts) or self._starts[index + 1] >= interval.to_us

    def _forget_old(self) -> None:
        while len(self._starts) > _KEPT:
            del self._by_start[self._starts.pop(0)]
