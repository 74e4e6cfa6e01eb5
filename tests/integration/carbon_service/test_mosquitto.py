"""The shipped Mosquitto configuration, on a real Mosquitto: who may say what, and the trace that an attempt leaves."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from carbon_service.service import CarbonService
from carbon_service.settings import CarbonSettings
from local_stack.ports import free_ports, listens
from local_stack.processes import Child
from tradewind import topics
from tradewind.bus import BrokerAddress, Bus, parse_broker_url
from tradewind.errors import NotPermitted
from tradewind.readings import Reading, ReadingKind, Signal, to_json
from tradewind.rpc.v1 import carbon_pb2, carbon_pb2_grpc

DEPLOY = Path(__file__).parents[3] / "deploy" / "mosquitto"
WAIT_S = 15.0


@dataclass
class Deployment:
    """A Mosquitto with the shipped files, on free ports."""

    child: Child
    credentials: Path
    plain: int
    passwords: int
    certificates: int

    def password(self, user: str) -> str:
        """The password that the script made."""
        return (self.credentials / f"{user}.password").read_text().strip()

    def url(self, user: str) -> str:
        """Where and how a user signs in without TLS."""
        return f"mqtt://{user}:{self.password(user)}@127.0.0.1:{self.plain}"

    @property
    def log(self) -> str:
        """What the broker has logged."""
        return self.child.output.read_text(errors="replace") + self.child.log.read_text(errors="replace")

    async def logged(self, *words: str) -> None:
        """Returns once one line of the broker's log has all the words."""
        async with asyncio.timeout(WAIT_S):
            while not any(all(word in line for word in words) for line in self.log.splitlines()):  # noqa: ASYNC110
                await asyncio.sleep(0.02)


LONG_NAME = "a-meter-whose-name-is-as-long-as-the-name-of-a-publisher-may-be."


def make_credentials(directory: Path, *publishers: str) -> None:
    subprocess.run([str(DEPLOY / "credentials.sh"), str(directory), "localhost", *publishers], check=True)


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    directory = tmp_path_factory.mktemp("mosquitto")
    credentials = directory / "credentials"
    make_credentials(credentials, "roof", "cellar", LONG_NAME)
    (directory / "data").mkdir()
    ports = free_ports(3)
    text = (DEPLOY / "mosquitto.conf").read_text()
    for shipped, port in zip(("1883", "8883", "8884"), ports, strict=True):
        assert f"\nlistener {shipped}\n" in text
        text = text.replace(f"\nlistener {shipped}\n", f"\nlistener {port} 127.0.0.1\n")
    text = text.replace("/mosquitto/config/acl", str(DEPLOY / "acl"))
    text = text.replace("/mosquitto/credentials", str(credentials)).replace("/mosquitto/data", str(directory / "data"))
    config = directory / "mosquitto.conf"
    config.write_text(text + "\nuser root\n")
    child = Child("mosquitto", ["/usr/sbin/mosquitto", "-c", str(config)], directory)
    try:
        child.start()
        child.wait_until(lambda: all(listens(child.pid, port) for port in ports), timeout_s=20, what="listen")
        yield Deployment(child, credentials, *ports)
    finally:
        child.stop()


@dataclass
class Client:
    """An edge publisher, as a small program would be one."""

    client: mqtt.Client
    connected: list[str] = field(default_factory=list)
    acknowledged: list[str] = field(default_factory=list)
    disconnected: list[str] = field(default_factory=list)

    async def say(self, topic: str, payload: bytes | str, *, retain: bool = False) -> str:
        """What the broker answers to a publish."""
        before = len(self.acknowledged)
        self.client.publish(topic, payload, qos=1, retain=retain)
        await until(lambda: len(self.acknowledged) > before or bool(self.disconnected))
        return self.acknowledged[-1] if len(self.acknowledged) > before else self.disconnected[-1]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110 # Paho's thread sets it.
            await asyncio.sleep(0.01)


