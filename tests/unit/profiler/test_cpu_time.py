"""CPU time of a real process tree."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from profiler.meters.cpu_time import CpuTimeMeter
from profiler.meters.meter import MeterError
from profiler.meters.process_tree import host_time, other_work, own_pids, tree_of
from tradewind.catalogue import Provenance

# A parent with one child; each burns a known amount of CPU time per line on stdin, by its own clock.
TREE = """
import subprocess, sys, time
def burn():
    end = time.process_time() + 0.2
    while time.process_time() < end: pass
if sys.argv[1:] == ["child"]:
    for line in sys.stdin: burn(); print("done", flush=True)
else:
    child = subprocess.Popen([sys.executable, "-S", __file__, "child"], stdin=-1, stdout=-1, text=True)
    print(child.pid, flush=True)
    for line in sys.stdin:
        if line == "end\\n": child.stdin.close(); child.wait(); print("ended", flush=True); continue
        burn(); child.stdin.write(line); child.stdin.flush(); child.stdout.readline(); print("done", flush=True)
"""


@contextmanager
def burner(tmp_path: object) -> Iterator["subprocess.Popen[str]"]:
    script = f"{tmp_path}/tree.py"
    with open(script, "w", encoding="utf-8") as file:  # noqa: PTH123
        file.write(TREE)
    process = subprocess.Popen([sys.executable, "-S", script], stdin=-1, stdout=-1, text=True)
    try:
        assert process.stdout is not None
        assert int(process.stdout.readline()) in tree_of(process.pid)
        yield process
    finally:
        process.kill()
        process.communicate()


def tell(process: "subprocess.Popen[str]", line: str) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(line)
    process.stdin.flush()
    process.stdout.readline()


def test_cpu_time_of_parent_and_child_is_counted(tmp_path: object) -> None:
    with burner(tmp_path) as process:
        meter = CpuTimeMeter(process.pid, watts_per_core=10)
        before = meter.read()
        tell(process, "burn\n")
        joules = meter.read().counters[0] - before.counters[0]
        assert joules == pytest.approx(0.4 * 10, rel=0.1)
        assert meter.nameplate.provenance is Provenance.ESTIMATED
        assert "10 W per core (assumed)" in meter.nameplate.method


def test_a_helper_that_ends_spoils_the_window_and_not_the_next(tmp_path: object) -> None:
    with burner(tmp_path) as process:
        meter = CpuTimeMeter(process.pid)
        meter.read()
        tell(process, "end\n")
        with pytest.raises(MeterError, match="ended during the window"):
            meter.read()
        assert meter.read().counters[0] > 0


def test_a_server_that_ends_is_said(tmp_path: object) -> None:
    with burner(tmp_path) as process:
        meter = CpuTimeMeter(process.pid)
        process.kill()
        process.wait()
        with pytest.raises(MeterError, match="is gone"):
            meter.read()


def test_other_work_is_what_neither_side_did(tmp_path: object) -> None:
    with burner(tmp_path) as process:
        before_all, before_own = host_time(set()), host_time(own_pids(process.pid))
        tell(process, "burn\n")
        after_all, after_own = host_time(set()), host_time(own_pids(process.pid))
    assert os.getpid() in own_pids(None)
    # The burning itself is other work only to those who do not know the burner.
    assert other_work(before_all, after_all) > other_work(before_own, after_own)
