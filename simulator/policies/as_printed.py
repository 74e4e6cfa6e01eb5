"""`as-printed`: the paper's equation as it stands in print, which picks large variants in dirty hours.

It contradicts the paper's own text and results, and is kept to show that.
"""

from dataclasses import dataclass

from tradewind.decisions import DecisionReason
from tradewind.policies.policy import Choice, Situation, State, wholly
from tradewind.policies.proportional import nearest_in_energy, range_position


@dataclass(frozen=True, slots=True)
class AsPrinted:
    """(C_cur - C_low) / (C_high - C_low) = (E_sel - E_low) / (E_high - E_low)."""

    name: str = "as-printed"

    def initial_state(self) -> State:
        """It has no memory."""
        return {}

    def select_mix(self, situation: Situation, state: State) -> tuple[Choice, State]:
        """The variant nearest to E_sel."""
        low, high = situation.range.low_g_per_kwh, situation.range.high_g_per_kwh
        x = range_position(situation.current.intensity_g_per_kwh, low, high)
        energy_low, energy_high = situation.pool[0].energy_mj, situation.pool[-1].energy_mj
        energy_selected = energy_low + x * (energy_high - energy_low)
        chosen = nearest_in_energy(situation.pool, energy_selected)
        explanation = (
            f"{x:.0%} of the range asks, as printed, for {energy_selected:.4g} mJ: {chosen.variant} is nearest"
        )
        return Choice(wholly(chosen.variant), DecisionReason.RANGE_POSITION, explanation), state
