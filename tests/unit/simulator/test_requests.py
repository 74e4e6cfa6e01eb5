"""Request traces are laid over the intensity by time or by week; what they do not say stays unknown."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from simulator.requests import Alignment, aligned_requests
from simulator.series import IntensitySeries
from tradewind.errors import InvalidInput
from tradewind.traces import Trace

MONDAY = datetime(2023, 6, 5, tzinfo=UTC)


def series(start: datetime, count: int, minutes: int = 30) -> IntensitySeries:
    """Intervals from a moment on."""
    times = int(start.timestamp()) + 60 * minutes * np.arange(count, dtype=np.int64)
    return IntensitySeries("grid", times, np.full(count, 200.0), 60 * minutes, count, 0, 0, 0)


def hourly(start: datetime, counts: list[float]) -> Trace:
    """An hourly trace of counts."""
    times = int(start.timestamp()) + 3600 * np.arange(len(counts), dtype=np.int64)
    return Trace("load", times, np.array(counts), 3600, "requests", "timestamp")


def test_an_hour_is_shared_by_its_half_hours() -> None:
    counts = aligned_requests(series(MONDAY, 4), hourly(MONDAY, [10.0, 20.0]), Alignment.ABSOLUTE)
    assert counts.tolist() == [5.0, 5.0, 10.0, 10.0]


def test_hours_add_up_over_a_longer_interval() -> None:
    counts = aligned_requests(series(MONDAY, 1, minutes=120), hourly(MONDAY, [10.0, 20.0]), Alignment.ABSOLUTE)
    assert counts.tolist() == [30.0]


def test_a_shift_by_a_quarter_takes_parts() -> None:
    start = MONDAY + timedelta(minutes=45)
    counts = aligned_requests(series(start, 1), hourly(MONDAY, [8.0, 16.0]), Alignment.ABSOLUTE)
    assert counts.tolist() == [2.0 + 4.0]


def test_what_is_not_in_the_trace_is_unknown() -> None:
    load = hourly(MONDAY, [10.0, np.nan, 30.0])
    counts = aligned_requests(series(MONDAY, 8), load, Alignment.ABSOLUTE)
    assert np.isnan(counts).tolist() == [False, False, True, True, False, False, True, True]


def test_by_week_the_mean_of_the_same_hour_counts() -> None:
    load = hourly(MONDAY - timedelta(weeks=30), [float(hour % 24) for hour in range(168)] + [100.0] * 2)
    counts = aligned_requests(series(MONDAY, 6), load, Alignment.WEEK)
    assert counts == pytest.approx([25.0, 25.0, 25.25, 25.25, 1.0, 1.0])
    week_later = aligned_requests(series(MONDAY + timedelta(weeks=1), 6), load, Alignment.WEEK)
    assert week_later == pytest.approx(counts)


def test_by_week_across_the_turn_of_the_epoch_week() -> None:
    thursday = datetime(2023, 6, 8, tzinfo=UTC)
    load = hourly(thursday - timedelta(weeks=9), [float(hour) for hour in range(168)])
    counts = aligned_requests(series(thursday - timedelta(minutes=30), 1, minutes=60), load, Alignment.WEEK)
    assert counts == pytest.approx([167.0 / 2])


def test_other_days_hint_at_the_week() -> None:
    with pytest.raises(InvalidInput, match="align it by week"):
        aligned_requests(series(MONDAY, 4), hourly(MONDAY - timedelta(days=90), [1.0]), Alignment.ABSOLUTE)


def test_negative_counts_are_refused() -> None:
    with pytest.raises(InvalidInput, match="0 or more"):
        aligned_requests(series(MONDAY, 4), hourly(MONDAY, [-1.0]), Alignment.ABSOLUTE)


@pytest.mark.parametrize("alignment", list(Alignment))
def test_a_column_without_counts_is_refused(alignment: Alignment) -> None:
    with pytest.raises(InvalidInput, match="column requests: no row has a count"):
        aligned_requests(series(MONDAY, 4), hourly(MONDAY, [np.nan, np.nan]), alignment)
