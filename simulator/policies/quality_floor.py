"""`quality-floor`: the least carbon above a floor of accuracy that slides down as the grid gets dirtier.

After Sprout (EMNLP 2024): min sum x_i E_i CI, subject to sum x_i q_i >= q0 (1 - xi x), with x the position of the
intensity in its range and q the accuracy. Sprout's xi is chosen by hand; here it is, unless given, such that the
floor slides over just the pool's span.
"""

from dataclasses import dataclass

from tradewind.decisions import DecisionReason
from tradewind.policies.frontier import frontier_of
from tradewind.policies.policy import Choice, Situation, State
from tradewind.policies.proportional import range_position


@dataclass(frozen=True, slots=True)
class QualityFloor:
    """A fractional mix that just meets the floor."""

    xi: float | None = None
    """By what part of the best accuracy the floor slides from the cleanest to the dirtiest hour."""
    name: str = "quality-floor"

    def initial_state(self) -> State:
        """It has no memory."""
        return {}

    def select_mix(self, situation: Situation, state: State) -> tuple[Choice, State]:
        """The mix of the two neighbouring variants that meets the floor."""
        frontier = frontier_of(situation.pool)
        errors = [float(error) for error in frontier.errors]
        x = range_position(
            situation.current.intensity_g_per_kwh, situation.range.low_g_per_kwh, situation.range.high_g_per_kwh
        )
        slide = (errors[0] - errors[-1]) if self.xi is None else self.xi * (100.0 - errors[-1])
        ceiling = errors[-1] + slide * x
        weights = [
            min(1.0, max(0.0, (errors[step] - ceiling) / float(gained)))
            for step, gained in enumerate(frontier.error_steps)
        ]
        explanation = f"{x:.0%} of the range lets the error be {ceiling:.4g}"
        return Choice(frontier.mix(weights), DecisionReason.RANGE_POSITION, explanation), state
