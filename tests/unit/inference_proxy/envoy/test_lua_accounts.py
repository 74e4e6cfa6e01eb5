"""The Lua that accounts: receipts, records and mixes as the Python has them, to the byte."""

import fcntl
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_proxy.envoy.told import interval_told, lane_told
from inference_proxy.intervals import Interval
from inference_proxy.mixes import Splitter
from inference_proxy.receipts import Account, as_metadata, as_parameters, receipt_parameters
from inference_proxy.spool import read_keys, read_records, segments
from inference_proxy.targets import CALIBRATED, Charges, Target
from tests.unit.inference_proxy.envoy.lua import Lua
from tradewind.catalogue import EnergyFigure, Figure, Provenance, Variant
from tradewind.database import microseconds
from tradewind.decisions import Decision, DecisionReason, Share
from tradewind.readings import Reading, ReadingKind, Signal

LUA = Lua()
START = datetime(2026, 11, 24, tzinfo=UTC)
START_US = microseconds(START)


def energy(value: float) -> EnergyFigure:
    return EnergyFigure(value=value, provenance=Provenance.MEASURED)


energies = st.floats(0.001, 1e6).map(lambda value: round(value, 6))


@st.composite
def targets(draw: st.DrawFn, name: str = "large") -> Target:
    by_batch = draw(st.dictionaries(st.integers(1, 64), energies.map(energy), max_size=3))
    figures = Variant(
        energy_mj=energy(draw(energies)),
        energy_by_batch_mj=by_batch,
        error=Figure(value=1.0, provenance=Provenance.MEASURED),
    )
    return Target(variant=name, model=name, version="", figures=figures, permitted=True, max_batch_size=8)


def reading(intensity: float) -> Reading:
    return Reading(
        zone="GB",
        valid_from=START,
        valid_to=START + timedelta(minutes=30),
        intensity_g_per_kwh=intensity,
        kind=ReadingKind.ACTUAL,
        signal=Signal.AVERAGE,
        source="test",
        published_at=START,
        revision=0,
    )


def decision() -> Decision:
    return Decision(
        id="0123456789abcdef0123",
        zone="GB",
        family="fam",
        revision=1,
        mix=(Share("large", 1.0),),
        valid_from=START,
        valid_until=START + timedelta(hours=1),
        policy="proportional",
        reason=DecisionReason.FIXED,
        explanation="",
        current=None,
        range=None,
        decided_at=START,
    )


def prepared(told: dict[str, Any]) -> Any:
    """A lane as a worker holds it."""
    lua_lane = LUA.table(told | {"id": "1"})
    for key, value in (("keys", {}), ("receipts", {}), ("segment", -1), ("receipt_count", 0)):
        lua_lane[key.encode()] = LUA.table(value)
    return lua_lane


@given(
    target=targets(),
    decided=targets("small"),
    inferences=st.integers(0, 2**32 - 1) | st.integers(0, 70),
    intensity=st.none() | st.floats(0, 2_000),
    age_us=st.none() | st.integers(-5_000_000, 10**12),
    fallback=st.sampled_from([None, "not_ready"]),
    ratio=st.none() | st.floats(0.01, 100),
    name=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30),
)
def test_a_receipt_is_the_same_to_the_byte(
    target: Target,
    decided: Target,
    inferences: int,
    intensity: float | None,
    age_us: int | None,
    fallback: str | None,
    ratio: float | None,
    name: str,
) -> None:
    if ratio is not None:
        measured = target.figures.energy_mj.model_copy(update={"value": target.figures.energy_mj.value * ratio})
        target.charges = Charges(target.figures.model_copy(update={"energy_mj": measured}), CALIBRATED)
    now_us = START_US + (age_us or 0)
    made = None if age_us is None else decision()
    interval = None if intensity is None else Interval(reading(intensity), START_US, START_US + 1)
    cost = target.charges.energy_uj(inferences)
    if cost >= 2**53:
        return  # Beyond what a number in Lua holds exactly: 9 GJ in one request.
    account = Account(name, target.variant, "GB", made, interval, fallback, target.charges.source)
    age_s = None if age_us is None else max(age_us, 0) // 1_000_000
    expected = receipt_parameters(account, cost, age_s)

    told = lane_told(name, target, decided, (decided, target), "fam", "GB", made, fallback)
    lua_interval = None if interval is None else LUA.table(interval_told(interval, 0, 2**52))
    receipt = LUA.module("receipts")[b"of"](prepared(told), lua_interval, inferences, now_us)

    assert receipt[b"parameters"] == as_parameters(expected)
    words = [each.decode() for each in receipt[b"metadata"].values()]
    assert tuple(zip(words[::2], words[1::2], strict=True)) == as_metadata(expected)
    assert (receipt[b"energy_uj"], receipt[b"largest_uj"]) == (cost, cost)
    assert receipt[b"decided_uj"] == receipt[b"smallest_uj"] == decided.charges.energy_uj(inferences)


