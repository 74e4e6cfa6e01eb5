"""`python -m selector_service` as an operator meets it: one line when it serves, one sentence when it cannot."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from local_stack.ports import free_ports
from local_stack.processes import Child
from tests.integration.selector_service.parts import CATALOGUE
from tradewind.migrate import upgrade
from tradewind.rpc.v1 import selector_pb2, selector_pb2_grpc

WORSE = """      worse: {energy_mj: {value: 900, provenance: published}, error: {value: 9, provenance: published}}
  digits:"""
PROGRAM = [sys.executable, "-m", "selector_service"]


def environment(database_url: str, broker_url: str, **settings: str) -> dict[str, str]:
    """This process's own, with these settings and no others of ours."""
    own = {key: value for key, value in os.environ.items() if not key.startswith("TRADEWIND_")}
    said = {"DATABASE_URL": database_url, "BROKER_URL": broker_url, "SELECTOR_LISTEN": "127.0.0.1:0", **settings}
    return own | {f"TRADEWIND_{key}": value for key, value in said.items()}


@contextmanager
def selector(directory: Path, settings: dict[str, str]) -> Iterator[tuple[Child, int]]:
    child = Child("selector_service", PROGRAM, directory, settings)
    child.start()
    try:
        yield child, child.wait_listening()
    finally:
        child.stop()


def test_it_serves_says_its_port_and_ends_when_asked(tmp_path: Path, sqlite_url: str, broker: str) -> None:
    upgrade(sqlite_url)
    catalogue = tmp_path / "catalogue.yaml"
    catalogue.write_text(
        CATALOGUE.replace("[small, middle, large]", "[small, middle, large, worse]").replace("  digits:", WORSE)
    )
    (metrics_port,) = free_ports(1)
    settings = environment(
        sqlite_url,
        broker,
        CATALOGUE=str(catalogue),
        SELECTOR_ZONES="GB",
        SELECTOR_METRICS_PORT=str(metrics_port),
        CARBON_LISTEN="not ours",
    )
    with selector(tmp_path, settings) as (child, port):
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
            assert health.status == health_pb2.HealthCheckResponse.SERVING
            stub = selector_pb2_grpc.SelectorStub(channel)
            answer = stub.Decide(selector_pb2.DecideRequest(zone="GB", family="resnet"), timeout=10)
            assert answer.decision.reason == selector_pb2.DECISION_REASON_NO_READING
        text = httpx.get(f"http://127.0.0.1:{metrics_port}/metrics").text
        assert 'tradewind_decisions_total{family="resnet",reason="no_reading",variant="small"} 1.0' in text
        child.stop(deadline_s=20)
        assert child.output.read_text().strip() == f"selector_service listening on 127.0.0.1:{port}"
        assert "worse is dominated by" in child.log.read_text()
        assert "Traceback" not in child.log.read_text()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({}, r"is not migrated"),
        ({"SELECTOR_POLICY": "best"}, r"policy 'best' is unknown"),
        ({"SELECTOR_WINDOW": "soon"}, r"TRADEWIND_SELECTOR_WINDOW"),
        ({"SELECTOR_WIDTH": "1h"}, r"TRADEWIND_SELECTOR_WIDTH: unknown setting"),
        ({"CATALOGUE": "/nowhere/at/all.yaml"}, r"/nowhere/at/all.yaml: cannot be read"),
        ({"BROKER_URL": "http://x"}, r"mqtt://"),
        ({"DATABASE_URL": "mysql://x"}, r"TRADEWIND_DATABASE_URL names mysql"),
    ],
)
def test_what_keeps_it_from_starting_is_one_sentence(
    sqlite_url: str, broker: str, settings: dict[str, str], says: str
) -> None:
    if "BROKER_URL" in settings:
        upgrade(sqlite_url)
    ended = subprocess.run(
        PROGRAM,
        env=environment(sqlite_url, broker) | {f"TRADEWIND_{key}": value for key, value in settings.items()},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2
    (sentence,) = ended.stderr.strip().splitlines()
    assert sentence.startswith("selector_service: ")
    assert says in sentence
    assert ended.stdout == ""
