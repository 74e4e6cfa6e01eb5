"""What the selector takes from its environment."""

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from selector_service.zone_history import RangeRule
from tradewind.errors import InvalidInput
from tradewind.readings import Signal, check_zone
from tradewind.settings import CommonSettings, Duration, Listen

_PERCENTILES = re.compile(r"p(\d+(?:\.\d+)?)-p(\d+(?:\.\d+)?)")


def parse_zones(text: str) -> tuple[str, ...]:
    """The zones of a comma-separated list; ValueError names the one that is not a zone's name."""
    try:
        return tuple(check_zone(zone.strip()) for zone in text.split(",") if zone.strip())
    except InvalidInput as error:
        raise ValueError(str(error)) from error


def parse_options(text: str) -> Mapping[str, str]:
    """The options in `key=value,key=value`; ValueError shows the form."""
    options: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        key, equals, value = part.partition("=")
        if not equals or not key.strip():
            raise ValueError(f"{part[:40]!r} is not an option: write key=value,key=value")
        options[key.strip()] = value.strip()
    return options


def parse_range(text: str) -> tuple[float, float]:
    """The percentiles between which the range is taken: `min-max`, or for example `p5-p95`."""
    if text == "min-max":
        return 0.0, 100.0
    found = _PERCENTILES.fullmatch(text)
    if found is None or not 0.0 <= float(found[1]) < float(found[2]) <= 100.0:
        raise ValueError(f"{text[:40]!r} is not a range: write min-max, or two percentiles such as p5-p95")
    return float(found[1]), float(found[2])


def _checked(parse: object) -> AfterValidator:
    def check(text: str) -> str:
        parse(text)  # type: ignore[operator]
        return text

    return AfterValidator(check)


def _positive(window: timedelta) -> timedelta:
    if window <= timedelta(0):
        raise ValueError("must be longer than nothing, for example 24h")
    return window


class SelectorSettings(CommonSettings):
    """`TRADEWIND_SELECTOR_…`, beside what every service needs to know."""

    selector_listen: Listen = "127.0.0.1:9102"
    """Where gRPC is served; port 0 takes any free one."""
    selector_zones: Annotated[str, _checked(parse_zones)] = ""
    """Zones to decide for, separated by commas; empty: every zone that is heard of."""
    selector_window: Annotated[Duration, AfterValidator(_positive)] = timedelta(hours=24)
    """The trailing window of the rolling range."""
    selector_policy: str = "proportional"
    """For the families of which the catalogue does not say their own."""
    selector_policy_options: Annotated[str, _checked(parse_options)] = ""
    """`key=value,key=value`, as the policy takes them."""
    selector_policy_interval: Annotated[Duration, AfterValidator(_positive)] = timedelta(seconds=2)
    """How often the catalogue is looked at for policies that have changed."""
    selector_range: Annotated[str, _checked(parse_range)] = "min-max"
    """`min-max`, or percentiles such as `p5-p95` against single odd values."""
    selector_signal: Signal = Signal.AVERAGE
    selector_stale: Literal["hold", "fallback"] = "hold"
    """When no reading holds any more: hold the last decision, or serve the fallback variant."""
    selector_session: str = ""
    """Name of a session that the broker keeps while this selector is away; each replica needs its own."""
    selector_carbon: str = ""
    """host:port of the carbon service's gRPC, to fetch the history that the bus did not bring; empty: none."""
    selector_metrics_port: Annotated[int, Field(ge=0, le=65535)] | None = None
    """Port of the Prometheus endpoint on `selector_metrics_host`; 0 takes a free one; absent: none."""
    selector_metrics_host: str = "127.0.0.1"

    @property
    def zones(self) -> tuple[str, ...]:
        """The zones to decide for; empty: every one."""
        return parse_zones(self.selector_zones)

    @property
    def policy_options(self) -> Mapping[str, str]:
        """The policy's options."""
        return parse_options(self.selector_policy_options)

    @property
    def rule(self) -> RangeRule:
        """How the rolling range is taken."""
        low, high = parse_range(self.selector_range)
        return RangeRule(self.selector_window, self.selector_signal, low, high)
