"""What one measuring window found, and the file that keeps windows through an interruption."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from profiler.plan import Cell

_KEEPS = timedelta(hours=12)


@dataclass(frozen=True, slots=True)
class Window:
    """Energy, inferences and latencies of one span of load; `refused` says why it holds no figure."""

    variant: str
    batch: int
    seconds: float = 0.0
    inferences: float = 0.0
    joules: float = 0.0
    latencies_ms: tuple[float, ...] = ()
    other_work: float | None = None
    """The share of the machine's CPU time that others took; None where Triton is elsewhere."""
    refused: str = ""
    begun: float = 0.0
    """Seconds since 1970."""

    @property
    def cell(self) -> Cell:
        """What was measured."""
        return Cell(self.variant, self.batch)

    @property
    def energy_mj(self) -> float:
        """Energy per inference."""
        return self.joules * 1000 / self.inferences


class WindowFile:
    """JSON lines, appended as windows end: what was measured survives Ctrl-C and a crash."""

    def __init__(self, path: Path, conditions: Mapping[str, Any]) -> None:
        self._path = path
        self._conditions = json.loads(json.dumps(conditions))

    def resume(self, now: datetime) -> list[Window]:
        """The windows measured under the same conditions and not long ago; otherwise the file begins anew."""
        lines = self._path.read_text(encoding="utf-8").splitlines() if self._path.exists() else []
        header = _parsed(lines[0]) if lines else None
        if header is not None and self._continues(header, now):
            if not self._path.read_bytes().endswith(b"\n"):
                self._append("")  # What comes next is not to be lost with the torn line of a process that was killed.
            found = [_window(parsed) for line in lines[1:] if (parsed := _parsed(line)) is not None]
            return [window for window in found if window is not None]
        self._path.parent.mkdir(parents=True, exist_ok=True)
        begun = {"conditions": self._conditions, "begun": now.astimezone(UTC).isoformat()}
        self._path.write_text(json.dumps(begun) + "\n", encoding="utf-8")
        return []

    def add(self, window: Window) -> None:
        """Appends a window."""
        self._append(json.dumps(asdict(window)))

    def remove(self) -> None:
        """Deletes the file: what it held is written elsewhere."""
        self._path.unlink(missing_ok=True)

    def _append(self, line: str) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")

    def _continues(self, header: Mapping[str, Any], now: datetime) -> bool:
        try:
            age = now - datetime.fromisoformat(header["begun"])
        except (KeyError, TypeError, ValueError):
            return False
        return header.get("conditions") == self._conditions and timedelta(0) <= age < _KEEPS


def _parsed(line: str) -> dict[str, Any] | None:
    """A line's object; None for the torn last line of a process that was killed."""
    try:
        parsed = json.loads(line)
    except ValueError:
        return None
    return parsed if isinstance(parsed, dict) else None


def _window(fields: dict[str, Any]) -> Window | None:
    try:
        return Window(**{**fields, "latencies_ms": tuple(fields.get("latencies_ms", ()))})
    except TypeError:
        return None
