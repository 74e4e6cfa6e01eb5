"""A service that asks providers: current, forecast, history and the health of each source, from a zones file."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from grpc_health.v1 import health_pb2, health_pb2_grpc

from carbon_service.service import CarbonService
from carbon_service.settings import CarbonSettings
from tradewind.messages import reading_from_wire
from tradewind.readings import ReadingKind, Signal
from tradewind.rpc.v1 import carbon_pb2, carbon_pb2_grpc, types_pb2

HALF_HOUR = timedelta(minutes=30)


def neso_answer(path: str) -> dict[str, Any]:
    """National half-hours for whatever span is asked, with actuals until an hour ago."""
    _, _, start, end = path.split("/")
    begin = datetime.strptime(start, "%Y-%m-%dT%H:%MZ").replace(tzinfo=UTC)
    begin = begin.replace(minute=begin.minute // 30 * 30)
    until = (
        begin + timedelta(hours=48) if end == "fw48h" else datetime.strptime(end, "%Y-%m-%dT%H:%MZ").replace(tzinfo=UTC)
    )
    entries = []
    while begin < until:
        old = begin < datetime.now(UTC) - timedelta(hours=1)
        times = {"from": begin.strftime("%Y-%m-%dT%H:%MZ"), "to": (begin + HALF_HOUR).strftime("%Y-%m-%dT%H:%MZ")}
        entries.append(times | {"intensity": {"forecast": 205, "actual": 200 if old else None, "index": "moderate"}})
        begin += HALF_HOUR
    return {"data": entries}


def watttime_answer(path: str, query: dict[str, str]) -> dict[str, Any]:
    """Five-minute intervals of the last hours, or of the next."""
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    first = now if path.endswith("forecast") else datetime.fromisoformat(query["start"])
    count = 12 if path.endswith("forecast") else int((now - first) / timedelta(minutes=5)) + 1
    points = [
        {"point_time": (first + timedelta(minutes=5) * index).isoformat(), "value": 1000 + index % 5}
        for index in range(count)
    ]
    return {"data": points, "meta": {"region": "X", "signal_type": "co2_moer", "units": "lbs_co2_per_mwh"}}


@asynccontextmanager
async def polled(
    directory: Path, zones: Mapping[str, Any], database: str, broker: str, name: str, **settings: Any
) -> AsyncIterator[grpc.aio.Channel]:
    """A service with a zones file, and a way to ask it, for a minute."""
    path = directory / "zones.yaml"
    path.write_text(yaml.safe_dump({"zones": zones}))
    told = CarbonSettings(
        database_url=database,
        broker_url=broker,
        carbon_listen="127.0.0.1:0",
        carbon_client_id=name,
        carbon_zones_file=path,
        carbon_watttime_user="user",
        carbon_watttime_password="password",  # noqa: S106 -- of a provider that is a test's own
        **settings,
    )
    async with (
        CarbonService(told) as service,
        grpc.aio.insecure_channel(f"127.0.0.1:{service.server.port}") as channel,
        asyncio.timeout(60),
    ):
        yield channel


async def test_a_zone_with_providers(
    migrated_url: str, broker: str, unique_zone: str, provider: Any, answers: Any, tmp_path: Path
) -> None:
    def answer(asked: Any) -> Any:
        if asked.path.startswith("/intensity"):
            return answers(neso_answer(asked.path))
        if asked.path == "/login":
            return answers({"token": "t"})
        if asked.path.startswith("/v3/carbon-intensity"):
            return answers({"status": "no-data"})
        return answers(watttime_answer(asked.path, asked.query))

    provider.answer = answer
    own = {"url": provider.url}
    zones = {
        "GB": {
            "sources": [
                {"provider": "electricity_maps", "area": "GB"} | own,
                {"provider": "neso"} | own,
            ]
        },
        unique_zone: {"signal": "marginal", "sources": [{"provider": "watttime", "area": "X"} | own]},
    }
    async with polled(
        tmp_path,
        zones,
        migrated_url,
        broker,
        unique_zone,
        carbon_backfill=timedelta(hours=26),
        carbon_electricity_maps_key="key",
    ) as channel:
        stub = carbon_pb2_grpc.CarbonStub(channel)
        while await with_forecasts(stub) != {"GB", unique_zone}:  # noqa: ASYNC110 -- another task brings it about
            await asyncio.sleep(0.05)
        current = await stub.GetIntensity(carbon_pb2.GetIntensityRequest(zone="GB"))
        history = await stub.ListReadings(carbon_pb2.ListReadingsRequest(zone="GB"))
        marginal = await stub.GetIntensity(carbon_pb2.GetIntensityRequest(zone=unique_zone))
        average = await stub.ListReadings(
            carbon_pb2.ListReadingsRequest(zone=unique_zone, signal=types_pb2.SIGNAL_AVERAGE)
        )
        zone = next(each for each in (await stub.ListZones(carbon_pb2.ListZonesRequest())).zones if each.zone == "GB")
        health = health_pb2_grpc.HealthStub(channel)
        statuses = [
            (await health.Check(health_pb2.HealthCheckRequest(service=name))).status
            for name in ("GB/neso", "GB/electricity_maps:GB", f"{unique_zone}/watttime:X")
        ]
    reading = reading_from_wire(current.reading)
    assert (reading.intensity_g_per_kwh, reading.kind, reading.source) == (205, ReadingKind.FORECAST, "neso")
    assert not current.stale
    kinds = [each.kind for each in history.readings]
    assert kinds.count(types_pb2.READING_KIND_ACTUAL) >= 49
    assert reading_from_wire(marginal.reading).signal is Signal.MARGINAL
    assert 453 < marginal.reading.intensity_g_per_kwh < 456
    assert list(average.readings) == []
    serving, away = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
    assert statuses == [serving, away, serving]
    assert [(each.source, each.healthy, each.in_use) for each in zone.source_health] == [
        ("electricity_maps:GB", False, False),
        ("neso", True, True),
    ]
    assert "has no data" in zone.source_health[0].problem


async def with_forecasts(stub: Any) -> set[str]:
    """The zones that have a current reading and a forecast."""
    zones = (await stub.ListZones(carbon_pb2.ListZonesRequest())).zones
    return {
        each.zone
        for each in zones
        if each.HasField("current")
        and len((await stub.GetForecast(carbon_pb2.GetForecastRequest(zone=each.zone))).readings) > 10
    }


async def test_marginal_is_asked_beside_average_and_nothing_older_than_is_kept(
    migrated_url: str,
    broker: str,
    unique_zone: str,
    provider: Any,
    answers: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def answer(asked: Any) -> Any:
        if asked.path == "/login":
            return answers({"token": "t"})
        if asked.path.startswith("/intensity"):
            return answers(neso_answer(asked.path))
        return answers(watttime_answer(asked.path, asked.query))

    provider.answer = answer
    watttime = {"provider": "watttime", "area": "X", "url": provider.url}
    zones = {"GB": {"sources": [{"provider": "neso", "url": provider.url}, watttime]}, "US": {"sources": [watttime]}}
    async with polled(
        tmp_path,
        zones,
        migrated_url,
        broker,
        unique_zone,
        carbon_retention=timedelta(hours=12),
    ) as channel:
        stub = carbon_pb2_grpc.CarbonStub(channel)
        used: list[bool] = []
        while used != [True, True]:
            await asyncio.sleep(0.05)
            (zone,) = [
                each for each in (await stub.ListZones(carbon_pb2.ListZonesRequest())).zones if each.zone == "GB"
            ]
            used = [each.in_use for each in zone.source_health]
        signals = [
            reading_from_wire(
                (await stub.GetIntensity(carbon_pb2.GetIntensityRequest(zone="GB", signal=signal))).reading
            ).signal
            for signal in (types_pb2.SIGNAL_UNSPECIFIED, types_pb2.SIGNAL_AVERAGE, types_pb2.SIGNAL_MARGINAL)
        ]
        held = await stub.ListQuarantined(carbon_pb2.ListQuarantinedRequest())
    assert signals == [Signal.AVERAGE, Signal.AVERAGE, Signal.MARGINAL]
    assert list(held.quarantined) == []
    log = capsys.readouterr()
    told = [line for line in (log.out + log.err).splitlines() if "no source gives the signal" in line]
    assert len(told) == 1
    assert "US" in told[0]
