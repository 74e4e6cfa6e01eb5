"""Triton's own `nv_energy_consumption`, read from its /metrics: for a Triton whose GPU is on another host."""

import time
from collections.abc import Callable

from profiler.meters.meter import MeterError, Nameplate, Sample
from profiler.metrics_page import fetch_page, values_of
from tradewind.catalogue import Provenance

_ENERGY = "nv_energy_consumption"
_LIMIT = "nv_gpu_power_limit"
_FALLBACK_WATTS = 1000.0
DEFAULT_STEP_S = 2.0
"""Triton polls its GPUs every 2 s unless --metrics-interval-ms says otherwise."""


class TritonMetricsMeter:
    """Joules per GPU since Triton started, in steps of Triton's polling interval."""

    def __init__(
        self,
        url: str,
        *,
        gpus: tuple[str, ...] = (),
        step_s: float = DEFAULT_STEP_S,
        hardware: str = "",
        fetch: Callable[[str], str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = url
        self._clock = clock
        self._fetch = fetch or fetch_page
        page = self._fetch(url)
        found = _per_gpu(page, _ENERGY)
        if not found:
            raise MeterError(
                f"triton-metrics: {url} has no {_ENERGY}; Triton sees no GPU, or the GPU is in MIG mode, "
                f"or --allow-gpu-metrics is off"
            )
        unknown = sorted(set(gpus) - found.keys())
        if unknown:
            raise MeterError(f"triton-metrics: no GPU {', '.join(unknown)} at {url}: it has {', '.join(sorted(found))}")
        if not gpus and len(found) > 1:
            raise MeterError(
                f"triton-metrics: {url} counts {len(found)} GPUs ({', '.join(sorted(found))}); "
                f"say with --gpu which of them the family runs on"
            )
        self._gpus = gpus or tuple(sorted(found))
        limits = _per_gpu(page, _LIMIT)
        self.nameplate = Nameplate(
            name="triton-metrics",
            provenance=Provenance.MEASURED,
            hardware=hardware or ", ".join(self._gpus),
            driver="",
            max_watts=tuple(limits.get(gpu) or _FALLBACK_WATTS for gpu in self._gpus),
            step_s=step_s,
            method=f"Triton's {_ENERGY}; other users of the GPU cannot be seen from here",
        )

    def read(self) -> Sample:
        """The counters of the measured GPUs."""
        found = _per_gpu(self._fetch(self._url), _ENERGY)
        missing = [gpu for gpu in self._gpus if gpu not in found]
        if missing:
            raise MeterError(f"triton-metrics: {_ENERGY} of {', '.join(missing)} disappeared from {self._url}")
        return Sample(self._clock(), tuple(found[gpu] for gpu in self._gpus))

    def disturbance(self) -> str | None:
        """Triton does not tell who else uses the GPU."""
        return None


def _per_gpu(page: str, name: str) -> dict[str, float]:
    return {labels["gpu_uuid"]: value for labels, value in values_of(page, name) if "gpu_uuid" in labels}
