"""Comparisons and findings as tables for the terminal."""

from collections.abc import Sequence

from rich.table import Table

from simulator.comparison import Comparison
from simulator.paper import Finding
from simulator.synthetic import SYNTHETIC_NAME


def comparison_table(comparison: Comparison) -> Table:
    """One line per policy."""
    series = comparison.series
    label = "SYNTHETIC intensity, not measured" if series.name == SYNTHETIC_NAME else series.name
    title = (
        f"{label}: {len(comparison.scored)} of {series.used} intervals scored "
        f"({series.rows} rows, {series.missing} without a value, {series.implausible} implausible); "
        f"extra against always {comparison.ground.baseline}"
    )
    table = Table(title=title, title_justify="left")
    for heading in ("policy", "error", "grams", "extra g", "CEE % per g", "x clairvoyant", "switches", "share"):
        left = heading in ("policy", "share")
        table.add_column(heading, justify="left" if left else "right", no_wrap=heading != "share")
    for row in comparison.rows:
        table.add_row(
            row.policy,
            f"{row.mean_error_pct:.3f}",
            f"{row.emissions_g:.4g}",
            f"{row.extra_g:+.4g}",
            _optional(row.cee, ".5f"),
            _optional(row.clairvoyant_ratio, ".3f"),
            str(row.switches),
            ", ".join(f"{variant} {share:.0%}" for variant, share in row.share.items() if share >= 0.005),
        )
    return table


def findings_table(findings: Sequence[Finding]) -> Table:
    """The paper's numbers beside those derived from its table."""
    table = Table("what", "derived", "published", "note", title="The paper's numbers, derived again from its Table 1")
    for finding in findings:
        table.add_row(finding.what, f"{finding.derived:.6g}", _optional(finding.published, "g"), finding.note)
    return table


def _optional(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
