"""What each thing in front of Triton costs: CPU per request of all its processes, and the latency that it adds.

Direct, nginx, plain Envoy, a bare grpc.aio relay, the Python front and the Envoy front; h2load sends each the same
frames in turn, in one run. The fronts have receipts, ledger and metrics on. nginx and h2load are Debian's.
"""

import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

from bench.proxy import Entry, cpu_s, request_of
from inference_proxy.envoy.process import find_binary
from local_stack.ports import free_ports, listens
from local_stack.processes import Child
from local_stack.services import Service
from local_stack.triton import PROJECT, Triton
from tradewind.errors import StartupError
from tradewind.migrate import upgrade

SIZES = {"small": (32, 1_000, 9), "602 KB": (602_112, 120, 7), "4.8 MB": (4_816_896, 16, 5)}
"""Bytes of the tensor, requests per round, and rounds."""
CONNECTIONS, STREAMS = 4, 4
OF_PLAIN_ENVOY, OF_PYTHON = 1.8, 0.25

_RATED = {"plain Envoy", "Envoy front"}
"""The reference, and the one whose ratio to it has a budget."""

_MODELS = PROJECT / "tests" / "triton_models"
_INFER = "/inference.GRPCInferenceService/ModelInfer"
_FIGURES = "energy_mj: {{value: {}, provenance: estimated}}, error: {{value: {}, provenance: estimated}}"
_CATALOGUE = f"""
families:
  ident:
    error_metric: error_pct
    pool: [small, large]
    variants:
      small: {{model: ident_small, {_FIGURES.format(100, 9)}}}
      large: {{model: ident_large, {_FIGURES.format(900, 3)}}}
"""
_NGINX = """
daemon off; worker_processes 1; pid {directory}/nginx.pid; error_log {directory}/nginx.err;
events {{ worker_connections 1024; }}
http {{
  access_log off; client_max_body_size 0; client_body_buffer_size 8m; keepalive_requests 1000000000;
  client_body_temp_path {directory}/body; proxy_temp_path {directory}/p; fastcgi_temp_path {directory}/f;
  uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;
  upstream triton {{ server {triton}; keepalive 64; keepalive_requests 1000000000; }}
  server {{ listen 127.0.0.1:{port} http2; location / {{ grpc_pass grpc://triton; }} }}
}}
"""
_HCM = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
_HTTP = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


@dataclass(frozen=True)
class Side:
    """One program in front of Triton."""

    name: str
    address: str
    pid: int | None
    """Whose process tree counts; None: Triton itself."""
    model: str = "ident_small"


