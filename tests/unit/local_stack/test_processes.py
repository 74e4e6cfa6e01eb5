"""A child is awaited, watched, stopped and never left behind."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from local_stack.processes import Child, interruptible
from tradewind.errors import StartupError

_SERVES = (
    "import time; print('thing HTTP listening on 127.0.0.1:4710'); "
    "print('thing listening on 127.0.0.1:4711', flush=True); time.sleep(60)"
)


def _child(directory: Path, code: str, name: str = "thing") -> Child:
    return Child(name, [sys.executable, "-c", code], directory)


def _gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def _await_gone(pid: int) -> None:
    deadline = time.monotonic() + 10
    while not _gone(pid):
        assert time.monotonic() < deadline, f"process {pid} is still there"
        time.sleep(0.01)


def test_the_port_is_read_from_its_line(tmp_path: Path) -> None:
    child = _child(tmp_path, _SERVES)
    child.start()
    try:
        assert child.wait_listening(timeout_s=10) == 4711
        assert child.wait_listening("HTTP", timeout_s=10) == 4710
    finally:
        child.stop()
    assert not child.alive


def test_a_child_that_dies_is_told_with_its_last_words(tmp_path: Path) -> None:
    child = _child(tmp_path, "import sys; print('first'); sys.exit('the port 7 is taken: free it')")
    child.start()
    with pytest.raises(StartupError, match=r"thing ended with exit status 1; .*the port 7 is taken: free it"):
        child.wait_listening(timeout_s=10)
    child.stop()


def test_a_child_that_says_nothing_in_time_is_told(tmp_path: Path) -> None:
    child = _child(tmp_path, "import time; time.sleep(60)")
    child.start()
    with pytest.raises(StartupError, match=r"thing did not say its port within 0.1 s; it wrote nothing"):
        child.wait_listening(timeout_s=0.1)
    child.stop()


def test_a_program_that_does_not_exist_is_told(tmp_path: Path) -> None:
    child = Child("thing", ["no-such-program-here"], tmp_path)
    child.start()
    with pytest.raises(StartupError, match="no-such-program-here cannot be started: No such file"):
        child.wait_listening(timeout_s=10)


def test_a_second_start_does_not_see_the_first_ones_port(tmp_path: Path) -> None:
    child = _child(tmp_path, _SERVES)
    child.start()
    child.wait_listening(timeout_s=10)
    child.kill()
    assert not child.alive
    child.program = [sys.executable, "-c", _SERVES.replace("4711", "4712")]
    child.start()
    try:
        assert child.wait_listening(timeout_s=10) == 4712
    finally:
        child.stop()


def test_a_child_deaf_to_sigterm_is_killed_after_the_deadline(tmp_path: Path) -> None:
    deaf = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {_SERVES}"
    child = _child(tmp_path, deaf)
    child.start()
    child.wait_listening(timeout_s=10)
    pid = child.pid
    child.stop(deadline_s=0.2)
    assert _gone(pid)


_HELPER = (
    "import subprocess, sys, time; "
    "helper = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); "
    "print('helper', helper.pid, flush=True); print('thing listening on h:1', flush=True); time.sleep(60)"
)


@pytest.mark.parametrize("end", [Child.stop, Child.kill])
def test_helpers_of_a_child_end_with_it(tmp_path: Path, end: object) -> None:
    child = _child(tmp_path, _HELPER)
    child.start()
    child.wait_listening(timeout_s=10)
    helper = int(child.output.read_text().split()[1])
    assert not _gone(helper)
    assert callable(end)
    end(child)
    _await_gone(helper)


_PARENT = """
import signal, sys, time
from pathlib import Path
from local_stack.processes import Child, interruptible
# A shell starts what it puts in the background deaf to Ctrl-C: this test's own run may be there.
signal.signal(signal.SIGINT, signal.default_int_handler)
child = Child("thing", [sys.executable, "-c", {code!r}], Path({directory!r}))
try:
    with interruptible():
        child.start()
        child.wait_listening(timeout_s=10)
        print(child.pid, flush=True)
        time.sleep(60)
finally:
    child.stop()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_nothing_is_left_when_the_parent_ends(tmp_path: Path, number: signal.Signals) -> None:
    code = _PARENT.format(code=_SERVES, directory=str(tmp_path))
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert not _gone(pid)
        parent.send_signal(number)
        parent.wait(15)
    _await_gone(pid)


def test_interruptible_unwinds_and_restores_the_handlers() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), interruptible():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before
