"""The parts of the proxy, wired: Triton's channel, the routes, the accounts and the fronts."""

import asyncio
import contextlib
from collections.abc import Coroutine, Mapping
from datetime import timedelta
from typing import Any

from prometheus_client import CollectorRegistry
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from inference_proxy.accounting import Accounting
from inference_proxy.admission import access_of, triton_way
from inference_proxy.bus_following import BusFollowing
from inference_proxy.charging import Charging
from inference_proxy.embodied import Device
from inference_proxy.emissions import EmissionsServicer, Terms
from inference_proxy.endpoints import parse_endpoints
from inference_proxy.envoy.steering import Steering
from inference_proxy.flusher import Flusher
from inference_proxy.following import Following
from inference_proxy.forces import Forces
from inference_proxy.front import Front
from inference_proxy.http.front import HttpFront
from inference_proxy.inferring import Inferring, Rules
from inference_proxy.intervals import Intervals
from inference_proxy.last_decisions import LastDecisions
from inference_proxy.ledger import Ledger
from inference_proxy.metrics import TallyCollector
from inference_proxy.operations import OperationsServicer
from inference_proxy.own_cpu import OwnCpu
from inference_proxy.readiness import Readiness
from inference_proxy.reconciling import Reconciling, forget_watches
from inference_proxy.relaying import SERVICE
from inference_proxy.reporting import Reporting
from inference_proxy.routes import FamilyRoute, ModelRoute, Switches
from inference_proxy.sequences import SequencePlaces
from inference_proxy.settings import Follow, Mode, ProxyFront, ProxySettings
from inference_proxy.spool import Spool
from inference_proxy.streaming import Streaming
from inference_proxy.tallies import Tallies
from inference_proxy.targets import all_targets
from inference_proxy.tenants import Tenants
from inference_proxy.traced_fronts import TracedAccounting, TracedHttpFront, TracedInferring, TracedStreaming
from inference_proxy.tracing import Tracing, traced_way
from inference_proxy.tritons import Tritons
from inference_proxy.virtual_models import VirtualModels
from tradewind.bus import broker_address
from tradewind.calling import peer_way
from tradewind.catalogue import find_catalogue
from tradewind.database import open_engine, require_migrated
from tradewind.logs import get_logger
from tradewind.rpc.v1 import emissions_pb2, emissions_pb2_grpc, operations_pb2, operations_pb2_grpc
from tradewind.serving import ErrorsMapped, Server, serve_metrics

log = get_logger(__name__)

EMISSIONS = emissions_pb2.DESCRIPTOR.services_by_name["Emissions"].full_name
OPERATIONS = operations_pb2.DESCRIPTOR.services_by_name["Operations"].full_name
NAMES = (SERVICE, EMISSIONS, OPERATIONS)


