"""`tradewind zones`, `intensity`, `publish` and `quarantined`: what the carbon service knows, and telling it more."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, TypeVar
from uuid import uuid4

import grpc
import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tradewind.calling import Way
from tradewind.cli.reaching import reaching
from tradewind.errors import InvalidInput, NotReady
from tradewind.readings import ZONE_PATTERN, Reading, Signal, check_zone, format_time

ADDRESS = "127.0.0.1:9101"
Address = Annotated[
    str, typer.Option("--carbon", help="host:port of the carbon service.", envvar="TRADEWIND_CARBON_ADDRESS")
]
Broker = Annotated[str, typer.Option(help="mqtt://user:password@host:port", envvar="TRADEWIND_BROKER_URL")]

DEADLINE_S = 10.0
NEXT_TAKES = timedelta(seconds=2)
"""How long after a reading's end the next one may be told without the zone being called stale."""
T = TypeVar("T")


@reaching
def zones(*, carbon: Address = ADDRESS, way: Way) -> None:
    """Lists the zones with their current intensity, their sources and what the gate has held back."""
    from tradewind.rpc.v1 import carbon_pb2

    response = _ask(carbon, way, lambda stub: stub.ListZones(carbon_pb2.ListZonesRequest(), timeout=DEADLINE_S))
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in ("zone", "g/kWh", "kind", "signal", "since", "readings", "held", "sources"):
        table.add_column(heading, overflow="fold")
    for zone in response.zones:
        table.add_row(zone.zone, *_current_cells(zone), str(zone.readings), str(zone.quarantined), _sources(zone))
    console = Console()
    console.print(table)
    for zone in response.zones:
        for each in zone.source_health:
            if not each.healthy:
                console.print(f"{zone.zone}: {each.source} fails: {each.problem}", markup=False, highlight=False)


@reaching
def intensity(
    *,
    zone: Annotated[str, typer.Argument(help="A zone, for example GB-SWE.")],
    watch: Annotated[bool, typer.Option("--watch", help="Goes on with every change, until Ctrl-C.")] = False,
    signal: Annotated[Signal | None, typer.Option(help="The signal, where not the one that it announces.")] = None,
    carbon: Address = ADDRESS,
    way: Way,
) -> None:
    """Prints a zone's current intensity with its age and where it comes from."""
    from tradewind.messages import signal_to_wire
    from tradewind.rpc.v1 import carbon_pb2

    check_zone(zone)
    if watch and signal is not None:
        raise InvalidInput("--watch follows the signal that the zone announces: leave out --signal")
    if watch:
        _run(_watch(carbon, way, zone), carbon)
        return
    request = carbon_pb2.GetIntensityRequest(zone=zone)
    if signal is not None:
        request.signal = signal_to_wire(signal)
    response = _ask(carbon, way, lambda stub: stub.GetIntensity(request, timeout=DEADLINE_S))
    _print_reading(response.reading, stale=response.stale, age=response.age.ToTimedelta())


def publish(
    value: Annotated[float, typer.Argument(help="g/kWh, now and until the next one.")],
    zone: Annotated[str, typer.Option(help="The zone that it is about.")],
    publisher: Annotated[
        str | None, typer.Option(help="Who says it; the broker's user name when it is not given.")
    ] = None,
    broker_url: Broker = "mqtt://127.0.0.1:1883",
) -> None:
    """Says an observation on the bus, as an edge publisher does."""
    from tradewind.bus import parse_broker_url

    address = parse_broker_url(broker_url)
    name = publisher or address.username or "cli"
    if not ZONE_PATTERN.fullmatch(name):
        raise InvalidInput(f"publisher {name!r}: use 1 to 64 letters, digits, '_', '.' or '-'")
    said = f"{value:.12g}"
    _run(_publish(broker_url, name, check_zone(zone), said))
    Console().print(f"{name} said {said} g/kWh of {zone}; the gate judges it: tradewind intensity {zone}")


