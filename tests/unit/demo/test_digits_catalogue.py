"""The shipped digits catalogue: honest about its figures, and spaced so that every size has its hours."""

from demo.digits import split_digits
from demo.measure_digits import CATALOGUE, FAMILY, SIZES
from tradewind.catalogue import Provenance, load_catalogue
from tradewind.policies.proportional import nearest_in_energy


def test_every_figure_says_where_it_comes_from() -> None:
    family = load_catalogue(CATALOGUE).family(FAMILY)
    for size in SIZES:
        variant = family.variants[size]
        assert variant.energy_mj.provenance is Provenance.ESTIMATED
        assert variant.error.provenance is Provenance.MEASURED
        assert variant.error.samples == len(split_digits().test)
        assert variant.p95_latency_ms is not None
        assert variant.p95_latency_ms.provenance is Provenance.MEASURED


def test_the_sizes_trade_energy_for_error() -> None:
    catalogue = load_catalogue(CATALOGUE)
    points = catalogue.family(FAMILY).permitted
    assert tuple(point.variant for point in points) == SIZES
    assert points[-1].energy_mj >= 5 * points[0].energy_mj
    assert [point.error for point in points] == sorted((point.error for point in points), reverse=True)
    assert not catalogue.warnings


def test_every_size_has_a_fair_part_of_the_energy_scale() -> None:
    points = load_catalogue(CATALOGUE).family(FAMILY).permitted
    low, high = points[0].energy_mj, points[-1].energy_mj
    chosen = [nearest_in_energy(points, low + (high - low) * step / 100).variant for step in range(101)]
    assert all(chosen.count(size) >= 15 for size in SIZES)
