"""The store's contract, on SQLite and Postgres: what is kept, replaced, quarantined, released and announced."""

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from carbon_service import queries, store, writes
from carbon_service.keeper import Keeper, Taken
from carbon_service.observations import Claim, Reason, claim_of, parse_observation
from carbon_service.rules import PublisherEntry, Rules, ZoneEntry, ZonesFile
from tradewind import topics
from tradewind.database import open_engine, reading
from tradewind.readings import Reading, ReadingKind, Signal, from_json

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
HALF_HOUR = timedelta(minutes=30)
ZONE = "GB-SWE"


@pytest.fixture
def engine(database_url: str) -> Iterator[sa.Engine]:
    engine = open_engine(database_url)
    store.metadata.create_all(engine)
    yield engine
    engine.dispose()


def said(
    value: float,
    period: int = 0,
    *,
    version: int = 0,
    kind: ReadingKind = ReadingKind.ACTUAL,
    signal: Signal = Signal.AVERAGE,
    source: str = "test",
    zone: str = ZONE,
) -> Reading:
    begin = NOON + period * HALF_HOUR
    published = min(begin, NOON) + timedelta(seconds=version)
    return Reading(zone, begin, begin + HALF_HOUR, float(value), kind, signal, source, published)


def take(keeper: Keeper, *readings: Reading, now: datetime = NOON + timedelta(minutes=1)) -> Taken:
    return keeper.take([claim_of(each, now) for each in readings], now)


def stored(engine: sa.Engine, *, zone: str = ZONE, signal: Signal = Signal.AVERAGE) -> list[Reading]:
    with reading(engine) as connection:
        return queries.list_readings(connection, zone, signal, (None, None), None, 10_000)


def told(taken: Taken) -> list[tuple[str, float | list[float]]]:
    """The announcements, as topic ends and values."""
    result: list[tuple[str, float | list[float]]] = []
    for each in taken.announcements:
        content = json.loads(each.payload)
        value = [part["intensity_g_per_kwh"] for part in content] if isinstance(content, list) else None
        result.append((each.topic.rpartition("/")[2], value or content["intensity_g_per_kwh"]))
    return result


def test_a_reading_is_kept_and_announced(engine: sa.Engine) -> None:
    keeper = Keeper(engine, Rules())
    taken = take(keeper, said(212.5))
    assert [outcome.accepted for outcome in taken.outcomes] == [True]
    assert stored(engine) == [said(212.5)]
    (announcement,) = taken.announcements
    assert (announcement.topic, announcement.retain) == (topics.intensity(ZONE), True)
    assert from_json(announcement.payload) == said(212.5)
    assert [change.restates for change in taken.changes] == [False]


def test_the_same_said_twice_is_one_reading_and_one_announcement(engine: sa.Engine) -> None:
    keeper = Keeper(engine, Rules())
    take(keeper, said(212.5))
    again = take(keeper, said(212.5), said(212.5))
    assert [outcome.accepted for outcome in again.outcomes] == [True, True]
    assert again.announcements == []
    assert again.changes == []
    assert stored(engine) == [said(212.5)]


def test_a_revision_replaces_is_numbered_and_announced(engine: sa.Engine) -> None:
    keeper = Keeper(engine, Rules())
    take(keeper, said(200, -2), said(205, -1), said(210))
    current = take(keeper, said(215, version=1))
    earlier = take(keeper, said(190, -2, version=1))
    assert told(current) == [("intensity", 215)]
    assert told(earlier) == [("revisions", 190)]
    assert [change.restates for change in (*current.changes, *earlier.changes)] == [True, True]
    assert [(each.intensity_g_per_kwh, each.revision) for each in stored(engine)] == [(190, 1), (205, 0), (215, 1)]


def test_an_older_version_that_comes_late_changes_only_the_number(engine: sa.Engine) -> None:
    keeper = Keeper(engine, Rules())
    take(keeper, said(215, version=2))
    late = take(keeper, said(210, version=1))
    assert [(each.intensity_g_per_kwh, each.revision) for each in stored(engine)] == [(215, 1)]
    assert told(late) == [("intensity", 215)]


