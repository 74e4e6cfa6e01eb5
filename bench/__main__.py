"""`python -m bench [name …]`: runs the benchmarks, prints their figures and writes them to `results/latest.json`.

`python -m bench soak` is a run of its own, which takes half an hour.
"""

import importlib
import json
import pkgutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import bench
from bench import soak

RESULTS = Path(__file__).parent / "results" / "latest.json"

_LOG_WIDTH = 150
"""Of a table that goes to a file or a pipe."""

Entry = dict[str, Any]


def benchmarks() -> dict[str, Callable[[], list[Entry]]]:
    """Every module of this package that has a `measure()`, by its name."""
    found = {}
    for module in pkgutil.iter_modules(bench.__path__):
        if module.name != "__main__":
            measure = getattr(importlib.import_module(f"bench.{module.name}"), "measure", None)
            if measure is not None:
                found[module.name] = measure
    return found


def run(names: Sequence[str], console: Console) -> list[Entry]:
    """The figures of the named benchmarks, or of all; what was measured is written down after each."""
    known = benchmarks()
    unknown = [name for name in names if name not in known]
    if unknown:
        sys.exit(f"bench: {', '.join(unknown)} is not a benchmark: there are {', '.join(known)}")
    entries: list[Entry] = []
    for name in names or known:
        console.print(f"measuring {name} …")
        entries.extend(known[name]())
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(entries, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return entries


def table_of(entries: Sequence[Entry]) -> Table:
    """The figures for people."""
    table = Table("figure", "value", "unit", "reference", "ratio", "budget", "holds", title="Benchmarks")
    for entry in entries:
        table.add_row(
            str(entry["name"]),
            _number(entry["value"]),
            str(entry["unit"]),
            _number(entry["reference"]),
            _number(entry["ratio"]),
            _number(entry["budget"]),
            {True: "yes", False: "[bold red]NO[/]", None: ""}[entry["holds"] if entry["budget"] is not None else None],
        )
    return table


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def main() -> None:
    """Measures and prints; a budget that does not hold is shown, and is no failure of the command."""
    if sys.argv[1:2] == ["soak"]:
        soak.main(sys.argv[2:])
        return
    console = Console()
    if not console.is_terminal:
        console = Console(width=_LOG_WIDTH)
    console.print(table_of(run(sys.argv[1:], console)))
    console.print(f"written to {RESULTS}", soft_wrap=True)


if __name__ == "__main__":
    main()
