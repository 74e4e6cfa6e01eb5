"""A desk decides for its family: from an outlook, from a stale one, and from nothing at all."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from selector_service.deciding import Desk
from selector_service.desks import form_of, open_desks
from selector_service.zone_history import Outlook
from tests.integration.selector_service.parts import CATALOGUE
from tests.unit.selector_service.test_zone_history import START, a_reading
from tradewind.catalogue import SHIPPED, parse_catalogue
from tradewind.decisions import DecisionReason, RangeSummary, Share
from tradewind.errors import InvalidInput, StartupError

WINDOW = timedelta(hours=24)
RANGE = RangeSummary(100.0, 300.0, WINDOW, 48, full=True)
_SPARE = "      spare: {energy_mj: {value: 900, provenance: published}, error: {value: 6, provenance: published}}"
SPARE = CATALOGUE.replace("      large:", f"{_SPARE}\n      large:")
OWN = """
      name: fixed
      options: {variant: huge}
      zones:
        FR: {name: target-error, options: {target_error: 9}}"""


def with_policy(policy: str) -> str:
    """The catalogue with a policy of the digits' own."""
    return CATALOGUE.replace("    pool: [tiny, huge]", f"    pool: [tiny, huge]\n    policy: {policy}")


NOW = datetime(2023, 6, 1, 0, 10, tzinfo=UTC)


def test_the_policys_choice_with_all_that_went_into_it() -> None:
    _, desk = open_desks(parse_catalogue(CATALOGUE), "proportional", {})
    current = a_reading(0, 300.0)
    decision, state = desk.select(Outlook(current, False, RANGE, ()), NOW, {}, {})
    assert decision.mix == (Share("small", 1.0),)
    assert (decision.valid_from, decision.valid_until) == (current.valid_from, current.valid_to)
    assert (decision.current, decision.range, decision.decided_at) == (current, RANGE, NOW)
    assert decision.figures["range_position"] == 1.0
    assert decision.revision == 0
    assert state == {}


@pytest.mark.parametrize(("hold", "variant"), [(True, "large"), (False, "small")])
def test_a_stale_outlook_is_said(hold: bool, variant: str) -> None:
    _, desk = open_desks(parse_catalogue(CATALOGUE), "proportional", {}, hold_when_stale=hold)
    current = a_reading(0, 100.0)
    decision, _ = desk.select(Outlook(current, True, RANGE, ()), START + WINDOW, {}, {})
    assert decision.reason is DecisionReason.STALE_READING
    assert decision.mix == (Share(variant, 1.0),)
    assert decision.valid_from == current.valid_to
    assert "no reading holds since 2023-06-01 00:30 UTC" in decision.explanation


def test_without_any_reading_the_fallback_serves() -> None:
    _, desk = open_desks(parse_catalogue(CATALOGUE), "proportional", {})
    decision = desk.without_reading("GB", NOW, WINDOW)
    assert decision.reason is DecisionReason.NO_READING
    assert decision.mix == (Share("small", 1.0),)
    assert decision.current is None
    assert decision.range is None
    assert decision.id == desk.without_reading("GB", NOW + WINDOW, WINDOW).id


@pytest.mark.parametrize(
    ("policy", "options", "says"),
    [
        ("best", {}, "policy 'best' is unknown"),
        ("fixed", {"variant": "giant"}, "family digits: policy fixed: giant is not in the pool"),
        ("fixed", {"variant": "spare"}, "family resnet: policy fixed: spare is not in the pool"),
        ("proportional", {"speed": "1"}, "speed"),
    ],
)
def test_a_policy_that_cannot_decide_is_a_startup_error(policy: str, options: dict[str, str], says: str) -> None:
    with pytest.raises(StartupError, match=f"^TRADEWIND_SELECTOR_POLICY and .* cannot be used: .*{says}"):
        open_desks(parse_catalogue(SPARE), policy, options)