def measure() -> list[Entry]:
    """Every figure of the fronts."""
    for program in ("nginx", "h2load"):
        if _find(program) is None:
            sys.exit(f"bench: {program} is not there: `apt install nginx-light nghttp2-client`")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        directory = Path(folder)
        triton = Triton(directory, _MODELS)
        stack.callback(triton.stop)
        triton.start()
        sides = [Side("direct", triton.grpc, None)]
        sides.extend(stack.enter_context(begin(directory, triton)) for begin in (_nginx, _plain_envoy, _relay))
        sides.extend(stack.enter_context(_front(directory, triton, front)) for front in ("python", "envoy"))
        for side in sides:
            _check(side)
        entries: list[Entry] = []
        for size_name, (size, requests, rounds) in SIZES.items():
            entries += _cpu(sides, directory, size_name, size, requests, rounds)
            entries += _latency(sides, directory, size_name, size, max(requests // 2, 30))
        return entries


def _cpu(sides: list[Side], directory: Path, size_name: str, size: int, requests: int, rounds: int) -> list[Entry]:
    found: dict[str, list[float]] = {side.name: [] for side in sides if side.pid is not None}
    for number in range(rounds + 1):
        for side in sides if number % 2 else reversed(sides):
            if side.pid is None:
                continue
            before = cpu_s(side.pid)
            _load(side, directory, size, requests, CONNECTIONS, STREAMS)
            if number:  # The first round warms up.
                found[side.name].append((cpu_s(side.pid) - before) / requests * 1e6)

    def entry(name: str, side: str, reference: str, budget: float | None) -> Entry:
        # Of each round both ran next to each other: their ratio is steadier than either.
        ratio = statistics.median(ours / theirs for ours, theirs in zip(found[side], found[reference], strict=True))
        return {
            "name": f"{name}: CPU per {size_name} ModelInfer",
            "value": round(statistics.median(found[side]), 1),
            "unit": "µs",
            "reference": round(statistics.median(found[reference]), 1),
            "ratio": round(ratio, 3),
            "budget": budget,
            "holds": None if budget is None else ratio <= budget,
        }

    entries = [
        entry(f"{side} against plain Envoy", side, "plain Envoy", None) for side in found if side != "Envoy front"
    ]
    entries.append(entry("Envoy front against plain Envoy", "Envoy front", "plain Envoy", OF_PLAIN_ENVOY))
    of_python = OF_PYTHON if size_name == "small" else None
    return [*entries, entry("Envoy front against Python front", "Envoy front", "Python front", of_python)]


def _latency(sides: list[Side], directory: Path, size_name: str, size: int, requests: int) -> list[Entry]:
    """One request after another: what each adds to Triton's own time."""
    times = {}
    for side in sides:
        _load(side, directory, size, 10, 1, 1)
        times[side.name] = _load(side, directory, size, requests, 1, 1)
    entries = []
    for side in sides:
        for name, percent in (("p50", 50), ("p99", 99)):
            ours, direct = (statistics.quantiles(times[each], n=100)[percent - 1] for each in (side.name, "direct"))
            entries.append(
                {
                    "name": f"{side.name}: {name} latency of a {size_name} ModelInfer, one at a time",
                    "value": round(ours),
                    "unit": "µs",
                    "reference": round(direct),
                    "ratio": round(ours / direct, 3),
                    "budget": None,
                    "holds": None,
                }
            )
    return entries


def _load(side: Side, directory: Path, size: int, requests: int, connections: int, streams: int) -> list[float]:
    """Sends so many requests; how long each took, in microseconds."""
    message = request_of(side.model, size)
    frame, times = directory / f"{side.model}-{size}.bin", directory / "times"
    if not frame.exists():
        frame.write_bytes(b"\0" + len(message).to_bytes(4, "big") + message)
    times.unlink(missing_ok=True)
    command = [str(_find("h2load")), "-n", str(requests), "-c", str(min(connections, requests)), "-m", str(streams)]
    command += ["-d", str(frame), f"--log-file={times}", "-H", "content-type: application/grpc", "-H", "te: trailers"]
    done = subprocess.run([*command, f"http://{side.address}{_INFER}"], capture_output=True, text=True, check=True)
    if not re.search(rf"\b{requests} succeeded", done.stdout):
        sys.exit(f"bench: {side.name} did not answer every request: {done.stdout[-500:]}")
    return [float(line.split("\t")[2]) for line in times.read_text().splitlines()]


def _check(side: Side) -> None:
    """h2load does not read answers: one is read here."""
    with grpc.insecure_channel(side.address) as channel:
        stub: Any = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        request = service_pb2.ModelInferRequest.FromString(request_of(side.model, 32))
        answer = stub.ModelInfer(request, timeout=20, wait_for_ready=True)
    assert answer.model_name == "ident_small", side.name
    assert ("carbon_variant" in answer.parameters) == (side.model == "ident"), side.name


@contextmanager
def _nginx(directory: Path, triton: Triton) -> Iterator[Side]:
    (port,) = free_ports(1)
    file = directory / "nginx.conf"
    file.write_text(_NGINX.format(directory=directory, triton=triton.grpc, port=port), encoding="utf-8")
    # Its last words before the configuration is read go to a log that not everybody may write.
    with _child(
        "nginx", [str(_find("nginx")), "-e", "stderr", "-p", str(directory), "-c", str(file)], directory, port
    ) as pid:
        yield Side("nginx", f"127.0.0.1:{port}", pid)


@contextmanager
def _plain_envoy(directory: Path, triton: Triton) -> Iterator[Side]:
    (port,) = free_ports(1)
    file = directory / "plain.json"
    file.write_text(json.dumps(plain_configuration(port, triton.grpc)), encoding="utf-8")
    command = [str(find_binary()), "-c", str(file), "--disable-hot-restart", "--concurrency", "1", "-l", "error"]
    with _child("plain-envoy", command, directory, port) as pid:
        yield Side("plain Envoy", f"127.0.0.1:{port}", pid)


def plain_configuration(port: int, triton: str) -> dict[str, Any]:
    """The plainest Envoy that passes gRPC through."""
    host, _, triton_port = triton.rpartition(":")
    routes = [{"match": {"prefix": "/"}, "route": {"cluster": "triton", "timeout": "0s"}}]
    manager = {
        "@type": _HCM,
        "stat_prefix": "plain",
        "codec_type": "HTTP2",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": [{"name": "router", "typed_config": {"@type": _ROUTER}}],
    }
    listener = {
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    upstream = {"address": {"socket_address": {"address": host, "port_value": int(triton_port)}}}
    cluster = {
        "name": "triton",
        "load_assignment": {"cluster_name": "triton", "endpoints": [{"lb_endpoints": [{"endpoint": upstream}]}]},
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": _HTTP,
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
    }
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


@contextmanager
def _relay(directory: Path, triton: Triton) -> Iterator[Side]:
    relay = Child("relay", [sys.executable, "-m", "bench.relay", triton.grpc], directory)
    relay.start()
    try:
        yield Side("bare grpc.aio relay", f"127.0.0.1:{relay.wait_listening()}", relay.pid)
    finally:
        relay.stop()


@contextmanager
def _front(directory: Path, triton: Triton, front: str) -> Iterator[Side]:
    own = directory / front
    own.mkdir()
    database, catalogue = f"sqlite:///{own / 'ledger.db'}", own / "catalogue.yaml"
    upgrade(database)
    catalogue.write_text(_CATALOGUE, encoding="utf-8")
    environment = {
        "TRADEWIND_CATALOGUE": str(catalogue),
        "TRADEWIND_DATABASE_URL": database,
        "TRADEWIND_PROXY_FRONT": front,
        "TRADEWIND_PROXY_ENVOY_WORKERS": "1",
        "TRADEWIND_PROXY_TRITON_GRPC": triton.grpc,
        "TRADEWIND_PROXY_TRITON_HTTP": triton.http,
        "TRADEWIND_PROXY_HTTP_LISTEN": "127.0.0.1:0",
        "TRADEWIND_PROXY_METRICS_PORT": "0",
        "TRADEWIND_PROXY_SPOOL_DIRECTORY": str(own / "spool"),
        # Nobody decides in a benchmark: the fallback variant serves.
        "TRADEWIND_PROXY_SELECTOR": "127.0.0.1:9",
    }
    service = Service("inference_proxy", own, environment, "TRADEWIND_PROXY_LISTEN")
    service.start()
    try:
        yield Side(f"{front.capitalize()} front", service.address, service.child.pid, "ident")
    finally:
        service.child.stop(deadline_s=30)


@contextmanager
def _child(name: str, command: list[str], directory: Path, port: int) -> Iterator[int]:
    child = Child(name, command, directory)
    child.start()
    try:
        child.wait_until(lambda: listens(child.pid, port), timeout_s=20, what="listen")
        yield child.pid
    finally:
        child.stop()


def _find(program: str) -> str | None:
    # Debian keeps servers where only root's PATH looks.
    return shutil.which(program) or shutil.which(program, path="/usr/sbin")


if __name__ == "__main__":
    try:
        for each in measure():
            print(json.dumps(each, ensure_ascii=False))
    except StartupError as error:
        sys.exit(str(error))
