"""Which variants are worth serving at all, and from which intensity on a larger one stops being worth its carbon.

Of all mixes with the same mean energy the least error is on the lower convex hull of (energy, error). Going from one
hull variant to the next at an intensity c costs c x extra energy and gains error; it pays while that cost per point
is within a price. So one price gives one intensity threshold per step, and their ratios never change.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tradewind.catalogue import OperatingPoint
from tradewind.decisions import Share

G_PER_POINT_PER_MILLION = 1.0 / 3_600.0
"""Grams per point of error and million inferences, of 1 mJ x g/kWh per point: 1e6 inferences / 3.6e9 mJ per kWh."""


@dataclass(frozen=True, slots=True)
class Frontier:
    """The hull's variants in order of energy, and the step from each to the next."""

    variants: tuple[str, ...]
    energies_mj: NDArray[np.float64]
    errors: NDArray[np.float64]
    energy_steps_mj: NDArray[np.float64]
    error_steps: NDArray[np.float64]
    """Points gained by each step, all positive."""
    log_ratios: NDArray[np.float64]
    """Logarithm of points gained per mJ, falling from step to step."""

    def threshold_g_per_kwh(self, step: int, log_price: float) -> float:
        """The intensity up to which the step pays at a price in mJ x g/kWh per point."""
        return float(np.exp(min(log_price + self.log_ratios[step], 700.0)))

    def log_price(self, step: int, intensity_g_per_kwh: float) -> float:
        """The price at which the step just pays at an intensity."""
        return float(np.log(intensity_g_per_kwh) - self.log_ratios[step])

    def mix(self, step_weights: Sequence[float]) -> tuple[Share, ...]:
        """The mix that takes each step for that part of the requests (weights never rise from step to step)."""
        reached = [1.0, *(float(weight) for weight in step_weights), 0.0]
        shares = [reached[index] - reached[index + 1] for index in range(len(self.variants))]
        return tuple(
            Share(variant, weight) for variant, weight in zip(self.variants, shares, strict=True) if weight > 0
        )


def frontier_of(pool: tuple[OperatingPoint, ...]) -> Frontier:
    """The frontier of a permitted pool."""
    return _frontier(tuple((point.energy_mj, point.error, point.variant) for point in pool))


@lru_cache(maxsize=256)
def _frontier(points: tuple[tuple[float, float, str], ...]) -> Frontier:
    hull: list[tuple[float, float, str]] = []
    for point in sorted(points):
        if hull and point[1] >= min(error for _, error, _ in hull):
            continue
        while len(hull) >= 2 and _gain(hull[-2], hull[-1]) <= _gain(hull[-1], point):
            hull.pop()
        hull.append(point)
    energies = np.array([energy for energy, _, _ in hull])
    errors = np.array([error for _, error, _ in hull])
    energy_steps, error_steps = np.diff(energies), -np.diff(errors)
    return Frontier(
        variants=tuple(variant for _, _, variant in hull),
        energies_mj=energies,
        errors=errors,
        energy_steps_mj=energy_steps,
        error_steps=error_steps,
        log_ratios=np.log(error_steps / energy_steps) if len(hull) > 1 else np.empty(0),
    )


def _gain(smaller: tuple[float, float, str], larger: tuple[float, float, str]) -> float:
    return (smaller[1] - larger[1]) / (larger[0] - smaller[0])
