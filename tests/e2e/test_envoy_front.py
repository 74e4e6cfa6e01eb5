"""The Envoy front through death: of the proxy, of Envoy, of both, at random moments under load."""

import json
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from sqlalchemy import Engine, func, select
from tritonclient.grpc import service_pb2, service_pb2_grpc

from inference_proxy.envoy.writers import Writers
from inference_proxy.flusher import Flusher
from inference_proxy.ledger import Ledger
from inference_proxy.settings import ProxyFront, ProxySettings
from inference_proxy.spool import Spool
from inference_proxy.store import ledger, unattributed
from inference_proxy.tallies import Tallies
from local_stack.ports import free_ports
from local_stack.processes import Child
from local_stack.triton import Triton
from tests.e2e.proxy_process import proxy_process
from tests.integration.inference_proxy.stand import MODELS, infer_request, settings_for
from tradewind.database import open_engine, reading
from tradewind.migrate import upgrade

KILLS = int(os.environ.get("TRADEWIND_TEST_KILLS", "5"))
CLIENTS = 4


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    """A Triton that only this file's tests call."""
    server = Triton(tmp_path_factory.mktemp("triton"), MODELS)
    server.start()
    try:
        yield server
    finally:
        server.stop()


class Life:
    """The proxy's process and the Envoy that it started."""

    def __init__(self, settings: ProxySettings, directory: Path) -> None:
        self.settings = settings
        self.proxy: Child = proxy_process(settings, directory)

    @property
    def envoy_pid(self) -> int:
        """Envoy's process id, as the proxy remembers it."""
        state = self.settings.proxy_spool_directory / "envoy" / "state.json"
        return int(json.loads(state.read_text(encoding="utf-8"))["pid"])

    def start(self) -> None:
        """Starts the proxy and waits until it serves."""
        self.proxy.start()
        self.proxy.wait_listening()

    def kill_envoy(self) -> None:
        """SIGKILL to Envoy alone, and its end."""
        pid = self.envoy_pid
        os.kill(pid, signal.SIGKILL)
        while _runs(pid):
            time.sleep(0.005)


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in {"Z", "X"}


@pytest.fixture
def life(models: Triton, tmp_path: Path, sqlite_url: str) -> Iterator[Life]:
    """A proxy behind Envoy on a port of its own; nothing of it is left running."""
    upgrade(sqlite_url)
    (port,) = free_ports(1)
    settings = settings_for(
        tmp_path,
        sqlite_url,
        proxy_listen=f"127.0.0.1:{port}",
        proxy_triton_grpc=models.grpc,
        proxy_triton_http=models.http,
        proxy_front=ProxyFront.ENVOY,
        proxy_envoy_workers=2,
    )
    made = Life(settings, tmp_path)
    try:
        yield made
    finally:
        if made.proxy.alive:
            made.proxy.kill()
        made.kill_envoy()


class Load:
    """Clients that ask again and again, whatever becomes of it, and count the answers."""

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

    def wait_for(self, more: int) -> None:
        """Waits for so many more answers."""
        wanted, deadline = self.total + more, time.monotonic() + 60
        while self.total < wanted:
            assert time.monotonic() < deadline, "no answers within a minute"
            time.sleep(0.002)

    def _ask(self, number: int) -> None:
        options = [("grpc.max_reconnect_backoff_ms", 50), ("grpc.initial_reconnect_backoff_ms", 50)]
        # Every other client has a requirement, which is the Python proxy's to meet.
        request = infer_request("ident", carbon_pin_variant="small") if number % 2 else infer_request("ident")
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


@pytest.mark.timeout(500)
def test_answered_within_recorded_within_executed(
    life: Life, models: Triton, capsys: pytest.CaptureFixture[str]
) -> None:
    before, chance = executed(models), random.Random(11)
    life.start()
    fell = {"proxy": 0, "envoy": 0, "both": 0}
    with Load(life.settings.proxy_listen) as load:
        for _ in range(KILLS):
            load.wait_for(chance.randint(20, 300))
            victim = chance.choice(sorted(fell))
            fell[victim] += 1
            if victim in {"proxy", "both"}:
                life.proxy.kill()
            if victim in {"envoy", "both"}:
                life.kill_envoy()
            if victim in {"proxy", "both"}:
                life.start()
        load.wait_for(100)
    answered = load.total
    life.proxy.kill()
    life.kill_envoy()

    engine = open_engine(life.settings.database_url)
    stored = _store_the_rest(life.settings, engine)
    done = executed(models) - before
    engine.dispose()
    with capsys.disabled():
        print(f"\n  kill -9 of {fell}: answered {answered} <= recorded {stored} <= executed {done}")
    assert answered <= stored <= done
    # A kill costs at most what was in flight.
    assert stored - answered <= (KILLS + 2) * CLIENTS


def _store_the_rest(settings: ProxySettings, engine: Engine) -> int:
    """Stores what the spools of the dead still hold, twice over; what the ledger has then."""
    spool = Spool(settings.proxy_spool_directory, settings.proxy_segment_bytes)
    spool.open()
    flusher = Flusher(spool, Ledger(engine), interval_s=1)
    writers = Writers(settings.proxy_spool_directory / "envoy" / "writers", Ledger(engine), 1, Tallies(), {})
    flusher.flush()
    writers.flush()
    stored = recorded(engine)
    assert (flusher.flush(), writers.flush()) == (0, 0)
    assert not list(writers.directory.iterdir())
    assert recorded(engine) == stored
    spool.close()
    return stored


def test_envoy_serves_on_while_the_proxy_is_dead_and_is_taken_over(life: Life) -> None:
    life.start()
    envoy = life.envoy_pid
    with grpc.insecure_channel(life.settings.proxy_listen) as channel:
        stub: Any = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        stub.ModelInfer(infer_request("ident"), timeout=20)
        life.proxy.kill()
        for _ in range(20):
            assert stub.ModelInfer(infer_request("ident"), timeout=20).model_name == "ident_small"
        with pytest.raises(grpc.RpcError) as refused:
            stub.ModelInfer(infer_request("ident", carbon_pin_variant="large"), timeout=20)
        refusal: Any = refused.value
        assert refusal.code() is grpc.StatusCode.UNAVAILABLE
        assert refusal.details() == "the proxy's own process does not answer: try again when it is back"
        life.start()
        assert life.envoy_pid == envoy
        answer = stub.ModelInfer(infer_request("ident", carbon_pin_variant="large"), timeout=20, wait_for_ready=True)
        assert answer.model_name == "ident_large"
        life.proxy.kill()
        _await(lambda: stub.ServerReady(service_pb2.ServerReadyRequest(), timeout=20).ready)


def test_asked_to_stop_the_proxy_stops_envoy_too(life: Life) -> None:
    life.start()
    envoy = life.envoy_pid
    life.proxy.stop(deadline_s=20)
    assert not _runs(envoy)
    # The fixture ends what the file names.
    life.start()


def test_another_configuration_replaces_the_running_envoy(life: Life, tmp_path: Path) -> None:
    life.start()
    envoy = life.envoy_pid
    life.proxy.kill()
    changed = Life(life.settings.model_copy(update={"proxy_envoy_workers": 1}), tmp_path)
    changed.start()
    assert changed.envoy_pid != envoy
    assert not _runs(envoy)
    changed.proxy.kill()


def _await(condition: Any) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            if condition():
                return
        except grpc.RpcError:
            pass
        assert time.monotonic() < deadline
        time.sleep(0.02)
