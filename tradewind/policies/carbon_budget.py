"""`carbon-budget`: the least error within grams per day or month, without knowing the future.

What is left of the budget is spread over what is left of the period: the price of error is the one that would spend
just that over the intensities met lately, or forecast where there is a forecast. So spending early is corrected, a
dirty spell is followed by thrift, and when even the least energy is expected to overspend, the decision says so.
A reserve for an unexpectedly dirty rest of the period is held back, as large as the intensity is unsteady, and is
released as the period runs out.
"""

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from tradewind.decisions import DecisionReason
from tradewind.errors import InvalidInput
from tradewind.policies.finished_interval import FinishedInterval, finish_interval, open_interval
from tradewind.policies.frontier import G_PER_POINT_PER_MILLION, Frontier, frontier_of
from tradewind.policies.intensity_memory import (
    Histogram,
    bin_of,
    empty_histogram,
    mean_intensity,
    price_for_power,
    relative_deviation,
    step_weights,
)
from tradewind.policies.policy import Choice, Situation, State, wholly

MJ_PER_KWH = 3.6e9
_LOAD_DAYS = 14.0
_WEATHER_DAYS = 2.5
PERIODS = ("day", "month")


@dataclass(frozen=True, slots=True)
class CarbonBudget:
    """Keeps to grams per period: a figure, or a place between the previous period's least and most."""

    budget_g: float | None = None
    budget_share: float | None = None
    """0: what always the least energy emitted in the previous period; 1: what always the most did."""
    period: str = "month"
    memory_days: float = 20.0
    caution: float = 1.0
    """How many standard deviations of the mean intensity to come are held in reserve."""
    name: str = field(default="carbon-budget", init=False)

    def __post_init__(self) -> None:
        if (self.budget_g is None) == (self.budget_share is None):
            raise InvalidInput("policy carbon-budget needs one of budget_g (grams) and budget_share (0 to 1)")
        given = self.budget_g if self.budget_g is not None else self.budget_share
        if given is None or not (math.isfinite(given) and given >= 0):
            raise InvalidInput("policy carbon-budget: the budget must be a number of 0 or more")
        if self.period not in PERIODS:
            raise InvalidInput(
                f"policy carbon-budget: period {self.period[:40]!r} is unknown: use {' or '.join(PERIODS)}"
            )

    def initial_state(self) -> State:
        """Nothing met and nothing spent."""
        return {
            "memory": empty_histogram(),
            "load": 0.0,
            "load_days": 0.0,
            "period_s": None,
            "seen_from_s": None,
            "budget_g": self.budget_g,
            "spent_g": 0.0,
            "least_g": 0.0,
            "most_g": 0.0,
            "open": None,
        }

    def select_mix(self, situation: Situation, state: State) -> tuple[Choice, State]:
        """The mix at the price that spends what is left over what is left."""
        after = self._account(situation, state)
        frontier = frontier_of(situation.pool)
        choice = self._choose(situation, frontier, after)
        return choice, {**after, "open": open_interval(state, situation, choice.mix)}

    def _account(self, situation: Situation, state: State) -> dict[str, Any]:
        after = dict(state)
        finished = finish_interval(state, situation)
        if finished is not None:
            self._enter(finished, situation, after)
        start_s = period_start(situation.current.valid_from, self.period).timestamp()
        if after["period_s"] is None or start_s > after["period_s"]:
            self._begin_period(start_s, situation, after)
        return after

    def _begin_period(self, start_s: float, situation: Situation, after: dict[str, Any]) -> None:
        if self.budget_share is not None:
            least, most = after["least_g"], after["most_g"]
            part = part_seen(after["period_s"], after["seen_from_s"], start_s)
            # A period seen by less than half says too little about a whole one.
            after["budget_g"] = (least + self.budget_share * (most - least)) / part if part > 0.5 else None
        seen_from_s = situation.current.valid_from.timestamp()
        after.update(period_s=start_s, seen_from_s=seen_from_s, spent_g=0.0, least_g=0.0, most_g=0.0)

    def _enter(self, finished: FinishedInterval, situation: Situation, after: dict[str, Any]) -> None:
        passed = (situation.current.valid_from.timestamp() - finished.at_s) / 86_400
        memory = np.array(after["memory"])
        memory[bin_of(finished.intensity_g_per_kwh)] += finished.inferences
        after["memory"] = (memory * math.exp(-passed / self.memory_days)).tolist()
        fade = math.exp(-passed / _LOAD_DAYS)
        after["load"] = (after["load"] + finished.inferences) * fade
        after["load_days"] = (after["load_days"] + finished.length_s / 86_400) * fade
        energies = {point.variant: point.energy_mj for point in situation.pool}
        g_per_mj = finished.intensity_g_per_kwh / MJ_PER_KWH
        after["spent_g"] += g_per_mj * sum(
            count * energies[variant] for variant, count in finished.served.items() if variant in energies
        )
        after["least_g"] += g_per_mj * finished.inferences * min(energies.values())
        after["most_g"] += g_per_mj * finished.inferences * max(energies.values())

    def _choose(self, situation: Situation, frontier: Frontier, after: dict[str, Any]) -> Choice:
        current = situation.current
        length_days = (current.valid_to - current.valid_from) / timedelta(days=1)
        per_day = after["load"] / after["load_days"] if after["load"] > 0 else 1.0 / length_days
        left = period_end(current.valid_from, self.period) - current.valid_from
        left_days = max(left / timedelta(days=1), length_days)
        ahead = _ahead(situation, np.array(after["memory"]), per_day, left)
        budget_g = after["budget_g"]
        if budget_g is None:
            budget_g, known = self._guess(frontier, ahead, per_day * left_days, after), False
        else:
            known = True
        least_ahead_g = per_day * left_days * float(frontier.energies_mj[0]) * mean_intensity(ahead) / MJ_PER_KWH
        reserve_g = self.caution * _unsteadiness(ahead, left_days) * least_ahead_g
        left_g = budget_g - after["spent_g"] - reserve_g
        kept = budget_g - after["spent_g"] >= least_ahead_g
        figures = {
            "budget_g": budget_g,
            "spent_g": after["spent_g"],
            "expected_least_g": after["spent_g"] + least_ahead_g,
            "left_days": left_days,
        }
        if len(frontier.variants) == 1 or left_g <= least_ahead_g:
            return self._thrift(frontier.variants[0], figures, kept=kept)
        price = price_for_power(ahead, frontier, left_g * MJ_PER_KWH / (per_day * left_days))
        weights = step_weights(frontier, price, current.intensity_g_per_kwh)
        thresholds = [frontier.threshold_g_per_kwh(step, price) for step in range(len(weights))]
        steps = ", ".join(
            f"{variant} up to {threshold:.4g} g/kWh"
            for variant, threshold in zip(frontier.variants[1:], thresholds, strict=True)
        )
        source = "" if known else " (estimated, as no whole period is known yet)"
        return Choice(
            mix=frontier.mix(weights),
            reason=DecisionReason.CARBON_PRICE,
            explanation=(
                f"{current.intensity_g_per_kwh:g} g/kWh: {after['spent_g']:.4g} of {budget_g:.4g} g{source} spent with "
                f"{left_days:.3g} days of the {self.period} left; the rest pays for {steps}"
            ),
            figures={**figures, "price_g_per_point_per_million": math.exp(min(price, 700)) * G_PER_POINT_PER_MILLION},
        )

    def _guess(self, frontier: Frontier, ahead: Histogram, load: float, after: dict[str, Any]) -> float:
        """The budget of a first period under `budget_share`: by the intensities met so far."""
        least = load * float(frontier.energies_mj[0]) * mean_intensity(ahead) / MJ_PER_KWH
        most = load * float(frontier.energies_mj[-1]) * mean_intensity(ahead) / MJ_PER_KWH
        return float(after["spent_g"] + least + (self.budget_share or 0.0) * (most - least))

    def _thrift(self, variant: str, figures: dict[str, float], *, kept: bool) -> Choice:
        spent, budget, expected = figures["spent_g"], figures["budget_g"], figures["expected_least_g"]
        account = f"{spent:.4g} of {budget:.4g} g spent with {figures['left_days']:.3g} days of the {self.period} left"
        warning = (
            f"only {variant} keeps to the budget"
            if kept
            else f"even {variant} alone is expected to reach {expected:.4g} g: the budget cannot be kept"
        )
        return Choice(wholly(variant), DecisionReason.BUDGET, f"{account}; {warning}", figures)


