"""The database is away for as long as an hour of requests takes: the disk holds them, memory does not, none is lost."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from inference_proxy.flusher import Flusher
from inference_proxy.ledger import Ledger
from inference_proxy.report import Known, Span, read_report
from inference_proxy.spool import RECORD, Charge, Spool, SpoolKey, segments, spooled_bytes
from local_stack.postgres import Postgres
from tests.integration.inference_proxy.stand import reading_now
from tradewind.database import microseconds, open_engine
from tradewind.migrate import upgrade

REQUESTS = 500_000
"""An hour at 140 a second."""
SEGMENT_BYTES = 1 << 20
BETWEEN_TRIES = 25_000
MOST_GROWTH_BYTES = 12_000_000
"""Half of what the records take, which are the least that could be held of them."""


def memory() -> int:
    """Bytes that this process holds and no file does."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("RssAnon"))


@pytest.mark.timeout(300)
def test_an_hour_without_the_database_costs_disk_alone(
    own_postgres: Postgres, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = own_postgres.create_database("outage")
    upgrade(url)
    engine = open_engine(url)
    spool = Spool(tmp_path / "spool", SEGMENT_BYTES)
    spool.open()
    flusher = Flusher(spool, Ledger(engine), interval_s=1)
    held, begin = reading_now(200.0), microseconds(datetime.now(UTC).replace(minute=0, second=0, microsecond=0))
    own_postgres.child.kill()

    before, largest = memory(), 0
    key = SpoolKey(Charge("ident", "small", "small", "GB", "", held))
    for number in range(REQUESTS):
        spool.record(key, begin + number * 7_200, 1, 100, 100, 900, 100)
        if number % BETWEEN_TRIES == 0:
            flusher.learn([replace(held, valid_from=held.valid_from + timedelta(seconds=number))])
            with pytest.raises(OperationalError):
                flusher.flush()
            largest = max(largest, memory())
    spooled, files = spooled_bytes(spool.directory), len(segments(spool.directory))
    assert spooled >= REQUESTS * RECORD.size > 2 * MOST_GROWTH_BYTES - RECORD.size
    assert files > REQUESTS * RECORD.size // SEGMENT_BYTES

    own_postgres.start()
    assert flusher.pending_inferences() == REQUESTS
    assert flusher.flush() == REQUESTS
    largest = max(largest, memory())
    assert flusher.flush() == flusher.pending_inferences() == 0
    total = read_report(engine, Span(), [], lambda _family, _variant: Known()).total
    assert (total.inferences, total.energy_uj) == (REQUESTS, REQUESTS * 100)
    assert segments(spool.directory) == [spool.segment]
    spool.close()
    engine.dispose()
    with capsys.disabled():
        growth = (largest - before) / 1e6
        print(
            f"\n  {REQUESTS} requests while the database was away: {files} files of {spooled / 1e6:.0f} MB on the disk,"
        )
        print(f"  memory grew by {growth:.1f} MB while they came and were stored, and every one is in the ledger")
    assert largest - before <= MOST_GROWTH_BYTES
