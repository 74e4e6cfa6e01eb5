"""By which energies requests are charged: the catalogue's, or what calibration measured in service, as long as it does.

Charging only: decisions, requirements and the order of variants go by the catalogue.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from inference_proxy.targets import CALIBRATED, Charges, Target
from tradewind.calibrated import Correction, corrected, read_corrections
from tradewind.catalogue import Catalogue
from tradewind.errors import InvalidInput
from tradewind.logs import get_logger

log = get_logger(__name__)

_LOOK_S = 5.0
_MOVED = 0.005
"""A ratio is measured to some percent and written every few seconds: what moved by less than this is not taken anew."""


class Charged(Protocol):
    """A route, whose later requests are to be charged by new figures."""

    def charge_anew(self) -> None:
        """Forgets what was worked out by the old ones."""
        ...


class Charging:
    """Reads the calibration file again and again, and sets what each target is charged by."""

    def __init__(
        self,
        path: Path,
        catalogue: Catalogue,
        targets: Mapping[str, Sequence[Target]],
        routes: Collection[Charged],
    ) -> None:
        """`targets` are those of each family."""
        self._path, self._catalogue, self._targets, self._routes = path, catalogue, targets, routes
        self._said = ""

    async def watch(self) -> None:
        """Looks for ever."""
        while True:
            await self.look()
            await asyncio.sleep(_LOOK_S)

    async def look(self) -> None:
        """Reads the file and charges by it; by the catalogue where it is not there, broken or too old."""
        try:
            corrections = await asyncio.to_thread(read_corrections, self._path, datetime.now(UTC))
        except InvalidInput as error:
            self._say(str(error))
            corrections = {}
        self._charge_by(corrections)

    def _charge_by(self, corrections: Mapping[tuple[str, str], Correction]) -> None:
        changed, measured = False, []
        for name, targets in self._targets.items():
            family = self._catalogue.families[name]
            variants = corrected(name, family, corrections).variants
            for target in targets:
                figures = variants[target.variant]
                source = CALIBRATED if figures is not family.variants[target.variant] else None
                if source is not None:
                    measured.append(f"{name}/{target.variant}")
                if _differ(target.charges, Charges(figures, source)):
                    target.charges = Charges(figures, source)
                    changed = True
        if measured:
            self._say("", measured)
        elif not self._said.startswith("calibration "):
            self._say(f"calibration {self._path}: nothing that was measured within the last hour for this catalogue")
        if changed:
            for route in self._routes:
                route.charge_anew()

    def _say(self, why_not: str, measured: Sequence[str] = ()) -> None:
        """Each state once."""
        if why_not and why_not != self._said:
            log.warning("charging by the catalogue", why=why_not)
        elif not why_not and self._said != (told := ", ".join(measured)):
            log.info("charging by what was measured in service", variants=told)
        self._said = why_not or ", ".join(measured)


def _differ(old: Charges, new: Charges) -> bool:
    before, after = old.figures.energy_mj.value, new.figures.energy_mj.value
    return old.source != new.source or abs(after - before) > _MOVED * before
