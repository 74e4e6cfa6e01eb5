"""The carbon service's settings: what is wrong is named by its variable."""

from datetime import timedelta
from pathlib import Path

import pytest

from carbon_service.settings import CarbonSettings
from tradewind.bus import broker_address
from tradewind.errors import TradewindError
from tradewind.settings import read_settings


def settings_of(monkeypatch: pytest.MonkeyPatch, **fields: str) -> CarbonSettings:
    for name, value in fields.items():
        monkeypatch.setenv(f"TRADEWIND_{name.upper()}", value)
    return read_settings(CarbonSettings)


def test_they_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = settings_of(
        monkeypatch,
        carbon_replay_file=str(tmp_path / "day.csv"),
        carbon_replay_zone="GB-SWE",
        carbon_replay_speed="1440",
        carbon_replay_backfill="24h",
        carbon_persist_periods="5",
    )
    rules = settings.rules()
    assert settings.carbon_replay_backfill == timedelta(days=1)
    assert rules.gate_limits("GB-SWE").recent == timedelta(minutes=1)
    assert rules.gate_limits("other").persist_periods == 5


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("carbon_speed", "2", "TRADEWIND_CARBON_SPEED"),
        ("carbon_replay_speed", "0", "TRADEWIND_CARBON_REPLAY_SPEED"),
        ("carbon_replay_speed", "nan", "TRADEWIND_CARBON_REPLAY_SPEED"),
        ("carbon_replay_zone", "a b", "TRADEWIND_CARBON_REPLAY_ZONE"),
        ("carbon_edge_validity", "soon", "TRADEWIND_CARBON_EDGE_VALIDITY"),
        ("carbon_lowest_g_per_kwh", "-1", "lowest_g_per_kwh"),
        ("carbon_zones_file", "/nowhere/zones.yaml", "/nowhere/zones.yaml"),
        ("broker_url", "tcp://somewhere", "mqtt://"),
        ("broker_ca_file", "/nowhere/ca.pem", "TRADEWIND_BROKER_CA_FILE"),
    ],
)
def test_what_is_wrong_is_named(monkeypatch: pytest.MonkeyPatch, field: str, value: str, words: str) -> None:
    def start() -> None:
        settings = settings_of(monkeypatch, **{field: value})
        settings.rules()
        broker_address(settings)

    with pytest.raises(TradewindError) as caught:
        start()
    assert words in str(caught.value)
