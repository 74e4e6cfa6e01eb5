"""Readings that the bus did not bring come from the carbon service, which may be away for a while."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import grpc
import pytest

from selector_service.history import History
from tests.integration.selector_service.parts import Start, a_reading, half_hour
from tradewind.messages import reading_to_wire
from tradewind.readings import Reading
from tradewind.rpc.v1 import carbon_pb2, selector_pb2

SLOT = timedelta(minutes=30)


class CarbonService:
    """Answers from a list, two readings a page."""

    def __init__(self, readings: list[Reading], failures: int = 0) -> None:
        self.readings = readings
        self.failures = failures
        self.asked: list[carbon_pb2.ListReadingsRequest] = []

    async def list_zones(self, _request: Any, _context: Any) -> carbon_pb2.ListZonesResponse:
        """The zones of the list."""
        zones = sorted({reading.zone for reading in self.readings})
        return carbon_pb2.ListZonesResponse(zones=[carbon_pb2.Zone(zone=zone) for zone in zones])

    async def list_readings(
        self, request: carbon_pb2.ListReadingsRequest, context: Any
    ) -> carbon_pb2.ListReadingsResponse:
        """A page of two."""
        self.asked.append(request)
        if self.failures:
            self.failures -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "starting")
        matching = [reading for reading in self.readings if reading.zone == request.zone]
        if not matching:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such zone")
        first = int(request.page_token or 0)
        token = str(first + 2) if first + 2 < len(matching) else ""
        page = [reading_to_wire(reading) for reading in matching[first : first + 2]]
        return carbon_pb2.ListReadingsResponse(readings=page, next_page_token=token)

    def add_to(self, server: grpc.aio.Server) -> None:
        """Serves the two calls that the selector makes."""
        handlers = {
            "ListZones": grpc.unary_unary_rpc_method_handler(
                self.list_zones,
                carbon_pb2.ListZonesRequest.FromString,
                carbon_pb2.ListZonesResponse.SerializeToString,
            ),
            "ListReadings": grpc.unary_unary_rpc_method_handler(
                self.list_readings,
                carbon_pb2.ListReadingsRequest.FromString,
                carbon_pb2.ListReadingsResponse.SerializeToString,
            ),
        }
        name = carbon_pb2.DESCRIPTOR.services_by_name["Carbon"].full_name
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, handlers),))


@pytest.fixture
async def carbon(unique_zone: str) -> AsyncIterator[tuple[CarbonService, str]]:
    """A carbon service with five half-hours of a zone, and its address."""
    readings = [a_reading(unique_zone, half_hour() - k * SLOT, 100.0 + k) for k in range(5)]
    service = CarbonService(readings, failures=1)
    server = grpc.aio.server()
    service.add_to(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield service, f"127.0.0.1:{port}"
    await server.stop(None)


async def test_every_page_of_every_zone_is_fetched(carbon: tuple[CarbonService, str], unique_zone: str) -> None:
    service, address = carbon
    service.failures = 0
    for zones in ([], [unique_zone], [unique_zone, "never-heard-of"]):
        fetched = await History(address, zones).readings(half_hour() - timedelta(hours=24))
        assert fetched == service.readings
    assert service.asked[0].all_kinds


async def test_a_selector_that_missed_the_history_fetches_it(
    start: Start, carbon: tuple[CarbonService, str], unique_zone: str, sqlite_url: str
) -> None:
    """The carbon service refuses once; nothing of this comes over the bus."""
    _, address = carbon
    running = await start(sqlite_url, selector_carbon=address, selector_zones=unique_zone)
    async with asyncio.timeout(20):
        async for decision in decisions(running.stub, unique_zone):
            if decision.range.readings == 5:
                break
    assert (decision.range.low_g_per_kwh, decision.range.high_g_per_kwh) == (100.0, 104.0)
    assert decision.mix[0].variant == "large"


async def decisions(stub: Any, zone: str) -> AsyncIterator[Any]:
    """Every decision for resnet."""
    async for event in stub.WatchDecisions(selector_pb2.WatchDecisionsRequest(zones=[zone], families=["resnet"])):
        for decision in [*event.snapshot.decisions, *([event.decision] if event.HasField("decision") else [])]:
            yield decision
