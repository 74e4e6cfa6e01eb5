"""Conversions are exact, and the paper's own scale comes out of them."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradewind import units


@pytest.mark.parametrize(
    ("energy_uj", "intensity_g_per_kwh", "expected_ng"),
    [
        (3_600_000, 1.0, 1_000),  # 3.6 J at 1 g/kWh is a microgram.
        (420_621, 212.5, 24_828),  # ResNet50 once, on a middling grid.
        (0, 500.0, 0),
        (1, 3_600.0, 1),
    ],
)
def test_emissions_of_one_receipt(energy_uj: int, intensity_g_per_kwh: float, expected_ng: int) -> None:
    assert units.emissions_ng(energy_uj, intensity_g_per_kwh) == expected_ng


@given(st.integers(0, 10**15), st.integers(0, 3_000))
def test_nanograms_are_the_exact_quotient_rounded(energy_uj: int, intensity: int) -> None:
    exact = Fraction(energy_uj * intensity, 3_600)
    assert abs(units.emissions_ng(energy_uj, float(intensity)) - exact) <= Fraction(1, 2) + exact / 2**52


@given(st.floats(0, 1e9), st.floats(0, 3_000))
def test_grams_and_nanograms_agree(energy_uj: float, intensity: float) -> None:
    grams = units.emissions_g(energy_uj, intensity)
    assert grams * units.NG_PER_G == pytest.approx(energy_uj * intensity / 3_600)


def test_a_pound_per_megawatt_hour_is_not_a_gram_per_kilowatt_hour() -> None:
    assert units.intensity_from_lb_per_mwh(1_000) == 453.59237


def test_a_kilowatt_hour_is_exact() -> None:
    assert units.UJ_PER_KWH == 3_600_000_000_000
