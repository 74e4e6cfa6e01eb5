"""`tradewind intensity --watch` says when nothing holds any longer; `publish` names what it does not take."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tradewind.cli import carbon
from tradewind.errors import InvalidInput
from tradewind.messages import reading_to_wire
from tradewind.readings import Reading, ReadingKind, Signal
from tradewind.rpc.v1 import carbon_pb2

HOUR = timedelta(hours=1)


def told(begin: datetime, end: datetime) -> carbon_pb2.WatchIntensityResponse:
    reading = Reading("home", begin, end, 200, ReadingKind.ACTUAL, Signal.AVERAGE, "edge:roof", begin)
    return carbon_pb2.WatchIntensityResponse(reading=reading_to_wire(reading))


async def shown(*responses: carbon_pb2.WatchIntensityResponse, after_s: float = 0.0) -> list[Any]:
    """What a watcher is shown, one response every `after_s`."""

    async def incoming() -> AsyncIterator[Any]:
        for response in responses:
            yield response
            await asyncio.sleep(after_s)

    return [response async for response in carbon._with_ends(incoming())]


async def test_an_interval_that_ends_without_another_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carbon, "NEXT_TAKES", timedelta(seconds=0.05))
    now = datetime.now(UTC)
    short, long = told(now, now + timedelta(seconds=0.5)), told(now, now + HOUR)
    assert await shown(short, long, after_s=1.0) == [short, None, long]


async def test_what_ended_long_ago_or_is_followed_at_once_ends_nothing() -> None:
    now = datetime.now(UTC)
    old, brief, long = told(now - HOUR, now - HOUR / 2), told(now, now + timedelta(seconds=0.2)), told(now, now + HOUR)
    assert await shown(old, brief, long, after_s=0.3) == [old, brief, long]


def test_a_publisher_is_not_called_a_zone() -> None:
    with pytest.raises(InvalidInput, match="publisher 'the roof'"):
        carbon.publish(200.0, "home", "the roof")
