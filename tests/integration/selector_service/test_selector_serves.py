"""The selector over a real broker, database and gRPC: what is heard is decided, served and announced."""

import asyncio
from datetime import timedelta

import grpc
import pytest

from tests.integration.selector_service.parts import Start, a_reading, half_hour, say
from tradewind.bus import Bus
from tradewind.decisions import DecisionReason
from tradewind.messages import decision_from_wire
from tradewind.rpc.v1 import selector_pb2


async def test_readings_become_decisions_pushed_to_watchers(
    start: Start, publisher: Bus, unique_zone: str, database_url: str
) -> None:
    """History first, then the current reading: the watcher sees the range it stands in."""
    running = await start(database_url, selector_zones=unique_zone)
    call = running.stub.WatchDecisions(selector_pb2.WatchDecisionsRequest(zones=[unique_zone], families=["resnet"]))
    events = call.__aiter__()
    first = await asyncio.wait_for(anext(events), 10)
    (unheard,) = first.snapshot.decisions
    assert decision_from_wire(unheard).reason is DecisionReason.NO_READING
    assert unheard.mix[0].variant == "small"

    now = half_hour()
    for index, intensity in enumerate([300.0, 100.0, 200.0]):
        await say(publisher, a_reading(unique_zone, now - timedelta(hours=3 - index), intensity), restated=True)
    await say(publisher, a_reading(unique_zone, now, 110.0))
    decision = unheard
    while decision.current.intensity_g_per_kwh != 110.0 or decision.range.readings < 4:
        event = await asyncio.wait_for(anext(events), 10)
        decision = event.decision if event.HasField("decision") else decision
    assert (decision.range.low_g_per_kwh, decision.range.high_g_per_kwh) == (100.0, 300.0)
    assert decision.mix[0].variant == "large"
    answer = await running.stub.Decide(selector_pb2.DecideRequest(zone=unique_zone, family="resnet"))
    assert answer.decision == decision
    call.cancel()


async def test_an_unknown_family_or_zone_is_one_clear_sentence(start: Start, unique_zone: str, sqlite_url: str) -> None:
    """NOT_FOUND lists what there is; a zone that is no zone's name is INVALID_ARGUMENT."""
    running = await start(sqlite_url, selector_zones=unique_zone)
    with pytest.raises(grpc.aio.AioRpcError) as family:
        await running.stub.Decide(selector_pb2.DecideRequest(zone=unique_zone, family="bert"))
    assert family.value.code() is grpc.StatusCode.NOT_FOUND
    assert family.value.details() == "family 'bert' is not in the catalogue: it has digits, resnet"
    with pytest.raises(grpc.aio.AioRpcError) as zone:
        await running.stub.Decide(selector_pb2.DecideRequest(zone="elsewhere", family="resnet"))
    assert zone.value.code() is grpc.StatusCode.NOT_FOUND
    with pytest.raises(grpc.aio.AioRpcError) as wrong:
        await running.stub.Decide(selector_pb2.DecideRequest(zone="a b", family="resnet"))
    assert wrong.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_families_are_listed_with_their_figures(start: Start, sqlite_url: str) -> None:
    """Operating points and where they come from."""
    running = await start(sqlite_url)
    answer = await running.stub.ListFamilies(selector_pb2.ListFamiliesRequest())
    assert [family.name for family in answer.families] == ["digits", "resnet"]
    small = next(variant for variant in answer.families[1].variants if variant.name == "small")
    assert (small.model, small.energy_mj, small.energy_provenance) == ("small", 400.0, "published")
    assert small.permitted
    assert not small.HasField("p95_latency_ms")
