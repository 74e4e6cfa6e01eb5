"""Memory and errors of the proxy under hours of load: `python -m bench soak --minutes 30`, alone because it takes long.

A real Triton, broker, selector and database stand behind the proxy; a grid says a new intensity every few seconds, so
that decisions change all the time. Capacity is measured first, then a paced load of a share of it asks in every way
there is: unary with and without requirements, of many tenants, on streams and over HTTP. What was answered is compared
with the ledger at the end.
"""

import argparse
import asyncio
import itertools
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from rich.console import Console
from rich.table import Table
from sqlalchemy import func, select

from bench.soak_load import FAMILY, TENANT_KEY, Clients, Count, burst, capacity, pace
from inference_proxy.store import ledger, unattributed
from local_stack.broker import Broker
from local_stack.services import Service
from local_stack.triton import PROJECT, Triton
from tradewind import topics
from tradewind.database import open_engine, reading
from tradewind.errors import StartupError
from tradewind.migrate import upgrade
from tradewind.readings import Reading, ReadingKind, Signal, to_json

FLAT = 0.05
"""How far memory may grow beyond what it was after the warm-up; what it gives back is no growth."""

_ZONE = "GB"
_SAMPLE_S, _GRID_S = 2.0, 15.0
_MODELS = PROJECT / "tests" / "triton_models"
_FIGURES = "energy_mj: {{value: {}, provenance: estimated}}, error: {{value: {}, provenance: estimated}}"
_CATALOGUE = f"""
families:
  {FAMILY}:
    error_metric: error_pct
    pool: [small, medium, large]
    variants:
      small: {{model: ident_small, {_FIGURES.format(100, 10)}}}
      medium: {{model: ident_medium, {_FIGURES.format(300, 6)}}}
      large: {{model: ident_large, {_FIGURES.format(900, 3)}}}
"""


@dataclass(frozen=True)
class Sample:
    """What the processes held at one moment, in bytes."""

    at_s: float
    anonymous: dict[str, int]
    """What no file holds: pages of programs and libraries come and go with other processes that use them."""
    pss: dict[str, int]
    rss: dict[str, int]
    spool: int


@dataclass(frozen=True)
class Finding:
    """What a run came to."""

    front: str
    minutes: float
    capacity_per_s: float
    rate_per_s: float
    requests: int
    errors: dict[str, int]
    skipped: int
    cpu_us_per_request: float
    memory: dict[str, dict[str, float]]
    largest_spool_bytes: int
    spool_bytes_at_the_end: int
    inferences_answered: int
    inferences_recorded: int
    flat: bool


class Stand:
    """All the processes, and how to ask the proxy."""

    def __init__(self, directory: Path, front: str, stack: ExitStack) -> None:
        self.directory, self.front = directory, front
        triton, broker = Triton(directory, _MODELS), Broker(directory)
        for each in (triton, broker):
            stack.callback(each.stop)
            each.start()
        self._publisher = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self._publisher.connect("127.0.0.1", broker.port)
        self._publisher.loop_start()
        stack.callback(self._publisher.loop_stop)
        catalogue = directory / "catalogue.yaml"
        catalogue.write_text(_CATALOGUE, encoding="utf-8")
        self.database_url = f"sqlite:///{directory / 'tradewind.db'}"
        upgrade(self.database_url)
        common = {
            "TRADEWIND_DATABASE_URL": self.database_url,
            "TRADEWIND_BROKER_URL": broker.url,
            "TRADEWIND_CATALOGUE": str(catalogue),
        }
        self.selector = Service(
            "selector_service",
            directory,
            common | {"TRADEWIND_SELECTOR_ZONES": _ZONE, "TRADEWIND_SELECTOR_METRICS_PORT": "0"},
            "TRADEWIND_SELECTOR_LISTEN",
        )
        stack.callback(self.selector.stop)
        self.selector.start()
        self.proxy = Service(
            "inference_proxy",
            directory,
            common
            | {
                "TRADEWIND_PROXY_FRONT": front,
                "TRADEWIND_PROXY_ENVOY_WORKERS": "1",
                "TRADEWIND_PROXY_TRITON_GRPC": triton.grpc,
                "TRADEWIND_PROXY_TRITON_HTTP": triton.http,
                "TRADEWIND_PROXY_SELECTOR": self.selector.address,
                "TRADEWIND_PROXY_METRICS_PORT": "0",
                "TRADEWIND_PROXY_TENANT_KEY": TENANT_KEY,
                "TRADEWIND_PROXY_SPOOL_DIRECTORY": str(directory / "spool"),
            },
            "TRADEWIND_PROXY_LISTEN",
            "TRADEWIND_PROXY_HTTP_LISTEN",
        )
        stack.callback(self.proxy.stop)
        self.proxy.start()

    def say(self, number: int) -> None:
        """The grid's next intensity: up and down, never the same for long."""
        begins = datetime.now(UTC)
        said = Reading(
            zone=_ZONE,
            valid_from=begins,
            valid_to=begins + timedelta(seconds=4 * _GRID_S),
            intensity_g_per_kwh=150.0 + 100.0 * ((number * 7) % 11) / 10,
            kind=ReadingKind.ACTUAL,
            signal=Signal.AVERAGE,
            source="bench",
            published_at=begins,
        )
        self._publisher.publish(topics.intensity(_ZONE), to_json(said), qos=1, retain=True)

    def sample(self, begun_s: float) -> Sample:
        """Memory and spool now."""
        pids = {"selector": [self.selector.child.pid]}
        for pid in process_tree(self.proxy.child.pid):
            pids.setdefault("Envoy" if "envoy" in _name(pid) else "proxy", []).append(pid)
        held = {name: [_memory(pid) for pid in each] for name, each in pids.items()}
        return Sample(
            at_s=time.monotonic() - begun_s,
            anonymous={name: sum(one["Pss_Anon"] for one in each) for name, each in held.items()},
            pss={name: sum(one["Pss"] for one in each) for name, each in held.items()},
            rss={name: sum(one["Rss"] for one in each) for name, each in held.items()},
            spool=_spool_bytes(self.directory / "spool"),
        )

    def recorded(self) -> int:
        """Inferences in the ledger."""
        engine = open_engine(self.database_url)
        try:
            with reading(engine) as connection:
                return sum(
                    connection.execute(select(func.coalesce(func.sum(table.c.inferences), 0))).scalar_one()
                    for table in (ledger, unattributed)
                )
        finally:
            engine.dispose()


