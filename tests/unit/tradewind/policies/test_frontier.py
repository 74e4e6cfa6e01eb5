"""The frontier is the convex hull; a price gives thresholds in fixed ratios."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.tradewind.policies.situations import POOL
from tradewind.catalogue import OperatingPoint
from tradewind.catalogues import published_catalogue
from tradewind.policies.frontier import frontier_of
from tradewind.policies.intensity_memory import bin_of, price_for_error, step_weights


def test_dominated_and_bulging_variants_are_left_out() -> None:
    family = published_catalogue().family("resnet").variants
    every = tuple(
        OperatingPoint(variant=name, energy_mj=variant.energy_mj.value, error=variant.error.value)
        for name, variant in family.items()
    )
    ordered = tuple(sorted(every, key=lambda point: point.energy_mj))
    assert frontier_of(ordered).variants == ("alexnet", "resnet34", "resnet50", "resnet101", "resnet152")


def test_the_papers_thresholds_stand_in_a_fixed_ratio() -> None:
    frontier = frontier_of(POOL)
    for price in (8.0, 12.0):
        ratio = frontier.threshold_g_per_kwh(1, price) / frontier.threshold_g_per_kwh(0, price)
        assert ratio == pytest.approx(0.643, abs=5e-4)


# Catalogues have figures of a few digits; errors of 5e-324 points only show where logarithms end.
POINTS = st.lists(
    st.tuples(st.floats(1, 1e4).map(lambda mj: round(mj, 6)), st.floats(0, 100).map(lambda error: round(error, 6))),
    min_size=1,
    max_size=8,
)


@given(points=POINTS)
def test_the_hull_is_convex_and_below_every_point(points: list[tuple[float, float]]) -> None:
    pool = tuple(OperatingPoint(variant=f"v{i}", energy_mj=e, error=r) for i, (e, r) in enumerate(sorted(points)))
    frontier = frontier_of(pool)
    assert np.all(np.diff(frontier.energies_mj) > 0)
    assert np.all(np.diff(frontier.errors) < 0)
    assert np.all(np.diff(frontier.log_ratios) < 1e-9)
    for point in pool:
        reached = float(np.interp(point.energy_mj, frontier.energies_mj, frontier.errors))
        assert point.error >= reached - 1e-9 * max(1.0, reached)


@given(
    counts=st.dictionaries(st.floats(1, 2000), st.floats(0.1, 10), min_size=1, max_size=30),
    target=st.floats(5.954, 7.138),
)
def test_the_price_meets_the_error_over_the_memory(counts: dict[float, float], target: float) -> None:
    frontier, histogram = frontier_of(POOL), np.zeros(300)
    for intensity, count in counts.items():
        histogram[bin_of(intensity)] += count
    price = price_for_error(histogram, frontier, target)
    error = sum(
        count
        * sum(
            share.weight * dict(zip(frontier.variants, frontier.errors, strict=True))[share.variant]
            for share in frontier.mix(step_weights(frontier, price, intensity))
        )
        for intensity, count in counts.items()
    ) / sum(counts.values())
    assert error == pytest.approx(target, abs=1e-6)
