"""How much CPU time a child and its helpers have used, from /proc."""

import os
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def session_cpu_s(pid: int) -> float:
    """User and system time in seconds of every living process in the session that the child leads."""
    return sum(_cpu_s(stat, pid) for stat in Path("/proc").glob("[0-9]*/stat"))


def _cpu_s(stat: Path, session: int) -> float:
    try:
        # The name, in parentheses, may hold anything.
        fields = stat.read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S if int(fields[3]) == session else 0.0
