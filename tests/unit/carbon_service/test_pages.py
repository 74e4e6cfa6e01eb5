"""Page tokens come back as they went out, and strange ones are refused."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon_service.pages import (
    DEFAULT_SIZE,
    open_ended,
    page_size,
    parse_id_token,
    parse_token,
    token_after,
    token_of_id,
)
from tradewind.errors import InvalidInput
from tradewind.readings import Reading, ReadingKind, Signal

NOON = datetime(2026, 6, 1, 12, 0, 0, 123456, tzinfo=UTC)
READING = Reading("Z", NOON, NOON + timedelta(hours=1), 1.0, ReadingKind.ACTUAL, Signal.AVERAGE, "edge:ö", NOON)


def test_a_token_says_where_the_page_begins() -> None:
    start = parse_token(token_after(READING))
    assert start is not None
    assert (start.valid_from, start.kind, start.source) == (NOON, "actual", "edge:ö")
    assert parse_token("") is None
    assert parse_id_token(token_of_id(7)) == 7
    assert parse_id_token("") is None


@given(st.text(min_size=1))
def test_a_strange_token_is_refused(token: str) -> None:
    for parse in (parse_token, parse_id_token):
        with pytest.raises(InvalidInput, match="page_token"):
            parse(token)


def test_tokens_of_one_list_do_not_open_another() -> None:
    with pytest.raises(InvalidInput):
        parse_token(token_of_id(7))
    with pytest.raises(InvalidInput):
        parse_id_token(token_after(READING))


def test_page_sizes() -> None:
    assert page_size(0) == DEFAULT_SIZE
    assert page_size(10_000) == 10_000
    for wrong in (-1, 10_001):
        with pytest.raises(InvalidInput, match="page_size"):
            page_size(wrong)


def test_a_range_does_not_end_before_it_begins() -> None:
    assert open_ended(None, NOON) == (None, NOON)
    with pytest.raises(InvalidInput, match="swap"):
        open_ended(NOON, NOON - timedelta(hours=1))
