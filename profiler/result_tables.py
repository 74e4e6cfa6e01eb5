"""What was found, as tables of at most 80 columns and sentences of one line each."""

from collections.abc import Mapping

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from profiler.error_rate import ErrorRate
from profiler.findings import Finding
from profiler.plan import Cell

UNKNOWN = "-"


def say(console: Console, sentence: str, style: str = "") -> None:
    """A sentence as it is: brackets in it are not markup, and a file gets it unbroken."""
    console.print(sentence, style=style or None, markup=False, highlight=False, soft_wrap=True)


def energy_table(title: str, findings: Mapping[Cell, Finding]) -> Table:
    """What an inference costs, and how sure that is."""
    table = _table(title, "mJ/inference", "±95 %", "above idle", "CV", "n")
    for cell, finding in findings.items():
        energy, above = finding.energy_mj, finding.above_idle_mj
        table.add_row(
            cell.variant,
            str(cell.batch),
            f"{energy.mean:.4g}" if energy else UNKNOWN,
            f"{100 * energy.relative_half_width:.1f} %" if energy else UNKNOWN,
            f"{above:.4g}" if above is not None else UNKNOWN,
            f"{100 * energy.cv:.1f} %" if energy else UNKNOWN,
            str(energy.samples) if energy else UNKNOWN,
        )
    return table


def speed_table(findings: Mapping[Cell, Finding], errors: Mapping[str, ErrorRate]) -> Table:
    """How fast it is and how often wrong; the error is the variant's, whatever the batch."""
    ks = sorted({k for rate in errors.values() for k in rate.wrong})
    error = ", and error in %" if ks else ""
    table = _table(f"Latency, throughput{error}", "p50/p95/p99 ms", "inferences/s", *(f"top-{k}" for k in ks))
    for cell, finding in findings.items():
        rate, latency = errors.get(cell.variant), finding.latency
        table.add_row(
            cell.variant,
            str(cell.batch),
            "/".join(map(_ms, (latency.p50_ms, latency.p95_ms, latency.p99_ms))) if latency else UNKNOWN,
            f"{finding.throughput_per_s:.4g}" if finding.throughput_per_s else UNKNOWN,
            *(f"{rate.percent(k):.4g}" if rate is not None else UNKNOWN for k in ks),
        )
    return table


def _ms(latency: float) -> str:
    return f"{latency:.3g}" if latency < 1000 else f"{latency:.0f}"


def _table(title: str, *figures: str) -> Table:
    table = Table(title=title or None, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("variant", overflow="fold")
    table.add_column("batch", justify="right", no_wrap=True)
    for heading in figures:
        table.add_column(heading, justify="right", no_wrap=True)
    return table
