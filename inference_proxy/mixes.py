"""Splits requests over a mix by weight, with low discrepancy: after n requests no variant is a whole one off."""

from collections.abc import Mapping


class Splitter:
    """Gives each variant credit by its weight; the one with the most credit serves and pays one request for it."""

    def __init__(self) -> None:
        self._weights: Mapping[str, float] = {}
        self._credit: dict[str, float] = {}

    @property
    def weights(self) -> Mapping[str, float]:
        """The mix."""
        return self._weights

    def use(self, weights: Mapping[str, float]) -> None:
        """Takes a new mix; credit is kept, so that often-changed mixes still come out right over time."""
        self._weights = weights
        # A variant that left the mix cannot serve its credit any more, nor owe any.
        self._credit = {variant: self._credit.get(variant, 0.0) for variant in weights}

    def next(self) -> str:
        """The variant of the next request; the first of equals in the mix's order."""
        for variant, weight in self._weights.items():
            self._credit[variant] += weight
        chosen = self.foremost()
        self._credit[chosen] -= 1.0
        return chosen

    def foremost(self) -> str:
        """The variant that is owed the most, without giving it a request."""
        return max(self._credit, key=self._credit.__getitem__)
