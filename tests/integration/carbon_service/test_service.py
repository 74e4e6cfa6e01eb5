"""The carbon service whole: real broker, real store, real gRPC, and what each of them may do to it."""

import asyncio
import json
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from carbon_service.service import CarbonService
from carbon_service.settings import CarbonSettings
from local_stack.broker import Broker
from local_stack.postgres import Postgres
from tradewind import topics
from tradewind.bus import Bus, Message, parse_broker_url
from tradewind.messages import reading_from_wire, reading_to_wire, timestamp
from tradewind.migrate import upgrade
from tradewind.readings import Reading, ReadingKind, Signal, from_json, to_json
from tradewind.rpc.v1 import carbon_pb2, carbon_pb2_grpc

T = TypeVar("T")


@asynccontextmanager
async def carbon_service(database: str, broker: str, **options: Any) -> AsyncIterator[CarbonService]:
    settings = CarbonSettings(
        database_url=database,
        broker_url=broker,
        carbon_listen="127.0.0.1:0",
        carbon_client_id=options.pop("client_id", f"carbon-{id(options)}"),
        **options,
    )
    async with CarbonService(settings) as service:
        yield service


@asynccontextmanager
async def stub_of(service: CarbonService) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{service.server.port}") as channel:
        yield carbon_pb2_grpc.CarbonStub(channel)


@asynccontextmanager
async def bus_of(url: str, name: str, *subscriptions: str) -> AsyncIterator[Bus]:
    bus = Bus(parse_broker_url(url), name, subscriptions=subscriptions)
    bus.start()
    try:
        async with asyncio.timeout(20):
            await bus.connected.wait()
        yield bus
    finally:
        await bus.stop()


async def until(ask: Callable[[], Awaitable[T | None]]) -> T:
    """The first answer that is there; a call that fails is asked again."""
    async with asyncio.timeout(20):
        while True:
            try:
                answer = await ask()
            except grpc.aio.AioRpcError as error:
                if error.code() not in {grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNAVAILABLE}:
                    raise
                answer = None
            if answer:
                return answer
            await asyncio.sleep(0.02)


async def intensity_of(stub: Any, zone: str) -> Reading:
    async def ask() -> Reading | None:
        return reading_from_wire((await stub.GetIntensity(carbon_pb2.GetIntensityRequest(zone=zone))).reading)

    return await until(ask)


async def next_message(bus: Bus) -> Message:
    async with asyncio.timeout(20):
        (message,) = await bus.messages(1)
    bus.done([message])
    return message


def now() -> datetime:
    return datetime.now(UTC)


async def test_a_bare_number_becomes_the_current_reading(migrated_url: str, broker: str, unique_zone: str) -> None:
    async with (
        carbon_service(migrated_url, broker) as service,
        stub_of(service) as stub,
        bus_of(broker, f"p-{unique_zone}", topics.intensity(unique_zone)) as bus,
    ):
        await asyncio.wait_for(service_is_connected(service), 20)
        await bus.publish(topics.observation("roof", unique_zone), "212.5")
        announced = from_json((await next_message(bus)).payload)
        asked = await intensity_of(stub, unique_zone)
    assert announced == asked
    assert (asked.intensity_g_per_kwh, asked.source, asked.kind) == (212.5, "edge:roof", ReadingKind.ACTUAL)
    assert asked.valid_to - asked.valid_from == timedelta(hours=1)


async def service_is_connected(service: CarbonService) -> None:
    await service.bus.subscribed.wait()


async def test_bad_messages_stop_nothing_and_leave_a_trace(migrated_url: str, broker: str, unique_zone: str) -> None:
    bad = [b"", b"0", b"nan", b"-1", b"99999", b"\xff\xfe", b"{", b"[]", b'{"intensity_g_per_kwh": "x"}', b"x" * 9_000]
    bad += [
        b'{"intensity_g_per_kwh": 200, "valid_from": "%s"}' % time
        for time in (b"0001-01-01T00:00Z", b"9999-12-31T23:59Z")
    ]
    async with (
        carbon_service(migrated_url, broker) as service,
        stub_of(service) as stub,
        bus_of(broker, f"p-{unique_zone}") as bus,
    ):
        await service_is_connected(service)
        for payload in [*bad, b"200"]:
            await bus.publish(topics.observation("roof", unique_zone), payload)
        assert (await intensity_of(stub, unique_zone)).intensity_g_per_kwh == 200
        response = await stub.ListQuarantined(carbon_pb2.ListQuarantinedRequest(zone=unique_zone))
        zones = await stub.ListZones(carbon_pb2.ListZonesRequest())
    assert len(response.quarantined) == len(bad)
    assert {row.reason for row in response.quarantined} == {
        *("blank", "zero", "not_finite", "out_of_bounds", "not_a_reading", "too_large", "too_old", "from_future"),
    }
    (zone,) = (each for each in zones.zones if each.zone == unique_zone)
    assert (zone.readings, zone.quarantined, zone.stale) == (1, len(bad), False)


