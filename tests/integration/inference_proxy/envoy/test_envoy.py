"""The Envoy front between a real client and a real Triton: what goes straight, what does not, and who steers."""

import asyncio
import errno
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from sqlalchemy import func, select
from tritonclient.grpc import service_pb2, service_pb2_grpc

from inference_proxy.envoy import steering
from inference_proxy.proxy import Proxy
from inference_proxy.settings import ProxyFront, ProxySettings
from inference_proxy.spool import RECORD
from inference_proxy.store import ledger, unattributed
from local_stack.ports import free_ports
from local_stack.triton import Triton
from tests.integration.inference_proxy.conftest import UNLIMITED
from tests.integration.inference_proxy.http.asking import address_over_http, ask, infer_json
from tests.integration.inference_proxy.stand import (
    Selector,
    eventually,
    infer_request,
    output_of,
    reading_now,
    receipt_of,
    running,
    settings_for,
)
from tradewind.database import reading
from tradewind.errors import StartupError
from tradewind.migrate import upgrade


@pytest.fixture
def settings(models: Triton, selector: Selector, tmp_path: Path, sqlite_url: str) -> ProxySettings:
    (port,) = free_ports(1)
    return settings_for(
        tmp_path,
        sqlite_url,
        proxy_listen=f"127.0.0.1:{port}",
        proxy_triton_grpc=models.grpc,
        proxy_triton_http=models.http,
        proxy_selector=selector.address,
        proxy_front=ProxyFront.ENVOY,
        proxy_envoy_workers=1,
    )


@pytest.fixture
async def fronted(settings: ProxySettings) -> AsyncIterator[Proxy]:
    async with running(settings) as proxy:
        await proxy.following.heard.wait()
        yield proxy


@pytest.fixture
async def client(fronted: Proxy) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(fronted.settings.proxy_listen, options=UNLIMITED) as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel)


async def served_by(client: Any, variant: str, family: str = "ident") -> None:
    """Waits until a variant serves a family."""
    async with asyncio.timeout(20):
        while (await client.ModelInfer(infer_request(family))).model_name != f"{family}_{variant}":
            pass


def stored(proxy: Proxy) -> int:
    with reading(proxy.engine) as connection:
        return sum(
            connection.execute(select(func.coalesce(func.sum(table.c.inferences), 0))).scalar_one()
            for table in (ledger, unattributed)
        )


