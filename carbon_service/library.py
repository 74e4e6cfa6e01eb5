"""What the store is asked: reads for gRPC, in threads of their own, so that no reader waits for the writer."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from carbon_service import queries
from carbon_service.intake import is_outage
from carbon_service.pages import token_after, token_of_id
from carbon_service.present import Present
from carbon_service.queries import PageStart, Quarantined, ZoneCounts
from tradewind.database import reading
from tradewind.errors import NotReady
from tradewind.readings import Reading, Signal

P = ParamSpec("P")
R = TypeVar("R")

LONGEST_INTERVAL = timedelta(days=2)


class Library:
    """Reads of the store for those who ask."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def list_readings(
        self,
        zone: str,
        signal: Signal,
        between: tuple[datetime | None, datetime | None],
        after: PageStart | None,
        size: int,
        *,
        all_kinds: bool,
    ) -> tuple[list[Reading], str]:
        """A page of stored readings, oldest first, and the token of the next page."""
        rows = await self._read(queries.list_readings, zone, signal, between, after, size + 1)
        full, rows = len(rows) > size, rows[:size]
        token = token_after(rows[-1]) if full else ""
        if all_kinds:
            return rows, token
        # An interval must not be torn between two pages: its best reading is known only from all of them.
        rest = [row for row in rows if not full or row.valid_from != rows[-1].valid_from]
        if full and not rest:
            rest = rows
        elif full:
            token = token_after(rest[-1])
        return queries.best_per_interval(rest), token

    async def list_quarantined(self, zone: str, before: int | None, size: int) -> tuple[list[Quarantined], str]:
        """A page of what is in quarantine, newest first, and the token of the next page."""
        rows = await self._read(queries.list_quarantined, zone, before, size + 1)
        return rows[:size], token_of_id(rows[size - 1].id) if len(rows) > size else ""

    async def zone_counts(self) -> dict[str, ZoneCounts]:
        """How much every zone has of what."""
        return await self._read(queries.zone_counts)

    async def present(self, zone: str, signal: Signal, now: datetime) -> Present:
        """What holds now of a signal that the zone does not announce."""
        rows = await self._read(queries.best_since, zone, signal, now - LONGEST_INTERVAL)
        present = Present()
        for row in rows:
            present.put(row, now)
        return present

    async def newest(self, zone: str, signal: Signal, source: str, until: datetime) -> datetime | None:
        """The beginning of the newest interval of a source that has begun."""
        return await self._read(queries.newest_of_source, zone, signal, source, until)

    async def without_repetitions(self, said: Sequence[Reading]) -> list[Reading]:
        """Readings without those that only repeat what is stored: a provider asked twice revises nothing by it."""
        intervals = list(dict.fromkeys(queries.interval_of(each) for each in said))
        stored = await self._read(queries.readings_of_intervals, intervals)
        return [each for each in said if not _repeats(each, stored.get(each.key))]

    async def _read(self, query: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        def run() -> R:
            with reading(self._engine) as connection:
                return query(connection, *args, **kwargs)

        try:
            return await asyncio.to_thread(run)
        except SQLAlchemyError as error:
            if is_outage(error):
                raise NotReady("the database is away: ask again when it is back") from error
            raise


def _repeats(said: Reading, stored: Reading | None) -> bool:
    return stored is not None and (stored.intensity_g_per_kwh, stored.valid_to) == (
        said.intensity_g_per_kwh,
        said.valid_to,
    )
