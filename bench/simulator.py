"""The simulator against a plain loop, and how long one decision of every policy takes."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from simulator.fast_path import columns_at_once
from simulator.run import run_interval_by_interval
from simulator.series import IntensitySeries
from simulator.windows import trailing_windows
from tradewind.catalogue import OperatingPoint
from tradewind.catalogues import published_catalogue
from tradewind.policies import Policy
from tradewind.policies.carbon_budget import CarbonBudget
from tradewind.policies.carbon_price import CarbonPrice
from tradewind.policies.proportional import Proportional
from tradewind.policies.target_error import TargetError

Result = TypeVar("Result")
ZONES, YEAR = 100, 365 * 48
TIMES_FASTER = 100.0
_WINDOW = 48
_PLAIN_ZONES = 3
"""The plain loop is run on some zones only, and its time per zone taken for all."""


def measure() -> list[dict[str, Any]]:
    """A year of half-hours x 100 zones against the plain loop with identical results, then single decisions."""
    pool = published_catalogue().family("resnet").permitted
    zones = [_zone(number) for number in range(ZONES)]
    plain_s, plain = _timed(lambda: [plain_loop(zone.g_per_kwh.tolist(), pool) for zone in zones[:_PLAIN_ZONES]], 3)
    fast_s, fast = _timed(lambda: [_at_once(zone, pool) for zone in zones], 3)
    for ours, reference in zip(fast, plain, strict=False):
        assert ours.tolist() == reference, "the results differ"
    per_zone = plain_s / _PLAIN_ZONES
    ratio = per_zone * ZONES / fast_s
    entries: list[dict[str, Any]] = [
        {
            "name": "simulator: a year of half-hours x 100 zones, proportional",
            "value": fast_s,
            "unit": "s",
            "reference": per_zone * ZONES,
            "ratio": ratio,
            "budget": TIMES_FASTER,
            "holds": ratio >= TIMES_FASTER,
        }
    ]
    policies: tuple[Policy, ...] = (
        Proportional(),
        CarbonPrice(40.0),
        TargetError(6.57),
        CarbonBudget(budget_share=0.5),
    )
    return entries + [_per_decision(policy, zones[0], pool) for policy in policies]


def plain_loop(values: list[float], pool: tuple[OperatingPoint, ...]) -> list[int]:
    """The reference: the heuristic as one would write it at first, one interval after another."""
    energies = [point.energy_mj for point in pool]
    chosen = []
    for row, value in enumerate(values):
        seen = values[max(0, row - _WINDOW + 1) : row + 1]
        low, high = min(seen), max(seen)
        x = 0.5 if high <= low else (value - low) / (high - low)
        wanted = energies[-1] - x * (energies[-1] - energies[0])
        distances = [abs(energy - wanted) for energy in energies]
        chosen.append(distances.index(min(distances)))
    return chosen


def _at_once(zone: IntensitySeries, pool: tuple[OperatingPoint, ...]) -> NDArray[np.int8]:
    columns = columns_at_once(Proportional(), zone, trailing_windows(zone, timedelta(hours=24)), pool)
    assert columns is not None
    return columns


def _per_decision(policy: Policy, zone: IntensitySeries, pool: tuple[OperatingPoint, ...]) -> dict[str, Any]:
    """Microseconds of one decision, with all that surrounds it in the simulator's loop."""
    windows = trailing_windows(zone, timedelta(hours=24))
    seconds, _ = _timed(lambda: run_interval_by_interval(policy, zone, windows, pool, np.ones(zone.used)))
    return {
        "name": f"one decision of {policy.name}, interval by interval",
        "value": seconds / zone.used * 1e6,
        "unit": "us",
        "reference": None,
        "ratio": None,
        "budget": None,
        "holds": True,
    }


def _zone(number: int) -> IntensitySeries:
    """A year of half-hours with days, weather and whole numbers, so that ties and flat stretches occur."""
    generator = np.random.default_rng(number)
    hours = np.arange(YEAR) / 2
    weather = np.cumsum(generator.normal(0, 4, YEAR)) % 200
    values = np.round(80 + weather + 60 * np.cos(hours / 24 * 2 * np.pi) ** 2)
    times = 1_672_531_200 + 1_800 * np.arange(YEAR, dtype=np.int64)
    return IntensitySeries(f"zone-{number}", times, values, 1_800, YEAR, 0, 0, 0)


def _timed(work: Callable[[], Result], repeats: int = 1) -> tuple[float, Result]:
    """The least CPU seconds of some repeats: what other processes on the machine change least."""
    best_s = float("inf")
    for _ in range(repeats):
        begun = time.process_time()
        result = work()
        best_s = min(best_s, time.process_time() - begun)
    return best_s, result
