"""The paper's numbers follow from its table."""

import pytest

from simulator.paper import rederive
from simulator.synthetic import SYNTHETIC_NAME, synthetic_june
from tradewind.catalogue import operating_point
from tradewind.catalogues import published_catalogue


def test_every_published_number_is_derived_again() -> None:
    variants = published_catalogue().family("resnet").variants
    findings = {
        finding.what: finding
        for finding in rederive({name: operating_point(name, variant) for name, variant in variants.items()})
    }
    expected = {
        "extra grams per extra mJ, ResNet101": 6.997,
        "extra grams per extra mJ, ResNet152": 6.997,
        "error reduction of ResNet101, %": 9.58,
        "error reduction of ResNet152, %": 16.59,
        "CEE of the heuristic, % per g": 0.00522,
        "CEE of ResNet152, % per g": 0.0029,
        "CEE of ResNet101, % per g": 0.00358,
        "extra grams of the heuristic below ResNet101's, %": 42.75,
    }
    for what, value in expected.items():
        assert findings[what].derived == pytest.approx(value, rel=2e-3), what
    rounded = findings["error reduction of the heuristic at 6.57 %, %"]
    assert rounded.derived == pytest.approx(7.957, abs=1e-3)
    assert "8.00 % needs an error of 6.567 %" in rounded.note
    assert "46%, not 80 %" in findings["CEE of ResNet101, % per g"].note


def test_the_table_is_whole_and_published() -> None:
    variants = published_catalogue().family("resnet").variants
    assert len(variants) == 7
    for variant in variants.values():
        assert variant.energy_mj.provenance == variant.error.provenance == "published"


def test_the_synthetic_june_is_thirty_days_and_named_so() -> None:
    june = synthetic_june()
    assert (june.used, june.interval_s, june.name) == (1440, 1800, SYNTHETIC_NAME)
    assert 25.0 <= june.g_per_kwh.min() < 100.0
    assert 250.0 < june.g_per_kwh.max() < 400.0
