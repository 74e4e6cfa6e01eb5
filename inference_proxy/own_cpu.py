"""What the proxy's own processes use: CPU time by the minute, beside the ledger, priced when asked.

Time is recorded and not energy: it is measured, while what a core draws is a setting that may be known later.
"""

import asyncio
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine, and_, case, delete, func, select
from sqlalchemy.exc import SQLAlchemyError

from inference_proxy.intervals import Intervals
from inference_proxy.report import Span
from inference_proxy.store import intensities, own_cpu, own_processes
from tradewind.database import from_microseconds, insert_into, microseconds, reading
from tradewind.units import UJ_PER_KWH

_EVERY_S = 5.0
_MINUTE_US = 60_000_000
_START_TIME, _USER_TIME, _SYSTEM_TIME = 19, 11, 12  # Fields of /proc/PID/stat after the name's closing bracket.
_US_PER_TICK = 1_000_000 // os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Counter:
    """What a process had used at a moment."""

    cpu_us: int
    at_us: int


@dataclass(frozen=True, slots=True)
class OwnUse:
    """CPU time in a span, and what it comes to at one watt per core."""

    cpu_us: int
    """At one watt per core the energy in microjoules."""
    unpriced_cpu_us: int
    """In minutes of unknown intensity."""
    g_per_watt: float
    """Grams at one watt per core, of the priced time."""


class OwnCpu:
    """Records the CPU time of this process, and of an Envoy that belongs to it."""

    def __init__(self, engine: Engine, intervals: Intervals, envoy_pid: Callable[[], int]) -> None:
        """`envoy_pid` is 0 where there is none."""
        self._engine, self._intervals, self._envoy_pid = engine, intervals, envoy_pid
        self._spool = ""
        # What this process used before the proxy was built is not the proxy's.
        self._began = Counter(_own_cpu_us(), _now_us())
        # Where there is no /proc, the id alone has to do.
        self._own = _process_name(os.getpid()) or str(os.getpid())
        self._last: dict[str, Counter] | None = None
        self._looking = asyncio.Lock()

    async def watch(self, spool: str) -> None:
        """Records again and again, and a last time when it is cancelled."""
        self._spool = spool
        try:
            while True:
                await asyncio.sleep(_EVERY_S)
                # A look that is under way ends before the last one begins.
                await asyncio.shield(self.look())
        finally:
            await self.look()

    async def look(self) -> None:
        """Records what was used since the last time; while the database is away it waits in the processes' counters."""
        async with self._looking:
            try:
                if self._last is None:
                    self._last = await asyncio.to_thread(self._remembered)
                now = self._counters()
                await asyncio.to_thread(self._store, now, self._used_since(self._last, now))
            except SQLAlchemyError:
                # The ledger's flusher says so. Whether this was stored is not known, so that it is read again.
                self._last = None
            else:
                self._last = now

    def _counters(self) -> dict[str, Counter]:
        now_us = _now_us()
        found = {self._own: Counter(_own_cpu_us(), now_us)}
        pid = self._envoy_pid()
        cpu_us, name = _cpu_us(pid), _process_name(pid)
        if cpu_us is not None and name is not None:
            found[name] = Counter(cpu_us, now_us)
        return found

    def _used_since(self, before: dict[str, Counter], now: dict[str, Counter]) -> dict[int, int]:
        """CPU time by bucket."""
        used: dict[int, int] = {}
        for name, counter in now.items():
            # An Envoy that was never seen began for this proxy: all that it used is the proxy's.
            last = before.get(name) or (self._began if name == self._own else Counter(0, self._began.at_us))
            for bucket, part in divide(last, counter, self._intervals).items():
                used[bucket] = used.get(bucket, 0) + part
        return used

    def _remembered(self) -> dict[str, Counter]:
        query = select(own_processes).where(own_processes.c.spool == self._spool)
        with reading(self._engine) as connection:
            return {
                found["process"]: Counter(found["cpu_us"], microseconds(found["looked_at"]))
                for found in connection.execute(query).mappings()
            }

    def _store(self, counters: dict[str, Counter], used: dict[int, int]) -> None:
        """Adds the time and moves the counters, both or neither."""
        with self._engine.begin() as connection:
            mine = own_processes.c.spool == self._spool
            connection.execute(delete(own_processes).where(mine))
            for name, counter in counters.items():
                connection.execute(
                    own_processes.insert().values(
                        spool=self._spool,
                        process=name,
                        cpu_us=counter.cpu_us,
                        looked_at=from_microseconds(counter.at_us),
                    )
                )
            for bucket, cpu_us in sorted(used.items()):
                statement = insert_into(own_cpu, self._engine).values(
                    bucket_from=from_microseconds(bucket),
                    zone=self._intervals.zone,
                    spool=self._spool,
                    cpu_us=cpu_us,
                )
                keys = [column.name for column in own_cpu.primary_key]
                added = {"cpu_us": own_cpu.c.cpu_us + statement.excluded.cpu_us}
                connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=added))


