"""Everything on one machine: broker, database, Triton and the three services as processes on free loopback ports."""

import math
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, TypeVar

from local_stack.broker import Broker
from local_stack.ports import free_ports, if_free
from local_stack.postgres import Postgres
from local_stack.processes import Child
from local_stack.services import Service
from local_stack.triton import PROJECT, Triton
from tradewind.errors import InvalidInput, StartupError
from tradewind.migrate import upgrade

DIGITS_CATALOGUE = PROJECT / "tradewind" / "catalogues" / "digits.yaml"

SQLITE, POSTGRES = "sqlite", "postgres"

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 8.0
_LOOK_EVERY_S = 0.2
_CONNECT_S = 3.0

_REPORT_S, _SHORTEST_REPORT_S = 300.0, 0.05
"""How often the selector is told what was served, in the trace's time and at the least."""


PartT = TypeVar("PartT")


class Part(Protocol):
    """What the stack runs: it can be started, started again on the same address, and stopped."""

    @property
    def child(self) -> Child:
        """The process behind it."""
        ...

    def start(self) -> None:
        """Returns when it serves."""
        ...

    def stop(self) -> None:
        """Returns when nothing of it runs."""
        ...


@dataclass(frozen=True, kw_only=True)
class Replay:
    """A trace to replay instead of the grid of today."""

    file: Path
    speed: float
    backfill_s: float
    """How much of the trace's time lies before the start."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What `tradewind up` may be told."""

    directory: Path
    """Databases, spools and logs."""
    zone: str = "local"
    database: str = SQLITE
    """`sqlite`, `postgres`, or the URL of a database of the user's own."""
    window_s: float = 86_400
    replay: Replay | None = None
    catalogue: Path = DIGITS_CATALOGUE
    triton_grpc: str | None = None
    """A Triton of the user's own; then none is started."""
    triton_http: str | None = None
    policy: str = "proportional"
    metrics: bool = False
    """Whether every service shows Prometheus metrics on a port of its own."""
    usual_ports: bool = False
    """Whether each part takes the port that clients and commands expect, where it is free."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Further settings of single services, by variable, such as TRADEWIND_PROXY_PUE."""


USUAL_PORTS = {"inference_proxy": 8_001, "carbon_service": 9_101, "selector_service": 9_102}
"""What the services listen on unless told otherwise, and so what clients and commands expect."""
USUAL_HTTP_PORT = 8_000
USUAL_METRICS_PORT = 8_002
"""Of the proxy; the other services show metrics only where they are told a port."""
USUAL_BROKER_PORTS = (1_883, 1_884)