def straight(proxy: Proxy) -> int:
    """Requests that Envoy recorded itself."""
    assert proxy.envoy is not None
    return sum(int(path.stat().st_size) // RECORD.size for path in proxy.envoy.places.writers.rglob("*.records"))


async def test_an_answer_has_the_receipt_that_python_would_write(
    fronted: Proxy, client: Any, selector: Selector
) -> None:
    selector.decide("ident", {"medium": 1.0}, reading_now(100.0))
    await served_by(client, "medium")
    before = straight(fronted)
    call = client.ModelInfer(infer_request("ident", [3.0, 4.0], priority=1))
    answer = await call
    expected = {
        "carbon_requested_model": "ident",
        "carbon_variant": "medium",
        "carbon_zone": "GB",
        "carbon_energy_uj": 300_000,
        "carbon_decision": "ident-medium",
        "carbon_intensity_g_per_kwh": "100",
        "carbon_emissions_ng": 8_333,
    }
    receipt = receipt_of(answer)
    assert receipt.pop("carbon_decision_age_s") >= 0
    assert receipt == expected
    assert output_of(answer) == [3.0, 4.0]
    said = {key: value for key, value in await call.trailing_metadata() if key != "carbon-decision-age-s"}
    assert said == {key.replace("_", "-"): str(value) for key, value in expected.items()}
    assert straight(fronted) == before + 1


async def test_batches_are_counted_and_reach_the_ledger_and_the_metrics(fronted: Proxy, client: Any) -> None:
    request = service_pb2.ModelInferRequest(model_name="ident")
    request.inputs.add(name="INPUT", datatype="FP32", shape=[3, 2])
    request.raw_input_contents.append(np.zeros((3, 2), np.float32).tobytes())
    answer = await client.ModelInfer(request)
    assert receipt_of(answer)["carbon_energy_uj"] == 300_000
    await eventually(lambda: stored(fronted) == 3)
    assert fronted.tallies.of("ident", "small").inferences == 3
    assert fronted.tallies.fallbacks["ident", "no_decision"] == 1


async def test_the_selector_is_told_what_went_straight_and_what_did_not(
    fronted: Proxy, client: Any, selector: Selector
) -> None:
    served: Counter[str] = Counter()
    selector.decide("ident", {"medium": 1.0}, reading_now(100.0))
    async with asyncio.timeout(20):
        while served["ident_medium"] < 4:
            served[(await client.ModelInfer(infer_request("ident"))).model_name] += 1
    served[(await client.ModelInfer(infer_request("ident", carbon_pin_variant="large"))).model_name] += 1
    assert 0 < straight(fronted) < served.total()

    def told() -> Counter[str]:
        counts: Counter[str] = Counter()
        for (_, family, variant, _), count in selector.reported.items():
            counts[f"{family}_{variant}"] += count
        return counts

    await eventually(lambda: told() == served)


async def test_a_real_model_goes_straight_and_is_metered(fronted: Proxy, client: Any) -> None:
    answer = await client.ModelInfer(infer_request("ident_large"))
    assert answer.model_name == "ident_large"
    assert receipt_of(answer)["carbon_requested_model"] == "ident_large"
    assert straight(fronted) == 1


async def test_a_requirement_is_the_proxys(fronted: Proxy, client: Any) -> None:
    answer = await client.ModelInfer(infer_request("ident", carbon_pin_variant="large"))
    assert receipt_of(answer)["carbon_variant"] == "large"
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await client.ModelInfer(infer_request("ident", carbon_pin_variant="none"))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert straight(fronted) == 0
    await eventually(lambda: stored(fronted) == 1)


async def test_a_compressed_request_is_served(fronted: Proxy, client: Any) -> None:
    answer = await client.ModelInfer(infer_request("ident", [1.0] * 5_000), compression=grpc.Compression.Gzip)
    assert len(output_of(answer)) == 5_000
    assert receipt_of(answer)["carbon_variant"] == "small"
    assert straight(fronted) == 0


@pytest.mark.parametrize("model", ["ident", "nosuch"])
async def test_errors_are_tritons_and_are_not_charged(fronted: Proxy, client: Any, models: Triton, model: str) -> None:
    request = infer_request(model)
    request.inputs[0].name = "OTHER"
    with pytest.raises(grpc.aio.AioRpcError) as ours:
        await client.ModelInfer(request)
    request.model_name = "ident_small" if model == "ident" else model
    async with grpc.aio.insecure_channel(models.grpc) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as theirs:
            await service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request)
    assert (ours.value.code(), ours.value.details()) == (theirs.value.code(), theirs.value.details())
    assert straight(fronted) == 0


async def test_a_malformed_message_is_refused(fronted: Proxy) -> None:
    async with grpc.aio.insecure_channel(fronted.settings.proxy_listen) as channel:
        raw: Any = channel
        infer = raw.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        for message in (b"\x0a\x05ident\x3a\xff\x7f" + b"x", b"\x0a\x05ident" + b"\x3a\x80\x80\x10" + b"x" * 100_000):
            with pytest.raises(grpc.aio.AioRpcError):
                await infer(message, timeout=20)
    assert straight(fronted) == 0


async def test_a_mix_is_split_with_low_discrepancy(client: Any, selector: Selector) -> None:
    selector.decide("ident", {"small": 0.25, "large": 0.75})
    await served_by(client, "large")
    served = [(await client.ModelInfer(infer_request("ident"))).model_name for _ in range(40)]
    assert served.count("ident_small") == 10
    assert all(served[begin : begin + 4].count("ident_small") == 1 for begin in range(37))


