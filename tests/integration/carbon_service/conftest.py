"""What the tests talk to: a Mosquitto as an ordinary process, and providers on loopback ports."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

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


@dataclass
class Asked:
    """One request that a provider got."""

    path: str
    query: dict[str, str]
    headers: dict[str, str]


@dataclass
class Answer:
    """What a provider answers."""

    body: object = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    trickle_s: float = 0.0
    """Between one byte and the next."""
    cut: bool = False
    """The connection ends in the middle of the body."""

    def encoded(self) -> bytes:
        """The body as bytes."""
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


class Provider:
    """A provider on a loopback port: each request gets the answer that `answer` gives it."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.answer: Callable[[Asked], Answer] = lambda _asked: Answer(status=404)
        self.url = ""

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one request."""
        try:
            asked = await self._read(reader)
            self.asked.append(asked)
            await self._write(writer, self.answer(asked))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # The client had enough.
        finally:
            writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> Asked:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        target = urlsplit(head[0].split(" ")[1])
        headers = dict(line.split(": ", 1) for line in head[1:] if line)
        return Asked(
            target.path, dict(parse_qsl(target.query)), {name.lower(): value for name, value in headers.items()}
        )

    async def _write(self, writer: asyncio.StreamWriter, answer: Answer) -> None:
        body = answer.encoded()
        headers = {"content-length": str(len(body)), "connection": "close"} | answer.headers
        head = [f"HTTP/1.1 {answer.status} Whatever", *(f"{name}: {value}" for name, value in headers.items())]
        writer.write("\r\n".join([*head, "", ""]).encode())
        if answer.cut:
            body = body[: len(body) // 2]
        if not answer.trickle_s:
            writer.write(body)
        for byte in body if answer.trickle_s else b"":
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(answer.trickle_s)
        await writer.drain()


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    """A provider of the test's own."""
    provider = Provider()
    server = await asyncio.start_server(provider.handle, "127.0.0.1", 0)
    provider.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield provider


@pytest.fixture
def answers() -> type[Answer]:
    """What providers answer with."""
    return Answer
