"""What every meter offers: counters of joules that only ever grow, and what it knows about its own limits."""

from dataclasses import dataclass
from typing import Protocol

from tradewind.catalogue import Provenance
from tradewind.errors import TradewindError


class MeterError(TradewindError):
    """The meter cannot give a figure; the text says why and what to do."""

    reason = "METER"


@dataclass(frozen=True, slots=True)
class Sample:
    """What the counters stood at: joules since an arbitrary zero, one per device."""

    at_s: float
    counters: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Nameplate:
    """What a meter is and what its figures may look like; it does not change while it measures."""

    name: str
    provenance: Provenance
    hardware: str
    driver: str
    max_watts: tuple[float, ...]
    """Per counter: no device draws more than this for long."""
    step_s: float = 0.0
    """How often the counters move: 0 when every reading is exact."""
    always_moves: bool = True
    """A powered device draws something at rest: its counter standing still is a broken counter."""
    whole_host: bool = False
    """The counter holds all work of the machine, not the measured server's alone."""
    between_runs: float = 0.0
    """Standard deviation / mean of whole runs, beyond what a run itself tells; 0 where nobody has measured it."""
    method: str = ""
    """What a reader of the figure should know of how it was taken."""

    @property
    def sampling_s(self) -> float:
        """How often to read so that resets and stalls inside a window are seen."""
        return min(max(self.step_s / 10, 0.01), 0.1) if self.step_s else 0.1

    @property
    def window_s(self) -> float:
        """How long a window is where nobody says: many requests, and no fewer counter steps than it needs."""
        return max(0.5, self.steps_s)

    @property
    def steps_s(self) -> float:
        """The shortest window in which the counter can be believed: ten of its steps."""
        return 10 * self.step_s


class Meter(Protocol):
    """A source of energy readings."""

    @property
    def nameplate(self) -> Nameplate:
        """What this meter is."""
        ...

    def read(self) -> Sample:
        """The counters now; MeterError when they cannot be had."""
        ...

    def disturbance(self) -> str | None:
        """What else is using the measured device right now, in one sentence; None when nothing is."""
        ...
