"""Intervals: the quantile against SciPy's, and how often they hold the truth."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from profiler.statistics import estimate_mean, estimate_series, percentile, percentile_interval, student_t


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 7, 9, 15, 29, 60, 400])
@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.99])
def test_student_quantile_is_scipys(degrees: int, confidence: float) -> None:
    assert student_t(degrees, confidence) == pytest.approx(stats.t.ppf((1 + confidence) / 2, degrees), rel=1e-9)


def test_an_interval_is_the_textbooks() -> None:
    values = [10.0, 12.0, 11.0, 13.0]
    estimate = estimate_mean(values)
    low, high = stats.t.interval(0.95, 3, loc=11.5, scale=stats.sem(values))
    assert (estimate.mean, estimate.samples) == (11.5, 4)
    assert estimate.low == pytest.approx(low)
    assert estimate.high == pytest.approx(high)
    assert estimate.cv == pytest.approx(stats.variation(values, ddof=1))
    assert estimate.relative_half_width == pytest.approx((high - low) / 2 / 11.5)


@pytest.mark.parametrize("samples", [3, 8, 30])
def test_intervals_hold_the_truth_19_times_of_20(samples: int) -> None:
    rng = random.Random(samples)
    runs = 4000
    held = 0
    for _ in range(runs):
        estimate = estimate_mean([rng.gauss(5.0, 1.0) for _ in range(samples)])
        held += estimate.low <= 5.0 <= estimate.high
    # Four standard errors of a share of 0.95 over 4000 runs.
    assert held / runs == pytest.approx(0.95, abs=4 * (0.95 * 0.05 / runs) ** 0.5)


def alike(rng: random.Random, count: int, likeness: float) -> list[float]:
    """Values about 10, each as like the one before it as `likeness` says."""
    values, mood = [], rng.gauss(0, 1)
    for _ in range(count):
        values.append(10 + mood)
        mood = likeness * mood + (1 - likeness**2) ** 0.5 * rng.gauss(0, 1)
    return values


@pytest.mark.parametrize(("likeness", "least", "most"), [(0.0, 0.94, 0.99), (0.3, 0.88, 0.99), (0.6, 0.86, 0.99)])
def test_values_that_follow_each_other_are_not_taken_for_independent(
    likeness: float, least: float, most: float
) -> None:
    rng = random.Random(3)
    held = plain = 0
    runs = 1000
    for _ in range(runs):
        values = alike(rng, 30, likeness)
        series, independent = estimate_series(values), estimate_mean(values)
        assert series.mean == independent.mean
        assert series.low <= independent.low + 1e-9
        held += series.low <= 10 <= series.high
        plain += independent.low <= 10 <= independent.high
    assert least <= held / runs <= most
    if likeness >= 0.6:
        assert plain / runs < 0.75


def test_equal_values_are_known_exactly() -> None:
    estimate = estimate_series([4.0] * 8)
    assert (estimate.low, estimate.mean, estimate.high, estimate.cv) == (4.0, 4.0, 4.0, 0.0)


def test_one_value_has_no_interval() -> None:
    with pytest.raises(ValueError, match="at least two"):
        estimate_mean([1.0])


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=200), st.floats(0.1, 100))
def test_a_percentile_was_seen_and_splits_the_values(values: list[float], percent: float) -> None:
    found = percentile(values, percent)
    assert found in values
    below = sum(value <= found for value in values)
    assert below >= percent / 100 * len(values) - 1e-9


def test_percentile_interval_holds_the_true_percentile() -> None:
    rng = random.Random(1)
    held = 0
    for _ in range(1000):
        interval = percentile_interval([rng.random() for _ in range(400)], 95)
        assert interval is not None
        held += interval[0] <= 0.95 <= interval[1]
    assert held >= 930


def test_too_few_values_have_no_percentile_interval() -> None:
    assert percentile_interval([1.0, 2.0, 3.0], 95) is None
