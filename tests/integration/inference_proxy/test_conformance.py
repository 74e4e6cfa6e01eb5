"""One set of assertions for Triton itself and for both fronts before it: real names behave alike to the last word.

Families are held to the same assertions through each front, with their own name where a model's name would stand.
"""

import asyncio
import queue
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as sync_client
import tritonclient.grpc.aio as aio_client
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

from local_stack.triton import Triton
from tests.integration.inference_proxy.conftest import UNLIMITED
from tests.integration.inference_proxy.stand import infer_request, output_of


@dataclass(frozen=True)
class Server:
    """Where to ask, and under which names."""

    address: str
    stub: Any
    identity: str
    counter: str
    adder: str
    adds: frozenset[str]
    """Metadata that the place adds by its nature."""


# Identity, decoupled counter, stateful adder.
MODEL_NAMES, FAMILY_NAMES = ("ident_small", "count_small", "sum_small"), ("ident", "count", "sum")
# The fixture with the address, and the names.
PLACES = {
    "triton": ("triton_grpc", MODEL_NAMES),
    "python-model": ("python_front", MODEL_NAMES),
    "python-family": ("python_front", FAMILY_NAMES),
    "envoy-model": ("envoy_front", MODEL_NAMES),
    "envoy-family": ("envoy_front", FAMILY_NAMES),
}


@pytest.fixture(params=PLACES)
async def server(request: pytest.FixtureRequest) -> AsyncIterator[Server]:
    """Triton itself, and each front by a model's name and by a family's name."""
    place, names = PLACES[request.param]
    address: str = request.getfixturevalue(place)
    async with grpc.aio.insecure_channel(address, options=UNLIMITED) as channel:
        adds = frozenset({"date"} if place == "envoy_front" else ())
        yield Server(address, service_pb2_grpc.GRPCInferenceServiceStub(channel), *names, adds)


async def failure(call: Any) -> tuple[grpc.StatusCode, str]:
    """Code and text with which a call fails."""
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call
    return failed.value.code(), failed.value.details() or ""


async def test_liveness_and_readiness(server: Server) -> None:
    assert (await server.stub.ServerLive(service_pb2.ServerLiveRequest())).live
    assert (await server.stub.ServerReady(service_pb2.ServerReadyRequest())).ready
    assert (await server.stub.ServerMetadata(service_pb2.ServerMetadataRequest())).name == "triton"
    for name in (server.identity, server.counter, server.adder):
        for version, ready in (("", True), ("1", True), ("7", False)):
            answer = await server.stub.ModelReady(service_pb2.ModelReadyRequest(name=name, version=version))
            assert answer.ready is ready
    assert not (await server.stub.ModelReady(service_pb2.ModelReadyRequest(name="nobody"))).ready
    assert await failure(server.stub.ModelReady(service_pb2.ModelReadyRequest(name=server.identity, version="x"))) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        BAD_VERSION,
    )


BAD_VERSION = (
    "failed to get model version from specified version string 'x' (details: stol), "
    "version should be an integral value > 0"
)


async def test_metadata_is_under_the_name_that_was_asked_for(server: Server) -> None:
    answer = await server.stub.ModelMetadata(service_pb2.ModelMetadataRequest(name=server.identity))
    assert (answer.name, list(answer.versions), answer.platform) == (server.identity, ["1"], "python")
    assert [(each.name, each.datatype, list(each.shape)) for each in answer.inputs] == [("INPUT", "FP32", [-1, -1])]
    assert [(each.name, each.datatype, list(each.shape)) for each in answer.outputs] == [("OUTPUT", "FP32", [-1, -1])]


async def test_config_is_under_the_name_that_was_asked_for(server: Server) -> None:
    config = (await server.stub.ModelConfig(service_pb2.ModelConfigRequest(name=server.identity))).config
    assert (config.name, config.max_batch_size, config.backend) == (server.identity, 64, "python")
    counter = (await server.stub.ModelConfig(service_pb2.ModelConfigRequest(name=server.counter))).config
    assert counter.model_transaction_policy.decoupled


@pytest.mark.parametrize(
    ("version", "expected"),
    [("7", (grpc.StatusCode.NOT_FOUND, "Request for unknown model: '{}' version 7 is not found")),
     ("x", (grpc.StatusCode.INVALID_ARGUMENT, BAD_VERSION))],
)  # fmt: skip
async def test_a_version_that_is_not_there(server: Server, version: str, expected: tuple[grpc.StatusCode, str]) -> None:
    name = server.identity
    code, text = expected
    request = infer_request(name)
    request.model_version = version
    for call in (
        server.stub.ModelMetadata(service_pb2.ModelMetadataRequest(name=name, version=version)),
        server.stub.ModelConfig(service_pb2.ModelConfigRequest(name=name, version=version)),
        server.stub.ModelInfer(request),
    ):
        assert await failure(call) == (code, text.format(name))
    statistics = server.stub.ModelStatistics(service_pb2.ModelStatisticsRequest(name=name, version=version))
    unavailable = f"requested model version is not available for model '{name}'"
    assert await failure(statistics) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        unavailable if version == "7" else BAD_VERSION,
    )


