"""What was decided for a zone and family, from what, and why."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from tradewind.readings import Reading, format_time


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
                format_time(current.published_at),
                repr(current.intensity_g_per_kwh),
            ],
            None if summary is None else [repr(summary.low_g_per_kwh), repr(summary.high_g_per_kwh), summary.readings],
        ]
    )
    return hashlib.sha256(content.encode()).hexdigest()[:20]
