"""Readings into their table by the hundred: one statement, compiled once, with as little per row as there can be."""

from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any, TypeVar

from sqlalchemy import ARRAY, BigInteger, Column, Connection, Text, bindparam, cast, func, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.types import TypeEngine

from selector_service.tables import readings
from tradewind.database import UtcMicroseconds, microseconds
from tradewind.readings import Reading

_Upsert = TypeVar("_Upsert", sqlite.Insert, postgresql.Insert)

_COLUMNS = tuple(readings.columns)


def merge_readings(connection: Connection, rows: Sequence[Reading], change: int) -> int:
    """Of several publications under one key the newest stays; how many rows were new or replaced what was there.

    No two rows may have the same key.
    """
    if not rows:
        return 0
    values = [_values(row, change) for row in rows]
    if connection.dialect.name == "sqlite":
        return connection.exec_driver_sql(_for_sqlite(), values).rowcount
    # Postgres takes a column as one value: one round trip, and no parameter per field.
    columns = dict(zip((known.name for known in _COLUMNS), zip(*values, strict=True), strict=True))
    return connection.execute(_for_postgres(), {name: _array(column) for name, column in columns.items()}).rowcount


def _array(column: tuple[Any, ...]) -> str:
    """A column as Postgres writes an array; a float's shortest text is that float again."""
    if isinstance(column[0], str):
        return "{" + ",".join([_quoted(value) for value in column]) + "}"
    return "{" + ",".join(["NULL" if value is None else repr(value) for value in column]) + "}"


@lru_cache
def _quoted(text: str) -> str:
    # What stands in quotes is text, whatever it is; a source may be called NULL.
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _values(row: Reading, change: int) -> tuple[Any, ...]:
    return (
        row.zone,
        microseconds(row.valid_from),
        row.signal.value,
        row.kind.value,
        row.source,
        microseconds(row.valid_to),
        row.intensity_g_per_kwh,
        microseconds(row.published_at),
        row.revision,
        None if row.recorded_at is None else microseconds(row.recorded_at),
        change,
    )


@cache
def _for_sqlite() -> str:
    statement = sqlite.insert(readings).values({column.name: bindparam(column.name) for column in _COLUMNS})
    return str(_newest_wins(statement).compile(dialect=sqlite.dialect(paramstyle="qmark")))


@cache
def _for_postgres() -> postgresql.Insert:
    arrays = [cast(bindparam(known.name, type_=Text()), ARRAY(_wire_type(known))) for known in _COLUMNS]
    said = func.unnest(*arrays).table_valued(*(known.name for known in _COLUMNS)).render_derived(name="said")
    statement = postgresql.insert(readings).from_select([known.name for known in _COLUMNS], select(*said.c))
    return _newest_wins(statement)


def _wire_type(known: Column[Any]) -> TypeEngine[Any]:
    return BigInteger() if isinstance(known.type, UtcMicroseconds) else known.type


def _newest_wins(statement: _Upsert) -> _Upsert:
    new = statement.excluded
    # The same order as readings.supersedes: any order of arrival ends the same.
    return statement.on_conflict_do_update(
        index_elements=list(readings.primary_key.columns),
        set_={known.name: new[known.name] for known in _COLUMNS if not known.primary_key},
        where=tuple_(new.published_at, new.valid_to, new.intensity_g_per_kwh)
        > tuple_(readings.c.published_at, readings.c.valid_to, readings.c.intensity_g_per_kwh),
    )
