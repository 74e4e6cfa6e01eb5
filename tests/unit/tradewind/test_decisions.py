"""Decisions: an id that follows the content, and a JSON that says the whole of it."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradewind.decisions import (
    Decision,
    DecisionReason,
    RangeSummary,
    Share,
    decision_from_json,
    decision_id,
    decision_to_json,
    decision_to_mapping,
)
from tradewind.errors import InvalidInput
from tradewind.messages import decision_from_wire, decision_to_wire, reading_from_wire, reading_to_wire
from tradewind.readings import Reading, ReadingKind, Signal

MOMENTS = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 -- st adds it
NUMBERS = st.floats(0, 1e9, allow_nan=False)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)

READINGS = st.builds(
    Reading,
    zone=st.from_regex(r"[A-Za-z0-9_.-]{1,64}", fullmatch=True),
    valid_from=MOMENTS,
    valid_to=MOMENTS,
    intensity_g_per_kwh=NUMBERS,
    kind=st.sampled_from(ReadingKind),
    signal=st.sampled_from(Signal),
    source=NAMES,
    published_at=MOMENTS,
    revision=st.integers(0, 1000),
    recorded_at=st.none() | MOMENTS,
)
RANGES = st.builds(
    RangeSummary,
    low_g_per_kwh=NUMBERS,
    high_g_per_kwh=NUMBERS,
    window=st.timedeltas(timedelta(milliseconds=1), timedelta(days=400)),
    readings=st.integers(1, 100_000),
    full=st.booleans(),
)
DECISIONS = st.builds(
    Decision,
    id=st.text("0123456789abcdef", min_size=20, max_size=20),
    zone=st.from_regex(r"[A-Za-z0-9_.-]{1,64}", fullmatch=True),
    family=NAMES,
    revision=st.integers(0, 2**53),
    mix=st.lists(st.builds(Share, NAMES, st.floats(0, 1)), min_size=1, max_size=4).map(tuple),
    valid_from=MOMENTS,
    valid_until=MOMENTS,
    policy=NAMES,
    reason=st.sampled_from(DecisionReason),
    explanation=NAMES,
    current=st.none() | READINGS,
    range=st.none() | RANGES,
    decided_at=MOMENTS,
    figures=st.dictionaries(NAMES, NUMBERS, max_size=4),
)


@given(decision=DECISIONS)
def test_json_and_wire_say_the_whole_decision(decision: Decision) -> None:
    assert decision_from_json(decision_to_json(decision)) == decision
    assert decision_from_wire(decision_to_wire(decision)) == decision


@given(reading=READINGS)
def test_the_wire_says_the_whole_reading(reading: Reading) -> None:
    assert reading_from_wire(reading_to_wire(reading)) == reading


START = datetime(2023, 6, 2, 12, tzinfo=UTC)
READING = Reading(
    zone="GB",
    valid_from=START,
    valid_to=START + timedelta(minutes=30),
    intensity_g_per_kwh=212.5,
    kind=ReadingKind.ACTUAL,
    signal=Signal.AVERAGE,
    source="neso",
    published_at=START,
)
RANGE = RangeSummary(100.0, 300.0, timedelta(hours=24), 48, full=True)
MIX = (Share("resnet50", 0.25), Share("resnet101", 0.75))
DECISION = Decision(
    id="0123456789abcdef0123",
    zone="GB",
    family="resnet",
    revision=7,
    mix=MIX,
    valid_from=START,
    valid_until=START + timedelta(minutes=30),
    policy="proportional",
    reason=DecisionReason.RANGE_POSITION,
    explanation="why",
    current=READING,
    range=RANGE,
    decided_at=START,
)


def test_the_heaviest_variant_is_the_first_of_equals() -> None:
    assert DECISION.heaviest_variant == "resnet101"
    assert replace(DECISION, mix=(Share("a", 0.5), Share("b", 0.5))).heaviest_variant == "a"


@pytest.mark.parametrize("field", sorted(decision_to_mapping(DECISION)))
def test_a_decision_without_a_field_names_it(field: str) -> None:
    mapping = decision_to_mapping(DECISION)
    del mapping[field]
    with pytest.raises(InvalidInput, match=f"{field} is missing"):
        decision_from_json(json.dumps(mapping))


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xff",
        b"null",
        b"[]",
        b"[" * 100_000,
        json.dumps({**decision_to_mapping(DECISION), "mix": []}),
        json.dumps({**decision_to_mapping(DECISION), "mix": 5}),
        json.dumps({**decision_to_mapping(DECISION), "reason": "whim"}),
        json.dumps({**decision_to_mapping(DECISION), "valid_from": "noon"}),
        json.dumps({**decision_to_mapping(DECISION), "valid_from": 5}),
        json.dumps({**decision_to_mapping(DECISION), "range": {"low_g_per_kwh": 1}}),
        json.dumps({**decision_to_mapping(DECISION), "zone": "a/b"}),
        json.dumps({**decision_to_mapping(DECISION), "figures": [1]}),
    ],
)
def test_what_is_no_decision_is_one_sentence(payload: bytes | str) -> None:
    with pytest.raises(InvalidInput):
        decision_from_json(payload)


def an_id(**changes: object) -> str:
    values: dict[str, object] = {
        "zone": "GB",
        "family": "resnet",
        "policy": "proportional",
        "mix": MIX,
        "current": READING,
        "summary": RANGE,
        "reason": DecisionReason.RANGE_POSITION,
    }
    return decision_id(**{**values, **changes})  # type: ignore[arg-type]


def test_the_id_follows_every_input_and_nothing_else() -> None:
    changed = [
        an_id(),
        an_id(zone="FR"),
        an_id(family="digits"),
        an_id(policy="fixed"),
        an_id(mix=MIX[::-1]),
        an_id(reason=DecisionReason.HELD),
        an_id(current=None),
        an_id(current=replace(READING, intensity_g_per_kwh=212.6)),
        an_id(current=replace(READING, valid_to=START + timedelta(hours=1))),
        an_id(current=replace(READING, published_at=START + timedelta(seconds=1))),
        an_id(current=replace(READING, kind=ReadingKind.FORECAST)),
        an_id(summary=None),
        an_id(summary=replace(RANGE, low_g_per_kwh=99.0)),
        an_id(summary=replace(RANGE, readings=47)),
        an_id(summary=replace(RANGE, full=False)),
    ]
    assert len(set(changed)) == len(changed)
    assert an_id() == an_id()
    assert an_id(current=replace(READING, revision=3)) == an_id()
