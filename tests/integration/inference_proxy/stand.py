"""A proxy with real peers around it: Triton with test models, a selector that says what a test wants, a database."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import service_pb2

from inference_proxy.proxy import Proxy
from inference_proxy.settings import ProxySettings
from tradewind import messages
from tradewind.access import Access
from tradewind.decisions import Decision, DecisionReason, Share
from tradewind.migrate import upgrade
from tradewind.readings import Reading, ReadingKind, Signal
from tradewind.rpc.v1 import selector_pb2, selector_pb2_grpc

MODELS = Path(__file__).parents[2] / "triton_models"
ZONE = "GB"

_FIGURES = "energy_mj: {{value: {}, provenance: estimated}}, error: {{value: {}, provenance: estimated}}"
_SMALL, _MEDIUM, _LARGE = (_FIGURES.format(*each) for each in ((100, 10), (300, 6), (900, 3)))
CATALOGUE = f"""
families:
  ident:
    error_metric: error_pct
    pool: [small, medium, large]
    variants:
      small: {{model: ident_small, {_SMALL}}}
      medium: {{model: ident_medium, {_MEDIUM}}}
      large: {{model: ident_large, {_LARGE}}}
  count:
    error_metric: error_pct
    pool: [few, many]
    variants:
      few: {{model: count_small, {_SMALL}}}
      many: {{model: count_large, {_LARGE}}}
  sum:
    error_metric: error_pct
    pool: [plain, thorough]
    variants:
      plain: {{model: sum_small, {_SMALL}}}
      thorough: {{model: sum_large, {_LARGE}}}
