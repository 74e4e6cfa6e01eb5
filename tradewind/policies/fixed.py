"""`fixed`: always the same variant, whatever the grid; the baseline of every comparison."""

from dataclasses import dataclass

from tradewind.decisions import DecisionReason
from tradewind.errors import InvalidInput
from tradewind.policies.policy import Choice, Situation, State, wholly


@dataclass(frozen=True, slots=True)
class Fixed:
    """Serves one variant always; with no variant named, the pool's least energy."""

    variant: str = ""
    name: str = "fixed"

    def initial_state(self) -> State:
        """It has no memory."""
        return {}

    def select_mix(self, situation: Situation, state: State) -> tuple[Choice, State]:
        """The named variant, wholly; InvalidInput when the pool does not permit it."""
        variant = self.variant or situation.pool[0].variant
        permitted = [point.variant for point in situation.pool]
        if variant not in permitted:
            raise InvalidInput(f"policy fixed: {variant} is not in the pool: choose one of {', '.join(permitted)}")
        return Choice(
            mix=wholly(variant),
            reason=DecisionReason.FIXED,
            explanation=f"{variant} always serves, whatever the grid ({situation.current.intensity_g_per_kwh:g} g/kWh)",
        ), state
