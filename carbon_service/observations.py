"""What did somebody say? Bus payloads become claims: a reading to be judged, or the reason why it is none."""

import hashlib
import json
import math
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from tradewind import topics
from tradewind.errors import InvalidInput
from tradewind.plausibility import Verdict
from tradewind.readings import ZONE_PATTERN, Reading, from_mapping, parse_time, to_json
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
        """The same claim has the same digest, however often it is delivered."""
        content = self.excerpt if self.reading is None else to_json(self.reading)
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
    text = payload[: 4 * EXCERPT_CHARACTERS].decode("utf-8", errors="replace")
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)[:EXCERPT_CHARACTERS]


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
    value = mapping.get("intensity_g_per_kwh")
    if value is None:
        raise _Refusal(Reason.BLANK, "intensity_g_per_kwh is missing: missing is not a value")
    if mapping.get("zone", zone) != zone:
        raise _Refusal(Reason.BAD_ZONE, "the zone in the payload is not the topic's")
    start = _time_or(mapping, "valid_from", now)
    said = _time_or(mapping, "published_at", now if "valid_from" not in mapping else min(now, start))
    end = _time_or(mapping, "valid_to", start + validity)
    finite = not isinstance(value, float) or math.isfinite(value)
    reading = from_mapping(
        {"kind": "actual", "signal": "average"}
        | {field: mapping[field] for field in ("kind", "signal", "recorded_at") if mapping.get(field) is not None}
        | {"zone": zone, "source": edge_source(publisher), "intensity_g_per_kwh": value if finite else 1.0}
        | {"valid_from": start.isoformat(), "valid_to": end.isoformat(), "published_at": said.isoformat()}
    )
    # Other numbers than finite ones are for the gate to name.
    intensity = reading.intensity_g_per_kwh * _factor(mapping) if finite else float(value)
    return replace(reading, intensity_g_per_kwh=intensity)


def _factor(mapping: dict[str, Any]) -> float:
    unit = mapping.get("unit", "g/kWh")
    factor = _UNITS.get(unit.lower().replace(" ", "")) if isinstance(unit, str) else None
    if factor is None:
        raise _Refusal(Reason.UNKNOWN_UNIT, f"unit {str(unit)[:20]!r} is unknown: use g/kWh, kg/MWh or lb/MWh")
    return factor


def _time_or(mapping: dict[str, Any], field: str, default: datetime) -> datetime:
    value = mapping.get(field)
    if value is None:
        return default
    if not isinstance(value, str):
        raise _Refusal(Reason.NOT_A_READING, f"{field} is not text: write it as 2023-06-02T12:30:00Z")
    return parse_time(value, field)
