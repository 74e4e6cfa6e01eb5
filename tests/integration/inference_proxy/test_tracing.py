"""A span for what a client asked, and one for the call, whose context Triton is told; the client's, where none is."""

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from tritonclient.grpc import service_pb2, service_pb2_grpc

from inference_proxy.proxy import Proxy
from inference_proxy.settings import ProxyFront, ProxySettings
from inference_proxy.tracing import Tracing
from local_stack.ports import free_ports
from local_stack.triton import Triton
from tests.integration.inference_proxy.http.asking import address_over_http, ask, infer_json
from tests.integration.inference_proxy.recording import Recording, recording
from tests.integration.inference_proxy.stand import (
    Selector,
    address_of,
    eventually,
    infer_request,
    reading_now,
    running,
    settings_for,
)
from tradewind.migrate import upgrade

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT, TRACESTATE = f"00-{TRACE}-{PARENT}-01", "vendor=opaque"
METADATA = (("traceparent", TRACEPARENT), ("tracestate", TRACESTATE), ("x-own", "kept"))


@pytest.fixture
async def behind(models: Triton) -> AsyncIterator[Recording]:
    """What the real Triton is told."""
    async with recording(models) as made:
        yield made


@pytest.fixture
def settings(behind: Recording, selector: Selector, tmp_path: Path, sqlite_url: str) -> ProxySettings:
    upgrade(sqlite_url)
    return settings_for(
        tmp_path,
        sqlite_url,
        proxy_triton_grpc=behind.grpc,
        proxy_triton_http=behind.http,
        proxy_selector=selector.address,
    )


@pytest.fixture
def spans() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
async def traced(settings: ProxySettings, selector: Selector, spans: InMemorySpanExporter) -> AsyncIterator[Proxy]:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(spans))
    proxy = Proxy(settings, Tracing(provider.get_tracer("test")))
    try:
        await proxy.start()
        decision = selector.decide("ident", {"large": 1.0}, reading_now(200.0))
        selector.decide("count", {"few": 1.0})
        await eventually(lambda: proxy.families["ident"].decision == decision)
        await eventually(lambda: proxy.families["count"].decision is not None)
        yield proxy
    finally:
        await proxy.stop()
        provider.shutdown()


@pytest.fixture
async def client(traced: Proxy) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(address_of(traced)) as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel)


def of_kind(spans: InMemorySpanExporter, kind: SpanKind) -> list[ReadableSpan]:
    return [each for each in spans.get_finished_spans() if each.kind is kind]


def own(span: ReadableSpan) -> dict[str, Any]:
    return {
        key.removeprefix("tradewind."): value
        for key, value in (span.attributes or {}).items()
        if key.startswith("tradewind.")
    }


def ids(span: ReadableSpan) -> tuple[str, str, str]:
    """Trace, span and parent."""
    assert span.context is not None
    assert span.parent is not None
    return f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}", f"{span.parent.span_id:016x}"


def one_trace(spans: InMemorySpanExporter, behind: Recording) -> ReadableSpan:
    """The server's span, after its place between the client's span and the call's, which Triton was told, is held."""
    (server,), (call,), (told,) = of_kind(spans, SpanKind.SERVER), of_kind(spans, SpanKind.CLIENT), behind.told
    trace, number, parent = ids(server)
    assert (trace, parent) == (TRACE, PARENT)
    assert ids(call)[::2] == (TRACE, number)
    assert told["traceparent"] == f"00-{TRACE}-{ids(call)[1]}-01"
    assert (told["tracestate"], told["x-own"]) == (TRACESTATE, "kept")
    return server


SERVED = {
    "requested_model": "ident",
    "family": "ident",
    "variant": "large",
    "zone": "GB",
    "decision": "ident-large",
    "inferences": 1,
    "energy_uj": 900_000,
    "emissions_ng": 50_000,
}


