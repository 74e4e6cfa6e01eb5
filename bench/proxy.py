"""The proxy's CPU per request against a bare relay that does nothing else, and the ledger's share of it.

Relay, proxy and Triton are processes of their own; both sides are loaded in turn, with the same requests for the same
model, and the CPU is the kernel's count of the side's process tree. Receipts, ledger and metrics are on.
"""

import asyncio
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from tritonclient.grpc import service_pb2

from local_stack.processes import Child
from local_stack.services import Service
from local_stack.triton import PROJECT, Triton
from tradewind.migrate import upgrade

SIZES = {"small": (32, 400), "602 KB": (602_112, 80)}
"""Bytes of the tensor, and requests per round."""
ROUNDS = 15
IN_FLIGHT = 8
BUDGET = 1.15
LEDGER_BUDGET = 0.1

_MODELS = PROJECT / "tests" / "triton_models"
_INFER = "/inference.GRPCInferenceService/ModelInfer"
_UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
_CATALOGUE = """
families:
  ident:
    error_metric: error_pct
    pool: [small, large]
    variants:
      small:
        {model: ident_small, energy_mj: {value: 100, provenance: estimated}, error: {value: 9, provenance: estimated}}
      large:
        {model: ident_large, energy_mj: {value: 900, provenance: estimated}, error: {value: 3, provenance: estimated}}
"""

Entry = dict[str, Any]


@dataclass(frozen=True)
class Side:
    """One program under load."""

    address: str
    pid: int
    model: str


def cpu_s(pid: int) -> float:
    """Seconds of CPU that a process and its descendants have used, to the nanosecond."""
    total = 0
    for process in _tree(pid):
        for task in Path(f"/proc/{process}/task").glob("*/schedstat"):
            try:
                total += int(task.read_text().split()[0])
            except OSError:
                continue  # The thread has ended; long-lived ones are what counts here.
    return total / 1e9


def _tree(pid: int) -> list[int]:
    found = [pid]
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in children.read_text().split():
            found.extend(_tree(int(child)))
    return found


def request_of(model: str, size: int) -> bytes:
    """A ModelInfer with one tensor of so many bytes."""
    request = service_pb2.ModelInferRequest(model_name=model, id="1")
    request.inputs.add(name="INPUT", datatype="FP32", shape=[1, size // 4])
    request.outputs.add(name="OUTPUT")
    request.raw_input_contents.append(bytes(size))
    return bytes(request.SerializeToString())


async def load(call: Any, request: bytes, requests: int) -> None:
    """So many requests, a few at a time."""
    left = iter(range(requests))

    async def ask() -> None:
        for _ in left:
            await call(request)

    await asyncio.gather(*(ask() for _ in range(IN_FLIGHT)))


async def measure_cpu(sides: dict[str, Side], size: int, requests: int) -> dict[str, list[float]]:
    """Microseconds of CPU per request of each side, round by round, in turn."""
    found: dict[str, list[float]] = {name: [] for name in sides}
    channels = {name: grpc.aio.insecure_channel(side.address, options=_UNLIMITED) for name, side in sides.items()}
    calls: dict[str, Any] = {}
    for name, channel in channels.items():
        raw: Any = channel
        calls[name] = raw.unary_unary(_INFER)
        await load(calls[name], request_of(sides[name].model, size), requests)
    for number in range(ROUNDS):
        order = list(sides) if number % 2 else list(reversed(sides))
        for name in order:
            side = sides[name]
            before = cpu_s(side.pid)
            await load(calls[name], request_of(side.model, size), requests)
            found[name].append((cpu_s(side.pid) - before) / requests * 1e6)
    for channel in channels.values():
        await channel.close(None)
    return found


def entry(name: str, ours: float, reference: float, ratio: float, budget: float) -> Entry:
    """One figure of the list."""
    return {
        "name": name,
        "value": round(ours, 2),
        "unit": "µs CPU per request",
        "reference": round(reference, 2),
        "ratio": round(ratio, 4),
        "budget": budget,
        "holds": ratio <= budget,
    }


def measure() -> list[Entry]:
    """Every figure of the proxy."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        triton = Triton(directory, _MODELS)
        triton.start()
        relay = Child("relay", [sys.executable, "-m", "bench.relay", triton.grpc], directory)
        proxy = _proxy(directory, triton)
        try:
            relay.start()
            proxy.start()
            sides = {
                "relay": Side(f"127.0.0.1:{relay.wait_listening()}", relay.pid, "ident_small"),
                "proxy": Side(proxy.address, proxy.child.pid, "ident"),
            }
            return [*_compare(sides), *_ledger(proxy.child.pid, sides["proxy"])]
        finally:
            relay.stop()
            proxy.stop()
            triton.stop()


def _compare(sides: dict[str, Side]) -> list[Entry]:
    entries = []
    for size_name, (size, requests) in SIZES.items():
        found = asyncio.run(measure_cpu(sides, size, requests))
        # Of each round both sides ran next to each other: their ratio is steadier than either.
        ratio = statistics.median(ours / plain for ours, plain in zip(found["proxy"], found["relay"], strict=True))
        ours, plain = (statistics.median(found[name]) for name in ("proxy", "relay"))
        entries.append(entry(f"proxy, Python: CPU per {size_name} ModelInfer", ours, plain, ratio, BUDGET))
    return entries


def _ledger(pid: int, side: Side) -> list[Entry]:
    """The flusher's thread against the whole process, under small requests."""
    before_all, before = cpu_s(pid), _thread_cpu_s(pid, "flusher")
    size, requests = SIZES["small"]

    async def run() -> None:
        async with grpc.aio.insecure_channel(side.address, options=_UNLIMITED) as channel:
            raw: Any = channel
            await load(raw.unary_unary(_INFER), request_of(side.model, size), 10 * requests)

    asyncio.run(run())
    whole, flusher = cpu_s(pid) - before_all, _thread_cpu_s(pid, "flusher") - before
    per = 1e6 / (10 * requests)
    return [entry("ledger: CPU of storing, of the proxy's", flusher * per, whole * per, flusher / whole, LEDGER_BUDGET)]


def _thread_cpu_s(pid: int, name: str) -> float:
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        if (task / "comm").read_text().strip() == name:
            total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def _proxy(directory: Path, triton: Triton) -> Service:
    database = f"sqlite:///{directory / 'ledger.db'}"
    upgrade(database)
    catalogue = directory / "catalogue.yaml"
    catalogue.write_text(_CATALOGUE, encoding="utf-8")
    environment = {
        "TRADEWIND_CATALOGUE": str(catalogue),
        "TRADEWIND_DATABASE_URL": database,
        "TRADEWIND_PROXY_TRITON_GRPC": triton.grpc,
        "TRADEWIND_PROXY_TRITON_HTTP": triton.http,
        "TRADEWIND_PROXY_HTTP_LISTEN": "127.0.0.1:0",
        "TRADEWIND_PROXY_METRICS_PORT": "0",
        "TRADEWIND_PROXY_SPOOL_DIRECTORY": str(directory / "spool"),
        # Nobody decides in a benchmark: the fallback variant serves.
        "TRADEWIND_PROXY_SELECTOR": "127.0.0.1:9",
    }
    return Service("inference_proxy", directory, environment, "TRADEWIND_PROXY_LISTEN")
