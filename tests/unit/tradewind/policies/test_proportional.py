"""`proportional` against the formula by hand, and `fixed` against nothing at all."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradewind.catalogue import OperatingPoint
from tradewind.decisions import DecisionReason, RangeSummary, Share
from tradewind.errors import InvalidInput
from tradewind.policies import Situation, build_policy, policy_names
from tradewind.policies.proportional import nearest_in_energy, range_position
from tradewind.readings import Reading, ReadingKind, Signal

POOL = (
    OperatingPoint(variant="resnet50", energy_mj=420.6213298, error=7.138),
    OperatingPoint(variant="resnet101", energy_mj=803.0948846, error=6.454),
    OperatingPoint(variant="resnet152", energy_mj=1238.147188, error=5.954),
)
START = datetime(2023, 6, 2, tzinfo=UTC)


def a_situation(current: float, low: float, high: float) -> Situation:
    reading = Reading(
        zone="GB",
        valid_from=START,
        valid_to=START + timedelta(minutes=30),
        intensity_g_per_kwh=current,
        kind=ReadingKind.ACTUAL,
        signal=Signal.AVERAGE,
        source="test",
        published_at=START,
    )
    return Situation(reading, RangeSummary(low, high, timedelta(hours=24), 48, full=True), POOL)


# E_sel = 1238.147188 - x * 817.5258582; the midpoints between neighbours are 611.8581072 and 1020.6210363 mJ,
# which x crosses at 0.76607... and at 0.26607...
@pytest.mark.parametrize(
    ("current", "variant"),
    [
        (100, "resnet152"),
        (126.6, "resnet152"),
        (126.7, "resnet101"),
        (150, "resnet101"),
        (176.6, "resnet101"),
        (176.7, "resnet50"),
        (200, "resnet50"),
        (90, "resnet152"),
        (250, "resnet50"),
    ],
)
def test_the_cleaner_the_grid_the_larger_the_variant(current: float, variant: str) -> None:
    choice, state = build_policy("proportional", {}).select_mix(a_situation(current, 100, 200), {})
    assert choice.mix == (Share(variant, 1.0),)
    assert choice.reason is DecisionReason.RANGE_POSITION
    assert state == {}
    x = min(1.0, max(0.0, (current - 100) / 100))
    assert choice.figures["range_position"] == pytest.approx(x)
    assert choice.figures["energy_selected_mj"] == pytest.approx(1238.147188 - x * 817.5258582)
    assert variant in choice.explanation


def test_a_range_without_width_is_its_middle_and_says_so() -> None:
    choice, _ = build_policy("proportional", {}).select_mix(a_situation(100, 100, 100), {})
    assert choice.reason is DecisionReason.RANGE_FLAT
    assert choice.figures["range_position"] == 0.5
    assert choice.mix == (Share("resnet101", 1.0),)
    assert "flat" in choice.explanation


def test_a_tie_goes_to_the_lower_energy() -> None:
    pool = [replace_energy(POOL[0], 100.0), replace_energy(POOL[1], 200.0)]
    assert nearest_in_energy(pool, 150.0).variant == "resnet50"


def replace_energy(point: OperatingPoint, energy_mj: float) -> OperatingPoint:
    return point.model_copy(update={"energy_mj": energy_mj})


@given(current=st.floats(0, 2000), low=st.floats(0, 1000), width=st.floats(0.001, 1000), dirtier=st.floats(0, 500))
def test_dirtier_is_never_larger(current: float, low: float, width: float, dirtier: float) -> None:
    policy = build_policy("proportional", {})
    energies = {point.variant: point.energy_mj for point in POOL}
    cleaner_choice, _ = policy.select_mix(a_situation(current, low, low + width), {})
    dirtier_choice, _ = policy.select_mix(a_situation(current + dirtier, low, low + width), {})
    assert energies[dirtier_choice.mix[0].variant] <= energies[cleaner_choice.mix[0].variant]
    assert 0.0 <= range_position(current, low, low + width) <= 1.0


def test_fixed_serves_what_it_names_and_the_least_energy_otherwise() -> None:
    for intensity in (100.0, 200.0):
        choice, _ = build_policy("fixed", {"variant": "resnet101"}).select_mix(a_situation(intensity, 100, 200), {})
        assert choice.mix == (Share("resnet101", 1.0),)
        assert choice.reason is DecisionReason.FIXED
        choice, _ = build_policy("fixed", {}).select_mix(a_situation(intensity, 100, 200), {})
        assert choice.mix == (Share("resnet50", 1.0),)
    with pytest.raises(InvalidInput, match="vgg16 is not in the pool: choose one of resnet50, resnet101, resnet152"):
        build_policy("fixed", {"variant": "vgg16"}).select_mix(a_situation(100, 100, 200), {})


@pytest.mark.parametrize("name", policy_names())
def test_an_unknown_option_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="speed"):
        build_policy(name, {"speed": "1"})


def test_an_unknown_policy_lists_those_there_are() -> None:
    with pytest.raises(InvalidInput, match="policy 'best' is unknown: use one of proportional, fixed"):
        build_policy("best", {})
