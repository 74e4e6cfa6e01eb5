"""What stands in front of Triton in the comparison of fronts: nginx, plain Envoy, a bare relay, and the proxy's two."""

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from bench.deciding import ZONE
from inference_proxy.envoy.process import find_binary
from inference_proxy.store import ledger, unattributed
from local_stack.ports import free_ports, listens
from local_stack.processes import Child
from local_stack.services import Service
from local_stack.triton import Triton
from tradewind.database import open_engine, reading
from tradewind.migrate import upgrade

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
    """One program in front of Triton, or Triton itself."""

    name: str
    address: str
    pid: int | None
    """Whose process tree counts; None: there is nothing in front."""
    model: str = "ident_small"
    directory: Path = Path()
    """Where a front of the proxy keeps its ledger."""

    @property
    def is_ours(self) -> bool:
        """Whether it is a front of the proxy, so that its answers have receipts."""
        return self.model == "ident"


def find_program(name: str) -> str | None:
    """A program on the PATH, or where Debian keeps servers."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin")


@contextmanager
def nginx(directory: Path, triton: Triton) -> Iterator[Side]:
    """Nginx with one worker, passing gRPC on."""
    (port,) = free_ports(1)
    file = directory / "nginx.conf"
    file.write_text(_NGINX.format(directory=directory, triton=triton.grpc, port=port), encoding="utf-8")
    # Its last words before the configuration is read go to a log that not everybody may write.
    command = [str(find_program("nginx")), "-e", "stderr", "-p", str(directory), "-c", str(file)]
    with _child("nginx", command, directory, port) as pid:
        yield Side("nginx", f"127.0.0.1:{port}", pid)


@contextmanager
def plain_envoy(directory: Path, triton: Triton) -> Iterator[Side]:
    """The plainest Envoy that passes gRPC through."""
    (port,) = free_ports(1)
    file = directory / "plain.json"
    file.write_text(json.dumps(plain_configuration(port, triton.grpc)), encoding="utf-8")
    command = [str(find_binary()), "-c", str(file), "--disable-hot-restart", "--concurrency", "1", "-l", "error"]
    with _child("plain-envoy", command, directory, port) as pid:
        yield Side("plain Envoy", f"127.0.0.1:{port}", pid)


@contextmanager
def relay(directory: Path, triton: Triton) -> Iterator[Side]:
    """A bare grpc.aio relay of raw bytes."""
    child = Child("relay", [sys.executable, "-m", "bench.relay", triton.grpc], directory)
    child.start()
    try:
        yield Side("bare grpc.aio relay", f"127.0.0.1:{child.wait_listening()}", child.pid)
    finally:
        child.stop()


@contextmanager
def front(name: str, directory: Path, triton: Triton, selector: str) -> Iterator[Side]:
    """A front of the proxy, `python` or `envoy`: with receipts, ledger and metrics, following a selector."""
    own = directory / name
    own.mkdir()
    (own / "catalogue.yaml").write_text(_CATALOGUE, encoding="utf-8")
    upgrade(_database(own))
    environment = {
        "TRADEWIND_CATALOGUE": str(own / "catalogue.yaml"),
        "TRADEWIND_DATABASE_URL": _database(own),
        "TRADEWIND_PROXY_FRONT": name,
        "TRADEWIND_PROXY_ENVOY_WORKERS": "1",
        "TRADEWIND_PROXY_TRITON_GRPC": triton.grpc,
        "TRADEWIND_PROXY_TRITON_HTTP": triton.http,
        "TRADEWIND_PROXY_HTTP_LISTEN": "127.0.0.1:0",
        "TRADEWIND_PROXY_METRICS_PORT": "0",
        "TRADEWIND_PROXY_SPOOL_DIRECTORY": str(own / "spool"),
        "TRADEWIND_PROXY_SELECTOR": selector,
        "TRADEWIND_PROXY_ZONE": ZONE,
    }
    service = Service("inference_proxy", own, environment, "TRADEWIND_PROXY_LISTEN")
    service.start()
    try:
        yield Side(f"{name.capitalize()} front", service.address, service.child.pid, "ident", own)
    finally:
        service.child.stop(deadline_s=30)


def recorded(side: Side) -> int:
    """The inferences in a front's ledger."""
    engine = open_engine(_database(side.directory))
    try:
        with reading(engine) as connection:
            tables = (ledger, unattributed)
            return sum(connection.execute(select(func.sum(each.c.inferences))).scalar_one() or 0 for each in tables)
    finally:
        engine.dispose()


def plain_configuration(port: int, triton: str) -> dict[str, Any]:
    """What plain Envoy is started with."""
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


def _database(directory: Path) -> str:
    return f"sqlite:///{directory / 'ledger.db'}"


@contextmanager
def _child(name: str, command: list[str], directory: Path, port: int) -> Iterator[int]:
    child = Child(name, command, directory)
    child.start()
    try:
        child.wait_until(lambda: listens(child.pid, port), timeout_s=20, what="listen")
        yield child.pid
    finally:
        child.stop()
