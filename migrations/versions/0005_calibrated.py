"""Which part of the ledger's energy was charged by calibration instead of by the catalogue."""

import sqlalchemy as sa
from alembic import op

revision = "0005_calibrated"
down_revision = "0004_report"
branch_labels = None
depends_on = None

_TABLES = ("ledger", "ledger_unattributed")


def upgrade() -> None:
    """Applies the revision; what was charged before was charged by the catalogue."""
    for table in _TABLES:
        column = sa.Column("calibrated_uj", sa.BigInteger, nullable=False, server_default=sa.text("0"))
        op.add_column(table, column)


def downgrade() -> None:
    """Takes the revision back."""
    for table in _TABLES:
        op.drop_column(table, "calibrated_uj")
