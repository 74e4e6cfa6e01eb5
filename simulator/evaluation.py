"""What a policy's mixes came to: error, grams, and how they compare with a baseline and with the least possible."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.optimum import MJ_PER_KWH, Optimum
from tradewind.catalogue import OperatingPoint


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the comparison; what is undefined is None."""

    policy: str
    mean_error_pct: float
    """Request-weighted, in the unit of the family's error metric."""
    emissions_g: float
    extra_g: float
    """Against the baseline."""
    cee: float | None
    """Relative error reduction in % per extra gram."""
    clairvoyant_ratio: float | None
    """Extra grams / least possible extra grams at the same error."""
    switches: int
    share: Mapping[str, float]
    periods: tuple[Mapping[str, Any], ...] = field(default=())
    """With a budget: each period's budget and what came of it."""

    def to_json(self) -> dict[str, Any]:
        """The row's JSON object."""
        row = {
            "policy": self.policy,
            "mean_error_pct": self.mean_error_pct,
            "emissions_g": self.emissions_g,
            "extra_g": self.extra_g,
            "cee": self.cee,
            "clairvoyant_ratio": self.clairvoyant_ratio,
            "switches": self.switches,
            "share": dict(self.share),
        }
        return {**row, "periods": [dict(period) for period in self.periods]} if self.periods else row


@dataclass(frozen=True, slots=True)
class Ground:
    """What every row is measured on: the scored intervals, their load, the pool and the baseline."""

    g_per_kwh: NDArray[np.float64]
    requests: NDArray[np.float64]
    pool: tuple[OperatingPoint, ...]
    baseline: str
    optimum: Optimum
    scale: float = 1.0
    """Multiplies every figure in grams."""

    @property
    def energies_mj(self) -> NDArray[np.float64]:
        """Of the pool, in its order."""
        return np.array([point.energy_mj for point in self.pool])

    def grams(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Grams of every interval, scaled."""
        return (weights @ self.energies_mj) * self.g_per_kwh * self.requests * (self.scale / MJ_PER_KWH)

    def shares(self, weights: NDArray[np.float64]) -> list[float]:
        """The part of the requests that each variant answers."""
        # Column by column, so that the sum of all requests divided by itself is exactly 1.
        return [float((self.requests * column).sum() / self.requests.sum()) for column in weights.T]

    def mean_error(self, weights: NDArray[np.float64]) -> float:
        """Over the requests."""
        return math.fsum(share * point.error for share, point in zip(self.shares(weights), self.pool, strict=True))

    def always(self, variant: str) -> NDArray[np.float64]:
        """The weights of serving one variant always."""
        names = [point.variant for point in self.pool]
        weights = np.zeros((len(self.g_per_kwh), len(names)))
        weights[:, names.index(variant)] = 1.0
        return weights


def evaluate(policy: str, weights: NDArray[np.float64], ground: Ground) -> Row:
    """One policy's row."""
    emissions = float(ground.grams(weights).sum())
    base = float(ground.grams(ground.always(ground.baseline)).sum())
    error, base_error = ground.mean_error(weights), ground.mean_error(ground.always(ground.baseline))
    # Within rounding, nothing extra is nothing: its quotients would be noise.
    extra = emissions - base if abs(emissions - base) > 1e-9 * base else 0.0
    gained = (base_error - error) / base_error * 100.0 if base_error > 0 else None
    least = ground.optimum.grams_for_error(error) * ground.scale - base
    return Row(
        policy=policy,
        mean_error_pct=error,
        emissions_g=emissions,
        extra_g=extra,
        cee=gained / extra if extra != 0.0 and gained is not None else None,
        clairvoyant_ratio=extra / least if extra != 0.0 and least > 1e-9 * base else None,
        switches=count_switches(weights),
        share={point.variant: share for point, share in zip(ground.pool, ground.shares(weights), strict=True)},
    )


def count_switches(weights: NDArray[np.float64]) -> int:
    """How often the heaviest variant changes from one interval to the next; of equals the first counts."""
    return int(np.count_nonzero(np.diff(np.argmax(weights, axis=1))))
