"""One desk per family: its policy, tried on the family's pool before the service serves."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from selector_service.deciding import Desk
from selector_service.zone_history import Outlook
from tradewind.catalogue import Catalogue, Family
from tradewind.decisions import RangeSummary
from tradewind.errors import InvalidInput, StartupError
from tradewind.logs import get_logger
from tradewind.policies import Policy, build_policy
from tradewind.readings import Reading, ReadingKind, Signal

log = get_logger(__name__)

SETTINGS = "TRADEWIND_SELECTOR_POLICY and TRADEWIND_SELECTOR_POLICY_OPTIONS"


def open_desks(
    catalogue: Catalogue, policy: str, options: Mapping[str, str], *, hold_when_stale: bool = True
) -> list[Desk]:
    """The desks of every family; StartupError when a policy cannot decide for one.

    The settings' policy decides for the families of which the catalogue does not say another.
    """
    with _refusing(SETTINGS):
        build_policy(policy, options)  # It may be that no family uses it; it is to be right all the same.
    return [
        _desk_of(name, family, policy, _fitting(catalogue, name, policy, options), hold_when_stale)
        for name, family in sorted(catalogue.families.items())
    ]


def _desk_of(name: str, family: Family, policy: str, options: Mapping[str, str], hold_when_stale: bool) -> Desk:
    own = family.policy
    if own is None:
        with _refusing(SETTINGS):
            return _open(name, family, policy, options, hold_when_stale)
    with _refusing("the catalogue's policy"):
        desk = _open(name, family, own.name, own.texts, hold_when_stale)
        zones = {zone: _open(name, family, word.name, word.texts, hold_when_stale) for zone, word in own.zones.items()}
    return replace(desk, zones=zones)


def _fitting(catalogue: Catalogue, name: str, policy: str, options: Mapping[str, str]) -> Mapping[str, str]:
    """The settings' options for a family: of `fixed` the variant where it has that one, or else the least energy."""
    variant = options.get("variant")
    following = {key: family for key, family in catalogue.families.items() if family.policy is None}
    known = any(variant in family.variants for family in following.values())
    if policy != "fixed" or not known or name not in following or variant in following[name].variants:
        return options
    least = following[name].permitted[0].variant
    log.warning("a family has no such variant: its least energy serves", family=name, variant=variant, serves=least)
    return {key: value for key, value in options.items() if key != "variant"}


def _open(name: str, family: Family, policy: str, options: Mapping[str, str], hold_when_stale: bool) -> Desk:
    """A desk that was tried."""
    try:
        built = build_policy(policy, options)
        desk = Desk(name, family, built, _key(policy, options, built), hold_when_stale)
        _try(desk)
    except InvalidInput as error:
        raise InvalidInput(f"family {name}: {error}") from error
    return desk


@contextmanager
def _refusing(what: str) -> Iterator[None]:
    try:
        yield
    except InvalidInput as error:
        raise StartupError(f"{what} cannot be used: {error}") from error


def _key(name: str, options: Mapping[str, str], policy: Policy) -> str:
    """The policy's word and options, and the form of its memory: another version may remember otherwise."""
    words = ",".join([name, *(f"{key}={value}" for key, value in sorted(options.items()))])
    form = json.dumps(form_of(policy.initial_state()), sort_keys=True)
    return f"{words}#{hashlib.sha256(form.encode()).hexdigest()[:8]}"


def form_of(memory: Any) -> Any:
    """Which names a memory has, and how long its lists are, without what is remembered."""
    if isinstance(memory, Mapping):
        return {name: form_of(value) for name, value in memory.items()}
    return len(memory) if isinstance(memory, list | tuple) else None


def _try(desk: Desk) -> None:
    start = datetime(2023, 6, 1, tzinfo=UTC)
    reading = Reading(
        zone="trial",
        valid_from=start,
        valid_to=start + timedelta(minutes=30),
        intensity_g_per_kwh=200.0,
        kind=ReadingKind.ACTUAL,
        signal=Signal.AVERAGE,
        source="trial",
        published_at=start,
    )
    outlook = Outlook(reading, False, RangeSummary(100.0, 300.0, timedelta(hours=24), 48, True), ())
    desk.select(outlook, start, desk.policy.initial_state(), {})
