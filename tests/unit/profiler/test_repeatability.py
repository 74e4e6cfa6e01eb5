"""Counting how often intervals hold the mean of all runs."""

import random

from profiler.plan import Cell
from profiler.repeatability import Run, count_runs, coverage
from profiler.statistics import estimate_mean

CELL = Cell("a", 1)


def run(rng: random.Random, mean: float, between_runs: float = 0.0) -> Run:
    own = estimate_mean([rng.gauss(mean, 1) for _ in range(8)])
    return Run({CELL: own}, {CELL: own.widened(between_runs)}, 0.25)


def test_honest_intervals_hold_and_drifting_ones_do_not() -> None:
    rng = random.Random(2)
    honest = coverage([run(rng, 10) for _ in range(200)])[CELL]
    assert 180 <= honest.held <= 198
    assert 9.8 < honest.mean < 10.2
    assert honest.between_runs < 0.02
    drifting = coverage([run(rng, 10 + number) for number in range(20)])[CELL]
    assert drifting.held < 5
    assert drifting.between_runs > 0.2


def test_what_differs_between_runs_is_found_and_stated_with_it_intervals_hold() -> None:
    rng = random.Random(3)
    moody = coverage([run(rng, rng.gauss(10, 0.8), between_runs=0.08) for _ in range(300)])[CELL]
    assert 0.07 < moody.between_runs < 0.09
    assert moody.held_by_own < 210
    assert 276 <= moody.held <= 294


def test_every_run_is_told_as_it_ends_and_the_count_at_the_end() -> None:
    told: list[str] = []
    count_runs(iter([run(random.Random(number), 10) for number in range(3)]), told.append)
    assert [line.partition(":")[0] for line in told] == ["run 1", "run 2", "run 3", "a"]
    assert "other work took 25 % of the machine" in told[0]
    assert "of 3 stated intervals" in told[3]


def test_one_run_alone_is_not_counted() -> None:
    told: list[str] = []
    count_runs(iter([run(random.Random(1), 10)]), told.append)
    assert len(told) == 1