async def test_a_unary_inference(client: Any, spans: InMemorySpanExporter, behind: Recording) -> None:
    await client.ModelInfer(infer_request("ident"), metadata=METADATA)
    await eventually(lambda: of_kind(spans, SpanKind.SERVER))
    server = one_trace(spans, behind)
    assert own(server) == SERVED
    assert server.name == "inference.GRPCInferenceService/ModelInfer"
    assert (server.attributes or {})["rpc.grpc.status_code"] == 0


async def test_a_refusal_and_a_fallback(client: Any, spans: InMemorySpanExporter, behind: Recording) -> None:
    with pytest.raises(grpc.aio.AioRpcError):
        await client.ModelInfer(infer_request("ident", carbon_min_accuracy=100))
    await client.ModelInfer(infer_request("ident", carbon_pin_variant="small"))
    await eventually(lambda: len(of_kind(spans, SpanKind.SERVER)) == 2)
    refused, fell_back = of_kind(spans, SpanKind.SERVER)
    assert refused.status.status_code is StatusCode.ERROR
    assert (refused.attributes or {})["rpc.grpc.status_code"] == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert own(fell_back).items() >= {"variant": "small", "fallback": "pinned", "energy_uj": 100_000}.items()
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", behind.told[0]["traceparent"])


async def test_a_model_without_a_route_is_traced_and_not_described(
    client: Any, spans: InMemorySpanExporter, behind: Recording
) -> None:
    with pytest.raises(grpc.aio.AioRpcError):
        await client.ModelInfer(infer_request("nobody"), metadata=METADATA)
    await eventually(lambda: of_kind(spans, SpanKind.SERVER))
    assert own(one_trace(spans, behind)) == {}


async def test_an_inference_over_http(traced: Proxy, spans: InMemorySpanExporter, behind: Recording) -> None:
    answer = await ask(
        address_over_http(traced), "POST", "/v2/models/ident/infer", json.dumps(infer_json()), dict(METADATA)
    )
    assert answer.status == 200
    await eventually(lambda: of_kind(spans, SpanKind.SERVER))
    server = one_trace(spans, behind)
    assert own(server) == SERVED
    assert (server.name, (server.attributes or {})["http.response.status_code"]) == ("POST infer", 200)


async def test_every_message_of_a_stream(client: Any, spans: InMemorySpanExporter, behind: Recording) -> None:
    async def requests() -> AsyncIterator[service_pb2.ModelInferRequest]:
        yield infer_request("ident")
        yield infer_request("count", [3.0])

    answers = [each async for each in client.ModelStreamInfer(requests(), metadata=METADATA)]
    assert len(answers) >= 3
    await eventually(lambda: len(spans.get_finished_spans()) == 3)
    messages, (call,), (told,) = of_kind(spans, SpanKind.SERVER), of_kind(spans, SpanKind.CLIENT), behind.told
    assert {own(each)["variant"] for each in messages} == {"large", "few"}
    assert {ids(each)[::2] for each in (*messages, call)} == {(TRACE, PARENT)}
    assert told["traceparent"] == f"00-{TRACE}-{ids(call)[1]}-01"


@pytest.mark.parametrize("front", list(ProxyFront))
async def test_without_spans_the_clients_context_goes_on_as_it_came(
    settings: ProxySettings, selector: Selector, behind: Recording, front: ProxyFront
) -> None:
    (port,) = free_ports(1)
    changes = {"proxy_front": front, "proxy_envoy_workers": 1, "proxy_listen": f"127.0.0.1:{port}"}
    selector.decide("ident", {"large": 1.0})
    async with (
        running(settings.model_copy(update=changes)) as proxy,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        await proxy.following.heard.wait()
        stub: Any = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        answer = await stub.ModelInfer(infer_request("ident"), metadata=METADATA, wait_for_ready=True)
        assert answer.model_name.startswith("ident_")
    (told,) = behind.told
    assert (told["traceparent"], told["tracestate"], told["x-own"]) == (TRACEPARENT, TRACESTATE, "kept")
