"""`tradewind up` and `tradewind demo`: everything on this machine, with a Triton from packages or one of your own."""

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from tradewind.errors import InvalidInput

Intensity = Annotated[
    Path | None, typer.Option(help="CSV of carbon intensity to replay; a built-in synthetic one when absent.")
]

_POLICY_OPTIONS = "TRADEWIND_SELECTOR_POLICY_OPTIONS"

_LOG_WIDTH = 110
"""Of tables that go to a file or a pipe."""


def up(
    intensity: Intensity = None,
    speed: Annotated[
        float, typer.Option(min=0.001, help="Trace time per real time; at 60 a day lasts 24 minutes.")
    ] = 60,
    replay: Annotated[bool, typer.Option(help="Whether a trace is replayed, or readings come from publishers.")] = True,
    zone: Annotated[str, typer.Option(help="The grid area that decides.")] = "local",
    database: Annotated[str, typer.Option(help="sqlite, postgres (from packages), or a database URL.")] = "sqlite",
    triton_grpc: Annotated[str | None, typer.Option(help="host:port of your own Triton; then none is started.")] = None,
    triton_http: Annotated[str | None, typer.Option(help="host:port of your own Triton's HTTP.")] = None,
    catalogue: Annotated[Path | None, typer.Option(help="Families and variants; the digits when absent.")] = None,
    policy: Annotated[str, typer.Option(help="How a variant is chosen.")] = "proportional",
    policy_options: Annotated[
        str | None, typer.Option(help="What the policy is told: key=value,key=value, such as target_error=1.5.")
    ] = None,
    state: Annotated[
        Path | None, typer.Option(help="Folder for database, spool and logs; a temporary one when absent.")
    ] = None,
) -> None:
    """Runs broker, database, Triton and the three services until Ctrl-C, and prints where they listen.

    Variables of single services, such as TRADEWIND_PROXY_FRONT or TRADEWIND_CARBON_ZONES_FILE, reach them.
    """
    from rich.console import Console
    from rich.table import Table

    from local_stack.processes import interruptible
    from local_stack.stack import DIGITS_CATALOGUE, Caretaker, Options, Stack
    from local_stack.stack import Replay as StackReplay

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_LOG_WIDTH)
    with ExitStack() as ending:
        directory = (state or Path(ending.enter_context(tempfile.TemporaryDirectory(prefix="tradewind-")))).resolve()
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidInput(f"--state {directory}: no folder can be made there; name another") from error
        told = None
        if replay:
            told = StackReplay(file=intensity or _synthetic_trace(directory), speed=speed, backfill_s=86_400)
        options = Options(
            directory=directory,
            zone=zone,
            database=database,
            window_s=86_400 / speed if replay else 86_400,
            replay=told,
            catalogue=catalogue or DIGITS_CATALOGUE,
            triton_grpc=triton_grpc,
            triton_http=triton_http,
            policy=policy,
            metrics=True,
            usual_ports=True,
            settings=_settings_of_services(policy_options),
        )
        try:
            ending.enter_context(interruptible())
            stack = ending.enter_context(Stack(options, lambda line: console.print(line, style="dim")))
            table = Table(title="Tradewind is up; Ctrl-C ends it", title_justify="left")
            table.add_column("what")
            table.add_column("where", overflow="fold")
            for row in stack.addresses():
                table.add_row(*row)
            console.print(table)
            if moved := stack.unusual_addresses():
                console.print(f"Not on the port that clients and commands expect, which is taken: {', '.join(moved)}.")
            if silent := stack.silent_triton():
                console.print(f"No Triton answers at {silent} yet: inferences fail until one does.", style="bold")
            if replay and intensity is None:
                console.print(f"The intensity of zone {zone} is synthetic; give a real trace with --intensity.")
            Caretaker(stack, console.print).watch()
        except KeyboardInterrupt:
            console.print("stopping")


def _settings_of_services(policy_options: str | None) -> dict[str, str]:
    """The caller's variables, and what the policy is told."""
    settings = {key: value for key, value in os.environ.items() if key.startswith("TRADEWIND_")}
    return settings | ({_POLICY_OPTIONS: policy_options} if policy_options is not None else {})


def demo(
    intensity: Intensity = None,
    output: Annotated[Path, typer.Option(help="Folder for the plot.")] = Path("demo-output"),
) -> None:
    """Replays a day of grid intensity in a minute against a real Triton, and says what was saved."""
    from demo.run import run_demo

    raise typer.Exit(run_demo(intensity, output))


def _synthetic_trace(directory: Path) -> Path:
    from demo.synthetic_day import write_synthetic_days

    return write_synthetic_days(directory, days=60)
