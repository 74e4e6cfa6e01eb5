"""Measures the digits family through a real Triton and rewrites its catalogue: `python -m demo.measure_digits`.

Error and latency are measured. Energy is an estimate: CPU time of Triton and its helpers, as the kernel counts it,
times the power of one busy core. It is as good as that one constant, which the catalogue names.
"""

import argparse
import math
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc as triton_grpc
import yaml

from demo.digits import Pixels, split_digits
from local_stack.cpu_time import session_cpu_s
from local_stack.triton import Triton

CATALOGUE = Path(__file__).parent.parent / "tradewind" / "catalogues" / "digits.yaml"

WATTS_PER_CORE = 10.0
"""A busy core of a server processor with its share of cache and memory: 150 to 250 W over 16 to 24 cores."""

FAMILY = "digits"
SIZES = ("digits-small", "digits-medium", "digits-large")
BATCHES = (1, 8, 32)
_T_975: Mapping[int, float] = {4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262, 10: 2.228, 11: 2.201}
"""Student's t for a 95 % interval, by degrees of freedom."""

_HEADER = """\
# Handwritten digits in three sizes, the family of the demo. Written by `python -m demo.measure_digits`.
# Error and latency are measured. Energy is estimated: CPU time of Triton's processes per inference, times {watts:g} W
# per busy core. Measure your own with `tradewind profile`.
"""


@dataclass
class Findings:
    """What the rounds gave for one size."""

    cpu_ms: dict[int, list[float]] = field(default_factory=lambda: {batch: [] for batch in BATCHES})
    """CPU time per inference of each round, by batch."""
    latencies_ms: list[float] = field(default_factory=list)


class Meter:
    """Sends digits to one Triton and reads what they cost."""

    def __init__(self, triton: Triton, client: triton_grpc.InferenceServerClient) -> None:
        self._triton, self._client = triton, client

    def infer(self, model: str, pixels: Pixels) -> "np.ndarray[Any, Any]":
        """Scores of one request."""
        tensor = triton_grpc.InferInput("pixels", list(pixels.shape), "FP32")
        tensor.set_data_from_numpy(pixels)
        scores: np.ndarray[Any, Any] = self._client.infer(model, [tensor]).as_numpy("scores")
        return scores

    def wrong(self, model: str) -> int:
        """How many of the test digits the model gets wrong."""
        test = split_digits().test
        parts = [self.infer(model, test.pixels[at : at + 32]) for at in range(0, len(test), 32)]
        return int((np.concatenate(parts).argmax(axis=1) != test.labels).sum())

    def cost(self, model: str, batch: int, requests: int) -> tuple[float, list[float]]:
        """CPU ms per inference, and every request's latency in ms."""
        pixels, latencies = split_digits().test.pixels, []
        before = session_cpu_s(self._triton.child.pid)
        for number in range(requests):
            at = number * batch % (len(pixels) - batch)
            began = time.perf_counter()
            self.infer(model, pixels[at : at + batch])
            latencies.append((time.perf_counter() - began) * 1e3)
        used = session_cpu_s(self._triton.child.pid) - before
        return used * 1e3 / (requests * batch), latencies


