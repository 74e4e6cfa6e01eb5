"""`tradewind force` and `tradewind release`: an operator's word above every decision, for a while."""

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
