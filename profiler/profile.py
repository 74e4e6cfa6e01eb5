"""One profiling run from end to end: connect, check, measure, judge, write."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import tritonclient.grpc as triton

from profiler.ahead import check_can_write, check_told_errors
from profiler.catalogue_writer import check_family, known_variants, write_catalogue
from profiler.entries import RANDOM_WEIGHTS, Origin, error_figure, variant_entry
from profiler.error_rate import ErrorRate, evaluate
from profiler.findings import Finding, find, idle_watts
from profiler.inputs import Inputs, check_fits, check_shapes, make_up, only_what_it_takes, read_inputs
from profiler.load import Load
from profiler.measure import Measurement, Progress
from profiler.meters.choose import Chosen
from profiler.options import k_of
from profiler.pareto import front
from profiler.plan import Cell, Goal
from profiler.served_model import ServedModel, connect, describe_model
from profiler.windows import WindowFile
from tradewind.calling import PLAIN, Way
from tradewind.catalogue import Figure, Provenance, Variant
from tradewind.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Wish:
    """What the user asks for."""

    address: str
    family: str
    variants: Mapping[str, tuple[str, str]]
    """Variant to Triton's model and version; an empty version is Triton's choice."""
    output: Path
    batches: tuple[int, ...] = (1,)
    inputs: Path | None = None
    labels: Path | None = None
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    scores: str = ""
    error_metric: str = "top1_error_pct"
    top_k: int = 5
    told_errors: Mapping[str, float] = field(default_factory=dict)
    told_source: str = ""
    goal: Goal = field(default_factory=Goal)
    budget_s: float = 120.0
    window_s: float | None = None
    warm_up_s: float = 0.5
    concurrency: int = 1
    fresh: bool = False
    way: Way = PLAIN
    """How Triton is reached."""


@dataclass(frozen=True, slots=True)
class Profiled:
    """What a run found and what of it was written."""

    models: Mapping[str, ServedModel]
    findings: Mapping[Cell, Finding]
    errors: Mapping[str, ErrorRate]
    written: Mapping[str, Variant]
    skipped: tuple[str, ...]
    refusals: tuple[str, ...]
    origin: Origin
    idle_watts: float | None
    resumed: int
    settled: bool


def unknown_error(name: str) -> str:
    """What to say of a variant whose error nobody gives."""
    return f"its error is unknown; give --labels, or --error {name}=VALUE with its source"


class Profiler:
    """Holds what a run needs between its steps, so that a command line can show each."""

    def __init__(self, wish: Wish) -> None:
        self.wish = wish
        self.k = k_of(wish.error_metric)
        check_told_errors(wish.told_errors, wish.told_source, wish.variants)
        check_can_write("--output", wish.output)
        check_family(wish.output, wish.family, wish.error_metric)
        self.client: triton.InferenceServerClient = connect(wish.address, wish.way)
        self.models = {
            name: describe_model(self.client, model, version) for name, (model, version) in wish.variants.items()
        }
        self.inputs = self._inputs()
        self.skipped = tuple(
            f"{name} x {batch}: {model.name} takes at most {model.max_batch} at once"
            for name, model in self.models.items()
            for batch in wish.batches
            if batch > model.max_batch
        )

    @property
    def cells(self) -> tuple[Cell, ...]:
        """Every variant at every batch size it takes; one inference at a time is always among them."""
        return tuple(
            Cell(name, batch)
            for name, model in self.models.items()
            for batch in sorted({1, *self.wish.batches})
            if batch <= model.max_batch
        )

    @property
    def on_gpu(self) -> bool:
        """Where the models run, as Triton tells; InvalidInput when not all run on the same kind of device."""
        places = {model.on_gpu for model in self.models.values()}
        if len(places) > 1:
            raise InvalidInput("some variants run on a GPU and some on the CPU: one meter cannot compare them")
        return places.pop()

    @property
    def without_error(self) -> tuple[str, ...]:
        """Variants whose error nobody gives: they are measured and shown, and cannot be written."""
        if self.wish.labels is not None:
            return ()
        known = self.wish.told_errors.keys() | known_variants(self.wish.output, self.wish.family).keys()
        return tuple(name for name in self.models if name not in known)

    def evaluate(self, begun: Callable[[str], None] = lambda _name: None) -> dict[str, ErrorRate]:
        """The error of every variant over the labelled inputs; nothing without labels."""
        rates: dict[str, ErrorRate] = {}
        if self.wish.labels is not None:
            for name, model in self.models.items():
                begun(name)
                ks = tuple(sorted({1, self.k, self.wish.top_k}))
                rates[name] = evaluate(self.client, model, self.inputs[name], ks, self.wish.scores)
        return rates

    def measure(
        self,
        chosen: Chosen,
        triton_pid: int | None,
        progress: Progress,
        warming: Callable[[Cell], None] = lambda _cell: None,
    ) -> tuple[Measurement, int, bool]:
        """The windows of all cells, those of an interrupted run among them."""
        wish = self.wish
        file = WindowFile(self._state_path, self._conditions(chosen))
        if wish.fresh:
            file.remove()
        known = file.resume(datetime.now(UTC))
        loads = {
            cell: Load(
                wish.address,
                self.models[cell.variant],
                self.inputs[cell.variant],
                cell.batch,
                wish.concurrency,
                wish.way,
            )
            for cell in self.cells
        }
        measurement = Measurement(
            loads,
            chosen.meter,
            goal=wish.goal,
            window_s=wish.window_s,
            triton_pid=triton_pid,
            known=known,
            keep=file.add,
        )
        try:
            measurement.warm_up(wish.warm_up_s, warming)
            settled = measurement.run(wish.budget_s, progress)
        finally:
            for load in loads.values():
                load.close()
        return measurement, len(known), settled

    def conclude(
        self, chosen: Chosen, measurement: Measurement, errors: Mapping[str, ErrorRate], resumed: int, settled: bool
    ) -> Profiled:
        """Judges the windows and writes what stands; the interrupted run's file goes once all is written."""
        wish, between_runs = self.wish, chosen.meter.nameplate.between_runs
        findings = find(measurement.cells, measurement.windows, wish.goal, between_runs)
        origin = self._origin(chosen)
        known = known_variants(wish.output, wish.family)
        written: dict[str, Variant] = {}
        refusals = [f"{cell}: {finding.refused}" for cell, finding in findings.items() if finding.refused]
        for name, model in self.models.items():
            error = self._error(name, model, errors.get(name), known.get(name), origin)
            if error is None:
                refusals.append(f"{name}: {unknown_error(name)}")
                continue
            entry = variant_entry(model, name, wish.variants[name][1], findings, error, origin)
            if entry is not None:
                written[name] = entry
        if written:
            points = {name: (entry.energy_mj.value, entry.error.value) for name, entry in written.items()}
            write_catalogue(wish.output, wish.family, written, error_metric=wish.error_metric, pool=front(points))
            if len(written) == len(self.models):
                self._state_path.unlink(missing_ok=True)
        watts = idle_watts(measurement.windows)
        return Profiled(
            self.models, findings, errors, written, self.skipped, tuple(refusals), origin, watts, resumed, settled
        )

    @property
    def _state_path(self) -> Path:
        return self.wish.output.with_name(f"{self.wish.output.name}.{self.wish.family}.windows.jsonl")

    def _inputs(self) -> dict[str, Inputs]:
        if self.wish.inputs is None:
            if self.wish.labels is not None:
                raise InvalidInput("--labels needs --inputs: the labels of what?")
            check_shapes(self.wish.shapes, self.models.values())
            return {name: make_up(model, self.wish.shapes) for name, model in self.models.items()}
        if self.wish.shapes:
            raise InvalidInput("--shape is for made-up inputs, and --inputs are given: leave one of them out")
        read = read_inputs(self.wish.inputs, self.wish.labels)
        for model in self.models.values():
            check_fits(read, model)
        return {name: only_what_it_takes(read, model) for name, model in self.models.items()}

    def _error(
        self, name: str, model: ServedModel, rate: ErrorRate | None, known: Variant | None, origin: Origin
    ) -> Figure | None:
        if rate is not None:
            source = next(iter(self.inputs.values())).source
            return error_figure(rate, self.k, source, origin, random_weights=model.random_weights)
        if name in self.wish.told_errors:
            note = RANDOM_WEIGHTS if model.random_weights else ""
            return Figure(
                value=self.wish.told_errors[name],
                provenance=Provenance.PUBLISHED,
                source=self.wish.told_source,
                method=note,
            )
        return known.error if known is not None else None

    def _origin(self, chosen: Chosen) -> Origin:
        runtimes = sorted({model.runtime for model in self.models.values()})
        source = next(iter(self.inputs.values())).source
        day = datetime.now(UTC).date()
        return Origin(chosen.meter.nameplate, ", ".join(runtimes), self.wish.concurrency, f"inputs: {source}", day)

    def _conditions(self, chosen: Chosen) -> dict[str, object]:
        """What must be the same for windows to be of one measurement."""
        plate = chosen.meter.nameplate
        digest = hashlib.sha256()
        for name in sorted(self.inputs):
            for key, array in sorted(self.inputs[name].arrays.items()):
                digest.update(key.encode() + array.tobytes())
        return {
            "address": self.wish.address,
            "variants": {name: [model.name, model.version, model.runtime] for name, model in self.models.items()},
            "meter": [plate.name, plate.hardware, plate.driver, plate.method],
            "concurrency": self.wish.concurrency,
            "window_s": self.wish.window_s,
            "inputs": digest.hexdigest(),
        }
