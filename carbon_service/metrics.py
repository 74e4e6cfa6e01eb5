"""What Prometheus may see: intensities and their age per zone, and the gate's work. Zones are labels once known."""

import asyncio
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from carbon_service.health import SourceHealths
from carbon_service.keeper import Taken
from carbon_service.observations import REASONS
from carbon_service.present import Board


class Metrics:
    """Counts what is stored and quarantined; shows what holds when it is asked."""

    def __init__(self, board: Board, healths: SourceHealths, clock: Callable[[], datetime]) -> None:
        self.registry = CollectorRegistry()
        self._accepted = Counter(
            "tradewind_observations_accepted", "Observations that passed the gate.", registry=self.registry
        )
        self._quarantined = Counter(
            "tradewind_observations_quarantined",
            "Observations in quarantine, by reason.",
            ["reason"],
            registry=self.registry,
        )
        for reason in sorted(REASONS):
            self._quarantined.labels(reason)
        self.registry.register(_Zones(board, healths, clock, asyncio.get_running_loop()))

    def hand_over(self, taken: Taken, _now: datetime) -> None:
        """Takes what was stored to be counted."""
        self._accepted.inc(sum(outcome.accepted for outcome in taken.outcomes))
        for reason in taken.quarantined:
            self._quarantined.labels(reason).inc()


class _Zones(Collector):
    def __init__(
        self, board: Board, healths: SourceHealths, clock: Callable[[], datetime], loop: asyncio.AbstractEventLoop
    ) -> None:
        self._board = board
        self._healths = healths
        self._clock = clock
        self._loop = loop

    def describe(self) -> Iterator[Metric]:
        """Nothing in advance: registering must not ask the event loop."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """The gauges, asked of the event loop from the thread that serves them."""
        yield from asyncio.run_coroutine_threadsafe(self._gauges(), self._loop).result(5)

    async def _gauges(self) -> list[Metric]:
        now = self._clock()
        intensity = _gauge("tradewind_grid_intensity_grams_per_kwh", "Current intensity; absent while stale.", "zone")
        age = _gauge("tradewind_grid_intensity_age_seconds", "Time since the last reading's interval began.", "zone")
        stale = _gauge("tradewind_grid_intensity_stale", "1 while no reading holds now.", "zone")
        for zone in self._board.zones():
            last = self._board.last(zone, now)
            if last is None:
                continue
            age.add_metric([zone], (now - last.valid_from).total_seconds())
            stale.add_metric([zone], float(not last.holds_at(now)))
            if last.holds_at(now):
                intensity.add_metric([zone], last.intensity_g_per_kwh)
        healthy = _gauge("tradewind_source_healthy", "1 while a zone's source answers.", "zone", "source")
        for each in self._healths.every():
            healthy.add_metric([each.zone, each.source], float(each.healthy))
        return [intensity, age, stale, healthy]


def _gauge(name: str, text: str, *labels: str) -> Any:
    return GaugeMetricFamily(name, text, labels=labels)
