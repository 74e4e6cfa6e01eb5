"""What edge publishers send becomes a claim, and never an exception."""

import json
import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon_service.observations import MAX_PAYLOAD_BYTES, NO_ZONE, Claim, Reason, excerpt_of, parse_observation
from tradewind.plausibility import GateLimits, Verdict, judge_alone
from tradewind.readings import ReadingKind, Signal

NOW = datetime(2026, 6, 1, 12, 0, 3, tzinfo=UTC)
HOUR = timedelta(hours=1)


def parse(payload: bytes | str, topic: str = "carbon/v1/observations/roof/home", *, retained: bool = False) -> Claim:
    return parse_observation(
        topic, payload.encode() if isinstance(payload, str) else payload, retained, NOW, validity=HOUR
    )


@pytest.mark.parametrize("payload", ["212.5", " 212.5\n", b"212.5", "2.125e2", '{"intensity_g_per_kwh": 212.5}'])
def test_a_number_holds_from_now(payload: bytes | str) -> None:
    reading = parse(payload).reading
    assert reading is not None
    assert (reading.intensity_g_per_kwh, reading.kind, reading.signal) == (
        212.5,
        ReadingKind.ACTUAL,
        Signal.AVERAGE,
    )
    assert (reading.zone, reading.source) == ("home", "edge:roof")
    assert (reading.valid_from, reading.valid_to, reading.published_at) == (NOW, NOW + HOUR, NOW)


def test_a_whole_reading_is_taken_as_it_is_but_for_its_source() -> None:
    reading = parse(
        json.dumps(
            {
                "zone": "home",
                "source": "somebody-else",
                "intensity_g_per_kwh": 99,
                "valid_from": "2026-06-01T11:30:00Z",
                "valid_to": "2026-06-01T14:00:00+02:00",
                "published_at": "2026-06-01T11:59:00Z",
                "kind": "estimated",
                "signal": "marginal",
            }
        )
    ).reading
    assert reading is not None
    assert reading.source == "edge:roof"
    assert (reading.kind, reading.signal) == (ReadingKind.ESTIMATED, Signal.MARGINAL)
    assert reading.valid_to == datetime(2026, 6, 1, 12, tzinfo=UTC)


def test_a_reading_said_again_is_the_same_claim() -> None:
    payload = '{"intensity_g_per_kwh": 99, "valid_from": "2026-06-01T11:30:00Z", "valid_to": "2026-06-01T12:00:00Z"}'
    assert parse(payload).reading == parse(payload).reading
    assert parse(payload).digest == parse(payload).digest


@pytest.mark.parametrize(
    ("unit", "expected"), [("g/kWh", 1000.0), ("kg/MWh", 1000.0), ("lbs/MWh", 453.59237), ("lb / mwh", 453.59237)]
)
def test_units_are_converted(unit: str, expected: float) -> None:
    reading = parse(json.dumps({"intensity_g_per_kwh": 1000, "unit": unit})).reading
    assert reading is not None
    assert reading.intensity_g_per_kwh == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ("", Reason.BLANK),
        ("  \n", Reason.BLANK),
        ("{}", Reason.BLANK),
        ('{"intensity_g_per_kwh": null}', Reason.BLANK),
        ("212,5", Reason.NOT_A_READING),
        ("1_000", Reason.NOT_A_READING),
        ("[212.5]", Reason.NOT_A_READING),
        ('"212.5"', Reason.NOT_A_READING),
        ("true", Reason.NOT_A_READING),
        ('{"intensity_g_per_kwh": "212.5"}', Reason.NOT_A_READING),
        ('{"intensity_g_per_kwh": true}', Reason.NOT_A_READING),
        ('{"intensity_g_per_kwh": 1, "kind": "guess"}', Reason.NOT_A_READING),
        ('{"intensity_g_per_kwh": 1, "valid_from": "noon"}', Reason.NOT_A_READING),
        ('{"intensity_g_per_kwh": 1, "valid_from": 5}', Reason.NOT_A_READING),
        ('{"intensity_g_per_kwh": 1, "unit": "percentile"}', Reason.UNKNOWN_UNIT),
        ('{"intensity_g_per_kwh": 1, "unit": 7}', Reason.UNKNOWN_UNIT),
        ('{"intensity_g_per_kwh": 1, "zone": "elsewhere"}', Reason.BAD_ZONE),
        (b"\xff\xfe212.5", Reason.NOT_A_READING),
        (b"1" * (MAX_PAYLOAD_BYTES + 1), Reason.TOO_LARGE),
    ],
)
def test_what_is_no_reading_is_named(payload: bytes | str, reason: Reason) -> None:
    claim = parse(payload)
    assert claim.reading is None
    assert claim.reason == reason
    assert claim.explanation
    assert (claim.zone, claim.publisher) == ("home", "roof")


