"""One try of one request on one Triton: what is in flight meanwhile, and how long it took."""

import time
from types import TracebackType

from inference_proxy.endpoints import Endpoint
from inference_proxy.routes import Lane
from inference_proxy.tallies import Tallies


class Attempt:
    """Counts a request in for as long as the block runs; `answered` it when Triton gave its answer."""

    __slots__ = ("_endpoint", "_lane", "_started_s", "_tallies")

    def __init__(self, lane: Lane, endpoint: Endpoint, tallies: Tallies) -> None:
        self._lane, self._endpoint, self._tallies = lane, endpoint, tallies
        self._started_s = 0.0

    def __enter__(self) -> "Attempt":
        """It goes out."""
        self._endpoint.in_flight += 1
        self._endpoint.served += 1
        self._lane.target.pressure.in_flight += 1
        self._tallies.in_flight += 1
        self._started_s = time.monotonic()
        return self

    def answered(self) -> None:
        """Triton answered it, and well."""
        latency_s = time.monotonic() - self._started_s
        self._endpoint.answered()
        self._lane.target.pressure.finished(latency_s, time.time())  # The clock that lanes are chosen by.
        self._lane.tally.took(latency_s)

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """It is over, whichever way."""
        self._endpoint.in_flight -= 1
        self._lane.target.pressure.in_flight -= 1
        self._tallies.in_flight -= 1
