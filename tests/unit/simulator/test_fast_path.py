"""All intervals at once gives exactly what one by one gives, window by window and mix by mix."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.fast_path import weights_at_once
from simulator.policies.as_printed import AsPrinted
from simulator.run import run_interval_by_interval
from simulator.series import IntensitySeries
from simulator.windows import trailing_windows
from tradewind.catalogue import OperatingPoint
from tradewind.policies import Policy
from tradewind.policies.carbon_price import CarbonPrice
from tradewind.policies.fixed import Fixed
from tradewind.policies.proportional import Proportional
from tradewind.rolling_range import RollingRange


def series_at(slots: list[int], values: list[float]) -> IntensitySeries:
    """A half-hourly series with gaps."""
    times = 1_685_577_600 + 1_800 * np.array(slots, dtype=np.int64)
    return IntensitySeries("grid", times, np.array(values), 1_800, len(slots), 0, 0, 0)


@st.composite
def any_series(draw: st.DrawFn) -> IntensitySeries:
    """Up to 80 half-hours of which some are missing, with many equal values."""
    slots = sorted(draw(st.sets(st.integers(0, 200), min_size=1, max_size=80)))
    if draw(st.booleans()):
        slots = list(range(len(slots)))
    value = st.one_of(st.sampled_from([100.0, 200.0, 300.0]), st.floats(1.0, 2_000.0, allow_nan=False))
    return series_at(slots, draw(st.lists(value, min_size=len(slots), max_size=len(slots))))


@st.composite
def any_pool(draw: st.DrawFn) -> tuple[OperatingPoint, ...]:
    """One to five variants in order of energy, dominated ones among them."""
    energies = sorted(draw(st.lists(st.floats(0.01, 2_000.0), min_size=1, max_size=5)))
    errors = draw(st.lists(st.floats(0.0, 30.0), min_size=len(energies), max_size=len(energies)))
    return tuple(
        OperatingPoint(variant=f"v{number}", energy_mj=energy, error=error)
        for number, (energy, error) in enumerate(zip(energies, errors, strict=True))
    )


WINDOWS = st.one_of(st.none(), st.integers(1, 120).map(lambda quarters: timedelta(minutes=15 * quarters)))


@pytest.mark.parametrize(
    "policy", [Proportional(), AsPrinted(), Fixed(), CarbonPrice(40.0)], ids=lambda each: each.name
)
@given(series=any_series(), pool=any_pool(), window=WINDOWS)
def test_identical_weights(
    policy: Policy, series: IntensitySeries, pool: tuple[OperatingPoint, ...], window: timedelta | None
) -> None:
    windows = trailing_windows(series, window)
    at_once = weights_at_once(policy, series, windows, pool)
    assert at_once is not None
    one_by_one = run_interval_by_interval(policy, series, windows, pool, np.ones(series.used))
    assert np.array_equal(at_once, one_by_one)


@given(series=any_series(), quarters=st.integers(1, 200))
def test_windows_are_the_rolling_range(series: IntensitySeries, quarters: int) -> None:
    window = timedelta(minutes=15 * quarters)
    windows, rolling = trailing_windows(series, window), RollingRange(window)
    for row in range(series.used):
        moment = datetime.fromtimestamp(int(series.times_s[row]), UTC)
        rolling.put(moment, float(series.g_per_kwh[row]))
        assert rolling.summary(moment, timedelta(minutes=30)) == windows.summary(row)


def test_the_whole_series_as_window() -> None:
    windows = trailing_windows(series_at([0, 1, 5], [200.0, 100.0, 300.0]), None)
    assert windows.lows.tolist() == [100.0] * 3
    assert windows.highs.tolist() == [300.0] * 3
