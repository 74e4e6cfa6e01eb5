"""What holds now: best kind, then the interval that began last; and what held last."""

from datetime import UTC, datetime, timedelta

from carbon_service.present import Board, Present, forecast_of
from tradewind.readings import Reading, ReadingKind, Signal

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def reading(begin: int, length: int = 30, kind: ReadingKind = ReadingKind.ACTUAL, value: float = 200.0) -> Reading:
    start = NOON + begin * MINUTE
    return Reading("Z", start, start + length * MINUTE, value, kind, Signal.AVERAGE, "test", start)


def test_nothing_holds_in_an_empty_zone() -> None:
    present = Present()
    assert present.current(NOON) is None
    assert present.last(NOON) is None
    assert present.next_change(NOON) is None


def test_the_interval_that_began_last_holds() -> None:
    present = Present()
    for each in (reading(-20, 60), reading(-10, 60)):
        present.put(each, NOON)
    assert present.current(NOON) == reading(-10, 60)


def test_an_actual_holds_before_a_forecast_that_began_later() -> None:
    present = Present()
    forecast = reading(-5, 30, ReadingKind.FORECAST)
    for each in (forecast, reading(-20, 30)):
        present.put(each, NOON)
    assert present.current(NOON) == reading(-20, 30)
    assert present.current(NOON + 11 * MINUTE) == forecast


def test_what_ended_is_the_last_and_then_no_longer() -> None:
    present = Present()
    present.put(reading(-30), NOON - 30 * MINUTE)
    assert present.current(NOON) is None
    assert present.last(NOON) == reading(-30)
    present.put(reading(0), NOON)
    assert present.last(NOON) == reading(0)


def test_late_history_never_moves_the_last_backwards() -> None:
    present = Present()
    present.put(reading(-40), NOON)
    present.put(reading(-90), NOON)
    assert present.last(NOON) == reading(-40)


def test_an_interval_cut_short_by_a_revision_has_ended() -> None:
    present = Present()
    present.put(reading(-20, 60), NOON)
    present.put(reading(-20, 10, value=150.0), NOON)
    assert present.current(NOON) is None
    assert present.last(NOON) == reading(-20, 10, value=150.0)


def test_the_next_change_is_an_end_or_a_beginning() -> None:
    present = Present()
    present.put(reading(-10, 30), NOON)
    assert present.next_change(NOON) == NOON + 20 * MINUTE
    present.put(reading(5, 30, ReadingKind.FORECAST), NOON)
    assert present.next_change(NOON) == NOON + 5 * MINUTE


def test_the_forecast_is_what_is_ahead_and_forecast() -> None:
    present = Present()
    for each in (reading(30, kind=ReadingKind.FORECAST), reading(0), reading(60, kind=ReadingKind.FORECAST)):
        present.put(each, NOON)
    assert [each.valid_from for each in forecast_of(present, NOON)] == [NOON + 30 * MINUTE, NOON + 60 * MINUTE]
    assert len(forecast_of(present, NOON + 60 * MINUTE)) == 1


def test_a_board_knows_only_zones_with_readings() -> None:
    board = Board()
    board.put([reading(0)], NOON)
    assert board.zones() == ["Z"]
    assert board.current("Z", NOON) == reading(0)
    assert board.last("other", NOON) is None
    assert board.forecast("other", NOON) == []
    assert board.next_change("other", NOON) is None
