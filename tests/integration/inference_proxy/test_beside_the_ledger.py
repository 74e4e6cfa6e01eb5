"""What a report has beside the ledger, on SQLite and Postgres, and held against a real Triton."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from sqlalchemy import Engine
from tritonclient.grpc import service_pb2_grpc

from inference_proxy.intervals import Intervals
from inference_proxy.ledger import Batch, Ledger
from inference_proxy.own_cpu import OwnCpu, read_own_use
from inference_proxy.proxy import Proxy
from inference_proxy.report import Known, Reserved, Span, read_report, reserved_within
from inference_proxy.settings import ProxyFront, ProxySettings
from local_stack.triton import Triton
from tests.integration.inference_proxy.stand import (
    Selector,
    eventually,
    infer_request,
    reading_now,
    running,
    settings_for,
)
from tradewind.database import open_engine
from tradewind.migrate import upgrade
from tradewind.rpc.v1 import emissions_pb2, emissions_pb2_grpc

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    upgrade(database_url)
    made = open_engine(database_url)
    yield made
    made.dispose()


def served(moment: datetime, variant: str, energy_uj: int, family: str = "ident") -> dict[str, Any]:
    return {
        "second_from": moment,
        "family": family,
        "variant": variant,
        "decided": variant,
        "zone": "GB",
        "tenant": "",
        **dict.fromkeys(("inferences", "energy_uj", "smallest_uj", "largest_uj", "decided_uj"), energy_uj),
    }


def test_each_hour_is_divided_by_energy_and_hours_without_any_are_idle(engine: Engine) -> None:
    rows = [
        served(NOON + 0.5 * HOUR, "small", 1),
        served(NOON + 0.6 * HOUR, "large", 3),
        served(NOON + 3.2 * HOUR, "small", 5, "other"),
    ]
    Ledger(engine).store(Batch("s", 0, 0, 48, [], rows, []))
    now = NOON + 5 * HOUR

    reserved = reserved_within(engine, Span(), now)
    assert reserved == Reserved(NOON + 0.5 * HOUR, now)
    report = read_report(engine, Span(), ["variant"], lambda _f, variant: Known(1, f"{variant}-said"), reserved)
    hours = {variant: sums.device_hours for (variant,), sums in report.rows.items()}
    # Half an hour is left of the first; the fourth is all of one.
    assert hours == pytest.approx({"small": 0.125 + 1, "large": 0.375})
    assert report.total.device_hours + report.idle_hours == pytest.approx(4.5)
    assert report.total.energy_provenances == {"small-said", "large-said"}

    # A row's hours do not depend on what else is asked for.
    ident = Span(family="ident")
    alone = read_report(engine, ident, [], lambda _f, _v: None, reserved_within(engine, ident, now))
    assert alone.total.device_hours == pytest.approx(0.5)
    assert alone.idle_hours == pytest.approx(3)
    by_hour = read_report(engine, Span(), ["hour"], lambda _f, _v: None, reserved)
    assert [sums.device_hours for sums in by_hour.rows.values()] == pytest.approx([0.5, 1])


def test_nothing_is_reserved_before_the_first_record_or_after_now(engine: Engine) -> None:
    assert reserved_within(engine, Span(), NOON) is None
    Ledger(engine).store(Batch("s", 0, 0, 48, [], [served(NOON, "small", 1)], []))
    year = Span(NOON - 365 * 24 * HOUR, NOON + 365 * 24 * HOUR)
    assert reserved_within(engine, year, NOON + HOUR) == Reserved(NOON, NOON + HOUR)
    assert reserved_within(engine, Span(ends=NOON), NOON + HOUR) is None


def spend_cpu() -> None:
    """Enough for every clock to see it."""
    sum(number * number for number in range(400_000))


async def test_own_cpu_time_is_added_once_and_priced_when_its_reading_comes(engine: Engine) -> None:
    assert read_own_use(engine, Span()) is None
    held = reading_now(360.0, minutes=120)
    own = OwnCpu(engine, Intervals("GB"), lambda: 0)
    watching = asyncio.create_task(own.watch("spool"))
    await asyncio.sleep(0)
    spend_cpu()
    await own.look()
    first = read_own_use(engine, Span())
    assert first is not None
    assert 0 < first.cpu_us == first.unpriced_cpu_us
    spend_cpu()
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)

    Ledger(engine).learn([held])
    after = read_own_use(engine, Span())
    assert after is not None
    assert after.cpu_us > first.cpu_us
    assert after.unpriced_cpu_us == 0
    # 360 g/kWh are 0.1 ng per microjoule.
    assert after.g_per_watt == pytest.approx(after.cpu_us * 1e-10)
    assert read_own_use(engine, Span(ends=held.valid_from)) is None
    Ledger(engine).forget_rows(held.valid_to)
    assert read_own_use(engine, Span()) is None


async def report_of(proxy: Proxy, address: str, **request: Any) -> Any:
    async with grpc.aio.insecure_channel(address) as channel:
        stub: Any = emissions_pb2_grpc.EmissionsStub(channel)
        await eventually(lambda: proxy._pending_inferences() == 0)
        return await stub.GetReport(emissions_pb2.GetReportRequest(**request))


def settings_of(triton: Triton, directory: Path, url: str, selector: Selector, **changes: Any) -> ProxySettings:
    return settings_for(
        directory,
        url,
        proxy_triton_grpc=triton.grpc,
        proxy_triton_http=triton.http,
        proxy_selector=selector.address,
        **changes,
    )


async def ask(address: str, model: str, times: int = 1) -> None:
    async with grpc.aio.insecure_channel(address) as channel:
        stub: Any = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        for _ in range(times):
            await stub.ModelInfer(infer_request(model))


async def served_by_large(address: str) -> None:
    async with grpc.aio.insecure_channel(address) as channel, asyncio.timeout(20):
        stub: Any = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        while (await stub.ModelInfer(infer_request("ident"))).model_name != "ident_large":
            pass


def line_of(answer: Any, *variants: str) -> Any:
    return next((row for row in answer.reconciliation.rows if list(row.variants) == list(variants)), None)


async def test_what_triton_executed_and_nobody_recorded_is_found(
    own_models: Triton, tmp_path: Path, postgres_url: str, selector: Selector
) -> None:
    selector.decide("ident", {"large": 1.0}, reading_now(200.0, minutes=120))
    settings = settings_of(own_models, tmp_path, postgres_url, selector, proxy_sole_client=True)
    await ask(own_models.grpc, "ident_large", 5)  # Before the baseline.
    async with running(settings) as proxy:
        await proxy.following.heard.wait()
        address = f"127.0.0.1:{proxy.server.port}"
        await ask(address, "ident", 3)
        exact = await report_of(proxy, address)
        assert (line_of(exact, "large").recorded, line_of(exact, "large").executed) == (3, 3)
        assert not line_of(exact, "large").HasField("energy_uj")
        await ask(own_models.grpc, "ident_large", 2)
        await ask(own_models.grpc, "ident_medium")
    # Nobody looks, and it is found all the same.
    await ask(own_models.grpc, "ident_large", 1)
    async with running(settings) as proxy:
        address = f"127.0.0.1:{proxy.server.port}"
        answer = await report_of(proxy, address, group_by=["variant"])
        large = line_of(answer, "large")
        assert (large.recorded, large.executed, large.restarts) == (3, 6, 0)
        assert large.energy_uj == 3 * 900_000
        assert large.emissions_g == pytest.approx(2.7 * 200 / 3.6e6)
        medium = line_of(answer, "medium")
        assert (medium.recorded, medium.executed, medium.HasField("energy_uj")) == (0, 1, False)
        # The ordinary rows are of what was recorded alone.
        assert (answer.total.inferences, answer.total.energy_uj) == (3, 3 * 900_000)

        own_models.child.kill()
        own_models.start()
        await eventually(lambda: all(target.usable for target in proxy.families["ident"].targets))
        await ask(address, "ident", 2)
        large = line_of(await report_of(proxy, address), "large")
        assert (large.recorded, large.executed, large.restarts) == (5, 8, 1)


@pytest.mark.parametrize("front", [ProxyFront.PYTHON, ProxyFront.ENVOY])
async def test_overhead_embodied_share_and_own_energy_are_beside_the_grams(
    models: Triton, tmp_path: Path, sqlite_url: str, selector: Selector, front: ProxyFront
) -> None:
    selector.decide("ident", {"large": 1.0}, reading_now(200.0, minutes=120))
    settings = settings_of(
        models,
        tmp_path,
        sqlite_url,
        selector,
        proxy_front=front,
        proxy_envoy_workers=1,
        proxy_pue=1.5,
        proxy_embodied_kg=1_000.0,
        proxy_embodied_years=4.0,
        proxy_embodied_share=0.5,
        proxy_watts_per_core=10.0,
    )
    async with running(settings) as proxy:
        await proxy.following.heard.wait()
        address = f"127.0.0.1:{proxy.envoy.port if proxy.envoy else proxy.server.port}"
        await served_by_large(address)  # Envoy hears of a decision a moment after the proxy does.
        await ask(address, "ident")
        await eventually(lambda: proxy._pending_inferences() == 0)
        await proxy.own_cpu.look()
        answer = await report_of(proxy, address, group_by=["hour", "variant"])
        recorded = proxy.own_cpu._last or {}
    row = next(each for each in answer.rows if each.group[1] == "large")
    grams = 0.9 * row.inferences * 200 / 3.6e6
    assert row.inferences >= 2
    assert (row.emissions_g, row.overhead_g) == pytest.approx((grams, grams / 2))
    assert (answer.pue.value, answer.pue.provenance) == (1.5, "configured")
    assert list(row.energy_provenance) == ["estimated"]
    found = answer.embodied
    hours = (found.reserved_to.ToDatetime() - found.reserved_from.ToDatetime()) / HOUR
    assert found.embodied_g == pytest.approx(1_000_000 / 35_040 * hours / 2, rel=1e-6)
    assert sum(each.embodied_g for each in answer.rows) + found.idle_g == pytest.approx(found.embodied_g)
    own = answer.own_use
    assert own.cpu_s > 0
    assert own.energy_uj == pytest.approx(own.cpu_s * 10e6, abs=20)
    assert (own.cpu_provenance, own.provenance) == ("measured", "estimated")
    assert own.overhead_g == pytest.approx(own.emissions_g / 2)
    assert len(recorded) == (2 if front is ProxyFront.ENVOY else 1)


async def test_what_is_not_configured_is_missing_and_not_zero(proxy: Proxy, stub: Any) -> None:
    await stub.ModelInfer(infer_request("ident"))
    await proxy.own_cpu.look()
    answer = await report_of(proxy, f"127.0.0.1:{proxy.server.port}")
    assert not any(answer.HasField(name) for name in ("pue", "embodied", "reconciliation"))
    assert not any(answer.total.HasField(name) for name in ("overhead_g", "embodied_g"))
    assert answer.own_use.cpu_s > 0
    assert not any(answer.own_use.HasField(name) for name in ("watts_per_core", "energy_uj", "emissions_g"))
