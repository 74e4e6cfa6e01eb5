"""Spans of inferences: one for what a client asked, one for each call to Triton, and whose context Triton is told.

Nothing here is in the way where nobody asked for spans: a client's `traceparent` then goes on to Triton as it came,
with all other metadata.
"""

import asyncio
import contextlib
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import grpc
from opentelemetry import propagate, trace
from opentelemetry.context import Context as TraceContext
from opentelemetry.propagators.textmap import Getter, TextMapPropagator
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.util.types import AttributeValue

from inference_proxy.routes import Lane, Receipt
from tradewind.calling import Metadata, Way

Pairs = tuple[tuple[str, str | bytes], ...]

_PREFIX = "tradewind."


class _Metadata(Getter[Metadata]):
    def get(self, carrier: Metadata, key: str) -> list[str] | None:
        found = [value for name, value in carrier if name.lower() == key]
        return [each if isinstance(each, str) else each.decode(errors="replace") for each in found] or None

    def keys(self, carrier: Metadata) -> list[str]:
        return [name for name, _ in carrier]


_METADATA = _Metadata()


@dataclass(slots=True)
class Served:
    """One request of a client, or one stream of them, and the calls to Triton that it has led to."""

    name: str
    context: TraceContext
    """Whose children the calls are."""
    span: Span | None = None
    """None for a stream: each of its messages has a span of its own."""
    calls: list[Span] = field(default_factory=list)

    def booked(self, lane: Lane, inferences: int, receipt: Receipt) -> None:
        """Says on its span what was served."""
        if self.span is not None:
            self.span.set_attributes(attributes_of(lane, inferences, receipt))

    def end(self) -> None:
        """Ends its calls, as far as they have not ended."""
        for call in self.calls:
            call.end()
        self.calls.clear()


_SERVED: ContextVar[Served | None] = ContextVar("served", default=None)


class Tracing:
    """Makes the spans of one proxy."""

    def __init__(self, tracer: trace.Tracer, propagator: TextMapPropagator | None = None) -> None:
        """Without a propagator: the one that OTEL_PROPAGATORS names, by default W3C trace context and baggage."""
        self._tracer, self._propagator = tracer, propagator or propagate.get_global_textmap()

    @contextlib.contextmanager
    def serving(
        self, name: str, metadata: Metadata, attributes: Mapping[str, AttributeValue] | None = None
    ) -> Iterator[Span]:
        """The span of a request, for as long as the block runs."""
        parent = self._propagator.extract(tuple(metadata), TraceContext(), _METADATA)
        span = self._tracer.start_span(name, parent, SpanKind.SERVER, attributes, record_exception=False)
        served = Served(name, trace.set_span_in_context(span, parent), span)
        token = _SERVED.set(served)
        try:
            yield span
        finally:
            _SERVED.reset(token)
            served.end()
            span.end()

    @contextlib.contextmanager
    def streaming(self, name: str, metadata: Metadata) -> Iterator[None]:
        """A stream, for as long as the block runs."""
        served = Served(name, self._propagator.extract(tuple(metadata), TraceContext(), _METADATA))
        token = _SERVED.set(served)
        try:
            yield
        finally:
            _SERVED.reset(token)
            served.end()

    def message(self) -> Span | None:
        """The span of a stream's next message; None outside of a stream."""
        served = _SERVED.get()
        if served is None or served.span is not None:
            return None
        return self._tracer.start_span(served.name, served.context, SpanKind.SERVER)

    def calling(self, metadata: Pairs) -> Pairs:
        """Begins the span of a call to Triton; the metadata with its context, in place of the client's."""
        served = _SERVED.get()
        if served is None:
            return metadata
        if served.span is not None:
            served.end()  # It is tried once more.
        span = self._tracer.start_span(served.name, served.context, SpanKind.CLIENT)
        served.calls.append(span)
        told: dict[str, str] = {}
        self._propagator.inject(told, trace.set_span_in_context(span, served.context))
        fields = self._propagator.fields
        return (*(pair for pair in metadata if pair[0].lower() not in fields), *told.items())


@dataclass(frozen=True, slots=True)
class TracedWay(Way):
    """The way to Triton, where it is told of the span that calls it."""

    tracing: Tracing | None = None

    @property
    def dress(self) -> Any:
        """Puts the span's context in place of the client's, once the rest is as it should be."""
        dress, tracing = Way.dress.__get__(self), self.tracing
        if tracing is None:
            return dress

        def traced(metadata: Metadata | None) -> Pairs:
            return tracing.calling(tuple(metadata or ()) if dress is None else dress(metadata))

        return traced


def traced_way(way: Way, tracing: Tracing) -> Way:
    """The same way with spans."""
    return TracedWay(way.tls, way.token, way.drops, tracing)


def note_booked(lane: Lane, inferences: int, receipt: Receipt) -> None:
    """Says on the span of the request at hand what was served, if it has one."""
    served = _SERVED.get()
    if served is not None:
        served.booked(lane, inferences, receipt)


def attributes_of(lane: Lane, inferences: int, receipt: Receipt) -> dict[str, AttributeValue]:
    """What was served, as attributes; what is not known is not among them."""
    account = lane.account
    known: dict[str, AttributeValue | None] = {
        "requested_model": account.requested_model,
        "family": lane.key.charge.family or None,
        "variant": account.variant,
        "zone": account.zone,
        "inferences": inferences,
        "energy_uj": receipt.energy_uj,
        "emissions_ng": receipt.emissions_ng,
        "decision": account.decision.id if account.decision is not None else None,
        "fallback": None if account.fallback is None else str(account.fallback),
    }
    return {_PREFIX + name: value for name, value in known.items() if value is not None}


def rpc_attributes(service: str, method: str) -> dict[str, AttributeValue]:
    """A gRPC method, as OpenTelemetry names it."""
    return {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method}


@contextlib.contextmanager
def status_noted(span: Span, context: Any) -> Iterator[None]:
    """Says on the span how the gRPC call ended that the block answers."""
    code = grpc.StatusCode.OK
    try:
        yield
    except asyncio.CancelledError:
        code = grpc.StatusCode.CANCELLED
        raise
    except BaseException:
        code = _code_of(context)
        raise
    finally:
        span.set_attribute("rpc.grpc.status_code", code.value[0])
        if code is not grpc.StatusCode.OK:
            span.set_status(Status(StatusCode.ERROR))


def _code_of(context: Any) -> grpc.StatusCode:
    """The code that an aborted call has; what was not aborted and failed all the same is unknown to the client."""
    code = context.code()
    if isinstance(code, int):
        code = next((each for each in grpc.StatusCode if each.value[0] == code), None)
    return code if isinstance(code, grpc.StatusCode) and code is not grpc.StatusCode.OK else grpc.StatusCode.UNKNOWN


def note_http_status(span: Span, status: int) -> None:
    """How a request over HTTP was answered; what the client did wrong is no error of the server's."""
    span.set_attribute("http.response.status_code", status)
    if status >= 500:
        span.set_status(Status(StatusCode.ERROR))


@contextlib.contextmanager
def failure_noted(span: Span) -> Iterator[None]:
    """Says on the span that the block did not answer."""
    try:
        yield
    except BaseException:
        span.set_status(Status(StatusCode.ERROR))
        raise
