"""What a proxy says it served, at a selector that runs: counted once through every loss, and learnt from."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import grpc
import pytest

from inference_proxy.reporting import MOST_DECISIONS, Reporting
from inference_proxy.tallies import Tallies
from local_stack.ports import free_ports
from tests.integration.selector_service.parts import (
    CATALOGUE,
    Running,
    a_reading,
    half_hour,
    publishing_to,
    running,
    say,
)
from tradewind.catalogue import parse_catalogue
from tradewind.migrate import upgrade

ZONE = "GB"
WAIT_S = 20


def serve(
    tallies: Tallies, inferences: int, *, variant: str = "small", family: str = "resnet", decision: str = "d1"
) -> None:
    """Counts as the proxy does; without a decision as its front of other processes does."""
    tallies.of(family, variant).inferences += inferences
    if decision:
        tallies.followed[family, variant, decision] += inferences


@asynccontextmanager
async def a_selector(database_url: str, broker: str, **options: Any) -> AsyncIterator[Running]:
    await asyncio.to_thread(upgrade, database_url)
    settings = {"database_url": database_url, "broker_url": broker, **options}
    async with running(parse_catalogue(CATALOGUE), **settings) as made:
        yield made


async def totals(selector: Running) -> dict[tuple[str, str], dict[str, int]]:
    return await asyncio.to_thread(selector.service.store.served_totals)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110 -- there is no event for every condition of a test
            await asyncio.sleep(0.01)


class AcknowledgementsLost:
    """The selector counts, and its answer does not arrive."""

    def __init__(self, stub: Any) -> None:
        self._stub = stub

    async def ReportServed(self, request: Any, timeout: float) -> None:  # noqa: N802, ASYNC109 -- as generated code
        """Counts, then fails."""
        await self._stub.ReportServed(request, timeout=timeout)
        nothing = grpc.aio.Metadata()
        raise grpc.aio.AioRpcError(grpc.StatusCode.DEADLINE_EXCEEDED, nothing, nothing, "lost", "lost")


async def test_everything_served_for_a_family_is_told_whether_it_followed_a_decision_or_not(
    sqlite_url: str, broker: str
) -> None:
    tallies = Tallies()
    async with a_selector(sqlite_url, broker) as selector:
        reporting = Reporting(ZONE, "proxy-1", tallies)
        serve(tallies, 3)
        serve(tallies, 4, decision="d2")
        serve(tallies, 5, decision="")
        serve(tallies, 6, variant="large")
        serve(tallies, 7, family="", decision="")  # A model called by its own name is no family's.
        serve(tallies, 8, variant="tiny", family="digits")
        assert await reporting.report(selector.stub)
        assert await totals(selector) == {(ZONE, "resnet"): {"small": 12, "large": 6}, (ZONE, "digits"): {"tiny": 8}}
        assert await reporting.report(selector.stub)
        serve(tallies, 1)
        assert await reporting.report(selector.stub)
        assert (await totals(selector))[ZONE, "resnet"] == {"small": 13, "large": 6}


async def test_a_lost_acknowledgement_counts_nothing_twice(sqlite_url: str, broker: str) -> None:
    tallies = Tallies()
    async with a_selector(sqlite_url, broker) as selector:
        reporting = Reporting(ZONE, "proxy-1", tallies)
        serve(tallies, 3)
        serve(tallies, 2, variant="tiny", family="digits")
        for _ in range(3):
            assert not await reporting.report(AcknowledgementsLost(selector.stub))
            serve(tallies, 10)
        assert await reporting.report(selector.stub)
        assert await reporting.report(selector.stub)
        assert await totals(selector) == {(ZONE, "resnet"): {"small": 33}, (ZONE, "digits"): {"tiny": 2}}


async def test_a_proxy_that_starts_again_goes_on_counting(sqlite_url: str, broker: str) -> None:
    async with a_selector(sqlite_url, broker) as selector:
        for life in range(1, 4):
            tallies = Tallies()
            reporting = Reporting(ZONE, "proxy-1", tallies)
            serve(tallies, life)
            assert await reporting.report(selector.stub)
        assert (await totals(selector))[ZONE, "resnet"] == {"small": 6}


async def test_a_refused_family_stops_no_other_and_is_not_sent_for_ever(sqlite_url: str, broker: str) -> None:
    tallies = Tallies()
    async with a_selector(sqlite_url, broker) as selector:
        reporting = Reporting(ZONE, "proxy-1", tallies)
        serve(tallies, 3, family="another")
        serve(tallies, 4)
        serve(tallies, 5, variant="unknown", family="digits")
        assert await reporting.report(selector.stub)
        serve(tallies, 1)
        assert await reporting.report(selector.stub)
        assert await totals(selector) == {(ZONE, "resnet"): {"small": 5}}


async def test_an_absence_is_made_up_for_and_the_end_tells_the_rest(sqlite_url: str, broker: str) -> None:
    """The loop itself: the selector comes late, decisions abound meanwhile, and the proxy stops."""
    tallies = Tallies()
    (port,) = free_ports(1)
    serve(tallies, 3)
    working = asyncio.create_task(Reporting(ZONE, "proxy-1", tallies).report_for_ever(f"127.0.0.1:{port}", 0.02))
    await until(lambda: not tallies.followed)
    for number in range(MOST_DECISIONS + 10):
        serve(tallies, 1, decision=f"d{number}")
    await until(lambda: not tallies.followed)
    async with a_selector(sqlite_url, broker, selector_listen=f"127.0.0.1:{port}") as selector:
        told = selector.service.store.served_totals
        await until(lambda: told().get((ZONE, "resnet")) == {"small": MOST_DECISIONS + 13})
        serve(tallies, 4, variant="large")
        working.cancel()
        with pytest.raises(asyncio.CancelledError):
            await working
        assert (await totals(selector))[ZONE, "resnet"]["large"] == 4


async def test_policies_learn_from_what_was_reported(database_url: str, broker: str, unique_zone: str) -> None:
    """Between two readings 7 small and 30 large were served: that, not the mix decided, is what the policy enters."""
    tallies, pair = Tallies(), (unique_zone, "resnet")
    options = {"selector_policy": "target-error", "selector_policy_options": "target_error=6.5"}
    async with (
        a_selector(database_url, broker, selector_zones=unique_zone, **options) as selector,
        publishing_to(broker) as publisher,
    ):
        states = selector.service.selector.states
        reporting = Reporting(unique_zone, "proxy-1", tallies)
        longer = {"valid_to": half_hour() + timedelta(hours=1)}
        await say(publisher, a_reading(unique_zone, half_hour() - timedelta(minutes=30), 100.0, **longer))
        await until(lambda: pair in states)
        serve(tallies, 7, decision="")
        serve(tallies, 30, variant="large")
        assert await reporting.report(selector.stub)
        await say(publisher, a_reading(unique_zone, half_hour(), 200.0))
        await until(lambda: states[pair].interval_from == half_hour())
        assert states[pair].served == {"small": 7, "large": 30}
