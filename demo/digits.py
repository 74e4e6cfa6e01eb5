"""The handwritten digits of UCI (1797 images of 8 x 8 pixels, from scikit-learn) and their one fixed split.

A third trains and two thirds test, so that the differences between the family's errors are significant.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

Pixels = NDArray[np.float32]
Labels = NDArray[np.int64]

SIDE = 8
CLASSES = 10
TRAINING_DIGITS = 600
_SPLIT_SEED = 20231


@dataclass(frozen=True)
class Digits:
    """Images as rows of 64 pixels from 0 (paper) to 1 (ink), with what they show."""

    pixels: Pixels
    labels: Labels

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Split:
    """What trains and what tests; no digit is in both."""

    train: Digits
    test: Digits


@cache
def split_digits() -> Split:
    """The split that every figure of the family refers to."""
    data = load_digits()
    pixels, labels = (data.data / 16).astype(np.float32), data.target.astype(np.int64)
    order = np.random.default_rng(_SPLIT_SEED).permutation(len(labels))
    train, test = order[:TRAINING_DIGITS], order[TRAINING_DIGITS:]
    return Split(Digits(pixels[train], labels[train]), Digits(pixels[test], labels[test]))
