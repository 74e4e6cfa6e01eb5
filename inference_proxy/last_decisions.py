"""The decisions in force, kept beside the spool: a proxy that begins anew while nobody decides goes on with them.

The file is written before a decision serves its first request and replaced at once, so what is read is whole. It needs
no fsync: a process's death takes nothing from it, and after a power failure it is at worst one decision old or empty.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inference_proxy.routes import FamilyRoute
from tradewind.decisions import Decision, decision_from_json, decision_to_mapping
from tradewind.errors import InvalidInput
from tradewind.logs import get_logger

log = get_logger(__name__)

_VERSION = 1


class LastDecisions:
    """Writes down what is in force, and reads it at the next start."""

    def __init__(self, path: Path, zone: str, families: Mapping[str, FamilyRoute]) -> None:
        self._path, self._zone, self._families = path, zone, families
        self._written = True

    def keep(self) -> None:
        """Writes what is in force; a disk that does not take it is said once, and serving goes on."""
        decisions = [family.decision for family in self._families.values() if family.decision is not None]
        content = {"version": _VERSION, "decisions": [decision_to_mapping(each) for each in decisions]}
        fresh = self._path.with_suffix(f".{os.getpid()}.new")
        try:
            fresh.write_text(json.dumps(content), encoding="utf-8")
            fresh.replace(self._path)
        except OSError as error:
            if self._written:
                log.warning(
                    "the decisions in force cannot be kept; a restart without the selector would serve older ones",
                    path=str(self._path),
                    error=error.strerror,
                )
            self._written = False
            return
        self._written = True

    def restore(self) -> list[Decision]:
        """What was in force when the last life ended, as far as it holds for this zone and catalogue."""
        try:
            content = json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return []
        except (OSError, ValueError, RecursionError):
            return self._ignored("it cannot be read as JSON")
        if not isinstance(content, dict) or content.get("version") != _VERSION:
            return self._ignored(f"it is not of version {_VERSION}")
        entries = content.get("decisions")
        if not isinstance(entries, list):
            return self._ignored("it has no list of decisions")
        return [decision for entry in entries if (decision := self._decision(entry)) is not None]

    def _ignored(self, why: str) -> list[Decision]:
        log.warning("the kept decisions are left out; the selector says new ones", path=str(self._path), why=why)
        return []

    def _decision(self, entry: Any) -> Decision | None:
        try:
            decision = decision_from_json(json.dumps(entry))
        except InvalidInput as error:
            log.warning("a kept decision is not understood and left out", path=str(self._path), error=str(error))
            return None
        why = self._why_not(decision)
        if why is not None:
            log.warning("a kept decision is left out", family=decision.family, decision=decision.id, why=why)
            return None
        log.info(
            "the last decision stands until another comes",
            family=decision.family,
            decision=decision.id,
            decided_at=decision.decided_at.isoformat(),
        )
        return decision

    def _why_not(self, decision: Decision) -> str | None:
        if decision.zone != self._zone:
            return f"it is for zone {decision.zone}, and this proxy is in {self._zone}"
        family = self._families.get(decision.family)
        if family is None:
            return "the catalogue has no such family any more"
        if not any(family.permitted(share.variant) and share.weight > 0 for share in decision.mix):
            names = ", ".join(share.variant for share in decision.mix)
            return f"the catalogue does not permit {names} any more"
        return None
