"""`tradewind catalogue`: checks a catalogue file and prints its schema."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from tradewind.catalogue import Catalogue, load_catalogue

app = typer.Typer(no_args_is_help=True, help="Check a catalogue file, or print the schema of one.")


@app.command()
def check(file: Annotated[Path, typer.Argument(help="The catalogue's YAML file.")]) -> None:
    """Prints the families, their pools and what is unwise; fails with one sentence on a broken file."""
    catalogue = load_catalogue(file)
    table = Table("family", "variant", "permitted", "energy mJ", "error", "metric", "provenance")
    for name, family in catalogue.families.items():
        for variant_name, variant in family.variants.items():
            table.add_row(
                name,
                variant_name,
                "yes" if variant_name in family.pool else "no",
                f"{variant.energy_mj.value:g}",
                f"{variant.error.value:g}",
                family.error_metric,
                f"{variant.energy_mj.provenance}, {variant.error.provenance}",
            )
    console = Console()
    console.print(table)
    for warning in catalogue.warnings:
        console.print(f"[yellow]warning:[/] {warning}")


@app.command()
def schema() -> None:
    """Prints the JSON Schema of a catalogue, for editors and checks."""
    typer.echo(json.dumps(Catalogue.model_json_schema(), indent=2))
