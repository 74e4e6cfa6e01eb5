"""Restraints on any policy: switch less often, not in these hours, not for that long.

Each wraps a policy and is a policy. The inner one goes on deciding, and is told what was served instead of its choice.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from tradewind.catalogue import OperatingPoint
from tradewind.decisions import DecisionReason, Share
from tradewind.errors import InvalidInput
from tradewind.policies.opt_out_windows import OptOutWindow
from tradewind.policies.policy import Choice, Policy, Situation, State, describe_time, wholly


@dataclass(frozen=True, slots=True)
class Hysteresis:
    """Keeps the heaviest variant for a least time, and until the intensity has moved enough since the last switch."""

    policy: Policy
    dwell: timedelta = timedelta(0)
    relative_change: float = 0.0

    def __post_init__(self) -> None:
        if self.dwell < timedelta(0) or not 0.0 <= self.relative_change < 100.0:
            raise InvalidInput("dwell and relative_change must be 0 or more")

    @property
    def name(self) -> str:
        """The wrapped policy's."""
        return self.policy.name

    def initial_state(self) -> State:
        """Nothing held."""
        return {"inner": self.policy.initial_state(), "last": None, "switched": None}

    def select_mix(self, situation: Situation, state: State) -> tuple[Choice, State]:
        """The wrapped policy's choice, or the last mix while it is held."""
        choice, after = _ask(self.policy, situation, state)
        current, switched = situation.current, state["switched"]
        last = _last_mix(state, situation.pool)
        if last is None or switched is None or _heaviest(last) == _heaviest(choice.mix):
            kept = switched if last is not None and switched is not None else _moment(situation)
            return choice, _remember(after, choice, situation, switched=kept)
        held_for = timedelta(seconds=current.valid_from.timestamp() - switched["at_s"])
        moved = abs(current.intensity_g_per_kwh / switched["intensity_g_per_kwh"] - 1.0)
        if held_for >= self.dwell and moved >= self.relative_change:
            return choice, _remember(after, choice, situation, switched=_moment(situation))
        why = (
            f"{held_for} of {self.dwell} have passed since the last switch"
            if held_for < self.dwell
            else f"the intensity has moved by {moved:.1%} of the {self.relative_change:.0%} that a switch asks for"
        )
        held = Choice(
            mix=last,
            reason=DecisionReason.HELD,
            explanation=f"{_heaviest(last)} is held: {why}; wanted was {_heaviest(choice.mix)} ({choice.explanation})",
            figures=choice.figures,
        )
        return held, _remember(after, held, situation, switched=switched)


@dataclass(frozen=True, slots=True)
class OptOut:
    """The least error serves in certain hours, whatever the grid."""

    policy: Policy
    windows: tuple[OptOutWindow, ...]

    @property
    def name(self) -> str:
        """The wrapped policy's."""
        return self.policy.name

    def initial_state(self) -> State:
        """Only the wrapped policy's."""
        return {"inner": self.policy.initial_state(), "last": None}

    def select_mix(self, situation: Situation, state: State) -> tuple[Choice, State]:
        """The wrapped policy's choice, outside the windows."""
        choice, after = _ask(self.policy, situation, state)
        window = next((each for each in self.windows if each.holds_at(situation.current.valid_from)), None)
        if window is not None:
            best = _least_error(situation.pool)
            moment = describe_time(situation.current.valid_from)
            why = f"{moment} is within the opt-out window {window.text}: {best} serves"
            choice = Choice(wholly(best), DecisionReason.OPT_OUT, why, choice.figures)
        return choice, _remember(after, choice, situation)


@dataclass(frozen=True, slots=True)
class StopDegrading:
    """After a time without the least-error variant, it serves for as long again, whatever the grid."""

    policy: Policy
    after: timedelta

    def __post_init__(self) -> None:
        if self.after <= timedelta(0):
            raise InvalidInput("stop_degrading_after must be longer than nothing")

    @property
    def name(self) -> str:
        """The wrapped policy's."""
        return self.policy.name

    def initial_state(self) -> State:
        """Not degrading."""
        return {"inner": self.policy.initial_state(), "last": None, "degrading_since_s": None, "relief_until_s": None}

    def select_mix(self, situation: Situation, state: State) -> tuple[Choice, State]:
        """The wrapped policy's choice, unless it has degraded for too long."""
        choice, after = _ask(self.policy, situation, state)
        now_s, limit_s = situation.current.valid_from.timestamp(), self.after.total_seconds()
        best = _least_error(situation.pool)
        since, relief = state["degrading_since_s"], state["relief_until_s"]
        if relief is not None and now_s >= relief:
            since, relief = None, None
        if relief is None and _heaviest(choice.mix) == best:
            since = None
        elif relief is None:
            since = now_s if since is None else since
            relief = now_s + limit_s if now_s - since >= limit_s else None
        if relief is not None:
            why = f"less than {best} has served for {self.after}, so {best} serves for as long"
            choice = Choice(wholly(best), DecisionReason.OPT_OUT, why, choice.figures)
        return choice, _remember(after, choice, situation, degrading_since_s=since, relief_until_s=relief)


def unrestrained(policy: Policy) -> Policy:
    """The policy under whatever restraints."""
    while isinstance(policy, Hysteresis | OptOut | StopDegrading):
        policy = policy.policy
    return policy


def _ask(policy: Policy, situation: Situation, state: State) -> tuple[Choice, State]:
    """The wrapped policy's choice; where nobody reported, it is told that the mix in force was served."""
    last = state["last"]
    if last is not None and not situation.served and situation.current.valid_from.timestamp() > last["at_s"]:
        situation = replace(situation, served=last["mix"])
    return policy.select_mix(situation, state["inner"])


def _remember(inner: State, choice: Choice, situation: Situation, **more: Any) -> State:
    mix = {share.variant: share.weight for share in choice.mix}
    return {"inner": inner, "last": {"at_s": situation.current.valid_from.timestamp(), "mix": mix}, **more}


def _last_mix(state: State, pool: tuple[OperatingPoint, ...]) -> tuple[Share, ...] | None:
    """The mix in force, if all of it is still permitted."""
    last = state["last"]
    permitted = {point.variant for point in pool}
    if last is None or not set(last["mix"]) <= permitted:
        return None
    return tuple(Share(variant, weight) for variant, weight in last["mix"].items())


def _moment(situation: Situation) -> Mapping[str, float]:
    current = situation.current
    return {"at_s": current.valid_from.timestamp(), "intensity_g_per_kwh": current.intensity_g_per_kwh}


def _heaviest(mix: tuple[Share, ...]) -> str:
    return max(mix, key=lambda share: share.weight).variant


def _least_error(pool: tuple[OperatingPoint, ...]) -> str:
    return min(pool, key=lambda point: (point.error, point.energy_mj, point.variant)).variant
