"""What a scrape shows: base units, catalogue labels, and nothing where nothing is known."""

from prometheus_client import CollectorRegistry, generate_latest

from inference_proxy.metrics import TallyCollector
from inference_proxy.tallies import Tallies


def scrape(tallies: Tallies) -> list[str]:
    registry = CollectorRegistry()
    registry.register(TallyCollector(tallies, lambda: 96))
    return [line for line in generate_latest(registry).decode().splitlines() if not line.startswith("#")]


def test_energy_in_joules_and_emissions_in_grams() -> None:
    tallies = Tallies()
    tally = tallies.of("ident", "small")
    tally.inferences, tally.energy_uj, tally.emissions_ng = 3, 1_500_000, 250_000_000
    tally.took(0.003)
    tally.took(0.2)
    tallies.fallbacks["ident", "not_ready"] += 1
    tallies.in_flight = 2
    lines = scrape(tallies)
    labels = '{family="ident",variant="small"}'
    assert f"tradewind_inferences_total{labels} 3.0" in lines
    assert f"tradewind_inference_energy_joules_total{labels} 1.5" in lines
    assert f"tradewind_inference_emissions_grams_total{labels} 0.25" in lines
    assert 'tradewind_fallbacks_total{family="ident",reason="not_ready"} 1.0' in lines
    assert "tradewind_requests_in_flight 2.0" in lines
    assert "tradewind_spool_bytes 96.0" in lines
    bucket = 'tradewind_triton_latency_seconds_bucket{family="ident",le="%s",variant="small"} %s'
    assert bucket % ("0.0025", "0.0") in lines
    assert bucket % ("0.005", "1.0") in lines
    assert bucket % ("+Inf", "2.0") in lines
    assert f"tradewind_triton_latency_seconds_count{labels} 2.0" in lines


def test_emissions_that_nobody_knows_are_not_zero() -> None:
    tallies = Tallies()
    tally = tallies.of("ident", "small")
    tally.inferences, tally.energy_uj, tally.unpriced_uj = 1, 1_000_000, 1_000_000
    lines = scrape(tallies)
    assert not any(line.startswith("tradewind_inference_emissions_grams_total") for line in lines)
    assert 'tradewind_inference_unpriced_energy_joules_total{family="ident",variant="small"} 1.0' in lines
