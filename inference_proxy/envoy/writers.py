"""The parts of the spool that Envoy's workers write: stored in the ledger, counted for metrics, cleared when done."""

import fcntl
import os
import shutil
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from sqlalchemy.exc import SQLAlchemyError

from inference_proxy.flusher import RECORDS_PER_BATCH, Flusher, Records, numbers_of
from inference_proxy.ledger import Ledger, Misplaced
from inference_proxy.spool import Charge, Spool, read_keys, read_records, records_path, segments, spooled_bytes
from inference_proxy.tallies import Tallies

Reasons = Mapping[tuple[str, str, str], str]
"""Why a variant served in another's place, by family, variant and decided variant."""

_EVERY_SEGMENT = 2**31 - 1
_LONGEST_WAIT_S = 15.0
_ABANDONED_S = 60.0
"""A directory without a lock is one that its worker has just made, or died making."""


@dataclass
class Writers:
    """Every worker's part; `start` carries it into the ledger for ever, `flush` once."""

    directory: Path
    ledger: Ledger
    interval_s: float
    tallies: Tallies
    reasons: Reasons
    _flushers: dict[str, Flusher] = field(default_factory=dict, init=False)
    _counted: dict[tuple[str, int], int] = field(default_factory=dict, init=False)
    _stopping: threading.Event = field(default_factory=threading.Event, init=False)
    _thread: threading.Thread | None = field(default=None, init=False)

    def start(self) -> None:
        """Begins; what is there already was counted by an earlier life."""
        for name in self._names():
            for segment in segments(self.directory / name):
                self._counted[name, segment] = _size(records_path(self.directory / name, segment))
        self._thread = threading.Thread(target=self._run, name="envoy-flusher", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stores what is left, if the database answers, and ends the thread."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def flush(self) -> int:
        """Counts and stores all there is now; how many records were stored."""
        stored = 0
        for name in self._names():
            writer = self.directory / name
            gone = _is_gone(writer)
            self._count(name)
            flusher = self._flusher(name)
            # A dead worker's last segment is as complete as the others.
            flusher.spool.segment = max(segments(writer), default=-1) + gone
            stored += flusher.flush()
            if gone:
                self._clear(name)
        return stored

    def pending_inferences(self) -> int:
        """Inferences in the spool that the database does not have yet."""
        return sum(self._flusher(name).pending_inferences() for name in self._names())

    def spooled_bytes(self) -> int:
        """Size of the records."""
        return sum(spooled_bytes(self.directory / name) for name in self._names())

    def _names(self) -> list[str]:
        if not self.directory.exists():
            return []  # Before the first start.
        return sorted(path.name for path in self.directory.iterdir() if path.is_dir())

    def _flusher(self, name: str) -> Flusher:
        known = self._flushers.get(name)
        if known is None:
            spool = Spool(self.directory / name, segment_bytes=0)
            spool.identity = name
            known = self._flushers[name] = Flusher(spool, self.ledger, self.interval_s)
        return known

    def _run(self) -> None:
        wait = self.interval_s
        while not self._stopping.wait(wait):
            wait = self.interval_s if self._try_flush() else min(wait * 2, _LONGEST_WAIT_S)
        self._try_flush()

    def _try_flush(self) -> bool:
        try:
            self.flush()
        except Misplaced:
            return True  # The next flush begins at the offset that the database says.
        except (SQLAlchemyError, OSError):
            return False  # The proxy's own flusher says so, once.
        return True

    def _clear(self, name: str) -> None:
        """Forgets a worker that is dead and stored to its end."""
        if segments(self.directory / name):
            return
        shutil.rmtree(self.directory / name, ignore_errors=True)
        self.ledger.forget_segments(name, _EVERY_SEGMENT)
        self._flushers.pop(name, None)
        self._counted = {place: offset for place, offset in self._counted.items() if place[0] != name}

    def _count(self, name: str) -> None:
        writer = self.directory / name
        for segment in segments(writer):
            offset = self._counted.get((name, segment), 0)
            while len(records := read_records(writer, segment, offset, RECORDS_PER_BATCH)):
                self._add(records, read_keys(writer, segment, numbers_of(records)))
                offset += records.nbytes
            self._counted[name, segment] = offset

    def _add(self, records: Records, keys: Mapping[int, Charge]) -> None:
        for number in np.unique(records["key"]):
            charge = keys.get(int(number))
            if charge is None:
                continue  # The flusher says so.
            own = records[records["key"] == number]
            tally = self.tallies.of(charge.family, charge.variant)
            energy = own["energy_uj"].astype(np.int64)
            tally.requests += len(own)
            tally.inferences += int(own["inferences"].astype(np.int64).sum())
            tally.energy_uj += int(energy.sum())
            if charge.reading is None:
                tally.unpriced_uj += int(energy.sum())
            else:
                tally.emissions_ng += int(np.rint(energy * charge.reading.intensity_g_per_kwh / 3_600).sum())
            reason = self.reasons.get((charge.family, charge.variant, charge.decided))
            if reason is not None:
                self.tallies.fallbacks[charge.family, reason] += len(own)


def _is_gone(writer: Path) -> bool:
    """Whether the worker that made a directory is dead: the kernel has let go of its lock then."""
    try:
        descriptor = os.open(writer / "lock", os.O_RDWR)
    except FileNotFoundError:
        return time.time() - writer.stat().st_mtime > _ABANDONED_S
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
