"""Readings into their table by the hundred: one statement, compiled once, with as little per row as there can be."""

import json
from collections.abc import Sequence
from functools import cache
from typing import Any, TypeVar

from sqlalchemy import BigInteger, Column, Connection, Text, bindparam, cast, column, func, select, tuple_
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
    # Postgres takes all rows as one JSON value: one round trip, and no parameter per field.
    return connection.execute(_for_postgres(), {"rows": _objects(values)}).rowcount


def _objects(values: Sequence[tuple[Any, ...]]) -> str:
    names = [known.name for known in _COLUMNS]
    return json.dumps([dict(zip(names, row, strict=True)) for row in values])


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
    said = (
        func.json_to_recordset(cast(bindparam("rows", type_=Text()), postgresql.JSON()))
        .table_valued(*(column(known.name, _wire_type(known)) for known in _COLUMNS))
        .render_derived(name="said", with_types=True)
    )
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
