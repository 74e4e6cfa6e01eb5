"""Adds up each sequence's inputs."""

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """A stateful model."""

    def initialize(self, args):
        """No sequence runs yet."""
        self._sums = {}

    def execute(self, requests):
        """The sum so far of each request's sequence."""
        return [self._respond(request) for request in requests]

    def _respond(self, request):
        tensors = {
            name: pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in ("INPUT", "START", "CORRID")
        }
        sequence = int(tensors["CORRID"].flat[0])
        if tensors["START"].flat[0]:
            self._sums[sequence] = 0
        self._sums[sequence] += tensors["INPUT"]
        return pb_utils.InferenceResponse(
            [pb_utils.Tensor("OUTPUT", self._sums[sequence].reshape(1).astype("float32"))]
        )
