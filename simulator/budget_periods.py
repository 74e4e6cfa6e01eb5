"""What came of each period's budget: what was emitted, and the least error that the budget could have had."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.evaluation import Ground
from simulator.optimum import optimum_of
from simulator.run import Weights, supposed_loads
from simulator.series import IntensitySeries
from tradewind.policies.carbon_budget import CarbonBudget, part_seen, period_end, period_start


def budget_periods(
    policy: CarbonBudget,
    series: IntensitySeries,
    mixes: Weights,
    requests: NDArray[np.float64],
    scored: NDArray[np.intp],
    ground: Ground,
) -> tuple[Mapping[str, Any], ...]:
    """Every period that has scored rows with requests, and a budget. `policy` says its budget in unscaled grams."""
    starts = np.array(
        [period_start(datetime.fromtimestamp(int(t), UTC), policy.period).timestamp() for t in series.times_s]
    )
    known, supposed = ~np.isnan(requests), supposed_loads(requests)
    periods: list[Mapping[str, Any]] = []
    budget_g = policy.budget_g
    for start in np.unique(starts):
        rows = np.flatnonzero(starts == start)
        counted = rows[known[rows]]
        if budget_g is not None and np.isin(counted, scored).any() and requests[counted].sum() > 0:
            part = _ground_of(counted, series, requests, ground)
            periods.append(_period(start, policy, budget_g, part, mixes[counted], series.interval_s))
        if policy.budget_share is not None:
            budget_g = _next_budget(start, policy, rows, series, _ground_of(rows, series, supposed, ground))
    return tuple(periods)


def utc_text(time_s: int) -> str:
    """A time as JSON shows it."""
    return datetime.fromtimestamp(time_s, UTC).isoformat().replace("+00:00", "Z")


def _ground_of(rows: NDArray[np.intp], series: IntensitySeries, load: NDArray[np.float64], ground: Ground) -> Ground:
    """What these rows are measured on."""
    g_per_kwh, requests = series.g_per_kwh[rows], load[rows]
    return replace(ground, g_per_kwh=g_per_kwh, requests=requests, optimum=optimum_of(g_per_kwh, requests, ground.pool))


def _period(
    start_s: float, policy: CarbonBudget, budget_g: float, ground: Ground, mixes: Weights, interval_s: int
) -> Mapping[str, Any]:
    begins = datetime.fromtimestamp(start_s, UTC)
    length_s = (period_end(begins, policy.period) - begins).total_seconds()
    spent_g, scaled_budget_g = float(ground.grams(mixes).sum()), budget_g * ground.scale
    return {
        "from": utc_text(int(start_s)),
        "whole": bool(len(mixes) * interval_s >= 0.9 * length_s),
        "budget_g": scaled_budget_g,
        "emissions_g": spent_g,
        "overshoot_pct": (spent_g / scaled_budget_g - 1.0) * 100.0 if budget_g > 0 else None,
        "least_emissions_g": _always(ground, 0),
        "mean_error_pct": ground.mean_error(mixes),
        "clairvoyant_error_pct": ground.optimum.error_for_grams(budget_g),
    }


def _next_budget(
    start_s: float, policy: CarbonBudget, rows: NDArray[np.intp], series: IntensitySeries, ground: Ground
) -> float | None:
    """The following period's, as the policy itself finds it."""
    ends_s = period_end(datetime.fromtimestamp(start_s, UTC), policy.period).timestamp()
    part = part_seen(start_s, float(series.times_s[rows[0]]), ends_s)
    if policy.budget_share is None or part <= 0.5:
        return None
    least, most = (_always(ground, place) / ground.scale for place in (0, -1))
    return (least + policy.budget_share * (most - least)) / part


def _always(ground: Ground, place: int) -> float:
    return float(ground.grams(ground.always(ground.pool[place].variant)).sum())
