"""The rolling range equals the brute-force answer over its window, whatever the order of arrival."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tradewind.errors import InvalidInput
from tradewind.rolling_range import RollingRange

START = datetime(2023, 6, 1, tzinfo=UTC)
SLOT = timedelta(minutes=30)
VALUES = st.one_of(st.integers(1, 6).map(float), st.floats(0.5, 3000, allow_nan=False))


class AgainstBruteForce(RuleBasedStateMachine):
    """Any mixture of in-order, late, early, repeated and revised readings, with an end that moves both ways."""

    @initialize(
        slots=st.integers(1, 12),
        percentiles=st.sampled_from([(0.0, 100.0), (5.0, 95.0), (0.0, 50.0), (50.0, 100.0)]),
    )
    def begin(self, slots: int, percentiles: tuple[float, float]) -> None:
        """A window of some half-hours."""
        self.window = slots * SLOT
        self.percentiles = percentiles
        self.range = RollingRange(self.window, *percentiles)
        self.values: dict[datetime, float] = {}
        self.next = 0
        self.furthest = self.end = START

    def put(self, slot: int, value: float) -> None:
        """To both."""
        self.values[START + slot * SLOT] = value
        self.range.put(START + slot * SLOT, value)

    @rule(values=st.lists(VALUES, min_size=1, max_size=30))
    def in_order(self, values: list[float]) -> None:
        """The usual stream: each reading becomes the current one."""
        for value in values:
            self.put(self.next, value)
            self.move_end(self.next)
            self.next += 1

    @rule(back=st.integers(0, 40), value=VALUES)
    def late_or_revised(self, back: int, value: float) -> None:
        """A reading of the past, new or said again."""
        self.put(self.next - back, value)

    @rule(ahead=st.integers(1, 30), value=VALUES)
    def early(self, ahead: int, value: float) -> None:
        """A reading of an interval that has not begun."""
        self.put(self.next + ahead, value)

    @rule(gap=st.integers(1, 50))
    def silence(self, gap: int) -> None:
        """Nothing is heard for a while."""
        self.next += gap

    @rule(forward=st.integers(0, 20))
    def forward(self, forward: int) -> None:
        """Time passes."""
        self.next += forward
        self.move_end(self.next)

    @precondition(lambda self: self.window > SLOT)
    @rule(share=st.floats(0, 0.99))
    def backward(self, share: float) -> None:
        """The current reading is withdrawn for an earlier one, at most a window before the furthest end."""
        self.end = self.furthest - timedelta(seconds=int(share * self.window.total_seconds()))
        self.check()

    @rule()
    def restart(self) -> None:
        """A new process puts back what the store holds."""
        self.range = RollingRange(self.window, *self.percentiles)
        for moment, value in self.values.items():
            self.range.put(moment, value)

    def move_end(self, slot: int) -> None:
        """The window ends at that slot from now on, and is right there."""
        self.end = START + slot * SLOT
        self.furthest = max(self.furthest, self.end)
        self.check()

    @invariant()
    def check(self) -> None:
        """The same as looking at every value."""
        if not hasattr(self, "range"):
            return
        inside = [value for moment, value in self.values.items() if self.end - self.window < moment <= self.end]
        summary = self.range.summary(self.end, SLOT)
        if not inside:
            assert summary is None
            return
        assert summary is not None
        assert summary.readings == len(inside)
        assert summary.full == (min(self.values) <= self.end - self.window + SLOT)
        if self.percentiles == (0.0, 100.0):
            assert (summary.low_g_per_kwh, summary.high_g_per_kwh) == (min(inside), max(inside))
        else:
            expected = np.percentile(inside, self.percentiles)
            assert (summary.low_g_per_kwh, summary.high_g_per_kwh) == pytest.approx(tuple(expected), rel=1e-12)


TestAgainstBruteForce = AgainstBruteForce.TestCase
TestAgainstBruteForce.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_a_day_of_half_hours_is_48_readings_with_the_current_one() -> None:
    day = RollingRange(timedelta(hours=24))
    for slot in range(60):
        day.put(START + slot * SLOT, 100.0 + slot)
    summary = day.summary(START + 59 * SLOT, SLOT)
    assert summary is not None
    assert (summary.low_g_per_kwh, summary.high_g_per_kwh, summary.readings, summary.full) == (112.0, 159.0, 48, True)


def test_a_young_history_says_that_its_window_is_not_full() -> None:
    day = RollingRange(timedelta(hours=24))
    for slot in range(48):
        day.put(START + slot * SLOT, 100.0)
        summary = day.summary(START + slot * SLOT, SLOT)
        assert summary is not None
        assert summary.full == (slot == 47)


def test_percentiles_shrug_off_one_poisoned_value() -> None:
    robust = RollingRange(timedelta(hours=24), 5.0, 95.0)
    for slot in range(48):
        robust.put(START + slot * SLOT, 1.0 if slot == 20 else 200.0 + slot)
    summary = robust.summary(START + 47 * SLOT)
    assert summary is not None
    assert 200.0 < summary.low_g_per_kwh < summary.high_g_per_kwh < 247.0


def test_in_order_work_per_reading_does_not_grow_with_the_window() -> None:
    """Comparisons of values counted, not timed: at most a few per reading, for a short and for a long window."""
    assert _comparisons_per_reading(window=48) < 8
    assert _comparisons_per_reading(window=4800) < 8


class _Counting(float):
    """A float that counts how often it is compared."""

    count = 0

    def __ge__(self, other: float) -> bool:
        type(self).count += 1
        return float.__ge__(self, other)

    def __lt__(self, other: float) -> bool:
        type(self).count += 1
        return float.__lt__(self, other)

    def __mul__(self, other: float) -> "_Counting":
        return _Counting(float.__mul__(self, other))

    __rmul__ = __mul__


def _comparisons_per_reading(window: int) -> float:
    rolling = RollingRange(window * SLOT)
    _Counting.count = 0
    readings = 10_000
    generator = np.random.default_rng(7)
    for slot, value in enumerate(generator.uniform(50, 400, readings)):
        rolling.put(START + slot * SLOT, _Counting(value))
        rolling.summary(START + slot * SLOT)
    assert _Counting.count > readings
    return _Counting.count / readings


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_a_number_is_refused(value: float) -> None:
    with pytest.raises(InvalidInput, match="finite"):
        RollingRange(timedelta(hours=1)).put(START, value)


@pytest.mark.parametrize(("low", "high"), [(50.0, 50.0), (-1.0, 90.0), (10.0, 101.0), (float("nan"), 100.0)])
def test_percentiles_must_make_sense(low: float, high: float) -> None:
    with pytest.raises(InvalidInput, match="percentile"):
        RollingRange(timedelta(hours=1), low, high)


def test_a_window_must_have_a_length() -> None:
    with pytest.raises(InvalidInput, match="window"):
        RollingRange(timedelta(0))
