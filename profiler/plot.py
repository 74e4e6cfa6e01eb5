"""Energy against error: the picture of a family."""

from collections.abc import Mapping
from pathlib import Path

from profiler.pareto import dominated, front
from tradewind.catalogue import Variant

_GOOD, _BAD = "#0b6e4f", "#9a9a9a"


def plot_family(path: Path, family: str, variants: Mapping[str, Variant], error_metric: str, subtitle: str) -> None:
    """Draws every variant with its intervals, the Pareto front joined, dominated variants grey and named so."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas
    from matplotlib.ticker import LogLocator, NullFormatter

    points = {name: (variant.energy_mj.value, variant.error.value) for name, variant in variants.items()}
    beaten, best = dominated(points), front(points)
    canvas = Canvas(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(canvas)
    axes = canvas.subplots()
    axes.plot(*zip(*(points[name] for name in best), strict=True), color=_GOOD, linewidth=1.2, label="Pareto front")
    for name, variant in variants.items():
        colour = _BAD if name in beaten else _GOOD
        axes.errorbar(
            *points[name],
            xerr=_reach(variant.energy_mj.value, variant.energy_mj.interval_95),
            yerr=_reach(variant.error.value, variant.error.interval_95),
            fmt="o",
            color=colour,
            elinewidth=1,
            capsize=3,
        )
        if name not in beaten:
            # Below the front nothing can be.
            axes.annotate(
                name,
                points[name],
                textcoords="offset points",
                xytext=(-6, -6),
                ha="right",
                va="top",
                color=colour,
                fontsize=9,
            )
    for number, name in enumerate(sorted(beaten, key=points.__getitem__)):
        # In turn above and below: neighbours do not write over each other.
        text, side = f"{name}\ndominated by {beaten[name]}", 1 if number % 2 == 0 else -1
        axes.annotate(
            text,
            points[name],
            textcoords="offset points",
            xytext=(0, 7 * side),
            ha="center",
            va="bottom" if side > 0 else "top",
            color=_BAD,
            fontsize=8,
        )
    energies = [energy for energy, _ in points.values()]
    if max(energies) > 8 * min(energies):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(x=0.18, y=0.15)
    axes.set_xlabel("energy per inference, mJ")
    axes.set_ylabel(f"error, {error_metric}")
    axes.set_title(f"{family}\n", fontsize=13)
    axes.text(0.5, 1.02, subtitle, transform=axes.transAxes, ha="center", fontsize=8, color="#555555")
    axes.grid(visible=True, linewidth=0.3)
    axes.legend(loc="upper right", frameon=False, fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas.savefig(path, dpi=120)


def _reach(value: float, interval: tuple[float, float] | None) -> list[list[float]] | None:
    return None if interval is None else [[max(0.0, value - interval[0])], [max(0.0, interval[1] - value)]]
