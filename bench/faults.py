"""Random faults while observations pour in: afterwards store and bus equal those of a run without faults, exactly.

`python -m bench.faults [READINGS] [FAULTS] [SEED]`. The faults: SIGKILL and restart of the broker, SIGKILL and restart
of the carbon service, a batch said twice, a batch said in another order. The broker is a Mosquitto with persistence; a
publisher says again, after every reconnection, what the broker had acknowledged shortly before: a killed broker may
have lost it.
"""

import asyncio
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import select

from carbon_service import store
from carbon_service.keeper import Keeper
from carbon_service.observations import claim_of
from carbon_service.rules import Rules
from local_stack.ports import free_ports, listens
from local_stack.processes import Child
from tradewind import topics
from tradewind.bus import Bus, parse_broker_url
from tradewind.database import open_engine, reading
from tradewind.errors import NotReady
from tradewind.migrate import upgrade
from tradewind.readings import Reading, ReadingKind, Signal, from_json, to_json

ZONES = 20
BATCH = 100
RESAID = 2_000
"""Observations that are said again after a reconnection: more than a killed Mosquitto can have lost."""
PUBLISHER = "roof"
FAULTS = ("broker", "service", "duplicate", "reorder")
MOSQUITTO = "/usr/sbin/mosquitto"

CONFIG = """
listener {port} 127.0.0.1
allow_anonymous true
persistence true
persistence_location {directory}/
autosave_on_changes true
autosave_interval 200
max_queued_messages 0
max_inflight_messages 1000
log_type error
log_type warning
log_type notice
log_type information
log_type subscribe
user root
"""


@dataclass
class Result:
    """What a run came to."""

    readings: int
    faults: Mapping[str, int]
    seconds: float
    lost: int
    """Rows of the fault-free store that this one lacks."""
    strange: int
    """Rows that the fault-free store lacks."""
    bus_differs: int
    """Zones whose retained reading is another one."""

    @property
    def holds(self) -> bool:
        """True when nothing differs."""
        return not (self.lost or self.strange or self.bus_differs)


