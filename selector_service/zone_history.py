"""What is settled for a zone: one value per interval, which reading holds, the rolling range, the forecast.

Pure: it knows no clock. The same readings, in any order, give the same answers.
"""

from bisect import bisect_right, insort
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from tradewind.decisions import RangeSummary
from tradewind.readings import Reading, ReadingKind, Signal, best_first, supersedes
from tradewind.rolling_range import RollingRange


@dataclass(frozen=True, slots=True)
class RangeRule:
    """How a rolling range is taken: over which window, of which signal, between which percentiles."""

    window: timedelta = timedelta(hours=24)
    signal: Signal = Signal.AVERAGE
    low_percentile: float = 0.0
    high_percentile: float = 100.0


@dataclass(frozen=True, slots=True)
class Outlook:
    """A zone as a policy sees it at one moment."""

    current: Reading
    """The reading that holds, or the last that did."""
    stale: bool
    """True when no reading holds any more."""
    range: RangeSummary
    forecast: tuple[Reading, ...]


@dataclass(frozen=True, slots=True)
class Settlement:
    """A reading that now counts for its interval, and the one that did before it."""

    now: Reading
    before: Reading | None


class ZoneHistory:
    """The readings of one zone."""

    def __init__(self, zone: str, rule: RangeRule) -> None:
        self.zone = zone
        self._rule = rule
        self._range = RollingRange(rule.window, rule.low_percentile, rule.high_percentile)
        self._intervals: dict[datetime, list[Reading]] = {}
        """Every reading per beginning of interval, the best first."""
        self._starts: list[datetime] = []
        self._longest = timedelta(0)

    def put(self, reading: Reading) -> tuple[bool, Settlement | None]:
        """Takes a reading: whether it was news, and what it settled if it counts for its interval."""
        if reading.signal is not self._rule.signal:
            return False, None
        self._longest = max(self._longest, reading.valid_to - reading.valid_from)
        interval = self._intervals.get(reading.valid_from)
        if interval is None:
            self._intervals[reading.valid_from] = [reading]
            insort(self._starts, reading.valid_from)
            return True, self._settle(reading, None)
        before = interval[0]
        for index, other in enumerate(interval):
            if other.key == reading.key:
                if not supersedes(reading, other):
                    return False, None
                del interval[index]
                break
        insort(interval, reading, key=best_first)
        return True, (self._settle(interval[0], before) if interval[0] != before else None)

    def _settle(self, reading: Reading, before: Reading | None) -> Settlement:
        self._range.put(reading.valid_from, reading.intensity_g_per_kwh)
        return Settlement(reading, before)

    def outlook(self, moment: datetime) -> Outlook | None:
        """The zone at a moment; None when no interval has begun yet."""
        index = bisect_right(self._starts, moment)
        if index == 0:
            return None
        holding = self._holding(moment, index)
        current = holding or self._intervals[self._starts[index - 1]][0]
        summary = self._range.summary(current.valid_from, current.valid_to - current.valid_from)
        if summary is None:
            return None
        return Outlook(current, holding is None, summary, tuple(self._after(current, index)))

    def _holding(self, moment: datetime, index: int) -> Reading | None:
        """The best reading whose interval holds: the best kind, then the latest beginning."""
        best: Reading | None = None
        while index > 0 and self._starts[index - 1] > moment - self._longest - timedelta(microseconds=1):
            index -= 1
            for reading in self._intervals[self._starts[index]]:
                if reading.holds_at(moment) and (best is None or reading.kind.rank < best.kind.rank):
                    best = reading
                    break
        return best

    def _after(self, current: Reading, index: int) -> Iterator[Reading]:
        for start in self._starts[index:]:
            settled = self._intervals[start][0]
            if settled.valid_from >= current.valid_to and settled.kind is ReadingKind.FORECAST:
                yield settled

    def next_change(self, moment: datetime) -> datetime | None:
        """The first time after `moment` at which another reading may hold, if no news comes."""
        index = bisect_right(self._starts, moment)
        times = [self._starts[index]] if index < len(self._starts) else []
        holding = self._holding(moment, index)
        if holding is not None:
            times.append(holding.valid_to)
        return min(times, default=None)

    def settled(self, since: datetime, until: datetime) -> list[Reading]:
        """The readings that count for the intervals that begin after `since`, up to `until`, in order of time."""
        first, last = bisect_right(self._starts, since), bisect_right(self._starts, until)
        return [self._intervals[start][0] for start in self._starts[first:last]]

    def forget(self, before: datetime) -> None:
        """Drops the intervals that begin before; the rolling range forgets by itself."""
        count = bisect_right(self._starts, before - timedelta(microseconds=1))
        for start in self._starts[:count]:
            del self._intervals[start]
        del self._starts[:count]
