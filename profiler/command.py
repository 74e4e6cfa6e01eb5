"""What `tradewind profile` shows while it runs and when it is done."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from profiler.ahead import check_can_write
from profiler.findings import energies_by_cell
from profiler.meter_offers import Metering, local_triton, offers
from profiler.meters.choose import Chosen, choose_meter
from profiler.pareto import dominated
from profiler.plan import Cell, is_enough
from profiler.profile import Profiled, Profiler, Wish, unknown_error
from profiler.result_tables import energy_table, say, speed_table
from profiler.windows import Window


def run_profile(wish: Wish, metering: Metering, plot: Path, console: Console | None = None) -> bool:
    """Profiles, shows a table, draws the plot; True when every variant was written whole."""
    console = console or Console()
    check_can_write("--plot", plot)
    profiler = Profiler(wish)
    pid = metering.triton_pid or local_triton(wish.address)
    chosen = choose_meter(metering.wanted, offers(metering, pid, on_gpu=profiler.on_gpu))
    _announce(console, chosen, profiler)
    with _bar(console) as bar:
        task = bar.add_task("errors", total=None)
        errors = profiler.evaluate(lambda name: bar.update(task, description=f"error of {name}"))

        def progress(number: int, cell: Cell, windows: Sequence[Window]) -> None:
            energies = energies_by_cell(windows)
            enough = sum(is_enough(values, wish.goal) for values in energies.values())
            least = sum(min(len(values), wish.goal.least) for values in energies.values())
            total = wish.goal.least * len(profiler.cells)
            text = f"round {number + 1}, {cell}; {enough} of {len(profiler.cells)} settled"
            bar.update(task, description=text, completed=least, total=total)

        measurement, resumed, settled = profiler.measure(
            chosen, pid, progress, lambda cell: bar.update(task, description=f"warming up {cell}")
        )
    profiled = profiler.conclude(chosen, measurement, errors, resumed, settled)
    _report(console, wish, profiled)
    if profiled.written:
        plate = profiled.origin.plate
        subtitle = f"{plate.hardware}; {plate.name} ({plate.provenance}); {profiled.origin.day.isoformat()}"
        from profiler.plot import plot_family  # Its library takes a second to load: only where there is a plot.

        plot_family(plot, wish.family, profiled.written, wish.error_metric, subtitle)
        say(console, f"wrote {wish.output} and {plot}")
    return not profiled.refusals


def _bar(console: Console) -> Progress:
    return Progress(TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=console, transient=True)


def _announce(console: Console, chosen: Chosen, profiler: Profiler) -> None:
    for reason in chosen.passed_over:
        say(console, f"not used: {reason}", "dim")
    plate = chosen.meter.nameplate
    say(console, f"meter: {plate.name} ({plate.provenance}) on {plate.hardware}; {plate.method}")
    for name, model in profiler.models.items():
        if model.random_weights:
            say(console, f"{name} has random weights: its energy and latency are real, its error is not", "yellow")
    for name in profiler.without_error:
        say(console, f"{name} will be measured and not written: {unknown_error(name)}", "yellow")


def _report(console: Console, wish: Wish, profiled: Profiled) -> None:
    title = f"{wish.family} on {profiled.origin.plate.hardware}"
    console.print(energy_table(title, profiled.findings))
    console.print(speed_table(profiled.findings, profiled.errors))
    if profiled.idle_watts is not None:
        say(console, f"at rest: {profiled.idle_watts:.4g} W")
    if profiled.resumed:
        say(console, f"went on from an interrupted run: {profiled.resumed} of the windows are its own")
    if busy := [
        f"{cell} ({100 * (found.other_work or 0):.0f} %)" for cell, found in profiled.findings.items() if found.busy
    ]:
        say(
            console, f"energies of a machine with other work: {', '.join(busy)}; on a quiet one they are less", "yellow"
        )
    points = {name: (entry.energy_mj.value, entry.error.value) for name, entry in profiled.written.items()}
    for worse, better in sorted(dominated(points).items()):
        say(console, f"{worse} is dominated by {better}: no less energy and no less error", "yellow")
    for cell, finding in profiled.findings.items():
        if finding.latency_refused and not finding.refused:
            say(console, f"no latency of {cell}: {finding.latency_refused}", "yellow")
    for skipped in profiled.skipped:
        say(console, f"not measured: {skipped}", "dim")
    for refusal in profiled.refusals:
        say(console, f"not written: {refusal}", "red")
