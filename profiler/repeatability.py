"""`python -m profiler.repeatability`: how often the stated 95 % intervals hold the mean of many runs.

Each run is a whole measurement: its own warm-up, its own rounds, its own stopping. What is asked is whether the
interval of one run may be believed by someone who never makes a second.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

from profiler.findings import energies_by_cell
from profiler.inputs import make_up
from profiler.load import Load
from profiler.measure import Measurement
from profiler.meter_offers import Metering, local_triton, offers
from profiler.meters.choose import choose_meter
from profiler.plan import Cell, Goal
from profiler.served_model import connect, describe_model
from profiler.statistics import Estimate, estimate_series
from tradewind.errors import TradewindError

Run = Mapping[Cell, Estimate]


def coverage(runs: Sequence[Run]) -> dict[Cell, tuple[int, float]]:
    """Per cell: in how many runs the interval held the mean over all runs, and that mean."""
    found: dict[Cell, tuple[int, float]] = {}
    for cell in runs[0]:
        mean = fmean(run[cell].mean for run in runs)
        found[cell] = (sum(run[cell].low <= mean <= run[cell].high for run in runs), mean)
    return found


def measure_repeatedly(
    address: str,
    models: Sequence[str],
    count: int,
    goal: Goal,
    metering: Metering,
    done: Callable[[int, Run], None],
    window_s: float | None = None,
) -> list[Run]:
    """The estimates of `count` runs, one inference at a time."""
    client = connect(address)
    described = {name: describe_model(client, name) for name in models}
    pid = metering.triton_pid or local_triton(address)
    on_gpu = any(model.on_gpu for model in described.values())
    meter = choose_meter(metering.wanted, offers(metering, pid, on_gpu=on_gpu)).meter
    runs: list[Run] = []
    for number in range(count):
        loads = {Cell(name, 1): Load(address, model, make_up(model, {}), 1) for name, model in described.items()}
        measurement = Measurement(loads, meter, goal=goal, triton_pid=pid, window_s=window_s)
        measurement.warm_up(0.3)
        measurement.run(budget_s=600)
        runs.append({cell: estimate_series(values) for cell, values in energies_by_cell(measurement.windows).items()})
        for load in loads.values():
            load.close()
        done(number + 1, runs[-1])
    return runs


def main() -> None:
    """Measures again and again and prints the count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--triton-grpc", required=True)
    parser.add_argument("--models", required=True, help="separated by commas")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--meter", default="auto")
    parser.add_argument("--precision", type=float, default=Goal().precision)
    arguments = parser.parse_args()

    def done(number: int, run: Run) -> None:
        means = ", ".join(f"{cell.variant} {estimate.mean:.4g} mJ" for cell, estimate in sorted(run.items()))
        print(f"run {number}: {means}", flush=True)

    models = arguments.models.split(",")
    goal, metering = Goal(precision=arguments.precision), Metering(arguments.meter)
    runs = measure_repeatedly(arguments.triton_grpc, models, arguments.runs, goal, metering, done)
    for cell, (held, mean) in sorted(coverage(runs).items()):
        width = fmean(run[cell].relative_half_width for run in runs)
        print(f"{cell.variant}: {held} of {len(runs)} intervals hold {mean:.4g} mJ; they are ±{100 * width:.1f} % wide")


if __name__ == "__main__":
    try:
        main()
    except TradewindError as error:
        sys.exit(f"repeatability: {error}")
