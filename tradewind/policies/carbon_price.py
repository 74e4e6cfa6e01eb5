"""`carbon-price`: the larger variant serves while a point of error costs less than a stated number of grams."""

import math
from dataclasses import dataclass, field

from tradewind.catalogue import OperatingPoint
from tradewind.decisions import DecisionReason
from tradewind.errors import InvalidInput
from tradewind.policies.frontier import G_PER_POINT_PER_MILLION, frontier_of
from tradewind.policies.policy import Choice, Situation, State, wholly


@dataclass(frozen=True, slots=True)
class CarbonPrice:
    """Neither memory nor range: only the present intensity and a price."""

    price: float
    """Grams that one point less of mean error may cost over a million inferences."""
    name: str = field(default="carbon-price", init=False)

    def __post_init__(self) -> None:
        if not (math.isfinite(self.price) and self.price >= 0):
            raise InvalidInput("policy carbon-price: price must be a number of grams of 0 or more")

    def initial_state(self) -> State:
        """It has no memory."""
        return {}

    def select_mix(self, situation: Situation, state: State) -> tuple[Choice, State]:
        """The largest variant of the frontier whose step is worth the price."""
        frontier = frontier_of(situation.pool)
        intensity = situation.current.intensity_g_per_kwh
        costs = [cost * intensity for cost in costs_per_g_per_kwh(situation.pool)]
        taken = next((step for step, cost in enumerate(costs) if cost >= self.price), len(costs))
        variant = frontier.variants[taken]
        account = "; ".join(
            f"{name} costs {cost:.4g} g per point" for name, cost in zip(frontier.variants[1:], costs, strict=True)
        )
        return Choice(
            mix=wholly(variant),
            reason=DecisionReason.CARBON_PRICE,
            explanation=(
                f"{intensity:g} g/kWh, per million inferences: {account or 'there is no larger variant'}; "
                f"up to {self.price:g} g is worth it, so {variant} serves"
            ),
            figures={
                "price_g_per_point_per_million": self.price,
                **{
                    f"cost_{name}_g_per_point_per_million": cost
                    for name, cost in zip(frontier.variants[1:], costs, strict=True)
                },
            },
        ), state


def costs_per_g_per_kwh(pool: tuple[OperatingPoint, ...]) -> list[float]:
    """For each step of the frontier: grams per point and million inferences at 1 g/kWh, rising from step to step."""
    frontier = frontier_of(pool)
    steps = zip(frontier.energy_steps_mj, frontier.error_steps, strict=True)
    # Plain floats: a hopeless step may cost more than a float can say, and is then infinitely dear.
    return [float(energy) / float(error) * G_PER_POINT_PER_MILLION for energy, error in steps]
