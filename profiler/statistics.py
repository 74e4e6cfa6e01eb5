"""How sure a mean or a percentile is: pure functions over numbers, without a clock or a meter."""

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

CONFIDENCE = 0.95
_Z_95 = 1.959963984540054
_LEAST_FREEDOM = 3
"""Below this Student's quantile explodes; a series worth so little is wide enough by its spread."""
PARTS = 8
"""Into how many parts a series is cut: the longer the series the longer each, until what makes windows alike is short
against a part. More parts would be shorter, and fewer tell too little of how much they differ."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with its 95 % t-interval, its coefficient of variation and the number of samples behind it."""

    mean: float
    low: float
    high: float
    cv: float
    """Standard deviation / mean, as a ratio."""
    samples: int

    @property
    def relative_half_width(self) -> float:
        """Half the interval as a ratio of the mean; infinite for a mean of zero."""
        return (self.high - self.low) / 2 / abs(self.mean) if self.mean else math.inf

    def widened(self, between_runs: float) -> "Estimate":
        """The interval with what no single run can see: the standard deviation between runs, as a ratio of the mean.

        Combined as independent uncertainties are (GUM, 5.1.2: the root of the sum of squares), each at 95 %.
        """
        half = math.hypot((self.high - self.low) / 2, _Z_95 * between_runs * self.mean)
        return replace(self, low=self.mean - half, high=self.mean + half)


def estimate_mean(values: Sequence[float]) -> Estimate:
    """The mean of at least two independent values with its 95 % Student interval."""
    count = len(values)
    if count < 2:
        raise ValueError("an interval needs at least two values")
    mean = math.fsum(values) / count
    variance = math.fsum((value - mean) ** 2 for value in values) / (count - 1)
    half = student_t(count - 1) * math.sqrt(variance / count)
    return Estimate(mean, mean - half, mean + half, math.sqrt(variance) / abs(mean) if mean else math.inf, count)


def estimate_series(values: Sequence[float]) -> Estimate:
    """The mean of values taken one after the other, where a machine's mood makes neighbours alike.

    Two ways to see that, and the wider interval counts. The series is cut into parts, and Student's interval is that of
    their means: whatever lasts longer than a window makes them differ. And alike neighbours say less than independent
    values: the interval is that of as many independent ones as they are worth.
    """
    plain = estimate_mean(values)
    half = max(_half_by_parts(values), _half_by_neighbours(values, plain))
    return Estimate(plain.mean, plain.mean - half, plain.mean + half, plain.cv, len(values))


def parts_of(count: int) -> int:
    """How many parts a series of that length is cut into: of at least two values, where there are enough."""
    return min(PARTS, count // 2) if count >= PARTS else count


def _half_by_parts(values: Sequence[float]) -> float:
    count, parts = len(values), parts_of(len(values))
    edges = [round(part * count / parts) for part in range(parts + 1)]
    found = estimate_mean([math.fsum(values[begin:end]) / (end - begin) for begin, end in itertools.pairwise(edges)])
    return (found.high - found.low) / 2


def _half_by_neighbours(values: Sequence[float], plain: Estimate) -> float:
    # What is seen of the likeness in a short series is too little, so it is corrected upwards.
    likeness = _likeness(values, plain.mean)
    worth = max(2.0, plain.samples * (1 - likeness) / (1 + likeness))
    spread = plain.cv * abs(plain.mean) if plain.mean else (plain.high - plain.low) / 2
    return student_t(max(_LEAST_FREEDOM, round(worth) - 1)) * spread / math.sqrt(worth)


def _likeness(values: Sequence[float], mean: float) -> float:
    """The correlation of neighbours, from none to nearly whole, freed from the bias of short series."""
    total = math.fsum((value - mean) ** 2 for value in values)
    if total == 0 or len(values) < 4:
        return 0.0
    seen = math.fsum((a - mean) * (b - mean) for a, b in itertools.pairwise(values)) / total
    # Neighbours that are truly alike show up; what chance alone makes of independent ones does not count.
    if seen * math.sqrt(len(values)) < 1:
        return 0.0
    return min(0.9, seen + (1 + 4 * seen) / len(values))


def percentile(values: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile: a value that was really seen."""
    if not values:
        raise ValueError("a percentile needs at least one value")
    ordered = sorted(values)
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]


def percentile_interval(values: Sequence[float], percent: float) -> tuple[float, float] | None:
    """The 95 % interval of a percentile by order statistics, whatever the distribution; None with too few values."""
    count = len(values)
    share = percent / 100
    spread = _Z_95 * math.sqrt(count * share * (1 - share))
    low, high = math.floor(count * share - spread), math.ceil(count * share + spread)
    if low < 1 or high > count:
        return None
    ordered = sorted(values)
    return ordered[low - 1], ordered[high - 1]


@functools.cache
def student_t(degrees_of_freedom: int, confidence: float = CONFIDENCE) -> float:
    """The two-sided Student quantile: this many standard errors either side hold the mean `confidence` of the time."""
    if degrees_of_freedom < 1:
        raise ValueError("Student's distribution needs at least one degree of freedom")
    low, high = 0.0, 1e6
    for _ in range(200):
        middle = (low + high) / 2
        if _within(middle, degrees_of_freedom) < confidence:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _within(t: float, dof: int) -> float:
    """The probability of [-t, t]: 1 - I_x(dof/2, 1/2) at x = dof / (dof + t²)."""
    return 1 - _incomplete_beta(dof / (dof + t * t), dof / 2, 0.5)


def _incomplete_beta(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function."""
    if x <= 0:
        return 0.0
    if x >= 1:
        return 1.0
    if x > (a + 1) / (a + b + 2):
        # The continued fraction converges fast on the near side only; the function is symmetric.
        return 1 - _incomplete_beta(1 - x, b, a)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)) / a
    return front * _beta_fraction(x, a, b)


def _beta_fraction(x: float, a: float, b: float) -> float:
    """Lentz's evaluation of the continued fraction of the incomplete beta function."""
    tiny = 1e-300
    fraction, c, d = 1.0, 1.0, 0.0
    for step in range(400):
        m = step // 2
        if step == 0:
            term = 1.0
        elif step % 2 == 0:
            term = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        else:
            term = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d = 1 / _away_from_zero(1 + term * d, tiny)
        c = _away_from_zero(1 + term / c, tiny)
        fraction *= c * d
        if step and abs(1 - c * d) < 1e-15:
            break
    return fraction - 1


def _away_from_zero(value: float, tiny: float) -> float:
    return value if abs(value) > tiny else tiny
