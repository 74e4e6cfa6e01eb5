"""Which variant serves: the decided one where it can, else the nearest that may, and always with the reason."""

from datetime import timedelta
from typing import Any

import pytest

from inference_proxy.intervals import Intervals
from inference_proxy.refusals import Refusal
from inference_proxy.routes import Fallback, FamilyRoute, Force, Lane, ModelRoute, Switches
from inference_proxy.tallies import Tallies
from inference_proxy.targets import Target
from inference_proxy.wishes import Wishes
from tests.unit.inference_proxy.conftest import NOW, Away, decision, reading
from tradewind.database import microseconds

NOW_US = microseconds(NOW)


class Desk:
    """A route and the last lane it gave."""

    def __init__(self, targets: tuple[Target, ...], switches: Switches = Switches()) -> None:  # noqa: B008 -- frozen
        self.intervals, self.tallies = Intervals("GB"), Tallies()
        self.route = FamilyRoute("ident", targets, "medium", self.intervals, self.tallies, switches)
        self.by_variant = {target.variant: target for target in targets}

    def ask(self, wishes: Wishes | None = None, **other: Any) -> Lane:
        """The lane of a request."""
        lane = self.route.lane("", b"", NOW_US, wishes, **other)
        assert isinstance(lane, Lane), lane
        return lane

    def refused(self, wishes: Wishes | None = None, version: bytes = b"") -> Refusal:
        """The refusal of a request."""
        refusal = self.route.lane("", version, NOW_US, wishes)
        assert isinstance(refusal, Refusal)
        return refusal

    def served(self, wishes: Wishes | None = None) -> tuple[str, str | None]:
        """Variant and reason."""
        lane = self.ask(wishes)
        return lane.target.variant, lane.account.fallback


@pytest.fixture
def desk(targets: tuple[Target, ...]) -> Desk:
    """A family that was decided to be served by its largest permitted variant."""
    found = Desk(targets)
    found.route.decide(decision({"large": 1.0}))
    return found


def test_before_any_decision_the_catalogues_fallback_serves(targets: tuple[Target, ...]) -> None:
    assert Desk(targets).served() == ("medium", Fallback.NO_DECISION)


def test_the_decided_variant_serves_without_a_reason(desk: Desk) -> None:
    assert desk.served() == ("large", None)


def test_a_variant_that_is_not_ready_is_replaced_by_the_nearest_in_energy(desk: Desk) -> None:
    desk.by_variant["large"].ready = False
    assert desk.served() == ("medium", Fallback.NOT_READY)
    desk.by_variant["medium"].ready = False
    assert desk.served() == ("small", Fallback.NOT_READY)
    desk.by_variant["large"].ready = True
    assert desk.served() == ("large", None)


def test_a_variant_that_is_not_permitted_never_serves(desk: Desk) -> None:
    desk.route.decide(decision({"huge": 1.0}))
    assert desk.served() == ("large", None)
    desk.route.decide(decision({"huge": 0.5, "small": 0.5}))
    assert desk.served() == ("small", None)


def test_with_nothing_ready_the_refusal_is_tritons(desk: Desk) -> None:
    for target in desk.by_variant.values():
        target.ready = False
    assert desk.refused().text == "Request for unknown model: 'ident' has no available versions"


def test_with_every_circuit_open_the_server_is_said_to_be_away(desk: Desk) -> None:
    for target in desk.by_variant.values():
        target.endpoints = (Away(),)  # type: ignore[assignment]
    assert desk.refused().code.name == "UNAVAILABLE"


@pytest.mark.parametrize("version", [b"", b"1"])
def test_a_family_has_version_1(desk: Desk, version: bytes) -> None:
    assert isinstance(desk.route.lane("", version, NOW_US), Lane)


def test_other_versions_are_refused_in_tritons_words(desk: Desk) -> None:
    assert desk.refused(version=b"7").text == "Request for unknown model: 'ident' version 7 is not found"
    assert desk.refused(version=b"x").code.name == "INVALID_ARGUMENT"


def test_a_mix_is_split_by_weight_to_the_request(desk: Desk) -> None:
    desk.route.decide(decision({"small": 0.3, "large": 0.7}))
    served = [desk.served()[0] for _ in range(100)]
    assert (served.count("small"), served.count("large")) == (30, 70)
    assert all(abs(served[:n].count("small") - 0.3 * n) < 1 for n in range(1, 101))


@pytest.mark.parametrize(
    ("wishes", "expected"),
    [
        (Wishes(min_accuracy_pct=90), ("large", None)),
        (Wishes(max_latency_ms=20), ("medium", Fallback.REQUIREMENT)),
        (Wishes(max_latency_ms=10), ("small", Fallback.REQUIREMENT)),
        (Wishes(min_accuracy_pct=93, max_latency_ms=30), ("medium", Fallback.REQUIREMENT)),
        (Wishes(pin_variant="small"), ("small", Fallback.PINNED)),
        (Wishes(pin_variant="large"), ("large", None)),
    ],
)
def test_requirements_narrow_the_choice(desk: Desk, wishes: Wishes, expected: tuple[str, str | None]) -> None:
    assert desk.served(wishes) == expected


@pytest.mark.parametrize(
    ("wishes", "text"),
    [
        (Wishes(min_accuracy_pct=98), "no permitted variant of 'ident' satisfies carbon_min_accuracy 98"),
        (Wishes(pin_variant="huge"), "carbon_pin_variant 'huge' is not a permitted variant of 'ident'"),
        (Wishes(pin_variant="large", max_latency_ms=100), "carbon_max_latency_ms 100 and carbon_pin_variant 'large'"),
    ],
)
def test_requirements_that_nothing_meets_are_refused_with_what_there_is(desk: Desk, wishes: Wishes, text: str) -> None:
    refusal = desk.refused(wishes)
    assert refusal.code.name == "INVALID_ARGUMENT"
    assert text in refusal.text
    assert "medium" in refusal.text


