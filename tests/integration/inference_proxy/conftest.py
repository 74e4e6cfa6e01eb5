"""Fixtures of the proxy's integration tests."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from tritonclient.grpc import service_pb2_grpc

from inference_proxy.proxy import Proxy
from inference_proxy.settings import ProxyFront
from local_stack.triton import Triton
from tests.e2e.proxy_process import proxy_process
from tests.integration.inference_proxy.stand import MODELS, Selector, address_of, running, settings_for
from tradewind.migrate import upgrade

UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    """A real Triton with the test models: identities, counters (decoupled) and adders (sequences)."""
    server = Triton(tmp_path_factory.mktemp("triton_models"), MODELS)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def triton_grpc(models: Triton) -> str:
    """Where Triton itself is asked."""
    return models.grpc


@pytest.fixture(scope="session")
def python_front(models: Triton, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """host:port of a proxy in Python, as a process for the whole session."""
    yield from _standing(models, tmp_path_factory.mktemp("python_front"), ProxyFront.PYTHON)


@pytest.fixture(scope="session")
def envoy_front(models: Triton, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """host:port of a proxy behind Envoy, as processes for the whole session."""
    yield from _standing(models, tmp_path_factory.mktemp("envoy_front"), ProxyFront.ENVOY)


def _standing(models: Triton, directory: Path, front: ProxyFront) -> Iterator[str]:
    settings = settings_for(
        directory,
        f"sqlite:///{directory / 'tradewind.db'}",
        proxy_triton_grpc=models.grpc,
        proxy_triton_http=models.http,
        proxy_front=front,
        proxy_envoy_workers=1,
    )
    upgrade(settings.database_url)
    process = proxy_process(settings, directory)
    process.start()
    try:
        yield f"127.0.0.1:{process.wait_listening()}"
    finally:
        process.stop(deadline_s=20)


@pytest.fixture
def own_models(tmp_path: Path) -> Iterator[Triton]:
    """The same as a Triton of the test's own, to stop, kill and start again."""
    server = Triton(tmp_path, MODELS)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
async def selector() -> AsyncIterator[Selector]:
    """A selector under the test's control."""
    made = Selector()
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def proxy(models: Triton, selector: Selector, tmp_path: Path, sqlite_url: str) -> AsyncIterator[Proxy]:
    """A proxy in front of the test models, following the selector."""
    settings = settings_for(
        tmp_path,
        sqlite_url,
        proxy_triton_grpc=models.grpc,
        proxy_triton_http=models.http,
        proxy_selector=selector.address,
    )
    async with running(settings) as made:
        await made.following.heard.wait()
        yield made


@pytest.fixture
async def stub(proxy: Proxy) -> AsyncIterator[Any]:
    """A client of the proxy."""
    async with grpc.aio.insecure_channel(address_of(proxy), options=UNLIMITED) as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel)
