"""Readings: their JSON, their order of precedence, and what is refused by name."""

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradewind.errors import InvalidInput
from tradewind.readings import (
    Reading,
    ReadingKind,
    Signal,
    best_first,
    check_zone,
    format_time,
    from_json,
    from_mapping,
    parse_time,
    supersedes,
    to_json,
    to_mapping,
)

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
READING = Reading(
    zone="GB-SWE",
    valid_from=NOON,
    valid_to=NOON + timedelta(minutes=30),
    intensity_g_per_kwh=212.5,
    kind=ReadingKind.ACTUAL,
    signal=Signal.AVERAGE,
    source="neso",
    published_at=NOON + timedelta(minutes=31),
    revision=2,
    recorded_at=NOON - timedelta(days=1000),
)

moments = st.datetimes(
    min_value=datetime(1971, 1, 1),  # noqa: DTZ001 # Hypothesis adds the zone itself.
    max_value=datetime(2200, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
)
readings = st.builds(
    Reading,
    zone=st.from_regex(r"[A-Za-z0-9_.-]{1,64}", fullmatch=True),
    valid_from=moments,
    valid_to=moments,
    intensity_g_per_kwh=st.floats(allow_nan=False, allow_infinity=False),
    kind=st.sampled_from(ReadingKind),
    signal=st.sampled_from(Signal),
    source=st.text(min_size=1),
    published_at=moments,
    revision=st.integers(min_value=0, max_value=2**31 - 1),
    recorded_at=st.none() | moments,
)


@given(readings)
def test_json_gives_back_what_it_was_given(reading: Reading) -> None:
    assert from_json(to_json(reading)) == reading


@given(st.binary() | st.text())
def test_any_payload_is_a_reading_or_refused_in_a_sentence(payload: bytes | str) -> None:
    with pytest.raises(InvalidInput):
        from_json(payload)


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(list(to_mapping(READING))), json_values))
def test_wrong_fields_are_refused(fields: dict[str, object]) -> None:
    mapping = to_mapping(READING) | fields
    try:
        reading = from_mapping(mapping)
    except InvalidInput:
        return
    assert from_json(to_json(reading)) == reading


@pytest.mark.parametrize("field", sorted(set(to_mapping(READING)) - {"revision", "recorded_at"}))
def test_a_missing_field_is_named(field: str) -> None:
    mapping = to_mapping(READING)
    del mapping[field]
    with pytest.raises(InvalidInput, match=field):
        from_mapping(mapping)


def test_missing_is_not_zero() -> None:
    with pytest.raises(InvalidInput, match="intensity_g_per_kwh is missing"):
        from_mapping(to_mapping(READING) | {"intensity_g_per_kwh": None})


@pytest.mark.parametrize("payload", ['{"a": ' * 50_000, "[" * 100_000, b"\xff\xfe\x00", b""])
def test_hostile_payloads_are_refused(payload: str | bytes) -> None:
    with pytest.raises(InvalidInput):
        from_json(payload)


def test_a_huge_integer_is_not_finite() -> None:
    text = json.dumps(to_mapping(READING)).replace("212.5", "1" + "0" * 400)
    with pytest.raises(InvalidInput, match="not a finite number"):
        from_json(text)


def test_kinds_rank_actual_estimated_forecast() -> None:
    assert [kind.rank for kind in (ReadingKind.ACTUAL, ReadingKind.ESTIMATED, ReadingKind.FORECAST)] == [0, 1, 2]


def _changed(**fields: object) -> Reading:
    return Reading(**{name: fields.get(name, getattr(READING, name)) for name in Reading.__slots__})  # type: ignore[arg-type]


def test_the_best_of_an_interval_is_the_best_kind_then_the_newest_then_the_first_by_name() -> None:
    newer = _changed(published_at=NOON + timedelta(hours=3))
    other = _changed(source="edge:home")
    estimated = _changed(kind=ReadingKind.ESTIMATED, published_at=NOON + timedelta(hours=9))
    assert sorted([estimated, READING, newer, other], key=best_first) == [newer, other, READING, estimated]


def test_the_newest_publication_wins_and_equals_are_ordered_by_value() -> None:
    newer, higher = _changed(published_at=NOON + timedelta(hours=1)), _changed(intensity_g_per_kwh=300.0)
    assert supersedes(newer, READING)
    assert not supersedes(READING, newer)
    assert supersedes(higher, READING)
    assert not supersedes(READING, higher)
    assert not supersedes(READING, READING)


def test_an_interval_is_half_open() -> None:
    assert READING.holds_at(READING.valid_from)
    assert not READING.holds_at(READING.valid_to)


@pytest.mark.parametrize("zone", ["", "a b", "a/b", "+", "#", "a" * 65, "zürich", "a\n"])
def test_a_zone_is_a_short_plain_name(zone: str) -> None:
    with pytest.raises(InvalidInput, match="not a zone's name"):
        check_zone(zone)


@pytest.mark.parametrize("zone", ["GB-SWE", "a", "US-CAL_CISO.1", "x" * 64])
def test_good_zones(zone: str) -> None:
    assert check_zone(zone) == zone


def test_times_are_written_in_utc() -> None:
    summer = NOON.astimezone(timezone(timedelta(hours=1)))
    assert format_time(summer) == "2026-06-01T12:00:00Z"
    assert parse_time("2026-06-01T13:00:00+01:00") == NOON


@pytest.mark.parametrize("text", ["2026-06-01T12:00:00", "yesterday", "", "12", "0001-01-01T00:00:00+14:00"])
def test_a_time_needs_a_zone(text: str) -> None:
    with pytest.raises(InvalidInput, match="valid_from"):
        parse_time(text, "valid_from")
