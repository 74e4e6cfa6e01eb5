"""gRPC `Selector`: answers from memory, sent as the bytes they were serialised to when they changed."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from selector_service.board import Board
from selector_service.selector import Selector
from selector_service.served import ServedCount, ServedReports
from tradewind.catalogue import Catalogue
from tradewind.errors import InvalidInput, NotFound
from tradewind.messages import family_to_wire
from tradewind.readings import check_zone
from tradewind.rpc.v1 import selector_pb2
from tradewind.serving import ErrorsMapped

SERVICE = selector_pb2.DESCRIPTOR.services_by_name["Selector"].full_name

Context = grpc.aio.ServicerContext[Any, Any]


class SelectorServicer:
    """Raw bytes in and out for what is asked often; the usual messages for the rest."""

    def __init__(self, selector: Selector, board: Board, reports: ServedReports, catalogue: Catalogue) -> None:
        self._selector = selector
        self._board = board
        self._reports = reports
        self._families = selector_pb2.ListFamiliesResponse(
            families=[family_to_wire(name, family) for name, family in sorted(catalogue.families.items())]
        )

    async def decide(self, request: bytes, _context: Context) -> bytes:
        """The decision in force for a zone and family."""
        answer = self._board.answers.get(request)
        if answer is not None:
            return answer
        asked = _parse(selector_pb2.DecideRequest, request)
        self._check(asked.zone, asked.family)
        canonical = selector_pb2.DecideRequest(zone=asked.zone, family=asked.family).SerializeToString()
        return self._board.answers.get(canonical) or self._board.unheard(asked.zone, asked.family)

    async def watch_decisions(self, request: bytes, _context: Context) -> AsyncIterator[bytes]:
        """A snapshot of the decisions in force, then every change."""
        asked = _parse(selector_pb2.WatchDecisionsRequest, request)
        for zone in asked.zones:
            self._check(zone)
        for family in asked.families:
            self._check(None, family)
        async for event in self._board.watch(asked.zones, asked.families):
            yield event

    async def list_families(
        self, _request: selector_pb2.ListFamiliesRequest, _context: Context
    ) -> selector_pb2.ListFamiliesResponse:
        """The families of the catalogue."""
        return self._families

    async def report_served(
        self, request: selector_pb2.ReportServedRequest, _context: Context
    ) -> selector_pb2.ReportServedResponse:
        """What a proxy has served since its last report."""
        counts = [
            ServedCount(count.zone, count.family, count.variant, count.decision, count.inferences)
            for count in request.counts
        ]
        counted = await self._reports.take(request.reporter, request.sequence, counts)
        return selector_pb2.ReportServedResponse(counted=counted)

    def _check(self, zone: str | None, family: str | None = None) -> None:
        if zone is not None and not self._selector.follows(check_zone(zone)):
            raise NotFound(f"zone {zone} is not followed: this selector follows {', '.join(self._selector.zones)}")
        if family is not None and family not in self._selector.desks:
            known = ", ".join(sorted(self._selector.desks))
            raise NotFound(f"family {family[:80]!r} is not in the catalogue: it has {known}")

    def add_to(self, server: ErrorsMapped) -> None:
        """Registers the service; its errors are mapped without an interceptor, which costs more per call."""
        handlers = {
            "Decide": grpc.unary_unary_rpc_method_handler(self.decide),
            "WatchDecisions": grpc.unary_stream_rpc_method_handler(self.watch_decisions),
            "ListFamilies": grpc.unary_unary_rpc_method_handler(
                self.list_families,
                selector_pb2.ListFamiliesRequest.FromString,
                selector_pb2.ListFamiliesResponse.SerializeToString,
            ),
            "ReportServed": grpc.unary_unary_rpc_method_handler(
                self.report_served,
                selector_pb2.ReportServedRequest.FromString,
                selector_pb2.ReportServedResponse.SerializeToString,
            ),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))


def _parse(kind: Any, request: bytes) -> Any:
    try:
        return kind.FromString(request)
    except DecodeError as error:
        raise InvalidInput(
            f"the request is not a {kind.DESCRIPTOR.name}: use selector.proto of this version"
        ) from error
