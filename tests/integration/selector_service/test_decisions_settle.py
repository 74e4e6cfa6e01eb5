"""The same settled readings give the same decisions: in any order, on both engines, after any restart, on replicas."""

import asyncio
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from selector_service.store import Round, Store
from selector_service.zone_history import RangeRule
from tests.integration.selector_service.parts import Replica, a_reading, content
from tradewind.catalogue import Catalogue
from tradewind.database import open_engine
from tradewind.decisions import Decision, DecisionReason
from tradewind.migrate import upgrade
from tradewind.readings import Reading, ReadingKind

START = datetime(2023, 6, 2, tzinfo=UTC)
SLOT = timedelta(minutes=30)
RULE = RangeRule(window=timedelta(hours=3))
ZONES = ("GB-A", "GB-B")


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    """A migrated database, SQLite first, then Postgres."""
    upgrade(database_url)
    engine = open_engine(database_url)
    yield Store(engine)
    engine.dispose()


def a_day_of_readings(seed: int) -> list[list[Reading]]:
    """Per half-hour what arrives in it: forecasts ahead, late actuals, revisions; some half-hours are silent."""
    rng = random.Random(seed)
    arriving: list[list[Reading]] = []
    for slot in range(16):
        now = START + slot * SLOT
        batch: list[Reading] = []
        for zone in ZONES:
            ahead = [
                a_reading(zone, now + k * SLOT, rng.randint(50, 400), kind=ReadingKind.FORECAST, published_at=now)
                for k in range(1, 4)
            ]
            late = [
                a_reading(zone, now - k * SLOT, rng.randint(50, 400), published_at=now + timedelta(seconds=k))
                for k in range(1, 9)
                if rng.random() < 0.4
            ]
            current = [a_reading(zone, now, rng.randint(50, 400))] if rng.random() < 0.7 else []
            if slot not in range(6, 11):
                batch += ahead + late + current
        arriving.append(batch)
    return arriving


@dataclass
class Played:
    """The decisions in force at the end of each half-hour."""

    ends: list[dict[tuple[str, str], Decision]]
    replica: Replica


