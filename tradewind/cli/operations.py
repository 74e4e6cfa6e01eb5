"""`tradewind force`, `release` and `operations`: an operator's word above every decision, and its journal."""

import contextlib
import getpass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer
from rich.console import Console

from tradewind.calling import Way
from tradewind.cli.reaching import reaching, refusal
from tradewind.errors import InvalidInput, NotReady, TradewindError
from tradewind.readings import format_time, parse_time
from tradewind.settings import parse_duration

_TIMEOUT_S = 10.0

Proxy = Annotated[str, typer.Option(help="host:port of the inference proxy.", envvar="TRADEWIND_REPORT_PROXY")]
Why = Annotated[str, typer.Option(help="The reason; it is written down.")]


@reaching
def force(
    *,
    family: Annotated[str, typer.Argument(help="The family.")],
    variant: Annotated[str, typer.Argument(help="The variant that is to serve it.")],
    until: Annotated[str, typer.Option(help="How long (30m, 2h) or until when (2026-06-01T12:00:00Z).")],
    why: Why,
    proxy: Proxy = "127.0.0.1:8001",
    way: Way,
) -> None:
    """Serves a family by one variant until a time, whatever is decided."""
    from tradewind.messages import timestamp
    from tradewind.rpc.v1 import operations_pb2

    end = end_of(until)
    _call(
        proxy,
        way,
        "ForceVariant",
        operations_pb2.ForceVariantRequest(
            family=family, variant=variant, until=timestamp(end), operator=getpass.getuser(), why=why
        ),
    )
    Console().print(f"{family} is served by {variant} until {format_time(end)}", soft_wrap=True)


@reaching
def release(
    *,
    family: Annotated[str, typer.Argument(help="The family.")],
    why: Why,
    proxy: Proxy = "127.0.0.1:8001",
    way: Way,
) -> None:
    """Lets a family follow decisions again, before its force ends."""
    from tradewind.rpc.v1 import operations_pb2

    request = operations_pb2.ReleaseVariantRequest(family=family, operator=getpass.getuser(), why=why)
    released = _call(proxy, way, "ReleaseVariant", request).released
    Console().print(f"{family} follows decisions again" if released else f"{family} was not forced")


@reaching
def operations(
    *,
    at_most: Annotated[int, typer.Option(min=1, max=1_000, help="How many entries of the journal.")] = 20,
    proxy: Proxy = "127.0.0.1:8001",
    way: Way,
) -> None:
    """Shows what each family follows now, and what operators did, newest first."""
    from tradewind.rpc.v1 import operations_pb2

    states = _call(proxy, way, "ListStates", operations_pb2.ListStatesRequest()).states
    journal = _call(proxy, way, "ListOperations", operations_pb2.ListOperationsRequest(at_most=at_most)).operations
    for state in states:
        typer.echo(standing(state))
    typer.echo("" if journal else "\nno operator has forced or released anything")
    for operation in journal:
        typer.echo(entry(operation))


def standing(state: Any) -> str:
    """How a family stands, as one line."""
    if state.HasField("forced_variant"):
        follows = f"forced to {state.forced_variant} until {_second(state.forced_until)}"
    elif not state.decision:
        follows = "has heard no decision yet"
    elif state.observes:
        follows = f"only observes decision {state.decision}; the fallback variant serves"
    else:
        share = "" if state.rollout_pct >= 100 else f" with {state.rollout_pct:g} % of the requests"
        follows = f"follows decision {state.decision}{share}"
    return f"{state.family}: {follows}; ready: {', '.join(state.ready) or 'no variant'}"


def entry(operation: Any) -> str:
    """One entry of the journal, as one line."""
    done = f"released {operation.family}"
    if operation.HasField("until"):
        done = f"forced {operation.family} to {operation.variant} until {_second(operation.until)}"
    return f"{_second(operation.at)}  {operation.operator} {done}: {operation.why}"


def _second(stamp: Any) -> str:
    from tradewind.messages import moment

    return format_time(moment(stamp).replace(microsecond=0))


def end_of(text: str) -> datetime:
    """A time from a duration from now or from a time; InvalidInput shows both forms."""
    with contextlib.suppress(ValueError, OverflowError):
        span = parse_duration(text)
        if isinstance(span, timedelta):
            return datetime.now(UTC) + span
    try:
        return parse_time(text, "--until")
    except InvalidInput as error:
        raise InvalidInput(
            f"--until {text[:40]!r} is neither how long, such as 30m or 2h, nor a time with a zone, such as "
            "2026-06-01T12:00:00Z"
        ) from error


def _call(proxy: str, way: Way, method: str, request: Any) -> Any:
    import grpc

    from tradewind.rpc.v1 import operations_pb2_grpc

    with way.blocking_channel(proxy) as channel:
        try:
            return getattr(operations_pb2_grpc.OperationsStub(channel), method)(request, timeout=_TIMEOUT_S)
        except grpc.RpcError as error:
            raise _in_our_words(error, proxy) from error


def _in_our_words(error: Any, proxy: str) -> TradewindError:
    import grpc

    if (refused := refusal(error)) is not None:
        return refused
    if error.code() in {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND}:
        return InvalidInput(error.details())
    return NotReady(f"no inference proxy answers at {proxy} ({error.code().name}): start it, or give --proxy")