class Stack:
    """The running parts, by name; as a context it stops them all in the end, last started first."""

    def __init__(self, options: Options, say: Callable[[str], None]) -> None:
        self.options = options
        self._say = say
        self.parts: dict[str, Part] = {}
        self.database_url = ""
        self._ending = ExitStack()
        services = ("inference_proxy", "carbon_service", "selector_service") if options.metrics else ()
        self._metrics = dict(zip(services, free_ports(len(services)), strict=True))
        if options.metrics and options.usual_ports:
            self._metrics["inference_proxy"] = if_free(USUAL_METRICS_PORT) or self._metrics["inference_proxy"]

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._ending.close()
            raise
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._ending.close()

    @property
    def broker(self) -> Broker:
        """The broker."""
        return self._part("broker", Broker)

    @property
    def carbon(self) -> Service:
        """The carbon service."""
        return self._part("carbon_service", Service)

    @property
    def selector(self) -> Service:
        """The selector service."""
        return self._part("selector_service", Service)

    @property
    def proxy(self) -> Service:
        """The inference proxy: where clients go."""
        return self._part("inference_proxy", Service)

    @property
    def triton_grpc(self) -> str:
        """host:port of Triton's gRPC, ours or the user's."""
        return self.options.triton_grpc or self._part("triton", Triton).grpc

    @property
    def triton_http(self) -> str:
        """host:port of Triton's HTTP, ours or the user's; empty where the user gave none."""
        if self.options.triton_grpc:
            return self.options.triton_http or ""
        return self._part("triton", Triton).http

    def addresses(self) -> list[tuple[str, str]]:
        """What listens where."""
        return [
            ("inference proxy (KServe V2 gRPC)", self.proxy.address),
            ("inference proxy (KServe V2 HTTP)", self.proxy.http_address or "none: needs --triton-http"),
            ("carbon service (gRPC)", self.carbon.address),
            ("selector service (gRPC)", self.selector.address),
            *((f"metrics of {name}", f"http://127.0.0.1:{port}/metrics") for name, port in self._metrics.items()),
            ("Triton (gRPC)", self.triton_grpc),
            ("Triton (HTTP)", self.triton_http or "not given"),
            ("broker (MQTT 5)", self.broker.url),
            ("broker (MQTT 3.1.1)", f"mqtt://127.0.0.1:{self.broker.port_v4}"),
            ("database", self.database_url),
            ("logs", str(self.options.directory)),
        ]

    def silent_triton(self) -> str:
        """The address of a Triton of the user's own to which no connection is taken; empty where all is well."""
        address = self.options.triton_grpc
        if address is None:
            return ""
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_S).close()
        except (OSError, OverflowError):
            return address
        return ""

    def unusual_addresses(self) -> list[str]:
        """The services and the broker that did not get their usual ports."""
        moved = [
            f"{name} ({self._part(name, Service).address})"
            for name, port in USUAL_PORTS.items()
            if self._part(name, Service).port != port
        ]
        return moved if self.broker.port == USUAL_BROKER_PORTS[0] else [*moved, f"broker ({self.broker.url})"]

    def _part(self, name: str, kind: type[PartT]) -> PartT:
        part = self.parts.get(name)
        if not isinstance(part, kind):
            raise StartupError(f"{name} does not run here")
        return part

    def _start(self) -> None:
        directory = self.options.directory
        if bool(self.options.triton_http) and not self.options.triton_grpc:
            raise InvalidInput("--triton-http needs --triton-grpc too: the proxy speaks gRPC to Triton")
        for option, address in (
            ("--triton-grpc", self.options.triton_grpc),
            ("--triton-http", self.options.triton_http),
        ):
            if address is not None and not address.rpartition(":")[2].isdigit():
                raise InvalidInput(f"{option} {address[:80]}: is not host:port")
        directory.mkdir(parents=True, exist_ok=True)
        self._add("broker", Broker(directory, USUAL_BROKER_PORTS if self.options.usual_ports else (0, 0)))
        self._prepare_database()
        if self.options.triton_grpc is None:
            self._add("triton", Triton(directory))
        # Last, because the clock of a replay runs from its start, and the selector then hears the history too.
        carbon = self._carbon()
        self._add("selector_service", self._selector(carbon.address))
        self._add("inference_proxy", self._proxy())
        self._add("carbon_service", carbon)

    def _add(self, name: str, part: Part) -> None:
        self._say(f"starting {name}")
        self.parts[name] = part
        self._ending.callback(part.stop)
        part.start()

    def _prepare_database(self) -> None:
        wanted, directory = self.options.database, self.options.directory
        if wanted == SQLITE:
            self.database_url = f"sqlite:///{directory / 'tradewind.db'}"
        elif wanted == POSTGRES:
            postgres = Postgres(directory)
            self._add("postgres", postgres)
            self.database_url = postgres.create_database("tradewind")
        else:
            self.database_url = wanted
        upgrade(self.database_url)

    def _common(self) -> dict[str, str]:
        return {
            "TRADEWIND_DATABASE_URL": self.database_url,
            "TRADEWIND_BROKER_URL": self.broker.url,
            "TRADEWIND_CATALOGUE": str(self.options.catalogue.resolve()),
        }

    def _carbon(self) -> Service:
        own = {}
        if (replay := self.options.replay) is not None:
            own = {
                "TRADEWIND_CARBON_REPLAY_FILE": str(replay.file.resolve()),
                "TRADEWIND_CARBON_REPLAY_ZONE": self.options.zone,
                "TRADEWIND_CARBON_REPLAY_SPEED": repr(replay.speed),
                "TRADEWIND_CARBON_REPLAY_BACKFILL": f"{replay.backfill_s:f}s",
            }
        carbon = self._service("carbon_service", own, "TRADEWIND_CARBON_LISTEN")
        carbon.port = carbon.port or free_ports(1)[0]
        return carbon

    def _selector(self, carbon: str) -> Service:
        own = {
            "TRADEWIND_SELECTOR_ZONES": self.options.zone,
            "TRADEWIND_SELECTOR_WINDOW": f"{whole_microseconds(self.options.window_s):f}s",
            "TRADEWIND_SELECTOR_POLICY": self.options.policy,
            "TRADEWIND_SELECTOR_CARBON": carbon,
        }
        return self._service("selector_service", own, "TRADEWIND_SELECTOR_LISTEN")

    def _proxy(self) -> Service:
        own = {
            "TRADEWIND_PROXY_TRITON_GRPC": self.triton_grpc,
            "TRADEWIND_PROXY_SELECTOR": self.selector.address,
            "TRADEWIND_PROXY_ZONE": self.options.zone,
            "TRADEWIND_PROXY_SPOOL_DIRECTORY": str(self.options.directory / "spool"),
            "TRADEWIND_PROXY_HTTP_LISTEN": "127.0.0.1:0",
            "TRADEWIND_PROXY_METRICS_PORT": "0",
        }
        if (replay := self.options.replay) is not None:
            # Feedback is as fast as the replay, or it would be of hours ago.
            own["TRADEWIND_PROXY_REPORT_INTERVAL"] = f"{max(_SHORTEST_REPORT_S, _REPORT_S / replay.speed):f}s"
        if self.triton_http:
            own["TRADEWIND_PROXY_TRITON_HTTP"] = self.triton_http
            return self._service("inference_proxy", own, "TRADEWIND_PROXY_LISTEN", "TRADEWIND_PROXY_HTTP_LISTEN")
        own["TRADEWIND_PROXY_HTTP_LISTEN"] = ""
        return self._service("inference_proxy", own, "TRADEWIND_PROXY_LISTEN")

    def _service(self, name: str, own: dict[str, str], listen_key: str, http_listen_key: str | None = None) -> Service:
        if name in self._metrics:
            own |= {listen_key.replace("_LISTEN", "_METRICS_PORT"): str(self._metrics[name])}
        section = listen_key.removesuffix("LISTEN")
        wanted = {key: value for key, value in self.options.settings.items() if key.startswith(section)}
        for key in sorted(wanted):
            if key in {*own, listen_key, http_listen_key}:
                raise InvalidInput(f"{key}: this is set here; unset it, and use an option where there is one")
        own |= wanted
        service = Service(name, self.options.directory, self._common() | own, listen_key, http_listen_key)
        if self.options.usual_ports:
            service.port = if_free(USUAL_PORTS[name])
            if http_listen_key is not None:
                service.http_port = if_free(USUAL_HTTP_PORT)
        return service


