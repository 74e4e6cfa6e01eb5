"""Several policies on one series of intensities and one load, measured on the same ground."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.budget_periods import budget_periods, utc_text
from simulator.evaluation import Ground, Row, evaluate
from simulator.optimum import optimum_of
from simulator.run import Weights, run_policy
from simulator.series import IntensitySeries
from tradewind.catalogue import OperatingPoint
from tradewind.errors import InvalidInput
from tradewind.policies import Policy
from tradewind.policies.carbon_budget import CarbonBudget
from tradewind.policies.proportional import Proportional
from tradewind.policies.restraints import Hysteresis, OptOut, StopDegrading, unrestrained


@dataclass(frozen=True, slots=True)
class Clairvoyant:
    """Asks for the least possible carbon at an error; without one, at the error of `proportional`."""

    target_error: float | None = None


@dataclass(frozen=True, slots=True)
class Entrant:
    """A policy under the name by which its row is shown."""

    label: str
    policy: Policy | Clairvoyant


@dataclass(frozen=True, slots=True)
class Plan:
    """What to compare and how."""

    pool: tuple[OperatingPoint, ...]
    entrants: Sequence[Entrant]
    window: timedelta | None = timedelta(hours=24)
    """None: the range of the whole series, which only a simulation can know."""
    warm_up: timedelta = timedelta(0)
    baseline: str | None = None
    scale_extra: tuple[str, float] | None = None
    """A variant, and what its extra grams against the baseline shall be."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The rows, and what they were measured on."""

    series: IntensitySeries
    plan: Plan
    ground: Ground
    scored: NDArray[np.intp]
    """The rows of the series that count."""
    rows: tuple[Row, ...]
    weights: Mapping[str, Weights]
    """By label, over the scored rows."""

    def to_json(self) -> dict[str, Any]:
        """The comparison's JSON object."""
        series, times = self.series, self.series.times_s[self.scored]
        return {
            "rows": [row.to_json() for row in self.rows],
            "intensity": {
                "name": series.name,
                "rows": series.rows,
                "used": series.used,
                "refused": series.refused,
                "missing": series.missing,
                "implausible": series.implausible,
                "duplicates": series.duplicates,
                "scored": len(self.scored),
                "interval_s": series.interval_s,
                "scored_from": utc_text(int(times[0])),
                "scored_to": utc_text(int(times[-1]) + series.interval_s),
            },
            "baseline": self.ground.baseline,
            "pool": [point.variant for point in self.plan.pool],
            "requests": self.ground.optimum.requests,
            "scale": self.ground.scale,
        }


def compare(
    series: IntensitySeries,
    requests: NDArray[np.float64],
    plan: Plan,
    progress: Callable[[int], None] | None = None,
) -> Comparison:
    """Runs every entrant and every fixed variant, and measures them on the scored rows."""
    scored = _scored(series, requests, plan.warm_up)
    ground = _ground(series, requests, scored, plan)
    weights: dict[str, Weights] = {}
    for point in plan.pool:
        weights[f"fixed:{point.variant}"] = ground.always(point.variant)
    periods: dict[str, tuple[Mapping[str, Any], ...]] = {}
    for entrant in plan.entrants:
        if isinstance(entrant.policy, Clairvoyant):
            weights[entrant.label] = _clairvoyant(entrant.policy, series, requests, scored, ground, plan)
            continue
        policy = _in_trace_grams(entrant.policy, ground.scale)
        mixes = run_policy(policy, series, plan.pool, plan.window, requests, progress)
        weights[entrant.label] = mixes[scored]
        if isinstance(budget := unrestrained(policy), CarbonBudget):
            periods[entrant.label] = budget_periods(budget, series, mixes, requests, scored, ground)
    rows = [replace(evaluate(label, mixes, ground), periods=periods.get(label, ())) for label, mixes in weights.items()]
    return Comparison(series, plan, ground, scored, tuple(rows), weights)


def _scored(series: IntensitySeries, requests: NDArray[np.float64], warm_up: timedelta) -> NDArray[np.intp]:
    if series.used == 0:
        raise InvalidInput(f"intensity {series.name}: no row has a plausible value; is the right column taken?")
    begins = series.times_s[0] + warm_up.total_seconds()
    scored = np.flatnonzero((series.times_s >= begins) & ~np.isnan(requests))
    if len(scored) == 0 or not requests[scored].sum() > 0:
        raise InvalidInput(f"intensity {series.name}: nothing is left to score after a warm-up of {warm_up}")
    return scored


def _ground(series: IntensitySeries, requests: NDArray[np.float64], scored: NDArray[np.intp], plan: Plan) -> Ground:
    names = [point.variant for point in plan.pool]
    baseline = plan.baseline or names[0]
    for variant in (baseline, *(plan.scale_extra or ())[:1]):
        if variant not in names:
            raise InvalidInput(f"variant {variant} is not in the pool: it has {', '.join(names)}")
    g_per_kwh, load = series.g_per_kwh[scored], requests[scored]
    ground = Ground(g_per_kwh, load, plan.pool, baseline, optimum_of(g_per_kwh, load, plan.pool))
    if plan.scale_extra is None:
        return ground
    variant, wanted_g = plan.scale_extra
    extra = float(ground.grams(ground.always(variant)).sum() - ground.grams(ground.always(baseline)).sum())
    if extra <= 0 or wanted_g <= 0:
        raise InvalidInput(f"scale-extra: {variant} must emit more than the baseline {baseline}, and grams be above 0")
    return replace(ground, scale=wanted_g / extra)


def _clairvoyant(
    wish: Clairvoyant,
    series: IntensitySeries,
    requests: NDArray[np.float64],
    scored: NDArray[np.intp],
    ground: Ground,
    plan: Plan,
) -> Weights:
    error = wish.target_error
    if error is None:
        error = ground.mean_error(run_policy(Proportional(), series, plan.pool, plan.window, requests)[scored])
    return ground.optimum.weights_for_error(error, ground.g_per_kwh, plan.pool)


def _in_trace_grams(policy: Policy, scale: float) -> Policy:
    """A budget is said in the grams that are reported; the policy counts unscaled ones."""
    if isinstance(policy, Hysteresis | OptOut | StopDegrading):
        return replace(policy, policy=_in_trace_grams(policy.policy, scale))
    if isinstance(policy, CarbonBudget) and policy.budget_g is not None:
        return replace(policy, budget_g=policy.budget_g / scale)
    return policy
