"""Traces are read from CSV files of many shapes, and what is wrong is named."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradewind.errors import InvalidInput
from tradewind.traces import Trace, read_trace


def read(tmp_path: Path, text: str, **options: str) -> Trace:
    """The trace of that text."""
    path = tmp_path / "trace.csv"
    path.write_text(text, encoding="utf-8")
    return read_trace(path, **options)  # type: ignore[arg-type]


FIRST = datetime(2023, 6, 1, 0, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "from_utc,ci\n2023-06-01 00:30:00,319.0\n2023-06-01 01:00:00,303\n",
        "from,to,forecast,actual,index\n2023-06-01T00:30Z,2023-06-01T01:00Z,1,319,high\n"
        "2023-06-01T01:00Z,2023-06-01T01:30Z,2,303,high\n",
        "timestamp,avg_CI\n2023-06-01 02:30:00+02:00,319.0\n2023-06-01 03:00:00+02:00,303.0\n",
        "timestamp,value\n1685579400,319\n1685581200,303\n",
        "timestamp,value\n1685579400000,319\n1685581200000,303\n",
        "\ufefftime;grid\n2023-06-01 00:30;319\n2023-06-01 01:00;303\n",
        "2023-06-01 00:30,319\n2023-06-01 01:00,303\n",
        "when\tgrid\n\n2023-06-01 01:00\t303\n2023-06-01 00:30\t319\n",
    ],
    ids=["naive", "five columns", "zoned", "epoch", "epoch ms", "semicolons and BOM", "no header", "unsorted tabs"],
)
def test_shapes_of_the_same_trace(tmp_path: Path, text: str) -> None:
    trace = read(tmp_path, text)
    assert [trace.moment(0), trace.moment(1)] == [FIRST, FIRST + timedelta(minutes=30)]
    assert (trace.value(0), trace.value(1)) == (319.0, 303.0)
    assert trace.interval_s == 1800


def test_columns_can_be_named(tmp_path: Path) -> None:
    text = "a,b,from,actual\n2023-06-01 00:30,7,2020-01-01,1\n2023-06-01 01:00,8,2020-01-02,2\n"
    trace = read(tmp_path, text, time_column="a", value_column="b")
    assert (trace.moment(0), trace.value(0), trace.time_column, trace.value_column) == (FIRST, 7.0, "a", "b")


def test_a_file_without_times_is_a_series_of_hours(tmp_path: Path) -> None:
    trace = read(tmp_path, "CISO_March\n124.57\n\n135.6\n\n")
    assert (len(trace), trace.interval_s, trace.time_column) == (3, 3600, None)
    assert trace.moment(2) - trace.moment(0) == timedelta(hours=2)
    assert trace.value(1) is None


def test_missing_is_not_zero_and_not_a_number_is_left_to_the_gate(tmp_path: Path) -> None:
    trace = read(tmp_path, "from,actual\n2023-01-01,\n2023-01-02,0\n2023-01-03,n/a\n2023-01-04,inf\n2023-01-05,5\n")
    assert [trace.value(row) for row in range(5)] == [None, 0.0, None, float("inf"), 5.0]


def test_the_usual_step_shrugs_off_gaps_duplicates_and_a_clock_change(tmp_path: Path) -> None:
    rows = ["2023-10-29T00:30+01:00", "2023-10-29T01:00+01:00", "2023-10-29T01:30+01:00", "2023-10-29T01:00+00:00"]
    rows += ["2023-10-29T01:30+00:00", "2023-10-29T01:30+00:00", "2023-11-02T00:00+00:00", "2023-11-02T00:30+00:00"]
    trace = read(tmp_path, "from,actual\n" + "".join(f"{row},{100 + n}\n" for n, row in enumerate(rows)))
    assert trace.interval_s == 1800
    assert list(np.diff(trace.times_s[:5])) == [1800] * 4
    assert [trace.value(4), trace.value(5)] == [104.0, 105.0], "duplicates keep the order of the file"


def test_milliseconds_are_never_taken_for_a_date_without_separators(tmp_path: Path) -> None:
    first = 1_640_995_200_000
    trace = read(tmp_path, "timestamp,ci\n" + "".join(f"{first + 3_600_000 * n},{100 + n}\n" for n in range(24)))
    assert list(trace.times_s) == [first // 1000 + 3600 * n for n in range(24)]


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("from,actual\n2023-01-01,5\n2023-01-02,lots\n", {}, r"trace\.csv: line 3, column actual: 'lots' is not a num"),
        ("from,actual\n2023-01-01,5\n,6\n", {}, r"trace\.csv: line 3, column from: '' is not a time"),
        ("from,actual\n2023-01-01,5\n\n01/02/2023,6\n", {}, r"line 4, column from: '01/02/2023' is not a time"),
        ("from,actual\n01/02/2023 00:00,5\n", {}, r"line 2, column from: '01/02/2023 00:00' is not a time"),
        ("Zeit,Wert\n,4\n2023-01-01 00:00 UTC,5\n", {}, r"line 3, column Zeit: '2023-01-01 00:00 UTC' is not a time"),
        ("from,a,b\n2023-01-01,5,6\n", {}, r"\(a, b could\): name the value column"),
        ("from,actual\n2023-01-01,5\n", {"value_column": "c"}, r"no value column 'c': it has from, actual"),
        ("from,actual\n2023-01-01,5\n", {"time_column": "c"}, r"no time column 'c'"),
        ("from,actual\n", {}, "has no rows"),
        ("", {}, "has no rows"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, options: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        read(tmp_path, text, **options)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_trace(tmp_path / "absent.csv")


def test_binary_is_not_a_trace(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_bytes(b"\xff\xfe\x00\x01,\x00\n")
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_trace(path)


@given(text=st.text(alphabet="0123456789.,;-:T\n\"' aZ\t\x00", max_size=200))
def test_any_text_is_read_or_refused_in_words(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("any") / "trace.csv"
    path.write_text(text, encoding="utf-8")
    try:
        trace = read_trace(path)
    except InvalidInput:
        return
    assert list(trace.times_s) == sorted(trace.times_s)
    assert trace.interval_s > 0
