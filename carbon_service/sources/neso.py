"""NESO, Great Britain: half-hours, national and for 17 regions, without a key. Regions have forecasts only."""

from datetime import UTC, datetime, timedelta
from typing import Any

from carbon_service.sources.http import Api, HttpLimits
from carbon_service.sources.payloads import Payload
from carbon_service.sources.source import SourceError, SourceTraits
from tradewind.readings import Reading, ReadingKind, Signal

URL = "https://api.carbonintensity.org.uk"
PROVIDER = "NESO"
LAST_REGION = 17
_LESS_THAN_A_MINUTE = timedelta(minutes=1, microseconds=-1)
"""NESO takes whole minutes: an end is rounded up, or a half-hour that begins within its minute is never asked for."""

REGIONS = {
    "GB-NSC": 1,
    "GB-SSC": 2,
    "GB-NWE": 3,
    "GB-NEE": 4,
    "GB-YOR": 5,
    "GB-NWM": 6,
    "GB-SWA": 7,
    "GB-WMI": 8,
    "GB-EMI": 9,
    "GB-EEN": 10,
    "GB-SWE": 11,
    "GB-SEN": 12,
    "GB-LON": 13,
    "GB-SEE": 14,
    "GB-ENG": 15,
    "GB-SCT": 16,
    "GB-WLS": 17,
}
"""Zones whose region is known without being told; GB is the whole country."""


class Neso:
    """NESO's API for the whole country or one region."""

    signal = Signal.AVERAGE
    traits = SourceTraits(poll_every=timedelta(minutes=10), longest_request=timedelta(days=13))

    def __init__(self, region: int | None = None, url: str = URL, limits: HttpLimits | None = None) -> None:
        if region is not None and not 1 <= region <= LAST_REGION:
            raise SourceError(f"NESO has no region {region}: use 1 to {LAST_REGION}, or none for the whole country")
        self._region = region
        self._api = Api(PROVIDER, url, limits)

    @property
    def name(self) -> str:
        """Says which region."""
        return "neso" if self._region is None else f"neso:{self._region}"

    async def history(self, zone: str, start: datetime, end: datetime) -> list[Reading]:
        """The half-hours of [start, end)."""
        readings = await self._get(zone, f"{_minute(start)}/{_minute(end + _LESS_THAN_A_MINUTE)}")
        return [reading for reading in readings if start <= reading.valid_from < end]

    async def forecast(self, zone: str) -> list[Reading]:
        """The next 48 hours; an answer without any is an error, since it happens when something is wrong."""
        return await self._get(zone, f"{_minute(datetime.now(UTC))}/fw48h")

    async def close(self) -> None:
        """Ends the connections."""
        await self._api.close()

    async def _get(self, zone: str, span: str) -> list[Reading]:
        national = self._region is None
        path = f"/intensity/{span}" if national else f"/regional/intensity/{span}/regionid/{self._region}"
        answer = await self._api.get(path)
        return parse_neso(answer, zone, self.name, datetime.now(UTC))


def neso_region(zone: str, area: str | None) -> int | None:
    """The region that is meant: by its number, or by a zone's known name; None is the whole country."""
    if area is not None:
        if not area.isdigit():
            raise SourceError(f"NESO's area {area!r} is not a region's number: use 1 to {LAST_REGION}")
        return int(area)
    if zone == "GB":
        return None
    if zone in REGIONS:
        return REGIONS[zone]
    raise SourceError(f"NESO's region of zone {zone} is not known: give its number as area, 1 to {LAST_REGION}")


def parse_neso(answer: Any, zone: str, source: str, received_at: datetime) -> list[Reading]:
    """The readings of an answer: actual where it is there, forecast otherwise; SourceError names what is wrong."""
    data = Payload(answer, PROVIDER)
    if data.is_empty:
        raise SourceError(f"{PROVIDER} answered with nothing")
    data = data.field("data")
    if not data.is_list:  # A region's list lies one level deeper.
        data = data.field("data")
    return [reading for each in data.items() for reading in _readings(each, zone, source, received_at)]


def _readings(entry: Payload, zone: str, source: str, received_at: datetime) -> list[Reading]:
    intensity = entry.field("intensity")
    actual, forecast = intensity.optional("actual").number(), intensity.optional("forecast").number()
    kind, value = (ReadingKind.FORECAST, forecast) if actual is None else (ReadingKind.ACTUAL, actual)
    if value is None:
        return []
    return [
        Reading(
            zone=zone,
            valid_from=entry.field("from").time(),
            valid_to=entry.field("to").time(),
            intensity_g_per_kwh=value,
            kind=kind,
            signal=Signal.AVERAGE,
            source=source,
            published_at=received_at,
        )
    ]


def _minute(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%MZ")
