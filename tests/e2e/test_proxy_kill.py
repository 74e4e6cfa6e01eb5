"""Through `kill -9` of the proxy under load: answered within recorded within executed, and nothing twice."""

import os
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from sqlalchemy import Engine, func, select
from tritonclient.grpc import service_pb2, service_pb2_grpc

from inference_proxy.flusher import Flusher
from inference_proxy.ledger import Ledger
from inference_proxy.spool import Spool
from inference_proxy.store import ledger, unattributed
from local_stack.processes import Child
from local_stack.triton import Triton
from tests.e2e.proxy_process import proxy_process
from tests.integration.inference_proxy.stand import MODELS, infer_request, settings_for
from tradewind.database import open_engine, reading
from tradewind.migrate import upgrade

KILLS = int(os.environ.get("TRADEWIND_TEST_KILLS", "4"))
"""More are for those who have the time."""
CLIENTS = 4


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
    """Clients that ask the proxy again and again, whatever becomes of it, and count the answers."""

    def __init__(self, address: str) -> None:
        self._address, self._leave = address, threading.Event()
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
        options = [("grpc.max_reconnect_backoff_ms", 50), ("grpc.initial_reconnect_backoff_ms", 50)]
        request = infer_request("ident")
        with grpc.insecure_channel(self._address, options=options) as channel:
            stub: Any = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            while not self._leave.is_set():
                try:
                    stub.ModelInfer(request, timeout=20)
                except grpc.RpcError:
                    continue
                self.answered[number] += 1


def executed(models: Triton) -> int:
    """Inferences by Triton's own count."""
    with grpc.insecure_channel(models.grpc) as channel:
        stats = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelStatistics(service_pb2.ModelStatisticsRequest())
    return sum(each.inference_stats.success.count for each in stats.model_stats if each.name.startswith("ident"))


def recorded(engine: Engine) -> int:
    """Inferences in the ledger."""
    with reading(engine) as connection:
        return sum(
            connection.execute(select(func.coalesce(func.sum(table.c.inferences), 0))).scalar_one()
            for table in (ledger, unattributed)
        )


def test_answered_within_recorded_within_executed(
    models: Triton, tmp_path: Path, sqlite_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    upgrade(sqlite_url)
    settings = settings_for(tmp_path, sqlite_url, proxy_triton_grpc=models.grpc)
    before, chance = executed(models), random.Random(7)
    proxy: Child = proxy_process(settings, tmp_path)
    proxy.start()
    port = proxy.wait_listening()
    settings = settings.model_copy(update={"proxy_listen": f"127.0.0.1:{port}"})
    proxy_again = proxy_process(settings, tmp_path)
    with Load(f"127.0.0.1:{port}") as load:
        running = proxy
        for _ in range(KILLS):
            wanted = load.total + chance.randint(50, 400)
            running.wait_until(lambda wanted=wanted: load.total >= wanted, timeout_s=60, what="answer")  # type: ignore[misc]
            running.kill()
            running = proxy_again
            running.start()
            running.wait_listening()
        wanted = load.total + 50
        running.wait_until(lambda: load.total >= wanted, timeout_s=60, what="answer")
    answered = load.total
    running.kill()

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
        print(f"\n  {KILLS} kills -9: answered {answered} <= recorded {stored} <= executed {done}")
    assert answered <= stored <= done
    # A kill costs at most what was in flight, and what the next life was started with.
    assert stored - answered <= (KILLS + 1) * CLIENTS
