"""The day as a picture: intensity, the variant that served, and cumulative grams against the two fixed choices."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from demo.day import Charge, Clock, Hour
from tradewind.catalogue import OperatingPoint
from tradewind.units import emissions_g

mpl.use("Agg")  # No display is needed, and none is opened.

from matplotlib import dates
from matplotlib import pyplot as plt

_COLOURS = ("#2a9d8f", "#e9a23b", "#b5438d")


def plot_day(
    path: Path,
    title: str,
    hours: Sequence[Hour],
    charges: Sequence[Charge],
    pool: tuple[OperatingPoint, ...],
    clock: Clock,
) -> None:
    """Writes the PNG."""
    figure, (top, middle, bottom) = plt.subplots(
        3, 1, figsize=(10, 8), sharex=True, height_ratios=(3, 1.4, 3), layout="constrained"
    )
    figure.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold")
    times = [hour.recorded_at for hour in hours]
    _draw_intensity(top, times, hours)
    _draw_variants(middle, times, hours, pool)
    _draw_grams(bottom, charges, pool, clock)
    for axes in (top, middle, bottom):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="x", alpha=0.25)
    bottom.xaxis.set_major_formatter(_time_labels())
    bottom.set_xlabel(f"time of the trace, UTC, from {times[0]:%d %B %Y}")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _step(times: Sequence[datetime]) -> timedelta:
    return times[1] - times[0] if len(times) > 1 else timedelta(minutes=30)


def _axis(times: Iterable[datetime]) -> NDArray[np.datetime64]:
    return np.array([time.replace(tzinfo=None) for time in times], dtype="datetime64[us]")


def _time_labels() -> Any:
    return dates.DateFormatter("%H:%M")  # type: ignore[no-untyped-call] # untyped in matplotlib


def _draw_intensity(axes: Axes, times: Sequence[datetime], hours: Sequence[Hour]) -> None:
    # The last value holds to the end of its interval.
    held, edges = [*hours, hours[-1]], _axis([*times, times[-1] + _step(times)])
    lows, highs = [hour.low_g_per_kwh for hour in held], [hour.high_g_per_kwh for hour in held]
    axes.fill_between(edges, lows, highs, step="post", color="#dfe7ee", label="range of the last 24 h")
    axes.step(edges, [hour.intensity_g_per_kwh for hour in held], where="post", color="#33475b", label="intensity")
    axes.set_ylabel("g CO₂eq per kWh")
    axes.set_ylim(bottom=0)
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False)


def _draw_variants(
    axes: Axes, times: Sequence[datetime], hours: Sequence[Hour], pool: tuple[OperatingPoint, ...]
) -> None:
    names = [point.variant for point in pool]
    for place, name in enumerate(names):
        begins = _axis(time for time, hour in zip(times, hours, strict=True) if hour.variant == name)
        axes.barh([place] * len(begins), _step(times), left=begins, height=0.8, color=_colour(place, len(names)))  # type: ignore[arg-type] # matplotlib takes times for numbers
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.set_ylabel("served by")


def _draw_grams(axes: Axes, charges: Sequence[Charge], pool: tuple[OperatingPoint, ...], clock: Clock) -> None:
    rows = sorted(charges, key=lambda row: row.begins)
    times = _axis(clock.recorded(row.begins) for row in rows)
    intensities = np.array([row.intensity_g_per_kwh for row in rows])
    counts = np.array([row.inferences for row in rows])
    spent = np.array([emissions_g(row.energy_uj, row.intensity_g_per_kwh) for row in rows])
    for point, place, label in ((pool[-1], len(pool) - 1, "always largest"), (pool[0], 0, "always smallest")):
        alone = np.cumsum(emissions_g(1, 1) * counts * point.energy_mj * 1_000 * intensities) * 1_000
        axes.plot(times, alone, "--", color=_colour(place, len(pool)), label=label)
    axes.plot(times, np.cumsum(spent) * 1_000, color="#33475b", linewidth=2.2, label="tradewind")
    axes.set_ylabel("mg CO₂eq so far")
    axes.set_ylim(bottom=0)
    axes.legend(loc="upper left", frameon=False)


def _colour(place: int, places: int) -> str:
    return _COLOURS[0] if place == 0 else _COLOURS[2] if place == places - 1 else _COLOURS[1]