async def test_a_model_that_is_not_there(server: Server) -> None:
    unknown = (grpc.StatusCode.NOT_FOUND, "Request for unknown model: 'nobody' is not found")
    assert await failure(server.stub.ModelInfer(infer_request("nobody"))) == unknown
    assert await failure(server.stub.ModelMetadata(service_pb2.ModelMetadataRequest(name="nobody"))) == unknown
    assert await failure(server.stub.ModelConfig(service_pb2.ModelConfigRequest(name="nobody"))) == unknown
    assert await failure(server.stub.ModelStatistics(service_pb2.ModelStatisticsRequest(name="nobody"))) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "requested model 'nobody' is not available",
    )


async def test_inference(server: Server) -> None:
    request = infer_request(server.identity, [1.5, -2.0, 3.0], id="7")
    request.outputs.add(name="OUTPUT")
    answer = await server.stub.ModelInfer(request)
    assert (answer.model_name, answer.model_version, answer.id) == ("ident_small", "1", "7")
    assert output_of(answer) == [1.5, -2.0, 3.0]


async def test_inference_with_contents_in_the_tensor(server: Server) -> None:
    request = infer_request(server.identity, [1.0, 2.0])
    del request.raw_input_contents[:]
    request.inputs[0].contents.fp32_contents.extend([1.0, 2.0])
    assert output_of(await server.stub.ModelInfer(request)) == [1.0, 2.0]


@pytest.mark.parametrize("breaking", ["input", "datatype", "shape", "contents", "batch", "output", "parameter"])
async def test_a_wrong_request_is_refused_in_the_same_words(server: Server, models: Triton, breaking: str) -> None:
    request = infer_request(server.identity, [1.0, 2.0])
    if breaking == "input":
        request.inputs[0].name = "OTHER"
    elif breaking == "datatype":
        request.inputs[0].datatype = "INT64"
    elif breaking == "shape":
        request.inputs[0].shape[:] = [1, 2, 3]
    elif breaking == "contents":
        request.raw_input_contents[0] = b"123"
    elif breaking == "batch":
        request.inputs[0].shape[:] = [65, 2]
        request.raw_input_contents[0] = bytes(65 * 2 * 4)
    elif breaking == "output":
        request.outputs.add(name="OTHER")
    else:
        request.parameters["priority"].string_param = "high"
    got = await failure(server.stub.ModelInfer(request))
    request.model_name = "ident_small"
    async with grpc.aio.insecure_channel(models.grpc) as channel:
        direct: Any = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        assert got == await failure(direct.ModelInfer(request))


async def test_bytes_that_are_no_request(server: Server) -> None:
    async with grpc.aio.insecure_channel(server.address) as channel:
        raw: Any = channel
        call = raw.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        assert await failure(call(b"\x0a\xff")) == (grpc.StatusCode.INTERNAL, "Unable to parse request")


async def test_a_method_that_is_not_there(server: Server) -> None:
    async with grpc.aio.insecure_channel(server.address) as channel:
        raw: Any = channel
        nothing = raw.unary_unary("/inference.GRPCInferenceService/Nothing")
        # The end of such a call and its request pass each other, in any order.
        assert {await failure(nothing(b"")) for _ in range(20)} == {(grpc.StatusCode.UNIMPLEMENTED, "")}


async def test_health(server: Server) -> None:
    async with grpc.aio.insecure_channel(server.address) as channel:
        raw: Any = channel
        # SERVING, for no service and for Triton's.
        for service in ("", "inference.GRPCInferenceService"):
            request = b"" if not service else b"\x0a" + bytes([len(service)]) + service.encode()
            assert await raw.unary_unary("/grpc.health.v1.Health/Check")(request) == b"\x08\x01"


async def test_metadata_has_nothing_but_receipts(server: Server) -> None:
    stub, unknown = server.stub, infer_request("nobody")
    for call in (
        stub.ModelInfer(infer_request(server.identity)),
        stub.ModelMetadata(service_pb2.ModelMetadataRequest(name=server.identity)),
        stub.ServerLive(service_pb2.ServerLiveRequest()),
        stub.ModelInfer(unknown),
    ):
        await call.code()
        names = {key for key, _ in (*await call.initial_metadata(), *await call.trailing_metadata())}
        assert {name for name in names if not name.startswith("carbon-")} == server.adds


