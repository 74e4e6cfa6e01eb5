"""Books what was executed, before anyone is answered: the same for every front."""

import time

from inference_proxy.attempts import Attempt
from inference_proxy.endpoints import Endpoint
from inference_proxy.routes import Lane, Receipt
from inference_proxy.spool import MAX_INFERENCES, Spool
from inference_proxy.tallies import Tallies
from tradewind.logs import get_logger

log = get_logger(__name__)


class Unrecorded(Exception):
    """The spool's disk did not take the record; what is not recorded is not answered. Its text is for the caller."""


class Accounting:
    """Writes the spool and the tallies."""

    def __init__(self, spool: Spool, tallies: Tallies) -> None:
        self._spool, self.tallies = spool, tallies

    def attempt(self, lane: Lane, endpoint: Endpoint) -> Attempt:
        """A try of one message of a stream, to be entered and left by hand."""
        return Attempt(lane, endpoint, self.tallies)

    def book(self, lane: Lane, inferences: int, attempt: Attempt | None = None) -> Receipt:  # noqa: ARG002 -- for spans
        """Books one request that Triton has executed and says what its answer carries; Unrecorded if it cannot.

        `attempt` tells of a stream which of its messages it was.
        """
        now_us = time.time_ns() // 1_000
        inferences = min(inferences, MAX_INFERENCES)
        receipt = lane.receipt(inferences, now_us)
        try:
            self._spool.record(
                lane.key,
                now_us,
                inferences,
                receipt.energy_uj,
                receipt.smallest_uj,
                receipt.largest_uj,
                receipt.decided_uj,
            )
        except OSError as error:
            self.tallies.unrecorded += 1
            log.error("the spool's disk does not take records; answers are withheld", error=error.strerror)  # noqa: TRY400 -- one line per answer is enough
            raise Unrecorded("the proxy's accounts cannot be written: free its spool's disk") from error
        self._count(lane, inferences, receipt)
        return receipt

    def _count(self, lane: Lane, inferences: int, receipt: Receipt) -> None:
        tally = lane.tally
        tally.requests += 1
        tally.inferences += inferences
        tally.energy_uj += receipt.energy_uj
        if receipt.emissions_ng is None:
            tally.unpriced_uj += receipt.energy_uj
        else:
            tally.emissions_ng += receipt.emissions_ng
        if lane.followed is not None:
            self.tallies.followed[lane.followed] += inferences
        if lane.account.fallback is not None:
            self.tallies.fallbacks[lane.account.requested_model, lane.account.fallback] += 1
