"""Gives back what it got; waits as many seconds as the request's parameter `wait_s` says."""

import json
import time

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """The identity."""

    def execute(self, requests):
        """One response for each request."""
        return [self._respond(request) for request in requests]

    @staticmethod
    def _respond(request):
        parameters = json.loads(request.parameters() or "{}")
        if "wait_s" in parameters:
            time.sleep(float(parameters["wait_s"]))
        given = pb_utils.get_input_tensor_by_name(request, "INPUT").as_numpy()
        return pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT", given)])
