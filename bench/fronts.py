"""What each thing in front of Triton costs: CPU per request of all its processes, and the latency that it adds.

nginx, plain Envoy, a bare grpc.aio relay, the Python front and the Envoy front; h2load sends each the same frames in
turn, in one run. The fronts have receipts, ledger and metrics on, and their ledgers are counted against what was sent.
The table that it prints is the one in the documents.
"""

import re
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

from bench.deciding import decided
from bench.fronts_table import cpu_entry, latency_entry, markdown
from bench.in_front import Side, find_program, front, nginx, plain_envoy, recorded, relay
from local_stack.triton import PROJECT, Triton

Entry = dict[str, Any]


@dataclass(frozen=True)
class Size:
    """Requests of one size."""

    name: str
    tensor_bytes: int
    requests: int
    """In one round of the CPU's measurement."""
    rounds: int
    one_by_one: int
    """In one round of the latency's."""


SIZES = (
    # Many short rounds: where others are at work, one round in four is off by a fifth.
    Size("small", 32, 300, 41, 200),
    Size("602 KB", 602_112, 60, 21, 60),
    Size("4.8 MB", 4_816_896, 16, 9, 30),
)
LATENCY_ROUNDS = 5
CONNECTIONS, STREAMS = 4, 4
LEDGER_BUDGET = 0.1

_MODELS = PROJECT / "tests" / "triton_models"
_INFER = "/inference.GRPCInferenceService/ModelInfer"


@dataclass
class Load:
    """Sends requests with h2load, and counts them."""

    directory: Path
    sent: Counter[str] = field(default_factory=Counter)

    def send(self, side: Side, size: Size, requests: int, connections: int, streams: int) -> list[float]:
        """So many requests; how long each took, in microseconds."""
        frame, times = self.directory / f"{side.model}-{size.tensor_bytes}.bin", self.directory / "times"
        if not frame.exists():
            message = request_of(side.model, size.tensor_bytes)
            frame.write_bytes(b"\0" + len(message).to_bytes(4, "big") + message)
        times.unlink(missing_ok=True)
        command = [str(find_program("h2load")), "-n", str(requests), "-c", str(min(connections, requests))]
        command += ["-m", str(streams), "-d", str(frame), f"--log-file={times}"]
        command += ["-H", "content-type: application/grpc", "-H", "te: trailers"]
        done = subprocess.run([*command, f"http://{side.address}{_INFER}"], capture_output=True, text=True, check=True)
        if not re.search(rf"\b{requests} succeeded", done.stdout):
            sys.exit(f"bench: {side.name} did not answer every request: {done.stdout[-500:]}")
        self.sent[side.name] += requests
        return [float(line.split("\t")[2]) for line in times.read_text().splitlines()]

    def check(self, side: Side) -> None:
        """h2load does not read answers: one is read here."""
        with grpc.insecure_channel(side.address) as channel:
            stub: Any = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            request = service_pb2.ModelInferRequest.FromString(request_of(side.model, 32))
            answer = stub.ModelInfer(request, timeout=20, wait_for_ready=True)
        self.sent[side.name] += 1
        assert answer.model_name == "ident_small", side.name
        told = {"carbon_decision", "carbon_emissions_ng"} <= set(answer.parameters)
        assert told == side.is_ours, side.name


def measure() -> list[Entry]:
    """Every figure of the fronts."""
    if find_program("h2load") is None:
        sys.exit("bench: h2load is not there: `apt install nghttp2-client`")
    entries: list[Entry] = []
    with tempfile.TemporaryDirectory() as folder:
        load = Load(Path(folder))
        with ExitStack() as stack:
            sides = _start(stack, load)
            python = next(side for side in sides if side.name == "Python front")
            for size in SIZES:
                before = _storing(python)
                entries += _cpu(sides, load, size)
                if size.name == "small":
                    entries.append(_ledger(before, _storing(python)))
                entries += _latency(sides, load, size)
        for side in sides:
            if side.is_ours:
                assert recorded(side) == load.sent[side.name], f"the ledger of the {side.name} has not what was sent"
    print(markdown(entries))
    return entries


