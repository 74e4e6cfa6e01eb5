"""`target-error` meets its target at little more than the least carbon, causally, and resumes from its state."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.optimum import MJ_PER_KWH, optimum_of
from tests.unit.tradewind.policies.situations import (
    ENERGIES,
    ERRORS,
    POOL,
    decide,
    mean_error,
    run,
    situation,
    weights,
)
from tradewind.decisions import DecisionReason
from tradewind.errors import InvalidInput
from tradewind.policies import build_policy
from tradewind.policies.intensity_memory import log_level
from tradewind.policies.target_error import TargetError

DAY = 24


def weather(days: int, seed: int = 1) -> list[float]:
    """Hours of a grid with sun at noon, windy and still days, and a slow season."""
    generator = np.random.default_rng(seed)
    hours = np.arange(days * DAY)
    wind = np.zeros(len(hours))
    for hour in range(1, len(hours)):
        wind[hour] = 0.985 * wind[hour - 1] + generator.normal(0, 0.06)
    sun = np.clip(np.sin((hours % 24 - 6) / 12 * np.pi), 0, None)
    season = 0.15 * np.sin(2 * np.pi * hours / (DAY * 180))
    return [float(value) for value in 250 * np.exp(wind + season) * (1 - 0.5 * sun)]


@pytest.fixture(scope="module")
def a_season() -> list[float]:
    return weather(110)


@pytest.mark.parametrize("target", [6.3, 6.57, 6.9])
def test_meets_the_target_near_the_least_carbon(a_season: list[float], target: float) -> None:
    choices = decide(TargetError(target, period_days=110.0), a_season)[28 * DAY :]
    values = np.array(a_season[28 * DAY :])
    error = mean_error(choices)
    energy = [sum(ENERGIES[share.variant] * share.weight for share in choice.mix) for choice in choices]
    grams = float(np.dot(energy, values)) / MJ_PER_KWH
    optimum = optimum_of(values, np.ones(len(values)), POOL)
    assert error == pytest.approx(target, abs=0.03)
    ratio = (grams - optimum.least_g) / (optimum.grams_for_error(error) - optimum.least_g)
    assert 1.0 <= ratio <= 1.08


@pytest.mark.parametrize("factor", [1.5, 1 / 1.5])
def test_a_new_level_is_settled_within_two_weeks(a_season: list[float], factor: float) -> None:
    at = 90 * DAY + 5
    values = [value * factor if hour >= at else value for hour, value in enumerate(a_season[: 105 * DAY])]
    choices = decide(TargetError(6.57), values)
    assert mean_error(choices[at : at + 14 * DAY]) == pytest.approx(6.57, abs=0.05)


def test_a_flat_grid_gets_the_mix_of_the_target() -> None:
    choices = decide(TargetError(6.8), [200.0] * 60)
    assert mean_error(choices[-24:]) == pytest.approx(6.8, abs=0.005)
    assert set(weights(choices[-1])) == {"resnet50", "resnet101"}


@pytest.mark.parametrize(
    ("target", "variant", "words"),
    [
        (5.0, "resnet152", "error of 5 is out of the pool's reach, so resnet152 with the least, 5.954, always serves"),
        (9.0, "resnet50", "error of 9 is out of the pool's reach, so resnet50 with the most, 7.138, always serves"),
    ],
)
def test_a_target_out_of_reach_gives_the_nearest_end_and_says_so(target: float, variant: str, words: str) -> None:
    choices = decide(TargetError(target), weather(3))
    assert all(weights(choice) == {variant: 1.0} for choice in choices)
    assert all(words in choice.explanation for choice in choices)


def test_what_was_served_counts_more_than_what_was_decided() -> None:
    """Reports say that the smallest served all along: the account falls behind and the aim is lowered."""
    policy = TargetError(6.57, learning_days=1.0, period_days=90.0)
    state, aims = policy.initial_state(), []
    for hour, value in enumerate(weather(30)):
        choice, state = policy.select_mix(situation(hour, value, {"resnet50": 10.0}), state)
        aims.append(choice.figures["aim_error"])
    assert choice.figures["owed_days"] > 10
    assert aims[0] == 6.57
    assert aims[-1] < 6.4


def test_an_interval_without_requests_weighs_nothing_whatever_the_usual_load() -> None:
    values = weather(60)

    def served_error(load: float) -> float:
        policy = TargetError(6.57, period_days=60.0)
        state = policy.initial_state()
        served: dict[str, float] = {}
        errors = []
        for hour, value in enumerate(values):
            choice, state = policy.select_mix(situation(hour, value, served), state)
            asked = load if 8 <= hour % 24 < 18 else 0.0
            served = {share.variant: share.weight * asked for share in choice.mix}
            if asked and hour >= 28 * DAY:
                errors.append(mean_error([choice]))
        return sum(errors) / len(errors)

    assert served_error(1.0) == pytest.approx(6.57, abs=0.03)
    assert served_error(1.0) == pytest.approx(served_error(1e6), abs=1e-6)


def test_deciding_again_within_an_interval_counts_nothing_twice() -> None:
    policy, values = TargetError(6.57), weather(10)
    _, state = run(policy, values)
    again, same = policy.select_mix(situation(len(values) - 1, values[-1]), state)
    assert same == state
    assert again == decide(policy, values)[-1]


def test_reports_within_an_interval_add_up() -> None:
    policy = TargetError(6.57)
    _, state = policy.select_mix(situation(0, 200.0), policy.initial_state())
    _, at_once = policy.select_mix(situation(1, 210.0, {"resnet50": 3.0, "resnet101": 5.0}), state)
    _, part = policy.select_mix(situation(0, 200.0, {"resnet50": 3.0}), state)
    _, in_parts = policy.select_mix(situation(1, 210.0, {"resnet101": 5.0}), part)
    assert at_once == in_parts


def test_resumes_from_its_state() -> None:
    values = weather(40)
    whole = decide(TargetError(6.57), values)
    _, state = run(TargetError(6.57), values[: 20 * DAY])
    assert decide(TargetError(6.57), values[20 * DAY :], state, first=20 * DAY) == whole[20 * DAY :]


@settings(max_examples=25, deadline=None)
@given(values=st.lists(st.floats(0.001, 1e5), min_size=1, max_size=40), target=st.floats(0, 20))
def test_any_intensities_give_a_mix(values: list[float], target: float) -> None:
    for choice in decide(TargetError(target), values):
        assert math.fsum(share.weight for share in choice.mix) == pytest.approx(1.0)
        assert all(share.variant in ERRORS and share.weight > 0 for share in choice.mix)


def test_a_period_ends_near_its_target_and_the_next_begins_anew() -> None:
    """A season that turns a month before the end must not leave the promise broken, though a short one keeps less."""
    values = [value * (1.25 if hour >= 60 * DAY else 0.8) for hour, value in enumerate(weather(90, seed=3))]
    policy = TargetError(6.57, period_days=90.0)
    choices = decide(policy, values)
    assert mean_error(choices[28 * DAY :]) == pytest.approx(6.57, abs=0.03)
    _, state = run(policy, [*values, values[0], values[1]])
    assert abs(state["debt"]) < 1.0
    assert state["age_days"] == pytest.approx(90 + 1 / DAY)


def test_weather_that_looks_like_a_jump_leaves_no_trace(a_season: list[float]) -> None:
    """Up by half for two days, then back: after two weeks the memories are those of a policy that saw no jump."""
    calm, at = a_season[: 76 * DAY], 60 * DAY + 5
    gust = [value * 1.5 if at <= hour < at + 2 * DAY else value for hour, value in enumerate(calm)]
    policy = TargetError(6.57)
    _, during = run(policy, gust[: at + DAY])
    assert during["settling"] is not None
    _, after = run(policy, gust)
    _, never = run(policy, calm)
    assert after["settling"] is None
    kept, other = (np.array(state["memories"]["all"]) for state in (after, never))
    assert np.abs(kept - other).sum() <= 2 * 2 * DAY


def test_a_level_that_stays_moves_the_memories(a_season: list[float]) -> None:
    at = 60 * DAY + 5
    values = [value * 1.5 if hour >= at else value for hour, value in enumerate(a_season[: 76 * DAY])]
    _, after = run(TargetError(6.57), values)
    _, never = run(TargetError(6.57), a_season[: 76 * DAY])
    moved = log_level(np.array(after["memories"]["all"]))[0] - log_level(np.array(never["memories"]["all"]))[0]
    assert moved == pytest.approx(math.log(1.5), abs=0.15)


def test_is_causal() -> None:
    one, other = weather(12, seed=1), weather(12, seed=2)
    mixed = one[: 6 * DAY] + other[6 * DAY :]
    assert decide(TargetError(6.57), one)[: 6 * DAY] == decide(TargetError(6.57), mixed)[: 6 * DAY]


def test_explains_itself() -> None:
    choice = decide(TargetError(6.57), weather(2))[-1]
    assert choice.reason is DecisionReason.CARBON_PRICE
    assert "for a mean error of 6.57" in choice.explanation
    assert "resnet101 up to" in choice.explanation
    thresholds = [choice.figures[f"threshold_{name}_g_per_kwh"] for name in ("resnet101", "resnet152")]
    assert thresholds[1] / thresholds[0] == pytest.approx((0.5 / 435.0523034) / (0.684 / 382.4735548), rel=1e-6)
    assert all(one >= other for one, other in itertools.pairwise(thresholds))


def test_needs_a_target() -> None:
    with pytest.raises(InvalidInput, match="period_days must be more than the 28 to learn"):
        build_policy("target-error", {"target_error": "6.5", "period_days": "20"})
    with pytest.raises(InvalidInput, match="needs the option target_error"):
        build_policy("target-error", {})
    with pytest.raises(InvalidInput, match="'high' is not a number"):
        build_policy("target-error", {"target_error": "high"})
