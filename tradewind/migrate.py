"""Brings a database to the newest revision."""

from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy.exc import OperationalError

from tradewind.database import migrations_config, open_engine
from tradewind.errors import StartupError


def upgrade(url: str) -> str:
    """Migrates to the head and returns its revision; StartupError when the database does not answer."""
    where = open_engine(url).url.render_as_string(hide_password=True)
    config = migrations_config(url)
    try:
        command.upgrade(config, "head")
    except OperationalError as error:
        raise StartupError(f"database {where} does not answer: start it or correct the URL") from error
    return ScriptDirectory.from_config(config).get_current_head() or "nothing"
