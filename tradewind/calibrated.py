"""Measured corrections of the catalogue's energies, read from the file that calibration writes.

A figure corrected this way is marked: its source says by what and when it was measured.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from tradewind.catalogue import EnergyFigure, Family, Provenance, Variant
from tradewind.errors import InvalidInput

_MOST = 100.0
"""A ratio beyond this, or its inverse, is of another machine or another unit, not of this catalogue."""

MAX_AGE = timedelta(hours=1)
"""Older measurements are of a device that may have changed since: the catalogue's figures count again."""


@dataclass(frozen=True, slots=True)
class Correction:
    """Measured / catalogue for one variant."""

    energy_ratio: float
    interval_95: tuple[float, float]
    meter: str
    provenance: Provenance
    measured_at: datetime
    catalogue_energy_mj: float
    """The catalogue's figure of one inference that was compared with."""

    def fits(self, variant: Variant) -> bool:
        """Whether it was compared with this figure; a catalogue that was measured again since is another one."""
        return math.isclose(variant.energy_mj.value, self.catalogue_energy_mj, rel_tol=1e-9)


def read_corrections(path: Path, now: datetime) -> Mapping[tuple[str, str], Correction]:
    """Corrections by family and variant; none where the file is not there yet or too old."""
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InvalidInput(
            f"calibration {path}: cannot be read as JSON; it is written by `python -m profiler`"
        ) from error
    try:
        measured_at = datetime.fromisoformat(content["measured_at"])
        if not timedelta(0) <= now - measured_at <= MAX_AGE:
            return {}
        meter, provenance = str(content["meter"]), Provenance(content["provenance"])
        return {
            (str(entry["family"]), str(entry["variant"])): _correction(entry, meter, provenance, measured_at)
            for entry in content["variants"]
        }
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InvalidInput(f"calibration {path}: is not what `python -m profiler` writes; remove it") from error


def _correction(entry: Any, meter: str, provenance: Provenance, measured_at: datetime) -> Correction:
    ratio, low, high, compared_with = (
        float(number) for number in (entry["energy_ratio"], *entry["interval_95"], entry["catalogue_energy_mj"])
    )
    if not (1 / _MOST <= ratio <= _MOST and low <= ratio <= high and math.isfinite(low) and math.isfinite(high)):
        raise ValueError("a ratio that no calibration finds")
    return Correction(ratio, (max(0.0, low), high), meter, provenance, measured_at, compared_with)


def corrected(name: str, family: Family, corrections: Mapping[tuple[str, str], Correction]) -> Family:
    """The family with every measured variant's energies multiplied by its ratio and marked so."""
    variants = dict(family.variants)
    for variant, described in family.variants.items():
        correction = corrections.get((name, variant))
        if correction is not None and correction.fits(described):
            variants[variant] = _corrected(described, correction)
    return family.model_copy(update={"variants": variants})


def _corrected(variant: Variant, correction: Correction) -> Variant:
    return variant.model_copy(
        update={
            "energy_mj": _times(variant.energy_mj, correction),
            "energy_by_batch_mj": {
                size: _times(figure, correction) for size, figure in variant.energy_by_batch_mj.items()
            },
        }
    )


def _times(figure: EnergyFigure, correction: Correction) -> EnergyFigure:
    ratio = correction.energy_ratio
    source = f"calibrated in service by {correction.meter} at {correction.measured_at.isoformat(timespec='seconds')}"
    return figure.model_copy(
        update={
            "value": figure.value * ratio,
            "above_idle": None if figure.above_idle is None else figure.above_idle * ratio,
            "interval_95": tuple(figure.value * bound for bound in correction.interval_95),
            "provenance": correction.provenance,
            "source": source,
            "date": correction.measured_at.date().isoformat(),
        }
    )
