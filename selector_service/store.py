"""The selector's store: the window's readings, the decisions by revision, and what policies remember.

Every transaction locks one counter first, which makes replicas on one database take turns, and moves it when it
wrote something. A replica that finds the counter moved has missed something: it is told what, decides again and
comes back.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Connection, Engine, Row, Table, delete, func, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import ReturningInsert

from selector_service.deciding import PolicyState
from selector_service.merging import merge_readings
from selector_service.tables import changes, decisions, metadata, policy_states, readings, reporters, served
from tradewind.database import insert_into, reading
from tradewind.decisions import Decision, decision_from_json, decision_to_json
from tradewind.readings import Reading, ReadingKind, Signal

__all__ = ["Round", "Store", "Stored", "metadata"]

COUNTER = "selector"


@dataclass(frozen=True, slots=True)
class Stored:
    """What the database holds beyond some change."""

    change: int
    readings: tuple[Reading, ...] = ()
    decisions: tuple[Decision, ...] = ()
    """In order of revision within each zone and family."""
    states: tuple[PolicyState, ...] = ()


@dataclass(frozen=True, slots=True)
class Round:
    """What one transaction is to write."""

    readings: Sequence[Reading] = ()
    decisions: Sequence[Decision] = ()
    states: Sequence[PolicyState] = ()


class Store:
    """The selector's tables in SQLite or Postgres."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def load(self) -> Stored:
        """Every reading that is kept, and the newest decision and state of each zone and family."""
        with reading(self._engine) as connection:
            # The counter first: what commits while the rest is read is read again by the next commit.
            change = connection.execute(select(changes.c.change)).scalar() or 0
            rows = connection.execute(select(readings)).all()
            newest = select(decisions.c.zone, decisions.c.family, func.max(decisions.c.revision)).group_by(
                decisions.c.zone, decisions.c.family
            )
            in_force = select(decisions.c.content).where(
                tuple_(decisions.c.zone, decisions.c.family, decisions.c.revision).in_(newest)
            )
            return Stored(
                change,
                tuple(_reading(row) for row in rows),
                tuple(decision_from_json(content) for content in connection.execute(in_force).scalars()),
                tuple(_state(row) for row in connection.execute(select(policy_states))),
            )

    def commit(self, seen: int, writes: Round) -> tuple[bool, Stored]:
        """Writes a round in one transaction; (True, …) when nobody else wrote since `seen`.

        Otherwise only the readings are written, which merge in any order, and the answer is (False, what others
        wrote): merge it, decide again and commit with its change.
        """
        with self._engine.begin() as connection:
            change = _lock(connection)
            merged = merge_readings(connection, writes.readings, change + 1)
            if change != seen:
                others = _since(connection, seen, change)
                # Only what is new moves the counter: replicas that tell one another nothing new come to rest.
                return False, replace(others, change=_count(connection, change, merged))
            _insert_decisions(connection, writes.decisions, change + 1)
            _put_states(connection, writes.states, change + 1)
            written = merged + len(writes.decisions) + len(writes.states)
            return True, Stored(_count(connection, change, written))

    def report_served(
        self, reporter: str, sequence: int, counts: Mapping[tuple[str, str, str], int], now: datetime
    ) -> bool:
        """Adds inferences per (zone, family, variant); False when this or a later sequence was counted before."""
        with self._engine.begin() as connection:
            statement = insert_into(reporters, connection).values(reporter=reporter, sequence=sequence, reported_at=now)
            statement = statement.on_conflict_do_update(
                index_elements=[reporters.c.reporter],
                set_={"sequence": statement.excluded.sequence, "reported_at": statement.excluded.reported_at},
                where=reporters.c.sequence < statement.excluded.sequence,
            )
            if connection.execute(statement.returning(reporters.c.sequence)).first() is None:
                return False
            for (zone, family, variant), inferences in sorted(counts.items()):
                row = insert_into(served, connection).values(
                    zone=zone, family=family, variant=variant, inferences=inferences
                )
                connection.execute(
                    row.on_conflict_do_update(
                        index_elements=[served.c.zone, served.c.family, served.c.variant],
                        set_={"inferences": served.c.inferences + row.excluded.inferences},
                    )
                )
            return True

    def served_totals(self) -> dict[tuple[str, str], dict[str, int]]:
        """Inferences ever reported, per zone and family, per variant."""
        totals: dict[tuple[str, str], dict[str, int]] = {}
        with reading(self._engine) as connection:
            for row in connection.execute(select(served)):
                totals.setdefault((row.zone, row.family), {})[row.variant] = row.inferences
        return totals

    def forget(self, before: Mapping[str, datetime]) -> int:
        """Deletes each zone's readings of intervals that begin before; how many there were."""
        count = 0
        with self._engine.begin() as connection:
            for zone, moment in sorted(before.items()):
                old = delete(readings).where(readings.c.zone == zone, readings.c.valid_from < moment)
                count += connection.execute(old).rowcount
        return count

    def decision(self, decision_id: str) -> Decision | None:
        """The newest decision of that id."""
        with reading(self._engine) as connection:
            statement = select(decisions.c.content).where(decisions.c.id == decision_id)
            content = connection.execute(statement.order_by(decisions.c.decided_at.desc())).scalar()
            return None if content is None else decision_from_json(content)

    def history(self, zone: str, family: str) -> list[Decision]:
        """Every decision of a zone and family, by revision."""
        with reading(self._engine) as connection:
            statement = select(decisions.c.content).where(decisions.c.zone == zone, decisions.c.family == family)
            ordered = connection.execute(statement.order_by(decisions.c.revision)).scalars()
            return [decision_from_json(content) for content in ordered]


