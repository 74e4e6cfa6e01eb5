"""How a provider's JSON is read: strictly, with the field named in the error. Missing is an error or None, not zero."""

import math
from datetime import UTC, datetime
from typing import Any

from carbon_service.sources.source import SourceError


class Payload:
    """JSON of a provider, with the way to it, so that an error can say where it is wrong."""

    def __init__(self, value: Any, provider: str, path: str = "answer") -> None:
        self._value = value
        self._provider = provider
        self._path = path

    def field(self, name: str) -> "Payload":
        """A field that must be there; it may be null."""
        if not isinstance(self._value, dict) or name not in self._value:
            raise self._wrong(f"has no {name}")
        return Payload(self._value[name], self._provider, f"{self._path}.{name}")

    def optional(self, name: str) -> "Payload":
        """A field that may be absent: it is then null."""
        if not isinstance(self._value, dict):
            raise self._wrong("is not an object")
        return Payload(self._value.get(name), self._provider, f"{self._path}.{name}")

    def items(self) -> list["Payload"]:
        """The entries of a list."""
        if not isinstance(self._value, list):
            raise self._wrong("is not a list")
        return [Payload(each, self._provider, f"{self._path}[{index}]") for index, each in enumerate(self._value)]

    def number(self) -> float | None:
        """A finite number; None where it is null."""
        if self._value is None:
            return None
        if isinstance(self._value, bool) or not isinstance(self._value, int | float):
            raise self._wrong("is not a number")
        try:
            number = float(self._value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise self._wrong("is not a finite number")
        return number

    def text(self) -> str:
        """Text."""
        if not isinstance(self._value, str):
            raise self._wrong("is not text")
        return self._value

    def flag(self) -> bool:
        """True or false."""
        if not isinstance(self._value, bool):
            raise self._wrong("is not true or false")
        return self._value

    def time(self) -> datetime:
        """A time with a zone, in UTC."""
        try:
            moment = datetime.fromisoformat(self.text())
            if moment.tzinfo is None:
                raise ValueError
            return moment.astimezone(UTC)
        except (ValueError, OverflowError) as error:
            raise self._wrong("is not a time with a zone") from error

    @property
    def is_null(self) -> bool:
        """True where nothing is said."""
        return self._value is None

    @property
    def is_list(self) -> bool:
        """True for a list."""
        return isinstance(self._value, list)

    @property
    def is_empty(self) -> bool:
        """True for an object or a list without anything in it."""
        return isinstance(self._value, dict | list) and not self._value

    def _wrong(self, what: str) -> SourceError:
        return SourceError(f"{self._provider}: {self._path} {what}")
