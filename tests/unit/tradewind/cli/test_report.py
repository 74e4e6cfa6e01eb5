"""The report reads well: in one unit of mass, within 80 columns, with nothing cut off; and says the same everywhere."""

import csv
import io
from datetime import UTC, datetime
from pathlib import Path

import pytest
from matplotlib import image

from tradewind.cli.report_plot import plot_report
from tradewind.cli.report_text import as_csv, as_mapping, mass_unit, notes, print_table
from tradewind.messages import timestamp
from tradewind.rpc.v1.emissions_pb2 import (
    Embodied,
    GetReportResponse,
    OwnUse,
    Pue,
    ReconciledRow,
    Reconciliation,
    ReportRow,
)

GROUPS = ["family", "variant"]


@pytest.mark.parametrize(
    ("grams", "unit"), [(2.5e6, "t"), (1_500.0, "kg"), (3.0, "g"), (0.0038, "mg"), (4.9e-7, "ng"), (0.0, "ng")]
)
def test_the_unit_of_mass(grams: float, unit: str) -> None:
    assert mass_unit(ReportRow(emissions_g=grams))[0] == unit


@pytest.fixture
def everything() -> GetReportResponse:
    """A report of which nothing is missing but what cannot be known."""
    rows = [
        ReportRow(
            group=["digits", "digits-medium"],
            inferences=951,
            energy_uj=10_100_000,
            emissions_g=0.000497,
            overhead_g=0.0001,
            embodied_g=1.5,
            energy_provenance=["measured"],
        ),
        ReportRow(
            group=["resnet", "resnet152"],
            inferences=12_951_123,
            energy_uj=90_410_100_000,
            mean_error=5.953,
            unpriced_energy_uj=90_410_100_000,
            restated_inferences=3,
            energy_provenance=["published"],
        ),
    ]
    reconciliation = Reconciliation(
        to=timestamp(datetime(2026, 11, 24, 13, 5, 12, 345, tzinfo=UTC)),
        rows=[
            ReconciledRow(
                variants=["resnet152"], models=["resnet152"], recorded=12_951_123, executed=12_951_130, energy_uj=49
            ),
            ReconciledRow(models=["stranger"], executed=12, failed_requests=4, restarts=1),
        ],
        provenance="estimated",
    )
    getattr(reconciliation, "from").CopyFrom(timestamp(datetime(2026, 11, 24, 12, tzinfo=UTC)))
    return GetReportResponse(
        rows=rows,
        total=ReportRow(
            inferences=12_952_074,
            energy_uj=90_420_200_000,
            emissions_g=0.000497,
            always_largest_g=0.0038,
            overhead_g=0.0001,
            embodied_g=1.5,
            unpriced_energy_uj=90_410_100_000,
            restated_inferences=3,
            energy_provenance=["measured", "published"],
        ),
        pue=Pue(value=1.2, provenance="configured"),
        embodied=Embodied(
            device_kg=1_500,
            lifetime_years=4,
            share=0.5,
            reserved_from=timestamp(datetime(2026, 11, 24, 12, tzinfo=UTC)),
            reserved_to=timestamp(datetime(2026, 11, 24, 14, 30, tzinfo=UTC)),
            embodied_g=53.5,
            idle_g=52.0,
            provenance="configured",
        ),
        own_use=OwnUse(
            cpu_s=12.25,
            cpu_provenance="measured",
            watts_per_core=8,
            energy_uj=98_000_000,
            emissions_g=0.005,
            unpriced_energy_uj=0,
            overhead_g=0.001,
            provenance="estimated",
        ),
        reconciliation=reconciliation,
    )


