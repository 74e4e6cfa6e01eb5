"""What the passing of time does: another reading becomes current, and what is old is forgotten."""

import asyncio
import heapq
from collections.abc import Callable
from datetime import datetime, timedelta

from carbon_service.intake import Intake, Writer
from carbon_service.keeper import Keeper, Taken
from carbon_service.present import Board
from carbon_service.settings import CarbonSettings

RETENTION_EVERY_S = 3_600.0


class _Agenda:
    """When each zone has to be looked at next."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._next: dict[str, datetime] = {}
        self._heap: list[tuple[datetime, str]] = []
        self.changed = asyncio.Event()

    def note(self, zones: set[str], now: datetime) -> None:
        for zone in zones:
            moment = self._board.next_change(zone, now)
            if moment is not None and moment != self._next.get(zone):
                self._next[zone] = moment
                heapq.heappush(self._heap, (moment, zone))
        self.changed.set()

    def due(self, now: datetime) -> set[str]:
        zones: set[str] = set()
        while self._heap and self._heap[0][0] <= now:
            moment, zone = heapq.heappop(self._heap)
            if self._next.get(zone) == moment:
                del self._next[zone]
                zones.add(zone)
        return zones

    def wait_s(self, now: datetime) -> float | None:
        return None if not self._heap else (self._heap[0][0] - now).total_seconds()


async def follow_time(board: Board, intake: Intake, clock: Callable[[], datetime]) -> None:
    """Announces readings when their interval begins, until cancelled."""
    agenda = _Agenda(board)

    def note(taken: Taken, now: datetime) -> None:
        agenda.note({reading.zone for reading in taken.settled}, now)

    intake.on_taken(note)
    agenda.note(set(board.zones()), clock())
    while True:
        agenda.changed.clear()
        now = clock()
        due = agenda.due(now)
        if due:
            await intake.refresh(sorted(due))
            agenda.note(due, clock())
            continue
        try:
            await asyncio.wait_for(agenda.changed.wait(), agenda.wait_s(now))
        except TimeoutError:
            continue


async def apply_retention(
    keeper: Keeper, writer: Writer, settings: CarbonSettings, clock: Callable[[], datetime]
) -> None:
    """Forgets what is older than the retention, now and every hour, until cancelled."""
    while True:
        oldest = clock() - settings.carbon_retention - timedelta(days=1)
        await writer(keeper.forget_older, oldest, settings.carbon_quarantine_rows)
        await asyncio.sleep(RETENTION_EVERY_S)
