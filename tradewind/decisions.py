"""What was decided for a zone and family, from what, and why; and how it is written in JSON."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from tradewind import readings
from tradewind.errors import InvalidInput
from tradewind.readings import Reading, format_time, parse_time


class DecisionReason(StrEnum):
    """Why the mix is what it is; one word for machines, beside the sentence for people."""

    RANGE_POSITION = "range_position"
    RANGE_FLAT = "range_flat"
    FIXED = "fixed"
    NO_READING = "no_reading"
    STALE_READING = "stale_reading"
    CARBON_PRICE = "carbon_price"
    HELD = "held"
    OPT_OUT = "opt_out"
    FORCED = "forced"
    BUDGET = "budget"


@dataclass(frozen=True, slots=True)
class Share:
    """A variant's part of the requests; over a mix the weights sum to 1."""

    variant: str
    weight: float


@dataclass(frozen=True, slots=True)
class RangeSummary:
    """Low and high of a zone's plausible readings over a trailing window, by event time."""

    low_g_per_kwh: float
    high_g_per_kwh: float
    window: timedelta
    readings: int
    full: bool
    """False while the history is shorter than the window."""


@dataclass(frozen=True, slots=True)
class Decision:
    """A mix with all that went into it. `decided_at` and `revision` are not part of its identity."""

    id: str
    zone: str
    family: str
    revision: int
    mix: tuple[Share, ...]
    valid_from: datetime
    valid_until: datetime
    policy: str
    reason: DecisionReason
    explanation: str
    current: Reading | None
    range: RangeSummary | None
    decided_at: datetime
    figures: Mapping[str, float] = field(default_factory=dict)

    @property
    def heaviest_variant(self) -> str:
        """The variant with the largest weight; the first of equals."""
        return max(self.mix, key=lambda share: share.weight).variant


def decision_id(
    zone: str,
    family: str,
    policy: str,
    mix: tuple[Share, ...],
    current: Reading | None,
    summary: RangeSummary | None,
    reason: DecisionReason,
) -> str:
    """An id derived from the content, so that the same inputs give the same decision on any replica."""
    content = json.dumps(
        [
            zone,
            family,
            policy,
            reason.value,
            [[share.variant, repr(share.weight)] for share in mix],
            None
            if current is None
            else [
                current.source,
                current.kind.value,
                format_time(current.valid_from),
                format_time(current.valid_to),
                format_time(current.published_at),
                repr(float(current.intensity_g_per_kwh)),
            ],
            None
            if summary is None
            else [repr(summary.low_g_per_kwh), repr(summary.high_g_per_kwh), summary.readings, summary.full],
        ]
    )
    return hashlib.sha256(content.encode()).hexdigest()[:20]


def decision_to_json(decision: Decision) -> str:
    """The bus's JSON of a decision."""
    return json.dumps(decision_to_mapping(decision), separators=(",", ":"))


def decision_to_mapping(decision: Decision) -> dict[str, Any]:
    """The JSON object of a decision: times as ISO 8601 in UTC, the window in seconds."""
    summary = decision.range
    return {
        "id": decision.id,
        "zone": decision.zone,
        "family": decision.family,
        "revision": decision.revision,
        "mix": [{"variant": share.variant, "weight": share.weight} for share in decision.mix],
        "valid_from": format_time(decision.valid_from),
        "valid_until": format_time(decision.valid_until),
        "policy": decision.policy,
        "reason": decision.reason.value,
        "explanation": decision.explanation,
        "current": None if decision.current is None else readings.to_mapping(decision.current),
        "range": None
        if summary is None
        else {
            "low_g_per_kwh": summary.low_g_per_kwh,
            "high_g_per_kwh": summary.high_g_per_kwh,
            "window_s": summary.window.total_seconds(),
            "readings": summary.readings,
            "full": summary.full,
        },
        "decided_at": format_time(decision.decided_at),
        "figures": dict(decision.figures),
    }


def decision_from_json(payload: bytes | str) -> Decision:
    """A decision from the bus's JSON; InvalidInput says what is missing or wrong."""
    try:
        mapping = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise InvalidInput("the payload is not a decision: it is not JSON") from error
    if not isinstance(mapping, dict):
        raise InvalidInput("the payload is not a decision: it is not a JSON object")
    try:
        return _decision(mapping)
    except KeyError as error:
        raise InvalidInput(f"the payload is not a decision: {error.args[0]} is missing") from error
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InvalidInput("the payload is not a decision: a field has a value of the wrong kind") from error


def _decision(mapping: dict[str, Any]) -> Decision:
    current, summary = mapping["current"], mapping["range"]
    mix = tuple(Share(str(share["variant"]), float(share["weight"])) for share in mapping["mix"])
    if not mix:
        raise InvalidInput("the payload is not a decision: its mix is empty")
    return Decision(
        id=str(mapping["id"]),
        zone=readings.check_zone(str(mapping["zone"])),
        family=str(mapping["family"]),
        revision=int(mapping["revision"]),
        mix=mix,
        valid_from=parse_time(mapping["valid_from"], "valid_from"),
        valid_until=parse_time(mapping["valid_until"], "valid_until"),
        policy=str(mapping["policy"]),
        reason=DecisionReason(mapping["reason"]),
        explanation=str(mapping["explanation"]),
        current=None if current is None else readings.from_mapping(current),
        range=None
        if summary is None
        else RangeSummary(
            low_g_per_kwh=float(summary["low_g_per_kwh"]),
            high_g_per_kwh=float(summary["high_g_per_kwh"]),
            window=timedelta(seconds=summary["window_s"]),
            readings=int(summary["readings"]),
            full=bool(summary["full"]),
        ),
        decided_at=parse_time(mapping["decided_at"], "decided_at"),
        figures={str(name): float(value) for name, value in mapping["figures"].items()},
    )
