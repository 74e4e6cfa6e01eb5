"""Policies that change in the catalogue while the selector runs: they come into force once they are valid."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from selector_service.deciding import Desk
from tradewind.catalogue import Catalogue, Family, catalogue_files, find_catalogue
from tradewind.errors import TradewindError
from tradewind.logs import get_logger

log = get_logger(__name__)

Stamp = tuple[tuple[str, int, int, int], ...]


class PolicyChanges:
    """Looks at the catalogue's files; what is wrong with them is said once and the former policies stay."""

    def __init__(
        self,
        path: Path | None,
        catalogue: Catalogue,
        open_desks: Callable[[Catalogue], Sequence[Desk]],
        use: Callable[[Sequence[Desk]], Awaitable[None]],
    ) -> None:
        self._path = path
        self._catalogue = catalogue
        self._open_desks = open_desks
        self._use = use
        self._seen = self._stamp()

    async def watch(self, interval_s: float) -> None:
        """Looks for ever."""
        while True:
            await asyncio.sleep(interval_s)
            stamp = await asyncio.to_thread(self._stamp)
            if stamp != self._seen:
                self._seen = stamp
                await self._take_up()

    async def _take_up(self) -> None:
        try:
            catalogue = await asyncio.to_thread(find_catalogue, self._path)
            desks = self._open_desks(catalogue)
        except TradewindError as error:
            log.error("the catalogue has changed and cannot be used: the policies stay", why=str(error))  # noqa: TRY400 -- the sentence says it all
            return
        if without_policies(catalogue) != without_policies(self._catalogue):
            log.warning("families or figures of the catalogue have changed: start the services again to use them")
            return
        changed = [name for name, family in catalogue.families.items() if family != self._catalogue.families[name]]
        self._catalogue = catalogue
        if changed:
            log.info("policies have changed", families=changed)
            await self._use(desks)

    def _stamp(self) -> Stamp:
        stamps = []
        for file in catalogue_files(self._path):
            try:
                about = file.stat()
            except OSError:
                continue  # Reading it says so.
            stamps.append((str(file), about.st_mtime_ns, about.st_size, about.st_ino))
        return tuple(stamps)


def without_policies(catalogue: Catalogue) -> Mapping[str, Family]:
    """What proxies and reports go by."""
    return {name: family.model_copy(update={"policy": None}) for name, family in catalogue.families.items()}
