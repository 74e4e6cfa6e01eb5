"""The fronts and the accounts with spans: put in the place of the plain ones where spans are asked for."""

from collections.abc import AsyncIterator, Mapping
from types import TracebackType

from aiohttp.web import BaseRequest, StreamResponse
from opentelemetry.trace import Span, Status, StatusCode

from inference_proxy.accounting import Accounting
from inference_proxy.attempts import Attempt
from inference_proxy.endpoints import Endpoint
from inference_proxy.http.front import HttpFront
from inference_proxy.http.places import Place
from inference_proxy.inferring import Inferring, Rules
from inference_proxy.relaying import SERVICE, Context
from inference_proxy.routes import FamilyRoute, Lane, Receipt
from inference_proxy.spool import Spool
from inference_proxy.streaming import Streaming
from inference_proxy.tallies import Tallies
from inference_proxy.tracing import (
    Tracing,
    attributes_of,
    failure_noted,
    note_booked,
    note_http_status,
    rpc_attributes,
    status_noted,
)
from tradewind.access import Access

_INFERRING = frozenset({"infer", "generate", "generate_stream"})


class TracedInferring(Inferring):
    """Answers ModelInfer, each in a span."""

    def __init__(self, rules: Rules, tracing: Tracing) -> None:
        super().__init__(rules)
        self._tracing, self._attributes = tracing, rpc_attributes(SERVICE, "ModelInfer")

    async def infer(self, request: bytes, context: Context) -> bytes:
        """One ModelInfer."""
        metadata = context.invocation_metadata() or ()
        with (
            self._tracing.serving(f"{SERVICE}/ModelInfer", metadata, self._attributes) as span,
            status_noted(span, context),
        ):
            return await super().infer(request, context)


class TracedStreaming(Streaming):
    """Answers ModelStreamInfer; the accounts have a span for each message."""

    def __init__(self, rules: Rules, tracing: Tracing) -> None:
        super().__init__(rules)
        self._tracing = tracing

    async def infer(self, requests: AsyncIterator[bytes], context: Context) -> None:
        """One stream, until both sides have ended it."""
        with self._tracing.streaming(f"{SERVICE}/ModelStreamInfer", context.invocation_metadata() or ()):
            await super().infer(requests, context)


class TracedHttpFront(HttpFront):
    """Serves Triton's HTTP routes; each inference in a span."""

    def __init__(
        self,
        rules: Rules,
        families: Mapping[str, FamilyRoute],
        endpoints: tuple[Endpoint, ...],
        access: Access,
        tracing: Tracing,
    ) -> None:
        super().__init__(rules, families, endpoints, access)
        self._tracing = tracing

    async def _dispatch(self, request: BaseRequest, place: Place) -> StreamResponse:
        if request.method != "POST" or place.action not in _INFERRING:
            return await super()._dispatch(request, place)
        attributes = {"http.request.method": request.method, "url.path": place.path}
        with (
            self._tracing.serving(f"POST {place.action}", request.headers.items(), attributes) as span,
            failure_noted(span),
        ):
            answer = await super()._dispatch(request, place)
            note_http_status(span, answer.status)
            return answer


class TracedAccounting(Accounting):
    """Writes the spool and the tallies, and what was served on the span of whoever asked."""

    def __init__(self, spool: Spool, tallies: Tallies, tracing: Tracing) -> None:
        super().__init__(spool, tallies)
        self._tracing = tracing

    def attempt(self, lane: Lane, endpoint: Endpoint) -> Attempt:
        """A try of one message of a stream, with its span."""
        span = self._tracing.message()
        return super().attempt(lane, endpoint) if span is None else _TracedAttempt(lane, endpoint, self.tallies, span)

    def book(self, lane: Lane, inferences: int, attempt: Attempt | None = None) -> Receipt:
        """Books one request and says so on its span."""
        receipt = super().book(lane, inferences, attempt)
        if isinstance(attempt, _TracedAttempt):
            attempt.booked(lane, inferences, receipt)
        else:
            note_booked(lane, inferences, receipt)
        return receipt


class _TracedAttempt(Attempt):
    """One message of a stream, from when it was asked to its last answer."""

    __slots__ = ("_booked", "_span")

    def __init__(self, lane: Lane, endpoint: Endpoint, tallies: Tallies, span: Span) -> None:
        super().__init__(lane, endpoint, tallies)
        self._span, self._booked = span, False
        span.set_attributes(rpc_attributes(SERVICE, "ModelStreamInfer"))

    def booked(self, lane: Lane, inferences: int, receipt: Receipt) -> None:
        """It was executed and recorded."""
        self._booked = True
        self._span.set_attributes(attributes_of(lane, inferences, receipt))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """It is over; without a booking it failed."""
        super().__exit__(kind, error, trace)
        if not self._booked:
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()
