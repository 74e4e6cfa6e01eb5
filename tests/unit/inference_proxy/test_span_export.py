"""Which spans are asked for by the standard variables, and that they arrive."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from inference_proxy.span_export import exporters_of, tracing_of
from tradewind.errors import StartupError


@pytest.mark.parametrize(
    ("environment", "names"),
    [
        ({}, []),
        ({"OTEL_SERVICE_NAME": "p"}, []),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, []),
        ({"OTEL_TRACES_EXPORTER": "console", "OTEL_SDK_DISABLED": "True"}, []),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, ["otlp_proto_http"]),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, ["otlp_proto_http"]),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "c:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, ["otlp_proto_grpc"]),
        ({"OTEL_TRACES_EXPORTER": "otlp, console"}, ["otlp_proto_http", "console"]),
        (
            {
                "OTEL_TRACES_EXPORTER": "otlp",
                "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
            },
            ["otlp_proto_http"],
        ),
    ],
)
def test_what_the_variables_ask_for(environment: dict[str, str], names: list[str]) -> None:
    assert exporters_of(environment) == names


def test_without_a_wish_there_are_no_spans() -> None:
    assert tracing_of({}) is None


def test_an_exporter_that_is_not_there_is_one_sentence() -> None:
    with pytest.raises(StartupError, match=r"OTEL_TRACES_EXPORTER asks for the exporter abacus, .* there are console"):
        tracing_of({"OTEL_TRACES_EXPORTER": "abacus"})


@pytest.fixture
def collected() -> Iterator[tuple[str, list[bytes], threading.Event]]:
    """A collector's address, what it got, and that it got something."""
    bodies: list[bytes] = []
    arrived = threading.Event()

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()
            arrived.set()

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = HTTPServer(("127.0.0.1", 0), Collector)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", bodies, arrived
    server.shutdown()
    thread.join()
    server.server_close()


def test_spans_arrive_at_the_collector_under_the_proxys_name(
    collected: tuple[str, list[bytes], threading.Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, bodies, arrived = collected
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": address, "OTEL_BSP_SCHEDULE_DELAY": "10"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)  # The exporter reads them itself.
    tracing = tracing_of(environment)
    assert tracing is not None
    with tracing.serving("infer", (("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),)):
        pass
    assert arrived.wait(20)
    (resource,) = ExportTraceServiceRequest.FromString(bodies[0]).resource_spans
    named = {each.key: each.value.string_value for each in resource.resource.attributes}
    (span,) = resource.scope_spans[0].spans
    assert named["service.name"] == "tradewind-inference-proxy"
    assert (span.name, span.trace_id.hex()) == ("infer", "4bf92f3577b34da6a3ce929d0e0e4736")
