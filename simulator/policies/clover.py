"""`clover`: maximises a weighted sum of carbon saved and accuracy kept, anew when the intensity has moved by 5 %.

After Clover (SC 2023): f = lambda x (C_base - C) / C_base - (1 - lambda) x (A_base - A) / A_base, the base being the
pool's most accurate variant. C_base is the base's carbon at the middle of the rolling range, so that the intensity
matters. Clover also partitions the GPU, which has no counterpart here.
"""

from dataclasses import dataclass

from tradewind.decisions import DecisionReason
from tradewind.errors import InvalidInput
from tradewind.policies.policy import Choice, Situation, State, wholly


@dataclass(frozen=True, slots=True)
class Clover:
    """Clover's objective, over whole variants."""

    weight: float = 0.5
    """Lambda: 0 sees only accuracy, 1 only carbon."""
    relative_change: float = 0.05
    name: str = "clover"

    def __post_init__(self) -> None:
        if not 0.0 <= self.weight <= 1.0:
            raise InvalidInput("policy clover: weight must be within 0 to 1")

    def initial_state(self) -> State:
        """Nothing chosen yet."""
        return {}

    def select_mix(self, situation: Situation, state: State) -> tuple[Choice, State]:
        """The variant chosen last, unless the intensity has moved enough to choose anew."""
        intensity = situation.current.intensity_g_per_kwh
        permitted = {point.variant for point in situation.pool}
        chosen_at = state.get("intensity_g_per_kwh")
        if chosen_at and state["variant"] in permitted and abs(intensity / chosen_at - 1.0) <= self.relative_change:
            held = f"{intensity:g} g/kWh is within {self.relative_change:.0%} of {chosen_at:g}, so nothing changes"
            return Choice(wholly(state["variant"]), DecisionReason.HELD, held), state
        base = min(situation.pool, key=lambda point: (point.error, point.energy_mj))
        middle = (situation.range.low_g_per_kwh + situation.range.high_g_per_kwh) / 2
        scores = {}
        for point in situation.pool:
            saved = 1.0 - point.energy_mj * intensity / (base.energy_mj * middle)
            lost = (point.error - base.error) / (100.0 - base.error)
            scores[point.variant] = self.weight * saved - (1.0 - self.weight) * lost
        variant = max(scores, key=lambda name: scores[name])
        explanation = f"{intensity:g} g/kWh: {variant} has the largest objective, {scores[variant]:.4g}"
        choice = Choice(wholly(variant), DecisionReason.CARBON_PRICE, explanation)
        return choice, {"variant": variant, "intensity_g_per_kwh": intensity}
