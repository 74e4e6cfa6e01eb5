"""The gRPC front before a real Triton: families, real names, streams, sequences, requirements, and what they cost."""

import asyncio
import math
from pathlib import Path
from typing import Any

import grpc
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from inference_proxy.proxy import Proxy
from inference_proxy.report import Span, read_report
from local_stack.triton import Triton
from tests.integration.inference_proxy.stand import (
    Selector,
    address_of,
    eventually,
    infer_request,
    output_of,
    reading_now,
    receipt_of,
    running,
    settings_for,
)
from tradewind.readings import Reading


async def decide(proxy: Proxy, selector: Selector, mix: dict[str, float], held: Reading | None = None) -> None:
    """A decision for `ident` that is in force."""
    made = selector.decide("ident", mix, held)
    await eventually(lambda: proxy.families["ident"].decision == made)


async def test_a_family_is_answered_by_the_decided_variant_with_its_receipt(
    proxy: Proxy, selector: Selector, stub: Any
) -> None:
    await decide(proxy, selector, {"large": 1.0}, reading_now(200.0))
    call = stub.ModelInfer(infer_request("ident", [1, 2, 3], id="x7"))
    answer = await call

    assert (answer.model_name, answer.id, output_of(answer)) == ("ident_large", "x7", [1, 2, 3])
    receipt = receipt_of(answer)
    assert 0 <= receipt.pop("carbon_decision_age_s") < 60
    assert receipt == {
        "carbon_requested_model": "ident",
        "carbon_variant": "large",
        "carbon_zone": "GB",
        "carbon_decision": "ident-large",
        "carbon_intensity_g_per_kwh": "200",
        "carbon_energy_uj": 900_000,
        "carbon_emissions_ng": 50_000,
    }
    trailing = {key: value for key, value in await call.trailing_metadata() if key.startswith("carbon-")}
    assert {key.replace("-", "_"): value for key, value in trailing.items()} == {
        key: str(value) for key, value in receipt_of(answer).items()
    }


async def test_before_any_decision_the_fallback_serves_and_says_so(stub: Any) -> None:
    receipt = receipt_of(await stub.ModelInfer(infer_request("ident")))
    assert receipt == {
        "carbon_requested_model": "ident",
        "carbon_variant": "small",
        "carbon_zone": "GB",
        "carbon_energy_uj": 100_000,
        "carbon_fallback": "no_decision",
    }


async def test_a_batch_costs_as_many_inferences(stub: Any) -> None:
    request = infer_request("ident", [0.0] * 20)
    request.inputs[0].shape[:] = [10, 2]
    assert receipt_of(await stub.ModelInfer(request))["carbon_energy_uj"] == 10 * 100_000


async def test_decisions_outlive_the_selector_and_follow_again(proxy: Proxy, selector: Selector, stub: Any) -> None:
    await decide(proxy, selector, {"medium": 1.0})
    await selector.stop()
    for _ in range(20):
        assert (await stub.ModelInfer(infer_request("ident"))).model_name == "ident_medium"
    selector.decide("ident", {"large": 1.0})
    await selector.start()
    await eventually(
        lambda: proxy.families["ident"].decision and proxy.families["ident"].decision.mix[0].variant == "large"
    )
    assert (await stub.ModelInfer(infer_request("ident"))).model_name == "ident_large"


async def test_what_was_served_is_in_the_ledger_and_a_revision_restates_it(
    proxy: Proxy, selector: Selector, stub: Any
) -> None:
    await decide(proxy, selector, {"large": 1.0}, reading_now(200.0))
    for _ in range(5):
        await stub.ModelInfer(infer_request("ident"))
    await stub.ModelInfer(infer_request("ident_medium"))

    def total() -> Any:
        return read_report(proxy.engine, Span(), [], lambda _family, _variant: None).total

    await eventually(lambda: total().inferences == 6)
    energy_mj = 5 * 900 + 300
    assert total().energy_uj == energy_mj * 1_000
    assert total().emissions_g == pytest.approx(energy_mj * 200 / 3.6e9)
    selector.restate(reading_now(400.0, published_s=1))
    await eventually(lambda: total().restated_inferences == 6)
    assert total().emissions_g == pytest.approx(energy_mj * 400 / 3.6e9)


async def test_inferences_of_the_dark_are_priced_when_the_selector_returns(
    proxy: Proxy, selector: Selector, stub: Any
) -> None:
    for _ in range(3):
        await stub.ModelInfer(infer_request("ident"))

    def total() -> Any:
        return read_report(proxy.engine, Span(), [], lambda _family, _variant: None).total

    await eventually(lambda: total().unpriced_energy_uj == 300_000)
    selector.restate(reading_now(100.0))
    await eventually(lambda: total().unpriced_energy_uj == 0)
    assert total().emissions_g == pytest.approx(300 * 100 / 3.6e9)