async def test_a_deadline(server: Server) -> None:
    code, _ = await failure(server.stub.ModelInfer(infer_request(server.identity, wait_s="1"), timeout=0.2))
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
async def test_compressed_requests(server: Server, compression: grpc.Compression) -> None:
    values = [float(number % 7) for number in range(10_000)]
    answer = await server.stub.ModelInfer(infer_request(server.identity, values), compression=compression)
    assert output_of(answer) == values


async def test_100_megabytes(server: Server) -> None:
    request = infer_request(server.identity)
    request.inputs[0].shape[:] = [1, 25_000_000]
    request.raw_input_contents[0] = bytes(100_000_000)
    answer = await server.stub.ModelInfer(request)
    assert len(answer.raw_output_contents[0]) == 100_000_000


async def test_statistics_count_what_was_served(server: Server) -> None:
    about = service_pb2.ModelStatisticsRequest(name=server.identity)

    async def statistics() -> Any:
        (row,) = (await server.stub.ModelStatistics(about)).model_stats
        return row

    async def settled() -> Any:
        """Triton counts an inference some moments after it has answered."""
        found = await statistics()
        while True:
            await asyncio.sleep(0.2)
            later = await statistics()
            if later.inference_count == found.inference_count:
                return later
            found = later

    before = await settled()
    request = infer_request(server.identity, [0.0] * 6)
    request.inputs[0].shape[:] = [3, 2]
    await server.stub.ModelInfer(request)
    await server.stub.ModelInfer(infer_request(server.identity))
    after = await settled()
    assert (after.name, after.version) == (server.identity, "1")
    assert after.inference_count - before.inference_count == 4
    assert after.inference_stats.success.count - before.inference_stats.success.count == 2
    assert after.inference_stats.success.ns > before.inference_stats.success.ns
    assert after.last_inference >= before.last_inference
    sizes = {each.batch_size: each.compute_infer.count for each in after.batch_stats}
    assert sizes[3] >= 1
    assert sizes[1] >= 1
    everything = await server.stub.ModelStatistics(service_pb2.ModelStatisticsRequest())
    assert server.identity in {row.name for row in everything.model_stats}


async def test_the_repository_has_it(server: Server) -> None:
    for ready in (False, True):
        index = await server.stub.RepositoryIndex(service_pb2.RepositoryIndexRequest(ready=ready))
        rows = {row.name: (row.version, row.state) for row in index.models}
        assert rows[server.identity] == ("1", "READY")
        assert [row.name for row in index.models] == sorted(row.name for row in index.models)


async def test_trace_and_log_settings(server: Server) -> None:
    trace = await server.stub.TraceSetting(service_pb2.TraceSettingRequest(model_name=server.identity))
    assert trace.settings["trace_level"].value == ["OFF"]
    assert "log_info" in (await server.stub.LogSettings(service_pb2.LogSettingsRequest())).settings


async def test_shared_memory_passes_through(server: Server) -> None:
    status = await server.stub.SystemSharedMemoryStatus(service_pb2.SystemSharedMemoryStatusRequest())
    assert not status.regions
    code, text = await failure(
        server.stub.SystemSharedMemoryRegister(
            service_pb2.SystemSharedMemoryRegisterRequest(name="none", key="/none_there", byte_size=8)
        )
    )
    assert (code, "none_there" in text) == (grpc.StatusCode.INTERNAL, True)


async def test_sequences(server: Server) -> None:
    answers = [
        await server.stub.ModelInfer(
            infer_request(server.adder, [value], sequence_id=sequence, sequence_start=start, sequence_end=end)
        )
        for sequence in (1001, "name-of-a-sequence")[:1]
        for value, start, end in ((1.0, True, False), (2.0, False, False), (3.0, False, True))
    ]
    assert [output_of(each)[0] for each in answers] == [1, 3, 6]
    code, text = await failure(server.stub.ModelInfer(infer_request(server.adder, [1.0])))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "must specify a non-zero or non-empty correlation ID" in text


async def stream_of(server: Server, requests: list[Any], **options: Any) -> list[Any]:
    """The answers to one stream."""
    return [answer async for answer in server.stub.ModelStreamInfer(iter(requests), **options)]


async def test_a_stream_keeps_its_order_and_says_what_fails(server: Server) -> None:
    requests = [infer_request(server.identity, [float(number)], id=str(number)) for number in range(10)]
    requests[3].model_name = "nobody"
    requests[6].inputs[0].name = "OTHER"
    answers = await stream_of(server, requests)
    assert [each.infer_response.id for each in answers] == [str(number) for number in range(10)]
    assert answers[3].error_message == "Request for unknown model: 'nobody' is not found"
    assert answers[6].error_message == "unexpected inference input 'OTHER' for model 'ident_small'"
    good = [each for each in answers if not each.error_message]
    assert [output_of(each.infer_response)[0] for each in good] == [0, 1, 2, 4, 5, 7, 8, 9]
    assert all(each.infer_response.model_name == "ident_small" for each in good)


