"""How often each intensity was met, fading with time: a histogram with logarithmic bins.

It is small enough to be persisted with every decision, needs no list of past readings and does not mind gaps.
Within a bin intensities count as spread evenly, and a threshold that falls inside a bin takes that part of the
requests of every interval in it: so a flat grid still gets the mix that meets the target.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tradewind.policies.frontier import Frontier

LOWEST_G_PER_KWH = 0.5
HIGHEST_G_PER_KWH = 4_000.0
BINS = 300
"""Each 3 % wide."""

_LOW = math.log(LOWEST_G_PER_KWH)
BIN_WIDTH = (math.log(HIGHEST_G_PER_KWH) - _LOW) / BINS
_EDGES = _LOW + BIN_WIDTH * np.arange(BINS + 1)
_CENTRES_G_PER_KWH = np.exp(_EDGES[:-1] + BIN_WIDTH / 2)

Histogram = NDArray[np.float64]


def empty_histogram() -> list[float]:
    """Nothing met yet, as a state keeps it."""
    return [0.0] * BINS


def bin_of(intensity_g_per_kwh: float) -> int:
    """The bin of an intensity; what lies beyond the ends counts in the last bin there."""
    return min(BINS - 1, max(0, int((math.log(max(intensity_g_per_kwh, 1e-9)) - _LOW) / BIN_WIDTH)))


def centre_of(index: int) -> float:
    """Logarithm of the intensity in the middle of a bin."""
    return _LOW + BIN_WIDTH * (index + 0.5)


def log_level(histogram: Histogram) -> tuple[float, float]:
    """Mean and standard deviation of the logarithm of the intensities in the histogram."""
    centres, total = _EDGES[:-1] + BIN_WIDTH / 2, max(histogram.sum(), 1e-300)
    mean = float(histogram @ centres / total)
    return mean, math.sqrt(max(0.0, float(histogram @ (centres - mean) ** 2 / total)))


def shifted(histogram: Histogram, log_factor: float) -> Histogram:
    """The histogram as if every intensity had been larger by a factor."""
    cumulative = np.concatenate(([0.0], np.cumsum(histogram)))
    moved = np.interp(_EDGES - log_factor, _EDGES, cumulative)
    moved[0], moved[-1] = 0.0, cumulative[-1]
    return np.diff(moved)


def step_weights(frontier: Frontier, log_price: float, intensity_g_per_kwh: float) -> Sequence[float]:
    """The part of the requests that takes each step at an intensity, given a price."""
    lower = _LOW + BIN_WIDTH * bin_of(intensity_g_per_kwh)
    # Rounded, so that a threshold on a bin's edge does not take a billionth of the requests.
    weights = np.clip(np.round((log_price + frontier.log_ratios - lower) / BIN_WIDTH, 9), 0.0, 1.0)
    return np.minimum.accumulate(weights).tolist()  # type: ignore[no-any-return]


def price_for_error(histogram: Histogram, frontier: Frontier, error: float) -> float:
    """Logarithm of the price that gives a mean error over the histogram; the nearest end if none does."""
    prices = _price_grid(frontier)
    below = _parts_below(histogram, frontier, prices)
    errors = frontier.errors[0] - frontier.error_steps @ below
    return float(np.interp(-error, -errors, prices))


def price_for_power(histogram: Histogram, frontier: Frontier, mean_mj_g_per_kwh: float) -> float:
    """Logarithm of the price at which the mean of energy x intensity over the histogram is the given one."""
    prices = _price_grid(frontier)
    cumulative = np.concatenate(([0.0], np.cumsum(histogram * _CENTRES_G_PER_KWH))) / max(histogram.sum(), 1e-300)
    spent = np.full(len(prices), frontier.energies_mj[0] * cumulative[-1])
    for ratio, step in zip(frontier.log_ratios, frontier.energy_steps_mj, strict=True):
        spent += step * np.interp(prices + ratio, _EDGES, cumulative)
    return float(np.interp(mean_mj_g_per_kwh, spent, prices))


def mean_intensity(histogram: Histogram) -> float:
    """The mean over the histogram in g/kWh."""
    return float(histogram @ _CENTRES_G_PER_KWH / max(histogram.sum(), 1e-300))


def relative_deviation(histogram: Histogram) -> float:
    """Standard deviation over mean of the intensities in the histogram."""
    mean = mean_intensity(histogram)
    square = float(histogram @ _CENTRES_G_PER_KWH**2 / max(histogram.sum(), 1e-300))
    return math.sqrt(max(0.0, square - mean * mean)) / mean if mean > 0 else 0.0


def _price_grid(frontier: Frontier) -> NDArray[np.float64]:
    """Every price at which some step reaches some bin's edge; between them error and power are straight lines."""
    return _cached_grid(tuple(frontier.log_ratios.tolist()))


@lru_cache(maxsize=256)
def _cached_grid(log_ratios: tuple[float, ...]) -> NDArray[np.float64]:
    return np.sort(np.concatenate([_EDGES - ratio for ratio in log_ratios]))


def _parts_below(histogram: Histogram, frontier: Frontier, prices: NDArray[np.float64]) -> NDArray[np.float64]:
    """For each step and price: the part of the histogram in which the step pays."""
    cumulative = np.concatenate(([0.0], np.cumsum(histogram)))
    cumulative /= max(cumulative[-1], 1e-300)
    return np.stack([np.interp(prices + ratio, _EDGES, cumulative) for ratio in frontier.log_ratios])
