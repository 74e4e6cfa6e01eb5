"""A file of records that is written through memory: no system call per record, and the kernel has each all the same.

The pages are the kernel's own, so what was written is in the file after a `kill -9`, as after a `write(2)`. The disk's
space is taken before it is written to, a stretch at a time: a full disk is an OSError then, and no fault in mid-record.
"""

import math
import mmap
import os
import struct
from pathlib import Path

_ABOUT_BYTES = 96 * 1024


class MappedRecords:
    """Appends records of one size; one writer for one file."""

    __slots__ = ("_at", "_begins", "_descriptor", "_map", "_pack", "_record_bytes", "_stretch_bytes")

    def __init__(self, path: Path, record: struct.Struct) -> None:
        """Makes the file; OSError where it is there already."""
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        self._pack, self._record_bytes = record.pack_into, record.size
        # Stretches begin where a page and a record do.
        least = math.lcm(record.size, mmap.ALLOCATIONGRANULARITY)
        self._stretch_bytes = least * max(_ABOUT_BYTES // least, 1)
        self._begins, self._at = -self._stretch_bytes, self._stretch_bytes
        self._map = mmap.mmap(-1, 1)  # Nobody's, until there is a record.

    def append(self, *fields: int) -> None:
        """Writes one record, its fields in order; OSError when the disk has no room for it."""
        at = self._at
        if at == self._stretch_bytes:
            at = self._take_stretch()
        self._pack(self._map, at, *fields)
        self._at = at + self._record_bytes

    @property
    def unused_bytes(self) -> int:
        """What the file is longer than its records."""
        return self._stretch_bytes - self._at

    def close(self) -> None:
        """Cuts the file to its records and lets go of it."""
        self._map.close()
        os.ftruncate(self._descriptor, self._begins + self._at)
        os.close(self._descriptor)

    def _take_stretch(self) -> int:
        begins = self._begins + self._stretch_bytes
        os.posix_fallocate(self._descriptor, begins, self._stretch_bytes)
        fresh = mmap.mmap(self._descriptor, self._stretch_bytes, access=mmap.ACCESS_WRITE, offset=begins)
        self._map.close()
        self._map, self._begins, self._at = fresh, begins, 0
        return 0
