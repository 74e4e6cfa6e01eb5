"""Requests to Triton, one after the other, each timed."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from profiler.inputs import Array, Inputs
from profiler.served_model import ServedModel, open_client
from tradewind.calling import PLAIN, Way
from tradewind.errors import NotReady

_PREPARED = 16
"""How many different requests are made ready: enough to vary the data, few enough to build at once."""


@dataclass(frozen=True, slots=True)
class Answered:
    """One request that was answered."""

    from_s: float
    to_s: float

    @property
    def latency_ms(self) -> float:
        """What the client waited."""
        return (self.to_s - self.from_s) * 1000


def infer_inputs(model: ServedModel, arrays: dict[str, Array]) -> list[Any]:
    """The arrays as Triton's client sends them; a model without batches takes the one example as it is."""
    prepared = []
    for tensor in model.inputs:
        array = arrays[tensor.name] if model.batched else arrays[tensor.name][0]
        item = triton.InferInput(tensor.name, list(array.shape), tensor.datatype)
        item.set_data_from_numpy(array)
        prepared.append(item)
    return prepared


class Load:
    """Requests of one batch size to one model, from a number of clients that each wait for their answer."""

    def __init__(
        self,
        address: str,
        model: ServedModel,
        inputs: Inputs,
        batch: int,
        concurrency: int = 1,
        way: Way = PLAIN,
    ) -> None:
        self.model = model
        self.batch = batch
        self._address, self._way = address, way
        self._clients = [open_client(address, way) for _ in range(concurrency)]
        count = min(_PREPARED, max(1, inputs.count // batch))
        self._requests = [infer_inputs(model, inputs.batch(i * batch, batch)) for i in range(count)]

    def run(self, seconds: float, at_least: int = 2) -> list[Answered]:
        """Sends until the time is over and each client had `at_least` answers."""
        answered: list[list[Answered]] = [[] for _ in self._clients]
        failures: list[InferenceServerException] = []

        def work(index: int) -> None:
            try:
                self._send(self._clients[index], index, answered[index], lambda: time.monotonic() >= end, at_least)
            except InferenceServerException as error:
                failures.append(error)

        end = time.monotonic() + seconds
        threads = [threading.Thread(target=work, args=(index,)) for index in range(1, len(self._clients))]
        for thread in threads:
            thread.start()
        work(0)
        for thread in threads:
            thread.join()
        if failures:
            raise NotReady(f"Triton refused a request to {self.model.name}: {failures[0].message()[:200]}")
        return [one for several in answered for one in several]

    def connect_again(self) -> None:
        """Hangs up and calls anew, so that the luck of one connection is not taken for the model's cost."""
        self.close()
        self._clients = [open_client(self._address, self._way) for _ in self._clients]
        self.run(0, at_least=1)

    def close(self) -> None:
        """Hangs up."""
        for client in self._clients:
            client.close()

    def _send(
        self,
        client: triton.InferenceServerClient,
        offset: int,
        answered: list[Answered],
        over: Callable[[], bool],
        at_least: int,
    ) -> None:
        while len(answered) < at_least or not over():
            request = self._requests[(offset + len(answered)) % len(self._requests)]
            start = time.monotonic()
            client.infer(self.model.name, request, self.model.version)
            answered.append(Answered(start, time.monotonic()))


def answered_between(requests: Sequence[Answered], from_s: float, to_s: float) -> float:
    """How many requests fell into a span; one that was under way at an edge counts by the part inside."""
    total = 0.0
    for one in requests:
        inside = min(one.to_s, to_s) - max(one.from_s, from_s)
        if inside > 0:
            total += inside / (one.to_s - one.from_s)
    return total