def process_tree(pid: int) -> list[int]:
    """A process and its descendants."""
    found = [pid]
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            for child in children.read_text().split():
                found.extend(process_tree(int(child)))
    return found


def _cpu_s(pid: int) -> float:
    """Seconds of CPU that a process and its descendants have used."""
    total = 0
    for process in process_tree(pid):
        with suppress(OSError):
            fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def _name(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8")
    return ""


def _memory(pid: int) -> dict[str, int]:
    """Anonymous memory, PSS and RSS of a process; nothing of one that has just ended."""
    found = {"Pss_Anon": 0, "Pss": 0, "Rss": 0}
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines():
            name, _, rest = line.partition(":")
            if name in found:
                found[name] = int(rest.split()[0]) * 1024
    return found


def _spool_bytes(directory: Path) -> int:
    total = 0
    for path in directory.rglob("*.records"):
        with suppress(OSError):
            total += path.stat().st_blocks * 512  # What it takes of the disk: a file may be longer than it is full.
    return total


@contextmanager
def standing(front: str) -> Iterator[Stand]:
    """The processes of one run."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        yield Stand(Path(folder), front, stack)


async def _every(interval_s: float, work: Callable[[int], Any]) -> None:
    for number in itertools.count():
        await asyncio.to_thread(work, number)
        await asyncio.sleep(interval_s)


async def soak(stand: Stand, minutes: float, share: float, rate: float | None) -> tuple[Finding, list[Sample]]:
    """One run; what it came to, and memory over time."""
    clients, count, samples = Clients(stand.proxy.address, str(stand.proxy.http_address)), Count(), list[Sample]()
    grid = asyncio.create_task(_every(_GRID_S, stand.say))
    try:
        most = await capacity(clients, count)
        await burst(clients, count)
        rate = rate or most * share
        before_cpu, before, begun = _cpu_s(stand.proxy.child.pid), count.answered, time.monotonic()
        looking = asyncio.create_task(_every(_SAMPLE_S, lambda _: samples.append(stand.sample(begun))))
        await pace(clients, rate, begun + minutes * 60, count)
        looking.cancel()
        cpu = (_cpu_s(stand.proxy.child.pid) - before_cpu) / max(count.answered - before, 1)
        recorded = await _settled(stand, count.inferences)
    finally:
        grid.cancel()
        await clients.close()
    memory = drift(samples, minutes * 60)
    finding = Finding(
        front=stand.front,
        minutes=minutes,
        capacity_per_s=round(most, 1),
        rate_per_s=round(rate, 1),
        requests=count.answered,
        errors=dict(count.errors),
        skipped=count.skipped,
        cpu_us_per_request=round(cpu * 1e6, 1),
        memory=memory,
        largest_spool_bytes=max(each.spool for each in samples),
        spool_bytes_at_the_end=_spool_bytes(stand.directory / "spool"),
        inferences_answered=count.inferences,
        inferences_recorded=recorded,
        flat=all(each["change"] <= FLAT for each in memory.values()),
    )
    return finding, samples


async def _settled(stand: Stand, answered: int) -> int:
    """The ledger's count once it has all that was answered, or does not get more for a while."""
    last, patience = -1, 20
    while patience:
        found = await asyncio.to_thread(stand.recorded)
        if found >= answered:
            return found
        patience = 20 if found > last else patience - 1
        last = found
        await asyncio.sleep(0.5)
    return last


def drift(samples: list[Sample], whole_s: float) -> dict[str, dict[str, float]]:
    """Of each process: memory after the warm-up (a fifth, at most five minutes) and at the end, in MB, and how far off.

    Each end is the median over a tenth of the run, so that one sample's luck decides nothing.
    """
    warm_s, tenth_s = min(whole_s / 5, 300.0), whole_s / 10
    found = {}
    for name in samples[-1].anonymous:
        then = [each for each in samples if warm_s <= each.at_s <= warm_s + tenth_s and name in each.anonymous]
        last = [each for each in samples if each.at_s >= whole_s - tenth_s and name in each.anonymous]
        later = [each.anonymous[name] for each in samples if each.at_s >= warm_s and name in each.anonymous]
        if not then or not last:
            sys.exit("bench soak: too short for a single look at memory after the warm-up: give more minutes")
        warm, end = (statistics.median(each.anonymous[name] for each in part) for part in (then, last))
        found[name] = {"change": round(end / warm - 1, 4), "largest_change": 0.0}
        found[name]["largest_change"] = round(max(abs(each / warm - 1) for each in later), 4)
        for when, part in (("after_warm_up", then), ("at_the_end", last)):
            for kind in ("anonymous", "pss", "rss"):
                middle = statistics.median(getattr(each, kind)[name] for each in part)
                found[name][f"{when}_{kind}_mb"] = round(middle / 1e6, 2)
    return found


def show(finding: Finding, console: Console) -> None:
    """The finding for people."""
    columns = ("process", "anonymous after warm-up", "at the end", "change", "largest", "PSS", "RSS at the end")
    table = Table(*columns, title=f"Memory in MB, {finding.front} front")
    for name, each in finding.memory.items():
        ends = (f"{each[f'{when}_anonymous_mb']}" for when in ("after_warm_up", "at_the_end"))
        whole = (f"{each[f'at_the_end_{kind}_mb']}" for kind in ("pss", "rss"))
        table.add_row(name, *ends, f"{each['change']:+.1%}", f"{each['largest_change']:.1%}", *whole)
    console.print(table)
    errors = ", ".join(f"{count} {name}" for name, count in finding.errors.items()) or "none"
    console.print(
        f"{finding.requests} requests at {finding.rate_per_s:g}/s for {finding.minutes:g} minutes "
        f"(capacity measured: {finding.capacity_per_s:g}/s), {finding.cpu_us_per_request:g} µs of CPU each; "
        f"errors: {errors}; not sent: {finding.skipped}",
        f"spool: at most {finding.largest_spool_bytes / 1e6:.1f} MB, "
        f"{finding.spool_bytes_at_the_end / 1e6:.1f} MB at the end; "
        f"inferences answered {finding.inferences_answered}, recorded {finding.inferences_recorded}",
        f"memory at most {FLAT:.0%} above what it was after the warm-up: {'yes' if finding.flat else 'NO'}",
        sep="\n",
        soft_wrap=True,
    )


def main(arguments: list[str]) -> None:
    """Runs each front in turn; exit status 1 where memory is not flat, or anything failed or was not recorded."""
    parser = argparse.ArgumentParser(prog="python -m bench soak", description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=30.0, help="of load for each front (default: 30)")
    parser.add_argument(
        "--front", action="append", choices=["python", "envoy"], help="default: python; may be repeated"
    )
    parser.add_argument(
        "--share", type=float, default=0.5, help="of the capacity that is measured first (default: 0.5)"
    )
    parser.add_argument("--rate", type=float, help="requests a second, instead of a share of the capacity")
    given, console = parser.parse_args(arguments), Console()
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    good = True
    for front in given.front or ["python"]:
        try:
            with standing(front) as stand:
                finding, samples = asyncio.run(soak(stand, given.minutes, given.share, given.rate))
        except StartupError as error:
            sys.exit(f"bench soak: {error}")
        show(finding, console)
        path = results / f"soak-{front}.json"
        content = asdict(finding) | {"samples": [asdict(each) for each in samples]}
        path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        console.print(f"written to {path}", soft_wrap=True)
        good &= finding.flat and not finding.errors and finding.inferences_recorded >= finding.inferences_answered
    sys.exit(0 if good else 1)
