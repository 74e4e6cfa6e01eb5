"""A small family with targets that never reach a Triton, for tests of the choice and of the accounts."""

from datetime import UTC, datetime, timedelta

import pytest

from inference_proxy.intervals import Intervals
from inference_proxy.tallies import Tallies
from inference_proxy.targets import Target, targets_of
from tradewind.catalogue import Family, parse_catalogue
from tradewind.decisions import Decision, DecisionReason, Share
from tradewind.readings import Reading, ReadingKind, Signal

CATALOGUE = """
families:
  ident:
    error_metric: error_pct
    pool: [small, medium, large]
    variants:
      small:
        {model: ident_small, energy_mj: {value: 100, provenance: estimated}, error: {value: 10, provenance: estimated},
         p95_latency_ms: {value: 5, provenance: estimated},
         energy_by_batch_mj: {8: {value: 40, provenance: estimated}}}
      medium:
        {model: ident_medium, energy_mj: {value: 300, provenance: estimated}, error: {value: 6, provenance: estimated},
         p95_latency_ms: {value: 20, provenance: estimated}}
      large:
        {model: ident_large, model_version: "2", energy_mj: {value: 900, provenance: estimated},
         error: {value: 3, provenance: estimated}}
      huge:
        {energy_mj: {value: 9000, provenance: estimated}, error: {value: 1, provenance: estimated}}
"""
NOW = datetime(2026, 11, 24, 12, 0, 30, tzinfo=UTC)
MINUTE = NOW.replace(second=0)


class AlwaysThere:
    """An endpoint whose circuit is closed."""

    closed = True


class Away:
    """An endpoint whose circuit is open."""

    closed = False


@pytest.fixture
def family() -> Family:
    """The catalogue's family."""
    return parse_catalogue(CATALOGUE).families["ident"]


@pytest.fixture
def targets(family: Family) -> tuple[Target, ...]:
    """Its variants, ready somewhere."""
    found = targets_of(family, (AlwaysThere(),))  # type: ignore[arg-type] # only its circuit is looked at
    for target in found:
        target.ready, target.max_batch_size = True, 8
    return found


@pytest.fixture
def intervals() -> Intervals:
    """The zone's intervals; none known."""
    return Intervals("GB")


@pytest.fixture
def tallies() -> Tallies:
    """Nothing served yet."""
    return Tallies()


def reading(
    value: float = 200.0,
    *,
    begins: datetime = MINUTE,
    minutes: float = 30,
    kind: ReadingKind = ReadingKind.ACTUAL,
    published: datetime = NOW,
    zone: str = "GB",
) -> Reading:
    """A reading of the zone."""
    return Reading(
        zone=zone,
        valid_from=begins,
        valid_to=begins + timedelta(minutes=minutes),
        intensity_g_per_kwh=value,
        kind=kind,
        signal=Signal.AVERAGE,
        source="test",
        published_at=published,
    )


def decision(mix: dict[str, float], *, current: Reading | None = None, decided_at: datetime = NOW) -> Decision:
    """A decision for the family."""
    return Decision(
        id=f"id-{'-'.join(mix)}",
        zone="GB",
        family="ident",
        revision=1,
        mix=tuple(Share(variant, weight) for variant, weight in mix.items()),
        valid_from=NOW,
        valid_until=NOW + timedelta(hours=1),
        policy="test",
        reason=DecisionReason.FIXED,
        explanation="a test",
        current=current,
        range=None,
        decided_at=decided_at,
    )
