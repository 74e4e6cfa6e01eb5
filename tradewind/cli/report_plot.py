"""A report as a picture: grams over time by variant, and what the smallest and the largest alone would have emitted."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import StepPatch
from numpy.typing import NDArray

from tradewind.cli.report_text import mass, unit_of
from tradewind.readings import parse_time

mpl.use("Agg")  # No display is needed, and none is opened.

from matplotlib import dates, patheffects
from matplotlib import pyplot as plt

_PERIODS = {"minute": timedelta(minutes=1), "hour": timedelta(hours=1), "day": timedelta(days=1)}
_SMALLEST, _LARGEST = "#e0701b", "#b01e62"
_HALO = [patheffects.withStroke(linewidth=4, foreground="white", alpha=0.85)]
"""Around lines, so that they are seen on every colour."""

Floats = NDArray[np.float64]


def plot_report(path: Path, answer: Any, period: str) -> None:
    """Writes the PNG; the answer's rows are by period, family and variant."""
    length = _PERIODS[period]
    times = _times(answer, length)
    figure, axes = plt.subplots(figsize=(10, 5.2), layout="constrained")
    unit, per_gram = unit_of(float(np.nanmax(_sums(answer, times, "always_largest_g"), initial=0.0)))
    variants = _draw_variants(axes, answer, times, length, per_gram)
    for name, label, colour in (
        ("always_largest_g", "always largest", _LARGEST),
        ("always_smallest_g", "always smallest", _SMALLEST),
    ):
        _draw_alone(axes, times, length, _sums(answer, times, name) * per_gram, label, colour)
    _draw_unknown(axes, answer, length)
    _dress(axes, answer, times, length, f"{unit} CO₂eq per {period}")
    _explain(axes, variants)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130, format="png")
    plt.close(figure)


def _times(answer: Any, length: timedelta) -> list[datetime]:
    """Every period from the first to the last, those in which nothing was served too."""
    found = [_begin(row) for row in answer.rows]
    first, last = min(found), max(found)
    return [first + index * length for index in range((last - first) // length + 1)]


def _begin(row: Any) -> datetime:
    return parse_time(row.group[0]).astimezone(UTC)


def _sums(answer: Any, times: Sequence[datetime], name: str) -> Floats:
    """Grams per period; not a number where nothing of it has a known intensity."""
    place = {time: index for index, time in enumerate(times)}
    sums = np.full(len(times), np.nan)
    for row in answer.rows:
        if row.HasField(name):
            index = place[_begin(row)]
            sums[index] = np.nan_to_num(sums[index]) + getattr(row, name)
    return sums


def _draw_variants(
    axes: Axes, answer: Any, times: Sequence[datetime], length: timedelta, per_gram: float
) -> list[StepPatch]:
    names = _by_energy(answer)
    colours = mpl.colormaps["YlGnBu"](np.linspace(0.3, 0.9, len(names)))
    place = {time: index for index, time in enumerate(times)}
    edges, below, drawn = _axis([*times, times[-1] + length]), np.zeros(len(times)), []
    for name, colour in zip(names, colours, strict=True):
        above = below.copy()
        for row in answer.rows:
            if tuple(row.group[1:]) == name and row.HasField("emissions_g"):
                above[place[_begin(row)]] += row.emissions_g * per_gram
        # One shape per variant: a bar for each of some thousand periods would take minutes.
        label = _label(name, names)
        drawn.append(axes.stairs(above, edges, baseline=below, fill=True, color=colour, label=label))
        below = above
    return drawn


def _by_energy(answer: Any) -> list[tuple[str, ...]]:
    """The variants that served, those of least energy per inference first."""
    energy: dict[tuple[str, ...], list[int]] = {}
    for row in answer.rows:
        sums = energy.setdefault(tuple(row.group[1:]), [0, 0])
        sums[0] += row.energy_uj
        sums[1] += row.inferences
    return sorted(energy, key=lambda name: (energy[name][0] / max(energy[name][1], 1), name))


def _label(name: tuple[str, ...], names: Sequence[tuple[str, ...]]) -> str:
    family, variant = name
    if not family:
        return f"{variant} (by its own name)"
    return variant if len({each[0] for each in names if each[0]}) == 1 else f"{family}: {variant}"


def _draw_alone(
    axes: Axes, times: Sequence[datetime], length: timedelta, grams: Floats, label: str, colour: str
) -> None:
    """A level per period, with gaps where nothing was served."""
    edges = _axis([*times, times[-1] + length])
    axes.stairs(
        grams,
        edges,
        baseline=None,
        color=colour,
        linewidth=1.8,
        linestyle=(0, (4, 1.2)),
        label=label,
        path_effects=_HALO,
    )


def _draw_unknown(axes: Axes, answer: Any, length: timedelta) -> None:
    label = "intensity unknown (a part or all)"
    for begins in sorted({_begin(row) for row in answer.rows if row.unpriced_energy_uj}):
        first, last = _axis([begins, begins + length])
        axes.axvspan(
            first, last, facecolor="none", edgecolor="#b0b8c0", hatch="///", linewidth=0, label=label, zorder=0
        )
        label = ""


def _dress(axes: Axes, answer: Any, times: Sequence[datetime], length: timedelta, ylabel: str) -> None:
    total = answer.total
    axes.set_title(
        f"{_known(total, 'emissions_g')} of CO₂eq for {total.inferences:,} inferences", loc="left", fontsize=13
    )
    alone = f"always smallest {_known(total, 'always_smallest_g')}, always largest {_known(total, 'always_largest_g')}"
    axes.text(1, 1.015, alone, transform=axes.transAxes, ha="right", va="bottom", fontsize=9, color="#55606b")
    axes.set_ylabel(ylabel)
    axes.set_ylim(bottom=0)
    axes.set_xlim(*_axis([times[0], times[-1] + length]))
    locator = dates.AutoDateLocator()  # type: ignore[no-untyped-call] # untyped in matplotlib
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator, show_offset=False))  # type: ignore[no-untyped-call] # as above
    axes.set_xlabel(
        f"{times[0]:%d %b %Y %H:%M} to {times[-1] + length:%d %b %Y %H:%M} UTC; "
        f"the energy of serving alone, without overhead and embodied emissions",
        fontsize=9,
    )
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.25)
    axes.set_axisbelow(True)


def _explain(axes: Axes, variants: Sequence[StepPatch]) -> None:
    """The legend: variants first, in the order in which they are stacked."""
    handles = sorted(axes.get_legend_handles_labels()[0], key=lambda handle: handle not in variants)
    axes.legend(
        handles,
        [str(handle.get_label()) for handle in handles],
        loc="upper center",
        bbox_to_anchor=(0.5, -0.14),
        ncols=len(handles) if len(handles) <= 6 else 4,
        frameon=False,
        fontsize=9,
    )


def _known(total: Any, name: str) -> str:
    return mass(getattr(total, name) if total.HasField(name) else None)


def _axis(times: Sequence[datetime]) -> NDArray[np.datetime64]:
    return np.array([time.replace(tzinfo=None) for time in times], dtype="datetime64[us]")
