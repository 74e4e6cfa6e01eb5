"""From windows to figures, or to the sentence that says why there is no figure: pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from profiler.plan import IDLE, Cell, Goal
from profiler.statistics import Estimate, estimate_series, percentile, percentile_interval
from profiler.windows import Window

QUIET = 0.15
"""Latencies count from windows in which others took no more of the machine than this."""
_LEAST_REQUESTS = 20


@dataclass(frozen=True, slots=True)
class Latency:
    """Percentiles over all requests of quiet windows."""

    p50_ms: float
    p95_ms: float
    p99_ms: float
    p95_interval_ms: tuple[float, float] | None
    requests: int


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found of one cell. `refused` is empty where the energy may be written."""

    cell: Cell
    energy_mj: Estimate | None = None
    above_idle_mj: float | None = None
    throughput_per_s: float | None = None
    latency: Latency | None = None
    latency_refused: str = ""
    refused: str = ""
    discarded: int = 0
    span_s: float = 0.0
    """From the first window to the end of the last: what the interval speaks of."""
    other_work: float | None = None
    """The share of the machine that others took meanwhile; None where Triton is elsewhere."""
    between_runs: float = 0.0
    """What the interval holds for the differences between runs: their standard deviation / mean."""

    @property
    def busy(self) -> bool:
        """Whether the figures are of a machine that had other things to do."""
        return self.other_work is not None and self.other_work > QUIET


def idle_watts(windows: Sequence[Window]) -> float | None:
    """Mean power at rest; None when no idle window could be believed."""
    good = [window for window in windows if window.cell == IDLE and not window.refused]
    return fmean(window.joules / window.seconds for window in good) if good else None


def energies_by_cell(windows: Sequence[Window]) -> dict[Cell, list[float]]:
    """Energy per inference of every good window."""
    energies: dict[Cell, list[float]] = {}
    for window in windows:
        if window.cell != IDLE and not window.refused:
            energies.setdefault(window.cell, []).append(window.energy_mj)
    return energies


def find(
    cells: Sequence[Cell], windows: Sequence[Window], goal: Goal, between_runs: float = 0.0
) -> dict[Cell, Finding]:
    """A finding for every cell but the idle one; `between_runs` is the meter's, where the goal says nothing of it."""
    between_runs = goal.known_between_runs(between_runs)
    resting = idle_watts(windows)
    by_cell: Mapping[Cell, list[Window]] = {cell: [w for w in windows if w.cell == cell] for cell in cells}
    return {cell: _finding(cell, by_cell[cell], resting, goal, between_runs) for cell in cells if cell != IDLE}


def _finding(cell: Cell, windows: Sequence[Window], resting: float | None, goal: Goal, between_runs: float) -> Finding:
    good = [window for window in windows if not window.refused]
    bad = [window for window in windows if window.refused]
    if refused := _why_not(good, bad, goal):
        return Finding(cell, refused=refused, discarded=len(bad))
    energy = estimate_series([window.energy_mj for window in good])
    latency, latency_refused = _latency(good)
    if energy.relative_half_width > goal.limit:
        refused = (
            f"after {energy.samples} windows the mean is known only to ±{100 * energy.relative_half_width:.0f} % "
            f"(at most ±{100 * goal.limit:.0f} % is written): quieten the machine or raise --budget"
        )
    seconds, inferences = sum(w.seconds for w in good), sum(w.inferences for w in good)
    above = None
    if resting is not None:
        above = max(0.0, energy.mean - resting * 1000 * fmean(w.seconds / w.inferences for w in good))
    shares = [window.other_work for window in good if window.other_work is not None]
    return Finding(
        cell,
        energy.widened(between_runs),
        above,
        inferences / seconds,
        latency,
        latency_refused,
        refused,
        len(bad),
        span_s=good[-1].begun + good[-1].seconds - good[0].begun,
        other_work=fmean(shares) if shares else None,
        between_runs=between_runs,
    )


def _why_not(good: Sequence[Window], bad: Sequence[Window], goal: Goal) -> str:
    last = f"; the last one: {bad[-1].refused}" if bad else ""
    if len(bad) * 3 > len(good) + len(bad):
        return f"{len(bad)} of {len(good) + len(bad)} windows could not be believed{last}"
    if len(good) < goal.fewest:
        return f"only {len(good)} windows were measured (at least {goal.fewest} are needed): raise --budget{last}"
    if any(window.joules <= 0 or window.inferences <= 0 for window in good):
        return "the meter counted no energy while inferences were answered: it does not see the device that serves them"
    return ""


def _latency(windows: Sequence[Window]) -> tuple[Latency | None, str]:
    loads = [window.other_work for window in windows if window.other_work is not None]
    quiet = [ms for window in windows if (window.other_work or 0.0) <= QUIET for ms in window.latencies_ms]
    if len(quiet) < _LEAST_REQUESTS:
        if loads and median(loads) > QUIET:
            return None, f"other work took {100 * median(loads):.0f} % of the machine: its latencies mean nothing"
        return None, f"{len(quiet)} timed requests are too few for a 95th percentile (at least {_LEAST_REQUESTS})"
    return (
        Latency(
            percentile(quiet, 50),
            percentile(quiet, 95),
            percentile(quiet, 99),
            percentile_interval(quiet, 95),
            len(quiet),
        ),
        "",
    )
