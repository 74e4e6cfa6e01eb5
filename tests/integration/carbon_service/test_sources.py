"""Providers over real HTTP: their shapes, their errors, their moods; and what a zone does when they fail."""

import base64
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
import sqlalchemy as sa

from carbon_service import store
from carbon_service.health import SourceHealths
from carbon_service.intake import Intake, Writer
from carbon_service.keeper import Keeper
from carbon_service.library import Library
from carbon_service.polling import Polling, PollLimits
from carbon_service.present import Board
from carbon_service.rules import Rules
from carbon_service.sources.electricity_maps import ElectricityMaps
from carbon_service.sources.http import AccessDenied, Api, HttpLimits
from carbon_service.sources.neso import Neso
from carbon_service.sources.registry import Keys, open_source
from carbon_service.sources.source import SourceError
from carbon_service.sources.watttime import WattTime
from tradewind.database import open_engine
from tradewind.errors import StartupError
from tradewind.readings import ReadingKind, Signal

QUICK = HttpLimits(connect_s=2, read_s=0.5, whole_s=1.0, attempts=3, first_wait_s=0.01)
HALF_HOUR = timedelta(minutes=30)


def minute(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%MZ")


def at(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%MZ").replace(tzinfo=UTC)


def half_hours(start: datetime, end: datetime, value: Callable[[datetime], dict[str, Any]]) -> list[dict[str, Any]]:
    begin = start.replace(minute=start.minute // 30 * 30, second=0, microsecond=0)
    entries = []
    while begin < end:
        entries.append({"from": minute(begin), "to": minute(begin + HALF_HOUR), "intensity": value(begin)})
        begin += HALF_HOUR
    return entries


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "answered with nothing"),
        ([], "answered with nothing"),
        (b'{"data": [{"from": "2026-', "not JSON"),
        (b"<html>maintenance</html>", "not JSON"),
        (b'{"data": [{"intensity": {"actual": NaN}}]}', "not JSON"),
        ({"data": None}, "has no data"),
        ({"data": [{"from": "soon"}]}, "has no intensity"),
    ],
)
async def test_answers_that_are_none(provider: Any, answers: Any, body: object, words: str) -> None:
    provider.answer = lambda _asked: answers(body)
    source = Neso(url=provider.url, limits=QUICK)
    with pytest.raises(SourceError, match=words):
        await source.forecast("GB")
    await source.close()
    assert len(provider.asked) == 1


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"status": 500}, "problem of its own"),
        ({"status": 502, "body": b"bad gateway"}, "problem of its own"),
        ({"body": {"data": []}, "cut": True}, "broke off"),
        ({"body": {"data": [1] * 200}, "trickle_s": 0.05}, "in time"),
    ],
)
async def test_moods_are_tried_three_times(provider: Any, answers: Any, answer: dict[str, Any], words: str) -> None:
    provider.answer = lambda _asked: answers(**answer)
    source = Neso(url=provider.url, limits=QUICK)
    with pytest.raises(SourceError, match=words):
        await source.forecast("GB")
    await source.close()
    assert len(provider.asked) == 3


async def test_a_mood_that_passes_goes_unnoticed(provider: Any, answers: Any) -> None:
    replies = [answers(status=503), answers({"data": half_hours(*day(), lambda _: {"forecast": 200})})]
    provider.answer = lambda _asked: replies[len(provider.asked) - 1]
    source = Neso(url=provider.url, limits=QUICK)
    assert len(await source.forecast("GB")) == 48
    await source.close()


def day() -> tuple[datetime, datetime]:
    end = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    return end - timedelta(days=1), end


async def test_nobody_listening_is_said(provider: Any) -> None:
    api = Api("NESO", "http://127.0.0.1:9", QUICK)
    with pytest.raises(SourceError, match="cannot be reached"):
        await api.get("/intensity")
    await api.close()
    assert provider.asked == []


