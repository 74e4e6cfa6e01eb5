"""`carbon-price` takes the larger variant while a point of error costs less than the price."""

import pytest

from tests.unit.tradewind.policies.situations import decide, weights
from tradewind.decisions import DecisionReason
from tradewind.errors import InvalidInput
from tradewind.policies import build_policy
from tradewind.policies.carbon_price import CarbonPrice


def test_by_hand() -> None:
    """At 200 g/kWh ResNet101 costs 382.4735548 mJ x 200 / 3600 / 0.684 = 31.065 g per point and million inferences."""
    to_101 = 382.4735548 * 200 / 3600 / 0.684
    to_152 = 435.0523034 * 200 / 3600 / 0.5
    for price, variant in [
        (to_101 - 0.001, "resnet50"),
        (to_101 + 0.001, "resnet101"),
        (to_152 - 0.001, "resnet101"),
        (to_152 + 0.001, "resnet152"),
    ]:
        (choice,) = decide(CarbonPrice(price), [200.0])
        assert weights(choice) == {variant: 1.0}
        assert choice.reason is DecisionReason.CARBON_PRICE
        assert choice.figures["cost_resnet101_g_per_point_per_million"] == pytest.approx(to_101)
        assert "resnet101 costs 31.07 g per point" in choice.explanation


def test_nothing_is_worth_a_price_of_nothing() -> None:
    (choice,) = decide(CarbonPrice(0.0), [1.0])
    assert weights(choice) == {"resnet50": 1.0}


def test_needs_a_price() -> None:
    with pytest.raises(InvalidInput, match="needs the option price"):
        build_policy("carbon-price", {})
