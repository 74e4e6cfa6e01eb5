"""The page's figures show what is missing as missing, never as zero."""

import numpy as np
import pytest

from simulator.report import broken_at_gaps, sums_of_whole_days

HALF_HOUR = 1 / 48


def test_no_line_is_drawn_across_a_gap() -> None:
    days, values = broken_at_gaps(np.array([0.0, 0.5, 3.0, 3.5]), np.array([1.0, 2.0, 3.0, 4.0]), 0.5)
    assert days == pytest.approx([0.0, 0.5, np.nan, 3.0, 3.5], nan_ok=True)
    assert values == pytest.approx([1.0, 2.0, np.nan, 3.0, 4.0], nan_ok=True)


def test_days_that_are_missing_or_incomplete_have_no_sum() -> None:
    rows = np.concatenate([np.arange(1, 48), np.arange(3 * 48, 4 * 48), np.arange(4 * 48, 4 * 48 + 10)])
    sums = sums_of_whole_days(rows * HALF_HOUR, np.ones(len(rows)), HALF_HOUR)
    assert sums == pytest.approx([47.0, np.nan, np.nan, 48.0, np.nan], nan_ok=True)


def test_a_few_hours_alone_are_shown() -> None:
    assert sums_of_whole_days(np.array([0.0, HALF_HOUR, 2 * HALF_HOUR]), np.full(3, 2.0), HALF_HOUR).tolist() == [6.0]
