"""A day through bus, selector and proxy, and the same day in the simulator: the same variant in every interval.

One replay steers two families, both on the digits' models: one by `proportional`, one by `target-error`, which learns
from what the proxy reports. Requests come in bursts of a different size for every interval.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc.aio as triton_grpc
import yaml
from numpy.typing import NDArray
from tritonclient.grpc import InferInput

from demo.synthetic_day import STEP, write_synthetic_days
from local_stack.stack import DIGITS_CATALOGUE, Options, Replay, Stack
from selector_service.store import Store
from simulator.run import run_policy
from simulator.series import IntensitySeries, series_of
from simulator.windows import trailing_windows
from tradewind.catalogue import OperatingPoint, load_catalogue
from tradewind.database import open_engine
from tradewind.decisions import Decision, DecisionReason
from tradewind.messages import decision_from_wire
from tradewind.policies import build_policy
from tradewind.policies.finished_interval import PER_INTERVAL
from tradewind.rpc.v1 import selector_pb2, selector_pb2_grpc
from tradewind.traces import read_trace

ZONE = "T"
SPEED = 2_880
"""A half-hour lasts 0.625 s: a whole number of microseconds, so that windows begin exactly where intervals do."""
DAY = timedelta(days=1)
LEAD_IN = 5 * STEP
TARGET = 4.0
MIX_TOLERANCE = 0.1
"""A request that is reported a moment late is counted an interval late: that moves a mix by some hundredths."""
WAIT_S = 120


def burst(row: int) -> int:
    """Requests in an interval, so uneven that a policy which did not hear of them would weigh the day otherwise."""
    return 2 + 5 * (row % 3)


@dataclass
class Lived:
    """One family's day."""

    decisions: dict[datetime, list[Decision]] = field(default_factory=lambda: defaultdict(list))
    """Per interval of the trace, in order."""
    answers: Counter[tuple[datetime, str]] = field(default_factory=Counter)
    """Per interval of the decision that the receipt names, and variant."""
    sent: Counter[datetime] = field(default_factory=Counter)
    """Requests sent while that interval's decision was in force."""

    def interval(self, decision: str) -> datetime | None:
        """The interval that a decision was for."""
        for recorded_at, made in self.decisions.items():
            if decision in {each.id for each in made}:
                return recorded_at
        return None


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """Everything, with a replay that begins an hour or two before the second of two synthetic days."""
    trace = write_synthetic_days(tmp_path, days=2)
    digits = yaml.safe_load(DIGITS_CATALOGUE.read_text(encoding="utf-8"))["families"]["digits"]
    day_s = DAY.total_seconds() / SPEED
    aimed = {"name": "target-error", "options": {"target_error": TARGET, "day": f"{day_s:g}s"}}
    catalogue = tmp_path / "catalogue.yaml"
    catalogue.write_text(yaml.safe_dump({"families": {"digits": digits, "aimed": {**digits, "policy": aimed}}}))
    options = Options(
        directory=tmp_path,
        zone=ZONE,
        window_s=day_s,
        replay=Replay(file=trace, speed=SPEED, backfill_s=(DAY - LEAD_IN).total_seconds()),
        catalogue=catalogue,
        policy="proportional",
    )
    with Stack(options, lambda _line: None) as running:
        yield running


@asynccontextmanager
async def clients(stack: Stack) -> AsyncIterator[tuple[Any, triton_grpc.InferenceServerClient]]:
    async with (
        grpc.aio.insecure_channel(stack.selector.address) as channel,
        triton_grpc.InferenceServerClient(stack.proxy.address) as proxy,
    ):
        yield selector_pb2_grpc.SelectorStub(channel), proxy


async def ask(proxy: triton_grpc.InferenceServerClient, family: str) -> tuple[str, str]:
    """The variant that answered, and the decision it followed."""
    pixels = InferInput("pixels", [1, 64], "FP32")
    pixels.set_data_from_numpy(np.zeros((1, 64), np.float32))
    receipt = (await proxy.infer(family, [pixels], client_timeout=20)).get_response().parameters
    return receipt["carbon_variant"].string_param, receipt["carbon_decision"].string_param


async def serve_interval(proxy: triton_grpc.InferenceServerClient, family: str, lived: Lived, at: datetime) -> None:
    """Asks until the interval's decision is in force at the proxy, then the interval's burst."""
    row = int((at - min(lived.decisions)) / STEP)
    wanted = burst(row)
    while wanted:
        variant, decision = await ask(proxy, family)
        lived.sent[at] += 1
        interval = lived.interval(decision)
        if interval is not None:
            lived.answers[interval, variant] += 1
        if interval == at:
            wanted -= 1
        elif interval is not None and interval > at:
            return  # The machine was too slow for this burst: the next one is on.


