"""Whether a series of counter readings can be believed, and what energy it holds; pure.

Counters reset, stall, jump and disappear. A window in which one did is worth nothing: it is refused, never repaired.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from profiler.meters.meter import MeterError, Nameplate, Sample

_MARGIN = 1.5
"""Devices may exceed their power limit for moments; a counter that claims more than this is wrong."""


@dataclass(frozen=True, slots=True)
class Metered:
    """Energy between two moments at which the counters moved."""

    from_s: float
    to_s: float
    joules: float

    @property
    def seconds(self) -> float:
        """The time between them."""
        return self.to_s - self.from_s


def energy_of(samples: Sequence[Sample], plate: Nameplate) -> Metered:
    """The energy of a window; MeterError in one sentence when any counter did what a counter must not.

    Counters that move in steps are taken from step to step: the moment of a step is known, what is between is not.
    """
    if len(samples) < 2 or samples[-1].at_s <= samples[0].at_s:
        raise MeterError(f"{plate.name}: fewer than two readings in the window; make the window longer")
    sizes = {len(sample.counters) for sample in samples}
    if sizes != {len(plate.max_watts)}:
        raise MeterError(f"{plate.name}: a device appeared or disappeared during the window")
    spans = [
        _checked([(sample.at_s, sample.counters[index]) for sample in samples], plate, watts)
        for index, watts in enumerate(plate.max_watts)
    ]
    if len({(span.from_s, span.to_s) for span in spans}) == 1:
        return Metered(spans[0].from_s, spans[0].to_s, math.fsum(span.joules for span in spans))
    # Devices step at moments of their own: over the span they share, each is taken at its mean power.
    start, end = max(span.from_s for span in spans), min(span.to_s for span in spans)
    if end <= start:
        raise MeterError(f"{plate.name}: the devices share no span in the window; make the window longer")
    watts_together = math.fsum(span.joules / span.seconds for span in spans)
    return Metered(start, end, watts_together * (end - start))


def _checked(series: Sequence[tuple[float, float]], plate: Nameplate, max_watts: float) -> Metered:
    if not all(math.isfinite(value) and value >= 0 for _, value in series):
        raise MeterError(f"{plate.name}: a reading was not a number of joules; the counter cannot be trusted")
    moved = _moves(series, plate, max_watts)
    if plate.step_s == 0:
        return Metered(series[0][0], series[-1][0], series[-1][1] - series[0][1])
    if len(moved) < 3:
        raise MeterError(
            f"{plate.name}: the counter moved fewer than three times in {series[-1][0] - series[0][0]:.2g} s; "
            f"it stands still or the window is too short"
        )
    (first_s, first_j), (last_s, last_j) = moved[0], moved[-1]
    return Metered(first_s, last_s, last_j - first_j)


def _moves(series: Sequence[tuple[float, float]], plate: Nameplate, max_watts: float) -> list[tuple[float, float]]:
    """The readings at which the counter had moved, each step plausible in size and time."""
    moved: list[tuple[float, float]] = []
    last_s, last_j = series[0]
    patience_s = max(3 * plate.step_s, 0.3)
    for (before_s, _), (at_s, joules) in itertools.pairwise(series):
        step = joules - last_j
        if step < 0:
            raise MeterError(f"{plate.name}: the counter went back by {-step:.4g} J; it was reset during the window")
        # A reader that was held up explains a long gap; only a counter seen standing still has stalled.
        if step == 0:
            if plate.always_moves and at_s - last_s > patience_s:
                raise MeterError(f"{plate.name}: the counter stood still for {at_s - last_s:.2g} s under load")
            continue
        if step > _MARGIN * max_watts * (at_s - last_s + 2 * plate.step_s):
            raise MeterError(
                f"{plate.name}: the counter jumped by {step:.4g} J in {at_s - before_s:.2g} s, "
                f"more than the device's {max_watts:g} W can explain"
            )
        moved.append((at_s, joules))
        last_s, last_j = at_s, joules
    return moved
