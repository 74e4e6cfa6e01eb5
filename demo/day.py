"""What a day brought, per half-hour of the trace and variant: what clients saw, and what the ledger wrote down."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np

from simulator.optimum import optimum_of
from tradewind.catalogue import OperatingPoint
from tradewind.units import NG_PER_G, emissions_g

_MG_PER_G = 1_000
_UJ_PER_MJ = 1_000


@dataclass(frozen=True)
class Hour:
    """A moment of the trace: its intensity, the range it stands in, and the variant that serves."""

    recorded_at: datetime
    intensity_g_per_kwh: float
    low_g_per_kwh: float
    high_g_per_kwh: float
    variant: str
    explanation: str


@dataclass
class Tally:
    """What the clients saw, summed up as it happens."""

    requests: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    failed: int = 0
    energy_uj: int = 0
    emissions_ng: int = 0
    unpriced: int = 0
    """Answers whose receipt knew no intensity."""

    def add(self, variant: str, *, wrong: bool, energy_uj: int, emissions_ng: int | None) -> None:
        """One answer."""
        self.requests[variant] += 1
        self.wrong[variant] += wrong
        self.energy_uj += energy_uj
        if emissions_ng is None:
            self.unpriced += 1
        else:
            self.emissions_ng += emissions_ng

    @property
    def served(self) -> int:
        """Answers of every variant."""
        return self.requests.total()

    @property
    def observed_error_pct(self) -> float | None:
        """Share of wrong answers; none before the first."""
        return 100 * self.wrong.total() / self.served if self.served else None

    @property
    def grams(self) -> float:
        """Emissions by the receipts."""
        return self.emissions_ng / NG_PER_G


@dataclass(frozen=True)
class Charge:
    """One row of the ledger: so many inferences of a variant under one intensity."""

    begins: datetime
    variant: str
    inferences: int
    energy_uj: int
    intensity_g_per_kwh: float


@dataclass(frozen=True)
class Choice:
    """What one way of choosing comes to over the day."""

    name: str
    error_pct: float
    energy_j: float
    emissions_mg: float
    reduction_pct: float | None = None
    """By how much it errs less than the smallest, relative."""
    extra_mg: float | None = None

    @property
    def efficiency_pct_per_mg(self) -> float | None:
        """Carbon emission efficiency: relative error reduction per extra milligram, both against the smallest."""
        if self.reduction_pct is None or not self.extra_mg:
            return None
        return self.reduction_pct / self.extra_mg


def compare_choices(charges: Iterable[Charge], pool: tuple[OperatingPoint, ...]) -> tuple[Choice, ...]:
    """The day as it was, with the smallest or the largest alone, and with foresight at the same error."""
    rows = list(charges)
    errors = {point.variant: point.error for point in pool}
    inferences = sum(row.inferences for row in rows)
    error = sum(errors[row.variant] * row.inferences for row in rows) / inferences
    energy_uj = sum(row.energy_uj for row in rows)
    grams = sum(emissions_g(row.energy_uj, row.intensity_g_per_kwh) for row in rows)
    smallest, largest = _alone("always smallest", rows, pool[0]), _alone("always largest", rows, pool[-1])
    served = Choice("tradewind", error, energy_uj / 1e6, grams * _MG_PER_G)
    foresight = _clairvoyant(rows, pool, error)
    return (smallest, *(_against(smallest, each) for each in (served, largest, foresight)))


def _alone(name: str, rows: list[Charge], point: OperatingPoint) -> Choice:
    energy_j = sum(row.inferences for row in rows) * point.energy_mj / 1_000
    grams = sum(emissions_g(row.inferences * point.energy_mj * _UJ_PER_MJ, row.intensity_g_per_kwh) for row in rows)
    return Choice(name, point.error, energy_j, grams * _MG_PER_G)


def _clairvoyant(rows: list[Charge], pool: tuple[OperatingPoint, ...], error: float) -> Choice:
    by_intensity: Counter[float] = Counter()
    for row in rows:
        by_intensity[row.intensity_g_per_kwh] += row.inferences
    intensities = np.array(sorted(by_intensity))
    requests = np.array([by_intensity[each] for each in intensities], dtype=np.float64)
    optimum = optimum_of(intensities, requests, pool)
    weights = optimum.weights_for_error(error, intensities, pool)
    energies = weights @ np.array([point.energy_mj for point in pool])
    energy_j = float(requests @ energies) / 1_000
    return Choice("clairvoyant, same error", error, energy_j, optimum.grams_for_error(error) * _MG_PER_G)


def _against(smallest: Choice, choice: Choice) -> Choice:
    return Choice(
        choice.name,
        choice.error_pct,
        choice.energy_j,
        choice.emissions_mg,
        100 * (smallest.error_pct - choice.error_pct) / smallest.error_pct,
        choice.emissions_mg - smallest.emissions_mg,
    )


@dataclass(frozen=True)
class Clock:
    """Trace time and real time of one replay."""

    day_begins: datetime
    """In the trace."""
    began: datetime
    """When that was, on the real clock."""
    speed: float

    def recorded(self, real: datetime) -> datetime:
        """The trace's time at a real time."""
        return self.day_begins + (real - self.began) * self.speed

    def real(self, recorded: datetime) -> datetime:
        """The real time of a moment of the trace."""
        return self.began + (recorded - self.day_begins) / self.speed


def disagreements(ledger: Mapping[str, int], executed: Mapping[str, int]) -> list[str]:
    """Variants whose inferences in the ledger differ from Triton's own count, as sentences."""
    return [
        f"{variant}: the ledger has {ledger.get(variant, 0)} inferences, Triton counted {executed.get(variant, 0)}"
        for variant in sorted({*ledger, *executed})
        if ledger.get(variant, 0) != executed.get(variant, 0)
    ]


DAY = timedelta(days=1)
