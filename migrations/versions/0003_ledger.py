"""The inference proxy's ledger, the intensities it was charged by and the offsets of its spools."""

import sqlalchemy as sa
from alembic import op

revision = "0003_ledger"
down_revision = "0002_selector"
branch_labels = None
depends_on = None


def _who() -> list[sa.Column[str]]:
    return [
        sa.Column("family", sa.String(1024), primary_key=True),
        sa.Column("variant", sa.String(1024), primary_key=True),
        sa.Column("decided", sa.String(1024), primary_key=True),
        sa.Column("zone", sa.String(64), primary_key=True),
        sa.Column("tenant", sa.String(128), primary_key=True),
    ]


def _sums() -> list[sa.Column[int]]:
    return [
        sa.Column("inferences", sa.BigInteger, nullable=False),
        sa.Column("energy_uj", sa.BigInteger, nullable=False),
        sa.Column("smallest_uj", sa.BigInteger, nullable=False),
        sa.Column("largest_uj", sa.BigInteger, nullable=False),
        sa.Column("decided_uj", sa.BigInteger, nullable=False),
    ]


def upgrade() -> None:
    """Applies the revision."""
    op.create_table(
        "ledger",
        sa.Column("bucket_from", sa.BigInteger, primary_key=True),
        sa.Column("interval_from", sa.BigInteger, primary_key=True),
        *_who(),
        *_sums(),
    )
    op.create_table(
        "ledger_unattributed",
        sa.Column("second_from", sa.BigInteger, primary_key=True),
        *_who(),
        *_sums(),
    )
    op.create_table(
        "ledger_intensities",
        sa.Column("zone", sa.String(64), primary_key=True),
        sa.Column("valid_from", sa.BigInteger, primary_key=True),
        sa.Column("valid_to", sa.BigInteger, nullable=False),
        sa.Column("intensity_g_per_kwh", sa.Double, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("published_at", sa.BigInteger, nullable=False),
        sa.Column("charged_g_per_kwh", sa.Double),
    )
    op.create_index("ix_ledger_intensities_zone_valid_to", "ledger_intensities", ["zone", "valid_to"])
    op.create_table(
        "ledger_spools",
        sa.Column("spool", sa.String(64), primary_key=True),
        sa.Column("segment", sa.Integer, primary_key=True),
        sa.Column("stored_bytes", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    """Takes the revision back."""
    for table in ("ledger_spools", "ledger_intensities", "ledger_unattributed", "ledger"):
        op.drop_table(table)
