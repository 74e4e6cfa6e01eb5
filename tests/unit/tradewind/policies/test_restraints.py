"""Restraints hold any policy back, and say so."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.unit.tradewind.policies.situations import decide, situation, weights
from tradewind.decisions import DecisionReason
from tradewind.errors import InvalidInput
from tradewind.policies import Choice, build_policy
from tradewind.policies.opt_out_windows import parse_windows
from tradewind.policies.proportional import Proportional
from tradewind.policies.restraints import Hysteresis, StopDegrading

UP_AND_DOWN = [110.0, 290.0, 110.0, 290.0, 290.0, 290.0, 110.0]
"""At bounds of 100 to 300: largest, smallest, ... (the situations' range is fixed)."""


def variants(choices: list[Choice]) -> list[str]:
    """The heaviest variant of each choice."""
    return [max(weights(choice), key=lambda name: weights(choice)[name]) for choice in choices]


def test_without_restraints_it_follows_the_grid() -> None:
    small, large = "resnet50", "resnet152"
    assert variants(decide(Proportional(), UP_AND_DOWN)) == [large, small, large, small, small, small, large]


def test_dwell_keeps_a_variant_for_a_time() -> None:
    choices = decide(Hysteresis(Proportional(), dwell=timedelta(hours=3)), UP_AND_DOWN)
    small, large = "resnet50", "resnet152"
    assert variants(choices) == [large, large, large, small, small, small, large]
    assert choices[1].reason is DecisionReason.HELD
    assert "resnet152 is held: 1:00:00 of 3:00:00" in choices[1].explanation


def test_relative_change_is_since_the_last_switch() -> None:
    policy = Hysteresis(Proportional(), relative_change=0.05)
    border = next(
        value for value in range(110, 290) if variants(decide(Proportional(), [float(value)])) == ["resnet101"]
    )
    near = [border - 1.0, border + 1.0, border * 1.06]
    assert variants(decide(policy, near)) == ["resnet152", "resnet152", "resnet101"]


def test_opt_out_serves_the_least_error() -> None:
    policy = build_policy("proportional", {"opt_out": "sun 01:00-03:00"})
    choices = decide(policy, [290.0] * 4)  # 1 January 2023 is a Sunday.
    assert variants(choices) == ["resnet50", "resnet152", "resnet152", "resnet50"]
    assert choices[1].reason is DecisionReason.OPT_OUT
    assert "opt-out window sun 01:00-03:00" in choices[1].explanation


def test_degrading_stops_for_as_long_as_it_lasted() -> None:
    choices = decide(StopDegrading(Proportional(), timedelta(hours=2)), [290.0] * 8)
    small, large = "resnet50", "resnet152"
    assert variants(choices) == [small, small, large, large, small, small, large, large]
    assert choices[2].reason is DecisionReason.OPT_OUT


def test_serving_the_best_ends_the_count() -> None:
    choices = decide(StopDegrading(Proportional(), timedelta(hours=2)), [290.0, 110.0, 290.0, 290.0, 290.0])
    assert variants(choices) == ["resnet50", "resnet152", "resnet50", "resnet50", "resnet152"]


def test_the_inner_policy_is_told_what_was_served() -> None:
    """Held at the largest, `target-error` finds itself ahead of its target."""
    options = {"target_error": "6.57", "opt_out": "00:00-24:00"}
    policy = build_policy("target-error", options)
    choices = decide(policy, [200.0, 250.0] * 24 * 20)
    assert set(variants(choices)) == {"resnet152"}
    assert choices[-1].figures["owed_days"] < -5


def test_a_held_variant_that_is_no_longer_permitted_is_let_go() -> None:
    policy = Hysteresis(Proportional(), dwell=timedelta(days=1))
    first, state = policy.select_mix(situation(0, 110.0), policy.initial_state())
    assert weights(first) == {"resnet152": 1.0}
    later = situation(1, 110.0)
    smaller = type(later)(later.current, later.range, later.pool[:2])
    choice, _ = policy.select_mix(smaller, state)
    assert weights(choice) == {"resnet101": 1.0}


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("mon-fri 08:00-18:00", ["2023-01-02T08:00", "2023-01-06T17:59"], ["2023-01-02T18:00", "2023-01-07T09:00"]),
        ("22:00-06:00", ["2023-01-02T22:00", "2023-01-03T05:59"], ["2023-01-03T06:00", "2023-01-03T21:59"]),
        ("sat 22:00-02:00", ["2023-01-07T23:00", "2023-01-08T01:00"], ["2023-01-07T01:00", "2023-01-08T23:00"]),
        ("fri-mon 00:00-24:00", ["2023-01-08T12:00", "2023-01-02T00:00"], ["2023-01-03T00:00"]),
        ("tue 10:00-11:00; thu 10:00-11:00", ["2023-01-05T10:30"], ["2023-01-04T10:30"]),
    ],
)
def test_windows(text: str, inside: list[str], outside: list[str]) -> None:
    windows = parse_windows(text)

    def within(moment: str) -> bool:
        return any(window.holds_at(datetime.fromisoformat(moment).replace(tzinfo=UTC)) for window in windows)

    assert all(within(moment) for moment in inside)
    assert not any(within(moment) for moment in outside)


@pytest.mark.parametrize("text", ["always", "mon 25:00-26:00", "xyz 08:00-09:00", "08:00-08:00", "08:61-09:00"])
def test_windows_that_make_no_sense(text: str) -> None:
    with pytest.raises(InvalidInput, match="write it like"):
        parse_windows(text)


@pytest.mark.parametrize("options", [{"dwell": "soon"}, {"relative_change": "-1"}, {"stop_degrading_after": "0m"}])
def test_restraints_that_make_no_sense(options: dict[str, str]) -> None:
    with pytest.raises(InvalidInput, match="policy proportional"):
        build_policy("proportional", options)
