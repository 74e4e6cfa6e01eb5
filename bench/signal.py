"""The signal against its budgets: observations through gate, store and bus; until their decision is in force; zones.

`python -m bench.signal` prints the figures; `python -m bench.signal FILE.csv` says a trace on the bus, blanks and zeros
included, and lists what the gate held back of it.
"""

import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import grpc
from sqlalchemy import func, select

from bench.in_force import measure_in_force
from bench.selector import Entry, Flood, a_reading, child, cpu_s, entry, flood_subscriber, publishing, selector, watch
from carbon_service import store
from carbon_service.keeper import Keeper
from carbon_service.observations import parse_observation
from carbon_service.rules import Rules
from local_stack.broker import Broker
from local_stack.postgres import Postgres
from local_stack.processes import Child
from tradewind import topics
from tradewind.database import open_engine, reading
from tradewind.migrate import upgrade
from tradewind.readings import format_time, to_json
from tradewind.rpc.v1 import carbon_pb2, carbon_pb2_grpc, selector_pb2
from tradewind.traces import read_trace

ROUNDS = 3
FLOOD_ZONES = 50
FLOOD_READINGS = 12_000
LATENCY_OBSERVATIONS = 600
READINGS_PER_ZONE = 100
BATCH = 500
TRACE_SPEED = 1440.0
PUBLISHER = "bench"


@contextmanager
def carbon(
    directory: Path, database_url: str, broker_url: str, settings: dict[str, str] | None = None
) -> Iterator[tuple[Child, int]]:
    """A carbon service as a process of its own."""
    upgrade(database_url)
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("TRADEWIND_")},
        "TRADEWIND_DATABASE_URL": database_url,
        "TRADEWIND_BROKER_URL": broker_url,
        "TRADEWIND_CARBON_LISTEN": "127.0.0.1:0",
        **(settings or {}),
    }
    with child("carbon_service", ["-m", "carbon_service"], directory, environment) as (process, port):
        yield process, port


def flood_payloads() -> list[tuple[str, bytes]]:
    """Half-hours of many zones in order of time, up to now, as one publisher says them."""
    steps = FLOOD_READINGS // FLOOD_ZONES
    first = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=30) * (steps + 1)
    said = []
    for step in range(steps):
        for zone in range(FLOOD_ZONES):
            begin = first + timedelta(minutes=30) * step
            value = 200.0 + (7 * step + zone) % 60
            payload = to_json(a_reading(f"F-{zone}", begin, value)).encode()
            said.append((topics.observation(PUBLISHER, f"F-{zone}"), payload))
    return said


