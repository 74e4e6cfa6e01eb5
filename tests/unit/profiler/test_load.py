"""How many requests fall into a span."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.load import Answered, answered_between


def test_a_request_at_the_edge_counts_by_its_part_inside() -> None:
    requests = [Answered(i, i + 1) for i in range(10)]
    assert answered_between(requests, 0, 10) == 10
    assert answered_between(requests, 2.5, 7.25) == pytest.approx(4.75)
    assert answered_between(requests, 20, 30) == 0


@given(st.floats(0, 10), st.floats(0, 10), st.floats(0, 10))
def test_spans_add_up(a: float, b: float, c: float) -> None:
    requests = [Answered(i * 0.7, i * 0.7 + 0.6) for i in range(14)]
    first, middle, last = sorted((a, b, c))
    whole = answered_between(requests, first, last)
    assert whole == pytest.approx(
        answered_between(requests, first, middle) + answered_between(requests, middle, last), abs=1e-9
    )