def period_start(moment: datetime, period: str) -> datetime:
    """When the UTC day or month of a moment begins."""
    utc = moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return utc if period == "day" else utc.replace(day=1)


def period_end(moment: datetime, period: str) -> datetime:
    """When the UTC day or month of a moment ends."""
    start = period_start(moment, period)
    return start + timedelta(days=1) if period == "day" else (start + timedelta(days=32)).replace(day=1)


def part_seen(start_s: float | None, seen_from_s: float, next_s: float) -> float:
    """How much of the last period was seen: none where there was none, all where only its first hours are missing."""
    if start_s is None:
        return 0.0
    part = (next_s - seen_from_s) / (next_s - start_s)
    return 1.0 if part > 0.99 else part


def _unsteadiness(ahead: Histogram, left_days: float) -> float:
    """Relative standard deviation of the mean over what is left, taking the weather to last for some days."""
    independent = max(1.0, left_days / _WEATHER_DAYS)
    return relative_deviation(ahead) / math.sqrt(independent)


def _ahead(situation: Situation, memory: Histogram, per_day: float, left: timedelta) -> Histogram:
    """The load of the rest of the period by intensity: current, then forecast, then as met lately."""
    current = situation.current
    end = current.valid_from + left
    ahead = np.zeros_like(memory)
    left_load = per_day * (left / timedelta(days=1))
    for reading in (current, *situation.forecast):
        if current.valid_from <= reading.valid_from < end:
            load = per_day * ((min(reading.valid_to, end) - reading.valid_from) / timedelta(days=1))
            ahead[bin_of(reading.intensity_g_per_kwh)] += load
    rest = left_load - float(ahead.sum())
    met = float(memory.sum())
    if rest > 0 and met > 0:
        ahead += memory * (rest / met)
    return ahead
