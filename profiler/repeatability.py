"""`python -m profiler.repeatability`: how often the stated 95 % intervals hold the mean of many runs.

Each run is a whole measurement: its own warm-up, its own rounds, its own stopping. What is asked is whether the
interval of one run may be believed by someone who never makes a second.
"""

import argparse
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from profiler.findings import energies_by_cell
from profiler.inputs import make_up
from profiler.load import Load
from profiler.measure import Measurement
from profiler.meter_offers import Metering, local_triton, offers
from profiler.meters.choose import choose_meter
from profiler.plan import IDLE, Cell, Goal
from profiler.served_model import connect, describe_model
from profiler.statistics import PARTS, Estimate, estimate_series, student_t
from profiler.windows import Window
from tradewind.errors import TradewindError


@dataclass(frozen=True, slots=True)
class Run:
    """What one whole measurement found."""

    own: Mapping[Cell, Estimate]
    """By what the run itself tells."""
    stated: Mapping[Cell, Estimate]
    """As a catalogue would have it: with what is known of the differences between runs."""
    other_work: float | None = None
    """The share of the machine that others took meanwhile."""


@dataclass(frozen=True, slots=True)
class Held:
    """How one cell's intervals fared."""

    runs: int
    held: int
    """Runs whose stated interval holds the mean over all runs."""
    held_by_own: int
    """Runs whose own interval would."""
    mean: float
    half_width: float
    """Mean half of the stated intervals, as a ratio of the mean."""
    own_half_width: float
    """Mean half of the runs' own intervals, as a ratio of the mean."""
    spread: float
    """Standard deviation of the runs' means, as a ratio of the mean."""

    @property
    def between_runs(self) -> float:
        """What of the spread the runs' own intervals do not tell; about, as each is of few parts."""
        return math.sqrt(max(0.0, self.spread**2 - (self.own_half_width / student_t(PARTS - 1)) ** 2))


def coverage(runs: Sequence[Run]) -> dict[Cell, Held]:
    """Per cell: in how many runs the interval held the mean over all runs, and how far the runs are apart."""
    found: dict[Cell, Held] = {}
    for cell in sorted(runs[0].stated):
        own, stated = [run.own[cell] for run in runs], [run.stated[cell] for run in runs]
        mean = fmean(estimate.mean for estimate in own)
        found[cell] = Held(
            runs=len(runs),
            held=_holding(stated, mean),
            held_by_own=_holding(own, mean),
            mean=mean,
            half_width=fmean(estimate.relative_half_width for estimate in stated),
            own_half_width=fmean(estimate.relative_half_width for estimate in own),
            spread=stdev(estimate.mean for estimate in own) / mean,
        )
    return found


def _holding(estimates: Sequence[Estimate], mean: float) -> int:
    return sum(estimate.low <= mean <= estimate.high for estimate in estimates)


def measure_repeatedly(
    address: str, models: Sequence[str], count: int, goal: Goal, metering: Metering, window_s: float | None = None
) -> Iterator[Run]:
    """So many runs, one after the other, with one inference at a time."""
    client = connect(address)
    described = {name: describe_model(client, name) for name in models}
    pid = metering.triton_pid or local_triton(address)
    on_gpu = any(model.on_gpu for model in described.values())
    meter = choose_meter(metering.wanted, offers(metering, pid, on_gpu=on_gpu)).meter
    for _ in range(count):
        loads = {Cell(name, 1): Load(address, model, make_up(model, {}), 1) for name, model in described.items()}
        try:
            measurement = Measurement(loads, meter, goal=goal, triton_pid=pid, window_s=window_s)
            measurement.warm_up(0.3)
            measurement.run(budget_s=600)
        finally:
            for load in loads.values():
                load.close()
        yield _run(measurement.windows, goal.known_between_runs(meter.nameplate.between_runs))


def _run(windows: Sequence[Window], between_runs: float) -> Run:
    shares = [window.other_work for window in windows if window.cell != IDLE and window.other_work is not None]
    own = {cell: estimate_series(values) for cell, values in energies_by_cell(windows).items()}
    stated = {cell: estimate.widened(between_runs) for cell, estimate in own.items()}
    return Run(own, stated, fmean(shares) if shares else None)


def count_runs(runs: Iterator[Run], say: Callable[[str], None]) -> None:
    """Says what each run itself tells as it ends, and then how often the intervals held."""
    seen: list[Run] = []
    for run in runs:
        seen.append(run)
        means = ", ".join(
            f"{cell.variant} {estimate.mean:.4g} mJ ±{100 * estimate.relative_half_width:.1f} %"
            for cell, estimate in sorted(run.own.items())
        )
        load = "" if run.other_work is None else f"; other work took {100 * run.other_work:.0f} % of the machine"
        say(f"run {len(seen)}: {means}{load}")
    if len(seen) < 2:
        return
    for cell, held in coverage(seen).items():
        say(
            f"{cell.variant}: {held.held} of {held.runs} stated intervals (±{100 * held.half_width:.1f} %) hold "
            f"the mean of all runs, {held.mean:.4g} mJ; of the runs' own (±{100 * held.own_half_width:.1f} %) it is "
            f"{held.held_by_own}. Between runs: {100 * held.between_runs:.1f} % (--between-runs "
            f"{held.between_runs:.2g})"
        )


def say_at_once(line: str) -> None:
    """To standard output, also where that is a file that someone watches."""
    print(line, flush=True)


def main() -> None:
    """Measures again and again and prints the count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--triton-grpc", required=True)
    parser.add_argument("--models", required=True, help="separated by commas")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--meter", default="auto")
    parser.add_argument("--precision", type=float, default=Goal().precision)
    parser.add_argument("--spread", type=float, default=Goal().spread_s, help="seconds that a run lasts at least")
    parser.add_argument("--between-runs", type=float, help="standard deviation / mean; the meter's if not said")
    arguments = parser.parse_args()
    goal = Goal(precision=arguments.precision, spread_s=arguments.spread, between_runs=arguments.between_runs)
    models, metering = arguments.models.split(","), Metering(arguments.meter)
    count_runs(measure_repeatedly(arguments.triton_grpc, models, arguments.runs, goal, metering), say_at_once)


if __name__ == "__main__":
    try:
        main()
    except TradewindError as error:
        sys.exit(f"repeatability: {error}")
