"""One HTML page per run: the paper's three figures redrawn, the table of policies, and error against carbon."""

import base64
import html
import io
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from simulator.comparison import Comparison
from simulator.synthetic import SYNTHETIC_NAME
from simulator.tables import figures_of

_STYLE = """
body { font: 16px/1.5 sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; font-size: 14px } td, th { padding: .3rem .6rem; border-bottom: 1px solid #ddd }
td { text-align: right } td:first-child, td:last-child { text-align: left } img { max-width: 100% }
.note { background: #fff3cd; padding: .5rem 1rem }
"""

_WHOLE_DAY = 0.8
"""The part of a day's intervals that must be scored for their sum to be shown as the day's."""


def write_report(comparisons: Sequence[Comparison], directory: Path) -> Path:
    """Writes `index.html` into the directory, with everything in it; returns its path."""
    directory.mkdir(parents=True, exist_ok=True)
    body = "".join(_section(comparison) for comparison in comparisons)
    page = directory / "index.html"
    page.write_text(
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Tradewind simulation</title>'
        f"<style>{_STYLE}</style></head><body><h1>Tradewind simulation</h1>{body}</body></html>\n",
        encoding="utf-8",
    )
    return page


def _section(comparison: Comparison) -> str:
    series = comparison.series
    synthetic = series.name == SYNTHETIC_NAME
    title = "Synthetic June (not measured)" if synthetic else series.name
    note = '<p class="note">This intensity is synthetic: a formula, not a measurement.</p>' if synthetic else ""
    baseline = html.escape(comparison.ground.baseline)
    left_out = (
        f"{series.missing} had no value, {series.implausible} were implausible, {series.duplicates} were said again"
    )
    return (
        f"<h2>{html.escape(title)}</h2>{note}<p>{len(comparison.scored)} of {series.used} intervals are scored; "
        f"of {series.rows} rows {left_out}. Extra grams are against always {baseline}.</p>"
        f"{_figures(comparison)}{_table(comparison)}{_frontier(comparison)}"
    )


def _figures(comparison: Comparison) -> str:
    days, since = _days(comparison)
    length = comparison.series.interval_s / 86_400
    suffix = " (synthetic)" if comparison.series.name == SYNTHETIC_NAME else ""

    def intensity(axes: Axes) -> None:
        axes.plot(*broken_at_gaps(days, comparison.ground.g_per_kwh, length), linewidth=0.7)
        axes.set(title=f"Carbon intensity{suffix}", xlabel=since, ylabel="gCO2eq/kWh")

    def requests(axes: Axes) -> None:
        axes.plot(*broken_at_gaps(days, comparison.ground.requests, length), linewidth=0.7)
        axes.set(title="Requests per interval", xlabel=since, ylabel="requests", ylim=(0, None))

    def emissions(axes: Axes) -> None:
        for label, weights in comparison.weights.items():
            grams = sums_of_whole_days(days, comparison.ground.grams(weights), length)
            axes.plot(np.arange(len(grams)), grams, linewidth=0.9, marker="." if len(grams) < 40 else None, label=label)
        axes.set(title=f"Daily emissions{suffix}", xlabel=since, ylabel="gCO2eq per day", ylim=(0, None))
        axes.legend(fontsize=8)

    return _image(intensity, "intensity") + _image(requests, "requests") + _image(emissions, "daily emissions")


def _frontier(comparison: Comparison) -> str:
    ground, optimum = comparison.ground, comparison.ground.optimum
    errors = np.linspace(float(optimum.frontier.errors[-1]), float(optimum.frontier.errors[0]), 100)

    def draw(axes: Axes) -> None:
        least = [optimum.grams_for_error(float(error)) * ground.scale for error in errors]
        axes.plot(errors, least, color="grey", label="least possible (clairvoyant)")
        for row in comparison.rows:
            axes.plot(row.mean_error_pct, row.emissions_g, "o", label=row.policy)
        axes.set(title="Error against carbon", xlabel="mean error over requests", ylabel="gCO2eq")
        axes.legend(fontsize=8)

    return _image(draw, "error against carbon")


def _table(comparison: Comparison) -> str:
    heads = ("policy", "error", "grams", "extra g", "CEE, % per g", "times clairvoyant", "switches", "share")
    lines = []
    for row in comparison.rows:
        cells = (
            row.policy,
            *figures_of(row),
            ", ".join(f"{variant} {share:.0%}" for variant, share in row.share.items() if share >= 0.005),
        )
        lines.append("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>")
    head = "".join(f"<th>{html.escape(each)}</th>" for each in heads)
    return f"<table><tr>{head}</tr>{''.join(lines)}</table>"


def _days(comparison: Comparison) -> tuple[NDArray[np.float64], str]:
    """When each interval begins, in days since the first midnight (UTC), and the words for that."""
    times = comparison.series.times_s[comparison.scored]
    midnight = int(times[0]) // 86_400 * 86_400
    days: NDArray[np.float64] = (times - midnight) / 86_400
    return days, f"days since {datetime.fromtimestamp(midnight, UTC):%Y-%m-%d} (UTC)"


def broken_at_gaps(
    days: NDArray[np.float64], values: NDArray[np.float64], length: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A line with nothing drawn where intervals are missing."""
    gaps = np.flatnonzero(np.diff(days) > 1.5 * length) + 1
    return np.insert(days, gaps, np.nan), np.insert(values, gaps, np.nan)


def sums_of_whole_days(days: NDArray[np.float64], values: NDArray[np.float64], length: float) -> NDArray[np.float64]:
    """One sum per day; NaN for days that are missing or too incomplete, unless no day is whole."""
    day = np.floor(days).astype(np.intp)
    seen = np.bincount(day) * length
    whole = seen >= _WHOLE_DAY if np.any(seen >= _WHOLE_DAY) else seen > 0
    return np.where(whole, np.bincount(day, weights=values), np.nan)


def _image(draw: Callable[[Axes], None], alt: str) -> str:
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    draw(figure.add_subplot())
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    content = base64.b64encode(buffer.getvalue()).decode()
    return f'<p><img alt="{html.escape(alt)}" src="data:image/png;base64,{content}"></p>'
