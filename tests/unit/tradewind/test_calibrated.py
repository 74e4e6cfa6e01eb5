"""Corrections from the calibration file: marked, bounded in age, and never taken from a broken file."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from profiler.calibrate import Verdict, write_calibration
from profiler.calibration import ModelEnergy, Ratio
from profiler.meters.meter import Nameplate
from tradewind.calibrated import corrected, read_corrections
from tradewind.catalogue import Family, Provenance, energy_of_batch_uj, parse_catalogue
from tradewind.errors import InvalidInput

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
PLATE = Nameplate("nvml", Provenance.MEASURED, "a GPU", "driver", (300.0,))


def written(path: Path, ratio: Ratio | None = Ratio(1.2, 1.15, 1.25, "above_idle")) -> Path:  # noqa: B008 -- frozen
    energy = ModelEnergy(1.0, 1.0, 0.04, 1.0)
    unknown = Verdict("f", "large", energy, None, 30.0)
    write_calibration(path, (Verdict("f", "small", energy, ratio, 10.0), unknown), PLATE, NOW)
    return path


def family() -> Family:
    return parse_catalogue("""
families:
  f:
    error_metric: e
    pool: [small, large]
    variants:
      small:
        energy_mj: {value: 10, above_idle: 5, provenance: estimated}
        energy_by_batch_mj: {8: {value: 4, provenance: estimated}}
        error: {value: 9, provenance: published}
      large:
        energy_mj: {value: 30, provenance: estimated}
        error: {value: 3, provenance: published}
""").family("f")


def test_measured_variants_are_charged_by_what_was_measured_and_marked(tmp_path: Path) -> None:
    corrections = read_corrections(written(tmp_path / "c.json"), NOW + timedelta(minutes=5))
    now = corrected("f", family(), corrections)
    small = now.variants["small"]
    assert energy_of_batch_uj(small, 1) == 12_000
    assert energy_of_batch_uj(small, 8) == 38_400
    assert small.energy_mj.above_idle == pytest.approx(6)
    assert small.energy_mj.interval_95 is not None
    assert small.energy_mj.interval_95[0] == pytest.approx(11.5)
    assert small.energy_mj.interval_95[1] == pytest.approx(12.5)
    assert small.energy_mj.provenance is Provenance.MEASURED
    assert small.energy_mj.source == "calibrated in service by nvml at 2026-05-01T12:00:00+00:00"
    assert now.variants["large"] == family().variants["large"]
    assert corrected("other", family(), corrections) == family()


@pytest.mark.parametrize("age", [timedelta(hours=2), timedelta(minutes=-1)])
def test_what_is_old_or_from_the_future_does_not_count(tmp_path: Path, age: timedelta) -> None:
    assert read_corrections(written(tmp_path / "c.json"), NOW + age) == {}


def test_no_file_yet_is_no_correction(tmp_path: Path) -> None:
    assert read_corrections(tmp_path / "c.json", NOW) == {}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"measured_at": "yesterday", "variants": []}', '{"measured_at": 1}'])
def test_a_broken_file_is_said(tmp_path: Path, text: str) -> None:
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(InvalidInput, match=r"c\.json"):
        read_corrections(tmp_path / "c.json", NOW)


def test_a_catalogue_that_was_measured_again_is_not_corrected_by_what_was_found_against_the_old_one(
    tmp_path: Path,
) -> None:
    corrections = read_corrections(written(tmp_path / "c.json"), NOW)
    small = family().variants["small"]
    again = small.model_copy(update={"energy_mj": small.energy_mj.model_copy(update={"value": 12.0})})
    measured_again = family().model_copy(update={"variants": {"small": again}})
    assert corrected("f", measured_again, corrections) == measured_again


@pytest.mark.parametrize(
    "ratio",
    [
        Ratio(0.0, -0.1, 0.1, "total"),
        Ratio(1e6, 1e5, 1e7, "total"),
        Ratio(float("inf"), 1.0, float("inf"), "total"),
        Ratio(float("nan"), 1.0, 2.0, "total"),
        Ratio(1.2, 1.3, 1.4, "total"),
    ],
)
def test_a_ratio_that_no_calibration_finds_is_refused(tmp_path: Path, ratio: Ratio) -> None:
    with pytest.raises(InvalidInput, match="is not what `python -m profiler` writes"):
        read_corrections(written(tmp_path / "c.json", ratio), NOW)