def _lock(connection: Connection) -> int:
    """Waits for this transaction's turn; the newest change before it. The counter has moved already."""
    return int(connection.execute(_next_change(connection.dialect.name)).scalar_one()) - 1


@cache
def _next_change(dialect: str) -> ReturningInsert[tuple[Any, ...]]:
    """Made once: making it costs more than running it."""
    insert = sqlite.insert if dialect == "sqlite" else postgresql.insert
    statement = insert(changes).values(name=COUNTER, change=1)
    following = {"change": changes.c.change + 1}
    moved = statement.on_conflict_do_update(index_elements=[changes.c.name], set_=following)
    return moved.returning(changes.c.change)


def _count(connection: Connection, change: int, written: int) -> int:
    """The change that this transaction is: none, where it has written nothing."""
    if written:
        return change + 1
    connection.execute(update(changes).where(changes.c.name == COUNTER).values(change=change))
    return change


def _since(connection: Connection, seen: int, change: int) -> Stored:
    def others(table: Table) -> Any:
        return select(table).where(table.c.change > seen, table.c.change <= change)

    ordered = others(decisions).order_by(decisions.c.revision)
    return Stored(
        change,
        tuple(_reading(row) for row in connection.execute(others(readings))),
        tuple(decision_from_json(row.content) for row in connection.execute(ordered)),
        tuple(_state(row) for row in connection.execute(others(policy_states))),
    )


def _insert_decisions(connection: Connection, rows: Sequence[Decision], change: int) -> None:
    if not rows:
        return
    connection.execute(
        insert_into(decisions, connection),
        [
            {
                "zone": row.zone,
                "family": row.family,
                "revision": row.revision,
                "id": row.id,
                "variant": row.heaviest_variant,
                "reason": row.reason.value,
                "valid_from": row.valid_from,
                "decided_at": row.decided_at,
                "content": decision_to_json(row),
                "change": change,
            }
            for row in rows
        ],
    )


def _put_states(connection: Connection, rows: Sequence[PolicyState], change: int) -> None:
    for row in rows:
        statement = insert_into(policy_states, connection).values(
            zone=row.zone,
            family=row.family,
            policy=row.policy,
            interval_from=row.interval_from,
            before=json.dumps(row.before),
            after=json.dumps(row.after),
            served=json.dumps(row.served),
            served_until=json.dumps(row.served_until),
            change=change,
        )
        said = ("policy", "interval_from", "before", "after", "served", "served_until", "change")
        connection.execute(
            statement.on_conflict_do_update(
                index_elements=[policy_states.c.zone, policy_states.c.family],
                set_={name: statement.excluded[name] for name in said},
            )
        )


def _reading(row: Row[Any]) -> Reading:
    return Reading(
        zone=row.zone,
        valid_from=row.valid_from,
        valid_to=row.valid_to,
        intensity_g_per_kwh=row.intensity_g_per_kwh,
        kind=ReadingKind(row.kind),
        signal=Signal(row.signal),
        source=row.source,
        published_at=row.published_at,
        revision=row.revision,
        recorded_at=row.recorded_at,
    )


def _state(row: Row[Any]) -> PolicyState:
    return PolicyState(
        zone=row.zone,
        family=row.family,
        policy=row.policy,
        interval_from=row.interval_from,
        before=json.loads(row.before),
        after=json.loads(row.after),
        served=json.loads(row.served),
        served_until=json.loads(row.served_until),
    )
