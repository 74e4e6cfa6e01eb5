"""What Envoy is told follows the decision, readiness and the operator's switches; at most one interval holds."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_proxy.envoy.told import Terms, table
from inference_proxy.intervals import Intervals
from inference_proxy.routes import FamilyRoute, Force, ModelRoute, Switches
from inference_proxy.tallies import Tallies
from inference_proxy.targets import Target
from tests.unit.inference_proxy.envoy.lua import Lua
from tradewind.catalogue import EnergyFigure, Figure, Provenance, Variant
from tradewind.database import microseconds
from tradewind.decisions import Decision, DecisionReason, Share
from tradewind.readings import Reading, ReadingKind, Signal

START = datetime(2026, 11, 24, tzinfo=UTC)
START_US = microseconds(START)
TERMS = Terms(Path("spool"), 4_096, receipts=True, tenant_key="", tenants=1)


class _There:
    """An endpoint whose circuit is closed."""

    closed = True


def target(name: str, energy_mj: float) -> Target:
    figures = Variant(
        energy_mj=EnergyFigure(value=energy_mj, provenance=Provenance.MEASURED),
        error=Figure(value=1.0, provenance=Provenance.MEASURED),
    )
    made = Target(variant=name, model=name, version="", figures=figures, permitted=True, ready=True, max_batch_size=8)
    made.endpoints = (_There(),)  # type: ignore[assignment] # all that a target asks of one
    return made


def route(switches: Switches = Switches()) -> FamilyRoute:  # noqa: B008 -- frozen
    targets = tuple(target(name, energy) for name, energy in (("s", 1.0), ("m", 2.0), ("l", 4.0)))
    return FamilyRoute("fam", targets, "s", Intervals("GB"), Tallies(), switches)


def decision(*shares: Share) -> Decision:
    return Decision(
        id="d",
        zone="GB",
        family="fam",
        revision=1,
        mix=shares,
        valid_from=START,
        valid_until=START,
        policy="p",
        reason=DecisionReason.FIXED,
        explanation="",
        current=None,
        range=None,
        decided_at=START,
    )


def shares(family: FamilyRoute) -> list[tuple[str, str, float, str | None]]:
    told = table({b"fam": family}, Intervals("GB"), TERMS, lambda target: target.model, "r", START_US)
    parts = told["names"].get("fam", {"shares": []})["shares"]
    return [
        (*part["variant"].split(">"), part["weight"], told["lanes"][part["lane"]].get("fallback")) for part in parts
    ]


def test_a_mix_is_told_by_weight() -> None:
    family = route()
    family.decide(decision(Share("m", 0.25), Share("l", 0.75)))
    assert shares(family) == [("m", "m", 0.25, None), ("l", "l", 0.75, None)]


def test_nothing_decided_is_the_fallback_variant() -> None:
    assert shares(route()) == [("s", "s", 1.0, "no_decision")]


def test_a_variant_that_is_not_ready_is_served_by_its_neighbour() -> None:
    family = route()
    family.decide(decision(Share("s", 0.5), Share("l", 0.5)))
    family.targets[2].ready = False
    assert shares(family) == [("s", "s", 0.5, None), ("l", "m", 0.5, "not_ready")]


def test_nothing_ready_is_the_proxys_to_refuse() -> None:
    family = route()
    for each in family.targets:
        each.ready = False
    assert shares(family) == []


def test_a_model_whose_batches_are_not_known_yet_is_the_proxys() -> None:
    family = route()
    family.targets[0].max_batch_size = None
    assert shares(family) == []
    assert (
        table(
            {b"s": ModelRoute(family.targets[0], Intervals("GB"), Tallies())},
            Intervals("GB"),
            TERMS,
            lambda target: target.model,
            "r",
            0,
        )["names"]
        == {}
    )


@pytest.mark.parametrize(
    ("switches", "expected"),
    [
        (Switches(observe=True), [("l", "s", 1.0, "observe")]),
        (Switches(rollout_pct=25), [("l", "l", 0.25, None), ("l", "s", 0.75, "rollout")]),
        (Switches(rollout_pct=0), [("l", "s", 1.0, "rollout")]),
    ],
)
def test_the_operators_switches_are_told(
    switches: Switches, expected: list[tuple[str, str, float, str | None]]
) -> None:
    family = route(switches)
    family.decide(decision(Share("l", 1.0)))
    assert shares(family) == expected


def test_a_forced_variant_is_told_until_its_time() -> None:
    family = route()
    family.decide(decision(Share("l", 1.0)))
    family.force = Force("m", START_US + 1, "ops", "test")
    assert shares(family) == [("l", "m", 1.0, "forced")]
    family.force = Force("m", START_US, "ops", "test")
    assert shares(family) == [("l", "l", 1.0, None)]


def reading(begin_min: int, length_min: int, intensity: float) -> Reading:
    return Reading(
        zone="GB",
        valid_from=START + timedelta(minutes=begin_min),
        valid_to=START + timedelta(minutes=begin_min + length_min),
        intensity_g_per_kwh=intensity,
        kind=ReadingKind.ACTUAL,
        signal=Signal.AVERAGE,
        source="test",
        published_at=START,
        revision=0,
    )


spans = st.lists(st.tuples(st.integers(-30, 60), st.integers(1, 40), st.integers(0, 500)), max_size=6)


@given(spans, st.lists(st.integers(0, 120 * 60), min_size=1, max_size=8))
def test_the_lua_finds_the_interval_that_python_finds(
    drawn: Sequence[tuple[int, int, int]], moments_s: Sequence[int]
) -> None:
    intervals = Intervals("GB")
    for begin, length, intensity in drawn:
        intervals.learn(reading(begin, length, float(intensity)))
    told = LUA.table(table({}, intervals, TERMS, lambda target: target.model, "r", START_US))
    for moment_s in moments_s:
        now_us = START_US + moment_s * 1_000_000
        expected = intervals.at(now_us)
        found: Any = LUA.module("table")[b"interval"](told, now_us)
        assert (found is None) == (expected is None)
        if expected is not None:
            assert found[b"intensity"] == expected.intensity_g_per_kwh


LUA = Lua()
