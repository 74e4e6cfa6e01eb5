"""The selector's settings: what is written is what is meant, and what is wrong is named."""

from collections.abc import Mapping
from datetime import timedelta

import pytest

from selector_service.settings import SelectorSettings, parse_options
from tradewind.errors import StartupError
from tradewind.readings import Signal
from tradewind.settings import read_settings


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for key in os.environ:
        if key.startswith("TRADEWIND_"):
            monkeypatch.delenv(key)


def read(monkeypatch: pytest.MonkeyPatch, environment: Mapping[str, str]) -> SelectorSettings:
    for key, value in environment.items():
        monkeypatch.setenv(f"TRADEWIND_SELECTOR_{key}", value)
    return read_settings(SelectorSettings)


def test_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(monkeypatch, {})
    assert settings.selector_listen == "127.0.0.1:9102"
    assert settings.zones == ()
    assert (settings.rule.window, settings.rule.signal) == (timedelta(hours=24), Signal.AVERAGE)
    assert (settings.rule.low_percentile, settings.rule.high_percentile) == (0.0, 100.0)
    assert (settings.selector_policy, settings.selector_stale) == ("proportional", "hold")
    assert (settings.selector_metrics_host, settings.selector_metrics_port) == ("127.0.0.1", None)


def test_every_setting_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(
        monkeypatch,
        {
            "ZONES": "GB, FR ,",
            "WINDOW": "60s",
            "POLICY": "fixed",
            "POLICY_OPTIONS": "variant=resnet50, opt_out=mon 08:00-10:00",
            "RANGE": "p5-p97.5",
            "SIGNAL": "marginal",
            "STALE": "fallback",
            "METRICS_PORT": "0",
        },
    )
    assert settings.zones == ("GB", "FR")
    assert settings.policy_options == {"variant": "resnet50", "opt_out": "mon 08:00-10:00"}
    assert (settings.rule.low_percentile, settings.rule.high_percentile) == (5.0, 97.5)
    assert settings.rule.window == timedelta(seconds=60)
    assert settings.rule.signal is Signal.MARGINAL


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("ZONES", "GB,a b"),
        ("WINDOW", "0s"),
        ("WINDOW", "soon"),
        ("POLICY_OPTIONS", "variant"),
        ("POLICY_OPTIONS", "=x"),
        ("RANGE", "p95-p5"),
        ("RANGE", "p5-p101"),
        ("RANGE", "all"),
        ("SIGNAL", "both"),
        ("STALE", "stop"),
        ("METRICS_PORT", "70000"),
    ],
)
def test_what_is_wrong_names_its_variable(monkeypatch: pytest.MonkeyPatch, key: str, value: str) -> None:
    with pytest.raises(StartupError, match=f"^TRADEWIND_SELECTOR_{key}: "):
        read(monkeypatch, {key: value})


def test_an_unknown_key_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StartupError, match="TRADEWIND_SELECTOR_WINDOWS: unknown setting"):
        read(monkeypatch, {"WINDOWS": "24h"})


def test_options_may_hold_equals_signs() -> None:
    assert parse_options("a=b=c") == {"a": "b=c"}
