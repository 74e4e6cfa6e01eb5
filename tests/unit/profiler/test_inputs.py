"""Made-up and real inputs, and labels in every accepted form."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from profiler.inputs import check_fits, check_shapes, make_up, only_what_it_takes, read_inputs
from profiler.served_model import ServedModel, Tensor
from tradewind.errors import InvalidInput


def model(*inputs: Tensor) -> ServedModel:
    outputs = (Tensor("Y", "FP32", (10,)),)
    return ServedModel("m", "1", inputs, outputs, 8, batched=True, on_gpu=False, runtime="Triton", random_weights=False)


def saved(tmp_path: Path, **arrays: Any) -> Path:
    path = tmp_path / "in.npz"
    np.savez(path, **arrays)
    return path


def test_made_up_inputs_have_the_models_shapes_and_types() -> None:
    inputs = make_up(model(Tensor("X", "FP16", (3, 4)), Tensor("N", "INT64", (2,))), {})
    batch = inputs.batch(60, 8)
    assert batch["X"].shape == (8, 3, 4)
    assert batch["X"].dtype == np.dtype(np.float16)
    assert batch["N"].shape == (8, 2)
    assert batch["N"].dtype == np.dtype(np.int64)
    assert batch["X"].std() > 0


def test_open_dimensions_need_a_shape() -> None:
    open_model = model(Tensor("X", "FP32", (3, -1, -1)))
    with pytest.raises(InvalidInput, match="--shape X"):
        make_up(open_model, {})
    assert make_up(open_model, {"X": (3, 8, 8)}).batch(0, 2)["X"].shape == (2, 3, 8, 8)


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        ({"Y": (3,)}, "--shape Y: no model has that input; they take X"),
        ({"X": (3, 8)}, r"--shape X is \[3, 8\]; m takes \[3, -1, -1\]"),
        ({"X": (4, 8, 8)}, r"--shape X is \[4, 8, 8\]; m takes \[3, -1, -1\]"),
    ],
)
def test_a_shape_that_no_input_takes_is_refused(shapes: dict[str, tuple[int, ...]], said: str) -> None:
    open_model = model(Tensor("X", "FP32", (3, -1, -1)))
    with pytest.raises(InvalidInput, match=said):
        check_shapes(shapes, [open_model])
    check_shapes({"X": (3, 8, 8)}, [open_model])


def test_strings_cannot_be_made_up() -> None:
    with pytest.raises(InvalidInput, match="--inputs"):
        make_up(model(Tensor("TEXT", "BYTES", (1,))), {})


def test_batches_wrap_around(tmp_path: Path) -> None:
    inputs = read_inputs(saved(tmp_path, X=np.arange(5).reshape(5, 1)), None)
    assert inputs.batch(3, 4)["X"].ravel().tolist() == [3, 4, 0, 1]


@pytest.mark.parametrize("form", ["npy", "npz", "txt", "same"])
def test_labels(tmp_path: Path, form: str) -> None:
    labels = np.array([2, 0, 1])
    inputs = saved(tmp_path, X=np.zeros((3, 4)), labels=labels)
    path = inputs if form == "same" else tmp_path / f"labels.{form}"
    if form == "npy":
        np.save(path, labels)
    elif form == "npz":
        np.savez(path, labels=labels)
    elif form == "txt":
        path.write_text("2\n0\n1\n")
    read = read_inputs(inputs, path)
    assert read.labels is not None
    assert read.labels.tolist() == [2, 0, 1]
    assert set(read.arrays) == {"X"}


def test_broken_files_are_said(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"\.npz"):
        read_inputs(tmp_path / "missing.npz", None)
    inputs = saved(tmp_path, X=np.zeros((3, 4)))
    labels = tmp_path / "labels.txt"
    labels.write_text("1\n2\n")
    with pytest.raises(InvalidInput, match="2 labels for 3 inputs"):
        read_inputs(inputs, labels)
    labels.write_text("cat\ndog\n")
    with pytest.raises(InvalidInput, match="one number a line"):
        read_inputs(inputs, labels)
    np.save(tmp_path / "l.npy", np.array([0.5, 1, 2]))
    with pytest.raises(InvalidInput, match="whole numbers"):
        read_inputs(inputs, tmp_path / "l.npy")
    with pytest.raises(InvalidInput, match="different numbers"):
        read_inputs(saved(tmp_path, X=np.zeros(3), Z=np.zeros(4)), None)


def test_inputs_must_be_what_the_model_takes(tmp_path: Path) -> None:
    inputs = read_inputs(saved(tmp_path, X=np.zeros((3, 4)), more=np.zeros(3)), None)
    check_fits(inputs, model(Tensor("X", "FP32", (-1,))))
    with pytest.raises(InvalidInput, match="no array Z"):
        check_fits(inputs, model(Tensor("Z", "FP32", (4,))))
    with pytest.raises(InvalidInput, match=r"takes \[5\]"):
        check_fits(inputs, model(Tensor("X", "FP32", (5,))))
    taken = only_what_it_takes(inputs, model(Tensor("X", "FP32", (4,))))
    assert set(taken.arrays) == {"X"}
    assert taken.arrays["X"].dtype == np.float32
