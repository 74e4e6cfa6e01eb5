"""Files that are read at start and again when they change: a look at most once a second, and never a broken one."""

from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Generic, TypeVar

from tradewind.errors import StartupError
from tradewind.logs import get_logger

log = get_logger(__name__)

_LOOK_EVERY_S = 1.0
_LARGEST = 1_048_576

T = TypeVar("T")


class Followed(Generic[T]):
    """What a file says now. One that cannot be read or is wrong, later, leaves what it said before."""

    def __init__(self, path: Path, variable: str, parse: Callable[[str, str], T]) -> None:
        """`parse` takes the text and how to call the file; StartupError when it is wrong at start."""
        self._path, self._name, self._parse = path, f"{variable}: {path}", parse
        self._seen = _look(path)
        self._looked_s = monotonic()
        self._said = self._read()

    @property
    def current(self) -> T:
        """What it says."""
        now_s = monotonic()
        if now_s - self._looked_s >= _LOOK_EVERY_S:
            self._looked_s = now_s
            seen = _look(self._path)
            if seen != self._seen:
                self._seen = seen
                self._read_again()
        return self._said

    def _read_again(self) -> None:
        try:
            self._said = self._read()
        except StartupError as error:
            log.error("what the file said before still holds", error=str(error))  # noqa: TRY400 -- its text says all
        else:
            log.info("a file has changed and was read again", file=self._name)

    def _read(self) -> T:
        return self._parse(read_text(self._path, self._name), self._name)


def read_text(path: Path, name: str) -> str:
    """A small file's text; StartupError says what is wrong with it, and nothing of what is in it."""
    try:
        if path.stat().st_size > _LARGEST:
            raise StartupError(f"{name} is larger than {_LARGEST} bytes: it is not such a file")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StartupError(f"{name} cannot be read: give the path of a text file that this user may read") from error


def _look(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
