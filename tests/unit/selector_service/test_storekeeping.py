"""What was announced while the database was away is numbered after what others stored meanwhile."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import create_engine
from sqlalchemy.pool import StaticPool

from selector_service.selector import Proposal
from selector_service.store import Store, metadata
from selector_service.storekeeping import Storekeeper
from tradewind.decisions import Decision, DecisionReason, Share
from tradewind.readings import Reading, ReadingKind, Signal

NOW = datetime(2023, 6, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)


def a_decision(content: str, revision: int, zone: str = "A") -> Decision:
    return Decision(
        id=content,
        zone=zone,
        family="f",
        revision=revision,
        mix=(Share("small", 1.0),),
        valid_from=NOW,
        valid_until=NOW + timedelta(minutes=30),
        policy="fixed",
        reason=DecisionReason.FIXED,
        explanation="",
        current=None,
        range=None,
        decided_at=NOW,
    )


@pytest.fixture
def keeper() -> Storekeeper:
    """On a database without tables: every transaction fails, as when it is away."""
    return Storekeeper(Store(create_engine("sqlite://")))


async def announced(keeper: Storekeeper, *decisions: Decision) -> None:
    await keeper.save([Proposal(decision, None) for decision in decisions])
    await keeper.close()
    assert keeper.away


async def test_readings_that_could_not_be_stored_wait_in_their_newest_version() -> None:
    engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    keeper = Storekeeper(Store(engine))
    first, second = (
        Reading("A", NOW + hour * HOUR, NOW + (hour + 1) * HOUR, 200.0, ReadingKind.ACTUAL, Signal.AVERAGE, "s", NOW)
        for hour in (0, 1)
    )
    revised = replace(second, intensity_g_per_kwh=210.0, published_at=NOW + HOUR)
    keeper.keep([first, second])
    await keeper.save([])
    keeper.keep([revised])
    assert (keeper.away, keeper.waiting) == (True, 2)
    metadata.create_all(engine)
    async with asyncio.timeout(20):
        while keeper.waiting:
            await keeper.save([])
            await asyncio.sleep(0.01)
    assert set(keeper.store.load().readings) == {first, revised}
    engine.dispose()


@pytest.mark.parametrize(
    ("own", "foreign", "expected"),
    [
        ([("x", 4), ("y", 5)], [], []),
        ([("x", 4), ("y", 5)], [("x", 4), ("y", 5)], []),
        ([("x", 4)], [("x", 4), ("y", 5)], []),
        ([("x", 4), ("y", 5)], [("z", 4)], [("x", 6), ("y", 7)]),
        ([("x", 4)], [("y", 4), ("z", 5)], [("x", 6)]),
        ([("x", 4), ("y", 5), ("x", 6)], [("x", 4), ("y", 5)], [("x", 7)]),
    ],
)
async def test_reconcile(
    keeper: Storekeeper, own: list[tuple[str, int]], foreign: list[tuple[str, int]], expected: list[tuple[str, int]]
) -> None:
    await announced(keeper, *(a_decision(*made) for made in own), a_decision("untouched", 3, zone="B"))
    renumbered = keeper.reconcile([a_decision(*made) for made in foreign])
    assert [(made.id, made.revision) for made in renumbered] == expected
    left = own if not foreign else expected
    assert keeper.waiting == len(left) + 1


async def test_what_waits_is_counted_once_per_key(keeper: Storekeeper) -> None:
    from tests.unit.selector_service.test_zone_history import a_reading

    first = a_reading(0, 1.0)
    keeper.keep([first, replace(first, intensity_g_per_kwh=2.0), a_reading(1, 3.0)])
    assert keeper.waiting == 2
