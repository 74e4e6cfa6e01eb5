"""The report reads well: in one unit of mass, within 80 columns, with nothing cut off."""

import pytest

from tradewind.cli.report import _print_table, mass_unit
from tradewind.rpc.v1.emissions_pb2 import GetReportResponse, ReportRow


@pytest.mark.parametrize(
    ("grams", "unit"), [(2.5e6, "t"), (1_500.0, "kg"), (3.0, "g"), (0.0038, "mg"), (4.9e-7, "ng"), (0.0, "ng")]
)
def test_the_unit_of_mass(grams: float, unit: str) -> None:
    assert mass_unit(ReportRow(emissions_g=grams))[0] == unit


def test_nothing_is_cut_off_in_80_columns(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    rows = [
        ReportRow(group=["digits", "digits-medium"], inferences=951, energy_uj=10_100_000, emissions_g=0.000497),
        ReportRow(group=["resnet", "resnet152"], inferences=12_951_123, energy_uj=90_410_100_000, mean_error=5.953),
    ]
    total = ReportRow(inferences=12_952_074, energy_uj=90_420_200_000, emissions_g=0.000497, always_largest_g=0.0038)
    _print_table(GetReportResponse(rows=rows, total=total), ["family", "variant"])
    printed = capsys.readouterr().out
    assert max(len(line) for line in printed.splitlines()) <= 80
    assert "…" not in printed
    assert "12,951,123" in printed
    assert "unknown" in printed
