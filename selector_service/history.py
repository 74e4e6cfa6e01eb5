"""What the bus did not bring: readings of the window from the carbon service's store, after every time away."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime

import grpc

from selector_service.arrivals import check_reading
from tradewind.calling import PLAIN, Way
from tradewind.errors import InvalidInput
from tradewind.logs import get_logger
from tradewind.messages import reading_from_wire, timestamp
from tradewind.readings import Reading
from tradewind.rpc.v1 import carbon_pb2, carbon_pb2_grpc

log = get_logger(__name__)

PAGE_SIZE = 1_000
DEADLINE_S = 10.0
LONGEST_WAIT_S = 30.0


class History:
    """The carbon service as a source of readings; the bus stays the way of what is new."""

    def __init__(self, address: str, zones: Sequence[str], way: Way = PLAIN) -> None:
        way.check(address)
        self._address, self._zones, self._way = address, zones, way

    async def readings(self, since: datetime) -> list[Reading]:
        """Every kept reading of the zones from then on; of every zone that the service knows where none is named."""
        async with self._way.channel(self._address) as channel:
            stub: carbon_pb2_grpc.CarbonAsyncStub = carbon_pb2_grpc.CarbonStub(channel)
            zones = self._zones
            if not zones:
                known = await stub.ListZones(carbon_pb2.ListZonesRequest(), timeout=DEADLINE_S)
                zones = [zone.zone for zone in known.zones]
            return [reading for zone in zones for reading in await self._of_zone(stub, zone, since)]

    async def _of_zone(self, stub: "carbon_pb2_grpc.CarbonAsyncStub", zone: str, since: datetime) -> list[Reading]:
        request = carbon_pb2.ListReadingsRequest(zone=zone, all_kinds=True, page_size=PAGE_SIZE)
        getattr(request, "from").CopyFrom(timestamp(since))
        found: list[Reading] = []
        while True:
            try:
                page = await stub.ListReadings(request, timeout=DEADLINE_S)
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.NOT_FOUND:
                    return found  # Nothing was ever heard of the zone there either.
                raise
            found += [check_reading(reading_from_wire(reading)) for reading in page.readings]
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token


async def keep_up(
    history: History,
    connected: Callable[[], Awaitable[object]],
    away: Callable[[], Awaitable[object]],
    since: Callable[[], datetime],
    take: Callable[[Iterable[Reading]], Awaitable[None]],
) -> None:
    """Fetches once after every connection to the bus; a carbon service that is away is tried again."""
    while True:
        await connected()
        wait_s = 0.5
        while True:
            try:
                readings = await history.readings(since())
                break
            except (grpc.aio.AioRpcError, InvalidInput) as error:
                why = error.code().name if isinstance(error, grpc.aio.AioRpcError) else str(error)
                log.warning("the carbon service did not tell its history", why=why, again_in_s=wait_s)
            await asyncio.sleep(wait_s)
            wait_s = min(LONGEST_WAIT_S, 2 * wait_s)
        await take(readings)
        log.info("history fetched", readings=len(readings))
        await away()