async def test_decisions_come_into_force_at_once(fronted: Proxy, client: Any, selector: Selector) -> None:
    took = []
    for turn in range(10):
        variant = ("large", "small")[turn % 2]
        selector.decide("ident", {variant: 1.0})
        begun = time.monotonic()
        await served_by(client, variant)
        took.append(time.monotonic() - begun)
    assert fronted.envoy is not None
    assert fronted.envoy.process.alive
    assert max(took) < 5


async def test_a_decision_that_could_not_be_written_comes_into_force_when_it_can(
    client: Any, selector: Selector, monkeypatch: pytest.MonkeyPatch
) -> None:
    selector.decide("ident", {"small": 1.0})
    await served_by(client, "small")
    tried = []

    def full(path: Path, _content: Any) -> None:
        tried.append(path)
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(steering, "_swap", full)
        selector.decide("ident", {"large": 1.0})
        await eventually(lambda: len(tried) >= 3)
        await served_by(client, "small")
    await served_by(client, "large")


async def test_a_spool_that_cannot_be_written_is_said_at_start(
    settings: ProxySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_path: Path, _content: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(steering, "_swap", full)
    with pytest.raises(StartupError, match=r"TRADEWIND_PROXY_SPOOL_DIRECTORY.*cannot be written: No space left"):
        async with running(settings):
            pass


async def test_a_large_tensor_goes_through(client: Any) -> None:
    values = np.arange(26_214_400, dtype=np.float32)
    request = service_pb2.ModelInferRequest(model_name="ident")
    request.inputs.add(name="INPUT", datatype="FP32", shape=[1, len(values)])
    request.raw_input_contents.append(values.tobytes())
    answer = await client.ModelInfer(request)
    assert answer.raw_output_contents[0] == request.raw_input_contents[0]
    assert receipt_of(answer)["carbon_variant"] == "small"


async def test_everything_else_is_answered_by_the_proxy(fronted: Proxy, client: Any) -> None:
    assert (await client.ServerReady(service_pb2.ServerReadyRequest())).ready
    assert (await client.ModelReady(service_pb2.ModelReadyRequest(name="ident"))).ready
    metadata = await client.ModelMetadata(service_pb2.ModelMetadataRequest(name="ident"))
    assert metadata.name == "ident"

    async def asked() -> AsyncIterator[service_pb2.ModelInferRequest]:
        yield infer_request("ident", id="1")

    answers = [answer async for answer in client.ModelStreamInfer(asked())]
    assert receipt_of(answers[0].infer_response)["carbon_variant"] == "small"
    assert straight(fronted) == 0


async def test_a_triton_that_is_away_is_said_in_words(
    own_models: Triton, selector: Selector, tmp_path: Path, sqlite_url: str
) -> None:
    (port,) = free_ports(1)
    settings = settings_for(
        tmp_path,
        sqlite_url,
        proxy_listen=f"127.0.0.1:{port}",
        proxy_triton_grpc=own_models.grpc,
        proxy_selector=selector.address,
        proxy_front=ProxyFront.ENVOY,
        proxy_envoy_workers=1,
    )
    async with running(settings) as proxy, grpc.aio.insecure_channel(settings.proxy_listen) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        await stub.ModelInfer(infer_request("ident"))
        own_models.child.kill()
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.ModelInfer(infer_request("ident"))
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        own_models.start()
        await served_by(stub, "small")
        assert proxy.envoy is not None


async def test_an_envoy_that_was_ended_stays_down_while_the_rest_drains(settings: ProxySettings) -> None:
    upgrade(settings.database_url)
    proxy = Proxy(settings)
    await proxy.start()
    try:
        # Longer than it takes to see that Envoy is gone.
        body = json.dumps(infer_json(wait_s="1.5"))
        slow = asyncio.create_task(ask(address_over_http(proxy), "POST", "/v2/models/ident/infer", body))
        await eventually(lambda: proxy.tallies.in_flight == 1)
    finally:
        await proxy.stop()
    assert (await slow).status == 200
    assert proxy.envoy is not None
    assert not proxy.envoy.process.alive
    assert not proxy.envoy.places.state.exists()


async def test_tenants_are_told_apart(settings: ProxySettings) -> None:
    own = settings.model_copy(update={"proxy_tenant_key": "x-team", "proxy_tenants": 2})
    async with running(own) as proxy, grpc.aio.insecure_channel(own.proxy_listen) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        for team in ("a", "b", "c"):
            await stub.ModelInfer(infer_request("ident"), metadata=(("x-team", team),))
        await stub.ModelInfer(infer_request("ident"), metadata=(("x-team", "a"), ("x-team", "b")))
        await stub.ModelInfer(infer_request("ident"))
        await eventually(lambda: stored(proxy) == 5)
        with reading(proxy.engine) as connection:
            query = select(unattributed.c.tenant, func.sum(unattributed.c.inferences)).group_by(unattributed.c.tenant)
            assert dict(connection.execute(query).all()) == {"a": 2, "b": 1, "other": 1, "": 1}


async def test_more_in_flight_than_admitted_is_refused(settings: ProxySettings) -> None:
    own = settings.model_copy(update={"proxy_in_flight": 1})
    async with running(own) as proxy, grpc.aio.insecure_channel(own.proxy_listen) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        calls = [stub.ModelInfer(infer_request("ident", wait_s="0.5")) for _ in range(8)]
        ends = [await _end_of(call) for call in calls]
        refused = [call for call, end in zip(calls, ends, strict=True) if end is grpc.StatusCode.RESOURCE_EXHAUSTED]
        assert ends.count(grpc.StatusCode.OK) == 8 - len(refused) == straight(proxy)
        assert 1 <= len(refused) <= 7
        said = {await call.details() for call in refused}
        assert said == {"the proxy has its limit of 1 requests in flight: try again later"}


async def test_a_deadline_is_kept_and_what_nobody_waited_for_is_not_recorded(fronted: Proxy, client: Any) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as late:
        await client.ModelInfer(infer_request("ident", wait_s="1"), timeout=0.2)
    assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await client.ModelInfer(infer_request("ident"))
    assert straight(fronted) == 1


async def test_of_two_tritons_the_one_that_is_left_serves(
    models: Triton, own_models: Triton, settings: ProxySettings
) -> None:
    both = {
        "proxy_triton_grpc": f"{own_models.grpc},{models.grpc}",
        "proxy_triton_http": f"{own_models.http},{models.http}",
    }
    own = settings.model_copy(update=both)
    async with running(own) as proxy, grpc.aio.insecure_channel(own.proxy_listen) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        for _ in range(20):
            await stub.ModelInfer(infer_request("ident"))
        own_models.child.kill()
        ends = [await _end_of(stub.ModelInfer(infer_request("ident"))) for _ in range(200)]
        failed = ends.count(grpc.StatusCode.UNAVAILABLE)
        # At most what was sent as it died; a connection that is refused is tried again elsewhere, always.
        assert failed <= 1
        assert ends.count(grpc.StatusCode.OK) == 200 - failed
        await served_by(stub, "small")
        assert straight(proxy) == 20 + 200 - failed + 1


async def test_two_tritons_may_be_named(models: Triton, own_models: Triton, settings: ProxySettings) -> None:
    def named(*addresses: str) -> str:
        return ",".join(address.replace("127.0.0.1", "localhost") for address in addresses)

    both = {
        "proxy_triton_grpc": named(own_models.grpc, models.grpc),
        "proxy_triton_http": named(own_models.http, models.http),
    }
    own = settings.model_copy(update=both)
    async with running(own) as proxy, grpc.aio.insecure_channel(own.proxy_listen) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        for _ in range(20):
            await stub.ModelInfer(infer_request("ident"), wait_for_ready=True)
        assert straight(proxy) == 20


async def _end_of(call: Any) -> grpc.StatusCode:
    code: grpc.StatusCode = await call.code()
    return code
