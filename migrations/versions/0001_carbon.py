"""Readings, their versions, the quarantine, the outbox and the replays of the carbon service."""

import sqlalchemy as sa
from alembic import op

revision = "0001_carbon"
down_revision = None
branch_labels = None
depends_on = None

_Counter = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Applies the revision."""
    _create_readings()
    _create_quarantine()
    op.create_table(
        "carbon_outbox",
        sa.Column("id", _Counter, primary_key=True, autoincrement=True),
        sa.Column("topic", sa.String(160), nullable=False),
        sa.Column("entry", sa.String(64), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("retain", sa.Boolean(), nullable=False),
        sa.Column("expires_at", sa.BigInteger()),
        sa.UniqueConstraint("topic", "entry", name="uq_carbon_outbox_entry"),
    )
    op.create_table(
        "carbon_replays",
        sa.Column("zone", sa.String(64), primary_key=True),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
    )


def downgrade() -> None:
    """Takes the revision back."""
    for table in ("carbon_replays", "carbon_outbox", "carbon_quarantine", "carbon_versions", "carbon_readings"):
        op.drop_table(table)


def _key() -> list[sa.Column[object]]:
    return [
        sa.Column("zone", sa.String(64), nullable=False),
        sa.Column("signal", sa.String(16), nullable=False),
        sa.Column("valid_from", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("source", sa.String(160), nullable=False),
    ]


def _create_readings() -> None:
    op.create_table(
        "carbon_readings",
        *_key(),
        sa.Column("valid_to", sa.BigInteger(), nullable=False),
        sa.Column("intensity_g_per_kwh", sa.Double(), nullable=False),
        sa.Column("published_at", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("recorded_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("zone", "signal", "valid_from", "kind", "source"),
    )
    op.create_table(
        "carbon_versions",
        *_key(),
        sa.Column("published_at", sa.BigInteger(), nullable=False),
        sa.Column("valid_to", sa.BigInteger(), nullable=False),
        sa.Column("intensity_g_per_kwh", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint(
            "zone", "signal", "valid_from", "kind", "source", "published_at", "valid_to", "intensity_g_per_kwh"
        ),
    )


def _create_quarantine() -> None:
    op.create_table(
        "carbon_quarantine",
        sa.Column("id", _Counter, primary_key=True, autoincrement=True),
        sa.Column("digest", sa.String(64), nullable=False, unique=True),
        sa.Column("zone", sa.String(64), nullable=False),
        sa.Column("source", sa.String(160), nullable=False),
        sa.Column("reason", sa.String(32), nullable=False),
        sa.Column("explanation", sa.Text(), nullable=False),
        sa.Column("excerpt", sa.Text(), nullable=False),
        sa.Column("reading", sa.Text()),
        sa.Column("valid_from", sa.BigInteger()),
        sa.Column("first_at", sa.BigInteger(), nullable=False),
        sa.Column("last_at", sa.BigInteger(), nullable=False),
        sa.Column("times", sa.Integer(), nullable=False),
        sa.Column("released_at", sa.BigInteger()),
    )
    op.create_index("ix_carbon_quarantine_zone", "carbon_quarantine", ["zone", "id"])
