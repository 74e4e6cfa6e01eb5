"""gRPC `Carbon`: convert, ask, convert."""

from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from typing import Any

import grpc

from carbon_service.credentials import Credentials
from carbon_service.health import SourceHealths
from carbon_service.intake import Intake
from carbon_service.library import Library
from carbon_service.observations import claim_of, edge_source
from carbon_service.pages import open_ended, page_size, parse_id_token, parse_token
from carbon_service.present import Board, Present, forecast_of
from carbon_service.rules import Rules
from carbon_service.watchers import Watchers
from carbon_service.wire import quarantined_to_wire, source_health_to_wire
from tradewind.errors import InvalidInput, NotFound
from tradewind.messages import duration, moment, reading_from_wire, reading_to_wire, signal_from_wire, signal_to_wire
from tradewind.readings import Reading, Signal, check_zone
from tradewind.rpc.v1 import carbon_pb2, carbon_pb2_grpc, types_pb2

Context = grpc.aio.ServicerContext[Any, Any]


class CarbonServicer(carbon_pb2_grpc.CarbonServicer):
    """Answers from the board where it can, from the store where it must."""

    def __init__(
        self,
        board: Board,
        library: Library,
        intake: Intake,
        watchers: Watchers,
        rules: Rules,
        credentials: Credentials,
        healths: SourceHealths,
        clock: Callable[[], datetime],
    ) -> None:
        self._board = board
        self._library = library
        self._intake = intake
        self._watchers = watchers
        self._rules = rules
        self._credentials = credentials
        self._healths = healths
        self._clock = clock

    async def GetIntensity(  # noqa: N802
        self, request: carbon_pb2.GetIntensityRequest, _context: Context
    ) -> carbon_pb2.GetIntensityResponse:
        """The current reading, or the last that was, marked as stale."""
        zone, now = check_zone(request.zone), self._clock()
        if self._announces(zone, request.signal):
            current = self._board.last(zone, now)
        else:
            current = (await self._other_signal(zone, request.signal, now)).last(now)
        if current is None:
            raise self._unknown(zone)
        return carbon_pb2.GetIntensityResponse(
            reading=reading_to_wire(current), age=duration(_age(current, now)), stale=not current.holds_at(now)
        )

    async def GetForecast(  # noqa: N802
        self, request: carbon_pb2.GetForecastRequest, _context: Context
    ) -> carbon_pb2.GetForecastResponse:
        """Forecast readings that have not ended."""
        zone, now = check_zone(request.zone), self._clock()
        if self._announces(zone, request.signal):
            readings = self._board.forecast(zone, now)
        else:
            readings = forecast_of(await self._other_signal(zone, request.signal, now), now)
        if not readings and self._board.last(zone, now) is None:
            raise self._unknown(zone)
        return carbon_pb2.GetForecastResponse(readings=map(reading_to_wire, readings))

    async def ListReadings(  # noqa: N802
        self, request: carbon_pb2.ListReadingsRequest, _context: Context
    ) -> carbon_pb2.ListReadingsResponse:
        """A page of stored readings."""
        zone = check_zone(request.zone)
        start = moment(getattr(request, "from")) if request.HasField("from") else None
        end = moment(request.to) if request.HasField("to") else None
        readings, token = await self._library.list_readings(
            zone,
            signal_from_wire(request.signal) or self._rules.signal(zone),
            open_ended(start, end),
            parse_token(request.page_token),
            page_size(request.page_size),
            all_kinds=request.all_kinds,
        )
        return carbon_pb2.ListReadingsResponse(readings=map(reading_to_wire, readings), next_page_token=token)

    async def ListQuarantined(  # noqa: N802
        self, request: carbon_pb2.ListQuarantinedRequest, _context: Context
    ) -> carbon_pb2.ListQuarantinedResponse:
        """A page of what was not believed."""
        rows, token = await self._library.list_quarantined(
            request.zone, parse_id_token(request.page_token), page_size(request.page_size)
        )
        return carbon_pb2.ListQuarantinedResponse(quarantined=map(quarantined_to_wire, rows), next_page_token=token)

    async def ListZones(  # noqa: N802
        self, _request: carbon_pb2.ListZonesRequest, _context: Context
    ) -> carbon_pb2.ListZonesResponse:
        """Every zone: what it says, what it has, and how its sources do."""
        counts, now = await self._library.zone_counts(), self._clock()
        names = sorted({*counts, *self._board.zones(), *self._rules.file.zones})
        zones = []
        for name in names:
            current, count = self._board.current(name, now), counts.get(name)
            zone = carbon_pb2.Zone(
                zone=name,
                current=None if current is None else reading_to_wire(current),
                stale=current is None,
                signal=signal_to_wire(self._rules.signal(name)),
                source_health=[source_health_to_wire(each) for each in self._healths.of_zone(name)],
            )
            if count is not None:
                zone.readings, zone.quarantined = count.readings, count.quarantined
                zone.sources.extend(count.sources)
            zones.append(zone)
        return carbon_pb2.ListZonesResponse(zones=zones)

    async def PublishReading(  # noqa: N802
        self, request: carbon_pb2.PublishReadingRequest, context: Context
    ) -> carbon_pb2.PublishReadingResponse:
        """Says a reading to the gate, as its publisher would over the bus."""
        publisher = self._credentials.publisher_of(request.publisher, request.reading.zone, context)
        if not request.HasField("reading"):
            raise InvalidInput("reading is missing: say what the intensity is")
        message = types_pb2.Reading()
        message.CopyFrom(request.reading)
        message.source = edge_source(publisher)
        reading = reading_from_wire(message).with_revision(0)
        outcome = (await self._intake.take([claim_of(reading, self._clock(), publisher)]))[0]
        return carbon_pb2.PublishReadingResponse(
            accepted=outcome.accepted, verdict=outcome.verdict, explanation=outcome.explanation
        )

    async def WatchIntensity(  # noqa: N802
        self, request: carbon_pb2.WatchIntensityRequest, _context: Context
    ) -> AsyncIterator[carbon_pb2.WatchIntensityResponse]:
        """The current readings, then every change."""
        zones = frozenset(check_zone(zone) for zone in request.zones)
        with self._watchers.watch(zones) as watch:
            now = self._clock()
            for zone in sorted(zones) or self._board.zones():
                if (current := self._board.last(zone, now)) is not None:
                    yield carbon_pb2.WatchIntensityResponse(reading=reading_to_wire(current))
            async for change in watch.changes():
                yield carbon_pb2.WatchIntensityResponse(
                    reading=reading_to_wire(change.reading), restates=change.restates
                )

    def _announces(self, zone: str, wanted: "types_pb2.Signal.ValueType") -> bool:
        return signal_from_wire(wanted) in {None, self._rules.signal(zone)}

    async def _other_signal(self, zone: str, wanted: "types_pb2.Signal.ValueType", now: datetime) -> Present:
        return await self._library.present(zone, signal_from_wire(wanted) or Signal.AVERAGE, now)

    def _unknown(self, zone: str) -> NotFound:
        known = ", ".join(self._board.zones()[:20]) or "none yet"
        return NotFound(f"zone {zone} has no reading of this signal; zones with readings: {known}")


def _age(reading: Reading, now: datetime) -> timedelta:
    return max(now - reading.published_at, timedelta(0))
