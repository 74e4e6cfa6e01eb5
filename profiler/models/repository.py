"""An ONNX network as a model of a Triton repository."""

import re
import shutil
from enum import StrEnum
from pathlib import Path
from typing import Any

from tradewind.errors import InvalidInput

_TYPES = {1: "TYPE_FP32", 2: "TYPE_UINT8", 3: "TYPE_INT8", 6: "TYPE_INT32", 7: "TYPE_INT64", 10: "TYPE_FP16"}
"""ONNX's numbers for the datatypes of tensors, as Triton names them."""

_RANDOM = re.compile(r'key\s*:\s*"weights"\s*,?\s*value\s*:?\s*\{\s*string_value\s*:\s*"random"')


class Backend(StrEnum):
    """What runs the network inside Triton."""

    ONNXRUNTIME = "onnxruntime"
    """The backend of a stock Triton."""
    PYTHON = "python"
    """ONNX Runtime inside the Python backend, for a Triton that ships no other."""


def write_model(
    repository: Path,
    name: str,
    network: Path,
    *,
    backend: Backend,
    max_batch: int,
    random_weights: bool = False,
    threads: int = 0,
) -> Path:
    """Copies the network in with its configuration; the folder of the model. An older one of that name is replaced."""
    if not name or "/" in name or name.startswith("."):
        raise InvalidInput(f"model name {name[:80]!r}: it becomes a folder of the repository, choose a plain name")
    inputs, outputs = _tensors(network)
    version = repository / name / "1"
    version.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(network, version / "model.onnx")
    if backend is Backend.PYTHON:
        shutil.copyfile(Path(__file__).with_name("triton_model.py"), version / "model.py")
    parameters = {"threads": str(threads)} | ({"weights": "random"} if random_weights else {})
    config = _config(name, backend, max_batch, inputs, outputs, parameters)
    (repository / name / "config.pbtxt").write_text(config, encoding="utf-8")
    return repository / name


def confesses_random_weights(model: Path) -> bool:
    """Whether the configuration in a model's folder says that its weights are random, as `write_model` writes it."""
    config = model / "config.pbtxt"
    return config.is_file() and _RANDOM.search(config.read_text(encoding="utf-8")) is not None


def _config(
    name: str, backend: Backend, max_batch: int, inputs: list[str], outputs: list[str], parameters: dict[str, str]
) -> str:
    lines = [f'name: "{name}"', f'backend: "{backend}"', f"max_batch_size: {max_batch}"]
    lines += [f"input [ {tensor} ]" for tensor in inputs] + [f"output [ {tensor} ]" for tensor in outputs]
    if backend is Backend.PYTHON:
        # Where the Python backend runs is for its model to say; the one written here asks for the CPU.
        lines.append("instance_group [ { kind: KIND_CPU, count: 1 } ]")
    lines.append("dynamic_batching { }")
    for key, value in parameters.items():
        lines.append(f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}')
    return "\n".join(lines) + "\n"


def _tensors(network: Path) -> tuple[list[str], list[str]]:
    """Inputs and outputs as config.pbtxt writes them, without the batch dimension."""
    import onnx

    graph = onnx.load(network, load_external_data=False).graph
    weights = {tensor.name for tensor in graph.initializer}
    return (
        [_tensor(value) for value in graph.input if value.name not in weights],
        [_tensor(value) for value in graph.output],
    )


def _tensor(value: Any) -> str:
    tensor = value.type.tensor_type
    if tensor.elem_type not in _TYPES:
        raise InvalidInput(f"tensor {value.name} has an ONNX datatype that cannot be written for Triton")
    sizes = ", ".join(str(size.dim_value or -1) for size in list(tensor.shape.dim)[1:])
    return f'{{ name: "{value.name}", data_type: {_TYPES[tensor.elem_type]}, dims: [ {sizes} ] }}'
