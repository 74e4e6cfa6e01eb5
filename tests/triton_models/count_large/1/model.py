"""Counts: as many answers as the input says, a tenth of a second apart, then the final flag by itself.

With `final_with_last` the flag comes with the last answer. A cancelled request ends where it is.
"""

import json
import threading
import time

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """A decoupled model."""

    def execute(self, requests):
        """Answers from threads of its own."""
        for request in requests:
            threading.Thread(target=self._count, args=(request,), daemon=True).start()

    @staticmethod
    def _count(request):
        sender = request.get_response_sender()
        together = bool(json.loads(request.parameters() or "{}").get("final_with_last"))
        last = int(pb_utils.get_input_tensor_by_name(request, "INPUT").as_numpy()[0])
        final = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL
        for number in range(last):
            if sender.is_cancelled():
                break
            answer = pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT", np.array([number], np.float32))])
            if together and number == last - 1:
                sender.send(answer, flags=final)
                return
            sender.send(answer)
            time.sleep(0.1)
        sender.send(flags=final)
