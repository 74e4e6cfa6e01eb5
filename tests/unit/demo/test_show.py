"""What the demo shows: on a terminal, in a log, as a table and as a picture; a synthetic day always says so."""

import io
from datetime import timedelta
from pathlib import Path

import pytest
from rich.console import Console

from demo.day import Charge, Clock, Hour, Tally, compare_choices
from demo.load import DAILY_PER_S, NIGHTLY_PER_S, requests_per_s
from demo.plot import plot_day
from demo.run import choose_scenario, run_demo
from demo.summary import summary_table
from demo.synthetic_day import FIRST_DAY, STEP, synthetic_days, write_synthetic_days
from demo.view import View
from tradewind.catalogue import OperatingPoint
from tradewind.errors import InvalidInput
from tradewind.policies.proportional import nearest_in_energy, range_position
from tradewind.traces import read_trace

_SIZES = ("small", "medium", "large")
_POOL = tuple(
    OperatingPoint(variant=name, energy_mj=energy, error=error)
    for name, energy, error in (("small", 5.0, 8.0), ("medium", 20.0, 3.0), ("large", 45.0, 1.0))
)


def _hours() -> list[Hour]:
    values = list(synthetic_days(2))
    hours = []
    for place in range(48, 96):
        window = [value for _, value in values[place - 47 : place + 1]]
        begins, value = values[place]
        wanted = 45 - range_position(value, min(window), max(window)) * 40
        variant = nearest_in_energy(_POOL, wanted).variant
        hours.append(Hour(begins, value, min(window), max(window), variant, ""))
    return hours


def test_the_synthetic_day_has_hours_for_every_size() -> None:
    by_hour = {hour.recorded_at.hour: hour.variant for hour in _hours()}
    assert by_hour[12] == "large"
    assert by_hour[2] == by_hour[21] == "small"
    assert set(by_hour.values()) == set(_SIZES)


def test_the_synthetic_trace_reads_back(tmp_path: Path) -> None:
    trace = read_trace(write_synthetic_days(tmp_path, days=2))
    assert (len(trace), trace.name, trace.interval_s) == (96, "synthetic-day", 1_800)
    assert [trace.value(row) for row in range(96)] == [value for _, value in synthetic_days(2)]


def test_the_built_in_scenario_says_that_it_is_synthetic(tmp_path: Path) -> None:
    scenario = choose_scenario(None, tmp_path)
    assert "SYNTHETIC" in scenario.label
    assert scenario.day_begins == FIRST_DAY + timedelta(days=1)


def test_a_trace_of_one_day_is_refused_with_what_is_needed(tmp_path: Path) -> None:
    file = write_synthetic_days(tmp_path, days=1)
    with pytest.raises(InvalidInput, match=r"synthetic-day\.csv: the demo needs two days"):
        choose_scenario(file, tmp_path)


def test_load_follows_the_day() -> None:
    assert requests_per_s(3) == pytest.approx(NIGHTLY_PER_S)
    assert requests_per_s(15) == pytest.approx(DAILY_PER_S)
    assert all(NIGHTLY_PER_S <= requests_per_s(hour / 2) <= DAILY_PER_S for hour in range(48))


def _seen(console: Console) -> None:
    tally = Tally()
    with View(console, "SYNTHETIC day", _SIZES, tally) as view:
        for hour in _hours():
            view.show(hour)
            view.show(hour)
            tally.add(hour.variant, wrong=False, energy_uj=1_000_000, emissions_ng=7_000)
            view.refresh()
    assert len(view.hours) == 48


def test_a_log_gets_a_line_per_hour() -> None:
    text = io.StringIO()
    _seen(Console(file=text, width=110))
    lines = text.getvalue().splitlines()
    assert lines[0] == "SYNTHETIC day"
    assert len(lines) == 2 + 24
    assert lines[2].startswith("2026-06-02 00:00 ")
    assert lines[-1].split()[4:6] == ["small", "46"]
    assert "\x1b" not in text.getvalue()


def test_a_terminal_gets_one_bar_per_half_hour() -> None:
    text = io.StringIO()
    _seen(Console(file=text, width=110, force_terminal=True, color_system=None))
    last = text.getvalue().rpartition("SYNTHETIC day")[2]
    curve = next(line for line in last.splitlines() if sum(line.count(bar) for bar in "▁▂▃▄▅▆▇█") > 10)
    assert sum(curve.count(bar) for bar in "▁▂▃▄▅▆▇█") == 48
    assert "48.0 J (estimated)" in last
    assert "digits" not in last


def _charges() -> list[Charge]:
    energy = {point.variant: point.energy_mj for point in _POOL}
    return [
        Charge(hour.recorded_at, hour.variant, 10, round(10_000 * energy[hour.variant]), hour.intensity_g_per_kwh)
        for hour in _hours()
    ]


def test_the_table_has_every_choice() -> None:
    text = io.StringIO()
    table = summary_table(compare_choices(_charges(), _POOL), "SYNTHETIC day: 480 requests")
    Console(file=text, width=80).print(table)
    for words in ("SYNTHETIC", "always smallest", "tradewind", "always largest", "clairvoyant, same error", "CEE"):
        assert words in text.getvalue()


def test_the_plot_is_a_png(tmp_path: Path) -> None:
    path = tmp_path / "new" / "demo.png"
    clock = Clock(FIRST_DAY + 48 * STEP, FIRST_DAY + 48 * STEP, 1.0)
    plot_day(path, "SYNTHETIC day", _hours(), _charges(), _POOL, clock)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert path.stat().st_size > 20_000


def test_a_folder_that_cannot_be_made_is_said_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="file/plots: no folder can be made there"):
        run_demo(None, tmp_path / "file" / "plots")
