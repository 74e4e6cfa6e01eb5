"""Watchers see a snapshot, then every change in order; who lags gets a new snapshot, never a queue without end."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

from selector_service.board import MOST_PENDING, Board
from tradewind.decisions import Decision, DecisionReason, Share
from tradewind.messages import reading_from_wire
from tradewind.readings import Reading, ReadingKind, Signal
from tradewind.rpc.v1 import selector_pb2

NOW = datetime(2023, 6, 2, tzinfo=UTC)


def a_decision(zone: str, family: str, revision: int) -> Decision:
    return Decision(
        id=f"{zone}-{family}-{revision}",
        zone=zone,
        family=family,
        revision=revision,
        mix=(Share("small", 1.0),),
        valid_from=NOW,
        valid_until=NOW + timedelta(minutes=30),
        policy="fixed",
        reason=DecisionReason.NO_READING if revision == 0 else DecisionReason.FIXED,
        explanation="",
        current=None,
        range=None,
        decided_at=NOW,
    )


def a_reading(zone: str, intensity: float) -> Reading:
    return Reading(
        zone=zone,
        valid_from=NOW,
        valid_to=NOW + timedelta(minutes=30),
        intensity_g_per_kwh=intensity,
        kind=ReadingKind.ACTUAL,
        signal=Signal.AVERAGE,
        source="test",
        published_at=NOW,
    )


def a_board() -> Board:
    return Board(
        lambda zones: [a_reading(zone, 1.0) for zone in zones],
        lambda zone, family: a_decision(zone, family, 0),
        ["f", "g"],
    )


async def following(events: AsyncIterator[bytes]) -> selector_pb2.WatchDecisionsResponse:
    return selector_pb2.WatchDecisionsResponse.FromString(await asyncio.wait_for(anext(events), 5))


async def test_a_snapshot_first_then_changes_in_order() -> None:
    board = a_board()
    board.put(a_decision("A", "f", 1))
    board.put(a_decision("B", "f", 1))
    events = board.watch(["A"], [])
    first = await following(events)
    assert [(made.family, made.revision) for made in first.snapshot.decisions] == [("f", 1), ("g", 0)]
    assert [reading.zone for reading in first.snapshot.readings] == ["A"]
    board.put(a_decision("A", "f", 2))
    board.restate(a_reading("A", 5.0))
    board.restate(a_reading("B", 6.0))
    board.put(a_decision("B", "f", 2))
    board.put(a_decision("A", "f", 3))
    assert (await following(events)).decision.revision == 2
    assert reading_from_wire((await following(events)).restated) == a_reading("A", 5.0)
    assert (await following(events)).decision.revision == 3


async def test_only_the_families_asked_for_are_told() -> None:
    board = a_board()
    events = board.watch([], ["g"])
    assert not (await following(events)).snapshot.decisions
    board.put(a_decision("A", "f", 1))
    board.put(a_decision("A", "g", 1))
    assert (await following(events)).decision.family == "g"


async def test_who_lags_gets_a_snapshot_and_goes_on_from_there() -> None:
    board = a_board()
    events = board.watch(["A"], ["f"])
    await following(events)
    for revision in range(1, MOST_PENDING + 10):
        board.put(a_decision("A", "f", revision))
    (watcher,) = board._watchers
    assert len(watcher.pending) <= MOST_PENDING
    again = await following(events)
    assert [made.revision for made in again.snapshot.decisions] == [MOST_PENDING + 9]
    board.put(a_decision("A", "f", MOST_PENDING + 10))
    assert (await following(events)).decision.revision == MOST_PENDING + 10


async def test_who_leaves_is_forgotten() -> None:
    board = a_board()
    events = board.watch([], [])
    await following(events)
    await events.aclose()  # type: ignore[attr-defined]
    assert not board._watchers


def test_answers_are_kept_as_bytes_and_renewed() -> None:
    board = a_board()
    request = selector_pb2.DecideRequest(zone="A", family="f").SerializeToString()
    for revision in (1, 2):
        board.put(a_decision("A", "f", revision))
        answer = selector_pb2.DecideResponse.FromString(board.answers[request])
        assert answer.decision.revision == revision
    assert len(board.answers) == 1
