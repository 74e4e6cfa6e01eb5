"""Broker away, database away, nonsense on the bus, a restart: decisions go on, and nothing is lost."""

import asyncio
import json
from collections.abc import Callable
from datetime import timedelta

import pytest

from local_stack.broker import Broker
from local_stack.postgres import Postgres
from selector_service.store import Store
from tests.integration.selector_service.parts import Running, Start, a_reading, half_hour, publishing_to, say
from tradewind import topics
from tradewind.bus import Bus, Message, parse_broker_url
from tradewind.database import open_engine
from tradewind.decisions import Decision, DecisionReason, decision_from_json
from tradewind.readings import ReadingKind, to_mapping
from tradewind.rpc.v1 import selector_pb2

WAIT_S = 20


async def until(condition: Callable[[], bool]) -> None:
    """Waits for what tasks of this process bring about."""
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110 -- there is no event for every condition of a test
            await asyncio.sleep(0.01)


def intensity_decided(running: Running, zone: str) -> float | None:
    decision = running.service.board.in_force.get((zone, "resnet"))
    return None if decision is None or decision.current is None else decision.current.intensity_g_per_kwh


async def test_nonsense_is_counted_and_stops_nothing(
    start: Start, publisher: Bus, unique_zone: str, sqlite_url: str
) -> None:
    running = await start(sqlite_url)
    nonsense = [b"", b"\xff\xfe", b"null", b"[1]", b'{"zone": 1}', b"212.5", b"[" * 5_000, b'{"a":' * 3_000]
    far = to_mapping(a_reading(unique_zone, half_hour(), 1.0))
    nonsense += [
        json.dumps({**far, **change}).encode()
        for change in (
            {"valid_to": far["valid_from"]},
            {"valid_to": "9999-12-31T23:59:59Z"},
            {"valid_from": "0001-01-01T00:00:00Z"},
            {"zone": "another"},
            {"intensity_g_per_kwh": float("nan")},
            {"kind": "guess"},
            {"revision": -1},
        )
    ]
    for topic in (topics.intensity, topics.revisions, topics.forecast):
        for payload in nonsense:
            await publisher.publish(topic(unique_zone), payload)
    await say(publisher, a_reading(unique_zone, half_hour(), 123.0))
    await until(lambda: intensity_decided(running, unique_zone) == 123.0)
    refused = running.service.metrics.registry.get_sample_value("tradewind_messages_refused_total")
    assert refused == 3 * (len(nonsense) - 1)  # An empty payload takes a retained message back.


async def test_a_forecast_is_used_when_no_actual_came(
    start: Start, publisher: Bus, unique_zone: str, sqlite_url: str
) -> None:
    running = await start(sqlite_url)
    forecast = [
        a_reading(unique_zone, half_hour() + k * timedelta(minutes=30), 50.0 + k, kind=ReadingKind.FORECAST)
        for k in range(3)
    ]
    payload = json.dumps([to_mapping(reading) for reading in forecast])
    await publisher.publish(topics.forecast(unique_zone), payload, retain=True)
    await until(lambda: intensity_decided(running, unique_zone) == 50.0)
    await say(publisher, a_reading(unique_zone, half_hour(), 77.0))
    await until(lambda: intensity_decided(running, unique_zone) == 77.0)


async def next_decision(bus: Bus, wanted: Callable[[Decision], bool]) -> tuple[Message, Decision]:
    """The first decision on the bus that is wanted."""
    async with asyncio.timeout(WAIT_S):
        while True:
            for message in await bus.messages():
                bus.done([message])
                decision = decision_from_json(message.payload)
                if wanted(decision):
                    return message, decision


async def test_decisions_are_retained_and_return_with_the_broker(
    start: Start, own_broker: Broker, unique_zone: str, sqlite_url: str
) -> None:
    """Killing the broker loses what it retained; the selector says it again."""
    running = await start(sqlite_url, broker_url=own_broker.url)
    async with publishing_to(own_broker.url) as publisher:
        await say(publisher, a_reading(unique_zone, half_hour(), 100.0))
        await until(lambda: intensity_decided(running, unique_zone) == 100.0)
    before = running.service.board.in_force[unique_zone, "resnet"]
    own_broker.child.kill()
    await asyncio.wait_for(running.service.bus.disconnected.wait(), WAIT_S)
    # Decide goes on while there is no broker.
    answer = await running.stub.Decide(selector_pb2.DecideRequest(zone=unique_zone, family="resnet"))
    assert answer.decision.id == before.id
    await asyncio.to_thread(own_broker.start)
    await asyncio.wait_for(running.service.bus.connected.wait(), WAIT_S)
    listener = Bus(parse_broker_url(own_broker.url), "listener", subscriptions=[topics.decision(unique_zone, "resnet")])
    listener.start()
    try:
        _, decision = await next_decision(listener, lambda _: True)
        assert decision == before
        async with publishing_to(own_broker.url) as publisher:
            revised = a_reading(unique_zone, half_hour(), 90.0, published_at=half_hour() + timedelta(seconds=1))
            await say(publisher, revised)
        await asyncio.wait_for(running.service.bus.subscribed.wait(), WAIT_S)
        message, decision = await next_decision(listener, lambda decision: decision.revision > before.revision)
        assert decision.current == revised
        assert message.topic == f"carbon/v1/decisions/{unique_zone}/resnet"
    finally:
        await listener.stop()