def divide(begin: Counter, end: Counter, intervals: Intervals) -> dict[int, int]:
    """What was used between two looks by bucket, as if evenly; a minute is split where an interval begins inside it."""
    cpu_us, length = end.cpu_us - begin.cpu_us, end.at_us - begin.at_us
    if cpu_us <= 0:
        return {}
    if length <= 0:
        return {_bucket(end.at_us, intervals): cpu_us}
    edges = [*_edges(begin.at_us, end.at_us, intervals), end.at_us]
    used: dict[int, int] = {}
    moment, given = begin.at_us, 0
    for edge in edges:
        # By sums so far, so that the parts add up to the whole.
        so_far = cpu_us * (edge - begin.at_us) // length
        used[_bucket(moment, intervals)] = used.get(_bucket(moment, intervals), 0) + so_far - given
        moment, given = edge, so_far
    return used


def _edges(begin_us: int, end_us: int, intervals: Intervals) -> Iterable[int]:
    minutes = range((begin_us // _MINUTE_US + 1) * _MINUTE_US, end_us, _MINUTE_US)
    begins = (interval.from_us for interval in intervals.ahead(begin_us))
    return sorted({*minutes, *(each for each in begins if begin_us < each < end_us)})


def _bucket(moment_us: int, intervals: Intervals) -> int:
    minute, interval = moment_us // _MINUTE_US * _MINUTE_US, intervals.at(moment_us)
    return minute if interval is None else max(minute, interval.from_us)


def read_own_use(engine: Engine, span: Span) -> OwnUse | None:
    """What the proxies used in a span, all of those that write into this database; None where nothing is recorded."""
    holding = (
        select(intensities.c.intensity_g_per_kwh)
        .where(
            intensities.c.zone == own_cpu.c.zone,
            intensities.c.valid_from <= own_cpu.c.bucket_from,
            intensities.c.valid_to > own_cpu.c.bucket_from,
        )
        .order_by(intensities.c.valid_from.desc())
        .limit(1)
        .scalar_subquery()
    )
    within = and_(
        *(() if span.begins is None else (own_cpu.c.bucket_from >= span.begins,)),
        *(() if span.ends is None else (own_cpu.c.bucket_from < span.ends,)),
        own_cpu.c.cpu_us > 0,
    )
    priced = select(own_cpu.c.cpu_us, holding.label("intensity")).where(within).subquery()
    columns = priced.c
    query = select(
        func.sum(columns.cpu_us),
        func.sum(case((columns.intensity.is_(None), columns.cpu_us), else_=0)),
        func.sum(columns.intensity * columns.cpu_us),
    )
    with reading(engine) as connection:
        cpu_us, unpriced, weighed = connection.execute(query).one()
    if cpu_us is None:
        return None
    return OwnUse(int(cpu_us), int(unpriced), float(weighed or 0.0) / UJ_PER_KWH)


def _now_us() -> int:
    return time.time_ns() // 1_000


def _own_cpu_us() -> int:
    return time.process_time_ns() // 1_000


def _cpu_us(pid: int) -> int | None:
    fields = _fields(pid)
    return (int(fields[_USER_TIME]) + int(fields[_SYSTEM_TIME])) * _US_PER_TICK if fields else None


def _process_name(pid: int) -> str | None:
    """Its id with the moment of its start, because ids are given anew; None where it does not run."""
    fields = _fields(pid)
    return f"{pid}@{fields[_START_TIME]}" if fields else None


def _fields(pid: int) -> list[str] | None:
    if pid <= 0:
        return None
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return None
