"""A meter read over and over while something runs, so that what happens inside a window is seen."""

import threading
from types import TracebackType

from profiler.meters.judge import Metered, energy_of
from profiler.meters.meter import Meter, MeterError, Sample

_LOOK_EVERY_S = 0.5
"""How often to ask who else is there: drivers take a while to list processes."""


class Watch:
    """Reads a meter from entering to leaving its block; `energy()` then judges what it saw."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._samples: list[Sample] = []
        self._failure: MeterError | None = None
        self._look_again_s = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep_reading, name="meter", daemon=True)

    def __enter__(self) -> "Watch":
        self._take()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._look_again_s = 0.0
        self._take()

    def energy(self) -> Metered:
        """The energy of the block; MeterError when the meter failed or cannot be believed."""
        if self._failure is not None:
            raise self._failure
        return energy_of(self._samples, self._meter.nameplate)

    def _keep_reading(self) -> None:
        while not self._stop.wait(self._meter.nameplate.sampling_s):
            self._take()

    def _take(self) -> None:
        if self._failure is not None:
            return
        try:
            self._samples.append(self._meter.read())
            if self._samples[-1].at_s < self._look_again_s:
                return
            self._look_again_s = self._samples[-1].at_s + _LOOK_EVERY_S
            if (disturbance := self._meter.disturbance()) is not None:
                self._failure = MeterError(disturbance)
        except MeterError as error:
            self._failure = error
