"""Several Tritons look like one: streams, sequences and calls by real names go where they can be answered."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from inference_proxy.proxy import Proxy
from local_stack.ports import free_ports
from local_stack.triton import Triton
from tests.integration.inference_proxy.stand import (
    CATALOGUE,
    MODELS,
    address_of,
    eventually,
    infer_request,
    output_of,
    running,
    settings_for,
)

WITHOUT_SUM = CATALOGUE.partition("  sum:")[0]
"""The adders are models that the catalogue does not know."""


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    """Another Triton, which does not have every model."""
    server = Triton(tmp_path_factory.mktemp("second"), MODELS)
    server.start()
    try:
        with grpc.insecure_channel(server.grpc) as channel:
            request = service_pb2.RepositoryModelUnloadRequest(model_name="sum_large")
            service_pb2_grpc.GRPCInferenceServiceStub(channel).RepositoryModelUnload(request)
        yield server
    finally:
        server.stop()


@pytest.fixture
async def proxy(models: Triton, second: Triton, tmp_path: Path, sqlite_url: str) -> AsyncIterator[Proxy]:
    """A proxy before both, and before one that is not there."""
    nobody, no_http = free_ports(2)
    settings = settings_for(
        tmp_path,
        sqlite_url,
        proxy_triton_grpc=f"127.0.0.1:{nobody},{second.grpc},{models.grpc}",
        proxy_triton_http=f"127.0.0.1:{no_http},{second.http},{models.http}",
    )
    settings.catalogue.write_text(WITHOUT_SUM, encoding="utf-8")  # type: ignore[union-attr]
    async with running(settings) as made:
        away, *there = made.endpoints
        await eventually(lambda: not away.closed and all(each.models is not None for each in there))
        yield made


@pytest.fixture
async def stub(proxy: Proxy) -> AsyncIterator[Any]:
    """A client of the proxy."""
    async with grpc.aio.insecure_channel(address_of(proxy)) as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel)


async def streamed(stub: Any, requests: list[Any]) -> list[Any]:
    """The answers of one stream."""

    async def said() -> AsyncIterator[Any]:
        for request in requests:
            yield request

    return [each async for each in stub.ModelStreamInfer(said())]


async def test_a_stream_is_balanced_and_keeps_its_order(proxy: Proxy, stub: Any) -> None:
    # Every other one is slow, so that the Triton that has it answers after the other.
    requests = [infer_request("ident", id=str(each), wait_s="0.02" if each % 2 else "0") for each in range(40)]
    answers = await streamed(stub, requests)
    assert [each.infer_response.id for each in answers] == [str(each) for each in range(40)]
    assert all("carbon_energy_uj" in each.infer_response.parameters for each in answers)
    assert [each.error_message for each in answers] == [""] * 40
    _, one, other = proxy.endpoints
    assert min(one.served, other.served) >= 15
    assert (one.in_flight, other.in_flight, proxy.tallies.in_flight) == (0, 0, 0)


async def test_refusals_in_a_stream_wait_for_their_turn(stub: Any) -> None:
    requests = [infer_request("ident", id="0", wait_s="0.1"), infer_request("ident", id="1")]
    requests += [infer_request("ident", id="2", carbon_pin_variant="none"), infer_request("ident", id="3")]
    answers = await streamed(stub, requests)
    assert [each.infer_response.id for each in answers] == ["0", "1", "2", "3"]
    assert "carbon_pin_variant" in answers[2].error_message


async def test_decoupled_answers_come_from_both(proxy: Proxy, stub: Any) -> None:
    final = {"triton_enable_empty_final_response": True}
    answers = await streamed(stub, [infer_request("count", [3.0], id=str(each), **final) for each in range(6)])
    assert Counter(each.infer_response.id for each in answers) == {str(each): 3 + 1 for each in range(6)}
    receipts = [each.infer_response.id for each in answers if "carbon_energy_uj" in each.infer_response.parameters]
    assert sorted(receipts) == [str(each) for each in range(6)]
    assert min(each.served for each in proxy.endpoints[1:]) >= 2


async def test_a_stream_goes_on_without_a_triton_that_dies(
    models: Triton, own_models: Triton, tmp_path: Path, sqlite_url: str
) -> None:
    settings = settings_for(
        tmp_path, sqlite_url, proxy_triton_grpc=f"{own_models.grpc},{models.grpc}", proxy_triton_http=""
    )
    async with running(settings) as proxy, grpc.aio.insecure_channel(address_of(proxy)) as channel:
        call = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelStreamInfer()
        mortal, other = proxy.endpoints
        outcomes: list[bool] = []

        async def ask(number: int, wait_s: str = "0") -> None:
            await call.write(infer_request("ident", id=str(number), wait_s=wait_s))

        async def hear() -> None:
            answer = await call.read()
            assert answer.infer_response.id == str(len(outcomes))
            outcomes.append(answer.error_message == "")

        for number in range(10):
            await ask(number)
            await hear()
        assert outcomes == [True] * 10
        for number in range(10, 14):
            await ask(number, "0.5")
        await eventually(lambda: min(mortal.in_flight, other.in_flight) == 2)
        own_models.child.kill()
        for _ in range(4):
            await hear()
        assert sorted(outcomes[10:]) == [False, False, True, True]
        for number in range(14, 40):
            await ask(number)
            await hear()
        assert all(outcomes[14:])
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF  # type: ignore[attr-defined] # missing in the stubs
        assert await call.code() is grpc.StatusCode.OK
        assert proxy.tallies.of("ident", "small").inferences == sum(outcomes)


@pytest.mark.parametrize("way", ["unary", "stream"])
async def test_a_sequence_stays_on_its_triton(proxy: Proxy, stub: Any, way: str) -> None:
    sequences = range(1, 13)

    def step(sequence: int, value: float) -> Any:
        flags = {"sequence_start": value == 1, "sequence_end": value == 3}
        return infer_request("sum_small", [value], sequence_id=sequence, id=f"{sequence}-{value:g}", **flags)

    steps = [step(sequence, value) for sequence in sequences for value in (1.0, 2.0, 3.0)]
    if way == "unary":
        answers = [await stub.ModelInfer(each) for each in steps]
    else:
        answers = [each.infer_response for each in await streamed(stub, steps)]
    sums = {each.id: output_of(each)[0] for each in answers}
    assert sums == {f"{sequence}-{value}": total for sequence in sequences for value, total in ((1, 1), (2, 3), (3, 6))}
    assert not proxy.rules.tritons.places._places


async def test_what_only_one_has_is_asked_there(stub: Any) -> None:
    for _ in range(4):
        assert (await stub.ModelReady(service_pb2.ModelReadyRequest(name="sum_large"))).ready
        assert (await stub.ModelMetadata(service_pb2.ModelMetadataRequest(name="sum_large"))).name == "sum_large"
        assert (await stub.ModelConfig(service_pb2.ModelConfigRequest(name="sum_large"))).config.name == "sum_large"
    flags = {"sequence_id": 5, "sequence_start": True, "sequence_end": True}
    for _ in range(4):
        assert output_of(await stub.ModelInfer(infer_request("sum_large", [2.0], **flags))) == [2.0]
    index = {each.name: each for each in (await stub.RepositoryIndex(service_pb2.RepositoryIndexRequest())).models}
    assert index["sum_large"].state == index["ident"].state == "READY"
    assert (await stub.ServerReady(service_pb2.ServerReadyRequest())).ready
    with pytest.raises(grpc.aio.AioRpcError, match="unknown model: 'nothing'"):
        await stub.ModelInfer(infer_request("nothing"))


async def test_over_http_too(proxy: Proxy) -> None:
    tensor = {"name": "INPUT", "shape": [1], "datatype": "FP32", "data": [4]}
    flags = {"sequence_id": 9, "sequence_start": True, "sequence_end": True}
    body = json.dumps({"inputs": [tensor], "parameters": flags})
    async with aiohttp.ClientSession(f"http://127.0.0.1:{proxy.http.port}") as session:
        for path in ("/v2/health/ready", "/v2", "/v2/models/sum_large/ready", "/v2/models/sum_large/config"):
            for _ in range(3):
                async with session.get(path) as answer:
                    assert answer.status == 200, path
        for _ in range(3):
            async with session.post("/v2/models/sum_large/infer", data=body) as answer:
                assert (await answer.json())["outputs"][0]["data"] == [4]
        async with session.post("/v2/repository/index", data="{}") as answer:
            index = {each["name"]: each["state"] for each in await answer.json(content_type=None)}
            assert index["sum_large"] == index["ident"] == "READY"
        # What is loaded is loaded wherever it is, and what is set is set everywhere.
        async with session.post("/v2/logging", data='{"log_verbose_level": 0}') as answer:
            assert answer.status == 200


async def test_statistics_are_those_of_all(proxy: Proxy, stub: Any, models: Triton, second: Triton) -> None:
    async def own(server: Triton) -> int:
        async with grpc.aio.insecure_channel(server.grpc) as channel:
            direct: Any = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            found = await direct.ModelStatistics(service_pb2.ModelStatisticsRequest(name="ident_medium"))
            return sum(each.inference_count for each in found.model_stats)

    await asyncio.gather(*(stub.ModelInfer(infer_request("ident", carbon_pin_variant="medium")) for _ in range(6)))
    expected = await own(models) + await own(second)
    found = await stub.ModelStatistics(service_pb2.ModelStatisticsRequest(name="ident_medium"))
    assert [(each.name, each.inference_count) for each in found.model_stats] == [("ident_medium", expected)]
    async with aiohttp.ClientSession(f"http://127.0.0.1:{proxy.http.port}") as session:
        async with session.get("/v2/models/ident_medium/stats") as answer:
            rows = (await answer.json(content_type=None))["model_stats"]
        assert [(each["name"], each["inference_count"]) for each in rows] == [("ident_medium", expected)]
        async with session.get("/v2/models/ident/stats") as answer:
            (row,) = (await answer.json(content_type=None))["model_stats"]
    (same,) = (await stub.ModelStatistics(service_pb2.ModelStatisticsRequest(name="ident"))).model_stats
    assert same.inference_count == row["inference_count"] >= expected
