"""Which meters may be tried for a Triton, and which of them would measure the wrong thing."""

from dataclasses import dataclass

from profiler.meters.choose import Offer
from profiler.meters.cpu_time import CpuTimeMeter
from profiler.meters.meter import Meter, MeterError
from profiler.meters.nvml import NvmlMeter
from profiler.meters.process_tree import listener_on, tree_of
from profiler.meters.rapl import RaplMeter
from profiler.meters.triton_metrics import TritonMetricsMeter
from tradewind.errors import InvalidInput

_LOCAL = ("127.0.0.1", "localhost", "[::1]", "0.0.0.0")  # noqa: S104 -- compared with, not bound


@dataclass(frozen=True, slots=True)
class Metering:
    """What the user said about meters."""

    wanted: str = "auto"
    gpus: tuple[str, ...] = ()
    metrics_url: str = ""
    triton_pid: int | None = None
    watts_per_core: float = 10.0
    hardware: str = ""


def local_triton(address: str) -> int | None:
    """Triton's process id when it listens on this host."""
    host, _, port = address.rpartition(":")
    if not port.isdigit():
        raise InvalidInput(f"--triton-grpc {address[:80]!r}: write HOST:PORT")
    return listener_on(int(port)) if host in _LOCAL else None


def offers(metering: Metering, triton_pid: int | None, *, on_gpu: bool) -> list[Offer]:
    """The meters from best to last, and those that would measure the wrong thing here."""
    elsewhere = "" if triton_pid is not None else "Triton is on another host, or its process cannot be seen from here"

    def triton_pids() -> set[int]:
        return tree_of(triton_pid) if triton_pid is not None else set()

    def nvml() -> Meter:
        if not all(gpu.isdigit() for gpu in metering.gpus):
            raise MeterError("nvml: --gpu takes an index here, as nvidia-smi lists them")
        return NvmlMeter(tuple(int(gpu) for gpu in metering.gpus), triton_pids=triton_pids)

    def triton_metrics() -> Meter:
        if not metering.metrics_url:
            raise MeterError("triton-metrics: give the URL of Triton's metrics with --triton-metrics")
        return TritonMetricsMeter(metering.metrics_url, gpus=metering.gpus, hardware=metering.hardware)

    def cpu_time() -> Meter:
        if triton_pid is None:
            raise MeterError(f"cpu-time: {elsewhere}; say which with --triton-pid")
        return CpuTimeMeter(triton_pid, metering.watts_per_core)

    on_cpu = "" if on_gpu else "the models run on the CPU"
    not_on_cpu = "the models run on a GPU" if on_gpu else ""
    return [
        Offer("nvml", nvml, on_cpu or elsewhere),
        Offer("rapl", lambda: RaplMeter(hardware=metering.hardware or None), not_on_cpu or elsewhere),
        Offer("triton-metrics", triton_metrics, on_cpu),
        Offer("cpu-time", cpu_time, not_on_cpu or elsewhere),
    ]
