"""What the ledger lacks of what Triton executed, per variant; it is shown beside the ledger and never put into it."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine, and_, func, select

from inference_proxy.report import Span, Sums, read_report
from inference_proxy.store import executed, watches
from tradewind.catalogue import Catalogue
from tradewind.database import reading


@dataclass(frozen=True, slots=True)
class Same:
    """Variants and models that stand for one another; mostly one of each.

    The ledger knows variants and Triton models. Where two families give one name to different models, or one model
    different names, only all of them together can be compared.
    """

    variants: frozenset[str]
    models: frozenset[str]


@dataclass(frozen=True, slots=True)
class Executed:
    """What Triton's counters grew by."""

    inferences: int = 0
    failed_requests: int = 0
    cached_requests: int = 0
    restarts: int = 0


@dataclass(frozen=True, slots=True)
class Compared:
    """One line of the comparison."""

    variants: tuple[str, ...]
    """Empty where the catalogue does not know the model."""
    models: tuple[str, ...]
    recorded: int
    executed: Executed
    energy_uj: int | None
    """Estimated, of the inferences that are not recorded."""
    emissions_g: float | None

    @property
    def missing(self) -> int:
        """Inferences executed and not recorded; below zero where more are recorded."""
        return self.executed.inferences - self.recorded


@dataclass(frozen=True, slots=True)
class Comparison:
    """The ledger beside Triton's counters."""

    begins: datetime
    ends: datetime
    lines: tuple[Compared, ...]


def compare(engine: Engine, catalogue: Catalogue, span: Span) -> Comparison | None:
    """The comparison within a span, as far as Triton was watched; None where it was not."""
    with reading(engine) as connection:
        first, last = connection.execute(select(func.min(watches.c.compared_from), func.max(watches.c.looked_at))).one()
    if first is None:
        return None
    begins = max(first, span.begins or first)
    ends = min(last, span.ends or last)
    if begins > ends:
        return None
    compared = Span(begins, span.ends)
    recorded = {name: sums for (name,), sums in read_report(engine, compared, ["variant"], _nothing_known).rows.items()}
    counted = _executed(engine, compared)
    family = catalogue.families.get(span.family)
    found = same_things(catalogue)
    if family is not None:
        found = [same for same in found if same.variants & family.variants.keys()]
    lines = [_line(same, recorded, counted) for same in found]
    if family is None:
        known = {model for same in found for model in same.models}
        strangers = (Same(frozenset(), frozenset({model})) for model in sorted(counted.keys() - known))
        lines.extend(_line(same, recorded, counted) for same in strangers)
    return Comparison(begins, ends, tuple(line for line in lines if line.recorded or line.executed != Executed()))


def same_things(catalogue: Catalogue) -> list[Same]:
    """The catalogue's variants and models, put together where names are shared; in order of name."""
    found: list[Same] = []
    pairs = sorted(
        (name, variant.model or name)
        for family in catalogue.families.values()
        for name, variant in family.variants.items()
    )
    for variant, model in pairs:
        shared = [same for same in found if variant in same.variants or model in same.models]
        joined = Same(
            frozenset({variant}).union(*(same.variants for same in shared)),
            frozenset({model}).union(*(same.models for same in shared)),
        )
        found = [*(same for same in found if same not in shared), joined]
    return sorted(found, key=lambda same: sorted(same.variants))


def _line(same: Same, recorded: dict[str, Sums], counted: dict[str, Executed]) -> Compared:
    books = Sums()
    for name in same.variants & recorded.keys():
        books.add(recorded[name])
    models = _sum(counted[model] for model in same.models & counted.keys())
    missing = models.inferences - books.inferences
    # As the mean recorded inference: batches and intensities are then those of what was recorded.
    energy = round(missing * books.energy_uj / books.inferences) if missing > 0 and books.inferences else None
    grams = (
        missing * books.emissions_g / books.priced_inferences
        if energy is not None and books.priced_inferences
        else None
    )
    return Compared(tuple(sorted(same.variants)), tuple(sorted(same.models)), books.inferences, models, energy, grams)


def _executed(engine: Engine, span: Span) -> dict[str, Executed]:
    columns = executed.c
    names = ("inferences", "failed_requests", "cached_requests", "restarts")
    query = (
        select(columns.model, *(func.sum(columns[name]) for name in names))
        .where(
            and_(
                *(() if span.begins is None else (columns.minute_from >= span.begins,)),
                *(() if span.ends is None else (columns.minute_from < span.ends,)),
            )
        )
        .group_by(columns.model)
    )
    with reading(engine) as connection:
        return {model: Executed(*map(int, sums)) for model, *sums in connection.execute(query)}


def _sum(parts: Iterable[Executed]) -> Executed:
    total = [0, 0, 0, 0]
    for part in parts:
        for index, value in enumerate((part.inferences, part.failed_requests, part.cached_requests, part.restarts)):
            total[index] += value
    return Executed(*total)


def _nothing_known(_family: str, _variant: str) -> None:
    return None