PAST, FAR = "Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 21 Oct 2135 07:28:00 GMT"


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7), ("100000", 3600), (PAST, 0), (FAR, 3600), ("soon", None), ("nan", None), (None, None)],
)
async def test_a_limit_is_respected(provider: Any, answers: Any, header: str | None, seconds: int | None) -> None:
    headers = {} if header is None else {"retry-after": header}
    provider.answer = lambda _asked: answers(status=429, headers=headers)
    api = Api("NESO", provider.url, QUICK)
    with pytest.raises(SourceError, match="left alone") as caught:
        await api.get("/intensity")
    await api.close()
    assert caught.value.retry_after == (None if seconds is None else timedelta(seconds=seconds))
    assert len(provider.asked) == 1


async def test_an_answer_is_kept_for_as_long_as_it_is_valid(provider: Any, answers: Any) -> None:
    provider.answer = lambda _asked: answers({"data": 1}, headers={"cache-control": "public, max-age=60"})
    api = Api("NESO", provider.url, QUICK)
    assert [await api.get("/a", {"zone": "x"}) for _ in range(3)] == [{"data": 1}] * 3
    await api.get("/a", {"zone": "y"})
    await api.close()
    assert [each.query for each in provider.asked] == [{"zone": "x"}, {"zone": "y"}]


async def test_an_answer_that_did_not_change_is_not_sent_again(provider: Any, answers: Any) -> None:
    def answer(asked: Any) -> Any:
        if asked.headers.get("if-none-match") == '"1"':
            return answers(b"", status=304, headers={"etag": '"1"'})
        return answers({"data": 1}, headers={"etag": '"1"'})

    provider.answer = answer
    api = Api("NESO", provider.url, QUICK)
    assert [await api.get("/a") for _ in range(2)] == [{"data": 1}] * 2
    await api.close()
    assert len(provider.asked) == 2


async def test_an_answer_without_end_is_cut(provider: Any, answers: Any) -> None:
    provider.answer = lambda _asked: answers(b"[" + b"1," * 5_000_000 + b"1]")
    api = Api("NESO", provider.url, HttpLimits(whole_s=20))
    with pytest.raises(SourceError, match="more than"):
        await api.get("/a")
    await api.close()


async def test_neso_is_asked_by_region_and_span(provider: Any, answers: Any) -> None:
    start, end = day()
    entries = half_hours(start - HALF_HOUR, end + HALF_HOUR, lambda _: {"forecast": 150})
    provider.answer = lambda _asked: answers({"data": {"regionid": 11, "data": entries}})
    source = Neso(11, provider.url, QUICK)
    readings = await source.history("GB-SWE", start, end)
    await source.close()
    assert provider.asked[0].path == f"/regional/intensity/{minute(start)}/{minute(end)}/regionid/11"
    assert len(readings) == 48
    assert (readings[0].source, readings[0].kind) == ("neso:11", ReadingKind.FORECAST)


async def test_electricity_maps_shows_its_key(provider: Any, answers: Any) -> None:
    start, end = day()
    hours = [
        {
            "zone": "DE",
            "carbonIntensity": 400 + hour,
            "datetime": (start + timedelta(hours=hour)).isoformat(),
            "updatedAt": (start + timedelta(hours=hour + 1)).isoformat(),
            "emissionFactorType": "lifecycle",
            "isEstimated": hour > 20,
            "estimationMethod": None,
        }
        for hour in range(24)
    ]
    provider.answer = lambda asked: answers(
        {"zone": "DE", "history": hours} if asked.path.endswith("history") else hours[-1]
    )
    source = ElectricityMaps("DE", "the-key", provider.url, QUICK)
    readings = await source.history("DE", start, end)
    await source.close()
    assert {each.headers["auth-token"] for each in provider.asked} == {"the-key"}
    assert [each.path.rpartition("/")[2] for each in provider.asked] == ["history", "latest"]
    assert len(readings) == 25
    assert sum(each.kind is ReadingKind.ESTIMATED for each in readings) == 4