def make_readings(count: int, random_: random.Random, now: datetime) -> list[Reading]:
    """Readings of several zones, one in twenty of them said in a second version, in order of publication."""
    per_zone = max(1, count * 20 // 21 // ZONES)
    step = timedelta(seconds=30)
    start = now - (per_zone - 1) * step
    said: list[Reading] = []
    levels = [random_.uniform(150, 300) for _ in range(ZONES)]
    for index in range(per_zone):
        begin = start + index * step
        for zone in range(ZONES):
            levels[zone] = min(max(levels[zone] * random_.uniform(0.98, 1.02), 120), 360)
            last = index == per_zone - 1
            end = now + timedelta(hours=6) if last else begin + step
            published = min(begin, now)
            value = round(levels[zone], 2)
            name = f"Z{zone:02}"
            source = f"edge:{PUBLISHER}"
            one = Reading(name, begin, end, value, ReadingKind.ACTUAL, Signal.AVERAGE, source, published)
            said.append(one)
            if random_.random() < 0.05:
                later = replace(one, intensity_g_per_kwh=value + 1, published_at=published + timedelta(milliseconds=1))
                said.append(later)
    return said


@dataclass
class Stack:
    """A Mosquitto and a carbon service that may be killed at any moment."""

    directory: Path
    port: int
    database_url: str
    broker: Child = field(init=False)
    service: Child = field(init=False)

    def __post_init__(self) -> None:
        config = self.directory / "mosquitto.conf"
        config.write_text(CONFIG.format(port=self.port, directory=self.directory))
        self.broker = Child("mosquitto", [MOSQUITTO, "-c", str(config)], self.directory)
        settings = {
            "TRADEWIND_DATABASE_URL": self.database_url,
            "TRADEWIND_BROKER_URL": self.url,
            "TRADEWIND_CARBON_LISTEN": "127.0.0.1:0",
            "TRADEWIND_LOG_LEVEL": "error",
        }
        program = [sys.executable, "-m", "carbon_service"]
        self.service = Child("carbon_service", program, self.directory, os.environ | settings)

    @property
    def url(self) -> str:
        """Where the broker listens."""
        return f"mqtt://127.0.0.1:{self.port}"

    def start_broker(self) -> None:
        """Starts the broker, or starts it again."""
        self.broker.start()
        self.broker.wait_until(lambda: listens(self.broker.pid, self.port), timeout_s=20, what="listen")

    def save_session(self) -> None:
        """Has the broker write down who the service is: killed before that, it would keep nothing for it, ever."""
        self.broker.wait_until(
            lambda: topics.OBSERVATIONS in self.broker.log.read_text(), timeout_s=20, what="hear the service subscribe"
        )
        os.kill(self.broker.pid, signal.SIGUSR1)
        saved = self.directory / "mosquitto.db"
        self.broker.wait_until(saved.exists, timeout_s=20, what="save its sessions")


@contextmanager
def stack_in(directory: Path) -> Iterator[Stack]:
    """A started stack with an empty, migrated database."""
    database_url = f"sqlite:///{directory / 'carbon.db'}"
    upgrade(database_url)
    stack = Stack(directory, free_ports(1)[0], database_url)
    try:
        stack.start_broker()
        stack.service.start()
        stack.service.wait_listening()
        stack.save_session()
        yield stack
    finally:
        stack.service.stop()
        stack.broker.stop()


class Publisher:
    """A patient publisher: it says everything until the broker has it, and what a killed broker may have lost."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._recent: list[Reading] = []
        self._connection = 0

    async def say(self, batch: Sequence[Reading]) -> None:
        """Returns once the broker has the batch."""
        waiting = list(batch)
        while waiting:
            await self._bus.connected.wait()
            if self._bus.reconnections != self._connection:
                self._connection = self._bus.reconnections
                waiting = [*self._recent, *batch]
            done = await asyncio.gather(*(self._say(each) for each in waiting))
            waiting = [each for each, heard in zip(waiting, done, strict=True) if not heard]
        self._recent = [*self._recent, *batch][-RESAID:]

    async def settle(self) -> None:
        """Says the last once more: the broker may have been killed after it had acknowledged them."""
        await self.say(self._recent)

    async def _say(self, each: Reading) -> bool:
        try:
            await self._bus.publish(topics.observation(PUBLISHER, each.zone), to_json(each))
        except NotReady:
            return False
        return True


async def run(directory: Path, readings: int, faults: int, seed: int) -> Result:
    """Says all the readings with that many faults in between, and compares."""
    random_ = random.Random(seed)  # noqa: S311
    said = make_readings(readings, random_, datetime.now(UTC).replace(microsecond=0))
    batches = [said[start : start + BATCH] for start in range(0, len(said), BATCH)]
    kinds = [FAULTS[number % len(FAULTS)] for number in range(faults)]
    random_.shuffle(kinds)
    planned: dict[int, list[str]] = {}
    for kind in kinds:
        planned.setdefault(random_.randrange(len(batches)), []).append(kind)
    started = time.monotonic()
    with stack_in(directory) as stack:
        bus = Bus(parse_broker_url(stack.url), "publisher")
        bus.start()
        publisher = Publisher(bus)
        for number, batch in enumerate(batches):
            await _say_with_faults(stack, publisher, list(batch), planned.get(number, []), random_)
        await publisher.settle()
        expected = fault_free(directory, said)
        await _quiet(stack, expected)
        seconds = time.monotonic() - started
        retained = await _retained(stack)
        await bus.stop()
    got = _rows(stack.database_url)
    best = _current(expected)
    differs = sum(retained.get(zone) != best[zone] for zone in best) + len(retained.keys() - best.keys())
    counts = {kind: kinds.count(kind) for kind in FAULTS}
    return Result(len(said), counts, seconds, len(expected - got), len(got - expected), differs)


async def _say_with_faults(
    stack: Stack, publisher: Publisher, batch: list[Reading], faults: Sequence[str], random_: random.Random
) -> None:
    for fault in faults:
        if fault == "reorder":
            random_.shuffle(batch)
        elif fault == "duplicate":
            batch = [*batch, *random_.choices(batch, k=len(batch))]
    saying = asyncio.create_task(publisher.say(batch))
    for fault in faults:
        if fault in {"broker", "service"}:
            # At any point of the batch's way: through the broker, in a transaction, on the way back.
            await asyncio.sleep(random_.uniform(0, 0.05))
            child = stack.broker if fault == "broker" else stack.service
            child.kill()
            await asyncio.sleep(random_.uniform(0, 0.1))
            if fault == "broker":
                stack.start_broker()
            else:
                child.start()
    await saying


def fault_free(directory: Path, said: Sequence[Reading]) -> set[tuple[object, ...]]:
    """The rows of a store that was told everything once, in order."""
    url = f"sqlite:///{directory / 'expected.db'}"
    upgrade(url)
    engine = open_engine(url)
    keeper = Keeper(engine, Rules())
    for start in range(0, len(said), BATCH):
        now = datetime.now(UTC)
        keeper.take([claim_of(each, now) for each in said[start : start + BATCH]], now)
    engine.dispose()
    return _rows(url)


def _rows(url: str) -> set[tuple[object, ...]]:
    """Everything that the store believes, earlier versions included."""
    engine = open_engine(url)
    with reading(engine) as connection:
        rows = {("reading", *row) for row in connection.execute(select(store.readings))}
        rows |= {("version", *row) for row in connection.execute(select(store.versions))}
    engine.dispose()
    return rows


async def _quiet(stack: Stack, expected: set[tuple[object, ...]]) -> None:
    """Returns once the store has as much as it should and the outbox is empty, or nothing has moved for long."""
    engine = open_engine(stack.database_url)
    before, still_since = (-1, -1), time.monotonic()
    while time.monotonic() - still_since < 30:
        with reading(engine) as connection:
            waiting = len(connection.execute(select(store.outbox.c.id)).all())
        now = (len(_rows(stack.database_url)), waiting)
        if now == (len(expected), 0):
            break
        if now != before:
            before, still_since = now, time.monotonic()
        await asyncio.sleep(0.3)
    engine.dispose()


async def _retained(stack: Stack) -> dict[str, tuple[float, int]]:
    """What the broker retains per zone: value and revision."""
    bus = Bus(parse_broker_url(stack.url), "reader", subscriptions=[topics.INTENSITIES])
    bus.start()
    retained: dict[str, tuple[float, int]] = {}
    try:
        async with asyncio.timeout(20):
            while len(retained) < ZONES:
                messages = await bus.messages()
                bus.done(messages)
                for message in messages:
                    current = from_json(message.payload)
                    retained[current.zone] = (current.intensity_g_per_kwh, current.revision)
    except TimeoutError:
        pass  # What is missing is counted as different.
    await bus.stop()
    return retained


def _current(rows: set[tuple[object, ...]]) -> dict[str, tuple[float, int]]:
    """Value and revision of each zone's newest interval."""
    columns = [column.name for column in store.readings.columns]
    newest: dict[str, dict[str, object]] = {}
    for row in rows:
        if row[0] == "reading":
            each = dict(zip(columns, row[1:], strict=True))
            known = newest.get(str(each["zone"]))
            if known is None or str(each["valid_from"]) > str(known["valid_from"]):
                newest[str(each["zone"])] = each
    return {
        zone: (float(str(each["intensity_g_per_kwh"])), int(str(each["revision"]))) for zone, each in newest.items()
    }


def main() -> int:
    """Prints what a run came to; 0 when nothing differs."""
    readings, faults, seed = (int(sys.argv[n]) if len(sys.argv) > n else default for n, default in _DEFAULTS)
    with tempfile.TemporaryDirectory() as directory:
        result = asyncio.run(run(Path(directory), readings, faults, seed))
    print(result)
    return 0 if result.holds else 1


_DEFAULTS = ((1, 50_000), (2, 200), (3, 1))


if __name__ == "__main__":
    sys.exit(main())
