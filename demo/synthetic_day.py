"""A grid that never was: days of half-hours for those without a trace at hand. Whatever shows it calls it synthetic.

The shape, in g/kWh: a level of 330, a bell of sunshine around 12:30 that takes 250 away, and an evening peak of 45
around 20:00. Wind moves all of it by two slow sines of 15 and 10. It is a formula, so every run is the same.
"""

import csv
import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

SYNTHETIC_NAME = "synthetic-day"
FIRST_DAY = datetime(2026, 6, 1, tzinfo=UTC)
STEP = timedelta(minutes=30)
_LEAST = 20.0


def synthetic_days(days: int) -> Iterator[tuple[datetime, float]]:
    """Begin and intensity of every half-hour."""
    for number in range(days * 48):
        yield FIRST_DAY + number * STEP, round(_intensity(number / 2), 1)


def _intensity(hours: float) -> float:
    hour = hours % 24
    wind = 15 * math.sin(2 * math.pi * hours / 31) + 10 * math.sin(2 * math.pi * hours / 11.3 + 1)
    evening, sunshine = 45 * _bell(hour, 20, 2.2), 250 * _bell(hour, 12.5, 3.6)
    return max(_LEAST, 330 + wind + evening - sunshine)


def _bell(hour: float, middle: float, width: float) -> float:
    return math.exp(-(((hour - middle) / width) ** 2))


def write_synthetic_days(directory: Path, *, days: int) -> Path:
    """The days as a CSV file; its name says what it is."""
    path = directory / f"{SYNTHETIC_NAME}.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("from_utc", "intensity_g_per_kwh"))
        writer.writerows((begins.isoformat(), intensity) for begins, intensity in synthetic_days(days))
    return path