async def test_a_name_ends_where_triton_reads_its_end(proxy: Proxy, selector: Selector, stub: Any) -> None:
    await decide(proxy, selector, {"small": 1.0})
    for name in ("ident_small", "ident_small\0", "ident_small\0x", "ident\0", "ident\0_large"):
        answer = await stub.ModelInfer(infer_request(name))
        assert (answer.model_name, receipt_of(answer)["carbon_variant"]) == ("ident_small", "small")
        streamed = await stub.ModelStreamInfer(iter([infer_request(name)])).read()
        assert receipt_of(streamed.infer_response)["carbon_variant"] == "small"
    assert (await stub.ModelMetadata(service_pb2.ModelMetadataRequest(name="ident\0x"))).name == "ident"
    with pytest.raises(grpc.aio.AioRpcError, match="ident"):
        await stub.RepositoryModelUnload(service_pb2.RepositoryModelUnloadRequest(model_name="ident\0"))
    tallies = proxy.tallies
    assert sum(tallies.of(family, "small").inferences for family in ("", "ident")) == 10


async def test_requirements_are_honoured_or_refused_with_the_reason(
    proxy: Proxy, selector: Selector, stub: Any
) -> None:
    await decide(proxy, selector, {"small": 1.0})
    answer = await stub.ModelInfer(infer_request("ident", carbon_min_accuracy="93.5"))
    assert (answer.model_name, receipt_of(answer)["carbon_fallback"]) == ("ident_medium", "requirement")
    answer = await stub.ModelInfer(infer_request("ident", carbon_pin_variant="large"))
    assert (answer.model_name, receipt_of(answer)["carbon_fallback"]) == ("ident_large", "pinned")
    for wish, text in (
        ({"carbon_min_accuracy": 99}, "no permitted variant of 'ident' satisfies carbon_min_accuracy 99"),
        ({"carbon_min_accuracy": 99.5}, "no permitted variant of 'ident' satisfies carbon_min_accuracy 99.5"),
        ({"carbon_min_accuracy": math.nan}, "carbon_min_accuracy 'nan' is not a number"),
        ({"carbon_min_accuracy": "good"}, "carbon_min_accuracy 'good' is not a number"),
        ({"carbon_max_latency_ms": "5"}, "p95 unknown"),
        ({"carbon_pin_variant": "resnet"}, "it has small, medium, large"),
    ):
        with pytest.raises(grpc.aio.AioRpcError, match=text) as refused:
            await stub.ModelInfer(infer_request("ident", **wish))
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_sequence_stays_on_its_variant(proxy: Proxy, selector: Selector, stub: Any) -> None:
    async def decided(variant: str) -> None:
        made = selector.decide("sum", {variant: 1.0})
        await eventually(lambda: proxy.families["sum"].decision == made)

    await decided("thorough")
    first = await stub.ModelInfer(infer_request("sum", [1.0], sequence_id=42, sequence_start=True))
    await decided("plain")
    second = await stub.ModelInfer(infer_request("sum", [2.0], sequence_id=42))
    third = await stub.ModelInfer(infer_request("sum", [3.0], sequence_id=42, sequence_end=True))
    assert [output_of(each)[0] for each in (first, second, third)] == [1, 3, 6]
    assert {each.model_name for each in (first, second, third)} == {"sum_large"}
    assert receipt_of(third)["carbon_fallback"] == "sequence"


async def test_a_variant_that_was_unloaded_is_replaced_without_a_failed_inference(
    proxy: Proxy, selector: Selector, stub: Any
) -> None:
    await decide(proxy, selector, {"large": 1.0})
    await stub.RepositoryModelUnload(service_pb2.RepositoryModelUnloadRequest(model_name="ident_large"))
    try:
        for _ in range(50):
            answer = await stub.ModelInfer(infer_request("ident"))
        await eventually(lambda: proxy.targets["ident"][-1].ready is False)
        answer = await stub.ModelInfer(infer_request("ident"))
        assert (answer.model_name, receipt_of(answer)["carbon_fallback"]) == ("ident_medium", "not_ready")
    finally:
        await stub.RepositoryModelLoad(service_pb2.RepositoryModelLoadRequest(model_name="ident_large"))
    await eventually(lambda: proxy.targets["ident"][-1].ready)
    assert (await stub.ModelInfer(infer_request("ident"))).model_name == "ident_large"


