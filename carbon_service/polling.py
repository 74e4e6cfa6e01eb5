"""Asks a zone's sources, the preferred one first: fails over, returns, and fills what is missing behind it."""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from carbon_service.health import SourceHealths
from carbon_service.intake import Intake
from carbon_service.library import Library
from carbon_service.observations import claim_of
from carbon_service.sources.source import Source, SourceError
from tradewind.errors import NotReady
from tradewind.logs import get_logger
from tradewind.readings import Reading

log = get_logger(__name__)


@dataclass(frozen=True)
class PollLimits:
    """How far back, and how patiently, sources are asked."""

    backfill: timedelta = timedelta(days=7)
    """History that is asked for at first start, and at most after a gap."""
    revisit: timedelta = timedelta(hours=24)
    """Providers revise what they said this far back; it is asked for again."""
    first_wait: timedelta = timedelta(seconds=30)
    """Before a source that failed is asked again; doubled with every failure."""
    longest_wait: timedelta = timedelta(minutes=15)
    silence: timedelta = timedelta(hours=1)
    """A source whose newest interval ended longer ago than this has failed."""


@dataclass
class _State:
    """How a source has done."""

    source: Source
    forecast: bool
    failures: int = 0
    not_before: datetime | None = None
    problem: str = ""
    no_forecast_before: datetime | None = None
    forecast_problem: str = ""

    def may_be_asked(self, now: datetime) -> bool:
        return self.not_before is None or now >= self.not_before


class Polling:
    """Follows the sources of one zone that give the same signal: they stand in for one another."""

    def __init__(
        self,
        zone: str,
        sources: Sequence[tuple[Source, bool]],
        intake: Intake,
        library: Library,
        healths: SourceHealths,
        clock: Callable[[], datetime],
        limits: PollLimits | None = None,
    ) -> None:
        """`sources`: in order of preference, with whether their forecast is wanted."""
        self._zone = zone
        self._states = [_State(source, forecast) for source, forecast in sources]
        self._intake = intake
        self._library = library
        self._healths = healths
        self._clock = clock
        self._limits = limits or PollLimits()
        for source, _ in sources:
            healths.add(zone, source.name)

    async def run(self) -> None:
        """Asks until cancelled."""
        try:
            while True:
                wait = await self.poll()
                await asyncio.sleep(wait.total_seconds())
        finally:
            for state in self._states:
                await state.source.close()

    async def poll(self) -> timedelta:
        """Asks the first source that answers; how long to wait before the next time."""
        now = self._clock()
        for state in self._states:
            if not state.may_be_asked(now):
                continue
            try:
                await self._ask(state, now)
            except SourceError as error:
                self._note_failure(state, error, self._clock())
            except NotReady:
                return self._limits.first_wait  # The store is away: no fault of the source's.
            else:
                self._note_success(state, self._clock())
                return self._wait(state, self._clock())
        return self._wait(None, self._clock())

    async def _ask(self, state: _State, now: datetime) -> None:
        newest = await self._fill(state.source, now)
        if state.forecast and (state.no_forecast_before is None or now >= state.no_forecast_before):
            forecast = await self._forecast(state, now)
            await self._take(forecast, now)
            newest = max([newest, *(each.valid_to for each in forecast if each.valid_from <= now)])
        if newest < now - self._limits.silence:
            raise SourceError(f"{state.source.name} has said nothing since {newest:%Y-%m-%d %H:%M} UTC")

    async def _forecast(self, state: _State, now: datetime) -> list[Reading]:
        """A source without a forecast is one all the same: that is said once, and it is asked again in its time."""
        state.no_forecast_before = None
        try:
            forecast = await state.source.forecast(self._zone)
        except SourceError as error:
            if str(error) != state.forecast_problem:
                log.warning("no forecast", zone=self._zone, source=state.source.name, problem=str(error))
            state.forecast_problem = str(error)
            if error.retry_after is not None:
                state.no_forecast_before = now + error.retry_after
            return []
        state.forecast_problem = ""
        return forecast

    async def _fill(self, source: Source, now: datetime) -> datetime:
        """Asks for what is missing and for what may have been revised; the end of the newest interval."""
        known = await self._library.newest(self._zone, source.signal, source.name, now)
        start = await self._start(source, known, now)
        newest = known or start
        while start < now:
            end = min(start + source.traits.longest_request, now + timedelta(minutes=1))
            readings = await source.history(self._zone, start, end)
            await self._take(readings, now)
            newest = max([newest, *(each.valid_to for each in readings)])
            start = end
        return newest

    async def _start(self, source: Source, known: datetime | None, now: datetime) -> datetime:
        limits, deepest = self._limits, source.traits.deepest_history
        oldest = now - limits.backfill
        start = oldest if known is None else max(oldest, min(known, now - limits.revisit))
        return start if deepest is None else max(start, now - deepest)

    async def _take(self, readings: Sequence[Reading], now: datetime) -> None:
        fresh = await self._library.without_repetitions(readings)
        await self._intake.take([claim_of(reading, now) for reading in fresh])

    def _note_success(self, state: _State, now: datetime) -> None:
        if state.failures:
            log.info("source is back", zone=self._zone, source=state.source.name)
        state.failures, state.not_before, state.problem = 0, None, ""
        names = [each.source.name for each in self._states]
        self._healths.succeeded(self._zone, state.source.name, now, instead_of=names)

    def _note_failure(self, state: _State, error: SourceError, now: datetime) -> None:
        if str(error) != state.problem:
            log.warning("source fails", zone=self._zone, source=state.source.name, problem=str(error))
        limits = self._limits
        wait = min(limits.first_wait * 2**state.failures, limits.longest_wait) * random.uniform(0.8, 1.2)  # noqa: S311
        state.failures = min(state.failures + 1, 16)
        state.not_before = now + max(wait, error.retry_after or timedelta(0))
        state.problem = str(error)
        self._healths.failed(self._zone, state.source.name, now, str(error))

    def _wait(self, used: _State | None, now: datetime) -> timedelta:
        """Until the source in use has something new, or a better one may be asked again."""
        waits = [] if used is None else [used.source.traits.poll_every * random.uniform(0.9, 1.1)]  # noqa: S311
        for state in self._states:
            if state is used:
                break
            if state.not_before is not None:
                waits.append(max(state.not_before - now, timedelta(0)))
        return max(min(waits, default=self._limits.first_wait), timedelta(milliseconds=10))
