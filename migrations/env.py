"""How Alembic runs: online, one transaction, under an advisory lock on Postgres so that replicas may all try."""

from alembic import context
from sqlalchemy import MetaData, text

from carbon_service.store import metadata as carbon_metadata
from inference_proxy.store import metadata as proxy_metadata
from selector_service.store import metadata as selector_metadata
from tradewind.database import open_engine

LOCK_KEY = 7_283_410_219
"""Any number, as long as nobody else on the same Postgres uses it."""

metadata: list[MetaData] = [carbon_metadata, selector_metadata, proxy_metadata]


def run() -> None:
    """Migrates the database that the configuration names."""
    engine = open_engine(context.config.attributes["url"])
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK_KEY})
        context.configure(connection=connection, target_metadata=metadata, render_as_batch=True, transactional_ddl=True)
        context.run_migrations()
    engine.dispose()


run()
