"""Which meter a machine has: the best one that works, and why the better ones did not."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from profiler.meters.meter import Meter, MeterError
from tradewind.errors import InvalidInput

METERS = ("nvml", "rapl", "triton-metrics", "cpu-time")


@dataclass(frozen=True, slots=True)
class Offer:
    """A meter that may work here: `reason_against` says why it must not be tried, `make` tries it."""

    name: str
    make: Callable[[], Meter]
    reason_against: str = ""


@dataclass(frozen=True, slots=True)
class Chosen:
    """The meter, and a sentence for every one that was passed over."""

    meter: Meter
    passed_over: tuple[str, ...] = ()


def choose_meter(wanted: str, offers: Sequence[Offer]) -> Chosen:
    """The wanted meter, or with `auto` the first of the offers that works; MeterError says why none does."""
    if wanted != "auto":
        offer = next((offer for offer in offers if offer.name == wanted), None)
        if offer is None:
            raise InvalidInput(f"--meter {wanted[:40]}: there is no such meter; take auto, {', '.join(METERS)}")
        return Chosen(_readable(offer.make()))
    passed_over: list[str] = []
    for offer in offers:
        if offer.reason_against:
            passed_over.append(f"{offer.name}: {offer.reason_against}")
            continue
        try:
            return Chosen(_readable(offer.make()), tuple(passed_over))
        except MeterError as error:
            passed_over.append(str(error))
    raise MeterError(f"no meter works here: {'; '.join(passed_over)}")


def _readable(meter: Meter) -> Meter:
    meter.read()
    return meter