async def test_the_selector_is_told_what_was_served_through_its_absence(
    proxy: Proxy, selector: Selector, stub: Any
) -> None:
    await decide(proxy, selector, {"large": 1.0})
    for _ in range(3):
        await stub.ModelInfer(infer_request("ident"))
    told = ("GB", "ident", "large", "ident-large")
    await eventually(lambda: selector.reported[told] == 3)
    await selector.stop()
    for _ in range(4):
        await stub.ModelInfer(infer_request("ident"))
    await selector.start()
    await eventually(lambda: selector.reported[told] == 7)


async def stream(stub: Any, requests: list[service_pb2.ModelInferRequest]) -> list[Any]:
    """The answers to one stream."""
    return [answer async for answer in stub.ModelStreamInfer(iter(requests))]


async def test_a_stream_is_decided_per_message_in_order(proxy: Proxy, selector: Selector, stub: Any) -> None:
    await decide(proxy, selector, {"small": 0.5, "large": 0.5})
    requests = [infer_request("ident", [float(number)], id=str(number)) for number in range(20)]
    requests[5].model_name = "nobody"
    requests[9].parameters["carbon_min_accuracy"].string_param = "99"
    answers = await stream(stub, requests)

    assert [answer.infer_response.id for answer in answers] == [str(number) for number in range(20)]
    failed = {answer.infer_response.id: answer.error_message for answer in answers if answer.error_message}
    assert failed["5"] == "Request for unknown model: 'nobody' is not found"
    assert "carbon_min_accuracy 99" in failed["9"]
    assert len(failed) == 2
    good = [answer.infer_response for answer in answers if not answer.error_message]
    assert [output_of(each) for each in good] == [[float(n)] for n in range(20) if n not in {5, 9}]
    served = [receipt_of(each)["carbon_variant"] for each in good]
    assert served.count("large") == served.count("small") == 9


async def test_a_decoupled_request_has_one_receipt_on_its_final_answer(proxy: Proxy, stub: Any) -> None:
    answers = await stream(
        stub,
        [
            infer_request("count", [2.0], id="flag-apart"),
            infer_request("count", [2.0], id="flag-asked", triton_enable_empty_final_response=True),
            infer_request("count", [2.0], id="flag-with-last", final_with_last=True),
        ],
    )
    by_id: dict[str, list[Any]] = {}
    for answer in answers:
        assert not answer.error_message
        by_id.setdefault(answer.infer_response.id, []).append(answer.infer_response)
    assert {key: len(found) for key, found in by_id.items()} == {"flag-apart": 2, "flag-asked": 3, "flag-with-last": 2}
    receipts = {key: [bool(receipt_of(each)) for each in found] for key, found in by_id.items()}
    assert receipts == {"flag-apart": [False] * 2, "flag-asked": [False, False, True], "flag-with-last": [False, True]}
    assert proxy.tallies.of("count", "few").inferences == 3
    assert proxy.tallies.in_flight == 0


async def test_leaving_a_stream_ends_the_work_at_triton_within_a_second(proxy: Proxy, stub: Any) -> None:
    async def running_counts() -> float:
        answers = await stream(stub, [infer_request("count_small", [-1.0])])
        return output_of(answers[0].infer_response)[0]

    call = stub.ModelStreamInfer(iter([infer_request("count", [600.0])]))
    assert (await call.read()).infer_response.model_name == "count_small"
    assert await running_counts() == 1
    call.cancel()
    async with asyncio.timeout(1):
        while await running_counts():
            pass
    assert proxy.tallies.in_flight == 0


async def test_what_is_in_flight_beyond_the_limit_is_refused(models: Triton, tmp_path: Path, sqlite_url: str) -> None:
    settings = settings_for(tmp_path, sqlite_url, proxy_triton_grpc=models.grpc, proxy_in_flight=2)
    async with running(settings) as proxy, grpc.aio.insecure_channel(address_of(proxy)) as channel:
        stub: Any = service_pb2_grpc.GRPCInferenceServiceStub(channel)

        async def slowly() -> Any:
            return await stub.ModelInfer(infer_request("ident", wait_s="0.5"))

        slow = [asyncio.create_task(slowly()) for _ in range(2)]
        await eventually(lambda: proxy.tallies.in_flight == 2)
        with pytest.raises(grpc.aio.AioRpcError, match="limit of 2 requests in flight") as refused:
            await stub.ModelInfer(infer_request("ident"))
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await asyncio.gather(*slow)
        assert proxy.tallies.refused == 1
