"""What one request cost, as its answer says it: response parameters, and metadata of the same names with dashes."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from inference_proxy.intervals import Interval
from inference_proxy.wire import response_parameters
from tradewind.decisions import Decision
from tradewind.units import emissions_ng


@dataclass(frozen=True, slots=True)
class Account:
    """Which model was asked for and which variant served it, for whom, under which decision and intensity."""

    requested_model: str
    variant: str
    zone: str
    decision: Decision | None
    interval: Interval | None
    fallback: str | None
    energy_source: str | None = None
    """Where the energy comes from, where that is not the catalogue."""


def receipt_parameters(account: Account, energy_uj: int, age_s: int | None) -> dict[str, int | str]:
    """The receipt by name; what is not known is not in it, because missing is never zero."""
    receipt: dict[str, int | str] = {
        "carbon_requested_model": account.requested_model,
        "carbon_variant": account.variant,
        "carbon_zone": account.zone,
        "carbon_energy_uj": energy_uj,
    }
    if account.energy_source is not None:
        receipt["carbon_energy_source"] = account.energy_source
    if account.decision is not None and age_s is not None:
        receipt["carbon_decision"] = account.decision.id
        receipt["carbon_decision_age_s"] = age_s
    if account.interval is not None:
        intensity = account.interval.intensity_g_per_kwh
        receipt["carbon_intensity_g_per_kwh"] = decimal(intensity)
        receipt["carbon_emissions_ng"] = emissions_ng(energy_uj, intensity)
    if account.fallback is not None:
        receipt["carbon_fallback"] = account.fallback
    return receipt


def decimal(value: float) -> str:
    """A decimal string that reads back as the same number, without an exponent."""
    text = repr(value)
    if "e" not in text and "E" not in text:
        return text.removesuffix(".0")
    return f"{value:.20f}".rstrip("0").rstrip(".")


def as_metadata(receipt: Mapping[str, int | str]) -> tuple[tuple[str, str], ...]:
    """The receipt as metadata: dashes for underscores, and only what metadata may hold."""
    return tuple((key.replace("_", "-"), _printable(str(value))) for key, value in receipt.items())


def as_parameters(receipt: Mapping[str, int | str]) -> bytes:
    """The receipt as bytes to append to a ModelInferResponse."""
    return response_parameters(receipt)


def as_members(receipt: Mapping[str, int | str]) -> bytes:
    """The receipt as members of a JSON object, without its braces."""
    return json.dumps(receipt, separators=(",", ":")).encode()[1:-1]


def _printable(text: str) -> str:
    # gRPC refuses other characters in metadata; a name outside ASCII is complete in the parameters.
    return text if text.isascii() and text.isprintable() else text.encode("unicode_escape").decode()
