"""The Envoy front through death: of the proxy, of Envoy, of both, of the database, at random moments under load."""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from sqlalchemy import Engine
from tritonclient.grpc import service_pb2, service_pb2_grpc

from inference_proxy.envoy.writers import Writers
from inference_proxy.ledger import Ledger
from inference_proxy.settings import ProxyFront, ProxySettings
from inference_proxy.tallies import Tallies
from local_stack.ports import free_ports
from local_stack.postgres import Postgres
from local_stack.processes import Child
from local_stack.triton import Triton
from tests.e2e.proxy_process import proxy_process
from tests.e2e.three_counts import CLIENTS, Deaths, Load, executed, over_grpc, recorded, store_the_rest
from tests.integration.inference_proxy.stand import infer_request, settings_for
from tradewind.database import open_engine
from tradewind.migrate import upgrade


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


def living(directory: Path, database_url: str, models: Triton) -> Iterator[Life]:
    """A proxy behind Envoy on a port of its own; nothing of it is left running."""
    upgrade(database_url)
    (port,) = free_ports(1)
    settings = settings_for(
        directory,
        database_url,
        proxy_listen=f"127.0.0.1:{port}",
        proxy_triton_grpc=models.grpc,
        proxy_triton_http=models.http,
        proxy_front=ProxyFront.ENVOY,
        proxy_envoy_workers=2,
    )
    made = Life(settings, directory)
    try:
        yield made
    finally:
        if made.proxy.alive:
            made.proxy.kill()
        made.kill_envoy()


@pytest.fixture
def life(models: Triton, tmp_path: Path, sqlite_url: str) -> Iterator[Life]:
    """One whose database stays."""
    yield from living(tmp_path, sqlite_url, models)


@pytest.fixture
def mortal_life(models: Triton, tmp_path: Path, own_postgres: Postgres) -> Iterator[Life]:
    """One whose database can be killed."""
    yield from living(tmp_path, own_postgres.create_database("kills"), models)


@pytest.mark.timeout(900)
def test_answered_within_recorded_within_executed(
    mortal_life: Life, models: Triton, own_postgres: Postgres, capsys: pytest.CaptureFixture[str]
) -> None:
    life, before = mortal_life, executed(models)
    life.start()

    def kill_proxy() -> None:
        life.proxy.kill()
        life.start()

    def kill_both() -> None:
        life.proxy.kill()
        life.kill_envoy()
        life.start()

    deaths = Deaths({"proxy": kill_proxy, "Envoy": life.kill_envoy, "both": kill_both}, own_postgres)
    with Load(over_grpc(life.settings.proxy_listen, _request_of)) as load:
        deaths.strike(load)
    answered = load.total
    life.proxy.kill()
    life.kill_envoy()

    engine = open_engine(life.settings.database_url)
    stored = _store_all_the_rest(life.settings, engine)
    done = executed(models) - before
    engine.dispose()
    with capsys.disabled():
        print(deaths.tell("behind Envoy", answered, stored, done))
    assert answered <= stored <= done
    # A kill costs at most what was in flight; one of the database costs nothing.
    assert stored - answered <= (deaths.fell.total() - deaths.fell["database"] + 2) * CLIENTS


def _request_of(number: int) -> service_pb2.ModelInferRequest:
    # Every other client has a requirement, which is the Python proxy's to meet.
    return infer_request("ident", carbon_pin_variant="small") if number % 2 else infer_request("ident")


def _store_all_the_rest(settings: ProxySettings, engine: Engine) -> int:
    """Stores what the dead proxy and the dead Envoy still hold, twice over; what the ledger has then."""
    writers = Writers(settings.proxy_spool_directory / "envoy" / "writers", Ledger(engine), 1, Tallies(), {})
    writers.flush()
    stored = store_the_rest(settings, engine)
    assert writers.flush() == 0
    assert not list(writers.directory.iterdir())
    assert recorded(engine) == stored
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
