"""The `Emissions` service: what was served, and what it cost."""

import asyncio
import base64
import binascii
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import grpc
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from inference_proxy.comparison import Compared, Comparison, compare
from inference_proxy.embodied import Device
from inference_proxy.own_cpu import OwnUse, read_own_use
from inference_proxy.report import (
    Known,
    Report,
    Reserved,
    Row,
    Span,
    Sums,
    check_groups,
    read_report,
    read_rows,
    reserved_within,
)
from tradewind import messages
from tradewind.catalogue import Catalogue
from tradewind.errors import InvalidInput, NotFound, NotReady
from tradewind.rpc.v1 import emissions_pb2, emissions_pb2_grpc
from tradewind.units import emissions_g

_PAGE, _LARGEST_PAGE = 1_000, 10_000

Context = grpc.aio.ServicerContext[Any, Any]


Look = Callable[[], Awaitable[None]]

CONFIGURED, ESTIMATED, MEASURED = "configured", "estimated", "measured"


@dataclass(frozen=True, slots=True)
class Terms:
    """What the operator says of the hardware; what is None is not known, and nothing is reckoned with it."""

    pue: float | None = None
    device: Device | None = None
    watts_per_core: float | None = None

    def overhead_g(self, emissions_g: float | None) -> float | None:
        """What the data centre adds to some grams."""
        return None if self.pue is None or emissions_g is None else emissions_g * (self.pue - 1)


@dataclass(frozen=True, slots=True)
class Findings:
    """All that one report is made of."""

    report: Report
    pending: int
    reserved: Reserved | None
    own: OwnUse | None
    comparison: Comparison | None


class EmissionsServicer(emissions_pb2_grpc.EmissionsServicer):
    """Answers from the ledger; a database that is away is NOT_READY, and no inference waits for it."""

    def __init__(
        self,
        engine: Engine,
        catalogue: Catalogue,
        pending_inferences: Callable[[], int],
        terms: Terms = Terms(),
        look: Look | None = None,
    ) -> None:
        """`look` asks Triton what it executed, where that may be compared with the ledger."""
        self._engine, self._catalogue, self._pending, self._terms = engine, catalogue, pending_inferences, terms
        self._look = look

    async def GetReport(  # noqa: N802 -- the proto's name
        self,
        request: emissions_pb2.GetReportRequest,
        context: Context,  # noqa: ARG002
    ) -> emissions_pb2.GetReportResponse:
        """Sums of the ledger in a span of time, grouped, and what is beside them."""
        span, groups = self._span(request), check_groups(request.group_by)
        if self._look is not None:
            await self._look()
        return _report_to_wire(await _asked(lambda: self._find(span, groups)), self._terms)

    def _find(self, span: Span, groups: tuple[str, ...]) -> Findings:
        device = self._terms.device
        reserved = reserved_within(self._engine, span, datetime.now(UTC)) if device is not None else None
        return Findings(
            read_report(self._engine, span, groups, self._known_of, reserved),
            self._pending(),
            reserved,
            read_own_use(self._engine, span),
            compare(self._engine, self._catalogue, span) if self._look is not None else None,
        )

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

    def _known_of(self, family: str, variant: str) -> Known:
        families = self._catalogue.families
        if family:
            found = families[family].variants.get(variant) if family in families else None
            if found is None:
                return Known()
            return Known(found.error.value, found.energy_mj.provenance.value, families[family].error_metric)
        # Called by its own name: the first family that knows a model meters it.
        named = (each.variants[variant] for each in families.values() if variant in each.variants)
        return Known(energy_provenance=next((each.energy_mj.provenance.value for each in named), None))


async def _asked(question: Callable[[], Any]) -> Any:
    try:
        return await asyncio.to_thread(question)
    except SQLAlchemyError as error:
        raise NotReady("the ledger's database does not answer: ask again when it is back") from error


