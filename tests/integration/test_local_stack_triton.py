"""The Triton of the local stack serves the digits family, and comes back on its ports after a crash."""

from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http

from demo.digits import split_digits
from local_stack.cpu_time import session_cpu_s
from local_stack.triton import Runtime, Triton
from tradewind.errors import StartupError

_DIGITS = ("digits-large", "digits-medium", "digits-small")


def _scores(address: str, model: str, count: int) -> "np.ndarray[tuple[int, ...], np.dtype[np.float32]]":
    pixels = split_digits().test.pixels[:count]
    tensor = triton_grpc.InferInput("pixels", list(pixels.shape), "FP32")
    tensor.set_data_from_numpy(pixels)
    with triton_grpc.InferenceServerClient(address) as client:
        scores: np.ndarray[tuple[int, ...], np.dtype[np.float32]] = client.infer(model, [tensor]).as_numpy("scores")
    return scores


@pytest.mark.parametrize("model", _DIGITS)
@pytest.mark.parametrize("count", [1, 3, 64])
def test_every_size_answers_with_scores(triton: Triton, model: str, count: int) -> None:
    scores = _scores(triton.grpc, model, count)
    assert scores.shape == (count, 10)
    assert (scores.argmax(axis=1) == split_digits().test.labels[:count]).mean() >= 0.8


def test_the_sizes_agree_on_inputs_and_outputs(triton: Triton) -> None:
    with triton_http.InferenceServerClient(triton.http) as client:
        shapes = [client.get_model_metadata(model) for model in _DIGITS]
    assert triton.models == _DIGITS
    assert all(shape["inputs"] == [{"name": "pixels", "datatype": "FP32", "shape": [-1, 64]}] for shape in shapes)
    assert all(shape["outputs"] == [{"name": "scores", "datatype": "FP32", "shape": [-1, 10]}] for shape in shapes)


def test_its_cpu_time_includes_its_helpers(triton: Triton) -> None:
    before = session_cpu_s(triton.child.pid)
    for _ in range(10):
        _scores(triton.grpc, "digits-large", 64)
    # 640 digits cost far more than the tenth of a second that a busy helper would show at once.
    assert session_cpu_s(triton.child.pid) - before > 0.1


def test_it_comes_back_on_the_same_ports(own_triton: Triton) -> None:
    before = own_triton.grpc
    own_triton.child.kill()
    assert not own_triton.child.alive
    own_triton.start()
    assert own_triton.grpc == before
    assert _scores(before, "digits-small", 1).shape == (1, 10)


def test_a_missing_environment_is_told(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=r"Triton's environment .* is not there: run `make"):
        Runtime.find(tmp_path)
