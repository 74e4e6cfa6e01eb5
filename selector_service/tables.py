"""The selector's tables: the window's readings, the decisions by revision, and what policies remember."""

from sqlalchemy import BigInteger, Column, Float, Index, Integer, MetaData, String, Table, Text

from tradewind.database import UtcMicroseconds

metadata = MetaData()

changes = Table(
    "selector_changes",
    metadata,
    Column("name", String(16), primary_key=True),
    Column("change", BigInteger, nullable=False),
)

readings = Table(
    "selector_readings",
    metadata,
    Column("zone", String(64), primary_key=True),
    Column("valid_from", UtcMicroseconds, primary_key=True),
    Column("signal", String(16), primary_key=True),
    Column("kind", String(16), primary_key=True),
    Column("source", Text, primary_key=True),
    Column("valid_to", UtcMicroseconds, nullable=False),
    Column("intensity_g_per_kwh", Float(53), nullable=False),
    Column("published_at", UtcMicroseconds, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("recorded_at", UtcMicroseconds),
    Column("change", BigInteger, nullable=False),
    Index("selector_readings_change", "change"),
)

decisions = Table(
    "selector_decisions",
    metadata,
    Column("zone", String(64), primary_key=True),
    Column("family", String(1024), primary_key=True),
    Column("revision", BigInteger, primary_key=True, autoincrement=False),
    Column("id", String(64), nullable=False),
    Column("variant", String(1024), nullable=False),
    Column("reason", String(32), nullable=False),
    Column("valid_from", UtcMicroseconds, nullable=False),
    Column("decided_at", UtcMicroseconds, nullable=False),
    Column("content", Text, nullable=False),
    Column("change", BigInteger, nullable=False),
    Index("selector_decisions_id", "id"),
    Index("selector_decisions_change", "change"),
)

policy_states = Table(
    "selector_policy_states",
    metadata,
    Column("zone", String(64), primary_key=True),
    Column("family", String(1024), primary_key=True),
    Column("policy", Text, nullable=False),
    Column("interval_from", UtcMicroseconds, nullable=False),
    Column("before", Text, nullable=False),
    Column("after", Text, nullable=False),
    Column("served", Text, nullable=False),
    Column("served_until", Text, nullable=False),
    Column("change", BigInteger, nullable=False),
)

served = Table(
    "selector_served",
    metadata,
    Column("zone", String(64), primary_key=True),
    Column("family", String(1024), primary_key=True),
    Column("variant", String(1024), primary_key=True),
    Column("inferences", BigInteger, nullable=False),
)

reporters = Table(
    "selector_reporters",
    metadata,
    Column("reporter", String(128), primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    Column("reported_at", UtcMicroseconds, nullable=False),
)
