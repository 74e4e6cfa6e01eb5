"""Profiling a real Triton whose models' cost is known."""

import dataclasses
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from local_stack.triton import Triton
from profiler.command import run_profile
from profiler.findings import energies_by_cell
from profiler.meter_offers import Metering, local_triton
from profiler.meters.choose import Chosen
from profiler.meters.cpu_time import CpuTimeMeter
from profiler.meters.meter import MeterError, Nameplate, Sample
from profiler.plan import Goal
from profiler.profile import Profiled, Profiler, Wish
from tests.integration.profiler.conftest import BURN_S, FEATURES, weights_of
from tradewind.catalogue import Provenance, load_catalogue
from tradewind.errors import InvalidInput, NotReady

WATTS = 10.0
QUICK = Goal(precision=0.2, limit=0.5, least=4, most=6, fewest=3, spread_s=0)

ANOTHER_ERROR = """
families:
  burn:
    error_metric: wer
    pool: [burn-small]
    variants:
      burn-small:
        energy_mj: {value: 20, provenance: estimated}
        error: {value: 1, provenance: estimated}
"""


def wish(triton: Triton, folder: Path, *models: str, **options: Any) -> Wish:
    variants = {model: (model, "") for model in models or BURN_S}
    asked = Wish(triton.grpc, "burn", variants, folder / "catalogue.yaml", goal=QUICK, budget_s=60, warm_up_s=0.1)
    return dataclasses.replace(asked, **options)


def labelled(folder: Path, examples: int = 150) -> tuple[Path, Path]:
    rng = np.random.default_rng(5)
    np.savez(folder / "inputs.npz", x=rng.random((examples, FEATURES), dtype=np.float32))
    np.save(folder / "labels.npy", rng.integers(0, 4, examples))
    return folder / "inputs.npz", folder / "labels.npy"


def test_energy_is_what_the_models_burn_and_error_what_they_answer(burning_triton: Triton, tmp_path: Path) -> None:
    inputs, labels = labelled(tmp_path)
    asked = wish(burning_triton, tmp_path, inputs=inputs, labels=labels, batches=(1, 4, 8), window_s=0.2)
    shown = io.StringIO()
    metering = Metering("cpu-time", watts_per_core=WATTS)
    assert run_profile(asked, metering, tmp_path / "plot.png", Console(file=shown, width=140))
    family = load_catalogue(asked.output).family("burn")
    energies = [family.variants[model].energy_mj.value for model in BURN_S]
    assert energies == sorted(energies)
    for model, burn_s in BURN_S.items():
        variant = family.variants[model]
        figure = variant.energy_mj
        # What Triton and the backend add to every request is the same for all: under 1 ms of CPU.
        assert 1000 * WATTS * burn_s <= figure.value <= 1000 * WATTS * (burn_s + 0.0015)
        assert figure.interval_95 is not None
        assert figure.interval_95[0] < figure.value < figure.interval_95[1]
        assert (figure.provenance, figure.meter, figure.batch) == (Provenance.ESTIMATED, "cpu-time", 1)
        assert figure.samples is not None
        assert figure.samples >= QUICK.least
        assert figure.above_idle is not None
        assert 0.9 * figure.value < figure.above_idle <= figure.value
        assert "Triton" in figure.runtime
        # Four at once share what a request costs.
        assert variant.energy_by_batch_mj[4].value < figure.value
        assert set(variant.energy_by_batch_mj) == {4}
    x, y = np.load(inputs)["x"], np.load(labels)
    for model in BURN_S:
        wrong = int(((x @ weights_of(model)).argmax(axis=1) != y).sum())
        assert family.variants[model].error.value == 100 * wrong / len(y)
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert list(tmp_path.glob("*.windows.jsonl")) == []
    assert "burn-small takes at most 4 at once" in shown.getvalue()


def test_an_interrupted_run_goes_on(burning_triton: Triton, tmp_path: Path) -> None:
    asked = wish(burning_triton, tmp_path, "burn-small", told_errors={"burn-small": 5.0}, told_source="a paper")
    first = profiled(dataclasses.replace(asked, budget_s=1.2), chosen(burning_triton))
    assert "raise --budget" in first.refusals[0]
    assert not asked.output.exists()
    second = profiled(asked, chosen(burning_triton))
    assert second.resumed >= 1
    assert second.refusals == ()
    error = load_catalogue(asked.output).family("burn").variants["burn-small"].error
    assert (error.value, error.provenance, error.source) == (5.0, Provenance.PUBLISHED, "a paper")


def test_an_unknown_error_is_refused_not_zero(burning_triton: Triton, tmp_path: Path) -> None:
    asked = wish(burning_triton, tmp_path, "burn-small")
    assert Profiler(asked).without_error == ("burn-small",)
    refusals = profiled(asked, chosen(burning_triton)).refusals
    assert "its error is unknown" in refusals[0]
    assert not asked.output.exists()
    told = dataclasses.replace(asked, told_errors={"burn-small": 5.0}, told_source="a paper")
    assert Profiler(told).without_error == ()


class Faulty:
    """The CPU-time counter behind a driver that fails now and then, as energy counters do."""

    def __init__(self, pid: int, fault: Callable[[int, float], float | None], every: int) -> None:
        self._real = CpuTimeMeter(pid, WATTS)
        self._fault = fault
        self._every = every
        self._reads = 0
        self._shift = 0.0
        self.nameplate: Nameplate = dataclasses.replace(self._real.nameplate, name="faulty")

    def read(self) -> Sample:
        """The real counter, unless the fault strikes."""
        self._reads += 1
        real = self._real.read()
        value = real.counters[0] + self._shift
        if self._reads % self._every == 0:
            struck = self._fault(self._reads, value)
            if struck is None:
                raise MeterError("faulty: the counter disappeared")
            self._shift += struck - value
            value = struck
        return Sample(real.at_s, (value,))

    def disturbance(self) -> str | None:
        """Nothing."""
        return None


FAULTS: dict[str, Callable[[int, float], float | None]] = {
    "reset": lambda _reads, _value: 0.0,
    "jump": lambda _reads, value: value + 5_000.0,
    "disappear": lambda _reads, _value: None,
    "back by a little": lambda _reads, value: value - 3.0,
}


@pytest.mark.parametrize("every", [7, 60])
@pytest.mark.parametrize("fault", FAULTS)
def test_no_fault_of_the_counter_becomes_a_wrong_figure(
    burning_triton: Triton, tmp_path: Path, fault: str, every: int
) -> None:
    asked = wish(
        burning_triton, tmp_path, "burn-large", told_errors={"burn-large": 5.0}, told_source="a paper", budget_s=12
    )
    meter = Faulty(burning_triton.child.pid, FAULTS[fault], every)
    found = profiled(asked, Chosen(meter))
    if every == 7:
        # A window is six readings: hardly one is free of the fault.
        assert found.written == {}
        assert "could not be believed" in found.refusals[0]
        assert not asked.output.exists()
    for variant in found.written.values():
        assert 80 <= variant.energy_mj.value <= 95


def test_a_counter_that_stands_still_is_refused(burning_triton: Triton, tmp_path: Path) -> None:
    class Stalled(Faulty):
        def read(self) -> Sample:
            """The first value, for ever."""
            self._reads += 1
            return Sample(super().read().at_s, (42.0,))

    asked = wish(
        burning_triton, tmp_path, "burn-large", told_errors={"burn-large": 5.0}, told_source="a paper", budget_s=8
    )
    found = profiled(asked, Chosen(Stalled(burning_triton.child.pid, lambda _r, v: v, 10)))
    assert found.written == {}
    assert "does not see the device" in found.refusals[0]
    assert not asked.output.exists()


def test_what_is_asked_wrongly_is_said(burning_triton: Triton, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="burn-large, burn-medium, burn-small"):
        Profiler(wish(burning_triton, tmp_path, "resnet50"))
    with pytest.raises(NotReady, match="no Triton answers"):
        Profiler(dataclasses.replace(wish(burning_triton, tmp_path), address="127.0.0.1:1"))
    with pytest.raises(InvalidInput, match="--labels needs --inputs"):
        Profiler(wish(burning_triton, tmp_path, labels=tmp_path / "labels.npy"))
    with pytest.raises(InvalidInput, match="--shape W: no model has that input"):
        Profiler(wish(burning_triton, tmp_path, shapes={"W": (3,)}))


def test_what_would_spoil_the_end_is_said_before_the_beginning(burning_triton: Triton, tmp_path: Path) -> None:
    told = {"burn-small": 5.0, "burn-lrge": 4.0}
    with pytest.raises(InvalidInput, match="--error names burn-lrge, which is not among --variants"):
        Profiler(wish(burning_triton, tmp_path, told_errors=told, told_source="a paper"))
    with pytest.raises(InvalidInput, match="--error needs --error-source"):
        Profiler(wish(burning_triton, tmp_path, told_errors={"burn-small": 5.0}))
    output = tmp_path / "catalogue.yaml"
    output.write_text("families: [")
    with pytest.raises(InvalidInput, match=r"catalogue\.yaml: line 1"):
        Profiler(wish(burning_triton, tmp_path))
    output.write_text(ANOTHER_ERROR)
    with pytest.raises(InvalidInput, match="has the error wer, measured is top1_error_pct"):
        Profiler(wish(burning_triton, tmp_path))
    output.unlink()
    with pytest.raises(InvalidInput, match="that is a folder"):
        Profiler(wish(burning_triton, tmp_path, output=tmp_path))
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInput, match=r"--output .*: cannot be written there"):
        Profiler(wish(burning_triton, tmp_path, output=tmp_path / "file" / "catalogue.yaml"))
    with pytest.raises(InvalidInput, match=r"--plot .*: cannot be written there"):
        run_profile(wish(burning_triton, tmp_path), Metering("cpu-time"), tmp_path / "file" / "plot.png")


def chosen(triton: Triton) -> Chosen:
    pid = local_triton(triton.grpc)
    assert pid == triton.child.pid
    return Chosen(CpuTimeMeter(pid, WATTS))


def profiled(asked: Wish, meter: Chosen) -> Profiled:
    profiler = Profiler(asked)
    errors = profiler.evaluate()
    measurement, resumed, settled = profiler.measure(meter, None, lambda *_: None)
    assert energies_by_cell(measurement.windows).keys() <= set(measurement.cells)
    return profiler.conclude(meter, measurement, errors, resumed, settled)
