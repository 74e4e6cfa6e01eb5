"""A day that was: replays an intensity CSV on the real clock, compressed by its speed, from where it had got to.

At speed 1440 a half-hour of the trace lasts 1.25 s; its reading has a real interval of that length, and keeps the
trace's own time as `recorded_at`. What lies before the start is history.
"""

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from carbon_service.intake import Intake, Writer
from carbon_service.keeper import Keeper
from carbon_service.observations import Claim, Reason, claim_of
from carbon_service.settings import CarbonSettings
from tradewind.logs import get_logger
from tradewind.readings import Reading, ReadingKind, Signal, format_time
from tradewind.traces import Trace, read_trace

log = get_logger(__name__)

AT_ONCE = 1_000
"""Claims per transaction while the replay catches up."""


@dataclass(frozen=True)
class Replay:
    """A trace, the zone it is told of, and how trace time becomes real time."""

    trace: Trace
    zone: str
    signal: Signal
    speed: float
    backfill: timedelta

    @property
    def source(self) -> str:
        """The source of its readings."""
        return f"replay:{self.trace.name}"[:100]

    @property
    def origin(self) -> datetime:
        """The trace's time at the start: what lies before is history."""
        return self.trace.moment(0) + self.backfill

    @property
    def fingerprint(self) -> str:
        """The same for the same trace, told the same way."""
        digest = hashlib.sha256(f"{self.trace.name}\n{self.speed!r}\n{self.backfill}\n{self.signal}".encode())
        digest.update(self.trace.times_s.tobytes())
        digest.update(self.trace.values.tobytes())
        return digest.hexdigest()

    def real_time(self, recorded_at: datetime, started_at: datetime) -> datetime:
        """When the trace's moment is, in real time."""
        return started_at + (recorded_at - self.origin) / self.speed

    def first(self, started_at: datetime) -> datetime:
        """When its first interval begins."""
        return self.real_time(self.trace.moment(0), started_at)

    def end(self, started_at: datetime) -> datetime:
        """When its last interval ends."""
        last = self.trace.moment(len(self.trace) - 1) + timedelta(seconds=self.trace.interval_s)
        return self.real_time(last, started_at)

    def claim(self, row: int, started_at: datetime) -> Claim:
        """What the row says; a cell without a value says nothing, and that is kept too."""
        recorded_at = self.trace.moment(row)
        valid_from = self.real_time(recorded_at, started_at)
        value = self.trace.value(row)
        if value is None:
            why = f"{self.trace.value_column} is empty at {format_time(recorded_at)}: missing is not a value"
            excerpt = f"recorded_at={format_time(recorded_at)}"
            return Claim(self.zone, self.source, valid_from, None, Reason.BLANK, why, excerpt)
        following = recorded_at + timedelta(seconds=self.trace.interval_s)
        reading = Reading(
            zone=self.zone,
            valid_from=valid_from,
            valid_to=self.real_time(following, started_at),
            intensity_g_per_kwh=value,
            kind=ReadingKind.ACTUAL,
            signal=self.signal,
            source=self.source,
            published_at=valid_from,
            recorded_at=recorded_at,
        )
        return claim_of(reading, valid_from)


def read_replay(settings: CarbonSettings, signal: Signal) -> Replay | None:
    """The replay that the settings ask for, if any; InvalidInput names what is wrong with its file."""
    if settings.carbon_replay_file is None:
        return None
    trace = read_trace(
        settings.carbon_replay_file, settings.carbon_replay_time_column, settings.carbon_replay_value_column
    )
    zone, speed = settings.carbon_replay_zone, settings.carbon_replay_speed
    return Replay(trace, zone, signal, speed, settings.carbon_replay_backfill)


async def begin_replay(replay: Replay, keeper: Keeper, writer: Writer, now: datetime) -> datetime:
    """When the replay began: now, or before the service was restarted in the middle of it."""
    before = await writer(keeper.replay_start, replay.zone, replay.fingerprint)
    if before is not None and replay.end(before) > now:
        log.info("replay goes on", zone=replay.zone, trace=replay.trace.name, started_at=format_time(before))
        return before
    await writer(keeper.begin_replay, replay.zone, replay.fingerprint, replay.source, now, replay.first(now))
    log.info("replay begins", zone=replay.zone, trace=replay.trace.name, rows=len(replay.trace), speed=replay.speed)
    return now


async def tell_past(replay: Replay, row: int, started_at: datetime, intake: Intake, now: datetime) -> int:
    """Says every row from `row` on that has begun; the first that has not."""
    while row < len(replay.trace):
        claims: list[Claim] = []
        while row < len(replay.trace) and len(claims) < AT_ONCE:
            claim = replay.claim(row, started_at)
            if claim.received_at > now:
                break
            claims.append(claim)
            row += 1
        if not claims:
            break
        await intake.take(claims)
    return row


async def run_replay(
    replay: Replay, row: int, started_at: datetime, intake: Intake, clock: Callable[[], datetime]
) -> None:
    """Says every row from `row` on at its time."""
    while row < len(replay.trace):
        due = replay.real_time(replay.trace.moment(row), started_at)
        if (wait_s := (due - clock()).total_seconds()) > 0:
            await asyncio.sleep(wait_s)
        row = await tell_past(replay, row, started_at, intake, clock())
    log.info("replay has ended; its last reading becomes stale", zone=replay.zone, trace=replay.trace.name)


def utc_now() -> datetime:
    """The real clock."""
    return datetime.now(UTC)
