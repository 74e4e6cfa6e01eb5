"""The figures of the fronts: as entries with their budgets, and as the table of the documents."""

import os
import re
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

Entry = dict[str, Any]

AGAINST: dict[str, list[tuple[str, float | None, str | None]]] = {
    "Python front": [("bare grpc.aio relay", 1.15, "small, 602 KB")],
    "Envoy front": [("plain Envoy", 1.8, None), ("Python front", 0.25, "small")],
}
"""What each front is compared with, the budget of the ratio, and the sizes that it holds for; None: all."""

_NAMES = re.compile(
    r"(?P<size>.+) ModelInfer, (?P<side>.+): (?:added )?(?P<figure>CPU|p\d+)(?: against (?P<against>.+))?"
)


def cpu_entry(size: str, side: str, found: dict[str, list[float]]) -> list[Entry]:
    """What one side costs by itself, and against each that it is compared with."""
    value, name = statistics.median(found[side]), f"{size} ModelInfer, {side}: CPU"
    entries: list[Entry] = [] if side in AGAINST else [_entry(name, value, "µs CPU per request")]
    for other, budget, sizes in AGAINST.get(side, []):
        # Of each round both ran next to each other: their ratio is steadier than the quotient of two medians.
        ratio = statistics.median(ours / theirs for ours, theirs in zip(found[side], found[other], strict=True))
        held = budget if sizes is None or size in sizes.split(", ") else None
        reference = statistics.median(found[other])
        entries.append(_entry(f"{name} against {other}", value, "µs CPU per request", reference, ratio, held))
    return entries


def latency_entry(size: str, side: str, times: Sequence[float], direct: Sequence[float]) -> list[Entry]:
    """What one side adds to Triton's own time; for Triton itself, that time."""
    entries = []
    for percent in (50, 99):
        ours, own = (statistics.quantiles(each, n=100)[percent - 1] for each in (times, direct))
        value, figure = (ours, "") if side == "direct" else (ours - own, "added ")
        name = f"{size} ModelInfer, {side}: {figure}p{percent}"
        entries.append(_entry(name, value, "µs, one request at a time", own, ours / own))
    return entries


def _entry(
    name: str,
    value: float,
    unit: str,
    reference: float | None = None,
    ratio: float | None = None,
    budget: float | None = None,
) -> Entry:
    return {
        "name": name,
        "value": round(value, 1),
        "unit": unit,
        "reference": None if reference is None else round(reference, 1),
        "ratio": None if ratio is None else round(ratio, 3),
        "budget": budget,
        "holds": None if budget is None or ratio is None else ratio <= budget,
    }


def markdown(entries: Sequence[Entry]) -> str:
    """One run as the tables of the documents: what each side costs, what it adds, and which budgets hold."""
    cells: dict[str, dict[str, dict[str, Entry]]] = {}
    for entry in entries:
        found = _NAMES.fullmatch(entry["name"])
        if found is not None:
            figure = found["figure"] if found["against"] is None else f"against {found['against']}"
            cells.setdefault(found["side"], {}).setdefault(found["size"], {})[figure] = entry
    sizes = list(next(iter(cells.values())))
    in_front = {side: found for side, found in cells.items() if side != "direct"}
    return "\n".join(
        [
            f"{machine()}; {datetime.now(UTC):%d %B %Y}.",
            "",
            *_table(
                "CPU per ModelInfer",
                sizes,
                {side: [_cpu(found[size]) for size in sizes] for side, found in in_front.items()},
            ),
            "",
            *_table(
                "added p50 / p99",
                sizes,
                {side: [_added(found[size]) for size in sizes] for side, found in cells.items()},
            ),
            "",
            *(
                f"- {each['name']}: {each['ratio']:.2f}, at most {each['budget']:g}"
                for each in entries
                if each["holds"]
            ),
            *(
                f"- **{each['name']}: {each['ratio']:.2f}, over {each['budget']:g}**"
                for each in entries
                if each["holds"] is False
            ),
        ]
    )


def _table(corner: str, sizes: Sequence[str], rows: dict[str, list[str]]) -> list[str]:
    head = [f"| {corner} | {' | '.join(sizes)} |", "|---" * (len(sizes) + 1) + "|"]
    return [*head, *(f"| {name} | {' | '.join(row)} |" for name, row in rows.items())]


def machine() -> str:
    """What was measured on."""
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    model = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    load = Path("/proc/loadavg").read_text(encoding="utf-8").split()[2]
    named = model[1] if model else "processor that does not say its name"
    return f"{os.cpu_count()} shared cores of an {named}, load average of the last quarter of an hour {load}"


def _cpu(figures: dict[str, Entry]) -> str:
    compared = {name.removeprefix("against "): each for name, each in figures.items() if name.startswith("against")}
    ratios = ", ".join(f"{each['ratio']:.2f} x {name}" for name, each in compared.items())
    value = _time((figures.get("CPU") or next(iter(compared.values())))["value"])
    return f"**{value}** ({ratios})" if ratios else value


def _added(figures: dict[str, Entry]) -> str:
    return " / ".join(_time(figures[f"p{percent}"]["value"]) for percent in (50, 99))


def _time(us: float) -> str:
    return f"{us / 1e3:.3g} ms" if abs(us) >= 1e3 else f"{us:.0f} µs"