@pytest.mark.parametrize("payload", ["nan", "inf", "-inf", '{"intensity_g_per_kwh": NaN}'])
def test_other_than_finite_numbers_are_left_to_the_gate(payload: str) -> None:
    reading = parse(payload).reading
    assert reading is not None
    assert not math.isfinite(reading.intensity_g_per_kwh)


def test_a_retained_observation_is_refused() -> None:
    assert parse("212.5", retained=True).reason == Reason.RETAINED


@pytest.mark.parametrize(
    ("topic", "zone"),
    [("carbon/v1/observations/roof/a b", NO_ZONE), ("carbon/v1/observations/roof top/home", "home")],
)
def test_a_bad_name_in_the_topic_is_refused(topic: str, zone: str) -> None:
    claim = parse("212.5", topic)
    assert (claim.reason, claim.zone) == (Reason.BAD_ZONE, zone)


def test_an_excerpt_is_short_and_harmless() -> None:
    excerpt = excerpt_of(b"a\x00b\x1b[31m\xff" + b"x" * 5000)
    assert len(excerpt) <= 200
    assert excerpt.isprintable()


@given(st.binary(max_size=300) | st.text(max_size=100).map(str.encode))
def test_any_payload_is_a_claim(payload: bytes) -> None:
    claim = parse(payload)
    assert (claim.reading is None) == bool(claim.reason)
    assert claim.reading is None or claim.reading.zone == "home"
    assert claim.digest


scalars = st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=30)
FIELDS = ["intensity_g_per_kwh", "valid_from", "valid_to", "published_at", "kind", "signal", "zone", "unit", "source"]


@given(st.dictionaries(st.sampled_from(FIELDS), scalars | st.lists(scalars, max_size=3)))
def test_any_object_is_a_claim_and_nothing_missing_is_zero(mapping: dict[str, object]) -> None:
    claim = parse(json.dumps(mapping))
    if claim.reading is not None and claim.reading.intensity_g_per_kwh == 0:
        assert mapping["intensity_g_per_kwh"] is not None


ENDS = [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)]
times = st.datetimes(timezones=st.just(UTC)) | st.sampled_from(ENDS)


@given(st.dictionaries(st.sampled_from(["valid_from", "valid_to", "published_at", "recorded_at"]), times))
def test_any_times_are_a_claim_that_the_gate_can_judge(said: dict[str, datetime]) -> None:
    spelled = {name: moment.replace(tzinfo=None).isoformat() + "Z" for name, moment in said.items()}
    reading = parse(json.dumps({"intensity_g_per_kwh": 200} | spelled)).reading
    assert reading is not None
    assert judge_alone(reading, NOW, GateLimits()).verdict in {
        *(Verdict.ACCEPTED, Verdict.BAD_INTERVAL, Verdict.FROM_FUTURE, Verdict.TOO_OLD)
    }


@pytest.mark.parametrize(
    ("field", "moment", "verdict"),
    [
        ("valid_from", "9999-12-31T23:30:00Z", Verdict.FROM_FUTURE),
        ("valid_from", "0001-01-01T00:00:00Z", Verdict.TOO_OLD),
        ("published_at", "9999-12-31T23:59:59Z", Verdict.FROM_FUTURE),
        ("published_at", "0001-01-01T00:00:00Z", Verdict.ACCEPTED),
    ],
)
def test_the_ends_of_the_calendar_are_named(field: str, moment: str, verdict: Verdict) -> None:
    reading = parse(json.dumps({"intensity_g_per_kwh": 200, field: moment})).reading
    assert reading is not None
    assert judge_alone(reading, NOW, GateLimits()).verdict is verdict
