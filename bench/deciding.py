"""A selector that has decided once and for all: what receipts say is then what they say in service."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc

from tradewind import messages
from tradewind.decisions import Decision, DecisionReason, Share
from tradewind.readings import Reading, ReadingKind, Signal
from tradewind.rpc.v1 import selector_pb2, selector_pb2_grpc

ZONE = "GB"


class _Selector(selector_pb2_grpc.SelectorServicer):
    def __init__(self, decision: Decision) -> None:
        self.ended = threading.Event()
        self._snapshot = selector_pb2.DecisionSnapshot(
            decisions=[messages.decision_to_wire(decision)],
            readings=[messages.reading_to_wire(decision.current)] if decision.current is not None else [],
        )

    def WatchDecisions(self, request: Any, context: Any) -> Iterator[selector_pb2.WatchDecisionsResponse]:  # noqa: ARG002, N802 -- the proto's name
        yield selector_pb2.WatchDecisionsResponse(snapshot=self._snapshot)
        self.ended.wait()

    def ReportServed(self, request: Any, context: Any) -> selector_pb2.ReportServedResponse:  # noqa: ARG002, N802 -- as above
        return selector_pb2.ReportServedResponse(counted=True)

    def Decide(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802 -- as above
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "the proxy watches decisions")

    def ListFamilies(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802 -- as above
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "the proxy has its catalogue")


@contextmanager
def decided(family: str, variant: str) -> Iterator[str]:
    """The address of a selector for which this variant of a family answers, at a known intensity."""
    now = datetime.now(UTC)
    begins, ends = now - timedelta(hours=1), now + timedelta(hours=23)
    current = Reading(
        zone=ZONE,
        valid_from=begins,
        valid_to=ends,
        intensity_g_per_kwh=212.5,
        kind=ReadingKind.ACTUAL,
        signal=Signal.AVERAGE,
        source="bench",
        published_at=now,
    )
    decision = Decision(
        id=f"{ZONE}-{family}-1",
        zone=ZONE,
        family=family,
        revision=1,
        mix=(Share(variant, 1.0),),
        valid_from=begins,
        valid_until=ends,
        policy="fixed",
        reason=DecisionReason.FIXED,
        explanation="the benchmark says so",
        current=current,
        range=None,
        decided_at=now,
    )
    selector, server = _Selector(decision), grpc.server(ThreadPoolExecutor(8))
    selector_pb2_grpc.add_SelectorServicer_to_server(selector, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        selector.ended.set()
        server.stop(None).wait()