def write_trace(path: Path, values: list[float | None]) -> Path:
    start = datetime(2023, 6, 1, tzinfo=UTC)
    lines = [
        f"{(start + row * timedelta(minutes=30)).isoformat()},{'' if value is None else value}"
        for row, value in enumerate(values)
    ]
    path.write_text("\n".join(["from,actual", *lines, ""]))
    return path


async def test_a_replay_tells_its_history_at_once_and_then_its_day(
    migrated_url: str, broker: str, unique_zone: str, tmp_path: Path
) -> None:
    values: list[float | None] = [200.0 + row % 10 for row in range(60)]
    values[7], values[9] = None, 0.0
    trace = write_trace(tmp_path / "day.csv", values)
    async with (
        bus_of(broker, f"p-{unique_zone}", topics.intensity(unique_zone), topics.revisions(unique_zone)) as bus,
        carbon_service(
            migrated_url,
            broker,
            carbon_replay_file=trace,
            carbon_replay_zone=unique_zone,
            carbon_replay_speed=9000.0,
        ) as service,
        stub_of(service) as stub,
    ):
        heard: dict[datetime, Reading] = {}
        async with asyncio.timeout(30):
            while len(heard) < 58:
                messages = await bus.messages()
                bus.done(messages)
                for message in messages:
                    reading = from_json(message.payload)
                    heard[reading.valid_from] = reading
        response = await stub.ListReadings(carbon_pb2.ListReadingsRequest(zone=unique_zone))
        quarantined = await stub.ListQuarantined(carbon_pb2.ListQuarantinedRequest(zone=unique_zone))

        async def stale() -> bool:
            return bool((await stub.GetIntensity(carbon_pb2.GetIntensityRequest(zone=unique_zone))).stale)

        await until(stale)
    stored = [reading_from_wire(each) for each in response.readings]
    assert stored == [heard[start] for start in sorted(heard)]
    assert [each.intensity_g_per_kwh for each in stored] == [value for value in values if value]
    assert {each.valid_to - each.valid_from for each in stored} == {timedelta(minutes=30) / 9000}
    assert [each.recorded_at for each in stored][:2] == [
        datetime(2023, 6, 1, tzinfo=UTC),
        datetime(2023, 6, 1, 0, 30, tzinfo=UTC),
    ]
    assert sorted(row.reason for row in quarantined.quarantined) == ["blank", "zero"]


async def test_a_broker_that_forgets_is_told_again(migrated_url: str, own_broker: Broker, unique_zone: str) -> None:
    async with (
        carbon_service(migrated_url, own_broker.url) as service,
        stub_of(service) as stub,
    ):
        async with bus_of(own_broker.url, f"p-{unique_zone}") as bus:
            await service_is_connected(service)
            await bus.publish(topics.observation("roof", unique_zone), "200")
            await intensity_of(stub, unique_zone)
        own_broker.child.kill()
        async with asyncio.timeout(20):
            await service.bus.disconnected.wait()
        await asyncio.to_thread(own_broker.start)
        async with bus_of(own_broker.url, f"q-{unique_zone}", topics.intensity(unique_zone)) as bus:
            assert from_json((await next_message(bus)).payload).intensity_g_per_kwh == 200


async def publish(stub: Any, reading: Reading, publisher: str = "roof", token: str = "") -> Any:
    request = carbon_pb2.PublishReadingRequest(publisher=publisher, reading=reading_to_wire(reading))
    metadata = [("authorization", f"Bearer {token}")] if token else []
    return await stub.PublishReading(request, metadata=metadata)


