"""Selectors and a publisher over the shared broker."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.integration.selector_service.parts import CATALOGUE, Running, Start, publishing_to, running
from tradewind.bus import Bus
from tradewind.catalogue import Catalogue, parse_catalogue
from tradewind.migrate import upgrade


@pytest.fixture
def catalogue() -> Catalogue:
    """Two small families."""
    return parse_catalogue(CATALOGUE)


@pytest.fixture
async def start(catalogue: Catalogue, broker: str) -> AsyncIterator[Start]:
    """Starts selectors on migrated databases and the shared broker; stops them at the end."""
    async with AsyncExitStack() as stack:

        async def begin(database_url: str, **options: Any) -> Running:
            await asyncio.to_thread(upgrade, database_url)
            options = {"broker_url": broker, **options}
            return await stack.enter_async_context(running(catalogue, database_url=database_url, **options))

        yield begin


@pytest.fixture
async def publisher(broker: str) -> AsyncIterator[Bus]:
    """A connection that says what carbon_service would say."""
    async with publishing_to(broker) as bus:
        yield bus
