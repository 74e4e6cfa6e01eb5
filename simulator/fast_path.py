"""Policies without feedback over a whole series at once, in the same floating-point steps as one by one."""

import numpy as np
from numpy.typing import NDArray

from simulator.policies.as_printed import AsPrinted
from simulator.series import IntensitySeries
from simulator.windows import Windows
from tradewind.catalogue import OperatingPoint
from tradewind.policies import Policy
from tradewind.policies.carbon_price import CarbonPrice, costs_per_g_per_kwh
from tradewind.policies.fixed import Fixed
from tradewind.policies.frontier import frontier_of
from tradewind.policies.proportional import Proportional

Pool = tuple[OperatingPoint, ...]


def weights_at_once(
    policy: Policy, series: IntensitySeries, windows: Windows, pool: Pool
) -> NDArray[np.float64] | None:
    """The mix of every interval; None for a policy that must be run interval by interval."""
    if isinstance(policy, Fixed):
        names = [point.variant for point in pool]
        variant = policy.variant or names[0]
        return _wholly(np.full(series.used, names.index(variant)), len(pool)) if variant in names else None
    if isinstance(policy, Proportional):
        return _wholly(nearest_variants(_energies_selected(series, windows, pool, inverted=True), pool), len(pool))
    if isinstance(policy, AsPrinted):
        return _wholly(nearest_variants(_energies_selected(series, windows, pool, inverted=False), pool), len(pool))
    if isinstance(policy, CarbonPrice):
        return _wholly(_priced_variants(series, pool, policy.price), len(pool))
    return None


def range_positions(series: IntensitySeries, windows: Windows) -> NDArray[np.float64]:
    """Position of every interval: 0 at its range's low, 1 at its high, 0.5 where the range has no width."""
    widths = windows.highs - windows.lows
    flat = widths <= 0
    positions = (series.g_per_kwh - windows.lows) / np.where(flat, 1.0, widths)
    return np.where(flat, 0.5, np.minimum(1.0, np.maximum(0.0, positions)))


def nearest_variants(energies_mj: NDArray[np.float64], pool: Pool) -> NDArray[np.intp]:
    """The column of the variant nearest in energy; a tie goes to the lower energy."""
    nearest = np.zeros(len(energies_mj), dtype=np.intp)
    least = np.abs(pool[0].energy_mj - energies_mj)
    for column, point in enumerate(pool[1:], start=1):
        distance = np.abs(point.energy_mj - energies_mj)
        nearer = distance < least
        nearest[nearer] = column
        least = np.where(nearer, distance, least)
    return nearest


def _energies_selected(series: IntensitySeries, windows: Windows, pool: Pool, *, inverted: bool) -> NDArray[np.float64]:
    low, high = pool[0].energy_mj, pool[-1].energy_mj
    position = range_positions(series, windows)
    return high - position * (high - low) if inverted else low + position * (high - low)


def _priced_variants(series: IntensitySeries, pool: Pool, price: float) -> NDArray[np.intp]:
    """The column of the largest variant whose step is worth the price."""
    names = [point.variant for point in pool]
    columns = np.array([names.index(variant) for variant in frontier_of(pool).variants])
    taken = np.zeros(series.used, dtype=np.intp)
    going = np.ones(series.used, dtype=bool)
    for cost in costs_per_g_per_kwh(pool):
        going &= cost * series.g_per_kwh < price
        taken += going
    return columns[taken]


def _wholly(columns: NDArray[np.intp], variants: int) -> NDArray[np.float64]:
    weights = np.zeros((len(columns), variants))
    weights[np.arange(len(columns)), columns] = 1.0
    return weights
