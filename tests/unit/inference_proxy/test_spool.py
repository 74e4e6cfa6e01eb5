"""The spool: what it took is read back as it was, through rotation, restarts and crashes in mid-write."""

import os
import resource
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_proxy.flusher import batch_of
from inference_proxy.spool import (
    RECORD,
    RECORD_TYPE,
    Charge,
    Spool,
    SpoolKey,
    keys_path,
    read_keys,
    read_records,
    records_path,
    segments,
    spooled_bytes,
)
from tests.unit.inference_proxy.conftest import NOW, reading
from tradewind.database import microseconds
from tradewind.errors import StartupError
from tradewind.readings import Reading

NOW_US = microseconds(NOW)
EVERYTHING = 1_000_000


def charge(variant: str = "small", held: Reading | None = None) -> Charge:
    return Charge("ident", variant, variant, "GB", "", held)


def opened(directory: Path, segment_bytes: int = 1 << 20) -> Spool:
    spool = Spool(directory, segment_bytes)
    spool.open()
    return spool


def test_the_record_is_what_numpy_reads() -> None:
    assert RECORD.size == RECORD_TYPE.itemsize


def test_what_was_recorded_is_read_back(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    keys = [SpoolKey(charge("small")), SpoolKey(charge("größe", reading(123.456)))]
    spool.record(keys[0], NOW_US, 1, 2, 3, 4, 5)
    spool.record(keys[1], NOW_US + 1, 6, 7, 8, 9, 10)
    spool.record(keys[0], NOW_US + 2, 2**32 - 1, 2**63 - 1, 0, 0, 0)

    records, known = read_records(tmp_path, 0, 0, EVERYTHING), read_keys(tmp_path, 0)

    assert records.tolist() == [
        (NOW_US, 2, 3, 4, 5, 1, 1),
        (NOW_US + 1, 7, 8, 9, 10, 6, 2),
        (NOW_US + 2, 2**63 - 1, 0, 0, 0, 2**32 - 1, 1),
    ]
    assert known == {1: keys[0].charge, 2: keys[1].charge}
    assert spool.spooled_bytes() == 3 * RECORD.size


def test_segments_rotate_and_each_has_its_own_keys(tmp_path: Path) -> None:
    spool = opened(tmp_path, segment_bytes=2 * RECORD.size)
    key = SpoolKey(charge())
    for number in range(5):
        spool.record(key, NOW_US + number, 1, 1, 1, 1, 1)
    assert segments(tmp_path) == [0, 1, 2]
    assert [len(read_records(tmp_path, segment, 0, EVERYTHING)) for segment in (0, 1, 2)] == [2, 2, 1]
    assert all(read_keys(tmp_path, segment) == {1: key.charge} for segment in (0, 1, 2))


def test_a_process_begins_a_segment_of_its_own_and_keeps_the_spools_name(tmp_path: Path) -> None:
    first = opened(tmp_path)
    first.record(SpoolKey(charge()), NOW_US, 1, 1, 1, 1, 1)
    first.close()
    second = opened(tmp_path)
    assert (second.identity, second.segment) == (first.identity, 1)


def test_two_processes_never_share_a_spool(tmp_path: Path) -> None:
    first = opened(tmp_path)
    with pytest.raises(StartupError, match="another proxy uses the spool directory"):
        opened(tmp_path)
    first.close()
    opened(tmp_path).close()


def test_a_directory_that_cannot_be_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartupError, match="TRADEWIND_PROXY_SPOOL_DIRECTORY"):
        opened(tmp_path / "file" / "spool")


@given(st.integers(0, RECORD.size - 1))
def test_a_record_cut_short_is_not_read(tmp_path_factory: pytest.TempPathFactory, kept: int) -> None:
    directory = tmp_path_factory.mktemp("spool")
    spool = opened(directory)
    for number in range(3):
        spool.record(SpoolKey(charge()), NOW_US + number, 1, 1, 1, 1, 1)
    spool.close()
    os.truncate(records_path(directory, 0), 2 * RECORD.size + kept)
    assert len(read_records(directory, 0, 0, EVERYTHING)) == 2
    assert len(read_records(directory, 0, RECORD.size, EVERYTHING)) == 1


