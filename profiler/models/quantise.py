"""The same network in int8: inputs and outputs unchanged, weights and what flows between them in eight bits."""

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from profiler.ahead import check_folder
from profiler.inputs import Inputs, fits, read_inputs
from profiler.models.repository import Backend, confesses_random_weights, write_model
from tradewind.errors import InvalidInput

_CALIBRATES_WITH = 256


def quantise_model(repository: Path, model: str, name: str, inputs: Path, *, backend: Backend, max_batch: int) -> Path:
    """Quantises a repository's ONNX model with real inputs and writes it beside the original; its folder."""
    source = repository / model / "1" / "model.onnx"
    if not source.exists():
        raise InvalidInput(f"{source} is not there: name a model of the repository that has an ONNX network")
    check_folder("--to", repository, repository)
    with tempfile.TemporaryDirectory() as folder:
        network = Path(folder) / "model.onnx"
        quantise_network(source, network, read_inputs(inputs, None))
        return write_model(
            repository,
            name,
            network,
            backend=backend,
            max_batch=max_batch,
            random_weights=confesses_random_weights(repository / model),
            threads=1,
        )


def quantise_network(source: Path, target: Path, inputs: Inputs) -> None:
    """Static quantisation: the ranges of what flows are taken from the inputs, once, ahead of serving."""
    quantization, quant_pre_process = _onnxruntime_quantization()
    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        quantization.quantize_static(
            str(prepared),
            str(target),
            _Examples(_as_it_takes(source, inputs)),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )


def _as_it_takes(source: Path, inputs: Inputs) -> Inputs:
    """The arrays that the network takes, in its datatypes; InvalidInput where they do not fit."""
    import onnx

    graph = onnx.load(source, load_external_data=False).graph
    weights = {tensor.name for tensor in graph.initializer}
    arrays = {}
    for value in graph.input:
        if value.name in weights:
            continue
        if value.name not in inputs.arrays:
            raise InvalidInput(
                f"--inputs has no array {value.name}, which {source} takes; it has {', '.join(inputs.arrays)}"
            )
        array, tensor = inputs.arrays[value.name], value.type.tensor_type
        wanted = [size.dim_value or -1 for size in tensor.shape.dim][1:]
        given = list(array.shape[1:])
        if not fits(given, wanted):
            raise InvalidInput(f"--inputs {value.name} is {given} without the examples; {source} takes {wanted}")
        arrays[value.name] = array.astype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type), copy=False)
    return replace(inputs, arrays=arrays)


class _Examples:
    """Inputs one after the other, as ONNX Runtime's calibration asks for them."""

    def __init__(self, inputs: Inputs) -> None:
        self._batches: Iterator[dict[str, Any]] = (
            inputs.batch(i, 1) for i in range(min(inputs.count, _CALIBRATES_WITH))
        )

    def get_next(self) -> dict[str, Any] | None:
        """The next example; None after the last."""
        return next(self._batches, None)


def _onnxruntime_quantization() -> tuple[Any, Any]:
    try:
        from onnxruntime import quantization
        from onnxruntime.quantization.shape_inference import quant_pre_process
    except ImportError as error:
        raise InvalidInput(
            f"quantising needs {error.name}, which is not installed: install Tradewind with its extra `models`"
        ) from error
    return quantization, quant_pre_process
