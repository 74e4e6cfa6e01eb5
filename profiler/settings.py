"""What the calibrating service needs to know, from `TRADEWIND_PROFILER_…`."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import Field

from tradewind.settings import CommonSettings, Duration, Listen


class ProfilerSettings(CommonSettings):
    """The settings of `python -m profiler`."""

    profiler_triton_grpc: str = "127.0.0.1:8001"
    """Triton's own gRPC, not the proxy's."""
    profiler_triton_tls: bool = False
    """Whether Triton is called over TLS; an authority or a certificate below says so as well."""
    profiler_triton_ca_file: Path | None = None
    profiler_triton_certificate_file: Path | None = None
    profiler_triton_key_file: Path | None = None
    profiler_triton_token_file: Path | None = None
    profiler_triton_metrics: str = ""
    """URL of Triton's /metrics, where its energy counter is the meter."""
    profiler_meter: str = "auto"
    profiler_watts_per_core: Annotated[float, Field(gt=0)] = 10.0
    profiler_interval: Duration = timedelta(seconds=10)
    """How often to look; at least 15 times a counter's step."""
    profiler_tolerance: Annotated[float, Field(gt=0)] = 0.15
    """By what part of it a figure may differ from the catalogue before it is said."""
    profiler_listen: Listen = "127.0.0.1:9405"
    """Where Prometheus finds the metrics."""
    profiler_output: Path | None = None
    """A file that receives the measured ratios, for a proxy that is told to charge by them."""
