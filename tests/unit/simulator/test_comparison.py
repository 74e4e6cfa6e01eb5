"""The comparison's figures against calculations written out anew, without any of the simulator's code."""

import itertools
import math
from collections.abc import Callable, Sequence
from datetime import timedelta

import numpy as np
import pytest

from simulator.comparison import Clairvoyant, Comparison, Entrant, Plan, compare
from simulator.evaluation import Row
from simulator.policies.as_printed import AsPrinted
from simulator.requests import flat_requests
from simulator.series import IntensitySeries
from tradewind.catalogue import OperatingPoint
from tradewind.catalogues import published_catalogue
from tradewind.errors import InvalidInput
from tradewind.policies.carbon_budget import CarbonBudget
from tradewind.policies.fixed import Fixed
from tradewind.policies.proportional import Proportional
from tradewind.policies.restraints import Hysteresis, StopDegrading
from tradewind.policies.target_error import TargetError

ENERGIES = (420.6213298, 803.0948846, 1238.147188)
ERRORS = (7.138, 6.454, 5.954)
POOL = published_catalogue().family("resnet").permitted
DAY = timedelta(hours=24)


def bimodal(rows: int = 148) -> list[float]:
    """Three days of half-hours from 00:30: dirty nights, sunny middays, each day another."""
    values = []
    for row in range(1, rows + 1):
        hour, day = row / 2 % 24, row // 48
        sun = max(0.0, math.sin((hour - 5) / 15 * math.pi)) if 5 < hour < 20 else 0.0
        values.append(round(340 - 290 * sun + 12 * day + 9 * math.sin(row), 1))
    return values


def series_of_values(values: Sequence[float]) -> IntensitySeries:
    """Half-hours from 1 June 2023, 00:30."""
    times = 1_685_579_400 + 1_800 * np.arange(len(values), dtype=np.int64)
    return IntensitySeries("grid", times, np.array(values), 1_800, len(values), 0, 0, 0)


def run(values: Sequence[float], window: timedelta | None, *entrants: Entrant) -> dict[str, Row]:
    """The rows by policy, scaled so that ResNet101 has 2676 g extra."""
    plan = Plan(POOL, entrants, window=window, scale_extra=("resnet101", 2676.0))
    series = series_of_values(values)
    return {row.policy: row for row in compare(series, flat_requests(series), plan).rows}


def by_hand(
    values: Sequence[float], window: int | None, energy_for: Callable[[float], float]
) -> tuple[float, float, int]:
    """Mean error, extra grams and switches of a proportional rule, in plain arithmetic."""
    error = extra = all_middle = 0.0
    choices = []
    for row, value in enumerate(values):
        seen = values if window is None else values[max(0, row - window + 1) : row + 1]
        low, high = min(seen), max(seen)
        wanted = energy_for(0.5 if low == high else (value - low) / (high - low))
        chosen = min(range(3), key=lambda index: (abs(ENERGIES[index] - wanted), index))
        choices.append(chosen)
        error += ERRORS[chosen]
        extra += (ENERGIES[chosen] - ENERGIES[0]) * value
        all_middle += (ENERGIES[1] - ENERGIES[0]) * value
    switches = sum(1 for one, other in itertools.pairwise(choices) if one != other)
    return error / len(values), extra / all_middle * 2676.0, switches


@pytest.mark.parametrize("window", [48, None], ids=["24 h", "whole series"])
@pytest.mark.parametrize("name", ["proportional", "as-printed"])
def test_proportional_and_as_printed_by_hand(window: int | None, name: str) -> None:
    span = ENERGIES[2] - ENERGIES[0]
    rules: dict[str, Callable[[float], float]] = {
        "proportional": lambda x: ENERGIES[2] - x * span,
        "as-printed": lambda x: ENERGIES[0] + x * span,
    }
    policy = Proportional() if name == "proportional" else AsPrinted()
    row = run(bimodal(), DAY if window else None, Entrant(name, policy))[name]
    error, extra, switches = by_hand(bimodal(), window, rules[name])
    assert row.mean_error_pct == pytest.approx(error, abs=1e-9)
    assert row.extra_g == pytest.approx(extra, rel=1e-9)
    assert row.switches == switches
    assert row.cee == pytest.approx((7.138 - error) / 7.138 * 100 / extra, rel=1e-9)


def test_least_possible_by_hand() -> None:
    """Every half-hour offers two upgrades; the cheapest per point are bought until the error is met."""
    values, target = bimodal(), 6.57
    offers = []
    for value in values:
        for small in (0, 1):
            gain, cost = ERRORS[small] - ERRORS[small + 1], (ENERGIES[small + 1] - ENERGIES[small]) * value
            offers.append((cost / gain, gain, cost))
    needed, spent = (7.138 - target) * len(values), 0.0
    for _, gain, cost in sorted(offers):
        part = min(1.0, needed / gain)
        needed, spent = needed - part * gain, spent + part * cost
        if needed <= 1e-12:
            break
    least = spent / sum((ENERGIES[1] - ENERGIES[0]) * value for value in values) * 2676.0
    rows = run(values, DAY, Entrant("clairvoyant", Clairvoyant(target)), Entrant("proportional", Proportional()))
    assert rows["clairvoyant"].mean_error_pct == pytest.approx(target, abs=1e-9)
    assert rows["clairvoyant"].extra_g == pytest.approx(least, rel=1e-9)
    assert rows["clairvoyant"].clairvoyant_ratio == pytest.approx(1.0, abs=1e-9)
    assert (rows["proportional"].clairvoyant_ratio or 0.0) > 1.0