def test_versions_in_any_order_and_number_end_the_same(engine: sa.Engine) -> None:
    """The same readings, shuffled, repeated and cut into batches: the same store and the same retained reading."""
    readings = [
        said(200 + 3 * version + period, period, version=version) for period in range(-9, 1) for version in range(3)
    ]
    expected: list[Reading] | None = None
    for seed in range(6):
        zone = f"Z{seed}"
        order = random.Random(seed)
        sequence = [*readings, *order.choices(readings, k=30)]
        order.shuffle(sequence)
        keeper, announced = Keeper(engine, Rules()), {}
        while sequence:
            size = order.randint(1, 12)
            batch, sequence = sequence[:size], sequence[size:]
            for each in take(keeper, *(replace(each, zone=zone) for each in batch)).announcements:
                announced[each.slot] = each.payload
            if order.random() < 0.3:
                keeper = Keeper(engine, Rules())  # As after a kill: what is remembered comes from the store.
        result = [replace(each, zone=ZONE) for each in stored(engine, zone=zone)]
        expected = expected or result
        assert result == expected
        retained = from_json(announced[topics.intensity(zone), ""])
        assert retained == stored(engine, zone=zone)[-1]
        assert {each.revision for each in result} == {2}


def test_late_history_never_moves_the_current_backwards(engine: sa.Engine) -> None:
    keeper = Keeper(engine, Rules())
    take(keeper, said(212.5))
    late = take(keeper, said(200, -5))
    assert told(late) == [("revisions", 200)]


def test_the_best_kind_of_an_interval_is_announced(engine: sa.Engine) -> None:
    keeper = Keeper(engine, Rules())
    forecast = take(keeper, said(220, kind=ReadingKind.FORECAST))
    assert told(forecast) == [("intensity", 220), ("forecast", [220])]
    assert told(take(keeper, said(210))) == [("intensity", 210)]
    worse = take(keeper, said(230, kind=ReadingKind.ESTIMATED))
    assert worse.outcomes[0].accepted
    assert told(worse) == []
    assert len(stored(engine)) == 3


def test_a_forecast_becomes_current_by_the_passing_of_time(engine: sa.Engine) -> None:
    keeper = Keeper(engine, Rules())
    ahead = [said(220 + period, period, kind=ReadingKind.FORECAST) for period in range(4)]
    taken = take(keeper, *ahead)
    assert told(taken) == [("intensity", 220), ("forecast", [220, 221, 222, 223])]
    keeper.heard(taken.announcements)
    assert told(keeper.refresh([ZONE], NOON + timedelta(minutes=29))) == []
    assert told(keeper.refresh([ZONE], NOON + HALF_HOUR)) == [("intensity", 221)]


def test_average_and_marginal_are_kept_apart(engine: sa.Engine) -> None:
    rules = Rules(file=ZonesFile(zones={"M": ZoneEntry(signal=Signal.MARGINAL)}))
    keeper = Keeper(engine, rules)
    take(keeper, *(said(200, period) for period in range(-20, 0)))
    marginal = take(keeper, said(600, signal=Signal.MARGINAL))
    assert marginal.outcomes[0].accepted, "the average's history says nothing of the marginal"
    assert told(marginal) == []
    assert [each.intensity_g_per_kwh for each in stored(engine, signal=Signal.MARGINAL)] == [600]
    assert told(take(keeper, said(600, signal=Signal.MARGINAL, zone="M"))) == [("intensity", 600)]
    assert told(take(keeper, said(200, zone="M"))) == []


def test_what_the_bus_has_not_heard_is_overtaken_but_heard_as_history(engine: sa.Engine) -> None:
    keeper = Keeper(engine, Rules())
    first = take(keeper, said(200, -1), now=NOON - timedelta(minutes=10))
    second = take(keeper, said(210))
    assert told(second) == [("intensity", 210), ("revisions", 200)]
    keeper.heard(second.announcements)
    keeper.heard(first.announcements)
    third = take(keeper, said(220, 1), now=NOON + HALF_HOUR)
    assert told(third) == [("intensity", 220)]


def test_a_restarted_service_announces_what_was_not_heard_and_what_holds(engine: sa.Engine) -> None:
    keeper = Keeper(engine, Rules())
    taken = take(keeper, said(200, -1), said(210), said(230, 1, kind=ReadingKind.FORECAST))
    keeper.heard([each for each in taken.announcements if each.topic != topics.revisions(ZONE)])
    restarted = Keeper(engine, Rules())
    waiting = restarted.retained(NOON + timedelta(minutes=2))
    assert [(each.topic.rpartition("/")[2], bool(each.id)) for each in waiting] == [
        ("revisions", True),
        ("intensity", False),
        ("forecast", False),
    ]
    restarted.heard(waiting)
    assert Keeper(engine, Rules()).retained(NOON + timedelta(days=1)) == []


