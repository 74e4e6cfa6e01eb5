"""Low and high of the readings of a trailing window, by event time, in whatever order they come.

The window ending at `end` is half-open: it holds every moment in (end - window, end], so that 24 h of half-hours
are 48 readings, the current one included.

Readings that come in order of time run through two monotonic queues: amortised O(1). Those that come late, and
those that a revision touches, move (once in their life) to heaps whose outdated entries are skipped: O(log n).
"""

import heapq
import math
from bisect import bisect_left, insort
from collections import deque
from datetime import datetime, timedelta

from tradewind.decisions import RangeSummary
from tradewind.errors import InvalidInput

_SPARE = 64
"""Outdated entries that are tolerated before a structure is swept; keeps sweeping amortised O(1)."""


class RollingRange:
    """The rolling range of one zone: `put` values at their event time, ask for the `summary` of a window's end.

    The end may go back by as much as one window (that costs a rebuild); what is older is forgotten.
    """

    def __init__(self, window: timedelta, low_percentile: float = 0.0, high_percentile: float = 100.0) -> None:
        if window <= timedelta(0):
            raise InvalidInput("window: must be longer than nothing, for example 24h")
        if not 0.0 <= low_percentile < high_percentile <= 100.0:
            raise InvalidInput("low_percentile must be below high_percentile, both within 0 to 100")
        self.window = window
        self._percentiles = (low_percentile, high_percentile)
        self._robust = self._percentiles != (0.0, 100.0)
        self._values: dict[datetime, float] = {}
        """Every value kept: those of the window, those ahead of it, and one more window for an end that goes back."""
        self._first: datetime | None = None
        self._sweep_at = _SPARE
        self._reset()

    def _reset(self) -> None:
        self._end: datetime | None = None
        self._ahead: list[datetime] = list(self._values)
        heapq.heapify(self._ahead)
        self._run: deque[datetime] = deque()
        """Moments that came in order and were not touched since."""
        self._late: list[datetime] = []
        """Heap of the window's other moments."""
        self._low = _Lowest(1.0)
        self._high = _Lowest(-1.0)
        self._sorted: list[float] = []

    def put(self, moment: datetime, value: float) -> None:
        """Take the value of the interval that begins at `moment`; a second value replaces the first."""
        if not math.isfinite(value):
            raise InvalidInput(f"the value at {moment} is not a finite number: leave it out")
        old = self._values.get(moment)
        if old == value:
            return
        self._values[moment] = value
        self._first = moment if self._first is None else min(self._first, moment)
        inside = self._end is not None and self._end - self.window < moment <= self._end
        if inside and old is not None:
            self._revise(moment, old, value)
        elif inside:
            self._enter(moment)
        elif old is None and (self._end is None or moment > self._end):
            heapq.heappush(self._ahead, moment)

    def summary(self, end: datetime, interval: timedelta = timedelta(0)) -> RangeSummary | None:
        """Low and high of the window that ends at `end`; None when it is empty.

        `interval` is the length of the current reading: a window is full once history reaches back to its start.
        """
        self._move_to(end)
        count = len(self._run) + len(self._late)
        if count == 0 or self._first is None:
            return None
        low, high = self._bounds(end - self.window)
        full = self._first <= end - self.window + interval
        return RangeSummary(low, high, self.window, count, full)

    def _bounds(self, start: datetime) -> tuple[float, float]:
        if not self._robust:
            return self._low.value(start, self._values), self._high.value(start, self._values)
        low, high = (_percentile(self._sorted, percentile) for percentile in self._percentiles)
        return low, high

    def _move_to(self, end: datetime) -> None:
        if self._end is not None and end < self._end:
            self._reset()
        self._end = end
        start = end - self.window
        while self._run and self._run[0] <= start:
            self._leave(self._run.popleft())
        while self._late and self._late[0] <= start:
            self._leave(heapq.heappop(self._late))
        while self._ahead and self._ahead[0] <= end:
            moment = heapq.heappop(self._ahead)
            if moment > start:
                self._enter(moment)
        if len(self._values) > self._sweep_at:
            self._sweep(start - self.window)

    def _enter(self, moment: datetime) -> None:
        value = self._values[moment]
        if self._robust:
            insort(self._sorted, value)
        if not self._run or moment > self._run[-1]:
            self._run.append(moment)
            self._low.append(moment, value)
            self._high.append(moment, value)
        else:
            self._set_apart(moment)

    def _set_apart(self, moment: datetime) -> None:
        heapq.heappush(self._late, moment)
        self._low.push(moment, self._values[moment])
        self._high.push(moment, self._values[moment])

    def _revise(self, moment: datetime, old: float, value: float) -> None:
        if self._robust:
            del self._sorted[bisect_left(self._sorted, old)]
            insort(self._sorted, value)
        if not (self._run and self._run[0] <= moment <= self._run[-1]):
            self._low.push(moment, value)
            self._high.push(moment, value)
            return
        # A queue has forgotten what its entries outdid, so all up to the revised one move to the heaps.
        found = False
        while self._run and self._run[0] <= moment:
            found = self._run[0] == moment
            self._set_apart(self._run.popleft())
        self._low.drop_until(moment)
        self._high.drop_until(moment)
        if not found:
            self._low.push(moment, value)
            self._high.push(moment, value)

    def _leave(self, moment: datetime) -> None:
        if self._robust:
            del self._sorted[bisect_left(self._sorted, self._values[moment])]

    def _sweep(self, oldest: datetime) -> None:
        self._values = {moment: value for moment, value in self._values.items() if moment > oldest}
        self._sweep_at = 2 * len(self._values) + _SPARE
        start = oldest + self.window
        self._low.sweep(start, self._values)
        self._high.sweep(start, self._values)


