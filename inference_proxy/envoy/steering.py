"""Steers Envoy: tells it each new decision, keeps it running, and has its accounts stored."""

import asyncio
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from inference_proxy.endpoints import Endpoint
from inference_proxy.envoy.configuration import Doors, bootstrap
from inference_proxy.envoy.names import Names
from inference_proxy.envoy.places import Places
from inference_proxy.envoy.process import EnvoyProcess, find_binary
from inference_proxy.envoy.pushed import Place, pushed_endpoints, pushed_routes
from inference_proxy.envoy.tls import pushed_secrets
from inference_proxy.envoy.told import Terms, table
from inference_proxy.envoy.writers import Writers
from inference_proxy.intervals import Intervals
from inference_proxy.ledger import Ledger
from inference_proxy.refusals import too_much
from inference_proxy.routes import FamilyRoute, ModelRoute
from inference_proxy.settings import ProxySettings
from inference_proxy.tallies import Tallies
from inference_proxy.targets import Target
from tradewind.access import NO_TOKEN, UNKNOWN_TOKEN, Access
from tradewind.certificates import CallingTls, ServingTls
from tradewind.errors import StartupError
from tradewind.files import Followed
from tradewind.logs import get_logger
from tradewind.serving import warn_if_exposed

log = get_logger(__name__)

_LOOK_S = 0.1
_WATCH_S = 0.5
_NAMES_S = 5.0
_LONGEST_SOCKET_PATH = 90


class Steering:
    """Envoy in front of this process."""

    def __init__(
        self,
        settings: ProxySettings,
        routes: Mapping[bytes, object],
        intervals: Intervals,
        endpoints: Sequence[Endpoint],
        targets: Sequence[Target],
        ledger: Ledger,
        tallies: Tallies,
        access: Access,
    ) -> None:
        self._settings, self._routes, self._intervals, self._endpoints = settings, routes, intervals, endpoints
        self._access, self._way = access, endpoints[0].way
        directory = settings.proxy_spool_directory.absolute() / "envoy"
        self.places = Places(directory, _short(directory))
        self._clusters = _clusters(targets, endpoints)
        self._terms = Terms(
            spool=self.places.writers,
            segment_bytes=settings.proxy_segment_bytes,
            receipts=settings.proxy_receipts,
            tenant_key=settings.proxy_tenant_key,
            tenants=settings.proxy_tenants,
            too_much=None if settings.proxy_in_flight is None else too_much(settings.proxy_in_flight).text,
        )
        self._reasons: dict[tuple[str, str, str], str] = {}
        self.writers = Writers(
            self.places.writers, ledger, settings.proxy_flush_interval.total_seconds(), tallies, self._reasons
        )
        self.process = EnvoyProcess(self.places, find_binary(), settings.proxy_envoy_workers)
        self._seen_last: Any = None
        self._told: Any = None
        self._assigned: dict[str, list[Place]] = {}
        tls = [each for each in (access.tls, self._way.tls) if each is not None]
        self._certificates = Followed([file for each in tls for file in each.files], partial(_checked, tls))
        self._certificates_told: object = None
        self._names = Names(endpoint.grpc_address for endpoint in endpoints)
        self._pushes = 0
        self._stopping = self._unwritten = False
        self.port = 0

    @property
    def listen(self) -> str:
        """Where this process listens for Envoy."""
        return f"unix:{self.places.proxy}"

    async def start(self) -> int:
        """Tells Envoy where things stand, starts it or takes it over, and says the public port."""
        if len(self._endpoints) > 1:
            await self._names.look()
        try:
            for path in (self.places.pushed, self.places.writers):
                path.mkdir(parents=True, exist_ok=True)
            self._push()
        except OSError as error:
            raise StartupError(
                f"TRADEWIND_PROXY_SPOOL_DIRECTORY: {self.places.directory} cannot be written: {error.strerror}"
            ) from error
        host, _, port = self._settings.proxy_listen.rpartition(":")
        addresses = [endpoint.grpc_address for endpoint in self._endpoints]
        clusters = dict.fromkeys(self._clusters.values(), addresses)
        await self.process.start(
            bootstrap(
                self.places,
                host,
                int(port),
                clusters,
                self._settings.proxy_in_flight,
                Doors(self._access.tls, self._way),
            ),
        )
        warn_if_exposed(self._settings.proxy_listen, tls=self._access.tls is not None)
        self.port = await self.process.port()
        self.writers.start()
        print(f"inference_proxy listening on {host}:{self.port}", flush=True)
        return self.port

    async def steer(self) -> None:
        """Tells every change, for ever: decisions at once, readiness and intensities within a tenth of a second."""
        loop = asyncio.get_running_loop()
        for route in self._routes.values():
            if isinstance(route, FamilyRoute):
                route.on_decision = partial(loop.call_soon, self.push_changes)
        while True:
            self.push_changes()
            await asyncio.sleep(_LOOK_S)

    async def look_up(self) -> None:
        """Follows the names of several Tritons, for ever; a single one's is Envoy's own to look up."""
        while len(self._endpoints) > 1:
            await asyncio.sleep(_NAMES_S)
            await self._names.look()

    async def watch(self) -> None:
        """Starts Envoy again whenever it died by itself."""
        wait = _WATCH_S
        while True:
            await asyncio.sleep(wait)
            if self._stopping:
                return
            if self.process.alive:
                wait = _WATCH_S
                continue
            log.error("Envoy ended and is started again", pid=self.process.pid, log=str(self.places.log))
            try:
                await self.process.again()
            except StartupError as error:
                wait = min(wait * 2, 10.0)
                log.error("Envoy does not start", error=str(error))  # noqa: TRY400 -- its text says all
            else:
                if self.port == 0 or not self._settings.proxy_listen.endswith(f":{self.port}"):
                    self.port = await self.process.port()

    async def stop(self, grace_s: float) -> None:
        """Drains and ends Envoy, unless it is to stay."""
        self._stopping = True
        if not self._settings.proxy_envoy_stays:
            await self.process.stop(grace_s)

    def push_changes(self) -> None:
        """Writes what has changed since the last time; what cannot be written is written when it can."""
        try:
            self._push()
        except OSError as error:
            self._seen_last = self._told = self._certificates_told = None
            if not self._unwritten:
                where = str(self.places.pushed)
                log.error("Envoy cannot be told of changes and goes on as it was", at=where, error=error.strerror)  # noqa: TRY400
            self._unwritten = True
        else:
            if self._unwritten:
                log.info("Envoy is told of changes again")
            self._unwritten = False

    def _push(self) -> None:
        if len(self._endpoints) > 1:
            self._push_endpoints()
        if self._certificates.current is not self._certificates_told:
            self._certificates_told = self._certificates.current
            for path, secret in pushed_secrets(self._access.tls, self._way.tls, self.places).items():
                _swap(path, secret)
        now_us = time.time_ns() // 1_000
        seen = self._seen(now_us)
        if seen == self._seen_last:
            return
        self._seen_last = seen
        told = self._table("", now_us), self._token
        if told == self._told:
            return
        self._told = told
        self._pushes += 1
        # Revisions never come again, not even for the same content: requests in flight refer to them.
        revision = f"{now_us:x}.{self._pushes}"
        in_force = self._table(revision, now_us)
        for lane in in_force["lanes"].values():
            charge = json.loads("{" + lane["charge"] + "}")
            place = (charge["family"], charge["variant"], charge["decided"])
            if "fallback" in lane:
                self._reasons[place] = lane["fallback"]
            else:
                self._reasons.pop(place, None)
        clusters = sorted(set(self._clusters.values()))
        _swap(self.places.routes, pushed_routes(clusters, revision, in_force, self._way))

    @property
    def _token(self) -> str:
        return self._way.token.authorization if self._way.token is not None else ""

    def _seen(self, now_us: int) -> tuple[Any, ...]:
        """All that changes what Envoy is told: cheaper to look at, ten times a second, than to write a table of."""
        families = [route for route in self._routes.values() if isinstance(route, FamilyRoute)]
        alone = [route.target for route in self._routes.values() if isinstance(route, ModelRoute)]
        return (
            [(route.decision, route.served(now_us)) for route in families],
            [(target.max_batch_size, target.charges) for target in (*self._targets(), *alone)],
            self._intervals.ahead(now_us),
            self._token,
            self._access.digests(),
        )

    def _table(self, revision: str, now_us: int) -> dict[str, Any]:
        told = table(self._routes, self._intervals, self._terms, self._cluster_of, revision, now_us)
        digests = self._access.digests()
        if digests is not None:
            told["tokens"] = {"known": dict.fromkeys(digests, True), "missing": NO_TOKEN, "unknown": UNKNOWN_TOKEN}
        return told

    def _push_endpoints(self) -> None:
        assigned = {
            self._clusters[target_key(target)]: self._names.places(
                endpoint.grpc_address for endpoint in target.endpoints
            )
            for target in self._targets()
        }
        for cluster, places in assigned.items():
            if self._assigned.get(cluster) != places:
                content = pushed_endpoints(cluster, places, f"{time.time_ns():x}")
                _swap(self.places.endpoints(cluster), content)
                self._assigned[cluster] = places

    def _targets(self) -> list[Target]:
        return [target for route in self._routes.values() if isinstance(route, FamilyRoute) for target in route.targets]

    def _cluster_of(self, target: Target) -> str:
        return self._clusters[target_key(target)]


