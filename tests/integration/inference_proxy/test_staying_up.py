"""Several Tritons, one safe retry, spill and drain: what a client sees is answers."""

import asyncio
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import grpc
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from inference_proxy.proxy import Proxy
from inference_proxy.report import Known, Span, Sums, read_report
from local_stack.triton import Triton
from tests.e2e.proxy_process import proxy_process
from tests.integration.inference_proxy.stand import (
    Selector,
    address_of,
    eventually,
    infer_request,
    receipt_of,
    running,
    settings_for,
)
from tradewind.database import open_engine
from tradewind.migrate import upgrade


def stub_of(channel: grpc.aio.Channel) -> Any:
    """A client of the proxy."""
    return service_pb2_grpc.GRPCInferenceServiceStub(channel)


async def decide(proxy: Proxy, selector: Selector, mix: dict[str, float]) -> None:
    """A decision for `ident` that is in force."""
    made = selector.decide("ident", mix)
    await eventually(lambda: proxy.families["ident"].decision == made)


async def test_a_triton_that_is_away_costs_no_inference(models: Triton, tmp_path: Path, sqlite_url: str) -> None:
    settings = settings_for(tmp_path, sqlite_url, proxy_triton_grpc=f"127.0.0.1:1,{models.grpc}", proxy_triton_http="")
    async with running(settings) as proxy, grpc.aio.insecure_channel(address_of(proxy)) as channel:
        for _ in range(50):
            await stub_of(channel).ModelInfer(infer_request("ident"))
        away, there = proxy.endpoints
        assert there.served >= 50
        await eventually(lambda: not away.closed)
        assert proxy.tallies.of("ident", "small").inferences == 50


async def test_a_family_is_not_ready_while_no_triton_answers(
    own_models: Triton, tmp_path: Path, sqlite_url: str
) -> None:
    settings = settings_for(tmp_path, sqlite_url, proxy_triton_grpc=own_models.grpc, proxy_triton_http="")
    async with running(settings) as proxy, grpc.aio.insecure_channel(address_of(proxy)) as channel:

        async def becomes(ready: bool) -> None:
            async with asyncio.timeout(60):
                about = service_pb2.ModelReadyRequest(name="ident")
                while True:
                    if (await stub_of(channel).ModelReady(about)).ready is ready:
                        return
                    await asyncio.sleep(0.05)

        await becomes(True)
        own_models.child.kill()
        await becomes(False)
        own_models.start()
        await becomes(True)


async def test_requests_are_balanced_and_a_killed_triton_costs_at_most_what_was_in_flight(
    models: Triton, own_models: Triton, tmp_path: Path, sqlite_url: str
) -> None:
    settings = settings_for(
        tmp_path, sqlite_url, proxy_triton_grpc=f"{models.grpc},{own_models.grpc}", proxy_triton_http=""
    )
    clients, failures, answers = 4, 0, 0
    leave = asyncio.Event()
    async with running(settings) as proxy, grpc.aio.insecure_channel(address_of(proxy)) as channel:
        first, second = proxy.endpoints

        async def ask() -> None:
            nonlocal failures, answers
            while not leave.is_set():
                try:
                    await stub_of(channel).ModelInfer(infer_request("ident"))
                    answers += 1
                except grpc.aio.AioRpcError:
                    failures += 1

        tasks = [asyncio.create_task(ask()) for _ in range(clients)]
        await eventually(lambda: answers >= 200)
        assert min(first.served, second.served) > 40
        own_models.child.kill()
        killed = answers
        await eventually(lambda: answers >= killed + 200)
        assert failures <= clients
        own_models.start()
        served = second.served
        await eventually(lambda: second.served >= served + 50)
        leave.set()
        await asyncio.gather(*tasks)
        assert failures <= clients
        assert proxy.tallies.of("ident", "small").inferences == answers


@pytest.mark.parametrize("at_most", [None, 2])
async def test_nothing_but_the_admission_limit_refuses(
    models: Triton, tmp_path: Path, sqlite_url: str, at_most: int | None
) -> None:
    settings = settings_for(tmp_path, sqlite_url, proxy_triton_grpc=models.grpc, proxy_in_flight=at_most)
    async with running(settings) as proxy, grpc.aio.insecure_channel(address_of(proxy)) as channel:
        stub = stub_of(channel)

        async def ask() -> grpc.StatusCode:
            try:
                await stub.ModelInfer(infer_request("ident"))
            except grpc.aio.AioRpcError as error:
                return error.code()
            return grpc.StatusCode.OK

        # gRPC's own limit would begin to cancel at a thousand calls that wait for the process.
        codes = Counter(await asyncio.gather(*(ask() for _ in range(2_500))))
        refused = codes.pop(grpc.StatusCode.RESOURCE_EXHAUSTED, 0)
        assert set(codes) == {grpc.StatusCode.OK}
        assert refused == proxy.tallies.refused
        assert (refused > 0) == (at_most is not None)


