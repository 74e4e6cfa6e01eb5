"""The intensity that policies are run on: a trace's rows that have a value and pass the plausibility gate."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from tradewind.plausibility import Gate, GateLimits
from tradewind.readings import Reading, ReadingKind, Signal
from tradewind.traces import Trace


@dataclass(frozen=True, slots=True)
class IntensitySeries:
    """Plausible readings in order of time, one per interval, and an account of the rows that were left out."""

    name: str
    times_s: NDArray[np.int64]
    g_per_kwh: NDArray[np.float64]
    interval_s: int
    rows: int
    missing: int
    """Rows without a value."""
    implausible: int
    """Rows that the plausibility gate does not let through."""
    duplicates: int
    """Rows of an interval that a later row speaks of too."""
    forecast_g_per_kwh: NDArray[np.float64] | None = None
    """What was forecast for the same rows, taken as known before; NaN where nothing was."""

    @property
    def used(self) -> int:
        """How many readings there are."""
        return len(self.times_s)

    @property
    def refused(self) -> int:
        """How many rows were left out, for whatever reason: rows = used + refused."""
        return self.missing + self.implausible + self.duplicates

    def reading(self, index: int) -> Reading:
        """One reading as a policy sees it."""
        return self._reading(index, float(self.g_per_kwh[index]), ReadingKind.ACTUAL)

    def forecasts(self) -> tuple[Reading | None, ...]:
        """For every row the forecast as a policy sees it."""
        if self.forecast_g_per_kwh is None:
            return ()
        return tuple(
            self._reading(index, float(value), ReadingKind.FORECAST) if value > 0 else None
            for index, value in enumerate(self.forecast_g_per_kwh)
        )

    def _reading(self, index: int, g_per_kwh: float, kind: ReadingKind) -> Reading:
        start = datetime.fromtimestamp(int(self.times_s[index]), UTC)
        return Reading(
            zone=self.name,
            valid_from=start,
            valid_to=start + timedelta(seconds=self.interval_s),
            intensity_g_per_kwh=g_per_kwh,
            kind=kind,
            signal=Signal.AVERAGE,
            source="trace",
            published_at=start,
        )


def series_of(trace: Trace, limits: GateLimits | None = None, forecast: Trace | None = None) -> IntensitySeries:
    """The series of a trace. Of two plausible values for one interval the later row of the file counts."""
    accepted = _accepted(trace, limits or GateLimits(oldest=timedelta(days=36_500)))
    blank = np.isnan(trace.values)
    kept = np.flatnonzero(accepted)
    times = trace.times_s[kept]
    last = np.append(times[1:] != times[:-1], True) if len(kept) else np.zeros(0, dtype=bool)
    rows = kept[last]
    return IntensitySeries(
        name=trace.name,
        times_s=trace.times_s[rows],
        g_per_kwh=trace.values[rows],
        interval_s=trace.interval_s,
        rows=len(trace),
        missing=int(blank.sum()),
        implausible=int((~blank & ~accepted).sum()),
        duplicates=len(kept) - len(rows),
        forecast_g_per_kwh=None if forecast is None else _at(forecast, trace.times_s[rows]),
    )


def _at(trace: Trace, times_s: NDArray[np.int64]) -> NDArray[np.float64]:
    """The trace's value at each time, the last of several; NaN where it has none or an infinite one."""
    places = np.searchsorted(trace.times_s, times_s, side="right") - 1
    found = (places >= 0) & (trace.times_s[places] == times_s)
    values = np.where(found, trace.values[places], np.nan)
    return np.where(np.isfinite(values), values, np.nan)


def _accepted(trace: Trace, limits: GateLimits) -> NDArray[np.bool_]:
    """Which rows pass the gate, each heard when its interval begins; those held back and released later pass too."""
    gate = Gate(limits)
    accepted = np.zeros(len(trace), dtype=bool)
    length = timedelta(seconds=min(trace.interval_s, limits.longest_interval.total_seconds()))
    for row in np.flatnonzero(~np.isnan(trace.values)):
        start = trace.moment(int(row))
        reading = Reading(
            zone="trace",
            valid_from=start,
            valid_to=start + length,
            intensity_g_per_kwh=float(trace.values[row]),
            kind=ReadingKind.ACTUAL,
            signal=Signal.AVERAGE,
            source="trace",
            published_at=start,
        )
        judgement = gate.judge(reading, start)
        accepted[row] = judgement.accepted
        for released in judgement.released:
            accepted[int(np.searchsorted(trace.times_s, int(released.valid_from.timestamp())))] = True
    return accepted
