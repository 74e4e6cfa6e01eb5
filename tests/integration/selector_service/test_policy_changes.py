"""A policy that changes in the catalogue's file comes into force, unless it is wrong; nothing else changes by it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.integration.selector_service.parts import (
    CATALOGUE,
    Running,
    a_reading,
    half_hour,
    publishing_to,
    running,
    say,
)
from tradewind.catalogue import load_catalogue
from tradewind.decisions import Decision
from tradewind.migrate import upgrade
from tradewind.rpc.v1 import selector_pb2


def with_policy(policy: str) -> str:
    return CATALOGUE.replace("    pool: [tiny, huge]", f"    pool: [tiny, huge]\n    policy: {policy}")


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 -- there is no event for every condition of a test
            await asyncio.sleep(0.01)


@pytest.fixture
async def steered(tmp_path: Path, sqlite_url: str, broker: str, unique_zone: str) -> AsyncIterator[Running]:
    """A selector that looks at its catalogue often, in a zone whose intensity is the highest of its range."""
    file = tmp_path / "catalogue.yaml"
    file.write_text(CATALOGUE)
    await asyncio.to_thread(upgrade, sqlite_url)
    options: dict[str, Any] = {"database_url": sqlite_url, "broker_url": broker, "catalogue": file}
    options |= {"selector_zones": unique_zone, "selector_policy_interval": timedelta(milliseconds=20)}
    async with running(load_catalogue(file), **options) as made, publishing_to(broker) as publisher:
        await say(publisher, a_reading(unique_zone, half_hour() - timedelta(minutes=30), 100.0), restated=True)
        await say(publisher, a_reading(unique_zone, half_hour(), 300.0))
        await until(lambda: all(heard_both(each) for each in made.service.board.in_force.values()))
        assert in_force(made, unique_zone) == ("proportional", "tiny")
        yield made


def heard_both(decision: Decision) -> bool:
    return decision.range is not None and (decision.range.readings, decision.range.high_g_per_kwh) == (2, 300.0)


def in_force(running: Running, zone: str) -> tuple[str, str]:
    decision = running.service.board.in_force[zone, "digits"]
    return decision.policy, decision.heaviest_variant


async def test_a_change_is_decided_at_once_and_pushed(steered: Running, tmp_path: Path, unique_zone: str) -> None:
    watching: Any = steered.stub.WatchDecisions(selector_pb2.WatchDecisionsRequest(families=["digits"]))
    snapshot = await watching.read()
    (before,) = snapshot.snapshot.decisions
    other = steered.service.board.in_force[unique_zone, "resnet"]
    fresh = tmp_path / "fresh"
    fresh.write_text(with_policy("{name: fixed, options: {variant: huge}}"))
    fresh.replace(tmp_path / "catalogue.yaml")
    event = await asyncio.wait_for(watching.read(), 20)
    assert (event.decision.policy, event.decision.mix[0].variant) == ("fixed", "huge")
    assert event.decision.revision == before.revision + 1
    assert steered.service.board.in_force[unique_zone, "resnet"] == other
    watching.cancel()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (with_policy("{name: best}"), "policy 'best' is unknown"),
        ("families: [", "the catalogue has changed and cannot be used"),
        (with_policy("{name: fixed}").replace("value: 400", "value: 500"), "start the services again"),
        (CATALOGUE.replace("digits:", "figures:"), "start the services again"),
    ],
)
async def test_what_cannot_be_used_is_said_and_changes_nothing(
    steered: Running,
    tmp_path: Path,
    unique_zone: str,
    text: str,
    says: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = dict(steered.service.board.in_force)
    said: list[str] = []

    def heard() -> bool:
        said.append("".join(capsys.readouterr()))
        return says in "".join(said)

    (tmp_path / "catalogue.yaml").write_text(text)
    await until(heard)
    assert steered.service.board.in_force == before
    (tmp_path / "catalogue.yaml").write_text(with_policy("{name: fixed, options: {variant: huge}}"))
    await until(lambda: in_force(steered, unique_zone) == ("fixed", "huge"))
