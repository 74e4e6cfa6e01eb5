"""The gate: what passes, what is held back, what lasts, and what never passes."""

import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradewind.errors import InvalidInput
from tradewind.plausibility import Gate, GateLimits, Judgement, Verdict, judge_alone, judge_trace
from tradewind.readings import Reading, ReadingKind, Signal

START = datetime(2026, 3, 1, tzinfo=UTC)
HALF_HOUR = timedelta(minutes=30)


def said(value: float, period: int = 0, kind: ReadingKind = ReadingKind.ACTUAL) -> Reading:
    begin = START + period * HALF_HOUR
    return Reading("Z", begin, begin + HALF_HOUR, value, kind, Signal.AVERAGE, "test", begin)


def judge_all(values: list[float], limits: GateLimits | None = None) -> list[Judgement]:
    gate = Gate(limits or GateLimits())
    return [gate.judge(said(value, period), said(value, period).valid_to) for period, value in enumerate(values)]


CALM = [200.0 + 10 * math.sin(period / 5) for period in range(48)]


@pytest.mark.parametrize(
    ("reading", "verdict"),
    [
        (said(math.nan), Verdict.NOT_FINITE),
        (said(math.inf), Verdict.NOT_FINITE),
        (said(0.0), Verdict.ZERO),
        (said(-0.0), Verdict.ZERO),
        (said(-5.0), Verdict.OUT_OF_BOUNDS),
        (said(0.4), Verdict.OUT_OF_BOUNDS),
        (said(2000.1), Verdict.OUT_OF_BOUNDS),
        (said(2000.0), Verdict.ACCEPTED),
        (said(200.0, 1), Verdict.FROM_FUTURE),
        (said(200.0, 1, ReadingKind.FORECAST), Verdict.FROM_FUTURE),
        (said(200.0, -48 * 401), Verdict.TOO_OLD),
    ],
)
def test_alone(reading: Reading, verdict: Verdict) -> None:
    judgement = judge_alone(reading, START, GateLimits())
    assert judgement.verdict is verdict
    assert judgement.accepted == (verdict is Verdict.ACCEPTED)
    assert bool(judgement.explanation) != judgement.accepted


def test_a_forecast_may_begin_ahead_but_not_be_published_ahead() -> None:
    begin = START + timedelta(hours=10)
    forecast = Reading("Z", begin, begin + HALF_HOUR, 200, ReadingKind.FORECAST, Signal.AVERAGE, "test", START)
    assert judge_alone(forecast, START, GateLimits()).accepted
    assert judge_alone(forecast, START - timedelta(days=8), GateLimits()).verdict is Verdict.FROM_FUTURE


@pytest.mark.parametrize("length", [timedelta(0), -HALF_HOUR, timedelta(days=3)])
def test_an_interval_has_a_length(length: timedelta) -> None:
    reading = Reading("Z", START, START + length, 200, ReadingKind.ACTUAL, Signal.AVERAGE, "test", START)
    assert judge_alone(reading, START, GateLimits()).verdict is Verdict.BAD_INTERVAL


def test_a_clock_a_little_ahead_is_no_fault() -> None:
    limits = GateLimits(clock_skew=timedelta(seconds=5))
    assert judge_alone(said(200.0), START - timedelta(seconds=5), limits).accepted
    assert judge_alone(said(200.0), START - timedelta(seconds=6), limits).verdict is Verdict.FROM_FUTURE


def test_a_glitch_of_one_period_is_held_and_then_dropped() -> None:
    judgements = judge_all([*CALM, 25.0, 200.0])
    assert judgements[-2].verdict is Verdict.JUMP
    assert "7.6 times below anything within 24 h" in judgements[-2].explanation
    assert judgements[-1].accepted
    assert [held.intensity_g_per_kwh for held in judgements[-1].dropped] == [25.0]
    assert judgements[-1].released == ()


def test_pounds_taken_for_grams_are_held() -> None:
    assert judge_all([*CALM, 210.0 * 2.2046])[-1].verdict is Verdict.JUMP


SWING = [200.0 + 80 * math.sin(period / 8) for period in range(100)]


