"""What operators force, kept on the proxy's own disk: a force outlives the process, and every use is written down.

The journal is a file of JSON lines beside the spool; the force in force is the last word in it about its family.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from inference_proxy.routes import FamilyRoute, Force
from tradewind.database import microseconds
from tradewind.errors import InvalidInput, NotFound
from tradewind.logs import get_logger
from tradewind.readings import format_time, parse_time

log = get_logger(__name__)

FORCE, RELEASE = "force", "release"
_LONGEST_TEXT = 1_000


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing that an operator did."""

    at: datetime
    action: str
    family: str
    variant: str
    until: datetime | None
    operator: str
    why: str


class Forces:
    """Forces and releases families; `restore` brings back what was in force when the process ended."""

    def __init__(self, journal: Path, families: Mapping[str, FamilyRoute]) -> None:
        self._journal, self._families = journal, families

    def force(self, family: str, variant: str, until: datetime, operator: str, why: str) -> None:
        """Serves a family by one variant until a time."""
        route = self._route(family)
        if not route.permitted(variant):
            names = ", ".join(target.variant for target in route.targets)
            raise InvalidInput(f"variant {variant[:80]!r} is not a permitted variant of {family}: it has {names}")
        if until <= datetime.now(UTC):
            raise InvalidInput(f"until {format_time(until)} is not in the future: give a later time")
        self._write(Operation(datetime.now(UTC), FORCE, family, variant, until, *_signed(operator, why)))
        route.force = Force(variant, microseconds(until), operator, why)

    def release(self, family: str, operator: str, why: str) -> bool:
        """Ends a force; False when nothing was forced."""
        route = self._route(family)
        if route.force is None:
            return False
        variant = route.force.variant
        self._write(Operation(datetime.now(UTC), RELEASE, family, variant, None, *_signed(operator, why)))
        route.force = None
        return True

    def restore(self) -> None:
        """Brings back the forces whose time is not over; what this catalogue does not permit any more is left out."""
        last = {operation.family: operation for operation in reversed(self.operations(at_most=None))}
        for name, operation in last.items():
            route = self._families.get(name)
            if route is None or operation.action != FORCE or not route.permitted(operation.variant):
                continue
            if operation.until is not None and operation.until > datetime.now(UTC):
                route.force = Force(operation.variant, microseconds(operation.until), operation.operator, operation.why)
                log.info("a force is still in force", family=name, variant=operation.variant)

    def operations(self, at_most: int | None) -> list[Operation]:
        """What operators did, newest first."""
        if not self._journal.exists():
            return []
        found = []
        for line in self._journal.read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue  # Cut short by a crash: it was not in force yet.
            entry["at"] = parse_time(entry["at"])
            entry["until"] = parse_time(entry["until"]) if entry["until"] else None
            found.append(Operation(**entry))
        return found[::-1][:at_most]

    def _route(self, family: str) -> FamilyRoute:
        route = self._families.get(family)
        if route is None:
            raise NotFound(
                f"family {family[:80]!r} is not in the catalogue: it has {', '.join(sorted(self._families))}"
            )
        return route

    def _write(self, operation: Operation) -> None:
        line = json.dumps(
            {
                "at": format_time(operation.at),
                "action": operation.action,
                "family": operation.family,
                "variant": operation.variant,
                "until": format_time(operation.until) if operation.until is not None else None,
                "operator": operation.operator,
                "why": operation.why,
            }
        )
        with self._journal.open("a", encoding="utf-8") as file:
            file.write(f"\n{line}\n")
            file.flush()
            os.fsync(file.fileno())
        log.warning("an operator changed what serves", operation=json.loads(line))


def _signed(operator: str, why: str) -> tuple[str, str]:
    for name, text in (("operator", operator), ("why", why)):
        if not text.strip():
            raise InvalidInput(f"{name} is missing: what operators do is written down with their name and reason")
    return operator[:_LONGEST_TEXT], why[:_LONGEST_TEXT]
