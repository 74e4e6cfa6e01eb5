"""PublishReading over gRPC needs the publisher's token or certificate, and the right to speak for the zone."""

import hashlib
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml

from carbon_service.service import CarbonService
from carbon_service.settings import CarbonSettings
from tradewind.messages import reading_from_wire, reading_to_wire
from tradewind.readings import Reading, ReadingKind, Signal
from tradewind.rpc.v1 import carbon_pb2, carbon_pb2_grpc

CREDENTIALS = Path(__file__).parents[3] / "deploy" / "mosquitto" / "credentials.sh"
TOKEN = "a-long-enough-secret"  # noqa: S105 # Of this test alone.


@pytest.fixture
def zones_file(tmp_path: Path, unique_zone: str) -> Path:
    path = tmp_path / "zones.yaml"
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    publishers = {"roof": {"zones": [unique_zone], "token_sha256": digest}, "cellar": {"zones": [unique_zone]}}
    path.write_text(yaml.safe_dump({"publishers": publishers}))
    return path


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("certificates")
    subprocess.run([str(CREDENTIALS), str(directory), "localhost", "cellar", "stranger"], check=True)
    return directory


@asynccontextmanager
async def service_of(database: str, broker: str, zones: Path, **options: Any) -> AsyncIterator[CarbonService]:
    settings = CarbonSettings(
        database_url=database,
        broker_url=broker,
        carbon_listen=options.pop("carbon_listen", "127.0.0.1:0"),
        carbon_client_id=f"carbon-{id(options)}",
        carbon_zones_file=zones,
        **options,
    )
    async with CarbonService(settings) as service:
        yield service


async def publish(channel: grpc.aio.Channel, publisher: str, zone: str, token: str | None = None) -> Any:
    now = datetime.now(UTC)
    reading = Reading(
        zone, now, now + timedelta(hours=1), 123.0, ReadingKind.ACTUAL, Signal.AVERAGE, "somebody-else", now
    )
    request = carbon_pb2.PublishReadingRequest(publisher=publisher, reading=reading_to_wire(reading))
    metadata = None if token is None else [("authorization", f"Bearer {token}")]
    return await carbon_pb2_grpc.CarbonStub(channel).PublishReading(request, metadata=metadata, timeout=15)


async def refused(channel: grpc.aio.Channel, *arguments: str) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await publish(channel, *arguments)
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    return caught.value.details() or ""


async def test_a_token_is_a_login(migrated_url: str, broker: str, unique_zone: str, zones_file: Path) -> None:
    async with (
        service_of(migrated_url, broker, zones_file) as service,
        grpc.aio.insecure_channel(f"127.0.0.1:{service.server.port}") as channel,
    ):
        response = await publish(channel, "roof", unique_zone, TOKEN)
        assert (response.accepted, response.verdict) == (True, "accepted")
        stub = carbon_pb2_grpc.CarbonStub(channel)
        stored = (await stub.GetIntensity(carbon_pb2.GetIntensityRequest(zone=unique_zone))).reading
        assert reading_from_wire(stored).source == "edge:roof"
        assert "not known as publisher roof" in await refused(channel, "roof", unique_zone)
        assert "not known as publisher roof" in await refused(channel, "roof", unique_zone, "a guess")
        assert "not known as publisher cellar" in await refused(channel, "cellar", unique_zone, TOKEN)
        assert "not known as publisher nobody" in await refused(channel, "nobody", unique_zone, TOKEN)
        assert "may not speak for zone" in await refused(channel, "roof", f"{unique_zone}-b", TOKEN)


async def test_a_certificate_is_a_login(
    migrated_url: str, broker: str, unique_zone: str, zones_file: Path, certificates: Path
) -> None:
    tls = {
        "tls_certificate_file": certificates / "server.pem",
        "tls_key_file": certificates / "server.key",
        "tls_client_ca_file": certificates / "ca.pem",
    }

    def channel_of(port: int, user: str | None) -> grpc.aio.Channel:
        key, certificate = None, None
        if user is not None:
            key, certificate = ((certificates / f"{user}.{end}").read_bytes() for end in ("key", "pem"))
        credentials = grpc.ssl_channel_credentials((certificates / "ca.pem").read_bytes(), key, certificate)
        return grpc.aio.secure_channel(f"localhost:{port}", credentials)

    async with service_of(migrated_url, broker, zones_file, **tls) as service:
        async with channel_of(service.server.port, "cellar") as channel:
            assert (await publish(channel, "cellar", unique_zone)).accepted
            assert "not known as publisher roof" in await refused(channel, "roof", unique_zone)
            assert (await publish(channel, "roof", unique_zone, TOKEN)).accepted
        async with channel_of(service.server.port, "stranger") as channel:
            assert "not known as publisher cellar" in await refused(channel, "cellar", unique_zone)
        async with channel_of(service.server.port, None) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await publish(channel, "cellar", unique_zone)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_without_publishers_operators_may_say_readings(
    migrated_url: str, broker: str, unique_zone: str, tmp_path: Path
) -> None:
    zones, tokens = tmp_path / "zones.yaml", tmp_path / "tokens"
    zones.write_text("{}")
    tokens.write_text(f"ana {TOKEN}\nreader a-token-that-may-only-read\n")
    async with (
        service_of(migrated_url, broker, zones, tokens_file=tokens, operators="ana") as service,
        grpc.aio.insecure_channel(f"127.0.0.1:{service.server.port}") as channel,
    ):
        assert (await publish(channel, "roof", unique_zone, TOKEN)).accepted
        assert "this is for operators" in await refused(channel, "roof", unique_zone, "a-token-that-may-only-read")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await publish(channel, "roof", unique_zone)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_beyond_this_machine_nobody_unknown_may_say_a_reading(
    migrated_url: str, broker: str, unique_zone: str, tmp_path: Path
) -> None:
    zones = tmp_path / "zones.yaml"
    zones.write_text("{}")
    everywhere = "0.0.0.0:0"
    async with (
        service_of(migrated_url, broker, zones, carbon_listen=everywhere) as service,
        grpc.aio.insecure_channel(f"127.0.0.1:{service.server.port}") as channel,
    ):
        assert "nothing tells who calls" in await refused(channel, "roof", unique_zone)
