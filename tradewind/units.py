"""Energy, intensity and emissions: exact conversions, in one place.

Units live in names: `_mj` millijoule, `_uj` microjoule, `_g_per_kwh` gram CO2eq per kilowatt-hour, `_ng` nanogram.
"""

JOULES_PER_KWH = 3_600_000
"""1 kWh = 1000 W x 3600 s, exactly."""

GRAMS_PER_POUND = 453.59237
"""The international avoirdupois pound, exactly."""

UJ_PER_MJ = 1_000
UJ_PER_KWH = JOULES_PER_KWH * 1_000_000
NG_PER_G = 1_000_000_000


def energy_uj_from_mj(energy_mj: float) -> int:
    """Energy in whole microjoules, rounded to nearest."""
    return round(energy_mj * UJ_PER_MJ)


def emissions_ng(energy_uj: int, intensity_g_per_kwh: float) -> int:
    """Emissions in whole nanograms: ng = mJ x g/kWh / 3.6, rounded to nearest."""
    return round(energy_uj * intensity_g_per_kwh / 3_600)


def emissions_g(energy_uj: float, intensity_g_per_kwh: float) -> float:
    """Emissions in grams of an energy in microjoules at an intensity."""
    return energy_uj * intensity_g_per_kwh / UJ_PER_KWH


def intensity_from_lb_per_mwh(intensity_lb_per_mwh: float) -> float:
    """g/kWh of an intensity in lb/MWh (1 lb/MWh = 0.45359237 g/kWh)."""
    return intensity_lb_per_mwh * GRAMS_PER_POUND / 1_000