async def test_what_was_accepted_while_the_broker_was_away_is_heard(
    migrated_url: str, own_broker: Broker, unique_zone: str
) -> None:
    begin = now() - timedelta(minutes=3)
    readings = [
        Reading(
            unique_zone,
            begin + minute * timedelta(minutes=1),
            begin + (minute + 1) * timedelta(minutes=1),
            200.0 + minute,
            ReadingKind.ACTUAL,
            Signal.AVERAGE,
            "edge:roof",
            begin + minute * timedelta(minutes=1),
        )
        for minute in range(4)
    ]
    async with (
        carbon_service(migrated_url, own_broker.url) as service,
        stub_of(service) as stub,
    ):
        await service_is_connected(service)
        own_broker.child.kill()
        async with asyncio.timeout(20):
            await service.bus.disconnected.wait()
        for reading in readings:
            assert (await publish(stub, reading)).accepted
    # The service was restarted as well before the broker came back.
    async with carbon_service(migrated_url, own_broker.url) as service:
        await asyncio.to_thread(own_broker.start)
        wanted = (topics.intensity(unique_zone), topics.revisions(unique_zone))
        async with bus_of(own_broker.url, f"q-{unique_zone}", *wanted) as bus:
            heard = {from_json((await next_message(bus)).payload).intensity_g_per_kwh for _ in range(4)}
    assert heard == {200.0, 201.0, 202.0, 203.0}


async def test_a_database_that_is_away_stops_nothing(own_postgres: Postgres, broker: str, unique_zone: str) -> None:
    url = own_postgres.create_database("carbon")
    upgrade(url)
    async with (
        carbon_service(url, broker) as service,
        stub_of(service) as stub,
        bus_of(broker, f"p-{unique_zone}") as bus,
    ):
        await service_is_connected(service)
        await bus.publish(topics.observation("roof", unique_zone), "200")
        await intensity_of(stub, unique_zone)
        await asyncio.to_thread(own_postgres.child.stop)
        await bus.publish(topics.observation("roof", unique_zone), "205")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.ListReadings(carbon_pb2.ListReadingsRequest(zone=unique_zone))
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "database is away" in str(caught.value.details())
        assert (await intensity_of(stub, unique_zone)).intensity_g_per_kwh == 200
        await asyncio.to_thread(own_postgres.start)

        async def both() -> bool:
            response = await stub.ListReadings(carbon_pb2.ListReadingsRequest(zone=unique_zone))
            return [each.intensity_g_per_kwh for each in response.readings] == [200, 205]

        await until(both)
        assert (await intensity_of(stub, unique_zone)).intensity_g_per_kwh == 205


async def test_watchers_get_the_current_reading_then_changes_and_revisions(
    migrated_url: str, broker: str, unique_zone: str
) -> None:
    begin = now() - timedelta(minutes=10)

    def said(value: float, minute: int, version: int = 0) -> str:
        start = begin + minute * timedelta(minutes=5)
        published = start + timedelta(seconds=version)
        end = start + timedelta(minutes=5 if minute == 0 else 60)
        return to_json(Reading(unique_zone, start, end, value, ReadingKind.ACTUAL, Signal.AVERAGE, "x", published))

    async with (
        carbon_service(migrated_url, broker) as service,
        stub_of(service) as stub,
        bus_of(broker, f"p-{unique_zone}") as bus,
    ):
        await service_is_connected(service)
        topic = topics.observation("roof", unique_zone)
        await bus.publish(topic, said(200, 0))
        await intensity_of(stub, unique_zone)
        call = stub.WatchIntensity(carbon_pb2.WatchIntensityRequest(zones=[unique_zone]))
        seen = [await call.read()]
        for payload in (said(210, 1), said(195, 0, 1), said(215, 1, 1)):
            await bus.publish(topic, payload)
            seen.append(await asyncio.wait_for(call.read(), 20))
        call.cancel()
    assert [(each.reading.intensity_g_per_kwh, each.reading.revision, each.restates) for each in seen] == [
        (200, 0, False),
        (210, 0, False),
        (195, 1, True),
        (215, 1, True),
    ]


