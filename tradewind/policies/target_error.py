"""`target-error`: the least carbon for a given mean error over the requests, without knowing the future.

With the whole period known, the least carbon comes from one price of error: a larger variant serves while a point of
error costs at most that price. Here the price is the one that would have met the target over the intensities met so
far, fading over two months. Three things correct it, all slowly, because what is cheap today is only known later:

- The account: error above or below the target so far, in days of load at the pool's whole span of error. Behind by
  more than a few days, the aim is lowered to make up for it within a month. Ahead, nothing is forced: a reserve from
  a clean season is what carries through a dirty one.
- The ratchet: while behind, the price does not fall below, and while ahead it does not rise above, what a much
  longer memory says. While ahead, an unusually clean spell is not bought in full either.
- A level that jumps for good (watched in `level_shift`) rescales the memory at once, and the error since then is
  brought back to the target within two weeks.

The first four weeks are for learning; the account begins after them.
"""

import math
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import numpy as np

from tradewind.decisions import DecisionReason
from tradewind.errors import InvalidInput
from tradewind.policies.finished_interval import FinishedInterval, finish_interval, open_interval
from tradewind.policies.frontier import G_PER_POINT_PER_MILLION, Frontier, frontier_of
from tradewind.policies.intensity_memory import (
    BIN_WIDTH,
    Histogram,
    bin_of,
    empty_histogram,
    price_for_error,
    shifted,
    step_weights,
)
from tradewind.policies.level_shift import initial_watch, watch_level
from tradewind.policies.policy import Choice, Situation, State, wholly

_MEMORIES_DAYS = {"quick": 5.0, "usual": 60.0, "long": 300.0}
_LOAD_DAYS = 14.0
_RECENT = 200
_DAYS_PER_TOLERATED = 100.0
"""The tolerance grows with the account: a young one is kept nearer to the target."""
_SPELL_BINS = 7
"""By how many bins the price of the last days must be lower to count as an unusually clean spell (20 %)."""
_RATCHET_DAYS = 1.7
"""How far behind or ahead for the ratchet to hold in full."""


@dataclass(frozen=True, slots=True)
class TargetError:
    """Aims at a request-weighted mean error."""

    target_error: float
    day: timedelta = timedelta(days=1)
    """How long a day lasts: shorter only where a replay compresses time."""
    learning_days: float = 28.0
    make_up_days: float = 28.0
    """Within how long an error behind the target is made up for."""
    tolerance_days: float = 2.5
    """How far behind (in days of load at the pool's whole span of error) before the aim is lowered, at most."""
    settling_days: float = 14.0
    """Within how long the error is back at the target after the level of the intensity has jumped."""
    name: str = field(default="target-error", init=False)

    def __post_init__(self) -> None:
        if not math.isfinite(self.target_error):
            raise InvalidInput("policy target-error: target_error must be a finite number")

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
        """The mix at the price that the memory, the account and the ratchet give."""
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
        after["age_days"] += passed
        after["debt"] = after["debt"] + owed if after["age_days"] > self.learning_days else 0.0
        if after["settling"] is not None:
            settling = {"debt": after["settling"]["debt"] + owed, "left_days": after["settling"]["left_days"] - passed}
            after["settling"] = settling if settling["left_days"] > 0 else None
        after["recent_owed"] = [*after["recent_owed"], owed][-_RECENT:]

    def _watch(self, situation: Situation, after: dict[str, Any]) -> None:
        current, day_s = situation.current, self.day.total_seconds()
        length_s = (current.valid_to - current.valid_from).total_seconds()
        shift, after["watch"] = watch_level(
            after["watch"], current.valid_from.timestamp(), length_s, current.intensity_g_per_kwh, day_s
        )
        if shift is None:
            return
        after["memories"] = {
            name: shifted(np.array(histogram), shift.log_factor).tolist()
            for name, histogram in after["memories"].items()
        }
        owed = after["recent_owed"][-shift.intervals_ago :] if shift.intervals_ago else []
        left = self.settling_days - shift.intervals_ago * length_s / day_s
        after["settling"] = {"debt": sum(owed), "left_days": left}

    def _choose(self, situation: Situation, frontier: Frontier, after: dict[str, Any]) -> Choice:
        current = situation.current
        length_days = (current.valid_to - current.valid_from) / self.day
        per_day = after["load"] / after["load_days"] if after["load"] > 0 else 1.0 / length_days
        index, weight = bin_of(current.intensity_g_per_kwh), per_day * length_days
        memories = {}
        for name, kept in after["memories"].items():
            memories[name] = np.array(kept)
            memories[name][index] += weight
        owed_days = after["debt"] / per_day / float(frontier.errors[0] - frontier.errors[-1])
        account_days = max(0.0, after["age_days"] - self.learning_days)
        aim = self._aim(frontier, owed_days, account_days, after["settling"], per_day)
        price = _ratcheted(memories, frontier, aim, owed_days)
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

    def _aim(
        self,
        frontier: Frontier,
        owed_days: float,
        account_days: float,
        settling: dict[str, float] | None,
        per_day: float,
    ) -> float:
        """The mean error to aim at from now on."""
        best, worst = float(frontier.errors[-1]), float(frontier.errors[0])
        span = worst - best
        if settling is not None:
            correction = settling["debt"] / per_day / max(settling["left_days"], 1.0)
        elif owed_days > 0:
            tolerance = min(self.tolerance_days, account_days / _DAYS_PER_TOLERATED)
            correction = span * max(0.0, owed_days - tolerance) / self.make_up_days
        else:
            # A reserve is given back only where it is out of all proportion.
            correction = span * min(0.0, owed_days + 5 * self.tolerance_days) / (10 * self.make_up_days)
        limit = span / 4 if settling is None else span
        return min(worst, max(best, self.target_error - min(limit, max(-limit, correction))))

    def _explain(
        self, intensity: float, frontier: Frontier, thresholds: list[float], aim: float, owed_days: float
    ) -> str:
        steps = ", ".join(
            f"{variant} up to {threshold:.4g} g/kWh"
            for variant, threshold in zip(frontier.variants[1:], thresholds, strict=True)
        )
        side = "behind" if owed_days > 0 else "ahead"
        return (
            f"{intensity:g} g/kWh: for a mean error of {self.target_error:g} (aiming at {aim:.4g}, "
            f"{abs(owed_days):.2g} days {side}) the price of error pays for {steps}"
        )


def _ratcheted(memories: dict[str, Histogram], frontier: Frontier, aim: float, owed_days: float) -> float:
    """Logarithm of the price: the usual memory's, held by the longer one on the side that the account asks for."""
    price = price_for_error(memories["usual"], frontier, aim)
    long = price_for_error(memories["long"], frontier, aim)
    side = min(1.0, max(-1.0, owed_days / _RATCHET_DAYS))
    if side > 0:
        return price + side * max(0.0, long - price)
    price += side * max(0.0, price - long)
    spell = price_for_error(memories["quick"], frontier, aim)
    return price + side * max(0.0, price - spell - _SPELL_BINS * BIN_WIDTH)


def _only(frontier: Frontier) -> Choice:
    variant = frontier.variants[0]
    explanation = f"{variant} always serves: no larger variant of the pool has less error"
    return Choice(wholly(variant), DecisionReason.CARBON_PRICE, explanation)
