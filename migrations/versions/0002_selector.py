"""The selector's window, decisions and policy states."""

import sqlalchemy as sa
from alembic import op

revision = "0002_selector"
down_revision = "0001_carbon"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Creates the selector's tables."""
    op.create_table(
        "selector_changes",
        sa.Column("name", sa.String(16), primary_key=True),
        sa.Column("change", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "selector_readings",
        sa.Column("zone", sa.String(64), primary_key=True),
        sa.Column("valid_from", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("signal", sa.String(16), primary_key=True),
        sa.Column("kind", sa.String(16), primary_key=True),
        sa.Column("source", sa.Text, primary_key=True),
        sa.Column("valid_to", sa.BigInteger, nullable=False),
        sa.Column("intensity_g_per_kwh", sa.Float(53), nullable=False),
        sa.Column("published_at", sa.BigInteger, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("recorded_at", sa.BigInteger),
        sa.Column("change", sa.BigInteger, nullable=False),
    )
    op.create_index("selector_readings_change", "selector_readings", ["change"])
    op.create_table(
        "selector_decisions",
        sa.Column("zone", sa.String(64), primary_key=True),
        sa.Column("family", sa.String(1024), primary_key=True),
        sa.Column("revision", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("variant", sa.String(1024), nullable=False),
        sa.Column("reason", sa.String(32), nullable=False),
        sa.Column("valid_from", sa.BigInteger, nullable=False),
        sa.Column("decided_at", sa.BigInteger, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("change", sa.BigInteger, nullable=False),
    )
    op.create_index("selector_decisions_id", "selector_decisions", ["id"])
    op.create_index("selector_decisions_change", "selector_decisions", ["change"])
    op.create_table(
        "selector_policy_states",
        sa.Column("zone", sa.String(64), primary_key=True),
        sa.Column("family", sa.String(1024), primary_key=True),
        sa.Column("policy", sa.Text, nullable=False),
        sa.Column("interval_from", sa.BigInteger, nullable=False),
        sa.Column("before", sa.Text, nullable=False),
        sa.Column("after", sa.Text, nullable=False),
        sa.Column("served", sa.Text, nullable=False),
        sa.Column("served_until", sa.Text, nullable=False),
        sa.Column("change", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "selector_served",
        sa.Column("zone", sa.String(64), primary_key=True),
        sa.Column("family", sa.String(1024), primary_key=True),
        sa.Column("variant", sa.String(1024), primary_key=True),
        sa.Column("inferences", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "selector_reporters",
        sa.Column("reporter", sa.String(128), primary_key=True),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("reported_at", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    """Drops the selector's tables."""
    for table in ("reporters", "served", "policy_states", "decisions", "readings", "changes"):
        op.drop_table(f"selector_{table}")