def measure(meter: Meter, rounds: int, requests: int) -> dict[str, Findings]:
    """Every size in turn, over and over, so that a change in the machine's mood meets all of them."""
    findings = {size: Findings() for size in SIZES}
    for size in SIZES:
        meter.cost(size, 1, requests // 10)
    for _ in range(rounds):
        for size in SIZES:
            for batch in BATCHES:
                cpu_ms, latencies = meter.cost(size, batch, max(100, requests // batch))
                findings[size].cpu_ms[batch].append(cpu_ms)
                if batch == 1:
                    findings[size].latencies_ms += latencies
    return findings


def describe(findings: Findings, wrong: int, requests: int) -> dict[str, Any]:
    """One variant as the catalogue writes it."""
    digits = len(split_digits().test)
    return {
        "energy_mj": _energy(findings.cpu_ms[1], requests, 1),
        "energy_by_batch_mj": {
            batch: _energy(findings.cpu_ms[batch], max(100, requests // batch) * batch, batch) for batch in BATCHES[1:]
        },
        "error": _measured(100 * wrong / digits, _wilson_pct(wrong, digits), digits, "UCI digits, fixed test part"),
        "p95_latency_ms": _measured(
            float(np.percentile(findings.latencies_ms, 95)),
            None,
            len(findings.latencies_ms),
            "batch 1 through Triton, one client, loopback",
        ),
    }


def _energy(cpu_ms: Sequence[float], inferences: int, batch: int) -> dict[str, Any]:
    energies = [each * WATTS_PER_CORE for each in cpu_ms]
    middle = statistics.fmean(energies)
    half = _T_975[len(energies) - 1] * statistics.stdev(energies) / math.sqrt(len(energies))
    return {
        "value": _rounded(middle),
        "provenance": "estimated",
        "source": f"CPU time x {WATTS_PER_CORE:g} W per busy core",
        "hardware": processor(),
        "method": f"batch {batch} through Triton on the CPU, one ONNX Runtime thread",
        "interval_95": [_rounded(middle - half), _rounded(middle + half)],
        "samples": inferences * len(energies),
        "date": datetime.now(UTC).date().isoformat(),
    }


def _measured(value: float, interval: tuple[float, float] | None, samples: int, method: str) -> dict[str, Any]:
    figure: dict[str, Any] = {"value": _rounded(value), "provenance": "measured", "method": method}
    if interval is not None:
        figure["interval_95"] = [_rounded(end) for end in interval]
    return figure | {"samples": samples, "date": datetime.now(UTC).date().isoformat()}


def _wilson_pct(wrong: int, digits: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a proportion, in percent."""
    z, share = 1.96, wrong / digits
    centre = (share + z**2 / (2 * digits)) / (1 + z**2 / digits)
    half = z * math.sqrt(share * (1 - share) / digits + z**2 / (4 * digits**2)) / (1 + z**2 / digits)
    return 100 * (centre - half), 100 * (centre + half)


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


def processor() -> str:
    """What the kernel calls the processor."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return "unknown processor"


def write_catalogue(path: Path, variants: Mapping[str, Mapping[str, Any]]) -> None:
    """The family's YAML file."""
    family = {
        "error_metric": "top1_error_pct",
        "pool": list(SIZES),
        "notes": "A third of the UCI digits trained these networks; error is taken on the other two thirds.",
        "variants": dict(variants),
    }
    content = yaml.safe_dump({"version": 1, "families": {FAMILY: family}}, sort_keys=False, width=120)
    path.write_text(_HEADER.format(watts=WATTS_PER_CORE) + content, encoding="utf-8")


def main() -> None:
    """Starts Triton, measures, writes, and prints what changed hands."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--catalogue", type=Path, default=CATALOGUE, help="the file to write")
    parser.add_argument("--rounds", type=int, default=8, choices=range(5, 13))
    parser.add_argument("--requests", type=int, default=300, help="requests of batch 1 per size and round")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tradewind-") as directory:
        triton = Triton(Path(directory))
        try:
            triton.start()
            with triton_grpc.InferenceServerClient(triton.grpc) as client:
                meter = Meter(triton, client)
                found = measure(meter, arguments.rounds, arguments.requests)
                variants = {size: describe(found[size], meter.wrong(size), arguments.requests) for size in SIZES}
        finally:
            triton.stop()
    write_catalogue(arguments.catalogue, variants)
    for size, variant in variants.items():
        energy, error, p95 = (variant[name]["value"] for name in ("energy_mj", "error", "p95_latency_ms"))
        print(f"{size}: {energy:g} mJ (estimated), error {error:g} %, p95 {p95:g} ms")


if __name__ == "__main__":
    main()