def whole_microseconds(window_s: float) -> float:
    """The window without what is smaller than a clock's step.

    A replay's times are rounded to microseconds: a window that was rounded up would now and then hold the reading
    that begins exactly where it does.
    """
    return math.floor(window_s * 1e6) / 1e6


class Caretaker:
    """Starts again what died, sooner at first and later when it keeps dying, and says so."""

    def __init__(self, stack: Stack, say: Callable[[str], None]) -> None:
        self._stack, self._say = stack, say
        self._pauses: dict[str, float] = {}
        self._due: dict[str, float] = {}

    def watch(self) -> None:
        """Looks after the stack until it is interrupted."""
        while True:
            self.look()
            time.sleep(_LOOK_EVERY_S)

    def look(self) -> None:
        """Mourns what has died since the last look, and starts what is due."""
        for name, part in self._stack.parts.items():
            if part.child.alive:
                continue
            if name not in self._due:
                pause = self._pauses.get(name, _FIRST_PAUSE_S)
                self._due[name] = time.monotonic() + pause
                self._pauses[name] = min(2 * pause, _LONGEST_PAUSE_S)
                self._say(f"{part.child.ending()} (its log: {part.child.log}); starting it again in {pause:g} s")
            elif time.monotonic() >= self._due[name]:
                self._revive(name, part)

    def _revive(self, name: str, part: Part) -> None:
        del self._due[name]
        try:
            part.start()
        except StartupError as error:
            self._say(str(error))
        else:
            self._say(f"{name} is back")
