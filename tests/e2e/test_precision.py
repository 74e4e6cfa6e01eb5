"""Precision as a variant: one network in fp32 and int8, profiled, decided by the policy and served by the proxy."""

import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc

from demo.dense_digits import DENSE, DENSE_INT8, write_dense
from demo.digits import split_digits
from demo.synthetic_day import write_synthetic_days
from local_stack.stack import Options, Replay, Stack
from local_stack.triton import DIGITS_REPOSITORY, Triton
from profiler.command import run_profile
from profiler.meter_offers import Metering
from profiler.plan import Goal
from profiler.profile import Wish
from tradewind.catalogue import load_catalogue

FAMILY = "digits"
LARGE = "digits-large"
BATCH = 32


def _repository(folder: Path) -> Path:
    """The largest of the digits, and the dense network in both precisions."""
    shutil.copytree(DIGITS_REPOSITORY / LARGE, folder / LARGE)
    write_dense(folder)
    return folder


def _profile(
    triton: Triton, folder: Path, variants: tuple[str, ...], batches: tuple[int, ...], budget_s: float
) -> Path:
    test = split_digits().test
    np.savez(folder / "test.npz", pixels=test.pixels[:600], labels=test.labels[:600])
    wish = Wish(
        triton.grpc,
        FAMILY,
        {name: (name, "") for name in variants},
        folder / "catalogue.yaml",
        batches=batches,
        inputs=folder / "test.npz",
        labels=folder / "test.npz",
        goal=Goal(precision=0.08, limit=0.5, spread_s=0),
        window_s=0.15,
        budget_s=budget_s,
    )
    assert run_profile(wish, Metering("cpu-time"), folder / "plot.png")
    return wish.output


@pytest.mark.timeout(300)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_int8_is_profiled_decided_and_served(tmp_path: Path) -> None:
    triton = Triton(tmp_path, _repository(tmp_path / "models"))
    triton.start()
    try:
        _profile(triton, tmp_path, (DENSE, DENSE_INT8), (1, BATCH), budget_s=9)
        catalogue = _profile(triton, tmp_path, (LARGE,), (1,), budget_s=3)
        family = load_catalogue(catalogue).family(FAMILY)
        fp32, int8 = family.variants[DENSE], family.variants[DENSE_INT8]
        # A quarter of the weights to move and sums of eight bits: clearly less, and hardly another answer. Many at once
        # show the network's own part, beside which what every request costs is small.
        assert int8.energy_mj.value < fp32.energy_mj.value
        assert int8.energy_by_batch_mj[BATCH].value < 0.8 * fp32.energy_by_batch_mj[BATCH].value
        assert abs(int8.error.value - fp32.error.value) < 0.5
        assert DENSE_INT8 in family.pool
        served = _serve_a_day(triton, catalogue, tmp_path)
    finally:
        triton.stop()
    assert {DENSE_INT8, LARGE} <= served.keys()
    for variant, energy_uj in served.items():
        assert energy_uj == round(1000 * family.variants[variant].energy_mj.value)


def _serve_a_day(triton: Triton, catalogue: Path, folder: Path) -> dict[str, int]:
    """Requests to the family while a replayed grid swings; the energy on the receipts, by the variant that served."""
    replay = Replay(file=write_synthetic_days(folder, days=60), speed=5_760, backfill_s=86_400)
    options = Options(
        directory=folder / "stack",
        zone="T-INT8",
        window_s=15,
        replay=replay,
        catalogue=catalogue,
        triton_grpc=triton.grpc,
        triton_http=triton.http,
    )
    pixels = split_digits().test.pixels
    served: dict[str, int] = {}
    options.directory.mkdir()
    with Stack(options, lambda _line: None) as stack, triton_grpc.InferenceServerClient(stack.proxy.address) as client:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not {DENSE_INT8, LARGE} <= served.keys():
            tensor = triton_grpc.InferInput("pixels", [1, 64], "FP32")
            tensor.set_data_from_numpy(pixels[:1])
            answer = client.infer(FAMILY, [tensor])
            response = answer.get_response()
            assert response.model_name in (DENSE, DENSE_INT8, LARGE)
            assert answer.as_numpy("scores").shape == (1, 10)
            served[response.model_name] = response.parameters["carbon_energy_uj"].int64_param
    return served
