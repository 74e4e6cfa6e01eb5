"""Grids beside the traces: real ones turned, reversed and disturbed, and made ones of several characters."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from simulator.series import IntensitySeries

_HOURS = 8_760
_START_S = 1_640_995_200

Values = NDArray[np.float64]


def derived_grids(all_series: Sequence[IntensitySeries]) -> list[IntensitySeries]:
    """Of every trace: backwards, beginning half a year later, and disturbed; and the made grids."""
    grids = []
    for number, series in enumerate(all_series):
        values, half = series.g_per_kwh, len(series.g_per_kwh) // 2
        grids += [
            replace(series, name=f"{series.name} backwards", g_per_kwh=values[::-1].copy()),
            replace(series, name=f"{series.name} from mid-year", g_per_kwh=np.roll(values, half)),
            replace(series, name=f"{series.name} disturbed", g_per_kwh=_disturbed(series, number)),
        ]
    return grids + [made_grid(kind) for kind in ("wind", "coal", "hydro", "two regimes", "trend")]


def made_grid(kind: str) -> IntensitySeries:
    """A year of hours by a formula with random weather; the same every time."""
    random = np.random.default_rng(sum(kind.encode()))
    days = np.arange(_HOURS) / 24
    weather, season = _wander(random, 48), np.cos(2 * np.pi * (days / 365 - random.uniform()))
    slow, daily = _wander(random, 30 * 24), np.sin(2 * np.pi * days)
    logs = {
        "wind": np.log(220) + 0.42 * np.clip(weather, -2, 2) + 0.12 * slow + 0.15 * season + 0.12 * daily,
        "coal": np.log(620) + 0.025 * (slow + weather) + 0.04 * season + 0.03 * daily,
        "hydro": np.log(32) + 0.05 * slow + 0.06 * season + 0.02 * weather + 0.04 * daily,
        "two regimes": np.log(180) + 0.7 * (_wander(random, 14 * 24) > 0) + 0.08 * (weather + daily),
        "trend": np.log(420) - 0.35 * days / 365 + 0.15 * weather + 0.08 * slow + 0.2 * daily,
    }
    times = _START_S + 3_600 * np.arange(_HOURS, dtype=np.int64)
    return IntensitySeries(f"made: {kind}", times, np.exp(logs[kind]), 3_600, _HOURS, 0, 0, 0)


def _disturbed(series: IntensitySeries, seed: int) -> Values:
    random, per_hour = np.random.default_rng(seed), 3_600 / series.interval_s
    steps = len(series.g_per_kwh)
    disturbance = 0.12 * _wander(random, 12 * 24 * per_hour, steps) + 0.05 * _wander(random, 2.4 * per_hour, steps)
    values: Values = series.g_per_kwh * np.exp(disturbance)
    return values


def _wander(random: np.random.Generator, lasting: float, steps: int = _HOURS) -> Values:
    """Weather of unit variance whose memory lasts so many steps."""
    keep = float(np.exp(-1.0 / lasting))
    values = random.normal(0.0, 1.0, steps)
    values[1:] *= (1 - keep * keep) ** 0.5
    for step in range(1, steps):
        values[step] += keep * values[step - 1]
    return values
