"""What a request asks of the choice of its variant: requirements of its own, and the sequence it belongs to."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from inference_proxy.targets import Target
from inference_proxy.wire import ParameterValue
from tradewind.errors import InvalidInput

MIN_ACCURACY, MAX_LATENCY, PIN_VARIANT = "carbon_min_accuracy", "carbon_max_latency_ms", "carbon_pin_variant"
_KEYS = frozenset({MIN_ACCURACY, MAX_LATENCY, PIN_VARIANT, "sequence_id"})


@dataclass(frozen=True, slots=True)
class Wishes:
    """Requirements that are honoured or refused, never overlooked."""

    min_accuracy_pct: float | None = None
    """Against 100 - error."""
    max_latency_ms: float | None = None
    """Against the variant's catalogued p95; a variant without one cannot promise anything."""
    pin_variant: str | None = None
    sequence_id: str | int | None = None
    sequence_start: bool = False
    sequence_end: bool = False

    @property
    def any_requirement(self) -> bool:
        """Whether anything narrows the choice of variants."""
        return not (self.min_accuracy_pct is None and self.max_latency_ms is None and self.pin_variant is None)

    def satisfied_by(self, target: Target) -> bool:
        """Whether a variant meets every requirement."""
        if self.pin_variant is not None and target.variant != self.pin_variant:
            return False
        if self.min_accuracy_pct is not None and target.accuracy_pct < self.min_accuracy_pct:
            return False
        latency = target.figures.p95_latency_ms
        return self.max_latency_ms is None or (latency is not None and latency.value <= self.max_latency_ms)


def read_wishes(parameters: Mapping[str, ParameterValue]) -> Wishes | None:
    """The wishes among a request's parameters, None where there are none; InvalidInput names a bad one."""
    if _KEYS.isdisjoint(parameters):
        return None
    pin = parameters.get(PIN_VARIANT)
    if pin is not None and not isinstance(pin, str):
        raise InvalidInput(f"{PIN_VARIANT} is not text: name a variant of the family")
    sequence = parameters.get("sequence_id")
    return Wishes(
        min_accuracy_pct=_number(parameters, MIN_ACCURACY),
        max_latency_ms=_number(parameters, MAX_LATENCY),
        pin_variant=pin,
        # 0 and the empty string are Triton's ways of saying "no sequence".
        sequence_id=sequence if isinstance(sequence, int | str) and sequence else None,
        sequence_start=parameters.get("sequence_start") is True,
        sequence_end=parameters.get("sequence_end") is True,
    )


def sequence_of(parameters: Mapping[str, ParameterValue]) -> Wishes | None:
    """What is said of a sequence alone; None where the request is in none."""
    wishes = read_wishes({key: value for key, value in parameters.items() if key.startswith("sequence_")})
    return wishes if wishes is not None and wishes.sequence_id is not None else None


def why_unsatisfiable(family: str, wishes: Wishes, permitted: tuple[Target, ...]) -> str:
    """The sentence for a client whose requirements no permitted variant meets."""
    if wishes.pin_variant is not None and all(target.variant != wishes.pin_variant for target in permitted):
        names = ", ".join(target.variant for target in permitted)
        return f"{PIN_VARIANT} '{wishes.pin_variant}' is not a permitted variant of '{family}': it has {names}"
    asked = [
        f"{name} {value:g}"
        for name, value in ((MIN_ACCURACY, wishes.min_accuracy_pct), (MAX_LATENCY, wishes.max_latency_ms))
        if value is not None
    ]
    if wishes.pin_variant is not None:
        asked.append(f"{PIN_VARIANT} '{wishes.pin_variant}'")
    offers = "; ".join(_offer(target) for target in permitted)
    return f"no permitted variant of '{family}' satisfies {' and '.join(asked)}: it has {offers}"


def _offer(target: Target) -> str:
    latency = target.figures.p95_latency_ms
    p95 = f"p95 {latency.value:g} ms" if latency is not None else "p95 unknown"
    return f"{target.variant} (accuracy {target.accuracy_pct:g}, {p95})"


def _number(parameters: Mapping[str, ParameterValue], name: str) -> float | None:
    value = parameters.get(name)
    if value is None:
        return None
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or number < 0:
        raise InvalidInput(f"{name} '{str(value)[:40]}' is not a number of 0 or more: write it as a number or as text")
    return number
