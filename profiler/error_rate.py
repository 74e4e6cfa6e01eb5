"""How often a model is wrong: top-1 and top-k error from its scores and the labels."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import tritonclient.grpc as triton

from profiler.inputs import Inputs
from profiler.load import infer_inputs
from profiler.served_model import ServedModel
from tradewind.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class ErrorRate:
    """Wrong answers among the labelled examples, by k."""

    wrong: dict[int, int]
    examples: int

    def percent(self, k: int) -> float:
        """Error in percent when any of the k highest scores may be right."""
        return 100 * self.wrong[k] / self.examples

    def interval_95(self, k: int) -> tuple[float, float]:
        """Wilson's interval, in percent: the labelled examples are a sample of what is to come."""
        z, n = 1.959963984540054, self.examples
        share = self.wrong[k] / n
        centre = (share + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
        return 100 * max(0.0, centre - half), 100 * min(1.0, centre + half)


def wrong_among(scores: npt.NDArray[Any], labels: npt.NDArray[Any], k: int) -> int:
    """How many labels are not among the k highest scores; of equal scores the lower class counts as higher."""
    own = np.take_along_axis(scores, labels[:, None], axis=1)
    classes = np.arange(scores.shape[1])[None, :]
    ahead = (scores > own) | ((scores == own) & (classes < labels[:, None]))
    # A score that is not a number beats nothing, and an own score that is not one never counts as right.
    return int(np.sum((ahead.sum(axis=1) >= k) | np.isnan(own[:, 0].astype(np.float64))))


def evaluate(
    client: triton.InferenceServerClient, model: ServedModel, inputs: Inputs, ks: tuple[int, ...], output: str = ""
) -> ErrorRate:
    """The model's error over all labelled inputs, answered by Triton."""
    if inputs.labels is None:
        raise InvalidInput("an error needs labels: give them with --labels")
    name = output or model.outputs[0].name
    if name not in {tensor.name for tensor in model.outputs}:
        raise InvalidInput(f"{model.name} has no output {name}; it has {', '.join(t.name for t in model.outputs)}")
    wrong = dict.fromkeys(ks, 0)
    size = min(model.max_batch, 64) if model.batched else 1
    for start in range(0, inputs.count, size):
        batch = inputs.batch(start, min(size, inputs.count - start))
        answer = client.infer(
            model.name,
            infer_inputs(model, batch),
            model.version,
            outputs=[triton.InferRequestedOutput(name)],
        )
        scores = answer.as_numpy(name)
        labels = inputs.labels[start : start + size]
        _check_scores(scores, labels, model, name)
        scores = scores.reshape(len(labels), -1)
        for k in ks:
            wrong[k] += wrong_among(scores, labels, k)
    return ErrorRate(wrong, inputs.count)


def _check_scores(scores: Any, labels: npt.NDArray[Any], model: ServedModel, name: str) -> None:
    if scores is None or scores.size == 0 or scores.size % len(labels):
        raise InvalidInput(f"{model.name} answered without scores in {name}; look at the backend's log")
    classes = scores.size // len(labels)
    if not (labels.min() >= 0 and labels.max() < classes):
        raise InvalidInput(
            f"--labels go from {labels.min()} to {labels.max()}, {model.name} knows {classes} classes: "
            f"count them from 0"
        )
