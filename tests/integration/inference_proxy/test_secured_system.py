"""The three services as processes that speak TLS and tokens alone, with what the deployment's script makes."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
import yaml
from typer.testing import CliRunner, Result

from local_stack.services import Service
from local_stack.triton import PROJECT, Triton
from tests.integration.inference_proxy.stand import CATALOGUE
from tradewind.cli import app
from tradewind.messages import reading_to_wire
from tradewind.migrate import upgrade
from tradewind.readings import Reading, ReadingKind, Signal
from tradewind.rpc.v1 import carbon_pb2, carbon_pb2_grpc

SERVICES = ("carbon_service", "selector_service", "inference_proxy")
"""Each may call the others."""


class Whole:
    """The services and what one calls them with."""

    def __init__(self, credentials: Path, services: dict[str, Service]) -> None:
        self._credentials, self.services = credentials, services

    @property
    def ca(self) -> Path:
        """The authority."""
        return self._credentials / "ca.pem"

    def token_file(self, name: str) -> Path:
        """A caller's token."""
        return self._credentials / f"{name}.token"

    def authorization(self, name: str) -> str:
        """The header that a caller sends."""
        return f"Bearer {self.token_file(name).read_text().strip()}"

    def channel(self, service: str) -> grpc.Channel:
        """A channel to a service."""
        return grpc.secure_channel(self.services[service].address, grpc.ssl_channel_credentials(self.ca.read_bytes()))

    def command(self, *words: str, who: str | None = "operator") -> Result:
        """`tradewind`, with the options that let it in."""
        own = [] if who is None else ["--token-file", str(self.token_file(who))]
        return CliRunner().invoke(app, [*words, "--ca", str(self.ca), *own])


@pytest.fixture
def whole(models: Triton, broker: str, sqlite_url: str, unique_zone: str, tmp_path: Path) -> Iterator[Whole]:
    credentials = tmp_path / "credentials"
    script = PROJECT / "deploy" / "security" / "credentials.sh"
    subprocess.run([script, credentials, "proxy.example.org", "app", "roof"], check=True)
    upgrade(sqlite_url)
    catalogue, zones = tmp_path / "catalogue.yaml", tmp_path / "zones.yaml"
    catalogue.write_text(CATALOGUE)
    zones.write_text(yaml.safe_dump({"publishers": {"roof": {"zones": [unique_zone]}}}))
    common = {
        "DATABASE_URL": sqlite_url,
        "BROKER_URL": broker,
        "CATALOGUE": catalogue,
        "TOKENS_FILE": credentials / "tokens",
        "OPERATORS": "operator",
        "PEER_CA_FILE": credentials / "ca.pem",
    }
    services: dict[str, Service] = {}

    def begin(name: str, section: str, *, http: bool = False, **own: object) -> Service:
        directory = tmp_path / name
        directory.mkdir()
        shown = {
            "TLS_CERTIFICATE_FILE": credentials / f"{name}.pem",
            "TLS_KEY_FILE": credentials / f"{name}.key",
            "PEER_TOKEN_FILE": credentials / f"{name}.token",
        }
        environment = {f"TRADEWIND_{key.upper()}": str(value) for key, value in (common | shown | own).items()}
        listen = f"TRADEWIND_{section}_LISTEN"
        http_listen = f"TRADEWIND_{section}_HTTP_LISTEN" if http else None
        service = services[name] = Service(name, directory, environment, listen, http_listen)
        ending.callback(service.stop)
        service.start()
        return service

    with ExitStack() as ending:
        carbon = begin("carbon_service", "CARBON", carbon_zones_file=zones, carbon_client_id=f"carbon-{unique_zone}")
        selector = begin("selector_service", "SELECTOR", selector_zones=unique_zone, selector_carbon=carbon.address)
        begin(
            "inference_proxy",
            "PROXY",
            http=True,
            proxy_triton_grpc=models.grpc,
            proxy_triton_http=models.http,
            proxy_selector=selector.address,
            proxy_zone=unique_zone,
            proxy_spool_directory=tmp_path / "spool",
            proxy_metrics_port=0,
            proxy_flush_interval="50ms",
        )
        yield Whole(credentials, services)