async def live_the_day(stack: Stack, last: datetime) -> dict[str, Lived]:
    lived: dict[str, Lived] = {"digits": Lived(), "aimed": Lived()}
    async with clients(stack) as (selector, proxy), asyncio.timeout(WAIT_S), asyncio.TaskGroup() as bursts:
        unfinished = set(lived)
        async for event in selector.WatchDecisions(selector_pb2.WatchDecisionsRequest(zones=[ZONE])):
            if not event.HasField("decision"):
                continue
            decision = decision_from_wire(event.decision)
            current = decision.current
            if current is None or current.recorded_at is None or decision.reason is DecisionReason.STALE_READING:
                continue
            mine = lived[decision.family]
            new = current.recorded_at not in mine.decisions
            mine.decisions[current.recorded_at].append(decision)
            if new:
                bursts.create_task(serve_interval(proxy, decision.family, mine, current.recorded_at))
            if current.recorded_at == last:
                unfinished.discard(decision.family)
            if not unfinished:
                break
    return lived


def heaviest(weights: NDArray[np.float64], pool: tuple[OperatingPoint, ...]) -> list[str]:
    return [pool[column].variant for column in np.argmax(weights, axis=1)]


def moments(series: IntensitySeries) -> list[datetime]:
    return [series.reading(row).valid_from for row in range(series.used)]


async def test_the_same_variant_in_every_interval(stack: Stack, tmp_path: Path) -> None:
    series = series_of(read_trace(tmp_path / "synthetic-day.csv"))
    assert series.used == 96
    times = moments(series)
    pool = load_catalogue(DIGITS_CATALOGUE).family("digits").permitted
    lived = await live_the_day(stack, times[-1])

    steered = lived["digits"]
    day = [at for at in times if at >= times[0] + DAY]
    assert set(day) <= set(steered.decisions)
    windows = trailing_windows(series, DAY)
    for row in range(times.index(day[0]), series.used):
        lives, expected = steered.decisions[times[row]][-1].range, windows.summary(row)
        assert lives is not None
        assert lives == replace(expected, window=lives.window)
    weights = run_policy(build_policy("proportional", {}), series, pool, DAY, np.ones(series.used))
    simulated = dict(zip(times, heaviest(weights, pool), strict=True))
    assert {at: steered.decisions[at][-1].heaviest_variant for at in day} == {at: simulated[at] for at in day}
    assert {at for at, _ in steered.answers} >= set(day)
    assert all(simulated[at] == variant for at, variant in steered.answers if at in set(day))
    assert len({simulated[at] for at in day}) == 3

    aimed = lived["aimed"]
    stored = held_decisions(stack)
    first = times.index(min(stored))
    assert list(stored) == times[first:]
    own = replace(series, times_s=series.times_s[first:], g_per_kwh=series.g_per_kwh[first:])
    sent = np.array([aimed.sent[at] for at in times[first:]], dtype=np.float64)
    # Until a proxy reports, a policy takes it that every interval has the same load.
    sent[: np.flatnonzero(sent)[0]] = PER_INTERVAL
    policy = build_policy("target-error", {"target_error": str(TARGET)})
    weights = run_policy(policy, own, pool, DAY, sent)
    decided = np.array([shares(decision, pool) for decision in stored.values()])
    assert heaviest(decided, pool) == heaviest(weights, pool)
    np.testing.assert_allclose(decided, weights, atol=MIX_TOLERANCE)
    assert {at for at, _ in aimed.answers} >= set(day)
    # The counts matter here: with the same load in every interval some of the mixes are others.
    assert np.abs(run_policy(policy, own, pool, DAY, np.ones(own.used)) - weights).max() > MIX_TOLERANCE


def held_decisions(stack: Stack) -> dict[datetime, Decision]:
    """Every interval that was decided for by `target-error` while it held, also before anyone watched."""
    engine = open_engine(stack.database_url)
    history = Store(engine).history(ZONE, "aimed")
    engine.dispose()
    made = [each for each in history if each.reason is not DecisionReason.STALE_READING]
    return {each.current.recorded_at: each for each in made if each.current and each.current.recorded_at}


def shares(decision: Decision, pool: tuple[OperatingPoint, ...]) -> list[float]:
    weights = {share.variant: share.weight for share in decision.mix}
    return [weights.get(point.variant, 0.0) for point in pool]
