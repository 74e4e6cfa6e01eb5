"""What passes through unchanged: bytes, metadata, deadlines, cancellation, statuses; before a server that shows it."""

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from tritonclient.grpc import service_pb2

from inference_proxy.proxy import Proxy
from tests.integration.inference_proxy.stand import (
    address_of,
    eventually,
    infer_request,
    running,
    settings_for,
)

SERVICE = "inference.GRPCInferenceService"
UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


@dataclass
class Upstream(grpc.GenericRpcHandler):  # type: ignore[type-arg] # generic in the stubs alone
    """A server that answers any method with what it was sent, and remembers how it was called."""

    calls: list[tuple[str, dict[str, Any], float | None]] = field(default_factory=list)
    cancelled: int = 0
    requests: list[bytes] = field(default_factory=list)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """The handler of any method."""
        method = handler_call_details.method

        async def unary(request: bytes, context: Any) -> bytes:
            metadata = dict(context.invocation_metadata())
            if method.endswith("RepositoryIndex") and "x-trace" not in metadata:
                await context.abort(grpc.StatusCode.UNIMPLEMENTED, "the operator has closed the index")
            self.calls.append((method, metadata, context.time_remaining()))
            self.requests.append(request)
            if "wait" in metadata:
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    self.cancelled += 1
                    raise
            if "initial" in metadata:
                await context.send_initial_metadata((("from-triton", "early"),))
            context.set_trailing_metadata((("late-text", "bye"), ("late-bytes-bin", b"\x00\xff")))
            if "fail" in metadata:
                await context.abort(grpc.StatusCode.DATA_LOSS, "größte Not", (("why-bin", b"\x01"),))
            return request

        async def stream(requests: AsyncIterator[bytes], context: Any) -> None:
            metadata = dict(context.invocation_metadata())
            self.calls.append((method, metadata, context.time_remaining()))
            if "initial" in metadata:
                await context.send_initial_metadata((("from-triton", "early"),))
            async for request in requests:
                await context.write(request)
                if "fail" in metadata:
                    await context.abort(grpc.StatusCode.DATA_LOSS, "größte Not", (("why-bin", b"\x01"),))
            context.set_trailing_metadata((("late-text", "bye"),))

        if method.endswith("ModelStreamInfer") or "Unheard" in method:
            return grpc.stream_stream_rpc_method_handler(stream)
        return grpc.unary_unary_rpc_method_handler(unary)


@pytest.fixture
async def upstream() -> AsyncIterator[tuple[Upstream, str]]:
    """The server and its address."""
    handler, server = Upstream(), grpc.aio.server(options=UNLIMITED)
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield handler, f"127.0.0.1:{port}"
    await server.stop(None)


@pytest.fixture
async def proxy(upstream: tuple[Upstream, str], tmp_path: Path, sqlite_url: str) -> AsyncIterator[Proxy]:
    """A proxy before it."""
    # Its answers are echoes, which read as "not ready"; it is asked once, at start.
    settings = settings_for(
        tmp_path, sqlite_url, proxy_triton_grpc=upstream[1], proxy_ready_interval=timedelta(hours=1)
    )
    settings.catalogue.write_text(ONE_MODEL, encoding="utf-8")  # type: ignore[union-attr]
    async with running(settings) as made:
        yield made


ONE_MODEL = """
families:
  lone:
    error_metric: error_pct
    pool: [lonely]
    variants:
      lonely: {energy_mj: {value: 100, provenance: estimated}, error: {value: 10, provenance: estimated}}
"""


@pytest.fixture
async def channel(proxy: Proxy) -> AsyncIterator[Any]:
    """A client's channel to the proxy, for raw bytes."""
    async with grpc.aio.insecure_channel(address_of(proxy), options=UNLIMITED) as made:
        yield made


METHODS = [method.name for method in service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods]


@pytest.mark.parametrize("method", [name for name in METHODS if name != "ModelStreamInfer"])
async def test_every_unary_method_passes_through(upstream: tuple[Upstream, str], channel: Any, method: str) -> None:
    request = service_pb2.ModelInferRequest(model_name="not-ours").SerializeToString()
    call = channel.unary_unary(f"/{SERVICE}/{method}")(
        request, timeout=33, metadata=(("x-trace", "7"), ("x-raw-bin", b"\x01\x02"), ("initial", "yes"))
    )
    assert await call == request
    seen = [each for each in upstream[0].calls if "x-trace" in each[1]]
    assert [each[0] for each in seen] == [f"/{SERVICE}/{method}"]
    assert (seen[0][1]["x-trace"], seen[0][1]["x-raw-bin"]) == ("7", b"\x01\x02")
    assert seen[0][2] is not None
    assert 20 < seen[0][2] <= 34  # gRPC rounds up what it sends
    assert dict(await call.initial_metadata())["from-triton"] == "early"
    trailing = dict(await call.trailing_metadata())
    assert (trailing["late-text"], trailing["late-bytes-bin"]) == ("bye", b"\x00\xff")


@pytest.mark.parametrize("model", ["not-ours", "lone"])
async def test_a_status_comes_back_with_its_details_and_metadata(channel: Any, model: str, proxy: Proxy) -> None:
    proxy.targets["lone"][0].ready = True
    call = channel.unary_unary(f"/{SERVICE}/ModelInfer")
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call(infer_request(model).SerializeToString(), metadata=(("fail", "yes"),))
    error: Any = failed.value
    assert (error.code(), error.details()) == (grpc.StatusCode.DATA_LOSS, "größte Not")
    assert dict(error.trailing_metadata())["why-bin"] == b"\x01"
    assert proxy.tallies.served.get(("lone", "lonely")) is None or proxy.tallies.of("lone", "lonely").inferences == 0


