"""Migrations from zero, on both engines: the result equals the models, once or twice or two at a time."""

import subprocess
import sys

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import MetaData, inspect

from carbon_service.store import metadata as carbon_metadata
from inference_proxy.store import metadata as proxy_metadata
from selector_service.store import metadata as selector_metadata
from tradewind.database import migrations_config, open_engine, require_migrated
from tradewind.errors import StartupError
from tradewind.migrate import upgrade


def differences(url: str) -> list[object]:
    """What Alembic would still have to change for the database to equal the models."""
    models = MetaData()
    for part in (carbon_metadata, selector_metadata, proxy_metadata):
        for table in part.tables.values():
            table.to_metadata(models)
    engine = open_engine(url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        found = list(compare_metadata(context, models))
    engine.dispose()
    return found


def primary_keys(url: str) -> dict[str, list[str]]:
    """Alembic does not compare primary keys; we do."""
    engine = open_engine(url)
    inspector = inspect(engine)
    keys = {table: inspector.get_pk_constraint(table)["constrained_columns"] for table in inspector.get_table_names()}
    engine.dispose()
    return keys


def test_from_zero_the_tables_equal_the_models(database_url: str) -> None:
    """Also their primary keys, column by column."""
    upgrade(database_url)
    assert differences(database_url) == []
    found = primary_keys(database_url)
    for part in (carbon_metadata, selector_metadata, proxy_metadata):
        for table in part.tables.values():
            assert found[table.name] == [column.name for column in table.primary_key.columns]


def test_a_second_run_changes_nothing(database_url: str) -> None:
    """The same revision, the same tables."""
    first = upgrade(database_url)
    before = primary_keys(database_url)
    assert upgrade(database_url) == first
    assert primary_keys(database_url) == before


def test_two_at_once_both_succeed(database_url: str) -> None:
    """Replicas that start together may all migrate: as processes, because that is what they are."""
    program = "import sys; from tradewind.migrate import upgrade; print(upgrade(sys.argv[1]))"
    started = [
        subprocess.Popen([sys.executable, "-c", program, database_url], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=60)[0].strip() for process in started]
    assert [process.returncode for process in started] == [0, 0]
    assert said[0] == said[1] != ""
    assert differences(database_url) == []


def test_a_database_that_is_not_migrated_says_what_to_run(database_url: str) -> None:
    """One sentence, and none once it is migrated."""
    engine = open_engine(database_url)
    with pytest.raises(StartupError, match=r"is not migrated .* run `tradewind migrate"):
        require_migrated(engine)
    upgrade(database_url)
    require_migrated(engine)
    engine.dispose()


def test_the_history_is_linear() -> None:
    """One head, and each revision has one parent."""
    script = ScriptDirectory.from_config(migrations_config("sqlite://"))
    assert len(script.get_heads()) == 1
    assert all(not isinstance(revision.down_revision, tuple) for revision in script.walk_revisions())
