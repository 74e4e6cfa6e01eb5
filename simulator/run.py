"""Run a policy over a series: the very policy that serves, interval by interval, or all intervals at once."""

from collections.abc import Callable
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from simulator.fast_path import weights_at_once
from simulator.series import IntensitySeries
from simulator.windows import Windows, trailing_windows
from tradewind.catalogue import OperatingPoint
from tradewind.policies import Policy, Situation

_HORIZON = timedelta(hours=48)
"""How far ahead forecasts are shown to a policy."""

Weights = NDArray[np.float64]
"""One row per interval, one column per variant of the pool; rows sum to 1."""


def run_policy(
    policy: Policy,
    series: IntensitySeries,
    pool: tuple[OperatingPoint, ...],
    window: timedelta | None,
    requests: NDArray[np.float64],
    progress: Callable[[int], None] | None = None,
) -> Weights:
    """The mix of every interval. Policies without feedback are run at once; the result is the same."""
    windows = trailing_windows(series, window)
    at_once = weights_at_once(policy, series, windows, pool)
    if at_once is not None:
        if progress:
            progress(len(series.times_s))
        return at_once
    return run_interval_by_interval(policy, series, windows, pool, requests, progress)


def run_interval_by_interval(
    policy: Policy,
    series: IntensitySeries,
    windows: Windows,
    pool: tuple[OperatingPoint, ...],
    requests: NDArray[np.float64],
    progress: Callable[[int], None] | None = None,
) -> Weights:
    """The mix of every interval, decided as the selector decides: with what was served reported back."""
    columns = {point.variant: column for column, point in enumerate(pool)}
    weights = np.zeros((series.used, len(pool)))
    state = policy.initial_state()
    served: dict[str, float] = {}
    loads = supposed_loads(requests)
    forecasts, horizon = series.forecasts(), int(_HORIZON.total_seconds() // series.interval_s)
    for row in range(series.used):
        forecast = tuple(reading for reading in forecasts[row + 1 : row + 1 + horizon] if reading is not None)
        situation = Situation(series.reading(row), windows.summary(row), pool, forecast, served)
        choice, state = policy.select_mix(situation, state)
        for share in choice.mix:
            weights[row, columns[share.variant]] = share.weight
        served = {share.variant: share.weight * float(loads[row]) for share in choice.mix}
        if progress and row % 1000 == 999:
            progress(1000)
    if progress:
        progress(series.used % 1000)
    return weights


def supposed_loads(requests: NDArray[np.float64]) -> NDArray[np.float64]:
    """The load that policies are told of: where it is unknown, the mean of what is known."""
    known = np.isfinite(requests)
    return np.where(known, requests, requests[known].mean() if known.any() else 1.0)
