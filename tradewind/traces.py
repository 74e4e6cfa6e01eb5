"""A trace: the values of a CSV file in order of time, with the interval between them.

Times may carry a zone, or none (taken as UTC), or be seconds or milliseconds since 1970; a file without a time column
is a series of equal intervals. Cells without a value stay without one. What is wrong is named by file, line and column.
"""

import csv
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tradewind.errors import InvalidInput

_TIME_NAMES = (
    *("valid_from", "from", "from_utc", "start", "start_time", "interval_start", "timestamp", "timestamp_utc"),
    *("datetime", "datetime_utc", "datetime (utc)", "date", "time", "utc", "period", "settlement_time"),
)
_VALUE_NAMES = (
    *("intensity_g_per_kwh", "actual", "ci", "intensity", "carbon_intensity", "carbonintensity", "avg_ci"),
    *("carbon_intensity_g_per_kwh", "ci_direct", "g_per_kwh", "gco2/kwh", "moer", "value", "requests", "count"),
)
_LOOKS_LIKE_A_TIME = re.compile(r"\d+[-/.]\d+[-/.]\d+|\d:\d\d")
_NO_VALUE = frozenset({"", "na", "n/a", "nan", "null", "none", "-", "--"})
_SERIES_START = datetime(2000, 1, 1, tzinfo=UTC)
"""Where a file without times is laid; only differences between its intervals mean anything."""

DEFAULT_INTERVAL = timedelta(hours=1)
"""Of a file without times, or with a single row."""


@dataclass(frozen=True, slots=True)
class Trace:
    """Values at the beginning of their intervals, sorted by time; a moment may be there more than once."""

    name: str
    times_s: NDArray[np.int64]
    """Seconds since 1970, UTC."""
    values: NDArray[np.float64]
    """NaN where the file has no value."""
    interval_s: int
    """The usual distance between rows."""
    value_column: str
    time_column: str | None = None

    def __len__(self) -> int:
        return len(self.values)

    def moment(self, row: int) -> datetime:
        """When the row's interval begins."""
        return datetime.fromtimestamp(int(self.times_s[row]), UTC)

    def value(self, row: int) -> float | None:
        """The row's value, or None where the file has none."""
        value = float(self.values[row])
        return None if math.isnan(value) else value


def read_trace(
    path: Path,
    time_column: str | None = None,
    value_column: str | None = None,
    interval: timedelta | None = None,
) -> Trace:
    """The trace of a CSV file; columns are found by name and content unless they are named.

    `interval` is the distance between rows where it is not to be inferred from the times.
    """
    header, rows = _read_rows(path)
    time_index = _time_index(path, header, rows, time_column)
    value_index = _value_index(path, header, rows, value_column, time_index)
    values = np.array([_number(path, line, header, row, value_index) for line, row in rows], dtype=np.float64)
    if time_index is None:
        step = int((interval or DEFAULT_INTERVAL).total_seconds())
        times = int(_SERIES_START.timestamp()) + step * np.arange(len(rows), dtype=np.int64)
    else:
        times = np.array([_seconds(path, line, header, row, time_index) for line, row in rows], dtype=np.int64)
        step = int(interval.total_seconds()) if interval else usual_step_s(times)
    order = np.argsort(times, kind="stable")
    return Trace(
        name=path.stem,
        times_s=times[order],
        values=values[order],
        interval_s=step,
        value_column=header[value_index],
        time_column=None if time_index is None else header[time_index],
    )


def usual_step_s(times_s: NDArray[np.int64]) -> int:
    """The commonest distance between neighbouring times (the shortest of equals); an hour where there is none."""
    steps, counts = np.unique(np.diff(np.unique(times_s)), return_counts=True)
    return int(steps[np.argmax(counts)]) if len(steps) else int(DEFAULT_INTERVAL.total_seconds())


def _read_rows(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header, and the rows that are not blank with their line numbers."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            sample = file.readline()
            file.seek(0)
            reader = csv.reader(file, delimiter=max(",;\t", key=sample.count))
            rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path}: cannot be read as a text file; give the path of a CSV file") from error
    except csv.Error as error:
        raise InvalidInput(f"{path}: is not a CSV file: {error}") from error
    while rows and not any(rows[-1][1]):
        rows.pop()
    while rows and not any(rows[0][1]):
        rows.pop(0)
    if rows and _is_header(rows[0][1]):
        header, rows = rows[0][1], rows[1:]
    else:
        header = [str(number) for number in range(1, len(rows[0][1]) + 1)] if rows else []
    # A row of empty cells says nothing where there are several columns; in a single column it is a missing value.
    rows = [(line, row) for line, row in rows if len(header) == 1 or any(row)]
    if not rows:
        raise InvalidInput(f"{path}: has no rows; give a CSV file with a header and at least one row")
    return header, rows


