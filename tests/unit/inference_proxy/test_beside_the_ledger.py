"""What a report has beside the ledger: the arithmetic, without database or Triton."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from inference_proxy.comparison import Same, same_things
from inference_proxy.embodied import Device
from inference_proxy.intervals import Intervals
from inference_proxy.own_cpu import Counter, divide
from inference_proxy.reconciling import Counts
from inference_proxy.settings import ProxySettings
from tradewind.catalogue import parse_catalogue
from tradewind.readings import Reading, ReadingKind, Signal

MINUTE = 60_000_000
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def test_the_specifications_own_example() -> None:
    """1000 kg over four years, one hour of all of it: "around 28 g"."""
    assert Device(1_000, 4, 1).embodied_g(1) == pytest.approx(1_000_000 / 35_040)
    assert Device(1_000, 4, 0.25).embodied_g(4) == pytest.approx(1_000_000 / 35_040)


def intervals_at(*begins_us: int) -> Intervals:
    intervals = Intervals("GB")
    for begin in begins_us:
        moment = datetime.fromtimestamp(begin / 1e6, UTC)
        intervals.learn(
            Reading(
                zone="GB",
                valid_from=moment,
                valid_to=moment + timedelta(minutes=30),
                intensity_g_per_kwh=100,
                kind=ReadingKind.ACTUAL,
                signal=Signal.AVERAGE,
                source="test",
                published_at=moment,
            )
        )
    return intervals


def test_cpu_time_is_divided_evenly_among_minutes_and_the_intervals_that_begin_inside_them() -> None:
    half, minute = MINUTE // 2, MINUTE
    begin, end = Counter(1_000, minute), Counter(1_000 + 600, 3 * minute)
    assert divide(begin, end, Intervals("GB")) == {minute: 300, 2 * minute: 300}
    assert divide(begin, end, intervals_at(minute + half)) == {minute: 150, minute + half: 150, 2 * minute: 300}


@given(
    begin=st.integers(0, 10 * MINUTE),
    length=st.integers(0, 10 * MINUTE),
    used=st.integers(0, 10**9),
    starts=st.lists(st.integers(0, 20 * MINUTE), max_size=5),
)
def test_no_cpu_time_is_lost_by_dividing_it(begin: int, length: int, used: int, starts: list[int]) -> None:
    parts = divide(Counter(7, begin), Counter(7 + used, begin + length), intervals_at(*starts))
    assert sum(parts.values()) == used
    assert all(part >= 0 for part in parts.values())


def test_a_process_of_less_time_than_before_counts_for_nothing() -> None:
    assert divide(Counter(500, 0), Counter(400, MINUTE), Intervals("GB")) == {}


@pytest.mark.parametrize(
    ("before", "now", "grown", "anew"),
    [
        (Counts(3, 1, 0, 500), Counts(7, 1, 2, 900), Counts(4, 0, 2, 400), False),
        (Counts(3, 1, 0, 500), Counts(3, 1, 0, 500), Counts(), False),
        (Counts(300, 0, 0, 500), Counts(2, 0, 0, 90), Counts(2, 0, 0, 90), True),
        # More inferences than before, but in less time: it began anew all the same.
        (Counts(3, 0, 0, 500), Counts(5, 0, 0, 90), Counts(5, 0, 0, 90), True),
    ],
)
def test_counters_that_went_back_began_anew(before: Counts, now: Counts, grown: Counts, anew: bool) -> None:
    assert now.since(before) == (grown, anew)


_FIGURES = "energy_mj: {value: 1, provenance: estimated}, error: {value: 1, provenance: estimated}"
_SHARING = f"""
families:
  a:
    error_metric: error_pct
    pool: [small, large]
    variants:
      small: {{model: one, {_FIGURES}}}
      large: {{model: two, {_FIGURES}}}
  b:
    error_metric: error_pct
    pool: [small, tiny]
    variants:
      small: {{model: three, {_FIGURES}}}
      tiny: {{model: four, {_FIGURES}}}
  c:
    error_metric: error_pct
    pool: [four]
    variants:
      four: {{{_FIGURES}}}
"""


def test_variants_and_models_that_share_names_are_compared_together() -> None:
    assert same_things(parse_catalogue(_SHARING)) == [
        Same(frozenset({"four", "tiny"}), frozenset({"four"})),
        Same(frozenset({"large"}), frozenset({"two"})),
        Same(frozenset({"small"}), frozenset({"one", "three"})),
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        {"proxy_pue": 0.9},
        {"proxy_embodied_kg": 100.0},
        {"proxy_embodied_years": 4.0},
        {"proxy_embodied_kg": 100.0, "proxy_embodied_years": 4.0, "proxy_embodied_share": 1.5},
        {"proxy_watts_per_core": 0.0},
    ],
)
def test_settings_that_cannot_be_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        ProxySettings(**wrong)  # type: ignore[arg-type] # floats are what the fields take