@given(st.lists(st.floats(0.001, 1.0), min_size=1, max_size=5), st.integers(1, 200))
def test_a_mix_is_split_as_python_splits_it(raw: list[float], requests: int) -> None:
    weights = {f"v{index}": weight / sum(raw) for index, weight in enumerate(raw)}
    splitter = Splitter()
    splitter.use(weights)
    shares = [{"variant": name, "weight": weight, "lane": name} for name, weight in weights.items()]
    state = LUA.module("table")[b"state"]()
    lanes = {name: {"id": name, "model": name, "model_version": ""} for name in weights}
    told = {"names": {"fam": {"shares": shares}}, "lanes": lanes}
    LUA.module("table")[b"take"](state, b"r1", LUA.table(told), 0)
    counts = dict.fromkeys(weights, 0)
    for _ in range(requests):
        lane, _ = LUA.module("table")[b"lane"](state, b"fam")
        chosen = lane[b"id"].decode()
        counts[chosen] += 1
        assert len(weights) == 1 or chosen == splitter.next()
    assert all(abs(counts[name] - weight * requests) <= len(weights) for name, weight in weights.items())


@given(st.text(max_size=40))
def test_a_quoted_tenant_is_json(text: str) -> None:
    quoted = LUA.module("spool")[b"quote"](text.encode("latin-1", "replace"))
    assert json.loads(quoted) == text.encode("latin-1", "replace").decode("latin-1")


def test_records_are_the_spools(tmp_path: Path) -> None:
    lua = Lua()
    spool = lua.module("spool")
    writer = spool[b"writer"](str(tmp_path).encode(), 96)
    told = lane_told(
        "fam", _target("large"), _target("small"), (_target("small"), _target("large")), "fam", "GB", None, None
    )
    lane = lua.table(told | {"id": "1", "keys": {}, "segment": -1, "receipts": {}, "receipt_count": 0})
    interval = lua.table(interval_told(Interval(reading(100.0), START_US, START_US + 1), 0, 1))
    cost = lua.table({"energy_uj": 5, "smallest_uj": 1, "largest_uj": 9, "decided_uj": 2**52, "inferences": 2**32 - 1})
    for index in range(5):
        assert spool[b"record"](writer, lane, interval if index else None, b'a"b', START_US + index, cost) is True

    directory = next(tmp_path.iterdir())
    assert segments(directory) == [0, 1, 2]
    read = [
        (each, read_keys(directory, segment))
        for segment in segments(directory)
        for each in read_records(directory, segment, 0, 9)
    ]
    assert [int(record["time_us"]) - START_US for record, _ in read] == [0, 1, 2, 3, 4]
    record, keys = read[0]
    assert [int(record[name]) for name in ("energy_uj", "smallest_uj", "largest_uj", "decided_uj", "inferences")] == [
        5, 1, 9, 2**52, 2**32 - 1,
    ]  # fmt: skip
    charge = keys[int(record["key"])]
    assert (charge.family, charge.variant, charge.decided, charge.zone, charge.tenant) == (
        "fam", "large", "small", "GB", 'a"b',
    )  # fmt: skip
    assert charge.reading is None
    assert not charge.calibrated
    later, later_keys = read[4]
    assert later_keys[int(later["key"])].reading == reading(100.0)


def test_a_key_says_what_was_charged_by_calibration(tmp_path: Path) -> None:
    lua, target = Lua(), _target("large")
    target.charges = Charges(target.figures, CALIBRATED)
    told = lane_told("fam", target, target, (target, target), "fam", "GB", None, None)
    lane = lua.table(told | {"id": "1", "keys": {}, "segment": -1})
    cost = lua.table({"energy_uj": 5, "smallest_uj": 1, "largest_uj": 9, "decided_uj": 2, "inferences": 1})
    writer = lua.module("spool")[b"writer"](str(tmp_path).encode(), 4096)
    assert lua.module("spool")[b"record"](writer, lane, None, b"", START_US, cost) is True
    assert [charge.calibrated for charge in read_keys(next(tmp_path.iterdir()), 0).values()] == [True]


