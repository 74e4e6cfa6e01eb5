"""Envoy as a process that outlives this one: started once, taken over by the next life, watched and stopped.

It is in a session of its own, so that neither a signal to this process's group nor this process's death reaches it.
What is needed to find it again stands in a file in the spool: its process id with the moment of its start, because ids
are given anew, and a digest of what it was started with.
"""

import asyncio
import contextlib
import hashlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from inference_proxy.envoy.places import Places
from tradewind.errors import StartupError
from tradewind.logs import get_logger

log = get_logger(__name__)

_START_S, _STOP_S, _POLL_S = 30.0, 5.0, 0.02
_START_TIME = 19  # The field of /proc/PID/stat after the name's closing bracket.


def find_binary() -> Path:
    """The packaged Envoy, or the one on the PATH; StartupError says what to install."""
    spec = importlib.util.find_spec("envoy")
    for place in (spec.submodule_search_locations or ()) if spec is not None else ():
        packaged = Path(place) / "_bin" / "envoy"
        if packaged.exists():
            return packaged
    found = shutil.which("envoy")
    if found is None:
        raise StartupError(
            "TRADEWIND_PROXY_FRONT=envoy needs Envoy: install tradewind[envoy], or put `envoy` on the PATH"
        )
    return Path(found)


@dataclass
class EnvoyProcess:
    """The Envoy of one spool directory."""

    places: Places
    binary: Path
    workers: int
    """How many threads take requests; 0: one for each processor."""
    pid: int = field(default=0, init=False)
    _child: subprocess.Popen[bytes] | None = field(default=None, init=False)

    async def start(self, bootstrap: Any) -> bool:
        """Takes over the Envoy that runs with this configuration, or starts one; whether it was taken over."""
        text = json.dumps(bootstrap)
        digest = hashlib.sha256(f"{self.binary} {self.workers} {text}".encode()).hexdigest()
        running = self._remembered()
        if running is not None:
            if running["digest"] == digest:
                self.pid = int(running["pid"])
                await self._await_ready()
                log.info("took over the Envoy that was running", pid=self.pid)
                return True
            log.info("the configuration changed; the Envoy that was running is replaced", pid=running["pid"])
            self.pid = int(running["pid"])
            await self.stop(5.0)
        self.places.bootstrap.write_text(text, encoding="utf-8")
        await self._begin(digest)
        return False

    async def again(self) -> None:
        """Starts one in place of one that died, with the same configuration."""
        text = self.places.bootstrap.read_text(encoding="utf-8")
        await self._begin(hashlib.sha256(f"{self.binary} {self.workers} {text}".encode()).hexdigest())

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        if self._child is not None:
            return self._child.poll() is None
        return self.pid > 0 and _started_at(self.pid) is not None

    async def port(self) -> int:
        """The port that the public listener got."""
        answer = await self._ask("GET", "/listeners?format=json")
        for listener in answer.json()["listener_statuses"]:
            if listener["name"] == "public":
                return int(listener["local_address"]["socket_address"]["port_value"])
        raise StartupError(f"Envoy does not listen: {self._last_words()}")

    async def stop(self, grace_s: float) -> None:
        """Takes no new connection, lets requests in flight end within the grace, and ends it."""
        if not self.alive:
            return
        with contextlib.suppress(httpx.HTTPError):
            await self._ask("POST", "/healthcheck/fail")
            await self._ask("POST", "/drain_listeners?graceful&skip_exit")
            await _until(self._is_idle, grace_s)
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)
            if await _until(self._is_gone, _STOP_S):
                break
        self.places.state.unlink(missing_ok=True)

    async def _begin(self, digest: str) -> None:
        self.places.admin.unlink(missing_ok=True)
        command = [str(self.binary), "-c", str(self.places.bootstrap), "--disable-hot-restart", "-l", "warning"]
        with self.places.log.open("ab") as output:
            self._child = subprocess.Popen(  # noqa: ASYNC220 -- it returns at once
                [*command, "--concurrency", str(self.workers or os.cpu_count() or 1)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.pid = self._child.pid
        state = {"pid": self.pid, "started": _started_at(self.pid), "digest": digest}
        fresh = self.places.state.with_suffix(".new")
        fresh.write_text(json.dumps(state), encoding="utf-8")
        fresh.rename(self.places.state)
        await self._await_ready()
        log.info("started Envoy", pid=self.pid)

    async def _await_ready(self) -> None:
        if not await _until(self._is_ready, _START_S):
            raise StartupError(f"Envoy was not ready within {_START_S:g} s: {self._last_words()}")

    async def _is_ready(self) -> bool:
        if not self.alive:
            raise StartupError(f"Envoy ended at once: {self._last_words()}")
        try:
            return (await self._ask("GET", "/ready")).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    async def _is_idle(self) -> bool:
        answer = await self._ask("GET", "/stats?filter=^http.public.downstream_rq_active$")
        return int(answer.text.rpartition(":")[2] or 0) == 0

    async def _is_gone(self) -> bool:
        return not self.alive

    async def _ask(self, method: str, path: str) -> httpx.Response:
        transport = httpx.AsyncHTTPTransport(uds=str(self.places.admin))
        async with httpx.AsyncClient(transport=transport, base_url="http://envoy", timeout=5) as client:
            return await client.request(method, path)

    def _remembered(self) -> dict[str, Any] | None:
        """The state of an Envoy that runs; None where there is none."""
        try:
            state: dict[str, Any] = json.loads(self.places.state.read_text(encoding="utf-8"))
            same = state["started"] is not None and _started_at(int(state["pid"])) == state["started"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return state if same else None

    def _last_words(self) -> str:
        try:
            lines = self.places.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        except OSError:
            lines = []
        return f"{lines[-1][-400:] if lines else 'it said nothing'} ({self.places.log})"


async def _until(condition: Callable[[], Awaitable[bool]], within_s: float) -> bool:
    """Waits until a condition of another process holds; whether it came to hold in time."""
    deadline = time.monotonic() + within_s
    while not await condition():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(_POLL_S)
    return True


def _started_at(pid: int) -> int | None:
    """When a process began, in the kernel's ticks; None where it does not run, or is dead and not yet reaped."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in {"Z", "X"} else int(fields[_START_TIME])