def _checked(tls: Iterable[ServingTls | CallingTls]) -> object:
    """Something new whenever the files have changed and are right; StartupError where they are not."""
    for each in tls:
        each.check()
    return object()


def target_key(target: Target) -> tuple[str, str]:
    """What tells targets apart."""
    return target.model, target.version


def _clusters(targets: Sequence[Target], endpoints: Sequence[Endpoint]) -> dict[tuple[str, str], str]:
    """Envoy's cluster of each target: one for all in front of one Triton, else one each, as not all have all ready."""
    keys = list(dict.fromkeys(target_key(target) for target in targets))
    if len(endpoints) == 1:
        return dict.fromkeys(keys, "triton")
    return {key: f"triton-{number}" for number, key in enumerate(keys)}


def _short(directory: Path) -> Path:
    """A folder for sockets, whose paths may only be some hundred bytes long; of this user alone."""
    sockets = directory / "sockets"
    if len(os.fsencode(sockets)) > _LONGEST_SOCKET_PATH:
        digest = hashlib.sha256(os.fsencode(directory)).hexdigest()[:16]
        sockets = Path(tempfile.gettempdir()) / f"tradewind-{os.getuid()}-{digest}"
    try:
        sockets.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StartupError(f"the folder {sockets} for Envoy's sockets cannot be made: {error.strerror}") from error
    if sockets.stat().st_uid != os.getuid():
        raise StartupError(f"the folder {sockets} for Envoy's sockets belongs to another user: remove it")
    return sockets


def _swap(path: Path, content: Any) -> None:
    """Puts a file in place at once, as the watcher of its directory expects it."""
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    fresh.touch(mode=0o600)  # Triton's token may be in it.
    fresh.write_text(json.dumps(content), encoding="utf-8")
    fresh.rename(path)
