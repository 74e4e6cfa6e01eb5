"""One of our services as a child process: its environment, its port, and the same port again after a crash."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from local_stack.processes import Child
from tradewind.errors import StartupError

_PREFIX = "TRADEWIND_"


class Service:
    """`python -m NAME`, configured by TRADEWIND_… variables and nothing else of the caller's."""

    def __init__(
        self,
        name: str,
        directory: Path,
        environment: Mapping[str, str],
        listen_key: str,
        http_listen_key: str | None = None,
    ) -> None:
        """The keys are the variables that say where it listens; not every service has an HTTP front."""
        self.name = name
        self._listen_key, self._http_listen_key = listen_key, http_listen_key
        self._own = dict(environment)
        self.child = Child(name, [sys.executable, "-m", name], directory)
        self.port = 0
        self.http_port = 0

    @property
    def address(self) -> str:
        """host:port of its gRPC."""
        if not self.port:
            raise StartupError(f"{self.name} was never started")
        return f"127.0.0.1:{self.port}"

    @property
    def http_address(self) -> str | None:
        """host:port of its HTTP, where it has one."""
        return f"127.0.0.1:{self.http_port}" if self.http_port else None

    def launch(self) -> None:
        """Starts the process without waiting for it."""
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(_PREFIX)}
        listen = {self._listen_key: f"127.0.0.1:{self.port}"}
        if self._http_listen_key is not None:
            listen[self._http_listen_key] = f"127.0.0.1:{self.http_port}"
        self.child.environment = inherited | self._own | listen
        self.child.start()

    def wait(self) -> None:
        """Returns when it says its port, which is its own from then on."""
        self.port = self.child.wait_listening()
        if self._http_listen_key is not None:
            self.http_port = self.child.wait_listening("HTTP")

    def start(self) -> None:
        """Starts it and waits until it serves."""
        self.launch()
        self.wait()

    def stop(self) -> None:
        """Lets it drain and ends it."""
        self.child.stop(deadline_s=15)
