"""The selector's parts, put together and run."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from uuid import uuid4

from sqlalchemy.exc import SQLAlchemyError

from selector_service.announcements import Announcements
from selector_service.arrivals import Arrivals, subscriptions
from selector_service.board import Board
from selector_service.deciding import Desk
from selector_service.desks import open_desks
from selector_service.following import Follower, utc_now
from selector_service.history import History, keep_up
from selector_service.metrics import Metrics
from selector_service.policy_changes import PolicyChanges
from selector_service.selector import Selector
from selector_service.served import ServedReports
from selector_service.servicer import SERVICE, SelectorServicer
from selector_service.settings import SelectorSettings
from selector_service.store import Store
from selector_service.storekeeping import Storekeeper
from tradewind.access import Access
from tradewind.bus import Bus, broker_address
from tradewind.calling import peer_way
from tradewind.catalogue import Catalogue
from tradewind.database import open_engine, require_migrated
from tradewind.decisions import Decision
from tradewind.logs import get_logger
from tradewind.readings import Reading
from tradewind.serving import ErrorsMapped, Server, serve_metrics

log = get_logger(__name__)

DRAIN_S = 2.0
TIDY_S = 3600.0
"""How often readings that no window needs any more are deleted."""


class SelectorService:
    """One selector: `start` it, and `stop` it."""

    def __init__(
        self,
        settings: SelectorSettings,
        catalogue: Catalogue,
        desks: Sequence[Desk],
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._settings = settings
        self._changes = PolicyChanges(settings.catalogue, catalogue, self._open_desks, self._use)
        self._clock = clock
        self._engine = open_engine(settings.database_url)
        require_migrated(self._engine)
        self.store = Store(self._engine)
        self.selector = Selector(desks, settings.rule, settings.zones)
        self.metrics = Metrics()
        self.board = Board(self._window_readings, self._without_reading, [desk.name for desk in desks])
        self._keeper = Storekeeper(self.store)
        reports = ServedReports(self.store, catalogue, clock)
        self._follower = Follower(
            self.selector, self._keeper, self, Arrivals(self.metrics.refused.inc).readings, clock, reports.totals
        )
        self.bus = Bus(
            broker_address(settings),
            f"selector-{settings.selector_session or uuid4().hex[:12]}",
            subscriptions=subscriptions(settings.zones),
            persistent=bool(settings.selector_session),
            status_name="selector_service",
        )
        self._announcements = Announcements(self.bus, self.board.in_force.values)
        self._access = Access(settings, settings.selector_listen)
        carbon, way = settings.selector_carbon, peer_way(settings)
        self._history = History(carbon, settings.zones, way) if carbon else None
        self._server = Server("selector_service", interceptors=self._access.interceptors, map_errors=False)
        SelectorServicer(self.selector, self.board, reports, catalogue).add_to(ErrorsMapped(self._server.grpc))
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> int:
        """Takes up what the database holds, follows the bus and serves; the port it got."""
        await resume(self.selector, self._keeper, self._follower)
        settings = self._settings
        if settings.selector_metrics_port is not None:
            port = serve_metrics(
                self.metrics.registry,
                settings.selector_metrics_host,
                settings.selector_metrics_port,
                "TRADEWIND_SELECTOR_METRICS_PORT",
            )
            log.info("metrics", host=settings.selector_metrics_host, port=port)
        self.bus.start()
        self._tasks = [
            asyncio.create_task(self._follower.run(self.bus)),
            asyncio.create_task(self._announcements.run()),
            asyncio.create_task(self._tidy()),
            asyncio.create_task(self._changes.watch(settings.selector_policy_interval.total_seconds())),
        ]
        if self._history is not None:
            self._tasks.append(asyncio.create_task(self._keep_up(self._history)))
        credentials = self._access.grpc_credentials()
        return await self._server.start(settings.selector_listen, [SERVICE], credentials=credentials)

    async def _keep_up(self, history: History) -> None:
        await keep_up(
            history,
            self.bus.subscribed.wait,
            self.bus.disconnected.wait,
            lambda: self._clock() - self.selector.rule.window,
            self._follower.take,
        )

    def _open_desks(self, catalogue: Catalogue) -> list[Desk]:
        settings = self._settings
        hold = settings.selector_stale == "hold"
        return open_desks(catalogue, settings.selector_policy, settings.policy_options, hold_when_stale=hold)

    async def _use(self, desks: Sequence[Desk]) -> None:
        """Other policies for the same families: what is in force is decided again."""
        self.selector.desks = {desk.name: desk for desk in desks}
        await self._follower.take((), also=self.selector.zones)

    async def _tidy(self) -> None:
        while True:
            await asyncio.sleep(TIDY_S)
            with suppress(SQLAlchemyError):  # It is tidied the next time.
                await asyncio.to_thread(self.store.forget, dict(self.selector.needed_since))

    async def stop(self) -> None:
        """Drains, then ends every task and connection."""
        await self._server.drain([SERVICE], DRAIN_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.bus.stop()
        await self._keeper.close()
        self._engine.dispose()

    @property
    def unstored(self) -> int:
        """Readings and decisions that wait for the database."""
        return self._keeper.waiting

    def now(self) -> datetime:
        """The service's clock."""
        return self._clock()

    def decided(self, decision: Decision) -> None:
        """A decision came into force: tell everyone."""
        self.board.put(decision)
        self._announcements.put(decision)
        self.metrics.decided(decision)
        self.metrics.unstored(self._keeper.waiting)

    def restated(self, reading: Reading) -> None:
        """A reading restates an interval: tell those who charged by it."""
        self.board.restate(reading)

    def _window_readings(self, zones: Sequence[str]) -> list[Reading]:
        return self.selector.window_readings(zones or self.selector.zones, self._clock())

    def _without_reading(self, zone: str, family: str) -> Decision:
        return self.selector.without_reading(zone, family, self._clock())


async def resume(selector: Selector, keeper: Storekeeper, follower: Follower) -> None:
    """Takes up what the database holds, and decides for what has changed since."""
    stored = await asyncio.to_thread(keeper.store.load)
    keeper.seen = stored.change
    for state in stored.states:
        selector.states[state.zone, state.family] = state
    for decision in stored.decisions:
        if decision.family in selector.desks and selector.follows(decision.zone):
            selector.adopt(decision)
    selector.merge(stored.readings)
    await follower.take((), also=selector.zones)