def test_fixed_rows_are_always_there_and_null_where_undefined() -> None:
    rows = run(bimodal(), DAY)
    assert list(rows) == ["fixed:resnet50", "fixed:resnet101", "fixed:resnet152"]
    small, middle, large = rows.values()
    assert (small.extra_g, small.cee, small.clairvoyant_ratio, small.switches) == (0.0, None, None, 0)
    assert small.mean_error_pct == 7.138
    assert middle.extra_g == pytest.approx(2676.0)
    assert large.extra_g == pytest.approx(2676.0 * (ENERGIES[2] - ENERGIES[0]) / (ENERGIES[1] - ENERGIES[0]))
    assert large.clairvoyant_ratio == pytest.approx(1.0)
    assert large.share == {"resnet50": 0.0, "resnet101": 0.0, "resnet152": 1.0}


def compare_with(requests: list[float], warm_up: timedelta = timedelta(0), baseline: str | None = None) -> Comparison:
    """Four half-hours at 100, 200, 300 and 400 g/kWh under `fixed`."""
    series = series_of_values([100.0, 200.0, 300.0, 400.0])
    plan = Plan(POOL, (Entrant("fixed", Fixed("resnet101")),), warm_up=warm_up, baseline=baseline)
    return compare(series, np.array(requests), plan)


def test_error_and_grams_are_weighted_by_requests() -> None:
    row = compare_with([0.0, 3.0, 0.0, 1.0]).rows[-1]
    assert row.emissions_g == pytest.approx(803.0948846 * (3 * 200 + 400) / 3.6e9)
    assert row.extra_g == pytest.approx((803.0948846 - 420.6213298) * (3 * 200 + 400) / 3.6e9)


def test_warm_up_and_unknown_load_are_not_scored() -> None:
    assert compare_with([1.0] * 4, warm_up=timedelta(hours=1)).scored.tolist() == [2, 3]
    assert compare_with([1.0, math.nan, 0.0, 1.0]).scored.tolist() == [0, 2, 3]


def test_another_baseline() -> None:
    rows = {row.policy: row for row in compare_with([1.0] * 4, baseline="resnet152").rows}
    assert rows["fixed:resnet152"].extra_g == 0.0
    assert rows["fixed:resnet50"].extra_g < 0
    assert rows["fixed:resnet50"].cee is not None
    assert rows["fixed:resnet50"].clairvoyant_ratio is None


def test_nothing_to_score_is_said() -> None:
    with pytest.raises(InvalidInput, match="nothing is left"):
        compare_with([1.0] * 4, warm_up=timedelta(days=2))
    with pytest.raises(InvalidInput, match="not in the pool"):
        compare_with([1.0] * 4, baseline="vgg16")


def test_a_budget_is_said_in_reported_grams() -> None:
    values = bimodal(48 * 40)
    budget = CarbonBudget(budget_g=150.0, period="day")
    held = StopDegrading(Hysteresis(budget, timedelta(minutes=30)), timedelta(days=90))
    rows = run(values, DAY, Entrant("budget", budget), Entrant("restrained", held))
    for row in (rows["budget"], rows["restrained"]):
        whole = [period for period in row.periods if period["whole"]][1:]
        assert len(whole) > 30
        assert all(period["budget_g"] == pytest.approx(150.0) for period in whole)
        assert sum(period["emissions_g"] for period in row.periods) == pytest.approx(row.emissions_g)
    assert rows["restrained"].emissions_g == pytest.approx(rows["budget"].emissions_g, rel=0.02)


def test_days_without_requests_have_no_period_and_no_weight() -> None:
    values = bimodal(48 * 12)
    days = np.arange(1, len(values) + 1) // 48
    requests = np.where(days % 7 == 3, 0.0, 5.0)
    plan = Plan(POOL, (Entrant("budget", CarbonBudget(budget_share=0.5, period="day")),))
    row = compare(series_of_values(values), requests, plan).rows[-1]
    assert [period["from"][:10] for period in row.periods if "04" <= period["from"][8:10] <= "05"] == ["2023-06-05"]
    assert sum(row.share.values()) == pytest.approx(1.0)


def test_the_unit_of_the_requests_is_nothing() -> None:
    values = bimodal(48 * 40)
    requests = np.array([float(row % 5) for row in range(len(values))])
    requests[: 48 * 10] = math.nan
    plan = Plan(POOL, (Entrant("target", TargetError(6.6)), Entrant("budget", CarbonBudget(budget_share=0.5))))
    one, small, large = (compare(series_of_values(values), requests * unit, plan).rows[-2:] for unit in (1, 1e-4, 1e6))
    for rows in (small, large):
        assert [row.mean_error_pct for row in rows] == pytest.approx([row.mean_error_pct for row in one], abs=1e-9)
        assert [row.clairvoyant_ratio for row in rows] == pytest.approx([row.clairvoyant_ratio for row in one])


def test_a_single_variant() -> None:
    only: tuple[OperatingPoint, ...] = POOL[:1]
    series = series_of_values([100.0, 200.0])
    row = compare(series, flat_requests(series), Plan(only, (Entrant("proportional", Proportional()),))).rows[-1]
    assert (row.mean_error_pct, row.extra_g, row.cee, row.clairvoyant_ratio) == (7.138, 0.0, None, None)
