"""The accounts' first place: a local append-only file, written before an answer goes out, that survives `kill -9`.

A segment is a file of fixed-size records beside a file of keys (JSON lines) that the records refer to by number. What
the kernel has, through memory or through `write(2)`, is there after the process is gone. A record's key is its last
field, is never 0 and is written last, so a record without one is not finished. A process begins a segment of its own:
a record that a crash cut short is the last of its segment and is never counted.
"""

import fcntl
import json
import os
import re
import struct
import uuid
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from inference_proxy.intervals import Interval
from inference_proxy.mapped_records import MappedRecords
from tradewind.errors import StartupError
from tradewind.readings import Reading, from_mapping, to_mapping

RECORD = struct.Struct("<qqqqqII")
RECORD_TYPE = np.dtype(
    [
        ("time_us", "<i8"),
        ("energy_uj", "<i8"),
        ("smallest_uj", "<i8"),
        ("largest_uj", "<i8"),
        ("decided_uj", "<i8"),
        ("inferences", "<u4"),
        ("key", "<u4"),
    ]
)
MAX_INFERENCES = 2**32 - 1
_KEYS_PER_SEGMENT = 4_096
"""Many tenants and many decisions make many keys: with so many a segment ends, however few its records."""
_NUMBER = re.compile(r'\{"number": ?(\d+),')


@dataclass(frozen=True, slots=True)
class Charge:
    """Who was served by what, and the reading that held; None where none was known."""

    family: str
    variant: str
    decided: str
    zone: str
    tenant: str
    reading: Reading | None
    calibrated: bool = False
    """Whether the energy is one that was measured in service, and not the catalogue's."""


@dataclass(slots=True)
class SpoolKey:
    """A charge with the number that the current segment knows it by."""

    charge: Charge
    segment: int = -1
    number: int = 0


def charge_of(
    family: str,
    variant: str,
    decided: str,
    zone: str,
    tenant: str,
    interval: Interval | None,
    *,
    calibrated: bool = False,
) -> Charge:
    """A charge in an interval, or in none."""
    return Charge(family, variant, decided, zone, tenant, interval.reading if interval else None, calibrated)


@dataclass(slots=True)
class Spool:
    """Appends; `open` it before the first record. One process per directory."""

    directory: Path
    segment_bytes: int
    identity: str = field(default="", init=False)
    segment: int = field(default=-1, init=False)
    _records: MappedRecords | None = field(default=None, init=False)
    _left: int = field(default=0, init=False)
    """Records that the segment still takes."""
    _keys_descriptor: int = field(default=-1, init=False)
    _lock_descriptor: int = field(default=-1, init=False)
    _keys: int = field(default=0, init=False)

    def open(self) -> None:
        """Takes the directory and begins a segment; StartupError when another process has it."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._lock_descriptor = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise StartupError(
                f"the spool directory {self.directory} cannot be written: {error.strerror}; "
                f"give TRADEWIND_PROXY_SPOOL_DIRECTORY one that can"
            ) from error
        try:
            fcntl.flock(self._lock_descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StartupError(
                f"another proxy uses the spool directory {self.directory}: give each its own in "
                f"TRADEWIND_PROXY_SPOOL_DIRECTORY"
            ) from error
        self.identity = self._read_identity()
        self.segment = max(segments(self.directory), default=-1)
        self._begin_segment()

    def close(self) -> None:
        """Lets go of the directory."""
        self._end_segment()
        if self._lock_descriptor >= 0:
            os.close(self._lock_descriptor)
            self._lock_descriptor = -1

    def record(
        self,
        key: SpoolKey,
        time_us: int,
        inferences: int,
        energy_uj: int,
        smallest_uj: int,
        largest_uj: int,
        decided_uj: int,
    ) -> None:
        """Writes one request down. OSError when the disk does not take it: then nothing is recorded."""
        if not self._left:
            self._begin_segment()
        if key.segment != self.segment:
            self._define(key)
        if self._records is None:
            raise OSError("the spool is not open")
        self._records.append(time_us, energy_uj, smallest_uj, largest_uj, decided_uj, inferences, key.number)
        self._left -= 1

    def spooled_bytes(self) -> int:
        """Size of the records on the disk, stored or not."""
        return spooled_bytes(self.directory) - (self._records.unused_bytes if self._records is not None else 0)

    def _define(self, key: SpoolKey) -> None:
        if self._keys >= _KEYS_PER_SEGMENT:
            self._begin_segment()
        charge = key.charge
        line = json.dumps(
            {
                "number": self._keys + 1,
                "family": charge.family,
                "variant": charge.variant,
                "decided": charge.decided,
                "zone": charge.zone,
                "tenant": charge.tenant,
                **({"calibrated": True} if charge.calibrated else {}),
                "reading": to_mapping(charge.reading) if charge.reading is not None else None,
            }
        )
        # The line break comes first as well: a line that a full disk cut short then spoils only itself.
        data = f"\n{line}\n".encode()
        if os.write(self._keys_descriptor, data) != len(data):
            raise OSError("the disk took only a part of a key")
        self._keys += 1
        key.segment, key.number = self.segment, self._keys

    def _begin_segment(self) -> None:
        self._end_segment()
        self.segment += 1
        # Keys first: a reader that sees the records finds their keys.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
        self._keys_descriptor = os.open(keys_path(self.directory, self.segment), flags, 0o644)
        self._keys = 0
        self._records = MappedRecords(records_path(self.directory, self.segment), RECORD)
        self._left = -(-self.segment_bytes // RECORD.size)

    def _end_segment(self) -> None:
        self._left = 0
        if self._records is not None:
            self._records.close()
            self._records = None
        if self._keys_descriptor >= 0:
            os.close(self._keys_descriptor)
            self._keys_descriptor = -1

    def _read_identity(self) -> str:
        path = self.directory / "identity"
        if not path.exists():
            fresh = self.directory / f"identity.{os.getpid()}"
            fresh.write_text(uuid.uuid4().hex, encoding="ascii")
            fresh.rename(path)
        return path.read_text(encoding="ascii").strip()


def records_path(directory: Path, segment: int) -> Path:
    """The file of a segment's records."""
    return directory / f"{segment:010d}.records"


