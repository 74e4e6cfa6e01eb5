"""One network in two precisions: `python -m demo.dense_digits --repository R` writes `digits-dense` and its int8 twin.

Two wide layers of random features and a fitted linear map: almost all of its work is one large matrix, which int8
makes four times smaller. Precision is thereby a variant like size: the same inputs and outputs, its own energy and
its own error.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from demo.digits import CLASSES, SIDE, Pixels, split_digits
from profiler.models.quantise import quantise_model
from profiler.models.repository import Backend, write_model

Floats = NDArray[np.float32]

DENSE, DENSE_INT8 = "digits-dense", "digits-dense-int8"

_WIDTH = 1536
_RIDGE = 1e-2
_SEED = 11
_MOVES = ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0))
_MAX_BATCH = 64


def write_dense(repository: Path) -> None:
    """The network as fp32 and as int8, for Triton's Python backend."""
    with tempfile.TemporaryDirectory() as folder:
        network, examples = Path(folder) / "model.onnx", Path(folder) / "train.npz"
        onnx.save(dense_network(), network)
        np.savez(examples, pixels=split_digits().train.pixels)
        write_model(repository, DENSE, network, backend=Backend.PYTHON, max_batch=_MAX_BATCH, threads=1)
        quantise_model(repository, DENSE, DENSE_INT8, examples, backend=Backend.PYTHON, max_batch=_MAX_BATCH)


def dense_network() -> onnx.ModelProto:
    """Random features, then the linear map that fits the training digits and their shifted copies best."""
    rng = np.random.default_rng(_SEED)
    pixels = SIDE * SIDE
    first, second = _random(rng, pixels, 1.0), _random(rng, _WIDTH, _WIDTH**-0.5)
    offsets = rng.uniform(-1, 1, _WIDTH).astype(np.float32), rng.uniform(-0.5, 0.5, _WIDTH).astype(np.float32)
    train = split_digits().train
    inside = np.maximum(_shifted(train.pixels) @ first + offsets[0], 0)
    features = np.maximum(inside @ second + offsets[1], 0)
    last, bias = _fit(features.astype(np.float64), np.tile(train.labels, len(_MOVES)))
    weights = {"w1": first, "b1": offsets[0], "w2": second, "b2": offsets[1], "w3": last, "b3": bias}
    return _network(weights)


def _network(weights: dict[str, Floats]) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Gemm", ["pixels", "w1", "b1"], ["first"]),
        helper.make_node("Relu", ["first"], ["first_rectified"]),
        helper.make_node("Gemm", ["first_rectified", "w2", "b2"], ["second"]),
        helper.make_node("Relu", ["second"], ["second_rectified"]),
        helper.make_node("Gemm", ["second_rectified", "w3", "b3"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        DENSE,
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["batch", SIDE * SIDE])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", CLASSES])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _random(rng: np.random.Generator, rows: int, scale: float) -> Floats:
    return (rng.standard_normal((rows, _WIDTH)) * scale).astype(np.float32)


def _shifted(pixels: Pixels) -> Floats:
    """Every digit where it is and one pixel away in each direction."""
    images = pixels.reshape(-1, SIDE, SIDE)
    return np.concatenate([np.roll(images, move, (1, 2)) for move in _MOVES]).reshape(-1, SIDE * SIDE)


def _fit(features: NDArray[np.float64], labels: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Ridge regression towards one-hot labels."""
    inputs = np.hstack([features, np.ones((len(features), 1))])
    gram = inputs.T @ inputs
    gram[np.diag_indices_from(gram)] += _RIDGE * np.trace(gram) / len(gram)
    solution = np.linalg.solve(gram, inputs.T @ np.eye(CLASSES)[labels])
    return solution[:-1].astype(np.float32), solution[-1].astype(np.float32)


def main() -> None:
    """Writes both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repository", type=Path, required=True, help="Triton model repository to write to")
    write_dense(parser.parse_args().repository)


if __name__ == "__main__":
    main()
