"""The demo: a day of grid intensity in a minute, a real Triton behind the proxy, the accounts checked at the end."""

import asyncio
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import tritonclient.grpc as triton_grpc
from rich.console import Console

from demo.day import DAY, Charge, Clock, Hour, Tally, compare_choices, disagreements
from demo.digits import split_digits
from demo.load import Load
from demo.plot import plot_day
from demo.summary import summary_table
from demo.synthetic_day import write_synthetic_days
from demo.view import View
from local_stack.processes import interruptible
from local_stack.stack import DIGITS_CATALOGUE, Options, Replay, Stack
from tradewind.catalogue import Family, load_catalogue
from tradewind.errors import InvalidInput, StartupError
from tradewind.messages import decision_from_wire, moment
from tradewind.rpc.v1 import emissions_pb2, emissions_pb2_grpc, selector_pb2, selector_pb2_grpc
from tradewind.traces import Trace, read_trace

FAMILY = "digits"
ZONE = "DEMO"
SPEED = 1_440.0
"""A day in a minute: each half-hour lasts 1.25 s."""

LEAD_IN = timedelta(hours=3)
"""Trace time before the day, for the last service to be up and the history to be heard."""

_LOG_WIDTH = 110
_PATIENCE_S = 60.0
_SETTLE_S = 30.0


@dataclass(frozen=True)
class Scenario:
    """What is replayed."""

    file: Path
    label: str
    day_begins: datetime


def run_demo(intensity: Path | None, output: Path, *, speed: float = SPEED) -> int:
    """Runs it whole; 0 when every request was answered and the ledger agrees with Triton to the last inference."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_LOG_WIDTH)
    try:
        make_output_folder(output)
        with tempfile.TemporaryDirectory(prefix="tradewind-demo-") as name, interruptible():
            directory = Path(name)
            scenario = choose_scenario(intensity, directory)
            replay = Replay(file=scenario.file, speed=speed, backfill_s=(DAY - LEAD_IN).total_seconds())
            options = Options(directory=directory, zone=ZONE, window_s=DAY.total_seconds() / speed, replay=replay)
            with Stack(options, lambda line: console.print(line, style="dim")) as stack:
                return asyncio.run(_Demo(stack, scenario, console, speed).run(output))
    except KeyboardInterrupt:
        console.print("interrupted; everything is stopped")
        return 130


def make_output_folder(output: Path) -> None:
    """Before the day is lived, so that it is not lived in vain."""
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(f"output {output}: no folder can be made there; name another for the plot") from error


def choose_scenario(intensity: Path | None, directory: Path) -> Scenario:
    """The user's trace, or the synthetic day, which says what it is."""
    if intensity is None:
        trace = read_trace(write_synthetic_days(directory, days=3))
        return Scenario(directory / f"{trace.name}.csv", "SYNTHETIC day (no real grid)", trace.moment(0) + DAY)
    trace = read_trace(intensity)
    _require_two_days(trace, intensity)
    return Scenario(intensity, trace.name, trace.moment(0) + DAY)


def _require_two_days(trace: Trace, file: Path) -> None:
    span = trace.moment(len(trace) - 1) - trace.moment(0) + timedelta(seconds=trace.interval_s)
    if span < 2 * DAY:
        raise InvalidInput(f"{file}: the demo needs two days, one to learn and one to replay; this trace has {span}")


