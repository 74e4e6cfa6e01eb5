"""The carbon service as a process: how it refuses to start, and what a kill in the middle of a replay changes."""

import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import grpc
import pytest

from local_stack.processes import Child
from tradewind.messages import reading_from_wire
from tradewind.readings import Reading
from tradewind.rpc.v1 import carbon_pb2, carbon_pb2_grpc

PROGRAM = [sys.executable, "-m", "carbon_service"]


def environment(**fields: object) -> Mapping[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TRADEWIND_")}
    return inherited | {f"TRADEWIND_{name.upper()}": str(value) for name, value in fields.items()}


def trace(path: Path, rows: int) -> Path:
    start = datetime(2023, 6, 1, tzinfo=UTC)
    lines = [f"{(start + row * timedelta(minutes=30)).isoformat()},{200 + row % 7}" for row in range(rows)]
    path.write_text("\n".join(["from,actual", *lines, ""]))
    return path


def run(**fields: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(PROGRAM, env=environment(**fields), capture_output=True, text=True, timeout=60, check=False)


def test_a_database_that_is_not_migrated(sqlite_url: str) -> None:
    done = run(database_url=sqlite_url, carbon_listen="127.0.0.1:0")
    assert done.returncode == 2
    assert "is not migrated" in done.stderr
    assert "tradewind migrate" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read"),
        ("", "has no rows"),
        ("from,actual\n2023-06-01T00:00Z,12 g\n", "line 2, column actual: '12 g' is not a number"),
        ("from,actual\n2023-06-01T00:00Z,12\nyesterday,13\n", "line 3, column from: 'yesterday' is not a time"),
    ],
)
def test_a_csv_that_is_broken(migrated_url: str, tmp_path: Path, content: str | None, words: str) -> None:
    path = tmp_path / "day.csv"
    if content is not None:
        path.write_text(content)
    done = run(database_url=migrated_url, carbon_listen="127.0.0.1:0", carbon_replay_file=path)
    assert done.returncode == 2
    assert str(path) in done.stderr
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("field", ["carbon_listen", "carbon_metrics_port"])
def test_a_port_in_use(migrated_url: str, field: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        own = {"carbon_listen": f"127.0.0.1:{port}"} if field == "carbon_listen" else {field: port}
        done = run(**{"database_url": migrated_url, "carbon_listen": "127.0.0.1:0"} | own)
    assert done.returncode == 2
    assert str(port) in done.stderr
    assert "in use" in done.stderr


async def readings(port: int, zone: str) -> list[Reading]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = carbon_pb2_grpc.CarbonStub(channel)
        response = await stub.ListReadings(carbon_pb2.ListReadingsRequest(zone=zone), wait_for_ready=True, timeout=20)
    return [reading_from_wire(each) for each in response.readings]


async def test_a_killed_replay_goes_on_where_it_was(
    migrated_url: str, broker: str, unique_zone: str, tmp_path: Path
) -> None:
    fields = environment(
        database_url=migrated_url,
        broker_url=broker,
        carbon_listen="127.0.0.1:0",
        carbon_client_id=unique_zone,
        carbon_replay_file=trace(tmp_path / "day.csv", 400),
        carbon_replay_zone=unique_zone,
        carbon_replay_speed=7200,
    )
    child = Child("carbon_service", PROGRAM, tmp_path, fields)
    try:
        child.start()
        before = await readings(child.wait_listening(), unique_zone)
        child.kill()
        child.start()
        after = await readings(child.wait_listening(), unique_zone)
    finally:
        child.stop()
    assert after[: len(before)] == before
    assert len(after) > len(before) >= 48
    steps = {later.valid_from - earlier.valid_from for earlier, later in pairwise(after)}
    assert steps == {timedelta(minutes=30) / 7200}
    assert child.output.read_text().startswith("carbon_service listening on 127.0.0.1:")
