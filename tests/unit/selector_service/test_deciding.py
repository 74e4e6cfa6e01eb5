"""A desk decides for its family: from an outlook, from a stale one, and from nothing at all."""

from datetime import UTC, datetime, timedelta

import pytest

from selector_service.desks import open_desks
from selector_service.zone_history import Outlook
from tests.integration.selector_service.parts import CATALOGUE
from tests.unit.selector_service.test_zone_history import START, a_reading
from tradewind.catalogue import parse_catalogue
from tradewind.decisions import DecisionReason, RangeSummary, Share
from tradewind.errors import StartupError

WINDOW = timedelta(hours=24)
RANGE = RangeSummary(100.0, 300.0, WINDOW, 48, full=True)
NOW = datetime(2023, 6, 1, 0, 10, tzinfo=UTC)


def test_the_policys_choice_with_all_that_went_into_it() -> None:
    _, desk = open_desks(parse_catalogue(CATALOGUE), "proportional", {})
    current = a_reading(0, 300.0)
    decision, state = desk.select(Outlook(current, False, RANGE, ()), NOW, {}, {})
    assert decision.mix == (Share("small", 1.0),)
    assert (decision.valid_from, decision.valid_until) == (current.valid_from, current.valid_to)
    assert (decision.current, decision.range, decision.decided_at) == (current, RANGE, NOW)
    assert decision.figures["range_position"] == 1.0
    assert decision.revision == 0
    assert state == {}


@pytest.mark.parametrize(("hold", "variant"), [(True, "large"), (False, "small")])
def test_a_stale_outlook_is_said(hold: bool, variant: str) -> None:
    _, desk = open_desks(parse_catalogue(CATALOGUE), "proportional", {}, hold_when_stale=hold)
    current = a_reading(0, 100.0)
    decision, _ = desk.select(Outlook(current, True, RANGE, ()), START + WINDOW, {}, {})
    assert decision.reason is DecisionReason.STALE_READING
    assert decision.mix == (Share(variant, 1.0),)
    assert decision.valid_from == current.valid_to
    assert "no reading holds since 2023-06-01 00:30 UTC" in decision.explanation


def test_without_any_reading_the_fallback_serves() -> None:
    _, desk = open_desks(parse_catalogue(CATALOGUE), "proportional", {})
    decision = desk.without_reading("GB", NOW, WINDOW)
    assert decision.reason is DecisionReason.NO_READING
    assert decision.mix == (Share("small", 1.0),)
    assert decision.current is None
    assert decision.range is None
    assert decision.id == desk.without_reading("GB", NOW + WINDOW, WINDOW).id


@pytest.mark.parametrize(
    ("policy", "options", "says"),
    [
        ("best", {}, "policy 'best' is unknown"),
        ("fixed", {"variant": "large"}, "family digits: policy fixed: large is not in the pool"),
        ("proportional", {"speed": "1"}, "speed"),
    ],
)
def test_a_policy_that_cannot_decide_is_a_startup_error(policy: str, options: dict[str, str], says: str) -> None:
    with pytest.raises(StartupError, match=says):
        open_desks(parse_catalogue(CATALOGUE), policy, options)
