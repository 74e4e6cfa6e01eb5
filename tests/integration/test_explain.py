"""`tradewind explain` beside a selector that runs: what is in force, one decision of it, and what is refused."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from local_stack.ports import free_ports
from local_stack.services import Service
from tests.integration.selector_service.parts import CATALOGUE, a_reading, half_hour, publishing_to, say
from tradewind.migrate import upgrade

PROGRAM = [sys.executable, "-c", "from tradewind.cli import main; main()", "explain"]


def explain(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={key: value for key, value in os.environ.items() if not key.startswith("TRADEWIND_")} | {"COLUMNS": "120"},
    )


@pytest.fixture
def selector(tmp_path: Path, sqlite_url: str, broker: str, unique_zone: str) -> Iterator[Service]:
    """A selector that has decided nothing yet, or for `unique_zone` alone."""
    upgrade(sqlite_url)
    (tmp_path / "catalogue.yaml").write_text(CATALOGUE)
    settings = {
        "TRADEWIND_DATABASE_URL": sqlite_url,
        "TRADEWIND_BROKER_URL": broker,
        "TRADEWIND_CATALOGUE": str(tmp_path / "catalogue.yaml"),
        "TRADEWIND_SELECTOR_ZONES": unique_zone,
    }
    service = Service("selector_service", tmp_path, settings, "TRADEWIND_SELECTOR_LISTEN")
    service.start()
    try:
        yield service
    finally:
        service.stop()


async def test_what_is_in_force_is_told_in_numbers_and_a_sentence(
    selector: Service, broker: str, unique_zone: str
) -> None:
    at = ("--selector", selector.address)
    one = (*at, "--zone", unique_zone, "--family", "resnet")
    before = explain(*one)
    assert before.returncode == 0, before.stderr
    assert f"no plausible reading of {unique_zone} was ever heard, so the fallback small serves" in before.stdout

    async with publishing_to(broker) as publisher:
        await say(publisher, a_reading(unique_zone, half_hour() - timedelta(minutes=30), 300.0), restated=True)
        await say(publisher, a_reading(unique_zone, half_hour(), 120.0))
    for _ in range(60):  # Each asks once more; together they wait for the reading to be heard.
        told = explain(*one)
        if "120 to 300 g/kWh" in told.stdout:
            break
    assert re.search(r"decision +\S+ \(revision \d+\)", told.stdout)
    assert re.search(rf"zone, family +{unique_zone}, resnet", told.stdout)
    assert re.search(r"mix +large 100\.0%", told.stdout)
    assert re.search(r"policy, reason +proportional, range_position", told.stdout)
    assert re.search(r"intensity +120 g/kWh \(replay:test\)", told.stdout)
    assert re.search(r"range +120 to 300 g/kWh over 2 readings, not yet full", told.stdout)
    sentence = told.stdout.strip().splitlines()[-1]
    assert "120" in sentence
    assert "large" in sentence

    whole = explain(*at)
    assert whole.returncode == 0, whole.stderr
    zones = re.findall(r"zone, family +(\S+), (\S+)", whole.stdout)
    assert zones == [(unique_zone, "digits"), (unique_zone, "resnet")]
    assert sentence in whole.stdout
    family = explain(*at, "--family", "digits")
    assert re.findall(r"zone, family +\S+, (\S+)", family.stdout) == ["digits"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--family", "bert"), r"family 'bert' is not in the catalogue: it has digits, resnet"),
        (("--zone", "XX", "--family", "resnet"), r"zone XX is not followed: this selector follows T-"),
        (("--zone", "a b"), r"zone 'a b' is not a zone's name"),
    ],
)
def test_what_is_not_there_is_one_sentence(selector: Service, words: tuple[str, ...], says: str) -> None:
    told = explain("--selector", selector.address, *words)
    assert told.returncode == 2
    (sentence,) = told.stderr.strip().splitlines()
    assert re.search(says, sentence)
    assert told.stdout == ""


def test_nothing_that_listens_is_one_sentence() -> None:
    (port,) = free_ports(1)
    told = explain("--selector", f"127.0.0.1:{port}")
    assert told.returncode == 2
    (sentence,) = told.stderr.strip().splitlines()
    assert f"the selector at 127.0.0.1:{port} does not answer" in sentence