def test_an_acknowledgement_of_the_older_does_not_forget_the_newer(engine: sa.Engine) -> None:
    keeper = Keeper(engine, Rules())
    older = take(keeper, said(200))
    newer = take(keeper, said(210, version=1))
    keeper.heard(older.announcements)
    with reading(engine) as connection:
        assert writes.unheard(connection) == newer.announcements


def calm(keeper: Keeper) -> None:
    take(keeper, *(said(200 + period, period) for period in range(-40, -8)))


def test_a_jump_is_quarantined_and_released_when_it_lasts(engine: sa.Engine) -> None:
    keeper = Keeper(engine, Rules())
    calm(keeper)
    held = take(keeper, said(45, -8), said(46, -7))
    assert held.quarantined == ["jump", "jump"]
    keeper = Keeper(engine, Rules())  # What is held back outlives a restart.
    lasting = take(keeper, said(47, -6))
    assert [change.reading.intensity_g_per_kwh for change in lasting.changes] == [45, 46, 47]
    assert [each.intensity_g_per_kwh for each in stored(engine)][-3:] == [45, 46, 47]
    with reading(engine) as connection:
        rows = queries.list_quarantined(connection, ZONE, None, 10)
        assert len(rows) == 2
        assert all(row.released_at is not None for row in rows)
        assert queries.zone_counts(connection)[ZONE].quarantined == 0


def test_a_glitch_stays_in_quarantine_and_says_how_long_it_lasted(engine: sa.Engine) -> None:
    keeper = Keeper(engine, Rules())
    calm(keeper)
    take(keeper, said(45, -8))
    take(keeper, said(205, -7))
    with reading(engine) as connection:
        (row,) = queries.list_quarantined(connection, ZONE, None, 10)
    assert row.reason == "jump"
    assert "times below anything within 24 h of it" in row.explanation
    assert row.explanation.endswith("it lasted 1 interval")
    assert row.released_at is None


def observe(keeper: Keeper, payload: bytes, publisher: str = "roof", zone: str = ZONE) -> Taken:
    claim = parse_observation(topics.observation(publisher, zone), payload, False, NOON, timedelta(hours=1))
    return keeper.take([claim], NOON)


def test_what_is_no_reading_is_quarantined_once_and_counted(engine: sa.Engine) -> None:
    keeper = Keeper(engine, Rules())
    for _ in range(3):
        observe(keeper, b"\x00not \xff a reading")
    with reading(engine) as connection:
        (row,) = queries.list_quarantined(connection, "", None, 10)
    assert (row.reason, row.times, row.source) == (Reason.NOT_A_READING, 3, "edge:roof")
    assert row.excerpt.isprintable()
    assert stored(engine) == []


def test_a_provider_that_repeats_its_glitches_is_not_believed_and_fills_no_quarantine(engine: sa.Engine) -> None:
    """Every answer says the last day again, as published just now; what is stored already is left out of it."""
    keeper = Keeper(engine, Rules())
    calm(keeper)
    values = [45, 210, 0, 210, 46, 210, 45, 210]
    take(keeper, *(said(value, period) for period, value in enumerate(values, -8)))
    for version in (1, 2, 3):
        glitches = [said(value, period, version=version) for period, value in enumerate(values, -8) if value != 210]
        assert not any(outcome.accepted for outcome in take(keeper, *glitches).outcomes)
    with reading(engine) as connection:
        rows = queries.list_quarantined(connection, ZONE, None, 100)
    assert [row.times for row in rows] == [4, 4, 4, 4]


def test_a_held_version_said_again_is_the_one_that_is_released(engine: sa.Engine) -> None:
    keeper = Keeper(engine, Rules())
    calm(keeper)
    take(keeper, said(45, -8), said(46, -7))
    again = [said(45, -8, version=1), said(46, -7, version=1)]
    take(keeper, *again)
    keeper = Keeper(engine, Rules())
    take(keeper, said(47, -6))
    assert stored(engine)[-3:-1] == again
    with reading(engine) as connection:
        rows = queries.list_quarantined(connection, ZONE, None, 100)
    assert [(row.times, row.released_at is not None) for row in rows] == [(2, True), (2, True)]