def publish(whole: Whole, zone: str, who: str) -> Any:
    now = datetime.now(UTC)
    reading = Reading(zone, now, now + timedelta(hours=1), 123.0, ReadingKind.ACTUAL, Signal.AVERAGE, "it", now)
    request = carbon_pb2.PublishReadingRequest(publisher="roof", reading=reading_to_wire(reading))
    with whole.channel("carbon_service") as channel:
        stub = carbon_pb2_grpc.CarbonStub(channel)
        return stub.PublishReading(request, metadata=(("authorization", whole.authorization(who)),), timeout=20)


def infer(whole: Whole) -> Any:
    with triton_grpc.InferenceServerClient(
        whole.services["inference_proxy"].address, ssl=True, root_certificates=str(whole.ca)
    ) as client:
        tensor = triton_grpc.InferInput("INPUT", [1, 2], "FP32")
        tensor.set_data_from_numpy(np.ones((1, 2), np.float32))
        headers = {"authorization": whole.authorization("app")}
        return client.infer("ident", [tensor], headers=headers, client_timeout=20).get_response()


def ready_over_http(whole: Whole, who: str) -> bool:
    address = f"localhost:{whole.services['inference_proxy'].http_port}"
    with triton_http.InferenceServerClient(address, ssl=True, ssl_options={"ca_certs": str(whole.ca)}) as client:
        return bool(client.is_model_ready("ident", headers={"Authorization": whole.authorization(who)}))


def test_a_reading_becomes_a_decision_and_a_report_over_tls(whole: Whole, unique_zone: str) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        publish(whole, unique_zone, "app")
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert publish(whole, unique_zone, "roof").accepted
    deadline = time.monotonic() + 60
    while "carbon_intensity_g_per_kwh" not in (parameters := infer(whole).parameters):
        assert time.monotonic() < deadline, "no decision came"
        time.sleep(0.05)
    assert parameters["carbon_intensity_g_per_kwh"].string_param == "123"
    assert ready_over_http(whole, "app")
    carbon, selector, proxy = (whole.services[name].address for name in SERVICES)
    for words, expected in (
        (("zones", "--carbon", carbon), "123"),
        (("intensity", unique_zone, "--carbon", carbon), "123 g/kWh"),
        (("quarantined", "--carbon", carbon), "nothing is held back"),
        (("explain", "--selector", selector), "123 g/kWh"),
        (("report", "--proxy", proxy), "ident"),
        (("force", "ident", "large", "--until", "1h", "--why", "a test", "--proxy", proxy), "is served by large"),
        (("release", "ident", "--why", "a test", "--proxy", proxy), "follows decisions again"),
    ):
        done = whole.command(*words)
        assert (done.exit_code, expected in done.output) == (0, True), f"{words}: {done.output}{done.exception}"
    # As a container's health check asks: by the variables that the service itself has.
    healthy = CliRunner().invoke(app, ["health", proxy], env={"TRADEWIND_PEER_CA_FILE": str(whole.ca)})
    assert (healthy.exit_code, healthy.output) == (0, "SERVING\n")
    for who, command, sentence in (
        (None, ("report", "--proxy", proxy), "no token was sent"),
        (None, ("explain", "--selector", selector), "no token was sent"),
        (None, ("zones", "--carbon", carbon), "no token was sent"),
        ("app", ("release", "ident", "--why", "x", "--proxy", proxy), "this is for operators"),
    ):
        assert sentence in str(whole.command(*command, who=who).exception), command
    # The selector fetched what it had missed over TLS as well, and nothing of any token is in any log.
    logs = {name: service.child.log.read_text() for name, service in whole.services.items()}
    assert "history fetched" in logs["selector_service"]
    for path in whole.ca.parent.glob("*.token"):
        assert path.read_text().strip() not in "".join(logs.values())