@pytest.mark.parametrize("model", ["not-ours", "lone"])
async def test_a_client_that_leaves_ends_the_call_behind(
    upstream: tuple[Upstream, str], channel: Any, proxy: Proxy, model: str
) -> None:
    proxy.targets["lone"][0].ready = True
    call = channel.unary_unary(f"/{SERVICE}/ModelInfer")(
        infer_request(model).SerializeToString(), metadata=(("wait", "yes"),)
    )
    await eventually(lambda: any("wait" in each[1] for each in upstream[0].calls))
    call.cancel()
    await eventually(lambda: upstream[0].cancelled == 1, timeout_s=1)
    assert proxy.tallies.in_flight == 0


def test_the_hot_path_has_the_short_way_to_triton(proxy: Proxy) -> None:
    assert proxy.endpoints[0].infer.direct


async def test_where_the_short_way_is_not_there_the_public_one_serves(
    proxy: Proxy, upstream: tuple[Upstream, str], channel: Any
) -> None:
    proxy.targets["lone"][0].ready = True
    proxy.endpoints[0].infer._open = None
    call = channel.unary_unary(f"/{SERVICE}/ModelInfer")(
        infer_request("lone").SerializeToString(), timeout=33, metadata=(("x-trace", "7"),)
    )
    answer = service_pb2.ModelInferRequest.FromString(await call)
    assert answer.model_name == "lonely"
    assert upstream[0].calls[-1][1]["x-trace"] == "7"
    assert dict(await call.trailing_metadata())["carbon-variant"] == "lonely"


async def test_a_deadline_ends_the_call_as_deadlines_do(upstream: tuple[Upstream, str], channel: Any) -> None:
    begun = time.monotonic()
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await channel.unary_unary(f"/{SERVICE}/ModelInfer")(
            infer_request("not-ours").SerializeToString(), metadata=(("wait", "yes"),), timeout=0.3
        )
    assert failed.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - begun < 10
    await eventually(lambda: upstream[0].cancelled == 1)


async def test_a_method_that_nobody_has_heard_of_is_triton_to_answer(channel: Any) -> None:
    call = channel.stream_stream(f"/{SERVICE}/Unheard")(iter([b"one", b"two"]))
    assert [answer async for answer in call] == [b"one", b"two"]
    assert dict(await call.trailing_metadata())["late-text"] == "bye"


@pytest.mark.parametrize("method", ["ModelStreamInfer", "Unheard"])
@pytest.mark.parametrize("initial", ["initial", "no-initial"])
async def test_a_stream_ends_as_triton_ended_it_whatever_comes_too_late(
    proxy: Proxy, method: str, initial: str
) -> None:
    metadata = (("fail", "yes"), (initial, "yes"))

    def ask() -> tuple[Any, dict[str, Any]]:
        # The blocking client: that of grpc.aio would itself put a late write's status over the one that it got.
        with grpc.insecure_channel(address_of(proxy)) as blocking:
            raw: Any = blocking
            call = raw.stream_stream(f"/{SERVICE}/{method}")(itertools.repeat(message, 200), metadata=metadata)
            with contextlib.suppress(grpc.RpcError):
                for _ in call:
                    pass
            return call, dict(call.initial_metadata())

    message = infer_request("not-ours").SerializeToString()
    for _ in range(10):
        call, early = await asyncio.to_thread(ask)
        assert (call.code(), call.details()) == (grpc.StatusCode.DATA_LOSS, "größte Not")
        assert dict(call.trailing_metadata())["why-bin"] == b"\x01"
        assert ("from-triton" in early) == (initial == "initial")


async def test_a_service_that_is_not_tritons_is_unimplemented(channel: Any) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await channel.unary_unary("/other.Service/Method")(b"")
    assert failed.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("garbage", [b"\x0a\xff", b"\xff\xff\xff", b"\x0a\x04lone\x0b"])
async def test_bytes_that_are_no_message_are_passed_on(
    upstream: tuple[Upstream, str], channel: Any, garbage: bytes
) -> None:
    assert await channel.unary_unary(f"/{SERVICE}/ModelInfer")(garbage) == garbage
    assert upstream[0].requests[-1] == garbage


async def test_100_megabytes_pass_both_ways(channel: Any) -> None:
    request = infer_request("not-ours")
    request.raw_input_contents[0] = bytes(100_000_000)
    data = request.SerializeToString()
    assert await channel.unary_unary(f"/{SERVICE}/ModelInfer")(data) == data


async def test_a_server_that_is_away_is_said_to_be_away_in_our_words(tmp_path: Path, sqlite_url: str) -> None:
    settings = settings_for(tmp_path, sqlite_url, proxy_triton_grpc="127.0.0.1:1")
    async with running(settings) as proxy, grpc.aio.insecure_channel(address_of(proxy)) as channel:
        raw: Any = channel
        for model in ("ident", "not-ours"):
            with pytest.raises(grpc.aio.AioRpcError, match="the inference server does not answer") as failed:
                await raw.unary_unary(f"/{SERVICE}/ModelInfer")(infer_request(model).SerializeToString())
            assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
