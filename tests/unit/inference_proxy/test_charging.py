"""By what requests are charged: by calibration while it speaks, else by the catalogue; deciding never changes."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from inference_proxy.charging import Charging
from inference_proxy.intervals import Intervals
from inference_proxy.routes import FamilyRoute, Lane
from inference_proxy.tallies import Tallies
from inference_proxy.targets import CALIBRATED, Target
from tests.unit.inference_proxy.conftest import CATALOGUE, NOW, decision
from tradewind.catalogue import parse_catalogue
from tradewind.database import microseconds

NOW_US = microseconds(NOW)


def calibration(ratio: float = 1.25, *, age: timedelta = timedelta(0), catalogue_energy_mj: float = 100) -> str:
    """What `python -m profiler` writes of `small`."""
    entry = {
        "family": "ident",
        "variant": "small",
        "energy_ratio": ratio,
        "interval_95": [ratio - 0.05, ratio + 0.05],
        "basis": "total",
        "catalogue_energy_mj": catalogue_energy_mj,
    }
    measured_at = (datetime.now(UTC) - age).isoformat()
    return json.dumps(
        {"measured_at": measured_at, "meter": "nvml", "provenance": "measured", "hardware": "x", "variants": [entry]}
    )


class Desk:
    """A family's route, charged by a file."""

    def __init__(self, targets: tuple[Target, ...], path: Path) -> None:
        self.path = path
        self.targets = {target.variant: target for target in targets}
        self.route = FamilyRoute("ident", targets, "medium", Intervals("GB"), Tallies())
        self.route.decide(decision({"small": 1.0}))
        self.charging = Charging(path, parse_catalogue(CATALOGUE), {"ident": targets}, [self.route])

    async def look(self, text: str) -> list[str]:
        """Puts a file in place and looks; the sentences that were logged."""
        self.path.write_text(text, encoding="utf-8")
        with capture_logs() as logged:
            await self.charging.look()
        return [str(line["event"]) for line in logged]

    def lane(self) -> Lane:
        """The next request's."""
        lane = self.route.lane("", b"", NOW_US)
        assert isinstance(lane, Lane)
        return lane

    def charged(self, inferences: int = 1) -> tuple[int, bool, bool]:
        """µJ of the next request, and whether its receipt and its record say that they are calibrated."""
        lane = self.lane()
        receipt = lane.receipt(inferences, NOW_US)
        said = dict(receipt.metadata).get("carbon-energy-source")
        assert said in (None, CALIBRATED)
        assert (b"carbon_energy_source" in receipt.parameters) == (said is not None)
        return receipt.energy_uj, said is not None, lane.key.charge.calibrated


@pytest.fixture
def desk(targets: tuple[Target, ...], tmp_path: Path) -> Desk:
    return Desk(targets, tmp_path / "calibration.json")


async def test_what_was_measured_is_charged_and_marked_and_decides_nothing(desk: Desk) -> None:
    assert desk.charged() == (100_000, False, False)
    order = [target.variant for target in desk.route.targets]
    assert await desk.look(calibration(40.0)) == ["charging by what was measured in service"]
    assert desk.charged() == (4_000_000, True, True)
    assert desk.charged(8) == (8 * 40 * 40_000, True, True)
    # Forty times its figure: yet the smallest in every choice, because the catalogue says so.
    assert [target.variant for target in desk.route.targets] == order
    assert desk.targets["small"].energy_mj == 100
    desk.route.decide(decision({"medium": 1.0}))
    assert desk.charged() == (300_000, False, False)
    receipt = desk.lane().receipt(1, NOW_US)
    assert (receipt.smallest_uj, receipt.decided_uj, receipt.largest_uj) == (4_000_000, 300_000, 900_000)


async def test_a_request_under_way_ends_by_what_it_began_with(desk: Desk) -> None:
    begun = desk.lane()
    await desk.look(calibration())
    assert begun.receipt(1, NOW_US).energy_uj == 100_000
    assert not begun.key.charge.calibrated
    assert desk.charged() == (125_000, True, True)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        '{"measured_at": 1}',
        calibration(1e9),
        calibration(age=timedelta(hours=2)),
        calibration(catalogue_energy_mj=99),
    ],
)
async def test_by_the_catalogue_where_the_file_is_broken_old_or_of_another_catalogue(desk: Desk, text: str) -> None:
    await desk.look(calibration())
    assert desk.charged() == (125_000, True, True)
    assert await desk.look(text) == ["charging by the catalogue"]
    assert desk.charged() == (100_000, False, False)
    assert await desk.look(text) == []
    assert await desk.look(calibration()) == ["charging by what was measured in service"]
    assert desk.charged() == (125_000, True, True)


async def test_a_file_that_is_not_there_yet_is_waited_for(desk: Desk) -> None:
    await desk.charging.look()
    assert desk.charged() == (100_000, False, False)


async def test_a_ratio_that_hardly_moved_is_not_taken_anew(desk: Desk) -> None:
    await desk.look(calibration(1.25))
    lane = desk.lane()
    await desk.look(calibration(1.2501))
    assert desk.lane() is lane
    await desk.look(calibration(1.5))
    assert desk.charged() == (150_000, True, True)


def test_routes_take(desk: Desk) -> None:
    kept: Any = desk.lane()
    assert desk.lane() is kept
    desk.route.charge_anew()
    assert desk.lane() is not kept