def _is_header(cells: Sequence[str]) -> bool:
    return not any(_as_number(cell) is not None or _as_seconds(cell) is not None for cell in cells)


def _time_index(
    path: Path, header: Sequence[str], rows: Sequence[tuple[int, list[str]]], wanted: str | None
) -> int | None:
    if wanted is not None:
        return _named(path, header, wanted, "time")
    names = [name.lower() for name in header]
    for name in _TIME_NAMES:
        if name in names and _first_cell_is(rows, names.index(name), time=True):
            return names.index(name)
    for index in range(len(header)):
        cell = _first_cell(rows, index)
        if cell and _as_number(cell) is None and _as_seconds(cell) is not None:
            return index
    _refuse_unreadable_times(path, header, rows)
    return None


def _refuse_unreadable_times(path: Path, header: Sequence[str], rows: Sequence[tuple[int, list[str]]]) -> None:
    """Times that cannot be read are not the same as no times: without them, gaps and hours would be lost unsaid."""
    for index in range(len(header)):
        line, row = next(((line, row) for line, row in rows if _cell(row, index)), (0, []))
        cell = _cell(row, index)
        if _as_number(cell) is None and _LOOKS_LIKE_A_TIME.search(cell):
            raise _not_a_time(path, line, header[index], cell)


def _value_index(
    path: Path,
    header: Sequence[str],
    rows: Sequence[tuple[int, list[str]]],
    wanted: str | None,
    time_index: int | None,
) -> int:
    if wanted is not None:
        return _named(path, header, wanted, "value")
    names = [name.lower() for name in header]
    for name in _VALUE_NAMES:
        if name in names and names.index(name) != time_index:
            return names.index(name)
    numeric = [i for i in range(len(header)) if i != time_index and _first_cell_is(rows, i, time=False)]
    if len(numeric) == 1:
        return numeric[0]
    if not numeric and len(header) == (1 if time_index is None else 2):
        return next(index for index in range(len(header)) if index != time_index)
    found = ", ".join(header[index] for index in numeric) or "none of them"
    raise InvalidInput(f"{path}: which column holds the value is unclear ({found} could): name the value column")


def _named(path: Path, header: Sequence[str], wanted: str, what: str) -> int:
    if wanted in header:
        return list(header).index(wanted)
    raise InvalidInput(f"{path}: has no {what} column {wanted!r}: it has {', '.join(header)}")


def _first_cell(rows: Sequence[tuple[int, list[str]]], index: int) -> str:
    """The column's first cell that holds something, within the first rows."""
    cells = (row[index] for _, row in islice(rows, 1000) if index < len(row))
    return next((cell for cell in cells if cell.lower() not in _NO_VALUE), "")


def _first_cell_is(rows: Sequence[tuple[int, list[str]]], index: int, *, time: bool) -> bool:
    cell = _first_cell(rows, index)
    return (_as_seconds(cell) if time else _as_number(cell)) is not None


def _cell(row: Sequence[str], index: int) -> str:
    return row[index] if index < len(row) else ""


def _number(path: Path, line: int, header: Sequence[str], row: Sequence[str], index: int) -> float:
    cell = _cell(row, index)
    if cell.lower() in _NO_VALUE:
        return math.nan
    number = _as_number(cell)
    if number is None:
        raise InvalidInput(
            f"{path}: line {line}, column {header[index]}: {cell[:40]!r} is not a number; correct it or leave it empty"
        )
    return number


def _seconds(path: Path, line: int, header: Sequence[str], row: Sequence[str], index: int) -> int:
    cell = _cell(row, index)
    seconds = _as_seconds(cell)
    if seconds is None:
        raise _not_a_time(path, line, header[index], cell)
    return seconds


def _not_a_time(path: Path, line: int, column: str, cell: str) -> InvalidInput:
    return InvalidInput(
        f"{path}: line {line}, column {column}: {cell[:40]!r} is not a time; "
        f"write it as 2023-06-02T12:30:00Z or as seconds since 1970"
    )


def _as_number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _as_seconds(cell: str) -> int | None:
    # First: 1641020400000 is milliseconds, but would also pass for the year 1641 in ISO 8601 without separators.
    if (seconds := _epoch_seconds(_as_number(cell))) is not None:
        return seconds
    try:
        moment = datetime.fromisoformat(cell)
    except ValueError:
        return None
    return round(moment.timestamp() if moment.tzinfo else moment.replace(tzinfo=UTC).timestamp())


def _epoch_seconds(number: float | None) -> int | None:
    """Of seconds or milliseconds since 1970, between 1973 and 5138; None of anything else."""
    if number is None or not 1e8 <= number < 1e14:
        return None
    return round(number if number < 1e11 else number / 1000)
