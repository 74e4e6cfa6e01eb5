"""`tradewind profile` as a user runs it, on the demo's digits."""

import itertools
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from demo.digits import split_digits
from local_stack.triton import DIGITS_REPOSITORY, Triton
from tradewind.catalogue import Catalogue, load_catalogue

TRADEWIND = str(Path(sys.executable).with_name("tradewind"))
SIZES = ("digits-small", "digits-medium", "digits-large")
EXAMPLES = 240
"""Labelled digits, of those the networks never saw: ONNX Runtime needs seconds for more, and Triton again."""


def tradewind(*arguments: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [TRADEWIND, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=170,
    )


def offline_error_pct(model: str) -> float:
    """What ONNX Runtime answers without Triton."""
    network = DIGITS_REPOSITORY / model / "1" / "model.onnx"
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # As in Triton; and threads that wait for each other are slow on a busy machine.
    session = onnxruntime.InferenceSession(str(network), options, providers=["CPUExecutionProvider"])
    test = split_digits().test
    parts = [session.run(["scores"], {"pixels": test.pixels[at : at + 40]})[0] for at in range(0, EXAMPLES, 40)]
    return float(100 * int((np.concatenate(parts).argmax(axis=1) != test.labels[:EXAMPLES]).sum()) / EXAMPLES)


@pytest.fixture
def test_digits(tmp_path: Path) -> Path:
    test = split_digits().test
    np.savez(tmp_path / "test.npz", pixels=test.pixels[:EXAMPLES], labels=test.labels[:EXAMPLES])
    return tmp_path / "test.npz"


def arguments_of(triton: Triton, digits: Path, output: Path, *more: object) -> list[object]:
    return [
        *("profile", "--triton-grpc", triton.grpc, "--family", "digits", "--variants", ",".join(SIZES)),
        *("--inputs", digits, "--labels", digits, "--batch", "1,8", "-o", output, "--meter", "cpu-time", *more),
    ]


def profiled(triton: Triton, digits: Path, output: Path, *more: object) -> "subprocess.CompletedProcess[str]":
    return tradewind(*arguments_of(triton, digits, output, *more))


def check_order(catalogue: Catalogue) -> None:
    variants = catalogue.family("digits").variants
    energies = [variants[size].energy_mj.value for size in SIZES]
    assert energies == sorted(energies)
    for lower, higher in itertools.pairwise(SIZES):
        below, above = variants[lower].energy_mj.interval_95, variants[higher].energy_mj.interval_95
        assert below is not None
        assert above is not None
        assert below[1] < above[0]


def test_the_digits_are_profiled_into_a_catalogue(triton: Triton, test_digits: Path, tmp_path: Path) -> None:
    output, plot = tmp_path / "catalogue.yaml", tmp_path / "plot.png"
    # Short windows and few keep this short on a busy machine; the order of compute is far wider apart.
    short = ("--window", "0.15", "--spread", "0", "--warm-up", "0.1", "--budget", "12")
    ran = profiled(triton, test_digits, output, *short, "--limit", "0.5", "--plot", plot)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    catalogue = load_catalogue(output)
    check_order(catalogue)
    for size in SIZES:
        variant = catalogue.family("digits").variants[size]
        assert variant.error.value == pytest.approx(offline_error_pct(size), rel=1e-5)
        assert variant.error.samples == EXAMPLES
        assert set(variant.energy_by_batch_mj) == {8}
        assert variant.energy_by_batch_mj[8].value < variant.energy_mj.value
        assert variant.energy_mj.meter == "cpu-time"
        shown = re.search(rf"^ *{size} +1 +(\S+)", ran.stdout, re.MULTILINE)  # The first table: energy, of batch 1.
        assert shown is not None, ran.stdout
        assert float(shown[1]) == pytest.approx(variant.energy_mj.value, rel=1e-3)
    assert catalogue.family("digits").pool == list(SIZES)
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert tradewind("catalogue", "check", output).returncode == 0


def test_a_budget_that_is_too_small_writes_nothing_and_says_why(
    triton: Triton, test_digits: Path, tmp_path: Path
) -> None:
    output = tmp_path / "catalogue.yaml"
    ran = profiled(triton, test_digits, output, "--variants", "digits-small", "--budget", "1", "--warm-up", "0")
    assert ran.returncode == 1
    assert "raise --budget" in ran.stdout
    assert not output.exists()


def test_an_interrupted_run_says_how_to_go_on_and_does(triton: Triton, test_digits: Path, tmp_path: Path) -> None:
    output = tmp_path / "catalogue.yaml"
    windows = tmp_path / "catalogue.yaml.digits.windows.jsonl"
    short = (
        "--variants",
        "digits-small",
        "--batch",
        "1",
        "--window",
        "0.1",
        "--warm-up",
        "0",
        "--spread",
        "0",
        "--limit",
        "0.9",
        "--precision",
        "0.001",  # So that it is not done before it is interrupted.
    )
    # Where the tests run in a shell's background, children are born deaf to SIGINT.
    heard = ("env", "--default-signal=INT")
    first = subprocess.Popen(
        [*heard, TRADEWIND, *map(str, arguments_of(triton, test_digits, output, *short, "--budget", "100"))],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 60
        while not windows.exists() or len(windows.read_text().splitlines()) < 9:
            assert first.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        first.send_signal(signal.SIGINT)
        _, said = first.communicate(timeout=60)
    finally:
        first.kill()
    assert first.returncode == 130
    assert said.decode().strip().endswith("the same command goes on from here, with --fresh from the start")
    kept = len(windows.read_text().splitlines()) - 1
    second = profiled(triton, test_digits, output, *short, "--budget", "1")
    assert f"went on from an interrupted run: {kept} of the windows are its own" in second.stdout
    assert second.returncode == 0, second.stdout + second.stderr
    assert not windows.exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--meter", "nvml"), "no NVIDIA driver"),
        (("--meter", "smart-plug"), "no such meter"),
        (("--batch", "none"), "--batch 'none'"),
        (("--error-metric", "wer"), "--error-metric wer"),
        (("--family", "digits/8"), "--family 'digits/8'"),
        (("--output", "."), "--output .: that is a folder"),
        (("--plot", "plot.doc"), "--plot plot.doc: it is written as PNG"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    triton: Triton, test_digits: Path, tmp_path: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    ran = profiled(triton, test_digits, tmp_path / "catalogue.yaml", *arguments)
    assert ran.returncode == 2
    assert sentence in ran.stderr
    assert len(ran.stderr.strip().splitlines()) == 1
