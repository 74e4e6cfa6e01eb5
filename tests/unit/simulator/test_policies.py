"""The policies that are only simulated, by hand."""

import pytest

from simulator.comparison import Clairvoyant
from simulator.policies.as_printed import AsPrinted
from simulator.policies.clover import Clover
from simulator.policies.quality_floor import QualityFloor
from simulator.policy_words import entrants_of
from tests.unit.tradewind.policies.situations import decide, mean_error, weights
from tradewind.decisions import DecisionReason
from tradewind.errors import InvalidInput
from tradewind.policies.restraints import Hysteresis
from tradewind.policies.target_error import TargetError


@pytest.mark.parametrize(("g_per_kwh", "variant"), [(100.0, "resnet50"), (200.0, "resnet101"), (300.0, "resnet152")])
def test_as_printed_takes_the_largest_when_it_is_dirtiest(g_per_kwh: float, variant: str) -> None:
    (choice,) = decide(AsPrinted(), [g_per_kwh])
    assert weights(choice) == {variant: 1.0}


def test_quality_floor_slides_over_the_pools_span() -> None:
    choices = decide(QualityFloor(), [100.0, 150.0, 200.0, 300.0])
    assert [mean_error([choice]) for choice in choices] == pytest.approx([5.954, 6.25, 6.546, 7.138])
    assert set(weights(choices[1])) == {"resnet101", "resnet152"}


def test_quality_floor_with_sprouts_factor() -> None:
    """Accuracy 94.046 x (1 - 0.01 x 0.5) = 93.576 at the middle of the range."""
    (choice,) = decide(QualityFloor(xi=0.01), [200.0])
    assert mean_error([choice]) == pytest.approx(100 - 94.046 * 0.995)


def test_clover_weighs_carbon_against_accuracy_and_waits_for_five_percent() -> None:
    """The objective of each variant at 300 g/kWh, with 200 as the middle of the range, written out."""
    small = 0.02 * (1 - 420.6213298 * 300 / (1238.147188 * 200)) - 0.98 * 1.184 / 94.046
    middle = 0.02 * (1 - 803.0948846 * 300 / (1238.147188 * 200)) - 0.98 * 0.5 / 94.046
    large = 0.02 * (1 - 1.5)
    best = max([(small, "resnet50"), (middle, "resnet101"), (large, "resnet152")])[1]
    choices = decide(Clover(weight=0.02), [300.0, 300.0 * 1.04, 100.0])
    assert weights(choices[0]) == {best: 1.0}
    assert choices[1].reason is DecisionReason.HELD
    assert choices[2].reason is DecisionReason.CARBON_PRICE


def test_words_become_policies() -> None:
    words = ["target-error", "target-error:target_error=6.2", "clairvoyant", "proportional:dwell=2h", "clover"]
    entrants = entrants_of(words, {"target_error": "6.57", "weight": "0.1"})
    assert [entrant.label for entrant in entrants] == words
    first, second, third, fourth, fifth = (entrant.policy for entrant in entrants)
    assert isinstance(first, TargetError)
    assert isinstance(second, TargetError)
    assert (first.target_error, second.target_error) == (6.57, 6.2)
    assert third == Clairvoyant(6.57)
    assert isinstance(fourth, Hysteresis)
    assert fifth == Clover(0.1)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("magic", "is unknown: use one of proportional, fixed, target-error"),
        ("target-error", "needs the option target_error"),
        ("proportional:speed=9", "has no option speed"),
        ("carbon-price:12", "write its options as carbon-price:key=value"),
        ("clairvoyant:target_error=x", "is not a number"),
    ],
)
def test_words_that_make_no_sense(word: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        entrants_of([word], {})
