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
    first: NDArray[np.intp]
    """The first row inside each window."""
    lows: NDArray[np.float64]
    highs: NDArray[np.float64]
    full: NDArray[np.bool_]

    def summary(self, row: int) -> RangeSummary:
        """One row's range as a policy sees it."""
        return RangeSummary(
            low_g_per_kwh=float(self.lows[row]),
            high_g_per_kwh=float(self.highs[row]),
            window=self.window,
            readings=row - int(self.first[row]) + 1,
            full=bool(self.full[row]),
        )


def trailing_windows(series: IntensitySeries, window: timedelta | None) -> Windows:
    """The trailing windows of a series; with no window, every row has the range of the whole series."""
    times, values = series.times_s, series.g_per_kwh
    rows = len(times)
    if window is None:
        whole = timedelta(seconds=int(times[-1] - times[0]) + series.interval_s)
        lows, highs = np.full(rows, values.min()), np.full(rows, values.max())
        return Windows(whole, np.zeros(rows, dtype=np.intp), lows, highs, np.ones(rows, dtype=bool))
    window_s = window.total_seconds()
    first = _first_rows(times, window_s, series.interval_s)
    lengths = np.arange(rows) - first + 1
    full = times[0] <= times - window_s + series.interval_s
    return Windows(window, first, _extremes(values, lengths, np.minimum), _extremes(values, lengths, np.maximum), full)


def _first_rows(times: NDArray[np.int64], window_s: float, interval_s: int) -> NDArray[np.intp]:
    rows = len(times)
    if (rows - 1) * interval_s == times[-1] - times[0] and window_s % interval_s == 0:
        # Without a gap every full window has the same length.
        return np.maximum(np.arange(rows) - int(window_s // interval_s) + 1, 0)
    return np.searchsorted(times, times - window_s, side="right")


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
        if exponent == exponents[-1] and np.all(exponents[np.argmax(exponents == exponent) :] == exponent):
            rows = np.arange(np.argmax(exponents == exponent), len(values))
        else:
            rows = np.flatnonzero(exponents == exponent)
        result[rows] = pick(spans[rows], spans[rows - lengths[rows] + (1 << exponent)])
    return result
