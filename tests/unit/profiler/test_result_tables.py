"""The tables and sentences as an 80-column terminal and a file get them."""

import io
import random

from rich.console import Console

from profiler.error_rate import ErrorRate
from profiler.findings import find
from profiler.plan import Cell, Goal
from profiler.result_tables import energy_table, say, speed_table
from profiler.windows import Window

CELLS = (Cell("resnet152-quantised", 1), Cell("resnet152-quantised", 64))


def printed(show: object) -> str:
    shown = io.StringIO()
    Console(file=shown, width=80).print(show)
    return shown.getvalue()


def test_large_figures_fit_into_80_columns_and_nothing_is_cut_off() -> None:
    rng = random.Random(1)
    windows = [
        Window(cell.variant, cell.batch, 1.0, 12_345, rng.gauss(15_308, 5), tuple(map(float, range(1000, 1050))), 0.0)
        for cell in CELLS
        for _ in range(16)
    ]
    findings = find(CELLS, windows, Goal())
    errors = {"resnet152-quantised": ErrorRate({1: 12345, 5: 5678}, 50_000)}
    energy, speed = printed(energy_table("resnet on a machine", findings)), printed(speed_table(findings, errors))
    for output in (energy, speed):
        assert "…" not in output
        assert output.count("resnet152-quantised") == 2
        assert max(map(len, output.splitlines())) <= 80
    assert "resnet on a machine" in energy
    assert "1240" in energy
    assert "24.69" in speed


def test_a_refused_cell_has_no_figures_and_no_zeros() -> None:
    rows = printed(energy_table("", find(CELLS[:1], [], Goal()))).splitlines()
    assert next(row for row in rows if "quantised" in row).split()[2:] == ["-"] * 5


def test_a_sentence_stays_in_one_line_with_its_brackets() -> None:
    shown = io.StringIO()
    sentence = f"not used: nvml: [Errno 2] {'so long ' * 20}"
    say(Console(file=shown, width=80), sentence, "dim")
    assert shown.getvalue() == f"{sentence}\n"
