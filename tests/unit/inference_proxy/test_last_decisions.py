"""What is kept of decisions comes back as it was, or not at all, with the reason in the log."""

import json
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from inference_proxy.intervals import Intervals
from inference_proxy.last_decisions import LastDecisions
from inference_proxy.routes import FamilyRoute
from inference_proxy.tallies import Tallies
from inference_proxy.targets import Target
from tests.unit.inference_proxy.conftest import decision, reading


@pytest.fixture
def route(targets: tuple[Target, ...], intervals: Intervals, tallies: Tallies) -> FamilyRoute:
    """The family, with nothing decided."""
    return FamilyRoute("ident", targets, "small", intervals, tallies)


@pytest.fixture
def last(route: FamilyRoute, tmp_path: Path) -> LastDecisions:
    """What is kept of it."""
    return LastDecisions(tmp_path / "decisions.json", "GB", {"ident": route})


def test_what_was_in_force_comes_back_whole(last: LastDecisions, route: FamilyRoute, tmp_path: Path) -> None:
    assert last.restore() == []
    made = decision({"small": 0.25, "large": 0.75}, current=reading(200.0))
    route.decide(made)
    last.keep()
    assert last.restore() == [made]
    route.decide(decision({"medium": 1.0}))
    last.keep()
    assert [each.heaviest_variant for each in last.restore()] == ["medium"]
    assert [each.name for each in tmp_path.iterdir()] == ["decisions.json"]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"zone": "FR"}, "it is for zone FR, and this proxy is in GB"),
        ({"family": "gone"}, "the catalogue has no such family any more"),
        ({"mix": [{"variant": "huge", "weight": 1.0}]}, "the catalogue does not permit huge any more"),
        ({"mix": []}, "its mix is empty"),
        ({"decided_at": 7}, "a field has a value of the wrong kind"),
    ],
)
def test_what_does_not_hold_any_more_is_left_out(
    last: LastDecisions, route: FamilyRoute, tmp_path: Path, changes: dict[str, Any], why: str
) -> None:
    route.decide(decision({"large": 1.0}))
    last.keep()
    path = tmp_path / "decisions.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"decisions": [content["decisions"][0] | changes, *content["decisions"]]}))
    with capture_logs() as logs:
        assert [each.heaviest_variant for each in last.restore()] == ["large"]
    assert why in str([log for log in logs if log["log_level"] == "warning"])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "cannot be read as JSON"),
        ('{"version": 1, "decisions": [', "cannot be read as JSON"),
        ("\xff", "cannot be read as JSON"),
        ("[" * 100_000, "cannot be read as JSON"),
        ("[]", "not of version 1"),
        ('{"version": 2, "decisions": []}', "not of version 1"),
        ('{"version": 1}', "no list of decisions"),
    ],
)
def test_a_broken_file_is_left_out_and_said(last: LastDecisions, tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "decisions.json").write_bytes(text.encode("latin-1"))
    with capture_logs() as logs:
        assert last.restore() == []
    assert why in logs[0]["why"]


def test_a_disk_that_does_not_take_it_is_said_once(route: FamilyRoute, tmp_path: Path) -> None:
    last = LastDecisions(tmp_path / "missing" / "decisions.json", "GB", {"ident": route})
    route.decide(decision({"large": 1.0}))
    with capture_logs() as logs:
        last.keep()
        last.keep()
    assert len(logs) == 1
    assert route.decision is not None