def test_a_satisfying_variant_that_is_away_gives_way_to_another_that_satisfies(desk: Desk) -> None:
    desk.by_variant["large"].ready = False
    assert desk.served(Wishes(min_accuracy_pct=93)) == ("medium", Fallback.NOT_READY)


def test_a_sequence_stays_where_it_began(desk: Desk) -> None:
    assert desk.served(Wishes(sequence_id=7, sequence_start=True)) == ("large", None)
    desk.route.decide(decision({"small": 1.0}))
    assert desk.served(Wishes(sequence_id=7)) == ("large", Fallback.SEQUENCE)
    assert desk.served(Wishes(sequence_id="other", sequence_start=True)) == ("small", None)
    assert desk.served(Wishes(sequence_id=7, sequence_end=True)) == ("large", Fallback.SEQUENCE)
    assert desk.served(Wishes(sequence_id=7)) == ("small", None)


def test_the_excess_spills_to_the_next_smaller_variant_with_room_and_comes_back(desk: Desk) -> None:
    for target in desk.by_variant.values():
        target.pressure.most = 2
    large, medium = desk.by_variant["large"].pressure, desk.by_variant["medium"].pressure
    large.in_flight = 2
    assert desk.served() == ("medium", Fallback.SPILL)
    medium.in_flight = 2
    assert desk.served() == ("small", Fallback.SPILL)
    large.in_flight = 1
    assert desk.served() == ("large", None)


def test_observing_records_the_decision_and_serves_the_fallback(targets: tuple[Target, ...]) -> None:
    desk = Desk(targets, Switches(observe=True))
    desk.route.decide(decision({"large": 1.0}))
    lane = desk.ask()
    assert (lane.target.variant, lane.account.fallback) == ("medium", Fallback.OBSERVE)
    assert lane.key.charge.decided == "large"


def test_a_rollout_follows_decisions_for_its_share(targets: tuple[Target, ...]) -> None:
    desk = Desk(targets, Switches(rollout_pct=25))
    desk.route.decide(decision({"large": 1.0}))
    served = [desk.served() for _ in range(100)]
    assert served.count(("large", None)) == 25
    assert served.count(("medium", Fallback.ROLLOUT)) == 75


def test_a_forced_variant_serves_until_its_time(desk: Desk) -> None:
    desk.route.force = Force("small", NOW_US + 1, "op", "a test")
    assert desk.served() == ("small", Fallback.FORCED)
    later = desk.route.lane("", b"", NOW_US + 1)
    assert isinstance(later, Lane)
    assert later.target.variant == "large"


def test_a_first_attempts_target_is_avoided(desk: Desk) -> None:
    assert desk.ask(avoid=(desk.by_variant["large"],)).target.variant == "medium"


def test_a_receipt_says_what_is_known_and_leaves_out_what_is_not(desk: Desk) -> None:
    before = desk.ask().receipt(1, NOW_US)
    assert before.emissions_ng is None
    assert not any("intensity" in key or "emissions" in key for key, _ in before.metadata)

    assert desk.intervals.learn(reading(200.5))
    receipt = dict(desk.ask().receipt(2, NOW_US + 3_000_000).metadata)
    assert receipt == {
        "carbon-requested-model": "ident",
        "carbon-variant": "large",
        "carbon-zone": "GB",
        "carbon-energy-uj": "1800000",
        "carbon-decision": "id-large",
        "carbon-decision-age-s": "3",
        "carbon-intensity-g-per-kwh": "200.5",
        "carbon-emissions-ng": str(round(1800 * 200.5 / 3.6)),
    }


def test_an_interval_that_is_over_prices_nothing(desk: Desk) -> None:
    desk.intervals.learn(reading(200.0, minutes=1))
    over = microseconds(NOW + timedelta(minutes=2))
    lane = desk.route.lane("", b"", over)
    assert isinstance(lane, Lane)
    assert lane.account.interval is None
    assert lane.key.charge.reading is None


def test_a_receipts_age_grows_by_the_second(desk: Desk) -> None:
    lane = desk.ask()
    ages = [dict(lane.receipt(1, NOW_US + us).metadata)["carbon-decision-age-s"] for us in (0, 999_999, 1_000_000)]
    assert ages == ["0", "0", "1"]


def test_energies_of_the_ends_and_of_the_decided_variant_are_booked_beside(desk: Desk) -> None:
    desk.by_variant["large"].ready = False
    receipt = desk.ask().receipt(8, NOW_US)
    assert (receipt.energy_uj, receipt.smallest_uj, receipt.largest_uj, receipt.decided_uj) == (
        8 * 300_000,
        8 * 40_000,
        8 * 900_000,
        8 * 900_000,
    )


def test_a_models_own_name_is_metered_and_not_rewritten(targets: tuple[Target, ...]) -> None:
    route = ModelRoute(targets[0], Intervals("GB"), Tallies())
    lane = route.lane("", b"", NOW_US)
    assert isinstance(lane, Lane)
    assert lane.model == b""
    assert (lane.key.charge.family, lane.key.charge.variant) == ("", "small")
    assert dict(lane.receipt(1, NOW_US).metadata)["carbon-requested-model"] == "ident_small"
