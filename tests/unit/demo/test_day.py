"""The demo's arithmetic: tallies, the choices that could have been, clocks, and the agreement of two counts."""

from datetime import UTC, datetime, timedelta

import pytest

from demo.day import Charge, Choice, Clock, Tally, compare_choices, disagreements
from tradewind.catalogue import OperatingPoint

_NOON = datetime(2026, 6, 2, 12, tzinfo=UTC)
_POOL = (
    OperatingPoint(variant="small", energy_mj=1, error=8),
    OperatingPoint(variant="large", energy_mj=10, error=2),
)


def _charge(variant: str, inferences: int, intensity: float, energy_mj: float) -> Charge:
    return Charge(_NOON, variant, inferences, round(inferences * energy_mj * 1_000), intensity)


def _by_name(*charges: Charge) -> dict[str, Choice]:
    return {choice.name: choice for choice in compare_choices(charges, _POOL)}


def test_choices_of_a_day_that_went_ideally() -> None:
    # 3.6e9 mJ are a kWh: 3600 inferences of 1 mJ at 100 g/kWh emit 0.1 mg.
    choices = _by_name(_charge("large", 3_600, 100, 10), _charge("small", 3_600, 500, 1))
    served, smallest, largest = choices["tradewind"], choices["always smallest"], choices["always largest"]
    assert (served.error_pct, smallest.error_pct, largest.error_pct) == (5, 8, 2)
    assert served.emissions_mg == pytest.approx(1.0 + 0.5)
    assert smallest.emissions_mg == pytest.approx(0.1 + 0.5)
    assert largest.emissions_mg == pytest.approx(1.0 + 5.0)
    assert served.energy_j == pytest.approx(36 + 3.6)
    assert served.reduction_pct == pytest.approx(37.5)
    assert served.extra_mg == pytest.approx(0.9)
    assert served.efficiency_pct_per_mg == pytest.approx(37.5 / 0.9)
    # The clean hour got the large one: foresight could not have done better.
    assert choices["clairvoyant, same error"].emissions_mg == pytest.approx(served.emissions_mg)


def test_foresight_beats_the_wrong_order_at_the_same_error() -> None:
    choices = _by_name(_charge("small", 3_600, 100, 1), _charge("large", 3_600, 500, 10))
    served, foresight = choices["tradewind"], choices["clairvoyant, same error"]
    assert foresight.error_pct == served.error_pct
    assert foresight.emissions_mg == pytest.approx(1.5)
    assert served.emissions_mg == pytest.approx(5.1)
    assert foresight.energy_j == pytest.approx(served.energy_j)


def test_the_smallest_alone_has_no_efficiency() -> None:
    smallest = _by_name(_charge("small", 100, 100, 1))["tradewind"]
    assert smallest.extra_mg == pytest.approx(0)
    assert _by_name(_charge("small", 100, 100, 1))["always smallest"].efficiency_pct_per_mg is None


def test_a_tally_knows_what_it_does_not_know() -> None:
    tally = Tally()
    assert tally.observed_error_pct is None
    tally.add("small", wrong=True, energy_uj=1_000, emissions_ng=5)
    tally.add("small", wrong=False, energy_uj=1_000, emissions_ng=None)
    assert (tally.served, tally.unpriced) == (2, 1)
    assert tally.observed_error_pct == pytest.approx(50)
    assert tally.energy_uj == 2_000
    assert tally.grams == pytest.approx(5e-9)


def test_trace_time_and_real_time_are_inverse() -> None:
    clock = Clock(_NOON, datetime(2026, 11, 24, tzinfo=UTC), 1_440.0)
    later = _NOON + timedelta(minutes=30)
    assert clock.real(later) - clock.began == timedelta(seconds=1.25)
    assert clock.recorded(clock.real(later)) == later


def test_counts_that_differ_are_named() -> None:
    assert disagreements({"a": 1, "b": 2}, {"a": 1, "b": 2}) == []
    assert disagreements({"a": 1}, {"a": 2, "b": 3}) == [
        "a: the ledger has 1 inferences, Triton counted 2",
        "b: the ledger has 0 inferences, Triton counted 3",
    ]
