"""The Postgres of the local stack: separate databases, and committed rows that survive a crash."""

import sqlalchemy as sa

from local_stack.postgres import Postgres


def _run(url: str, *statements: str) -> list[tuple[object, ...]]:
    engine = sa.create_engine(url)
    try:
        with engine.begin() as connection:
            results = [connection.execute(sa.text(statement)) for statement in statements]
            return [tuple(row) for row in results[-1]] if results[-1].returns_rows else []
    finally:
        engine.dispose()


def test_databases_are_apart(postgres_server: Postgres, postgres_url: str) -> None:
    other = postgres_server.create_database("t_other_of_the_stack")
    _run(postgres_url, "CREATE TABLE things (number integer)")
    assert _run(postgres_url, "SELECT to_regclass('things') IS NOT NULL") == [(True,)]
    assert _run(other, "SELECT to_regclass('things') IS NOT NULL") == [(False,)]


def test_committed_rows_survive_a_crash(own_postgres: Postgres) -> None:
    url = own_postgres.create_database("t_crash")
    _run(url, "CREATE TABLE things (number integer)", "INSERT INTO things VALUES (7)")
    own_postgres.child.kill()
    assert not own_postgres.child.alive
    own_postgres.start()
    assert _run(url, "SELECT number FROM things") == [(7,)]
