"""Lows and highs of trailing windows for a whole series at once: what the rolling range answers one by one."""

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from simulator.series import IntensitySeries
from tradewind.decisions import RangeSummary


@dataclass(frozen=True, slots=True)
class Windows:
    """For each row the range over (time - window, time]."""

    window: timedelta
    times_s: NDArray[np.int64]
    interval_s: int
    lows: NDArray[np.float64]
    highs: NDArray[np.float64]
    whole: bool = False
    """True where every row has the range of the whole series."""

    def summary(self, row: int) -> RangeSummary:
        """One row's range as a policy sees it."""
        start_s = int(self.times_s[row]) - self.window.total_seconds()
        first = 0 if self.whole else int(np.searchsorted(self.times_s, start_s, side="right"))
        return RangeSummary(
            low_g_per_kwh=float(self.lows[row]),
            high_g_per_kwh=float(self.highs[row]),
            window=self.window,
            readings=len(self.times_s) if self.whole else row - first + 1,
            full=self.whole or bool(self.times_s[0] <= start_s + self.interval_s),
        )


def trailing_windows(series: IntensitySeries, window: timedelta | None) -> Windows:
    """The trailing windows of a series; with no window, every row has the range of the whole series."""
    times, values, interval_s = series.times_s, series.g_per_kwh, series.interval_s
    if window is None:
        whole = timedelta(seconds=int(times[-1] - times[0]) + interval_s)
        lows, highs = np.full(len(times), values.min()), np.full(len(times), values.max())
        return Windows(whole, times, interval_s, lows, highs, whole=True)
    window_s = window.total_seconds()
    if _is_gapless(times, window_s, interval_s):
        length = min(len(times), int(window_s // interval_s))
        lows = _extremes_of_equal_windows(values, length, np.minimum)
        return Windows(window, times, interval_s, lows, _extremes_of_equal_windows(values, length, np.maximum))
    lengths = np.arange(len(times)) - np.searchsorted(times, times - window_s, side="right") + 1
    lows = _extremes(values, lengths, np.minimum)
    return Windows(window, times, interval_s, lows, _extremes(values, lengths, np.maximum))


def _is_gapless(times: NDArray[np.int64], window_s: float, interval_s: int) -> bool:
    """True when every window holds the same number of rows, but for the first ones."""
    even = window_s % interval_s == 0 and (len(times) - 1) * interval_s == times[-1] - times[0]
    return bool(even and np.all(times[1:] - times[:-1] == interval_s))


def _extremes_of_equal_windows(values: NDArray[np.float64], length: int, pick: np.ufunc) -> NDArray[np.float64]:
    """Extremes over the last `length` rows: spans are doubled, and two that overlap make the window."""
    span, spans = 1, values
    # Two buffers in turn: fresh arrays would cost more than the comparisons.
    result, other = np.empty_like(values), np.empty_like(values)
    while 2 * span <= length:
        spans = pick(spans[span:], spans[: len(spans) - span], out=other[: len(spans) - span])
        result, other, span = other, result, 2 * span
    rest = length - span
    pick(spans[rest:], spans[: len(spans) - rest], out=other[length - 1 :])
    pick.accumulate(values[: length - 1], out=other[: length - 1])
    return other


def _extremes(values: NDArray[np.float64], lengths: NDArray[np.intp], pick: np.ufunc) -> NDArray[np.float64]:
    """Extremes of the windows that end at each row: two overlapping spans whose length is a power of two."""
    exponents = np.frexp(lengths)[1] - 1
    result = values.copy()
    spans = values
    for exponent in range(1, int(exponents.max()) + 1):
        half = 1 << (exponent - 1)
        longer = spans.copy()
        pick(spans[half:], spans[:-half], out=longer[half:])
        spans = longer
        rows = np.flatnonzero(exponents == exponent)
        result[rows] = pick(spans[rows], spans[rows - lengths[rows] + (1 << exponent)])
    return result