def choices(desks: list[Desk], zone: str = "GB") -> dict[str, tuple[str, str]]:
    """Per family the policy and the variant for the top of the range."""
    outlook = Outlook(a_reading(0, 300.0), False, RANGE, ())
    made = [(desk.of(zone), desk.of(zone).policy.initial_state()) for desk in desks]
    decisions = [desk.select(outlook, NOW, state, {})[0] for desk, state in made]
    return {each.family: (each.policy, each.heaviest_variant) for each in decisions}


def test_one_variant_for_all_is_kept_where_there_is_one() -> None:
    desks = open_desks(parse_catalogue(CATALOGUE), "fixed", {"variant": "large"})
    assert choices(desks) == {"resnet": ("fixed", "large"), "digits": ("fixed", "tiny")}


def test_the_catalogue_says_a_familys_own_policy_and_that_of_a_zone() -> None:
    desks = open_desks(parse_catalogue(with_policy(OWN)), "proportional", {})
    assert choices(desks) == {"resnet": ("proportional", "small"), "digits": ("fixed", "huge")}
    assert choices(desks, "FR") == {"resnet": ("proportional", "small"), "digits": ("target-error", "tiny")}
    assert desks[0].policy_key != desks[0].of("FR").policy_key
    assert desks[0].of("FR").without_reading("FR", NOW, WINDOW).policy == "target-error"


@pytest.mark.parametrize(
    ("policy", "says"),
    [
        ("{name: best}", "policy 'best' is unknown"),
        ("{name: fixed, options: {variant: small}}", "policy fixed: small is not in the pool"),
        ("{name: target-error}", "needs the option target_error"),
        ("{name: fixed, zones: {FR: {name: proportional, options: {speed: 1}}}}", "no option speed"),
    ],
)
def test_a_familys_policy_that_cannot_decide_names_the_family(policy: str, says: str) -> None:
    with pytest.raises(StartupError, match=f"^the catalogue's policy cannot be used: family digits: .*{says}"):
        open_desks(parse_catalogue(with_policy(policy)), "proportional", {})


@pytest.mark.parametrize(
    ("policy", "says"),
    [
        ("{options: {}}", "families.digits.policy.name"),
        ("{name: fixed, zones: {a b: {name: fixed}}}", "'a b' is not a zone's name"),
        ("{name: fixed, variant: huge}", "families.digits.policy.variant"),
    ],
)
def test_a_familys_policy_that_is_not_written_rightly_names_the_field(policy: str, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        parse_catalogue(with_policy(policy))


def test_the_example_of_the_documentation_can_decide() -> None:
    text = (Path(__file__).parents[3] / "docs" / "policies.md").read_text(encoding="utf-8")
    policy = text.partition("    policy:\n")[2].partition("```")[0]
    shipped = yaml.safe_load((SHIPPED / "resnet.yaml").read_text(encoding="utf-8"))
    shipped["families"]["resnet"]["policy"] = yaml.safe_load(policy)
    (desk,) = [each for each in open_desks(parse_catalogue(yaml.safe_dump(shipped)), "proportional", {}) if each.zones]
    assert {zone: desk.of(zone).policy.name for zone in ("GB", "GB-SWE", "FR")} == {
        "GB": "target-error",
        "GB-SWE": "carbon-budget",
        "FR": "fixed",
    }


def test_a_memory_of_another_form_is_not_taken_up() -> None:
    """After an update of the policy what the former version remembered would only make it fail."""
    now = {"memories": {"quick": [0.0, 0.0]}, "open": None}
    assert form_of(now) == form_of({"memories": {"quick": [1.0, 2.0]}, "open": None})
    for other in ({"memories": {"slow": [0.0, 0.0]}, "open": None}, {"memories": {"quick": [0.0]}, "open": None}):
        assert form_of(now) != form_of(other)
    first, other_aim = (
        open_desks(parse_catalogue(CATALOGUE), "target-error", {"target_error": aim})[0] for aim in ("6", "7")
    )
    assert first.policy_key.startswith("target-error,target_error=6#")
    assert first.policy_key != other_aim.policy_key