async def flood_carbon(directory: Path, broker_url: str, database_url: str) -> Flood:
    """Observations per second from the first one until all are stored and the bus has heard of all."""
    with carbon(directory, database_url, broker_url) as (process, port):
        payloads = flood_payloads()
        engine = open_engine(database_url)

        def rows() -> tuple[int, int]:
            with reading(engine) as connection:
                stored = connection.execute(select(func.count()).select_from(store.readings)).scalar_one()
                waiting = connection.execute(select(func.count()).select_from(store.outbox)).scalar_one()
            return stored, waiting

        async with publishing(broker_url) as bus:
            await bus.publish(topics.observation(PUBLISHER, "PROBE"), "200")
            await current(port, "PROBE")
            started, cpu = time.perf_counter(), cpu_s(process.pid)
            window: set[asyncio.Task[None]] = set()
            for topic, payload in payloads:
                window.add(asyncio.create_task(bus.publish(topic, payload)))
                if len(window) >= 500:
                    _, window = await asyncio.wait(window, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.gather(*window)
            while rows() != (len(payloads) + 1, 0):  # noqa: ASYNC110 -- another process brings it about
                await asyncio.sleep(0.02)
            seconds, cpu = time.perf_counter() - started, cpu_s(process.pid) - cpu
        engine.dispose()
        return Flood(len(payloads) / seconds, cpu / len(payloads) * 1e6)


async def current(port: int, zone: str) -> None:
    """Returns once the zone has a reading."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = carbon_pb2_grpc.CarbonStub(channel)
        call = stub.WatchIntensity(carbon_pb2.WatchIntensityRequest(zones=[zone]))
        await asyncio.wait_for(call.read(), 20)
        call.cancel()


async def measure_flood(directory: Path, broker_url: str, databases: dict[str, Callable[[int], str]]) -> list[Entry]:
    """Gate, store and announcement of every observation, beside a bare subscriber that only counts."""
    floods: dict[str, list[Flood]] = {"subscriber": [], **{name: [] for name in databases}}
    for index in range(ROUNDS):
        floods["subscriber"].append(await flood_subscriber(directory, broker_url))
        for name, database in databases.items():
            floods[name].append(await flood_carbon(directory, broker_url, database(index)))
    rates = {name: statistics.median(each.per_s for each in found) for name, found in floods.items()}
    costs = {name: statistics.median(each.cpu_us for each in found) for name, found in floods.items()}
    rate, cost = rates["subscriber"], costs["subscriber"]
    return [
        figure
        for name in databases
        for figure in (
            entry(f"signal: observation to store and bus, {name}", rates[name], "1/s", rate, None, True),
            entry(f"signal: CPU per observation to store and bus, {name}", costs[name], "µs", cost, None, True),
        )
    ]


async def measure_latency(directory: Path, broker_url: str, engine: str, urls: tuple[str, str]) -> list[Entry]:
    """From an observation's publication, through gate, store, bus and selector, to its decision at a watcher."""
    zone = f"BENCH-OBS-{engine}"
    request = selector_pb2.WatchDecisionsRequest(zones=[zone], families=["resnet"])
    taken: list[float] = []
    with carbon(directory, urls[0], broker_url), selector(directory, urls[1], broker_url) as (_, port):
        async with publishing(broker_url) as bus, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            events = aiter(watch(channel, request))
            await anext(events)
            for index in range(LATENCY_OBSERVATIONS):
                new = a_reading(zone, datetime.now(UTC), 200.0 + index % 97)
                started = time.perf_counter()
                publication = asyncio.create_task(bus.publish(topics.observation(PUBLISHER, zone), to_json(new)))
                while True:
                    event = await asyncio.wait_for(anext(events), 10)
                    if event.decision.current.valid_from.ToDatetime(tzinfo=UTC) == new.valid_from:
                        break
                taken.append((time.perf_counter() - started) * 1e3)
                await publication
    cuts = statistics.quantiles(taken, n=100)
    return [
        entry(f"signal: observation to decision, {engine}, p50", cuts[49], "ms", None, None, True),
        entry(f"signal: observation to decision, {engine}, p99", cuts[98], "ms", None, 50.0, cuts[98] <= 50.0),
    ]


def measure_zones(directory: Path) -> list[Entry]:
    """Time and memory per reading at 10, 100 and 1 000 zones, each in a process of its own."""
    figures: dict[int, tuple[float, float]] = {}
    for zones in (10, 100, 1000):
        with child(f"zones{zones}", ["-m", "bench.signal", "--zones", str(zones)], directory) as (process, _):
            said = partial(_figures_of, process)
            figures[zones] = process.wait_until(said, timeout_s=300, what="say its figures")
    entries = []
    for zones, (time_us, memory_b) in figures.items():
        few_us, few_b = figures[10]
        entries.append(
            entry(f"signal: time per reading, {zones} zones", time_us, "µs", few_us, 1.5, time_us <= 1.5 * few_us)
        )
        entries.append(entry(f"signal: memory per reading, {zones} zones", memory_b, "B", few_b, None, True))
    return entries


def _figures_of(process: Child) -> tuple[float, float] | None:
    for line in process.output.read_text(encoding="utf-8").splitlines():
        if line.startswith("figures "):
            _, time_us, memory_b = line.split()
            return float(time_us), float(memory_b)
    return None


def resident_bytes() -> int:
    """What this process holds in memory now."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def keep_many(zones: int) -> tuple[float, float]:
    """CPU in µs and memory in bytes per reading that passes the gate into a SQLite store."""
    with tempfile.TemporaryDirectory() as folder:
        engine = open_engine(f"sqlite:///{folder}/zones.db")
        store.metadata.create_all(engine)
        keeper = Keeper(engine, Rules())
        now = datetime.now(UTC)
        first = now - timedelta(minutes=30) * (READINGS_PER_ZONE + 10)
        _keep(keeper, zones, first, range(10), now)  # Every zone is known from here on.
        memory, cpu = resident_bytes(), time.process_time()
        _keep(keeper, zones, first, range(10, READINGS_PER_ZONE + 10), now)
        cpu = time.process_time() - cpu
        memory = resident_bytes() - memory
        engine.dispose()
    count = zones * READINGS_PER_ZONE
    return cpu / count * 1e6, memory / count


def _keep(keeper: Keeper, zones: int, first: datetime, steps: range, now: datetime) -> None:
    batch: list[tuple[str, bytes]] = []
    for step in steps:
        for zone in range(zones):
            one = a_reading(f"Z{zone}", first + timedelta(minutes=30) * step, 200.0 + (7 * step + zone) % 60)
            batch.append((topics.observation(PUBLISHER, one.zone), to_json(one).encode()))
            if len(batch) == BATCH:
                _keep_batch(keeper, batch, now)
                batch.clear()
    _keep_batch(keeper, batch, now)


def _keep_batch(keeper: Keeper, batch: list[tuple[str, bytes]], now: datetime) -> None:
    claims = [parse_observation(topic, payload, False, now, timedelta(hours=1)) for topic, payload in batch]
    keeper.heard(keeper.take(claims, now).announcements)


async def say_trace(path: Path, directory: Path) -> None:
    """Says a whole trace on the bus, compressed in time, and prints what the gate made of it."""
    trace = read_trace(path)
    zone, topic = "TRACE", topics.observation(PUBLISHER, "TRACE")
    rules = directory / "zones.yaml"
    compressed = {"recent": f"{86_400 / TRACE_SPEED}s", "history": f"{7 * 86_400 / TRACE_SPEED}s"}
    rules.write_text(json.dumps({"zones": {zone: {"gate": compressed}}}))
    length = timedelta(seconds=trace.interval_s) / TRACE_SPEED
    last = datetime.now(UTC) - length
    broker = Broker(directory)
    broker.start()
    try:
        database = f"sqlite:///{directory / 'trace.db'}"
        settings = {"TRADEWIND_CARBON_ZONES_FILE": str(rules)}
        with carbon(directory, database, broker.url, settings) as (_, port):
            async with publishing(broker.url) as bus, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                stub = carbon_pb2_grpc.CarbonStub(channel)
                for row in range(len(trace)):
                    recorded_at, value = trace.moment(row), trace.value(row)
                    begin = last + (recorded_at - trace.moment(len(trace) - 1)) / TRACE_SPEED
                    said = {
                        "intensity_g_per_kwh": value,
                        "valid_from": format_time(begin),
                        "valid_to": format_time(begin + length),
                        "recorded_at": format_time(recorded_at),
                    }
                    await bus.publish(topic, json.dumps(said))
                while True:
                    zones = {each.zone: each for each in (await stub.ListZones(carbon_pb2.ListZonesRequest())).zones}
                    rows = (await stub.ListQuarantined(carbon_pb2.ListQuarantinedRequest(zone=zone))).quarantined
                    held = sum(each.times for each in rows if not each.HasField("released_at"))
                    if zone in zones and zones[zone].readings + held == len(trace):
                        break
                    await asyncio.sleep(0.1)
    finally:
        broker.stop()
    print(f"{path.name}: {len(trace)} rows on the bus, {zones[zone].readings} readings, {held} in quarantine")
    for each in reversed(rows):
        note = "accepted later" if each.HasField("released_at") else "held"
        print(f"{each.reason} ({note}): {each.excerpt}\n    {each.explanation}")


async def _measure() -> list[Entry]:
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        broker, postgres = Broker(directory), Postgres(directory)
        broker.start()
        postgres.start()
        try:
            figures = measure_zones(directory)
            for engine, urls in (
                ("SQLite", (f"sqlite:///{directory / 'carbon.db'}", f"sqlite:///{directory / 'selector.db'}")),
                ("Postgres", (postgres.create_database("carbon"), postgres.create_database("selector"))),
            ):
                figures += await measure_latency(directory, broker.url, engine, urls)
            services = ("carbon2", "selector2", "ledger2")
            each = {
                "SQLite": [f"sqlite:///{directory / name}.db" for name in services],
                "Postgres": [postgres.create_database(name) for name in services],
            }
            figures += await measure_in_force(directory, broker.url, each)
            figures += await measure_flood(
                directory,
                broker.url,
                {
                    "SQLite": lambda index: f"sqlite:///{directory / f'signal{index}.db'}",
                    "Postgres": lambda index: postgres.create_database(f"signal{index}"),
                },
            )
        finally:
            postgres.stop()
            broker.stop()
    return figures


def measure() -> list[Entry]:
    """Every figure of the signal."""
    return asyncio.run(_measure())


def main() -> None:
    """Prints the figures, or what the gate makes of the trace that is named."""
    if sys.argv[1:2] == ["--zones"]:
        print(f"zones{sys.argv[2]} listening on 127.0.0.1:0", flush=True)
        print("figures", *keep_many(int(sys.argv[2])), flush=True)
        time.sleep(60)  # Until the one who asked has read it.
    elif len(sys.argv) > 1:
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(say_trace(Path(sys.argv[1]), Path(folder)))
    else:
        for figure in measure():
            print(json.dumps(figure, ensure_ascii=False))


if __name__ == "__main__":
    main()
