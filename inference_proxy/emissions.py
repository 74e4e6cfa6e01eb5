"""The `Emissions` service: what was served, and what it cost."""

import asyncio
import base64
import binascii
from collections.abc import Callable
from typing import Any

import grpc
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from inference_proxy.report import Report, Row, Span, Sums, check_groups, read_report, read_rows
from tradewind import messages
from tradewind.catalogue import Catalogue
from tradewind.errors import InvalidInput, NotFound, NotReady
from tradewind.rpc.v1 import emissions_pb2, emissions_pb2_grpc
from tradewind.units import emissions_g

_PAGE, _LARGEST_PAGE = 1_000, 10_000

Context = grpc.aio.ServicerContext[Any, Any]


class EmissionsServicer(emissions_pb2_grpc.EmissionsServicer):
    """Answers from the ledger; a database that is away is NOT_READY, and no inference waits for it."""

    def __init__(self, engine: Engine, catalogue: Catalogue, pending_inferences: Callable[[], int]) -> None:
        self._engine, self._catalogue, self._pending = engine, catalogue, pending_inferences

    async def GetReport(  # noqa: N802 -- the proto's name
        self,
        request: emissions_pb2.GetReportRequest,
        context: Context,  # noqa: ARG002
    ) -> emissions_pb2.GetReportResponse:
        """Sums of the ledger in a span of time, grouped."""
        span, groups = self._span(request), check_groups(request.group_by)
        report, pending = await _asked(
            lambda: (read_report(self._engine, span, groups, self._error_of), self._pending())
        )
        return _report_to_wire(report, pending)

    async def ListEmissions(  # noqa: N802 -- the proto's name
        self,
        request: emissions_pb2.ListEmissionsRequest,
        context: Context,  # noqa: ARG002
    ) -> emissions_pb2.ListEmissionsResponse:
        """The ledger's rows, oldest first."""
        size, offset = _page_size(request.page_size), _offset(request.page_token)
        rows = await _asked(lambda: read_rows(self._engine, self._span(request), size + 1, offset))
        return emissions_pb2.ListEmissionsResponse(
            rows=[_row_to_wire(row) for row in rows[:size]],
            next_page_token=_token(offset + size) if len(rows) > size else "",
        )

    def _span(self, request: emissions_pb2.GetReportRequest | emissions_pb2.ListEmissionsRequest) -> Span:
        family = request.family if isinstance(request, emissions_pb2.GetReportRequest) else ""
        if family and family not in self._catalogue.families:
            raise NotFound(f"family {family[:80]!r} is not in the catalogue")
        begins, ends = (
            messages.moment(getattr(request, name)) if request.HasField(name) else None for name in ("from", "to")
        )
        if begins is not None and ends is not None and ends <= begins:
            raise InvalidInput("to is not after from: give a span of time that has a length")
        return Span(begins, ends, family)

    def _error_of(self, family: str, variant: str) -> float | None:
        known = self._catalogue.families.get(family)
        if known is None or variant not in known.variants:
            return None
        return known.variants[variant].error.value


async def _asked(question: Callable[[], Any]) -> Any:
    try:
        return await asyncio.to_thread(question)
    except SQLAlchemyError as error:
        raise NotReady("the ledger's database does not answer: ask again when it is back") from error


def _report_to_wire(report: Report, pending: int) -> emissions_pb2.GetReportResponse:
    return emissions_pb2.GetReportResponse(
        rows=[_sums_to_wire(group, sums) for group, sums in report.rows.items()],
        total=_sums_to_wire((), report.total),
        pending_inferences=pending,
    )


def _sums_to_wire(group: tuple[str, ...], sums: Sums) -> emissions_pb2.ReportRow:
    priced = sums.priced_inferences > 0
    return emissions_pb2.ReportRow(
        group=group,
        inferences=sums.inferences,
        energy_uj=sums.energy_uj,
        emissions_g=sums.emissions_g if priced else None,
        unpriced_energy_uj=sums.unpriced_energy_uj,
        mean_error=sums.mean_error,
        always_smallest_g=sums.smallest_g if priced else None,
        always_largest_g=sums.largest_g if priced else None,
        restated_inferences=sums.restated_inferences,
    )


def _row_to_wire(row: Row) -> emissions_pb2.LedgerRow:
    intensity = row.intensity_g_per_kwh
    return emissions_pb2.LedgerRow(
        minute_from=messages.timestamp(row.bucket_from),
        family=row.family,
        variant=row.variant,
        zone=row.zone,
        tenant=row.tenant,
        inferences=row.inferences,
        energy_uj=row.energy_uj,
        intensity_g_per_kwh=intensity,
        emissions_g=emissions_g(row.energy_uj, intensity) if intensity is not None else None,
    )


def _page_size(asked: int) -> int:
    if not 0 <= asked <= _LARGEST_PAGE:
        raise InvalidInput(f"page_size {asked} is out of range: use 1 to {_LARGEST_PAGE}, or 0 for {_PAGE}")
    return asked or _PAGE


def _token(offset: int) -> str:
    return base64.urlsafe_b64encode(str(offset).encode()).decode()


def _offset(token: str) -> int:
    if not token:
        return 0
    try:
        offset = int(base64.urlsafe_b64decode(token.encode()))
    except (ValueError, binascii.Error) as error:
        raise InvalidInput("page_token is not one that this service gave: begin again without it") from error
    if offset < 0:
        raise InvalidInput("page_token is not one that this service gave: begin again without it")
    return offset
