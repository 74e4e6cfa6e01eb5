"""What was served since the process began, as plain numbers that a scrape reads: nothing is locked per request."""

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field

LATENCY_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


@dataclass(slots=True)
class Tally:
    """The sums of one (family, variant)."""

    family: str
    variant: str
    inferences: int = 0
    requests: int = 0
    energy_uj: int = 0
    emissions_ng: int = 0
    unpriced_uj: int = 0
    """Energy used while no intensity was known; its grams are in no sum."""
    latency_s: float = 0.0
    """Sum over the requests."""
    latencies: list[int] = field(default_factory=lambda: [0] * (len(LATENCY_BOUNDS_S) + 1))
    """Requests by the first bound that is not below their latency."""

    def took(self, latency_s: float) -> None:
        """Counts the time that Triton took for one request."""
        self.latency_s += latency_s
        self.latencies[bisect_left(LATENCY_BOUNDS_S, latency_s)] += 1


@dataclass(slots=True)
class Tallies:
    """Every tally; labels come from the catalogue and from reason codes alone."""

    served: dict[tuple[str, str], Tally] = field(default_factory=dict)
    fallbacks: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Requests by (family, reason) where another variant than the decided one served."""
    followed: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """Inferences by (family, variant, decision) since the selector was last told."""
    in_flight: int = 0
    refused: int = 0
    """Requests beyond the admission limit."""
    unrecorded: int = 0
    """Answers withheld because the spool's disk did not take their record."""

    def of(self, family: str, variant: str) -> Tally:
        """The tally of a family's variant; family is empty for models called by their own name."""
        return self.served.setdefault((family, variant), Tally(family, variant))