def test_a_forecast_ends_no_run_of_measured_values_across_a_restart(engine: sa.Engine) -> None:
    keeper = Keeper(engine, Rules())
    calm(keeper)
    take(keeper, said(45, -8), said(46, -7), said(210, -6, kind=ReadingKind.FORECAST))
    keeper = Keeper(engine, Rules())
    assert take(keeper, said(47, -6)).outcomes[0].accepted
    assert [each.intensity_g_per_kwh for each in stored(engine) if each.kind is ReadingKind.ACTUAL][-3:] == [45, 46, 47]


def test_only_listed_publishers_are_believed(engine: sa.Engine) -> None:
    keeper = Keeper(engine, Rules(file=ZonesFile(publishers={"roof": PublisherEntry(zones=("home",))})))
    assert observe(keeper, b"200", zone="home").outcomes[0].accepted
    assert observe(keeper, b"200", zone="other").quarantined == [Reason.NOT_PERMITTED]
    assert observe(keeper, b"200", "cellar", "home").quarantined == [Reason.NOT_PERMITTED]


def test_names_alone_do_not_fill_the_memory(engine: sa.Engine) -> None:
    keeper = Keeper(engine, Rules(max_zones=2))
    for number in range(5):
        assert observe(keeper, b"0", zone=f"empty{number}").quarantined == ["zero"]
    assert [observe(keeper, b"200", zone=f"Z{number}").outcomes[0].verdict for number in range(3)] == [
        "accepted",
        "accepted",
        "too_many_zones",
    ]


def test_a_failed_transaction_leaves_nothing_behind(engine: sa.Engine) -> None:
    keeper = Keeper(engine, Rules())
    calm(keeper)
    bad = Claim("Z\x00", "test", NOON, None, "x" * 100, "a reason that is too long, and a name with a NUL", "")
    with engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE carbon_outbox"))
    with pytest.raises(sa.exc.DBAPIError):
        keeper.take([claim_of(said(210), NOON), bad], NOON)
    store.metadata.create_all(engine)
    assert [each.intensity_g_per_kwh for each in stored(engine)][-1] == 191
    assert told(take(keeper, said(210))) == [("intensity", 210)]


def test_what_is_older_than_the_retention_goes(engine: sa.Engine) -> None:
    keeper = Keeper(engine, Rules())
    take(keeper, said(200, -4, version=0), said(201, -4, version=1), said(210))
    for number in range(5):
        observe(keeper, f"nonsense {number}".encode())
    keeper.forget_older(NOON - HALF_HOUR, most_quarantined=2)
    assert [each.intensity_g_per_kwh for each in stored(engine)] == [210]
    with reading(engine) as connection:
        assert len(queries.list_quarantined(connection, "", None, 10)) == 2
        assert connection.execute(sa.select(sa.func.count()).select_from(store.versions)).scalar_one() == 0


def test_what_is_said_again_and_again_pushes_nothing_out_of_the_quarantine(engine: sa.Engine) -> None:
    keeper = Keeper(engine, Rules())
    for payload in [b"the one to be found", *[b"nan "] * 20, b"the last"]:
        observe(keeper, payload)
    keeper.forget_older(NOON - HALF_HOUR, most_quarantined=10)
    with reading(engine) as connection:
        rows = queries.list_quarantined(connection, "", None, 10)
    assert {row.excerpt for row in rows} == {"the one to be found", "nan ", "the last"}


def test_pages_cover_everything_once(engine: sa.Engine) -> None:
    keeper = Keeper(engine, Rules())
    every = [
        said(200 + period, period, source=source) for period in range(-6, 1) for source in ("edge:a", "edge:b", "test")
    ]
    take(keeper, *every)
    seen: list[Reading] = []
    after = None
    with reading(engine) as connection:
        while page := queries.list_readings(connection, ZONE, Signal.AVERAGE, (None, None), after, 4):
            seen += page
            after = queries.PageStart(page[-1].valid_from, page[-1].kind.value, page[-1].source)
    assert seen == every


def test_a_replay_is_begun_once_and_clears_what_an_earlier_one_said(engine: sa.Engine) -> None:
    keeper = Keeper(engine, Rules())
    take(keeper, said(200, -4, source="replay:day"), said(210, -1, source="replay:day"), said(220, -1))
    assert keeper.replay_start(ZONE, "a") is None
    keeper.begin_replay(ZONE, "a", "replay:day", NOON, NOON - HALF_HOUR)
    assert keeper.replay_start(ZONE, "a") == NOON
    assert keeper.replay_start(ZONE, "b") is None
    assert [each.intensity_g_per_kwh for each in stored(engine)] == [200, 220]
