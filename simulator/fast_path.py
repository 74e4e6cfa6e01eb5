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
    columns = columns_at_once(policy, series, windows, pool)
    return None if columns is None else np.eye(len(pool))[columns]


def columns_at_once(policy: Policy, series: IntensitySeries, windows: Windows, pool: Pool) -> NDArray[np.int8] | None:
    """The place in the pool of every interval's variant; None for a policy that must be run interval by interval."""
    if isinstance(policy, Fixed):
        names = [point.variant for point in pool]
        variant = policy.variant or names[0]
        return np.full(series.used, names.index(variant), dtype=np.int8) if variant in names else None
    if isinstance(policy, Proportional):
        return nearest_variants(_energies_selected(series, windows, pool, inverted=True), pool)
    if isinstance(policy, AsPrinted):
        return nearest_variants(_energies_selected(series, windows, pool, inverted=False), pool)
    if isinstance(policy, CarbonPrice):
        return _priced_variants(series, pool, policy.price)
    return None


def range_positions(series: IntensitySeries, windows: Windows) -> NDArray[np.float64]:
    """Position of every interval: 0 at its range's low, 1 at its high, 0.5 where the range has no width."""
    widths = windows.highs - windows.lows
    flat = widths <= 0
    if not flat.any():
        positions = (series.g_per_kwh - windows.lows) / widths
    else:
        positions = (series.g_per_kwh - windows.lows) / np.where(flat, 1.0, widths)
        positions[flat] = 0.5
    limited: NDArray[np.float64] = np.minimum(np.maximum(positions, 0.0, out=positions), 1.0, out=positions)
    return limited


def nearest_variants(energies_mj: NDArray[np.float64], pool: Pool) -> NDArray[np.int8]:
    """The column of the variant nearest in energy; a tie goes to the lower energy."""
    nearest = np.zeros(len(energies_mj), dtype=np.int8)
    least = np.abs(pool[0].energy_mj - energies_mj)
    distance = np.empty_like(least)
    for column, point in enumerate(pool[1:], start=1):
        np.abs(np.subtract(point.energy_mj, energies_mj, out=distance), out=distance)
        # The last that is nearer than all before; columns rise, so the larger of the two is the later.
        np.maximum(nearest, (distance < least).view(np.int8) * np.int8(column), out=nearest)
        np.minimum(distance, least, out=least)
    return nearest


def _energies_selected(series: IntensitySeries, windows: Windows, pool: Pool, *, inverted: bool) -> NDArray[np.float64]:
    low, high = pool[0].energy_mj, pool[-1].energy_mj
    position = range_positions(series, windows)
    position *= high - low
    energies: NDArray[np.float64] = np.subtract(high, position, out=position) if inverted else low + position
    return energies


def _priced_variants(series: IntensitySeries, pool: Pool, price: float) -> NDArray[np.int8]:
    """The column of the largest variant whose step is worth the price."""
    names = [point.variant for point in pool]
    columns = np.array([names.index(variant) for variant in frontier_of(pool).variants], dtype=np.int8)
    taken = np.zeros(series.used, dtype=np.intp)
    going = np.ones(series.used, dtype=bool)
    for cost in costs_per_g_per_kwh(pool):
        going &= cost * series.g_per_kwh < price
        taken += going
    return columns[taken]
