"""What the measured requests carry: the user's own labelled inputs, or values made up in the model's shapes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tritonclient.utils import triton_to_np_dtype

from profiler.served_model import ServedModel
from tradewind.errors import InvalidInput

Array = npt.NDArray[Any]
_MADE_UP = 64


@dataclass(frozen=True, slots=True)
class Inputs:
    """Examples by input name, and their labels where there are any. The first dimension counts the examples."""

    arrays: Mapping[str, Array]
    count: int
    labels: Array | None = None
    source: str = "random values"

    def batch(self, start: int, size: int) -> dict[str, Array]:
        """`size` examples from `start` on, beginning again at the first after the last."""
        picked = np.arange(start, start + size) % self.count
        return {name: np.ascontiguousarray(array[picked]) for name, array in self.arrays.items()}


def make_up(model: ServedModel, shapes: Mapping[str, tuple[int, ...]], seed: int = 0) -> Inputs:
    """Random inputs in the model's shapes; open dimensions and strings must come from the user."""
    rng = np.random.default_rng(seed)
    arrays: dict[str, Array] = {}
    for tensor in model.inputs:
        shape = shapes.get(tensor.name, tensor.shape)
        if any(size < 0 for size in shape):
            raise InvalidInput(
                f"input {tensor.name} of {model.name} has an open dimension {list(shape)}: "
                f"give its shape with --shape {tensor.name}:… or real inputs with --inputs"
            )
        dtype = triton_to_np_dtype(tensor.datatype)
        if dtype is None or np.dtype(dtype) == np.object_:
            raise InvalidInput(
                f"input {tensor.name} of {model.name} is {tensor.datatype}: give real ones with --inputs"
            )
        values = rng.random((_MADE_UP, *shape), dtype=np.float32)
        arrays[tensor.name] = values.astype(dtype) if np.dtype(dtype).kind == "f" else (values * 2).astype(dtype)
    return Inputs(arrays, _MADE_UP)


def read_inputs(path: Path, labels: Path | None) -> Inputs:
    """The arrays of an .npz file, named as the model's inputs, with labels from a second file."""
    arrays = _arrays(path)
    if not arrays:
        raise InvalidInput(f"--inputs {path}: there is no array in it; name the arrays as the model's inputs")
    counts = {name: len(array) for name, array in arrays.items()}
    if len(set(counts.values())) != 1 or not next(iter(counts.values())):
        raise InvalidInput(f"--inputs {path}: the arrays hold different numbers of examples ({counts})")
    count = next(iter(counts.values()))
    if labels is None:
        return Inputs(arrays, count, source=path.name)
    found = _labels(labels)
    if len(found) != count:
        raise InvalidInput(f"--labels {labels}: {len(found)} labels for {count} inputs; there must be one for each")
    return Inputs(arrays, count, found, f"{path.name}, {labels.name}" if labels != path else path.name)


def check_shapes(shapes: Mapping[str, tuple[int, ...]], models: Iterable[ServedModel]) -> None:
    """InvalidInput when a shape is of no input, or not one that an input of its name takes."""
    taken = [(tensor, model.name) for model in models for tensor in model.inputs]
    for name, shape in shapes.items():
        of_name = [(tensor.shape, model) for tensor, model in taken if tensor.name == name]
        if not of_name:
            known = ", ".join(sorted({tensor.name for tensor, _ in taken}))
            raise InvalidInput(f"--shape {name}: no model has that input; they take {known}")
        for takes, model in of_name:
            if not fits(shape, takes):
                raise InvalidInput(f"--shape {name} is {list(shape)}; {model} takes {list(takes)}")


def check_fits(inputs: Inputs, model: ServedModel) -> None:
    """InvalidInput when the arrays are not what the model takes."""
    wanted = {tensor.name for tensor in model.inputs}
    if missing := sorted(wanted - inputs.arrays.keys()):
        raise InvalidInput(
            f"--inputs has no array {', '.join(missing)}, which {model.name} takes; it has {', '.join(inputs.arrays)}"
        )
    for tensor in model.inputs:
        shape = inputs.arrays[tensor.name].shape[1:]
        if not fits(shape, tensor.shape):
            raise InvalidInput(f"--inputs {tensor.name} is {list(shape)}; {model.name} takes {list(tensor.shape)}")


def only_what_it_takes(inputs: Inputs, model: ServedModel) -> Inputs:
    """The arrays the model takes, in its datatypes."""
    arrays = {t.name: inputs.arrays[t.name].astype(triton_to_np_dtype(t.datatype), copy=False) for t in model.inputs}
    return Inputs(arrays, inputs.count, inputs.labels, inputs.source)


def fits(given: Sequence[int], takes: Sequence[int]) -> bool:
    """Whether a shape is one that an input takes, whose open dimensions are -1."""
    return len(given) == len(takes) and all(open_or in (-1, size) for open_or, size in zip(takes, given, strict=True))


def _arrays(path: Path) -> dict[str, Array]:
    try:
        with np.load(path, allow_pickle=False) as content:
            if not isinstance(content, np.lib.npyio.NpzFile):
                raise InvalidInput(f"{path}: one array without a name; save it with numpy.savez(file, INPUT=array)")
            return {name: content[name] for name in content.files if name not in ("labels", "label")}
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{path}: cannot be read as an .npz file of plain arrays") from error


def _labels(path: Path) -> Array:
    """Labels from .npy, from the array `labels` of an .npz, or from text with one number a line."""
    try:
        if path.suffix in (".npy", ".npz"):
            loaded = np.load(path, allow_pickle=False)
            array = (
                loaded["labels" if "labels" in loaded.files else loaded.files[0]] if path.suffix == ".npz" else loaded
            )
        else:
            array = np.loadtxt(path, dtype=np.int64, ndmin=1)
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise InvalidInput(f"--labels {path}: give .npy, .npz with an array `labels`, or one number a line") from error
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        raise InvalidInput(f"--labels {path}: labels are whole numbers in one row, not {array.dtype} of {array.shape}")
    return np.asarray(array)
