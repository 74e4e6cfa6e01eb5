"""One carbon intensity with its provenance, and how it is written in JSON."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeVar

from tradewind.errors import InvalidInput

T = TypeVar("T")

ZONE_PATTERN = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class ReadingKind(StrEnum):
    """How the value came to be."""

    ACTUAL = "actual"
    ESTIMATED = "estimated"
    FORECAST = "forecast"

    @property
    def rank(self) -> int:
        """0 is best: for one interval actual counts before estimated, estimated before forecast."""
        return _RANKS[self]


_KINDS = {kind.value: kind for kind in ReadingKind}
_RANKS = {ReadingKind.ACTUAL: 0, ReadingKind.ESTIMATED: 1, ReadingKind.FORECAST: 2}


class Signal(StrEnum):
    """Average and marginal intensities are never mixed in one range."""

    AVERAGE = "average"
    MARGINAL = "marginal"


_SIGNALS = {signal.value: signal for signal in Signal}


@dataclass(frozen=True, slots=True)
class ReadingKey:
    """What identifies a reading through redelivery, replay and reordering; the newest `published_at` wins."""

    zone: str
    source: str
    signal: Signal
    kind: ReadingKind
    valid_from: datetime


@dataclass(frozen=True, slots=True)
class Reading:
    """One intensity for the half-open interval [valid_from, valid_to), UTC."""

    zone: str
    valid_from: datetime
    valid_to: datetime
    intensity_g_per_kwh: float
    kind: ReadingKind
    signal: Signal
    source: str
    published_at: datetime
    revision: int = 0
    recorded_at: datetime | None = None
    """In a replay: the trace's own time of the interval."""

    @property
    def key(self) -> ReadingKey:
        """The identity under which a newer `published_at` replaces an older one."""
        return ReadingKey(self.zone, self.source, self.signal, self.kind, self.valid_from)

    def holds_at(self, moment: datetime) -> bool:
        """True when `moment` lies in the reading's interval."""
        return self.valid_from <= moment < self.valid_to

    def with_revision(self, revision: int) -> "Reading":
        """The same reading, numbered."""
        return replace(self, revision=revision)


def supersedes(new: Reading, old: Reading) -> bool:
    """True when `new` replaces `old` under the same key: it was published later.

    Two values published at the same moment are ordered by value, so that any order of arrival ends the same.
    """
    return (new.published_at, new.valid_to, new.intensity_g_per_kwh) > (
        old.published_at,
        old.valid_to,
        old.intensity_g_per_kwh,
    )


def best_first(reading: Reading) -> tuple[int, float, str]:
    """Sort key within one interval: best kind, then the newest publication, then the source's name."""
    return (reading.kind.rank, -reading.published_at.timestamp(), reading.source)


def check_zone(zone: str) -> str:
    """The zone itself; InvalidInput when it is not a zone's name."""
    if not ZONE_PATTERN.fullmatch(zone):
        raise InvalidInput(f"zone {zone!r} is not a zone's name: use 1 to 64 letters, digits, '_', '.' or '-'")
    return zone


def to_json(reading: Reading) -> str:
    """The bus's JSON of a reading."""
    return json.dumps(to_mapping(reading), separators=(",", ":"))


def to_mapping(reading: Reading) -> dict[str, Any]:
    """The JSON object of a reading: times as ISO 8601 in UTC."""
    mapping: dict[str, Any] = {
        "zone": reading.zone,
        "valid_from": format_time(reading.valid_from),
        "valid_to": format_time(reading.valid_to),
        "intensity_g_per_kwh": reading.intensity_g_per_kwh,
        "kind": reading.kind.value,
        "signal": reading.signal.value,
        "source": reading.source,
        "published_at": format_time(reading.published_at),
        "revision": reading.revision,
    }
    if reading.recorded_at is not None:
        mapping["recorded_at"] = format_time(reading.recorded_at)
    return mapping


def from_json(payload: bytes | str) -> Reading:
    """A reading from the bus's JSON; InvalidInput says what is missing or wrong."""
    try:
        mapping = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise InvalidInput("the payload is not a reading: it is not JSON") from error
    return from_mapping(mapping)


def from_mapping(mapping: object) -> Reading:
    """A reading from its JSON object; InvalidInput names the field."""
    if not isinstance(mapping, dict):
        raise InvalidInput("the payload is not a reading: it is not a JSON object")
    return Reading(
        zone=check_zone(_text(mapping, "zone")),
        valid_from=_time(mapping, "valid_from"),
        valid_to=_time(mapping, "valid_to"),
        intensity_g_per_kwh=_finite(mapping, "intensity_g_per_kwh"),
        kind=_choice(mapping, "kind", _KINDS),
        signal=_choice(mapping, "signal", _SIGNALS),
        source=_text(mapping, "source"),
        published_at=_time(mapping, "published_at"),
        revision=_count(mapping, "revision"),
        recorded_at=_time(mapping, "recorded_at") if mapping.get("recorded_at") is not None else None,
    )


def format_time(moment: datetime) -> str:
    """ISO 8601 in UTC with a Z, microseconds kept."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def parse_time(text: str, field: str = "time") -> datetime:
    """A UTC time from ISO 8601 with a zone; InvalidInput names the field."""
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise ValueError
        return moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidInput(
            f"{field} {text[:40]!r} is not a time with a zone: write it as 2023-06-02T12:30:00Z"
        ) from error


def _text(mapping: dict[str, Any], field: str) -> str:
    value = mapping.get(field)
    if not isinstance(value, str) or not value:
        raise InvalidInput(f"{field} is missing or is not text")
    return value


def _time(mapping: dict[str, Any], field: str) -> datetime:
    return parse_time(_text(mapping, field), field)


def _choice(mapping: dict[str, Any], field: str, choices: Mapping[str, T]) -> T:
    value = mapping.get(field)
    if not isinstance(value, str) or value not in choices:
        raise InvalidInput(f"{field} {str(value)[:40]!r} is unknown: use one of {', '.join(choices)}")
    return choices[value]


def _finite(mapping: dict[str, Any], field: str) -> float:
    value = mapping.get(field)
    if type(value) is float and math.isfinite(value):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidInput(f"{field} is missing or is not a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise InvalidInput(f"{field} is not a finite number")
    return number


def _count(mapping: dict[str, Any], field: str) -> int:
    value = mapping.get(field, 0)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InvalidInput(f"{field} is not a whole number of 0 or more")
    return value