async def test_watttime_logs_in_and_renews_a_token_that_was_taken_back(provider: Any, answers: Any) -> None:
    tokens = iter(["first", "second"])
    refused = {"Bearer first"}

    def answer(asked: Any) -> Any:
        if asked.path == "/login":
            assert asked.headers["authorization"] == "Basic " + base64.b64encode(b"user:password").decode()
            return answers({"token": next(tokens)})
        if asked.headers["authorization"] in refused:
            return answers({"error": "expired"}, status=401)
        point = {"point_time": datetime.now(UTC).isoformat(), "value": 1000}
        return answers(
            {"data": [point], "meta": {"signal_type": "co2_moer", "units": "lbs_co2_per_mwh", "region": "CAISO_NORTH"}}
        )

    provider.answer = answer
    source = WattTime("CAISO_NORTH", "user", "password", provider.url, QUICK)
    for _ in range(2):
        (reading,) = await source.forecast("US-CAL")
    await source.close()
    assert reading.intensity_g_per_kwh == pytest.approx(453.59237)
    assert [each.path for each in provider.asked] == [
        "/login",
        "/v3/forecast",
        "/login",
        "/v3/forecast",
        "/v3/forecast",
    ]


@pytest.mark.parametrize(("status", "attempts"), [(503, 3), (429, 1)])
async def test_a_login_that_fails_is_the_sources_failure(
    provider: Any, answers: Any, status: int, attempts: int
) -> None:
    provider.answer = lambda _asked: answers({}, status=status)
    source = WattTime("CAISO_NORTH", "user", "password", provider.url, QUICK)
    with pytest.raises(SourceError, match=f"status {status}"):
        await source.forecast("US-CAL")
    await source.close()
    assert [each.path for each in provider.asked] == ["/login"] * attempts


async def test_a_forecast_that_is_refused_is_said_once_and_left_alone(
    provider: Any, answers: Any, zone: "Zone", capsys: pytest.CaptureFixture[str]
) -> None:
    def answer(asked: Any) -> Any:
        if asked.path.endswith("fw48h"):
            return answers(status=429, headers={"retry-after": "600"})
        return national(zone, answers)(asked)

    provider.answer = answer
    source = Neso(url=provider.url, limits=QUICK)
    polling = Polling("GB", [(source, True)], zone.intake, zone.library, zone.healths, zone.clock)
    for _ in range(12):
        await polling.poll()
        zone.now += timedelta(minutes=1)
    await source.close()
    assert zone.health() == [("neso", True, True)]
    assert sum(each.path.endswith("fw48h") for each in provider.asked) == 2
    assert sum("no forecast" in line for line in "".join(capsys.readouterr()).splitlines()) == 1


async def test_a_login_that_is_refused_is_said_without_the_password(provider: Any, answers: Any) -> None:
    provider.answer = lambda _asked: answers({}, status=401)
    source = WattTime("CAISO_NORTH", "user", "the-password", provider.url, QUICK)
    with pytest.raises(AccessDenied) as caught:
        await source.forecast("US-CAL")
    await source.close()
    assert "refuses the key or login" in str(caught.value)
    assert "the-password" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "zone", "area", "words"),
    [
        ("electricity_maps", "DE", None, "TRADEWIND_CARBON_ELECTRICITY_MAPS_KEY"),
        ("watttime", "US-CAL", None, "TRADEWIND_CARBON_WATTTIME_USER"),
        ("neso", "home", None, "give its number"),
        ("neso", "home", "99", "no region 99"),
        ("guesswork", "home", None, "use one of neso"),
    ],
)
def test_a_source_that_cannot_be_opened(name: str, zone: str, area: str | None, words: str) -> None:
    with pytest.raises(StartupError, match=words):
        open_source(name, zone, area, None, Keys())