"""


_PARAMETERS = {bool: "bool_param", int: "int64_param", float: "double_param", str: "string_param"}


class Selector(selector_pb2_grpc.SelectorServicer):
    """A real gRPC server whose decisions the test makes."""

    def __init__(self, access: Access | None = None) -> None:
        self._access = access
        self._server: grpc.aio.Server | None = None
        self._watchers: list[asyncio.Queue[selector_pb2.WatchDecisionsResponse]] = []
        self._decisions: dict[str, Decision] = {}
        self._readings: list[Reading] = []
        self._last_report = 0
        self.reported: Counter[tuple[str, str, str, str]] = Counter()
        self.port = 0

    @property
    def address(self) -> str:
        """host:port."""
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Serves, on the port it had if it had one."""
        access = self._access
        self._server = grpc.aio.server(interceptors=access.interceptors if access is not None else ())
        selector_pb2_grpc.add_SelectorServicer_to_server(self, self._server)
        credentials = access.grpc_credentials() if access is not None else None
        listen = f"127.0.0.1:{self.port}"
        self.port = (
            self._server.add_insecure_port(listen)
            if credentials is None
            else self._server.add_secure_port(listen, credentials)
        )
        await self._server.start()

    async def stop(self) -> None:
        """Goes away, with its streams."""
        if self._server is not None:
            await self._server.stop(None)
        self._server = None
        self._watchers.clear()

    async def WatchDecisions(  # noqa: N802 -- the proto's name
        self,
        request: selector_pb2.WatchDecisionsRequest,
        context: Any,  # noqa: ARG002
    ) -> AsyncIterator[selector_pb2.WatchDecisionsResponse]:
        """A snapshot, then what the test says."""
        queue: asyncio.Queue[selector_pb2.WatchDecisionsResponse] = asyncio.Queue()
        self._watchers.append(queue)
        snapshot = selector_pb2.DecisionSnapshot(
            decisions=[
                messages.decision_to_wire(each)
                for each in self._decisions.values()
                if each.zone in request.zones and each.family in request.families
            ],
            readings=[messages.reading_to_wire(each) for each in self._readings],
        )
        yield selector_pb2.WatchDecisionsResponse(snapshot=snapshot)
        while True:
            yield await queue.get()

    async def Decide(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002 -- the proto's name; never asked
        """Nobody asks this: decisions are watched."""
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "the proxy watches decisions")

    async def ListFamilies(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002 -- as above
        """Nobody asks this: the proxy has the catalogue."""
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "the proxy has its catalogue")

    async def ReportServed(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002 -- the proto's name
        """Remembers what was reported, each number once."""
        counted = request.sequence > self._last_report
        if counted:
            self._last_report = request.sequence
            for each in request.counts:
                self.reported[each.zone, each.family, each.variant, each.decision] += each.inferences
        return selector_pb2.ReportServedResponse(counted=counted)

    def decide(
        self, family: str, mix: dict[str, float], current: Reading | None = None, *, age: timedelta = timedelta()
    ) -> Decision:
        """Decides, some time ago where it is to have an age, and tells whoever watches."""
        now = datetime.now(UTC) - age
        made = Decision(
            id=f"{family}-{'-'.join(mix)}",
            zone=ZONE,
            family=family,
            revision=1,
            mix=tuple(Share(variant, weight) for variant, weight in mix.items()),
            valid_from=now,
            valid_until=now + timedelta(hours=1),
            policy="test",
            reason=DecisionReason.FIXED,
            explanation="the test says so",
            current=current,
            range=None,
            decided_at=now,
        )
        self._decisions[family] = made
        self._tell(selector_pb2.WatchDecisionsResponse(decision=messages.decision_to_wire(made)))
        return made

    def restate(self, reading: Reading) -> None:
        """Says a reading anew."""
        self._readings.append(reading)
        self._tell(selector_pb2.WatchDecisionsResponse(restated=messages.reading_to_wire(reading)))

    def _tell(self, event: selector_pb2.WatchDecisionsResponse) -> None:
        for queue in self._watchers:
            queue.put_nowait(event)


def reading_now(value: float, *, minutes: float = 60, published_s: float = 0) -> Reading:
    """A reading of an interval that holds now."""
    now = datetime.now(UTC)
    return Reading(
        zone=ZONE,
        valid_from=now.replace(minute=0, second=0, microsecond=0),
        valid_to=now.replace(minute=0, second=0, microsecond=0) + timedelta(minutes=minutes),
        intensity_g_per_kwh=value,
        kind=ReadingKind.ACTUAL,
        signal=Signal.AVERAGE,
        source="test",
        published_at=now + timedelta(seconds=published_s),
    )


def settings_for(directory: Path, database_url: str, **changes: Any) -> ProxySettings:
    """A proxy's settings: free ports, fast loops, a spool and a catalogue of the test's own."""
    catalogue = directory / "catalogue.yaml"
    if not catalogue.exists():
        catalogue.write_text(CATALOGUE, encoding="utf-8")
    return ProxySettings(
        **{
            "catalogue": catalogue,
            "database_url": database_url,
            "proxy_listen": "127.0.0.1:0",
            "proxy_http_listen": "127.0.0.1:0",
            "proxy_zone": ZONE,
            "proxy_spool_directory": directory / "spool",
            "proxy_metrics_port": 0,
            "proxy_ready_interval": timedelta(milliseconds=100),
            "proxy_flush_interval": timedelta(milliseconds=50),
            "proxy_report_interval": timedelta(milliseconds=100),
            "proxy_drain": timedelta(seconds=5),
            **changes,
        }
    )


@asynccontextmanager
async def running(settings: ProxySettings) -> AsyncIterator[Proxy]:
    """A proxy in this event loop, with its tables made."""
    upgrade(settings.database_url)
    proxy = Proxy(settings)
    try:
        await proxy.start()
        yield proxy
    finally:
        await proxy.stop()


def address_of(proxy: Proxy) -> str:
    """host:port of its gRPC front."""
    return f"127.0.0.1:{proxy.server.port}"


def infer_request(model: str, values: list[float] | None = None, **parameters: Any) -> service_pb2.ModelInferRequest:
    """A request with one row of floats."""
    data = np.array(values or [1.0, 2.0], np.float32)
    flat = model.startswith(("count", "sum"))
    request = service_pb2.ModelInferRequest(model_name=model, id=str(parameters.pop("id", "")))
    request.inputs.add(name="INPUT", datatype="FP32", shape=[1] if flat else [1, len(data)])
    request.raw_input_contents.append(data.tobytes())
    for key, value in parameters.items():
        setattr(request.parameters[key], _PARAMETERS[type(value)], value)
    return request


def output_of(response: service_pb2.ModelInferResponse) -> list[float]:
    """The floats of an answer's only output."""
    return [float(each) for each in np.frombuffer(response.raw_output_contents[0], np.float32)]


def receipt_of(response: service_pb2.ModelInferResponse) -> dict[str, Any]:
    """The receipt among an answer's parameters."""
    return {
        key: getattr(value, value.WhichOneof("parameter_choice"))
        for key, value in response.parameters.items()
        if key.startswith("carbon_")
    }


async def eventually(condition: Any, *, timeout_s: float = 20) -> None:
    """Waits until a condition holds; asyncio.TimeoutError when it never does."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 -- what is awaited is in other processes and threads
            await asyncio.sleep(0.01)
