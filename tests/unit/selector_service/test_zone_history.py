"""A zone's history answers the same whatever the order of arrival, and never with another signal or kind mixed in."""

import random
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from selector_service.zone_history import RangeRule, ZoneHistory
from tradewind.readings import Reading, ReadingKind, Signal, best_first

START = datetime(2023, 6, 1, tzinfo=UTC)
SLOT = timedelta(minutes=30)
RULE = RangeRule(window=timedelta(hours=3))


def a_reading(slot: int, intensity: float = 100.0, **changes: object) -> Reading:
    values: dict[str, object] = {
        "zone": "GB",
        "valid_from": START + slot * SLOT,
        "valid_to": START + (slot + 1) * SLOT,
        "intensity_g_per_kwh": intensity,
        "kind": ReadingKind.ACTUAL,
        "signal": Signal.AVERAGE,
        "source": "test",
        "published_at": START + slot * SLOT,
    }
    return Reading(**{**values, **changes})  # type: ignore[arg-type]


READINGS = st.builds(
    lambda slot, intensity, kind, source, late, halves, signal: a_reading(
        slot,
        float(intensity),
        kind=kind,
        source=source,
        published_at=START + slot * SLOT + late * timedelta(minutes=1),
        valid_to=START + slot * SLOT + halves * SLOT,
        signal=signal,
    ),
    st.integers(0, 14),
    st.integers(1, 9),
    st.sampled_from(ReadingKind),
    st.sampled_from(["a", "b"]),
    st.integers(0, 3),
    st.integers(1, 3),
    st.sampled_from([Signal.AVERAGE, Signal.AVERAGE, Signal.MARGINAL]),
)


def newest(readings: list[Reading]) -> list[Reading]:
    """By brute force: per key the newest publication, of the average signal."""
    best: dict[object, Reading] = {}
    for reading in readings:
        old = best.get(reading.key)
        rank = (reading.published_at, reading.valid_to, reading.intensity_g_per_kwh)
        if reading.signal is Signal.AVERAGE and (
            old is None or rank > (old.published_at, old.valid_to, old.intensity_g_per_kwh)
        ):
            best[reading.key] = reading
    return list(best.values())


def settled_by_hand(readings: list[Reading]) -> dict[datetime, Reading]:
    """By brute force: per interval the best kind, then the newest, then the source's name."""
    intervals: dict[datetime, list[Reading]] = {}
    for reading in newest(readings):
        intervals.setdefault(reading.valid_from, []).append(reading)
    return {start: min(group, key=best_first) for start, group in intervals.items()}


@given(readings=st.lists(READINGS, max_size=40), seed=st.integers(0, 3), minutes=st.integers(0, 480))
def test_any_order_gives_the_brute_force_answer(readings: list[Reading], seed: int, minutes: int) -> None:
    moment = START + minutes * timedelta(minutes=1)
    history = ZoneHistory("GB", RULE)
    shuffled = [*readings, *readings[:5]]
    random.Random(seed).shuffle(shuffled)
    for reading in shuffled:
        history.put(reading)
    settled = settled_by_hand(readings)
    assert history.settled(START - SLOT, START + 20 * SLOT) == [settled[start] for start in sorted(settled)]

    outlook = history.outlook(moment)
    begun = [start for start in settled if start <= moment]
    if not begun:
        assert outlook is None
        return
    assert outlook is not None
    holding = [reading for reading in newest(readings) if reading.holds_at(moment)]
    assert outlook.stale == (not holding)
    if holding:
        key = min((reading.kind.rank, -reading.valid_from.timestamp()) for reading in holding)
        assert (outlook.current.kind.rank, -outlook.current.valid_from.timestamp()) == key
    else:
        assert outlook.current == settled[max(begun)]
    end = outlook.current.valid_from
    values = [reading.intensity_g_per_kwh for start, reading in settled.items() if end - RULE.window < start <= end]
    assert (outlook.range.low_g_per_kwh, outlook.range.high_g_per_kwh) == (min(values), max(values))
    assert outlook.range.readings == len(values)
    assert all(
        reading.kind is ReadingKind.FORECAST and reading.valid_from >= outlook.current.valid_to
        for reading in outlook.forecast
    )


def test_a_late_actual_restates_and_current_stays() -> None:
    history = ZoneHistory("GB", RULE)
    history.put(a_reading(0, 100.0, kind=ReadingKind.FORECAST))
    history.put(a_reading(1, 200.0, kind=ReadingKind.FORECAST))
    now = START + SLOT + timedelta(minutes=5)
    new, settlement = history.put(a_reading(0, 150.0))
    assert new
    assert settlement is not None
    assert settlement.before is not None
    assert (settlement.before.intensity_g_per_kwh, settlement.now.intensity_g_per_kwh) == (100.0, 150.0)
    outlook = history.outlook(now)
    assert outlook is not None
    assert outlook.current.intensity_g_per_kwh == 200.0
    assert outlook.range.low_g_per_kwh == 150.0


def test_a_reading_ahead_of_its_time_holds_once_its_interval_begins() -> None:
    history = ZoneHistory("GB", RULE)
    history.put(a_reading(0, 100.0))
    history.put(a_reading(1, 300.0))
    before, at = START + SLOT - timedelta(microseconds=1), START + SLOT
    first, then = history.outlook(before), history.outlook(at)
    assert first is not None
    assert then is not None
    assert (first.current.intensity_g_per_kwh, first.range.high_g_per_kwh) == (100.0, 100.0)
    assert (then.current.intensity_g_per_kwh, then.range.high_g_per_kwh) == (300.0, 300.0)
    assert history.next_change(START) == at
    assert history.next_change(at) == START + 2 * SLOT
    assert history.next_change(START + 2 * SLOT) is None


def test_an_older_publication_is_no_news() -> None:
    history = ZoneHistory("GB", RULE)
    history.put(a_reading(0, 100.0, published_at=START + timedelta(minutes=2)))
    assert history.put(a_reading(0, 999.0)) == (False, None)
    assert history.put(a_reading(0, 999.0, signal=Signal.MARGINAL)) == (False, None)


def test_what_is_forgotten_is_gone_and_the_rest_stays() -> None:
    history = ZoneHistory("GB", RULE)
    for slot in range(10):
        history.put(a_reading(slot, float(slot + 1)))
    history.forget(START + 4 * SLOT)
    assert [reading.intensity_g_per_kwh for reading in history.settled(START - SLOT, START + 9 * SLOT)] == [
        5.0,
        6.0,
        7.0,
        8.0,
        9.0,
        10.0,
    ]
