"""Settings come from the environment, typed; what is unknown or wrong is said in one sentence."""

from datetime import timedelta

import pytest
import typer

from carbon_service.settings import CarbonSettings
from tradewind.cli import app
from tradewind.errors import StartupError
from tradewind.settings import CommonSettings, Duration, read_settings, unknown_keys


class ExampleSettings(CommonSettings):
    """A service's settings, as services write theirs."""

    selector_window: Duration = timedelta(hours=24)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("24h", timedelta(hours=24)),
        ("60s", timedelta(seconds=60)),
        ("1.25s", timedelta(seconds=1.25)),
        ("250ms", timedelta(milliseconds=250)),
        ("28d", timedelta(days=28)),
        ("PT5M", timedelta(minutes=5)),
    ],
)
def test_durations(text: str, expected: timedelta, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADEWIND_SELECTOR_WINDOW", text)
    assert read_settings(ExampleSettings).selector_window == expected


def test_an_unknown_key_is_named_with_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADEWIND_SELECTOR_WINDOWS", "24h")
    with pytest.raises(StartupError, match="TRADEWIND_SELECTOR_WINDOWS: unknown setting") as raised:
        read_settings(ExampleSettings)
    assert "did you mean TRADEWIND_SELECTOR_WINDOW?" in str(raised.value)


def test_the_keys_of_other_services_are_not_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADEWIND_PROXY_ZONE", "GB-SWE")
    assert read_settings(ExampleSettings).selector_window == timedelta(hours=24)


def test_what_the_command_line_reads_is_not_unknown_to_a_service() -> None:
    commands = typer.main.get_command(app).commands.values()  # type: ignore[attr-defined]
    names = {parameter.envvar for command in commands for parameter in command.params if parameter.envvar}
    assert {"TRADEWIND_CARBON_ADDRESS", "TRADEWIND_DATABASE_URL"} <= names
    assert unknown_keys(CarbonSettings, dict.fromkeys(names, "x")) == []


@pytest.mark.parametrize("text", ["a while", "90", "24 parsecs"])
def test_a_wrong_value_names_its_variable(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADEWIND_SELECTOR_WINDOW", text)
    with pytest.raises(StartupError) as raised:
        read_settings(ExampleSettings)
    assert str(raised.value) == f"TRADEWIND_SELECTOR_WINDOW: {text!r} is not a duration: write 90s, 5m, 24h or 28d"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1000000d", "it is more than 100 years (36525d)"),
        ("99999999999d", "it is more than 100 years (36525d)"),
        ("-P1D", "it is negative: write 90s, 5m, 24h or 28d"),
    ],
)
def test_a_span_that_no_date_can_be_moved_by_is_refused(text: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADEWIND_SELECTOR_WINDOW", text)
    with pytest.raises(StartupError) as raised:
        read_settings(ExampleSettings)
    assert str(raised.value) == f"TRADEWIND_SELECTOR_WINDOW: {said}"
