"""How claims get to the keeper, and what it says gets out: one writer thread, patient with a database that is away."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from typing import ParamSpec, TypeVar

import stamina
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from carbon_service.keeper import Keeper, Outcome, Taken
from carbon_service.observations import Claim, Reason
from carbon_service.present import Board
from tradewind.logs import get_logger

log = get_logger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

LONGEST_WAIT_S = 5.0


class Writer:
    """The one thread that writes; a call waits for as long as the database is away."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="writer")
        self.database_away = False

    async def __call__(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """The call's result, from the writer thread."""
        loop = asyncio.get_running_loop()
        retries = stamina.retry_context(
            on=is_outage, attempts=None, timeout=None, wait_initial=0.1, wait_max=LONGEST_WAIT_S, wait_jitter=0.5
        )
        async for attempt in retries:
            with attempt:
                try:
                    result = await loop.run_in_executor(self._executor, partial(call, *args, **kwargs))
                except SQLAlchemyError as error:
                    self._note_outage(error)
                    raise
                self._note_return()
                return result
        raise AssertionError  # The retries end with a result or an exception.

    def close(self) -> None:
        """Ends the thread once what it was given is done."""
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _note_outage(self, error: SQLAlchemyError) -> None:
        if is_outage(error) and not self.database_away:
            self.database_away = True
            log.warning("database is away; what is said meanwhile waits at the broker", error=type(error).__name__)

    def _note_return(self) -> None:
        if self.database_away:
            self.database_away = False
            log.info("database is back")


def is_outage(error: Exception) -> bool:
    """True when the database may answer the same call later."""
    if isinstance(error, PoolTimeout | OperationalError | InterfaceError):
        return True
    return isinstance(error, DBAPIError) and error.connection_invalidated


class Intake:
    """Takes claims from every source, and hands on what they led to once it is stored."""

    def __init__(self, keeper: Keeper, writer: Writer, board: Board, clock: Callable[[], datetime]) -> None:
        self._keeper = keeper
        self._writer = writer
        self._board = board
        self._clock = clock
        self._listeners: list[Callable[[Taken, datetime], None]] = []

    def on_taken(self, listener: Callable[[Taken, datetime], None]) -> None:
        """Calls `listener`, in the event loop, with all that was stored."""
        self._listeners.append(listener)

    async def take(self, claims: Sequence[Claim]) -> list[Outcome]:
        """What became of each claim; returns once they are stored or in quarantine."""
        if not claims:
            return []
        try:
            taken = await self._writer(self._keeper.take, claims, self._clock())
        except Exception as error:
            return await self._take_apart(claims, error)
        self._hand_on(taken)
        return taken.outcomes

    async def refresh(self, zones: Sequence[str]) -> None:
        """Announces what has become current by the passing of time."""
        self._hand_on(await self._writer(self._keeper.refresh, zones, self._clock()))

    def _hand_on(self, taken: Taken) -> None:
        now = self._clock()
        self._board.put(taken.settled, now)
        for listener in self._listeners:
            listener(taken, now)

    async def _take_apart(self, claims: Sequence[Claim], error: Exception) -> list[Outcome]:
        """One claim that cannot be stored must not take the others down with it."""
        if len(claims) > 1:
            middle = len(claims) // 2
            return [*await self.take(claims[:middle]), *await self.take(claims[middle:])]
        claim = claims[0]
        log.error("a claim could not be stored", zone=claim.zone, source=claim.source, exc_info=error)
        if claim.reason != Reason.UNSTORABLE:
            bare = Claim(claim.zone, claim.source, claim.received_at, None, Reason.UNSTORABLE, "see the service's log")
            return await self.take([bare])
        return [Outcome(False, Reason.UNSTORABLE, "see the service's log")]
