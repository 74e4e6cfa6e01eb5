"""The Triton models that may serve, as the catalogue knows them, and whether Triton has them ready."""

from dataclasses import dataclass, field

from inference_proxy.endpoints import Endpoint
from inference_proxy.pressure import Pressure
from tradewind.catalogue import Catalogue, Family, Variant, energy_of_batch_uj

_KNOWN_BATCHES = 1_024


CALIBRATED = "calibrated"
"""Where an energy comes from that was measured in service; the catalogue says where its own come from."""


@dataclass(frozen=True, slots=True, eq=False)
class Charges:
    """What requests to a variant are charged by. It never changes: what began under it ends under it."""

    figures: Variant
    source: str | None = None
    """`calibrated`, or None where the figures are the catalogue's."""
    _energy_by_batch: dict[int, int] = field(default_factory=dict, init=False)

    def energy_uj(self, inferences: int) -> int:
        """Energy of a request with so many inferences."""
        known = self._energy_by_batch.get(inferences)
        if known is None:
            if len(self._energy_by_batch) >= _KNOWN_BATCHES:
                self._energy_by_batch.clear()
            known = self._energy_by_batch[inferences] = energy_of_batch_uj(self.figures, inferences)
        return known


@dataclass(slots=True, eq=False)
class Target:
    """One variant on Triton."""

    variant: str
    model: str
    version: str
    figures: Variant
    """The catalogue's: they decide. What is charged may be another."""
    permitted: bool
    ready: bool | None = None
    """None until Triton was first asked."""
    max_batch_size: int | None = None
    """None until Triton has said it; 0: the model does not batch."""
    decoupled: bool = False
    """Whether one request may have any number of answers."""
    signature: tuple[str, ...] | None = None
    """Its inputs and outputs; None until Triton has said them."""
    endpoints: tuple[Endpoint, ...] = ()
    """The Tritons that have it ready; all of them until they were first asked."""
    pressure: Pressure = field(default_factory=Pressure)
    charges: Charges = field(init=False)

    def __post_init__(self) -> None:
        """Charges by the catalogue until told otherwise."""
        self.charges = Charges(self.figures)

    @property
    def answering(self) -> bool:
        """Whether any Triton that should have it answers."""
        return any(each.closed for each in self.endpoints)

    @property
    def usable(self) -> bool:
        """Whether a request may go to it now."""
        return self.ready is not False and self.answering

    @property
    def serves(self) -> bool:
        """Whether a Triton that answers has it ready, as far as is known."""
        return bool(self.ready) and self.answering

    @property
    def batches(self) -> bool:
        """Whether the first dimension of its inputs counts inferences."""
        return bool(self.max_batch_size)

    @property
    def energy_mj(self) -> float:
        """Energy of a single inference."""
        return self.figures.energy_mj.value

    @property
    def accuracy_pct(self) -> float:
        """100 - error."""
        return 100.0 - self.figures.error.value


def targets_of(family: Family, endpoints: tuple[Endpoint, ...]) -> tuple[Target, ...]:
    """Every variant of a family in order of energy, then of name, on the Tritons there are."""
    targets = [
        Target(
            variant=name,
            model=variant.model or name,
            version=variant.model_version,
            figures=variant,
            permitted=name in family.pool,
            endpoints=endpoints,
        )
        for name, variant in family.variants.items()
    ]
    return tuple(sorted(targets, key=lambda target: (target.energy_mj, target.variant)))


def nearest_in_energy(targets: tuple[Target, ...], wanted: Target) -> Target | None:
    """The target nearest to the wanted one in energy; a tie goes to the lower energy; None of none."""
    return min(
        targets,
        key=lambda target: (abs(target.energy_mj - wanted.energy_mj), target.energy_mj, target.variant),
        default=None,
    )


def all_targets(catalogue: Catalogue, endpoints: tuple[Endpoint, ...]) -> dict[str, tuple[Target, ...]]:
    """The targets of each family."""
    return {name: targets_of(family, endpoints) for name, family in catalogue.families.items()}
