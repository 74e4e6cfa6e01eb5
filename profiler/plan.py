"""What to measure next, and when it is enough: pure.

Cells (a variant at a batch size, or the machine at rest) take turns, round after round, so that a drift of the
machine hits all alike. A cell rests once its mean is known well enough.
"""

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


@dataclass(frozen=True, slots=True)
class Goal:
    """How sure is sure enough."""

    precision: float = 0.03
    """Half the 95 % interval as a ratio of the mean, at which measuring stops."""
    limit: float = 0.10
    """Beyond this a figure is not written, however long it was measured."""
    least: int = 12
    """Windows before an interval is believed: stopping at the first lucky narrow one would make it too narrow."""
    most: int = 60
    fewest: int = 4
    """Below this nothing is written, whatever the budget."""


def is_enough(energies_mj: Sequence[float], goal: Goal) -> bool:
    """Whether a cell's windows have settled its mean, or never will."""
    if len(energies_mj) < goal.least:
        return False
    return len(energies_mj) >= goal.most or estimate_series(energies_mj).relative_half_width <= goal.precision


def next_round(cells: Sequence[Cell], so_far: Mapping[Cell, Sequence[float]], goal: Goal, number: int) -> list[Cell]:
    """The cells that still need windows, in this round's own order; the idle machine among them while any does."""
    waiting = [cell for cell in cells if cell != IDLE and not is_enough(so_far.get(cell, ()), goal)]
    if not waiting:
        return []
    order = [*waiting, IDLE] if IDLE in cells else waiting
    # A shuffle drawn from the round's number: no cell always follows the same other, and a run can be repeated.
    random.Random(number).shuffle(order)  # noqa: S311 -- not for secrets
    return order