@reaching
def quarantined(
    *,
    zone: Annotated[str, typer.Argument(help="A zone; every one when it is not given.")] = "",
    rows: Annotated[int, typer.Option(help="How many, newest first.", min=1, max=10_000)] = 50,
    carbon: Address = ADDRESS,
    way: Way,
) -> None:
    """Lists what the gate did not believe, and why."""
    from tradewind.messages import moment
    from tradewind.rpc.v1 import carbon_pb2

    request = carbon_pb2.ListQuarantinedRequest(zone=zone, page_size=rows)
    response = _ask(carbon, way, lambda stub: stub.ListQuarantined(request, timeout=DEADLINE_S))
    if not response.quarantined:
        typer.echo(f"nothing is held back{f' of zone {zone}' if zone else ''}")
    console = Console(highlight=False)
    for row in response.quarantined:
        last = format_time(moment(row.last_at).replace(microsecond=0))
        often = f", {row.times} times" if row.times > 1 else ""
        later = ", accepted later" if row.HasField("released_at") else ""
        console.print(
            Text.assemble((f"{last} zone {row.zone}, source {row.source}: {row.reason}{often}{later}", "bold"))
        )
        console.print(Padding(Text(f"{row.explanation}\nsaid: {row.excerpt}"), (0, 0, 0, 2)))


def judge(
    file: Annotated[Path, typer.Argument(help="A CSV of intensities.")],
    time_column: Annotated[str | None, typer.Option(help="Its column of times, where that is not clear.")] = None,
    value_column: Annotated[str | None, typer.Option(help="Its column of g/kWh, where that is not clear.")] = None,
    persist_periods: Annotated[int, typer.Option(help="Intervals after which a jump is a new level.", min=0)] = 3,
) -> None:
    """Tells what the gate would hold back of a trace, and why."""
    from tradewind.plausibility import GateLimits, judge_trace
    from tradewind.traces import read_trace

    trace = read_trace(file, time_column, value_column)
    rows = [(trace.moment(row), trace.value(row)) for row in range(len(trace))]
    result = judge_trace(rows, timedelta(seconds=trace.interval_s), GateLimits(persist_periods=persist_periods))
    table = Table("from", "g/kWh", "reason", "explanation")
    for each in result.quarantined:
        value = "" if each.value is None else f"{each.value:g}"
        table.add_row(format_time(each.valid_from), value, each.reason, each.explanation)
    console = Console()
    console.print(table)
    judged = len(rows) - sum(each.reason in {"blank", "zero"} for each in result.quarantined)
    held = sum(each.reason not in {"blank", "zero"} for each in result.quarantined)
    console.print(
        f"{len(rows)} rows: {result.accepted} accepted, {len(result.quarantined)} held back; "
        f"{held} of the {judged} that are neither blank nor zero ({held / max(judged, 1):.3%})"
    )


def fetch(context: typer.Context) -> None:
    """Writes a provider's history of a zone to a CSV file; goes on where it was interrupted."""
    # The service is a process of its own, also here: it alone knows the providers.
    program = [sys.executable, "-m", "carbon_service.fetching", *context.args]
    raise SystemExit(subprocess.run(program, check=False).returncode)


async def _watch(address: str, way: Way, zone: str) -> None:
    from tradewind.messages import reading_from_wire
    from tradewind.rpc.v1 import carbon_pb2, carbon_pb2_grpc

    async with way.channel(address) as channel:
        stub = carbon_pb2_grpc.CarbonStub(channel)
        responses = stub.WatchIntensity(carbon_pb2.WatchIntensityRequest(zones=[zone]))
        shown: Any = None
        async for response in _with_ends(responses):
            if response is None:
                _print_reading(shown, stale=True)
                continue
            holds = reading_from_wire(response.reading).holds_at(datetime.now(UTC))
            shown = response.reading if holds else shown
            restated = "restated" if response.restates else ""
            _print_reading(response.reading, stale=not holds and not response.restates, note=restated)


