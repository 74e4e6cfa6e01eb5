"""One desk per family: its policy, tried on the family's pool before the service serves."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from selector_service.deciding import Desk
from selector_service.zone_history import Outlook
from tradewind.catalogue import Catalogue
from tradewind.decisions import RangeSummary
from tradewind.errors import InvalidInput, StartupError
from tradewind.policies import build_policy
from tradewind.readings import Reading, ReadingKind, Signal


def open_desks(
    catalogue: Catalogue, policy: str, options: Mapping[str, str], *, hold_when_stale: bool = True
) -> list[Desk]:
    """The desks of every family; StartupError when the policy cannot decide for one."""
    try:
        desks = [
            Desk(name, family, build_policy(policy, options), _key(policy, options), hold_when_stale)
            for name, family in sorted(catalogue.families.items())
        ]
        for desk in desks:
            _try(desk)
    except InvalidInput as error:
        raise StartupError(
            f"TRADEWIND_SELECTOR_POLICY and TRADEWIND_SELECTOR_POLICY_OPTIONS cannot be used: {error}"
        ) from error
    return desks


def _key(policy: str, options: Mapping[str, str]) -> str:
    return ",".join([policy, *(f"{key}={value}" for key, value in sorted(options.items()))])


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
    try:
        desk.select(outlook, start, desk.policy.initial_state(), {})
    except InvalidInput as error:
        raise InvalidInput(f"family {desk.name}: {error}") from error
