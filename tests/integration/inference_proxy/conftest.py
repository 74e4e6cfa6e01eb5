"""Fixtures of the proxy's integration tests."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from tritonclient.grpc import service_pb2_grpc

from inference_proxy.proxy import Proxy
from local_stack.triton import Triton
from tests.integration.inference_proxy.stand import MODELS, Selector, address_of, running, settings_for

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
