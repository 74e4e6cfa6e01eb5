"""Which policies can serve, by the word that settings use, and the restraints that any of them takes."""

from collections.abc import Callable, Mapping
from datetime import timedelta

from tradewind.errors import InvalidInput
from tradewind.policies.carbon_budget import CarbonBudget
from tradewind.policies.carbon_price import CarbonPrice
from tradewind.policies.fixed import Fixed
from tradewind.policies.opt_out_windows import parse_windows
from tradewind.policies.options import check_options, number_option, span_option
from tradewind.policies.policy import Policy
from tradewind.policies.proportional import Proportional
from tradewind.policies.restraints import Hysteresis, OptOut, StopDegrading
from tradewind.policies.target_error import TargetError

RESTRAINTS = ("dwell", "relative_change", "opt_out", "stop_degrading_after")
"""Options that every policy takes; all off by default."""


def _proportional(options: Mapping[str, str]) -> Policy:
    check_options("proportional", options)
    return Proportional()


def _fixed(options: Mapping[str, str]) -> Policy:
    check_options("fixed", options, "variant")
    return Fixed(variant=options.get("variant", ""))


def _target_error(options: Mapping[str, str]) -> Policy:
    check_options("target-error", options, "target_error", "day", "period_days")
    return TargetError(
        target_error=number_option("target-error", options, "target_error"),
        day=span_option("target-error", options, "day", timedelta(days=1)),
        period_days=number_option("target-error", options, "period_days", 365.0),
    )


def _carbon_budget(options: Mapping[str, str]) -> Policy:
    check_options("carbon-budget", options, "budget_g", "budget_share", "period")
    return CarbonBudget(
        budget_g=number_option("carbon-budget", options, "budget_g") if "budget_g" in options else None,
        budget_share=number_option("carbon-budget", options, "budget_share") if "budget_share" in options else None,
        period=options.get("period", "month"),
    )


def _carbon_price(options: Mapping[str, str]) -> Policy:
    check_options("carbon-price", options, "price")
    return CarbonPrice(price=number_option("carbon-price", options, "price"))


_BUILDERS: Mapping[str, Callable[[Mapping[str, str]], Policy]] = {
    "proportional": _proportional,
    "fixed": _fixed,
    "target-error": _target_error,
    "carbon-budget": _carbon_budget,
    "carbon-price": _carbon_price,
}


def policy_names() -> tuple[str, ...]:
    """Every policy that can serve."""
    return tuple(_BUILDERS)


def build_policy(name: str, options: Mapping[str, str]) -> Policy:
    """The policy of that name, restrained as asked; InvalidInput lists the names or options there are."""
    if name not in _BUILDERS:
        raise InvalidInput(f"policy {name[:40]!r} is unknown: use one of {', '.join(_BUILDERS)}")
    own = {option: text for option, text in options.items() if option not in RESTRAINTS}
    return restrain(_BUILDERS[name](own), options)


def restrain(policy: Policy, options: Mapping[str, str]) -> Policy:
    """The policy under those restraints that the options name: hysteresis, then a limit on degrading, then opt-outs."""
    name = policy.name
    if "dwell" in options or "relative_change" in options:
        dwell = span_option(name, options, "dwell", timedelta(0))
        policy = Hysteresis(policy, dwell, number_option(name, options, "relative_change", 0.0))
    if "stop_degrading_after" in options:
        policy = StopDegrading(policy, span_option(name, options, "stop_degrading_after", timedelta(0)))
    if options.get("opt_out"):
        policy = OptOut(policy, parse_windows(options["opt_out"]))
    return policy
