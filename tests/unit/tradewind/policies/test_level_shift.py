"""A level that jumps for good is noticed within hours; a zone that always leaps must leap further."""

import numpy as np
import pytest

from tradewind.policies.level_shift import LevelShift, initial_watch, watch_level

DAY_S, HOUR_S = 86_400.0, 3_600.0


def alarms(values: list[float]) -> list[tuple[int, LevelShift]]:
    """The shifts told of, with the hour of telling."""
    watch, told = initial_watch(), []
    for hour, value in enumerate(values):
        shift, watch = watch_level(watch, hour * HOUR_S, HOUR_S, value, DAY_S)
        if shift is not None:
            told.append((hour, shift))
    return told


def calm(days: int) -> list[float]:
    """A daily wave with a little noise."""
    generator = np.random.default_rng(7)
    hours = np.arange(days * 24)
    wave = 300 + 60 * np.sin(2 * np.pi * hours / 24) + generator.normal(0, 3, len(hours))
    return [float(value) for value in wave]


@pytest.mark.parametrize("factor", [1.5, 1 / 1.5, 2.0])
def test_a_jump_that_lasts_is_noticed_and_measured(factor: float) -> None:
    at = 20 * 24 + 5
    told = alarms([value * factor if hour >= at else value for hour, value in enumerate(calm(30))])
    assert [hour for hour, _ in told] == [at + 2]
    assert told[0][1].log_factor == pytest.approx(np.log(factor), abs=0.15)
    assert told[0][1].intervals_ago == 2


def test_a_calm_grid_and_a_lone_spike_are_no_jump() -> None:
    values = calm(30)
    assert alarms(values) == []
    values[500] *= 1.6
    assert alarms(values) == []


def test_a_zone_that_leaps_again_and_again_is_believed_less() -> None:
    """Up by half and down again every five days: only the first is told of, as none goes further."""
    values = [value * (1.5 if hour // 120 % 2 else 1.0) for hour, value in enumerate(calm(60))]
    assert len(alarms(values)) == 1
