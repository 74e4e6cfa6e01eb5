"""From a zone's outlook to the decision for one family. Pure: the clock and the store are elsewhere."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from selector_service.zone_history import Outlook
from tradewind.catalogue import Family
from tradewind.decisions import Decision, DecisionReason, RangeSummary, decision_id
from tradewind.policies import Choice, Policy, Situation
from tradewind.policies.policy import describe_time, wholly
from tradewind.readings import Reading


@dataclass(frozen=True, slots=True)
class PolicyState:
    """What a policy remembers for a zone and family around the interval it decided last.

    The same interval decided again starts from `before` and `served`, so that a revision does not count twice.
    """

    zone: str
    family: str
    policy: str
    interval_from: datetime
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    served: Mapping[str, float] = field(default_factory=dict)
    """Inferences per variant that the policy was told of for this interval."""
    served_until: Mapping[str, int] = field(default_factory=dict)
    """The running totals up to which inferences were told."""


@dataclass(frozen=True, slots=True)
class Desk:
    """What decides for one family: its catalogue entry and its policy."""

    name: str
    family: Family
    policy: Policy
    policy_key: str = ""
    """The policy with its options: what another one remembered is not for it."""
    hold_when_stale: bool = True
    zones: Mapping[str, "Desk"] = field(default_factory=dict)
    """Zones in which another policy decides for the family."""

    def of(self, zone: str) -> "Desk":
        """The desk that decides in a zone."""
        return self.zones.get(zone, self)

    def without_reading(self, zone: str, moment: datetime, window: timedelta) -> Decision:
        """The fallback variant: nothing was ever heard of the zone."""
        variant = self.family.fallback_variant
        explanation = f"no plausible reading of {zone} was ever heard, so the fallback {variant} serves"
        choice = Choice(wholly(variant), DecisionReason.NO_READING, explanation)
        return self._decision(zone, choice, None, None, (moment, moment + window), moment)

    def select(
        self, outlook: Outlook, moment: datetime, state: Mapping[str, Any], served: Mapping[str, float]
    ) -> tuple[Decision, Mapping[str, Any]]:
        """The decision at a moment, unnumbered, and the policy's memory after it."""
        current, summary = outlook.current, outlook.range
        situation = Situation(
            current=current, range=summary, pool=self.family.permitted, forecast=outlook.forecast, served=served
        )
        choice, after = self.policy.select_mix(situation, state)
        span = (current.valid_from, current.valid_to)
        if outlook.stale:
            choice = self._stale(choice, current)
            # No end is known: it stays in force until a reading holds again.
            span = (current.valid_to, current.valid_to + summary.window)
        return self._decision(current.zone, choice, current, summary, span, moment), after

    def _stale(self, choice: Choice, current: Reading) -> Choice:
        over = (
            f"no reading holds since {describe_time(current.valid_to)}, "
            f"when the last said {current.intensity_g_per_kwh:g} g/kWh"
        )
        if self.hold_when_stale:
            explanation = f"{over}: the decision made for it is held ({choice.explanation})"
            return replace(choice, reason=DecisionReason.STALE_READING, explanation=explanation)
        variant = self.family.fallback_variant
        explanation = f"{over}: the fallback {variant} serves"
        return Choice(wholly(variant), DecisionReason.STALE_READING, explanation)

    def _decision(
        self,
        zone: str,
        choice: Choice,
        current: Reading | None,
        summary: RangeSummary | None,
        span: tuple[datetime, datetime],
        moment: datetime,
    ) -> Decision:
        policy = self.policy.name
        return Decision(
            id=decision_id(zone, self.name, policy, choice.mix, current, summary, choice.reason),
            zone=zone,
            family=self.name,
            revision=0,
            mix=choice.mix,
            valid_from=span[0],
            valid_until=span[1],
            policy=policy,
            reason=choice.reason,
            explanation=choice.explanation,
            current=current,
            range=summary,
            decided_at=moment,
            figures=choice.figures,
        )
