"""The providers by name: what the zones file or the command line asks for becomes a source."""

from dataclasses import dataclass, field

from carbon_service.sources import electricity_maps, neso, watttime
from carbon_service.sources.http import HttpLimits
from carbon_service.sources.source import Source, SourceError
from tradewind.errors import StartupError

PROVIDERS = ("neso", "electricity_maps", "watttime")


@dataclass(frozen=True)
class Keys:
    """What providers want to be shown; from the environment only, and never logged."""

    electricity_maps: str | None = field(default=None, repr=False)
    watttime_user: str | None = None
    watttime_password: str | None = field(default=None, repr=False)


def open_source(
    provider: str, zone: str, area: str | None, url: str | None, keys: Keys, limits: HttpLimits | None = None
) -> Source:
    """The source; StartupError names the key or the area that is missing."""
    try:
        if provider == "neso":
            return neso.Neso(neso.neso_region(zone, area), url or neso.URL, limits)
        if provider == "electricity_maps":
            key = _key(keys.electricity_maps, "TRADEWIND_CARBON_ELECTRICITY_MAPS_KEY", provider)
            return electricity_maps.ElectricityMaps(area or zone, key, url or electricity_maps.URL, limits)
        if provider == "watttime":
            user = _key(keys.watttime_user, "TRADEWIND_CARBON_WATTTIME_USER", provider)
            password = _key(keys.watttime_password, "TRADEWIND_CARBON_WATTTIME_PASSWORD", provider)
            return watttime.WattTime(area or zone, user, password, url or watttime.URL, limits)
    except SourceError as error:
        raise StartupError(f"zone {zone}: {error}") from error
    raise StartupError(f"zone {zone}: {provider} is no provider: use one of {', '.join(PROVIDERS)}")


def _key(value: str | None, variable: str, provider: str) -> str:
    if not value:
        raise StartupError(f"provider {provider} wants a key: set {variable}")
    return value
