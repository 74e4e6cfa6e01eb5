"""`target-error`: the least carbon for a given mean error over the requests, without knowing the future.

With a whole period known, the least carbon comes from one price of error: a larger variant serves while a point of
error costs at most that price. Here the promise is a mean error over a period (a year), and the price is the one that
keeps it from now on:

- What is left to aim at: the target, less what error is owed so far, spread over all that is left of the period. So
  what one season owes is paid slowly, and the more surely the nearer the end. An account near enough to keep the
  promise as it stands is left alone.
- What is to come: intensities like the last four weeks' for a season, and like all that was met for the rest. The
  nearer the end, the more the present weather counts.
- When the level seems to have jumped for good (watched in `level_shift`), the past is forgotten within days, and the
  error since then is brought to the target within two weeks. Only if the level is still there after them do the
  memories follow: weather that looked like a jump leaves no trace.

The first four weeks are for learning; the first period's account begins after them.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import numpy as np

from tradewind.decisions import DecisionReason
from tradewind.errors import InvalidInput
from tradewind.policies.finished_interval import FinishedInterval, finish_interval, open_interval
from tradewind.policies.frontier import G_PER_POINT_PER_MILLION, Frontier, frontier_of
from tradewind.policies.intensity_memory import (
    Histogram,
    bin_of,
    centre_of,
    empty_histogram,
    log_level,
    price_for_error,
    shifted,
    step_weights,
)
from tradewind.policies.level_shift import LEAST_STEP, initial_watch, watch_level
from tradewind.policies.policy import Choice, Situation, State, wholly

_MEMORIES_DAYS = {"recent": 28.0, "all": 365.0}

_SEASON_DAYS = 90.0
"""How long what was met in the last four weeks is taken to go on: a season lasts three months."""
_SETTLING_MEMORY_DAYS = 5.0
"""How fast the past is forgotten once the level seems to have jumped: over more than a day, within the two weeks."""
_LOAD_DAYS = 14.0
_RECENT = 200
_NEAR_ENOUGH = 0.015
"""How far from the target a period's mean may end: in points, and as a part of the pool's span of error."""
_LAST_DAYS = 2.0
"""The account's rest is not forced into less than this at the end of a period."""


