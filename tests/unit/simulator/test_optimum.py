"""The greedy optimum is the linear program's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from simulator.optimum import MJ_PER_KWH, optimum_of
from tradewind.catalogue import OperatingPoint

POOL = tuple(
    OperatingPoint(variant=name, energy_mj=energy, error=error)
    for name, energy, error in [
        ("small", 400.0, 7.0),
        ("odd", 700.0, 6.9),
        ("middle", 800.0, 6.5),
        ("large", 1200.0, 6.0),
    ]
)


@settings(deadline=None, max_examples=60)
@given(
    g_per_kwh=st.lists(st.integers(20, 500).map(float), min_size=1, max_size=8),
    loads=st.lists(st.integers(0, 9).map(float), min_size=8, max_size=8),
    part=st.floats(0.0, 1.0),
)
def test_against_a_solver(g_per_kwh: list[float], loads: list[float], part: float) -> None:
    intensities, requests = np.array(g_per_kwh), np.array(loads[: len(g_per_kwh)])
    if requests.sum() == 0:
        requests[0] = 1.0
    target = 6.0 + part
    energies, errors = np.array([p.energy_mj for p in POOL]), np.array([p.error for p in POOL])
    costs = np.outer(intensities * requests, energies).ravel() / MJ_PER_KWH * 1e6
    rows = np.kron(np.eye(len(requests)), np.ones(len(POOL)))
    mean = np.outer(requests, errors).ravel() / requests.sum()
    solved = linprog(costs, A_ub=[mean], b_ub=[target], A_eq=rows, b_eq=np.ones(len(requests)))
    optimum = optimum_of(intensities, requests, POOL)
    assert optimum.grams_for_error(target) * 1e6 == pytest.approx(solved.fun, rel=1e-6)
    assert optimum.error_for_grams(optimum.grams_for_error(target)) == pytest.approx(target, abs=1e-9)
    weights = optimum.weights_for_error(target, intensities, POOL)
    assert weights.sum(axis=1) == pytest.approx(np.ones(len(requests)))
    assert float((weights @ errors) @ requests / requests.sum()) == pytest.approx(target, abs=1e-9)
    assert float((weights @ energies) @ (requests * intensities)) / MJ_PER_KWH * 1e6 == pytest.approx(
        solved.fun, rel=1e-6
    )


def test_by_hand() -> None:
    """Two intervals, 100 and 300 g/kWh; small 400 mJ 7 %, large 1200 mJ 6 %; mean 6.25 % means 1.5 upgrades."""
    pool = (POOL[0], POOL[3])
    optimum = optimum_of(np.array([100.0, 300.0]), np.ones(2), pool)
    expected_mj_g = 1200 * 100 + (400 + 0.5 * 800) * 300
    assert optimum.grams_for_error(6.25) == pytest.approx(expected_mj_g / 3.6e9)
    assert optimum.weights_for_error(6.25, np.array([100.0, 300.0]), pool).tolist() == [[0.0, 1.0], [0.5, 0.5]]


def test_equal_intensities_are_taken_alike() -> None:
    weights = optimum_of(np.full(4, 200.0), np.ones(4), (POOL[0], POOL[3])).weights_for_error(
        6.25, np.full(4, 200.0), (POOL[0], POOL[3])
    )
    assert weights == pytest.approx(np.tile([0.25, 0.75], (4, 1)))
