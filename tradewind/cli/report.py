"""`tradewind report`: what was served and what it cost, asked of the inference proxy's ledger."""

import csv
import io
import json
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from tradewind.errors import InvalidInput, NotReady, TradewindError
from tradewind.readings import parse_time

_TIMEOUT_S = 60.0
_UJ_PER_J = 1_000_000
_MASS_UNITS = (("t", 1e-6), ("kg", 1e-3), ("g", 1.0), ("mg", 1e3), ("µg", 1e6), ("ng", 1e9))


class Format(StrEnum):
    """How the report is written."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


def report(
    by: Annotated[
        str, typer.Option(help="Comma-separated: hour, day, family, variant, zone, tenant; empty for the total alone.")
    ] = "family,variant",
    proxy: Annotated[
        str, typer.Option(help="host:port of the inference proxy.", envvar="TRADEWIND_REPORT_PROXY")
    ] = "127.0.0.1:8001",
    begins: Annotated[str, typer.Option("--from", help="Beginning, such as 2026-06-01T00:00:00Z.")] = "",
    ends: Annotated[str, typer.Option("--to", help="End, not included.")] = "",
    family: Annotated[str, typer.Option(help="Only this family.")] = "",
    output: Annotated[Format, typer.Option("--format", help="table, csv or json.")] = Format.TABLE,
) -> None:
    """Prints inferences, energy and emissions, beside always-smallest and always-largest."""
    groups = [group.strip() for group in by.split(",") if group.strip()]
    answer = _ask(
        proxy,
        groups,
        parse_time(begins, "--from") if begins else None,
        parse_time(ends, "--to") if ends else None,
        family,
    )
    if output is Format.TABLE:
        _print_table(answer, groups)
    elif output is Format.CSV:
        typer.echo(_as_csv(answer, groups), nl=False)
    else:
        typer.echo(json.dumps(as_mapping(answer, groups), indent=2))


def _ask(proxy: str, groups: list[str], begins: datetime | None, ends: datetime | None, family: str) -> Any:
    import grpc

    from tradewind.messages import timestamp
    from tradewind.rpc.v1 import emissions_pb2, emissions_pb2_grpc

    request = emissions_pb2.GetReportRequest(group_by=groups, family=family)
    for name, moment in (("from", begins), ("to", ends)):
        if moment is not None:
            getattr(request, name).CopyFrom(timestamp(moment))
    with grpc.insecure_channel(proxy, options=[("grpc.max_receive_message_length", -1)]) as channel:
        try:
            return emissions_pb2_grpc.EmissionsStub(channel).GetReport(request, timeout=_TIMEOUT_S)
        except grpc.RpcError as error:
            raise _in_our_words(error, proxy) from error


def _in_our_words(error: Any, proxy: str) -> TradewindError:
    import grpc

    code = error.code()
    if code in {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND} or (
        code is grpc.StatusCode.UNAVAILABLE and "ledger" in (error.details() or "")
    ):
        return InvalidInput(error.details())
    return NotReady(f"no inference proxy answers at {proxy} ({code.name}): start it, or give its address with --proxy")


def row_mapping(row: Any, groups: list[str]) -> dict[str, Any]:
    """One row by name; what is not known is None, never zero."""
    return {
        **dict(zip(groups, row.group, strict=False)),
        "inferences": row.inferences,
        "energy_j": row.energy_uj / _UJ_PER_J,
        **{
            name: getattr(row, name) if row.HasField(name) else None
            for name in ("emissions_g", "mean_error", "always_smallest_g", "always_largest_g")
        },
        "unpriced_energy_j": row.unpriced_energy_uj / _UJ_PER_J,
        "restated_inferences": row.restated_inferences,
    }


def as_mapping(answer: Any, groups: list[str]) -> dict[str, Any]:
    """The whole report for machines."""
    return {
        "group_by": groups,
        "rows": [row_mapping(row, groups) for row in answer.rows],
        "total": row_mapping(answer.total, []),
        "pending_inferences": answer.pending_inferences,
    }


def _as_csv(answer: Any, groups: list[str]) -> str:
    rows = [row_mapping(row, groups) for row in answer.rows]
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=[*groups, *row_mapping(answer.total, [])])
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _print_table(answer: Any, groups: list[str]) -> None:
    unit, per_gram = mass_unit(answer.total)
    table = Table(
        title=f"{unit} of CO₂eq, beside always the smallest and always the largest",
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for group in groups:
        table.add_column(group, overflow="fold")
    for heading in ("served", "J", "error", unit, "smallest", "largest"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in answer.rows:
        table.add_row(*row.group, *_cells(row, per_gram))
    if groups:
        table.add_section()
        table.add_row("total", *[""] * (len(groups) - 1), *_cells(answer.total, per_gram), style="bold")
    console = Console()
    console.print(table)
    for note in notes(answer):
        console.print(note, soft_wrap=True)


def mass_unit(total: Any) -> tuple[str, float]:
    """The unit in which the largest mass of a table reads well, and how many of it a gram is."""
    known = row_mapping(total, [])
    grams = max((known[name] or 0.0 for name in ("emissions_g", "always_largest_g")), default=0.0)
    return next(((unit, per) for unit, per in _MASS_UNITS if grams * per >= 1), _MASS_UNITS[-1])


def _cells(row: Any, per_gram: float) -> list[str]:
    known = row_mapping(row, [])
    masses = (known[name] for name in ("emissions_g", "always_smallest_g", "always_largest_g"))
    return [
        f"{row.inferences:,}",
        f"{known['energy_j']:.4g}" if known["energy_j"] < 1_000 else f"{known['energy_j']:,.0f}",
        "unknown" if known["mean_error"] is None else f"{known['mean_error']:.3f}",
        *("unknown" if mass is None else f"{mass * per_gram:,.4g}" for mass in masses),
    ]


def notes(answer: Any) -> list[str]:
    """What a reader must know beside the table."""
    total, found = answer.total, []
    if total.unpriced_energy_uj:
        found.append(
            f"{total.unpriced_energy_uj / _UJ_PER_J:.3f} J were used in intervals of unknown intensity: "
            f"their grams are in no sum."
        )
    if total.restated_inferences:
        found.append(f"{total.restated_inferences} inferences are restated by a revised intensity.")
    if answer.pending_inferences:
        found.append(f"{answer.pending_inferences} inferences are spooled and not stored yet: they are in no row.")
    return found