class Proxy:
    """One proxy in front of one Triton; build it inside a running event loop."""

    def __init__(self, settings: ProxySettings, tracing: Tracing | None = None) -> None:
        """`tracing` makes spans of inferences; without it there are none, and nothing is in their way."""
        self.settings, self._tracing = settings, tracing
        self.catalogue = find_catalogue(settings.catalogue)
        self.tallies = Tallies()
        self.intervals = Intervals(settings.proxy_zone)
        self.access = access_of(settings)
        self.selector_way = peer_way(settings)
        self.triton_way = triton_way(settings, self.access)
        if tracing is not None:
            self.triton_way = traced_way(self.triton_way, tracing)
        self.endpoints = parse_endpoints(settings.proxy_triton_grpc, settings.proxy_triton_http, self.triton_way)
        self.targets = all_targets(self.catalogue, self.endpoints)
        for targets in self.targets.values():
            for target in targets:
                target.pressure.most = settings.proxy_spill_in_flight
                target.pressure.latency_limit_s = seconds(settings.proxy_spill_latency)
        self.families = {
            name: FamilyRoute(
                name,
                targets,
                self.catalogue.families[name].fallback_variant,
                self.intervals,
                self.tallies,
                Switches(settings.proxy_mode is Mode.OBSERVE, settings.proxy_rollout_pct),
            )
            for name, targets in self.targets.items()
        }
        self.spool = Spool(settings.proxy_spool_directory, settings.proxy_segment_bytes)
        self.engine = open_engine(settings.database_url)
        self.flusher = Flusher(
            self.spool,
            Ledger(self.engine),
            settings.proxy_flush_interval.total_seconds(),
            settings.proxy_retention,
        )
        self.forces = Forces(settings.proxy_spool_directory / "operations.jsonl", self.families)
        self.accounting = (
            Accounting(self.spool, self.tallies)
            if tracing is None
            else TracedAccounting(self.spool, self.tallies, tracing)
        )
        self.tenants = Tenants(settings.proxy_tenant_key, settings.proxy_tenants)
        self.readiness = Readiness(self.endpoints, self.targets)
        last = LastDecisions(settings.proxy_spool_directory / "decisions.json", settings.proxy_zone, self.families)
        self.following = Following(settings.proxy_zone, self.families, self.intervals, self.flusher.learn, last)
        routes = self.routes()
        self.charging = (
            Charging(settings.proxy_calibration, self.catalogue, self.targets, routes.values())
            if settings.proxy_calibration is not None
            else None
        )
        self.rules = Rules(
            Tritons(self.endpoints, SequencePlaces()),
            routes,
            self.accounting,
            self.tenants,
            receipts=settings.proxy_receipts,
            at_most=settings.proxy_in_flight,
        )
        self.server = Server("inference_proxy", interceptors=self.access.interceptors, map_errors=False)
        self.http = (
            HttpFront(self.rules, self.families, self.endpoints, self.access)
            if tracing is None
            else TracedHttpFront(self.rules, self.families, self.endpoints, self.access, tracing)
        )
        self.envoy = self._steering() if settings.proxy_front is ProxyFront.ENVOY else None
        self.own_cpu = OwnCpu(self.engine, self.intervals, lambda: self.envoy.process.pid if self.envoy else 0)
        self.reconciling = (
            Reconciling(self.engine, self.endpoints, self._pending_inferences) if settings.proxy_sole_client else None
        )
        self.metrics_port = 0
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> int:
        """Checks, listens and serves; the gRPC port."""
        for warning in self.catalogue.warnings:
            log.warning("the catalogue is unwise", warning=warning)
        await asyncio.to_thread(check_database, self.engine)
        await self.readiness.start()
        self.spool.open()
        self.forces.restore()
        self.following.restore()
        await self._watch()
        if self.charging is not None:
            await self.charging.look()
            self._begin(self.charging.watch())
        self.flusher.start()
        self._add_services()
        self._begin(self.readiness.watch(self.settings.proxy_ready_interval.total_seconds()))
        self._follow()
        registry = CollectorRegistry()
        registry.register(TallyCollector(self.tallies, self._spooled_bytes))
        self.metrics_port = serve_metrics(
            registry,
            self.settings.proxy_metrics_host,
            self.settings.proxy_metrics_port,
            "TRADEWIND_PROXY_METRICS_PORT",
        )
        log.info("serving", settings=self.settings.model_dump(mode="json", exclude={"database_url", "broker_url"}))
        port = await self._listen()
        if self.settings.proxy_http_listen:
            await self.http.start(self.settings.proxy_http_listen)
        return port

    async def stop(self) -> None:
        """Lets calls in flight end, stores what it can and ends."""
        grace_s = self.settings.proxy_drain.total_seconds()
        if self.envoy is not None:
            await self.envoy.stop(grace_s)
        await asyncio.gather(self.server.drain(NAMES, grace_s), self.http.drain(grace_s))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.to_thread(self.flusher.stop)
        if self.envoy is not None:
            await asyncio.to_thread(self.envoy.writers.stop)
        self.spool.close()
        for endpoint in self.endpoints:
            await endpoint.channel.close(None)
        self.engine.dispose()

    def routes(self) -> Mapping[bytes, FamilyRoute | ModelRoute]:
        """How each name goes: families, and the models that the catalogue knows."""
        routes: dict[bytes, FamilyRoute | ModelRoute] = {}
        for targets in self.targets.values():
            for target in targets:
                # The first family that knows a model meters its direct calls.
                routes.setdefault(target.model.encode(), ModelRoute(target, self.intervals, self.tallies))
        return routes | {name.encode(): family for name, family in self.families.items()}

    def _add_services(self) -> None:
        tritons, rules = self.rules.tritons, self.rules
        inferring, streaming = Inferring(rules), Streaming(rules)
        if self._tracing is not None:
            inferring, streaming = TracedInferring(rules, self._tracing), TracedStreaming(rules, self._tracing)
        front = Front(tritons, inferring, streaming, VirtualModels(self.families, tritons))
        self.server.grpc.add_generic_rpc_handlers((front,))
        emissions_pb2_grpc.add_EmissionsServicer_to_server(
            EmissionsServicer(
                self.engine,
                self.catalogue,
                self._pending_inferences,
                terms_of(self.settings),
                self.reconciling.look if self.reconciling else None,
            ),
            ErrorsMapped(self.server.grpc),  # type: ignore[arg-type] # all that generated code uses of a server
        )
        operations_pb2_grpc.add_OperationsServicer_to_server(
            OperationsServicer(self.forces, self.families, self.access),
            ErrorsMapped(self.server.grpc),  # type: ignore[arg-type] # as above
        )

    async def _watch(self) -> None:
        """Begins to record what a report has beside the ledger."""
        self._begin(self.own_cpu.watch(self.spool.identity))
        if self.reconciling is not None:
            await self.reconciling.start(self.spool.identity)
            self._begin(self.reconciling.watch())
            return
        with contextlib.suppress(SQLAlchemyError):  # A database that is away has said so.
            await asyncio.to_thread(forget_watches, self.engine, self.spool.identity)

    def _follow(self) -> None:
        settings = self.settings
        if settings.proxy_follow is Follow.MQTT:
            client_id = f"tradewind-proxy-{self.spool.identity}"
            bus = BusFollowing(self.following, settings.proxy_zone, self.families, broker_address(settings), client_id)
            self._begin(bus.follow())
            return
        self.selector_way.check(settings.proxy_selector)
        self._begin(self.following.follow(settings.proxy_selector, self.selector_way))
        reporting = Reporting(settings.proxy_zone, self.spool.identity, self.tallies)
        interval_s = settings.proxy_report_interval.total_seconds()
        self._begin(reporting.report_for_ever(settings.proxy_selector, interval_s, self.selector_way))

    async def _listen(self) -> int:
        """Serves, behind Envoy where that takes requests first; the public port."""
        self.access.tell("the operators' switches")
        if self.envoy is None:
            credentials = self.access.grpc_credentials()
            return await self.server.start(self.settings.proxy_listen, NAMES, credentials=credentials)
        await self.server.start(self.envoy.listen, NAMES, announce=False)
        port = await self.envoy.start()
        self._begin(self.envoy.steer())
        self._begin(self.envoy.watch())
        self._begin(self.envoy.look_up())
        return port

    def _steering(self) -> Steering:
        targets = [target for family in self.targets.values() for target in family]
        return Steering(
            self.settings,
            self.routes(),
            self.intervals,
            self.endpoints,
            targets,
            Ledger(self.engine),
            self.tallies,
            self.access,
        )

    def _pending_inferences(self) -> int:
        return self.flusher.pending_inferences() + (self.envoy.writers.pending_inferences() if self.envoy else 0)

    def _spooled_bytes(self) -> int:
        return self.spool.spooled_bytes() + (self.envoy.writers.spooled_bytes() if self.envoy else 0)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.create_task(work))


def seconds(span: timedelta | None) -> float | None:
    """A span as seconds, where there is one."""
    return None if span is None else span.total_seconds()


def terms_of(settings: ProxySettings) -> Terms:
    """What the operator says of the hardware."""
    kg, years = settings.proxy_embodied_kg, settings.proxy_embodied_years
    device = None if kg is None or years is None else Device(kg, years, settings.proxy_embodied_share)
    return Terms(settings.proxy_pue, device, settings.proxy_watts_per_core)


def check_database(engine: Engine) -> None:
    """StartupError where the database answers and is not migrated; one that is away is waited for, not fatal."""
    try:
        engine.connect().close()
    except DBAPIError:
        log.warning(
            "the ledger's database does not answer; accounts wait in the spool",
            database=engine.url.render_as_string(hide_password=True),
        )
        return
    require_migrated(engine)
