"""Follows the selector's decisions: pushed, never asked for per request; without it the last decision stands."""

import asyncio
from collections.abc import Callable, Iterable, Mapping

import grpc

from inference_proxy.intervals import Intervals
from inference_proxy.last_decisions import LastDecisions
from inference_proxy.routes import FamilyRoute
from tradewind import messages
from tradewind.calling import PLAIN, Way
from tradewind.decisions import Decision
from tradewind.errors import TradewindError
from tradewind.logs import get_logger
from tradewind.readings import Reading
from tradewind.rpc.v1 import selector_pb2, selector_pb2_grpc

log = get_logger(__name__)

_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.2, 5.0

# A selector whose machine vanished says nothing: pings find that out.
CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.max_receive_message_length", -1),
)


class Following:
    """Takes decisions and readings of one zone into the routes, the intervals and the ledger."""

    def __init__(
        self,
        zone: str,
        families: Mapping[str, FamilyRoute],
        intervals: Intervals,
        keep: Callable[[Iterable[Reading]], None],
        last: LastDecisions,
    ) -> None:
        """`keep` takes readings for the ledger."""
        self._zone, self._families, self._intervals, self._keep = zone, families, intervals, keep
        self._last, self._kept = last, True
        self.heard = asyncio.Event()
        """Set once a snapshot has come."""

    def restore(self) -> None:
        """Brings back what was in force when the last life ended; a newer decision takes its place."""
        for decision in self._last.restore():
            self.decide(decision)
        self._kept = True

    async def follow(self, address: str, way: Way = PLAIN) -> None:
        """Watches the selector for ever, through its absences."""
        wait, away = _FIRST_WAIT_S, False
        async with way.channel(address, CHANNEL_OPTIONS) as channel:
            stub = selector_pb2_grpc.SelectorStub(channel)
            request = selector_pb2.WatchDecisionsRequest(zones=[self._zone], families=sorted(self._families))
            while True:
                try:
                    async for event in stub.WatchDecisions(request):
                        if away:
                            log.info("the selector is back", address=address)
                        wait, away = _FIRST_WAIT_S, False
                        self.take(event)
                except grpc.aio.AioRpcError as error:
                    if not away:
                        log.warning(
                            "the selector is away; the last decisions stand", address=address, code=error.code().name
                        )
                    away = True
                await asyncio.sleep(wait)
                wait = min(wait * 2, _LONGEST_WAIT_S)

    def take(self, event: selector_pb2.WatchDecisionsResponse) -> None:
        """One event of the stream; what cannot be understood is logged and left out."""
        try:
            kind = event.WhichOneof("event")
            if kind == "snapshot":
                self.learn([messages.reading_from_wire(each) for each in event.snapshot.readings])
                for each in event.snapshot.decisions:
                    self.decide(messages.decision_from_wire(each))
                self.heard.set()
            elif kind == "decision":
                self.decide(messages.decision_from_wire(event.decision))
            elif kind == "restated":
                self.learn([messages.reading_from_wire(event.restated)])
        except (TradewindError, KeyError, ValueError) as error:
            log.warning("an event from the selector is not understood and left out", error=str(error))
        self.remember()

    def decide(self, decision: Decision) -> None:
        """Brings a decision into force, unless a newer one is."""
        family = self._families.get(decision.family)
        if family is None or decision.zone != self._zone:
            return
        if decision.current is not None:
            self.learn([decision.current])
        known = family.decision
        # After a selector was set up anew its revisions begin again: the time of deciding tells then.
        if known is None or (decision.decided_at, decision.revision) >= (known.decided_at, known.revision):
            family.decide(decision)
            self._kept = False

    def remember(self) -> None:
        """Writes down what came into force since the last time, before it serves a request."""
        if not self._kept:
            self._kept = True
            self._last.keep()

    def learn(self, readings: Iterable[Reading]) -> None:
        """Takes readings in, for the requests to come and for the ledger."""
        new = [reading for reading in readings if self._intervals.learn(reading)]
        if new:
            self._keep(new)
