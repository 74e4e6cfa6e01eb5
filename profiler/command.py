"""What `tradewind profile` shows while it runs and when it is done."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from profiler.findings import energies_by_cell
from profiler.meter_offers import Metering, local_triton, offers
from profiler.meters.choose import Chosen, choose_meter
from profiler.pareto import dominated
from profiler.plan import Cell, is_enough
from profiler.plot import plot_family
from profiler.profile import Profiled, Profiler, Wish
from profiler.windows import Window


def run_profile(wish: Wish, metering: Metering, plot: Path, console: Console | None = None) -> bool:
    """Profiles, shows a table, draws the plot; True when every variant was written whole."""
    console = console or _console()
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
        plot_family(plot, wish.family, profiled.written, wish.error_metric, subtitle)
        console.print(f"wrote {wish.output} and {plot}")
    return not profiled.refusals


def _console() -> Console:
    """A terminal as it is; a file or a pipe wide enough for the table."""
    console = Console()
    return console if console.is_terminal else Console(width=140)


def _bar(console: Console) -> Progress:
    return Progress(TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=console, transient=True)


def _announce(console: Console, chosen: Chosen, profiler: Profiler) -> None:
    for reason in chosen.passed_over:
        console.print(f"[dim]not used: {reason}[/]")
    plate = chosen.meter.nameplate
    console.print(f"meter: [bold]{plate.name}[/] ({plate.provenance}) on {plate.hardware}; {plate.method}")
    for name, model in profiler.models.items():
        if model.random_weights:
            console.print(f"[yellow]{name} has random weights: its energy and latency are real, its error is not[/]")


def _report(console: Console, wish: Wish, profiled: Profiled) -> None:
    console.print(_table(wish, profiled))
    if profiled.idle_watts is not None:
        console.print(f"at rest: {profiled.idle_watts:.4g} W")
    if profiled.resumed:
        console.print(f"went on from an interrupted run: {profiled.resumed} of the windows are its own")
    points = {name: (entry.energy_mj.value, entry.error.value) for name, entry in profiled.written.items()}
    for worse, better in sorted(dominated(points).items()):
        console.print(f"[yellow]{worse} is dominated by {better}: no less energy and no less error[/]")
    for cell, finding in profiled.findings.items():
        if finding.latency_refused and not finding.refused:
            console.print(f"[yellow]no latency of {cell}: {finding.latency_refused}[/]")
    for skipped in profiled.skipped:
        console.print(f"[dim]not measured: {skipped}[/]")
    for refusal in profiled.refusals:
        console.print(f"[red]not written: {refusal}[/]")


def _table(wish: Wish, profiled: Profiled) -> Table:
    ks = sorted({k for rate in profiled.errors.values() for k in rate.wrong})
    table = Table(title=f"{wish.family} on {profiled.origin.plate.hardware}")
    table.add_column("variant", no_wrap=True)
    table.add_column("batch", justify="right")
    for heading in ("mJ/inference", "±95 %", "above idle", "CV", "n", "p50/p95/p99 ms", "inferences/s"):
        table.add_column(heading, justify="right")
    for k in ks:
        table.add_column(f"top-{k} error %", justify="right")
    for cell, finding in profiled.findings.items():
        rate = profiled.errors.get(cell.variant)
        energy, latency = finding.energy_mj, finding.latency
        table.add_row(
            cell.variant,
            str(cell.batch),
            f"{energy.mean:.4g}" if energy else "-",
            f"{100 * energy.relative_half_width:.1f} %" if energy else "-",
            f"{finding.above_idle_mj:.4g}" if finding.above_idle_mj is not None else "-",
            f"{100 * energy.cv:.1f} %" if energy else "-",
            str(energy.samples) if energy else "-",
            f"{latency.p50_ms:.3g}/{latency.p95_ms:.3g}/{latency.p99_ms:.3g}" if latency else "-",
            f"{finding.throughput_per_s:.4g}" if finding.throughput_per_s else "-",
            *(f"{rate.percent(k):.4g}" for k in ks if rate is not None),
        )
    return table
