"""What is written to the store, in the transaction of the caller; each write may be repeated without harm."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Insert, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite

from carbon_service.announcements import Announcement
from carbon_service.observations import EXCERPT_CHARACTERS, Claim
from carbon_service.queries import chunks
from carbon_service.store import outbox, quarantine, readings, replays, versions
from tradewind.database import insert_into
from tradewind.readings import Reading, to_json

_KEY = ("zone", "signal", "valid_from", "kind", "source")
_REST = ("valid_to", "intensity_g_per_kwh", "published_at", "revision", "recorded_at")


def upsert_readings(connection: Connection, written: Iterable[Reading]) -> None:
    """Stores readings; each replaces what its key held."""
    rows = [_reading_row(reading) for reading in written]
    if rows:
        connection.execute(_upsert(connection.dialect.name, "readings"), rows)


@lru_cache
def _upsert(dialect: str, what: str) -> Insert:
    """An upsert of readings or of the outbox: made once, since making it costs more than running it."""
    insert = sqlite.insert if dialect == "sqlite" else postgresql.insert
    key: tuple[str, ...]
    names: tuple[str, ...]
    if what == "readings":
        statement, key, names = insert(readings), _KEY, _REST
    else:
        statement, key, names = insert(outbox), ("topic", "entry"), ("id", "payload", "retain", "expires_at")
    newer = {name: statement.excluded[name] for name in names}
    return statement.on_conflict_do_update(index_elements=list(key), set_=newer)


def keep_versions(connection: Connection, replaced: Iterable[Reading]) -> None:
    """Keeps versions that a newer one replaced."""
    rows = [
        {name: value for name, value in _reading_row(reading).items() if name not in {"revision", "recorded_at"}}
        for reading in replaced
    ]
    if rows:
        connection.execute(insert_into(versions, connection).on_conflict_do_nothing(), rows)


def put_in_quarantine(connection: Connection, claims: Iterable[tuple[Claim, str, str]], now: datetime) -> None:
    """Keeps claims with the reason and the sentence why; one that is there already is counted again."""
    rows: dict[str, dict[str, Any]] = {}
    for claim, reason, explanation in claims:
        known = rows.get(claim.digest)
        rows[claim.digest] = row = _quarantine_row(claim, reason, explanation, now)
        row["times"] += 0 if known is None else known["times"]
    if rows:
        statement = insert_into(quarantine, connection)
        again = {
            "last_at": statement.excluded["last_at"],
            "times": quarantine.c.times + statement.excluded["times"],
            # As the gate does, the latest version is kept: it is the one that may be believed after all.
            **{name: statement.excluded[name] for name in ("explanation", "excerpt", "reading")},
        }
        connection.execute(statement.on_conflict_do_update(index_elements=["digest"], set_=again), list(rows.values()))


def release(connection: Connection, digests: Sequence[str], now: datetime) -> None:
    """Marks quarantined readings as accepted after all."""
    for chunk in chunks(digests):
        connection.execute(
            update(quarantine)
            .where(quarantine.c.digest.in_(chunk), quarantine.c.released_at.is_(None))
            .values(released_at=now)
        )


def note_end(connection: Connection, digests: Mapping[str, int]) -> None:
    """Adds to held readings how many intervals their jump lasted before it ended."""
    for digest, lasted in digests.items():
        note = f"; it lasted {lasted} interval{'' if lasted == 1 else 's'}"
        row = connection.execute(select(quarantine.c.explanation).where(quarantine.c.digest == digest)).first()
        if row is not None and note not in row.explanation:
            connection.execute(
                update(quarantine).where(quarantine.c.digest == digest).values(explanation=row.explanation + note)
            )


def put_in_outbox(connection: Connection, announcements: Iterable[Announcement]) -> None:
    """Keeps what the bus has yet to hear; a newer announcement takes the place of its topic's older one."""
    rows = [
        {
            "id": each.id,
            "topic": each.topic,
            "entry": each.entry,
            "payload": each.payload,
            "retain": each.retain,
            "expires_at": each.expires_at,
        }
        for each in announcements
    ]
    if rows:
        connection.execute(_upsert(connection.dialect.name, "outbox"), rows)


def unheard(connection: Connection) -> list[Announcement]:
    """What the bus has yet to hear, in order."""
    return [
        Announcement(row.id, row.topic, row.entry, row.payload, row.retain, row.expires_at)
        for row in connection.execute(select(outbox).order_by(outbox.c.id))
    ]


def remove_heard(connection: Connection, ids: Sequence[int]) -> None:
    """Forgets announcements that the broker has acknowledged."""
    for chunk in chunks(ids):
        connection.execute(delete(outbox).where(outbox.c.id.in_(chunk)))


def forget_older(connection: Connection, oldest: datetime, most_quarantined: int) -> None:
    """Applies the retention: readings and versions by their interval, the quarantine by age and by number."""
    connection.execute(delete(readings).where(readings.c.valid_from < oldest))
    connection.execute(delete(versions).where(versions.c.valid_from < oldest))
    connection.execute(delete(quarantine).where(quarantine.c.last_at < oldest))
    # Counted, not reckoned from the newest id: on Postgres a row that is only counted again uses up an id, too.
    ids = select(quarantine.c.id).order_by(quarantine.c.id.desc()).offset(most_quarantined).limit(1)
    surplus = connection.execute(ids).scalar_one_or_none()
    if surplus is not None:
        connection.execute(delete(quarantine).where(quarantine.c.id <= surplus))


def replay_start(connection: Connection, zone: str, fingerprint: str) -> datetime | None:
    """When this very replay began; None when it never did."""
    query = select(replays.c.started_at).where(replays.c.zone == zone, replays.c.fingerprint == fingerprint)
    return connection.execute(query).scalar_one_or_none()


def begin_replay(
    connection: Connection, zone: str, fingerprint: str, started_at: datetime, source: str, first: datetime
) -> None:
    """Notes a replay's beginning; an earlier replay's intervals must not overlap with those of the new one."""
    c = readings.c
    connection.execute(delete(readings).where(c.zone == zone, c.source == source, c.valid_to > first))
    statement = insert_into(replays, connection)
    newer = {name: statement.excluded[name] for name in ("fingerprint", "started_at")}
    connection.execute(
        statement.on_conflict_do_update(index_elements=["zone"], set_=newer),
        {"zone": zone, "fingerprint": fingerprint, "started_at": started_at},
    )


def _reading_row(reading: Reading) -> dict[str, Any]:
    return {
        "zone": reading.zone,
        "signal": reading.signal.value,
        "valid_from": reading.valid_from,
        "kind": reading.kind.value,
        "source": reading.source,
        "valid_to": reading.valid_to,
        "intensity_g_per_kwh": reading.intensity_g_per_kwh,
        "published_at": reading.published_at,
        "revision": reading.revision,
        "recorded_at": reading.recorded_at,
    }


def _quarantine_row(claim: Claim, reason: str, explanation: str, now: datetime) -> dict[str, Any]:
    reading = claim.reading
    excerpt = claim.excerpt or ("" if reading is None else to_json(reading))
    return {
        "digest": claim.digest,
        "zone": claim.zone,
        "source": claim.source,
        "reason": reason,
        "explanation": explanation,
        "excerpt": excerpt[:EXCERPT_CHARACTERS],
        "reading": None if reading is None else to_json(reading),
        "valid_from": None if reading is None else reading.valid_from,
        "first_at": now,
        "last_at": now,
        "times": 1,
        "released_at": None,
    }
