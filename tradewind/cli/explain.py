"""`tradewind explain`: the decisions in force, each in numbers and in one sentence."""

from typing import Annotated

import grpc
import typer
from rich.console import Console
from rich.table import Table

from tradewind.calling import Way
from tradewind.cli.reaching import reaching, refusal
from tradewind.errors import InvalidInput, NotFound, NotReady, TradewindError
from tradewind.rpc.v1 import selector_pb2, selector_pb2_grpc


@reaching
def explain(
    *,
    address: Annotated[str, typer.Option("--selector", help="host:port of the selector.")] = "127.0.0.1:9102",
    zone: Annotated[str, typer.Option(help="Only this grid zone; every one otherwise.")] = "",
    family: Annotated[str, typer.Option(help="Only this family; every one otherwise.")] = "",
    timeout: Annotated[float, typer.Option(help="Seconds to wait for the answer.")] = 5.0,
    way: Way,
) -> None:
    """Prints what is decided, from what, and why."""
    with way.blocking_channel(address) as channel:
        try:
            decisions = _decisions(selector_pb2_grpc.SelectorStub(channel), zone, family, timeout)
        except grpc.RpcError as error:
            raise _refusal(error, address) from error
    if not decisions:
        raise NotReady(f"the selector at {address} has decided nothing yet: it has heard of no zone")
    console = Console(soft_wrap=True)
    for index, decision in enumerate(decisions):
        if index:
            console.print()
        console.print(_table(decision))
        console.print(decision.explanation, highlight=False, markup=False)


def _decisions(
    selector: selector_pb2_grpc.SelectorStub, zone: str, family: str, timeout: float
) -> list[selector_pb2.Decision]:
    if zone and family:
        request = selector_pb2.DecideRequest(zone=zone, family=family)
        return [selector.Decide(request, timeout=timeout).decision]
    watch = selector_pb2.WatchDecisionsRequest(zones=[zone] if zone else [], families=[family] if family else [])
    snapshot = next(iter(selector.WatchDecisions(watch, timeout=timeout))).snapshot
    return sorted(snapshot.decisions, key=lambda decision: (decision.zone, decision.family))


def _refusal(error: grpc.RpcError, address: str) -> TradewindError:
    """The selector's own sentence where it gave one."""
    code, said = error.code(), error.details() or ""
    if (refused := refusal(error)) is not None:
        return refused
    if code is grpc.StatusCode.NOT_FOUND:
        return NotFound(said)
    if code is grpc.StatusCode.INVALID_ARGUMENT:
        return InvalidInput(said)
    if code is grpc.StatusCode.FAILED_PRECONDITION and said:
        return NotReady(said)
    return NotReady(f"the selector at {address} does not answer: is it running, and is the address right?")


def _table(decision: selector_pb2.Decision) -> Table:
    table = Table(show_header=False, box=None)
    mix = ", ".join(f"{share.variant} {share.weight:.1%}" for share in decision.mix)
    reason = selector_pb2.DecisionReason.Name(decision.reason).removeprefix("DECISION_REASON_").lower()
    table.add_row("decision", f"{decision.id} (revision {decision.revision})")
    table.add_row("zone, family", f"{decision.zone}, {decision.family}")
    table.add_row("mix", mix)
    table.add_row("policy, reason", f"{decision.policy}, {reason}")
    table.add_row("valid", f"{_time(decision.valid_from)} to {_time(decision.valid_until)}")
    if decision.HasField("current"):
        table.add_row("intensity", f"{decision.current.intensity_g_per_kwh:g} g/kWh ({decision.current.source})")
    if decision.HasField("range"):
        span = decision.range
        full = "" if span.full else ", not yet full"
        low, high = f"{span.low_g_per_kwh:g}", f"{span.high_g_per_kwh:g}"
        table.add_row("range", f"{low} to {high} g/kWh over {span.readings} readings{full}")
    for name, value in sorted(decision.figures.items()):
        table.add_row(name, f"{value:.6g}")
    return table


def _time(moment: object) -> str:
    return f"{moment.ToDatetime():%Y-%m-%d %H:%M:%S} UTC"  # type: ignore[attr-defined]
