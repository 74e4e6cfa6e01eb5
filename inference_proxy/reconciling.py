"""Whether Triton executed more than the ledger has, where this proxy is its only client.

At the beginning of every minute, and whenever a report is asked for, Triton is asked for its statistics. By how much
they grew is kept beside the ledger, by minute and model, in one transaction with the counters themselves: so a proxy
that was killed goes on from where it was, and finds what Triton executed meanwhile and nobody recorded. Counters that
went back are those of a Triton that began anew.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from typing import Any

import grpc
from sqlalchemy import Connection, Engine, and_, delete, select
from sqlalchemy.exc import SQLAlchemyError
from tritonclient.grpc import service_pb2

from inference_proxy.endpoints import Endpoint
from inference_proxy.store import executed, ledger, triton_counters, unattributed, watches
from tradewind.database import from_microseconds, insert_into

_MINUTE_US = 60_000_000
_SETTLE_US = 20_000
"""How long after a minute's beginning Triton is asked, so that a clock that wakes early does not end it too soon."""
_TIMEOUT_S = 5.0

Model = tuple[str, str]
"""Triton's name and version of a model."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Triton's counters of one model; they only grow, until Triton or the model begins anew."""

    inferences: int = 0
    """Executed with success; each of a batch counts, and what the response cache answered does not."""
    failed_requests: int = 0
    cached_requests: int = 0
    busy_ns: int = 0
    """Time in requests."""

    def since(self, before: "Counts") -> tuple["Counts", bool]:
        """What they grew by, and whether they began anew in between."""
        grown = [now - then for now, then in zip(astuple(self), astuple(before), strict=True)]
        return (self, True) if min(grown) < 0 else (Counts(*grown), False)


class Reconciling:
    """Watches the counters of every Triton."""

    def __init__(self, engine: Engine, endpoints: Sequence[Endpoint], pending_inferences: Callable[[], int]) -> None:
        self._engine, self._endpoints, self._pending = engine, endpoints, pending_inferences
        self._spool = ""
        self._looking = asyncio.Lock()

    async def start(self, spool: str) -> None:
        """Takes the counters as they are before anything is served, unless an earlier life knows them."""
        self._spool = spool
        await self.look()

    async def watch(self) -> None:
        """Looks at the beginning of every minute, and a last time when it is cancelled."""
        try:
            while True:
                now_us = time.time_ns() // 1_000
                await asyncio.sleep((_MINUTE_US - now_us % _MINUTE_US + _SETTLE_US) / 1e6)
                # A look that is under way ends before the last one begins.
                await asyncio.shield(self.look())
        finally:
            await self.look()

    async def look(self) -> None:
        """Looks once; a Triton or a database that is away is looked at the next time, and nothing is missed by it."""
        async with self._looking:
            for endpoint in self._endpoints:
                try:
                    await asyncio.to_thread(self._store, endpoint.grpc_address, await _counters(endpoint))
                except (grpc.aio.AioRpcError, SQLAlchemyError):
                    continue  # Readiness says the one, and the flusher the other.

    def _store(self, endpoint: str, counters: Mapping[Model, Counts]) -> None:
        now_us, pending = time.time_ns() // 1_000, self._pending()
        with self._engine.begin() as connection:
            place = {"spool": self._spool, "endpoint": endpoint}
            query = select(watches.c.looked_at).where(_at(watches, place))
            looked_at = connection.execute(query).scalar_one_or_none()
            if looked_at is None:
                compared_from = from_microseconds(_compared_from(connection, now_us, pending))
                connection.execute(
                    watches.insert().values(**place, compared_from=compared_from, looked_at=from_microseconds(now_us))
                )
            else:
                for model, grown in self._grown(connection, place, counters).items():
                    self._add(connection, place, looked_at.replace(second=0, microsecond=0), model, grown)
                moved = watches.update().where(_at(watches, place)).values(looked_at=from_microseconds(now_us))
                connection.execute(moved)
            self._remember(connection, place, counters)

    def _grown(
        self, connection: Connection, place: Mapping[str, str], counters: Mapping[Model, Counts]
    ) -> dict[str, list[int]]:
        """What each model's counters grew by, and how often they began anew."""
        query = select(triton_counters).where(_at(triton_counters, place))
        before = {
            (found["model"], found["version"]): Counts(*(found[field.name] for field in fields(Counts)))
            for found in connection.execute(query).mappings()
        }
        grown: dict[str, list[int]] = {}
        for model, now in counters.items():
            # A model that is new began at zero.
            counts, anew = now.since(before.get(model, Counts()))
            found = [counts.inferences, counts.failed_requests, counts.cached_requests, int(anew)]
            grown[model[0]] = [a + b for a, b in zip(grown.get(model[0], [0] * 4), found, strict=True)]
        return {model: found for model, found in grown.items() if any(found)}

    def _add(self, connection: Connection, place: Mapping[str, str], minute: Any, model: str, grown: list[int]) -> None:
        names = ("inferences", "failed_requests", "cached_requests", "restarts")
        statement = insert_into(executed, self._engine).values(
            minute_from=minute, **place, model=model, **dict(zip(names, grown, strict=True))
        )
        keys = [column.name for column in executed.primary_key]
        sums = {name: executed.c[name] + statement.excluded[name] for name in names}
        connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=sums))

    def _remember(self, connection: Connection, place: Mapping[str, str], counters: Mapping[Model, Counts]) -> None:
        for (model, version), counts in counters.items():
            values = {field.name: getattr(counts, field.name) for field in fields(Counts)}
            statement = insert_into(triton_counters, self._engine).values(
                **place, model=model, version=version, **values
            )
            keys = [column.name for column in triton_counters.primary_key]
            connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=values))


def forget_watches(engine: Engine, spool: str) -> None:
    """Forgets the counters: what Triton did while it had other clients is not to be compared later."""
    with engine.begin() as connection:
        for table in (watches, triton_counters):
            connection.execute(delete(table).where(table.c.spool == spool))


async def _counters(endpoint: Endpoint) -> dict[Model, Counts]:
    """Triton's counters by model, as they stand."""
    asked = service_pb2.ModelStatisticsRequest().SerializeToString()
    answer = await endpoint.calls["ModelStatistics"](asked, timeout=_TIMEOUT_S)
    found = service_pb2.ModelStatisticsResponse.FromString(answer).model_stats
    return {(row.name, row.version): _counts(row) for row in found}


def _counts(row: service_pb2.ModelStatistics) -> Counts:
    statistics = row.inference_stats
    return Counts(
        row.inference_count,
        statistics.fail.count,
        statistics.cache_hit.count,
        statistics.success.ns + statistics.fail.ns,
    )


def _compared_from(connection: Connection, now_us: int, pending: int) -> int:
    """This minute, or the next where the ledger has, or will have, something of this one that was executed before."""
    minute = now_us // _MINUTE_US * _MINUTE_US
    moment = from_microseconds(minute)
    for table, column in ((ledger, ledger.c.bucket_from), (unattributed, unattributed.c.second_from)):
        if connection.execute(select(table.c.variant).where(column >= moment).limit(1)).first() is not None:
            return minute + _MINUTE_US
    return minute + (_MINUTE_US if pending else 0)


def _at(table: Any, place: Mapping[str, str]) -> Any:
    return and_(*(table.c[name] == value for name, value in place.items()))
