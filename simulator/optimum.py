"""The least that could have been emitted, had every intensity been known beforehand.

Choosing a mix for every interval so that the mean error is met at the least carbon is a linear program with one
coupling constraint. Its optimum is greedy: begin with the least energy everywhere, and take the steps of the convex
hull of (energy, error) in the order of carbon per point of error, the last one in part.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tradewind.catalogue import OperatingPoint
from tradewind.policies.frontier import Frontier, frontier_of

MJ_PER_KWH = 3.6e9


@dataclass(frozen=True, slots=True)
class Optimum:
    """Cumulative cost and gain of the steps, cheapest first; queried for any error or any grams."""

    frontier: Frontier
    requests: float
    least_g: float
    """Grams of the least energy everywhere."""
    gains: NDArray[np.float64]
    """Point-requests gained once each step is taken in full."""
    costs_g: NDArray[np.float64]
    prices: NDArray[np.float64]
    """Intensity / ratio of each step: what its points cost."""

    def grams_for_error(self, error: float) -> float:
        """Least grams for a mean error of at most `error`; beyond the best error, the best's."""
        needed = (float(self.frontier.errors[0]) - error) * self.requests
        return self.least_g + float(np.interp(needed, self.gains, self.costs_g))

    def error_for_grams(self, grams: float) -> float:
        """Least mean error for at most `grams`; below the least grams, the smallest variant's."""
        gained = float(np.interp(grams - self.least_g, self.costs_g, self.gains))
        return float(self.frontier.errors[0]) - gained / self.requests

    def weights_for_error(
        self, error: float, g_per_kwh: NDArray[np.float64], pool: tuple[OperatingPoint, ...]
    ) -> NDArray[np.float64]:
        """The optimal mix of every interval, one column per variant of the pool."""
        steps = len(self.frontier.error_steps)
        needed = (float(self.frontier.errors[0]) - error) * self.requests
        taken = np.zeros((len(g_per_kwh), steps))
        if steps and needed > 0:
            last = min(int(np.searchsorted(self.gains, needed)), len(self.gains) - 1)
            price = self.prices[last - 1]
            part = (needed - self.gains[last - 1]) / (self.gains[last] - self.gains[last - 1])
            cost = g_per_kwh[:, None] / np.exp(self.frontier.log_ratios)[None, :]
            taken = np.where(cost < price, 1.0, np.where(cost == price, min(1.0, part), 0.0))
        reached = np.hstack([np.ones((len(g_per_kwh), 1)), taken, np.zeros((len(g_per_kwh), 1))])
        weights = np.zeros((len(g_per_kwh), len(pool)))
        names = [point.variant for point in pool]
        for index, variant in enumerate(self.frontier.variants):
            weights[:, names.index(variant)] = reached[:, index] - reached[:, index + 1]
        return weights


def optimum_of(
    g_per_kwh: NDArray[np.float64], requests: NDArray[np.float64], pool: tuple[OperatingPoint, ...]
) -> Optimum:
    """The optimum over these intervals. Intervals of equal price are one step, so that they are taken alike."""
    frontier = frontier_of(pool)
    ratios = np.exp(frontier.log_ratios)
    gains = np.outer(requests, frontier.error_steps).ravel()
    costs = (np.outer(requests * g_per_kwh, frontier.energy_steps_mj) / MJ_PER_KWH).ravel()
    prices, group = np.unique((g_per_kwh[:, None] / ratios[None, :]).ravel(), return_inverse=True)
    gained = np.bincount(group.ravel(), weights=gains, minlength=len(prices))
    cost = np.bincount(group.ravel(), weights=costs, minlength=len(prices))
    some = gained > 0
    return Optimum(
        frontier=frontier,
        requests=float(requests.sum()),
        least_g=float(requests @ g_per_kwh) * float(frontier.energies_mj[0]) / MJ_PER_KWH,
        gains=np.concatenate(([0.0], np.cumsum(gained[some]))),
        costs_g=np.concatenate(([0.0], np.cumsum(cost[some]))),
        prices=prices[some],
    )
