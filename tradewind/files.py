"""Files that are read at start and again when they change: a look at most once a second, and never a broken one."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Generic, TypeVar

from tradewind.errors import StartupError
from tradewind.logs import get_logger

log = get_logger(__name__)

_LOOK_EVERY_S = 1.0
_LARGEST = 1_048_576

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class NamedFile:
    """A small text file with the variable that names it, for whoever has to mend it."""

    variable: str
    path: Path

    @property
    def name(self) -> str:
        """How to call it."""
        return f"{self.variable}: {self.path}"

    def text(self) -> str:
        """What is in it; StartupError says what is wrong with it, and nothing of what is in it."""
        try:
            if self.path.stat().st_size > _LARGEST:
                raise StartupError(f"{self.name} is larger than {_LARGEST} bytes: it is not such a file")
            return self.path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise StartupError(
                f"{self.name} cannot be read: give the path of a text file that this user may read"
            ) from error

    def content(self) -> bytes:
        """The same as bytes."""
        return self.text().encode()


def named(variable: str, path: Path | None) -> NamedFile | None:
    """The file of a setting, where it has one."""
    return None if path is None else NamedFile(variable, path)


class Followed(Generic[T]):
    """What files say together, now. Where they are gone or wrong, later, what they said before still holds."""

    def __init__(self, files: Iterable[NamedFile], read: Callable[[], T]) -> None:
        """`read` reads them; StartupError when they are wrong at start."""
        self._files, self._read = tuple(files), read
        self._seen = self._look()
        self._looked_s = monotonic()
        self._said = read()

    @property
    def current(self) -> T:
        """What they say."""
        now_s = monotonic()
        if now_s - self._looked_s >= _LOOK_EVERY_S:
            self._looked_s = now_s
            seen = self._look()
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
            log.info("a file has changed and was read again", file=", ".join(file.name for file in self._files))

    def _look(self) -> list[tuple[int, int, int] | None]:
        return [_stamp(file.path) for file in self._files]


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
