"""`tradewind catalogue`: checks a catalogue file and prints its schema."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from tradewind.catalogue import Catalogue, Family, find_catalogue

app = typer.Typer(no_args_is_help=True, help="Check a catalogue file, or print the schema of one.")


@app.command()
def check(file: Annotated[Path, typer.Argument(help="The catalogue's YAML file, or a folder of them.")]) -> None:
    """Prints the families, their pools and what is unwise; fails with one sentence on a broken file."""
    catalogue = find_catalogue(file)
    console = Console()
    for name, family in catalogue.families.items():
        console.print(_table(name, family))
    for warning in catalogue.warnings:
        console.print(f"warning: {warning}", style="yellow", markup=False, highlight=False, soft_wrap=True)


@app.command()
def schema() -> None:
    """Prints the JSON Schema of a catalogue, for editors and checks."""
    typer.echo(json.dumps(Catalogue.model_json_schema(), indent=2))


def _table(name: str, family: Family) -> Table:
    """One family; a long name goes on in the next line, so that nothing is cut off in 80 columns."""
    title = f"{name}, error is {family.error_metric}"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("variant", overflow="fold")
    table.add_column("permitted", no_wrap=True)
    for figure in ("energy mJ", "error"):
        table.add_column(figure, justify="right", no_wrap=True)
        table.add_column("which is", no_wrap=True)
    table.add_column("p95 ms", justify="right", no_wrap=True)
    for variant_name, variant in family.variants.items():
        latency = variant.p95_latency_ms
        table.add_row(
            variant_name,
            "yes" if variant_name in family.pool else "no",
            f"{variant.energy_mj.value:g}",
            str(variant.energy_mj.provenance),
            f"{variant.error.value:g}",
            str(variant.error.provenance),
            f"{latency.value:.4g}" if latency is not None else "unknown",
        )
    return table
