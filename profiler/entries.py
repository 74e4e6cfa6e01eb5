"""From findings to catalogue entries, each figure with where it comes from: pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from profiler.error_rate import ErrorRate
from profiler.findings import Finding, Latency
from profiler.meters.meter import Nameplate
from profiler.plan import Cell
from profiler.served_model import ServedModel
from profiler.statistics import Estimate, parts_of
from tradewind.catalogue import EnergyFigure, Figure, Provenance, Variant

RANDOM_WEIGHTS = "the measured model has random weights: this is not its error but that of the trained one"


@dataclass(frozen=True, slots=True)
class Origin:
    """What all figures of a run share."""

    plate: Nameplate
    runtime: str
    concurrency: int
    inputs: str
    day: date

    @property
    def method(self) -> str:
        """How the figures were taken, in one line."""
        clients = f"{self.concurrency} clients in a closed loop" if self.concurrency > 1 else "one request at a time"
        return f"{self.plate.method}; {clients}; {self.inputs}"


def energy_figure(finding: Finding, energy: Estimate, origin: Origin) -> EnergyFigure:
    """Energy per inference with its interval; the interval cannot reach below zero."""
    return EnergyFigure(
        value=energy.mean,
        above_idle=finding.above_idle_mj,
        provenance=origin.plate.provenance,
        interval_95=(max(0.0, energy.low), energy.high),
        cv=energy.cv,
        samples=energy.samples,
        batch=finding.cell.batch,
        meter=origin.plate.name,
        hardware=origin.plate.hardware,
        driver=origin.plate.driver,
        runtime=origin.runtime,
        method=f"{origin.method}; {_spoken_of(finding, energy)}",
        date=origin.day.isoformat(),
    )


def _spoken_of(finding: Finding, energy: Estimate) -> str:
    """What the interval covers: how much the run's own parts differ, and how much runs do where that is known."""
    runs = (
        f" and a standard deviation of {100 * finding.between_runs:.2g} % between runs" if finding.between_runs else ""
    )
    load = "" if finding.other_work is None else f", other work {100 * finding.other_work:.0f} % of the machine"
    return f"interval from {parts_of(energy.samples)} parts of a run of {finding.span_s:.0f} s{runs}{load}"


def latency_figure(latency: Latency, batch: int, origin: Origin) -> Figure:
    """The 95th percentile as clients saw it."""
    return Figure(
        value=latency.p95_ms,
        provenance=Provenance.MEASURED,
        interval_95=latency.p95_interval_ms,
        samples=latency.requests,
        batch=batch,
        hardware=origin.plate.hardware,
        runtime=origin.runtime,
        method=f"gRPC client's clock; {'one request at a time' if origin.concurrency == 1 else 'closed loop'}",
        date=origin.day.isoformat(),
    )


def error_figure(rate: ErrorRate, k: int, source: str, origin: Origin, *, random_weights: bool) -> Figure:
    """The error over the labelled inputs."""
    return Figure(
        value=rate.percent(k),
        provenance=Provenance.MEASURED,
        interval_95=rate.interval_95(k),
        samples=rate.examples,
        runtime=origin.runtime,
        source=source,
        method="random weights: the error of chance" if random_weights else "",
        date=origin.day.isoformat(),
    )


def variant_entry(
    model: ServedModel, name: str, version: str, findings: Mapping[Cell, Finding], error: Figure, origin: Origin
) -> Variant | None:
    """The catalogue's entry of a variant; None when its single-inference energy may not be written."""
    written = {
        cell.batch: energy_figure(finding, finding.energy_mj, origin)
        for cell, finding in findings.items()
        if cell.variant == name and not finding.refused and finding.energy_mj is not None
    }
    single = written.pop(1, None)
    if single is None:
        return None
    latency = findings[Cell(name, 1)].latency
    return Variant(
        model=model.name if model.name != name else None,
        model_version=version,
        energy_mj=single,
        energy_by_batch_mj=written,
        error=error,
        p95_latency_ms=latency_figure(latency, 1, origin) if latency is not None else None,
    )
