"""Measured corrections of the catalogue's energies, read from the file that calibration writes.

A figure corrected this way is marked: its source says by what and when it was measured.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from tradewind.catalogue import EnergyFigure, Family, Provenance, Variant
from tradewind.errors import InvalidInput

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
        return {
            (entry["family"], entry["variant"]): Correction(
                float(entry["energy_ratio"]),
                (float(entry["interval_95"][0]), float(entry["interval_95"][1])),
                content["meter"],
                Provenance(content["provenance"]),
                measured_at,
            )
            for entry in content["variants"]
            if float(entry["energy_ratio"]) > 0
        }
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InvalidInput(f"calibration {path}: is not what `python -m profiler` writes; remove it") from error


def corrected(name: str, family: Family, corrections: Mapping[tuple[str, str], Correction]) -> Family:
    """The family with every measured variant's energies multiplied by its ratio and marked so."""
    variants = {
        variant: _corrected(described, corrections[name, variant]) if (name, variant) in corrections else described
        for variant, described in family.variants.items()
    }
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
