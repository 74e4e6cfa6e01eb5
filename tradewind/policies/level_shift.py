"""Has the level of the intensity jumped for good? Watches the steps between readings, hour of the day by hour.

A provider that changes its method, or a trace whose unit changes, moves every value by one factor from one interval
to the next. Weather does not: it ramps over hours, or comes at the same time every day. So a shift is a step far
beyond the usual at that time of day, alone among its neighbours, with the new level still there some hours later.
"""

import math
from dataclasses import dataclass
from typing import Any

from tradewind.policies.policy import State

LEAST_STEP = 0.3
LARGEST_STEP = 1.2
"""Logarithms: a change by 35 % at least; above a factor of 3.3 it is taken for an error, not for a level."""
TIMES_USUAL = 5.0
_ALARM_DAYS = 60.0
_BEYOND_LAST = 1.25
"""A zone that steps often must step further: by this much more than the last time, which fades over two months."""
_MEMORY_DAYS = 14.0
_USUAL_DAYS = 10.0
_KNOWN_DAYS = 2


@dataclass(frozen=True, slots=True)
class LevelShift:
    """By what factor (as a logarithm) the level moved, and how long ago."""

    log_factor: float
    intervals_ago: int


def initial_watch() -> dict[str, Any]:
    """Nothing seen yet."""
    return {"slots": {}, "steps": [], "log": None, "at_s": None, "last": 0.0}


def watch_level(
    watch: State, at_s: float, interval_s: float, g_per_kwh: float, day_s: float
) -> tuple[LevelShift | None, dict[str, Any]]:
    """Takes one reading; tells of a shift once it has lasted an eighth of a day."""
    lasting = max(1, int(day_s / 8 / interval_s))
    log = math.log(max(g_per_kwh, 1e-9))
    previous, before_s = watch["log"], watch["at_s"]
    steps, slots = list(watch["steps"]), watch["slots"]
    if previous is None or at_s - before_s > 3.5 * interval_s:
        steps.append((0.0, 0.0))
    else:
        slot = str(int(at_s % day_s / interval_s))
        mean, count, usual = slots.get(slot, (0.0, 0, 0.05))
        step = log - previous
        beyond = step - mean if count >= _KNOWN_DAYS else step
        steps.append((beyond, usual))
        slots = {**slots, slot: _learn(step, beyond, mean, count, usual)}
    steps = steps[-(2 * lasting + 2) :]
    last = watch["last"] * math.exp(-max(0.0, at_s - (at_s if before_s is None else before_s)) / day_s / _ALARM_DAYS)
    shift = _shift(steps, lasting)
    if shift is not None:
        size, wanted = abs(shift.log_factor), _BEYOND_LAST * last
        last, shift = max(last, size), shift if size >= wanted else None
    return shift, {"slots": slots, "steps": steps, "log": log, "at_s": at_s, "last": last}


def _learn(step: float, beyond: float, mean: float, count: int, usual: float) -> tuple[float, int, float]:
    """One step's lesson, limited so that no single one teaches much."""
    if count >= _KNOWN_DAYS:
        usual += (min(abs(beyond), 3 * usual + 0.02) - usual) / _USUAL_DAYS
    lesson = step if count <= _KNOWN_DAYS else min(mean + 0.2, max(mean - 0.2, step))
    return mean + max(1 / (count + 1), 1 / _MEMORY_DAYS) * (lesson - mean), count + 1, usual


def _shift(steps: list[tuple[float, float]], lasting: int) -> LevelShift | None:
    """The judgement on the step that is `lasting` readings old (with one reading before it)."""
    if len(steps) < 2 * lasting + 2:
        return None
    at = lasting + 2
    beyond, usual = steps[at]
    size = abs(beyond)
    if not max(LEAST_STEP, TIMES_USUAL * usual) <= size <= LARGEST_STEP:
        return None
    after_neighbour = abs(steps[at + 1][0]) if at + 1 < len(steps) else 0.0
    if max(abs(steps[at - 1][0]), after_neighbour) > 0.5 * size:
        return None
    levels = _levels([step for step, _ in steps])
    before = sum(levels[at - lasting : at]) / lasting
    after = [level - before for level in levels[at : at + lasting]]
    moved = sum(after) / len(after)
    sign = math.copysign(1.0, beyond)
    lasts = moved * sign >= 0.5 * size and min(abs(level) for level in after) >= 0.5 * size
    return LevelShift(moved, lasting - 1) if lasts and 0.5 <= moved / beyond <= 2.0 else None


def _levels(steps: list[float]) -> list[float]:
    level, levels = 0.0, []
    for step in steps:
        level += step
        levels.append(level)
    return levels