@dataclass(frozen=True, slots=True)
class TargetError:
    """Aims at a request-weighted mean error."""

    target_error: float
    day: timedelta = timedelta(days=1)
    """How long a day lasts: shorter only where a replay compresses time."""
    period_days: float = 365.0
    """The promise is the mean error over this long; then a new account begins."""
    learning_days: float = 28.0
    settling_days: float = 14.0
    """Within how long the error is back at the target after the level of the intensity has jumped."""
    name: str = field(default="target-error", init=False)

    def __post_init__(self) -> None:
        if not math.isfinite(self.target_error):
            raise InvalidInput("policy target-error: target_error must be a finite number")
        if not self.learning_days < self.period_days < math.inf:
            raise InvalidInput(
                f"policy target-error: period_days must be more than the {self.learning_days:g} to learn"
            )

    def initial_state(self) -> State:
        """Nothing met and nothing owed."""
        return {
            "memories": {name: empty_histogram() for name in _MEMORIES_DAYS},
            "load": 0.0,
            "load_days": 0.0,
            "age_days": 0.0,
            "debt": 0.0,
            "settling": None,
            "recent_owed": [],
            "watch": initial_watch(),
            "open": None,
        }

    def select_mix(self, situation: Situation, state: State) -> tuple[Choice, State]:
        """The mix at the price that keeps the promise over what is left of the period."""
        frontier = frontier_of(situation.pool)
        after = self._account(situation, state)
        choice = self._choose(situation, frontier, after) if len(frontier.variants) > 1 else _only(frontier)
        return choice, {**after, "open": open_interval(state, situation, choice.mix)}

    def _account(self, situation: Situation, state: State) -> dict[str, Any]:
        """The state once the finished interval is entered and the new reading watched."""
        after = dict(state)
        finished = finish_interval(state, situation)
        if finished is not None:
            self._enter(finished, situation, after)
        if finished is not None or state["open"] is None:
            self._watch(situation, after)
        return after

    def _enter(self, finished: FinishedInterval, situation: Situation, after: dict[str, Any]) -> None:
        day_s, current = self.day.total_seconds(), situation.current
        passed = (current.valid_from.timestamp() - finished.at_s) / day_s
        weight, index = finished.inferences, bin_of(finished.intensity_g_per_kwh)
        memories = {}
        for name, days in _MEMORIES_DAYS.items():
            histogram = np.array(after["memories"][name])
            histogram[index] += weight
            memories[name] = (histogram * math.exp(-passed / days)).tolist()
        after["memories"] = memories
        fade = math.exp(-passed / _LOAD_DAYS)
        after["load"] = (after["load"] + weight) * fade
        after["load_days"] = (after["load_days"] + finished.length_s / day_s) * fade
        errors = {point.variant: point.error for point in situation.pool}
        owed = sum(
            count * (errors[variant] - self.target_error)
            for variant, count in finished.served.items()
            if variant in errors
        )
        before = after["age_days"]
        after["age_days"] = age = before + passed
        begun = age > self.learning_days and age // self.period_days == before // self.period_days
        after["debt"] = after["debt"] + owed if begun else 0.0
        if after["settling"] is not None:
            self._settle(after, index, weight, owed, passed)
        after["recent_owed"] = [*after["recent_owed"], owed][-_RECENT:]

    def _settle(self, after: dict[str, Any], index: int, weight: float, owed: float, passed: float) -> None:
        """Enters an interval since a jump; at the end what was met tells whether the level did move for good."""
        settling = after["settling"]
        memory = np.array(settling["memory"])
        memory[index] += weight
        memory = memory * math.exp(-passed / _SETTLING_MEMORY_DAYS)
        met = [settling["met"][0] + weight * centre_of(index), settling["met"][1] + weight]
        left_days = settling["left_days"] - passed
        if left_days > 0:
            more = {"debt": settling["debt"] + owed, "left_days": left_days, "memory": memory.tolist(), "met": met}
            after["settling"] = {**settling, **more}
            return
        factor = settling["log_factor"]
        moved = (met[0] / met[1] - settling["before"]) / factor if met[1] > 0 else 0.0
        if moved >= 0.5:
            everything = shifted(np.array(after["memories"]["all"]), factor)
            after["memories"] = {"recent": memory.tolist(), "all": everything.tolist()}
        after["settling"] = None

    def _watch(self, situation: Situation, after: dict[str, Any]) -> None:
        current, day_s = situation.current, self.day.total_seconds()
        length_s = (current.valid_to - current.valid_from).total_seconds()
        shift, after["watch"] = watch_level(
            after["watch"], current.valid_from.timestamp(), length_s, current.intensity_g_per_kwh, day_s
        )
        if shift is None or after["age_days"] <= self.learning_days:
            return
        ongoing = after["settling"] or {"log_factor": 0.0, "memory": after["memories"]["recent"], "before": None}
        factor = ongoing["log_factor"] + shift.log_factor
        if abs(factor) < LEAST_STEP / 2:
            after["settling"] = None
            return
        memory, ago = np.array(ongoing["memory"]), shift.intervals_ago
        after["settling"] = {
            "debt": sum(after["recent_owed"][-ago:]) if ago else 0.0,
            "left_days": self.settling_days - ago * length_s / day_s,
            "log_factor": factor,
            "memory": memory.tolist(),
            "before": log_level(memory)[0] if ongoing["before"] is None else ongoing["before"],
            "met": [0.0, 0.0],
        }

    def _choose(self, situation: Situation, frontier: Frontier, after: dict[str, Any]) -> Choice:
        current = situation.current
        length_days = (current.valid_to - current.valid_from) / self.day
        per_day = after["load"] / after["load_days"] if after["load"] > 0 else 1.0 / length_days
        index, weight = bin_of(current.intensity_g_per_kwh), per_day * length_days
        memories = {name: np.array(kept) for name, kept in after["memories"].items()}
        if after["settling"] is not None:
            memories["recent"] = np.array(after["settling"]["memory"])
        for memory in memories.values():
            memory[index] += weight
        span = float(frontier.errors[0] - frontier.errors[-1])
        owed = after["debt"] / per_day
        to_make_up, days = self._task(owed, span, after, per_day)
        best, worst = float(frontier.errors[-1]), float(frontier.errors[0])
        aim = min(worst, max(best, self.target_error - to_make_up / days))
        price = price_for_error(_to_come(memories, days), frontier, aim)
        owed_days = owed / span
        weights = step_weights(frontier, price, current.intensity_g_per_kwh)
        mix = frontier.mix(weights)
        thresholds = [frontier.threshold_g_per_kwh(step, price) for step in range(len(weights))]
        return Choice(
            mix=mix,
            reason=DecisionReason.CARBON_PRICE,
            explanation=self._explain(current.intensity_g_per_kwh, frontier, thresholds, aim, owed_days),
            figures={
                "target_error": self.target_error,
                "aim_error": aim,
                "owed_days": owed_days,
                "price_g_per_point_per_million": math.exp(min(price, 700.0)) * G_PER_POINT_PER_MILLION,
                **{
                    f"threshold_{variant}_g_per_kwh": threshold
                    for variant, threshold in zip(frontier.variants[1:], thresholds, strict=True)
                },
            },
        )

    def _task(self, owed: float, span: float, after: Mapping[str, Any], per_day: float) -> tuple[float, float]:
        """The error to make up for, in point-days, and the days for it."""
        settling = after["settling"]
        if settling is not None:
            return settling["debt"] / per_day, max(settling["left_days"], 1.0)
        near_enough = _NEAR_ENOUGH * min(1.0, span) * (self.period_days - self.learning_days)
        beyond = math.copysign(max(0.0, abs(owed) - near_enough), owed)
        return beyond, max(self.period_days - after["age_days"] % self.period_days, _LAST_DAYS)

    def _explain(
        self, intensity: float, frontier: Frontier, thresholds: list[float], aim: float, owed_days: float
    ) -> str:
        steps = ", ".join(
            f"{variant} up to {threshold:.4g} g/kWh"
            for variant, threshold in zip(frontier.variants[1:], thresholds, strict=True)
        )
        if (beyond := self._out_of_reach(frontier)) is not None:
            return f"{intensity:g} g/kWh: {beyond}"
        side = "behind" if owed_days > 0 else "ahead"
        return (
            f"{intensity:g} g/kWh: for a mean error of {self.target_error:g} (aiming at {aim:.4g}, "
            f"{abs(owed_days):.2g} days {side}) the price of error pays for {steps}"
        )

    def _out_of_reach(self, frontier: Frontier) -> str | None:
        """What is said of a target that no mix of the pool can have."""
        for end, place, beyond in (
            ("least", -1, self.target_error < frontier.errors[-1]),
            ("most", 0, self.target_error > frontier.errors[0]),
        ):
            if beyond:
                return (
                    f"a mean error of {self.target_error:g} is out of the pool's reach, so {frontier.variants[place]} "
                    f"with the {end}, {frontier.errors[place]:g}, always serves"
                )
        return None


def _to_come(memories: Mapping[str, Histogram], days: float) -> Histogram:
    """The intensities to expect over so many days."""
    part = min(1.0, _SEASON_DAYS / days)
    recent, everything = memories["recent"], memories["all"]
    # A load of nothing at all leaves nothing to share out.
    scale = everything.sum() / max(recent.sum(), 1e-300)
    to_come: Histogram = part * scale * recent + (1.0 - part) * everything
    return to_come


def _only(frontier: Frontier) -> Choice:
    variant = frontier.variants[0]
    explanation = f"{variant} always serves: no larger variant of the pool has less error"
    return Choice(wholly(variant), DecisionReason.CARBON_PRICE, explanation)
