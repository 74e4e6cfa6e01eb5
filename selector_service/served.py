"""What proxies say they have served: checked at the edge, counted once, for policies that learn from it."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.exc import SQLAlchemyError

from selector_service.selector import Pair
from selector_service.store import Store
from tradewind.catalogue import Catalogue
from tradewind.errors import InvalidInput, NotReady
from tradewind.readings import check_zone

LONGEST_REPORTER = 128
MOST_INFERENCES = 10**12
LARGEST_SEQUENCE = 2**63 - 1

PATIENCE_S = 1.0
"""How long a decision waits for the totals of what was served."""


@dataclass(frozen=True, slots=True)
class ServedCount:
    """Inferences of one variant, following one decision."""

    zone: str
    family: str
    variant: str
    decision: str
    inferences: int


class ServedReports:
    """Takes reports, and tells the totals."""

    def __init__(self, store: Store, catalogue: Catalogue, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._catalogue = catalogue
        self._clock = clock
        self._asking: asyncio.Task[dict[Pair, dict[str, int]]] | None = None
        self._slow = False

    async def take(self, reporter: str, sequence: int, counts: Iterable[ServedCount]) -> bool:
        """True when it was counted now; NotReady while the database is away: report it again under its number."""
        if not 0 < len(reporter) <= LONGEST_REPORTER or not reporter.isprintable():
            raise InvalidInput(f"reporter must be a name of 1 to {LONGEST_REPORTER} printable characters")
        if not 0 < sequence <= LARGEST_SEQUENCE:
            raise InvalidInput("sequence must be greater than 0, and greater with every report")
        sums: dict[tuple[str, str, str], int] = {}
        for count in counts:
            key = self._checked(count)
            sums[key] = sums.get(key, 0) + count.inferences
        try:
            return await asyncio.to_thread(self._store.report_served, reporter, sequence, sums, self._clock())
        except SQLAlchemyError as error:
            raise NotReady("the selector's database is away: report again under the same sequence number") from error

    def _checked(self, count: ServedCount) -> tuple[str, str, str]:
        family = self._catalogue.family(count.family)
        if count.variant not in family.variants:
            raise InvalidInput(
                f"variant {count.variant[:80]!r} is not one of family {count.family}: "
                f"it has {', '.join(sorted(family.variants))}"
            )
        if not 0 <= count.inferences <= MOST_INFERENCES:
            raise InvalidInput(f"inferences must be a count from 0 to {MOST_INFERENCES}")
        return check_zone(count.zone), count.family, count.variant

    async def totals(self) -> Mapping[Pair, Mapping[str, int]] | None:
        """Inferences ever reported per variant; None while the database is away: decisions do not wait for it."""
        if self._asking is None:
            self._asking = asyncio.create_task(asyncio.to_thread(self._store.served_totals))
        await asyncio.wait({self._asking}, timeout=PATIENCE_S if not self._slow else 0.0)
        self._slow = not self._asking.done()
        if self._slow:
            return None
        asked, self._asking = self._asking, None
        try:
            return asked.result()
        except SQLAlchemyError:
            return None
