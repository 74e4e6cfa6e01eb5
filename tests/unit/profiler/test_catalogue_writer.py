"""Figures enter a catalogue file without harm to what a person wrote there."""

from pathlib import Path

import pytest

from profiler.catalogue_writer import known_variants, write_catalogue
from tradewind.catalogue import EnergyFigure, Figure, Provenance, Variant, load_catalogue
from tradewind.errors import InvalidInput

OLD = """\
# Ours, kept by hand.
version: 1
families:
  vision:
    error_metric: top1_error_pct
    pool: [small]          # large is too slow for us
    notes: ask before changing
    variants:
      small:
        model: vision_small
        energy_mj: {value: 1.0, provenance: published, source: a paper}  # soon to be measured
        energy_by_batch_mj:
          8: {value: 0.5, provenance: published}
        error: {value: 9.0, provenance: published}
        p95_latency_ms: {value: 3.0, provenance: published}
      large:
        energy_mj: {value: 4.0, provenance: published}
        error: {value: 3.0, provenance: published}
  speech:
    error_metric: wer
    pool: [tiny]
    variants:
      tiny:
        energy_mj: {value: 7.0, provenance: estimated}
        error: {value: 12.0, provenance: estimated}
"""


def variant(mj: float, error: float = 5.0) -> Variant:
    return Variant(
        energy_mj=EnergyFigure(
            value=mj,
            above_idle=mj / 3,
            provenance=Provenance.MEASURED,
            interval_95=(mj * 0.99, mj * 1.01),
            cv=0.012345,
            samples=9,
            batch=1,
            meter="nvml",
            hardware="a GPU",
            driver="NVIDIA 1",
            runtime="Triton 2",
            method="one request at a time",
            date="2026-05-01",
        ),
        error=Figure(value=error, provenance=Provenance.MEASURED, samples=100),
    )


def test_a_new_file_reads_back_with_all_it_was_given(tmp_path: Path) -> None:
    path = tmp_path / "new" / "catalogue.yaml"
    variants = {"b": variant(2.5), "a": variant(1.25, 8.0)}
    write_catalogue(path, "vision", variants, error_metric="top1_error_pct", pool=["a", "b"])
    family = load_catalogue(path).family("vision")
    assert family.pool == ["a", "b"]
    assert list(family.variants) == ["b", "a"]
    figure = family.variants["b"].energy_mj
    assert figure == variants["b"].energy_mj.model_copy(
        update={"cv": 0.0123, "interval_95": (2.475, 2.525), "above_idle": 0.833333}
    )


def test_writing_the_same_again_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.yaml"
    for _ in range(2):
        write_catalogue(path, "vision", {"a": variant(1.5)}, error_metric="top1_error_pct", pool=["a"])
        text = path.read_text()
    assert path.read_text() == text
    assert [entry.name for entry in tmp_path.iterdir()] == ["catalogue.yaml"]


def test_an_update_keeps_comments_pool_names_and_the_others(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.yaml"
    path.write_text(OLD)
    new = {"small": variant(1.7), "medium": variant(2.0, 4.0)}
    write_catalogue(path, "vision", new, error_metric="top1_error_pct", pool=["small", "medium"])
    text = path.read_text()
    assert "# Ours, kept by hand." in text
    assert "# large is too slow for us" in text
    catalogue = load_catalogue(path)
    vision = catalogue.family("vision")
    assert vision.pool == ["small", "medium"]
    assert vision.notes == "ask before changing"
    assert vision.variants["small"].model == "vision_small"
    assert vision.variants["small"].energy_mj.value == 1.7
    assert vision.variants["large"].energy_mj.value == 4.0
    assert catalogue.family("speech").variants["tiny"].energy_mj.value == 7.0


def test_figures_of_an_earlier_run_do_not_pass_for_this_ones(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.yaml"
    path.write_text(OLD)
    write_catalogue(path, "vision", {"small": variant(1.7)}, error_metric="top1_error_pct", pool=["small"])
    small = load_catalogue(path).family("vision").variants["small"]
    assert small.energy_by_batch_mj == {}
    assert small.p95_latency_ms is None


def test_an_earlier_latency_of_the_same_machine_stays_when_this_run_has_none(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.yaml"
    latency = Figure(value=3.0, provenance=Provenance.MEASURED, hardware="a GPU", date="2026-04-01")
    with_latency = variant(1.5).model_copy(update={"p95_latency_ms": latency})
    write_catalogue(path, "vision", {"a": with_latency}, error_metric="top1_error_pct", pool=["a"])
    write_catalogue(path, "vision", {"a": variant(1.6)}, error_metric="top1_error_pct", pool=["a"])
    written = load_catalogue(path).family("vision").variants["a"]
    assert written.energy_mj.value == 1.6
    assert written.p95_latency_ms == latency


def test_another_error_metric_is_refused_and_the_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.yaml"
    path.write_text(OLD)
    with pytest.raises(InvalidInput, match="--error-metric"):
        write_catalogue(path, "speech", {"a": variant(1)}, error_metric="top1_error_pct", pool=["a"])
    assert path.read_text() == OLD


def test_what_would_make_the_file_invalid_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.yaml"
    path.write_text(OLD)
    same_model = variant(1).model_copy(update={"model": "vision_small"})
    with pytest.raises(InvalidInput, match="same Triton model"):
        write_catalogue(path, "vision", {"copy": same_model}, error_metric="top1_error_pct", pool=["copy"])
    assert path.read_text() == OLD


def test_known_variants(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.yaml"
    assert known_variants(path, "vision") == {}
    path.write_text(OLD)
    assert set(known_variants(path, "vision")) == {"small", "large"}
    assert known_variants(path, "other") == {}