# A zone and its sources.


class Zone:
    """A zone with a store, that is polled by hand at a time of the test's own."""

    def __init__(self, engine: sa.Engine) -> None:
        self.now = datetime.now(UTC)
        if self.now.minute % 30 > 26:
            self.now += timedelta(minutes=5)  # No half-hour begins in the minutes that a test lets pass.
        self.board, self.healths = Board(), SourceHealths()
        self.writer = Writer()
        self.intake = Intake(Keeper(engine, Rules()), self.writer, self.board, lambda: self.now)
        self.library = Library(engine)
        self.clock = lambda: self.now

    def polling(self, *sources: Any, **limits: timedelta) -> Polling:
        """Its polling, of these sources in order of preference."""
        pairs = [(source, False) for source in sources]
        return Polling("GB", pairs, self.intake, self.library, self.healths, self.clock, PollLimits(**limits))

    async def stored(self) -> list[Any]:
        """Every stored reading."""
        readings, _ = await self.library.list_readings("GB", Signal.AVERAGE, (None, None), None, 10_000, all_kinds=True)
        return readings

    def health(self) -> list[tuple[str, bool, bool]]:
        """Each source: healthy, in use."""
        return [(each.source, each.healthy, each.in_use) for each in self.healths.of_zone("GB")]


@pytest.fixture
def zone(sqlite_url: str) -> Iterator[Zone]:
    engine = open_engine(sqlite_url)
    store.metadata.create_all(engine)
    zone = Zone(engine)
    yield zone
    zone.writer.close()
    engine.dispose()


def national(zone: Zone, answers: Any, value: float = 200.0) -> Callable[[Any], Any]:
    """NESO's national answer for whatever span is asked, with actuals up to half an hour ago."""

    def answer(asked: Any) -> Any:
        _, _, start, end = asked.path.split("/")
        entries = half_hours(
            at(start),
            at(end),
            lambda begin: {
                "forecast": value + 5,
                "actual": value if begin + 2 * HALF_HOUR <= zone.now else None,
                "index": "moderate",
            },
        )
        return answers({"data": entries})

    return answer


@pytest.mark.parametrize("minute", [0, 17])
async def test_history_is_filled_at_first_start_and_after_a_gap(
    provider: Any, answers: Any, zone: Zone, minute: int
) -> None:
    # In the minute in which a half-hour begins, the portions meet within that minute.
    zone.now = zone.now.replace(minute=minute, second=12) + timedelta(hours=1)
    provider.answer = national(zone, answers)
    source = Neso(url=provider.url, limits=HttpLimits())
    polling = zone.polling(source, backfill=timedelta(days=20))
    await polling.poll()
    assert len(await zone.stored()) == 20 * 48
    assert len(provider.asked) == 2, "in portions of what one request may ask for"
    assert zone.board.current("GB", zone.now) is not None
    zone.now += timedelta(days=2)
    provider.asked.clear()
    await polling.poll()
    begins = sorted({each.valid_from for each in await zone.stored()})
    assert {later - earlier for earlier, later in pairwise(begins)} == {HALF_HOUR}
    assert len(provider.asked) == 1
    await source.close()


async def test_what_is_only_repeated_revises_nothing(provider: Any, answers: Any, zone: Zone) -> None:
    provider.answer = national(zone, answers)
    source = Neso(url=provider.url, limits=QUICK)
    polling = zone.polling(source, backfill=timedelta(days=1))
    await polling.poll()
    before = await zone.stored()
    zone.now += timedelta(minutes=1)
    await polling.poll()
    assert await zone.stored() == before
    provider.answer = national(zone, answers, 210)
    zone.now += timedelta(minutes=1)
    await polling.poll()
    after = await zone.stored()
    assert {each.revision for each in after} == {1}
    await source.close()


