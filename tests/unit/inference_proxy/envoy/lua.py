"""The Lua of the Envoy front in the interpreter that Envoy has, without Envoy."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lupa.luajit21 import LuaRuntime

from inference_proxy.envoy.script import modules

_HARNESS = Path(__file__).with_name("harness.lua")


class Lua:
    """One worker's Lua: its strings are bytes."""

    def __init__(self) -> None:
        self.runtime = LuaRuntime(encoding=None)
        self.runtime.execute(modules().encode())
        self._run = self.runtime.execute(_HARNESS.read_bytes())[b"run"]

    def module(self, name: str) -> Any:
        """One of the script's modules."""
        return self.runtime.eval(f'require("tradewind.{name}")'.encode())

    def table(self, value: Any) -> Any:
        """A Python value as the Lua value that Envoy would make of it."""
        if isinstance(value, str):
            return value.encode()
        if isinstance(value, Mapping):
            return self.runtime.table_from({self.table(key): self.table(each) for key, each in value.items()})
        if isinstance(value, Sequence) and not isinstance(value, bytes):
            return self.runtime.table_from([self.table(each) for each in value])
        return value

    def request(
        self, told: Mapping[str, Any] | None, chunks: Sequence[bytes], headers: Mapping[str, str] | None = None
    ) -> tuple[bytes, bytes | None]:
        """What a request's body becomes, and its mark; None where the Python proxy gets it."""
        metadata = {} if told is None else {"revision": told["revision"], "table": told}
        entry = self.module("front")[b"on_request"]
        body, way, cleared = self._run(
            entry, self.table(metadata), self.table(headers or {}), self.table(list(chunks)), self.table({}), None
        )
        assert (way is not None) == (cleared == 1)
        return body, way

    def response(
        self,
        way: bytes | None,
        chunks: Sequence[bytes],
        trailers: Mapping[str, str] | None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[bytes, dict[bytes, bytes]]:
        """What an answer's body and trailers become."""
        dynamic = {} if way is None else {"tradewind": {"way": way}}
        lua_trailers = None if trailers is None else self.table(trailers)
        entry = self.module("front")[b"on_response"]
        body, _, _ = self._run(
            entry,
            self.table({}),
            self.table(headers or {}),
            self.table(list(chunks)),
            self.table(dynamic),
            lua_trailers,
        )
        return body, {} if lua_trailers is None else dict(lua_trailers.items())