def test_pounds_are_held_also_where_the_days_range_is_wide() -> None:
    """Near the middle of the range, pounds lie hardly above it: it is the step there that gives them away."""
    middle = next(period for period in range(60, 100) if abs(SWING[period] - 160) < 10)
    judgement = judge_all([*SWING[:middle], SWING[middle] * 2.2046])[-1]
    assert judgement.verdict is Verdict.JUMP
    assert "by one step from" in judgement.explanation


def test_a_large_step_within_the_days_range_passes() -> None:
    low = next(period for period in range(60, 100) if SWING[period] < 125)
    assert judge_all([*SWING[:low], 275.0])[-1].accepted


def test_a_step_after_a_gap_is_no_step() -> None:
    gate = Gate(GateLimits())
    for period, value in enumerate(SWING[:60]):
        gate.judge(said(value, period), said(value, period).valid_to)
    assert gate.judge(said(320.0, 75), said(320.0, 75).valid_to).accepted


def test_a_new_level_that_lasts_is_accepted_with_all_that_was_held() -> None:
    judgements = judge_all([*CALM, 45.0, 47.0, 44.0, 46.0, 205.0])
    assert [each.accepted for each in judgements[48:]] == [False, False, True, True, True]
    assert [held.intensity_g_per_kwh for held in judgements[50].released] == [45.0, 47.0]


def test_zero_never_passes_by_lasting() -> None:
    judgements = judge_all([*CALM, *[0.0] * 100])
    assert {each.verdict for each in judgements[48:]} == {Verdict.ZERO}


def test_what_held_values_disagree_on_does_not_last() -> None:
    assert not any(each.accepted for each in judge_all([*CALM, 20.0, 900.0, 21.0, 950.0])[48:])


def test_the_same_interval_said_again_is_not_a_second_period() -> None:
    gate = Gate(GateLimits())
    for period, value in enumerate(CALM):
        gate.judge(said(value, period), said(value, period).valid_to)
    glitch = said(25.0, 48)
    assert [gate.judge(glitch, glitch.valid_to).verdict for _ in range(5)] == [Verdict.JUMP] * 5


def test_several_glitches_said_again_without_what_lies_between_are_not_one_that_lasts() -> None:
    values = [*CALM, 45.0, 200.0, 46.0, 200.0, 45.0, 200.0]
    gate = Gate(GateLimits())
    for period, value in enumerate(values):
        gate.judge(said(value, period), said(value, period).valid_to)
    for _ in range(3):
        for period in (48, 50, 52):
            judgement = gate.judge(said(values[period], period), said(0, 54).valid_to)
            assert judgement.verdict is Verdict.JUMP
            assert not judgement.released


def test_a_forecast_does_not_end_what_is_measured() -> None:
    """A publisher's new level lasts, whatever a provider of the same zone forecasts meanwhile."""
    gate = Gate(GateLimits())
    for period, value in enumerate(CALM):
        gate.judge(said(value, period), said(value, period).valid_to)
    verdicts = []
    for period in (48, 50, 52):
        verdicts.append(gate.judge(said(45.0, period), said(45.0, period).valid_to).verdict)
        for ahead in range(period, period + 4):
            assert gate.judge(said(200.0, ahead, ReadingKind.FORECAST), said(0, ahead).valid_to).accepted
    assert verdicts == [Verdict.JUMP, Verdict.JUMP, Verdict.ACCEPTED]


def test_what_is_measured_ends_a_forecasts_jump() -> None:
    gate = Gate(GateLimits())
    for period, value in enumerate(CALM):
        gate.judge(said(value, period), said(value, period).valid_to)
    glitch = said(20.0, 50, ReadingKind.FORECAST)
    assert not gate.judge(glitch, glitch.valid_to).accepted
    assert gate.judge(said(200.0, 51), said(200.0, 51).valid_to).dropped == (glitch,)


def test_history_teaches_how_far_values_go() -> None:
    """A zone that was seen to swing tenfold is believed when it does so again within the week."""
    quiet = [400.0 + period % 7 for period in range(60)]
    first = judge_all([*quiet, 40.0, 40.0, 40.0, *quiet, 41.0])
    assert first[60].verdict is Verdict.JUMP
    assert first[62].accepted
    assert first[-1].accepted


