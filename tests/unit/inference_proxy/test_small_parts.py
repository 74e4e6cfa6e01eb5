"""Mixes, intervals, wishes, tenants, pressure and decimals: one table each."""

from datetime import timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_proxy.intervals import Intervals
from inference_proxy.mixes import Splitter
from inference_proxy.pressure import Pressure
from inference_proxy.receipts import as_metadata, decimal
from inference_proxy.tenants import OTHER, Tenants
from inference_proxy.wishes import Wishes, read_wishes
from tests.unit.inference_proxy.conftest import NOW, reading
from tradewind.database import microseconds
from tradewind.errors import InvalidInput
from tradewind.readings import ReadingKind


@given(st.lists(st.integers(1, 100), min_size=1, max_size=5), st.integers(1, 200))
def test_a_split_is_never_a_whole_request_off(parts: list[int], requests: int) -> None:
    total = sum(parts)
    splitter = Splitter()
    splitter.use({str(index): part / total for index, part in enumerate(parts)})
    served = [splitter.next() for _ in range(requests)]
    for index, part in enumerate(parts):
        assert abs(served.count(str(index)) - requests * part / total) < len(parts) / 2 + 1e-6


def test_credit_outlives_a_change_of_the_mix() -> None:
    splitter = Splitter()
    served = []
    for _ in range(100):
        splitter.use({"a": 0.9, "b": 0.1})
        served.append(splitter.next())
    assert served.count("b") == 10


def test_an_interval_is_half_open() -> None:
    intervals = Intervals("GB")
    first = reading(1.0)
    intervals.learn(first)
    begin, end = microseconds(first.valid_from), microseconds(first.valid_to)
    held = [intervals.at(moment) for moment in (begin - 1, begin, end - 1, end)]
    assert [each is not None for each in held] == [False, True, True, False]


def test_of_overlapping_intervals_the_later_holds_even_after_the_earlier_was_asked_for() -> None:
    intervals = Intervals("GB")
    intervals.learn(reading(1.0, minutes=60))
    intervals.learn(reading(2.0, begins=NOW.replace(second=0) + timedelta(minutes=30)))
    values = []
    for minute in (0, 29, 30, 59):
        found = intervals.at(microseconds(NOW.replace(second=0) + timedelta(minutes=minute)))
        assert found is not None
        values.append(found.intensity_g_per_kwh)
    assert values == [1.0, 1.0, 2.0, 2.0]


def test_the_better_kind_wins_and_then_the_newer() -> None:
    intervals = Intervals("GB")
    assert intervals.learn(reading(1.0, kind=ReadingKind.FORECAST))
    assert intervals.learn(reading(2.0))
    assert not intervals.learn(reading(3.0, kind=ReadingKind.FORECAST, published=NOW + timedelta(hours=1)))
    assert intervals.learn(reading(4.0, published=NOW + timedelta(hours=1)))
    assert not intervals.learn(reading(2.0))
    found = intervals.at(microseconds(NOW))
    assert found is not None
    assert found.intensity_g_per_kwh == 4.0


def test_another_zones_reading_is_not_taken() -> None:
    intervals = Intervals("GB")
    assert not intervals.learn(reading(zone="FR"))
    assert intervals.at(microseconds(NOW)) is None


def test_memory_is_bounded() -> None:
    intervals = Intervals("GB")
    for number in range(2_500):
        intervals.learn(reading(begins=NOW + timedelta(minutes=number), minutes=1))
    assert intervals.at(microseconds(NOW)) is None
    assert intervals.at(microseconds(NOW + timedelta(minutes=2_499))) is not None


def test_without_any_there_are_none() -> None:
    assert read_wishes({"priority": 1, "timeout": 5}) is None


@pytest.mark.parametrize("value", ["92.5", 92.5])
def test_a_number_may_be_text(value: str | float) -> None:
    assert read_wishes({"carbon_min_accuracy": value}) == Wishes(min_accuracy_pct=92.5)


@pytest.mark.parametrize("value", ["much", "", "nan", "inf", -1, "-0.5", True])
def test_a_bad_number_is_named(value: str | int) -> None:
    with pytest.raises(InvalidInput, match="carbon_max_latency_ms"):
        read_wishes({"carbon_max_latency_ms": value})


def test_a_pin_must_be_text() -> None:
    with pytest.raises(InvalidInput, match="carbon_pin_variant"):
        read_wishes({"carbon_pin_variant": 3})


@pytest.mark.parametrize("nothing", [0, ""])
def test_sequence_0_is_no_sequence(nothing: int | str) -> None:
    assert read_wishes({"sequence_id": nothing, "sequence_start": True}) == Wishes(sequence_start=True)


def test_without_a_key_nobody_is_told_apart() -> None:
    assert Tenants("", 10).of([("x-tenant", "a")]) == ""


def test_the_number_of_tenants_is_bounded() -> None:
    tenants = Tenants("x-tenant", 2)
    found = [tenants.of([("other", "x"), ("x-tenant", name)]) for name in ("a", "b", "c", "a", "")]
    assert found == ["a", "b", OTHER, "a", ""]


def test_a_long_name_is_cut() -> None:
    assert len(Tenants("x-tenant", 1).of([("x-tenant", "a" * 500)])) == 128


def test_without_limits_there_is_always_room() -> None:
    pressure = Pressure(in_flight=10_000)
    assert pressure.has_room(0.0)


def test_latency_above_the_limit_shrinks_what_may_be_in_flight() -> None:
    pressure = Pressure(latency_limit_s=0.1, in_flight=64)
    for _ in range(32):
        pressure.finished(0.2, 1.0)
    assert pressure.limit == 32
    assert not pressure.has_room(1.0)


def test_it_grows_back_one_by_one_and_only_while_it_holds_something_back() -> None:
    pressure = Pressure(latency_limit_s=0.1, in_flight=8)
    for _ in range(32):
        pressure.finished(0.2, 1.0)
    assert pressure.limit == 4
    for _ in range(32):
        pressure.finished(0.01, 1.0)
    assert pressure.limit == 4
    assert not pressure.has_room(1.0)
    for _ in range(32):
        pressure.finished(0.01, 1.0)
    assert pressure.limit == 5


def test_a_variant_that_rested_is_tried_afresh() -> None:
    pressure = Pressure(latency_limit_s=0.1, in_flight=1)
    for _ in range(32):
        pressure.finished(9.0, 1.0)
    assert not pressure.has_room(1.1)
    assert pressure.has_room(60.0)


@given(st.floats(min_value=0, max_value=1e6))
def test_a_decimal_reads_back_and_has_no_exponent(value: float) -> None:
    text = decimal(value)
    assert "e" not in text
    assert abs(Fraction(text) - Fraction(value)) <= Fraction(value) / 10**15 + Fraction(1, 10**20)


def test_metadata_holds_printable_ascii_alone() -> None:
    assert as_metadata({"carbon_variant": "größe\n", "carbon_energy_uj": 5}) == (
        ("carbon-variant", "gr\\xf6\\xdfe\\n"),
        ("carbon-energy-uj", "5"),
    )
