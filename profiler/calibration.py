"""What each model really draws, from a device's joules and the models' compute times while they serve: pure.

Over every interval, joules = idle watts x seconds + sum over models of (watts above idle x compute seconds), or of
(joules x inferences) where the meter counts CPU time, which does not pass while a model waits for a core. Many
intervals with a changing mix determine what each draws; intervals in which all loads rise and fall together do not, and
then the answer is that it cannot be told.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from profiler.statistics import student_t

_ENTANGLED = 100.0
"""Variance inflation from which a load counts as moving with the others: about a tenth of it moves alone."""
_SURE = 0.10
"""Half the 95 % interval as a ratio, beyond which a figure is too vague to compare."""

_ODD, _ODD_AT_MOST, _PASSES = 6.0, 0.10, 3
"""Intervals beyond six robust standard deviations are set aside, up to a tenth of all."""
_MAD_TO_SIGMA = 1.4826

Activity = Literal["compute_s", "inferences"]
"""What a model's draw grows with."""

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """What happened between two looks at Triton and at the meter."""

    seconds: float
    joules: float
    compute_s: Mapping[str, float]
    """Per model: the seconds in which its instances computed, each execution counted once."""
    inferences: Mapping[str, float]
    executions: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModelEnergy:
    """What a model drew above idle. `why_not` is empty where that can be told."""

    above_idle_mj: float
    """Per inference, at the batch sizes it was served with."""
    total_mj: float
    """With the idle draw during its own compute time added, as profiling one model alone would see it."""
    half_width: float
    """Half the 95 % interval of `above_idle_mj`, as a ratio of it."""
    batch: float
    """Mean inferences per execution."""
    why_not: str = ""