async def test_grpc_pages_and_refusals(migrated_url: str, broker: str, unique_zone: str) -> None:
    begin = now() - timedelta(hours=5)
    async with (
        carbon_service(migrated_url, broker) as service,
        stub_of(service) as stub,
    ):
        for minute in range(10):
            start = begin + timedelta(minutes=minute)
            for publisher, value in (("roof", 200.0), ("cellar", 201.0)):
                reading = Reading(
                    unique_zone, start, start + timedelta(minutes=1), value + minute, ReadingKind.ACTUAL,
                    Signal.AVERAGE, "", start,
                )  # fmt: skip
                assert (await publish(stub, reading, publisher)).accepted
        every: list[float] = []
        token = ""
        while True:
            request = carbon_pb2.ListReadingsRequest(zone=unique_zone, page_size=3, page_token=token)
            response = await stub.ListReadings(request)
            every += [each.intensity_g_per_kwh for each in response.readings]
            token = response.next_page_token
            if not token:
                break
        part = carbon_pb2.ListReadingsRequest(
            zone=unique_zone, all_kinds=True, to=timestamp(begin + timedelta(minutes=2))
        )
        assert len((await stub.ListReadings(part)).readings) == 4
        refusals = [
            (stub.GetIntensity, carbon_pb2.GetIntensityRequest(zone="no/zone"), "not a zone's name"),
            (stub.GetIntensity, carbon_pb2.GetIntensityRequest(zone="nowhere"), f"zones with readings: {unique_zone}"),
            (stub.GetForecast, carbon_pb2.GetForecastRequest(zone="nowhere"), "nowhere"),
            (stub.ListReadings, carbon_pb2.ListReadingsRequest(zone="Z", page_size=-1), "page_size"),
            (stub.ListReadings, carbon_pb2.ListReadingsRequest(zone="Z", page_token="?"), "page_token"),  # noqa: S106
            (stub.PublishReading, carbon_pb2.PublishReadingRequest(publisher="a b"), "publisher"),
            (stub.PublishReading, carbon_pb2.PublishReadingRequest(publisher="a"), "reading is missing"),
        ]
        beyond = Timestamp(seconds=10**15)
        late = reading_to_wire(reading)
        late.recorded_at.CopyFrom(beyond)
        refusals += [
            (stub.ListReadings, carbon_pb2.ListReadingsRequest(zone="Z", to=beyond), "are no Timestamp"),
            (stub.PublishReading, carbon_pb2.PublishReadingRequest(publisher="a", reading=late), "are no Timestamp"),
        ]
        for call, message, words in refusals:
            with pytest.raises(grpc.aio.AioRpcError, match=words):
                await call(message)
    assert every == [201.0 + minute for minute in range(10)] or every == [200.0 + minute for minute in range(10)]


async def test_metrics_name_only_zones_with_readings(migrated_url: str, broker: str, unique_zone: str) -> None:
    async with (
        carbon_service(migrated_url, broker, carbon_metrics_port=0) as service,
        stub_of(service) as stub,
        bus_of(broker, f"p-{unique_zone}") as bus,
    ):
        await service_is_connected(service)
        await bus.publish(topics.observation("roof", f"{unique_zone}-never"), "0")
        await bus.publish(topics.observation("roof", unique_zone), "212.5")
        await intensity_of(stub, unique_zone)
        url = f"http://127.0.0.1:{service.metrics_port}/metrics"
        text = (await asyncio.to_thread(lambda: urllib.request.urlopen(url, timeout=10).read())).decode()
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert lines[f'tradewind_grid_intensity_grams_per_kwh{{zone="{unique_zone}"}}'] == "212.5"
    assert 0 <= float(lines[f'tradewind_grid_intensity_age_seconds{{zone="{unique_zone}"}}']) < 20
    assert lines['tradewind_observations_quarantined_total{reason="zero"}'] == "1.0"
    assert "never" not in text


async def test_a_forecast_is_announced_and_answered(migrated_url: str, broker: str, unique_zone: str) -> None:
    async with (
        carbon_service(migrated_url, broker) as service,
        stub_of(service) as stub,
        bus_of(broker, f"p-{unique_zone}", topics.forecast(unique_zone)) as bus,
    ):
        await service_is_connected(service)
        start = now() + timedelta(minutes=5)
        reading = Reading(
            unique_zone, start, start + timedelta(hours=1), 180.0, ReadingKind.FORECAST, Signal.AVERAGE, "x",
            now() - timedelta(minutes=1),
        )  # fmt: skip
        await bus.publish(topics.observation("roof", unique_zone), to_json(reading))
        content = json.loads((await next_message(bus)).payload)
        response = await stub.GetForecast(carbon_pb2.GetForecastRequest(zone=unique_zone))
    assert [each["intensity_g_per_kwh"] for each in content] == [180.0]
    assert [each.intensity_g_per_kwh for each in response.readings] == [180.0]
