"""Until when a family is forced, and how it stands."""

from datetime import UTC, datetime, timedelta

import pytest

from tradewind.cli.operations import end_of, standing
from tradewind.errors import InvalidInput
from tradewind.rpc.v1.operations_pb2 import FamilyState


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


@pytest.mark.parametrize(
    ("state", "line"),
    [
        (FamilyState(rollout_pct=100), "f: has heard no decision yet; ready: no variant"),
        (FamilyState(decision="d", ready=["a", "b"], rollout_pct=100), "f: follows decision d; ready: a, b"),
        (
            FamilyState(decision="d", ready=["a"], rollout_pct=25),
            "f: follows decision d with 25 % of the requests; ready: a",
        ),
        (
            FamilyState(decision="d", ready=["a"], observes=True, rollout_pct=100),
            "f: only observes decision d; the fallback variant serves; ready: a",
        ),
    ],
)
def test_a_line_says_how_a_family_stands(state: FamilyState, line: str) -> None:
    state.family = "f"
    assert standing(state) == line
