"""What was served in the interval that just ended: as reported, or else as decided.

A report of nothing is a report: an interval in which nobody asked weighs nothing. Only where nobody reports at all, the
decided mix and one load per interval are assumed.

Every feedback policy keeps the open interval in its state. A second decision within the interval (a late reading, a
restart) adds to what was reported and changes nothing else, so that deciding twice never counts twice.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tradewind.decisions import Share
from tradewind.policies.policy import Situation, State

PER_INTERVAL = 1.0
"""The load assumed for an interval of which nobody reported anything."""


@dataclass(frozen=True, slots=True)
class FinishedInterval:
    """An interval with its inferences per variant."""

    at_s: float
    length_s: float
    intensity_g_per_kwh: float
    served: Mapping[str, float]

    @property
    def inferences(self) -> float:
        """Over all variants."""
        return sum(self.served.values())


def finish_interval(state: State, situation: Situation) -> FinishedInterval | None:
    """The interval that the current one follows; None on the first decision and within an interval."""
    opened = state.get("open")
    if opened is None or situation.current.valid_from.timestamp() <= opened["at_s"]:
        return None
    reported = _added(opened["served"], situation.served)
    return FinishedInterval(
        at_s=opened["at_s"],
        length_s=opened["length_s"],
        intensity_g_per_kwh=opened["intensity_g_per_kwh"],
        served=reported or opened["mix"],
    )


def open_interval(state: State, situation: Situation, mix: tuple[Share, ...]) -> dict[str, Any]:
    """The open interval as the state keeps it, once its mix is decided."""
    current, opened = situation.current, state.get("open")
    within = opened is not None and current.valid_from.timestamp() <= opened["at_s"]
    return {
        "at_s": opened["at_s"] if within and opened else current.valid_from.timestamp(),
        "length_s": (current.valid_to - current.valid_from).total_seconds(),
        "intensity_g_per_kwh": current.intensity_g_per_kwh,
        "mix": {share.variant: share.weight * PER_INTERVAL for share in mix},
        "served": _added(opened["served"], situation.served) if within and opened else {},
    }


def _added(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    return {variant: one.get(variant, 0.0) + other.get(variant, 0.0) for variant in sorted({*one, *other})}
