"""A real Triton with three models that burn a known amount of CPU time per inference."""

from collections.abc import Iterator

import numpy as np
import pytest

from local_stack.triton import Triton

BURN_S = {"burn-small": 0.002, "burn-medium": 0.004, "burn-large": 0.008}
FEATURES, CLASSES = 8, 4

CONFIG = """backend: "python"
max_batch_size: 4
input [ { name: "x", data_type: TYPE_FP32, dims: [ 8 ] } ]
output [ { name: "scores", data_type: TYPE_FP32, dims: [ 4 ] } ]
instance_group [ { kind: KIND_CPU, count: 1 } ]
"""

MODEL = """import time
import numpy as np
import triton_python_backend_utils as pb

WEIGHTS = np.array({weights!r}, dtype=np.float32)


class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        x = pb.get_input_tensor_by_name(request, "x").as_numpy()
        end = time.thread_time() + {burn_s} * len(x)
        while time.thread_time() < end:
            pass
        return pb.InferenceResponse([pb.Tensor("scores", (x @ WEIGHTS).astype(np.float32))])
"""


def weights_of(model: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """The classifier inside a model, so that its error can be worked out without Triton."""
    return np.random.default_rng(len(model)).random((FEATURES, CLASSES), dtype=np.float32)


@pytest.fixture(scope="session")
def burning_triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    """A Triton whose models cost what BURN_S says."""
    repository = tmp_path_factory.mktemp("burning-models")
    for model, burn_s in BURN_S.items():
        folder = repository / model / "1"
        folder.mkdir(parents=True)
        (folder.parent / "config.pbtxt").write_text(CONFIG)
        (folder / "model.py").write_text(MODEL.format(weights=weights_of(model).tolist(), burn_s=burn_s))
    triton = Triton(tmp_path_factory.mktemp("burning-triton"), repository)
    triton.start()
    try:
        yield triton
    finally:
        triton.stop()