class _Demo:
    """One run on a running stack."""

    def __init__(self, stack: Stack, scenario: Scenario, console: Console, speed: float) -> None:
        self._stack, self._scenario, self._console, self._speed = stack, scenario, console, speed
        self._family: Family = load_catalogue(DIGITS_CATALOGUE).family(FAMILY)
        self._pool = self._family.permitted
        self._tally = Tally()
        self._clock: Clock | None = None
        self._begun = asyncio.Event()
        title = f"{scenario.label}, one day in {DAY.total_seconds() / speed:g} s"
        self._view = View(console, title, [point.variant for point in self._pool], self._tally)

    async def run(self, output: Path) -> int:
        """The day, the accounts, the table and the plot."""
        with self._view:
            clock = await self._live_the_day()
        charges = await asyncio.to_thread(self._settled_charges)
        return self._conclude(clock, charges, output)

    async def _live_the_day(self) -> Clock:
        watching = asyncio.create_task(self._watch_decisions())
        refreshing = asyncio.create_task(self._refresh())
        try:
            clock = await self._beginning(watching)
            load = Load(self._stack.proxy.address, FAMILY, split_digits().test, self._tally)
            await load.run(clock, clock.real(clock.day_begins + DAY))
        finally:
            for task in (watching, refreshing):
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
        return clock

    async def _beginning(self, watching: asyncio.Task[None]) -> Clock:
        """The clock of the day, once its first reading has been decided on."""
        begun = asyncio.create_task(self._begun.wait())
        await asyncio.wait({begun, watching}, return_when=asyncio.FIRST_COMPLETED, timeout=_PATIENCE_S)
        begun.cancel()
        if watching.done():
            watching.result()
        if self._clock is None:
            raise StartupError(f"no decision came within {_PATIENCE_S:g} s: see the logs, or try a less busy machine")
        return self._clock

    async def _watch_decisions(self) -> None:
        request = selector_pb2.WatchDecisionsRequest(zones=[ZONE], families=[FAMILY])
        async with grpc.aio.insecure_channel(self._stack.selector.address) as channel:
            async for event in selector_pb2_grpc.SelectorStub(channel).WatchDecisions(request):
                if event.HasField("decision"):
                    self._take(event.decision)

    def _take(self, message: selector_pb2.Decision) -> None:
        decision = decision_from_wire(message)
        current, summary = decision.current, decision.range
        if current is None or summary is None or current.recorded_at is None:
            return
        if not self._scenario.day_begins <= current.recorded_at < self._scenario.day_begins + DAY:
            return
        if self._clock is None:
            self._clock = Clock(current.recorded_at, current.valid_from, self._speed)
            self._begun.set()
        self._view.show(
            Hour(
                current.recorded_at,
                current.intensity_g_per_kwh,
                summary.low_g_per_kwh,
                summary.high_g_per_kwh,
                decision.heaviest_variant,
                decision.explanation,
            )
        )

    async def _refresh(self) -> None:
        while True:
            self._view.refresh()
            await asyncio.sleep(0.15)

    def _settled_charges(self) -> list[Charge]:
        """The ledger's rows once it holds every answer that a client got."""
        deadline = time.monotonic() + _SETTLE_S
        while True:
            charges = read_ledger(self._stack.proxy.address)
            recorded = sum(charge.inferences for charge in charges)
            if recorded >= self._tally.served or time.monotonic() > deadline:
                return charges
            time.sleep(0.2)

    def _conclude(self, clock: Clock, charges: list[Charge], output: Path) -> int:
        choices = compare_choices(charges, self._pool)
        self._console.print()
        self._console.print(summary_table(choices, f"{self._scenario.label}: {self._tally.served} requests"))
        self._console.print(
            "Errors are the catalogue's, weighted by requests; the answers themselves erred in "
            f"{self._tally.observed_error_pct:.2f} % of cases. Energy is estimated from CPU time."
        )
        plot = output / "demo.png"
        plot_day(plot, f"Tradewind demo: {self._scenario.label}", self._view.hours, charges, self._pool, clock)
        self._console.print(f"plot: {plot}")
        complaints = self._complaints(charges)
        for complaint in complaints:
            self._console.print(complaint, style="bold red")
        return 1 if complaints else 0

    def _complaints(self, charges: Sequence[Charge]) -> list[str]:
        ledger = {size.variant: 0 for size in self._pool}
        for charge in charges:
            ledger[charge.variant] = ledger.get(charge.variant, 0) + charge.inferences
        executed = count_executed(self._stack.triton_grpc, list(ledger))
        complaints = disagreements(ledger, executed)
        if not complaints:
            self._console.print(f"ledger and Triton agree on {sum(ledger.values())} inferences: {_listed(ledger)}")
        if self._tally.failed:
            complaints.append(f"{self._tally.failed} requests failed")
        if self._tally.served != sum(ledger.values()):
            complaints.append(f"clients got {self._tally.served} answers, the ledger has {sum(ledger.values())}")
        return complaints


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def read_ledger(proxy: str) -> list[Charge]:
    """Every row of the ledger with a known intensity."""
    charges: list[Charge] = []
    token = ""
    with grpc.insecure_channel(proxy) as channel:
        emissions = emissions_pb2_grpc.EmissionsStub(channel)
        while True:
            page = emissions.ListEmissions(emissions_pb2.ListEmissionsRequest(page_size=10_000, page_token=token))
            charges += [_charge(row) for row in page.rows if row.HasField("intensity_g_per_kwh")]
            token = page.next_page_token
            if not token:
                return charges


def _charge(row: Any) -> Charge:
    return Charge(moment(row.minute_from), row.variant, row.inferences, row.energy_uj, row.intensity_g_per_kwh)


def count_executed(triton: str, variants: Sequence[str]) -> dict[str, int]:
    """Triton's own count of the inferences of each model."""
    with triton_grpc.InferenceServerClient(triton) as client:
        return {name: client.get_inference_statistics(name).model_stats[0].inference_count for name in variants}
