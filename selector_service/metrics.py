"""What the selector counts, for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge

from tradewind.decisions import Decision


class Metrics:
    """The selector's own registry: labels come from the catalogue and from zones that carbon_service knows."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.refused = Counter(
            "tradewind_messages_refused", "Bus messages that held no reading.", registry=self.registry
        )
        self._decisions = Counter(
            "tradewind_decisions",
            "Decisions that came into force.",
            ("family", "variant", "reason"),
            registry=self.registry,
        )
        self._intensity = self._gauge("tradewind_grid_intensity_grams_per_kwh", "The current reading.", "zone")
        self._low = self._gauge("tradewind_range_low_grams_per_kwh", "Low of the rolling range.", "zone")
        self._high = self._gauge("tradewind_range_high_grams_per_kwh", "High of the rolling range.", "zone")
        self._waiting = self._gauge("tradewind_selector_unstored", "Readings and decisions not in the database yet.")

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, registry=self.registry)

    def decided(self, decision: Decision) -> None:
        """Counts a decision and shows the intensity and range it was made from."""
        self._decisions.labels(decision.family, decision.heaviest_variant, decision.reason.value).inc()
        if decision.current is not None and decision.range is not None:
            self._intensity.labels(decision.zone).set(decision.current.intensity_g_per_kwh)
            self._low.labels(decision.zone).set(decision.range.low_g_per_kwh)
            self._high.labels(decision.zone).set(decision.range.high_g_per_kwh)

    def unstored(self, count: int) -> None:
        """Shows what waits for the database."""
        self._waiting.set(count)
