"""Trains the digits family and writes its ONNX files: `python -m demo.train_digits`. The same input, the same files."""

import argparse
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from demo.digits import CLASSES, SIDE, Digits, Pixels, split_digits
from demo.digits_network import Floats, Look, feature_network, linear_network, looking_network, view_grids

REPOSITORY = Path(__file__).parent.parent / "deploy" / "triton" / "models"

LOOKS: Mapping[str, Look] = {
    "digits-medium": Look(resolution=30, filter_side=9, filters=12, cells=3),
    "digits-large": Look(resolution=32, filter_side=9, filters=96, cells=4),
}
_THRESHOLD = 0.1
_SEED = 7
_LINEAR_RIDGE = 1e-2
_FEATURE_RIDGE = 3e-4
_PART = 64


def train_family() -> dict[str, onnx.ModelProto]:
    """The three networks by the name of their variant."""
    train = split_digits().train
    family = {"digits-small": train_linear(train)}
    return family | {name: train_looking(look, train) for name, look in LOOKS.items()}


def train_linear(train: Digits) -> onnx.ModelProto:
    """Ridge regression from the pixels to the ten classes."""
    return linear_network(*_fit_ridge(train.pixels.astype(np.float64), train.labels, _LINEAR_RIDGE))


def train_looking(look: Look, train: Digits) -> onnx.ModelProto:
    """Ridge regression from the features of every view, each view being a training digit of its own."""
    filters = pick_filters(look, train.pixels)
    features = run_network(feature_network(look, filters, _THRESHOLD), train.pixels)
    labels = np.tile(train.labels, len(view_grids(1)))
    weights, bias = _fit_ridge(features.astype(np.float64), labels, _FEATURE_RIDGE)
    return looking_network(look, filters, _THRESHOLD, weights, bias)


def pick_filters(look: Look, pixels: Pixels) -> Floats:
    """Filters are patches of enlarged training digits, chosen at random, without their mean and of unit length."""
    images = _enlarge(pixels.reshape(-1, SIDE, SIDE).astype(np.float64), look.resolution)
    size = look.filter_side
    patches = sliding_window_view(images, (size, size), axis=(1, 2)).reshape(-1, size * size)
    # Empty paper and full ink say nothing.
    patches = patches[patches.std(axis=1) > 0.1]
    chosen = patches[np.random.default_rng(_SEED).choice(len(patches), look.filters, replace=False)]
    chosen = chosen - chosen.mean(axis=1, keepdims=True)
    filters: Floats = (chosen / np.linalg.norm(chosen, axis=1, keepdims=True)).astype(np.float32)
    return filters


def run_network(network: onnx.ModelProto, pixels: Pixels) -> Floats:
    """What ONNX Runtime answers, on one thread as in Triton."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(network.SerializeToString(), options, providers=["CPUExecutionProvider"])
    # In parts, because the responses of all digits at once would take gigabytes. Views come first in the features.
    parts = [session.run(None, {"pixels": pixels[at : at + _PART]})[0] for at in range(0, len(pixels), _PART)]
    if network.graph.output[0].name == "scores":
        return np.concatenate(parts)
    views = len(view_grids(1))
    by_view = [part.reshape(views, -1, part.shape[-1]) for part in parts]
    rows: Floats = np.concatenate(by_view, axis=1).reshape(-1, parts[0].shape[-1])
    return rows


def write_family(repository: Path) -> None:
    """One `model.onnx` per variant, where Triton looks for it."""
    for name, network in train_family().items():
        path = repository / name / "1" / "model.onnx"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(network.SerializeToString(deterministic=True))


def _enlarge(images: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """Bilinear, with the outer pixels continued beyond the edge."""
    at = np.clip((np.arange(side) + 0.5) / side * SIDE - 0.5, 0, SIDE - 1)
    weights = np.maximum(0, 1 - np.abs(at[:, None] - np.arange(SIDE)[None, :]))
    enlarged: NDArray[np.float64] = np.einsum("ai,nij,bj->nab", weights, images, weights)
    return enlarged


def _fit_ridge(rows: NDArray[np.float64], labels: NDArray[np.int64], ridge: float) -> tuple[Floats, Floats]:
    """Least squares towards one-hot labels; `ridge` is relative to the mean square of the inputs."""
    inputs = np.hstack([rows, np.ones((len(rows), 1))])
    gram = inputs.T @ inputs
    gram[np.diag_indices_from(gram)] += ridge * np.trace(gram) / len(gram)
    solution = np.linalg.solve(gram, inputs.T @ np.eye(CLASSES)[labels])
    return solution[:-1].astype(np.float32), solution[-1].astype(np.float32)


def main() -> None:
    """Trains, writes, and says what each file is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repository", type=Path, default=REPOSITORY, help="Triton model repository to write to")
    write_family(parser.parse_args().repository)


if __name__ == "__main__":
    main()
