"""The day in one table: what was served against what else could have been."""

from collections.abc import Sequence

from rich import box
from rich.table import Table

from demo.day import Choice


def summary_table(choices: Sequence[Choice], title: str) -> Table:
    """One row per way of choosing, whole within 80 columns; what is not defined stays empty."""
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=0)
    table.add_column("choice")
    for heading in ("error %", "energy J", "mg CO₂eq", "errs\nless by", "extra mg", "CEE,\n% per mg"):
        table.add_column(heading, justify="right", no_wrap=True)
    for choice in choices:
        table.add_row(
            choice.name,
            f"{choice.error_pct:.2f}",
            f"{choice.energy_j:.1f}",
            f"{choice.emissions_mg:.3f}",
            "" if choice.reduction_pct is None else f"{choice.reduction_pct:.1f} %",
            "" if choice.extra_mg is None else f"{choice.extra_mg:.3f}",
            "" if choice.efficiency_pct_per_mg is None else f"{choice.efficiency_pct_per_mg:.2f}",
            style="bold" if choice.name == "tradewind" else "",
        )
    return table
