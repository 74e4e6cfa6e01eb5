"""What is simulated: rows with a plausible value, one per interval; the rest is counted."""

from pathlib import Path

import numpy as np

from simulator.series import IntensitySeries, series_of
from tradewind.readings import ReadingKind
from tradewind.traces import read_trace


def series(tmp_path: Path, rows: list[str], forecast: bool = False) -> IntensitySeries:
    """The series of a file with these rows."""
    path = tmp_path / "grid.csv"
    path.write_text("from,actual,forecast\n" + "\n".join(rows) + "\n")
    ahead = read_trace(path, value_column="forecast") if forecast else None
    return series_of(read_trace(path), forecast=ahead)


def test_missing_and_implausible_rows_are_left_out_and_counted(tmp_path: Path) -> None:
    values = ["200", "", "210", "0", "0", "-5", "99999", "inf", "n/a", "220"]
    rows = [f"2023-06-01T{hour:02}:00Z,{value}," for hour, value in enumerate(values)]
    made = series(tmp_path, rows)
    assert made.g_per_kwh.tolist() == [200.0, 210.0, 220.0]
    assert (made.rows, made.used, made.missing, made.implausible, made.duplicates) == (10, 3, 2, 5, 0)
    assert made.refused == 7
    assert made.rows == made.used + made.refused


def test_the_later_of_two_values_counts_unless_it_says_nothing(tmp_path: Path) -> None:
    made = series(tmp_path, ["2023-06-01,200,", "2023-06-01,210,", "2023-06-01,,", "2023-06-01,0,"])
    assert (made.g_per_kwh.tolist(), made.duplicates, made.missing, made.implausible) == ([210.0], 1, 1, 1)
    assert (made.rows, made.used, made.refused) == (4, 1, 3)


def test_a_lone_spike_is_refused_and_a_lasting_level_is_not(tmp_path: Path) -> None:
    calm = [f"2023-06-0{1 + hour // 24}T{hour % 24:02}:00Z,{200 + hour % 24}," for hour in range(48)]
    spike = [*calm[:30], calm[30].replace(",206,", ",2,"), *calm[31:]]
    assert series(tmp_path, spike).implausible == 1
    lasting = [row.replace(",2", ",8") if index >= 30 else row for index, row in enumerate(calm)]
    assert series(tmp_path, lasting).implausible == 0


def test_forecasts_are_shown_as_forecasts(tmp_path: Path) -> None:
    made = series(tmp_path, ["2023-06-01T00:00Z,200,190", "2023-06-01T01:00Z,210,", "2023-06-01T02:00Z,220,0"], True)
    first, *others = made.forecasts()
    assert first is not None
    assert (first.intensity_g_per_kwh, first.kind) == (190.0, ReadingKind.FORECAST)
    assert others == [None, None]


def test_readings_hold_for_the_usual_interval(tmp_path: Path) -> None:
    made = series(tmp_path, ["2023-06-01T00:00Z,200,", "2023-06-01T00:05Z,210,", "2023-06-01T00:10Z,220,"])
    reading = made.reading(1)
    assert (reading.valid_to - reading.valid_from).total_seconds() == 300
    assert np.diff(made.times_s).tolist() == [300, 300]
