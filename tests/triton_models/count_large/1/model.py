"""Counts: as many answers as the input says, a tenth of a second apart, then the final flag by itself.

With `final_with_last` the flag comes with the last answer. A cancelled request ends where it is. An input of -1 is
answered once, with the number of counts that are running.
"""

import json
import threading
import time

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """A decoupled model."""

    def initialize(self, args):
        """No count runs yet."""
        self._running = set()

    def execute(self, requests):
        """Answers from threads of its own."""
        for request in requests:
            threading.Thread(target=self._answer, args=(request,), daemon=True).start()

    def _answer(self, request):
        sender = request.get_response_sender()
        asked = int(pb_utils.get_input_tensor_by_name(request, "INPUT").as_numpy()[0])
        if asked < 0:
            sender.send(_response(len(self._running)), flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
            return
        together = bool(json.loads(request.parameters() or "{}").get("final_with_last"))
        self._running.add(id(request))
        try:
            _count(sender, asked, together)
        finally:
            self._running.discard(id(request))


def _count(sender, last, together):
    final = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL
    for number in range(last):
        if sender.is_cancelled():
            break
        if together and number == last - 1:
            sender.send(_response(number), flags=final)
            return
        sender.send(_response(number))
        time.sleep(0.1)
    sender.send(flags=final)


def _response(number):
    return pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT", np.array([number], np.float32))])
