"""A synthetic June for those without a trace at hand. It is no measurement, and says so wherever it appears.

The shape, in g/kWh and UTC: a level of 230 that wanders between windy and still days (a sum of slow sines, up to 60
either way), minus a bell of sunshine around 13:00 that is up to 150 deep and differs from day to day, plus an
evening peak of 40 around 19:00; never below 25. Everything is a formula, so that every run is the same.
"""

from datetime import UTC, datetime

import numpy as np

from simulator.series import IntensitySeries

SYNTHETIC_NAME = "synthetic-june"
_INTERVAL_S = 1_800
_DAYS = 30


def synthetic_june() -> IntensitySeries:
    """Thirty days of half-hours."""
    rows = _DAYS * 86_400 // _INTERVAL_S
    times = int(datetime(2023, 6, 1, tzinfo=UTC).timestamp()) + _INTERVAL_S * np.arange(rows, dtype=np.int64)
    days = np.arange(rows) * _INTERVAL_S / 86_400
    hours, day = (days % 1.0) * 24.0, np.floor(days)
    wind = 35.0 * np.sin(2 * np.pi * days / 6.3) + 25.0 * np.sin(2 * np.pi * days / 2.7 + 1.0)
    sunshine = 150.0 * (0.7 + 0.3 * np.sin(2.4 * day)) * np.exp(-(((hours - 13.0) / 3.0) ** 2))
    evening = 40.0 * np.exp(-(((hours - 19.0) / 1.5) ** 2))
    return IntensitySeries(
        name=SYNTHETIC_NAME,
        times_s=times,
        g_per_kwh=np.maximum(25.0, 230.0 + wind - sunshine + evening),
        interval_s=_INTERVAL_S,
        rows=rows,
        missing=0,
        implausible=0,
        duplicates=0,
    )
