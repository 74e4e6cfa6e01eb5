"""What did somebody say? Bus payloads become claims: a reading to be judged, or the reason why it is none."""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from tradewind import topics
from tradewind.errors import InvalidInput
from tradewind.plausibility import Verdict
from tradewind.readings import ZONE_PATTERN, Reading, ReadingKind, Signal, parse_time, to_json
from tradewind.units import intensity_from_lb_per_mwh

MAX_PAYLOAD_BYTES = 8_192
EXCERPT_CHARACTERS = 200
NO_ZONE = "-"
"""Stands for a zone in the quarantine where none can be named."""


class Reason(StrEnum):
    """Why a claim is no reading, before the gate has even looked; the gate's own words are Verdicts."""

    BLANK = "blank"
    NOT_A_READING = "not_a_reading"
    UNKNOWN_UNIT = "unknown_unit"
    BAD_ZONE = "bad_zone"
    TOO_LARGE = "too_large"
    RETAINED = "retained"
    NOT_PERMITTED = "not_permitted"
    TOO_MANY_ZONES = "too_many_zones"
    UNSTORABLE = "unstorable"


REASONS = frozenset({*(each.value for each in Reason), *(each.value for each in Verdict)} - {Verdict.ACCEPTED.value})

_LAST = datetime.max.replace(tzinfo=UTC)
_KINDS = tuple(kind.value for kind in ReadingKind)
_SIGNALS = tuple(signal.value for signal in Signal)
_UNITS = {
    "g/kwh": 1.0,
    "gco2/kwh": 1.0,
    "gco2eq/kwh": 1.0,
    "kg/mwh": 1.0,
    "lb/mwh": intensity_from_lb_per_mwh(1.0),
    "lbs/mwh": intensity_from_lb_per_mwh(1.0),
}


@dataclass(frozen=True, slots=True)
class Claim:
    """What a source said of a zone: a reading for the gate, or why it is none."""

    zone: str
    source: str
    received_at: datetime
    reading: Reading | None
    reason: str = ""
    explanation: str = ""
    excerpt: str = ""
    publisher: str | None = None
    """Of an observation from an edge; its right to speak for the zone is checked."""

    @property
    def digest(self) -> str:
        """The same claim has the same digest, however often it is delivered, and whenever it was published."""
        # A provider repeats itself at every poll, and NESO says no time of publication: it is that of the poll.
        reading = self.reading
        timeless = None if reading is None else replace(reading, published_at=reading.valid_from, revision=0)
        content = self.excerpt if timeless is None else to_json(timeless)
        return hashlib.sha256(f"{self.zone}\n{self.source}\n{self.reason}\n{content}".encode()).hexdigest()


def claim_of(reading: Reading, received_at: datetime, publisher: str | None = None) -> Claim:
    """A claim that is a reading."""
    return Claim(reading.zone, reading.source, received_at, reading, publisher=publisher)


def edge_source(publisher: str) -> str:
    """The source of what an edge publisher says."""
    return f"edge:{publisher}"


def parse_observation(topic: str, payload: bytes, retained: bool, now: datetime, validity: timedelta) -> Claim:
    """The claim in a message on `carbon/v1/observations/{publisher}/{zone}`; never raises."""
    publisher, zone = topics.level(topic, 3), topics.level(topic, 4)
    if not ZONE_PATTERN.fullmatch(zone) or not ZONE_PATTERN.fullmatch(publisher):
        named = zone if ZONE_PATTERN.fullmatch(zone) else NO_ZONE
        return _refused(
            named,
            publisher,
            now,
            Reason.BAD_ZONE,
            "publisher and zone are 1 to 64 letters, digits, '_', '.' or '-'",
            payload,
        )
    if retained:
        why = "observations are not retained: nobody can tell when it was said; publish without the retain flag"
        return _refused(zone, publisher, now, Reason.RETAINED, why, payload)
    if len(payload) > MAX_PAYLOAD_BYTES:
        why = f"{len(payload)} bytes; one reading takes less than {MAX_PAYLOAD_BYTES}"
        return _refused(zone, publisher, now, Reason.TOO_LARGE, why, payload)
    try:
        reading = _parse(payload, publisher, zone, now, validity)
    except _Refusal as refusal:
        return _refused(zone, publisher, now, refusal.reason, str(refusal), payload)
    except InvalidInput as error:
        return _refused(zone, publisher, now, Reason.NOT_A_READING, str(error), payload)
    return Claim(zone, reading.source, now, reading, excerpt=excerpt_of(payload), publisher=publisher)


