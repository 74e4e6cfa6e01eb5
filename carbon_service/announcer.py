"""Has everyone heard it? Publishes what the outbox holds, in order, and again after any outage of the broker."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime

from carbon_service.announcements import Announcement
from carbon_service.intake import Writer
from carbon_service.keeper import Keeper, Taken
from tradewind.bus import Bus
from tradewind.errors import NotPermitted, NotReady
from tradewind.logs import get_logger

log = get_logger(__name__)

AT_ONCE = 500
"""Announcements that are on their way at the same moment."""

REFUSED_AGAIN_S = 5.0
"""How soon a broker that refuses an announcement is asked again: its access list may have been mended."""


class Announcer:
    """Tells the bus what was stored; the store forgets an announcement only when the broker has acknowledged it."""

    def __init__(self, bus: Bus, keeper: Keeper, writer: Writer, clock: Callable[[], datetime]) -> None:
        self._bus = bus
        self._keeper = keeper
        self._writer = writer
        self._clock = clock
        self._waiting: dict[tuple[str, str], Announcement] = {}
        self._something = asyncio.Event()
        self._told_connection = 0

    def hand_over(self, taken: Taken, _now: datetime) -> None:
        """Takes what was stored to be announced."""
        self._queue(taken.announcements)

    async def run(self) -> None:
        """Announces until cancelled."""
        self._bus.on_connection(self._something.set)
        while True:
            self._something.clear()
            if self._bus.connected.is_set():
                if self._bus.reconnections != self._told_connection:
                    await self._begin_connection()
                await self._announce_waiting()
            await self._something.wait()

    async def _begin_connection(self) -> None:
        """A broker that was away may have lost what it retained: everything is told again."""
        self._told_connection = self._bus.reconnections
        self._queue(await self._writer(self._keeper.retained, self._clock()), older=True)

    async def _announce_waiting(self) -> None:
        while self._waiting and self._bus.connected.is_set():
            batch = list(self._waiting.values())[:AT_ONCE]
            done = await asyncio.gather(*(self._announce(each) for each in batch))
            heard = [each for each, acknowledged in zip(batch, done, strict=True) if acknowledged]
            for each in heard:
                if self._waiting.get(each.slot) == each:
                    del self._waiting[each.slot]
            await self._writer(self._keeper.heard, heard)
            if not heard and self._bus.connected.is_set():
                await asyncio.sleep(REFUSED_AGAIN_S)

    async def _announce(self, each: Announcement) -> bool:
        """True when the broker has it; what it refuses waits as what it cannot be told."""
        expiry = None if each.expires_at is None else (each.expires_at - self._clock()).total_seconds()
        try:
            await self._bus.publish(each.topic, each.payload, retain=each.retain, expiry_s=expiry)
        except (NotReady, NotPermitted):
            return False
        return True

    def _queue(self, announcements: Sequence[Announcement], *, older: bool = False) -> None:
        for each in announcements:
            if older and (waiting := self._waiting.get(each.slot)) is not None and waiting.id >= each.id:
                continue
            self._waiting.pop(each.slot, None)
            self._waiting[each.slot] = each
        self._something.set()
