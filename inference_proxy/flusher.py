"""Carries the spool into the ledger, in a thread of its own: a database that is away makes it wait, never lose."""

import contextlib
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy.exc import SQLAlchemyError

from inference_proxy.ledger import Batch, Ledger, Misplaced
from inference_proxy.spool import (
    RECORD,
    Charge,
    Spool,
    keys_path,
    read_keys,
    read_records,
    records_path,
    segments,
)
from tradewind.database import from_microseconds, microseconds
from tradewind.logs import get_logger
from tradewind.readings import Reading, best_first

log = get_logger(__name__)

RECORDS_PER_BATCH = 50_000
_SUMS = ("inferences", "energy_uj", "smallest_uj", "largest_uj", "decided_uj")
_STORED_SUMS = (*_SUMS, "calibrated_uj")
_MINUTE_US, _SECOND_US = 60_000_000, 1_000_000
_LONGEST_WAIT_S = 15.0
_KEPT_READINGS = 10_000
_RETENTION_EVERY_S = 3_600.0

Records = np.ndarray[tuple[int], np.dtype[np.void]]


@dataclass
class Flusher:
    """Reads what the spool has written since the last time and stores it; `flush` does it once, `start` for ever."""

    spool: Spool
    ledger: Ledger
    interval_s: float
    retention: timedelta | None = None
    _readings: dict[tuple[str, datetime], Reading] = field(default_factory=dict, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)
    _stopping: threading.Event = field(default_factory=threading.Event, init=False)
    _thread: threading.Thread | None = field(default=None, init=False)
    _away: bool = field(default=False, init=False)
    _last_retention: float = field(default=0.0, init=False)

    def start(self) -> None:
        """Begins storing at every interval."""
        self._thread = threading.Thread(target=self._run, name="flusher", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stores what is left, if the database answers, and ends the thread; what it does not take stays spooled."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def learn(self, readings: Iterable[Reading]) -> None:
        """Readings to store at the next flush; may be called from any thread."""
        with self._lock:
            for heard in readings:
                key = (heard.zone, heard.valid_from)
                known = self._readings.get(key)
                if known is None or best_first(heard) < best_first(known):
                    self._readings[key] = heard
            while len(self._readings) > _KEPT_READINGS:
                del self._readings[next(iter(self._readings))]

    def flush(self) -> int:
        """Stores all there is now; how many records that were."""
        with self._lock:
            readings, self._readings = self._readings, {}
        try:
            self.ledger.learn(list(readings.values()))
        except BaseException:
            self.learn(readings.values())
            raise
        active = self.spool.segment
        return sum(self._flush_segment(segment, segment < active) for segment in segments(self.spool.directory))

    def pending_inferences(self) -> int:
        """Inferences in the spool that the database does not have yet."""
        pending = 0
        for segment in segments(self.spool.directory):
            offset = self.ledger.offset(self.spool.identity, segment)
            while len(records := read_records(self.spool.directory, segment, offset, RECORDS_PER_BATCH)):
                pending += int(records["inferences"].sum())
                offset += records.nbytes
        return pending

    def _run(self) -> None:
        name_thread("flusher")
        wait = self.interval_s
        while not self._stopping.wait(wait):
            wait = self.interval_s if self._try_flush() else min(max(wait, self.interval_s) * 2, _LONGEST_WAIT_S)
        self._try_flush()

    def _try_flush(self) -> bool:
        try:
            self.flush()
            self._retain()
        except Misplaced:
            return True  # The next flush begins at the offset that the database says.
        except (SQLAlchemyError, OSError) as error:
            if not self._away:
                log.warning("the ledger's database is away; accounts wait in the spool", error=type(error).__name__)
            self._away = True
            return False
        if self._away:
            log.info("the ledger's database is back")
        self._away = False
        return True

    def _flush_segment(self, segment: int, complete: bool) -> int:
        offset, stored = self.ledger.offset(self.spool.identity, segment), 0
        while len(records := read_records(self.spool.directory, segment, offset, RECORDS_PER_BATCH)):
            keys = read_keys(self.spool.directory, segment, numbers_of(records))
            self.ledger.store(batch_of(self.spool.identity, segment, offset, records, keys))
            offset += records.nbytes
            stored += len(records)
        if complete:
            # The keys go last: as long as they are there, the segment's number is not given again.
            records_path(self.spool.directory, segment).unlink(missing_ok=True)
            keys_path(self.spool.directory, segment).unlink(missing_ok=True)
        return stored

    def _retain(self) -> None:
        now = time.monotonic()
        if self._last_retention and now - self._last_retention < _RETENTION_EVERY_S:
            return
        self._last_retention = now
        self.ledger.forget_segments(self.spool.identity, min(segments(self.spool.directory), default=0))
        if self.retention is not None:
            self.ledger.forget_rows(datetime.now(UTC) - self.retention)


def numbers_of(records: Records) -> set[int]:
    """The keys that records refer to."""
    return set(np.unique(records["key"]).tolist())


def name_thread(name: str) -> None:
    """Shows the thread under this name to `top` and to the benchmark; where that is not possible, it goes unnamed."""
    with contextlib.suppress(OSError):
        Path(f"/proc/self/task/{threading.get_native_id()}/comm").write_text(name, encoding="ascii")


def batch_of(spool: str, segment: int, begins: int, records: Records, keys: dict[int, Charge]) -> Batch:
    """What a stretch of records adds up to, by key and bucket of time; exact, in whole microjoules."""
    attributed: list[dict[str, Any]] = []
    unattributed: list[dict[str, Any]] = []
    charged: list[Reading] = []
    for number in np.unique(records["key"]):
        charge = keys.get(int(number))
        if charge is None:
            # Blocks of zeros are what a power failure may leave at a file's end; a process's death does not.
            log.error("records without a key are left out", segment=segment, key=int(number))
            continue
        own = records[records["key"] == number]
        who = {
            "family": charge.family,
            "variant": charge.variant,
            "decided": charge.decided,
            "zone": charge.zone,
            "tenant": charge.tenant,
        }
        if charge.reading is None:
            for bucket, sums in _sums_by(own, own["time_us"] // _SECOND_US * _SECOND_US, charge):
                unattributed.append({"second_from": from_microseconds(bucket), **who, **sums})
            continue
        charged.append(charge.reading)
        begin = microseconds(charge.reading.valid_from)
        for bucket, sums in _sums_by(own, np.maximum(own["time_us"] // _MINUTE_US * _MINUTE_US, begin), charge):
            attributed.append(
                {"bucket_from": from_microseconds(bucket), "interval_from": charge.reading.valid_from, **who, **sums}
            )
    ends = begins + len(records) * RECORD.size
    return Batch(spool, segment, begins, ends, _merged(attributed), _merged(unattributed), charged)


def _sums_by(
    records: Records, buckets: "np.ndarray[tuple[int], np.dtype[Any]]", charge: Charge
) -> list[tuple[int, dict[str, int]]]:
    order = np.argsort(buckets, kind="stable")
    ordered, found = records[order], buckets[order]
    starts = np.flatnonzero(np.concatenate(([True], found[1:] != found[:-1])))
    sums = {name: np.add.reduceat(ordered[name].astype(np.int64), starts) for name in _SUMS}
    sums["calibrated_uj"] = sums["energy_uj"] if charge.calibrated else np.zeros_like(sums["energy_uj"])
    return [
        (int(found[start]), {name: int(sums[name][index]) for name in _STORED_SUMS})
        for index, start in enumerate(starts)
    ]


def _merged(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of one key as one: a revised interval has two keys and one place in the ledger."""
    merged: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        place = tuple(value for name, value in row.items() if name not in _STORED_SUMS)
        known = merged.setdefault(place, row)
        if known is not row:
            for name in _STORED_SUMS:
                known[name] += row[name]
    return list(merged.values())
