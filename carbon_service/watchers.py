"""Who watches which zone: changes are handed to every watcher, and one that is too slow is told so."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import datetime

from carbon_service.keeper import Change, Taken
from tradewind.errors import NotReady

MOST_WAITING = 10_000
"""Changes that may wait for a watcher before it is told to begin anew."""


class Watch:
    """One watcher's queue of changes."""

    def __init__(self, zones: frozenset[str]) -> None:
        self._zones = zones
        self._changes: asyncio.Queue[Change | None] = asyncio.Queue()

    def offer(self, change: Change) -> None:
        """Queues a change of a zone that is watched."""
        if self._zones and change.reading.zone not in self._zones:
            return
        if self._changes.qsize() < MOST_WAITING:
            self._changes.put_nowait(change)
        elif self._changes.qsize() == MOST_WAITING:
            self._changes.put_nowait(None)

    async def changes(self) -> AsyncIterator[Change]:
        """Changes as they come; NotReady when too many have waited."""
        while (change := await self._changes.get()) is not None:
            yield change
        raise NotReady("this watcher reads too slowly and has missed changes: watch again")


class Watchers:
    """Every watcher of the service."""

    def __init__(self) -> None:
        self._watches: set[Watch] = set()

    @contextmanager
    def watch(self, zones: frozenset[str]) -> Iterator[Watch]:
        """A watch of some zones (none named: of all), until the block ends."""
        watch = Watch(zones)
        self._watches.add(watch)
        try:
            yield watch
        finally:
            self._watches.discard(watch)

    def hand_over(self, taken: Taken, _now: datetime) -> None:
        """Takes what was stored to be shown."""
        for change in taken.changes:
            for watch in self._watches:
                watch.offer(change)
