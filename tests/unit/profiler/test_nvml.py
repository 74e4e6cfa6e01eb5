# ruff: noqa: N802, D102 -- the simulated driver's methods are the driver's own
"""The NVML meter against a driver that fails in every way drivers do, simulated at the driver's interface."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pynvml
import pytest

from profiler.meters.meter import MeterError
from profiler.meters.nvml import NvmlMeter


@dataclass
class Process:
    """A process as the driver lists it."""

    pid: int


@dataclass
class Gpu:
    """What the driver says of one GPU."""

    energy_mj: int = 5_000_000
    mig: int | None = 0
    processes: list[Process] = field(default_factory=list)
    fails: dict[str, int] = field(default_factory=dict)


class Driver:
    """Answers as nvidia-ml-py does, with its own exceptions."""

    def __init__(self, *gpus: Gpu) -> None:
        self.gpus = gpus
        self.init_error = 0

    def __getattr__(self, name: str) -> Any:
        if name.startswith(("NVML_ERROR", "NVMLError")):
            return getattr(pynvml, name)
        raise AttributeError(name)

    def nvmlInit(self) -> None:
        if self.init_error:
            raise pynvml.NVMLError(self.init_error)

    def nvmlDeviceGetCount(self) -> int:
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Gpu:
        if index >= len(self.gpus):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_INVALID_ARGUMENT)
        return self.gpus[index]

    def nvmlDeviceGetName(self, _gpu: Gpu) -> str:
        return "NVIDIA Test 80GB"

    def nvmlSystemGetDriverVersion(self) -> bytes:
        return b"580.10"

    def nvmlDeviceGetEnforcedPowerLimit(self, _gpu: Gpu) -> int:
        return 300_000

    def nvmlDeviceGetMigMode(self, gpu: Gpu) -> tuple[int, int]:
        if gpu.mig is None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return gpu.mig, gpu.mig

    def nvmlDeviceGetTotalEnergyConsumption(self, gpu: Gpu) -> int:
        if "energy" in gpu.fails:
            raise pynvml.NVMLError(gpu.fails["energy"])
        return gpu.energy_mj

    def nvmlDeviceGetComputeRunningProcesses(self, gpu: Gpu) -> list[Process]:
        return gpu.processes


def meter(driver: Driver, *gpus: int, tritons: Callable[[], set[int]] = set) -> NvmlMeter:
    return NvmlMeter(gpus, nvml=driver, triton_pids=tritons, clock=lambda: 1.0)


def test_reads_joules_and_names_the_device() -> None:
    nvml = meter(Driver(Gpu(energy_mj=5_000_000)))
    assert nvml.read().counters == (5000.0,)
    assert nvml.nameplate.hardware == "NVIDIA Test 80GB"
    assert nvml.nameplate.driver == "NVIDIA 580.10"
    assert nvml.nameplate.max_watts == (300.0,)


def test_old_gpus_know_no_mig() -> None:
    assert meter(Driver(Gpu(mig=None))).disturbance() is None


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, "no NVIDIA driver is installed"),
        (pynvml.NVML_ERROR_DRIVER_NOT_LOADED, "not loaded"),
        (pynvml.NVML_ERROR_UNKNOWN, "answered with an error"),
    ],
)
def test_no_driver_is_said(code: int, sentence: str) -> None:
    driver = Driver(Gpu())
    driver.init_error = code
    with pytest.raises(MeterError, match=sentence):
        meter(driver)


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (pynvml.NVML_ERROR_NOT_SUPPORTED, "no such counter"),
        (pynvml.NVML_ERROR_NO_PERMISSION, "root"),
        (pynvml.NVML_ERROR_GPU_IS_LOST, "fell off the bus"),
    ],
)
def test_a_failing_counter_is_said_at_once_and_later(code: int, sentence: str) -> None:
    with pytest.raises(MeterError, match=sentence):
        meter(Driver(Gpu(fails={"energy": code})))
    driver = Driver(Gpu())
    working = meter(driver)
    driver.gpus[0].fails["energy"] = code
    with pytest.raises(MeterError, match=sentence):
        working.read()


def test_mig_is_refused_at_once_and_when_switched_on_later() -> None:
    with pytest.raises(MeterError, match="MIG"):
        meter(Driver(Gpu(mig=1)))
    driver = Driver(Gpu())
    working = meter(driver)
    driver.gpus[0].mig = 1
    with pytest.raises(MeterError, match="MIG"):
        working.disturbance()


def test_another_process_on_the_gpu_is_named() -> None:
    driver = Driver(Gpu(processes=[Process(10), Process(11)]))
    assert meter(driver, tritons=lambda: {10, 11}).disturbance() is None
    driver.gpus[0].processes.append(Process(99))
    assert "process 99 is on GPU 0" in str(meter(driver, tritons=lambda: {10, 11}).disturbance())


def test_where_triton_cannot_be_seen_a_single_process_is_taken_for_it() -> None:
    driver = Driver(Gpu(processes=[Process(10)]))
    assert meter(driver).disturbance() is None
    driver.gpus[0].processes.append(Process(99))
    assert "process 10, 99" in str(meter(driver).disturbance())


def test_of_several_gpus_tritons_are_measured() -> None:
    driver = Driver(Gpu(energy_mj=1000), Gpu(energy_mj=2000, processes=[Process(10)]))
    assert meter(driver, tritons=lambda: {10}).read().counters == (2.0,)
    assert meter(driver, 0, 1).read().counters == (1.0, 2.0)
    with pytest.raises(MeterError, match="--gpu"):
        meter(driver)


def test_a_gpu_that_is_not_there_is_said() -> None:
    with pytest.raises(MeterError, match="no such device"):
        meter(Driver(Gpu()), 3)
    with pytest.raises(MeterError, match="sees no GPU"):
        meter(Driver())