async def test_a_broker_that_is_away_at_the_start_is_awaited(
    start: Start, own_broker: Broker, unique_zone: str, sqlite_url: str
) -> None:
    own_broker.child.kill()
    running = await start(sqlite_url, broker_url=own_broker.url, selector_zones=unique_zone, subscribed=False)
    answer = await running.stub.Decide(selector_pb2.DecideRequest(zone=unique_zone, family="resnet"))
    assert answer.decision.reason == selector_pb2.DECISION_REASON_NO_READING
    await asyncio.to_thread(own_broker.start)
    async with publishing_to(own_broker.url) as publisher:
        await asyncio.wait_for(running.service.bus.subscribed.wait(), WAIT_S)
        await say(publisher, a_reading(unique_zone, half_hour(), 100.0))
        await until(lambda: intensity_decided(running, unique_zone) == 100.0)


async def test_decisions_go_on_while_the_database_is_away_and_are_stored_when_it_returns(
    start: Start, publisher: Bus, own_postgres: Postgres, unique_zone: str
) -> None:
    url = own_postgres.create_database("selector")
    running = await start(url)
    await say(publisher, a_reading(unique_zone, half_hour(), 100.0))
    await until(lambda: intensity_decided(running, unique_zone) == 100.0)
    own_postgres.child.kill()
    for index in range(1, 6):
        late = a_reading(unique_zone, half_hour() - index * timedelta(minutes=30), 100.0 + index)
        await say(publisher, late, restated=True)
        expected = 100.0 + index

        def high_is(value: float = expected) -> bool:
            summary = running.service.board.in_force[unique_zone, "resnet"].range
            return summary is not None and summary.high_g_per_kwh == value

        await until(high_is)
    await asyncio.to_thread(own_postgres.start)
    await until(lambda: running.service.unstored == 0)
    in_force = running.service.board.in_force[unique_zone, "resnet"]
    engine = open_engine(url)
    history = await asyncio.to_thread(Store(engine).history, unique_zone, "resnet")
    stored = await asyncio.to_thread(Store(engine).load)
    engine.dispose()
    assert history[-1] == in_force
    assert [decision.revision for decision in history] == list(range(1, in_force.revision + 1))
    kept = sorted(reading.intensity_g_per_kwh for reading in stored.readings if reading.zone == unique_zone)
    assert kept == [100.0 + index for index in range(6)]


@pytest.mark.parametrize(("rule", "variant"), [("hold", "large"), ("fallback", "small")])
async def test_when_no_reading_holds_any_more_the_setting_says_what_serves(
    start: Start, publisher: Bus, unique_zone: str, sqlite_url: str, rule: str, variant: str
) -> None:
    """A reading of half a second, the lowest of its range; then silence."""
    running = await start(sqlite_url, selector_stale=rule)
    now = running.service.now()
    await say(publisher, a_reading(unique_zone, now - timedelta(hours=1), 300.0), restated=True)
    brief = a_reading(unique_zone, now, 100.0, valid_to=now + timedelta(seconds=0.5))
    await say(publisher, brief)

    def reason() -> DecisionReason | None:
        decision = running.service.board.in_force.get((unique_zone, "resnet"))
        return decision.reason if decision is not None and decision.current == brief else None

    await until(lambda: reason() is DecisionReason.STALE_READING)
    stale = running.service.board.in_force[unique_zone, "resnet"]
    assert stale.heaviest_variant == variant
    assert stale.decided_at - brief.valid_to < timedelta(seconds=5)  # By the clock, not by the next message.


async def test_a_restart_goes_on_where_it_stopped(
    start: Start, publisher: Bus, unique_zone: str, database_url: str
) -> None:
    first = await start(database_url)
    for index in range(5):
        late = a_reading(unique_zone, half_hour() - index * timedelta(minutes=30), 100.0 + index)
        await say(publisher, late, restated=True)
    await until(lambda: intensity_decided(first, unique_zone) == 100.0)
    in_force = first.service.board.in_force[unique_zone, "resnet"]
    await until(lambda: first.service.board.in_force[unique_zone, "resnet"].range.readings == 5)  # type: ignore[union-attr]
    in_force = first.service.board.in_force[unique_zone, "resnet"]
    second = await start(database_url)
    answer = await second.stub.Decide(selector_pb2.DecideRequest(zone=unique_zone, family="resnet"))
    assert (answer.decision.id, answer.decision.revision) == (in_force.id, in_force.revision)
