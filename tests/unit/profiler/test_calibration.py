"""Known per-model energies come back from a synthetic feed; where they cannot, that is said."""

import dataclasses
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.calibration import Activity, Calibration, Interval, Ratio, calibrate, compare

IDLE_W = 25.0
WATTS = {"resnet50": 60.0, "resnet101": 75.0, "resnet152": 90.0}
COMPUTE_S = {"resnet50": 0.004, "resnet101": 0.007, "resnet152": 0.011}
SECONDS = 10.0

Mix = Callable[[random.Random], dict[str, float]]


def varying(rng: random.Random) -> dict[str, float]:
    """Inferences in ten seconds, each model's changing by itself."""
    return {"resnet50": rng.randint(50, 800), "resnet101": rng.randint(0, 400), "resnet152": rng.randint(0, 300)}


def constant(_rng: random.Random) -> dict[str, float]:
    return {"resnet50": 400.0, "resnet101": 200.0, "resnet152": 100.0}


def same_mix_other_load(rng: random.Random) -> dict[str, float]:
    load = rng.uniform(0.2, 1.0)
    return {model: count * load for model, count in constant(rng).items()}


def feed(mix: Mix, *, intervals: int = 60, noise: float = 0.01, seed: int = 1) -> list[Interval]:
    rng = random.Random(seed)
    made = []
    for _ in range(intervals):
        inferences = mix(rng)
        compute = {m: n * COMPUTE_S[m] * rng.gauss(1, noise / 2) for m, n in inferences.items()}
        joules = IDLE_W * SECONDS + sum(WATTS[m] * s for m, s in compute.items())
        made.append(Interval(SECONDS, joules * rng.gauss(1, noise), compute, inferences, inferences))
    return made


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("by", ["compute_s", "inferences"])
def test_a_varying_mix_gives_the_energies_back_within_two_percent(seed: int, by: Activity) -> None:
    found = calibrate(feed(varying, intervals=120, noise=0.005, seed=seed), by)
    assert found.idle_watts == pytest.approx(IDLE_W, rel=0.02)
    for model, watts in WATTS.items():
        energy = found.models[model]
        assert energy.why_not == ""
        assert energy.above_idle_mj == pytest.approx(1000 * watts * COMPUTE_S[model], rel=0.02)
        assert energy.total_mj == pytest.approx(1000 * (watts + IDLE_W) * COMPUTE_S[model], rel=0.02)
        assert energy.batch == 1


def test_its_intervals_hold_the_truth_as_often_as_they_say() -> None:
    held = told = 0
    for seed in range(200):
        for model, energy in calibrate(feed(varying, intervals=20, seed=seed)).models.items():
            told += 1
            truth = 1000 * WATTS[model] * COMPUTE_S[model]
            held += abs(energy.above_idle_mj - truth) <= energy.half_width * energy.above_idle_mj
    assert 0.91 <= held / told <= 0.98


@pytest.mark.parametrize("noise", [0.0, 0.001, 0.01, 0.05])
@pytest.mark.parametrize("mix", [constant, same_mix_other_load])
def test_a_constant_mix_cannot_be_told(mix: Mix, noise: float) -> None:
    found = calibrate(feed(mix, noise=noise))
    assert set(found.models) == set(WATTS)
    for energy in found.models.values():
        assert energy.why_not != ""
        assert compare(energy, 100.0, 200.0) is None


def test_it_says_which_models_move_together() -> None:
    def mix(rng: random.Random) -> dict[str, float]:
        both = rng.randint(10, 300)
        return {"resnet50": rng.randint(0, 900), "resnet101": both, "resnet152": both}

    found = calibrate(feed(mix))
    assert found.models["resnet50"].why_not == ""
    assert "resnet152" in found.models["resnet101"].why_not
    assert "resnet101" in found.models["resnet152"].why_not


def test_a_steady_model_beside_varying_ones_is_said() -> None:
    def mix(rng: random.Random) -> dict[str, float]:
        return varying(rng) | {"resnet50": 400}

    found = calibrate(feed(mix, noise=0.002))
    assert "hardly changed" in found.models["resnet50"].why_not
    assert found.models["resnet152"].why_not == ""


def test_an_interval_in_which_something_else_happened_is_set_aside() -> None:
    intervals = feed(varying, intervals=120, noise=0.005)
    intervals[0] = dataclasses.replace(intervals[0], joules=intervals[0].joules * 3)
    found = calibrate(intervals)
    assert (found.intervals, found.odd) == (119, 1)
    assert found.models["resnet50"].above_idle_mj == pytest.approx(240, rel=0.02)


def test_a_device_that_behaves_oddly_throughout_is_not_smoothed_over() -> None:
    intervals = [
        dataclasses.replace(interval, joules=interval.joules * (3 if i % 4 == 0 else 1))
        for i, interval in enumerate(feed(varying))
    ]
    found = calibrate(intervals)
    assert found.odd <= 6
    assert all(energy.why_not for energy in found.models.values())


def test_too_few_intervals_tell_nothing() -> None:
    found = calibrate(feed(varying, intervals=5))
    assert found.models == {}
    assert "too few" in found.why_not
    assert calibrate([]).why_not != ""


def test_noise_widens_until_nothing_is_told() -> None:
    found = calibrate(feed(varying, intervals=12, noise=0.5))
    assert all("known only to" in energy.why_not for energy in found.models.values())


def test_a_model_that_only_computed_and_never_answered_is_not_told() -> None:
    silent = [Interval(i.seconds, i.joules, i.compute_s, {**i.inferences, "resnet101": 0.0}) for i in feed(varying)]
    assert "no inference" in calibrate(silent).models["resnet101"].why_not


@given(st.integers(0, 10_000))
def test_whatever_the_feed_no_figure_is_far_off(seed: int) -> None:
    rng = random.Random(seed)
    limits = {model: (rng.uniform(0, 300), rng.uniform(0, 300)) for model in WATTS}

    def mix(within: random.Random) -> dict[str, float]:
        return {model: within.uniform(*sorted(span)) for model, span in limits.items()}

    for model, energy in calibrate(feed(mix, seed=seed, intervals=40, noise=0.003)).models.items():
        if not energy.why_not:
            assert energy.above_idle_mj == pytest.approx(1000 * WATTS[model] * COMPUTE_S[model], rel=0.2)


def one(model: str) -> tuple[Calibration, float]:
    return calibrate(feed(varying)), 1000 * WATTS[model] * COMPUTE_S[model]


def test_like_is_compared_with_like() -> None:
    found, above = one("resnet101")
    energy = found.models["resnet101"]
    ratio = compare(energy, above / 1.5, 5 * above)
    assert ratio is not None
    assert ratio.basis == "above_idle"
    assert ratio.value == pytest.approx(1.5, rel=0.02)
    assert ratio.low < ratio.value < ratio.high
    total = compare(energy, None, 1000 * (WATTS["resnet101"] + IDLE_W) * COMPUTE_S["resnet101"])
    assert total is not None
    assert total.basis == "total"
    assert total.value == pytest.approx(1.0, rel=0.02)


@pytest.mark.parametrize(
    ("low", "high", "drifted"),
    [(0.95, 1.05, False), (1.10, 1.30, False), (1.16, 1.30, True), (0.7, 0.8, True), (0.7, 0.9, False)],
)
def test_drift_is_said_only_when_sure(low: float, high: float, drifted: bool) -> None:
    assert Ratio((low + high) / 2, low, high, "total").drifted(0.15) is drifted
