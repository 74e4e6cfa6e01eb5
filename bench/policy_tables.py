"""How near the policies come to the least possible: the tables of docs/policies.md, from traces given by path.

python -m bench.policy_tables TRACE.csv ... [--requests COUNTS.csv --requests-column C] [--elsewhere]
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from bench.derived_grids import derived_grids
from simulator.comparison import Comparison, Entrant, Plan, compare
from simulator.evaluation import Row
from simulator.requests import Alignment, aligned_requests, flat_requests
from simulator.run import run_policy
from simulator.series import IntensitySeries, series_of
from tradewind.catalogues import published_catalogue
from tradewind.policies.carbon_budget import CarbonBudget
from tradewind.policies.proportional import Proportional
from tradewind.policies.target_error import TargetError
from tradewind.traces import read_trace

POOL = published_catalogue().family("resnet").permitted
ERRORS = np.array([point.error for point in POOL])
WINDOW, WARM_UP = timedelta(hours=24), timedelta(days=28)
SHARES = (0.25, 0.5, 0.75)


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("traces", nargs="+", type=Path)
    parser.add_argument("--requests", type=Path)
    parser.add_argument("--requests-column")
    parser.add_argument("--elsewhere", action="store_true", help="only target-error, on grids derived from the traces")
    options = parser.parse_args()
    all_series = [series_of(read_trace(path)) for path in options.traces]
    console = Console(width=120)
    if options.elsewhere:
        grids = derived_grids(all_series)
        console.print(_target_table("flat", [_at_the_same_error(grid, flat_requests(grid)) for grid in grids]))
        return
    loads = {"flat": [flat_requests(series) for series in all_series]}
    if options.requests:
        trace = read_trace(options.requests, value_column=options.requests_column)
        loads["by week"] = [aligned_requests(series, trace, Alignment.WEEK) for series in all_series]
    for load, requests in loads.items():
        comparisons = [_at_the_same_error(*each) for each in zip(all_series, requests, strict=True)]
        console.print(_target_table(load, comparisons))
        if load == "flat":
            console.print(_headline_table(comparisons))
    console.print(_shift_table(all_series))
    console.print(_budget_table(all_series))


def _at_the_same_error(series: IntensitySeries, requests: NDArray[np.float64]) -> Comparison:
    """`target-error` aimed at the error of the heuristic over the scored rows."""
    plan = Plan(POOL, (Entrant("proportional", Proportional()),), WINDOW, WARM_UP, scale_extra=("resnet101", 2676.0))
    aim = _row(compare(series, requests, plan), "proportional").mean_error_pct
    entrants = (*plan.entrants, Entrant("target-error", TargetError(aim)))
    return compare(series, requests, replace(plan, entrants=entrants))


def _row(comparison: Comparison, policy: str) -> Row:
    return next(row for row in comparison.rows if row.policy == policy)


def _target_table(load: str, comparisons: Sequence[Comparison]) -> Table:
    table = Table(title=f"target-error aimed at the heuristic's error, load {load}, 28 days of warm-up")
    for heading in ("trace", "aim", "error", "off by", "x clairvoyant", "heuristic's", "switches", "heuristic's"):
        table.add_column(heading, justify="right")
    ratios: list[float] = []
    for comparison in comparisons:
        heuristic, ours = _row(comparison, "proportional"), _row(comparison, "target-error")
        ratios.append(ours.clairvoyant_ratio or np.nan)
        table.add_row(
            comparison.series.name,
            f"{heuristic.mean_error_pct:.3f}",
            f"{ours.mean_error_pct:.3f}",
            f"{ours.mean_error_pct - heuristic.mean_error_pct:+.4f}",
            f"{ours.clairvoyant_ratio:.4f}",
            f"{heuristic.clairvoyant_ratio:.4f}",
            str(ours.switches),
            str(heuristic.switches),
        )
    table.add_row("mean", "", "", "", f"{np.mean(ratios):.4f}", "", "", "")
    table.add_row("worst", "", "", "", f"{max(ratios):.4f}", "", "", "")
    return table


def _headline_table(comparisons: Sequence[Comparison]) -> Table:
    table = Table(title="extra grams against always ResNet50, scaled to ResNet101 = +2676 g, and error")
    names = ("proportional", "target-error", "fixed:resnet101", "fixed:resnet152")
    for heading in ("trace", *names):
        table.add_column(heading, justify="right")
    for comparison in comparisons:
        rows = [_row(comparison, name) for name in names]
        table.add_row(comparison.series.name, *(f"{row.extra_g:+.0f} g, {row.mean_error_pct:.3f}" for row in rows))
    return table


def _shift_table(all_series: Sequence[IntensitySeries]) -> Table:
    table = Table(title="intensity x 1.5 from mid-year on: error over the trailing 14 days minus the aim")
    days = (0, 7, 14, 21, 28)
    for heading in ("trace", *(f"day {day}" for day in days)):
        table.add_column(heading, justify="right")
    for series in all_series:
        requests = flat_requests(series)
        heuristic = run_policy(Proportional(), series, POOL, WINDOW, requests)
        aim = float((heuristic @ ERRORS)[series.times_s >= series.times_s[0] + WARM_UP.total_seconds()].mean())
        later = np.flatnonzero(series.times_s >= (series.times_s[0] + series.times_s[-1]) // 2)
        shifted = series.g_per_kwh.copy()
        shifted[later] *= 1.5
        mixes = run_policy(TargetError(aim), replace(series, g_per_kwh=shifted), POOL, WINDOW, requests)
        errors = mixes @ ERRORS
        cells = []
        for day in days:
            end = series.times_s[later[0]] + day * 86_400
            inside = (series.times_s >= end - 14 * 86_400) & (series.times_s < end)
            cells.append(f"{errors[inside].mean() - aim:+.3f}")
        table.add_row(series.name, *cells)
    return table


def _budget_table(all_series: Sequence[IntensitySeries]) -> Table:
    table = Table(title="carbon-budget, monthly, at a share of the way from the previous month's least to its most")
    headings = (
        "trace",
        "share",
        "months kept by always-smallest",
        "worst overshoot %",
        "error above clairvoyant, median",
    )
    for heading in (*headings, "worst"):
        table.add_column(heading, justify="right")
    for series in all_series:
        entrants = tuple(Entrant(f"{share}", CarbonBudget(budget_share=share)) for share in SHARES)
        comparison = compare(series, flat_requests(series), Plan(POOL, entrants, WINDOW, WARM_UP))
        for share in SHARES:
            periods = [
                period
                for period in _row(comparison, f"{share}").periods
                if period["whole"] and period["least_emissions_g"] <= period["budget_g"]
            ]
            gaps = [period["mean_error_pct"] - period["clairvoyant_error_pct"] for period in periods]
            worst = max(period["overshoot_pct"] for period in periods)
            table.add_row(
                series.name, f"{share:g}", str(len(periods)), f"{worst:.3f}", f"{median(gaps):.4f}", f"{max(gaps):.3f}"
            )
    return table


if __name__ == "__main__":
    main()
