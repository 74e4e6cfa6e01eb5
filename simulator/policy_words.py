"""From the words of the command line to the policies that are compared."""

from collections.abc import Mapping, Sequence

from simulator.comparison import Clairvoyant, Entrant
from simulator.policies.as_printed import AsPrinted
from simulator.policies.clover import Clover
from simulator.policies.quality_floor import QualityFloor
from tradewind.errors import InvalidInput
from tradewind.policies import Policy, build_policy, policy_names
from tradewind.policies.options import check_options, number_option
from tradewind.policies.registry import RESTRAINTS, restrain

SIMULATED_ONLY = ("as-printed", "clover", "quality-floor", "clairvoyant")
_TAKES = {
    "fixed": ("variant",),
    "target-error": ("target_error",),
    "carbon-budget": ("budget_g", "budget_share", "period"),
    "carbon-price": ("price",),
    "clover": ("weight", "relative_change"),
    "quality-floor": ("xi",),
    "clairvoyant": ("target_error",),
}


def entrants_of(words: Sequence[str], shared: Mapping[str, str]) -> tuple[Entrant, ...]:
    """One entrant per word `name` or `name:key=value,...`; shared options go to every policy that takes them."""
    entrants: list[Entrant] = []
    for word in words:
        name, _, text = word.partition(":")
        options = {key: value for key, value in shared.items() if key in options_taken(name)}
        entrant = Entrant(word, _build(name, {**options, **_own(word, text)}))
        if entrant.label not in {each.label for each in entrants}:
            entrants.append(entrant)
    return tuple(entrants)


def options_taken(name: str) -> tuple[str, ...]:
    """The shared options that go to a policy of this name."""
    return (*_TAKES.get(name, ()), *(() if name in ("clairvoyant", "fixed") else RESTRAINTS))


def _own(word: str, text: str) -> dict[str, str]:
    pairs = [part.partition("=") for part in text.split(",") if part]
    if any(not key or not equals for key, equals, _ in pairs):
        raise InvalidInput(f"policy {word[:60]!r}: write its options as {word.partition(':')[0]}:key=value,key=value")
    return {key.strip().replace("-", "_"): value.strip() for key, _, value in pairs}


def _build(name: str, options: Mapping[str, str]) -> Policy | Clairvoyant:
    own = {key: value for key, value in options.items() if key not in RESTRAINTS}
    if name in policy_names():
        return build_policy(name, options)
    if name == "clairvoyant":
        check_options(name, options, "target_error")
        wanted = number_option(name, options, "target_error") if "target_error" in options else None
        return Clairvoyant(wanted)
    if name == "as-printed":
        check_options(name, own)
        return restrain(AsPrinted(), options)
    if name == "clover":
        check_options(name, own, "weight")
        change = number_option(name, options, "relative_change", 0.05)
        clover = Clover(number_option(name, options, "weight", 0.5), change)
        return restrain(clover, {key: value for key, value in options.items() if key != "relative_change"})
    if name == "quality-floor":
        check_options(name, own, "xi")
        xi = number_option(name, options, "xi") if "xi" in options else None
        return restrain(QualityFloor(xi), options)
    known = ", ".join((*policy_names(), *SIMULATED_ONLY))
    raise InvalidInput(f"policy {name[:40]!r} is unknown: use one of {known}")