async def _with_ends(responses: AsyncIterable[Any]) -> AsyncIterator[Any]:
    """The responses; None when the reading that holds has ended and no other one has come."""
    from tradewind.messages import reading_from_wire

    incoming = aiter(responses)
    ends: datetime | None = None
    waiting = asyncio.ensure_future(anext(incoming))
    while True:
        left_s = None if ends is None else max((ends - datetime.now(UTC)).total_seconds(), 0.0)
        await asyncio.wait({waiting}, timeout=left_s)
        if not waiting.done():
            ends = None
            yield None
            continue
        try:
            response = waiting.result()
        except StopAsyncIteration:
            return
        reading = reading_from_wire(response.reading)
        if reading.holds_at(datetime.now(UTC)):
            ends = reading.valid_to + NEXT_TAKES
        yield response
        waiting = asyncio.ensure_future(anext(incoming))


async def _publish(broker_url: str, publisher: str, zone: str, payload: str) -> None:
    from tradewind import topics
    from tradewind.bus import Bus, broker_address
    from tradewind.settings import CommonSettings

    settings = CommonSettings().model_copy(update={"broker_url": broker_url})
    broker = broker_address(settings)
    bus = Bus(broker, f"tradewind-publish-{uuid4().hex[:8]}")
    bus.start()
    try:
        async with asyncio.timeout(DEADLINE_S):
            await bus.connected.wait()
            await bus.publish(topics.observation(publisher, zone), payload)
    except TimeoutError as error:
        raise NotReady(
            f"the broker at {broker.host}:{broker.port} did not take it: is it running there (--broker-url), "
            f"and are user and password right?"
        ) from error
    finally:
        await bus.stop()


def _ask(address: str, way: Way, call: Callable[[Any], Any]) -> Any:
    from tradewind.rpc.v1 import carbon_pb2_grpc

    async def ask() -> Any:
        async with way.channel(address) as channel:
            return await call(carbon_pb2_grpc.CarbonStub(channel))

    return _run(ask(), address)


def _run(work: Coroutine[Any, Any, T], address: str = ADDRESS) -> T:
    try:
        return asyncio.run(work)
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.UNAVAILABLE and not error.trailing_metadata():
            raise NotReady(
                f"no carbon service answers at {address}: start it, or say where it is with --carbon host:port"
            ) from error
        raise NotReady(error.details() or error.code().name) from error
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def _current_cells(zone: Any) -> tuple[str, str, str, str]:
    from tradewind.messages import reading_from_wire, signal_from_wire

    signal = signal_from_wire(zone.signal)
    name = "" if signal is None else signal.value
    if not zone.HasField("current"):
        return "stale", "", name, ""
    reading = reading_from_wire(zone.current)
    return f"{reading.intensity_g_per_kwh:g}", reading.kind.value, name, _short(reading)


def _sources(zone: Any) -> str:
    asked = {each.source: each for each in zone.source_health}
    names = [*asked, *(name for name in zone.sources if name not in asked)]
    return ", ".join(f"{name} (fails)" if name in asked and not asked[name].healthy else name for name in names)


def _short(reading: Reading) -> str:
    return format_time(reading.valid_from.replace(microsecond=0))


def _print_reading(message: Any, *, stale: bool = False, age: timedelta | None = None, note: str = "") -> None:
    from tradewind.messages import reading_from_wire

    reading = reading_from_wire(message)
    parts = [
        f"{reading.zone}: {reading.intensity_g_per_kwh:g} g/kWh",
        f"{reading.kind.value}, {reading.signal.value}",
        f"from {format_time(reading.valid_from)} to {format_time(reading.valid_to)}",
        f"source {reading.source}",
    ]
    parts += [f"published {age.total_seconds():.0f} s ago"] if age is not None else []
    parts += ["STALE: no reading holds now"] if stale else []
    parts += [note] if note else []
    Console(soft_wrap=True).print("; ".join(parts), highlight=False)
