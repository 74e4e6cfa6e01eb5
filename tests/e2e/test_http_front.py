"""Through `kill -9` of the proxy under load over HTTP: answered within recorded within executed, and nothing twice."""

import http.client
import json
import os
import random
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select

from inference_proxy.flusher import Flusher
from inference_proxy.ledger import Ledger
from inference_proxy.spool import Spool
from inference_proxy.store import ledger, unattributed
from local_stack.processes import Child
from local_stack.triton import Triton
from tests.e2e.proxy_process import proxy_process
from tests.integration.inference_proxy.stand import MODELS, settings_for
from tradewind.database import open_engine, reading
from tradewind.migrate import upgrade

KILLS = int(os.environ.get("TRADEWIND_TEST_KILLS", "5"))
CLIENTS = 4
VARIANTS = ("ident_small", "ident_medium", "ident_large")

_HTTP_PORT = re.compile(r"HTTP listening on \S+:(\d+)\s*$", re.MULTILINE)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    """A Triton that only this test calls."""
    server = Triton(tmp_path_factory.mktemp("triton"), MODELS)
    server.start()
    try:
        yield server
    finally:
        server.stop()


class Load:
    """Clients that ask again and again, whatever becomes of it, and count the answers that were whole."""

    def __init__(self, port: int) -> None:
        self._port, self._leave = port, threading.Event()
        self.answered = [0] * CLIENTS
        self._threads = [threading.Thread(target=self._ask, args=(number,), daemon=True) for number in range(CLIENTS)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._leave.set()
        for thread in self._threads:
            thread.join()

    @property
    def total(self) -> int:
        """Answers so far."""
        return sum(self.answered)

    def _ask(self, number: int) -> None:
        tensor = {"name": "INPUT", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}
        # One client asks for a stream, the others for answers.
        path, request = "infer", json.dumps({"inputs": [tensor]})
        if number == 0:
            path, request = "generate_stream", '{"INPUT":1.5}'
        while not self._leave.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)
            try:
                while not self._leave.is_set():
                    connection.request("POST", f"/v2/models/ident/{path}", request)
                    answer = connection.getresponse()
                    body = answer.read()
                    assert answer.status == 503 or b"carbon_energy_uj" in body
                    self.answered[number] += answer.status == 200
            except (OSError, http.client.HTTPException):
                continue
            finally:
                connection.close()


def executed(models: Triton) -> int:
    """Inferences by Triton's own count."""
    total = 0
    for variant in VARIANTS:
        connection = http.client.HTTPConnection(models.http, timeout=20)
        connection.request("GET", f"/v2/models/{variant}/stats")
        (row,) = json.loads(connection.getresponse().read())["model_stats"]
        total += row["inference_stats"]["success"]["count"]
        connection.close()
    return total


def recorded(engine: Engine) -> int:
    """Inferences in the ledger."""
    with reading(engine) as connection:
        return sum(
            connection.execute(select(func.coalesce(func.sum(table.c.inferences), 0))).scalar_one()
            for table in (ledger, unattributed)
        )


def http_port(proxy: Child) -> int:
    """The port that it says it has for HTTP."""

    def said() -> int | None:
        match = _HTTP_PORT.search(proxy.output.read_text(encoding="utf-8"))
        return int(match[1]) if match else None

    return proxy.wait_until(said, timeout_s=30, what="say its HTTP port")


def test_answered_within_recorded_within_executed(
    models: Triton, tmp_path: Path, sqlite_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    upgrade(sqlite_url)
    settings = settings_for(tmp_path, sqlite_url, proxy_triton_grpc=models.grpc, proxy_triton_http=models.http)
    before, chance = executed(models), random.Random(7)
    running: Child = proxy_process(settings, tmp_path)
    running.start()
    port = http_port(running)
    proxy_again = proxy_process(settings.model_copy(update={"proxy_http_listen": f"127.0.0.1:{port}"}), tmp_path)
    try:
        with Load(port) as load:
            for _ in range(KILLS):
                wanted = load.total + chance.randint(20, 150)
                running.wait_until(lambda wanted=wanted: load.total >= wanted, timeout_s=60, what="answer")  # type: ignore[misc]
                running.kill()
                running = proxy_again
                running.start()
                http_port(running)
            wanted = load.total + 50
            running.wait_until(lambda: load.total >= wanted, timeout_s=60, what="answer")
        answered = load.total
        running.kill()
    finally:
        running.stop()

    engine = open_engine(sqlite_url)
    spool = Spool(settings.proxy_spool_directory, settings.proxy_segment_bytes)
    spool.open()
    flusher = Flusher(spool, Ledger(engine), interval_s=1)
    flusher.flush()
    stored, done = recorded(engine), executed(models) - before
    assert flusher.flush() == 0
    assert recorded(engine) == stored
    spool.close()
    engine.dispose()

    with capsys.disabled():
        print(f"\n  {KILLS} kills -9 over HTTP: answered {answered} <= recorded {stored} <= executed {done}")
    assert answered <= stored <= done
    # A kill costs at most what was in flight, and what the next life was started with.
    assert stored - answered <= (KILLS + 1) * CLIENTS
