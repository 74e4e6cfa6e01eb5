"""The selector as a test runs it: in this process, over real parts."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from uuid import uuid4

import grpc

from selector_service.desks import open_desks
from selector_service.following import Follower, ServedTotals, nobody_reports
from selector_service.selector import Selector
from selector_service.service import SelectorService, resume
from selector_service.settings import SelectorSettings
from selector_service.store import Store
from selector_service.storekeeping import Storekeeper
from selector_service.zone_history import RangeRule
from tradewind import topics
from tradewind.bus import Bus, parse_broker_url
from tradewind.catalogue import Catalogue
from tradewind.decisions import Decision
from tradewind.readings import Reading, ReadingKind, Signal, to_json
from tradewind.rpc.v1 import selector_pb2_grpc

CATALOGUE = """
version: 1
families:
  resnet:
    error_metric: top5_error_pct
    pool: [small, middle, large]
    variants:
      small: {energy_mj: {value: 400, provenance: published}, error: {value: 7.1, provenance: published}}
      middle: {energy_mj: {value: 800, provenance: published}, error: {value: 6.4, provenance: published}}
      large: {energy_mj: {value: 1200, provenance: published}, error: {value: 5.9, provenance: published}}
  digits:
    error_metric: error_pct
    pool: [tiny, huge]
    variants:
      tiny: {energy_mj: {value: 1, provenance: estimated}, error: {value: 9, provenance: measured}}
      huge: {energy_mj: {value: 9, provenance: estimated}, error: {value: 2, provenance: measured}}
"""


@dataclass
class Running:
    """A selector that serves, and a client of it."""

    service: SelectorService
    stub: "selector_pb2_grpc.SelectorAsyncStub"
    channel: grpc.aio.Channel
    port: int


Start = Callable[..., Awaitable[Running]]


@asynccontextmanager
async def running(catalogue: Catalogue, /, *, subscribed: bool = True, **options: Any) -> AsyncIterator[Running]:
    """A selector with these settings, until the block ends."""
    settings = SelectorSettings(**{"selector_listen": "127.0.0.1:0", **options})
    desks = open_desks(
        catalogue,
        settings.selector_policy,
        settings.policy_options,
        hold_when_stale=settings.selector_stale == "hold",
    )
    service = SelectorService(settings, catalogue, desks)
    port = await service.start()
    if subscribed:
        await asyncio.wait_for(service.bus.subscribed.wait(), 10)
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
    try:
        yield Running(service, selector_pb2_grpc.SelectorStub(channel), channel, port)
    finally:
        await channel.close(None)
        await service.stop()


@asynccontextmanager
async def publishing_to(url: str) -> AsyncIterator[Bus]:
    """A connection to a broker."""
    bus = Bus(parse_broker_url(url), f"publisher-{uuid4().hex}")
    bus.start()
    await asyncio.wait_for(bus.connected.wait(), 10)
    try:
        yield bus
    finally:
        await bus.stop()


def a_reading(zone: str, valid_from: datetime, intensity: float, **changes: Any) -> Reading:
    """An actual half-hour, published as it began."""
    values: dict[str, Any] = {
        "zone": zone,
        "valid_from": valid_from,
        "valid_to": valid_from + timedelta(minutes=30),
        "intensity_g_per_kwh": float(intensity),
        "kind": ReadingKind.ACTUAL,
        "signal": Signal.AVERAGE,
        "source": "replay:test",
        "published_at": valid_from,
    }
    return Reading(**{**values, **changes})


@cache
def half_hour() -> datetime:
    """The beginning of a half-hour that holds now, and for as long as the tests run: never one about to end."""
    return datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=30)


async def say(bus: Bus, reading: Reading, *, restated: bool = False) -> None:
    """Publishes a reading as carbon_service does."""
    topic = topics.revisions(reading.zone) if restated else topics.intensity(reading.zone)
    await bus.publish(topic, to_json(reading), retain=not restated)


class Replica:
    """A selector without bus and gRPC, on a clock of the test's own."""

    def __init__(
        self,
        catalogue: Catalogue,
        store: Store,
        rule: RangeRule,
        policy: str = "proportional",
        options: Mapping[str, str] | None = None,
        served_totals: ServedTotals = nobody_reports,
    ) -> None:
        self.now = datetime(2023, 6, 2, tzinfo=UTC)
        self.told: list[Decision] = []
        self.restatements: list[Reading] = []
        self.store = store
        self.selector = Selector(open_desks(catalogue, policy, options or {}), rule)
        self.keeper = Storekeeper(store)
        self.follower = Follower(
            self.selector, self.keeper, self, lambda _messages: [], lambda: self.now, served_totals
        )

    async def resume(self) -> "Replica":
        """Takes up what the store holds."""
        await resume(self.selector, self.keeper, self.follower)
        return self

    async def take(self, *readings: Reading) -> None:
        """Readings arrive."""
        await self.follower.take(readings)

    def decided(self, decision: Decision) -> None:
        """Keeps what watchers would see."""
        self.told.append(decision)

    def restated(self, reading: Reading) -> None:
        """Keeps what watchers would see."""
        self.restatements.append(reading)

    @property
    def in_force(self) -> dict[tuple[str, str], Decision]:
        """Per zone and family."""
        return dict(self.selector.in_force)


def content(decision: Decision) -> Decision:
    """A decision without what depends on when and in which order it was made."""
    return replace(decision, revision=0, decided_at=decision.valid_from)