def test_many_keys_end_a_segment_and_only_wanted_ones_are_read(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    for number in range(5_000):
        spool.record(SpoolKey(replace(charge(), tenant=str(number))), NOW_US, 1, 1, 1, 1, 1)
    assert segments(tmp_path) == [0, 1]
    first, second = (read_records(tmp_path, segment, 0, EVERYTHING) for segment in (0, 1))
    assert len(first) + len(second) == 5_000
    assert first["key"].tolist() == list(range(1, len(first) + 1))
    assert read_keys(tmp_path, 0, {7}) == {7: replace(charge(), tenant="6")}
    assert read_keys(tmp_path, 1, set()) == {}
    assert len(read_keys(tmp_path, 1)) == len(second) < len(read_keys(tmp_path, 0)) == len(first) < 4_500


def test_a_key_cut_short_spoils_nothing_but_itself(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    spool.record(SpoolKey(charge("small")), NOW_US, 1, 1, 1, 1, 1)
    with keys_path(tmp_path, 0).open("ab") as file:
        file.write(b'\n{"number": 2, "fam')
    spool.record(SpoolKey(charge("large")), NOW_US, 1, 1, 1, 1, 1)
    assert read_keys(tmp_path, 0) == {1: charge("small"), 2: charge("large")}


@given(st.integers(0, RECORD.size - 4))
def test_a_record_that_a_crash_left_without_its_key_is_not_read(
    tmp_path_factory: pytest.TempPathFactory, written: int
) -> None:
    directory = tmp_path_factory.mktemp("spool")
    spool = opened(directory)
    spool.record(SpoolKey(charge()), NOW_US, 1, 1, 1, 1, 1)
    # As a killed process leaves it: the file is longer than its records, and the next one has begun.
    with records_path(directory, 0).open("r+b") as file:
        file.seek(RECORD.size)
        file.write(RECORD.pack(NOW_US, 1, 1, 1, 1, 1, 1)[:written])
    assert [int(each) for each in read_records(directory, 0, 0, EVERYTHING)["time_us"]] == [NOW_US]
    assert len(read_records(directory, 0, RECORD.size, EVERYTHING)) == 0
    spool.close()


def test_a_segment_longer_than_a_stretch_is_read_back_whole(tmp_path: Path) -> None:
    spool, key, count = opened(tmp_path), SpoolKey(charge()), 5_000
    for number in range(count):
        spool.record(key, NOW_US + number, 1, number, 0, 0, 0)
    assert spool.spooled_bytes() == count * RECORD.size < spooled_bytes(tmp_path)
    spool.close()
    assert spooled_bytes(tmp_path) == count * RECORD.size
    assert read_records(tmp_path, 0, 0, EVERYTHING)["energy_uj"].tolist() == list(range(count))


def test_a_reader_beside_the_writer_sees_whole_records_alone(tmp_path: Path) -> None:
    spool, key, count = opened(tmp_path), SpoolKey(charge()), 20_000
    spool.record(key, 0, 1, 0, 0, 0, 0)

    def write() -> None:
        for number in range(1, count):
            spool.record(key, number, 1, number, number, number, number)

    writer = threading.Thread(target=write)
    writer.start()
    read = 0
    while read < count:
        records = read_records(tmp_path, 0, read * RECORD.size, EVERYTHING)
        for name in ("time_us", "energy_uj", "decided_uj"):
            assert records[name].tolist() == list(range(read, read + len(records)))
        assert set(records["key"].tolist()) <= {1}
        read += len(records)
    writer.join()
    spool.close()


def test_a_full_disk_records_nothing_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    spool, key = opened(tmp_path), SpoolKey(charge())
    spool.record(key, NOW_US, 1, 1, 1, 1, 1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    taken = 1

    def fill() -> None:
        nonlocal taken
        for _ in range(100_000):
            spool.record(key, NOW_US + taken, 1, 1, 1, 1, 1)
            taken += 1

    # What the kernel refuses beyond a limit on a file's size is what it refuses on a full disk.
    resource.setrlimit(resource.RLIMIT_FSIZE, (records_path(tmp_path, 0).stat().st_size, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            fill()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert len(read_records(tmp_path, 0, 0, EVERYTHING)) == taken
    spool.record(key, NOW_US + taken, 1, 1, 1, 1, 1)
    assert read_records(tmp_path, 0, 0, EVERYTHING)["time_us"].tolist() == [NOW_US + each for each in range(taken + 1)]


moments = st.integers(NOW_US - 200_000_000, NOW_US + 200_000_000)


@given(st.lists(st.tuples(moments, st.integers(1, 8), st.integers(0, 10**12)), min_size=1, max_size=40), st.booleans())
def test_a_batch_adds_up_exactly_whatever_the_buckets(
    tmp_path_factory: pytest.TempPathFactory, requests: list[tuple[int, int, int]], known: bool
) -> None:
    directory = tmp_path_factory.mktemp("spool")
    spool = opened(directory)
    held = reading(begins=NOW, minutes=60) if known else None
    key = SpoolKey(charge(held=held))
    begin = microseconds(NOW)
    requests = [(max(moment, begin) if known else moment, count, energy) for moment, count, energy in requests]
    for moment, count, energy in requests:
        spool.record(key, moment, count, energy, energy, energy, energy)

    batch = batch_of("s", 0, 0, read_records(directory, 0, 0, EVERYTHING), read_keys(directory, 0))

    rows = batch.attributed if known else batch.unattributed
    assert not (batch.unattributed if known else batch.attributed)
    assert sum(row["inferences"] for row in rows) == sum(count for _, count, _ in requests)
    assert sum(row["energy_uj"] for row in rows) == sum(energy for _, _, energy in requests)
    width = 60_000_000 if known else 1_000_000
    expected = {max(moment // width * width, begin) if known else moment // width * width for moment, _, _ in requests}
    assert {microseconds(row["bucket_from" if known else "second_from"]) for row in rows} == expected
    assert batch.ends == len(requests) * RECORD.size
    assert batch.charged == ([held] if held else [])


def test_a_revised_interval_keeps_one_row(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    for value in (100.0, 120.0):
        spool.record(SpoolKey(charge(held=reading(value))), NOW_US, 1, 10, 10, 10, 10)
    batch = batch_of("s", 0, 0, read_records(tmp_path, 0, 0, EVERYTHING), read_keys(tmp_path, 0))
    assert [row["inferences"] for row in batch.attributed] == [2]
    assert len(batch.charged) == 2


def test_records_without_a_key_are_left_out_and_passed_by(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    spool.record(SpoolKey(charge()), NOW_US, 1, 1, 1, 1, 1)
    records = read_records(tmp_path, 0, 0, EVERYTHING).copy()
    records["key"] = 0
    batch = batch_of("s", 0, 0, records, read_keys(tmp_path, 0))
    assert (batch.attributed, batch.unattributed, batch.ends) == ([], [], RECORD.size)