def test_a_writer_holds_its_lock(tmp_path: Path) -> None:
    lua = Lua()
    writer = lua.module("spool")[b"writer"](str(tmp_path).encode(), 4096)
    told = lane_told("fam", _target("large"), _target("large"), (_target("large"),) * 2, "fam", "GB", None, None)
    lane = lua.table(told | {"id": "1", "keys": {}, "segment": -1})
    cost = lua.table({"energy_uj": 5, "smallest_uj": 1, "largest_uj": 9, "decided_uj": 2, "inferences": 1})
    lua.module("spool")[b"record"](writer, lane, None, b"", START_US, cost)
    descriptor = os.open(next(tmp_path.iterdir()) / "lock", os.O_RDWR)
    with pytest.raises(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(descriptor)


def test_a_disk_that_takes_nothing_is_said(tmp_path: Path) -> None:
    lua = Lua()
    writer = lua.module("spool")[b"writer"](str(tmp_path / "absent").encode(), 4096)
    told = lane_told("fam", _target("large"), _target("large"), (_target("large"),) * 2, "fam", "GB", None, None)
    lane = lua.table(told | {"id": "1", "keys": {}, "segment": -1})
    cost = lua.table({"energy_uj": 5, "smallest_uj": 1, "largest_uj": 9, "decided_uj": 2, "inferences": 1})
    assert lua.module("spool")[b"record"](writer, lane, None, b"", START_US, cost) is False


def _target(name: str) -> Target:
    figures = Variant(energy_mj=energy(1.0), error=Figure(value=1.0, provenance=Provenance.MEASURED))
    return Target(variant=name, model=name, version="", figures=figures, permitted=True, max_batch_size=8)


def test_many_keys_end_a_segment(tmp_path: Path) -> None:
    lua = Lua()
    spool = lua.module("spool")
    writer = spool[b"writer"](str(tmp_path).encode(), 2**30)
    small = _target("small")
    told = lane_told("fam", small, small, (small, small), "fam", "GB", None, None)
    lane = lua.table(told | {"id": "1", "keys": {}, "segment": -1, "receipts": {}, "receipt_count": 0})
    cost = lua.table({"energy_uj": 5, "smallest_uj": 1, "largest_uj": 9, "decided_uj": 2, "inferences": 1})
    for index in range(5_000):
        assert spool[b"record"](writer, lane, None, str(index).encode(), START_US, cost) is True
    directory = next(tmp_path.iterdir())
    assert [len(read_keys(directory, segment)) for segment in segments(directory)] == [4_096, 904]
    assert [len(read_records(directory, segment, 0, 10_000)) for segment in segments(directory)] == [4_096, 904]


def test_a_superseded_table_weighs_little_and_its_answers_have_their_receipts() -> None:
    lua = Lua()
    routing, receipts = lua.module("table"), lua.module("receipts")
    state, ends = routing[b"state"](), (_target("small"), _target("large"))
    intervals = [interval_told(Interval(reading(100.0), START_US, START_US + 1), at, at + 1) for at in range(64)]
    made = lane_told("fam", _target("large"), _target("large"), ends, "fam", "GB", decision(), None)

    def push(number: int) -> None:
        lane = made | {"id": f"{number}.0", "decision": f"{number:020d}"}
        told = {"names": {}, "lanes": {lane["id"]: lane}, "intervals": intervals}
        routing[b"take"](state, f"{number}".encode(), lua.table(told), 0)

    def held_bytes() -> float:
        lua.runtime.execute(b"collectgarbage() collectgarbage()")
        return float(lua.runtime.eval(b"collectgarbage('count')")) * 1024

    for number in range(100):
        push(number)
    before = held_bytes()
    for number in range(100, 200):
        push(number)
    assert (held_bytes() - before) / 100 < 2_000
    receipt = receipts[b"of"](state[b"lanes"][b"7.0"], None, 1, START_US)
    assert (b"carbon-decision", b"7".zfill(20)) in zip(
        *(list(receipt[b"metadata"].values())[part::2] for part in (0, 1)), strict=True
    )
    for number in range(200, 600):  # Of those of one moment so many are kept at most.
        push(number)
    assert (state[b"lanes"][b"7.0"], len(list(state[b"lanes"].keys()))) == (None, 501)
