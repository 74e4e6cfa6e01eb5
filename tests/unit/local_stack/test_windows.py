"""In a replay of any speed a window of 24 hours holds 48 half-hours, never the one that begins where it does."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon_service.replay import Replay
from demo.synthetic_day import write_synthetic_days
from local_stack.stack import whole_microseconds
from tradewind.readings import Signal
from tradewind.rolling_range import RollingRange
from tradewind.settings import parse_duration
from tradewind.traces import Trace, read_trace

DAY_S = 86_400


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Trace:
    """Three synthetic days."""
    return read_trace(write_synthetic_days(tmp_path_factory.mktemp("trace"), days=3))


@given(
    speed=st.one_of(st.integers(2, 20_000).map(float), st.floats(1.5, 20_000)),
    start=st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1)),  # noqa: DTZ001 -- becomes UTC below
)
def test_a_window_holds_as_many_readings_at_any_speed(trace: Trace, speed: float, start: datetime) -> None:
    replay = Replay(trace, "T", Signal.AVERAGE, speed, timedelta(days=1))
    window = parse_duration(f"{whole_microseconds(DAY_S / speed):f}s")
    history = RollingRange(window)
    for row in range(len(trace)):
        moment = replay.real_time(trace.moment(row), start.replace(tzinfo=UTC))
        history.put(moment, float(row))
        summary = history.summary(moment, timedelta(seconds=trace.interval_s / speed))
        assert summary is not None
        assert (summary.low_g_per_kwh, summary.high_g_per_kwh) == (max(0, row - 47), row)
        assert summary.readings == min(row + 1, 48)
