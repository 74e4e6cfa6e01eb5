"""The inference proxy's settings: `TRADEWIND_` + the field's name in capitals."""

import re
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from tradewind.errors import InvalidInput
from tradewind.readings import check_zone
from tradewind.settings import CommonSettings, Duration, Listen, check_address

_METADATA_KEY = re.compile(r"[0-9a-z_.-]{1,64}")


def listed(addresses: str) -> list[str]:
    """The addresses of a comma-separated list."""
    return [each.strip() for each in addresses.split(",") if each.strip()]


class Mode(StrEnum):
    """Whether decisions are followed."""

    SERVE = "serve"
    OBSERVE = "observe"


class ProxyFront(StrEnum):
    """What takes gRPC requests first."""

    PYTHON = "python"
    ENVOY = "envoy"


class Follow(StrEnum):
    """Where decisions come from."""

    GRPC = "grpc"
    MQTT = "mqtt"


class ProxySettings(CommonSettings):
    """Where to listen, which Triton to front, whom to follow and where to keep the accounts."""

    proxy_listen: Listen = "127.0.0.1:8001"
    """host:port of the gRPC front; port 0 takes any free one."""
    proxy_http_listen: str = "127.0.0.1:8000"
    """host:port of the HTTP front; port 0 takes any free one, and empty means none."""
    proxy_triton_grpc: str = "127.0.0.1:9001"
    """host:port of Triton's gRPC; several, separated by commas, are balanced. A variant may be on any of them."""
    proxy_triton_http: str = "127.0.0.1:9000"
    """host:port of Triton's HTTP, in the order of the gRPC addresses."""
    proxy_triton_tls: bool = False
    """Whether Triton is called over TLS, gRPC and HTTP; an authority or a certificate below says so as well."""
    proxy_triton_ca_file: Path | None = None
    """The authority that signed Triton's certificate; those that are known when absent."""
    proxy_triton_certificate_file: Path | None = None
    """The proxy's certificate, where Triton asks for one."""
    proxy_triton_key_file: Path | None = None
    proxy_triton_token_file: Path | None = None
    """The one token that Triton is told instead of the client's; read again when it changes."""
    proxy_selector: str = "127.0.0.1:9102"
    """host:port of the selector service."""
    proxy_follow: Follow = Follow.GRPC
    """grpc: the selector pushes decisions. mqtt: they come from the bus, where there is no path to the selector."""
    proxy_zone: str = "GB"
    """The grid area in which Triton's machines draw their power."""
    proxy_spool_directory: Path = Path("tradewind-spool")
    """A local directory of this proxy alone, on a disk that outlives the process."""
    proxy_front: ProxyFront = ProxyFront.PYTHON
    """envoy: an Envoy that this process starts takes the hot path; it needs the extra `tradewind[envoy]`."""
    proxy_envoy_workers: Annotated[int, Field(ge=0)] = 0
    """How many of Envoy's threads take requests; 0: one for each processor."""
    proxy_envoy_stays: bool = False
    """Whether Envoy goes on serving the last decision when this process is stopped; after a crash it always does."""
    proxy_receipts: bool = True
    """Whether answers carry receipts."""
    proxy_calibration: Path | None = None
    """The file of `python -m profiler` (TRADEWIND_PROFILER_OUTPUT): what it measured is charged, and marked so."""
    proxy_metrics_port: Annotated[int, Field(ge=0, le=65535)] = 8002
    """Prometheus; 0 takes any free port."""
    proxy_metrics_host: str = "127.0.0.1"
    proxy_tenant_key: str = ""
    """The request metadata key that names the tenant; empty: tenants are not told apart."""
    proxy_tenants: Annotated[int, Field(ge=1, le=10_000)] = 100
    """How many tenants are told apart; those that come later are booked as `other`."""
    proxy_mode: Mode = Mode.SERVE
    """observe: decisions are recorded and the fallback variant serves."""
    proxy_rollout_pct: Annotated[float, Field(ge=0, le=100)] = 100.0
    """The share of requests that follows decisions; the others are served by the fallback variant."""
    proxy_in_flight: Annotated[int, Field(ge=1)] | None = None
    """The most requests in flight; those beyond are refused. No limit when absent."""
    proxy_spill_in_flight: Annotated[int, Field(ge=1)] | None = None
    """The most requests that one variant has in flight; the excess goes to the next smaller one."""
    proxy_spill_latency: Duration | None = None
    """The p95 latency that a variant is to keep; what would break it goes to the next smaller one."""
    proxy_ready_interval: Duration = timedelta(seconds=1)
    """How often Triton is asked which variants are ready."""
    proxy_flush_interval: Duration = timedelta(seconds=1)
    """How often the spool is stored in the database."""
    proxy_report_interval: Duration = timedelta(seconds=5)
    """How often the selector is told what was served."""
    proxy_segment_bytes: Annotated[int, Field(ge=4_096)] = 8 * 1024 * 1024
    """How large a file of the spool grows before the next is begun."""
    proxy_retention: Duration | None = None
    """How long the ledger keeps its rows; for ever when absent."""
    proxy_pue: Annotated[float, Field(ge=1, le=10)] | None = None
    """Power usage effectiveness of the data centre: reports then show its overhead beside the grams."""
    proxy_embodied_kg: Annotated[float, Field(gt=0)] | None = None
    """Embodied emissions, in kg of CO2eq, of the hardware that serves: reports then show their share."""
    proxy_embodied_years: Annotated[float, Field(gt=0, le=100)] | None = None
    """That hardware's expected lifespan."""
    proxy_embodied_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """The share of that hardware that is reserved for inference."""
    proxy_watts_per_core: Annotated[float, Field(gt=0, le=1_000)] | None = None
    """What a processor core draws at work: reports then show the energy of the proxy's own processes."""
    proxy_sole_client: bool = False
    """Whether nobody but this proxy calls its Tritons: reports then hold the ledger against what those executed."""
    proxy_drain: Duration = timedelta(seconds=10)
    """How long requests in flight may take after SIGTERM."""

    @field_validator("proxy_zone")
    @classmethod
    def _zone(cls, zone: str) -> str:
        try:
            return check_zone(zone)
        except InvalidInput as error:
            raise ValueError(str(error)) from error

    @field_validator("proxy_http_listen")
    @classmethod
    def _http_listen(cls, listen: str) -> str:
        return check_address(listen) if listen else listen

    @field_validator("proxy_triton_grpc")
    @classmethod
    def _some_triton(cls, addresses: str) -> str:
        if not listed(addresses):
            raise ValueError("names no Triton: write host:port")
        return addresses

    @field_validator("proxy_triton_grpc", "proxy_triton_http")
    @classmethod
    def _tritons(cls, addresses: str) -> str:
        for address in listed(addresses):
            check_address(address)
        return addresses

    @field_validator("proxy_tenant_key")
    @classmethod
    def _tenant_key(cls, key: str) -> str:
        if key and not _METADATA_KEY.fullmatch(key.lower()):
            raise ValueError(f"{key!r} is not a metadata key: use lower-case letters, digits, '-', '_' and '.'")
        return key.lower()

    @model_validator(mode="after")
    def _tritons_have_both(self) -> Self:
        over_grpc, over_http = len(listed(self.proxy_triton_grpc)), len(listed(self.proxy_triton_http))
        if self.proxy_http_listen and over_http not in {0, over_grpc}:
            raise ValueError(
                f"TRADEWIND_PROXY_TRITON_GRPC names {over_grpc} and TRADEWIND_PROXY_TRITON_HTTP {over_http}: "
                "give both of each Triton, in the same order, or leave HTTP empty"
            )
        return self

    @model_validator(mode="after")
    def _embodied_needs_both(self) -> Self:
        if (self.proxy_embodied_kg is None) != (self.proxy_embodied_years is None):
            raise ValueError("TRADEWIND_PROXY_EMBODIED_KG and TRADEWIND_PROXY_EMBODIED_YEARS go together: give both")
        return self
