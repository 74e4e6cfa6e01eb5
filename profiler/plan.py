"""What to measure next, and when it is enough: pure.

Cells (a variant at a batch size, or the machine at rest) take turns, round after round, so that a drift of the
machine hits all alike. A cell rests once its mean is known well enough.
"""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from profiler.statistics import estimate_series


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """A variant at a batch size; the idle machine is the cell without a variant."""

    variant: str
    batch: int

    def __str__(self) -> str:
        return f"{self.variant} x {self.batch}" if self.variant else "idle"


IDLE = Cell("", 0)
_LOOKS = 2


@dataclass(frozen=True, slots=True)
class Goal:
    """How sure is sure enough."""

    precision: float = 0.03
    """Half the run's own 95 % interval as a ratio of the mean, at which measuring stops."""
    limit: float = 0.10
    """Half the run's own interval as a ratio of the mean: beyond it a figure is not written, however long it took."""
    between_runs: float | None = None
    """Standard deviation between runs / mean, which no single run can see; the meter's own where nobody says."""
    least: int = 16
    """Windows before an interval is looked at."""
    most: int = 64
    fewest: int = 4
    """Below this nothing is written, whatever the budget."""
    spread_s: float = 60.0
    """The time that the least windows are spread over: what a machine does changes within a minute."""

    def known_between_runs(self, meters: float) -> float:
        """What the user says of the differences between runs, or what is known of such a meter."""
        return meters if self.between_runs is None else self.between_runs


def is_enough(energies_mj: Sequence[float], goal: Goal) -> bool:
    """Whether a cell's windows have settled its mean, or never will."""
    return len(energies_mj) >= _wanted(energies_mj, goal)


def _wanted(energies_mj: Sequence[float], goal: Goal) -> int:
    """How many windows to measure, judged after the least and once more.

    Whoever looks after every window and stops at the first narrow interval stops at one that is narrow by luck.
    """
    wanted = goal.least
    for _ in range(_LOOKS):
        if len(energies_mj) < wanted or wanted >= goal.most:
            break
        excess = estimate_series(energies_mj[:wanted]).relative_half_width / goal.precision
        if excess <= 1:
            break
        wanted = math.ceil(min(wanted * min(excess, goal.most) ** 2, goal.most))
    return wanted


def pause_s(number: int, elapsed_s: float, goal: Goal) -> float:
    """How long to wait before a round, counted from 0, so that the least of them fill the spread."""
    return max(0.0, min(number, goal.least) * goal.spread_s / goal.least - elapsed_s)


def next_round(cells: Sequence[Cell], so_far: Mapping[Cell, Sequence[float]], goal: Goal, number: int) -> list[Cell]:
    """The cells that still need windows, in this round's own order; the idle machine among them while any does."""
    waiting = [cell for cell in cells if cell != IDLE and not is_enough(so_far.get(cell, ()), goal)]
    if not waiting:
        return []
    order = [*waiting, IDLE] if IDLE in cells else waiting
    # A shuffle drawn from the round's number: no cell always follows the same other, and a run can be repeated.
    random.Random(number).shuffle(order)  # noqa: S311 -- not for secrets
    return order
