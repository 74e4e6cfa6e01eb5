"""Counting how often intervals hold the mean of all runs."""

import random

from profiler.plan import Cell
from profiler.repeatability import coverage
from profiler.statistics import estimate_mean

CELL = Cell("a", 1)


def test_honest_intervals_hold_and_drifting_ones_do_not() -> None:
    rng = random.Random(2)
    honest = [{CELL: estimate_mean([rng.gauss(10, 1) for _ in range(8)])} for _ in range(200)]
    held, mean = coverage(honest)[CELL]
    assert 180 <= held <= 198
    assert 9.8 < mean < 10.2
    drifting = [{CELL: estimate_mean([rng.gauss(10 + run, 1) for _ in range(8)])} for run in range(20)]
    assert coverage(drifting)[CELL][0] < 5
