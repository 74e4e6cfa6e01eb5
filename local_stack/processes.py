"""One child process: started on a leash, awaited, watched and stopped, with nothing left running."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TypeVar

from tradewind.errors import StartupError

_LEASH = Path(__file__).with_name("leash.py")
_POLL_S = 0.02

T = TypeVar("T")


@dataclass
class Child:
    """A program in a process group of its own. Start it from the main thread: the leash is tied to the thread."""

    name: str
    program: Sequence[str]
    directory: Path
    """Where its output goes: `NAME.out` and `NAME.log`."""
    environment: Mapping[str, str] | None = None
    uid: int = 0
    """Who runs it, where that is not the one who starts it."""
    stop_signal: signal.Signals = signal.SIGTERM
    """What asks it to end, at a stop and when its parent dies."""
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def output(self) -> Path:
        """What it wrote to stdout since it started."""
        return self.directory / f"{self.name}.out"

    @property
    def log(self) -> Path:
        """What it wrote to stderr, over all its starts."""
        return self.directory / f"{self.name}.log"

    @property
    def pid(self) -> int:
        """Its process id; the process must have been started."""
        return self._started.pid

    @property
    def alive(self) -> bool:
        """Whether it is running."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Starts it, or starts it again."""
        if self.alive:
            return
        leash = [sys.executable, "-I", "-S", str(_LEASH), str(os.getpid()), str(self.uid), str(int(self.stop_signal))]
        with self.output.open("wb") as output, self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*leash, *self.program],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=log,
                env=None if self.environment is None else dict(self.environment),
                start_new_session=True,
            )

    def wait_until(self, probe: Callable[[], T | None], *, timeout_s: float, what: str) -> T:
        """The first answer of `probe` that is neither None nor False; StartupError when it dies or takes too long."""
        deadline = time.monotonic() + timeout_s
        while True:
            answer = probe()
            if answer is not None and answer is not False:
                return answer
            if not self.alive:
                raise StartupError(self.obituary())
            if time.monotonic() > deadline:
                raise StartupError(f"{self.name} did not {what} within {timeout_s:g} s; {self._last_words()}")
            time.sleep(_POLL_S)

    def wait_listening(self, front: str = "", *, timeout_s: float = 60) -> int:
        """The port of its line `NAME listening on HOST:PORT`, or `NAME FRONT listening on HOST:PORT`."""
        label = " ".join(filter(None, (self.name, front)))
        line = re.compile(rf"^{re.escape(label)} listening on \S+:(\d+)\s*$", re.MULTILINE)

        def port() -> int | None:
            match = line.search(self.output.read_text(encoding="utf-8", errors="replace"))
            return int(match[1]) if match else None

        return self.wait_until(port, timeout_s=timeout_s, what=f"say its {front} port".replace("  ", " "))

    def kill(self) -> None:
        """SIGKILL to the program alone, as a crash would look; its helpers are ended with the group."""
        self._started.kill()
        self._started.wait()
        self._end_group()

    def stop(self, *, deadline_s: float = 10) -> None:
        """Asks it to end, SIGKILL after the deadline, and SIGKILL for whatever its group left behind."""
        if self._process is None:
            return
        if self.alive:
            self._process.send_signal(self.stop_signal)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(deadline_s)
        self._end_group()
        self._process.wait()

    def obituary(self) -> str:
        """How it ended and its last words, in one sentence."""
        return self.ending() if self.alive else f"{self.ending()}; {self._last_words()}"

    def ending(self) -> str:
        """How it ended, in a few words."""
        code = self._started.poll()
        if code is None:
            return f"{self.name} is running"
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit status {code}"
        return f"{self.name} ended {how}"

    @property
    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise StartupError(f"{self.name} was never started")
        return self._process

    def _end_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._started.pid, signal.SIGKILL)

    def _last_words(self, lines: int = 3, characters: int = 600) -> str:
        for path in (self.log, self.output):
            if path.exists() and (text := path.read_text(encoding="utf-8", errors="replace").strip()):
                last = " | ".join(line.strip() for line in text.splitlines()[-lines:])
                return f"its last lines ({path}): {last[-characters:]}"
        return f"it wrote nothing ({self.log})"


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM and SIGHUP unwind like Ctrl-C, so that every `finally` runs; from the main thread only."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