async def test_the_excess_spills_and_comes_back(
    models: Triton, selector: Selector, tmp_path: Path, sqlite_url: str
) -> None:
    settings = settings_for(
        tmp_path,
        sqlite_url,
        proxy_triton_grpc=models.grpc,
        proxy_selector=selector.address,
        proxy_spill_in_flight=2,
    )
    async with running(settings) as proxy, grpc.aio.insecure_channel(address_of(proxy)) as channel:
        await decide(proxy, selector, {"large": 1.0})
        spike = await asyncio.gather(
            *(stub_of(channel).ModelInfer(infer_request("ident", wait_s="0.1")) for _ in range(5))
        )
        served = sorted((receipt_of(each)["carbon_variant"], receipt_of(each).get("carbon_fallback")) for each in spike)
        assert served == [("large", None)] * 2 + [("medium", "spill")] * 2 + [("small", "spill")]
        for _ in range(5):
            receipt = receipt_of(await stub_of(channel).ModelInfer(infer_request("ident")))
            assert (receipt["carbon_variant"], receipt.get("carbon_fallback")) == ("large", None)
        assert proxy.tallies.fallbacks["ident", "spill"] == 3


async def test_a_spike_on_a_clean_grid_is_answered_within_the_limit_by_spilling(
    models: Triton, selector: Selector, tmp_path: Path, sqlite_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    limit_s, clients = 0.35, 9
    settings = settings_for(
        tmp_path,
        sqlite_url,
        proxy_triton_grpc=models.grpc,
        proxy_selector=selector.address,
        proxy_spill_latency=f"{limit_s * 1000:g}ms",
    )
    async with running(settings) as proxy, grpc.aio.insecure_channel(address_of(proxy)) as channel:
        await decide(proxy, selector, {"large": 1.0})
        stub = stub_of(channel)
        errors = {target.variant: target.figures.error.value for target in proxy.targets["ident"]}
        served: list[str] = []

        async def ask(requests: int, **wishes: Any) -> list[tuple[float, str]]:
            found = []
            for _ in range(requests):
                begun = time.monotonic()
                answer = await stub.ModelInfer(infer_request("ident", wait_s="0.06", **wishes))
                found.append((time.monotonic() - begun, receipt_of(answer)["carbon_variant"]))
            return found

        async def load(clients: int, requests: int, **wishes: Any) -> list[tuple[float, str]]:
            found = await asyncio.gather(*(ask(requests, **wishes) for _ in range(clients)))
            served.extend(variant for several in found for _, variant in several)
            return [each for several in found for each in several]

        def p95(found: list[tuple[float, str]]) -> float:
            return sorted(latency for latency, _ in found)[int(len(found) * 0.95)]

        def mean_error(variants: list[str]) -> float:
            return sum(errors[variant] for variant in variants) / len(variants)

        def reported() -> Sums:
            known = {variant: Known(error) for variant, error in errors.items()}
            return read_report(proxy.engine, Span(), [], lambda _family, variant: known[variant]).total

        assert {variant for _, variant in await load(2, 10)} == {"large"}
        await eventually(lambda: reported().inferences == len(served))
        assert reported().mean_error == errors["large"]
        # A variant works on one request after the other: for those who insist on one, many clients are too many.
        insisting = p95(await load(clients, 5, carbon_pin_variant="large"))
        assert insisting > limit_s
        async with asyncio.timeout(90):
            while p95(spike := await load(clients, 12)) >= limit_s:
                pass
        variants = Counter(variant for _, variant in spike)
        assert set(variants) >= {"large", "medium"}
        assert {variant for _, variant in await load(1, 10)} == {"large"}
        # What the spike cost is in the report, as the error beside the one that was decided.
        await eventually(lambda: reported().inferences == len(served))
        assert reported().mean_error == pytest.approx(mean_error(served))
        given_up = mean_error([variant for _, variant in spike]) - errors["large"]
        assert given_up > 0
    with capsys.disabled():
        shares = ", ".join(f"{count / len(spike):.0%} {variant}" for variant, count in variants.most_common())
        print(f"\n  spike: p95 {insisting * 1000:.0f} ms without spilling, {p95(spike) * 1000:.0f} ms with it")
        print(
            f"  (limit {limit_s * 1000:.0f} ms; {shares}), for {given_up:.2f} points of error; none spilled without it"
        )


def test_sigterm_lets_what_is_in_flight_end_and_stores_it(models: Triton, tmp_path: Path, sqlite_url: str) -> None:
    upgrade(sqlite_url)
    settings = settings_for(tmp_path, sqlite_url, proxy_triton_grpc=models.grpc)
    process = proxy_process(settings, tmp_path)
    process.start()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{process.wait_listening()}") as channel:
            stub: Any = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            stub.ModelInfer(infer_request("ident"))
            slow = stub.ModelInfer.future(infer_request("ident", wait_s="1"))
            process.wait_until(slow.running, timeout_s=5, what="be asked")
            with pytest.raises(grpc.FutureTimeoutError):
                slow.result(timeout=0.3)
            assert process._process is not None
            process._process.send_signal(signal.SIGTERM)
            assert slow.result(timeout=20).model_name == "ident_small"
            assert process._process.wait(20) == 0
    finally:
        process.stop()
    engine = open_engine(sqlite_url)
    assert read_report(engine, Span(), [], lambda _family, _variant: None).total.inferences == 2
    engine.dispose()