def _start(stack: ExitStack, load: Load) -> list[Side]:
    triton = Triton(load.directory, _MODELS)
    stack.callback(triton.stop)
    triton.start()
    selector = stack.enter_context(decided("ident", "small"))
    # Those that are compared stand next to each other, so that a round measures both under the same noise.
    beginnings = [
        *([nginx(load.directory, triton)] if find_program("nginx") else []),
        plain_envoy(load.directory, triton),
        front("envoy", load.directory, triton, selector),
        front("python", load.directory, triton, selector),
        relay(load.directory, triton),
    ]
    sides = [Side("direct", triton.grpc, None), *(stack.enter_context(each) for each in beginnings)]
    for side in sides:
        load.check(side)
    return sides


def _cpu(sides: list[Side], load: Load, size: Size) -> list[Entry]:
    found: dict[str, list[float]] = {side.name: [] for side in sides if side.pid is not None}
    for number in range(size.rounds + 1):
        for side in sides if number % 2 else reversed(sides):
            if side.pid is None:
                continue
            before = cpu_s(side.pid)
            load.send(side, size, size.requests, CONNECTIONS, STREAMS)
            if number:  # The first round warms up.
                found[side.name].append((cpu_s(side.pid) - before) / size.requests * 1e6)
    return [entry for name in found for entry in cpu_entry(size.name, name, found)]


def _latency(sides: list[Side], load: Load, size: Size) -> list[Entry]:
    """One request after another: what each adds to Triton's own time."""
    times: dict[str, list[float]] = {side.name: [] for side in sides}
    for number in range(LATENCY_ROUNDS):
        for side in sides if number % 2 else reversed(sides):
            times[side.name] += load.send(side, size, size.one_by_one, 1, 1)
    return [entry for name in times for entry in latency_entry(size.name, name, times[name], times["direct"])]


def _storing(side: Side) -> tuple[float, float]:
    """Seconds of CPU of the thread that stores the spool, and of the whole process."""
    assert side.pid is not None
    return _thread_cpu_s(side.pid, "flusher"), cpu_s(side.pid)


def _ledger(before: tuple[float, float], after: tuple[float, float]) -> Entry:
    storing, whole = (later - earlier for earlier, later in zip(before, after, strict=True))
    return {
        "name": "ledger: CPU of storing, of the Python front's under small requests",
        "value": round(storing, 3),
        "unit": "s",
        "reference": round(whole, 3),
        "ratio": round(storing / whole, 4),
        "budget": LEDGER_BUDGET,
        "holds": storing <= LEDGER_BUDGET * whole,
    }


def request_of(model: str, size: int) -> bytes:
    """A ModelInfer with one tensor of so many bytes."""
    request = service_pb2.ModelInferRequest(model_name=model, id="1")
    request.inputs.add(name="INPUT", datatype="FP32", shape=[1, size // 4])
    request.outputs.add(name="OUTPUT")
    request.raw_input_contents.append(bytes(size))
    return bytes(request.SerializeToString())


def cpu_s(pid: int) -> float:
    """Seconds of CPU that a process and its descendants have used, to the nanosecond."""
    tasks = (task for process in _tree(pid) for task in Path(f"/proc/{process}/task").glob("*"))
    return sum(_task_cpu_s(task) for task in tasks)


def _thread_cpu_s(pid: int, name: str) -> float:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(_task_cpu_s(task) for task in tasks if (task / "comm").read_text().strip() == name)


def _task_cpu_s(task: Path) -> float:
    try:
        return int((task / "schedstat").read_text().split()[0]) / 1e9
    except OSError:
        return 0.0  # The thread has ended; long-lived ones are what counts here.


def _tree(pid: int) -> list[int]:
    found = [pid]
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in children.read_text().split():
            found.extend(_tree(int(child)))
    return found