def keys_path(directory: Path, segment: int) -> Path:
    """The file of a segment's keys."""
    return directory / f"{segment:010d}.keys"


def segments(directory: Path) -> list[int]:
    """The segments there are, oldest first; one whose records were deleted still counts by its keys."""
    names = {path.stem for path in directory.iterdir() if path.suffix in {".records", ".keys"}}
    return sorted(int(name) for name in names if name.isdigit())


def read_keys(directory: Path, segment: int, wanted: Collection[int] | None = None) -> dict[int, Charge]:
    """The keys of a segment by number; where some are wanted only those: a segment may have thousands."""
    found: dict[int, Charge] = {}
    with keys_path(directory, segment).open(encoding="utf-8") as lines:
        for line in lines:
            number = _NUMBER.match(line)
            if wanted is not None and number is not None and int(number[1]) not in wanted:
                continue
            try:
                entry = json.loads(line)
            except ValueError:
                continue  # Cut short by a crash or a full disk: no record refers to it.
            reading, own_number = entry.pop("reading"), entry.pop("number")
            found[own_number] = Charge(**entry, reading=from_mapping(reading) if reading is not None else None)
    return found


def read_records(
    directory: Path, segment: int, offset: int, at_most: int
) -> "np.ndarray[tuple[int], np.dtype[np.void]]":
    """The finished records of a segment from a byte offset on; its writer may be at work meanwhile."""
    try:
        descriptor = os.open(records_path(directory, segment), os.O_RDONLY)
    except FileNotFoundError:
        return np.empty(0, RECORD_TYPE)
    try:
        seen = _whole(os.pread(descriptor, at_most * RECORD.size, offset))
        with_key = np.flatnonzero(seen["key"])
        finished = int(with_key[-1]) + 1 if len(with_key) else 0
        # The first look may have met a record in the middle; what had its key by then is whole at the second.
        return _whole(os.pread(descriptor, finished * RECORD.size, offset))
    finally:
        os.close(descriptor)


def _whole(data: bytes) -> "np.ndarray[tuple[int], np.dtype[np.void]]":
    return np.frombuffer(data[: len(data) // RECORD.size * RECORD.size], RECORD_TYPE)


def spooled_bytes(directory: Path) -> int:
    """Size of a directory's files of records."""
    return sum(path.stat().st_size for path in directory.glob("*.records"))
