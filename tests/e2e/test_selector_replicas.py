"""Two selectors as two processes on one Postgres: the same decisions and revisions, through a crash of one."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from local_stack.postgres import Postgres
from local_stack.services import Service
from selector_service.store import Store
from tests.integration.selector_service.parts import CATALOGUE, a_reading, publishing_to, say
from tradewind.bus import Bus
from tradewind.database import open_engine
from tradewind.decisions import Decision
from tradewind.messages import decision_from_wire
from tradewind.migrate import upgrade
from tradewind.rpc.v1 import selector_pb2, selector_pb2_grpc

SLOT = timedelta(seconds=0.5)
WAIT_S = 60
POLICY = "\n    policy: {name: target-error, options: {target_error: 6, day: 24s}}"


@pytest.fixture
def database_url(own_postgres: Postgres) -> str:
    """A migrated database of the test's own."""
    url = own_postgres.create_database("selectors")
    upgrade(url)
    return url


@pytest.fixture
def replicas(tmp_path: Path, database_url: str, broker: str, unique_zone: str) -> Iterator[list[Service]]:
    """Two processes that know nothing of one another but the database."""
    catalogue = tmp_path / "catalogue.yaml"
    catalogue.write_text(CATALOGUE.replace("    pool: [tiny, huge]", f"    pool: [tiny, huge]{POLICY}"))
    settings = {
        "TRADEWIND_DATABASE_URL": database_url,
        "TRADEWIND_BROKER_URL": broker,
        "TRADEWIND_CATALOGUE": str(catalogue),
        "TRADEWIND_SELECTOR_ZONES": unique_zone,
        "TRADEWIND_SELECTOR_WINDOW": "6s",
    }
    with ExitStack() as ending:
        made = []
        for name in ("one", "other"):
            directory = tmp_path / name
            directory.mkdir()
            replica = Service("selector_service", directory, settings, "TRADEWIND_SELECTOR_LISTEN")
            ending.callback(replica.stop)
            replica.start()
            made.append(replica)
        yield made


async def watch(replica: Service, seen: list[Decision]) -> None:
    """Notes what a replica tells, for ever."""
    async with grpc.aio.insecure_channel(replica.address) as channel:
        stub: Any = selector_pb2_grpc.SelectorStub(channel)
        async for event in stub.WatchDecisions(selector_pb2.WatchDecisionsRequest()):
            told = event.snapshot.decisions if event.HasField("snapshot") else [event.decision]
            if event.WhichOneof("event") != "restated":
                seen += [decision_from_wire(each) for each in told]


async def report(replica: Service, zone: str, number: int) -> None:
    """A proxy says what it served."""
    counts = [selector_pb2.ServedCount(zone=zone, family="digits", variant="tiny", inferences=10 * number)]
    async with grpc.aio.insecure_channel(replica.address) as channel:
        stub: Any = selector_pb2_grpc.SelectorStub(channel)
        request = selector_pb2.ReportServedRequest(reporter="proxy", sequence=number, counts=counts)
        assert (await stub.ReportServed(request, wait_for_ready=True, timeout=WAIT_S)).counted


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110 -- what is awaited is in other processes
            await asyncio.sleep(0.02)


async def half_hours(publisher: Bus, replicas: list[Service], zone: str, start: datetime, numbers: range) -> None:
    """Readings as they begin, each twice, and now and then an earlier one restated; what was served is reported."""
    for number in numbers:
        begins = start + number * SLOT
        await asyncio.sleep(max(0.0, (begins - datetime.now(UTC)).total_seconds()))
        reading = a_reading(zone, begins, 100.0 + 37 * (number % 7), valid_to=begins + SLOT)
        await asyncio.gather(say(publisher, reading), say(publisher, reading))
        if number % 3 == 2:
            late = a_reading(zone, begins - 2 * SLOT, 90.0 + number, valid_to=begins - SLOT, published_at=begins)
            await say(publisher, late, restated=True)
        await report(replicas[number % len(replicas)], zone, number + 1)


async def test_two_processes_decide_as_one(
    replicas: list[Service], database_url: str, broker: str, unique_zone: str
) -> None:
    """24 intervals; the second replica is killed after eight and is back after sixteen."""
    told: list[list[Decision]] = [[], []]
    watching = [asyncio.create_task(watch(*each)) for each in zip(replicas, told, strict=True)]
    start = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=1)
    async with publishing_to(broker) as publisher:
        await half_hours(publisher, replicas, unique_zone, start, range(8))
        replicas[1].child.kill()
        await asyncio.gather(watching[1], return_exceptions=True)
        await half_hours(publisher, replicas[:1], unique_zone, start, range(8, 16))
        replicas[1].launch()
        await half_hours(publisher, replicas[:1], unique_zone, start, range(16, 20))
        await asyncio.to_thread(replicas[1].wait)
        watching[1] = asyncio.create_task(watch(replicas[1], told[1]))
        now = int((datetime.now(UTC) - start) / SLOT) + 1
        await half_hours(publisher, replicas, unique_zone, start, range(max(20, now), max(20, now) + 6))

    engine = open_engine(database_url)
    histories = {family: Store(engine).history(unique_zone, family) for family in ("resnet", "digits")}

    def settled() -> bool:
        """Nothing holds any more: both know the last decision there is."""
        for family in histories:
            histories[family] = Store(engine).history(unique_zone, family)
        lasts = [{each.family: each.revision for each in seen} for seen in told]
        stale = all(history[-1].reason == "stale_reading" for history in histories.values())
        return stale and all(
            last.get(family) == history[-1].revision for last in lasts for family, history in histories.items()
        )

    await until(settled)
    for task in watching:
        task.cancel()
    await asyncio.gather(*watching, return_exceptions=True)
    engine.dispose()

    for family, history in histories.items():
        assert [each.revision for each in history] == list(range(1, len(history) + 1))
        stored = {each.revision: each for each in history}
        for seen in told:
            mine = [each for each in seen if each.family == family and each.revision]
            assert len(mine) > 8
            assert all(each == stored[each.revision] for each in mine)
        decided = [each.current.valid_from for each in history if each.current is not None]
        assert decided == sorted(decided)
        assert {start + number * SLOT for number in range(20)} <= set(decided)
    assert {each.policy for each in histories["digits"]} == {"target-error"}
    assert len({each.heaviest_variant for each in histories["resnet"]}) > 1
