"""Options of policies come as text from settings and the command line; here they become numbers, or a clear refusal."""

import math
import re
from collections.abc import Mapping
from datetime import timedelta

from tradewind.errors import InvalidInput

_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|min|h|d|w)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3_600.0, "d": 86_400.0, "w": 604_800.0}


def check_options(policy: str, options: Mapping[str, str], *known: str) -> None:
    """InvalidInput when there is an option the policy does not take."""
    unknown = sorted(set(options) - set(known))
    if unknown:
        takes = ", ".join(known) or "none"
        raise InvalidInput(f"policy {policy} has no option {', '.join(unknown)}: it takes {takes}")


def number_option(policy: str, options: Mapping[str, str], name: str, default: float | None = None) -> float:
    """A finite number of 0 or more."""
    text = options.get(name)
    if text is None:
        if default is None:
            raise InvalidInput(f"policy {policy} needs the option {name}, a number")
        return default
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or number < 0:
        raise InvalidInput(f"policy {policy}: {name} {text[:40]!r} is not a number of 0 or more")
    return number


def span_option(policy: str, options: Mapping[str, str], name: str, default: timedelta) -> timedelta:
    """A length of time like 24h."""
    text = options.get(name)
    try:
        return default if text is None else parse_span(text)
    except InvalidInput as error:
        raise InvalidInput(f"policy {policy}: {name} {error}") from error


def parse_span(text: str) -> timedelta:
    """A length of time: a number with ms, s, m, h, d or w behind it; more than nothing."""
    match = _SPAN.fullmatch(text.strip().lower())
    seconds = float(match[1]) * _SECONDS[match[2]] if match else 0.0
    if not 0 < seconds < 1e10:
        raise InvalidInput(f"{text[:40]!r} is not a length of time: write it like 90s, 30m, 24h, 28d or 4w")
    return timedelta(seconds=seconds)
