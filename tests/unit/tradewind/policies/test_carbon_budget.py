"""`carbon-budget` spends what is left over what is left, and says early when that cannot be enough."""

from datetime import UTC, datetime

import pytest

from tests.unit.tradewind.policies.situations import (
    ENERGIES,
    POOL,
    decide,
    mean_error,
    reading,
    run,
    situation,
    weights,
)
from tradewind.decisions import DecisionReason
from tradewind.errors import InvalidInput
from tradewind.policies import Choice, build_policy
from tradewind.policies.carbon_budget import CarbonBudget, period_end, period_start
from tradewind.readings import ReadingKind

DIRTY_AND_CLEAN = [300.0 if hour % 24 < 12 else 100.0 for hour in range(24 * 59)]
SMALL, LARGE = ENERGIES["resnet50"], ENERGIES["resnet152"]


def grams(choices: list[Choice], values: list[float]) -> float:
    """Emissions of one inference an hour."""
    energies = [sum(ENERGIES[share.variant] * share.weight for share in choice.mix) for choice in choices]
    return sum(energy * value for energy, value in zip(energies, values, strict=True)) / 3.6e9


def test_a_month_is_spent_to_the_budget_and_not_beyond() -> None:
    january = DIRTY_AND_CLEAN[: 31 * 24]
    budget = 1.7 * grams_of_always(SMALL, january)
    choices = decide(CarbonBudget(budget_g=budget), january)
    assert 0.97 * budget < grams(choices, january) <= 1.001 * budget


def grams_of_always(energy_mj: float, values: list[float]) -> float:
    """Emissions of one variant."""
    return energy_mj * sum(values) / 3.6e9


def test_clean_hours_are_bought_first() -> None:
    january = DIRTY_AND_CLEAN[: 31 * 24]
    choices = decide(CarbonBudget(budget_g=1.4 * grams_of_always(SMALL, january)), january)
    clean = [choice for choice, value in zip(choices, january, strict=True) if value == 100.0]
    dirty = [choice for choice, value in zip(choices, january, strict=True) if value == 300.0]
    assert mean_error(clean[100:]) < 6.3
    assert mean_error(dirty[100:]) == pytest.approx(7.138, abs=0.05)


def test_share_takes_the_previous_month_as_measure() -> None:
    policy, hours = CarbonBudget(budget_share=0.5), len(DIRTY_AND_CLEAN)
    choices = decide(policy, DIRTY_AND_CLEAN)
    january = DIRTY_AND_CLEAN[: 31 * 24]
    expected = (grams_of_always(SMALL, january) + grams_of_always(LARGE, january)) / 2
    assert hours == 59 * 24
    assert choices[-1].figures["budget_g"] == pytest.approx(expected)
    assert grams(choices[31 * 24 :], DIRTY_AND_CLEAN[31 * 24 :]) <= 1.01 * expected


def test_says_early_when_even_the_smallest_overspends() -> None:
    january = DIRTY_AND_CLEAN[: 31 * 24]
    choices = decide(CarbonBudget(budget_g=0.8 * grams_of_always(SMALL, january)), january[: 3 * 24])
    last = choices[-1]
    assert last.reason is DecisionReason.BUDGET
    assert "cannot be kept" in last.explanation
    assert last.figures["expected_least_g"] > last.figures["budget_g"]
    assert weights(last) == {"resnet50": 1.0}


def test_a_new_period_begins_anew() -> None:
    policy = CarbonBudget(budget_g=1e-9, period="day")
    choices, state = run(policy, [200.0] * 24)
    assert choices[-1].figures["spent_g"] > 1e-9
    choice, _ = policy.select_mix(situation(24, 200.0), state)
    assert choice.figures["spent_g"] == 0.0


def test_a_forecast_is_believed_for_its_hours() -> None:
    """The memory knows only 200 g/kWh; a dirty forecast for the rest of the day makes the same hour dearer to spend."""
    policy = CarbonBudget(budget_g=24 * 600 * 200 / 3.6e9, period="day")
    _, state = run(policy, [200.0] * 48)
    hours = range(49, 72)
    plain, _ = policy.select_mix(situation(48, 200.0), state)
    clean = [reading(hour, 80.0, ReadingKind.FORECAST) for hour in hours]
    dirty = [reading(hour, 350.0, ReadingKind.FORECAST) for hour in hours]
    with_dirty, _ = policy.select_mix(situation(48, 200.0, forecast=dirty), state)
    with_clean, _ = policy.select_mix(situation(48, 200.0, forecast=clean), state)
    assert with_dirty.figures["expected_least_g"] > 1.5 * plain.figures["expected_least_g"]
    assert with_clean.figures["expected_least_g"] < 0.6 * plain.figures["expected_least_g"]
    assert weights(with_dirty) == {"resnet50": 1.0}


def test_periods() -> None:
    moment = datetime(2023, 12, 31, 13, 45, tzinfo=UTC)
    assert period_start(moment, "month") == datetime(2023, 12, 1, tzinfo=UTC)
    assert period_end(moment, "month") == datetime(2024, 1, 1, tzinfo=UTC)
    assert period_end(moment, "day") == datetime(2024, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "needs one of budget_g"),
        ({"budget_g": "5", "budget_share": "0.5"}, "needs one of budget_g"),
        ({"budget_g": "lots"}, "is not a number"),
        ({"budget_g": "5", "period": "week"}, "use day or month"),
    ],
)
def test_refuses_what_makes_no_sense(options: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        build_policy("carbon-budget", options)


def test_never_needs_more_than_the_pool() -> None:
    choices = decide(CarbonBudget(budget_g=1e9), DIRTY_AND_CLEAN[:48])
    assert all(weights(choice) == {POOL[-1].variant: 1.0} for choice in choices)