def excerpt_of(payload: bytes) -> str:
    """The beginning of a payload as harmless text."""
    text = payload[: 4 * EXCERPT_CHARACTERS].decode("utf-8", errors="replace")[:EXCERPT_CHARACTERS]
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)


class _Refusal(Exception):
    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason = reason


def _refused(zone: str, publisher: str, now: datetime, reason: str, why: str, payload: bytes) -> Claim:
    source = edge_source(publisher if ZONE_PATTERN.fullmatch(publisher) else NO_ZONE)
    return Claim(zone, source, now, None, str(reason), why, excerpt_of(payload), publisher=publisher)


def _parse(payload: bytes, publisher: str, zone: str, now: datetime, validity: timedelta) -> Reading:
    try:
        text = payload.decode("utf-8").strip()
    except UnicodeDecodeError as error:
        raise _Refusal(Reason.NOT_A_READING, "the payload is not UTF-8 text") from error
    if not text:
        raise _Refusal(Reason.BLANK, "the payload is empty: missing is not a value")
    number = _bare_number(text)
    mapping = {"intensity_g_per_kwh": number} if number is not None else _mapping(text)
    return _complete(mapping, publisher, zone, now, validity)


def _bare_number(text: str) -> float | None:
    """A number alone; `nan` and `inf` are numbers too, for the gate to name."""
    try:
        return float(text) if len(text) <= 40 and "_" not in text else None
    except ValueError:
        return None


def _mapping(text: str) -> dict[str, Any]:
    try:
        mapping = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _Refusal(Reason.NOT_A_READING, "the payload is neither a number nor a JSON object") from error
    if not isinstance(mapping, dict):
        raise _Refusal(Reason.NOT_A_READING, "the payload is neither a number nor a JSON object")
    return mapping


def _complete(mapping: dict[str, Any], publisher: str, zone: str, now: datetime, validity: timedelta) -> Reading:
    """The reading, with what a small client leaves out: now, actual, average, valid until the next one."""
    if mapping.get("intensity_g_per_kwh") is None:
        raise _Refusal(Reason.BLANK, "intensity_g_per_kwh is missing: missing is not a value")
    if mapping.get("zone", zone) != zone:
        raise _Refusal(Reason.BAD_ZONE, "the zone in the payload is not the topic's")
    start = _time(mapping, "valid_from")
    begin = start or now
    return Reading(
        zone=zone,
        valid_from=begin,
        valid_to=_time(mapping, "valid_to") or _end(begin, validity),
        intensity_g_per_kwh=_number(mapping) * _factor(mapping),
        kind=ReadingKind(_choice(mapping, "kind", _KINDS, "actual")),
        signal=Signal(_choice(mapping, "signal", _SIGNALS, "average")),
        source=edge_source(publisher),
        published_at=_time(mapping, "published_at") or min(now, begin),
        recorded_at=_time(mapping, "recorded_at"),
    )


def _end(begin: datetime, validity: timedelta) -> datetime:
    """`validity` after `begin`, or the end of the calendar: what is so far ahead is for the gate to name."""
    try:
        return begin + validity
    except OverflowError:
        return _LAST


def _number(mapping: dict[str, Any]) -> float:
    """The value; other numbers than finite ones are for the gate to name."""
    value = mapping["intensity_g_per_kwh"]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _Refusal(Reason.NOT_A_READING, "intensity_g_per_kwh is not a number")
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _choice(mapping: dict[str, Any], field: str, choices: Sequence[str], default: str) -> str:
    value = mapping.get(field)
    if value is None:
        return default
    if not isinstance(value, str) or value not in choices:
        why = f"{field} {str(value)[:20]!r} is unknown: use one of {', '.join(choices)}"
        raise _Refusal(Reason.NOT_A_READING, why)
    return value


def _factor(mapping: dict[str, Any]) -> float:
    unit = mapping.get("unit", "g/kWh")
    factor = _UNITS.get(unit.lower().replace(" ", "")) if isinstance(unit, str) else None
    if factor is None:
        raise _Refusal(Reason.UNKNOWN_UNIT, f"unit {str(unit)[:20]!r} is unknown: use g/kWh, kg/MWh or lb/MWh")
    return factor


def _time(mapping: dict[str, Any], field: str) -> datetime | None:
    value = mapping.get(field)
    if value is None:
        return None
    if not isinstance(value, str):
        raise _Refusal(Reason.NOT_A_READING, f"{field} is not text: write it as 2023-06-02T12:30:00Z")
    return parse_time(value, field)
