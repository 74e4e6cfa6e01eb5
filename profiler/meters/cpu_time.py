"""The last resort: seconds of CPU that Triton and its helpers used, times watts per core. Always `estimated`."""

import ctypes
import os
import platform
import time
from pathlib import Path

from profiler.meters.meter import MeterError, Nameplate, Sample
from profiler.meters.process_tree import tree_of
from tradewind.catalogue import Provenance

DEFAULT_WATTS_PER_CORE = 10.0
"""An assumption, not a measurement: set the machine's own with --watts-per-core (socket power / cores under load)."""

BETWEEN_RUNS = 0.04
"""How far whole runs are apart beyond their own intervals, as a ratio of the mean.

Measured on virtual machines of 2 cores, three models, three times 20 runs: 2.5 to 3.1 % with nothing else to do, 2.6 to
3.9 % and 4.5 to 6.5 % beside other work; this is their root mean square. The processor is shared with machines that
cannot be seen from here, and the same instructions take more time for a quarter of an hour. Tables: docs/profiling.md.
"""


class CpuTimeMeter:
    """CPU time of a process tree, exact to the nanosecond and blind to what else the machine does."""

    def __init__(self, pid: int, watts_per_core: float = DEFAULT_WATTS_PER_CORE, *, proc: Path = Path("/proc")) -> None:
        self._pid = pid
        self._watts = watts_per_core
        self._proc = proc
        self._known: set[int] = set()
        self.nameplate = Nameplate(
            name="cpu-time",
            provenance=Provenance.ESTIMATED,
            hardware=cpu_hardware(proc),
            driver=f"Linux {platform.release()}",
            max_watts=(watts_per_core * (os.cpu_count() or 1),),
            always_moves=False,
            between_runs=BETWEEN_RUNS,
            method=f"CPU seconds of Triton's processes x {watts_per_core:g} W per core (assumed)",
        )

    def read(self) -> Sample:
        """Joules of all processes of the tree; one that ends takes its time with it, so the window is refused."""
        tree = tree_of(self._pid, self._proc)
        if self._pid not in tree:
            raise MeterError(f"cpu-time: process {self._pid} is gone; Triton ended while it was measured")
        seconds = {pid: used for pid in tree if (used := _cpu_seconds(pid)) is not None}
        ended, self._known = self._known - seconds.keys(), set(seconds)
        if ended:
            raise MeterError(f"cpu-time: process {min(ended)} of Triton ended during the window")
        return Sample(time.monotonic(), (sum(seconds.values()) * self._watts,))

    def disturbance(self) -> str | None:
        """Nothing disturbs it: other processes' time is not counted."""
        return None


def cpu_hardware(proc: Path = Path("/proc")) -> str:
    """The processor's name and number of cores, as the kernel tells them."""
    names = [
        line.partition(":")[2].strip()
        for line in (proc / "cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        if line.startswith("model name")
    ]
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores"


def _cpu_seconds(pid: int) -> float | None:
    """CPU time of a process and all its threads, ended ones included; None when it is gone."""
    clock = ctypes.c_int()
    if ctypes.CDLL(None).clock_getcpuclockid(pid, ctypes.byref(clock)) != 0:
        return None
    try:
        return time.clock_gettime(clock.value)
    except OSError:
        return None
