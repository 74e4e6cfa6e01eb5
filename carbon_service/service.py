"""The carbon service, wired: sources and edge to intake, intake to store, store to bus and gRPC."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Self

import stamina.instrumentation
from grpc_health.v1 import health_pb2

from carbon_service.announcer import Announcer
from carbon_service.credentials import Credentials, access_of
from carbon_service.edge import take_observations
from carbon_service.health import SourceHealth, SourceHealths
from carbon_service.intake import Intake, Writer
from carbon_service.keeper import Keeper
from carbon_service.library import Library
from carbon_service.metrics import Metrics
from carbon_service.polling import Polling, PollLimits
from carbon_service.present import Board
from carbon_service.replay import Replay, begin_replay, read_replay, run_replay, tell_past, utc_now
from carbon_service.rules import Rules
from carbon_service.servicer import CarbonServicer
from carbon_service.settings import CarbonSettings
from carbon_service.sources.registry import open_source
from carbon_service.sources.source import Source
from carbon_service.timing import apply_retention, follow_time
from carbon_service.watchers import Watchers
from tradewind import topics
from tradewind.bus import Bus, broker_address
from tradewind.database import open_engine, require_migrated
from tradewind.logs import get_logger
from tradewind.readings import Signal
from tradewind.rpc.v1 import carbon_pb2, carbon_pb2_grpc
from tradewind.serving import Server, serve_metrics

log = get_logger(__name__)

SERVICE = "carbon_service"
NAMES = [carbon_pb2.DESCRIPTOR.services_by_name["Carbon"].full_name]
GRACE_S = 3.0
ANSWER_TAKES = timedelta(minutes=5)
"""The longest that a provider's answer is on its way to the gate, with every attempt."""


class CarbonService:
    """Everything that runs in one carbon service, as a context."""

    def __init__(self, settings: CarbonSettings, clock: Callable[[], datetime] = utc_now) -> None:
        self._settings = settings
        self._clock = clock
        self._tasks: list[asyncio.Task[None]] = []
        self._rules = settings.rules()
        self._access = access_of(settings, self._rules)
        self.server = Server(SERVICE, interceptors=self._access.interceptors)
        self.metrics_port: int | None = None
        self._shown: set[asyncio.Future[None]] = set()

    async def __aenter__(self) -> Self:
        """Starts; StartupError when it cannot."""
        stamina.instrumentation.set_on_retry_hooks([])  # An outage is logged once, by who notices it.
        settings, clock = self._settings, self._clock
        rules = self._rules
        replay = read_replay(settings, rules.signal(settings.carbon_replay_zone))
        sources = self._open_sources(rules)
        self._engine = open_engine(settings.database_url)
        require_migrated(self._engine)
        self._writer = Writer()
        keeper = Keeper(self._engine, rules)
        board, healths, watchers = Board(), SourceHealths(), Watchers()
        intake, library = Intake(keeper, self._writer, board, clock), Library(self._engine)
        self.bus = self._make_bus()
        announcer = Announcer(self.bus, keeper, self._writer, clock)
        metrics = Metrics(board, healths, clock)
        for listener in (announcer.hand_over, watchers.hand_over, metrics.hand_over):
            intake.on_taken(listener)
        if settings.carbon_metrics_port is not None:
            self.metrics_port = serve_metrics(
                metrics.registry,
                settings.carbon_metrics_host,
                settings.carbon_metrics_port,
                "TRADEWIND_CARBON_METRICS_PORT",
            )
            log.info("metrics", host=settings.carbon_metrics_host, port=self.metrics_port)
        if replay is not None:
            await self._begin_replay(replay, keeper, intake)
        board.put(await self._writer(keeper.load, clock()), clock())
        for zone, of_zone in sources.items():
            # What is older than what is kept would only fill the quarantine, also if it gets so on its way.
            kept = rules.gate_limits(zone).oldest - ANSWER_TAKES
            limits = PollLimits(backfill=min(settings.carbon_backfill, kept))
            for of_signal in by_signal(zone, of_zone, rules.signal(zone)):
                self._run(Polling(zone, of_signal, intake, library, healths, clock, limits).run())
        self._run(announcer.run())
        self._run(take_observations(self.bus, intake, rules, clock))
        self._run(follow_time(board, intake, clock))
        self._run(apply_retention(keeper, self._writer, settings, clock))
        credentials = Credentials(rules, self._access)
        credentials.tell()
        servicer = CarbonServicer(board, library, intake, watchers, rules, credentials, healths, clock)
        await self._serve(servicer)
        self._show_health(healths)
        self.bus.start()
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Ends the calls, then the sources, then the bus and the store."""
        await self.server.drain(NAMES, GRACE_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.bus.stop()
        await asyncio.to_thread(self._writer.close)
        self._engine.dispose()

    async def failure(self) -> None:
        """Returns never; raises what ended one of the service's tasks."""
        await asyncio.gather(*self._tasks)

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.create_task(work))

    def _open_sources(self, rules: Rules) -> dict[str, list[tuple[Source, bool]]]:
        keys = self._settings.keys()
        return {
            zone: [
                (open_source(each.provider, zone, each.area, each.url, keys), each.forecast) for each in entry.sources
            ]
            for zone, entry in rules.file.zones.items()
            if entry.sources
        }

    def _make_bus(self) -> Bus:
        return Bus(
            broker_address(self._settings),
            self._settings.carbon_client_id,
            subscriptions=[topics.OBSERVATIONS],
            persistent=True,
            status_name=SERVICE,
            retain_as_published=True,
        )

    async def _begin_replay(self, replay: Replay, keeper: Keeper, intake: Intake) -> None:
        started_at = await begin_replay(replay, keeper, self._writer, self._clock())
        # History is there before anybody can ask for it.
        row = await tell_past(replay, 0, started_at, intake, self._clock())
        self._run(run_replay(replay, row, started_at, intake, self._clock))

    async def _serve(self, servicer: CarbonServicer) -> None:
        carbon_pb2_grpc.add_CarbonServicer_to_server(servicer, self.server.grpc)
        await self.server.start(self._settings.carbon_listen, NAMES, credentials=self._access.grpc_credentials())

    def _show_health(self, healths: SourceHealths) -> None:
        """Each source of each zone is a name of the health service: `GB-SWE/neso:11`."""

        def show(health: SourceHealth) -> None:
            status = health_pb2.HealthCheckResponse.SERVING
            if not health.healthy:
                status = health_pb2.HealthCheckResponse.NOT_SERVING
            task = asyncio.ensure_future(self.server.health.set(f"{health.zone}/{health.source}", status))
            self._shown.add(task)
            task.add_done_callback(self._shown.discard)

        healths.on_change(show)
        for each in healths.every():
            show(each)


def by_signal(zone: str, sources: Sequence[tuple[Source, bool]], announced: Signal) -> list[list[tuple[Source, bool]]]:
    """The sources by what they give: a marginal one is no substitute for an average one, and is asked beside it."""
    groups: dict[Signal, list[tuple[Source, bool]]] = {}
    for each in sources:
        groups.setdefault(each[0].signal, []).append(each)
    if announced not in groups:
        log.warning(
            "no source gives the signal that the zone announces: set its signal in the zones file",
            zone=zone,
            announces=announced.value,
            sources=[source.name for source, _ in sources],
        )
    return list(groups.values())
