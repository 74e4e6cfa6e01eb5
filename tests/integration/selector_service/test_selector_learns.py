"""Reports of what was served reach policies with feedback: counted once, over restarts and replicas."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import grpc
import pytest

from selector_service.served import ServedCount, ServedReports
from selector_service.store import Store
from selector_service.zone_history import RangeRule
from tests.integration.selector_service.parts import Replica, Start, a_reading
from tradewind.catalogue import Catalogue
from tradewind.database import open_engine
from tradewind.errors import InvalidInput, NotFound
from tradewind.migrate import upgrade
from tradewind.rpc.v1 import selector_pb2

START = datetime(2023, 6, 2, tzinfo=UTC)
SLOT = timedelta(minutes=30)
RULE = RangeRule(window=timedelta(hours=3))


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    """A migrated database, SQLite first, then Postgres."""
    upgrade(database_url)
    engine = open_engine(database_url)
    yield Store(engine)
    engine.dispose()


def request(sequence: int, inferences: int, **changes: str) -> selector_pb2.ReportServedRequest:
    count = {"zone": "GB", "family": "resnet", "variant": "large", "decision": "d", **changes}
    return selector_pb2.ReportServedRequest(
        reporter=changes.pop("reporter", "proxy-1"),
        sequence=sequence,
        counts=[selector_pb2.ServedCount(inferences=inferences, **count)],
    )


async def test_a_report_counts_once_under_its_number(start: Start, database_url: str) -> None:
    running = await start(database_url)
    counted = [(await running.stub.ReportServed(request(sequence, 10))).counted for sequence in (1, 1, 3, 2, 3, 4)]
    assert counted == [True, False, True, False, False, True]
    totals = await asyncio.to_thread(running.service.store.served_totals)
    assert totals == {("GB", "resnet"): {"large": 30}}


@pytest.mark.parametrize(
    ("changes", "inferences", "code", "says"),
    [
        ({"family": "bert"}, 1, grpc.StatusCode.NOT_FOUND, "family 'bert' is not in the catalogue"),
        ({"variant": "giant"}, 1, grpc.StatusCode.INVALID_ARGUMENT, "variant 'giant' is not one of family resnet"),
        ({"zone": "a b"}, 1, grpc.StatusCode.INVALID_ARGUMENT, "zone 'a b' is not a zone's name"),
        ({}, -1, grpc.StatusCode.INVALID_ARGUMENT, "inferences must be a count"),
    ],
)
async def test_a_wrong_report_is_one_sentence_and_counts_nothing(
    start: Start, sqlite_url: str, changes: dict[str, str], inferences: int, code: grpc.StatusCode, says: str
) -> None:
    running = await start(sqlite_url)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await running.stub.ReportServed(request(1, inferences, **changes))
    assert refused.value.code() is code
    assert says in (refused.value.details() or "")
    assert (await running.stub.ReportServed(request(1, 5))).counted
    assert await asyncio.to_thread(running.service.store.served_totals) == {("GB", "resnet"): {"large": 5}}


async def test_reports_from_several_proxies_at_once_all_count(catalogue: Catalogue, store: Store) -> None:
    reports = ServedReports(store, catalogue, lambda: START)

    async def report(proxy: int) -> None:
        for sequence in range(1, 11):
            counts = [ServedCount("GB", "resnet", variant, "d", 1) for variant in ("small", "large", "large")]
            assert await reports.take(f"proxy-{proxy}", sequence, counts)

    await asyncio.gather(*(report(proxy) for proxy in range(4)))
    assert await reports.totals() == {("GB", "resnet"): {"small": 40, "large": 80}}
    with pytest.raises(InvalidInput, match="sequence"):
        await reports.take("proxy-1", 0, [])
    with pytest.raises(InvalidInput, match="reporter"):
        await reports.take("", 1, [])
    with pytest.raises(NotFound):
        await reports.take("proxy-1", 99, [ServedCount("GB", "bert", "x", "d", 1)])


class Learner(Replica):
    """A replica whose policy aims at an error, and hears reports."""

    def __init__(self, catalogue: Catalogue, store: Store) -> None:
        super().__init__(
            catalogue, store, RULE, "target-error", {"target_error": "6.5"}, ServedReports(store, catalogue, utc).totals
        )


def utc() -> datetime:
    return START


async def hear_a_day(learners: list[Learner], store: Store, catalogue: Catalogue, *, restart_at: int | None) -> None:
    reports = ServedReports(store, catalogue, utc)
    for slot in range(24):
        now = START + slot * SLOT
        if slot == restart_at:
            learners[:] = [Learner(catalogue, store) for _ in learners]
            for learner in learners:
                learner.now = now - timedelta(seconds=1)
                await learner.resume()
        for learner in learners:
            learner.now = now + timedelta(seconds=1)
        current = a_reading("GB", now, 100.0 + 40 * (slot % 5))
        late = a_reading("GB", now - SLOT, 90.0 + slot, published_at=now)
        await asyncio.gather(*(learner.take(current) for learner in learners))
        await asyncio.gather(*(learner.take(late) for learner in learners))
        mix = learners[0].in_force["GB", "resnet"].mix
        counts = [ServedCount("GB", "resnet", share.variant, "d", round(1000 * share.weight)) for share in mix]
        await reports.take("proxy", slot + 1, counts)


@pytest.mark.parametrize("replicas", [1, 2])
async def test_a_policy_with_feedback_resumes_and_replicas_agree(
    catalogue: Catalogue, store: Store, sqlite_url: str, replicas: int
) -> None:
    """The reference runs alone and is never stopped."""
    reference_url = f"{sqlite_url}-reference"
    upgrade(reference_url)
    engine = open_engine(reference_url)
    reference = [Learner(catalogue, Store(engine))]
    await hear_a_day(reference, Store(engine), catalogue, restart_at=None)
    learners = [Learner(catalogue, store) for _ in range(replicas)]
    await hear_a_day(learners, store, catalogue, restart_at=11)
    expected = reference[0]
    for learner in learners:
        assert learner.in_force["GB", "resnet"].id == expected.in_force["GB", "resnet"].id
        assert learner.in_force["GB", "resnet"].mix == expected.in_force["GB", "resnet"].mix
        assert learner.in_force == learners[0].in_force
    stored = {(state.zone, state.family): state for state in (await asyncio.to_thread(store.load)).states}
    known = {(state.zone, state.family): state for state in (await asyncio.to_thread(Store(engine).load)).states}
    assert stored == known
    assert sum(stored["GB", "resnet"].served.values()) == pytest.approx(1000, abs=2)
    engine.dispose()
