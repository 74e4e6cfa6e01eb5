"""Selector, broker and database are killed under load: no inference fails, and decisions follow when they return."""

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import paho.mqtt.publish as mqtt_publish
import pytest
import tritonclient.grpc as triton_client
from paho.mqtt.enums import MQTTProtocolVersion
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError
from tritonclient.grpc import service_pb2_grpc

from inference_proxy.store import ledger, unattributed
from local_stack.broker import Broker
from local_stack.postgres import Postgres
from local_stack.services import Service
from local_stack.triton import Triton
from tests.integration.inference_proxy.stand import CATALOGUE, MODELS, infer_request, receipt_of
from tradewind import topics
from tradewind.database import open_engine, reading
from tradewind.migrate import upgrade
from tradewind.readings import Reading, ReadingKind, Signal, to_json

ZONE = "GB"
PATIENCE_S = 60


class Client:
    """An unmodified tritonclient that asks for the family all the time; any failure is kept."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._leave = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self.answers = 0
        self.variant = ""
        self.failures: list[str] = []

    def __enter__(self) -> "Client":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._leave.set()
        self._thread.join()

    def _ask(self) -> None:
        client = triton_client.InferenceServerClient(self._address)
        tensor = triton_client.InferInput("INPUT", [1, 2], "FP32")
        tensor.set_data_from_numpy(np.ones((1, 2), np.float32))
        while not self._leave.is_set():
            try:
                answer = client.infer("ident", [tensor], client_timeout=20).get_response()
            except Exception as error:
                self.failures.append(str(error))
                continue
            self.answers += 1
            self.variant = answer.parameters["carbon_variant"].string_param
        client.close()


def until(condition: Callable[[], bool], what: str) -> None:
    """Waits for a condition of other processes."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


@pytest.fixture
def broker(own_broker: Broker) -> Broker:
    """A broker to kill."""
    return own_broker


@pytest.fixture
def services(broker: Broker, own_postgres: Postgres, tmp_path: Path) -> Iterator[tuple[Service, Service, str]]:
    """Selector and proxy as processes, and their database."""
    url = own_postgres.create_database("outages")
    upgrade(url)
    catalogue = tmp_path / "catalogue.yaml"
    catalogue.write_text(CATALOGUE, encoding="utf-8")
    common = {
        "TRADEWIND_DATABASE_URL": url,
        "TRADEWIND_BROKER_URL": broker.url,
        "TRADEWIND_CATALOGUE": str(catalogue),
    }
    triton = Triton(tmp_path, MODELS)
    triton.start()
    selector = Service(
        "selector_service", tmp_path, common | {"TRADEWIND_SELECTOR_ZONES": ZONE}, "TRADEWIND_SELECTOR_LISTEN"
    )
    started: list[Service] = [selector]
    try:
        selector.start()
        proxy = Service(
            "inference_proxy",
            tmp_path,
            common
            | {
                "TRADEWIND_PROXY_TRITON_GRPC": triton.grpc,
                "TRADEWIND_PROXY_TRITON_HTTP": triton.http,
                "TRADEWIND_PROXY_SELECTOR": selector.address,
                "TRADEWIND_PROXY_ZONE": ZONE,
                "TRADEWIND_PROXY_SPOOL_DIRECTORY": str(tmp_path / "spool"),
                "TRADEWIND_PROXY_HTTP_LISTEN": "127.0.0.1:0",
                "TRADEWIND_PROXY_METRICS_PORT": "0",
                "TRADEWIND_PROXY_FLUSH_INTERVAL": "100ms",
            },
            "TRADEWIND_PROXY_LISTEN",
        )
        started.append(proxy)
        proxy.start()
        yield selector, proxy, url
    finally:
        for service in reversed(started):
            service.stop()
        triton.stop()


def receipt(address: str) -> dict[str, Any]:
    """What one more inference cost."""
    with grpc.insecure_channel(address) as channel:
        stub: Any = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        return receipt_of(stub.ModelInfer(infer_request("ident"), timeout=20, wait_for_ready=True))


class Grid:
    """Says intensities as the carbon service would: retained, one interval after the other."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def say(self, value: float) -> None:
        """A reading that holds from now on."""
        begins = datetime.now(UTC)
        said = Reading(
            zone=ZONE,
            valid_from=begins,
            valid_to=begins + timedelta(minutes=30),
            intensity_g_per_kwh=value,
            kind=ReadingKind.ACTUAL,
            signal=Signal.AVERAGE,
            source="test",
            published_at=begins,
        )
        mqtt_publish.single(
            topics.intensity(ZONE),
            to_json(said),
            qos=1,
            retain=True,
            hostname="127.0.0.1",
            port=self._broker.port,
            protocol=MQTTProtocolVersion.MQTTv5,
        )


def test_no_inference_fails_while_selector_broker_and_database_are_away(
    services: tuple[Service, Service, str],
    broker: Broker,
    own_postgres: Postgres,
    capsys: pytest.CaptureFixture[str],
) -> None:
    selector, proxy, url = services
    grid = Grid(broker)
    with Client(proxy.address) as client:

        def served_after_saying(value: float, variant: str) -> None:
            grid.say(value)
            until(lambda: client.variant == variant, f"{variant} never served, but {client.variant}")

        def goes_on() -> None:
            wanted = client.answers + 30
            until(lambda: client.answers >= wanted, "inference stopped")

        until(lambda: client.variant == "small", "the fallback never served")
        grid.say(100.0)
        served_after_saying(300.0, "small")
        served_after_saying(100.0, "large")

        selector.child.kill()
        goes_on()
        assert client.variant == "large"
        selector.start()
        served_after_saying(300.0, "small")

        broker.child.kill()
        goes_on()
        broker.start()
        served_after_saying(100.0, "large")

        own_postgres.child.kill()
        goes_on()
        own_postgres.start()
        served_after_saying(300.0, "small")
    assert client.failures == []
    before = receipt(proxy.address)
    selector.child.kill()
    proxy.child.kill()
    killed = time.monotonic()
    proxy.start()
    away_s = int(time.monotonic() - killed)
    after = receipt(proxy.address)
    assert (after["carbon_variant"], after["carbon_decision"]) == ("small", before["carbon_decision"])
    assert "carbon_fallback" not in after
    assert after["carbon_decision_age_s"] >= before["carbon_decision_age_s"] + away_s
    asked = client.answers + 2

    engine = open_engine(url)

    def recorded() -> int:
        try:
            with reading(engine) as connection:
                return sum(
                    connection.execute(select(func.coalesce(func.sum(table.c.inferences), 0))).scalar_one()
                    for table in (ledger, unattributed)
                )
        except SQLAlchemyError:
            return -1

    until(lambda: recorded() == asked, "the ledger never had it all")
    engine.dispose()
    with capsys.disabled():
        print(f"\n  {asked} inferences through three outages and a kill -9, none failed, all in the ledger")
