"""How does each source do? Kept by those who ask the sources, shown to those who ask the service."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import datetime


@dataclass(frozen=True, slots=True)
class SourceHealth:
    """How one source does for one zone."""

    zone: str
    source: str
    healthy: bool = True
    in_use: bool = False
    last_success: datetime | None = None
    last_failure: datetime | None = None
    problem: str = ""


class SourceHealths:
    """Every source of every zone, in order of preference."""

    def __init__(self) -> None:
        self._healths: dict[tuple[str, str], SourceHealth] = {}
        self._listeners: list[Callable[[SourceHealth], None]] = []

    def on_change(self, listener: Callable[[SourceHealth], None]) -> None:
        """Calls `listener` whenever a source's health changes."""
        self._listeners.append(listener)

    def add(self, zone: str, source: str) -> None:
        """A source that will be asked."""
        self._set(SourceHealth(zone, source))

    def succeeded(self, zone: str, source: str, now: datetime, instead_of: Collection[str] = ()) -> None:
        """The source answered, and is the one in use, instead of the others of its signal."""
        known = self._healths[zone, source]
        self._set(replace(known, healthy=True, in_use=True, last_success=now, problem=""))
        for each in self.of_zone(zone):
            if each.source in instead_of and each.source != source and each.in_use:
                self._set(replace(each, in_use=False))

    def failed(self, zone: str, source: str, now: datetime, problem: str) -> None:
        """The source did not answer as it should."""
        known = self._healths[zone, source]
        self._set(replace(known, healthy=False, in_use=False, last_failure=now, problem=problem))

    def of_zone(self, zone: str) -> list[SourceHealth]:
        """The zone's sources, in order of preference."""
        return [each for each in self._healths.values() if each.zone == zone]

    def every(self) -> list[SourceHealth]:
        """Every source of every zone."""
        return list(self._healths.values())

    def _set(self, health: SourceHealth) -> None:
        self._healths[health.zone, health.source] = health
        for listener in self._listeners:
            listener(health)
