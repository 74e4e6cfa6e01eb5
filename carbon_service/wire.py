"""What only this service says over gRPC, as wire types."""

from carbon_service.health import SourceHealth
from carbon_service.queries import Quarantined
from tradewind.messages import timestamp
from tradewind.rpc.v1 import carbon_pb2


def quarantined_to_wire(row: Quarantined) -> carbon_pb2.Quarantined:
    """A row of the quarantine for the wire."""
    return carbon_pb2.Quarantined(
        id=row.id,
        zone=row.zone,
        source=row.source,
        reason=row.reason,
        explanation=row.explanation,
        excerpt=row.excerpt,
        first_at=timestamp(row.first_at),
        last_at=timestamp(row.last_at),
        times=row.times,
        released_at=None if row.released_at is None else timestamp(row.released_at),
    )


def source_health_to_wire(health: SourceHealth) -> carbon_pb2.SourceHealth:
    """How a source does, for the wire."""
    return carbon_pb2.SourceHealth(
        source=health.source,
        healthy=health.healthy,
        in_use=health.in_use,
        last_success=None if health.last_success is None else timestamp(health.last_success),
        last_failure=None if health.last_failure is None else timestamp(health.last_failure),
        problem=health.problem,
    )
