"""Top-1 and top-k error against the plain definition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.error_rate import ErrorRate, wrong_among


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(2, 12), st.booleans())
def test_top_1_is_argmax(seed: int, examples: int, classes: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 3, (examples, classes)).astype(float) if ties else rng.random((examples, classes))
    labels = rng.integers(0, classes, examples)
    assert wrong_among(scores, labels, 1) == int((scores.argmax(axis=1) != labels).sum())


@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_top_k_is_membership_of_the_k_highest(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    scores, labels = rng.integers(0, 4, (30, 6)).astype(float), rng.integers(0, 6, 30)
    # A stable sort of the negated scores puts equal ones in order of class.
    highest = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    assert wrong_among(scores, labels, k) == sum(label not in row for label, row in zip(labels, highest, strict=True))


def test_a_score_that_is_not_a_number_is_wrong() -> None:
    scores = np.array([[np.nan, 0.1], [0.9, 0.1]])
    assert wrong_among(scores, np.array([0, 0]), 1) == 1
    assert wrong_among(scores, np.array([0, 0]), 2) == 1


def test_percent_and_wilsons_interval() -> None:
    rate = ErrorRate({1: 20, 5: 0}, 200)
    assert rate.percent(1) == 10
    assert rate.interval_95(1)[0] == pytest.approx(6.57, abs=0.01)
    assert rate.interval_95(1)[1] == pytest.approx(14.94, abs=0.01)
    low, high = rate.interval_95(5)
    assert low == 0
    assert 0 < high < 2.5
