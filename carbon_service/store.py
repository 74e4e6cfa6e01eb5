"""What is kept: readings with their earlier versions, what was quarantined, and what the bus has yet to hear."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from tradewind.database import UtcMicroseconds

metadata = MetaData()

# SQLite counts up by itself only in a column that is declared INTEGER.
_Counter = BigInteger().with_variant(Integer, "sqlite")

readings = Table(
    "carbon_readings",
    metadata,
    Column("zone", String(64), nullable=False),
    Column("signal", String(16), nullable=False),
    Column("valid_from", UtcMicroseconds, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("source", String(160), nullable=False),
    Column("valid_to", UtcMicroseconds, nullable=False),
    Column("intensity_g_per_kwh", Double, nullable=False),
    Column("published_at", UtcMicroseconds, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("recorded_at", UtcMicroseconds),
    # In the order in which one interval's readings are looked for.
    PrimaryKeyConstraint("zone", "signal", "valid_from", "kind", "source"),
)

versions = Table(
    "carbon_versions",
    metadata,
    Column("zone", String(64), nullable=False),
    Column("signal", String(16), nullable=False),
    Column("valid_from", UtcMicroseconds, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("source", String(160), nullable=False),
    Column("published_at", UtcMicroseconds, nullable=False),
    Column("valid_to", UtcMicroseconds, nullable=False),
    Column("intensity_g_per_kwh", Double, nullable=False),
    PrimaryKeyConstraint(
        "zone", "signal", "valid_from", "kind", "source", "published_at", "valid_to", "intensity_g_per_kwh"
    ),
)
"""Versions of a reading that a newer one replaced: their count is its revision, in whatever order they came."""

quarantine = Table(
    "carbon_quarantine",
    metadata,
    Column("id", _Counter, primary_key=True, autoincrement=True),
    Column("digest", String(64), nullable=False, unique=True),
    Column("zone", String(64), nullable=False),
    Column("source", String(160), nullable=False),
    Column("reason", String(32), nullable=False),
    Column("explanation", Text, nullable=False),
    Column("excerpt", Text, nullable=False),
    Column("reading", Text),
    Column("valid_from", UtcMicroseconds),
    Column("first_at", UtcMicroseconds, nullable=False),
    Column("last_at", UtcMicroseconds, nullable=False),
    Column("times", Integer, nullable=False),
    Column("released_at", UtcMicroseconds),
    Index("ix_carbon_quarantine_zone", "zone", "id"),
)

outbox = Table(
    "carbon_outbox",
    metadata,
    Column("id", _Counter, primary_key=True, autoincrement=True),
    Column("topic", String(160), nullable=False),
    Column("entry", String(64), nullable=False),
    Column("payload", Text, nullable=False),
    Column("retain", Boolean, nullable=False),
    Column("expires_at", UtcMicroseconds),
    UniqueConstraint("topic", "entry", name="uq_carbon_outbox_entry"),
)

replays = Table(
    "carbon_replays",
    metadata,
    Column("zone", String(64), primary_key=True),
    Column("fingerprint", String(64), nullable=False),
    Column("started_at", UtcMicroseconds, nullable=False),
)
"""When a replay began, so that a restarted service goes on with it instead of telling the day anew."""