def _report_to_wire(found: Findings, terms: Terms) -> emissions_pb2.GetReportResponse:
    report = found.report
    return emissions_pb2.GetReportResponse(
        rows=[_sums_to_wire(group, sums, terms) for group, sums in report.rows.items()],
        total=_sums_to_wire((), report.total, terms),
        pending_inferences=found.pending,
        pue=None if terms.pue is None else emissions_pb2.Pue(value=terms.pue, provenance=CONFIGURED),
        embodied=_embodied_to_wire(terms.device, found.reserved, report.idle_hours),
        own_use=_own_use_to_wire(found.own, terms),
        reconciliation=_comparison_to_wire(found.comparison),
    )


def _sums_to_wire(group: tuple[str, ...], sums: Sums, terms: Terms) -> emissions_pb2.ReportRow:
    priced, device = sums.priced_inferences > 0, terms.device
    emissions = sums.emissions_g if priced else None
    return emissions_pb2.ReportRow(
        group=group,
        inferences=sums.inferences,
        energy_uj=sums.energy_uj,
        emissions_g=emissions,
        unpriced_energy_uj=sums.unpriced_energy_uj,
        calibrated_energy_uj=sums.calibrated_energy_uj,
        mean_error=sums.mean_error,
        always_smallest_g=sums.smallest_g if priced else None,
        always_largest_g=sums.largest_g if priced else None,
        as_decided_g=sums.as_decided_g if priced else None,
        decided_error=sums.decided_error,
        deviating_inferences=sums.deviating_inferences,
        restated_inferences=sums.restated_inferences,
        energy_provenance=sorted(sums.energy_provenances),
        overhead_g=terms.overhead_g(emissions),
        embodied_g=device.embodied_g(sums.device_hours) if device is not None else None,
    )


def _embodied_to_wire(
    device: Device | None, reserved: Reserved | None, idle_hours: float
) -> emissions_pb2.Embodied | None:
    if device is None or reserved is None:
        return None
    return emissions_pb2.Embodied(
        device_kg=device.embodied_kg,
        lifetime_years=device.lifetime_years,
        share=device.share,
        reserved_from=messages.timestamp(reserved.begins),
        reserved_to=messages.timestamp(reserved.ends),
        embodied_g=device.embodied_g(reserved.hours),
        idle_g=device.embodied_g(idle_hours),
        provenance=CONFIGURED,
    )


def _own_use_to_wire(own: OwnUse | None, terms: Terms) -> emissions_pb2.OwnUse | None:
    if own is None:
        return None
    wire = emissions_pb2.OwnUse(cpu_s=own.cpu_us / 1e6, cpu_provenance=MEASURED, provenance=ESTIMATED)
    watts = terms.watts_per_core
    if watts is not None:
        # One watt for one microsecond is one microjoule.
        wire.watts_per_core = watts
        wire.energy_uj, wire.unpriced_energy_uj = round(own.cpu_us * watts), round(own.unpriced_cpu_us * watts)
        if own.unpriced_cpu_us < own.cpu_us:
            wire.emissions_g = own.g_per_watt * watts
            overhead = terms.overhead_g(wire.emissions_g)
            if overhead is not None:
                wire.overhead_g = overhead
    return wire


def _comparison_to_wire(found: Comparison | None) -> emissions_pb2.Reconciliation | None:
    if found is None:
        return None
    wire = emissions_pb2.Reconciliation(to=messages.timestamp(found.ends), provenance=ESTIMATED)
    getattr(wire, "from").CopyFrom(messages.timestamp(found.begins))
    wire.rows.extend(_compared_to_wire(line) for line in found.lines)
    return wire


def _compared_to_wire(line: Compared) -> emissions_pb2.ReconciledRow:
    return emissions_pb2.ReconciledRow(
        variants=line.variants,
        models=line.models,
        recorded=line.recorded,
        executed=line.executed.inferences,
        energy_uj=line.energy_uj,
        emissions_g=line.emissions_g,
        failed_requests=line.executed.failed_requests,
        cached_requests=line.executed.cached_requests,
        restarts=line.executed.restarts,
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
        calibrated_energy_uj=row.calibrated_energy_uj,
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
