"""How many requests fall into each interval of the intensity: flat, or from a trace laid over it by time or by week."""

from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from simulator.series import IntensitySeries
from tradewind.errors import InvalidInput
from tradewind.traces import Trace

_WEEK_S = 604_800


class Alignment(StrEnum):
    """How a request trace is laid over the intensity."""

    ABSOLUTE = "absolute"
    """By time: both were recorded in the same days."""
    WEEK = "week"
    """By weekday and time of day (UTC): the trace's mean week, again and again."""


def flat_requests(series: IntensitySeries) -> NDArray[np.float64]:
    """One request in every interval."""
    return np.ones(series.used)


def aligned_requests(series: IntensitySeries, trace: Trace, alignment: Alignment) -> NDArray[np.float64]:
    """Requests per interval; NaN where the trace says nothing, which is not the same as none."""
    if np.any(trace.values < 0) or np.any(np.isinf(trace.values)):
        raise InvalidInput(f"requests {trace.name}, column {trace.value_column}: counts must be finite and 0 or more")
    if np.all(np.isnan(trace.values)):
        raise InvalidInput(
            f"requests {trace.name}, column {trace.value_column}: no row has a count; name another column"
        )
    counts = _by_week(series, trace) if alignment is Alignment.WEEK else _by_time(series, trace)
    if not np.nansum(counts) > 0:
        hint = "" if alignment is Alignment.WEEK else ": is it of other days? then align it by week"
        raise InvalidInput(f"requests {trace.name}: no request falls into the intensity's intervals{hint}")
    return counts


def _by_time(series: IntensitySeries, trace: Trace) -> NDArray[np.float64]:
    """Each count is spread evenly over its interval, so that any two interval lengths fit together."""
    known = ~np.isnan(trace.values)
    times, last = np.unique(trace.times_s[known][::-1], return_index=True)
    values = trace.values[known][::-1][last]
    edges = np.stack([times, times + trace.interval_s], axis=1)
    edges[:-1, 1] = np.minimum(edges[:-1, 1], edges[1:, 0])
    counts = np.cumsum(np.stack([np.zeros(len(values)), values], axis=1).ravel())
    covered = np.cumsum(np.stack([np.zeros(len(values)), np.diff(edges, axis=1)[:, 0]], axis=1).ravel())
    starts = series.times_s.astype(np.float64)
    ends = starts + series.interval_s
    flat = edges.ravel().astype(np.float64)
    seconds = np.interp(ends, flat, covered) - np.interp(starts, flat, covered)
    requests = np.interp(ends, flat, counts) - np.interp(starts, flat, counts)
    return np.where(seconds >= 0.999 * series.interval_s, requests, np.nan)


def _by_week(series: IntensitySeries, trace: Trace) -> NDArray[np.float64]:
    """The mean count at each time of the week, spread evenly over its slot."""
    slots = max(1, round(_WEEK_S / trace.interval_s))
    length = _WEEK_S / slots
    known = ~np.isnan(trace.values)
    slot = ((trace.times_s[known] % _WEEK_S) / length).astype(np.intp)
    met = np.bincount(slot, minlength=slots)
    means = np.bincount(slot, weights=trace.values[known], minlength=slots) / np.maximum(met, 1)
    edges = np.arange(slots + 1) * length
    counts = np.concatenate(([0.0], np.cumsum(np.where(met > 0, means, 0.0))))
    covered = np.concatenate(([0.0], np.cumsum(np.where(met > 0, length, 0.0))))
    starts = (series.times_s % _WEEK_S).astype(np.float64)

    def until(moments: NDArray[np.float64], cumulative: NDArray[np.float64]) -> NDArray[np.float64]:
        weeks, rest = np.divmod(moments, _WEEK_S)
        total: NDArray[np.float64] = weeks * cumulative[-1] + np.interp(rest, edges, cumulative)
        return total

    ends = starts + series.interval_s
    seconds = until(ends, covered) - until(starts, covered)
    requests = until(ends, counts) - until(starts, counts)
    return np.where(seconds >= 0.999 * series.interval_s, requests, np.nan)
