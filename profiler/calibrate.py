"""Continuous calibration while Triton serves: looks, regresses, publishes, warns."""

import json
import os
import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import tritonclient.grpc as triton
from prometheus_client import CollectorRegistry, Gauge
from tritonclient.utils import InferenceServerException

from profiler.calibration import Activity, Calibration, Interval, ModelEnergy, Ratio, calibrate, compare
from profiler.meters.judge import energy_of
from profiler.meters.meter import Meter, MeterError, Nameplate, Sample
from tradewind.catalogue import Catalogue, Variant
from tradewind.errors import NotReady
from tradewind.logs import get_logger

log = get_logger(__name__)

_KEEPS = 360
"""Intervals the regression looks back over: an hour at ten seconds each."""

_FIGURES = re.compile(r"[0-9]+")


@dataclass(frozen=True, slots=True)
class Work:
    """What Triton says a model has done since it was loaded."""

    compute_s: float
    inferences: float
    executions: float


@dataclass(frozen=True, slots=True)
class Look:
    """The meter and Triton's statistics at one moment."""

    energy: Sample
    work: Mapping[str, Work]


@dataclass(frozen=True, slots=True)
class Verdict:
    """One variant: what was measured, against the catalogue."""

    family: str
    variant: str
    energy: ModelEnergy
    ratio: Ratio | None
    catalogue_energy_mj: float
    """The catalogue's figure of one inference."""


class Calibrator:
    """Keeps the last intervals and what they tell. Feed it looks; it measures nothing by itself."""

    def __init__(self, catalogue: Catalogue, plate: Nameplate, keeps: int = _KEEPS) -> None:
        self._variants: dict[str, list[tuple[str, str, Variant]]] = {}
        for family_name, family in catalogue.families.items():
            for name, variant in family.variants.items():
                self._variants.setdefault(variant.model or name, []).append((family_name, name, variant))
        # Between two looks the counter is taken as it stands: its steps are noise that the regression averages out.
        self._plate = replace(plate, step_s=0.0)
        # A meter of CPU time stands still while a model waits for a core, and the model's compute time does not.
        self._by: Activity = "compute_s" if plate.always_moves else "inferences"
        self._intervals: deque[Interval] = deque(maxlen=keeps)
        self._last: Look | None = None
        self.dropped = 0
        self.measured_at: datetime | None = None
        """When the newest interval ended."""

    def add(self, look: Look) -> str:
        """Takes a look in; the sentence that says why the interval since the last one is left out, or nothing."""
        last, self._last = self._last, look
        if last is None:
            return ""
        try:
            self._intervals.append(_interval(last, look, self._plate))
            self.measured_at = datetime.now(UTC)
        except MeterError as error:
            self.dropped += 1
            return str(error)
        return ""

    def result(self) -> Calibration:
        """What the intervals tell now."""
        return calibrate(tuple(self._intervals), self._by)

    def verdicts(self, result: Calibration) -> tuple[Verdict, ...]:
        """The catalogue's variants that served, each with its ratio where that can be told."""
        found = []
        for model, energy in sorted(result.models.items()):
            for family, name, variant in self._variants.get(model, ()):
                found.append(Verdict(family, name, energy, _ratio(energy, variant), variant.energy_mj.value))
        return tuple(found)


class CalibrationMetrics:
    """The verdicts as Prometheus metrics. A variant that cannot be told has no ratio: absent, never 0 or 1."""

    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ["family", "variant"]

        def gauge(name: str, text: str, names: list[str] | None = None) -> Gauge:
            return Gauge(f"tradewind_calibration_{name}", text, names or [], registry=registry)

        self._ratio = gauge("energy_ratio", "Measured energy per inference / the catalogue's", labels)
        self._low = gauge("energy_ratio_low", "Lower end of the ratio's 95 % interval", labels)
        self._high = gauge("energy_ratio_high", "Upper end of the ratio's 95 % interval", labels)
        self._told = gauge("told", "1 where the mix has varied enough to tell the variant's energy, else 0", labels)
        self._idle = gauge("idle_watts", "The device's draw at rest, by regression")
        self._intervals = gauge("intervals", "Intervals the calibration rests on")
        self._odd = gauge("odd_intervals", "Intervals set aside because something else happened in them")
        self._dropped = gauge("dropped_intervals", "Intervals left out since the start because a counter misbehaved")

    def publish(self, result: Calibration, verdicts: tuple[Verdict, ...], dropped: int) -> None:
        """Sets what is told and removes what no longer is."""
        self._intervals.set(result.intervals)
        self._odd.set(result.odd)
        self._dropped.set(dropped)
        if not result.why_not:
            self._idle.set(result.idle_watts)
        for metric in (self._ratio, self._low, self._high, self._told):
            metric.clear()
        for verdict in verdicts:
            labels = (verdict.family, verdict.variant)
            self._told.labels(*labels).set(0 if verdict.ratio is None else 1)
            if verdict.ratio is not None:
                self._ratio.labels(*labels).set(verdict.ratio.value)
                self._low.labels(*labels).set(verdict.ratio.low)
                self._high.labels(*labels).set(verdict.ratio.high)


