"""Which policies can serve, by the word that settings use."""

from collections.abc import Callable, Mapping

from tradewind.errors import InvalidInput
from tradewind.policies.fixed import Fixed
from tradewind.policies.policy import Policy
from tradewind.policies.proportional import Proportional

_BUILDERS: Mapping[str, Callable[[Mapping[str, str]], Policy]] = {
    "proportional": lambda options: Proportional(**_only(options, "proportional")),
    "fixed": lambda options: Fixed(**_only(options, "fixed", "variant")),
}


def policy_names() -> tuple[str, ...]:
    """Every policy that can serve."""
    return tuple(_BUILDERS)


def build_policy(name: str, options: Mapping[str, str]) -> Policy:
    """The policy of that name; InvalidInput lists the names or options there are."""
    if name not in _BUILDERS:
        raise InvalidInput(f"policy {name[:40]!r} is unknown: use one of {', '.join(_BUILDERS)}")
    return _BUILDERS[name](options)


def _only(options: Mapping[str, str], policy: str, *known: str) -> dict[str, str]:
    unknown = sorted(set(options) - set(known))
    if unknown:
        takes = ", ".join(known) or "none"
        raise InvalidInput(f"policy {policy} has no option {', '.join(unknown)}: it takes {takes}")
    return dict(options)
