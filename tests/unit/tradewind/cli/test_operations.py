"""Until when a family is forced."""

from datetime import UTC, datetime, timedelta

import pytest

from tradewind.cli.operations import end_of
from tradewind.errors import InvalidInput


def test_a_force_ends_after_a_while_or_at_a_time() -> None:
    """Both forms that the option's help shows."""
    assert timedelta(minutes=119) < end_of("2h") - datetime.now(UTC) <= timedelta(hours=2)
    assert end_of("2026-06-01T12:00:00Z") == datetime(2026, 6, 1, 12, tzinfo=UTC)
    assert end_of("2026-06-01T14:00:00+02:00") == datetime(2026, 6, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize("text", ["yesterday", "2026-06-01T12:00:00", "-5m", "", "P1D", "99999999999d"])
def test_what_is_neither_is_answered_with_both_forms(text: str) -> None:
    """One sentence, and no traceback."""
    with pytest.raises(InvalidInput, match="neither how long, such as 30m or 2h, nor a time with a zone"):
        end_of(text)
