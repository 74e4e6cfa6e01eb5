"""The ledger on SQLite and Postgres: exactly once, priced when asked, restated by itself."""

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select

from inference_proxy.flusher import Flusher
from inference_proxy.ledger import Batch, Ledger, Misplaced
from inference_proxy.report import Known, Span, check_groups, read_report, read_rows
from inference_proxy.spool import RECORD, Charge, Spool, SpoolKey, segments
from inference_proxy.store import ledger as ledger_table
from inference_proxy.store import spools
from tradewind.database import microseconds, open_engine, reading
from tradewind.errors import InvalidInput
from tradewind.migrate import upgrade
from tradewind.readings import Reading, ReadingKind, Signal
from tradewind.units import UJ_PER_KWH

BEGIN = datetime(2026, 11, 24, 12, 0, 20, tzinfo=UTC)
KWH = UJ_PER_KWH


def interval(value: float, *, begins: datetime = BEGIN, published: datetime = BEGIN, **changes: object) -> Reading:
    made = Reading(
        zone="GB",
        valid_from=begins,
        valid_to=begins + timedelta(minutes=30),
        intensity_g_per_kwh=value,
        kind=ReadingKind.ACTUAL,
        signal=Signal.AVERAGE,
        source="test",
        published_at=published,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    upgrade(database_url)
    made = open_engine(database_url)
    yield made
    made.dispose()


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    made = Spool(tmp_path / "spool", 4 * RECORD.size)
    made.open()
    yield made
    made.close()


@pytest.fixture
def flusher(engine: Engine, spool: Spool) -> Flusher:
    return Flusher(spool, Ledger(engine), interval_s=0.05)


def serve(
    spool: Spool,
    held: Reading | None,
    *,
    after_s: float = 1,
    variant: str = "small",
    family: str = "ident",
    tenant: str = "",
    energy_uj: int = KWH,
    count: int = 1,
    calibrated: bool = False,
) -> None:
    key = SpoolKey(Charge(family, variant, variant, "GB", tenant, held, calibrated))
    moment = microseconds(BEGIN + timedelta(seconds=after_s))
    for _ in range(count):
        spool.record(key, moment, 1, energy_uj, energy_uj // 2, energy_uj * 2, energy_uj)


def known_of(family: str, variant: str) -> Known:
    return Known({"small": 10.0, "large": 2.0}[variant] if family else None)


def test_grams_are_energy_times_the_intervals_intensity(engine: Engine, spool: Spool, flusher: Flusher) -> None:
    serve(spool, interval(100.0), count=3)
    serve(spool, interval(300.0, begins=BEGIN + timedelta(minutes=30)), after_s=1801, variant="large")
    assert flusher.flush() == 4

    report = read_report(engine, Span(), ["variant"], known_of)

    small, large = report.rows["small",], report.rows["large",]
    assert (small.inferences, small.emissions_g, small.smallest_g, small.largest_g) == (3, 300.0, 150.0, 600.0)
    assert (large.inferences, large.emissions_g) == (1, 300.0)
    assert (report.total.energy_uj, report.total.emissions_g) == (4 * KWH, 600.0)
    assert report.total.mean_error == pytest.approx((3 * 10 + 2) / 4)


def test_what_was_decided_is_beside_what_served(engine: Engine, spool: Spool, flusher: Flusher) -> None:
    """As an operator sees it who only observes: what following the decisions would have changed."""
    moment = microseconds(BEGIN + timedelta(seconds=1))
    observed = SpoolKey(Charge("ident", "large", "small", "GB", "", interval(100.0), calibrated=False))
    followed = SpoolKey(Charge("ident", "large", "large", "GB", "", interval(100.0), calibrated=False))
    alone = SpoolKey(Charge("", "large", "large", "GB", "", interval(100.0), calibrated=False))
    for key, count, decided_uj in ((observed, 3, KWH // 2), (followed, 1, KWH), (alone, 1, KWH)):
        for _ in range(count):
            spool.record(key, moment, 1, KWH, KWH // 2, KWH, decided_uj)
    flusher.flush()

    report = read_report(engine, Span(), ["family"], known_of)
    family, total = report.rows["ident",], report.total
    assert (family.emissions_g, family.as_decided_g, family.deviating_inferences) == (400.0, 250.0, 3)
    assert (family.mean_error, family.decided_error) == (2.0, (3 * 10 + 2) / 4)
    assert (total.emissions_g, total.as_decided_g, total.deviating_inferences) == (500.0, 350.0, 3)
    assert total.decided_error == family.decided_error
    gone = read_report(engine, Span(), [], lambda _, variant: Known(2.0 if variant == "large" else None)).total
    assert (gone.mean_error, gone.decided_error) == (2.0, None)


def test_errors_of_different_metrics_have_no_mean(engine: Engine, spool: Spool, flusher: Flusher) -> None:
    """Percent of wrong labels and a rate of wrong words: what a row of both errs is nothing that anyone can state."""
    serve(spool, interval(100.0), count=3, family="labels")
    serve(spool, interval(100.0), variant="large", count=2, family="labels")
    serve(spool, interval(100.0), family="words")
    serve(spool, interval(100.0), variant="large", family="")
    flusher.flush()

    def known(family: str, variant: str) -> Known:
        percent = {"small": 10.0, "large": 5.0}
        return {"labels": Known(percent[variant], None, "top5_error_pct"), "words": Known(0.2, None, "wer")}.get(
            family, Known()
        )

    assert read_report(engine, Span(family="labels"), [], known).total.mean_error == 8.0
    report = read_report(engine, Span(), ["family"], known)
    errors = {family: sums.mean_error for (family,), sums in report.rows.items()}
    assert errors == {"labels": 8.0, "words": 0.2, "": None}
    assert report.total.mean_error is None


def test_what_was_charged_by_calibration_is_told_apart(engine: Engine, spool: Spool, flusher: Flusher) -> None:
    serve(spool, interval(100.0), count=3)
    serve(spool, interval(100.0), energy_uj=KWH * 2, count=2, calibrated=True)
    serve(spool, None, energy_uj=KWH * 2, calibrated=True)
    serve(spool, interval(100.0), variant="large", calibrated=True)
    flusher.flush()

    report = read_report(engine, Span(), ["variant"], lambda *_: Known(1.0, "published"))
    small, large = report.rows["small",], report.rows["large",]
    assert (small.energy_uj, small.calibrated_energy_uj) == (9 * KWH, 6 * KWH)
    assert small.energy_provenances == {"calibrated", "published"}
    assert large.calibrated_energy_uj == KWH
    assert large.energy_provenances == {"calibrated"}
    assert report.total.calibrated_energy_uj == 7 * KWH
    assert sum(row.calibrated_energy_uj for row in read_rows(engine, Span(), 10, 0)) == 7 * KWH


def test_a_revision_restates_by_itself(engine: Engine, spool: Spool, flusher: Flusher) -> None:
    serve(spool, interval(100.0), count=2)
    flusher.flush()
    flusher.learn([interval(150.0, published=BEGIN + timedelta(hours=1))])
    flusher.flush()
    total = read_report(engine, Span(), [], known_of).total
    assert (total.emissions_g, total.restated_inferences) == (300.0, 2)

    flusher.learn([interval(90.0, published=BEGIN + timedelta(minutes=1))])
    flusher.flush()
    assert read_report(engine, Span(), [], known_of).total.emissions_g == 300.0


def test_an_estimate_gives_way_to_the_actual_value_and_not_back(engine: Engine, spool: Spool, flusher: Flusher) -> None:
    serve(spool, interval(100.0, kind=ReadingKind.FORECAST))
    flusher.flush()
    flusher.learn([interval(120.0)])
    flusher.flush()
    flusher.learn([interval(80.0, kind=ReadingKind.FORECAST, published=BEGIN + timedelta(days=1))])
    flusher.flush()
    assert read_report(engine, Span(), [], known_of).total.emissions_g == 120.0


def test_what_was_served_in_the_dark_is_unpriced_until_its_reading_comes(
    engine: Engine, spool: Spool, flusher: Flusher
) -> None:
    serve(spool, None, count=2)
    flusher.flush()
    total = read_report(engine, Span(), [], known_of).total
    assert (total.inferences, total.unpriced_energy_uj, total.priced_inferences) == (2, 2 * KWH, 0)

    flusher.learn([interval(100.0)])
    flusher.flush()
    total = read_report(engine, Span(), [], known_of).total
    assert (total.unpriced_energy_uj, total.emissions_g, total.restated_inferences) == (0, 200.0, 0)


def test_of_overlapping_intervals_the_later_prices_the_dark(engine: Engine, spool: Spool, flusher: Flusher) -> None:
    serve(spool, None, after_s=700)
    flusher.learn([interval(100.0), interval(50.0, begins=BEGIN + timedelta(minutes=10))])
    flusher.flush()
    assert read_report(engine, Span(), [], known_of).total.emissions_g == 50.0


def test_a_batch_counts_once_however_often_it_comes(engine: Engine, spool: Spool, flusher: Flusher) -> None:
    serve(spool, interval(100.0), count=2)
    flusher.flush()
    assert flusher.flush() == 0
    # As after a crash between the commit and the deletion of the segment: another flusher, the same spool.
    again = Flusher(spool, Ledger(engine), interval_s=1)
    assert again.flush() == 0
    assert read_report(engine, Span(), [], known_of).total.inferences == 2


def test_a_batch_that_does_not_begin_at_the_offset_is_refused_whole(engine: Engine) -> None:
    store = Ledger(engine)
    row = {
        "bucket_from": BEGIN,
        "interval_from": BEGIN,
        "family": "f",
        "variant": "v",
        "decided": "v",
        "zone": "GB",
        "tenant": "",
        **dict.fromkeys(("inferences", "energy_uj", "smallest_uj", "largest_uj", "decided_uj"), 1),
    }
    store.store(Batch("s", 0, 0, 48, [row], [], []))
    for begins in (0, 96):
        with pytest.raises(Misplaced):
            store.store(Batch("s", 0, begins, 144, [row], [], []))
    with reading(engine) as connection:
        assert connection.execute(select(func.sum(ledger_table.c.inferences))).scalar_one() == 1
    assert store.offset("s", 0) == 48


def test_stored_segments_are_deleted_and_their_offsets_forgotten(
    engine: Engine, spool: Spool, flusher: Flusher
) -> None:
    serve(spool, interval(100.0), count=10)
    assert segments(spool.directory) == [0, 1, 2]
    flusher.flush()
    assert segments(spool.directory) == [2]
    Ledger(engine).forget_segments(spool.identity, 2)
    with reading(engine) as connection:
        assert [row.segment for row in connection.execute(select(spools))] == [2]
    assert read_report(engine, Span(), [], known_of).total.inferences == 10


def test_pending_inferences_are_those_that_are_not_stored(spool: Spool, flusher: Flusher) -> None:
    serve(spool, interval(100.0), count=5)
    assert flusher.pending_inferences() == 5
    flusher.flush()
    assert flusher.pending_inferences() == 0


def test_groups_by_time_and_tenant(engine: Engine, spool: Spool, flusher: Flusher) -> None:
    serve(spool, interval(100.0), tenant="a")
    serve(spool, interval(100.0, begins=BEGIN + timedelta(hours=1)), after_s=3601, tenant="b")
    flusher.flush()
    by_hour = read_report(engine, Span(), ["hour", "tenant"], known_of).rows
    assert list(by_hour) == [("2026-11-24T12:00:00Z", "a"), ("2026-11-24T13:00:00Z", "b")]
    assert list(read_report(engine, Span(), ["day"], known_of).rows) == [("2026-11-24T00:00:00Z",)]
    assert list(read_report(engine, Span(), ["minute"], known_of).rows) == [
        ("2026-11-24T12:00:00Z",),
        ("2026-11-24T13:00:00Z",),
    ]
    with pytest.raises(InvalidInput, match="moon"):
        check_groups(["moon"])


def test_a_span_and_a_family_narrow_the_report(engine: Engine, spool: Spool, flusher: Flusher) -> None:
    serve(spool, interval(100.0))
    serve(spool, interval(100.0), family="")
    serve(spool, interval(100.0), after_s=600)
    flusher.flush()
    early = Span(ends=BEGIN + timedelta(minutes=5))
    assert read_report(engine, early, [], known_of).total.inferences == 2
    assert read_report(engine, Span(begins=early.ends), [], known_of).total.inferences == 1
    assert read_report(engine, Span(family="ident"), [], known_of).total.inferences == 2


def test_rows_are_listed_oldest_first_and_priced(engine: Engine, spool: Spool, flusher: Flusher) -> None:
    serve(spool, interval(100.0), after_s=100)
    serve(spool, None, after_s=-3600)
    flusher.flush()
    rows = read_rows(engine, Span(), 10, 0)
    assert [row.intensity_g_per_kwh for row in rows] == [None, 100.0]
    assert read_rows(engine, Span(), 1, 1) == rows[1:]


def test_the_ledger_keeps_what_it_is_told_to_keep(engine: Engine, spool: Spool, flusher: Flusher) -> None:
    serve(spool, interval(100.0))
    serve(spool, None, after_s=2)
    flusher.flush()
    Ledger(engine).forget_rows(BEGIN + timedelta(hours=1))
    assert read_report(engine, Span(), [], known_of).total.inferences == 0


_WRITER = """
import sys
from pathlib import Path
from inference_proxy.spool import Charge, Spool, SpoolKey
spool = Spool(Path(sys.argv[1]), 48 * 1000)
spool.open()
key = SpoolKey(Charge("ident", "small", "small", "GB", "", None))
for moment in range(10**9):
    spool.record(key, 1_790_000_000_000_000 + moment, 1, 1, 1, 1, 1)
    print(moment + 1)
"""


def test_through_kill_9_all_that_was_said_to_be_recorded_is_stored_and_nothing_twice(
    engine: Engine, tmp_path: Path
) -> None:
    directory, said = tmp_path / "killed", 0
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-u", "-c", _WRITER, str(directory)], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            begun = time.monotonic()
            last = 0
            while last < 2_000 and time.monotonic() - begun < 60:
                last = int(writer.stdout.readline())
            writer.kill()
            rest = writer.stdout.read().split()
            said += int(rest[-1]) if rest else last
    after = Spool(directory, 48 * 1000)
    after.open()
    Flusher(after, Ledger(engine), interval_s=1).flush()
    stored = read_report(engine, Span(), [], known_of).total.inferences
    after.close()
    # One record per life may have been written and not yet said.
    assert said <= stored <= said + 3
