"""`tradewind report`: what was served and what it cost, asked of the inference proxy's ledger."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from tradewind.calling import Way
from tradewind.cli.reaching import reaching, refusal
from tradewind.errors import InvalidInput, NotReady, TradewindError
from tradewind.readings import parse_time

_TIMEOUT_S = 60.0
_COARSER = (("day", timedelta(days=8)), ("hour", timedelta(hours=4)))
"""By which period a picture is drawn, where from its first to its last is at least so long; by the minute otherwise."""


class Format(StrEnum):
    """How the report is written."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


@reaching
def report(
    *,
    by: Annotated[
        str,
        typer.Option(
            help="Comma-separated: minute, hour, day, family, variant, zone, tenant; empty for the total alone."
        ),
    ] = "family,variant",
    proxy: Annotated[
        str, typer.Option(help="host:port of the inference proxy.", envvar="TRADEWIND_REPORT_PROXY")
    ] = "127.0.0.1:8001",
    begins: Annotated[str, typer.Option("--from", help="Beginning, such as 2026-06-01T00:00:00Z.")] = "",
    ends: Annotated[str, typer.Option("--to", help="End, not included.")] = "",
    family: Annotated[str, typer.Option(help="Only this family.")] = "",
    output: Annotated[Format, typer.Option("--format", help="table, csv or json.")] = Format.TABLE,
    png: Annotated[Path | None, typer.Option(help="Draws the grams over time by variant into this file too.")] = None,
    way: Way,
) -> None:
    """Prints inferences, energy and emissions, beside always-smallest and always-largest."""
    from tradewind.cli.report_text import as_csv, as_mapping, print_table

    groups = [group.strip() for group in by.split(",") if group.strip()]
    first = parse_time(begins, "--from") if begins else None
    last = parse_time(ends, "--to") if ends else None
    ask = partial(_ask, proxy, way, first, last, family)
    answer = ask(groups)
    if output is Format.TABLE:
        print_table(answer, groups)
    elif output is Format.CSV:
        typer.echo(as_csv(answer, groups), nl=False)
    else:
        typer.echo(json.dumps(as_mapping(answer, groups), indent=2))
    if png is not None:
        _draw(png, ask)


def _draw(png: Path, ask: Callable[[list[str]], Any]) -> None:
    """A picture of the span, by the period that shows it best."""
    from tradewind.cli.report_plot import plot_report

    if png.suffix.lower() != ".png":
        raise InvalidInput(f"--png {png}: it is written as PNG, let its name end in .png")
    period = next((coarse for coarse, length in _COARSER if _length(ask([coarse])) >= length), "minute")
    answer = ask([period, "family", "variant"])
    if not answer.rows:
        raise InvalidInput("nothing was served in this span of time: there is nothing to draw")
    try:
        plot_report(png, answer, period)
    except OSError as error:
        raise InvalidInput(f"{png} cannot be written: {error.strerror}") from error
    typer.echo(f"wrote {png}", err=True)


def _length(answer: Any) -> timedelta:
    """From the first period to the last."""
    begins = [parse_time(row.group[0]) for row in answer.rows]
    return max(begins) - min(begins) if begins else timedelta()


def _ask(proxy: str, way: Way, begins: datetime | None, ends: datetime | None, family: str, groups: list[str]) -> Any:
    import grpc

    from tradewind.messages import timestamp
    from tradewind.rpc.v1 import emissions_pb2, emissions_pb2_grpc

    request = emissions_pb2.GetReportRequest(group_by=groups, family=family)
    for name, moment in (("from", begins), ("to", ends)):
        if moment is not None:
            getattr(request, name).CopyFrom(timestamp(moment))
    with way.blocking_channel(proxy, [("grpc.max_receive_message_length", -1)]) as channel:
        try:
            return emissions_pb2_grpc.EmissionsStub(channel).GetReport(request, timeout=_TIMEOUT_S)
        except grpc.RpcError as error:
            raise _in_our_words(error, proxy) from error


def _in_our_words(error: Any, proxy: str) -> TradewindError:
    import grpc

    code = error.code()
    if (refused := refusal(error)) is not None:
        return refused
    if code in {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND} or (
        code is grpc.StatusCode.UNAVAILABLE and "ledger" in (error.details() or "")
    ):
        return InvalidInput(error.details())
    return NotReady(f"no inference proxy answers at {proxy} ({code.name}): start it, or give its address with --proxy")
