"""Electricity Maps v3: hours of many zones of the world, with a key; estimates are marked as such."""

from datetime import UTC, datetime, timedelta
from typing import Any

from carbon_service.sources.http import Api, HttpLimits
from carbon_service.sources.payloads import Payload
from carbon_service.sources.source import SourceError, SourceTraits
from tradewind.readings import Reading, ReadingKind, Signal

URL = "https://api.electricitymaps.com"
PROVIDER = "Electricity Maps"
_HOUR = timedelta(hours=1)
_FACTORS = frozenset({"lifecycle", "direct"})


class ElectricityMaps:
    """The API of Electricity Maps for one of its zones."""

    signal = Signal.AVERAGE
    traits = SourceTraits(
        poll_every=timedelta(minutes=15),
        longest_request=timedelta(hours=24),
        deepest_history=timedelta(hours=24),
    )

    def __init__(self, area: str, key: str, url: str = URL, limits: HttpLimits | None = None) -> None:
        self._area = area
        self._headers = {"auth-token": key}
        self._api = Api(PROVIDER, url, limits)

    @property
    def name(self) -> str:
        """Says which zone."""
        return f"electricity_maps:{self._area}"

    async def history(self, zone: str, start: datetime, end: datetime) -> list[Reading]:
        """The hours of [start, end), as far as its history of 24 hours reaches; and the latest."""
        answer = await self._get("history")
        latest = await self._get("latest")
        readings = parse_history(answer, zone, self.name, datetime.now(UTC))
        readings += parse_latest(latest, zone, self.name, datetime.now(UTC))
        return [reading for reading in readings if start <= reading.valid_from < end]

    async def forecast(self, zone: str) -> list[Reading]:
        """The forecast that the key gives access to."""
        return parse_forecast(await self._get("forecast"), zone, self.name)

    async def close(self) -> None:
        """Ends the connections."""
        await self._api.close()

    async def _get(self, what: str) -> Any:
        return await self._api.get(f"/v3/carbon-intensity/{what}", {"zone": self._area}, self._headers)


def parse_history(answer: Any, zone: str, source: str, now: datetime) -> list[Reading]:
    """The hours of a history."""
    history = _accepted(answer).field("history")
    return [reading for each in history.items() for reading in _entry(each, zone, source, now)]


def parse_latest(answer: Any, zone: str, source: str, now: datetime) -> list[Reading]:
    """The hour of a latest value."""
    return _entry(_accepted(answer), zone, source, now)


def parse_forecast(answer: Any, zone: str, source: str) -> list[Reading]:
    """The hours of a forecast."""
    payload = _accepted(answer)
    published_at = payload.field("updatedAt").time()
    readings = []
    for each in payload.field("forecast").items():
        value = each.field("carbonIntensity").number()
        if value is not None:
            begin = each.field("datetime").time()
            readings.append(_reading(zone, source, begin, value, ReadingKind.FORECAST, published_at))
    return readings


def _accepted(answer: Any) -> Payload:
    """The answer, unless it says that there is none."""
    payload = Payload(answer, PROVIDER)
    status = payload.optional("status")
    if not status.is_null and status.text() != "ok":
        raise SourceError(f"{PROVIDER} has no data for this zone")
    problem = payload.optional("error")
    if not problem.is_null:
        raise SourceError(f"{PROVIDER} answered with an error instead of data")
    return payload


def _entry(entry: Payload, zone: str, source: str, now: datetime) -> list[Reading]:
    value = entry.field("carbonIntensity").number()
    if value is None:
        return []
    factor = entry.optional("emissionFactorType")
    if not factor.is_null and factor.text() not in _FACTORS:
        raise SourceError(f"{PROVIDER}: emissionFactorType is neither lifecycle nor direct")
    begin = entry.field("datetime").time()
    kind = ReadingKind.ESTIMATED if entry.field("isEstimated").flag() else ReadingKind.ACTUAL
    if begin > now:
        kind = ReadingKind.FORECAST  # The latest hour may not have begun when its estimate is published.
    name = source if factor.is_null or factor.text() == "lifecycle" else f"{source}:{factor.text()}"
    return [_reading(zone, name, begin, value, kind, entry.field("updatedAt").time())]


def _reading(
    zone: str, source: str, begin: datetime, value: float, kind: ReadingKind, published_at: datetime
) -> Reading:
    try:
        end = begin + _HOUR
    except OverflowError as error:
        raise SourceError(f"{PROVIDER}: a datetime is beyond the calendar") from error
    return Reading(zone, begin, end, value, kind, Signal.AVERAGE, source, published_at)
