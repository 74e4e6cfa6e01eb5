"""Provider answers become readings or a clear error, whatever the JSON; nothing that is missing becomes zero."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carbon_service.sources.electricity_maps import parse_forecast, parse_history, parse_latest
from carbon_service.sources.neso import neso_region, parse_neso
from carbon_service.sources.source import SourceError
from carbon_service.sources.watttime import parse_watttime
from tradewind.readings import Reading, ReadingKind, Signal, from_json, to_json

NOW = datetime(2026, 6, 1, 12, 10, tzinfo=UTC)


def half_hour(begin: str, end: str, **intensity: object) -> dict[str, Any]:
    return {"from": f"2026-06-01T{begin}Z", "to": f"2026-06-01T{end}Z", "intensity": intensity}


NATIONAL = {
    "data": [
        half_hour("11:00", "11:30", forecast=190, actual=185, index="moderate"),
        half_hour("11:30", "12:00", forecast=200, actual=0, index="moderate"),
        half_hour("12:00", "12:30", forecast=210, actual=None, index="high"),
        half_hour("12:30", "13:00", forecast=None, actual=None, index="high"),
    ]
}
REGIONAL = {
    "data": {
        "regionid": 11,
        "dnoregion": "WPD South West England",
        "shortname": "South West England",
        "data": [half_hour("12:00", "12:30", forecast=150, index="low") | {"generationmix": []}],
    }
}
HOUR = {
    "zone": "DE",
    "carbonIntensity": 400,
    "datetime": "2026-06-01T11:00:00.000Z",
    "updatedAt": "2026-06-01T11:59:00.000Z",
    "emissionFactorType": "lifecycle",
    "isEstimated": False,
    "estimationMethod": None,
}
HISTORY = {
    "zone": "DE",
    "history": [
        HOUR,
        HOUR | {"datetime": "2026-06-01T12:00:00.000Z", "isEstimated": True, "estimationMethod": "TIME_SLICER_AVERAGE"},
        HOUR | {"datetime": "2026-06-01T13:00:00.000Z", "isEstimated": True},
        HOUR | {"datetime": "2026-06-01T10:00:00.000Z", "carbonIntensity": None},
    ],
}
FORECAST = {
    "zone": "DE",
    "forecast": [{"carbonIntensity": 380, "datetime": "2026-06-01T13:00:00.000Z"}],
    "updatedAt": "2026-06-01T12:05:00.000Z",
}
POUNDS = {
    "data": [
        {"point_time": "2026-06-01T12:00:00+00:00", "value": 1000.0},
        {"point_time": "2026-06-01T12:05:00+00:00", "value": None},
    ],
    "meta": {"region": "CAISO_NORTH", "signal_type": "co2_moer", "units": "lbs_co2_per_mwh"},
}


def summary(readings: list[Reading]) -> list[tuple[str, float, str]]:
    return [(f"{each.valid_from:%H:%M}", each.intensity_g_per_kwh, each.kind.value) for each in readings]


def test_neso_national_has_actuals_and_forecasts_and_leaves_zero_to_the_gate() -> None:
    readings = parse_neso(NATIONAL, "GB", "neso", NOW)
    assert summary(readings) == [("11:00", 185, "actual"), ("11:30", 0, "actual"), ("12:00", 210, "forecast")]
    assert readings[0].valid_to - readings[0].valid_from == timedelta(minutes=30)
    assert {(each.signal, each.published_at) for each in readings} == {(Signal.AVERAGE, NOW)}


def test_neso_regions_have_forecasts_only() -> None:
    assert summary(parse_neso(REGIONAL, "GB-SWE", "neso:11", NOW)) == [("12:00", 150, "forecast")]


def test_neso_regions_are_known_by_zone_or_given_by_number() -> None:
    assert neso_region("GB", None) is None
    assert neso_region("GB-SWE", None) == 11
    assert neso_region("home", "13") == 13
    with pytest.raises(SourceError, match="give its number as area"):
        neso_region("home", None)
    with pytest.raises(SourceError, match="not a region's number"):
        neso_region("home", "south")


def test_electricity_maps_tells_actual_from_estimated_and_from_what_has_not_begun() -> None:
    readings = parse_history(HISTORY, "DE", "electricity_maps:DE", NOW)
    assert summary(readings) == [("11:00", 400, "actual"), ("12:00", 400, "estimated"), ("13:00", 400, "forecast")]
    assert readings[0].published_at == datetime(2026, 6, 1, 11, 59, tzinfo=UTC)
    assert summary(parse_latest(HOUR, "DE", "electricity_maps:DE", NOW)) == [("11:00", 400, "actual")]
    assert summary(parse_forecast(FORECAST, "DE", "electricity_maps:DE")) == [("13:00", 380, "forecast")]


def test_electricity_maps_direct_factors_are_a_source_of_their_own() -> None:
    (reading,) = parse_latest(HOUR | {"emissionFactorType": "direct"}, "DE", "electricity_maps:DE", NOW)
    assert reading.source == "electricity_maps:DE:direct"


@pytest.mark.parametrize("status", ["no-data", "something-else"])
def test_electricity_maps_without_data_says_so(status: str) -> None:
    answer = {"_disclaimer": "…", "status": status, "countryCode": "DE", "data": {}, "units": {}}
    for parse in (parse_history, parse_latest):
        with pytest.raises(SourceError, match="has no data"):
            parse(answer, "DE", "electricity_maps:DE", NOW)


def test_watttime_pounds_become_grams() -> None:
    (reading,) = parse_watttime(POUNDS, "US-CAL", "watttime:CAISO_NORTH", ReadingKind.ACTUAL, NOW)
    assert reading.intensity_g_per_kwh == pytest.approx(453.59237, rel=1e-12)
    assert reading.signal is Signal.MARGINAL
    assert reading.valid_to - reading.valid_from == timedelta(minutes=5)


@pytest.mark.parametrize("units", ["percentile", "kg_co2_per_mwh", ""])
def test_watttime_in_other_units_is_refused(units: str) -> None:
    answer = POUNDS | {"meta": POUNDS["meta"] | {"units": units}}  # type: ignore[operator]
    with pytest.raises(SourceError, match="no intensity"):
        parse_watttime(answer, "US-CAL", "watttime:CAISO_NORTH", ReadingKind.ACTUAL, NOW)


PARSERS: dict[str, tuple[Callable[[Any], list[Reading]], Any]] = {
    "neso national": (lambda answer: parse_neso(answer, "Z", "s", NOW), NATIONAL),
    "neso regional": (lambda answer: parse_neso(answer, "Z", "s", NOW), REGIONAL),
    "history": (lambda answer: parse_history(answer, "Z", "s", NOW), HISTORY),
    "latest": (lambda answer: parse_latest(answer, "Z", "s", NOW), HOUR),
    "forecast": (lambda answer: parse_forecast(answer, "Z", "s"), FORECAST),
    "watttime": (lambda answer: parse_watttime(answer, "Z", "s", ReadingKind.ACTUAL, NOW), POUNDS),
}

json_values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_subnormal=False) | st.integers() | st.text(max_size=30),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=12), children, max_size=4),
    max_leaves=12,
)


def parse_or_refuse(name: str, answer: Any) -> list[Reading]:
    try:
        readings = PARSERS[name][0](answer)
    except SourceError:
        return []
    for reading in readings:
        assert from_json(to_json(reading)) == reading
    return readings


@pytest.mark.parametrize("name", PARSERS)
@given(answer=json_values)
def test_any_json_ends_in_readings_or_a_clear_error(name: str, answer: Any) -> None:
    parse_or_refuse(name, answer)


def paths_of(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(each for key, child in children for each in paths_of(child, (*path, key)))]


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = json.loads(json.dumps(value))
    inner = copy
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = new
    return copy


def removed(value: Any, path: tuple[Any, ...]) -> Any:
    copy = json.loads(json.dumps(value))
    inner = copy
    for key in path[:-1]:
        inner = inner[key]
    del inner[path[-1]]
    return copy


@pytest.mark.parametrize("name", PARSERS)
@settings(max_examples=200)
@given(data=st.data())
def test_an_answer_that_is_damaged_anywhere_never_becomes_a_zero(name: str, data: st.DataObject) -> None:
    """A real shape with something else in one or two places: what was said as zero stays the only zero."""
    answer = PARSERS[name][1]
    zeros = json.dumps(answer).count(": 0")
    for _ in range(data.draw(st.integers(1, 2))):
        path = data.draw(st.sampled_from(paths_of(answer)))
        if path and data.draw(st.booleans()):
            answer = removed(answer, path)
        else:
            new = data.draw(json_values.filter(lambda value: "0" not in json.dumps(value)))
            answer = replaced(answer, path, new)
        if not isinstance(answer, dict | list):
            break
    readings = parse_or_refuse(name, answer)
    assert sum(reading.intensity_g_per_kwh == 0 for reading in readings) <= zeros
