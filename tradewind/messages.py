"""Wire types of `tradewind.rpc.v1` to our records and back: the one place where they meet."""

from datetime import UTC, datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from tradewind.catalogue import Family, Variant
from tradewind.decisions import Decision, DecisionReason, RangeSummary, Share
from tradewind.errors import InvalidInput
from tradewind.readings import Reading, ReadingKind, Signal, check_zone
from tradewind.rpc.v1 import selector_pb2, types_pb2

_KINDS = {
    ReadingKind.ACTUAL: types_pb2.READING_KIND_ACTUAL,
    ReadingKind.ESTIMATED: types_pb2.READING_KIND_ESTIMATED,
    ReadingKind.FORECAST: types_pb2.READING_KIND_FORECAST,
}
_SIGNALS = {Signal.AVERAGE: types_pb2.SIGNAL_AVERAGE, Signal.MARGINAL: types_pb2.SIGNAL_MARGINAL}
_KINDS_BACK = {wire: kind for kind, wire in _KINDS.items()}
_SIGNALS_BACK = {wire: signal for signal, wire in _SIGNALS.items()}


def timestamp(moment: datetime) -> Timestamp:
    """A UTC time as a Timestamp, microseconds kept."""
    message = Timestamp()
    message.FromDatetime(moment.astimezone(UTC))
    return message


def moment(message: Timestamp) -> datetime:
    """A Timestamp as a UTC time; InvalidInput where the calendar has none."""
    try:
        return message.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidInput(
            f"{message.seconds} s and {message.nanos} ns are no Timestamp: say seconds since 1970, of years 1 to 9999, "
            f"and 0 to 999999999 ns"
        ) from error


def duration(span: timedelta) -> Duration:
    """A span of time as a Duration."""
    message = Duration()
    message.FromTimedelta(span)
    return message


def reading_to_wire(reading: Reading) -> types_pb2.Reading:
    """A reading for the wire."""
    return types_pb2.Reading(
        zone=reading.zone,
        valid_from=timestamp(reading.valid_from),
        valid_to=timestamp(reading.valid_to),
        intensity_g_per_kwh=reading.intensity_g_per_kwh,
        kind=_KINDS[reading.kind],
        signal=_SIGNALS[reading.signal],
        source=reading.source,
        published_at=timestamp(reading.published_at),
        revision=reading.revision,
        recorded_at=timestamp(reading.recorded_at) if reading.recorded_at is not None else None,
    )


def reading_from_wire(message: types_pb2.Reading) -> Reading:
    """A reading from the wire; InvalidInput names the field that is missing."""
    for field in ("valid_from", "valid_to", "published_at"):
        if not message.HasField(field):
            raise InvalidInput(f"reading.{field} is missing: say it in UTC")
    if message.kind not in _KINDS_BACK or message.signal not in _SIGNALS_BACK:
        raise InvalidInput("reading.kind and reading.signal must be set to one of their named values")
    return Reading(
        zone=check_zone(message.zone),
        valid_from=moment(message.valid_from),
        valid_to=moment(message.valid_to),
        intensity_g_per_kwh=message.intensity_g_per_kwh,
        kind=_KINDS_BACK[message.kind],
        signal=_SIGNALS_BACK[message.signal],
        source=message.source,
        published_at=moment(message.published_at),
        revision=message.revision,
        recorded_at=moment(message.recorded_at) if message.HasField("recorded_at") else None,
    )


def signal_to_wire(signal: Signal) -> "types_pb2.Signal.ValueType":
    """A signal for the wire."""
    return _SIGNALS[signal]


def signal_from_wire(signal: "types_pb2.Signal.ValueType") -> Signal | None:
    """A signal from the wire; None where none is named."""
    return _SIGNALS_BACK.get(signal)


def decision_to_wire(decision: Decision) -> selector_pb2.Decision:
    """A decision for the wire."""
    summary = decision.range
    return selector_pb2.Decision(
        id=decision.id,
        zone=decision.zone,
        family=decision.family,
        revision=decision.revision,
        mix=[selector_pb2.Share(variant=share.variant, weight=share.weight) for share in decision.mix],
        valid_from=timestamp(decision.valid_from),
        valid_until=timestamp(decision.valid_until),
        policy=decision.policy,
        reason=selector_pb2.DecisionReason.Value(f"DECISION_REASON_{decision.reason.name}"),
        explanation=decision.explanation,
        current=reading_to_wire(decision.current) if decision.current is not None else None,
        range=None
        if summary is None
        else selector_pb2.RangeSummary(
            low_g_per_kwh=summary.low_g_per_kwh,
            high_g_per_kwh=summary.high_g_per_kwh,
            window=duration(summary.window),
            readings=summary.readings,
            full=summary.full,
        ),
        figures=dict(decision.figures),
        decided_at=timestamp(decision.decided_at),
    )


def decision_from_wire(message: selector_pb2.Decision) -> Decision:
    """A decision from the wire."""
    summary = message.range
    return Decision(
        id=message.id,
        zone=message.zone,
        family=message.family,
        revision=message.revision,
        mix=tuple(Share(share.variant, share.weight) for share in message.mix),
        valid_from=moment(message.valid_from),
        valid_until=moment(message.valid_until),
        policy=message.policy,
        reason=DecisionReason[selector_pb2.DecisionReason.Name(message.reason).removeprefix("DECISION_REASON_")],
        explanation=message.explanation,
        current=reading_from_wire(message.current) if message.HasField("current") else None,
        range=None
        if not message.HasField("range")
        else RangeSummary(
            low_g_per_kwh=summary.low_g_per_kwh,
            high_g_per_kwh=summary.high_g_per_kwh,
            window=summary.window.ToTimedelta(),
            readings=summary.readings,
            full=summary.full,
        ),
        figures=dict(message.figures),
        decided_at=moment(message.decided_at),
    )


def family_to_wire(name: str, family: Family) -> selector_pb2.Family:
    """A family of the catalogue for the wire, its variants in order of name."""
    return selector_pb2.Family(
        name=name,
        error_metric=family.error_metric,
        variants=[
            _variant_to_wire(variant_name, variant, variant_name in family.pool)
            for variant_name, variant in sorted(family.variants.items())
        ],
    )


def _variant_to_wire(name: str, variant: Variant, permitted: bool) -> selector_pb2.Variant:
    latency = variant.p95_latency_ms
    return selector_pb2.Variant(
        name=name,
        model=variant.model or name,
        model_version=variant.model_version,
        energy_mj=variant.energy_mj.value,
        error=variant.error.value,
        p95_latency_ms=latency.value if latency is not None else None,
        energy_provenance=variant.energy_mj.provenance.value,
        error_provenance=variant.error.provenance.value,
        permitted=permitted,
    )
