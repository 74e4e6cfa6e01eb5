"""The `tradewind` command: one module per subcommand, each importing what is heavy only when it runs."""

import sys

import typer

from tradewind.cli import carbon, catalogue, models, simulate, stack
from tradewind.cli.explain import explain
from tradewind.cli.health import health
from tradewind.cli.migrate import migrate
from tradewind.cli.operations import force, operations, release
from tradewind.cli.profile import profile
from tradewind.cli.report import report
from tradewind.errors import TradewindError

app = typer.Typer(
    name="tradewind",
    help="A carbon-aware switch in front of NVIDIA Triton.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command()(stack.demo)
app.command()(stack.up)
app.command()(report)
app.command()(force)
app.command()(release)
app.command()(operations)
app.command()(explain)
app.add_typer(simulate.app, name="simulate")
app.command()(profile)
app.command()(migrate)
app.command()(health)
app.command()(carbon.zones)
app.command()(carbon.intensity)
app.command()(carbon.publish)
app.command()(carbon.quarantined)
app.command()(carbon.judge)
app.command(add_help_option=False, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(
    carbon.fetch
)
app.add_typer(catalogue.app, name="catalogue")
app.add_typer(models.app, name="models")


def main() -> None:
    """Runs the command; what a user can mend is one sentence on stderr and exit code 2."""
    try:
        app()
    except TradewindError as error:
        print(f"tradewind: {error}", file=sys.stderr)
        sys.exit(2)
