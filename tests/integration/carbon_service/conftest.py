"""A Mosquitto of the tests' own, as an ordinary process, and a carbon service on free ports."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from local_stack.ports import free_ports, listens
from local_stack.processes import Child
from tradewind.migrate import upgrade

MOSQUITTO = "/usr/sbin/mosquitto"


@dataclass
class Mosquitto:
    """A running Mosquitto that can be killed and started again."""

    child: Child
    port: int
    ports: tuple[int, ...]

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"mqtt://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Starts it on its ports."""
        self.child.start()
        self.child.wait_until(
            lambda: all(listens(self.child.pid, port) for port in self.ports), timeout_s=20, what="listen"
        )


StartMosquitto = Callable[[Sequence[str]], Mosquitto]


@pytest.fixture
def start_mosquitto(tmp_path: Path) -> Iterator[StartMosquitto]:
    """Starts Mosquitto with these lines of configuration; PORT stands for a free port."""
    started: list[Mosquitto] = []

    def start(lines: Sequence[str]) -> Mosquitto:
        text = "\n".join([*lines, "user root", ""])
        ports = free_ports(max(1, text.count("PORT")))
        for port in ports:
            text = text.replace("PORT", str(port), 1)
        directory = tmp_path / f"mosquitto{len(started)}"
        directory.mkdir()
        config = directory / "mosquitto.conf"
        config.write_text(text.replace("DIRECTORY", str(directory)))
        mosquitto = Mosquitto(Child("mosquitto", [MOSQUITTO, "-c", str(config)], directory), ports[0], ports)
        started.append(mosquitto)
        mosquitto.start()
        return mosquitto

    try:
        yield start
    finally:
        for each in started:
            each.child.stop()


@pytest.fixture
def mosquitto(start_mosquitto: StartMosquitto) -> Mosquitto:
    """A Mosquitto that keeps its state through a restart and lets anybody in."""
    return start_mosquitto(
        [
            "listener PORT 127.0.0.1",
            "allow_anonymous true",
            "persistence true",
            "persistence_location DIRECTORY/",
            "autosave_interval 1",
            "autosave_on_changes true",
        ]
    )


@pytest.fixture
def migrated_url(sqlite_url: str) -> str:
    """A migrated SQLite database."""
    upgrade(sqlite_url)
    return sqlite_url
