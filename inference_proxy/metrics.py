"""The proxy's figures for Prometheus, read from the tallies at each scrape; labels never come from clients."""

import itertools
from collections.abc import Callable, Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from inference_proxy.tallies import LATENCY_BOUNDS_S, Tallies
from tradewind.units import NG_PER_G

_UJ_PER_J = 1_000_000


class TallyCollector(Collector):
    """Shows the tallies, and how much the spool has taken and holds."""

    def __init__(self, tallies: Tallies, spooled_bytes: Callable[[], int]) -> None:
        self._tallies, self._spooled_bytes = tallies, spooled_bytes

    def collect(self) -> Iterable[Metric]:
        """The metrics as they stand."""
        labels = ["family", "variant"]
        inferences = CounterMetricFamily("tradewind_inferences", "Inferences answered.", labels=labels)
        energy = CounterMetricFamily("tradewind_inference_energy_joules", "Energy of inferences.", labels=labels)
        emissions = CounterMetricFamily(
            "tradewind_inference_emissions_grams", "Emissions of inferences with a known intensity.", labels=labels
        )
        unpriced = CounterMetricFamily(
            "tradewind_inference_unpriced_energy_joules", "Energy used while no intensity was known.", labels=labels
        )
        for tally in list(self._tallies.served.values()):
            who = [tally.family, tally.variant]
            inferences.add_metric(who, tally.inferences)
            energy.add_metric(who, tally.energy_uj / _UJ_PER_J)
            if tally.energy_uj > tally.unpriced_uj:
                emissions.add_metric(who, tally.emissions_ng / NG_PER_G)
            unpriced.add_metric(who, tally.unpriced_uj / _UJ_PER_J)
        fallbacks = CounterMetricFamily(
            "tradewind_fallbacks", "Requests that another variant served.", labels=["family", "reason"]
        )
        for (family, reason), count in list(self._tallies.fallbacks.items()):
            fallbacks.add_metric([family, str(reason)], count)
        unrecorded = CounterMetricFamily(
            "tradewind_unrecorded_answers", "Answers withheld because the spool did not take their record."
        )
        unrecorded.add_metric([], self._tallies.unrecorded)
        refused = CounterMetricFamily("tradewind_refused_requests", "Requests beyond the admission limit.")
        refused.add_metric([], self._tallies.refused)
        in_flight = GaugeMetricFamily("tradewind_requests_in_flight", "Requests that Triton is working on.")
        in_flight.add_metric([], self._tallies.in_flight)
        spool = GaugeMetricFamily("tradewind_spool_bytes", "Size of the records on the local disk, stored or not.")
        spool.add_metric([], self._spooled_bytes())
        return [
            inferences,
            energy,
            emissions,
            unpriced,
            self._latencies(),
            fallbacks,
            refused,
            in_flight,
            unrecorded,
            spool,
        ]

    def _latencies(self) -> Metric:
        histogram = HistogramMetricFamily(
            "tradewind_triton_latency_seconds", "Time that Triton took.", labels=["family", "variant"]
        )
        for tally in list(self._tallies.served.values()):
            below = itertools.accumulate(tally.latencies)
            bounds = (*(repr(bound) for bound in LATENCY_BOUNDS_S), "+Inf")
            histogram.add_metric([tally.family, tally.variant], list(zip(bounds, below, strict=True)), tally.latency_s)
        return histogram
