"""A family's statistics: its variants' rows of Triton's statistics, summed into one under the family's name."""

from collections.abc import Sequence
from typing import Any

_LATEST = frozenset({"last_inference"})
_IDENTITY = ("batch_size", "type", "id")
"""What a row of an inner list is about: rows that agree in these are summed."""


def summed_statistics(family: str, version: str, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One row; counts, durations and sizes are sums, times are the latest."""
    total: dict[str, Any] = {"name": family, "version": version}
    for row in rows:
        _add(total, {key: value for key, value in row.items() if key not in {"name", "version"}})
    return total


def _add(total: dict[str, Any], row: dict[str, Any]) -> None:
    for key, value in row.items():
        known = total.get(key)
        if isinstance(value, dict):
            _add(total.setdefault(key, {}), value)
        elif isinstance(value, list):
            total[key] = _merged([*(known or []), *value])
        elif isinstance(value, int | float) and not isinstance(value, bool):
            total[key] = value if known is None else max(known, value) if key in _LATEST else known + value
        elif known is None:
            total[key] = value


def _merged(rows: list[Any]) -> list[Any]:
    merged: dict[tuple[Any, ...], Any] = {}
    for row in rows:
        if not isinstance(row, dict):
            return rows
        about = tuple(row.get(key) for key in _IDENTITY)
        total = merged.setdefault(about, {key: row[key] for key in _IDENTITY if key in row})
        _add(total, {key: value for key, value in row.items() if key not in _IDENTITY})
    return list(merged.values())
