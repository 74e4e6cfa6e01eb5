"""Windows in, figures or refusals out."""

import math
import random

import pytest

from profiler.findings import find, idle_watts
from profiler.plan import IDLE, Cell, Goal
from profiler.windows import Window

CELL = Cell("a", 1)


def window(mj: float = 10.0, *, seconds: float = 1.0, count: int = 50, other: float | None = 0.0) -> Window:
    return Window("a", 1, seconds, count, mj * count / 1000, tuple(float(i) for i in range(1, count + 1)), other)


def idle(watts: float) -> Window:
    return Window("", 0, 2.0, 0, watts * 2)


def test_mean_interval_share_above_idle_and_throughput() -> None:
    rng = random.Random(1)
    windows = [window(rng.gauss(10, 0.1)) for _ in range(10)] + [idle(0.1), idle(0.3)]
    finding = find((CELL, IDLE), windows, Goal())[CELL]
    assert finding.refused == ""
    assert finding.energy_mj is not None
    assert finding.energy_mj.low < 10 < finding.energy_mj.high
    # 0.2 W for 1/50 s is 4 mJ of every inference.
    assert finding.above_idle_mj == pytest.approx(finding.energy_mj.mean - 4, rel=1e-6)
    assert finding.throughput_per_s == pytest.approx(50)
    assert finding.latency is not None
    assert (finding.latency.p50_ms, finding.latency.p95_ms, finding.latency.p99_ms) == (25, 48, 50)


def test_without_a_good_idle_window_the_share_above_idle_is_unknown_not_zero() -> None:
    windows = [window() for _ in range(8)] + [Window("", 0, refused="the counter was reset")]
    assert idle_watts(windows) is None
    assert find((CELL, IDLE), windows, Goal())[CELL].above_idle_mj is None


def test_a_wide_interval_is_refused() -> None:
    finding = find((CELL,), [window(5 if i % 2 else 15) for i in range(10)], Goal())[CELL]
    assert "±" in finding.refused
    assert "10 % is written" in finding.refused


def test_too_few_windows_are_refused() -> None:
    assert "only 3 windows" in find((CELL,), [window()] * 3, Goal())[CELL].refused


def test_a_meter_that_often_fails_is_refused_with_its_reason() -> None:
    bad = Window("a", 1, refused="nvml: the counter jumped")
    finding = find((CELL,), [window()] * 8 + [bad] * 5, Goal())[CELL]
    assert "5 of 13 windows" in finding.refused
    assert "the counter jumped" in finding.refused
    assert find((CELL,), [window()] * 8 + [bad], Goal())[CELL].refused == ""


def test_a_meter_that_sees_nothing_is_refused() -> None:
    assert "does not see the device" in find((CELL,), [window(0.0)] * 8, Goal())[CELL].refused


def test_one_window_from_a_counter_that_silently_counted_double_is_not_passed_over() -> None:
    windows = [window(10.0)] * 7 + [window(20.0)]
    assert find((CELL,), windows, Goal())[CELL].refused != ""


def test_latencies_of_a_busy_machine_are_refused_and_the_energy_is_not() -> None:
    finding = find((CELL,), [window(other=0.5)] * 8, Goal())[CELL]
    assert finding.refused == ""
    assert finding.latency is None
    assert "other work took 50 %" in finding.latency_refused


def test_quiet_windows_alone_give_the_latency() -> None:
    slow = Window("a", 1, 1.0, 50, 0.5, (1000.0,) * 50, 0.9)
    finding = find((CELL,), [window()] * 4 + [slow] * 4, Goal())[CELL]
    assert finding.latency is not None
    assert finding.latency.p99_ms == 50


def test_few_requests_have_no_95th_percentile() -> None:
    finding = find((CELL,), [window(count=2)] * 8, Goal())[CELL]
    assert "16 timed requests are too few" in finding.latency_refused


def test_what_is_known_of_the_differences_between_runs_widens_the_interval_and_nothing_else() -> None:
    windows = [window(10 + 0.01 * (i % 3)) for i in range(16)]
    alone, known = (find((CELL,), windows, Goal(), between)[CELL] for between in (0.0, 0.03))
    assert alone.energy_mj is not None
    assert known.energy_mj is not None
    assert (known.energy_mj.mean, known.energy_mj.cv) == (alone.energy_mj.mean, alone.energy_mj.cv)
    expected = math.hypot(alone.energy_mj.relative_half_width, 1.959964 * 0.03)
    assert known.energy_mj.relative_half_width == pytest.approx(expected)
    assert find((CELL,), windows, Goal(between_runs=0.0), 0.03)[CELL].energy_mj == alone.energy_mj
    assert find((CELL,), windows, Goal(between_runs=0.2), 0.03)[CELL].refused == ""  # No longer run would help.