def test_a_quiet_zone_after_a_long_silence_is_compared_with_its_week() -> None:
    gate = Gate(GateLimits())
    for period, value in enumerate(CALM):
        gate.judge(said(value, period), said(value, period).valid_to)
    later = said(20.0, 48 * 4)
    assert gate.judge(later, later.valid_to).verdict is Verdict.JUMP


def test_periods_of_zero_look_for_no_jumps() -> None:
    assert all(each.accepted for each in judge_all([*CALM, 20.0, 900.0], GateLimits(persist_periods=0)))


def test_a_remembered_gate_judges_like_one_that_saw_it_all() -> None:
    seen, told = Gate(GateLimits()), Gate(GateLimits())
    for period, value in enumerate(CALM):
        seen.judge(said(value, period), said(value, period).valid_to)
        told.remember(said(value, period))
    for gate in (seen, told):
        gate.judge(said(50.0, 48), said(50.0, 48).valid_to)
    restarted = Gate(GateLimits())
    for period, value in enumerate(CALM):
        restarted.remember(said(value, period))
    restarted.hold(said(50.0, 48))
    for gate in (seen, told, restarted):
        assert not gate.judge(said(51.0, 49), said(51.0, 49).valid_to).accepted
        assert len(gate.judge(said(52.0, 50), said(52.0, 50).valid_to).released) == 2


def test_a_compressed_gate_judges_a_compressed_day_like_the_day_itself() -> None:
    values = [*CALM, 25.0, 200.0, 45.0, 46.0, 47.0]
    speed, gate = 1440.0, Gate(GateLimits().compressed(1440.0))
    verdicts = []
    for period, value in enumerate(values):
        begin = START + period * HALF_HOUR / speed
        reading = Reading(
            "Z", begin, begin + HALF_HOUR / speed, value, ReadingKind.ACTUAL, Signal.AVERAGE, "test", begin
        )
        verdicts.append(gate.judge(reading, begin).verdict)
    assert verdicts == [each.verdict for each in judge_all(values)]


def test_a_trace_is_judged_row_by_row() -> None:
    values: list[float | None] = [*CALM, None, 0.0, 25.0, 200.0, 45.0, 46.0, 47.0]
    rows = [(START + period * HALF_HOUR, value) for period, value in enumerate(values)]
    result = judge_trace(rows, HALF_HOUR, GateLimits())
    assert [(each.value, each.reason) for each in result.quarantined] == [
        (None, "blank"),
        (0.0, "zero"),
        (25.0, "jump"),
    ]
    assert result.accepted == len(values) - 3


@pytest.mark.parametrize(
    ("limits", "word"),
    [
        ({"lowest_g_per_kwh": 0.0}, "lowest_g_per_kwh"),
        ({"lowest_g_per_kwh": 3000.0}, "highest_g_per_kwh"),
        ({"least_factor": 1.0}, "least_factor"),
        ({"least_factor": 20.0}, "largest_factor"),
        ({"persist_periods": -1}, "persist_periods"),
        ({"least_step": 1.0}, "least_step"),
        ({"step_margin": 0.9}, "step_margin"),
    ],
)
def test_limits_that_make_no_sense_are_named(limits: dict[str, float], word: str) -> None:
    with pytest.raises(InvalidInput, match=word):
        GateLimits(**limits)  # type: ignore[arg-type] # Some fields are spans of time.


@given(
    values=st.lists(
        st.one_of(st.floats(allow_nan=True, allow_infinity=True), st.floats(min_value=1, max_value=2000)), max_size=60
    ),
    order=st.randoms(use_true_random=False),
)
def test_whatever_comes_in_whatever_order_what_passes_is_finite_and_within_bounds(
    values: list[float], order: object
) -> None:
    gate, limits = Gate(GateLimits()), GateLimits()
    readings = [said(value, period) for period, value in enumerate(values)]
    order.shuffle(readings)  # type: ignore[attr-defined]
    now = START + timedelta(days=3)
    for reading in readings:
        judgement = gate.judge(reading, now)
        for passed in (*judgement.released, *([reading] if judgement.accepted else [])):
            assert limits.lowest_g_per_kwh <= passed.intensity_g_per_kwh <= limits.highest_g_per_kwh
