"""`proportional`: the variant whose energy mirrors where the intensity stands in its rolling range.

J. Jung, "Carbon Intensity-Aware Adaptive Inference of DNNs" (2024), with the equation inverted as the paper's own
text and results require: x = (C_cur - C_low) / (C_high - C_low), E_sel = E_high - x (E_high - E_low).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tradewind.catalogue import OperatingPoint
from tradewind.decisions import DecisionReason
from tradewind.policies.policy import Choice, Situation, State, wholly


def range_position(current_g_per_kwh: float, low_g_per_kwh: float, high_g_per_kwh: float) -> float:
    """Position in [0, 1]: 0 at the range's low, 1 at its high; 0.5 when the range has no width."""
    if high_g_per_kwh <= low_g_per_kwh:
        return 0.5
    x = (current_g_per_kwh - low_g_per_kwh) / (high_g_per_kwh - low_g_per_kwh)
    return min(1.0, max(0.0, x))


def nearest_in_energy(pool: Sequence[OperatingPoint], energy_mj: float) -> OperatingPoint:
    """The variant whose energy is nearest; a tie goes to the lower energy."""
    return min(pool, key=lambda point: (abs(point.energy_mj - energy_mj), point.energy_mj, point.variant))


@dataclass(frozen=True, slots=True)
class Proportional:
    """The paper's heuristic."""

    name: str = "proportional"

    def initial_state(self) -> State:
        """It has no memory."""
        return {}

    def select_mix(self, situation: Situation, state: State) -> tuple[Choice, State]:
        """The variant nearest to E_sel."""
        current, summary, pool = situation.current, situation.range, situation.pool
        low, high = summary.low_g_per_kwh, summary.high_g_per_kwh
        x = range_position(current.intensity_g_per_kwh, low, high)
        energy_low, energy_high = pool[0].energy_mj, pool[-1].energy_mj
        energy_selected = energy_high - x * (energy_high - energy_low)
        chosen = nearest_in_energy(pool, energy_selected)
        flat = high <= low
        where = (
            f"the range is flat at {low:g} g/kWh, so the middle is assumed"
            if flat
            else f"{x:.0%} of the way from {low:g} to {high:g} g/kWh"
        )
        return Choice(
            mix=wholly(chosen.variant),
            reason=DecisionReason.RANGE_FLAT if flat else DecisionReason.RANGE_POSITION,
            explanation=(
                f"{current.intensity_g_per_kwh:g} g/kWh: {where}; that asks for {energy_selected:.4g} mJ "
                f"per inference, and {chosen.variant} with {chosen.energy_mj:.4g} mJ is nearest"
            ),
            figures={
                "range_position": x,
                "energy_low_mj": energy_low,
                "energy_high_mj": energy_high,
                "energy_selected_mj": energy_selected,
            },
        ), state
