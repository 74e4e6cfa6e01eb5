"""CPU per request of the HTTP front against a plain aiohttp relay; `python -m bench.http_front` prints the figures.

Both stand before the same Triton and are asked in turn, in one run. Receipts, spool, ledger and metrics are on.
"""

import json
import re
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local_stack.cpu_time import session_cpu_s
from local_stack.processes import Child
from local_stack.triton import PROJECT, Triton
from tradewind.migrate import upgrade

ROUNDS = 5
CLIENTS = 4
BUDGET = 1.15
MODELS = PROJECT / "tests" / "triton_models"

_CATALOGUE = """
families:
  ident:
    error_metric: error_pct
    pool: [small]
    variants:
      small:
        model: ident_small
        energy_mj: {value: 100, provenance: estimated}
        error: {value: 10, provenance: estimated}
"""
_HTTP_PORT = re.compile(r"HTTP listening on \S+:(\d+)\s*$", re.MULTILINE)
_SUCCEEDED = re.compile(r"(\d+) succeeded")

Entry = dict[str, Any]


@dataclass(frozen=True)
class Size:
    """Requests of one size."""

    name: str
    floats: int
    requests: int
    """In one round."""


SIZES = (Size("small", 8, 3_000), Size("602 KB", 150_528, 300))


def measure() -> list[Entry]:
    """The entries of the list, one for each size."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        triton = Triton(directory, MODELS)
        triton.start()
        relay = Child("relay", [sys.executable, "-m", "bench.http_relay", triton.http], directory)
        proxy = _proxy(directory, triton)
        try:
            relay.start()
            proxy.start()
            sides = (
                (relay, relay.wait_listening(), "ident_small"),
                (proxy, proxy.wait_until(lambda: _http_port(proxy), timeout_s=30, what="say its HTTP port"), "ident"),
            )
            return [_compare(size, sides, directory) for size in SIZES]
        finally:
            proxy.stop()
            relay.stop()
            triton.stop()


def _compare(size: Size, sides: tuple[tuple[Child, int, str], ...], directory: Path) -> Entry:
    body = directory / f"{size.floats}.bin"
    tensor = {
        "name": "INPUT",
        "shape": [1, size.floats],
        "datatype": "FP32",
        "parameters": {"binary_data_size": 4 * size.floats},
    }
    wanted = {"name": "OUTPUT", "parameters": {"binary_data": True}}
    header = json.dumps({"inputs": [tensor], "outputs": [wanted]}).encode()
    body.write_bytes(header + bytes(4 * size.floats))
    costs: dict[str, list[float]] = {child.name: [] for child, _, _ in sides}
    for _ in range(ROUNDS):
        for child, port, model in sides:
            before = session_cpu_s(child.pid)
            _load(size, port, model, body, len(header))
            costs[child.name].append((session_cpu_s(child.pid) - before) / size.requests * 1e6)
    value, reference = (statistics.median(costs[name]) for name in ("inference_proxy", "relay"))
    return {
        "name": f"HTTP front: CPU per request, {size.name}",
        "value": value,
        "unit": "µs",
        "reference": reference,
        "ratio": value / reference,
        "budget": BUDGET,
        "holds": value <= BUDGET * reference,
    }


def _load(size: Size, port: int, model: str, body: Path, header_length: int) -> None:
    program = ["h2load", "--h1", f"--requests={size.requests}", f"--clients={CLIENTS}", f"--data={body}"]
    headers = [f"--header=inference-header-content-length: {header_length}", "--header=content-type: application/json"]
    url = f"http://127.0.0.1:{port}/v2/models/{model}/infer"
    ended = subprocess.run([*program, *headers, url], capture_output=True, text=True, check=True)
    succeeded = _SUCCEEDED.search(ended.stdout)
    assert succeeded is not None, ended.stdout
    assert int(succeeded[1]) == size.requests, ended.stdout


def _proxy(directory: Path, triton: Triton) -> Child:
    (directory / "catalogue.yaml").write_text(_CATALOGUE, encoding="utf-8")
    database = f"sqlite:///{directory / 'tradewind.db'}"
    upgrade(database)
    environment = {
        "PATH": "/usr/bin:/bin",
        "TRADEWIND_CATALOGUE": str(directory / "catalogue.yaml"),
        "TRADEWIND_DATABASE_URL": database,
        "TRADEWIND_PROXY_LISTEN": "127.0.0.1:0",
        "TRADEWIND_PROXY_HTTP_LISTEN": "127.0.0.1:0",
        "TRADEWIND_PROXY_METRICS_PORT": "0",
        "TRADEWIND_PROXY_TRITON_GRPC": triton.grpc,
        "TRADEWIND_PROXY_TRITON_HTTP": triton.http,
        "TRADEWIND_PROXY_SPOOL_DIRECTORY": str(directory / "spool"),
    }
    return Child("inference_proxy", [sys.executable, "-m", "inference_proxy"], directory, environment)


def _http_port(proxy: Child) -> int | None:
    match = _HTTP_PORT.search(proxy.output.read_text(encoding="utf-8"))
    return int(match[1]) if match else None


if __name__ == "__main__":
    for each in measure():
        print(
            f"{each['name']}: {each['value']:.0f} {each['unit']}, relay {each['reference']:.0f}, "
            f"ratio {each['ratio']:.2f}, budget {each['budget']}, {'holds' if each['holds'] else 'broken'}"
        )
