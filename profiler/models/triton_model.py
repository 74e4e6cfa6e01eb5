"""Runs inside Triton's Python backend: serves the `model.onnx` beside it with ONNX Runtime on the CPU."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """What Triton's Python backend loads."""

    def initialize(self, args: dict[str, str]) -> None:
        """Loads the network once; the parameter `threads` says how many cores one run may take, 0 all."""
        parameters = json.loads(args["model_config"]).get("parameters", {})
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(parameters.get("threads", {}).get("string_value", "0"))
        # Threads that spin while they wait would be counted as energy the model does not use.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        network = Path(args["model_repository"]) / args["model_version"] / "model.onnx"
        self._session = onnxruntime.InferenceSession(str(network), options, providers=["CPUExecutionProvider"])
        self._inputs = [tensor.name for tensor in self._session.get_inputs()]
        self._outputs = [tensor.name for tensor in self._session.get_outputs()]

    def execute(self, requests: list[Any]) -> list[Any]:
        """One run for all the requests that Triton batched together."""
        parts = [[pb_utils.get_input_tensor_by_name(one, name).as_numpy() for one in requests] for name in self._inputs]
        feed = {name: np.concatenate(several) for name, several in zip(self._inputs, parts, strict=True)}
        answers = self._session.run(self._outputs, feed)
        ends = np.cumsum([len(part) for part in parts[0]])[:-1]
        split = [np.split(answer, ends) for answer in answers]
        return [
            pb_utils.InferenceResponse(
                [pb_utils.Tensor(name, part[index]) for name, part in zip(self._outputs, split, strict=True)]
            )
            for index in range(len(requests))
        ]
