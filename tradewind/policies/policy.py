"""The contract of a policy."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from tradewind.catalogue import OperatingPoint
from tradewind.decisions import DecisionReason, RangeSummary, Share
from tradewind.readings import Reading

State = Mapping[str, Any]
"""A policy's memory: JSON-able, never changed in place. Policies without feedback keep it empty."""


@dataclass(frozen=True, slots=True)
class Situation:
    """All a policy may look at when it decides for one interval."""

    current: Reading
    range: RangeSummary
    """Over the trailing window, the current reading included."""
    pool: tuple[OperatingPoint, ...]
    """The permitted variants in order of energy, whatever is ready at the moment."""
    forecast: tuple[Reading, ...] = ()
    """Forecast readings after the current interval, in order of time; may be empty."""
    served: Mapping[str, float] = field(default_factory=dict)
    """Inferences per variant since the last decision, as reported by the proxies; empty where nobody reports."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A mix, and the account of it in numbers and one sentence."""

    mix: tuple[Share, ...]
    reason: DecisionReason
    explanation: str
    figures: Mapping[str, float] = field(default_factory=dict)


class Policy(Protocol):
    """Pure: the same situation and state give the same choice and state."""

    @property
    def name(self) -> str:
        """The word by which settings and reports name it."""
        ...

    def initial_state(self) -> State:
        """The memory before the first decision."""
        ...

    def select_mix(self, situation: Situation, state: State) -> tuple[Choice, State]:
        """The mix for the current interval and the memory after it."""
        ...


def wholly(variant: str) -> tuple[Share, ...]:
    """The mix of one variant."""
    return (Share(variant, 1.0),)


def describe_time(moment: datetime) -> str:
    """A time as explanations show it, in UTC."""
    return f"{moment:%Y-%m-%d %H:%M} UTC"
