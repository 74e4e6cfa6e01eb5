"""One way to a database for every service: engines set up for durability, and the check that it is migrated."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Dialect, Engine, Table, create_engine, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError
from sqlalchemy.types import BigInteger, TypeDecorator

from tradewind.errors import StartupError

BUSY_TIMEOUT_S = 10


class UtcMicroseconds(TypeDecorator[datetime]):
    """A UTC time as whole microseconds since 1970: exact, ordered and the same on SQLite and Postgres."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _dialect: Dialect) -> int | None:
        """To the database."""
        return None if value is None else microseconds(value)

    def process_result_value(self, value: int | None, _dialect: Dialect) -> datetime | None:
        """From the database."""
        return None if value is None else from_microseconds(value)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def microseconds(moment: datetime) -> int:
    """Whole microseconds since 1970, without the rounding of a float timestamp."""
    delta = moment - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


def from_microseconds(value: int) -> datetime:
    """The UTC time of whole microseconds since 1970."""
    return datetime.fromtimestamp(value // 1_000_000, UTC).replace(microsecond=value % 1_000_000)


def open_engine(url: str) -> Engine:
    """An engine for SQLite (WAL, writes begun as writers) or Postgres; StartupError when the URL is neither.

    What is written is left out of its errors, which end in logs.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise StartupError(
            "TRADEWIND_DATABASE_URL is not a database URL: write sqlite:///file.db or postgresql://…"
        ) from error
    backend = parsed.get_backend_name()
    if backend == "sqlite":
        arguments = {"timeout": BUSY_TIMEOUT_S, "check_same_thread": False}
        engine = create_engine(parsed, connect_args=arguments, hide_parameters=True)
        _prepare_sqlite(engine)
        return engine
    if backend == "postgresql":
        return create_engine(parsed.set(drivername="postgresql+psycopg"), pool_pre_ping=True, hide_parameters=True)
    raise StartupError(f"TRADEWIND_DATABASE_URL names {backend}: use sqlite:///file.db or postgresql://…")


def _prepare_sqlite(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def _on_connect(connection: object, _record: object) -> None:
        connection.isolation_level = None  # type: ignore[attr-defined] # we say BEGIN ourselves
        cursor = connection.cursor()  # type: ignore[attr-defined]
        mode = cursor.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        if mode not in {"wal", "memory"}:
            raise StartupError(f"SQLite answered journal mode {mode}, not WAL: put the database on a local disk")
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        if connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT":
            return  # Only reads: each statement sees what is committed, and nobody is kept from writing.
        # A deferred transaction that turns from reading to writing fails at once when another one writes.
        connection.exec_driver_sql("BEGIN IMMEDIATE")


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A connection to read from, without taking SQLite's write lock."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        yield connection


def insert_into(table: Table, engine: Engine | Connection) -> sqlite.Insert | postgresql.Insert:
    """An INSERT that knows ON CONFLICT, in the dialect of the engine."""
    return sqlite.insert(table) if engine.dialect.name == "sqlite" else postgresql.insert(table)


def migrations_config(url: str) -> Config:
    """Alembic's configuration for a database."""
    import migrations

    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.attributes["url"] = url
    return config


def require_migrated(engine: Engine) -> None:
    """Returns when the database has the newest tables; StartupError says what to run otherwise."""
    where = engine.url.render_as_string(hide_password=True)
    try:
        with engine.connect() as connection:
            current = MigrationContext.configure(connection).get_current_revision()
    except (OperationalError, DBAPIError) as error:
        raise StartupError(f"database {where} does not answer: start it or correct TRADEWIND_DATABASE_URL") from error
    head = ScriptDirectory.from_config(migrations_config(str(engine.url))).get_current_head()
    if current != head:
        raise StartupError(
            f"database {where} is not migrated (it is at {current or 'nothing'}, this version needs {head}): "
            f"run `tradewind migrate --database URL`"
        )
