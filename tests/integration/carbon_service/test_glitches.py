"""A season with glitches, said on the bus: what is a glitch stays out, what lasts comes in, blanks and zeros never."""

import asyncio
import json
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import yaml

from carbon_service.service import CarbonService
from carbon_service.settings import CarbonSettings
from tradewind import topics
from tradewind.bus import Bus, parse_broker_url
from tradewind.rpc.v1 import carbon_pb2, carbon_pb2_grpc

SPEED = 1440.0
HALF_HOUR = timedelta(minutes=30) / SPEED
DAYS = 20


def season() -> list[float | None]:
    """A swinging grid of half-hours, with what a year of a real one showed: zeros, blanks, glitches and a new level."""
    values: list[float | None] = [
        190 + 60 * math.sin(period / 7.6) + 15 * math.sin(period / 61) for period in range(48 * DAYS)
    ]
    values[200] = 0.0
    values[400:404] = [0.0] * 4
    values[300:305] = [None] * 5
    values[250] = 20.0  # One interval far below.
    values[500] = 1500.0  # One interval far above.
    pounds = values[600]
    assert pounds is not None
    values[600] = pounds * 2.2046
    values[700:760] = [35.0 + period % 3 for period in range(60)]  # A new level, that lasts.
    return values


async def test_glitches_on_the_bus(migrated_url: str, broker: str, unique_zone: str, tmp_path: Path) -> None:
    values = season()
    zones = tmp_path / "zones.yaml"
    gate = {"recent": f"{86_400 / SPEED}s", "history": f"{7 * 86_400 / SPEED}s"}
    zones.write_text(yaml.safe_dump({"zones": {unique_zone: {"gate": gate}}}))
    settings = CarbonSettings(
        database_url=migrated_url,
        broker_url=broker,
        carbon_listen="127.0.0.1:0",
        carbon_client_id=unique_zone,
        carbon_zones_file=zones,
    )
    start = datetime.now(UTC) - HALF_HOUR * (len(values) + 1)
    async with CarbonService(settings) as service, asyncio.timeout(60):
        await service.bus.subscribed.wait()
        bus = Bus(parse_broker_url(broker), f"p-{unique_zone}")
        bus.start()
        await bus.connected.wait()
        for period, value in enumerate(values):
            begin = start + HALF_HOUR * period
            said = {
                "intensity_g_per_kwh": value,
                "valid_from": begin.isoformat(),
                "valid_to": (begin + HALF_HOUR).isoformat(),
                "recorded_at": (datetime(2023, 1, 1, tzinfo=UTC) + timedelta(minutes=30) * period).isoformat(),
            }
            await bus.publish(topics.observation("roof", unique_zone), json.dumps(said))
        zone, rows = await settled(service, unique_zone, len(values))
        await bus.stop()
    held = [row for row in rows if not row.HasField("released_at")]
    assert sorted(row.reason for row in held) == ["blank"] * 5 + ["jump"] * 3 + ["zero"] * 5
    assert zone.readings == len(values) - 13
    released = [row for row in rows if row.HasField("released_at")]
    assert {row.reason for row in released} == {"jump"}
    assert all('"intensity_g_per_kwh": 3' in row.excerpt for row in released)
    assert all("it lasted 1 interval" in row.explanation for row in held if row.reason == "jump")


async def settled(service: CarbonService, name: str, count: int) -> tuple[Any, list[Any]]:
    """The zone and its quarantine, once every row is either a reading or held back."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{service.server.port}") as channel:
        stub = carbon_pb2_grpc.CarbonStub(channel)
        while True:
            zones = {each.zone: each for each in (await stub.ListZones(carbon_pb2.ListZonesRequest())).zones}
            if name in zones and zones[name].readings + zones[name].quarantined == count:
                response = await stub.ListQuarantined(carbon_pb2.ListQuarantinedRequest(zone=name))
                return zones[name], list(response.quarantined)
            await asyncio.sleep(0.05)
