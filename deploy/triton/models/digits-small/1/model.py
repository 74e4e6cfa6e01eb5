"""Serves the `model.onnx` beside it with ONNX Runtime on one thread; the same file for every size of the family."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """What Triton's Python backend loads."""

    def initialize(self, args: dict[str, str]) -> None:
        """Loads the network once."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        network = Path(args["model_repository"]) / args["model_version"] / "model.onnx"
        self._session = onnxruntime.InferenceSession(str(network), options, providers=["CPUExecutionProvider"])

    def execute(self, requests: list[Any]) -> list[Any]:
        """One run for all the requests that Triton batched together."""
        parts = [pb_utils.get_input_tensor_by_name(request, "pixels").as_numpy() for request in requests]
        scores = self._session.run(["scores"], {"pixels": np.concatenate(parts)})[0]
        ends = np.cumsum([len(part) for part in parts])[:-1]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("scores", part)]) for part in np.split(scores, ends)]
