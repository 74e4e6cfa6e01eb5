"""Writes to the ledger: batches of a spool together with its offset, so that each record counts exactly once."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, Table, and_, case, delete, func, or_, select, update

from inference_proxy.store import executed, intensities, ledger, own_cpu, spools, unattributed
from tradewind.database import insert_into, reading
from tradewind.readings import Reading, ReadingKind

_SUMS = ("inferences", "energy_uj", "smallest_uj", "largest_uj", "decided_uj", "calibrated_uj")


class Misplaced(Exception):
    """The spool's offset in the database is not the one this batch begins at: read it again."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What a stretch of one segment adds up to."""

    spool: str
    segment: int
    begins: int
    ends: int
    """Byte offsets in the segment."""
    attributed: Sequence[Mapping[str, Any]]
    """Rows of `ledger`."""
    unattributed: Sequence[Mapping[str, Any]]
    """Rows of `ledger_unattributed`."""
    charged: Sequence[Reading]
    """The readings that the attributed rows were charged by."""


class Ledger:
    """The ledger's tables in one database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def offset(self, spool: str, segment: int) -> int:
        """How many bytes of a segment are stored."""
        query = select(spools.c.stored_bytes).where(spools.c.spool == spool, spools.c.segment == segment)
        with reading(self._engine) as connection:
            return int(connection.execute(query).scalar_one_or_none() or 0)

    def store(self, batch: Batch) -> None:
        """Adds a batch and moves the offset, both or neither; Misplaced when it was stored before."""
        with self._engine.begin() as connection:
            self._advance(connection, batch)
            self._learn(connection, batch.charged, charged=True)
            self._add(connection, ledger, batch.attributed)
            self._add(connection, unattributed, batch.unattributed)

    def learn(self, readings: Sequence[Reading]) -> None:
        """Takes in readings that were heard: they price what waits for them and restate what was charged."""
        if readings:
            with self._engine.begin() as connection:
                self._learn(connection, readings, charged=False)

    def forget_segments(self, spool: str, before: int) -> None:
        """Drops the offsets of segments whose files are gone."""
        with self._engine.begin() as connection:
            connection.execute(delete(spools).where(spools.c.spool == spool, spools.c.segment < before))

    def forget_rows(self, before: datetime) -> None:
        """Drops what is older than the ledger is kept."""
        with self._engine.begin() as connection:
            connection.execute(delete(ledger).where(ledger.c.bucket_from < before))
            connection.execute(delete(unattributed).where(unattributed.c.second_from < before))
            connection.execute(delete(own_cpu).where(own_cpu.c.bucket_from < before))
            connection.execute(delete(executed).where(executed.c.minute_from < before))
            connection.execute(delete(intensities).where(intensities.c.valid_to < before))

    def _advance(self, connection: Connection, batch: Batch) -> None:
        place = and_(spools.c.spool == batch.spool, spools.c.segment == batch.segment)
        moved = update(spools).where(place, spools.c.stored_bytes == batch.begins).values(stored_bytes=batch.ends)
        if connection.execute(moved).rowcount == 1:
            return
        first = insert_into(spools, self._engine).values(
            spool=batch.spool, segment=batch.segment, stored_bytes=batch.ends
        )
        told = first.on_conflict_do_nothing().returning(spools.c.segment)
        if batch.begins != 0 or connection.execute(told).scalar_one_or_none() is None:
            raise Misplaced(f"segment {batch.segment} is not stored up to byte {batch.begins}")

    def _add(self, connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
        keys = [column.name for column in table.primary_key]
        # Two proxies that lock rows in the same order never wait for each other in a circle.
        ordered = sorted(rows, key=lambda row: tuple(row[name] for name in keys))
        if not ordered:
            return
        # One row to a statement, whose text is always the same: SQLite keeps each text that it was given, compiled.
        statement = insert_into(table, self._engine)
        sums = {name: table.c[name] + statement.excluded[name] for name in _SUMS}
        connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=sums), ordered)

    def _learn(self, connection: Connection, readings: Iterable[Reading], *, charged: bool) -> None:
        for heard in sorted(readings, key=lambda each: (each.zone, each.valid_from)):
            value = heard.intensity_g_per_kwh
            statement = insert_into(intensities, self._engine).values(
                zone=heard.zone,
                valid_from=heard.valid_from,
                valid_to=heard.valid_to,
                intensity_g_per_kwh=value,
                kind=heard.kind.value,
                published_at=heard.published_at,
                charged_g_per_kwh=value if charged else None,
            )
            new, old = statement.excluded, intensities.c
            better = or_(
                _rank(new.kind) < _rank(old.kind),
                and_(_rank(new.kind) == _rank(old.kind), new.published_at > old.published_at),
            )
            newest = ("valid_to", "intensity_g_per_kwh", "kind", "published_at")
            connection.execute(
                statement.on_conflict_do_update(
                    index_elements=["zone", "valid_from"],
                    set_={name: case((better, new[name]), else_=old[name]) for name in newest}
                    | {"charged_g_per_kwh": func.coalesce(old.charged_g_per_kwh, new.charged_g_per_kwh)},
                )
            )


def _rank(kind: Any) -> Any:
    return case({each.value: each.rank for each in ReadingKind}, value=kind, else_=9)