@dataclass(frozen=True, slots=True)
class Calibration:
    """The device at rest and every model that served."""

    idle_watts: float
    idle_standard_error: float
    models: Mapping[str, ModelEnergy]
    intervals: int
    condition: float
    why_not: str = ""
    odd: int = 0
    """Intervals set aside because something else happened in them: a first request, a model being loaded."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """Measured / catalogue, with its 95 % interval."""

    value: float
    low: float
    high: float
    basis: str
    """`above_idle` or `total`: like is compared with like."""

    def drifted(self, tolerance: float) -> bool:
        """Whether even the nearer end of the interval is off by more than the tolerance."""
        return self.low > 1 + tolerance or self.high < 1 / (1 + tolerance)


def calibrate(intervals: Sequence[Interval], by: Activity = "compute_s") -> Calibration:
    """Least squares over the intervals, with what can and what cannot be told of each model."""
    models = sorted({m for interval in intervals for m, s in interval.compute_s.items() if s > 0})
    unknowns = len(models) + 1
    if len(intervals) < unknowns + 3:
        why = f"{len(intervals)} intervals are too few to tell {len(models)} models and the idle draw apart"
        return Calibration(0.0, 0.0, {}, len(intervals), float("inf"), why)
    fit, kept = _fit(intervals, models, by), tuple(intervals)
    for _ in range(_PASSES):
        ordinary = [interval for interval, odd in zip(kept, fit.odd, strict=True) if not odd]
        if len(ordinary) == len(kept) or len(ordinary) < (1 - _ODD_AT_MOST) * len(intervals):
            break
        fit, kept = _fit(ordinary, models, by), tuple(ordinary)
    energies = {
        model: _model_energy(kept, model, by, fit, index, _entangled(fit, models, index))
        for index, model in enumerate(models, start=1)
    }
    idle_watts, idle_error = float(fit.slopes[0]), float(fit.errors[0])
    return Calibration(idle_watts, idle_error, energies, len(kept), fit.condition, odd=len(intervals) - len(kept))


def compare(energy: ModelEnergy, above_idle_mj: float | None, total_mj: float) -> Ratio | None:
    """Measured / catalogue; None where the measurement cannot tell."""
    if energy.why_not:
        return None
    by_idle = above_idle_mj is not None and above_idle_mj > 0
    expected = above_idle_mj if by_idle and above_idle_mj is not None else total_mj
    value = (energy.above_idle_mj if by_idle else energy.total_mj) / expected
    half = energy.half_width * energy.above_idle_mj / expected
    return Ratio(value, value - half, value + half, "above_idle" if by_idle else "total")


@dataclass(frozen=True, slots=True)
class _Fit:
    """A least squares solution: the idle draw first, then the models in their order."""

    slopes: Matrix
    errors: Matrix
    half_widths: Matrix
    inflation: Matrix
    likeness: Matrix
    condition: float
    odd: npt.NDArray[np.bool_]
    """Intervals so far from the fit that something else happened in them."""


def _fit(intervals: Sequence[Interval], models: Sequence[str], by: Activity) -> _Fit:
    # Longer intervals count for more: their noise grows slower than they do.
    weights = np.array([interval.seconds**-0.5 for interval in intervals])
    activity = [[i.seconds, *(getattr(i, by).get(m, 0.0) for m in models)] for i in intervals]
    columns: Matrix = np.array(activity) * weights[:, None]
    joules = np.array([interval.joules for interval in intervals]) * weights
    scale = np.maximum(np.linalg.norm(columns, axis=0), np.finfo(float).tiny)
    unit: Matrix = columns / scale
    # Where columns are as good as equal the inverse is noise; the pseudo-inverse stays finite, to be judged below.
    gram = np.linalg.pinv(unit.T @ unit, rcond=1e-12)
    determined = np.linalg.matrix_rank(unit, tol=1e-6) == unit.shape[1]
    solution = gram @ (unit.T @ joules)
    residuals = joules - unit @ solution
    freedom = len(intervals) - unit.shape[1]
    errors = np.sqrt(float(residuals @ residuals) / freedom * np.diag(gram)) / scale
    spread = float(np.median(np.abs(residuals))) * _MAD_TO_SIGMA
    return _Fit(
        slopes=solution / scale,
        errors=errors,
        half_widths=student_t(freedom) * errors,
        inflation=np.diag(gram) if determined else np.full(unit.shape[1], np.inf),
        likeness=np.abs(unit.T @ unit),
        condition=float(np.linalg.cond(unit)),
        odd=np.abs(residuals) > max(_ODD * spread, 1e-9 * float(np.abs(joules).max())),
    )


def _entangled(fit: _Fit, models: Sequence[str], index: int) -> str:
    """Why a model's share cannot be separated from the others'; empty when it can."""
    if fit.inflation[index] <= _ENTANGLED:
        return ""
    # The single other column that is most like it; the first one, time itself, means that its load did not change.
    nearest = int(np.argmax(np.where(np.arange(len(fit.slopes)) == index, -1.0, fit.likeness[index])))
    if nearest == 0:
        return "its load hardly changed, so its draw cannot be told from the device's at rest"
    return (
        f"its load rose and fell with that of {models[nearest - 1]}: the mix has not varied enough to tell them apart"
    )


def _model_energy(
    intervals: Sequence[Interval],
    model: str,
    by: Activity,
    fit: _Fit,
    index: int,
    entangled: str,
) -> ModelEnergy:
    slope, idle_watts = float(fit.slopes[index]), max(0.0, float(fit.slopes[0]))
    compute = sum(interval.compute_s.get(model, 0.0) for interval in intervals)
    inferences = sum(interval.inferences.get(model, 0.0) for interval in intervals)
    executions = sum(interval.executions.get(model, 0.0) for interval in intervals)
    compute_s = compute / inferences if inferences else 0.0
    joules = slope * compute_s if by == "compute_s" else slope
    half = float(fit.half_widths[index]) / slope if slope > 0 else float("inf")
    return ModelEnergy(
        above_idle_mj=1000 * joules,
        total_mj=1000 * (joules + idle_watts * compute_s),
        half_width=half,
        batch=inferences / executions if executions else 1.0,
        why_not=entangled or _too_vague(inferences, half),
    )


def _too_vague(inferences: float, half_width: float) -> str:
    if inferences <= 0:
        return "it answered no inference"
    if half_width > _SURE:
        shown = f"±{100 * half_width:.0f} %" if np.isfinite(half_width) else "not at all"
        return f"its draw is known only to {shown}: more intervals with a changing mix are needed"
    return ""
