"""NVML: the GPU's own energy counter, through NVIDIA's nvidia-ml-py."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from profiler.meters.meter import MeterError, Nameplate, Sample
from tradewind.catalogue import Provenance

_FALLBACK_WATTS = 1000.0
_STEP_S = 0.1
"""Drivers refresh the counter every 20 to 100 ms."""


class NvmlMeter:
    """The total energy counters of one or more GPUs of this host."""

    def __init__(
        self,
        gpus: Sequence[int] = (),
        *,
        triton_pids: Callable[[], set[int]] = set,
        nvml: Any = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._nvml = nvml if nvml is not None else _library()
        self._clock = clock
        self._triton_pids = triton_pids
        _ask(self._nvml, "start", self._nvml.nvmlInit)
        self._indexes = tuple(gpus) or self._only_gpu()
        self._handles = [self._handle(index) for index in self._indexes]
        for index, handle in zip(self._indexes, self._handles, strict=True):
            self._refuse_mig(index, handle)
            self._energy(index, handle)
        self.nameplate = Nameplate(
            name="nvml",
            provenance=Provenance.MEASURED,
            hardware=", ".join(self._text(self._nvml.nvmlDeviceGetName(handle)) for handle in self._handles),
            driver=f"NVIDIA {self._text(self._nvml.nvmlSystemGetDriverVersion())}",
            max_watts=tuple(self._power_limit(handle) for handle in self._handles),
            step_s=_STEP_S,
            method="NVML total energy counter of the whole GPU",
        )

    def read(self) -> Sample:
        """The counters of the measured GPUs."""
        now = self._clock()
        return Sample(now, tuple(self._energy(i, h) for i, h in zip(self._indexes, self._handles, strict=True)))

    def disturbance(self) -> str | None:
        """Processes on the measured GPUs that are not Triton's."""
        ours = self._triton_pids()
        for index, handle in zip(self._indexes, self._handles, strict=True):
            self._refuse_mig(index, handle)
            running = {process.pid for process in self._processes(index, handle)}
            # Without Triton's process ids (it runs in a container, say) a single process is taken to be it.
            strangers = running - ours if ours else (running if len(running) > 1 else set())
            if strangers:
                listed = ", ".join(str(pid) for pid in sorted(strangers))
                return f"nvml: process {listed} is on GPU {index} beside Triton; stop it, or measure another GPU"
        return None

    def _only_gpu(self) -> tuple[int, ...]:
        count = _ask(self._nvml, "count its GPUs", self._nvml.nvmlDeviceGetCount)
        if count == 0:
            raise MeterError("nvml: the driver sees no GPU")
        if count == 1:
            return (0,)
        in_use = tuple(index for index in range(count) if self._is_tritons(index))
        if in_use:
            return in_use
        raise MeterError(f"nvml: there are {count} GPUs; say with --gpu which of them the family runs on")

    def _is_tritons(self, index: int) -> bool:
        running = {process.pid for process in self._processes(index, self._handle(index))}
        return bool(running & self._triton_pids())

    def _handle(self, index: int) -> Any:
        return _ask(self._nvml, f"find GPU {index}", lambda: self._nvml.nvmlDeviceGetHandleByIndex(index))

    def _processes(self, index: int, handle: Any) -> Sequence[Any]:
        processes: Sequence[Any] = _ask(
            self._nvml,
            f"list the processes of GPU {index}",
            lambda: self._nvml.nvmlDeviceGetComputeRunningProcesses(handle),
        )
        return processes

    def _refuse_mig(self, index: int, handle: Any) -> None:
        try:
            current, _pending = self._nvml.nvmlDeviceGetMigMode(handle)
        except self._nvml.NVMLError:
            return  # Devices that know no MIG answer with an error.
        if current:
            raise MeterError(
                f"nvml: GPU {index} is in MIG mode: its counter holds all instances together; measure on a whole GPU"
            )

    def _energy(self, index: int, handle: Any) -> float:
        millijoules = _ask(
            self._nvml,
            f"read the energy counter of GPU {index}",
            lambda: self._nvml.nvmlDeviceGetTotalEnergyConsumption(handle),
        )
        return float(millijoules) / 1000

    def _power_limit(self, handle: Any) -> float:
        try:
            return float(self._nvml.nvmlDeviceGetEnforcedPowerLimit(handle)) / 1000
        except self._nvml.NVMLError:
            return _FALLBACK_WATTS

    @staticmethod
    def _text(value: Any) -> str:
        return value.decode() if isinstance(value, bytes) else str(value)


def _library() -> Any:
    import pynvml

    return pynvml


def _ask(nvml: Any, what: str, call: Callable[[], Any]) -> Any:
    """The driver's answer; its error as a sentence that says what could not be done."""
    try:
        return call()
    except nvml.NVMLError as error:
        raise MeterError(f"nvml: the driver could not {what}: {_why(nvml, error)}") from error


def _why(nvml: Any, error: Exception) -> str:
    reasons = {
        nvml.NVML_ERROR_LIBRARY_NOT_FOUND: "no NVIDIA driver is installed",
        nvml.NVML_ERROR_DRIVER_NOT_LOADED: "the NVIDIA driver is not loaded",
        nvml.NVML_ERROR_NOT_SUPPORTED: "this GPU has no such counter (Volta and later have)",
        nvml.NVML_ERROR_NO_PERMISSION: "this user may not; run as root or ask for access to the device",
        nvml.NVML_ERROR_GPU_IS_LOST: "the GPU fell off the bus or was reset",
        nvml.NVML_ERROR_NOT_FOUND: "there is no such device",
        nvml.NVML_ERROR_INVALID_ARGUMENT: "there is no such device",
    }
    return reasons.get(getattr(error, "value", None), "it answered with an error; nvidia-smi may tell more")
