"""What a report shows beside the ledger: the proxy's own CPU time, and what Triton says that it executed."""

import sqlalchemy as sa
from alembic import op

revision = "0004_report"
down_revision = "0003_ledger"
branch_labels = None
depends_on = None

_EXECUTED = ("inferences", "failed_requests", "cached_requests")


def _place() -> list[sa.Column[str]]:
    return [
        sa.Column("spool", sa.String(64), primary_key=True),
        sa.Column("endpoint", sa.String(255), primary_key=True),
    ]


def _numbers(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger, nullable=False) for name in names]


def upgrade() -> None:
    """Applies the revision."""
    op.create_table(
        "ledger_own_cpu",
        sa.Column("bucket_from", sa.BigInteger, primary_key=True),
        sa.Column("zone", sa.String(64), primary_key=True),
        sa.Column("spool", sa.String(64), primary_key=True),
        *_numbers("cpu_us"),
    )
    op.create_table(
        "ledger_own_processes",
        sa.Column("spool", sa.String(64), primary_key=True),
        sa.Column("process", sa.String(64), primary_key=True),
        *_numbers("cpu_us", "looked_at"),
    )
    op.create_table("ledger_watches", *_place(), *_numbers("compared_from", "looked_at"))
    op.create_table(
        "ledger_triton_counters",
        *_place(),
        sa.Column("model", sa.String(1024), primary_key=True),
        sa.Column("version", sa.String(64), primary_key=True),
        *_numbers(*_EXECUTED, "busy_ns"),
    )
    op.create_table(
        "ledger_executed",
        sa.Column("minute_from", sa.BigInteger, primary_key=True),
        *_place(),
        sa.Column("model", sa.String(1024), primary_key=True),
        *_numbers(*_EXECUTED, "restarts"),
    )


def downgrade() -> None:
    """Takes the revision back."""
    for table in (
        "ledger_executed",
        "ledger_triton_counters",
        "ledger_watches",
        "ledger_own_processes",
        "ledger_own_cpu",
    ):
        op.drop_table(table)