class _Lowest:
    """The lowest of sign x value: with sign -1, the highest."""

    def __init__(self, sign: float) -> None:
        self._sign = sign
        self._queue: deque[tuple[datetime, float]] = deque()
        self._heap: list[tuple[float, datetime]] = []
        self._sweep_at = _SPARE

    def append(self, moment: datetime, value: float) -> None:
        """In order: what is neither newer nor lower can never count again."""
        signed = self._sign * value
        while self._queue and self._queue[-1][1] >= signed:
            self._queue.pop()
        self._queue.append((moment, signed))

    def push(self, moment: datetime, value: float) -> None:
        """Out of order, or revised."""
        heapq.heappush(self._heap, (self._sign * value, moment))

    def drop_until(self, moment: datetime) -> None:
        """Forget the queue's entries up to `moment`: they are in the heap now."""
        while self._queue and self._queue[0][0] <= moment:
            self._queue.popleft()

    def value(self, start: datetime, values: dict[datetime, float]) -> float:
        """The lowest after `start`; entries that expired or were revised are thrown away on the way."""
        self.drop_until(start)
        heap, sign = self._heap, self._sign
        if len(heap) > self._sweep_at:
            self.sweep(start, values)
            heap = self._heap
        while heap and (heap[0][1] <= start or sign * values[heap[0][1]] != heap[0][0]):
            heapq.heappop(heap)
        if not heap:
            return sign * self._queue[0][1]
        return sign * (min(self._queue[0][1], heap[0][0]) if self._queue else heap[0][0])

    def sweep(self, start: datetime, values: dict[datetime, float]) -> None:
        """Throw away every outdated entry of the heap."""
        current = {(signed, moment) for signed, moment in self._heap if moment > start}
        self._heap = [(signed, moment) for signed, moment in current if self._sign * values[moment] == signed]
        heapq.heapify(self._heap)
        self._sweep_at = 2 * len(self._heap) + _SPARE


def _percentile(ordered: list[float], percentile: float) -> float:
    """Linear interpolation between the two nearest ranks."""
    rank = (len(ordered) - 1) * percentile / 100.0
    below = math.floor(rank)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (rank - below)
