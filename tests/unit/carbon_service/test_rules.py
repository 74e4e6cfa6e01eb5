"""The zones file: what it may say, and one sentence for what it may not."""

from datetime import timedelta
from pathlib import Path

import pytest

from carbon_service.rules import Rules, read_zones_file
from tradewind.errors import StartupError
from tradewind.readings import Signal

GOOD = """
zones:
  GB-SWE:
    sources:
      - provider: neso
        area: "11"
    gate:
      persist_periods: 5
      recent: 12h
  US-CAL:
    signal: marginal
    edge_validity: 5m
publishers:
  roof:
    zones: [home, GB-SWE]
"""


def rules_of(tmp_path: Path, text: str) -> Rules:
    path = tmp_path / "zones.yaml"
    path.write_text(text)
    return Rules(file=read_zones_file(path))


def test_a_zone_has_its_own_gate_signal_and_sources(tmp_path: Path) -> None:
    rules = rules_of(tmp_path, GOOD)
    assert rules.gate_limits("GB-SWE").persist_periods == 5
    assert rules.gate_limits("GB-SWE").recent == timedelta(hours=12)
    assert rules.gate_limits("other") == Rules().limits
    assert rules.signal("US-CAL") is Signal.MARGINAL
    assert rules.signal("other") is Signal.AVERAGE
    assert rules.validity("US-CAL") == timedelta(minutes=5)
    assert rules.validity("other") == timedelta(hours=1)


def test_publishers_speak_only_for_their_zones(tmp_path: Path) -> None:
    rules = rules_of(tmp_path, GOOD)
    assert rules.may_publish("roof", "home")
    assert not rules.may_publish("roof", "US-CAL")
    assert not rules.may_publish("cellar", "home")
    assert rules_of(tmp_path, "").may_publish("anybody", "anywhere")


def test_a_replayed_zone_has_a_compressed_gate() -> None:
    rules = Rules(replay_zone="DEMO", replay_speed=1440.0)
    assert rules.gate_limits("DEMO").recent == timedelta(minutes=1)
    assert rules.gate_limits("other").recent == timedelta(hours=24)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("zones: [", "is not YAML"),
        ("zonen: {}", "zonen"),
        ("zones: {'a b': {}}", "zones.a b"),
        ("zones: {Z: {signal: both}}", "zones.Z.signal"),
        ("zones: {Z: {sources: [{provider: guesswork}]}}", "zones.Z.sources.0.provider"),
        ("zones: {Z: {gate: {recent: soon}}}", "zones.Z.gate.recent"),
        ("publishers: {roof: {zones: []}}", "publishers.roof.zones"),
        ("publishers: {roof: {zones: [home], token_sha256: secret}}", "publishers.roof.token_sha256"),
        ("zones: {Z: {gate: {least_factor: 0.5}}}", "least_factor"),
    ],
)
def test_a_wrong_file_is_refused_with_the_place(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(StartupError) as caught:
        rules_of(tmp_path, text)
    assert str(tmp_path / "zones.yaml") in str(caught.value)
    assert words in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=r"nowhere\.yaml: cannot be read"):
        read_zones_file(tmp_path / "nowhere.yaml")