async def play(catalogue: Catalogue, store: Store, arriving: list[list[Reading]], seed: int, restart: float) -> Played:
    """Plays the day in an order of its own, in chunks of its own, restarting now and then."""
    rng = random.Random(seed)
    replica = await Replica(catalogue, store, RULE).resume()
    ends: list[dict[tuple[str, str], Decision]] = []
    for slot, batch in enumerate(arriving):
        replica.now = START + slot * SLOT + timedelta(seconds=1)
        shuffled = [*batch, *rng.sample(batch, len(batch) // 3)]
        rng.shuffle(shuffled)
        while True:
            size = rng.randint(1, 12)
            await replica.take(*shuffled[:size])
            del shuffled[:size]
            if rng.random() < restart:
                now = replica.now
                replica = Replica(catalogue, store, RULE)
                replica.now = now
                await replica.resume()
            if not shuffled:
                break
        ends.append(replica.in_force)
    return Played(ends, replica)


def contents(played: Played) -> list[dict[tuple[str, str], Decision]]:
    return [{pair: content(decision) for pair, decision in end.items()} for end in played.ends]


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_any_order_and_any_restart_end_in_the_same_decisions(
    catalogue: Catalogue, store: Store, sqlite_url: str, seed: int
) -> None:
    """The reference plays each batch at once, in order, without a restart, on SQLite."""
    arriving = a_day_of_readings(seed)
    reference_url = f"{sqlite_url}-reference"
    upgrade(reference_url)
    engine = open_engine(reference_url)
    reference = Replica(catalogue, Store(engine), RULE)
    expected: list[dict[tuple[str, str], Decision]] = []
    for slot, batch in enumerate(arriving):
        reference.now = START + slot * SLOT + timedelta(seconds=1)
        await reference.take(*sorted(batch, key=lambda reading: (reading.zone, reading.valid_from)))
        expected.append({pair: content(decision) for pair, decision in reference.in_force.items()})
    engine.dispose()
    played = await play(catalogue, store, arriving, seed + 100, restart=0.2)
    assert contents(played) == expected
    assert any(decision.reason is DecisionReason.STALE_READING for end in expected for decision in end.values())
    assert len({decision.mix for end in expected for decision in end.values()}) > 2


async def test_revisions_count_up_without_gaps_and_are_all_stored(catalogue: Catalogue, store: Store) -> None:
    played = await play(catalogue, store, a_day_of_readings(4), 4, restart=0.1)
    for (zone, family), decision in played.replica.in_force.items():
        history = await asyncio.to_thread(store.history, zone, family)
        assert [stored.revision for stored in history] == list(range(1, decision.revision + 1))
        assert history[-1] == decision
        assert all(one.id != other.id for one, other in pairwise(history))
        starts = [stored.valid_from for stored in history]
        assert starts == sorted(starts)
        assert await asyncio.to_thread(store.decision, decision.id) == decision


async def test_two_replicas_give_the_same_decisions_with_the_same_revisions(catalogue: Catalogue, store: Store) -> None:
    """Each hears the same readings in an order of its own, at the same time as the other."""
    rng = random.Random(5)
    replicas = [await Replica(catalogue, store, RULE).resume() for _ in range(2)]
    for slot, batch in enumerate(a_day_of_readings(5)):
        for replica in replicas:
            # Their clocks differ, and the second one's is ahead.
            replica.now = START + slot * SLOT + timedelta(seconds=1)
        replicas[1].now += timedelta(seconds=2)

        async def hear(replica: Replica, order: list[Reading]) -> None:
            for reading in order:
                await replica.take(reading)
                await asyncio.sleep(0)
            await replica.take()

        await asyncio.gather(*(hear(replica, rng.sample(batch, len(batch))) for replica in replicas))
        assert replicas[0].in_force == replicas[1].in_force
    for replica in replicas:
        for pair in replica.in_force:
            revisions = [told.revision for told in replica.told if (told.zone, told.family) == pair]
            assert revisions == sorted(set(revisions))
    for (zone, family), decision in replicas[0].in_force.items():
        stored = await asyncio.to_thread(store.history, zone, family)
        assert [one.revision for one in stored] == list(range(1, decision.revision + 1))


async def test_a_replica_whose_clock_lags_does_not_go_back(catalogue: Catalogue, store: Store) -> None:
    """At the turn of a half-hour the one ahead has decided; the other adopts it."""
    ahead, behind = [await Replica(catalogue, store, RULE).resume() for _ in range(2)]
    first, second = a_reading("GB-A", START, 100.0), a_reading("GB-A", START + SLOT, 200.0)
    ahead.now = behind.now = START + timedelta(minutes=1)
    await ahead.take(first, second)
    await behind.take(first, second)
    ahead.now = START + SLOT
    await ahead.take()
    behind.now = START + SLOT - timedelta(milliseconds=20)
    late = a_reading("GB-A", START - SLOT, 300.0)
    await behind.take(late)
    await ahead.take(late)
    assert behind.in_force == ahead.in_force
    assert ahead.in_force["GB-A", "resnet"].current == second


async def test_the_timer_brings_a_reading_into_force_without_news(catalogue: Catalogue, store: Store) -> None:
    """What was said ahead holds from its first moment; when nothing follows, the decision is held and says so."""
    replica = Replica(catalogue, store, RULE)
    replica.now = START + timedelta(minutes=1)
    await replica.take(a_reading("GB-A", START, 100.0), a_reading("GB-A", START + SLOT, 300.0))
    assert replica.in_force["GB-A", "resnet"].reason is DecisionReason.RANGE_FLAT
    assert replica.selector.next_change() == START + SLOT
    replica.now = START + SLOT
    await replica.take()
    decision = replica.in_force["GB-A", "resnet"]
    assert decision.current is not None
    assert decision.current.intensity_g_per_kwh == 300.0
    assert decision.mix[0].variant == "small"
    replica.now = START + 2 * SLOT
    await replica.take()
    stale = replica.in_force["GB-A", "resnet"]
    assert stale.reason is DecisionReason.STALE_READING
    assert stale.mix == decision.mix
    assert "held" in stale.explanation
    assert stale.valid_from == START + 2 * SLOT
    assert replica.selector.next_change() is None


async def test_restated_readings_are_told_and_a_plain_new_current_is_not(catalogue: Catalogue, store: Store) -> None:
    replica = Replica(catalogue, store, RULE)
    replica.now = START + SLOT + timedelta(minutes=1)
    current = a_reading("GB-A", START + SLOT, 200.0)
    await replica.take(current)
    assert replica.restatements == []
    late, ahead = a_reading("GB-A", START, 100.0), a_reading("GB-A", START + 2 * SLOT, 150.0)
    await replica.take(ahead, late)
    assert replica.restatements == [late]
    revised = replace(current, intensity_g_per_kwh=210.0, published_at=replica.now)
    await replica.take(revised)
    assert replica.restatements == [late, revised]


async def test_a_row_is_stored_as_it_is_said(store: Store) -> None:
    names = ("NULL", 'a "name"', "back\\slash", "{a,b}", "neso:11", "Zürich", "''", "%(zone)s")
    begin = datetime(2023, 6, 1, tzinfo=UTC)
    said = {
        a_reading(
            "NULL",
            begin + index * timedelta(minutes=30),
            100.1 + index / 3,
            source=name,
            recorded_at=None if index % 2 else begin,
        )
        for index, name in enumerate(names)
    }
    store.commit(0, Round(tuple(said)))
    assert set(store.load().readings) == said