@contextmanager
def client(
    port: int,
    *,
    user: str | None = None,
    password: str | None = None,
    tls: dict[str, Any] | None = None,
    protocol: MQTTProtocolVersion = MQTTProtocolVersion.MQTTv5,
) -> Iterator[Client]:
    raw = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=protocol)
    made = Client(raw)
    raw.on_connect = lambda _client, _data, _flags, reason, _props: made.connected.append(str(reason))
    raw.on_publish = lambda _client, _data, _mid, reason, _props: made.acknowledged.append(str(reason))
    raw.on_disconnect = lambda _client, _data, _flags, reason, _props: made.disconnected.append(str(reason))
    if user is not None:
        raw.username_pw_set(user, password)
    if tls is not None:
        raw.tls_set(**tls)
    raw.connect_async("localhost" if tls else "127.0.0.1", port)
    raw.loop_start()
    try:
        yield made
    finally:
        raw.disconnect()
        raw.loop_stop()


def tls_of(deployment: Deployment, user: str | None = None) -> dict[str, Any]:
    files = {"ca_certs": str(deployment.credentials / "ca.pem")}
    if user is not None:
        files |= {
            "certfile": str(deployment.credentials / f"{user}.pem"),
            "keyfile": str(deployment.credentials / f"{user}.key"),
        }
    return files


@asynccontextmanager
async def carbon_service(deployment: Deployment, database: str, **options: Any) -> AsyncIterator[CarbonService]:
    settings = CarbonSettings(
        database_url=database,
        broker_url=deployment.url("carbon_service"),
        carbon_listen="127.0.0.1:0",
        carbon_client_id=f"carbon-{id(options)}",
        **options,
    )
    async with CarbonService(settings) as service, asyncio.timeout(60):
        await service.bus.subscribed.wait()
        yield service


