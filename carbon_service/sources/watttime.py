"""WattTime v3: marginal intensities in lb/MWh, every five minutes, with a login whose token lasts half an hour."""

from datetime import UTC, datetime, timedelta
from typing import Any

from carbon_service.sources.http import AccessDenied, Api, HttpLimits
from carbon_service.sources.payloads import Payload
from carbon_service.sources.source import SourceError, SourceTraits
from tradewind.readings import Reading, ReadingKind, Signal, format_time
from tradewind.units import intensity_from_lb_per_mwh

URL = "https://api.watttime.org"
PROVIDER = "WattTime"
_STEP = timedelta(minutes=5)
_TOKEN_LASTS = timedelta(minutes=28)
_SIGNALS = {"co2_moer": Signal.MARGINAL, "co2_aoer": Signal.AVERAGE}
_POUNDS = "lbs_co2_per_mwh"


class WattTime:
    """The API of WattTime for one of its regions."""

    signal = Signal.MARGINAL
    traits = SourceTraits(poll_every=timedelta(minutes=5), longest_request=timedelta(days=30))

    def __init__(
        self, region: str, username: str, password: str, url: str = URL, limits: HttpLimits | None = None
    ) -> None:
        self._region = region
        self._login = (username, password)
        self._token: tuple[str, datetime] | None = None
        self._api = Api(PROVIDER, url, limits)

    @property
    def name(self) -> str:
        """Says which region."""
        return f"watttime:{self._region}"

    async def history(self, zone: str, start: datetime, end: datetime) -> list[Reading]:
        """The five-minute intervals of [start, end)."""
        answer = await self._get("historical", {"start": format_time(start), "end": format_time(end)})
        readings = parse_watttime(answer, zone, self.name, ReadingKind.ACTUAL, datetime.now(UTC))
        return [reading for reading in readings if start <= reading.valid_from < end]

    async def forecast(self, zone: str) -> list[Reading]:
        """The next 24 hours."""
        answer = await self._get("forecast", {"horizon_hours": "24"})
        return parse_watttime(answer, zone, self.name, ReadingKind.FORECAST, datetime.now(UTC))

    async def close(self) -> None:
        """Ends the connections."""
        await self._api.close()

    async def _get(self, what: str, params: dict[str, str]) -> Any:
        params = {"region": self._region, "signal_type": "co2_moer"} | params
        try:
            return await self._api.get(f"/v3/{what}", params, await self._authorization())
        except AccessDenied:
            # The token may have been taken back early; a second refusal is one of the login's rights.
            self._token = None
            return await self._api.get(f"/v3/{what}", params, await self._authorization())

    async def _authorization(self) -> dict[str, str]:
        now = datetime.now(UTC)
        if self._token is None or now >= self._token[1]:
            answer = Payload(await self._api.login("/login", *self._login), PROVIDER)
            self._token = answer.field("token").text(), now + _TOKEN_LASTS
        return {"authorization": f"Bearer {self._token[0]}"}


def parse_watttime(answer: Any, zone: str, source: str, kind: ReadingKind, received_at: datetime) -> list[Reading]:
    """The readings of an answer in g/kWh; a percentile (`signal-index`) is refused, since it is no intensity."""
    payload = Payload(answer, PROVIDER)
    if payload.is_empty:
        raise SourceError(f"{PROVIDER} answered with nothing")
    meta = payload.field("meta")
    units = meta.field("units").text()
    if units != _POUNDS:
        raise SourceError(
            f"{PROVIDER}: units {units[:20]!r} are no intensity that can be converted: ask for a signal in {_POUNDS}"
        )
    signal = _SIGNALS.get(meta.field("signal_type").text())
    if signal is None:
        raise SourceError(f"{PROVIDER}: meta.signal_type is neither {' nor '.join(_SIGNALS)}")
    generated = meta.optional("generated_at")
    published_at = received_at if generated.is_null else generated.time()
    readings = []
    for each in payload.field("data").items():
        value = each.field("value").number()
        if value is not None:
            begin = each.field("point_time").time()
            readings.append(_reading(zone, source, begin, value, kind, signal, published_at))
    return readings


def _reading(
    zone: str,
    source: str,
    begin: datetime,
    pounds: float,
    kind: ReadingKind,
    signal: Signal,
    published_at: datetime,
) -> Reading:
    try:
        end = begin + _STEP
    except OverflowError as error:
        raise SourceError(f"{PROVIDER}: a point_time is beyond the calendar") from error
    return Reading(zone, begin, end, intensity_from_lb_per_mwh(pounds), kind, signal, source, published_at)
