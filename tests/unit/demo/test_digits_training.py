"""The committed networks are what the script trains, and their errors differ beyond chance."""

import math
from functools import cache

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from demo.digits import TRAINING_DIGITS, split_digits
from demo.train_digits import REPOSITORY, run_network, train_family

_SIZES = ("digits-small", "digits-medium", "digits-large")


@cache
def _wrong(name: str) -> NDArray[np.bool_]:
    test = split_digits().test
    committed = onnx.load(REPOSITORY / name / "1" / "model.onnx")
    wrong: NDArray[np.bool_] = run_network(committed, test.pixels).argmax(axis=1) != test.labels
    return wrong


def test_no_digit_is_in_both_parts() -> None:
    split = split_digits()
    assert (len(split.train), len(split.test)) == (TRAINING_DIGITS, 1797 - TRAINING_DIGITS)
    trained = {row.tobytes() for row in split.train.pixels}
    assert not any(row.tobytes() in trained for row in split.test.pixels)


def test_the_script_reproduces_the_committed_files() -> None:
    pixels = split_digits().test.pixels
    for name, network in train_family().items():
        committed = run_network(onnx.load(REPOSITORY / name / "1" / "model.onnx"), pixels)
        trained = run_network(network, pixels)
        # Other processors round otherwise; what is predicted stays.
        np.testing.assert_allclose(trained, committed, atol=0.02, err_msg=name)
        assert (trained.argmax(axis=1) != committed.argmax(axis=1)).sum() <= 2, name


@pytest.mark.parametrize("name", _SIZES)
def test_the_files_are_small(name: str) -> None:
    assert (REPOSITORY / name / "1" / "model.onnx").stat().st_size < 400_000


@pytest.mark.parametrize(("worse", "better"), [("digits-small", "digits-medium"), ("digits-medium", "digits-large")])
def test_a_larger_size_errs_less_beyond_chance(worse: str, better: str) -> None:
    """McNemar's exact test on the digits that only one of the two gets right."""
    only_worse = int((_wrong(worse) & ~_wrong(better)).sum())
    only_better = int((_wrong(better) & ~_wrong(worse)).sum())
    discordant = only_worse + only_better
    tail = sum(math.comb(discordant, k) for k in range(only_better + 1)) / 2**discordant
    assert only_worse > only_better
    assert 2 * tail < 0.001