async def test_a_source_that_fails_is_left_for_the_next_and_returned_to(
    provider: Any, answers: Any, zone: Zone
) -> None:
    good = national(zone, answers)
    spare = Neso(13, provider.url, QUICK)
    preferred = Neso(url=provider.url, limits=QUICK)

    def answer(asked: Any) -> Any:
        if asked.path.startswith("/regional"):
            start, end = asked.path.split("/")[3:5]
            return answers({"data": {"data": half_hours(at(start), at(end), lambda _: {"forecast": 190})}})
        return good(asked) if healthy else answers(status=429, headers={"retry-after": "120"})

    provider.answer, healthy = answer, True
    polling = zone.polling(preferred, spare, backfill=timedelta(days=1))
    await polling.poll()
    assert zone.health() == [("neso", True, True), ("neso:13", True, False)]

    healthy = False
    zone.now += timedelta(hours=3)
    wait = await polling.poll()
    assert zone.health() == [("neso", False, False), ("neso:13", True, True)]
    assert wait <= timedelta(seconds=120)
    current = zone.board.current("GB", zone.now)
    assert current is not None
    assert current.source == "neso:13"

    zone.now += timedelta(seconds=60)
    asked = len(provider.asked)
    await polling.poll()
    assert all(each.path.startswith("/regional") for each in provider.asked[asked:]), "it asked to be left alone"

    healthy = True
    zone.now += timedelta(seconds=61)
    await polling.poll()
    assert zone.health() == [("neso", True, True), ("neso:13", True, False)]
    filled = [each for each in await zone.stored() if each.source == "neso"]
    begins = sorted({each.valid_from for each in filled})
    assert {later - earlier for earlier, later in pairwise(begins)} == {HALF_HOUR}
    await preferred.close()
    await spare.close()


async def test_a_source_that_answers_only_of_long_ago_has_failed(provider: Any, answers: Any, zone: Zone) -> None:
    stopped = zone.now - timedelta(hours=5)
    provider.answer = lambda _asked: answers(
        {"data": half_hours(stopped - timedelta(hours=4), stopped, lambda _: {"forecast": 1, "actual": 200})}
    )
    source = Neso(url=provider.url, limits=QUICK)
    wait = await zone.polling(source).poll()
    assert zone.health() == [("neso", False, False)]
    assert "has said nothing since" in zone.healths.every()[0].problem
    assert timedelta(seconds=20) < wait < timedelta(seconds=40)
    assert len(await zone.stored()) in {8, 9}, "what it did say is kept"
    await source.close()


async def test_an_interval_at_the_end_of_the_calendar_stops_nothing(provider: Any, answers: Any, zone: Zone) -> None:
    begin = zone.now.replace(minute=0, second=0, microsecond=0)
    endless = {"from": f"{begin:%Y-%m-%dT%H:%MZ}", "to": "9999-12-31T23:59Z", "intensity": {"actual": 200}}
    ancient = {"from": "0001-01-01T00:00Z", "to": "0001-01-01T00:30Z", "intensity": {"forecast": 200}}
    provider.answer = lambda _asked: answers({"data": [endless, ancient]})
    source = Neso(url=provider.url, limits=QUICK)
    await Polling("GB", [(source, True)], zone.intake, zone.library, zone.healths, zone.clock).poll()
    assert await zone.stored() == []
    held, _ = await zone.library.list_quarantined("GB", None, 10)
    assert {each.reason for each in held} == {"bad_interval", "too_old"}
    await source.close()


async def test_a_source_that_keeps_failing_is_asked_less_and_less(provider: Any, answers: Any, zone: Zone) -> None:
    provider.answer = lambda _asked: answers(status=404)
    source = Neso(url=provider.url, limits=QUICK)
    polling = zone.polling(source)
    waits = []
    for _ in range(8):
        wait = await polling.poll()
        waits.append(wait)
        zone.now += wait
    assert waits[0] < waits[2] < waits[4]
    assert max(waits) <= timedelta(minutes=18)
    await source.close()
