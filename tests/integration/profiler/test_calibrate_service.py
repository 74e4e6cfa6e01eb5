"""`python -m profiler` as operators run it."""

import os
import re
import sys
import urllib.request
from pathlib import Path

import pytest

from local_stack.processes import Child
from local_stack.triton import Triton
from tradewind.errors import StartupError

INTERVALS = re.compile(r"^tradewind_calibration_intervals (\S+)$", re.MULTILINE)

CATALOGUE = """
families:
  burn:
    error_metric: e
    pool: [burn-small]
    variants:
      burn-small:
        energy_mj: {value: 20, provenance: estimated}
        error: {value: 1, provenance: estimated}
"""


def service(folder: Path, **settings: str) -> Child:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TRADEWIND_")}
    return Child("profiler", [sys.executable, "-m", "profiler"], folder, kept | settings)


def test_it_says_its_port_publishes_and_ends(burning_triton: Triton, tmp_path: Path) -> None:
    (tmp_path / "catalogue.yaml").write_text(CATALOGUE)
    child = service(
        tmp_path,
        TRADEWIND_CATALOGUE=str(tmp_path / "catalogue.yaml"),
        TRADEWIND_PROFILER_TRITON_GRPC=burning_triton.grpc,
        TRADEWIND_PROFILER_INTERVAL="100ms",
        TRADEWIND_PROFILER_LISTEN="127.0.0.1:0",
        TRADEWIND_PROFILER_OUTPUT=str(tmp_path / "calibration.json"),
    )
    child.start()
    try:
        port = child.wait_listening()

        def page() -> str:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
                return str(answer.read().decode())

        # With nothing served there is nothing to tell: intervals grow, ratios are absent.
        child.wait_until(lambda: float(INTERVALS.findall(page())[0]) >= 5, timeout_s=30, what="take five intervals")
        assert "energy_ratio{" not in page()
        assert (tmp_path / "calibration.json").exists()
    finally:
        child.stop()
    assert "Traceback" not in child.log.read_text()


def test_an_output_that_cannot_be_written_is_one_sentence(burning_triton: Triton, tmp_path: Path) -> None:
    (tmp_path / "catalogue.yaml").write_text(CATALOGUE)
    child = service(
        tmp_path,
        TRADEWIND_CATALOGUE=str(tmp_path / "catalogue.yaml"),
        TRADEWIND_PROFILER_TRITON_GRPC=burning_triton.grpc,
        TRADEWIND_PROFILER_LISTEN="127.0.0.1:0",
        TRADEWIND_PROFILER_OUTPUT=str(tmp_path / "catalogue.yaml" / "calibration.json"),
    )
    child.start()
    with pytest.raises(StartupError, match=r"TRADEWIND_PROFILER_OUTPUT .*: cannot be written there"):
        child.wait_listening()


def test_a_missing_triton_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "catalogue.yaml").write_text(CATALOGUE)
    child = service(
        tmp_path,
        TRADEWIND_CATALOGUE=str(tmp_path / "catalogue.yaml"),
        TRADEWIND_PROFILER_TRITON_GRPC="127.0.0.1:1",
    )
    child.start()
    with pytest.raises(StartupError, match=r"no Triton answers gRPC at 127\.0\.0\.1:1"):
        child.wait_listening()
