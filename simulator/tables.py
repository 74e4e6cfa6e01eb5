"""Comparisons and findings as tables for the terminal."""

from collections.abc import Sequence

from rich import box
from rich.table import Table

from simulator.comparison import Comparison
from simulator.evaluation import Row
from simulator.paper import Finding
from simulator.synthetic import SYNTHETIC_NAME


def comparison_table(comparison: Comparison) -> Table:
    """One line per policy, whole within 80 columns: figures are never cut, long names and shares are folded."""
    series, ground = comparison.series, comparison.ground
    label = "SYNTHETIC intensity, not measured" if series.name == SYNTHETIC_NAME else series.name
    title = (
        f"{label}: {len(comparison.scored)} of {series.used} intervals scored ({series.rows} rows, {series.missing} "
        f"without a value, {series.implausible} implausible, {series.duplicates} said again); extra against always "
        f"{ground.baseline}; share in % of {'/'.join(point.variant for point in ground.pool)}"
    )
    table = Table(title=title, title_justify="left", box=box.SIMPLE, show_edge=False, padding=0)
    table.add_column("policy", overflow="fold", min_width=15)
    for heading in ("error", "grams", "extra g", "CEE\n% per g", "x clair-\nvoyant", "swit-\nches"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("share", overflow="fold")
    for row in comparison.rows:
        table.add_row(
            row.policy,
            *figures_of(row),
            "/".join(f"{100 * share:.0f}" for share in row.share.values()),
        )
    return table


def figures_of(row: Row) -> tuple[str, ...]:
    """Error, grams, extra grams, CEE, times clairvoyant and switches, each to its significant digits."""
    return (
        f"{row.mean_error_pct:#.4g}".removesuffix("."),
        f"{row.emissions_g:.4g}",
        f"{row.extra_g:+.4g}",
        _optional(row.cee, "#.3g").removesuffix("."),
        _optional(row.clairvoyant_ratio, ".3f"),
        str(row.switches),
    )


def findings_table(findings: Sequence[Finding]) -> Table:
    """The paper's numbers beside those derived from its table."""
    table = Table("what", "derived", "published", "note", title="The paper's numbers, derived again from its Table 1")
    for finding in findings:
        table.add_row(finding.what, f"{finding.derived:.6g}", _optional(finding.published, "g"), finding.note)
    return table


def _optional(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
