"""The real parts that tests talk to: a broker, SQLite, Postgres and Triton. Started once per worker, never mocked."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from local_stack.broker import Broker
from local_stack.postgres import Postgres
from local_stack.triton import Triton
from tests.certificates import Certificates, make_certificates


@pytest.fixture(scope="session")
def broker_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """One broker for the whole session; a test that kills it starts its own (`own_broker`)."""
    broker = Broker(tmp_path_factory.mktemp("broker"))
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()


@pytest.fixture
def broker(broker_process: Broker) -> str:
    """`mqtt://host:port` of a running MQTT 5 broker. It is shared: use zones and topics of the test's own."""
    return broker_process.url


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[Broker]:
    """A broker of the test's own, to `child.kill()` and `start()` again on the same port."""
    broker = Broker(tmp_path)
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()


@pytest.fixture
def unique_zone() -> str:
    """A zone no other test uses, so that a shared broker keeps tests apart."""
    return f"T-{uuid4().hex[:12]}"


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """One Postgres for the whole session; a test that kills it starts its own (`own_postgres`)."""
    server = Postgres(tmp_path_factory.mktemp("postgres"), durable=False)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[Postgres]:
    """A Postgres of the test's own, to `child.kill()` and `start()` again with its data."""
    server = Postgres(tmp_path, durable=False)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def postgres_url(postgres_server: Postgres) -> str:
    """SQLAlchemy URL of a new, empty Postgres database."""
    return postgres_server.create_database(f"t_{uuid4().hex[:12]}")


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """SQLAlchemy URL of a SQLite file that does not exist yet."""
    return f"sqlite:///{tmp_path / 'tradewind.db'}"


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The same test on both engines: SQLAlchemy URL of an empty database, SQLite first, then Postgres."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture(scope="session")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    """One real Triton with the digits models for the whole session; a test that kills it starts its own."""
    server = Triton(tmp_path_factory.mktemp("triton"))
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def own_triton(tmp_path: Path) -> Iterator[Triton]:
    """A Triton of the test's own, to `child.kill()` and `start()` again on the same ports."""
    server = Triton(tmp_path)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """An authority with a server's certificate and callers' ones."""
    return make_certificates(tmp_path_factory.mktemp("certificates"))
