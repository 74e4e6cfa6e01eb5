"""Fixtures of the HTTP front's integration tests."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from local_stack.triton import Triton
from tests.integration.inference_proxy.stand import MODELS, running, settings_for


@pytest.fixture(scope="session")
def standing_front(models: Triton, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """host:port of the HTTP front of one proxy for the whole session, in a thread and loop of its own."""
    directory = tmp_path_factory.mktemp("standing_proxy")
    settings = settings_for(
        directory,
        f"sqlite:///{directory / 'tradewind.db'}",
        proxy_triton_grpc=models.grpc,
        proxy_triton_http=models.http,
    )
    started: Future[tuple[str, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def stand() -> None:
        async with running(settings) as proxy:
            stop = asyncio.Event()
            started.set_result((f"127.0.0.1:{proxy.http.port}", asyncio.get_running_loop(), stop))
            await stop.wait()

    def run() -> None:
        try:
            asyncio.run(stand())
        except BaseException as error:
            if started.done():
                raise
            started.set_exception(error)

    thread = threading.Thread(target=run)
    thread.start()
    address, loop, stop = started.result(60)
    yield address
    loop.call_soon_threadsafe(stop.set)
    thread.join()


@pytest.fixture
def own_models(tmp_path: Path) -> Iterator[Triton]:
    """A Triton with the test models for the test alone, to unload from, kill and start again."""
    server = Triton(tmp_path, MODELS)
    server.start()
    try:
        yield server
    finally:
        server.stop()