def printed(answer: GetReportResponse, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """The table as a terminal of 80 columns shows it."""
    monkeypatch.setenv("COLUMNS", "80")
    print_table(answer, GROUPS)
    return capsys.readouterr().out


def test_nothing_is_cut_off_in_80_columns(
    everything: GetReportResponse, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = printed(everything, monkeypatch, capsys)
    tables, _, said = text.partition("Energy per inference:")
    assert max(len(line) for line in tables.splitlines()) <= 80
    assert "…" not in text
    for expected in ("12,951,123", "unknown", "PUE of 1.2", "53.5 g", "configured", "12.25 s at 8 W", "estimated"):
        assert expected in tables
    assert "0.497*" in tables
    assert "* 3 inferences are restated by a revised intensity." in said
    assert "stranger: 4 requests failed in Triton" in said
    assert "stranger: Triton's counts began anew 1 time;" in said


def test_what_was_decided_is_told_where_another_variant_served() -> None:
    total = ReportRow(
        inferences=4, emissions_g=4.0, mean_error=2.0, as_decided_g=2.5, decided_error=8.0, deviating_inferences=3
    )
    answer = GetReportResponse(rows=[total], total=total)
    assert notes(answer) == [
        "3 of 4 inferences were served by another variant than was decided; as decided, all of them would have been "
        "2.5 g with an error of 8.000."
    ]
    (_, line) = csv.DictReader(io.StringIO(as_csv(answer, [])))
    assert (line["as_decided_g"], line["decided_error"], line["deviating_inferences"]) == ("2.5", "8.0", "3")
    assert notes(GetReportResponse(total=ReportRow(inferences=4, as_decided_g=2.5))) == []


def test_times_are_short_and_whole(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    group = ["2026-11-24T18:00:00Z", "digits", "digits-medium"]
    row = ReportRow(group=group, inferences=951, energy_uj=10**7, mean_error=7.8, emissions_g=0.0005)
    print_table(GetReportResponse(rows=[row], total=ReportRow(emissions_g=0.0005)), ["hour", *GROUPS])
    text = capsys.readouterr().out
    assert "hour, UTC" in text
    assert "2026-11-24 18:00 digits digits-medium" in text


def test_what_is_not_there_has_no_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(GetReportResponse(total=ReportRow()), monkeypatch, capsys)
    assert "Beside" not in text
    assert "Triton" not in text
    own = OwnUse(cpu_s=3, cpu_provenance="measured", provenance="estimated")
    text = printed(GetReportResponse(total=ReportRow(), own_use=own), monkeypatch, capsys)
    assert "unknown" in text
    assert "TRADEWIND_PROXY_WATTS_PER_CORE" in text.replace("\n", "")


def test_what_calibration_charged_is_told_in_every_format(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    total = ReportRow(
        inferences=3, energy_uj=5_000_000, calibrated_energy_uj=2_000_000, energy_provenance=["calibrated", "estimated"]
    )
    answer = GetReportResponse(rows=[], total=total)
    assert "2.000 J were charged by what calibration measured in service." in printed(answer, monkeypatch, capsys)
    assert as_mapping(answer, [])["total"]["calibrated_energy_j"] == 2.0
    (line,) = csv.DictReader(io.StringIO(as_csv(answer, [])))
    assert (line["calibrated_energy_j"], line["provenance"]) == ("2.0", "calibrated estimated")


def test_csv_and_json_say_the_same(everything: GetReportResponse) -> None:
    told = as_mapping(everything, GROUPS)
    lines = list(csv.DictReader(io.StringIO(as_csv(everything, GROUPS))))
    assert [line["line"] for line in lines] == [
        "served",
        "served",
        "total",
        "idle",
        "proxy",
        "reconciled",
        "reconciled",
    ]
    for line, row in zip(lines, [*told["rows"], told["total"]], strict=False):
        for name, value in row.items():
            if name != "energy_provenance":
                assert line[name] == ("" if value is None else str(value))
        assert line["provenance"] == " ".join(row["energy_provenance"])
    _, _, _, idle, own, known, stranger = lines
    assert (idle["embodied_g"], idle["provenance"]) == ("52.0", "configured")
    assert (own["energy_j"], own["emissions_g"], own["overhead_g"]) == ("98.0", "0.005", "0.001")
    assert (known["subject"], known["inferences"], known["energy_j"], known["emissions_g"]) == (
        "resnet152",
        "7",
        "4.9e-05",
        "",
    )
    assert (stranger["subject"], stranger["recorded"], stranger["executed"]) == ("stranger", "0", "12")
    assert told["embodied"]["reserved_to"] == "2026-11-24T14:30:00Z"
    assert told["reconciliation"]["rows"][0]["difference"] == 7


@pytest.mark.parametrize("period", ["minute", "day"])
def test_a_picture_is_drawn_of_whatever_is_known(tmp_path: Path, period: str) -> None:
    rows = [
        ReportRow(group=["2026-11-24T00:00:00Z", "resnet", "resnet50"], inferences=3, energy_uj=9, emissions_g=0.5),
        ReportRow(group=["2026-11-24T00:00:00Z", "", "resnet50"], inferences=1, energy_uj=3, unpriced_energy_uj=3),
        ReportRow(group=["2026-11-26T00:00:00Z", "digits", "digits-small"], inferences=2, energy_uj=1),
    ]
    path = tmp_path / "folder" / "report.png"
    plot_report(path, GetReportResponse(rows=rows, total=ReportRow(inferences=6)), period)
    drawn = image.imread(path)
    assert drawn.shape[1] == 1_300
    # More than a white sheet: bars, lines and letters.
    assert len({tuple(pixel) for pixel in drawn[::3, ::3].reshape(-1, drawn.shape[2])}) > 20
