"""Whether spans are asked for, and where they go: the standard OTEL_… variables say it, as for any program."""

from collections.abc import Mapping
from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import Any

from opentelemetry import trace

from inference_proxy.tracing import Tracing
from tradewind.errors import StartupError
from tradewind.logs import get_logger

log = get_logger(__name__)

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_EXPORTERS = "OTEL_TRACES_EXPORTER"
_GROUP = "opentelemetry_traces_exporter"
_SERVICE = "tradewind-inference-proxy"


def tracing_of(environment: Mapping[str, str]) -> Tracing | None:
    """The proxy's tracing; None where nobody asks for spans."""
    provider = trace.get_tracer_provider()
    # A provider that somebody has set already, as opentelemetry-instrument does, is the one to use.
    if isinstance(provider, trace.ProxyTracerProvider):
        names = exporters_of(environment)
        if not names:
            return None
        if find_spec("opentelemetry.sdk") is None:
            log.warning("OTEL_ variables ask for spans, which need the extra: install tradewind[tracing]")
            return None
        provider = _provider([_exporter(name) for name in names], environment)
    return Tracing(provider.get_tracer("tradewind.inference_proxy"))


def exporters_of(environment: Mapping[str, str]) -> list[str]:
    """The names of the exporters that the environment asks for; none where it asks for no spans."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return []
    default = "otlp" if any(environment.get(name) for name in _ENDPOINTS) else "none"
    wanted = environment.get(_EXPORTERS, "").strip() or default
    names = [name for each in wanted.split(",") if (name := each.strip()) not in {"", "none"}]
    protocol = next((environment[name] for name in _PROTOCOLS if environment.get(name)), "http/protobuf")
    otlp = "otlp_proto_grpc" if protocol.strip() == "grpc" else "otlp_proto_http"
    return [otlp if name == "otlp" else name for name in names]


def _exporter(name: str) -> Any:
    found = next(iter(entry_points(group=_GROUP, name=name)), None)
    if found is None:
        there = ", ".join(sorted({each.name for each in entry_points(group=_GROUP)}))
        raise StartupError(f"{_EXPORTERS} asks for the exporter {name}, which is not installed: there are {there}")
    return found.load()()


def _provider(exporters: list[Any], environment: Mapping[str, str]) -> trace.TracerProvider:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    named = "OTEL_SERVICE_NAME" in environment or "service.name=" in environment.get("OTEL_RESOURCE_ATTRIBUTES", "")
    provider = TracerProvider(resource=Resource.create({} if named else {"service.name": _SERVICE}))
    for exporter in exporters:
        provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider
