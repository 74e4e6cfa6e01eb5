"""Calibration against a real Triton: statistics, a real meter, metrics as Prometheus reads them."""

import json
import random
import time
from datetime import UTC, datetime
from pathlib import Path

import tritonclient.grpc
from prometheus_client import CollectorRegistry, generate_latest

from local_stack.triton import Triton
from profiler.calibrate import CalibrationMetrics, Calibrator, DriftWarnings, Untold, look_at, write_calibration
from profiler.inputs import make_up
from profiler.load import Load
from profiler.meters.cpu_time import CpuTimeMeter
from profiler.served_model import describe_model
from tests.integration.profiler.conftest import BURN_S
from tradewind.catalogue import Catalogue, EnergyFigure, Family, Figure, Provenance, Variant

WATTS = 10.0


def catalogue(factor: float) -> Catalogue:
    """What the models burn, times a factor: a catalogue that is right or wrong by it."""
    variants = {
        model: Variant(
            energy_mj=EnergyFigure(
                value=1000 * WATTS * burn_s * factor,
                above_idle=1000 * WATTS * burn_s * factor,
                provenance=Provenance.ESTIMATED,
            ),
            error=Figure(value=1.0, provenance=Provenance.ESTIMATED),
        )
        for model, burn_s in BURN_S.items()
    }
    return Catalogue(families={"burn": Family(error_metric="e", pool=list(variants), variants=variants)})


def test_measured_energies_ratios_metrics_and_warnings(burning_triton: Triton, tmp_path: Path) -> None:
    client = tritonclient.grpc.InferenceServerClient(burning_triton.grpc)
    meter = CpuTimeMeter(burning_triton.child.pid, WATTS)
    right, wrong = Calibrator(catalogue(1.0), meter.nameplate), Calibrator(catalogue(0.5), meter.nameplate)
    models = {name: describe_model(client, name) for name in BURN_S}
    loads = {name: Load(burning_triton.grpc, model, make_up(model, {}), 1) for name, model in models.items()}
    rng = random.Random(4)
    for number in range(100):
        look = look_at(client, meter)
        assert right.add(look) == ""
        wrong.add(look)
        # Beside other work CPU time is vaguer, and more intervals are needed.
        if number >= 25 and any(each.variant == "burn-large" and each.ratio for each in right.verdicts(right.result())):
            break
        for load in loads.values():
            load.run(0, at_least=rng.randint(1, 25))
        # Without pauses the time is the sum of the loads, and the draw at rest could not be told from them.
        time.sleep(rng.uniform(0, 0.3))
    result = right.result()
    verdicts = right.verdicts(result)
    assert [verdict.variant for verdict in verdicts] == sorted(BURN_S)
    told = {verdict.variant: verdict for verdict in verdicts if verdict.ratio is not None}
    # The smallest may be too vague on a busy machine; the largest never is.
    assert "burn-large" in told, [verdict.energy for verdict in verdicts]
    for variant, verdict in told.items():
        assert verdict.ratio is not None
        overhead = (BURN_S[variant] + 0.0015) / BURN_S[variant]
        assert 0.9 <= verdict.ratio.value <= 1.1 * overhead

    registry = CollectorRegistry()
    metrics = CalibrationMetrics(registry)
    metrics.publish(result, verdicts, right.dropped)
    page = generate_latest(registry).decode()
    assert 'tradewind_calibration_energy_ratio{family="burn",variant="burn-large"}' in page
    assert 'tradewind_calibration_told{family="burn",variant="burn-large"} 1.0' in page

    warnings = DriftWarnings(0.3)
    assert all("burn-large" not in sentence for sentence in warnings.tell(verdicts))
    doubled = wrong.verdicts(wrong.result())
    assert any("burn-large" in sentence and "profile it again" in sentence for sentence in warnings.tell(doubled))
    assert all("burn-large" not in sentence for sentence in warnings.tell(doubled))
    assert any("burn-large of burn is back" in sentence for sentence in warnings.tell(verdicts))

    write_calibration(tmp_path / "calibration.json", verdicts, meter.nameplate, datetime.now(UTC))
    written = json.loads((tmp_path / "calibration.json").read_text())
    assert {entry["variant"] for entry in written["variants"]} == set(told)
    assert (written["meter"], written["provenance"]) == ("cpu-time", "estimated")


def _counted(client: tritonclient.grpc.InferenceServerClient) -> dict[str, int]:
    """How many inferences Triton has counted of each of the two models."""
    statistics = client.get_inference_statistics().model_stats
    return {each.name: each.inference_count for each in statistics if each.name in {"burn-small", "burn-large"}}


def _await_counted(client: tritonclient.grpc.InferenceServerClient, expected: dict[str, int]) -> None:
    deadline = time.monotonic() + 20
    while _counted(client) != expected:
        assert time.monotonic() < deadline, f"Triton counted {_counted(client)}, not {expected}"
        time.sleep(0.01)


def test_a_constant_mix_is_said_and_has_no_ratio(burning_triton: Triton) -> None:
    client = tritonclient.grpc.InferenceServerClient(burning_triton.grpc)
    meter = CpuTimeMeter(burning_triton.child.pid, WATTS)
    calibrator = Calibrator(catalogue(1.0), meter.nameplate)
    model = describe_model(client, "burn-small")
    loads = [
        Load(burning_triton.grpc, described, make_up(described, {}), 1)
        for described in (model, describe_model(client, "burn-large"))
    ]
    counted = _counted(client)
    for _ in range(12):
        calibrator.add(look_at(client, meter))
        for load in loads:
            load.run(0, at_least=4)
        # Triton answers a moment before it counts; a look in between would see a mix that varies.
        counted = {name: count + 4 for name, count in counted.items()}
        _await_counted(client, counted)
    registry = CollectorRegistry()
    metrics = CalibrationMetrics(registry)
    result = calibrator.result()
    verdicts = calibrator.verdicts(result)
    assert [verdict.ratio for verdict in verdicts] == [None, None]
    assert all(verdict.energy.why_not for verdict in verdicts)
    untold = Untold()
    said = untold.tell(verdicts)
    assert [sentence.partition(" is not calibrated: ")[0] for sentence in said] == [
        "burn-large of burn",
        "burn-small of burn",
    ]
    assert all(sentence.endswith(verdict.energy.why_not) for sentence, verdict in zip(said, verdicts, strict=True))
    assert untold.tell(verdicts) == []
    metrics.publish(result, verdicts, 0)
    page = generate_latest(registry).decode()
    assert "energy_ratio{" not in page
    assert 'tradewind_calibration_told{family="burn",variant="burn-large"} 0.0' in page


def test_a_restarted_triton_is_left_out(burning_triton: Triton) -> None:
    client = tritonclient.grpc.InferenceServerClient(burning_triton.grpc)
    meter = CpuTimeMeter(burning_triton.child.pid, WATTS)
    model = describe_model(client, "burn-small")
    calibrator = Calibrator(catalogue(1.0), meter.nameplate)
    calibrator.add(look_at(client, meter))
    Load(burning_triton.grpc, model, make_up(model, {}), 1).run(0, at_least=3)
    calibrator.add(look_at(client, meter))
    burning_triton.child.kill()
    burning_triton.start()
    again = CpuTimeMeter(burning_triton.child.pid, WATTS)
    client = tritonclient.grpc.InferenceServerClient(burning_triton.grpc)
    why = calibrator.add(look_at(client, again))
    assert "went back" in why or "counter" in why
    assert calibrator.dropped == 1
    assert calibrator.result().intervals == 1