class DriftWarnings:
    """Says once when a variant drifts from its catalogue figure, and once when it is back."""

    def __init__(self, tolerance: float) -> None:
        self._tolerance = tolerance
        self._drifted: set[tuple[str, str]] = set()

    def tell(self, verdicts: tuple[Verdict, ...]) -> list[str]:
        """The sentences that are new."""
        sentences = []
        for verdict in verdicts:
            key, ratio = (verdict.family, verdict.variant), verdict.ratio
            if ratio is None:
                continue
            if ratio.drifted(self._tolerance) and key not in self._drifted:
                self._drifted.add(key)
                sentences.append(
                    f"{verdict.variant} of {verdict.family} draws {ratio.value:.2f} times what the catalogue says "
                    f"({ratio.low:.2f} to {ratio.high:.2f}): profile it again"
                )
            elif key in self._drifted and not ratio.drifted(self._tolerance):
                self._drifted.discard(key)
                sentences.append(f"{verdict.variant} of {verdict.family} is back at its catalogue figure")
        return sentences


class Untold:
    """Says once why a variant's energy cannot be told from what is served, and again after it could be told."""

    def __init__(self) -> None:
        self._said: dict[tuple[str, str], set[str]] = {}

    def tell(self, verdicts: tuple[Verdict, ...]) -> list[str]:
        """The sentences that are new; one that differs from an earlier one in its figures only is not."""
        sentences = []
        for verdict in verdicts:
            key, why = (verdict.family, verdict.variant), verdict.energy.why_not
            if verdict.ratio is not None:
                self._said.pop(key, None)
                continue
            said, kind = self._said.setdefault(key, set()), _FIGURES.sub("", why)
            if kind not in said:
                said.add(kind)
                sentences.append(f"{verdict.variant} of {verdict.family} is not calibrated: {why}")
        return sentences


def look_at(client: triton.InferenceServerClient, meter: Meter) -> Look:
    """Reads the meter and Triton's statistics, one right after the other."""
    try:
        statistics = client.get_inference_statistics(as_json=True)
    except InferenceServerException as error:
        raise NotReady("Triton does not answer for its statistics; is it up?") from error
    return Look(meter.read(), work_of(statistics))


def work_of(statistics: Mapping[str, Any]) -> dict[str, Work]:
    """Work per model, versions together.

    Compute time comes from the statistics per batch size, which count every execution once; Triton's duration
    metrics count a batch of four requests four times.
    """
    work: dict[str, Work] = {}
    for model in statistics.get("model_stats", []):
        before = work.get(model["name"], Work(0.0, 0.0, 0.0))
        ns = sum(
            int(batch.get(phase, {}).get("ns", 0))
            for batch in model.get("batch_stats", [])
            for phase in ("compute_input", "compute_infer", "compute_output")
        )
        work[model["name"]] = Work(
            before.compute_s + ns / 1e9,
            before.inferences + float(model.get("inference_count", 0)),
            before.executions + float(model.get("execution_count", 0)),
        )
    return work


def write_calibration(path: Path, verdicts: tuple[Verdict, ...], plate: Nameplate, measured_at: datetime) -> None:
    """The measured figures as a file for whoever charges by them; what cannot be told is not in it."""
    content = {
        "measured_at": measured_at.astimezone(UTC).isoformat(),
        "meter": plate.name,
        "provenance": str(plate.provenance),
        "hardware": plate.hardware,
        "variants": [
            {
                "family": verdict.family,
                "variant": verdict.variant,
                "energy_ratio": verdict.ratio.value,
                "interval_95": [verdict.ratio.low, verdict.ratio.high],
                "basis": verdict.ratio.basis,
                "catalogue_energy_mj": verdict.catalogue_energy_mj,
            }
            for verdict in verdicts
            if verdict.ratio is not None
        ],
    }
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    beside.replace(path)


def _interval(before: Look, after: Look, plate: Nameplate) -> Interval:
    metered = energy_of([before.energy, after.energy], plate)
    changes = {model: _done(before.work.get(model), work, model) for model, work in after.work.items()}
    if gone := before.work.keys() - after.work.keys():
        raise MeterError(f"{min(gone)} was unloaded during the interval; what it did in it is unknown")
    return Interval(
        seconds=metered.seconds,
        joules=metered.joules,
        compute_s={model: work.compute_s for model, work in changes.items()},
        inferences={model: work.inferences for model, work in changes.items()},
        executions={model: work.executions for model, work in changes.items()},
    )


def _done(before: Work | None, after: Work, model: str) -> Work:
    if before is None:
        return after
    done = Work(
        after.compute_s - before.compute_s, after.inferences - before.inferences, after.executions - before.executions
    )
    if min(done.compute_s, done.inferences, done.executions) < 0:
        raise MeterError(f"the statistics of {model} went back: Triton or the model was started again")
    return done


def _ratio(energy: ModelEnergy, variant: Variant) -> Ratio | None:
    """Against the figure of the nearest profiled batch size."""
    figures = {1: variant.energy_mj, **variant.energy_by_batch_mj}
    figure = figures[min(figures, key=lambda size: (abs(size - energy.batch), size))]
    return compare(energy, figure.above_idle, figure.value)
