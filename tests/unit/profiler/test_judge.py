"""Counters that reset, stall, jump or disappear give no figure, only a sentence."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.meters.judge import energy_of
from profiler.meters.meter import MeterError, Nameplate, Sample
from tradewind.catalogue import Provenance


def plate(step_s: float = 0.1, *, devices: int = 1, always_moves: bool = True) -> Nameplate:
    return Nameplate(
        "test", Provenance.MEASURED, "device", "driver", (300.0,) * devices, step_s=step_s, always_moves=always_moves
    )


def steady(watts: float, seconds: float, *, step_s: float = 0.1, every_s: float = 0.01) -> list[Sample]:
    """A counter that moves every `step_s`, read every `every_s`."""
    times = [i * every_s for i in range(round(seconds / every_s) + 1)]
    return [Sample(t, (1000.0 + watts * step_s * math.floor(t / step_s + 1e-9),)) for t in times]


def shifted(samples: list[Sample], start: int, by: float) -> list[Sample]:
    return [Sample(s.at_s, (s.counters[0] + (by if i >= start else 0),)) for i, s in enumerate(samples)]


def test_energy_is_taken_from_step_to_step() -> None:
    metered = energy_of(steady(200, 1.05), plate())
    assert metered.joules / metered.seconds == pytest.approx(200, rel=1e-9)
    assert metered.from_s == pytest.approx(0.1)
    assert metered.to_s == pytest.approx(1.0)


@given(st.floats(1, 299), st.floats(0.5, 5))
def test_power_is_recovered_whatever_the_window(watts: float, seconds: float) -> None:
    metered = energy_of(steady(watts, seconds), plate())
    assert metered.joules / metered.seconds == pytest.approx(watts, rel=0.03)


def test_an_exact_counter_is_taken_from_end_to_end() -> None:
    metered = energy_of([Sample(1.0, (5.0,)), Sample(3.0, (105.0,))], plate(0))
    assert (metered.joules, metered.seconds) == (100, 2)


def test_devices_are_added_up() -> None:
    one = steady(200, 1.05)
    two = [Sample(s.at_s, (s.counters[0], s.counters[0] / 2)) for s in one]
    metered = energy_of(two, plate(devices=2))
    assert metered.joules / metered.seconds == pytest.approx(300)


@given(st.integers(2, 99), st.floats(20, 990))
def test_a_reset_anywhere_is_refused(position: int, back: float) -> None:
    samples = shifted(steady(100, 1.0), position, -back)
    with pytest.raises(MeterError, match="went back"):
        energy_of(samples, plate())


def test_a_reset_of_one_of_two_devices_is_refused() -> None:
    good, bad = steady(100, 1.0), shifted(steady(100, 1.0), 50, -500)
    both = [Sample(g.at_s, (g.counters[0], b.counters[0])) for g, b in zip(good, bad, strict=True)]
    with pytest.raises(MeterError, match="went back"):
        energy_of(both, plate(devices=2))


@given(st.integers(1, 99))
def test_a_jump_anywhere_is_refused(position: int) -> None:
    with pytest.raises(MeterError, match="jumped"):
        energy_of(shifted(steady(100, 1.0), position, 1000), plate())


@given(st.integers(1, 60))
def test_a_counter_that_stands_still_is_refused(position: int) -> None:
    samples = steady(100, 1.0)
    frozen = [Sample(s.at_s, samples[min(i, position)].counters) for i, s in enumerate(samples)]
    with pytest.raises(MeterError, match=r"stood still|fewer than three times"):
        energy_of(frozen, plate())


def test_a_stall_in_the_middle_is_refused() -> None:
    samples = steady(100, 2.0)
    stalled = [Sample(s.at_s, samples[50 if 50 <= i < 120 else i].counters) for i, s in enumerate(samples)]
    with pytest.raises(MeterError, match="stood still"):
        energy_of(stalled, plate())


def test_cpu_time_may_stand_still() -> None:
    metered = energy_of([Sample(0.0, (5.0,)), Sample(2.0, (5.0,))], plate(0, always_moves=False))
    assert metered.joules == 0


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0])
def test_what_is_no_number_of_joules_is_refused(value: float) -> None:
    samples = steady(100, 1.0)
    samples[40] = Sample(samples[40].at_s, (value,))
    with pytest.raises(MeterError, match="not a number"):
        energy_of(samples, plate())


def test_a_device_that_disappears_is_refused() -> None:
    samples = steady(100, 1.0)
    samples[-1] = Sample(samples[-1].at_s, ())
    with pytest.raises(MeterError, match="disappeared"):
        energy_of(samples, plate())


def test_one_reading_is_no_window() -> None:
    with pytest.raises(MeterError, match="two readings"):
        energy_of([Sample(0.0, (1.0,))], plate())
