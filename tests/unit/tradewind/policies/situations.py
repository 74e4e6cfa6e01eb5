"""Situations for tests of policies: an hourly grid from 1 January 2023, and the paper's pool."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from tradewind.catalogues import published_catalogue
from tradewind.decisions import RangeSummary
from tradewind.policies import Choice, Policy, Situation, State
from tradewind.readings import Reading, ReadingKind, Signal

POOL = published_catalogue().family("resnet").permitted
START = datetime(2023, 1, 1, tzinfo=UTC)
ERRORS = {point.variant: point.error for point in POOL}
ENERGIES = {point.variant: point.energy_mj for point in POOL}


def reading(hour: float, g_per_kwh: float, kind: ReadingKind = ReadingKind.ACTUAL) -> Reading:
    """An hour's intensity."""
    start = START + timedelta(hours=hour)
    return Reading("grid", start, start + timedelta(hours=1), g_per_kwh, kind, Signal.AVERAGE, "test", start)


def situation(
    hour: float,
    g_per_kwh: float,
    served: Mapping[str, float] | None = None,
    forecast: Iterable[Reading] = (),
    bounds: tuple[float, float] = (100.0, 300.0),
) -> Situation:
    """An hour as a policy sees it."""
    summary = RangeSummary(*bounds, window=timedelta(hours=24), readings=24, full=True)
    return Situation(reading(hour, g_per_kwh), summary, POOL, tuple(forecast), served or {})


def decide(policy: Policy, values: Sequence[float], state: State | None = None, first: int = 0) -> list[Choice]:
    """The choices over consecutive hours."""
    return run(policy, values, state, first)[0]


def run(
    policy: Policy, values: Sequence[float], state: State | None = None, first: int = 0
) -> tuple[list[Choice], State]:
    """The choices over consecutive hours and the state after them; at times it goes through JSON, as in a store."""
    state = policy.initial_state() if state is None else state
    choices = []
    for hour, value in enumerate(values, start=first):
        if hour % 100 < 3:
            state = json.loads(json.dumps(state))
        choice, state = policy.select_mix(situation(hour, value), state)
        choices.append(choice)
    return choices, state


def weights(choice: Choice) -> dict[str, float]:
    """A choice's mix by variant."""
    return {share.variant: share.weight for share in choice.mix}


def mean_error(choices: Sequence[Choice]) -> float:
    """The mean error of the choices, each hour alike."""
    return sum(ERRORS[share.variant] * share.weight for choice in choices for share in choice.mix) / len(choices)