async def test_a_decoupled_stream_answers_any_number_of_times(server: Server) -> None:
    asked = infer_request(server.counter, [2.0], id="with", triton_enable_empty_final_response=True)
    answers = await stream_of(
        server, [infer_request(server.counter, [3.0], id="three"), infer_request(server.counter, [0.0]), asked]
    )
    found: dict[str, list[bool]] = {}
    for answer in answers:
        assert not answer.error_message
        final = answer.infer_response.parameters["triton_final_response"].bool_param
        found.setdefault(answer.infer_response.id, []).append(final)
    assert found == {"three": [False] * 3, "with": [False, False, True]}


async def test_a_decoupled_model_is_not_for_unary_calls(server: Server) -> None:
    code, text = await failure(server.stub.ModelInfer(infer_request(server.counter, [1.0])))
    assert code is grpc.StatusCode.UNIMPLEMENTED
    assert "decoupled" in text


async def test_a_stream_that_is_left_ends_at_triton(server: Server) -> None:
    async def running() -> float:
        (answer,) = await stream_of(server, [infer_request("count_small", [-1.0])])
        return output_of(answer.infer_response)[0]

    call = server.stub.ModelStreamInfer(iter([infer_request(server.counter, [600.0])]))
    await call.read()
    assert await running() == 1
    call.cancel()
    async with asyncio.timeout(2):
        while await running():
            pass


def floats(values: list[float], kind: Any = sync_client) -> Any:
    """An input as tritonclient takes it."""
    tensor = kind.InferInput("INPUT", [1, len(values)], "FP32")
    tensor.set_data_from_numpy(np.array([values], np.float32))
    return tensor


async def test_tritonclient_sync(server: Server) -> None:
    def use() -> None:
        client = sync_client.InferenceServerClient(server.address)
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready(server.identity)
        assert client.get_model_metadata(server.identity, as_json=True)["name"] == server.identity
        result = client.infer(server.identity, [floats([1, 2])], headers={"x-key": "value"}, client_timeout=30)
        assert result.as_numpy("OUTPUT").tolist() == [[1, 2]]
        with pytest.raises(InferenceServerException, match=r"StatusCode.NOT_FOUND.*unknown model: 'nobody'"):
            client.infer("nobody", [floats([1])])
        statistics = client.get_inference_statistics(server.identity, as_json=True)
        assert statistics["model_stats"][0]["name"] == server.identity
        answers: queue.Queue[Any] = queue.Queue()
        client.async_infer(server.identity, [floats([4])], partial(lambda result, error: answers.put((result, error))))
        result, error = answers.get(timeout=30)
        assert error is None
        assert result.as_numpy("OUTPUT").tolist() == [[4]]
        client.start_stream(partial(lambda result, error: answers.put((result, error))))
        for number in range(3):
            client.async_stream_infer(server.identity, [floats([number])], request_id=str(number))
        streamed = [answers.get(timeout=30) for _ in range(3)]
        client.stop_stream()
        assert [result.get_response().id for result, _ in streamed] == ["0", "1", "2"]
        client.close()

    await asyncio.to_thread(use)


async def test_tritonclient_aio(server: Server) -> None:
    async with aio_client.InferenceServerClient(server.address) as client:
        assert await client.is_model_ready(server.identity)
        result = await client.infer(server.identity, [floats([1, 2], aio_client)])
        assert result.as_numpy("OUTPUT").tolist() == [[1, 2]]

        async def requests() -> Any:
            for number in range(3):
                yield {"model_name": server.identity, "inputs": [floats([number], aio_client)], "request_id": "r"}

        streamed = [result async for result, error in client.stream_infer(requests()) if error is None]
        assert [each.as_numpy("OUTPUT").tolist() for each in streamed] == [[[0]], [[1]], [[2]]]


@pytest.mark.parametrize("server", ["python-family", "envoy-family"], indirect=True)
async def test_a_family_is_not_loaded_or_unloaded(server: Server) -> None:
    for call, action in (
        (server.stub.RepositoryModelLoad(service_pb2.RepositoryModelLoadRequest(model_name="ident")), "load"),
        (server.stub.RepositoryModelUnload(service_pb2.RepositoryModelUnloadRequest(model_name="ident")), "unload"),
    ):
        assert await failure(call) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            f"'ident' is a family of models, which cannot be {action}ed: "
            f"{action} ident_small, ident_medium, ident_large instead",
        )
