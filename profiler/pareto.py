"""Which variants are worth serving: no other has both less energy and less error. Pure."""

from collections.abc import Mapping


def dominated(points: Mapping[str, tuple[float, float]]) -> dict[str, str]:
    """Each variant that another equals or beats in energy and in error, and the one that does."""
    found: dict[str, str] = {}
    for worse, (energy, error) in points.items():
        for better, (less_energy, less_error) in sorted(points.items(), key=lambda item: item[1]):
            if less_energy <= energy and less_error <= error and (less_energy, less_error) != (energy, error):
                found[worse] = better
                break
    return found


def front(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """The variants that none dominates, in order of energy."""
    out = dominated(points)
    return sorted((name for name in points if name not in out), key=lambda name: (points[name], name))
