"""Which processes belong to a server, which one listens on a port, and how busy everything else keeps the machine."""

import os
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_LISTEN = "0A"


def tree_of(pid: int, proc: Path = _PROC) -> set[int]:
    """The process and its descendants that are alive; empty when it is gone."""
    children: dict[int, list[int]] = {}
    alive: set[int] = set()
    for entry in proc.iterdir():
        if entry.name.isdigit() and (fields := _stat(entry)) is not None and fields[0] != "Z":
            alive.add(int(entry.name))
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    tree: set[int] = set()
    waiting = [pid] if pid in alive else []
    while waiting:
        current = waiting.pop()
        tree.add(current)
        waiting.extend(children.get(current, ()))
    return tree


def listener_on(port: int, proc: Path = _PROC) -> int | None:
    """The process that holds the listening TCP socket; None when it is not on this host or not ours to see."""
    wanted = {f"socket:[{inode}]" for inode in _listening_inodes(port, proc)}
    if not wanted:
        return None
    for entry in sorted((e for e in proc.iterdir() if e.name.isdigit()), key=lambda e: int(e.name)):
        try:
            if any(str(link.readlink()) in wanted for link in (entry / "fd").iterdir()):
                return int(entry.name)
        except OSError:
            continue
    return None


@dataclass(frozen=True, slots=True)
class HostTime:
    """CPU ticks of the whole machine and of some processes at one moment."""

    busy: int
    stolen: int
    total: int
    own: int


def host_time(own: set[int], proc: Path = _PROC) -> HostTime:
    """What the machine has done so far, and what of it the processes in `own` did."""
    user, nice, system, idle, iowait, irq, softirq, steal, *_ = (
        int(word) for word in (proc / "stat").read_text(encoding="ascii").splitlines()[0].split()[1:]
    )
    busy = user + nice + system + irq + softirq
    mine = 0
    for pid in own:
        fields = _stat(proc / str(pid))
        mine += int(fields[11]) + int(fields[12]) if fields is not None else 0
    return HostTime(busy, steal, busy + steal + idle + iowait, mine)


def other_work(before: HostTime, after: HostTime) -> float:
    """The share of the machine's CPU time that went to neither side of the measurement, stolen time included."""
    total = after.total - before.total
    if total <= 0:
        return 0.0
    others = (after.busy - before.busy) + (after.stolen - before.stolen) - max(0, after.own - before.own)
    return min(1.0, max(0.0, others / total))


def own_pids(triton: int | None) -> set[int]:
    """This process and Triton's."""
    return {os.getpid()} | (tree_of(triton) if triton is not None else set())


def _stat(entry: Path) -> list[str] | None:
    """The fields of /proc/PID/stat from the state on: the name before it may hold spaces and brackets."""
    try:
        return (entry / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None


def _listening_inodes(port: int, proc: Path) -> set[str]:
    inodes = set()
    for table in (proc / "net/tcp", proc / "net/tcp6"):
        if not table.exists():
            continue
        for line in table.read_text(encoding="ascii").splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(fields[9])
    return inodes
