"""What was served since the process began, as plain numbers that a scrape reads: nothing is locked per request."""

from collections import Counter
from dataclasses import dataclass, field


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


@dataclass(slots=True)
class Tallies:
    """Every tally; labels come from the catalogue and from reason codes alone."""

    served: dict[tuple[str, str], Tally] = field(default_factory=dict)
    fallbacks: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Requests by (family, reason) where another variant than the decided one served."""
    unrecorded: int = 0
    """Answers withheld because the spool's disk did not take their record."""

    def of(self, family: str, variant: str) -> Tally:
        """The tally of a family's variant; family is empty for models called by their own name."""
        return self.served.setdefault((family, variant), Tally(family, variant))
