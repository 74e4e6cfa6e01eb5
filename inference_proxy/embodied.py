"""How much of a device's manufacture and disposal falls to the time for which it was reserved."""

from dataclasses import dataclass

HOURS_PER_YEAR = 8_760
"""365 days, as the specification counts in its own example."""

_G_PER_KG = 1_000


@dataclass(frozen=True, slots=True)
class Device:
    """The hardware behind the ledger, and the share of it that inference has."""

    embodied_kg: float
    """CO2eq of all of it, from its life cycle assessment."""
    lifetime_years: float
    share: float

    def embodied_g(self, reserved_hours: float) -> float:
        """The embodied emissions of so many hours, in grams.

        `M = TE x TS x RS = TE x (TiR / EL) x (RR / ToR)`, Software Carbon Intensity specification, ISO/IEC 21031:2024,
        "Embodied emissions": TE is the total embodied emissions of the hardware; TiR, "time reserved", the length of
        time it is reserved for the software, idle or not; EL its expected lifespan; RR / ToR the share of its
        resources that is reserved.
        """
        time_share = reserved_hours / (self.lifetime_years * HOURS_PER_YEAR)
        return self.embodied_kg * _G_PER_KG * time_share * self.share
