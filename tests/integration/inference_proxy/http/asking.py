"""Plain HTTP questions, below any client library: exact bytes out, status, headers and bytes back."""

import asyncio
import contextlib
import http.client
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from inference_proxy.proxy import Proxy

HEADER_LENGTH = "Inference-Header-Content-Length"


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The text of an error."""
        return str(self.json["error"])


def address_over_http(proxy: Proxy) -> str:
    """host:port of its HTTP front."""
    return f"127.0.0.1:{proxy.http.port}"


async def ask(
    address: str, method: str, path: str, body: bytes | str | None = None, headers: Mapping[str, str] | None = None
) -> Answer:
    """One request on a connection of its own."""
    return await asyncio.to_thread(_ask, address, method, path, body, headers or {})


def _ask(address: str, method: str, path: str, body: bytes | str | None, headers: Mapping[str, str]) -> Answer:
    connection = http.client.HTTPConnection(address, timeout=60)
    try:
        connection.request(method, path, body, dict(headers))
        answer = connection.getresponse()
        names = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, answer.reason, names, answer.read())
    finally:
        connection.close()


async def exchange(address: str, *parts: bytes, pause_s: float = 0.2) -> bytes:
    """Raw bytes out, with a pause after each part but the last; all that comes back until the peer hangs up."""
    return await asyncio.to_thread(_exchange, address, parts, pause_s)


def _exchange(address: str, parts: tuple[bytes, ...], pause_s: float) -> bytes:
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        back = b""
        for part in parts[:-1]:
            connection.sendall(part)
            connection.settimeout(pause_s)
            with contextlib.suppress(TimeoutError):
                back += connection.recv(65_536)
            connection.settimeout(30)
        connection.sendall(parts[-1])
        while piece := connection.recv(65_536):
            back += piece
        return back


def infer_json(values: list[float] | None = None, *, rows: int = 1, **parameters: Any) -> dict[str, Any]:
    """A JSON request to an identity, as many rows as asked."""
    row = values if values is not None else [1.0, 2.0]
    request: dict[str, Any] = {
        "id": "7",
        "inputs": [{"name": "INPUT", "shape": [rows, len(row)], "datatype": "FP32", "data": row * rows}],
    }
    return request | ({"parameters": parameters} if parameters else {})


def infer_binary(array: "np.ndarray[Any, Any]", **parameters: Any) -> tuple[bytes, dict[str, str]]:
    """A request with a binary tensor that wants one back: its body and headers."""
    request = {
        "inputs": [
            {
                "name": "INPUT",
                "shape": list(array.shape),
                "datatype": "FP32",
                "parameters": {"binary_data_size": array.nbytes},
            }
        ],
        "outputs": [{"name": "OUTPUT", "parameters": {"binary_data": True}}],
        "parameters": parameters,
    }
    header = json.dumps(request).encode()
    return header + array.tobytes(), {HEADER_LENGTH: str(len(header))}


def receipt_in(answer: Answer) -> dict[str, Any]:
    """The receipt among an answer's headers, under its parameters' names."""
    return {name.replace("-", "_"): value for name, value in answer.headers.items() if name.startswith("carbon-")}