async def quarantined(service: CarbonService, zone: str, count: int) -> list[Any]:
    """What is in quarantine, once there is that much."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{service.server.port}") as channel:
        stub = carbon_pb2_grpc.CarbonStub(channel)
        async with asyncio.timeout(WAIT_S):
            while True:
                rows = (await stub.ListQuarantined(carbon_pb2.ListQuarantinedRequest(zone=zone))).quarantined
                if len(rows) >= count:
                    return list(rows)
                await asyncio.sleep(0.02)


async def reading_of(service: CarbonService, zone: str) -> Reading:
    from tradewind.messages import reading_from_wire

    async with grpc.aio.insecure_channel(f"127.0.0.1:{service.server.port}") as channel:
        stub = carbon_pb2_grpc.CarbonStub(channel)
        async with asyncio.timeout(WAIT_S):
            while True:
                try:
                    response = await stub.GetIntensity(carbon_pb2.GetIntensityRequest(zone=zone))
                    return reading_from_wire(response.reading)
                except grpc.aio.AioRpcError as error:
                    if error.code() is not grpc.StatusCode.NOT_FOUND:
                        raise
                await asyncio.sleep(0.02)


@pytest.mark.parametrize("protocol", [MQTTProtocolVersion.MQTTv311, MQTTProtocolVersion.MQTTv5])
async def test_a_bare_number_with_user_and_password_over_tls(
    deployment: Deployment, migrated_url: str, unique_zone: str, protocol: MQTTProtocolVersion
) -> None:
    async with carbon_service(deployment, migrated_url) as service:
        password, tls = deployment.password("roof"), tls_of(deployment)
        with client(deployment.passwords, user="roof", password=password, tls=tls, protocol=protocol) as roof:
            assert await roof.say(topics.observation("roof", unique_zone), "212.5") == "Success"
        reading = await reading_of(service, unique_zone)
    assert (reading.intensity_g_per_kwh, reading.source) == (212.5, "edge:roof")


async def test_the_microcontrollers_example(deployment: Deployment, migrated_url: str, unique_zone: str) -> None:
    program = [sys.executable, str(DEPLOY.parent / "edge" / "meter.py"), "127.0.0.1", str(deployment.plain)]
    async with carbon_service(deployment, migrated_url) as service:
        process = await asyncio.create_subprocess_exec(
            *program, "roof", deployment.password("roof"), unique_zone, "212.5"
        )
        assert await process.wait() == 0
        assert (await reading_of(service, unique_zone)).intensity_g_per_kwh == 212.5
        process = await asyncio.create_subprocess_exec(
            *program, LONG_NAME, deployment.password(LONG_NAME), unique_zone, "213.5"
        )
        assert await process.wait() == 0
        while (await reading_of(service, unique_zone)).source != f"edge:{LONG_NAME}":  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        process = await asyncio.create_subprocess_exec(
            *program, "roof", "a guess", unique_zone, "1", stderr=asyncio.subprocess.PIPE
        )
        assert b"refuses the login" in (await process.communicate())[1]


async def test_the_command_signs_in_as_its_user(deployment: Deployment, migrated_url: str, unique_zone: str) -> None:
    async with carbon_service(deployment, migrated_url) as service:
        process = await asyncio.create_subprocess_exec(
            *(
                sys.executable,
                "-c",
                "from tradewind.cli import main; main()",
                "publish",
                "--zone",
                unique_zone,
                "212.512345",
            ),
            env={**os.environ, "TRADEWIND_BROKER_URL": deployment.url("roof")},
        )
        assert await process.wait() == 0
        reading = await reading_of(service, unique_zone)
        assert (reading.source, reading.intensity_g_per_kwh) == ("edge:roof", 212.512345)


async def test_a_certificate_is_a_login(deployment: Deployment, migrated_url: str, unique_zone: str) -> None:
    async with carbon_service(deployment, migrated_url) as service:
        with client(deployment.certificates, tls=tls_of(deployment, "cellar")) as cellar:
            assert await cellar.say(topics.observation("cellar", unique_zone), "99") == "Success"
            assert await cellar.say(topics.observation("roof", unique_zone), "98") == "Not authorized"
        reading = await reading_of(service, unique_zone)
    assert reading.source == "edge:cellar"
    await deployment.logged("Denied PUBLISH", f"observations/roof/{unique_zone}")


@pytest.mark.parametrize(
    "topic",
    [
        "carbon/v1/observations/cellar/Z",
        "carbon/v1/zones/Z/intensity",
        "carbon/v1/zones/Z/revisions",
        "carbon/v1/zones/Z/forecast",
        "carbon/v1/decisions/Z/resnet",
        "carbon/v1/services/carbon_service/status",
        "carbon/v1/observations/roof/Z/deeper",  # Nobody reads it: it would be lost without a trace.
        "carbon/v1/observations/roof",
        "somewhere/else",
    ],
)
async def test_nobody_speaks_for_another_or_for_the_services(
    deployment: Deployment, unique_zone: str, topic: str
) -> None:
    topic = topic.replace("/Z", f"/{unique_zone}")
    address = BrokerAddress("127.0.0.1", deployment.plain, "monitor", deployment.password("monitor"))
    watcher = Bus(address, f"w-{unique_zone}", subscriptions=[topic, topics.intensity(f"{unique_zone}-mark")])
    carbon = Bus(parse_broker_url(deployment.url("carbon_service")), f"c-{unique_zone}")
    async with asyncio.timeout(WAIT_S):
        for bus in (watcher, carbon):
            bus.start()
            await bus.connected.wait()
    with client(
        deployment.passwords, user="roof", password=deployment.password("roof"), tls=tls_of(deployment)
    ) as roof:
        assert await roof.say(topic, "1", retain=True) == "Not authorized"
    await deployment.logged("Denied PUBLISH", f"'{topic}'")
    # What the watcher is told next comes after whatever the broker let through.
    await carbon.publish(topics.intensity(f"{unique_zone}-mark"), "mark")
    async with asyncio.timeout(WAIT_S):
        heard: list[bytes] = []
        while b"mark" not in heard:
            heard += [each.payload for each in await watcher.messages()]
    assert b"1" not in heard
    await carbon.stop()
    await watcher.stop()


@pytest.mark.parametrize(("user", "password"), [(None, None), ("roof", "guess"), ("stranger", "x"), ("roof", "")])
async def test_nobody_comes_in_without_a_login(deployment: Deployment, user: str | None, password: str | None) -> None:
    with client(deployment.plain, user=user, password=password) as stranger:
        await until(lambda: bool(stranger.connected))
        assert stranger.connected[0] in {"Not authorized", "Bad user name or password"}
    await deployment.logged("not authorised")


async def test_nobody_comes_in_without_a_certificate_where_one_is_asked_for(deployment: Deployment) -> None:
    with client(deployment.certificates, tls=tls_of(deployment)) as stranger:
        await deployment.logged("peer did not return a certificate")
        assert stranger.connected == []


async def test_an_authority_of_somebody_elses_is_not_believed(deployment: Deployment, tmp_path: Path) -> None:
    await asyncio.to_thread(make_credentials, tmp_path / "own", "roof")
    files = tls_of(deployment) | {
        "certfile": str(tmp_path / "own" / "roof.pem"),
        "keyfile": str(tmp_path / "own" / "roof.key"),
    }
    with client(deployment.certificates, tls=files) as stranger:
        await deployment.logged("OpenSSL Error", "certificate verify failed")
        assert stranger.connected == []


async def test_payloads_that_would_do_harm_end_in_quarantine(
    deployment: Deployment, migrated_url: str, unique_zone: str
) -> None:
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    future = Reading(
        unique_zone, tomorrow, tomorrow + timedelta(hours=1), 50.0, ReadingKind.ACTUAL, Signal.AVERAGE, "x", tomorrow
    )
    topic = topics.observation("roof", unique_zone)
    async with carbon_service(deployment, migrated_url) as service:
        with client(deployment.plain, user="roof", password=deployment.password("roof")) as roof:
            await roof.say(topic, b"\xff\xfe\x00\x01")
            await roof.say(topic, to_json(future))
            await roof.say(topic, "60", retain=True)
            await roof.say(topic, b"1" * 20_000)
            await roof.say(topic, "200")
        assert (await reading_of(service, unique_zone)).intensity_g_per_kwh == 200
        rows = await quarantined(service, unique_zone, 4)
    assert sorted(row.reason for row in rows) == ["from_future", "not_a_reading", "retained", "too_large"]
    assert all(row.explanation and row.source == "edge:roof" for row in rows)


async def test_a_message_beyond_the_brokers_limit_goes_no_further(deployment: Deployment, unique_zone: str) -> None:
    with client(deployment.plain, user="roof", password=deployment.password("roof")) as roof:
        answer = await roof.say(topics.observation("roof", unique_zone), b"1" * 300_000)
    assert answer != "Success"
    await deployment.logged("oversize packet")


async def test_only_listed_zones_are_believed(
    deployment: Deployment, migrated_url: str, unique_zone: str, tmp_path: Path
) -> None:
    zones = tmp_path / "zones.yaml"
    zones.write_text(json.dumps({"publishers": {"roof": {"zones": [unique_zone]}}}))
    async with carbon_service(deployment, migrated_url, carbon_zones_file=zones) as service:
        with client(deployment.plain, user="roof", password=deployment.password("roof")) as roof:
            await roof.say(topics.observation("roof", f"{unique_zone}-b"), "100")
            await roof.say(topics.observation("roof", unique_zone), "200")
        await reading_of(service, unique_zone)
        (row,) = await quarantined(service, f"{unique_zone}-b", 1)
    assert row.reason == "not_permitted"


async def test_the_bus_speaks_tls_with_a_certificate(deployment: Deployment, unique_zone: str) -> None:
    address = BrokerAddress(
        "localhost",
        deployment.certificates,
        tls=True,
        ca_file=str(deployment.credentials / "ca.pem"),
        certificate_file=str(deployment.credentials / "roof.pem"),
        key_file=str(deployment.credentials / "roof.key"),
    )
    bus = Bus(address, f"tls-{unique_zone}")
    bus.start()
    async with asyncio.timeout(WAIT_S):
        await bus.connected.wait()
        await bus.publish(topics.observation("roof", unique_zone), "100")
        with pytest.raises(NotPermitted, match="refuses what this login says on carbon/v1/zones"):
            await bus.publish(topics.intensity(unique_zone), "100")
    await bus.stop()
