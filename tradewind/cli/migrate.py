"""`tradewind migrate`: brings a database to the newest tables."""

from typing import Annotated

import typer
from rich.console import Console


def migrate(
    database: Annotated[
        str, typer.Option(help="sqlite:///file.db or postgresql://…", envvar="TRADEWIND_DATABASE_URL")
    ] = "sqlite:///tradewind.db",
) -> None:
    """Creates or upgrades the tables of every service; safe to run from several places at once."""
    from tradewind.migrate import upgrade

    revision = upgrade(database)
    Console().print(f"database is at revision {revision}")
